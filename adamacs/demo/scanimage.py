"""Writer of ScanImage TIFFs, as ScanImage 3.8 to 2023 lay them out.

Newer files are BigTIFFs with ScanImage's own block between the TIFF header and the first directory: a magic
number, the settings of the microscope as MATLAB assignments, and the imaging regions as JSON. The tags Software
and Artist of every page point into that block; ImageDescription holds what changes from page to page. Until 2015
every page carried all settings in its ImageDescription, and the file was a classic TIFF.

Pages are written channels fastest, then repeated frames of a slice, then slices (flyback frames behind the last
of a volume), then volumes.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from io import BufferedWriter
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

_MAGIC = 0x07030301
_SPARE = 256  # bytes kept free behind a page's text, so that pages lie at equal distances though texts grow
_OBJECTIVE_RESOLUTION = 15.0  # µm of tissue per degree of the scan
_FLYBACK_LINES = 16  # lines lost between two frames

_ASCII, _SHORT, _LONG, _RATIONAL, _LONG8 = 2, 3, 4, 5, 16


@dataclass(frozen=True)
class Region:
    """One imaging region of a multi-ROI scan: where it lies (degrees), its size (degrees) and its pixels (x, y)."""

    centre: tuple[float, float]
    size: tuple[float, float]
    pixels: tuple[int, int]
    zs: tuple[float, ...] = (0.0,)
    discrete: bool = False  # imaged at `zs` only, not at every depth of the stack


@dataclass(frozen=True)
class Microscope:
    """How the microscope was set for one acquisition.

    Attributes
    ----------
    version
        `3.8`, `4.2`, `5.0`, `5.1`, or a year such as `2016b` and `2021`.
    lines, pixels
        Of a frame.
    frame_rate
        Hz, of single frames: a volume takes as many of them as it has slices and flyback frames.
    channels
        Saved channels, counted from 1.
    zs
        Depths in µm, in the order of their recording; one depth is no stack.
    slow
        The stage steps from depth to depth, `frames_per_slice` frames at each.
    flyback
        Frames lost behind every volume of a fast stack.
    frames_per_slice, volumes
        As requested. Without a stack, `frames_per_slice` is the number of frames.
    frames_per_file
        After how many frames ScanImage starts the next file.
    averaging
        Frames averaged into one page.
    fov
        Height and width of the field, µm.
    powers, zoom, position
        Per beam (%), and the stage's x, y, z (µm).
    setup
        First argument of the first user function; None where no user function is set.
    start
        Local time of the trigger.
    regions
        Imaging regions, for a multi-ROI scan.
    json
        Tell settings and pages as JSON, as ScanImage 2018 and later can be asked to.
    """

    version: str = "2021"
    lines: int = 64
    pixels: int = 64
    frame_rate: float = 30.0
    channels: tuple[int, ...] = (1,)
    zs: tuple[float, ...] = (0.0,)
    slow: bool = False
    flyback: int = 0
    frames_per_slice: float = 1
    volumes: float = 1
    frames_per_file: float = math.inf
    averaging: int = 1
    fov: tuple[float, float] = (240.0, 240.0)
    powers: tuple[float, ...] = (25.0,)
    zoom: float = 2.0
    position: tuple[float, float, float] = (0.0, 0.0, 0.0)
    setup: str | None = "bench2p"
    start: datetime = datetime(2026, 2, 10, 9, 30)
    regions: tuple[Region, ...] = ()
    json: bool = False

    @property
    def year(self) -> int:
        """The version's year; 0 for those that were numbered."""
        return int(self.version[:4]) if self.version.startswith("20") else 0

    @property
    def is_stack(self) -> bool:
        """More than one depth."""
        return len(self.zs) > 1

    @property
    def is_fast(self) -> bool:
        """The depths of a volume follow each other frame by frame."""
        return self.is_stack and not self.slow

    @property
    def frames_per_volume(self) -> float:
        """Frames of a volume without its flyback."""
        return len(self.zs) * self.frames_per_slice if self.is_stack else 1

    @property
    def volume_rate(self) -> float:
        """Hz."""
        return self.frame_rate / (self.frames_per_volume + self.flyback) if self.is_fast else self.frame_rate

    @property
    def line_period(self) -> float:
        """Seconds per line."""
        return 1 / (self.frame_rate * (self.lines + _FLYBACK_LINES))


Page = tuple[NDArray[np.int16] | None, str]  # pixels (None: leave a hole of that size) and the page's text


def write(
    folder: Path, stem: str, microscope: Microscope, images: Iterable[NDArray[np.int16]], *, ended: bool = True
) -> tuple[Path, ...]:
    """Write one acquisition the way ScanImage names and splits it.

    Parameters
    ----------
    folder, stem
        Where, and the name before the counters: `stem_00001.tif`, or `stem_00001_00001.tif` where the acquisition
        is split after `frames_per_file` frames.
    microscope
        The settings that the header tells.
    images
        Pages, int16 (y, x), in the order of their recording.
    ended
        Mark the last page as the end of the acquisition, as ScanImage does when it was not aborted.

    Returns
    -------
    The files, in order.
    """
    folder.mkdir(parents=True, exist_ok=True)
    following = iter(images)
    split = math.isfinite(microscope.frames_per_file)
    size = int(microscope.frames_per_file) * len(microscope.channels) if split else None
    paths: list[Path] = []
    written = 0
    pages = list(islice(following, size))
    while pages:
        after = list(islice(following, size))
        counter = f"_{len(paths) + 1:05d}" if split else ""
        paths.append(folder / f"{stem}_00001{counter}.tif")
        last = written + len(pages) - 1 if ended and not after else None
        write_file(paths[-1], microscope, described(microscope, pages, first=written, last=last))
        written, pages = written + len(pages), after
    return tuple(paths)


def write_file(path: Path, microscope: Microscope, pages: Iterable[Page], *, big: bool = True, order: str = "<") -> int:
    """Write one file of an acquisition, classic or BigTIFF, little (`<`) or big (`>`) endian; return its bytes."""
    header = header_text(microscope)
    with path.open("wb") as file:
        tiff = _Tiff(file, microscope.lines, microscope.pixels, big, order)
        if in_description(microscope.version):
            tiff.begin(b"", b"")
            return tiff.pages((image, f"{text}{header}") for image, text in pages)
        tiff.begin(header.encode(), regions_text(microscope).encode())
        return tiff.pages(pages)


def described(
    microscope: Microscope, images: Sequence[NDArray[np.int16] | None], *, first: int = 0, last: int | None = None
) -> Iterator[Page]:
    """Give every page its text: `first` is the place of the first image in the acquisition, `last` where it ends."""
    for page, image in enumerate(images, start=first):
        yield image, page_text(microscope, page, ends=page == last)


def in_description(version: str) -> bool:
    """Until 2015 every page's ImageDescription held all settings."""
    return version in ("3.8", "4.2", "5.0", "5.1")


def page_text(microscope: Microscope, page: int, *, ends: bool = False) -> str:
    """Return what ScanImage writes about one page, `page` counted over all files of the acquisition."""
    frame = (page // len(microscope.channels) + 1) * microscope.averaging
    time = (frame - 1) / microscope.frame_rate
    if microscope.version == "3.8":
        return ""
    if microscope.version in ("4.2", "5.0"):
        return f"Frame Number = {frame}\nFrame Timestamp(s) = {time:.9f}\nDC Overvoltage = 0\n"
    at = microscope.start
    second = at.second + at.microsecond / 1e6
    lines = {
        "frameNumbers": frame,
        "acquisitionNumbers": 1,
        "frameNumberAcquisition": frame,
        "frameTimestamps_sec": f"{time:.9f}",
        "acqTriggerTimestamps_sec": "-0.000083000" if page == 0 else "-1.000000000",
        "nextFileMarkerTimestamps_sec": "-1.000000000",
        "endOfAcquisition": int(ends),
        "endOfAcquisitionMode": int(ends),
        "dcOverVoltage": 0,
        "epoch": f"[{at.year} {at.month:2d} {at.day:2d} {at.hour:2d} {at.minute:2d} {second:.3f}]",
        **{f"auxTrigger{line}": "[]" for line in range(4)},
        "I2CData": "{}",
    }
    if microscope.json:
        values = ", ".join(f'"{key}": {_as_json(str(value))}' for key, value in lines.items())
        return f"{{{values}}}"
    return "".join(f"{key} = {value}\n" for key, value in lines.items())


def header_text(microscope: Microscope) -> str:
    """Return the settings as ScanImage of that version writes them."""
    if microscope.version == "3.8":
        return "".join(f"{key}={value}\r" for key, value in _assignments(_settings_3(microscope), "state."))
    if microscope.version in ("4.2", "5.0"):
        prefix = f"scanimage.SI{microscope.version[0]}."
        return "".join(f"{key} = {value}\n" for key, value in _assignments(_settings_4(microscope), prefix))
    if microscope.json:
        return json.dumps({"SI": _nested(_settings(microscope))})
    prefix = "scanimage.SI." if microscope.version == "5.1" else "SI."
    return "".join(f"{key} = {value}\n" for key, value in _assignments(_settings(microscope), prefix))


def regions_text(microscope: Microscope) -> str:
    """Return the imaging regions as JSON; without multi-ROI there is one, the whole field."""
    degrees = tuple(size / _OBJECTIVE_RESOLUTION for size in reversed(microscope.fov))
    whole = Region((0.0, 0.0), (degrees[0], degrees[1]), (microscope.pixels, microscope.lines))
    rois = [_roi(number, region) for number, region in enumerate(microscope.regions or (whole,), start=1)]
    group = {
        "ver": 1,
        "classname": "scanimage.mroi.RoiGroup",
        "name": "Default Imaging ROI Group",
        "UserData": None,
        "rois": rois if len(rois) > 1 else rois[0],  # ScanImage writes a single one bare
    }
    groups = {"imagingRoiGroup": group, "photostimRoiGroups": None, "integrationRoiGroup": None}
    return json.dumps({"RoiGroups": groups}, indent=2)


def matlab(value: Any) -> str:
    """Write a value as MATLAB writes a literal: tuples are matrices (of rows), lists are cells."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    if isinstance(value, float):
        special = {math.inf: "Inf", -math.inf: "-Inf"}
        return "NaN" if math.isnan(value) else special.get(value) or f"{value:.6g}"
    if isinstance(value, list):
        return "{" + " ".join(matlab(item) for item in value) + "}"
    if isinstance(value, tuple):
        rows = value if value and all(isinstance(row, tuple) for row in value) else (value,)
        return "[" + ";".join(" ".join(matlab(item) for item in row) for row in rows) + "]"
    return str(value)


def region_lines(microscope: Microscope) -> list[tuple[int, int]]:
    """Return the first line of every region in a page, and the line behind its last.

    Regions stand below each other; between two the beam flies, for an even number of lines, and records nothing
    of use.
    """
    flight = 2 * math.ceil(_FLY_TO / microscope.line_period / 2)
    lines, first = [], 0
    for region in microscope.regions:
        lines.append((first, first + region.pixels[1]))
        first = lines[-1][1] + flight
    return lines


def with_regions(microscope: Microscope, *regions: Region) -> Microscope:
    """Return the microscope set to several imaging regions, its page as tall as they need."""
    several = replace(microscope, regions=regions, pixels=max(region.pixels[0] for region in regions))
    for _ in range(20):  # the page's height sets the line period, and that the lines between regions
        height = region_lines(several)[-1][1]
        if height == several.lines:
            break
        several = replace(several, lines=height)
    return several


_FLY_TO = 0.001  # s from one region to the next


def _roi(number: int, region: Region) -> dict[str, Any]:
    fields = [
        {
            "ver": 1,
            "classname": "scanimage.mroi.scanfield.fields.RotatedRectangle",
            "name": f"Scanfield {number}",
            "centerXY": list(region.centre),
            "sizeXY": list(region.size),
            "rotationDegrees": 0,
            "enable": 1,
            "pixelResolutionXY": list(region.pixels),
        }
        for _ in region.zs
    ]
    return {
        "ver": 1,
        "classname": "scanimage.mroi.Roi",
        "name": f"ROI {number}",
        "UserData": None,
        "zs": list(region.zs) if len(region.zs) > 1 else region.zs[0],
        "scanfields": fields if len(fields) > 1 else fields[0],
        "discretePlaneMode": int(region.discrete),
        "powers": None,
        "pzAdjust": [],
        "enable": 1,
    }


def _as_json(text: str) -> str:
    """Spell a value of a page's text as JSON: only the epoch is more than a number."""
    return f"[{', '.join(text[1:-1].split())}]" if text.startswith("[") else text


def _nested(settings: dict[str, Any]) -> dict[str, Any]:
    """Turn dotted names into objects within objects, and numbered ones (`name__1`) into lists of objects."""
    out: dict[str, Any] = {}
    for name, value in settings.items():
        *parents, last = name.split(".")
        place = out
        for parent in parents:
            stem, numbered, _ = parent.partition("__")
            below = place.setdefault(stem, [{}] if numbered else {})
            place = below[0] if numbered else below
        place[last] = value
    return out


def _assignments(settings: dict[str, Any], prefix: str) -> Iterator[tuple[str, str]]:
    for key, value in settings.items():
        yield f"{prefix}{key}", matlab(value)


def _single(values: tuple[Any, ...]) -> Any:
    """A vector of one is written as a scalar."""
    return values[0] if len(values) == 1 else values


def _whole(value: float) -> float | int:
    return int(value) if math.isfinite(value) else value


def _settings(m: Microscope) -> dict[str, Any]:
    """Settings of ScanImage 5.1 and later, in ScanImage's order: alphabetical by component."""
    return {
        **_version(m),
        "acqState": "grab",
        "acqsPerLoop": 1,
        "extTrigEnable": False,
        "hBeams.flybackBlanking": True,
        "hBeams.powers": _single(m.powers),
        "hBeams.totalNumBeams": len(m.powers),
        **_channel_settings(m),
        **_stack_settings(m),
        "hMotors.axesPosition" if m.year >= 2020 else "hMotors.motorPosition": m.position,
        "hPmts.gains": tuple(0.7 for _ in m.channels),
        **_roi_settings(m),
        **_scan_settings(m),
        **_user_functions(m),
        "imagingSystem": "Imaging",
        "loopAcqInterval": 10,
        "objectiveResolution": _OBJECTIVE_RESOLUTION,
    }


def _version(m: Microscope) -> dict[str, Any]:
    if m.year >= 2020:
        return {
            "LINE_FORMAT_VERSION": 1,
            "PREMIUM": bool(m.regions),
            "TIFF_FORMAT_VERSION": 4,
            "VERSION_MAJOR": m.year,
            "VERSION_MINOR": 0,
            "VERSION_UPDATE": 0,
        }
    older = {} if m.version == "5.1" else {"LINE_FORMAT_VERSION": 1, "TIFF_FORMAT_VERSION": 3}
    return {**older, "VERSION_MAJOR": m.version, "VERSION_MINOR": "0"}


def _channel_settings(m: Microscope) -> dict[str, Any]:
    available = max(4, *m.channels)
    return {
        "hChannels.channelAdcResolution": [16] * available,
        "hChannels.channelDisplay": _single(m.channels),
        "hChannels.channelInputRange": [(-1, 1)] * available,
        "hChannels.channelLUT": [(0, 1000)] * available,
        "hChannels.channelMergeColor": ["green", "red", "blue", "gray"][:available],
        "hChannels.channelName": [f"Channel {number}" for number in range(1, available + 1)],
        "hChannels.channelOffset": tuple([0] * available),
        "hChannels.channelSave": _single(m.channels),
        "hChannels.channelsActive": _single(m.channels),
        "hChannels.channelsAvailable": available,
        "hChannels.loggingEnable": True,
    }


def _stack_settings(m: Microscope) -> dict[str, Any]:
    repeated = m.year >= 2020  # since then `zs` names every frame of a volume
    repeats = int(m.frames_per_slice) if m.is_fast and repeated else 1
    zs = tuple(float(z) for z in m.zs for _ in range(repeats))
    step = float(m.zs[1] - m.zs[0]) if m.is_stack else 1.0
    settings = {
        "hFastZ.discardFlybackFrames": m.flyback > 0,
        "hFastZ.enable": m.is_fast,
        "hFastZ.flybackTime": m.flyback / m.frame_rate,
        "hFastZ.hasFastZ": m.is_fast,
        "hFastZ.numDiscardFlybackFrames": m.flyback,
        "hFastZ.waveformType": "sawtooth",
        "hStackManager.framesPerSlice": _whole(m.frames_per_slice),
        "hStackManager.numSlices": len(m.zs),
        "hStackManager.stackZStepSize": step,
        "hStackManager.zs": _single(zs),
    }
    if not repeated:
        older = {"hFastZ.numVolumes": _whole(m.volumes)}
        total = {"hFastZ.numFramesPerVolume": _whole(m.frames_per_volume + m.flyback)} if m.is_fast else {}
        slow = {} if m.version == "5.1" else {"hStackManager.slowStackWithFastZ": False}
        return settings | older | total | slow
    return settings | {
        "hStackManager.actualNumSlices": len(m.zs),
        "hStackManager.actualNumVolumes": _whole(m.volumes) if m.is_stack else 1,
        "hStackManager.actualStackZStepSize": step if m.is_stack else (),
        "hStackManager.enable": m.is_stack,
        "hStackManager.numFramesPerVolume": _whole(m.frames_per_volume),
        "hStackManager.numFramesPerVolumeWithFlyback": _whole(m.frames_per_volume + m.flyback),
        "hStackManager.numVolumes": _whole(m.volumes),
        "hStackManager.stackDefinition": "uniform",
        "hStackManager.stackMode": "slow" if m.slow else "fast",
    }


def _roi_settings(m: Microscope) -> dict[str, Any]:
    high, wide = (size / 2 for size in m.fov)
    corners = ((-wide, -high), (wide, -high), (wide, high), (-wide, high))
    degrees = tuple(tuple(side / _OBJECTIVE_RESOLUTION for side in corner) for corner in corners)
    field = {} if m.version == "5.1" else {"hRoiManager.imagingFovUm": () if m.regions else corners}
    return {
        "hRoiManager.imagingFovDeg": () if m.regions else degrees,
        **field,
        "hRoiManager.linePeriod": m.line_period,
        "hRoiManager.linesPerFrame": 512 if m.regions else m.lines,
        "hRoiManager.mroiEnable": bool(m.regions) if m.year >= 2020 else int(bool(m.regions)),
        "hRoiManager.pixelsPerLine": 512 if m.regions else m.pixels,
        "hRoiManager.scanFramePeriod": 1 / m.frame_rate,
        "hRoiManager.scanFrameRate": m.frame_rate,
        "hRoiManager.scanType": "frame",
        "hRoiManager.scanVolumeRate": m.volume_rate,
        "hRoiManager.scanZoomFactor": m.zoom,
    }


def _scan_settings(m: Microscope) -> dict[str, Any]:
    return {
        "hScan2D.bidirectional": True,
        "hScan2D.channelsDataType": "int16",
        "hScan2D.fillFractionSpatial": 0.9,
        "hScan2D.fillFractionTemporal": 0.712867,
        "hScan2D.flybackTimePerFrame": _FLYBACK_LINES * m.line_period,
        "hScan2D.flytoTimePerScanfield": _FLY_TO,
        "hScan2D.logAverageFactor": m.averaging,
        "hScan2D.logFramesPerFile": _whole(m.frames_per_file),
        "hScan2D.pixelBinFactor": 1,
        "hScan2D.sampleRate": 1.25e8,
        "hScan2D.scanMode": "resonant",
        "hScan2D.scannerFrequency": 1 / (2 * m.line_period),
        "hScan2D.scannerType": "RGG",
        "hScan2D.trigAcqInTerm": "",
        "hScan2D.trigNextInTerm": "",
        "hScan2D.trigStopInTerm": "",
        "hScan2D.uniformSampling": False,
    }


def _user_functions(m: Microscope) -> dict[str, Any]:
    if m.setup is None:
        return {"hUserFunctions.userFunctionsCfg": (), "hUserFunctions.userFunctionsUsr": ()}
    return {
        "hUserFunctions.userFunctionsCfg__1.EventName": "acqModeStart",
        "hUserFunctions.userFunctionsCfg__1.UserFcnName": "setup_type",
        "hUserFunctions.userFunctionsCfg__1.Arguments": [m.setup],
        "hUserFunctions.userFunctionsCfg__1.Enable": 1,
        "hUserFunctions.userFunctionsUsr": (),
    }


def _settings_4(m: Microscope) -> dict[str, Any]:
    """Settings of ScanImage 4 and 5.0: one flat list."""
    four = m.version.startswith("4")
    size = {"scanLinesPerFrame": m.lines, "scanPixelsPerLine": m.pixels} if four else {}
    version = {"versionMajor": 4.2} if four else {"VERSION_MAJOR": 5, "VERSION_MINOR": 0}
    clock = {"triggerClockTimeFirst": m.start.strftime("%d-%m-%Y %H:%M:%S.%f")[:-3]} if four else {}
    return {
        **version,
        "acqNumAveragedFrames": m.averaging,
        "acqNumFrames": _whole(m.frames_per_slice),
        **({} if four else {"acqStartTime": (*m.start.timetuple()[:5], float(m.start.second))}),
        "beamPowers": _single(m.powers),
        "bidirectionalAcq": True,
        "channelsSave": tuple((channel,) for channel in m.channels) if len(m.channels) > 1 else m.channels[0],
        "fastZEnable": m.is_fast,
        "fastZNumDiscardFrames": m.flyback,
        "fastZNumVolumes": _whole(m.volumes),
        "fastZPeriod": 1 / m.volume_rate if m.is_fast else (),
        "fillFractionTime": 0.712867,
        **({} if four else {"linesPerFrame": m.lines, "pixelsPerLine": m.pixels}),
        "loggingFramesPerFile": _whole(m.frames_per_file),
        "motorPosition": m.position,
        **size,
        "scanFramePeriod": 1 / m.frame_rate,
        "scanFrameRate": m.frame_rate,
        "scanLinePeriod": m.line_period,
        "scanMode": "bidirectional",
        "scanZoomFactor" if four else "zoomFactor": m.zoom,
        "stackNumSlices": len(m.zs),
        "stackZStepSize": float(m.zs[1] - m.zs[0]) if m.is_stack else 1.0,
        **clock,
    }


def _settings_3(m: Microscope) -> dict[str, Any]:
    """Settings of ScanImage 3.8, which knows slow stacks only."""
    month, day = m.start.month, m.start.day
    started = f"{month}/{day}/{m.start.year} {m.start.strftime('%H:%M:%S.%f')[:-3]}"
    return {
        "configName": "demo",
        "software.version": 3.8,
        "software.minorRev": 0,
        "acq.numberOfZSlices": len(m.zs),
        "acq.zStepSize": float(m.zs[1] - m.zs[0]) if m.is_stack else 1.0,
        "acq.numAvgFramesSave": m.averaging,
        "acq.averaging": int(m.averaging > 1),
        "acq.numberOfFrames": _whole(m.frames_per_slice),
        "acq.linesPerFrame": m.lines,
        "acq.pixelsPerLine": m.pixels,
        "acq.frameRate": m.frame_rate,
        "acq.zoomFactor": m.zoom,
        "acq.msPerLine": 1e3 * m.line_period,
        "acq.fillFraction": 0.8192,
        "acq.bidirectionalScan": 1,
        **{f"acq.savingChannel{channel}": int(channel in m.channels) for channel in range(1, 5)},
        "acq.numberOfChannelsSave": len(m.channels),
        "acq.framesPerFile": _whole(m.frames_per_file),
        "init.eom.maxPower": _single(m.powers),
        "motor.absXPosition": m.position[0],
        "motor.absYPosition": m.position[1],
        "motor.absZPosition": m.position[2],
        "internal.triggerTimeString": started,
    }


class _Tiff:
    """One TIFF being written: the shared block, then per page its directory, its text and its pixels."""

    def __init__(self, file: BufferedWriter, lines: int, pixels: int, big: bool, order: str) -> None:
        self.file, self.big, self.order = file, big, order
        self.lines, self.columns = lines, pixels
        self._tags: list[tuple[int, int, int, int]] = []  # of the shared block: code, type, count, where
        self._at = self._room = 0

    def begin(self, software: bytes, artist: bytes) -> None:
        """Write the TIFF header and, where there are settings to share, ScanImage's block behind it."""
        head = 16 if self.big else 8
        texts = [text + b"\0" for text in (software, artist) if text]
        block = struct.pack("<IIII", _MAGIC, 4, *(len(text) for text in texts)) if self.big and texts else b""
        block += b"".join(texts)
        self._at = head + len(block) + (-(head + len(block)) % 8)
        where = head + len(block) - sum(len(text) for text in texts)
        for code, text in zip((305, 315), texts):
            self._tags.append((code, _ASCII, len(text), where))
            where += len(text)
        mark = b"II" if self.order == "<" else b"MM"
        first = ("HHHQ", 43, 8, 0, self._at) if self.big else ("HI", 42, self._at)
        self.file.write((mark + struct.pack(self.order + first[0], *first[1:]) + block).ljust(self._at, b"\0"))

    def pages(self, pages: Iterable[Page]) -> int:
        """Write all pages; return the file's size."""
        following = iter(pages)
        page = next(following, None)
        while page is not None:
            after = next(following, None)
            self._page(page[0], page[1].encode() + b"\0", last=after is None)
            page = after
        if not self.big:
            self._at += 8  # tifffile overlooks the last page of an old file that ends with its last pixel
        self.file.truncate(self._at)
        return self._at

    def _page(self, image: NDArray[np.int16] | None, text: bytes, *, last: bool) -> None:
        if len(text) > self._room:
            self._room = len(text) + _SPARE + (-len(text) % 8)
        entries = self._entries(len(text))
        size = 8 + 20 * len(entries) + 8 if self.big else 2 + 12 * len(entries) + 4
        resolution = self._at + size  # two fractions of a classic TIFF do not fit into its directory
        described = resolution + (0 if self.big else 16)
        data = described + self._room
        behind = data + 2 * self.lines * self.columns
        where = {270: described, 273: data, 282: resolution, 283: resolution + 8}
        self.file.seek(self._at)
        self.file.write(self._directory(entries, where, 0 if last else behind + behind % 2))
        self.file.seek(described)
        self.file.write(text)
        if image is not None:
            self.file.seek(data)
            self.file.write(np.ascontiguousarray(image, self.order + "i2").tobytes())
        self._at = behind + (0 if last else behind % 2)

    def _entries(self, text: int) -> list[tuple[int, int, int, int]]:
        """Return the directory of a page: code, type, count and value; where values lie is filled in later."""
        offset = _LONG8 if self.big else _LONG
        entries = [
            (256, _LONG, 1, self.columns),
            (257, _LONG, 1, self.lines),
            (258, _SHORT, 1, 16),
            (259, _SHORT, 1, 1),
            (262, _SHORT, 1, 1),
            (270, _ASCII, text, 0),
            (273, offset, 1, 0),
            (274, _SHORT, 1, 1),
            (277, _SHORT, 1, 1),
            (278, _LONG, 1, self.lines),
            (279, offset, 1, 2 * self.lines * self.columns),
            (282, _RATIONAL, 1, 0),
            (283, _RATIONAL, 1, 0),
            (284, _SHORT, 1, 1),
            (296, _SHORT, 1, 3),
            (339, _SHORT, 1, 2),
            *self._tags,
        ]
        return sorted(entries)

    def _directory(self, entries: list[tuple[int, int, int, int]], where: dict[int, int], following: int) -> bytes:
        count, entry, value = ("Q", "HHQ", 8) if self.big else ("H", "HHI", 4)
        forms = {_SHORT: "H", _LONG: "I", _LONG8: "Q", _ASCII: "Q" if self.big else "I", _RATIONAL: "II"}
        fraction = struct.pack(self.order + "II", 10_000, 1)
        out = struct.pack(self.order + count, len(entries))
        for code, kind, number, content in entries:
            out += struct.pack(self.order + entry, code, kind, number)
            if kind == _RATIONAL and self.big:
                out += fraction
            elif kind == _RATIONAL:
                out += struct.pack(self.order + "I", where[code])
            else:
                out += struct.pack(self.order + forms[kind], where.get(code, content)).ljust(value, b"\0")
        out += struct.pack(self.order + ("Q" if self.big else "I"), following)
        return out + (b"" if self.big else 2 * fraction)
