"""The synthetic recording: it does what its truth says."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from adamacs.core.errors import InvalidParameters, UnreadableFile
from adamacs.demo import movie
from adamacs.demo.movie import Design, Recording, Truth

SMALL = Design(height=64, width=72, frames=120, cells=3, event_rate=1.0, least_spikes=15)


def frames(recording: Recording, threads: int = 1) -> np.ndarray:
    return np.concatenate(list(recording.blocks(threads)))


def digest(recording: Recording, threads: int) -> str:
    return hashlib.sha256(frames(recording, threads).tobytes()).hexdigest()


def test_the_same_seed_gives_the_same_frames_whatever_the_threads() -> None:
    one = digest(Recording(SMALL, 7, 1), 1)
    assert digest(Recording(SMALL, 7, 1), 4) == one
    assert digest(Recording(SMALL, 7, 2), 1) != one


def test_frames_come_in_the_order_volume_slice_channel() -> None:
    design = replace(SMALL, planes=2, flyback=1, structural=True, frames=30)
    recording = Recording(design, 1)
    assert frames(recording).shape == (30, 3, 2, 64, 72)
    assert recording.truth.shifts.shape == (2, 30, 2)
    assert set(recording.truth.plane) == {0, 1}


def test_cells_fire_at_least_as_often_as_asked_and_silent_ones_never() -> None:
    truth = Recording(replace(SMALL, cells=4, silent=1), 3).truth
    assert truth.spikes[0].sum() == 0
    assert truth.calcium[0].max() == 0
    assert truth.spikes[1:].sum(axis=1).min() >= 15


def test_cells_that_answer_cues_fire_behind_most_of_them_and_the_others_do_not() -> None:
    cues = tuple(float(at) for at in range(2, 38, 2))
    design = Design(frames=800, frame_rate=20.0, cells=8, responsive=3, event_rate=0.0, cues=cues)
    truth = Recording(design, 0).truth
    assert truth.responds.tolist() == [False] * 5 + [True] * 3
    assert not truth.spikes[~truth.responds].any()
    behind = np.array(
        [[truth.spikes[cell, int(cue * 20) : int(cue * 20) + 8].any() for cue in cues] for cell in (5, 6, 7)]
    )
    assert 0.6 < behind.mean() < 0.95
    assert truth.spikes[truth.responds].sum() == sum(
        truth.spikes[truth.responds, int(cue * 20) + 1 : int(cue * 20) + 8].sum() for cue in cues
    )


def test_one_spike_adds_the_amplitude_and_fades_with_the_time_constant() -> None:
    trace = movie.calcium(np.array([0.5]), replace(SMALL, decay=0.5, rise=0.02, amplitude=0.4), 0.0)
    assert trace[:10].max() == 0
    assert trace.max() == pytest.approx(0.4, rel=0.05)
    late, later = 20, 30  # half a second apart at 20 Hz
    assert trace[later] / trace[late] == pytest.approx(np.exp(-1), rel=0.02)


def test_a_saturating_indicator_is_bounded() -> None:
    times = np.linspace(1, 2, 200)
    linear = movie.calcium(times, SMALL, 0.0)
    bounded = movie.calcium(times, replace(SMALL, saturation=2.0), 0.0)
    assert linear.max() > 10
    assert bounded.max() < 2.0


def test_spikes_are_counted_in_the_frame_that_covers_their_time(monkeypatch: pytest.MonkeyPatch) -> None:
    design = replace(SMALL, frames=200)
    times = movie.spike_times(design, np.random.default_rng(5))
    monkeypatch.setattr(movie, "spike_times", lambda *_: times)
    cell = movie.draw_cell((20.0, 20.0), design, np.random.default_rng(0))
    assert np.array_equal(np.repeat(np.arange(200), cell.spikes), np.floor(times * design.frame_rate))
    assert np.all(np.diff(times) >= 0)
    assert times.max() < 10.0


def test_tissue_that_moved_down_and_right_is_seen_further_down_and_right() -> None:
    scene = np.zeros((1, 64 + 2 * movie.MARGIN, 72 + 2 * movie.MARGIN), np.float32)
    scene[0, 20 + movie.MARGIN, 30 + movie.MARGIN] = 1.0
    still = np.array([[[3.0, -5.0], [3.0, -5.0]]], np.float32)
    seen = movie.displace(scene, still, SMALL)
    assert seen[0, 23, 25] == pytest.approx(1.0)
    between = movie.displace(scene, still + np.float32(0.5), SMALL)
    assert between[0, 23:25, 25:27] == pytest.approx(0.25)


def test_shifts_are_the_mean_displacement_of_a_frame_while_it_is_drawn() -> None:
    moves = np.array([[[0, 0], [1, -0.5]], [[1, -0.5], [1, 9]]], np.float32)
    assert movie.frame_shifts(moves, 0.6).tolist() == pytest.approx(np.array([[0.3, -0.25], [1.0, -0.2]]))


def test_motion_stays_within_the_tissue_that_is_drawn() -> None:
    path = movie.motion(replace(SMALL, frames=4000, sway=3.0, jump_rate=2.0), np.random.default_rng(0))
    assert len(path) == 4001
    assert np.abs(path).max() <= movie.MARGIN - 3
    assert path.std() > 2


def test_noise_is_that_of_photons_and_electronics() -> None:
    counts = movie.detect(np.full((200, 50, 50), 9.0, np.float32), SMALL, np.random.default_rng(0)).astype(float)
    assert counts.mean() == pytest.approx(SMALL.offset + 9 * SMALL.gain, rel=0.01)
    assert counts.var() == pytest.approx(9 * SMALL.gain**2 + SMALL.read_noise**2, rel=0.02)


def test_true_masks_and_shifts_recover_true_calcium() -> None:
    recording = Recording(replace(SMALL, sway=1.0, jump_rate=0.0), 4)
    seen, truth = frames(recording)[:, 0, 0].astype(float), recording.truth
    shifts = np.rint(truth.shifts[0]).astype(int)
    still = np.stack([np.roll(frame, (-dy, -dx), (0, 1)) for frame, (dy, dx) in zip(seen, shifts)])
    for cell in range(3):
        rows, columns, weight = truth.mask(cell)
        trace = still[:, rows, columns] @ weight
        assert np.corrcoef(trace, truth.calcium[cell])[0, 1] > 0.9


def test_the_structural_channel_does_not_flicker() -> None:
    recording = Recording(replace(SMALL, structural=True, sway=0.0, jump_rate=0.0, cells=6), 2)
    seen = frames(recording).astype(float)
    truth = recording.truth
    rows, columns, _ = truth.mask(int(truth.spikes.sum(axis=1).argmax()))
    green, red = (seen[:, 0, channel][:, rows, columns].mean(axis=1) for channel in (0, 1))
    assert np.corrcoef(green, red)[0, 1] < 0.5
    assert green.std() > 3 * red.std()


def test_masks_lie_in_the_frame_and_cells_apart() -> None:
    truth = Recording(replace(SMALL, cells=5, height=80, width=80), 6).truth
    taken = [set(zip(*(pixels.tolist() for pixels in truth.mask(cell)[:2]))) for cell in range(5)]
    assert all(len(pixels) > 40 for pixels in taken)
    assert sum(len(pixels) for pixels in taken) == len(set().union(*taken))
    assert truth.ypix.min() >= 0
    assert truth.xpix.max() < 80


def test_more_cells_than_fit_are_refused() -> None:
    with pytest.raises(InvalidParameters, match=r"40 cells of 5.5 px do not fit into 64 x 72 px"):
        Recording(replace(SMALL, cells=40), 1)


def test_a_truth_is_written_without_pickle_and_read_back(tmp_path: Path) -> None:
    truth = Recording(SMALL, 5).truth
    truth.save(tmp_path / "truth" / "scan.npz")
    back = Truth.load(tmp_path / "truth" / "scan.npz")
    assert (back.frame_rate, back.shape) == (20.0, (64, 72))
    for name in ("plane", "centre", "mask_start", "ypix", "xpix", "weight", "spikes", "calcium", "shifts"):
        assert np.array_equal(getattr(back, name), getattr(truth, name)), name
        assert getattr(back, name).dtype == getattr(truth, name).dtype


@pytest.mark.parametrize("content", (b"", b"not an archive", b"PK\x03\x04 cut"))
def test_a_damaged_truth_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "scan.npz"
    path.write_bytes(content)
    with pytest.raises(UnreadableFile, match="holds no truth"):
        Truth.load(path)
    with pytest.raises(UnreadableFile):
        Truth.load(tmp_path / "missing.npz")


def test_an_archive_of_something_else_is_no_truth(tmp_path: Path) -> None:
    np.savez(tmp_path / "other.npz", shifts=np.zeros(3))
    np.save(tmp_path / "other.npy", np.zeros(3))
    for name in ("other.npz", "other.npy"):
        with pytest.raises(UnreadableFile, match="holds no truth"):
            Truth.load(tmp_path / name)
