"""One slot's process: `python -m adamacs.workers.child`, started and watched by a supervisor.

It reads its orders from standard input, one JSON object per line, and tells what it does on standard output in the
same way; what libraries print goes to standard error. When standard input ends, the supervisor is dead, and the child
ends at once: its claims are handed back by whoever notices.
"""

from __future__ import annotations

import json
import logging
import os
import platform
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from adamacs import pipeline
from adamacs.core import failures, logs, progress
from adamacs.core import settings as lab_settings
from adamacs.core.progress import Progress
from adamacs.database import portable, statements
from adamacs.workers import liveness, roles
from adamacs.workers.claims import Claim, Queue
from adamacs.workers.loop import Slot

if TYPE_CHECKING:
    from adamacs.core.settings import Settings
    from adamacs.workers.roles import Role

log = logging.getLogger("adamacs.worker")

_EVERY = 0.2  # s between two tellings of progress
_PATIENCE = 2.0  # s at most between two tries to reach the database
_IDLE = 0.2  # s between two looks of a worker that shall stop when nothing is left


class Channel:
    """The way to the supervisor: one JSON object per line, from any thread."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lock = threading.Lock()

    def tell(self, event: str, **values: Any) -> None:
        """Send one event. A supervisor that is gone hears nothing, and this process ends soon."""
        line = json.dumps({"event": event, **values}, default=str)
        with self._lock:
            try:
                self._stream.write(f"{line}\n")
                self._stream.flush()
            except (BrokenPipeError, ValueError):
                os._exit(1)


class Forwarded(logging.Handler):
    """Let the supervisor show what this process logs."""

    def __init__(self, channel: Channel, level: int) -> None:
        super().__init__(level)
        self._channel = channel

    def emit(self, record: logging.LogRecord) -> None:
        """Send one record."""
        text = record.getMessage()
        if record.exc_info:
            text += "\n" + logging.Formatter().formatException(record.exc_info)
        self._channel.tell("log", level=record.levelno, text=text, fields=getattr(record, "fields", {}))


def main() -> None:
    """Work until the orders, or the end of them, say stop."""
    for number in (signal.SIGINT, signal.SIGTERM):  # a terminal or a scheduler sends them to everybody
        signal.signal(number, signal.SIG_IGN)  # the supervisor decides
    channel = Channel(_take_over_output())
    said = _said()
    orders = next(said, None)
    if orders is not None:
        settings = lab_settings.load(Path(orders["home"]))
        _Worker(channel, settings, orders, said).run()


def _said() -> Iterator[dict[str, Any]]:
    """Yield what the supervisor says until it is gone; a killed one may stop in the middle of a word."""
    for line in sys.stdin:
        if line.endswith("\n"):
            yield json.loads(line)


def _take_over_output() -> TextIO:
    """Return standard output for the channel alone: what libraries print there goes to standard error from now on."""
    own = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return own


class _Worker:
    """What this process is, between its first order and its last word."""

    def __init__(
        self, channel: Channel, settings: Settings, orders: dict[str, Any], said: Iterator[dict[str, Any]]
    ) -> None:
        self.channel = channel
        self.settings = settings
        self.orders = orders
        self._said = said
        self.until_empty = orders["mode"] == "drain"
        self.wake = threading.Event()
        self.slot: Slot | None = None
        self.stopping = False
        self._told = 0.0
        threading.Thread(target=self._obey, name="adamacs-orders", daemon=True).start()

    def _obey(self) -> None:
        for order in self._said:
            if order.get("order") == "stop":
                self.stopping = True
                if self.slot is not None:
                    self.slot.stopping = True
                self.wake.set()
        os._exit(1)  # the supervisor is gone

    def run(self) -> None:
        role = roles.named(self.orders["role"], self.settings)
        log_file = self._keep_log()
        logs.attach(Forwarded(self.channel, logs.level(logging.INFO)))
        slot = self._prepare(role, str(log_file))
        if slot is None:
            self.channel.tell("left")
            return
        self.channel.tell("ready", worker_id=slot.identity.worker_id, pid=slot.identity.pid)
        self.slot = slot
        slot.stopping = self.stopping
        try:
            with progress.listening(self._heard):
                self._work(slot)
        except Exception:
            log.critical("This worker cannot go on.", exc_info=True)
            self._leave(slot)
            sys.exit(1)
        if self._leave(slot):
            self.channel.tell("left")

    def _keep_log(self) -> Path:
        began = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        path = self.settings.logs / f"worker-{self.orders['role']}-{platform.node()}-{began}-{os.getpid()}.jsonl"
        logs.to_file(path, pid=os.getpid(), role=self.orders["role"])
        return path

    def _prepare(self, role: Role, log_file: str) -> Slot | None:
        """Connect and register, waiting for a database that is away or goes; None where told to stop meanwhile."""
        pause = 0.2
        while True:
            try:
                pipeline.connect(self.settings)
                return self._register(role, log_file)
            except portable.UNREACHABLE as error:
                if failures.classify(error).name != "database":
                    raise
                log.warning("The database is away: %s", failures.describe(error))
                if self.wake.wait(pause):
                    return None
                pause = min(2 * pause, _PATIENCE)

    def _register(self, role: Role, log_file: str) -> Slot:
        """Write down that a worker begins; each try is a worker of its own, for an answer may be lost."""
        restriction, names = self.orders["restriction"], self.orders["tables"]
        identity = liveness.identify(role.name, roles.tool_versions(), log_file, names, restriction)
        tables = [table for table in role.tables() if pipeline.table_name(table) in names]
        slot = Slot(identity, tables, self.settings, restriction=restriction, began=self._began)
        connection = slot.queues[0].connection
        portable.limit_idle_transactions(connection, self.settings.workers.lease)
        liveness.register(connection, identity, self.settings.workers.lease)
        return slot

    def _work(self, slot: Slot) -> None:
        while not slot.stopping and not slot.needs_new_process and slot.ended < self.orders["keys"]:
            began = time.monotonic()
            ended = slot.round()
            if ended:
                self.channel.tell("tally", **asdict(slot.tally))
            if self.orders["mode"] == "once":
                return
            if not ended:
                if not slot.saw_work:
                    self.channel.tell("idle", since=began)
                self.wake.wait(_IDLE if self.until_empty else self.settings.workers.poll)

    def _leave(self, slot: Slot) -> bool:
        """Hand back what is held and end the heartbeat; tell whether the database took it."""
        self.channel.tell("leaving")
        try:
            liveness.leave(slot.queues[0].connection, slot.identity.worker_id, slot.queues)
        except portable.FAILURES as error:
            if failures.classify(error).name != "database":
                raise
            log.warning("What this worker holds is handed back by others: %s", failures.describe(error))
            return False
        return True

    def _began(self, queue: Queue | None, taken: Sequence[Claim]) -> None:
        if queue is None:
            self.channel.tell("ended", at=time.monotonic())
        else:
            stale = getattr(queue.table, "stale_after", None)
            keys = [{name: statements.plain(value) for name, value in claim.key.items()} for claim in taken[:1]]
            self.channel.tell("began", table=queue.name, keys=keys, count=len(taken), stale_after=stale)

    def _heard(self, step: Progress) -> None:
        now = time.monotonic()
        if now - self._told >= _EVERY or step.fraction == 1 or not step.done:
            self._told = now
            self.channel.tell("progress", **asdict(step))


if __name__ == "__main__":
    main()
