"""Bpod's sessions as events and trials, on Bpod's own clock."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from adamacs.core.errors import UnreadableFile
from adamacs.core.events import Events, ImportedEvents, ImportedTrial, ImportedTrials, SourceFiles
from adamacs.core.settings import Settings
from adamacs.modalities.behavior.reader import bpod_events
from adamacs.modalities.behavior.reader.bpod import BpodSession, read_bpod
from adamacs.modalities.behavior.reader.bpod_blocks import setting_blocks

TRIAL_START = "bpod_trial_start"
_LONGEST = 64  # characters of a trial type


def import_bpod(recorded: SourceFiles, settings: Settings) -> ImportedEvents:
    """Find the events of a Bpod session: trials, what its states mean, and all that Bpod itself wrote (clock `bpod`).

    Raises
    ------
    UnreadableFile
        The file is none that Bpod saved, or contradicts itself.
    """
    (path,) = recorded.files
    session = read_bpod(path, zone=settings.zone)
    return ImportedEvents(tuple(_events(session)), remarks=session.warnings)


def _events(session: BpodSession) -> Iterator[Events]:
    start = np.array([trial.start for trial in session.trials])
    stop = np.array([trial.stop for trial in session.trials])
    if len(start):
        yield Events(TRIAL_START, start, stop, "Bpod: a trial, from its start to its stop")
    derived, raw = bpod_events.derived_events(session), bpod_events.raw_events(session)
    for name, found in {**derived, **raw}.items():
        what = "Bpod wrote it" if name in raw else "what a state or an event of Bpod means"
        yield Events(name, found.times, np.full(len(found.times), np.nan), what)


def import_bpod_trials(recorded: SourceFiles, settings: Settings) -> ImportedTrials:
    """Return the trials of a Bpod session, in blocks of equal settings; errors as `import_bpod`."""
    (path,) = recorded.files
    session = read_bpod(path, zone=settings.zone)
    attributes = bpod_events.trial_attributes(session)
    for trial in session.trials:
        if len(trial.type_name or "") > _LONGEST:
            what = f"SessionData.TrialTypeNames({trial.number}) has more than {_LONGEST} characters."
            raise UnreadableFile(what, path, "Name the trial types more briefly.")
    trials = tuple(
        ImportedTrial(
            trial_id=trial.trial_id,
            source_trial=trial.number,
            trial_type=trial.type_name or (str(trial.type) if trial.type is not None else ""),
            start=trial.start,
            stop=trial.stop,
            attributes={name: str(value).lower() for name, value in said.items()},
        )
        for trial, said in zip(session.trials, attributes, strict=True)
    )
    return ImportedTrials(trials, setting_blocks(session))
