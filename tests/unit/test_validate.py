"""Whether a recording folder is fit, and whether this host is: what `adamacs validate` prints without a database."""

from __future__ import annotations

import errno
import json
import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from adamacs import cli
from adamacs.core import settings as settings_module
from adamacs.core import setups
from adamacs.demo import lab as synthetic
from adamacs.demo import rig
from adamacs.ingest import find
from adamacs.ingest.find import find_recordings
from adamacs.ingest.validate import host_problems, validate


@pytest.fixture
def lab(tmp_path, monkeypatch):
    """A lab whose share holds the tiny recordings, and no database."""
    made = settings_module.create(tmp_path / "lab")
    synthetic.write(made.root("share"), size="tiny")
    synthetic.write_setups(made.home)
    monkeypatch.setattr(settings_module, "_active", made)
    return made


@pytest.fixture
def folders(lab):
    return sorted((lab.root("share") / "demo").iterdir())


def asked(*words):
    answer = CliRunner().invoke(cli.cli, ["validate", *map(str, words)], catch_exceptions=False)
    return answer.exit_code, answer.output


def test_every_problem_of_every_folder_is_printed_and_the_exit_status_says_that_one_is_unfit(lab, folders):
    status, told = asked(lab.root("share"))
    assert (status, told.count("fit  "), told.splitlines()[-1]) == (0, 3, "3 recordings, 0 errors")
    os.truncate(next(folders[0].glob("*_00003.tif")), 1000)
    (folders[1] / "cut.json").write_text('{"a": ')
    (folders[2] / "odd.h5").write_bytes(b"no HDF5")
    shutil.copytree(folders[2], folders[2].with_name(f"{folders[2].name} - copy"))
    status, told = asked(lab.root("share"))
    assert status == 1
    assert told.count("UNFIT") == 3
    for name in ("_00003.tif", "cut.json", "odd.h5", " - copy"):
        assert any(name in line and "error: " in line for line in told.splitlines()), name
    status, told = asked(folders[1], "--json")
    found = json.loads(told)
    assert (status, found["fit"]) == (1, False)
    assert [problem["where"].rpartition("/")[2] for problem in found["problems"]] == ["cut.json"]


def test_a_file_that_goes_while_it_is_looked_at_stops_no_other_folder(lab, folders, monkeypatch):
    read = find.recording_of

    def going(found):
        recording = read(found)
        if recording.path == folders[0]:
            next(folders[0].glob("*_00001.tif")).unlink()
        return recording

    monkeypatch.setattr(find, "recording_of", going)
    status, told = asked(lab.root("share"))
    assert (status, told.count("UNFIT"), told.count("fit  ")) == (1, 1, 2)
    assert "_00001.tif" in told


def test_a_path_without_a_recording_is_unfit(lab, tmp_path):
    (lab.root("share") / "demo" / "notes").mkdir()
    assert asked(lab.root("share") / "demo" / "notes")[0] == 1
    assert asked(tmp_path)[0] == 1


def test_what_the_setup_type_expects_is_missed_and_an_unknown_one_names_the_nearest(lab, folders):
    file = lab.home / "setups" / "bench2p.toml"
    file.write_text(
        f'{file.read_text()}\n[[expected]]\nfiles = "*.h5"\nwhat = "the auxiliary channels"\nhint = "Copy it."\n'
    )
    (recording,), _ = find_recordings([folders[1]], lab)
    (problem,) = validate(recording, lab).all_problems()
    assert "No *.h5 is here; bench2p expects at least 1: the auxiliary channels." in problem.what
    assert (problem.hint, problem.may_pass) == ("Copy it.", True)
    (problem,) = validate(recording, lab, setup="bench2p_linetrack", insist=True).all_problems()
    assert "bench2p_lineartrack" in problem.hint
    assert problem.severity == "error"


@pytest.mark.parametrize(
    ("written", "is_wrong"),
    [("bench2p", True), ("nonsense", True), ("mini2p1_openfield", False), ("mini2p1 Openfield", False)],
)
def test_a_setup_that_was_written_down_beside_another_in_the_header_is_an_error_with_both_names(
    lab, folders, written, is_wrong
):
    (recording,), _ = find_recordings([folders[0]], lab)
    verdict = validate(recording, lab)
    assert verdict.fit
    assert verdict.setup.name == "mini2p1_openfield", "as the header says"
    (folders[0] / "consolidation.json").write_text(json.dumps({"setup": written}))
    (recording,), _ = find_recordings([folders[0]], lab)
    found = [problem.what for problem in validate(recording, lab).all_problems() if problem.severity == "error"]
    told = f"Its header names the setup type mini2p1_openfield, and consolidation.json names {written}."
    assert found == ([told] if is_wrong else [])
    decided = validate(recording, lab, setup="bench2p", insist=True)
    assert (decided.fit, decided.setup.name) == (True, "bench2p"), "a person decided"
    assert validate(recording, lab, setup="bench2p").fit != is_wrong, "a profile's default decides nothing"


def test_a_file_that_this_account_may_not_read_is_told(lab, folders, monkeypatch):
    refused = next(folders[1].glob("*.tif"))
    opened = os.open

    def refusing(path, *arguments, **options):
        if str(path).endswith(refused.name):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return opened(path, *arguments, **options)

    monkeypatch.setattr(os, "open", refusing)
    (recording,), _ = find_recordings([folders[1]], lab)
    assert any("Permission denied" in str(problem) for problem in validate(recording, lab).all_problems())


# ---- the host


def test_a_right_that_is_only_claimed_is_found_out_by_a_probe_that_leaves_nothing(lab, monkeypatch):
    """A share over the network tells whoever asks that writing is allowed."""
    processed = lab.root("processed")
    assert host_problems(lab, 0) == []
    assert list(processed.iterdir()) == []
    mkdir = Path.mkdir

    def refusing(path, *arguments, **options):
        if path.parent == processed:
            raise PermissionError(errno.EACCES, "Permission denied")
        mkdir(path, *arguments, **options)

    monkeypatch.setattr(Path, "mkdir", refusing)
    assert os.access(processed, os.W_OK)
    (problem,) = host_problems(lab, 0)
    assert (problem.what, problem.where) == (
        "The root processed cannot be written (Permission denied).",
        str(processed),
    )
    assert "right to write" in problem.hint


def test_too_little_room_for_results_is_told_with_both_sizes(lab, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(total=10**12, used=0, free=2 * 10**9))
    assert host_problems(lab, 2 * 10**9) == []
    (problem,) = host_problems(lab, 3 * 10**9)
    assert "has 2.0 GB free; these recordings hold 3.0 GB" in problem.what
    assert problem.hint


def test_the_command_asks_for_the_room_that_all_of_its_recordings_need(lab, folders, monkeypatch):
    size = sum(file.stat().st_size for folder in folders for file in folder.iterdir())
    for free in (size, size - 1):
        monkeypatch.setattr(shutil, "disk_usage", lambda path, free=free: SimpleNamespace(free=free))
        status, told = asked(lab.root("share"))
        assert (status, "GB free" in told) == (0, free < size)  # a warning: nothing of it is unfit


def test_a_root_that_is_not_there_is_an_error(lab):
    shutil.rmtree(lab.root("processed"))
    (problem,) = host_problems(lab, 0)
    assert (problem.severity, problem.what) == ("error", "The root processed is not there.")
    assert asked(lab.root("share"))[0] == 1


# ---- counts across streams


def with_rig(folder, frames):
    """Leave an auxiliary recording beside the 24 frames of a scan, with pulses of so many."""
    ran = rig.record(setups.load().setups["mini2p1_openfield"]).with_frames(frames, 20.0)
    ran.write(folder / "rig.h5")


@pytest.mark.parametrize(
    ("frames", "severity", "said"),
    [
        (24, None, ""),
        (23, "warning", "two_photon_frames: 23 by the pulses of aux, 24 by the files of ScanImage: 1 apart."),
        (20, "error", "two_photon_frames: 20 by the pulses of aux, 24 by the files of ScanImage: 4 apart."),
        (90, "error", "24 by the files of ScanImage, 90 by the pulses of aux: 66 apart."),
    ],
)
def test_frames_and_their_pulses_are_counted_and_both_are_named_where_they_differ(lab, folders, frames, severity, said):
    with_rig(folders[0], frames)
    status, told = asked(folders[0], "--json")
    found = [problem for problem in json.loads(told)["problems"] if "two_photon_frames" in problem["what"]]
    assert [problem["severity"] for problem in found] == ([severity] if severity else [])
    assert status == (1 if severity == "error" else 0)
    assert all(said in problem["what"] for problem in found)
    assert [problem["may_pass"] for problem in found] == ([frames > 24] if severity else []), "files may still come"


def test_an_auxiliary_recording_of_another_setup_type_is_told_of_by_its_own_problem_alone(lab, folders):
    rig.record(setups.load().setups["bench2p"]).write(folders[0] / "rig.h5")
    status, told = asked(folders[0], "--json")
    (problem,) = json.loads(told)["problems"]
    assert (status, problem["where"].rpartition("/")[2]) == (1, "rig.h5")
    os.truncate(folders[0] / "rig.h5", 5000)
    (problem,) = json.loads(asked(folders[0], "--json")[1])["problems"]
    assert (problem["where"].rpartition("/")[2], problem["may_pass"]) == ("rig.h5", True)


def test_bulk_planning_counts_nothing(lab, folders):
    with_rig(folders[0], 20)
    (recording,), _ = find_recordings([folders[0]], lab)
    assert validate(recording, lab, thorough=False).fit
    assert not validate(recording, lab).fit
