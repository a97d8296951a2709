"""Pulses of several kinds: levels and equal counts tell what even intervals leave open, and never anything wrong."""

from __future__ import annotations

import numpy as np
import pytest

from adamacs.core.clocks import kinds as of_kinds
from adamacs.core.clocks import pairing
from adamacs.core.clocks.kinds import Kinds
from adamacs.core.errors import AmbiguousPairing, PairingRefused

JITTER = 0.008  # s


def a_show(rng: np.random.Generator, passes: int = 5, spread: float = 0.0) -> tuple[np.ndarray, np.ndarray, Kinds]:
    """Return when eight stimuli were written down and seen, and what both were."""
    numbers = np.concatenate([rng.permutation(8) for _ in range(passes)])
    onsets = 1 + np.cumsum(2 + spread * rng.random(len(numbers)))
    told = (onsets + np.minimum(rng.exponential(0.002, len(numbers)), 0.006)) * (1 + 5e-5) - 12
    return told, onsets, Kinds(numbers + 1, 0.4 + 0.3 * numbers + rng.normal(0, 0.01, len(numbers)), 0.1)


def without(kinds: Kinds, lost: list[int]) -> Kinds:
    return Kinds(kinds.source, np.delete(kinds.levels, lost), kinds.resolution)


@pytest.mark.parametrize("lost", [[0], [39], [3, 17], []])
def test_levels_tell_stimuli_apart_that_follow_each_other_evenly(lost):
    told, onsets, kinds = a_show(np.random.default_rng(0))
    seen = np.delete(onsets, lost)
    with pytest.raises(AmbiguousPairing):
        pairing.pair(told, seen, jitter=JITTER)
    found = of_kinds.pair(told, seen, kinds=without(kinds, lost), jitter=JITTER)
    assert found.source_index.tolist() == np.delete(np.arange(40), lost).tolist()
    assert found.target_index.tolist() == list(range(len(seen)))


def test_each_possible_pairing_is_told_by_a_pair_of_its_own():
    told, onsets, _ = a_show(np.random.default_rng(0))
    for one, other in ((told, onsets[2:]), (told[2:], onsets)):
        with pytest.raises(AmbiguousPairing) as refused:
            pairing.pair(one, other, jitter=JITTER)
        assert [second - first for first, second in refused.value.pairs] == list(refused.value.shifts)


def test_a_sequence_that_repeats_in_the_same_order_stays_ambiguous():
    onsets = 2.0 * np.arange(40)
    numbers = np.arange(40) % 8
    kinds = Kinds(numbers, 0.4 + 0.3 * numbers[1:], 0.1)
    with pytest.raises(AmbiguousPairing):
        of_kinds.pair(onsets, onsets[1:] + 5, kinds=kinds, by_counts=True, jitter=JITTER)


def test_levels_of_no_meaning_choose_nothing():
    rng = np.random.default_rng(1)
    for _ in range(10):
        told, onsets, kinds = a_show(rng)
        noise = Kinds(kinds.source, rng.permutation(kinds.levels)[1:], 0.1)
        with pytest.raises(AmbiguousPairing):
            of_kinds.pair(told, onsets[1:], kinds=noise, jitter=JITTER)


def test_equal_counts_tell_an_even_train_where_nothing_contradicts_them():
    told, onsets, kinds = a_show(np.random.default_rng(2))
    found = of_kinds.pair(told, onsets, by_counts=True, jitter=JITTER)
    assert found.method.startswith("in order, as both have 40 pulses")
    assert found.source_index.tolist() == found.target_index.tolist() == list(range(40))
    shifted = np.append(onsets[1:], onsets[-1] + 2)  # one was lost, and there is one too many
    moved = Kinds(kinds.source, np.append(kinds.levels[1:], 0.4), 0.1)
    found = of_kinds.pair(told, shifted, kinds=moved, by_counts=True, jitter=JITTER)
    assert found.source_index.tolist() == list(range(1, 40)), "levels go before counts"
    with pytest.raises(PairingRefused):
        of_kinds.pair(told, onsets[:-1], by_counts=True, jitter=JITTER)


def test_equal_counts_do_not_pair_what_intervals_contradict():
    rng = np.random.default_rng(3)
    for _ in range(10):
        one, other = (np.cumsum(rng.uniform(0.5, 2, 6)) for _ in range(2))
        with pytest.raises(PairingRefused):
            of_kinds.pair(one, other, by_counts=True, jitter=JITTER)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_too_few_to_be_told_by_intervals_are_paired_by_counts(count):
    onsets = np.array([1.0, 2.5, 5.0])[:count]
    with pytest.raises(PairingRefused):
        pairing.pair(onsets, onsets + 7, jitter=JITTER)
    assert len(of_kinds.pair(onsets, onsets + 7, by_counts=True, jitter=JITTER).source_index) == count


def test_a_level_on_the_border_of_two_steps_is_one_level():
    numbers = np.array([1, 2, 1, 2, 1, 2])
    kinds = Kinds(numbers, np.array([0.349, 0.9, 0.351, 0.9, 0.349, 0.9]), 0.1)
    everything = np.arange(6)
    assert kinds.agree(everything, everything).all()
    assert set(kinds.steps.tolist()) == {3, 4, 9}


def test_whatever_disagrees_with_the_rest_is_named():
    numbers = np.repeat([1, 2, 3], 4)
    levels = 0.5 * numbers
    levels[5] = 1.5
    everything = np.arange(12)
    assert np.flatnonzero(~Kinds(numbers, levels, 0.1).agree(everything, everything)).tolist() == [5]
    shared = Kinds(numbers, np.where(numbers == 3, 1.0, 0.5 * numbers), 0.1)
    assert np.count_nonzero(~shared.agree(everything, everything)) == 4, "two stimuli of one level are not told apart"


def test_one_level_for_everything_tells_nothing():
    assert not Kinds(np.array([1, 2, 3]), np.full(3, 5.0), 0.1).tell
    assert Kinds(np.array([1, 2, 3]), np.array([5.0, 5.0, 1.0]), 0.1).tell


def test_intervals_that_levels_contradict_all_through_are_refused_and_single_levels_are_not():
    told, onsets, kinds = a_show(np.random.default_rng(4), spread=1.0)
    some = Kinds(kinds.source, np.concatenate([np.roll(kinds.levels[:4], 1), kinds.levels[4:]]), 0.1)
    assert len(of_kinds.pair(told, onsets, kinds=some, jitter=JITTER).source_index) == 40
    with pytest.raises(PairingRefused, match=r"of which \d+ have levels of others") as refused:
        of_kinds.pair(told, onsets, kinds=Kinds(kinds.source, np.roll(kinds.levels, 1), 0.1), jitter=JITTER)
    assert 'stimuli = "each"' in str(refused.value)


def test_shifts_are_named_although_the_pulses_that_tell_of_them_were_late():
    for seed in range(10):
        rng = np.random.default_rng([seed, 6])
        onsets = 2.0 * np.arange(30)
        late = np.minimum(rng.exponential(0.002, 30), 0.006)
        late[rng.integers(0, 30, 4)] = 0.0075
        with pytest.raises(AmbiguousPairing) as refused:
            pairing.pair(onsets[2:] - 12, onsets + late, jitter=JITTER)
        assert set(refused.value.shifts) >= set(range(-10, 13)), f"session {seed}"
