"""SQL that the project writes itself, in the words of either kind of server, and the transactions around it."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Sequence
from itertools import count
from typing import Any

import pymysql
from datajoint.errors import LostConnectionError

try:
    import psycopg2
except ModuleNotFoundError:  # an analyst of a MySQL lab has no need of it
    psycopg2 = None

CLIENT_ERRORS: tuple[type[Exception], ...] = (pymysql.err.Error,)  # as the drivers raise them
if psycopg2 is not None:
    CLIENT_ERRORS = (*CLIENT_ERRORS, psycopg2.Error)

WITHIN = "_adamacs_within_transaction"  # attribute of a connection
_PREPARED = "_adamacs_prepared"  # another one: the session, and its statements by their text


def seconds_from_now(connection: Any, seconds: str = "%s") -> str:
    """Write the instant that many seconds from now, on the clock of the database; `seconds` is an SQL expression."""
    if connection.adapter.backend == "postgresql":
        return f"CURRENT_TIMESTAMP + {seconds} * INTERVAL '1 second'"
    return f"CURRENT_TIMESTAMP(6) + INTERVAL ({seconds}) SECOND"


def seconds_since(connection: Any, column: str) -> str:
    """Write how many seconds ago the instant in a column was, on the clock of the database."""
    if connection.adapter.backend == "postgresql":
        return f"EXTRACT(EPOCH FROM CURRENT_TIMESTAMP - {column})::float8"
    return f"TIMESTAMPDIFF(MICROSECOND, {column}, CURRENT_TIMESTAMP(6)) / 1e6"


def relaxed(connection: Any) -> str:
    """Return what stands before a statement whose commit need not reach the disk before it is answered."""
    if connection.adapter.backend == "postgresql":
        return "SET LOCAL synchronous_commit TO OFF; "
    return ""


@contextlib.contextmanager
def transaction(connection: Any, first: str = "", arguments: Sequence[Any] = ()) -> Iterator[int]:
    """Commit what the block does, or nothing of it; the block is given how many rows `first` touched.

    Defect: `connection.transaction` forgets that the transaction ended where the commit itself failed, and covers
    the error of the block by that of the rollback where the connection is gone.

    Parameters
    ----------
    first, arguments
        A statement to begin with; PostgreSQL takes it in one round trip with the beginning itself.
    """
    before, touched = "", 0
    if first and connection.adapter.backend == "postgresql" and not connection.in_transaction:
        before = f"{connection.adapter.start_transaction_sql()}; "
    else:
        connection.start_transaction()
    setattr(connection, WITHIN, True)
    try:
        if first:
            touched = int(query_prepared(connection, first, arguments, before).rowcount)
            connection._in_transaction = True
        yield touched
        connection.commit_transaction()
    except BaseException:
        try:
            connection.cancel_transaction()
        except (*CLIENT_ERRORS, LostConnectionError):
            connection._in_transaction = False  # it ended with the connection, on the server's side
        raise
    finally:
        setattr(connection, WITHIN, False)


def query_prepared(connection: Any, text: str, arguments: Sequence[Any], before: str = "") -> Any:
    """Send a statement that is sent again and again; PostgreSQL parses and plans it once per session.

    It is never sent again by itself: a session that was lost takes the prepared statement with it.

    Parameters
    ----------
    before
        What goes before it in the same round trip.
    """
    if connection.adapter.backend != "postgresql":
        return connection.query(f"{before}{text}", tuple(arguments), reconnect=False)
    session, names = getattr(connection, _PREPARED, (None, dict[str, str]()))
    if session is not connection._conn:
        names = {}
        setattr(connection, _PREPARED, (connection._conn, names))
    if text not in names:
        numbers = count(1)
        numbered = re.sub("%s", lambda _: f"${next(numbers)}", text)
        connection.query(f"PREPARE adamacs_{len(names)} AS {numbered}", reconnect=False)
        names[text] = f"adamacs_{len(names)}"
    marks = ", ".join(["%s"] * len(arguments))
    return connection.query(f"{before}EXECUTE {names[text]}({marks})", tuple(arguments), reconnect=False)


def savepoint(connection: Any, name: str, *, first: bool) -> str:
    """Write a savepoint that takes the place of the last one of its name; PostgreSQL would keep both."""
    again = connection.adapter.backend == "postgresql" and not first
    return f"RELEASE SAVEPOINT {name}; SAVEPOINT {name}" if again else f"SAVEPOINT {name}"


def storable(text: str, length: int) -> str:
    """Return a text as every server takes it, cut to a length: file names that are no UTF-8 and NUL are spelt out."""
    return text.encode("utf-8", "backslashreplace").decode().replace("\0", "\\x00")[:length]


def plain(value: Any) -> Any:
    """Return a value of a key as JSON can hold it: numbers and texts stay, everything else becomes text."""
    return value if isinstance(value, str | int | float | bool | None) else str(value)
