"""The way that a mouse ran, and the analog output of its wheel's rotary encoder."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

_MEAN = 12.0  # cm/s
_WAVES = ((14.0, 0.11), (8.0, 0.37))  # cm/s and Hz


def wheel_volts(
    position: ArrayLike,
    *,
    circumference: float,
    low: float = 0.0,
    high: float = 5.0,
    direction: int = 1,
    offset: float = 0.0,
    noise: float = 0.0,
    caught: float = 0.0,
    seed: int = 0,
) -> NDArray[np.float64]:
    """Return what the encoder gives, V, (sample,): a sawtooth that begins anew with every turn.

    Parameters
    ----------
    position
        cm, forward positive, (sample,).
    circumference
        cm of a turn.
    low, high
        V at the beginning and end of a turn; what noise would drive beyond them stays at them.
    direction
        -1 where running forward lowers the voltage.
    offset
        Turns, where the wheel stands at position 0.
    noise
        V, standard deviation.
    caught
        Probability that a fall (or, running backward, a rise) of the output is caught by the sample before its end:
        that sample lies anywhere between both ends.
    seed
        Of noise and catches.
    """
    rng = np.random.default_rng(seed)
    turns = direction * np.asarray(position, np.float64) / circumference + offset
    volts = low + (turns - np.floor(turns)) * (high - low)
    volts += rng.normal(0, noise, len(volts))
    for place in _wraps(turns):
        if rng.random() < caught:
            volts[place] = rng.uniform(low, high)
    return np.clip(volts, low, high)


def walk(samples: int, sample_rate: float, *, seed: int = 0) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return how a mouse ran: position (cm, from 0) and speed (cm/s), each (sample,).

    It runs, slows down and now and then turns back. The speed is a sum of two slow waves, so that the position is known
    exactly, and not as a sum over samples.
    """
    times = np.arange(samples) / sample_rate
    speed, position = np.full(samples, _MEAN), _MEAN * times
    for (swing, pace), phase in zip(_WAVES, np.random.default_rng(seed).uniform(0, 2 * math.pi, 2), strict=True):
        angle = 2 * math.pi * pace
        speed += swing * np.cos(angle * times + phase)
        position += swing / angle * (np.sin(angle * times + phase) - math.sin(phase))
    return position, speed


def _wraps(turns: NDArray[np.float64]) -> Sequence[int]:
    """Return the samples before which the output fell or rose from end to end."""
    places: list[int] = (np.flatnonzero(np.diff(np.floor(turns)) != 0) + 1).tolist()
    return places
