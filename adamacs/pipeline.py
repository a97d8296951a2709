"""The one list of modalities, and what notebooks import.

>>> from adamacs.pipeline import connect, imaging   # doctest: +SKIP
>>> connect()                                       # doctest: +SKIP
>>> imaging.Fluorescence.Trace()                    # doctest: +SKIP
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

from adamacs.core import settings as _settings
from adamacs.core.modality import Modality

if TYPE_CHECKING:
    import datajoint as dj

    from adamacs.core.settings import Settings

MODALITIES: tuple[str, ...] = ("imaging", "behavior")
SPINE: tuple[str, ...] = (
    *("subject", "surgery", "equipment", "session", "scan", "clock", "event", "trial", "sync"),
    *("operations", "ledger"),
)

__all__ = ["MODALITIES", "SPINE", "connect", "imaging", "initialise", "modalities", "modules", "table_name", "tables"]  # noqa: F822


def connect(settings: Settings | None = None) -> dj.Connection:
    """Connect to the lab's database and bind every table to it.

    Starts an embedded server that is initialised but down. Creates nothing: `adamacs db init` does. A second
    call returns the same connection.

    Parameters
    ----------
    settings
        Of the lab; by default those of `ADAMACS_HOME`, else of the nearest lab home upwards, else of ./lab.

    Raises
    ------
    DatabaseUnavailable
        The server does not answer, or the lab was never initialised.
    SchemaMismatch
        The database was made by another schema version.
    """
    from adamacs.database import connect as database
    from adamacs.schemas import meta

    settings = settings or _settings.load()
    connection = database.open_connection(settings)
    _settings.use(settings)
    meta.activate(modules(), settings.database.prefix, connection, create=False)
    _hand_down()
    return connection


def initialise(settings: Settings) -> None:
    """Make the database of a lab and every table that is missing; what is there is kept.

    Raises
    ------
    SchemaMismatch
        The database was made by another schema version.
    """
    from adamacs.database import connect as database
    from adamacs.schemas import meta

    server = database.embedded(settings)
    if server is not None:
        server.init()
    connection = database.open_connection(settings)
    _settings.use(settings)
    meta.activate(modules(), settings.database.prefix, connection, create=True)
    _hand_down()


def _hand_down() -> None:
    """Tell the layers below what the modalities declare: they know none of them."""
    from adamacs.database import portable

    event, trial, sync = (import_module(f"adamacs.schemas.{name}") for name in ("event", "trial", "sync"))
    for modality in modalities():
        for name, parser in modality.parsers.items():
            event.IMPORTERS[name] = parser.events
            sync.COUNTS[name] = parser.counts
            if parser.trials:
                trial.IMPORTERS[name] = parser.trials
        for name, teller in modality.tellers.items():
            sync.TELLERS[name] = (getattr(import_module(modality.tables), teller.table), teller)
    named = {table_name(table): table.full_table_name for table in tables()}
    lines = (pair for modality in modalities() for pair in modality.staged_by.items())
    portable.staged_by.update({named[table]: line for table, line in lines})


def modalities() -> tuple[Modality, ...]:
    """Return what each modality declares, the spine first."""
    return (*_OF_SPINE, *(import_module(f"adamacs.modalities.{name}.modality").MODALITY for name in MODALITIES))


_INGESTED = ("session.Session", "scan.Scan", "scan.ScanFile", "event.BehaviorRecording", "sync.Teller")
_OF_SPINE = (
    Modality(
        name="scan",
        tables="adamacs.schemas.scan",
        fills={"cpu": ("ScanFileChecksum",)},
        staged_by=dict.fromkeys(_INGESTED, "adamacs ingest apply FOLDER"),
    ),
    Modality(
        name="event",
        tables="adamacs.schemas.event",
        fills={"cpu": ("EventImport",)},
        needs={"EventImport": ("store:derived",)},
    ),
    Modality(name="trial", tables="adamacs.schemas.trial", fills={"cpu": ("TrialImport",)}),
    Modality(
        name="sync",
        tables="adamacs.schemas.sync",
        fills={"cpu": ("ClockSync", "Promise", "Certificate")},
        needs={"ClockSync": ("store:derived",), "Promise": ("store:derived",)},
    ),
)


def modules() -> tuple[ModuleType, ...]:
    """Return every module that holds tables, parents first."""
    spine = tuple(import_module(f"adamacs.schemas.{name}") for name in SPINE)
    return spine + tuple(import_module(f"adamacs.modalities.{name}.tables") for name in MODALITIES)


def tables() -> Iterator[Any]:
    """Yield every table in the order of the declarations, parents first, each followed by its parts."""
    from datajoint import Part

    for module in modules():
        for master, _ in module.schema.declare_list:
            yield master
            yield from (part for part in vars(master).values() if isinstance(part, type) and issubclass(part, Part))


def table_name(table: type) -> str:
    """Return the name under which people know a table: `imaging.Processing`, of a part `imaging.Segmentation.Mask`.

    Parameters
    ----------
    table
        Its class. Of one that belongs to no module of the pipeline, the last part of its own module's name is taken.
    """
    places = {f"adamacs.schemas.{name}": name for name in SPINE}
    places |= {f"adamacs.modalities.{name}.tables": name for name in MODALITIES}
    module = f"{table.__module__}."
    known = (name for place, name in places.items() if module.startswith(f"{place}."))
    return f"{next(known, table.__module__.rpartition('.')[2])}.{table.__qualname__}"


def __getattr__(name: str) -> Any:
    if name in SPINE:
        return import_module(f"adamacs.schemas.{name}")
    if name in MODALITIES:
        return import_module(f"adamacs.modalities.{name}.tables")
    raise AttributeError(f"adamacs.pipeline has no {name!r}")
