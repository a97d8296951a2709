"""Which streams a source of events tells of, and what it promises of each, as its setup type names them.

The auxiliary recording tells of every channel of frames, by its pulses, under the channel's own name; of stimuli, by
the plateaus or pulses of the first channel that shows any; and of each device that stamps the frames of one of its
channels, such as a camera that it triggers. Such a device is a stream of its own, so that what is wrong with its table
is not held against the frames. The video of a camera is another one: it has as many frames as the camera's table has
rows, whatever the camera lost; where the table is missing, as many as there are pulses. Other trains are told under
their own names, and of single events the source's reader says which of them are counted.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from adamacs.core.clocks import counters
from adamacs.core.clocks.counters import Gap
from adamacs.core.events import ImportedEvents, Repair, Series, Stretch, Tally, frames_of
from adamacs.core.promises import FILE, PULSES, Promise
from adamacs.core.setup_wiring import AUX
from adamacs.core.setups import SetupType

STIMULI: Final = "stimuli"
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Span:
    """How many events of a type there were, and when the first and the last began (s)."""

    count: int
    first: float | None
    last: float | None

    @classmethod
    def of(cls, starts: ArrayLike, stretches: Sequence[Stretch] = ()) -> Span:
        """Return it of events by when they began (s), in order of time.

        What was on when a later stretch of the recording began is not counted: it may have been before the pause.
        """
        times = np.asarray(starts, np.float64)
        times = times[~np.isin(times, [stretch.start for stretch in stretches[1:]])]
        return cls(len(times), *((float(times[0]), float(times[-1])) if len(times) else (None, None)))


@dataclass(frozen=True)
class Source:
    """A source of events, and its sight of a scan.

    Attributes
    ----------
    name, clock
        Its name, and the clock of its times.
    trains
        What its files hold of pulse trains.
    events
        And of single events, by their type.
    stretches
        When it recorded; empty where its files do not tell.
    tallies
        What they say of their frames without a time for each.
    """

    name: str
    clock: str
    trains: tuple[Series, ...] = ()
    events: Mapping[str, Span] = field(default_factory=dict)
    stretches: tuple[Stretch, ...] = ()
    tallies: tuple[Tally, ...] = ()

    @classmethod
    def of(cls, found: ImportedEvents, name: str, clock: str) -> Source:
        """Return it by what its importer found."""
        spans = {one.event_type: Span.of(one.start, found.stretches) for one in found.events}
        return cls(name, clock, found.series, spans, found.stretches, found.tallies)

    def promises(self, setup: SetupType, sources: Collection[str], counts: Mapping[str, str]) -> tuple[Promise, ...]:
        """Return what it promises of every stream that it tells of.

        Parameters
        ----------
        setup
            Which names the channels, and says which events of sources are the same as their pulses.
        sources
            Of the scan.
        counts
            Per type of events of which each is one of a stream, the stream (`adamacs.core.modality.Parser`).
        """
        told_by = PULSES if self.name == AUX else FILE
        found = {one.event_type: _of_train(one, self.stretches) for one in self.trains}
        found |= {kind: asdict(span) | {"unseen": _room(span, self.stretches)} for kind, span in self.events.items()}
        timed = (
            Promise(self.name, stream, told_by, clock=self.clock, **found[kind])
            for kind, stream in self.streams(setup, sources, counts)
        )
        told: dict[tuple[str, str], Promise] = {}  # once of each stream: two rules may name one source
        for one in (*timed, *self._tallied(), *self._rows(setup, sources, found)):
            told.setdefault((one.stream, one.told_by), one)
        return tuple(told.values())

    def _tallied(self) -> Iterator[Promise]:
        """Yield what it says of its own frames; without a rate that is told on no clock."""
        for one in self.tallies:
            clock = self.clock if one.rate else ""
            yield Promise(self.name, self.name, one.told_by, one.count, rate=one.rate, clock=clock)

    def _rows(self, setup: SetupType, sources: Collection[str], found: Mapping[str, Any]) -> Iterator[Promise]:
        """Yield how many frames each video of its must have: those of its table, with no regard to gaps between."""
        if rows := found.get(frames_of(self.name)):
            for video in _videos(setup, self.name, sources):
                yield Promise(self.name, video, FILE, rows["count"])

    def streams(self, setup: SetupType, sources: Collection[str], counts: Mapping[str, str]) -> list[tuple[str, str]]:
        """Return the event types that it found, and the stream that each tells of; parameters are those of `promises`.

        One type may tell of several streams.
        """
        found = {one.event_type for one in self.trains} | set(self.events)
        told = [*(_of_channels(setup, sources) if self.name == AUX else _of_files(self)), *counts.items()]
        return [(kind, stream) for kind, stream in told if kind in found]


def expected(setup: SetupType, source: str, sources: Collection[str], counts: Mapping[str, str]) -> tuple[str, ...]:
    """Return the streams that a source would tell of, whatever its files hold; parameters are those of `promises`."""
    if source == AUX:
        return tuple(dict.fromkeys(stream for _, stream in _of_channels(setup, sources)))
    return (*(dict.fromkeys(counts.values()) or (source,)), *_videos(setup, source, sources))


def _of_channels(setup: SetupType, sources: Collection[str]) -> Iterator[tuple[str, str]]:
    """Yield the event types of an auxiliary recording, and the streams that they tell of."""
    for channel in setup.channel:
        if channel.kind == "frames" and channel.event:
            yield channel.event_type, channel.name
            for rule in setup.align:
                if rule.channel == channel.name and frames_of(rule.source) in rule.events:
                    is_there = rule.source in sources
                    stamped = [rule.source] if is_there else _videos(setup, rule.source, sources)
                    yield from ((channel.event_type, stream) for stream in stamped)
    if shown := [channel for channel in setup.channel if channel.shows]:
        yield shown[0].event_type, STIMULI


def _videos(setup: SetupType, camera: str, sources: Collection[str]) -> list[str]:
    """Return the sources that are videos of a camera."""
    found = (expected.told_by for expected in setup.expected if expected.stamped_by == camera)
    return [source for source in dict.fromkeys(found) if source in sources]


def _of_files(source: Source) -> Iterator[tuple[str, str]]:
    """Yield the trains of another source, and the streams that they tell of."""
    for train in source.trains:
        kind = train.event_type
        yield kind, source.name if kind == frames_of(source.name) else kind


def _of_train(found: Series, stretches: Sequence[Stretch]) -> dict[str, Any]:
    """Return what a train tells: what was put in is missing, and so is what would fit into its gaps.

    What would fit between two stretches of the recording was not seen, if there was any.
    """
    times = without_repairs(found.times, found.repairs)
    gaps = gaps_of(times)
    within, between = parted(gaps, stretches)
    unseen = sum(_unseen(gap, stretches) for gap in between)
    about = {"rate": _rate(times, within, stretches), "missing": sum(gap.missing for gap in gaps) - unseen}
    return asdict(Span.of(times)) | about | {"unseen": unseen}


def _unseen(gap: Gap, stretches: Sequence[Stretch]) -> int:
    """Return how many pulses of a gap may have come in pauses of the recording."""
    period = (gap.stop - gap.start) / (gap.missing + 1)
    pauses = pairwise(stretches)
    room = sum(int((later.start - one.stop) / period) + 1 for one, later in pauses if _holds(gap, one, later))
    return min(room, gap.missing)


def _room(span: Span, stretches: Sequence[Stretch]) -> int:
    """Return how many more events may have come in pauses of the recording, at the pace that they had otherwise."""
    pace = span.count / sum(stretch.stop - stretch.start for stretch in stretches) if stretches else 0.0
    return sum(int((later.start - one.stop) * pace) + 1 for one, later in pairwise(stretches)) if pace else 0


def _holds(gap: Gap, one: Stretch, later: Stretch) -> bool:
    """Tell whether the pause between two stretches lies in a gap."""
    return gap.start < one.stop and later.start <= gap.stop


def _rate(times: Floats, gaps: Sequence[Gap], stretches: Sequence[Stretch]) -> float | None:
    """Return the rate outside gaps and within stretches, Hz; None where no time passed."""
    left_out = {gap.index for gap in gaps} | set(_last_before_pauses(times, stretches).tolist())
    intervals = np.delete(np.diff(times), sorted(left_out))
    passed = float(intervals.sum())
    return len(intervals) / passed if passed > 0 else None


def _last_before_pauses(times: Floats, stretches: Sequence[Stretch]) -> NDArray[np.int64]:
    """Return the last pulse before each pause between stretches, where others follow."""
    behind = np.searchsorted(times, [stretch.start for stretch in stretches[1:]])
    return np.unique(behind[(behind > 0) & (behind < len(times))]) - 1


def parted(gaps: Iterable[Gap], stretches: Sequence[Stretch]) -> tuple[tuple[Gap, ...], tuple[Gap, ...]]:
    """Part gaps of a train into those within a stretch of its recording, and those that hold a pause between two."""
    within: list[Gap] = []
    between: list[Gap] = []
    begins = np.array([stretch.start for stretch in stretches[1:]])
    for gap in gaps:
        before, behind = np.searchsorted(begins, [gap.start, gap.stop], side="right")
        (between if before < behind else within).append(gap)
    return tuple(within), tuple(between)


def without_repairs(times: ArrayLike, repairs: Sequence[Repair]) -> Floats:
    """Return a repaired train, s, (pulse,), as it was found."""
    put_in = [np.arange(repair.first, repair.first + repair.count) for repair in repairs]
    return np.delete(np.asarray(times, np.float64), np.concatenate(put_in) if put_in else [])


def gaps_of(times: ArrayLike) -> tuple[Gap, ...]:
    """Find where pulses of a train are missing, by its times alone, whether they were lost or the device paused.

    One that was stamped late, as computers do, is not missing (`counters.find_gaps`).

    Parameters
    ----------
    times
        (pulse,): s, never falling.
    """
    return counters.find_gaps(times, settle=counters.SETTLE)
