"""Checksums of files and folders, which tell years later whether the bytes are still those that were recorded."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from blake3 import blake3

from adamacs.core.errors import UnreadableFile, UnsafePath
from adamacs.storage.stores import parts_of

_PIECE = 1 << 20  # bytes read at a time, and all that is held in memory
_FORMAT = "adamacs-manifest-1"


def blake3_of(path: Path | str) -> str:
    """Return the blake3 of a file in hexadecimal, with 1 MiB of memory whatever its size.

    The file is read, not mapped: a mapped file that is cut short meanwhile would kill the process. One thread
    hashes several GB/s, which is more than disks and shares give; the other cores stay with who computes.

    Raises
    ------
    UnreadableFile
        The file is no regular file, or changed while it was read.
    """
    path = Path(path)
    digest = blake3()
    buffer = memoryview(bytearray(_PIECE))
    with path.open("rb", buffering=0) as file:
        before = os.fstat(file.fileno())
        if not stat.S_ISREG(before.st_mode):
            raise UnreadableFile("This is no regular file.", path)
        while length := file.readinto(buffer):
            digest.update(buffer[:length])
        after = os.fstat(file.fileno())
    if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        raise UnreadableFile("The file changed while it was read.", path, "Try again when its copy is finished.")
    return digest.hexdigest()


@dataclass(frozen=True)
class Entry:
    """One file of a folder."""

    path: str  # POSIX, relative to the folder
    size: int  # bytes
    blake3: str


@dataclass(frozen=True)
class Difference:
    """How a folder differs from its manifest. It is true where there is a difference."""

    added: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.added or self.missing or self.changed)

    def __str__(self) -> str:
        told = [f"{len(paths)} {what}: {', '.join(paths)}" for what, paths in asdict(self).items() if paths]
        return "; ".join(told) or "no difference"


@dataclass(frozen=True)
class Manifest:
    """The files of a finished folder, with size and checksum, in the order of their paths."""

    entries: tuple[Entry, ...]

    @classmethod
    def of(cls, folder: Path | str, *, ignore: Iterable[str] = ()) -> Manifest:
        """Read every file of a folder.

        Parameters
        ----------
        folder
            The folder.
        ignore
            Paths relative to it that do not belong, such as the manifest's own file.

        Raises
        ------
        UnreadableFile
            A file changed while it was read.
        UnsafePath
            The folder holds a link or something that is no file.
        """
        folder = Path(folder)
        found = _files(folder, frozenset(ignore))
        return cls(tuple(Entry(path, size, blake3_of(folder / path)) for path, size in sorted(found)))

    @property
    def digest(self) -> str:
        """blake3 over all entries: one text that stands for the whole folder."""
        lines = "".join(f"{entry.blake3} {entry.size} {json.dumps(entry.path)}\n" for entry in self.entries)
        return blake3(lines.encode("ascii")).hexdigest()

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(entry.size for entry in self.entries)

    def verify(self, folder: Path | str, *, ignore: Iterable[str] = (), contents: bool = True) -> Difference:
        """Compare a folder with this manifest, reading every byte; without `contents`, names and sizes alone."""
        folder = Path(folder)
        known = {entry.path: entry for entry in self.entries}
        found = dict(_files(folder, frozenset(ignore)))
        changed = [
            path
            for path, entry in known.items()
            if path in found and (found[path] != entry.size or (contents and blake3_of(folder / path) != entry.blake3))
        ]
        return Difference(tuple(sorted(found.keys() - known)), tuple(sorted(known.keys() - found)), tuple(changed))

    def to_json(self) -> str:
        """Write the manifest as text, with its own digest."""
        value = {"format": _FORMAT, "digest": self.digest, "files": [asdict(entry) for entry in self.entries]}
        return json.dumps(value, indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Manifest:
        """Read what `to_json` wrote.

        Raises
        ------
        UnreadableFile
            The text is no manifest, or was changed since.
        UnsafePath
            A path in it leads out of the folder.
        """
        try:
            value = json.loads(text)
            manifest = cls(tuple(_entry(fields) for fields in value["files"]))
            sound = value["format"] == _FORMAT and value["digest"] == manifest.digest
        except (ValueError, TypeError, KeyError) as error:
            raise UnreadableFile(f"This is no manifest ({error}).") from error
        if not sound:
            raise UnreadableFile("This manifest was changed, or written by a later adamacs.")
        return manifest


def _entry(fields: Mapping[str, Any]) -> Entry:
    entry = Entry(**fields)
    parts_of(entry.path)
    if type(entry.size) is not int or not isinstance(entry.blake3, str):
        raise TypeError(f"{fields!r} is no entry")
    return entry


def _files(folder: Path, ignore: frozenset[str], below: str = "") -> Iterator[tuple[str, int]]:
    with os.scandir(folder / below) as items:
        for item in items:
            path = below + item.name
            if path in ignore:
                continue
            if item.is_dir(follow_symlinks=False):
                yield from _files(folder, ignore, path + "/")
            elif item.is_file(follow_symlinks=False):
                yield path, item.stat(follow_symlinks=False).st_size
            else:
                raise UnsafePath("A finished folder holds files and folders only.", item.path, "Remove this.")
