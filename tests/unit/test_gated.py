"""Samples of a device without times: placed by its gate to half an interval, or not at all, and then it says why."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adamacs.modalities.behavior.numerics.gated import place_samples

BOUND = 0.02


def taken(start: float, stop: float, rate: float, phase: float) -> np.ndarray:
    """Return when a free running device with some phase took samples while a gate was open."""
    first = math.ceil((start - phase / rate) * rate)
    times = (first + np.arange(int((stop - start) * rate) + 2)) / rate + phase / rate
    return times[(times >= start) & (times < stop)]


@given(
    start=st.floats(0.01, 100),
    seconds=st.floats(1, 1000),
    rate=st.floats(20, 300),
    phase=st.floats(0, 1),
    off=st.one_of(st.none(), st.floats(-0.019, 0.019)),
)
def test_every_sample_is_within_half_an_interval_of_the_truth(start, seconds, rate, phase, off):
    times = taken(start, start + seconds, rate, phase)
    told = None if off is None else rate / (1 + off)
    found = place_samples(len(times), [(start, start + seconds)], told, within=BOUND)
    placed = found.first + np.arange(len(times)) * found.interval
    assert np.abs(placed - times).max() <= 0.51 / rate + 1e-9
    assert "each within half an interval" in found.how
    assert ("bear out" in found.how) == (off is not None)


def test_of_several_openings_the_one_that_is_as_long_as_the_samples_is_taken():
    gates = [(1.0, 3.0), (10.0, 70.0), (80.0, 81.0)]
    found = place_samples(6000, gates, 100.0, within=BOUND)
    assert (found.first, found.interval) == (10.005, 0.01)
    assert place_samples(6000, gates, None, within=BOUND).first is None
    assert "it opened 3 times" in place_samples(6000, gates, None, within=BOUND).how
    both = place_samples(6000, [(10.0, 70.0), (80.0, 140.0)], 100.0, within=BOUND)
    assert (both.first, both.interval) == (None, None)
    assert "fit 2 of 2 openings" in both.how


def test_samples_that_do_not_fit_the_gate_at_the_stated_rate_get_no_times():
    found = place_samples(5000, [(10.0, 70.0)], 100.0, within=BOUND)
    assert (found.first, found.interval) == (None, None)
    assert found.how == "5000 samples at 100 Hz fit 0 of 1 openings of the gate (60.000 s)"


@pytest.mark.parametrize(("gate", "first"), [((10.0, None), 10.005), ((0.0, 70.0), 70.0 - 59.995), ((0.0, None), None)])
def test_one_end_of_the_gate_is_enough_with_the_rate_and_not_without(gate, first):
    found = place_samples(6000, [gate], 100.0, within=BOUND)
    assert found.first == (first if first is None else pytest.approx(first))
    assert found.interval == 0.01
    blind = place_samples(6000, [gate], None, within=BOUND)
    assert (blind.first, blind.interval) == (None, None)
    assert "its opening or closing was not recorded" in blind.how


def test_without_gate_and_rate_the_answer_says_what_is_missing():
    assert place_samples(10, [], None, within=BOUND).how == "no gate was open, and no sample_rate is known"
    found = place_samples(10, [], 50.0, within=BOUND)
    assert (found.first, found.interval) == (None, 0.02)
    assert place_samples(0, [(1.0, 2.0)], 50.0, within=BOUND).how == "there is no sample"
