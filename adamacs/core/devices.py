"""What this machine offers to compute with, told without importing a heavy tool."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess

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


def cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
