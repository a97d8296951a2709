"""Reads how many frames a camera's video holds, without looking at any of them.

The index of an MP4 or AVI tells; of a video without one (Matroska, an MP4 in fragments) the packets are counted, and
nothing is decoded. FFmpeg reads, through PyAV, which the extra `video` installs. The times that a container tells are
mostly made up: a writer counts frames and states a rate.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from adamacs.core.errors import ToolMissing
from adamacs.core.formats.source import Source, opened
from adamacs.core.formats.video import boxes, check_avi, check_mp4

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.stream import VideoStream

INSTALL: Final = "pip install 'adamacs[video]'"

_BOXES = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip")  # one of which an MP4 begins with
_EBML = b"\x1a\x45\xdf\xa3"  # a Matroska's first bytes
_NESTED = {"moov", "trak", "mdia", "minf", "stbl", "moof", "traf"}  # boxes that lead to those of the next line
_CLAIMS = {"stsz": 16, "stz2": 16, "trun": 12}  # boxes that tell of so many frames, and where their number stands
_FRAGMENTED = {"moof"}  # boxes, at the top, of what an index leaves out
_DEEPEST = 8
_MOST = 10_000_000  # frames: more than two days at 50 Hz
_HINT = "Is this the camera's video, and did its copy from the rig finish?"
_PROBE = {"probesize": "65536", "analyzeduration": "1", "max_pixels": "67108864"}  # bytes, µs: no frame is of interest


@dataclass(frozen=True)
class Video:
    """What a container says of the frames in it.

    Attributes
    ----------
    frames
        How many there are; None where no index tells, and they were not to be counted.
    frame_rate
        Hz, on average; None where it is not told.
    first, last
        s, on the time line of the container: when the first and the last frame are shown; None where it is not told.
    container, codec
        As FFmpeg calls them; a codec that it does not know is empty.
    is_counted
        Whether packets were counted, as no index tells.
    """

    frames: int | None
    frame_rate: float | None
    first: float | None
    last: float | None
    container: str
    codec: str
    is_counted: bool = False


def read_video(path: Path, *, count: bool = True) -> Video:
    """Read what a video tells of its frames.

    Memory is that of the index, 24 bytes a frame. An index takes milliseconds; counting takes as long as reading the
    whole file.

    Parameters
    ----------
    path
        An MP4, QuickTime, AVI or Matroska file, whatever its name.
    count
        Count packets where no index tells.

    Raises
    ------
    UnreadableFile
        The file is no video, holds no frame, is cut short, or was never ended by its camera's program.
    ToolMissing
        PyAV is not installed here.
    """
    with opened(Path(path)) as source:
        form, is_whole = _form(source)
        av = _tool(path)
        try:
            with (
                open(source.number, "rb", buffering=0, closefd=False) as file,
                av.open(file, format=form, options=_PROBE, metadata_errors="replace") as container,
            ):
                return _facts(source, container, count, is_whole)
        except av.FFmpegError as error:
            raise source.fail(f"FFmpeg cannot read it: {error.strerror}.", _HINT) from error


def _tool(path: Path) -> Any:
    try:
        import av
    except ImportError as error:
        raise ToolMissing("PyAV, which counts the frames of videos, is not installed here.", path, INSTALL) from error
    return av


def _form(source: Source) -> tuple[str, bool]:
    """Return FFmpeg's name of a container by its first bytes, once its own end is found: FFmpeg reads no other.

    And whether its index tells of every frame: that of a fragmented MP4 tells of the first fragment at most.
    """
    if not source.size:
        raise source.fail("The file is empty.", "Was the camera's program stopped before its first frame?")
    head = source.head(12)
    if head[4:8] in _BOXES:
        check_mp4(source)
        _refuse_more_than(_MOST, sum(_claims(source)), source)  # FFmpeg would make room for them
        return "mov", not any(kind in _FRAGMENTED for kind, _, _ in boxes(source))
    if head[:4] == b"RIFF" and head[8:] == b"AVI ":
        check_avi(source)
        return "avi", True
    if head[:4] == _EBML:
        return "matroska", True
    raise source.fail(f"This is no MP4, AVI or Matroska: it begins with {head[:8]!r}.", _HINT)


def _claims(source: Source, at: int = 0, end: int | None = None, depth: int = 0) -> Iterator[int]:
    """Yield how many frames each part of an MP4's index tells of."""
    if depth > _DEEPEST:
        raise source.fail(f"Its boxes are nested more than {_DEEPEST} deep.", "The file is damaged.")
    for kind, begin, size in boxes(source, at, end):
        if kind in _NESTED and size > 8:
            yield from _claims(source, begin + 8, begin + size, depth + 1)
        elif kind in _CLAIMS:
            yield struct.unpack(">I", source.read(begin + _CLAIMS[kind], 4, kind))[0]


def _refuse_more_than(most: int, frames: int, source: Source) -> None:
    if frames > most:
        raise source.fail(f"Its index tells of {frames} frames, in {source.size} bytes.", "The file is damaged.")


def _facts(source: Source, container: InputContainer, count: bool, is_whole: bool) -> Video:
    if not container.streams.video:
        raise source.fail("It holds no video, but sound or text alone.", _HINT)
    stream = container.streams.video[0]
    rate = float(stream.average_rate) if stream.average_rate else None
    codec = stream.codec_context.name if stream.codec_context else ""
    frames = stream.frames or None if is_whole else None
    _refuse_more_than(source.size, frames or 0, source)
    first, last = _times(stream, rate)
    is_counted = frames is None and count
    if is_counted:
        frames, first, last = _counted(container, stream)
        if not frames:
            raise source.fail("It holds no frame.", "Was the camera's program stopped before its first frame?")
    return Video(frames, rate, first, last, container.format.name.partition(",")[0], codec, is_counted)


def _times(stream: VideoStream, rate: float | None) -> tuple[float | None, float | None]:
    """Return when the first and the last frame are shown, s; the last is shown for a period."""
    if stream.start_time is None or stream.time_base is None:
        return None, None
    first = float(stream.start_time * stream.time_base)
    if not stream.duration or not rate:
        return first, None
    return first, first + max(float(stream.duration * stream.time_base) - 1 / rate, 0.0)


def _counted(container: InputContainer, stream: VideoStream) -> tuple[int, float | None, float | None]:
    """Return how many packets there are, and the first and last time that they tell, s."""
    frames, first, last = 0, None, None
    for packet in container.demux(stream):
        if not packet.size:  # the end
            continue
        frames += 1
        if packet.pts is not None:
            first = packet.pts if first is None else min(first, packet.pts)
            last = packet.pts if last is None else max(last, packet.pts)
    base = stream.time_base
    if first is None or last is None or base is None:
        return frames, None, None
    return frames, float(first * base), float(last * base)
