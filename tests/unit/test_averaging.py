"""Averages around events are those of the single trials, which are looked up one by one here."""

from __future__ import annotations

import tracemalloc
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adamacs.analysis.numerics import averaging
from adamacs.analysis.numerics.averaging import aligned, average, require_room
from adamacs.analysis.numerics.timeline import GAP, Timeline
from adamacs.analysis.numerics.weights import Events
from adamacs.core.errors import InvalidRequest

LAGS = np.arange(-5, 9)


def single_trials(signal, timeline, events, lags):
    """Look up each lag of each event by its own time, (event, row, lag); NaN where there is no value."""
    times, last = timeline.times, len(timeline) - 1
    found = np.full((len(events), len(signal), len(lags)), np.nan)
    for number, event in enumerate(events.times):
        for column, lag in enumerate(lags):
            time = event + lag * timeline.interval
            is_own = events.first is None or events.first[number] <= time <= events.last[number]
            if not is_own or not times[0] <= time <= times[-1]:
                continue
            left = min(int(np.searchsorted(times, time, side="right")) - 1, last)
            if time == times[left]:
                found[number, :, column] = signal[:, left]
            elif times[left + 1] - times[left] <= GAP * timeline.interval:
                part = (time - times[left]) / (times[left + 1] - times[left])
                found[number, :, column] = signal[:, left] * (1 - part) + signal[:, left + 1] * part
    return found


def mean_and_error(trials):
    """Return mean, standard error and number over the first axis, as numpy has them."""
    number = np.count_nonzero(~np.isnan(trials), axis=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of no or one trial
        return np.nanmean(trials, axis=0), np.nanstd(trials, axis=0, ddof=1) / np.sqrt(number), number


def agree(found, trials, tolerance=1e-10):
    """Compare one condition of an average with its trials."""
    mean, error, number = mean_and_error(trials)
    np.testing.assert_allclose(found.counted[0], number, atol=1e-9)
    np.testing.assert_allclose(found.mean[0], mean, atol=tolerance)
    np.testing.assert_allclose(found.sem[0], np.where(number > 1, error, np.nan), atol=30 * np.sqrt(tolerance) * 1e-2)


@st.composite
def recordings(draw):
    """Samples a quarter of a second apart, with gaps here and there, and events on, between and beyond them.

    All times are exact in binary, so that events fall on samples as often as between them.
    """
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    steps = rng.choice([0.25, 0.5, 3.0], draw(st.integers(1, 120)), p=[0.96, 0.02, 0.02])
    timeline = Timeline(np.concatenate([[0.0], np.cumsum(steps)]), 0.25)
    events = rng.integers(-80, 16 * int(timeline.times[-1]) + 80, draw(st.integers(0, 40))) / 16
    first = draw(st.integers(-12, 6))
    return timeline, events, np.arange(first, first + draw(st.integers(1, 12))), rng


@settings(max_examples=80, deadline=None)
@given(recordings(), st.booleans())
def test_the_average_is_that_of_the_single_trials(recording, limited):
    timeline, times, lags, rng = recording
    events = Events(times)
    if limited:
        events = Events(times, times - rng.integers(0, 12, len(times)) / 4, times + rng.integers(0, 12, len(times)) / 4)
    signal = rng.normal(size=(3, len(timeline)))
    trials = single_trials(signal, timeline, events, lags)
    agree(average(signal, timeline, events, lags), trials)
    np.testing.assert_allclose(aligned(signal, timeline, events, lags), trials, atol=1e-12)


@settings(max_examples=30, deadline=None)
@given(recordings())
def test_blocks_chunks_and_the_order_of_events_change_nothing(recording):
    timeline, times, lags, rng = recording
    signal = rng.normal(size=(2, len(timeline)))
    whole = average(signal, timeline, Events(times), lags)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(averaging, "_BLOCK", 1)
        patch.setattr(averaging, "_LEAST", 5)
        patch.setattr(averaging, "_FEW", rng.choice([0.0, 2.0]))
        patch.setattr("adamacs.analysis.numerics.weights._CHUNK", 3)
        shuffled = Events(rng.permutation(times))
        parts = average(signal, timeline, shuffled, lags)
        trials = aligned(signal, timeline, shuffled, lags)
    for name in ("mean", "sem", "counted"):
        np.testing.assert_allclose(getattr(parts, name), getattr(whole, name), atol=1e-7)
    agree(whole, trials)


@settings(max_examples=30, deadline=None)
@given(recordings())
def test_each_condition_is_averaged_as_if_it_were_alone(recording):
    timeline, times, lags, rng = recording
    signal = rng.normal(size=(2, len(timeline)))
    conditions = rng.integers(-1, 3, len(times))
    together = average(signal, timeline, Events(times), lags, conditions=conditions, count=4)
    assert together.mean.shape == (4, 2, len(lags))
    for number in range(4):
        alone = average(signal, timeline, Events(times[conditions == number]), lags)
        for name in ("mean", "sem", "counted"):
            np.testing.assert_allclose(getattr(together, name)[number], getattr(alone, name)[0], atol=1e-7)


def test_frames_that_jitter_are_averaged_at_their_lags_to_within_the_error_that_is_told():
    rng = np.random.default_rng(1)
    times = np.arange(3000) / 30 + np.cumsum(rng.normal(0, 2e-6, 3000)) + rng.uniform(-1e-4, 1e-4, 3000)
    timeline, events = Timeline(times), Events(rng.uniform(1, 98, 500))
    lags = timeline.lags((-1, 2))
    signal = np.sin(2 * np.pi * np.array([[0.5], [2.0]]) * times)
    found = average(signal, timeline, events, lags)
    assert 0 < found.uneven < 1e-3
    mean, _, number = mean_and_error(single_trials(signal, timeline, events, lags))
    np.testing.assert_array_equal(found.counted[0], number)
    steepest = 2 * np.pi * np.array([0.5, 2.0])[:, None]
    assert np.all(np.abs(found.mean[0] - mean) <= steepest * found.uneven)


def test_what_was_not_recorded_is_in_no_average():
    times = np.arange(600) / 30
    lost = np.r_[100:130, 300]
    timeline = Timeline(np.delete(times, lost))
    signal = np.delete(times, lost)[None]
    events = Events(np.arange(0.01, 19.9, 0.1))
    found = average(signal, timeline, events, timeline.lags((-1, 1)))
    trials = single_trials(signal, timeline, events, timeline.lags((-1, 1)))
    assert np.count_nonzero(~np.isnan(trials[:, 0]).all(axis=1)) > 100
    _, _, number = mean_and_error(trials)
    np.testing.assert_array_equal(found.counted[0], number)
    assert number.min() < number.max() < len(events.times), "lags at the ends and in the gaps do not count"
    # The time itself is the signal: what is averaged at a lag is the mean time of its events plus the lag.
    relative = trials[:, 0] - events.times[:, None]
    assert np.nanmax(np.abs(relative - np.arange(-30, 31) / 30)) < 1e-9
    np.testing.assert_allclose(found.mean[0], np.nanmean(trials, axis=0), atol=1e-9)


def test_a_missing_sample_leaves_its_share_to_its_neighbour():
    rng = np.random.default_rng(2)
    signal, timeline = rng.normal(size=(4, 200)), Timeline(np.arange(200.0))
    signal[1, 50] = np.nan
    signal[2, ::7] = np.inf
    signal[3] = np.nan
    times = rng.uniform(-5, 205, 300)
    found = average(signal, timeline, Events(times), LAGS)
    for row in range(4):
        for column, lag in enumerate(LAGS):
            place = times + lag
            place = place[(place >= 0) & (place <= 199)]
            left, part = np.floor(place).astype(int), place - np.floor(place)
            shares = np.concatenate([1 - part, part])
            values = signal[row][np.concatenate([left, np.minimum(left + 1, 199)])]
            known = np.isfinite(values)
            assert found.counted[0, row, column] == pytest.approx(shares[known].sum(), abs=1e-9)
            if known.any():
                mean = (shares * np.where(known, values, 0)).sum() / shares[known].sum()
                assert found.mean[0, row, column] == pytest.approx(mean, abs=1e-9)
    assert np.isnan(found.mean[0, 3]).all()
    assert np.isnan(found.sem[0, 3]).all()
    alone = average(signal[:1], timeline, Events(times), LAGS)
    np.testing.assert_allclose(found.sem[0, 0], alone.sem[0, 0], rtol=1e-6)
    assert np.isnan(aligned(signal[1:2], timeline, Events(np.array([49.5, 51.0])), LAGS)).sum() == 3


@pytest.mark.parametrize("baseline", [0.0, 3000.0])
def test_single_precision_keeps_a_small_signal_on_a_high_baseline(baseline):
    rng = np.random.default_rng(3)
    exact = baseline + rng.normal(size=(5, 20_000))
    signal, timeline = exact.astype(np.float32), Timeline(np.arange(20_000) / 30)
    events = Events(rng.uniform(0, 660, 20_000))
    lags = timeline.lags((-1, 1))
    found = average(signal, timeline, events, lags)
    reference = average(signal.astype(float), timeline, events, lags)
    np.testing.assert_allclose(found.mean, reference.mean, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(found.sem, reference.sem, rtol=1e-4)


@pytest.mark.parametrize("kind", ["f4", "f8", "i2", "u1", "i4", ">f4"])
def test_any_real_type_is_averaged(kind):
    rng = np.random.default_rng(4)
    signal = rng.integers(0, 100, (2, 60)).astype(kind)
    events = Events(rng.uniform(0, 60, 9))
    timeline = Timeline(np.arange(60.0))
    found = average(signal, timeline, events, LAGS)
    expected = average(signal.astype(float), timeline, events, LAGS)
    np.testing.assert_allclose(found.mean, expected.mean, rtol=1e-5)


def test_no_event_and_one_event_have_no_error():
    signal, timeline = np.arange(40.0)[None], Timeline(np.arange(40.0))
    none = average(signal, timeline, Events(np.empty(0)), LAGS)
    assert np.isnan(none.mean).all()
    assert np.isnan(none.sem).all()
    assert not none.counted.any()
    one = average(signal, timeline, Events(np.array([20.25])), LAGS)
    np.testing.assert_allclose(one.mean[0, 0], 20.25 + LAGS)
    assert np.isnan(one.sem).all()
    twice = average(signal, timeline, Events(np.array([20.25, 20.25])), LAGS)
    np.testing.assert_allclose(twice.sem, 0, atol=1e-7)
    assert aligned(signal, timeline, Events(np.empty(0)), LAGS).shape == (0, 1, len(LAGS))


def test_a_signal_without_rows_has_an_average_without_rows():
    timeline = Timeline(np.arange(40.0))
    assert average(np.empty((0, 40)), timeline, Events(np.array([20.0])), LAGS).mean.shape == (1, 0, len(LAGS))


def test_averaging_takes_little_memory_beside_the_signal():
    rng = np.random.default_rng(5)
    signal, timeline = rng.normal(size=(200, 60_000)).astype(np.float32), Timeline(np.arange(60_000) / 30)
    events = Events(rng.uniform(0, 2000, 300_000))
    lags = timeline.lags((-0.66, 1.33))
    most = {}
    for sem in (False, True):
        tracemalloc.start()
        try:
            average(signal, timeline, events, lags, sem=sem)
            most[sem] = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert most[False] < 0.5 * signal.nbytes
    assert most[True] < 6 * averaging._BLOCK


def test_single_trials_that_would_not_fit_are_refused_with_their_size():
    timeline = Timeline(np.arange(40.0))
    events = Events(np.zeros(1000))
    with pytest.raises(InvalidRequest, match=r"1000 events x 3 rows x 14 lags take 0\.000168 GB"):
        aligned(np.zeros((3, 40), "f4"), timeline, events, LAGS, most=1000)
    require_room((1000, 3, 14), np.dtype("f4"), 168_000)


@pytest.mark.parametrize(
    ("signal", "times", "conditions", "said"),
    [
        (np.zeros((2, 39)), [1.0], None, "40 samples"),
        (np.zeros(40), [1.0], None, "row, sample"),
        (np.zeros((2, 40), complex), [1.0], None, "complex"),
        (np.zeros((2, 40)), [1.0, np.nan], None, "not known"),
        (np.zeros((2, 40)), [1.0, 2.0], [0], "1 conditions"),
    ],
)
def test_what_does_not_fit_together_is_refused(signal, times, conditions, said):
    with pytest.raises(InvalidRequest, match=said):
        average(signal, Timeline(np.arange(40.0)), Events(np.array(times)), LAGS, conditions=conditions)
