"""Trains of pulses on two clocks: what is known of the clocks beforehand, and which pulses are nearest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike, NDArray

from adamacs.core.errors import InvalidParameters, PairingRefused

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Bounds:
    """How far two clocks and the times of one pulse on both may differ.

    Attributes
    ----------
    drift
        Largest relative difference of the clocks' rates (1e-6 is 1 ppm).
    wander
        How much of that difference may come and go within a recording.
    jitter
        s: the furthest that a pair of pulses stands from the smooth mapping of the clocks.
    """

    drift: float
    wander: float
    jitter: float

    def __post_init__(self) -> None:
        if not (0 <= self.drift <= 0.1 and 0 <= self.wander <= 0.1 and 0 < self.jitter < np.inf):
            raise InvalidParameters("Drift and wander are 0 to 100 000 ppm, and jitter is more than 0 s.")


@dataclass(frozen=True)
class Prior:
    """What is known of the shift (target minus source time, s) before any pulse was looked at.

    Attributes
    ----------
    times, shifts
        (anchor,): s on the source clock, increasing, and the shift there.
    accuracy
        s: how far an anchor may be off.
    offset, within
        s: the shift lies within so much of the offset in the whole recording; infinite where nothing is known.
    """

    times: Floats
    shifts: Floats
    accuracy: float
    offset: float
    within: float

    @property
    def anchored(self) -> bool:
        return len(self.times) > 0

    @property
    def known(self) -> bool:
        return self.anchored or bool(np.isfinite(self.within))

    def expected(self, at: Floats, bounds: Bounds) -> tuple[Floats, Floats]:
        """Return the shift that is expected at times of the source clock, and how far it may be off (s)."""
        shift, apart = np.full(at.shape, self.offset), np.full(at.shape, self.within)
        if not self.anchored:
            return shift, apart
        right = np.clip(np.searchsorted(self.times, at), 0, len(self.times) - 1)
        left = np.maximum(right - 1, 0)
        distance = np.minimum(np.abs(at - self.times[left]), np.abs(at - self.times[right]))
        span = self.times[right] - self.times[left]
        inside = (span > 0) & (at >= self.times[left]) & (at <= self.times[right])
        with np.errstate(divide="ignore"):
            known = np.where(inside, bounds.wander + 2 * self.accuracy / span, np.inf)
        by_anchor = self.accuracy + np.minimum(known, bounds.drift) * distance
        between = np.interp(at, self.times, self.shifts)
        nearest = np.where(np.abs(at - self.times[left]) <= np.abs(at - self.times[right]), left, right)
        by_one = np.where(known <= bounds.drift, between, self.shifts[nearest])
        better = by_anchor < apart
        return np.where(better, by_one, shift), np.where(better, by_anchor, apart)

    def reversed(self) -> Prior:
        """The same of both trains run backwards: all times negated."""
        return Prior(-self.times[::-1], -self.shifts[::-1], self.accuracy, -self.offset, self.within)

    def swapped(self) -> Prior:
        """The same with source and target in each other's place."""
        return Prior(self.times + self.shifts, -self.shifts, self.accuracy, -self.offset, self.within)


def prior(
    anchors: Mapping[str, tuple[float, float]],
    accuracy: float,
    offset: tuple[float, float] | None,
    bounds: Bounds,
) -> Prior:
    """Return what is known beforehand, as `pairing.pair` takes it.

    Raises
    ------
    PairingRefused
        Two anchors contradict each other.
    InvalidParameters
        A number is not finite, or negative where it must not be.
    """
    numbers = [value for anchor in anchors.values() for value in anchor] + list(offset or ())
    if not np.isfinite([*numbers, accuracy]).all() or accuracy < 0 or (offset and offset[1] < 0):
        raise InvalidParameters("Anchors, their accuracy and a coarse offset are finite, and a margin is not negative.")
    ordered = sorted((source, target - source, name) for name, (source, target) in anchors.items())
    for (time, shift, name), (later, other, also) in pairwise(ordered):
        allowed = bounds.drift * (later - time) + 2 * accuracy
        if abs(other - shift) > allowed or later == time:
            what = (
                f"The anchors {name} and {also} contradict each other: {other - shift:+.6f} s in {later - time:.6f} s"
            )
            raise PairingRefused(
                f"{what}, where {allowed:.6f} s may be.", hint="Are both the same event on both clocks?"
            )
    times, shifts = (np.array([entry[column] for entry in ordered], float) for column in (0, 1))
    coarse, within = offset if offset is not None else (0.0, np.inf)
    return Prior(times, shifts, accuracy, coarse, within)


def checked(times: ArrayLike, which: str) -> Floats:
    """Return the times of a train, float64, (pulse,).

    Raises
    ------
    PairingRefused
        They are not finite, in one row and increasing.
    """
    found = np.ascontiguousarray(times, float)
    if found.ndim != 1 or not np.isfinite(found).all():
        raise PairingRefused(f"The {which} train holds more than finite times in one row.", hint="Leave out NaN.")
    if np.any(wrong := np.diff(found) <= 0):
        at = int(np.argmax(wrong))
        raise PairingRefused(f"The {which} train's times do not increase after pulse {at}.", hint="Sort them first.")
    return found


def nearest(train: Floats, times: Floats) -> Indices:
    """Return the index of the pulse that is nearest to each time; the train has at least one."""
    right = np.minimum(np.searchsorted(train, times), len(train) - 1)
    left = np.maximum(right - 1, 0)
    return np.where(times - train[left] <= train[right] - times, left, right).astype(np.int64)


def match(predicted: Floats, target: Floats, tolerance: Floats | float) -> tuple[Indices, Indices]:
    """Return pairs of indices that are each other's nearest and no further apart than the tolerance (s).

    Both trains increase, and so do both columns of the answer.
    """
    if len(predicted) == 0 or len(target) == 0:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    partner = nearest(target, predicted)
    back = nearest(predicted, target[partner])
    mutual = (back == np.arange(len(predicted))) & (np.abs(target[partner] - predicted) <= tolerance)
    source = np.flatnonzero(mutual)
    return source, partner[source]
