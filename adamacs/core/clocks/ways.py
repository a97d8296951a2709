"""Ways through two trains of pulses: where they begin, where they lead, and which are worse than others."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from adamacs.core.clocks import mapping, seeds
from adamacs.core.clocks.tracking import FAR, Rate, Slip, track
from adamacs.core.clocks.trains import Bounds, Floats, Indices, Mask, Prior, match, nearest
from adamacs.core.errors import UnusableClock

FEWEST = 3  # pulses, where no anchor is known
_SIGMAS = 6.0  # robust standard deviations within which a pair is one
_NORMAL = 1.4826, 1.645  # median and 90th percentile of absolute normal residuals, in standard deviations
_FINEST = 20  # parts of the jitter: a tolerance is not finer
_MEASURED = 16  # pairs from which on the jitter is measured
_MOST_FOLLOWED = 4_000_000  # pulses, of all ways together
_MOST_CROWDED = 3  # seeds with thousands of candidates, which tell nothing
_PER_SEED = 3  # ways that begin at one seed
_SHORT = 1000  # pulses, up to which ways are looked for everywhere
_AGREEING = 2  # seeds with one candidate each that are enough
_MARGIN = 5.0, 4.0  # pulses, and standard deviations, by which other ways must be worse
_PAUSE, _EDGE = 3, 3  # intervals that make a pause, and pulses beside one


@dataclass(frozen=True)
class Counts:
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


_NOTHING = Counts(0, 0, 0, 0)


@dataclass(frozen=True)
class Way:
    """One way through both trains."""

    begin: tuple[int, int]
    model: mapping.ClockModel
    slips: tuple[Slip, ...]
    tolerance: float
    followed: Floats  # s: the source's pulses that led along the way
    source: Indices
    target: Indices
    counts: Counts
    edges: Counts  # of the pulses beside pauses

    def partner(self, index: int) -> int | None:
        """Return the target's pulse that a pulse of the source is paired with."""
        at = int(np.searchsorted(self.source, index))
        return int(self.target[at]) if at < len(self.source) and self.source[at] == index else None


@dataclass(frozen=True)
class Task:
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
        return max(1 if self.prior.anchored else FEWEST, self.least_overlap * len(self.source))

    def allowed(self, begin: tuple[int, int]) -> bool:
        """Tell whether two pulses may be the same by what is known beforehand."""
        at = self.source[[begin[0]]]
        shift, apart = self.prior.expected(at, self.bounds)
        return bool(abs(self.target[begin[1]] - at[0] - shift[0]) <= apart[0] + self.bounds.jitter)


def find_ways(task: Task) -> list[Way]:
    """Follow the ways that begin at seeds, then those beside the best; all with the same tolerance."""
    ways: list[Way] = []
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
    best: Way | None = None
    while (top := max(ways, key=merit)) is not best:  # beside a better one there may be one that is better still
        best = top
        for begin in _beside(task, best):
            ways += _followed(task, [begin], ways)
            if len(task.target) > _SHORT and any(is_good(task, way) and rival(best, way) for way in ways):
                break  # one is enough to tell nobody which is right
    tolerance = min(way.tolerance for way in ways if len(way.source) >= len(best.source) / 2)
    return [_matched(task, replace(way, tolerance=tolerance)) for way in ways]


def _begins(task: Task, seed: seeds.Seed) -> list[tuple[int, int]]:
    """Return the pairs to begin at: of many candidates, the best and others spread over the rest."""
    shares = overlaps(task, seed.index, seed.candidates)
    order = np.lexsort((-shares, -seed.found))
    most = _PER_SEED
    if seed.crowded:
        order, most = np.argsort(-shares, kind="stable"), 1
    order = order[shares[order] >= task.fewest]
    if len(order) > most:
        order = order[np.linspace(0, len(order) - 1, most).astype(int)]
    return [(seed.index, int(seed.candidates[place])) for place in order]


def overlaps(task: Task, index: int, candidates: Indices) -> Indices:
    """Return how many pulses of the source lie within the target's, where a candidate is the partner of one."""
    moved = task.target[candidates] - task.source[index]
    slack = task.bounds.jitter + task.bounds.drift * (task.source[-1] - task.source[0])
    low = np.searchsorted(task.source, task.target[0] - moved - slack)
    return np.asarray(np.searchsorted(task.source, task.target[-1] - moved + slack, side="right") - low)


def is_good(task: Task, way: Way) -> bool:
    """Tell whether a way is what was asked for: no other can be the answer, or make it ambiguous."""
    return way.counts.score >= task.least_score and len(way.source) >= task.fewest


def merit(way: Way) -> float:
    return len(way.source) - way.counts.alone / 2


def _followed(task: Task, begins: Iterable[tuple[int, int]], known: list[Way]) -> list[Way]:
    """Follow the ways from some pairs, but those that a known way holds already."""
    found: list[Way] = []
    for begin in begins:
        if not any(_holds(task, way, begin) for way in known + found) and (way := _follow(task, begin)):
            found.append(way)
    return found


def _holds(task: Task, way: Way, begin: tuple[int, int]) -> bool:
    partner = way.partner(begin[0])
    if partner is not None:
        return partner == begin[1]
    predicted = way.model.convert(task.source[begin[0]])
    return bool(abs(predicted - task.target[begin[1]]) <= way.tolerance and way.counts.score >= task.least_score)


def _beside(task: Task, way: Way) -> list[tuple[int, int]]:
    """Return where ways would begin that are one or two pulses beside another.

    Of short trains, which can be looked at from every side, also those that are further away and not clearly worse: a
    train of almost even intervals fits well in many places, and its seeds tell little.
    """
    if len(way.source) == 0:
        return []
    index, partner = sure(task, way)
    places = [partner + step for step in (-1, 1, -2, 2) if 0 <= partner + step < len(task.target)]
    if len(task.target) <= _SHORT:
        least = merit(way) - _MARGIN[0]
        places += [place for place in _others(task, partner) if _possible(task, index, place) >= least]
    return [(index, place) for place in places if task.allowed((index, place))]


def _others(task: Task, partner: int) -> list[int]:
    """Return the target's pulses that are more than two away from one, the nearest first."""
    return sorted(
        (place for place in range(len(task.target)) if abs(place - partner) > 2), key=lambda p: abs(p - partner)
    )


def _possible(task: Task, index: int, place: int) -> int:
    """Return how many pulses might pair on the way through a pair, at whatever drift."""
    away = task.source - task.source[index]
    tolerance = 2 * task.bounds.jitter + task.bounds.drift * np.abs(away)
    return len(match(task.target[place] + away, task.target, tolerance)[0])


def sure(task: Task, way: Way) -> tuple[int, int]:
    """Return the pair that most is known of: nearest to an anchor, or in the middle of the way."""
    apart = task.prior.expected(task.source[way.source], task.bounds)[1]
    at = int(np.argmin(apart)) if task.prior.anchored else len(way.source) // 2
    return int(way.source[at]), int(way.target[at])


def _follow(task: Task, begin: tuple[int, int]) -> Way | None:
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
    way = Way(begin, fit.model, found.slips, tolerance, followed, found.source, found.target, _NOTHING, _NOTHING)
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


def _matched(task: Task, way: Way) -> Way:
    """Pair by the mapping of a way, within its tolerance, as far as the clocks' wander lets the mapping reach."""
    predicted = way.model.convert(task.source)
    reach = FAR * task.interval / max(task.bounds.wander, 1e-12)
    near = np.abs(way.followed[nearest(way.followed, task.source)] - task.source) <= reach
    source, target = match(predicted, task.target, np.where(near, way.tolerance, -1.0))
    counts, edges = counted(task, predicted, slice(None), source, target, way.tolerance)
    return replace(way, source=source, target=target, counts=counts, edges=edges)


def counted(
    task: Task, predicted: Floats, part: slice, source: Indices, target: Indices, tolerance: float
) -> tuple[Counts, Counts]:
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
    counts, edge_counts = (Counts(kind[0], kind[2], kind[1], kind[3]) for kind in numbers)
    return counts, edge_counts


def _beside_pauses(train: Floats, interval: float) -> Mask:
    """Tell which pulses are among the last before a pause, or the first after one."""
    after = np.flatnonzero(np.diff(train) > _PAUSE * interval) + 1
    beside = np.zeros(len(train) + 2 * _EDGE, bool)
    for step in range(-_EDGE, _EDGE):
        beside[after + step + _EDGE] = True
    return beside[_EDGE : len(train) + _EDGE]


def rival(best: Way, other: Way) -> bool:
    """Tell whether another way pairs otherwise, and is not clearly worse."""
    otherwise = min(_MARGIN[0], len(other.source) / 2)  # of a handful of pulses, half
    return len(_shared(best, other)) < len(other.source) - otherwise and not much_worse(best, other)


def much_worse(best: Way, other: Way) -> bool:
    """Tell whether another way is clearly worse: anywhere, or beside pauses, where frames of a burst are told apart."""
    return _worse(best.counts, other.counts) or _worse(best.edges, other.edges)


def _worse(best: Counts, other: Counts) -> bool:
    """Tell whether so many more pulses have no partner that chance does not explain it.

    Pulses that miss a partner by chance do so on every way of a periodic train alike, but for those that happen to be
    missing in both trains at once: where n of these are expected, each spares two pulses, and the ways' difference has
    a variance of 2 * 2**2 * n.
    """
    both = best.source_alone * best.target_alone / max(1, min(best.source, best.target))
    expected = best.alone * (other.source + other.target) / max(1, best.source + best.target)
    return other.alone - expected >= _MARGIN[0] + _MARGIN[1] * math.sqrt(8 * both)


def _shared(one: Way, other: Way) -> Indices:
    """Return the pulses of the source that two ways pair alike."""
    common, at, there = np.intersect1d(one.source, other.source, assume_unique=True, return_indices=True)
    return np.asarray(common[one.target[at] == other.target[there]])
