"""Finding recordings: every layout is found, nothing is guessed, nothing outside the share is seen."""

from __future__ import annotations

import os
import random
import shutil
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from adamacs.core import settings as settings_module
from adamacs.ingest import beneath, walk
from adamacs.ingest.find import Finder, find_recordings

FLAT = "XX_ANM-0001_2026-01-13_scan9FY6AIRM_sess9FY6AIRM"


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
    listed = []
    original = beneath.Place.listing
    monkeypatch.setattr(beneath.Place, "listing", lambda place: listed.append(place) or original(place))
    monkeypatch.setattr(walk, "_LOOKED_INTO", 10)
    record(lab, "demo", FLAT)
    for number in range(9):
        (lab.root("share") / "demo" / "results" / f"{number:03}").mkdir(parents=True)
    assert find_recordings([lab.root("share")], lab)[1][0].severity == "warning"
    assert len(listed) == 1 + 10 + 1  # the share, what is allowed of the person's, and the scan
    listed.clear()
    (lab.root("share") / "demo" / "results" / "000").rmdir()
    recordings, problems = find_recordings([lab.root("share")], lab)
    assert (len(recordings), problems) == (1, [])
    assert len(listed) == 1 + 10 + 1


def test_a_folder_that_cannot_be_looked_into_stops_nothing(lab, monkeypatch):
    def refuse(place):
        if place._path.name in ("lost+found", "XX_ANM-0003_2026-01-13_sess9FY6AIRP"):
            raise PermissionError(13, "Permission denied", str(place._path))
        return original(place)

    original = beneath.Place.listing
    monkeypatch.setattr(beneath.Place, "listing", refuse)
    for closed in ("lost+found", "demo/lost+found", "demo/XX_ANM-0003_2026-01-13_sess9FY6AIRP"):
        (lab.root("share") / closed).mkdir(parents=True)
    record(lab, "demo", FLAT)
    recordings, problems = find_recordings([lab.root("share")], lab)
    assert len(recordings) == 1
    assert all("Permission denied" in problem.what for problem in problems)
    assert {(problem.severity, problem.where) for problem in problems} == {
        ("error", "demo/XX_ANM-0003_2026-01-13_sess9FY6AIRP"),
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
    recordings, warnings = find_recordings([lab.root("share")], lab)
    assert recordings == []
    assert [(warning.severity, warning.where) for warning in warnings] == [("warning", "demo")]  # the link is told of
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


# ---- looking again and again


def told(look):
    return [found.relative for found in look.changed]


def test_a_thousand_folders_that_appear_at_once_are_told_of_once_each_and_in_order(lab):
    finder = Finder(lab, margin=0)
    assert told(finder.look()) == []
    names = [f"XX_ANM-{n:04}_2026-01-13_scan{n:08}_sess{n:08}" for n in range(1000)]
    for name in names:
        record(lab, "demo", name)
    assert told(finder.look()) == [f"demo/{name}" for name in names]
    assert told(finder.look()) == []


def test_only_what_changed_is_told_of_again(lab):
    finder = Finder(lab, margin=0)
    first, second = (record(lab, "demo", FLAT.replace("AIRM", end)) for end in ("AIRM", "AIRN"))
    assert len(told(finder.look())) == 2
    (second / "later.tif").write_bytes(b"raw")
    assert told(finder.look()) == [f"demo/{second.name}"]
    shutil.rmtree(first)
    look = finder.look()
    assert (told(look), look.gone) == ([], (f"demo/{first.name}",))


def test_an_unchanged_share_is_not_listed_again(lab, monkeypatch):
    finder = Finder(lab, margin=0)
    for end in ("AIRM", "AIRN", "AIRP"):
        record(lab, "demo", FLAT.replace("AIRM", end))
    assert finder.look().counts.listed > 3
    assert finder.look().counts.listed == 0


def test_the_order_does_not_depend_on_the_file_system(lab, monkeypatch):
    for n in (2, 10, 1):
        folder = record(lab, "demo", f"XX_ANM-{n}_2026-01-13_scan9FY6AI{n:02}_sess9FY6AI{n:02}")
        for k in (3, 11, 1):
            (folder / f"part_{k}.tif").write_bytes(b"raw")
    expected = [(r.relative, [f.path for f in r.files]) for r in find_recordings([lab.root("share")], lab)[0]]
    real, shuffle = os.scandir, random.Random(7).shuffle

    class Shuffled:
        def __init__(self, where):
            with real(where) as entries:
                self.entries = list(entries)
            shuffle(self.entries)

        def __enter__(self):
            return iter(self.entries)

        def __exit__(self, *_):
            return None

    monkeypatch.setattr(os, "scandir", Shuffled)
    for _ in range(20):
        found = find_recordings([lab.root("share")], lab)[0]
        assert [(r.relative, [f.path for f in r.files]) for r in found] == expected


def test_a_copy_of_a_recording_is_told_of_with_both_paths(lab):
    record(lab, "demo", FLAT)
    for copy in (f"{FLAT} - Copy", f"{FLAT}_old", f"{FLAT} (1)"):
        record(lab, "demo", copy)
    recordings, problems = find_recordings([lab.root("share")], lab)
    assert [r.relative for r in recordings] == [f"demo/{FLAT}"]
    assert len(problems) == 3
    assert all(f"demo/{FLAT}" in f"{problem.what} {problem.where} {problem.hint}" for problem in problems)


def test_notes_beside_a_scan_belong_to_it(lab):
    folder = record(lab, "demo", FLAT)
    (folder.parent / "sess9FY6AIRM_notes.txt").write_text("woke up early\n")
    (folder.parent / "shopping.txt").write_text("milk\n")
    (recording,) = find_recordings([lab.root("share")], lab)[0]
    assert [file.path for file in recording.beside] == ["demo/sess9FY6AIRM_notes.txt"]


HOSTILE = st.text(
    st.one_of(
        st.sampled_from('./\\:*?"<>|~ _-\n\r\t\x1b\u202e\u00e9e\u0301\u4e2d\U0001f42d'),
        st.characters(exclude_characters="\0/", exclude_categories=()),
    ),
    min_size=1,
    max_size=60,
).map(lambda name: name.replace("/", "").replace("\0", ""))


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(names=st.lists(st.tuples(HOSTILE, st.booleans()), min_size=1, max_size=5))
def test_hostile_names_change_nothing_outside_and_are_read_back_or_refused(lab, tmp_path, names):
    share = lab.root("share")
    shutil.rmtree(share)
    folder = record(lab, "demo", FLAT)
    made = {"a.tif"}
    for name, inside in names:
        place = (folder if inside else share / "demo") / name
        try:
            encoded = os.fsencode(place)
            if name in (".", "..") or len(os.fsencode(name)) > 255 or os.path.lexists(encoded):
                continue
            if inside:
                place.write_bytes(b"raw")
                made.add(name)
            else:
                place.mkdir()
        except (OSError, ValueError):
            continue
    outside = set(tmp_path.iterdir())
    recordings, problems = find_recordings([share], lab)
    assert set(tmp_path.iterdir()) == outside
    found = {file.path.removeprefix(f"demo/{FLAT}/") for recording in recordings for file in recording.files}
    assert found <= made  # what is found is there, under that very name
    if found != made:
        assert problems  # and what is not found is told of


@pytest.mark.skipif(sys.platform == "win32", reason="Windows holds no folder open by a handle")
def test_a_folder_exchanged_for_a_link_leads_nowhere(lab, tmp_path):
    """Somebody swaps a scan's folder for a link to a canary while it is looked at, again and again."""
    canary = tmp_path / "canary"
    canary.mkdir()
    (canary / "CANARY.tif").write_bytes(b"secret")
    folder = record(lab, "demo", FLAT)
    aside, link = tmp_path / "aside", tmp_path / "link"
    link.symlink_to(canary)
    stop = threading.Event()
    swaps = 0

    def swap():
        nonlocal swaps
        while not stop.is_set():
            folder.rename(aside)
            link.rename(folder)
            folder.rename(link)
            aside.rename(folder)
            swaps += 1

    thread = threading.Thread(target=swap)
    thread.start()
    try:
        looks = 0
        while swaps < 2000 or looks < 200:
            recordings, _ = find_recordings([lab.root("share")], lab)
            looks += 1
            for recording in recordings:
                assert [file.path for file in recording.files] == [f"demo/{FLAT}/a.tif"]
    finally:
        stop.set()
        thread.join()
    assert swaps >= 2000
