"""Events of a scan on scan time, whatever clock told of them, rows and pulse trains alike.

>>> from adamacs.analysis.events import events_between          # doctest: +SKIP
>>> events_between({"scan_id": "scan9FYMTPCA"}, 10.0, 20.0)     # doctest: +SKIP
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from adamacs import pipeline
from adamacs.core.clocks.mapping import ClockModel
from adamacs.core.errors import InvalidKey, UnusableClock, describe, nearest

if TYPE_CHECKING:
    import pandas as pd

Floats = NDArray[np.float64]


def events_between(
    key: Mapping[str, Any],
    start: float = -np.inf,
    stop: float = np.inf,
    event_types: Collection[str] | None = None,
) -> pd.DataFrame:
    """Return the events that began in [start, stop), in order of time.

    Parameters
    ----------
    key
        Of one scan, such as `{"scan_id": ...}`.
    start, stop
        s of scan time.
    event_types
        These alone; by default all.

    Returns
    -------
    One row per event or pulse: `event_type`, `source`, `start` and `stop` (s of scan time; NaN where it has no end).

    Raises
    ------
    InvalidKey
        No scan, or more than one, has this key; or an event type is none of it.
    UnusableClock
        A source tells of such events on a clock that is not placed on scan time.
    """
    import pandas as pd

    parts = [part for part in _all(key, event_types) if len(part[2])]
    frame = pd.DataFrame(
        {
            "event_type": np.concatenate([[name] * len(starts) for name, _, starts, _ in parts] or [[]]),
            "source": np.concatenate([[source] * len(starts) for _, source, starts, _ in parts] or [[]]),
            "start": np.concatenate([starts for *_, starts, _ in parts] or [np.empty(0)]),
            "stop": np.concatenate([stops for *_, stops in parts] or [np.empty(0)]),
        }
    )
    inside = frame[(frame["start"] >= start) & (frame["start"] < stop)]
    return inside.sort_values("start", kind="stable", ignore_index=True)


def count_events(
    key: Mapping[str, Any],
    start: float = -np.inf,
    stop: float = np.inf,
    event_types: Collection[str] | None = None,
) -> pd.Series:
    """Return how many events of each type began in [start, stop); parameters and errors as of `events_between`."""
    return events_between(key, start, stop, event_types)["event_type"].value_counts().sort_index()


def nearest_events(key: Mapping[str, Any], event_type: str, times: ArrayLike) -> Floats:
    """Return, for each time, the beginning of the nearest event of a type.

    Parameters
    ----------
    times
        s of scan time, any shape.

    Returns
    -------
    s of scan time, in the shape of `times`; of two that are as near the earlier one. NaN for NaN, and where the train
    is silent.

    Raises
    ------
    InvalidKey, UnusableClock
        As `events_between`.
    """
    starts = events_between(key, event_types=[event_type])["start"].to_numpy()
    wanted = np.asarray(times, np.float64)
    if not len(starts):
        return np.full(wanted.shape, np.nan)
    right = np.clip(np.searchsorted(starts, wanted), 1, max(len(starts) - 1, 1))
    before, after = starts[right - 1], starts[np.minimum(right, len(starts) - 1)]
    return np.where(np.isnan(wanted), np.nan, np.where(wanted - before <= after - wanted, before, after))


def on_scan_time(key: Mapping[str, Any], clock: str, times: ArrayLike) -> Floats:
    """Return times of a clock of a scan (s, any shape) as scan time (s).

    Raises
    ------
    InvalidKey
        No scan, or more than one, has this key; or it has no such clock.
    UnusableClock
        The clock is not placed on scan time.
    """
    model = _model(one_scan(key), clock)
    return np.asarray(times, np.float64) if model is None else model.convert(times)


def one_scan(key: Mapping[str, Any]) -> dict[str, Any]:
    """Return the whole key of the one scan that a key names.

    Raises
    ------
    InvalidKey
        No scan, or more than one, has this key.
    """
    found = (pipeline.scan.Scan & dict(key)).keys()
    if len(found) != 1:
        raise InvalidKey(f"{len(found)} scans have this key.", key, "Name one: scan_id=scan9FY6AIRM.")
    return dict(found[0])


def _model(scan: Mapping[str, Any], clock: str) -> ClockModel | None:
    """Return the mapping of a clock to scan time; None where it is scan time."""
    clocks = {row["clock"]: row for row in (pipeline.clock.Clock & scan).to_dicts()}
    if clock not in clocks:
        raise InvalidKey(f"The scan has no clock {clock!r}.", scan, nearest(clock, list(clocks)))
    if clocks[clock]["is_scan_time"]:
        return None
    if not clocks[clock]["placed_by"]:
        what = f"Times of {clock} are on its own clock: the setup type does not say how it is placed on scan time."
        raise UnusableClock(what, scan, "Add [[align]] to its file, then `adamacs ingest apply` the folder again.")
    stored = (pipeline.sync.ClockSync & scan & {"clock": clock}).to_arrays("clock_mapping")
    if not len(stored):
        source = (pipeline.event.BehaviorRecording.Source & scan & {"clock": clock}).fetch1("source")
        why = describe({"scan_id": scan["scan_id"], "source": source})
        what = f"Times of {clock} are not on scan time (yet)."
        raise UnusableClock(what, scan, f"`adamacs why sync.ClockSync {why}` tells the reason.")
    return ClockModel.from_json(stored[0])


def _all(key: Mapping[str, Any], event_types: Collection[str] | None) -> Iterator[tuple[str, str, Floats, Floats]]:
    """Yield type, source, beginnings and ends (s of scan time) of everything that happened, type by type."""
    scan, event = one_scan(key), pipeline.event
    known = set((event.EventImport.Event & scan).to_arrays("event_type"))
    known |= set((event.EventImport.EventSeries & scan).to_arrays("event_type"))
    for name in sorted(set(event_types or ()) - known):
        raise InvalidKey(f"The scan has no events {name!r}.", scan, nearest(name, sorted(known)))
    wanted = [{"event_type": name} for name in sorted(known if event_types is None else event_types)]
    for row in (event.BehaviorRecording.Source & event.EventImport & scan).to_dicts(order_by="source"):
        of_source = {**scan, "source": row["source"]}
        single = (event.EventImport.Event & of_source & wanted).to_dicts(order_by="event_id")
        series = (event.EventImport.EventSeries & of_source & wanted).to_dicts(order_by="event_type")
        if not single and not series:
            continue
        model = _model(scan, row["clock"])
        for name in sorted({one["event_type"] for one in single}):
            own = [one for one in single if one["event_type"] == name]
            yield name, row["source"], *(_column(own, column, model) for column in ("start", "end"))
        for one in series:
            times = _converted(np.asarray(one["times"]), model)
            yield one["event_type"], row["source"], times, np.full(len(times), np.nan)


def _column(rows: list[dict[str, Any]], name: str, model: ClockModel | None) -> Floats:
    values = [row[f"event_{name}_time"] for row in rows]
    return _converted(np.array([np.nan if value is None else value for value in values], np.float64), model)


def _converted(times: Floats, model: ClockModel | None) -> Floats:
    return times if model is None else model.convert(times)
