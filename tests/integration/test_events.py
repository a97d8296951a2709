"""Events of an auxiliary recording, from its samples to rows: what a rig wrote is what the tables hold."""

from __future__ import annotations

import shutil
from dataclasses import replace
from datetime import datetime

import numpy as np
import pytest

from adamacs import pipeline
from adamacs.core import setups
from adamacs.demo import bpod, rig
from adamacs.demo import lab as synthetic
from adamacs.demo.bonsai import StimulusLog, write_stimuli
from adamacs.ingest.answers import read_answers
from adamacs.ingest.apply import apply_plan
from adamacs.ingest.plan import plan_ingest
from adamacs.modalities.behavior.importers.bonsai import DIALECTS
from adamacs.workers import loop, roles

SHIPPED = {name: setup for name, setup in setups.load().setups.items() if "aux" in setup.sources}


@pytest.fixture
def lab(mouse_lab):
    """A lab whose setup types are those that ship."""
    shutil.rmtree(mouse_lab.home / "setups")
    yield mouse_lab
    shutil.rmtree(mouse_lab.home / "setups", ignore_errors=True)


def put(lab, folder, setup, ran=None):
    """Put a recording on the share, with what a rig of some setup type wrote beside it; return the folder."""
    place = lab.settings.root("share") / "demo" / folder.name
    shutil.copytree(folder, place)
    if ran is not None:
        ran.write(place / f"{folder.name}.h5")
    for expected in setup.expected:
        if expected.told_by == "bonsai":
            log = StimulusLog(DIALECTS[expected.parser] or "events", clock="none")
            write_stimuli(place / f"x{expected.files.replace('*', '')}", log)
    (lab.home / "answers.toml").write_text(f'[defaults]\nsetup_type = "{setup.name}"\n')
    return place


def plan(lab, place):
    (scan,) = plan_ingest([place], lab.settings, answers=read_answers(lab.home / "answers.toml")).scans
    return scan


def ingest(lab, place):
    answers = read_answers(lab.home / "answers.toml")
    (outcome,) = apply_plan(plan_ingest([place], lab.settings, answers=answers), lab.settings)
    assert outcome.state == "written", outcome.reason


def work(lab):
    return loop.drain(roles.named("cpu"), lab.settings, [pipeline.event.EventImport])


def errors(scan):
    return " ".join(str(problem) for problem in scan.problems if problem.severity == "error")


@pytest.mark.parametrize("name", SHIPPED)
def test_what_a_rig_wrote_is_what_the_tables_hold(lab, recordings, name):
    setup = SHIPPED[name]
    truth = rig.record(setup)
    place = put(lab, recordings[0], setup, truth)
    ingest(lab, place)
    assert work(lab).failed == []
    rows = pipeline.event.EventImport.Event.to_dicts(order_by="event_id")
    series = {row["event_type"]: row for row in pipeline.event.EventImport.EventSeries.to_dicts()}
    told = 0
    aligning = {rule.channel for rule in setup.align}
    for channel in setup.channel:
        if channel.kind == "waveform" or not (channel.event or channel.name in aligning):
            continue
        expected = truth.pulses[channel.name] / truth.sample_rate
        kind = channel.event_type
        if channel.kind == "frames":
            times = series[kind]["times"][:]
            np.testing.assert_allclose(times, expected[:, 0], atol=1e-9)
            assert series[kind]["pulse_count"] == len(expected)
        else:
            found = [row for row in rows if row["event_type"] == kind]
            if channel.kind == "level":
                values = [row["event_value"] for row in found]
                np.testing.assert_allclose(values, truth.levels[channel.name], atol=channel.resolution / 2)
            np.testing.assert_allclose([row["event_start_time"] for row in found], expected[:, 0], atol=1e-9)
        told += len(expected)
    about = (pipeline.event.EventImport & {"source": "aux"}).fetch1()
    assert about["event_count"] == told
    assert [row["event_id"] for row in rows] == list(range(1, len(rows) + 1))
    found = {row["channel_name"]: row["channel_place"] for row in pipeline.event.EventImport.Channel.to_dicts()}
    lines = {channel.name: channel.line for channel in setup.channel if channel.line is not None}
    assert {name: found[name] for name in lines} == {name: f"digital line {line}" for name, line in lines.items()}
    recording = pipeline.event.BehaviorRecording.fetch1()
    assert recording["recording_start_time"] == datetime(2026, 2, 10, 9, 30)  # the lab's clock is UTC
    assert recording["recording_duration"] == pytest.approx(10.0, abs=1e-3)
    assert plan(lab, place).state == "unchanged"


def test_a_recording_without_auxiliary_channels_has_no_events(lab, recordings):
    setup = SHIPPED["bench2p"]
    place = put(lab, recordings[0], setup)
    assert "No *.h5 is here" in errors(plan(lab, place))
    synthetic.write_setups(lab.home)  # a lab that records frames alone
    ingest(lab, place)
    assert work(lab).done == {}
    assert len(pipeline.event.BehaviorRecording()) == 0


def test_a_setup_that_needs_a_channel_which_the_file_lacks_is_refused_at_planning(lab, recordings):
    ran = rig.record(SHIPPED["bench2p"])
    scan = plan(lab, put(lab, recordings[0], SHIPPED["bench2p_SP"], ran))
    assert scan.state == "refused"
    assert "contradict the setup type bench2p_SP" in errors(scan)
    one_short = replace(SHIPPED["bench2p"], channel=SHIPPED["bench2p"].channel[:-1])
    scan = plan(lab, put(lab, recordings[2], SHIPPED["bench2p"], rig.record(one_short)))
    missing = SHIPPED["bench2p"].channel[-1]
    assert f"There is no channel {missing.name}" in errors(scan)


def test_a_recording_that_the_setup_type_knows_no_reader_for_is_a_question(lab, recordings):
    box, other = setups.load().setups["behavior_box"], SHIPPED["mini2p1_openfield"]
    ran = rig.record(other)
    place = put(lab, recordings[0], box, ran)
    bpod.write_bpod(place / f"{place.name}.mat", ran.task.session)
    scan = plan(lab, place)
    assert scan.state == "new", errors(scan)
    (asked,) = [problem for problem in scan.problems if problem.severity == "question" and "*.h5" in problem.what]
    assert f"behavior_box has no files *.h5 of wavesurfer: demo/{place.name}/{place.name}.h5" in asked.what
    assert "another setup type" in asked.hint
    (lab.home / "answers.toml").write_text(f'[defaults]\nsetup_type = "{other.name}"\n')
    assert not [problem for problem in plan(lab, place).problems if "*.h5" in problem.what]


def test_a_file_of_another_setup_type_is_refused_at_planning(lab, recordings):
    ran = rig.record(SHIPPED["mini2p1_openfield"])
    scan = plan(lab, put(lab, recordings[0], SHIPPED["mini2p2_openfield"], ran))
    assert scan.state == "refused"
    assert ".h5" in errors(scan)


def test_swapped_lines_fail_the_import_with_what_cannot_be(lab, recordings):
    setup = SHIPPED["mini2p2_openfield"]
    ran = rig.record(setup)
    swapped = {"two_photon_frames": ran.pulses["line_clock"], "line_clock": ran.pulses["two_photon_frames"]}
    nameless = replace(setup, channel=tuple(replace(channel, names=()) for channel in setup.channel))
    ran = replace(ran, setup=nameless, pulses=ran.pulses | swapped)
    ingest(lab, put(lab, recordings[0], setup, ran))
    (failed,) = work(lab).failed
    assert "two_photon_frames (digital line 2" in failed
    assert "not within" in failed
    assert len(pipeline.event.EventImport()) == 0
    (attempt,) = pipeline.operations.Attempt.to_dicts()
    assert (attempt["failure"], attempt["outcome"]) == ("unreadable_file", "failed")


def test_what_is_on_at_an_end_of_the_recording_has_no_time_there(lab, recordings):
    setup = SHIPPED["mini2p1_openfield"]
    ran = rig.record(setup)
    pulses = ran.pulses["harp_gate"].copy()
    pulses[-1, 1] = ran.samples
    ingest(lab, put(lab, recordings[0], setup, replace(ran, pulses=ran.pulses | {"harp_gate": pulses})))
    assert work(lab).failed == []
    (gate,) = (pipeline.event.EventImport.Event & {"event_type": "HARP_gate"}).to_dicts()
    assert gate["event_end_time"] is None
    assert gate["event_start_time"] == pulses[0, 0] / ran.sample_rate
    assert "harp_gate was on when the recording ended" in pipeline.event.EventImport.fetch1("remarks")


def test_two_auxiliary_recordings_are_refused(lab, recordings):
    setup = SHIPPED["bench2p"]
    place = put(lab, recordings[0], setup, rig.record(setup))
    shutil.copy(place / f"{place.name}.h5", place / "second.h5")
    assert "2 files *.h5 are here" in errors(plan(lab, place))


def test_dropped_frames_are_put_in_and_each_repair_is_told(lab, recordings):
    setup = SHIPPED["mini2p1_openfield"]
    ran = rig.record(setup)
    whole = ran.pulses["optitrack_frames"]
    lost = np.array([100, 101, 102, 500])
    dropped = replace(ran, pulses=ran.pulses | {"optitrack_frames": np.delete(whole, lost, axis=0)})
    ingest(lab, put(lab, recordings[0], setup, dropped))
    assert work(lab).failed == []
    series = (pipeline.event.EventImport.EventSeries & {"event_type": "optitrack_frames"}).fetch1()
    assert series["pulse_count"] == len(whole)
    np.testing.assert_allclose(series["times"][:], whole[:, 0] / ran.sample_rate, atol=1 / ran.sample_rate)
    repairs = pipeline.event.EventImport.Repair.to_dicts(order_by="repair_id")
    assert [(row["first_index"], row["repair_count"]) for row in repairs] == [(100, 3), (500, 1)]
    assert repairs[0]["gap_start"] == whole[99, 0] / ran.sample_rate


def test_cameras_that_run_all_the_time_and_a_gate_that_opened_before_are_no_wrong_polarity(lab, recordings):
    setup = SHIPPED["mini2p1_openfield"]
    ran = rig.record(setup)
    rate = ran.sample_rate
    start = np.arange(0, ran.samples, round(rate / 50))
    cameras = np.stack([start, np.minimum(start + round(rate / 100), ran.samples)], axis=1)
    cameras[-1] = (ran.samples - 5, ran.samples)  # on at both ends
    gate = np.array([[0, ran.samples]])
    ran = replace(ran, pulses=ran.pulses | {"camera_frames": cameras, "harp_gate": gate})
    ingest(lab, put(lab, recordings[0], setup, ran))
    assert work(lab).failed == []
    (row,) = (pipeline.event.EventImport.Event & {"event_type": "HARP_gate"}).to_dicts()
    assert (row["event_start_time"], row["event_end_time"]) == (0.0, None)


def test_a_line_of_wrong_polarity_fails_the_import(lab, recordings):
    setup = SHIPPED["mini2p1_openfield"]
    ran = rig.record(setup)
    pulses = ran.pulses["bpod_reward"]
    turned = np.stack([np.append(0, pulses[:, 1]), np.append(pulses[:, 0], ran.samples)], axis=1)
    ingest(lab, put(lab, recordings[0], setup, replace(ran, pulses=ran.pulses | {"bpod_reward": turned})))
    (failed,) = work(lab).failed
    assert "bpod_reward" in failed
    assert "polarity is wrong" in failed


def test_pulses_that_the_setup_type_calls_one_are_one_and_short_ones_are_none(lab, recordings):
    (lab.home / "setups").mkdir()
    text = SHIPPED["mini2p1_openfield"].source.read_text()
    tone = 'event = "aux_bpod_tone"\n'
    (lab.home / "setups" / "own.toml").write_text(text.replace(tone, f"{tone}merge = 0.01\nshortest = 0.05\n"))
    setup = setups.load(lab.home).setups["mini2p1_openfield"]
    ran = rig.record(setup)
    beats = np.array([[20_000, 22_000], [22_100, 24_000], [60_000, 60_100], [90_000, 95_000]])
    ran = replace(ran, pulses=ran.pulses | {"bpod_tone": beats})
    ingest(lab, put(lab, recordings[0], setup, ran))
    assert work(lab).failed == []
    rows = (pipeline.event.EventImport.Event & {"event_type": "aux_bpod_tone"}).to_dicts(order_by="event_id")
    times = [(row["event_start_time"], row["event_end_time"]) for row in rows]
    assert times == [(20_000 / ran.sample_rate, 24_000 / ran.sample_rate), (4.5, 95_000 / ran.sample_rate)]
    assert "1 pulses of bpod_tone were too short" in pipeline.event.EventImport.fetch1("remarks")


def test_results_of_tools_below_the_folder_are_nobodys_recording(lab, recordings):
    setup = SHIPPED["mini2p1_openfield"]
    place = put(lab, recordings[0], setup, rig.record(setup))
    (place / "suite2p" / "plane0").mkdir(parents=True)
    (place / "suite2p" / "plane0" / "Fall.mat").write_bytes((place / f"{place.name}.h5").read_bytes())
    assert plan(lab, place).state == "new", errors(plan(lab, place))


def test_a_misspelt_setup_type_stops_no_other_folder(lab, recordings):
    setup = SHIPPED["mini2p1_openfield"]
    for folder in recordings[:2]:
        put(lab, folder, setup, rig.record(setup))
    scan = next(part for part in recordings[0].name.split("_") if part.startswith("scan"))
    (lab.home / "answers.toml").write_text(
        f'[defaults]\nsetup_type = "{setup.name}"\n[scans.{scan}]\nsetup_type = "mini2p1_openfeild"\n'
    )
    answers = read_answers(lab.home / "answers.toml")
    scans = plan_ingest([lab.settings.root("share")], lab.settings, answers=answers).scans
    assert sorted(one.state for one in scans) == ["new", "refused"]
    assert "Did you mean mini2p1_openfield" in errors(next(one for one in scans if one.state == "refused"))


def test_an_answer_corrects_the_setup_type_of_a_scan_that_is_there(lab, recordings):
    setup = SHIPPED["mini2p1_openfield"]
    place = put(lab, recordings[0], setup, rig.record(setup))
    ingest(lab, place)
    own = lab.home / "setups" / "rewired.toml"
    own.parent.mkdir()
    text = setup.source.read_text(encoding="utf-8").replace('spellings = ["openfield"]\n', "")
    own.write_text(text.replace(f'name = "{setup.name}"', 'name = "rewired"', 1), encoding="utf-8")
    scan_id = pipeline.scan.Scan.fetch1("scan_id")
    answer = f'[scans.{scan_id}]\nsetup_type = "Rewired"\n'
    (lab.home / "answers.toml").write_text(answer, encoding="utf-8")
    (correction,) = plan(lab, place).changes
    assert (correction.column, correction.held, correction.planned) == ("setup_type", setup.name, "rewired")
    ingest(lab, place)
    assert pipeline.scan.ScanSetup.fetch1("setup_type") == "rewired"
    (lab.home / "answers.toml").write_text("", encoding="utf-8")
    assert plan(lab, place).state == "unchanged", "what a header says is no answer"


def test_a_setup_type_that_is_corrected_later_never_makes_two_clocks_scan_time(lab, recordings):
    setup = SHIPPED["mini2p1_openfield"]
    ran = rig.record(setup, seed=3)
    place = put(lab, recordings[0], setup, ran)
    bpod.write_bpod(place / f"{place.name}.mat", ran.task.session)
    (place / f"{place.name}.h5").rename(lab.home / "later.h5")
    (lab.home / "answers.toml").write_text('[defaults]\nsetup_type = "behavior_box"\n')
    for tiff in place.glob("*.tif"):
        tiff.unlink()
    ingest(lab, place)
    (lab.home / "later.h5").rename(place / f"{place.name}.h5")
    (lab.home / "answers.toml").write_text('[defaults]\nsetup_type = "mini2p1_openfield"\n')
    assert plan(lab, place).state == "refused"


def test_a_pause_is_told_and_not_filled_with_frames(lab, recordings):
    setup = SHIPPED["mini2p1_openfield"]
    ran = rig.record(setup)
    frames = ran.pulses["optitrack_frames"]
    period = int(np.median(np.diff(frames[:, 0])))
    late = frames[frames[:, 0] < 2 * ran.sample_rate] + 1_500 * period
    with_pause = np.concatenate([frames[frames[:, 0] < 2 * ran.sample_rate], late[late[:, 1] < ran.samples]])
    ingest(lab, put(lab, recordings[0], setup, replace(ran, pulses=ran.pulses | {"optitrack_frames": with_pause})))
    assert work(lab).failed == []
    series = (pipeline.event.EventImport.EventSeries & {"event_type": "optitrack_frames"}).fetch1()
    assert series["pulse_count"] == len(with_pause)
    assert "optitrack_frames paused from" in (pipeline.event.EventImport & {"source": "aux"}).fetch1("remarks")
