"""Licks and rewards are told by the best teller that a scan has, never twice, and on scan time."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from adamacs import pipeline
from adamacs.analysis.licks import licks, rewards
from adamacs.core.errors import InvalidKey
from adamacs.demo import rig
from tests.integration.test_events import SHIPPED, ingest, lab, put  # noqa: F401 - a fixture
from tests.integration.test_sync import SECONDS, played, work


def with_bpod_licks(ran):
    """Let Bpod, too, feel a lick 0.3 s into every trial."""
    trials = (replace(trial, events={**trial.events, "BNC1High": (0.3,)}) for trial in ran.task.session.trials)
    return replace(ran, task=replace(ran.task, session=replace(ran.task.session, trials=tuple(trials))))


def key():
    return {"scan_id": pipeline.scan.Scan.to_arrays("scan_id")[0]}


def test_the_sensor_s_own_line_goes_before_bpod_and_no_lick_counts_twice(lab, recordings):  # noqa: F811
    setup = SHIPPED["bench2p_lineartrack"]
    ran = with_bpod_licks(rig.record(setup, SECONDS, seed=3))
    ingest(lab, played(lab, recordings[0], setup, ran))
    assert work(lab).failed == []
    found = licks(key())
    assert set(found["event_type"]) == {"aux_lick"}
    np.testing.assert_allclose(found["start"], ran.pulses["lick"][:, 0] / ran.sample_rate, atol=1e-9)
    assert len(licks(key(), 0, found["start"][3])) == 3
    with pytest.raises(InvalidKey, match=r"Nothing in this scan tells of rewards: no aux_reward.*event_types"):
        rewards(key())


def test_where_the_line_was_silent_bpod_tells_on_scan_time_and_else_nobody_licked(lab, recordings):  # noqa: F811
    setup = SHIPPED["bench2p_lineartrack"]
    silent = {"lick": np.zeros((0, 2), np.int64)}
    ran = rig.record(setup, SECONDS, seed=3)
    ran = replace(ran, pulses=ran.pulses | silent)
    ingest(lab, played(lab, recordings[0], setup, with_bpod_licks(ran)))
    assert work(lab).failed == []
    starts = np.array([trial.start for trial in ran.task.session.trials])
    np.testing.assert_allclose(licks(key())["start"], ran.task.scan_time(starts + 0.3), atol=2e-4)
    assert len(licks(key(), event_types=["aux_lick"])) == 0


def test_the_valve_s_line_tells_of_rewards(lab, recordings):  # noqa: F811
    setup = SHIPPED["bench2p_SP"]
    ran = rig.record(setup)
    ingest(lab, put(lab, recordings[0], setup, ran))
    assert work(lab).failed == []
    found = rewards(key())
    assert set(found["event_type"]) == {"aux_reward"}
    assert len(found) == len(ran.pulses["reward"])
    assert found["stop"].notna().all()
