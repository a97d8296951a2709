"""Counters of few bits and dropped frames: what was taken away is put back, and every repair is on record."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adamacs.core.clocks import counters
from adamacs.core.clocks.counters import Gap
from adamacs.core.errors import InvalidParameters, UnusableClock

PERIOD = 1 / 240  # s, of the motion capture


@given(st.integers(3, 40), st.data())
def test_a_counter_that_wrapped_is_what_it_would_have_been(bits, data):
    most = (1 << bits) // 4
    steps = data.draw(st.lists(st.integers(0, most), max_size=60))
    true = np.cumsum([data.draw(st.integers(0, (1 << bits) - 1)), *steps])
    assert counters.unroll(true % (1 << bits), bits).tolist() == true.tolist()


@given(st.integers(3, 40), st.data())
def test_a_wheel_that_turns_back_is_followed(bits, data):
    most = (1 << bits) // 4
    steps = data.draw(st.lists(st.integers(-most, most), max_size=60))
    true = np.cumsum([data.draw(st.integers(0, (1 << bits) - 1)), *steps])
    assert counters.unroll(true % (1 << bits), bits, two_way=True).tolist() == true.tolist()


@pytest.mark.parametrize("dtype", ["u1", "<u2", ">u4", "i8", "u8"])
def test_a_counter_of_any_integers_is_unrolled(dtype):
    assert counters.unroll(np.array([250, 255, 4, 9], dtype), 8).tolist() == [250, 255, 260, 265]


def test_no_counts_are_no_counts():
    assert counters.unroll(np.empty(0, np.uint8), 8).tolist() == []


def test_a_counter_of_one_bit_tells_every_step():
    assert counters.unroll([0, 1, 0, 1, 1], 1).tolist() == [0, 1, 2, 3, 3]


def test_a_jump_further_than_allowed_is_refused_with_its_place():
    with pytest.raises(UnusableClock, match="after sample 1, further than 64"):
        counters.unroll([0, 1, 200], 8)
    assert counters.unroll([0, 1, 200], 8, largest_step=199).tolist() == [0, 1, 200]
    with pytest.raises(UnusableClock, match="-50 after sample 0"):
        counters.unroll([0, 206], 8, largest_step=49, two_way=True)


@pytest.mark.parametrize("counts", [[256], [-1], [0.5], [[1]], ["1"], [np.nan]])
def test_what_the_counter_cannot_show_is_refused(counts):
    with pytest.raises(UnusableClock):
        counters.unroll(counts, 8)


def test_counts_beyond_any_integer_are_refused():
    with pytest.raises(UnusableClock, match="62 bits"):
        counters.unroll(np.array([0, 1, 0, 1, 0, 1, 0]) * (1 << 61), 62, largest_step=(1 << 62) - 1)


@pytest.mark.parametrize(
    ("bits", "step", "two_way"), [(0, None, False), (63, None, False), (8, 0, False), (8, 128, True)]
)
def test_a_counter_that_cannot_be_unrolled_is_refused(bits, step, two_way):
    with pytest.raises(InvalidParameters):
        counters.unroll([0], bits, largest_step=step, two_way=two_way)


@st.composite
def dropped(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Return the times of all frames, with jitter, and which were kept; the first and last always are."""
    count = draw(st.integers(40, 400))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    times = (np.arange(count) + rng.uniform(-0.1, 0.1, count)) * PERIOD + draw(st.floats(-1000, 1000))
    kept = rng.random(count) >= draw(st.sampled_from([0.0, 0.01, 0.05]))
    kept[[0, -1]] = True
    return times, kept


@given(dropped())
def test_dropped_frames_are_put_back_where_they_were(made):
    times, kept = made
    repaired = counters.repair(times[kept], counters.find_gaps(times[kept]))
    assert len(repaired.times) == len(times)
    assert repaired.inserted.tolist() == np.flatnonzero(~kept).tolist()
    assert np.max(np.abs(repaired.times - times)) < 0.25 * PERIOD
    assert repaired.times[kept].tolist() == times[kept].tolist()
    assert sum(gap.missing for gap in repaired.repairs) == np.count_nonzero(~kept)


@given(dropped(), st.integers(4, 16))
def test_a_frame_counter_tells_the_same_gaps(made, bits):
    times, kept = made
    numbers = np.flatnonzero(kept) % (1 << bits)
    try:
        by_counter = counters.find_gaps_by_counter(times[kept], numbers, bits=bits)
    except UnusableClock:
        assert np.max(np.diff(np.flatnonzero(kept))) > (1 << bits) // 4
        return
    assert by_counter == counters.find_gaps(times[kept])


@given(dropped())
def test_repaired_times_have_no_gap(made):
    times, kept = made
    repaired = counters.repair(times[kept], counters.find_gaps(times[kept]))
    assert counters.find_gaps(repaired.times) == ()
    assert np.all(np.diff(repaired.times) > 0)


def test_every_repair_says_where_how_many_and_between_which_times():
    times = np.array([0.0, 1.0, 2.0, 5.0, 6.0, 8.0, 9.0, 10.0])
    gaps = counters.find_gaps(times)
    assert gaps == (Gap(2, 2, 2.0, 5.0), Gap(4, 1, 6.0, 8.0))
    assert counters.repair(times, gaps).times.tolist() == np.arange(11.0).tolist()
    assert counters.repair(times, gaps).inserted.tolist() == [3, 4, 7]


def test_an_interval_of_one_and_a_half_periods_is_no_gap_and_one_beyond_is():
    times = np.cumsum([0, *[1.0] * 20, 1.5, *[1.0] * 20])
    assert counters.find_gaps(times) == ()
    times[21:] += 1e-6
    assert [gap.missing for gap in counters.find_gaps(times)] == [1]
    assert counters.find_gaps(times, factor=1.6) == ()


def stamped(rng, frames=2000, period=0.02):
    """Return stamps of frames by a computer that is busy now and then, the frames that were lost, and when it was busy.

    A stamp comes some milliseconds late; while the computer is busy none comes, and then all that waited come at once.
    """
    stamps = np.arange(frames) * period + np.minimum(rng.exponential(2e-3, frames), 8e-3)
    busy = rng.uniform(1, frames * period - 2, 5)
    for begin, seconds in zip(busy, rng.uniform(1.6 * period, 6 * period, 5), strict=True):
        waiting = (stamps > begin) & (stamps < begin + seconds)
        stamps[waiting] = begin + seconds
    lost = np.unique(
        np.concatenate([np.arange(at, at + rng.integers(1, 4)) for at in rng.integers(20, frames - 40, 8)])
    )
    kept = np.delete(np.arange(frames), lost)
    return (np.maximum.accumulate(stamps) + np.arange(frames) * 1e-6)[kept], kept, busy


def test_frames_that_were_only_late_are_not_missing():
    for seed in range(50):
        times, kept, busy = stamped(np.random.default_rng(seed))
        assert len(counters.find_gaps(times)) > np.count_nonzero(np.diff(kept) > 1), "late frames look like gaps"
        found = {gap.index: gap.missing for gap in counters.find_gaps(times, settle=10)}
        true = {int(at): int(np.diff(kept)[at]) - 1 for at in np.flatnonzero(np.diff(kept) > 1)}
        assert abs(sum(found.values()) - sum(true.values())) <= 1, seed
        # Of frames that were lost while others waited, nobody can tell which of them they were.
        calm = [at for at in {*found, *true} if np.abs(times[at] - busy).min() > 0.5]
        assert {at: found.get(at) for at in calm} == {at: true.get(at) for at in calm}, seed


def test_the_period_is_the_median_of_the_shortest_intervals():
    times = np.cumsum([0.0, *[1.0] * 9, 100.0])
    assert counters.period_of(times) == 1.0
    assert counters.period_of([0.0, 3.0]) == 3.0


def test_a_pause_is_left_and_listed():
    times = np.concatenate([np.arange(100.0), 5000.0 + np.arange(100.0)])
    repaired = counters.repair(times, counters.find_gaps(times))
    assert repaired.times.tolist() == times.tolist()
    assert (repaired.repairs, repaired.left) == ((), (Gap(99, 4900, 99.0, 5000.0),))
    assert len(counters.repair(times, repaired.left, most_missing=4900).times) == 5100


def test_no_frames_have_no_gaps():
    assert counters.find_gaps([]) == counters.find_gaps([1.0]) == ()
    assert counters.repair([], ()).times.tolist() == []
    with pytest.raises(UnusableClock, match="no period"):
        counters.period_of([1.0])


@pytest.mark.parametrize("times", [[0.0, np.nan], [1.0, 1.0], [2.0, 1.0], [[0.0]]])
def test_times_that_do_not_increase_are_refused(times):
    for function in (counters.find_gaps, counters.period_of, lambda found: counters.repair(found, ())):
        with pytest.raises(UnusableClock):
            function(times)


def test_numbers_of_frames_that_do_not_fit_are_refused():
    times = np.arange(4.0)
    for numbers in ([1, 2, 3], [1, 2, 2, 3], [4, 3, 2, 1], [1.0, 2.0, 3.0, 4.0]):
        with pytest.raises(UnusableClock):
            counters.find_gaps_by_counter(times, numbers)


def test_gaps_of_other_times_are_refused():
    with pytest.raises(UnusableClock, match="not one of these"):
        counters.repair([0.0, 1.0, 2.0], (Gap(0, 1, 0.0, 2.0),))


@pytest.mark.parametrize(("factor", "share"), [(1.0, 0.9), (1.5, 0.0), (1.5, 1.1)])
def test_a_rule_that_tells_nothing_is_refused(factor, share):
    with pytest.raises(InvalidParameters):
        counters.find_gaps([0.0, 1.0], factor=factor, share=share)
