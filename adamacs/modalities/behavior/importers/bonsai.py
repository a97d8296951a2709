"""Bonsai's stimulus logs as events, on the clock of the computer that showed them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np

from adamacs.core import setups
from adamacs.core.events import Events, ImportedEvents, SourceFiles
from adamacs.core.settings import Settings
from adamacs.modalities.behavior.reader.bonsai import Dialect, StimulusLog, read_stimuli

DIALECTS: Final[Mapping[str, Dialect | None]] = {
    "bonsai_events": "events",
    "bonsai_log": None,  # the marks in it tell
    "bonsai_log_trigger": "master_trigger",
    "bonsai_log_acquiring": "harp_acquiring",
}
"""Which dialect of a log each parser of a setup type asks for."""

STIMULUS: Final = "stimulus"


def read_log(recorded: SourceFiles, settings: Settings) -> StimulusLog:
    """Read the stimulus log of a scan, in the dialect that its setup type says.

    Raises
    ------
    UnreadableFile
        The file is no such log.
    """
    (path,) = recorded.files
    setup = setups.load_usable(settings.home).find(recorded.setup_type, path)
    return read_stimuli(path, DIALECTS[setup.sources[recorded.source]])


def import_bonsai(recorded: SourceFiles, settings: Settings) -> ImportedEvents:
    """Find when Bonsai wrote down each stimulus (clock `bonsai`); a log without times tells of none.

    Raises
    ------
    UnreadableFile
        The file is no such log.
    """
    log = read_log(recorded, settings)
    if log.clock == "none":
        return ImportedEvents(remarks=(*log.warnings, "The log tells no times: stimuli have those of their plateaus."))
    times = np.array([row.time for row in log.rows], np.float64)
    order = np.argsort(times, kind="stable")
    shown = Events(STIMULUS, times[order], np.full(len(times), np.nan), "Bonsai wrote down a stimulus")
    return ImportedEvents((shown,) if len(times) else (), remarks=log.warnings)
