"""Folders below a root, entered one name at a time, so that no link leads out of it. Only folders are ever opened.

A folder is held open while it is looked at, and what lies in it is reached through it: where somebody exchanges a
folder on the way for a link between two steps, the system refuses the second. Windows has no such calls; there each
step looks for a link first, and leaves a moment between.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from types import TracebackType

from adamacs.core.names import natural_sorted

Stamp = tuple[int, int, int, int]  # times of change of a folder and its entry, ns; which folder it is

_HOLDS = {os.open, os.stat} <= os.supports_dir_fd and os.scandir in os.supports_fd and hasattr(os, "O_NOFOLLOW")
_FOLDER = getattr(os, "O_DIRECTORY", 0) | os.O_RDONLY
ABSENT = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)  # of what is not there, or leads elsewhere
_LINKS = {getattr(stat, name, None) for name in ("IO_REPARSE_TAG_SYMLINK", "IO_REPARSE_TAG_MOUNT_POINT")} - {None}


@dataclass(frozen=True)
class Listing:
    """The names in a folder, by kind, each in natural order."""

    files: list[str]
    folders: list[str]
    links: list[str]
    others: list[str]  # pipes, sockets, devices

    @property
    def names(self) -> list[str]:
        """All of them."""
        return [*self.files, *self.folders, *self.links, *self.others]


class Place:
    """A folder that is held open; to be used in a `with`."""

    def __init__(self, path: Path, handle: int | None) -> None:
        self._path = path
        self._handle = handle

    @classmethod
    def at(cls, root: Path) -> Place:
        """Hold a root open; it may itself be reached by a link.

        Raises
        ------
        OSError
            There is no such folder, or it cannot be read.
        """
        return cls(root, os.open(root, _FOLDER) if _HOLDS else None)

    def enter(self, name: str) -> Place:
        """Hold a folder open that lies in this one.

        Raises
        ------
        OSError
            There is no such folder, it cannot be read, or it is a link.
        """
        path = self._path / name
        if self._handle is not None:
            return Place(path, os.open(name, _FOLDER | os.O_NOFOLLOW, dir_fd=self._handle))
        if self.stamp_of(name) is None:
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path))
        return Place(path, None)

    def stamp(self) -> Stamp:
        """Return the folder's times and identity; any name that comes or goes changes them."""
        return _stamp(self._path.stat() if self._handle is None else os.fstat(self._handle))

    def stamp_of(self, name: str) -> Stamp | None:
        """Return the stamp of a folder in this one, or None where the name is a link or no folder."""
        status = self.status(name)
        return _stamp(status) if stat.S_ISDIR(status.st_mode) and not _is_link(status) else None

    def status(self, name: str) -> os.stat_result:
        """Return what is known of a name in this folder, which is not followed."""
        if self._handle is not None:
            return os.stat(name, dir_fd=self._handle, follow_symlinks=False)
        return os.lstat(self._path / name)

    def is_link(self, name: str) -> bool:
        """Tell whether a name in this folder is a link."""
        try:
            return _is_link(self.status(name))
        except OSError:
            return False

    def listing(self) -> Listing:
        """List the folder in one pass over its entries, of which none is looked at singly."""
        files: list[str] = []
        folders: list[str] = []
        links: list[str] = []
        others: list[str] = []
        with os.scandir(self._path if self._handle is None else self._handle) as entries:
            looks_twice = not _HOLDS
            for entry in entries:
                if looks_twice and _is_link(entry.stat(follow_symlinks=False)):  # costs nothing on Windows
                    links.append(entry.name)
                elif entry.is_file(follow_symlinks=False):
                    files.append(entry.name)
                elif entry.is_dir(follow_symlinks=False):
                    folders.append(entry.name)
                else:
                    (links if entry.is_symlink() else others).append(entry.name)
        return Listing(*(natural_sorted(names) for names in (files, folders, links, others)))

    def __enter__(self) -> Place:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._handle is not None:
            os.close(self._handle)


@contextmanager
def descended(top: Place, names: Sequence[str]) -> Iterator[Place]:
    """Hold a folder open that lies some levels below one that is; never more than two on the way."""
    if not names:
        yield top
        return
    held = top.enter(names[0])
    for name in names[1:]:
        with held:
            held = held.enter(name)
    with held:
        yield held


def statuses(root: Path, paths: Iterable[str]) -> Iterator[tuple[str, os.stat_result | None]]:
    """Yield what is known of each file below a root; None where it is gone, no regular file, or behind a link.

    Parameters
    ----------
    paths
        Relative to the root, POSIX; those of one folder after each other, or each of its folders is entered again.

    Raises
    ------
    OSError
        The root cannot be read.
    """
    with Place.at(root) as top:
        for folder, group in groupby(paths, key=lambda path: path.rpartition("/")[0]):
            with ExitStack() as stack:
                place = _entered(stack, top, folder)
                for path in group:
                    yield path, None if place is None else _regular(place, path.rpartition("/")[2])


def _entered(stack: ExitStack, top: Place, folder: str) -> Place | None:
    names = folder.split("/") if folder else []
    if any(name in ("", ".", "..") for name in names):
        return None
    try:
        return stack.enter_context(descended(top, names))
    except OSError as error:
        if error.errno not in ABSENT:
            raise
        return None


def _regular(place: Place, name: str) -> os.stat_result | None:
    try:
        status = place.status(name)
    except OSError as error:
        if error.errno not in ABSENT:
            raise
        return None
    return status if stat.S_ISREG(status.st_mode) and not _is_link(status) else None


def _stamp(status: os.stat_result) -> Stamp:
    return status.st_mtime_ns, status.st_ctime_ns, status.st_ino, status.st_dev


def _is_link(status: os.stat_result) -> bool:
    return stat.S_ISLNK(status.st_mode) or getattr(status, "st_reparse_tag", 0) in _LINKS
