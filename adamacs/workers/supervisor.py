"""The daemon: one process per slot, started anew when it dies, watched while it computes.

The supervisor computes nothing. It beats for its children, ends those that take too much memory, stand still or lost
their claim, hands back at once what a dead one held, and looks after the dead of other hosts. Children are spawned,
never forked: CUDA and threads do not survive a fork.
"""

from __future__ import annotations

import json
import logging
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING, Any, cast

import psutil

from adamacs import pipeline
from adamacs.core import devices, failures, logs, memory, progress
from adamacs.core.errors import describe
from adamacs.core.progress import Progress
from adamacs.database import connect as database
from adamacs.database import portable
from adamacs.storage import sweep
from adamacs.workers import claims, liveness, roles
from adamacs.workers.claims import Locked, Queue
from adamacs.workers.liveness import Ending
from adamacs.workers.loop import BEGINS, Tally
from adamacs.workers.watch import Pulse, Watch

if TYPE_CHECKING:
    from adamacs.core.settings import Settings
    from adamacs.workers.roles import Role

log = logging.getLogger("adamacs.worker")

Verdict = tuple[str, str, str]  # outcome, class of the failure, sentence

CHILD = (sys.executable, "-m", "adamacs.workers.child")
_TICK = 0.2  # s at most between two looks at the children
_LOOK = 1.0  # s between two looks at what a child has started
_SOON = 10.0  # s: a child that dies younger is not started again at once
_DEATHS = 3  # children of a slot in a row that die before they begin anything end a `drain`
_LONGEST_PAUSE = 60.0  # s between two starts of a slot whose children die young


@dataclass
class Child:
    """One process of a slot, as the supervisor sees it."""

    process: subprocess.Popen[str]
    started: float  # monotonic s, as every time here
    listener: threading.Thread | None = None
    worker_id: int | None = None
    pulse: Pulse | None = None
    table: str = ""  # what it computes now
    key: dict[str, Any] = field(default_factory=dict)
    count: int = 0  # keys that it computes together
    began: int = 0  # how often it began something
    peak: int = 0  # bytes that it took at most, as far as it was seen, since it last began something
    moved: float = 0.0  # when it last said that it came further
    stale_after: float | None = None
    idle_since: float = float("-inf")  # when the look began after which it had nothing to do
    is_leaving: bool = False  # it ends its heartbeat itself
    left: bool = False  # it said good-bye
    tally: Mapping[str, Any] = field(default_factory=dict)  # what it did so far
    verdict: Verdict | None = None  # why it was ended
    family: Sequence[psutil.Process] = ()  # itself and what it started
    family_seen: float = float("-inf")
    unheld: int = 0  # `began` at the last look that found it without a claim

    def memory(self, limit: float) -> int:
        """Return what the process uses together with what it started, bytes."""
        if time.monotonic() - self.family_seen >= _LOOK:
            self.family, self.family_seen = memory.family(self.process.pid), time.monotonic()
        return memory.used(self.family, limit)

    def kill(self) -> None:
        """End the process and what it started: a tool that computes on would keep memory and GPU."""
        others = memory.family(self.process.pid)[1:]
        self.process.kill()
        for other in others:
            with suppress(psutil.Error):
                other.kill()

    def is_beating(self) -> bool:
        """Whether the process runs: neither dead nor stopped nor about to end."""
        if self.is_leaving:
            return False
        try:
            return psutil.Process(self.process.pid).status() not in (psutil.STATUS_STOPPED, psutil.STATUS_ZOMBIE)
        except psutil.Error:
            return False


@dataclass
class Slot:
    """A place for one child after the other."""

    number: int
    environment: Mapping[str, str]
    child: Child | None = None
    pause: float = 0.0  # s before the next start, after a child that died young
    not_before: float = 0.0  # when the next may start; below zero: none will
    deaths: int = 0  # of children in a row that died young


class Supervisor:
    """Run the slots of one role on this host.

    Parameters
    ----------
    role
        Whose tables are filled.
    settings
        Of the lab, to which this process is connected.
    mode
        `forever`; `drain` stops when nothing is left that can be claimed; `once` gives each table one turn.
    slots
        Keys computed at once; 0: what the role says, and one per GPU where it needs CUDA.
    restriction
        Compute these keys only; tables whose key has none of its columns are left out.
    command
        What starts a child.
    """

    def __init__(
        self,
        role: Role,
        settings: Settings,
        *,
        mode: str = "forever",
        slots: int = 0,
        restriction: Mapping[str, Any] | None = None,
        command: Sequence[str] = CHILD,
    ) -> None:
        self.role = role
        self.settings = settings
        self.mode = mode
        self.tally = Tally()
        self.asked_to_stop = 0  # times
        self._is_stopping = False
        self._restriction = dict(restriction or {})
        self._command = command
        self._tables = claims.concerned(role.tables(), restriction)
        self._queues = [Queue(table) for table in roles.computing_tables()]
        self._connection = self._queues[0].connection
        portable.limit_idle_transactions(self._connection, settings.workers.lease)
        self._watch = Watch(self._queues, settings.workers, self._reconnect)
        self._events: queue.Queue[tuple[Child, dict[str, Any]]] = queue.Queue()
        self._sweeper = sweep.Sweeper(settings, self._waiting)
        self._has_looked = False  # somebody put into the queues what is missing: a result may be of a key that was
        self._to_bury: list[Child] = []
        self._last_end = float("-inf")
        self._claims_seen = float("-inf")
        self._slots = [Slot(number, environment) for number, environment in enumerate(self._environments(slots))]

    def _environments(self, slots: int) -> list[dict[str, str]]:
        """Return what each slot's process finds in its environment: its share of the cores, and its GPU."""
        gpus = [str(number) for number, _ in enumerate(devices.cuda())] if "cuda" in self.role.needs else []
        slots = slots or (len(gpus) if gpus else self.role.slots)
        threads = self.settings.workers.threads or max(devices.cores() // slots, 1)
        names = ("ADAMACS_WORKERS_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
        shared = dict.fromkeys((*names, "NUMBA_NUM_THREADS"), str(threads))
        return [shared | ({"CUDA_VISIBLE_DEVICES": gpus[n % len(gpus)]} if gpus else {}) for n in range(slots)]

    def _reconnect(self) -> None:
        database.open_connection(self.settings)

    def _waiting(self, table_name: str) -> list[dict[str, Any]] | None:
        """Return the keys that wait in a table's queue, or None where nobody can tell.

        The sweeper asks, in a thread of its own; a table that this release does not know may be one of a newer release.
        """
        found = next((q for q in self._queues if q.name == table_name), None)
        if found is None:
            return None
        try:
            with closing(portable.separate_connection(database.running_server(self.settings))) as own:
                return found.keys(own)
        except (*portable.UNREACHABLE, *portable.FAILURES) as error:
            log.debug("Nobody can tell which keys of %s wait: %s", table_name, error)
            return None

    # ---- the loop

    def run(self) -> Tally:
        """Work until the mode, or somebody, says stop, and return what was done."""
        log.info("Role %s begins with %d slots.", self.role.name, len(self._slots), extra=logs.fields(pid=os.getpid()))
        try:
            while self._go_on():
                self._hear()
                self._watch.tick()
                self._bury()
                self._look_after_children()
                if self._has_looked:
                    self._sweeper.tick()
                if self._is_drained():
                    self._order("stop")
        finally:
            self._end()
        return self.tally

    def stop(self, *_: Any) -> None:
        """Let the children finish their keys and stop; asked again, end them at once. Serves as a signal handler."""
        self.asked_to_stop += 1

    def _go_on(self) -> bool:
        if self.asked_to_stop and not self._is_stopping:
            self._is_stopping = True
            log.warning("Stopping after the keys in work; asked again, they are ended.")
            self._order("stop")
        if self.asked_to_stop > 1:  # what they hold is handed back here, or by others when the database is away
            for slot in self._slots:
                if slot.child is not None:
                    self._end_child(slot.child, "stopped", "", "The daemon was stopped in the middle of this.")
        is_busy = any(slot.child is not None or slot.not_before >= 0 for slot in self._slots)
        return is_busy or bool(self._to_bury)

    def _hear(self) -> None:
        """Take in what the children said, for at most a tick."""
        wait = min(_TICK, self.settings.workers.lease / 8)
        try:
            child, event = self._events.get(timeout=wait)
            while True:
                self._take_in(child, event)
                child, event = self._events.get_nowait()
        except queue.Empty:
            return

    def _look_after_children(self) -> None:
        look_at_claims = time.monotonic() - self._claims_seen >= self.settings.workers.beat
        if look_at_claims:
            self._claims_seen = time.monotonic()
        for slot in self._slots:
            if slot.child is None:
                if 0 <= slot.not_before <= time.monotonic():
                    slot.child = self._start(slot)
            elif slot.child.process.poll() is not None:
                self._ended(slot, slot.child)
            else:
                self._inspect(slot.child, look_at_claims)

    # ---- children

    def _start(self, slot: Slot) -> Child:
        environment = {**os.environ, **slot.environment}
        process = subprocess.Popen(
            self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, text=True, encoding="utf-8"
        )
        child = Child(process, time.monotonic())
        orders = {
            "home": str(self.settings.home),
            "role": self.role.name,
            "tables": [pipeline.table_name(table) for table in self._tables],
            "restriction": self._restriction,
            "mode": self.mode,
            "keys": self.settings.workers.keys_per_process,
        }
        self._tell(child, orders)
        child.listener = threading.Thread(target=self._listen, args=(child,), daemon=True)
        child.listener.start()
        return child

    def _listen(self, child: Child) -> None:
        for line in child.process.stdout or ():
            if line.endswith("\n"):  # a killed child may stop in the middle of a word
                self._events.put((child, json.loads(line)))

    def _tell(self, child: Child, order: Mapping[str, Any]) -> None:
        pipe = cast(IO[str], child.process.stdin)
        try:
            pipe.write(json.dumps(order, default=str) + "\n")
            pipe.flush()
        except OSError:
            log.debug("Child %d is gone.", child.process.pid)

    def _order(self, order: str) -> None:
        for slot in self._slots:
            slot.not_before = -1.0  # no further child
            if slot.child is not None:
                self._tell(slot.child, {"order": order})

    def _take_in(self, child: Child, event: dict[str, Any]) -> None:
        kind = event.pop("event")
        if kind == "ready":
            child.worker_id = event["worker_id"]
            child.pulse = Pulse(event["worker_id"], is_alive=child.is_beating)
            self._watch.pulses[event["worker_id"]] = child.pulse
        elif kind == "began":
            self._has_looked = True
            child.began += 1
            child.peak = 0
            child.table, child.count, child.stale_after = event["table"], event["count"], event["stale_after"]
            child.key = event["keys"][0] if event["keys"] else {}
            child.moved = time.monotonic()
            self._pulse(child, BEGINS, None)
        elif kind == "ended":
            child.table, child.key, child.count, child.peak = "", {}, 0, 0
            self._last_end = max(self._last_end, event["at"])
            self._pulse(child, "", None)
        elif kind == "progress":
            step = Progress(**event)
            child.moved = time.monotonic()
            self._pulse(child, step.stage, step.fraction)
            if listener := progress.listener():
                listener(step)
        elif kind == "idle":
            self._has_looked = True
            child.idle_since = event["since"]
        elif kind == "log":
            log.log(event["level"], "%s", event["text"], extra=logs.fields(**event["fields"]))
        elif kind == "tally":
            child.tally = event
        elif kind == "leaving":
            child.is_leaving = True
        elif kind == "left":
            child.left = True

    def _pulse(self, child: Child, stage: str, fraction: float | None) -> None:
        if child.pulse is not None:
            child.pulse.stage, child.pulse.fraction = stage, fraction

    def _add(self, event: Mapping[str, Any]) -> None:
        for name, seconds in event.get("seconds", {}).items():
            self.tally.add(name, seconds, done=event["done"].get(name, 0))
        self.tally.failed += event.get("failed", [])

    def _ended(self, slot: Slot, child: Child) -> None:
        """A child is gone; what it leaves is cleared away, and its slot gets another one unless its work is done."""
        self._drain_pipe(child)
        for pipe in (child.process.stdin, child.process.stdout):
            with suppress(OSError):  # what was never read by the child
                cast(IO[str], pipe).close()
        self._add(child.tally)
        slot.child = None
        if self.mode == "once":
            slot.not_before = -1.0
        if child.worker_id is not None:
            self._to_bury.append(child)  # an orderly one too: a beat may have crossed its farewell
        if child.left:
            child.verdict = ("stopped", "", "It left.")
            slot.pause, slot.deaths = 0.0, 0
        else:
            child.verdict = child.verdict or _death(child.process.returncode, is_idle=not child.table)
            extra = logs.fields(pid=child.process.pid, table=child.table, key=child.key)
            log.error("%s", child.verdict[2], extra=extra)
            self._pause(slot, child)
            if self.mode == "once" and slot.deaths == 0 and child.verdict[0] in liveness.DEATHS:
                self.tally.failed.append(self._unfinished(child))

    @staticmethod
    def _unfinished(child: Child) -> str:
        """Return what a turn that was cut off did not do, as a sentence: nobody begins another."""
        what = "not every table had its turn"
        if child.table:
            what = f"{child.table} {describe(child.key)}" + (f" and {child.count - 1} more" if child.count > 1 else "")
        return f"{what}: {cast(Verdict, child.verdict)[2]} It is handed back, and not tried again with --once."

    def _pause(self, slot: Slot, child: Child) -> None:
        """Start the next child of a slot later, the more of them died young without beginning anything."""
        young = time.monotonic() - child.started < _SOON and not child.began
        slot.pause = min(max(2 * slot.pause, 1.0), _LONGEST_PAUSE) if young else 0.0
        slot.deaths = slot.deaths + 1 if young else 0
        if self.mode != "forever" and (slot.deaths >= _DEATHS or (young and self.mode == "once")):
            slot.not_before = -1.0
            self.tally.failed.append(f"no worker could begin: {cast(Verdict, child.verdict)[2]} See its log.")
        if slot.not_before >= 0:
            slot.not_before = time.monotonic() + slot.pause

    def _drain_pipe(self, child: Child) -> None:
        """Take in the last words of a dead child; its listener ends with the pipe."""
        if child.listener is not None:
            child.listener.join(5)
        kept = []
        while not self._events.empty():
            teller, event = self._events.get_nowait()
            if teller is child:
                self._take_in(teller, event)
            else:
                kept.append((teller, event))
        for item in kept:
            self._events.put(item)

    def _bury(self) -> None:
        for child in list(self._to_bury):
            try:
                self._bury_child(child, cast(int, child.worker_id), *cast(Verdict, child.verdict))
            except Locked:
                if self.asked_to_stop <= 1:
                    continue
            except portable.FAILURES as error:
                if failures.classify(error).name != "database":
                    raise
                if self.asked_to_stop > 1:
                    self._to_bury.clear()  # others will, when the database is back
                return  # the clockwork waits for the database
            self._to_bury.remove(child)
            # Only now: the clockwork buries whom it does not know, as killed.
            self._watch.pulses.pop(cast(int, child.worker_id), None)

    def _bury_child(self, child: Child, worker_id: int, outcome: str, failure: str, because: str) -> None:
        peak = child.peak or None
        burial = liveness.bury(
            worker_id,
            self._queues,
            self.settings.workers.kills,
            outcome=outcome,
            failure=failure,
            because=because,
            peak_memory=peak,
        )
        if self.mode != "once":  # there every key of a dead child is told already
            self.tally.failed += burial.failed
        self._last_end = time.monotonic()  # what was handed back is work again
        if not burial.count and child.table and outcome in ("cancelled", "fenced"):  # its claim was taken away before
            ending = Ending(child.key, outcome, 0.0, failure, because, peak_memory=peak)
            liveness.record_after_death(self._connection, worker_id, child.table, [ending])

    def _end_child(self, child: Child, outcome: str, failure: str, because: str) -> None:
        if child.verdict is None:
            child.verdict = (outcome, failure, because)
            log.warning("%s", because, extra=logs.fields(pid=child.process.pid, table=child.table, key=child.key))
            child.kill()

    # ---- what a child may not do

    def _inspect(self, child: Child, look_at_claims: bool) -> None:
        if child.table:
            child.peak = max(child.peak, memory.peak(child.process.pid) or 0)
        limit = (self.role.memory or self.settings.workers.memory) * 1e9
        if limit and (used := child.memory(limit)) > limit:
            child.peak = max(child.peak, used)
            took = f"The worker took {used / 1e9:.2f} GB with what it started"
            because = f"{took}, more than the {limit / 1e9:g} GB that it may."
            self._end_child(child, "killed", "memory", because)
        elif child.table and child.stale_after and time.monotonic() - child.moved > child.stale_after:
            because = f"The computation did not come further for {child.stale_after:g} s."
            self._end_child(child, "stalled", "stalled", because)
        elif look_at_claims and child.table and child.count == 1 and (lost := self._lost(child)):
            if child.unheld == child.began:
                self._end_child(child, *lost)
            child.unheld = child.began

    def _lost(self, child: Child) -> Verdict | None:
        """Return the verdict on a child without the claim on what it computes; None while it holds it, or in doubt.

        The job row tells whether a person left the key out; else its lease was over, and the key is handed on.
        """
        found = next((q for q in self._queues if q.name == child.table), None)
        if found is None or child.worker_id is None:
            return None
        try:
            if found.holds(child.worker_id):
                return None
            is_left_out = bool(found.jobs & child.key & {"status": "ignore"})
        except portable.FAILURES as error:
            log.debug("Nobody can tell whether a claim is held: %s", error)
            return None
        if is_left_out:
            return "cancelled", "", "The key was taken back while it was computed."
        return "fenced", "", "The claim on the key was lost while it was computed."

    # ---- the end

    def _is_drained(self) -> bool:
        """Whether every child looked, after the last key ended anywhere, and found nothing to do."""
        if self.mode != "drain" or self._to_bury or any(slot.not_before < 0 for slot in self._slots):
            return False
        children = [slot.child for slot in self._slots]
        return all(child is not None and not child.table and child.idle_since > self._last_end for child in children)

    def _end(self) -> None:
        """Leave no child behind, however the loop ended."""
        for slot in self._slots:
            if slot.child is not None and slot.child.process.poll() is None:
                slot.child.kill()
                slot.child.process.wait()


def _death(code: int, *, is_idle: bool) -> Verdict:
    """Return the verdict on a child that nobody ended."""
    how = f"by signal {signal.Signals(-code).name}" if code < 0 else f"with status {code}"
    return "killed", "killed", f"The worker died {how}, {'without a key' if is_idle else 'while it computed this'}."
