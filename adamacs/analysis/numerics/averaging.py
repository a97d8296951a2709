"""Averages of signals around events, and the single trials behind them: arrays in, arrays out. No table is known.

The mean over all events of a signal, at every lag of a window, is one product of matrices, `signal @ counts`, where
`counts[t, l]` tells how many events have sample t at lag l. Where samples are evenly spaced it depends on t - l alone
(a Toeplitz matrix), and each block of it is made of one short row. Most events fall between two samples, and what is
averaged is the straight line through both: such an event counts in part for the one and in part for the other, so
the interpolation costs nothing. A million events take little longer than a thousand.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from adamacs.analysis.numerics.timeline import Floats, Lags, Timeline
from adamacs.analysis.numerics.weights import Events, Values, Weights, places_of, weigh
from adamacs.core.errors import InvalidRequest

MOST_BYTES = 2**30  # that single trials may take, unless more is allowed
_BLOCK = 1 << 22  # bytes of the signal that are worked on at once
_LEAST = 256  # samples of a block: fewer make slow products
_FEW = 0.5  # share of a block's samples below which only those that count are multiplied
_TWO = 2 - 1e-3  # events, give or take the rounding of their shares

Made = Callable[[Values], Values]


@dataclass(frozen=True, eq=False)
class Average:
    """The average of a signal around events.

    Attributes
    ----------
    mean
        float64 (condition, row, lag), in the unit of the signal; NaN where no event counts.
    sem
        The same: the standard error of that mean, which is the standard deviation over events (with n - 1) divided by
        the root of n; NaN where fewer than two events count. None where it was not asked for.
    counted
        The same: how many events the mean is of. No whole number where samples are missing, see `average`.
    uneven
        s: as far as a sample may lie from its lag, see `average`.
    """

    mean: Floats
    sem: Floats | None
    counted: Floats
    uneven: float


def average(
    signal: Values,
    timeline: Timeline,
    events: Events,
    lags: Lags,
    *,
    conditions: ArrayLike | None = None,
    count: int = 1,
    sem: bool = True,
) -> Average:
    """Average a signal around events, for each condition.

    An event counts at a lag where the signal is known there: not before the first sample or behind the last, not
    within a gap of the timeline, and not outside the event's own limits. So at the ends of a recording a mean is of
    fewer events, as `counted` tells. A sample that is NaN or infinite is taken for one that is missing: what would be
    interpolated from it and its neighbour counts with the neighbour's share alone.

    Where samples come evenly, lags are counted in samples from the place of the event; a sample may then lie up to
    `timeline.EVEN` of an interval from its lag, and `uneven` tells how far. A signal that changes at a slope s is wrong
    by at most s times that. Around other events, such as those near a gap, each lag is looked up by its own time.

    Parameters
    ----------
    signal
        (row, sample), of any real type. It is read in blocks and never copied whole. Products are in float32 for
        float32 and small integers, else in float64; their sums are in float64.
    timeline
        When its samples were taken.
    events
        On the clock of the timeline, in any order; several may be at one time.
    lags
        In samples, one after the other, as `Timeline.lags` gives them.
    conditions
        Of each event the number of its condition, from 0, int (event,); those of none are negative and left out. By
        default all are of condition 0.
    count
        How many conditions there are.
    sem
        Whether to tell the standard error too, for about three times the work. It is exactly that of the single
        trials: as the square of an interpolated value is (1 - f)a² + fb² - f(1 - f)(b - a)², it takes two more
        products, of the squares and of the squared differences of neighbours. Both are taken around the row's mean,
        so that a high baseline costs no digits.

    Raises
    ------
    InvalidRequest
        Signal, timeline, events and conditions do not fit together.
    """
    signal, kind = np.asarray(signal), _precision(np.asarray(signal))
    numbers = None if conditions is None else np.asarray(conditions)
    _require_fit(signal, timeline, events, numbers)
    every = [events] if numbers is None else [events[numbers == number] for number in range(count)]
    weights = [weigh(timeline, some, lags, kind, products=sem) for some in every]
    sums = _Sums(signal, kind, weights, len(lags))
    total, keep = sums.of(_as_it_is), _as_it_is
    whole = np.reshape([one.counted for one in weights], (len(weights), 1, len(lags)))
    counted = np.broadcast_to(whole, total.shape)
    missing = np.logical_not(np.isfinite(total).all(axis=(0, 2)))
    if missing.any():
        total, keep = sums.of(_present), _present
        shares = sums.of(lambda part: np.isfinite(part).astype(kind))
        counted = np.where(missing[:, None], shares, counted)
    mean = _quotient(total, counted)
    error = _standard_error(sums, mean, counted, keep) if sem else None
    return Average(mean, error, counted, max((one.uneven for one in weights), default=0.0))


def aligned(
    signal: Values, timeline: Timeline, events: Events, lags: Lags, *, out: Values | None = None, most: int = MOST_BYTES
) -> Values:
    """Return a signal around each event: the single trials of which `average` is the mean.

    Parameters
    ----------
    signal, timeline, events, lags
        As of `average`.
    out
        Where to put the answer, (event, row, lag); by default into a new array.
    most
        Bytes that a new array may take.

    Returns
    -------
    (event, row, lag), float32 or float64 as `average` computes; NaN where an event does not count at a lag, and where
    one of the samples that it lies between is missing.

    Raises
    ------
    InvalidRequest
        The answer would take more, or something does not fit together.
    """
    signal, kind = np.asarray(signal), _precision(np.asarray(signal))
    _require_fit(signal, timeline, events)
    shape = (len(events), len(signal), len(lags))
    if out is None:
        require_room(shape, kind, most)
        out = np.empty(shape, kind)
    share = max(1, _BLOCK // max(1, kind.itemsize * len(signal) * len(lags)))
    for start in range(0, len(events), share):
        places = places_of(timeline, events[start : start + share], lags)
        out[start : start + share] = _interpolated(signal, places, kind)
    return out


def require_room(shape: tuple[int, int, int], kind: np.dtype[Any], most: int) -> None:
    """Refuse single trials, (event, row, lag), that would take more than so many bytes.

    Raises
    ------
    InvalidRequest
        It tells how many they would take, and what of.
    """
    size = kind.itemsize * shape[0] * shape[1] * shape[2]
    if size > most:
        events, rows, lags = shape
        what = (
            f"{events} events x {rows} rows x {lags} lags take {size / 1e9:.3g} GB, and {most / 1e9:.3g} are allowed."
        )
        raise InvalidRequest(
            what, hint="Take fewer events, rows or lags, or allow more; an average needs no such room."
        )


@dataclass(frozen=True, eq=False)
class _Sums:
    """Sums over events of what is made of a signal, (condition, row, lag), block by block of samples."""

    signal: Values
    kind: np.dtype[Any]
    weights: list[Weights]
    lags: int

    def of(self, make: Made) -> Floats:
        """Return the sums of what `make` returns of samples, interpolated to the events' lags."""

        def values(start: int, stop: int, used: Any) -> Values:
            return make(self.signal[:, start:stop][:, used].astype(self.kind, copy=False))

        return self._over(self.signal.shape[1], values, [one.counts for one in self.weights])

    def of_steps(self, make: Made) -> Floats:
        """Return the sums of what `make` returns of steps from sample to sample, times f(1 - f) of the events there."""

        def values(start: int, stop: int, used: Any) -> Values:
            here, after = self.signal[:, start:stop][:, used], self.signal[:, start + 1 : stop + 1][:, used]
            return make(after.astype(self.kind, copy=False) - here.astype(self.kind, copy=False))

        return self._over(self.signal.shape[1] - 1, values, [one.products for one in self.weights])

    def _over(
        self, samples: int, values: Callable[[int, int, Any], Values], counts: list[Callable[[int, int], Values]]
    ) -> Floats:
        total = np.zeros((len(counts), self.lags, len(self.signal)))
        length = max(_LEAST, _BLOCK // (self.kind.itemsize * (len(self.signal) + 2 * self.lags)))
        with np.errstate(invalid="ignore", over="ignore"):  # samples that are missing are looked for afterwards
            for start in range(0, samples, length):
                stop = min(start + length, samples)
                for number, of_block in enumerate(counts):
                    weights = of_block(start, stop)
                    used: Any = slice(None)
                    if self.weights[number].counted.max() < samples:  # else hardly a sample counts nowhere
                        some = np.flatnonzero(weights.any(axis=0))
                        used = some if len(some) < _FEW * (stop - start) else used
                    total[number] += weights[:, used] @ values(start, stop, used).T
        return total.swapaxes(1, 2)


def _as_it_is(part: Values) -> Values:
    return part


def _present(part: Values) -> Values:
    """Return values with zeros in the place of those that are missing."""
    return np.where(np.isfinite(part), part, part.dtype.type(0))


def _standard_error(sums: _Sums, mean: Floats, counted: Floats, keep: Made) -> Floats:
    centre = _quotient(np.nansum(mean * counted, axis=(0, 2)), counted.sum(axis=(0, 2)))
    middle = np.where(np.isfinite(centre), centre, 0).astype(sums.kind)[:, None]
    squares = sums.of(lambda part: _squared(keep(part - middle))) - sums.of_steps(lambda step: _squared(keep(step)))
    spread = squares - counted * (mean - middle) ** 2
    variance = np.maximum(spread, 0) / np.where(counted >= _TWO, counted - 1, np.nan)
    return np.sqrt(_quotient(variance, counted))


def _squared(values: Values) -> Values:
    """Square values in their own place."""
    return np.square(values, out=values)


def _quotient(total: Floats, number: Floats) -> Floats:
    return np.divide(total, number, out=np.full(np.shape(total), np.nan), where=np.asarray(number) > 0)


def _interpolated(signal: Values, places: Floats, kind: np.dtype[Any]) -> Values:
    """Return a signal (row, sample) at places (event, lag) among its samples: (event, row, lag)."""
    known = ~np.isnan(places)
    left = np.where(known, np.floor(places), 0).astype(np.int64)
    part = np.where(known, places - left, 0).astype(kind)
    right = left + (part > 0)  # on a sample, no neighbour is needed
    with np.errstate(invalid="ignore"):
        values = signal[:, left] * (1 - part) + signal[:, right] * part
    values[:, ~known] = np.nan
    return np.asarray(values.swapaxes(0, 1), kind)


def _precision(signal: Values) -> np.dtype[Any]:
    return np.dtype(np.result_type(signal.dtype, np.float32))


def _require_fit(signal: Values, timeline: Timeline, events: Events, numbers: Values | None = None) -> None:
    if signal.ndim != 2 or signal.dtype.kind not in "fiub" or signal.shape[1] != len(timeline):
        what = f"A signal {signal.dtype} {signal.shape} is no (row, sample) of {len(timeline)} samples."
        raise InvalidRequest(what, hint="Every sample needs its time.")
    if numbers is not None and len(numbers) != len(events):
        raise InvalidRequest(f"{len(events)} events have {len(numbers)} conditions.", hint="Each needs its own.")
    if not np.isfinite(events.times).all():
        raise InvalidRequest("The time of an event is not known.", hint="Leave out such events.")
