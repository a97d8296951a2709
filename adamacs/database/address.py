"""Where a database server is, and who we are there."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import SplitResult, quote, unquote, urlsplit

from adamacs.core.errors import InvalidSetting
from adamacs.core.settings import Secret

_BACKENDS = {"postgresql": "postgresql", "postgres": "postgresql", "mysql": "mysql", "mariadb": "mysql"}
_PORTS = {"postgresql": 5432, "mysql": 3306}
_EXAMPLES = "Examples: postgresql://adamacs@db.lab.org/adamacs, mysql://adamacs@db.lab.org:3306."


@dataclass(frozen=True)
class Server:
    """The address of a database server and the account we use there.

    Attributes
    ----------
    backend
        `postgresql` or `mysql`, the latter for MariaDB too.
    database
        The PostgreSQL database that holds the lab's schemas; empty for the MySQL family, whose schemas are
        databases of their own.
    """

    backend: str
    host: str
    port: int
    user: str
    password: Secret
    database: str = ""
    use_tls: bool = False

    @property
    def url(self) -> str:
        """The address as a URL, without the password."""
        path = f"/{quote(self.database)}" if self.database else ""
        return f"{self.backend}://{quote(self.user)}@{self.host}:{self.port}{path}"


def parse_url(url: str, password: Secret, *, use_tls: bool = False) -> Server:
    """Read `database.url`, filling in what it leaves out.

    Raises
    ------
    InvalidSetting
        The scheme is unknown, the host or account is missing, or the URL says more than a server takes.
    """
    try:
        parts = urlsplit(url)
    except ValueError as error:  # unbalanced brackets
        raise InvalidSetting("database.url is no URL.", hint=_EXAMPLES) from error
    backend = _BACKENDS.get(parts.scheme)
    if backend is None:
        raise InvalidSetting(f"database.url begins with {parts.scheme!r}, no known kind of server.", hint=_EXAMPLES)
    if parts.query or parts.fragment or parts.password is not None:
        raise InvalidSetting("database.url takes no password, no options and no fragment.", hint=_EXAMPLES)
    if not parts.hostname or not parts.username:
        raise InvalidSetting("database.url names no host or no account.", hint=_EXAMPLES)
    if ":" in parts.hostname:
        raise InvalidSetting("database.url holds a bare IPv6 address.", hint="Give the server's name instead.")
    return Server(
        backend=backend,
        host=parts.hostname,
        port=_port(parts) or _PORTS[backend],
        user=unquote(parts.username),
        password=password,
        database=_database(parts, backend),
        use_tls=use_tls,
    )


def _port(parts: SplitResult) -> int | None:
    try:
        return parts.port
    except ValueError as error:
        raise InvalidSetting("database.url has an impossible port.", hint=_EXAMPLES) from error


def _database(parts: SplitResult, backend: str) -> str:
    name = unquote(parts.path.strip("/"))
    if backend == "mysql":
        if name:
            raise InvalidSetting("A MySQL URL names no database: adamacs makes one per schema.", hint=_EXAMPLES)
        return ""
    if name and not re.fullmatch(r"[A-Za-z0-9_.-]+", name):
        raise InvalidSetting(f"database.url names the database {name!r}.", hint="Use letters, digits, _, . and -.")
    return name or "postgres"
