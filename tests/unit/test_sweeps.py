"""Recordings of several sweeps: when each was, and what its channels carried, against a truth and a plain reader."""

from __future__ import annotations

from dataclasses import replace

import h5py
import numpy as np
import pytest

from adamacs.core import settings as core_settings
from adamacs.core import setups
from adamacs.core.errors import UnreadableFile
from adamacs.core.events import SourceFiles
from adamacs.core.setup_wiring import AUX, After
from adamacs.demo import rig
from adamacs.demo.wavesurfer import Digital, Sweep, WaveSurfer, write_wavesurfer
from adamacs.modalities.behavior.importers import wavesurfer as importer
from adamacs.modalities.behavior.reader import wavesurfer as reader
from adamacs.modalities.behavior.reader.sweeps import place_sweeps, said_of
from adamacs.modalities.behavior.reader.wavesurfer import read_wavesurfer

ONE_LINE = WaveSurfer(lines=(Digital("a"),))
RATE = ONE_LINE.actual_rate
RECORDED = {name: setup for name, setup in setups.load().setups.items() if AUX in setup.sources}
PAUSES, LATE = [(20.0, 24.0), (40.0, 41.0)], (0.031, -0.012)


@pytest.fixture
def home(tmp_path):
    return core_settings.create(tmp_path / "lab")


def recording(tmp_path, *sweeps):
    """Return what was read of sweeps, each told by its samples and its time stamp."""
    written = [Sweep(np.zeros(samples, np.uint8), time=time) for samples, time in sweeps]
    return read_wavesurfer(write_wavesurfer(tmp_path / "a.h5", written, ONE_LINE))


def without_time(found, name):
    with h5py.File(found.path, "r+") as file:
        del file[f"{name}/timestamp"]
    return read_wavesurfer(found.path)


def imported(home, ran):
    path = ran.write(home.home / "a.h5")
    return importer.import_wavesurfer(SourceFiles(AUX, ran.setup.name, (path,)), home)


def starts(found):
    return {one.event_type: one.start for one in found.events} | {one.event_type: one.times for one in found.series}


# ---- when they were


def test_sweeps_are_placed_by_their_time_stamps_from_the_first_sample_on(tmp_path):
    found = recording(tmp_path, (20_000, 0.5), (10_000, 3.25), (20_000, 3.9))
    placed = place_sweeps(found)
    assert [sweep.number for sweep in placed] == [0, 1, 2]
    assert [sweep.start for sweep in placed] == pytest.approx([0.0, 2.75, 3.4])
    assert [sweep.stop for sweep in placed] == pytest.approx([1.0, 3.25, 4.4])
    assert [sweep.stretch.within for sweep in placed] == [0.0, 0.1, 0.1]
    (said,) = said_of(found, placed)
    assert said.startswith("It has 3 sweeps, with pauses from 1.000 to 2.750 s and 3.250 to 3.400 s:")
    assert "as exact as the computer's clock" in said


def test_one_sweep_needs_no_time_stamp_and_is_not_spoken_of(tmp_path):
    found = without_time(recording(tmp_path, (100, 0.5)), "sweep_0001")
    placed = place_sweeps(found)
    assert [(sweep.start, sweep.samples) for sweep in placed] == [(0.0, 100)]
    assert said_of(found, placed) == ()


def test_sweeps_without_a_sample_are_passed_over_and_need_no_time_stamp(tmp_path):
    found = recording(tmp_path, (0, 0.0), (20_000, 1.0), (0, 0.0), (20_000, 3.0), (0, 0.0))
    for name in ("sweep_0001", "sweep_0003", "sweep_0005"):
        found = without_time(found, name)
    placed = place_sweeps(found)
    assert [(sweep.number, sweep.start) for sweep in placed] == [(1, 0.0), (3, 2.0)]
    assert said_of(found, placed)[0] == "3 of 5 sweeps hold no sample."


def test_a_sweep_that_a_late_clock_tells_a_little_early_begins_where_the_one_before_it_ended(tmp_path):
    first, second = place_sweeps(recording(tmp_path, (20_000, 0.05), (20_000, 1.04)))
    assert second.start == first.stop == 1.0


@pytest.mark.parametrize("time", [0.0, 0.5, 0.89])
def test_a_sweep_that_would_begin_before_the_one_before_it_ended_is_refused(tmp_path, time):
    with pytest.raises(UnreadableFile, match=r"sweep_0002 would begin .* s before the end of sweep_0001"):
        place_sweeps(recording(tmp_path, (20_000, 0.0), (20_000, time)))


def test_of_several_sweeps_each_must_tell_when_it_was(tmp_path):
    found = recording(tmp_path, (100, 0.0), (100, 1.0))
    for name in ("sweep_0002", "sweep_0001"):
        with pytest.raises(UnreadableFile, match=f"{name} is one of 2 sweeps and does not tell when it was"):
            place_sweeps(found := without_time(found, name))


@pytest.mark.parametrize("time", [1e300, -1e300, np.inf, np.nan])
def test_a_time_that_no_run_has_is_none(tmp_path, time):
    with pytest.raises(UnreadableFile, match="does not tell when it was"):
        place_sweeps(recording(tmp_path, (100, 0.0), (100, time)))


def test_a_recording_without_a_sample_is_refused(tmp_path):
    with pytest.raises(UnreadableFile, match="No sweep holds a sample"):
        place_sweeps(recording(tmp_path, (0, 0.0), (0, 1.0)))


def test_many_pauses_are_counted_and_not_all_spelt_out(tmp_path):
    found = recording(tmp_path, *((100, float(number)) for number in range(9)))
    (said,) = said_of(found, place_sweeps(found))
    assert "2.005 to 3.000 s and 5 more:" in said


# ---- what their channels carried


@pytest.mark.parametrize("name", sorted(RECORDED))
def test_events_of_all_sweeps_are_those_that_a_rig_had_and_nothing_of_the_pauses(home, name):
    ran = rig.record(RECORDED[name], 60.0, seed=1).interrupted(*PAUSES, late=LATE)
    found = imported(home, ran)
    times = starts(found)
    for event, true in ran.events.items():
        np.testing.assert_allclose(times[event], true, atol=1e-9, err_msg=event)
        assert np.all(np.diff(times[event]) > 0)
    spans = [time for one in found.stretches for time in (one.start, one.stop)]
    assert spans == pytest.approx([0.0, 20.0, 24.031, 40.031, 40.988, 59.988], abs=1e-3)
    assert found.remarks[0].startswith("It has 3 sweeps, with pauses from 20.000 to 24.031 s")


def test_the_lines_are_as_a_plain_reader_has_them(home):
    ran = rig.record(RECORDED["mini2p2_openfield"], 12.0, seed=2).interrupted((4.0, 5.0), (8.0, 8.5), late=(0.01, 0.02))
    times = starts(imported(home, ran))
    with h5py.File(home.home / "a.h5") as file:
        sweeps = [file[f"sweep_000{number}"] for number in (1, 2, 3)]
        zero = float(np.squeeze(sweeps[0]["timestamp"]))
        told = [
            (float(np.squeeze(sweep["timestamp"])) - zero, np.squeeze(sweep["digitalScans"][:]).astype(np.int64))
            for sweep in sweeps
        ]
    for channel in ran.setup.channel:
        if channel.line is None or channel.polarity != "high" or channel.event_type not in times:
            continue
        is_frames = channel.kind == "frames"
        found = [np.empty(0)]
        for start, words in told:
            rises = np.flatnonzero(
                np.diff((words >> channel.line) & 1, prepend=int(is_frames and words[0] >> channel.line & 1)) == 1
            )
            found.append(start + rises / ran.sample_rate)
        np.testing.assert_allclose(times[channel.event_type], np.concatenate(found), atol=1e-9, err_msg=channel.name)


def test_how_the_sweeps_are_divided_into_blocks_changes_nothing(home, monkeypatch):
    ran = rig.record(RECORDED["bench2p"], 6.0, seed=3).interrupted((2.0, 2.5), (4.0, 4.1))
    whole = imported(home, ran)
    defaults = reader.OpenRecording.words.__kwdefaults__, reader.OpenRecording.volt_blocks.__kwdefaults__
    for known in defaults:
        monkeypatch.setitem(known, "block", 777)
    parts = imported(home, ran)
    assert whole.remarks == parts.remarks
    for event, times in starts(whole).items():
        assert np.array_equal(times, starts(parts)[event])


@pytest.mark.parametrize("name", ["bench2p", "mini2p1_openfield"])
def test_a_glance_finds_the_same_trains_and_stretches(home, name):
    ran = rig.record(RECORDED[name], 12.0, seed=4).interrupted((4.0, 5.0), late=(0.02,))
    found = imported(home, ran)
    glance = importer.glance_at_frames(SourceFiles(AUX, name, (home.home / "a.h5",)), home)
    assert glance.stretches == found.stretches
    trains = {one.event_type: one for one in found.series}
    assert glance.series
    for one in glance.series:
        assert np.array_equal(one.times, trains[one.event_type].times)
        assert one.repairs == trains[one.event_type].repairs


def gated(*pulses):
    """Return a recording of ten seconds, with a pause from 4 to 6 s, in which HARP's gate was open."""
    ran = rig.record(RECORDED["mini2p1_openfield"], 10.0)
    spans = np.round(np.array(pulses) * ran.sample_rate).astype(np.int64)
    return replace(ran, pulses=ran.pulses | {"harp_gate": spans}).interrupted((4.0, 6.0))


def gate_of(found):
    (gate,) = (one for one in found.events if one.event_type == "HARP_gate")
    return gate.start.tolist(), gate.stop.tolist()


def test_what_is_on_over_a_pause_ends_open_and_begins_open_and_each_is_told(home):
    found = imported(home, gated((1.0, 8.0)))
    start, stop = gate_of(found)
    assert start == [1.0, 6.0]
    assert np.isnan(stop[0]) and stop[1] == 8.0
    said = " ".join(found.remarks)
    assert "harp_gate was on when sweep_0001 ended: its last pulse there has no end." in said
    assert "harp_gate was on when sweep_0002 began: its first pulse there began earlier." in said


def test_nothing_is_made_up_of_what_happened_in_a_pause(home):
    assert gate_of(imported(home, gated((1.0, 3.0), (4.5, 5.5), (7.0, 8.0)))) == ([1.0, 7.0], [3.0, 8.0])


def test_dropped_frames_are_put_in_within_a_sweep_and_not_over_a_pause(home):
    ran = rig.record(RECORDED["mini2p1_openfield"], 10.0)
    whole = ran.pulses["optitrack_frames"]
    lost = np.array([100, 101, 102])
    dropped = replace(ran, pulses=ran.pulses | {"optitrack_frames": np.delete(whole, lost, axis=0)})
    dropped = dropped.interrupted((5.0, 5.1), late=(0.004,))  # some twenty frames, which would be filled in
    found = imported(home, dropped)
    (train,) = (one for one in found.series if one.event_type == "optitrack_frames")
    assert [(repair.first, repair.count) for repair in train.repairs] == [(100, 3)]
    seen = (train.times > 5.0) & (train.times < 5.104)
    assert not seen.any()
    true = replace(ran, sweeps=dropped.sweeps).events["optitrack_frames"]
    np.testing.assert_allclose(train.times, true, atol=1.1 / ran.sample_rate)


def test_a_voltage_that_never_moves_in_a_sweep_is_judged_by_the_others(home):
    """A photodiode that saw no flicker in a sweep saw no bursts there, although noise has a range; one that is lit
    throughout is on."""
    blocks = [np.tile([0.0, 0.01], 500), np.repeat([0.0, 2.0, 0.0], 400), np.full(1000, 2.0)]
    channel = replace(
        next(c for s in RECORDED.values() for c in s.channel if c.share is not None), merge=0.0, shortest=0.0
    )
    dark, flash, lit = importer._analog(blocks, channel, 1000.0)
    assert len(dark) == 0
    assert (flash.start.tolist(), flash.stop.tolist()) == ([400], [800])
    assert (lit.start.tolist(), lit.starts_open, lit.ends_open) == ([0], True, True)
    pulses = replace(channel, share=None, kind="pulses", threshold=1.0, polarity="high")
    assert [len(one) for one in importer._analog(blocks, pulses, 1000.0)] == [0, 1, 1]


def test_what_counts_from_a_time_on_counts_in_every_later_sweep():
    times = [(0.0, 1.0), (1.5, 2.5)]
    sweeps = tuple(importer.PlacedSweep(n, f"s{n}", 100, *time) for n, time in enumerate(times))
    starts = np.arange(0, 100, 10)
    pulses = importer.Pulses(starts, starts + 5, True, False, 100)
    carried = importer.Carried((pulses, pulses), sweeps, 100.0)
    expected = np.concatenate([starts / 100, 1.5 + starts / 100])
    np.testing.assert_allclose(carried.start, expected)
    assert len(carried.onsets) == 18
    for time in (-1.0, 0.0, 0.05, 0.3, 1.2, 1.5, 1.7, 2.4, 2.45, np.inf):
        kept = carried.since(time)
        np.testing.assert_allclose(kept.start, expected[expected >= time - 1e-9])
        assert [one.starts_open for one in kept.found] == [time <= 0.0, time <= 1.5]


def test_a_gate_that_opens_in_a_later_sweep_lets_nothing_count_before(home):
    setup = RECORDED["bench2p"]
    after = After("main_track_gate", 1.0)
    channels = tuple(replace(c, after=after) if c.name == "shutter" else c for c in setup.channel)
    ran = rig.record(setup, 30.0, seed=5)
    opened = np.array([[round(16.0 * ran.sample_rate), ran.samples - 4000]])
    ran = replace(ran, pulses=ran.pulses | {"main_track_gate": opened}).interrupted((14.0, 15.0), late=(0.02,))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(importer, "_read", with_channels(importer._read, channels))
        kept = starts(imported(home, ran))["shutter"]
    every = ran.events["shutter"]
    assert 0 < len(kept) < len(every)
    np.testing.assert_allclose(kept, every[every >= 16.02 + 1.0], atol=1e-9)


def with_channels(read, channels):
    """Return a reader whose setup type says more of its channels than the one that ships."""
    known = {channel.name: channel for channel in channels}

    def changed(recorded, settings):
        found, wiring = read(recorded, settings)
        wires = tuple(replace(wire, channel=known[wire.channel.name]) for wire in wiring.wires)
        return found, replace(wiring, setup=replace(wiring.setup, channel=channels), wires=wires)

    return changed
