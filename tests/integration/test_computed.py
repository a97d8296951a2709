"""A finished computation is never lost: whoever takes the key up after a death lands what the dead one computed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import numpy as np
import pytest

from adamacs.core.errors import DatabaseUnavailable
from adamacs.database import portable
from adamacs.schemas import operations
from adamacs.workers import loop, roles
from adamacs.workers.roles import Role
from adamacs.workers.supervisor import Supervisor
from tests.integration.workplace import ROOT

# A worker of a process of its own: it notes every key that it computes, and dies where the environment says.
_WORKER = """
import sys, warnings
warnings.simplefilter("ignore")
from pathlib import Path
from adamacs import pipeline
from adamacs.core import settings
from adamacs.database import connect
from adamacs.workers import loop, roles
from adamacs.workers.roles import Role
from tests.labs import fresh_module

lab = settings.load(Path(sys.argv[1]))
settings.use(lab)
work = fresh_module("work")
connect.activate([work], lab.database.prefix, pipeline.connect(lab), create=False)
table = getattr(work, sys.argv[2])
roles.computing_tables = lambda: [table]  # the dead are looked for here too
compute = table.make_compute

def make_compute(self, key, *fetched):
    with (lab.home / "computes").open("a") as noted:
        noted.write(f"{key['item']}\\n")
    return compute(self, key, *fetched)

table.make_compute = make_compute
print(loop.drain(Role("cpu"), lab, [table]).describe())
"""


@pytest.fixture
def lab(items, mouse_lab):
    (items.Item & "item > 0").delete_quick()
    items.Item.update1({"item": 0, "value": 7})
    (mouse_lab.settings.home / "computes").unlink(missing_ok=True)
    return mouse_lab.settings


def drain(lab, table, kill_at=""):
    """Let another process drain a table, and return its exit status."""
    command = [sys.executable, "-c", _WORKER, str(lab.home), table.__name__]
    environment = {**os.environ, "ADAMACS_KILL_AT": kill_at}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120).returncode


def computes(lab):
    return (lab.home / "computes").read_text().split()


def kept(lab):
    return [path.name for path in (lab.root("processed") / "computed").rglob("*.json")]


def outcomes():
    return sorted(operations.Attempt.to_arrays("outcome").tolist())


@pytest.mark.parametrize("place", ["after rename:2", "computed", "before commit", "after commit"])
def test_what_a_killed_worker_computed_is_landed_by_the_next(items, lab, place):
    """The first rename is the array's; by the second, what names it is as durable."""
    assert drain(lab, items.Costly, place) == -signal.SIGKILL
    assert len(kept(lab)) == 1
    assert drain(lab, items.Costly) == 0
    assert computes(lab) == ["0"]
    assert np.asarray(items.Costly.fetch1("trace")).tolist() == np.full((4, 1000), 7.0).tolist()
    assert len(items.Costly.jobs) == 0
    if place != "after commit":  # then it is the sweep's
        assert kept(lab) == []
        assert outcomes() == ["done", "killed"]


@pytest.mark.parametrize(
    ("place", "is_away", "stays"),
    [("computed", False, True), ("after commit", False, False), ("after commit", True, True)],
)
def test_however_long_nobody_worked_a_result_stays_while_its_key_waits(items, lab, monkeypatch, place, is_away, stays):
    """As when a daemon begins again after three weeks: it sweeps before anybody lands something."""

    def refuse(server):
        raise DatabaseUnavailable("It is away.")

    assert drain(lab, items.Costly, place) == -signal.SIGKILL
    (file,) = (lab.root("processed") / "computed").rglob("*.json")
    os.utime(file, (0, 0))
    monkeypatch.setattr(roles, "computing_tables", lambda: [items.Costly])
    daemon = Supervisor(Role("cpu"), lab)
    if is_away:
        monkeypatch.setattr(portable, "separate_connection", refuse)
    daemon._sweeper._sweep()
    assert file.exists() == stays


def test_what_was_not_finished_is_computed_again(items, lab):
    assert drain(lab, items.Costly, "mid array write") == -signal.SIGKILL
    assert kept(lab) == []
    assert drain(lab, items.Costly) == 0
    assert computes(lab) == ["0", "0"]
    assert len(items.Costly()) == 1


def test_what_would_stand_on_something_else_now_is_computed_again(items, lab):
    assert drain(lab, items.Costly, "computed") == -signal.SIGKILL
    items.Item.update1({"item": 0, "value": 8})
    assert drain(lab, items.Costly) == 0
    assert computes(lab) == ["0", "0"]
    assert np.asarray(items.Costly.fetch1("trace"))[0, 0] == 8


def test_a_cheap_key_costs_no_file(items, lab):
    """Computing it again is quicker than writing it down durably."""
    assert drain(lab, items.Cheap, "before commit") == -signal.SIGKILL
    assert kept(lab) == []
    assert drain(lab, items.Cheap) == 0
    assert computes(lab) == ["0", "0"]
    assert len(items.Cheap()) == 1


def test_a_refused_insert_costs_no_computation_and_a_second_refusal_computes_anew(items, lab, monkeypatch):
    """What was kept is tried once more; where that is what is wrong, nobody is stuck with it."""
    counts, refusals = [], []
    original = items.Costly.make_compute, items.Costly.make_insert

    def make_compute(self, key, *fetched):
        counts.append(key["item"])
        return original[0](self, key, *fetched)

    def make_insert(self, key, trace):
        if len(refusals) < 2:
            refusals.append(key["item"])
            raise ValueError("refused")
        original[1](self, key, trace)

    monkeypatch.setattr(items.Costly, "make_compute", make_compute)
    monkeypatch.setattr(items.Costly, "make_insert", make_insert)
    for computed in (1, 1, 2):
        loop.drain(Role("cpu"), lab, [items.Costly])
        assert len(counts) == computed
        (items.Costly.jobs & "status = 'error'").delete_quick()
    assert len(refusals) == 2
    assert len(items.Costly()) == 1
    assert kept(lab) == []
