"""What a setup type says of its wiring: channels, scan time, wheel and HARP, and how sources are aligned.

These are the tables `[[channel]]`, `[clock]`, `[wheel]`, `[harp]` and `[[align]]` of its file, and what cannot be
although each key by itself has a fitting value. Digital lines are counted by the bits of the digital word: bit 0 is the
least significant bit and is line DI0. Defaults of the detectors are those of the lab's former code.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from itertools import chain
from typing import Any, Final

from adamacs.core import toml
from adamacs.core.errors import nearest
from adamacs.core.modality import Problem
from adamacs.core.names import fold

KINDS: Final[Mapping[str, str]] = {
    "pulses": "on and off become start and stop",
    "onsets": "only on counts",
    "frames": "a long train, of which on is stored as a series",
    "level": "plateaus of a stimulus voltage",
    "waveform": "a continuous voltage",
    "gate": "on while something is recorded, such as the experiment",
}
TIME_UNITS: Final = ("s", "ms", "us", "ns")
AUX: Final = "aux"  # the source whose channels stand here, and its clock: each source has a clock of its own name
FRAMES: Final = "frames"  # the clock that is zero at the first two-photon frame
SOURCE: Final = re.compile(r"[a-z][a-z0-9_]{0,31}")
POLARITIES: Final = ("high", "low")
ANCHORS: Final[Mapping[str, str]] = {
    "first": "the first of both are one event",
    "last": "the last of both are one event, as when the source ran before the recording did",
    "both": "the first of both are one event, and the last of both are",
    "counts": "where intervals leave it open, and both are equally many, they are in order",
}
STIMULI: Final[Mapping[str, str]] = {
    "each": "each is one stimulus of the log",
    "level": "the same, and every stimulus has a voltage of its own, which tells whether the pairing is right",
}
SOFTWARE: Final = 0.008  # s, by which time stamps of software are off at most, where a setup type says nothing else
WHEEL: Final = "treadmill"  # the channel whose volts `[wheel]` explains
IMU_RATE: Final = 0.02  # share by which an inertial sensor's own oscillator may miss the rate it was set to

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,62}")
_EVENT = re.compile(r"(?:[A-Za-z][A-Za-z0-9_]{0,99})?(?:<stimulus>|<id>)?")
_EVENTS = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,126}")
_ANALOG_KINDS = ("level", "waveform")
_TRAINS = ("pulses", "onsets", "frames")
_OF_KINDS: Final[Mapping[str, Collection[str]]] = {  # keys that mean something for these kinds alone
    "event": ("pulses", "onsets", "frames", "level", "gate"),
    "stimuli": ("pulses", "onsets", "level"),
    "polarity": (*_TRAINS, "gate"),
    "threshold": (*_TRAINS, "gate"),
    "share": (*_TRAINS, "gate"),
    "merge": ("pulses", "onsets"),
    "shortest": ("pulses", "onsets"),
    "gap": ("frames",),
    "step": ("level",),
    "hold": ("level",),
    "resolution": ("level",),
    "rate": _TRAINS,
    "no_more_than": _TRAINS,
    "least": (*_TRAINS, "gate", "level"),
    "most": (*_TRAINS, "gate", "level"),
    "inside": ("waveform",),
}
_OF_VOLTAGES = ("threshold", "share")


def _one_of(known: Iterable[str]) -> dict[str, Any]:
    """Return what a key of a few fixed words takes."""
    return {"fits": tuple(known).__contains__, "takes": f"It takes {' or '.join(known)}."}


_POSITIVE: Final[dict[str, Any]] = {"fits": lambda x: x > 0, "takes": "It takes a number above 0."}
_NOT_NEGATIVE: Final[dict[str, Any]] = {"fits": lambda x: x >= 0, "takes": "It takes 0 or more."}
_NOT_ZERO: Final[dict[str, Any]] = {"fits": lambda x: x != 0, "takes": "It takes a number that is not 0."}
_BIT: Final[dict[str, Any]] = {"fits": lambda n: 0 <= n < 32, "takes": "It takes 0 to 31."}


@dataclass(frozen=True)
class After:
    """When a channel begins to count: some time after a gate opened."""

    gate: str = toml.key("A channel of kind `gate`.")
    seconds: float = toml.key("s, how long after it opened.", 0.0, **_NOT_NEGATIVE)


@dataclass(frozen=True)
class Channel:
    """A digital line or analog input of the auxiliary recording, and what it means."""

    name: str = toml.key(
        "The canonical name, unique within the setup type, such as `two_photon_frames`.",
        fits=_NAME.fullmatch,
        takes="It takes up to 63 letters, digits and _, a letter first.",
    )
    kind: str = toml.key(f"What it carries. {'; '.join(f'`{k}`: {v}' for k, v in KINDS.items())}.", **_one_of(KINDS))
    what: str = toml.key("What it is, in some words.", "")
    line: int | None = toml.key(
        "Its digital line: the bit of the digital word, 0 for the least significant bit, which is DI0.", None, **_BIT
    )
    analog: int | None = toml.key(
        "Its analog input, counted from 0. Without `line` and `analog` it is looked up by its names alone.",
        None,
        **_BIT,
    )
    inside: str = toml.key(
        "The channel on whose input this one is, too: a `waveform` keeps the voltage in which the other finds events.",
        "",
    )
    names: tuple[str, ...] = toml.key(
        "Under which names, beside the canonical one, an auxiliary recording may list it. Case, blanks, `-` and `_` "
        "do not matter.",
        (),
    )
    event: str = toml.key(
        "The event type that it writes; empty: not stored, unless trials are aligned with it or others wait for it. In "
        "it `<stimulus>` stands for the stimulus that Bonsai's log tells of each of its events, and `<id>` for that "
        "stimulus's number.",
        "",
        fits=_EVENT.fullmatch,
        takes="It takes letters, digits and _, a letter first; <stimulus> or <id> may stand at its end.",
    )
    stimuli: str = toml.key(
        f"What its pulses or plateaus are to the stimuli that Bonsai wrote down. "
        f"{'; '.join(f'`{name}`: {what}' for name, what in STIMULI.items())}; empty: nothing, unless `event` holds "
        "`<stimulus>` or `<id>`, which means `each`.",
        "",
        fits=("", *STIMULI).__contains__,
        takes=f"It takes {' or '.join(STIMULI)}.",
    )
    needed: bool = toml.key("Whether a recording that has no such line or input is refused.", True)
    verified: bool = toml.key("Whether this was compared with the lab's own recordings or documents.", True)
    missing: str = toml.key("What a lab must find out where `verified` is false.", "")
    polarity: str = toml.key("`high`: the voltage rises when it is on; `low`: it falls.", "high", **_one_of(POLARITIES))
    threshold: float = toml.key(
        "V above the lowest voltage of the recording, beyond which an analog input is on.", 1.0, **_POSITIVE
    )
    share: float | None = toml.key(
        "In place of `threshold`: a share of the way from the lowest to the highest voltage, such as `0.2` for bursts "
        "of a photodiode.",
        None,
        fits=lambda x: 0 < x < 1,
        takes="It takes a number between 0 and 1.",
    )
    merge: float = toml.key("s; pulses no further apart are one.", 0.0, **_NOT_NEGATIVE)
    shortest: float = toml.key("s; shorter pulses, once merged, are none.", 0.0, **_NOT_NEGATIVE)
    gap: float | None = toml.key(
        "Where frames are further apart than this many periods, the missing ones are filled in and recorded as such; "
        "a period is the median of the shortest 90 % of the intervals. Absent: nothing is filled in.",
        None,
        fits=lambda x: x > 1,
        takes="It takes a number above 1.",
    )
    step: float = toml.key(
        "V, by how much the voltage may change from a sample to the next within a plateau.", 0.2, **_POSITIVE
    )
    hold: float = toml.key("s, how long a plateau lasts at least; 1000 samples at 20 kHz.", 0.05, **_POSITIVE)
    resolution: float = toml.key(
        "V, to which the voltage of a plateau is rounded; one that rounds to 0 is no stimulus.", 0.1, **_POSITIVE
    )
    after: After | None = toml.key("From when on it counts; absent: from the start.", None)
    rate: tuple[float, float] | None = toml.key(
        "Hz, between which two the median rate of its pulses lies; another rate means another channel.",
        None,
        fits=lambda pair: 0 <= pair[0] < pair[1],
        takes="It takes two numbers, the smaller one first, such as [200, 260].",
    )
    least: int = toml.key("How many pulses or plateaus there must be; 0: it may be silent.", 0, **_NOT_NEGATIVE)
    most: int | None = toml.key("How many there may be; absent: any number.", None, **_NOT_NEGATIVE)
    no_more_than: str = toml.key(
        "A channel that has at least as many pulses, where it has any, as frames have of which volumes are made.", ""
    )

    @property
    def known_as(self) -> tuple[str, ...]:
        """Every name under which a file may list it, the canonical one first."""
        return (self.name, *self.names)

    @property
    def event_type(self) -> str:
        """Under which its events are stored: where their type depends on what Bonsai wrote, the channel's own name."""
        return self.name if "<" in self.event else self.event or self.name

    @property
    def shows(self) -> str:
        """What its events are to the stimuli of a log: `each`, `level`, or empty for nothing."""
        return self.stimuli or ("each" if "<" in self.event else "")

    @property
    def place(self) -> tuple[bool, int] | None:
        """Whether it is a digital line, and its number; None where it is looked up by its names."""
        if self.line is not None:
            return True, self.line
        return (False, self.analog) if self.analog is not None else None

    @property
    def rate_within(self) -> tuple[float, float]:
        """Hz, the least and the greatest rate that it can have; a plateau has its own duration to last."""
        return self.rate or (0.0, 1 / self.hold if self.kind == "level" else math.inf)

    @property
    def where(self) -> str:
        """Its place, in words."""
        if self.inside:
            return f"inside {self.inside}"
        return said_place(*self.place) if self.place else "by name"


def said_place(is_digital: bool, index: int) -> str:
    """Return a line or an input in words, as sentences have it."""
    return f"digital line {index}" if is_digital else f"analog input {index}"


@dataclass(frozen=True)
class Clock:
    """Which stream is scan time."""

    stream: str = toml.key(
        "The source whose clock is scan time: `aux`, seconds since the start of the first auxiliary sweep; or another "
        "one, such as `bpod`, seconds since its state machine was switched on. `frames`: seconds since the first "
        "two-photon frame.",
        AUX,
        fits=SOURCE.fullmatch,
        takes=f"It takes the name of a source, or {FRAMES}.",
    )
    otherwise: str = toml.key(
        "What takes its place where that one was not recorded; empty: the frames.",
        "",
        fits=lambda text: not text or SOURCE.fullmatch(text),
        takes=f"It takes the name of a source, or {FRAMES}.",
    )


@dataclass(frozen=True)
class Wheel:
    """What the volts of the channel `treadmill` mean: the output of a rotary encoder, which begins anew every turn."""

    circumference: float = toml.key("cm that the animal runs in one turn of the wheel.", **_POSITIVE)
    low: float = toml.key("V at the beginning of a turn.", 0.0)
    high: float = toml.key("V at the end of a turn.", 5.0)
    direction: int = toml.key(
        "`1`: running forward raises the voltage; `-1`: it lowers it.",
        1,
        fits=(1, -1).__contains__,
        takes="It takes 1 or -1.",
    )
    fastest: float = toml.key(
        "cm/s beyond which no animal runs; what is faster is a sample taken while the output fell back.",
        300.0,
        **_POSITIVE,
    )


@dataclass(frozen=True)
class Harp:
    """What the counts of HARP's inertial sensors mean, and when they were taken: the files tell neither."""

    accelerometer: float | None = toml.key(
        "How much one count is, in `acceleration_unit`; absent: nobody measured it, and values stay counts.",
        None,
        **_NOT_ZERO,
    )
    gyroscope: float | None = toml.key("The same in deg/s.", None, **_NOT_ZERO)
    magnetometer: float | None = toml.key("The same in µT.", None, **_NOT_ZERO)
    acceleration_unit: str = toml.key("Of a calibrated acceleration.", "m/s^2", **_one_of(("m/s^2", "g")))
    sample_rate: float | None = toml.key(
        f"Hz, where it is known; what was recorded may be up to {100 * IMU_RATE:g} % off.", None, **_POSITIVE
    )
    gate: str = toml.key(
        "The channel of kind `gate` that is on while HARP records: samples are spread evenly over the time that it is "
        "open. Empty: no channel tells when they were taken.",
        "",
    )
    verified: bool = toml.key("Whether this was compared with the lab's own recordings or documents.", True)
    missing: str = toml.key("What a lab must find out where `verified` is false.", "")


@dataclass(frozen=True)
class Align:
    """How the times of a source are placed on scan time: which of its events are the same as the pulses of a channel.

    Or, where the computer of another source stamped its times, too, through that one.
    """

    source: str = toml.key("The source whose times are placed, such as `bpod` or a camera's name.")
    channel: str = toml.key("The channel whose onsets are paired; empty with `through`.", "")
    events: tuple[str, ...] = toml.key(
        "The events of the source that are paired with them, in order of their times. `bpod_trial_start` is the start "
        "of a trial; the frames that the camera `camera_top` stamped are `camera_top_frames`.",
        (),
        fits=lambda names: all(map(_EVENTS.fullmatch, names)),
        takes="It takes names such as bpod_trial_start.",
    )
    through: str = toml.key(
        "In place of `channel` and `events`: another source with time stamps of the same computer, through which this "
        "one is placed.",
        "",
    )
    jitter: float = toml.key(
        "s, the furthest that a pair of events may be off; time stamps of software are off by some milliseconds.",
        1e-3,
        **_POSITIVE,
    )
    only_with: tuple[str, ...] = toml.key(
        "Events of the source of which a trial must hold one to be paired, such as `raw_bpod_SoftCode10`; trials "
        "without, such as timeouts, are left out. Empty: all are paired.",
        (),
        fits=lambda names: all(map(_EVENTS.fullmatch, names)),
        takes="It takes names such as raw_bpod_SoftCode10.",
    )
    trials: str = toml.key(
        "The events that begin the trials of which `only_with` speaks, such as `bpod_trial_start`; each lasts until "
        "the next.",
        "",
    )
    after: After | None = toml.key("From when on the channel's pulses are paired; absent: from the start.", None)
    drop_first: bool = toml.key("Whether the first of these pulses belongs to no trial.", False)
    drop_last: bool = toml.key("Whether the last of these pulses belongs to no trial.", False)
    anchor: str = toml.key(
        "What is known beforehand, which even trains without any irregularity need. "
        f"{'; '.join(f'`{name}`: {what}' for name, what in ANCHORS.items())}; empty: intervals alone tell.",
        "",
        fits=("", *ANCHORS).__contains__,
        takes=f"It takes {' or '.join(ANCHORS)}.",
    )
    verified: bool = toml.key("Whether this was compared with the lab's own recordings or documents.", True)
    missing: str = toml.key("What a lab must find out where `verified` is false.", "")

    @property
    def how(self) -> str:
        """How the source is placed, in words."""
        return f"through {self.through}" if self.through else f"{' and '.join(self.events)} with {self.channel}"


def misfits(
    channels: tuple[Channel, ...],
    clock: Clock,
    sources: Collection[str],
    aligns: tuple[Align, ...],
    wheel: Wheel | None = None,
    harp: Harp | None = None,
) -> Iterator[Problem]:
    """Yield what cannot be of a setup type's wiring, although each key by itself has a fitting value."""
    gates = [channel.name for channel in channels if channel.kind == "gate"]
    for number, channel in enumerate(channels, 1):
        found = (_of_place(channel), _of_kind(channel), _of_counts(channel), _of_others(channel, channels, gates))
        yield from _at(f"channel {number}", chain(*found, _unverified(channel)))
    yield from _shared(channels)
    yield from _of_streams(channels, clock, sources)
    if wheel:
        yield from _at("wheel", _of_wheel(wheel, channels))
    if harp:
        yield from _at("harp", chain(_of_harp(harp, gates), _unverified(harp)))
    for number, align in enumerate(aligns, 1):
        of_align = chain(_of_align(align, channels, gates), _of_source(align, clock, sources), _unverified(align))
        yield from _at(f"align {number}", of_align)
        if align.through and not any(other.source == align.through and other.channel for other in aligns):
            what = f"Nothing places {align.through} itself by a channel."
            yield _wrong(f"align {number}, through", what, "Name a source that is placed by one.")


def _wrong(key: str, what: str, hint: str) -> Problem:
    return Problem("error", what, key, hint)


def _at(place: str, problems: Iterable[Problem]) -> Iterator[Problem]:
    yield from (Problem(p.severity, p.what, f"{place}, {p.where}", p.hint) for p in problems)


def _of_place(channel: Channel) -> Iterator[Problem]:
    if channel.line is not None and channel.analog is not None:
        yield _wrong("analog", "A digital line and an analog input at once cannot be.", "Keep one of the two.")
    if channel.inside:
        if channel.place or channel.names:
            yield _wrong("inside", "It has a place of its own, too.", "Leave out line, analog and names.")
    elif not channel.place and not channel.names:
        yield _wrong("name", "Nothing says where it is.", "It takes line, analog or names.")
    if channel.line is not None and channel.kind in _ANALOG_KINDS:
        yield _wrong("line", f"A channel of kind {channel.kind} is a voltage.", "Write analog in place of line.")
    for name in channel.names:
        if not fold(name):
            yield _wrong("names", f"{name!r} is no name.", "It takes letters or digits.")


def _of_kind(channel: Channel) -> Iterator[Problem]:
    """Yield keys that mean nothing for what the channel is: who wrote them expects that they do something."""
    defaults = {field.name: field.default for field in fields(channel)}
    for key, kinds in _OF_KINDS.items():
        if getattr(channel, key) == defaults[key]:
            continue
        if channel.kind not in kinds:
            yield _wrong(key, f"A channel of kind {channel.kind} has none.", f"It is for kind {' or '.join(kinds)}.")
        elif key in _OF_VOLTAGES and channel.line is not None:
            yield _wrong(key, "A digital line has none.", "It is for analog inputs.")
    if channel.stimuli == "level" and channel.kind != "level":
        yield _wrong("stimuli", f"A channel of kind {channel.kind} has no levels.", 'Write stimuli = "each".')


def _of_counts(channel: Channel) -> Iterator[Problem]:
    if channel.most is not None and channel.most < channel.least:
        yield _wrong("most", f"At most {channel.most} and at least {channel.least} cannot be.", "Mend one of the two.")


def _of_others(channel: Channel, channels: tuple[Channel, ...], gates: list[str]) -> Iterator[Problem]:
    if channel.after:
        yield from _at("after", _unknown("gate", channel.after.gate, gates, "channel of kind gate"))
    others = [other for other in channels if other.name != channel.name]
    if channel.no_more_than:
        trains = [other.name for other in others if other.kind in _TRAINS]
        yield from _unknown("no_more_than", channel.no_more_than, trains, "other channel with pulses")
    if channel.inside:
        outer = [other.name for other in others if not other.inside and other.line is None]
        yield from _unknown("inside", channel.inside, outer, "other channel with an analog input")


def _unknown(key: str, name: str, known: Collection[str], what: str) -> Iterator[Problem]:
    if name not in known:
        yield _wrong(key, f"There is no {what} {name!r}.", nearest(name, known))


def _unverified(table: Channel | Align | Harp) -> Iterator[Problem]:
    if table.verified == bool(table.missing.strip()):
        yield _wrong(
            "missing",
            "What is missing cannot be verified."
            if table.verified
            else "What is not verified must say what is missing.",
            "Leave it out, or set verified = false." if table.verified else "It takes a sentence.",
        )


def _shared(channels: tuple[Channel, ...]) -> Iterator[Problem]:
    """Yield names, places and events that two channels claim."""
    seen: dict[Any, str] = {}
    for number, channel in enumerate(channels, 1):
        claims: list[tuple[str, Any, str]] = [("name", fold(channel.name), repr(channel.name))]
        claims += [("names", fold(name), repr(name)) for name in channel.names if fold(name) != fold(channel.name)]
        if channel.place:
            claims.append(("line" if channel.place[0] else "analog", channel.place, channel.where.capitalize()))
        if channel.event:
            claims.append(("event", ("event", channel.event), f"Event {channel.event!r}"))
        for key, claim, said in claims:
            if claim in seen:
                what = f"{said} is claimed by {seen[claim]} already."
                yield _wrong(f"channel {number}, {key}", what, "Give it to one of them.")
            seen.setdefault(claim, channel.name)


def _of_streams(channels: tuple[Channel, ...], clock: Clock, sources: Collection[str]) -> Iterator[Problem]:
    if clock.stream == clock.otherwise:
        yield _wrong("clock, otherwise", "It is that stream itself.", "Name another one, or leave it out.")
    for key, name in (("stream", clock.stream), ("otherwise", clock.otherwise)):
        if name:
            known = {AUX, FRAMES, *sources}
            yield from _at("clock", _unknown(key, name, known, "source among the expected files"))
    if channels and AUX not in sources:
        what = f"The channels are those of the source {AUX}."
        yield _wrong("channel", what, f'Give source = "{AUX}" to the expected files that hold them, and a parser.')


def _of_source(align: Align, clock: Clock, sources: Collection[str]) -> Iterator[Problem]:
    yield from _unknown("source", align.source, sources, "source among the expected files")
    if align.source in (clock.stream, AUX):
        yield _wrong("source", f"Its own clock may be scan time ({align.source}).", "Leave it out.")
    if align.through:
        yield from _unknown("through", align.through, set(sources) - {align.source}, "other source")
    if bool(align.through) == bool(align.channel or align.events) or bool(align.channel) != bool(align.events):
        yield _wrong("channel", "It is placed by a channel and events, or through another source.", "Keep one of both.")


def _of_wheel(wheel: Wheel, channels: tuple[Channel, ...]) -> Iterator[Problem]:
    if wheel.high <= wheel.low:
        what = f"The output cannot rise from {wheel.low:g} to {wheel.high:g} V."
        yield _wrong("high", what, "Where running forward lowers it, write direction = -1.")
    if not any(channel.name == WHEEL and channel.kind == "waveform" for channel in channels):
        what = f"There is no channel {WHEEL} of kind waveform whose volts it could explain."
        yield _wrong("circumference", what, "Describe that channel, or leave the wheel out.")


def _of_harp(harp: Harp, gates: list[str]) -> Iterator[Problem]:
    if harp.gate:
        yield from _unknown("gate", harp.gate, gates, "channel of kind gate")


def _of_align(align: Align, channels: tuple[Channel, ...], gates: list[str]) -> Iterator[Problem]:
    if align.channel:
        trains = [channel.name for channel in channels if channel.kind in (*_TRAINS, "level")]
        yield from _unknown("channel", align.channel, trains, f"channel of kind {' or '.join(_TRAINS)} or level")
    if align.after:
        yield from _at("after", _unknown("gate", align.after.gate, gates, "channel of kind gate"))
    if bool(align.only_with) != bool(align.trials):
        yield _wrong("only_with", "It speaks of the trials that `trials` names.", "Give both, or neither.")
