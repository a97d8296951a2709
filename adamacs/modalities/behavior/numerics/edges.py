"""Pulses, levels and bursts: signals to sample indices, block by block.

Every function takes one array or an iterable of blocks that follow each other, and its result does not depend on where
the blocks end. Memory is that of a block and of what is found. An interval is half open: its `start` is the first
sample in it, its `stop` the first one behind it. What was under way at the first sample or still is at the last one is
marked as open: its true start or end was not recorded, and none is made up.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from adamacs.core.errors import InvalidRequest

# One array (sample,), or blocks of it in order.
Signal = NDArray[Any] | Iterable[ArrayLike]
Indices = NDArray[np.int64]

_SLACK = 1e-6  # samples: 0.02 s at 20 kHz are 400 samples, whatever the last bit says


@dataclass(frozen=True)
class Pulses:
    """When a line or channel was active.

    Attributes
    ----------
    start, stop
        int64, (pulse,): the first active sample, and the first one after it that is not. A pulse that was active at
        the first sample has start 0, one that still is at the last sample has stop `samples`.
    starts_open, ends_open
        The first pulse was active at the first sample; the last one still is at the last sample.
    samples
        Length of the signal.
    dropped
        Pulses that were left out because they were too short.
    """

    start: Indices
    stop: Indices
    starts_open: bool
    ends_open: bool
    samples: int
    dropped: int = 0

    def __len__(self) -> int:
        return len(self.start)

    @property
    def is_open(self) -> NDArray[np.bool_]:
        """Of each pulse, whether its true start or its true end was not recorded; bool, (pulse,)."""
        return _open_marks(len(self.start), self.starts_open, self.ends_open)

    @property
    def onsets(self) -> Indices:
        """Samples at which the signal was seen to become active; int64."""
        return self.start[int(self.starts_open) :]

    @property
    def offsets(self) -> Indices:
        """Samples at which the signal was seen to become inactive; int64."""
        return self.stop[: len(self.stop) - int(self.ends_open)]


@dataclass(frozen=True)
class Plateaus:
    """When a signal stayed at a level.

    Attributes
    ----------
    start, stop
        int64, (plateau,): first sample, and the first one behind the plateau.
    level
        float64, (plateau,): mean over the plateau, rounded; in the unit of the signal.
    is_open
        bool, (plateau,): it began at the first sample or ends with the last one, so that its true length is unknown.
    samples
        Length of the signal.
    """

    start: Indices
    stop: Indices
    level: NDArray[np.float64]
    is_open: NDArray[np.bool_]
    samples: int

    def __len__(self) -> int:
        return len(self.start)


def digital_pulses(
    words: Signal,
    bits: Iterable[int],
    *,
    inverted: Collection[int] = (),
    min_width: int | Mapping[int, int] = 1,
) -> dict[int, Pulses]:
    """Find when each of several digital lines was active, in one pass over the words that hold them.

    Parameters
    ----------
    words
        Unsigned integers; bit 0 is the least significant bit and holds line DI0.
    bits
        The lines that are looked at.
    inverted
        Those among them that are active when low.
    min_width
        Samples that a pulse has at least, for all lines or by bit; shorter ones are dropped and counted. An open pulse
        is kept, as nobody knows its width. Default: nothing is dropped.

    Returns
    -------
    Of each bit its pulses.

    Raises
    ------
    InvalidRequest
        The words have no such bit, or are no unsigned integers.
    """
    bits = tuple(dict.fromkeys(bits))
    unknown = set(inverted).difference(bits)
    if any(bit < 0 for bit in bits) or unknown:
        raise InvalidRequest(f"Bits are counted from 0, and only those asked for can be inverted: {bits}, {inverted}.")
    edges: dict[int, list[Indices]] = {bit: [] for bit in bits}
    mask = sum(1 << bit for bit in bits)
    first = last = None
    samples = 0
    changed = np.empty(0, np.bool_)  # one for all blocks: new memory would cost as much as the comparison
    for block in _blocks(words):
        if not block.size:
            continue
        _check_words(block, mask)
        # Alone the lines asked for: a fast clock on another one would make almost every sample a change.
        seen = block if mask == np.iinfo(block.dtype).max else block & block.dtype.type(mask)
        if last is not None and seen[0] != last:
            _note_edges(edges, np.array([samples]), np.array([seen[0] ^ last]))
        changed = changed if changed.size >= seen.size - 1 else np.empty(seen.size - 1, np.bool_)
        found = np.flatnonzero(np.not_equal(seen[1:], seen[:-1], out=changed[: seen.size - 1]))
        before = seen.take(found)
        found += 1
        _note_edges(edges, found + samples, before ^ seen.take(found))
        first = seen[0] if first is None else first
        last, samples = seen[-1], samples + block.size
    return {
        bit: _pulses(
            edges.pop(bit),  # given up one by one: a line clock has more edges than the words have bytes
            first is not None and bool(int(first) >> bit & 1) != (bit in inverted),
            samples,
            min_width if isinstance(min_width, int) else min_width.get(bit, 1),
        )
        for bit in bits
    }


def analog_pulses(
    signal: Signal,
    *,
    threshold: float = 1.0,
    baseline: float | None = None,
    hysteresis: float = 0.0,
    inverted: bool = False,
    min_width: int = 1,
) -> Pulses:
    """Find when an analog channel was away from its baseline.

    A pulse begins with the first sample that is further than `threshold` from the baseline, and ends with the first one
    that is not further than `threshold - hysteresis`. A sample that is missing (NaN) changes nothing.

    Parameters
    ----------
    signal
        Volts. Whole numbers are made floats first, so that nothing wraps around; a saturated signal is one long pulse.
    threshold
        V from the baseline, to either side.
    baseline
        V; None takes the smallest sample, for which the signal is gone through twice. A single spike downward shifts
        that, so give the level where it is known.
    hysteresis
        V, less than the threshold; with noise, more than its peaks to peaks makes one pulse of one.
    inverted
        The pulses are where the signal is at the baseline.
    min_width
        Samples that a pulse has at least; shorter ones are dropped and counted, open ones are kept.

    Raises
    ------
    InvalidRequest
        Threshold and hysteresis do not fit, or blocks that can be read once only come without a baseline.
    """
    if not 0 <= hysteresis < threshold < math.inf:
        raise InvalidRequest(f"A threshold of {threshold} V with a hysteresis of {hysteresis} V detects nothing.")
    base = extremes(signal)[0] if baseline is None else baseline
    return _crossings(signal, lambda values: np.abs(values - base), threshold, hysteresis, inverted, min_width)


def plateaus(
    signal: Signal,
    *,
    tolerance: float = 0.2,
    min_samples: int = 1000,
    rounding: float = 0.1,
    zero: float = 0.05,
) -> Plateaus:
    """Find when a stimulus voltage stayed at a level.

    A plateau is a run of samples of which none differs from the one before by more than `tolerance`. A slow ramp is
    one, too: the rule looks at steps alone.

    Parameters
    ----------
    signal
        Volts. A missing sample (NaN) ends a plateau.
    tolerance
        V, the largest step within a plateau.
    min_samples
        The least length of a plateau.
    rounding
        V; levels are rounded to whole multiples.
    zero
        V; plateaus whose mean is not further from 0 are left out: no stimulus was shown.
    """
    if not (tolerance >= 0 and min_samples >= 1 and rounding > 0 and zero >= 0):
        raise InvalidRequest("Tolerance, least length, rounding and zero level of a plateau are not negative.")
    runs = _Runs(tolerance, min_samples)
    for block in _blocks(signal):
        runs.add(block.astype(np.float64, copy=False))
    start, stop, mean = runs.ended()
    kept = np.isfinite(mean) & (np.abs(mean) > zero)
    start, stop, mean = start[kept], stop[kept], mean[kept]
    level = np.round(np.round(mean / rounding) * rounding, 12)  # 0.3, and not 0.30000000000000004
    return Plateaus(start, stop, level, (start == 0) | (stop == runs.samples), runs.samples)


def photodiode_bursts(
    signal: Signal,
    sample_rate: float,
    *,
    fraction: float = 0.2,
    merge_gap: float = 0.020,
    min_length: float = 0.020,
    min_range: float = 0.0,
    ends: tuple[float, float] | None = None,
) -> Pulses:
    """Find when a photodiode saw flicker: pulses that follow each other closely are one burst.

    Parameters
    ----------
    signal
        Any unit; gone through twice, unless `ends` are given.
    sample_rate
        Hz.
    fraction
        The diode is lit where the signal is above its smallest sample by more than this part of its range.
    merge_gap
        s; pulses that lie this far apart or closer, from the end of one to the start of the next, are joined.
    min_length
        s; shorter bursts are dropped and counted. An open burst is kept.
    min_range
        In the unit of the signal; one that moves less than this holds no burst. By default any noise has a range.
    ends
        The smallest and the largest sample, where the signal is a part of one whose range is known.

    Raises
    ------
    InvalidRequest
        A parameter makes no sense, or the blocks can be read once only.
    """
    if not (sample_rate > 0 and 0 < fraction < 1 and merge_gap >= 0 and min_length >= 0):
        raise InvalidRequest("Rate and fraction are above 0, gap and length of a burst not below it.")
    low, high = extremes(signal) if ends is None else ends
    if not high - low >= min_range:
        return _pulses([], False, sum(block.size for block in _blocks(signal)), 1)
    lit = _crossings(signal, lambda values: values - low, fraction * (high - low), 0.0, False, 1)
    joined = merged(lit, math.floor(merge_gap * sample_rate + _SLACK))
    return without_short(joined, math.ceil(min_length * sample_rate - _SLACK))


def merged(pulses: Pulses, gap: int) -> Pulses:
    """Join pulses with at most `gap` samples between the end of one and the start of the next."""
    apart = pulses.start[1:] - pulses.stop[:-1] > gap
    first = np.append(True, apart)[: len(pulses)]
    last = np.append(apart, True)[: len(pulses)]
    joined = pulses.start[first], pulses.stop[last]
    return Pulses(*joined, pulses.starts_open, pulses.ends_open, pulses.samples, pulses.dropped)


def without_short(pulses: Pulses, min_width: int) -> Pulses:
    """Leave out and count pulses of fewer than `min_width` samples; open ones are kept."""
    kept = (pulses.stop - pulses.start >= min_width) | pulses.is_open
    dropped = pulses.dropped + int(np.count_nonzero(~kept))
    return Pulses(pulses.start[kept], pulses.stop[kept], pulses.starts_open, pulses.ends_open, pulses.samples, dropped)


def _blocks(signal: Signal) -> Iterator[NDArray[Any]]:
    """Yield the blocks of a signal as arrays of one dimension; an array is one block."""
    for block in (signal,) if isinstance(signal, np.ndarray) else signal:
        values = np.asarray(block)
        if values.ndim != 1:
            raise InvalidRequest(f"A signal has one dimension, and not the shape {values.shape}.")
        if values.dtype.kind not in "biuf":
            raise InvalidRequest(f"A signal is made of numbers, and not of {values.dtype}.")
        yield values


def _check_words(block: NDArray[Any], mask: int) -> None:
    if block.dtype.kind != "u" or mask > np.iinfo(block.dtype).max:
        raise InvalidRequest(f"Words of {block.dtype} do not have the bits {mask:#b}.", hint="DI0 is bit 0.")


def _note_edges(edges: dict[int, list[Indices]], places: Indices, flips: NDArray[Any]) -> None:
    """Give every line the places at which its bit flipped."""
    if not places.size:
        return
    any_flip = int(np.bitwise_or.reduce(flips))
    for bit, found in edges.items():
        if any_flip >> bit & 1:
            found.append(places.take(np.flatnonzero((flips & flips.dtype.type(1 << bit)) != 0)))


def _pulses(edges: list[Indices], active: bool, samples: int, min_width: int) -> Pulses:
    """Pair edges, which alternate, from what the signal was at its first sample on."""
    start, stop = [np.zeros(int(active), np.int64)], [np.empty(0, np.int64)]
    is_active = active
    for part in edges:  # without joining them first, which would take as much memory again
        start.append(part[int(is_active) :: 2])
        stop.append(part[int(not is_active) :: 2])
        is_active ^= bool(part.size % 2)
    stop.append(np.full(int(is_active), samples, np.int64))
    found = Pulses(np.concatenate(start), np.concatenate(stop), active, is_active, samples)
    return without_short(found, min_width) if min_width > 1 else found


def _open_marks(count: int, starts_open: bool, ends_open: bool) -> NDArray[np.bool_]:
    marks = np.zeros(count, np.bool_)
    if count:
        marks[0] |= starts_open
        marks[-1] |= ends_open
    return marks


def extremes(signal: Signal) -> tuple[float, float]:
    """Return the smallest and the largest sample; NaN where there is none.

    Raises
    ------
    InvalidRequest
        Its blocks can be read once only.
    """
    if isinstance(signal, Iterator):
        raise InvalidRequest(
            "The signal is gone through twice, but its blocks can be read once only.",
            hint="Give an array, a list of blocks or the baseline.",
        )
    low, high = math.inf, -math.inf
    for block in _blocks(signal):
        if block.size:  # what is missing is passed over, and a comparison with NaN changes nothing
            low, high = min(low, float(np.fmin.reduce(block))), max(high, float(np.fmax.reduce(block)))
    return (low, high) if low <= high else (math.nan, math.nan)


def _crossings(
    signal: Signal,
    distance: Callable[[NDArray[np.float64]], NDArray[np.float64]],
    threshold: float,
    hysteresis: float,
    inverted: bool,
    min_width: int,
) -> Pulses:
    """Find where a distance rises above a threshold, and falls to `threshold - hysteresis` or below."""
    state: bool | None = None  # above, before the next block
    above_before = below_before = False
    edges: list[Indices] = []
    first, samples = False, 0
    for block in _blocks(signal):
        if not block.size:
            continue
        with np.errstate(invalid="ignore"):  # two infinite samples are no known distance apart
            away = distance(block.astype(np.float64, copy=False))
        above, below = away > threshold, away <= threshold - hysteresis
        if state is None:
            first = state = bool(above[0])
            above_before, below_before = state, not state
        rising, falling = _run_starts(above, above_before), _run_starts(below, below_before)
        changes, state = _alternating(rising, falling, state)
        edges.append(changes + samples)
        above_before, below_before = bool(above[-1]), bool(below[-1])
        samples += block.size
    return _pulses(edges, samples > 0 and first != inverted, samples, min_width)


def _run_starts(holds: NDArray[np.bool_], before: bool) -> Indices:
    """Return where runs of True begin, given what was before the first sample."""
    starts = np.flatnonzero(holds[1:] > holds[:-1]) + 1
    return np.concatenate([[0], starts]) if holds[0] and not before else starts


def _alternating(rising: Indices, falling: Indices, state: bool) -> tuple[Indices, bool]:
    """Return those of the places at which the state changes, and the state after the last."""
    places = np.concatenate([rising, falling]).astype(np.int64)
    order = np.argsort(places, kind="stable")
    to = np.concatenate([np.ones(rising.size, np.bool_), np.zeros(falling.size, np.bool_)])[order]
    changes = to != np.concatenate([[state], to[:-1]]).astype(np.bool_)[: to.size]
    return places[order][changes], bool(to[-1]) if to.size else state


class _Runs:
    """Collects runs of samples with small steps, over the borders of blocks."""

    def __init__(self, tolerance: float, min_samples: int) -> None:
        self.tolerance, self.min_samples = tolerance, min_samples
        self.samples = 0
        self.last = math.nan  # sample before the next block
        self.start, self.sum = 0, 0.0  # of the run under way
        self.found: list[tuple[Indices, Indices, NDArray[np.float64]]] = []

    def add(self, block: NDArray[np.float64]) -> None:
        if not block.size:
            return
        with np.errstate(invalid="ignore"):
            steps = np.abs(np.diff(block, prepend=self.last))
        breaks = np.flatnonzero(~(steps <= self.tolerance))  # NaN is a break: before the first sample, too
        bounds = np.concatenate([[0], breaks[breaks > 0]]).astype(np.int64)
        sums = np.add.reduceat(block, bounds)
        if breaks.size and breaks[0] == 0:
            self._end(self.samples)
        starts, sums[0] = bounds + self.samples, sums[0] + self.sum
        starts[0] = self.start
        self._keep(starts[:-1], starts[1:], sums[:-1])
        self.start, self.sum = int(starts[-1]), float(sums[-1])
        self.last, self.samples = float(block[-1]), self.samples + block.size

    def ended(self) -> tuple[Indices, Indices, NDArray[np.float64]]:
        """Return start, stop and mean of every run that is long enough."""
        self._end(self.samples)
        parts = [np.concatenate(column) for column in zip(*self.found)]
        return parts[0], parts[1], parts[2]

    def _end(self, stop: int) -> None:
        self._keep(np.array([self.start]), np.array([stop]), np.array([self.sum]))
        self.start, self.sum = stop, 0.0

    def _keep(self, start: Indices, stop: Indices, sums: NDArray[np.float64]) -> None:
        long = stop - start >= self.min_samples
        self.found.append((start[long], stop[long], sums[long] / (stop[long] - start[long])))
