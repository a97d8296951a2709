"""Continuous behaviour, from what a rig wrote to what the tables hold: the way that a mouse ran comes back."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from adamacs import pipeline
from adamacs.core import setups
from adamacs.demo import rig
from adamacs.ingest.answers import read_answers
from adamacs.ingest.apply import apply_plan
from adamacs.ingest.plan import plan_ingest
from adamacs.modalities.behavior.numerics.decimate import decimate, decimation_filter
from adamacs.workers import loop, roles

WHEEL = "\n[wheel]\ncircumference = 47.1\nlow = 0.2\nhigh = 4.8\ndirection = -1\n"
MOVEMENT = (
    *("position", "speed", "circumference", "low_voltage", "high_voltage", "direction", "fastest", "speed_window"),
    *("replaced_count", "jump_count", "outside_count"),
)
ONE_COUNT = 10 / 2**15  # V, nearly, of the board


@pytest.fixture
def recording(recordings):
    """The folder of a scan of the tiny synthetic lab."""
    return recordings[0]


@pytest.fixture
def lab(mouse_lab):
    """A lab whose setup types are those that ship."""
    shutil.rmtree(mouse_lab.home / "setups")
    yield mouse_lab
    shutil.rmtree(mouse_lab.home / "setups", ignore_errors=True)


def with_wheel(lab, name):
    """Let the lab say what the volts of a setup type's wheel mean; return the setup type."""
    text = (setups.SHIPPED / f"{name}.toml").read_text(encoding="utf-8")
    (lab.home / "setups").mkdir(exist_ok=True)
    (lab.home / "setups" / "own.toml").write_text(text.replace("\n[clock]\n", f"{WHEEL}\n[clock]\n"), encoding="utf-8")
    return setups.load(lab.home).find(name)


def ingest(lab, folder, ran):
    """Put a recording on the share, with what a rig wrote beside it, and ingest it."""
    place = lab.settings.root("share") / "demo" / folder.name
    shutil.copytree(folder, place)
    ran.write(place / f"{folder.name}.h5")
    (lab.home / "answers.toml").write_text(f'[defaults]\nsetup_type = "{ran.setup.name}"\n')
    answers = read_answers(lab.home / "answers.toml")
    (outcome,) = apply_plan(plan_ingest([place], lab.settings, answers=answers), lab.settings)
    assert outcome.state == "written", outcome.reason


def work(lab):
    """Let a worker of the role that fills the tables fill them."""
    tally = loop.drain(roles.named("cpu"), lab.settings, [pipeline.event.EventImport, *continuous()])
    assert tally.failed == []
    return tally.done


def continuous():
    return [pipeline.behavior.TreadmillRecording, pipeline.behavior.CamSyncRecording]


def decimated(volts, sample_rate):
    return np.concatenate(list(decimate([volts], decimation_filter(sample_rate, 10))))


def test_the_way_that_a_mouse_ran_comes_back_within_half_a_millimetre(lab, recording):
    ran = rig.record(with_wheel(lab, "bench2p"))
    ingest(lab, recording, ran)
    assert work(lab) == {"event.EventImport": 1, "behavior.TreadmillRecording": 1}
    row = pipeline.behavior.TreadmillRecording.fetch1()
    assert (row["kept_rate"], row["decimation"], row["cutoff"]) == (ran.sample_rate / 10, 10, 875.0)
    position, speed, volts = row["position"][:], row["speed"][:], row["volts"][:]
    kept = np.round((row["first_time"] + np.arange(len(position)) / row["kept_rate"]) * ran.sample_rate).astype(int)
    assert kept[-1] == ran.samples - 10
    assert len(position) == len(speed) == len(volts) == len(kept)
    assert np.abs(position - ran.ride.position[kept]).max() < 0.05  # cm
    assert np.abs(speed - ran.ride.speed[kept]).max() < 0.1  # cm/s
    assert ran.ride.speed.min() < 0 < ran.ride.speed.max(), "the mouse turned back"
    assert np.abs(volts - decimated(ran.ride.volts(), ran.sample_rate)).max() < ONE_COUNT
    assert [row[name] for name in MOVEMENT[2:8]] == [47.1, 0.2, 4.8, -1, 300.0, 0.25]
    assert row["replaced_count"] > 0, "samples within falls of the output"
    assert (row["jump_count"], row["outside_count"]) == (0, 0)


def test_a_setup_type_that_does_not_say_what_the_wheel_s_volts_mean_keeps_volts_alone(lab, recording):
    ran = rig.record(setups.load(lab.home).find("bench2p"))
    ingest(lab, recording, ran)
    work(lab)
    row = pipeline.behavior.TreadmillRecording.fetch1()
    assert [row[name] for name in MOVEMENT] == [None] * len(MOVEMENT)
    assert np.abs(row["volts"][:] - decimated(ran.ride.volts(), ran.sample_rate)).max() < ONE_COUNT


def test_the_light_that_cameras_see_is_kept_as_it_was_written(lab, recording):
    ran = rig.record(setups.load(lab.home).find("mini2p1_openfield"))
    ingest(lab, recording, ran)
    assert work(lab) == {"event.EventImport": 1, "behavior.CamSyncRecording": 1}
    row = pipeline.behavior.CamSyncRecording.fetch1()
    expected = decimated(ran.waveform("cam_sync"), ran.sample_rate)
    assert np.ptp(expected) > 4, "the light was on and off"
    assert np.abs(row["volts"][:] - expected).max() < ONE_COUNT
    assert (row["kept_rate"], row["decimation"], row["first_time"]) == (ran.sample_rate / 10, 10, 0.0)


def test_a_recording_without_these_channels_has_no_row(lab, recording):
    ingest(lab, recording, rig.record(setups.load(lab.home).find("mini2p2_openfield")))
    assert work(lab) == {"event.EventImport": 1}
    assert [len(table()) for table in continuous()] == [0, 0]


def test_working_again_changes_nothing(lab, recording):
    ingest(lab, recording, rig.record(with_wheel(lab, "bench2p")))
    work(lab)
    before = pipeline.behavior.TreadmillRecording.to_dicts()
    assert work(lab) == {}
    assert pipeline.behavior.TreadmillRecording.to_dicts() == before
    stored = (lab.home / "stores" / "derived").rglob("*.b2nd")
    assert sum("TreadmillRecording" in path.as_posix() for path in stored) == 3
