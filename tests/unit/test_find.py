"""Finding recordings: every layout is found, nothing is guessed, nothing outside the share is seen."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from adamacs.core import settings as settings_module
from adamacs.ingest import walk
from adamacs.ingest.beneath import Place
from adamacs.ingest.find import Finder, find_recordings

FLAT = "XX_ANM-0001_2026-01-13_scan9FY6AIRM_sess9FY6AIRM"
OTHER = "XX_ANM-0002_2026-01-13_scan9FY6AIRN_sess9FY6AIRN"


@pytest.fixture
def lab(tmp_path):
    return settings_module.create(tmp_path / "lab")


def record(lab, *names, files=("a.tif",)):
    folder = lab.root("share").joinpath(*names)
    folder.mkdir(parents=True)
    for file in files:
        (folder / file).write_bytes(b"raw")
    return folder


def test_flat_swapped_and_nested_folders_are_found_in_order(lab):
    record(lab, "demo", "XX_ANM-0002_2026-01-13_sess9FY6AIRN_scan9FY6AIRN")
    record(lab, "demo", FLAT)
    record(lab, "demo", "XX_ANM-0003_2026-01-13_sess9FY6AIRP", "scan9FY6AIRP")
    record(lab, "demo", "XX_ANM-0003_2026-01-13_sess9FY6AIRP", "scan9FY6AIRQ")
    recordings, problems = find_recordings([lab.root("share")], lab)
    assert problems == []
    assert [r.folder.scan_id for r in recordings] == ["scan9FY6AIRM", "scan9FY6AIRN", "scan9FY6AIRP", "scan9FY6AIRQ"]
    assert {r.username for r in recordings} == {"demo"}


@pytest.mark.parametrize("below", [(), ("demo",), ("demo", FLAT)])
def test_any_folder_on_the_way_finds_the_same_scan(lab, below):
    record(lab, "demo", FLAT)
    recordings, _ = find_recordings([lab.root("share").joinpath(*below)], lab)
    assert [r.relative for r in recordings] == [f"demo/{FLAT}"]


def test_a_path_named_twice_is_found_once(lab):
    folder = record(lab, "demo", FLAT)
    recordings, problems = find_recordings([folder, folder.parent, folder], lab)
    assert len(recordings) == 1
    assert problems == []


def test_two_folders_that_claim_one_scan_are_reported_with_both_paths(lab):
    record(lab, "demo", FLAT)
    record(lab, "other", FLAT)
    record(lab, "demo", "XX_ANM-0002_2026-01-13_scan9FY6AIRN_sess9FY6AIRN")
    recordings, problems = find_recordings([lab.root("share")], lab)
    assert [r.folder.scan_id for r in recordings] == ["scan9FY6AIRN"]
    assert f"demo/{FLAT}" in problems[0].where
    assert f"other/{FLAT}" in problems[0].where


def test_a_folder_that_looks_like_a_recording_is_reported_and_the_rest_goes_on(lab):
    record(lab, "demo", f"{FLAT} - copy")
    record(lab, "demo", FLAT)
    record(lab, "demo", "notes about mice")
    recordings, problems = find_recordings([lab.root("share")], lab)
    assert len(recordings) == 1
    assert [problem.where for problem in problems] == [f"demo/{FLAT} - copy"]


def test_a_recording_without_a_person_above_is_refused(lab):
    record(lab, FLAT)
    recordings, problems = find_recordings([lab.root("share")], lab)
    assert recordings == []
    assert "person" in problems[0].what


def test_a_session_folder_without_scans_is_refused(lab):
    record(lab, "demo", "XX_ANM-0003_2026-01-13_sess9FY6AIRP", files=())
    _, problems = find_recordings([lab.root("share")], lab)
    assert "no scan folder" in problems[0].what


@pytest.mark.parametrize("between", [("2026",), ("2026", "02"), ("a", "b", "c", "d", "e", "f")])
@pytest.mark.parametrize("asked_for", [0, 1, 2])
def test_a_recording_that_lies_too_deep_is_reported_however_deep(lab, between, asked_for):
    record(lab, "demo", *between, FLAT)
    record(lab, "demo", *between, "XX_ANM-0003_2026-01-13_sess9FY6AIRP", "scan9FY6AIRP")
    record(lab, "demo", "XX_ANM-0002_2026-01-13_scan9FY6AIRN_sess9FY6AIRN")
    recordings, problems = find_recordings([lab.root("share").joinpath(*("demo", *between)[:asked_for])], lab)
    assert [r.folder.scan_id for r in recordings] == ["scan9FY6AIRN"] * (asked_for < 2)
    assert {problem.what for problem in problems} == {"It lies too deep in the share."}
    deep = "/".join(("demo", *between))
    assert {problem.where for problem in problems} == {
        f"{deep}/{FLAT}",
        f"{deep}/XX_ANM-0003_2026-01-13_sess9FY6AIRP/scan9FY6AIRP",
    }


def test_a_folder_named_by_hand_that_holds_no_recording_is_refused(lab):
    (lab.root("share") / "demo" / "notes" / "2026").mkdir(parents=True)
    for empty, told in (("demo", []), ("demo/notes", ["demo/notes"]), ("demo/notes/2026", ["demo/notes/2026"])):
        recordings, problems = find_recordings([lab.root("share") / empty], lab)
        assert (recordings, [problem.where for problem in problems]) == ([], told)


def test_the_search_ends_in_a_tree_without_recordings_and_says_so(lab, monkeypatch):
    monkeypatch.setattr(walk, "_LOOKED_INTO", 10)
    record(lab, "demo", FLAT)
    for number in range(9):
        (lab.root("share") / "demo" / "results" / f"{number:03}").mkdir(parents=True)
    look = Finder(lab).look()
    assert [problem.severity for problem in look.problems] == ["warning"]
    assert look.counts.listed == 1 + 10 + 1  # the share, what is allowed of the person's, and the scan
    (lab.root("share") / "demo" / "results" / "000").rmdir()
    look = Finder(lab).look()
    assert (len(look.changed), look.problems) == (1, ())
    assert look.counts.listed == 1 + 10 + 1


def test_a_folder_that_cannot_be_looked_into_stops_nothing(lab, monkeypatch):
    closed = ("lost+found", "demo/lost+found", "demo/XX_ANM-0003_2026-01-13_sess9FY6AIRP", f"demo/{OTHER}")

    def refuse(place, name):
        if place._path.joinpath(name).relative_to(lab.root("share")).as_posix() in closed:
            raise PermissionError(13, "Permission denied", name)
        return original(place, name)

    original = Place.enter
    monkeypatch.setattr(Place, "enter", refuse)
    for folder in closed:
        (lab.root("share") / folder).mkdir(parents=True)
    record(lab, "demo", FLAT)
    recordings, problems = find_recordings([lab.root("share")], lab)
    assert len(recordings) == 1
    assert all("Permission denied" in problem.what for problem in problems)
    assert {(problem.severity, problem.where) for problem in problems} == {
        ("error", "demo/XX_ANM-0003_2026-01-13_sess9FY6AIRP"),
        ("error", f"demo/{OTHER}"),
        ("warning", "demo/lost+found"),
        ("warning", "lost+found"),
    }


def test_legacy_tokens_are_found_where_the_setting_admits_them(lab):
    record(lab, "demo", "XX_ANM-2172_2025-01-20_scanXYZ_sessABC")
    recordings, problems = find_recordings([lab.root("share")], lab)
    assert recordings == []
    assert "payload" in problems[0].what
    legacy = replace(lab, ingest=replace(lab.ingest, legacy_tokens=True))
    recordings, problems = find_recordings([lab.root("share")], legacy)
    assert [(r.folder.session_id, r.folder.scan_id) for r in recordings] == [("sessABC", "scanXYZ")]
    assert problems == []


def test_nothing_outside_the_share_is_looked_at(lab, tmp_path):
    outside = tmp_path / "elsewhere" / "demo" / FLAT
    outside.mkdir(parents=True)
    (outside / "secret.tif").write_bytes(b"raw")
    link = lab.root("share") / "demo"
    link.symlink_to(outside.parent, target_is_directory=True)
    recordings, problems = find_recordings([lab.root("share")], lab)
    assert recordings == []
    assert [str(problem) for problem in problems] == ["warning: demo: A link below the share is not followed."]
    _, problems = find_recordings([outside, lab.root("share") / ".." / ".." / "elsewhere"], lab)
    assert all("outside" in problem.what for problem in problems)
    assert len(problems) == 2


def test_a_linked_file_and_a_pipe_are_no_files_of_the_recording(lab, tmp_path):
    import os

    folder = record(lab, "demo", FLAT)
    (tmp_path / "secret.tif").write_bytes(b"raw")
    (folder / "link.tif").symlink_to(tmp_path / "secret.tif")
    os.mkfifo(folder / "pipe.tif")
    (recording,), _ = find_recordings([lab.root("share")], lab)
    assert [Path(file.path).name for file in recording.files] == ["a.tif"]


def test_files_are_listed_in_natural_order_with_size_and_time(lab):
    record(lab, "demo", FLAT, files=("s_10.tif", "s_9.tif", "s_1.tif"))
    (recording,), _ = find_recordings([lab.root("share")], lab)
    assert [Path(file.path).name for file in recording.files] == ["s_1.tif", "s_9.tif", "s_10.tif"]
    assert {file.size for file in recording.files} == {3}
    assert all(file.time.tzinfo is None for file in recording.files)
