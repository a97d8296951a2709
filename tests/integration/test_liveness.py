"""Who is alive, and what becomes of the keys of the dead."""

from __future__ import annotations

import os
import signal
import threading
import time

import pytest

from adamacs.core import processes
from adamacs.database import statements
from adamacs.schemas.operations import Attempt, Heartbeat, Worker
from adamacs.workers import liveness, loop
from adamacs.workers.claims import Fenced, Queue
from adamacs.workers.roles import Role
from adamacs.workers.watch import Watch
from tests.integration.workplace import another_connection, holder, new_worker, terminate, with_workers

LEASE = 30.0


@pytest.fixture
def connection(mouse_lab):
    return mouse_lab.connection


@pytest.fixture
def queue(items):
    queue = Queue(items.Cheap)
    queue.stage()
    return queue


@pytest.fixture
def clock():
    class Clock:
        now = 1000.0

        def __call__(self):
            return self.now

    return Clock()


@pytest.fixture
def watch(mouse_lab, items, queue, clock):
    with another_connection(mouse_lab.server) as own:
        yield Watch([Queue(items.Cheap, connection=own)], mouse_lab.settings.workers, own.connect, clock=clock)


def stood_still(connection, worker, seconds):
    """Let a worker's last beat be so long ago."""
    ago = statements.seconds_from_now(connection)
    text = f"UPDATE {Heartbeat().full_table_name} SET beat_time = {ago} WHERE worker_id = %s"
    connection.query(text, (-seconds, worker.worker_id))


def pass_time(watch, clock, seconds):
    for _ in range(round(seconds)):
        clock.now += 1
        watch.tick()


# ---- the row of a worker


def test_a_worker_is_written_down_and_beats_on_the_clock_of_the_database(connection, mouse_lab):
    me = new_worker(connection, tools={"suite2p": "1.0"}, log_file="a.log")
    row = (Worker & {"worker_id": me.worker_id}).fetch1()
    assert (row["pid"], row["machine"], row["tool_versions"]) == (os.getpid(), processes.machine(), {"suite2p": "1.0"})
    before = Heartbeat.fetch1()
    liveness.beat(connection, me.worker_id, LEASE, "registration", 0.25)
    after = Heartbeat.fetch1()
    assert after["beat_time"] > before["beat_time"]
    assert (after["stage"], after["fraction"]) == ("registration", 0.25)
    liveness.beat(connection, me.worker_id, LEASE, "registration", 0.5)
    assert Heartbeat.fetch1("stage_since") == after["stage_since"]
    liveness.beat(connection, me.worker_id, LEASE)
    assert Heartbeat.fetch1("stage_since") > after["stage_since"]


def test_who_leaves_hands_back_and_is_no_suspect(connection, queue):
    me = new_worker(connection)
    queue.take(me, 2)
    assert liveness.leave(connection, me.worker_id, [queue]) == 2
    assert len(queue.jobs.pending) == 3
    assert len(Heartbeat()) == 0
    assert len(Worker()) == 1
    assert liveness.suspects(connection, processes.machine()) == []


@pytest.mark.parametrize("lease, seconds, late", [(30.0, 29.0, False), (30.0, 31.0, True), (0.5, 0.8, True)])
def test_a_lease_is_counted_in_parts_of_a_second(connection, lease, seconds, late):
    me = new_worker(connection, lease, machine="elsewhere")
    stood_still(connection, me, seconds)
    assert [suspect.expired for suspect in liveness.suspects(connection, "here")] == ([True] if late else [])


# ---- deaths


def test_a_killed_process_is_buried_at_once(mouse_lab, queue, watch):
    """kill -9 on this machine: its keys are free with the next tick, and the attempts say what happened."""
    with holder(mouse_lab.settings, "Cheap", 2) as (process, worker_id, count):
        assert count == 2
        watch.tick()
        assert len(queue.held(worker_id)) == 2
        process.send_signal(signal.SIGKILL)
        process.wait()
        pass_time(watch, watch._clock, 2)
    assert len(queue.jobs.pending) == 3
    assert len(Heartbeat()) == 0
    assert Attempt.to_arrays("outcome").tolist() == ["killed"] * 2
    assert set(Attempt.to_arrays("attempt").tolist()) == {-1, -2}


def test_a_zombie_is_dead(mouse_lab, queue, watch):
    with holder(mouse_lab.settings, "Cheap", 1) as (process, _, _):
        began = processes.start_of(process.pid)
        os.kill(process.pid, signal.SIGKILL)
        deadline = time.monotonic() + 20
        while processes.is_running(process.pid, began):
            assert time.monotonic() < deadline
        watch.tick()
    assert len(queue.jobs.pending) == 3


def test_a_worker_of_another_machine_is_judged_by_age_after_a_lease_of_answers(connection, queue, watch, clock):
    other = new_worker(connection, LEASE, machine="elsewhere")
    queue.take(other, 1)
    stood_still(connection, other, 100)
    pass_time(watch, clock, 29)
    assert len(queue.held(other.worker_id)) == 1
    pass_time(watch, clock, 3)
    assert len(queue.jobs.pending) == 3
    assert "no sign of life for 30 s" in Attempt.fetch1("message")


def test_after_an_outage_a_worker_whose_heartbeat_stood_still_keeps_its_key(connection, mouse_lab, queue, watch, clock):
    other = new_worker(connection, LEASE, machine="elsewhere")
    queue.take(other, 1)
    pass_time(watch, clock, 60)
    stood_still(connection, other, 100)  # nobody could beat
    terminate(watch._connection, mouse_lab.server)
    pass_time(watch, clock, 28)
    assert len(queue.held(other.worker_id)) == 1
    liveness.beat(connection, other.worker_id, LEASE)
    pass_time(watch, clock, 60)
    assert len(queue.held(other.worker_id)) == 1
    assert len(Attempt()) == 0


def test_a_worker_that_beats_again_in_the_last_moment_is_not_buried(connection, queue):
    other = new_worker(connection, LEASE, machine="elsewhere")
    queue.take(other, 1)
    assert liveness.bury(other.worker_id, [queue], 3, expired_only=True).count == 0
    assert len(queue.held(other.worker_id)) == 1


def test_a_death_is_recorded_once_whoever_notices(connection, queue):
    other = new_worker(connection, machine="elsewhere")
    queue.take(other, 2)
    counts = [liveness.bury(other.worker_id, [queue], 3).count for _ in range(3)]
    assert counts == [2, 0, 0]
    assert len(Attempt()) == 2


def test_a_worker_taken_for_dead_that_comes_back_is_fenced_and_goes_on(connection, queue):
    """SIGSTOP past the lease, then SIGCONT: its old claims are gone, and it may claim again."""
    me = new_worker(connection, machine="elsewhere")
    old = queue.take(me, 2)
    liveness.bury(me.worker_id, [queue], 3)
    assert queue.take(me, 1) == []
    liveness.beat(connection, me.worker_id, LEASE)
    with pytest.raises(Fenced), statements.transaction(connection):
        queue.acknowledge(me.worker_id, old)
    assert len(queue.take(me, 3)) == 3
    liveness.bury(me.worker_id, [queue], 3)
    assert sorted(Attempt.to_arrays("attempt").tolist()) == [-5, -4, -3, -2, -1]


def test_a_key_that_kills_its_workers_stops_after_the_limit(connection, queue):
    queue.jobs.update1({"item": 0, "priority": 1})
    for death in range(1, 4):
        worker = new_worker(connection, machine="elsewhere")
        queue.take(worker, 1)
        liveness.bury(worker.worker_id, [queue], 3, because="The process of the worker is gone.")
        assert len(queue.jobs.errors) == (death == 3)
    assert queue.jobs.errors.fetch1("error_message") == "[killed] The process of the worker is gone."
    assert len(queue.jobs.pending) == 2


def test_a_person_who_asks_again_forgives_earlier_deaths(connection, queue):
    queue.jobs.update1({"item": 0, "priority": 1})
    for _ in range(3):
        worker = new_worker(connection, machine="elsewhere")
        queue.take(worker, 1)
        liveness.bury(worker.worker_id, [queue], 3)
    key = queue.jobs.errors.fetch1("KEY")
    (queue.jobs & key).delete_quick()
    queue.stage()
    worker = new_worker(connection, machine="elsewhere")
    assert len(queue.take(worker, 3)) == 3
    liveness.bury(worker.worker_id, [queue], 3)
    assert len(queue.jobs.pending) == 3


def test_what_a_batch_died_over_is_tried_singly(connection, items, queue, mouse_lab, monkeypatch):
    """Which of them killed the worker is not known; held alone, no other is suspected with it."""
    worker = new_worker(connection, machine="elsewhere")
    queue.take(worker, 3)
    liveness.bury(worker.worker_id, [queue], 3)
    assert all("3 keys of the table at once" in message for message in Attempt.to_arrays("message"))
    original, held = items.Cheap.make_compute, []

    def make_compute(self, key, value):
        held.append(len(queue.jobs.reserved))
        return original(self, key, value)

    monkeypatch.setattr(items.Cheap, "make_compute", make_compute)
    assert loop.drain(Role("cpu"), mouse_lab.settings, [items.Cheap]).failed == []
    assert held == [1, 1, 1]


@pytest.mark.parametrize("outcome", ["cancelled", "stopped"])
def test_a_key_whose_worker_was_ended_on_purpose_is_not_suspected(connection, queue, outcome):
    worker = new_worker(connection)
    taken = queue.take(worker, 1)
    assert liveness.bury(worker.worker_id, [queue], 1, outcome=outcome, because="ana@rig").count == 1
    assert queue.take(new_worker(connection), 3).count(taken[0]) == 1
    assert Attempt.fetch1("outcome") == outcome
    assert len(queue.jobs.errors) == 0


def test_a_worker_beats_while_it_computes_longer_than_its_lease(items, mouse_lab):
    """And the clockwork of another one, with the same short lease, leaves it alone."""
    (items.Item & "item > 0").delete_quick()
    items.Item.update1({"item": 0, "seconds": 2.5})
    settings = with_workers(mouse_lab.settings, lease=1.0, beat=0.2)
    with another_connection(mouse_lab.server) as own:
        watch = Watch([Queue(items.Costly, connection=own)], settings.workers, own.connect)
        watch._here = "another machine"
        beater = loop.Beater(watch, 0.2)
        beater.start()
        try:
            assert loop.drain(Role("cpu"), settings, [items.Costly]).failed == []
        finally:
            beater.end()
    assert Attempt.to_arrays("outcome").tolist() == ["done"]


def test_what_looks_for_the_dead_beside_a_worker_leaves_its_connection_alone(items, mouse_lab, monkeypatch):
    """A connection is no use to two threads: statements of the one would end up in a transaction of the other."""
    (items.Item & "item > 0").delete_quick()
    items.Item.update1({"item": 0, "seconds": 1.5})
    settings = with_workers(mouse_lab.settings, lease=0.4, beat=0.1)
    main, swept, connection = threading.get_ident(), [], mouse_lab.connection
    query, sweep = type(connection).query, Queue.sweep

    def query_told(self, *arguments, **options):
        assert self is not connection or threading.get_ident() == main
        return query(self, *arguments, **options)

    monkeypatch.setattr(type(connection), "query", query_told)
    monkeypatch.setattr(Queue, "sweep", lambda queue, lease: swept.append(sweep(queue, lease)))
    assert loop.drain(Role("cpu"), settings, [items.Costly]).failed == []
    assert swept
    assert Attempt.to_arrays("outcome").tolist() == ["done"]
