"""Compare planned rows with what the database holds: a few queries for many scans at once."""

from __future__ import annotations

import shlex
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

from adamacs import pipeline
from adamacs.core import places
from adamacs.core.errors import describe
from adamacs.core.modality import Problem, Row
from adamacs.core.settings import Settings
from adamacs.core.setup_wiring import FRAMES

_FILES = "scan.ScanFile"  # told apart by where they lie: their numbers shift where one comes or goes

# Columns that say which scan this is: where the database says otherwise, the scan is refused. Of others the database
# keeps what it holds, unless somebody corrects them on purpose (`Row.corrects`).
_IDENTITY = {
    "subject.User": ("shorthand",),
    "session.Session": ("subject", "session_date"),
    "scan.Scan": ("acq_software",),
    "scan.ScanPath": ("root", "path"),
    _FILES: ("file_size", "file_time"),
}
_CLOCK, _SOURCE = "clock.Clock", "event.BehaviorRecording.Source"
_AT_ONCE = 200  # keys in one query


@dataclass(frozen=True)
class Change:
    """A column that is corrected; where it is one of the key, the row goes, and a planned one takes its place."""

    table: str
    key: Mapping[str, Any]
    column: str
    held: Any
    planned: Any

    def __str__(self) -> str:
        return f"{self.table} {describe(self.key)}: {self.column} {self.held!r} becomes {self.planned!r}"


@dataclass(frozen=True)
class Comparison:
    """What is to be written of some rows.

    Attributes
    ----------
    missing
        Rows that the database lacks, in the order in which they are written.
    changes
        Columns that are corrected.
    conflicts
        Where the database says something else about the scan.
    """

    missing: tuple[Row, ...]
    changes: tuple[Change, ...]
    conflicts: tuple[Problem, ...]


class Held:
    """What the database holds of the tables and sessions that some rows speak of."""

    def __init__(self, rows: Iterable[Row]) -> None:
        by_table: dict[str, list[Row]] = defaultdict(list)
        for row in rows:
            by_table[row.table].append(row)
        self._rows: dict[str, dict[tuple[Any, ...], dict[str, Any]]] = {}
        self._keys: dict[str, tuple[str, ...]] = {}
        for name, planned in by_table.items():
            table = table_of(name)
            self._keys[name] = tuple(table.primary_key)
            self._rows[name] = {self._key(name, row): row for row in _fetched(table, planned)}

    def _key(self, table: str, values: Mapping[str, Any]) -> tuple[Any, ...]:
        return tuple(values[name] for name in self._keys[table])

    def row(self, row: Row) -> dict[str, Any] | None:
        """Return the row of the same key, or None."""
        return self._rows[row.table].get(self._key(row.table, row.values))

    def of_scan(self, table: str, key: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Return the rows of a table that belong to a scan."""
        held = self._rows.get(table, {}).values()
        return [row for row in held if all(row[name] == value for name, value in key.items())]

    def add(self, rows: Iterable[Row]) -> None:
        """Take rows for held, as they are once the scans before have been written."""
        for row in rows:
            self._rows[row.table].setdefault(self._key(row.table, row.values), dict(row.values))


def _fetched(table: Any, planned: Sequence[Row]) -> Iterator[dict[str, Any]]:
    """Yield the rows of a table that belong to the sessions of some rows, or have their keys."""
    names = ["session_id"] if "session_id" in table.primary_key else list(table.primary_key)
    keys = list(dict.fromkeys(tuple(row.values[name] for name in names) for row in planned))
    for start in range(0, len(keys), _AT_ONCE):
        these = [dict(zip(names, key)) for key in keys[start : start + _AT_ONCE]]
        yield from (table & these).to_dicts()


def table_of(name: str) -> Any:
    """Return the table that people know under a name, such as `scan.Scan`, or `event.BehaviorRecording.File`."""
    return reduce(getattr, name.split("."), pipeline)


def compare(rows: Sequence[Row], held: Held, settings: Settings) -> Comparison:
    """Return what the database lacks of the rows of one scan, and where it says something else about it."""
    missing: list[Row] = []
    changes: list[Change] = []
    conflicts: list[Problem] = []
    files = _files_of_scan(rows, held)
    for row in rows:
        there = files.get(_place(row.values)) if files and row.table == _FILES else held.row(row)
        if there is None:
            missing.append(row)
            continue
        conflicts += _differences(row, there, settings)
        changes += _corrections(row, there)
    moved, told = _other_clocks(rows, held)
    changes += moved
    conflicts += [*told, *_changed_files(rows, files)]
    return Comparison(tuple(missing), tuple(changes), tuple(conflicts))


def _differences(row: Row, held: Mapping[str, Any], settings: Settings) -> Iterator[Problem]:
    for name in _IDENTITY.get(row.table, ()):
        value = row.values[name]
        if held[name] != value:
            what = f"{row.table}.{name} is {held[name]} in the database and {value} in the folder."
            hint = "Was the folder renamed or changed since it was ingested? A scan is never re-keyed."
            if name == "file_time":
                file = shlex.quote(str(settings.root(held["root"]) / held["file_path"]))
                hint = f"If only a copy lost its time, give it back: touch -d {held[name].isoformat()}Z {file}"
            yield Problem("error", what, str(row.values.get("scan_id", row.values.get("session_id", ""))), hint)


def _corrections(row: Row, held: Mapping[str, Any]) -> Iterator[Change]:
    for name in row.corrects:
        if held[name] != row.values[name]:
            key = {column: row.values[column] for column in table_of(row.table).primary_key}
            yield Change(row.table, key, name, held[name], row.values[name])


def _other_clocks(rows: Sequence[Row], held: Held) -> tuple[list[Change], list[Problem]]:
    """Tell of times that are told on other clocks than when the scan was ingested: its setup type was corrected.

    On the clock of the frames no source tells its times, and none was placed on it: where it was scan time, another one
    takes its place, as if the scan were new. On any other clock stand events, and mappings of the other clocks.
    """
    clocks = [row.values for row in rows if row.table == _CLOCK]
    if not clocks:
        return [], []
    key = {name: clocks[0][name] for name in ("session_id", "scan_id")}
    here = {row["clock"]: bool(row["is_scan_time"]) for row in clocks}
    there = {row["clock"]: bool(row["is_scan_time"]) for row in held.of_scan(_CLOCK, key)}
    planned = next((name for name, is_scan_time in here.items() if is_scan_time), "")
    moves = []
    if planned not in ("", FRAMES) and there.get(FRAMES):
        del there[FRAMES]
        moves.append(Change(_CLOCK, {**key, "clock": FRAMES}, "clock", FRAMES, planned))
    told = []
    was = next((name for name, is_scan_time in there.items() if is_scan_time), "")
    is_second = bool(planned and was and was not in here)
    if is_second or any(here.get(name, is_scan_time) != is_scan_time for name, is_scan_time in there.items()):
        told.append(f"Scan time is {was or 'no clock'} in the database, and {planned or 'no clock'} by the setup type.")
    for row in (row for row in rows if row.table == _SOURCE):
        source = held.row(row)
        if source is not None and source["clock"] != row.values["clock"]:
            both = f"on {source['clock']} in the database, and on {row.values['clock']} by the setup type"
            told.append(f"The times of {source['source']} are {both}.")
    hint = f"What was computed stands on it: `adamacs remove {key['scan_id']}`, then ingest its folder by name."
    return moves, [Problem("error", what, key["scan_id"], hint) for what in told]


def _place(row: Mapping[str, Any]) -> str:
    return places.spell(row["root"], row["file_path"])


def _files_of_scan(rows: Sequence[Row], held: Held) -> dict[str, dict[str, Any]]:
    """Return the files that a scan was ingested with, by where they lie; none of a scan that is new.

    Nor of one that was half ingested by something else: what it lacks is completed.
    """
    scan = next((row for row in rows if row.table == "scan.Scan"), None)
    if scan is None or held.row(scan) is None:
        return {}
    key = {name: scan.values[name] for name in ("session_id", "scan_id")}
    return {_place(row): row for row in held.of_scan(_FILES, key)}


def _changed_files(rows: Sequence[Row], files: Mapping[str, Any]) -> Iterator[Problem]:
    """Tell of files that came or went since the scan was ingested with these."""
    if not files:
        return
    planned = [_place(row.values) for row in rows if row.table == _FILES]
    scan_id = next(iter(files.values()))["scan_id"]
    hint = f"`adamacs remove {scan_id}`, then ingest its folder by name."
    told = (
        ("came", [place for place in planned if place not in files]),
        ("went", [p for p in files if p not in planned]),
    )
    for verb, changed in told:
        if changed:
            what = f"{len(changed)} files {verb} since the scan was ingested, such as {changed[0]}."
            yield Problem("error", what, scan_id, hint)
