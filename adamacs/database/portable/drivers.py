"""Connections of both drivers: what a loss is called, what a session is told when it begins, what values become."""

from __future__ import annotations

import math
import os
import socket
from collections.abc import Callable, Iterator
from typing import Any

import datajoint as dj
import pymysql
from datajoint import heading
from datajoint.codecs import resolve_dtype
from datajoint.errors import IntegrityError, LostConnectionError

from adamacs.core.errors import (
    DatabaseUnavailable,
)
from adamacs.database import statements

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
_BYTEA = 17  # PostgreSQL's number of the type

Method = Callable[..., Any]


def reconnecting(original: Method) -> Method:
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


def translating_postgresql(original: Method) -> Method:
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


def translating_mysql(original: Method) -> Method:
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


def cursor_of_closed(original: Method) -> Method:
    """Defect: psycopg2 refuses a cursor of a closed connection before DataJoint watches for lost connections."""

    def get_cursor(self: Any, connection: Any, as_dict: bool = False) -> Any:
        return _ClosedCursor() if connection.closed else original(self, connection, as_dict)

    return get_cursor


def raising_ping(original: Method) -> Method:
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


def prepared_postgresql(original: Method) -> Method:
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


def prepared_mysql(original: Method) -> Method:
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


def in_every_script(original: Method) -> Method:
    """Defect: a schema gets the server's character set; a MariaDB that nobody configured has latin1.

    Names of files and what errors say of them hold any character.
    """

    def create_schema_sql(self: Any, schema_name: str) -> str:
        return f"{original(self, schema_name)} DEFAULT CHARACTER SET utf8mb4"

    return create_schema_sql


def recognising_json(original: Method) -> Method:
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


def remembering_server(original: Method) -> Method:
    """Defect: a joined or nested query forgets its server: renaming a column of it is a syntax error on PostgreSQL."""

    def derive(self: Any, *arguments: Any, **keywords: Any) -> Any:
        derived = original(self, *arguments, **keywords)
        derived.table_info = self.table_info
        return derived

    return derive


def silent(_: Method) -> Method:
    """Defect, for us: every connection to MariaDB warns that it is not supported. CI tests against it."""
    return lambda version: None
