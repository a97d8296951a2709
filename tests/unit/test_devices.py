"""What a machine offers is told without importing a heavy tool, and a limit of the service counts."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from adamacs.core import devices


def test_an_installed_tool_is_told_by_its_version_and_a_missing_one_by_nothing():
    assert devices.installed("numpy") == sys.modules.get("numpy", __import__("numpy")).__version__
    assert devices.installed("no-such-tool-of-anybody") is None


def test_telling_whether_a_tool_is_installed_imports_none():
    code = "import sys; from adamacs.core import devices; devices.installed('suite2p'); print('suite2p' in sys.modules)"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "False"


def test_memory_is_that_of_the_machine_or_less():
    assert 0 < devices.memory() <= psutil.virtual_memory().total


@pytest.fixture
def grant(tmp_path, monkeypatch):
    """Give this process control groups `service/slot` with these limits, outermost first."""
    listing = tmp_path / "cgroup"
    listing.write_text("1:cpu:/\n0::/service/slot\n")
    groups = tmp_path / "groups"

    def limits(*words: str) -> None:
        for folder, word in zip((groups, groups / "service", groups / "service" / "slot"), words, strict=True):
            folder.mkdir(exist_ok=True)
            (folder / "memory.max").write_text(f"{word}\n")

    monkeypatch.setattr(devices, "_CGROUPS", groups)
    monkeypatch.setattr(devices, "_OWN_GROUPS", listing)
    return limits


def test_the_least_limit_of_the_service_and_what_is_around_it_counts(grant):
    grant("max", "4000000", "5000000")
    assert devices.memory() == 4_000_000
    grant("max", "max", "3000000")
    assert devices.memory() == 3_000_000


def test_a_service_without_a_limit_has_the_whole_machine(grant):
    grant("max", "max", "max")
    assert devices.memory() == psutil.virtual_memory().total


def test_a_machine_without_control_groups_has_its_whole_memory(monkeypatch):
    monkeypatch.setattr(devices, "_OWN_GROUPS", Path("no-such-folder/cgroup"))
    assert devices.memory() == psutil.virtual_memory().total


def test_without_a_driver_there_is_no_cuda(monkeypatch):
    monkeypatch.setattr(devices.shutil, "which", lambda command: None)
    assert devices.cuda() == []
    assert "cuda" not in devices.present()
