"""Pairing of pulse trains: every true pair and no other, or a typed refusal that says what may be."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adamacs.core.clocks import pairing
from adamacs.core.clocks.pairing import Pairing
from adamacs.core.errors import AdamacsError, AmbiguousPairing, InvalidParameters, PairingRefused
from adamacs.demo import pulses
from adamacs.demo.pulses import Device, Train
from tests.conftest import LONG

SESSIONS = 1000 if LONG else 40
ASKED = 1000  # sessions of irregular trains, over all kinds, and of even ones with an anchor: always tried
JITTER = 25e-6  # s, each device: together about a sample at 20 kHz
Anchors = dict[str, tuple[float, float]]


def uniform(rng: np.random.Generator) -> np.ndarray:
    return np.cumsum(rng.uniform(0.5, 2, rng.integers(60, 1000)))


def exponential(rng: np.random.Generator) -> np.ndarray:
    return np.cumsum(0.01 + rng.exponential(1, rng.integers(60, 1000)))


def trials(rng: np.random.Generator) -> np.ndarray:
    return np.cumsum(rng.uniform(6, 20, rng.integers(30, 300)))


def bursts(rng: np.random.Generator) -> np.ndarray:
    """Frames at 30 Hz, a hundred at a time, with pauses of any length."""
    begins = np.cumsum(rng.uniform(4, 12, rng.integers(20, 40)))
    return (begins[:, None] + np.arange(100) / 30).ravel()


def frames(rng: np.random.Generator) -> np.ndarray:
    return np.arange(rng.integers(300, 3000)) / rng.choice([25, 30, 60, 240])


def seen(events: np.ndarray, rng: np.random.Generator, missing=0.02, extra=0.01) -> tuple[Train, Train, Device]:
    """Return what two devices saw of events, up to a tenth of them lost at either end, and the second device."""
    ends = rng.integers(0, len(events) // 10 + 1, 4)
    clock = {"offset": rng.uniform(-1000, 1000), "drift": rng.uniform(-300, 300) * 1e-6}
    flaws = {"jitter": JITTER, "missing": missing, "extra": extra}
    first = Device(**flaws, late=ends[0], early=ends[1])
    second = Device(**clock, **flaws, late=ends[2], early=ends[3])
    return pulses.observe(events, first, rng), pulses.observe(events, second, rng), second


def anchored(events: np.ndarray, device: Device, rng: np.random.Generator) -> Anchors:
    """Return an event beside the train that both clocks saw."""
    time = rng.uniform(events[0], events[-1])
    return {"gate": (time + rng.normal(0, JITTER), float(pulses.convert(time, device)))}


def pairs_of(found: Pairing) -> list[list[int]]:
    return np.stack([found.source_index, found.target_index], axis=1).tolist()


def assert_true(found: Pairing, source: Train, target: Train, session: int) -> None:
    """Every pair of the same event was found, and no pulse of an event was given to another or to a false pulse.

    Two false pulses that come at the same time, to within the jitter, are an event that both devices saw.
    """
    events = source.events[found.source_index], target.events[found.target_index]
    false = (events[0] == -1) & (events[1] == -1)
    assert np.count_nonzero(false) <= 2, f"session {session}"
    pairs = np.array(pairs_of(found), int).reshape(-1, 2)[~false]
    assert pairs.tolist() == pulses.true_pairs(source, target).tolist(), f"session {session}"


def assert_whole(found: Pairing, source: np.ndarray, target: np.ndarray) -> None:
    """Every pulse is in one pair or alone, and pairs are in order."""
    for paired, alone, train in (
        (found.source_index, found.source_alone, source),
        (found.target_index, found.target_alone, target),
    ):
        assert paired.dtype == alone.dtype == np.int64
        assert np.all(np.diff(paired) > 0)
        assert np.sort(np.concatenate([paired, alone])).tolist() == list(range(len(train)))


@pytest.mark.parametrize("events_of", [uniform, exponential, trials])
def test_irregular_trains_with_lost_and_false_pulses_are_paired_without_a_fault(events_of):
    for seed in range(max(SESSIONS, ASKED // 3 + 1)):
        rng = np.random.default_rng([seed, 1])
        source, target, _ = seen(events_of(rng), rng)
        found = pairing.pair(source.times, target.times)
        assert_true(found, source, target, seed)
        assert_whole(found, source.times, target.times)


def test_periodic_trains_with_an_anchor_are_paired_without_a_fault():
    for seed in range(max(SESSIONS, ASKED)):
        rng = np.random.default_rng([seed, 2])
        events = frames(rng)
        source, target, device = seen(events, rng)
        anchors = anchored(events, device, rng)
        found = pairing.pair(source.times, target.times, anchors=anchors, anchor_accuracy=2e-4, jitter=5e-4)
        assert_true(found, source, target, seed)


def test_bursts_of_frames_are_told_by_their_pauses_or_refused():
    refused, sessions = 0, SESSIONS // 4
    for seed in range(sessions):
        rng = np.random.default_rng([seed, 5])
        source, target, _ = seen(bursts(rng), rng)
        try:
            assert_true(pairing.pair(source.times, target.times), source, target, seed)
        except AmbiguousPairing as error:
            refused += 1
            assert len(error.shifts) >= 2
    assert refused <= sessions / 10


def test_almost_even_trains_are_paired_without_a_fault_or_refused():
    """Stimuli follow each other by a pause that differs by little more than the time stamps are off."""
    paired = 0
    for seed in range(SESSIONS):
        rng = np.random.default_rng([seed, 8])
        events = np.cumsum(2 + rng.uniform(0, 0.015, 60))
        source = pulses.observe(events, Device(offset=-12.0, drift=5e-5, jitter=1.5e-3), rng)
        target = pulses.observe(events, Device(missing=0.02), rng)
        try:
            found = pairing.pair(source.times, target.times, jitter=8e-3)
        except PairingRefused:
            continue
        paired += 1
        assert pairs_of(found) == pulses.true_pairs(source, target).tolist(), f"session {seed}"
    assert paired > SESSIONS / 4


def test_a_periodic_train_without_an_anchor_is_always_refused_as_ambiguous():
    for seed in range(SESSIONS // 4):
        rng = np.random.default_rng([seed, 3])
        source, target, _ = seen(frames(rng), rng)
        with pytest.raises(AmbiguousPairing) as refused:
            pairing.pair(source.times, target.times, jitter=5e-4)
        assert len(refused.value.shifts) >= 2, f"session {seed}"


@pytest.mark.parametrize("count", range(3, 13))
def test_a_handful_of_even_pulses_is_ambiguous_like_any_other_number(count):
    source = 2.0 * np.arange(count)
    for there in (source[:-1], 2.0 * np.arange(count + 1)):
        with pytest.raises(PairingRefused):
            pairing.pair(source, there + 7, jitter=8e-3)


def test_two_trains_without_relation_are_never_paired():
    for seed in range(SESSIONS):
        rng = np.random.default_rng([seed, 4])
        with pytest.raises(PairingRefused):
            pairing.pair(uniform(rng), uniform(rng))


def test_an_ambiguous_pairing_names_exactly_the_shifts_within_the_offset():
    source = np.arange(300) / 30
    with pytest.raises(AmbiguousPairing, match=r"by: -2, -1, \+0, \+1, \+2 \(at pulse 150\)") as refused:
        pairing.pair(source, source + 5, offset=(5.0, 0.07))
    assert refused.value.shifts == (-2, -1, 0, 1, 2)


def test_an_offset_known_to_less_than_half_a_period_is_as_good_as_an_anchor():
    source = np.arange(300) / 30
    found = pairing.pair(source, source[2:] + 5, offset=(5.01, 0.015))
    assert pairs_of(found) == [[place + 2, place] for place in range(298)]
    assert found.source_alone.tolist() == [0, 1]


def test_a_periodic_train_without_any_knowledge_may_be_shifted_by_as_much_as_overlaps():
    source = np.arange(100) / 30
    with pytest.raises(AmbiguousPairing) as refused:
        pairing.pair(source, source, least_overlap=0.8)
    assert refused.value.shifts == tuple(range(-20, 21))


@pytest.mark.parametrize("swap", [False, True])
def test_shifts_are_of_the_targets_index_whichever_train_is_longer(swap):
    longer, shorter = np.arange(110) / 30, np.arange(100) / 30
    source, target = (longer, shorter + 5) if swap else (shorter, longer + 5)
    with pytest.raises(AmbiguousPairing) as refused:
        pairing.pair(source, target, offset=(5.0, 0.04))
    assert refused.value.shifts == (-1, 0, 1)


def test_a_pattern_that_is_repeated_is_ambiguous_by_its_length():
    block = np.cumsum(np.random.default_rng(0).uniform(0.5, 2, 100))
    source = np.concatenate([block, block + 200, block + 400])
    with pytest.raises(AmbiguousPairing) as refused:
        pairing.pair(source, source + 7)
    assert set(refused.value.shifts) == {-100, 0, 100}
    found = pairing.pair(source, source + 7, anchors={"gate": (0.0, 7.0)})
    assert pairs_of(found) == [[place, place] for place in range(300)]


def test_a_pause_longer_than_the_clocks_wander_allows_is_ambiguous_until_an_anchor_stands_after_it():
    source = np.concatenate([np.arange(20_000), np.arange(20_000) + 720_000]) / 240
    target = source * (1 + 80e-6) + 3
    before, after = {"gate": (0.0, 3.0)}, {"gate again": (3000.0, 3000 * (1 + 80e-6) + 3)}
    with pytest.raises(AmbiguousPairing, match="After a pause") as refused:
        pairing.pair(source, target, anchors=before)
    assert 0 in refused.value.shifts
    for known in ({"anchors": before | after}, {"anchors": before, "wander_ppm": 0.1}):
        found = pairing.pair(source, target, **known)
        assert pairs_of(found) == [[place, place] for place in range(40_000)]


def test_a_drift_that_changes_is_followed():
    rng = np.random.default_rng(5)
    source = np.arange(240_000) / 240
    target = source + 3 + 4e-3 * np.sin(source / 600) + rng.normal(0, JITTER, len(source))
    found = pairing.pair(source, target, anchors={"gate": (0.0, 3.0)})
    assert np.array_equal(found.source_index, np.arange(240_000))
    assert np.array_equal(found.target_index, np.arange(240_000))


def test_a_block_of_frames_that_one_side_lost_is_left_alone():
    rng = np.random.default_rng(6)
    source = np.arange(5000) / 30 + rng.normal(0, JITTER, 5000)
    kept = np.delete(np.arange(5000), slice(2000, 2300))
    target = (np.arange(5000) / 30 * (1 - 2e-4) - 50)[kept]
    found = pairing.pair(source, target, anchors={"gate": (100.0, 100 * (1 - 2e-4) - 50)})
    assert found.source_index.tolist() == kept.tolist()
    assert found.source_alone.tolist() == list(range(2000, 2300))


def test_an_anchor_where_one_train_has_not_begun_is_used():
    source, target = np.arange(1000) / 30, (np.arange(1000) / 30 + 9)[300:]
    found = pairing.pair(source, target, anchors={"gate": (0.003, 9.003)})
    assert found.source_alone.tolist() == list(range(300))
    assert np.array_equal(found.source_index - found.target_index, np.full(700, 300))


def test_swapped_trains_give_the_mirrored_pairing():
    rng = np.random.default_rng(7)
    source, target, _ = seen(uniform(rng), rng)
    there, back = pairing.pair(source.times, target.times), pairing.pair(target.times, source.times)
    assert there.source_index.tolist() == back.target_index.tolist()
    assert there.target_alone.tolist() == back.source_alone.tolist()
    assert there.score == pytest.approx(back.score)


@pytest.mark.parametrize("shift", [-1e6, 1e6])
def test_the_zero_of_a_clock_does_not_matter(shift):
    rng = np.random.default_rng(8)
    source, target, _ = seen(uniform(rng), rng)
    assert pairs_of(pairing.pair(source.times, target.times + shift)) == pulses.true_pairs(source, target).tolist()


def test_score_tolerance_and_method_say_how_well_and_how():
    rng = np.random.default_rng(9)
    source, target, device = seen(uniform(rng), rng, missing=0, extra=0)
    found = pairing.pair(source.times, target.times)
    assert found.score == 1
    assert JITTER < found.tolerance < 20 * JITTER
    assert found.method.startswith("intervals, followed")
    zero = {"gate": (0.0, device.offset)}
    assert pairing.pair(source.times, target.times, anchors=zero).method.startswith("anchors gate and intervals")


@pytest.mark.parametrize("count", [0, 1, 2, 3, 4])
def test_a_train_too_short_to_tell_is_refused(count):
    times = np.cumsum(np.random.default_rng(count).uniform(0.5, 2, 50))
    with pytest.raises(PairingRefused):
        pairing.pair(times[:count], times[:count])
    with pytest.raises(PairingRefused):
        pairing.pair(times, times[10 : 10 + count])


def test_one_pulse_and_an_anchor_are_enough():
    found = pairing.pair([5.0], [8.0002], anchors={"gate": (4.0, 7.0)})
    assert pairs_of(found) == [[0, 0]]


def test_half_the_rate_is_another_train():
    source, anchor = np.arange(600) / 60, {"gate": (0.0, 0.0)}
    with pytest.raises(PairingRefused, match="pulses pair"):
        pairing.pair(source, source[::2], anchors=anchor)


def test_an_anchor_that_is_wrong_is_refused():
    rng = np.random.default_rng(10)
    source, target, device = seen(uniform(rng), rng)
    wrong = {"gate": (20.0, device.offset + 20.3)}
    with pytest.raises(PairingRefused, match="at the anchors"):
        pairing.pair(source.times, target.times, anchors=wrong)
    with pytest.raises(PairingRefused, match="gate and lamp contradict"):
        pairing.pair(source.times, target.times, anchors={"gate": (0.0, 0.0), "lamp": (10.0, 11.0)})


def test_a_drift_beyond_its_bound_is_refused():
    source = np.cumsum(np.random.default_rng(11).uniform(0.5, 2, 500))
    with pytest.raises(PairingRefused):
        pairing.pair(source, source * 1.004)
    assert len(pairing.pair(source, source * 1.004, max_drift_ppm=5000).source_index) == 500


def test_pulses_nearer_than_their_jitter_are_refused():
    times = np.cumsum(np.random.default_rng(12).uniform(1e-3, 3e-3, 500))
    with pytest.raises(PairingRefused, match="State a smaller jitter"):
        pairing.pair(times, times)
    assert len(pairing.pair(times, times, jitter=5e-5).source_index) == 500


@pytest.mark.parametrize(
    "times", [[0.0, np.nan, 2.0], [0.0, 0.0, 1.0], [2.0, 1.0, 0.0], [[0.0, 1.0, 2.0]], [0, 1, np.inf]]
)
def test_times_that_do_not_increase_are_refused(times):
    good = np.cumsum(np.random.default_rng(13).uniform(0.5, 2, 50))
    for trains in ((times, good), (good, times)):
        with pytest.raises(PairingRefused):
            pairing.pair(*trains)


@pytest.mark.parametrize(
    "bounds",
    [
        {"jitter": 0.0},
        {"jitter": np.nan},
        {"max_drift_ppm": -1},
        {"wander_ppm": np.inf},
        {"offset": (0.0, -1.0)},
        {"anchors": {"gate": (np.nan, 0.0)}},
        {"anchor_accuracy": -1.0},
    ],
)
def test_a_bound_that_is_none_is_refused(bounds):
    with pytest.raises(InvalidParameters):
        pairing.pair(np.arange(5.0), np.arange(5.0), **bounds)


@pytest.mark.parametrize(
    "events_of", [lambda rng: np.cumsum(rng.uniform(0.02, 0.06, 100_000)), lambda rng: np.arange(100_000) / 30]
)
def test_memory_grows_with_the_trains_and_not_with_their_product(
    events_of: Callable[[np.random.Generator], np.ndarray],
):
    rng = np.random.default_rng(14)
    events = events_of(rng)
    source, target, device = seen(events, rng)
    anchors = anchored(events, device, rng)
    tracemalloc.start()
    try:
        pairing.pair(source.times, target.times, anchors=anchors)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 500 * len(events)  # bytes


steps = st.lists(st.one_of(st.floats(1e-4, 10), st.sampled_from([0.5, 1.0, 2.0])), min_size=1, max_size=40)


@settings(max_examples=1000 if LONG else 100, deadline=None)
@given(steps, steps, st.booleans(), st.sampled_from([None, 0.1, 5.0]))
def test_any_trains_give_a_whole_pairing_or_a_typed_refusal(first, second, anchor, within):
    source, target = np.cumsum(first), np.cumsum(second)
    anchors = {"gate": (source[0], target[0])} if anchor else None
    try:
        found = pairing.pair(source, target, anchors=anchors, offset=within and (0.0, within))
    except AdamacsError:
        return
    assert_whole(found, source, target)
    assert found.score >= pairing.LEAST_SCORE


@pytest.mark.parametrize(("rate", "jitter"), ((25.0, 0.008), (50.0, 0.008), (100.0, 0.0045), (200.0, 0.002)))
def test_even_frames_that_a_computer_stamps_late_are_paired_by_their_first(rate, jitter):
    """It loses a frame of fifty, and what it stamps late, the first maybe, is nearer to the pulse of the next."""
    for seed in range(250 if LONG else 40):
        rng = np.random.default_rng([seed, int(rate)])
        exposed = 0.5 + np.arange(3000) / rate
        late = np.minimum(rng.exponential(jitter / 4, 3000), jitter)
        late[0] *= rng.integers(1, 4)
        late[0] = min(late[0], jitter)
        kept = np.concatenate([[0], np.sort(rng.choice(np.arange(1, 3000), 2939, replace=False))])
        stamps = np.maximum.accumulate((exposed + late)[kept] * (1 + 160e-6 * (rng.random() - 0.5)))
        stamps, at = np.unique(stamps, return_index=True)
        found = pairing.pair(stamps, exposed, anchors={"first": (stamps[0], exposed[0])}, jitter=jitter)
        assert kept[at][found.source_index].tolist() == found.target_index.tolist(), seed
        assert len(found.source_index) > 0.95 * len(stamps), seed
