"""Read what a ScanImage acquisition is, from ScanImage 3.8 to 2023, without evaluating its header or reading pixels.

The header tells how the microscope was set, the pages what was recorded. An acquisition that was stopped early
holds fewer pages than its header asks for: that is normal, and a warning. What nothing but damage explains is
refused, naming the file and the field: more pages than asked for, fewer although the last page is marked as the
regular end, a file in the middle that is not full, numbers of frames that skip, pages that no number of channels
divides, averages that mix depths.

Order of the pages over all files of an acquisition: channels fastest; then frames repeated at one depth; then
depths, with the flyback frames of a fast stack behind the last; then volumes. A slow stack, where the stage steps
from depth to depth, differs only in how many frames it repeats at each.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from adamacs.core.errors import UnreadableFile
from adamacs.modalities.imaging.reader import tiff
from adamacs.modalities.imaging.reader.matlab import numbers, read_header
from adamacs.modalities.imaging.reader.regions import Strip, read_regions, strips
from adamacs.modalities.imaging.reader.settings import Settings, Stack, read_settings

_COPY = "Was the folder copied whole, and is every file of this one acquisition?"


@dataclass(frozen=True)
class ScanFile:
    """One file of an acquisition: where it lies, how many pages it holds, how many bytes."""

    path: Path
    pages: int
    size: int


@dataclass(frozen=True)
class Field:
    """One imaged rectangle at one depth.

    Attributes
    ----------
    field_idx
        Counted from 0, depth by depth, within a depth in the order of the imaging regions.
    px_height, px_width
        Its pixels.
    um_height, um_width
        Its size in µm; None where the version does not tell.
    x, y, z
        µm: its middle and its depth in the coordinates of the stage; None where the stage was not read.
    depth
        µm of the focus, relative to the stage; None where the header does not tell.
    roi
        Index of the imaging region; 0 without multi-ROI.
    plane
        Index of its depth in the volume.
    first_line
        Its first row in the page: several regions stand below each other.
    powers
        Of each laser beam, %.
    """

    field_idx: int
    px_height: int
    px_width: int
    um_height: float | None
    um_width: float | None
    x: float | None
    y: float | None
    z: float | None
    depth: float | None
    roi: int
    plane: int
    first_line: int
    powers: tuple[float, ...]


@dataclass(frozen=True)
class ScanImageScan:
    """One acquisition, over all of its files.

    Attributes
    ----------
    files
        In the order of recording.
    version
        Of ScanImage, as its header spells it: `3.8`, `2016b`, `2021`.
    px_height, px_width, pixel
        Of a page: rows, columns, and the numpy name of a pixel's type.
    channels
        Saved channels, counted from 1.
    ndepths, nrois
        Depths of a volume, and imaging regions (1 without multi-ROI).
    nframes
        Complete time points of every plane. In a fast stack that is volumes; frames repeated at one depth within a
        volume belong to one of them.
    frames_per_slice
        Pages of one channel saved at a depth before the focus moves on; 1 without a stack.
    flyback_frames
        Pages of one channel behind each volume that show the focus flying back.
    log_averaging
        Frames that were averaged into each page.
    is_slow
        The stage stepped through the depths: the planes were recorded one after the other.
    fps
        Hz: time points of a plane per second; of a fast stack, its volume rate.
    frame_rate
        Hz: frames that the scanner drew, before any averaging.
    bidirectional, usecs_per_line, fill_fraction, spatial_fill_fraction, is_resonant
        How lines were drawn: both ways, µs per line, the parts of its time and width that were imaged, and whether
        a resonant mirror drew it. None where the header does not tell.
    x, y, z
        µm, position of the stage; None where it was not read.
    zoom, powers
        Of the scanner, and of each beam (%).
    scan_datetime
        When the acquisition was triggered, by the clock of the rig, without a time zone; None where not told.
    frames_requested
        Frames that the scanner was asked to draw, before any averaging; None where that was left open, or to triggers.
    scan_duration
        s, of the complete time points.
    userfunction_info
        First argument of the first user function: the setup's name at this lab; None where there is none.
    fields
        Every rectangle imaged in a volume.
    warnings
        Sentences about what is odd but admitted.
    """

    files: tuple[ScanFile, ...]
    version: str
    px_height: int
    px_width: int
    pixel: str
    channels: tuple[int, ...]
    ndepths: int
    nrois: int
    nframes: int
    frames_per_slice: int
    flyback_frames: int
    log_averaging: int
    is_slow: bool
    fps: float
    frame_rate: float
    bidirectional: bool | None
    usecs_per_line: float | None
    fill_fraction: float | None
    spatial_fill_fraction: float | None
    is_resonant: bool
    x: float | None
    y: float | None
    z: float | None
    zoom: float | None
    powers: tuple[float, ...]
    scan_datetime: datetime | None
    scan_duration: float
    userfunction_info: str | None
    fields: tuple[Field, ...]
    frames_requested: int | None = None
    warnings: tuple[str, ...] = ()

    @property
    def nchannels(self) -> int:
        """Saved channels."""
        return len(self.channels)

    @property
    def nfields(self) -> int:
        """Imaged rectangles of a volume."""
        return len(self.fields)

    @property
    def pages_per_file(self) -> tuple[int, ...]:
        """How many pages each file holds."""
        return tuple(file.pages for file in self.files)

    @property
    def frames_per_volume(self) -> int:
        """Pages of one channel from the start of one volume to the start of the next, flyback included."""
        return self.ndepths * self.frames_per_slice + self.flyback_frames

    @property
    def scanner_frames(self) -> int:
        """Frames that the scanner drew from one time point of a plane to the next, averaged and flyback ones included.

        So many pulses its frame clock gives meanwhile. A slow stack is drawn plane by plane.
        """
        return (1 if self.is_slow else self.frames_per_volume) * self.log_averaging

    def page(self, frame: int, plane: int = 0, channel: int = 0, *, repeat: int = 0) -> int:
        """Return the page, counted over all files, of one time point in one plane and channel.

        Parameters
        ----------
        frame
            Time point, 0 to `nframes` - 1.
        plane, channel
            Indices, from 0; the channel is one among those saved.
        repeat
            In a fast stack, which of the frames repeated at the depth.

        Raises
        ------
        IndexError
            There is no such time point, plane, channel or repeat.
        """
        repeats = 1 if self.is_slow else self.frames_per_slice
        bounds = ((frame, self.nframes), (plane, self.ndepths), (channel, self.nchannels), (repeat, repeats))
        if not all(0 <= index < bound for index, bound in bounds):
            raise IndexError(f"There is no frame {frame} ({repeat}) of plane {plane}, channel {channel}.")
        volume, repeat = divmod(frame, self.frames_per_slice) if self.is_slow else (frame, repeat)
        return (volume * self.frames_per_volume + plane * self.frames_per_slice + repeat) * self.nchannels + channel

    def locate(self, page: int) -> tuple[int, int]:
        """Return which file holds a page, and its place in that file; IndexError where there is none."""
        rest = page
        for number, file in enumerate(self.files):
            if 0 <= rest < file.pages:
                return number, rest
            rest -= file.pages
        raise IndexError(f"There is no page {page}.")


def read_scan(files: Sequence[Path]) -> ScanImageScan:
    """Tell what one acquisition is, from the headers and directories of all its files.

    Parameters
    ----------
    files
        Every file of the acquisition, in the order of recording (see `find_acquisitions`).

    Raises
    ------
    UnreadableFile
        A file is truncated, was not written by ScanImage, or contradicts its header or another file.
    """
    if not files:
        raise UnreadableFile("An acquisition has at least one file.", hint=_COPY)
    walked = [tiff.walk(Path(path)) for path in files]
    first = walked[0]
    settings = read_settings(first.first, first.path)
    for pages in walked[1:]:
        _check_same(first, settings, pages, read_settings(pages.first, pages.path))
    _check_frames(walked, settings)
    frames = sum(pages.count for pages in walked) // len(settings.channels)
    shape = _shape(settings, frames, first.path)
    warnings = (*settings.warnings, *_check_requested(settings, frames, walked[-1]), *shape.warnings)
    return _scan(walked, settings, shape, _fields(settings, shape, first), warnings)


def delay_image(scan: ScanImageScan, field: Field) -> NDArray[np.float32]:
    """Return when each pixel of a field was drawn; float32, (row, column), s since its volume began.

    Lines follow each other at equal times, every other one backwards where the scan is bidirectional. Within a line
    a resonant mirror swings as a sine, of which the middle part, `fill_fraction` of its time, is imaged in pixels of
    equal width; a galvanometer moves evenly.
    """
    line = (scan.usecs_per_line or 0.0) * 1e-6
    fill = scan.fill_fraction if scan.fill_fraction is not None else 1.0
    at = (np.arange(field.px_width) + 0.5) / field.px_width * 2 - 1  # from one edge, -1, to the other, 1
    if scan.is_resonant:
        at = np.arcsin(at * np.sin(np.pi / 2 * fill)) / (np.pi / 2 * fill)
    within = 0.5 + at * fill / 2
    rows = field.first_line + np.arange(field.px_height)[:, None]
    backwards = (rows % 2 == 1) & bool(scan.bidirectional)
    plane_begins = field.plane * scan.frames_per_slice * scan.log_averaging / scan.frame_rate
    return (plane_begins + (rows + np.where(backwards, 1 - within, within)) * line).astype(np.float32)


@dataclass(frozen=True)
class _Shape:
    """How the recorded pages fall into volumes; all counts after averaging."""

    depths: int
    repeats: int
    flyback: int
    frames: int
    fps: float
    duration: float
    slow: bool = False
    warnings: tuple[str, ...] = ()


def _shape(settings: Settings, frames: int, path: Path) -> _Shape:
    """Divide the frames of an acquisition (pages of one channel) into volumes."""
    stack, rate = settings.stack, settings.frame_rate / settings.averaging
    if stack.is_plane:
        return _Shape(1, 1, 0, frames, rate, frames / rate)
    return _slow(settings, frames, rate) if stack.slow else _fast(settings, frames, path)


def _fast(settings: Settings, frames: int, path: Path) -> _Shape:
    stack, averaging = settings.stack, settings.averaging
    repeats = int(stack.repeats)
    if not repeats or repeats % averaging or stack.flyback % averaging:
        raise UnreadableFile(
            f"Its header averages {averaging} frames into a page, but a volume has {repeats} frames at each of "
            f"{stack.slices} depths and {stack.flyback} of flyback: its pages mix depths.",
            path,
            "Average (logAverageFactor) only as many frames as are repeated at a depth, and none with flyback.",
        )
    saved, flyback = repeats // averaging, stack.flyback // averaging
    per_volume = stack.slices * saved + flyback
    volumes, rest = divmod(frames, per_volume)
    if not volumes:
        raise UnreadableFile(
            f"It holds {frames} frames per channel, but one volume takes {per_volume}.",
            path,
            "Was the acquisition stopped at once, or is the number of slices in the header wrong?",
        )
    fps = settings.volume_rate or settings.frame_rate / (stack.slices * repeats + stack.flyback)
    odd = (f"The last volume is incomplete: {rest} of {per_volume} frames. It is left out.",) if rest else ()
    return _Shape(stack.slices, saved, flyback, volumes, fps, volumes / fps, warnings=odd)


def _slow(settings: Settings, frames: int, rate: float) -> _Shape:
    stack = settings.stack
    saved = max(int(min(stack.repeats, frames * settings.averaging)) // settings.averaging, 1)
    volumes, rest = divmod(frames, stack.slices * saved)
    if volumes:
        odd = (
            (f"The last stack is incomplete: {rest} frames of {stack.slices * saved}. It is left out.",) if rest else ()
        )
        return _Shape(stack.slices, saved, 0, volumes * saved, rate, volumes * stack.slices * saved / rate, True, odd)
    depths = max(frames // saved, 1)
    odd = (f"The stack was stopped after {depths} of {stack.slices} depths.",)
    return _Shape(depths, saved, 0, saved, rate, depths * saved / rate, True, odd)


def _fields(settings: Settings, shape: _Shape, page: tiff.Pages) -> tuple[Field, ...]:
    """Return every rectangle imaged in a volume."""
    depths = _depths(settings.stack, shape.depths)
    if not settings.mroi:
        height, width, y, x = settings.fov or (None, None, 0.0, 0.0)
        whole = Strip(0, 0, page.height, page.width, height, width, y, x, None)
        found = [(plane, depth, whole) for plane, depth in enumerate(depths)]
    else:
        regions = read_regions(page.first.artist, page.first.software, page.path)
        found = [
            (plane, depth, strip)
            for plane, lines in enumerate(strips(regions, depths, page, settings))
            for depth, strip in ((depths[plane], strip) for strip in lines)
        ]
    stage_x, stage_y, stage_z = settings.position
    return tuple(
        Field(
            field_idx=number,
            px_height=strip.px_height,
            px_width=strip.px_width,
            um_height=strip.um_height,
            um_width=strip.um_width,
            x=_plus(stage_x, strip.x),
            y=_plus(stage_y, strip.y),
            z=_plus(stage_z, depth),
            depth=depth,
            roi=strip.roi,
            plane=plane,
            first_line=strip.first_line,
            powers=strip.powers or settings.powers,
        )
        for number, (plane, depth, strip) in enumerate(found)
    )


def _depths(stack: Stack, recorded: int) -> list[float | None]:
    """Return the depth of every recorded slice; `zs` names each once, or every frame of a volume."""
    if stack.zs and len(stack.zs) % stack.slices == 0:
        return list(stack.zs[:: len(stack.zs) // stack.slices][:recorded])
    return [None] * recorded


def _plus(a: float | None, b: float | None) -> float | None:
    return None if a is None or b is None else a + b


def _check_same(first: tiff.Pages, expected: Settings, other: tiff.Pages, found: Settings) -> None:
    """Refuse files that one acquisition cannot have."""
    for what, one, two in (
        ("pages", (first.height, first.width, first.pixel), (other.height, other.width, other.pixel)),
        ("version", expected.version, found.version),
        ("channels", expected.channels, found.channels),
        ("frame rate", expected.frame_rate, found.frame_rate),
        ("stack", expected.stack, found.stack),
        ("averaging", expected.averaging, found.averaging),
        ("frames per file", expected.per_file, found.per_file),
    ):
        if one != two:
            raise UnreadableFile(f"Its {what} ({two}) are not those of {first.path.name} ({one}).", other.path, _COPY)


def _check_frames(walked: Sequence[tiff.Pages], settings: Settings) -> None:
    """Refuse files whose pages cannot be the frames that header and page texts promise."""
    channels = len(settings.channels)
    for pages in walked:
        if pages.count % channels:
            raise UnreadableFile(
                f"It holds {pages.count} pages, which {channels} channels (channelSave) do not divide.",
                pages.path,
                "Did the copy from the rig finish, and did the acquisition end properly?",
            )
    if settings.triggered:
        return  # a trigger from outside may start a new file after any frame
    _check_full(walked, settings)
    for pages in walked:
        _check_numbers(pages, settings)
    _check_order(walked, settings)


def _check_full(walked: Sequence[tiff.Pages], settings: Settings) -> None:
    """Only the last file may hold less than the number of frames after which ScanImage starts the next."""
    allowed = {settings.per_file, settings.per_file / settings.averaging}
    for pages in walked if math.isfinite(settings.per_file) else ():
        frames = pages.count // len(settings.channels)
        if frames > max(allowed) or (frames not in allowed and pages is not walked[-1]):
            raise UnreadableFile(
                f"Its header promises {settings.per_file:.0f} frames per file (logFramesPerFile), the pages hold "
                f"{frames}.",
                pages.path,
                _COPY,
            )


def _check_numbers(pages: tiff.Pages, settings: Settings) -> None:
    """The numbers of the first and the last frame must be as far apart as there are pages between them."""
    first, last = _frame_number(pages.first), _frame_number(pages.last)
    frames = pages.count // len(settings.channels)
    if first is None or last is None or first == last:  # a program that copies one text to all pages tells nothing
        return
    expected = first + (frames - 1) * settings.averaging
    if last != expected:
        raise UnreadableFile(
            f"Its pages count frames {first:.0f} to {last:.0f} (frameNumberAcquisition), but the {frames} frames that "
            f"it holds would end with {expected:.0f}.",
            pages.path,
            "Frames are missing or doubled: did ScanImage report lost data?",
        )


def _check_order(walked: Sequence[tiff.Pages], settings: Settings) -> None:
    """Every file must continue the one before it, and the first must begin the acquisition."""
    begin = _frame_number(walked[0].first)
    if begin is not None and begin > settings.averaging:
        raise UnreadableFile(
            f"Its first page is frame {begin:.0f} of the acquisition: the files before it are missing.",
            walked[0].path,
            _COPY,
        )
    for before, after in pairwise(walked):
        last, first = _frame_number(before.last), _frame_number(after.first)
        if last is None or first is None or first == begin:
            continue
        if first != last + settings.averaging:
            raise UnreadableFile(
                f"It begins with frame {first:.0f} of the acquisition, but {before.path.name} ends with {last:.0f}: a "
                "file between them is missing, or their order is wrong.",
                after.path,
                _COPY,
            )


def _check_requested(settings: Settings, frames: int, last: tiff.Pages) -> tuple[str, ...]:
    """Compare what the header asks for with what was recorded; stopping early is admitted with a warning."""
    requested = settings.stack.requested / settings.averaging
    if settings.triggered or not math.isfinite(requested) or math.floor(requested) == frames:
        return ()
    told = f"the header asks for {requested:.0f} frames per channel, the pages hold {frames}"
    if frames > requested:
        raise UnreadableFile(f"Header and pages disagree: {told}.", last.path, _COPY)
    if any(numbers(read_header(last.last.description).get("endOfAcquisition"))):
        raise UnreadableFile(
            f"Header and pages disagree: {told}, and the last is marked as the regular end.", last.path, _COPY
        )
    return (f"Was the acquisition stopped early, or are files missing? {told[0].upper()}{told[1:]}.",)


def _frame_number(texts: tiff.PageText) -> float | None:
    """Return a page's place in its acquisition, counted in frames of the scanner from 1; None where not told."""
    found = numbers(read_header(texts.description).get("frameNumberAcquisition"))
    return found[0] if len(found) == 1 and math.isfinite(found[0]) else None


def _scan(
    walked: Sequence[tiff.Pages],
    settings: Settings,
    shape: _Shape,
    fields: tuple[Field, ...],
    warnings: tuple[str, ...],
) -> ScanImageScan:
    x, y, z = settings.position
    return ScanImageScan(
        files=tuple(ScanFile(pages.path, pages.count, pages.size) for pages in walked),
        version=settings.version,
        px_height=walked[0].height,
        px_width=walked[0].width,
        pixel=walked[0].pixel,
        channels=settings.channels,
        ndepths=shape.depths,
        nrois=len({field.roi for field in fields}),
        nframes=shape.frames,
        frames_per_slice=shape.repeats,
        flyback_frames=shape.flyback,
        log_averaging=settings.averaging,
        is_slow=shape.slow,
        fps=shape.fps,
        frame_rate=settings.frame_rate,
        bidirectional=settings.bidirectional,
        usecs_per_line=settings.line_period * 1e6 if settings.line_period else None,
        fill_fraction=settings.fill_fraction,
        spatial_fill_fraction=settings.spatial_fill_fraction,
        is_resonant=settings.resonant,
        x=x,
        y=y,
        z=z,
        zoom=settings.zoom,
        powers=settings.powers,
        scan_datetime=settings.start,
        scan_duration=shape.duration,
        userfunction_info=settings.user_function,
        fields=fields,
        frames_requested=_requested(settings),
        warnings=warnings,
    )


def _requested(settings: Settings) -> int | None:
    requested = settings.stack.requested
    return None if settings.triggered or not math.isfinite(requested) else math.floor(requested)
