"""When the animal licked and was rewarded, whichever source of a scan tells of it.

Both are events, and stay such: moments that somebody sensed or caused. A rate over time is a choice of how to smooth,
which belongs to a question and not into a table.

>>> from adamacs.analysis.licks import licks, rewards     # doctest: +SKIP
>>> licks({"scan_id": "scan9FYMTPCA"}, 10.0, 20.0)        # doctest: +SKIP
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from adamacs import pipeline
from adamacs.analysis.events import events_between
from adamacs.core import settings, setups
from adamacs.core.errors import InvalidKey, nearest
from adamacs.schemas import scan as scan_schema

if TYPE_CHECKING:
    import pandas as pd

LICKS = ("aux_lick", "bpod_lick_onset")
"""Events that are licks, the better teller first: the sensor's own line is on the clock of scan time to a sample, while
Bpod's times pass through a mapping."""

REWARDS = ("aux_reward", "aux_bpod_reward", "bpod_reward", "bpod_reward_track")
"""Events that are rewards, the better teller first: the line of the valve, then what Bpod's states mean. A valve that
only sounds (`aux_fake_reward`) is none; of the linear track's states no single one is the reward."""


def licks(
    key: Mapping[str, Any], start: float = -np.inf, stop: float = np.inf, event_types: Sequence[str] = LICKS
) -> pd.DataFrame:
    """Return the licks in [start, stop), in order of time, as the first source tells that tells of any.

    Parameters
    ----------
    key
        Of one scan, such as `{"scan_id": ...}`.
    start, stop
        s of scan time.
    event_types
        What is a lick, the better teller first. Two tellers are never put together: a lick would count twice.

    Returns
    -------
    As `events_between`; empty where a sensor was there and felt none.

    Raises
    ------
    InvalidKey
        No scan, or more than one, has this key; or nothing in it tells of licks.
    UnusableClock
        The source that tells of them is not placed on scan time.
    """
    return _first_told(key, start, stop, event_types, "licks")


def rewards(
    key: Mapping[str, Any], start: float = -np.inf, stop: float = np.inf, event_types: Sequence[str] = REWARDS
) -> pd.DataFrame:
    """Return the rewards in [start, stop), in order of time; parameters and errors as `licks`."""
    return _first_told(key, start, stop, event_types, "rewards")


def _first_told(
    key: Mapping[str, Any], start: float, stop: float, event_types: Sequence[str], what: str
) -> pd.DataFrame:
    told = set((pipeline.event.EventImport.Event & dict(key)).to_arrays("event_type"))
    for name in event_types:
        if name in told:
            return events_between(key, start, stop, [name])
    if any(name in _wired(key) for name in event_types):
        return events_between(key, start, stop, [])
    hint = f"{nearest(event_types[0], sorted(told))} Name what is one here with event_types."
    raise InvalidKey(f"Nothing in this scan tells of {what}: no {', no '.join(event_types)}.", key, hint)


def _wired(key: Mapping[str, Any]) -> set[str]:
    """Return the events of the channels that the scan's recordings have, silent ones too."""
    found = (pipeline.event.EventImport.Channel & dict(key)).to_dicts()
    if not found:
        return set()
    setup = setups.load_usable(settings.active().home).find(scan_schema.setup_of(found[0]))
    names = {row["channel_name"] for row in found}
    return {channel.event for channel in setup.channel if channel.name in names}
