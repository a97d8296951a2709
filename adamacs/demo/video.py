"""Writer of small videos, as the programs of cameras leave them; needs PyAV, which the extra `video` installs."""

from __future__ import annotations

from fractions import Fraction
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

_SIZE = 32  # px, of either side
_STEPS = 30  # frames in which the picture becomes as bright as it gets


def can_write() -> bool:
    """Whether PyAV is installed here."""
    return find_spec("av") is not None


def write_video(path: Path, frames: int, *, rate: float = 30.0, codec: str = "mpeg4", movflags: str = "") -> Path:
    """Write a video that grows brighter every second; about 20 bytes a frame.

    Parameters
    ----------
    path
        Whose ending says which container: `.mp4`, `.mov`, `.avi`, `.mkv`.
    frames
        How many.
    rate
        Hz, as the container tells it.
    codec
        As FFmpeg calls it.
    movflags
        Of an MP4, as FFmpeg has them: with `frag_keyframe` its index tells of the first part alone, with `empty_moov`
        beside it of none.
    """
    import av

    path.parent.mkdir(parents=True, exist_ok=True)
    told = Fraction(rate).limit_denominator(1001)
    options = {"fflags": "+bitexact", **({"movflags": movflags} if movflags else {})}
    with av.open(str(path), "w", options=options) as container:
        stream: Any = container.add_stream(codec, rate=told)
        stream.width = stream.height = _SIZE
        stream.pix_fmt = "yuv420p"
        stream.codec_context.flags |= av.codec.context.Flags.bitexact
        for number in range(frames):
            grey = np.full((_SIZE * 3 // 2, _SIZE), 128, np.uint8)
            grey[:_SIZE] = 60 + 4 * (number % _STEPS)
            frame = av.VideoFrame.from_ndarray(grey, format="yuv420p")
            frame.pts, frame.time_base = number, 1 / told
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path
