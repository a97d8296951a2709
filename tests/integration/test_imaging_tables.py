"""The imaging chain in the database, on result folders of known content: no Suite2p is needed here."""

from __future__ import annotations

import json
import logging
import os
import shlex
import shutil
from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner
from matplotlib.figure import Figure

from adamacs import cli, pipeline
from adamacs.analysis.report import write_report
from adamacs.core import settings as lab_settings
from adamacs.core.errors import (
    CorruptArray,
    InvalidParameters,
    InvalidRequest,
    PlanRefused,
    ProcessingFailed,
    UnreadableFile,
    UnsafePath,
    describe,
)
from adamacs.database import portable
from adamacs.demo import lab as synthetic
from adamacs.demo.suite2p import save_object, write_result
from adamacs.ingest.apply import apply_plan
from adamacs.ingest.plan import plan_ingest
from adamacs.ingest.remove import apply_removal, plan_removal
from adamacs.modalities.imaging import engine, numerics
from adamacs.modalities.imaging.engine import folder as folders
from adamacs.modalities.imaging.plan import (
    apply_curation,
    apply_restoration,
    apply_results,
    find_results,
    plan_curation,
    plan_restoration,
    plan_results,
)
from adamacs.modalities.imaging.plots import plot_spikes, plot_traces
from adamacs.modalities.imaging.reader.npy import read_object
from adamacs.modalities.imaging.tables import result_folder
from adamacs.pipeline import imaging, operations, scan
from adamacs.storage import arrays, attempts, stores
from tests.labs import drain

ROIS = 5


@pytest.fixture(scope="module")
def recordings(tmp_path_factory):
    """The tiny synthetic lab, written once."""
    home = tmp_path_factory.mktemp("recordings")
    return home / "share", synthetic.write(home / "share", size="tiny")


@pytest.fixture
def scans(mouse_lab, recordings):
    """The scans of the tiny lab, ingested and their headers read."""
    share, scans = recordings
    shutil.copytree(share, mouse_lab.settings.root("share"), dirs_exist_ok=True)
    apply_plan(plan_ingest([mouse_lab.settings.root("share")], mouse_lab.settings), mouse_lab.settings)
    assert not drain().failed
    return scans


def key_of(true):
    return {"session_id": true.session_id, "scan_id": true.scan_id}


def found(lab, true, name="found", **options):
    """Write results of a scan as Suite2p leaves them."""
    folder = lab.settings.root("processed") / name / f"suite2p_exp{true.scan_id[4:]}"
    field = (imaging.ScanInfo * imaging.ScanInfo.Field & key_of(true)).to_dicts()[0]
    of_scan = {
        "frames": field["nframes"],
        "shape": (field["px_height"], field["px_width"]),
        "planes": true.planes,
        "channels": true.channels,
    }
    return folder, write_result(folder, **{"rois": ROIS, **of_scan, **options})


def load(lab, true, **options):
    """Write results of a scan, take them over and fill every table."""
    folder, planes = found(lab, true, **options)
    key = apply_results(plan_results(key_of(true), folder, lab.settings))
    tally = drain()
    assert tally.failed == []
    return key, planes


def edit(plane):
    """Judge every ROI the other way, and save that as the GUI does."""
    flipped = np.load(plane.folder / "iscell.npy")
    flipped[:, 0] = 1 - flipped[:, 0]
    np.save(plane.folder / "iscell.npy", flipped)
    return flipped


@pytest.mark.parametrize("version", ["1.1.0", "0.14.4"])
def test_every_array_is_what_the_tool_left(mouse_lab, scans, version):
    key, (plane,) = load(mouse_lab, scans[0], version=version)
    for number in range(ROIS):
        trace = (imaging.Fluorescence.Trace & key & {"mask": number}).fetch1()
        np.testing.assert_array_equal(trace["fluorescence"], plane.arrays["F"][number])
        np.testing.assert_array_equal(trace["neuropil_fluorescence"], plane.arrays["Fneu"][number])
        spikes = (imaging.Activity.Trace & key & {"mask": number}).fetch1("activity_trace")
        np.testing.assert_array_equal(spikes, plane.arrays["spks"][number])
        mask = (imaging.Segmentation.Mask & key & {"mask": number}).fetch1()
        np.testing.assert_array_equal(mask["mask_xpix"], plane.stat[number]["xpix"])
        np.testing.assert_array_equal(mask["mask_ypix"], plane.stat[number]["ypix"])
        np.testing.assert_array_equal(mask["mask_weights"], plane.stat[number]["lam"])
        assert mask["mask_npix"] == len(plane.stat[number]["xpix"])
    whole = (imaging.Fluorescence.Field & key).fetch1("fluorescence")
    np.testing.assert_array_equal(whole, plane.arrays["F"])
    assert (imaging.Processing & key).fetch1("package_version") == version


def test_shifts_and_blocks_keep_their_axes(mouse_lab, scans):
    key, (plane,) = load(mouse_lab, scans[0])
    rigid = (imaging.MotionCorrection.RigidMotionCorrection & key).fetch1()
    np.testing.assert_array_equal(rigid["y_shifts"], plane.registration["yoff"])
    np.testing.assert_array_equal(rigid["x_shifts"], plane.registration["xoff"])
    assert rigid["y_std"] == pytest.approx(
        np.std(plane.registration["yoff"]), rel=1e-5
    )  # MySQL tells floats with 6 digits
    blocks = (imaging.MotionCorrection.Block & key).to_dicts(order_by="block_id")
    layout = (imaging.MotionCorrection.NonRigidMotionCorrection & key).fetch1()
    assert len(blocks) == layout["block_count_y"] * layout["block_count_x"]
    for block in blocks:
        np.testing.assert_array_equal(block["y_shifts"], plane.registration["yoff1"][:, block["block_id"]])
        assert block["block_y_end"] - block["block_y_start"] == layout["block_height"]
        assert block["block_x_end"] - block["block_x_start"] == layout["block_width"]


def test_a_mask_keeps_its_number_over_the_planes(mouse_lab, scans):
    key, planes = load(mouse_lab, scans[1])
    assert (imaging.Segmentation.Mask & key).to_arrays("mask", order_by="mask").tolist() == list(range(2 * ROIS))
    rows = (imaging.Segmentation.Mask & key).to_dicts(order_by="mask")
    assert [row["field_idx"] for row in rows] == [0] * ROIS + [1] * ROIS
    last = (imaging.Fluorescence.Trace & key & {"mask": 2 * ROIS - 1}).fetch1("fluorescence")
    np.testing.assert_array_equal(last, planes[1].arrays["F"][-1])


def test_the_second_channel_is_kept_apart(mouse_lab, scans):
    key, (plane,) = load(mouse_lab, scans[2])
    assert len(imaging.Fluorescence.Trace & key) == ROIS
    other = (imaging.Fluorescence.StructuralTrace & key & {"mask": 1}).fetch1()
    assert other["fluo_channel"] == 1
    np.testing.assert_array_equal(other["fluorescence"], plane.arrays["F_chan2"][1])


def test_only_accepted_masks_are_cells(mouse_lab, scans):
    key, (plane,) = load(mouse_lab, scans[0])
    rows = (imaging.MaskClassification.MaskType & key).to_dicts(order_by="mask")
    assert [row["mask"] for row in rows] == np.flatnonzero(plane.arrays["iscell"][:, 0]).tolist()
    assert {row["mask_type"] for row in rows} <= {"soma"}


def test_no_cells_is_an_empty_result(mouse_lab, scans):
    key, _ = load(mouse_lab, scans[0], rois=0)
    assert len(imaging.Fluorescence & key) == 1
    assert len(imaging.Fluorescence.Trace & key) == 0
    assert len(imaging.ProcessingQualityMetrics & key) == 1
    assert (imaging.Segmentation & key).fetch1("masks").shape == (0,)


def test_a_slice_reads_the_samples_that_it_names(mouse_lab, scans):
    key, (plane,) = load(mouse_lab, scans[0])
    trace = (imaging.Fluorescence.Trace & key & {"mask": 2}).fetch1("fluorescence")
    assert (trace.shape, trace.dtype) == ((24,), np.dtype("f4"))
    np.testing.assert_array_equal(trace[10:20], plane.arrays["F"][2, 10:20])


def test_quality_metrics_are_those_of_the_arrays(mouse_lab, scans):
    key, (plane,) = load(mouse_lab, scans[0])
    rows = (imaging.ProcessingQualityMetrics.Trace & key).to_dicts(order_by="mask")
    signal = plane.arrays["F"].astype(float)
    centred = signal - signal.mean(1, keepdims=True)
    skewness = (centred**3).mean(1) / (centred**2).mean(1) ** 1.5
    np.testing.assert_allclose([row["skewness"] for row in rows], skewness, rtol=1e-4)
    np.testing.assert_allclose([row["std"] for row in rows], signal.std(1), rtol=1e-4)
    field = (imaging.ScanInfo.Field & key).fetch1()
    area = field["um_height"] * field["um_width"] / (field["px_height"] * field["px_width"])
    masks = (imaging.ProcessingQualityMetrics.Mask & key).to_dicts(order_by="mask")
    np.testing.assert_allclose(
        [row["mask_area"] for row in masks], [len(s["xpix"]) * area for s in plane.stat], rtol=1e-5
    )
    assert all(0 < row["roundness"] <= 1 for row in masks)


def test_corrupt_bytes_are_told_with_their_key_and_file(mouse_lab, scans):
    key, _ = load(mouse_lab, scans[0])
    trace = (imaging.Fluorescence.Trace & key & {"mask": 0}).fetch1("fluorescence")
    path = stores.named("derived").root / trace.path
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0x10
    path.write_bytes(data)
    with pytest.raises(CorruptArray) as refusal:
        np.asarray((imaging.Fluorescence.Field & key).fetch1("fluorescence"))
    assert key["scan_id"] in str(refusal.value)
    assert path.name in str(refusal.value)


def test_a_curated_folder_becomes_a_further_curation_and_both_stay(mouse_lab, scans):
    key, (plane,) = load(mouse_lab, scans[0])
    before = len(imaging.MaskClassification.MaskType & key & {"curation_id": 1})
    flipped = edit(plane)
    plan = plan_curation(key, mouse_lab.settings, note="checked by eye")
    assert (plan.curation_id, plan.cells) == (2, int(flipped[:, 0].sum()))
    apply_curation(plan, mouse_lab.settings)
    assert drain().failed == []
    assert len(imaging.MaskClassification.MaskType & key & {"curation_id": 1}) == before
    rows = (imaging.MaskClassification.MaskType & key & {"curation_id": 2}).to_arrays("mask").tolist()
    assert sorted(rows) == np.flatnonzero(flipped[:, 0]).tolist()
    assert (imaging.Curation & key & {"curation_id": 2}).fetch1("manual_curation")
    assert len(imaging.Fluorescence.Trace & key) == 2 * ROIS


def test_a_curation_edited_in_place_is_not_taken_for_what_it_was(mouse_lab, scans):
    key, (plane,) = load(mouse_lab, scans[0])
    edit(plane)
    second = apply_curation(plan_curation(key, mouse_lab.settings), mouse_lab.settings)
    folder = mouse_lab.settings.root("processed") / (imaging.Curation & second).fetch1("curation_output_dir")
    np.save(folder / "plane0" / "iscell.npy", np.ones((ROIS, 2)))
    np.save(plane.folder / "iscell.npy", plane.arrays["iscell"])
    tally = drain()
    assert tally.failed
    assert all("plane0/iscell.npy" in reason and f"--folder {folder}" in reason for reason in tally.failed)
    assert len(imaging.Segmentation & second) == 0
    assert len(imaging.Segmentation & key & {"curation_id": 1}) == 1


def test_found_results_edited_before_all_tables_are_filled_are_not_read_as_they_were(mouse_lab, scans):
    key, (plane,) = load(mouse_lab, scans[0])
    first = {**key, "curation_id": 1}
    (imaging.MaskClassification & first).delete(prompt=False)
    flipped = edit(plane)
    (reason,) = drain().failed
    assert "changed since" in reason
    assert "curate add" in reason
    np.save(plane.folder / "iscell.npy", plane.arrays["iscell"])
    assert drain().failed == []
    accepted = (imaging.MaskClassification.MaskType & first).to_arrays("mask", order_by="mask").tolist()
    assert accepted == np.flatnonzero(plane.arrays["iscell"][:, 0]).tolist() != np.flatnonzero(flipped[:, 0]).tolist()


def test_a_copy_that_no_row_names_is_never_taken_for_a_later_edit(mouse_lab, scans):
    key, (plane,) = load(mouse_lab, scans[0])
    np.save(plane.folder / "iscell.npy", np.ones((ROIS, 2)))
    left = plan_curation(key, mouse_lab.settings)
    engine.snapshot(left.source, result_folder(left.destination))  # killed before its row was there
    flipped = edit(plane)
    with pytest.raises(ProcessingFailed, match="another request"):
        apply_curation(left, mouse_lab.settings)
    plan = plan_curation(key, mouse_lab.settings)
    assert (left.curation_id, plan.curation_id) == (2, 3)
    kept = apply_curation(plan, mouse_lab.settings)
    folder = result_folder((imaging.Curation & kept).fetch1("curation_output_dir"))
    np.testing.assert_array_equal(np.load(folder / "plane0" / "iscell.npy"), flipped)


def test_a_curation_whose_row_is_refused_leaves_no_copy(mouse_lab, scans):
    key, (plane,) = load(mouse_lab, scans[0])
    edit(plane)
    plan = plan_curation(key, mouse_lab.settings, note="x" * 2001)
    with pytest.raises(portable.FAILURES):
        apply_curation(plan, mouse_lab.settings)
    assert not result_folder(plan.destination).exists()
    assert len(imaging.Curation & key) == 1


def test_a_folder_that_nobody_edited_is_no_curation(mouse_lab, scans, tmp_path):
    key, (plane,) = load(mouse_lab, scans[0])
    copy = shutil.copytree(plane.folder.parent, tmp_path / "suite2p_copied")
    for folder in (None, copy):
        with pytest.raises(PlanRefused, match="Nothing was edited: these are the results of curation 1"):
            plan_curation(key, mouse_lab.settings, folder=folder)
    edit(plane)
    second = apply_curation(plan_curation(key, mouse_lab.settings), mouse_lab.settings)
    kept = result_folder((imaging.Curation & second).fetch1("curation_output_dir"))
    for folder in (None, kept):  # the edited folder, and the copy whose paths were rewritten
        with pytest.raises(PlanRefused, match="Nothing was edited: these are the results of curation 2"):
            plan_curation(key, mouse_lab.settings, folder=folder)
    edit(plane)
    with pytest.raises(PlanRefused, match="curation 1"):  # back to where it was
        plan_curation(key, mouse_lab.settings)


def finish(lab, true, **options):
    """Write results of a scan as our own engine lands them, and plan to take them over."""
    raw, _ = found(lab, true, name="raw", **options)
    place = result_folder(f"own/suite2p_exp{true.scan_id[4:]}")
    with attempts.attempt(place) as attempt:
        result = raw.rename(attempt.work / "suite2p")
        rois = {f"plane{number}": ROIS for number in range(true.planes)}
        folders.land(result, place, {"request": {"version": "1.1.0"}, "rois": rois})
    return apply_results(plan_results(key_of(true), place, lab.settings)), place


def run_as_told(monkeypatch, lab, reason, marker):
    """Run the one command of a message that holds a marker, as a person pastes it."""
    (command,) = (piece for piece in reason.split("`") if marker in piece)
    monkeypatch.setenv("ADAMACS_HOME", str(lab.home))
    monkeypatch.setattr(pipeline, "connect", lambda: None)  # bound already, to this lab
    program, *words = shlex.split(command)
    assert program == "adamacs"
    answer = CliRunner().invoke(cli.LazyGroup(), [*words, "--yes"], catch_exceptions=False)
    assert answer.exit_code == 0, answer.output
    return answer.output


@pytest.mark.parametrize("scan", [0, 2], ids=["one channel", "two channels"])
def test_results_edited_before_all_tables_are_filled_are_kept_and_put_back(mouse_lab, scans, monkeypatch, scan):
    key, place = finish(mouse_lab, scans[scan])
    imaging.Processing.populate(key)
    imaging.MotionCorrection.populate(key)
    judged = np.load(place / "plane0" / "iscell.npy")
    flipped = np.stack([1 - judged[:, 0], judged[:, 1]], axis=1)
    np.save(place / "plane0" / "iscell.npy", flipped)
    reasons = drain().failed
    assert reasons
    assert all("plane0/iscell.npy" in reason for reason in reasons)
    assert "lost" in plan_restoration({**key, "curation_id": 1}, mouse_lab.settings).describe()
    run_as_told(monkeypatch, mouse_lab, reasons[0], "curate add")
    assert "kept as curation 2" in run_as_told(monkeypatch, mouse_lab, reasons[0], "curate restore")
    assert drain().failed == []
    for number, cells in ((1, judged), (2, flipped)):
        of_curation = {**key, "curation_id": number}
        accepted = (imaging.MaskClassification.MaskType & of_curation).to_arrays("mask", order_by="mask").tolist()
        assert accepted == np.flatnonzero(cells[:, 0]).tolist()
        assert len(imaging.Activity.Trace & of_curation) == ROIS
        assert len(imaging.ProcessingQualityMetrics & of_curation) == 1


def test_a_kept_copy_that_was_edited_is_put_back_too(mouse_lab, scans):
    key, (plane,) = load(mouse_lab, scans[0])
    flipped = edit(plane)
    second = apply_curation(plan_curation(key, mouse_lab.settings), mouse_lab.settings)
    folder = result_folder((imaging.Curation & second).fetch1("curation_output_dir"))
    np.save(folder / "plane0" / "iscell.npy", np.ones((ROIS, 2)))
    apply_restoration(plan_restoration(second, mouse_lab.settings))
    np.testing.assert_array_equal(np.load(folder / "plane0" / "iscell.npy"), flipped)
    assert drain().failed == []


MISFITS = [
    ({"frames": 23}, "23 frames of plane 0, and the scan has 24"),
    ({"shape": (56, 48)}, "56 x 48 px of plane 0, and the scan has 48 x 56"),
    ({"planes": 2}, "planes 0, 1, and the scan has 1"),
    ({"channels": 2}, "2 channels of plane 0, and the scan has 1"),
]


@pytest.mark.parametrize(("option", "told"), MISFITS)
def test_results_of_another_scan_are_refused_wherever_they_come_in(mouse_lab, scans, option, told):
    key, (plane,) = load(mouse_lab, scans[0])
    folder, _ = found(mouse_lab, scans[0], name="other", **option)
    with pytest.raises(ProcessingFailed, match=told):
        plan_results(key_of(scans[0]), folder, mouse_lab.settings)
    with pytest.raises(ProcessingFailed, match=told):
        plan_curation(key, mouse_lab.settings, folder=folder)
    (imaging.Processing & key).delete(prompt=False)
    shutil.rmtree(plane.folder.parent)
    folder.rename(plane.folder.parent)  # after it was planned
    (reason,) = drain().failed
    assert told in reason
    assert len(imaging.Processing()) == 0


def test_an_incomplete_last_volume_is_no_misfit(mouse_lab, scans):
    for number, frames in enumerate((11, 13)):
        folder, _ = found(mouse_lab, scans[1], name=f"found{number}", frames=frames)
        assert plan_results(key_of(scans[1]), folder, mouse_lab.settings).planes == 2


def test_results_wait_until_the_headers_are_read(mouse_lab, scans):
    folder, _ = found(mouse_lab, scans[0])
    (imaging.ScanInfo & key_of(scans[0])).delete(prompt=False)
    with pytest.raises(ProcessingFailed, match="adamacs work"):
        plan_results(key_of(scans[0]), folder, mouse_lab.settings)


def test_results_are_taken_over_once(mouse_lab, scans, monkeypatch):
    folder, _ = found(mouse_lab, scans[0])
    plan = plan_results(key_of(scans[0]), folder, mouse_lab.settings)
    with monkeypatch.context() as patch:
        patch.setattr(imaging.ProcessingTask, "insert1", _refuse)
        with pytest.raises(RuntimeError, match="the server is gone"):
            apply_results(plan)
    assert len(imaging.ProcessingParamSet()) == 0
    assert apply_results(plan) == apply_results(plan)
    assert (len(imaging.ProcessingParamSet()), len(imaging.ProcessingTask())) == (1, 1)
    again, _ = found(mouse_lab, scans[0], name="again")
    with pytest.raises(PlanRefused, match="another task"):
        apply_results(plan_results(key_of(scans[0]), again, mouse_lab.settings))


def _refuse(*_, **__):
    raise RuntimeError("the server is gone")


def test_found_results_tell_which_channel_they_are_of(mouse_lab, scans):
    folder, (plane,) = found(mouse_lab, scans[2])
    for name in ("db.npy", "ops.npy"):
        save_object(plane.folder / name, {**read_object(plane.folder / name), "functional_chan": 2})
    key = apply_results(plan_results(key_of(scans[2]), folder, mouse_lab.settings))
    assert (imaging.ProcessingTask & key).fetch1("functional_channel") == 1
    assert drain().failed == []
    assert set((imaging.Fluorescence.Trace & key).to_arrays("fluo_channel").tolist()) == {1}
    assert apply_results(plan_results(key_of(scans[2]), folder, mouse_lab.settings)) == key


@pytest.mark.parametrize("change", ["bytes", "size"])
def test_raw_files_that_changed_since_ingest_are_not_read(mouse_lab, recordings, change):
    share, (true, *_) = recordings
    lab_share = mouse_lab.settings.root("share")
    shutil.copytree(share, lab_share, dirs_exist_ok=True)
    index = imaging.ProcessingParamSet.insert_new({})
    settings = replace(mouse_lab.settings, ingest=replace(mouse_lab.settings.ingest, paramset_idx=index))
    apply_plan(plan_ingest([lab_share], settings), settings)
    imaging.ScanInfo.populate(key_of(true))
    (imaging.ScanInfo & key_of(true)).proj().fetch1()
    row = (scan.ScanFile & key_of(true)).to_dicts(order_by="file_id")[0]
    path = lab_share / row["file_path"]
    if change == "bytes":
        data = path.read_bytes()
        path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    else:
        times = path.stat()
        with path.open("ab") as file:
            file.write(b"x")
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    for table in (imaging.Processing, scan.ScanFileChecksum):
        with pytest.raises(UnreadableFile, match="changed since it was ingested"):
            table.populate(key_of(true))
    (imaging.ScanInfo & key_of(true)).delete(prompt=False)
    with pytest.raises(UnreadableFile, match="changed since it was ingested"):
        imaging.ScanInfo.populate(key_of(true))


@pytest.mark.parametrize("relative", ["", ".", "/etc", "..", "a/../../b", "a/../b", "link/result"])
def test_a_result_folder_lies_strictly_below_its_root(mouse_lab, tmp_path, relative):
    (mouse_lab.settings.root("processed") / "link").symlink_to(tmp_path)
    with pytest.raises(UnsafePath):
        result_folder(relative)
    (mouse_lab.settings.root("processed") / "link").unlink()


def test_a_task_that_leads_out_of_its_root_is_refused(mouse_lab, scans, tmp_path):
    key, _ = load(mouse_lab, scans[0])
    (imaging.Processing & key).delete(prompt=False)
    _, _ = write_result(tmp_path / "out", planes=2)
    imaging.ProcessingTask.update1({**key, "processing_output_dir": str(tmp_path / "out")})
    (reason,) = drain().failed
    assert "no folder below the root" in reason
    with pytest.raises(UnsafePath):
        plan_curation(key, mouse_lab.settings)


def test_a_mask_tells_the_plane_of_its_field(mouse_lab, scans):
    key, _ = load(mouse_lab, scans[1])
    (imaging.Segmentation & key).delete(prompt=False)
    for number in (0, 1):  # as two ROIs of one plane: the folder's number is not the depth
        imaging.ScanInfo.Field.update1({**key_of(scans[1]), "field_idx": number, "plane": 7})
    assert drain().failed == []
    assert set((imaging.Segmentation.Mask & key).to_arrays("mask_center_z").tolist()) == {7.0}


def test_a_report_tells_curations_apart(mouse_lab, scans, tmp_path):
    key, (plane,) = load(mouse_lab, scans[0])
    edit(plane)
    apply_curation(plan_curation(key, mouse_lab.settings, note="checked by eye"), mouse_lab.settings)
    assert drain().failed == []
    write_report(tmp_path / "report.html", title="Report")
    text = (tmp_path / "report.html").read_text("utf-8")
    index = key["paramset_idx"]
    titles = [f"{key['scan_id']}, field 0, parameter set {index}, curation {number}</h2>" for number in (1, 2)]
    assert all(text.count(title) == 1 for title in titles)
    assert text.index("as the tool left it") < text.index("checked by eye")


def drawn(draw, key):
    axes = Figure().subplots()
    draw(axes, key)
    return axes


def test_most_active_cells_are_accepted_masks(mouse_lab, scans):
    key, (plane,) = load(mouse_lab, scans[0])
    accepted = np.flatnonzero(plane.arrays["iscell"][:, 0])
    assert 0 < len(accepted) < ROIS
    axes = drawn(plot_traces, {**key, "curation_id": 1})
    assert sorted(int(label.get_text()) for label in axes.get_yticklabels()) == accepted.tolist()
    (imaging.MaskClassification & key).delete(prompt=False)
    axes = drawn(plot_traces, {**key, "curation_id": 1})
    assert len(axes.get_yticklabels()) == ROIS
    assert "no mask was accepted" in axes.get_title()


@pytest.mark.parametrize(
    ("params", "share"),
    [({}, 0.7), ({"extraction": {"neuropil_coefficient": 0.2}}, 0.2), ({"neucoeff": 0.4}, 0.4)],
)
def test_traces_subtract_the_neuropil_that_the_run_subtracted(mouse_lab, scans, monkeypatch, params, share):
    folder, (plane,) = found(mouse_lab, scans[0])
    plan = replace(plan_results(key_of(scans[0]), folder, mouse_lab.settings), params=params)
    key = apply_results(plan)
    assert drain().failed == []
    shown = []
    monkeypatch.setattr(numerics, "dff", lambda trace, rate: shown.append(trace) or trace)
    drawn(plot_traces, {**key, "curation_id": 1})
    corrected = plane.arrays["F"] - share * plane.arrays["Fneu"]
    assert shown
    assert all(np.isclose(corrected, trace, rtol=1e-5).all(axis=1).any() for trace in shown)


def test_one_missing_sample_does_not_blank_a_line(mouse_lab, scans):
    folder, (plane,) = found(mouse_lab, scans[0])
    plane.arrays["F"][:] += 1000.0  # well above the neuropil, so that every baseline is above zero
    for name, frame in (("F", 3), ("spks", 5)):
        plane.arrays[name][:, frame] = np.nan
        np.save(folder / "plane0" / f"{name}.npy", plane.arrays[name])
    key = apply_results(plan_results(key_of(scans[0]), folder, mouse_lab.settings))
    assert drain().failed == []
    axes = drawn(plot_traces, {**key, "curation_id": 1})
    assert len(axes.lines) > 0
    for line in axes.lines:
        height = line.get_ydata()
        assert np.isnan(height).sum() == 1
        assert np.nanmax(height) - np.nanmin(height) == pytest.approx(0.75)
    metrics = (imaging.ProcessingQualityMetrics.Trace & key).to_dicts(order_by="mask")
    spread = np.nanstd(plane.arrays["F"].astype(float), axis=1)
    np.testing.assert_allclose([row["std"] for row in metrics], spread, rtol=1e-4)
    (raster,) = (image.get_array() for image in drawn(plot_spikes, {**key, "curation_id": 1}).images)
    assert np.nanmax(raster, axis=1).tolist() == [1.0] * ROIS


def test_results_are_found_by_the_name_of_their_scan(mouse_lab, scans):
    root, scan_id = mouse_lab.settings.root("processed"), scans[0].scan_id
    with pytest.raises(PlanRefused, match="none"):
        find_results(scan_id, mouse_lab.settings)
    first = root / "archive" / f"suite2p_exp{scan_id[4:]}"
    first.mkdir(parents=True)
    assert find_results(scan_id, mouse_lab.settings) == first.resolve()
    for staging in ("failed/2026-02-10", f"archive/{first.name}.attempt-0123456789ab"):
        (root / staging / first.name).mkdir(parents=True)
    assert find_results(scan_id, mouse_lab.settings) == first.resolve()
    (root / f"XX_{scan_id}_x" / "suite2p").mkdir(parents=True)
    with pytest.raises(PlanRefused, match=r"archive.*suite2p"):
        find_results(scan_id, mouse_lab.settings)


def test_a_run_that_fails_leaves_its_log_under_the_key(mouse_lab, scans, monkeypatch):
    """The whole way from the row to the folder; what Suite2p does is not asked here."""

    class Broken:
        def run_s2p(self, **_):
            logging.getLogger("suite2p").info("it came so far")
            raise ValueError("and no further")

    monkeypatch.setattr(engine.tool, "load_suite2p", lambda *_: Broken())
    monkeypatch.setattr(engine.tool, "limited_threads", lambda _: nullcontext())
    index = imaging.ProcessingParamSet.insert_new({})
    key = {**key_of(scans[0]), "paramset_idx": index}
    imaging.ProcessingTask.insert1({**key, "processing_output_dir": "a/out", "task_mode": "trigger"})
    (reason,) = drain().failed
    assert "and no further" in reason
    spelt = f"session_id={scans[0].session_id},scan_id={scans[0].scan_id},paramset_idx={index}"
    (log,) = (mouse_lab.settings.root("processed") / "failed").glob(f"*/{spelt}/attempt-*/suite2p/run.log")
    assert "it came so far" in log.read_text()
    assert json.loads((log.parents[1] / "attempt.json").read_text())["key"] == key
    (told,) = (operations.Attempt & {"outcome": "failed"}).to_dicts()
    assert str(log.parents[1]) in told["traceback"]
    assert list((mouse_lab.settings.root("processed") / "a").iterdir()) == []


def test_results_outside_the_processed_root_are_refused(mouse_lab, scans, tmp_path):
    write_result(tmp_path / "suite2p", rois=1)
    with pytest.raises(UnsafePath):
        plan_results(key_of(scans[0]), tmp_path / "suite2p", mouse_lab.settings)


def test_found_results_bring_their_own_parameters_marked_as_not_validated(mouse_lab, scans):
    key, _ = load(mouse_lab, scans[0], version="0.14.4", tau=1.25)
    row = (imaging.ProcessingParamSet & key).fetch1()
    assert (row["validated"], row["tool_version"]) == (False, "0.14.4")
    assert row["params"]["tau"] == 1.25


def test_a_parameter_set_is_entered_once_and_never_changed(mouse_lab):
    first = imaging.ProcessingParamSet.insert_new({"tau": 0.7}, desc="fast")
    assert imaging.ProcessingParamSet.insert_new({"tau": 0.7}) == first
    second = imaging.ProcessingParamSet.insert_new({"tau": 1.3})
    assert second != first
    with pytest.raises(InvalidParameters, match="other parameters"):
        imaging.ProcessingParamSet.insert_new({"tau": 2.0}, paramset_idx=first)
    with pytest.raises(InvalidParameters, match="threshold_scaling"):
        imaging.ProcessingParamSet.insert_new({"detection": {"threshold_scalling": 1.0}})
    assert len(imaging.ProcessingParamSet()) == 2


def test_removing_a_processed_scan_leaves_no_array_behind(mouse_lab, scans):
    key, _ = load(mouse_lab, scans[0])
    store = stores.named("derived")
    assert list(store.listing())
    removal = plan_removal(key["scan_id"])
    assert len(removal[0].arrays) * 2 == len(list(store.listing()))
    apply_removal(removal, mouse_lab.settings)
    assert list(store.listing()) == []
    assert len(scan.Scan & {"scan_id": key["scan_id"]}) == 0
    assert len(imaging.Processing()) == 0
    assert (mouse_lab.settings.root("processed") / "found").is_dir()  # adamacs did not make it


def test_populate_works_too(mouse_lab, scans):
    """Notebooks may use DataJoint's own way; a worker and a notebook fill the same tables."""
    folder, _ = found(mouse_lab, scans[0])
    key = apply_results(plan_results(key_of(scans[0]), folder, mouse_lab.settings))
    for table in (imaging.Processing, imaging.MotionCorrection, imaging.Segmentation, imaging.Fluorescence):
        table.populate(key)
    assert len(imaging.Fluorescence.Trace & key) == ROIS


def test_references_are_cheap_for_deep_hashing(mouse_lab, scans):
    from deepdiff import DeepHash

    key, _ = load(mouse_lab, scans[0])
    reference = (imaging.Fluorescence.Field & key).fetch1("fluorescence")
    assert isinstance(reference, arrays.ArrayReference)
    assert len(list(DeepHash(reference).keys())) < 60


def test_where_only_workers_write_the_refusal_tells_the_line_that_stages_what_is_lacking(mouse_lab, scans, monkeypatch):
    settings = mouse_lab.settings
    workers = replace(settings.workers, only_workers_write=True)
    monkeypatch.setattr(lab_settings, "_active", replace(settings, workers=workers))

    def refusal(table, *key):
        with pytest.raises(InvalidRequest, match=rf"only workers fill imaging\.{table.__name__}") as refused:
            table.populate(*key)
        return refused.value.hint

    def staged_by(line):
        return f"A worker computes what is staged, by: {line}. A key that waits already"

    imaging.ProcessingParamSet.insert_new({"tau": 1.5}, paramset_idx=3)
    key = {**key_of(scans[0]), "paramset_idx": 3}
    first = {**key, "curation_id": 1}  # which the computation makes, and no person
    ingest = staged_by("adamacs ingest apply FOLDER --paramset 3")
    assert refusal(imaging.Processing, key).startswith(ingest)
    assert refusal(imaging.Segmentation, first).startswith(ingest)
    assert refusal(imaging.Processing).startswith(staged_by("adamacs ingest apply FOLDER --paramset INDEX"))
    assert refusal(imaging.ScanInfo, {"scan_id": "scan9FY"}).startswith(staged_by("adamacs ingest apply FOLDER"))
    assert refusal(imaging.Processing, {**key, "paramset_idx": 4}).startswith(
        staged_by("adamacs paramset add FILE.toml")
    )

    row = {**key, "processing_output_dir": "x", "task_mode": "trigger"}
    imaging.ProcessingTask.insert1(row)
    for table, asked in ((imaging.Processing, key), (imaging.Segmentation, first), (imaging.Fluorescence, first)):
        assert refusal(table, asked).startswith("A key that waits already")

    (imaging.ProcessingTask & key).delete_quick()
    done, _ = load(mouse_lab, scans[1])
    again = {**done, "curation_id": 2}
    add = f"adamacs curate add {describe(done)}"
    assert refusal(imaging.Fluorescence, again).startswith(staged_by(add))
