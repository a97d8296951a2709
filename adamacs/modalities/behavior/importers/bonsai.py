"""Bonsai's stimulus logs as events, stimuli and trials, on the clock of the computer that showed them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from adamacs.core import setups
from adamacs.core.events import Events, ImportedEvents, ImportedTrial, ImportedTrials, SourceFiles
from adamacs.core.settings import Settings
from adamacs.modalities.behavior.numerics.passes import find_passes
from adamacs.modalities.behavior.reader.bonsai import Dialect, Stimulus, StimulusLog, read_stimuli

DIALECTS: Final[Mapping[str, Dialect | None]] = {
    "bonsai_events": "events",
    "bonsai_log": None,  # the marks in it tell
    "bonsai_log_trigger": "master_trigger",
    "bonsai_log_acquiring": "harp_acquiring",
}
"""Which dialect of a log each parser of a setup type asks for."""

STIMULUS: Final = "stimulus"


@dataclass(frozen=True, eq=False)
class Presentations:
    """What a log tells, with numbers in place of texts.

    Attributes
    ----------
    log
        As it was read; its rows are the presentations, in their order.
    stimuli
        Every stimulus once, in order of first appearance: stimulus 1 is the first.
    numbers
        int64, (presentation,): which stimulus it was, from 1 on.
    times
        float64, (presentation,): s on the log's clock; NaN where the log tells none.
    passes
        int64, (presentation,): which pass through all stimuli it belongs to, from 1 on; 0 for none.
    """

    log: StimulusLog
    stimuli: tuple[Stimulus, ...]
    numbers: NDArray[np.int64]
    times: NDArray[np.float64]
    passes: NDArray[np.int64]


def read_presentations(recorded: SourceFiles, settings: Settings) -> Presentations:
    """Read the stimulus log of a scan, in the dialect that its setup type says, and number what was shown.

    Raises
    ------
    UnreadableFile
        The file is no such log.
    """
    (path,) = recorded.files
    setup = setups.load_usable(settings.home).find(recorded.setup_type, path)
    log = read_stimuli(path, DIALECTS[setup.sources[recorded.source]])
    number = {stimulus: at for at, stimulus in enumerate(dict.fromkeys(row.stimulus for row in log.rows), 1)}
    numbers = np.array([number[row.stimulus] for row in log.rows], np.int64)
    times = np.array([row.time for row in log.rows], np.float64)
    return Presentations(log, tuple(number), numbers, times, find_passes(numbers))


def import_bonsai(recorded: SourceFiles, settings: Settings) -> ImportedEvents:
    """Find when Bonsai wrote down each stimulus (clock `bonsai`), and its number; a log without times tells of none.

    Raises
    ------
    UnreadableFile
        The file is no such log.
    """
    told = read_presentations(recorded, settings)
    if told.log.clock == "none":
        remark = "The log tells no times: stimuli have those of their plateaus."
        return ImportedEvents(remarks=(*told.log.warnings, remark))
    timed = np.flatnonzero(np.isfinite(told.times))
    timed = timed[np.argsort(told.times[timed], kind="stable")]
    lacking = len(told.times) - len(timed)
    remarks = (*told.log.warnings, *([f"{lacking} stimuli have no time in the log."] if lacking else []))
    ends = np.full(len(timed), np.nan)
    values = told.numbers[timed].astype(np.float64)
    shown = Events(STIMULUS, told.times[timed], ends, "Bonsai wrote down a stimulus", values)
    return ImportedEvents((shown,) if len(timed) else (), remarks=remarks)


def import_bonsai_trials(recorded: SourceFiles, settings: Settings) -> ImportedTrials:
    """Return the passes through all stimuli as trials; none of a log without times, or whose times run back.

    A trial begins with its first stimulus. Its stop is not told: the next one's start, or nothing, follows it.

    Raises
    ------
    UnreadableFile
        The file is no such log.
    """
    told = read_presentations(recorded, settings)
    starts = np.flatnonzero(np.diff(told.passes, prepend=0))
    if not np.isfinite(told.times).all() or np.any(np.diff(told.times[starts]) <= 0):
        return ImportedTrials()
    passes = np.split(told.numbers, starts[1:]) if len(starts) else []
    return ImportedTrials(
        tuple(
            _trial(number, float(start), shown, len(told.stimuli))
            for number, (start, shown) in enumerate(zip(told.times[starts], passes, strict=True), 1)
        )
    )


def _trial(number: int, start: float, shown: NDArray[np.int64], kinds: int) -> ImportedTrial:
    is_complete = len(np.unique(shown)) == kinds
    attributes = {"stimuli": str(len(shown)), "complete": str(is_complete).lower()}
    return ImportedTrial(number, number, "", start, math.nan, attributes)
