"""Which pulse of one clock is which pulse of another, told by their intervals and by anchors, never by their order.

A pairing is found in four steps. Seeds: pulses of one train, and those of the other with the same intervals around them
(`seeds`). Tracks: from a seed on, both trains are followed in both directions, each pulse compared with its neighbours
in the other train alone, while offset and drift become known (`tracking`); this is the alignment of the two sequences
within a narrow band, and takes memory in proportion to the trains. Mapping: a smooth mapping through the pairs of a
track, and with it the final pairs, each other's nearest within six robust standard deviations. Comparison: every other
way through the trains that is known of, the same track moved by one or two pulses among them, must be clearly worse.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike

from adamacs.core.clocks import seeds
from adamacs.core.clocks.tracking import Slip
from adamacs.core.clocks.trains import Bounds, Floats, Indices, checked, match, nearest, prior
from adamacs.core.clocks.ways import (
    FEWEST,
    Task,
    Way,
    counted,
    find_ways,
    is_good,
    merit,
    much_worse,
    overlaps,
    rival,
    sure,
)
from adamacs.core.errors import AmbiguousPairing, PairingRefused

MAX_DRIFT = 500.0  # ppm
WANDER = 5.0  # ppm
JITTER = 1e-3  # s
LEAST_SCORE = 0.8
LEAST_OVERLAP = 0.5
_CHANCE = 1e-4  # expected number of trains without relation that would fit as well
_JUDGED = 1000  # pulses before and after one, that tell which of its partners are possible
_MOST_JUDGED = 201  # partners, the nearest
_NAMED = 12  # shifts that a message spells out


@dataclass(frozen=True)
class Pairing:
    """Which pulses of two trains are the same.

    Attributes
    ----------
    source_index, target_index
        int64, (pair,): indices into both trains, increasing.
    source_alone, target_alone
        int64: indices of pulses without a partner.
    method
        How they were paired, in words.
    score
        Share of the pulses of both trains, where these overlap, that have a partner; 0 to 1.
    tolerance
        s: the furthest that a pair may stand from the smooth mapping of the clocks.
    """

    source_index: Indices
    target_index: Indices
    source_alone: Indices
    target_alone: Indices
    method: str
    score: float
    tolerance: float


def pair(
    source: ArrayLike,
    target: ArrayLike,
    *,
    anchors: Mapping[str, tuple[float, float]] | None = None,
    anchor_accuracy: float | None = None,
    offset: tuple[float, float] | None = None,
    jitter: float = JITTER,
    max_drift_ppm: float = MAX_DRIFT,
    wander_ppm: float = WANDER,
    least_score: float = LEAST_SCORE,
    least_overlap: float = LEAST_OVERLAP,
) -> Pairing:
    """Pair the pulses that two clocks saw of the same events, whatever is missing or extra on either.

    Parameters
    ----------
    source, target
        (pulse,): s, each on its own clock, increasing.
    anchors
        By name, the times (s) of one event on both clocks; it need not be a pulse of the trains.
    anchor_accuracy
        s: how far the two times of an anchor may be off; `jitter` by default.
    offset
        What must be added to a time of the source (s) anywhere in the recording, and by how much this may be wrong (s).
    jitter
        s: the furthest that a pair of pulses stands from the smooth mapping of the clocks. The truth is usually
        better: from 16 pairs on the spread is measured, and pairs beyond six of its standard deviations stay apart.
    max_drift_ppm
        Largest difference of the clocks' rates.
    wander_ppm
        How much of it may come and go within the recording; it bounds how long a pause can be bridged.
    least_score
        Share of pulses with a partner, where the trains overlap, below which they are not the same.
    least_overlap
        Share of the shorter train that must be paired.

    Raises
    ------
    AmbiguousPairing
        Another pairing fits as well: a periodic train without an anchor, a repeated pattern, a pause so long that the
        clocks may have parted by a period. It names the shifts that may be, of very many the nearest to one of them.
    PairingRefused
        A train is too short or not of increasing finite times, the trains do not match, or contradict the anchors.
    InvalidParameters
        A bound is negative or not finite.
    """
    bounds = Bounds(max_drift_ppm * 1e-6, wander_ppm * 1e-6, jitter)
    known = prior(anchors or {}, jitter if anchor_accuracy is None else anchor_accuracy, offset, bounds)
    trains = checked(source, "source"), checked(target, "target")
    swapped = len(trains[0]) > len(trains[1])  # the shorter is looked for in the longer
    if swapped:
        trains, known = (trains[1], trains[0]), known.swapped()
    task = Task(*trains, bounds, known, least_score, least_overlap)
    if len(task.source) < (1 if known.anchored else FEWEST):
        what = f"The shorter train has {len(task.source)} pulses, too few to tell them apart."
        raise PairingRefused(what, hint="Name an event that both clocks saw (an anchor), or record longer.")
    _check_density(task)
    way = _only(task, swapped)
    _check_anchors(task, way, anchors or {}, swapped)
    return _answer(task, way, anchors or {}, offset is not None, swapped)


def _check_density(task: Task) -> None:
    """Refuse trains so dense that the next pulse is as near as the right one."""
    most = task.interval / (2 if task.prior.known else 4)
    if task.bounds.jitter >= most:
        what = (
            f"The target's pulses are {task.interval:.2e} s apart, too near for a jitter of {task.bounds.jitter:.2e} s"
        )
        raise PairingRefused(f"{what}; it must be below {most:.2e} s.", hint="State a smaller jitter.")


def _only(task: Task, swapped: bool) -> Way:
    """Return the one way through both trains, or say why there is none or more than one."""
    ways = find_ways(task)
    good = [way for way in ways if is_good(task, way)]
    if not good:
        raise _no_match(task, ways)
    good = [way for way in good if _meets_anchors(task, way)] or good
    best = max(good, key=merit)
    if not task.prior.anchored and (chance := _chance(task, best)) > _CHANCE:
        what = f"{len(best.source)} pairs fit, but {chance:.1g} trains without relation would fit as well."
        hint = "Give a smaller jitter, name an event that both clocks saw (an anchor), or record longer."
        raise PairingRefused(what, hint=hint)
    if rivals := [way for way in good if way is not best and rival(best, way)]:
        raise _ambiguous(task, best, rivals, swapped)
    if slips := [slip for slip in best.slips if _is_open(task, best, slip)]:
        raise _slipped(slips[0], swapped)
    return best


def _meets_anchors(task: Task, way: Way) -> bool:
    """Whether the mapping of a way lies as near to every anchor as an anchor may be off.

    A pulse may be off by the jitter as well, but the mapping through n of them only by its 1/sqrt(n): of an even train
    whose anchor was seen late, this leaves one way, where pulse by pulse the next one would do, too.
    """
    times, paired = task.prior.times, task.source[way.source]
    beyond = np.maximum(np.maximum(paired[0] - times, times - paired[-1]), 0.0)
    sure_to = 2 * task.bounds.jitter / math.sqrt(len(paired)) + task.bounds.drift * beyond
    apart = np.abs(way.model.convert(times) - times - task.prior.shifts)
    return bool((apart <= task.prior.accuracy + sure_to).all())


def _is_open(task: Task, best: Way, slip: Slip) -> bool:
    """Whether the pulses beyond a slip may pair otherwise: not where their mapping would miss an anchor then."""
    times = task.prior.times
    at, (begin, _) = task.source[slip.source], best.begin
    beyond = best.source >= slip.source if slip.source > begin else best.source <= slip.source
    moved = task.source[best.source[beyond]]
    if not len(times) or len(moved) < FEWEST:
        return True
    away = np.abs(times - at)
    reach = 2 * task.bounds.jitter / math.sqrt(len(moved)) * (1 + 4 * away / (moved[-1] - moved[0]))
    allowed = task.prior.accuracy + reach + task.bounds.wander * away
    moves = task.target[list(slip.targets)] - best.model.convert(at)
    misses = best.model.convert(times) - times - task.prior.shifts
    others = moves[np.abs(moves) > np.abs(moves).min()]
    return any((np.abs(misses + move) <= allowed).all() for move in others)


def _chance(task: Task, way: Way) -> float:
    """Return how many trains without relation would fit as well, among all offsets and drifts that were open.

    The number of false alarms of an a-contrario test (Desolneux, Moisan and Morel 2000, International Journal of
    Computer Vision 40:7): the number of ways that were open times the chance of one, the latter by Chernoff's bound of
    the binomial tail. Two pairs are spent on offset and drift.
    """
    span = task.target[-1] - task.target[0]
    by_accident = min(1.0, 2 * way.tolerance * len(task.target) / span)
    count, met = max(way.counts.source, way.counts.target) - 2, len(way.source) - 2
    if count < 1 or met / count <= by_accident:
        return float("inf")
    drifts = 1 + 2 * task.bounds.drift * (task.source[-1] - task.source[0]) / way.tolerance
    offsets = min(float(len(task.source)) * len(task.target), 1 + 2 * task.prior.within / way.tolerance)
    share = met / count
    gain = share * math.log(share / by_accident)
    if share < 1:
        gain += (1 - share) * math.log((1 - share) / (1 - by_accident))
    return math.exp(min(700.0, math.log(offsets * drifts) - count * gain))


def _no_match(task: Task, ways: list[Way]) -> PairingRefused:
    hint = "Are both of the same recording and the right lines, and are jitter and drift as large as stated?"
    where = "at the anchors" if task.prior.anchored else "anywhere"
    if not ways:
        return PairingRefused(
            f"The trains do not match {where}: no intervals of one are found in the other.", hint=hint
        )
    best = max(ways, key=lambda way: (way.counts.score >= task.least_score, len(way.source)))
    what = (
        f"The trains do not match: at best {len(best.source)} of {len(task.source)} and {len(task.target)} pulses pair"
    )
    return PairingRefused(f"{what}, {100 * best.counts.score:.0f} % where they overlap.", hint=hint)


def _ambiguous(task: Task, best: Way, rivals: list[Way], swapped: bool) -> AmbiguousPairing:
    index, partner = sure(task, best)
    others = (way.model.convert(task.source[[index]]) for way in rivals)
    places = {partner, *(int(nearest(task.target, time)[0]) for time in others), *_possible(task, best)}
    return _shifts(places, index, swapped, "The trains fit each other")


def _possible(task: Task, best: Way) -> list[int]:
    """Return the target's pulses that may be the partner of one, judged by a few thousand pulses around it."""
    index, partner = sure(task, best)
    shift, apart = task.prior.expected(task.source[[index]], task.bounds)
    allowed = np.abs(task.target - task.source[index] - shift[0]) <= apart[0] + task.bounds.jitter
    around = seeds.around_both(index, len(task.source))
    found = seeds.sift(task.source, task.target, index, np.flatnonzero(allowed), around, task.bounds, 0).candidates
    found = found[overlaps(task, index, found) >= task.fewest]
    found = found[np.argsort(np.abs(found - partner), kind="stable")][:_MOST_JUDGED]
    part = slice(max(0, index - _JUDGED), index + _JUDGED)
    predicted = best.model.convert(task.source[part])
    local = _moved(task, best, predicted, part, 0.0)
    moves = task.target[found] - task.target[partner]
    ways = (_moved(task, best, predicted, part, move) for move in moves)
    return [int(place) for place, way in zip(found, ways) if not much_worse(local, way)]


def _moved(task: Task, best: Way, predicted: Floats, part: slice, move: float) -> Way:
    """Return what a part of a way would be, moved by some time (s), which may be off by the jitter of a pulse."""
    near = match(predicted + move, task.target, 2 * task.bounds.jitter)
    if len(near[0]):
        move = float(np.median(task.target[near[1]] - predicted[near[0]]))
    source, target = match(predicted + move, task.target, best.tolerance)
    counts, edges = counted(task, predicted + move, part, source, target, best.tolerance)
    return replace(best, source=source, target=target, counts=counts, edges=edges)


def _slipped(slip: Slip, swapped: bool) -> AmbiguousPairing:
    return _shifts(set(slip.targets), slip.source, swapped, "After a pause the trains fit each other")


def _shifts(places: set[int], index: int, swapped: bool, how: str) -> AmbiguousPairing:
    pairs = [(place, index) if swapped else (index, place) for place in places]
    pairs.sort(key=lambda pair: pair[1] - pair[0])
    shifts = [second - first for first, second in pairs]
    named = ", ".join(f"{shift:+d}" for shift in shifts)
    if len(shifts) > _NAMED:
        named = f"{len(shifts)} shifts from {shifts[0]:+d} to {shifts[-1]:+d}"
    what = (
        f"{how} in more than one way; the target's index may be ahead of the source's by: {named} (at pulse {index})."
    )
    hint = "Name an event that both clocks saw (an anchor), or a narrower offset."
    return AmbiguousPairing(what, hint=hint, shifts=tuple(shifts), pairs=tuple(pairs))


def _check_anchors(task: Task, way: Way, anchors: Mapping[str, tuple[float, float]], swapped: bool) -> None:
    """Refuse a pairing that puts an anchor elsewhere."""
    first, last = task.source[way.source[[0, -1]]]
    for name, times in anchors.items():
        time, other = times[::-1] if swapped else times
        beyond = max(first - time, time - last, 0.0)
        allowed = task.prior.accuracy + 2 * task.bounds.jitter + task.bounds.drift * beyond
        apart = float(way.model.convert(time)) - other
        if abs(apart) > allowed:
            what = f"The pulses put the anchor {name} {apart:+.6f} s from where it is; {allowed:.6f} s may be."
            raise PairingRefused(what, hint="Is it the same event on both clocks?")


def _answer(task: Task, way: Way, anchors: Mapping[str, tuple[float, float]], coarse: bool, swapped: bool) -> Pairing:
    alone = [
        np.setdiff1d(np.arange(len(train)), used, assume_unique=True).astype(np.int64)
        for train, used in ((task.source, way.source), (task.target, way.target))
    ]
    paired = [way.source.astype(np.int64), way.target.astype(np.int64)]
    if swapped:
        alone, paired = alone[::-1], paired[::-1]
    told_by = (["anchors " + ", ".join(anchors)] if anchors else []) + (["a coarse offset"] if coarse else [])
    method = f"{' and '.join([*told_by, 'intervals'])}, followed in blocks, within {way.tolerance:.2e} s"
    return Pairing(paired[0], paired[1], alone[0], alone[1], method, way.counts.score, way.tolerance)
