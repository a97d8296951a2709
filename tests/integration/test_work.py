"""`adamacs work` as it is typed: what it fills, what it refuses, and how it ends."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, suppress

import pytest

from adamacs.database.cluster import free_port
from adamacs.demo import lab as synthetic
from adamacs.ingest.apply import apply_plan
from adamacs.ingest.plan import plan_ingest
from adamacs.pipeline import imaging, scan
from adamacs.workers import roles
from adamacs.workers.supervisor import Supervisor


@pytest.fixture
def ingested(mouse_lab):
    """The tiny lab, ingested; nothing is computed yet."""
    share = mouse_lab.settings.root("share")
    true = synthetic.write(share, size="tiny")
    apply_plan(plan_ingest([share], mouse_lab.settings), mouse_lab.settings)
    return true


@pytest.fixture
def work(mouse_lab):
    """Type `adamacs work`, and return the finished process."""

    def type_it(*arguments, **settings):
        variables = {f"ADAMACS_WORKERS_{name.upper()}": str(value) for name, value in settings.items()}
        variables |= {"ADAMACS_HOME": str(mouse_lab.home), "ADAMACS_WORKERS_LEASE": "10", "ADAMACS_WORKERS_BEAT": "0.5"}
        command = [sys.executable, "-m", "adamacs", "work", *arguments]
        return subprocess.run(command, env={**os.environ, **variables}, capture_output=True, text=True, timeout=120)

    return type_it


def test_drain_fills_only_the_tables_that_are_named_with_several_slots(work, ingested):
    found = work("--drain", "--tables", "imaging.ScanInfo", "--slots", "2", "--json")
    assert found.returncode == 0, found.stderr
    assert json.loads(found.stdout)["done"] == {"imaging.ScanInfo": len(ingested)}
    assert len(imaging.ScanInfo()) == len(ingested)
    assert len(scan.ScanFileChecksum()) == 0


def test_a_key_restricts_what_is_computed(work, ingested):
    name = ingested[0].scan_id
    assert work("--drain", "--tables", "imaging.ScanInfo", "--restrict", f"scan_id={name}").returncode == 0
    assert imaging.ScanInfo.to_arrays("scan_id").tolist() == [name]


def test_a_table_without_any_of_the_columns_is_left_out(work, ingested):
    tables = ("--tables", "imaging.ScanInfo", "--tables", "imaging.Fluorescence")
    assert work("--drain", *tables, "--restrict", "paramset_idx=2").returncode == 0
    assert len(imaging.ScanInfo()) == 0
    assert work("--drain", *tables, "--restrict", f"paramset_idx=2,scan_id={ingested[0].scan_id}").returncode == 0
    assert imaging.ScanInfo.to_arrays("scan_id").tolist() == [ingested[0].scan_id]


def test_a_number_where_a_text_is_expected_is_a_text(work, ingested):
    assert work("--drain", "--tables", "imaging.ScanInfo", "--restrict", "session_id=12345").returncode == 0
    assert len(imaging.ScanInfo()) == 0


def test_a_misspelt_column_computes_nothing_and_is_answered(work, ingested):
    found = work("--drain", "--restrict", "sesion_id=x")
    assert found.returncode == 1
    assert "sesion_id" in found.stderr
    assert "session_id" in found.stderr
    assert len(imaging.ScanInfo()) == 0


def test_once_gives_each_table_one_turn(work, ingested):
    assert work("--once", "--tables", "imaging.ScanInfo").returncode == 0
    assert len(imaging.ScanInfo()) == 1


def test_a_worker_that_is_killed_in_its_one_turn_makes_the_status_say_so(work, ingested, monkeypatch):
    monkeypatch.setenv("ADAMACS_KILL_AT", "computed")
    found = work("--once", "--tables", "imaging.ScanInfo", "--json")
    assert found.returncode == 1
    (failure,) = json.loads(found.stdout)["failed"]
    assert failure.startswith("imaging.ScanInfo session_id=")
    assert "SIGKILL" in failure and "handed back" in failure
    assert set(imaging.ScanInfo.jobs.to_arrays("status")) == {"pending"}


@contextmanager
def waiting(mouse_lab, port, **variables):
    """Type `adamacs work` where nobody listens on the database's port, and wait until it says so."""
    url = mouse_lab.server.url.replace(f":{mouse_lab.server.port}", f":{port}")
    named = {"ADAMACS_HOME": str(mouse_lab.home), "ADAMACS_DATABASE_URL": url}
    command = [sys.executable, "-m", "adamacs", "work", "--tables", "imaging.ScanInfo"]
    pipes = {"stderr": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, env={**os.environ, **named, **variables}, **pipes) as process:
        alarm = threading.Timer(60, process.kill)
        alarm.start()
        try:
            yield process
        finally:
            alarm.cancel()
            process.kill()


def test_a_database_that_is_away_at_the_start_is_waited_for_until_told_to_stop(mouse_lab):
    with waiting(mouse_lab, free_port(0)) as process:
        assert process.stderr.readline().startswith("waiting for the database:")
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0


def test_work_begins_when_the_database_has_come(mouse_lab, ingested):
    port = free_port(0)
    with waiting(mouse_lab, port) as process:
        assert process.stderr.readline().startswith("waiting for the database:")
        with forwarding(port, mouse_lab.server):
            deadline = time.monotonic() + 50
            while len(imaging.ScanInfo()) < len(ingested):
                assert time.monotonic() < deadline, "it did not begin"
                time.sleep(0.1)
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) == 0


@contextmanager
def forwarding(port, server):
    """Let a port of this machine lead to a server."""

    async def connected(reader, writer):
        there, here = await asyncio.open_connection(server.host, server.port)
        await asyncio.gather(copied(reader, here), copied(there, writer))

    async def copied(source, target):
        with suppress(OSError):
            while data := await source.read(1 << 16):
                target.write(data)
        target.close()

    async def serve():
        running.append(asyncio.current_task())
        async with await asyncio.start_server(connected, "127.0.0.1", port) as listening:
            await listening.serve_forever()

    running, loop = [], asyncio.new_event_loop()
    thread = threading.Thread(target=_run, args=(loop, serve))
    thread.start()
    try:
        yield
    finally:
        loop.call_soon_threadsafe(running[0].cancel)
        thread.join(10)
        loop.close()


def _run(loop, serve):
    with suppress(asyncio.CancelledError):
        loop.run_until_complete(serve())


def test_an_account_that_the_server_refuses_is_not_waited_for(mouse_lab):
    with waiting(mouse_lab, mouse_lab.server.port, ADAMACS_DATABASE_PASSWORD="wrong") as process:
        assert process.wait(50) == 1
        assert "does not answer" in process.stderr.read()


def test_a_drain_does_not_wait_for_a_database_that_is_away(work, mouse_lab, monkeypatch):
    port = str(free_port(0))
    monkeypatch.setenv("ADAMACS_DATABASE_URL", mouse_lab.server.url.replace(str(mouse_lab.server.port), port))
    found = work("--drain")
    assert found.returncode == 1
    assert "does not answer" in found.stderr


def test_a_role_without_tables_is_refused_with_the_line_that_gives_it_some(work, ingested):
    found = work("--role", "gpu", "--drain")
    assert found.returncode == 1
    assert "[roles.gpu]" in found.stderr


def test_a_drain_whose_workers_cannot_begin_ends_and_says_so(work, ingested, mouse_lab):
    found = work("--drain", "--tables", "imaging.ScanInfo", log_folder="/proc/no/such/folder")
    assert found.returncode == 1
    assert "Traceback" not in found.stdout


def test_a_key_that_fails_makes_the_status_say_so(work, ingested, mouse_lab):
    for path in mouse_lab.settings.root("share").rglob("*.tif"):
        path.write_bytes(path.read_bytes()[:1000])
    found = work("--drain", "--tables", "imaging.ScanInfo")
    assert found.returncode == 1
    assert f"{len(ingested)} failed" in found.stdout


@pytest.mark.parametrize("mode", ["drain", "once"])
def test_workers_that_die_before_they_begin_end_the_command_with_a_failure(mouse_lab, mode):
    daemon = Supervisor(roles.named("cpu"), mouse_lab.settings, mode=mode, command=[sys.executable, "-c", "exit(3)"])
    (failure,) = daemon.run().failed
    assert "status 3" in failure
