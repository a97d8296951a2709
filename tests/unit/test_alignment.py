"""Which rule places which source, from what is known beforehand, and through what; and which clock is scan time."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from adamacs.core import setups
from adamacs.core.clocks.alignment import align
from adamacs.core.errors import AmbiguousPairing, PairingRefused

SHIPPED = setups.load().setups
SETUP = SHIPPED["mini2p1_openfield"]
PULSES = 3.0 + np.arange(3000) / 50.0  # s on the auxiliary clock
DRIFT, AHEAD = 40e-6, 7.25  # a part, and s that the camera's clock is behind


def stamps(seed: int = 0) -> np.ndarray:
    """Return when a computer wrote down the frames, on its own clock: some milliseconds late, never early."""
    late = 1e-3 * np.random.default_rng(seed).exponential(0.5, len(PULSES))
    return PULSES * (1 + DRIFT) - AHEAD + late


def rules(**changes):
    """Return the setup type with other words about the camera above the arena."""
    return replace(SETUP, align=tuple(replace(r, **changes) if r.source == "camera_top" else r for r in SETUP.align))


def test_an_even_train_is_paired_from_its_anchor_and_refused_without_one():
    found = align(SETUP, {"camera_top_frames": stamps()}, {"aux_cam": PULSES}, source="camera_top", target="aux")
    true = (stamps() + AHEAD) / (1 + DRIFT)
    assert np.abs(found.fit.model.convert(stamps()) - true).max() < 1e-3  # it sees the usual delay as an offset
    assert found.fit.model.drift_ppm == pytest.approx(-1e6 * DRIFT, abs=2.0)
    assert "first of both" in found.row()["sync_method"]
    with pytest.raises(AmbiguousPairing, match="anchor"):
        loose = rules(anchor="", jitter=0.004)
        align(loose, {"camera_top_frames": stamps()}, {"aux_cam": PULSES}, source="camera_top", target="aux")


@pytest.mark.parametrize(("anchor", "lost"), [("last", slice(5, None)), ("first", slice(None, -5))])
def test_the_anchor_decides_at_which_end_frames_may_be_missing(anchor, lost):
    told = {"camera_top_frames": stamps()[lost]}
    found = align(rules(anchor=anchor), told, {"aux_cam": PULSES}, source="camera_top", target="aux")
    shift = np.flatnonzero(np.isin(stamps(), found.pairs[0]))
    np.testing.assert_array_equal(PULSES[shift], found.pairs[1])


def test_two_anchors_that_contradict_each_other_are_refused():
    told = {"camera_top_frames": stamps()[:-5]}
    with pytest.raises(PairingRefused):
        align(rules(anchor="both"), told, {"aux_cam": PULSES}, source="camera_top", target="aux")


def test_another_clock_of_the_same_computer_is_placed_through_the_first():
    found = align(SETUP, {"camera_top_frames": stamps()}, {"aux_cam": PULSES}, source="camera_top", target="aux")
    eye = found.through("camera_eye1", 2.5)  # it began 2.5 s after the other one
    times = np.linspace(-10.0, 90.0, 7)
    np.testing.assert_allclose(eye.fit.model.convert(times), found.fit.model.convert(times + 2.5), atol=1e-9)
    np.testing.assert_allclose(eye.fit.model.invert(eye.fit.model.convert(times)), times, atol=1e-9)
    assert eye.fit.model.source == "camera_eye1"
    assert "through camera_top" in eye.row()["sync_method"]


def test_a_source_that_no_rule_places_says_so():
    with pytest.raises(PairingRefused, match="does not say how times of camera_eye1"):
        align(SETUP, {"camera_eye1_frames": stamps()}, {"aux_cam": PULSES}, source="camera_eye1", target="aux")


@pytest.mark.parametrize(
    ("name", "sources", "clock"),
    [
        ("mini2p1_openfield", ("bpod", "aux", "camera_top"), "aux"),
        ("mini2p1_openfield", ("bpod", "camera_top"), "frames"),
        ("mini2p1_openfield", (), "frames"),
        ("mini2p2_headfixed", (), "frames"),
        ("behavior_box", ("bpod",), "bpod"),
    ],
)
def test_scan_time_is_what_the_setup_names_and_counts_from_the_first_frame_without_it(name, sources, clock):
    assert SHIPPED[name].scan_time(sources) == clock


def test_each_file_belongs_to_the_source_that_the_setup_names():
    names = [
        "a.tif",
        "a.h5",
        "a.mat",
        "x_mini2p1_top_video_timestamps_1.csv",
        "x_eye2_video_timestamps_1.csv",
        "s/b.h5",
    ]
    assert SETUP.files_of(names) == {
        "aux": ["a.h5"],
        "bpod": ["a.mat"],
        "camera_top": ["x_mini2p1_top_video_timestamps_1.csv"],
        "camera_eye2": ["x_eye2_video_timestamps_1.csv"],
    }
    assert (SETUP.placed_by("camera_eye2"), SETUP.placed_by("bpod"), SETUP.placed_by("harp_imu")) == (
        "camera_top",
        "bpod",
        "",
    )
