"""One file, opened so that nothing can be made of it but reading: no link, no pipe, no more memory than asked for."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from adamacs.core.errors import MissingFile, UnreadableFile

COPY = "Did the copy from the rig finish?"
PIECE = 1 << 16  # bytes read at a time where a table may be long
_MOST = 1 << 20  # bytes that a single read may ask for, whatever the file states
_FLAGS = sum(getattr(os, name, 0) for name in ("O_NOFOLLOW", "O_NONBLOCK", "O_NOCTTY", "O_CLOEXEC", "O_BINARY"))


@dataclass
class Source:
    """An open file, and its length when it was opened."""

    path: Path
    number: int  # of the open file
    size: int

    def fail(self, what: str, hint: str = COPY) -> UnreadableFile:
        return UnreadableFile(what, self.path, hint)

    def read(self, offset: int, size: int, what: str) -> bytes:
        """Return exactly `size` bytes; anything less is a truncated file."""
        self.reaches(offset, size, what)
        if size > _MOST:
            raise self.fail(f"The {what} at byte {offset} claims {size} bytes, more than any program writes there.")
        data = self._read(offset, size)
        while len(data) < size:
            more = self._read(offset + len(data), size - len(data))
            if not more:
                raise self.fail(f"The file shrank while it was read: no byte {offset + len(data)} ({what}).")
            data += more
        return data

    def pieces(self, offset: int, size: int, what: str) -> Iterator[bytes]:
        """Yield `size` bytes, however many, a megabyte at a time."""
        self.reaches(offset, size, what)
        for start in range(offset, offset + size, _MOST):
            yield self.read(start, min(_MOST, offset + size - start), what)

    def reaches(self, offset: int, size: int, what: str) -> None:
        """Refuse a file that ends before what it is said to hold."""
        if offset < 0 or offset + size > self.size:
            raise self.fail(
                f"The file ends at byte {self.size}, but its {what} reaches from {offset} to {offset + size}."
            )

    def head(self, size: int) -> bytes:
        """Return the first bytes, fewer where the file is shorter."""
        return self.read(0, min(size, self.size), "header")

    def tail(self, size: int) -> bytes:
        """Return the last bytes, fewer where the file is shorter."""
        size = min(size, self.size)
        return self.read(self.size - size, size, "end")

    def _read(self, offset: int, size: int) -> bytes:
        if hasattr(os, "pread"):
            return os.pread(self.number, size, offset)
        os.lseek(self.number, offset, os.SEEK_SET)
        return os.read(self.number, size)


@contextmanager
def opened(path: Path) -> Iterator[Source]:
    """Open a regular file for reading.

    A link is not followed, and a pipe or device is refused without waiting for its other side.

    Raises
    ------
    UnreadableFile
        It is missing, a link, no file, may not be read, or changed while it was open.
    """
    try:
        if not hasattr(os, "O_NOFOLLOW") and path.is_symlink():
            raise UnreadableFile("A link is not followed.", path, "Put the file itself here.")
        number = os.open(path, os.O_RDONLY | _FLAGS)
        try:
            before = os.fstat(number)
            if not stat.S_ISREG(before.st_mode):
                raise UnreadableFile("This is no file.", path)
            yield Source(path, number, before.st_size)
            after = os.fstat(number)
        finally:
            os.close(number)
        if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
            raise UnreadableFile("The file changed while it was read.", path, "Try again when its copy is finished.")
    except FileNotFoundError as error:
        raise MissingFile("The file is missing.", path, COPY) from error
    except (OSError, ValueError) as error:
        if path.is_symlink():  # what O_NOFOLLOW says of one differs between systems
            raise UnreadableFile("A link is not followed.", path, "Put the file itself here.") from error
        if path.is_dir():  # Windows opens no folder
            raise UnreadableFile("This is no file.", path) from error
        reason = getattr(error, "strerror", None) or error
        raise UnreadableFile(f"The file cannot be read: {reason}.", path, "May this account read it?") from error
