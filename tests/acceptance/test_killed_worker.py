"""A worker dies in the middle of a scan of the demo: the questions a user asks then, and the cure they are given."""

from __future__ import annotations

import importlib.util
import json
import os
import shlex
import signal
import subprocess
import sys
import threading
from contextlib import contextmanager

import psutil
import pytest

from adamacs.workers import state
from tests.acceptance.test_demo import Demo

pytestmark = pytest.mark.slow

PATIENCE = 180  # s
TOLD = ["-m", "adamacs"]


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """The small demo: one scan, processed; its server runs."""
    if importlib.util.find_spec("suite2p") is None:
        message = "NO SUITE2P: no worker was killed. Run: pip install 'adamacs[imaging]'"
        (pytest.fail if "imaging" in os.environ.get("ADAMACS_TEST_REQUIRE", "") else pytest.skip)(message)
    lab = Demo(tmp_path_factory.mktemp("killed") / "lab")
    lab.run(*TOLD, "demo", "--size", "small", ADAMACS_HOME=str(lab.home))
    lab.run(*TOLD, "db", "start")
    yield lab
    lab.run(*TOLD, "db", "remove", "--yes")


def asked(lab, *words):
    """Ask with `--json`, and return the answer."""
    return json.loads(lab.run(*TOLD, *words, "--json"))


@contextmanager
def daemon(lab):
    """Run `adamacs work`, and return it."""
    command = [sys.executable, *TOLD, "-v", "work"]
    process = subprocess.Popen(command, cwd=lab.home, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    alarm = threading.Timer(PATIENCE, process.kill)  # what waits for a line then finds the end of the log
    alarm.start()
    try:
        yield process
    finally:
        alarm.cancel()
        process.kill()
        process.communicate()


def in_the_middle_of_processing(process):
    """Wait until the tool is at work, and return the process that runs it."""
    line = next((line for line in process.stderr if "registration" in line and "imaging.Processing" in line), None)
    assert line is not None, "the daemon ended, or registered nothing"
    (child,) = psutil.Process(process.pid).children()
    return child


def test_status_and_why_answer_before_during_and_after_a_death(lab):
    (scan_id,) = (path.stem for path in (lab.home / "truth").glob("*.npz"))
    key = f"scan_id={scan_id}"
    tables = asked(lab, "status")["tables"]
    assert all(table["done"] == table["expected"] for table in tables)
    assert all(table["done"] > 0 for table in tables if table["table"].startswith(("scan.", "imaging.")))
    assert [answer["state"] for answer in asked(lab, "why", "imaging.Fluorescence", key)] == ["present"]

    lab.run(*TOLD, "remove", scan_id, "--yes")
    (folder,) = (lab.home / "share" / "demo").iterdir()  # by name: what was removed is left out of the rest
    lab.run(*TOLD, "ingest", "apply", str(folder), "--paramset", "0", "--yes")
    with daemon(lab) as process:
        in_the_middle_of_processing(process).send_signal(signal.SIGKILL)
        second = in_the_middle_of_processing(process)
        (running,) = asked(lab, "status")["running"]
        assert (running["table"], running["pid"], running["alive"]) == ("imaging.Processing", second.pid, True)
        process.send_signal(signal.SIGKILL)
        process.wait()
        psutil.wait_procs([second], timeout=PATIENCE)  # which ends with its supervisor

    found = asked(lab, "status")
    assert [(keys["table"], keys["alive"]) for keys in found["running"]] == [("imaging.Processing", False)]
    assert state.LOST in lab.run(*TOLD, "jobs", "list")
    assert state.NOBODY in lab.run(*TOLD, "workers")
    (answer,) = asked(lab, "why", "imaging.Fluorescence", key)
    while answer["because"]:
        (answer,) = answer["because"]
    assert (answer["table"], answer["state"]) == ("imaging.Processing", "running")
    assert answer["sentence"].startswith("A worker died over it once. The worker on ")
    assert answer["sentence"].endswith("is silent or gone.")
    assert answer["cure"] == "adamacs work --role cpu"

    lab.run("-m", *shlex.split(answer["cure"]), "--drain")
    tables = asked(lab, "status")["tables"]
    assert all(table["done"] == table["expected"] for table in tables)
    assert all(table["done"] > 0 for table in tables if table["table"].startswith(("scan.", "imaging.")))
    assert [answer["state"] for answer in asked(lab, "why", "imaging.Fluorescence", key)] == ["present"]
    code = "from adamacs.pipeline import connect; from adamacs.schemas.operations import Attempt; connect(); "
    code += "print(*(Attempt & {'table_name': 'imaging.Processing'}).to_arrays('outcome', order_by='ended_at'))"
    assert lab.run("-c", code).split() == ["done", "killed", "killed", "done"]
