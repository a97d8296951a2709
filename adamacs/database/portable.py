"""Every touch of DataJoint's private parts, and nothing else.

Each mend names the defect of DataJoint 2.3.5 that it repairs. `tests/integration/test_portable.py` shows for each
that the defect is there without the mend, so that the test fails once DataJoint has repaired it and the mend can
go, and that it is gone with the mend.

Known and not mended: a restriction by a string is raw SQL, and its column check sees bare lower-case words only.
Text from outside (a command line, a form, a request) must become a mapping or a list of mappings before it
restricts a query.
"""

from __future__ import annotations

import contextlib
import inspect
import logging
import sys
from collections.abc import Callable, Iterator, Mapping
from itertools import count
from typing import Any

import datajoint as dj
import pymysql
from datajoint import condition, expression, heading, jobs, table
from datajoint import connection as dj_connection
from datajoint.adapters.mysql import MySQLAdapter
from datajoint.adapters.postgres import PostgreSQLAdapter
from datajoint.autopopulate import AutoPopulate
from datajoint.codecs import resolve_dtype
from datajoint.errors import IntegrityError, LostConnectionError
from datajoint.expression import Aggregation, QueryExpression, U, Union
from datajoint.heading import Heading
from datajoint.logging import stream_handler
from datajoint.user_tables import Part
from datajoint.utils import from_camel_case
from pydantic_settings import BaseSettings

from adamacs.core.errors import DatabaseUnavailable, PlanRefused, ToolMissing
from adamacs.core.settings import Store
from adamacs.database.address import Server

try:
    import psycopg2
    import psycopg2.extensions as psycopg2_extensions
except ModuleNotFoundError:  # an analyst of a MySQL lab has no need of it
    psycopg2 = None

_CLIENT_ERRORS: tuple[type[Exception], ...] = (pymysql.err.Error,)
if psycopg2 is not None:
    _CLIENT_ERRORS = (*_CLIENT_ERRORS, psycopg2.Error)

# What a database refuses or cannot do, however the driver or DataJoint says it.
FAILURES: tuple[type[Exception], ...] = (*_CLIENT_ERRORS, dj.errors.DataJointError)

_LOST_POSTGRESQL = {None, "57P01", "57P02", "57P03"}  # no answer, shut down, crashed, starting
_LOST_MYSQL = {1053, 1927, 4031}  # shutting down, killed (MariaDB), idle for too long (MySQL)
_STILL_REFERRED_TO = "23001"
_BYTEA = 17  # PostgreSQL's number of the type

Method = Callable[..., Any]

# ---- lost connections


def _reconnecting(original: Method) -> Method:
    """Defect: a failed reconnection raises the driver's own error, and a successful one keeps the old id.

    `Connection.query` reconnects by itself after a loss; where the server is still down, a daemon must meet the
    same LostConnectionError as for the loss. The id marks our job reservations and must be that of the session.
    """

    def connect(self: Any) -> None:
        again = self._conn is not None
        try:
            original(self)
        except _CLIENT_ERRORS as error:
            if not again:
                raise
            self._in_transaction = False  # it ended with the connection, on the server's side
            raise LostConnectionError(f"The database server cannot be reached again: {error}") from error
        if again:
            self.connection_id = self.adapter.get_connection_id(self._conn)

    return connect


def _translating_postgresql(original: Method) -> Method:
    """Defect: a lost PostgreSQL connection stays a raw psycopg2 error, so that DataJoint never reconnects.

    And since PostgreSQL 18 deleting a row that others refer to has a code of its own (23001), which is not known
    as an IntegrityError.
    """

    def translate_error(self: Any, error: Exception, query: str = "") -> Exception:
        if isinstance(error, psycopg2.InterfaceError):
            return LostConnectionError(str(error).strip())
        if isinstance(error, psycopg2.OperationalError) and error.pgcode in _LOST_POSTGRESQL:
            return LostConnectionError(str(error).strip())
        if getattr(error, "pgcode", None) == _STILL_REFERRED_TO:
            return IntegrityError(str(error))
        translated: Exception = original(self, error, query)
        return translated

    return translate_error


def _translating_mysql(original: Method) -> Method:
    """Defect: a connection that the server ended on purpose is not known as lost on the MySQL family."""

    def translate_error(self: Any, error: Exception, query: str = "") -> Exception:
        if isinstance(error, pymysql.err.Error) and error.args and error.args[0] in _LOST_MYSQL:
            return LostConnectionError(*error.args[1:])
        translated: Exception = original(self, error, query)
        return translated

    return translate_error


class _ClosedCursor:
    """The cursor of a closed connection: it fails where DataJoint looks for failures, when a statement is run."""

    def execute(self, *_: Any) -> None:
        raise psycopg2.InterfaceError("connection already closed")


def _cursor_of_closed(original: Method) -> Method:
    """Defect: psycopg2 refuses a cursor of a closed connection before DataJoint watches for lost connections."""

    def get_cursor(self: Any, connection: Any, as_dict: bool = False) -> Any:
        return _ClosedCursor() if connection.closed else original(self, connection, as_dict)

    return get_cursor


def _raising_ping(original: Method) -> Method:
    """Defect: `ping` returns False on a dead connection where its callers wait for an exception.

    Hence `is_connected` is True for ever. An aborted transaction is no loss: the connection still answers.
    """

    def ping(self: Any, connection: Any) -> bool:
        if original(self, connection) or _is_aborted(connection):
            return True
        raise LostConnectionError("The database server does not answer.")

    return ping


def _is_aborted(connection: Any) -> bool:
    """Whether a live PostgreSQL connection refuses everything until its failed transaction is rolled back."""
    if isinstance(connection, pymysql.Connection) or connection.closed:
        return False
    aborted: bool = connection.info.transaction_status == psycopg2_extensions.TRANSACTION_STATUS_INERROR
    return aborted


# ---- values


def _prepared_postgresql(original: Method) -> Method:
    """Defects: bytes come back as memoryview, and the time zone of a session is whatever the server prefers.

    Every instant in the database is naive UTC, the defaults of DataJoint's job tables (CURRENT_TIMESTAMP) too.
    """

    def connect(self: Any, *arguments: Any, **keywords: Any) -> Any:
        connection = original(self, *arguments, **keywords)
        whole = psycopg2_extensions.new_type((_BYTEA,), "BYTES", _as_bytes)
        psycopg2_extensions.register_type(whole, connection)
        with connection.cursor() as cursor:
            cursor.execute("SET TIME ZONE 'UTC'")
        return connection

    return connect


def _as_bytes(value: Any, cursor: Any) -> bytes | None:
    return None if value is None else bytes(psycopg2.BINARY(value, cursor))


def _prepared_mysql(original: Method) -> Method:
    """Defect: the time zone of a session is whatever the server prefers; see the other one."""

    def connect(self: Any, *arguments: Any, **keywords: Any) -> Any:
        connection = original(self, *arguments, **keywords)
        with connection.cursor() as cursor:
            cursor.execute("SET time_zone = '+00:00'")
        return connection

    return connect


def _recognising_json(original: Method) -> Method:
    """Defect: MariaDB reports a JSON column as longtext, and a chain of codecs that ends in JSON is not seen.

    `<blob@store>` and `<attach@store>` then hand a dict to the driver. A codec whose own dtype is `json`, as our
    `<array@store>`, is recognised without this.
    """

    def _init_from_database(self: Any) -> None:
        original(self)
        for name, attribute in self._attributes.items():
            if attribute.codec and not attribute.json and not isinstance(attribute.codec, heading._MissingType):
                stored_as, _, _ = resolve_dtype(f"<{attribute.codec.name}>", store_name=attribute.store)
                self._attributes[name] = attribute._replace(json=stored_as == "json")

    return _init_from_database


def _silent(_: Method) -> Method:
    """Defect, for us: every connection to MariaDB warns that it is not supported. CI tests against it."""
    return lambda version: None


# ---- set difference

_alias = count()


def _differing(original: Method) -> Method:
    """Defect: `A - B` is written as NOT IN, which PostgreSQL cannot turn into a join.

    It took over six minutes for a million keys, NOT EXISTS 0.25 s. The two differ where a compared value is NULL;
    there, and for the kinds of query that cannot be correlated, DataJoint's own form stays.
    """

    def make_condition(query: Any, restriction: Any, columns: set[str], semantic_check: bool = True) -> str | bool:
        negated, other = _without_negation(restriction)
        if negated and isinstance(other, QueryExpression):
            condition.assert_join_compatibility(query, other, semantic_check=semantic_check)
            common = [name for name in other.heading.names if name in query.heading.names]
            if _can_be_correlated(query, other, common):
                columns.update(common)
                return _not_exists(query.connection.adapter, other, common)
        result: str | bool = original(query, restriction, columns, semantic_check)
        return result

    return make_condition


def _without_negation(restriction: Any) -> tuple[bool, Any]:
    negated = False
    while isinstance(restriction, condition.Not):
        negated, restriction = not negated, restriction.restriction
    if inspect.isclass(restriction) and issubclass(restriction, QueryExpression):
        restriction = restriction()
    return negated, restriction


def _can_be_correlated(query: Any, other: Any, common: list[str]) -> bool:
    if not common or isinstance(query, Aggregation | U) or isinstance(other, Union):
        return False
    return all(_never_null(operand, name) for operand in (query, other) for name in common)


def _never_null(operand: Any, name: str) -> bool:
    attribute = operand.heading[name]
    return not attribute.nullable and attribute.type != "expression" and not _invents_nulls(operand)


def _invents_nulls(operand: Any) -> bool:
    """Whether a query can hold NULL where its tables hold none: left joins, and unions filled up with NULL."""
    if isinstance(operand, Union) and operand.heading.secondary_attributes:
        return True
    inner = (part for part in operand.support if isinstance(part, QueryExpression))
    return any(is_left for is_left, _ in operand._joins) or any(map(_invents_nulls, inner))


def _not_exists(adapter: Any, other: Any, common: list[str]) -> str:
    """Write the difference. The inner columns get names no attribute can have, so that bare names mean the outer."""
    quote = adapter.quote_identifier
    inner, renamed = (quote(f"${letter}{next(_alias):x}") for letter in "qr")
    columns = ", ".join(f"{inner}.{quote(name)} AS {quote('$' + name)}" for name in common)
    same = " AND ".join(f"{renamed}.{quote('$' + name)} = {quote(name)}" for name in common)
    source = f"SELECT {columns} FROM ({other.make_sql(common)}) AS {inner}"  # noqa: S608 - quoted names only
    return f"NOT EXISTS (SELECT 1 FROM ({source}) AS {renamed} WHERE {same})"  # noqa: S608


# ---- applying


def _mends() -> Iterator[tuple[Any, str, Callable[[Method], Method]]]:
    """Yield (owner, attribute, mend): the mend makes the new method of the old one."""
    yield dj.Connection, "connect", _reconnecting
    yield MySQLAdapter, "translate_error", _translating_mysql
    yield MySQLAdapter, "connect", _prepared_mysql
    yield MySQLAdapter, "ping", _raising_ping
    yield PostgreSQLAdapter, "translate_error", _translating_postgresql
    yield PostgreSQLAdapter, "connect", _prepared_postgresql
    yield PostgreSQLAdapter, "ping", _raising_ping
    yield PostgreSQLAdapter, "get_cursor", _cursor_of_closed
    yield Heading, "_init_from_database", _recognising_json
    yield dj_connection, "_warn_if_mariadb", _silent
    for module in (condition, expression, table, jobs):  # each imported the function by its name
        yield module, "make_condition", _differing


_replaced: list[tuple[Any, str, Method]] = []


def apply() -> None:
    """Put every mend in place; a second call changes nothing."""
    if not _replaced:
        originals = [(owner, name, getattr(owner, name)) for owner, name, _ in _mends()]
        for owner, name, mend in _mends():
            setattr(owner, name, mend(getattr(owner, name)))
        _replaced.extend(originals)


@contextlib.contextmanager
def withdrawn() -> Iterator[None]:
    """Show DataJoint as it is, without the mends, to the tests that watch for its repair."""
    mended = [(owner, name, getattr(owner, name)) for owner, name, _ in _replaced]
    for owner, name, original in _replaced:
        setattr(owner, name, original)
    try:
        yield
    finally:
        for owner, name, method in mended:
            setattr(owner, name, method)


# ---- settings and the connection


def configure(server: Server, stores: Mapping[str, Mapping[str, Any]]) -> None:
    """Let DataJoint's settings say what the lab's settings say.

    What a stray `datajoint.json` or DJ_* variable put into the sections that decide where rows go and what tables
    look like is undone; how tables are displayed and whether deletions ask stays the user's.
    """
    for section in ("database", "connection", "jobs", "provenance"):
        _reset(getattr(dj.config, section))
    database = dj.config.database
    database.backend, database.host, database.port = server.backend, server.host, server.port
    database.user, database.password = server.user, server.password.reveal()
    database.name, database.use_tls = server.database or None, server.use_tls
    dj.config.stores = {name: dict(spec) for name, spec in stores.items()}
    dj.config.loglevel = "WARNING"  # DataJoint tells of every connection, on standard output
    stream_handler.setStream(sys.stderr)  # standard output belongs to the answers of a command


def _reset(section: BaseSettings) -> None:
    for name, field in type(section).model_fields.items():
        setattr(section, name, field.get_default(call_default_factory=True))


class _HiddenText(str):
    """A secret where DataJoint wants a plain text: its settings, when printed, show stars."""

    def __repr__(self) -> str:
        return "'***'"


def store_spec(store: Store, location: str) -> dict[str, Any]:
    """Write a store as DataJoint's settings spell one; `location` is absolute for a file store."""
    if store.protocol == "file":
        return {"protocol": "file", "location": location}
    return {
        "protocol": "s3",
        "endpoint": store.endpoint,
        "bucket": store.bucket,
        "location": location,
        "access_key": store.access_key,
        "secret_key": _HiddenText(store.secret_key.reveal()),
        "secure": store.endpoint.startswith("https://"),
    }


def connect(server: Server) -> dj.Connection:
    """Open DataJoint's connection of this process. `configure` comes first.

    Raises
    ------
    DatabaseUnavailable
        The server does not answer, or refuses the account.
    ToolMissing
        The server's driver is not installed.
    """
    # PyMySQL takes an empty dict, which DataJoint makes of True, for "if the server likes to".
    demanded: bool | dict[str, Any] = {"check_hostname": False} if server.backend == "mysql" else True
    try:
        return dj.conn(
            host=server.host,
            user=server.user,
            password=server.password.reveal(),
            reset=True,
            use_tls=demanded if server.use_tls else False,
        )
    except ImportError as error:
        raise ToolMissing("The driver for PostgreSQL is missing.", hint="Run: pip install psycopg2-binary") from error
    except (*_CLIENT_ERRORS, LostConnectionError) as error:
        raise _unavailable(server, error) from error


def reconnect(connection: dj.Connection, server: Server) -> None:
    """Open a lost connection anew, on the port that the server has now."""
    connection.conn_info["port"] = dj.config.database.port = server.port
    try:
        connection.connect()
    except LostConnectionError as error:
        raise _unavailable(server, error) from error


def _unavailable(server: Server, error: Exception) -> DatabaseUnavailable:
    said = " ".join(str(part) for part in error.args).strip().replace("\n", " ")
    return DatabaseUnavailable(f"The database does not answer: {said}.", server.url, "Check: adamacs db status")


# ---- schemas and tables


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


def declare_jobs(schema: Any) -> None:
    """Make the job table of every table that computes, which DataJoint would make at the first use.

    An account that may only compute cannot make tables. Defect: on the MySQL family DataJoint warns of the types
    that it writes into these definitions itself.
    """
    log = logging.getLogger("datajoint")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        for cls, _ in schema.declare_list:
            if issubclass(cls, AutoPopulate):
                queue = jobs.Job(cls())
                if not queue.is_declared:
                    queue.declare()
    finally:
        log.setLevel(level)


# ---- computing


def make(table: Any, key: Mapping[str, Any]) -> None:
    """Run the three parts of a table's `make` for one key; only the last stands in a transaction.

    DataJoint's own `populate()` deep-hashes what `make_fetch` returns, twice, and raises when the connection drops
    at commit. Here what was fetched is fetched again inside the transaction and compared by value.

    Raises
    ------
    PlanRefused
        What the result stands on changed while it was computed.
    """
    instance = table()
    key = dict(key)
    fetched = instance.make_fetch(dict(key))
    computed = instance.make_compute(dict(key), *fetched)
    with instance.connection.transaction:
        if instance.make_fetch(dict(key)) != fetched:
            raise PlanRefused("What this stands on changed while it was computed.", key, "Run it again.")
        table._allow_insert = True
        try:
            instance.make_insert(dict(key), *computed)
        finally:
            table._allow_insert = False
