"""Finding recordings: every layout is found, nothing is guessed, nothing outside the share is seen."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import socket
import stat
import sys
import tempfile
import threading
import unicodedata
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from adamacs.core import settings as settings_module
from adamacs.core.errors import AdamacsError, visible
from adamacs.core.modality import Modality
from adamacs.core.settings import Share
from adamacs.ingest import beneath, walk
from adamacs.ingest.beneath import Place
from adamacs.ingest.find import Finder, Patterns, find_recordings, recording_of
from tests.conftest import LONG

FLAT = "XX_ANM-0001_2026-01-13_scan9FY6AIRM_sess9FY6AIRM"
NESTED = "XX_ANM-0003_2026-01-13_sess9FY6AIRP"
OTHER = "XX_ANM-0002_2026-01-13_scan9FY6AIRN_sess9FY6AIRN"


@pytest.fixture
def lab(tmp_path):
    return settings_module.create(tmp_path / "lab")


class Later(Finder):
    """A finder to which no folder changed too recently: it waits for the next tick of the file system's clock."""

    def look(self, paths=None):
        with tempfile.NamedTemporaryFile(dir=self.probes) as probe:
            began = os.fstat(probe.fileno()).st_mtime_ns
            while os.fstat(probe.fileno()).st_mtime_ns == began:
                os.utime(probe.fileno())
        return super().look(paths)


@pytest.fixture
def settled(lab, tmp_path):
    finder = Later(lab, margin=0)
    finder.probes = tmp_path
    return finder


def relatives(look):
    return [found.relative for found in look.changed]


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
    assert [r.place for r in recordings] == [f"demo/{FLAT}"]


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
    record(lab, "demo", "XX_ANM-0001_2026-01-13_scan9FY6AI_sess9FY6AIRM")
    record(lab, "demo", FLAT)
    record(lab, "demo", "notes about mice")
    recordings, problems = find_recordings([lab.root("share")], lab)
    assert len(recordings) == 1
    assert [problem.where for problem in problems] == ["demo/XX_ANM-0001_2026-01-13_scan9FY6AI_sess9FY6AIRM"]


COPIES = (" - copy", " - Copy (2)", "_old", "_backup", ".bak", " - Kopie", " (1)", "(1)", "~", "_OLD~", " copy 3")


@pytest.mark.parametrize("mark", COPIES)
def test_a_copy_is_told_with_both_paths_and_never_taken(lab, mark):
    record(lab, "demo", FLAT)
    record(lab, "demo", FLAT + mark)
    nested = ("demo", "XX_ANM-0003_2026-01-13_sess9FY6AIRP")
    record(lab, *nested, "scan9FY6AIRP")
    record(lab, *nested, f"scan9FY6AIRP{mark}")
    record(lab, "demo", f"{nested[1]}{mark}", "scan9FY6AIRP")
    recordings, problems = find_recordings([lab.root("share")], lab)
    assert [r.place for r in recordings] == [f"demo/{FLAT}", f"demo/{nested[1]}/scan9FY6AIRP"]
    originals = (f"demo/{FLAT}", f"demo/{nested[1]}", f"demo/{nested[1]}/scan9FY6AIRP")
    told = {problem.where: problem.what for problem in problems}
    assert told == {f"{place}{mark}": f"By its name it is a copy of {place}." for place in originals}


def test_a_copy_whose_original_lies_elsewhere_or_nowhere_says_so(lab):
    record(lab, "demo", f"Copy of {FLAT}")
    (problem,) = find_recordings([lab.root("share")], lab)[1]
    assert f"demo/{FLAT}, which is not there" in problem.what
    record(lab, "other", FLAT)
    (problem,) = find_recordings([lab.root("share")], lab)[1]
    assert f"a copy of other/{FLAT}." in problem.what


def test_one_scan_under_two_roots_is_told_with_both_paths(lab, tmp_path):
    record(lab, "demo", FLAT)
    (tmp_path / "second" / "demo" / FLAT).mkdir(parents=True)
    (tmp_path / "second" / "demo" / FLAT / "a.tif").write_bytes(b"raw")
    lab = replace(lab, shares={"second": Share(str(tmp_path / "second"))})
    finder = Finder(lab)
    look = finder.look()
    assert look.changed == ()
    assert [problem.where for problem in look.problems] == [f"demo/{FLAT} and second:demo/{FLAT}"]
    (tmp_path / "second" / "demo" / FLAT / "a.tif").unlink()
    (tmp_path / "second" / "demo" / FLAT).rmdir()
    assert [(found.root, found.relative) for found in finder.look().changed] == [("share", f"demo/{FLAT}")]


def test_two_tokens_that_differ_by_case_alone_are_one_scan(lab):
    record(lab, "demo", "XX_ANM-0001_2026-01-13_scanabc_sessabc")
    record(lab, "demo", "XX_ANM-0002_2026-01-13_scanABC_sessABC")
    legacy = replace(lab, ingest=replace(lab.ingest, legacy_tokens=True))
    recordings, (problem,) = find_recordings([lab.root("share")], legacy)
    assert recordings == []
    assert " and " in problem.where


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


def test_a_linked_file_a_pipe_and_a_loop_are_no_files_of_the_recording_and_are_told(lab, tmp_path):
    folder = record(lab, "demo", FLAT)
    (tmp_path / "secret.tif").write_bytes(b"raw")
    (folder / "link.tif").symlink_to(tmp_path / "secret.tif")
    (folder / "loop").symlink_to(folder, target_is_directory=True)
    (folder / "self").symlink_to("self")
    os.mkfifo(folder / "pipe.tif")
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as server, contextlib.chdir(folder):
        server.bind("socket.tif")
    (found,) = Finder(lab).look().changed
    assert found.names == ("a.tif",)
    assert found.ignored == ("link.tif", "loop", "self", "pipe.tif", "socket.tif")
    (recording,), problems = find_recordings([lab.root("share")], lab)
    assert [Path(file.path).name for file in recording.files] == ["a.tif"]
    assert [problem.where for problem in problems] == [
        f"demo/{FLAT}/link.tif and 2 more",
        f"demo/{FLAT}/pipe.tif and 1 more",
    ]


def test_files_are_listed_in_natural_order_with_size_and_time(lab):
    record(lab, "demo", FLAT, files=("s_10.tif", "s_9.tif", "s_1.tif"))
    (recording,), _ = find_recordings([lab.root("share")], lab)
    assert [Path(file.path).name for file in recording.files] == ["s_1.tif", "s_9.tif", "s_10.tif"]
    assert {file.size for file in recording.files} == {3}
    assert all(file.time.tzinfo is None for file in recording.files)


# ---- what is remembered


def test_what_did_not_change_is_told_once_and_listed_once(lab, settled):
    record(lab, "demo", FLAT, "suite2p", "plane0")
    record(lab, "demo", FLAT.replace("RM", "RK"), files=("b.tif",))
    assert len(settled.look().changed) == 2
    look = settled.look()
    assert (look.changed, look.gone, look.news, look.counts.listed) == ((), (), (), 0)


def test_a_folder_that_changed_a_moment_ago_is_listed_again_but_not_told_again(lab):
    record(lab, "demo", FLAT)
    finder = Finder(lab, margin=3600)
    assert relatives(finder.look()) == [f"demo/{FLAT}"]
    for _ in range(3):
        look = finder.look()
        assert look.changed == ()
        assert look.counts.listed == 3


def test_a_folder_whose_clock_is_ahead_is_not_listed_for_ever(lab, settled):
    folder = record(lab, "demo", FLAT)
    for path in (folder, folder.parent, lab.root("share")):
        os.utime(path, (4e9, 4e9))
    listed = []
    for _ in range(4):
        listed.append(settled.look().counts.listed)
    assert listed == [3, 3, 0, 0]


@pytest.mark.parametrize("where", ["", "suite2p", "suite2p/plane0"])
def test_a_file_that_comes_or_goes_at_any_depth_is_told(lab, settled, where):
    folder = record(lab, "demo", FLAT, "suite2p", "plane0").parents[1]
    (folder / "a.tif").touch()
    record(lab, "demo", OTHER)
    assert len(settled.look().changed) == 2
    (folder / where / "late.tif").touch()
    (found,) = settled.look().changed
    assert f"{where}/late.tif".lstrip("/") in found.names
    (folder / where / "late.tif").unlink()
    (found,) = settled.look().changed
    assert found.names == ("a.tif", "suite2p/plane0/a.tif")
    assert settled.look().changed == ()


def test_a_file_that_another_took_the_place_of_is_told(lab, settled):
    folder = record(lab, "demo", FLAT)
    settled.look()
    (folder / "new").write_bytes(b"other")
    (folder / "new").replace(folder / "a.tif")
    assert relatives(settled.look()) == [f"demo/{FLAT}"]


def test_times_that_a_copy_gives_back_hide_nothing(lab, settled):
    folder = record(lab, "demo", FLAT)
    before = folder.stat()
    settled.look()
    (folder / "late.tif").touch()
    os.utime(folder, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert relatives(settled.look()) == [f"demo/{FLAT}"]


def test_what_went_is_told_once_and_what_comes_back_is_new(lab, settled, tmp_path):
    folder = record(lab, "demo", FLAT)
    record(lab, "demo", NESTED, "scan9FY6AIRP")
    settled.look()
    folder.rename(tmp_path / "aside")
    shutil.rmtree(lab.root("share") / "demo" / NESTED)
    assert settled.look().gone == (f"demo/{FLAT}", f"demo/{NESTED}/scan9FY6AIRP")
    assert settled.look().gone == ()
    (tmp_path / "aside").rename(folder)
    assert relatives(settled.look()) == [f"demo/{FLAT}"]


def test_a_share_that_went_away_takes_nothing_with_it(lab, settled, tmp_path):
    record(lab, "demo", FLAT)
    settled.look()
    share = lab.root("share")
    share.rename(tmp_path / "unmounted")
    look = settled.look()
    assert (look.gone, [problem.what for problem in look.problems]) == ((), ["There is no such folder."])
    share.mkdir()
    look = settled.look()
    assert (look.gone, [problem.what for problem in look.problems]) == ((), ["The share is empty: is it mounted?"])
    share.rmdir()
    (tmp_path / "unmounted").rename(share)
    look = settled.look()
    assert (look.changed, look.gone, look.problems) == ((), (), ())


def test_a_folder_that_cannot_be_read_for_a_while_is_not_gone(lab, settled, monkeypatch):
    record(lab, "demo", FLAT)
    settled.look()
    original = Place.enter
    with monkeypatch.context() as patch:

        def refuse(place, name):
            raise OSError(5, "Input/output error")

        patch.setattr(Place, "enter", refuse)
        look = settled.look()
        assert (look.gone, len(look.problems)) == ((), 1)
    assert Place.enter is original
    look = settled.look()
    assert (look.changed, look.gone, look.problems) == ((), (), ())


def test_a_problem_is_news_once_and_stands_until_it_is_mended(lab, settled):
    folder = record(lab, "demo", FLAT, files=())
    (folder / "link").symlink_to("/")
    assert len(settled.look().news) == 2
    look = settled.look()
    assert (look.news, len(look.problems)) == ((), 2)
    (folder / "link").unlink()
    (folder / "a.tif").touch()
    look = settled.look()
    assert (relatives(look), look.problems) == ([f"demo/{FLAT}"], ())


def test_of_two_claimants_the_one_that_stays_is_told_when_the_other_goes(lab, settled):
    first, second = record(lab, "demo", FLAT), record(lab, "other", FLAT)
    assert settled.look().changed == ()
    shutil.rmtree(second)
    assert relatives(settled.look()) == [f"demo/{FLAT}"]
    shutil.copytree(first, second)
    look = settled.look()
    assert (look.changed, look.gone, len(look.problems)) == ((), (), 1)


def test_a_thousand_folders_that_appear_at_once_are_each_told_once_in_order(lab):
    finder = Finder(lab)
    record(lab, "demo", FLAT)
    finder.look()
    share, names = lab.root("share"), []
    for number in random.Random(3).sample(range(1000), 1000):
        payload = f"{number:08}"
        names.append(f"demo/XX_ANM-{number}_2026-01-13_scan{payload}_sess{payload}")
        (share / names[-1]).mkdir()
        (share / names[-1] / "a.tif").touch()
    told = relatives(finder.look())
    assert told == sorted(names, key=lambda name: int(name.split("ANM-")[1].split("_")[0]))
    assert finder.look().changed == ()


def test_the_order_in_which_the_system_lists_a_folder_does_not_matter(lab, monkeypatch):
    for name in (FLAT, OTHER, f"{FLAT} - copy", "2026"):
        for folder in ("", "b", "a"):
            files = [f"s_{number}{ending}" for number in (10, 9, 100) for ending in (".tif", ".TIF", ".h5")]
            record(lab, "demo", name, *filter(None, [folder]), files=files)
    record(lab, "other", FLAT)
    record(lab, "demo", NESTED, "scan9FY6AIRP", files=("NUL", "a.tif"))
    expected = Finder(lab).look()
    assert len(expected.changed) == 2
    assert len(expected.problems) > 3
    scandir = os.scandir

    @contextlib.contextmanager
    def shuffled(where):
        with scandir(where) as entries:
            listed = list(entries)
        random.shuffle(listed)
        yield listed

    monkeypatch.setattr(os, "scandir", shuffled)
    for seed in range(10):
        random.seed(seed)
        assert Finder(lab).look() == expected


def test_one_level_alone_is_looked_at_where_that_is_asked_for(lab):
    record(lab, "demo", "2026", FLAT)
    record(lab, "demo", OTHER)
    assert len(Finder(lab).look().problems) == 1
    look = Finder(lab, recursive=False).look()
    assert (relatives(look), look.problems) == ([f"demo/{OTHER}"], ())


# ---- what belongs to a scan


def test_notes_and_logs_beside_a_scan_come_with_it_and_their_coming_is_told(lab, settled):
    record(lab, "demo", NESTED, "scan9FY6AIRP")
    record(lab, "demo", NESTED, "scan9FY6AIRQ")
    record(lab, "demo", FLAT)
    settled.look()
    (lab.root("share") / "demo" / NESTED / "rig.log").touch()
    (lab.root("share") / "demo" / "notes_scan9FY6AIRQ.txt").touch()
    (lab.root("share") / "demo" / "sess9FY6AIRP.md").touch()
    (lab.root("share") / "demo" / "shopping.txt").touch()
    told = {found.folder.scan_id: found.beside for found in settled.look().changed}
    shared = ("demo/sess9FY6AIRP.md",)
    log = (f"demo/{NESTED}/rig.log",)
    assert told == {"scan9FY6AIRP": shared + log, "scan9FY6AIRQ": (*shared, "demo/notes_scan9FY6AIRQ.txt", *log)}
    for path in ([], ["demo"], ["demo", NESTED], ["demo", NESTED, "scan9FY6AIRQ"]):
        look = Finder(lab).look([lab.root("share").joinpath(*path)])
        assert {found.folder.scan_id: found.beside for found in look.changed}["scan9FY6AIRQ"] == told["scan9FY6AIRQ"]


def test_files_are_claimed_by_the_patterns_of_modalities_each_once():
    video = Modality("video", "", patterns=("*_video_*.mp4", "*_video*.csv"))
    aux = Modality("behavior", "", patterns=("*.h5", "*wave*.h5", "*.mat"))
    names = ["a.h5", "wave.H5", "b.mat", "x_video_1.mp4", "sub/Top_Video.CSV", "video_/x.mp4", "none", "h5"]
    assert Patterns([video, aux, Modality("x", "")]).claims(names) == {"video": 2, "behavior": 3}


def test_each_modality_claims_its_files(lab):
    record(lab, "demo", FLAT, files=("a.tif", "b.TIFF", "c.h5"))
    (found,) = Finder(lab).look().changed
    assert found.claims == {"imaging": 2, "behavior": 1}


def test_names_that_other_systems_do_not_tell_apart_or_open_are_told(lab):
    folder = record(lab, "demo", FLAT, files=("a.tif", "A.tif", "NUL.tif", "x:y", "ends."))
    for form in ("NFC", "NFD"):
        (folder / unicodedata.normalize(form, "Mäuse.txt")).touch()
    (recording,), problems = find_recordings([lab.root("share")], lab)
    assert len(recording.files) == 7
    assert {problem.severity for problem in problems} == {"warning"}
    assert [problem.what.split()[0] for problem in problems] == ["Windows"] * 3
    assert any(problem.where == f"demo/{FLAT}/NUL.tif and 2 more" for problem in problems)


# ---- faults


def raw_names():
    """Any name that a file system takes: bytes without slash and NUL, up to 255 of them."""
    anything = st.binary(min_size=1, max_size=40).map(lambda name: name.replace(b"/", b"_").replace(b"\0", b"_"))
    long = st.integers(200, 255).map(lambda count: b"x" * count)
    nasty = [
        b"..\\..\\x",
        b"a\nb",
        b"\x1b[2J",
        "\u202egpj.tif".encode(),
        b"CON",
        b"nul.tif",
        b"C:",
        b"~",
        b"-rf",
        b"\xff",
    ]
    nasty += [unicodedata.normalize(form, "ä.tif").encode() for form in ("NFC", "NFD")] + [b"a.tif", b"A.TIF", b"..."]
    marked = st.sampled_from((FLAT, NESTED, "scan9FY6AIRP")).flatmap(
        lambda name: st.sampled_from(("", " - copy", "\n", "\\", "_old", "/../x".replace("/", "\\"))).map(
            lambda mark: (name + mark).encode()
        )
    )
    return (anything | long | st.sampled_from(nasty) | marked).filter(lambda name: name not in (b".", b".."))


TREES = st.lists(st.lists(raw_names(), min_size=1, max_size=5), min_size=1, max_size=6)


def everything_in(folder):
    return sorted(
        (os.path.join(top, name), os.lstat(os.path.join(top, name)).st_mtime_ns)  # noqa: PTH118
        for top, folders, files in os.walk(os.fsencode(folder))
        for top in [os.fsdecode(top)]
        for name in map(os.fsdecode, folders + files)
    )


@pytest.mark.skipif(sys.platform != "linux", reason="other systems take fewer names")
@hypothesis_settings(max_examples=10_000 if LONG else 150, deadline=None, suppress_health_check=list(HealthCheck))
@given(TREES, st.booleans())
@example([[b"demo", FLAT.encode(), b"a\xff.tif"]], False)
@example([[b"demo", FLAT.encode(), b"a\n.tif"], [b"demo", FLAT.encode() + b" - copy", b"x"]], False)
def test_hostile_names_come_back_unchanged_or_are_refused_and_nothing_changes(tree, linked):
    with tempfile.TemporaryDirectory() as home:
        check_hostile(Path(home), tree, linked)


def check_hostile(home, tree, linked):
    lab = settings_module.Settings(home=home / "lab")
    lab.root("share").mkdir(parents=True)
    share = os.fsencode(lab.root("share"))
    (home / "outside").mkdir()
    (home / "outside" / "canary.tif").touch()
    for names in [[b"demo", FLAT.encode(), *names[2:]] if number % 2 else names for number, names in enumerate(tree)]:
        with contextlib.suppress(OSError):  # two names in one place, or a path that is too long in full
            os.makedirs(os.path.join(share, *names[:-1]), exist_ok=True)  # noqa: PTH103, PTH118
            if linked:
                link = os.path.join(share, *names[:-1], b"link")  # noqa: PTH118
                os.symlink(os.fsencode(home / "outside"), link)  # noqa: PTH211
            with open(os.path.join(share, *names), "xb"):  # noqa: PTH118, PTH123
                pass
    before = everything_in(home)
    recordings, problems = find_recordings([lab.root("share")], lab)
    assert everything_in(home) == before
    for problem in problems:
        assert visible(str(problem)) == str(problem)
    for recording in recordings:
        names = {file.path for file in recording.files}
        paths = (Path(path) for path, _ in everything_in(recording.path))
        there = {str(path.relative_to(lab.root("share"))) for path in paths if stat.S_ISREG(path.lstat().st_mode)}
        assert names == there
        assert recording.username == recording.place.split("/")[0]
        "".join(names).encode()
    taken = {recording.path for recording in recordings}
    for folder in {Path(path).parent for path, _ in before if Path(path).parent.name == FLAT}:
        depth = len(folder.relative_to(lab.root("share")).parts)
        if any(folder.iterdir()) and depth == 2 and not folder.parent.name.startswith((".", "$")):
            assert folder in taken or any(problem.severity == "error" for problem in problems)


def test_a_folder_that_is_exchanged_for_a_link_while_one_looks_leads_nowhere(lab, tmp_path):
    share = lab.root("share")
    record(lab, "demo", FLAT, "inner", files=("a.tif",))
    record(lab, "demo", NESTED, "scan9FY6AIRP", files=("a.tif",))
    for name in (FLAT, f"{FLAT}/inner", NESTED, f"{NESTED}/scan9FY6AIRP", "scan9FY6AIRP", "inner"):
        (tmp_path / "canary" / name).mkdir(parents=True, exist_ok=True)
        (tmp_path / "canary" / name / "canary_scan9FY6AIRM_sess9FY6AIRP.tif").write_bytes(b"c" * 777)
    swapped = [share / "demo", share / "demo" / FLAT, share / "demo" / FLAT / "inner", share / "demo" / NESTED]
    swaps, done = 10_000 if LONG else 500, threading.Event()

    def swap():
        for number in range(swaps):
            place = swapped[number % len(swapped)]
            target = tmp_path / "canary" / (place.name if place.name != "demo" else "")
            place.rename(tmp_path / "aside")
            place.symlink_to(target, target_is_directory=True)
            place.unlink()
            (tmp_path / "aside").rename(place)
        done.set()

    thread = threading.Thread(target=swap)
    thread.start()
    seen, finder, looks = set(), Finder(lab), 0
    while not done.is_set() or looks < 2:
        looks += 1
        for found in finder.look().changed:
            seen.update((*found.names, *found.ignored, *found.beside))
            with contextlib.suppress(OSError, AdamacsError):
                assert {file.size for file in recording_of(found).files} == {3}
    thread.join()
    assert {Path(name).name for name in seen} <= {"a.tif", "inner"}
    assert "a.tif" in seen


def test_without_handles_links_are_seen_all_the_same(lab, tmp_path, monkeypatch):
    monkeypatch.setattr(beneath, "_HOLDS", False)
    folder = record(lab, "demo", FLAT, "inner").parent
    (folder / "b.tif").symlink_to("inner/a.tif")
    (folder / "loop").symlink_to(folder, target_is_directory=True)
    (lab.root("share") / "other").symlink_to(folder.parent, target_is_directory=True)
    recordings, problems = find_recordings([lab.root("share"), lab.root("share") / "other" / FLAT], lab)
    assert [[file.path for file in recording.files] for recording in recordings] == [[f"demo/{FLAT}/inner/a.tif"]]
    assert [problem.what for problem in problems] == ["A link below the share is not followed."] * 3


def test_folders_without_end_are_refused(lab):
    folder = record(lab, "demo", FLAT)
    for _ in range(70):
        folder = folder / "a"
        folder.mkdir()
    recordings, (problem,) = find_recordings([lab.root("share")], lab)
    assert recordings == []
    assert "levels deep" in problem.what


def test_a_path_that_no_table_holds_is_refused(lab):
    record(lab, "demo", FLAT, *(["x" * 200] * 5))
    recordings, problems = find_recordings([lab.root("share")], lab)
    assert (recordings, [problem.what for problem in problems]) == ([], ["A path has more than 1023 characters."])
