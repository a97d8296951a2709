"""Blocks of a Bpod session: trials in a row for which the protocol had the same settings.

Bpod itself knows no blocks. What a person changed in the settings during a session, or a protocol changes every so many
trials, divides it; what a protocol draws anew for every trial, such as a delay, does not.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import groupby, pairwise
from typing import Any

from adamacs.core.events import ImportedBlock
from adamacs.modalities.behavior.reader.bpod import BpodSession

LEAST = 5  # trials for which a setting stays as it is, on average: one that changes more often is a value of the trial
_LONGEST_NAME, _LONGEST_VALUE = 64, 255  # characters that are kept


def setting_blocks(session: BpodSession) -> tuple[ImportedBlock, ...]:
    """Return the longest runs of trials with equal settings, in order; none of a session that saved no settings.

    A setting that stays for fewer than five trials on average is a value of the trial and makes no block. Attributes of
    a block are the settings that differ between blocks.
    """
    told = [dict(_flat(trial.settings)) for trial in session.trials]
    if not any(told):
        return ()
    names = [name for name in dict.fromkeys(name for said in told for name in said) if _divides(name, told)]
    blocks = []
    for values, run in groupby(zip(session.trials, told), lambda one: tuple(one[1].get(name) for name in names)):
        attributes = {name[:_LONGEST_NAME]: value for name, value in zip(names, values) if value is not None}
        blocks.append(ImportedBlock(tuple(trial.trial_id for trial, _ in run), attributes))
    return tuple(blocks)


def _divides(name: str, told: list[dict[str, str]]) -> bool:
    """Tell whether a setting changes, and seldom enough."""
    changes = sum(one.get(name) != other.get(name) for one, other in pairwise(told))
    return changes > 0 and len(told) >= LEAST * (changes + 1)


def _flat(settings: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, str]]:
    """Yield the name and the spelt value of every setting, those of a group with the group's name before."""
    for name, value in settings.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{above}{name}.")
        else:
            yield f"{above}{name}", _spelt(value)


def _spelt(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)[:_LONGEST_VALUE]
