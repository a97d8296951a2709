"""Attempts at a result that is a folder: each works in a fresh one, and what it leaves is kept or cleared away.

An attempt's folder stands beside the place of its result, or on a scratch disk, and is locked for as long as its
process lives. So what a dead attempt left is told from what a living one needs, and the last step of an attempt is a
rename within one file system.
"""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
import socket
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from adamacs.storage.failed import FAILED, LOCK, FailedAttempts, is_of_a_full_disk

try:
    import fcntl
except ImportError:  # Windows: no locks, so nothing is ever held to be dead
    fcntl = None  # type: ignore[assignment]

log = logging.getLogger(__name__)

DAY = 24 * 3600.0  # s; a lock of another host does not always reach this one, so its attempt must be silent for so long
_NAME = re.compile(r".+\.attempt-[0-9a-f]{12}")
_ABOUT = "attempt.json"  # in an attempt's folder: the key that it is about
_FINISHED = "manifest.json"  # in a folder that is complete: no attempt works inside


@dataclass(frozen=True)
class Attempt:
    """The folders of one attempt.

    Attributes
    ----------
    work
        Where the tool works: on the scratch disk, or the same as `beside`.
    beside
        On the file system of the destination.
    """

    work: Path
    beside: Path


@contextmanager
def attempt(destination: Path, scratch: Path | None = None, failed: FailedAttempts | None = None) -> Iterator[Attempt]:
    """Make fresh folders to work in, hold them for as long as the block lasts, and leave nothing of them behind.

    Parameters
    ----------
    destination
        Where the result belongs: a folder is made beside it.
    scratch
        A folder on a faster disk to work in; the result is copied beside its destination when it is complete.
    failed
        Where the folder is kept when the block fails, and where those are kept whose process died. Without it
        nothing is kept.
    """
    name = f"{destination.name}.attempt-{uuid.uuid4().hex[:12]}"
    parents = [place for place in (scratch, destination.parent) if place is not None]
    for place in parents:
        place.mkdir(parents=True, exist_ok=True)
        remove_dead_attempts(place, destination.name, failed)
    folders = [place / name for place in parents]
    with _cleared(folders, failed), ExitStack() as held:
        for folder in folders:
            held.enter_context(_held_folder(folder))
        if failed is not None:
            _tell_key(folders[0], failed)
        yield Attempt(work=folders[0], beside=folders[-1])


@contextmanager
def _cleared(folders: Sequence[Path], failed: FailedAttempts | None) -> Iterator[None]:
    """Leave nothing of the folders in their place; what failed is kept where failed attempts are."""
    try:
        yield
    except BaseException as error:
        if failed is not None and (place := failed.keep(folders[0], bulk=not is_of_a_full_disk(error))):
            error.add_note(f"What the attempt left is kept in {place}")
        raise
    finally:
        for folder in folders:
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _held_folder(folder: Path) -> Iterator[None]:
    folder.mkdir()
    with (folder / LOCK).open("w") as lock:
        _take(lock)
        lock.write(socket.gethostname())
        lock.flush()
        yield


def _take(lock: IO[str]) -> bool:
    """Take the lock of an attempt, which its process loses when it ends, however it ends."""
    if fcntl is None:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _tell_key(folder: Path, failed: FailedAttempts) -> None:
    """Write down what an attempt is about, for whoever finds it when its process died."""
    key = {name: value if isinstance(value, int) else str(value) for name, value in failed.key.items()}
    (folder / _ABOUT).write_text(json.dumps({"key": key}) + "\n", "utf-8")


def _told_key(folder: Path) -> dict[str, str] | None:
    """Return the key that a dead attempt was about; None where it does not say."""
    try:
        told = json.loads((folder / _ABOUT).read_text("utf-8"))["key"]
        return {str(name): str(value) for name, value in told.items()}
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return None


def is_attempt(name: str) -> bool:
    """Whether a folder of this name belongs to an attempt."""
    return _NAME.fullmatch(name) is not None


# ---- the dead


def remove_dead_attempts(parent: Path, name: str, failed: FailedAttempts | None = None) -> list[Path]:
    """Clear away what killed attempts at one result left, and return which these were.

    An attempt lives while its process holds the lock. A lock that was taken on another host may not be seen from here,
    so such a folder is left alone for a day.

    Parameters
    ----------
    parent, name
        Where the attempts are, and the name of their result.
    failed
        Where they are kept; without it they are removed.
    """
    dead = [folder for folder in sorted(parent.glob(f"{name}.attempt-*")) if is_dead(folder)]
    for folder in dead:
        _clear(folder, failed)
    return dead


def sweep_attempts(place: Path, root: Path, days: int, grace: float = DAY) -> list[Path]:
    """Clear away what killed attempts left anywhere in a folder, and return which these were.

    Parameters
    ----------
    place
        Where attempts may be, at any depth. Links are not followed.
    root
        Under which failed attempts are kept.
    days
        How long their bulk outputs are kept.
    grace
        s of silence before an attempt without a lock is taken for dead.
    """
    dead = [folder for folder in _attempts_in(place) if is_dead(folder) and _silence(folder) > grace]
    for folder in dead:
        key = _told_key(folder)
        _clear(folder, FailedAttempts(root, key, days) if key else None)
    return dead


def _clear(folder: Path, failed: FailedAttempts | None) -> None:
    place = failed.keep(folder) if failed is not None else None
    shutil.rmtree(folder, ignore_errors=True)  # what was not worth keeping
    log.warning("A dead attempt left %s: %s.", folder, f"kept in {place}" if place else "removed")


def is_dead(folder: Path) -> bool:
    """Whether the process of an attempt is gone."""
    if folder.is_symlink():
        return False
    try:
        with (folder / LOCK).open("r+") as lock:
            if not _take(lock):
                return False
            if lock.read() == socket.gethostname():
                return True
    except OSError:  # not locked yet, or not ours to open
        pass
    return _silence(folder) > DAY


def _silence(folder: Path) -> float:
    """Return the seconds since anything in a folder was written; 0 where it is gone."""
    latest = float("-inf")
    for parent, _, names in os.walk(folder):
        for path in (Path(parent), *(Path(parent, name) for name in names)):
            with suppress(FileNotFoundError):
                latest = max(latest, path.lstat().st_mtime)
    return time.time() - latest if latest > float("-inf") else 0.0


def _attempts_in(place: Path) -> list[Path]:
    found = []
    for parent, folders, files in os.walk(place):
        found += [Path(parent, name) for name in folders if is_attempt(name)]
        inside = [] if _FINISHED in files else [name for name in folders if not is_attempt(name)]
        folders[:] = [name for name in inside if not (name == FAILED and Path(parent) == place)]
    return sorted(found)
