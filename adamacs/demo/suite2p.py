"""Writes result folders as Suite2p 0.10, 0.14 and 1.x leave them, with known content, without Suite2p.

Up to 0.14 everything that is no trace is in one flat `ops.npy`, in 1.x in four files and, joined, in a nested
`ops.npy`. The flat ones were written by NumPy 1, whose pickles spell module names in another way; so are these.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

BLOCK = 64  # px, side of a registration block
MARGIN = 5  # px, shifted out of view at every edge


@dataclass(frozen=True)
class WrittenPlane:
    """What was written of one plane, by the names of Suite2p.

    Attributes
    ----------
    arrays
        `F`, `Fneu`, `spks` float32 (roi, frame), `iscell` (roi, 2); of a second channel `F_chan2`, `Fneu_chan2`,
        `redcell`.
    stat
        Of each ROI its pixels and measures.
    registration, detection
        Shifts, pictures, and the part of the field that they cover.
    """

    folder: Path
    arrays: Mapping[str, np.ndarray]
    stat: list[dict[str, Any]]
    registration: Mapping[str, Any]
    detection: Mapping[str, Any]


def write_result(
    folder: Path,
    *,
    version: str = "1.1.0",
    planes: int = 1,
    rois: int = 4,
    frames: int = 60,
    shape: tuple[int, int] = (96, 128),
    channels: int = 1,
    fs: float = 30.0,
    tau: float = 0.7,
    nonrigid: bool = True,
    seed: int = 0,
) -> list[WrittenPlane]:
    """Write `plane0`, `plane1`, ... into a folder, and return what is in them.

    Parameters
    ----------
    version
        `0.14.4` and lower write the flat form, `1.0.0` and higher the nested one. Before `0.11` the layout of the
        registration blocks was written too, and the time of the run without its zone.
    shape
        Height and width of the field (px).
    fs, tau
        Sampling rate per plane (Hz) and decay time of the indicator (s), which the settings tell.
    """
    written = []
    for number in range(planes):
        random = np.random.default_rng([seed, number])
        plane = WrittenPlane(
            folder=folder / f"plane{number}",
            arrays=_arrays(random, rois, frames, channels),
            stat=[_roi(random, shape) for _ in range(rois)],
            registration=_registration(random, frames, shape, channels, nonrigid),
            detection=_detection(random, shape),
        )
        plane.folder.mkdir(parents=True)
        facts = _facts(folder, plane.folder, planes, number, frames, shape, channels)
        if version.startswith("0."):
            _write_flat(plane, facts, version, fs, tau, nonrigid)
        else:
            _write_nested(plane, facts, version, fs, tau, nonrigid)
        written.append(plane)
    return written


def save_object(path: Path, content: Any, *, numpy_1: bool = False) -> None:
    """Save an object as `numpy.save` does; as NumPy 1 did it, where asked for."""
    array = content if isinstance(content, np.ndarray) else np.array(content, dtype=object)
    if not numpy_1:
        np.save(path, array, allow_pickle=True)
        return
    pickled = pickle.dumps(array, protocol=3).replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
    with path.open("wb") as file:
        header = {"descr": "|O", "fortran_order": False, "shape": array.shape}
        np.lib.format.write_array_header_1_0(file, header)
        file.write(pickled)


def _arrays(random: np.random.Generator, rois: int, frames: int, channels: int) -> dict[str, np.ndarray]:
    names = ["F", "Fneu", "spks"] + (["F_chan2", "Fneu_chan2"] if channels > 1 else [])
    arrays = {name: random.gamma(2.0, 50.0, (rois, frames)).astype(np.float32) for name in names}
    for name in ["iscell"] + (["redcell"] if channels > 1 else []):
        probability = random.random(rois)
        arrays[name] = np.stack([probability > 0.5, probability], axis=1).astype(float)
    return arrays


def _roi(random: np.random.Generator, shape: tuple[int, int]) -> dict[str, Any]:
    """Return a disc somewhere in the part of the field that stays in view."""
    radius = 4
    center = [int(random.integers(MARGIN + radius, length - MARGIN - radius)) for length in shape]
    y, x = np.nonzero(np.hypot(*np.ogrid[-radius : radius + 1, -radius : radius + 1]) <= radius)
    return {
        "ypix": y - radius + center[0],
        "xpix": x - radius + center[1],
        "lam": random.random(len(y)).astype(np.float32),
        "med": center,
        "npix": len(y),
        "radius": float(radius),
        "aspect_ratio": 1.0,
        "compact": np.float64(1.05),
        "footprint": np.float64(1.0),
        "npix_norm": np.float32(1.0),
        "overlap": random.random(len(y)) > 0.9,
        "soma_crop": np.ones(len(y), dtype=bool),
        "skew": np.float32(random.normal(2.0, 0.5)),
        "std": np.float32(random.gamma(2.0, 10.0)),
    }


def _registration(
    random: np.random.Generator, frames: int, shape: tuple[int, int], channels: int, nonrigid: bool
) -> dict[str, Any]:
    height, width = shape
    found: dict[str, Any] = {
        "refImg": random.integers(0, 1000, shape).astype(np.int16),
        "meanImg": random.random(shape).astype(np.float32),
        "meanImgE": random.random(shape).astype(np.float32),
        "yoff": random.integers(-MARGIN, MARGIN + 1, frames),
        "xoff": random.integers(-MARGIN, MARGIN + 1, frames),
        "corrXY": random.random(frames).astype(np.float32),
        "badframes": random.random(frames) > 0.95,
        "yrange": [MARGIN, height - MARGIN],
        "xrange": [MARGIN, width - MARGIN],
    }
    if nonrigid:
        blocks = len(_edges(height)) * len(_edges(width))
        for name in ("yoff1", "xoff1"):
            found[name] = random.normal(0.0, 1.0, (frames, blocks)).astype(np.float32)
    if channels > 1:
        found["meanImg_chan2"] = random.random(shape).astype(np.float32)
    return found


def _detection(random: np.random.Generator, shape: tuple[int, int]) -> dict[str, Any]:
    """Return the pictures that Suite2p crops to what stays in view."""
    cropped = tuple(length - 2 * MARGIN for length in shape)
    return {
        "Vcorr": random.random(cropped),
        "max_proj": random.random(cropped).astype(np.float32),
        "Vmap": np.array([random.random((3, 3)), random.random((2, 2))], dtype=object),
        "spatscale_pix": 6,
    }


def _facts(
    folder: Path, plane: Path, planes: int, number: int, frames: int, shape: tuple[int, int], channels: int
) -> dict[str, Any]:
    return {
        "data_path": ["/recordings/demo"],
        "save_path0": str(folder.parent),
        "save_path": str(plane),
        "reg_file": str(plane / "data.bin"),
        "nplanes": planes,
        "nchannels": channels,
        "functional_chan": 1,
        "iplane": number,
        "nframes": frames,
        "Ly": shape[0],
        "Lx": shape[1],
    }


def _write_arrays(plane: WrittenPlane) -> None:
    for name, array in plane.arrays.items():
        np.save(plane.folder / f"{name}.npy", array)


def _write_flat(
    plane: WrittenPlane, facts: dict[str, Any], version: str, fs: float, tau: float, nonrigid: bool
) -> None:
    """Write what versions up to 0.14 write."""
    rows, columns = _edges(facts["Ly"]), _edges(facts["Lx"])
    early = tuple(map(int, version.split("."))) < (0, 11)
    ops = {
        **facts,
        **plane.registration,
        **plane.detection,
        "suite2p_version": version,
        "fs": fs,
        "tau": tau,
        "nonrigid": nonrigid,
        "block_size": [BLOCK, BLOCK],
        "sparse_mode": True,
        "neucoeff": 0.7,
        "align_by_chan": 1,
        "ignore_flyback": [],
        "date_proc": datetime(2024, 3, 4, 10, 11, 12, tzinfo=None if early else UTC),
    }
    if nonrigid and early:
        ops["yblock"] = [np.array(row) for row in rows for _ in columns]
        ops["xblock"] = [np.array(column) for _ in rows for column in columns]
        ops["nblocks"] = [len(rows), len(columns)]
    _write_arrays(plane)
    stat = np.empty(len(plane.stat), dtype=object)
    stat[:] = plane.stat
    save_object(plane.folder / "ops.npy", ops, numpy_1=True)
    save_object(plane.folder / "stat.npy", stat, numpy_1=True)


def _write_nested(
    plane: WrittenPlane, facts: dict[str, Any], version: str, fs: float, tau: float, nonrigid: bool
) -> None:
    settings = {
        "fs": fs,
        "tau": tau,
        "torch_device": "cpu",
        "diameter": [12.0, 12.0],
        "version": version,
        "registration": {"nonrigid": nonrigid, "block_size": (BLOCK, BLOCK), "align_by_chan2": False},
        "detection": {"algorithm": "sparsery", "threshold_scaling": 1.0},
        "extraction": {"neuropil_coefficient": 0.7},
    }
    _write_arrays(plane)
    stat = np.empty(len(plane.stat), dtype=object)
    stat[:] = plane.stat
    save_object(plane.folder / "stat.npy", stat)
    parts = {
        "db": facts,
        "settings": settings,
        "reg_outputs": dict(plane.registration),
        "detect_outputs": dict(plane.detection),
    }
    for name, content in parts.items():
        save_object(plane.folder / f"{name}.npy", content)
    joined = {name: value for content in parts.values() for name, value in content.items()}
    save_object(plane.folder / "ops.npy", {**joined, "date_proc": datetime(2026, 2, 10, 9, 8, 7, tzinfo=UTC)})


def _edges(length: int) -> list[tuple[int, int]]:
    """Return where blocks begin and end along one side of the field (px)."""
    if length <= BLOCK:
        return [(0, length)]
    starts = np.linspace(0, length - BLOCK, int(np.ceil(1.5 * length / BLOCK))).astype(int)
    return [(start, start + BLOCK) for start in starts.tolist()]
