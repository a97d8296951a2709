"""Counters that begin anew, and frames that were dropped: counted on, found, and repaired with a record of each."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from adamacs.core.errors import InvalidParameters, UnusableClock

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]

FACTOR = 1.5  # periods: an interval beyond lacks a frame
SHARE = 0.9  # of the intervals, the shortest: what the period is the median of
MOST_MISSING = 1000  # frames in one gap: more is a pause
SETTLE = 10  # frames behind one that arrived late, within which a computer that was busy has caught up


@dataclass(frozen=True)
class Gap:
    """Frames that are missing between two others.

    Attributes
    ----------
    index
        Of the last frame before the gap, in the times as they were found.
    missing
        How many frames.
    start, stop
        s: times of the frames before and after.
    """

    index: int
    missing: int
    start: float
    stop: float


@dataclass(frozen=True)
class Repair:
    """Times with the missing ones put in.

    Attributes
    ----------
    times
        float64, (frame,): s, those that were found and the ones between.
    inserted
        int64, (inserted,): which of `times` were put in.
    repairs
        Every gap that was filled.
    left
        Gaps that stayed: they are so long that the camera paused.
    """

    times: Floats
    inserted: Indices
    repairs: tuple[Gap, ...]
    left: tuple[Gap, ...]


def counted_on(counts: ArrayLike, bits: int, *, from_one: bool = False) -> Indices:
    """Return a counter that may have begun anew as if it had gone on; one that was set back stays as it is.

    It began anew where every step back is, with the range of the counter added, at most 1000 usual steps on.

    Parameters
    ----------
    counts
        Integers, (sample,), that otherwise grow.
    bits
        Of the counter.
    from_one
        Where it never shows 0, it begins anew at 1, as the block count of GigE Vision does.

    >>> counted_on([65533, 65534, 65535, 1, 2], 16, from_one=True).tolist()
    [65533, 65534, 65535, 65536, 65537]
    """
    values = np.asarray(counts, np.int64)
    steps = np.diff(values)
    back, usual = steps < 0, np.median(steps[steps > 0]) if (steps > 0).any() else 0
    size = 2**bits
    if not back.any() or not usual or values.min() < 0 or values.max() >= size:
        return values
    if from_one and values.min() > 0:
        size -= 1
    on = steps[back] + size
    if not ((on > 0) & (on <= MOST_MISSING * usual)).all():
        return values
    return values + size * np.concatenate([[0], np.cumsum(back)])


def period_of(times: ArrayLike, *, share: float = SHARE) -> float:
    """Return the period (s) of a train with gaps: the median of the shortest intervals, a given share of all.

    Raises
    ------
    UnusableClock
        There are fewer than two times, one is not finite, or they do not increase.
    """
    intervals = np.diff(_increasing(times))
    if len(intervals) == 0:
        raise UnusableClock("One time has no period.")
    return _usual(intervals, share)


def _usual(intervals: Floats, share: float) -> float:
    return float(np.median(np.sort(intervals)[: max(1, int(share * len(intervals)))]))


def find_gaps(times: ArrayLike, *, factor: float = FACTOR, share: float = SHARE, settle: int = 0) -> tuple[Gap, ...]:
    """Find dropped frames by their times: an interval longer than `factor` periods lacks a frame or more.

    This is the lab's rule for OptiTrack, whose period is the median of the shortest 90 % of the intervals. A computer
    that stamps frames as they arrive may be busy: the next frame is late, and those behind it come the faster. With
    `settle`, a gap lacks as many frames as those behind it stay late.

    Parameters
    ----------
    times
        (frame,): s, increasing; with `settle`, several may be stamped at once.
    factor
        Of the period, more than 1.
    share
        Of the intervals, for the period.
    settle
        Frames behind an interval within which they are on time again, where one was merely late.

    Raises
    ------
    UnusableClock
        A time is not finite, or they do not increase.
    InvalidParameters
        The factor is not more than 1, or the share not in (0, 1].
    """
    if not factor > 1 or not 0 < share <= 1:
        raise InvalidParameters(f"A factor is more than 1 and a share in (0, 1], not {factor} and {share}.")
    found = _increasing(times, at_once=settle > 0)
    if len(found) < 2:
        return ()
    intervals = np.diff(found)
    if not (period := _usual(intervals, share)):
        return ()  # nearly all were stamped at once
    at = np.flatnonzero(intervals > factor * period)
    missing = np.maximum(np.rint(intervals[at] / period) - 1, 1)
    if settle:
        missing = _staying_late(found, at, period, settle)
    return _gaps(found, at[missing > 0], missing[missing > 0])


def _staying_late(times: Floats, at: Indices, period: float, settle: int) -> Indices:
    """Return how many frames are missing behind some, judged by the most punctual of the frames before and behind."""
    found: list[tuple[int, int]] = []
    for place in at.tolist():
        before = np.arange(max(0, place - settle), place + 1)
        behind = np.arange(place + 1, min(place + settle + 1, len(times)))
        steps = place - before
        for gap, lacking in found[-settle:]:
            steps += lacking * (before <= gap)
        late = (times[behind] - (behind - place) * period).min() - (times[before] + steps * period).min()
        found.append((place, max(0, round(late / period))))
    return np.array([lacking for _, lacking in found], np.int64)


def find_gaps_by_counter(times: ArrayLike, frames: ArrayLike) -> tuple[Gap, ...]:
    """Find dropped frames by the number that each frame carries: a step of n lacks n - 1 frames.

    Parameters
    ----------
    times
        (frame,): s, increasing.
    frames
        Integers, (frame,): numbers of the frames, which only grow (`counted_on`).

    Raises
    ------
    UnusableClock
        There are not as many numbers as times, a number is repeated or too far from the one before.
    """
    found, numbers = _increasing(times), np.asarray(frames)
    if numbers.shape != found.shape:
        raise UnusableClock(f"There are {found.size} times but {numbers.size} numbers of frames.")
    if numbers.size and numbers.dtype.kind not in "iu":
        raise UnusableClock(f"Numbers of frames are integers, not {numbers.dtype}.")
    steps = np.diff(numbers.astype(np.int64))
    if np.any(wrong := steps <= 0):
        first = int(np.argmax(wrong))
        raise UnusableClock(f"Frame {first + 1} has the number {numbers[first + 1]} after {numbers[first]}.")
    at = np.flatnonzero(steps > 1)
    return _gaps(found, at, steps[at] - 1)


def repair(times: ArrayLike, gaps: tuple[Gap, ...], *, most_missing: int = MOST_MISSING) -> Repair:
    """Put the missing times in, evenly between their neighbours.

    Parameters
    ----------
    times
        (frame,): s, increasing.
    gaps
        Of these times.
    most_missing
        A gap that lacks more frames is a pause; it stays, and is listed.

    Raises
    ------
    UnusableClock
        A gap is of other times.
    """
    found = _increasing(times)
    for gap in gaps:
        if not 0 <= gap.index < len(found) - 1 or (gap.start, gap.stop) != (found[gap.index], found[gap.index + 1]):
            raise UnusableClock(f"The gap after frame {gap.index} is not one of these times.")
    filled = tuple(gap for gap in gaps if gap.missing <= most_missing)
    counts = np.ones(len(found), np.int64)
    for gap in filled:
        counts[gap.index] += gap.missing
    owner = np.repeat(np.arange(len(found)), counts)  # of each frame, the last one before it that was found
    place = np.arange(len(owner)) - np.repeat(np.cumsum(counts) - counts, counts)
    steps = np.diff(found, append=found[-1:]) / counts
    inserted = np.flatnonzero(place).astype(np.int64)
    whole = np.asarray(found[owner] + place * steps[owner])
    return Repair(whole, inserted, filled, tuple(gap for gap in gaps if gap.missing > most_missing))


def _gaps(times: Floats, at: Indices, missing: NDArray[np.generic]) -> tuple[Gap, ...]:
    columns = at.tolist(), missing.tolist(), times[at].tolist(), times[at + 1].tolist()
    return tuple(Gap(index, int(count), start, stop) for index, count, start, stop in zip(*columns))


def _increasing(times: ArrayLike, *, at_once: bool = False) -> Floats:
    """Return times (s) that increase; or, where several may be at once, that never fall."""
    found = np.asarray(times, float)
    if found.ndim != 1 or not np.isfinite(found).all():
        raise UnusableClock("Times are finite numbers in one row.", hint="Leave out frames without a time.")
    if np.any(wrong := np.diff(found) < 0 if at_once else np.diff(found) <= 0):
        raise UnusableClock(f"Times do not increase after frame {int(np.argmax(wrong))}.")
    return found
