"""A scan as all computers of a rig leave it: every file that its setup type reads, from one hidden truth.

A mouse runs, licks and turns its head; the rig's lines tell of it on one clock, and Bpod, Bonsai, the computers of the
cameras and HARP on clocks of their own, which are off, run at other rates, and write down late. Frames get lost, pulses
are lost or come from nowhere, wires are swapped and the head is shaken harder than its sensors can tell.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adamacs.core.setup_wiring import Align, Harp
from adamacs.core.setups import Expected, SetupType
from adamacs.demo import bpod, cameras, harp, head, motive, rig, stimuli, video
from adamacs.demo.rig import Rig
from adamacs.demo.stimuli import Show

Floats = NDArray[np.float64]

_FREE_RATE = 30.0  # Hz of a camera that nothing triggers
_LATE, _LATEST = 0.0005, 0.006  # s by which a computer writes a frame down late, on average and at most
_HARP_LATE = 2e-5  # s, of a device that stamps pulses itself
_FASTEST = 80e-6  # part by which a computer's clock runs too fast or too slow at most
_LICK, _LICK_AFTER, _LICK_APART = 0.04, 0.3, (0.11, 0.16)  # s: a lick, from a trial's start on, from one to the next
_FILMING = ("camera", "harp_frames")  # readers of what devices stamp, frame by frame
_APART = 2e-3  # s of a false pulse from the next true one


@dataclass(frozen=True)
class Faults:
    """What goes wrong.

    Attributes
    ----------
    lost
        Frames that are missing from the table of a source, by its name; of a camera, from its video as well.
    unfilmed
        Frames that the video of a camera lacks although its table has them, by the camera's name.
    missing, extra
        Pulses that a channel lacks, and pulses that it has too many, by its name.
    swapped
        Two channels, each wired in the other's place.
    shakes
        Times that the head moves harder than the accelerometer can tell.
    """

    lost: Mapping[str, int] = field(default_factory=dict)
    unfilmed: Mapping[str, int] = field(default_factory=dict)
    missing: Mapping[str, int] = field(default_factory=dict)
    extra: Mapping[str, int] = field(default_factory=dict)
    swapped: tuple[str, str] | None = None
    shakes: int = 0


@dataclass(frozen=True, eq=False)
class Film:
    """The table of a source that stamps frames.

    Attributes
    ----------
    event
        Event type of its frames.
    times
        float64, (frame,): s of the sweep when the frames of the table were exposed.
    stamps
        int64, (frame,): what the computer wrote, ns since 1970.
    zero, drift
        s of the sweep at the first stamp, and a part: seconds of the sweep are `1 + drift` of the computer's.
    """

    event: str
    times: Floats
    stamps: NDArray[np.int64]
    zero: float
    drift: float


@dataclass(frozen=True, eq=False)
class Session:
    """Everything that is written of one scan.

    Attributes
    ----------
    start
        Of the sweep.
    rig
        What the lines carried, faults included.
    films
        Of cameras, of motion capture, and of HARP's table of two-photon frames, by source.
    videos
        How many frames the video of each camera holds, by the camera.
    take
        What Motive recorded; None where the setup type reads no table of it.
    show
        What Bonsai showed; None where the setup type reads no log of it.
    head
        How the head moved; None where the setup type reads no inertial unit.
    truth
        s at which the events of each type began, as the tables should hold them: of the sweep; of several as they tell
        them (`Rig.told`).
    """

    start: datetime
    rig: Rig
    films: Mapping[str, Film]
    videos: Mapping[str, int]
    take: motive.Take | None
    show: Show | None
    head: head.Head | None
    truth: Mapping[str, Floats]

    @property
    def setup(self) -> SetupType:
        """Of the scan."""
        return self.rig.setup

    @property
    def clocks(self) -> dict[str, tuple[float, float]]:
        """Of each clock that is placed on the sweep: s of the sweep at its zero, and its drift, ppm.

        Seconds of the sweep are longer by the drift. NaN for the zero of Bonsai's, which depends on what it logs first.
        """
        found = {source: (film.zero, 1e6 * film.drift) for source, film in self.films.items()}
        if self.rig.task is not None and self.setup.placed_by("bpod"):
            found["bpod"] = (-self.rig.task.offset, 1e6 * self.rig.task.drift)
        if self.show is not None and self.setup.placed_by("bonsai"):
            found["bonsai"] = (np.nan, 1e6 * self.show.drift)
        return found

    def write(self, folder: Path, stem: str) -> tuple[Path, ...]:
        """Write every file that the setup type reads, each as its program would, and return them.

        Videos are written where PyAV is installed, and a take has its own file beside its table.
        """
        written: dict[str, Path] = {}
        for expected in self.setup.expected:
            source = expected.told_by
            if source and source not in written:  # a table, or its copy in other files, not both
                path = folder / _name(expected, stem, self.start)
                if self._write(expected, source, path):
                    written[source] = path
        return tuple(written.values())

    def _write(self, expected: Expected, source: str, path: Path) -> bool:
        if expected.parser == "wavesurfer":
            self.rig.write(path, self.start)
        elif expected.parser == "bpod" and self.rig.task is not None:
            bpod.write_bpod(path, replace(self.rig.task.session, start=self.start.replace(tzinfo=None)))
        elif expected.parser == "camera":
            cameras.write_bonsai(path, self.films[source].stamps, offset=60)
        elif expected.parser == "video" and video.can_write():
            film = self.films[expected.stamped_by]
            video.write_video(path, self.videos[expected.stamped_by], rate=round(_rate(film.times)))
        elif expected.parser == "motive" and self.take is not None:
            motive.write_take(path, self.take)
            motive.write_tak(path.with_suffix(".tak"))
        elif expected.parser == "harp_frames":
            stamps = self.films[source].stamps
            harp.write_frame_sync(path, np.arange(len(stamps)), stamps, offset=60)
        elif expected.parser == "harp_imu" and self.head is not None:
            harp.write_imu_table(path, self.head.counts)
        elif source == "bonsai" and self.show is not None:
            self.show.write_log(path)
        else:
            return False
        return True

    def save_truth(self, path: Path) -> None:
        """Write the events (`events.<type>`, s) and `clocks` (`clock.<name>`) to an .npz file."""
        arrays: dict[str, Any] = {f"events.{name}": times for name, times in self.truth.items()}
        arrays |= {f"clock.{name}": np.array(placed) for name, placed in self.clocks.items()}
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez(path, **arrays)


def load_truth(path: Path) -> tuple[dict[str, Floats], dict[str, tuple[float, float]]]:
    """Return the events (s of the sweep) and the clocks (as `Session.clocks`) that `Session.save_truth` wrote."""
    with np.load(path) as file:
        found = {name: file[name] for name in file.files}
    events = {name.removeprefix("events."): value for name, value in found.items() if name.startswith("events.")}
    clocks = {name.removeprefix("clock."): value for name, value in found.items() if name.startswith("clock.")}
    return events, {name: (float(zero), float(drift)) for name, (zero, drift) in clocks.items()}


def record(
    setup: SetupType,
    seconds: float,
    *,
    frames: int = 0,
    frame_rate: float = 20.0,
    per_volume: int = 1,
    faults: Faults | None = None,
    start: datetime = datetime(2026, 2, 10, 9, 30, tzinfo=UTC),
    pauses: Sequence[tuple[float, float]] = (),
    late: Sequence[float] = (),
    seed: int = 0,
) -> Session:
    """Let every computer of a rig record a scan.

    Parameters
    ----------
    setup
        What is wired, and which files there are.
    seconds
        Of the auxiliary sweep; without auxiliary channels of Bpod's session.
    frames, frame_rate, per_volume
        Two-photon frames, Hz, and how many make a volume, as `Rig.with_frames` takes them; 0: the rig's own.
    faults
        What goes wrong.
    start
        Of the sweep.
    pauses, late
        Of the auxiliary recording, while all others go on, as `Rig.interrupted` takes them.
    seed
        The same seed gives the same bytes.
    """
    faults = faults or Faults()
    ran = rig.record(setup, seconds, seed=seed)
    if frames:
        ran = ran.with_frames(frames, frame_rate, per_volume=per_volume)
    if "lick" in ran.pulses and ran.task is not None:
        ran = replace(ran, pulses={**ran.pulses, "lick": _licks(ran, ran.task, seed)})
    show = None
    if "bonsai" in setup.sources:
        show = stimuli.show(ran, seed=seed)
        ran = show.rig
    films = _films(ran, seconds, faults, start, seed)
    videos = {
        one.stamped_by: len(films[one.stamped_by].times) - faults.unfilmed.get(one.stamped_by, 0)
        for one in setup.expected
        if one.stamped_by
    }
    take = None
    for rule in (rule for rule in setup.align if setup.sources.get(rule.source) == "motive"):
        films[rule.source], take = _take(ran, rule, faults, start, seed)
    moved = _head(ran, faults, seed) if "harp_imu" in setup.sources.values() else None
    truth: dict[str, Floats] = {film.event: film.times for film in films.values()}
    if ran.task is not None and (setup.placed_by("bpod") or setup.clock.stream == "bpod"):
        truth |= ran.task.events
    if show is not None and setup.placed_by("bonsai"):
        truth["stimulus"] = show.onsets
    spoilt = _spoilt(ran, faults, seed)
    if pauses:
        ran, spoilt = (one.interrupted(*pauses, late=late) for one in (ran, spoilt))
        truth = {event: ran.told(times) for event, times in truth.items()}
    return Session(
        start, spoilt, films, videos, take, show, moved, {**replace(ran, pulses=_kept(ran, spoilt)).events, **truth}
    )


def _name(expected: Expected, stem: str, start: datetime) -> str:
    """Return a name that the pattern of files is for, with the time where it has one."""
    time = f"{start:_%Y-%m-%dT%H_%M_%S}"
    name = re.sub(r"^\*(?=\w)", f"{stem}_", expected.files)
    name = re.sub(r"^\*", stem, name)
    return name.replace("_20*", time).replace("_*[0-9]", time).replace("_*", time).replace("*", "")


def _licks(ran: Rig, task: rig.Task, seed: int) -> NDArray[np.int64]:
    """Return bouts of licks, one in every trial of the second type, from half a second after its start on."""
    rng = np.random.default_rng([seed, 19])
    starts = task.scan_time(np.array([trial.start for trial in task.session.trials if trial.type == 2], np.float64))
    bouts = [start + _LICK_AFTER + 0.1 * rng.random() + np.cumsum(rng.uniform(*_LICK_APART, 4)) for start in starts]
    onsets = np.concatenate([np.empty(0), *bouts])
    onsets = np.sort(onsets[(onsets > 0.5) & (onsets < ran.samples / ran.sample_rate - 0.5)])
    begin = np.round(onsets * ran.sample_rate).astype(np.int64)
    return np.stack([begin, begin + round(_LICK * ran.sample_rate)], axis=1)


def _films(ran: Rig, seconds: float, faults: Faults, start: datetime, seed: int) -> dict[str, Film]:
    """Return what computers stamped; those that are placed through another stand in the same computer."""
    rules = {rule.source: rule for rule in ran.setup.align}
    computers: dict[str, float] = {}
    films = {}
    stamping = [name for name, parser in ran.setup.sources.items() if parser in _FILMING]
    for number, source in enumerate(stamping):
        rng = np.random.default_rng([seed, number, 13])
        rule = rules.get(source, Align(source))
        drift = computers.setdefault(rule.through or source, _FASTEST * (2 * rng.random() - 1))
        if rule.channel in ran.pulses:
            exposed = ran.pulses[rule.channel][:, 0] / ran.sample_rate
        else:
            exposed = np.arange(0.8 + 0.1 * rng.random(), seconds - 0.4, 1 / _FREE_RATE)
        mean = _HARP_LATE if ran.setup.sources[source] == "harp_frames" else _LATE
        late = np.minimum(rng.exponential(mean, len(exposed)), _LATEST)
        stamps = round(start.timestamp() * 1e9) + np.round(1e9 * (exposed + late) / (1 + drift)).astype(np.int64)
        inner = np.arange(1, len(exposed) - 1)
        lost = rng.choice(inner, min(faults.lost.get(source, 0), len(inner)), replace=False)
        event = (rule.events or (f"{source}_frames",))[0]
        films[source] = Film(
            event,
            np.delete(exposed, lost),
            np.maximum.accumulate(np.delete(stamps, lost)),
            float(exposed[0] + late[0]),
            drift,
        )
    return films


def _take(ran: Rig, rule: Align, faults: Faults, start: datetime, seed: int) -> tuple[Film, motive.Take]:
    """Return the frames of motion capture, which Motive writes down as if its cameras had run at exactly their rate."""
    rng = np.random.default_rng([seed, 23])
    drift = _FASTEST * (2 * rng.random() - 1)
    exposed = ran.pulses[rule.channel][:, 0] / ran.sample_rate
    period, zero = np.polyfit(np.arange(len(exposed)), exposed, 1).tolist()
    rate = round((1 + drift) / period, 6)
    inner = np.arange(1, len(exposed) - 1)
    lost = rng.choice(inner, min(faults.lost.get(rule.source, 0), len(inner)), replace=False)
    stamps = round((start.timestamp() + zero) * 1e9) + np.round(1e9 * np.arange(len(exposed)) / rate).astype(np.int64)
    film = Film(rule.events[0], np.delete(exposed, lost), np.delete(stamps, lost), zero, drift)
    begun = (start + timedelta(seconds=zero)).replace(tzinfo=None)
    return film, motive.Take(len(exposed), rate, tuple(sorted(lost.tolist())), start=begun)


def _rate(times: Floats) -> float:
    return (len(times) - 1) / float(times[-1] - times[0])


def _head(ran: Rig, faults: Faults, seed: int) -> head.Head:
    said = ran.setup.harp or Harp()
    opened, closed = (ran.pulses[said.gate][0] if said.gate else np.array([0, ran.samples])) / ran.sample_rate
    return head.move(float(opened), float(closed), said, shakes=faults.shakes, seed=seed)


def _spoilt(ran: Rig, faults: Faults, seed: int) -> Rig:
    """Return the recording with pulses lost, false ones, and wires swapped."""
    rng = np.random.default_rng([seed, 17])
    pulses = dict(ran.pulses)
    for name, count in faults.missing.items():
        lost = rng.choice(np.arange(1, len(pulses[name]) - 1), count, replace=False)
        pulses[name] = np.delete(pulses[name], lost, axis=0)
    for name, count in faults.extra.items():
        pulses[name] = _with_false(pulses[name], count, round(_APART * ran.sample_rate), rng)
    if faults.swapped is not None:
        one, other = faults.swapped
        pulses[one], pulses[other] = pulses[other], pulses[one]
    return replace(ran, pulses=pulses)


def _with_false(pulses: NDArray[np.int64], count: int, apart: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Return pulses with short false ones, each in the middle of a different pause that leaves room for it."""
    room = np.flatnonzero(pulses[1:, 0] - pulses[:-1, 1] > 3 * apart)
    after = rng.choice(room, count, replace=False)
    middle = (pulses[after, 1] + pulses[after + 1, 0]) // 2
    false = np.stack([middle, middle + max(apart // 4, 1)], axis=1)
    together = np.vstack([pulses, false])
    return together[np.argsort(together[:, 0])]


def _kept(ran: Rig, spoilt: Rig) -> dict[str, NDArray[np.int64]]:
    """Return the true pulses that are in the recording."""
    return {name: true[np.isin(true[:, 0], spoilt.pulses[name][:, 0])] for name, true in ran.pulses.items()}
