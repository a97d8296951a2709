"""The one connection of a process to the lab's database, and the binding of the tables to it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from adamacs.core.errors import DatabaseUnavailable, SchemaMismatch
from adamacs.core.settings import Settings
from adamacs.database.address import Server, parse_url
from adamacs.database.embedded import EmbeddedServer

if TYPE_CHECKING:  # DataJoint takes a second to import, and an address needs none of it
    import datajoint as dj

INITIALISE = "Run: adamacs db init"


@dataclass
class _OpenLab:
    settings: Settings
    connection: dj.Connection


_open: _OpenLab | None = None


def embedded(settings: Settings) -> EmbeddedServer | None:
    """Return the lab's own server; None where the settings name another one."""
    if settings.database.url:
        return None
    data = settings.database.data
    return EmbeddedServer(settings.home, Path(data) if data else None)


def server(settings: Settings) -> Server:
    """Return where the lab's database is. Nothing is started and nothing is asked.

    Raises
    ------
    DatabaseUnavailable
        The settings name no server, and the embedded one was never initialised.
    InvalidSetting
        `database.url` cannot be read.
    """
    own = embedded(settings)
    if own is not None:
        return own.address()
    database = settings.database
    return parse_url(database.url, database.password, use_tls=database.use_tls)


def running_server(settings: Settings) -> Server:
    """Return where the lab's database is, after starting an initialised embedded server that is down."""
    own = embedded(settings)
    return own.start() if own is not None else server(settings)


def open_connection(settings: Settings) -> dj.Connection:
    """Connect DataJoint to the lab's database, once per process.

    Starts an embedded server that is initialised but down. A second call returns the same connection, opened
    anew where it was lost.

    Raises
    ------
    DatabaseUnavailable
        The server does not answer, refuses the account, or was never initialised; or this process is connected
        to another lab already.
    """
    global _open
    from adamacs.database import portable

    if _open is not None:
        _require_same_lab(_open.settings, settings)
        if not _open.connection.is_connected:
            portable.reconnect(_open.connection, running_server(settings))
        return _open.connection
    address = running_server(settings)
    portable.apply()
    _configure(settings, address)
    _open = _OpenLab(settings, portable.connect(address))
    return _open.connection


def close_connection() -> None:
    """Close the connection of this process, where there is one, and forget it. Bound tables stay bound to it."""
    global _open
    if _open is not None:
        _open.connection.close()
        _open = None


@contextlib.contextmanager
def set_aside() -> Iterator[None]:
    """Leave the connected lab for a while to open another one, with tables of its own, and return to it."""
    global _open
    before, _open = _open, None
    try:
        yield
    finally:
        close_connection()
        _open = before
        if before is not None:
            _configure(before.settings, running_server(before.settings))


def _require_same_lab(connected: Settings, wanted: Settings) -> None:
    if (connected.home, connected.database) != (wanted.home, wanted.database):
        raise DatabaseUnavailable(
            "This process is connected to another lab, and its tables belong to that one.",
            connected.home,
            f"Start a new Python process (in a notebook: restart the kernel) for {wanted.home}.",
        )


def _configure(settings: Settings, address: Server) -> None:
    from adamacs.database import portable

    stores = {}
    for name, store in settings.stores.items():
        location = str(settings.home / store.location) if store.protocol == "file" else store.location
        stores[name] = portable.store_spec(store, location)
    portable.configure(address, stores)


# ---- schemas


def schema_name(module: ModuleType, prefix: str) -> str:
    """Return the name of the database schema that holds a module's tables.

    `adamacs.schemas.scan` gives `<prefix>_scan`, `adamacs.modalities.imaging.tables` gives `<prefix>_imaging`.
    """
    *parents, last = module.__name__.split(".")
    return f"{prefix}_{parents[-1] if last == 'tables' and parents else last}"


def activate(modules: Sequence[ModuleType], prefix: str, connection: dj.Connection, *, create: bool) -> None:
    """Bind the tables of these modules to the database schemas `<prefix>_<module>`.

    Parameters
    ----------
    modules
        Each holds a `schema = dj.Schema()`; parents first.
    prefix
        The lab's `database.prefix`.
    connection
        From `open_connection`.
    create
        Make what is missing: schemas, tables, job tables, the contents of Lookup tables. Else nothing is
        written, so that an account that may only read suffices.

    Raises
    ------
    DatabaseUnavailable
        None of the schemas exists: the lab was never initialised. Or the modules are bound to another lab.
    SchemaMismatch
        Some tables are missing.
    """
    from adamacs.database import portable

    wanted = {schema_name(module, prefix): module.schema for module in modules}
    new = {name: schema for name, schema in wanted.items() if not _is_bound(schema, name, connection)}
    if create:
        with _one_initialisation(connection, prefix):
            for name, schema in new.items():
                schema.activate(name, connection=connection, create_schema=True, create_tables=True)
            for schema in new.values():
                portable.declare_jobs(schema)
    else:
        _require_tables({name: portable.table_names(schema) for name, schema in new.items()}, connection)
        for name, schema in new.items():
            portable.bind(schema, name, connection)


def lab_schemas(connection: dj.Connection, prefix: str) -> list[str]:
    """Return the names of the lab's database schemas that this account can see.

    Labs with the prefixes `mouse` and `mouse_two` may share a server: schemas of a longer prefix that has a
    `_meta` schema of its own are not this lab's.
    """
    rows = connection.query("SELECT schema_name AS name FROM information_schema.schemata")
    names = sorted(name for (name,) in rows if name.startswith(f"{prefix}_"))
    others = [name.removesuffix("meta") for name in names if name.endswith("_meta") and name != f"{prefix}_meta"]
    return [name for name in names if not name.startswith(tuple(others))]


def _is_bound(schema: dj.Schema, name: str, connection: dj.Connection) -> bool:
    if schema.database is None:
        return False
    if schema.database == name and schema.connection is connection:
        return True
    raise DatabaseUnavailable(
        f"The tables of this process are bound to the schema {schema.database}.",
        name,
        "Start a new Python process for another lab.",
    )


def _require_tables(wanted: dict[str, list[str]], connection: dj.Connection) -> None:
    """Compare what should be there with what is there, in one statement."""
    if not wanted:
        return
    text = "SELECT table_schema AS s, table_name AS t FROM information_schema.tables WHERE table_schema IN %s"
    there = {(schema, table) for schema, table in connection.query(text, (tuple(wanted),))}
    missing = [
        f"{schema}.{table}" for schema, tables in wanted.items() for table in tables if (schema, table) not in there
    ]
    if missing and not there:
        raise DatabaseUnavailable("The database holds no tables of this lab.", next(iter(wanted)), INITIALISE)
    if missing:
        some = ", ".join(missing[:5]) + (f" and {len(missing) - 5} more" if len(missing) > 5 else "")
        raise SchemaMismatch(f"The database lacks tables: {some}.", hint=f"{INITIALISE}, as the account that owns it.")


@contextlib.contextmanager
def _one_initialisation(connection: dj.Connection, prefix: str) -> Iterator[None]:
    """Let one process at a time make the tables of a lab; the server drops the lock with the connection."""
    if connection.adapter.backend == "postgresql":
        take, give = "SELECT pg_advisory_lock(hashtext(%s))", "SELECT pg_advisory_unlock(hashtext(%s))"
    else:
        take, give = "SELECT GET_LOCK(%s, 600)", "SELECT RELEASE_LOCK(%s)"
    name = f"adamacs initialises {prefix}"
    connection.query(take, (name,))
    try:
        yield
    finally:
        connection.query(give, (name,))
