"""Pulses of several kinds: where intervals leave open which is which, what they are of tells it, or their number does.

A log says which stimulus was shown, and a voltage has a level of its own for each stimulus. Nobody needs to know which
level is whose: under the right pairing every stimulus has one level and every level one stimulus, under a wrong one
they are mixed. Stimuli that follow each other evenly are told apart by that alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from adamacs.core.clocks import pairing
from adamacs.core.clocks.pairing import Pairing
from adamacs.core.clocks.trains import Floats, Indices, Mask, match
from adamacs.core.errors import AmbiguousPairing, PairingRefused

_CHANCE = 1e-4  # expected number of pairings without relation whose kinds would agree as well
_AROUND, _WORTH = 20, 0.75  # pulses to either side of a pair, and share of them that must agree
_FEW, _MANY = 0.05, 0.25  # shares of pairs that may contradict a pairing chosen by kinds, and one by intervals
NO_LEVELS = 'If the voltage does not tell stimuli apart, write stimuli = "each" for its channel in the setup type.'


@dataclass(frozen=True, eq=False)
class Kinds:
    """What the pulses of two trains are of.

    Attributes
    ----------
    source
        Of each pulse a number, (pulse,): which stimulus it was.
    levels
        Of each pulse of the target what was measured, float64 (pulse,).
    resolution
        How finely, in the same unit: two neighbouring steps may be one level, whose noise lies on the border.
    """

    source: Indices
    levels: Floats
    resolution: float

    @property
    def steps(self) -> Indices:
        """Of each pulse of the target its level, in whole steps of the resolution."""
        return np.round(self.levels / self.resolution).astype(np.int64)

    @property
    def tell(self) -> bool:
        """Whether there is anything to tell: one level for everything says nothing."""
        return len(np.unique(self.steps)) > 1

    def agree(self, source_index: Indices, target_index: Indices) -> Mask:
        """Return of each pair whether its kind and its level belong to each other, bool (pair,).

        A level belongs to the kind that has it most often, and a kind to the level that it has most often, with one
        neighbouring step.
        """
        kinds, kind = np.unique(self.source[source_index], return_inverse=True)
        steps, step = np.unique(self.steps[target_index], return_inverse=True)
        if not len(kind):
            return np.empty(0, np.bool_)
        table = np.zeros((len(kinds), len(steps)), np.int64)
        np.add.at(table, (kind, step), 1)
        next_too = table.copy()
        next_too[:, :-1] += np.where(np.diff(steps) == 1, table[:, 1:], 0)
        first = np.argmax(next_too, axis=1)[kind]
        of_kind = (step == first) | ((step == first + 1) & (steps[step] == steps[first] + 1))
        return np.asarray(of_kind & (np.argmax(table, axis=0)[step] == kind))


def pair(
    source: Floats,
    target: Floats,
    *,
    kinds: Kinds | None = None,
    by_counts: bool = False,
    jitter: float = pairing.JITTER,
) -> Pairing:
    """Pair the pulses of two trains by their intervals, and where these leave it open, by what is known besides.

    Parameters
    ----------
    source, target, jitter
        As for `pairing.pair`.
    kinds
        What the pulses are of. Of the pairings that the intervals allow, one alone must agree with that, in all but a
        few pairs, and so well that no chance explains it.
    by_counts
        Where both trains have equally many pulses, and nothing else tells, they are in order: the first of both are
        one event, and the last of both. Intervals and kinds must not contradict that.

    Raises
    ------
    AmbiguousPairing, PairingRefused, InvalidParameters
        As `pairing.pair`; or kinds contradict more than a quarter of the pairs.
    """
    try:
        return _unless_contradicted(pairing.pair(source, target, jitter=jitter), kinds)
    except PairingRefused as refusal:
        found = None
        if kinds is not None and kinds.tell and isinstance(refusal, AmbiguousPairing):
            found = _by_kinds(source, target, kinds, refusal, jitter)
        if by_counts and found is None:
            found = _in_order(source, target, kinds, jitter)
        if found is None:
            raise
        return found


def _unless_contradicted(found: Pairing, kinds: Kinds | None) -> Pairing:
    """Refuse a pairing of which levels say all through that it is wrong; single ones may be off."""
    if kinds is None or not kinds.tell:
        return found
    agree = kinds.agree(found.source_index, found.target_index)
    if np.mean(agree) >= 1 - _MANY:
        return found
    what = f"By their intervals {len(agree)} pulses pair, of which {np.count_nonzero(~agree)} have levels of others."
    raise PairingRefused(what, hint=NO_LEVELS)


def _by_kinds(source: Floats, target: Floats, kinds: Kinds, refusal: AmbiguousPairing, jitter: float) -> Pairing | None:
    """Return the one pairing, of those that may be, under which kinds and levels agree; None where none or more do."""
    good: list[Pairing] = []
    for first, second in refusal.pairs:
        if not _may_be(source, target, kinds, (first, second), jitter):
            continue
        try:
            known = {"what the pulses are of": (float(source[first]), float(target[second]))}
            found = pairing.pair(source, target, anchors=known, jitter=jitter)
        except AmbiguousPairing:
            return None
        except PairingRefused:
            continue
        agree = kinds.agree(found.source_index, found.target_index)
        chance = len(refusal.pairs) * _chance(kinds.source[found.source_index], agree)
        if np.mean(agree) >= 1 - _FEW and chance < _CHANCE:
            good.append(found)
    return good[0] if len(good) == 1 else None


def _may_be(source: Floats, target: Floats, kinds: Kinds, begin: tuple[int, int], jitter: float) -> bool:
    """Tell whether kinds and levels agree around a pair: of hundreds of candidates, few are worth to be followed."""
    first, second = begin
    part = slice(max(0, first - _AROUND), first + _AROUND + 1)
    away = source[part] - source[first]
    near, partner = match(target[second] + away, target, 2 * jitter + 1e-6 * pairing.MAX_DRIFT * np.abs(away))
    return bool(len(near)) and float(np.mean(kinds.agree(near + part.start, partner))) >= _WORTH


def _chance(kinds: Indices, agree: Mask) -> float:
    """Return how many of all mappings of kinds to levels would agree as well with pulses that have no relation.

    The number of mappings times the chance of one, by Chernoff's bound of the binomial tail, as `pairing` reckons with
    intervals.
    """
    counts = np.unique(kinds, return_counts=True)[1]
    by_accident = float(np.sum((counts / len(kinds)) ** 2))
    share = float(np.mean(agree))
    if share <= by_accident:
        return math.inf
    gain = share * math.log(share / by_accident)
    gain += (1 - share) * math.log((1 - share) / (1 - by_accident)) if share < 1 else 0.0
    return math.exp(min(700.0, math.lgamma(len(counts) + 1) - len(kinds) * gain))


def _in_order(source: Floats, target: Floats, kinds: Kinds | None, jitter: float) -> Pairing | None:
    """Return the pairing in order where both trains are as long; None where intervals or kinds contradict it."""
    if len(source) != len(target) or not len(source):
        return None
    ends = dict.fromkeys((0, len(source) - 1))
    known = {f"pulse {at + 1} of both": (float(source[at]), float(target[at])) for at in ends}
    try:
        found = pairing.pair(source, target, anchors=known, jitter=jitter)
    except PairingRefused:
        return None
    if not np.array_equal(found.source_index, found.target_index):
        return None
    if kinds is not None and kinds.tell and not kinds.agree(found.source_index, found.target_index).all():
        return None
    return replace(found, method=f"in order, as both have {len(source)} pulses: {found.method}")
