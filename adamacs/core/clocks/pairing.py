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
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike

from adamacs.core.clocks import mapping, seeds
from adamacs.core.clocks.tracking import FAR, Rate, Slip, track
from adamacs.core.clocks.trains import Bounds, Floats, Indices, Mask, Prior, checked, match, nearest, prior
from adamacs.core.errors import AmbiguousPairing, PairingRefused, UnusableClock

MAX_DRIFT = 500.0  # ppm
WANDER = 5.0  # ppm
JITTER = 1e-3  # s
LEAST_SCORE = 0.8
LEAST_OVERLAP = 0.5
_FEWEST = 3  # pulses, where no anchor is known
_SIGMAS = 6.0  # robust standard deviations within which a pair is one
_NORMAL = 1.4826, 1.645  # median and 90th percentile of absolute normal residuals, in standard deviations
_FINEST = 20  # parts of the jitter: a tolerance is not finer
_MEASURED = 16  # pairs from which on the jitter is measured
_MOST_FOLLOWED = 4_000_000  # pulses, of all ways together
_MOST_CROWDED = 3  # seeds with thousands of candidates, which tell nothing
_PER_SEED = 3  # ways that begin at one seed
_AGREEING = 2  # seeds with one candidate each that are enough
_MARGIN = 5.0, 4.0  # pulses, and standard deviations, by which other ways must be worse
_CHANCE = 1e-4  # expected number of trains without relation that would fit as well
_PAUSE, _EDGE = 3, 3  # intervals that make a pause, and pulses beside one
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


@dataclass(frozen=True)
class _Counts:
    """Pulses of both trains where these overlap, and those of them without a partner."""

    source: int
    target: int
    source_alone: int
    target_alone: int

    @property
    def alone(self) -> int:
        return self.source_alone + self.target_alone

    @property
    def score(self) -> float:
        return 1 - self.alone / max(1, self.source + self.target)


_NOTHING = _Counts(0, 0, 0, 0)


@dataclass(frozen=True)
class _Way:
    """One way through both trains."""

    begin: tuple[int, int]
    model: mapping.ClockModel
    slips: tuple[Slip, ...]
    tolerance: float
    followed: Floats  # s: the source's pulses that led along the way
    source: Indices
    target: Indices
    counts: _Counts
    edges: _Counts  # of the pulses beside pauses

    def partner(self, index: int) -> int | None:
        """Return the target's pulse that a pulse of the source is paired with."""
        at = int(np.searchsorted(self.source, index))
        return int(self.target[at]) if at < len(self.source) and self.source[at] == index else None


@dataclass(frozen=True)
class _Trains:
    """Two trains, the source no longer than the target, and all that is asked of their pairing."""

    source: Floats
    target: Floats
    bounds: Bounds
    prior: Prior
    least_score: float
    least_overlap: float

    @cached_property
    def interval(self) -> float:
        """Median interval of the target (s)."""
        return float(np.median(np.diff(self.target))) if len(self.target) > 1 else math.inf

    @cached_property
    def edges(self) -> tuple[Mask, Mask]:
        """Which pulses of both trains are beside a pause."""
        source, target = (_beside_pauses(train, self.interval) for train in (self.source, self.target))
        return source, target

    @property
    def most_ways(self) -> int:
        """Ways that are followed to their end; fewer where one takes seconds."""
        return int(np.clip(_MOST_FOLLOWED // len(self.source), 4, 12))

    @property
    def fewest(self) -> float:
        """Pairs that a pairing must have."""
        return max(1 if self.prior.anchored else _FEWEST, self.least_overlap * len(self.source))

    def allowed(self, begin: tuple[int, int]) -> bool:
        """Tell whether two pulses may be the same by what is known beforehand."""
        at = self.source[[begin[0]]]
        shift, apart = self.prior.expected(at, self.bounds)
        return bool(abs(self.target[begin[1]] - at[0] - shift[0]) <= apart[0] + self.bounds.jitter)


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
    task = _Trains(*trains, bounds, known, least_score, least_overlap)
    if len(task.source) < (1 if known.anchored else _FEWEST):
        what = f"The shorter train has {len(task.source)} pulses, too few to tell them apart."
        raise PairingRefused(what, hint="Name an event that both clocks saw (an anchor), or record longer.")
    _check_density(task)
    way = _only(task, swapped)
    _check_anchors(task, way, anchors or {}, swapped)
    return _answer(task, way, anchors or {}, offset is not None, swapped)


def _check_density(task: _Trains) -> None:
    """Refuse trains so dense that the next pulse is as near as the right one."""
    most = task.interval / (2 if task.prior.known else 4)
    if task.bounds.jitter >= most:
        what = (
            f"The target's pulses are {task.interval:.2e} s apart, too near for a jitter of {task.bounds.jitter:.2e} s"
        )
        raise PairingRefused(f"{what}; it must be below {most:.2e} s.", hint="State a smaller jitter.")


def _only(task: _Trains, swapped: bool) -> _Way:
    """Return the one way through both trains, or say why there is none or more than one."""
    ways = _ways(task)
    good = [way for way in ways if way.counts.score >= task.least_score and len(way.source) >= task.fewest]
    if not good:
        raise _no_match(task, ways)
    best = max(good, key=_merit)
    if not task.prior.anchored and (chance := _chance(task, best)) > _CHANCE:
        what = f"{len(best.source)} pairs fit, but {chance:.1g} trains without relation would fit as well."
        hint = "Give a smaller jitter, name an event that both clocks saw (an anchor), or record longer."
        raise PairingRefused(what, hint=hint)
    if rivals := [way for way in good if way is not best and _rivals(best, way)]:
        raise _ambiguous(task, best, rivals, swapped)
    if best.slips:
        raise _slipped(best.slips[0], swapped)
    return best


def _ways(task: _Trains) -> list[_Way]:
    """Follow the ways that begin at seeds, then those beside the best; all with the same tolerance."""
    ways: list[_Way] = []
    agreeing = crowded = 0
    for seed in seeds.seeds(task.source, task.target, task.bounds, task.prior):
        begins = _begins(task, seed)
        ways += _followed(task, begins, ways)
        agreeing += len(begins) == 1 and any(_holds(task, way, begins[0]) for way in ways)
        crowded += seed.crowded
        if agreeing >= _AGREEING or len(ways) >= task.most_ways - 1 or (ways and crowded >= _MOST_CROWDED):
            break
    if not ways:
        return []
    best = max(ways, key=_merit)
    for begin in _beside(task, best):
        ways += _followed(task, [begin], ways)
        if any(way.counts.score >= task.least_score and _rivals(best, way) for way in ways if way is not best):
            break  # one is enough to tell nobody which is right
    tolerance = min(way.tolerance for way in ways if len(way.source) >= len(best.source) / 2)
    return [_matched(task, replace(way, tolerance=tolerance)) for way in ways]


def _begins(task: _Trains, seed: seeds.Seed) -> list[tuple[int, int]]:
    """Return the pairs to begin at: of many candidates, the best and others spread over the rest."""
    shares = _overlaps(task, seed.index, seed.candidates)
    order = np.lexsort((-shares, -seed.found))
    most = _PER_SEED
    if seed.crowded:
        order, most = np.argsort(-shares, kind="stable"), 1
    order = order[shares[order] >= task.fewest]
    if len(order) > most:
        order = order[np.linspace(0, len(order) - 1, most).astype(int)]
    return [(seed.index, int(seed.candidates[place])) for place in order]


def _overlaps(task: _Trains, index: int, candidates: Indices) -> Indices:
    """Return how many pulses of the source lie within the target's, where a candidate is the partner of one."""
    moved = task.target[candidates] - task.source[index]
    slack = task.bounds.jitter + task.bounds.drift * (task.source[-1] - task.source[0])
    low = np.searchsorted(task.source, task.target[0] - moved - slack)
    return np.asarray(np.searchsorted(task.source, task.target[-1] - moved + slack, side="right") - low)


def _merit(way: _Way) -> float:
    return len(way.source) - way.counts.alone / 2


def _followed(task: _Trains, begins: Iterable[tuple[int, int]], known: list[_Way]) -> list[_Way]:
    """Follow the ways from some pairs, but those that a known way holds already."""
    found: list[_Way] = []
    for begin in begins:
        if not any(_holds(task, way, begin) for way in known + found) and (way := _follow(task, begin)):
            found.append(way)
    return found


def _holds(task: _Trains, way: _Way, begin: tuple[int, int]) -> bool:
    partner = way.partner(begin[0])
    if partner is not None:
        return partner == begin[1]
    predicted = way.model.convert(task.source[begin[0]])
    return bool(abs(predicted - task.target[begin[1]]) <= way.tolerance and way.counts.score >= task.least_score)


def _beside(task: _Trains, way: _Way) -> list[tuple[int, int]]:
    """Return where ways would begin that are one or two pulses beside another."""
    if len(way.source) == 0:
        return []
    index, partner = _sure(task, way)
    places = [partner + step for step in (-1, 1, -2, 2) if 0 <= partner + step < len(task.target)]
    return [(index, place) for place in places if task.allowed((index, place))]


def _sure(task: _Trains, way: _Way) -> tuple[int, int]:
    """Return the pair that most is known of: nearest to an anchor, or in the middle of the way."""
    apart = task.prior.expected(task.source[way.source], task.bounds)[1]
    at = int(np.argmin(apart)) if task.prior.anchored else len(way.source) // 2
    return int(way.source[at]), int(way.target[at])


def _follow(task: _Trains, begin: tuple[int, int]) -> _Way | None:
    """Follow one way to its end and map it; None where it leads nowhere."""
    bounds = task.bounds
    rate = Rate(0.0, max(bounds.drift, bounds.wander, 1e-12) / 2)
    found = track(task.source, task.target, begin, rate, bounds, task.prior)
    if len(found.source) < task.fewest / 2:
        return None
    try:
        if found.slips and len(found.source) >= _MEASURED:  # the whole recording knows the drift better than its start
            rate = _rate(task.source[found.source], task.target[found.target], bounds)
            found = track(task.source, task.target, begin, rate, bounds, task.prior)
        fit = _fit(task.source[found.source], task.target[found.target])
    except UnusableClock:  # what was followed is no clock
        return None
    followed = task.source[found.source]
    tolerance = _tolerance(np.abs(task.target[found.target] - fit.model.convert(followed)), bounds.jitter)
    way = _Way(begin, fit.model, found.slips, tolerance, followed, found.source, found.target, _NOTHING, _NOTHING)
    return _matched(task, way)


def _rate(source: Floats, target: Floats, bounds: Bounds) -> Rate:
    fit = mapping.fit_linear(source, target, source="source", target="target")
    off = _NORMAL[0] * fit.residuals.median * math.sqrt(12 / fit.used) / (source[-1] - source[0])
    return Rate(fit.model.drift_ppm * 1e-6, max(off, bounds.wander / 2, 1e-12))


def _fit(source: Floats, target: Floats) -> mapping.ClockFit:
    if len(source) == 1:
        return mapping.fit_offset(source, target, source="source", target="target")
    if len(source) < 4 * mapping.LEAST_PAIRS:
        return mapping.fit_linear(source, target, source="source", target="target")
    return mapping.fit_piecewise(source, target, source="source", target="target")


def _tolerance(residuals: Floats, jitter: float) -> float:
    """Return six robust standard deviations (s), no finer than a part of the jitter and no coarser than it."""
    if len(residuals) < _MEASURED:
        return jitter
    sigma = max(_NORMAL[0] * float(np.median(residuals)), float(np.percentile(residuals, 90)) / _NORMAL[1])
    return float(np.clip(_SIGMAS * sigma, jitter / _FINEST, jitter))


def _matched(task: _Trains, way: _Way) -> _Way:
    """Pair by the mapping of a way, within its tolerance, as far as the clocks' wander lets the mapping reach."""
    predicted = way.model.convert(task.source)
    reach = FAR * task.interval / max(task.bounds.wander, 1e-12)
    near = np.abs(way.followed[nearest(way.followed, task.source)] - task.source) <= reach
    source, target = match(predicted, task.target, np.where(near, way.tolerance, -1.0))
    counts, edges = _counted(task, predicted, slice(None), source, target, way.tolerance)
    return replace(way, source=source, target=target, counts=counts, edges=edges)


def _counted(
    task: _Trains, predicted: Floats, part: slice, source: Indices, target: Indices, tolerance: float
) -> tuple[_Counts, _Counts]:
    """Count pulses with and without partners where a part of the source, as predicted, and the target overlap.

    Returns
    -------
    counts, edges
        Of all pulses, and of those beside pauses.
    """
    low, high = max(predicted[0], task.target[0]) - tolerance, min(predicted[-1], task.target[-1]) + tolerance
    numbers: list[list[int]] = [[], []]
    for train, paired, edges in zip((predicted, task.target), (source, target), (task.edges[0][part], task.edges[1])):
        inside = slice(*np.searchsorted(train, [low, high]))
        alone = np.ones(len(train), bool)
        alone[paired] = False
        alone, edge = alone[inside], edges[inside]
        numbers[0] += [len(alone), int(np.count_nonzero(alone))]
        numbers[1] += [int(np.count_nonzero(edge)), int(np.count_nonzero(alone & edge))]
    counts, edge_counts = (_Counts(kind[0], kind[2], kind[1], kind[3]) for kind in numbers)
    return counts, edge_counts


def _beside_pauses(train: Floats, interval: float) -> Mask:
    """Tell which pulses are among the last before a pause, or the first after one."""
    after = np.flatnonzero(np.diff(train) > _PAUSE * interval) + 1
    beside = np.zeros(len(train) + 2 * _EDGE, bool)
    for step in range(-_EDGE, _EDGE):
        beside[after + step + _EDGE] = True
    return beside[_EDGE : len(train) + _EDGE]


def _rivals(best: _Way, other: _Way) -> bool:
    """Tell whether another way pairs otherwise, and is not clearly worse."""
    return len(_shared(best, other)) < len(other.source) - _MARGIN[0] and not _much_worse(best, other)


def _much_worse(best: _Way, other: _Way) -> bool:
    """Tell whether another way is clearly worse: anywhere, or beside pauses, where frames of a burst are told apart."""
    return _worse(best.counts, other.counts) or _worse(best.edges, other.edges)


def _worse(best: _Counts, other: _Counts) -> bool:
    """Tell whether so many more pulses have no partner that chance does not explain it.

    Pulses that miss a partner by chance do so on every way of a periodic train alike, but for those that happen to be
    missing in both trains at once: where n of these are expected, each spares two pulses, and the ways' difference has
    a variance of 2 * 2**2 * n.
    """
    both = best.source_alone * best.target_alone / max(1, min(best.source, best.target))
    expected = best.alone * (other.source + other.target) / max(1, best.source + best.target)
    return other.alone - expected >= _MARGIN[0] + _MARGIN[1] * math.sqrt(8 * both)


def _shared(one: _Way, other: _Way) -> Indices:
    """Return the pulses of the source that two ways pair alike."""
    common, at, there = np.intersect1d(one.source, other.source, assume_unique=True, return_indices=True)
    return np.asarray(common[one.target[at] == other.target[there]])


def _chance(task: _Trains, way: _Way) -> float:
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


def _no_match(task: _Trains, ways: list[_Way]) -> PairingRefused:
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


def _ambiguous(task: _Trains, best: _Way, rivals: list[_Way], swapped: bool) -> AmbiguousPairing:
    index, partner = _sure(task, best)
    others = (way.model.convert(task.source[[index]]) for way in rivals)
    places = {partner, *(int(nearest(task.target, time)[0]) for time in others), *_possible(task, best)}
    return _shifts(places, index, swapped, "The trains fit each other")


def _possible(task: _Trains, best: _Way) -> list[int]:
    """Return the target's pulses that may be the partner of one, judged by a few thousand pulses around it."""
    index, partner = _sure(task, best)
    shift, apart = task.prior.expected(task.source[[index]], task.bounds)
    allowed = np.abs(task.target - task.source[index] - shift[0]) <= apart[0] + task.bounds.jitter
    around = seeds.around_both(index, len(task.source))
    found = seeds.sift(task.source, task.target, index, np.flatnonzero(allowed), around, task.bounds, 0).candidates
    found = found[_overlaps(task, index, found) >= task.fewest]
    found = found[np.argsort(np.abs(found - partner), kind="stable")][:_MOST_JUDGED]
    part = slice(max(0, index - _JUDGED), index + _JUDGED)
    predicted = best.model.convert(task.source[part])
    local = _moved(task, best, predicted, part, 0.0)
    moves = task.target[found] - task.target[partner]
    ways = (_moved(task, best, predicted, part, move) for move in moves)
    return [int(place) for place, way in zip(found, ways) if not _much_worse(local, way)]


def _moved(task: _Trains, best: _Way, predicted: Floats, part: slice, move: float) -> _Way:
    """Return what a part of a way would be, moved by some time (s)."""
    source, target = match(predicted + move, task.target, best.tolerance)
    counts, edges = _counted(task, predicted + move, part, source, target, best.tolerance)
    return replace(best, source=source, target=target, counts=counts, edges=edges)


def _slipped(slip: Slip, swapped: bool) -> AmbiguousPairing:
    return _shifts(set(slip.targets), slip.source, swapped, "After a pause the trains fit each other")


def _shifts(places: set[int], index: int, swapped: bool, how: str) -> AmbiguousPairing:
    shifts = sorted((index - place) if swapped else (place - index) for place in places)
    named = ", ".join(f"{shift:+d}" for shift in shifts)
    if len(shifts) > _NAMED:
        named = f"{len(shifts)} shifts from {shifts[0]:+d} to {shifts[-1]:+d}"
    what = (
        f"{how} in more than one way; the target's index may be ahead of the source's by: {named} (at pulse {index})."
    )
    hint = "Name an event that both clocks saw (an anchor), or a narrower offset."
    return AmbiguousPairing(what, hint=hint, shifts=tuple(shifts))


def _check_anchors(task: _Trains, way: _Way, anchors: Mapping[str, tuple[float, float]], swapped: bool) -> None:
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


def _answer(
    task: _Trains, way: _Way, anchors: Mapping[str, tuple[float, float]], coarse: bool, swapped: bool
) -> Pairing:
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
