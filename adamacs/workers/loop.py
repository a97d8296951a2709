"""Look what is missing, claim it, compute it, write it down: one worker, until somebody says stop."""

from __future__ import annotations

import logging
import random
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeVar

from adamacs import pipeline
from adamacs.core import failures, logs, memory, points, progress
from adamacs.core import settings as lab_settings
from adamacs.core.errors import describe
from adamacs.core.progress import Progress
from adamacs.database import connect as database
from adamacs.database import portable, statements
from adamacs.storage import computed as results
from adamacs.storage.computed import Kept
from adamacs.workers import claims, liveness, pauses, roles
from adamacs.workers.claims import Claim, Fenced, Queue
from adamacs.workers.liveness import Ending, Identity
from adamacs.workers.watch import Beater, Pulse, Watch

if TYPE_CHECKING:
    import datajoint as dj

    from adamacs.core.settings import Settings
    from adamacs.workers.roles import Role

log = logging.getLogger("adamacs.worker")

_PATIENCE = 2.0  # s at most between two tries to reach the database again
_KEPT = 3600.0  # s that a result is kept while the database answers and yet does not take it: full, read-only
BEGINS = "begins"  # the stage of a key that has reported none yet
WAITS = "waiting for the database"  # the stage of a key whose result is there and cannot be landed yet
_DEAR = 0.1  # s: what took longer to compute is written down before it is landed, as is what names arrays
_SHORTLY = 0.1  # s between the first two of them
_T = TypeVar("_T")


@dataclass
class Tally:
    """What a worker did.

    Attributes
    ----------
    done
        Keys computed, per table.
    failed
        `table key: reason` of every key that failed.
    seconds
        Time spent per table, s.
    """

    done: dict[str, int] = field(default_factory=dict)
    failed: list[str] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)

    def add(self, name: str, seconds: float, *, done: int = 0) -> None:
        """Count keys of a table and the time that they took."""
        self.seconds[name] = self.seconds.get(name, 0.0) + seconds
        if done:
            self.done[name] = self.done.get(name, 0) + done

    def describe(self) -> str:
        """Return the tally as text; the last line tells whether all went well."""
        lines = [f"{count:6}  {table}  {self.seconds[table]:.1f} s" for table, count in self.done.items()]
        lines += [f"failed  {reason}" for reason in self.failed]
        total = sum(self.done.values())
        return "\n".join([*lines, f"{total} keys computed, {len(self.failed)} failed"])


class Slot:
    """One worker: it claims keys for its tables, one after the other, and computes them.

    Parameters
    ----------
    identity
        Who claims; registered already, and beating.
    tables
        Bound tables, parents first.
    settings
        Of the lab.
    restriction
        Compute these keys only.
    pulse
        Is told what is being done, for the heartbeat.
    began
        Is called with a queue and its claims before they are computed, and with None and no claims afterwards.
    """

    def __init__(
        self,
        identity: Identity,
        tables: Sequence[Any],
        settings: Settings,
        *,
        restriction: Mapping[str, Any] | None = None,
        pulse: Pulse | None = None,
        began: Callable[[Queue | None, Sequence[Claim]], None] = lambda queue, taken: None,
    ) -> None:
        self.identity = identity
        self.queues = [Queue(table, restriction) for table in tables]
        self.tally = Tally()
        self.stopping = False
        self.needs_new_process = False  # what failed may have spoilt this one
        self.ended = 0  # keys, however they ended
        self._settings = settings
        self._workers = settings.workers
        self._processed = settings.root("processed")
        self._pulse = pulse or Pulse(identity.worker_id)
        self._began = began
        self._open: set[str] = set()  # queues that may hold a key to claim
        self._next_look = float("-inf")
        self._attempts = 0
        self.saw_work = False  # at the last look, whoever may have taken it since
        self._suspects: tuple[Queue, Sequence[Claim]] | None = None  # keys in work together when the connection went
        self._is_scattered = False  # keys that failed together were handed back, to be tried alone

    @property
    def _connection(self) -> dj.Connection:
        return self.queues[0].connection

    # ---- what next

    def round(self) -> int:
        """Give every table that has work a turn, parents first, and return how many keys were ended.

        What the database cannot do for now is waited out: its loss, a deadlock, a full disk.
        """
        before = self.ended
        while not self.stopping:
            try:
                if time.monotonic() < self._next_look:
                    self._turns()
                if self.ended == before and not self.stopping:
                    self._look()
                    self._turns()
                if self.ended > before or not self._is_scattered:
                    break
                self._is_scattered = False
            except portable.FAILURES as error:
                if not _passes(error):
                    raise
                self._recover(error)
        return self.ended - before

    def _turns(self) -> None:
        for queue in self.queues:
            if self.stopping or self.needs_new_process:
                break
            if queue.name in self._open:
                self._turn(queue)

    def _look(self) -> None:
        """Ask what there is to do. A look that takes long is taken seldom."""
        began = time.monotonic()
        paused = pauses.paused(self._connection, self.identity.role)
        self.saw_work = False
        for queue, missing, ready in claims.look(self.queues):
            if missing:
                queue.stage()
            if (missing or ready) and not paused(queue.name):
                self.saw_work = True
                self._open.add(queue.name)
            else:
                self._open.discard(queue.name)
        took = time.monotonic() - began
        self._next_look = time.monotonic() + min(10 * took, self._workers.poll)

    def _turn(self, queue: Queue) -> None:
        taken = queue.take(self.identity, getattr(queue.table, "batch", 1))
        points.reach("after claim")
        if not taken:
            self._open.discard(queue.name)
            return
        for claim in taken:
            if claim.done:
                queue.forget(self.identity.worker_id, claim)
        left = [claim for claim in taken if not claim.done]
        # What failed before is tried alone, when it is the most urgent one, and held alone: if it kills this worker, no
        # other key is suspected.
        fresh = [claim for claim in left if not claim.before]
        alone = left[:1] if left and left[0].before else []
        together = alone or fresh
        queue.requeue(self.identity.worker_id, left[1:] if alone else [claim for claim in left if claim.before])
        if len(together) > 1:
            self._compute_together(queue, together)
        elif together:
            self._compute(queue, together[0])

    # ---- one key

    def _compute(self, queue: Queue, claim: Claim) -> None:
        where = f"{queue.name} {describe(claim.key)}"
        fields = {"table": queue.name, "key": claim.key}
        log.info("start   %s", where, extra={"fields": fields})
        began = time.monotonic()
        try:
            with self._at(queue, [claim]):
                self._make(queue, claim, began)
        except Fenced as error:
            log.info("fenced  %s: %s", where, error.what, extra={"fields": fields})
            ending = Ending(claim.key, "fenced", time.monotonic() - began, message=error.what)
            self._until_said(lambda: self._record(queue, [ending]))
        except portable.LOST:
            raise  # while it was fetched: nothing was computed yet
        except Exception as error:  # noqa: BLE001 the one place that may: the other keys go on
            self._fail(queue, claim, error, time.monotonic() - began)
        else:
            seconds = time.monotonic() - began
            self.tally.add(queue.name, seconds, done=1)
            log.info("done    %s in %.1f s", where, seconds, extra={"fields": {**fields, "seconds": seconds}})
        self.ended += 1

    @contextmanager
    def _at(self, queue: Queue, taken: Sequence[Claim]) -> Iterator[None]:
        """Tell those who watch what is being done."""
        memory.forget_peak()
        self._pulse.stage, self._pulse.fraction = BEGINS, None
        self._began(queue, taken)
        try:
            with progress.listening(self._heard(progress.listener(), queue, taken[0].key)):
                yield
        finally:
            self._pulse.stage, self._pulse.fraction = "", None
            self._began(None, ())

    def _heard(self, before: progress.Listener | None, queue: Queue, key: Mapping[str, Any]) -> progress.Listener:
        of = f"{queue.name.rpartition('.')[2]} {','.join(map(str, key.values()))}"

        def listener(step: Progress) -> None:
            if step.stage != self._pulse.stage:
                log.info("%-7s %s", "stage", step.stage, extra=logs.fields(table=queue.name, key=dict(key)))
            self._pulse.stage, self._pulse.fraction = step.stage, step.fraction
            if before is not None:
                before(replace(step, of=of))

        return listener

    def _make(self, queue: Queue, claim: Claim, began: float) -> None:
        """Run the three parts; what was computed is kept until it is landed, though its process or host may die."""
        parts = portable.Parts(queue.table, claim.key)
        fetched = parts.fetch()
        kept = results.kept(self._processed, queue.name, claim.key, fetched, self.identity.version)
        computed = kept.read() if kept else None
        is_of_another = computed is not None
        if is_of_another:
            log.info("kept    %s %s: an earlier attempt computed it", queue.name, describe(claim.key))
        else:
            computed, kept = self._computed(parts, fetched, kept)
        points.reach("computed")
        try:
            self._land_in_time(queue, claim, parts, fetched, computed, began)
        except Exception as error:
            if kept and is_of_another and not isinstance(error, Fenced) and failures.classify(error).policy != "wait":
                kept.remove()  # what is refused twice is computed anew
            raise
        if kept:
            kept.remove()

    @staticmethod
    def _computed(parts: portable.Parts, fetched: Any, kept: Kept | None) -> tuple[Any, Kept | None]:
        """Compute, and write down what is dear; return it and where it is kept."""
        began = time.monotonic()
        computed = parts.compute(fetched)
        is_dear = time.monotonic() - began > _DEAR or results.names_arrays(computed)
        return computed, kept if kept and is_dear and kept.write(computed) else None

    def _land_in_time(
        self, queue: Queue, claim: Claim, parts: portable.Parts, fetched: Any, computed: Any, began: float
    ) -> None:
        """Land a result; while the database is away, or for now refuses, it waits in memory too."""
        pause, is_in_doubt, refused = _SHORTLY, False, time.monotonic() + _KEPT
        while True:
            try:
                if is_in_doubt and queue.table & claim.key:  # the commit went through, or somebody else's did
                    queue.forget(self.identity.worker_id, claim)
                else:
                    self._land(queue, claim, parts, fetched, computed, began)
                return
            except portable.FAILURES as error:
                is_lost = isinstance(error, portable.LOST)
                if not is_lost and (not _passes(error) or self.stopping or time.monotonic() > refused):
                    raise
                log.warning("The result of %s waits for the database: %s", queue.name, failures.describe(error))
                is_in_doubt |= is_lost
                time.sleep(pause * random.random())  # those that deadlocked do not meet again
                pause = min(2 * pause, _PATIENCE)
                self._await_database(with_result=True)

    def _land(
        self, queue: Queue, claim: Claim, parts: portable.Parts, fetched: Any, computed: Any, began: float
    ) -> None:
        ending = Ending(claim.key, "done", time.monotonic() - began, peak_memory=memory.peak())
        self._attempts += 1  # a number that a rollback leaves unused is no loss
        with queue.landing(self.identity.worker_id, claim, self._attempts, ending):
            parts.insert(fetched, computed)
            points.reach("before commit")
        points.reach("after commit")

    # ---- many cheap keys

    def _compute_together(self, queue: Queue, taken: Sequence[Claim]) -> None:
        """Compute cheap keys in one transaction; one that fails is rolled back alone, and tried alone from then on."""
        began = time.monotonic()
        try:
            with self._at(queue, taken):
                failed = self._land_together(queue, taken)
                if failed is None:
                    failed = self._land_together(queue, taken, apart=True) or []
        except portable.LOST:
            self._suspects = (queue, taken)  # the server may have ended a transaction in which one of them stood still
            raise
        except Fenced:
            held = queue.still_held(self.identity.worker_id, taken)
            lost = "; ".join(describe(claim.key) for claim in taken if claim not in held)
            log.info("fenced  %s %s: lost, the %d keys beside are tried again", queue.name, lost, len(held))
            queue.requeue(self.identity.worker_id, held)
            self._is_scattered = True
            return
        except portable.FAILURES as error:
            why = f"[{failures.classify(error).name}] {failures.describe(error)}"
            log.info("%s: %d keys together failed, each is tried alone: %s", queue.name, len(taken), why)
            queue.requeue(self.identity.worker_id, taken, 0.0, why)
            self._is_scattered = True
            return
        done = len(taken) - len(failed)
        self.ended += done
        self.tally.add(queue.name, time.monotonic() - began, done=done)
        log.info("done    %s: %d keys in %.2f s", queue.name, done, time.monotonic() - began)
        for claim, reason in failed:
            self._fail(queue, claim, reason, 0.0)
            self.ended += 1

    def _land_together(
        self, queue: Queue, taken: Sequence[Claim], *, apart: bool = False
    ) -> list[tuple[Claim, Exception]] | None:
        """Compute and insert keys in one transaction, and return those that failed.

        A savepoint per key keeps them apart, and takes half of the time that is not the keys' own. So the first try
        goes without; it returns None, with nothing done, where a key fails, and the second one keeps them apart.
        """
        done: list[Claim] = []
        failed: list[tuple[Claim, Exception]] = []
        endings = []
        try:
            with statements.transaction(self._connection):
                # Whichever comes first, nobody takes the claims away before the transaction ends.
                (queue.fence if apart else queue.acknowledge)(self.identity.worker_id, taken)
                for claim in taken:
                    began = time.monotonic()
                    reason = self._land_beside_others(queue, claim, apart=apart, first=claim is taken[0])
                    if reason is None:
                        done.append(claim)
                        endings.append(Ending(claim.key, "done", time.monotonic() - began))
                    else:
                        failed.append((claim, reason))
                if done:
                    if apart:
                        queue.acknowledge(self.identity.worker_id, done)
                    self._record(queue, endings)
                points.reach("before commit")
        except _OneFailed:
            return None
        points.reach("after commit")
        return failed

    def _land_beside_others(self, queue: Queue, claim: Claim, *, apart: bool, first: bool) -> Exception | None:
        """Compute and insert one key within the transaction of many; return why it failed, with nothing left of it."""
        if apart:
            self._connection.query(statements.savepoint(self._connection, "one_key", first=first))
        try:
            parts = portable.Parts(queue.table, claim.key)
            parts.insert_computed(parts.compute(parts.fetch()))
        except Exception as error:
            if isinstance(error, portable.FAILURES) and _passes(error):
                raise  # and with it the others: a deadlock takes the whole transaction, as a loss does
            if not apart:
                raise _OneFailed from error
            self._connection.query("ROLLBACK TO SAVEPOINT one_key")
            return error
        return None

    # ---- what goes wrong

    def _fail(self, queue: Queue, claim: Claim, error: Exception, seconds: float) -> None:
        """Record a failed attempt, and let the key be tried again later or wait for a person."""
        failure = failures.classify(error)
        text = failures.describe(error)
        log.debug("where it failed", exc_info=error)
        self.needs_new_process |= failure.name in ("gpu", "memory")
        what = self._until_said(lambda: self._write_failure(queue, claim, error, seconds))
        where = f"{queue.name} {describe(claim.key)}"
        if what in ("dropped", "elsewhere", "fenced"):
            log.info("%s %s: %s", what, where, text)
            return
        fields = {"table": queue.name, "key": claim.key, "failure": failure.name}
        log.error("%-7s %s: %s", what, where, text, extra={"fields": fields})
        self.tally.failed.append(f"{where}: {text}")
        self.tally.add(queue.name, seconds)

    def _write_failure(self, queue: Queue, claim: Claim, error: Exception, seconds: float) -> str:
        """Return what becomes of the key.

        `later`, `failed`, `elsewhere` (computed), `dropped` with its parents, or `fenced`: it is another's by now.
        """
        failure = failures.classify(error)
        text = failures.describe(error)
        stack = logs.masked("".join(traceback.format_exception(error)))
        me = self.identity.worker_id
        with statements.transaction(self._connection):
            if queue.table & claim.key:
                queue.forget(me, claim)
                return "elsewhere"
            if not queue.is_wanted(claim.key):
                queue.forget(me, claim)
                return "dropped"
            tries = queue.failures(claim.key) + 1
            if failure.policy == "wait" or (failure.policy == "retry" and tries < self._workers.attempts):
                what = "later"
                is_held = bool(queue.requeue(me, [claim], failures.delay(failure, tries), f"[{failure.name}] {text}"))
            else:
                what, is_held = "failed", queue.fail(me, claim, f"[{failure.name}] {text}", stack)
            outcome = "failed" if is_held else "fenced"  # of another's key nothing is said that counts against it
            self._record(queue, [Ending(claim.key, outcome, seconds, failure.name, text, stack, memory.peak())])
            return what if is_held else "fenced"

    def _record(self, queue: Queue, endings: Sequence[Ending]) -> None:
        first = self._attempts + 1
        self._attempts += len(endings)  # a number that a rollback leaves unused is no loss
        liveness.record(self._connection, self.identity.worker_id, queue.name, first, endings)

    def _until_said(self, say: Callable[[], _T]) -> _T:
        """Write something down, again after each loss of the database."""
        while True:
            try:
                return say()
            except portable.FAILURES as error:
                if self.stopping or not _passes(error):
                    raise
                time.sleep(_SHORTLY * random.random())
                self._await_database()

    def _recover(self, error: Exception) -> None:
        """Wait for the database, and hand back what may have been claimed when the answer was lost."""
        log.warning("The database is away: %s", failures.describe(error))
        time.sleep(_SHORTLY * random.random())
        while not self.stopping:
            self._await_database()
            try:
                if self._suspects is not None:
                    queue, taken = self._suspects
                    queue.requeue(self.identity.worker_id, taken, 0.0, "[database] lost while computed with others")
                for queue in self.queues:
                    queue.hand_back(self.identity.worker_id)
            except portable.FAILURES as another:
                if not _passes(another):
                    raise
                continue
            self._suspects = None
            self._open.clear()
            self._next_look = float("-inf")
            return

    def _await_database(self, *, with_result: bool = False) -> None:
        """Return when the database answers; without a result that waits for it, also when told to stop."""
        began, pause = time.monotonic(), _SHORTLY
        while with_result or not self.stopping:
            if with_result:
                progress.report(WAITS)  # again and again: a supervisor would take silence for a standstill
            try:
                database.open_connection(self._settings)
            except portable.UNREACHABLE as error:
                log.debug("Still no database: %s", error)
                time.sleep(pause)
                pause = min(2 * pause, _PATIENCE, self._workers.lease / 4)
            else:
                if time.monotonic() - began > _PATIENCE:
                    log.warning("The database is back after %.1f s.", time.monotonic() - began)
                return


class _OneFailed(Exception):
    """A key failed, and the transaction that it shares with others fails with it."""


def _passes(error: Exception) -> bool:
    """Whether nothing is wrong but the database, for now."""
    return failures.classify(error).name == "database"


@contextmanager
def at_work(
    role: Role, settings: Settings, tables: Sequence[Any] | None = None, restriction: Mapping[str, Any] | None = None
) -> Iterator[Slot]:
    """Be a worker in this very process for the length of a block: registered, and beating from a thread.

    Parameters
    ----------
    role
        Whose tables are filled.
    settings
        Of the connected lab.
    tables
        Fill only these; by default all of the role.
    restriction
        Compute these keys only; tables whose key has none of its columns are left out.
    """
    tables = claims.concerned(role.tables() if tables is None else tables, restriction)
    names = [pipeline.table_name(table) for table in tables]
    identity = liveness.identify(role.name, roles.tool_versions(), fills=names, keeps_to=restriction)
    pulse = Pulse(identity.worker_id)
    slot = Slot(identity, tables, settings, restriction=restriction, pulse=pulse)
    own = portable.separate_connection(database.running_server(settings))
    every = [Queue(table, connection=own) for table in roles.computing_tables()]
    watch = Watch(every, settings.workers, lambda: portable.reconnect(own, database.running_server(settings)))
    watch.pulses[identity.worker_id] = pulse
    liveness.register(slot._connection, identity, settings.workers.lease)
    watch.tick()  # what a worker that died on this machine held can be claimed at once
    beater = Beater(watch, min(settings.workers.beat, settings.workers.lease / 4, 1.0))
    beater.start()
    try:
        yield slot
    finally:
        beater.end()
        own.close()
        liveness.leave(slot._connection, identity.worker_id, slot.queues)


def drain(role: Role, settings: Settings | None = None, tables: Sequence[Any] | None = None) -> Tally:
    """Compute every key of the role's tables, in this process, until nothing is left that can be claimed now.

    A key that fails is reported; where it is worth another try, that comes later and is not waited for. The others
    go on.
    """
    with at_work(role, settings or lab_settings.active(), tables) as slot:
        while (ended := slot.round()) or slot.saw_work:
            slot.needs_new_process = False  # there is no other
            if not ended:
                time.sleep(_SHORTLY)  # another worker was quicker
        return slot.tally
