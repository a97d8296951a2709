"""Clocks that are placed on one which was interrupted: every stretch of its recording has a step of its own.

The target's clock counts within a stretch and is set anew, by less exact means, when the next one begins
(`Stretch.within`). All times of a stretch may be off together, so that pulses of the other clock, which ran on, do not
lie on one smooth line. The stretch that tells most is paired as any recording is; what it tells of the other clock says
nearly where the pulses of each other stretch lie, and these are paired by their own intervals from there. The mapping
is a line for each stretch, joined over the pauses, and stands for what it is made for: to say what came together.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from adamacs.core.clocks import mapping, pairing
from adamacs.core.clocks.mapping import ClockFit, ClockModel, Residuals
from adamacs.core.clocks.pairing import Pairing
from adamacs.core.clocks.trains import Floats, Indices
from adamacs.core.errors import AmbiguousPairing, PairingRefused
from adamacs.core.events import Stretch

Anchors = Mapping[str, tuple[float, float]]
_LAST = 1e-6  # s before its end at which a stretch still has its own line
_NAMED = 6  # steps that a method spells out
_SILENCE = 3.0  # usual intervals without a pulse: a pause


@dataclass(frozen=True)
class _Part:
    """A stretch that is paired: which, its pulses on either side, and what must be added to have its times (a line)."""

    which: int
    source: Indices
    target: Indices
    rejected: Indices  # of its pairs
    step: ClockModel
    tolerance: float


def seen_to_begin(starts: Floats, stretches: Sequence[Stretch] = ()) -> NDArray[np.bool_]:
    """Return which events (s, (event,)) were seen to begin: not those that were on at the first sample of a stretch.

    Without stretches that is one which begins at 0.
    """
    return (starts > 0) & ~np.isin(starts, [stretch.start for stretch in stretches])


def inside(times: Floats, stretches: Sequence[Stretch]) -> NDArray[np.bool_]:
    """Return which times (s, (time,)) lie in a stretch; all of them do where none is told."""
    if not stretches:
        return np.ones(len(times), np.bool_)
    which = np.searchsorted([stretch.start for stretch in stretches], times, side="right") - 1
    stops = np.array([stretch.stop for stretch in stretches])
    return (which >= 0) & (times < stops[which])


def pair_and_fit(
    source: Floats,
    target: Floats,
    stretches: Sequence[Stretch],
    pair_first: Callable[[slice], Pairing],
    *,
    names: tuple[str, str],
    anchors: Anchors,
    jitter: float,
    anchor: str = "",
) -> tuple[Pairing, ClockFit]:
    """Pair the pulses of a clock with those of another, which may have paused, and fit the mapping.

    Parameters
    ----------
    source, target
        (pulse,): s, each on its own clock, increasing.
    stretches
        Of the target, in order of time; none where that is not told.
    pair_first
        Pairs the whole source with a part of the target where no anchor is known; indices are of that part.
    names
        Of both clocks.
    anchors, jitter
        As for `pairing.pair`. A stretch with an anchor is the one to begin with.
    anchor
        What is known of the ends of both, as a rule `[[align]]` says it. It holds of every stretch at whose ends the
        source paused as well, and is asked where intervals leave it open.

    Raises
    ------
    PairingRefused, AmbiguousPairing
        As `pairing.pair`, and the same of each other stretch in which both tell of anything.
    UnusableClock
        What was paired is no clock.
    """
    if len(stretches) <= 1:
        whole = slice(None)
        paired = pairing.pair(source, target, anchors=anchors, jitter=jitter) if anchors else pair_first(whole)
        return paired, _fit(source[paired.source_index], target[paired.target_index], names, jitter)
    begins = [stretch.start for stretch in stretches]
    bounds = np.searchsorted(target, [*begins, np.inf])
    parts = [slice(int(start), int(stop)) for start, stop in pairwise(bounds)]
    own = [_within(anchors, stretch) for stretch in stretches]
    first = max(range(len(parts)), key=lambda which: (bool(own[which]), parts[which].stop - parts[which].start))
    known, part = own[first], parts[first]
    paired = pairing.pair(source, target[part], anchors=known, jitter=jitter) if known else pair_first(part)
    base = _fit(source[paired.source_index], target[part][paired.target_index], names, jitter)
    nothing = ClockModel(names[1], names[1], "offset", (0.0,), (0.0,))
    rejected = np.array(base.rejected, np.int64)
    found = [_Part(first, paired.source_index, paired.target_index + part.start, rejected, nothing, paired.tolerance)]
    told = _Told(source, target, base.model, source[paired.source_index], jitter, anchor)
    for which, stretch in enumerate(stretches):
        if which != first and parts[which].stop > parts[which].start:
            off = stretch.within + stretches[first].within
            if other := told.part(which, stretch, parts[which], off, own[which]):
                found.append(other)
    found.sort(key=lambda one: one.which)
    fit = _joined(source, target, base, found, stretches, jitter)
    return _together(source, target, found, stretches, fit.model, paired), fit


def _within(anchors: Anchors, stretch: Stretch) -> Anchors:
    return {name: times for name, times in anchors.items() if stretch.start <= times[1] < stretch.stop}


def _fit(source: Floats, target: Floats, names: tuple[str, str], jitter: float) -> ClockFit:
    return mapping.fit_clock(source, target, source=names[0], target=names[1], tolerance=jitter)


@dataclass(frozen=True)
class _Told:
    """What the first stretch tells of the source's clock."""

    source: Floats
    target: Floats
    model: ClockModel
    paired: Floats  # s: the source's pulses that it stands on
    jitter: float
    anchor: str

    def part(self, which: int, stretch: Stretch, part: slice, off: float, anchors: Anchors) -> _Part | None:
        """Pair the pulses of another stretch, whose times may be off; None where the source tells of none then."""
        ends = self.model.invert(np.array([stretch.start, stretch.stop]))
        span = self.paired[-1] - self.paired[0]
        drift = min(1e-6 * pairing.MAX_DRIFT, 4 * self.jitter / span if span else np.inf)
        away = max(self.paired[0] - ends[0], ends[1] - self.paired[-1], 0.0)
        accuracy = off + drift * away
        reach = accuracy + self.jitter
        low, high = np.searchsorted(self.source, [ends[0] - reach, ends[1] + reach]).tolist()
        ours, theirs = self.source[low:high], self.target[part]
        if not len(ours):
            return None
        known = {
            f"the {end} of stretch {which + 1}": (float(at), float(there))
            for end, at, there in zip(("start", "end"), ends, (stretch.start, stretch.stop), strict=True)
        }
        try:
            paired = self._paired(low, high, theirs, anchors or known, self.jitter if anchors else accuracy)
        except PairingRefused as refusal:
            what = f"In stretch {which + 1} of the recording, whose start is known to {off:g} s: {refusal.what}"
            hint = _HINT if isinstance(refusal, AmbiguousPairing) else refusal.hint
            raise type(refusal)(what, hint=hint) from refusal
        source, target = ours[paired.source_index], theirs[paired.target_index]
        names = (self.model.target,) * 2
        placed = self.model.convert(source)
        if len(source) >= 2 * mapping.LEAST_PAIRS and target[-1] - target[0] > (stretch.stop - stretch.start) / 2:
            fit = _fit(placed, target, names, self.jitter)
        else:  # too few to tell of a drift
            fit = mapping.fit_offset(placed, target, source=names[0], target=names[1], tolerance=self.jitter)
        indices = paired.source_index + low, paired.target_index + part.start
        return _Part(which, *indices, np.array(fit.rejected, np.int64), fit.model, paired.tolerance)

    def _paired(self, low: int, high: int, theirs: Floats, anchors: Anchors, accuracy: float) -> Pairing:
        """Pair by intervals; where these leave it open, by what is known of the ends of both."""
        ours = self.source[low:high]
        try:
            return pairing.pair(ours, theirs, anchors=anchors, anchor_accuracy=accuracy, jitter=self.jitter)
        except AmbiguousPairing:
            paused = {at for at, pulse in ((0, low), (-1, high)) if self._pauses_before(pulse)}
            known = _ENDS.get(self.anchor, {0, -1})
            if not self.anchor or not known <= paused or (self.anchor == "counts" and len(ours) != len(theirs)):
                raise
            ends = {_SAID[at]: (float(ours[at]), float(theirs[at])) for at in sorted(known)}
            if any(abs(there - self.model.convert(here)) > accuracy + self.jitter for here, there in ends.values()):
                raise
            found = pairing.pair(ours, theirs, anchors=ends, jitter=self.jitter)
            if self.anchor == "counts" and not np.array_equal(found.source_index, found.target_index):
                raise
            return found

    def _pauses_before(self, pulse: int) -> bool:
        """Whether the source was silent before a pulse; it is before its first, and behind its last."""
        if not 0 < pulse < len(self.source):
            return True
        return bool(self.source[pulse] - self.source[pulse - 1] > _SILENCE * np.median(np.diff(self.source)))


_ENDS = {"first": {0}, "last": {-1}}  # of which pulses an anchor speaks; else of both
_SAID = {0: "the first of both", -1: "the last of both"}
_HINT = (
    "A recording that was interrupted knows by the computer's clock alone when it went on, and even pulses that did "
    "not pause may fit in several ways then: record without a pause, or wire a line with uneven pulses to both."
)


def _joined(
    source: Floats, target: Floats, base: ClockFit, found: Sequence[_Part], stretches: Sequence[Stretch], jitter: float
) -> ClockFit:
    """Return the mapping that has the line of each stretch within it, and goes straight on over the pauses."""
    knots: list[float] = []
    shifts: list[float] = []
    seams: list[int] = []
    for part in found:
        stretch = stretches[part.which]
        bends = part.step.convert(base.model.convert(np.array(base.model.knots)))
        bends = np.concatenate([bends, np.array(part.step.knots) + part.step.shifts])
        ends = stretch.start, stretch.stop - _LAST
        there = np.unique([*ends, *bends[(bends > ends[0] + _LAST) & (bends < ends[1] - _LAST)]])
        here = base.model.invert(part.step.invert(there))
        seams += [len(knots) - 1] if knots else []
        knots += here.tolist()
        shifts += (there - here).tolist()
    model = replace(base.model, kind="piecewise", knots=tuple(knots), shifts=tuple(shifts), seams=tuple(seams))
    apart = [np.abs(target[one.target] - model.convert(source[one.source])) for one in found]
    used = np.concatenate([np.delete(far, one.rejected) for far, one in zip(apart, found, strict=True)])
    counts = np.cumsum([0, *map(len, apart)])
    rejected = np.concatenate([one.rejected + at for one, at in zip(found, counts, strict=False)])
    residuals = Residuals(
        float(np.median(used)), float(np.sqrt(np.mean(used**2))), float(np.percentile(used, 95)), float(used.max())
    )
    quality = float(np.mean(np.concatenate(apart) <= jitter))
    method = f"{base.method}; {_steps(found, stretches)}"
    return ClockFit(model, residuals, len(used), tuple(rejected.tolist()), method, quality)


def _steps(found: Sequence[_Part], stretches: Sequence[Stretch]) -> str:
    """Return how far the stretches are off, in words."""
    first = next(one for one in found if not any(one.step.shifts))
    others = [one for one in found if one is not first]
    said = [f"{one.which + 1} by {1e3 * np.median(one.step.shifts):+.1f} ms" for one in others[:_NAMED]]
    said += [f"{len(others) - _NAMED} more"] if len(others) > _NAMED else []
    steps = (
        f"stretches step from stretch {first.which + 1}: {', '.join(said)}" if said else "stretches are not compared"
    )
    without = [str(which + 1) for which in range(len(stretches)) if all(one.which != which for one in found)]
    if not without:
        return steps
    named = ", ".join(without[:_NAMED]) + (f" and {len(without) - _NAMED} more" if len(without) > _NAMED else "")
    return f"{steps}; no pairs in {named}, where times are as exact as the computer's clock"


def _together(
    source: Floats,
    target: Floats,
    found: Sequence[_Part],
    stretches: Sequence[Stretch],
    model: ClockModel,
    first: Pairing,
) -> Pairing:
    """Return the pairing of all stretches. What came in a pause has no partner that could be missed."""
    ours, theirs = (np.concatenate([getattr(one, side) for one in found]) for side in ("source", "target"))
    if np.any(np.diff(ours) <= 0):
        what = "A pulse of the source pairs in two stretches of the recording."
        raise PairingRefused(what, hint="Are both of the same recording and the right lines?")
    source_alone = np.setdiff1d(np.arange(len(source)), ours)
    source_alone = source_alone[inside(model.convert(source[source_alone]), stretches)]
    target_alone = np.setdiff1d(np.arange(len(target)), theirs)
    between = [
        np.count_nonzero((alone > used[0]) & (alone < used[-1]))
        for alone, used in ((source_alone, ours), (target_alone, theirs))
    ]
    score = 1 - sum(between) / (sum(between) + 2 * len(ours))
    method = f"{first.method}; stretch by stretch"
    tolerance = max(one.tolerance for one in found)
    return Pairing(ours, theirs, source_alone, target_alone, method, float(score), tolerance)
