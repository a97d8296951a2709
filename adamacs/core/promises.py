"""What everybody who recorded a scan promises of its streams, and whether the promises agree.

A stream is named by what it is: `two_photon_frames`, `camera_top`, `bpod_trials`. Whoever tells of it says how many it
holds, when the first and the last was, at what rate, and how many are known to be missing. `compare` sets these side by
side, with how surely each clock was placed on scan time, and gives a verdict per stream. It knows no instrument.

A header asks for frames before they are recorded: fewer were recorded where somebody stopped early, more cannot be.
Pulses and files tell what happened. Of a train with gaps nobody knows by its times alone whether the instrument paused
or pulses were lost, so it tells a range, from its count to its count and all that would fit into the gaps; two tellers
agree where their ranges meet. What would fit into a pause of the teller's own recording widens the range, too, and is
missing only where another count says so.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from adamacs.core.clocks.mapping import ClockModel
    from adamacs.core.settings import Sync

HEADER: Final = "header"
PULSES: Final = "pulses"
FILE: Final = "file"
TOLD_BY: Final = (HEADER, PULSES, FILE)
VERDICTS: Final = ("pass", "warn", "fail")  # from good to bad

_ALONE: Final = "Nothing else tells of it."
RESOLUTION: Final = (
    1e-3  # s: a time is told no worse than this, so that a rate over T seconds is known to its T-th part
)


@dataclass(frozen=True)
class Promise:
    """What somebody tells of one stream.

    Attributes
    ----------
    teller
        Who tells: a program or device, such as `ScanImage`, `aux`, `camera_top`.
    stream
        What it is about, such as `two_photon_frames`.
    told_by
        `header`, `pulses` or `file`.
    count
        How many there are; None where that was left open, as by a header of a recording that is stopped by hand.
    first, last
        s on `clock`; None where no time is told.
    rate
        Hz on `clock`; None for what is irregular.
    missing
        How many more would fit into gaps between them, whether or not somebody put them in.
    unseen
        How many more would fit into pauses of the teller's own recording, in which it saw nothing.
    clock
        Of the times and the rate; empty: of no clock that the scan knows.
    """

    teller: str
    stream: str
    told_by: str
    count: int | None
    first: float | None = None
    last: float | None = None
    rate: float | None = None
    missing: int = 0
    clock: str = ""
    unseen: int = 0

    @property
    def least(self) -> int:
        """How many there are at least."""
        return self.count or 0

    @property
    def most(self) -> int:
        """How many there are at most: with all that would fit into gaps and pauses."""
        return self.least + self.missing + self.unseen

    @property
    def said(self) -> str:
        """By what it is told, and whose that is, as sentences have it."""
        return f"the {'files' if self.told_by == FILE else self.told_by} of {self.teller}"


@dataclass(frozen=True)
class Placement:
    """How a clock is placed on scan time, and how surely.

    Attributes
    ----------
    residual_p95, residual_max
        s: how far used pairs of instants are from the mapping.
    used, rejected, alone
        Pairs of instants that the mapping stands on, pairs that no mapping brings together, and instants without a
        partner although both clocks ran.
    """

    model: ClockModel
    residual_p95: float
    residual_max: float
    used: int
    rejected: int
    alone: int

    @property
    def unpaired(self) -> float:
        """Per cent of the instants that are rejected or alone."""
        return 100 * (self.rejected + self.alone) / max(self.used + self.rejected + self.alone, 1)


@dataclass(frozen=True)
class Unplaced:
    """A clock that is not placed on scan time, and why.

    Attributes
    ----------
    target
        The clock that is scan time.
    has_rule
        Whether the setup type says how it is to be placed, so that it could not be.
    """

    clock: str
    target: str
    why: str
    has_rule: bool = True


@dataclass(frozen=True)
class Silent:
    """A teller of whom nothing could be read, and why.

    Attributes
    ----------
    streams
        Of which it would have told; empty where nobody knows.
    """

    teller: str
    why: str
    streams: tuple[str, ...] = ()


@dataclass(frozen=True)
class StreamVerdict:
    """Whether what is told of a stream agrees.

    Attributes
    ----------
    stream
        Its name; of a clock or a silent teller that no stream stands for, that of the clock or the teller.
    verdict
        `pass`, `warn` or `fail`.
    is_compared
        Whether anything else tells of it, so that an error could have been seen.
    why
        In sentences, with the tellers and their numbers.
    told
        What was compared.
    count_min, count_max
        The least and the greatest count of what happened, headers apart; None where nobody counted.
    missing
        How many are known to be missing from a count.
    rate_difference
        ppm between the lowest and the highest rate; None where fewer than two are told.
    first_difference, last_difference
        s of scan time between what is told of the first and of the last; None where fewer than two can be compared.
    placements, unplaced
        Of the clocks on which the stream is told and that it depends on.
    """

    stream: str
    verdict: str
    is_compared: bool
    why: str
    told: tuple[Promise, ...] = ()
    count_min: int | None = None
    count_max: int | None = None
    missing: int = 0
    rate_difference: float | None = None
    first_difference: float | None = None
    last_difference: float | None = None
    placements: tuple[Placement, ...] = ()
    unplaced: tuple[Unplaced, ...] = ()


@dataclass(frozen=True)
class _Finding:
    """Something that was found: how bad it is (an index of VERDICTS), and the sentence."""

    badness: int
    what: str


def worst(verdicts: Iterable[str]) -> str:
    """Return the worst of some verdicts; `pass` of none."""
    return max(verdicts, key=VERDICTS.index, default=VERDICTS[0])


def compare(
    promises: Iterable[Promise],
    thresholds: Sync,
    placements: Iterable[Placement] = (),
    unplaced: Iterable[Unplaced] = (),
    silent: Iterable[Silent] = (),
) -> tuple[StreamVerdict, ...]:
    """Set all promises of a scan side by side.

    The order of the promises does not matter, and one more teller who says the same never makes a verdict worse.

    Parameters
    ----------
    promises
        Of everybody who tells of the scan.
    thresholds
        Beyond which a difference is warned of, and beyond which it fails.
    placements
        Of every clock but scan time itself.
    unplaced
        Clocks that are not placed. What is told on one of them fails, or is warned of where no rule asks for more.
    silent
        Tellers of whom nothing could be read. The streams of which they would have told fail, or their own names do.

    Returns
    -------
    A verdict per stream, in the order of their names; a clock that no stream depends on has one too, under its name.
    """
    streams: dict[str, list[Promise]] = {}
    for promise in sorted(set(promises), key=_order):
        streams.setdefault(promise.stream, []).append(promise)
    placed = {one.model.source: one for one in placements}
    lost = {one.clock: one for one in unplaced}
    mute: dict[str, list[Silent]] = {}
    for one in silent:
        for name in one.streams or (one.teller,):
            mute.setdefault(name, []).append(one)
    carried = _carried(streams, {one.model.target for one in placed.values()}, lost)
    judged = set(placed) | {clock for clock, one in lost.items() if one.has_rule}
    for clock in judged.difference(*carried.values()):  # no stream depends on it
        carried.setdefault(clock, []).append(clock)
    for name in mute:
        carried.setdefault(name, [])
    cases = (
        _Case(
            stream=name,
            told=tuple(streams.get(name, ())),
            placed=placed,
            carried=tuple(placed[clock] for clock in clocks if clock in placed),
            lost=tuple(lost[clock] for clock in clocks if clock in lost),
            silent=tuple(mute.get(name, ())),
            limits=thresholds,
        )
        for name, clocks in sorted(carried.items())
    )
    return tuple(case.judged() for case in cases)


def _order(promise: Promise) -> tuple[str, int, str, str]:
    return promise.stream, TOLD_BY.index(promise.told_by), promise.teller, repr(promise)


def _carried(
    streams: Mapping[str, Sequence[Promise]], scan_time: Collection[str], lost: Collection[str]
) -> dict[str, list[str]]:
    """Return, per stream, the clocks that it depends on.

    One that is told on scan time, too, stands without them, unless the clock is its own: the time stamps of a camera
    are on the camera's clock, whatever triggered it. Who tells of it on a clock that could not be placed may tell of
    another recording: without that clock it does not stand.
    """
    found = {}
    for name, told in streams.items():
        clocks = sorted({promise.clock for promise in told})
        on_scan_time = any(clock in scan_time for clock in clocks)
        found[name] = [clock for clock in clocks if clock == name or clock in lost or not on_scan_time]
    return found


@dataclass(frozen=True)
class _Case:
    """One stream, with everything that is to be compared."""

    stream: str
    told: tuple[Promise, ...]
    placed: Mapping[str, Placement]
    carried: tuple[Placement, ...]
    lost: tuple[Unplaced, ...]
    silent: tuple[Silent, ...]
    limits: Sync

    def judged(self) -> StreamVerdict:
        findings = [*self._counts(), *self._gaps(), *self._header(), *self._rates(), *self._ends(), *self._clocks()]
        findings.sort(key=lambda one: -one.badness)
        first, last = (self._apart(end) for end in ("first", "last"))
        return StreamVerdict(
            stream=self.stream,
            verdict=VERDICTS[max((one.badness for one in findings), default=0)],
            is_compared=self.is_compared,
            why=self._why(findings),
            told=self.told,
            count_min=min((p.least for p in self._counted), default=None),
            count_max=max((p.least for p in self._counted), default=None),
            missing=max(map(self._lacks, self._counted), default=0),
            rate_difference=max((ppm for *_, ppm in self._rate_pairs()), default=None),
            first_difference=first,
            last_difference=last,
            placements=self.carried,
            unplaced=self.lost,
        )

    def _why(self, findings: Sequence[_Finding]) -> str:
        """Return what is bad, the worst first; where nothing is, what all agree on."""
        bad = [one.what for one in findings if one.badness]
        return " ".join([*(bad or [self._agreement()]), *(one.what for one in findings if not one.badness)])

    @property
    def is_compared(self) -> bool:
        """Whether two tell of it, or the instants of two clocks were paired for it."""
        telling = {(p.teller, p.told_by) for p in self.told if p.count is not None or p.rate is not None}
        return len(telling) > 1 or bool(self.carried)

    def _badness(self, value: float, name: str) -> int:
        """Return how bad a value is, by the two thresholds of a name."""
        return int(value > getattr(self.limits, f"{name}_warn")) + int(value > getattr(self.limits, f"{name}_fail"))

    def _agreement(self) -> str:
        """Return what is to be said where nothing differs: counts, or rates where nobody counts."""
        counts = [(f"{p.least}", p.least, p.said) for p in self.told if p.count is not None]
        rates = [(f"{p.rate:.6g} Hz", p.rate, p.said) for p in self.told if p.rate is not None]
        by_value: dict[str, list[str]] = {}
        for value, _, who in sorted(counts or rates, key=lambda one: one[1]):
            by_value.setdefault(value, []).append(who)
        values = (f"{value} by {_listed(who)}." for value, who in by_value.items())
        return " ".join([*values, *map(_spelt, self.carried), *([] if self.is_compared else [_ALONE])])

    # ---- counts

    @property
    def _counted(self) -> list[Promise]:
        """Who counted what happened."""
        return [p for p in self.told if p.told_by != HEADER and p.count is not None]

    @property
    def _most(self) -> int:
        """The greatest count: so many there were, if nobody is wrong."""
        return max((p.least for p in self._counted), default=0)

    def _lacks(self, promise: Promise) -> int:
        """Return how many are known to be missing: what others have more, or all gaps where nobody else counts."""
        alone = len(self._counted) == 1
        return promise.missing if alone else min(promise.missing + promise.unseen, self._most - promise.least)

    def _counts(self) -> Iterator[_Finding]:
        if not self._counted:
            return
        few, many = min(self._counted, key=lambda p: p.most), max(self._counted, key=lambda p: p.least)
        if (apart := many.least - few.most) > 0:
            gaps = f" and gaps for {few.missing + few.unseen} more" if few.missing + few.unseen else ""
            what = f"{few.count}{gaps} by {few.said}, {many.count} by {many.said}: {apart} apart."
            yield _Finding(self._badness(apart, "count"), what)

    def _gaps(self) -> Iterator[_Finding]:
        """Tell of what is missing at known places, and of gaps that no other count bears out."""
        if not self._counted:
            return
        few = max(self._counted, key=self._lacks)
        if lacking := self._lacks(few):
            whole = max(self._most, few.least + lacking)
            where = "in gaps, or in pauses of its recording" if few.unseen else "at known places"
            what = f"Of {whole}, {lacking} are missing from {few.said}, {where}."
            yield _Finding(self._badness(100 * lacking / whole, "missing"), what)
        elif (few := max(self._counted, key=lambda p: p.missing / max(p.most, 1))).missing:
            what = f"{few.missing} more would fit into gaps in {few.said}: it paused, or nobody has them."
            yield _Finding(min(self._badness(100 * few.missing / few.most, "missing"), 1), what)
        if len(self._counted) == 1 and (only := self._counted[0]).unseen:
            what = f"{only.unseen} more would fit into pauses of the recording of {only.teller}: nobody counted then."
            yield _Finding(min(self._badness(100 * only.unseen / only.most, "missing"), 1), what)

    def _header(self) -> Iterator[_Finding]:
        """Compare what was asked for with what came: less is an early stop, which two others must bear out."""
        if not self._counted:
            return
        many = max(self._counted, key=lambda p: p.least)
        enough = min(p.most for p in self._counted)
        for asked in (p for p in self.told if p.told_by == HEADER and p.count is not None):
            if (excess := many.least - asked.least) > 0:
                what = f"{asked.count} were asked for by {asked.said}, {many.count} came by {many.said}: too many."
                yield _Finding(self._badness(excess, "count"), what)
            elif (lack := asked.least - max(many.least, enough)) > 0:
                is_sure = len({p.teller for p in self._counted}) > 1
                doubt = "it was stopped early." if is_sure else "was it stopped early, or are files missing?"
                what = f"{asked.count} were asked for by {asked.said}, {many.count} came by {many.said}: {doubt}"
                yield _Finding(0 if is_sure else min(self._badness(lack, "count"), 1), what)

    # ---- rates and times

    def _on_scan_time(self, promise: Promise, rate: float) -> float:
        """Return a rate as scan time has it."""
        placed = self.placed.get(promise.clock)
        return rate / (1 + placed.model.drift_ppm * 1e-6) if placed else rate

    def _rate_pairs(self) -> Iterator[tuple[Promise, Promise, float]]:
        """Yield the slower and the faster of every two who tell a rate, and by how much they differ (ppm)."""
        rated = [(self._on_scan_time(p, p.rate), p) for p in self.told if p.rate]
        for (one, p), (two, q) in combinations(rated, 2):
            slow, fast = ((one, p), (two, q)) if one <= two else ((two, q), (one, p))
            yield slow[1], fast[1], 1e6 * (fast[0] / slow[0] - 1)

    def _rates(self) -> Iterator[_Finding]:
        beyond = [(ppm - _unsure(p) - _unsure(q), ppm, p, q) for p, q, ppm in self._rate_pairs()]
        if beyond:
            excess, ppm, p, q = max(beyond, key=lambda one: one[0])
            if badness := self._badness(excess, "rate"):
                what = f"{p.rate:.6g} Hz by {p.said}, {q.rate:.6g} Hz by {q.said}: {ppm:.0f} ppm apart."
                yield _Finding(badness, what)

    def _apart(self, end: str) -> float | None:
        """Return how far the first, or the last, of all tellers are apart, s of scan time; None for less than two."""
        times: dict[str, list[float]] = {}
        for promise in self.told:
            time = getattr(promise, end)
            if time is not None and promise.clock:
                placed = self.placed.get(promise.clock)
                clock = placed.model.target if placed else promise.clock
                times.setdefault(clock, []).append(float(placed.model.convert(time)) if placed else time)
        return max((max(found) - min(found) for found in times.values() if len(found) > 1), default=None)

    def _ends(self) -> Iterator[_Finding]:
        """Tell where one of the tellers began or ended a frame or more from the others."""
        rates = [self._on_scan_time(p, p.rate) for p in self.told if p.rate]
        for end in ("first", "last"):
            apart = self._apart(end)
            if apart is None or not rates:
                continue
            periods = apart * min(rates)
            if badness := self._badness(periods - 0.5, "count"):
                yield _Finding(badness, f"Of the {end}, tellers are {apart:.4g} s apart: {periods:.1f} periods.")

    # ---- clocks

    def _clocks(self) -> Iterator[_Finding]:
        for silent in self.silent:
            yield _Finding(2, f"Nothing could be read of {silent.teller}: {silent.why}")
        for lost in self.lost:
            how, badness = ("could not be", 2) if lost.has_rule else ("is not", 1)
            yield _Finding(badness, f"Clock {lost.clock} {how} placed on {lost.target or 'scan time'}: {lost.why}")
        for placed in self.carried:
            model, p95 = placed.model, 1e6 * placed.residual_p95
            if badness := self._badness(abs(model.drift_ppm), "drift"):
                yield _Finding(badness, f"Clock {model.source} runs {_apart(model.drift_ppm)} than {model.target}.")
            if badness := self._badness(p95, "residual"):
                what = f"Clock {model.source}: 5 % of the pairs are more than {p95:.0f} µs from its mapping."
                yield _Finding(badness, what)
            if badness := self._badness(placed.unpaired, "alone"):
                apart = f"{placed.alone} instants have no partner, {placed.rejected} pairs fit nowhere"
                yield _Finding(badness, f"Clock {model.source}: {apart}, {placed.used} pairs do.")


def _unsure(promise: Promise) -> float:
    """Return by how much a rate may be off because the train is short, ppm; a header's is exact."""
    if promise.told_by == HEADER or not promise.rate or (promise.count or 0) < 2:
        return 0.0
    return 1e6 * RESOLUTION * promise.rate / ((promise.count or 0) - 1)


def _apart(drift_ppm: float) -> str:
    """Return how a clock runs against another that is so much faster, in words."""
    return f"{abs(drift_ppm):.1f} ppm {'slower' if drift_ppm > 0 else 'faster'}"


def _listed(words: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(words[:-1]), words[-1]]))


def _spelt(placed: Placement) -> str:
    model = placed.model
    return (
        f"Clock {model.source}: drift {model.drift_ppm:+.1f} ppm, 95 % of {placed.used} pairs within "
        f"{1e6 * placed.residual_p95:.0f} µs."
    )
