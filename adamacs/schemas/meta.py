"""Which form of the tables a database holds, and which adamacs made it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from types import ModuleType

import datajoint as dj

import adamacs
from adamacs.core.errors import DatabaseUnavailable, SchemaMismatch
from adamacs.database import connect

SCHEMA_VERSION = 1  # raised by every change of a table that earlier releases cannot work with

schema = dj.Schema()


@schema
class SchemaVersion(dj.Manual):
    definition = """
    # The form of the tables in this database: a row for each it has had, the greatest is the present one
    schema_version : int32
    ---
    adamacs_version : varchar(64)  # release that made or migrated the tables
    """


def activate(modules: Sequence[ModuleType], prefix: str, connection: dj.Connection, *, create: bool) -> None:
    """Bind the tables of these modules to the lab's database, after checking that both speak of the same tables.

    Parameters
    ----------
    modules
        Those that hold tables, parents first; this one needs no mention.
    prefix, connection, create
        As for `adamacs.database.connect.activate`.

    Raises
    ------
    SchemaMismatch
        The database was made by a release with other tables, or some are missing.
    DatabaseUnavailable
        The database was never initialised.
    """
    own = sys.modules[__name__]
    connect.activate([own], prefix, connection, create=create)
    _check_version(complete=not create)
    connect.activate([module for module in modules if module is not own], prefix, connection, create=create)
    if create:  # last, so that an interrupted initialisation shows
        row = {"schema_version": SCHEMA_VERSION, "adamacs_version": adamacs.__version__}
        SchemaVersion.insert1(row, skip_duplicates=True)  # the release that made the tables stays on record


def _check_version(*, complete: bool) -> None:
    rows = SchemaVersion.to_dicts()
    if not rows:
        if complete:
            raise DatabaseUnavailable("The tables of this lab were not all made.", hint=connect.INITIALISE)
        return
    present = max(rows, key=lambda row: row["schema_version"])
    version, maker = present["schema_version"], present["adamacs_version"]
    if version == SCHEMA_VERSION:
        return
    advice = f"Install adamacs {maker}" + (" or a later one." if version > SCHEMA_VERSION else ", or migrate a dump.")
    raise SchemaMismatch(
        f"The database holds tables of version {version}, made by adamacs {maker}; "
        f"this is adamacs {adamacs.__version__}, which works with version {SCHEMA_VERSION}.",
        hint=advice,
    )
