"""The clockwork beside workers, on a clock and a database that the test moves."""

from __future__ import annotations

import pytest
from datajoint.errors import LostConnectionError

from adamacs.core.errors import DatabaseUnavailable
from adamacs.core.settings import Workers
from adamacs.workers import watch
from adamacs.workers.liveness import Suspect
from adamacs.workers.watch import Beater, Pulse, Watch

SETTINGS = Workers(beat=5.0, lease=30.0, kills=3)
ME, OTHER = 1, 2


class Database:
    """What the clockwork does with the database; it can be away, and somebody may look dead to it."""

    def __init__(self, monkeypatch):
        self.is_away = False
        self.suspects = []
        self.beats = []
        self.buried = []
        self.reconnections = 0
        for name in ("suspects", "beat", "bury"):
            monkeypatch.setattr(watch.liveness, name, getattr(self, f"_{name}"))

    def _answer(self):
        if self.is_away:
            raise LostConnectionError("away")

    def _suspects(self, connection, here):
        self._answer()
        return self.suspects

    def _beat(self, connection, worker_id, lease, stage, fraction):
        self._answer()
        self.beats.append((worker_id, stage, fraction))

    def _bury(self, worker_id, queues, kills, *, because, expired_only):
        self._answer()
        self.buried.append((worker_id, expired_only))
        self.suspects = []

    def reconnect(self):
        self.reconnections += 1
        if self.is_away:
            raise DatabaseUnavailable("away")


class Queue:
    connection = None

    def __init__(self):
        self.sweeps = []

    def sweep(self, lease):
        self.sweeps.append(lease)


@pytest.fixture
def database(monkeypatch):
    return Database(monkeypatch)


@pytest.fixture
def bench(database):
    """A clockwork whose clock stands at `bench.now`; `bench.run(s)` lets it tick ten times a second."""

    class Bench:
        now = 1000.0
        queue = Queue()

        def run(self, seconds, period=0.1):
            for _ in range(round(seconds / period)):
                self.now += period
                self.watch.tick()

    bench = Bench()
    bench.watch = Watch([bench.queue], SETTINGS, database.reconnect, clock=lambda: bench.now)
    return bench


def expired(worker_id=OTHER, machine="elsewhere"):
    return Suspect(worker_id, SETTINGS.lease, machine, 1, 1e9, True)


def test_the_living_beat_as_often_as_the_settings_say(bench, database):
    bench.watch.pulses[ME] = Pulse(ME, "registration", 0.5)
    bench.run(20)
    assert database.beats == [(ME, "registration", 0.5)] * 4


def test_a_process_that_is_stopped_does_not_beat(bench, database):
    bench.watch.pulses[ME] = Pulse(ME, is_alive=lambda: False)
    bench.run(20)
    assert database.beats == []


def test_nobody_is_judged_by_age_before_a_lease_of_answers(bench, database):
    database.suspects = [expired()]
    bench.run(29.9)
    assert database.buried == []
    bench.run(1.2)
    assert database.buried == [(OTHER, True)]


def test_after_an_outage_a_whole_lease_of_answers_is_awaited_again(bench, database):
    bench.run(100)
    database.is_away = True
    bench.run(60)
    database.is_away = False
    database.suspects = [expired()]  # its heartbeat stood still as everybody's
    bench.run(29.9)
    assert database.buried == []
    bench.run(2)
    assert database.buried == [(OTHER, True)]
    assert database.reconnections > 0


def test_the_shortest_outage_counts(bench, database):
    bench.run(100)
    database.is_away = True
    bench.run(1.5)
    database.is_away = False
    database.suspects = [expired()]
    bench.run(28)
    assert database.buried == []


def test_a_process_that_was_stopped_itself_judges_nobody_at_once(bench, database):
    """SIGSTOP, or a laptop's lid: the others may have been away just as long."""
    bench.run(100)
    bench.now += 600
    database.suspects = [expired()]
    bench.run(29)
    assert database.buried == []
    bench.run(2)
    assert database.buried == [(OTHER, True)]


def test_a_process_that_is_gone_from_this_machine_is_buried_at_once(bench, database):
    database.suspects = [expired(machine=watch.processes.machine())]  # process 1 is older than this number of it
    bench.run(0.1)
    assert database.buried == [(OTHER, False)]


def test_nobody_buries_its_own_workers(bench, database):
    bench.watch.pulses[ME] = Pulse(ME)
    database.suspects = [expired(ME)]
    bench.run(100)
    assert database.buried == []


def test_claims_without_a_worker_are_swept_once_per_lease_and_not_before_the_first(bench):
    bench.queue.sweeps.clear()
    bench.run(29)
    assert bench.queue.sweeps == []
    bench.run(100)
    assert bench.queue.sweeps == [30.0] * 4


def test_the_thread_ticks_until_it_is_ended(bench, database):
    bench.watch.pulses[ME] = Pulse(ME)
    beater = Beater(bench.watch, 0.001)
    beater.start()
    while not database.beats:
        pass
    beater.end()
    assert not beater.is_alive()
