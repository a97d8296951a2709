"""How much memory a process has used at most, and how much it and what it started use now."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import psutil

_ENOUGH = 8192  # bytes, more than the status of a process has


def forget_peak() -> None:
    """Let the peak begin anew from what is in use now, where the system can (Linux)."""
    with suppress(OSError):
        file = os.open("/proc/self/clear_refs", os.O_WRONLY)  # plain calls: this is done for every key
        try:
            os.write(file, b"5")
        finally:
            os.close(file)


def peak(pid: int | None = None) -> int | None:
    """Return the greatest resident size since `forget_peak`, or since the process began, bytes; None if unknown.

    Parameters
    ----------
    pid
        Of another process. Where the system does not tell its greatest size (all but Linux), this is its present one.
    """
    with suppress(OSError):
        file = os.open(f"/proc/{pid or 'self'}/status", os.O_RDONLY)
        try:
            _, found, rest = os.read(file, _ENOUGH).partition(b"VmHWM:")
        finally:
            os.close(file)
        if found:
            return int(rest.split(maxsplit=1)[0]) * 1024
    if pid is not None:
        import psutil

        with suppress(psutil.Error):
            return int(psutil.Process(pid).memory_info().rss) or None
        return None
    with suppress(ImportError):
        import resource

        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return most if sys.platform == "darwin" else most * 1024
    return None


def family(pid: int) -> list[psutil.Process]:
    """Return a process and all that it started, and these in turn; none where it is gone."""
    import psutil

    try:
        head = psutil.Process(pid)
        return [head, *head.children(recursive=True)]
    except psutil.Error:
        return []


def used(processes: Sequence[psutil.Process], limit: float = 0.0) -> int:
    """Return the memory that processes use together, bytes; those that are gone use none.

    Parameters
    ----------
    limit
        Where resident sizes add up to more than this, what several of them share is counted once, which takes longer;
        forked processes share most of what they have. Where the system does not tell, it is counted for each.
    """
    resident = sum(_resident(process) for process in processes)
    if resident <= limit or len(processes) < 2:
        return resident
    return sum(_proportional(process) for process in processes)


def _resident(process: psutil.Process) -> int:
    import psutil

    try:
        return int(process.memory_info().rss)
    except psutil.Error:
        return 0


def _proportional(process: psutil.Process) -> int:
    """Return the memory of a process, of shared pages its share alone (Linux)."""
    import psutil

    with suppress(psutil.Error, AttributeError):
        return int(process.memory_full_info().pss)
    return _resident(process)
