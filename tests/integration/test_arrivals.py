"""From a share that is written to, to rows: what a watcher sees, waits for, lets in, and holds back."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections import Counter
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from types import SimpleNamespace

import datajoint as dj
import pytest

from adamacs import pipeline
from adamacs.core import clocks, setups
from adamacs.core.errors import InvalidRequest, PlanRefused
from adamacs.core.modality import Modality, Problem, Unit
from adamacs.core.tokens import ParsedFolder
from adamacs.demo import arrival, rig
from adamacs.demo import lab as synthetic
from adamacs.ingest import arrivals, compare, ledger, ripe, watch
from adamacs.ingest import plan as plan_module
from adamacs.ingest.apply import Outcome, apply_plan
from adamacs.ingest.beneath import Place
from adamacs.ingest.plan import plan_ingest, plan_recordings
from adamacs.ingest.remove import apply_removal, plan_removal
from adamacs.ingest.watch import Watcher
from tests.conftest import LONG
from tests.integration.test_ingest import command

PARAMSET = 0


@pytest.fixture
def lab(mouse_lab):
    """A lab whose setup types let recordings in alone."""
    shutil.rmtree(mouse_lab.home / "setups")
    synthetic.write_setups(mouse_lab.home, paramset_idx=PARAMSET)
    pipeline.imaging.ProcessingParamSet.insert_new(synthetic.SUITE2P, paramset_idx=PARAMSET, desc="synthetic lab")
    yield mouse_lab
    shutil.rmtree(mouse_lab.home / "setups")


class Clock:
    """A clock that a test sets; the kernel's own times stand still beside it."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


class Watched:
    """A watcher with its clock, and what it said."""

    def __init__(self, lab, clock=None, **options):
        self.clock = clock or Clock()
        self.said = []
        self.watcher = Watcher(lab.settings, report=self.said.append, clock=self.clock, **options)

    def tick(self, seconds=0.0):
        """Let time pass, look, and settle."""
        self.clock.now += seconds
        self.watcher.look()
        self.watcher.settle()
        return states()


def states():
    return {one.path.rpartition("/")[2]: one.state for one in arrivals.load()}


def put(lab, folder, *, whole=True):
    """Copy a recording to the share; of one that is not whole the last file is cut."""
    place = lab.settings.root("share") / "demo" / folder.name
    shutil.copytree(folder, place)
    if not whole:
        last = sorted(place.iterdir())[-1]
        os.truncate(last, last.stat().st_size - 100)
    return place


def scans():
    return sorted(pipeline.scan.Scan.to_arrays("scan_id").tolist())


def test_a_folder_is_ingested_once_it_has_not_changed_for_the_incubation(lab, recordings):
    watched = Watched(lab)
    place = put(lab, recordings[0])
    assert watched.tick() == {place.name: "incubating"}
    assert watched.tick(29) == {place.name: "incubating"}
    assert scans() == []
    assert watched.tick(2) == {place.name: "ingested"}
    assert len(scans()) == 1
    assert len(pipeline.imaging.ProcessingTask()) == 1  # staged as its setup type says
    assert watched.tick(100) == {place.name: "ingested"}
    assert [event.what for event in watched.said] == ["arrived", "ingested"]


def test_a_change_starts_the_incubation_anew(lab, recordings):
    watched = Watched(lab)
    place = put(lab, recordings[0])
    watched.tick()
    for _ in range(3):
        with (place / "notes.txt").open("a") as file:
            file.write("more\n")
        assert watched.tick(25) == {place.name: "incubating"}
    assert watched.tick(29) == {place.name: "incubating"}
    assert watched.tick(2) == {place.name: "ingested"}


def test_a_file_without_its_end_is_late_and_never_ingested_until_it_has_one(lab, recordings):
    watched = Watched(lab)
    place = put(lab, recordings[0], whole=False)
    watched.tick()
    assert watched.tick(31) == {place.name: "late"}
    (late,) = arrivals.load(("late",))
    assert "tif" in late.reason
    assert watched.tick(1000) == {place.name: "late"}
    assert scans() == []
    last = sorted(place.iterdir())[-1]
    shutil.copyfile(recordings[0] / last.name, last)
    assert watched.tick(1) == {place.name: "incubating"}
    assert watched.tick(31) == {place.name: "ingested"}


def test_a_folder_that_lacks_an_expected_file_is_late_and_says_which(lab, recordings):
    watched = Watched(lab)
    place = put(lab, recordings[0])
    (place / "notes.txt").write_text("only a note\n")
    for tiff in place.glob("*.tif"):
        tiff.unlink()
    watched.tick()
    # without a header nothing names the setup type: a question for a person
    assert watched.tick(31) == {place.name: "planned"}
    (lab.home / "profiles").mkdir(exist_ok=True)
    (lab.home / "profiles" / "XX.toml").write_text(
        'initials = "XX"\nname = "demo"\n[defaults]\nsetup_type = "bench2p"\n'
    )
    try:
        arrivals.decide(f"demo/{place.name}", "incubating", "", lab.settings)
        watched.tick(1)
        assert watched.tick(31) == {place.name: "late"}
        assert "the frames" in arrivals.load(("late",))[0].reason
    finally:
        shutil.rmtree(lab.home / "profiles")


def test_a_killed_watcher_goes_on_where_it_stopped(lab, recordings):
    first = Watched(lab)
    place = put(lab, recordings[0])
    first.tick()
    (seen,) = arrivals.load()
    earlier = clocks.now() - timedelta(seconds=40)
    arrivals.tables.Arrival.update1({"arrival_id": arrivals.identify(seen.path), "changed_at": earlier})
    second = Watched(lab)
    assert second.tick() == {place.name: "ingested"}  # it was whole while nobody watched
    assert [event.what for event in second.said] == ["ingested"]
    third = Watched(lab)
    assert third.tick(100) == {place.name: "ingested"}
    assert third.said == []


def all_rows():
    """Return what the database holds of people, sessions and scans, of what every modality planned, and of requests."""
    modules = (pipeline.subject, pipeline.session, pipeline.scan, pipeline.clock, pipeline.event, pipeline.imaging)
    tables = [table for module in modules for table, _ in module.schema.declare_list if issubclass(table, dj.Manual)]
    return {table.__name__: sorted(map(str, table.to_dicts())) for table in tables}


def test_before_during_and_after_give_the_same_rows(lab, recordings):
    found = []
    for start in ("before", "during", "after"):
        share = lab.settings.root("share")
        watched = Watched(lab) if start == "before" else None
        if watched:
            watched.tick()
        place = share / "demo" / recordings[0].name
        place.mkdir(parents=True)
        for number, file in enumerate(sorted(recordings[0].iterdir())):
            if start == "during" and number == 1:
                watched = Watched(lab)
            if watched:
                watched.tick(5)
            shutil.copy2(file, place / file.name)
        watched = watched or Watched(lab)
        watched.tick()
        watched.tick(31)
        assert len(scans()) == 1
        found.append(all_rows())
        apply_removal(plan_removal(*scans()), lab.settings)
        shutil.rmtree(place)
        arrivals.tables.Arrival().delete_quick()
    assert found[0] == found[1] == found[2]
    assert all(
        found[0][name] for name in ("User", "Subject", "Session", "Scan", "ScanFile", "ScanSetup", "ProcessingTask")
    )


def test_a_file_that_changes_after_the_ingest_is_flagged_and_not_mixed_in(lab, recordings):
    watched = Watched(lab)
    place = put(lab, recordings[0])
    watched.tick()
    watched.tick(31)
    before = pipeline.scan.ScanFile.to_dicts()
    (place / "late.txt").write_text("came later\n")
    assert watched.tick(31) == {place.name: "changed"}
    assert watched.tick(100) == {place.name: "changed"}
    assert pipeline.scan.ScanFile.to_dicts() == before


def append(place):
    """Append to the last file of a recording, which moves no time of its folder."""
    stamp = place.stat().st_mtime_ns
    with sorted(place.iterdir())[-1].open("ab") as file:
        file.write(b"more")
    assert place.stat().st_mtime_ns == stamp  # no look at folders can see it


def test_an_append_in_place_to_any_recording_is_found_within_a_day(lab, recordings):
    watched = Watched(lab)
    places = [put(lab, folder) for folder in recordings]
    watched.tick()
    assert set(watched.tick(31).values()) == {"ingested"}
    for place in places[1:]:
        append(place)
    for _ in range(24 * 60 + 1):
        watched.clock.now += 60
        watched.watcher.recheck()
    watched.watcher.settle()
    assert [states()[place.name] for place in places] == ["ingested", "changed", "changed"]


def test_an_append_in_place_while_nobody_watched_is_found_when_watching_begins(lab, recordings):
    watched = Watched(lab)
    place = put(lab, recordings[0])
    watched.tick()
    watched.tick(31)
    append(place)
    assert watched.tick(31) == {place.name: "ingested"}
    assert Watched(lab).tick() == {place.name: "changed"}
    assert [one.state for one in arrivals.load(arrivals.HELD)] == ["changed"]  # a person is shown it


def test_on_a_share_of_another_computer_a_recording_incubates_for_longer(lab, recordings, monkeypatch):
    monkeypatch.setattr(ripe, "is_network", lambda path: True)
    watched = Watched(lab)
    place = put(lab, recordings[0])
    watched.tick()
    assert watched.tick(59) == {place.name: "incubating"}
    assert watched.tick(2) == {place.name: "ingested"}


def test_a_share_that_is_mounted_while_one_watches_is_known_for_what_it_is(lab, recordings, monkeypatch):
    share = lab.settings.root("share")
    monkeypatch.setattr(ripe, "is_network", lambda path: path.is_dir())  # what lies below the mount is a local disk
    share.rename(share.with_name("away"))
    watched = Watched(lab)
    try:
        watched.tick()
    finally:
        share.with_name("away").rename(share)
    place = put(lab, recordings[0])
    watched.tick(1)
    assert watched.tick(31) == {place.name: "incubating"}
    assert watched.tick(30) == {place.name: "ingested"}


def test_a_note_that_comes_beside_a_scan_after_its_ingest_is_recorded_where_rules_let_the_scan_in_alone(
    lab, recordings
):
    def held():
        rows = pipeline.session.SessionFile.to_dicts()
        return {row["file_path"]: row["file_size"] for row in rows}

    watched = Watched(lab)
    place = put(lab, recordings[0])
    watched.tick()
    watched.tick(31)
    note = place.parent / f"{place.name.split('_')[4]}_notes.txt"
    note.write_text("calm")
    watched.tick(31)
    assert held() == {f"demo/{note.name}": 4}
    note.write_text("calm, then not")  # written on in place: its turn comes
    watched.tick(31)
    Watched(lab).tick()
    assert held() == {f"demo/{note.name}": 14}
    assert states() == {place.name: "ingested"}
    assert [run.summary.partition(" (")[0] for run in ledger.runs()] == ["whole: 1 update"] * 2 + ["whole: 1 new"]
    change_setups(lab, lambda text: text.replace("automatic = true", "automatic = false"))
    (place.parent / f"{place.name.split('_')[4]}_more.txt").write_text("more")
    watched.tick(31)
    assert len(held()) == 1  # a person's next ingest takes it
    assert plan_ingest([place], lab.settings).scans[0].state == "update"


def test_how_long_it_took_from_the_last_change_to_rows_is_told(lab, recordings):
    watched = Watched(lab)
    put(lab, recordings[0])
    watched.tick()
    assert arrivals.state().watchers[0]["lag"] is None
    watched.tick(31)
    found = arrivals.state()
    assert found.counts == {"ingested": 1}
    assert found.watchers[0]["lag"] == pytest.approx(31, abs=1)
    assert "at most 31" in found.describe()


@pytest.fixture
def radio(lab, monkeypatch):
    """Let a stand-in for an instrument write into one folder for days; a function of how its units are declared."""

    def declared(**more):
        unit = Unit(
            folders="radio/incoming",
            pattern=r"(?P<stamp>[0-9]{8})_sb(?P<part>[0-9]{2})\.dat",
            parse=f"{__name__}:token_of",
            automatic=True,
            **more,
        )
        known = pipeline.modalities()
        modality = Modality("radio", "adamacs.modalities.imaging.tables", units=(unit,))
        monkeypatch.setattr(pipeline, "modalities", lambda: (*known, modality))
        folder = lab.settings.root("share") / "radio" / "incoming"
        folder.mkdir(parents=True)
        return folder

    return declared


def by_unit():
    return {one.unit: one.state for one in arrivals.load() if one.unit}


def test_units_of_a_folder_that_grows_wait_for_their_marker_and_their_parts(lab, radio):
    folder = radio(parts=("00", "01"), patience=600.0, marker="session.txt")
    watched = Watched(lab)
    (folder / "20260210_sb00.dat").write_bytes(b"a")
    (folder / "20260210_sb01.dat").write_bytes(b"b")
    (folder / "20260211_sb01.dat").write_bytes(b"b")
    watched.tick()
    watched.tick(2)
    assert by_unit() == {"20260210": "waiting", "20260211": "waiting"}
    (folder / "session.txt").write_text("radio\n")
    watched.tick(2)
    assert by_unit() == {"20260210": "ingested", "20260211": "waiting"}
    assert scans() == ["scan20260210"]
    assert sorted(pipeline.scan.ScanFile.to_arrays("file_path").tolist()) == [
        "radio/incoming/20260210_sb00.dat",
        "radio/incoming/20260210_sb01.dat",
    ]
    long_ago = clocks.now() - timedelta(seconds=700)
    waiting = watched.watcher._units["radio/incoming", "20260211"]
    waiting.arrival = replace(waiting.arrival, first_seen=long_ago)
    watched.tick(700)
    assert by_unit()["20260211"] == "late"
    assert "00" in arrivals.load(("late",))[0].reason
    (folder / "20260211_sb00.dat").write_bytes(b"a")
    watched.tick(1)
    watched.tick(2)
    assert by_unit() == {"20260210": "ingested", "20260211": "ingested"}


def test_what_grows_is_flagged_where_a_part_comes_or_goes_after_the_ingest_and_told_when_it_is_gone(lab, radio):
    folder = radio()
    first, second = folder / "20260210_sb00.dat", folder / "20260210_sb01.dat"
    first.write_bytes(b"a")
    watched = Watched(lab)
    watched.tick()
    watched.tick(2)
    second.write_bytes(b"b")
    assert watched.tick(2) == watched.tick(2) == {"incoming": "changed"}
    assert len(pipeline.scan.ScanFile()) == 1
    second.unlink()
    watched.tick(2)
    assert watched.tick(2) == {"incoming": "ingested"}
    first.unlink()
    assert watched.tick(2) == {"incoming": "gone"}
    shutil.rmtree(folder)
    watched.tick(2)
    said = [event.what for event in watched.said]
    assert said == ["arrived", "ingested", "changed", "changed", "ingested", "gone"]


def test_a_file_that_goes_while_it_is_waited_for_is_waited_for_no_more(lab, radio):
    folder = radio()
    (folder / "20260210_sb00.dat").write_bytes(b"a")
    watched = Watched(lab)
    watched.tick()
    shutil.rmtree(folder)
    watched.tick(0.5)
    assert by_unit() == {"20260210": "gone"}
    assert watched.watcher.next_due() is None


def test_a_folder_that_cannot_be_looked_into_for_a_while_stops_nothing_and_is_not_gone(
    lab, recordings, radio, monkeypatch
):
    folder = radio()
    (folder / "20260210_sb00.dat").write_bytes(b"a")
    place = put(lab, recordings[0])
    watched = Watched(lab)
    enter = Place.enter

    def refused(above, name):
        if name == "incoming":
            raise PermissionError(errno.EACCES, "Permission denied")
        return enter(above, name)

    watched.tick()
    with monkeypatch.context() as changed:
        changed.setattr(Place, "enter", refused)
        assert watched.tick(31) == {place.name: "ingested", "incoming": "incubating"}
    watched.tick(1)
    assert watched.tick(2) == {place.name: "ingested", "incoming": "ingested"}


@pytest.mark.skipif(os.name != "posix", reason="needs links")
def test_a_share_may_be_reached_by_a_link_and_a_folder_that_grows_may_not(lab, radio, tmp_path):
    folder = radio()
    (folder / "20260210_sb00.dat").write_bytes(b"a")
    (tmp_path / "home").symlink_to(lab.home)
    share = str(tmp_path / "home" / "share")
    behind = replace(lab.settings, roots=replace(lab.settings.roots, share=share))
    watched = Watched(SimpleNamespace(settings=behind))
    watched.tick()
    watched.tick(2)
    assert by_unit() == {"20260210": "ingested"}
    folder.rename(tmp_path / "elsewhere")
    folder.symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "20260211_sb00.dat").write_bytes(b"a")
    watched.tick(2)
    watched.tick(2)
    assert by_unit() == {"20260210": "gone"}


def test_a_file_that_its_grammar_stumbles_over_is_held_back_and_stops_no_other(lab, radio):
    folder = radio()
    (folder / "20269910_sb00.dat").write_bytes(b"a")
    (folder / "20260210_sb00.dat").write_bytes(b"a")
    watched = Watched(lab)
    watched.tick()
    watched.tick(2)
    assert by_unit() == {"20260210": "ingested", "20269910": "quarantined"}
    assert "month" in arrivals.load(("quarantined",))[0].reason
    assert [event.what for event in watched.said].count("quarantined") == 1


def token_of(folder, stamp):
    day = date(int(stamp[:4]), int(stamp[4:6]), int(stamp[6:]))
    return ParsedFolder("XX", "sky", day, f"sess{stamp}", f"scan{stamp}", "combined")


SPINE = ("scan.ScanFile", "scan.ScanPath", "scan.ScanSetup", "session.SessionDirectory", "session.SessionUser")
TASK = "imaging.ProcessingTask"


@pytest.mark.parametrize("by", ["apply", "watch"])
@pytest.mark.parametrize(
    "lost",
    [
        ("scan.ScanFile",),
        ("scan.ScanPath",),
        ("session.SessionUser",),
        SPINE,
        (*SPINE, TASK),
        (*SPINE, TASK, "sync.Teller", "clock.Clock", "scan.Scan"),
    ],
    ids=len,
)
def test_a_session_that_was_half_ingested_is_completed_and_not_skipped(lab, recordings, lost, by):
    """As rows are left by hand, or by a program that commits each table for itself."""

    def rows():
        return {name: compare.table_of(name).to_dicts() for name in (*SPINE, TASK, "scan.Scan", "session.Session")}

    place = put(lab, recordings[0])
    apply_plan(plan_ingest([place], lab.settings), lab.settings)
    before = rows()
    for name in lost:
        compare.table_of(name)().delete_quick()
    if by == "apply":
        assert [one.state for one in apply_plan(plan_ingest([place], lab.settings), lab.settings)] == ["written"]
    else:
        watched = Watched(lab)
        watched.tick()
        assert watched.tick(31) == {place.name: "ingested"}
    assert rows() == before


def test_a_modality_that_an_ingest_left_out_is_added_later_and_nothing_else_is_touched(lab, recordings):
    place = put(lab, recordings[1])
    rig.record(setups.load().find("bench2p"), 5).write(place / "aux.h5")
    file, text = lab.home / "setups" / "bench2p.toml", (setups.SHIPPED / "bench2p.toml").read_text()
    file.write_text(text.replace('modalities = ["imaging", "behavior"]', 'modalities = ["imaging"]'))
    apply_plan(plan_ingest([place], lab.settings), lab.settings)
    assert len(pipeline.scan.Scan()) == 1
    assert len(pipeline.event.BehaviorRecording()) == 0
    before = pipeline.scan.ScanFile.to_dicts()
    file.write_text(text)
    (scan,) = plan_ingest([place], lab.settings).scans
    assert (scan.state, scan.changes) == ("update", ())
    with ledger.run("apply", {}, lab.settings) as run:
        apply_plan(plan_ingest([place], lab.settings), lab.settings, run)
    (step,) = [step for step in ledger.past(run.run_id).steps if step.outcome == "ok"]
    assert step.reason == (
        "1 clock.Clock; 1 event.BehaviorRecording; 1 event.BehaviorRecording.Source; 1 sync.Teller; "
        "1 event.BehaviorRecording.File"
    )
    assert pipeline.scan.ScanFile.to_dicts() == before
    assert len(pipeline.event.BehaviorRecording()) == 1


def change_setups(lab, change):
    for file in (lab.home / "setups").glob("*.toml"):
        file.write_text(change(file.read_text()))


def test_what_no_rule_lets_in_waits_for_a_person(lab, recordings):
    change_setups(lab, lambda text: text.replace("automatic = true", "automatic = false"))
    watched = Watched(lab)
    place = put(lab, recordings[0])
    watched.tick()
    assert watched.tick(31) == {place.name: "planned"}
    assert "nobody but a person" in arrivals.load()[0].reason  # no question is open
    assert scans() == []
    (run,) = ledger.runs()
    assert [(step.outcome, step.what) for step in ledger.past(run.run_id).steps] == [("skipped", "waiting")]
    apply_plan(plan_ingest([place], lab.settings), lab.settings)
    assert watched.tick(1) == {place.name: "ingested"}


def test_an_open_question_holds_back_what_a_rule_would_let_in(lab, recordings):
    change_setups(lab, lambda text: re.sub(r"\[\[stage\]\]\n.*\n.*\n", "", text))
    watched = Watched(lab)
    place = put(lab, recordings[0])
    watched.tick()
    assert watched.tick(31) == {place.name: "planned"}
    assert "No parameter set is chosen" in arrivals.load()[0].reason
    assert scans() == []


def test_a_recording_that_nobody_would_read_waits_for_a_person(lab, recordings):
    watched = Watched(lab)
    place = put(lab, recordings[1])  # its setup type knows frames alone
    rig.record(setups.load().setups["bench2p"], 2.0).write(place / f"{place.name}.h5")
    watched.tick()
    assert watched.tick(31) == {place.name: "planned"}
    assert f"{place.name}.h5 is not looked at." in arrivals.load()[0].reason
    assert scans() == []
    (outcome,) = apply_plan(plan_ingest([place], lab.settings), lab.settings)
    assert outcome.state == "written"
    assert watched.tick(1) == {place.name: "ingested"}


def test_a_broken_setup_type_holds_back_its_own_recordings_until_it_is_mended(lab, recordings):
    file = lab.home / "setups" / "bench2p.toml"
    sound = file.read_text()
    file.write_text(sound.replace("description", "descripton"))
    watched = Watched(lab)
    places = {setup: put(lab, recordings[number]).name for number, setup in enumerate(("mini2p", "bench2p", "track"))}
    watched.tick()
    assert watched.tick(31) == dict(zip(places.values(), ("ingested", "quarantined", "ingested")))
    assert str(file) in arrivals.load(("quarantined",))[0].reason
    file.write_text(sound)
    later = time.time_ns() + 10**9
    os.utime(file, ns=(later, later))
    assert watched.tick(1)[places["bench2p"]] == "ingested"


def test_a_broken_profile_holds_back_the_recordings_of_its_person(lab, recordings):
    folder = lab.home / "profiles"
    folder.mkdir(exist_ok=True)
    broken = folder / "XX.toml"
    broken.write_text("initials = XX")
    try:
        plan = plan_ingest([put(lab, recordings[0])], lab.settings)
        assert [str(broken) in problem.where for problem in plan.scans[0].problems].count(True) == 1
        assert plan.scans[0].state == "refused"
        broken.rename(folder / "YY.toml")  # of somebody else
        assert plan_ingest([lab.settings.root("share") / "demo"], lab.settings).scans[0].state == "new"
    finally:
        shutil.rmtree(folder)


def test_a_recording_that_no_reader_stands_stops_no_other(lab, recordings, monkeypatch):
    def planned(ready, settings, decided, **how):
        if ready[0].place.endswith(bad.name):
            raise ZeroDivisionError("a bug of ours")
        return plan_recordings(ready, settings, decided, **how)

    monkeypatch.setattr(watch, "plan_recordings", planned)
    watched = Watched(lab)
    bad, good = put(lab, recordings[0]), put(lab, recordings[1])
    watched.tick()
    assert watched.tick(16) == {bad.name: "incubating", good.name: "incubating"}
    assert watched.tick(15) == {bad.name: "quarantined", good.name: "ingested"}
    assert "ZeroDivisionError: a bug of ours" in arrivals.load(("quarantined",))[0].reason


def test_a_database_that_goes_while_rows_are_written_quarantines_nothing(lab, recordings, monkeypatch):
    watched = Watched(lab)
    place = put(lab, recordings[0])
    watched.tick()
    away = Outcome("", "failed", reason="the server went away", may_pass=True)
    with monkeypatch.context() as changed:
        changed.setattr(watch, "apply_or_explain", lambda *_: away)
        assert watched.tick(31) == {place.name: "incubating"}
    assert watched.tick(29) == {place.name: "incubating"}
    assert watched.tick(2) == {place.name: "ingested"}


def test_a_stage_of_a_table_that_is_none_is_an_error(lab, recordings):
    file = lab.home / "setups" / "mini2p1_openfield.toml"
    file.write_text(file.read_text().replace("ProcessingTask", "ProcesingTask"))
    (scan,) = plan_ingest([put(lab, recordings[0])], lab.settings).scans
    assert scan.state == "refused"
    assert "imaging.ProcessingTask" in str(scan.problems)


def test_a_wrong_name_is_quarantined_and_leaves_when_it_is_mended(lab, recordings):
    watched = Watched(lab)
    place = put(lab, recordings[0])
    wrong = place.with_name(place.name.replace("2026-02-10", "2026-02-30"))
    place.rename(wrong)
    assert watched.tick() == {wrong.name: "quarantined"}
    assert "2026-02-30" in arrivals.load(("quarantined",))[0].reason
    wrong.rename(place)
    assert watched.tick(1)[wrong.name] == "gone"
    assert watched.tick(31)[place.name] == "ingested"


def test_twins_are_quarantined_with_both_paths(lab, recordings):
    watched = Watched(lab)
    place = put(lab, recordings[0])
    shutil.copytree(place, place.parents[1] / "other" / place.name)
    watched.tick()
    watched.tick(31)
    assert scans() == []
    reasons = " ".join(f"{one.path} {one.reason}" for one in arrivals.load(("quarantined",)))
    assert f"demo/{place.name}" in reasons
    assert f"other/{place.name}" in reasons


def test_what_a_person_ignores_stays_out_until_released(lab, recordings):
    watched = Watched(lab)
    place = put(lab, recordings[0], whole=False)
    watched.tick()
    watched.tick(31)
    arrivals.decide(f"demo/{place.name}", "ignored", "test recording", lab.settings)
    shutil.rmtree(place)
    put(lab, recordings[0])
    assert watched.tick(1) == {place.name: "ignored"}
    assert watched.tick(31) == {place.name: "ignored"}
    arrivals.decide(f"demo/{place.name}", "incubating", "", lab.settings)
    watched.tick(1)
    assert watched.tick(31) == {place.name: "ingested"}


def test_a_scan_that_was_removed_does_not_come_back_by_itself(lab, recordings):
    watched = Watched(lab)
    place = put(lab, recordings[0])
    watched.tick()
    watched.tick(31)
    apply_removal(plan_removal(*scans()), lab.settings)
    watched.tick(31)
    assert Watched(lab).tick(31) == {place.name: "ignored"}
    assert scans() == []


def test_a_twin_holds_back_the_one_that_came_before_it_until_one_of_them_goes(lab, recordings):
    watched = Watched(lab)
    place = put(lab, recordings[0])
    watched.tick()
    twin = place.parents[1] / "other" / place.name
    shutil.copytree(place, twin)
    watched.tick(31)
    assert {one.path: one.state for one in arrivals.load()} == {
        f"demo/{place.name}": "quarantined",
        f"other/{place.name}": "quarantined",
    }
    shutil.rmtree(twin)
    watched.tick(1)
    watched.tick(31)
    assert {one.path: one.state for one in arrivals.load()} == {
        f"demo/{place.name}": "ingested",
        f"other/{place.name}": "gone",
    }


def test_a_folder_that_was_empty_for_a_look_goes_on(lab, recordings, tmp_path):
    watched = Watched(lab)
    place = put(lab, recordings[0])
    watched.tick()
    aside = tmp_path / "aside"
    place.rename(aside)
    place.mkdir()
    assert watched.tick(1) == {place.name: "quarantined"}
    place.rmdir()
    aside.rename(place)
    watched.tick(1)
    assert watched.tick(31) == {place.name: "ingested"}


def test_what_a_person_ignores_stays_out_though_it_was_away_for_a_while(lab, recordings, tmp_path):
    watched = Watched(lab)
    place = put(lab, recordings[0])
    watched.tick()
    arrivals.decide(f"demo/{place.name}", "ignored", "test recording", lab.settings)
    place.rename(tmp_path / "aside")
    watched.tick(1)
    (tmp_path / "aside").rename(place)
    watched.tick(1)
    assert watched.tick(31) == {place.name: "ignored"}


def test_what_a_person_decides_between_look_and_ingest_counts(lab, recordings):
    watched = Watched(lab)
    place = put(lab, recordings[0])
    watched.tick()
    watched.clock.now += 31
    watched.watcher.look()
    arrivals.decide(place.name.split("_")[3], "ignored", "test recording", lab.settings)
    watched.watcher.settle()
    assert (states(), scans()) == ({place.name: "ignored"}, [])


def test_what_a_person_decides_while_a_state_is_written_down_stands(lab, recordings):
    watched = Watched(lab)
    place = put(lab, recordings[0], whole=False)
    watched.tick()
    watched.clock.now += 31
    watched.watcher.look()
    arrivals.decide(f"demo/{place.name}", "ignored", "test recording", lab.settings)
    watched.watcher.settle()  # it would be late
    assert states() == {place.name: "ignored"}
    assert watched.tick(400) == {place.name: "ignored"}


def test_no_path_names_no_recording(lab, recordings):
    watched = Watched(lab)
    put(lab, recordings[0])
    watched.tick()
    for path in ("", "/"):
        with pytest.raises(InvalidRequest, match="No path"):
            arrivals.decide(path, "ignored", "", lab.settings)


def test_a_removed_scan_stays_out_of_bulk_ingest_and_comes_back_where_it_is_named(lab, recordings):
    place = put(lab, recordings[0])
    apply_plan(plan_ingest([place], lab.settings), lab.settings)  # by hand: no watcher knows it
    apply_removal(plan_removal(*scans()), lab.settings)
    assert Watched(lab).tick(31) == {place.name: "ignored"}
    assert arrivals.load(("ignored",))[0].scan_id in place.name
    plan = plan_ingest([lab.settings.root("share")], lab.settings)
    assert plan.scans == ()
    assert "left out" in str(plan.problems[0])
    watched = Watched(lab)
    apply_plan(plan_ingest([place], lab.settings), lab.settings)
    assert watched.tick(1) == {place.name: "ingested"}
    assert len(scans()) == 1


def test_a_scan_that_came_since_the_removal_was_planned_is_not_removed(lab, recordings):
    first, second = put(lab, recordings[0]), put(lab, recordings[1])
    plan = plan_ingest([first], lab.settings)
    apply_plan(plan, lab.settings)
    planned = plan_removal(*scans())
    apply_plan(plan_ingest([second], lab.settings), lab.settings)
    assert len(pipeline.session.Session()) == 1
    with pytest.raises(PlanRefused, match="since"):
        apply_removal(planned, lab.settings)
    assert len(scans()) == 2
    assert states() == {}  # neither is left out


def test_what_is_late_is_planned_again_though_no_file_changes(lab, recordings, monkeypatch):
    """A right that was missing, or a share that faltered: when it is mended, no name, size or time tells."""
    refused = [Problem("error", "Permission denied.", may_pass=True)]
    monkeypatch.setattr(plan_module, "incomplete", lambda *_: list(refused))
    watched = Watched(lab)
    place = put(lab, recordings[0])
    watched.tick()
    assert watched.tick(31) == {place.name: "late"}
    runs = len(ledger.tables.IngestRun())
    assert watched.tick(301) == {place.name: "late"}
    assert len(ledger.tables.IngestRun()) == runs  # nobody is told again
    assert [event.what for event in watched.said] == ["arrived", "late"]
    refused.clear()
    assert watched.tick(100) == {place.name: "late"}
    assert watched.tick(301) == {place.name: "ingested"}


def test_what_went_and_what_was_mended_while_nobody_watched_is_seen(lab, recordings):
    file = lab.home / "setups" / "bench2p.toml"
    sound = file.read_text()
    file.write_text("name =")
    watched = Watched(lab)
    held, gone = put(lab, recordings[1]), put(lab, recordings[0])
    watched.tick()
    assert watched.tick(31)[held.name] == "quarantined"
    file.write_text(sound)
    shutil.rmtree(gone)
    later = Watched(lab, clock=watched.clock)
    later.tick()
    assert later.tick(31) == {held.name: "ingested", gone.name: "gone"}


def test_a_share_that_answers_with_an_error_is_away(lab, recordings, monkeypatch):
    watched = Watched(lab)
    place = put(lab, recordings[0])
    watched.tick()

    def stale(path):
        raise OSError(errno.ESTALE, "Stale file handle")

    with monkeypatch.context() as changed:
        changed.setattr(Path, "is_dir", stale)
        watched.watcher.look()
        assert watched.watcher.away
    assert watched.tick(31) == {place.name: "ingested"}
    assert not watched.watcher.away


def test_one_look_says_by_its_exit_status_whether_all_went_well(lab, recordings):
    put(lab, recordings[0])
    environment = {"ADAMACS_INGEST_INCUBATION": "0.1"}
    assert command(lab, "watch", "--once", **environment).returncode == 0
    wrong = put(lab, recordings[1])
    (wrong / "odd.tif").write_bytes(b"no TIFF")
    assert command(lab, "watch", "--once", **environment).returncode == 1


def test_the_command_tells_and_writes_down_what_it_sees_and_dry_nothing_else(lab, recordings, tmp_path):
    place, file = put(lab, recordings[0]), tmp_path / "watch.log"
    words = ("watch", "--once", "--log-file", str(file))
    seen = command(lab, *words, "--dry-run", ADAMACS_INGEST_INCUBATION="0.1").stdout.splitlines()
    assert [line.split()[0] for line in seen] == ["arrived", "planned"]
    assert (arrivals.load(), ledger.runs(), scans()) == ([], [], [])
    seen += command(lab, *words, ADAMACS_INGEST_INCUBATION="0.1").stdout.splitlines()
    assert seen[2:] == [f"{what:12}demo/{place.name}" for what in ("arrived", "ingested")]
    written = [line.partition(" ") for line in file.read_text().splitlines()]
    assert [line for _, _, line in written] == seen
    assert all(re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ", time) for time, _, _ in written)


def test_the_command_lists_what_is_held_back_leaves_it_out_and_releases_it(lab, recordings):
    place = put(lab, recordings[0], whole=False)
    assert command(lab, "watch", "--once", ADAMACS_INGEST_INCUBATION="0.1").returncode == 1
    (line,) = command(lab, "quarantine", "list").stdout.splitlines()
    assert line.startswith(f"late        demo/{place.name}: error: ")
    assert ".tif" in line
    left_out = command(lab, "quarantine", "ignore", f"demo/{place.name}", "--reason", "test of the laser")
    assert left_out.stdout == f"ignored: demo/{place.name}\n"
    assert command(lab, "quarantine", "list").stdout == "Nothing is held back.\n"
    (told,) = json.loads(command(lab, "quarantine", "list", "--all", "--json").stdout)
    assert told["state"] == "ignored"
    assert re.fullmatch(r"test of the laser \(by .+\)", told["reason"])
    shutil.rmtree(place)
    put(lab, recordings[0])
    assert command(lab, "watch", "--once", ADAMACS_INGEST_INCUBATION="0.1").stdout == ""
    assert command(lab, "quarantine", "release", told["scan_id"]).stdout == f"incubating: demo/{place.name}\n"
    assert command(lab, "watch", "--once", ADAMACS_INGEST_INCUBATION="0.1").stdout.split()[0] == "ingested"
    assert command(lab, "quarantine", "release", "scan00000000").returncode == 1


@pytest.mark.parametrize("events", ["alone", "missing", "failing"])
def test_events_of_the_file_system_only_make_a_look_come_sooner(lab, recordings, monkeypatch, events):
    def fail(*_, **__):
        raise OSError(errno.ENOSPC, "no room for another watch")
        yield

    if events == "alone":
        pytest.importorskip("watchfiles")
    else:
        monkeypatch.setitem(sys.modules, "watchfiles", None if events == "missing" else SimpleNamespace(watch=fail))
    ingest = replace(lab.settings.ingest, incubation=0.2, poll=1000.0 if events == "alone" else 0.2)
    settings, stop, said = replace(lab.settings, ingest=ingest), threading.Event(), []

    def report(event):
        said.append(event.what)
        if event.what == "ingested":
            stop.set()

    later = [threading.Timer(1.0, put, (lab, recordings[0])), threading.Timer(60.0, stop.set)]
    for timer in later:
        timer.start()
    try:
        assert watch.watch(Watcher(settings, report=report), settings, stop)
    finally:
        for timer in later:
            timer.cancel()
    assert said == ["arrived", "ingested"]


def test_many_units_that_appear_at_once_are_each_announced_once(lab, radio):
    folder, days = radio(), [f"2026{month:02}{day:02}" for month in range(1, 13) for day in range(1, 29)]
    watched = Watched(lab)
    watched.tick()
    for day in days:
        (folder / f"{day}_sb00.dat").write_bytes(b"a")
    for _ in range(3):
        watched.tick(0.2)
    assert [(event.what, event.path) for event in watched.said] == [
        ("arrived", f"radio/incoming/{day}") for day in days
    ]


def test_deciding_about_what_never_arrived_names_what_did(lab):
    with pytest.raises(InvalidRequest, match="arrived"):
        arrivals.decide("demo/nothing", "ignored", "", lab.settings)


def test_a_folder_that_no_watcher_saw_is_left_out_until_it_is_released(lab, recordings):
    place = put(lab, recordings[0])
    told = command(lab, "quarantine", "ignore", str(place), "--reason", "test of the laser")
    assert (told.returncode, told.stdout) == (0, f"ignored: demo/{place.name}\n")
    (one,) = arrivals.load()
    assert (one.state, one.scan_id in place.name, bool(one.scan_id)) == ("ignored", True, True)
    assert re.fullmatch(r"test of the laser \(by .+\)", one.reason)
    watched = Watched(lab)
    watched.tick()
    assert watched.tick(31) == {place.name: "ignored"}
    assert (watched.said, scans()) == ([], [])
    assert command(lab, "quarantine", "release", str(place)).returncode == 0
    watched.tick(1)
    assert watched.tick(31) == {place.name: "ingested"}


def test_a_person_s_folder_is_left_out_with_what_lies_in_it_and_is_not_ingested(lab, recordings):
    first = put(lab, recordings[0])
    apply_plan(plan_ingest([first], lab.settings), lab.settings)
    second, third = (put(lab, folder) for folder in recordings[1:3])
    wrong = third.rename(third.with_name(third.name.replace("2026-02-1", "2026-02-3")))
    others = lab.settings.root("share") / "other" / recordings[0].name.replace("scan9", "scan8")
    shutil.copytree(recordings[0], others)
    left = arrivals.decide("demo/", "ignored", "a course", lab.settings)
    assert {one.path for one in left} == {f"demo/{second.name}", f"demo/{wrong.name}"}
    watched = Watched(lab)
    watched.tick()
    found = watched.tick(31)
    assert (found[first.name], found[second.name], found[wrong.name]) == ("ingested", "ignored", "ignored")
    assert found[others.name] == "ingested", "it lies elsewhere"
    shutil.rmtree(second)
    shutil.rmtree(wrong)
    with pytest.raises(InvalidRequest, match="All recordings in it are ingested"):
        arrivals.decide("demo", "ignored", "", lab.settings)


def test_only_a_folder_on_a_share_is_left_out(lab, recordings, tmp_path):
    place = put(lab, recordings[0])
    elsewhere = shutil.copytree(recordings[0], tmp_path / recordings[0].name)
    share = lab.settings.root("share")
    (share / "link").symlink_to(place.parent)
    climbing = f"demo/../../{lab.settings.root('processed').name}"
    for path in (str(elsewhere), str(share), f"link/{place.name}", climbing, "nowhere:demo", "demo/nothing"):
        with pytest.raises(InvalidRequest, match="Nothing of this name has arrived"):
            arrivals.decide(path, "ignored", "", lab.settings)
    with pytest.raises(InvalidRequest, match="Nothing of this name has arrived"):
        arrivals.decide(f"demo/{place.name}", "incubating", "", lab.settings)  # what is left out can be released
    assert arrivals.load() == []
    (plain,) = arrivals.decide(f"share:demo/{place.name}", "ignored", "", lab.settings)
    assert plain.path == f"demo/{place.name}"


def rewritten(place, old, new):
    """Exchange bytes in every file of a recording in place: no time of the folder moves."""
    before = place.stat().st_mtime_ns
    for file in place.glob("*.tif"):
        content = file.read_bytes()
        assert old in content
        file.write_bytes(content.replace(old, new))
    assert place.stat().st_mtime_ns == before


def test_what_is_quarantined_and_mended_in_place_is_looked_at_anew_once_for_each_change(lab, recordings):
    watched = Watched(lab)
    place = put(lab, recordings[0])
    rewritten(place, b"mini2p1_openfield", b"mini2p1_openfielt")
    watched.tick()
    assert watched.tick(31) == {place.name: "quarantined"}
    for _ in range(4):
        assert watched.tick(100) == {place.name: "quarantined"}
    assert len(ledger.runs()) == 1, "of what does not change, nobody is told again"
    rewritten(place, b"mini2p1_openfielt", b"mini2p1_openfiels")
    assert watched.tick(31) == {place.name: "incubating"}
    assert watched.tick(31) == {place.name: "quarantined"}
    for _ in range(4):
        assert watched.tick(100) == {place.name: "quarantined"}
    assert len(ledger.runs()) == 2, "the change is on record, once"
    assert "mini2p1_openfiels" in arrivals.load()[0].reason
    rewritten(place, b"mini2p1_openfiels", b"mini2p1_openfield")
    watched.tick(31)
    assert watched.tick(31) == {place.name: "ingested"}
    assert [event.what for event in watched.said] == ["arrived", "quarantined", "quarantined", "ingested"]


def test_twins_that_change_in_place_stay_quarantined(lab, recordings):
    watched = Watched(lab)
    place = put(lab, recordings[0])
    shutil.copytree(place, place.parents[1] / "other" / place.name)
    watched.tick()
    watched.tick(31)
    rewritten(place, b"mini2p1_openfield", b"mini2p1_openfielt")
    rewritten(place, b"mini2p1_openfielt", b"mini2p1_openfield")
    watched.tick(31)
    watched.tick(31)
    assert {one.state for one in arrivals.load()} == {"quarantined"}
    assert scans() == []


def test_a_dry_run_writes_nothing(lab, recordings):
    watched = Watched(lab, dry_run=True)
    put(lab, recordings[0])
    watched.tick()
    watched.tick(31)
    assert arrivals.load() == []
    assert ledger.runs() == []
    assert scans() == []
    assert [event.what for event in watched.said] == ["arrived", "planned"]


def test_a_share_that_is_away_takes_nothing_for_gone(lab, recordings):
    watched = Watched(lab)
    place = put(lab, recordings[0])
    watched.tick()
    watched.tick(31)
    share = lab.settings.root("share")
    share.rename(share.with_name("away"))
    try:
        assert watched.tick(10) == {place.name: "ingested"}
    finally:
        share.with_name("away").rename(share)


# ---- the ledger


def test_every_step_of_a_run_stands_in_the_ledger_and_in_its_file(lab, recordings):
    for folder in recordings:
        put(lab, folder)
    planned = plan_ingest([lab.settings.root("share")], lab.settings)
    cut = lab.settings.root("share") / planned.scans[1].files[0].path
    os.utime(cut, (1, 1))
    with ledger.run("apply", {"paths": ["share"]}, lab.settings) as run:
        apply_plan(planned, lab.settings, run)
    past = ledger.past(run.run_id)
    assert [(step.name, step.outcome, step.what) for step in past.steps] == [
        ("apply", "ok", "new"),
        ("apply", "failed", "failed"),
        ("apply", "ok", "new"),
    ]
    assert past.outcome == "partial"
    assert past.summary.startswith("PARTIAL: 1 failed, 2 new")
    text = run.log_file.read_text()
    assert text.splitlines()[-1] == past.summary
    assert all(step.describe() in text for step in past.steps)


def test_a_run_that_ends_in_an_error_says_so(lab):
    with pytest.raises(ZeroDivisionError), ledger.run("apply", {}, lab.settings) as run:
        raise ZeroDivisionError("no")
    past = ledger.past(run.run_id)
    assert past.outcome == "partial"
    assert past.summary.startswith("PARTIAL: 1 failed")


def test_undoing_a_run_takes_what_it_brought_and_nothing_else(lab, recordings):
    share = lab.settings.root("share")
    first, *others = [put(lab, folder) for folder in recordings]
    apply_plan(plan_ingest([first], lab.settings), lab.settings)
    kept = scans()
    with ledger.run("apply", {}, lab.settings) as run:
        apply_plan(plan_ingest([share], lab.settings), lab.settings, run)
    assert len(scans()) == 3
    answer = command(lab, "remove", "--run", run.run_id, "--yes")
    assert answer.returncode == 0, answer.stderr
    assert scans() == kept
    assert all(place.is_dir() for place in others)
    assert command(lab, "remove", "--run", run.run_id, "--yes").returncode == 0  # nothing is left to remove


def test_the_last_line_and_the_exit_status_agree(lab, recordings):
    put(lab, recordings[0])
    put(lab, recordings[1], whole=False)
    answer = command(lab, "ingest", "apply", "--all", "--yes")
    assert answer.returncode == 1
    assert answer.stdout.splitlines()[-1].startswith("PARTIAL: 1 refused, 1 new")
    assert command(lab, "ingest", "log").stdout.count("PARTIAL") == 1
    answer = command(lab, "ingest", "apply", str(lab.settings.root("share") / "demo" / recordings[0].name), "--yes")
    assert answer.returncode == 0
    assert answer.stdout.splitlines()[-1].startswith("whole: 1 unchanged")


def test_an_answer_goes_before_the_profile_and_corrects_what_is_held(lab, recordings):
    from adamacs.ingest.answers import read_answers

    place = put(lab, recordings[0])
    pipeline.subject.Project.insert([{"project": name, "project_description": ""} for name in ("vision", "sleep")])
    file = lab.home / "answers.toml"

    def apply(text):
        file.write_text(text)
        planned = plan_ingest([place], lab.settings, answers=read_answers(file))
        return planned.scans[0], apply_plan(planned, lab.settings)[0]

    apply('[defaults]\nproject = "vision"\nlocation = "V1"\nscan_note = "first"\n')
    assert pipeline.scan.ScanLocation.to_arrays("anatomical_location").tolist() == ["V1"]
    scan, outcome = apply('[defaults]\nlocation = "CA1"\nscan_note = "second"\n')
    assert (scan.state, outcome.state) == ("update", "written")
    assert sorted((change.column, change.held, change.planned) for change in scan.changes) == [
        ("anatomical_location", "V1", "CA1"),
        ("scan_notes", "first", "second"),
    ]
    assert pipeline.scan.ScanLocation.to_arrays("anatomical_location").tolist() == ["CA1"]
    assert pipeline.scan.Scan.to_arrays("scan_notes").tolist() == ["second"]
    assert plan_ingest([place], lab.settings).scans[0].state == "unchanged"
    scan, outcome = apply('[defaults]\nproject = "visoin"\n')
    assert outcome.state == "refused"
    assert "vision" in outcome.reason


# ---- faults

RUNS = 500 if LONG else 16  # of slow writers


@pytest.mark.parametrize("block", range(4))
def test_a_slow_writer_is_never_ingested_early(lab, recordings, block):
    """Pieces, pauses up to twice the incubation, names that change at the end, late ends; all from a seed."""
    source = recordings[2]  # one file: between two whole files a pause cannot be told from the end
    share = lab.settings.root("share") / "demo"
    share.mkdir(exist_ok=True)
    watched = Watched(lab)
    early, ingested = [], 0
    for seed in range(block * RUNS // 4, (block + 1) * RUNS // 4):
        manner = arrival.any_manner(seed, pause=60.0)
        if manner.reserve:  # a file that has its size already can be told by its times alone
            manner = replace(manner, pause=min(manner.pause, 25), long_pause=0, late_pause=0)
        manner = replace(manner, bytes_per_step=max(manner.bytes_per_step, 5000))
        place = share / source.name.replace("9FYO4NWM", f"{seed:08}")
        is_whole = False
        for pause in (*arrival.steps(source, place, manner), None):
            is_whole = pause is None
            for _ in range(3):
                if not is_whole and watched.tick((pause or 0.0) / 3).get(place.name) == "ingested":
                    whole = all((place / file.name).read_bytes() == file.read_bytes() for file in source.iterdir())
                    early += [] if whole else [seed]
        watched.tick(1)
        ingested += watched.tick(62).get(place.name) == "ingested"
    assert early == []
    assert ingested == RUNS // 4


def whole_or_absent(source):
    """Assert that each scan of the database has all of its rows."""
    tables = (pipeline.scan.ScanFile, pipeline.scan.ScanPath, pipeline.scan.ScanSetup, pipeline.imaging.ProcessingTask)
    counted = [Counter(table.to_arrays("scan_id").tolist()) for table in tables]
    files = len(list(source.iterdir()))
    assert counted == [Counter(dict.fromkeys(scans(), count)) for count in (files, 1, 1, 1)]


@pytest.mark.parametrize("words", [("watch",), ("ingest", "apply", "--all", "--yes")], ids=lambda words: words[0])
def test_a_kill_at_any_moment_leaves_whole_scans_alone_and_the_next_run_goes_on(lab, recordings, words):
    kills = 100 if LONG else 3
    share = lab.settings.root("share") / "demo"
    expected, cut_off = [], 0
    for kill in range(kills):
        for number in range(20):
            token = f"{kill:04}{number:04}"
            place = share / f"XX_ANM-0001_2026-02-10_scan{token}_sess{token}"
            shutil.copytree(recordings[0], place)
            expected.append(f"scan{token}")
        environment = {**os.environ, "ADAMACS_HOME": str(lab.home), "ADAMACS_INGEST_INCUBATION": "0.2"}
        process = subprocess.Popen(
            [sys.executable, "-m", "adamacs", *words],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        for line in process.stdout:  # kill it while it writes
            if line.startswith(("ingested", "written")):
                time.sleep(0.2 * kill / kills)
                break
        process.kill()
        process.communicate()
        whole_or_absent(recordings[0])
        cut_off += len(scans()) < len(expected)
    assert cut_off
    assert command(lab, "ingest", "apply", "--all", "--yes").returncode == 0
    assert scans() == expected
    whole_or_absent(recordings[0])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_sixteen_processes_that_apply_one_session_give_one(lab, recordings):
    rounds = 200 if LONG else 3
    words = [sys.executable, "-m", "tests.rivals", str(lab.home), str(recordings[0]), str(rounds)]
    answer = subprocess.run(words, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr[-4000:]
    said = [sorted(json.loads(line)) for line in answer.stdout.splitlines()]
    assert said == [["unchanged"] * 15 + ["written"]] * rounds
    assert scans() == [f"scan{number:08}" for number in range(rounds)]
    whole_or_absent(recordings[0])
