"""Bpod sessions: what was written comes back, what contradicts itself is named by its field, and no file does harm."""

from __future__ import annotations

import math
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import h5py
import numpy as np
import pytest
import scipy.io
import scipy.sparse
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from adamacs.core.errors import MissingFile, UnreadableFile
from adamacs.demo.bpod import Session, Trial, session_data, write_bpod
from adamacs.modalities.behavior.reader import mat
from adamacs.modalities.behavior.reader.bpod import BpodSession, read_bpod
from adamacs.modalities.behavior.reader.bpod_events import (
    ATTRIBUTE_RULES,
    STATE_RULES,
    StateRule,
    derived_events,
    raw_events,
    trial_attributes,
)
from adamacs.modalities.behavior.reader.mat import read_variable

bounded = settings(
    max_examples=80, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
PLAIN = (
    Trial(
        10.0,
        14.0,
        {"Cue": ((0.0, 1.0), (2.0, 2.5)), "Reward": ((2.5, 3.0),), "Punish": ()},
        {"Port1In": (2.0, 2.25), "Tup": (1.0,)},
        2,
        "Visible",
        {"ResponseTime": 5.0, "Sides": (1.0, 2.0), "Name": "box", "Nested": {"On": True}},
    ),
    Trial(14.5, 16.0, {"Cue": ((0.0, 1.5),), "Reward": (), "Punish": ()}, {"Tup": (1.5,)}, 1, "Fading", {"A": 1.0}),
    Trial(16.5, 18.0, {"Cue": ((0.0, 1.5),), "Reward": (), "Punish": ()}, {}, 2, "Visible", {"A": 1.0}),
)


def save(path: Path, data: Any, **how: Any) -> Path:
    """Write a struct `SessionData` by SciPy alone."""
    scipy.io.savemat(path, {"SessionData": data}, long_field_names=True, **how)
    return path


def spoilt(path: Path, spoil: Callable[[dict[str, Any]], object], trials: tuple[Trial, ...] = PLAIN) -> Path:
    """Write a session whose fields were changed."""
    data = session_data(Session(trials=trials))
    spoil(data)
    return save(path / "session.mat", data)


def refusal(path: Path) -> UnreadableFile:
    with pytest.raises(UnreadableFile) as caught:
        read_bpod(path)
    assert caught.value.where == str(path)
    assert caught.value.hint
    return caught.value


def raw(data: dict[str, Any], number: int) -> dict[str, Any]:
    trial: dict[str, Any] = data["RawEvents"]["Trial"][0, number - 1]
    return trial


def assert_tells(found: BpodSession, truth: Session) -> None:
    """Compare every number, bit by bit."""
    assert (found.subject, found.protocol, found.state_machine) == (
        truth.subject,
        truth.protocol,
        truth.state_machine,
    )
    assert found.start == (truth.utc or truth.start)
    assert [trial.trial_id for trial in found.trials] == list(range(1, len(truth.trials) + 1))
    assert [trial.number for trial in found.trials] == list(range(1, len(truth.trials) + 1))
    for ours, theirs in zip(found.trials, truth.trials):
        assert ours.start == theirs.start
        assert math.isnan(ours.stop) if theirs.stop is None else ours.stop == theirs.stop
        assert (ours.type, ours.type_name) == (theirs.type, theirs.type_name)
        assert list(ours.states) == list(theirs.states)
        for name, visits in theirs.states.items():
            assert ours.states[name].dtype == np.float64
            assert np.array_equal(ours.states[name], np.array(visits, float).reshape(-1, 2))
        assert {name: tuple(times) for name, times in ours.events.items()} == dict(theirs.events)
        assert ours.settings == (theirs.settings or {})


# --- round trips ---------------------------------------------------------------------------------------------------

NAMES = st.sampled_from(
    ("Cue", "WaitForResponse", "Port1RewardDelay", "Port2Reward", "Drinking", "Punish", "x", "A" * 63, "Exit_1")
)
TIMES = st.integers(0, 600_000).map(lambda cycles: cycles / 1e4)
VISITS = st.lists(st.tuples(TIMES, TIMES).map(lambda pair: (min(pair), max(pair))), max_size=3).map(tuple)
SETTINGS = st.recursive(
    st.floats(allow_nan=False)
    | st.booleans()
    | st.text(st.characters(min_codepoint=32, max_codepoint=0x7FF), max_size=6)
    | st.lists(st.floats(-9, 9), min_size=2, max_size=3).map(tuple),
    lambda inner: st.dictionaries(st.sampled_from(("a", "b", "c1")), inner, max_size=3),
    max_leaves=4,
)


@st.composite
def sessions(draw: st.DrawFn) -> Session:
    """Sessions of nought to four trials, of protocols that name types, keep settings, or do neither."""
    count = draw(st.integers(0, 4))
    gaps = draw(st.lists(st.integers(1, 10**6), min_size=2 * count, max_size=2 * count))
    edges = (np.cumsum(gaps) / 1e4).tolist()
    states, typed, named, kept = draw(st.tuples(st.lists(NAMES, unique=True), *[st.booleans()] * 3))
    events = st.dictionaries(NAMES, st.lists(TIMES, min_size=1, max_size=4).map(tuple), max_size=3)
    gui = st.dictionaries(st.sampled_from(("ResponseTime", "RewardAmount", "Mode")), SETTINGS, max_size=3)
    trials = [
        Trial(
            edges[2 * at],
            edges[2 * at + 1],
            {name: draw(VISITS) for name in states},
            draw(events),
            draw(st.integers(-3, 9)) if typed else None,
            draw(st.sampled_from(("Visible", "Fading"))) if named else None,
            draw(gui) if kept else None,
        )
        for at in range(count)
    ]
    if count > 1 and draw(st.booleans()):
        trials[-1] = replace(trials[-1], stop=None)
    return Session(
        draw(st.none() | st.just("ANM-0007")),
        draw(st.none() | st.just("Odd_ball")),
        draw(st.none() | st.just("Bpod r2+")),
        draw(st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1)).map(lambda at: at.replace(microsecond=0))),
        trials=tuple(trials),
    )


@given(truth=sessions(), compressed=st.booleans(), cells=st.booleans())
@bounded
def test_what_was_written_comes_back(tmp_path: Path, truth: Session, compressed: bool, cells: bool) -> None:
    write_bpod(tmp_path / "session.mat", truth, compressed=compressed, cells=cells)
    assert_tells(read_bpod(tmp_path / "session.mat"), truth)


def test_the_same_truth_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a.mat", "b.mat"):
        write_bpod(tmp_path / name, Session(trials=PLAIN))
    assert (tmp_path / "a.mat").read_bytes() == (tmp_path / "b.mat").read_bytes()


@pytest.mark.parametrize("cells", [True, False])
@pytest.mark.parametrize("count", [0, 1, 2])
def test_a_session_of_few_trials_is_read_as_matlab_squeezes_it(tmp_path: Path, count: int, cells: bool) -> None:
    truth = Session(trials=PLAIN[:count])
    write_bpod(tmp_path / "session.mat", truth, cells=cells)
    found = read_bpod(tmp_path / "session.mat")
    assert_tells(found, truth)
    assert any("holds no trial" in warning for warning in found.warnings) == (count == 0)


def test_one_trial_may_stand_without_any_list_around_it(tmp_path: Path) -> None:
    def squeeze(data: dict[str, Any]) -> None:
        data["RawEvents"]["Trial"] = raw(data, 1)
        data["TrialSettings"] = {"GUI": dict(PLAIN[0].settings or {})}
        data["TrialTypeNames"] = "Visible"

    assert_tells(read_bpod(spoilt(tmp_path, squeeze, PLAIN[:1])), Session(trials=PLAIN[:1]))


@pytest.mark.parametrize("data", [{}, np.empty((0, 0)), {"Info": {}, "nTrials": 0}, {"RawEvents": {"Trial": []}}])
def test_a_session_that_was_stopped_at_once_has_no_trial(tmp_path: Path, data: Any) -> None:
    found = read_bpod(save(tmp_path / "session.mat", data))
    assert (found.trials, found.subject, found.start) == ((), None, None)
    assert any("holds no trial" in warning for warning in found.warnings)


def test_a_last_trial_that_was_stopped_has_no_stop(tmp_path: Path) -> None:
    write_bpod(tmp_path / "session.mat", Session(trials=(*PLAIN[:2], replace(PLAIN[2], stop=None))))
    found = read_bpod(tmp_path / "session.mat")
    assert [math.isnan(trial.stop) for trial in found.trials] == [False, False, True]
    assert any("The last trial has no stop" in warning for warning in found.warnings)


@pytest.mark.parametrize(
    ("name", "warned"), [("TrialTypes", 0), ("TrialTypeNames", 0), ("TrialSettings", 0), ("TrialEndTimestamp", 1)]
)
def test_a_field_that_is_missing_is_no_fault(tmp_path: Path, name: str, warned: int) -> None:
    found = read_bpod(spoilt(tmp_path, lambda data: data.pop(name)))
    assert len(found.trials) == 3
    assert sum(name in warning for warning in found.warnings) == warned


def test_unknown_fields_are_stepped_over(tmp_path: Path) -> None:
    def add(data: dict[str, Any]) -> None:
        data["RawData"] = {"OriginalStateData": np.arange(1000)}
        data["Custom"] = np.array([{"deep": {"er": 1}}, "text"], object)
        data["Notes"] = scipy.sparse.eye(4).tocsc()
        raw(data, 1)["Outcome"] = "good"

    found = read_bpod(spoilt(tmp_path, add))
    plain = read_bpod(spoilt(tmp_path, lambda data: None))
    assert found.warnings == plain.warnings
    assert found.trials[0].settings == plain.trials[0].settings


def test_state_and_event_times_are_read_scalar_or_array_and_nan_is_none(tmp_path: Path) -> None:
    def change(data: dict[str, Any]) -> None:
        raw(data, 1)["States"] = {
            "Once": np.array([1.0, 2.0]),
            "Column": np.array([[1.0], [2.0]]),
            "Twice": np.array([[1.0, 2.0], [3.0, 4.0]]),
            "Between": np.array([[1.0, 2.0], [np.nan, np.nan], [3.0, 4.0]]),
            "Never": np.array([np.nan, np.nan]),
            "Nan": np.nan,
            "Empty": np.empty((0, 0)),
            "Left": np.array([1.0, np.nan]),
        }
        raw(data, 1)["Events"] = {"One": 1.5, "Row": [1, 2], "Column": [[1], [2]], "No": np.nan, "None": []}

    trial = read_bpod(spoilt(tmp_path, change)).trials[0]
    assert {name: visits.tolist() for name, visits in trial.states.items() if name != "Left"} == {
        "Once": [[1, 2]],
        "Column": [[1, 2]],
        "Twice": [[1, 2], [3, 4]],
        "Between": [[1, 2], [3, 4]],
        "Never": [],
        "Nan": [],
        "Empty": [],
    }
    assert all(visits.shape[1] == 2 and visits.dtype == np.float64 for visits in trial.states.values())
    assert np.array_equal(trial.states["Left"], [[1, np.nan]], equal_nan=True)
    assert {name: times.tolist() for name, times in trial.events.items()} == {
        "One": [1.5],
        "Row": [1, 2],
        "Column": [1, 2],
        "No": [],
        "None": [],
    }


def test_settings_outside_of_a_gui_are_read(tmp_path: Path) -> None:
    def change(data: dict[str, Any]) -> None:
        data["TrialSettings"] = np.array([{"Reward": 3.0, "GUIMeta": {"Reward": {}}}] * 3, object)

    assert read_bpod(spoilt(tmp_path, change)).trials[2].settings == {"Reward": 3.0}


# --- when it began -------------------------------------------------------------------------------------------------


def began(path: Path, info: Mapping[str, Any], zone: str | None = None) -> tuple[datetime | None, int]:
    data = session_data(Session(trials=PLAIN)) | {"Info": info}
    found = read_bpod(save(path / "session.mat", data), zone=ZoneInfo(zone) if zone else None)
    return found.start, len(found.warnings)


def test_a_start_is_taken_as_utc_where_nothing_says_otherwise(tmp_path: Path) -> None:
    info = {"SessionDate": "18-Mar-2022", "SessionStartTime_UTC": "16:55:28"}
    assert began(tmp_path, info) == (datetime(2022, 3, 18, 16, 55, 28), 0)
    assert began(tmp_path, info, "Europe/Berlin") == (datetime(2022, 3, 18, 16, 55, 28), 0)


def test_what_bpod_calls_utc_is_local_where_matlabs_clock_says_the_same(tmp_path: Path) -> None:
    truth = Session(start=datetime(2022, 7, 18, 0, 55, 28), trials=PLAIN)
    write_bpod(tmp_path / "session.mat", truth)
    found = read_bpod(tmp_path / "session.mat", zone=ZoneInfo("Europe/Berlin"))
    assert (found.start, found.warnings) == (datetime(2022, 7, 17, 22, 55, 28), ())
    unsure = read_bpod(tmp_path / "session.mat")
    assert unsure.start == truth.start
    assert "UTC only where that clock is" in unsure.warnings[0]


@pytest.mark.parametrize(
    ("local", "utc"),
    [
        (datetime(2022, 3, 18, 17, 55, 28), datetime(2022, 3, 18, 16, 55, 28)),
        (datetime(2022, 3, 19, 0, 30, 0), datetime(2022, 3, 18, 23, 30, 0)),
        (datetime(2022, 12, 31, 20, 0, 0), datetime(2023, 1, 1, 1, 0, 0)),
    ],
)
def test_a_true_utc_keeps_its_own_day(tmp_path: Path, local: datetime, utc: datetime) -> None:
    write_bpod(tmp_path / "session.mat", Session(start=local, utc=utc, trials=PLAIN))
    found = read_bpod(tmp_path / "session.mat", zone=ZoneInfo("Europe/Berlin"))
    assert (found.start, found.warnings) == (utc, ())


def test_a_first_trial_that_ends_behind_midnight_does_not_move_the_start(tmp_path: Path) -> None:
    info = {
        "SessionDate": "19-Mar-2022",
        "SessionStartTime_UTC": "23:59:50",
        "SessionStartTime_MATLAB": datetime(2022, 3, 18).toordinal() + 366 + 86_390 / 86_400,
    }
    assert began(tmp_path, info, "UTC") == (datetime(2022, 3, 18, 23, 59, 50), 0)


@pytest.mark.parametrize(
    "info",
    [
        {},
        {"SessionDate": "18-Mar-2022"},
        {"SessionDate": "18-Mrz-2022", "SessionStartTime_UTC": "16:55:28"},
        {"SessionDate": "31-Feb-2022", "SessionStartTime_UTC": "16:55:28"},
        {"SessionDate": "18-Mar-2022", "SessionStartTime_UTC": "25:00:00"},
        {"SessionDate": "01-Jan-0001", "SessionStartTime_UTC": "00:00:00"},
    ],
)
def test_a_start_that_is_not_told_is_none_with_a_warning(tmp_path: Path, info: dict[str, str]) -> None:
    assert began(tmp_path, info) == (None, 1)


# --- contradictions ------------------------------------------------------------------------------------------------


def put(*names: str | int, value: Any) -> Callable[[dict[str, Any]], object]:
    """Return what sets one field; a number leads to a trial."""

    def change(data: dict[str, Any]) -> None:
        place: Any = data
        for name in names[:-1]:
            place = raw(data, name) if isinstance(name, int) else place[name]
        place[names[-1]] = value

    return change


@pytest.mark.parametrize(
    ("spoil", "field"),
    [
        (put(3, "States", "Reward", value="soon"), "SessionData.RawEvents.Trial(3).States.Reward is text"),
        (put(3, "States", "Reward", value=[1.0, 2.0, 3.0]), "SessionData.RawEvents.Trial(3).States.Reward holds 3"),
        (put(3, "States", "Reward", value=1.0), "SessionData.RawEvents.Trial(3).States.Reward holds 1"),
        (put(2, "States", "Reward", value=[2.0, 1.0]), "Trial(2).States.Reward holds an exit before"),
        (put(2, "States", "Reward", value=[np.nan, 1.0]), "Trial(2).States.Reward holds a visit without"),
        (put(2, "States", "Reward", value=[[1, np.nan], [2, 3]]), "Trial(2).States.Reward holds a visit without"),
        (put(2, "States", "Reward", value=[1.0, np.inf]), "Trial(2).States.Reward holds a visit without"),
        (put(2, "States", "Reward", value={"a": 1}), "Trial(2).States.Reward is a struct"),
        (put(2, "States", "Reward", value=[1j, 2]), "SessionData.RawEvents.Trial{2}.States.Reward holds complex"),
        (put(2, "States", value=5.0), "SessionData.RawEvents.Trial(2).States is an array"),
        (put(1, "Events", "Tup", value="x"), "SessionData.RawEvents.Trial(1).Events.Tup is text"),
        (put(1, "Events", "Tup", value=-np.inf), "SessionData.RawEvents.Trial(1).Events.Tup holds a number"),
        (put(1, "Events", value="x"), "SessionData.RawEvents.Trial(1).Events is text"),
        (put("RawEvents", value={"Trial": "x"}), "SessionData.RawEvents.Trial is text"),
        (put("RawEvents", value=3.0), "SessionData.RawEvents is an array"),
        (put("RawEvents", value={}), "SessionData.RawEvents holds no trial, though nTrials is 3"),
        (put("TrialStartTimestamp", value=[1.0, 2.0]), "SessionData.TrialStartTimestamp has 2 times for 3"),
        (put("TrialStartTimestamp", value=[]), "SessionData.TrialStartTimestamp has 0 times for 3"),
        (put("TrialStartTimestamp", value=[1.0, np.nan, 2]), "SessionData.TrialStartTimestamp(2) is no time"),
        (put("TrialStartTimestamp", value=[1.0, 2, 1e300]), "SessionData.TrialStartTimestamp(3) is no time"),
        (put("TrialStartTimestamp", value=[1.0, 3.0, 3.0]), "SessionData.TrialStartTimestamp(3) is not behind"),
        (put("TrialEndTimestamp", value=[12.0]), "SessionData.TrialEndTimestamp has 1 times for 3"),
        (put("TrialEndTimestamp", value=[12.0, 1.0, 20.0]), "SessionData.TrialEndTimestamp(2) lies before"),
        (put("TrialTypes", value=[1, 2.5, 1]), "SessionData.TrialTypes(2) is no whole number"),
        (put("TrialTypes", value=[1, 2, np.inf]), "SessionData.TrialTypes(3) is no whole number"),
        (put("TrialTypes", value="abc"), "SessionData.TrialTypes is text"),
        (put("TrialTypeNames", value=np.array(["a", 2.0, "b"], object)), "SessionData.TrialTypeNames(2) is no text"),
        (put("TrialTypeNames", value=2.0), "SessionData.TrialTypeNames is an array"),
        (put("TrialSettings", value=np.array([{"GUI": 1.0}], object)), "SessionData.TrialSettings(1).GUI is an array"),
        (put("TrialSettings", value="x"), "SessionData.TrialSettings is text"),
        (put("CurrentSubjectName", value=5.0), "SessionData.CurrentSubjectName is an array"),
        (put("Info", value="x"), "SessionData.Info is text"),
        (put("Info", "SessionDate", value=5.0), "SessionData.Info.SessionDate is an array"),
        (put("nTrials", value="x"), "SessionData.nTrials is text"),
    ],
)
def test_a_field_that_contradicts_is_named(
    tmp_path: Path, spoil: Callable[[dict[str, Any]], object], field: str
) -> None:
    assert field in refusal(spoilt(tmp_path, spoil)).what


@pytest.mark.parametrize(
    ("spoil", "warning"),
    [
        (put("nTrials", value=4), "SessionData.nTrials is 4, but RawEvents holds 3"),
        (put("TrialTypes", value=[1, 2]), "SessionData.TrialTypes has 2 types"),
        (put("TrialTypeNames", value=np.array(["a", "b"], object)), "SessionData.TrialTypeNames has 2 names"),
        (put("TrialTypeNames", value=np.array(["a"] * 9, object)), "SessionData.TrialTypeNames has 9 names"),
        (put("TrialSettings", value={"GUI": {}}), "SessionData.TrialSettings has 1 settings"),
        (put("TrialStartTimestamp", value=np.arange(9.0) + 1), "SessionData.TrialStartTimestamp has 9 times"),
    ],
)
def test_counts_that_differ_are_told(tmp_path: Path, spoil: Callable[[dict[str, Any]], object], warning: str) -> None:
    found = read_bpod(spoilt(tmp_path, spoil))
    assert len(found.trials) == 3
    assert any(warning in told for told in found.warnings)


def test_an_empty_trial_keeps_its_number(tmp_path: Path) -> None:
    def empty(data: dict[str, Any]) -> None:
        data["RawEvents"]["Trial"][0, 1] = np.empty((0, 0))

    found = read_bpod(spoilt(tmp_path, empty))
    assert [(trial.trial_id, len(trial.states)) for trial in found.trials] == [(1, 3), (2, 0), (3, 3)]
    assert any("Trial(2) is empty" in warning for warning in found.warnings)


# --- foreign and damaged files -------------------------------------------------------------------------------------


def element(kind: int, content: bytes) -> bytes:
    return struct.pack("<II", kind, len(content)) + content + bytes(-len(content) % 8 if kind != 14 else 0)


def matrix(kind: int, dims: tuple[int, ...], content: bytes, name: bytes = b"") -> bytes:
    head = element(6, struct.pack("<II", kind, 0)) + element(5, struct.pack(f"<{len(dims)}i", *dims))
    return element(14, head + element(1, name) + content)


def struct_of(fields: Mapping[str, bytes], dims: tuple[int, ...] = (1, 1), name: bytes = b"") -> bytes:
    names = b"".join(field.encode().ljust(32, b"\0") for field in fields)
    head = struct.pack("<HHi", 5, 4, 32) + element(1, names)
    return matrix(2, dims, head + b"".join(fields.values()), name)


def mat5(path: Path, *variables: bytes, compressed: bool = False) -> Path:
    packed = [element(15, zlib.compress(one)) for one in variables] if compressed else variables
    packed = [one[: 8 + struct.unpack("<II", one[:8])[1]] for one in packed]  # a compressed variable is not padded
    path.write_bytes(b"MATLAB 5.0".ljust(124) + b"\x00\x01IM" + b"".join(packed))
    return path


DOUBLE = matrix(6, (1, 1), element(9, struct.pack("<d", 1.5)))
HANDLE = matrix(16, (1, 1), struct_of({"function": DOUBLE}))
OLD_OBJECT = matrix(3, (1, 1), element(1, b"inline") + struct.pack("<HHi", 5, 4, 8) + element(1, b"a".ljust(8, b"\0")))
OPAQUE = element(
    14, element(6, struct.pack("<II", 17, 0)) + element(1, b"x") + element(1, b"MCOS") + element(1, b"string") + DOUBLE
)


def test_a_missing_file_is_missing(tmp_path: Path) -> None:
    with pytest.raises(MissingFile):
        read_bpod(tmp_path / "session.mat")


def test_a_file_of_version_7_3_is_refused_with_what_to_do(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "session.mat", "w", userblock_size=512) as file:
        file["SessionData/nTrials"] = 3
    with (tmp_path / "session.mat").open("r+b") as file:
        file.write(b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM")
    error = refusal(tmp_path / "session.mat")
    assert "7.3" in error.what
    assert "-v7" in (error.hint or "")


def test_a_file_of_version_4_is_refused(tmp_path: Path) -> None:
    scipy.io.savemat(tmp_path / "session.mat", {"SessionData": np.arange(3.0)}, format="4")
    assert "version 6 or 7" in refusal(tmp_path / "session.mat").what


def test_a_file_without_a_session_names_what_it_holds(tmp_path: Path) -> None:
    scipy.io.savemat(tmp_path / "settings.mat", {"ProtocolSettings": 1, "LiquidCal": 2})
    assert "no SessionData, but ProtocolSettings, LiquidCal" in refusal(tmp_path / "settings.mat").what


@pytest.mark.parametrize("data", ["text", 5.0, np.array([{}, {}], object)])
def test_a_session_that_is_no_struct_is_refused(tmp_path: Path, data: Any) -> None:
    assert "SessionData is " in refusal(save(tmp_path / "session.mat", data)).what


@pytest.mark.parametrize("strange", [HANDLE, OLD_OBJECT, OPAQUE], ids=["handle", "object", "opaque"])
@pytest.mark.parametrize("compressed", [True, False])
def test_what_only_matlab_understands_is_left_out_with_a_warning(
    tmp_path: Path, strange: bytes, compressed: bool
) -> None:
    settings = struct_of({"GUI": struct_of({"Sound": strange, "Reward": DOUBLE}), "GUIMeta": strange})
    names = matrix(1, (1, 1), strange)
    trial = struct_of({"States": struct_of({"Cue": matrix(6, (1, 2), element(9, struct.pack("<2d", 0, 1)))})})
    fields = {
        "RawEvents": struct_of({"Trial": matrix(1, (1, 1), trial)}),
        "TrialStartTimestamp": DOUBLE,
        "TrialSettings": settings,
        "TrialTypeNames": names,
        "Notes": strange,
    }
    path = mat5(tmp_path / "session.mat", OPAQUE, struct_of(fields, name=b"SessionData"), compressed=compressed)
    found = read_bpod(path)
    assert found.trials[0].settings == {"Reward": 1.5}
    assert found.trials[0].type_name is None
    told = [warning for warning in found.warnings if "was not read" in warning]
    assert [warning.split(" is ")[0] for warning in told] == [
        "SessionData.TrialSettings.GUI.Sound",
        "SessionData.TrialTypeNames{1}",
    ]


def test_an_object_where_times_should_be_is_refused(tmp_path: Path) -> None:
    fields = {"RawEvents": struct_of({"Trial": struct_of({"a": DOUBLE})}), "TrialStartTimestamp": OPAQUE}
    path = mat5(tmp_path / "session.mat", struct_of(fields, name=b"SessionData"))
    assert "TrialStartTimestamp has 0 times" in refusal(path).what


def nested(depth: int) -> bytes:
    inner = DOUBLE
    for _ in range(depth):
        inner = matrix(1, (1, 1), inner)
    return inner


HUGE = {
    "a cell of 900 million": matrix(1, (30_000, 30_000), b""),
    "a struct of 900 million": struct_of({"a": b""}, (30_000, 30_000)),
    "a struct of 900 million without fields": struct_of({}, (30_000, 30_000)),
    "numbers of 8 TB": matrix(6, (2**20, 2**20), element(9, bytes(8))),
    "text of 4 TB": matrix(4, (2**20, 2**20), element(16, b"abc")),
    "text as wide as 2 GB": matrix(4, (0, 2**31 - 1), element(16, b"")),
    "five thousand cells deep": nested(5000),
    "dimensions below nought": matrix(6, (-1, -1), element(9, bytes(8))),
    "an element beyond its matrix": matrix(6, (1, 1), struct.pack("<II", 9, 1 << 30)),
    "no values": matrix(6, (1, 1), b""),
    "more bytes than values": matrix(6, (1, 1), element(9, bytes(16))),
    "bytes behind": matrix(6, (1, 1), element(9, bytes(8)) + bytes(8)),
    "values of no type": matrix(6, (1, 1), element(77, bytes(8))),
    "a class that is none": matrix(99, (1, 1), element(9, bytes(8))),
    "a field without a name": struct_of({"": DOUBLE}),
    "a field of Python's": struct_of({"__class__": DOUBLE}),
    "no dimensions": element(14, element(6, bytes([6] + [0] * 7)) + element(1, b"")),
    "a bare value": element(9, bytes(8)),
}


@pytest.mark.parametrize("content", HUGE.values(), ids=HUGE)
@pytest.mark.parametrize("compressed", [True, False])
def test_a_claim_that_the_bytes_do_not_keep_is_refused_with_its_place(
    tmp_path: Path, content: bytes, compressed: bool
) -> None:
    path = mat5(tmp_path / "session.mat", struct_of({"Info": content}, name=b"SessionData"), compressed=compressed)
    error = refusal(path)
    assert error.what.startswith("SessionData.Info")
    assert "byte" in error.what


def test_a_variable_that_swells_beyond_measure_is_refused_within_its_bounds(tmp_path: Path) -> None:
    """A quarter of a megabyte that would take a quarter of a gigabyte."""
    path = tmp_path / "bomb.mat"
    machine = zlib.compressobj()
    size = 1 << 28
    head = struct_of({"Info": b""}, name=b"SessionData")
    packed = machine.compress(struct.pack("<II", 14, size + len(head)) + head[8:])
    packed += b"".join(machine.compress(bytes(1 << 20)) for _ in range(256)) + machine.flush()
    path.write_bytes(b"MATLAB 5.0".ljust(124) + b"\x00\x01IM" + struct.pack("<II", 15, len(packed)) + packed)
    code = (
        "import resource, sys; from pathlib import Path\n"
        "from adamacs.core.errors import UnreadableFile\n"
        "from adamacs.modalities.behavior.reader.bpod import read_bpod\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "try:\n    read_bpod(Path(sys.argv[1]))\nexcept UnreadableFile as error:\n    print(error.what)\n"
        "print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) >> 10)\n"
    )
    out = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True).stdout
    assert "takes more than" in out
    assert int(out.splitlines()[-1]) < 400  # MiB


@pytest.mark.parametrize("compressed", [True, False])
@pytest.mark.parametrize("suffix", [".mat", ".bin"])
def test_a_file_cut_anywhere_is_refused(tmp_path: Path, compressed: bool, suffix: str) -> None:
    write_bpod(tmp_path / "whole", Session(trials=PLAIN[:1]), compressed=compressed)
    data = (tmp_path / "whole").read_bytes()
    path = tmp_path / f"cut{suffix}"
    for length in range(0, len(data), 7):
        path.write_bytes(data[:length])
        refusal(path)


@pytest.mark.parametrize("compressed", [True, False])
@given(data=st.data())
@settings(bounded, max_examples=250)
def test_mutated_bytes_give_a_session_or_a_typed_error(tmp_path: Path, compressed: bool, data: st.DataObject) -> None:
    """Changed before compression, as the bytes of a compressed variable are guarded by a checksum of their own."""
    path = tmp_path / "session.mat"
    write_bpod(path, Session(trials=PLAIN), compressed=False)
    whole = path.read_bytes()
    content = bytearray(whole[128:])
    for at in data.draw(st.lists(st.integers(0, len(content) - 1), min_size=1, max_size=4)):
        content[at] = data.draw(st.integers(0, 255))
    packed = zlib.compress(bytes(content))
    body = struct.pack("<II", 15, len(packed)) + packed if compressed else bytes(content)
    path.write_bytes(whole[:128] + body)
    try:
        found = read_bpod(path)
    except UnreadableFile as error:
        assert error.where == str(path)
        return
    for events in (*raw_events(found).values(), *derived_events(found).values()):
        assert np.isfinite(events.times).all()
        assert (np.diff(events.times) >= 0).all()
    assert len(trial_attributes(found)) == len(found.trials)


@given(junk=st.binary(max_size=300), compressed=st.booleans())
@settings(bounded, max_examples=300)
def test_bytes_of_chance_within_a_variable_are_refused_or_read(tmp_path: Path, junk: bytes, compressed: bool) -> None:
    variable = struct_of({"Info": element(14, junk)}, name=b"SessionData")
    try:
        read_bpod(mat5(tmp_path / "session.mat", variable, compressed=compressed))
    except UnreadableFile as error:
        assert error.where == str(tmp_path / "session.mat")


# --- against SciPy alone ---------------------------------------------------------------------------------------------

VALUES = st.recursive(
    st.floats(allow_nan=False)
    | st.booleans()
    | st.integers(-(2**31), 2**31)
    | st.text(st.characters(min_codepoint=32, max_codepoint=0x7FF), max_size=8)
    | st.lists(st.floats(allow_nan=False), max_size=4).map(np.array)
    | st.integers(0, 255).map(np.uint8),
    lambda inner: st.one_of(
        st.dictionaries(st.sampled_from(("a", "Field2", "long" * 15)), inner, min_size=1, max_size=3),
        st.lists(inner, min_size=2, max_size=4).map(lambda values: np.array([*values, None], object)[:-1]),
    ),
    max_leaves=12,
)


def plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: plain(member) for name, member in value.items()}
    if isinstance(value, list) or (isinstance(value, np.ndarray) and value.dtype == object):
        return [plain(member) for member in value]
    if isinstance(value, scipy.io.matlab.mat_struct):  # SciPy leaves them in a cell whose first member is none
        return {name: plain(getattr(value, name)) for name in value._fieldnames}
    if isinstance(value, str):
        return value or []
    return np.asarray(value).ravel().tolist()


@given(value=VALUES, compressed=st.booleans())
@bounded
def test_any_value_reads_as_scipy_reads_it_alone(tmp_path: Path, value: Any, compressed: bool) -> None:
    path = save(tmp_path / "value.mat", {"x": value}, do_compression=compressed)
    alone = scipy.io.loadmat(path, simplify_cells=True, mat_dtype=True)["SessionData"]["x"]
    assert plain(read_variable(path, "SessionData").value["x"]) == plain(alone)


def test_a_big_endian_file_reads_alike(tmp_path: Path) -> None:
    value = element(9, struct.pack("<d", 1.5))
    little = mat5(tmp_path / "little.mat", matrix(6, (1, 1), value, b"SessionData"))
    packed = little.read_bytes()[128:]
    head, name, tag = packed[:48], packed[48:64], packed[64:72]
    big = struct.pack(">12I", *struct.unpack("<12I", head)) + name
    big += struct.pack(">II", *struct.unpack("<II", tag)) + struct.pack(">d", 1.5)
    (tmp_path / "big.mat").write_bytes(b"MATLAB 5.0".ljust(124) + b"\x01\x00MI" + big)
    for path in (little, tmp_path / "big.mat"):
        assert read_variable(path, "SessionData").value.tolist() == [[1.5]]


# --- events and attributes ----------------------------------------------------------------------------------------


def visited(**states: tuple[tuple[float, float], ...]) -> Session:
    other = {name: () for rule in STATE_RULES for name in rule.states if "*" not in name}
    attributes = {rule.state: () for rule in ATTRIBUTE_RULES}
    return Session(trials=(Trial(100.0, 200.0, {**other, **attributes, "Drinking": (), **states}),))


def read_back(path: Path, truth: Session) -> BpodSession:
    write_bpod(path / "session.mat", truth)
    return read_bpod(path / "session.mat")


@pytest.mark.parametrize(
    ("state", "events"),
    [
        ("WaitForPosTriggerSoftCode", {"bpod_cue": [101.0], "bpod_at_target": [102.0]}),
        ("CueDelayTrialCricket", {"bpod_at_subtarget": [101.0]}),
        ("Drinking", {"bpod_drinking": [101.0]}),
        ("Reward", {"bpod_reward_track": [101.0]}),
        ("WaitForStimulus", {"bpod_firststim_oddball": [102.0]}),
        ("WaitForTriggerStartSoftCode", {"bpod_bonsaitrial_lineartrack": [102.0]}),
        ("WaitForLick", {"bpod_correctlick_lineartrack": [102.0]}),
        ("WaitRewardLick", {"bpod_rewardzone_standard_lineartrack": [102.0]}),
        ("WaitRewardNoLick", {"bpod_rewardzone_crutch_lineartrack": [102.0]}),
        ("RewardNoLick", {"bpod_reward_lineartrack": [101.0]}),
        ("Port2RewardDelay", {}),
        ("SomethingElse", {}),
    ],
)
def test_a_state_gives_its_events_on_the_bpod_clock(tmp_path: Path, state: str, events: dict[str, list[float]]) -> None:
    found = derived_events(read_back(tmp_path, visited(**{state: ((1.0, 2.0),)})))
    assert {name: event.times.tolist() for name, event in found.items()} == events
    assert all(event.trial_ids.tolist() == [1] for event in found.values())


def test_a_reward_counts_only_where_the_animal_drank(tmp_path: Path) -> None:
    truth = visited(
        Port3RewardDelay=((1.0, 2.0),), Port1RewardDelay=(), Port3Reward=((2.0, 2.5),), Drinking=((3.0, 4.0),)
    )
    found = derived_events(read_back(tmp_path, truth))
    assert {name: event.times.tolist() for name, event in found.items()} == {
        "bpod_at_correct_port": [101.0],
        "bpod_reward": [102.0],
        "bpod_drinking": [103.0],
    }


def test_ports_and_licks_become_events_of_their_trial(tmp_path: Path) -> None:
    trials = (
        Trial(1.0, 5.0, {}, {"Port1In": (1.0, 2.0), "Port1Out": (1.5,), "BNC1High": (0.5,)}),
        Trial(6.0, 8.0, {}, {"Port1In": (1.0,), "Port2In": (0.25,), "Tup": (2.0,)}),
    )
    found = derived_events(read_back(tmp_path, Session(trials=trials)))
    assert sorted(found) == ["bpod_Port1In", "bpod_Port2In", "bpod_lick_onset"]
    assert found["bpod_Port1In"].times.tolist() == [2.0, 3.0, 7.0]
    assert found["bpod_Port1In"].trial_ids.tolist() == [1, 1, 2]
    assert found["bpod_Port1In"].trial_ids.dtype == np.int64
    assert (found["bpod_Port2In"].times.tolist(), found["bpod_lick_onset"].times.tolist()) == ([6.25], [1.5])


@given(truth=sessions())
@settings(bounded, max_examples=60)
def test_raw_events_are_all_that_bpod_wrote_and_no_more(tmp_path: Path, truth: Session) -> None:
    found = raw_events(read_back(tmp_path, truth))
    expected: dict[str, list[float]] = {}
    for trial in truth.trials:
        for name, times in trial.events.items():
            expected.setdefault(f"raw_bpod_{name}", []).extend(trial.start + time for time in times)
        for name, visits in trial.states.items():
            for entry, leave in visits:
                expected.setdefault(f"raw_bpod_{name}_entry", []).append(trial.start + entry)
                expected.setdefault(f"raw_bpod_{name}_exit", []).append(trial.start + leave)
    assert {name: event.times.tolist() for name, event in found.items()} == {
        name: sorted(times) for name, times in expected.items()
    }


def test_a_state_that_was_never_left_has_an_entry_and_no_exit(tmp_path: Path) -> None:
    found = raw_events(read_back(tmp_path, visited(Reward=((1.0, np.nan),))))
    assert [name for name in found if "Reward" in name] == ["raw_bpod_Reward_entry"]


def test_another_protocol_is_another_table(tmp_path: Path) -> None:
    session = read_back(tmp_path, visited(Odor=((1.0, 2.0), (3.0, 4.0))))
    found = derived_events(session, [StateRule("odor_off", ("Od*",), "exit")], [])
    assert {name: event.times.tolist() for name, event in found.items()} == {"bpod_odor_off": [102.0, 104.0]}


@pytest.mark.parametrize(
    ("punished", "waited", "limit", "expected"),
    [
        ((), ((0.0, 4.9),), 5.0, {"error": False, "timeout": False}),
        (((1.0, 2.0),), ((0.0, 5.0),), 5.0, {"error": True, "timeout": True}),
        ((), ((0.3, 5.3),), 5.0, {"error": False, "timeout": True}),  # 5.3 - 0.3 is less than 5 in binary
        ((), ((0.0, 3.0), (3.5, 6.0)), 5.0, {"error": False, "timeout": False}),
        ((), (), 5.0, {"error": False, "timeout": False}),
        ((), ((0.0, 9.0),), None, {"error": False}),
        ((), ((0.0, 9.0),), "long", {"error": False}),
    ],
)
def test_attributes_follow_from_states_and_settings(
    tmp_path: Path, punished: Any, waited: Any, limit: Any, expected: dict[str, bool]
) -> None:
    settings = {} if limit is None else {"ResponseTime": limit}
    trial = Trial(1.0, 20.0, {"Punish": punished, "WaitForResponse": waited}, settings=settings)
    assert trial_attributes(read_back(tmp_path, Session(trials=(trial,)))) == (expected,)


def test_a_protocol_without_the_states_has_no_attributes(tmp_path: Path) -> None:
    session = read_back(tmp_path, Session(trials=(Trial(1.0, 2.0, {"Cue": ()}), Trial(3.0, 4.0, {"Punish": ()}))))
    assert trial_attributes(session) == ({}, {"error": False})


def test_the_bounds_leave_room_for_a_long_session(tmp_path: Path) -> None:
    """Bytes and elements of two thousand trials, from those of three hundred."""
    states = {f"State{number}": ((0.0, 1.0),) for number in range(30)}
    trials = tuple(Trial(2.0 * number, 2.0 * number + 1.5, states, {"Tup": (1.0,)}) for number in range(1, 301))
    write_bpod(tmp_path / "session.mat", Session(trials=trials), compressed=False)
    size = (tmp_path / "session.mat").stat().st_size
    assert len(read_bpod(tmp_path / "session.mat").trials) == 300
    assert size * 2000 / 300 < mat._LARGEST / 4
    assert mat._MOST_ELEMENTS > 10 * 2000 * 40
