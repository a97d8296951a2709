"""A folder on a disk, opened without following a link, and what is done with the names in it."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adamacs.core.errors import UnsafePath
from adamacs.storage.stores.interface import Stored

PARTIAL = ".part"  # how the name of a draft ends
_SEEKING = threading.Lock()
# With folder descriptors no link can be slipped in between the check of a path and its use.
_DESCRIPTORS = {os.open, os.mkdir, os.stat, os.unlink, os.link, os.rename} <= os.supports_dir_fd
_OPEN = getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0) | getattr(os, "O_NOFOLLOW", 0)
_NO_LINKS = {errno.EPERM, errno.ENOSYS, errno.EMLINK, errno.ENOTSUP, errno.EOPNOTSUPP}


@dataclass(frozen=True)
class Folder:
    """An open folder: its names are used relative to it, so that nobody can move it away in between."""

    path: Path
    descriptor: int | None = None

    def _at(self, name: str) -> tuple[str, dict[str, Any]]:
        return (str(self.path / name), {}) if self.descriptor is None else (name, {"dir_fd": self.descriptor})

    def open(self, name: str, flags: int) -> int:
        """Open or make a file that is no link, and return its descriptor."""
        target, at = self._at(name)
        return os.open(target, flags | _OPEN, 0o666, **at)

    def exists(self, name: str) -> bool:
        """Tell whether the name is taken, by whatever it is."""
        try:
            self.status(name)
        except FileNotFoundError:
            return False
        return True

    def status(self, name: str) -> os.stat_result:
        """Return what the system says of a name; of a link, the link itself is meant."""
        target, at = self._at(name)
        return os.stat(target, follow_symlinks=False, **at)  # noqa: PTH116 (a Path knows no descriptor)

    def unlink(self, name: str) -> None:
        """Remove a name."""
        target, at = self._at(name)
        os.unlink(target, **at)

    def publish(self, draft: str, name: str) -> None:
        """Give a finished draft its name, unless the name is taken."""
        source, target = self._at(draft)[0], self._at(name)[0]
        here = self.descriptor
        at: dict[str, Any] = {} if here is None else {"src_dir_fd": here, "dst_dir_fd": here}
        try:
            os.link(source, target, **at)
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            # Some shares have no hard links. The names of arrays are random, so that only a mistake collides.
            if self.exists(name):
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), name) from error
            os.rename(source, target, **at)  # noqa: PTH104 (a Path knows no descriptor)
            return
        with suppress(OSError):  # the file has its name; a second one is cleared away with what dead writers left
            self.unlink(draft)

    def sync(self) -> None:
        """Wait until the names are on the disk, where the system lets a folder be synced."""
        if self.descriptor is not None:
            os.fsync(self.descriptor)


@contextmanager
def opened(root: Path, parts: tuple[str, ...], *, make: bool = False) -> Iterator[Folder]:
    """Walk down from a root that exists, without following a link; with `make`, missing folders are made."""
    if not _DESCRIPTORS:
        yield _plain_folder(root, parts, make=make)
        return
    try:
        descriptor = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError as error:  # it went away since it was looked at: the store is gone, not a file of it
        raise OSError(errno.ESTALE, os.strerror(errno.ESTALE), str(root)) from error
    try:
        for part in parts:
            inner = _open_inner(descriptor, part, make=make)
            os.close(descriptor)
            descriptor = inner
        yield Folder(root.joinpath(*parts), descriptor)
    finally:
        os.close(descriptor)


def _open_inner(outer: int, name: str, *, make: bool) -> int:
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        return os.open(name, flags, dir_fd=outer)
    except FileNotFoundError:
        if not make:
            raise
    with suppress(FileExistsError):  # another writer was faster
        os.mkdir(name, dir_fd=outer)
        os.fsync(outer)
    return os.open(name, flags, dir_fd=outer)


def _plain_folder(root: Path, parts: tuple[str, ...], *, make: bool) -> Folder:
    """Do what can be done where folders have no descriptors (Windows): refuse a path that a link leads away."""
    path = root.joinpath(*parts)
    if make:
        path.mkdir(parents=True, exist_ok=True)
    elif not path.is_dir():
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
    if Path(os.path.realpath(path)) != Path(os.path.realpath(root)).joinpath(*parts):
        raise UnsafePath("A part of this path is a link.", path)
    return Folder(path)


def walk(folder: Path, root: Path, partial: bool) -> Iterator[Stored]:
    """Yield the files in and below a folder, named relative to a root; links are passed over."""
    with suppress(FileNotFoundError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield from walk(Path(entry.path), root, partial)
            elif entry.is_file(follow_symlinks=False) and _wanted(entry.name, partial):
                with suppress(FileNotFoundError):  # removed meanwhile
                    found = entry.stat(follow_symlinks=False)
                    yield Stored(Path(entry.path).relative_to(root).as_posix(), found.st_size, found.st_mtime)


def _wanted(name: str, partial: bool) -> bool:
    return name.startswith(".") and name.endswith(PARTIAL) if partial else not name.startswith(".")


def read_range(descriptor: int, start: int, stop: int) -> bytes:
    """Read the bytes from `start` to `stop`, fewer where the file ends before; by several threads at once."""
    pieces = []
    while start < stop and (piece := _read_at(descriptor, start, stop - start)):
        pieces.append(piece)
        start += len(piece)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def _read_at(descriptor: int, start: int, length: int) -> bytes:
    if hasattr(os, "pread"):
        return os.pread(descriptor, length, start)
    with _SEEKING:  # Windows: the place to read from belongs to the descriptor, which threads share
        os.lseek(descriptor, start, os.SEEK_SET)
        return os.read(descriptor, length)
