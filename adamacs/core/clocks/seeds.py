"""Where to begin: pulses of one train, and those of the other that have the same intervals around them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain

import numpy as np

from adamacs.core.clocks.trains import Bounds, Floats, Indices, Prior, nearest

WINDOW = 24  # pulses around one that are compared
_MOST = {4: 1 << 18, 8: 1 << 16, 16: 1 << 14, WINDOW: 1 << 12}  # candidates that stay after so many pulses
_SHARE = 0.6  # of the pulses around one, which must be found again
_CLOSE = 0.2  # of that share: a candidate that lacks as much against the best is none
_LEAST = 3  # pulses around one that must be seen where nothing else is known
_PLACES = 8  # pulses to begin at, of each kind


@dataclass(frozen=True)
class Seed:
    """A pulse of the source, and the pulses of the target that may be the same.

    Attributes
    ----------
    index
        Of the source's pulse.
    candidates
        Indices of the target's pulses.
    found
        Of each candidate, the share of pulses around it that were found again.
    crowded
        There were more candidates than can be looked at; these are spread over all.
    """

    index: int
    candidates: Indices
    found: Floats
    crowded: bool


def seeds(source: Floats, target: Floats, bounds: Bounds, prior: Prior) -> Iterator[Seed]:
    """Yield seeds, by and by, the most telling pulses first."""
    places = _at_anchors(source, target, bounds, prior) if prior.anchored else _telling(source, bounds)
    for index in places:
        shift, apart = prior.expected(source[[index]], bounds)
        middle, reach = source[index] + shift[0], apart[0] + bounds.jitter
        low, high = np.searchsorted(target, [middle - reach, middle + reach])
        around = around_both(index, len(source))
        yield sift(source, target, index, np.arange(low, high), around, bounds, 0 if prior.known else _LEAST)


def around_both(index: int, count: int) -> list[int]:
    """Return the pulses around one, the nearest first."""
    beside = chain.from_iterable((index + step, index - step) for step in range(1, WINDOW + 1))
    return [place for place in beside if 0 <= place < count][:WINDOW]


def sift(
    source: Floats, target: Floats, index: int, candidates: Indices, around: list[int], bounds: Bounds, least: int
) -> Seed:
    """Keep the candidates around which the source's intervals are found again.

    An interval of d seconds is found again within `drift * d + 2 * jitter`. Pulses that would lie before the first or
    after the last of the target do not count. Single pulses may be missing or extra: six of ten must be there.
    """
    hits, seen = np.zeros(len(candidates), int), np.zeros(len(candidates), int)
    crowded = False
    for number, place in enumerate(around, 1):
        away = source[place] - source[index]
        tolerance = bounds.drift * abs(away) + 2 * bounds.jitter
        expected = target[candidates] + away
        hits += np.abs(target[nearest(target, expected)] - expected) <= tolerance
        seen += (expected >= target[0] - tolerance) & (expected <= target[-1] + tolerance)
        if number in _MOST:
            kept = np.flatnonzero(hits >= (0.5 if number == min(_MOST) else _SHARE) * seen)
            if len(kept) > _MOST[number]:
                kept, crowded = kept[np.linspace(0, len(kept) - 1, _MOST[number]).astype(int)], True
            candidates, hits, seen = candidates[kept], hits[kept], seen[kept]
    found = _alike(source[[index, *around]] - source[index], target, candidates, hits, seen, bounds)
    good = (hits >= _SHARE * seen) & (seen >= least)
    good &= found >= np.max(found[good], initial=0.0) - _CLOSE
    return Seed(index, candidates[good], found[good], crowded)


def _alike(away: Floats, target: Floats, candidates: Indices, hits: Indices, seen: Indices, bounds: Bounds) -> Floats:
    """Return the share of the pulses of both trains, around a pulse and each of its candidates, that were found again.

    Seen from the source alone, a pause is found again in the midst of a burst.
    """
    low, high = target[candidates] + away.min() - 2 * bounds.jitter, target[candidates] + away.max() + 2 * bounds.jitter
    there = np.searchsorted(target, high, side="right") - np.searchsorted(target, low)
    return np.asarray(np.minimum(1.0, 2 * (hits + 1) / (seen + 1 + there)))


def _at_anchors(source: Floats, target: Floats, bounds: Bounds, prior: Prior) -> list[int]:
    """Return pulses near the anchors, the nearest first, of those that the target's recording covers.

    Further ones are ever further apart: a stretch of missing pulses is soon left behind.
    """
    shift, apart = prior.expected(source, bounds)
    reach = apart + bounds.jitter
    covered = np.flatnonzero((source + shift + reach >= target[0]) & (source + shift - reach <= target[-1]))
    chosen = np.unique(np.linspace(0, len(prior.times) - 1, _PLACES).astype(int))
    at = np.searchsorted(source[covered], prior.times[chosen])
    steps = sorted({sign * step for step in (0, 1, 2, 4, 8, 16, 32, 64, 128, 256) for sign in (1, -1)}, key=abs)
    found = dict.fromkeys(int(place) + step for step in steps for place in at)
    return [int(covered[place]) for place in found if 0 <= place < len(covered)]


def _telling(source: Floats, bounds: Bounds) -> list[int]:
    """Return pulses with rare intervals before them, then others spread over the train.

    In a train of bursts only the pauses tell where one is; in a train with false pulses these make the rarest
    intervals, and tell nothing. So both kinds are asked.
    """
    count = len(source)
    spread = np.unique(np.linspace(0, count - 1, _PLACES + 2).astype(int)[1:-1]).tolist()
    rare = _rare(np.diff(source), bounds) if count > 2 else []
    # From the middle outwards: where the trains only overlap in part, the ends have no partner.
    spread.sort(key=lambda place: abs(place - count / 2))
    return list(dict.fromkeys(rare + spread))


def _rare(intervals: Floats, bounds: Bounds) -> list[int]:
    ordered = np.sort(intervals)
    reach = bounds.drift * intervals + 2 * bounds.jitter
    alike = np.searchsorted(ordered, intervals + reach, side="right") - np.searchsorted(ordered, intervals - reach)
    first = np.lexsort((-intervals, alike))[: 4 * _PLACES]
    apart = first[np.linspace(0, len(first) - 1, _PLACES).astype(int)]
    return list(dict.fromkeys((apart + 1).tolist()))
