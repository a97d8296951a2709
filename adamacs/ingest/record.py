"""Record how a folder grows, so that it can grow again elsewhere: for tests, and to rehearse a rig.

The folder is looked at again and again; nothing is needed of the file system but what every share gives. A file that
grew is read from its old end on. Whether a writer changed earlier bytes as well is seen at once in its first and last
megabyte, where formats keep headers, and in the rest when the file has been quiet for a while, and at the end.
"""

from __future__ import annotations

import os
import stat
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from blake3 import blake3

from adamacs.core import progress
from adamacs.core.errors import InvalidRequest, UnsafePath
from adamacs.ingest.below import Below, parts_of, read_at
from adamacs.ingest.growth import PIECE, Event, Writer

_QUIET = 5.0  # s without change after which all of a file is compared
_MOST_SKIPPED = 1_000  # paths that are remembered by name


@dataclass(frozen=True)
class Recorded:
    """What was recorded: events, files at the end, bytes written into them, seconds, and what was left out."""

    archive: Path
    events: int
    files: int
    bytes: int
    seconds: float
    skipped: tuple[str, ...] = ()  # links, pipes, names that cannot be replayed, files that could not be read


def record(
    source: Path,
    archive: Path,
    *,
    poll: float = 0.2,
    seconds: float | None = None,
    stop: threading.Event | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Recorded:
    """Record how a folder grows, until `stop` is set or `seconds` are over.

    Parameters
    ----------
    source
        The folder; what is in it already becomes the state to begin with.
    archive
        A new file outside of it, `.tar.gz`.
    poll
        Seconds between two looks.

    Raises
    ------
    InvalidRequest
        There is no such folder, or the archive lies inside it, or is there already.
    """
    source, archive, stop = Path(source), Path(archive), stop or threading.Event()
    if not source.is_dir():
        raise InvalidRequest("There is no such folder to record.", source)
    if archive.resolve().is_relative_to(source.resolve()):
        raise InvalidRequest("The archive would record itself.", archive, "Write it outside of the folder.")
    if archive.exists():
        raise InvalidRequest("The archive is there already.", archive, "Recordings are never replaced: another name.")
    with Below(source) as below, Writer(archive) as writer:
        recorder = Recorder(below, writer)
        recorder.step(0.0)
        began = clock()
        while not stop.wait(poll) and (seconds is None or clock() - began < seconds):
            recorder.step(clock() - began)
            progress.report("recording", writer.bytes / 1e6, None, "MB")
        lasted = clock() - began
        recorder.finish(lasted)
    files = sum(not known.folder for known in recorder.known.values())
    return Recorded(archive, writer.events, files, writer.bytes, lasted, tuple(sorted(recorder.skipped)))


_Identity = tuple[int, int]  # device and inode


@dataclass(frozen=True)
class _Seen:
    folder: bool
    identity: _Identity
    size: int
    mtime: int


@dataclass
class _Known:
    """What the archive holds of a path; per megabyte of a file a checksum of 16 bytes."""

    folder: bool
    identity: _Identity
    size: int = 0
    mtime: int | None = None  # None: look into it, whatever the file system says
    blocks: list[bytes] = field(default_factory=list)
    compared: bool = True  # no earlier bytes can have changed unnoticed
    since: float = 0.0  # seconds at which it changed last


class Recorder:
    """Looks at a folder once per step, and writes down what changed since the step before."""

    def __init__(self, below: Below, writer: Writer) -> None:
        self._below, self._writer = below, writer
        self.known: dict[str, _Known] = {}
        self.skipped: set[str] = set()
        self._blind: tuple[str, ...] = ()  # folders that could not be looked into this time

    def step(self, seconds: float) -> None:
        """Look once. `seconds` is the time since the recording began."""
        seen = dict(sorted(self._look()))
        self._places(seen, seconds)
        for path in sorted(self.known, reverse=True):  # what is inside before its folder
            if path not in seen and not path.startswith(self._blind):
                self._tell("remove", path, seconds)
                del self.known[path]
        files = sorted((one.mtime, path) for path, one in seen.items() if not one.folder)
        for _, path in files:
            self._file(path, seen[path], seconds)

    def finish(self, seconds: float) -> None:
        """Look a last time, compare what was not compared yet, and end the recording."""
        self.step(seconds)
        for path, known in self.known.items():
            if not known.compared:
                self._compare(path, known, seconds, whole=True)
        self._writer.add(Event("end", seconds=seconds))

    def _tell(self, kind: str, path: str, seconds: float, **more: object) -> None:
        self._writer.add(Event(kind, path, round(seconds, 6), **more))  # type: ignore[arg-type]

    def _skip(self, path: str) -> None:
        if len(self.skipped) < _MOST_SKIPPED:
            self.skipped.add(path)

    # ---- which paths are there

    def _look(self) -> Iterator[tuple[str, _Seen]]:
        waiting, blind = [""], []
        while waiting:
            folder = waiting.pop()
            try:
                entries = list(os.scandir(self._below.folder / folder))
            except OSError:
                if not folder:
                    raise
                blind.append(folder)
                self._skip(folder)
                continue
            for entry in entries:
                path = folder + entry.name
                try:
                    parts_of(path)
                    status = os.lstat(entry.path)  # of an entry, Windows tells no inode
                except FileNotFoundError:
                    continue
                except (OSError, UnsafePath):
                    self._skip(path)
                    continue
                is_folder = stat.S_ISDIR(status.st_mode)
                if not is_folder and not stat.S_ISREG(status.st_mode):
                    self._skip(path)
                    continue
                yield path, _Seen(is_folder, (status.st_dev, status.st_ino), status.st_size, status.st_mtime_ns)
                if is_folder:
                    waiting.append(path + "/")
        self._blind = tuple(blind)

    def _places(self, seen: dict[str, _Seen], seconds: float) -> None:
        """Tell of new folders and of what was renamed; parents come before what is inside them."""
        where = {known.identity: path for path, known in self.known.items()}
        for path, now in seen.items():
            known = self.known.get(path)
            if known is not None and known.folder != now.folder:
                self._forget(path, where, seconds)
                known = None
            old = where.get(now.identity)
            changed = known is None or known.identity != now.identity
            if changed and old is not None and self._moved(old, path, seen):
                self._tell("rename", old, seconds, to=path)
                for one in [one for one in self.known if one == old or one.startswith(old + "/")]:
                    moved = self.known.pop(one)
                    self.known[path + one[len(old) :]] = moved
                    where[moved.identity] = path + one[len(old) :]
            elif known is None and now.folder:
                self._tell("folder", path, seconds)
                self.known[path] = _Known(True, now.identity)
            elif known is not None and known.identity != now.identity:
                where.pop(known.identity, None)
                known.identity = now.identity
                known.mtime = None  # another file by the same name

    def _moved(self, old: str, path: str, seen: dict[str, _Seen]) -> bool:
        """Tell whether what was at `old` is at `path` now."""
        if old not in self.known or path.startswith(old + "/") or old.startswith(self._blind):
            return False
        still = old in seen and seen[old].identity == self.known[old].identity  # a second name of one file
        same_kind = self.known[old].folder == seen[path].folder
        free = path not in self.known or not self.known[path].folder
        return not still and same_kind and free

    def _forget(self, path: str, where: dict[_Identity, str], seconds: float) -> None:
        for one in sorted((one for one in self.known if one == path or one.startswith(path + "/")), reverse=True):
            self._tell("remove", one, seconds)
            where.pop(self.known.pop(one).identity, None)

    # ---- what is in a file

    def _file(self, path: str, now: _Seen, seconds: float) -> None:
        known = self.known.get(path)
        if known is None:
            known = _Known(False, now.identity, since=seconds)
        elif (known.size, known.mtime) == (now.size, now.mtime):
            if not known.compared and seconds - known.since >= _QUIET:
                self._compare(path, known, seconds, whole=True)
            return
        self._compare(path, known, seconds, whole=now.size <= known.size)

    def _compare(self, path: str, known: _Known, seconds: float, *, whole: bool) -> None:
        """Tell how a file differs from what the archive holds of it.

        Without `whole`, of the part that the archive holds only the first and the last piece are read.
        """
        try:
            with self._below.opened(parts_of(path), os.O_RDONLY) as number:
                status = os.fstat(number)
                if not stat.S_ISREG(status.st_mode):
                    return
                self._read(number, path, known, status, seconds, whole=whole)
        except FileNotFoundError:
            return  # the next step will see that it is gone
        except (OSError, UnsafePath):
            self._skip(path)

    def _read(
        self, number: int, path: str, known: _Known, status: os.stat_result, seconds: float, *, whole: bool
    ) -> None:
        mtime, told, all_read = status.st_mtime_ns, path in self.known, True
        self.known[path] = known
        if status.st_size < known.size:
            self._tell("truncate", path, seconds, length=status.st_size, mtime=mtime)
            known.size = status.st_size
            del known.blocks[-(-known.size // PIECE) :]
        held, size, wrote = known.size, known.size, False
        for index in range(-(-status.st_size // PIECE)):
            start = index * PIECE
            if not whole and 0 < index < held // PIECE:
                continue
            data = read_at(number, start, min(PIECE, status.st_size - start))
            before = known.blocks[index] if index < len(known.blocks) else b""
            old = max(0, min(held - start, PIECE))  # bytes of this piece that the archive holds
            same = old if old <= len(data) and before == _digest(data[:old]) else 0
            if same < len(data):
                size = max(size, start + len(data))
                part = data[same:]
                self._tell("write", path, seconds, offset=start + same, length=len(part), mtime=mtime, data=part)
                known.blocks[index : index + 1] = [_digest(data)]
                wrote = True
            if len(data) < min(PIECE, status.st_size - start):
                all_read = False  # it shrank meanwhile: the next step looks again
                break
        if not wrote and (mtime != known.mtime or not told):
            self._tell("write", path, seconds, offset=0, mtime=mtime)
        if wrote or mtime != known.mtime:
            known.since = seconds
        known.compared = whole or held <= 2 * PIECE
        known.size, known.mtime = size, mtime if all_read else None


def _digest(data: bytes) -> bytes:
    return blake3(data).digest(length=16)
