"""What a rig's lines carried during a scan, from one hidden truth: the auxiliary recording of any setup type.

A setup type says what stands on which line; here every channel gets pulses that fit it (its rate, its counts, when it
may begin), a little irregular as real ones are, and the truth is kept in samples. A wheel turns under a mouse whose way
is known, and a light that is kept as a voltage is not the same all the time that it is on.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from adamacs.core.setup_wiring import WHEEL, Align, Channel, Wheel
from adamacs.core.setups import SetupType
from adamacs.demo import bpod
from adamacs.demo.wavesurfer import Analog, Digital, Sweep, WaveSurfer, write_wavesurfer
from adamacs.demo.wheel import walk, wheel_volts

_ON = 4.0  # V of an analog pulse
_GATE = 0.2  # s from the start of the sweep to the opening of a gate
_TTL = 0.02  # s that Bpod raises the line
_TRIAL_START = "bpod_trial_start"
_RAW = "raw_bpod_"  # before the name of an event of Bpod's own
# By the event that its end is, a state that every trial begins with; the beginning of the first is the cue.
_STATES = {"bpod_at_target": "WaitForPosTriggerSoftCode", "bpod_firststim_oddball": "WaitForStimulus"}
_CAMERAS = 50.0  # Hz
_SLOWEST = 8.0  # pulses in a recording of a channel without a rate of its own
_RIPPLE = 0.4, 11.0  # V and Hz by which a light that is on varies
ANY_WHEEL = Wheel(50.0)  # of setup types that do not say what is theirs
_OFFSET, _NOISE, _CAUGHT = 0.3, 0.002, 0.5  # turns, V, share of the falls that a sample catches


@dataclass(frozen=True)
class Ride:
    """How a mouse moved on a wheel.

    Attributes
    ----------
    wheel
        What its volts mean.
    position, speed
        cm since the first sample and cm/s, forward positive, float64 (sample,).
    seed
        Of the encoder's noise.
    """

    wheel: Wheel
    position: NDArray[np.float64]
    speed: NDArray[np.float64]
    seed: int = 0

    def volts(self) -> NDArray[np.float64]:
        """Return what the encoder gives, V, (sample,)."""
        return wheel_volts(
            self.position,
            circumference=self.wheel.circumference,
            low=self.wheel.low,
            high=self.wheel.high,
            direction=self.wheel.direction,
            offset=_OFFSET,
            noise=_NOISE,
            caught=_CAUGHT,
            seed=self.seed,
        )


@dataclass(frozen=True)
class Rig:
    """An auxiliary recording before it is written.

    Attributes
    ----------
    sample_rate
        Hz.
    samples
        Of the sweep.
    pulses
        Per channel of the setup type but waveforms, int64 (pulse, 2): first sample that is on, and first one behind it.
    levels
        Per channel of kind `level`, float64 (pulse,): V of each plateau.
    task
        What Bpod played, where the setup type reads its sessions.
    ride
        How the mouse moved; None without a channel `treadmill`.
    """

    setup: SetupType
    sample_rate: float
    samples: int
    pulses: dict[str, NDArray[np.int64]]
    levels: dict[str, NDArray[np.float64]]
    task: Task | None = None
    ride: Ride | None = None

    @property
    def events(self) -> dict[str, NDArray[np.float64]]:
        """When each event of the auxiliary recording began, s of the sweep, by its type."""
        aligning = {rule.channel for rule in self.setup.align}
        stored = (c for c in self.setup.channel if c.name in self.pulses and (c.event or c.name in aligning))
        return {channel.event_type: self.pulses[channel.name][:, 0] / self.sample_rate for channel in stored}

    def with_frames(self, count: int, rate: float, *, per_volume: int = 1) -> Rig:
        """Return the same with so many two-photon frames at a rate (Hz), from one second after the start on.

        Where `per_volume` of them make a volume, so that the first of each gives a pulse of the volume clock, too.
        """
        start = np.round((1 + np.arange(count) / rate) * self.sample_rate).astype(np.int64)
        frames = np.stack([start, start + round(0.3 / rate * self.sample_rate)], axis=1)
        clocks = {"two_photon_frames": frames}
        if per_volume > 1 or "two_photon_volumes" in self.pulses:
            clocks["two_photon_volumes"] = frames[::per_volume]
        return replace(self, pulses={**self.pulses, **clocks})

    def write(self, path: Path, start: datetime = datetime(2026, 2, 10, 9, 30)) -> Path:
        """Write it as WaveSurfer does, with the start of the sweep by the rig's clock, and return the path."""
        lines = _of_places(self.setup, is_digital=True)
        inputs = _of_places(self.setup, is_digital=False)
        settings = WaveSurfer(
            sample_rate=self.sample_rate,
            duration=self.samples / self.sample_rate,
            start=start.replace(tzinfo=None),
            lines=tuple(Digital(_label(channel, f"DI{bit}")) for bit, channel in enumerate(lines)),
            channels=tuple(Analog(_label(channel, f"AI{row}")) for row, channel in enumerate(inputs)),
        )
        words = np.zeros(self.samples, np.uint32)
        for bit, channel in enumerate(lines):
            if channel is not None:
                words |= self._state(channel).astype(np.uint32) << np.uint32(bit)
        volts = np.stack([self._volts(channel) for channel in inputs]) if inputs else None
        packed = words.astype(np.uint8 if len(lines) <= 8 else np.uint16)
        return write_wavesurfer(path, [Sweep(packed if lines else None, volts)], settings)

    def waveform(self, name: str) -> NDArray[np.float64]:
        """Return what a channel of kind `waveform` carries, V, (sample,), before the board makes counts of it.

        That is the wheel's encoder, or a light that varies; one that shares the input of another channel is on in the
        pulses of that one.
        """
        if name == WHEEL and self.ride:
            return self.ride.volts()
        swing, pace = _RIPPLE
        volts = _ON + swing * np.sin(2 * math.pi * pace / self.sample_rate * np.arange(self.samples))
        inside = next(channel.inside for channel in self.setup.channel if channel.name == name)
        outer = next((channel for channel in self.setup.channel if channel.name == inside), None)
        return np.where(self._state(outer), volts, 0.0) if outer else volts

    def _state(self, channel: Channel) -> NDArray[np.bool_]:
        """Return whether a line is high, (sample,)."""
        change = np.zeros(self.samples + 1, np.int64)
        for column, step in ((0, 1), (1, -1)):
            np.add.at(change, self.pulses[channel.name][:, column], step)
        return (np.cumsum(change[:-1]) > 0) != (channel.polarity == "low")

    def _volts(self, channel: Channel | None) -> NDArray[np.float64]:
        if channel is None:
            return np.zeros(self.samples)
        if channel.kind == "waveform":
            return self.waveform(channel.name)
        if inner := next((one for one in self.setup.channel if one.inside == channel.name), None):
            return self.waveform(inner.name)
        if channel.name not in self.levels:
            return np.where(self._state(channel), _ON, 0.0)
        volts = np.zeros(self.samples)
        for (start, stop), level in zip(self.pulses[channel.name], self.levels[channel.name], strict=True):
            volts[start:stop] = level
        return volts


@dataclass(frozen=True)
class Task:
    """What Bpod played during a recording, on its own clock.

    Attributes
    ----------
    session
        As Bpod saves it; its times are those of its cycles, whole 0.1 ms.
    offset, drift
        s, and a part: a time of the sweep is `(1 + drift) * time - offset` of Bpod's. Both 0 where that is scan time.
    told
        s of the sweep, float64: when Bpod raised the line to the rig, where one is wired.
    """

    session: bpod.Session
    offset: float
    drift: float
    told: NDArray[np.float64]

    def scan_time(self, times: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return times of Bpod as seconds of the sweep, as they truly are."""
        return times * (1 + self.drift) - self.offset

    @property
    def events(self) -> dict[str, NDArray[np.float64]]:
        """What its trials and states mean, by event type: s of the sweep, as they truly are."""
        trials = self.session.trials
        starts = np.array([trial.start for trial in trials], np.float64)
        ends = {event: [trial.states[state][0][1] for trial in trials] for event, state in _STATES.items()}
        found = {_TRIAL_START: starts, "bpod_cue": starts, **{event: starts + after for event, after in ends.items()}}
        return {event: self.scan_time(times) for event, times in found.items()}


def _label(channel: Channel | None, otherwise: str) -> str:
    """Return the name under which the file lists an input: one that the rig uses, where its setup type knows any."""
    return channel.names[0] if channel is not None and channel.names else otherwise


def _of_places(setup: SetupType, *, is_digital: bool) -> list[Channel | None]:
    """Return the channels by line or input, with None where none is; those without a place of their own come last."""
    own = [channel for channel in setup.channel if not channel.inside and _is_digital(channel) == is_digital]
    placed = {channel.place[1]: channel for channel in own if channel.place}
    nameless = [channel for channel in own if not channel.place]
    return [placed.get(number) for number in range(max(placed, default=-1) + 1)] + list(nameless)


def _is_digital(channel: Channel) -> bool:
    """Whether a channel is written to a digital line; of those that are known by name, frames and gates are."""
    if channel.place:
        return channel.place[0]
    return channel.kind in ("frames", "gate", "pulses", "onsets") and channel.polarity == "high"


def record(setup: SetupType, seconds: float = 10.0, *, seed: int = 0, sample_rate: float = 20_000.0) -> Rig:
    """Let a rig run for some time.

    Parameters
    ----------
    setup
        Whose channels are recorded.
    seconds
        Of the sweep.
    seed
        The same seed gives the same samples.
    sample_rate
        Hz as asked for; the board makes the nearest rate below it that it can.
    """
    rng, play = (np.random.default_rng([seed, len(setup.channel), stream]) for stream in (0, 1))
    actual = WaveSurfer(sample_rate=sample_rate).actual_rate
    samples = math.floor(seconds * actual)
    pulses: dict[str, NDArray[np.int64]] = {}
    levels: dict[str, NDArray[np.float64]] = {}
    for channel in sorted(setup.channel, key=lambda channel: channel.no_more_than != ""):
        if channel.inside:
            continue
        if channel.kind == "gate":
            pulses[channel.name] = np.array([[round(_GATE * actual), samples - round(_GATE * actual)]], np.int64)
            continue
        train = _train(channel, seconds, actual, rng)  # of the wheel, too: the others' depend on how many were drawn
        if channel.kind == "waveform":
            continue
        pulses[channel.name] = train
        if channel.kind == "level":
            least = math.ceil(2 * channel.step / channel.resolution)  # a smaller step would not end a plateau
            steps = rng.integers(least, least + 40, len(pulses[channel.name]))
            levels[channel.name] = np.round(steps * channel.resolution, 6)
    rule = next((rule for rule in setup.align if rule.source == "bpod"), None)
    task = _play(rule or Align("bpod", events=(_TRIAL_START,)), seconds, play) if "bpod" in setup.sources else None
    if task is not None and rule is not None:
        start = np.round(task.told * actual).astype(np.int64)
        pulses[rule.channel] = np.stack([start, start + round(_TTL * actual)], axis=1)
    elif task is not None and setup.clock.stream == "bpod":
        task = replace(task, offset=0.0, drift=0.0)
    has_wheel = any(channel.name == WHEEL and channel.kind == "waveform" for channel in setup.channel)
    ride = Ride(setup.wheel or ANY_WHEEL, *walk(samples, actual, seed=seed), seed) if has_wheel else None
    return Rig(setup, actual, samples, pulses, levels, task, ride)


def _play(rule: Align, seconds: float, rng: np.random.Generator) -> Task:
    """Let Bpod play trials of irregular lengths on a clock that is off and runs at another rate."""
    offset, drift = 20 + 100 * rng.random(), 200e-6 * (2 * rng.random() - 1)
    first = 2 * _GATE + 0.1 + (rule.after.seconds if rule.after else 0.0)
    begin = np.cumsum(0.9 + 0.8 * rng.random(int(seconds / 1.3))) + first - 1.0
    begin = begin[begin < seconds - _GATE - 1.0]
    if rule.anchor == "last":  # Bpod ran before the recording did
        begin = np.concatenate([first - 1.5 - 1.1 * np.arange(3)[::-1] - rng.random(3) * 0.2, begin])
    is_played = rng.random(len(begin)) > (0.2 if rule.only_with else -1.0)  # of the others, none is told to the rig
    trials, told = [], []
    for start, good in zip(begin.tolist(), is_played.tolist(), strict=True):
        later = 0.2 + 0.5 * rng.random()
        clock = [round((at + offset) / (1 + drift), 4) for at in (start, start + later, start + 0.85)]
        states = {name: ((0.0, round(clock[1] - clock[0], 4)),) for name in _STATES.values()}
        events = {rule.only_with[0].removeprefix(_RAW): (0.01,)} if good and rule.only_with else {}
        trials.append(bpod.Trial(clock[0], clock[2], states, events, type=1 + int(later > 0.45)))
        if good:
            told += [start if event == _TRIAL_START else start + later for event in rule.events]
    heard = np.sort(np.array(told))
    heard = heard[heard > first - 0.5] if rule.anchor == "last" else heard
    extra = [[first - 0.3]] * rule.drop_first, [[seconds - 0.5]] * rule.drop_last
    return Task(bpod.Session(trials=tuple(trials)), offset, drift, np.concatenate([*extra[0], heard, *extra[1]]))


def _train(channel: Channel, seconds: float, rate: float, rng: np.random.Generator) -> NDArray[np.int64]:
    """Return pulses that a channel may carry, none within a sample of another."""
    first = 2 * _GATE + (channel.after.seconds if channel.after else 0.0)
    period = _period(channel, seconds - first)
    count = max(int((seconds - first - _GATE) / period), 1)
    if channel.most is not None:
        count = min(count, channel.most)
    jitter = 0.0 if channel.kind == "frames" else 0.3
    onsets = first + period * (np.arange(count) + jitter * rng.random(count))
    widths = np.full(count, period * (0.6 if channel.kind == "level" else 0.3))
    start = np.round(onsets * rate).astype(np.int64)
    return np.stack([start, start + np.maximum(np.round(widths * rate).astype(np.int64), 1)], axis=1)


def _period(channel: Channel, seconds: float) -> float:
    """Return s between pulses: within the rate that the setup type tells, where it does."""
    low, high = channel.rate_within
    if channel.rate is None:
        return seconds / _SLOWEST
    if channel.name == "camera_frames":
        return 1 / _CAMERAS
    if channel.kind == "frames":
        return 1 / min(max(math.sqrt(max(low, 1.0) * high), low), high, 2000.0)
    return max(seconds / _SLOWEST, 1.2 / high)
