"""Which process this is: account, machine and release, and whether a process that was named once still runs."""

from __future__ import annotations

import getpass
import hashlib
import os
import platform
import time
from contextlib import suppress
from pathlib import Path

import adamacs


def account() -> str:
    """Return the name of this process's account, or its number where it has no name."""
    with suppress(KeyError, OSError, ImportError):
        return getpass.getuser()
    return str(os.getuid())


def machine() -> str:
    """Return what tells this start of this host, and this container on it, from every other."""
    import psutil

    parts = [platform.node(), str(round(psutil.boot_time()))]
    for path, read in (("/proc/sys/kernel/random/boot_id", Path.read_text), ("/proc/self/ns/pid", os.readlink)):
        with suppress(OSError):
            parts.append(str(read(Path(path))).strip())
    if len(parts) > 2:
        del parts[1]  # the time of the start is a guess that moves with the clock; the kernel's own name does not
    return hashlib.blake2b(" ".join(parts).encode(), digest_size=16).hexdigest()


def version() -> str:
    """Return the release, followed by the git revision where adamacs runs from a checkout."""
    revision = _revision(Path(adamacs.__file__).parents[1] / ".git")
    return f"{adamacs.__version__}+g{revision[:12]}" if revision else adamacs.__version__


def _revision(git: Path) -> str:
    with suppress(OSError):
        head = (git / "HEAD").read_text().strip()
        if not head.startswith("ref: "):
            return head
        reference = head.removeprefix("ref: ")
        if (git / reference).is_file():
            return (git / reference).read_text().strip()
        for line in (git / "packed-refs").read_text().splitlines():
            if line.endswith(f" {reference}"):
                return line.split()[0]
    return ""


def is_running(pid: int, process_start: float) -> bool:
    """Whether that very process of this machine still exists; a zombie that nobody waited for does not."""
    import psutil

    try:
        return abs(start_of(pid) - process_start) < 0.5 and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return _is_hidden(pid)


def was_running(pid: int, seconds: float) -> bool:
    """Whether a process of this host that has this number now had it that many seconds ago."""
    import psutil

    try:
        return start_of(pid) <= _now_as_starts() - seconds + 1
    except psutil.Error:
        return _is_hidden(pid)


def start_of(pid: int) -> float:
    """Return when a process of this machine began: s since the machine did, where the kernel tells (Linux).

    Elsewhere s since 1970, which moves when somebody sets the clock.

    Raises
    ------
    psutil.Error
        There is no such process, or nothing can be seen of it.
    """
    import psutil

    try:
        words = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return psutil.Process(pid).create_time()
    return int(words[19]) / os.sysconf("SC_CLK_TCK")


def _now_as_starts() -> float:
    """Return the present on the clock of `start_of`."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if Path("/proc/self/stat").exists() else time.time()


def _is_hidden(pid: int) -> bool:
    """Whether a process of another account exists that the system shows nobody else (`hidepid`)."""
    if os.name != "posix":
        return False
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except OSError:
        return False
    return False
