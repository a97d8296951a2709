"""Every verb as a person types it, on a real lab: each does what it says, and says what it did."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest
from click.testing import CliRunner

from adamacs import cli
from adamacs.database.embedded import EmbeddedServer
from adamacs.demo import lab as synthetic
from adamacs.demo.suite2p import write_result
from adamacs.pipeline import imaging, scan
from adamacs.workers import loop, roles


@pytest.fixture
def typed(mouse_lab, monkeypatch):
    """Type a command in the lab home, and return what it printed: `typed("paramset", "list")`."""
    monkeypatch.setenv("ADAMACS_HOME", str(mouse_lab.home))

    def run(*words, status=0):
        answer = CliRunner().invoke(cli.cli, words, catch_exceptions=False)
        assert answer.exit_code == status, answer.output
        return answer.stdout

    return run


@pytest.fixture
def results(mouse_lab, typed):
    """A scan that is ingested, and the folder of what Suite2p made of it by hand."""
    share = mouse_lab.settings.root("share")
    true = synthetic.write(share, size="tiny")[0]
    assert "written" in typed("ingest", "apply", str(share), "--yes")
    assert not loop.drain(roles.named("cpu")).failed
    field = (imaging.ScanInfo * imaging.ScanInfo.Field & {"scan_id": true.scan_id}).fetch1()
    folder = mouse_lab.settings.root("processed") / "found" / f"suite2p_exp{true.scan_id[4:]}"
    (plane,) = write_result(folder, rois=3, frames=field["nframes"], shape=(field["px_height"], field["px_width"]))
    return f"scan_id={true.scan_id}", folder, plane


def test_found_results_become_rows_curations_and_files(typed, results, tmp_path):
    key, folder, plane = results
    assert f"{key},paramset_idx=" in typed("ingest", "results", key, str(folder), "--yes")
    run = typed("ingest", "log", "-n", "1").split()[0]
    assert f"imaging.ProcessingTask session_id=sess{key[-8:]},{key},paramset_idx=" in typed("ingest", "log", run)
    assert not loop.drain(roles.named("cpu")).failed
    traces = tmp_path / "traces.npy"
    one = f"{key},curation_id=1"
    assert typed("export", "imaging.Fluorescence.Field", one, "fluorescence", str(traces)) == f"{traces}\n"
    np.testing.assert_array_equal(np.load(traces), plane.arrays["F"])
    judged = np.load(plane.folder / "iscell.npy")
    np.save(plane.folder / "iscell.npy", np.stack([1 - judged[:, 0], judged[:, 1]], axis=1))
    assert "curation_id=2" in typed("curate", "add", key, "--note", "by hand", "--yes")
    assert (imaging.Curation & {"curation_id": 2}).fetch1("curation_note") == "by hand"


def test_a_key_that_names_no_row_is_refused_with_one_line(typed, capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(["export", "imaging.Fluorescence.Trace", "mask=7", "fluorescence", "trace.npy"])
    assert ended.value.code == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: mask=7: The KEY names 0 rows")


def test_a_parameter_set_is_added_and_listed(typed, tmp_path):
    (tmp_path / "fast.toml").write_text("tau = 0.7\n")
    added = typed("paramset", "add", str(tmp_path / "fast.toml"), "--description", "GCaMP6f", "--yes")
    assert "paramset_idx=0" in added
    assert re.search(r"^ +0  suite2p 1\.1\.0 +GCaMP6f$", typed("paramset", "list"), re.MULTILINE)
    (row,) = map(json.loads, typed("paramset", "list", "--json").splitlines())
    assert (row["paramset_idx"], row["params"]) == (0, {"tau": 0.7})


def test_a_scan_is_removed(typed, results):
    key, _, _ = results
    name = key.partition("=")[2]
    before = len(scan.Scan())
    assert "whole: 1 removed" in typed("remove", name, "--yes")
    assert len(scan.Scan & {"scan_id": name}) == 0
    assert len(scan.Scan()) == before - 1


def test_a_token_is_explained(typed):
    assert "2026-02-10" in typed("explain", "XX_ANM-2172_2026-02-10_scan9FY6AIRM_sess9FY6AIRM")
    assert "scan" in typed("explain", "scan9FY6AIR", status=1)


def test_the_tables_are_drawn(typed, tmp_path):
    assert typed("schema", "diagram", str(tmp_path / "lab.mmd")) == f"{tmp_path / 'lab.mmd'}\n"
    assert (tmp_path / "lab.mmd").read_text().startswith("flowchart")


def test_the_database_tells_where_it_is_and_that_it_answers(typed, mouse_lab):
    assert typed("db", "url") == f"{mouse_lab.server.url}\n"
    told = json.loads(typed("db", "status", "--json"))
    assert told["ok"] is True
    assert mouse_lab.server.url in told["finding"]
    assert mouse_lab.server.password.reveal() not in typed("db", "status")


def test_an_account_is_made_and_its_password_shown_once(typed, mouse_lab):
    from tests.integration.test_grants import drop_account

    account = f"guest_{mouse_lab.prefix}"
    try:
        first = typed("db", "grant", "analyst", account, "--yes")
        assert re.search(rf"password of {account}, shown this once: \S{{12,}}\n", first)
        assert f"{account} is now analyst" in first
        assert "password of" not in typed("db", "grant", "analyst", account, "--yes")
    finally:
        drop_account(mouse_lab.connection, account)


# ---- the embedded server, typed in homes of its own: a process belongs to one lab


def command(home, *words, typed=""):
    """Type a command in a process of its own, and return what it printed."""
    answer = subprocess.run(
        [sys.executable, "-m", "adamacs", *words],
        env={**os.environ, "ADAMACS_HOME": str(home)},
        input=typed,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert answer.returncode == 0, answer.stderr
    return answer.stdout


@pytest.fixture
def homes(tmp_path):
    """Two lab homes; what servers they get is gone afterwards."""
    both = tmp_path / "old", tmp_path / "new"
    yield both
    for home in both:
        EmbeddedServer(home).remove()


@pytest.mark.only_on("postgresql")
def test_a_lab_is_made_stopped_started_and_moved_by_typing(homes, tmp_path):
    old, new = homes
    assert "ready" in command(old, "db", "init", "--time-zone", "Europe/Berlin", "--yes")
    assert 'time_zone = "Europe/Berlin"' in (old / "adamacs.toml").read_text()
    command(old, "paramset", "add", "--description", "moved", "--yes")
    assert "stopped" in command(old, "db", "stop")
    assert not EmbeddedServer(old).is_running()
    assert command(old, "db", "start") == f"running: {command(old, 'db', 'url')}"
    assert EmbeddedServer(old).is_running()
    assert "PostgreSQL 18" in command(old, "db", "status")
    assert "42" in command(old, "db", "shell", typed="SELECT 41 + 1;\n")
    dump = tmp_path / "lab.dump"
    assert str(dump) in command(old, "db", "dump", str(dump))
    assert "restored" in command(new, "db", "restore", str(dump), "--yes")
    assert "moved" in command(new, "paramset", "list")
    assert "deleted" in command(old, "db", "remove", "--yes")
    assert not EmbeddedServer(old).is_initialised()


def test_a_consolidated_recording_is_planned_without_tokens_that_the_database_has(typed, mouse_lab, tmp_path):
    from adamacs.ingest.consolidate import known_in_database

    share = mouse_lab.settings.root("share")
    true = synthetic.write(share, size="tiny")[0]
    typed("ingest", "apply", str(share), "--yes")
    known = known_in_database()
    assert true.scan_id in known.scans
    assert known.sessions[true.session_id][0] in known.subjects
    assert ("XX", "demo") in known.people
    (mouse_lab.home / "setups" / "notes.toml").write_text('name = "notes"\ndescription = "Only notes."\nrigs = []\n')
    (tmp_path / "notes.txt").write_text("woke up")
    words = ("--setup", "notes", "--subject", known.sessions[true.session_id][0], "--initials", "XX", "--settle", "0")
    told = json.loads(typed("consolidate", str(tmp_path), *words, "--yes", "--json"))
    assert told["scan_id"] not in known.scans
    assert f"new        {told['folder']}" in typed("ingest", "plan", str(share / told["folder"]))
