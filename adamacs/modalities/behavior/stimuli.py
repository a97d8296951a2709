"""Which plateau, pulse or burst of a channel shows which presentation of a stimulus log. No table is known here.

A log that tells times is paired by intervals, whatever is missing or extra on either side; what intervals leave open is
told by the levels of the voltage, or by both having equally many. A log that tells none is paired in order, where both
have equally many and the levels do not contradict that. Anything else is refused.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from adamacs.core.clocks import kinds as of_kinds
from adamacs.core.clocks.kinds import NO_LEVELS, Kinds
from adamacs.core.clocks.pairing import Pairing
from adamacs.core.clocks.stretches import pair_and_fit, seen_to_begin
from adamacs.core.errors import PairingRefused
from adamacs.core.events import Stretch
from adamacs.core.setup_wiring import AUX, SOFTWARE, Channel
from adamacs.core.setups import SetupType

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Told:
    """The presentations of a log.

    Attributes
    ----------
    source
        What wrote the log, such as `bonsai`.
    stimuli
        int64, (presentation,): which stimulus each was.
    times
        float64, (presentation,): s on the log's clock; NaN where it tells none.
    """

    source: str
    stimuli: Indices
    times: Floats


@dataclass(frozen=True, eq=False)
class Seen:
    """The events of a channel that shows stimuli, in order of time.

    Attributes
    ----------
    starts
        float64, (event,): s on the clock of the auxiliary recording.
    levels
        float64, (event,): V; NaN where nothing was measured.
    stretches
        When that was recorded, where it is told.
    """

    starts: Floats
    levels: Floats
    stretches: tuple[Stretch, ...] = ()

    @property
    def onsets(self) -> Indices:
        """Which of them were seen to begin."""
        return np.flatnonzero(seen_to_begin(self.starts, self.stretches))


@dataclass(frozen=True, eq=False)
class Shown:
    """Which event shows which presentation.

    Attributes
    ----------
    presentations, events
        int64, (pair,): indices, both increasing.
    agrees
        bool, (pair,): whether the level is that of the stimulus; None where levels tell nothing.
    method
        How they were paired, in words.
    residual
        s: 95th percentile of the distances from a smooth mapping of the log's clock; None without times.
    levels
        How many levels there are; None where levels tell nothing.
    """

    presentations: Indices
    events: Indices
    agrees: NDArray[np.bool_] | None
    method: str
    residual: float | None = None
    levels: int | None = None


def find_shown(setup: SetupType, channel_name: str, told: Told, seen: Seen) -> Shown:
    """Find which event of a channel shows which presentation of a log.

    What was on at the first sample of the recording, or behind a pause of it, is counted, and shows nothing: nobody saw
    when it began.

    Raises
    ------
    PairingRefused
        They do not match: tells how many of both there are.
    AmbiguousPairing
        They match in several ways, and neither levels nor equal counts tell which is right.
    """
    channel = next((one for one in setup.channel if one.name == channel_name), None)
    if channel is None:
        what = f"{setup.name} was described anew, and has no channel {channel_name} any more."
        raise PairingRefused(
            what, hint="Delete the import of events; the recording is then read as it is described now."
        )
    kinds = _kinds(channel, told, seen)
    timed, onsets = np.flatnonzero(np.isfinite(told.times)), seen.onsets
    is_increasing = bool(np.all(np.diff(told.times[timed]) > 0))
    if len(timed) and len(onsets) and is_increasing:
        return _by_times(setup, channel, told, seen, kinds, timed, onsets)
    why = "the log tells no times" if is_increasing else "the log's times do not increase"
    return _in_order(channel, told, seen, kinds, why)


def _kinds(channel: Channel, told: Told, seen: Seen) -> Kinds | None:
    """Return what tells stimuli apart on both sides; None where the voltage says nothing of them."""
    if channel.shows != "level" or not np.isfinite(seen.levels).all():
        return None
    kinds = Kinds(told.stimuli, seen.levels, channel.resolution)
    return kinds if kinds.tell else None


def _by_times(
    setup: SetupType, channel: Channel, told: Told, seen: Seen, kinds: Kinds | None, timed: Indices, onsets: Indices
) -> Shown:
    jitter = next((rule.jitter for rule in setup.align if rule.source == told.source), SOFTWARE)
    times = told.times[timed], seen.starts[onsets]

    def by_themselves(part: slice) -> Pairing:
        among = Kinds(told.stimuli[timed], seen.levels[onsets][part], kinds.resolution) if kinds else None
        return of_kinds.pair(times[0], times[1][part], kinds=among, by_counts=True, jitter=jitter)

    try:
        paired, fit = pair_and_fit(
            *times, seen.stretches, by_themselves, names=(told.source, AUX), anchors={}, jitter=jitter
        )
    except PairingRefused as refusal:
        what = f"{_counts(channel, told, seen)} {refusal.what}"
        ours = "Is the log of this recording? Stimuli that follow each other evenly are told apart by their voltages."
        raise type(refusal)(what, hint=NO_LEVELS if refusal.hint == NO_LEVELS else ours) from refusal
    matched = times[0][paired.source_index], times[1][paired.target_index]
    residual = float(np.percentile(np.abs(matched[1] - fit.model.convert(matched[0])), 95))
    return _judged(timed[paired.source_index], onsets[paired.target_index], kinds, paired.method, residual)


def _in_order(channel: Channel, told: Told, seen: Seen, kinds: Kinds | None, why: str) -> Shown:
    count = len(told.stimuli)
    if count != len(seen.starts):
        what = f"{_counts(channel, told, seen)} They are paired in order, as {why}: that takes as many of both."
        raise PairingRefused(what, hint="Is the log of this recording? With times in it, missing ones can be told.")
    everything = np.arange(count)
    if kinds is not None and (wrong := int(np.count_nonzero(~kinds.agree(everything, everything)))):
        what = f"{_counts(channel, told, seen)} In order, the voltages of {wrong} belong to other stimuli:"
        raise PairingRefused(f"{what} one may be missing and another too many.", hint=NO_LEVELS)
    begun = seen.onsets
    method = f"in order, as there are {count} of both, and {why}" if count else "nothing was shown"
    return _judged(begun, begun, kinds, method)


def _counts(channel: Channel, told: Told, seen: Seen) -> str:
    return f"The log of {told.source} tells of {len(told.stimuli)} stimuli, {channel.name} of {len(seen.starts)}."


def _judged(
    presentations: Indices, events: Indices, kinds: Kinds | None, method: str, residual: float | None = None
) -> Shown:
    if kinds is None:
        return Shown(presentations, events, None, method, residual)
    agrees = kinds.agree(presentations, events)
    return Shown(presentations, events, agrees, method, residual, len(np.unique(kinds.steps)))
