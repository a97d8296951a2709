"""What is computed first: as a person said, then what a project computes anew, then what never was, then by age."""

from __future__ import annotations

import datetime
import time

import pytest

from adamacs.database import portable
from adamacs.modalities.imaging.plan import apply_activation, plan_activation
from adamacs.pipeline import imaging, scan, session, subject
from adamacs.workers import liveness
from adamacs.workers.claims import PRIORITY, URGENT_PRIORITY, Queue

LONG_AGO = datetime.datetime(2020, 1, 1)
INFO = dict.fromkeys(("nfields", "nchannels", "ndepths", "nframes", "nrois", "fps", "scan_duration"), 1)


@pytest.fixture
def lab(mouse_lab):
    """Two projects, three parameter sets, and one subject."""
    subject.Subject.insert1({"subject": "ANM-1"})
    subject.Project.insert([{"project": name} for name in ("barrels", "whiskers")])
    for number in range(3):
        imaging.ProcessingParamSet.insert_new({"tau": 1.5 + number}, paramset_idx=number)
    return mouse_lab


@pytest.fixture
def queue(lab):
    return Queue(imaging.Processing)


@pytest.fixture
def worker(queue):
    """A worker that beats."""
    identity = liveness.identify("cpu")
    liveness.register(queue.connection, identity, 30.0)
    return identity


def record(number, *projects):
    """Write down a scan whose header was read, in a session of some projects, and return its key."""
    key = {"session_id": f"sess{number}", "scan_id": f"scan{number}"}
    session.Session.insert1({**key, "subject": "ANM-1", "session_date": LONG_AGO.date()}, ignore_extra_fields=True)
    session.ProjectSession.insert(
        [{"project": name, "session_id": key["session_id"]} for name in projects], ignore_extra_fields=True
    )
    scan.Scan.insert1({**key, "acq_software": "ScanImage"})
    imaging.ScanInfo.insert1({**key, **INFO}, allow_direct_insert=True)
    return key


def ask(key, paramset_idx):
    row = {**key, "paramset_idx": paramset_idx}
    imaging.ProcessingTask.insert1({**row, "processing_output_dir": "x", "task_mode": "trigger"})
    return row


def compute(key, paramset_idx):
    row = ask(key, paramset_idx)
    told = {"processing_time": LONG_AGO, "package_version": "1.1.0", "manifest_digest": ""}
    imaging.Processing.insert1({**row, **told}, allow_direct_insert=True)


def activate(project, *numbers):
    for number in numbers:
        apply_activation(plan_activation(project, number))


def urgent():
    return [(row["scan_id"], row["paramset_idx"]) for row in imaging.Processing.urgent_keys().keys(order_by="KEY")]


def taken(queue, worker):
    return [(claim.key["scan_id"], claim.key["paramset_idx"]) for claim in queue.take(worker, 10)]


def test_scans_of_a_superseded_set_are_urgent_under_the_active_one(lab):
    done, fresh, elsewhere, old_again = (record(number, "barrels") for number in range(4))
    strange = record(4, "whiskers")
    for key in (done, elsewhere, old_again, strange):
        compute(key, 0)
    for key in (done, fresh, strange):
        ask(key, 1)
    ask(old_again, 2)  # not the set that the project uses now
    assert urgent() == []  # no project ever chose a set
    activate("barrels", 0)
    assert urgent() == []  # nothing is superseded
    activate("barrels", 1)
    assert urgent() == [("scan0", 1)]
    activate("whiskers", 1)
    assert urgent() == [("scan0", 1)]  # set 0 was never that of the other project
    activate("barrels", 2)
    assert urgent() == [("scan3", 2)]


def test_a_set_that_a_project_takes_up_again_is_not_superseded(lab):
    key = record(0, "barrels")
    compute(key, 0)
    ask(key, 1)
    activate("barrels", 0, 1, 0)
    assert urgent() == []
    assert imaging.ProjectParamSet.active().to_arrays("paramset_idx").tolist() == [0]
    assert imaging.ProjectParamSet.superseded().to_arrays("paramset_idx").tolist() == [1]
    activate("barrels", 1)
    assert urgent() == [("scan0", 1)]


def test_sets_are_compared_within_one_project(lab):
    """A session of two projects: one gave set 0 up for 2, the other uses 1 and never used 0."""
    key = record(0, "barrels", "whiskers")
    compute(key, 0)
    ask(key, 1)
    activate("barrels", 0, 2)
    activate("whiskers", 2, 1)
    assert urgent() == []
    ask(key, 2)
    assert urgent() == [("scan0", 2)]


def test_what_is_processed_or_whose_header_is_not_read_is_not_urgent(lab):
    key, unread = record(0, "barrels"), record(1, "barrels")
    for one in (key, unread):
        compute(one, 0)
    compute(key, 1)
    ask(unread, 1)
    (imaging.ScanInfo & unread).delete_quick()
    activate("barrels", 0, 1)
    assert urgent() == []


def test_a_person_comes_first_then_what_is_superseded_then_what_never_was_then_age(lab, queue, worker):
    new, old, again, wished, later = (record(number, "barrels") for number in range(5))
    compute(again, 0)
    activate("barrels", 0, 1)
    (wish, put_off) = (ask(key, 1) for key in (wished, later))
    imaging.Processing.jobs.refresh(wish, priority=1)
    imaging.Processing.jobs.refresh(put_off, priority=9)
    ask(old, 1)
    assert queue.stage() == 1
    time.sleep(0.01)  # the clock of the queue counts ms
    ask(new, 1)
    ask(again, 1)
    assert queue.stage() == 2
    expected = ["scan3", "scan2", "scan1", "scan0", "scan4"]
    assert taken(queue, worker) == [(name, 1) for name in expected]


def test_a_wish_for_a_key_that_waits_already_is_heard(lab, queue, worker):
    keys = [ask(record(number, "barrels"), 1) for number in range(3)]
    assert queue.stage() == 3
    assert imaging.Processing.jobs.refresh(keys[2], priority=1)["raised"] == 1
    assert taken(queue, worker)[0] == ("scan2", 1)
    assert imaging.Processing.jobs.refresh(keys[1], priority=1)["raised"] == 0  # somebody computes it
    assert set(imaging.Processing.jobs.to_arrays("status")) == {"reserved"}


def test_the_hearing_of_a_wish_is_still_needed(lab, queue):
    key = ask(record(0, "barrels"), 1)
    queue.stage()
    with portable.withdrawn():
        imaging.Processing.jobs.refresh(key, priority=1)
    assert imaging.Processing.jobs.fetch1("priority") == PRIORITY


def test_what_waits_already_becomes_urgent_and_what_was_put_off_stays_so(lab, queue):
    keys = [record(number, "barrels") for number in range(2)]
    for key in keys:
        compute(key, 0)
    asked = [ask(key, 1) for key in keys]
    imaging.Processing.jobs.refresh(asked[1], priority=9)
    queue.stage()
    activate("barrels", 0, 1)
    table = imaging.Processing
    assert portable.raise_priority(table, table.urgent_keys(), URGENT_PRIORITY, PRIORITY) == 1
    assert table.jobs.to_arrays("priority", order_by="scan_id").tolist() == [URGENT_PRIORITY, 9]
    assert portable.raise_priority(table, table.urgent_keys(), URGENT_PRIORITY, PRIORITY) == 0


def test_a_set_is_active_from_the_moment_on_in_which_it_was_chosen(lab):
    activate("barrels", 0, 1, 2)  # within one second
    rows = imaging.ProjectParamSet.to_dicts(order_by="active_since")
    assert [row["paramset_idx"] for row in rows] == [0, 1, 2]
    (now,) = imaging.schema.connection.query("SELECT CURRENT_TIMESTAMP").fetchone()
    assert abs(rows[0]["active_since"] - now.replace(tzinfo=None)) < datetime.timedelta(seconds=10)
    assert plan_activation("barrels", 2).is_done
    assert apply_activation(plan_activation("barrels", 2)) is None
    assert len(imaging.ProjectParamSet()) == 3
