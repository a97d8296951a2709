"""Reads when a camera took its frames: the tables that Bonsai and Basler's programs write beside a video.

Two clocks occur. Bonsai notes the time of the computer when a frame arrived, as ISO 8601 text with its zone. A
Basler camera counts ticks of its own clock when it exposes, and no table says how long a tick is; that is decided by
a rule, and what was decided is part of the result.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from adamacs.core.clocks import counters
from adamacs.core.errors import InvalidParameters, UnreadableFile
from adamacs.core.formats.source import Source, opened
from adamacs.modalities.behavior.reader.lines import Block, Lines, mark_of, split
from adamacs.modalities.behavior.reader.timestamps import (
    BONSAI,
    SECOND,
    NoInstant,
    Oddities,
    is_instant,
    lacks_zone,
    oddities,
    to_naive_utc,
    to_nanoseconds,
)

CAMERA = "camera"  # the clock of the camera itself

_WIDE = 17  # columns from which on a table is Bonsai's, with the time in the last
_LEAST_TICKS = 1_000_000_000  # no counter of frames gets so far
_SAMPLE = 1000  # rows from which the columns are recognised
_COUNT = re.compile(r"\d{1,19}", re.ASCII)
_RATES = (2.0, 2000.0)  # Hz; three decades, so that of s, ms, us and ns one alone fits
_DECIMAL = {"ms": 10**3, "us": 10**6, "ns": 10**9}  # ticks per second
_TICKS = {**_DECIMAL, "100 ns": 10**7, "8 ns": 125_000_000}  # .NET's, and that of GigE cameras at 125 MHz
_AGREES = 2.0  # factor up to which a rate or a span fits; units lie at least 8 apart
_TICK_BITS, _FRAME_BITS = 32, (16, 32)  # of counters that begin anew; GigE Vision counts frames from 1 to 65535
_HINT = "Is this the table of a camera's time stamps?"


@dataclass(frozen=True, eq=False)
class CameraTimes:
    """When a camera took its frames.

    Attributes
    ----------
    time
        float64, (frame,): s since the first frame, on `clock`.
    clock
        `bonsai`: the computer's, when the frame arrived; `camera`: the camera's own, when it was exposed.
    unit
        What a tick of the file is: `ISO 8601`, `ms`, `us`, `ns`, `100 ns` or `8 ns`; None where a single frame leaves
        it undecided.
    decided_by
        `text`, or how the unit of ticks was decided: `stated rate`, `ISO column` or `median interval`.
    start
        Instant of the first frame, naive UTC; None where the table tells no date.
    frame
        int64, (frame,): the camera's own count; None where the table has none.
    oddities
        Frames whose time runs backward, repeats, or comes too late.
    warnings
        Sentences about these and about the table.
    """

    time: NDArray[np.float64]
    clock: str
    unit: str | None
    decided_by: str
    start: datetime | None
    frame: NDArray[np.int64] | None
    oddities: Oddities
    warnings: tuple[str, ...]


def read_camera_times(path: Path, *, frame_rate: float | None = None) -> CameraTimes:
    """Read the table of a camera's time stamps.

    Columns are recognised by what they hold, with or without a header. In a table of 17 columns or more, the last
    that holds ISO 8601 with a zone is the time. In a narrower one, integers that grow beyond 1e9 are ticks of the
    camera, and go before ISO texts, which then tell the start alone. The leftmost other column of integers that
    mostly grow by one counts frames.

    The length of a tick is decided, in this order, by: the stated frame rate; the span of an ISO column; the median
    interval, which in one of ms, us and ns is a frame rate of at least 2 and less than 2000 Hz. The last cannot see
    ticks of 8 or 100 ns: state a rate where a camera may count so.

    Ticks of 32 bits, and counts of frames of 16 or 32, that begin anew are counted on.

    Parameters
    ----------
    path
        The file.
    frame_rate
        Hz, where it is known, to within a factor of 2.

    Raises
    ------
    UnreadableFile
        No column tells a time, a row tells none, or no unit makes sense of the ticks; names the row.
    InvalidParameters
        The frame rate is none.
    """
    if frame_rate is not None and not (math.isfinite(frame_rate) and frame_rate > 0):
        raise InvalidParameters(f"A camera has no frame rate of {frame_rate} Hz.")
    with opened(Path(path)) as source:
        lines = Lines(source, keep_cut=True)
        table = _read(source, lines)
        return _result(source, table, lines.warnings(), frame_rate)


# --- columns -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Layout:
    """Which column is what, counted from 0; None where the table has no such column."""

    mark: str
    columns: int
    header: bool
    iso: int | None
    ticks: int | None
    counter: int | None


@dataclass(frozen=True, eq=False)
class _Table:
    """The columns that count, int64 each: ISO times in ns since 1970, ticks, and the count of frames."""

    iso: NDArray[np.int64] | None
    ticks: NDArray[np.int64] | None
    counter: NDArray[np.int64] | None


def _read(source: Source, lines: Lines) -> _Table:
    layout, parts = None, []
    for block in lines:
        if layout is None:
            layout = _recognise(source, block)
            block = Block(block.rows[layout.header :], block.texts[layout.header :])
        if block.rows:
            parts.append(_columns(lines, layout, block))
    if not parts:
        raise source.fail("The table holds no frame.", _HINT)
    iso, ticks, counter = (_join([part[column] for part in parts]) for column in range(3))
    return _Table(iso, ticks, counter)


def _join(parts: Sequence[NDArray[np.int64] | None]) -> NDArray[np.int64] | None:
    there = [part for part in parts if part is not None]
    return np.concatenate(there) if there else None


def _recognise(source: Source, block: Block) -> _Layout:
    mark = mark_of(block.texts[-1])
    rows = [split(text, mark) for text in block.texts[: _SAMPLE + 1]]
    header = _is_header(rows[0])
    rows = rows[header:]
    if not rows:
        raise source.fail("The table holds a header and no frame.", _HINT)
    width = Counter(map(len, rows)).most_common(1)[0][0]
    columns = list(zip(*(row for row in rows if len(row) == width)))
    iso = [place for place, texts in enumerate(columns) if _mostly(texts, is_instant)]
    counts = {place: _counts(texts) for place, texts in enumerate(columns) if _mostly(texts, _is_count)}
    ticks = [place for place, values in counts.items() if values.max() > _LEAST_TICKS and _median_step(values) > 0]
    if iso and width >= _WIDE:
        ticks = []
    if not iso and not ticks:
        raise _no_time(source, block, columns)
    counter = [place for place, values in counts.items() if place not in ticks and _median_step(values) == 1]
    return _Layout(
        mark, width, header, iso[-1] if iso else None, ticks[0] if ticks else None, counter[0] if counter else None
    )


def _is_header(fields: Sequence[str]) -> bool:
    """Names begin with letters; what begins with a digit is a damaged value."""
    return any(fields) and all(not field or field[0].isalpha() or field[0] == "_" for field in fields)


def _mostly(texts: Sequence[str], is_such: Callable[[str], bool]) -> bool:
    """Whether half of the texts or more are such; one that is not is then found and named, not passed over."""
    return 2 * sum(map(is_such, texts)) >= len(texts) > 0


def _is_count(text: str) -> bool:
    return _COUNT.fullmatch(text) is not None and int(text) < 1 << 63


def _counts(texts: Sequence[str]) -> NDArray[np.int64]:
    return np.array([int(text) for text in texts if _is_count(text)], np.int64)


def _median_step(values: NDArray[np.int64]) -> float:
    """Return the median step from row to row; of a single row 1, which is neither too small nor too large."""
    return float(np.median(np.diff(values))) if len(values) > 1 else 1.0


def _no_time(source: Source, block: Block, columns: Sequence[Sequence[str]]) -> UnreadableFile:
    if any(_mostly(texts, lacks_zone) for texts in columns):
        return source.fail(f"Row {block.rows[-1]} and others tell times without their zone.", "Write it behind each.")
    what = f"None of the {len(columns)} columns holds times: neither ISO 8601 with a zone, nor ticks beyond 1e9."
    return source.fail(what, _HINT)


def _columns(lines: Lines, layout: _Layout, block: Block) -> tuple[NDArray[np.int64] | None, ...]:
    """Return the ISO times, ticks and counts of some lines."""
    rows = [split(text, layout.mark) for text in block.texts]
    for row, fields in zip(block.rows, rows, strict=True):
        if len(fields) != layout.columns:
            raise lines.fail(row, f"has {len(fields)} fields, others have {layout.columns}")
    iso = None
    if layout.iso is not None:
        try:
            iso = to_nanoseconds([fields[layout.iso] for fields in rows])
        except NoInstant as error:
            raise lines.fail(block.rows[error.index], error.what) from error
    integers = (
        None if place is None else _integers(lines, block.rows, [fields[place] for fields in rows], what)
        for place, what in ((layout.ticks, "the camera's ticks"), (layout.counter, "the count of frames"))
    )
    return (iso, *integers)


def _going_on(table: _Table) -> tuple[_Table, tuple[str, ...]]:
    """Return a table whose counters never begin anew: ticks of 32 bits, and counts of 16 or 32; and what was done."""
    ticks, counter = table.ticks, table.counter
    if ticks is not None:
        ticks = counters.counted_on(ticks, _TICK_BITS)
    if counter is not None:
        for bits in _FRAME_BITS:
            counter = counters.counted_on(counter, bits, from_one=True)
    both = (("ticks begin", table.ticks, ticks), ("count of frames begins", table.counter, counter))
    told = tuple(
        f"The camera's {what} anew {int((np.diff(found) < 0).sum())} times: counted on."
        for what, found, on in both
        if found is not None and on is not found
    )
    return _Table(table.iso, ticks, counter), told


def _integers(lines: Lines, rows: Sequence[int], texts: Sequence[str], what: str) -> NDArray[np.int64]:
    for row, text in zip(rows, texts, strict=True):
        if not _is_count(text):
            raise lines.fail(row, f"holds {text[:60]!r} instead of {what}")
    return np.array([int(text) for text in texts], np.int64)


# --- times -------------------------------------------------------------------------------------------------------


def _result(source: Source, table: _Table, warnings: tuple[str, ...], frame_rate: float | None) -> CameraTimes:
    table, counted = _going_on(table)
    start = None if table.iso is None else to_naive_utc(int(table.iso[0]))
    if table.ticks is not None:
        instants, clock = table.ticks, CAMERA
        unit, per_second, how = _decide(source, table.ticks, table.iso, frame_rate)
    elif table.iso is not None:
        instants, clock = table.iso, BONSAI
        unit, per_second, how = "ISO 8601", SECOND, "text"
    else:
        raise source.fail("The table tells no time.", _HINT)
    odd = oddities(instants)
    time = (instants - instants[0]) / per_second
    warnings = (
        *warnings,
        *counted,
        *odd.warnings(),
        *_count_warnings(table.counter),
        *_guess_warnings(time, unit, how),
    )
    return CameraTimes(time, clock, unit, how, start, table.counter, odd, warnings)


def _decide(
    source: Source, ticks: NDArray[np.int64], iso: NDArray[np.int64] | None, frame_rate: float | None
) -> tuple[str | None, int, str]:
    """Return the unit of the camera's ticks, how many are in a second, and by what that was decided."""
    steps = np.diff(ticks)
    forward = steps[steps > 0]
    if not len(forward):
        return None, SECOND, "median interval"
    interval = float(np.median(forward))
    if frame_rate is not None:
        return *_nearest(source, interval * frame_rate, f"at {frame_rate:g} Hz"), "stated rate"
    if iso is not None and (span := int(iso.max() - iso.min())) > 0:
        counted = int(ticks.max() - ticks.min())
        return *_nearest(source, counted / span * SECOND, "by the ISO column"), "ISO column"
    for unit, per_second in _DECIMAL.items():
        if _RATES[0] <= per_second / interval < _RATES[1]:
            return unit, per_second, "median interval"
    raise source.fail(f"The median interval, {interval:g} ticks, is in no unit that of a camera.", _HINT)


def _nearest(source: Source, measured: float, how: str) -> tuple[str, int]:
    unit = min(_TICKS, key=lambda name: abs(math.log(_TICKS[name] / measured)))
    if not 1 / _AGREES < measured / _TICKS[unit] < _AGREES:
        what = f"The camera's ticks are {measured:g} in a second {how}; no camera counts so."
        raise source.fail(what, "Is the frame rate right, and is this table whole?")
    return unit, _TICKS[unit]


def _count_warnings(counter: NDArray[np.int64] | None) -> tuple[str, ...]:
    if counter is None:
        return ()
    steps = np.diff(counter)
    odd = np.flatnonzero(steps != 1)
    if not len(odd):
        return ()
    lost = int(np.sum(steps[steps > 1] - 1))
    return (f"The count of frames does not go on by one {len(odd)} times, first at index {odd[0] + 1}; {lost} lost.",)


def _guess_warnings(time: NDArray[np.float64], unit: str | None, how: str) -> tuple[str, ...]:
    """Say what was concluded from the size of numbers alone, so that a person can see whether it is so."""
    if how != "median interval":
        return ()
    if unit is None:
        return ("What a tick of the camera is cannot be told from this table.",)
    rate = 1 / float(np.median(np.diff(time)))
    return (f"Ticks of the camera were taken for {unit} by their size: {rate:.4g} frames per second.",)
