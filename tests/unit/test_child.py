"""What a slot's process makes of its orders."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize("said", ["", '{"home": "/srv/ada'])
def test_a_child_whose_supervisor_died_before_it_gave_orders_ends_without_a_word(said):
    command = [sys.executable, "-m", "adamacs.workers.child"]
    ended = subprocess.run(command, input=said, capture_output=True, text=True, check=False, timeout=60)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")
