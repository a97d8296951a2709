"""What people do about keys: look at them, try them again, stop them, leave them out, hurry them.

A change is first a plan that can be printed, and only then applied; a key whose job changed in between stays as it is.
Values reach the database as parameters, never as SQL.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from adamacs import pipeline
from adamacs.core import failures
from adamacs.core.errors import InvalidKey, InvalidRequest, PlanRefused, nearest, visible
from adamacs.core.errors import describe as spell
from adamacs.database import portable, statements
from adamacs.workers import attempts, liveness, pauses, state
from adamacs.workers.attempts import Tried
from adamacs.workers.claims import PRIORITY, Queue
from adamacs.workers.state import duration

Selection = Sequence[tuple[Any, Mapping[str, Any]]]  # tables, each with a key, whole or in part

STATUSES = ("pending", "reserved", "error", "ignore")
NEW = "new"  # the status of a key that is missing and has no job row yet
LAST_PRIORITY = 127
_AT_ONCE = 500  # keys that one statement changes
_SHOWN = 20  # keys that a plan spells out
_ASK_WHY = "`adamacs why TABLE KEY` tells where a key stands."


@dataclass(frozen=True)
class Job:
    """A key that is not computed, and its place in the queue; times are naive UTC on the clock of the database.

    Attributes
    ----------
    status
        `pending`, `reserved` (in work), `error`, `ignore` (left out), or `new`: no worker noticed it yet.
    failure, message
        Class and text of the last failure; of a key that was left out, the reason.
    priority
        Lower is sooner: 5 as usual, 4 where a superseded result is there.
    wait
        Seconds until it may be taken up, of a pending key; below 0 where it may be now.
    worker_id, host, pid
        Who has it in work.
    user
        Who left it out, or whose account has it in work.
    alive
        Its worker beats, of a key in work; None for a notebook or script, which does not.
    """

    table: str
    key: Mapping[str, Any]
    status: str
    failure: str = ""
    message: str = ""
    priority: int = PRIORITY
    created: datetime | None = None
    scheduled: datetime | None = None
    reserved: datetime | None = None
    wait: float = 0.0
    worker_id: int = 0
    host: str = ""
    pid: int = 0
    user: str = ""
    alive: bool | None = None

    def describe(self) -> str:
        """Return the job in one line."""
        return visible(f"{self._word():8}  {self.table} {spell(self.key)}{self._rest()}")

    def _word(self) -> str:
        if self.is_lost:
            return "lost"
        words = {"reserved": "running", "error": "failed", "ignore": "left out"}
        return "later" if self.status == "pending" and self.wait > 0 else words.get(self.status, self.status)

    @property
    def is_lost(self) -> bool:
        """Whether it is in the hands of a worker that is silent or gone."""
        return self.status == "reserved" and self.alive is False

    def _rest(self) -> str:
        if self.status == "reserved":
            who = {True: "", False: f": {state.LOST}", None: ", in a notebook"}[self.alive]
            return f"  on {self.host} (pid {self.pid}){who}"
        if self.status == "ignore":
            return f"  by {self.user or 'somebody'}{f': {self.message}' if self.message else ''}"
        again = f"  in {duration(self.wait)}" if self.status == "pending" and self.wait > 0 else ""
        urgency = f"  priority {self.priority}" if self.priority != PRIORITY else ""
        said = f"  [{self.failure}] {self.message}" if self.failure else f"  {self.message}" if self.message else ""
        return f"{again}{urgency}{said}"


@dataclass(frozen=True)
class History:
    """A key, its place in the queue and every attempt at it, the oldest first."""

    table: str
    key: Mapping[str, Any]
    is_computed: bool
    job: Job | None
    attempts: tuple[Tried, ...]

    def describe(self) -> str:
        """Return everything that is known of the key, as text."""
        where = "computed" if self.is_computed else "missing, and in no queue"
        head = self.job.describe() if self.job else visible(f"{where:8}  {self.table} {spell(self.key)}")
        return "\n\n".join([head, *(tried.describe() for tried in self.attempts)])


@dataclass(frozen=True)
class Change:
    """A plan to change jobs: nothing is changed before `apply`.

    Attributes
    ----------
    verb
        `retry`, `cancel`, `exclude` or `prioritize`.
    jobs
        Those that it changes, as they were when it was made.
    tables
        Their tables by name.
    queued
        Keys that a worker can take up already, of those that another try was asked for.
    """

    verb: str
    jobs: tuple[Job, ...]
    tables: Mapping[str, Any]
    reason: str = ""
    priority: int = PRIORITY
    queued: int = 0

    def describe(self) -> str:
        """Return what will change, as text."""
        sentence = {
            "retry": "try again, and forget how often it failed:",
            "cancel": "leave out, and refuse their results:",
            "exclude": "leave out:",
            "prioritize": f"give priority {self.priority} (lower is sooner, {PRIORITY} is usual):",
        }[self.verb]
        queued = [f"already queued: {self.queued}"] if self.queued else []
        if not self.jobs:
            return "\n".join([f"{sentence} nothing", *(queued or [_ASK_WHY])])
        lines = [f"  {job.describe()}" for job in self.jobs[:_SHOWN]]
        lines += [f"  and {len(self.jobs) - _SHOWN} more"] if len(self.jobs) > _SHOWN else []
        reason = [visible(f"reason: {self.reason}")] if self.reason else []
        return "\n".join([sentence, *lines, *self._ends(), *queued, *reason])

    def _ends(self) -> Iterator[str]:
        """Yield what becomes of the processes that compute keys which are cancelled."""
        if self.verb != "cancel":
            return
        daemons = {job.table for job in self.jobs if job.alive}
        if any(not _is_batched(self.tables[name]) for name in daemons):
            yield "A key that a slot of `adamacs work` computes alone is ended within seconds."
        if any(_is_batched(self.tables[name]) for name in daemons):
            yield "A batch of keys is not ended: it is computed to the end, and the results of these keys are refused."
        if any(job.alive is None for job in self.jobs):
            yield "A notebook or script goes on, and its result is kept: interrupt it there."
        if any(job.is_lost for job in self.jobs):
            yield "A worker that is silent or gone is not reached: should it come back, its result is refused."


def _is_batched(table: Any) -> bool:
    return bool(getattr(table, "batch", 1) > 1)


# ---- looking


def listing(
    selection: Selection, *, status: str | None = None, failure: str | None = None, limit: int | None = None
) -> list[Job]:
    """Return the jobs of some tables, those in work first, then by urgency.

    Parameters
    ----------
    selection
        Tables, each with a key, whole or in part; an empty key is every key.
    status
        Only `pending`, `reserved`, `error` or `ignore`.
    failure
        Only of this class; implies nothing about the status: a key that waits for its next try has one too.
    limit
        Of each table, no more than that many; by default all.

    Raises
    ------
    InvalidRequest
        There is no such status or class of failures.
    """
    if status is not None and status not in STATUSES:
        raise InvalidRequest(f"There is no status {status!r}.", hint=nearest(status, STATUSES))
    if failure is not None:
        failures.named(failure)
    found = [job for table, key in selection for job in _jobs(table, key, limit, status, failure)]
    order = {name: number for number, name in enumerate(("reserved", "pending", "error", "ignore"))}
    return sorted(found, key=lambda job: (order.get(job.status, 9), job.priority, job.wait))


_COLUMNS = (
    *("status", "priority", "created_time", "scheduled_time", "reserved_time", "error_message"),
    *("user", "host", "pid", "connection_id"),
)


def _jobs(
    table: Any, key: Mapping[str, Any], limit: int | None, status: str | None = None, failure: str | None = None
) -> Iterator[Job]:
    jobs = portable.job_table(table) & dict(key)
    past = statements.seconds_since(table.connection, "scheduled_time")
    found = jobs.proj(*_COLUMNS, past=past, failed_of=state.failure_sql(table.connection.adapter.quote_identifier))
    for name, wanted in (("status", status), ("failed_of", failure)):
        if wanted is not None:
            found = found & {name: wanted}
    rows = found.to_dicts(order_by=("priority", "scheduled_time"), limit=limit)
    is_anybody_at_work = any(row["status"] == "reserved" for row in rows)
    known = {who.worker_id: who for who in state.workers(table.connection)} if is_anybody_at_work else {}
    for row in rows:
        alive = state.is_alive(int(row["connection_id"]), known) if row["status"] == "reserved" else None
        yield _job(pipeline.table_name(table), _cut(row, jobs.primary_key), row, alive)


def _job(name: str, key: Mapping[str, Any], row: Mapping[str, Any], alive: bool | None) -> Job:
    is_left_out = row["status"] == "ignore"
    failure, message = ("", row["error_message"]) if is_left_out else failures.split_message(row["error_message"])
    return Job(
        table=name,
        key=key,
        status=row["status"],
        failure=failure,
        message=message,
        priority=int(row["priority"]),
        created=row["created_time"],
        scheduled=row["scheduled_time"],
        reserved=row["reserved_time"] if row["status"] == "reserved" else None,
        wait=-float(row["past"]),
        worker_id=int(row["connection_id"]),
        host=row["host"],
        pid=int(row["pid"]),
        user=row["user"],
        alive=alive,
    )


def show(selection: Selection, *, limit: int = _SHOWN) -> list[History]:
    """Return everything that is known of some keys: of each its job, and every attempt ever made.

    Raises
    ------
    InvalidKey
        There is neither a row, nor a job, nor an attempt.
    """
    found = [history for table, key in selection for history in _histories(table, key, limit)]
    if not found:
        raise InvalidKey("Nothing is known of such a key.", dict(selection[0][1]) if selection else None, _ASK_WHY)
    return found


def _histories(table: Any, key: Mapping[str, Any], limit: int) -> Iterator[History]:
    name, columns = pipeline.table_name(table), portable.job_table(table).primary_key
    jobs = {spell(job.key): job for job in _jobs(table, key, limit)}
    rows = {spell(_cut(row, columns)): _cut(row, columns) for row in (table & dict(key)).keys(limit=limit)}
    keys = {spelt: job.key for spelt, job in jobs.items()} | rows
    if set(columns) <= set(key):  # a key that was tried, and is neither there nor wanted any more
        keys.setdefault(spell(_cut(key, columns)), _cut(key, columns))
    tried = attempts.of_keys(table.connection, name, list(keys.values()))
    for spelt, one in keys.items():
        history = History(name, one, spelt in rows, jobs.get(spelt), tuple(tried[liveness.key_hash(one)]))
        if history.is_computed or history.job or history.attempts:
            yield history


def _cut(row: Mapping[str, Any], columns: Iterable[str]) -> dict[str, Any]:
    return {name: row[name] for name in columns}


# ---- planning


def plan_retry(selection: Selection, *, failure: str | None = None) -> Change:
    """Plan another try of keys that failed; where a KEY is given, also of keys that were left out.

    Without a key, keys that people left out stay out. A key that waits for its next try is tried at once.

    Parameters
    ----------
    failure
        Only keys that failed like this.
    """
    jobs, queued = [], 0
    for table, key in selection:
        with_excluded = bool(key) and failure is None
        for job in listing([(table, key)], failure=failure):
            waits = job.status == "pending" and job.wait > 0
            if job.status == "error" or waits or (job.status == "ignore" and with_excluded):
                jobs.append(job)
            queued += job.status == "pending" and not waits
    return Change("retry", tuple(jobs), _by_name(selection), queued=queued)


def plan_cancel(selection: Selection, *, reason: str = "") -> Change:
    """Plan to leave keys out that are in work: results of workers are refused, and a process with one key is ended.

    Nobody ends a notebook or script; DataJoint inserts its result whatever the queue says.
    """
    jobs = listing(selection, status="reserved")
    return Change("cancel", tuple(jobs), _by_name(selection), reason)


def plan_exclude(selection: Selection, *, reason: str = "") -> Change:
    """Plan to leave keys out that are not computed; a whole key may be one that nobody asks for yet.

    Raises
    ------
    PlanRefused
        One of them is in work.
    InvalidKey
        A whole key is computed already.
    """
    jobs = [job for job in _not_computed(selection) if job.status != "ignore"]
    if running := [job for job in jobs if job.status == "reserved"]:
        what = f"{len(running)} of these keys are in work."
        raise PlanRefused(what, running[0].key, f"End it: adamacs jobs cancel {running[0].table} KEY")
    return Change("exclude", tuple(jobs), _by_name(selection), reason)


def plan_priority(selection: Selection, priority: int) -> Change:
    """Plan to take up keys sooner or later than others.

    Parameters
    ----------
    priority
        0 to 127, lower is sooner; 5 is usual.

    Raises
    ------
    InvalidRequest
        The priority is none.
    InvalidKey
        A whole key is computed already.
    """
    if not 0 <= priority <= LAST_PRIORITY:
        hint = f"0 (first) to {LAST_PRIORITY} (last); {PRIORITY} is usual."
        raise InvalidRequest(f"{priority} is no priority.", hint=hint)
    jobs = [job for job in _not_computed(selection) if job.status in ("pending", "error", NEW)]
    return Change("prioritize", tuple(jobs), _by_name(selection), priority=priority)


def _by_name(selection: Selection) -> dict[str, Any]:
    return {pipeline.table_name(table): table for table, _ in selection}


def _not_computed(selection: Selection) -> Iterator[Job]:
    """Yield the jobs of some keys, and those keys that are missing without one."""
    for table, key in selection:
        queue = Queue(table, key)
        found = listing([(table, key)])
        missing = [_cut(row, queue.key_columns) for row in queue.missing().to_dicts()]
        if not found and not missing and set(queue.key_columns) <= set(key):
            if table & dict(key):
                raise InvalidKey("It is computed already.", key, "`adamacs remove` removes a scan with its results.")
            missing = [_cut(key, queue.key_columns)]
        yield from found
        yield from (Job(queue.name, one, NEW) for one in missing)


# ---- applying


def apply(change: Change) -> list[Job]:
    """Make a planned change, and return the jobs that it changed: not those that changed since it was planned."""
    changed: list[Job] = []
    for name, table in change.tables.items():
        jobs = [job for job in change.jobs if job.table == name]
        for start in range(0, len(jobs), _AT_ONCE):
            with statements.transaction(table.connection):
                changed += _Writer(table, change).write(jobs[start : start + _AT_ONCE])
    return changed


class _Writer:
    """Writes a change into the job table of one table, inside a transaction of the caller."""

    def __init__(self, table: Any, change: Change) -> None:
        self._queue = Queue(table)
        self._change = change
        self._connection = table.connection
        self._quote = table.connection.adapter.quote_identifier

    def write(self, jobs: Sequence[Job]) -> list[Job]:
        """Change jobs that still have the status that they were planned with."""
        self._insert([job for job in jobs if job.status == NEW])
        still = self._unchanged(jobs)
        if not still:
            return []
        text, values = self._assignments()
        where, keys = self._where(still)
        self._connection.query(f"UPDATE {self._queue.jobs.full_table_name} SET {text} WHERE {where}", (*values, *keys))
        return still

    def _insert(self, jobs: Sequence[Job]) -> None:
        """Stage keys, so that they can be changed; a worker may have been quicker."""
        for job in jobs:
            row = {**job.key, "status": "pending", "priority": PRIORITY}
            self._queue.jobs.insert1(row, skip_duplicates=True)  # then it is the same key, which is all that matters

    def _unchanged(self, jobs: Sequence[Job]) -> list[Job]:
        """Lock the jobs that are still as they were planned, and return them."""
        where, keys = self._where(jobs)
        names = [*self._queue.key_columns, "status", "connection_id"]
        columns = ", ".join(map(self._quote, names))
        text = f"SELECT {columns} FROM {self._queue.jobs.full_table_name} WHERE {where} FOR UPDATE"
        rows = [dict(zip(names, row, strict=True)) for row in self._connection.query(text, tuple(keys))]
        found = {spell(_cut(row, self._queue.key_columns)): row for row in rows}
        return [job for job in jobs if _is_same(job, found.get(spell(_cut(job.key, self._queue.key_columns))))]

    def _assignments(self) -> tuple[str, list[Any]]:
        """Return what an UPDATE sets, and the values of its parameters."""
        now = "CURRENT_TIMESTAMP(3)"
        settings: dict[str, dict[str, Any]] = {
            "retry": {"status": "pending", "user": ""},
            "prioritize": {"priority": self._change.priority},
        }
        out = {"status": "ignore", "user": pauses.who()[:255], "error_message": self._change.reason[:2047]}
        given = settings.get(self._change.verb, out)
        texts = [f"{self._quote(name)} = %s" for name in given]
        if self._change.verb == "retry":
            message, status = self._quote("error_message"), self._quote("status")
            # Before the status, which MySQL sees changed in the assignments that follow.
            texts.insert(0, f"{message} = CASE WHEN {status} = 'ignore' THEN '' ELSE {message} END")
            texts += [f"{self._quote(name)} = {now}" for name in ("created_time", "scheduled_time")]
            texts.append(f"{self._quote('connection_id')} = 0")
        elif self._change.verb != "prioritize":
            texts.append(f"{self._quote('completed_time')} = {now}")
        return ", ".join(texts), list(given.values())

    def _where(self, jobs: Sequence[Job]) -> tuple[str, list[Any]]:
        columns = self._queue.key_columns
        one = "(" + " AND ".join(f"{self._quote(column)} = %s" for column in columns) + ")"
        return " OR ".join([one] * len(jobs)), [job.key[column] for job in jobs for column in columns]


def _is_same(job: Job, row: Mapping[str, Any] | None) -> bool:
    if row is None:
        return False
    if job.status == "reserved":
        return row["status"] == "reserved" and int(row["connection_id"]) == job.worker_id
    return bool(row["status"] == ("pending" if job.status == NEW else job.status))
