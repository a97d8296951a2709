"""Tables of cameras, takes and HARP as trains, what is missing told and filled if asked; videos as counts."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import numpy as np
import pytest

from adamacs.core import settings as core_settings
from adamacs.core import setups
from adamacs.core.clocks import from_local
from adamacs.core.errors import UnreadableFile
from adamacs.core.events import ImportedEvents, SourceFiles, Tally
from adamacs.core.promises import FILE, HEADER
from adamacs.demo import cameras, harp, motive, video
from adamacs.modalities.behavior import looks
from adamacs.modalities.behavior.importers.frames import (
    glance_at_video,
    import_camera,
    import_frame_sync,
    import_take,
    import_video,
)

START = 1_770_712_200 * 10**9  # ns, 2026-02-10T08:30:00Z
LOST = [100, 101, 500]
START_LOCAL = datetime(2026, 2, 10, 9, 30, 0, 250_000)


@pytest.fixture
def lab(tmp_path):
    """Settings of a lab whose own setup type says something of its cameras."""
    made = core_settings.create(tmp_path / "lab")
    (made.home / "setups").mkdir()
    return made


def say(lab, camera: str = "", frames: str = "") -> None:
    text = (setups.SHIPPED / "mini2p1_openfield.toml").read_text(encoding="utf-8")
    text = text.replace('source = "camera_top"\n', f'source = "camera_top"\n{camera}\n', 1)
    text = text.replace('parser = "harp_frames"\n', f'parser = "harp_frames"\n{frames}\n', 1)
    (lab.home / "setups" / "own.toml").write_text(text, encoding="utf-8")


def read_top(lab, path: Path) -> ImportedEvents:
    return import_camera(SourceFiles("camera_top", "mini2p1_openfield", (path,)), lab)


def read_harp(lab, path: Path) -> ImportedEvents:
    return import_frame_sync(SourceFiles("harp", "mini2p1_openfield", (path,)), lab)


def test_frames_that_a_camera_lost_are_told_and_filled_where_the_setup_type_asks(lab, tmp_path):
    kept = cameras.exposures(1000, 50.0, jitter=5e-4, lost=LOST)
    path = cameras.write_bonsai(tmp_path / "top.csv", START + kept)
    (series,) = read_top(lab, path).series
    assert (series.event_type, len(series.times), series.repairs) == ("camera_top_frames", 997, ())
    say(lab, "gap = 1.5")
    (series,) = read_top(lab, path).series
    assert [(repair.first, repair.count) for repair in series.repairs] == [(100, 2), (500, 1)]
    whole = cameras.exposures(1000, 50.0, jitter=5e-4) / 1e9
    others = np.delete(np.arange(1000), LOST)
    np.testing.assert_allclose(series.times[others], whole[others], atol=1e-7)
    np.testing.assert_allclose(series.times[LOST], whole[LOST], atol=3e-3)


def test_the_camera_s_own_count_goes_before_what_times_make_one_believe(lab, tmp_path):
    say(lab, "gap = 1.5\nframe_rate = 50")
    ticks = 5_000_000_000 + cameras.exposures(1000, 50.0)
    ticks[600:] += 40_000_000  # it paused for two periods, and lost nothing
    numbers = np.delete(np.arange(1000) + 7, LOST)
    path = cameras.write_basler(tmp_path / "top.csv", np.delete(ticks, LOST), frames=numbers)
    found = read_top(lab, path)
    assert [(repair.first, repair.count) for repair in found.series[0].repairs] == [(100, 2), (500, 1)]
    assert "Missing frames: 3 by count, 5 by times; the count is believed." in found.remarks
    say(lab, "frame_rate = 50")
    found = read_top(lab, path)
    assert found.series[0].repairs == ()
    assert "Missing frames: 3 by count, 5 by times; the count is believed." in found.remarks


def test_a_count_that_runs_back_is_no_evidence(lab, tmp_path):
    say(lab, "gap = 1.5\nframe_rate = 50")
    numbers = np.arange(1000)
    numbers[700:] -= 300
    ticks = np.delete(5_000_000_000 + cameras.exposures(1000, 50.0), LOST)
    path = cameras.write_basler(tmp_path / "top.csv", ticks, frames=np.delete(numbers, LOST))
    found = read_top(lab, path)
    assert sum(repair.count for repair in found.series[0].repairs) == 3
    assert any("of no use" in remark for remark in found.remarks)


def test_a_clock_that_was_set_back_fills_nothing_and_says_so(lab, tmp_path):
    say(lab, "gap = 1.5")
    instants = START + cameras.exposures(1000, 50.0, lost=LOST)
    instants[300:] -= 2_000_000_000
    found = read_top(lab, cameras.write_bonsai(tmp_path / "top.csv", instants))
    assert (len(found.series[0].times), found.series[0].repairs) == (997, ())
    assert (np.diff(found.series[0].times) >= 0).all()
    assert "Its times do not only run forward: no frame was filled in." in found.remarks


@pytest.mark.parametrize(("per_second", "unit"), [(10**7, "100 ns"), (125_000_000, "8 ns"), (10**6, "us")])
def test_the_stated_frame_rate_tells_ticks_that_their_size_cannot_and_it_is_recorded(lab, tmp_path, per_second, unit):
    exposed = cameras.exposures(500, 50.0)
    path = cameras.write_basler(tmp_path / "top.csv", 5_000_000_000 + exposed // (10**9 // per_second))
    say(lab, "frame_rate = 50.0")
    found = read_top(lab, path)
    np.testing.assert_allclose(found.series[0].times, exposed / 1e9, atol=1e-6)
    assert f"Times are in {unit}, decided by stated rate." in found.remarks


@pytest.mark.parametrize(("unit", "factor"), [("s", 1.0), ("ms", 1e3), ("us", 1e6)])
def test_plain_numbers_of_harp_have_the_unit_that_the_setup_type_says_and_none_without(lab, tmp_path, unit, factor):
    times = 12.5 + np.arange(300) / 30
    path = harp.write_frame_sync_numbers(tmp_path / "2PFrames.csv", np.arange(300), times * factor)
    with pytest.raises(UnreadableFile, match="tells the time as a plain number"):
        read_harp(lab, path)
    say(lab, frames=f'unit = "{unit}"')
    found = read_harp(lab, path)
    np.testing.assert_allclose(found.series[0].times, np.arange(300) / 30, atol=1e-6)
    assert f"Times are in {unit}." in found.remarks


def test_frames_that_harp_s_count_leaves_out_are_filled(lab, tmp_path):
    say(lab, frames='unit = "s"\ngap = 1.5')
    times = np.delete(np.arange(300) / 30, [50, 51])
    path = harp.write_frame_sync_numbers(tmp_path / "2PFrames.csv", np.delete(np.arange(300), [50, 51]), times)
    (series,) = read_harp(lab, path).series
    assert [(repair.first, repair.count) for repair in series.repairs] == [(50, 2)]
    np.testing.assert_allclose(series.times, np.arange(300) / 30, atol=1e-9)


def of_video(*paths: Path) -> SourceFiles:
    return SourceFiles("camera_top_video", "mini2p1_openfield", paths)


def test_frames_of_a_video_are_a_count_without_events_and_of_several_files_their_sum(lab, tmp_path):
    one, other = video.write_video(tmp_path / "a.mp4", 60), video.write_video(tmp_path / "b.avi", 15)
    for read in (import_video, glance_at_video):
        found = read(of_video(one, other), lab)
        assert found.tallies == (Tally(FILE, 75),)
        assert (found.events, found.series) == ((), ())
        assert found.remarks == ("a.mp4: 60 frames by its index.", "b.avi: 15 frames by its index.")
    look = looks.look_at_video(of_video(one, other), lab)
    assert (look.summary, look.has_clock) == ("camera_top_video: 75 frames", False)


def test_a_glance_leaves_open_what_takes_reading_all_of_a_file(lab, tmp_path):
    path = video.write_video(tmp_path / "a.mkv", 60)
    assert glance_at_video(of_video(path), lab).tallies == ()
    assert looks.look_at_video(of_video(path), lab).summary == "camera_top_video: frames are still to be counted"
    found = import_video(of_video(path), lab)
    assert (found.tallies, found.remarks) == ((Tally(FILE, 60),), ("a.mkv: 60 frames by its packets.",))


def test_a_video_that_was_never_ended_is_refused(lab, tmp_path):
    path = video.write_video(tmp_path / "a.mp4", 60)
    path.write_bytes(path.read_bytes()[:-100])
    for read in (import_video, glance_at_video, looks.look_at_video):
        with pytest.raises(UnreadableFile):
            read(of_video(path), lab)


def of_take(path: Path) -> SourceFiles:
    return SourceFiles("mocap", "mini2p1_openfield", (path,))


def test_a_take_is_a_train_of_its_frames_beside_what_its_head_tells(lab, tmp_path):
    take = motive.Take(500, 240.0, lost=(100, 101), start=START_LOCAL)
    recorded = of_take(motive.write_take(tmp_path / "take.csv", take))
    found = import_take(recorded, lab)
    (series,) = found.series
    assert (series.event_type, series.repairs) == ("mocap_frames", ())
    np.testing.assert_allclose(series.times, take.exported / 240, atol=1e-6)
    assert found.tallies == (Tally(HEADER, 500, 240.0),)
    assert any("500 exported frames, and 498 are here" in remark for remark in found.remarks)
    look = looks.look_at_take(recorded, lab)
    assert (look.summary, look.seconds, look.zero) == ("mocap: 500 frames of OptiTrack", 500 / 240, look.start)
    assert look.start == from_local(START_LOCAL, lab.zone)


def test_a_take_whose_head_tells_nothing_is_a_train_alone(lab, tmp_path):
    path = motive.write_take(tmp_path / "take.csv", motive.Take(50))
    text = path.read_text()
    path.write_text("Format Version,1.25" + text[text.index("\n") :])
    found = import_take(of_take(path), lab)
    assert (len(found.series[0].times), found.tallies) == (50, ())
    look = looks.look_at_take(of_take(path), lab)
    assert (look.summary, look.seconds, look.start) == ("mocap: an open number of frames of OptiTrack", None, None)
