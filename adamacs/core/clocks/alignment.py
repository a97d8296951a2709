"""Place the times of one source on the clock of another, as a setup type says: which events of both are the same.

One mechanism for all setup types; what differs stands in their files under `[[align]]`. Pulses are paired by their
intervals (`pairing`), never by their order alone, and stimuli by what they are as well (`kinds`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from adamacs.core.clocks import kinds as of_kinds
from adamacs.core.clocks.kinds import Kinds
from adamacs.core.clocks.mapping import ClockFit
from adamacs.core.clocks.pairing import Pairing
from adamacs.core.clocks.stretches import pair_and_fit, seen_to_begin
from adamacs.core.errors import PairingRefused
from adamacs.core.events import Stretch
from adamacs.core.setup_wiring import Align, Channel
from adamacs.core.setups import SetupType

# By their type, the starts of events (s), or (event, 3): starts, ends, and what was measured, where it was.
Spans = Mapping[str, ArrayLike]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Alignment:
    """Which instants of two clocks are the same, and the mapping that follows.

    Attributes
    ----------
    pairs
        float64 (3, pair): s on the source clock, s on the target clock, residual in s.
    """

    rule: Align
    pairing: Pairing
    fit: ClockFit
    pairs: Floats
    detour: str = ""

    def through(self, clock: str, ahead: float) -> Alignment:
        """Return the alignment of another clock that is kept by the same computer as the source's.

        Parameters
        ----------
        clock
            Its name.
        ahead
            s: what must be added to its times to have those of the source.
        """
        model = self.fit.model
        knots, shifts = (
            [value + by for value in values] for values, by in ((model.knots, -ahead), (model.shifts, ahead))
        )
        moved = replace(model, source=clock, knots=tuple(knots), shifts=tuple(shifts))
        pairs = np.stack([self.pairs[0] - ahead, *self.pairs[1:]])
        detour = f"; through {model.source}, whose computer kept both, {ahead:+.6f} s"
        return replace(self, fit=replace(self.fit, model=moved), pairs=pairs, detour=detour)

    def row(self) -> dict[str, Any]:
        """Return the columns of a row of ClockSync."""
        fit, residuals, rule = self.fit, self.fit.residuals, self.rule
        how = f"{' and '.join(rule.events)} with {rule.channel}: {self.pairing.method}; {fit.method}{self.detour}"
        how += "" if rule.verified else f". Not verified: {rule.missing}"
        return {
            "target_clock": fit.model.target,
            "clock_model": fit.model.kind,
            "clock_offset": fit.model.offset,
            "clock_drift": fit.model.drift_ppm,
            "residual_median": residuals.median,
            "residual_rms": residuals.rms,
            "residual_p95": residuals.p95,
            "residual_max": residuals.max,
            "pairs_used": fit.used,
            "pairs_rejected": len(fit.rejected),
            "source_alone": _between(self.pairing.source_alone, self.pairing.source_index),
            "target_alone": _between(self.pairing.target_alone, self.pairing.target_index),
            "quality": fit.quality,
            "sync_method": how[:1023],
        }


def _between(alone: NDArray[np.int64], paired: NDArray[np.int64]) -> int:
    """Return how many of the instants without a partner lie where both clocks ran: between the first and last pair."""
    return int(np.count_nonzero((alone > paired[0]) & (alone < paired[-1])))


def align(
    setup: SetupType, here: Spans, there: Spans, *, source: str, target: str, stretches: Sequence[Stretch] = ()
) -> Alignment:
    """Pair the events of two sources, and fit the mapping of their clocks.

    Parameters
    ----------
    setup
        Whose first rule `[[align]]` of the source that finds events on both sides is taken.
    here, there
        Events of the source, and of the source whose clock is the target.
    source, target
        The source, which has the name of its clock, and the clock that it is placed on.
    stretches
        When the target was recorded, where that is told.

    Raises
    ------
    PairingRefused
        The setup type has no rule, a rule finds no events, or these do not match.
    AmbiguousPairing
        They match in several ways.
    """
    if not any(rule.source == source and rule.channel for rule in setup.align):
        what = f"Setup type {setup.name} does not say how times of {source} are placed on {target}."
        raise PairingRefused(what, hint="Add [[align]] to its file, or take the times of each clock by themselves.")
    met = []
    for rule, ours, theirs in _meetings(setup, here, there, source, stretches):
        if len(ours) and len(theirs):
            channel = next(one for one in setup.channel if one.name == rule.channel)
            return _aligned(rule, channel, ours, theirs, (source, target), stretches)
        met.append(f"{len(ours)} events {' and '.join(rule.events)} of {source} meet {len(theirs)} of {rule.channel}.")
    raise PairingRefused(" ".join(met), hint="Was the line between the two connected, and did both record?")


def meetings(
    setup: SetupType, here: Spans, there: Spans, source: str, stretches: Sequence[Stretch] = ()
) -> Iterator[tuple[Align, Floats, Floats]]:
    """Yield each rule of a source with the instants that it pairs, s on either clock; parameters are those of `align`.

    The first rule that finds any on both sides is the one that is taken.
    """
    for rule, ours, theirs in _meetings(setup, here, there, source, stretches):
        yield rule, ours[:, 0], theirs[:, 0]


def _meetings(
    setup: SetupType, here: Spans, there: Spans, source: str, stretches: Sequence[Stretch]
) -> Iterator[tuple[Align, Floats, Floats]]:
    """Yield the same with what was measured at each instant beside it, (instant, 2)."""
    for rule in setup.align:
        if rule.source == source and rule.channel:
            yield rule, _ours(rule, here), _theirs(rule, setup, there, stretches)


def _aligned(
    rule: Align,
    channel: Channel,
    ours: Floats,
    theirs: Floats,
    names: tuple[str, str],
    stretches: Sequence[Stretch],
) -> Alignment:
    """Pair our instants with theirs, and fit the mapping."""
    anchors = _anchors(rule, ours[:, 0], theirs[:, 0])

    def by_themselves(part: slice) -> Pairing:
        return _unanchored(rule, channel, ours, theirs[part])

    times = ours[:, 0], theirs[:, 0]
    paired, fit = pair_and_fit(
        *times,
        stretches,
        by_themselves,
        names=names,
        anchors=anchors,
        jitter=rule.jitter,
        anchor=rule.anchor,
    )
    here, there = times[0][paired.source_index], times[1][paired.target_index]
    return Alignment(rule, paired, fit, np.stack([here, there, there - fit.model.convert(here)]))


def _anchors(rule: Align, ours: Floats, theirs: Floats) -> dict[str, tuple[float, float]]:
    """Return by name the instants on both clocks that are known to be the same."""
    known = {"first": (0,), "last": (-1,), "both": (0, -1)}.get(rule.anchor, ())
    names = (f"the {'first' if at == 0 else 'last'} of both" for at in known)
    return {name: (float(ours[at]), float(theirs[at])) for name, at in zip(names, known)}


def _unanchored(rule: Align, channel: Channel, ours: Floats, theirs: Floats) -> Pairing:
    """Return which of our instants are which of theirs, by intervals and by what was measured."""
    times = ours[:, 0], theirs[:, 0]
    told = channel.shows == "level" and np.isfinite(ours[:, 1]).all() and np.isfinite(theirs[:, 1]).all()
    kinds = Kinds(ours[:, 1].astype(np.int64), theirs[:, 1], channel.resolution) if told else None
    return of_kinds.pair(*times, kinds=kinds, by_counts=rule.anchor == "counts", jitter=rule.jitter)


def _ours(rule: Align, here: Spans) -> Floats:
    """Return what is paired, (instant, 2), of those trials that hold one of the events that they must."""
    found = np.concatenate([_instants(here, name) for name in rule.events])
    found = found[np.argsort(found[:, 0], kind="stable")]
    if not rule.only_with:
        return found
    starts = _instants(here, rule.trials)[:, 0]
    marks = np.concatenate([_instants(here, name)[:, 0] for name in rule.only_with])
    marked = set(_trial_of(marks, starts).tolist())
    return found[[trial in marked for trial in _trial_of(found[:, 0], starts).tolist()]] if marked else found[:0]


def _trial_of(times: Floats, starts: Floats) -> NDArray[np.int64]:
    return np.searchsorted(starts, times, side="right") - 1


def _theirs(rule: Align, setup: SetupType, there: Spans, stretches: Sequence[Stretch]) -> Floats:
    """Return what the channel carried, (instant, 2), without that which belongs to no trial."""
    found = _instants(there, _event_of(setup, rule.channel))
    found = found[seen_to_begin(found[:, 0], stretches)]
    if rule.after is not None:
        opened = _instants(there, _event_of(setup, rule.after.gate))[:, 0]
        found = found[found[:, 0] >= opened[0] + rule.after.seconds] if len(opened) else found[:0]
    return found[int(rule.drop_first) : len(found) - int(rule.drop_last)]


def _instants(spans: Spans, name: str) -> Floats:
    """Return of the events of a type when they began (s), and what was measured, NaN where nothing was.

    What is stored elsewhere is read here.
    """
    told = np.asarray(spans.get(name, ()), np.float64)
    if told.ndim == 2:
        return told[:, [0, 2]]
    return np.stack([told, np.full(len(told), np.nan)], axis=1)


def _event_of(setup: SetupType, name: str) -> str:
    return next(channel.event_type for channel in setup.channel if channel.name == name)
