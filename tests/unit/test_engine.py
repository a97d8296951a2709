"""What the engine does around Suite2p: pages, attempts, paths and landing. Suite2p itself is not needed here."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from adamacs.core.errors import ProcessingFailed, UnreadableFile
from adamacs.demo import lab, scanimage
from adamacs.demo import suite2p as demo
from adamacs.modalities.imaging import reader
from adamacs.modalities.imaging.engine import (
    Acquisition,
    Region,
    acquisition_of,
    load,
    restorable,
    restore,
    run_suite2p,
    snapshot,
)
from adamacs.modalities.imaging.engine import folder as folders
from adamacs.modalities.imaging.engine.run import fit_block
from adamacs.modalities.imaging.reader.npy import read_object
from adamacs.modalities.imaging.reader.suite2p import read_result
from adamacs.storage import attempts
from adamacs.storage.checksum import Manifest

SCAN = Acquisition(fs=30.0, height=96, width=128, nframes=60)
REQUEST = {"method": "suite2p", "version": "1.1.0", "param_hash": "a", "scan": asdict(SCAN), "inputs": []}
RECORD = {"request": REQUEST, "rois": {"plane0": 4}}


# Pages


def test_what_the_headers_tell_is_what_suite2p_is_told(tmp_path):
    one, stack, two_channels = lab.write(tmp_path / "share", size="tiny", threads=1)
    told = [acquisition_of(reader.read_scan(scan.files)) for scan in (one, stack, two_channels)]
    assert [scan.nplanes for scan in told] == [1, 2, 1]
    assert [scan.nflyback for scan in told] == [0, 1, 0]
    assert [scan.nchannels for scan in told] == [1, 1, 2]
    assert [scan.nframes for scan in told] == [24, 12, 20]
    assert [scan.fs for scan in told] == pytest.approx([scan.frame_rate for scan in (one, stack, two_channels)])
    assert (told[0].height, told[0].width) == (48, 56)
    assert all(scan.interleaved for scan in told)


def two_regions(tmp_path, *, second_at: tuple[float, ...]):
    """Write two volumes of two fields at two depths; the second field only at some."""
    regions = (
        scanimage.Region((0.0, 0.0), (2.0, 2.0), (32, 24)),
        scanimage.Region((5.0, 1.0), (2.0, 2.0), (32, 16), zs=second_at, discrete=True),
    )
    stack = scanimage.Microscope(zs=(0.0, 30.0), frames_per_slice=1, volumes=2, flyback=0)
    microscope = scanimage.with_regions(stack, *regions)
    pages = np.zeros((4, microscope.lines, microscope.pixels), np.int16)
    return reader.read_scan(scanimage.write(tmp_path, "scan", microscope, pages))


def test_fields_of_a_multi_roi_scan_are_told_by_their_lines_and_places(tmp_path):
    scan = two_regions(tmp_path, second_at=(0.0, 30.0))
    first, second = acquisition_of(scan).regions
    assert first.lines == (0, 24)
    assert second.lines == (scan.px_height - 16, scan.px_height)
    assert (first.y, first.x) == (0, 0)
    assert (second.y, second.x) == (12, 80)  # half a field lower and two and a half to the right


def test_fields_that_differ_from_depth_to_depth_are_refused(tmp_path):
    with pytest.raises(ProcessingFailed, match="every depth"):
        acquisition_of(two_regions(tmp_path, second_at=(0.0,)))


def test_pages_fields_and_flyback_are_counted():
    scan = replace(SCAN, nplanes=3, nflyback=2, nchannels=2)
    assert scan.npages == 60 * 5 * 2
    assert (scan.nfields, scan.flyback_fields, scan.shapes) == (3, range(3, 5), ((96, 128),))
    regions = replace(scan, regions=(Region((0, 40), 0, 0), Region((44, 96), 44, 0)))
    assert (regions.nfields, regions.flyback_fields) == (6, range(6, 10))
    assert regions.shapes == ((40, 128), (52, 128))


def test_pages_that_suite2p_would_mix_up_are_refused():
    with pytest.raises(ProcessingFailed, match="before the next plane"):
        replace(SCAN, nplanes=2, interleaved=False).refuse_unreadable()
    with pytest.raises(ProcessingFailed, match="channel 3 of 4"):
        replace(SCAN, nchannels=4, functional_channel=2).refuse_unreadable()
    with pytest.raises(ProcessingFailed, match="channel 2 of 1"):
        replace(SCAN, functional_channel=1).refuse_unreadable()
    assert replace(SCAN, interleaved=False).refuse_unreadable() is None  # one plane: nothing to mix up


@pytest.mark.parametrize(
    ("length", "block", "fitted"),
    [(512, 128, 128), (256, 128, 128), (129, 128, 128), (128, 128, 64), (100, 128, 50), (96, 64, 64), (62, 128, 30)],
)
def test_blocks_are_fitted_to_small_fields(length, block, fitted):
    assert fit_block(length, block) == fitted


# Landing


def landed(tmp_path: Path) -> folders.Finished:
    """Land a folder as a run would leave it."""
    with attempts.attempt(tmp_path / "out") as attempt:
        demo.write_result(attempt.work / "suite2p")
        return folders.land(attempt.work / "suite2p", tmp_path / "out", RECORD)


def test_a_landed_folder_is_found_again(tmp_path):
    done = landed(tmp_path)
    assert (done.folder, done.n_rois, done.version, done.reused) == (tmp_path / "out", 4, "1.1.0", False)
    assert folders.find_finished(tmp_path / "out", REQUEST) == replace(done, reused=True)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    manifest = Manifest.from_json((done.folder / "manifest.json").read_text())
    assert not manifest.verify(done.folder, ignore=["manifest.json"])
    assert read_result(done.folder).manifest["run"]["request"]["param_hash"] == "a"


def test_nothing_or_an_empty_folder_is_no_result(tmp_path):
    assert folders.find_finished(tmp_path / "out", REQUEST) is None
    (tmp_path / "out").mkdir()
    assert folders.find_finished(tmp_path / "out", REQUEST) is None
    assert landed(tmp_path).n_rois == 4


@pytest.mark.parametrize("change", [{"param_hash": "b"}, {"version": "1.2.0"}, {"inputs": [{"name": "x"}]}])
def test_the_result_of_another_request_is_named_and_not_taken(tmp_path, change):
    landed(tmp_path)
    with pytest.raises(ProcessingFailed, match=next(iter(change))):
        folders.find_finished(tmp_path / "out", {**REQUEST, **change})


@pytest.mark.parametrize("damage", ["change", "remove", "add", "forge", "cut", "empty"])
def test_a_result_that_changed_is_not_taken(tmp_path, damage):
    folder = landed(tmp_path).folder
    manifest = folder / "manifest.json"
    if damage == "change":
        judged = folder / "plane0" / "iscell.npy"
        judged.write_bytes(judged.read_bytes()[:-1] + b"x")
    elif damage == "remove":
        (folder / "plane0" / "F.npy").unlink()
    elif damage == "add":
        (folder / "plane0" / "more.npy").write_text("x")
    elif damage == "forge":
        manifest.write_text(manifest.read_text().replace('"size": ', '"size": 1', 1))
    elif damage == "cut":
        manifest.write_text(manifest.read_text()[:100])
    else:
        manifest.write_text("{}")
    with pytest.raises(ProcessingFailed, match=str(folder)):
        folders.find_finished(folder, REQUEST)


def test_of_two_attempts_the_slower_takes_what_the_faster_landed(tmp_path):
    first = landed(tmp_path)
    with attempts.attempt(tmp_path / "out") as attempt:
        demo.write_result(attempt.work / "suite2p", seed=1)
        second = folders.land(attempt.work / "suite2p", tmp_path / "out", RECORD)
    assert second == replace(first, reused=True)


def test_paths_in_the_files_become_those_of_the_destination(tmp_path):
    attempt, destination = tmp_path / "out.attempt-0", tmp_path / "session" / "suite2p_exp9FY6AIRM"
    (written,) = demo.write_result(attempt / "suite2p")
    folders.rewrite_paths(attempt / "suite2p", destination, {"extraction": {"told": "later"}})
    for name in ("db", "ops"):
        facts = read_object(written.folder / f"{name}.npy")
        assert facts["save_path"] == str(destination / "plane0")
        assert facts["reg_file"] == str(destination / "plane0" / "data.bin")
        assert facts["save_path0"] == str(destination.parent)
        assert facts["data_path"] == ["/recordings/demo"]
    assert read_object(written.folder / "settings.npy")["extraction"] == {"told": "later"}
    np.testing.assert_array_equal(read_result(attempt / "suite2p").planes[0].yoff, written.registration["yoff"])


# Found folders, and what is refused before anything heavy is imported


@pytest.mark.parametrize("version", ["0.14.4", "1.1.0"])
def test_a_found_folder_is_loaded_and_nothing_is_written_into_it(tmp_path, version):
    demo.write_result(tmp_path / "suite2p", version=version, rois=3)
    before = Manifest.of(tmp_path / "suite2p")
    found = load(tmp_path / "suite2p")
    assert (found.version, found.n_rois) == (version, 3)
    assert found.digest == folders.content_of(tmp_path / "suite2p").digest
    assert Manifest.of(tmp_path / "suite2p") == before


def test_a_landed_folder_is_loaded_with_the_digest_it_landed_with(tmp_path):
    done = landed(tmp_path)
    assert load(done.folder).digest == done.digest


@pytest.mark.parametrize(("name", "counts"), [("iscell.npy", True), ("data.bin", False), ("notes.txt", False)])
def test_the_content_of_a_result_is_what_is_read_of_it(tmp_path, name, counts):
    done = landed(tmp_path)
    assert folders.landed_content(done.folder) == folders.content_of(done.folder)
    assert folders.content_of(done.folder).digest == done.digest
    (done.folder / "plane0" / name).write_bytes(b"x")
    assert (folders.content_of(done.folder) != folders.landed_content(done.folder)) is counts


def test_a_judgement_is_put_back_and_nothing_else_is_touched(tmp_path):
    folder = landed(tmp_path).folder
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.rglob("*") if path.is_file()}
    judged = folder / "plane0" / "iscell.npy"
    np.save(judged, 1 - np.load(judged))
    assert restorable(folder) == ("plane0/iscell.npy",)
    restore(folder, restorable(folder))
    after = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.rglob("*") if path.is_file()}
    assert {path for path in after if after[path] != before.get(path)} == {judged}
    assert after[judged][0] == before[judged][0]
    assert folders.find_finished(folder, REQUEST).reused


def test_what_no_copy_was_kept_of_is_named_and_nothing_is_put_back(tmp_path):
    folder = landed(tmp_path).folder
    edited = {name: b"edited" + name.encode() for name in ("F.npy", "iscell.npy")}
    for name, content in edited.items():
        (folder / "plane0" / name).write_bytes(content)
    with pytest.raises(ProcessingFailed, match=r"No copy was kept of plane0/F\.npy, so .*move the folder"):
        restore(folder, ["plane0/F.npy", "plane0/iscell.npy"])
    assert {name: (folder / "plane0" / name).read_bytes() for name in edited} == edited


def test_a_copy_that_is_not_what_was_kept_is_never_put_back(tmp_path):
    folder = landed(tmp_path).folder
    for place in ("plane0", "as_finished/plane0"):
        (folder / place / "iscell.npy").write_bytes(b"forged")
    with pytest.raises(ProcessingFailed, match=r"No copy was kept of plane0/iscell\.npy"):
        restorable(folder)


def test_what_did_not_change_or_tells_nothing_is_not_put_back(tmp_path):
    with pytest.raises(ProcessingFailed, match="Nothing changed"):
        restorable(landed(tmp_path).folder)
    demo.write_result(tmp_path / "found")
    with pytest.raises(ProcessingFailed, match="as far as a manifest tells"):
        restorable(tmp_path / "found")


def test_what_changed_after_the_plan_is_not_overwritten(tmp_path):
    folder = landed(tmp_path).folder
    (folder / "plane0" / "iscell.npy").write_bytes(b"edited")
    with pytest.raises(ProcessingFailed, match="since this was planned"):
        restore(folder, ["plane1/iscell.npy"])
    assert (folder / "plane0" / "iscell.npy").read_bytes() == b"edited"


def test_a_copy_of_one_state_is_never_taken_for_one_of_another(tmp_path):
    (plane,) = demo.write_result(tmp_path / "suite2p")
    first = snapshot(tmp_path / "suite2p", tmp_path / "copy")
    assert snapshot(tmp_path / "suite2p", tmp_path / "copy") == replace(first, reused=True)
    np.save(plane.folder / "iscell.npy", 1 - plane.arrays["iscell"])
    with pytest.raises(ProcessingFailed, match="content"):
        snapshot(tmp_path / "suite2p", tmp_path / "copy")


def test_a_missing_recording_is_named(tmp_path):
    with pytest.raises(UnreadableFile, match=r"gone\.tif"):
        run_suite2p([tmp_path / "gone.tif"], tmp_path / "out", {}, SCAN)
    with pytest.raises(UnreadableFile, match="no files"):
        run_suite2p([], tmp_path / "out", {}, SCAN)


def test_the_engine_is_imported_without_the_tool():
    code = (
        "import sys; import adamacs.modalities.imaging.engine;"
        "assert not {'suite2p', 'torch', 'numba', 'scipy', 'pydantic'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
