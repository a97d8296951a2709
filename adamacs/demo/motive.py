"""Writer of the table that OptiTrack's Motive exports of a take, beside a stand-in for the take itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Take:
    """What Motive recorded, and how it exports that.

    Attributes
    ----------
    frames
        Of the take.
    rate
        Hz.
    lost
        Frames that are missing from the table.
    first, last
        Frames of the take between which it was exported, both included; `last` None: to its end.
    version
        Of the format: 1.24 names the columns in five lines, 1.25 in six.
    markers
        Names; each has three columns.
    start
        By the clock of Motive's computer.
    timecode
        A column of time codes stands behind the times.
    """

    frames: int
    rate: float = 240.0
    lost: Sequence[int] = ()
    first: int = 0
    last: int | None = None
    version: Literal["1.24", "1.25"] = "1.25"
    markers: tuple[str, ...] = ("Mouse_trackers:Marker 001",)
    start: datetime = datetime(2026, 2, 10, 9, 30)
    timecode: bool = False

    @property
    def exported(self) -> NDArray[np.int64]:
        """The frames that are in the table, (frame,), by Motive's count."""
        end = self.frames - 1 if self.last is None else self.last
        return np.setdiff1d(np.arange(self.first, end + 1), np.asarray(self.lost, np.int64))


def write_take(path: Path, take: Take, *, end: Literal["\r\n", "\n"] = "\r\n") -> Path:
    """Write the table of a take, with a mouse that walks in circles; every hundredth position is of a hidden marker."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes("".join(f"{line}{end}" for line in [_head(take), "", *_names(take), *_rows(take)]).encode())
    return path


def write_tak(path: Path) -> Path:
    """Write what stands for a `.tak`: nobody but Motive reads one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"This is no take of Motive, but stands for one.\n")
    return path


def _head(take: Take) -> str:
    end = take.frames - 1 if take.last is None else take.last
    pairs = {
        "Format Version": take.version,
        "Take Name": f"Take {take.start:%Y-%m-%d %I.%M.%S %p}",
        "Take Notes": "",
        "Capture Frame Rate": f"{take.rate:.6f}",
        "Export Frame Rate": f"{take.rate:.6f}",
        "Capture Start Time": f"{take.start:%Y-%m-%d %I.%M.%S}.{take.start.microsecond // 1000:03d} {take.start:%p}",
        "Capture Start Frame": "0",
        "Total Frames in Take": f"{take.frames}",
        "Total Exported Frames": f"{end + 1 - take.first}",
        "Rotation Type": "Quaternion",
        "Length Units": "Meters",
        "Coordinate Space": "Global",
    }
    return ",".join(f"{key},{value}" for key, value in pairs.items())


def _names(take: Take) -> Iterator[str]:
    """Yield the lines that name the columns: five, or with the parents of markers six."""
    lead = ["", "Type", *([""] if take.timecode else [])]
    lines = [("Type", "Marker"), ("Name", None), ("ID", "0"), *([("Parent", "")] if take.version == "1.25" else [])]
    for title, value in lines:
        lead[1] = title
        yield ",".join([*lead, *(value if value is not None else name for name in take.markers for _ in "XYZ")])
    yield ",".join(["", "", *lead[2:], *("Position" for _ in take.markers for _ in "XYZ")])
    yield ",".join(["Frame", "Time (Seconds)", *(["TimeCode"] if take.timecode else []), *"XYZ" * len(take.markers)])


def _rows(take: Take) -> Iterator[str]:
    for frame in take.exported.tolist():
        angle = frame / take.rate
        place = f"{0.3 * np.cos(angle):.6f},0.020000,{0.3 * np.sin(angle):.6f}"
        cells = [",," if frame % 100 == 99 else place] * len(take.markers)
        code = [f"09:30:{frame // 240 % 60:02d}:00.00"] if take.timecode else []
        yield ",".join([f"{frame}", f"{frame / take.rate:.6f}", *code, *cells])
