"""Claims: one worker per key, in the right order, and side by side with DataJoint's own."""

from __future__ import annotations

import os
import platform
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from adamacs.database import statements
from adamacs.schemas.operations import Heartbeat
from adamacs.workers import claims
from adamacs.workers.claims import Fenced, Queue
from tests.integration.workplace import another_connection, new_worker


@pytest.fixture
def queue(items):
    """The queue of the cheap table; its three keys are not staged yet."""
    return Queue(items.Cheap)


@pytest.fixture
def worker(mouse_lab):
    return new_worker(mouse_lab.connection)


def keys(taken):
    return [claim.key["item"] for claim in taken]


def look(queue):
    ((_, missing, ready),) = claims.look([queue])
    return missing, ready


# ---- what there is to do


def test_a_look_tells_missing_from_ready(queue, worker):
    assert look(queue) == (True, False)
    assert queue.stage() == 3
    assert look(queue) == (False, True)
    queue.take(worker, 3)
    assert look(queue) == (False, False)


@pytest.mark.parametrize("restriction", [{}, {"item": 1}, {"item": "1", "nonsense": 2}])
def test_counting_and_looking_every_key_up_agree(items, worker, restriction):
    """Through every state that keys can be in: missing, staged, claimed, failed, done, done in spite of a job row."""
    queue = Queue(items.Cheap, restriction)
    assert "COUNT" in queue.look_sql()

    def agree():
        missing, _ = look(queue)
        assert missing == bool(queue.missing())
        return missing

    assert agree()
    items.Cheap.insert1({"item": 0, "double": 0}, allow_direct_insert=True)
    assert agree()
    queue.stage()
    assert not agree()
    taken = queue.take(worker, 1)
    queue.fail(worker.worker_id, taken[0], "[bug] test")
    assert not agree()
    items.Cheap.insert1({"item": 1, "double": 0}, allow_direct_insert=True)
    assert not agree()
    items.Cheap.jobs.delete()
    assert agree() == (not restriction)
    items.Item.insert1({"item": 7})
    items.Cheap.jobs.refresh()
    (items.Item & {"item": 7}).delete_quick()  # its job row stays, and stands for no key
    (items.Cheap & {"item": 1}).delete_quick()
    (items.Cheap.jobs & {"item": 1}).delete_quick()
    assert agree()


def test_a_table_with_a_key_source_of_its_own_is_looked_up_key_by_key(items, monkeypatch):
    items.Cheap.insert1({"item": 0, "double": 0}, allow_direct_insert=True)
    items.Cheap.insert1({"item": 1, "double": 0}, allow_direct_insert=True)
    monkeypatch.setattr(items.Cheap, "key_source", items.Item & "item > 1")
    queue = Queue(items.Cheap)
    assert "COUNT" not in queue.look_sql()
    assert look(queue)[0]


def test_staging_twice_stages_once(queue, backend):
    assert queue.stage() == 3
    assert queue.stage() == 0
    assert len(queue.jobs) == 3


def test_only_the_restricted_keys_are_staged_and_claimed(items, worker):
    queue = Queue(items.Cheap, {"item": 2, "colour": "grey"})
    assert queue.stage() == 1
    Queue(items.Cheap).stage()
    assert keys(queue.take(worker, 9)) == [2]
    assert keys(Queue(items.Cheap).take(worker, 9)) == [0, 1]


# ---- claiming


def test_no_key_is_claimed_twice_and_none_is_left(items, mouse_lab):
    items.Item.insert([{"item": n} for n in range(3, 400)])
    Queue(items.Cheap).stage()
    queues = [Queue(items.Cheap) for _ in range(8)]

    def take_all(number):
        queue = queues[number]
        with another_connection(mouse_lab.server) as own:
            queue.connection = own
            me, mine = new_worker(own), []
            while taken := queue.take(me, 1 + number % 3):
                mine += [(claim.key["item"], me.worker_id) for claim in taken]
        return mine

    with ThreadPoolExecutor(8) as threads:
        found = [pair for mine in threads.map(take_all, range(8)) for pair in mine]
    assert len(found) == len(dict(found)) == 400
    held = items.Cheap.jobs.to_arrays("item", "connection_id")
    assert dict(zip(*(column.tolist() for column in held), strict=True)) == dict(found)


def test_urgent_keys_come_first_then_those_that_were_noticed_first(items, worker):
    queue = Queue(items.Cheap)
    queue.stage()
    items.Item.insert1({"item": -1})
    time.sleep(0.002)  # the order is kept to the millisecond
    queue.stage()
    queue.jobs.update1({"item": 2, "priority": 1})
    taken = [keys(queue.take(worker, 1)) for _ in range(4)]
    assert taken[0] == [2]
    assert taken[3] == [-1]


def test_a_superseded_result_makes_its_keys_urgent(items, worker, monkeypatch):
    monkeypatch.setattr(items.Cheap, "urgent_keys", classmethod(lambda cls: items.Item & {"item": 2}), raising=False)
    queue = Queue(items.Cheap)
    assert queue.stage() == 3
    assert keys(queue.take(worker, 1)) == [2]


def test_what_was_handed_back_keeps_its_place(items, queue, worker):
    queue.stage()
    queue.take(worker, 3)
    items.Item.insert1({"item": 7})
    time.sleep(0.002)  # the order is kept to the millisecond
    queue.stage()
    assert queue.hand_back(worker.worker_id) == 3
    assert sorted(keys(queue.take(worker, 3))) == [0, 1, 2]


def test_a_key_that_waits_is_not_claimed_before_its_time(queue, worker):
    queue.stage()
    first, *_ = queue.take(worker, 1)
    queue.requeue(worker.worker_id, [first], 600.0, "[store] full")
    assert keys(queue.take(worker, 9)) == [1, 2]
    queue.jobs.update1({"item": 0, "scheduled_time": "2020-01-01"})
    (again,) = queue.take(worker, 9)
    assert again.before == "[store] full"


def test_a_worker_without_heartbeat_gets_nothing(queue, worker):
    queue.stage()
    (Heartbeat & {"worker_id": worker.worker_id}).delete_quick()
    assert queue.take(worker, 9) == []


def test_neither_a_beat_nor_a_claim_waits_for_the_other(queue, worker, mouse_lab):
    """A claim looks at the heartbeat; a lock on it would make the worker seem dead, or its queue empty."""
    from adamacs.workers import liveness

    queue.stage()
    with another_connection(mouse_lab.server) as other, statements.transaction(other):
        liveness.beat(other, worker.worker_id, 30.0)
        assert len(queue.take(worker, 1)) == 1
    with statements.transaction(mouse_lab.connection):
        queue.connection.query(queue._sql.choosing, (worker.worker_id, 1)).fetchall()
        with another_connection(mouse_lab.server) as other:
            other.query("SET lock_timeout = 2000" if queue._sql.is_postgresql else "SET innodb_lock_wait_timeout = 2")
            liveness.beat(other, worker.worker_id, 30.0)


def test_a_claim_says_when_its_row_is_there_already(items, queue, worker):
    queue.stage()
    items.Cheap.insert1({"item": 1, "double": 2}, allow_direct_insert=True)
    assert [claim.done for claim in queue.take(worker, 3)] == [False, True, False]


@pytest.mark.only_on("postgresql")
def test_a_claim_costs_the_same_however_many_keys_are_done(items, queue, worker):
    """With many keys waiting, the server liked to read the whole table of results for every claim."""
    numbers = "SELECT n FROM generate_series(1000, 20999) AS n"
    for table, columns in ((items.Item, "item"), (items.Cheap, 'item, "double"'), (items.Cheap.jobs, "item, status")):
        rest = {items.Item: "", items.Cheap: ", 0"}.get(table, ", 'pending'")
        name = table.full_table_name
        extra = ", priority" if "status" in columns else ""
        text = f"INSERT INTO {name} ({columns}{extra}) SELECT n{rest}{', 5' if extra else ''} FROM ({numbers}) AS k"
        queue.connection.query(text)
        queue.connection.query(f"ANALYZE {name}")
    plan = queue.connection.query(f"EXPLAIN {queue._sql.choosing}", (worker.worker_id, 50)).fetchall()
    text = "\n".join(line for (line,) in plan)
    assert "Index Only Scan using __cheap_pkey" in text
    assert "hashed" not in text


# ---- ending a claim


def test_only_who_holds_a_claim_may_land_it(queue, worker, mouse_lab):
    queue.stage()
    taken = queue.take(worker, 2)
    other = new_worker(mouse_lab.connection)
    for ending in (queue.acknowledge, queue.fence):
        with pytest.raises(Fenced), statements.transaction(mouse_lab.connection):
            ending(other.worker_id, taken)
    assert queue.requeue(other.worker_id, taken) == 0
    assert not queue.fail(other.worker_id, taken[0], "[bug] test")
    queue.forget(other.worker_id, taken[0])
    queue.requeue(worker.worker_id, taken[:1])
    for ending in (queue.acknowledge, queue.fence):
        with pytest.raises(Fenced), statements.transaction(mouse_lab.connection):
            ending(worker.worker_id, taken)
    queue.acknowledge(worker.worker_id, taken[1:])
    assert len(queue.jobs) == 2


@pytest.mark.parametrize("text", ["a\0b", "scan_\udcff.tif", "🐭" * 3000, "100 % of %s"])
def test_any_text_can_be_written_down(queue, worker, text):
    queue.stage()
    first, second, _ = queue.take(worker, 3)
    assert queue.fail(worker.worker_id, first, text, text)
    assert queue.requeue(worker.worker_id, [second], 5.0, text) == 1
    messages = (queue.jobs & "item < 2").to_arrays("error_message")
    assert messages[0] == messages[1] == statements.storable(text, 2047)


# ---- beside DataJoint's own claims


def test_populate_leaves_alone_what_a_worker_holds(items, queue, worker):
    queue.stage()
    assert keys(queue.take(worker, 2)) == [0, 1]
    assert items.Cheap.populate(reserve_jobs=True)["success_count"] == 1
    assert items.Cheap.to_arrays("item").tolist() == [2]
    assert len(queue.held(worker.worker_id)) == 2


def test_a_worker_leaves_alone_what_populate_holds(items, queue, worker):
    items.Cheap.jobs.refresh(delay=-1)
    assert items.Cheap.jobs.reserve({"item": 1})
    assert queue.sweep(0.0) == 0  # its process lives: this one
    assert keys(queue.take(worker, 9)) == [0, 2]


def test_a_refresh_of_datajoint_changes_nothing(items, queue, worker):
    queue.stage()
    taken = queue.take(worker, 2)
    before = queue.jobs.to_dicts(order_by="item")
    assert set(items.Cheap.jobs.refresh().values()) == {0}
    assert queue.jobs.to_dicts(order_by="item") == before
    queue.acknowledge(worker.worker_id, taken)


# ---- claims that nobody stands for


def test_orphans_are_handed_back_after_a_lease(queue, worker):
    queue.stage()
    queue.take(worker, 1)
    (Heartbeat & {"worker_id": worker.worker_id}).delete_quick()
    assert queue.sweep(30.0) == 0  # claimed just now: its worker may be beginning
    queue.jobs.update1({"item": 0, "reserved_time": "2020-01-01"})
    assert queue.sweep(30.0) == 1
    assert len(queue.jobs.pending) == 3


def test_the_claims_of_a_dead_notebook_are_handed_back(items, queue):
    items.Cheap.jobs.refresh(delay=-1)
    for item in range(3):
        items.Cheap.jobs.reserve({"item": item})
    gone = _dead_pid()
    items.Cheap.jobs.update1({"item": 0, "pid": gone})
    items.Cheap.jobs.update1({"item": 1, "pid": gone, "host": f"not-{platform.node()}"})
    assert queue.sweep(30.0) == 1
    assert items.Cheap.jobs.pending.to_arrays("item").tolist() == [0]


def _dead_pid():
    pid = os.posix_spawn("/bin/true", ["true"], {})
    os.waitpid(pid, 0)
    return pid
