"""Reads the session that Bpod saved: what its state machine did in every trial, on Bpod's own clock.

Times of states and events count from the start of their trial, as in the file; starts and stops of trials are on the
Bpod clock, whose zero is when the state machine was switched on.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from pathlib import Path, PureWindowsPath
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from adamacs.core import clocks
from adamacs.core.errors import UnreadableFile
from adamacs.modalities.behavior.reader.mat import read_variable

_ROOT = "SessionData"
_FIELDS = (
    "nTrials",
    "TrialStartTimestamp",
    "TrialEndTimestamp",
    "TrialTypes",
    "TrialTypeNames",
    "CurrentSubjectName",
    "Info",
    "RawEvents",
    "TrialSettings",
)
_LAYOUT = ("GUIMeta", "GUIPanels", "GUITabs", "GUIData", "GUIHandles")  # how the settings were laid out on the screen
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DATE = re.compile(r"(\d{1,2})-([A-Za-z]{3})-(\d{4})", re.ASCII)
_TIME = re.compile(r"(\d{1,2}):(\d{2}):(\d{2})", re.ASCII)
_MATLAB_EPOCH = 366  # MATLAB counts days from the year 0, which Python's calendar does not have
_LONGEST = 1e9  # s
_SAME_CLOCK = timedelta(seconds=2)
_HINT = "Was the session saved by Bpod, and was the copy complete?"


@dataclass(frozen=True, eq=False)
class BpodTrial:
    """One trial.

    Attributes
    ----------
    trial_id
        1 for the first trial of the session.
    number
        The trial's place in `SessionData.RawEvents.Trial`, as Bpod counts: from 1.
    start, stop
        s on the Bpod clock; the stop is NaN where Bpod did not write it.
    type, type_name
        As the protocol numbers and names them; None where it does not.
    states
        Of every state of the protocol its visits, float64 (visits, 2): entry and exit in s from the trial's start. No
        row where the state was not visited; the exit is NaN where the trial was stopped in the state.
    events
        Of every event its times, float64 (n,), in s from the trial's start.
    settings
        What the protocol's settings said in this trial: numbers, truths, text, tuples (of rows) and dicts of these.
    """

    trial_id: int
    number: int
    start: float
    stop: float
    type: int | None = None
    type_name: str | None = None
    states: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)
    events: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class BpodSession:
    """One session of a Bpod.

    Attributes
    ----------
    subject, protocol, state_machine
        The animal, the protocol and the version of the state machine, as the file spells them; None where it does not.
    start
        When the session began, naive UTC and whole seconds: see `read_bpod`.
    trials
        In the order in which they ran.
    warnings
        What is odd about the file but does not keep it from being read.
    """

    subject: str | None
    protocol: str | None
    state_machine: str | None
    start: datetime | None
    trials: tuple[BpodTrial, ...]
    warnings: tuple[str, ...] = ()


def read_bpod(path: Path, *, zone: ZoneInfo | None = None) -> BpodSession:
    """Read a session as Bpod saves it.

    Fields that are not known are stepped over, and what MATLAB alone can read (objects, function handles) is left out
    with a warning. Of counts that contradict each other, the trials of `RawEvents` are believed: another `nTrials` is a
    warning, a trial without a start is refused. Where a session was stopped, the last trial may lack its stop.

    Parameters
    ----------
    path
        The MAT file, of MATLAB's version 6 or 7.
    zone
        Of the rig's computer. Bpod's own software fills `SessionStartTime_UTC` with the computer's local time, despite
        its name. Where `SessionStartTime_MATLAB`, always local, says the same, the time is taken for local and
        converted by this zone. Without a zone it is returned as the file names it, with a warning.

    Raises
    ------
    UnreadableFile
        The file is damaged, foreign or contradicts itself: tells the field, such as
        `SessionData.RawEvents.Trial(3).States.Reward`.
    """
    path = Path(path)
    variable = read_variable(path, _ROOT, fields=_FIELDS, ignore=_LAYOUT)
    return _Reading(path, variable.value, list(variable.warnings)).session(zone)


class _Reading:
    """One file being read: plain values to a session."""

    def __init__(self, path: Path, content: Any, warnings: list[str]) -> None:
        self.path, self.warnings = path, warnings
        self.content = self.struct(content, _ROOT)

    def fail(self, where: str, what: str) -> UnreadableFile:
        return UnreadableFile(f"{where} {what}.", self.path, _HINT)

    def session(self, zone: ZoneInfo | None) -> BpodSession:
        info = self.struct(self.content.get("Info"), f"{_ROOT}.Info")
        trials = tuple(self.trials())
        protocol = self.text(info, "ProtocolName", f"{_ROOT}.Info")
        script = self.text(info, "ProtocolPath", f"{_ROOT}.Info")
        return BpodSession(
            subject=self.text(self.content, "CurrentSubjectName", _ROOT),
            protocol=protocol or (PureWindowsPath(script).stem if script else None),  # it knows both kinds of slashes
            state_machine=self.text(info, "StateMachineVersion", f"{_ROOT}.Info"),
            start=self.start(info, zone),
            trials=trials,
            warnings=tuple(self.warnings),
        )

    # --- when ----------------------------------------------------------------------------------------------------

    def start(self, info: Mapping[str, Any], zone: ZoneInfo | None) -> datetime | None:
        """Return when the session began; None, with a warning, where the file does not say."""
        where = f"{_ROOT}.Info"
        day = _date_of(self.text(info, "SessionDate", where) or "")
        clock = _time_of(self.text(info, "SessionStartTime_UTC", where) or "")
        if day is None or clock is None:
            self.warnings.append(f"{where} does not tell when the session began.")
            return None
        said = datetime.combine(day, clock)
        local = _from_datenum(self.numbers(info.get("SessionStartTime_MATLAB"), f"{where}.SessionStartTime_MATLAB"))
        if local is None:
            return said
        # The date is that of the first trial's end, and local: around midnight it is another day than the time's.
        said = min((said + timedelta(days=days) for days in (-1, 0, 1)), key=lambda near: abs(near - local))
        if abs(said - local) > _SAME_CLOCK:
            return said
        if zone is not None:
            return clocks.from_local(said, zone)
        self.warnings.append(
            f"{where}.SessionStartTime_UTC is what the rig's own clock showed, so it is UTC only where that clock is."
        )
        return said

    # --- trials --------------------------------------------------------------------------------------------------

    def trials(self) -> Iterator[BpodTrial]:
        raw = self.raw_trials()
        count = len(raw)
        self.compare_counts(count)
        starts, stops = self.times(count)
        types, names = self.types(count), self.type_names(count)
        settings = self.settings(count)
        for at, trial in enumerate(raw):
            where = f"{_ROOT}.RawEvents.Trial({at + 1})"
            yield BpodTrial(
                trial_id=at + 1,
                number=at + 1,
                start=float(starts[at]),
                stop=float(stops[at]),
                type=types[at],
                type_name=names[at],
                states=self.states(trial, f"{where}.States"),
                events=self.events(trial, f"{where}.Events"),
                settings=settings[at],
            )

    def raw_trials(self) -> list[Mapping[str, Any]]:
        where = f"{_ROOT}.RawEvents"
        trials = self.members(self.struct(self.content.get("RawEvents"), where).get("Trial"), f"{where}.Trial")
        found = []
        for number, trial in enumerate(trials, start=1):
            if _is_empty(trial):
                self.warnings.append(f"{where}.Trial({number}) is empty.")
            found.append(self.struct(trial, f"{where}.Trial({number})"))
        return found

    def compare_counts(self, count: int) -> None:
        claimed = self.numbers(self.content.get("nTrials"), f"{_ROOT}.nTrials")
        if claimed.size and claimed[0] != count:
            if not count:
                raise self.fail(f"{_ROOT}.RawEvents", f"holds no trial, though nTrials is {claimed[0]:g}")
            self.warnings.append(f"{_ROOT}.nTrials is {claimed[0]:g}, but RawEvents holds {count} trials.")
        if not count:
            self.warnings.append(f"{_ROOT} holds no trial.")

    def times(self, count: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return start and stop of every trial, s on the Bpod clock."""
        starts, stops = (self.numbers(self.content.get(name), f"{_ROOT}.{name}") for name in _STAMPS)
        for name, values, least in zip(_STAMPS, (starts, stops), (count, count - 1 if stops.size else 0)):
            if values.size < least:
                raise self.fail(f"{_ROOT}.{name}", f"has {values.size} times for {count} trials")
            if values.size > count + 1:
                self.warnings.append(f"{_ROOT}.{name} has {values.size} times for {count} trials.")
        if stops.size < count:
            lacking = "The last trial has" if stops.size else "The trials have"
            self.warnings.append(f"{lacking} no stop in {_ROOT}.TrialEndTimestamp.")
            stops = np.concatenate([stops, np.full(count - stops.size, np.nan)])
        starts, stops = starts[:count], stops[:count]
        behind = np.append(-np.inf, starts[:-1])[:count]
        self.refuse(np.isnan(starts) | _is_no_time(starts), f"{_ROOT}.TrialStartTimestamp", "is no time")
        self.refuse(starts <= behind, f"{_ROOT}.TrialStartTimestamp", "is not behind the one before")
        self.refuse(_is_no_time(stops), f"{_ROOT}.TrialEndTimestamp", "is no time")
        self.refuse(stops < starts, f"{_ROOT}.TrialEndTimestamp", "lies before the trial's start")
        return starts, stops

    def refuse(self, wrong: NDArray[np.bool_], where: str, what: str) -> None:
        """Refuse a list in which something is wrong, naming the first."""
        if wrong.any():
            raise self.fail(f"{where}({int(np.argmax(wrong)) + 1})", what)

    def types(self, count: int) -> Sequence[int | None]:
        where = f"{_ROOT}.TrialTypes"
        values = self.numbers(self.content.get("TrialTypes"), where)
        if not values.size:
            return [None] * count
        if values.size < count:
            self.warnings.append(f"{where} has {values.size} types for {count} trials.")
        known = values[:count]
        self.refuse(
            ~np.isnan(known) & ((known != np.round(known)) | (np.abs(known) > 1e15)), where, "is no whole number"
        )
        told = [None if np.isnan(value) else int(value) for value in known]
        return told + [None] * (count - len(told))

    def type_names(self, count: int) -> Sequence[str | None]:
        """Return the name of every trial's type: Bpod's protocols write one per trial."""
        where = f"{_ROOT}.TrialTypeNames"
        given = self.content.get("TrialTypeNames")
        names = [given] if isinstance(given, str) and given else self.members(given, where)
        for number, name in enumerate(names, start=1):
            if not isinstance(name, str) and not _is_empty(name):
                raise self.fail(f"{where}({number})", "is no text")
        if names and not count <= len(names) <= count + 1:
            self.warnings.append(f"{where} has {len(names)} names for {count} trials: none is used.")
            names = []
        told = [name.strip() or None if isinstance(name, str) else None for name in names[:count]]
        return told + [None] * (count - len(told))

    def settings(self, count: int) -> Sequence[Mapping[str, Any]]:
        where = f"{_ROOT}.TrialSettings"
        given = self.members(self.content.get("TrialSettings"), where)
        if given and len(given) < count:
            self.warnings.append(f"{where} has {len(given)} settings for {count} trials.")
        told = []
        for number, settings in enumerate(given[:count], start=1):
            fields = self.struct(settings, f"{where}({number})")
            told.append(_setting(self.struct(fields["GUI"], f"{where}({number}).GUI") if "GUI" in fields else fields))
        return told + [{} for _ in range(count - len(told))]

    def states(self, trial: Mapping[str, Any], where: str) -> Mapping[str, NDArray[np.float64]]:
        states = self.struct(trial.get("States"), where)
        return {name: self.visits(value, f"{where}.{name}") for name, value in states.items()}

    def visits(self, value: Any, where: str) -> NDArray[np.float64]:
        """Return the visits of one state, float64 (visits, 2), s from the trial's start."""
        flat = self.numbers(value, where)
        visits = np.reshape(np.asarray(value, np.float64), (-1, 2)) if _is_list_of_pairs(value) else flat.reshape(-1, 1)
        visits = visits[~np.isnan(visits).all(axis=1)]
        if visits.size == 0:
            return np.empty((0, 2))
        if visits.shape[1] != 2:
            raise self.fail(where, f"holds {flat.size} numbers, no pairs of entry and exit")
        if _is_no_time(visits).any() or np.isnan(visits[:, 0]).any() or np.isnan(visits[:-1, 1]).any():
            raise self.fail(where, "holds a visit without entry or exit")
        if (visits[:, 1] < visits[:, 0]).any():
            raise self.fail(where, "holds an exit before its entry")
        return visits

    def events(self, trial: Mapping[str, Any], where: str) -> Mapping[str, NDArray[np.float64]]:
        found = {}
        for name, value in self.struct(trial.get("Events"), where).items():
            times = self.numbers(value, f"{where}.{name}")
            found[name] = times[~np.isnan(times)]
            if _is_no_time(times).any():
                raise self.fail(f"{where}.{name}", "holds a number that is no time")
        return found

    # --- values --------------------------------------------------------------------------------------------------

    def struct(self, value: Any, where: str) -> Mapping[str, Any]:
        """Return the fields of a struct; none where nothing is there."""
        if isinstance(value, dict):
            return value
        if not _is_empty(value):
            raise self.fail(where, f"is {_kind_of(value)}, no struct")
        return {}

    def members(self, value: Any, where: str) -> list[Any]:
        """Return the members of a cell or an array of structs, of which one alone is no array."""
        if isinstance(value, dict):
            return [value]
        if isinstance(value, list):
            return value
        if not _is_empty(value):
            raise self.fail(where, f"is {_kind_of(value)}, no list")
        return []

    def numbers(self, value: Any, where: str) -> NDArray[np.float64]:
        """Return all numbers in MATLAB's order, float64 (n,)."""
        if _is_empty(value):
            return np.empty(0)
        if not isinstance(value, np.ndarray) or value.dtype.kind not in "fiub":
            raise self.fail(where, f"is {_kind_of(value)}, no number")
        return value.astype(np.float64).ravel(order="F")

    def text(self, fields: Mapping[str, Any], name: str, where: str) -> str | None:
        """Return a text; None where it is missing or empty."""
        value = fields.get(name)
        if not isinstance(value, str) and not _is_empty(value):
            raise self.fail(f"{where}.{name}", f"is {_kind_of(value)}, no text")
        return value.strip() or None if isinstance(value, str) else None


_STAMPS = ("TrialStartTimestamp", "TrialEndTimestamp")


def _is_empty(value: Any) -> bool:
    """Tell whether a value is missing, [], {} or ''."""
    return value is None or (isinstance(value, (list, str)) and not value) or getattr(value, "size", 1) == 0


def _is_list_of_pairs(value: Any) -> bool:
    """Tell whether an array is (visits, 2), or one visit as a column."""
    return isinstance(value, np.ndarray) and value.ndim == 2 and (value.shape[1] == 2 or value.shape == (2, 1))


def _kind_of(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"an array of {value.shape}, {value.dtype}"
    kinds: dict[type, str] = {dict: "a struct", list: "a list", str: "text"}
    return kinds[type(value)]


def _is_no_time(values: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Tell which numbers are infinite, or longer than any rig ran; NaN is a time that was not taken."""
    return np.asarray(np.abs(values) > _LONGEST)


def _setting(value: Any) -> Any:
    """Return a setting as plain Python values."""
    if isinstance(value, dict):
        return {name: _setting(member) for name, member in value.items()}
    if isinstance(value, list):
        return tuple(_setting(member) for member in value)
    if not isinstance(value, np.ndarray):
        return value
    if value.size == 1:
        return value.item()
    return _rows(value.ravel().tolist() if 1 in value.shape or not value.size else value.tolist())


def _rows(values: Any) -> Any:
    return tuple(_rows(row) for row in values) if isinstance(values, list) else values


def _date_of(text: str) -> date | None:
    """Read `18-Mar-2022`. Months are in English whatever the computer's language, which `strptime` would follow."""
    found = _DATE.fullmatch(text)
    if found is None or found[2].lower() not in _MONTHS:
        return None
    try:
        # A day from the calendar's ends would leave no room for the one before or behind.
        day = date(int(found[3]), _MONTHS.index(found[2].lower()) + 1, int(found[1]))
    except ValueError:
        return None
    return day if 1900 <= day.year < 2200 else None


def _time_of(text: str) -> time | None:
    found = _TIME.fullmatch(text)
    try:
        return time(int(found[1]), int(found[2]), int(found[3])) if found else None
    except ValueError:
        return None


def _from_datenum(numbers: NDArray[np.float64]) -> datetime | None:
    """Return what MATLAB's count of days says; None where it says nothing that a calendar has."""
    if numbers.size != 1 or not 693_962 < numbers[0] < 803_534:  # 1900 to 2200
        return None
    days = float(numbers[0]) - _MATLAB_EPOCH
    return datetime.combine(date.fromordinal(int(days)), time()) + timedelta(days=days % 1)
