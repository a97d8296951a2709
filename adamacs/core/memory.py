"""How much memory a process has used, at most."""

from __future__ import annotations

import os
import sys
from contextlib import suppress

_ENOUGH = 8192  # bytes, more than the status of a process has


def forget_peak() -> None:
    """Let the peak begin anew from what is in use now, where the system can (Linux)."""
    with suppress(OSError):
        file = os.open("/proc/self/clear_refs", os.O_WRONLY)  # plain calls: this is done for every key
        try:
            os.write(file, b"5")
        finally:
            os.close(file)


def peak() -> int | None:
    """Return the greatest resident size since `forget_peak`, or since the process began, bytes; None if unknown."""
    with suppress(OSError):
        file = os.open("/proc/self/status", os.O_RDONLY)
        try:
            _, found, rest = os.read(file, _ENOUGH).partition(b"VmHWM:")
        finally:
            os.close(file)
        if found:
            return int(rest.split(maxsplit=1)[0]) * 1024
    with suppress(ImportError):
        import resource

        used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return used if sys.platform == "darwin" else used * 1024
    return None
