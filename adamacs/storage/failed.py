"""What a failed attempt leaves: its log and settings for ever, its bulk outputs for a while.

Under a root they rest in `failed/<date>/<key>/attempt-<hex>`, the date in UTC. Of each key only the last failed
attempt keeps its bulk outputs, and only for so many days. No link is followed, and nothing outside the root is
touched.
"""

from __future__ import annotations

import errno
import hashlib
import logging
import os
import re
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

from adamacs.core.errors import UnsafePath, describe

log = logging.getLogger(__name__)

FAILED = "failed"  # the folder below a root
RECORDS = frozenset({".json", ".log", ".toml"})  # kept for ever: logs, requests, settings, manifests
LOCK = "lock"  # which an attempt holds while it lives
_LONGEST = 160  # characters of a key's folder
_HEX = re.compile(r"attempt-([0-9a-f]{4,32})$")
_FULL = {errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)}


@dataclass(frozen=True)
class FailedAttempts:
    """Where the failed attempts at one key are kept.

    Parameters
    ----------
    root
        The folder that holds `failed`.
    key
        Primary key of the row that was to be computed.
    days
        How long the bulk outputs of the last attempt are kept; 0: not at all.
    """

    root: Path
    key: Mapping[str, Any] = field(hash=False)
    days: int = 14

    def keep(self, folder: Path, *, bulk: bool = True) -> Path | None:
        """Move the folder of a failed attempt to where it is kept, and return the place.

        Earlier attempts at the key lose their bulk outputs. This never raises: the error that is being handled
        matters more. What cannot be kept, or holds nothing worth it, is left where it is, and None returned.

        Parameters
        ----------
        folder
            Of the attempt; nobody writes into it any more.
        bulk
            False keeps log and settings only, as on a disk that is full.
        """
        try:
            return self._keep(folder, bulk=bulk and self.days > 0)
        except (OSError, UnsafePath, shutil.Error) as error:
            log.warning("What a failed attempt left cannot be kept: %s", error)
            return None

    def _keep(self, folder: Path, *, bulk: bool) -> Path | None:
        with suppress(FileNotFoundError):
            (folder / LOCK).unlink()
        if not any(_is_record(path) for path in _files(folder)):
            return None
        found = _HEX.search(folder.name)
        place = self._place() / f"attempt-{found[1] if found else secrets.token_hex(6)}"
        if place.exists():
            return None  # the same attempt had a folder on another disk, which came first
        for earlier in self._earlier():
            drop_bulk(earlier)
        if not bulk:
            drop_bulk(folder)
        try:
            shutil.move(folder, place)  # a rename where it can be
        except (OSError, shutil.Error):  # no room there for the bulk of it
            drop_bulk(folder)
            drop_bulk(place)
            shutil.copytree(folder, place, dirs_exist_ok=True)
        return place

    def _place(self) -> Path:
        """Make the folder of today's failed attempts at the key, on no way through a link."""
        parts = FAILED, datetime.now(UTC).date().isoformat(), name_of(self.key)
        place = self.root.resolve().joinpath(*parts)
        place.mkdir(parents=True, exist_ok=True)
        if place.resolve() != place:
            raise UnsafePath("A part of this path is a link.", place)
        return place

    def _earlier(self) -> Iterator[Path]:
        for _, day in _days(self.root):
            yield from (inner for inner in _folders(day / name_of(self.key)) if _HEX.fullmatch(inner.name))


def name_of(key: Mapping[str, Any]) -> str:
    """Return the name of a key's folder: as the command line spells the key, and safe on every system.

    >>> name_of({"scan_id": "scan9FY6AIRM", "paramset_idx": 0})
    'scan_id=scan9FY6AIRM,paramset_idx=0'
    """
    text = describe(key)
    kept = re.sub(r"[^A-Za-z0-9_=,.+-]", "_", text)[:_LONGEST].strip(".")
    if kept == text and kept:
        return kept
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=4).hexdigest()
    return f"{kept}_{digest}"  # what was changed or cut is told apart


def prune(root: Path, days: int) -> int:
    """Remove the bulk outputs of failed attempts that are older than so many days, and return how many files.

    Log and settings stay.
    """
    oldest = datetime.now(UTC).date() - timedelta(days=days)
    return sum(
        drop_bulk(attempt)
        for day, folder in _days(root)
        if day < oldest or not days
        for key in _folders(folder)
        for attempt in _folders(key)
    )


def drop_bulk(folder: Path) -> int:
    """Remove everything of an attempt but its log and settings, and return how many files that were."""
    count = 0
    for parent, folders, files in os.walk(folder, topdown=False):
        for path in (Path(parent, name) for name in files):
            if not _is_record(path):
                path.unlink(missing_ok=True)
                count += 1
        for path in (Path(parent, name) for name in folders):
            if path.is_symlink():
                path.unlink()
                count += 1
            else:
                with suppress(OSError):  # a record in it stays, and so does the folder
                    path.rmdir()
    return count


def is_of_a_full_disk(error: BaseException | None) -> bool:
    """Whether an error, or one that led to it, says that a disk is full."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in _FULL:
            return True
        error = error.__cause__ or error.__context__
    return False


def _is_record(path: Path) -> bool:
    return path.suffix in RECORDS and path.is_file() and not path.is_symlink()


def _files(folder: Path) -> Iterator[Path]:
    for parent, _, files in os.walk(folder):
        yield from (Path(parent, name) for name in files)


def _days(root: Path) -> Iterator[tuple[date, Path]]:
    for folder in _folders(root.resolve() / FAILED):
        with suppress(ValueError):  # no folder of ours
            yield date.fromisoformat(folder.name), folder


def _folders(parent: Path) -> list[Path]:
    """Return the folders in a folder, links not among them; none where it is a link itself, or is not there."""
    if parent.is_symlink():
        return []
    try:
        with os.scandir(parent) as entries:
            return sorted(Path(entry.path) for entry in entries if entry.is_dir(follow_symlinks=False))
    except (FileNotFoundError, NotADirectoryError):
        return []
