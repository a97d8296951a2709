"""The synthetic rig: what it wrote follows from one hidden truth, and the wheel's volts lead back to it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from adamacs.core import setups
from adamacs.core.setup_wiring import Wheel
from adamacs.demo import rig
from adamacs.demo.wheel import walk
from adamacs.modalities.behavior.numerics import wheel as numerics
from adamacs.modalities.behavior.reader.wavesurfer import read_wavesurfer

KNOWN = setups.load()


def test_speed_is_the_slope_of_the_position():
    position, speed = walk(20_000, 1000.0, seed=3)
    assert position[0] == pytest.approx(0, abs=1e-12)
    assert np.abs(np.diff(position) * 1000 - (speed[1:] + speed[:-1]) / 2).max() < 1e-4
    assert speed.min() < 0 < speed.max()


def test_a_wheel_written_by_a_rig_leads_back_to_the_walk(tmp_path):
    setup = replace(KNOWN.find("bench2p"), wheel=Wheel(40.0, 1.0, 4.0, -1))
    ran = rig.record(setup, 5.0, seed=2)
    recording = read_wavesurfer(ran.write(tmp_path / "a.h5"))
    with recording.open() as samples:
        volts = samples.volts("wheel")
    wheel = numerics.Wheel(numerics.WheelCalibration(40.0, 1.0, 4.0, -1), recording.sample_rate)
    found = np.concatenate(list(wheel.positions([volts])))
    assert np.abs(found - ran.ride.position).max() < 40 * 6 * 0.002 / 3  # six times the noise


def test_a_light_varies_within_the_pulses_of_the_channel_whose_input_it_shares(tmp_path):
    ran = rig.record(KNOWN.find("mini2p1_openfield"), 5.0)
    light = ran.waveform("cam_sync")
    lit = np.zeros(ran.samples, bool)
    for start, stop in ran.pulses["arena_led"]:
        lit[start:stop] = True
    assert (light[~lit] == 0).all()
    assert light[lit].min() > 3
    assert np.ptp(light[lit]) > 0.5
    recording = read_wavesurfer(ran.write(tmp_path / "a.h5"))
    with recording.open() as samples:
        assert np.abs(samples.volts("light flash") - light).max() < 3e-4


def test_a_wheel_takes_nothing_from_the_other_channels():
    with_wheel = KNOWN.find("bench2p")
    no_wheel = replace(
        with_wheel,
        channel=tuple(replace(c, kind="onsets") if c.name == "treadmill" else c for c in with_wheel.channel),
    )
    one, other = rig.record(with_wheel, seed=1), rig.record(no_wheel, seed=1)
    assert set(other.pulses) - set(one.pulses) == {"treadmill"}
    assert all(np.array_equal(one.pulses[name], other.pulses[name]) for name in one.pulses)
    assert (one.ride is None, other.ride is None) == (False, True)


def test_the_same_seed_writes_the_same_bytes(tmp_path):
    first, again, other = (rig.record(KNOWN.find("bench2p"), 2.0, seed=seed) for seed in (1, 1, 2))
    written = [ran.write(tmp_path / f"{number}.h5").read_bytes() for number, ran in enumerate((first, again, other))]
    assert written[0] == written[1] != written[2]
