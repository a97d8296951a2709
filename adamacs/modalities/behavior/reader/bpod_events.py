"""What states and events of a Bpod session mean: events with names of the field, and attributes of trials.

What a protocol's states mean is listed in the tables below, by the name of the state: a protocol that has none of them
gives no events, one that has them needs no branch of code. A protocol of another lab is another table.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from adamacs.modalities.behavior.reader.bpod import BpodSession, BpodTrial

DERIVED, RAW = "bpod_", "raw_bpod_"
_CYCLE = 1e-4  # s: Bpod's state machine knows no shorter time, so a timer is met when less than this is missing


@dataclass(frozen=True)
class StateRule:
    """An event at entry or exit of every visit of some states.

    Attributes
    ----------
    event
        The event's name, without its prefix.
    states
        Patterns (`*` stands for anything): the state's name must fit all of them.
    edge
        Where in the visit.
    visited
        A state without whose visit, in the same trial, there is no event; "" for no such condition.
    """

    event: str
    states: tuple[str, ...]
    edge: Literal["entry", "exit"]
    visited: str = ""


@dataclass(frozen=True)
class EventRule:
    """An event at every event of Bpod whose name fits a pattern; `{}` in the new name stands for the old one."""

    event: str
    pattern: str


@dataclass(frozen=True)
class AttributeRule:
    """A truth about a trial: a state was visited, or one visit lasted at least as long as a setting (s) says."""

    attribute: str
    state: str
    lasts: str = ""


STATE_RULES: Sequence[StateRule] = (
    StateRule("cue", ("WaitForPosTriggerSoftCode",), "entry"),
    StateRule("at_target", ("WaitForPosTriggerSoftCode",), "exit"),
    StateRule("at_subtarget", ("CueDelayTrialCricket",), "entry"),
    StateRule("at_correct_port", ("*Port*", "*RewardDelay*"), "entry", visited="Drinking"),
    StateRule("reward", ("*Port*", "*RewardDelay*"), "exit", visited="Drinking"),
    StateRule("drinking", ("Drinking",), "entry"),
    StateRule("reward_track", ("Reward",), "entry"),
    StateRule("firststim_oddball", ("WaitForStimulus",), "exit"),
    StateRule("bonsaitrial_lineartrack", ("WaitForTriggerStartSoftCode",), "exit"),
    StateRule("correctlick_lineartrack", ("WaitForLick",), "exit"),
    StateRule("rewardzone_standard_lineartrack", ("WaitRewardLick",), "exit"),
    StateRule("rewardzone_crutch_lineartrack", ("WaitRewardNoLick",), "exit"),
    StateRule("reward_lineartrack", ("RewardNoLick",), "entry"),
)
EVENT_RULES: Sequence[EventRule] = (EventRule("{}", "*In*"), EventRule("lick_onset", "BNC1High"))
ATTRIBUTE_RULES: Sequence[AttributeRule] = (
    AttributeRule("error", "Punish"),
    AttributeRule("timeout", "WaitForResponse", lasts="ResponseTime"),
)


@dataclass(frozen=True, eq=False)
class BpodEvents:
    """All events of one name, in order of time.

    Attributes
    ----------
    times
        float64 (n,), s on the Bpod clock.
    trial_ids
        int64 (n,), the trial in which each fell.
    """

    times: NDArray[np.float64]
    trial_ids: NDArray[np.int64]


_Times = tuple[str, NDArray[np.float64]]  # a name, and times in s from the trial's start


def derived_events(
    session: BpodSession, states: Sequence[StateRule] = STATE_RULES, events: Sequence[EventRule] = EVENT_RULES
) -> dict[str, BpodEvents]:
    """Return the events that the rules find, by name (`bpod_cue`); a name that never occurred is left out."""
    return _gathered(session, lambda trial: _derived(trial, states, events))


def raw_events(session: BpodSession) -> dict[str, BpodEvents]:
    """Return all that Bpod wrote: `raw_bpod_<Event>`, `raw_bpod_<State>_entry` and `raw_bpod_<State>_exit`."""
    return _gathered(session, _raw)


def trial_attributes(
    session: BpodSession, rules: Sequence[AttributeRule] = ATTRIBUTE_RULES
) -> tuple[dict[str, bool], ...]:
    """Return the attributes of every trial, in the order of the session's trials.

    An attribute is left out where the protocol has no such state, or the trial no such setting.
    """
    return tuple(
        {rule.attribute: value for rule in rules if (value := _attribute(trial, rule)) is not None}
        for trial in session.trials
    )


def _derived(trial: BpodTrial, states: Sequence[StateRule], events: Sequence[EventRule]) -> Iterator[_Times]:
    for rule in states:
        if rule.visited and not len(trial.states.get(rule.visited, ())):
            continue
        for name, visits in trial.states.items():
            if _fits(name, rule.states):
                yield DERIVED + rule.event, visits[:, 0 if rule.edge == "entry" else 1]
    for event in events:
        for name, times in trial.events.items():
            if _fits(name, (event.pattern,)):
                yield DERIVED + event.event.format(name), times


@lru_cache(maxsize=4096)  # every trial of a session has the same few names
def _fits(name: str, patterns: tuple[str, ...]) -> bool:
    return all(fnmatchcase(name, pattern) for pattern in patterns)


def _raw(trial: BpodTrial) -> Iterator[_Times]:
    for name, times in trial.events.items():
        yield RAW + name, times
    for name, visits in trial.states.items():
        yield f"{RAW}{name}_entry", visits[:, 0]
        yield f"{RAW}{name}_exit", visits[:, 1]


def _gathered(session: BpodSession, of_trial: Callable[[BpodTrial], Iterator[_Times]]) -> dict[str, BpodEvents]:
    """Put the events of all trials on the Bpod clock; an exit that was never written is none."""
    found: dict[str, list[tuple[NDArray[np.float64], int]]] = {}
    for trial in session.trials:
        for name, times in of_trial(trial):
            known = times[~np.isnan(times)]
            if known.size:
                found.setdefault(name, []).append((trial.start + known, trial.trial_id))
    return {name: _in_order(parts) for name, parts in found.items()}


def _in_order(parts: Sequence[tuple[NDArray[np.float64], int]]) -> BpodEvents:
    times = np.concatenate([times for times, _ in parts])
    trial_ids = np.repeat(np.array([trial for _, trial in parts], np.int64), [times.size for times, _ in parts])
    order = np.argsort(times, kind="stable")
    return BpodEvents(times[order], trial_ids[order])


def _attribute(trial: BpodTrial, rule: AttributeRule) -> bool | None:
    visits = trial.states.get(rule.state)
    if visits is None:
        return None
    if not rule.lasts:
        return len(visits) > 0
    limit = trial.settings.get(rule.lasts)
    if isinstance(limit, bool) or not isinstance(limit, int | float):
        return None
    return bool(np.any(visits[:, 1] - visits[:, 0] >= limit - _CYCLE))
