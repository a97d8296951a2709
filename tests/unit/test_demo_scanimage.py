"""The writer of ScanImage TIFFs: files as ScanImage names, splits and fills them, readable by others."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile

from adamacs.demo import scanimage
from adamacs.demo.scanimage import Microscope, Region

SMALL = Microscope(lines=8, pixels=6)


def images(count: int) -> list[np.ndarray]:
    return [np.arange(48, dtype=np.int16).reshape(8, 6) + 100 * number for number in range(count)]


@pytest.mark.parametrize("version", ("3.8", "4.2", "5.0", "5.1", "2016b", "2021", "2023"))
@pytest.mark.parametrize(("big", "order"), ((True, "<"), (False, "<"), (False, ">"), (True, ">")))
def test_tifffile_reads_every_pixel_and_sees_scanimage(tmp_path: Path, version: str, big: bool, order: str) -> None:
    path = tmp_path / "scan.tif"
    microscope = replace(SMALL, version=version)
    size = scanimage.write_file(path, microscope, scanimage.described(microscope, images(7)), big=big, order=order)
    assert path.stat().st_size == size
    with tifffile.TiffFile(path) as file:
        assert file.is_scanimage
        assert (file.is_bigtiff, file.byteorder, len(file.pages)) == (big, order, 7)
        assert np.array_equal(file.asarray(key=slice(None)), images(7))


def test_the_settings_stand_where_scanimage_keeps_them(tmp_path: Path) -> None:
    (path,) = scanimage.write(tmp_path, "scan", replace(SMALL, channels=(1, 2), frames_per_slice=2), images(4))
    with tifffile.TiffFile(path) as file:
        metadata = file.scanimage_metadata
        assert metadata is not None
        assert metadata["version"] == 4
        assert metadata["FrameData"]["SI.hChannels.channelSave"] == [1, 2]
        assert metadata["FrameData"]["SI.hUserFunctions.userFunctionsCfg__1.Arguments"] == "bench2p"
        assert metadata["RoiGroups"]["imagingRoiGroup"]["rois"]["scanfields"]["pixelResolutionXY"] == [6, 8]
        assert file.pages[3].tags["Software"].value == file.pages[0].tags["Software"].value
        distances = np.diff([page.dataoffsets[0] for page in file.pages])
    assert len(set(distances)) == 1


def test_an_acquisition_is_split_and_counted_as_scanimage_does(tmp_path: Path) -> None:
    microscope = replace(SMALL, channels=(1, 2), frames_per_slice=5, frames_per_file=2)
    files = scanimage.write(tmp_path, "scan", microscope, iter(images(10)))
    assert [path.name for path in files] == [f"scan_00001_{number:05d}.tif" for number in (1, 2, 3)]
    numbers, ends = [], []
    for path in files:
        with tifffile.TiffFile(path) as file:
            texts = [dict(line.split(" = ") for line in page.description.splitlines()) for page in file.pages]
        numbers.append([int(text["frameNumberAcquisition"]) for text in texts])
        ends.append([int(text["endOfAcquisition"]) for text in texts])
    assert numbers == [[1, 1, 2, 2], [3, 3, 4, 4], [5, 5]]
    assert ends == [[0, 0, 0, 0], [0, 0, 0, 0], [0, 1]]
    assert scanimage.write(tmp_path / "whole", "scan", SMALL, images(1))[0].name == "scan_00001.tif"


def test_an_aborted_acquisition_carries_no_mark_of_its_end(tmp_path: Path) -> None:
    (path,) = scanimage.write(tmp_path, "scan", SMALL, images(3), ended=False)
    with tifffile.TiffFile(path) as file:
        assert "endOfAcquisition = 0" in file.pages[2].description


def test_pages_without_pixels_leave_holes_of_their_size(tmp_path: Path) -> None:
    large = Microscope(lines=512, pixels=512)
    size = scanimage.write_file(tmp_path / "scan.tif", large, scanimage.described(large, [None] * 20))
    assert size > 20 * 512 * 512 * 2
    with tifffile.TiffFile(tmp_path / "scan.tif") as file:
        assert len(file.pages) == 20


@pytest.mark.parametrize(
    ("value", "text"),
    (
        (True, "true"),
        (3, "3"),
        (0.1234567, "0.123457"),
        (math.inf, "Inf"),
        (-math.inf, "-Inf"),
        (math.nan, "NaN"),
        ("it's", "'it''s'"),
        ((), "[]"),
        ((1, 2.5), "[1 2.5]"),
        (((1, 2), (3, 4)), "[1 2;3 4]"),
        (["a", (1, 2)], "{'a' [1 2]}"),
        ([], "{}"),
    ),
)
def test_values_are_spelt_as_matlab_does(value: object, text: str) -> None:
    assert scanimage.matlab(value) == text


def test_json_headers_hold_the_same_settings() -> None:
    microscope = replace(SMALL, version="2018a", json=True)
    told = json.loads(scanimage.header_text(microscope))["SI"]
    assert told["hRoiManager"]["scanFrameRate"] == 30.0
    assert told["hUserFunctions"]["userFunctionsCfg"][0]["Arguments"] == ["bench2p"]
    assert json.loads(scanimage.page_text(microscope, 0))["epoch"] == [2026, 2, 10, 9, 30, 0]


def test_a_page_is_as_tall_as_its_regions_and_the_flights_between() -> None:
    regions = [Region((0.0, 0.0), (1.0, 1.0), (10, 20)), Region((2.0, 0.0), (1.0, 1.0), (12, 30))]
    microscope = scanimage.with_regions(SMALL, *regions)
    (first, second) = scanimage.region_lines(microscope)
    assert first == (0, 20)
    assert second[0] > 20
    assert (second[0] - 20) % 2 == 0  # whole swings of the mirror
    assert (microscope.lines, microscope.pixels) == (second[1], 12)
