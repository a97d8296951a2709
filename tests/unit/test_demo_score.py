"""The scorer: known faults give known numbers, and the order of ROIs changes nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adamacs.core.errors import ProcessingFailed
from adamacs.demo import score
from adamacs.demo.movie import Design, Recording, Truth

FS = 20.0


@pytest.fixture(scope="module")
def truth() -> Truth:
    design = Design(height=80, width=90, frames=300, cells=6, silent=1, event_rate=1.0, least_spikes=20)
    return Recording(design, 11).truth


@pytest.fixture(scope="module")
def planes() -> Truth:
    design = Design(height=80, width=80, frames=200, cells=3, planes=2, event_rate=1.0, least_spikes=20)
    return Recording(design, 12).truth


def perfect(truth: Truth) -> dict[str, Any]:
    """An analysis that made no mistake."""
    return {
        "shifts": truth.shifts,
        "masks": [truth.mask(cell) for cell in range(len(truth.plane))],
        "traces": 100 * (1 + truth.calcium),
        "spikes": truth.spikes.astype(float),
        "fs": FS,
        "planes": truth.plane,
    }


def keep(analysis: dict[str, Any], rois: list[int]) -> dict[str, Any]:
    picked = {name: np.asarray(analysis[name])[rois] for name in ("traces", "spikes", "planes")}
    return analysis | picked | {"masks": [analysis["masks"][roi] for roi in rois]}


def test_a_perfect_analysis_scores_full(truth: Truth) -> None:
    result = score.score_scan(truth, **perfect(truth))
    assert (result.cells_true, result.cells_found) == (5, 5)
    assert (result.rois, result.rois_matched) == (6, 6)  # the silent cell is a true cell too
    assert (result.recall, result.precision, result.median_iou) == (1.0, 1.0, 1.0)
    assert result.spike_r == pytest.approx(1.0)
    assert result.dff_r == pytest.approx(1.0)
    assert result.shift_r == pytest.approx(1.0)
    assert result.shift_rmse_px == pytest.approx(0.0, abs=1e-5)


def test_a_displaced_reference_costs_nothing(truth: Truth) -> None:
    analysis = perfect(truth)
    moved = [(rows + 4, columns - 3, weight) for rows, columns, weight in analysis["masks"]]
    result = score.score_scan(truth, **analysis | {"masks": moved, "shifts": truth.shifts - np.array([4.0, -3.0])})
    assert result.cells_found == 5
    assert result.median_iou == 1.0
    assert result.shift_rmse_px == pytest.approx(0.0, abs=1e-5)


def test_masks_beside_the_cells_find_nothing(truth: Truth) -> None:
    analysis = perfect(truth)
    moved = [(rows + 8, columns, weight) for rows, columns, weight in analysis["masks"]]
    result = score.score_scan(truth, **analysis | {"masks": moved})
    assert (result.cells_found, result.precision) == (0, 0.0)
    assert np.isnan(result.spike_r)


def test_shifts_of_the_wrong_sign_are_seen(truth: Truth) -> None:
    result = score.score_scan(truth, **perfect(truth) | {"shifts": -truth.shifts})
    assert result.shift_r == pytest.approx(-1.0)
    about_mean = truth.shifts - truth.shifts.mean(axis=1, keepdims=True)
    assert result.shift_rmse_px == pytest.approx(2 * np.sqrt(np.mean(about_mean**2)))


def test_half_of_the_cells_missing_halves_the_recall(truth: Truth) -> None:
    result = score.score_scan(truth, **keep(perfect(truth), [0, 1, 3, 5]))
    assert (result.cells_true, result.cells_found) == (5, 3)
    assert (result.recall, result.precision) == (0.6, 1.0)


def test_false_rois_cost_precision_and_not_recall(truth: Truth) -> None:
    analysis = perfect(truth)
    dark = (np.array([0, 0, 1]), np.array([0, 1, 0]), np.ones(3))
    twice = analysis["masks"][2]  # a cell split in two is found once
    result = score.score_scan(
        truth,
        **analysis
        | {
            "masks": [*analysis["masks"], dark, twice],
            "planes": np.append(truth.plane, [0, 0]),
            "traces": np.vstack([analysis["traces"], analysis["traces"][:2]]),
            "spikes": np.vstack([analysis["spikes"], analysis["spikes"][:2]]),
        },
    )
    assert (result.rois, result.rois_matched, result.recall) == (8, 6, 1.0)
    assert result.precision == 0.75


def test_an_roi_of_another_plane_is_no_match(planes: Truth) -> None:
    analysis = perfect(planes)
    assert score.score_scan(planes, **analysis).cells_found == 6
    swapped = score.score_scan(planes, **analysis | {"planes": 1 - planes.plane})
    assert swapped.cells_found == 0


def test_spikes_a_frame_late_lower_the_correlation_a_little(truth: Truth) -> None:
    analysis = perfect(truth)
    late = score.score_scan(truth, **analysis | {"spikes": np.roll(analysis["spikes"], 1, axis=1)}).spike_r
    later = score.score_scan(truth, **analysis | {"spikes": np.roll(analysis["spikes"], 20, axis=1)}).spike_r
    assert 0.85 < late < 1
    assert later < 0.5


def test_noise_in_shifts_is_measured_in_pixels(truth: Truth) -> None:
    noise = np.random.default_rng(0).normal(0, 0.5, truth.shifts.shape)
    result = score.score_scan(truth, **perfect(truth) | {"shifts": truth.shifts + noise})
    assert result.shift_rmse_px == pytest.approx(0.5, rel=0.1)
    spread = (truth.shifts - truth.shifts.mean(axis=1, keepdims=True)).var()
    assert result.shift_r == pytest.approx(np.sqrt(spread / (spread + 0.25)), abs=0.02)


def test_no_roi_at_all_is_a_score_not_an_error(truth: Truth) -> None:
    result = score.score_scan(truth, shifts=truth.shifts, masks=[], traces=[], spikes=[], fs=FS)
    assert (result.cells_found, result.rois, result.recall) == (0, 0, 0.0)
    assert np.isnan(result.precision)


def test_scores_of_several_scans_add_up(truth: Truth, planes: Truth) -> None:
    one = score.score_scan(truth, **keep(perfect(truth), [0, 1, 3, 5]))
    two = score.score_scan(planes, **perfect(planes))
    both = score.pool([one, two])
    assert (both.cells_true, both.cells_found, both.rois) == (11, 9, 10)
    assert len(both.spike_rs) == 9
    assert both.shift_r == min(one.shift_r, two.shift_r)


@pytest.mark.parametrize(
    "wrong", ({"shifts": np.zeros((1, 7, 2))}, {"traces": np.zeros((6, 7))}, {"spikes": np.zeros((2, 300))})
)
def test_arrays_that_do_not_fit_the_scan_are_refused(truth: Truth, wrong: dict[str, Any]) -> None:
    with pytest.raises(ProcessingFailed):
        score.score_scan(truth, **perfect(truth) | wrong)


@given(order=st.permutations(range(6)), seed=st.integers(0, 100))
@settings(max_examples=30, deadline=None, derandomize=True)
def test_the_order_of_rois_changes_nothing(truth: Truth, order: list[int], seed: int) -> None:
    random = np.random.default_rng(seed)
    analysis = perfect(truth)
    blurred = analysis | {
        "masks": [(rows + random.integers(-3, 4), columns, weight) for rows, columns, weight in analysis["masks"]],
        "spikes": analysis["spikes"] + random.random(analysis["spikes"].shape),
        "traces": analysis["traces"] + random.normal(0, 30, analysis["traces"].shape),
    }
    assert score.score_scan(truth, **keep(blurred, list(order))) == score.score_scan(truth, **blurred)


def test_smoothing_keeps_the_sum_and_the_place() -> None:
    spike = np.zeros(101)
    spike[50] = 1.0
    smoothed = score.smooth(spike, 2.0)
    assert smoothed.sum() == pytest.approx(1.0)
    assert smoothed.argmax() == 50
    assert np.sqrt(np.sum(smoothed * (np.arange(101) - 50) ** 2)) == pytest.approx(2.0, rel=0.02)
