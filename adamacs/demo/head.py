"""How a head turned and was shaken, and what an inertial unit of 16 bits makes of it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from adamacs.core.setup_wiring import Harp
from adamacs.demo.harp import to_counts

SCALES = Harp(accelerometer=0.0024, gyroscope=0.061, magnetometer=0.15, sample_rate=100.0)
_TURNS = ((70.0, 0.13), (45.0, 0.41))  # deg/s and Hz
_GRAVITY, _NOD = 9.81, (1.5, 0.9)  # m/s^2; m/s^2 and Hz
_FIELD, _DIP = 20.0, 42.0  # µT, level and down
_SHAKEN, _LASTS = 200.0, 0.08  # m/s^2, and s


@dataclass(frozen=True, eq=False)
class Head:
    """What a head did.

    Attributes
    ----------
    times
        float64, (sample,): s of the sweep.
    acceleration, turning, field
        float64, (sample, 3): m/s^2, deg/s and µT.
    scales
        What a count of each sensor is.
    """

    times: NDArray[np.float64]
    acceleration: NDArray[np.float64]
    turning: NDArray[np.float64]
    field: NDArray[np.float64]
    scales: Harp

    @property
    def counts(self) -> dict[str, NDArray[np.int16]]:
        """What the sensors read, (sample, 3) each, stopping at the ends of their range."""
        felt = {"accelerometer": self.acceleration, "gyroscope": self.turning, "magnetometer": self.field}
        return {name: to_counts(values, getattr(self.scales, name)) for name, values in felt.items()}


def move(first: float, last: float, scales: Harp, *, shakes: int = 0, seed: int = 0) -> Head:
    """Let a head turn to and fro, and shake it a few times so hard that the accelerometer cannot follow.

    Parameters
    ----------
    first, last
        s of the sweep, between which the unit samples at the rate of `scales`, or at 100 Hz: each in the middle of its
        period.
    scales
        What a count is; where the setup type does not say, that of `SCALES`.
    shakes, seed
        How many, and of the phases.
    """
    said = Harp(
        **{
            name: getattr(scales, name) or getattr(SCALES, name)
            for name in ("accelerometer", "gyroscope", "magnetometer", "sample_rate")
        }
    )
    samples = round((last - first) * (said.sample_rate or 0.0))
    times = np.asarray(first + (last - first) / samples * (np.arange(samples) + 0.5), np.float64)
    phases = np.random.default_rng([seed, 11]).uniform(0, 2 * math.pi, len(_TURNS))
    turning, heading = np.zeros((samples, 3)), np.zeros(samples)
    for (swing, pace), phase in zip(_TURNS, phases, strict=True):
        angle = 2 * math.pi * pace
        turning[:, 2] += swing * np.cos(angle * times + phase)
        heading += swing / angle * (np.sin(angle * times + phase) - math.sin(phase))
    swing, pace = _NOD
    acceleration = np.tile([0.0, 0.0, _GRAVITY], (samples, 1))
    acceleration[:, 0] = swing * np.sin(2 * math.pi * pace * times)
    for at in np.linspace(first, last, shakes + 2)[1:-1]:
        acceleration[(times >= at) & (times < at + _LASTS), 0] = _SHAKEN
    north: NDArray[np.float64] = np.radians(heading)
    field: NDArray[np.float64] = np.stack(
        [_FIELD * np.cos(north), -_FIELD * np.sin(north), np.full(samples, -_DIP)], axis=1
    )
    return Head(times, acceleration, turning, field, said)
