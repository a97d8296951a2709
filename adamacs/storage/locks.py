"""A lock between processes, of which the system frees whoever dies."""

from __future__ import annotations

import errno
import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from adamacs.core.errors import StoreUnavailable

log = logging.getLogger(__name__)

_FLAGS = os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0)
_HELD = {errno.EACCES, errno.EAGAIN, errno.EDEADLK}
_EVERY = 0.02  # s between two tries


@contextmanager
def holding(path: Path, patience: float = 60.0) -> Iterator[None]:
    """Let one process at a time, of whatever account, into a block. The file of the lock stays.

    A file system that knows no locks lets everybody in, and the log says so: what is done inside must then fail where
    two do it at once.

    Parameters
    ----------
    path
        The file of the lock. Everybody may open it, because whoever uses the folder must.
    patience
        s to wait for others.

    Raises
    ------
    StoreUnavailable
        The file cannot be made or opened, or others hold the lock for too long.
    """
    try:
        descriptor = os.open(path, _FLAGS, 0o666)
    except OSError as error:
        hint = f"Let its owner run once: touch {path} && chmod a+rw {path}"
        raise StoreUnavailable(f"The lock cannot be opened ({error.strerror}).", path, hint) from error
    try:
        if hasattr(os, "fchmod"):
            with suppress(OSError):  # whoever made it did so before
                os.fchmod(descriptor, 0o666)
        _wait(descriptor, path, time.monotonic() + patience)
        yield
    finally:
        os.close(descriptor)


def _wait(descriptor: int, path: Path, until: float) -> None:
    while True:
        try:
            _take(descriptor)
            return
        except OSError as error:
            if error.errno not in _HELD:
                log.warning("%s: this file system knows no locks (%s).", path, error.strerror)
                return
            if time.monotonic() > until:
                raise StoreUnavailable("Others hold the lock for too long.", path, "Try again.") from error
        time.sleep(_EVERY)


def _take(descriptor: int) -> None:
    try:
        import fcntl
    except ImportError:
        import msvcrt

        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined,unused-ignore]
    else:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
