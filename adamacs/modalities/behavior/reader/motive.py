"""Reads which frames a motion capture took: the table that OptiTrack's Motive exports beside its own take.

A `.tak` is Motive's alone: nobody else reads it. What it holds is exported as a table of the same name: a line of keys
and values, then lines that name the columns, of which version 1.24 has five and 1.25 six, then a row for each frame.
Here its head, frames and times are read; positions of markers are not. No take of a rig was at hand: the form is that
of the lab's documents and of exports that others published.
"""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from adamacs.core.formats.source import Source, opened
from adamacs.modalities.behavior.reader.lines import Block, Lines

VERSION, START = "Format Version", "Capture Start Time"  # keys of the first line
CAPTURE_RATE, EXPORT_RATE = "Capture Frame Rate", "Export Frame Rate"
TAKEN, EXPORTED = "Total Frames in Take", "Total Exported Frames"
COLUMNS = ("Frame", "Time (Seconds)")  # the first two of the line that names the columns

_MOST_LINES = 16  # within which the columns are named
_LONGEST = 50_000_000  # frames: more than two days at 240 Hz
_ROW = re.compile(r"(\d{1,12}),(\d{1,12}(?:\.\d{1,12})?)(?:,|$)", re.ASCII)
_STARTS = ("%Y-%m-%d %I.%M.%S.%f %p", "%Y-%m-%d %H.%M.%S.%f")  # of Windows with and without AM and PM
_HINT = "Is this the table that Motive exported of the take, as CSV with its header?"


@dataclass(frozen=True)
class Head:
    """What the first line of the table says of the take.

    Attributes
    ----------
    told
        Its keys and values.
    taken, exported
        Frames that the take has, and that Motive says to have exported; None where it is not told.
    frame_rate
        Hz, at which rows were exported, or else captured; None where neither is told.
    start
        When the take began, as the clock of Motive's computer showed it, without zone; None where it is not told.
    warnings
        Sentences about what is odd but admitted.
    """

    told: Mapping[str, str]
    taken: int | None
    exported: int | None
    frame_rate: float | None
    start: datetime | None
    warnings: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Take:
    """The frames of one take, as far as they were exported.

    Attributes
    ----------
    frame
        int64, (frame,): Motive's own count, from 0 at the take's first.
    time
        float64, (frame,): s since the take's first frame, by the rate at which the cameras were to run.
    warnings
        Sentences about what is odd but admitted, those of the head among them.
    """

    head: Head
    frame: NDArray[np.int64]
    time: NDArray[np.float64]
    warnings: tuple[str, ...]


def read_head(path: Path) -> Head:
    """Read what the table says of the take; of its rows at most a megabyte is looked at.

    Raises
    ------
    UnreadableFile
        The table is not Motive's, or a value of its head is none.
    """
    with opened(Path(path)) as source:
        lines = Lines(source, keep_cut=False)
        return _head(source, lines, iter(lines))[0]


def read_take(path: Path) -> Take:
    """Read the frames of a take from the table that Motive exported.

    Two numbers are kept of each row, whatever its length.

    Raises
    ------
    UnreadableFile
        The table is not Motive's, a value of its head is none, it holds no frame, or a row is none or does not follow
        the one before; names the row.
    """
    with opened(Path(path)) as source:
        lines = Lines(source, keep_cut=False)
        blocks = iter(lines)
        head, rest = _head(source, lines, blocks)
        frame, time = _rows(source, lines, rest, blocks)
        told = (*head.warnings, *lines.warnings())
        if head.exported not in (None, len(frame)):
            told = (*told, f"Its head tells of {head.exported} exported frames, and {len(frame)} are here.")
        return Take(head, frame, time, told)


def _head(source: Source, lines: Lines, blocks: Iterator[Block]) -> tuple[Head, Block]:
    """Return what the first line tells, and the rows of the first block that stand behind the names of the columns."""
    first = next(blocks, None)
    if first is None:
        raise source.fail("The table is empty, or its first line has no end.", _HINT)
    try:
        fields = [field.strip() for field in next(csv.reader([first.texts[0]], strict=True))]
    except csv.Error as error:
        raise lines.fail(first.rows[0], f"is no list of keys and values ({error})", _HINT) from error
    if fields[0] != VERSION:
        raise lines.fail(first.rows[0], f"begins with {fields[0][:60]!r}, where Motive writes {VERSION!r}", _HINT)
    for number, text in enumerate(first.texts[1:_MOST_LINES], 1):
        if tuple(field.strip(' "') for field in text.split(",", 2)[:2]) == COLUMNS:
            lines.blank -= first.rows[1] - first.rows[0] - 1  # Motive leaves a line empty behind the first
            told = dict(zip(fields[::2], fields[1::2]))
            return _told(source, told), Block(first.rows[number + 1 :], first.texts[number + 1 :])
    raise source.fail(f"No line of the head names the columns {' and '.join(COLUMNS)}.", _HINT)


def _told(source: Source, told: Mapping[str, str]) -> Head:
    taken, exported = (_count(source, told, key) for key in (TAKEN, EXPORTED))
    capture, export = (_rate(source, told, key) for key in (CAPTURE_RATE, EXPORT_RATE))
    start, warnings = _start(told.get(START, "")), []
    if start is None and told.get(START):
        warnings.append(f"{START} is {told[START][:60]!r}, which is no time that Motive writes.")
    if taken is not None and exported is not None and exported < taken:
        warnings.append(f"Of the {taken} frames of the take, {exported} were exported.")
    if capture and export and capture != export:
        warnings.append(f"It was captured at {capture:g} Hz and exported at {export:g} Hz.")
    return Head(told, taken, exported, export or capture, start, tuple(warnings))


def _rows(
    source: Source, lines: Lines, rest: Block, blocks: Iterator[Block]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    frames: list[NDArray[np.int64]] = []
    times: list[NDArray[np.float64]] = []
    count = 0
    for block in _all(rest, blocks):
        found = [_ROW.match(text) for text in block.texts]
        if None in found:
            at = found.index(None)
            raise lines.fail(block.rows[at], f"begins with {block.texts[at][:60]!r}, and not with a frame and its time")
        frame = np.array([match[1] for match in found if match], np.int64)
        time = np.array([match[2] for match in found if match], np.float64)
        before = (frames[-1][-1], times[-1][-1]) if frames else (-1, -math.inf)
        ends = np.diff(frame, prepend=before[0]) <= 0, np.diff(time, prepend=before[1]) <= 0
        if (wrong := ends[0] | ends[1]).any():
            at = int(np.argmax(wrong))
            what = f"tells frame {frame[at]} at {time[at]:g} s, which does not follow the row before"
            raise lines.fail(block.rows[at], what, "Was the table edited, or are two exports in one file?")
        count += len(frame)
        if count > _LONGEST:
            raise source.fail(f"The table holds more than {_LONGEST} frames.", _HINT)
        frames.append(frame)
        times.append(time)
    if not frames:
        raise source.fail("The table holds no frame.", "Was the take empty, or the export stopped?")
    return np.concatenate(frames), np.concatenate(times)


def _all(rest: Block, blocks: Iterator[Block]) -> Iterator[Block]:
    if rest.rows:
        yield rest
    yield from blocks


def _count(source: Source, told: Mapping[str, str], key: str) -> int | None:
    if not (text := told.get(key, "")):
        return None
    if not re.fullmatch(r"\d{1,12}", text, re.ASCII):
        raise source.fail(f"{key} is {text[:60]!r}, and no number of frames.", _HINT)
    return int(text)


def _rate(source: Source, told: Mapping[str, str], key: str) -> float | None:
    if not (text := told.get(key, "")):
        return None
    if not re.fullmatch(r"\d{1,6}(?:\.\d{1,12})?", text, re.ASCII) or not float(text):
        raise source.fail(f"{key} is {text[:60]!r}, and no rate.", _HINT)
    return float(text)


def _start(text: str) -> datetime | None:
    for form in _STARTS:
        try:
            return datetime.strptime(text, form)
        except ValueError:
            continue
    return None
