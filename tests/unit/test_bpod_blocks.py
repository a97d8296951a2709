"""Blocks of a Bpod session: what stays the same for many trials divides it, what is drawn for each does not."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from adamacs.modalities.behavior.reader.bpod import BpodSession, BpodTrial
from adamacs.modalities.behavior.reader.bpod_blocks import LEAST, setting_blocks


def session(settings):
    trials = (BpodTrial(n, n, float(n), n + 0.5, settings=said) for n, said in enumerate(settings, 1))
    return BpodSession("ANM-1", "Task", None, None, tuple(trials))


def blocks(settings):
    return [(block.trial_ids, dict(block.attributes)) for block in setting_blocks(session(settings))]


@given(st.lists(st.integers(LEAST, 12), min_size=1, max_size=5))
def test_runs_of_equal_settings_are_blocks_and_every_trial_is_in_one(lengths):
    settings = [{"Reward": number, "Same": "x"} for number, length in enumerate(lengths) for _ in range(length)]
    found = setting_blocks(session(settings))
    assert [len(block.trial_ids) for block in found] == lengths
    assert [trial for block in found for trial in block.trial_ids] == list(range(1, len(settings) + 1))
    told = [{"Reward": str(number)} for number in range(len(lengths))]
    assert [dict(block.attributes) for block in found] == (told if len(lengths) > 1 else [{}])


def test_what_changes_from_trial_to_trial_divides_nothing():
    drawn = [{"Reward": 3 if n < 10 else 5, "Delay": 0.1 * (n % 3)} for n in range(20)]
    assert blocks(drawn) == [
        (tuple(range(1, 11)), {"Reward": "3"}),
        (tuple(range(11, 21)), {"Reward": "5"}),
    ]


def test_a_setting_that_changes_and_changes_back_makes_three_blocks():
    found = blocks([{"Side": "left" if 6 <= n < 12 else "right"} for n in range(18)])
    assert [one["Side"] for _, one in found] == ["right", "left", "right"]


def test_a_session_of_a_few_trials_is_one_block():
    assert blocks([{"Reward": n} for n in range(4)]) == [((1, 2, 3, 4), {})]


def test_a_session_without_settings_has_no_blocks():
    assert blocks([{}] * 8) == blocks([]) == []


def test_settings_that_appear_later_are_nan_or_stand_in_groups_are_told_apart():
    late = [{"Group": {"Gain": math.nan}} if n < 6 else {"Group": {"Gain": 2.0}, "New": True} for n in range(12)]
    first, second = blocks(late)
    assert first == (tuple(range(1, 7)), {"Group.Gain": "nan"})
    assert second == (tuple(range(7, 13)), {"Group.Gain": "2", "New": "true"})
