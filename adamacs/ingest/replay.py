"""Let a folder grow again as it was recorded: the same order, bytes and pauses."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from adamacs.core import progress
from adamacs.core.errors import InvalidRequest, UnsafePath
from adamacs.ingest import growth
from adamacs.ingest.below import Below, parts_of, write_at
from adamacs.ingest.growth import LIMIT, Event, Tree
from adamacs.ingest.record import Recorded, Recorder, record

__all__ = ["LIMIT", "Recorded", "Recorder", "Replayed", "record", "replay"]


@dataclass(frozen=True)
class Replayed:
    """What was replayed: events, files at the end, bytes written, seconds of the recording, whether it was whole."""

    folder: Path
    events: int
    files: int
    bytes: int
    seconds: float
    whole: bool  # False: its recorder was killed, and this is all up to its last event


@dataclass(frozen=True)
class _Contents:
    events: int
    files: int
    bytes: int
    seconds: float
    whole: bool
    last: dict[int, int]  # number of a file's last event -> its time of change, ns


def replay(
    archive: Path,
    folder: Path,
    *,
    fast: bool = False,
    speed: float = 1.0,
    limit: int = LIMIT,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Replayed:
    """Let a new folder grow as another one did when it was recorded.

    The archive is read twice: all of it is checked before anything is written. A file has the time of writing while it
    grows, and after its last event the time that it had when it was recorded.

    Parameters
    ----------
    fast
        Without pauses.
    speed
        2 halves the pauses.
    limit
        Bytes that the archive may unpack to.

    Raises
    ------
    InvalidRequest
        The folder holds something already.
    UnreadableFile
        The archive is none, damaged, or larger than `limit`.
    UnsafePath
        It would write outside of the folder, or two names would be one file here.
    """
    archive, folder = Path(archive), Path(folder)
    if not speed > 0:
        raise InvalidRequest("The speed is a number above 0.", str(speed))
    with archive.open("rb") as file, _new_folder(folder) as made:
        fold = made.fold()
        contents = _check(file, archive, limit, fold)
        made.keep()
        with Below(folder) as below:
            file.seek(0)
            tree, began, written = Tree(fold), clock(), 0
            for number, event in enumerate(growth.read(file, archive, limit=limit)):
                if not fast:
                    _wait(began + event.seconds / speed, clock, sleep)
                _apply(event, below, tree, number)
                if number in contents.last:
                    below.set_time(parts_of(event.to or event.path), contents.last[number])
                written += len(event.data)
                progress.report("replay", written / 1e6, contents.bytes / 1e6, "MB")
    return Replayed(folder, contents.events, contents.files, contents.bytes, contents.seconds, contents.whole)


def _check(file: IO[bytes], archive: Path, limit: int, fold: Callable[[str], str]) -> _Contents:
    """Read an archive to its end, and let all of it happen to an imagined folder."""
    tree, events, size, event = Tree(fold), 0, 0, Event("end")
    for event in growth.read(file, archive, limit=limit):
        tree.apply(event, events)
        events += 1
        size += len(event.data)
    files = list(tree.files())
    last = {one.last: one.mtime for one in files}
    return _Contents(events, len(files), size, event.seconds, bool(events) and event.kind == "end", last)


def _wait(until: float, clock: Callable[[], float], sleep: Callable[[float], None]) -> None:
    while (left := until - clock()) > 0:
        sleep(min(left, 1.0))


def _apply(event: Event, below: Below, tree: Tree, number: int) -> None:
    """Let one event happen on the disk."""
    is_folder = event.kind == "remove" and tree.is_folder(event.path)
    tree.apply(event, number)
    if event.kind == "folder":
        below.make_folder(parts_of(event.path))
    elif event.kind == "write":
        with below.opened(parts_of(event.path), os.O_WRONLY | os.O_CREAT) as opened:
            write_at(opened, event.offset, event.data)
    elif event.kind == "truncate":
        with below.opened(parts_of(event.path), os.O_WRONLY) as opened:
            os.ftruncate(opened, event.length)
    elif event.kind == "rename":
        below.rename(parts_of(event.path), parts_of(event.to))
    elif event.kind == "remove":
        below.remove(parts_of(event.path), folder=is_folder)


class _new_folder:  # noqa: N801
    """A folder that is empty; one that was made for this goes again where nothing comes of it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._made = False

    def __enter__(self) -> _new_folder:
        if self._folder.is_symlink():
            raise UnsafePath("A link is not followed.", self._folder)
        if self._folder.exists():
            if not self._folder.is_dir() or any(self._folder.iterdir()):
                raise InvalidRequest("The folder is not empty.", self._folder, "Replay into a new one.")
        else:
            self._folder.mkdir(parents=True)
            self._made = True
        return self

    def __exit__(self, *_: object) -> None:
        if self._made:
            with suppress(OSError):
                self._folder.rmdir()

    def keep(self) -> None:
        """Let the folder stay."""
        self._made = False

    def fold(self) -> Callable[[str], str]:
        """Return how names are compared here."""
        with tempfile.NamedTemporaryFile(prefix="Case", dir=self._folder) as probe:
            name = Path(probe.name)
            return str.casefold if name.with_name(name.name.swapcase()).exists() else str
