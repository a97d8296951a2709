"""Writer of the session that Bpod saves: the struct `SessionData` in a MAT file, as its software lays it out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_HEADER = b"MATLAB 5.0 MAT-file, written by a synthetic lab".ljust(116)  # SciPy would write the time of day


@dataclass(frozen=True)
class Trial:
    """What happened in one trial.

    Attributes
    ----------
    start, stop
        s on the Bpod clock; None: Bpod was stopped before it wrote the stop.
    states
        Of every state of the protocol its visits: entry and exit, s from the trial's start.
    events
        s from the trial's start.
    type, type_name
        None where the protocol has none.
    settings
        The values of the protocol's settings; None: the protocol saves none.
    """

    start: float
    stop: float | None
    states: Mapping[str, tuple[tuple[float, float], ...]] = field(default_factory=dict)
    events: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    type: int | None = None
    type_name: str | None = None
    settings: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Session:
    """One session.

    Attributes
    ----------
    start
        What the rig's clock showed, whole seconds: what Bpod's software writes as SessionStartTime_UTC.
    utc
        What a rig writes there whose software was mended; None: it was not.
    """

    subject: str | None = "ANM-0001"
    protocol: str | None = "Openfield"
    state_machine: str | None = "Bpod r2+"
    start: datetime = datetime(2026, 2, 10, 9, 30)
    utc: datetime | None = None
    trials: tuple[Trial, ...] = ()


def write_bpod(path: Path, truth: Session, *, compressed: bool = True, cells: bool = True) -> None:
    """Write a session; the same truth gives the same bytes.

    Parameters
    ----------
    path, truth
        The file, and what it says.
    compressed
        As MATLAB's version 7 does; else as version 6.
    cells
        Trials in a cell, as Bpod keeps them; else in an array of structs, which asks that all have the same fields.
    """
    import scipy.io  # on first use: most of the synthetic lab does without

    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        content = {"SessionData": session_data(truth, cells=cells)}
        scipy.io.savemat(file, content, do_compression=compressed, long_field_names=True)
        file.seek(0)
        file.write(_HEADER)


def session_data(truth: Session, *, cells: bool = True) -> dict[str, Any]:
    """Return the fields of `SessionData`, for `scipy.io.savemat`."""
    trials = truth.trials
    data: dict[str, Any] = {"Info": _info(truth), "nTrials": len(trials)}
    if truth.subject is not None:
        data["CurrentSubjectName"] = truth.subject
    if not trials:
        return data
    raw = [{"States": _states(trial), "Events": dict(_rows(trial.events))} for trial in trials]
    data["RawEvents"] = {"Trial": _cell(raw) if cells else _structs(raw)}
    data["TrialStartTimestamp"] = np.array([trial.start for trial in trials])
    data["TrialEndTimestamp"] = np.array([trial.stop for trial in trials if trial.stop is not None])
    if any(trial.type is not None for trial in trials):
        data["TrialTypes"] = np.array([np.nan if trial.type is None else trial.type for trial in trials])
    if any(trial.type_name is not None for trial in trials):
        data["TrialTypeNames"] = _cell([trial.type_name or "" for trial in trials])
    if any(trial.settings is not None for trial in trials):
        data["TrialSettings"] = _structs([_settings(trial) for trial in trials])
    return data


def _info(truth: Session) -> dict[str, Any]:
    at, said = truth.start, truth.utc or truth.start
    of_day = (at - datetime(at.year, at.month, at.day)).total_seconds() / 86_400
    info: dict[str, Any] = {
        "SessionDate": f"{at.day:02d}-{_MONTHS[at.month - 1]}-{at.year}",
        "SessionStartTime_UTC": f"{said:%H:%M:%S}",
        "SessionStartTime_MATLAB": at.toordinal() + 366 + of_day,
    }
    if truth.state_machine is not None:
        info["StateMachineVersion"] = truth.state_machine
    if truth.protocol is not None:
        info["ProtocolPath"] = rf"C:\Bpod\Protocols\{truth.protocol}\{truth.protocol}.m"
    return info


def _states(trial: Trial) -> dict[str, Any]:
    return {name: np.array(visits or ((np.nan, np.nan),), float) for name, visits in trial.states.items()}


def _rows(events: Mapping[str, tuple[float, ...]]) -> list[tuple[str, Any]]:
    return [(name, np.array(times, float)) for name, times in events.items()]


def _settings(trial: Trial) -> dict[str, Any]:
    """Return the settings, and how they were shown on the screen, which no analysis needs."""
    values = dict(trial.settings or {})
    return {"GUI": values, "GUIMeta": {name: {"Style": "edit"} for name in values}}


def _cell(values: list[Any]) -> np.ndarray:
    """Return a MATLAB cell, (1, n)."""
    cell = np.empty((1, len(values)), object)
    cell[0, :] = values
    return cell


def _structs(values: list[dict[str, Any]]) -> np.ndarray:
    """Return an array of structs, (1, n)."""
    names = list(values[0])
    structs = np.empty((1, len(values)), [(name, object) for name in names])
    for at, value in enumerate(values):
        structs[0, at] = tuple(value[name] for name in names)
    return structs
