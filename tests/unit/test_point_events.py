"""Points around events and their rates are those that a loop over all of them counts."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adamacs.analysis.numerics.point_events import bins, raster, rates
from adamacs.analysis.numerics.weights import Events
from adamacs.core.errors import InvalidRequest

WINDOW = (-1.0, 2.0)


@st.composite
def sessions(draw):
    """Points and events on quarters of a second, so that they meet edges of bins, and limits for some."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    points, times = (rng.integers(-40, 200, draw(st.integers(0, 80))) / 4 for _ in range(2))
    if draw(st.booleans()):
        shorter = rng.integers(0, 12, (2, len(times))) / 4
        return points, Events(times, times - shorter[0], times + shorter[1]), rng
    return points, Events(times), rng


def holds(events, number, time):
    return events.first is None or bool(events.first[number] <= time <= events.last[number])


@given(sessions())
def test_every_point_within_the_window_is_told_with_each_event_that_it_is_near(session):
    points, events, _ = session
    found = raster(points, events, WINDOW)
    expected = []
    for number, event in enumerate(events.times):
        for point in np.sort(points):
            if WINDOW[0] <= point - event < WINDOW[1] and holds(events, number, point):
                expected.append((number, point - event))
    assert list(zip(found.event.tolist(), found.lag.tolist(), strict=True)) == expected


@settings(deadline=None)
@given(sessions(), st.sampled_from([0.25, 0.5, 1.0]))
def test_a_rate_is_the_mean_over_events_of_the_points_in_each_bin(session, width):
    points, events, rng = session
    conditions = rng.integers(-1, 2, len(events))
    edges, recorded = bins(WINDOW, width), ((-5.0, 12.0), (13.5, 45.0))
    near = raster(points, events, WINDOW)
    found = rates(near, events, edges, conditions=conditions, count=2, recorded=recorded)
    for condition in range(2):
        for number, (left, right) in enumerate(pairwise(edges)):
            counts = [
                np.count_nonzero((points >= event + left) & (points < event + right)) / width
                for at, event in enumerate(events.times)
                if conditions[at] == condition
                and any(begin <= event + left and event + right <= end for begin, end in recorded)
                and holds(events, at, event + left)
                and holds(events, at, event + right)
            ]
            assert found.counted[condition, number] == len(counts)
            if counts:
                assert found.rate[condition, number] == pytest.approx(np.mean(counts))
            if len(counts) > 1:
                error = np.std(counts, ddof=1) / np.sqrt(len(counts))
                assert found.sem[condition, number] == pytest.approx(error, abs=1e-9)
    assert np.isnan(found.rate[found.counted == 0]).all()
    assert np.isnan(found.sem[found.counted < 2]).all()


def test_bins_meet_at_the_event_and_stay_within_the_window():
    np.testing.assert_allclose(bins((-1.0, 2.0), 0.05), np.arange(-20, 41) * 0.05)
    np.testing.assert_allclose(bins((-0.52, 0.31), 0.1), np.arange(-5, 4) * 0.1)


@pytest.mark.parametrize(("window", "width"), [((0.0, 0.1), 0.2), ((0, 1), 0.0), ((0, 1), -1.0), ((0, np.inf), 1.0)])
def test_a_window_without_a_bin_is_refused(window, width):
    with pytest.raises(InvalidRequest, match="bin"):
        bins(window, width)


def test_too_many_pairs_are_refused_before_they_take_memory():
    with pytest.raises(InvalidRequest, match="1000000 points"):
        raster(np.zeros(1000), Events(np.zeros(1000)), WINDOW, most=999_999)
