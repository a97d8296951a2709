"""Passes through a set of stimuli: the trials of a log that knows stimuli alone."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Indices = NDArray[np.int64]

_WORK = 20_000_000  # presentations that are counted: of a log of a million, few lengths of a pass are looked at


def find_passes(stimuli: ArrayLike) -> Indices:
    """Number the passes through all stimuli.

    A pass is so many presentations in a row that each pass holds every stimulus, and each as often as the first pass
    does; the shortest such length is taken, and the last pass may be cut off. Where no length does that, as where rare
    stimuli come at random, there are as many passes as the rarest stimulus has presentations, all of one length: the
    lab's rule, stimuli per trial = total / least number of repeats.

    Parameters
    ----------
    stimuli
        (presentation,): the number of the stimulus that was shown.

    Returns
    -------
    int64, (presentation,): the pass of each, 1 for the first; 0 everywhere where neither rule makes passes.
    """
    kinds, place = np.unique(np.asarray(stimuli, np.int64), return_inverse=True)
    count = len(place)
    if not count:
        return np.zeros(0, np.int64)
    length = _even(place, len(kinds)) or _by_the_rarest(place)
    return np.arange(count) // length + 1 if length else np.zeros(count, np.int64)


def _even(place: Indices, kinds: int) -> int:
    """Return the shortest length of passes that are alike, of which two are whole; 0 for none."""
    longest = min(len(place) // 2, kinds + _WORK // len(place))
    return next((length for length in range(kinds, longest + 1) if _are_alike(place, length, kinds)), 0)


def _are_alike(place: Indices, length: int, kinds: int) -> bool:
    """Tell whether passes of a length hold every stimulus, each as often as the first pass does."""
    first, second = (np.bincount(place[at : at + length], minlength=kinds) for at in (0, length))
    return bool(first.all() and np.array_equal(first, second)) and _all_alike(place, length, first)


def _all_alike(place: Indices, length: int, first: Indices) -> bool:
    """Tell whether every whole pass is like the first one, and the rest no more than a part of it."""
    whole = len(place) // length
    passes = np.arange(whole * length) // length
    table = np.bincount(passes * len(first) + place[: whole * length], minlength=whole * len(first))
    rest = np.bincount(place[whole * length :], minlength=len(first))
    return bool((table.reshape(whole, -1) == first).all() and (rest <= first).all())


def _by_the_rarest(place: Indices) -> int:
    passes = int(np.bincount(place).min())
    return len(place) // passes if len(place) % passes == 0 else 0
