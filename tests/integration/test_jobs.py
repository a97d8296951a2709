"""What people do about keys: every change is a plan first, is undone by another, and loses no attempt."""

from __future__ import annotations

import json
import re

import pytest
from click.testing import CliRunner

from adamacs import cli
from adamacs.core.errors import AdamacsError, InvalidKey, InvalidRequest, PlanRefused
from adamacs.pipeline import imaging
from adamacs.schemas import operations
from adamacs.workers import jobs, liveness, loop, pauses
from adamacs.workers.claims import Fenced, Queue
from adamacs.workers.liveness import Ending
from adamacs.workers.roles import Role
from tests.integration.workplace import claim, connection


def fail(table, worker, number, failure, message="it broke", again=None):
    """Let one attempt fail, as the loop writes it down."""
    queue, (taken,) = claim(table, worker)
    ending = Ending(taken.key, "failed", 2.0, failure, message, "Traceback: line 1", 2 * 10**9)
    liveness.record(connection(), worker.worker_id, queue.name, number, [ending])
    if again is None:
        queue.fail(worker.worker_id, taken, f"[{failure}] {message}", "Traceback: line 1")
    else:
        queue.requeue(worker.worker_id, [taken], again, f"[{failure}] {message}")
    return taken.key


@pytest.fixture
def mixed(items, worker):
    """Item 0 failed of a permission, item 1 of memory and is tried again in a minute, item 2 is in the queue."""
    fail(items.Cheap, worker, 1, "permission", "PermissionError: a.tif")
    fail(items.Cheap, worker, 2, "memory", "MemoryError", again=60.0)
    return items


def every(table):
    return [(table, {})]


def one(table, number):
    return [(table, {"item": number})]


# ---- looking


def test_a_listing_tells_status_class_and_message_of_every_job(mixed):
    found = {job.key["item"]: job for job in jobs.listing(every(mixed.Cheap))}
    assert (found[0].status, found[0].failure, found[0].message) == ("error", "permission", "PermissionError: a.tif")
    assert (found[1].status, found[1].failure) == ("pending", "memory")
    assert 50 < found[1].wait <= 60
    assert (found[2].status, found[2].failure) == ("pending", "")
    assert found[2].wait <= 0


def test_a_listing_can_be_narrowed(mixed):
    assert [job.key["item"] for job in jobs.listing(every(mixed.Cheap), status="error")] == [0]
    assert [job.key["item"] for job in jobs.listing(every(mixed.Cheap), failure="memory")] == [1]
    assert [job.key["item"] for job in jobs.listing(one(mixed.Cheap, 2))] == [2]


@pytest.mark.parametrize("narrowing", [{"status": "broken"}, {"failure": "permision"}])
def test_what_no_job_can_have_is_refused(items, narrowing):
    with pytest.raises(InvalidRequest):
        jobs.listing(every(items.Cheap), **narrowing)


def test_a_key_shows_every_attempt_with_worker_memory_traceback_and_log(mixed, worker):
    (history,) = jobs.show(one(mixed.Cheap, 0))
    (tried,) = history.attempts
    assert (tried.outcome, tried.failure, tried.peak_memory) == ("failed", "permission", 2 * 10**9)
    assert (tried.worker_id, tried.role, tried.host, tried.pid) == (worker.worker_id, "cpu", worker.host, worker.pid)
    assert tried.tools == {"suite2p": "1.1.0"}
    assert tried.log == f"{worker.host}:{worker.log_file}"
    assert (tried.ended_at - tried.started_at).total_seconds() == pytest.approx(2.0, abs=1e-3)
    text = history.describe()
    for part in ("PermissionError: a.tif", "Traceback: line 1", "2.00 GB", "suite2p 1.1.0", "cpu-1.jsonl"):
        assert part in text


def test_a_key_that_is_computed_still_shows_how(items, mouse_lab):
    loop.drain(Role("cpu"), mouse_lab.settings, [items.Cheap])
    (history,) = jobs.show(one(items.Cheap, 1))
    assert history.is_computed and history.job is None
    assert [tried.outcome for tried in history.attempts] == ["done"]


def test_a_key_that_nobody_knows_is_refused_with_who_does(items):
    with pytest.raises(InvalidKey, match="adamacs why"):
        jobs.show(one(items.Cheap, 77))


# ---- retry


def test_retrying_forgives_earlier_failures_and_keeps_their_record(mixed, worker):
    change = jobs.plan_retry(one(mixed.Cheap, 0))
    assert "PermissionError: a.tif" in change.describe()
    queue = Queue(mixed.Cheap)
    assert queue.failures({"item": 0}) == 1
    assert [job.key["item"] for job in jobs.apply(change)] == [0]
    (job,) = jobs.listing(one(mixed.Cheap, 0))
    assert (job.status, job.failure) == ("pending", "permission")
    assert job.wait <= 0
    assert queue.failures({"item": 0}) == 0
    assert len(operations.Attempt & {"table_name": "work.Cheap"}) == 2


def test_a_whole_class_is_retried_and_no_other(mixed):
    jobs.apply(jobs.plan_retry(every(mixed.Cheap), failure="permission"))
    found = {job.key["item"]: job for job in jobs.listing(every(mixed.Cheap))}
    assert found[0].status == "pending"
    assert found[1].wait > 0


def test_keys_of_a_class_are_found_behind_any_number_of_others(items, worker):
    """Those that failed otherwise come first in the queue; all of the class are retried, and a listing may be cut."""
    items.Item.insert([{"item": number} for number in range(3, 10_050)])
    queue = Queue(items.Cheap)
    while queue.stage():
        pass
    name, item = items.Cheap.jobs.full_table_name, items.Cheap.connection.adapter.quote_identifier("item")
    update = f"UPDATE {name} SET status = 'error', error_message = %s, priority = %s WHERE {item} "
    items.Cheap.connection.query(f"{update} < 10040", ("[bug] ValueError: x", 0))
    items.Cheap.connection.query(f"{update} >= 10040", ("[permission] PermissionError: a.tif", 9))
    plan = jobs.plan_retry(every(items.Cheap), failure="permission")
    assert sorted(job.key["item"] for job in plan.jobs) == list(range(10_040, 10_050))
    assert len(jobs.apply(jobs.plan_retry(every(items.Cheap)))) == 10_050
    assert len(jobs.listing(every(items.Cheap), limit=7)) == 7


def test_a_key_that_waits_for_its_next_try_is_tried_at_once(mixed):
    jobs.apply(jobs.plan_retry(one(mixed.Cheap, 1)))
    (job,) = jobs.listing(one(mixed.Cheap, 1))
    assert job.wait <= 0


def test_an_error_of_a_notebook_has_no_class_and_is_retried_by_key_only(items):
    items.Cheap.jobs.refresh()
    items.Cheap.jobs.error({"item": 1}, "ValueError: permission")
    assert jobs.plan_retry(every(items.Cheap), failure="permission").jobs == ()
    assert len(jobs.apply(jobs.plan_retry(one(items.Cheap, 1)))) == 1


def test_retried_keys_are_computed(mixed, mouse_lab):
    jobs.apply(jobs.plan_retry(every(mixed.Cheap)))
    tally = loop.drain(Role("cpu"), mouse_lab.settings, [mixed.Cheap])
    assert tally.done == {"work.Cheap": 3}


def test_a_job_that_changed_since_the_plan_stays_as_it_is(mixed, worker):
    change = jobs.plan_retry(every(mixed.Cheap))
    jobs.apply(jobs.plan_exclude(one(mixed.Cheap, 0), reason="the disk is lost"))
    assert [job.key["item"] for job in jobs.apply(change)] == [1]
    (job,) = jobs.listing(one(mixed.Cheap, 0))
    assert (job.status, job.message) == ("ignore", "the disk is lost")


def test_keys_that_are_in_the_queue_again_already_are_counted(items, worker, run):
    queue, _ = claim(items.Cheap, worker)
    liveness.bury(worker.worker_id, [queue], 3)
    change = jobs.plan_retry(every(items.Cheap), failure="killed")
    assert (change.jobs, change.queued) == ((), 1)
    assert "already queued: 1" in change.describe()
    row = {"session_id": "s", "scan_id": "s", "paramset_idx": 0, "status": "pending", "priority": 5}
    imaging.Processing.jobs.insert1({**row, "error_message": "[killed] The worker died."})
    assert "retry: 0 keys; already queued: 1" in run("retry", "--class", "killed", "--yes")
    assert json.loads(run("retry", "--class", "killed", "--yes", "--json"))["queued"] == 1


# ---- exclude


@pytest.mark.parametrize("number", [0, 1, 2])
def test_whatever_is_not_computed_can_be_left_out_and_taken_in_again(mixed, mouse_lab, number):
    jobs.apply(jobs.plan_exclude(one(mixed.Cheap, number), reason="the mouse slept"))
    (job,) = jobs.listing(one(mixed.Cheap, number))
    assert (job.status, job.user, job.message) == ("ignore", pauses.who(), "the mouse slept")
    loop.drain(Role("cpu"), mouse_lab.settings, [mixed.Cheap])
    assert not mixed.Cheap & {"item": number}
    jobs.apply(jobs.plan_retry(one(mixed.Cheap, number)))
    (job,) = jobs.listing(one(mixed.Cheap, number))
    assert (job.status, job.user, job.message) == ("pending", "", "")
    loop.drain(Role("cpu"), mouse_lab.settings, [mixed.Cheap])
    assert mixed.Cheap & {"item": number}


def test_a_key_that_no_worker_noticed_can_be_left_out(items, mouse_lab):
    change = jobs.plan_exclude(one(items.Cheap, 1), reason="")
    assert [job.status for job in change.jobs] == [jobs.NEW]
    jobs.apply(change)
    assert loop.drain(Role("cpu"), mouse_lab.settings, [items.Cheap]).done == {"work.Cheap": 2}


def test_a_key_whose_parent_is_not_computed_yet_can_be_left_out(items, mouse_lab):
    jobs.apply(jobs.plan_exclude(one(items.Total, 1)))
    loop.drain(Role("cpu"), mouse_lab.settings, [items.Costly, items.Total])
    assert sorted(items.Total.to_arrays("item").tolist()) == [0, 2]


def test_retrying_a_table_takes_nothing_in_that_people_left_out(items):
    jobs.apply(jobs.plan_exclude(one(items.Cheap, 1)))
    assert jobs.plan_retry(every(items.Cheap)).jobs == ()


def test_a_key_in_work_is_cancelled_and_not_left_out(items, worker):
    claim(items.Cheap, worker)
    with pytest.raises(PlanRefused, match="jobs cancel"):
        jobs.plan_exclude(one(items.Cheap, 0))


def test_a_computed_key_cannot_be_left_out(items, mouse_lab):
    loop.drain(Role("cpu"), mouse_lab.settings, [items.Cheap])
    with pytest.raises(InvalidKey, match="computed already"):
        jobs.plan_exclude(one(items.Cheap, 0))


# ---- cancel


def test_cancelling_fences_the_worker_and_leaves_the_key_out(items, worker):
    queue, taken = claim(items.Costly, worker)
    change = jobs.plan_cancel(every(items.Costly), reason="wrong parameters")
    assert [job.worker_id for job in change.jobs] == [worker.worker_id]
    assert len(jobs.apply(change)) == 1
    with pytest.raises(Fenced):
        queue.acknowledge(worker.worker_id, taken)
    (job,) = jobs.listing([(items.Costly, taken[0].key)])
    assert (job.status, job.message) == ("ignore", "wrong parameters")


def test_a_key_that_another_worker_took_meanwhile_is_not_cancelled(items, worker):
    queue, taken = claim(items.Costly, worker)
    change = jobs.plan_cancel(every(items.Costly))
    queue.requeue(worker.worker_id, taken)
    other = liveness.identify("cpu")
    liveness.register(connection(), other, 30.0)
    assert queue.take(other, 3)
    assert jobs.apply(change) == []


def test_a_table_without_keys_in_work_has_nothing_to_cancel(mixed):
    change = jobs.plan_cancel(every(mixed.Cheap))
    assert change.jobs == ()
    assert change.describe().endswith("nothing\n`adamacs why TABLE KEY` tells where a key stands.")


def test_a_plan_to_cancel_says_what_is_ended_and_what_goes_on(items, worker):
    claim(items.Costly, worker)
    alone = jobs.plan_cancel(every(items.Costly)).describe()
    assert "is ended within seconds" in alone
    assert "batch" not in alone and "notebook" not in alone
    items.Cheap.jobs.refresh()
    assert items.Cheap.jobs.reserve({"item": 0})
    notebook = jobs.plan_cancel(every(items.Cheap)).describe()
    assert "its result is kept: interrupt it there" in notebook
    assert "ended within" not in notebook
    claim(items.Cheap, worker, 2)
    assert "A batch of keys is not ended" in jobs.plan_cancel(every(items.Cheap)).describe()


def test_the_result_of_a_notebook_is_kept_though_its_key_was_cancelled(items, monkeypatch):
    original = items.Cheap.make_compute

    def cancelled_meanwhile(self, key, *fetched):
        jobs.apply(jobs.plan_cancel(every(items.Cheap)))
        return original(self, key, *fetched)

    monkeypatch.setattr(items.Cheap, "make_compute", cancelled_meanwhile)
    items.Cheap.populate({"item": 1}, reserve_jobs=True)
    assert items.Cheap & {"item": 1}


# ---- prioritize


def test_an_urgent_key_is_taken_first_even_one_that_nobody_noticed(items, worker):
    jobs.apply(jobs.plan_priority(one(items.Cheap, 2), 1))
    _, taken = claim(items.Cheap, worker)
    assert taken[0].key == {"item": 2}


def test_a_late_key_is_taken_last(items, worker):
    Queue(items.Cheap).stage()
    jobs.apply(jobs.plan_priority(one(items.Cheap, 0), 127))
    _, taken = claim(items.Cheap, worker, 3)
    assert [one.key["item"] for one in taken] == [1, 2, 0]


@pytest.mark.parametrize("priority", [-1, 128])
def test_a_priority_that_no_row_can_hold_is_refused(items, priority):
    with pytest.raises(InvalidRequest):
        jobs.plan_priority(one(items.Cheap, 0), priority)


def test_values_never_become_sql(mouse_lab):
    key = {"scan_id": "x' OR '1'='1"}
    assert jobs.listing([(imaging.Processing, key)]) == []
    change = jobs.plan_exclude([(imaging.Processing, {"session_id": "s'; --", "scan_id": "%s", "paramset_idx": 0})])
    assert [job.key["scan_id"] for job in jobs.apply(change)] == ["%s"]
    assert len(jobs.listing([(imaging.Processing, {"scan_id": "%s"})])) == 1


# ---- the commands

KEY = "session_id=sess9FY6AIRM,scan_id=scan9FY6AIRM,paramset_idx=0"


@pytest.fixture
def run(mouse_lab, monkeypatch):
    """Run a command of the lab and return what it printed."""
    monkeypatch.setenv("ADAMACS_HOME", str(mouse_lab.home))

    def call(*arguments, status=0):
        result = CliRunner().invoke(cli.cli, ["jobs", *arguments])
        assert result.exit_code == status, result.output
        return result.stdout

    return call


def test_a_key_goes_through_every_command(run):
    assert "Nothing" in run()
    assert "left out" not in run("list", "imaging.Processing")
    assert "exclude: 1 keys" in run("exclude", "imaging.Processing", KEY, "--reason", "test", "--yes")
    assert "left out" in run()
    assert "test" in run("show", KEY.partition(",paramset")[0])
    (job,) = json.loads(run("list", "Processing", "--status", "ignore", "--json"))
    assert (job["table"], job["message"]) == ("imaging.Processing", "test")
    retried = json.loads(run("retry", "imaging.Processing", KEY, "--yes", "--json"))
    assert retried["changed"][0]["key"]["paramset_idx"] == 0
    assert "prioritize: 1 keys" in run("prioritize", "imaging.Processing", KEY, "--priority", "0", "--yes")
    assert json.loads(run("--json"))[0]["priority"] == 0
    assert "cancel: 0 keys" in run("cancel", "imaging.Processing", "--yes")


def test_nothing_is_changed_where_nobody_can_be_asked(run):
    result = CliRunner().invoke(cli.cli, ["jobs", "exclude", "imaging.Processing", KEY])
    assert isinstance(result.exception, PlanRefused)
    assert json.loads(run("--json")) == []


def test_pauses_are_made_and_ended_by_name(run):
    run("pause", "--table", "processing", "--reason", "disk", "--yes")
    assert operations.Pause.to_arrays("pause_scope").tolist() == ["table:imaging.Processing"]
    assert json.loads(run("resume", "--table", "imaging.Processing", "--yes", "--json")) == {
        "resumed": "table:imaging.Processing"
    }
    run("pause", "--role", "cpu", "--yes")
    run("pause", "--yes")
    assert sorted(operations.Pause.to_arrays("pause_scope").tolist()) == ["all", "role:cpu"]


@pytest.mark.parametrize(
    "arguments",
    [
        ("pause", "--role", "cpuu", "--yes"),
        ("pause", "--table", "imaging.Curation", "--yes"),
        ("list", "imaging.Procesing"),
        ("list", "colour=red"),
        ("list", "paramset_idx=red"),
        ("retry", "--class", "permision", "--yes"),
    ],
)
def test_what_does_not_exist_is_refused_by_its_name(mouse_lab, monkeypatch, arguments):
    monkeypatch.setenv("ADAMACS_HOME", str(mouse_lab.home))
    result = CliRunner().invoke(cli.cli, ["jobs", *arguments])
    assert isinstance(result.exception, AdamacsError)
    wrong = next(word for word in reversed(arguments) if not word.startswith("--"))
    assert any(part in str(result.exception) for part in re.split(r"[=.]", wrong))


def test_retrying_everything_by_accident_is_refused(run):
    result = CliRunner().invoke(cli.cli, ["jobs", "retry", "--yes"])
    assert result.exit_code == 2
    assert "Usage" in result.output
