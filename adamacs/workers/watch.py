"""The clockwork beside the workers of one process: it beats for those that live and buries those that died."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from adamacs.core import failures, processes
from adamacs.database import portable
from adamacs.workers import liveness
from adamacs.workers.claims import Locked
from adamacs.workers.liveness import TOKEN_FLOOR, Suspect

if TYPE_CHECKING:
    from adamacs.core.settings import Workers
    from adamacs.workers.claims import Queue

log = logging.getLogger("adamacs.worker")

LOOK = 1.0  # s at most between two looks for dead workers


@dataclass
class Pulse:
    """What the heartbeat of one worker says; whoever computes writes it, the clockwork reads it."""

    worker_id: int
    stage: str = ""
    fraction: float | None = None
    is_alive: Callable[[], bool] = lambda: True  # asked before every beat: a stopped process does not beat


class Watch:
    """Beat for some workers and look for dead ones, as often as `tick` is called.

    Parameters
    ----------
    queues
        Every queue of the lab: a dead worker may hold claims of any. Their connection is used by the thread that calls
        `tick` alone.
    settings
        `lease`, `beat` and `kills`.
    reconnect
        Opens the connection anew; raises where it cannot.
    """

    def __init__(
        self,
        queues: Sequence[Queue],
        settings: Workers,
        reconnect: Callable[[], object],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.pulses: dict[int, Pulse] = {}
        self._connection = queues[0].connection
        self._queues = queues
        self._settings = settings
        self._reconnect = reconnect
        self._clock = clock
        self._here = processes.machine()
        self._beaten = self._looked = self._swept = float("-inf")
        self._answers = float("inf")  # since when the database answers without a gap
        self._answered = float("-inf")  # when it did last

    def tick(self) -> None:
        """Do what is due. The loss of the database is noticed and lived through; what it refused is tried again."""
        try:
            if self._clock() - self._beaten >= self._settings.beat:
                self._beat()
            if self._clock() - self._looked >= min(LOOK, self._settings.lease / 4):
                self._look()
        except portable.LOST as error:
            self._answers = float("inf")
            log.debug("The database does not answer: %s", error)
            self._try_again()
        except portable.FAILURES as error:
            if failures.classify(error).name != "database":  # a deadlock, a lock that another holds
                raise
            log.debug("The database refused: %s", error)

    def _try_again(self) -> None:
        try:
            self._reconnect()
        except portable.UNREACHABLE as error:
            log.debug("Still no answer: %s", error)

    def _beat(self) -> None:
        for pulse in list(self.pulses.values()):
            if pulse.is_alive():
                liveness.beat(self._connection, pulse.worker_id, self._settings.lease, pulse.stage, pulse.fraction)
        self._beaten = self._clock()
        self._note_answer()

    def _look(self) -> None:
        self._looked = self._clock()
        found = liveness.suspects(self._connection, self._here)
        self._note_answer()
        for suspect in found:
            self._judge(suspect)
        if self._clock() - self._swept >= self._settings.lease and self._has_answered_for(self._settings.lease):
            self._swept = self._clock()
            for queue in self._queues:
                queue.sweep(self._settings.lease)

    def _judge(self, suspect: Suspect) -> None:
        own = self.pulses.get(suspect.worker_id)
        if own is not None and own.is_alive():
            return
        if suspect.is_known_dead(self._here):
            if own is None:  # one of ours is buried by who knows why it ended
                self._bury(suspect, "The process of the worker is gone.", expired_only=False)
        elif suspect.expired and self._has_answered_for(suspect.lease):
            self._bury(suspect, f"The worker gave no sign of life for {suspect.lease:g} s.", expired_only=True)

    def _bury(self, suspect: Suspect, because: str, *, expired_only: bool) -> None:
        with suppress(Locked):  # the next look comes soon
            liveness.bury(
                suspect.worker_id,
                self._queues,
                self._settings.kills,
                because=because,
                expired_only=expired_only,
            )

    def _note_answer(self) -> None:
        """The database answered. Where it had not been asked for long, this process itself may have been stopped."""
        now = self._clock()
        if now - self._answered > max(self._settings.lease / 2, self._settings.beat * 2):
            self._answers = now
        self._answers = min(self._answers, now)
        self._answered = now

    def _has_answered_for(self, seconds: float) -> bool:
        return self._clock() - self._answers >= seconds


class Beater(threading.Thread):
    """A clockwork in a thread of its own, for a worker that computes in this very process."""

    def __init__(self, watch: Watch, period: float) -> None:
        super().__init__(name="adamacs-heartbeat", daemon=True)
        self._watch = watch
        self._period = period
        self._ended = threading.Event()

    def run(self) -> None:
        while not self._ended.wait(self._period):
            self._watch.tick()

    def end(self) -> None:
        """Stop, after the tick that is under way."""
        self._ended.set()
        self.join()


__all__ = ["TOKEN_FLOOR", "Beater", "Pulse", "Watch"]
