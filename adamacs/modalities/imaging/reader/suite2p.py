"""Reads result folders of Suite2p 0.14 and 1.x, made here or elsewhere, curated or not.

Suite2p keeps a folder per plane. Up to 0.14 it writes one flat `ops.npy` with everything that is no trace; 1.x writes
`db`, `settings`, `reg_outputs` and `detect_outputs`, and on request an `ops.npy` that holds all four. Both are read
here into the same objects, without running what the files say (see `npy`). Traces, shifts and ROIs keep the names that
Suite2p gave them, because that is what its users call them. Pictures come back in the full field, with NaN where
Suite2p computed nothing: it crops some of them to the part that no shift moves out of view.
"""

from __future__ import annotations

import json
import math
import re
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from adamacs.core.errors import UnreadableFile
from adamacs.modalities.imaging.parameters import FLAT_0_14
from adamacs.modalities.imaging.reader.facts import Facts
from adamacs.modalities.imaging.reader.npy import read_array, read_object

# First and one past the last row of a block, and the same of its columns (px).
Block = tuple[tuple[int, int], tuple[int, int]]

MANIFEST = "manifest.json"

# Set by our own engine in detect_outputs.npy of a plane where Suite2p found nothing and left no images of it.
NO_IMAGES = "adamacs_no_images"

_PLANE = re.compile(r"plane(\d+)")
_HINT = "Name the folder that holds plane0, such as suite2p or suite2p_exp9FY6AIRM."
_GROUPS = ("run", "io", "registration", "detection", "classification", "extraction", "dcnv_preprocess")
_TOP = ("torch_device", "tau", "fs", "diameter", "version")
_MOST_PIXELS = 1 << 25  # of a field
_MOST_FRAMES = 1 << 25  # two weeks at 30 Hz
_MOST_BLOCKS = 1 << 16
_MEASURES = ("radius", "aspect_ratio", "compact", "footprint", "npix_norm", "skew", "std")


@dataclass(frozen=True)
class Roi:
    """One region of interest; a number is None where the Suite2p that made it did not write it.

    Attributes
    ----------
    ypix, xpix
        int, (pixel,): row and column of each pixel in the full field, from 0.
    weights
        float32, (pixel,): how strongly each pixel takes part (Suite2p's `lam`).
    overlap
        bool, (pixel,): whether another ROI holds the same pixel.
    med
        Row and column of the median pixel (px).
    radius, aspect_ratio, compact, footprint, npix_norm
        Shape, as Suite2p defines it; the radius in px.
    skew, std
        Of the neuropil-corrected trace; the standard deviation in the units of the fluorescence.
    """

    ypix: np.ndarray
    xpix: np.ndarray
    weights: np.ndarray
    overlap: np.ndarray
    med: tuple[float, float]
    radius: float | None = None
    aspect_ratio: float | None = None
    compact: float | None = None
    footprint: float | None = None
    npix_norm: float | None = None
    skew: float | None = None
    std: float | None = None

    @property
    def npix(self) -> int:
        """How many pixels the ROI has."""
        return len(self.ypix)


@dataclass(frozen=True)
class Plane:
    """What Suite2p made of one imaging plane, or of one field of a multi-ROI scan.

    Attributes
    ----------
    index
        The number in the folder's name.
    depth, region
        Number of the plane among the depths, and of the field among those of a multi-ROI scan, from 0.
    height, width
        Of the field (px).
    F, Fneu, spks
        float32, (roi, frame): fluorescence, that of the neuropil around, and deconvolved activity; opened, not read.
    iscell
        float64, (roi, 2): accepted (1) or not (0), by the classifier or by hand; and the classifier's confidence.
    yoff, xoff
        int32, (frame,): shift of the whole frame along rows and columns (px); zeros where nothing was registered.
    corrXY
        float32, (frame,): phase correlation with the reference; NaN where nothing was registered.
    badframes
        bool, (frame,): frames left out of detection.
    blocks
        The pieces of the field that non-rigid registration moved one by one, along a row of blocks first; empty where
        registration was rigid.
    yoff1, xoff1
        float32, (frame, block): shift of each block beyond that of the frame (px).
    yrange, xrange
        First and one past the last row and column that no shift moved out of view (px).
    ref_image, average_image, enhanced_image, correlation_image, max_proj_image
        float32, (row, column): the registration's reference, mean, contrast-enhanced mean, correlation of each pixel
        with its surround, and maximum over time.
    average_image_chan2, F_chan2, Fneu_chan2, redcell
        Of the second channel: mean image; float32, (roi, frame); float64, (roi, 2) like `iscell`. None without one.
    """

    index: int
    folder: Path
    height: int
    width: int
    nframes: int
    rois: list[Roi]
    F: np.ndarray
    Fneu: np.ndarray
    spks: np.ndarray
    iscell: np.ndarray
    yoff: np.ndarray
    xoff: np.ndarray
    corrXY: np.ndarray  # noqa: N815 - as Suite2p spells it
    badframes: np.ndarray
    blocks: tuple[Block, ...]
    yoff1: np.ndarray
    xoff1: np.ndarray
    yrange: tuple[int, int]
    xrange: tuple[int, int]
    ref_image: np.ndarray
    average_image: np.ndarray
    enhanced_image: np.ndarray
    correlation_image: np.ndarray
    max_proj_image: np.ndarray
    depth: int = 0
    region: int = 0
    average_image_chan2: np.ndarray | None = None
    F_chan2: np.ndarray | None = None
    Fneu_chan2: np.ndarray | None = None
    redcell: np.ndarray | None = None

    @property
    def nonrigid(self) -> bool:
        """Whether blocks of the field were moved one by one."""
        return bool(self.blocks)


@dataclass(frozen=True)
class Suite2pResult:
    """A result folder, read.

    Attributes
    ----------
    version
        Of the Suite2p that made it, or None where nothing says so.
    fs
        Sampling rate per plane (Hz).
    tau
        Decay time of the indicator that deconvolution assumed (s).
    functional_channel, align_channel
        The channels that were extracted and that were registered, counted from 0 among those that were saved.
    settings
        As Suite2p wrote them: nested for 1.x, flat for 0.14; plain values only.
    time
        Naive UTC: when Suite2p says that it ran, else when the traces were saved.
    manifest
        The content of `manifest.json`, where adamacs made the folder; else empty.
    """

    folder: Path
    planes: list[Plane]
    version: str | None
    fs: float
    tau: float
    functional_channel: int
    align_channel: int
    settings: dict[str, Any]
    time: datetime
    manifest: dict[str, Any] = field(default_factory=dict)

    @property
    def n_rois(self) -> int:
        """How many ROIs all planes hold together."""
        return sum(len(plane.rois) for plane in self.planes)


def find_planes(folder: Path) -> list[Path]:
    """Find the plane folders of a result, in the order of their numbers.

    Parameters
    ----------
    folder
        A `plane<N>` folder, the folder that holds them, or one above it that holds exactly one such folder
        (`suite2p`, `suite2p_exp...`).

    Raises
    ------
    UnreadableFile
        There are none, or there are several results to choose from.
    """
    if not folder.is_dir():
        raise UnreadableFile("There is no such folder.", folder, _HINT)
    if _PLANE.fullmatch(folder.name):
        return [folder]
    planes = _planes_in(folder)
    if planes:
        return planes
    results = {child: _planes_in(child) for child in sorted(folder.glob("suite2p*")) if child.is_dir()}
    found = [planes for planes in results.values() if planes]
    if len(found) == 1:
        return found[0]
    if found:
        names = ", ".join(child.name for child, planes in results.items() if planes)
        raise UnreadableFile(f"Holds several results ({names}).", folder, "Name one of them.")
    raise UnreadableFile("Holds no plane folder.", folder, _HINT)


def read_result(folder: Path) -> Suite2pResult:
    """Read a result folder of Suite2p 0.14 or 1.x; traces are opened, not read.

    Planes that the run was told to skip (taken while the objective flew back) are left out.

    Raises
    ------
    UnreadableFile
        A file is missing, cut short, contradicts another, or holds more than arrays and plain values.
    """
    found = [(plane, _read_facts(plane)) for plane in find_planes(folder)]
    found = [(plane, facts) for plane, facts in found if not _skipped(plane, facts)]
    if not found:
        raise UnreadableFile("Every plane of it was skipped as flyback.", folder)
    first, facts = found[0]
    functional = (facts.whole("functional_chan", 1) or 1) - 1
    return Suite2pResult(
        folder=folder,
        planes=[_read_plane(plane, facts_of_plane) for plane, facts_of_plane in found],
        version=_version_of(facts),
        fs=facts.real("fs"),
        tau=facts.real("tau"),
        functional_channel=functional,
        align_channel=1 - functional if _aligned_by_other(facts) else functional,
        settings=_settings_of(facts),
        time=_time_of(facts, first),
        manifest=_read_manifest(first.parent),
    )


def parameters_of(result: Suite2pResult) -> tuple[str, str, dict[str, Any]]:
    """Build the parameter set that a found folder was made with, from what it says itself: not validated.

    Returns
    -------
    method, version, parameters
        `suite2p`; the version, or `unknown`; and the parameters, nested for 1.x and flat for 0.14. Facts of the scan
        (rate, planes, channels) and of the host (device), and paths are left out.
    """
    beside = ("fs", "torch_device", "version", "date_proc")
    parameters = {name: value for name, value in result.settings.items() if name not in beside}
    return "suite2p", result.version or "unknown", parameters


def lay_blocks(height: int, width: int, block_size: tuple[int, int]) -> tuple[Block, ...]:
    """Compute how Suite2p lays its registration blocks over a field; since 0.11 it does not write it down.

    Along each axis there are `ceil(1.5 * length / block)` blocks, so that neighbours overlap by about a third, evenly
    spread from edge to edge; a block no shorter than the field is the field.

    Parameters
    ----------
    height, width
        Of the field (px).
    block_size
        Height and width of a block as it was asked for (px).
    """
    rows, columns = _edges(height, block_size[0]), _edges(width, block_size[1])
    return tuple((row, column) for row in rows for column in columns)


def _edges(length: int, block: int) -> list[tuple[int, int]]:
    """Return where the blocks along one axis begin and end (px)."""
    if block >= length:
        return [(0, length)]
    starts = np.linspace(0, length - block, int(np.ceil(1.5 * length / block))).astype(int)
    return [(start, start + block) for start in starts.tolist()]


def _planes_in(folder: Path) -> list[Path]:
    found = {int(match[1]): child for child in folder.iterdir() if (match := _PLANE.fullmatch(child.name))}
    return [found[number] for number in sorted(found) if found[number].is_dir()]


def _number_of(plane: Path) -> int:
    return int(plane.name.removeprefix("plane"))


def _read_facts(plane: Path) -> Facts:
    """Read everything about a plane that is no trace into one table, whichever Suite2p wrote it."""
    names = [name for name in ("db", "settings", "reg_outputs", "detect_outputs") if (plane / f"{name}.npy").exists()]
    if "db" not in names or "settings" not in names:
        names = ["ops"]
    facts: dict[Any, Any] = {}
    for name in names:
        path = plane / f"{name}.npy"
        content = read_object(path)
        if not isinstance(content, dict):
            raise UnreadableFile(f"Holds {type(content).__name__}, not Suite2p's table of values.", path)
        facts |= content
    return Facts(plane, facts)


def _skipped(plane: Path, facts: Facts) -> bool:
    """Tell whether the run was told to leave this plane out."""
    skipped = facts.numbers("ignore_flyback")
    return skipped is not None and _number_of(plane) in skipped and not (plane / "F.npy").exists()


def _read_plane(plane: Path, facts: Facts) -> Plane:
    height, width = facts.whole("Ly", least=1), facts.whole("Lx", least=1)
    if height * width > _MOST_PIXELS:
        raise facts.fail("Ly x Lx", f"is {height} x {width} px, more than any field")
    rois = _read_rois(plane / "stat.npy", height, width)
    traces = _read_shaped(plane / "F.npy", (len(rois), None))
    if traces.shape[1] > _MOST_FRAMES:
        raise UnreadableFile(f"Holds {traces.shape[1]} frames, more than any scan.", plane / "F.npy")
    return Plane(
        index=_number_of(plane),
        folder=plane,
        height=height,
        width=width,
        nframes=traces.shape[1],
        rois=rois,
        F=traces,
        Fneu=_read_shaped(plane / "Fneu.npy", traces.shape),
        spks=_read_shaped(plane / "spks.npy", traces.shape),
        iscell=np.array(_read_shaped(plane / "iscell.npy", (len(rois), 2)), dtype=float),
        depth=facts.whole("iplane", 0),
        region=facts.whole("iroi", 0),
        **_registration_of(facts, height, width, traces.shape[1]),
        **_images_of(facts, height, width),
        **_read_channel_2(plane, facts, (height, width), traces.shape),
    )


def _read_shaped(path: Path, shape: tuple[int | None, ...]) -> np.ndarray:
    array = read_array(path)
    if array.dtype.kind not in "fiub":
        raise UnreadableFile(f"Holds {array.dtype}, and not numbers.", path)
    return _shaped(path, array, shape)


def _shaped(path: Path, array: np.ndarray, shape: tuple[int | None, ...]) -> np.ndarray:
    """Check an array's shape (None: any length) and return it."""
    fits = array.ndim == len(shape) and all(want in (None, length) for want, length in zip(shape, array.shape))
    if not fits:
        wanted = ", ".join("any" if want is None else str(want) for want in shape)
        reason = f"Its shape is {array.shape}, where the other files ask for ({wanted})."
        raise UnreadableFile(reason, path, "Were its files copied from two different runs?")
    return array


def _read_channel_2(plane: Path, facts: Facts, field: tuple[int, int], shape: tuple[int, ...]) -> dict[str, Any]:
    """Read what a second channel left behind, where there is one."""
    found: dict[str, Any] = {}
    if "meanImg_chan2" in facts:
        found["average_image_chan2"] = _image(facts, "meanImg_chan2", *field)
    if (plane / "F_chan2.npy").exists():
        found["F_chan2"] = _read_shaped(plane / "F_chan2.npy", shape)
        found["Fneu_chan2"] = _read_shaped(plane / "Fneu_chan2.npy", shape)
    if (plane / "redcell.npy").exists():
        found["redcell"] = np.array(_read_shaped(plane / "redcell.npy", (shape[0], 2)), dtype=float)
    return found


def _read_rois(path: Path, height: int, width: int) -> list[Roi]:
    content = read_object(path)
    if not isinstance(content, np.ndarray) or content.ndim != 1:
        raise UnreadableFile("Holds no list of ROIs.", path)
    return [_roi_of(path, number, stat, (height, width)) for number, stat in enumerate(content)]


def _roi_of(path: Path, number: int, stat: Any, shape: tuple[int, int]) -> Roi:
    if not isinstance(stat, dict) or not {"ypix", "xpix", "lam"} <= stat.keys():
        raise UnreadableFile(f"ROI {number} has no ypix, xpix and lam.", path)
    facts = Facts(path, stat, f"ROI {number}:")
    y, x, weights = (np.atleast_1d(_or_empty(facts.numbers(name))) for name in ("ypix", "xpix", "lam"))
    if y.dtype.kind not in "iu" or x.dtype.kind not in "iu" or weights.dtype.kind != "f":
        raise UnreadableFile(f"ROI {number} has pixels that are not counted in whole numbers.", path)
    if not y.shape == x.shape == weights.shape or y.ndim != 1 or y.size == 0:
        raise UnreadableFile(f"ROI {number} has {y.size} rows, {x.size} columns, {weights.size} weights.", path)
    if min(y.min(), x.min()) < 0 or y.max() >= shape[0] or x.max() >= shape[1]:
        raise UnreadableFile(f"ROI {number} has pixels outside the field of {shape[0]} x {shape[1]} px.", path)
    overlap = np.asarray(facts.numbers("overlap") if "overlap" in facts else np.zeros(y.size), dtype=bool)
    center = np.asarray(facts.numbers("med") if "med" in facts else (np.median(y), np.median(x)), dtype=float)
    if overlap.shape != y.shape or center.shape != (2,):
        raise UnreadableFile(f"ROI {number} has {y.size} pixels, but its overlap or med is of others.", path)
    measures = {name: _measure(facts, name) for name in _MEASURES if name in facts}
    return Roi(y, x, _single(weights), overlap, (float(center[0]), float(center[1])), **measures)


def _measure(facts: Facts, name: str) -> float:
    """Return what Suite2p measured of a ROI; NaN, as it writes where nothing could be measured, is admitted."""
    found = facts.numbers(name)
    if found is None or found.size != 1:
        raise facts.fail(name, "is not one number")
    return float(found.item())


def _or_empty(array: np.ndarray | None) -> np.ndarray:
    return np.zeros(0) if array is None else array


def _single(array: np.ndarray) -> np.ndarray:
    """Return numbers as float32; those too large for it are infinite."""
    with np.errstate(over="ignore"):
        return array.astype(np.float32)


def _registration_of(facts: Facts, height: int, width: int, nframes: int) -> dict[str, Any]:
    """Return the shifts of frames and blocks; what was not registered did not move."""
    plane = facts.path
    path = plane / ("reg_outputs.npy" if (plane / "reg_outputs.npy").exists() else "ops.npy")

    def of_frames(name: str, missing: float, dtype: type) -> np.ndarray:
        values = facts.numbers(name)
        if values is None:
            return np.full(nframes, missing, dtype)
        with np.errstate(over="ignore", invalid="ignore"):
            return _shaped(path, values, (nframes,)).astype(dtype)

    blocks = _blocks_of(facts, height, width) if "yoff1" in facts else ()
    nothing = np.zeros((nframes, 0))
    of_blocks = {name: _or_empty(facts.numbers(name)) if blocks else nothing for name in ("yoff1", "xoff1")}
    return {
        "yoff": of_frames("yoff", 0, np.int32),
        "xoff": of_frames("xoff", 0, np.int32),
        "corrXY": of_frames("corrXY", np.nan, np.float32),
        "badframes": of_frames("badframes", 0, bool),
        "blocks": blocks,
        "yoff1": _shaped(path, of_blocks["yoff1"], (nframes, len(blocks))),
        "xoff1": _shaped(path, of_blocks["xoff1"], (nframes, len(blocks))),
        "yrange": _range(facts, "yrange", height),
        "xrange": _range(facts, "xrange", width),
    }


def _blocks_of(facts: Facts, height: int, width: int) -> tuple[Block, ...]:
    """Take the blocks from where Suite2p wrote them before 0.11, else compute them from their size."""
    y, x = facts.numbers("yblock"), facts.numbers("xblock")
    if y is not None and x is not None:
        if y.ndim != 2 or y.shape != x.shape or y.shape[1] != 2 or y.dtype.kind not in "iu":
            raise facts.fail("yblock and xblock", f"are of {y.shape} and {x.shape}, and not edges of blocks")
        return tuple(((row[0], row[1]), (column[0], column[1])) for row, column in zip(y.tolist(), x.tolist()))
    size = (facts.group("registration") or facts).numbers("block_size")
    if size is None or size.shape != (2,) or not (size >= 1).all():
        raise facts.fail("block_size", "is missing, or not a height and a width")
    if math.prod(1.5 * length / block + 1 for length, block in zip((height, width), size.tolist())) > _MOST_BLOCKS:
        raise facts.fail("block_size", f"of {size.tolist()} px makes too many blocks of {height} x {width} px")
    return lay_blocks(height, width, (int(size[0]), int(size[1])))


def _range(facts: Facts, name: str, length: int) -> tuple[int, int]:
    """Return the part of an axis that stayed in view; all of it where nothing says so."""
    found = facts.numbers(name)
    if found is None:
        return 0, length
    if found.shape != (2,) or not 0 <= found[0] <= found[1] <= length:
        raise facts.fail(name, f"is {found.tolist() if found.size < 9 else found.shape}, no part of {length} px")
    return int(found[0]), int(found[1])


def _images_of(facts: Facts, height: int, width: int) -> dict[str, Any]:
    names = {
        "ref_image": "refImg",
        "average_image": "meanImg",
        "enhanced_image": "meanImgE",
        "correlation_image": "Vcorr",
        "max_proj_image": "max_proj",
    }
    absent = ("Vcorr", "max_proj") if facts.flag(NO_IMAGES) else ()
    return {ours: _image(facts, "" if theirs in absent else theirs, height, width) for ours, theirs in names.items()}


def _image(facts: Facts, name: str, height: int, width: int) -> np.ndarray:
    """Return a picture in the full field; one that Suite2p cropped is set back where it was cut out."""
    picture = _single(_or_empty(facts.numbers(name)))
    if picture.shape == (height, width):
        return picture
    full = np.full((height, width), np.nan, dtype=np.float32)
    if picture.size == 0:
        return full
    rows, columns = slice(*_range(facts, "yrange", height)), slice(*_range(facts, "xrange", width))
    if full[rows, columns].shape != picture.shape:
        reason = f"{name} of {picture.shape} px fits neither the field nor its unmoved part."
        raise UnreadableFile(reason, facts.path)
    full[rows, columns] = picture
    return full


def _aligned_by_other(facts: Facts) -> bool:
    """Tell whether the structural channel was registered, and the functional one moved along."""
    if facts.whole("nchannels", 1) < 2:
        return False
    group = facts.group("registration")
    if group is not None:
        return group.flag("align_by_chan2")
    return (facts.whole("align_by_chan", 1) or 1) != (facts.whole("functional_chan", 1) or 1)


def _settings_of(facts: Facts) -> dict[str, Any]:
    """Return the settings as plain values: the groups of 1.x, or the known names of 0.14."""
    return facts.plain((*_TOP, *_GROUPS) if facts.group("registration") else ("fs", *FLAT_0_14))


def _version_of(facts: Facts) -> str | None:
    version = facts.value("version" if "version" in facts else "suite2p_version")
    return version if isinstance(version, str) and version else None


def _time_of(facts: Facts, plane: Path) -> datetime:
    """Return when the run began or ended; where it is told without its zone, or not at all, when the traces were saved.

    1.x tells it in `ops.npy` alone.
    """
    said = facts.value("date_proc")
    if said is None and (plane / "ops.npy").exists():
        content = read_object(plane / "ops.npy")
        said = content.get("date_proc") if isinstance(content, dict) else None
    if isinstance(said, datetime) and said.tzinfo is not None:
        with suppress(OverflowError):  # an hour from the calendar's ends
            return said.astimezone(UTC).replace(tzinfo=None)
    return datetime.fromtimestamp((plane / "F.npy").stat().st_mtime, UTC).replace(tzinfo=None)


def _read_manifest(folder: Path) -> dict[str, Any]:
    """Read what adamacs' own engine wrote beside the planes, where it made them."""
    path = folder / MANIFEST
    if not path.exists():
        return {}
    try:
        content = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UnreadableFile(f"Is no JSON ({error}).", path) from error
    return content if isinstance(content, dict) else {}
