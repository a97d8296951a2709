"""Place the times of one source on the clock of another, as a setup type says: which events of both are the same.

One mechanism for all setup types; what differs stands in their files under `[[align]]`. Pulses are paired by their
intervals (`pairing`), never by their order alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adamacs.core.clocks import mapping, pairing
from adamacs.core.clocks.mapping import ClockFit
from adamacs.core.clocks.pairing import Pairing
from adamacs.core.errors import PairingRefused
from adamacs.core.setup_wiring import Align
from adamacs.core.setups import SetupType

TRIALS = "bpod_trial_start"  # events that last as long as a trial
RAW = "raw_bpod_"  # before the name of an event of Bpod's own

Spans = Mapping[str, Sequence[tuple[float, float | None]]]  # start and end (s) of events, by their type
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

    def row(self) -> dict[str, Any]:
        """Return the columns of a row of ClockSync."""
        fit, residuals, rule = self.fit, self.fit.residuals, self.rule
        how = f"{' and '.join(rule.events)} with {rule.channel}: {self.pairing.method}; {fit.method}"
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
            "source_alone": len(self.pairing.source_alone),
            "target_alone": len(self.pairing.target_alone),
            "quality": fit.quality,
            "sync_method": how[:1023],
        }


def align(setup: SetupType, here: Spans, there: Spans, *, source: str, target: str) -> Alignment:
    """Pair the events of two sources, and fit the mapping of their clocks.

    Parameters
    ----------
    setup
        Whose first rule `[[align]]` that finds events on both sides is taken.
    here, there
        Events of the source, and of the source whose clock is the target.
    source, target
        Names of the clocks.

    Raises
    ------
    PairingRefused
        The setup type has no rule, a rule finds no events, or these do not match.
    AmbiguousPairing
        They match in several ways.
    """
    if not setup.align:
        what = f"Setup type {setup.name} does not say how times of {source} are placed on {target}."
        raise PairingRefused(what, hint="Add [[align]] to its file, or take the times of each clock by themselves.")
    met = []
    for rule in setup.align:
        ours, theirs = _ours(rule, here), _theirs(rule, setup, there)
        if len(ours) and len(theirs):
            return _aligned(rule, ours, theirs, source, target)
        met.append(f"{len(ours)} events {' and '.join(rule.events)} of {source} meet {len(theirs)} of {rule.channel}.")
    raise PairingRefused(" ".join(met), hint="Was the line between the two connected, and did both record?")


def _aligned(rule: Align, ours: Floats, theirs: Floats, source: str, target: str) -> Alignment:
    anchors = {"the last of both": (float(ours[-1]), float(theirs[-1]))} if rule.from_end else None
    paired = pairing.pair(ours, theirs, anchors=anchors)
    times = ours[paired.source_index], theirs[paired.target_index]
    fit = mapping.fit_clock(*times, source=source, target=target)
    residuals = times[1] - fit.model.convert(times[0])
    return Alignment(rule, paired, fit, np.stack([*times, residuals]))


def _ours(rule: Align, here: Spans) -> Floats:
    """Return the times (s) that are paired, of those trials that hold one of the events that they must."""
    times = np.sort(np.array([start for name in rule.events for start, _ in here.get(name, ())], np.float64))
    if not rule.only_with:
        return times
    starts = np.array([start for start, _ in here.get(TRIALS, ())], np.float64)
    marks = [start for name in rule.only_with for start, _ in here.get(f"{RAW}{name}", ())]
    marked = set(_trial_of(np.array(marks, np.float64), starts).tolist())
    return times[[trial in marked for trial in _trial_of(times, starts).tolist()]] if marked else times[:0]


def _trial_of(times: Floats, starts: Floats) -> NDArray[np.int64]:
    return np.searchsorted(starts, times, side="right") - 1


def _theirs(rule: Align, setup: SetupType, there: Spans) -> Floats:
    """Return the onsets (s) of the channel, without those that belong to no trial."""
    times = np.array([start for start, _ in there.get(_event_of(setup, rule.channel), ())], np.float64)
    times = times[times > 0]  # what was on at the first sample went on before it: nobody saw that
    if rule.after is not None:
        opened = there.get(_event_of(setup, rule.after.gate), ())
        times = times[times >= opened[0][0] + rule.after.seconds] if opened else times[:0]
    return times[int(rule.drop_first) : len(times) - int(rule.drop_last)]


def _event_of(setup: SetupType, name: str) -> str:
    return next(channel.event_type for channel in setup.channel if channel.name == name)
