"""Volts of a wheel's rotary encoder to position and speed.

The encoder's analog output rises from its lowest to its highest voltage over one turn and then falls back at once.
The fall takes some microseconds, so that a sample may catch any voltage between both ends.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import signal

from adamacs.core.errors import InvalidParameters

_HALF = 0.5  # turns: of two samples that are further apart nobody knows which way the wheel went
_FALL = 2  # samples in a row that may lie within one fall of the output
_NOISE = 0.02  # turns: how far noise may throw a sample of a resting wheel
_ORDER = 3  # of the polynomial under which speed is taken
_STRETCH = 1 << 17  # samples whose speed is taken at once


@dataclass(frozen=True)
class WheelCalibration:
    """What the encoder's output means.

    Attributes
    ----------
    circumference
        cm that the animal runs in one turn of the wheel.
    low, high
        V at the beginning and at the end of a turn.
    direction
        1 where running forward raises the voltage, -1 where it lowers it.
    fastest
        cm/s beyond which no animal runs; what is faster is a sample within the fall of the output.

    Raises
    ------
    InvalidParameters
        A value is none that a wheel can have.
    """

    circumference: float
    low: float = 0.0
    high: float = 5.0
    direction: int = 1
    fastest: float = 300.0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.circumference) and self.circumference > 0):
            raise InvalidParameters(f"A wheel has no circumference of {self.circumference} cm.")
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low < self.high):
            raise InvalidParameters(f"An encoder's output cannot go from {self.low} to {self.high} V.")
        if self.direction not in (1, -1):
            raise InvalidParameters(f"A wheel's direction is 1 or -1, and not {self.direction}.")
        if not self.fastest > 0:
            raise InvalidParameters(f"No animal runs at most {self.fastest} cm/s.", hint="inf, where nothing is known.")


class Wheel:
    """Turns the volts of one recording into positions, block by block.

    The result does not depend, to the last bit, on how the recording is divided. From sample to sample the wheel is
    thought to have gone the shorter way round, which bears noise where the output wraps. Samples within the fall of
    the output would break that: from 0.99 turns over 0.5 to 0.01 looks like the way back by one turn. They are known
    by a step that is faster than the animal, behind which the output is soon where it would have been without them;
    they are replaced by what lies between their neighbours. Where the animal may run so far within some samples
    that it cannot be told from a fall, nothing is replaced.

    Parameters
    ----------
    calibration
        Of the wheel.
    sample_rate
        Hz.

    Attributes
    ----------
    fallen
        Samples that were replaced, so far.
    jumps
        Steps faster than the animal that nothing explains, so far: a loose wire, or a wrong calibration.
    outside
        Samples beyond the range of the output by more than noise, so far; they count as its end.

    Raises
    ------
    InvalidParameters
        The sample rate is none.
    """

    def __init__(self, calibration: WheelCalibration, sample_rate: float) -> None:
        if not (math.isfinite(sample_rate) and sample_rate > 0):
            raise InvalidParameters(f"A recording has no sample rate of {sample_rate} Hz.")
        self._calibration = calibration
        step = calibration.fastest / calibration.circumference / sample_rate + _NOISE
        self._step = step if (_FALL + 1) * step < _HALF else math.inf
        self.fallen = self.jumps = self.outside = 0

    def positions(self, blocks: Iterable[ArrayLike]) -> Iterator[NDArray[np.float64]]:
        """Yield positions: cm since the first sample, forward positive.

        Parameters
        ----------
        blocks
            V, consecutive parts of the recording, (sample,).

        Yields
        ------
        float64, (sample,): in all as many as there are volts, if not in the same parts.

        Raises
        ------
        InvalidParameters
            A sample is not finite.
        """
        held, turns, origin = np.zeros(0), 0, None
        for phases in self._phases(blocks):
            if origin is None and len(phases):
                origin = float(phases[0])
                yield np.zeros(1)
            held = np.concatenate([held, phases])
            if len(held) > _FALL + 1:
                last, positions, turns = self._settle(held, turns)
                yield self._in_cm(positions[1:], origin)
                held = held[last:]
        if len(held) > 1:
            _, positions, _ = self._settle(np.concatenate([held, np.full(_FALL, np.nan)]), turns)
            yield self._in_cm(positions[1:], origin)

    def _phases(self, blocks: Iterable[ArrayLike]) -> Iterator[NDArray[np.float64]]:
        """Yield the part of a turn, 0 to 1, that each sample tells."""
        low, high = self._calibration.low, self._calibration.high
        for block in blocks:
            phases = (np.asarray(block, np.float64) - low) / (high - low)
            lowest, highest = (phases.min(), phases.max()) if len(phases) else (0.0, 1.0)
            if not (np.isfinite(lowest) and np.isfinite(highest)):
                raise InvalidParameters("A sample of the wheel is not finite.", hint="Is this channel the wheel's?")
            if lowest < 0 or highest > 1:
                self.outside += int(np.count_nonzero((phases < -_NOISE) | (phases > 1 + _NOISE)))
                phases = np.clip(phases, 0, 1)
            yield phases

    def _settle(self, phases: NDArray[np.float64], turns: int) -> tuple[int, NDArray[np.float64], int]:
        """Place all samples about which those behind them have nothing more to say.

        The first is settled, at `turns` whole turns. Returns the index of the last, the positions from the first to
        it (turns), and its whole turns.
        """
        falls, last = self._find_falls(phases)
        if not falls:
            whole = _whole_turns(phases[: last + 1], turns)
            return last, whole + phases[: last + 1], int(whole[-1])
        kept = np.ones(last + 1, bool)
        for first, behind in falls:
            kept[first:behind] = False
        places = np.flatnonzero(kept)
        whole = _whole_turns(phases[places], turns)
        fallen, positions = np.flatnonzero(~kept), np.empty(last + 1)
        positions[places] = whole + phases[places]
        positions[fallen] = np.interp(fallen, places, positions[places])
        return last, positions, int(whole[-1])

    def _find_falls(self, phases: NDArray[np.float64]) -> tuple[list[tuple[int, int]], int]:
        """Return samples within falls (first, one behind the last), and the last sample that is settled, in none."""
        count = len(phases) - _FALL - 1  # steps with enough samples behind them
        steps = phases[1 : count + 1] - phases[:count]
        far = np.flatnonzero(np.abs(steps) > self._step)
        quick = far[np.abs(_shorter(steps[far])) > self._step]
        length = np.zeros(len(quick), np.int64)
        for fallen in range(_FALL, 0, -1):  # the fewest that explain it
            way = np.abs(_shorter(phases[quick + fallen + 1] - phases[quick]))
            length[way <= (fallen + 1) * self._step] = fallen
        falls, explained, last = [], 0, count
        explained_steps = quick[length > 0]
        behind = 0
        for step, fallen in zip(explained_steps.tolist(), length[length > 0].tolist(), strict=True):
            if step >= behind:
                behind = step + fallen + 1
                falls.append((step + 1, behind))
        for first, end in falls:
            explained += int(np.searchsorted(quick, end) - np.searchsorted(quick, first - 1))
        self.fallen += sum(end - first for first, end in falls)
        self.jumps += len(quick) - explained
        return falls, max(last, behind)

    def _in_cm(self, turns: NDArray[np.float64], origin: float | None) -> NDArray[np.float64]:
        return (turns - (origin or 0.0)) * (self._calibration.direction * self._calibration.circumference)


def compute_speed(
    position: NDArray[np.float64],
    sample_rate: float,
    *,
    window: float = 0.25,
    kind: type[np.floating[Any]] = np.float64,
) -> NDArray[Any]:
    """Return the speed of a wheel: the slope of the cubic that fits the positions around each sample best.

    That is the filter of Savitzky and Golay (1964, Analytical Chemistry 36:1627), as scipy has it. It keeps the area
    under a movement and does not shift it; at both ends the cubic of the last whole window is taken. Decimate a
    recording at 20 kHz first.

    Parameters
    ----------
    position
        cm, float64 (sample,).
    sample_rate
        Hz.
    window
        s over which each cubic is fitted, rounded to an odd number of samples.
    kind
        Of the result: float32 takes half of the memory.

    Returns
    -------
    cm/s, (sample,).

    Raises
    ------
    InvalidParameters
        The window has fewer than 5 samples, or more than the recording.
    """
    samples = 2 * round(window * sample_rate / 2) + 1 if math.isfinite(window * sample_rate) else 0
    if samples < _ORDER + 2 or samples > len(position):
        what = f"A window of {window} s has {samples} samples; it needs from {_ORDER + 2} to {len(position)} here."
        raise InvalidParameters(what)
    how = {"polyorder": _ORDER, "deriv": 1, "delta": 1 / sample_rate}
    half, speed = samples // 2, np.empty(len(position), kind)
    speed[:half] = signal.savgol_filter(position[:samples], samples, **how, mode="interp")[:half]
    speed[-half:] = signal.savgol_filter(position[-samples:], samples, **how, mode="interp")[-half:]
    taps = signal.savgol_coeffs(samples, **how)
    for start in range(half, len(position) - half, _STRETCH):
        around = position[start - half : min(start + _STRETCH, len(position) - half) + half]
        found = signal.oaconvolve(around - around[0], taps, mode="valid")  # by Fourier: the window may be long
        speed[start : start + len(found)] = found
    return speed


def _whole_turns(phases: NDArray[np.float64], turns: int) -> NDArray[np.int64]:
    """Return the whole turns at each sample, int64, `turns` at the first, by the shorter way from one to the next."""
    steps = np.diff(phases)
    wraps = np.flatnonzero(np.abs(steps) > _HALF)
    whole = np.zeros(len(phases), np.int64)
    whole[0] = turns
    whole[wraps + 1] = np.where(steps[wraps] > 0, -1, 1)
    return np.cumsum(whole)


def _shorter(turns: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the shorter way round that leads to the same place (turns)."""
    return turns - np.rint(turns)
