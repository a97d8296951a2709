"""A synthetic lab: recording folders on a share, as people leave them there, and the truth about each beside it.

Two animals, one invented person, three scans: one split over several files, one of two planes (in the same session),
and one with a second, structural channel. Everything follows from the seed, byte by byte.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from numpy import int16
from numpy.typing import NDArray

from adamacs.core import setups, tokens
from adamacs.core.errors import InvalidSetting, nearest
from adamacs.demo import bpod, rig, scanimage
from adamacs.demo.movie import Design, Recording, Truth

USER = "demo"  # the invented person's folder on the share
INITIALS = "XX"
MICROMETRES_PER_PIXEL = 1.5

SUITE2P: dict[str, Any] = {
    "tau": 0.5,
    "registration": {"batch_size": 500, "block_size": [64, 64]},
    "detection": {"block_size": [64, 64]},
}
"""Settings under which Suite2p 1.1 recovers the truth of these scans, to be merged over its defaults.

`tau` is the indicator's, a batch of 400 frames and more makes the reference right, and the fields are too small for
blocks of 128 px.
"""


@dataclass(frozen=True)
class TrueScan:
    """One scan of the synthetic lab: where it lies, what it is, and where its truth is kept.

    Attributes
    ----------
    subject, session_id, scan_id, setup
        As the folder's name and the header tell.
    folder, files
        On the share; the files are those of the microscope.
    truth
        Beside the share: read it with `Truth.load`.
    planes, channels, flyback
        Depths, recorded channels, and frames lost behind each volume.
    frame_rate
        Hz, of every plane.
    """

    subject: str
    session_id: str
    scan_id: str
    setup: str
    folder: Path
    files: tuple[Path, ...]
    truth: Path
    planes: int
    channels: int
    flyback: int
    frame_rate: float


@dataclass(frozen=True)
class _Part:
    """What the lab recorded once: an animal, when, on which setup, and how the scan looks."""

    subject: str
    begun: datetime  # of the session; local, and the lab's clock is UTC
    setup: str
    design: Design
    minutes: float = 0.0  # from the session's first scan to this one
    with_rig: bool = False  # auxiliary channels and Bpod are recorded beside the frames
    frames_per_file: float = math.inf


_FIRST, _SECOND = datetime(2026, 2, 10, 9, 30), datetime(2026, 2, 12, 14, 5)

_LABS: Mapping[str, tuple[_Part, ...]] = {
    "demo": (
        _Part(
            "ANM-0001",
            _FIRST,
            "mini2p1_openfield",
            Design(frames=1600, silent=2, least_spikes=18),
            frames_per_file=500,
            with_rig=True,
        ),
        _Part(
            "ANM-0001",
            _FIRST,
            "bench2p",
            Design(
                height=128,
                width=128,
                frames=1000,
                frame_rate=15.0,
                planes=2,
                flyback=1,
                cells=18,
                silent=1,
                least_spikes=18,
            ),
            minutes=12,
        ),
        _Part(
            "ANM-0002", _SECOND, "bench2p_lineartrack", Design(frames=1200, structural=True, silent=2, least_spikes=18)
        ),
    ),
    "small": (
        _Part(
            "ANM-0001",
            _FIRST,
            "bench2p",
            Design(height=128, width=128, frames=1000, cells=18, least_spikes=18, amplitude=0.5),
        ),
    ),
    "tiny": (
        _Part(
            "ANM-0001", _FIRST, "mini2p1_openfield", Design(height=48, width=56, frames=24, cells=3), frames_per_file=10
        ),
        _Part(
            "ANM-0001",
            _FIRST,
            "bench2p",
            Design(height=48, width=48, frames=12, frame_rate=15.0, planes=2, flyback=1, cells=2),
            minutes=12,
        ),
        _Part(
            "ANM-0002", _SECOND, "bench2p_lineartrack", Design(height=48, width=48, frames=20, cells=3, structural=True)
        ),
    ),
}


def write(
    share: Path, *, seed: int = 0, size: str = "demo", truth: Path | None = None, threads: int = 2
) -> tuple[TrueScan, ...]:
    """Leave the synthetic lab's recordings on a share.

    Parameters
    ----------
    share
        Folders are written to `<share>/demo/`.
    seed
        The same seed gives the same bytes.
    size
        `demo` (three scans that Suite2p recovers in about two minutes on two cores), `small` (one scan, a quarter
        of a minute), or `tiny` (three scans too small to analyse, for tests of everything but Suite2p).
    truth
        Folder for the truth; by default `truth` beside the share.
    threads
        How many to draw frames with; the bytes do not depend on it.

    Raises
    ------
    InvalidSetting
        There is no lab of that size.
    """
    if size not in _LABS:
        raise InvalidSetting(f"There is no synthetic lab of size {size!r}.", hint=nearest(size, list(_LABS)))
    beside = truth if truth is not None else share.parent / "truth"
    return tuple(
        _write_scan(part, Recording(part.design, seed, number), share / USER, beside, threads, seed)
        for number, part in enumerate(_LABS[size])
    )


def _write_rig(part: _Part, stem: Path, truth: Path, seed: int) -> None:
    """Write what the rig recorded beside the frames, and the truth about it."""
    design = part.design
    seconds = design.frames / design.frame_rate + 3
    ran = rig.record(setups.load().setups[part.setup], seconds, seed=seed).with_frames(design.frames, design.frame_rate)
    ran.write(stem.with_suffix(".h5"))
    if ran.task is not None:
        bpod.write_bpod(stem.with_suffix(".mat"), ran.task.session)
    ran.save_truth(truth)


def write_setups(home: Path, *, paramset_idx: int | None = None) -> None:
    """Tell a lab home what its setups record: most of them frames alone, which is all that is written of them here.

    A file that is there is kept.

    Parameters
    ----------
    paramset_idx
        Let a watching service ingest such recordings alone, and stage them with this parameter set.
    """
    folder = home / setups.FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    shipped = setups.load().setups
    with_rig = {part.setup for parts in _LABS.values() for part in parts if part.with_rig}
    for name in sorted({part.setup for parts in _LABS.values() for part in parts}):
        told = ("spellings", "rigs", "modalities")
        lines = [
            f'name = "{name}"',
            'description = "Synthetic: two-photon frames, and little beside them."',
            *(f"{key} = {json.dumps(getattr(shipped[name], key))}" for key in told),
            *(["automatic = true"] if paramset_idx is not None else []),
            *_expected(setups.Expected("*.tif", "the frames")),
        ]
        if paramset_idx is not None:
            lines += ["", "[[stage]]", 'table = "imaging.ProcessingTask"', f"values.paramset_idx = {paramset_idx}"]
        if name in with_rig:
            for expected in shipped[name].expected:
                lines += _expected(replace(expected, least=0)) if expected.parser else []
            lines += ["", _wiring(shipped[name])]
        if not (path := folder / f"{name}.toml").exists():
            path.write_text("\n".join(lines) + "\n", encoding="utf-8", newline="\n")


def _expected(expected: setups.Expected) -> list[str]:
    lines = [
        "",
        "[[expected]]",
        f'files = "{expected.files}"',
        f'what = "{expected.what}"',
        f"least = {expected.least}",
    ]
    return lines + [f'{key} = "{value}"' for key in ("parser", "source") if (value := getattr(expected, key))]


def _wiring(setup: setups.SetupType) -> str:
    """Return what the file of a setup type says of its channels, as it is written there."""
    text = setup.source.read_text(encoding="utf-8")
    return text[min(text.index(table) for table in ("[[align]]", "[[channel]]")) :].rstrip()


def _write_scan(part: _Part, recording: Recording, home: Path, truth: Path, threads: int, seed: int) -> TrueScan:
    design = part.design
    start = part.begun + timedelta(minutes=part.minutes)
    # a token is stamped when the files are gathered, some minutes behind the recording
    session_id = f"sess{tokens.encode(part.begun + timedelta(minutes=5))}"
    scan_id = f"scan{tokens.encode(start + timedelta(minutes=5))}"
    folder = home / tokens.format_folder(INITIALS, part.subject, start.date(), session_id, scan_id)
    stem = f"{scan_id}_{INITIALS}_{part.subject}"
    files = scanimage.write(folder, stem, microscope(part, start), _pages(recording, threads))
    recording.truth.save(truth / f"{scan_id}.npz")
    if part.with_rig:
        _write_rig(part, folder / stem, truth / f"{scan_id}_rig.npz", seed)
    return TrueScan(
        subject=part.subject,
        session_id=session_id,
        scan_id=scan_id,
        setup=part.setup,
        folder=folder,
        files=files,
        truth=truth / f"{scan_id}.npz",
        planes=design.planes,
        channels=design.channels,
        flyback=design.flyback,
        frame_rate=design.frame_rate,
    )


def microscope(part: _Part, start: datetime) -> scanimage.Microscope:
    """Return the settings under which a scan was recorded."""
    design = part.design
    stack = design.planes > 1
    return scanimage.Microscope(
        lines=design.height,
        pixels=design.width,
        frame_rate=design.frame_rate * design.slices,
        channels=tuple(range(1, design.channels + 1)),
        zs=tuple(30.0 * plane for plane in range(design.planes)),
        flyback=design.flyback,
        frames_per_slice=1 if stack else design.frames,
        volumes=design.frames if stack else 1,
        frames_per_file=part.frames_per_file,
        fov=(design.height * MICROMETRES_PER_PIXEL, design.width * MICROMETRES_PER_PIXEL),
        powers=(32.0, 0.0) if design.structural else (28.0,),
        position=(1520.0, -340.5, 210.0),
        setup=part.setup,
        start=start,
    )


def _pages(recording: Recording, threads: int) -> Iterator[NDArray[int16]]:
    for block in recording.blocks(threads):
        yield from block.reshape(-1, *block.shape[-2:])


__all__ = ["INITIALS", "SUITE2P", "USER", "TrueScan", "Truth", "write"]
