"""The daemon as a user runs it: real processes, real signals, and what the database says afterwards."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from adamacs.core import processes
from adamacs.database import portable
from adamacs.schemas import operations
from adamacs.workers import jobs, liveness, roles
from adamacs.workers.liveness import TOKEN_FLOOR
from adamacs.workers.roles import Role
from adamacs.workers.supervisor import Child, Supervisor

ROOT = Path(__file__).parents[2]
PATIENCE = 60  # s


@pytest.fixture
def daemon(items, mouse_lab, tmp_path):
    """Start `adamacs work` for the tables of `tests/tables/work.py`, with settings of one's own."""
    items.Item().delete_quick()

    @contextmanager
    def start(**settings):
        chosen = {"lease": 10, "beat": 0.5, "poll": 0.2, **settings}
        variables = {f"ADAMACS_WORKERS_{name.upper()}": str(value) for name, value in chosen.items()}
        command = [sys.executable, "-m", "tests.chaos.worker", "daemon", os.uname().nodename, str(tmp_path)]
        log = (tmp_path / "daemon.log").open("wb")
        process = subprocess.Popen(
            [*command, str(mouse_lab.home), "1"],
            cwd=ROOT,
            env={**os.environ, **variables},
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
        )
        try:
            yield process
        finally:
            process.kill()
            process.communicate()
            log.close()

    return start


def until(condition, seconds=PATIENCE):
    """Wait for something to become true, and return it."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.05)
    return found


def running(table):
    """Return the claim that is computed now, if any."""
    found = (portable.job_table(table) & {"status": "reserved"}).to_dicts()
    return found[0] if found else None


def is_gone(pid):
    """Whether a process ended, though nobody may have waited for it."""
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def outcomes(table="work.Costly"):
    """Return how the attempts at a table ended, in order."""
    return (operations.Attempt & {"table_name": table}).to_arrays("outcome", order_by="ended_at").tolist()


def test_a_killed_worker_is_replaced_and_its_key_computed_at_once(daemon, items):
    items.Item.insert1({"item": 1, "seconds": 4, "megabytes": 300})
    with daemon():
        claim = until(lambda: running(items.Costly))
        assert claim["connection_id"] >= TOKEN_FLOOR
        until(lambda: psutil.Process(claim["pid"]).memory_info().rss > 300e6)
        time.sleep(1)  # several looks
        os.kill(claim["pid"], signal.SIGKILL)
        began = time.monotonic()
        until(lambda: "killed" in outcomes())
        assert time.monotonic() - began < 5  # half of the lease: nobody waited for it
        until(lambda: len(items.Total()) == 1)
    assert outcomes() == ["killed", "done"]
    killed = (operations.Attempt & {"outcome": "killed"}).fetch1()
    assert "SIGKILL" in killed["message"]
    assert killed["job_key"] == {"item": 1}
    assert 300e6 < killed["peak_memory"] < 600e6


def test_results_are_swept_once_somebody_saw_what_is_missing(daemon, items, mouse_lab):
    """A key that no job row speaks of, as after a restore, may be one whose result lies there."""
    items.Item.insert1({"item": 1, "seconds": 2})
    place = mouse_lab.settings.root("processed") / "computed" / "work.Costly"
    place.mkdir(parents=True)
    files = [place / f"item={number}-{'0' * 32}.json" for number in (1, 2)]
    for file in files:
        file.write_text("{}")
        os.utime(file, (0, 0))
    with daemon():
        until(lambda: len(items.Total()) == 1)
        until(lambda: not files[1].exists())
    assert files[0].exists()


def test_a_child_that_dies_between_two_keys_took_no_memory_for_either(mouse_lab, items, monkeypatch):
    monkeypatch.setattr(roles, "computing_tables", lambda: [items.Costly])
    child = Child(process=None, started=0.0)
    daemon = Supervisor(Role("cpu"), mouse_lab.settings)
    daemon._take_in(child, {"event": "began", "table": "work.Costly", "keys": [], "count": 1, "stale_after": None})
    child.peak = 400_000_000
    daemon._take_in(child, {"event": "ended", "at": 0.0})
    assert child.peak == 0


def test_told_to_stop_it_finishes_the_key_in_work_and_takes_up_no_other(daemon, items):
    items.Item.insert([{"item": n, "seconds": 1.5} for n in range(3)])
    with daemon() as process:
        until(lambda: running(items.Costly))
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0
    assert outcomes() == ["done"]
    assert len(items.Costly()) == 1
    assert set(portable.job_table(items.Costly).to_arrays("status")) == {"pending"}
    assert len(operations.Heartbeat()) == 0


def test_told_twice_it_ends_the_key_and_hands_it_back_without_blame(daemon, items):
    items.Item.insert1({"item": 1, "seconds": 60})
    with daemon() as process:
        claim = until(lambda: running(items.Costly))
        process.send_signal(signal.SIGTERM)
        time.sleep(1)
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0
    assert is_gone(claim["pid"])
    assert outcomes() == ["stopped"]
    job = portable.job_table(items.Costly).fetch1()
    assert (job["status"], job["error_message"]) == ("pending", "")
    assert len(operations.Heartbeat()) == 0


def test_a_key_that_people_take_back_is_ended(daemon, items):
    items.Item.insert1({"item": 1, "seconds": 60})
    with daemon():
        claim = until(lambda: running(items.Costly))
        jobs.apply(jobs.plan_cancel([(items.Costly, {"item": 1})], reason="wrong animal"))
        until(lambda: is_gone(claim["pid"]))
        until(lambda: outcomes())
    assert outcomes() == ["cancelled"]
    assert portable.job_table(items.Costly).fetch1("status") == "ignore"


def test_a_key_that_was_handed_on_is_ended_and_nobody_is_said_to_have_cancelled_it(daemon, items):
    items.Item.insert1({"item": 1, "seconds": 60})
    with daemon(kills=1):
        claim = until(lambda: running(items.Costly))
        portable.job_table(items.Costly).update1({"item": 1, "connection_id": TOKEN_FLOOR})
        until(lambda: is_gone(claim["pid"]))
        until(lambda: outcomes())
    assert outcomes() == ["fenced"]
    assert portable.job_table(items.Costly).fetch1("connection_id") == TOKEN_FLOOR


def test_a_key_that_stands_still_is_ended_though_its_worker_beats(daemon, items):
    items.Item.insert1({"item": 1, "seconds": 60})
    with daemon(kills=1):
        until(lambda: running(items.Costly))
        until(lambda: outcomes())
    assert outcomes() == ["stalled"]
    job = portable.job_table(items.Costly).fetch1()
    assert job["status"] == "error"
    assert job["error_message"].startswith("[stalled]")


def test_a_key_that_takes_too_much_memory_is_ended_and_stops_after_a_limit(daemon, items):
    items.Item.insert([{"item": 1, "seconds": 2, "megabytes": 1500}, {"item": 2, "seconds": 0, "megabytes": 0}])
    with daemon(kills=2, memory=1.0):
        until(lambda: set(portable.job_table(items.Costly).to_arrays("status")) == {"error"})
        until(lambda: len(items.Total()) == 1)  # the others go on
    assert sorted(outcomes()) == ["done", "killed", "killed"]
    killed = (operations.Attempt & {"outcome": "killed"}).to_dicts()
    assert {one["failure"] for one in killed} == {"memory"}
    assert all(one["peak_memory"] > 1e9 for one in killed)


def test_memory_of_a_tool_that_a_worker_started_counts_and_the_tool_ends_with_it(daemon, items):
    items.Item.insert1({"item": 1, "seconds": 600, "megabytes": 1500, "below": 1})
    with daemon(kills=1, memory=1.0) as process:
        (worker,) = until(lambda: psutil.Process(process.pid).children())
        (tool,) = until(worker.children)
        until(lambda: outcomes())
        until(lambda: is_gone(tool.pid))
    killed = (operations.Attempt & {"outcome": "killed"}).fetch1()
    assert killed["failure"] == "memory"
    assert killed["peak_memory"] > 1e9  # of which the worker itself has a small part
    assert "with what it started" in portable.job_table(items.Costly).fetch1("error_message")


def test_children_end_with_a_killed_supervisor_and_the_next_one_takes_over_at_once(daemon, items):
    items.Item.insert1({"item": 1, "seconds": 2})
    with daemon() as process:
        claim = until(lambda: running(items.Costly))
        process.kill()
        process.wait()
        until(lambda: is_gone(claim["pid"]), 5)
        with daemon(lease=600, beat=200):
            until(lambda: len(items.Costly()) == 1)
    assert outcomes() == ["killed", "done"]


def test_what_it_does_stands_in_a_log_that_programs_read(daemon, items, mouse_lab):
    items.Item.insert1({"item": 7})
    with daemon() as process:
        until(lambda: len(items.Total()) == 1)
        process.send_signal(signal.SIGTERM)
        process.wait(PATIENCE)
    (path,) = {row["log_file"] for row in operations.Worker.to_dicts()}
    lines = [json.loads(line) for line in Path(path).read_text().splitlines()]
    assert Path(path).is_relative_to(mouse_lab.settings.logs)
    assert {"work.Costly"} <= {line.get("table") for line in lines}
    assert {"item": 7} in [line.get("key") for line in lines]


def test_two_signals_at_once_end_it(daemon, items):
    items.Item.insert1({"item": 1, "seconds": 60})
    with daemon() as process:
        until(lambda: running(items.Costly))
        process.send_signal(signal.SIGTERM)
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE) == 0
    assert outcomes() == ["stopped"]


def test_a_signal_to_everybody_is_the_supervisors_to_obey(daemon, items):
    items.Item.insert1({"item": 1, "seconds": 2})
    with daemon() as process:
        claim = until(lambda: running(items.Costly))
        os.kill(claim["pid"], signal.SIGTERM)
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0
    assert outcomes() == ["done"]


def test_a_worker_is_replaced_after_so_many_keys(daemon, items):
    items.Item.insert([{"item": n} for n in range(3)])
    with daemon(keys_per_process=1):
        until(lambda: len(items.Total()) == 3)
    assert len(operations.Worker()) >= 3
    assert set((operations.Attempt).to_arrays("outcome")) == {"done"}


def test_a_step_of_the_clock_makes_no_live_worker_look_dead(monkeypatch):
    identity = liveness.identify("cpu")
    began = psutil.Process.create_time
    monkeypatch.setattr(psutil.Process, "create_time", lambda process: began(process) + 3600)
    monkeypatch.setattr(time, "time", lambda: began(psutil.Process()) + 7200)
    assert processes.is_running(identity.pid, identity.process_start)
    assert processes.was_running(identity.pid, 0.0)
    assert not processes.was_running(identity.pid, 10 * 365 * 86400.0)
