"""Putting every mend in place, and taking it away again for the tests that watch for its repair."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import datajoint as dj
from datajoint import condition, expression, jobs, table
from datajoint import connection as dj_connection
from datajoint.adapters.mysql import MySQLAdapter
from datajoint.adapters.postgres import PostgreSQLAdapter
from datajoint.autopopulate import AutoPopulate
from datajoint.heading import Heading

from adamacs.database.portable import drivers, queries, queues

Method = Callable[..., Any]


def _mends() -> Iterator[tuple[Any, str, Callable[[Method], Method]]]:
    """Yield (owner, attribute, mend): the mend makes the new method of the old one."""
    yield dj.Connection, "connect", drivers.reconnecting
    yield MySQLAdapter, "translate_error", drivers.translating_mysql
    yield MySQLAdapter, "connect", drivers.prepared_mysql
    yield MySQLAdapter, "ping", drivers.raising_ping
    yield MySQLAdapter, "create_schema_sql", drivers.in_every_script
    yield PostgreSQLAdapter, "translate_error", drivers.translating_postgresql
    yield PostgreSQLAdapter, "connect", drivers.prepared_postgresql
    yield PostgreSQLAdapter, "ping", drivers.raising_ping
    yield PostgreSQLAdapter, "get_cursor", drivers.cursor_of_closed
    yield Heading, "_init_from_database", drivers.recognising_json
    for name in ("join", "set_primary_key", "make_subquery_heading"):
        yield Heading, name, drivers.remembering_server
    yield dj_connection, "_warn_if_mariadb", drivers.silent
    yield jobs.Job, "refresh", queues.raising_priority
    yield AutoPopulate, "populate", queues.left_to_workers
    for module in (condition, expression, table, jobs):  # each imported the function by its name
        yield module, "make_condition", queries.differing


replaced: list[tuple[Any, str, Method]] = []


def apply() -> None:
    """Put every mend in place; a second call changes nothing."""
    if not replaced:
        originals = [(owner, name, getattr(owner, name)) for owner, name, _ in _mends()]
        for owner, name, mend in _mends():
            setattr(owner, name, mend(getattr(owner, name)))
        replaced.extend(originals)


@contextlib.contextmanager
def withdrawn() -> Iterator[None]:
    """Show DataJoint as it is, without the mends, to the tests that watch for its repair."""
    mended = [(owner, name, getattr(owner, name)) for owner, name, _ in replaced]
    for owner, name, original in replaced:
        setattr(owner, name, original)
    try:
        yield
    finally:
        for owner, name, method in mended:
            setattr(owner, name, method)
