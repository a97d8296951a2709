"""Places of events among samples: fractions between two of them, on evenly and unevenly spaced frames."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adamacs.analysis.numerics.timeline import EVEN, Timeline
from adamacs.core.errors import InvalidRequest, UnusableClock


def pulses(samples=4000, rate=30.0123, board=20_000):
    """Times of frames as a board tells them that samples at 20 kHz."""
    return np.ceil(np.arange(samples) / rate * board) / board


def test_a_place_is_the_fraction_of_the_way_between_two_samples_and_goes_on_beyond_both_ends():
    timeline = Timeline(np.array([0.0, 1.0, 3.0, 4.0]))
    assert timeline.interval == 1.0
    found = timeline.places([[0.25, 2.0], [-0.5, 5.0], [4.0, 0.0]])
    np.testing.assert_array_equal(found, [[0.25, 1.5], [-0.5, 4.0], [3.0, 0.0]])


def test_within_a_gap_and_beyond_the_ends_nothing_was_recorded_but_at_their_samples():
    timeline = Timeline(np.array([0.0, 1.0, 2.0, 12.0, 13.0]))
    found = timeline.at(np.array([-0.1, 0.0, 2.0, 2.1, 11.9, 12.0, 12.5, 13.0, 13.1]))
    np.testing.assert_array_equal(found, [np.nan, 0, 2, np.nan, np.nan, 3, 3.5, 4, np.nan])


def test_lags_are_all_samples_within_the_window_however_the_interval_is_rounded():
    for interval in (1 / 30, 1 / 30 + 1e-6, 1 / 30 - 1e-6):
        timeline = Timeline(np.arange(10) * interval)
        np.testing.assert_array_equal(timeline.lags((-1.0, 2.0)), np.arange(-30, 61))
    np.testing.assert_array_equal(Timeline(np.arange(3.0)).lags((0.2, 3.9)), [1, 2, 3])


@pytest.mark.parametrize("window", [(0.1, 0.9), (2.0, 1.0), (np.nan, 1.0), (-np.inf, 1.0)])
def test_a_window_without_a_sample_is_refused(window):
    with pytest.raises(InvalidRequest, match="window"):
        Timeline(np.arange(5.0)).lags(window)


@pytest.mark.parametrize("times", [[], [1.0], [0.0, 1.0, 1.0], [0.0, 2.0, 1.0], [0.0, np.nan, 1.0]])
def test_times_that_do_not_increase_are_no_timeline(times):
    with pytest.raises(UnusableClock, match="increase"):
        Timeline(np.array(times))


@given(
    st.integers(0, 2**32 - 1),
    st.integers(2, 300),
    st.integers(-40, 20),
    st.integers(1, 60),
    st.floats(0, 0.4),
)
def test_unevenness_is_never_below_how_far_a_sample_truly_lies_from_its_lag(seed, samples, first, width, jitter):
    rng = np.random.default_rng(seed)
    times = np.arange(samples) + rng.uniform(-jitter, jitter, samples)
    times[rng.integers(samples) :] += rng.choice([0.0, 0.3, 5.0])
    timeline, lags = Timeline(times, 1.0), np.arange(first, first + width)
    events = rng.uniform(times[0] - 30, times[-1] + 30, 20)
    places = timeline.places(events)
    evenness = timeline.evenness(lags)
    told = evenness.of(places)
    assert told.max() <= evenness.greatest
    for event, place, most in zip(events, places, told, strict=True):
        index = np.arange(samples)
        near = (index > place + lags[0] - 1) & (index < place + lags[-1] + 1)
        off = np.abs(times[near] - event - (index[near] - place))
        assert off.max(initial=0.0) <= most + 1e-9


def test_pulses_of_a_real_frame_clock_are_even_and_a_lost_frame_is_not():
    times = pulses()
    lags = np.arange(-30, 61)
    assert Timeline(times).interval == pytest.approx(1 / 30.0123, abs=1e-7)
    assert Timeline(times).evenness(lags).greatest < 1e-4 < EVEN / 30
    evenness = Timeline(np.delete(times, 200)).evenness(lags)
    assert evenness.greatest > evenness.allowed
    far_from_it = evenness.of(np.array([10.0, 380.0]))
    assert far_from_it[0] < evenness.allowed
