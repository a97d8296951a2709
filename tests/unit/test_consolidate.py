"""Consolidation: a folder stands whole or not at all, nothing is overwritten, and every refusal names its files."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from datetime import date, datetime, timedelta
from pathlib import Path

import pytest

from adamacs.core import progress, tokens
from adamacs.core import settings as settings_module
from adamacs.core.errors import InvalidRequest, InvalidToken, PlanRefused, StoreUnavailable, UnreadableFile
from adamacs.core.modality import Problem
from adamacs.ingest import consolidate
from adamacs.ingest.claims import read_claims
from adamacs.ingest.consolidate import Known, Wish, apply_consolidation, plan_consolidation, read_record
from adamacs.ingest.find import find_recordings
from adamacs.storage import copies
from adamacs.storage.checksum import blake3_of

NOW = datetime(2026, 2, 10, 15, 7, 11)
WISH = Wish("mini2p1_openfield", "ANM-0001", "XX", "demo")
TOKENS = {"session": "sess9FY6AIRM", "scan": "scan9FY6AIRM"}
REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def lab(tmp_path):
    made = settings_module.create(tmp_path / "lab")
    (made.root("share") / "demo").mkdir()
    return made


@pytest.fixture
def rig(tmp_path):
    """What a controller wrote ten minutes ago."""
    folder = tmp_path / "rig"
    write(folder / "scan_00001.tif", b"II*\0" * 500_000)
    write(folder / "deep" / "eye.mp4", b"video" * 1000)
    return folder


def write(path, content=b"raw", ago=600.0):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    then = time.time_ns() - int(ago * 1e9) + 123_456_789
    os.utime(path, ns=(then, then))
    return path


def plan(lab, *paths, wish=WISH, now=NOW, **options):
    """Plan with a pause that takes no time."""
    return plan_consolidation(paths, wish, lab, now=now, **{"pause": lambda s: None} | options)


def said(planned):
    """What refuses a plan, as one text."""
    return "\n".join(str(problem) for problem in planned.problems if problem.severity == "error")


def hidden(lab):
    return [path.name for path in (lab.root("share") / "demo").iterdir() if path.name.startswith(".")]


# ---- what it does


def test_a_consolidated_folder_is_found_with_the_bytes_and_times_of_its_sources(lab, rig, tmp_path):
    notes = write(tmp_path / "other mount" / "notes.txt", b"woke up")
    planned = plan(lab, rig, notes)
    done = apply_consolidation(planned, lab)
    folder = lab.root("share") / done.folder
    [recording], problems = find_recordings([lab.root("share")], lab)
    assert (recording.path, recording.folder.subject, recording.folder.scan_id) == (folder, "ANM-0001", done.scan_id)
    assert problems == []
    assert recording.folder.warnings == ()
    assert {file.path.removeprefix(f"{done.folder}/") for file in recording.files} == {
        *("scan_00001.tif", "deep/eye.mp4", "notes.txt", "consolidation.json")
    }
    for name, source in {"scan_00001.tif": rig, "deep/eye.mp4": rig, "notes.txt": notes.parent}.items():
        assert (folder / name).read_bytes() == (source / name).read_bytes()
        assert (folder / name).stat().st_mtime_ns == (source / name).stat().st_mtime_ns
    assert hidden(lab) == []


def test_the_record_says_where_each_file_came_from(lab, rig):
    planned = plan(lab, rig, wish=replace(WISH, **TOKENS))
    done = apply_consolidation(planned, lab)
    record = read_record(lab.root("share") / done.folder)
    assert (record["setup"], record["scan_id"], record["date"]) == ("mini2p1_openfield", "scan9FY6AIRM", "2026-02-10")
    assert {file.path: (file.source, file.blake3) for file in record["files"]} == {
        name: (str(rig / name), blake3_of(rig / name)) for name in ("scan_00001.tif", "deep/eye.mp4")
    }


def test_a_damaged_record_is_told(tmp_path):
    assert read_record(tmp_path) is None
    for text in ("{", "[]", '{"format": 1}', '{"format": 2, "files": []}', '{"format": 1, "files": [{"path": 1}]}'):
        (tmp_path / "consolidation.json").write_text(text)
        with pytest.raises(UnreadableFile):
            read_record(tmp_path)


def test_tokens_are_stamped_with_the_time_of_the_lab_and_are_the_same(lab, rig):
    planned = plan(lab, rig)
    assert tokens.expid(planned.scan_id) == tokens.expid(planned.session_id) == tokens.encode(NOW)
    assert planned.folder == f"demo/XX_ANM-0001_2026-02-10_{planned.scan_id}_{planned.session_id}"


def test_a_minted_token_that_exists_moves_on_by_one_tick(lab, rig):
    first = plan(lab, rig)
    payload = tokens.expid(first.scan_id)
    (lab.root("share") / "other" / f"AB_X-1_2020-01-01_scan{payload}_sess{payload}").mkdir(parents=True)
    after = tokens.following(payload)
    known = Known(scans=frozenset({f"scan{after}"}))
    assert tokens.expid(plan(lab, rig).scan_id) == after
    assert tokens.expid(plan(lab, rig, known=known).scan_id) == tokens.following(after)
    assert tokens.decode(after) - tokens.decode(payload) == timedelta(milliseconds=86.4)


@pytest.mark.parametrize(
    "place",
    [
        f"other/AB_X-1_2020-01-01_{TOKENS['scan']}_sess9FY6AIRX",
        f"other/AB_X-1_2020-01-01_{TOKENS['scan'].lower()}_sess9FY6AIRX - copy",
        f"other/AB_X-1_2020-01-01_sess9FY6AIRX/{TOKENS['scan']}",
        f"demo/{TOKENS['scan'].upper()}_old",
    ],
)
def test_an_existing_scan_token_is_refused_however_it_is_spelt(lab, rig, place):
    (lab.root("share") / place).mkdir(parents=True)
    refused = plan(lab, rig, wish=replace(WISH, **TOKENS))
    assert "scan9FY6AIRM exists already" in said(refused)
    assert place in said(refused)
    with pytest.raises(PlanRefused):
        apply_consolidation(refused, lab)


def test_a_scan_token_of_the_database_is_refused(lab, rig):
    wish = replace(WISH, **TOKENS)
    assert "database" in said(plan(lab, rig, wish=wish, known=Known(scans=frozenset({"scan9fy6airm"}))))


def test_a_token_that_was_taken_after_the_plan_is_refused_and_a_minted_one_moves_on(lab, rig):
    asked, minted = plan(lab, rig, wish=replace(WISH, **TOKENS)), plan(lab, rig)
    for one in (asked, minted):
        (lab.root("share") / "other" / Path(one.folder).name).mkdir(parents=True)
    with pytest.raises(PlanRefused, match="exists already"):
        apply_consolidation(asked, lab)
    done = apply_consolidation(minted, lab)
    assert tokens.expid(done.scan_id) == tokens.expid(done.session_id) == tokens.following(tokens.expid(minted.scan_id))


@pytest.mark.parametrize("layout", ["combined", "nested"])
def test_a_second_scan_joins_its_session_in_the_layout_that_it_has(lab, rig, tmp_path, layout):
    first = apply_consolidation(plan(lab, rig, wish=replace(WISH, layout=layout)), lab)
    write(tmp_path / "later" / "b.tif")
    wish = replace(WISH, session=first.session_id)
    planned = plan(lab, tmp_path / "later", wish=wish, now=NOW + timedelta(days=1))
    assert planned.joins
    assert (planned.layout, planned.day, said(planned)) == (layout, NOW.date(), "")
    apply_consolidation(planned, lab)
    recordings, problems = find_recordings([lab.root("share")], lab)
    assert {recording.folder.session_id for recording in recordings} == {first.session_id}
    assert {recording.folder.layout for recording in recordings} == {layout}
    assert (len(recordings), problems) == (2, [])


def test_a_session_of_another_subject_day_person_or_layout_is_not_joined(lab, rig):
    (lab.root("share") / "other" / "XX_ANM-0002_2026-02-09_sess9FY6AIRM" / "scan9FY6AIRX").mkdir(parents=True)
    wish = replace(WISH, session="sess9FY6AIRM", day=date(2026, 2, 10), layout="combined")
    told = said(plan(lab, rig, wish=wish))
    for word in ("subject ANM-0002", "2026-02-09", "--user other", "--layout nested"):
        assert word in told
    known = Known(sessions={"sess9FY6AIRZ": ("ANM-0003", date(2026, 1, 1))})
    assert "ANM-0003" in said(plan(lab, rig, wish=replace(WISH, session="sess9FY6AIRZ"), known=known))


@pytest.mark.parametrize(
    "wish", [{"subject": "ANM_1"}, {"initials": "x"}, {"scan": "scan123"}, {"session": "scan9FY6AIRM"}]
)
def test_what_cannot_stand_in_a_folder_name_is_refused(lab, rig, wish):
    with pytest.raises(InvalidToken):
        plan(lab, rig, wish=replace(WISH, **wish))


@pytest.mark.parametrize("user", ["../demo", ".demo", "a/b", "", "de\nmo"])
def test_a_person_outside_the_share_is_refused(lab, rig, user):
    assert "no name of a person's folder" in said(plan(lab, rig, wish=replace(WISH, user=user)))


def test_a_person_of_another_spelling_is_refused_and_a_new_one_remarked(lab, rig):
    assert "spelt demo" in said(plan(lab, rig, wish=replace(WISH, user="Demo")))
    planned = plan(lab, rig, wish=replace(WISH, user="fresh"), known=Known(subjects=frozenset({"ANM-0002"})))
    assert said(planned) == ""
    assert "fresh is new" in planned.describe()
    assert "Did you mean ANM-0002?" in planned.describe()
    apply_consolidation(planned, lab)
    assert len(list((lab.root("share") / "fresh").iterdir())) == 1


def test_the_folder_of_a_person_follows_from_initials_that_one_person_has():
    known = Known(people=(("XX", "demo"), ("AB", "one"), ("AB", "two")))
    assert known.folder_of("XX") == "demo"
    for initials in ("AB", "ZZ"):
        with pytest.raises(InvalidRequest, match="--user"):
            known.folder_of(initials)


# ---- sources that are refused


def test_sources_of_one_name_are_refused_with_both_paths(lab, rig, tmp_path):
    twins = [write(tmp_path / "b" / name) for name in ("SCAN_00001.TIF", "caf\u00e9.csv", "Deep")]
    other = write(tmp_path / "c" / "cafe\u0301.csv")
    told = said(plan(lab, rig, tmp_path / "b", other))
    assert f"{twins[0]} and {rig / 'scan_00001.tif'}" in told or f"{rig / 'scan_00001.tif'} and {twins[0]}" in told
    assert str(twins[1]) in told and str(other) in told
    assert str(twins[2]) in told
    assert told.count("would become one name") == 3


def test_folders_of_one_name_are_joined_but_not_in_two_spellings(lab, rig, tmp_path):
    write(tmp_path / "b" / "deep" / "other.mp4")
    assert said(plan(lab, rig, tmp_path / "b")) == ""
    write(tmp_path / "c" / "DEEP" / "third.mp4")
    assert "deep and DEEP" in said(plan(lab, rig, tmp_path / "c")) or "DEEP and deep" in said(
        plan(lab, rig, tmp_path / "c")
    )


def test_a_file_named_twice_and_one_named_like_the_record_are_refused(lab, rig, tmp_path):
    assert "named twice" in said(plan(lab, rig, rig / "scan_00001.tif"))
    assert "writes a file of this name" in said(plan(lab, write(tmp_path / "b" / "Consolidation.JSON")))


@pytest.mark.skipif(os.name != "posix", reason="Windows has neither")
def test_links_and_pipes_are_refused_by_name_and_not_followed(lab, rig, tmp_path):
    (rig / "link.tif").symlink_to(rig / "scan_00001.tif")
    (rig / "folder").symlink_to(tmp_path)
    os.mkfifo(rig / "pipe")
    (tmp_path / "named").symlink_to(rig)
    told = said(plan(lab, rig, tmp_path / "named"))
    for name in ("link.tif", "folder", "named"):
        assert f"{name}: This is a link" in told
    assert "pipe: This is a pipe" in told


def test_files_of_operating_systems_are_left_out_and_told(lab, rig):
    for name in ("Thumbs.db", ".DS_Store", "desktop.ini", "._scan_00001.tif", ".Trashes/x"):
        write(rig / name)
    planned = plan(lab, rig)
    assert (said(planned), len(planned.sources)) == ("", 2)
    for name in ("Thumbs.db", ".DS_Store", "desktop.ini", "._scan_00001.tif", ".Trashes"):
        assert f"left out {rig / name}" in planned.describe()


@pytest.mark.parametrize("name", ["a:b.tif", "aux.h5", "COM1", "end.", "a?b", "back\\slash", "a\tb"])
def test_names_that_windows_cannot_open_are_refused(lab, rig, name):
    try:
        write(rig / name)
    except OSError:
        pytest.skip("this system cannot make the name")
    assert "Windows cannot open the name" in said(plan(lab, rig))


def test_a_source_that_is_still_written_is_refused(lab, rig):
    def grow(seconds):
        assert seconds == 2.5
        with (rig / "scan_00001.tif").open("ab") as file:
            file.write(b"more")

    told = said(plan(lab, rig, settle=2.5, pause=grow))
    assert "still being written: 2000000 bytes, 2.5 s later 2000004." in told
    assert "eye.mp4" not in told
    write(rig / "deep" / "eye.mp4", ago=0.5)
    assert "eye.mp4: The file was changed" in said(plan(lab, rig))


def test_a_source_that_goes_away_between_two_looks_is_refused(lab, rig):
    assert "went away" in said(plan(lab, rig, pause=lambda s: (rig / "scan_00001.tif").unlink()))


def test_sources_on_the_share_or_around_it_are_refused(lab, rig):
    folder = write(lab.root("share") / "demo" / "x" / "a.tif").parent
    assert "lies on the share itself" in said(plan(lab, folder))
    assert "The share lies in this source" in said(plan(lab, lab.home))


def test_nothing_to_consolidate_is_refused(lab, tmp_path):
    (tmp_path / "empty").mkdir()
    assert "There is no file" in said(plan(lab, tmp_path / "empty"))
    assert "cannot be read" in said(plan(lab, tmp_path / "nowhere"))


def test_a_missing_expected_file_is_an_error_unless_incomplete(lab, rig):
    def expected(names):
        assert sorted(names) == ["deep/eye.mp4", "scan_00001.tif"]
        return [Problem("error", "No *.h5 is here.", hint="Did WaveSurfer run?")]

    assert "No *.h5 is here. Did WaveSurfer run? To go on without: --incomplete." in said(
        plan(lab, rig, expected=expected)
    )
    planned = plan(lab, rig, expected=expected, incomplete=True)
    assert said(planned) == ""
    done = apply_consolidation(planned, lab)
    assert read_record(lab.root("share") / done.folder)["remarks"] == ["warning: No *.h5 is here. Did WaveSurfer run?"]


def test_too_little_space_is_refused_before_anything_is_copied(lab, rig, monkeypatch):
    free = shutil.disk_usage(rig)._replace(free=2_100_000)
    monkeypatch.setattr(consolidate.shutil, "disk_usage", lambda path: free)
    assert "2.1 MB free, and 69.1 MB are needed" in said(plan(lab, rig))


def test_the_same_files_are_not_consolidated_twice(lab, rig):
    done = apply_consolidation(plan(lab, rig), lab)
    again = plan(lab, rig)
    assert "These files were consolidated already." in said(again)
    assert done.folder in said(again)


# ---- the plan as an object


def test_a_plan_shows_sources_with_sizes_and_changes_nothing(lab, rig):
    before = sorted(lab.home.rglob("*"))
    planned = plan(lab, rig)
    assert sorted(lab.home.rglob("*")) == before
    text = planned.describe()
    for part in (
        planned.folder,
        planned.scan_id,
        "2 MB  scan_00001.tif",
        str(rig / "deep" / "eye.mp4"),
        "the sources stay",
    ):
        assert part in text
    content = json.loads(planned.to_json())
    assert (content["scan_id"], content["refused"]) == (planned.scan_id, False)
    assert [source["target"] for source in content["sources"]] == ["deep/eye.mp4", "scan_00001.tif"]


def test_a_plan_spells_out_what_would_command_a_terminal(lab, rig):
    write(rig / "a\x1b[2J.tif")
    assert "\x1b" not in plan(lab, rig).describe()


def test_progress_reaches_the_whole(lab, rig):
    steps = []
    with progress.listening(steps.append):
        apply_consolidation(plan(lab, rig), lab)
    copying = [step for step in steps if step.stage == "copying"]
    assert copying[-1].fraction == 1
    assert [step.done for step in copying] == sorted(step.done for step in copying)


# ---- moving


def test_moved_sources_are_gone_and_what_was_left_out_stays(lab, rig):
    write(rig / "Thumbs.db")
    done = apply_consolidation(plan(lab, rig, wish=replace(WISH, move=True)), lab)
    assert (done.removed, done.kept) == (2, ())
    assert [path.name for path in rig.rglob("*")] == ["Thumbs.db"]


def test_a_source_that_changed_after_it_was_copied_is_kept_and_told(lab, rig, monkeypatch):
    publish = consolidate._publish

    def publish_and_append(*arguments):
        publish(*arguments)
        write(rig / "scan_00001.tif", b"another recording")

    monkeypatch.setattr(consolidate, "_publish", publish_and_append)
    done = apply_consolidation(plan(lab, rig, wish=replace(WISH, move=True)), lab)
    assert (rig / "scan_00001.tif").read_bytes() == b"another recording"
    assert (lab.root("share") / done.folder / "scan_00001.tif").stat().st_size == 2_000_000
    assert (done.removed, len(done.kept)) == (1, 1)
    assert "2000000 bytes, then 17" in done.kept[0]


# ---- faults


def test_a_source_that_grows_while_it_is_copied_is_refused_with_both_sizes(lab, rig):
    planned = plan(lab, rig)

    def grow(step):
        if step.stage == "copying" and step.done > 1:
            with (rig / "scan_00001.tif").open("ab") as file:
                file.write(b"more")

    with (
        progress.listening(grow),
        pytest.raises(UnreadableFile, match=r"2000000 bytes, then 20000\d+|were read of a file"),
    ):
        apply_consolidation(planned, lab)
    assert list((lab.root("share") / "demo").iterdir()) == []
    assert (rig / "scan_00001.tif").stat().st_size > 2_000_000


def test_a_source_that_changed_since_the_plan_is_refused(lab, rig):
    planned = plan(lab, rig)
    write(rig / "scan_00001.tif", b"II*\0" * 500_000, ago=60)
    with pytest.raises(UnreadableFile, match="changed since it was looked at"):
        apply_consolidation(planned, lab)
    assert list((lab.root("share") / "demo").iterdir()) == []


@pytest.mark.skipif(os.name != "posix", reason="needs links")
def test_a_source_that_became_a_link_since_the_plan_is_not_followed(lab, rig, tmp_path):
    planned = plan(lab, rig)
    (rig / "deep").rename(tmp_path / "elsewhere")
    (rig / "deep").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UnreadableFile, match="cannot be read"):
        apply_consolidation(planned, lab)


def test_a_copy_that_gives_back_other_bytes_is_refused_with_both_digests(lab, rig, monkeypatch):
    verify = copies.verify

    def flip(original, store, path, digest):
        with Path(store.locate(path)).open("r+b") as file:
            file.write(b"X")
        verify(original, store, path, digest)

    monkeypatch.setattr(copies, "verify", flip)
    with pytest.raises(UnreadableFile) as caught:
        apply_consolidation(plan(lab, rig), lab)
    assert any(blake3_of(path) in str(caught.value) for path in rig.rglob("*") if path.is_file())
    assert "came back" in str(caught.value)
    assert list((lab.root("share") / "demo").iterdir()) == []


def test_a_disk_that_fills_up_leaves_nothing_and_every_source(lab, rig, monkeypatch):
    planned, write_all = plan(lab, rig, wish=replace(WISH, move=True)), os.fsync

    def full(descriptor):
        if os.fstat(descriptor).st_size > 1_000_000:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write_all(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreUnavailable, match="Free some space"):
        apply_consolidation(planned, lab)
    assert list((lab.root("share") / "demo").iterdir()) == []
    assert len(list(rig.rglob("*.*"))) == 2


@pytest.fixture
def small_share(lab):
    """A share on a disk of 4 MB."""
    share = lab.root("share")
    command = ["mount", "-t", "tmpfs", "-o", "size=4m", "adamacs-test", str(share)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("NO SMALL DISK: this account cannot mount one; a full and a read-only share were not tried.")
    (share / "demo").mkdir()
    yield share
    subprocess.run(["umount", "-l", str(share)], check=True)


def test_a_share_that_is_really_full_is_refused_and_left_as_it_was(lab, rig, small_share):
    write(rig / "large.tif", b"x" * 8_000_000)
    planned = plan(lab, rig)
    assert "are needed" in said(planned)
    with pytest.raises(StoreUnavailable, match="No space left"):
        apply_consolidation(replace(planned, problems=()), lab)
    assert list((small_share / "demo").iterdir()) == []
    assert len(list(rig.rglob("*.*"))) == 3


def test_a_read_only_share_is_refused_by_a_probe(lab, rig, small_share):
    planned = plan(lab, rig)
    subprocess.run(["mount", "-o", "remount,ro", str(small_share)], check=True)
    assert "Nothing can be written here (Read-only file system)" in said(plan(lab, rig))
    with pytest.raises(StoreUnavailable, match="lock cannot be opened"):
        apply_consolidation(replace(planned, problems=()), lab)


def test_a_name_that_is_taken_meanwhile_is_never_overwritten(lab, rig, monkeypatch):
    planned, fill = plan(lab, rig), consolidate._fill
    target = lab.root("share") / planned.folder

    def fill_late(*arguments):
        fill(*arguments)
        write(target / "theirs.tif")

    monkeypatch.setattr(consolidate, "_fill", fill_late)
    with pytest.raises(PlanRefused, match="such a folder already"):
        apply_consolidation(planned, lab)
    assert [path.name for path in target.iterdir()] == ["theirs.tif"]
    assert hidden(lab) == []


def test_staging_of_a_living_process_stays_and_claims_its_tokens(lab, rig):
    person = lab.root("share") / "demo"
    with consolidate.attempts.attempt(
        person / f".XX_ANM-0009_2026-02-10_{TOKENS['scan']}_{TOKENS['session']}"
    ) as living:
        assert set(read_claims(lab.share_roots()).places) == {"scan9fy6airm", "sess9fy6airm"}
        assert "exists already" in said(plan(lab, rig, wish=replace(WISH, scan=TOKENS["scan"])))
        consolidate._sweep(person)
        assert living.work.is_dir()


def results(kind, tmp_path, seed, count):
    """Run processes that are killed or that race, see tests/consolidating.py."""
    command = [sys.executable, "-m", "tests.consolidating", kind, str(tmp_path), str(seed), str(count)]
    ran = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    return [json.loads(line) for line in ran.stdout.splitlines()]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_killed_at_any_moment_the_folder_is_whole_or_absent_and_the_next_run_succeeds(tmp_path):
    seen = results("kill", tmp_path, seed=7, count=50)
    assert [one for one in seen if one["wrong"]] == []
    assert {one["place"] for one in seen if one["died"]} >= set(consolidate.points.CONSOLIDATION)
    assert sum(one["died"] for one in seen) >= 40  # some end before their signal comes


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_of_two_that_want_one_token_exactly_one_wins_and_minted_ones_never_collide(tmp_path):
    for one in results("race", tmp_path, seed=8, count=24):
        assert one["rest"] == []
        if one["minted"]:
            assert one["statuses"] == [0, 0]
            assert len(set(one["scans"])) == 2
        else:
            assert one["statuses"] == [0, 3]
            assert one["scans"] == ["scan9FY6AIRM"]
