"""What is going on, and why a row is missing: counts that hold, and answers down to the first cause."""

from __future__ import annotations

import json
import shlex
from dataclasses import asdict, replace
from datetime import datetime, timedelta

import pytest
from click.testing import CliRunner

from adamacs import cli, pipeline
from adamacs.core.errors import InvalidKey, InvalidRequest
from adamacs.database import portable
from adamacs.pipeline import imaging, scan, session, subject
from adamacs.schemas import operations
from adamacs.workers import jobs, liveness, loop, pauses, state
from adamacs.workers.claims import Queue
from adamacs.workers.liveness import Ending
from adamacs.workers.roles import Role
from adamacs.workers.why import why
from tests.integration.workplace import claim, connection

NOON = datetime(2026, 3, 1, 12)
SCAN = {"session_id": "sess9FY6AIRM", "scan_id": "scan9FY6AIRM"}
TASK = {**SCAN, "paramset_idx": 0}
CURATION = {**TASK, "curation_id": 1}


# ---- labs in a certain state


@pytest.fixture
def tables(items):
    """The tables of the items, parents first; three items, nothing computed."""
    return [items.Item, items.Cheap, items.Costly, items.Total]


@pytest.fixture
def recorded(mouse_lab):
    """One scan with a parameter set; nothing is asked for."""
    subject.User.insert1({"user_id": 1, "name": "Tester", "shorthand": "Tester", "initials": "TR"})
    subject.Subject.insert1({"subject": "m1"})
    session.Session.insert1({"session_id": SCAN["session_id"], "subject": "m1", "session_date": NOON.date()})
    scan.Scan.insert1({**SCAN, "acq_software": "ScanImage"})
    scan.ScanPath.insert1({**SCAN, "user_id": 1, "root": "share", "path": "m1/day1"})
    assert imaging.ProcessingParamSet.insert_new({}) == 0


@pytest.fixture
def staged(recorded):
    """The scan's headers are read, and its processing is asked for."""
    info = {"nfields": 1, "nchannels": 1, "ndepths": 1, "nframes": 10, "nrois": 0, "fps": 30.0, "scan_duration": 0.3}
    imaging.ScanInfo.insert1({**SCAN, **info}, allow_direct_insert=True)
    stage()


def stage():
    task = {"processing_output_dir": "out", "task_mode": "trigger"}
    imaging.ProcessingTask.insert1({**TASK, **task})


def process():
    """Pretend that the tool ran."""
    done = {"processing_time": NOON, "package_version": "1.1.0", "manifest_digest": "00"}
    imaging.Processing.insert1({**TASK, **done}, allow_direct_insert=True)
    curation = {"curation_time": NOON, "curation_output_dir": "out", "manual_curation": False}
    imaging.Curation.insert1({**CURATION, **curation})


def fail(table, worker, *, number=1, failure="permission", message="PermissionError: a.tif", again=None):
    """Let one attempt fail, as the loop writes it down."""
    queue, (taken,) = claim(table, worker)
    ending = Ending(taken.key, "failed", 2.0, failure, message, "Traceback ...", 10**9)
    liveness.record(connection(), worker.worker_id, queue.name, number, [ending])
    if again is None:
        queue.fail(worker.worker_id, taken, f"[{failure}] {message}", "Traceback ...")
    else:
        queue.requeue(worker.worker_id, [taken], again, f"[{failure}] {message}")
    return taken.key


def of(found, table):
    return next(one for one in found.tables if one.table == table)


# ---- status


def test_keys_that_no_worker_noticed_yet_are_pending(tables, mouse_lab):
    found = state.status(mouse_lab.settings, tables)
    cheap = of(found, "work.Cheap")
    assert (cheap.expected, cheap.done, cheap.pending, cheap.running) == (3, 0, 3, 0)
    assert cheap.unattended
    assert [one.table for one in found.tables] == ["work.Cheap", "work.Costly", "work.Total"]


def test_every_key_is_counted_once_whatever_became_of_it(items, tables, worker, mouse_lab):
    items.Item.insert([{"item": n} for n in range(3, 10)])
    items.Cheap.insert1({"item": 9, "double": 0}, allow_direct_insert=True)
    fail(items.Cheap, worker)
    fail(items.Cheap, worker, number=2, failure="memory", again=60.0)
    claim(items.Cheap, worker, 2)
    items.Cheap.jobs.ignore({"item": 8})
    items.Item.insert1({"item": 10})  # noticed by nobody yet
    found = of(state.status(mouse_lab.settings, tables), "work.Cheap")
    assert (found.expected, found.done) == (11, 1)
    assert (found.pending, found.backoff, found.running, found.excluded) == (5, 1, 2, 1)
    assert found.failed == {"permission": 1}
    assert 50 < found.next_try <= 60
    counted = found.done + found.pending + found.backoff + found.running + found.excluded + sum(found.failed.values())
    assert counted == found.expected


def test_an_error_that_a_notebook_left_is_counted_as_unknown(items, tables, mouse_lab):
    items.Cheap.jobs.refresh()
    items.Cheap.jobs.error({"item": 1}, "[odd ValueError: nothing closes this bracket")
    assert of(state.status(mouse_lab.settings, tables), "work.Cheap").failed == {"unknown": 1}


def test_a_table_tells_what_it_waits_for(tables, mouse_lab):
    found = of(state.status(mouse_lab.settings, tables), "work.Total")
    assert found.expected == 0
    assert found.waits == {"work.Costly": 3}


def test_what_people_left_out_is_waited_for_by_nobody(items, tables, mouse_lab):
    items.Costly.jobs.ignore({"item": 1})
    assert of(state.status(mouse_lab.settings, tables), "work.Total").waits == {"work.Costly": 2}


def test_the_imaging_chain_waits_for_headers_that_only_a_rule_asks_for(recorded, mouse_lab):
    stage()
    found = state.status(mouse_lab.settings)
    assert of(found, "imaging.Processing").waits == {"imaging.ScanInfo": 1}
    assert of(found, "imaging.Processing").expected == 0
    assert of(found, "imaging.Segmentation").waits == {"imaging.Processing": 1}
    assert of(found, "imaging.ScanInfo").pending == 1


def test_a_table_far_down_waits_for_the_missing_keys_above_it(staged, mouse_lab):
    process()
    found = state.status(mouse_lab.settings)
    assert of(found, "imaging.Segmentation").pending == 1
    assert of(found, "imaging.Activity").waits == {"imaging.Segmentation": 1}
    assert of(found, "imaging.Processing").done == 1


def test_a_running_key_tells_its_worker_stage_and_time_left(items, tables, worker, mouse_lab):
    claim(items.Costly, worker)
    liveness.beat(connection(), worker.worker_id, 30.0, "registration", 0.25)
    since = NOON - timedelta(days=1)
    operations.Heartbeat.update1({"worker_id": worker.worker_id, "stage_since": since})
    found = state.status(mouse_lab.settings, tables)
    (running,) = found.running
    assert (running.table, running.key, running.count, running.alive) == ("work.Costly", "item=0", 1, True)
    assert (running.host, running.pid) == (worker.host, worker.pid)
    assert (running.stage, running.fraction) == ("registration", 0.25)
    elapsed = (found.at - since).total_seconds()
    assert running.seconds_left == pytest.approx(3 * elapsed, rel=1e-3)
    assert "registration 25 %" in running.describe()
    assert found.workers[0].holds == {"work.Costly": 1}
    assert found.workers[0].log_file == worker.log_file


def test_a_silent_worker_is_not_alive(items, tables, worker, mouse_lab):
    claim(items.Costly, worker)
    operations.Heartbeat.update1({"worker_id": worker.worker_id, "beat_time": NOON - timedelta(days=1)})
    found = state.status(mouse_lab.settings, tables)
    assert not found.workers[0].alive
    assert not found.running[0].alive
    assert of(found, "work.Costly").unattended


def test_a_table_is_unattended_where_its_role_has_workers_for_other_tables_alone(items, tables, mouse_lab):
    liveness.register(connection(), liveness.identify("cpu", fills=["work.Cheap"]), 30.0)
    found = state.status(mouse_lab.settings, tables)
    assert not of(found, "work.Cheap").unattended
    assert of(found, "work.Costly").unattended


def test_a_table_whose_workers_keep_to_some_keys_says_so_and_why_tells_which(items, tables, mouse_lab):
    liveness.register(connection(), liveness.identify("cpu", keeps_to={"item": 1}), 30.0)
    found = state.status(mouse_lab.settings, tables)
    assert not of(found, "work.Costly").unattended
    assert "its workers keep to some keys" in list(of(found, "work.Costly").notes())
    assert "(only item=1)" in found.describe()
    worker = found.workers[0]
    assert [worker.attends("work.Costly", "cpu", {"item": number}) for number in range(3)] == [False, True, False]
    liveness.register(connection(), liveness.identify("cpu"), 30.0)
    assert not of(state.status(mouse_lab.settings, tables), "work.Costly").kept_to


def test_a_worker_whose_process_is_gone_from_this_machine_is_not_alive(items, tables, mouse_lab):
    gone = replace(liveness.identify("cpu"), process_start=1.0)  # the number belongs to another process now
    liveness.register(connection(), gone, 30.0)
    assert not state.status(mouse_lab.settings, tables).workers[0].alive


def test_a_claim_of_a_notebook_is_told_as_such(items, tables, mouse_lab):
    items.Cheap.jobs.refresh()
    assert items.Cheap.jobs.reserve({"item": 1})
    (running,) = state.status(mouse_lab.settings, tables).running
    assert running.alive is None
    assert "notebook" in running.describe()


def test_a_claim_of_a_notebook_elsewhere_tells_the_cure_that_frees_the_key(items, tables, mouse_lab):
    items.Cheap.jobs.refresh()
    assert items.Cheap.jobs.reserve({"item": 1})
    items.Cheap.jobs.update1({"item": 1, "host": "elsewhere"})
    (answer,) = why("work.Cheap", {"item": 1}, mouse_lab.settings, tables)
    lines = [f"adamacs jobs {verb} work.Cheap item=1" for verb in ("cancel", "retry")]
    assert answer.cure == f"If it is gone: {lines[0]}, then {lines[1]}"
    selection = [(items.Cheap, {"item": 1})]
    for plan in (jobs.plan_cancel, jobs.plan_retry):
        assert len(jobs.apply(plan(selection))) == 1
    worker = liveness.identify("cpu")
    liveness.register(connection(), worker, 30.0)
    assert {"item": 1} in [claim.key for claim in Queue(items.Cheap).take(worker, 9)]


@pytest.mark.parametrize("scope", ["all", "table:work.Cheap"])
def test_a_pause_is_told_with_who_made_it(tables, mouse_lab, scope):
    pauses.pause(scope, "the disk is changed")
    found = state.status(mouse_lab.settings, tables)
    assert of(found, "work.Cheap").paused == scope
    assert bool(of(found, "work.Costly").paused) == (scope == "all")
    assert found.pauses[0].by == pauses.who()
    assert "the disk is changed" in found.describe()


def test_the_status_fits_on_a_screen_and_into_json(staged, worker, mouse_lab):
    fail(imaging.Processing, worker)
    found = state.status(mouse_lab.settings)
    lines = found.describe().splitlines()
    assert len(lines) < 24
    assert all(len(line) < 160 for line in lines)
    assert any("failed: 1 permission" in line for line in lines)
    tables = {table["table"]: table for table in json.loads(json.dumps(asdict(found), default=str))["tables"]}
    assert tables["imaging.Processing"]["failed"] == {"permission": 1}


def test_the_number_of_statements_does_not_grow_with_the_keys(items, tables, mouse_lab, monkeypatch):
    def statements():
        sent = []
        asking = connection().query
        with monkeypatch.context() as patched:
            patched.setattr(connection(), "query", lambda *a, **k: sent.append(a) or asking(*a, **k))
            state.status(mouse_lab.settings, tables)
        return len(sent)

    state.status(mouse_lab.settings, tables)  # headings are read once
    few = statements()
    items.Item.insert([{"item": n} for n in range(100, 400)])
    Queue(items.Cheap).stage()
    assert statements() == few <= 10


# ---- why


def test_a_row_that_is_there_is_not_missing(items, tables, mouse_lab):
    loop.drain(Role("cpu"), mouse_lab.settings, [items.Cheap])
    (answer,) = why("work.Cheap", {"item": 1}, mouse_lab.settings, tables)
    assert answer.state == "present"


def test_a_key_that_nobody_takes_up_names_the_role_and_starts_it(staged, mouse_lab):
    (answer,) = why("imaging.Processing", TASK, mouse_lab.settings)
    assert answer.state == "pending"
    assert "cpu" in answer.sentence
    assert answer.cure == "adamacs work --role cpu"


def test_a_key_that_a_living_worker_will_take_up_needs_no_cure(staged, worker, mouse_lab):
    (answer,) = why("imaging.Processing", TASK, mouse_lab.settings)
    assert (answer.state, answer.cure) == ("pending", "")


def test_a_paused_table_says_by_whom_and_how_to_resume(staged, worker, mouse_lab):
    pauses.pause("table:imaging.Processing", "disk full")
    (answer,) = why("imaging.Processing", TASK, mouse_lab.settings)
    assert answer.state == "paused"
    assert pauses.who() in answer.sentence and "disk full" in answer.sentence
    assert answer.cure == "adamacs jobs resume --table imaging.Processing"


def test_a_key_that_failed_and_is_tried_again_says_when(staged, worker, mouse_lab):
    fail(imaging.Processing, worker, failure="memory", message="MemoryError", again=300.0)
    (answer,) = why("imaging.Processing", TASK, mouse_lab.settings)
    assert (answer.state, answer.failure, answer.tries) == ("backoff", "memory", 1)
    assert "once" in answer.sentence and "5 min" in answer.sentence
    assert "slots" in answer.cure


def test_a_running_key_says_where_and_how_far(staged, worker, mouse_lab):
    claim(imaging.Processing, worker)
    liveness.beat(connection(), worker.worker_id, 30.0, "detection", 0.5)
    (answer,) = why("imaging.Processing", TASK, mouse_lab.settings)
    assert answer.state == "running"
    assert worker.host in answer.sentence and "detection 50 %" in answer.sentence
    assert answer.log == f"{worker.host}:{worker.log_file}"


def test_a_key_whose_worker_died_says_that_it_is_taken_over(staged, worker, mouse_lab):
    claim(imaging.Processing, worker)
    (operations.Heartbeat & {"worker_id": worker.worker_id}).delete_quick()
    (answer,) = why("imaging.Processing", TASK, mouse_lab.settings)
    assert answer.state == "running"
    assert "gone" in answer.sentence
    assert answer.cure == "adamacs work --role cpu"
    liveness.register(connection(), liveness.identify("cpu"), 30.0)
    (answer,) = why("imaging.Processing", TASK, mouse_lab.settings)
    assert "takes it over" in answer.cure


def test_a_failed_key_gives_reason_cure_and_log(staged, worker, mouse_lab):
    fail(imaging.Processing, worker)
    (answer,) = why("imaging.Processing", TASK, mouse_lab.settings)
    assert (answer.state, answer.failure, answer.tries) == ("failed", "permission", 1)
    assert "PermissionError: a.tif" in answer.sentence
    assert "jobs retry imaging.Processing session_id=sess9FY6AIRM,scan_id=scan9FY6AIRM,paramset_idx=0" in answer.cure
    assert answer.log == f"{worker.host}:{worker.log_file}"


def test_an_excluded_key_says_by_whom_and_why(staged, mouse_lab):
    row = {**TASK, "status": "ignore", "priority": 5, "user": "anna@rig", "error_message": "the mouse slept"}
    portable.job_table(imaging.Processing).insert1(row)
    (answer,) = why("imaging.Processing", TASK, mouse_lab.settings)
    assert answer.state == "excluded"
    assert "anna@rig" in answer.sentence and "the mouse slept" in answer.sentence


def test_a_missing_trace_is_explained_down_to_the_permission(staged, worker, mouse_lab):
    process()
    key = fail(imaging.Segmentation, worker)
    assert key == CURATION
    (answer,) = why("imaging.Fluorescence", CURATION, mouse_lab.settings)
    assert answer.state == "waiting"
    (because,) = answer.because
    assert (because.table, because.state, because.failure) == ("imaging.Segmentation", "failed", "permission")
    text = answer.describe()
    assert text.index("Fluorescence") < text.index("Segmentation") < text.index("permission")


def test_a_chain_of_waiting_tables_is_told_link_by_link(staged, worker, mouse_lab):
    fail(imaging.Processing, worker)
    (answer,) = why("imaging.Activity", TASK, mouse_lab.settings)
    links = [answer.table]
    while answer.because:
        (answer,) = answer.because
        links.append(answer.table)
    names = ("Activity", "Fluorescence", "Segmentation", "Processing")
    assert links == [f"imaging.{name}" for name in names]
    assert answer.failure == "permission"


def test_a_part_is_answered_for_by_its_master(staged, worker, mouse_lab):
    process()
    (answer,) = why("imaging.Segmentation.Mask", CURATION, mouse_lab.settings)
    assert (answer.table, answer.state) == ("imaging.Segmentation", "pending")


def test_a_scan_that_was_never_staged_gives_the_line_that_stages_it(recorded, mouse_lab):
    (answer,) = why("imaging.Processing", TASK, mouse_lab.settings)
    causes = {cause.table: cause for cause in answer.because}
    assert causes["imaging.ScanInfo"].state == "pending"
    staging = causes["imaging.ProcessingTask"]
    assert staging.state == "unstaged"
    folder = mouse_lab.settings.root("share") / "m1" / "day1"
    assert staging.cure == f"adamacs ingest apply {folder.as_posix()} --paramset 0"


def test_a_line_to_paste_runs_nothing_that_a_path_or_a_key_smuggles_in(recorded, mouse_lab):
    evil = "m1/x $(touch pwned); `id` 'q'\n&& echo"
    scan.ScanPath.update1({**SCAN, "user_id": 1, "root": "share", "path": evil})
    (answer,) = why("imaging.Processing", TASK, mouse_lab.settings)
    staging = next(cause for cause in answer.because if cause.table == "imaging.ProcessingTask")
    folder = mouse_lab.settings.root("share") / evil
    assert shlex.split(staging.cure) == ["adamacs", "ingest", "apply", folder.as_posix(), "--paramset", "0"]
    assert "\n&&" not in answer.describe()


def test_a_line_to_paste_quotes_keys_tables_and_roles(mouse_lab):
    key = {"session_id": "$(id)", "scan_id": "a b;'", "paramset_idx": 0}
    row = {**key, "status": "error", "priority": 5, "error_message": "[tool] it broke"}
    portable.job_table(imaging.Processing).insert1(row)
    (answer,) = why("imaging.Processing", key, mouse_lab.settings)
    words = shlex.split(answer.cure.partition("Then: ")[2])
    assert words == ["adamacs", "jobs", "retry", "imaging.Processing", "session_id=$(id),scan_id=a b;',paramset_idx=0"]
    row |= {"status": "ignore", "error_message": "no"}
    portable.job_table(imaging.Processing).update1(row)
    (answer,) = why("imaging.Processing", key, mouse_lab.settings)
    assert shlex.split(answer.cure.partition("after all: ")[2]) == words
    row |= {"status": "pending", "error_message": ""}
    portable.job_table(imaging.Processing).update1(row)
    pauses.pause("table:imaging.Processing")
    operations.Pause().delete_quick()
    operations.Pause.insert1(
        {"pause_scope": "table:imaging.Processing", "paused_at": NOON, "paused_by": "x\x1b[2J", "pause_reason": ""}
    )
    (answer,) = why("imaging.Processing", key, mouse_lab.settings)
    assert shlex.split(answer.cure) == ["adamacs", "jobs", "resume", "--table", "imaging.Processing"]
    assert "\x1b" not in answer.describe()


def test_what_others_wrote_never_commands_a_terminal(staged, worker, run):
    key = fail(imaging.Processing, worker, message="OSError: \x1b]52;c;Zm9v\x07\x9b2J.tif")
    operations.Worker.update1({"worker_id": worker.worker_id, "host": "a\x1b[2Jb"})
    pauses.pause("table:imaging.ScanInfo", "\x1b[31mred")
    spelt = ",".join(f"{name}={value}" for name, value in key.items())
    commands = [("status",), ("workers",), ("why", "imaging.Fluorescence", spelt)]
    for command in (*commands, ("jobs", "list"), ("jobs", "show", "imaging.Processing", spelt)):
        shown = run(*command)
        assert shown.replace("\n", "").replace("\t", "").isprintable(), command
    assert r"\x1b]52;c;Zm9v\x07" in run("jobs", "list")


def test_a_key_that_every_worker_leaves_to_others_is_taken_up_by_nobody(staged, mouse_lab):
    liveness.register(connection(), liveness.identify("cpu", keeps_to={"scan_id": "scan9FYAAAAA"}), 30.0)
    (answer,) = why("imaging.Processing", TASK, mouse_lab.settings)
    told = "Nobody takes it up: the workers of the role cpu that are alive keep to other tables or keys."
    assert (answer.sentence, answer.cure) == (told, "adamacs work --role cpu")
    liveness.register(connection(), liveness.identify("cpu", keeps_to={"scan_id": TASK["scan_id"]}), 30.0)
    (answer,) = why("imaging.Processing", TASK, mouse_lab.settings)
    assert answer.sentence.startswith("It is in the queue")


# ---- after a death


def die(table, worker, *, outcome="killed", kills=3):
    """Let a worker die over a key, as its supervisor writes it down."""
    queue, (taken,) = claim(table, worker)
    liveness.bury(worker.worker_id, [queue], kills, outcome=outcome, because="Signal SIGKILL.")
    return taken.key


@pytest.mark.parametrize(
    ("outcome", "told"),
    [("killed", "A worker died over it once."), ("stalled", "A worker that stood still over it was ended once.")],
)
def test_a_key_over_which_a_worker_died_says_so(staged, worker, mouse_lab, outcome, told):
    die(imaging.Processing, worker, outcome=outcome)
    (answer,) = why("imaging.Processing", TASK, mouse_lab.settings)
    assert answer.sentence == f"{told} Nobody takes it up: no worker of the role cpu is alive."
    liveness.register(connection(), liveness.identify("cpu"), 30.0)
    (answer,) = why("imaging.Processing", TASK, mouse_lab.settings)
    assert (answer.state, answer.failure, answer.tries) == ("pending", outcome, 1)
    assert answer.sentence.startswith(f"{told} It is in the queue and is tried again")
    assert answer.log == f"{worker.host}:{worker.log_file}"
    assert "unless it happens again" in answer.cure


def test_a_key_that_is_computed_again_after_a_death_says_so(staged, worker, mouse_lab):
    die(imaging.Processing, worker)
    second = liveness.identify("cpu")
    liveness.register(connection(), second, 30.0)
    claim(imaging.Processing, second)
    (answer,) = why("imaging.Processing", TASK, mouse_lab.settings)
    assert answer.state == "running"
    assert answer.sentence.startswith("A worker died over it once. It is computed on")


def test_a_key_that_a_person_lets_be_tried_again_still_says_what_it_failed_of(staged, worker, mouse_lab):
    fail(imaging.Processing, worker)
    jobs.apply(jobs.plan_retry([(imaging.Processing, {})]))
    (answer,) = why("imaging.Processing", TASK, mouse_lab.settings)
    assert answer.sentence == "It failed before. It is in the queue and is tried again as soon as a worker can."


def test_every_command_judges_a_dead_worker_alike(staged, worker, run):
    claim(imaging.Processing, worker)
    assert "lost" not in run("jobs", "list")
    operations.Worker.update1({"worker_id": worker.worker_id, "process_start": 1.0})  # the process is another one now
    for command in (("status",), ("jobs", "list"), ("jobs", "show", "imaging.Processing", "scan_id=scan9FY6AIRM")):
        assert state.LOST in run(*command)
    shown = run("workers")
    assert "silent for" in shown and state.HANDED_ON in shown
    assert "imaging.Processing" in shown
    assert state.NOBODY in shown and state.NOBODY in run("status")
    (job,) = json.loads(run("jobs", "list", "Processing", "--json"))
    assert job["alive"] is False


def test_a_scan_that_nobody_ingested_is_told_as_such(mouse_lab):
    (answer,) = why("imaging.Fluorescence", SCAN, mouse_lab.settings)
    causes = []
    while answer.because:
        causes.append(answer.table)
        answer = answer.because[0]
    assert answer.state == "unstaged"
    assert answer.cure.startswith("adamacs ")
    assert causes[0] == "imaging.Fluorescence"


def test_a_curation_that_nobody_made_gives_the_line_that_makes_it(staged, mouse_lab):
    process()
    (answer,) = why("imaging.Segmentation", {**TASK, "curation_id": 2}, mouse_lab.settings)
    (because,) = answer.because
    assert because.cure == "adamacs curate add session_id=sess9FY6AIRM,scan_id=scan9FY6AIRM,paramset_idx=0"


def test_a_key_that_the_table_does_not_take_gives_the_rule(recorded, mouse_lab):
    other = {**SCAN, "scan_id": "scan9FY6AIRN"}
    scan.Scan.insert1({**other, "acq_software": "none"})
    (answer,) = why("imaging.ScanInfo", other, mouse_lab.settings)
    assert answer.state == "ruled out"
    assert "ScanImage" in answer.sentence


def test_a_part_of_a_key_gives_an_answer_per_missing_row_and_no_flood(items, tables, mouse_lab):
    items.Item.insert([{"item": n} for n in range(100, 150)])
    answers = why("work.Cheap", {}, mouse_lab.settings, tables, limit=5)
    assert [answer.state for answer in answers] == ["pending"] * 5 + ["more"]
    assert "48" in answers[-1].sentence


def test_a_part_of_a_key_tells_beside_what_is_there_what_is_still_above(items, tables, worker, mouse_lab):
    loop.drain(Role("cpu"), mouse_lab.settings, [items.Costly, items.Total])
    items.Item.insert1({"item": 50})
    fail(items.Costly, worker)
    (answer,) = why("work.Total", {}, mouse_lab.settings, tables)
    assert answer.state == "waiting"
    assert (answer.because[0].table, dict(answer.because[0].key)) == ("work.Costly", {"item": 50})


@pytest.mark.parametrize("name", ["imaging.Procesing", "Nothing", "imaging"])
def test_a_misspelt_table_names_the_nearest(mouse_lab, name):
    with pytest.raises(InvalidRequest, match="no table"):
        why(name, {}, mouse_lab.settings)


def test_a_column_that_the_key_lacks_is_refused_with_those_it_has(mouse_lab):
    with pytest.raises(InvalidKey, match="paramset_idx"):
        why("imaging.Processing", {"colour": 1}, mouse_lab.settings)


# ---- the commands


@pytest.fixture
def run(mouse_lab, monkeypatch):
    """Run a command of the lab and return what it printed."""
    monkeypatch.setenv("ADAMACS_HOME", str(mouse_lab.home))

    def call(*arguments, status=0):
        result = CliRunner().invoke(cli.cli, arguments)
        assert result.exit_code == status, result.output
        return result.output

    return call


def test_the_commands_tell_the_same_as_the_functions(staged, worker, run):
    fail(imaging.Processing, worker)
    assert "failed: 1 permission" in run("status")
    table = next(t for t in json.loads(run("status", "--json"))["tables"] if t["table"] == "imaging.Processing")
    assert table["failed"] == {"permission": 1}
    assert worker.host in run("workers")
    assert json.loads(run("workers", "--json"))[0]["worker_id"] == worker.worker_id
    key = "scan_id=scan9FY6AIRM"
    assert "cure: Give the account the right" in run("why", "imaging.Fluorescence", key)
    (answer,) = json.loads(run("why", "fluorescence", key, "--json"))
    assert answer["because"][0]["because"][0]["failure"] == "permission"


def test_without_workers_the_command_says_so(run):
    assert "No worker is alive." in run("workers")
    assert pipeline.MODALITIES[0] in run("status")
