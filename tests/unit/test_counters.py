"""Counters of few bits and dropped frames: what was taken away is put back, and every repair is on record."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from adamacs.core.clocks import counters
from adamacs.core.clocks.counters import Gap
from adamacs.core.errors import InvalidParameters, UnusableClock

PERIOD = 1 / 240  # s, of the motion capture


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


@given(dropped(), st.integers(8, 16), st.integers(0, 2**16))
def test_a_frame_counter_tells_the_same_gaps_though_it_begins_anew(made, bits, first):
    times, kept = made
    numbers = counters.counted_on((np.flatnonzero(kept) + first) % (1 << bits), bits)
    assert counters.find_gaps_by_counter(times[kept], numbers) == counters.find_gaps(times[kept])


@given(st.integers(8, 40), st.lists(st.integers(1, 60), min_size=1, max_size=60), st.data())
def test_a_counter_that_began_anew_is_what_it_would_have_been(bits, steps, data):
    true = np.cumsum([data.draw(st.integers(0, (1 << bits) - 1)), *steps])
    shown = true % (1 << bits)
    assume((np.diff(shown) > 0).any())  # else nothing tells what a usual step is
    assert counters.counted_on(shown, bits).tolist() == true.tolist()


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
