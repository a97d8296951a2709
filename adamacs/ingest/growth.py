"""The archive of how a folder grew: an ordinary `tar.gz`, one numbered member per event.

An event is a JSON line (`0000000007.json`); bytes that came with it stand before it (`0000000007.bin`), so that the
line says: this event is whole. Each event is packed by itself and handed to the system at once, so that an archive
whose writer was killed can be read up to its last whole event. `tar tzf` and `tar xzf` understand it too.

Nothing in an archive is believed. Its paths stay below the folder, a file is written only from its end backwards, and
no member is larger than a megabyte, so that what is written to disk is never more than the archive holds.
"""

from __future__ import annotations

import json
import tarfile
import zlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any

from blake3 import blake3

from adamacs.core.errors import UnreadableFile, UnsafePath
from adamacs.ingest.below import parts_of

FORMAT = "adamacs-growth-1"
PIECE = 1 << 20  # bytes of a file in one event at most
LIMIT = 1 << 36  # bytes that an archive may unpack to where nothing else is said: 64 GiB
KINDS = ("folder", "write", "truncate", "rename", "remove", "end")
_PROBE = 1 << 12  # bytes that are packed to see whether it pays
_LONGEST_LINE = 1 << 16
_MOST_PATHS = 1_000_000
_BLOCK = tarfile.BLOCKSIZE
_LONGEST = 1e9  # s


@dataclass(frozen=True)
class Event:
    """One thing that happened to a file or folder.

    Attributes
    ----------
    kind
        `folder` (a new one), `write` (bytes appended, or changed in place; none: only the time changed), `truncate`,
        `rename`, `remove`, or `end` of the recording.
    path, to
        POSIX, relative to the recorded folder; `to` is the new name of what is renamed.
    seconds
        Since the recording began; what was there before has 0.
    offset, length
        Of the bytes written; of `truncate` the length is what is left.
    mtime
        The file's time of change afterwards, ns since 1970.
    blake3
        Of the bytes.
    """

    kind: str
    path: str = ""
    seconds: float = 0.0
    offset: int = 0
    length: int = 0
    mtime: int = 0
    to: str = ""
    blake3: str = ""
    data: bytes = field(default=b"", repr=False)


class Writer:
    """An archive being written. It never replaces a file."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("xb", buffering=0)
        self.events = self.bytes = 0
        self._put(_tarred("format.json", json.dumps({"format": FORMAT}).encode() + b"\n"))

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, *_: object) -> None:
        self._put(bytes(2 * _BLOCK))
        self._file.close()

    def add(self, event: Event) -> None:
        """Append one event; when this returns, a killed process loses nothing of it."""
        line = asdict(event)
        data, before = line.pop("data"), b""
        if data:
            line["blake3"] = blake3(data).hexdigest()
            before = _tarred(f"{self.events:010d}.bin", data)
        self._put(before + _tarred(f"{self.events:010d}.json", json.dumps(line).encode() + b"\n"))
        self.events += 1
        self.bytes += len(data)

    def _put(self, data: bytes) -> None:
        middle = data[len(data) // 2 :][:_PROBE]
        pays = len(data) < _PROBE or len(zlib.compress(middle, 1)) < 0.8 * len(middle)  # noise would only take time
        view = memoryview(zlib.compress(data, 1 if pays else 0, wbits=31))
        while view:
            view = view[self._file.write(view) :]


def _tarred(name: str, data: bytes) -> bytes:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    return info.tobuf(tarfile.USTAR_FORMAT) + data + bytes(-len(data) % _BLOCK)


class _Cut(Exception):
    """The archive ends here, in the middle of a member."""


class _Unpacked:
    """The bytes of a gzip stream, never more of them in memory than are asked for."""

    def __init__(self, file: IO[bytes], where: Path, limit: int) -> None:
        self._file, self._where, self._left = file, where, limit
        self._inflate = zlib.decompressobj(31)
        self._ahead = b""

    def take(self, size: int) -> bytes:
        """Return exactly `size` bytes.

        Raises
        ------
        _Cut
            The stream ends before.
        """
        self._left -= size
        if self._left < 0:
            what = "The archive unpacks to more bytes than are allowed."
            raise UnreadableFile(what, self._where, "Do you know where it is from? Then allow more: --limit BYTES.")
        out = bytearray()
        while len(out) < size:
            self._ahead = self._ahead or self._file.read(1 << 14)
            if not self._ahead:
                raise _Cut
            try:
                out += self._inflate.decompress(self._ahead, size - len(out))
            except zlib.error as error:
                raise UnreadableFile("This is no archive of a recording, or a damaged one.", self._where) from error
            self._ahead = self._inflate.unconsumed_tail
            if self._inflate.eof:  # the next event is packed by itself
                self._ahead, self._inflate = self._inflate.unused_data, zlib.decompressobj(31)
        return bytes(out)


def read(file: IO[bytes], where: Path, *, limit: int = LIMIT) -> Iterator[Event]:
    """Yield the events of an archive, each checked for itself, up to its end or to where its writer was killed.

    Raises
    ------
    UnreadableFile
        It is no such archive, damaged, or unpacks to more than `limit` bytes.
    UnsafePath
        A member is no plain file, or a path leads out of the folder.
    """
    unpacked, number, before = _Unpacked(file, where, limit), 0, 0.0
    try:
        name, data = _member(unpacked, where)
    except _Cut:
        name, data = "", b""
    try:
        if name != "format.json" or _json(data).get("format") != FORMAT:
            raise UnreadableFile("This is no archive of a recording, or one of a later adamacs.", where)
        while True:
            name, data = _member(unpacked, where)
            if not name:
                return
            content = b""
            if name == f"{number:010d}.bin":
                content = data
                name, data = _member(unpacked, where)
            if name != f"{number:010d}.json":
                raise UnsafePath("A member of the archive is none that a recording has.", where, repr(name))
            event = _event(_json(data), content)
            if event is None or event.seconds < before:
                raise UnreadableFile(f"Event {number} of the archive is damaged.", where, "Record again.")
            yield event
            number, before = number + 1, event.seconds
    except _Cut:
        return


def _member(unpacked: _Unpacked, where: Path) -> tuple[str, bytes]:
    """Return name and content of the next member; no name at the end of the archive."""
    head = unpacked.take(_BLOCK)
    if not any(head):
        return "", b""
    try:
        info = tarfile.TarInfo.frombuf(head, "ascii", "strict")
    except (tarfile.HeaderError, ValueError) as error:
        raise UnreadableFile("This is no archive of a recording, or a damaged one.", where) from error
    if info.type != tarfile.REGTYPE:
        raise UnsafePath("A member of the archive is no plain file.", where, f"It is called {info.name[:100]!r}.")
    if not 0 <= info.size <= (PIECE if info.name.endswith(".bin") else _LONGEST_LINE):
        raise UnreadableFile(f"A member of the archive claims {info.size} bytes.", where)
    data = unpacked.take(info.size + -info.size % _BLOCK)
    return info.name, data[: info.size]


def _json(data: bytes) -> dict[str, Any]:
    try:
        line = json.loads(data)
    except (ValueError, RecursionError):
        return {}
    return line if isinstance(line, dict) else {}


def _event(line: dict[str, Any], data: bytes) -> Event | None:
    """Return the event that a line tells; None where it tells none, or other bytes than came with it."""
    try:
        event = Event(**{**line, "data": data})
    except TypeError:
        return None
    texts = (event.kind, event.path, event.to, event.blake3)
    numbers = (event.offset, event.length, event.mtime)
    if not all(type(text) is str for text in texts) or not all(type(n) is int and abs(n) < 1 << 62 for n in numbers):
        return None
    if type(event.seconds) not in (int, float) or not 0 <= event.seconds <= _LONGEST or event.kind not in KINDS:
        return None
    if event.kind != "end":
        parts_of(event.path)
    if event.kind == "rename":
        parts_of(event.to)
    if event.offset < 0 or event.length < 0 or (event.kind == "write" and event.length != len(data)):
        return None
    return None if data and (event.kind != "write" or event.blake3 != blake3(data).hexdigest()) else event


@dataclass
class _File:
    name: str
    size: int = 0
    mtime: int = 0
    last: int = 0  # number of the event that touched it last


@dataclass
class _Folder:
    name: str
    inside: dict[str, _File | _Folder] = field(default_factory=dict)


class Tree:
    """The folder as the events so far leave it. What an event may do follows from this, not from what it claims.

    Parameters
    ----------
    fold
        How the file system compares names: `str.casefold` where `a` and `A` are one file.
    """

    def __init__(self, fold: Any = str) -> None:
        self._fold = fold
        self._top = _Folder("")
        self._paths = 0

    def apply(self, event: Event, number: int) -> None:
        """Let an event happen.

        Raises
        ------
        UnsafePath
            It does what cannot follow from the events before: leads through a file, collides with another name,
            writes behind a file's end.
        """
        if event.kind == "end":
            return
        folder, key, node = self._find(event.path)
        if event.kind == "folder" and node is None:
            folder.inside[key] = self._new(_Folder(parts_of(event.path)[-1]))
        elif event.kind == "write":
            file = node if node is not None else self._new(_File(parts_of(event.path)[-1]))
            if not isinstance(file, _File) or event.offset > file.size:
                raise _impossible(event)
            folder.inside[key] = file
            file.size = max(file.size, event.offset + event.length)
            file.mtime, file.last = event.mtime, number
        elif event.kind == "truncate" and isinstance(node, _File) and event.length <= node.size:
            node.size, node.mtime, node.last = event.length, event.mtime, number
        elif event.kind == "remove" and node is not None and not (isinstance(node, _Folder) and node.inside):
            del folder.inside[key]
            self._paths -= 1
        elif event.kind == "rename" and node is not None:
            self._rename(event, folder, key, node, number)
        elif event.kind != "folder" or not isinstance(node, _Folder):
            raise _impossible(event)

    def is_folder(self, path: str) -> bool:
        """Tell whether a path is a folder now."""
        return isinstance(self._find(path)[2], _Folder)

    def files(self) -> Iterator[_File]:
        """Yield every file that is there now."""
        waiting = [self._top]
        while waiting:
            for node in waiting.pop().inside.values():
                if isinstance(node, _Folder):
                    waiting.append(node)
                else:
                    yield node

    def _rename(self, event: Event, folder: _Folder, key: str, node: _File | _Folder, number: int) -> None:
        del folder.inside[key]  # first: nothing moves into itself, and `a` may become `A`
        there, new, other = self._find(event.to)
        if other is not None and not (isinstance(other, _File) and isinstance(node, _File)):
            raise _impossible(event)
        self._paths -= other is not None
        node.name = parts_of(event.to)[-1]
        there.inside[new] = node
        if isinstance(node, _File):
            node.last = number

    def _find(self, path: str) -> tuple[_Folder, str, _File | _Folder | None]:
        """Return the folder that a path lies in, its key there, and what lies there."""
        node: _File | _Folder | None = self._top
        folder, key = self._top, ""
        for name in parts_of(path):
            if not isinstance(node, _Folder):
                raise UnsafePath("A path in the archive leads through what is no folder.", repr(path))
            folder, key = node, self._fold(name)
            node = folder.inside.get(key)
            if node is not None and node.name != name:
                what = "Two names in the archive differ in capitals only, and would be one file here."
                raise UnsafePath(what, f"{node.name!r} and {name!r}", "Replay it on a system that tells them apart.")
        return folder, key, node

    def _new(self, node: Any) -> Any:
        self._paths += 1
        if self._paths > _MOST_PATHS:
            raise UnsafePath(f"The archive holds more than {_MOST_PATHS} files.")
        return node


def _impossible(event: Event) -> UnsafePath:
    return UnsafePath(f"The archive tells of a {event.kind} that cannot be.", repr(event.path), "Record again.")
