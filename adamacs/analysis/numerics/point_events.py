"""Points in time, such as licks, around events: which are near which, and how often they come. No table is known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from adamacs.analysis.numerics.timeline import Floats
from adamacs.analysis.numerics.weights import Events
from adamacs.core.errors import InvalidRequest

MOST_POINTS = 50_000_000  # pairs of a point and an event near it, unless more are allowed
_ROUNDING = 1e-9  # of a bin: as far as the window may reach beyond its last whole bin


@dataclass(frozen=True, eq=False)
class Raster:
    """Points near events.

    Attributes
    ----------
    event
        Of each point, the index of its event, int64 (point,), never falling.
    lag
        s behind the event (before it: negative), float64 (point,), increasing for each event. A point near several
        events is told with each of them.
    """

    event: NDArray[np.int64]
    lag: Floats


@dataclass(frozen=True, eq=False)
class Rate:
    """How often points come around events.

    Attributes
    ----------
    rate, sem
        Hz, float64 (condition, bin): the mean over events of their points per second, and its standard error. NaN
        where no event counts, and where fewer than two do.
    counted
        The same: how many events count.
    """

    rate: Floats
    sem: Floats
    counted: Floats


def raster(points: ArrayLike, events: Events, window: tuple[float, float], *, most: int = MOST_POINTS) -> Raster:
    """Return the points within a window around each event.

    Parameters
    ----------
    points
        s, on the clock of the events, (point,), in any order.
    events
        In any order. What does not belong to an event is left out.
    window
        s around an event; its begin is part of it, its end is not.
    most
        How many pairs of a point and an event there may be.

    Raises
    ------
    InvalidRequest
        There would be more.
    """
    known = np.sort(np.asarray(points, np.float64))
    begins = np.searchsorted(known, events.times + window[0])
    numbers = np.searchsorted(known, events.times + window[1]) - begins
    total = int(numbers.sum())
    if total > most:
        what = f"{total} points lie near events, and {most} are allowed."
        raise InvalidRequest(what, hint="Take a shorter window or fewer events, or allow more.")
    event = np.repeat(np.arange(len(events)), numbers)
    within = np.arange(total) - np.repeat(np.cumsum(numbers) - numbers, numbers)
    found = known[begins[event] + within]
    own = events.hold(found, event)
    return Raster(event[own], (found - events.times[event])[own])


def bins(window: tuple[float, float], width: float) -> Floats:
    """Return the edges of the bins within a window (s): one of them lies at 0 where the window holds it.

    Raises
    ------
    InvalidRequest
        Not one bin lies within the window.
    """
    first, last = (edge / width for edge in window) if width > 0 else (np.nan, np.nan)
    count = np.floor(last + _ROUNDING) - np.ceil(first - _ROUNDING) if np.isfinite([first, last]).all() else 0
    if count < 1:
        what = f"No bin of {width:g} s lies within the window from {window[0]:g} to {window[1]:g} s."
        raise InvalidRequest(what, hint="Take a longer window or shorter bins.")
    return (np.ceil(first - _ROUNDING) + np.arange(count + 1)) * width


def rates(
    found: Raster,
    events: Events,
    edges: Floats,
    *,
    conditions: ArrayLike | None = None,
    count: int = 1,
    recorded: Sequence[tuple[float, float]] = ((-np.inf, np.inf),),
) -> Rate:
    """Return how often points come in each bin around events, for each condition.

    An event counts in a bin that was recorded as a whole and belongs to the event as a whole.

    Parameters
    ----------
    found
        The points near these events; its window holds the bins.
    events
        As `raster` had them.
    edges
        s around an event, increasing, (bin + 1,); a bin holds its begin, not its end.
    conditions, count
        As of `averaging.average`.
    recorded
        From when to when points would have been told (s): spans in order of time, none within another.
    """
    begins, ends = np.array(recorded, np.float64).reshape(-1, 2).T
    numbers = np.zeros(len(events), np.int64) if conditions is None else np.asarray(conditions)
    size = len(edges) - 1

    def is_whole(which: Any, left: Floats, right: Floats) -> NDArray[np.bool_]:
        span = np.searchsorted(begins, left, side="right") - 1
        inside = (span >= 0) & (right <= np.append(ends, -np.inf)[span]) & (numbers[which] >= 0)
        return inside & events.hold(left, which) & events.hold(right, which)

    counted = np.zeros((count, size))
    for number in range(size):
        whole = is_whole(slice(None), events.times + edges[number], events.times + edges[number + 1])
        counted[:, number] = np.bincount(numbers[whole], minlength=count)
    place = np.searchsorted(edges, found.lag, side="right") - 1
    inside = (place >= 0) & (place < size)
    event, place = found.event[inside], place[inside]
    whole = is_whole(event, events.times[event] + edges[place], events.times[event] + edges[place + 1])
    pairs, points = np.unique(event[whole] * size + place[whole], return_counts=True)
    cell = numbers[pairs // size] * size + pairs % size
    sums = [np.bincount(cell, points**n, count * size).astype(np.float64).reshape(count, size) for n in (1, 2)]
    return _rate(sums[0], sums[1], counted, np.diff(edges))


def _rate(total: Floats, squares: Floats, counted: Floats, width: Floats) -> Rate:
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = total / counted
        variance = np.maximum(squares - total * mean, 0) / (counted - 1)
        error = np.sqrt(variance / counted)
    return Rate(mean / width, np.where(counted >= 2, error, np.nan) / width, counted)
