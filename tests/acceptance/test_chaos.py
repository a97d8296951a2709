"""A short run of the chaos suite: real workers, real signals; `make chaos` runs a long one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests import servers
from tests.conftest import REQUIRE

pytestmark = pytest.mark.slow

SEED = 3
LEAST = {"kill": 20, "stop": 5, "database": 3, "store": 3}


@pytest.fixture
def killable(backend: str) -> str:
    """The kind of server, where one of this suite's own can be started."""
    if backend == "mysql" and servers.find_mysql() is None:
        if "mysql" in os.environ.get(REQUIRE, ""):
            pytest.fail(f"{REQUIRE} asks for MySQL, and neither mariadbd nor mysqld is installed.")
        pytest.skip("NO CHAOS ON MYSQL: neither mariadbd nor mysqld is installed, and nobody else's server is killed.")
    return backend


def test_nothing_is_lost_doubled_or_stuck_whatever_is_killed_stopped_cut_off_or_filled(killable):
    counts = [f"--{name}={LEAST[kind]}" for name, kind in zip(("kills", "stops", "outages", "stores"), LEAST)]
    words = [f"--backend={killable}", f"--faults={','.join(LEAST)}", f"--seed={SEED}", *counts]
    answer = subprocess.run(
        [sys.executable, "-m", "tests.chaos.run", *words],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    lines = [json.loads(line) for line in answer.stdout.splitlines() if line.startswith("{")]
    assert [line["violations"] for line in lines] == [[]] * len(LEAST), answer.stderr[-4000:]
    assert answer.returncode == 0, answer.stderr[-4000:]
    assert {line["fault"]: sum(line["delivered"].values()) >= LEAST[line["fault"]] for line in lines} == dict.fromkeys(
        LEAST, True
    )
