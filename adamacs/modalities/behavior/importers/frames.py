"""Frames of cameras, and of the microscope as HARP saw them, as pulse trains on the clock that stamped them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from adamacs.core.events import ImportedEvents, Series, SourceFiles
from adamacs.core.settings import Settings
from adamacs.modalities.behavior.reader.cameras import read_camera_times
from adamacs.modalities.behavior.reader.harp import read_frame_sync


def import_camera(recorded: SourceFiles, settings: Settings) -> ImportedEvents:
    """Return when each frame of a camera was taken, s since its first one, as `<source>_frames`.

    Raises
    ------
    UnreadableFile
        The table tells no times.
    """
    (path,) = recorded.files
    found = read_camera_times(path)
    unit = f"Times are in {found.unit}, decided by {found.decided_by}."
    return _train(recorded.source, found.time, "a frame of a camera", (*found.warnings, unit))


def import_frame_sync(recorded: SourceFiles, settings: Settings) -> ImportedEvents:
    """Return when HARP saw each two-photon frame, s since the first one, as `<source>_frames`.

    Raises
    ------
    UnreadableFile
        The table tells no times.
    """
    (path,) = recorded.files
    found = read_frame_sync(path)
    return _train(recorded.source, found.time, "a two-photon frame that HARP saw", found.warnings)


def _train(source: str, times: NDArray[np.float64], what: str, remarks: tuple[str, ...]) -> ImportedEvents:
    order = np.argsort(times, kind="stable")  # a computer's clock may be set back: that was remarked on
    return ImportedEvents(series=(Series(f"{source}_frames", times[order], what),), remarks=remarks)
