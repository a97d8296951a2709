"""A worker that is stopped, or cut off, within a transaction holds nobody else up for longer than its lease."""

from __future__ import annotations

import time

import pytest

from adamacs.database import portable
from adamacs.schemas.operations import Heartbeat
from adamacs.workers import liveness
from adamacs.workers.claims import Locked, Queue
from adamacs.workers.liveness import Ending
from tests.integration.workplace import another_connection, new_worker

LIMIT = 1.0  # s


@pytest.fixture
def frozen(mouse_lab, monkeypatch):
    """The connection of a worker that stands still in the middle of everything."""
    monkeypatch.setattr(portable, "_longest_idle", None)
    with another_connection(mouse_lab.server) as connection:
        portable.limit_idle_transactions(connection, LIMIT)
        yield connection


def test_the_dead_are_buried_once_the_server_has_ended_their_transaction(mouse_lab, items, frozen):
    connection, queue = mouse_lab.connection, Queue(items.Cheap)
    queue.stage()
    dead = new_worker(connection)
    assert len(queue.take(dead, 2)) == 2
    frozen.start_transaction()
    frozen.query(f"DELETE FROM {queue.jobs.full_table_name} WHERE status = 'reserved'")
    began = time.monotonic()
    with pytest.raises(Locked, match="not over yet"):
        liveness.bury(dead.worker_id, [queue], kills=3)
    assert time.monotonic() - began < LIMIT / 2
    assert len(Heartbeat()) == 1  # so that the next look finds it again
    while time.monotonic() - began < LIMIT + 2:
        time.sleep(0.1)
    assert liveness.bury(dead.worker_id, [queue], kills=3).count == 2
    assert len(queue.jobs.pending) == 3
    with pytest.raises(portable.LOST):
        frozen.query("SELECT 1", reconnect=False)


def test_connections_that_are_opened_later_are_limited_too(mouse_lab, frozen):
    with another_connection(mouse_lab.server) as later:
        later.start_transaction()
        later.query("SELECT 1")
        time.sleep(LIMIT + 1.5)
        with pytest.raises(portable.LOST):
            later.query("SELECT 1", reconnect=False)


def test_a_key_that_took_longer_to_compute_than_the_limit_is_landed(mouse_lab, items, frozen):
    """MySQL ends the session meanwhile, which was in no transaction."""
    Queue(items.Cheap).stage()
    queue = Queue(items.Cheap, connection=frozen)
    worker = new_worker(mouse_lab.connection)
    (claim,) = queue.take(worker)
    time.sleep(LIMIT + 1.5)
    with queue.landing(worker.worker_id, claim, 1, Ending(claim.key, "done")):
        pass
    assert not queue.holds(worker.worker_id)
