"""The worker's loop: it finds, claims, computes and writes down, and what fails is kept and tried again."""

from __future__ import annotations

import errno
import logging
import subprocess
import sys
import time
from collections import Counter
from dataclasses import asdict

import pytest
from datajoint.errors import LostConnectionError

from adamacs.core import progress
from adamacs.core.errors import DatabaseUnavailable
from adamacs.schemas import operations
from adamacs.workers import loop, pauses
from adamacs.workers.claims import Queue
from adamacs.workers.roles import Role
from adamacs.workers.supervisor import Child, Supervisor
from tests.integration.workplace import ROOT, another_connection, new_worker, once, terminate, with_workers


@pytest.fixture
def settings(mouse_lab):
    return with_workers(mouse_lab.settings, attempts=2)


@pytest.fixture
def connection(mouse_lab):
    return mouse_lab.connection


@pytest.fixture
def computes(items, monkeypatch):
    """How often each key was computed; what is put into `computes.before` happens in the middle of it."""
    counts = Counter()
    counts.before = lambda key: None
    for table in (items.Cheap, items.Costly):
        monkeypatch.setattr(table, "make_compute", _counted(table.make_compute, counts))
    return counts


def _counted(original, counts):
    def make_compute(self, key, *fetched):
        counts[key["item"]] += 1
        counts.before(key)
        return original(self, key, *fetched)

    return make_compute


@pytest.fixture
def no_hurry(monkeypatch):
    """What failed is not tried again within the test, unless it says so."""
    monkeypatch.setattr(loop.failures, "delay", lambda failure, tries: 600.0)


@pytest.fixture
def at_point(monkeypatch):
    """Let something happen when the loop is at a named place, the first time."""

    def arrange(place, action):
        do = once(action)
        monkeypatch.setattr(loop.points, "reach", lambda name: do() if name == place else None)

    return arrange


def drain(settings, *tables):
    return loop.drain(Role("cpu"), settings, tables)


def outcomes():
    return sorted(operations.Attempt.to_arrays("outcome").tolist())


def assert_all_done(table, count=3):
    assert len(table()) == count
    assert len(table.jobs) == 0
    assert len(operations.Heartbeat()) == 0


# ---- order


def test_everything_that_is_missing_is_computed_children_at_once(items, mouse_lab):
    tally = drain(mouse_lab.settings, items.Cheap, items.Costly, items.Total)
    assert tally.failed == []
    assert tally.done == {"work.Cheap": 3, "work.Costly": 3, "work.Total": 3}
    assert items.Total.to_arrays("total").tolist() == [0, 4000, 8000]
    assert len(items.Cheap.jobs) == len(items.Costly.jobs) == len(items.Total.jobs) == 0
    assert operations.Attempt.to_arrays("outcome").tolist() == ["done"] * 9
    assert len(operations.Heartbeat()) == 0


def test_no_table_starves_another(items, settings, monkeypatch):
    """A long queue of single keys and a long one of batches take turns, and a child does not wait for all parents."""
    items.Item.insert([{"item": n, "seconds": 0.02} for n in range(3, 60)])
    order = []
    for table in (items.Cheap, items.Costly, items.Total):
        monkeypatch.setattr(table, "make_insert", _noted(table.make_insert, order, table.__name__))
    assert drain(settings, items.Costly, items.Cheap, items.Total).failed == []
    assert order.index("Cheap") < 5
    assert order.index("Total") < len(order) - 1 - order[::-1].index("Costly")


def _noted(original, order, name):
    def make_insert(self, key, *computed):
        order.append(name)
        original(self, key, *computed)

    return make_insert


_DRAIN = """
import sys, warnings
warnings.simplefilter("ignore")
from pathlib import Path
from adamacs import pipeline
from adamacs.core import settings
from adamacs.database import connect
from adamacs.workers import loop
from adamacs.workers.roles import Role
from adamacs.workers.supervisor import Child, Supervisor
from tests.labs import fresh_module

lab = settings.load(Path(sys.argv[1]))
work = fresh_module("work")
connect.activate([work], lab.database.prefix, pipeline.connect(lab), create=False)
tally = loop.drain(Role("cpu"), lab, [work.Cheap, work.Costly, work.Total])
print(sum(tally.done.values()), tally.failed)
"""


def test_processes_side_by_side_compute_every_key_once(items, settings):
    items.Item.insert([{"item": n} for n in range(3, 300)])
    command = [sys.executable, "-c", _DRAIN, str(settings.home)]
    workers = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) for _ in range(4)]
    said = [worker.communicate(timeout=120)[0].split(maxsplit=1) for worker in workers]
    assert [failed.strip() for _, failed in said] == ["[]"] * 4
    assert drain(settings, items.Cheap, items.Costly, items.Total).failed == []
    for table in (items.Cheap, items.Costly, items.Total):
        assert_all_done(table, 300)
    assert outcomes() == ["done"] * 900


def test_what_is_paused_is_left_alone_and_still_noticed(items, settings):
    pauses.pause("table:work.Cheap", "the share is being moved")
    drain(settings, items.Cheap, items.Costly)
    assert len(items.Cheap()) == 0
    assert len(items.Cheap.jobs.pending) == 3
    assert_all_done(items.Costly)
    pauses.resume("table:work.Cheap")
    pauses.pause(pauses.scope(role="gpu"))
    drain(settings, items.Cheap)
    assert_all_done(items.Cheap)


# ---- failures


@pytest.mark.parametrize(
    "error, status, failure",
    [
        (ValueError("no number"), "error", "bug"),
        (PermissionError(errno.EACCES, "denied", "a.tif"), "error", "permission"),
        (FileNotFoundError(errno.ENOENT, "gone", "scan_\udcff.tif"), "pending", "missing_file"),
        (OSError(errno.ENOSPC, "full"), "pending", "store"),
        (MemoryError("a\0b"), "pending", "memory"),
    ],
)
@pytest.mark.parametrize("table", ["Cheap", "Costly"])
def test_one_failing_key_keeps_no_other_back(items, computes, settings, no_hurry, table, error, status, failure):
    """It is recorded with its traceback, and the class decides whether it waits for a time or for a person."""

    def fail(key):
        if key["item"] == 1:
            raise error

    computes.before = fail
    table = getattr(items, table)
    tally = drain(settings, table)
    assert sorted(table.to_arrays("item").tolist()) == [0, 2]
    assert len(tally.failed) == 1
    job = table.jobs.fetch1()
    assert (job["item"], job["status"]) == (1, status)
    assert job["error_message"].startswith(f"[{failure}] {type(error).__name__}")
    assert outcomes() == ["done", "done", "failed"]
    attempt = (operations.Attempt & {"outcome": "failed"}).fetch1()
    assert attempt["failure"] == failure
    assert attempt["job_key"] == {"item": 1}
    assert "make_compute" in attempt["traceback"]
    assert max(computes.values()) <= (1 if table is items.Costly else 2)  # cheap ones together, then kept apart


def test_a_key_is_tried_again_alone_and_only_so_often(items, computes, settings, no_hurry, connection):
    def fail(key):
        raise FileNotFoundError(errno.ENOENT, "gone", "a.tif")

    computes.before = fail
    created = None
    for tries in (1, 2):
        drain(settings, items.Cheap)
        connection.query(f"UPDATE {items.Cheap.jobs.full_table_name} SET scheduled_time = '2020-01-01'")
        assert outcomes() == ["failed"] * 3 * tries
        assert created in (None, created := sorted(items.Cheap.jobs.to_arrays("created_time").tolist()))
    before = computes.copy()
    drain(settings, items.Cheap)
    assert computes == before
    assert set(items.Cheap.jobs.to_arrays("status").tolist()) == {"error"}
    assert outcomes() == ["failed"] * 6


def test_a_key_that_failed_before_does_not_wait_for_those_that_came_later(items, computes, settings):
    items.Item.insert([{"item": n} for n in range(3, 200)])
    with loop.at_work(Role("cpu"), settings, [items.Cheap]) as slot:
        slot._look()
        items.Cheap.jobs.update1({"item": 2, "error_message": "[file] gone", "scheduled_time": "2020-01-01"})
        slot._turns()
        assert items.Cheap.keys() == [{"item": 2}] and set(items.Cheap.jobs.to_arrays("status").tolist()) == {"pending"}
        slot._turns()
        assert len(items.Cheap()) == 51


def test_what_waits_for_a_store_waits_longer_than_the_limit_of_attempts(items, computes, settings, no_hurry):
    (items.Item & "item > 0").delete_quick()

    def fail(key):
        raise OSError(errno.EROFS, "read-only")

    computes.before = fail
    for _ in range(4):
        drain(settings, items.Costly)
        items.Costly.jobs.update1({"item": 0, "scheduled_time": "2020-01-01"})
    assert items.Costly.jobs.fetch1("status") == "pending"
    computes.before = lambda key: None
    drain(settings, items.Costly)
    assert_all_done(items.Costly, 1)


def test_a_key_whose_parent_went_away_is_dropped(items, computes, settings, mouse_lab):
    def remove(key):
        if key["item"] == 1:
            with another_connection(mouse_lab.server) as other:
                other.query(f"DELETE FROM {items.Item().full_table_name} WHERE item = 1")

    computes.before = remove
    tally = drain(settings, items.Costly)
    assert tally.failed == []
    assert_all_done(items.Costly, 2)
    assert outcomes() == ["done", "done"]


@pytest.mark.parametrize("table", ["Cheap", "Costly"])
def test_a_row_that_somebody_else_inserted_is_no_failure(items, computes, settings, mouse_lab, table):
    table = getattr(items, table)
    value = "'{}'" if table is items.Costly else "0"
    column = table.connection.adapter.quote_identifier(table.heading.secondary_attributes[0])

    def insert(key):
        if key["item"] == 1:
            with another_connection(mouse_lab.server) as other:
                other.query(f"INSERT INTO {table.full_table_name} (item, {column}) VALUES (1, {value})")

    computes.before = insert
    assert drain(settings, table).failed == []
    assert_all_done(table)
    assert "failed" not in outcomes()


def test_a_worker_that_is_alone_goes_on_after_a_key_that_took_all_memory(items, computes, settings):
    def fail(key):
        if key["item"] == 0:
            raise MemoryError("too much")

    computes.before = fail
    drain(settings, items.Costly)
    assert items.Costly.to_arrays("item").tolist() == [1, 2]


# ---- claims that are taken away


@pytest.mark.parametrize("table", ["Cheap", "Costly"])
def test_who_lost_a_claim_meanwhile_lands_nothing(items, computes, settings, mouse_lab, at_point, table):
    """Another worker got the key, and computes it still: this one's result is rolled back, quietly."""
    table = getattr(items, table)
    other = new_worker(mouse_lab.connection, machine="elsewhere")

    def steal():
        with another_connection(mouse_lab.server) as own:
            own.query(f"UPDATE {table.jobs.full_table_name} SET connection_id = {other.worker_id} WHERE item = 1")

    at_point("after claim" if table is items.Cheap else "computed", steal)
    if table is items.Costly:
        (items.Item & "item != 1").delete_quick()
    tally = drain(settings, table)
    assert tally.failed == []
    assert 1 not in table.to_arrays("item")
    assert table.jobs.fetch1("connection_id") == other.worker_id
    if table is items.Costly:
        assert outcomes() == ["fenced"]
    else:
        assert sorted(table.to_arrays("item").tolist()) == [0, 2]


@pytest.mark.parametrize("way", ["stolen", "cancelled"])
def test_who_lost_one_key_of_a_batch_blames_no_other(items, computes, settings, mouse_lab, at_point, caplog, way):
    caplog.set_level(logging.INFO, "adamacs")
    other = new_worker(mouse_lab.connection, machine="elsewhere")
    change = {"stolen": f"connection_id = {other.worker_id}", "cancelled": "status = 'ignore'"}[way]
    blamed = []

    def lose():
        with another_connection(mouse_lab.server) as own:
            own.query(f"UPDATE {items.Cheap.jobs.full_table_name} SET {change} WHERE item = 1")

    def look(key):
        with another_connection(mouse_lab.server) as own:
            text = f"SELECT error_message FROM {items.Cheap.jobs.full_table_name} WHERE item <> 1"
            blamed.extend(message for (message,) in own.query(text) if message)

    computes.before = look
    at_point("after claim", lose)
    assert drain(settings, items.Cheap).failed == []
    assert sorted(items.Cheap.to_arrays("item").tolist()) == [0, 2]
    assert computes == {0: 1, 2: 1}
    assert blamed == []
    assert "fenced  work.Cheap item=1: lost, the 2 keys beside are tried again" in caplog.messages


@pytest.mark.parametrize("error", [ValueError("no number"), FileNotFoundError(errno.ENOENT, "gone", "a.tif")])
def test_an_error_over_a_key_that_is_anothers_by_then_is_no_failure_of_it(
    items, computes, settings, mouse_lab, no_hurry, error
):
    (items.Item & "item != 1").delete_quick()
    other = new_worker(mouse_lab.connection, machine="elsewhere")

    def fail(key):
        with another_connection(mouse_lab.server) as own:
            own.query(f"UPDATE {items.Costly.jobs.full_table_name} SET connection_id = {other.worker_id}")
        raise error

    computes.before = fail
    assert drain(settings, items.Costly).failed == []
    assert outcomes() == ["fenced"]
    assert Queue(items.Costly).failures({"item": 1}) == 0
    job = items.Costly.jobs.fetch1()
    assert (job["status"], job["connection_id"], job["error_message"]) == ("reserved", other.worker_id, "")


# ---- the database goes away


@pytest.mark.parametrize("place", ["after claim", "computed", "before commit", "after commit"])
@pytest.mark.parametrize("table", ["Cheap", "Costly"])
def test_a_lost_connection_costs_no_result(items, computes, settings, mouse_lab, at_point, table, place):
    table = getattr(items, table)
    at_point(place, lambda: terminate(mouse_lab.connection, mouse_lab.server))
    assert drain(settings, table).failed == []
    assert_all_done(table)
    assert outcomes() == ["done"] * 3
    if table is items.Costly:
        assert computes == {0: 1, 1: 1, 2: 1}


def test_a_connection_lost_between_two_inserts_lands_neither_alone(items, computes, settings, mouse_lab, monkeypatch):
    """And a look at the connection's state in between does not make the second one a statement of its own."""
    original = items.Costly.make_insert
    lose = once(lambda: terminate(mouse_lab.connection, mouse_lab.server))
    seen = []

    def make_insert(self, key, trace):
        lose()
        seen.append(self.connection.in_transaction)
        original(self, key, trace)
        with another_connection(mouse_lab.server) as other:
            text = f"SELECT COUNT(*) FROM {items.Costly().full_table_name} WHERE item = {key['item']}"
            assert other.query(text).fetchone() == (0,)

    monkeypatch.setattr(items.Costly, "make_insert", make_insert)
    assert drain(settings, items.Costly).failed == []
    assert seen[0] is False
    assert_all_done(items.Costly)
    assert computes == {0: 1, 1: 1, 2: 1}


@pytest.mark.parametrize("table", ["Cheap", "Costly"])
def test_a_commit_whose_answer_was_lost_is_not_done_twice(items, computes, settings, connection, monkeypatch, table):
    table = getattr(items, table)
    original = connection.commit_transaction
    lost = []

    def commit():
        original()
        if computes and not lost:
            lost.append(True)
            raise LostConnectionError("the answer was lost")

    monkeypatch.setattr(connection, "commit_transaction", commit)
    assert drain(settings, table).failed == []
    assert lost
    assert_all_done(table)
    assert computes == {0: 1, 1: 1, 2: 1}
    assert outcomes() == ["done"] * 3


def test_a_commit_that_did_not_happen_is_done_again(items, computes, settings, connection, mouse_lab, monkeypatch):
    original = connection.commit_transaction
    lose = once(lambda: terminate(connection, mouse_lab.server))

    def commit():
        if computes:
            lose()
        original()

    monkeypatch.setattr(connection, "commit_transaction", commit)
    assert drain(settings, items.Costly).failed == []
    assert_all_done(items.Costly)
    assert computes == {0: 1, 1: 1, 2: 1}


@pytest.mark.parametrize("after", [False, True])
def test_a_claim_whose_answer_was_lost_is_handed_back(items, computes, settings, mouse_lab, monkeypatch, after):
    original, lost = Queue.take, []

    def take(self, worker, limit):
        if lost:
            return original(self, worker, limit)
        lost.append(True)
        if not after:
            terminate(mouse_lab.connection, mouse_lab.server)
        taken = original(self, worker, limit)
        assert len(taken) == 1
        raise LostConnectionError("the answer was lost")

    monkeypatch.setattr(Queue, "take", take)
    assert drain(settings, items.Costly).failed == []
    assert_all_done(items.Costly)
    assert computes == {0: 1, 1: 1, 2: 1}


def test_a_result_outlasts_an_outage(items, computes, settings, mouse_lab, connection, at_point, monkeypatch):
    """The server is away for several tries, and goes away again when it is asked whether the commit went through."""
    original, refusals = loop.database.open_connection, iter(range(3))

    def open_connection(settings):
        if (left := next(refusals, None)) is not None:
            raise DatabaseUnavailable(f"away ({left})")
        again()
        return original(settings)

    def lose():
        terminate(connection, mouse_lab.server)

    again = once(lambda: (original(settings), lose()))
    monkeypatch.setattr(loop.database, "open_connection", open_connection)
    at_point("before commit", lose)
    assert drain(settings, items.Costly).failed == []
    assert_all_done(items.Costly)
    assert computes == {0: 1, 1: 1, 2: 1}


def test_an_outage_while_a_result_waits_is_no_standstill(items, settings, mouse_lab, connection, at_point, monkeypatch):
    """The supervisor hears of it for as long as it lasts: no key is blamed for the database."""
    (items.Item & "item > 0").delete_quick()
    monkeypatch.setattr(loop, "_PATIENCE", 0.1)
    original, ends = loop.database.open_connection, time.monotonic() + 600
    daemon = Supervisor(Role("cpu"), settings)

    def open_connection(settings):
        daemon._inspect(child, look_at_claims=False)
        if time.monotonic() < ends:
            raise DatabaseUnavailable("away")
        return original(settings)

    def lose():
        nonlocal ends
        ends = time.monotonic() + 2
        terminate(connection, mouse_lab.server)

    def hear(step):
        with progress.listening(None):  # the daemon would tell it on
            daemon._take_in(child, {"event": "progress", **asdict(step)})

    at_point("computed", lose)
    with subprocess.Popen(["sleep", "600"]) as process, progress.listening(hear):
        child = Child(process, time.monotonic())
        began = {"event": "began", "table": "work.Costly", "keys": [{"item": 0}], "count": 1, "stale_after": 0.5}
        with loop.at_work(Role("cpu"), settings, [items.Costly]) as slot:
            monkeypatch.setattr(loop.database, "open_connection", open_connection)
            daemon._take_in(child, began)
            assert slot.round() == 1
        process.kill()
    assert child.verdict is None
    assert_all_done(items.Costly, 1)


def test_a_deadlock_at_the_insert_costs_no_result(items, computes, settings, monkeypatch):
    """The database gives one of two up that wait for each other; that one tries again with what it has."""
    original, raised = items.Costly.make_insert, []

    def make_insert(self, key, trace):
        if not raised:
            raised.append(True)
            raise _deadlock(self.connection.adapter.backend)
        original(self, key, trace)

    monkeypatch.setattr(items.Costly, "make_insert", make_insert)
    assert drain(settings, items.Costly).failed == []
    assert_all_done(items.Costly)
    assert computes == {0: 1, 1: 1, 2: 1}


@pytest.mark.parametrize("step", ["stage", "take", "failures"])
def test_a_deadlock_anywhere_else_is_lived_through(items, computes, settings, monkeypatch, step):
    original, raised = getattr(Queue, step), []

    def unlucky(self, *arguments):
        if not raised:
            raised.append(True)
            raise _deadlock(self.connection.adapter.backend)
        return original(self, *arguments)

    def fail(key):
        if key["item"] == 1:
            raise ValueError("no number")

    monkeypatch.setattr(Queue, step, unlucky)
    computes.before = fail
    drain(settings, items.Costly)
    assert raised
    assert sorted(items.Costly.to_arrays("item").tolist()) == [0, 2]
    assert items.Costly.jobs.fetch1("status") == "error"
    assert outcomes() == ["done", "done", "failed"]


def _deadlock(backend):
    if backend == "mysql":
        import pymysql

        return pymysql.err.OperationalError(1213, "Deadlock found when trying to get lock; try restarting transaction")
    import psycopg2

    return psycopg2.errors.DeadlockDetected("deadlock detected")


def test_a_worker_that_ends_while_the_database_is_away_ends_quietly(items, settings, mouse_lab, caplog):
    caplog.set_level(logging.ERROR, "adamacs")
    with loop.at_work(Role("cpu"), settings, [items.Cheap]) as slot:
        assert slot.round() == 3
        terminate(mouse_lab.connection, mouse_lab.server)
    assert_all_done(items.Cheap)
    assert caplog.records == []
