"""Job tables: DataJoint's own rows, as workers and people ask for them."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from typing import Any, ClassVar
from weakref import WeakKeyDictionary

import datajoint as dj
from datajoint import condition, jobs
from datajoint.heading import Heading

from adamacs.core import settings
from adamacs.core.errors import InvalidRequest, describe
from adamacs.core.modality import staging_line

LEAST_URGENT = 127  # the greatest priority that a job row holds

Method = Callable[..., Any]


filled: set[str] = set()  # full names of the tables of the lab that compute: a role fills each of them
staged_by: dict[str, str] = {}  # full name of a table that people fill to the line that does it


def raising_priority(original: Method) -> Method:
    """Defect: `refresh(KEY, priority=1)` does nothing, and says nothing, for a key that waits already.

    Where daemons run, every key waits within seconds after it can be computed.
    """

    def refresh(self: Any, *restrictions: Any, priority: int | None = None, **options: Any) -> dict[str, int]:
        result: dict[str, int] = original(self, *restrictions, priority=priority, **options)
        if priority is not None and restrictions:
            keys = self._target.key_source & condition.AndList(restrictions)
            result["raised"] = _raise_priority(self, keys, priority, LEAST_URGENT)
        return result

    return refresh


def left_to_workers(original: Method) -> Method:
    """No defect, but a rule of ours: where the lab's settings say so, only workers fill tables that roles fill.

    SQL rights are not file rights: on one of several hosts a notebook may write rows of arrays that no other host can
    read. Workers do not call `populate`.
    """

    def populate(self: Any, *restrictions: Any, **options: Any) -> Any:
        if self.full_table_name in filled and (lab := settings.active()).workers.only_workers_write:
            name = f"{self.database.removeprefix(f'{lab.database.prefix}_')}.{type(self).__name__}"
            key = restrictions[0] if len(restrictions) == 1 and isinstance(restrictions[0], Mapping) else {}
            hint = (
                f"{_staged(self, key)}A key that waits already is taken next after {name}.jobs.refresh({key or 'KEY'}, "
                "priority=1), or, where your account may not, after the operator's: adamacs jobs prioritize "
                f"{name} {shlex.quote(describe(key) or 'KEY')}"
            )
            raise InvalidRequest(f"In this lab only workers fill {name}.", hint=hint)
        return original(self, *restrictions, **options)

    return populate


def _staged(table: Any, key: Mapping[str, Any]) -> str:
    """Return the line that stages a key of a table, as a sentence; empty where all is staged that people stage.

    That is of the first table above it that lacks the row, unless workers fill that one.
    """
    above = [name for name in reversed(table.ancestors()) if name in staged_by or name in filled]
    lacking = next((name for name in above if not dj.FreeTable(table.connection, name) & dict(key)), "")
    if lacking not in staged_by:
        return ""
    edges = table.connection.dependencies.parents(lacking)
    inherited = {column for _, edge in edges for column in edge["attr_map"]}
    line = staging_line(staged_by[lacking], {name: value for name, value in key.items() if name in inherited})
    return f"A worker computes what is staged, by: {line}. "


def job_table(table: Any, connection: dj.Connection | None = None) -> Any:
    """Return the job table of a bound table that computes, on another connection where one is given.

    It was made with the schema.
    """
    queue = _JobTable(table())
    if connection is not None and queue.primary_key:  # its columns are read over the connection that knows the schemas
        queue._connection = connection
    return queue


class _JobTable(jobs.Job):
    """One that is there already.

    DataJoint would read all foreign keys of the lab to tell how it is made, in 50 ms, and its columns for every object.
    """

    _headings: ClassVar[WeakKeyDictionary[Any, Heading]] = WeakKeyDictionary()  # of the class that computes

    def __init__(self, target: Any) -> None:
        super().__init__(target)
        own: Heading = vars(self)["_heading"]
        kept = self._headings.get(type(target))
        if kept is None or kept.table_info != own.table_info:
            self._headings[type(target)] = kept = own
        self._heading = kept

    def _generate_definition(self) -> str:
        return ""


def raise_priority(table: Any, keys: Any, priority: int, up_to: int) -> int:
    """Let keys that wait be taken sooner, and return how many those are.

    Parameters
    ----------
    table
        A bound table that computes.
    keys
        Query of its keys.
    priority
        The new one; lower is sooner.
    up_to
        Keys that were put behind this one stay there.
    """
    return _raise_priority(job_table(table), keys, priority, up_to)


def _raise_priority(queue: Any, keys: Any, priority: int, up_to: int) -> int:
    column, status = map(queue.adapter.quote_identifier, ("priority", "status"))
    these = condition.make_condition(queue, keys.proj(), set(), semantic_check=False)
    text = (
        f"UPDATE {queue.full_table_name} SET {column} = %s "  # noqa: S608 - quoted names and our own queries only
        f"WHERE {status} = 'pending' AND {column} > %s AND {column} <= %s AND {these}"
    )
    return int(queue.connection.query(text, (priority, priority, up_to)).rowcount)
