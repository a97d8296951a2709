"""How much each sample of a signal counts at each lag around events, block by block. No table is known."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from adamacs.analysis.numerics.timeline import Evenness, Floats, Lags, Timeline

Values = NDArray[Any]

_CHUNK = 1 << 16  # events that are counted at once: what is made of them stays in the cache


@dataclass(frozen=True, eq=False)
class Events:
    """Events, and how long what is around each of them belongs to it.

    Attributes
    ----------
    times
        s, on the clock of the timeline, (event,).
    first, last
        s: from when to when it belongs to the event, (event,); None where there is no limit.
    """

    times: Floats
    first: Floats | None = None
    last: Floats | None = None

    def __len__(self) -> int:
        return len(self.times)

    def __getitem__(self, which: Any) -> Events:
        limits = (None if limit is None else limit[which] for limit in (self.first, self.last))
        return Events(self.times[which], *limits)

    def in_order(self) -> Events:
        """Return the same in order of time, which is looked up much faster."""
        if np.all(self.times[1:] >= self.times[:-1]):
            return self
        if self.first is None and self.last is None:
            return replace(self, times=np.sort(self.times))
        return self[np.argsort(self.times, kind="stable")]

    def hold(self, times: Floats, which: Any = slice(None)) -> NDArray[np.bool_]:
        """Return which times (s) belong to their event, one time for each or for those that `which` indexes."""
        found = np.ones(len(times), bool)
        if self.first is not None:
            found &= times >= self.first[which]
        if self.last is not None:
            found &= times <= self.last[which]
        return found


def are_even(evenness: Evenness, events: Events, places: Floats, lags: Lags) -> NDArray[np.bool_]:
    """Return in whose windows samples are evenly spaced and all belong to the event, so that lags can be counted."""
    own = np.ones(len(events), bool)
    if events.first is not None or events.last is not None:
        for end in evenness.timeline.interval * lags[[0, -1]]:
            own &= events.hold(events.times + end)
    return own if evenness.greatest <= evenness.allowed else own & (evenness.of(places) <= evenness.allowed)


def places_of(timeline: Timeline, events: Events, lags: Lags) -> Floats:
    """Return where every lag of every event falls among the samples, (event, lag); NaN where the event has no value."""
    places = timeline.places(events.times)
    even = are_even(timeline.evenness(lags), events, places, lags)
    found = np.full((len(events), len(lags)), np.nan)
    counted = places[even, None] + lags
    counted[(counted < 0) | (counted > len(timeline) - 1)] = np.nan
    found[even] = counted
    uneven = _Uneven(timeline, events[~even], lags, np.dtype(np.float64))
    for number, lag in enumerate(lags.tolist()):
        found[~even, number] = uneven.at(slice(None), lag)
    return found


@dataclass(frozen=True, eq=False)
class Weights:
    """How much each sample counts at each lag, for some events.

    Attributes
    ----------
    counted
        How many events count at each lag, float64 (lag,).
    uneven
        s: as far as a sample may lie from the lag at which it counts.
    """

    even: _Even
    others: _Uneven
    counted: Floats
    uneven: float

    def counts(self, start: int, stop: int) -> Values:
        """Return the sum of the shares that each of the samples `start` to `stop` has in events, (lag, sample)."""
        found = self.even.counts(start, stop)
        return found + self.others.counts(start, stop) if len(self.others.events) else found

    def products(self, start: int, stop: int) -> Values:
        """Return the sum of the products of both shares over the events between each sample and the next."""
        found = self.even.products(start, stop)
        return found + self.others.products(start, stop) if len(self.others.events) else found


def weigh(timeline: Timeline, events: Events, lags: Lags, kind: np.dtype[Any], *, products: bool = True) -> Weights:
    """Prepare the weights of events; blocks of them are of the type `kind`. Without `products` none are told."""
    events, evenness = events.in_order(), timeline.evenness(lags)
    tally, others = _Tally(len(timeline), lags, products=products), []
    for start in range(0, len(events), _CHUNK):
        some = events[start : start + _CHUNK]
        places = timeline.places(some.times)
        even = are_even(evenness, some, places, lags)
        tally.add(places if even.all() else places[even])
        others.append(np.flatnonzero(~even) + start)
    uneven = _Uneven(timeline, events[np.concatenate([*others, np.empty(0, np.int64)])], lags, kind)
    far = min(evenness.greatest, evenness.allowed) if len(uneven.events) < len(events) else 0.0
    return Weights(tally.weights(kind), uneven, tally.counted() + uneven.counted(), far)


@dataclass(frozen=True, eq=False)
class _Even:
    """Weights that depend on the distance of sample and lag alone.

    `shares` and `both` are sums over the events at each distance; at the ends of the signal, where an event lacks the
    one or the other neighbour, the weights are `at_first` and `at_last`, (lag,).
    """

    shares: Values
    both: Values
    at_first: Values
    at_last: Values
    samples: int

    def counts(self, start: int, stop: int) -> Values:
        found = self._block(self.shares, start, stop)
        if start == 0:
            found[:, 0] = self.at_first
        if stop == self.samples:
            found[:, -1] = self.at_last
        return found

    def products(self, start: int, stop: int) -> Values:
        return self._block(self.both, start, stop)

    def _block(self, values: Values, start: int, stop: int) -> Values:
        lags = len(self.at_first)
        return sliding_window_view(values, stop - start)[start : start + lags][::-1].copy()


class _Tally:
    """Counts events by their distance from where sample 0 would be at their last lag.

    An event at n + f, 0 <= f < 1, lies at lag l between the samples n + l and n + l + 1: the former has the share
    1 - f in it, the latter f.
    """

    def __init__(self, samples: int, lags: Lags, *, products: bool) -> None:
        self._samples, self._width, self._products = samples, len(lags), products
        self._last, self._range = int(lags[-1]), (-float(lags[-1]), float(samples - 1 - lags[0]))
        size = samples + self._width - 1
        self._number, self._exact = np.zeros((2, size), np.int64)
        self._second, self._both = np.zeros((2, size))

    def add(self, places: Floats) -> None:
        """Add events at places among the samples, increasing; those too far away for every lag do not count."""
        near = places[np.searchsorted(places, self._range[0]) : np.searchsorted(places, self._range[1], side="right")]
        if not len(near):
            return
        distance = (near if near[0] >= 0 else np.floor(near)).astype(np.int64)
        part = near - distance
        number = np.bincount(distance - distance[0])
        at = np.flatnonzero(number)
        begins = (np.cumsum(number) - number)[at]  # of the events of each distance, which stand together
        at += int(distance[0]) + self._last
        self._number[at] += np.diff(begins, append=len(near))
        self._second[at] += np.add.reduceat(part, begins)
        if self._products:
            self._both[at] += np.add.reduceat(part * (1 - part), begins)
        on_sample = part == 0  # they need no neighbour
        if on_sample.any():
            self._exact[at] += np.add.reduceat(on_sample, begins, dtype=np.int64)

    def weights(self, kind: np.dtype[Any]) -> _Even:
        """Return the weights of all events so far."""
        first = self._number - self._second
        shares = first.copy()
        shares[1:] += self._second[:-1]
        at_first = first[: self._width][::-1]
        before = np.concatenate([[0.0], self._second])[self._end]
        at_last = (self._exact[self._end] + before)[::-1]
        rows = [row.astype(kind) for row in (shares, self._both, at_first, at_last)]
        return _Even(rows[0], rows[1], rows[2], rows[3], self._samples)

    def counted(self) -> Floats:
        """Return how many events count at each lag, (lag,)."""
        before = np.concatenate([[0], np.cumsum(self._number)])
        counted = before[self._end] - before[: self._width] + self._exact[self._end]
        return counted[::-1].astype(np.float64)

    @property
    def _end(self) -> slice:
        """The distances at which the last sample is at each lag, from the last lag on."""
        return slice(self._samples - 1, self._samples - 1 + self._width)


@dataclass(frozen=True, eq=False)
class _Uneven:
    """Events of which each lag is looked up by its own time: near gaps, and where a window is cut."""

    timeline: Timeline
    events: Events  # in order of time, but for `at`
    lags: Lags
    kind: np.dtype[Any]

    def counts(self, start: int, stop: int) -> Values:
        found = np.zeros((len(self.lags), stop - start))
        for number, left, part in self._between(start - 1, stop):
            for sample, share in ((left, 1 - part), (left + 1, part)):
                inside = (sample >= start) & (sample < stop)
                found[number] += np.bincount(sample[inside] - start, share[inside], stop - start)
        return found.astype(self.kind)

    def products(self, start: int, stop: int) -> Values:
        found = np.zeros((len(self.lags), stop - start))
        for number, left, part in self._between(start, stop):
            found[number] = np.bincount(left - start, part * (1 - part), stop - start)
        return found.astype(self.kind)

    def counted(self) -> Floats:
        """Return how many events count at each lag."""
        if not len(self.events):
            return np.zeros(len(self.lags))
        found = (np.count_nonzero(~np.isnan(self.at(slice(None), lag))) for lag in self.lags.tolist())
        return np.array(list(found), np.float64)

    def at(self, which: slice, lag: int) -> Floats:
        """Return where a lag of events falls among the samples, (event,); NaN where there is no value."""
        events = self.events[which]
        times = events.times + lag * self.timeline.interval
        return np.where(events.hold(times), self.timeline.at(times), np.nan)

    def _between(self, start: int, stop: int) -> Iterator[tuple[int, NDArray[np.int64], Floats]]:
        """Yield of each lag the samples from `start` to `stop` that an event follows there, and by which part."""
        known, interval = self.timeline.times, self.timeline.interval
        first, last = known[max(start, 0)], known[min(stop, len(known) - 1)]
        times, shifts = self.events.times, interval * self.lags
        begins = np.searchsorted(times, first - shifts - interval)
        ends = np.searchsorted(times, last - shifts + interval, side="right")
        for number in np.flatnonzero(ends > begins).tolist():
            places = self.at(slice(begins[number], ends[number]), int(self.lags[number]))
            places = places[(places >= start) & (places < stop)]  # what is NaN is neither
            left = np.floor(places).astype(np.int64)
            yield number, left, places - left
