"""Schemas that are bound to a database, and the three parts in which tables compute."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

import datajoint as dj
from datajoint import jobs
from datajoint.autopopulate import AutoPopulate
from datajoint.heading import Heading
from datajoint.user_tables import Part
from datajoint.utils import from_camel_case

from adamacs.core.errors import (
    PlanRefused,
    ProcessingFailed,
)
from adamacs.database import statements
from adamacs.database.portable import queues


def bind(schema: Any, name: str, connection: dj.Connection) -> None:
    """Bind every table of a schema object to an existing database schema, without a single statement.

    Defect: `Schema.activate` asks the server once or more per table, and writes the contents of Lookup tables
    even where it is told to create nothing, which an account that may only read is refused. Here headings are
    read when they are first used.
    """
    schema.connection, schema.database = connection, name
    schema.create_schema = schema.create_tables = False
    connection.register(schema)
    for master, context in schema.declare_list:
        names = {**context, master.__name__: master}
        _bind_table(master, schema, {**names, "self": master})
        for part in _parts(master):
            part._master = master
            _bind_table(part, schema, {**names, "master": master, "self": part})
    queues.filled.update(cls.full_table_name for cls in _computing(schema))


def _bind_table(cls: Any, schema: Any, context: dict[str, Any]) -> None:
    cls.database, cls._connection = schema.database, schema.connection
    where = {"conn": schema.connection, "database": schema.database, "table_name": cls.table_name, "context": context}
    cls._heading = Heading(table_info=where)
    cls._support = [cls.full_table_name]
    cls.declaration_context = context
    if isinstance(cls.definition, str):
        cls.__doc__ = f"{cls.__doc__ or ''}\nTable definition:\n\n{cls.definition}"


def _parts(master: Any) -> Iterator[Any]:
    members = (getattr(master, name) for name in dir(master) if name[0].isupper())
    return (member for member in members if inspect.isclass(member) and issubclass(member, Part))


def table_names(schema: Any) -> list[str]:
    """Return the names that a schema object's tables have, or will have, in the database."""
    names = []
    for master, _ in schema.declare_list:
        names.append(master.table_name)
        names += [f"{master.table_name}__{from_camel_case(part.__name__)}" for part in _parts(master)]
    return names


def _computing(schema: Any) -> Iterator[Any]:
    return (cls for cls, _ in schema.declare_list if issubclass(cls, AutoPopulate))


def declare_jobs(schema: Any) -> None:
    """Make the job table of every table that computes, which DataJoint would make at the first use.

    An account that may only compute cannot make tables. Defect: on the MySQL family DataJoint warns of the types
    that it writes into these definitions itself.
    """
    log = logging.getLogger("datajoint")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        for cls in _computing(schema):
            queue = jobs.Job(cls())
            if not queue.is_declared:
                queue.declare()
            queues.filled.add(cls.full_table_name)
    finally:
        log.setLevel(level)


def make(table: Any, key: Mapping[str, Any]) -> None:
    """Run the three parts of a table's `make` for one key; only the last stands in a transaction.

    DataJoint's own `populate()` deep-hashes what `make_fetch` returns, twice, and raises when the connection drops
    at commit. Here what was fetched is fetched again inside the transaction and compared by value.

    Raises
    ------
    PlanRefused
        What the result stands on changed while it was computed.
    """
    parts = Parts(table, key)
    fetched = parts.fetch()
    computed = parts.compute(fetched)
    with statements.transaction(table.connection):
        parts.insert(fetched, computed)


class Parts:
    """The three parts of `make` for one key of a table.

    Raises
    ------
    ProcessingFailed
        The table's `make` is one piece: it would compute inside the transaction, which the server ends when it
        stands still for long.
    """

    def __init__(self, table: Any, key: Mapping[str, Any]) -> None:
        self.table = table
        self.key = dict(key)
        self.instance = table()
        if not _is_in_parts(table.make):
            hint = "Split it into make_fetch, make_compute and make_insert."
            raise ProcessingFailed("The make() of this table is one piece.", table.full_table_name, hint)

    def fetch(self) -> Any:
        """Read what the result stands on."""
        return self.instance.make_fetch(dict(self.key))

    def compute(self, fetched: Any) -> Any:
        """Compute; the database is not asked."""
        return self.instance.make_compute(dict(self.key), *fetched)

    def insert(self, fetched: Any, computed: Any) -> None:
        """Insert the result, inside a transaction of the caller, if what it stands on is still the same.

        Raises
        ------
        PlanRefused
            It changed while it was computed.
        """
        if self.fetch() != fetched:
            raise PlanRefused("What this stands on changed while it was computed.", self.key, "Run it again.")
        self.insert_computed(computed)

    def insert_computed(self, computed: Any) -> None:
        """Insert the result, inside the transaction of the caller in which it was also fetched."""
        self.table._allow_insert = True
        try:
            self.instance.make_insert(dict(self.key), *computed)
        finally:
            self.table._allow_insert = False


@lru_cache
def _is_in_parts(make: Any) -> bool:
    return inspect.isgeneratorfunction(make)
