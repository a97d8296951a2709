"""Writer of the texts in which Bonsai's workflows tell what they showed, in all kinds that the lab has."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Literal


@dataclass(frozen=True)
class Shown:
    """A stimulus, spelt with semicolons, and when it was shown (s since the log began)."""

    time: float
    stimulus: str


@dataclass(frozen=True)
class StimulusLog:
    """All that a workflow showed, and how it told.

    Attributes
    ----------
    shown
        While recording, in order.
    before, behind
        Shown before recording began and, where the log says so, when it was over.
    start
        When the log began, with its zone; whole microseconds.
    clock
        `instant`: time stamps with their zone. `seconds`: numbers. `none`: no times.
    """

    dialect: Literal["events", "master_trigger", "harp_acquiring", "ungated"] = "events"
    shown: tuple[Shown, ...] = ()
    before: tuple[Shown, ...] = ()
    behind: tuple[Shown, ...] = ()
    start: datetime = datetime(2026, 2, 10, 9, 30, tzinfo=timezone(timedelta(hours=1)))
    clock: Literal["instant", "seconds", "none"] = "instant"


def write_stimuli(
    path: Path, truth: StimulusLog, *, encoding: str = "utf-8", newline: Literal["\r\n", "\n"] = "\r\n"
) -> None:
    """Write one file. Bonsai itself writes UTF-8 with Windows' ends of lines; other encodings come from editors."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = _table(truth) if truth.dialect == "events" else _log(truth)
    path.write_bytes(newline.join([*lines, ""]).encode(encoding))


def _table(truth: StimulusLog) -> Iterator[str]:
    timed = truth.clock != "none"
    name = "Seconds" if truth.clock == "seconds" else "Timestamp"
    yield f"Frame,{name},Value" if timed else "Frame,Value"
    for frame, shown in enumerate(truth.shown):
        yield ",".join([str(frame), *_stamp(truth, shown.time), shown.stimulus])


def _log(truth: StimulusLog) -> Iterator[str]:
    yield "Time,Message" if truth.clock != "none" else "Message"
    yield _line(truth, 0.0, "Workflow:ON")
    yield from _told(truth, truth.before)
    opens = {"master_trigger": "Master_Trigger:ON", "harp_acquiring": "HARP_acquiring:ON"}.get(truth.dialect)
    if opens:
        yield _line(truth, truth.shown[0].time if truth.shown else 0.0, opens)
    yield from _told(truth, truth.shown)
    if truth.dialect == "master_trigger":
        yield _line(truth, truth.shown[-1].time if truth.shown else 0.0, "Master_Trigger:OFF")
        yield from _told(truth, truth.behind)


def _told(truth: StimulusLog, shown: tuple[Shown, ...]) -> Iterator[str]:
    for one in shown:
        told = one.stimulus if truth.dialect == "harp_acquiring" else f"Stimulus(({one.stimulus.replace(';', ',')}))"
        yield _line(truth, one.time, told)


def _line(truth: StimulusLog, time: float, message: str) -> str:
    return ",".join([*_stamp(truth, time), message])


def _stamp(truth: StimulusLog, time: float) -> list[str]:
    if truth.clock == "none":
        return []
    if truth.clock == "seconds":
        return [repr(float(time))]
    at = truth.start + timedelta(seconds=time)
    return [at.strftime("%Y-%m-%dT%H:%M:%S.%f") + "0" + _zone(at)]  # .NET writes seven digits


def _zone(at: datetime) -> str:
    minutes = round((at.utcoffset() or timedelta()).total_seconds() / 60)
    return f"{'-' if minutes < 0 else '+'}{abs(minutes) // 60:02d}:{abs(minutes) % 60:02d}"
