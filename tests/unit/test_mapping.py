"""Mappings between clocks: what is converted comes back, and what is fitted is the truth."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adamacs.core.clocks import mapping, pairing
from adamacs.core.clocks.mapping import ClockModel
from adamacs.core.errors import InvalidParameters, UnusableClock
from adamacs.core.setup_wiring import Align
from adamacs.demo import pulses
from adamacs.demo.pulses import Device
from tests.conftest import LONG

NAMES = {"source": "bpod", "target": "aux"}
SAMPLE = 1 / 20_000  # s
HOUR = 3600.0
FITS = [mapping.fit_offset, mapping.fit_linear, mapping.fit_piecewise, mapping.fit_clock]
numbers = st.floats(-1e5, 1e5, allow_subnormal=False)


@st.composite
def models(draw: st.DrawFn) -> ClockModel:
    """Mappings of clocks that run within a tenth of each other."""
    kind = draw(st.sampled_from(["offset", "linear", "piecewise"]))
    count = {"offset": 1, "linear": 2}.get(kind) or draw(st.integers(2, 9))
    steps = draw(st.lists(st.floats(0.01, 1000), min_size=count - 1, max_size=count - 1))
    drifts = draw(st.lists(st.floats(-0.1, 0.1), min_size=count - 1, max_size=count - 1))
    knots = np.cumsum([draw(numbers), *steps])
    shifts = np.cumsum([draw(numbers), *np.multiply(steps, drifts)])
    return ClockModel("bpod", "aux", kind, tuple(knots.tolist()), tuple(shifts.tolist()))


def pairs_of(seed: int, count: int, drift_ppm: float = 0.0, offset: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Return an hour of pairs, seen with a jitter of a sample."""
    rng = np.random.default_rng(seed)
    times = np.sort(rng.uniform(0, HOUR, count))
    return times, times + offset + 1e-6 * drift_ppm * times + rng.uniform(-SAMPLE, SAMPLE, count)


@given(models(), st.lists(numbers, min_size=1, max_size=20))
def test_what_was_converted_comes_back_to_the_precision_of_floats(model, times):
    back = model.invert(model.convert(times))
    largest = max(map(abs, (*times, *model.knots, *model.shifts)))
    assert np.max(np.abs(back - times)) <= 16 * math.ulp(largest)


@given(models(), st.lists(numbers, min_size=2, max_size=20, unique_by=lambda time: round(time, 3)))
def test_no_mapping_changes_the_order_of_times(model, times):
    assert np.all(np.diff(model.convert(np.sort(times))) > 0)


@given(models())
def test_a_stored_mapping_is_the_same_mapping(model):
    assert ClockModel.from_json(json.loads(json.dumps(model.to_json()))) == model


@given(models())
def test_the_inverse_is_a_mapping_that_leads_back(model):
    times = np.linspace(model.knots[0] - 10, model.knots[-1] + 10, 50)
    largest = max(map(abs, (*times, *model.knots, *model.shifts)))
    shortest = min([1.0, *np.diff(model.knots)])  # s: where knots are close, their rounding counts for more
    apart = np.abs(model.inverse.convert(model.convert(times)) - times)
    assert np.max(apart) <= 16 * math.ulp(largest) * (1 + 10 / shortest)
    assert (model.inverse.source, model.inverse.target) == ("aux", "bpod")


@given(models())
def test_a_mapping_is_what_interpolation_between_its_knots_says(model):
    if model.kind == "offset":
        assert model.convert(model.knots[0]) == model.knots[0] + model.shifts[0]
        return
    times = np.linspace(model.knots[0], model.knots[-1], 50)
    expected = np.interp(times, model.knots, np.add(model.knots, model.shifts))
    assert model.convert(times) == pytest.approx(expected, abs=1e-9)


def test_offset_and_drift_are_those_of_the_line():
    model = ClockModel("bpod", "aux", "linear", (10.0, 1010.0), (3.0, 3.25))
    assert model.drift_ppm == pytest.approx(250)
    assert model.offset == pytest.approx(3 - 0.0025)


def test_a_time_that_is_missing_stays_missing_and_shapes_stay():
    model = ClockModel("bpod", "aux", "piecewise", (0.0, 10.0, 20.0), (1.0, 1.5, 1.25))
    answer = model.convert([[0.0, np.nan], [5.0, 30.0]])
    assert answer.shape == (2, 2)
    assert answer[~np.isnan(answer)].tolist() == [1.0, 6.25, 31.0]


@pytest.mark.parametrize(
    ("kind", "knots", "shifts", "word"),
    [
        ("linear", (0.0, 1.0), (0.0, -1.0), "stand still"),
        ("piecewise", (0.0, 1.0, 2.0), (0.0, 0.0, -2.0), "run back"),
        ("piecewise", (0.0, 1.0, 1.0), (0.0, 0.0, 0.0), "stand still"),
        ("offset", (0.0,), (math.nan,), "not finite"),
        ("linear", (0.0, math.inf), (0.0, 0.0), "not finite"),
        ("linear", (0.0,), (1.0,), "no linear mapping"),
        ("offset", (0.0, 1.0), (1.0, 1.0), "no offset mapping"),
        ("cubic", (0.0,), (1.0,), "no kind"),
    ],
)
def test_a_mapping_that_cannot_be_inverted_is_refused(kind, knots, shifts, word):
    with pytest.raises(UnusableClock, match=word) as refused:
        ClockModel("bpod", "aux", kind, knots, shifts)
    assert refused.value.where == "clock bpod to aux"


@pytest.mark.parametrize(
    "stored",
    [
        {},
        {"source": "a", "target": "b", "kind": "offset", "knots": 0.0, "shifts": [1.0]},
        {"source": "a", "target": "b", "kind": "offset", "knots": ["0"], "shifts": [1.0]},
        {"source": "a", "target": "b", "kind": "offset", "knots": [True], "shifts": [1.0]},
        {"source": "a", "target": "b", "kind": ["offset"], "knots": [0.0], "shifts": [1.0]},
        {"source": 1, "target": "b", "kind": "offset", "knots": [0.0], "shifts": [1.0]},
        {"source": "a", "target": "b", "kind": "offset", "knots": [None], "shifts": [1.0]},
    ],
)
def test_a_damaged_mapping_is_refused(stored):
    with pytest.raises(UnusableClock):
        ClockModel.from_json(stored)


@pytest.mark.parametrize("seed", range(200 if LONG else 20))
def test_an_hour_with_a_sample_of_jitter_gives_offset_and_drift(seed):
    rng = np.random.default_rng([seed, 1])
    drift, offset, count = rng.uniform(-300, 300), rng.uniform(-1000, 1000), int(rng.integers(60, 5000))
    times, others = pairs_of(seed, count, drift, offset)
    fit = mapping.fit_linear(times, others, **NAMES)
    assert abs(fit.model.offset - offset) < SAMPLE / 2
    assert abs(fit.model.drift_ppm - drift) < 0.1
    assert fit.quality == 1
    assert fit.residuals.max <= 1.5 * SAMPLE


def uniform(rng: np.random.Generator) -> np.ndarray:
    return rng.uniform(0.5, 2, 8000)


def exponential(rng: np.random.Generator) -> np.ndarray:
    return 0.01 + rng.exponential(1, 8000)


def trials(rng: np.random.Generator) -> np.ndarray:
    return rng.uniform(6, 20, 800)


@pytest.mark.parametrize("pauses_of", [uniform, exponential, trials])
@pytest.mark.parametrize("seed", range(40 if LONG else 8))
def test_an_hour_of_pulses_in_whole_samples_is_paired_and_fitted_within_half_a_sample(pauses_of, seed):
    """The way of `alignment.align`, from what either clock saw to the mapping."""
    rng = np.random.default_rng([seed, 3])
    events = np.cumsum(pauses_of(rng))
    events = events[events < HOUR]
    flaws = {"missing": 0.02, "extra": 0.01}
    bpod = Device(offset=rng.uniform(-1000, 1000), drift=1e-6 * rng.uniform(-200, 200), **flaws)
    seen = [pulses.observe(events, device, rng) for device in (bpod, Device(**flaws))]
    source, target = (np.unique(np.round(train.times / SAMPLE)) * SAMPLE for train in seen)
    jitter = Align("bpod").jitter
    paired = pairing.pair(source, target, jitter=jitter)
    there, here = source[paired.source_index], target[paired.target_index]
    fit = mapping.fit_clock(there, here, tolerance=jitter, **NAMES)
    ends = np.array([0.0, HOUR])
    off = fit.model.convert([0.0, *pulses.convert(ends, bpod)]) - [-bpod.offset / (1 + bpod.drift), *ends]
    assert np.abs(off).max() < SAMPLE / 2
    assert abs(fit.model.drift_ppm - 1e6 * (1 / (1 + bpod.drift) - 1)) < 0.1
    assert fit.used >= len(pulses.true_pairs(*seen))


@pytest.mark.parametrize("seed", range(200 if LONG else 20))
def test_outliers_are_named_and_move_nothing(seed):
    rng = np.random.default_rng([seed, 2])
    times, others = pairs_of(seed, 1000, 80.0, -12.5)
    wrong = np.sort(rng.choice(1000, 300, replace=False))
    others[wrong] += rng.uniform(0.005, 0.5, 300)  # all to one side
    fit = mapping.fit_linear(times, others, **NAMES)
    assert fit.rejected == tuple(wrong)
    assert fit.used == 700
    assert fit.quality == pytest.approx(0.7)
    assert abs(fit.model.offset + 12.5) < SAMPLE / 2
    assert abs(fit.model.drift_ppm - 80) < 0.1


def test_a_line_is_that_of_numpy_where_no_pair_is_rejected():
    times, others = pairs_of(3, 500, 42.0, 7.0)
    slope, level = np.polyfit(times - times.mean(), others - times, 1)
    fit = mapping.fit_linear(times, others, **NAMES)
    assert fit.rejected == ()
    assert fit.model.drift_ppm == pytest.approx(slope * 1e6, abs=1e-6)
    assert fit.model.convert(times.mean()) == pytest.approx(times.mean() + level, abs=1e-9)


def test_a_line_far_from_zero_loses_no_precision():
    times, others = pairs_of(4, 500, 42.0, 7.0)
    far = mapping.fit_linear(times + 1e6, others + 1e6, **NAMES)
    near = mapping.fit_linear(times, others, **NAMES)
    assert far.model.drift_ppm == pytest.approx(near.model.drift_ppm, abs=1e-3)
    assert far.model.convert(times + 1e6) - 1e6 == pytest.approx(near.model.convert(times), abs=1e-8)


def test_an_offset_is_the_median_and_stands_up_to_wrong_pairs():
    times, others = pairs_of(5, 501, offset=3.0)
    others[::3] += 10
    fit = mapping.fit_offset(times, others, **NAMES)
    assert fit.model.offset == np.median(others - times)
    assert fit.rejected == tuple(range(0, 501, 3))


def test_residuals_are_those_of_the_pairs_that_were_used():
    fit = mapping.fit_offset([0.0, 1.0, 2.0, 3.0], [5.0, 6.00002, 7.0, 8.0], **NAMES)
    assert fit.residuals.median == pytest.approx(0, abs=1e-12)
    assert fit.residuals.max == pytest.approx(2e-5)
    assert fit.residuals.rms == pytest.approx(1e-5)


def wandering(times: np.ndarray) -> np.ndarray:
    return 1e-6 * 50 * times + 4e-3 * np.sin(2 * np.pi * times / 2400)


def test_a_drift_that_changes_is_followed_between_knots():
    times, others = pairs_of(6, 20_000)
    others += wandering(times)
    others[::50] += 0.02
    fit = mapping.fit_piecewise(times, others, spacing=60, **NAMES)
    inside = np.linspace(0, HOUR, 1000)
    assert np.max(np.abs(fit.model.convert(inside) - inside - wandering(inside))) < SAMPLE / 2
    assert fit.rejected == tuple(range(0, 20_000, 50))
    assert np.min(np.diff(fit.model.knots)) >= 59


def test_the_spline_is_the_least_squares_of_a_full_matrix():
    times, others = pairs_of(7, 400)
    others += wandering(times)
    fit = mapping.fit_piecewise(times, others, spacing=300, resolution=1.0, **NAMES)
    knots = np.array(fit.model.knots)
    hats = np.array([np.interp(times, knots, row) for row in np.eye(len(knots))]).T
    expected = np.linalg.lstsq(hats, others - times, rcond=None)[0]
    assert fit.model.shifts == pytest.approx(expected, abs=1e-9)


def test_a_pause_without_pairs_holds_no_knot():
    times, others = pairs_of(8, 2000)
    kept = (times < 1000) | (times > 2500)
    fit = mapping.fit_piecewise(times[kept], others[kept], spacing=60, **NAMES)
    assert np.max(np.diff(fit.model.knots)) > 1400
    counts = np.histogram(times[kept], fit.model.knots)[0]
    assert counts.min() >= mapping.LEAST_PAIRS


@pytest.mark.parametrize(
    ("shift", "kind"),
    [(lambda t: 0 * t + 3, "offset"), (lambda t: 1e-6 * t, "linear"), (wandering, "piecewise")],
)
@pytest.mark.parametrize("seed", range(10))
def test_the_simplest_kind_that_the_pairs_allow_is_taken(shift, kind, seed):
    times, others = pairs_of(seed, 2000)
    fit = mapping.fit_clock(times, others + shift(times), **NAMES)
    assert fit.model.kind == kind


def test_the_older_rule_keeps_an_offset_below_a_millisecond_of_drift():
    times, others = pairs_of(9, 500, 0.2)  # 0.72 ms in an hour
    assert mapping.fit_clock(times, others, worth=1e-3, **NAMES).model.kind == "offset"
    assert mapping.fit_clock(times, others, **NAMES).model.kind == "linear"
    times, others = pairs_of(9, 500, 0.4)
    assert mapping.fit_clock(times, others, worth=1e-3, **NAMES).model.kind == "linear"


def test_few_and_exact_pairs_are_fitted_exactly():
    assert mapping.fit_clock([5.0], [7.0], **NAMES).model.shifts == (2.0,)
    fit = mapping.fit_linear([0.0, 100.0], [1.0, 101.01], **NAMES)
    assert fit.model.drift_ppm == pytest.approx(100)


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize(
    ("source", "target"),
    [
        ([], []),
        ([0.0, 1.0], [0.0]),
        ([[0.0]], [[0.0]]),
        ([0.0, np.nan], [0.0, 1.0]),
        ([0.0, 1.0], [0.0, np.inf]),
        ([1.0, 1.0], [0.0, 1.0]),
        ([1.0, 0.0], [0.0, 1.0]),
    ],
)
def test_pairs_that_tell_nothing_are_refused(fit, source, target):
    with pytest.raises(UnusableClock):
        fit(source, target, **NAMES)


def test_pairs_in_reverse_are_refused():
    times = np.arange(100.0)
    with pytest.raises(UnusableClock, match="run back"):
        mapping.fit_linear(times, -times, **NAMES)


def test_a_spacing_of_nothing_is_refused():
    with pytest.raises(InvalidParameters):
        mapping.fit_piecewise([0.0, 1.0], [0.0, 1.0], spacing=0, **NAMES)


@given(st.lists(st.tuples(numbers, numbers), max_size=40), st.sampled_from(FITS))
def test_any_pairs_give_a_fit_or_a_typed_refusal(pairs, fit):
    source, target = (np.array(sorted(column)) for column in zip(*pairs)) if pairs else (np.empty(0), np.empty(0))
    try:
        answer = fit(source, target, **NAMES)
    except UnusableClock:
        return
    assert answer.used + len(answer.rejected) == len(source)
    assert 0 <= answer.quality <= 1
