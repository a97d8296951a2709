"""ISO 8601 texts to exact instants, and what is odd about a train of times."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from adamacs.core.clocks import counters

BONSAI = "bonsai"  # the clock of the computer that ran Bonsai, as its time stamps tell it
SECOND = 1_000_000_000  # ns

_LOCAL = r"(?:19[7-9]\d|2[01]\d\d)-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:\.\d{1,9})?"
_LOCAL_ONLY = re.compile(_LOCAL, re.ASCII)
_ISO = re.compile(rf"({_LOCAL})(Z|[+-](?:0\d|1[0-4]):?[0-5]\d)", re.ASCII)


class NoInstant(ValueError):
    """A text is no instant; `index` is its place among those that were given."""

    def __init__(self, index: int, what: str) -> None:
        self.index, self.what = index, what
        super().__init__(index, what)


def is_instant(text: str) -> bool:
    """Whether a text has the form of an ISO 8601 instant with its zone."""
    return _ISO.fullmatch(text) is not None


def lacks_zone(text: str) -> bool:
    """Whether a text would be an instant, were its zone told."""
    return _LOCAL_ONLY.fullmatch(text) is not None


def to_nanoseconds(texts: Sequence[str]) -> NDArray[np.int64]:
    """Return ISO 8601 instants as ns since 1970 in UTC, int64, whatever zone each text is in.

    Zones may differ from text to text, as they do where summer time ends while a camera runs. Up to 9 digits behind
    the second are exact; Bonsai writes 7.

    Raises
    ------
    NoInstant
        A text is none, has no zone, or names a day that no calendar has; tells which.
    """
    found = [_ISO.fullmatch(text) for text in texts]
    offsets: dict[str, int] = {}
    local, offset = [], np.zeros(len(texts), np.int64)
    for index, match in enumerate(found):
        if match is None:
            raise NoInstant(index, _complaint(texts[index]))
        local.append(match[1])
        offset[index] = offsets.setdefault(match[2], _offset(match[2]))
    try:
        instants = np.array(local, "datetime64[ns]")
    except ValueError:
        index = next(index for index, text in enumerate(local) if not _in_calendar(text))
        raise NoInstant(index, f"names a time that no calendar has, {texts[index]}") from None
    return instants.astype(np.int64) - offset * SECOND


def to_naive_utc(nanoseconds: int) -> datetime:
    """Return an instant, naive UTC, of ns since 1970; what is below a microsecond is cut off."""
    return datetime(1970, 1, 1) + timedelta(microseconds=nanoseconds // 1000)


@dataclass(frozen=True)
class Oddities:
    """What is odd about a train of times.

    Attributes
    ----------
    backward, repeated, gaps
        int64: places whose time lies before and at that of the place before, and places behind which something is
        missing: the time lies more than 1.5 usual intervals behind, and those that follow do not make up for it.
    missing
        How many times the gaps lack.
    """

    backward: NDArray[np.int64]
    repeated: NDArray[np.int64]
    gaps: NDArray[np.int64]
    missing: int

    def warnings(self) -> tuple[str, ...]:
        """Return a sentence for each kind that occurs."""
        kinds = (
            (self.backward, "run backward", ""),
            (self.repeated, "repeat the one before", ""),
            (self.gaps, "come too late", f"; about {self.missing} are missing"),
        )
        return tuple(
            f"{len(places)} times {what}, the first at index {places[0]}{more}."
            for places, what, more in kinds
            if len(places)
        )


def oddities(ticks: NDArray[np.int64]) -> Oddities:
    """Find what is odd about times in any unit, int64, (time,)."""
    steps = np.diff(ticks)
    backward, repeated = np.flatnonzero(steps < 0) + 1, np.flatnonzero(steps == 0) + 1
    behind, missing = _lacking(steps) if len(backward) else _staying_behind(ticks)
    return Oddities(backward, repeated, behind, missing)


def _staying_behind(ticks: NDArray[np.int64]) -> tuple[NDArray[np.int64], int]:
    """Return the places behind which times are missing, and how many, where times never fall."""
    gaps = counters.find_gaps((ticks - ticks[:1]).astype(np.float64), settle=counters.SETTLE)
    return np.array([gap.index + 1 for gap in gaps], np.int64), sum(gap.missing for gap in gaps)


def _lacking(steps: NDArray[np.int64]) -> tuple[NDArray[np.int64], int]:
    """Return the same for a clock that was set back: what follows a late time says nothing then."""
    period = float(np.median(steps[steps > 0])) if (steps > 0).any() else np.inf
    gaps = np.flatnonzero(steps > counters.FACTOR * period)
    return gaps + 1, int(np.sum(np.rint(steps[gaps] / period) - 1))


def _offset(zone: str) -> int:
    """Return the seconds that a zone is ahead of UTC."""
    if zone == "Z":
        return 0
    seconds = int(zone[1:3]) * 3600 + int(zone[-2:]) * 60
    return -seconds if zone[0] == "-" else seconds


def _complaint(text: str) -> str:
    shown = text if len(text) <= 60 else text[:57] + "..."
    return f"tells a time without its zone, {shown!r}" if lacks_zone(text) else f"holds {shown!r}, and not a time"


def _in_calendar(text: str) -> bool:
    try:
        np.datetime64(text, "ns")
    except ValueError:
        return False
    return True
