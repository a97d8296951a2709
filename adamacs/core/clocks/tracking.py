"""Follow two trains of pulses from one pair on, block by block, as the clocks' offset and drift become known."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from adamacs.core.clocks import seeds
from adamacs.core.clocks.trains import Bounds, Floats, Indices, Prior, match

_NEAR = 0.05  # intervals: as far as a block is predicted
FAR = 0.25  # intervals: beyond, the next pulse is looked for anew
_SIGMAS = 4.0  # standard deviations that a prediction may be off
_RECENT, _FEWEST, _MOST = 300.0, 64, 4096  # s and pairs from which offset and drift are told
_BLOCK = 1 << 16  # pulses
_TRIES = 8  # pulses after a pause that may be missing
_LOST = 0.4  # of the pulses of a block: fewer pairs mean that this is not the way
_TELLING = 8  # pulses from which on a share is told
_SPARSE = 4  # intervals: pulses that are further apart are those of a pause
_SLIP = 5  # pulses by which one way over a pause must be better than another


@dataclass(frozen=True)
class Rate:
    """What is known of the drift before the trains are followed: mean and standard deviation."""

    drift: float
    deviation: float


@dataclass(frozen=True)
class Slip:
    """A pulse of the source after a pause, and those of the target that may be the same."""

    source: int
    targets: tuple[int, ...]


@dataclass(frozen=True)
class Track:
    """Pairs of pulses along one way through both trains.

    Attributes
    ----------
    source, target
        (pair,): indices, both increasing.
    slips
        Pauses over which more than one way leads on.
    """

    source: Indices
    target: Indices
    slips: tuple[Slip, ...]


@dataclass(frozen=True)
class _Line:
    """The shift near some pairs: a straight line, and how far it may be off."""

    centre: float  # s on the source clock
    shift: float  # s there
    drift: float
    shift_off: float  # s, standard deviation
    drift_off: float
    front: float  # s: of the last pair
    bounds: Bounds

    def at(self, times: Floats) -> Floats:
        return times + self.shift + self.drift * (times - self.centre)

    def off(self, times: Floats) -> Floats:
        """How far the prediction may be off (s)."""
        by_line = _SIGMAS * (self.shift_off + self.drift_off * np.abs(times - self.centre))
        most = self.bounds.jitter + (self.bounds.drift + abs(self.drift)) * (times - self.front)
        return np.minimum(by_line, most) + self.bounds.wander * (times - self.front)


def track(source: Floats, target: Floats, pair: tuple[int, int], rate: Rate, bounds: Bounds, prior: Prior) -> Track:
    """Follow both trains forwards and backwards from a pair of pulses.

    Parameters
    ----------
    source, target
        (pulse,): s, each on its own clock, increasing.
    pair
        Indices of the pulses to begin with.
    rate
        What is known of the drift.
    bounds, prior
        Of the clocks.
    """
    ahead = _Walk(source, target, pair, rate, bounds, prior).go()
    last = len(source) - 1, len(target) - 1
    mirrored = last[0] - pair[0], last[1] - pair[1]
    behind = _Walk(-source[::-1], -target[::-1], mirrored, rate, bounds, prior.reversed()).go()
    columns = [
        np.concatenate([end - back[:0:-1], forth])
        for end, back, forth in zip(last, (behind.source, behind.target), (ahead.source, ahead.target))
    ]
    slips = (Slip(last[0] - slip.source, tuple(last[1] - place for place in slip.targets)) for slip in behind.slips)
    return Track(columns[0], columns[1], (*slips, *ahead.slips))


class _Walk:
    """One way through both trains, forwards."""

    def __init__(
        self, source: Floats, target: Floats, pair: tuple[int, int], rate: Rate, bounds: Bounds, prior: Prior
    ) -> None:
        self._source, self._target = source, target
        self._rate, self._bounds, self._prior = rate, bounds, prior
        self._interval = float(np.median(np.diff(target))) if len(target) > 1 else np.inf
        self._pairs = [(np.array([pair[0]]), np.array([pair[1]]))]
        self._recent = source[[pair[0]]], target[[pair[1]]] - source[[pair[0]]]
        self._next, self._after = pair[0] + 1, pair[1] + 1
        self._possible = self._met = 0
        self._slips: list[Slip] = []

    def go(self) -> Track:
        """Return every pair from the first on, as far as the way leads."""
        while self._next < len(self._source) and self._after < len(self._target):
            line = self._line()
            at = self._source[[self._next]]
            if line.at(at)[0] > self._target[-1] + self._bounds.jitter + line.off(at)[0]:
                break
            if line.off(at)[0] > FAR * self._interval and not self._jump(line):
                break
            if not self._block(self._line()):
                break
        columns = [np.concatenate(column) for column in zip(*self._pairs)]
        return Track(columns[0], columns[1], tuple(self._slips))

    def _line(self) -> _Line:
        """Tell offset and drift from the last pairs: least squares, drawn to what was known of the drift before."""
        times, shifts = self._recent
        for _ in range(2):
            line, residuals = self._fit(times, shifts)
            near = np.abs(residuals) <= _SIGMAS * max(line.shift_off * np.sqrt(len(times)), self._bounds.jitter / 50)
            if near.all() or near.sum() < 2:
                break
            times, shifts = times[near], shifts[near]
        return line

    def _fit(self, times: Floats, shifts: Floats) -> tuple[_Line, Floats]:
        rate, jitter, count = self._rate, self._bounds.jitter, len(times)
        centre, level = float(times.mean()), float(np.median(shifts) if count < 4 else shifts.mean())
        away = times - centre
        spread = float(away @ away)
        sigma = jitter / 2
        for known in (False, True):
            pull = (sigma / rate.deviation) ** 2
            drift = rate.drift + float(away @ (shifts - level - rate.drift * away)) / (spread + pull)
            residuals = shifts - level - drift * away
            if known or count < 16:
                break
            sigma = float(np.clip(1.4826 * np.median(np.abs(residuals)), jitter / 50, jitter))
        off = sigma / np.sqrt(spread + pull)
        front = float(self._recent[0][-1])
        return _Line(centre, level, drift, sigma / np.sqrt(count), float(off), front, self._bounds), residuals

    def _block(self, line: _Line) -> bool:
        """Pair the pulses that can be predicted well; False where this is not the way."""
        if self._next >= len(self._source) or self._after >= len(self._target):
            return False
        stop = self._stop(line)
        part = self._source[self._next : stop]
        predicted, off = line.at(part), line.off(part)
        tolerance = off + self._bounds.jitter
        end = int(np.searchsorted(self._target, predicted[-1] + tolerance[-1], side="right"))
        rest = self._target[self._after : end]
        source, target = match(predicted, rest, tolerance)
        inside = int(np.count_nonzero(predicted <= self._target[-1] + tolerance))
        false = part[-1] - line.front > _SPARSE * self._interval * len(part)  # what is seen in a pause tells nothing
        if not false and not self._may_go_on(min(inside, len(rest)), len(source)):
            return False
        if len(source):
            self._keep(source + self._next, target + self._after)
        self._next = stop
        return True

    def _stop(self, line: _Line) -> int:
        """Return the first pulse that is too far to be predicted well, at least one on."""
        window = self._source[self._next : self._next + _BLOCK]
        off = line.off(window)
        reach = max(_NEAR * self._interval, 1.2 * off[0])
        return self._next + max(1, int(np.searchsorted(np.maximum.accumulate(off), reach, side="right")))

    def _may_go_on(self, possible: int, met: int) -> bool:
        self._possible, self._met = self._possible + possible, self._met + met
        if self._possible < _TELLING:
            return True
        lost = self._met < _LOST * self._possible
        self._possible = self._met = 0
        return not lost

    def _keep(self, source: Indices, target: Indices) -> None:
        self._pairs.append((source, target))
        self._after = int(target[-1]) + 1
        times = np.concatenate([self._recent[0], self._source[source]])
        shifts = np.concatenate([self._recent[1], self._target[target] - self._source[source]])
        first = min(int(np.searchsorted(times, times[-1] - _RECENT)), max(0, len(times) - _FEWEST))
        first = max(first, len(times) - _MOST)
        self._recent = times[first:], shifts[first:]

    def _jump(self, line: _Line) -> bool:
        """Find the way on after a pause so long that the clocks may have parted by an interval."""
        for index in self._landings():
            seed = self._seed(line, index)
            if len(seed.candidates) == 0:
                continue
            around = np.arange(index, min(index + seeds.WINDOW + 1, len(self._source)))
            lacking = [self._lacking(around, index, int(candidate)) for candidate in seed.candidates]
            order = np.argsort(lacking, kind="stable")
            if len(order) > 1 and lacking[order[1]] - lacking[order[0]] < _SLIP:
                close = [int(seed.candidates[place]) for place in order if lacking[place] - lacking[order[0]] < _SLIP]
                self._slips.append(Slip(index, tuple(close)))
            chosen = int(seed.candidates[order[0]])
            self._keep(np.array([index]), np.array([chosen]))
            self._next = index + 1
            return True
        return False

    def _landings(self) -> list[int]:
        """Return the next pulses that have others behind them: single ones in a pause are false."""
        window = np.arange(self._next, min(self._next + _BLOCK, len(self._source)))
        ends = np.minimum(window + _TRIES, len(self._source) - 1)
        span = self._source[ends] - self._source[window]
        dense = window[span <= _SPARSE * self._interval * np.maximum(ends - window, 1)]
        return (dense if len(dense) else window)[:_TRIES].tolist()

    def _seed(self, line: _Line, index: int) -> seeds.Seed:
        at = self._source[[index]]
        shift, apart = self._prior.expected(at, self._bounds)
        reach, known = line.off(at) + self._bounds.jitter, apart + self._bounds.jitter
        low = max(line.at(at)[0] - reach[0], at[0] + shift[0] - known[0])
        high = min(line.at(at)[0] + reach[0], at[0] + shift[0] + known[0])
        candidates = np.arange(self._after, np.searchsorted(self._target, high, side="right"))
        candidates = candidates[self._target[candidates] >= low]
        around = list(range(index + 1, min(index + seeds.WINDOW + 1, len(self._source))))
        return seeds.sift(self._source, self._target, index, candidates, around, self._bounds, 0)

    def _lacking(self, around: Indices, index: int, candidate: int) -> int:
        """Count the pulses of both trains that have no partner, from the pause on, where a candidate is right."""
        predicted = self._source[around] + (self._target[candidate] - self._source[index])
        tolerance = 2 * self._bounds.jitter + self._bounds.drift * (self._source[around] - self._source[index])
        end = int(np.searchsorted(self._target, predicted[-1] + tolerance[-1], side="right"))
        rest = self._target[self._after : end]
        met = len(match(predicted, rest, tolerance)[0])
        inside = int(np.count_nonzero(predicted <= self._target[-1] + tolerance))
        return inside - met + len(rest) - met + index - self._next
