"""Result folders of Suite2p 0.14 and 1.x are read as they were written, and damage is named."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adamacs.core.errors import UnreadableFile
from adamacs.demo import suite2p as demo
from adamacs.modalities.imaging.reader.suite2p import find_planes, lay_blocks, parameters_of, read_result

VERSIONS = ("0.10.3", "0.14.4", "1.0.0", "1.1.0")


@pytest.fixture(params=VERSIONS)
def version(request) -> str:
    return request.param


# What is written is what is read


def test_traces_rois_and_judgement_come_back(tmp_path, version):
    written = demo.write_result(tmp_path / "suite2p", version=version, planes=2)
    result = read_result(tmp_path / "suite2p")
    assert (result.version, result.fs, result.tau, result.n_rois) == (version, 30.0, pytest.approx(0.7), 8)
    for plane, truth in zip(result.planes, written, strict=True):
        for name in ("F", "Fneu", "spks", "iscell"):
            np.testing.assert_array_equal(getattr(plane, name), truth.arrays[name])
        assert plane.nframes == truth.arrays["F"].shape[1]
        for roi, stat in zip(plane.rois, truth.stat, strict=True):
            np.testing.assert_array_equal(roi.ypix, stat["ypix"])
            np.testing.assert_array_equal(roi.xpix, stat["xpix"])
            np.testing.assert_array_equal(roi.weights, stat["lam"])
            np.testing.assert_array_equal(roi.overlap, stat["overlap"])
            assert roi.med == tuple(stat["med"])
            assert (roi.npix, roi.radius, roi.skew) == (stat["npix"], stat["radius"], pytest.approx(stat["skew"]))


def test_shifts_come_back_with_their_blocks(tmp_path, version):
    (truth,) = demo.write_result(tmp_path / "suite2p", version=version, shape=(96, 160))
    (plane,) = read_result(tmp_path / "suite2p").planes
    for name in ("yoff", "xoff", "corrXY", "badframes", "yoff1", "xoff1"):
        np.testing.assert_array_equal(getattr(plane, name), truth.registration[name])
    assert plane.nonrigid
    assert len(plane.blocks) == plane.yoff1.shape[1]
    assert plane.blocks[0] == ((0, demo.BLOCK), (0, demo.BLOCK))
    assert plane.blocks[1][0] == (0, demo.BLOCK)  # along a row of blocks first
    assert plane.blocks[-1] == ((96 - demo.BLOCK, 96), (160 - demo.BLOCK, 160))


def test_rigid_registration_has_no_blocks(tmp_path, version):
    demo.write_result(tmp_path / "suite2p", version=version, nonrigid=False)
    (plane,) = read_result(tmp_path / "suite2p").planes
    assert not plane.nonrigid
    assert plane.yoff1.shape == (plane.nframes, 0)


def test_cropped_pictures_lie_where_they_were_cut_out(tmp_path, version):
    (truth,) = demo.write_result(tmp_path / "suite2p", version=version)
    (plane,) = read_result(tmp_path / "suite2p").planes
    (top, bottom), (left, right) = plane.yrange, plane.xrange
    for name, saved in (("correlation_image", "Vcorr"), ("max_proj_image", "max_proj")):
        picture = getattr(plane, name)
        assert picture.shape == (plane.height, plane.width)
        np.testing.assert_array_equal(picture[top:bottom, left:right], truth.detection[saved].astype("f4"))
        assert np.isnan(picture[:top]).all()
        assert np.isnan(picture[:, right:]).all()
    np.testing.assert_array_equal(plane.average_image, truth.registration["meanImg"])


def test_a_second_channel_comes_back(tmp_path, version):
    (truth,) = demo.write_result(tmp_path / "suite2p", version=version, channels=2)
    result = read_result(tmp_path / "suite2p")
    (plane,) = result.planes
    for name in ("F_chan2", "Fneu_chan2", "redcell"):
        np.testing.assert_array_equal(getattr(plane, name), truth.arrays[name])
    np.testing.assert_array_equal(plane.average_image_chan2, truth.registration["meanImg_chan2"])
    assert (result.functional_channel, result.align_channel) == (0, 0)


def test_one_channel_leaves_the_second_empty(tmp_path, version):
    demo.write_result(tmp_path / "suite2p", version=version)
    (plane,) = read_result(tmp_path / "suite2p").planes
    assert plane.F_chan2 is None
    assert plane.redcell is None
    assert plane.average_image_chan2 is None


def test_no_rois_is_a_result(tmp_path, version):
    demo.write_result(tmp_path / "suite2p", version=version, rois=0)
    result = read_result(tmp_path / "suite2p")
    assert result.n_rois == 0
    assert result.planes[0].F.shape == (0, 60)
    assert result.planes[0].iscell.shape == (0, 2)


def test_traces_are_opened_and_not_read(tmp_path):
    demo.write_result(tmp_path / "suite2p")
    assert isinstance(read_result(tmp_path / "suite2p").planes[0].F, np.memmap)


def test_a_nested_ops_alone_is_enough(tmp_path):
    (truth,) = demo.write_result(tmp_path / "suite2p")
    for name in ("db", "settings", "reg_outputs", "detect_outputs"):
        (truth.folder / f"{name}.npy").unlink()
    result = read_result(tmp_path / "suite2p")
    np.testing.assert_array_equal(result.planes[0].yoff, truth.registration["yoff"])
    assert result.time == datetime(2026, 2, 10, 9, 8, 7)
    assert parameters_of(result)[2]["registration"]["block_size"] == [demo.BLOCK, demo.BLOCK]


def test_a_time_is_told_in_utc_and_without_its_zone_not_believed(tmp_path):
    demo.write_result(tmp_path / "zoned", version="0.14.4")
    assert read_result(tmp_path / "zoned").time == datetime(2024, 3, 4, 10, 11, 12)
    demo.write_result(tmp_path / "nested", version="1.1.0")
    assert read_result(tmp_path / "nested").time == datetime(2026, 2, 10, 9, 8, 7)
    (truth,) = demo.write_result(tmp_path / "naive", version="0.10.3")
    modified = (truth.folder / "F.npy").stat().st_mtime
    assert read_result(tmp_path / "naive").time == datetime.fromtimestamp(modified, UTC).replace(tzinfo=None)


def test_parameters_are_built_from_what_the_folder_says(tmp_path):
    demo.write_result(tmp_path / "old", version="0.14.4")
    method, version, params = parameters_of(read_result(tmp_path / "old"))
    assert (method, version) == ("suite2p", "0.14.4")
    assert params["neucoeff"] == 0.7
    assert params["block_size"] == [demo.BLOCK, demo.BLOCK]
    assert not {"fs", "nplanes", "save_path", "yoff", "date_proc"} & params.keys()

    demo.write_result(tmp_path / "new")
    method, version, params = parameters_of(read_result(tmp_path / "new"))
    assert (method, version) == ("suite2p", "1.1.0")
    assert params["detection"]["algorithm"] == "sparsery"
    assert "fs" not in params
    assert json.loads(json.dumps(params)) == params


def test_a_folder_that_tells_no_version_has_none(tmp_path):
    (truth,) = demo.write_result(tmp_path / "suite2p", version="0.14.4")
    ops = np.load(truth.folder / "ops.npy", allow_pickle=True).item()
    del ops["suite2p_version"]
    demo.save_object(truth.folder / "ops.npy", ops)
    result = read_result(tmp_path / "suite2p")
    assert result.version is None
    assert parameters_of(result)[1] == "unknown"


def test_planes_skipped_as_flyback_are_left_out(tmp_path):
    written = demo.write_result(tmp_path / "suite2p", version="0.14.4", planes=3)
    for truth in written:
        ops = np.load(truth.folder / "ops.npy", allow_pickle=True).item()
        demo.save_object(truth.folder / "ops.npy", {**ops, "ignore_flyback": [2]})
    for name in ("F.npy", "stat.npy"):
        (written[2].folder / name).unlink()
    assert [plane.index for plane in read_result(tmp_path / "suite2p").planes] == [0, 1]


# Where results lie


@pytest.mark.parametrize("name", ["suite2p", "suite2p_exp9FY6AIRM"])
def test_a_result_is_found_from_every_folder_around_it(tmp_path, name):
    demo.write_result(tmp_path / name, planes=2)
    both = [tmp_path / name / "plane0", tmp_path / name / "plane1"]
    assert find_planes(tmp_path / name) == both
    assert find_planes(tmp_path) == both
    assert find_planes(both[1]) == [both[1]]


def test_planes_are_in_the_order_of_their_numbers(tmp_path):
    for number in (10, 2, 0, 1):
        (tmp_path / f"plane{number}").mkdir()
    (tmp_path / "combined").mkdir()
    assert [plane.name for plane in find_planes(tmp_path)] == ["plane0", "plane1", "plane2", "plane10"]


def test_a_folder_without_or_with_several_results_is_refused(tmp_path):
    with pytest.raises(UnreadableFile, match="no such folder"):
        find_planes(tmp_path / "absent")
    with pytest.raises(UnreadableFile, match="no plane folder"):
        find_planes(tmp_path)
    demo.write_result(tmp_path / "suite2p")
    demo.write_result(tmp_path / "suite2p_exp9FY6AIRM")
    with pytest.raises(UnreadableFile, match="suite2p, suite2p_exp9FY6AIRM"):
        find_planes(tmp_path)


@given(st.integers(1, 700), st.integers(1, 700), st.integers(16, 300), st.integers(16, 300))
def test_blocks_cover_the_field_and_stay_inside(height, width, block_height, block_width):
    blocks = lay_blocks(height, width, (block_height, block_width))
    covered = np.zeros((height, width), bool)
    for (top, bottom), (left, right) in blocks:
        assert 0 <= top < bottom <= height
        assert 0 <= left < right <= width
        covered[top:bottom, left:right] = True
    assert covered.all()


# Damage


@pytest.mark.parametrize("name", ["F.npy", "Fneu.npy", "spks.npy", "iscell.npy", "stat.npy"])
def test_a_missing_or_cut_file_is_named(tmp_path, version, name):
    (truth,) = demo.write_result(tmp_path / "suite2p", version=version)
    path = truth.folder / name
    whole = path.read_bytes()
    for content in (whole[: len(whole) // 2], whole[:9], b"", b"no numpy file at all"):
        path.write_bytes(content)
        with pytest.raises(UnreadableFile, match=name):
            read_result(tmp_path / "suite2p")
    path.unlink()
    with pytest.raises(UnreadableFile, match=f"{name}: The file is missing"):
        read_result(tmp_path / "suite2p")


def test_a_plane_without_settings_is_named(tmp_path):
    (truth,) = demo.write_result(tmp_path / "suite2p", version="0.14.4")
    (truth.folder / "ops.npy").unlink()
    with pytest.raises(UnreadableFile, match=r"ops\.npy"):
        read_result(tmp_path / "suite2p")


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("Fneu.npy", np.zeros((4, 59), "f4"), "shape"),
        ("F.npy", np.zeros((3, 60), "f4"), "shape"),
        ("iscell.npy", np.zeros((4, 3)), "shape"),
        ("stat.npy", np.zeros(4), "holds numbers"),
        ("F.npy", np.array([{}], dtype=object), "array of numbers"),
    ],
)
def test_files_of_two_runs_do_not_pass_for_one(tmp_path, name, content, words):
    (truth,) = demo.write_result(tmp_path / "suite2p")
    np.save(truth.folder / name, content, allow_pickle=True)
    with pytest.raises(UnreadableFile, match=words):
        read_result(tmp_path / "suite2p")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"ypix": None}, "whole numbers"),
        ({"ypix": np.array([1.5])}, "whole numbers"),
        ({"ypix": np.arange(3)}, "3 rows"),
        ({"ypix": np.full(49, 5000)}, "outside the field"),
        ({"xpix": np.full(49, -1)}, "outside the field"),
    ],
)
def test_an_impossible_roi_is_named(tmp_path, change, words):
    (truth,) = demo.write_result(tmp_path / "suite2p")
    stat = np.empty(4, dtype=object)
    stat[:] = [*truth.stat[:3], {**truth.stat[3], **change}]
    demo.save_object(truth.folder / "stat.npy", stat)
    with pytest.raises(UnreadableFile, match=f"ROI 3 .*{words}"):
        read_result(tmp_path / "suite2p")


def _rewritten(folder, file, **changes):
    """Write a file of values anew with some of them changed; None takes one out."""
    content = np.load(folder / file, allow_pickle=True).item()
    content |= changes
    demo.save_object(folder / file, {name: value for name, value in content.items() if value is not None})


@pytest.mark.parametrize(
    ("file", "changes", "words"),
    [
        ("db.npy", {"Ly": "ninety-six"}, "Ly is str"),
        ("db.npy", {"Lx": {"px": 128}}, "Lx is dict"),
        ("db.npy", {"Ly": 95.5}, "Ly is 95.5, which cannot be"),
        ("db.npy", {"Ly": 10**6, "Lx": 10**6}, "more than any field"),
        ("db.npy", {"Ly": 10**30}, "Ly is int, and not a number"),
        ("db.npy", {"iplane": np.arange(3)}, "iplane is an array of"),
        ("db.npy", {"functional_chan": "first"}, "functional_chan is str"),
        ("db.npy", {"nchannels": [1, 2]}, "nchannels is list"),
        ("settings.npy", {"fs": None}, "Nothing in it says fs"),
        ("settings.npy", {"tau": b"0.7"}, "tau is bytes"),
        ("settings.npy", {"registration": {"block_size": (0, 64)}}, "block_size is missing, or not"),
        ("settings.npy", {"registration": {"block_size": (1e-9, 64)}}, "block_size is missing, or not"),
        ("settings.npy", {"registration": {"block_size": (1, 1)}}, "shape"),
        ("reg_outputs.npy", {"yoff": [[1, 2], [3]]}, "yoff is list"),
        ("reg_outputs.npy", {"yoff1": (1.0, 2.0)}, "shape"),
        ("reg_outputs.npy", {"xoff1": None}, "shape"),
        ("reg_outputs.npy", {"yrange": 7}, "yrange is 7"),
        ("reg_outputs.npy", {"xrange": [5, 5000]}, "xrange is .5, 5000., no part of 128 px"),
        ("reg_outputs.npy", {"refImg": np.full((96, 128), "a")}, "refImg is an array"),
    ],
)
def test_a_value_of_another_kind_is_named(tmp_path, file, changes, words):
    (truth,) = demo.write_result(tmp_path / "suite2p")
    _rewritten(truth.folder, file, **changes)
    with pytest.raises(UnreadableFile, match=words) as caught:
        read_result(tmp_path / "suite2p")
    assert str(truth.folder) in caught.value.where


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"med": 3}, "overlap or med"),
        ({"med": [1, [2, 3]]}, "med is list"),
        ({"overlap": np.zeros(3, bool)}, "overlap or med"),
        ({"skew": {}}, "skew is dict"),
        ({"std": np.arange(2.0)}, "std is not one number"),
        ({"ypix": [[1, 2], [3]]}, "ypix is list"),
    ],
)
def test_a_measure_of_a_roi_that_is_none_is_named(tmp_path, change, words):
    (truth,) = demo.write_result(tmp_path / "suite2p", rois=1)
    stat = np.empty(1, dtype=object)
    stat[0] = {**truth.stat[0], **change}
    demo.save_object(truth.folder / "stat.npy", stat)
    with pytest.raises(UnreadableFile, match=f"ROI 0.*{words}"):
        read_result(tmp_path / "suite2p")


def test_numbers_are_taken_however_they_are_wrapped(tmp_path):
    (truth,) = demo.write_result(tmp_path / "suite2p")
    _rewritten(truth.folder, "db.npy", Ly=np.array([96.0]), Lx=np.int64(128), functional_chan=0)
    _rewritten(truth.folder, "settings.npy", fs=np.array(30), version=np.array(1.1))
    found = read_result(tmp_path / "suite2p")
    assert (found.planes[0].height, found.planes[0].width, found.fs) == (96, 128, 30.0)
    assert (found.functional_channel, found.version) == (0, None)


def test_a_weight_or_a_pixel_beyond_float32_is_infinite(tmp_path):
    (truth,) = demo.write_result(tmp_path / "suite2p", rois=1)
    stat = np.empty(1, dtype=object)
    stat[0] = {**truth.stat[0], "lam": np.full(49, 1e300)}
    demo.save_object(truth.folder / "stat.npy", stat)
    _rewritten(truth.folder, "reg_outputs.npy", meanImg=np.full((96, 128), -1e300))
    (plane,) = read_result(tmp_path / "suite2p").planes
    assert np.isposinf(plane.rois[0].weights).all()
    assert np.isneginf(plane.average_image).all()


def test_traces_of_text_are_refused(tmp_path):
    (truth,) = demo.write_result(tmp_path / "suite2p")
    np.save(truth.folder / "iscell.npy", np.full((4, 2), "yes"))
    with pytest.raises(UnreadableFile, match=r"iscell\.npy"):
        read_result(tmp_path / "suite2p")


def test_traces_of_nothing_that_claim_every_frame_there_could_be_are_refused(tmp_path):
    (truth,) = demo.write_result(tmp_path / "suite2p", rois=0)
    for name in ("F", "Fneu", "spks"):
        np.save(truth.folder / f"{name}.npy", np.zeros((0, 10**15), "f4"))
    with pytest.raises(UnreadableFile, match="more than any scan"):
        read_result(tmp_path / "suite2p")


def test_blocks_by_the_million_are_refused(tmp_path):
    (truth,) = demo.write_result(tmp_path / "suite2p")
    _rewritten(truth.folder, "db.npy", Ly=5000, Lx=5000)
    _rewritten(truth.folder, "settings.npy", registration={"block_size": (1, 1)})
    with pytest.raises(UnreadableFile, match="too many blocks"):
        read_result(tmp_path / "suite2p")


def test_settings_that_hold_themselves_are_refused(tmp_path):
    (truth,) = demo.write_result(tmp_path / "suite2p")
    ring: list = [1]
    ring.append(ring)
    _rewritten(truth.folder, "settings.npy", detection={"algorithm": ring})
    with pytest.raises(UnreadableFile, match="holds itself"):
        read_result(tmp_path / "suite2p")


def test_settings_that_unfold_to_billions_are_refused(tmp_path):
    (truth,) = demo.write_result(tmp_path / "suite2p")
    many: list = ["lol"]
    for _ in range(10):
        many = [many] * 10
    _rewritten(truth.folder, "settings.npy", detection={"algorithm": many})
    with pytest.raises(UnreadableFile, match="more than settings do"):
        read_result(tmp_path / "suite2p")


@pytest.mark.parametrize("content", [b"\xff", b"{", b"[" * 100_000])
def test_a_manifest_that_is_no_json_is_named(tmp_path, content):
    demo.write_result(tmp_path / "suite2p")
    (tmp_path / "suite2p" / "manifest.json").write_bytes(content)
    with pytest.raises(UnreadableFile, match=r"manifest\.json"):
        read_result(tmp_path / "suite2p")
