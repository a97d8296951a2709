"""The table of what arrived: every unit that was seen on the share, what it waits for, and who held it back."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from blake3 import blake3

from adamacs import pipeline
from adamacs.core import clocks, places
from adamacs.core.errors import InvalidRequest, nearest, visible
from adamacs.core.settings import Settings
from adamacs.database import statements
from adamacs.ingest.beneath import Place, descended
from adamacs.ingest.find import below, find_recordings
from adamacs.schemas import ledger as _tables

tables: Any = _tables  # rows, columns and operators exist in the database, not in types

STATES: Mapping[str, str] = {
    "incubating": "its files still change, or stopped a moment ago",
    "waiting": "a file that it belongs to has not come",
    "late": "nothing changes any more, but a file is missing or has no end",
    "quarantined": "something is wrong that only a person can mend",
    "planned": "it is whole; its plan waits for a person",
    "ingested": "its rows stand in the database",
    "changed": "a file changed after it was ingested",
    "ignored": "a person left it out",
    "gone": "it is not on the share any more",
}
HELD = ("quarantined", "late", "changed", "waiting")  # what a person should look at
_REASON = 2047  # characters


@dataclass(frozen=True)
class Arrival:
    """A unit as the table holds it; times are naive UTC.

    Attributes
    ----------
    path, unit
        The place of the folder (`adamacs.core.places`), and the file or stamp within one that grows.
    state
        One of `STATES`.
    """

    path: str
    unit: str
    state: str
    fingerprint: str
    first_seen: datetime
    changed_at: datetime
    settled_at: datetime | None = None
    scan_id: str = ""
    reason: str = ""

    def describe(self) -> str:
        """Return the unit in one line."""
        name = f"{self.path}/{self.unit}" if self.unit else self.path
        return visible(f"{self.state:12}{name}{f': {self.reason}' if self.reason else ''}")


def identify(place: str, unit: str = "") -> str:
    """Return the key of a unit: a path is longer than what a server keeps in a key."""
    root, path = places.split(place)
    return str(blake3(f"{root}\0{path}\0{unit}".encode(errors="surrogateescape")).hexdigest(16))


def load(states: Sequence[str] = tuple(STATES)) -> list[Arrival]:
    """Return the units in some states, in the order of their paths."""
    return _load([{"state": state} for state in states])


def load_paths(paths: Iterable[str]) -> list[Arrival]:
    """Return the recording folders at some paths that the table holds."""
    return _load([{"arrival_id": identify(path)} for path in paths])


def _load(keys: list[dict[str, str]]) -> list[Arrival]:
    rows = (tables.Arrival & keys).to_dicts()
    found = [
        Arrival(
            **{name: row[name] for name in Arrival.__dataclass_fields__}
            | {"path": places.spell(row["root"], row["path"])}
        )
        for row in rows
    ]
    return sorted(found, key=lambda one: (one.path, one.unit))


def save(arrivals: Iterable[Arrival]) -> None:
    """Write down how some units stand now, each as a whole."""
    for one in arrivals:
        row = {name: getattr(one, name) for name in Arrival.__dataclass_fields__}
        row["root"], row["path"] = places.split(one.path)
        texts = {"path": 1023, "unit": 255, "scan_id": 64, "reason": _REASON}
        row |= {name: statements.storable(row[name], length) for name, length in texts.items()}
        row["arrival_id"] = identify(one.path, one.unit)
        if tables.Arrival & {"arrival_id": row["arrival_id"]}:
            tables.Arrival.update1(row)
        else:
            tables.Arrival.insert1(row, skip_duplicates=True)  # another watcher saw the same


def settle(path: str, unit: str, state: str, reason: str = "") -> None:
    """Write down what a person, or a removal, decided about a unit that the table holds."""
    key = {"arrival_id": identify(path, unit)}
    if tables.Arrival & key:
        reason = statements.storable(reason, _REASON)
        tables.Arrival.update1({**key, "state": state, "reason": reason, "settled_at": clocks.now()})


@contextmanager
def left_out(places: Mapping[str, str], reason: str) -> Iterator[None]:
    """Leave recording folders out, seen by a watcher or not, until somebody releases them; not where the block fails.

    Parameters
    ----------
    places
        Path to scan token.
    """
    before = {one.path: one for one in load_paths(places)}
    now = clocks.now()
    fresh = {path: Arrival(path, "", "ignored", "", now, now, scan_id=token) for path, token in places.items()}
    save(replace(one, state="ignored", reason=reason, settled_at=now) for one in (fresh | before).values())
    try:
        yield
    except BaseException:
        save(before.values())
        for path in fresh.keys() - before.keys():
            (tables.Arrival & {"arrival_id": identify(path)}).delete_quick()
        raise


def state_of(path: str, unit: str = "") -> str | None:
    """Return how a unit stands at this moment, or None where the table does not hold it."""
    found = (tables.Arrival & {"arrival_id": identify(path, unit)}).to_arrays("state")
    return str(found[0]) if len(found) else None


def decide(path: str, state: str, reason: str, settings: Settings) -> list[Arrival]:
    """Let a person decide about every unit at a path: `ignored`, or `incubating` to look at it anew.

    A folder that nobody saw arrive can be left out, too: itself, or all that lies in it and is not ingested.

    Raises
    ------
    InvalidRequest
        The table holds no such path, and there is no such folder on a share to leave out.
    """
    path = path.rstrip("/")
    if not path:
        hint = "Name one as `adamacs quarantine list` shows it, or a scan token."
        raise InvalidRequest("No path is named.", hint=hint)
    place = _place_of(path, settings)
    every = load()
    units = [one for one in every if {path, place} & {one.path, f"{one.path}/{one.unit}", one.scan_id} - {""}]
    if not units and place and state == "ignored":
        fresh = _recordings_at(place, settings)
        with left_out(fresh, reason):
            return load_paths(fresh)
    if not units:
        known = [f"{one.path}/{one.unit}".rstrip("/") for one in every if one.state in HELD]
        raise InvalidRequest("Nothing of this name has arrived.", path, nearest(path, known))
    for one in units:
        settle(one.path, one.unit, state, reason)
    return units


def _place_of(path: str, settings: Settings) -> str:
    """Return the place of a folder below a share, however it is typed; empty where there is none but behind a link."""
    shares = settings.share_roots()
    root, relative = places.split(path)
    typed = [(name, Path(path)) for name in shares] if os.path.lexists(path) else []
    for name, folder in [*typed, *([(root, shares[root] / relative)] if root in shares else [])]:
        if parts := below(folder, shares[name]):
            with suppress(OSError), Place.at(shares[name]) as top, descended(top, parts):
                return places.spell(name, "/".join(parts))
    return ""


def _recordings_at(place: str, settings: Settings) -> dict[str, str]:
    """Return the places of what is at or in a folder and is not ingested, each with its scan token.

    Raises
    ------
    InvalidRequest
        All of it is ingested.
    """
    recordings, problems = find_recordings([settings.locate(place)], settings)
    found = {one.place: str(one.folder.scan_id) for one in recordings}
    refused = (name for one in problems if one.severity == "error" for name in one.places or (one.where,))
    found = {name: "" for name in refused if name == place or name.startswith(f"{place}/")} | found
    tokens = [{"scan_id": token} for name, token in found.items() if token and name != place]
    ingested = set((pipeline.scan.Scan & tokens).to_arrays("scan_id").tolist()) if tokens else set()
    left = {name: token for name, token in found.items() if name == place or token not in ingested}
    if found and not left:
        raise InvalidRequest("All recordings in it are ingested.", place, "`adamacs remove SCAN` takes one out.")
    return left or {place: ""}


# ---- watching services


def beat(pid: int, started_at: datetime, seen: int, lag: float | None, watched: str = "share") -> None:
    """Renew the row of the watching service of this host."""
    key = {"host": platform.node()[:190], "watched": watched}
    row = {**key, "pid": pid, "started_at": started_at, "beat_time": clocks.now(), "seen": seen, "arrival_lag": lag}
    if tables.Watcher & key:
        tables.Watcher.update1(row)
    else:
        tables.Watcher.insert1(row, skip_duplicates=True)  # another one of this host began at this moment


@dataclass(frozen=True)
class ArrivalState:
    """How arrival stands.

    Attributes
    ----------
    counts
        Units by state.
    held
        Those that a person should look at, with the reason; at most `limit`.
    watchers
        Host, seconds since its last beat, and lag (s) of each watching service.
    """

    counts: Mapping[str, int]
    held: tuple[Arrival, ...]
    watchers: tuple[Mapping[str, Any], ...]

    def describe(self) -> str:
        """Return a few lines: counts, what is held, who watches."""
        counts = ", ".join(f"{self.counts[state]} {state}" for state in STATES if self.counts.get(state))
        lines = [f"arrivals: {counts or 'none seen'}"]
        lines += [f"  {one.describe()}" for one in self.held]
        for one in self.watchers:
            lag = f", at most {one['lag']:.1f} s from the last change to rows" if one["lag"] is not None else ""
            silent = "" if one["silent"] < _SILENT else f" SILENT for {one['silent']:.0f} s"
            lines.append(f"  watched by {one['host']} (pid {one['pid']}){silent}: {one['seen']} units{lag}")
        return "\n".join(visible(line) for line in lines)


_SILENT = 30.0  # s after which a watching service is taken for gone


def state(limit: int = 10) -> ArrivalState:
    """Return how arrival stands, for one screen."""
    text = f"SELECT state, COUNT(*) FROM {tables.Arrival().full_table_name} GROUP BY state"  # noqa: S608 - our own name
    counts = {str(name): int(count) for name, count in tables.Arrival().connection.query(text)}
    now = clocks.now()
    watchers = tuple(
        {
            "host": row["host"],
            "pid": row["pid"],
            "seen": row["seen"],
            "lag": row["arrival_lag"],
            "silent": (now - row["beat_time"]).total_seconds(),
        }
        for row in tables.Watcher.to_dicts(order_by="host")
    )
    return ArrivalState(counts, tuple(load(HELD)[:limit]), watchers)
