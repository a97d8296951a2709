"""What cells, the wheel or licks did around events of a scan, in one call: averages by condition, and single trials.

>>> from adamacs.analysis.peri_event import peri_event                          # doctest: +SKIP
>>> key = {"scan_id": "scan9FYMTPCA", "paramset_idx": 0, "curation_id": 1}       # doctest: +SKIP
>>> peri_event(key, "dff", "bpod_at_target", window=(-1, 3), by="trial_type")   # doctest: +SKIP
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from adamacs import pipeline
from adamacs.analysis.events import events_between, on_scan_time, one_scan
from adamacs.analysis.numerics.averaging import MOST_BYTES, aligned, average, require_room
from adamacs.analysis.numerics.point_events import bins, raster, rates
from adamacs.analysis.occurrences import By, Occurrences, occurrences
from adamacs.analysis.signals import CELLS, STEP, WHEEL, Signal, read_cells, read_wheel
from adamacs.core.errors import InvalidRequest

if TYPE_CHECKING:
    import xarray as xr

BIN = 0.05  # s, over which points are counted by default
Key = Mapping[str, Any]


def peri_event(
    key: Key,
    values: str,
    events: str | ArrayLike | None = None,
    window: tuple[float, float] = (-1.0, 2.0),
    by: By = None,
    *,
    alignment: str | None = None,
    step: float | None = None,
    trials: bool = False,
    sem: bool = True,
    only_cells: bool = True,
    most: int = MOST_BYTES,
) -> xr.Dataset:
    """Return what was measured around events, averaged for each condition. All times are seconds of scan time.

    Parameters
    ----------
    key
        Of one scan, such as `{"scan_id": ...}`; for cells, where there are several, also of one parameter set and
        curation. `field_idx` and `mask` restrict them further.
    values
        What was measured. Of cells: `fluorescence`, `neuropil`, `corrected` (fluorescence without its share of the
        neuropil), `dff`, `activity`. Of the wheel: `speed`, `position`. Any other name is a type of events that are
        counted, such as `aux_lick`.
    events
        The type of the events to look around, or their times (s of scan time).
    window
        s from when to when, around an event.
    by
        What makes conditions: `trial_type`, the name of an attribute of trials, or a label for each event in order of
        time. By default all events are one condition, `all`.
    alignment
        In place of `events`: the name of an `event.AlignmentEvent`, which also says what belongs to each event. Outside
        of that, and of `window`, the event does not count.
    step
        s over which samples of the wheel are averaged (default 0.02), or points are counted (default 0.05). Cells are
        averaged at their frames.
    trials
        Whether to return every single trial too.
    sem
        Whether to tell standard errors of cells and the wheel, too: about three times the work.
    only_cells
        Whether only masks are taken that were accepted as cells, not all.
    most
        Bytes that single trials may take.

    Returns
    -------
    Dataset
        Of cells and the wheel `average`, `sem` (the standard error over events, unless left out) and `counted` (how
        many events), by `condition`, `cell` (not of the wheel) and `lag` (s); with `trials` also `trial`, by `event`,
        `cell` and `lag`.
        Of points `rate` (Hz), `sem` and `counted`, by `condition` and `lag` (the middles of bins); and every point near
        an event, as `point_event` (an index along `event`) and `point_lag` (s), by `point`.
        Of each event `time` (s), `trial_id` (0: in no trial) and `event_condition` (its number; -1: of none); of each
        cell `field_idx`. Attributes tell units, the clock, and where all comes from.

    Raises
    ------
    InvalidKey
        No scan, or more than one, has this key; or it has no such events.
    InvalidRequest
        What was asked for does not exist (yet), is ambiguous, or is too large.
    UnusableClock
        Something is on a clock that is not placed on scan time, or frames cannot be told from pulses.

    Notes
    -----
    What lies between two samples is taken from the straight line between them. An event counts at a lag only where its
    signal is known: not beyond either end of the recording, and not where frames are missing. See `averaging.average`.
    """
    scan = one_scan(key)
    what = occurrences(scan, events, alignment=alignment, by=by)
    if values in CELLS:
        if step is not None:
            raise InvalidRequest("Cells are averaged at their frames: there is no step to choose.", scan)
        found = _around(read_cells(key, values, only_cells=only_cells), what, window, trials, sem, most)
    elif values in WHEEL:
        found = _around(read_wheel(scan, values, step=step or STEP), what, window, trials, sem, most)
    else:
        found = _points(scan, values, what, window, step or BIN)
    about = {"event_type": what.event_type, "alignment": alignment or "", "left_out": what.left_out}
    return found.assign_attrs({**scan, **about, "window": list(window), "clock": _clock(scan)})


def _around(
    signal: Signal, what: Occurrences, window: tuple[float, float], trials: bool, sem: bool, most: int
) -> xr.Dataset:
    """Return averages of a signal and, where asked for, single trials: piece by piece, never all of it at once."""
    cells = len(next(iter(signal.rows.values()), [None]))
    found, single, start = [], None, 0
    for piece in signal.pieces():
        lags = piece.timeline.lags(window)
        of_all = (piece.values, piece.timeline, what.events, lags)
        found.append(average(*of_all, conditions=what.condition, count=len(what.names), sem=sem))
        if trials:
            if single is None:
                require_room((len(what.events), cells, len(lags)), np.dtype(np.float32), most)
                single = np.empty((len(what.events), cells, len(lags)), np.float32)
            rows = slice(start, start + len(piece.values))
            aligned(*of_all, out=single[:, rows])
        start += len(piece.values)
    named = {"average": "mean", "counted": "counted"} | ({"sem": "sem"} if sem else {})
    averages = {name: np.concatenate([getattr(one, part) for one in found], axis=1) for name, part in named.items()}
    uneven = max(one.uneven for one in found)
    return _labelled(signal, what, lags * signal.interval, averages, single, uneven)


def _labelled(
    signal: Signal,
    what: Occurrences,
    lags: np.ndarray,
    averages: Mapping[str, np.ndarray],
    single: np.ndarray | None,
    uneven: float,
) -> xr.Dataset:
    import xarray as xr

    unit = {"units": signal.unit}
    told = {"average": {**unit, "long_name": signal.what}, "sem": {**unit, "long_name": "standard error of the mean"}}
    told["counted"] = {"units": "1", "long_name": "events that count"}
    data = {name: (("condition", "cell", "lag"), values, told[name]) for name, values in averages.items()}
    if single is not None:
        data["trial"] = (("event", "cell", "lag"), single, told["average"])
    rows = {name: ("cell", values) for name, values in signal.rows.items()}
    rows["cell"] = rows.pop("mask", ("cell", np.zeros(1, np.int64)))
    found = xr.Dataset(data, {**_coordinates(what, lags), **rows})
    if not signal.rows:
        found = found.isel(cell=0, drop=True)
    return found.assign_attrs({**signal.facts, "values": signal.name, "lag_accuracy": uneven})


def _points(scan: Key, values: str, what: Occurrences, window: tuple[float, float], width: float) -> xr.Dataset:
    """Return how often points of a type come around events, and each of them."""
    import xarray as xr

    points = events_between(scan, event_types=[values])
    edges = bins(window, width)
    near = raster(points["start"], what.events, (float(edges[0]), float(edges[-1])))
    recorded = _recorded(scan, set(points["source"]))
    found = rates(near, what.events, edges, conditions=what.condition, count=len(what.names), recorded=recorded)
    axes = ("condition", "lag")
    data = {
        "rate": (axes, found.rate, {"units": "Hz", "long_name": f"rate of {values}"}),
        "sem": (axes, found.sem, {"units": "Hz", "long_name": "standard error of the mean"}),
        "counted": (axes, found.counted, {"units": "1", "long_name": "events that count"}),
        "point_event": ("point", near.event, {"long_name": "index of the event"}),
        "point_lag": ("point", near.lag, {"units": "s", "long_name": "time from the event"}),
    }
    middles = (edges[:-1] + edges[1:]) / 2
    return xr.Dataset(data, _coordinates(what, middles)).assign_attrs(values=values, bin=width)


def _coordinates(what: Occurrences, lags: np.ndarray) -> dict[str, Any]:
    seconds = {"units": "s", "long_name": "time from the event"}
    return {
        "condition": ("condition", np.array(what.names)),
        "lag": ("lag", lags, seconds),
        "event": ("event", np.arange(len(what.events))),
        "time": ("event", what.events.times, {"units": "s", "long_name": "scan time"}),
        "trial_id": ("event", what.trial, {"long_name": "trial, 0: none"}),
        "event_condition": ("event", what.condition, {"long_name": "number of the condition, -1: none"}),
    }


def _clock(scan: Key) -> str:
    """Return what scan time is, in words."""
    found = (pipeline.clock.Clock & scan & {"is_scan_time": True}).to_dicts()
    zero = found[0]["zero"] if found else "the first two-photon frame"
    return f"scan time, seconds since: {zero}"


def _recorded(scan: Key, sources: set[str]) -> list[tuple[float, float]]:
    """Return from when to when points of all sources would have been told (s of scan time), as far as it is known.

    That is what a source recorded without a pause, where its files tell; the trials of one that tells of trials; or the
    whole recording, where the clock of the source is scan time.
    """
    spans = [(-np.inf, np.inf)]
    for source in sources:
        own = _recorded_by(scan, source)
        both = ((max(one[0], other[0]), min(one[1], other[1])) for one in spans for other in own)
        spans = [span for span in both if span[0] < span[1]]
    return spans


def _recorded_by(scan: Key, source: str) -> list[tuple[float, float]]:
    here = {**scan, "source": source}
    clock = (pipeline.event.BehaviorRecording.Source & here).fetch1("clock")
    if stretches := pipeline.event.stretches_of(here):
        starts = on_scan_time(scan, clock, [one.start for one in stretches])
        stops = on_scan_time(scan, clock, [one.stop for one in stretches])
        return list(zip(starts.tolist(), stops.tolist(), strict=True))
    trials = (pipeline.trial.TrialImport.Trial & here).to_dicts(order_by="trial_id")
    lasted = (pipeline.event.BehaviorRecording & scan).fetch1("recording_duration")
    if trials and trials[-1]["trial_stop_time"] is not None:
        ends = on_scan_time(scan, clock, [trials[0]["trial_start_time"], trials[-1]["trial_stop_time"]])
        return [(float(ends[0]), float(ends[1]))]
    if lasted and (pipeline.clock.Clock & scan & {"clock": clock, "is_scan_time": True}):
        return [(0.0, float(lasted))]
    return [(-np.inf, np.inf)]
