"""Ask a database server who it is, with its driver alone: DataJoint takes a second to import."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from adamacs.core.errors import DatabaseUnavailable, ToolMissing
from adamacs.database.address import Server

_PATIENCE = 5  # s to connect
_DRIVERS = {"postgresql": "psycopg2", "mysql": "pymysql"}


def version(server: Server) -> str:
    """Return the server's kind and version, such as `PostgreSQL 18.4`.

    Raises
    ------
    ToolMissing
        The driver is not installed.
    DatabaseUnavailable
        The server does not answer, or refuses the account.
    """
    driver = _driver(server.backend)
    try:
        connection = driver.connect(**_arguments(server))
    except (driver.Error, RuntimeError) as error:  # the latter: a password that may not travel in the open
        said = " ".join(str(error).split())
        raise DatabaseUnavailable(f"The database does not answer: {said}.", server.url) from error
    try:
        cursor = connection.cursor()
        cursor.execute("SELECT version()")
        words = str(cursor.fetchone()[0]).split()
    finally:
        connection.close()
    if server.backend == "postgresql":
        return " ".join(words[:2])
    return f"{'MariaDB' if 'MariaDB' in words[0] else 'MySQL'} {words[0].split('-')[0]}"


def has_tables(server: Server, prefix: str) -> bool:
    """Tell whether the tables of a lab were made on a server that answers."""
    connection = _driver(server.backend).connect(**_arguments(server))
    try:
        cursor = connection.cursor()
        cursor.execute("SELECT 1 FROM information_schema.schemata WHERE schema_name = %s", (f"{prefix}_meta",))
        return cursor.fetchone() is not None
    finally:
        connection.close()


def _driver(backend: str) -> Any:
    name = _DRIVERS[backend]
    try:
        return import_module(name)
    except ImportError as error:
        raise ToolMissing(f"The driver {name} is not installed.", hint="pip install 'adamacs'") from error


def _arguments(server: Server) -> dict[str, Any]:
    common = {"host": server.host, "port": server.port, "user": server.user, "connect_timeout": _PATIENCE}
    if server.backend == "postgresql":
        tls = "require" if server.use_tls else "prefer"
        return {**common, "password": server.password.reveal(), "dbname": server.database, "sslmode": tls}
    return {
        **common,
        "password": server.password.reveal(),
        **({"ssl": {"check_hostname": True}} if server.use_tls else {}),
    }
