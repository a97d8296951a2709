"""What a ScanImage recording promises of its frames and volumes: by what its header asks for, and by its pages."""

from __future__ import annotations

import math
from typing import Final

from adamacs.core.promises import FILE, HEADER, Promise
from adamacs.core.setup_wiring import FRAMES

TELLER: Final = "ScanImage"


def promised(
    *, pages: int, channels: int, averaging: int, scanner_frames: int, requested: int | None, fps: float
) -> tuple[Promise, ...]:
    """Return what a recording promises of `two_photon_frames`, and of `two_photon_volumes` where it has several planes.

    Frames are those that the scanner drew, each of which gave a pulse of the frame clock: averaged ones, and those in
    which the focus flew back. Volumes are those that began: the last one may be incomplete.

    Parameters
    ----------
    pages
        Of all its files.
    channels
        Saved ones.
    averaging
        Frames that were averaged into a page.
    scanner_frames
        Frames that the scanner drew from one time point of a plane to the next.
    requested
        Frames that its header asks for; None where it leaves that open.
    fps
        Hz: time points of a plane per second.
    """
    counts = {HEADER: requested, FILE: pages // channels * averaging}
    streams = {"two_photon_frames": (1, fps * scanner_frames)}
    if scanner_frames > averaging:
        streams["two_photon_volumes"] = (scanner_frames, fps)
    return tuple(
        _promise(stream, told_by, count if count is None else math.ceil(count / size), rate)
        for stream, (size, rate) in streams.items()
        for told_by, count in counts.items()
    )


def _promise(stream: str, told_by: str, count: int | None, rate: float) -> Promise:
    if told_by == HEADER:
        return Promise(TELLER, stream, HEADER, count, rate=rate)
    first, last = (0.0, (count - 1) / rate) if count else (None, None)
    return Promise(TELLER, stream, FILE, count, first, last, clock=FRAMES)
