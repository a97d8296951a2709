"""Voltages that are kept: one pass over the file gives what its parts give, and what cannot be kept is told."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from adamacs.core import settings as core_settings
from adamacs.core import setups
from adamacs.core.errors import UnreadableFile
from adamacs.core.events import SourceFiles
from adamacs.core.setup_wiring import Wheel
from adamacs.demo import rig
from adamacs.demo.wavesurfer import Analog, Sweep, WaveSurfer, write_wavesurfer
from adamacs.modalities.behavior import continuous
from adamacs.modalities.behavior.numerics import wheel as numerics
from adamacs.modalities.behavior.numerics.decimate import decimate, decimation_filter
from adamacs.modalities.behavior.reader.wavesurfer import read_wavesurfer

AROUND = 40.0  # cm
OWN = f"\n[wheel]\ncircumference = {AROUND}\n"


@pytest.fixture
def home(tmp_path):
    """Settings of a lab that knows its wheel."""
    made = core_settings.create(tmp_path / "lab")
    (made.home / "setups").mkdir()
    text = (setups.SHIPPED / "bench2p.toml").read_text(encoding="utf-8")
    (made.home / "setups" / "own.toml").write_text(text.replace("\n[clock]\n", f"{OWN}\n[clock]\n"), encoding="utf-8")
    return made


def written(home, seconds=4.0, **how):
    setup = replace(setups.load(home.home).find("bench2p"), wheel=Wheel(AROUND))
    ran = rig.record(setup, seconds, **how)
    return ran, ran.write(home.home / "aux.h5")


def read(home, path):
    return continuous.read_treadmill(SourceFiles("aux", "bench2p", (path,)), home)


def test_one_pass_gives_what_the_parts_give_one_after_the_other(home):
    _, path = written(home)
    waveform, movement = read(home, path)
    with read_wavesurfer(path).open() as samples:
        volts = samples.volts("wheel")
    how = decimation_filter(20_000.0, 10)
    wheel = numerics.Wheel(numerics.WheelCalibration(AROUND), 20_000.0)
    position = np.concatenate(list(decimate(wheel.positions([volts]), how)))
    assert np.array_equal(waveform.volts, np.concatenate(list(decimate([volts], how))).astype(np.float32))
    assert np.array_equal(movement.position, position)
    assert movement.speed == pytest.approx(numerics.compute_speed(position, 2000.0), abs=1e-4)
    assert (movement.fallen, movement.jumps, movement.outside) == (wheel.fallen, 0, 0)


def test_how_the_file_is_divided_changes_no_bit(home, monkeypatch):
    _, path = written(home)
    waveform, movement = read(home, path)
    monkeypatch.setattr(continuous, "_BLOCK", 777)
    again, moved = read(home, path)
    assert np.array_equal(waveform.volts, again.volts)
    assert np.array_equal(movement.position, moved.position)
    assert np.array_equal(movement.speed, moved.speed)


def test_a_slow_recording_is_kept_whole(home):
    ran, path = written(home, sample_rate=2000.0)
    waveform, movement = read(home, path)
    assert (waveform.how.factor, waveform.how.cutoff, waveform.how.kept_rate) == (1, None, 2000.0)
    assert len(waveform.volts) == len(movement.position) == len(movement.speed) == ran.samples
    assert np.abs(waveform.volts - ran.ride.volts()).max() < 3e-4
    assert np.abs(movement.position - ran.ride.position).max() < 0.1


def test_a_recording_too_short_for_a_speed_is_refused_with_its_length(home):
    inputs = WaveSurfer(channels=(Analog("AI0"), Analog("wheel")))
    path = write_wavesurfer(home.home / "aux.h5", [Sweep(volts=np.zeros((2, 4000)))], inputs)
    with pytest.raises(UnreadableFile, match=r"It lasts 0\.2 s: a speed is taken over 0\.25 s"):
        read(home, path)


def test_a_channel_that_was_described_away_meanwhile_is_told(home):
    _, path = written(home)
    with pytest.raises(UnreadableFile, match="no channel cam_sync any more"):
        continuous.read_waveform(SourceFiles("aux", "bench2p", (path,)), "cam_sync", home)
    with pytest.raises(UnreadableFile, match="no channel shutter any more that is a voltage"):
        continuous.read_waveform(SourceFiles("aux", "bench2p", (path,)), "shutter", home)
