"""When the samples of a signal were taken, and where events and lags fall among them. No table is known.

An event seldom falls on a sample. Its place among them is a fraction, found by a straight line between the two samples
around it, and a lag of so many samples is counted on from there. That is right as long as the samples come evenly
within the window: where they do not, each lag is looked up by its own time.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from adamacs.core.errors import InvalidRequest, UnusableClock

Floats = NDArray[np.float64]
Lags = NDArray[np.int64]

EVEN = 0.05  # of an interval: as far as a sample within a window may lie from where counting lags would put it
GAP = 1.5  # intervals: where samples are further apart, nothing was recorded between them
_ROUNDING = 0.01  # of an interval: as far as an end of the window may lie beyond its last lag


@dataclass(frozen=True, eq=False)
class Timeline:
    """When the samples of a signal were taken.

    Parameters
    ----------
    times
        s, increasing, float64 (sample,).
    interval
        s between samples, which is the unit of lags; by default the mean of the intervals that are no gaps. (The median
        would be rounded to the clock that told the times: half a sample of it too long, 90 frames add up.)

    Raises
    ------
    UnusableClock
        There are fewer than two samples, or their times do not increase.
    """

    times: Floats
    interval: float = field(default=0.0)

    def __post_init__(self) -> None:
        steps = np.diff(self.times)
        if not len(steps) or not np.all(steps > 0):  # NaN is not above zero either
            what = f"{len(self.times)} times of samples: there must be two or more, and they must increase."
            raise UnusableClock(what, hint="Are these the times of another signal?")
        if not self.interval:
            object.__setattr__(self, "interval", float(steps[steps <= GAP * np.median(steps)].mean()))

    def __len__(self) -> int:
        return len(self.times)

    @cached_property
    def is_gap(self) -> NDArray[np.bool_]:
        """Whether nothing was recorded between sample i and the next, (sample - 1,)."""
        return np.diff(self.times) > GAP * self.interval

    @cached_property
    def _numbers(self) -> Floats:
        return np.arange(len(self.times), dtype=np.float64)

    def places(self, times: ArrayLike) -> Floats:
        """Return where times (s, any shape) fall among the samples: 2.25 is a quarter of the way from sample 2 to 3.

        Before the first and behind the last sample, places go on in steps of `interval`.
        """
        wanted = np.asarray(times, np.float64)
        found = np.asarray(np.interp(wanted, self.times, self._numbers))
        for sample, outside in ((0, wanted < self.times[0]), (-1, wanted > self.times[-1])):
            if outside.any():
                beyond = (wanted - self.times[sample]) / self.interval
                found = np.where(outside, self._numbers[sample] + beyond, found)
        return found

    def lags(self, window: tuple[float, float]) -> Lags:
        """Return the lags, in samples, that lie within a window (s before and after an event).

        Raises
        ------
        InvalidRequest
            No lag lies within it.
        """
        first, last = window[0] / self.interval - _ROUNDING, window[1] / self.interval + _ROUNDING
        if not (np.isfinite([first, last]).all() and np.ceil(first) <= np.floor(last)):
            what = f"No sample lies within the window from {window[0]:g} to {window[1]:g} s."
            raise InvalidRequest(what, hint=f"Samples are {self.interval:.4g} s apart.")
        return np.arange(np.ceil(first), np.floor(last) + 1, dtype=np.int64)

    def evenness(self, lags: Lags) -> Evenness:
        """Return how evenly samples are spaced within the windows of events; lags in samples, increasing."""
        return Evenness(self, min(int(lags[0]), 0), max(int(lags[-1]), 0))

    def at(self, times: Floats) -> Floats:
        """Return the places of times (s, any shape), NaN before the first sample, behind the last, and within a gap."""
        places = self.places(times)
        left = np.clip(np.floor(places), 0, len(self.times) - 2).astype(np.int64)
        inside = (places >= 0) & (places <= len(self.times) - 1)
        return np.where(inside & ~(self.is_gap[left] & (places > left) & (places < left + 1)), places, np.nan)


@dataclass(frozen=True, eq=False)
class Evenness:
    """How far samples in the window of an event lie from where counting lags puts them.

    What it tells are upper bounds: the samples of up to two windows are looked at, which takes one pass over all of
    them however long a window is.

    Parameters
    ----------
    timeline
        Of the samples.
    first, last
        In samples: where the window begins and ends, the event being in it.
    """

    timeline: Timeline
    first: int
    last: int

    @property
    def allowed(self) -> float:
        """s, up to which lags may be counted."""
        return EVEN * self.timeline.interval

    @cached_property
    def greatest(self) -> float:
        """s, of all windows."""
        return float(self._wander.max())

    @cached_property
    def _width(self) -> int:
        return self.last - self.first + 2

    @cached_property
    def _wander(self) -> Floats:
        """Of every run of `width` samples, the range over it and the next run of how late samples are (s)."""
        times, interval = self.timeline.times, self.timeline.interval
        late = times - interval * np.arange(len(times))
        runs = np.pad(late, (0, -len(late) % self._width), mode="edge").reshape(-1, self._width)
        high, low = runs.max(axis=1), runs.min(axis=1)
        return np.maximum(high, np.append(high[1:], high[-1])) - np.minimum(low, np.append(low[1:], low[-1]))

    def of(self, places: Floats) -> Floats:
        """Return it for events at places among the samples (s, (event,))."""
        begins = np.clip(np.floor(places) + self.first, 0, len(self.timeline) - 1)
        return np.asarray(self._wander[begins.astype(np.int64) // self._width])
