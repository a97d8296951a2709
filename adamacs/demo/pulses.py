"""Pulses of the same events as several clocks see them: with offset, drift and jitter, some lost, some false."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True)
class Device:
    """How a device sees events.

    Attributes
    ----------
    offset
        s: its time at the true time 0.
    drift
        How much faster its clock runs (1e-6 is 1 ppm).
    jitter
        s: standard deviation of a pulse's time.
    missing, extra
        Share of the events that it does not see, and false pulses per event.
    late, early
        Events lost at the beginning, since it started late, and at the end.
    apart
        s: a false pulse is at least so far from the time of any event, or it would be taken for that event's pulse.
    among_seen
        Whether `apart` holds for the events that were seen alone; then a false pulse may stand in for a lost one.
    """

    offset: float = 0.0
    drift: float = 0.0
    jitter: float = 0.0
    missing: float = 0.0
    extra: float = 0.0
    late: int = 0
    early: int = 0
    apart: float = 2e-3
    among_seen: bool = False


@dataclass(frozen=True)
class Train:
    """What a device saw.

    Attributes
    ----------
    times
        float64, (pulse,): s on its clock, increasing.
    events
        int64, (pulse,): the event of each pulse, -1 for a false one.
    """

    times: NDArray[np.float64]
    events: NDArray[np.int64]


def observe(events: ArrayLike, device: Device, rng: np.random.Generator) -> Train:
    """Return the pulses of a device, and the truth about them.

    Parameters
    ----------
    events
        (event,): true times (s), increasing.
    device
        What it does to them.
    rng
        Source of all chance.
    """
    true = np.asarray(events, float)
    kept = rng.random(len(true)) >= device.missing
    kept[: device.late] = False
    kept[len(true) - device.early :] = False
    seen = np.flatnonzero(kept)
    there = convert(true, device)
    pulses = there[seen] + rng.normal(0, device.jitter, len(seen))
    false = rng.uniform(there[0], there[-1], rng.binomial(len(true), device.extra))
    away = _clearance(there[seen] if device.among_seen else there, false)
    false = false[away > device.apart]
    times = np.concatenate([pulses, false])
    numbers = np.concatenate([seen, np.full(len(false), -1)])
    times, first = np.unique(times, return_index=True)
    return Train(times, numbers[first].astype(np.int64))


def convert(times: ArrayLike, device: Device) -> NDArray[np.float64]:
    """Return true times (s) as the device's clock shows them (s)."""
    return np.asarray(times, float) * (1 + device.drift) + device.offset


def true_pairs(source: Train, target: Train) -> NDArray[np.int64]:
    """Return int64, (pair, 2): indices of the pulses of two trains that are of the same event."""
    real = [np.flatnonzero(train.events >= 0) for train in (source, target)]
    found = np.intersect1d(source.events[real[0]], target.events[real[1]], assume_unique=True, return_indices=True)
    pairs = np.stack([real[0][found[1]], real[1][found[2]]], axis=1)
    return pairs[np.argsort(pairs[:, 0], kind="stable")].astype(np.int64)


def _clearance(times: NDArray[np.float64], at: NDArray[np.float64]) -> NDArray[np.float64]:
    right = np.clip(np.searchsorted(times, at), 1, len(times) - 1) if len(times) > 1 else np.zeros(len(at), int)
    return np.minimum(np.abs(times[right] - at), np.abs(times[right - 1] - at))
