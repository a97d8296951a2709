"""Named places at which a test can kill the process."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from adamacs.core import points


@pytest.fixture(autouse=True)
def kills(monkeypatch):
    """The kills that would have been; nothing is armed before or after."""
    seen = []
    monkeypatch.setattr(points.os, "kill", lambda pid, signal: seen.append((pid, signal)))
    points.arm("")
    yield seen
    points.arm("")


def test_unarmed_places_do_nothing(kills):
    for name in points.NAMES:
        points.reach(name)
    assert kills == []


def test_the_chosen_arrival_at_the_chosen_place_is_the_last(kills):
    points.arm("after rename:3")
    for name in ("after rename", "before commit", "after rename"):
        points.reach(name)
    assert kills == []
    points.reach("after rename")
    assert [pid for pid, _ in kills] == [os.getpid()]


def test_without_a_count_the_first_arrival_counts(kills):
    points.arm("computed")
    points.reach("computed")
    assert len(kills) == 1


@pytest.mark.parametrize("text", ["nowhere:1", "computed:soon", "computed:"[:-1] + "x"])
def test_what_names_no_place_is_refused(text):
    with pytest.raises(ValueError):
        points.arm(text)


def test_the_environment_arms_a_process_and_it_dies_by_the_signal():
    code = "from adamacs.core import points; points.reach('computed'); print('once'); points.reach('computed')"
    environment = {**os.environ, points.VARIABLE: "computed:2"}
    dead = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert dead.returncode == -9
    assert "twice" not in dead.stdout
