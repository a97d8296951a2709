"""When is a recording whole? When nothing of it changed for a while, every file opens, and nothing it needs is missing.

Polling is the truth: no file system tells over a network that a file was closed. Nothing here asks a database.
"""

from __future__ import annotations

import os
import re
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

from blake3 import blake3

from adamacs.core.modality import RawFile, Unit
from adamacs.core.names import natural_order

_NETWORK = re.compile(r"(?i)nfs|cifs|smb|afs|sshfs|9p|ncp|glusterfs|ceph|lustre|beegfs|gpfs|davfs|fuse\.(?!blk)")


def fingerprint(files: Iterable[RawFile]) -> str:
    """Return a digest of the names, sizes and times of some files."""
    digest = blake3()
    for file in files:
        digest.update(f"{file.path}\0{file.size}\0{file.time.isoformat()}\0".encode())
    return digest.hexdigest()


def is_network(path: Path) -> bool:
    """Whether a folder lies on a file system of another computer, as far as this one tells."""
    import psutil

    place = path.resolve()
    if sys.platform == "win32" and str(place).startswith("\\\\"):
        return True
    mounts = [part for part in psutil.disk_partitions(all=True) if place.is_relative_to(part.mountpoint)]
    nearest = max(mounts, key=lambda part: len(part.mountpoint), default=None)
    return nearest is not None and bool(_NETWORK.match(nearest.fstype))


def last_change(paths: Iterable[Path]) -> float | None:
    """Return when something of these files and folders last changed, s since 1970; None where that cannot be told.

    The time at which the kernel last changed an inode, which no copying program sets back. On Windows that column holds
    the time of creation, so there the answer is None.
    """
    if os.name != "posix":
        return None
    newest = None
    for path in paths:
        status = path.lstat()
        newest = max(status.st_ctime, newest or 0.0)
    return newest


@dataclass
class Quiet:
    """How long a unit has not changed.

    Attributes
    ----------
    fingerprint
        As it was last seen.
    since
        When it last changed, on the monotonic clock, s.
    """

    fingerprint: str
    since: float

    def see(self, fingerprint: str, since: float) -> bool:
        """Take a look at the unit, and tell whether it changed; `since` is when that happened at the earliest."""
        if fingerprint == self.fingerprint:
            return False
        self.fingerprint, self.since = fingerprint, since
        return True


# ---- folders that grow


@dataclass(frozen=True)
class Grown:
    """One unit of a folder that grows: a file, or the parts of one stamp.

    Attributes
    ----------
    name
        Of the file, or the stamp.
    files
        Names, in natural order.
    missing
        Parts that it has not got.
    """

    name: str
    files: tuple[str, ...]
    missing: tuple[str, ...] = ()


@dataclass(frozen=True)
class Growth:
    """What a folder that grows holds.

    Attributes
    ----------
    units
        In natural order of their names.
    marker
        Whether the file is there that the units wait for.
    twins
        Stamps of which one part is there twice, with the names of both.
    """

    units: tuple[Grown, ...]
    marker: bool
    twins: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def grown(names: Sequence[str], unit: Unit) -> Growth:
    """Sort the files of a folder that grows into units."""
    pattern = re.compile(unit.pattern)
    found: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for name in sorted(names, key=natural_order):
        if match := pattern.fullmatch(name):
            given = match.groupdict()
            found[given.get("stamp") or name][given.get("part") or name].append(name)
    units = [
        Grown(
            name,
            tuple(file for files in parts.values() for file in files),
            tuple(part for part in unit.parts if part not in parts),
        )
        for name, parts in found.items()
    ]
    marker = not unit.marker or any(fnmatchcase(name, unit.marker) for name in names)
    return Growth(tuple(sorted(units, key=lambda one: natural_order(one.name))), marker, dict(_twins(found)))


def _twins(found: Mapping[str, Mapping[str, Sequence[str]]]) -> Iterator[tuple[str, tuple[str, ...]]]:
    for name, parts in found.items():
        for files in parts.values():
            if len(files) > 1:
                yield name, tuple(files)
