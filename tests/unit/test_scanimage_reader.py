"""The ScanImage reader: what headers of every version mean, and that no damage passes unseen."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from adamacs.core.errors import UnreadableFile
from adamacs.demo import scanimage as demo
from adamacs.demo.scanimage import Microscope, Region
from adamacs.modalities.imaging import reader
from adamacs.modalities.imaging.reader import matlab, tiff

VERSIONS = ("3.8", "4.2", "5.0", "5.1", "2016b", "2019", "2020", "2021", "2023")
SMALL = Microscope(lines=8, pixels=6, frame_rate=30.0)
REAL_DATA = os.environ.get("ADAMACS_REAL_DATA", "")
bounded = settings(
    max_examples=500,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    derandomize=True,
)


def pages(microscope: Microscope, count: int) -> list[np.ndarray]:
    """Pages that carry their own number in every pixel."""
    return [np.full((microscope.lines, microscope.pixels), number, np.int16) for number in range(count)]


def record(folder: Path, microscope: Microscope, count: int, **how: bool) -> tuple[Path, ...]:
    return demo.write(folder, "scan9FY6AIRM_XX_ANM-0001", microscope, pages(microscope, count), **how)


def edit(path: Path, old: str, new: str) -> None:
    """Change a header in place, without moving a byte."""
    assert len(old) == len(new)
    data = path.read_bytes()
    assert old.encode() in data
    path.write_bytes(data.replace(old.encode(), new.encode()))


def recorded_pixels(files: Sequence[Path]) -> np.ndarray:
    """The first pixel of every page, read by tifffile."""
    return np.concatenate([tifffile.imread(path, key=slice(None))[:, 0, 0] for path in files])


# --- what a header means -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", VERSIONS)
def test_every_version_tells_the_same_recording(tmp_path: Path, version: str) -> None:
    microscope = replace(
        SMALL, version=version, channels=(1, 3), frames_per_slice=5, powers=(15.0, 0.5), position=(3.0, -4.5, 210.0)
    )
    scan = reader.read_scan(record(tmp_path, microscope, 10))
    assert (scan.nframes, scan.ndepths, scan.nfields, scan.nrois) == (5, 1, 1, 1)
    assert scan.channels == (1, 3)
    assert (scan.fps, scan.frame_rate, scan.zoom) == (30.0, 30.0, 2.0)
    assert scan.powers == (15.0, 0.5)
    assert (scan.x, scan.y, scan.z) == (3.0, -4.5, 210.0)
    assert scan.bidirectional is True
    assert scan.usecs_per_line == pytest.approx(1e6 * microscope.line_period, rel=1e-4)
    assert scan.scan_datetime == datetime(2026, 2, 10, 9, 30)
    assert scan.scan_duration == pytest.approx(5 / 30)
    assert scan.version.startswith(version[:1] if version == "5.0" else version)
    assert scan.warnings == ()


def test_a_header_told_as_json_means_the_same(tmp_path: Path) -> None:
    microscope = replace(SMALL, version="2018a", frames_per_slice=4, powers=(15.0, 0.5))
    text = reader.read_scan(record(tmp_path / "text", microscope, 4))
    told = reader.read_scan(record(tmp_path / "json", replace(microscope, json=True), 4))
    assert replace(told, files=()) == replace(text, files=())


@pytest.mark.parametrize("version", ("3.8", "5.1", "2021"))
@pytest.mark.parametrize("big", (True, False))
@pytest.mark.parametrize("order", ("<", ">"))
def test_classic_and_big_tiffs_of_both_byte_orders_read_alike(
    tmp_path: Path, version: str, big: bool, order: str
) -> None:
    microscope = replace(SMALL, version=version, frames_per_slice=3)
    path = tmp_path / "scan_00001.tif"
    size = demo.write_file(path, microscope, demo.described(microscope, pages(microscope, 3)), big=big, order=order)
    scan = reader.read_scan([path])
    assert (scan.nframes, scan.pixel, scan.px_height, scan.px_width) == (3, "int16", 8, 6)
    assert scan.files[0].size == size


@pytest.mark.parametrize("channels", ((2,), (1, 2), (1, 2, 4), (1, 2, 3, 4)))
def test_one_to_four_channels_are_told_apart(tmp_path: Path, channels: tuple[int, ...]) -> None:
    microscope = replace(SMALL, channels=channels, frames_per_slice=3)
    scan = reader.read_scan(record(tmp_path, microscope, 3 * len(channels)))
    assert (scan.channels, scan.nframes) == (channels, 3)
    assert scan.page(2, channel=len(channels) - 1) == 3 * len(channels) - 1


def test_a_newer_version_is_read_with_a_warning(tmp_path: Path) -> None:
    scan = reader.read_scan(record(tmp_path, replace(SMALL, version="2027", frames_per_slice=2), 2))
    assert scan.nframes == 2
    assert "2027 is newer than 2023" in scan.warnings[0]


def test_the_first_user_function_names_the_setup(tmp_path: Path) -> None:
    named = record(tmp_path / "named", replace(SMALL, setup="mini2p1_openfield"), 1)
    assert reader.read_scan(named).userfunction_info == "mini2p1_openfield"
    missing = record(tmp_path / "missing", replace(SMALL, setup=None), 1)
    assert reader.read_scan(missing).userfunction_info is None


@pytest.mark.parametrize(("powers", "spelt"), (((25.0,), "= 25\n"), ((15.0, 0.0), "= [15 0]\n")))
def test_powers_are_read_as_a_number_or_in_brackets(tmp_path: Path, powers: tuple[float, ...], spelt: str) -> None:
    microscope = replace(SMALL, powers=powers)
    assert f"SI.hBeams.powers {spelt}" in demo.header_text(microscope)
    scan = reader.read_scan(record(tmp_path, microscope, 1))
    assert scan.powers == scan.fields[0].powers == powers


def test_a_clock_that_was_never_set_tells_no_time(tmp_path: Path) -> None:
    (path,) = record(tmp_path, SMALL, 1)
    edit(path, "epoch = [2026  2 10", "epoch = [1601  1  1")
    assert reader.read_scan([path]).scan_datetime is None


def test_the_field_lies_where_stage_and_field_of_view_say(tmp_path: Path) -> None:
    microscope = replace(SMALL, fov=(240.0, 180.0), position=(100.0, 200.0, 50.0))
    (field,) = reader.read_scan(record(tmp_path, microscope, 1)).fields
    assert (field.um_height, field.um_width) == (240.0, 180.0)
    assert (field.x, field.y, field.z) == (100.0, 200.0, 50.0)
    assert (field.px_height, field.px_width, field.first_line) == (8, 6, 0)


def test_averaged_frames_come_at_the_rate_at_which_they_are_saved(tmp_path: Path) -> None:
    scan = reader.read_scan(record(tmp_path, replace(SMALL, frames_per_slice=12, averaging=4), 3))
    assert (scan.nframes, scan.log_averaging) == (3, 4)
    assert (scan.frame_rate, scan.fps, scan.scan_duration) == (30.0, 7.5, pytest.approx(0.4))


# --- stacks ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", ("4.2", "5.0", "5.1", "2016b", "2019", "2021", "2023"))
@pytest.mark.parametrize("flyback", (0, 2))
def test_a_fast_stack_leaves_out_its_flyback_frames(tmp_path: Path, version: str, flyback: int) -> None:
    microscope = replace(
        SMALL, version=version, channels=(1, 2), zs=(0.0, 15.0, 30.0), flyback=flyback, volumes=4, frames_per_slice=1
    )
    count = 4 * (3 + flyback) * 2
    scan = reader.read_scan(record(tmp_path, microscope, count))
    assert (scan.nframes, scan.ndepths, scan.flyback_frames, scan.is_slow) == (4, 3, flyback, False)
    assert scan.fps == pytest.approx(30.0 / (3 + flyback), rel=1e-5)
    expected = np.arange(count).reshape(4, 3 + flyback, 2)[:, :3]
    found = [[[scan.page(volume, plane, channel) for channel in (0, 1)] for plane in range(3)] for volume in range(4)]
    assert np.array_equal(found, expected)
    if version[0] == "2":
        assert [field.depth for field in scan.fields] == [0.0, 15.0, 30.0]
        assert [field.plane for field in scan.fields] == [0, 1, 2]


@pytest.mark.parametrize("flyback", (0, 1))
def test_frames_repeated_at_a_depth_belong_to_one_volume(tmp_path: Path, flyback: int) -> None:
    microscope = replace(SMALL, zs=(0.0, 20.0), frames_per_slice=3, flyback=flyback, volumes=2)
    scan = reader.read_scan(record(tmp_path, microscope, 2 * (6 + flyback)))
    assert (scan.nframes, scan.frames_per_slice, scan.ndepths) == (2, 3, 2)
    assert scan.page(1, 1, repeat=2) == 1 * (6 + flyback) + 5
    assert [field.depth for field in scan.fields] == [0.0, 20.0]
    with pytest.raises(IndexError):
        scan.page(0, 0, repeat=3)


@pytest.mark.parametrize("version", ("3.8", "4.2", "2016b", "2021"))
def test_a_slow_stack_holds_all_frames_of_a_depth_before_the_next(tmp_path: Path, version: str) -> None:
    microscope = replace(SMALL, version=version, zs=(0.0, 5.0, 10.0), slow=True, frames_per_slice=4)
    scan = reader.read_scan(record(tmp_path, microscope, 12))
    assert (scan.nframes, scan.ndepths, scan.is_slow, scan.fps) == (4, 3, True, 30.0)
    assert np.array_equal(
        [[scan.page(frame, plane) for frame in range(4)] for plane in range(3)], np.arange(12).reshape(3, 4)
    )
    assert scan.scan_duration == pytest.approx(12 / 30)


def test_a_slow_stack_may_be_repeated(tmp_path: Path) -> None:
    microscope = replace(SMALL, zs=(0.0, 5.0), slow=True, frames_per_slice=3, volumes=2)
    scan = reader.read_scan(record(tmp_path, microscope, 12))
    assert scan.nframes == 6
    assert [scan.page(frame, 1) for frame in range(6)] == [3, 4, 5, 9, 10, 11]


def test_a_stack_that_was_stopped_keeps_its_complete_volumes(tmp_path: Path) -> None:
    microscope = replace(SMALL, zs=(0.0, 5.0), flyback=1, volumes=10)
    scan = reader.read_scan(record(tmp_path, microscope, 8, ended=False))
    assert scan.nframes == 2
    assert any("incomplete: 2 of 3 frames" in warning for warning in scan.warnings)
    slow = replace(SMALL, zs=(0.0, 5.0, 9.0), slow=True, frames_per_slice=4)
    scan = reader.read_scan(record(tmp_path / "slow", slow, 9, ended=False))
    assert (scan.nframes, scan.ndepths, scan.nfields) == (4, 2, 2)
    assert any("after 2 of 3 depths" in warning for warning in scan.warnings)


def test_a_stack_of_one_depth_is_a_plane(tmp_path: Path) -> None:
    (path,) = record(tmp_path, replace(SMALL, frames_per_slice=3), 3)
    edit(path, "hStackManager.enable = false\n", "hStackManager.enable = true \n")
    edit(path, "hStackManager.numFramesPerVolume = 1", "hStackManager.numFramesPerVolume = 3")
    edit(path, "numFramesPerVolumeWithFlyback = 1", "numFramesPerVolumeWithFlyback = 3")
    scan = reader.read_scan([path])
    assert (scan.nframes, scan.ndepths, scan.frames_per_slice) == (3, 1, 1)


def test_pages_of_a_split_stack_are_counted_over_all_files(tmp_path: Path) -> None:
    microscope = replace(SMALL, channels=(1, 2), zs=(0.0, 9.0), flyback=1, volumes=5, frames_per_file=4)
    files = record(tmp_path, microscope, 30)
    scan = reader.read_scan(files)
    assert scan.pages_per_file == (8, 8, 8, 6)
    assert scan.nframes == 5
    pixels = recorded_pixels(files)
    for frame in range(5):
        page = scan.page(frame, 1, 1)
        file, place = scan.locate(page)
        assert tifffile.imread(files[file], key=place)[0, 0] == pixels[page] == frame * 6 + 3
    with pytest.raises(IndexError):
        scan.locate(30)
    with pytest.raises(IndexError):
        scan.locate(-1)


# --- several regions ---------------------------------------------------------------------------------------------


def test_regions_stand_below_each_other_with_the_flight_between(tmp_path: Path) -> None:
    regions = (
        Region((-2.0, 1.0), (4.0, 2.0), (12, 20)),
        Region((3.0, 1.0), (4.0, 1.0), (12, 10)),
        Region((3.0, -1.0), (2.0, 2.0), (8, 16)),
    )
    microscope = demo.with_regions(replace(SMALL, position=(10.0, 20.0, 0.0)), *regions)
    scan = reader.read_scan(record(tmp_path, microscope, 1))
    assert (scan.nrois, scan.nfields) == (3, 3)
    expected = demo.region_lines(microscope)
    assert [(f.first_line, f.first_line + f.px_height) for f in scan.fields] == expected
    assert expected[-1][1] == scan.px_height > 46  # rows are lost between them
    assert [f.px_width for f in scan.fields] == [12, 12, 8]
    assert (scan.fields[0].um_height, scan.fields[0].um_width) == (30.0, 60.0)
    assert (scan.fields[0].x, scan.fields[0].y) == (10.0 - 30.0, 20.0 + 15.0)


def test_a_region_is_imaged_where_its_scanfields_are(tmp_path: Path) -> None:
    everywhere = Region((0.0, 0.0), (2.0, 2.0), (12, 10))
    once = Region((3.0, 0.0), (2.0, 2.0), (12, 10), zs=(20.0,), discrete=True)
    between = Region((6.0, 0.0), (2.0, 2.0), (12, 10), zs=(0.0, 20.0))
    microscope = demo.with_regions(replace(SMALL, zs=(0.0, 20.0, 40.0), volumes=1), everywhere, once, between)
    scan = reader.read_scan(record(tmp_path, microscope, 3))
    assert [(f.plane, f.roi) for f in scan.fields] == [(0, 0), (0, 2), (1, 0), (1, 1), (1, 2), (2, 0)]
    assert scan.nrois == 3


def test_a_single_region_is_read_as_a_whole_page(tmp_path: Path) -> None:
    microscope = demo.with_regions(SMALL, Region((1.0, 0.0), (2.0, 2.0), (12, 10)))
    (field,) = reader.read_scan(record(tmp_path, microscope, 1)).fields
    assert (field.px_height, field.first_line, field.um_width) == (10, 0, 30.0)


def test_regions_that_do_not_fit_their_page_are_refused(tmp_path: Path) -> None:
    microscope = demo.with_regions(SMALL, Region((1.0, 0.0), (2.0, 2.0), (12, 10)))
    (path,) = record(tmp_path, replace(microscope, lines=8), 1)
    with pytest.raises(UnreadableFile, match="imaging regions take 10 rows, a page has 8 x 12 px"):
        reader.read_scan([path])


@pytest.mark.parametrize("artist", ("", "{", "[]", '{"RoiGroups": null}', '{"RoiGroups": {"imagingRoiGroup": {}}}'))
def test_multi_roi_without_regions_is_refused(artist: str) -> None:
    with pytest.raises(UnreadableFile, match="Artist names no imaging region"):
        reader.regions.read_regions(artist, "", Path("scan.tif"))


# --- contradictions ----------------------------------------------------------------------------------------------


def test_an_acquisition_that_was_stopped_early_is_read_with_a_warning(tmp_path: Path) -> None:
    scan = reader.read_scan(record(tmp_path, replace(SMALL, frames_per_slice=100), 7, ended=False))
    assert scan.nframes == 7
    assert "asks for 100 frames per channel, the pages hold 7" in scan.warnings[0]


def test_more_pages_than_the_header_asks_for_are_refused(tmp_path: Path) -> None:
    files = record(tmp_path, replace(SMALL, frames_per_slice=5), 7)
    with pytest.raises(UnreadableFile, match="asks for 5 frames per channel, the pages hold 7"):
        reader.read_scan(files)


def test_a_regular_end_before_all_frames_is_refused(tmp_path: Path) -> None:
    files = record(tmp_path, replace(SMALL, frames_per_slice=9), 7, ended=True)
    with pytest.raises(UnreadableFile, match=r"asks for 9 .* hold 7, and the last is marked as the regular end"):
        reader.read_scan(files)


def test_pages_that_the_channels_do_not_divide_are_refused(tmp_path: Path) -> None:
    files = record(tmp_path, replace(SMALL, channels=(1, 2), frames_per_slice=4), 7)
    with pytest.raises(UnreadableFile, match=r"7 pages, which 2 channels \(channelSave\) do not divide") as caught:
        reader.read_scan(files)
    assert caught.value.where == str(files[0])
    assert caught.value.hint


def test_a_header_with_other_channels_than_its_pages_is_refused(tmp_path: Path) -> None:
    files = record(tmp_path, replace(SMALL, channels=(1, 2), frames_per_slice=4), 8)
    edit(files[0], "SI.hChannels.channelSave = [1 2]", "SI.hChannels.channelSave = 1    ")
    with pytest.raises(UnreadableFile, match=r"frames 1 to 4 .* the 8 frames"):
        reader.read_scan(files)


def test_a_file_in_the_middle_that_is_not_full_is_refused(tmp_path: Path) -> None:
    microscope = replace(SMALL, frames_per_slice=12, frames_per_file=4)
    files = record(tmp_path, microscope, 12)
    text = demo.described(microscope, pages(microscope, 3), first=4)
    demo.write_file(files[1], microscope, text)
    with pytest.raises(UnreadableFile, match=r"promises 4 frames per file \(logFramesPerFile\), the pages hold 3"):
        reader.read_scan(files)


def test_a_missing_file_is_noticed(tmp_path: Path) -> None:
    files = record(tmp_path, replace(SMALL, frames_per_slice=12, frames_per_file=4), 12)
    with pytest.raises(UnreadableFile, match=r"begins with frame 9 .* ends with 4: a file between them is missing"):
        reader.read_scan([files[0], files[2]])
    with pytest.raises(UnreadableFile, match="first page is frame 5 of the acquisition"):
        reader.read_scan(files[1:])
    assert "asks for 12" in reader.read_scan(files[:2]).warnings[0]


def test_files_of_different_acquisitions_are_not_joined(tmp_path: Path) -> None:
    one = record(tmp_path / "one", replace(SMALL, frames_per_slice=4), 4)
    other = record(tmp_path / "other", replace(SMALL, frames_per_slice=4, frame_rate=15.0), 4)
    with pytest.raises(UnreadableFile, match=r"frame rate .15.0. are not those of"):
        reader.read_scan([*one, *other])
    small = record(tmp_path / "small", replace(SMALL, lines=4), 4)
    with pytest.raises(UnreadableFile, match=r"pages .* are not those of"):
        reader.read_scan([*one, *small])


def test_averages_that_mix_depths_are_refused(tmp_path: Path) -> None:
    microscope = replace(SMALL, zs=(0.0, 5.0), frames_per_slice=2, flyback=1, averaging=2, volumes=4)
    with pytest.raises(UnreadableFile, match="its pages mix depths") as caught:
        reader.read_scan(record(tmp_path, microscope, 10))
    assert "logAverageFactor" in str(caught.value.hint)


def test_a_volume_that_never_ended_is_refused(tmp_path: Path) -> None:
    microscope = replace(SMALL, zs=(0.0, 5.0, 9.0), volumes=4)
    with pytest.raises(UnreadableFile, match="2 frames per channel, but one volume takes 3"):
        reader.read_scan(record(tmp_path, microscope, 2, ended=False))


@pytest.mark.parametrize(
    ("old", "new", "field"),
    (
        ("channelSave = 1\n", "channelSave = x\n", "hChannels.channelSave"),
        ("channelSave = 1\n", "channelSave = 0\n", "hChannels.channelSave"),
        ("scanFrameRate = 30", "scanFrameRate = NA", "hRoiManager.scanFrameRate"),
        ("framesPerSlice = 1\n", "framesPerSlice = z\n", "hStackManager.framesPerSlice"),
        ("logFramesPerFile = Inf", "logFramesPerFile = -4 ", "hScan2D.logFramesPerFile"),
    ),
)
def test_a_setting_that_makes_no_sense_is_named(tmp_path: Path, old: str, new: str, field: str) -> None:
    (path,) = record(tmp_path, SMALL, 1)
    edit(path, old, new)
    if "Frame" in old and "Rate" in old:
        edit(path, "scanFramePeriod = 0.0333333", "scanFramePeriod = NaN      ")
    with pytest.raises(UnreadableFile, match=f"SI.{field}"):
        reader.read_scan([path])


# --- damage ------------------------------------------------------------------------------------------------------


def test_what_is_no_recording_is_refused_with_a_sentence(tmp_path: Path) -> None:
    def refused(path: Path) -> str:
        with pytest.raises(UnreadableFile) as caught:
            reader.read_scan([path])
        assert caught.value.where == str(path)
        return caught.value.what

    plain = tmp_path / "plain.tif"
    tifffile.imwrite(plain, np.zeros((3, 8, 8), np.int16), photometric="minisblack")
    assert "no header of ScanImage" in refused(plain)
    colour = tmp_path / "colour.tif"
    tifffile.imwrite(colour, np.zeros((8, 8, 3), np.uint8), photometric="rgb")
    assert "3 samples" in refused(colour)
    (tmp_path / "text.tif").write_text("this is text")
    assert "no TIFF" in refused(tmp_path / "text.tif")
    (tmp_path / "empty.tif").write_bytes(b"")
    assert "ends at byte 0" in refused(tmp_path / "empty.tif")
    assert "is missing" in refused(tmp_path / "missing.tif")
    assert "no file" in refused(tmp_path)
    with pytest.raises(UnreadableFile, match="at least one file"):
        reader.read_scan([])


def test_pages_of_different_shapes_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "scan_00001.tif"
    with tifffile.TiffWriter(path) as file:
        for shape in ((8, 6), (8, 6), (4, 6)):
            file.write(np.zeros(shape, np.int16), description=demo.header_text(replace(SMALL, version="5.1")))
    with pytest.raises(UnreadableFile, match="Page 3 holds 4 x 6 px of int16, the pages before it 8 x 6 px"):
        reader.read_scan([path])


def test_a_tiff_to_which_tifffile_added_its_own_description_is_read(tmp_path: Path) -> None:
    path = tmp_path / "scan_00001.tif"
    text = demo.page_text(SMALL, 0)
    movie = np.zeros((5, 8, 6), np.int16)
    header = demo.header_text(replace(SMALL, frames_per_slice=5))
    tifffile.imwrite(path, movie, description=text, software=header, photometric="minisblack")
    scan = reader.read_scan([path])
    assert (scan.nframes, scan.scan_datetime) == (5, SMALL.start)


def test_a_header_of_megabytes_is_read_whole(tmp_path: Path) -> None:
    path = tmp_path / "scan_00001.tif"
    header = demo.header_text(replace(SMALL, version="5.1", frames_per_slice=1))
    text = header + "scanimage.SI.hRoiManager.notes = '" + "x" * 3_000_000 + "'\n"
    tifffile.imwrite(path, np.zeros((8, 6), np.int16), description=text, metadata=None, photometric="minisblack")
    assert tiff.first_text(path).description.strip() == text.strip()


def test_compressed_pages_are_admitted(tmp_path: Path) -> None:
    path = tmp_path / "scan_00001.tif"
    pytest.importorskip("imagecodecs", reason="NO IMAGECODECS: no compressed TIFF can be written to try it")
    header = demo.header_text(replace(SMALL, version="5.1", frames_per_slice=2))
    with tifffile.TiffWriter(path) as file:
        for number in range(2):
            file.write(np.full((8, 6), number, np.int16), description=header, compression="lzw", rowsperstrip=2)
    assert reader.read_scan([path]).nframes == 2


def test_a_chain_of_directories_that_loops_ends(tmp_path: Path) -> None:
    (path,) = record(tmp_path, replace(SMALL, frames_per_slice=5), 5)
    data = bytearray(path.read_bytes())
    with tifffile.TiffFile(path) as file:
        offsets = [page.offset for page in file.pages]
    entries = struct.unpack_from("<Q", data, offsets[4])[0]
    struct.pack_into("<Q", data, offsets[4] + 8 + 20 * entries, offsets[1])
    path.write_bytes(data)
    with pytest.raises(UnreadableFile, match="a loop"):
        reader.read_scan([path])


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The bytes of a sound recording."""
    microscope = replace(SMALL, channels=(1, 2), zs=(0.0, 5.0), flyback=1, volumes=2)
    (path,) = record(tmp_path_factory.mktemp("sound"), microscope, 12)
    return path.read_bytes()


@bounded
@given(data=st.data())
def test_a_recording_cut_anywhere_is_refused(tmp_path: Path, sound: bytes, data: st.DataObject) -> None:
    path = tmp_path / "cut.tif"
    path.write_bytes(sound[: data.draw(st.integers(0, len(sound) - 1))])
    with pytest.raises(UnreadableFile) as caught:
        reader.read_scan([path])
    assert caught.value.where == str(path)
    assert caught.value.hint


@bounded
@given(data=st.data())
def test_changed_bytes_raise_nothing_but_the_typed_error(tmp_path: Path, sound: bytes, data: st.DataObject) -> None:
    changed = bytearray(sound)
    for _ in range(data.draw(st.integers(1, 4))):
        changed[data.draw(st.integers(0, len(sound) - 1))] = data.draw(st.integers(0, 255))
    assert_reads_or_refuses(tmp_path / "changed.tif", bytes(changed))


@bounded
@given(head=st.sampled_from((b"", b"II\x2a\x00", b"MM\x00\x2a", b"II\x2b\x00\x08\x00\x00\x00")), rest=st.binary())
def test_arbitrary_bytes_raise_nothing_but_the_typed_error(tmp_path: Path, head: bytes, rest: bytes) -> None:
    assert_reads_or_refuses(tmp_path / "any.tif", head + rest)


def assert_reads_or_refuses(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    try:
        scan = reader.read_scan([path])
    except UnreadableFile as error:
        assert error.where == str(path)
    else:
        assert scan.nframes > 0


_values = st.recursive(
    st.one_of(
        st.booleans(),
        st.integers(-(2**40), 2**40),
        st.floats(allow_nan=False, width=16).map(float),
        st.text(st.characters(blacklist_characters="\r\n", blacklist_categories=("Cs",))),
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.lists(inner, max_size=4).map(tuple)),
    max_leaves=12,
)


@bounded
@given(key=st.sampled_from(sorted(demo._settings(SMALL))), value=_values, text=st.text(max_size=40))
def test_any_value_of_any_setting_reads_or_is_refused(key: str, value: object, text: str) -> None:
    for spelt in (demo.matlab(value), text):
        header = demo.header_text(SMALL) + f"\nSI.{key} = {spelt}\n"
        try:
            found = reader.settings.read_settings(tiff.PageText("epoch = []", header), Path("scan.tif"))
        except UnreadableFile as error:
            assert error.where == "scan.tif"
        else:
            assert found.frame_rate > 0


# --- MATLAB literals ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "value"),
    (
        ("12", 12),
        ("-3.5e-2", -0.035),
        ("Inf", float("inf")),
        ("true", True),
        ("'it''s [1 2]'", "it's [1 2]"),
        ("[]", ()),
        ("{}", []),
        ("[1 2 3]", (1, 2, 3)),
        ("[1,2]", (1, 2)),
        ("[-1 2;3 4]", ((-1, 2), (3, 4))),
        ("[1;2]", ((1,), (2,))),
        ("{'bench2p' [0.5 1] {}}", ["bench2p", (0.5, 1), []]),
        ("zeros(0,2)", ()),
        ("<nonscalar struct/object>", "<nonscalar struct/object>"),
        ("scanimage.types.StackMode.fast", "scanimage.types.StackMode.fast"),
        ("[1 2", "[1 2"),
        ("1 2", "1 2"),
        ("__import__('os').getcwd()", "__import__('os').getcwd()"),
    ),
)
def test_matlab_literals_are_read_and_anything_else_stays_text(text: str, value: object) -> None:
    assert matlab.literal(text) == value


@given(text=st.text())
@settings(derandomize=True)
def test_no_text_breaks_the_literal_reader(text: str) -> None:
    assert isinstance(matlab.numbers(matlab.literal(text)), tuple)
    assert isinstance(matlab.read_header(text), matlab.Header)


def test_deep_nesting_is_not_followed() -> None:
    assert matlab.literal("[" * 50_000) == "[" * 50_000
    assert matlab.json_value("[" * 100_000) == {}
    assert matlab.numbers(json.loads("1" * 4000)) == (float("inf"),)


def test_settings_agree_with_those_that_tifffile_reads(tmp_path: Path) -> None:
    microscope = replace(SMALL, channels=(1, 2), zs=(0.0, 5.0), flyback=1, powers=(15.0, 0.5))
    (path,) = record(tmp_path, microscope, 6)
    with tifffile.TiffFile(path) as file:
        metadata = file.scanimage_metadata
        assert len(file.pages) == 6
    assert metadata is not None
    ours = matlab.read_header(demo.header_text(microscope))
    assert set(ours) == set(metadata["FrameData"])
    for key, value in metadata["FrameData"].items():
        assert np.array_equal(np.ravel(matlab.numbers(ours[key])), np.ravel(numbers_of(value)), equal_nan=True), key


def numbers_of(value: object) -> list[float]:
    if isinstance(value, bool | int | float):
        return [float(value)]
    return [number for item in value for number in numbers_of(item)] if isinstance(value, list) else []


# --- times within a volume ---------------------------------------------------------------------------------------


def test_every_pixel_has_the_time_at_which_it_was_drawn(tmp_path: Path) -> None:
    microscope = replace(SMALL, zs=(0.0, 5.0), volumes=1)
    scan = reader.read_scan(record(tmp_path, microscope, 2))
    line = microscope.line_period
    first, second = (reader.delay_image(scan, field) for field in scan.fields)
    assert first.shape == (8, 6)
    assert np.allclose(first.mean(axis=1), (np.arange(8) + 0.5) * line, rtol=1e-4)
    assert np.all(np.diff(first[0]) > 0)
    assert np.all(np.diff(first[1]) < 0)  # drawn backwards
    assert np.allclose(second - first, 1 / 30)
    steps = np.diff(first[0])
    assert steps[0] > steps[2]  # a resonant mirror is slowest at the edges


# --- which files belong together ---------------------------------------------------------------------------------


def test_files_of_a_split_acquisition_are_found_in_natural_order(tmp_path: Path) -> None:
    files = record(tmp_path, replace(SMALL, frames_per_slice=12, frames_per_file=1), 12)
    assert reader.single_acquisition(reversed(files)) == files
    (found,) = reader.find_acquisitions(tmp_path.iterdir())
    assert found.stem == "scan9FY6AIRM_XX_ANM-0001_00001"


def test_one_file_is_an_acquisition_and_no_tiff_is_none(tmp_path: Path) -> None:
    files = record(tmp_path, SMALL, 1)
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / "._scan_00001.tif").write_text("left by a Mac")
    assert reader.single_acquisition(tmp_path.iterdir()) == files
    assert reader.single_acquisition([tmp_path / "notes.txt"]) == ()


def test_several_acquisitions_in_a_folder_are_reported_not_joined(tmp_path: Path) -> None:
    one = record(tmp_path, replace(SMALL, frames_per_slice=2), 2)
    again = one[0].with_name(one[0].name.replace("_00001", "_00002"))
    again.write_bytes(one[0].read_bytes())
    assert [acquisition.files for acquisition in reader.find_acquisitions([again, *one])] == [one, (again,)]
    with pytest.raises(UnreadableFile, match=r"holds 2 acquisitions, not one: .*_00001, .*_00002") as caught:
        reader.single_acquisition(tmp_path.iterdir())
    assert caught.value.where == str(tmp_path)


def test_files_with_one_counter_are_joined_where_their_frames_continue(tmp_path: Path) -> None:
    microscope = replace(SMALL, frames_per_slice=6, frames_per_file=2)
    renamed = []
    for number, path in enumerate(record(tmp_path, microscope, 6), start=8):
        renamed.append(path.rename(tmp_path / f"scan9FY6AIRM_{number}.tif"))
    assert reader.single_acquisition(tmp_path.iterdir()) == tuple(renamed)
    assert reader.read_scan(renamed).nframes == 6


@given(names=st.lists(st.from_regex(r"[a-c_0-9]{0,12}(\.tif|\.TIFF|\.h5)?", fullmatch=True), unique=True))
@settings(derandomize=True)
def test_every_tiff_is_in_exactly_one_acquisition(names: list[str]) -> None:
    paths = [Path("nowhere", name) for name in names if name]
    found = [path for acquisition in reader.find_acquisitions(paths) for path in acquisition.files]
    assert sorted(found) == sorted(path for path in paths if path.suffix.lower() in (".tif", ".tiff"))


# --- size --------------------------------------------------------------------------------------------------------

# Linux counts into getrusage what the parent held when it forked: there the peak of this program alone is asked for.
_MEASURE = """
import re, resource, sys
from pathlib import Path
from adamacs.modalities.imaging import reader
scan = reader.read_scan([Path(sys.argv[1])])
status = Path("/proc/self/status")
if status.exists():
    kilobytes = int(re.search(r"VmHWM:\\s+(\\d+)", status.read_text())[1])
else:
    kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // (1024 if sys.platform == "darwin" else 1)
print(scan.nframes, kilobytes // 1024)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="NOT ON WINDOWS: memory is measured with getrusage")
def test_a_recording_of_20_gb_takes_less_than_200_mb_of_memory(tmp_path: Path) -> None:
    microscope = Microscope(lines=512, pixels=512, frames_per_slice=40_000)
    path = tmp_path / "large_00001.tif"
    try:
        probe = tmp_path / "probe"
        with probe.open("wb") as file:
            file.truncate(1 << 26)
        if probe.stat().st_blocks * 512 > 1 << 20:
            pytest.skip("NO SPARSE FILES: this file system would need 20 GB for the test")
        size = demo.write_file(path, microscope, demo.described(microscope, [None] * 40_000, last=39_999))
        assert size > 20e9
        run = subprocess.run([sys.executable, "-c", _MEASURE, path], capture_output=True, text=True, timeout=120)
        assert run.returncode == 0, run.stderr
        frames, megabytes = map(int, run.stdout.split())
    finally:
        path.unlink(missing_ok=True)
    assert frames == 40_000  # every directory was walked
    assert megabytes < 200


# --- a real recording --------------------------------------------------------------------------------------------


@pytest.mark.skipif(not REAL_DATA, reason="NO REAL RECORDINGS: ADAMACS_REAL_DATA names no folder; this was not tried")
def test_a_real_volumetric_recording_is_read_as_others_read_it() -> None:
    files = reader.single_acquisition((Path(REAL_DATA) / "scanimage").iterdir())
    scan = reader.read_scan(files)
    assert scan.pages_per_file == (320, 320)
    assert (scan.px_height, scan.px_width, scan.nchannels) == (20, 20, 2)
    assert (scan.ndepths, scan.flyback_frames, scan.nframes) == (9, 7, 20)
    assert (scan.version, scan.fps, scan.powers) == ("2021", 32.7454, (15.0, 0.0))
    assert scan.scan_datetime == datetime(2025, 4, 24, 16, 41, 20, 802_000)
    assert [field.depth for field in scan.fields] == [92.0 + 2 * plane for plane in range(9)]
    assert "asks for 1600 frames per channel, the pages hold 320" in scan.warnings[0]  # 2 of 10 files
    means = [tifffile.imread(path, key=0).mean() for path in files]
    assert means == [pytest.approx(19.2575), pytest.approx(8.8575)]
    timestamps = []
    for page in (scan.page(volume) for volume in (0, 19)):
        file, place = scan.locate(page)
        with tifffile.TiffFile(files[file]) as opened:
            header = matlab.read_header(opened.pages[place].tags["ImageDescription"].value)
        timestamps.append(header["frameTimestamps_sec"])
    assert np.diff(timestamps)[0] == pytest.approx(19 / scan.fps, rel=1e-4)
