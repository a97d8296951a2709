"""What each role of the lab may do in the database, as statements that are shown before they are run.

| role      | reads | inserts into               | changes             | deletes from        |
|-----------|-------|----------------------------|---------------------|---------------------|
| `analyst` | all   | nothing                    | nothing             | nothing             |
| `student` | all   | Manual tables              | Manual tables       | nothing             |
| `worker`  | all   | Manual, computed and queue | computed and queue  | computed and queue  |

What workers say of themselves (`operations`) is written by the role `worker` alone: it adds to the record of workers
and attempts, and changes heartbeats and pauses. Operators of queues, who retry, exclude or pause, take that role too.

No role makes or drops tables: that is for the account that owns them. A worker inserts into Manual tables too,
because a result may bring its first manual row with it (the first Curation of a Processing). PostgreSQL shows an
account the keys of a table only with a privilege beyond SELECT, hence REFERENCES: without it DataJoint sees no
primary key and every query is a syntax error.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from adamacs.core.errors import InvalidKey, nearest
from adamacs.core.settings import Secret
from adamacs.database.connect import lab_schemas

if TYPE_CHECKING:
    import datajoint as dj

ROLES = ("analyst", "student", "worker")

_MANUAL = re.compile(r"[a-z]")  # a Manual table or a part of one, by its first letter
_CHANGING = ("heartbeat", "pause")  # of the tables of operations; the others only grow
_COMPUTED = re.compile(r"_|~~")  # Imported, Computed, their parts, and job tables


@dataclass(frozen=True)
class StoredTable:
    """A table as the server knows it; its tier is in the first characters of its name."""

    schema: str
    name: str


def stored_tables(connection: dj.Connection, prefix: str) -> list[StoredTable]:
    """Return every table of the lab that this account can see, DataJoint's own among them."""
    schemas = lab_schemas(connection, prefix)
    if not schemas:
        return []
    text = (
        "SELECT table_schema AS s, table_name AS t FROM information_schema.tables "
        "WHERE table_schema IN %s AND table_type = 'BASE TABLE'"
    )
    return sorted(
        (StoredTable(schema, name) for schema, name in connection.query(text, (tuple(schemas),))),
        key=lambda table: (table.schema, table.name),
    )


def plan_grants(role: str, account: str, tables: Sequence[StoredTable], backend: str) -> list[str]:
    """Return the statements that let an account do what its role needs. They hold no password.

    Running them twice changes nothing. Tables made later can be read at once; to write into them, the role is
    granted again.

    Parameters
    ----------
    role
        One of `ROLES`.
    account
        Name of the database account: a-z, 0-9 and _, a letter first.
    tables
        From `stored_tables`.
    backend
        `postgresql` or `mysql`.

    Raises
    ------
    InvalidKey
        The role is unknown, or the name is none that an account can have.
    """
    if role not in ROLES:
        raise InvalidKey(f"There is no role {role!r}.", hint=nearest(role, ROLES))
    _require_name(account)
    plan = [statement for schema in _schemas(tables) for statement in _reading(schema, account, backend)]
    for table in tables:
        if (rights := _writing(role, table)) and not table.schema.endswith("_meta"):
            plan.append(f"GRANT {rights} ON {_table(table, backend)} TO {_account(account, backend)}")
    return plan


def create_account(connection: dj.Connection, account: str) -> Secret | None:
    """Make an account with a random password, and return the password; None where the account exists already.

    The server sees the password scrambled (PostgreSQL), or hides it from its own logs (MySQL); no log here shows it.
    """
    from adamacs.database import portable

    _require_name(account)
    backend = connection.adapter.backend
    if _account_exists(connection, account):
        return None
    password = Secret(secrets.token_urlsafe(18))  # no quotes, no backslashes
    if backend == "postgresql":
        secret = portable.scrambled(connection, account, password)
        statement = f"CREATE ROLE {_account(account, backend)} LOGIN PASSWORD '{secret}'"
    else:
        statement = f"CREATE USER {_account(account, backend)} IDENTIFIED BY '{password.reveal()}'"
    portable.execute_unlogged(connection, statement)
    return password


def apply_grants(connection: dj.Connection, plan: Sequence[str]) -> None:
    """Run a plan: all of it or, on PostgreSQL, nothing; MySQL commits each statement by itself."""
    with connection.transaction:
        for statement in plan:
            connection.query(_escaped(statement))


def _require_name(account: str) -> None:
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,31}", account):
        hint = "It takes up to 32 of a-z, 0-9 and _, a letter first."
        raise InvalidKey(f"{account!r} cannot be the name of a database account.", hint=hint)


def _account_exists(connection: dj.Connection, account: str) -> bool:
    if connection.adapter.backend == "postgresql":
        found = connection.query("SELECT 1 FROM pg_roles WHERE rolname = %s", (account,))
    else:
        text = "SELECT 1 FROM information_schema.user_privileges WHERE grantee = %s"
        found = connection.query(text, (_account(account, "mysql"),))
    return found.fetchone() is not None


def _schemas(tables: Sequence[StoredTable]) -> list[str]:
    return list(dict.fromkeys(table.schema for table in tables))


def _reading(schema: str, account: str, backend: str) -> list[str]:
    who = _account(account, backend)
    if backend == "mysql":  # a right on a schema is one on its later tables too
        pattern = schema.replace("_", r"\_")  # which would stand for any letter there
        return [f"GRANT SELECT, REFERENCES ON `{pattern}`.* TO {who}"]
    rights = "SELECT, REFERENCES"
    return [
        f'REVOKE INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA "{schema}" FROM {who}',  # what another role gave
        f'GRANT USAGE ON SCHEMA "{schema}" TO {who}',
        f'GRANT {rights} ON ALL TABLES IN SCHEMA "{schema}" TO {who}',
        f'ALTER DEFAULT PRIVILEGES IN SCHEMA "{schema}" GRANT {rights} ON TABLES TO {who}',
    ]


def _writing(role: str, table: StoredTable) -> str:
    """Return the rights of a role on a table beyond reading it."""
    if table.schema.endswith("_operations"):  # what workers say of themselves
        rights = "INSERT, UPDATE, DELETE" if table.name in _CHANGING else "INSERT"
        return rights if role == "worker" else ""
    if role == "student" and _MANUAL.match(table.name):
        return "INSERT, UPDATE"
    if role == "worker" and _COMPUTED.match(table.name):
        return "INSERT, UPDATE, DELETE"
    if role == "worker" and _MANUAL.match(table.name):
        return "INSERT"
    return ""


def _account(name: str, backend: str) -> str:
    return f"'{name}'@'%'" if backend == "mysql" else f'"{name}"'


def _table(table: StoredTable, backend: str) -> str:
    quote = "`" if backend == "mysql" else '"'
    return f"{quote}{table.schema}{quote}.{quote}{table.name}{quote}"


def _escaped(statement: str) -> str:
    """Both drivers read % as a placeholder."""
    return statement.replace("%", "%%")
