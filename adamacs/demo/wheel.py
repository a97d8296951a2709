"""The analog output of a wheel's rotary encoder, from the way that a mouse ran."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray


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


def _wraps(turns: NDArray[np.float64]) -> Sequence[int]:
    """Return the samples before which the output fell or rose from end to end."""
    places: list[int] = (np.flatnonzero(np.diff(np.floor(turns)) != 0) + 1).tolist()
    return places
