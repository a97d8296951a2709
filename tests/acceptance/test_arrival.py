"""From a share that is written to, to queryable cells, with nobody typing: a watcher and a worker side by side."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.acceptance.test_demo import Demo

pytestmark = pytest.mark.slow

PATIENCE = 240  # s
TOLD = ["-m", "adamacs"]


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """The small demo: one scan, processed; its server runs."""
    if importlib.util.find_spec("suite2p") is None:
        message = "NO SUITE2P: nothing was watched. Run: pip install 'adamacs[imaging]'"
        (pytest.fail if "imaging" in os.environ.get("ADAMACS_TEST_REQUIRE", "") else pytest.skip)(message)
    lab = Demo(tmp_path_factory.mktemp("arrival") / "lab")
    lab.run(*TOLD, "demo", "--size", "small", ADAMACS_HOME=str(lab.home))
    lab.run(*TOLD, "db", "start")
    yield lab
    lab.run(*TOLD, "db", "remove", "--yes")


@contextmanager
def service(lab, *words):
    """Run a service of adamacs for the length of a block."""
    environment = {**os.environ, "ADAMACS_INGEST_INCUBATION": "2"}
    process = subprocess.Popen(
        [sys.executable, *TOLD, *words],
        cwd=lab.home,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(60)
        finally:
            process.kill()


def test_a_replayed_recording_becomes_cells_with_nobody_typing(lab):
    (scan_id,) = (path.stem for path in (lab.home / "truth").glob("*.npz"))
    (folder,) = (lab.home / "share" / "demo").iterdir()
    rig, archive = lab.home / "rig", lab.home / "growth.tar.gz"
    rig.mkdir()
    recorder = subprocess.Popen(
        [sys.executable, *TOLD, "record", str(rig), str(archive), "--seconds", "6"], cwd=lab.home
    )
    time.sleep(2.5)
    for file in sorted(folder.iterdir()):
        shutil.copy2(file, rig / file.name)
    assert recorder.wait(60) == 0

    lab.run(*TOLD, "remove", scan_id, "--yes")
    shutil.move(folder, lab.home / "original")
    asked = lambda *words: json.loads(lab.run(*TOLD, *words, "--json"))  # noqa: E731
    assert asked("status")["arrivals"]["counts"] == {"ignored": 1}  # what was removed does not come back by itself
    lab.run(*TOLD, "quarantine", "release", scan_id)
    with service(lab, "watch"), service(lab, "work", "--role", "cpu"):
        lab.run(*TOLD, "replay", str(archive), str(folder))
        deadline = time.time() + PATIENCE
        while time.time() < deadline:
            status = asked("status")
            tables = {table["table"]: table for table in status["tables"]}
            if tables["imaging.Activity"]["done"]:
                break
            time.sleep(2)
        else:
            pytest.fail(json.dumps(status))
        assert status["arrivals"]["counts"] == {"ingested": 1}
        assert status["arrivals"]["watchers"][0]["seen"] == 1
    answer = lab.run(
        "-c",
        "from adamacs.pipeline import connect, imaging; connect(); print(len(imaging.Fluorescence.Trace()))",
    )
    assert int(answer.split()[-1]) > 5
    assert Path(folder).is_dir()
    (run,) = [run for run in asked("ingest", "log") if run["verb"] == "watch"]
    assert run["outcome"] == "whole"
