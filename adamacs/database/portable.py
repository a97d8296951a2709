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
import math
import os
import shlex
import socket
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from itertools import count
from typing import Any, ClassVar
from weakref import WeakKeyDictionary

import datajoint as dj
import numpy as np
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

from adamacs.core import settings
from adamacs.core.errors import (
    DatabaseUnavailable,
    InvalidRequest,
    PlanRefused,
    ProcessingFailed,
    ToolMissing,
    describe,
)
from adamacs.core.settings import Secret, Store
from adamacs.database import statements
from adamacs.database.address import Server

try:
    import psycopg2
    import psycopg2.extensions as psycopg2_extensions
except ModuleNotFoundError:  # an analyst of a MySQL lab has no need of it
    psycopg2 = None

# What a database refuses or cannot do, however the driver or DataJoint says it.
FAILURES: tuple[type[Exception], ...] = (*statements.CLIENT_ERRORS, dj.errors.DataJointError)

# The connection is gone, and the server does not take another one.
LOST: tuple[type[Exception], ...] = (LostConnectionError,)
UNREACHABLE: tuple[type[Exception], ...] = (LostConnectionError, DatabaseUnavailable, *statements.CLIENT_ERRORS)

_LOST_POSTGRESQL = {None, "57P01", "57P02", "57P03"}  # no answer, shut down, crashed, starting
_IDLE_IN_TRANSACTION = "25P03"
_LOST_MYSQL = {1053, 1927, 4031}  # shutting down, killed (MariaDB), idle for too long (MySQL)
_STILL_REFERRED_TO = "23001"
LEAST_URGENT = 127  # the greatest priority that a job row holds
_BYTEA = 17  # PostgreSQL's number of the type

Method = Callable[..., Any]

# ---- lost connections


def _reconnecting(original: Method) -> Method:
    """Defect: a failed reconnection raises the driver's own error, and a successful one keeps the old id.

    `Connection.query` reconnects by itself after a loss; where the server is still down, a daemon must meet the
    same LostConnectionError as for the loss. The id marks our job reservations and must be that of the session.
    Within a `transaction` nothing reconnects: DataJoint may forget there that it was in one (`in_transaction` does,
    on a dead connection), and what follows would be committed statement by statement.
    """

    def connect(self: Any) -> None:
        again = self._conn is not None
        if again and getattr(self, statements.WITHIN, False):
            raise LostConnectionError("The connection was lost within a transaction.")
        try:
            original(self)
        except statements.CLIENT_ERRORS as error:
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
        if getattr(error, "pgcode", None) == _IDLE_IN_TRANSACTION:  # of another class, but as final
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


_longest_idle: float | None = None  # s that a transaction of this process may stand still


def limit_idle_transactions(connection: dj.Connection, seconds: float) -> None:
    """Let the server end transactions of this process that stand still for so long, from now on.

    What a transaction locked, others wait for. A worker that was stopped, or whose host lost its power, in the middle
    of one would hold up every other worker: for ever, or until the server gives the connection up, by default after
    hours. MySQL, unlike PostgreSQL and MariaDB, knows a limit for sessions only: there one that stands still outside
    of a transaction is ended too, and opened anew by its next statement.

    Parameters
    ----------
    connection
        An open one; those that this process opens later are limited too.
    """
    global _longest_idle
    _longest_idle = seconds
    for statement in _idle_limit(connection._conn):
        connection.query(statement)


def _idle_limit(connection: Any) -> Iterator[str]:
    if _longest_idle is None:
        return
    if not isinstance(connection, pymysql.Connection):
        yield f"SET idle_in_transaction_session_timeout = {math.ceil(1000 * _longest_idle)}"
    else:
        limit = "idle_transaction_timeout" if "MariaDB" in connection.get_server_info() else "wait_timeout"
        yield f"SET SESSION {limit} = {math.ceil(_longest_idle)}"


def _prepared_postgresql(original: Method) -> Method:
    """Defects: bytes come back as memoryview, and the time zone of a session is whatever the server prefers.

    Every instant in the database is naive UTC, the defaults of DataJoint's job tables (CURRENT_TIMESTAMP) too.
    """

    def connect(self: Any, *arguments: Any, **keywords: Any) -> Any:
        connection = original(self, *arguments, **keywords)
        whole = psycopg2_extensions.new_type((_BYTEA,), "BYTES", _as_bytes)
        psycopg2_extensions.register_type(whole, connection)
        _notice_loss(socket.socket(fileno=os.dup(connection.fileno())))
        with connection.cursor() as cursor:
            cursor.execute("SET TIME ZONE 'UTC'")
            for statement in _idle_limit(connection):
                cursor.execute(statement)
        return connection

    return connect


def _notice_loss(wire: socket.socket) -> None:
    """Defect: a server that vanished without a word (a pulled cable) is waited for longer than a quarter of an hour.

    Takes the socket, an own handle of the connection's, and closes it.
    """
    with wire:
        if wire.family not in (socket.AF_INET, socket.AF_INET6):
            return
        wire.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        chosen = {
            "TCP_KEEPIDLE": 10,
            "TCP_KEEPINTVL": 5,
            "TCP_KEEPCNT": 4,
            "TCP_USER_TIMEOUT": 30_000,
        }  # s, the last ms
        for name, value in chosen.items():
            if hasattr(socket, name):
                wire.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def _as_bytes(value: Any, cursor: Any) -> bytes | None:
    return None if value is None else bytes(psycopg2.BINARY(value, cursor))


def _prepared_mysql(original: Method) -> Method:
    """Defect: the time zone of a session is whatever the server prefers; see the other one.

    And PyMySQL raises a plain RuntimeError where MySQL asks for a password that may not travel in the open, and neither
    TLS nor the package `cryptography` is there to hide it.

    And the isolation is made that of PostgreSQL. With the family's own, INSERT ... SELECT and every DELETE lock rows
    and gaps that they only pass by, so that workers at the same queue wait for each other and deadlock.
    """

    def connect(self: Any, *arguments: Any, **keywords: Any) -> Any:
        try:
            connection = original(self, *arguments, **keywords)
        except RuntimeError as error:
            said = f"The server offers no TLS, and without it: {error}"
            raise pymysql.err.OperationalError(pymysql.constants.CR.CR_AUTH_PLUGIN_ERR, said) from error
        _notice_loss(socket.socket(fileno=os.dup(connection._sock.fileno())))
        with connection.cursor() as cursor:
            cursor.execute("SET time_zone = '+00:00'")
            cursor.execute("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED")
            for statement in _idle_limit(connection):
                cursor.execute(statement)
        return connection

    return connect


def _in_every_script(original: Method) -> Method:
    """Defect: a schema gets the server's character set; a MariaDB that nobody configured has latin1.

    Names of files and what errors say of them hold any character.
    """

    def create_schema_sql(self: Any, schema_name: str) -> str:
        return f"{original(self, schema_name)} DEFAULT CHARACTER SET utf8mb4"

    return create_schema_sql


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


def _remembering_server(original: Method) -> Method:
    """Defect: a joined or nested query forgets its server: renaming a column of it is a syntax error on PostgreSQL."""

    def derive(self: Any, *arguments: Any, **keywords: Any) -> Any:
        derived = original(self, *arguments, **keywords)
        derived.table_info = self.table_info
        return derived

    return derive


def _silent(_: Method) -> Method:
    """Defect, for us: every connection to MariaDB warns that it is not supported. CI tests against it."""
    return lambda version: None


# ---- set difference

_alias = count()


def _differing(original: Method) -> Method:
    """Defect: `A - B` is written as NOT IN, which PostgreSQL cannot turn into a join.

    It took over six minutes for a million keys, NOT EXISTS 0.25 s. The two differ where a compared value is NULL;
    there, and for the kinds of query that cannot be correlated, DataJoint's own form stays.

    Defect: `A - {"a": 1, "b": 2}` is written as NOT (a = 1) AND (b = 2), which leaves out other rows than that one.
    """

    def make_condition(query: Any, restriction: Any, columns: set[str], semantic_check: bool = True) -> str | bool:
        negated, other = _without_negation(restriction)
        if negated and isinstance(other, QueryExpression):
            condition.assert_join_compatibility(query, other, semantic_check=semantic_check)
            common = [name for name in other.heading.names if name in query.heading.names]
            if _can_be_correlated(query, other, common):
                columns.update(common)
                return _not_exists(query.connection.adapter, other, common)
        if negated and isinstance(other, Mapping | condition.AndList | np.void):
            found = original(query, other, columns, semantic_check)
            return not found if isinstance(found, bool) else f"NOT ({found})"
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


# ---- queues: what a person asks for

_filled: set[str] = set()  # full names of the tables of the lab that compute: a role fills each of them


def _raising_priority(original: Method) -> Method:
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


def _left_to_workers(original: Method) -> Method:
    """No defect, but a rule of ours: where the lab's settings say so, only workers fill tables that roles fill.

    SQL rights are not file rights: on one of several hosts a notebook may write rows of arrays that no other host can
    read. Workers do not call `populate`.
    """

    def populate(self: Any, *restrictions: Any, **options: Any) -> Any:
        if self.full_table_name in _filled and (lab := settings.active()).workers.only_workers_write:
            name = f"{self.database.removeprefix(f'{lab.database.prefix}_')}.{type(self).__name__}"
            key = restrictions[0] if len(restrictions) == 1 and isinstance(restrictions[0], Mapping) else "KEY"
            hint = (
                f"Let a worker do it next: {name}.jobs.refresh({key}, priority=1). A student's account has no right to "
                "that: insert the row that stages it, such as one of imaging.ProcessingTask, and a worker takes it up; "
                f"or ask the operator for: adamacs jobs prioritize {name} {shlex.quote(describe(key))}"
            )
            raise InvalidRequest(f"In this lab only workers fill {name}.", hint=hint)
        return original(self, *restrictions, **options)

    return populate


# ---- applying


def _mends() -> Iterator[tuple[Any, str, Callable[[Method], Method]]]:
    """Yield (owner, attribute, mend): the mend makes the new method of the old one."""
    yield dj.Connection, "connect", _reconnecting
    yield MySQLAdapter, "translate_error", _translating_mysql
    yield MySQLAdapter, "connect", _prepared_mysql
    yield MySQLAdapter, "ping", _raising_ping
    yield MySQLAdapter, "create_schema_sql", _in_every_script
    yield PostgreSQLAdapter, "translate_error", _translating_postgresql
    yield PostgreSQLAdapter, "connect", _prepared_postgresql
    yield PostgreSQLAdapter, "ping", _raising_ping
    yield PostgreSQLAdapter, "get_cursor", _cursor_of_closed
    yield Heading, "_init_from_database", _recognising_json
    for name in ("join", "set_primary_key", "make_subquery_heading"):
        yield Heading, name, _remembering_server
    yield dj_connection, "_warn_if_mariadb", _silent
    yield jobs.Job, "refresh", _raising_priority
    yield AutoPopulate, "populate", _left_to_workers
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
    os.environ.setdefault("PGCONNECT_TIMEOUT", "10")  # s; without it a host that is off is waited for minutes
    password = server.password.reveal()
    try:
        return dj.conn(host=server.host, user=server.user, password=password, reset=True, use_tls=_tls(server))
    except ImportError as error:
        raise ToolMissing("The driver for PostgreSQL is missing.", hint="Run: pip install psycopg2-binary") from error
    except (*statements.CLIENT_ERRORS, LostConnectionError) as error:
        raise _unavailable(server, error) from error


def _tls(server: Server) -> bool | dict[str, bool]:
    """Return what DataJoint is to be told: whether TLS is demanded or, on the MySQL family, else preferred.

    PyMySQL takes an empty dict, which DataJoint makes of True, for "if the server likes to". MySQL's own accounts
    (`caching_sha2_password`) send their password over TLS alone.
    """
    if server.backend == "mysql":
        return {"check_hostname": False} if server.use_tls else {}
    return server.use_tls


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


def execute_unlogged(connection: dj.Connection, statement: str) -> None:
    """Run one statement that holds a secret. `%` stands for itself.

    Defect: DataJoint logs every statement that it runs at DEBUG, passwords included.
    """
    try:
        with connection._conn.cursor() as cursor:
            cursor.execute(statement)
    except statements.CLIENT_ERRORS as error:
        raise connection.adapter.translate_error(error) from error


def scrambled(connection: dj.Connection, account: str, password: Secret) -> str:
    """Return a password as PostgreSQL stores it (SCRAM), so that the server never sees it."""
    driver = connection._conn
    return psycopg2_extensions.encrypt_password(password.reveal(), account, scope=driver, algorithm="scram-sha-256")


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
    _filled.update(cls.full_table_name for cls in _computing(schema))


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
            _filled.add(cls.full_table_name)
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


# ---- queues


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


def has_default_source(table: Any) -> bool:
    """Whether a table's key source is DataJoint's own: the join of what the primary key refers to."""
    return inspect.getattr_static(table, "key_source") is AutoPopulate.__dict__["key_source"]


def counting(query: Any) -> str:
    """Write the count of a query's rows, which for a whole table is quicker than that of a subquery."""
    return f"SELECT COUNT(*) FROM {query.from_clause()}{query.where_clause()}"  # noqa: S608 - DataJoint's own texts


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


def without(query: Any, other: Any) -> Any:
    """Return the rows of a query that have no partner in a job table, whose keys have a lineage of their own."""
    return query.restrict(condition.Not(other), semantic_check=False)


def separate_connection(server: Server) -> dj.Connection:
    """Open a further connection, for a thread of its own; tables stay with the one of the process."""
    return dj.Connection(server.host, server.user, server.password.reveal(), port=server.port, use_tls=_tls(server))
