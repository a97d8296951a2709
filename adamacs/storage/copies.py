"""A file brought from one disk to another: read once, written, read back, and compared."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import BinaryIO

from blake3 import blake3

from adamacs.core.errors import UnreadableFile
from adamacs.storage.stores import FileStore, parts_of
from adamacs.storage.stores.file import Writeback
from adamacs.storage.stores.folder import Folder, opened

_PIECE = 1 << 21  # bytes read at a time
_CAUTIOUS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0)  # a pipe in the place of a file cannot hold the reader


@dataclass(frozen=True)
class Original:
    """A file as somebody looked at it, before it is copied.

    Attributes
    ----------
    root
        A folder that exists; below it no link is followed.
    path
        Relative to it.
    size, time
        Bytes, and ns since 1970 of the last modification.
    """

    root: str
    path: str
    size: int
    time: int

    @property
    def place(self) -> Path:
        """The absolute path."""
        return Path(self.root, self.path)

    @contextmanager
    def _folder(self) -> Iterator[tuple[Folder, str]]:
        *parents, name = PurePath(self.path).parts
        with opened(Path(self.root), tuple(parents)) as folder:
            yield folder, name

    @contextmanager
    def reading(self) -> Iterator[BinaryIO]:
        """Open the file, which must be the one that was looked at.

        Raises
        ------
        UnreadableFile
            It is another one, no regular file, or cannot be read; or it changed until the block ended.
        """
        try:
            with self._folder() as (folder, name), os.fdopen(folder.open(name, _CAUTIOUS), "rb", buffering=0) as file:
                self.require(os.fstat(file.fileno()))
                yield file
                self.require(os.fstat(file.fileno()))
        except UnreadableFile:
            raise
        except OSError as error:
            raise UnreadableFile(f"The file cannot be read ({error.strerror or error}).", self.place) from error

    def require(self, found: os.stat_result) -> None:
        """Refuse what the system says of a file that is not the one looked at."""
        if not stat.S_ISREG(found.st_mode):
            raise UnreadableFile("This is no regular file.", self.place)
        if (found.st_size, found.st_mtime_ns) != (self.size, self.time):
            times = f", last changed {_seconds(self.time)}, then {_seconds(found.st_mtime_ns)} (s since 1970)"
            what = f"The file changed since it was looked at: {self.size} bytes, then {found.st_size}{times}."
            raise UnreadableFile(what, self.place, "Is somebody still writing it? Try again when that is done.")

    def remove(self) -> str:
        """Remove the file if it is still the one that was copied; return why not, or nothing."""
        try:
            with self._folder() as (folder, name):
                self.require(folder.status(name))
                folder.unlink(name)
        except UnreadableFile as error:
            return error.what
        except OSError as error:
            return f"It cannot be removed ({error.strerror or error})."
        return ""


def _seconds(nanoseconds: int) -> str:
    return f"{nanoseconds // 10**9}.{nanoseconds % 10**9:09}"


def copy(original: Original, store: FileStore, path: str, wrote: Callable[[int], None] = lambda length: None) -> str:
    """Copy a file into a store whose folder nobody else uses yet, and return the blake3 of the bytes that were read.

    The copy is durable once it is verified, and its name once its folder is synced.

    Parameters
    ----------
    wrote
        Told of the bytes of each piece.

    Raises
    ------
    UnreadableFile
        The original cannot be read, or changed since it was looked at.
    StoreUnavailable
        The store is full or refuses, or has such a file.
    """
    digest, copied = blake3(), 0
    with _created(store, path) as write, original.reading() as file:
        for piece in _hashed(file, digest, original.size):
            write(piece)
            copied += len(piece)
            wrote(len(piece))
            if copied > original.size:  # it may grow for ever
                break
        if copied != original.size:
            what = f"{copied} bytes were read of a file of {original.size}."
            raise UnreadableFile(what, original.place, "Is somebody still writing it? Try again when that is done.")
    return digest.hexdigest()


@contextmanager
def _created(store: FileStore, path: str) -> Iterator[Callable[[memoryview], None]]:
    """Make a file and the folders above it, and give what appends to it."""
    *parents, name = parts_of(path)
    with store.answering(path), opened(store.root, tuple(parents), make=True) as folder:
        descriptor = folder.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL)
    writeback = Writeback(descriptor)

    def write(piece: memoryview) -> None:
        with store.answering(path):
            file.write(piece)
            writeback.wrote(len(piece))

    with os.fdopen(descriptor, "wb") as file:
        try:
            yield write
        finally:
            with store.answering(path):
                writeback.finish()
                file.flush()


def _hashed(file: BinaryIO, digest: blake3, size: int) -> Iterator[memoryview]:
    """Yield a file in pieces; each is hashed by another thread while its reader works, and is valid until the next."""
    buffers = [memoryview(bytearray(min(_PIECE, size + 1))) for _ in range(2)]  # a small file is soon done
    hashing: Future[object] | None = None
    with ThreadPoolExecutor(1) as pool:
        while length := file.readinto(buffers[0]):  # type: ignore[attr-defined]
            if hashing:
                hashing.result()  # so that the other buffer is free
            piece = buffers[0][:length]
            if length < _PIECE:  # mostly the last one, or a small file: no thread is worth it
                hashing = None
                digest.update(piece)
            else:
                hashing = pool.submit(digest.update, piece)
            yield piece
            buffers.reverse()


def verify(original: Original, store: FileStore, path: str, digest: str) -> None:
    """Make a copy durable, give it the time of its original and read it back.

    It is read from the disk where the system forgets what it holds of it; elsewhere perhaps from memory.

    Raises
    ------
    UnreadableFile
        What comes back is not what was read.
    StoreUnavailable
        The disk is full, or refuses.
    """
    place, back = Path(store.locate(path)), blake3()
    with store.answering(path), place.open("r+b", buffering=0) as file:
        os.utime(place, ns=(original.time, original.time))
        os.fsync(file.fileno())
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        for _ in _hashed(file, back, original.size):
            pass
    if (found := back.hexdigest()) != digest:
        what = f"The copy gives back other bytes than were read: blake3 {digest} was read, {found} came back."
        raise UnreadableFile(what, original.place, "Do not trust this disk, its cable or this memory.")
