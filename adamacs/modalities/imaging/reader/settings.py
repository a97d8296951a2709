"""What a ScanImage header says, in one vocabulary for all versions.

Three dialects: one flat list `state.*` (ScanImage 3), one flat list `scanimage.SI4.*` or `SI5.*` (4 and 5.0), and
components `SI.h*` (5.1 to 2023, as text or as JSON). Frame counts are those of the scanner, before frames are
averaged into pages; infinity stands for `until stopped`.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from adamacs.core.errors import UnreadableFile
from adamacs.modalities.imaging.reader import tiff
from adamacs.modalities.imaging.reader.matlab import Header, Value, numbers, read_header

NEWEST = 2023  # the last version whose headers these rules were checked against
_NO_SCANIMAGE = "Is it a recording as ScanImage saved it? Programs that save it again drop the header."
_EDITED = "Was the header edited, or the file put together from several?"


@dataclass(frozen=True)
class Stack:
    """How depths and frames follow each other.

    Attributes
    ----------
    slices
        Depths of a volume; 1 without a stack.
    repeats
        Frames at each depth before the focus moves on; without a stack, all frames.
    flyback
        Frames behind each volume while the focus flies back. They are saved like any other.
    volumes
        Requested.
    slow
        The stage steps from depth to depth.
    zs
        µm, of every depth; empty where the header does not tell.
    """

    slices: int = 1
    repeats: float = math.inf
    flyback: int = 0
    volumes: float = 1
    slow: bool = False
    zs: tuple[float, ...] = ()

    @property
    def is_plane(self) -> bool:
        """One depth, frame after frame."""
        return self.slices == 1 and self.flyback == 0

    @property
    def requested(self) -> float:
        """Frames of the whole acquisition."""
        return (self.slices * self.repeats + self.flyback) * self.volumes


@dataclass(frozen=True)
class Settings:
    """How the microscope was set; units and names as in `ScanImageScan`, lengths of time in s."""

    version: str
    channels: tuple[int, ...]
    frame_rate: float
    volume_rate: float | None
    stack: Stack
    averaging: int
    per_file: float
    triggered: bool  # triggers from outside may end a file or the acquisition
    bidirectional: bool | None
    resonant: bool
    line_period: float | None
    fill_fraction: float | None
    spatial_fill_fraction: float | None
    fly_to: float | None
    position: tuple[float | None, float | None, float | None]
    zoom: float | None
    powers: tuple[float, ...]
    fov: tuple[float, float, float, float] | None  # µm: height, width, and the middle's y and x
    micrometres_per_degree: float | None
    start: datetime | None
    user_function: str | None
    mroi: bool
    warnings: tuple[str, ...] = ()


def read_settings(texts: tiff.PageText, path: Path) -> Settings:
    """Read the settings from the texts of a file's first page.

    Raises
    ------
    UnreadableFile
        ScanImage did not write the file, or a setting that cannot be missed is missing or no number.
    """
    page = read_header(texts.description)
    software = read_header(texts.software)
    for modern in (software.below("SI."), page.below("scanimage.SI."), page.below("SI.")):
        if modern:
            return _modern(_Reader(modern, path, "SI."), page)
    for generation in ("4", "5"):
        if flat := page.below(f"scanimage.SI{generation}."):
            return _flat(_Reader(flat, path, f"scanimage.SI{generation}."))
    if state := page.below("state."):
        return _state(_Reader(state, path, "state."))
    raise UnreadableFile("This TIFF carries no header of ScanImage.", path, _NO_SCANIMAGE)


class _Reader:
    """A header that is asked for numbers and flags, and that names the field when it cannot give them."""

    def __init__(self, header: Header, path: Path, prefix: str) -> None:
        self.header, self.path, self.prefix = header, path, prefix

    def fail(self, name: str, what: str) -> UnreadableFile:
        return UnreadableFile(f"Its header's {self.prefix}{name} {what}.", self.path, _EDITED)

    def value(self, *names: str) -> Value:
        """Return the first setting that the header has; None where it has none of them."""
        return next((self.header[name] for name in names if name in self.header), None)

    def numbers(self, *names: str) -> tuple[float, ...]:
        return tuple(number for number in numbers(self.value(*names)) if not math.isnan(number))

    def number(self, *names: str) -> float | None:
        """Return a finite number, or None where the header has none."""
        found = self.numbers(*names)
        return found[0] if len(found) == 1 and math.isfinite(found[0]) else None

    def positive(self, *names: str) -> float | None:
        number = self.number(*names)
        return number if number is not None and number > 0 else None

    def count(self, *names: str, default: float) -> float:
        """Return a whole number, or infinity; the default where the header has no such setting, or leaves it empty."""
        value = self.value(*names)
        if value is None or value == ():
            return default
        found = numbers(value)
        if len(found) != 1 or not (found[0] == math.inf or (0 <= found[0] < 2**53 and found[0] == int(found[0]))):
            raise self.fail(next(name for name in names if name in self.header), f"is {value!r}, not a count")
        return found[0]

    def whole(self, *names: str, default: int) -> int:
        """Return a finite count; infinity counts as the default."""
        count = self.count(*names, default=default)
        return int(count) if math.isfinite(count) else default

    def flag(self, name: str) -> bool | None:
        found = numbers(self.value(name))
        return bool(found[0]) if len(found) == 1 else None

    def text(self, *names: str) -> str:
        value = self.value(*names)
        return str(value) if isinstance(value, str | int | float) else ""

    def channels(self, name: str) -> tuple[int, ...]:
        found = self.numbers(name)
        if not found or any(channel != int(channel) for channel in found if math.isfinite(channel)):
            raise self.fail(name, "names no channel" if name in self.header else "is missing")
        if not all(0 < channel <= 64 for channel in found):
            raise self.fail(name, f"names the channels {found}")
        return tuple(int(channel) for channel in found)

    def rate(self, rate: str, period: str) -> float:
        """Return Hz, from a rate or a period."""
        seconds = self.positive(period)
        found = self.positive(rate) or (1 / seconds if seconds else None)
        if found is None or not math.isfinite(found):
            raise self.fail(rate, "is missing or no rate")
        return found

    def position(self, *names: str) -> tuple[float | None, float | None, float | None]:
        found = [number if math.isfinite(number) else None for number in numbers(self.value(*names))]
        x, y, z, *_ = [*found, None, None, None]
        return x, y, z


# --- ScanImage 5.1 to 2023 ---------------------------------------------------------------------------------------


def _modern(header: _Reader, page: Header) -> Settings:
    version = header.text("VERSION_MAJOR") or "unknown"
    year = int(version[:4]) if re.match(r"20\d\d", version) else 0
    newer = f"ScanImage {version} is newer than {NEWEST}, the last version whose headers were checked."
    return Settings(
        version=version,
        channels=header.channels("hChannels.channelSave"),
        frame_rate=header.rate("hRoiManager.scanFrameRate", "hRoiManager.scanFramePeriod"),
        volume_rate=header.positive("hRoiManager.scanVolumeRate"),
        stack=_stack(header) if header.flag("hStackManager.enable") is not None else _older_stack(header),
        averaging=max(header.whole("hScan2D.logAverageFactor", default=1), 1),
        per_file=header.count("hScan2D.logFramesPerFile", default=math.inf),
        triggered=_is_triggered(header),
        bidirectional=header.flag("hScan2D.bidirectional"),
        resonant=header.text("hScan2D.scanMode", "hScan2D.scannerType").lower() in ("resonant", "rgg"),
        line_period=_line_period(header),
        fill_fraction=header.positive("hScan2D.fillFractionTemporal"),
        spatial_fill_fraction=header.positive("hScan2D.fillFractionSpatial"),
        fly_to=header.number("hScan2D.flytoTimePerScanfield"),
        position=header.position("hMotors.axesPosition", "hMotors.samplePosition", "hMotors.motorPosition"),
        zoom=header.positive("hRoiManager.scanZoomFactor"),
        powers=header.numbers("hBeams.powers"),
        fov=_field_of_view(header),
        micrometres_per_degree=header.positive("objectiveResolution"),
        start=_epoch(page.get("epoch")),
        user_function=_user_function(header),
        mroi=bool(header.flag("hRoiManager.mroiEnable")),
        warnings=(newer,) if year > NEWEST else (),
    )


def _stack(header: _Reader) -> Stack:
    """Since 2020: `enable` and `stackMode` tell, `numSlices` may be stale, and `zs` names every frame of a volume."""
    repeats = header.count("hStackManager.framesPerSlice", default=math.inf)
    zs = header.numbers("hStackManager.zs")
    if not header.flag("hStackManager.enable"):
        return Stack(repeats=repeats, zs=zs[:1])
    slices = max(header.whole("hStackManager.actualNumSlices", "hStackManager.numSlices", default=1), 1)
    volumes = header.count("hStackManager.numVolumes", "hFastZ.numVolumes", default=1)
    if header.text("hStackManager.stackMode").lower() == "slow" or not math.isfinite(repeats):
        return _one_depth(Stack(slices, repeats, 0, volumes, slow=slices > 1, zs=zs))
    frames = slices * int(repeats)
    total = header.whole("hStackManager.numFramesPerVolumeWithFlyback", default=0)
    flyback = total - frames if total else header.whole("hFastZ.numDiscardFlybackFrames", default=0)
    if flyback < 0:
        raise header.fail(
            "hStackManager.numFramesPerVolumeWithFlyback",
            f"is {total}, but {slices} slices of {int(repeats)} frames are {frames}",
        )
    return _one_depth(Stack(slices, repeats, flyback, volumes, zs=zs))


def _one_depth(stack: Stack) -> Stack:
    """A stack of one depth without flyback is a plane: its frames are those of all volumes."""
    if not stack.is_plane:
        return stack
    return Stack(repeats=stack.repeats * stack.volumes, zs=stack.zs[:1])


def _older_stack(header: _Reader) -> Stack:
    """Until 2019: `zs` names each depth once, and a stack is fast where fast z is on."""
    zs = header.numbers("hStackManager.zs")
    slices = max(len(zs), 1)
    repeats = header.count("hStackManager.framesPerSlice", default=math.inf)
    if not header.flag("hFastZ.enable"):
        return Stack(slices, repeats, slow=slices > 1, zs=zs)
    volumes = header.count("hFastZ.numVolumes", default=1)
    total = header.whole("hFastZ.numFramesPerVolume", default=0)  # flyback included
    flyback = total - slices if total else header.whole("hFastZ.numDiscardFlybackFrames", default=0)
    if flyback < 0:
        raise header.fail("hFastZ.numFramesPerVolume", f"is {total}, but hStackManager.zs names {slices} depths")
    return _one_depth(Stack(slices, 1, flyback, volumes, zs=zs))


def _is_triggered(header: _Reader) -> bool:
    wired = any(header.text(f"hScan2D.trig{kind}InTerm").strip() for kind in ("Next", "Stop"))
    return wired and bool(header.flag("extTrigEnable"))


def _line_period(header: _Reader) -> float | None:
    """Return s per line: half a swing of a resonant mirror, or what a galvanometer was told."""
    frequency = header.positive("hScan2D.scannerFrequency")
    if frequency is None:
        return header.positive("hRoiManager.linePeriod")
    return 1 / frequency / (2 if header.flag("hScan2D.bidirectional") else 1)


def _field_of_view(header: _Reader) -> tuple[float, float, float, float] | None:
    """Return height, width, and the middle's y and x of the whole field, µm, from its four corners."""
    corners, scale = numbers(header.value("hRoiManager.imagingFovUm")), 1.0
    if len(corners) != 8:
        corners = numbers(header.value("hRoiManager.imagingFovDeg"))
        scale = header.positive("objectiveResolution") or math.nan
    sides = [corner * scale for corner in corners]
    if len(sides) != 8 or not all(math.isfinite(side) for side in sides):
        return None
    xs, ys = sides[0::2], sides[1::2]
    return max(ys) - min(ys), max(xs) - min(xs), (max(ys) + min(ys)) / 2, (max(xs) + min(xs)) / 2


def _user_function(header: _Reader) -> str | None:
    """Return the first argument of the first user function, in which this lab names the setup."""
    arguments = header.value("hUserFunctions.userFunctionsCfg__1.Arguments")
    if isinstance(arguments, list | tuple):
        arguments = arguments[0] if arguments else None
    return str(arguments) if isinstance(arguments, str | int | float) and arguments != "" else None


def _epoch(value: Value) -> datetime | None:
    """Read `[2025 4 24 16 41 20.802]`; a clock that was never set says 1601."""
    found = numbers(value)
    if len(found) != 6 or not all(math.isfinite(number) for number in found):
        return None
    year, month, day, hour, minute = (int(number) for number in found[:5])
    return _moment(year, month, day, hour, minute, found[5])


def _moment(year: int, month: int, day: int, hour: int, minute: int, seconds: float) -> datetime | None:
    try:
        moment = datetime(year, month, day, hour, minute) + timedelta(milliseconds=round(seconds * 1000))
    except (ValueError, OverflowError):
        return None
    return moment if year > 1990 and 0 <= seconds < 61 else None


# --- ScanImage 4 and 5.0 -----------------------------------------------------------------------------------------


def _flat(header: _Reader) -> Settings:
    mode = header.text("scanMode").lower()
    return Settings(
        version=header.text("versionMajor", "VERSION_MAJOR") or header.prefix[-2],
        channels=header.channels("channelsSave"),
        frame_rate=header.rate("scanFrameRate", "scanFramePeriod"),
        volume_rate=1 / period if (period := header.positive("fastZPeriod")) else None,
        stack=_flat_stack(header),
        averaging=max(header.whole("acqNumAveragedFrames", default=1), 1),
        per_file=header.count("loggingFramesPerFile", default=math.inf),
        triggered=bool(header.flag("triggerTypeExternal")),
        bidirectional=mode == "bidirectional" if mode else header.flag("bidirectionalAcq"),
        resonant=header.prefix.endswith("SI5."),
        line_period=header.positive("scanLinePeriod"),
        fill_fraction=header.positive("fillFractionTime", "scanFillFraction"),
        spatial_fill_fraction=header.positive("fillFraction"),
        fly_to=None,
        position=header.position("motorPosition"),
        zoom=header.positive("scanZoomFactor", "zoomFactor"),
        powers=header.numbers("beamPowers"),
        fov=None,
        micrometres_per_degree=None,
        start=_clock_time(header.text("triggerClockTimeFirst"), day_first=True) or _epoch(header.value("acqStartTime")),
        user_function=None,
        mroi=False,
    )


def _flat_stack(header: _Reader) -> Stack:
    slices = max(header.whole("stackNumSlices", default=1), 1)
    if not header.flag("fastZEnable"):
        return Stack(slices, header.count("acqNumFrames", default=math.inf), slow=slices > 1)
    flyback = header.whole("fastZNumDiscardFrames", default=0)
    return _one_depth(Stack(slices, 1, flyback, header.count("fastZNumVolumes", default=1)))


# --- ScanImage 3 -------------------------------------------------------------------------------------------------


def _state(header: _Reader) -> Settings:
    milliseconds = header.positive("acq.msPerLine")
    slices = max(header.whole("acq.numberOfZSlices", default=1), 1)
    averages = bool(header.flag("acq.averaging"))
    return Settings(
        version=header.text("software.version") or "3",
        channels=_state_channels(header),
        frame_rate=header.rate("acq.frameRate", "acq.framePeriod"),
        volume_rate=None,
        stack=Stack(slices, header.count("acq.numberOfFrames", default=math.inf), slow=slices > 1),
        averaging=max(header.whole("acq.numAvgFramesSave", "acq.numberOfFrames", default=1), 1) if averages else 1,
        per_file=header.count("acq.framesPerFile", default=math.inf),
        triggered=bool(header.flag("acq.externallyTriggered")),
        bidirectional=header.flag("acq.bidirectionalScan"),
        resonant=False,
        line_period=milliseconds / 1e3 if milliseconds else None,
        fill_fraction=header.positive("acq.fillFraction"),
        spatial_fill_fraction=None,
        fly_to=None,
        position=(
            header.number("motor.absXPosition"),
            header.number("motor.absYPosition"),
            header.number("motor.absZPosition"),
        ),
        zoom=header.positive("acq.zoomFactor"),
        powers=header.numbers("init.eom.maxPower"),
        fov=None,
        micrometres_per_degree=None,
        start=_clock_time(header.text("internal.triggerTimeString"), day_first=False),
        user_function=None,
        mroi=False,
    )


def _state_channels(header: _Reader) -> tuple[int, ...]:
    saved = tuple(channel for channel in range(1, 5) if header.flag(f"acq.savingChannel{channel}"))
    count = header.whole("acq.numberOfChannelsSave", default=len(saved))
    if saved and len(saved) != count:
        raise header.fail("acq.numberOfChannelsSave", f"is {count}, but the channels {saved} were saved")
    if not 0 < count <= 64:
        raise header.fail("acq.numberOfChannelsSave", f"is {count}")
    return saved or tuple(range(1, count + 1))


def _clock_time(text: str, *, day_first: bool) -> datetime | None:
    """Read `18-05-2015 11:58:43.788`, or with the month first `10/9/2017 16:57:07.967`."""
    found = re.fullmatch(r"\s*(\d{1,2})[-/](\d{1,2})[-/](\d{4}) (\d{1,2}):(\d{1,2}):(\d{1,2}(?:\.\d{1,9})?)\s*", text)
    if not found:
        return None
    one, two, year, hour, minute = (int(found[group]) for group in range(1, 6))
    day, month = (one, two) if day_first else (two, one)
    return _moment(year, month, day, hour, minute, float(found[6]))
