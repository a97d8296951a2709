"""Let a finished recording arrive as rigs and copy programs bring it: piece by piece, with pauses and late ends.

The steps are a generator of pauses. A test with a clock of its own takes them one by one and looks in between; `arrive`
takes them in real time.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Manner:
    """How a recording arrives.

    Attributes
    ----------
    bytes_per_step
        Written between two pauses, of one file.
    pause, long_pause
        Seconds between two steps, and between two files.
    suffix
        Written behind a file's name until it is complete, such as `.part`; empty: no renaming.
    beside
        The whole folder is written beside its place, under this name, and renamed when it is complete.
    reserve
        The copy makes a file as long as it will be before it fills it, as Windows does.
    late
        Bytes at the end of the last file that come `late_pause` seconds after all else.
    seed
        Of the order of files; None: by name.
    """

    bytes_per_step: int = 1 << 16
    pause: float = 0.05
    long_pause: float = 0.0
    suffix: str = ""
    beside: str = ""
    reserve: bool = False
    late: int = 0
    late_pause: float = 0.0
    seed: int | None = None


def any_manner(seed: int, *, pause: float = 0.05) -> Manner:
    """Return some manner, the same for the same seed; a pause is up to `pause` seconds, a late end up to ten times."""
    chance = random.Random(seed)
    return Manner(
        bytes_per_step=chance.choice((7, 100, 1_000, 1 << 16)),
        pause=chance.uniform(0, pause),
        long_pause=chance.choice((0.0, chance.uniform(0, 3 * pause))),
        suffix=chance.choice(("", "", ".part", ".tmp")),
        beside=chance.choice(("", "", "", ".incoming")),
        reserve=chance.random() < 0.3,
        late=chance.choice((0, 0, 1, 8, 500)),
        late_pause=chance.uniform(0, 10 * pause),
        seed=seed,
    )


def steps(source: Path, folder: Path, manner: Manner) -> Iterator[float]:
    """Write a copy of the folder `source` at `folder`, which is not there yet; yield the pause after each step (s)."""
    place = folder.with_name(manner.beside) if manner.beside else folder
    place.mkdir(parents=True)
    files = sorted(path.relative_to(source) for path in source.rglob("*") if path.is_file())
    if manner.seed is not None:
        random.Random(manner.seed).shuffle(files)
    for path in files:
        late = manner.late if path == files[-1] else 0
        yield from _file(source / path, place / path, manner, late)
        yield manner.long_pause
    if manner.beside:
        place.rename(folder)
        yield manner.pause


def arrive(source: Path, folder: Path, manner: Manner, sleep: Callable[[float], None] = time.sleep) -> None:
    """Let a folder arrive in real time."""
    for pause in steps(source, folder, manner):
        sleep(pause)


def _file(source: Path, target: Path, manner: Manner, late: int) -> Iterator[float]:
    target.parent.mkdir(parents=True, exist_ok=True)
    data = source.read_bytes()
    part = target.with_name(target.name + manner.suffix)
    ends = max(0, len(data) - late)
    part.touch()
    yield manner.pause
    if manner.reserve:
        os.truncate(part, len(data))
        yield manner.pause
    for start in range(0, ends, manner.bytes_per_step):
        _write(part, start, data[start : min(ends, start + manner.bytes_per_step)])
        yield manner.pause
    if late:
        yield manner.late_pause
        _write(part, ends, data[ends:])
        yield manner.pause
    if part != target:
        part.rename(target)
        yield manner.pause


def _write(path: Path, start: int, data: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(start)
        file.write(data)
