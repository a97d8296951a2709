"""Which line or input of an auxiliary recording is which channel of its setup type, and whether that can be true.

A channel is found by its name where the recording's own names tell, otherwise by its place. Where the two contradict
each other nothing is guessed. What the channels carry (counts, rates, levels) then tells apart what names did not.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from adamacs.core.errors import UnreadableFile
from adamacs.core.modality import Problem
from adamacs.core.names import fold
from adamacs.core.setup_wiring import Channel, said_place
from adamacs.core.setups import SetupType

_HINT = (
    "Is it a recording of another setup type? Where channels were wired anew, describe them in a file of the lab's own."
)


@dataclass(frozen=True)
class Input:
    """A digital line or an analog input, as an auxiliary recording lists it.

    Attributes
    ----------
    is_digital
        Whether it is a line.
    index
        Of a line its bit in the digital word, 0 for the least significant; of an input its row in the analog samples.
    label
        Its name there.
    """

    is_digital: bool
    index: int
    label: str = ""

    def __str__(self) -> str:
        return said_place(self.is_digital, self.index) + (f" ({self.label!r})" if self.label else "")


@dataclass(frozen=True)
class Wire:
    """A channel, where it was found, and whether its name told so; otherwise its place did."""

    channel: Channel
    input: Input
    by_name: bool


@dataclass(frozen=True)
class Activity:
    """What was observed of a channel; what is None was not looked at, or cannot be said.

    Attributes
    ----------
    count
        Of pulses, onsets or plateaus. Pulses are counted in the channel's own polarity.
    rate
        Hz, the inverse of the median interval between onsets; None for fewer than two of them.
    idle
        `high` or `low`: the level before the first change where that is also the level after the last one, or the only
        level; None where the two differ, as of a recording that begins or ends within a pulse.
    """

    count: int | None = None
    rate: float | None = None
    idle: str | None = None


@dataclass(frozen=True)
class Wiring:
    """Which line or input is which channel.

    Attributes
    ----------
    setup
        The setup type.
    wires
        The channels that were found, in the order of the setup type's file.
    missing
        Channels that are needed and not there.
    unclaimed
        Lines and inputs that are no channel of the setup type.
    """

    setup: SetupType
    wires: tuple[Wire, ...]
    missing: tuple[Channel, ...]
    unclaimed: tuple[Input, ...]

    def find(self, name: str) -> Wire | None:
        """Return the wire of a channel, by the canonical name; None where the recording has none."""
        return next((wire for wire in self.wires if wire.channel.name == name), None)

    def problems(self, where: str = "") -> list[Problem]:
        """Return a sentence for each channel that is needed and not there, and for lines that cannot be of this setup.

        Parameters
        ----------
        where
            The file, as the problems shall name it.
        """
        lacking = [f"There is no channel {_called(channel)}: {self.setup.name} needs it." for channel in self.missing]
        lines = [str(line) for line in self.unclaimed if line.is_digital]
        if lines and self.setup.channel and not self.setup.spare_lines:
            lacking.append(f"{self.setup.name} has no {', no '.join(lines)}.")
        return [Problem("error", what, where, _HINT) for what in lacking]


def _called(channel: Channel) -> str:
    names = f", called {' or '.join(map(repr, channel.names))}" if not channel.place and channel.names else ""
    return f"{channel.name} ({channel.where}{names})"


def match(
    setup: SetupType,
    digital_names: Sequence[str],
    analog_names: Sequence[str],
    *,
    vocabulary: Mapping[str, Collection[str]] | None = None,
    where: Any = None,
) -> Wiring:
    """Return which line or input of a recording is which channel of its setup type.

    Parameters
    ----------
    setup
        What the operator chose.
    digital_names
        Of the active lines, in the order of the bits of the digital word: the first is bit 0, the least significant.
    analog_names
        Of the active inputs, in the order of the analog samples. Names that tell nothing, such as `AI0`, do no harm.
    vocabulary
        What names mean in all setup types, as `Registry.vocabulary` has it: a name that is known elsewhere, and means
        something else there than its place does here, is a contradiction, too.
    where
        The file.

    Raises
    ------
    UnreadableFile
        A name and its place contradict each other, or two channels claim one line, or two lines have the names of one
        channel; every such contradiction is told.
    """
    inputs = [Input(True, bit, label) for bit, label in enumerate(digital_names)]
    inputs += [Input(False, row, label) for row, label in enumerate(analog_names)]
    named, faults = _by_name(setup, inputs)
    placed, more = _by_place(setup, inputs, named, vocabulary or {})
    if faults := [*faults, *more]:
        listed = " ".join(faults)
        raise UnreadableFile(f"Its channels contradict the setup type {setup.name}. {listed}", where, _HINT)
    found = {wire.channel.name: wire for wire in (*named, *placed)}
    for channel in setup.channel:
        if channel.inside in found:
            found[channel.name] = replace(found[channel.inside], channel=channel)
    wires = tuple(found[channel.name] for channel in setup.channel if channel.name in found)
    missing = tuple(channel for channel in setup.channel if channel.needed and channel.name not in found)
    taken = {wire.input for wire in wires}
    return Wiring(setup, wires, missing, tuple(an_input for an_input in inputs if an_input not in taken))


def _by_name(setup: SetupType, inputs: Iterable[Input]) -> tuple[list[Wire], list[str]]:
    """Return the channels whose names the recording lists, and what contradicts their places."""
    known = {fold(name): channel for channel in setup.channel if not channel.inside for name in channel.known_as}
    wires: dict[str, Wire] = {}
    faults = []
    for an_input in inputs:
        channel = known.get(fold(an_input.label))
        if channel is None:
            continue
        if channel.name in wires:
            faults.append(f"{wires[channel.name].input} and {an_input} both have a name of {channel.name}.")
        elif channel.place and channel.place != (an_input.is_digital, an_input.index):
            faults.append(f"{an_input} is {channel.name} by its name, which has its place on {channel.where}.")
        elif channel.kind in ("level", "waveform") and an_input.is_digital:
            faults.append(f"{an_input} is {channel.name} by its name, which is a voltage.")
        wires.setdefault(channel.name, Wire(channel, an_input, True))
    return list(wires.values()), faults


def _by_place(
    setup: SetupType, inputs: Iterable[Input], named: Iterable[Wire], vocabulary: Mapping[str, Collection[str]]
) -> tuple[list[Wire], list[str]]:
    """Return the channels that stand at their places under no name of theirs, and what contradicts these places."""
    owners = {wire.input: wire.channel for wire in named}
    found = {channel.name for channel in owners.values()}
    at = {(an_input.is_digital, an_input.index): an_input for an_input in inputs}
    wires, faults = [], []
    for channel in setup.channel:
        an_input = at.get(channel.place) if channel.place else None
        if an_input is None or channel.name in found:
            continue
        meant = vocabulary.get(fold(an_input.label), (channel.name,))
        if an_input in owners:
            meant = (owners[an_input].name,)
        if channel.name in meant:
            wires.append(Wire(channel, an_input, False))
        else:
            said = " or ".join(sorted(meant))
            faults.append(f"{an_input} is {said} by its name, and {channel.name} by its place.")
    return wires, faults


def check_activity(wiring: Wiring, observed: Mapping[str, Activity]) -> list[str]:
    """Return a sentence for everything that cannot be of channels that carry what was observed.

    Parameters
    ----------
    wiring
        Which line or input is which channel.
    observed
        By the canonical name of a channel. A channel that is not in it is not judged.
    """
    return [
        f"{wire.channel.name} ({wire.input}) {what}"
        for wire in wiring.wires
        if (activity := observed.get(wire.channel.name))
        for what in _contradictions(wire.channel, activity, observed)
    ]


def _contradictions(channel: Channel, activity: Activity, observed: Mapping[str, Activity]) -> Iterator[str]:
    plateaus = "plateaus" if channel.kind == "level" else "pulses"
    count, rate = activity.count, activity.rate
    if count is not None:
        if count == 0 < channel.least:
            yield f"is silent: at least {channel.least} must be on it."
        elif count < channel.least:
            yield f"has {count:,} {plateaus}, which is fewer than {channel.least:,}."
        if channel.most is not None and count > channel.most:
            yield f"has {count:,} {plateaus}, which is more than {channel.most:,}."
        other = observed.get(channel.no_more_than)
        if other and other.count and count > other.count + 1:  # one may be cut off at an end
            yield f"has {count:,} pulses, which is more than the {other.count:,} of {channel.no_more_than}."
    low, high = channel.rate_within
    if rate is not None and not low <= rate <= high:
        yield f"has pulses at {rate:.6g} Hz, which is not within {low:g} to {high:g} Hz."
    if activity.idle == channel.polarity and channel.kind not in ("level", "waveform"):
        yield f"rests {activity.idle}, where it should be on: its polarity is wrong."


def unproven(wiring: Wiring, observed: Mapping[str, Activity]) -> tuple[str, ...]:
    """Return the channels that could be swapped with another one of the recording and nothing would tell.

    That is so of two channels of one kind of input which stand at their places without a name of theirs, where each
    would be as possible with what was observed of the other. A channel that nobody observed is unproven, too, where it
    has no name.

    Parameters
    ----------
    wiring, observed
        As for `check_activity`.
    """
    nameless = [wire for wire in wiring.wires if not wire.by_name and not wire.channel.inside]
    doubted = set()
    for number, one in enumerate(nameless):
        for other in nameless[number + 1 :]:
            if one.input.is_digital == other.input.is_digital and _could_swap(wiring, one, other, observed):
                doubted |= {one.channel.name, other.channel.name}
    return tuple(wire.channel.name for wire in wiring.wires if wire.channel.name in doubted)


def _could_swap(wiring: Wiring, one: Wire, other: Wire, observed: Mapping[str, Activity]) -> bool:
    here, there = one.channel.name, other.channel.name
    swapped = dict(observed)
    for name, source in ((here, there), (there, here)):
        swapped.pop(name, None)
        if source in observed:
            swapped[name] = observed[source]
    return not check_activity(wiring, swapped)
