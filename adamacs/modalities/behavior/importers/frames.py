"""Frames of cameras, of motion capture, and of the microscope as HARP saw them, on the clock that stamped them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from adamacs.core import setups
from adamacs.core.clocks import counters
from adamacs.core.clocks.counters import Gap
from adamacs.core.errors import ToolMissing, UnusableClock
from adamacs.core.events import ImportedEvents, Series, SourceFiles, Tally, frames_of
from adamacs.core.promises import FILE, HEADER
from adamacs.core.settings import Settings
from adamacs.core.setups import Expected
from adamacs.modalities.behavior.importers import trains
from adamacs.modalities.behavior.reader.cameras import CameraTimes, read_camera_times
from adamacs.modalities.behavior.reader.harp import FrameSync, read_frame_sync
from adamacs.modalities.behavior.reader.motive import read_take
from adamacs.modalities.behavior.reader.video import read_video


def read_camera(path: Path, said: Expected) -> CameraTimes:
    """Read the table of a camera as its setup type says; errors as `read_camera_times`."""
    return read_camera_times(path, frame_rate=said.frame_rate)


def read_sync(path: Path, said: Expected) -> FrameSync:
    """Read HARP's table of frames as its setup type says; errors as `read_frame_sync`."""
    return read_frame_sync(path, unit=said.unit or None)


def import_camera(recorded: SourceFiles, settings: Settings) -> ImportedEvents:
    """Return when each frame of a camera was taken, s since its first one, as `<source>_frames`.

    Raises
    ------
    UnreadableFile
        The table tells no times.
    """
    (path,), said = recorded.files, _said(recorded, settings)
    found = read_camera(path, said)
    unit = f"Times are in {found.unit}, decided by {found.decided_by}."
    return _train(recorded.source, found.time, found.frame, said, "a frame of a camera", (*found.warnings, unit))


def import_frame_sync(recorded: SourceFiles, settings: Settings) -> ImportedEvents:
    """Return when HARP saw each two-photon frame, s since the first one, as `<source>_frames`.

    Raises
    ------
    UnreadableFile
        The table tells no times.
    """
    (path,), said = recorded.files, _said(recorded, settings)
    found = read_sync(path, said)
    remarks = (*found.warnings, f"Times are in {found.unit}.")
    return _train(recorded.source, found.time, found.frame, said, "a two-photon frame that HARP saw", remarks)


def import_take(recorded: SourceFiles, settings: Settings) -> ImportedEvents:
    """Return when each frame of motion capture was taken, s since the take's first one, as `<source>_frames`.

    Raises
    ------
    UnreadableFile
        The table is none that Motive exports, or a row of it is damaged.
    """
    (path,), said = recorded.files, _said(recorded, settings)
    take = read_take(path)
    found = _train(recorded.source, take.time, take.frame, said, "a frame of motion capture", take.warnings)
    asked = Tally(HEADER, take.head.exported, take.head.frame_rate)
    return replace(found, tallies=(asked,) if asked.count or asked.rate else ())


def import_video(recorded: SourceFiles, settings: Settings) -> ImportedEvents:
    """Return how many frames a camera's video holds; of several files together. Without PyAV that stays open.

    Raises
    ------
    UnreadableFile
        A file is no video, or was never ended.
    """
    return _video(recorded, count=True)


def glance_at_video(recorded: SourceFiles, settings: Settings) -> ImportedEvents:
    """Return the same where an index tells: else, all of a file would be read."""
    return _video(recorded, count=False)


def _video(recorded: SourceFiles, *, count: bool) -> ImportedEvents:
    try:
        videos = [read_video(path, count=count) for path in recorded.files]
    except ToolMissing as error:
        return ImportedEvents(remarks=(f"Its frames were not counted. {error.what} Run: {error.hint}",))
    frames = [one.frames for one in videos if one.frames is not None]
    if len(frames) < len(videos):
        return ImportedEvents(remarks=("No index tells how many frames it holds.",))
    how = (
        f"{path.name}: {one.frames} frames by {'its packets' if one.is_counted else 'its index'}."
        for path, one in zip(recorded.files, videos, strict=True)
    )
    return ImportedEvents(tallies=(Tally(FILE, sum(frames)),), remarks=tuple(how))


def _said(recorded: SourceFiles, settings: Settings) -> Expected:
    setup = setups.load_usable(settings.home).find(recorded.setup_type, recorded.files[0])
    return setup.expected_of(recorded.source)


def _train(
    source: str,
    times: NDArray[np.float64],
    numbers: NDArray[np.int64] | None,
    said: Expected,
    what: str,
    remarks: tuple[str, ...],
) -> ImportedEvents:
    kind = frames_of(source)
    if not (np.diff(times) > 0).all():  # a computer's clock may be set back: that was remarked on
        if said.gap is not None:
            remarks = (*remarks, "Its times do not only run forward: no frame was filled in.")
        return ImportedEvents(series=(Series(kind, np.sort(times), what),), remarks=remarks)
    gaps, evidence = _gaps(times, numbers, said.gap or counters.FACTOR)
    series, pauses = trains.filled(kind, times, what, gaps if said.gap is not None else ())
    return ImportedEvents(series=(series,), remarks=(*remarks, *evidence, *pauses))


def _gaps(
    times: NDArray[np.float64], numbers: NDArray[np.int64] | None, factor: float
) -> tuple[tuple[Gap, ...], tuple[str, ...]]:
    """Return where frames are missing, by their own count where the table has one, and where times say otherwise."""
    by_time = counters.find_gaps(times, factor=factor, settle=counters.SETTLE)
    if numbers is None:
        return by_time, ()
    try:
        by_count = counters.find_gaps_by_counter(times, numbers)
    except UnusableClock as error:
        return by_time, (f"Its count of frames is of no use ({error.what}); missing frames are told by times alone.",)
    if by_time == by_count:
        return by_count, ()
    told = ", ".join(
        f"{sum(gap.missing for gap in gaps)} by {how}" for gaps, how in ((by_count, "count"), (by_time, "times"))
    )
    return by_count, (f"Missing frames: {told}; the count is believed.",)
