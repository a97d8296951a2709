"""Files below one folder, reached name by name without following a link, so that no swap leads elsewhere."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from adamacs.core.errors import UnsafePath

LONGEST_NAME, LONGEST_PATH = 255, 4096  # bytes
_BY_NUMBER = os.open in os.supports_dir_fd and hasattr(os, "O_NOFOLLOW")  # not on Windows
_NO_LINK = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
_DRIVE = re.compile(r"[A-Za-z]:")
_WINDOWS = re.compile(r'[\\:*?"<>|\x01-\x1f]|[. ]$')  # a colon names a stream, a last dot or blank is lost
_DEVICE = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)


def parts_of(path: str, *, windows: bool = os.name == "nt") -> tuple[str, ...]:
    """Split a relative POSIX path into its names.

    Raises
    ------
    UnsafePath
        The path is empty, absolute, climbs, begins with a drive, holds a NUL or is too long; on Windows also where a
        name means something else there.
    """
    parts = tuple(path.split("/"))
    try:
        coded = [os.fsencode(part) for part in parts]
    except UnicodeEncodeError as error:
        raise UnsafePath("A path in a recording is no text.", repr(path[:100])) from error
    if not path or any(part in ("", ".", "..") for part in parts) or _DRIVE.match(path) or "\0" in path:
        raise UnsafePath("A path in a recording stays below its folder.", repr(path), "Nothing of it was written.")
    if any(len(part) > LONGEST_NAME for part in coded) or sum(map(len, coded)) + len(coded) > LONGEST_PATH:
        raise UnsafePath("A path in a recording is longer than files may be named.", repr(path[:100]))
    if windows and any(_WINDOWS.search(part) or _DEVICE.fullmatch(part) for part in parts):
        raise UnsafePath("A name in a recording means something else on Windows.", repr(path), "Replay it elsewhere.")
    return parts


class Below:
    """One folder that stays what it was when it was opened, even where another takes its name."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._number = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | _NO_LINK) if _BY_NUMBER else -1

    def __enter__(self) -> Below:
        return self

    def __exit__(self, *_: object) -> None:
        if self._number >= 0:
            os.close(self._number)

    @contextmanager
    def parent(self, parts: Sequence[str]) -> Iterator[tuple[str, int | None]]:
        """Yield how the last name is called, and in which open folder (None: by its whole path)."""
        if not _BY_NUMBER:
            place = self.folder
            for name in parts[:-1]:
                place /= name
                if place.is_symlink():
                    raise UnsafePath("A link is not followed.", place)
            yield str(place / parts[-1]), None
            return
        number = os.dup(self._number)
        try:
            for name in parts[:-1]:
                deeper = _open(name, os.O_RDONLY | os.O_DIRECTORY, number)
                os.close(number)
                number = deeper
            yield parts[-1], number
        finally:
            os.close(number)

    @contextmanager
    def opened(self, parts: Sequence[str], flags: int) -> Iterator[int]:
        """Open a file, by its number; a link in its place is an OSError."""
        with self.parent(parts) as (name, place):
            number = _open(name, flags, place)
        try:
            yield number
        finally:
            os.close(number)

    def make_folder(self, parts: Sequence[str]) -> None:
        with self.parent(parts) as (name, place), suppress(FileExistsError):
            os.mkdir(name, dir_fd=place)

    def rename(self, parts: Sequence[str], to: Sequence[str]) -> None:
        with self.parent(parts) as (name, place), self.parent(to) as (new, there):
            os.replace(name, new, src_dir_fd=place, dst_dir_fd=there)

    def remove(self, parts: Sequence[str], *, folder: bool) -> None:
        with self.parent(parts) as (name, place):
            if folder:
                os.rmdir(name, dir_fd=place)
            else:
                os.unlink(name, dir_fd=place)

    def set_time(self, parts: Sequence[str], mtime: int) -> None:
        """Set a file's time of change, ns since 1970."""
        with self.parent(parts) as (name, place):
            os.utime(name, ns=(mtime, mtime), dir_fd=place, follow_symlinks=place is None)


def _open(name: str, flags: int, place: int | None) -> int:
    """Open a name in an open folder, or by its whole path."""
    if place is None and Path(name).is_symlink():
        raise UnsafePath("A link is not followed.", name)
    try:
        return os.open(name, flags | _NO_LINK, 0o666, dir_fd=place)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENOTDIR):
            raise UnsafePath("A link is not followed.", name) from error
        raise


def read_at(number: int, offset: int, size: int) -> bytes:
    """Return up to `size` bytes of an open file from a place on, fewer where it ends."""
    os.lseek(number, offset, os.SEEK_SET)
    data = b""
    while len(data) < size and (more := os.read(number, size - len(data))):
        data += more
    return data


def write_at(number: int, offset: int, data: bytes) -> None:
    """Write all bytes to an open file from a place on."""
    os.lseek(number, offset, os.SEEK_SET)
    view = memoryview(data)
    while view:
        view = view[os.write(number, view) :]
