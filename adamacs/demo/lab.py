"""A synthetic lab: recording folders on a share, as people leave them there, and the truth about each beside it.

Two animals, one invented person, three scans: one split over several files, one of two planes (in the same session),
and one with a second, structural channel. Everything follows from the seed, byte by byte.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from numpy import int16
from numpy.typing import NDArray

from adamacs.core import setups, tokens
from adamacs.core.errors import InvalidSetting, nearest
from adamacs.demo import head, rig, scanimage, session
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
    behaves: bool = False  # all that the setup type reads is recorded beside the frames
    faults: session.Faults = session.Faults()
    frames_per_file: float = math.inf


_FIRST, _SECOND = datetime(2026, 2, 10, 9, 30), datetime(2026, 2, 12, 14, 5)
# What cameras lose now and then, what makes a camera's computer miss a pulse, and a mouse that shakes its head.
_FAULTS = session.Faults(lost={"camera_top": 3, "camera_eye1": 2, "harp": 1}, shakes=2)

_LABS: Mapping[str, tuple[_Part, ...]] = {
    "demo": (
        _Part(
            "ANM-0001",
            _FIRST,
            "mini2p1_openfield",
            Design(frames=1600, silent=2, least_spikes=18, responsive=6),
            frames_per_file=500,
            behaves=True,
            faults=_FAULTS,
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
    "behavior": (
        _Part(
            "ANM-0001",
            _FIRST,
            "mini2p1_openfield",
            Design(height=128, width=128, frames=1200, cells=18, least_spikes=18, amplitude=0.5, responsive=5),
            behaves=True,
            faults=_FAULTS,
        ),
        _Part(
            "ANM-0002",
            _SECOND,
            "bench2p_lineartrack",
            Design(height=48, width=48, frames=1200, cells=3),
            behaves=True,
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
        of a minute), `behavior` (such a scan and one too small to analyse, both with all that is recorded beside the
        frames), or `tiny` (three scans too small to analyse, for tests of everything but Suite2p).
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
        _write_scan(part, seed, number, share / USER, beside, threads) for number, part in enumerate(_LABS[size])
    )


def _session(part: _Part, seed: int) -> session.Session:
    """Return what is recorded beside the frames of a scan, which begin a second after the rig."""
    design = part.design
    return session.record(
        setups.load().setups[part.setup],
        design.frames / design.frame_rate + 3,
        frames=design.frames * design.slices,
        frame_rate=design.frame_rate * design.slices,
        per_volume=design.slices,
        faults=part.faults,
        start=part.begun.replace(tzinfo=UTC) + timedelta(minutes=part.minutes),
        seed=seed,
    )


def _cues(beside: session.Session) -> tuple[float, ...]:
    """Return the starts of Bpod's trials of the second type, s since the first frame."""
    task, first = beside.rig.task, beside.rig.pulses["two_photon_frames"][0, 0] / beside.rig.sample_rate
    if task is None:
        return ()
    starts = np.array([trial.start for trial in task.session.trials if trial.type == 2], np.float64)
    return tuple((task.scan_time(starts) - first).tolist())


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
    behaving = {part.setup for parts in _LABS.values() for part in parts if part.behaves}
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
        if name in behaving:
            for expected in shipped[name].expected:
                lines += _expected(replace(expected, least=0)) if expected.parser else []
            lines += [*_harp(shipped[name]), *_wheel(shipped[name]), "", _wiring(shipped[name])]
        if not (path := folder / f"{name}.toml").exists():
            path.write_text("\n".join(lines) + "\n", encoding="utf-8", newline="\n")


def _expected(expected: setups.Expected) -> list[str]:
    told = {field.name: getattr(expected, field.name) for field in fields(expected)}
    return [
        "",
        "[[expected]]",
        *(f"{key} = {json.dumps(value)}" for key, value in told.items() if value not in (None, "")),
    ]


def _harp(setup: setups.SetupType) -> list[str]:
    """Return what the counts of this lab's inertial units are."""
    if "harp_imu" not in setup.sources.values():
        return []
    told = ("accelerometer", "gyroscope", "magnetometer", "sample_rate")
    gate = setup.harp.gate if setup.harp else ""
    return ["", "[harp]", *(f"{key} = {getattr(head.SCALES, key)}" for key in told), f'gate = "{gate}"']


def _wheel(setup: setups.SetupType) -> list[str]:
    """Return what the volts of this lab's wheels mean."""
    if setup.wheel is not None or all(channel.name != "treadmill" for channel in setup.channel):
        return []
    return ["", "[wheel]", f"circumference = {rig.ANY_WHEEL.circumference}"]


def _wiring(setup: setups.SetupType) -> str:
    """Return what the file of a setup type says of its channels, as it is written there."""
    text = setup.source.read_text(encoding="utf-8")
    return text[min(text.index(table) for table in ("[[align]]", "[[channel]]")) :].rstrip()


def _write_scan(part: _Part, seed: int, number: int, home: Path, truth: Path, threads: int) -> TrueScan:
    beside = _session(part, seed) if part.behaves else None
    design = part.design if beside is None else replace(part.design, cues=_cues(beside))
    recording = Recording(design, seed, number)
    start = part.begun + timedelta(minutes=part.minutes)
    # a token is stamped when the files are gathered, some minutes behind the recording
    session_id = f"sess{tokens.encode(part.begun + timedelta(minutes=5))}"
    scan_id = f"scan{tokens.encode(start + timedelta(minutes=5))}"
    folder = home / tokens.format_folder(INITIALS, part.subject, start.date(), session_id, scan_id)
    stem = f"{scan_id}_{INITIALS}_{part.subject}"
    files = scanimage.write(folder, stem, microscope(part, start), _pages(recording, threads))
    recording.truth.save(truth / f"{scan_id}.npz")
    if beside is not None:
        beside.write(folder, stem)
        beside.save_truth(truth / f"{scan_id}_session.npz")
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
