"""Events and pulse trains of an auxiliary recording of WaveSurfer, by the channels of its setup type."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adamacs.core import channels, setups
from adamacs.core.channels import Activity, Wire, Wiring
from adamacs.core.clocks import counters
from adamacs.core.errors import UnreadableFile
from adamacs.core.events import Events, ImportedChannel, ImportedEvents, Series, SourceFiles
from adamacs.core.settings import Settings
from adamacs.core.setup_wiring import Channel, said_place
from adamacs.core.streams import parted
from adamacs.modalities.behavior.importers import trains
from adamacs.modalities.behavior.numerics import edges
from adamacs.modalities.behavior.numerics.edges import Plateaus, Pulses
from adamacs.modalities.behavior.reader.sweeps import PlacedSweep, listed, place_sweeps, said_of
from adamacs.modalities.behavior.reader.wavesurfer import AuxRecording, Blocks, OpenRecording, read_wavesurfer

Floats = NDArray[np.float64]
Found = Pulses | Plateaus

_GLANCE = 30.0  # s of a sweep of a line that is not kept
_SLACK = 1e-3  # samples: a time and a sample of it are told in seconds


def wiring_of(recording: AuxRecording, setup_type: str, settings: Settings) -> Wiring:
    """Return which line or input of an auxiliary recording is which channel of its setup type.

    Raises
    ------
    UnknownSetup
        There is no such setup type.
    UnreadableFile
        The recording's names contradict the setup type.
    """
    registry = setups.load_usable(settings.home)
    setup = registry.find(setup_type, recording.path)
    names = [channel.name for channel in recording.channels]
    return channels.match(setup, recording.lines, names, vocabulary=registry.vocabulary, where=recording.path)


def import_wavesurfer(recorded: SourceFiles, settings: Settings) -> ImportedEvents:
    """Find the events of an auxiliary recording; times are seconds since the start of its first sweep (clock `aux`).

    Each sweep is looked at by itself: what was on at its first sample began before it, and what was on at its last one
    has no end, whatever another sweep shows. What a voltage rests at is told by all of them together.

    Raises
    ------
    UnreadableFile
        The file is none of WaveSurfer, tells not when one of its sweeps was, lacks a channel that its setup type needs,
        or what its channels carry cannot be: a wrong setup type, swapped channels, a wrong polarity.
    """
    recording, wiring = _read(recorded, settings)
    sweeps, path = place_sweeps(recording), recording.path
    with recording.open() as samples:
        carried = _carried(_detected(samples, wiring, sweeps), recording, sweeps)
        glanced = _carried(_glanced(samples, wiring, sweeps), recording, sweeps)
    carried = _after_their_gates(carried, wiring)
    observed = {name: _activity(one, wiring.find(name)) for name, one in (carried | glanced).items()}
    observed |= {name: replace(observed[name], count=None) for name in glanced}
    _refuse_what_cannot_be(wiring, observed, path)
    events, series, pauses = _sorted(carried, wiring)
    remarks = (*said_of(recording, sweeps), *recording.warnings, *_remarks(carried, wiring), *pauses)
    stretches = tuple(sweep.stretch for sweep in sweeps)
    return ImportedEvents(events, series, remarks, tuple(_channels(wiring, observed, carried)), stretches)


def glance_at_frames(recorded: SourceFiles, settings: Settings) -> ImportedEvents:
    """Find the trains of pulses on digital lines alone: of an hour at 20 kHz, that takes about a second.

    Errors as `import_wavesurfer`, as far as names and sweeps tell.
    """
    recording, wiring = _read(recorded, settings)
    sweeps = place_sweeps(recording)
    wires = [wire for wire in wiring.wires if wire.channel.kind == "frames" and wire.channel.event]
    with recording.open() as samples:
        found = _of_lines(samples, [wire for wire in wires if wire.channel.after is None], sweeps)
        carried = _carried(found, recording, sweeps)
    series = _sorted(carried, wiring)[1]
    return ImportedEvents(series=series, stretches=tuple(sweep.stretch for sweep in sweeps))


@dataclass(frozen=True)
class Carried:
    """What a channel carried, sweep by sweep.

    Attributes
    ----------
    found
        In samples of each sweep.
    sweeps
        When these were.
    rate
        Samples per second.
    """

    found: tuple[Found, ...]
    sweeps: tuple[PlacedSweep, ...]
    rate: float

    def __len__(self) -> int:
        return sum(map(len, self.found))

    @property
    def start(self) -> Floats:
        """s on `aux` at which each began, in order; of one that was on at the first sample, that sample."""
        return self._times(one.start for one in self.found)

    @property
    def onsets(self) -> Floats:
        """The same of those alone that were seen to begin, where they are pulses."""
        return self._times(one.onsets if isinstance(one, Pulses) else one.start for one in self.found)

    @property
    def stop(self) -> Floats:
        """s on `aux` at which each ended; NaN where it was still going on at the end of its sweep."""
        return self._times(np.where(one.stop == one.samples, np.nan, one.stop) for one in self.found)

    @property
    def levels(self) -> Floats | None:
        """V of each, where it was measured."""
        levels = [one.level for one in self.found if isinstance(one, Plateaus)]
        return np.concatenate(levels) if levels else None

    @property
    def intervals(self) -> Floats:
        """s from one onset to the next within a sweep."""
        onsets = (one.onsets if isinstance(one, Pulses) else one.start for one in self.found)
        return np.concatenate([np.diff(places) for places in onsets]) / self.rate

    def named(self, mark: str) -> list[str]:
        """Return the sweeps whose pulses have a mark, such as `ends_open`."""
        return [sweep.name for one, sweep in zip(self.found, self.sweeps, strict=True) if getattr(one, mark, False)]

    def since(self, time: float) -> Carried:
        """Return what began at some time or later (s on `aux`)."""
        firsts = ((time - sweep.start) * self.rate - _SLACK for sweep in self.sweeps)
        kept = tuple(_from(one, first) for one, first in zip(self.found, firsts, strict=True))
        return replace(self, found=kept)

    def _times(self, places: Iterable[NDArray[Any]]) -> Floats:
        return np.concatenate([sweep.start + one / self.rate for sweep, one in zip(self.sweeps, places, strict=True)])


def _carried(
    found: Iterable[tuple[str, tuple[Found, ...]]], recording: AuxRecording, sweeps: tuple[PlacedSweep, ...]
) -> dict[str, Carried]:
    return {name: Carried(one, sweeps, recording.sample_rate) for name, one in found}


def _read(recorded: SourceFiles, settings: Settings) -> tuple[AuxRecording, Wiring]:
    """Return the recording without its samples, and which line is which channel."""
    (path,) = recorded.files
    recording = read_wavesurfer(path)
    wiring = wiring_of(recording, recorded.setup_type, settings)
    if problems := wiring.problems(str(path)):
        raise UnreadableFile(" ".join(problem.what for problem in problems), path, problems[0].hint)
    return recording, wiring


def _detected(
    samples: OpenRecording, wiring: Wiring, sweeps: Sequence[PlacedSweep]
) -> Iterator[tuple[str, tuple[Found, ...]]]:
    """Yield what every channel of pulses or levels that is kept carries in each sweep, by the channel's name."""
    wires = [wire for wire in wiring.wires if _is_kept(wire.channel, wiring)]
    yield from _of_lines(samples, wires, sweeps)
    for wire in wires:
        if not wire.input.is_digital:
            name = samples.recording.channels[wire.input.index].name
            blocks = [samples.volt_blocks(name, sweep.number) for sweep in sweeps]
            yield wire.channel.name, _analog(blocks, wire.channel, samples.recording.sample_rate)


def _glanced(
    samples: OpenRecording, wiring: Wiring, sweeps: Sequence[PlacedSweep]
) -> Iterator[tuple[str, tuple[Found, ...]]]:
    """Yield what the other lines carry when a sweep begins: enough to tell a line clock from a frame clock.

    A line clock has more pulses than all other channels together, and none of them is kept.
    """
    wires = [wire for wire in wiring.wires if wire.channel.kind != "waveform" and not _is_kept(wire.channel, wiring)]
    yield from _of_lines(samples, wires, sweeps, most=round(_GLANCE * samples.recording.sample_rate))


def _is_kept(channel: Channel, wiring: Wiring) -> bool:
    setup = wiring.setup
    needed = {rule.channel for rule in setup.align}
    afters = [one.after for one in setup.channel] + [rule.after for rule in setup.align]
    needed |= {after.gate for after in afters if after is not None}
    needed |= {setup.harp.gate} if setup.harp else set()
    return channel.kind != "waveform" and bool(channel.event or channel.shows or channel.name in needed)


def _of_lines(
    samples: OpenRecording, wires: Sequence[Wire], sweeps: Sequence[PlacedSweep], *, most: int | None = None
) -> Iterator[tuple[str, tuple[Found, ...]]]:
    """Yield what each line carries in each sweep, or in so many samples of it at most."""
    lines = {wire.input.index: wire.channel for wire in wires if wire.input.is_digital}
    if not lines:
        return
    low = [bit for bit, channel in lines.items() if channel.polarity == "low"]
    carried: dict[int, list[Found]] = {bit: [] for bit in lines}
    for sweep in sweeps:
        stop = sweep.samples if most is None else min(most, sweep.samples)
        found = edges.digital_pulses(samples.words(sweep.number, stop=stop), lines, inverted=low)
        for bit, channel in lines.items():
            carried[bit].append(_tidied(found.pop(bit), channel, samples.recording.sample_rate))
    for bit, channel in lines.items():
        yield channel.name, tuple(carried[bit])


def _tidied(pulses: Pulses, channel: Channel, rate: float) -> Pulses:
    """Join pulses that are close, and leave out short ones, where the setup type says so."""
    if channel.merge:
        pulses = edges.merged(pulses, round(channel.merge * rate))
    return edges.without_short(pulses, round(channel.shortest * rate)) if channel.shortest else pulses


def _analog(sweeps: Sequence[Blocks], channel: Channel, rate: float) -> tuple[Found, ...]:
    """Return what a voltage carries in each sweep; where it rests, and how far it goes, is told by all of them."""
    if channel.kind == "level":
        how = {"tolerance": channel.step, "rounding": channel.resolution, "zero": channel.resolution / 2}
        return tuple(edges.plateaus(blocks, min_samples=round(channel.hold * rate), **how) for blocks in sweeps)
    lows, highs = zip(*map(edges.extremes, sweeps), strict=True)
    low, high = min(lows), max(highs)
    if channel.share is not None:
        share, merge, least = channel.share, channel.merge, channel.shortest
        burst = {"fraction": share, "merge_gap": merge, "min_length": least}
        return tuple(edges.photodiode_bursts(blocks, rate, ends=(low, high), **burst) for blocks in sweeps)
    found = (
        edges.analog_pulses(blocks, threshold=channel.threshold, baseline=low, inverted=channel.polarity == "low")
        for blocks in sweeps
    )
    return tuple(_tidied(pulses, channel, rate) for pulses in found)


def _after_their_gates(carried: Mapping[str, Carried], wiring: Wiring) -> dict[str, Carried]:
    """Leave out what a channel carries before the time from which it counts."""
    kept = dict(carried)
    for wire in wiring.wires:
        after = wire.channel.after
        if after is None or wire.channel.name not in carried:
            continue
        opened = carried[after.gate].start if after.gate in carried else np.empty(0)
        since = opened[0] + after.seconds if len(opened) else math.inf  # it never did
        kept[wire.channel.name] = carried[wire.channel.name].since(since)
    return kept


def _from(found: Found, first: float) -> Found:
    keep = found.start >= first
    if isinstance(found, Plateaus):
        return Plateaus(found.start[keep], found.stop[keep], found.level[keep], found.is_open[keep], found.samples)
    starts_open = found.starts_open and bool(keep[0])
    ends_open = found.ends_open and bool(keep[-1])
    return Pulses(found.start[keep], found.stop[keep], starts_open, ends_open, found.samples, found.dropped)


def _refuse_what_cannot_be(wiring: Wiring, observed: Mapping[str, Activity], path: Path) -> None:
    if said := channels.check_activity(wiring, observed):
        hint = f"Was it recorded on {wiring.setup.name}? `adamacs setups show {wiring.setup.name}` tells its channels."
        raise UnreadableFile(" ".join(said), path, hint)


def _channels(
    wiring: Wiring, observed: Mapping[str, Activity], carried: Mapping[str, Carried]
) -> Iterator[ImportedChannel]:
    doubted = channels.unproven(wiring, observed)
    for wire in wiring.wires:
        channel, an_input = wire.channel, wire.input
        yield ImportedChannel(
            channel.name,
            channel.kind,
            said_place(an_input.is_digital, an_input.index),
            an_input.label,
            is_proven=channel.name not in doubted and channel.verified,
            event_type=channel.event_type if channel.name in carried else "",
            shows=channel.shows,
        )


def _activity(carried: Carried, wire: Wire | None) -> Activity:
    """Return what is to be compared with what the setup type says of a channel."""
    pulses = [one for one in carried.found if isinstance(one, Pulses)]
    if not pulses:
        return Activity(len(carried))
    intervals = carried.intervals
    pace = 1 / float(np.median(intervals)) if len(intervals) else None
    idle = {_idle(one, wire.channel) for one in pulses} if wire is not None else set()
    return Activity(len(carried), pace, idle.pop() if len(idle) == 1 else None)


def _idle(found: Pulses, channel: Channel) -> str | None:
    """Return the level at which a line rests; None where it does not, or was recorded from within a pulse.

    A camera that runs all the time, and a gate that opened before the recording, are high at both ends.
    """
    if found.starts_open != found.ends_open or (channel.kind == "gate" and found.starts_open):
        return None
    if channel.kind == "frames" and len(found) > 1:
        first = found.stop[0] if found.starts_open else found.start[0]
        last = found.start[-1] if found.ends_open else found.stop[-1]
        if min(first, found.samples - last) < 2 * np.median(np.diff(found.start)):
            return None
    on = int((found.stop - found.start).sum())
    if 2 * (on if found.starts_open else found.samples - on) < found.samples:
        return None
    off = "low" if channel.polarity == "high" else "high"
    return channel.polarity if found.starts_open else off


def _sorted(carried: Mapping[str, Carried], wiring: Wiring) -> tuple[tuple[Events, ...], tuple[Series, ...], list[str]]:
    """Return events and series of the channels that write any, in seconds, and pauses of the latter."""
    events: list[Events] = []
    series: list[Series] = []
    pauses: list[str] = []
    for wire in wiring.wires:
        channel = wire.channel
        if channel.name not in carried:
            continue
        one, kind = carried[channel.name], channel.event_type
        if channel.kind == "frames":
            train, paused = _series(kind, one, channel)
            series.append(train)
            pauses += paused
        else:
            stop = np.full(len(one), np.nan) if channel.kind == "onsets" else one.stop
            events.append(Events(kind, one.start, stop, channel.what, one.levels))
    return tuple(events), tuple(series), pauses


def _series(kind: str, carried: Carried, channel: Channel) -> tuple[Series, tuple[str, ...]]:
    """Return a train of pulses, with missing ones put in where the setup type asks for that, and its pauses.

    Nothing is put in between two sweeps: nobody saw whether there was any.
    """
    times = carried.onsets
    if channel.gap is None:
        return Series(kind, times, channel.what), ()
    gaps, _ = parted(counters.find_gaps(times, factor=channel.gap), [sweep.stretch for sweep in carried.sweeps])
    return trains.filled(kind, times, channel.what, gaps)


def _remarks(carried: Mapping[str, Carried], wiring: Wiring) -> Iterator[str]:
    for name, one in carried.items():
        is_one = len(one.sweeps) == 1
        if begun := one.named("starts_open"):
            when = "the recording" if is_one else listed(begun)
            yield f"{name} was on when {when} began: its first pulse there began earlier."
        if ended := one.named("ends_open"):
            when = "the recording" if is_one else listed(ended)
            yield f"{name} was on when {when} ended: its last pulse there has no end."
        if dropped := sum(getattr(found, "dropped", 0) for found in one.found):
            yield f"{dropped} pulses of {name} were too short and are left out."
    for an_input in wiring.unclaimed:
        yield f"{an_input} is no channel of {wiring.setup.name} and is not looked at."
