"""DataJoint's settings, and the connections of this process."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import Any

import datajoint as dj
from datajoint.errors import LostConnectionError
from datajoint.logging import stream_handler
from pydantic_settings import BaseSettings

from adamacs.core.errors import (
    DatabaseUnavailable,
    ToolMissing,
)
from adamacs.core.settings import Secret, Store
from adamacs.database import statements
from adamacs.database.address import Server

try:
    import psycopg2
    import psycopg2.extensions as psycopg2_extensions
except ModuleNotFoundError:  # an analyst of a MySQL lab has no need of it
    psycopg2 = None


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


def separate_connection(server: Server) -> dj.Connection:
    """Open a further connection, for a thread of its own; tables stay with the one of the process."""
    return dj.Connection(server.host, server.user, server.password.reveal(), port=server.port, use_tls=_tls(server))
