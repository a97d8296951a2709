"""The rolling check: look again at every ingested file within a day, a slice at a time.

What is appended to a file, or written over it in place, moves no folder's time. So every folder has its moment of the
day, computed from its name alone: a call checks the folders whose moment came since the call before. Nothing else is
remembered than when that was, and no restart loses a folder or checks one twice.
"""

from __future__ import annotations

import math
import time
import zlib
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from adamacs.core import clocks
from adamacs.core.modality import RawFile
from adamacs.ingest.beneath import statuses

DAY = 86_400.0  # s


@dataclass(frozen=True)
class Difference:
    """A file that is not as it was ingested.

    Attributes
    ----------
    now
        As it is; None where it is gone, or is no regular file any more.
    """

    ingested: RawFile
    now: RawFile | None


@dataclass(frozen=True)
class Checked:
    """What one slice of the rolling check found.

    Attributes
    ----------
    until
        The moment up to which everything was checked: the next call's `since`.
    """

    differences: tuple[Difference, ...]
    files: int
    until: float


def differences(known: Iterable[RawFile], root: Path) -> Iterator[Difference]:
    """Yield the files that are not as they were ingested, by size and time; none is opened, no link is followed.

    Parameters
    ----------
    known
        As the rows of ScanFile say; those of one folder after each other, or each of its folders is entered again.

    Raises
    ------
    OSError
        The root cannot be read: nothing is told to be gone.
    """
    files = list(known)
    for ingested, (path, status) in zip(files, statuses(root, (file.path for file in files)), strict=True):
        now = status and RawFile(path, status.st_size, clocks.from_file_time(status.st_mtime_ns))
        if now != ingested:
            yield Difference(ingested, now)


def recheck(
    known: Iterable[RawFile], root: Path, *, since: float, now: float, period: float = DAY, budget: float = math.inf
) -> Checked:
    """Check the folders whose turn came between two moments, oldest turn first.

    Parameters
    ----------
    since, now
        Seconds since 1970. Where more than a period lies between them, everything is due, once.
    period
        Within how many s every file is checked.
    budget
        After so many s the rest is left to the next call; one folder is always checked.

    Raises
    ------
    OSError
        The root cannot be read.
    """
    after, up_to, cycle = (round(moment * 1000) for moment in (max(since, now - period), now, period))  # ms, exact
    turns: dict[str, int] = {}
    due: dict[tuple[int, str], list[RawFile]] = defaultdict(list)
    for file in known:
        folder = file.path.rpartition("/")[0]
        if folder not in turns:
            turns[folder] = _turn(folder, after, cycle)
        if turns[folder] <= up_to:
            due[turns[folder], folder].append(file)
    found: list[Difference] = []
    count, last, ends = 0, after, time.monotonic() + budget
    for turn, folder in sorted(due):
        if count and turn != last and time.monotonic() >= ends:
            return Checked(tuple(found), count, last / 1000)
        found += differences(due[turn, folder], root)
        count, last = count + len(due[turn, folder]), turn
    return Checked(tuple(found), count, now)


def _turn(folder: str, after: int, cycle: int) -> int:
    """Return a folder's first turn after a moment, ms; its turns lie a cycle apart."""
    phase = zlib.crc32(folder.encode("utf-8", "surrogateescape")) * cycle >> 32
    return after + 1 + (phase - after - 1) % cycle
