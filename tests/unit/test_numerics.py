"""The small mathematics of imaging, against shapes and signals whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from adamacs.modalities.imaging import numerics

PIXEL = np.dtype([("x", "<i4"), ("y", "<i4"), ("weight", "<f4")])


def disc(radius: float) -> tuple[np.ndarray, np.ndarray]:
    y, x = np.nonzero(np.hypot(*np.mgrid[-20:21, -20:21]) <= radius)
    return x, y


def test_a_disc_is_round_and_a_line_is_not():
    assert numerics.roundness(*disc(8)) > 0.99
    assert numerics.roundness(np.arange(30), np.zeros(30, int)) < 0.05


def test_an_ellipse_is_as_round_as_its_axes_say():
    y, x = np.mgrid[-40:41, -40:41]
    inside = (x / 30) ** 2 + (y / 15) ** 2 <= 1
    assert numerics.roundness(x[inside], y[inside]) == pytest.approx(0.5, abs=0.01)


@given(st.integers(0, 3), st.integers(-50, 50), st.integers(-50, 50))
def test_roundness_does_not_depend_on_place_or_quarter_turn(turns, right, down):
    shape = np.rot90(np.tril(np.ones((7, 4))), turns)
    y, x = np.nonzero(shape)
    reference = numerics.roundness(*np.nonzero(np.tril(np.ones((7, 4))))[::-1])
    assert numerics.roundness(x + right, y + down) == pytest.approx(reference)


def test_one_pixel_is_round():
    assert numerics.roundness([3], [4]) == 1.0


def test_mask_area_takes_both_sides_of_a_pixel():
    row = {"mask_npix": 10, "px_height": 100, "px_width": 200, "um_height": 300.0, "um_width": 100.0}
    assert numerics.mask_area(row) == pytest.approx(10 * 3.0 * 0.5)


def test_mask_area_is_unknown_where_the_field_size_is():
    row = {"mask_npix": 10, "px_height": 100, "px_width": 200, "um_height": None, "um_width": None}
    assert numerics.mask_area(row) is None


def test_skewness_knows_transients_from_noise():
    random = np.random.default_rng(0)
    noise = random.normal(size=20_000)
    transients = noise + 10 * (random.random(20_000) > 0.99)
    skewness = numerics.skewness(np.stack([noise, transients, np.full(20_000, 3.0)]))
    assert abs(skewness[0]) < 0.1
    assert skewness[1] > 2
    assert skewness[2] == 0  # a dead trace


def test_skewness_is_the_third_standardised_moment():
    trace = np.array([0.0, 0.0, 0.0, 4.0])
    assert numerics.skewness(trace[None])[0] == pytest.approx(2 / np.sqrt(3))
    assert numerics.skewness(np.zeros((0, 4))).shape == (0,)


@pytest.mark.parametrize("shapes", [[], [1], [5, 3, 8]])
def test_joined_masks_come_apart_again(shapes):
    random = np.random.default_rng(1)
    masks = [(random.integers(0, 99, n), random.integers(0, 99, n), random.random(n)) for n in shapes]
    pixels, bounds = numerics.join_masks(masks, PIXEL)
    assert len(bounds) == len(masks) + 1
    for (x, y, weight), start, stop in zip(masks, bounds, bounds[1:], strict=False):
        part = pixels[start:stop]
        np.testing.assert_array_equal(part["x"], x)
        np.testing.assert_array_equal(part["y"], y)
        np.testing.assert_array_equal(part["weight"], weight.astype("f4"))


def test_block_layout_does_not_swap_rows_and_columns():
    blocks = [((top, top + 32), (left, left + 48)) for top in (0, 20, 40) for left in (0, 30)]
    assert numerics.block_layout(blocks) == {
        "block_height": 32,
        "block_width": 48,
        "block_count_y": 3,
        "block_count_x": 2,
    }


def test_dff_of_a_steady_cell_is_zero_and_of_a_doubling_is_one():
    trace = np.full(3000, 200.0)
    trace[1000:1060] = 400.0
    change = numerics.dff(trace, 30.0)
    np.testing.assert_allclose(change[:900], 0.0)
    np.testing.assert_allclose(change[1000:1060], 1.0)


def test_dff_follows_bleaching():
    time = np.arange(9000) / 30
    change = numerics.dff(1000 * np.exp(-time / 600), 30.0)
    assert np.abs(change[900:-900]).max() < 0.08


def test_dff_keeps_shape_for_one_trace_many_and_none():
    assert numerics.dff(np.ones(10), 30.0).shape == (10,)
    assert numerics.dff(np.ones((3, 10)), 30.0).shape == (3, 10)
    assert numerics.dff(np.ones((0, 10)), 30.0).shape == (0, 10)
    assert numerics.dff(np.ones((3, 0)), 30.0).shape == (3, 0)


TRACES = hnp.arrays(float, st.tuples(st.integers(1, 3), st.integers(1, 60)), elements=st.floats(1.0, 1e4))


@given(TRACES)
def test_missing_samples_change_neither_skewness_nor_spread(traces):
    gaps = np.insert(traces, [0, traces.shape[1] // 2], np.nan, axis=1)
    np.testing.assert_array_equal(numerics.skewness(gaps), numerics.skewness(traces))
    np.testing.assert_array_equal(numerics.spread(gaps), numerics.spread(traces))
    np.testing.assert_allclose(numerics.spread(traces), traces.std(axis=1), rtol=1e-9, atol=1e-9)


def test_a_trace_without_a_sample_neither_leans_nor_spreads():
    nothing = np.full((1, 9), np.nan)
    assert (numerics.skewness(nothing), numerics.spread(nothing)) == (0, 0)


@given(TRACES, st.randoms(use_true_random=False), st.floats(0.0, 1.0))
def test_dff_misses_the_samples_that_are_missing_and_no_others(traces, random, share):
    missing = np.reshape([random.random() < share for _ in range(traces.size)], traces.shape)
    change = numerics.dff(np.where(missing, np.nan, traces), 1.0, window=10.0)
    np.testing.assert_array_equal(np.isnan(change), missing)


@given(TRACES, st.randoms(use_true_random=False))
def test_dff_of_a_missing_sample_stays_within_what_the_others_allow(traces, random):
    trace = traces[0].copy()
    trace[[n for n in range(trace.size) if random.random() < 0.3]] = np.nan
    present = ~np.isnan(trace)
    baseline = trace[present] / (1 + numerics.dff(trace, 1.0, window=10.0)[present])
    assert np.all(baseline >= np.min(trace[present], initial=np.inf) * (1 - 1e-9))
    assert np.all(baseline <= np.max(trace[present], initial=0.0) * (1 + 1e-9))


@given(TRACES)
def test_dff_of_a_trace_does_not_depend_on_gaps_in_another(traces):
    alone = numerics.dff(traces, 1.0, window=10.0)
    beside = numerics.dff(np.vstack([traces, np.full(traces.shape[1], np.nan)]), 1.0, window=10.0)
    np.testing.assert_array_equal(beside[:-1], alone)
    assert np.isnan(beside[-1]).all()


def test_dff_draws_its_baseline_across_a_gap_longer_than_a_window():
    trace = np.full(6000, 200.0)
    trace[1000:4000] = np.nan  # 100 s of 30 Hz, and the window is 60 s
    np.testing.assert_allclose(numerics.dff(trace, 30.0)[[0, 999, 4000, 5999]], 0.0)


def test_dff_is_not_a_number_where_the_baseline_is_not_positive():
    assert np.isnan(numerics.dff(np.full(100, -5.0), 30.0)).all()
