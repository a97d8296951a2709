"""Claims: which worker computes which key.

A claim is a row of DataJoint's own job table (`~~...`) whose status is `reserved` and whose `connection_id` is the id
of our worker, so that daemons and `populate(reserve_jobs=True)` in a notebook see each other. A claim is deleted inside
the transaction that inserts the result; where it is gone or somebody else's by then, the worker is fenced and its
result is rolled back. Every instant is the database's.

The statements are written out because the library's own reserve one key in three commits, and try keys that others
hold. They hold quoted names of our own tables only; every value is a parameter.
"""

from __future__ import annotations

import platform
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from adamacs import pipeline
from adamacs.core import failures, processes
from adamacs.core.errors import AdamacsError
from adamacs.database import portable, statements
from adamacs.schemas.operations import Attempt, Heartbeat
from adamacs.workers import liveness
from adamacs.workers.liveness import TOKEN_FLOOR, Ending, Identity

if TYPE_CHECKING:
    import datajoint as dj

URGENT_PRIORITY, PRIORITY = 4, 5  # lower is sooner; people give 0 to 3, or 6 and more
NEVER = datetime(1970, 1, 1)
WAITED_FOR = tuple(failure.name for failure in failures.FAILURES if failure.policy == "wait")
STAGED_AT_ONCE = 10_000  # keys that one statement puts into a queue


class Fenced(AdamacsError):
    """A claim was handed to somebody else, or taken back, while its key was computed."""


class Locked(AdamacsError):
    """What a dead worker holds cannot be handed back yet: the server has not ended its transaction."""


@dataclass(frozen=True)
class Claim:
    """A key that a worker holds.

    Attributes
    ----------
    key
        The primary key of the row to be computed.
    done
        The row was there already when it was claimed.
    before
        What the last attempt failed of, as the job row tells; empty for a first attempt.
    """

    key: dict[str, Any]
    done: bool = False
    before: str = field(default="", compare=False)


class Queue:
    """The job table of one table that computes.

    Parameters
    ----------
    table
        A bound Computed or Imported table.
    restriction
        Only these keys are staged and claimed; columns that the table's key lacks restrict nothing.
    connection
        Instead of the table's own: a thread beside the one that computes needs another.
    """

    def __init__(
        self, table: Any, restriction: Mapping[str, Any] | None = None, connection: dj.Connection | None = None
    ) -> None:
        self.table = table
        self._instance = table()  # which keeps what it read of the tables above
        self.name = pipeline.table_name(table)
        self.restriction = {name: value for name, value in (restriction or {}).items() if name in table.primary_key}
        self.jobs = portable.job_table(table, connection)
        self.key_columns: list[str] = list(self.jobs.primary_key)
        self.connection = self.jobs.connection
        self._sql = _Statements(self)

    # ---- what there is to do

    def missing(self) -> Any:
        """Return the query of the keys that the table lacks and no job row speaks of."""
        return portable.without(self._source() - self.table.proj(), self.jobs)

    def _source(self) -> Any:
        return self._instance.key_source.proj() & self.restriction

    def look_sql(self) -> str:
        """Return a SELECT of two truth values: are keys missing here, and can one be claimed now."""
        missing = self._counts_sql() if self._is_within_source() else f"EXISTS ({self.missing().make_sql()})"
        jobs = f"({(self.jobs & self.restriction).make_sql()})" if self.restriction else self._sql.jobs
        return f"SELECT {missing} AS missing, EXISTS (SELECT 1 FROM {jobs} AS j WHERE {self._sql.ready}) AS ready"

    def _is_within_source(self) -> bool:
        """Whether foreign keys alone see to it that the table holds no key but those of its key source."""
        return portable.has_default_source(self.table) and set(self.key_columns) == set(self.table.primary_key)

    def _counts_sql(self) -> str:
        """Compare counts: keys are missing if the source has more than the table and its queue together.

        Both are within the source, so this is exact. It takes a fifth of the time of looking each of a million
        finished keys up (on MariaDB 0.25 s, not 1.3 s).
        """
        source = self._source()
        all_keys, finished = map(portable.counting, (source, self.table.proj() & self.restriction))
        there = " AND ".join(f"s.{column} = j.{column}" for column in self._sql.columns)
        done = " AND ".join(f"t.{column} = j.{column}" for column in self._sql.columns)
        queued = (
            f"SELECT COUNT(*) FROM {self._sql.jobs} AS j "
            f"WHERE EXISTS (SELECT 1 FROM ({source.make_sql()}) AS s WHERE {there}) "
            f"AND NOT EXISTS (SELECT 1 FROM {self.table.full_table_name} AS t WHERE {done})"
        )
        return f"({all_keys}) > ({finished}) + ({queued})"

    def stage(self) -> int:
        """Put the keys that are missing into the queue, the urgent ones first, and return how many."""
        urgent = getattr(self.table, "urgent_keys", None)
        staged = 0
        if urgent is not None:
            first = portable.without(urgent().proj() & self.restriction, self.jobs) - self.table.proj()
            staged = self._stage(first, URGENT_PRIORITY)
            if staged == STAGED_AT_ONCE:
                return staged  # more of them may be left
        return staged + self._stage(self.missing(), PRIORITY)

    def _stage(self, keys: Any, priority: int) -> int:
        return int(self.connection.query(self._sql.staging(keys), (priority,)).rowcount)

    # ---- claiming

    def take(self, worker: Identity, limit: int = 1) -> list[Claim]:
        """Claim up to `limit` keys, the most urgent first; never one that somebody else is claiming.

        Only a worker with a heartbeat gets any. The commit need not reach the disk: a claim that a crash of the
        server forgets was not begun.

        Raises
        ------
        LostConnectionError
            Whether keys were claimed is not known: `hand_back` them.
        """
        rows = self._take(worker, limit)
        ordered = sorted(rows, key=lambda row: row[-2:])
        count = len(self.key_columns)
        return [
            Claim(dict(zip(self.key_columns, row[:count], strict=True)), bool(row[count]), row[count + 1] or "")
            for row in ordered
        ]

    def _take(self, worker: Identity, limit: int) -> list[tuple[Any, ...]]:
        chosen = (*self._sql.restricted_to, worker.worker_id, limit)
        values = (worker.host, worker.pid, worker.user, worker.version[:64], worker.worker_id)
        query = self.connection.query
        if self._sql.is_postgresql:
            given = (*chosen, *values)
            return list(statements.query_prepared(self.connection, self._sql.claiming, given, self._sql.relaxed))
        with statements.transaction(self.connection):
            rows = list(query(self._sql.choosing, chosen, reconnect=False))
            if rows:
                keys = [row[: len(self.key_columns)] for row in rows]
                text, arguments = self._sql.reserving(keys)
                query(text, (*values, *arguments), reconnect=False)
        return rows

    def keys(self, connection: dj.Connection) -> list[dict[str, Any]]:
        """Return the keys of all rows, whatever their status, over a connection that the caller's thread may use."""
        rows = connection.query(f"SELECT {', '.join(self._sql.columns)} FROM {self._sql.jobs}")
        return [dict(zip(self.key_columns, row, strict=True)) for row in rows]

    def holds(self, worker_id: int) -> bool:
        """Whether a worker holds a claim here."""
        text = f"SELECT 1 FROM {self._sql.jobs} WHERE {self._sql.held} LIMIT 1"
        return self.connection.query(text, (worker_id,)).fetchone() is not None

    def still_held(self, worker_id: int, claims: Sequence[Claim]) -> list[Claim]:
        """Return those of some claims that are the worker's now, and lock none."""
        found = [claim.key for claim in self._claims_where(self._sql.held, (worker_id,)).get(worker_id, [])]
        return [claim for claim in claims if claim.key in found]

    def held(self, worker_id: int) -> list[tuple[Claim, float]]:
        """Lock and return the claims of a worker, each with the seconds since it was made.

        Raises
        ------
        Locked
            A transaction of the worker is not over yet; nothing is waited for.
        """
        found = self._claims_where(self._sql.held, (worker_id,)).get(worker_id, [])
        if not found:
            return []
        where, arguments = self._of(found)
        since = statements.seconds_since(self.connection, self._sql.quote("reserved_time"))
        text = (
            f"SELECT {', '.join(self._sql.columns)}, {since} AS age FROM {self._sql.by_key} "
            f"WHERE {self._sql.held} AND ({where}) FOR UPDATE SKIP LOCKED"
        )
        rows = list(self.connection.query(text, (worker_id, *arguments)))
        if len(rows) < len(found):
            raise Locked("A transaction of this worker is not over yet.", {"table": self.name, "worker_id": worker_id})
        return [(Claim(dict(zip(self.key_columns, row[:-1], strict=True))), float(row[-1])) for row in rows]

    def _claims_where(self, where: str, arguments: Sequence[Any]) -> dict[int, list[Claim]]:
        """Return claims by who holds them, and lock none: the MySQL family also locks what it passes by."""
        columns = ", ".join([self._sql.quote("connection_id"), *self._sql.columns])
        found: dict[int, list[Claim]] = {}
        for holder, *key in self.connection.query(f"SELECT {columns} FROM {self._sql.jobs} WHERE {where}", arguments):
            found.setdefault(int(holder), []).append(Claim(dict(zip(self.key_columns, key, strict=True))))
        return found

    def forgiven_until(self, key: Mapping[str, Any]) -> Any:
        """Return since when attempts at a key count (naive UTC): who asks for another try forgives earlier ones."""
        found = (self.jobs & dict(key)).to_arrays("created_time")
        return found[0] if len(found) else NEVER

    # ---- ending a claim; each inside a transaction of the caller

    def fence(self, worker_id: int, claims: Sequence[Claim]) -> None:
        """Let nobody take the claims away before the transaction ends, in which some of several keys may fail.

        Raises
        ------
        Fenced
            One of them is not the worker's any more.
        """
        where, arguments = self._of(claims)
        text = f"SELECT 1 FROM {self._sql.by_key} WHERE {self._sql.held} AND ({where}) FOR UPDATE"
        self._demand_all(claims, self.connection.query(text, (worker_id, *arguments)).rowcount)

    def acknowledge(self, worker_id: int, claims: Sequence[Claim]) -> None:
        """Delete the claims, before or after the results are inserted in the same transaction.

        Raises
        ------
        Fenced
            One of them is not the worker's any more; the transaction must roll back.
        """
        where, arguments = self._of(claims)
        text = f"{self._sql.deleting} WHERE {self._sql.held} AND ({where})"
        self._demand_all(claims, self.connection.query(text, (worker_id, *arguments)).rowcount)

    @staticmethod
    def _demand_all(claims: Sequence[Claim], held: int) -> None:
        """Refuse where fewer are held than were claimed. Which of several they are, `still_held` tells afterwards."""
        if held != len(claims):
            what = f"{len(claims) - held} of {len(claims)} claims were given to another worker, or taken back."
            raise Fenced(what, claims[0].key if len(claims) == 1 else None)

    @contextmanager
    def landing(self, worker_id: int, claim: Claim, attempt: int, ending: Ending) -> Iterator[None]:
        """Commit what the block inserts, with the end of the claim and the record of the attempt; or nothing of it.

        Raises
        ------
        Fenced
            The claim is not the worker's any more.
        """
        where, arguments = self._of([claim])
        first = f"{self._sql.deleting} WHERE {self._sql.held} AND ({where})"
        head, row = self._sql.recording
        values = liveness.recorded(worker_id, self.name, attempt, ending)
        given = (worker_id, *arguments)
        if self._sql.is_postgresql:  # both in one round trip
            first = f"WITH gone AS ({first} RETURNING 1) {head} SELECT {row} WHERE EXISTS (SELECT 1 FROM gone)"
            given = (*given, *values)
        with statements.transaction(self.connection, first, given) as touched:
            if touched != 1:
                raise Fenced("The claim was given to another worker, or taken back.", claim.key)
            if not self._sql.is_postgresql:
                self.connection.query(f"{head} VALUES ({row})", values)
            yield

    def requeue(self, worker_id: int, claims: Sequence[Claim], delay: float = 0.0, message: str | None = None) -> int:
        """Let the claims be taken again after `delay` seconds, and return how many were still the worker's.

        Without a delay they keep their place in the order, without a message what the row said before.
        """
        if not claims:
            return 0
        text = self._sql.releasing
        values: list[Any] = []
        if delay > 0:
            text += f", {self._sql.quote('scheduled_time')} = {statements.seconds_from_now(self.connection)}"
            values.append(delay)
        if message is not None:
            text += f", {self._sql.set('error_message')}"
            values.append(statements.storable(message, liveness.MESSAGE))
        where, arguments = self._of(claims)
        text += f" WHERE {self._sql.held} AND ({where})"
        return int(self.connection.query(text, (*values, worker_id, *arguments)).rowcount)

    def fail(self, worker_id: int, claim: Claim, message: str, stack: str = "") -> bool:
        """Turn a claim into an error row, which stays until somebody asks for another try."""
        where, arguments = self._of([claim])
        text = (
            f"UPDATE {self._sql.by_key} SET {self._sql.set('status')}, {self._sql.set('error_message')}, "
            f"{self._sql.quote('completed_time')} = CURRENT_TIMESTAMP(3) WHERE {self._sql.held} AND ({where})"
        )
        message = statements.storable(message, liveness.MESSAGE)
        held = self.connection.query(text, ("error", message, worker_id, *arguments)).rowcount == 1
        if held and stack:
            self.jobs.update1({**claim.key, "error_stack": statements.storable(stack, len(stack))})
        return bool(held)

    def hand_back(self, worker_id: int) -> int:
        """Let everything that the worker holds be taken again at once, and return how much it was."""
        return self._release(self._sql.held, (worker_id,))

    def _release(self, where: str, arguments: Sequence[Any]) -> int:
        found = self._claims_where(where, arguments)
        return sum(self.requeue(holder, claims) for holder, claims in found.items())

    def failures(self, key: Mapping[str, Any]) -> int:
        """Count the attempts at a key that failed since somebody last let it be tried again.

        Those that only wait, for the database or a store, do not count.
        """
        text = (
            f"SELECT COUNT(*) FROM {Attempt().full_table_name} WHERE table_name = %s AND key_hash = %s "
            "AND outcome = 'failed' AND failure NOT IN %s AND ended_at > %s"
        )
        arguments = (self.name, liveness.key_hash(key), WAITED_FOR, self.forgiven_until(key))
        return int(self.connection.query(text, arguments).fetchone()[0])

    def sweep(self, lease: float) -> int:
        """Let claims be taken again that no heartbeat stands for any more: of a worker, or of a dead notebook here."""
        quote, heartbeats = self._sql.quote, Heartbeat().full_table_name
        orphan = (
            f"{quote('status')} = 'reserved' AND {quote('connection_id')} >= {TOKEN_FLOOR} "
            f"AND {quote('reserved_time')} < {statements.seconds_from_now(self.connection)} "
            f"AND NOT EXISTS (SELECT 1 FROM {heartbeats} AS h WHERE h.worker_id = {quote('connection_id')})"
        )
        return self._release(orphan, (-lease,)) + self._sweep_notebooks()

    def _sweep_notebooks(self) -> int:
        quote = self._sql.quote
        theirs = f"{quote('status')} = 'reserved' AND {quote('connection_id')} < {TOKEN_FLOOR} AND {quote('host')} = %s"
        since = statements.seconds_since(self.connection, quote("reserved_time"))
        ages = f"{quote('pid')} AS pid, MIN({since}) AS age"
        text = f"SELECT {ages} FROM {self._sql.jobs} WHERE {theirs} GROUP BY {quote('pid')}"
        found = list(self.connection.query(text, (platform.node(),)))
        dead = [pid for pid, age in found if not processes.was_running(pid, float(age))]
        return sum(self._release(f"{theirs} AND {quote('pid')} = %s", (platform.node(), pid)) for pid in dead)

    def forget(self, worker_id: int, claim: Claim) -> None:
        """Delete a claim on a key that nobody asks for any more, or that is done."""
        where, arguments = self._of([claim])
        self.connection.query(f"{self._sql.deleting} WHERE {self._sql.held} AND ({where})", (worker_id, *arguments))

    def is_wanted(self, key: Mapping[str, Any]) -> bool:
        """Whether the key is one that the table should hold: what it stands on may have been removed."""
        return bool(self._instance.key_source.proj() & dict(key))

    def _of(self, claims: Sequence[Claim]) -> tuple[str, list[Any]]:
        return self._sql.of([[claim.key[name] for name in self.key_columns] for claim in claims])


class _Statements:
    """The texts of a queue's statements, in the words of its server."""

    def __init__(self, queue: Queue) -> None:
        adapter = queue.connection.adapter
        self.quote = adapter.quote_identifier
        self.is_postgresql = adapter.backend == "postgresql"
        self.relaxed = statements.relaxed(queue.connection)
        self.jobs = queue.jobs.full_table_name
        self.columns = [self.quote(name) for name in queue.key_columns]
        self.ready = f"{self.quote('status')} = 'pending' AND {self.quote('scheduled_time')} <= CURRENT_TIMESTAMP(3)"
        self.held = f"{self.quote('connection_id')} = %s AND {self.quote('status')} = 'reserved'"
        # Rows are found by their key. Left to itself the MySQL family may go by the index of the status, or by none,
        # and then it waits for every row of others that it passes, and deadlocks.
        self.by_key = self.jobs if self.is_postgresql else f"{self.jobs} FORCE INDEX (PRIMARY)"
        self.deleting = f"DELETE FROM {self.jobs}" if self.is_postgresql else f"DELETE {self.jobs} FROM {self.by_key}"
        self.recording = liveness.recording(queue.connection)
        self.restricted_to = list(queue.restriction.values())
        self.choosing = self._choosing(queue)
        self.claiming = self._claiming()
        self.releasing = (
            f"UPDATE {self.by_key} SET {self.quote('status')} = 'pending', {self.quote('connection_id')} = 0"
        )

    def set(self, name: str) -> str:
        return f"{self.quote(name)} = %s"

    def of(self, keys: Sequence[Sequence[Any]]) -> tuple[str, list[Any]]:
        """Return a condition on the key columns, and its values. MariaDB uses no index for lists of tuples."""
        values = [value for key in keys for value in key]
        if len(self.columns) == 1:
            return f"{self.columns[0]} IN ({', '.join(['%s'] * len(keys))})", values
        one = "(" + " AND ".join(f"{column} = %s" for column in self.columns) + ")"
        return " OR ".join([one] * len(keys)), values

    def _choosing(self, queue: Queue) -> str:
        """Lock the next keys, passing over those that others have locked."""
        quote = self.quote
        order = f"{quote('priority')}, {quote('scheduled_time')}"
        mine = "".join(f" AND {quote(name)} = %s" for name in queue.restriction)
        same = " AND ".join(f"t.{column} = j.{column}" for column in self.columns)
        # Not EXISTS: of that, PostgreSQL makes a hash of the whole table where it expects many rows before the LIMIT.
        done = f"(SELECT COUNT(*) FROM {queue.table.full_table_name} AS t WHERE {same}) > 0 AS done"
        alive = f"EXISTS (SELECT 1 FROM {Heartbeat().full_table_name} WHERE worker_id = %s)"
        return (
            f"SELECT {', '.join(self.columns)}, {done}, {quote('error_message')}, {order} FROM {self.jobs} AS j "
            f"WHERE {self.ready}{mine} AND {alive} ORDER BY {order} LIMIT %s FOR UPDATE SKIP LOCKED"
        )

    def _assignments(self) -> str:
        names = ("host", "pid", "user", "version", "connection_id")
        given = ", ".join(f"{self.quote(name)} = %s" for name in names)
        return f"{self.quote('status')} = 'reserved', {self.quote('reserved_time')} = CURRENT_TIMESTAMP(3), {given}"

    def _claiming(self) -> str:
        same = " AND ".join(f"j.{column} = chosen.{column}" for column in self.columns)
        shown = ", ".join(f"chosen.{column}" for column in (*self.columns, "done"))
        rest = ", ".join(f"chosen.{self.quote(name)}" for name in ("error_message", "priority", "scheduled_time"))
        return (
            f"WITH chosen AS MATERIALIZED ({self.choosing}) "
            f"UPDATE {self.jobs} AS j SET {self._assignments()} FROM chosen WHERE {same} RETURNING {shown}, {rest}"
        )

    def reserving(self, keys: Sequence[Sequence[Any]]) -> tuple[str, list[Any]]:
        where, arguments = self.of(keys)
        return f"UPDATE {self.by_key} SET {self._assignments()} WHERE {where}", arguments

    def staging(self, keys: Any) -> str:
        """Return an INSERT of at most `STAGED_AT_ONCE` keys as pending, with the priority as its one parameter."""
        columns = ", ".join(self.columns)
        target = ", ".join([columns, self.quote("status"), self.quote("priority")])
        first = (
            f"SELECT {columns}, 'pending', %s FROM ({keys.make_sql()}) AS k ORDER BY {columns} LIMIT {STAGED_AT_ONCE}"
        )
        twice = (
            "ON CONFLICT DO NOTHING"
            if self.is_postgresql
            else f"ON DUPLICATE KEY UPDATE {self.columns[0]} = {self.jobs}.{self.columns[0]}"
        )
        return f"INSERT INTO {self.jobs} ({target}) {first} {twice}"


def concerned(tables: Sequence[Any], restriction: Mapping[str, Any] | None) -> list[Any]:
    """Return the tables that a restriction speaks of: those whose key has one of its columns; without one, all."""
    return [table for table in tables if not restriction or set(restriction) & set(table.primary_key)]


def look(queues: Sequence[Queue]) -> Iterator[tuple[Queue, bool, bool]]:
    """Ask in one statement what there is to do, and yield (queue, keys are missing, one can be claimed now)."""
    if not queues:
        return
    texts = [f"SELECT {number} AS n, q.* FROM ({queue.look_sql()}) AS q" for number, queue in enumerate(queues)]
    for number, missing, ready in list(queues[0].connection.query(" UNION ALL ".join(texts))):
        yield queues[number], bool(missing), bool(ready)
