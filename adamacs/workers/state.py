"""What is going on: per table how much is done, running, failed and waiting for what; and who is at work.

Reads only, and counts in the database: six statements, whatever the number of keys.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from adamacs.core import failures, processes
from adamacs.core import settings as _settings
from adamacs.core.errors import visible
from adamacs.core.settings import Settings
from adamacs.database import statements
from adamacs.schemas.operations import Heartbeat, Pause, Worker
from adamacs.workers import pauses
from adamacs.workers.catalogue import Catalogue
from adamacs.workers.liveness import TOKEN_FLOOR

UNKNOWN = "unknown"  # the class of a failure that somebody else wrote down
HANDED_ON = "when another worker looks, or when the daemon of this host starts again"  # what a dead worker holds
LOST = "its worker is silent or gone"
NOBODY = "No worker is alive."


@dataclass(frozen=True)
class Running:
    """Keys of one table in the hands of one worker or notebook.

    Attributes
    ----------
    key
        One of them, as KEY on a command line.
    count
        How many.
    since
        When the oldest was claimed, naive UTC on the clock of the database; `seconds` ago.
    stage, fraction, seconds_left
        How far the stage has come, 0 to 1, and how long it takes if it goes on like that; None where nobody knows.
    alive
        Its worker beats. None for a notebook, which does not.
    """

    table: str
    key: str
    count: int
    worker_id: int
    host: str
    pid: int
    since: datetime
    seconds: float
    stage: str = ""
    fraction: float | None = None
    seconds_left: float | None = None
    alive: bool | None = None

    def describe(self) -> str:
        """Return `imaging.Processing scan_id=...: registration 42 %, 3 min left, since 2 min, on host (pid 12)`."""
        what = f"{self.table} {self.key}" if self.count == 1 else f"{self.table} {self.count} keys"
        return visible(f"{what}: {self.progress()}, since {duration(self.seconds)}, on {self.host} (pid {self.pid})")

    def progress(self) -> str:
        """Return how far it is, in words."""
        if self.alive is None:
            return "in a notebook"
        if not self.alive:
            return LOST
        return progress(self.stage, self.fraction, self.seconds_left)


@dataclass(frozen=True)
class WorkerState:
    """A worker that has a heartbeat.

    Attributes
    ----------
    alive
        Its last beat is younger than its lease, and its process is not known to be gone from this machine.
    silent
        Seconds since the last beat.
    holds
        Table to the number of keys in its hands.
    fills, keeps_to
        As in `liveness.Identity`.
    """

    worker_id: int
    role: str
    host: str
    pid: int
    version: str
    log_file: str
    started_at: datetime
    alive: bool
    silent: float
    lease: float
    stage: str = ""
    fraction: float | None = None
    seconds_left: float | None = None
    holds: Mapping[str, int] = field(default_factory=dict)
    fills: tuple[str, ...] = ()
    keeps_to: Mapping[str, Any] = field(default_factory=dict)

    def attends(self, table: str, role: str, key: Mapping[str, Any] | None = None) -> bool:
        """Whether it is alive and computes a table of a role; and, where one is given, this key of it."""
        fills = table in self.fills if self.fills else role in ("", self.role)
        given = {name: statements.plain(value) for name, value in (key or {}).items()}
        return self.alive and fills and all(given.get(name, value) == value for name, value in self.keeps_to.items())

    def describe(self) -> str:
        """Return the worker in one line."""
        holds = ", ".join(f"{table} ({count})" if count > 1 else table for table, count in self.holds.items())
        doing = f"{holds}: {progress(self.stage, self.fraction, self.seconds_left)}" if holds else "idle"
        state = doing if self.alive else self._silence(holds)
        kept = ",".join(f"{name}={value}" for name, value in self.keeps_to.items())
        return visible(f"{self.role:8}  {self.host} (pid {self.pid})  {state}{f'  (only {kept})' if kept else ''}")

    def _silence(self, holds: str) -> str:
        left = f": {holds} is handed on {HANDED_ON}" if holds else ""
        return f"silent for {duration(self.silent)} or gone{left}"


@dataclass(frozen=True)
class PauseState:
    """What workers leave alone for now."""

    scope: str
    by: str
    at: datetime
    reason: str = ""

    def describe(self) -> str:
        """Return the pause in one line."""
        what = {"all": "everything"}.get(self.scope, self.scope.replace(":", " "))
        return visible(
            f"{what}, by {self.by} at {self.at:%Y-%m-%d %H:%M} UTC{f': {self.reason}' if self.reason else ''}"
        )


@dataclass(frozen=True)
class TableState:
    """Where one table stands.

    Attributes
    ----------
    role
        Who fills it; empty for a table that no role of the lab fills.
    expected
        Keys that the table should hold now; those that still wait for a parent are not among them.
    done
        Rows that it holds.
    pending
        Keys that a worker can take up now.
    backoff
        Keys that failed and are tried again later; the first in `next_try` seconds.
    running, failed, excluded
        Keys in work, keys that wait for a person by class of failure, and keys that people left out.
    waits
        What keys that are staged upstream wait for: table to the number of its keys that are not computed.
    paused
        The pause that holds the table, or an empty text.
    unattended
        No worker that fills it is alive.
    kept_to
        Each of those that are alive keeps to some keys; the others wait for another worker.
    """

    table: str
    role: str
    expected: int
    done: int
    pending: int = 0
    backoff: int = 0
    next_try: float | None = None
    running: int = 0
    failed: Mapping[str, int] = field(default_factory=dict)
    excluded: int = 0
    waits: Mapping[str, int] = field(default_factory=dict)
    paused: str = ""
    unattended: bool = False
    kept_to: bool = False

    def notes(self) -> Iterator[str]:
        """Yield what the numbers do not say."""
        if self.failed:
            yield "failed: " + ", ".join(f"{count} {name}" for name, count in self.failed.items())
        if self.backoff:
            yield f"{self.backoff} tried again, the next in {duration(self.next_try or 0)}"
        if self.waits:
            yield "waits for " + ", ".join(f"{count} {table}" for table, count in self.waits.items())
        if self.paused:
            yield f"paused ({self.paused})"
        if self.unattended and (self.pending or self.backoff):
            yield f"no worker of role {self.role} that fills it is alive" if self.role else "no worker is alive"
        elif self.kept_to and (self.pending or self.backoff):
            yield "its workers keep to some keys"


@dataclass(frozen=True)
class Status:
    """What is going on in a lab, at one moment (`at`, naive UTC on the clock of the database)."""

    at: datetime
    tables: tuple[TableState, ...]
    running: tuple[Running, ...] = ()
    workers: tuple[WorkerState, ...] = ()
    pauses: tuple[PauseState, ...] = ()

    def describe(self) -> str:
        """Return one screen: a line per table, then what is running, who is alive and what is paused."""
        width = max((len(table.table) for table in self.tables), default=5)
        head = f"{'table':{width}}  role      done/expected  pending  running  failed  left out"
        lines = [head, *(_row(table, width) for table in self.tables)]
        lines += _section("running", (keys.describe() for keys in self.running))
        lines += _section("workers", (worker.describe() for worker in self.workers))
        lines += _section("paused", (pause.describe() for pause in self.pauses))
        return "\n".join(lines if any(worker.alive for worker in self.workers) else [*lines, "", NOBODY])


def _row(table: TableState, width: int) -> str:
    counts = f"{table.done}/{table.expected}"
    pending, failed = table.pending + table.backoff, sum(table.failed.values())
    numbers = f"{counts:>13}  {pending:7}  {table.running:7}  {failed:6}  {table.excluded:8}"
    return visible(f"{table.table:{width}}  {table.role:8}  {numbers}  {'; '.join(table.notes())}".rstrip())


def _section(title: str, lines: Iterable[str]) -> list[str]:
    found = [f"  {line}" for line in lines]
    return ["", title, *found] if found else []


def duration(seconds: float) -> str:
    """Return a length of time as a person says it.

    >>> [duration(s) for s in (0.4, 75, 7500, 200_000)]
    ['0 s', '75 s', '125 min', '56 h']
    """
    if seconds < 120:
        return f"{max(seconds, 0):.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 3 * 3600 else f"{seconds / 3600:.0f} h"


def progress(stage: str, fraction: float | None, left: float | None) -> str:
    """Return how far a stage is, in words."""
    percent = f" {100 * fraction:.0f} %" if fraction is not None else ""
    return f"{stage or 'begins'}{percent}{f', {duration(left)} left' if left is not None else ''}"


# ---- reading it


def status(settings: Settings | None = None, tables: Sequence[Any] | None = None) -> Status:
    """Return what is going on in the connected lab.

    Parameters
    ----------
    settings
        Of the lab; by default those in use.
    tables
        Report on those of these that compute; by default on every table that workers fill.
    """
    catalogue = Catalogue(settings or _settings.active(), tables)
    alive = workers(catalogue.connection)
    held = list(_running(catalogue, alive))
    paused = _pauses(catalogue.connection)
    states = _tables(catalogue, alive, {pause.scope for pause in paused})
    holds: dict[int, dict[str, int]] = defaultdict(dict)
    for keys in held:
        holds[keys.worker_id][keys.table] = keys.count
    busy = tuple(replace(worker, holds=holds.get(worker.worker_id, {})) for worker in alive)
    return Status(_now(catalogue), tuple(states), tuple(held), busy, tuple(paused))


def _now(catalogue: Catalogue) -> datetime:
    (now,) = catalogue.connection.query("SELECT CURRENT_TIMESTAMP(6)").fetchone()
    return _naive(now)


def _naive(moment: datetime) -> datetime:
    return moment.replace(tzinfo=None)  # PostgreSQL names the zone, which is UTC


def _pauses(connection: Any) -> list[PauseState]:
    text = f"SELECT pause_scope, paused_by, paused_at, pause_reason FROM {Pause().full_table_name} ORDER BY paused_at"
    return [PauseState(*row) for row in connection.query(text)]


def workers(connection: Any) -> list[WorkerState]:
    """Return every worker that has a heartbeat, in the order in which they began."""
    since = statements.seconds_since
    text = (
        "SELECT w.worker_id, w.worker_role, w.host, w.pid, w.adamacs_version, w.log_file, w.started_at, "
        "w.machine, w.process_start, w.fills, w.keeps_to, "
        f"{since(connection, 'h.beat_time')} AS silent, h.lease, h.stage, h.fraction, "
        f"{since(connection, 'h.stage_since')} AS staged FROM {Heartbeat().full_table_name} AS h "
        f"JOIN {Worker().full_table_name} AS w ON w.worker_id = h.worker_id ORDER BY w.started_at"
    )
    here = processes.machine()
    return [_worker(row, here) for row in connection.query(text)]


def _worker(row: Sequence[Any], here: str) -> WorkerState:
    worker_id, role, host, pid, version, log_file, started_at, machine, process_start, fills, keeps_to, *pulse = row
    silent, lease, stage, fraction, staged = pulse
    left = float(staged) * (1 - fraction) / fraction if fraction and staged is not None else None
    is_gone = machine == here and not processes.is_running(pid, process_start)
    alive = float(silent) < lease and not is_gone
    who = (worker_id, role, host, pid, version, log_file, started_at)
    kept = {"fills": tuple(_json(fills)), "keeps_to": _json(keeps_to)}
    return WorkerState(*who, alive, max(float(silent), 0.0), lease, stage, fraction, left, **kept)


def _json(held: Any) -> Any:
    """Return what a JSON column holds: one driver parses it, the other leaves it as text."""
    return json.loads(held) if isinstance(held, str | bytes) else held


def is_alive(worker_id: int, known: Mapping[int, WorkerState]) -> bool | None:
    """Whether who claimed a key still beats; None for a notebook or script, which does not.

    Parameters
    ----------
    worker_id
        As the job row tells.
    known
        The workers that have a heartbeat, by their ids.
    """
    if worker := known.get(worker_id):
        return worker.alive
    return None if worker_id < TOKEN_FLOOR else False


def _running(catalogue: Catalogue, alive: Sequence[WorkerState]) -> Iterator[Running]:
    """Yield what is claimed, one per table and worker."""
    known = {worker.worker_id: worker for worker in alive}
    texts = [_running_sql(catalogue, number, name) for number, name in enumerate(catalogue.filled)]
    names = list(catalogue.filled)
    for number, worker_id, host, pid, key, count, since, seconds in _ask(catalogue, texts):
        who = Running(names[number], key, int(count), worker_id, host, pid, since, max(float(seconds), 0.0))
        keys = replace(who, alive=is_alive(worker_id, known))
        if worker := known.get(worker_id):
            keys = replace(keys, stage=worker.stage, fraction=worker.fraction, seconds_left=worker.seconds_left)
        yield keys


def _running_sql(catalogue: Catalogue, number: int, name: str) -> str:
    quote = catalogue.connection.adapter.quote_identifier
    spelt = ", ',', ".join(f"'{column}=', {quote(column)}" for column in catalogue.key_columns(name))
    first = f"MIN({quote('reserved_time')})"
    who = ", ".join(map(quote, ("connection_id", "host", "pid")))
    return (
        f"SELECT {number} AS n, {who}, MIN(CONCAT({spelt})) AS one, COUNT(*) AS held, {first} AS since, "
        f"{statements.seconds_since(catalogue.connection, first)} AS seconds FROM {catalogue.jobs_name(name)} "
        f"WHERE {quote('status')} = 'reserved' GROUP BY {who}"
    )


def _ask(catalogue: Catalogue, texts: Sequence[str]) -> list[Any]:
    return list(catalogue.connection.query(" UNION ALL ".join(texts))) if texts else []


@dataclass
class _Counts:
    """What the job rows of one table say."""

    pending: int = 0
    backoff: int = 0
    next_try: float | None = None
    running: int = 0
    excluded: int = 0
    failed: dict[str, int] = field(default_factory=dict)

    def add(self, status: str, failure: str, later: bool, count: int, wait: float) -> None:
        if status == "error":
            name = failure if failure in _CLASSES else UNKNOWN
            self.failed[name] = self.failed.get(name, 0) + count
        elif status == "reserved":
            self.running += count
        elif status == "ignore":
            self.excluded += count
        elif status == "pending" and later:
            self.backoff += count
            self.next_try = wait if self.next_try is None else min(wait, self.next_try)
        elif status == "pending":
            self.pending += count


_CLASSES = frozenset(failure.name for failure in failures.FAILURES)


def _tables(catalogue: Catalogue, alive: Sequence[WorkerState], paused: set[str]) -> Iterator[TableState]:
    names = list(catalogue.filled)
    counts: dict[str, _Counts] = {name: _Counts() for name in names}
    for number, state, failure, later, count, wait in _ask(catalogue, [_jobs_sql(catalogue, n, names) for n in names]):
        counts[names[number]].add(state.strip(), failure, bool(later), int(count), float(wait))
    rules = {name: [parent.name for parent in catalogue.parents(name) if parent.is_rule] for name in names}
    rows = _ask(catalogue, [_rows_sql(catalogue, n, names, bool(rules[n])) for n in names])
    found = {names[row[0]]: [int(number) for number in row[1:]] for row in rows}
    left = {n: expected + held - done - counts[n].excluded for n, (expected, done, _, held) in found.items()}
    for name in names:
        expected, done, unseen, held = found[name]
        waits = {other: left[other] for other in catalogue.filled_before(name) if left[other] > 0}
        role = catalogue.roles.get(name, "")
        own = vars(counts[name]) | {"pending": counts[name].pending + unseen}
        attending = [worker for worker in alive if worker.attends(name, role)]
        yield TableState(
            table=name,
            role=role,
            expected=expected,
            done=done,
            **own,
            waits=waits | (dict.fromkeys(rules[name], held) if held else {}),
            paused=next((scope for scope in scopes(name, role) if scope in paused), ""),
            unattended=not attending,
            kept_to=bool(attending) and all(worker.keeps_to for worker in attending),
        )


def scopes(name: str, role: str) -> tuple[str, str, str]:
    """Return the names of the pauses that would hold a table."""
    return pauses.ALL, pauses.scope(role=role), pauses.scope(table=name)


def failure_sql(quote: Any) -> str:
    """Write the class of failure that a job row names in brackets, or an empty text."""
    message = quote("error_message")
    end = f"POSITION(']' IN {message})"
    return (
        f"CASE WHEN {quote('status')} <> 'ignore' AND LEFT({message}, 1) = '[' AND {end} > 2 "
        f"THEN SUBSTRING({message} FROM 2 FOR {end} - 2) ELSE '' END"
    )


def _jobs_sql(catalogue: Catalogue, name: str, names: Sequence[str]) -> str:
    """Count the job rows of a table by status, class of failure and whether they are due."""
    quote = catalogue.connection.adapter.quote_identifier
    age = statements.seconds_since(catalogue.connection, quote("scheduled_time"))
    later = f"CASE WHEN {quote('scheduled_time')} > CURRENT_TIMESTAMP(3) THEN 1 ELSE 0 END"
    inner = (
        f"SELECT {quote('status')} AS state, {failure_sql(quote)} AS failure, {later} AS later, -({age}) AS wait "
        f"FROM {catalogue.jobs_name(name)}"
    )
    return (
        f"SELECT {names.index(name)} AS n, CAST(state AS CHAR(16)) AS state, failure, later, COUNT(*) AS c, "
        f"MIN(wait) AS wait FROM ({inner}) AS j GROUP BY state, failure, later"
    )


def _rows_sql(catalogue: Catalogue, name: str, names: Sequence[str], has_rule: bool) -> str:
    """Count the keys that a table should hold, holds, lacks without a job row, and that its rule holds back."""
    quote = catalogue.connection.adapter.quote_identifier
    columns = [quote(column) for column in catalogue.key_columns(name)]
    source, rows, jobs = catalogue.source_sql(name), catalogue.filled[name].full_table_name, catalogue.jobs_name(name)
    expected = f"(SELECT COUNT(*) FROM ({source}) AS s)"

    def absent(place: str) -> str:
        same = " AND ".join(f"o.{column} = s.{column}" for column in columns)
        return f"NOT EXISTS (SELECT 1 FROM {place} AS o WHERE {same})"

    unseen = f"(SELECT COUNT(*) FROM ({source}) AS s WHERE {absent(rows)} AND {absent(jobs)})"
    held = f"(SELECT COUNT(*) FROM ({catalogue.allowed_sql(name)}) AS s) - {expected}" if has_rule else "0"
    done = f"(SELECT COUNT(*) FROM {rows})"
    return f"SELECT {names.index(name)} AS n, {expected} AS e, {done} AS d, {unseen} AS u, {held} AS h"
