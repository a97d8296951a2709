"""Who is alive: a row per worker that is renewed on the clock of the database, and what a dead worker leaves.

A worker that does not renew its row for the length of its lease counts as dead; one whose process is gone from this
very machine is known to be dead at once. Whoever notices first takes the row away, and in the same transaction hands
the dead worker's claims back and records an attempt for each. After an outage every heartbeat stood still: so nobody
judges by age before the database has answered it for one full lease.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import platform
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from adamacs.core import processes
from adamacs.core.errors import describe
from adamacs.database import statements
from adamacs.schemas.operations import Attempt, Heartbeat, Worker

if TYPE_CHECKING:
    import datajoint as dj

    from adamacs.workers.claims import Queue

log = logging.getLogger("adamacs.worker")

TOKEN_FLOOR = 2**40  # ids of connections, which notebooks write into the same column of a job row, are smaller
DEATHS = ("killed", "stalled")  # outcomes for which a key may be to blame
MESSAGE, STACK = 2047, 8000  # characters that the columns of an attempt hold


@dataclass(frozen=True)
class Identity:
    """A worker, as it stands in the database and in the job rows that it claims.

    Attributes
    ----------
    worker_id
        Random; no two workers share one.
    machine
        This start of this host and its space of process numbers.
    process_start
        s, see `start_of`; with `machine` and `pid` it names one process for ever.
    user
        Account on the host.
    version
        Release of adamacs, and the git revision where it runs from a checkout.
    fills, keeps_to
        Names of the tables that it computes, all of its role where none are named; and the only keys, by column.
    """

    worker_id: int
    role: str
    host: str
    machine: str
    pid: int
    process_start: float
    user: str
    version: str
    tools: Mapping[str, str] = field(default_factory=dict)
    log_file: str = ""
    fills: tuple[str, ...] = ()
    keeps_to: Mapping[str, Any] = field(default_factory=dict)


def identify(
    role: str,
    tools: Mapping[str, str] | None = None,
    log_file: str = "",
    fills: Iterable[str] = (),
    keeps_to: Mapping[str, Any] | None = None,
) -> Identity:
    """Return who this process is as a worker, with a fresh id."""
    return Identity(
        worker_id=TOKEN_FLOOR + secrets.randbelow(2**62),
        role=role,
        host=platform.node(),
        machine=processes.machine(),
        pid=os.getpid(),
        process_start=processes.start_of(os.getpid()),
        user=processes.account(),
        version=processes.version(),
        tools=tools or {},
        log_file=log_file,
        fills=tuple(fills),
        keeps_to={name: statements.plain(value) for name, value in (keeps_to or {}).items()},
    )


# ---- the rows of a worker


def register(connection: dj.Connection, identity: Identity, lease: float) -> None:
    """Write down that a worker begins, alive from now."""
    columns = ("worker_id", "worker_role", "host", "machine", "pid", "process_start", "adamacs_version", "log_file")
    values = (
        *(identity.worker_id, identity.role, identity.host, identity.machine, identity.pid, identity.process_start),
        *(identity.version[:64], identity.log_file),
        *(json.dumps(content) for content in (dict(identity.tools), identity.fills, dict(identity.keeps_to))),
    )
    quote = connection.adapter.quote_identifier
    names = ", ".join(map(quote, (*columns, "tool_versions", "fills", "keeps_to", "started_at")))
    marks = ", ".join(["%s"] * len(values))
    with statements.transaction(connection):
        text = f"INSERT INTO {Worker().full_table_name} ({names}) VALUES ({marks}, CURRENT_TIMESTAMP(6))"
        connection.query(text, values)
        _begin_to_beat(connection, identity.worker_id, lease)


def _begin_to_beat(connection: dj.Connection, worker_id: int, lease: float) -> None:
    text = f"INSERT INTO {Heartbeat().full_table_name} (worker_id, beat_time, lease, stage) "
    connection.query(text + "VALUES (%s, CURRENT_TIMESTAMP(6), %s, '')", (worker_id, lease))


def beat(
    connection: dj.Connection, worker_id: int, lease: float, stage: str = "", fraction: float | None = None
) -> None:
    """Renew a worker's heartbeat. One that was taken for dead, and is not, is alive again: its old claims are gone."""
    stamp = "stage_since = CASE WHEN stage = %s THEN stage_since ELSE CURRENT_TIMESTAMP(6) END"
    text = (
        f"{statements.relaxed(connection)}UPDATE {Heartbeat().full_table_name} SET beat_time = CURRENT_TIMESTAMP(6), "
        f"lease = %s, {stamp}, stage = %s, fraction = %s WHERE worker_id = %s"
    )
    stage = stage[:64]
    cursor = connection.query(text, (lease, stage, stage, fraction, worker_id), reconnect=False)
    if cursor.rowcount == 0 and not _is_beating(connection, worker_id):
        log.warning("Worker %s was taken for dead; what it was computing is no longer its own.", worker_id)
        _begin_to_beat(connection, worker_id, lease)


def _is_beating(connection: dj.Connection, worker_id: int) -> bool:
    text = f"SELECT 1 FROM {Heartbeat().full_table_name} WHERE worker_id = %s"
    return connection.query(text, (worker_id,)).fetchone() is not None


def leave(connection: dj.Connection, worker_id: int, queues: Iterable[Queue]) -> int:
    """End a worker in order: hand back what it holds, take its heartbeat away; return how much was handed back."""
    with statements.transaction(connection):
        count = sum(queue.hand_back(worker_id) for queue in queues)
        connection.query(f"DELETE FROM {Heartbeat().full_table_name} WHERE worker_id = %s", (worker_id,))
    return count


# ---- attempts


def key_hash(key: Mapping[str, Any]) -> str:
    """Return the hash under which attempts at a key are found.

    >>> key_hash({"a": 1, "b": "x"}) == key_hash({"b": "x", "a": 1})
    True
    """
    spelt = json.dumps({name: str(key[name]) for name in sorted(key)})
    return hashlib.blake2b(spelt.encode(), digest_size=16).hexdigest()


@dataclass(frozen=True)
class Ending:
    """How an attempt ended; times are seconds before the moment at which it is written down."""

    key: Mapping[str, Any]
    outcome: str
    seconds: float = 0.0  # that it took
    failure: str = ""
    message: str = ""
    traceback: str = ""
    peak_memory: int | None = None  # bytes


def record(connection: dj.Connection, worker_id: int, table_name: str, first: int, endings: Sequence[Ending]) -> None:
    """Write attempts down, numbered from `first` on, in one statement."""
    head, row = recording(connection)
    rows = ", ".join([f"({row})"] * len(endings))
    written = (recorded(worker_id, table_name, number, ending) for number, ending in enumerate(endings, first))
    connection.query(f"{head} VALUES {rows}", tuple(value for values in written for value in values))


def recording(connection: dj.Connection) -> tuple[str, str]:
    """Return how attempts are written down: the head of an INSERT, and the expressions of a row."""
    ago = statements.seconds_from_now(connection)
    names = (
        "worker_id, attempt, table_name, key_hash, job_key, started_at, ended_at, "
        "outcome, failure, message, traceback, peak_memory"
    )
    row = f"%s, %s, %s, %s, %s, {ago}, CURRENT_TIMESTAMP(6), %s, %s, %s, %s, %s"
    return f"INSERT INTO {Attempt().full_table_name} ({names})", row


def recorded(worker_id: int, table_name: str, number: int, ending: Ending) -> tuple[Any, ...]:
    """Return the values of the row of an attempt."""
    spelt = {name: statements.plain(value) for name, value in ending.key.items()}
    values = (worker_id, number, table_name, key_hash(ending.key), json.dumps(spelt), -ending.seconds, ending.outcome)
    texts = (statements.storable(ending.message, MESSAGE), statements.storable(ending.traceback[-STACK:], STACK))
    return (*values, ending.failure, *texts, ending.peak_memory)


def record_after_death(connection: dj.Connection, worker_id: int, table_name: str, endings: Sequence[Ending]) -> None:
    """Write down how attempts of a dead worker ended; they are numbered below zero."""
    record(connection, worker_id, table_name, _next_below(connection, worker_id, len(endings)), endings)


# ---- the dead


@dataclass(frozen=True)
class Suspect:
    """A worker that may be dead: its lease ran out, or it is one of this machine."""

    worker_id: int
    lease: float
    machine: str
    pid: int
    process_start: float
    expired: bool

    def is_known_dead(self, here: str) -> bool:
        """Whether its process is gone from this machine."""
        return self.machine == here and not processes.is_running(self.pid, self.process_start)


def suspects(connection: dj.Connection, here: str) -> list[Suspect]:
    """Return the workers whose lease has run out, and those of this machine."""
    expired = f"h.beat_time < {statements.seconds_from_now(connection, '-h.lease')}"
    text = (
        f"SELECT h.worker_id, h.lease, w.machine, w.pid, w.process_start, {expired} AS expired "
        f"FROM {Heartbeat().full_table_name} AS h JOIN {Worker().full_table_name} AS w ON w.worker_id = h.worker_id "
        f"WHERE {expired} OR w.machine = %s"
    )
    rows = connection.query(text, (here,), reconnect=False)
    return [Suspect(who, lease, there, pid, began, bool(late)) for who, lease, there, pid, began, late in rows]


@dataclass(frozen=True)
class Burial:
    """What a dead worker left: how many keys it held, and a sentence for each that is not tried again."""

    count: int = 0
    failed: tuple[str, ...] = ()


def bury(
    worker_id: int,
    queues: Sequence[Queue],
    kills: int,
    *,
    outcome: str = "killed",
    failure: str = "",
    because: str = "",
    peak_memory: int | None = None,
    expired_only: bool = False,
) -> Burial:
    """Hand back what a dead worker held, and record how it ended.

    Of several that notice a death, the one that takes the heartbeat away does this, once.

    Parameters
    ----------
    queues
        All that it may hold claims of, on one connection: it is one transaction.
    kills
        A key that was in the hands of so many dying workers becomes an error.
    outcome
        `killed` or `stalled`, which count towards the limit; `cancelled`, `fenced` or `stopped`, which do not.
    failure
        Class of the failure; by default the outcome.
    because
        What happened, for the record.
    peak_memory
        bytes that it took at most, where somebody saw.
    expired_only
        Only if its lease has still run out.

    Raises
    ------
    Locked
        A transaction of the worker is not over yet; nothing was changed. Try again soon: the server ends a transaction
        that stands still (`portable.limit_idle_transactions`).
    """
    connection = queues[0].connection
    where = f" AND beat_time < {statements.seconds_from_now(connection, '-lease')}" if expired_only else ""
    text = f"DELETE FROM {Heartbeat().full_table_name} WHERE worker_id = %s{where}"
    with statements.transaction(connection):
        if connection.query(text, (worker_id,)).rowcount != 1:
            return Burial()
        how = Ending({}, outcome, 0.0, failure or outcome, because, peak_memory=peak_memory)
        given = [_bury_claims(q, worker_id, kills, how) for q in queues]
    count = sum(burial.count for burial in given)
    level = logging.WARNING if count or outcome in DEATHS else logging.DEBUG
    log.log(level, "Worker %s is gone (%s); %d keys handed back.", worker_id, because or outcome, count)
    return Burial(count, tuple(sentence for burial in given for sentence in burial.failed))


def _bury_claims(queue: Queue, worker_id: int, kills: int, how: Ending) -> Burial:
    held = queue.held(worker_id)
    if not held:
        return Burial()
    among = f" It held {len(held)} keys of the table at once." if len(held) > 1 else ""
    message = f"{how.message or 'The worker died while it computed this.'}{among}"
    endings = [replace(how, key=claim.key, seconds=seconds, message=message) for claim, seconds in held]
    record_after_death(queue.connection, worker_id, queue.name, endings)
    failed = []
    for claim, _ in held:
        text = f"[{how.failure}] {message}"
        if how.outcome not in DEATHS:
            queue.requeue(worker_id, [claim])
        elif _deaths(queue, claim.key) >= kills:
            queue.fail(worker_id, claim, text)
            failed.append(f"{queue.name} {describe(claim.key)}: {text}")
        else:
            queue.requeue(worker_id, [claim], 0.0, text)
    return Burial(len(held), tuple(failed))


def _deaths(queue: Queue, key: Mapping[str, Any]) -> int:
    """Count the workers that died over a key since somebody last let it be tried again."""
    text = (
        f"SELECT COUNT(*) FROM {Attempt().full_table_name} WHERE table_name = %s AND key_hash = %s "
        "AND outcome IN ('killed', 'stalled') AND ended_at > %s"
    )
    since = queue.forgiven_until(key)
    return int(queue.connection.query(text, (queue.name, key_hash(key), since)).fetchone()[0])


def _next_below(connection: dj.Connection, worker_id: int, count: int) -> int:
    """Return the first of `count` free numbers below zero: attempts that others record for a dead worker."""
    text = f"SELECT COALESCE(MIN(attempt), 0) FROM {Attempt().full_table_name} WHERE worker_id = %s"
    return min(int(connection.query(text, (worker_id,)).fetchone()[0]), 0) - count
