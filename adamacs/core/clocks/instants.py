"""Instants of the calendar: naive UTC in every row."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from adamacs.core.errors import UnreadableFile


def now() -> datetime:
    """Return this instant, naive UTC."""
    return datetime.now(UTC).replace(tzinfo=None)


def from_local(local: datetime, zone: ZoneInfo) -> datetime:
    """Return the instant, naive UTC, of what a clock on the wall of the lab showed.

    Parameters
    ----------
    local
        Naive. An hour that the clock showed twice, when summer time ended, is taken for the first of both.
    zone
        Of the lab.

    >>> from_local(datetime(2026, 2, 10, 9, 30), ZoneInfo("Europe/Berlin"))
    datetime.datetime(2026, 2, 10, 8, 30)
    """
    return local.replace(tzinfo=zone).astimezone(UTC).replace(tzinfo=None)


def from_file_time(nanoseconds: int) -> datetime:
    """Return the instant, naive UTC and whole microseconds, of a file's time in ns since 1970.

    Raises
    ------
    UnreadableFile
        No calendar has that year: the file system, or the clock of the rig, is at fault.
    """
    seconds, rest = divmod(nanoseconds, 1_000_000_000)
    try:
        return datetime.fromtimestamp(seconds, UTC).replace(tzinfo=None, microsecond=rest // 1000)
    except (ValueError, OverflowError, OSError) as error:
        what = f"A file's time lies {seconds} s from 1970, outside of the calendar."
        raise UnreadableFile(what, hint="Give the file a time that can be: touch FILE.") from error
