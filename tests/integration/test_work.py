"""`adamacs work` as it is typed: what it fills, what it refuses, and how it ends."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

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
