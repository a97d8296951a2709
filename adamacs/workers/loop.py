"""Find what is missing, compute it, write it down: one key after the other."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from datajoint.errors import DuplicateError

from adamacs.core.errors import describe
from adamacs.database import portable
from adamacs.workers.roles import Role

log = logging.getLogger("adamacs.worker")


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

    def describe(self) -> str:
        """Return the tally as text; the last line tells whether all went well."""
        lines = [f"{count:6}  {table}  {self.seconds[table]:.1f} s" for table, count in self.done.items()]
        lines += [f"failed  {reason}" for reason in self.failed]
        total = sum(self.done.values())
        return "\n".join([*lines, f"{total} keys computed, {len(self.failed)} failed"])


def drain(role: Role) -> Tally:
    """Compute every key of the role's tables until nothing is left that has not failed.

    A key that fails is reported, left as it was and not tried again in this run; the others go on.
    """
    tally = Tally()
    tried: set[tuple[str, str]] = set()
    while work := [(table, key) for table in role.tables() for key in pending(table) if _first(table, key, tried)]:
        for table, key in work:
            run(table, key, tally)
    return tally


def pending(table: Any) -> Iterator[dict[str, Any]]:
    """Return the keys that a table should hold and does not, in the order of their values."""
    source = table().key_source.proj()
    yield from (source - table.proj()).keys(order_by="KEY")


def run(table: Any, key: dict[str, Any], tally: Tally) -> None:
    """Compute and insert one key, and enter it into the tally."""
    name = f"{table.__module__.removesuffix('.tables').rpartition('.')[2]}.{table.__name__}"
    where = f"{name} {describe(key)}"
    log.info("start   %s", where)
    began = time.perf_counter()
    try:
        portable.make(table, key)
    except DuplicateError as error:
        if not table & key:
            _fail(where, error, tally)
        else:
            log.info("done    %s, elsewhere", where)
    except Exception as error:  # noqa: BLE001 the one place that may: the other keys go on
        _fail(where, error, tally)
    else:
        tally.done[name] = tally.done.get(name, 0) + 1
        log.info("done    %s in %.1f s", where, time.perf_counter() - began)
    tally.seconds[name] = tally.seconds.get(name, 0.0) + time.perf_counter() - began


def _fail(where: str, error: Exception, tally: Tally) -> None:
    log.error("failed  %s: %s: %s", where, type(error).__name__, error)
    log.debug("where it failed", exc_info=True)
    tally.failed.append(f"{where}: {error}")


def _first(table: Any, key: dict[str, Any], tried: set[tuple[str, str]]) -> bool:
    mark = (table.full_table_name, describe(key))
    if mark in tried:
        return False
    tried.add(mark)
    return True
