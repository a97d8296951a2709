"""What every store does: files are written once and whole, and read at any place.

Paths are POSIX, relative to the store, and never lead out of it.
"""

from __future__ import annotations

import os
import re
import secrets
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import BinaryIO

from adamacs.core.errors import StoreUnavailable, UnsafePath

_LONGEST_NAME = 255  # bytes, the limit of every common file system
_UNSAFE = re.compile(r"[\x00-\x1f\x7f\\:]")  # a backslash and a colon lead elsewhere on Windows


@dataclass(frozen=True)
class Stored:
    """One stored file, as a listing tells it."""

    path: str
    size: int  # bytes
    modified: float  # s since 1970, by the clock of the store


def parts_of(path: str) -> tuple[str, ...]:
    """Split a stored path into its names.

    Raises
    ------
    UnsafePath
        The path is empty, absolute, climbs with `..`, or has a name that some system reads as something else.
    """
    if not isinstance(path, str) or not path:
        raise UnsafePath(f"{path!r} is no path in a store.", hint="Write it as folder/name, relative to the store.")
    if _UNSAFE.search(path):
        raise UnsafePath("A stored path has no control character, backslash or colon.", repr(path))
    parts = tuple(path.split("/"))
    for part in parts:
        if part in {"", ".", ".."}:
            raise UnsafePath("A stored path stays under its root.", repr(path), "Write it as folder/name.")
        if len(part.encode("utf-8", "surrogatepass")) > _LONGEST_NAME:
            raise UnsafePath(f"A name in a stored path has at most {_LONGEST_NAME} bytes.", repr(path))
    return parts


@dataclass(frozen=True)
class Reader:
    """An open stored file: the bytes from start to stop (fewer where it ends before), and its size in bytes."""

    read: Callable[[int, int | None], bytes]
    size: Callable[[], int]


class Draft:
    """A file being written, which nobody sees until its store publishes it."""

    def __init__(self, file: BinaryIO, store: Store, path: str) -> None:
        self._file = file
        self._store = store
        self._path = path

    def write(self, data: bytes | memoryview) -> None:
        """Append bytes."""
        with self._store.answering(self._path):
            self._file.write(data)

    def rewrite(self, start: int, data: bytes) -> None:
        """Replace bytes that were written before, and go on at the end."""
        with self._store.answering(self._path):
            self._file.seek(start)
            self._file.write(data)
            self._file.seek(0, os.SEEK_END)

    def close(self, *, sync: bool) -> None:
        """Close the file, after its bytes are on the disk where `sync` is set."""
        if self._file.closed:
            return
        with self._store.answering(self._path), self._file:
            if sync:
                self._file.flush()
                os.fsync(self._file.fileno())


class Store(ABC):
    """A named place where files rest, each written once and whole.

    Every method takes paths relative to the store and raises `UnsafePath` for one that leads out of it, and
    `StoreUnavailable` where the store cannot be reached, is full or refuses.
    """

    streams = 1  # reads that should run at once: one for a disk, several to hide the way to a server
    # Bytes that one read should fetch. Threads that fetch less fill neighbouring memory and wait for each other (with
    # 512 KiB a whole array took 30 % longer), and what is longer leaves the cache of a core.
    span = 1 << 21

    def __init__(self, name: str) -> None:
        self.name = name

    @abstractmethod
    def locate(self, path: str) -> str:
        """Return the full address of a path, for a message."""

    @abstractmethod
    def create(self, *paths: str) -> AbstractContextManager[list[Draft]]:
        """Open a draft per path; on leaving, all become durable and visible in this order, or none does.

        Raises
        ------
        StoreUnavailable
            Also where something is stored under one of the paths already.
        """

    @abstractmethod
    def reading(self, path: str) -> AbstractContextManager[Reader]:
        """Open a stored file for reads at any place, by several threads at once.

        Raises
        ------
        FileNotFoundError
            Nothing is stored under this path; told at the latest by the first read.
        """

    @abstractmethod
    def remove(self, path: str) -> None:
        """Remove a stored file. Where there is none, nothing happens."""

    @abstractmethod
    def listing(self, folder: str = "", *, partial: bool = False) -> Iterator[Stored]:
        """Yield the stored files under a folder; with `partial`, what dead writers left behind instead."""

    @abstractmethod
    def prepare(self) -> None:
        """Make the folder or bucket of the store where it is missing and may be made."""

    @abstractmethod
    def answering(self, path: str) -> AbstractContextManager[None]:
        """Turn what the system says about a path into `StoreUnavailable`; a missing file stays what it is."""

    def read(self, path: str, start: int = 0, stop: int | None = None) -> bytes:
        """Return the bytes from `start` to `stop`, fewer where the file ends before.

        Raises
        ------
        FileNotFoundError
            Nothing is stored under this path.
        """
        with self.reading(path) as file:
            return file.read(start, stop)

    def size(self, path: str) -> int:
        """Return the size in bytes.

        Raises
        ------
        FileNotFoundError
            Nothing is stored under this path.
        """
        with self.reading(path) as file:
            return file.size()

    def exists(self, path: str) -> bool:
        """Tell whether something is stored under this path."""
        try:
            self.size(path)
        except FileNotFoundError:
            return False
        return True

    def probe(self) -> None:
        """Prove that the store works: make it where it may be made, then write, read and remove a small file."""
        self.prepare()
        path, payload = f".probe-{secrets.token_hex(8)}", secrets.token_bytes(64)
        with self.create(path) as [draft]:
            draft.write(payload)
        try:
            answer = self.read(path)
        finally:
            self.remove(path)
        if answer != payload:
            raise StoreUnavailable(
                f"Store {self.name!r} gives back other bytes than were written.", self.locate(path), "Do not use it."
            )


def taken(store: Store, path: str) -> StoreUnavailable:
    """Return the error of a path under which something is stored already."""
    return StoreUnavailable(
        "Something is stored under this path already, and a stored file is never overwritten.", store.locate(path)
    )
