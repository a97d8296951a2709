"""Events and pulse trains of an auxiliary recording of WaveSurfer, by the channels of its setup type."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
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
from adamacs.modalities.behavior.importers import trains
from adamacs.modalities.behavior.numerics import edges
from adamacs.modalities.behavior.numerics.edges import Plateaus, Pulses
from adamacs.modalities.behavior.reader.wavesurfer import AuxRecording, OpenRecording, read_wavesurfer

Found = Pulses | Plateaus

_GLANCE = 30.0  # s of a line that is not kept


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

    Raises
    ------
    UnreadableFile
        The file is none of WaveSurfer, lacks a channel that its setup type needs, or what its channels carry cannot be:
        a wrong setup type, swapped channels, a wrong polarity.
    """
    recording, wiring = _read(recorded, settings)
    rate, path = recording.sample_rate, recording.path
    with recording.open() as samples:
        found = _after_their_gates(dict(_detected(samples, wiring)), wiring, rate)
        glanced = dict(_glanced(samples, wiring))
    observed = {name: _activity(one, wiring.find(name), rate) for name, one in (found | glanced).items()}
    observed |= {name: replace(observed[name], count=None) for name in glanced}
    _refuse_what_cannot_be(wiring, observed, path)
    events, series, pauses = _sorted(found, wiring, rate)
    remarks = (*recording.warnings, *_remarks(found, wiring), *pauses, *_left_out(recording))
    return ImportedEvents(events, series, remarks, tuple(_channels(wiring, observed, found)))


def glance_at_frames(recorded: SourceFiles, settings: Settings) -> ImportedEvents:
    """Find the trains of pulses on digital lines alone: of an hour at 20 kHz, that takes about a second.

    Errors as `import_wavesurfer`, as far as names tell.
    """
    recording, wiring = _read(recorded, settings)
    wires = [wire for wire in wiring.wires if wire.channel.kind == "frames" and wire.channel.event]
    with recording.open() as samples:
        found = dict(_of_lines(samples, [wire for wire in wires if wire.channel.after is None], None))
    return ImportedEvents(series=_sorted(found, wiring, recording.sample_rate)[1])


def _read(recorded: SourceFiles, settings: Settings) -> tuple[AuxRecording, Wiring]:
    """Return the recording without its samples, and which line is which channel."""
    (path,) = recorded.files
    recording = read_wavesurfer(path)
    wiring = wiring_of(recording, recorded.setup_type, settings)
    if problems := wiring.problems(str(path)):
        raise UnreadableFile(" ".join(problem.what for problem in problems), path, problems[0].hint)
    return recording, wiring


def _detected(samples: OpenRecording, wiring: Wiring) -> Iterator[tuple[str, Found]]:
    """Yield what every channel of pulses or levels that is kept carries, by the channel's name."""
    wires = [wire for wire in wiring.wires if _is_kept(wire.channel, wiring)]
    yield from _of_lines(samples, wires, None)
    for wire in wires:
        if not wire.input.is_digital:
            name = samples.recording.channels[wire.input.index].name
            yield wire.channel.name, _analog(samples.volt_blocks(name), wire.channel, samples.recording.sample_rate)


def _glanced(samples: OpenRecording, wiring: Wiring) -> Iterator[tuple[str, Found]]:
    """Yield what the beginning of the other lines carries: enough to tell a line clock from a frame clock.

    A line clock has more pulses than all other channels together, and none of them is kept.
    """
    wires = [wire for wire in wiring.wires if wire.channel.kind != "waveform" and not _is_kept(wire.channel, wiring)]
    sweep = samples.recording.sweeps[0]
    yield from _of_lines(samples, wires, min(sweep.samples, round(_GLANCE * samples.recording.sample_rate)))


def _is_kept(channel: Channel, wiring: Wiring) -> bool:
    setup = wiring.setup
    needed = {rule.channel for rule in setup.align}
    afters = [one.after for one in setup.channel] + [rule.after for rule in setup.align]
    needed |= {after.gate for after in afters if after is not None}
    needed |= {setup.harp.gate} if setup.harp else set()
    return channel.kind != "waveform" and bool(channel.event or channel.shows or channel.name in needed)


def _of_lines(samples: OpenRecording, wires: Sequence[Wire], stop: int | None) -> Iterator[tuple[str, Pulses]]:
    lines = {wire.input.index: wire.channel for wire in wires if wire.input.is_digital}
    if lines:
        low = [bit for bit, channel in lines.items() if channel.polarity == "low"]
        found = edges.digital_pulses(samples.words(stop=stop), lines, inverted=low)
        for bit, channel in lines.items():
            yield channel.name, _tidied(found.pop(bit), channel, samples.recording.sample_rate)


def _tidied(pulses: Pulses, channel: Channel, rate: float) -> Pulses:
    """Join pulses that are close, and leave out short ones, where the setup type says so."""
    if channel.merge:
        pulses = edges.merged(pulses, round(channel.merge * rate))
    return edges.without_short(pulses, round(channel.shortest * rate)) if channel.shortest else pulses


def _analog(blocks: Any, channel: Channel, rate: float) -> Found:
    if channel.kind == "level":
        return edges.plateaus(
            blocks,
            tolerance=channel.step,
            min_samples=round(channel.hold * rate),
            rounding=channel.resolution,
            zero=channel.resolution / 2,
        )
    if channel.share is not None:
        return edges.photodiode_bursts(
            blocks, rate, fraction=channel.share, merge_gap=channel.merge, min_length=channel.shortest
        )
    pulses = edges.analog_pulses(blocks, threshold=channel.threshold, inverted=channel.polarity == "low")
    return _tidied(pulses, channel, rate)


def _after_their_gates(found: Mapping[str, Found], wiring: Wiring, rate: float) -> dict[str, Found]:
    """Leave out what a channel carries before the time from which it counts."""
    kept = dict(found)
    for wire in wiring.wires:
        after = wire.channel.after
        if after is None or wire.channel.name not in found:
            continue
        gate = found.get(after.gate)
        one = found[wire.channel.name]
        opened = int(gate.start[0]) if gate is not None and len(gate) else one.samples  # it never did
        kept[wire.channel.name] = _from(one, opened + round(after.seconds * rate))
    return kept


def _from(found: Found, first: int) -> Found:
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
    wiring: Wiring, observed: Mapping[str, Activity], found: Mapping[str, Found]
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
            event_type=channel.event_type if channel.name in found else "",
            shows=channel.shows,
        )


def _activity(found: Found, wire: Wire | None, rate: float) -> Activity:
    """Return what is to be compared with what the setup type says of a channel."""
    if isinstance(found, Plateaus):
        return Activity(len(found))
    onsets = found.onsets
    pace = rate / float(np.median(np.diff(onsets))) if len(onsets) > 1 else None
    return Activity(len(found), pace, _idle(found, wire.channel) if wire is not None else None)


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


def _sorted(
    found: Mapping[str, Found], wiring: Wiring, rate: float
) -> tuple[tuple[Events, ...], tuple[Series, ...], list[str]]:
    """Return events and series of the channels that write any, in seconds, and pauses of the latter."""
    events: list[Events] = []
    series: list[Series] = []
    pauses: list[str] = []
    for wire in wiring.wires:
        channel = wire.channel
        if channel.name not in found:
            continue
        one, kind = found[channel.name], channel.event_type
        if channel.kind == "frames":
            onsets = one.onsets if isinstance(one, Pulses) else one.start
            train, paused = _series(kind, onsets / rate, channel)
            series.append(train)
            pauses += paused
        else:
            stop = np.full(len(one), np.nan) if channel.kind == "onsets" else _stops(one, rate)
            levels = one.level if isinstance(one, Plateaus) else None
            events.append(Events(kind, one.start / rate, stop, channel.what, levels))
    return tuple(events), tuple(series), pauses


def _series(kind: str, times: NDArray[np.float64], channel: Channel) -> tuple[Series, tuple[str, ...]]:
    """Return a train of pulses, with missing ones put in where the setup type asks for that, and its pauses."""
    if channel.gap is None:
        return Series(kind, times, channel.what), ()
    return trains.filled(kind, times, channel.what, counters.find_gaps(times, factor=channel.gap))


def _stops(found: Found, rate: float) -> NDArray[np.float64]:
    stop = found.stop / rate
    stop[found.stop == found.samples] = np.nan  # it was still going on
    return np.asarray(stop, np.float64)


def _remarks(found: Mapping[str, Found], wiring: Wiring) -> Iterator[str]:
    for name, one in found.items():
        if isinstance(one, Pulses) and one.starts_open:
            yield f"{name} was on when the recording began: its first pulse began earlier."
        if isinstance(one, Pulses) and one.ends_open:
            yield f"{name} was on when the recording ended: its last pulse has no end."
        if isinstance(one, Pulses) and one.dropped:
            yield f"{one.dropped} pulses of {name} were too short and are left out."
    for an_input in wiring.unclaimed:
        yield f"{an_input} is no channel of {wiring.setup.name} and is not looked at."


def _left_out(recording: AuxRecording) -> Iterator[str]:
    if len(recording.sweeps) > 1:
        yield f"Only the first of {len(recording.sweeps)} sweeps is imported."
