"""Suite2p itself, run by the engine on small recordings of which everything is known."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import warnings
from dataclasses import replace
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
import tifffile

from adamacs.core import progress
from adamacs.core.errors import InvalidParameters, ProcessingFailed, ToolMissing, UnreadableFile
from adamacs.demo import lab, score
from adamacs.demo import suite2p as demo
from adamacs.demo.movie import Design, Recording, Truth
from adamacs.modalities.imaging import reader
from adamacs.modalities.imaging.engine import Acquisition, Region, acquisition_of, run_suite2p
from adamacs.modalities.imaging.parameters import SUITE2P_VERSION
from adamacs.modalities.imaging.reader.npy import read_object
from adamacs.modalities.imaging.reader.suite2p import lay_blocks, read_result
from adamacs.storage.checksum import Manifest
from adamacs.storage.failed import FailedAttempts

pytestmark = [pytest.mark.slow, pytest.mark.only_on("postgresql")]  # once: no database is asked

SIDE, FRAMES, RATE = 96, 240, 20.0
PARAMETERS = {"tau": 0.5, "registration": {"batch_size": 500}}


@pytest.fixture(scope="module", autouse=True)
def suite2p():
    """The installed Suite2p; where it is missing, say so aloud."""
    found = {name: _version(name) for name in ("suite2p", "torch", "cellpose")}
    if found["suite2p"] == SUITE2P_VERSION and None not in found.values():
        return
    if "suite2p" in os.environ.get("ADAMACS_TEST_REQUIRE", ""):
        pytest.fail(f"ADAMACS_TEST_REQUIRE asks for suite2p {SUITE2P_VERSION}; installed: {found}.")
    pytest.skip(f"SUITE2P {SUITE2P_VERSION} IS NOT INSTALLED: nothing of the engine was tested. Installed: {found}.")


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def movie(seed: int = 0, frames: int = FRAMES) -> np.ndarray:
    """Record a field with cells: int16, (frame, row, column)."""
    design = Design(height=SIDE, width=SIDE, frames=frames, frame_rate=RATE, cells=6, event_rate=0.8, sway=1.0)
    return np.concatenate(list(Recording(design, seed).blocks(1)))[:, 0, 0]


def nothing(frames: int = FRAMES) -> np.ndarray:
    """Record a field in which no pixel stands out: int16, (frame, row, column)."""
    random = np.random.default_rng(1)
    return (200 + random.integers(-5, 6, (frames, SIDE, SIDE))).astype(np.int16)


def scan_of(**values) -> Acquisition:
    return replace(Acquisition(RATE, SIDE, SIDE, FRAMES), **values)


def write_pages(path: Path, *pages: np.ndarray) -> list[Path]:
    """Write frames that alternate page by page into one file."""
    tifffile.imwrite(path, np.stack(pages, axis=1).reshape(-1, *pages[0].shape[1:]))
    return [path]


@pytest.fixture(scope="module")
def cells() -> np.ndarray:
    return movie()


@pytest.fixture(scope="module")
def finished(tmp_path_factory, cells):
    """One finished run that several tests look at and leave as it is."""
    home = tmp_path_factory.mktemp("finished")
    files = write_pages(home / "scan.tif", cells)
    heard: list[progress.Progress] = []
    with progress.listening(heard.append):
        result = run_suite2p(files, home / "processed" / "suite2p_exp9FY6AIRM", PARAMETERS, scan_of())
    return result, files, heard


# A run and what it leaves


def test_a_recording_of_the_synthetic_lab_is_recovered(tmp_path):
    (truth,) = lab.write(tmp_path / "share", size="small", threads=1)
    scan = reader.read_scan(truth.files)
    done = run_suite2p(truth.files, tmp_path / "processed", dict(lab.SUITE2P), acquisition_of(scan), threads=2)
    (plane,) = read_result(done.folder).planes
    cells = np.flatnonzero(plane.iscell[:, 0])
    found = score.score_scan(
        Truth.load(truth.truth),
        shifts=np.stack([plane.yoff, plane.xoff], axis=-1),
        masks=[(plane.rois[i].ypix, plane.rois[i].xpix, plane.rois[i].weights) for i in cells],
        traces=plane.F[cells] - 0.7 * plane.Fneu[cells],
        spikes=plane.spks[cells],
        fs=scan.fps,
    )
    assert found.shift_r >= 0.98
    assert found.recall >= 0.85
    assert found.precision >= 0.95
    assert found.spike_r >= 0.85


def test_a_finished_folder_stands_alone_and_complete(finished):
    done, files, _ = finished
    assert [path.name for path in done.folder.parent.iterdir()] == [done.folder.name]
    result = read_result(done.folder)
    assert result.n_rois == done.n_rois > 0
    assert (result.version, done.version) == (SUITE2P_VERSION, SUITE2P_VERSION)
    assert result.fs == RATE
    manifest = Manifest.from_json((done.folder / "manifest.json").read_text())
    assert not manifest.verify(done.folder, ignore=["manifest.json"])
    run = result.manifest["run"]
    assert run["packages"]["suite2p"] == SUITE2P_VERSION
    assert run["settings"]["registration"]["batch_size"] == 500
    assert run["settings"]["extraction"]["neuropil_coefficient"] == 0.7  # the tool's default, spelt out
    assert run["parameters"] == PARAMETERS
    assert [file["name"] for file in run["request"]["inputs"]] == [files[0].name]
    assert run["device"] == "cpu"


def test_every_path_in_the_files_is_that_of_the_final_folder(finished):
    done, files, _ = finished
    for path in (done.folder / "db.npy", done.folder / "plane0" / "db.npy", done.folder / "plane0" / "ops.npy"):
        facts = read_object(path)
        assert "attempt-" not in repr(facts), path
        assert facts["save_path0"] == str(done.folder.parent)
        assert facts["save_folder"] == done.folder.name
        assert facts["file_list"] == [str(files[0])]
    facts = read_object(done.folder / "plane0" / "db.npy")
    for name in ("reg_file", "db_path", "settings_path", "save_path"):
        assert Path(facts[name]).exists()
        assert Path(facts[name]).is_relative_to(done.folder / "plane0")
    assert read_object(done.folder / "settings.npy")["io"]["combined"] is True


def test_progress_and_log_tell_the_stages(finished):
    done, _, heard = finished
    stages = [step.stage for step in heard]
    order = ["reading", "registration", "detection", "extraction", "deconvolution", "classification", "landing"]
    assert list(dict.fromkeys(stages)) == order
    assert progress.Progress("registration", FRAMES, FRAMES, "frames") in heard
    log = (done.folder / "run.log").read_text()
    assert "REGISTRATION" in log
    assert "Plane processed in" in log


def test_the_process_is_left_as_it_was(tmp_path, cells):
    import torch

    threads, filters = torch.get_num_threads(), list(warnings.filters)
    library = logging.getLogger("suite2p")
    before = (library.level, library.propagate, list(library.handlers))
    run_suite2p(write_pages(tmp_path / "a.tif", cells), tmp_path / "out", {}, scan_of(), threads=1)
    assert (library.level, library.propagate, list(library.handlers)) == before
    assert torch.get_num_threads() == threads
    assert warnings.filters == filters


def test_files_are_read_in_the_order_given(tmp_path, cells):
    numbers = [1, 2, 10]
    parts = np.split(cells, 3)
    files = [write_pages(tmp_path / f"scan_{n}.tif", part)[0] for n, part in zip(numbers, parts, strict=True)]
    done = run_suite2p(files, tmp_path / "out", PARAMETERS, scan_of())
    raw = read_object(done.folder / "plane0" / "db.npy")
    assert [Path(name).name for name in raw["file_list"]] == ["scan_1.tif", "scan_2.tif", "scan_10.tif"]
    np.testing.assert_allclose(raw["meanImg"], cells.mean(axis=0))
    assert list(raw["frames_per_file"]) == [len(part) for part in parts]


# What stands at the destination already


def test_a_finished_folder_is_landed_without_computing_again(finished, monkeypatch):
    done, files, _ = finished
    forbid_computing(monkeypatch)
    again = run_suite2p(files, done.folder, {**PARAMETERS, "diameter": 12}, scan_of())  # 12 is the default
    assert again == replace(done, reused=True)


def forbid_computing(monkeypatch) -> None:
    def refuse(*_, **__):
        raise AssertionError("Suite2p was asked again")

    monkeypatch.setattr("adamacs.modalities.imaging.engine.tool.load_suite2p", refuse)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"parameters": {**PARAMETERS, "tau": 0.6}}, "param_hash"),
        ({"scan": scan_of(fs=21.0)}, "scan"),
        ({"files": "other"}, "inputs"),
    ],
)
def test_results_of_another_request_are_never_taken(finished, monkeypatch, tmp_path, cells, change, words):
    done, files, _ = finished
    forbid_computing(monkeypatch)
    if change.get("files"):
        change = {"files": write_pages(tmp_path / "other.tif", cells)}
    asked = {"files": files, "parameters": PARAMETERS, "scan": scan_of(), **change}
    with pytest.raises(ProcessingFailed, match=words) as raised:
        run_suite2p(asked["files"], done.folder, asked["parameters"], asked["scan"])
    assert str(done.folder) in str(raised.value)


def test_a_folder_of_unknown_origin_is_never_taken(tmp_path, cells):
    demo.write_result(tmp_path / "out")
    with pytest.raises(ProcessingFailed, match="without a sound manifest"):
        run_suite2p(write_pages(tmp_path / "a.tif", cells), tmp_path / "out", {}, scan_of())


def test_a_folder_that_was_curated_since_is_never_taken(tmp_path, cells):
    files = write_pages(tmp_path / "a.tif", cells)
    done = run_suite2p(files, tmp_path / "out", PARAMETERS, scan_of())
    judged = done.folder / "plane0" / "iscell.npy"
    np.save(judged, 1 - np.load(judged))
    with pytest.raises(ProcessingFailed, match=r"plane0/iscell\.npy.*curate add"):
        run_suite2p(files, tmp_path / "out", PARAMETERS, scan_of())


# Attempts


def test_a_failed_run_says_why_and_leaves_nothing_behind(tmp_path):
    files = write_pages(tmp_path / "a.tif", movie(frames=8))
    with pytest.raises(ProcessingFailed, match="number of frames should be at least") as raised:
        run_suite2p(files, tmp_path / "processed" / "out", {}, scan_of(nframes=8))
    assert "Wrote 8 frames per binary" in str(raised.value)  # the end of the log
    assert list((tmp_path / "processed").iterdir()) == []


def test_log_and_request_of_a_failed_run_are_kept(tmp_path):
    files = write_pages(tmp_path / "a.tif", movie(frames=8))
    kept = FailedAttempts(tmp_path / "processed", {"scan_id": "scan9FY6AIRM", "paramset_idx": 0})
    scan = scan_of(nframes=8)
    with pytest.raises(ProcessingFailed) as raised:
        run_suite2p(files, tmp_path / "processed" / "out", PARAMETERS, scan, scratch=tmp_path / "fast", failed=kept)
    (place,) = (tmp_path / "processed" / "failed").glob("*/scan_id=scan9FY6AIRM,paramset_idx=0/attempt-*")
    assert raised.value.__notes__ == [f"What the attempt left is kept in {place}"]
    assert "Wrote 8 frames per binary" in (place / "suite2p" / "run.log").read_text()
    told = json.loads((place / "request.json").read_text())
    assert told["parameters"] == PARAMETERS
    assert told["request"]["inputs"][0]["name"] == "a.tif"
    assert list((tmp_path / "fast").iterdir()) == []
    assert [path.name for path in (tmp_path / "processed").iterdir()] == ["failed"]


def test_other_frames_than_the_scan_holds_are_refused(tmp_path, cells):
    files = write_pages(tmp_path / "a.tif", cells)
    with pytest.raises(ProcessingFailed, match=f"read {FRAMES} frames of plane0, and the scan has 300"):
        run_suite2p(files, tmp_path / "out", {}, scan_of(nframes=300))
    assert not (tmp_path / "out").exists()


def test_scratch_is_used_and_left_empty(tmp_path, cells):
    files = write_pages(tmp_path / "a.tif", cells)
    done = run_suite2p(files, tmp_path / "processed" / "out", PARAMETERS, scan_of(), scratch=tmp_path / "scratch")
    assert str(tmp_path / "scratch") in (done.folder / "run.log").read_text()
    assert list((tmp_path / "scratch").iterdir()) == []
    assert [path.name for path in (tmp_path / "processed").iterdir()] == ["out"]
    assert str(tmp_path / "scratch") not in repr(read_object(done.folder / "plane0" / "db.npy"))


# Planes, channels, regions


def test_flyback_pages_are_left_out(tmp_path, cells):
    files = write_pages(tmp_path / "a.tif", cells, movie(1), nothing())
    done = run_suite2p(files, tmp_path / "out", PARAMETERS, scan_of(nplanes=2, nflyback=1))
    planes = read_result(done.folder).planes
    assert [(plane.index, plane.depth, plane.nframes) for plane in planes] == [(0, 0, FRAMES), (1, 1, FRAMES)]
    np.testing.assert_allclose(raw_mean(planes[0]), cells.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(raw_mean(planes[1]), movie(1).mean(axis=0), rtol=1e-6)
    assert {path.name for path in done.folder.glob("*")} >= {"plane0", "plane1", "combined"}
    assert not (done.folder / "plane2").exists()


def raw_mean(plane) -> np.ndarray:
    """The mean of a plane's frames before registration, as Suite2p took them from the pages."""
    return read_object(plane.folder / "db.npy")["meanImg"]


def test_a_channel_is_extracted_and_the_other_goes_along(tmp_path, cells):
    red = movie(1)
    files = write_pages(tmp_path / "a.tif", red, cells)
    done = run_suite2p(files, tmp_path / "out", PARAMETERS, scan_of(nchannels=2, functional_channel=1))
    result = read_result(done.folder)
    (plane,) = result.planes
    assert (result.functional_channel, result.align_channel) == (1, 1)
    np.testing.assert_allclose(raw_mean(plane), cells.mean(axis=0), rtol=1e-6)
    assert plane.F_chan2.shape == plane.F.shape
    assert plane.redcell.shape == (done.n_rois, 2)


def test_fields_of_a_multi_roi_scan_become_planes(tmp_path, cells):
    gap = np.zeros((FRAMES, 4, SIDE), np.int16)
    page = np.concatenate([cells, gap, movie(1)], axis=1)
    regions = (Region((0, SIDE), 0, 0), Region((SIDE + 4, 2 * SIDE + 4), 0, SIDE))
    scan = scan_of(height=2 * SIDE + 4, regions=regions)
    done = run_suite2p(write_pages(tmp_path / "a.tif", page), tmp_path / "out", PARAMETERS, scan)
    planes = read_result(done.folder).planes
    assert [(plane.index, plane.depth, plane.region) for plane in planes] == [(0, 0, 0), (1, 0, 1)]
    np.testing.assert_allclose(raw_mean(planes[1]), movie(1).mean(axis=0), rtol=1e-6)


# No cells


def test_no_cells_is_an_empty_result(tmp_path):
    done = run_suite2p(write_pages(tmp_path / "a.tif", nothing()), tmp_path / "out", PARAMETERS, scan_of())
    (plane,) = read_result(done.folder).planes
    assert done.n_rois == 0
    assert plane.F.shape == plane.spks.shape == (0, FRAMES)
    assert plane.iscell.shape == (0, 2)
    assert plane.nonrigid
    assert np.isfinite(plane.average_image).all()
    assert np.isnan(plane.correlation_image).all()  # nothing was computed, and nothing is invented


@pytest.mark.parametrize("empty", [0, 1])
def test_a_plane_without_cells_does_not_stop_the_others(tmp_path, cells, empty):
    pages = [cells, movie(1)]
    pages.insert(empty, nothing())
    done = run_suite2p(write_pages(tmp_path / "a.tif", *pages), tmp_path / "out", PARAMETERS, scan_of(nplanes=3))
    rois = [len(plane.rois) for plane in read_result(done.folder).planes]
    assert [count == 0 for count in rois] == [number == empty for number in range(3)]
    assert (done.folder / "combined" / "F.npy").exists()


@pytest.mark.parametrize(
    "parameters",
    [
        {"extraction": {"snr_threshold": 1.0}},
        {"classification": {"preclassify": 1.0}},
        {"detection": {"npix_norm_min": 50.0}},
        {"run": {"do_detection": False}},
    ],
)
def test_no_cells_left_by_the_parameters_is_an_empty_result(tmp_path, cells, parameters):
    done = run_suite2p(write_pages(tmp_path / "a.tif", cells), tmp_path / "out", parameters, scan_of())
    assert done.n_rois == read_result(done.folder).n_rois == 0


# Small fields


def test_fitted_blocks_are_those_that_suite2p_laid(finished):
    from suite2p.registration.nonrigid import make_blocks

    done, _, _ = finished
    (plane,) = read_result(done.folder).planes
    assert read_object(done.folder / "plane0" / "settings.npy")["registration"]["block_size"] == (48, 48)
    assert plane.yoff1.shape == (FRAMES, 9)
    for height, width, size in ((SIDE, SIDE, (48, 48)), (200, 330, (128, 64)), (60, 300, (128, 128))):
        y, x, *_ = make_blocks(height, width, size)
        expected = [(tuple(a.tolist()), tuple(b.tolist())) for a, b in zip(y, x, strict=True)]
        assert list(lay_blocks(height, width, size)) == expected


# What is refused


def test_a_device_is_used_or_refused_and_never_replaced(tmp_path, cells):
    import torch

    files = write_pages(tmp_path / "a.tif", cells)
    with pytest.raises(ToolMissing, match="no device 'gpu'"):
        run_suite2p(files, tmp_path / "out", {}, scan_of(), device="gpu")
    with pytest.raises(InvalidParameters, match=r"torch_device.*workers\.device"):
        run_suite2p(files, tmp_path / "out", {"torch_device": "cuda"}, scan_of(), device="cpu")
    if not torch.cuda.is_available():
        with pytest.raises(ToolMissing, match="cuda is demanded"):
            run_suite2p(files, tmp_path / "out", {}, scan_of(), device="cuda")
    absent = f"cuda:{torch.cuda.device_count()}"
    with pytest.raises(ToolMissing, match=absent):
        run_suite2p(files, tmp_path / "out", {}, scan_of(), device=absent)
    assert not (tmp_path / "out").exists()


def test_what_suite2p_would_silently_replace_is_refused(tmp_path, cells, monkeypatch):
    from cellpose import models

    monkeypatch.setattr(models, "MODEL_DIR", tmp_path / "weights")
    files = write_pages(tmp_path / "a.tif", cells)
    with pytest.raises(ToolMissing, match="cpsam"):
        run_suite2p(files, tmp_path / "out", {"detection": {"algorithm": "cellpose"}}, scan_of())
    with pytest.raises(InvalidParameters, match="cellpose_chan2"):
        run_suite2p(files, tmp_path / "out", {"detection": {"cellpose_chan2": True}}, scan_of())
    absent = {"classification": {"classifier_path": str(tmp_path / "classifier.npy")}}
    with pytest.raises(UnreadableFile, match=r"classifier\.npy"):
        run_suite2p(files, tmp_path / "out", absent, scan_of())


def test_a_forged_classifier_is_never_loaded(tmp_path, cells):
    canary = tmp_path / "canary"
    forged = f"cos\nsystem\n(S'touch {canary}'\ntR.".encode()
    with (tmp_path / "classifier.npy").open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "|O", "fortran_order": False, "shape": ()})
        file.write(forged)
    asked = {"classification": {"classifier_path": str(tmp_path / "classifier.npy")}}
    with pytest.raises(UnreadableFile, match=r"os\.system"):
        run_suite2p(write_pages(tmp_path / "a.tif", cells), tmp_path / "out", asked, scan_of())
    assert not canary.exists()


def test_another_version_of_suite2p_is_refused(tmp_path, cells, monkeypatch):
    from adamacs.modalities.imaging.engine import tool

    monkeypatch.setattr(tool, "package_versions", lambda: {"suite2p": "1.2.0"})
    with pytest.raises(ToolMissing, match=r"1\.1\.0, and 1\.2\.0 is installed"):
        run_suite2p(write_pages(tmp_path / "a.tif", cells), tmp_path / "out", {}, scan_of())


# A worker's surroundings


def run_python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    keep = {name: value for name, value in os.environ.items() if name not in ("HOME", "NUMBA_CACHE_DIR")}
    command = [sys.executable, "-W", "error", "-c", code]
    return subprocess.run(command, env={**keep, **environment}, capture_output=True, text=True, check=False)


def test_suite2p_is_loaded_quietly_and_without_a_home(tmp_path):
    code = (
        "import os; from adamacs.modalities.imaging.engine import tool;"
        "tool.load_suite2p('1.1.0', 'cpu', 1); import suite2p.parameters as p;"
        "assert os.environ['HOME'] == '/nonexistent/home';"
        "print(p.SETTINGS_FOLDER)"
    )
    told = run_python(code, HOME="/nonexistent/home")
    assert (told.returncode, told.stderr) == (0, "")
    assert len(told.stdout.splitlines()) == 1
    assert "adamacs-import-" in told.stdout
    assert not Path(told.stdout.strip()).exists()  # removed when the process ended


def test_a_classifier_in_a_workers_home_changes_nothing(tmp_path, finished):
    """The GUI leaves one there as soon as it is opened, and its user may train it."""
    done, _, _ = finished
    log = (done.folder / "run.log").read_text()
    assert "applying builtin classifier" in log
    record = json.loads((done.folder / "manifest.json").read_text())["run"]
    assert record["settings"]["classification"]["use_builtin_classifier"] is True
