"""Writer of the tables of time stamps that Bonsai and Basler's programs leave beside a video."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

_SECOND = 1_000_000_000  # ns


def iso_texts(instants: ArrayLike, offset: ArrayLike = 0) -> list[str]:
    """Write instants the way .NET does: local time with 7 digits behind the second, and its zone.

    Parameters
    ----------
    instants
        int64, (frame,): ns since 1970 in UTC; what is below 100 ns is cut off.
    offset
        Minutes that the rig's clock is ahead of UTC, one for all or one for each: summer time ends between two frames.
    """
    nanoseconds = np.asarray(instants, np.int64)
    minutes = np.broadcast_to(np.asarray(offset, np.int64), nanoseconds.shape)
    local = (nanoseconds + minutes * 60 * _SECOND).astype("datetime64[ns]")
    return [f"{str(time)[:27]}{_zone(int(ahead))}" for time, ahead in zip(local, minutes, strict=True)]


def write_bonsai(
    path: Path,
    instants: ArrayLike,
    *,
    offset: ArrayLike = 0,
    columns: int = 1,
    header: Sequence[str] = (),
    end: str = "\r\n",
) -> Path:
    """Write the table of Bonsai: the time is the last of `columns`, before it stand numbers that vary.

    Parameters
    ----------
    path
        Where.
    instants, offset
        As `iso_texts` takes them.
    columns
        1 for the older tables, 17 and more for those with what was measured in the frame.
    header
        Names of the columns; none by default.
    end
        Of a line.
    """
    texts = iso_texts(instants, offset)
    rows = (
        ",".join([*(f"{100 * np.sin(row + column):.4f}" for column in range(columns - 1)), text])
        for row, text in enumerate(texts)
    )
    return _write(path, header, rows, end)


def write_basler(
    path: Path,
    ticks: ArrayLike,
    *,
    frames: ArrayLike | None = None,
    instants: ArrayLike | None = None,
    offset: ArrayLike = 0,
    header: Sequence[str] = (),
    end: str = "\n",
) -> Path:
    """Write a table of the camera's ticks, with its count of frames before them and the computer's time behind.

    Parameters
    ----------
    path
        Where.
    ticks
        int64, (frame,): of the camera's clock.
    frames
        int64, (frame,): its count of frames, left out by default.
    instants, offset
        As `iso_texts` takes them, left out by default.
    header, end
        As for `write_bonsai`.
    """
    columns = [[str(tick) for tick in np.asarray(ticks, np.int64)]]
    if frames is not None:
        columns.insert(0, [str(frame) for frame in np.asarray(frames, np.int64)])
    if instants is not None:
        columns.append(iso_texts(instants, offset))
    return _write(path, header, map(",".join, zip(*columns, strict=True)), end)


def exposures(
    frames: int, rate: float, *, jitter: float = 0.0, seed: int = 0, lost: Sequence[int] = ()
) -> NDArray[np.int64]:
    """Return when a camera exposed, int64 ns since the first frame.

    Parameters
    ----------
    frames
        How many were exposed.
    rate
        Hz.
    jitter
        s, standard deviation of each time; times still only run forward where it is below a tenth of the interval.
    seed
        Of the jitter.
    lost
        Frames that were exposed but never arrived.
    """
    rng = np.random.default_rng(seed)
    times = np.arange(frames) / rate + np.clip(rng.normal(0, jitter, frames), -0.4 / rate, 0.4 / rate)
    nanoseconds = np.rint((times - times[0]) * _SECOND).astype(np.int64) if frames else np.zeros(0, np.int64)
    return np.delete(nanoseconds, list(lost))


def _zone(minutes: int) -> str:
    hours, rest = divmod(abs(minutes), 60)
    return f"{'-' if minutes < 0 else '+'}{hours:02d}:{rest:02d}"


def _write(path: Path, header: Sequence[str], rows: Iterable[str], end: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [*([",".join(header)] if header else []), *rows]
    path.write_bytes("".join(f"{line}{end}" for line in lines).encode())
    return path
