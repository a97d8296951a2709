"""What this machine offers to compute with, told without importing a heavy tool."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from importlib import metadata
from pathlib import Path

_CGROUPS = Path("/sys/fs/cgroup")
_OWN_GROUPS = Path("/proc/self/cgroup")
_PATIENCE = 10  # s; a driver that hangs must not hang the caller


def present() -> frozenset[str]:
    """Return the kinds of devices that Suite2p's `device` setting can name beside `cpu`."""
    kinds = set()
    if cuda():
        kinds.add("cuda")
    if platform.system() == "Darwin" and platform.machine() == "arm64":
        kinds.add("mps")
    return frozenset(kinds)


def cuda() -> list[str]:
    """Return the NVIDIA devices, one line each, as their driver names them; empty without a driver."""
    command = shutil.which("nvidia-smi")
    if command is None:
        return []
    try:
        answer = subprocess.run([command, "-L"], capture_output=True, text=True, timeout=_PATIENCE, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return []
    return [line.partition(" (UUID")[0] for line in answer.stdout.splitlines() if line.startswith("GPU ")]


def installed(tool: str) -> str | None:
    """Return the version of an installed distribution, read from its metadata; None where there is none."""
    try:
        return metadata.version(tool)
    except metadata.PackageNotFoundError:
        return None


def memory() -> int:
    """Return how much memory this process could use if it were alone, bytes.

    All memory of the machine, or less where a service unit or container grants less. What is free just now says
    little: it changes with every other process, and files that the system caches count as used.
    """
    import psutil

    return min([psutil.virtual_memory().total, *_granted()])


def _granted() -> list[int]:
    """Return the limits of the control groups that this process is in (Linux), bytes."""
    try:
        lines = _OWN_GROUPS.read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    group = next((line.removeprefix("0::/") for line in lines if line.startswith("0::/")), None)
    if group is None:
        return []
    folders = [_CGROUPS / group, *(_CGROUPS / group).parents]
    files = [folder / "memory.max" for folder in folders if folder.is_relative_to(_CGROUPS)]
    words = [file.read_text().strip() for file in files if file.is_file()]
    return [int(word) for word in words if word.isdigit()]


def cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
