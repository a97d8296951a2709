"""What was measured during a scan, with the times of its samples on scan time: activity of cells, and the wheel."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adamacs import pipeline
from adamacs.analysis.events import on_scan_time, one_scan
from adamacs.analysis.frame_times import frame_times
from adamacs.analysis.numerics.timeline import Timeline
from adamacs.core.errors import InvalidRequest, describe
from adamacs.modalities.imaging import numerics

Values = NDArray[Any]
Key = Mapping[str, Any]

CELLS: Mapping[str, tuple[str, str]] = {
    "fluorescence": ("a.u.", "raw fluorescence"),
    "neuropil": ("a.u.", "fluorescence around the cell"),
    "corrected": ("a.u.", "fluorescence without its share of the neuropil"),
    "dff": ("1", "dF/F of the corrected fluorescence"),
    "activity": ("a.u.", "activity inferred from the fluorescence"),
}
"""Traces of cells by the name to ask for them: unit, and what they are."""

WHEEL: Mapping[str, tuple[str, str]] = {
    "speed": ("cm/s", "speed of the wheel, forward positive"),
    "position": ("cm", "position on the wheel since its first sample, forward positive"),
}
"""The same of the wheel."""

STEP = 0.02  # s, over which samples of the wheel are averaged by default
_PIECE = 1 << 25  # bytes of traces that are read at once


@dataclass(frozen=True, eq=False)
class Piece:
    """Some rows of a signal.

    Attributes
    ----------
    values
        (row, sample).
    timeline
        When its samples were taken, s of scan time.
    """

    values: Values
    timeline: Timeline


@dataclass(frozen=True, eq=False)
class Signal:
    """A signal that is read piece by piece.

    Attributes
    ----------
    name, unit, what
        What it is called, its unit, and what it is in some words.
    rows
        What tells its rows apart, by name, (row,) each; empty where there is one row alone.
    interval
        s between samples, of all pieces.
    pieces
        Reads them, in order of the rows.
    facts
        Where it comes from, such as the curation.
    """

    name: str
    unit: str
    what: str
    rows: Mapping[str, Values]
    interval: float
    pieces: Callable[[], Iterator[Piece]]
    facts: Mapping[str, Any]


def read_cells(key: Key, trace: str, *, only_cells: bool = True) -> Signal:
    """Return the traces of the cells of a scan.

    Parameters
    ----------
    key
        Of one scan and, where there are several, one parameter set, curation and extraction method; `field_idx` and
        `mask` restrict it further.
    trace
        One of `CELLS`.
    only_cells
        Whether only masks are taken that were accepted as cells, not all.

    Raises
    ------
    InvalidKey
        No scan, or more than one, has this key.
    InvalidRequest
        There are no such traces (yet), of several curations, or no mask was accepted.
    UnusableClock
        It is not known when the frames were taken, see `frame_times`.
    """
    scan, imaging = one_scan(key), pipeline.imaging
    table = imaging.Activity if trace == "activity" else imaging.Fluorescence
    found = _one_of(table, {**key, **scan})
    masks = _masks(key, found, only_cells)
    info = (imaging.ScanInfo & scan).fetch1()
    make = partial(_TRACES[trace], float(info["fps"]), imaging.neuropil_coefficient(found))
    channel = {"fluo_channel": int((imaging.ProcessingTask & found).fetch1("functional_channel"))}
    fields, interval = [], 0.0
    for row in (table.Field * imaging.ScanInfo.Field & found & channel).to_dicts(order_by="field_idx"):
        count, frames = row[_column(row)].shape
        own = masks[(masks >= row["first_mask"]) & (masks < row["first_mask"] + count)] - row["first_mask"]
        if len(own):
            timeline = Timeline(frame_times(scan, int(row["plane"]), frames), interval)
            interval = timeline.interval  # lags are counted in that of the first field
            fields.append(_Field(row, own, timeline))
    rows = {
        "mask": masks,
        "field_idx": np.repeat([one.row["field_idx"] for one in fields], [len(one.own) for one in fields]),
    }
    unit, what = CELLS[trace]
    return Signal(trace, unit, what, rows, interval, lambda: _pieces(fields, make), found)


def read_wheel(key: Key, name: str, *, step: float = STEP) -> Signal:
    """Return how the animal moved on its wheel.

    Parameters
    ----------
    key
        Of one scan.
    name
        One of `WHEEL`.
    step
        s, over which samples are averaged; each mean stands at the middle of its samples. Where the recording was
        interrupted nothing is known, and the position begins anew.

    Raises
    ------
    InvalidKey
        No scan, or more than one, has this key.
    InvalidRequest
        There is no such recording (yet), its setup type does not say what the volts mean, or the step is too long.
    UnusableClock
        Its clock is not placed on scan time.
    """
    scan = one_scan(key)
    rows = _sweeps(scan)
    if any(row[name] is None for row in rows):
        hint = "Add [wheel] to the file of its setup type, delete the row, and let it be computed again."
        raise InvalidRequest(
            "Only the volts of the wheel are known: its setup type does not say what they mean.", scan, hint
        )
    parts = [_Means(row[name], float(row["first_time"]), float(row["kept_rate"]), step) for row in rows]
    if sum(map(len, parts)) < 2:
        count = sum(len(part.array) for part in parts)
        raise InvalidRequest(f"It has {count} samples: too few for steps of {step:g} s.", scan)
    parts = [part for part in parts if len(part)]
    times = [on_scan_time(scan, rows[0]["clock"], part.times) for part in parts]
    steps = np.concatenate([np.diff(part) for part in times])
    timeline = Timeline(_parted(times), float(steps.mean()) if len(parts) > 1 and len(steps) else 0.0)

    def pieces() -> Iterator[Piece]:
        means = [part.means() for part in parts]
        nothing = np.full((1, 1), np.nan, means[0].dtype)
        joined = [value for part in means for value in (part, nothing)][:-1]
        yield Piece(np.concatenate(joined, axis=1), timeline)

    return Signal(name, *WHEEL[name], {}, timeline.interval, pieces, {**scan, "source": rows[0]["source"]})


@dataclass(frozen=True, eq=False)
class _Means:
    """What was recorded without a pause, averaged over steps: an array (sample,), its first time (s), Hz, and s."""

    array: Any
    first: float
    rate: float
    step: float

    @property
    def _together(self) -> int:
        return max(1, round(self.step * self.rate))

    def __len__(self) -> int:
        return len(self.array) // self._together

    @property
    def times(self) -> Values:
        """s on the source's clock: the middles of the steps."""
        return self.first + (np.arange(len(self)) * self._together + (self._together - 1) / 2) / self.rate

    def means(self) -> Values:
        """Return (1, step)."""
        values = np.asarray(self.array)[: len(self) * self._together]
        return np.asarray(values.reshape(1, len(self), self._together).mean(axis=2))


def _parted(times: Sequence[Values]) -> Values:
    """Return times with one between every two parts, in which nothing is known."""
    between = [np.array([(one[-1] + later[0]) / 2]) for one, later in pairwise(times)]
    return np.concatenate([times[0], *(part for pair in zip(between, times[1:], strict=True) for part in pair)])


def _sweeps(scan: Key) -> list[dict[str, Any]]:
    """Return the rows of the wheel in order of time, all that are to be.

    Raises
    ------
    InvalidRequest
        There is none (yet), or some are lacking.
    """
    table = pipeline.behavior.TreadmillRecording
    rows = (table * pipeline.event.BehaviorRecording.Source & dict(scan)).to_dicts(order_by="stretch_id")
    wanted = len(pipeline.event.EventImport.Stretch & [{**scan, "source": row["source"]} for row in rows])
    if not rows or len(rows) < wanted:
        name, why = pipeline.table_name(table), describe({"scan_id": scan["scan_id"]})
        what = (
            f"Of {wanted} sweeps, {len(rows)} have a row of {name} (yet)."
            if rows
            else f"It has no row of {name} (yet)."
        )
        raise InvalidRequest(what, scan, f"`adamacs why {name} {why}` tells the reason.")
    return rows


@dataclass(frozen=True, eq=False)
class _Field:
    """The traces of a field: its row, which rows of its arrays are wanted (increasing), and when its frames were."""

    row: Mapping[str, Any]
    own: NDArray[np.int64]
    timeline: Timeline


def _one_of(table: Any, key: Key) -> dict[str, Any]:
    """Return the key of the one row of a table that a key names.

    Raises
    ------
    InvalidRequest
        There is none, or there are several, which are told.
    """
    found = (table & dict(key)).keys()
    name = pipeline.table_name(table)
    if not found:
        why = describe({"scan_id": key["scan_id"]})
        raise InvalidRequest(f"It has no row of {name} (yet).", key, f"`adamacs why {name} {why}` tells the reason.")
    if len(found) > 1:
        apart = [column for column in found[0] if len({row[column] for row in found}) > 1]
        several = "; ".join(describe({column: row[column] for column in apart}) for row in found)
        raise InvalidRequest(
            f"{len(found)} rows of {name} have this key: {several}.", key, "Add one of these to the key."
        )
    return dict(found[0])


def _masks(key: Key, found: Key, only_cells: bool) -> NDArray[np.int64]:
    """Return the numbers of the masks that are wanted, increasing.

    Raises
    ------
    InvalidRequest
        There is none.
    """
    imaging = pipeline.imaging
    wanted = imaging.Segmentation.Mask & found & dict(key)
    if only_cells:
        wanted = wanted & (imaging.MaskClassification.MaskType & found).proj()
    masks = np.sort(np.asarray(wanted.to_arrays("mask"), np.int64))
    if not len(masks):
        what = "None of its masks was accepted as a cell." if only_cells else "It has no masks."
        raise InvalidRequest(what, found, "Ask with only_cells=False for all masks." if only_cells else None)
    return masks


def _pieces(fields: Sequence[_Field], make: Callable[[Mapping[str, Any], slice], Values]) -> Iterator[Piece]:
    """Yield the wanted rows of each field, so many at once that they take `_PIECE` bytes before others are left out."""
    for field in fields:
        count, frames = field.row[_column(field.row)].shape
        share = max(1, _PIECE // max(1, 4 * frames))
        for start in range(0, count, share):
            own = field.own[(field.own >= start) & (field.own < start + share)]
            if len(own):
                part = make(field.row, slice(int(own[0]), int(own[-1]) + 1))
                yield Piece(part[own - own[0]], field.timeline)


def _column(row: Mapping[str, Any]) -> str:
    return "activity_trace" if "activity_trace" in row else "fluorescence"


def _stored(name: str, rate: float, share: float, row: Mapping[str, Any], which: slice) -> Values:
    return np.asarray(row[name][which])


def _corrected(rate: float, share: float, row: Mapping[str, Any], which: slice) -> Values:
    values = np.asarray(row["fluorescence"][which])
    values -= np.asarray(row["neuropil_fluorescence"][which]) * np.float32(share)
    return values


def _dff(rate: float, share: float, row: Mapping[str, Any], which: slice) -> Values:
    values = _corrected(rate, share, row, which)
    for trace in values:  # one by one: it is computed in double precision
        trace[:] = numerics.dff(trace, rate)
    return values


_TRACES: Mapping[str, Callable[..., Values]] = {
    "fluorescence": partial(_stored, "fluorescence"),
    "neuropil": partial(_stored, "neuropil_fluorescence"),
    "corrected": _corrected,
    "dff": _dff,
    "activity": partial(_stored, "activity_trace"),
}
