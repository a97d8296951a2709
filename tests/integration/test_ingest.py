"""From a folder on the share to reviewed rows, and back: plans, their application, and removal."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import shutil
import subprocess
import sys
from dataclasses import replace
from datetime import date, datetime

import datajoint as dj
import numpy as np
import pytest

from adamacs import pipeline
from adamacs.core import places, progress
from adamacs.core.errors import InvalidKey, PlanRefused, UnreadableFile, UnsafePath
from adamacs.database import portable
from adamacs.demo import lab as synthetic
from adamacs.ingest import apply as apply_module
from adamacs.ingest import ledger
from adamacs.ingest import plan as plan_module
from adamacs.ingest.apply import apply_plan
from adamacs.ingest.plan import plan_ingest
from adamacs.ingest.remove import apply_removal, plan_removal
from adamacs.ingest.saved import replan, to_json
from adamacs.workers import loop, roles
from tests.labs import drain


@pytest.fixture(scope="module")
def recordings(tmp_path_factory):
    """The tiny synthetic lab, written once."""
    home = tmp_path_factory.mktemp("recordings")
    synthetic.write(home / "share", size="tiny")
    return home / "share"


@pytest.fixture
def share(mouse_lab, recordings):
    """The share of the lab, with the tiny recordings on it."""
    share = mouse_lab.settings.root("share")
    shutil.copytree(recordings, share, dirs_exist_ok=True)
    return share


def plan(lab, *paths, paramset_idx=None):
    return plan_ingest(paths or [lab.settings.root("share")], lab.settings, paramset_idx=paramset_idx)


def count():
    tables = (pipeline.subject.Subject, pipeline.session.Session, pipeline.scan.Scan, pipeline.scan.ScanFile)
    return [len(table()) for table in tables]


def test_planning_writes_nothing_and_applying_writes_everything_once(mouse_lab, share):
    planned = plan(mouse_lab)
    assert count() == [0, 0, 0, 0]
    assert [scan.state for scan in planned.scans] == ["new"] * 3
    assert [outcome.state for outcome in apply_plan(planned, mouse_lab.settings)] == ["written"] * 3
    assert count() == [2, 2, 3, sum(len(scan.files) for scan in planned.scans)]
    again = plan(mouse_lab)
    assert [scan.state for scan in again.scans] == ["unchanged"] * 3
    assert not again.changes
    assert [outcome.state for outcome in apply_plan(planned, mouse_lab.settings)] == ["unchanged"] * 3
    assert count()[2] == 3


def test_rows_say_what_the_folder_says(mouse_lab, share):
    apply_plan(plan(mouse_lab), mouse_lab.settings)
    row = (pipeline.session.Session * pipeline.session.SessionDirectory * pipeline.subject.User).to_dicts(
        order_by="session_id"
    )[0]
    assert (row["subject"], row["session_date"]) == ("ANM-0001", date(2026, 2, 10))
    assert (row["shorthand"], row["initials"]) == ("demo", "XX")
    assert (share / row["session_dir"]).is_dir()
    for file in pipeline.scan.ScanFile.to_dicts():
        assert (share / file["file_path"]).stat().st_size == file["file_size"]


def test_a_saved_plan_is_the_same_plan(mouse_lab, share):
    planned = plan(mouse_lab)
    read = replan(to_json(planned), mouse_lab.settings)
    assert read == planned
    apply_plan(read, mouse_lab.settings)
    assert count()[2] == 3


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", "null", "7", '{"format": 99}', '{"format": 1, "scans": [{}]}', '{"format": 1, "scans": 3}']
)
def test_what_is_no_plan_is_refused(mouse_lab, text):
    with pytest.raises(PlanRefused):
        replan(text, mouse_lab.settings)


def forged(planned, change):
    """Return a saved plan in which a hand changed something."""
    content = json.loads(to_json(planned))
    change(content)
    return json.dumps(content)


@pytest.mark.parametrize(
    "change",
    [
        lambda plan: plan["scans"][0]["rows"].append({"table": "imaging.MaskType", "values": {"mask_type": "x"}}),
        lambda plan: plan["scans"][0]["rows"][0]["values"].update(shorthand=[" OR true); DROP TABLE x; -- "]),
        lambda plan: plan["scans"][0]["rows"][-1]["values"].update(file_path="../../../etc/hostname"),
        lambda plan: plan["scans"][0]["rows"].__setitem__(0, {"table": "connect.Table", "values": {}}),
        lambda plan: plan["scans"][0]["rows"].pop(),
        lambda plan: plan["scans"][0]["files"][0].update(size=1),
        lambda plan: plan["scans"][0].update(scan_id="scan00000000"),
        lambda plan: plan["scans"].__setitem__(0, {**plan["scans"][0], "rows": None}),
    ],
)
def test_a_plan_changed_by_hand_writes_nothing_of_its_scan(mouse_lab, share, change):
    read = replan(forged(plan(mouse_lab), change), mouse_lab.settings)
    assert [scan.state for scan in read.scans] == ["refused", "new", "new"]
    outcomes = apply_plan(read, mouse_lab.settings)
    assert [outcome.state for outcome in outcomes] == ["refused", "written", "written"]
    assert count()[2] == 2
    assert len(pipeline.imaging.MaskType & {"mask_type": "x"}) == 0


@pytest.mark.parametrize("path", ["/etc", "../../outside", "demo", "demo/nothing"])
def test_a_plan_that_names_other_folders_reads_nothing_there(mouse_lab, share, path):
    read = replan(forged(plan(mouse_lab), lambda content: content["scans"][0].update(path=path)), mouse_lab.settings)
    assert read.refused
    apply_plan(read, mouse_lab.settings)
    assert count()[2] == 2


def test_a_plan_that_was_overtaken_asks_again(mouse_lab, share):
    """Saved as unchanged, but the scan was removed since: that is a change, and a change is asked for."""
    apply_plan(plan(mouse_lab), mouse_lab.settings)
    saved = to_json(plan(mouse_lab))
    removal = plan_removal(pipeline.scan.Scan.to_arrays("scan_id")[0])
    apply_removal(removal, mouse_lab.settings)
    assert replan(saved, mouse_lab.settings).changes
    (mouse_lab.home / "plan.json").write_text(saved)
    answer = command(mouse_lab, "ingest", "apply", str(mouse_lab.home / "plan.json"))
    assert answer.returncode == 1
    assert count()[2] == 2


def test_two_new_people_planned_apart_are_never_mixed_up(mouse_lab, recordings):
    share = mouse_lab.settings.root("share")
    folders = sorted((recordings / "demo").iterdir())
    for person, folder in zip(("bob", "carol"), folders, strict=False):
        shutil.copytree(folder, share / person / folder.name)
    first, second = (plan(mouse_lab, share / person) for person in ("bob", "carol"))
    assert apply_plan(first, mouse_lab.settings)[0].state == "written"
    assert apply_plan(second, mouse_lab.settings)[0].state == "failed"  # both were to be the first user
    assert apply_plan(plan(mouse_lab, share / "carol"), mouse_lab.settings)[0].state == "written"
    owners = (pipeline.scan.ScanPath * pipeline.subject.User).to_dicts()
    assert all(row["path"].startswith(row["shorthand"] + "/") for row in owners)
    assert len(owners) == 2


def test_a_folder_that_is_still_empty_is_refused(mouse_lab, share):
    folder = sorted((share / "demo").iterdir())[0]
    for file in folder.iterdir():
        file.unlink()
    planned = plan(mouse_lab)
    assert "empty" in planned.describe()
    assert planned.refused
    assert len(planned.scans) == 2


def test_files_that_come_or_go_after_ingest_are_reported_each_by_its_name(mouse_lab, share):
    """Whatever their place in the order: the files behind one that came or went are the same as before."""
    folder = sorted((share / "demo").iterdir())[0]
    for name in ("0_first.txt", "zz_last.txt"):
        (folder / name).write_text("a note")
    apply_plan(plan(mouse_lab), mouse_lab.settings)
    first, *_, last = sorted(folder.iterdir())

    def told():
        refused = next(scan for scan in plan(mouse_lab).scans if scan.state == "refused")
        return [problem.what for problem in refused.problems if problem.severity == "error"]

    for name in ("00_early.txt", "zzz_late.txt"):
        (folder / name).write_text("late")
        (what,) = told()
        assert what.startswith("1 files came since") and what.endswith(f"{name}.")
        (folder / name).unlink()
    for file in (first, last):
        away = file.rename(share / "aside")
        (what,) = told()
        assert what.startswith("1 files went since") and what.endswith(f"{file.name}.")
        away.rename(file)
    first.rename(folder / "renamed.txt")
    came, went = told()
    assert came.endswith("renamed.txt.") and went.endswith(f"{first.name}.")
    assert sorted(scan.state for scan in plan(mouse_lab).scans) == ["refused", "unchanged", "unchanged"]


def test_a_scan_that_the_database_refuses_does_not_stop_the_batch(mouse_lab, share):
    long = share / ("x" * 40)
    (share / "demo").rename(share / "people")
    folders = sorted((share / "people").iterdir())
    long.mkdir()
    folders[0].rename(long / folders[0].name)
    planned = plan(mouse_lab)
    assert sorted(scan.state for scan in planned.scans) == ["new", "new", "refused"]
    assert sorted(o.state for o in apply_plan(planned, mouse_lab.settings)) == ["refused", "written", "written"]


def test_removal_never_leaves_the_processed_root(mouse_lab, share, tmp_path):
    apply_plan(plan(mouse_lab), mouse_lab.settings)
    drain()
    victim = mouse_lab.home / "precious"
    victim.mkdir()
    (victim / "manifest.json").write_text("{}")
    key = pipeline.scan.Scan.keys()[0]
    index = pipeline.imaging.ProcessingParamSet.insert_new({})
    task = {"paramset_idx": index, "processing_output_dir": "../precious", "task_mode": "trigger"}
    pipeline.imaging.ProcessingTask.insert1({**key, **task})
    run = {"processing_time": datetime(2026, 1, 1), "package_version": "", "manifest_digest": ""}
    row = {**key, "paramset_idx": index, **run}
    pipeline.imaging.Processing.insert1(row, allow_direct_insert=True)
    with pytest.raises(UnsafePath):
        plan_removal(key["scan_id"])
    assert (victim / "manifest.json").exists()


def test_a_link_that_takes_the_place_of_a_result_is_not_followed_and_nothing_goes(mouse_lab, share, tmp_path):
    apply_plan(plan(mouse_lab), mouse_lab.settings)
    key = pipeline.scan.Scan.keys()[0]
    index = pipeline.imaging.ProcessingParamSet.insert_new({})
    task = {"paramset_idx": index, "processing_output_dir": "own/result", "task_mode": "trigger"}
    pipeline.imaging.ProcessingTask.insert1({**key, **task})
    run = {"processing_time": datetime(2026, 1, 1), "package_version": "", "manifest_digest": ""}
    pipeline.imaging.Processing.insert1({**key, "paramset_idx": index, **run}, allow_direct_insert=True)
    result = mouse_lab.settings.root("processed") / "own" / "result"
    result.mkdir(parents=True)
    (result / "manifest.json").write_text("{}")
    removal = plan_removal(key["scan_id"])
    assert removal[0].folders == ("own/result",)
    victim = shutil.move(result, tmp_path / "precious")
    result.symlink_to(victim)
    with pytest.raises(UnsafePath, match="leads elsewhere"):
        apply_removal(removal, mouse_lab.settings)
    assert (tmp_path / "precious" / "manifest.json").exists()
    assert len(pipeline.scan.Scan & key) == 1
    result.unlink()
    shutil.move(victim, result)
    apply_removal(removal, mouse_lab.settings)
    assert not result.parent.exists()
    assert len(pipeline.scan.Scan & key) == 0


def test_a_folder_that_no_run_made_stays_when_its_scan_goes(mouse_lab, share):
    index = pipeline.imaging.ProcessingParamSet.insert_new({})
    apply_plan(plan(mouse_lab, paramset_idx=index), mouse_lab.settings)
    task = pipeline.imaging.ProcessingTask.to_dicts()[0]
    theirs = mouse_lab.settings.root("processed") / task["processing_output_dir"]
    theirs.mkdir(parents=True)
    (theirs / "notes.txt").write_text("by hand")
    apply_removal(plan_removal(task["scan_id"]), mouse_lab.settings)
    assert (theirs / "notes.txt").exists()


def test_a_damaged_scan_is_refused_and_the_others_go_on(mouse_lab, share):
    victim = sorted(share.rglob("*.tif"))[0]
    os.truncate(victim, victim.stat().st_size // 2)
    planned = plan(mouse_lab)
    assert [scan.state for scan in planned.scans] == ["refused", "new", "new"]
    assert victim.name in planned.describe()
    assert planned.refused
    outcomes = apply_plan(planned, mouse_lab.settings)
    assert [outcome.state for outcome in outcomes] == ["refused", "written", "written"]
    assert outcomes[0].reason
    assert count()[2] == 2


@pytest.mark.parametrize("place", ["validate", "incomplete"])
@pytest.mark.parametrize("error", [ZeroDivisionError("a bug of ours"), FileNotFoundError(2, "it went")], ids=str)
def test_a_recording_over_which_a_reader_stumbles_is_refused_and_the_others_go_on(
    mouse_lab, share, monkeypatch, place, error
):
    original = getattr(plan_module, place)

    def stumbling(recording, *arguments, **options):
        if recording.folder.subject == "ANM-0002":
            raise error
        return original(recording, *arguments, **options)

    monkeypatch.setattr(plan_module, place, stumbling)
    planned = plan(mouse_lab)
    assert [scan.state for scan in planned.scans] == ["new", "new", "refused"]
    assert str(error) in planned.describe()
    assert [outcome.state for outcome in apply_plan(planned, mouse_lab.settings)] == ["written", "written", "refused"]


def test_a_file_that_changes_between_plan_and_apply_is_not_ingested(mouse_lab, share):
    planned = plan(mouse_lab)
    with sorted(share.rglob("*.tif"))[0].open("ab") as file:
        file.write(b"late")
    outcomes = apply_plan(planned, mouse_lab.settings)
    assert [outcome.state for outcome in outcomes] == ["failed", "written", "written"]
    assert "changed since the plan" in outcomes[0].reason


def test_a_failure_in_the_middle_of_a_scan_leaves_none_of_its_rows(mouse_lab, share, monkeypatch):
    planned = plan(mouse_lab)
    original = apply_module.table_of

    def failing(name):
        if name == "scan.ScanFile":
            raise PlanRefused("The lights went out.")
        return original(name)

    monkeypatch.setattr(apply_module, "table_of", failing)
    assert {outcome.state for outcome in apply_plan(planned, mouse_lab.settings)} == {"failed"}
    assert count() == [0, 0, 0, 0]


def test_a_folder_renamed_after_ingest_is_reported_and_never_rekeyed(mouse_lab, share):
    apply_plan(plan(mouse_lab), mouse_lab.settings)
    folder = sorted((share / "demo").iterdir())[0]
    folder.rename(folder.with_name(folder.name.replace("ANM-0001", "ANM-0009")))
    states = {scan.scan_id: scan for scan in plan(mouse_lab).scans}
    (refused,) = [scan for scan in states.values() if scan.state == "refused"]
    assert "renamed" in " ".join(str(problem) for problem in refused.problems)
    assert len(pipeline.subject.Subject & {"subject": "ANM-0009"}) == 0


def test_a_file_whose_time_changed_after_ingest_is_reported_with_the_command_that_cures_it(mouse_lab, share, tmp_path):
    odd = sorted(share.rglob("*.tif"))[0].with_name("it's 5 $HOME; notes.txt")
    odd.write_text("kept")
    apply_plan(plan(mouse_lab), mouse_lab.settings)
    os.utime(odd, (0, 0))
    planned = plan(mouse_lab)
    assert sorted(scan.state for scan in planned.scans) == ["refused", "unchanged", "unchanged"]
    (line,) = [line for line in planned.describe().splitlines() if "touch" in line]
    subprocess.run(["sh", "-c", line[line.index("touch") :]], cwd=tmp_path, check=True)
    assert list(tmp_path.iterdir()) == []
    assert {scan.state for scan in plan(mouse_lab).scans} == {"unchanged"}


def test_a_scan_that_was_staged_before_is_no_question(mouse_lab, share):
    index = pipeline.imaging.ProcessingParamSet.insert_new({})
    first, *others = sorted((share / "demo").iterdir())
    apply_plan(plan(mouse_lab, first, paramset_idx=index), mouse_lab.settings)
    again = plan(mouse_lab)
    asked = {
        scan.path: [problem for problem in scan.problems if problem.severity == "question"] for scan in again.scans
    }
    assert asked.pop(f"demo/{first.name}") == []
    assert [len(questions) for questions in asked.values()] == [1] * len(others)
    assert {scan.path: scan.state for scan in again.scans}[f"demo/{first.name}"] == "unchanged"


def test_a_lab_that_admits_legacy_tokens_ingests_them(mouse_lab, share):
    folder = sorted((share / "demo").iterdir())[0]
    renamed = folder.rename(folder.with_name("XX_ANM-0001_2026-02-10_scanXYZ_sessABC"))
    assert "payload" in plan(mouse_lab, renamed).describe()
    ingest = replace(mouse_lab.settings.ingest, legacy_tokens=True)
    settings = replace(mouse_lab.settings, ingest=ingest)
    assert [outcome.state for outcome in apply_plan(plan_ingest([renamed], settings), settings)] == ["written"]
    assert pipeline.scan.Scan.to_dicts()[0]["scan_id"] == "scanXYZ"


def test_initials_that_are_not_the_persons_are_a_warning(mouse_lab, share):
    row = {"user_id": 7, "name": "Somebody Else", "shorthand": "demo", "initials": "YY"}
    pipeline.subject.User.insert1(row)
    planned = plan(mouse_lab)
    assert {scan.state for scan in planned.scans} == {"new"}
    assert "initials are XX" in planned.describe()
    apply_plan(planned, mouse_lab.settings)
    assert set(pipeline.session.SessionUser.to_arrays("user_id").tolist()) == {7}


def test_an_unknown_parameter_set_writes_nothing_of_the_scan(mouse_lab, share):
    planned = plan(mouse_lab, paramset_idx=99)
    assert {scan.state for scan in planned.scans} == {"refused"}
    assert "99" in planned.describe()


def _apply_in_child(home, text, barrier, states):
    os.environ["ADAMACS_HOME"] = str(home)
    from adamacs.core import settings

    pipeline.connect()
    barrier.wait()
    states.put([outcome.state for outcome in apply_plan(replan(text, settings.active()), settings.active())])


def test_many_processes_applying_one_plan_give_one_scan_each(mouse_lab, share):
    text, children = to_json(plan(mouse_lab)), 4
    context = multiprocessing.get_context("spawn")
    barrier, states = context.Barrier(children), context.Queue()
    processes = [
        context.Process(target=_apply_in_child, args=(mouse_lab.home, text, barrier, states)) for _ in range(children)
    ]
    for process in processes:
        process.start()
    seen = [states.get(timeout=120) for _ in processes]
    for process in processes:
        process.join(60)
    assert all(state in ("written", "unchanged") for states in seen for state in states)
    assert count()[:3] == [2, 2, 3]
    assert {scan.state for scan in plan(mouse_lab).scans} == {"unchanged"}


def test_checksums_are_streamed_after_ingest_and_agree_with_the_bytes(mouse_lab, share):
    from blake3 import blake3

    apply_plan(plan(mouse_lab), mouse_lab.settings)
    assert not drain().failed
    for row in (pipeline.scan.ScanFile * pipeline.scan.ScanFileChecksum).to_dicts():
        assert row["blake3"] == blake3((share / row["file_path"]).read_bytes()).hexdigest()


def test_a_file_that_vanished_fails_its_own_key_alone(mouse_lab, share):
    apply_plan(plan(mouse_lab), mouse_lab.settings)
    gone = sorted(share.rglob("*.tif"))[0]
    gone.unlink()
    tally = drain()
    assert (
        len(set(tally.failed)) == 2
    )  # its checksum, and the header of its scan; a slow host tries them again meanwhile
    said = [row["message"] for row in pipeline.operations.Attempt.to_dicts() if row["outcome"] == "failed"]
    assert len(said) >= 2
    assert all(f" {gone.relative_to(mouse_lab.settings.root('share')).as_posix()}: " in one for one in said)
    assert not any(str(mouse_lab.home) in one for one in said), "other hosts have the share elsewhere"
    assert len(pipeline.imaging.ScanInfo()) == 2
    assert len(pipeline.scan.ScanFileChecksum()) == len(pipeline.scan.ScanFile()) - 1


def test_headers_become_rows(mouse_lab, share):
    apply_plan(plan(mouse_lab), mouse_lab.settings)
    drain()
    rows = (pipeline.imaging.ScanInfo & {"ndepths": 2}).to_dicts()
    assert [(row["nframes"], row["nfields"], row["fps"]) for row in rows] == [(12, 2, 15.0)]
    assert rows[0]["scan_datetime"] == datetime(2026, 2, 10, 9, 42)  # the clock of this lab is UTC
    assert set(pipeline.imaging.ScanInfo.to_arrays("nchannels").tolist()) == {1, 2}
    multi = (pipeline.imaging.ScanInfo & {"nframes": 24}).fetch1("KEY")
    pages = (pipeline.imaging.ScanInfo.ScanFile & multi).to_arrays("npages", order_by="file_id")
    assert pages.tolist() == [10, 10, 4]
    sizes = (pipeline.imaging.ScanInfo.Field & multi).fetch1("px_height", "px_width")
    assert sizes == (48, 56)


def test_removing_a_scan_takes_its_rows_and_nothing_else(mouse_lab, share):
    apply_plan(plan(mouse_lab), mouse_lab.settings)
    drain()
    scan_id = (pipeline.imaging.ScanInfo & {"ndepths": 2}).fetch1("scan_id")
    removal = plan_removal(scan_id)
    assert not removal[0].session  # another scan of the session stays
    assert count()[2] == 3
    apply_removal(removal, mouse_lab.settings)
    assert count()[:3] == [2, 2, 2]
    assert len(pipeline.imaging.ScanInfo & {"scan_id": scan_id}) == 0
    assert len(sorted(share.rglob("*.tif"))) == 5
    assert sorted(scan.state for scan in plan(mouse_lab).scans) == ["unchanged", "unchanged"]  # the third is left out


def test_a_scan_that_comes_again_after_its_removal_is_tried_again(mouse_lab, share, monkeypatch):
    apply_plan(plan(mouse_lab), mouse_lab.settings)

    def refuse(self, key, *fetched):
        raise UnreadableFile("It is cut.", "x.tif")

    with monkeypatch.context() as patch:
        patch.setattr(pipeline.imaging.ScanInfo, "make_compute", refuse)
        assert len(drain().failed) == 3
    scan_id = sorted(pipeline.scan.Scan.to_arrays("scan_id").tolist())[0]
    place = pipeline.scan.ScanPath & {"scan_id": scan_id}
    folder = mouse_lab.settings.locate(places.spell(*place.fetch1("root", "path")))
    apply_removal(plan_removal(scan_id), mouse_lab.settings)
    assert len(portable.job_table(pipeline.imaging.ScanInfo) & {"status": "error"}) == 2
    apply_plan(plan_ingest([folder], mouse_lab.settings), mouse_lab.settings)
    assert loop.drain(roles.named("cpu")).failed == []
    assert pipeline.imaging.ScanInfo.to_arrays("scan_id").tolist() == [scan_id]


def test_a_removal_tells_its_tables_in_the_order_of_their_declarations_children_first(mouse_lab, share, monkeypatch):
    apply_plan(plan(mouse_lab), mouse_lab.settings)
    drain()
    scan_ids = sorted(pipeline.scan.Scan.to_arrays("scan_id").tolist())
    told = [removal.rows for removal in plan_removal(*scan_ids)]
    declared = [table.full_table_name.translate({ord(mark): None for mark in '`"'}) for table in pipeline.tables()]
    for rows in told:
        names = [name for name, _ in rows]
        assert names == [name for name in reversed(declared) if name in names]
        assert len(names) > 10
    original = dj.Table.descendants

    def shuffled(self, as_objects=False):
        found = original(self, as_objects)
        return random.Random(3).sample(found, len(found))

    monkeypatch.setattr(dj.Table, "descendants", shuffled)
    assert [removal.rows for removal in plan_removal(*scan_ids)] == told


def test_removing_the_last_scan_of_a_session_takes_the_session(mouse_lab, share):
    apply_plan(plan(mouse_lab), mouse_lab.settings)
    scan_id = (pipeline.session.Session * pipeline.scan.Scan & {"subject": "ANM-0002"}).fetch1("scan_id")
    removal = plan_removal(scan_id)
    assert removal[0].session
    apply_removal(removal, mouse_lab.settings)
    assert count()[:3] == [2, 1, 2]


def test_removing_what_is_not_there_is_refused(mouse_lab):
    with pytest.raises(InvalidKey, match="scan_id=scan00000000"):
        plan_removal("scan00000000")


def command(lab, *arguments, text=True, cwd=None, **variables):
    environment = {**os.environ, "ADAMACS_HOME": str(lab.home), **variables}
    words = [sys.executable, "-m", "adamacs", *arguments]
    return subprocess.run(words, cwd=cwd, env=environment, capture_output=True, text=text, check=False)


def test_the_command_line_goes_from_folders_to_headers_and_back(mouse_lab, share, tmp_path):
    saved = tmp_path / "plan.json"
    shown = command(mouse_lab, "ingest", "plan", str(share), "-o", str(saved))
    assert (shown.returncode, shown.stderr) == (0, "")
    assert "3 new" in shown.stdout
    unasked = command(mouse_lab, "ingest", "apply", str(saved))
    assert unasked.returncode == 1
    assert "--yes" in unasked.stderr
    assert count()[2] == 0
    applied = command(mouse_lab, "ingest", "apply", str(saved), "--yes", "--json")
    assert [outcome["state"] for outcome in json.loads(applied.stdout.splitlines()[-1])] == ["written"] * 3
    worked = command(mouse_lab, "work", "--drain", "--json")
    assert worked.returncode == 0, worked.stderr
    assert json.loads(worked.stdout)["done"]["imaging.ScanInfo"] == 3
    scan_id = pipeline.scan.Scan.to_arrays("scan_id")[0]
    removed = command(mouse_lab, "remove", scan_id, "--yes")
    assert removed.returncode == 0, removed.stderr
    assert np.array_equal(len(pipeline.scan.Scan & {"scan_id": scan_id}), 0)


def test_a_refused_batch_has_a_non_zero_exit_status(mouse_lab, share):
    (share / "demo" / "XX_ANM-0001_2026-02-10_scan9FY6AIRM_sess9FY6AIRM - copy").mkdir()
    answer = command(mouse_lab, "ingest", "apply", str(share), "--yes")
    assert answer.returncode == 1
    assert "3 new; 1 folders not understood" in answer.stdout
    assert count()[2] == 3


# ---- an archive in one command


def manifest(file, folders):
    """Write a manifest of some folders. One is not there, one has an unknown answer, one row contradicts itself."""
    rows = [{"path": f"demo/{folder.name}", "project": "vision"} for folder in folders]
    rows[2]["project"] = "visoin"
    rows.append({"path": "demo/XX_ANM-0009_2026-01-13_scan9FY6AIRM_sess9FY6AIRM", "project": "vision"})
    rows.append({**rows[0], "scan_id": "scan00000000"})
    if file.suffix == ".csv":
        lines = [",".join(row.get(name, "") for name in ("path", "project", "scan_id")) for row in rows]
        text = "\n".join(["path,project,scan_id", *lines])
    else:
        text = "".join("[[recordings]]\n" + "".join(f"{name} = '{row[name]}'\n" for name in row) for row in rows)
    file.write_text(text)
    return file


def test_what_was_left_undone_because_nobody_answered_stands_in_the_ledger(mouse_lab, share):
    folder = sorted((share / "demo").iterdir())[0]
    with ledger.run("apply", {}, mouse_lab.settings) as run:
        apply_plan(plan(mouse_lab, folder), mouse_lab.settings, run)
    done, left = ledger.past(run.run_id).steps
    assert (done.outcome, done.what) == ("ok", "new")
    assert (left.outcome, left.what) == ("skipped", "unanswered")
    assert "not staged for processing" in left.reason
    assert run.summary().startswith("whole: 1 unanswered, 1 new")
    index = pipeline.imaging.ProcessingParamSet.insert_new({})
    with ledger.run("apply", {}, mouse_lab.settings) as run:
        apply_plan(plan(mouse_lab, folder, paramset_idx=index), mouse_lab.settings, run)
    assert run.summary().startswith("whole: 1 update")


@pytest.mark.parametrize("name", ["archive.csv", "archive.toml"])
def test_a_manifest_is_one_command_that_says_what_is_wrong_with_which_row(mouse_lab, share, tmp_path, name):
    pipeline.subject.Project.insert1({"project": "vision", "project_description": ""})
    folders = sorted((share / "demo").iterdir())
    done = command(mouse_lab, "ingest", "apply", "--manifest", str(manifest(tmp_path / name, folders)), "--yes")
    assert done.returncode == 1
    assert "There is no project 'visoin'" in done.stdout
    assert "Did you mean vision?" in done.stdout
    assert "The folder's name says something else: scan_id scan9FYMTPCA." in done.stdout
    assert "XX_ANM-0009_2026-01-13_scan9FY6AIRM_sess9FY6AIRM: There is no such folder." in done.stdout
    assert done.stdout.splitlines()[-1].startswith("PARTIAL: 3 refused, 2 unanswered, 2 new")
    assert pipeline.session.ProjectSession.to_arrays("project").tolist() == ["vision"]  # both scans are of one session
    (run,) = [ledger.past(run.run_id) for run in ledger.runs()]
    assert run.selections["manifest"] == str(tmp_path / name)
    assert [(step.name, step.outcome) for step in run.steps] == [
        ("find", "failed"),
        ("find", "failed"),
        ("apply", "ok"),
        ("plan", "skipped"),
        ("apply", "ok"),
        ("plan", "skipped"),
        ("plan", "failed"),
    ]


def test_answers_from_a_file_leave_no_question_and_a_limit_takes_the_first_by_name(mouse_lab, share, tmp_path):
    pipeline.imaging.ProcessingParamSet.insert_new({})
    answers = tmp_path / "answers.toml"
    answers.write_text("[defaults]\nparamset_idx = 0\n[sessions.sess9FYO4NWM]\nsession_note = 'calm'\n")
    words = ("--all", "--answers", str(answers))
    told = command(mouse_lab, "ingest", "plan", *words).stdout
    assert "question" not in told
    assert "session_note=calm (answers.toml, sessions.sess9FYO4NWM)" in told
    first = command(mouse_lab, "ingest", "apply", *words, "--limit", "2", "--yes")
    assert first.returncode == 0, first.stderr
    assert pipeline.scan.Scan.to_arrays("scan_id").tolist() == ["scan9FYMTPCA", "scan9FYMTVRR"]
    assert first.stdout.splitlines()[-1].startswith("whole: 2 new")
    again = command(mouse_lab, "ingest", "apply", *words, "--yes")
    assert again.stdout.splitlines()[-1].startswith("whole: 1 new, 2 unchanged")
    assert len(pipeline.imaging.ProcessingTask()) == 3
    assert pipeline.session.SessionNote.to_arrays("session_note").tolist() == ["calm"]


@pytest.mark.parametrize(
    "words", ["", "--all demo", "--all --manifest file.csv", "--manifest file.csv --answers file.csv"]
)
def test_what_is_meant_is_said_in_one_way(mouse_lab, tmp_path, words):
    (tmp_path / "file.csv").write_text("path\n")
    done = command(mouse_lab, "ingest", "plan", *words.split(), cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")


def test_an_ingest_tells_how_far_it_is(mouse_lab, share):
    heard = []
    with progress.listening(heard.append):
        apply_plan(plan(mouse_lab), mouse_lab.settings)
    for stage in ("planning", "writing"):
        assert [step for step in heard if step.stage == stage] == [
            progress.Progress(stage, number, 3, "scans") for number in range(3)
        ]


# ---- names


def test_notes_and_logs_beside_a_scan_are_files_of_its_session(mouse_lab, share):
    folder = sorted((share / "demo").iterdir())[0]
    *fields, _, session = folder.name.split("_")
    note = share / "demo" / f"{session}_notes.txt"
    note.write_text("calm")
    (share / "demo" / "shopping.txt").write_text("milk")
    nested = share / "demo" / "_".join((*fields, "sess9FY6AIRM")) / "scan9FY6AIRM"
    shutil.copytree(sorted((share / "demo").iterdir())[2], nested)
    (nested.parent / "rig.log").write_text("on")
    apply_plan(plan(mouse_lab), mouse_lab.settings)

    def held():
        rows = pipeline.session.SessionFile.to_dicts()
        return {(row["session_id"], row["file_path"], row["file_size"]) for row in rows}

    log = ("sess9FY6AIRM", f"demo/{nested.parent.name}/rig.log", 2)
    assert held() == {(session, f"demo/{note.name}", 4), log}
    note.write_text("calm, then not")  # it is written on for days
    apply_plan(plan(mouse_lab), mouse_lab.settings)
    assert held() == {(session, f"demo/{note.name}", 14), log}
    assert {one.state for one in plan(mouse_lab).scans} == {"unchanged"}


@pytest.mark.skipif(os.name != "posix", reason="other systems open no such names")
def test_rows_hold_names_as_the_disk_has_them(mouse_lab, share):
    names = (
        *("new\nline.txt", "100%s %(x)s {y}.txt", "quote'\"`.txt", "back\\slash.txt", "; drop table x; --.txt"),
        *("mouse\U0001f600.txt", "мышь.txt", "a\u0308.txt", "\u00e4.txt", "Case.txt", "case.txt", " blank .txt "),
        *("\u00f6" * 125 + ".txt", "-rf", "$(id).txt", "\u202etxt.exe", "\x1b[31mred.txt", "NUL.txt"),
    )
    folder = sorted((share / "demo").iterdir())[0]
    for name in names:
        (folder / name).write_text("x")
    assert {outcome.state for outcome in apply_plan(plan(mouse_lab), mouse_lab.settings)} == {"written"}
    held = pipeline.scan.ScanFile.to_arrays("file_path").tolist()
    assert {path.removeprefix(f"demo/{folder.name}/") for path in held} > set(names)
    assert {one.state for one in plan(mouse_lab).scans} == {"unchanged"}
