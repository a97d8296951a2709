"""Bpod's clock is placed on scan time as it truly ran, its trials are rows, and what cannot be paired says so."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from adamacs import pipeline
from adamacs.analysis.certificate import require_pass
from adamacs.analysis.events import count_events, events_between, nearest_events
from adamacs.analysis.frame_times import frame_times
from adamacs.core.clocks.mapping import ClockModel
from adamacs.core.errors import InvalidKey, NotCertified, UnusableClock
from adamacs.demo import bpod, rig
from adamacs.ingest.remove import apply_removal, plan_removal
from adamacs.workers import loop, roles
from tests.integration.test_events import SHIPPED, errors, ingest, lab, plan, put  # noqa: F401 - a fixture
from tests.integration.test_ingest import command

ALIGNED = {name: setup for name, setup in SHIPPED.items() if setup.placed_by("bpod")}
SECONDS = 60.0


def work(lab):  # noqa: F811
    tables = [
        pipeline.imaging.ScanInfo,
        pipeline.event.EventImport,
        pipeline.trial.TrialImport,
        pipeline.sync.ClockSync,
    ]
    tables += [pipeline.sync.Promise, pipeline.sync.Certificate]
    return loop.drain(roles.named("cpu"), lab.settings, tables)


def played(lab, folder, setup, ran):  # noqa: F811
    """Put a recording on the share with its auxiliary recording and its Bpod session."""
    place = put(lab, folder, setup, ran)
    bpod.write_bpod(place / f"{folder.name}.mat", ran.task.session)
    return place


@pytest.mark.parametrize("name", ALIGNED)
def test_any_time_of_bpod_converts_to_the_true_scan_time(lab, recordings, name):  # noqa: F811
    setup = ALIGNED[name]
    ran = rig.record(setup, SECONDS, seed=3)
    place = played(lab, recordings[0], setup, ran)
    ingest(lab, place)
    assert work(lab).failed == []
    row = pipeline.sync.ClockSync.fetch1()
    model = ClockModel.from_json(row["clock_mapping"])
    trials = (pipeline.trial.TrialImport.Trial()).to_dicts(order_by="trial_id")
    session = ran.task.session
    assert [trial["trial_start_time"] for trial in trials] == [trial.start for trial in session.trials]
    starts = np.array([trial.start for trial in session.trials])
    off = model.convert(starts) - ran.task.scan_time(starts)
    assert np.abs(off).max() < 1.5e-4  # a cycle of Bpod, and a sample
    assert row["clock_drift"] == pytest.approx(1e6 * ran.task.drift, abs=3.0)
    assert row["pairs_used"] + row["pairs_rejected"] >= 0.8 * len(ran.task.told)
    assert row["pairs"].shape == (3, row["pairs_used"] + row["pairs_rejected"])
    assert plan(lab, place).state == "unchanged"


def test_events_of_all_clocks_are_asked_on_scan_time(lab, recordings):  # noqa: F811
    setup = ALIGNED["mini2p1_openfield"]
    ran = rig.record(setup, SECONDS, seed=3).with_frames(24, 20.0)
    ingest(lab, played(lab, recordings[0], setup, ran))
    key = {"scan_id": pipeline.scan.Scan.to_arrays("scan_id")[0]}
    assert work(lab).failed == []
    found = events_between(key, 10.0, 20.0, ["bpod_trial_start", "aux_bpod_visual", "mini2p_frames"])
    assert found["start"].is_monotonic_increasing
    starts = ran.task.scan_time(np.array([trial.start for trial in ran.task.session.trials]))
    inside = starts[(starts >= 10) & (starts < 20)]
    np.testing.assert_allclose(found[found["event_type"] == "bpod_trial_start"]["start"], inside, atol=1.5e-4)
    frames = ran.pulses["two_photon_frames"][:, 0] / ran.sample_rate
    assert count_events(key)["mini2p_frames"] == len(frames)
    told = ran.pulses["bpod_visual"][:, 0] / ran.sample_rate
    nearest = nearest_events(key, "aux_bpod_visual", starts)
    marked = np.array([bool(trial.events) for trial in ran.task.session.trials])
    assert np.abs(nearest - starts)[marked].max() < 2e-4
    assert set(nearest) <= set(told)
    near = 0.4 * np.diff(frames).min()
    around = np.stack([frames - near, frames, frames + near])
    assert len(pipeline.event.EventImport.EventSeries & {"event_type": "mini2p_frames"}) == 1  # a train is one row
    np.testing.assert_allclose(nearest_events(key, "mini2p_frames", around), [frames] * 3, atol=1e-9)
    outside = nearest_events(key, "mini2p_frames", [-5.0, np.nan, SECONDS + 5.0])
    np.testing.assert_allclose(outside, [frames[0], np.nan, frames[-1]], atol=1e-9)
    with pytest.raises(InvalidKey, match="aux_bpod_visual"):
        events_between(key, event_types=["aux_bpod_visuals"])
    shown = command(lab, "sync", key["scan_id"], "--json")
    assert shown.returncode == 0, shown.stderr
    clocks = {line["clock"]: line for line in json.loads(shown.stdout)["clocks"]}
    assert clocks["aux"]["scan_time"]
    assert clocks["bpod"]["drift_ppm"] == pytest.approx(1e6 * ran.task.drift, abs=3.0)
    assert "ppm (linear)" in command(lab, "sync", key["scan_id"]).stdout


def test_trials_have_their_types_attributes_and_events(lab, recordings):  # noqa: F811
    setup = ALIGNED["mini2p1_openfield"]
    ran = rig.record(setup, SECONDS, seed=3)
    ingest(lab, played(lab, recordings[0], setup, ran))
    assert work(lab).failed == []
    trial, event = pipeline.trial, pipeline.event
    session = ran.task.session
    assert trial.TrialImport.fetch1("trial_count") == len(session.trials)
    types = trial.TrialImport.Trial.to_arrays("trial_type", order_by="trial_id").tolist()
    assert types == [str(one.type) for one in session.trials]
    marks = trial.TrialImport.TrialEvent * event.EventImport.Event & {"event_type": "raw_bpod_SoftCode10"}
    assert set(marks.to_arrays("trial_id")) == {n for n, one in enumerate(session.trials, 1) if one.events}
    starts = trial.TrialImport.TrialEvent * event.EventImport.Event & {"event_type": "bpod_trial_start"}
    assert sorted(starts.to_arrays("trial_id")) == list(range(1, len(session.trials) + 1))


def test_a_session_of_another_recording_is_never_paired(lab, recordings):  # noqa: F811
    setup = ALIGNED["mini2p1_openfield"]
    ran = rig.record(setup, SECONDS, seed=3)
    other = rig.record(setup, SECONDS, seed=4)
    ingest(lab, played(lab, recordings[0], setup, replace(ran, task=other.task)))
    (failed,) = work(lab).failed
    assert "sync.ClockSync" in failed
    assert len(pipeline.sync.ClockSync()) == 0
    key = {"scan_id": pipeline.scan.Scan.to_arrays("scan_id")[0]}
    with pytest.raises(UnusableClock, match="adamacs why sync\\.ClockSync"):
        events_between(key)
    assert len(events_between(key, event_types=["shutter"])) > 0  # what is on scan time can be asked
    shown = command(lab, "sync", key["scan_id"])
    assert (shown.returncode, "NOT PLACED" in shown.stdout) == (1, True)
    why = command(lab, "why", "sync.ClockSync", f"scan_id={key['scan_id']},source=bpod")
    assert "failed" in why.stdout
    assert len(pipeline.trial.TrialImport.Trial()) == len(other.task.session.trials)  # on their own clock


def test_a_setup_that_says_nothing_of_trials_leaves_them_on_their_own_clock(lab, recordings):  # noqa: F811
    setup = replace(SHIPPED["bench2p_SP"])
    ran = replace(rig.record(setup), task=rig.record(ALIGNED["bench2p_lineartrack"]).task)
    ingest(lab, played(lab, recordings[0], setup, ran))
    assert work(lab).failed == []
    assert len(pipeline.trial.TrialImport.Trial()) > 0
    key = {"scan_id": pipeline.scan.Scan.to_arrays("scan_id")[0]}
    with pytest.raises(UnusableClock, match="own clock"):
        events_between(key, event_types=["bpod_trial_start"])
    assert "add [[align]]" in command(lab, "sync", key["scan_id"]).stdout


# ---- a setup type that is corrected


def clocks():
    rows = pipeline.clock.Clock.to_dicts(order_by="clock")
    return {row["clock"]: bool(row["is_scan_time"]) for row in rows}


def test_auxiliary_channels_that_are_understood_later_take_scan_time_from_the_frames(lab, recordings):  # noqa: F811
    setup = SHIPPED["macroscope"]
    (lab.home / "setups").mkdir()
    own = lab.home / "setups" / "own.toml"  # of a lab whose auxiliary recordings had another name
    own.write_text(setup.source.read_text(encoding="utf-8").replace("*.h5", "*_aux.h5"), encoding="utf-8")
    place = put(lab, recordings[0], setup, rig.record(setup).with_frames(24, 20.0))
    ingest(lab, place)
    assert work(lab).failed == []
    key = pipeline.scan.Scan.fetch1("KEY")
    assert clocks() == {"frames": True}
    np.testing.assert_allclose(frame_times(key, 0, 24), np.arange(24) / 20.0)
    require_pass(key, ["two_photon_frames"])
    own.unlink()
    scan = plan(lab, place)
    assert (scan.state, errors(scan)) == ("update", "")
    assert any("clock 'frames' becomes 'aux'" in str(change) for change in scan.changes)
    ingest(lab, place)
    assert clocks() == {"aux": True}
    assert plan(lab, place).state == "unchanged"
    with pytest.raises(UnusableClock, match="No pulses"):
        frame_times(key, 0, 24)  # never again as if they began with scan time
    with pytest.raises(NotCertified, match="aux was not asked"):
        require_pass(key, ["two_photon_frames"])


def test_a_scan_time_on_which_something_stands_is_not_exchanged(lab, recordings):  # noqa: F811
    setup = ALIGNED["mini2p1_openfield"]
    ran = rig.record(setup, SECONDS, seed=3)
    place = played(lab, recordings[0], setup, ran)
    ingest(lab, place)
    assert work(lab).failed == []
    before = clocks()
    assert before == {"aux": True, "bpod": False}
    answers = lab.home / "answers.toml"
    of_scan = answers.read_text()
    answers.write_text(of_scan.replace(setup.name, "behavior_box"))
    scan = plan(lab, place)
    assert (scan.state, "behavior_box" in [change.planned for change in scan.changes]) == ("refused", True)
    assert "Scan time is aux in the database, and bpod by the setup type." in errors(scan)
    assert f"`adamacs remove {scan.scan_id}`" in errors(scan)
    answers.write_text(of_scan)
    assert plan(lab, place).state == "unchanged"
    assert clocks() == before


def test_a_setup_type_that_a_person_corrects_moves_scan_time_from_the_frames_in_every_row(lab, recordings):  # noqa: F811
    setup = SHIPPED["mini2p1_openfield"]
    place = put(lab, recordings[0], setup, rig.record(setup, SECONDS, seed=3).with_frames(24, 20.0))
    answers = lab.home / "answers.toml"
    as_is = answers.read_text()
    answers.write_text(as_is.replace(setup.name, "macroscope"))
    (lab.home / "setups").mkdir()
    own = lab.home / "setups" / "own.toml"
    macroscope = SHIPPED["macroscope"].source.read_text(encoding="utf-8")
    own.write_text(macroscope.replace("*.h5", "*_aux.h5"), encoding="utf-8")
    ingest(lab, place)
    assert clocks() == {"frames": True}
    answers.write_text(as_is)
    ingest(lab, place)
    assert (clocks(), pipeline.scan.ScanSetup.fetch1("setup_type")) == ({"aux": True}, setup.name)
    assert plan(lab, place).state == "unchanged"
    assert work(lab).failed == []
    require_pass(pipeline.scan.Scan.fetch1("KEY"), ["two_photon_frames"])


def test_an_auxiliary_recording_that_comes_after_the_ingest_is_refused_until_the_scan_is_removed(lab, recordings):  # noqa: F811
    setup = SHIPPED["macroscope"]
    place = put(lab, recordings[0], setup)
    ingest(lab, place)
    assert clocks() == {"frames": True}
    rig.record(setup).write(place / f"{place.name}.h5")
    scan = plan(lab, place)
    assert scan.state == "refused"
    assert "1 files came since the scan was ingested" in errors(scan)
    assert clocks() == {"frames": True}
    apply_removal(plan_removal(scan.scan_id), lab.settings)
    ingest(lab, place)
    assert clocks() == {"aux": True}


# ---- what stands on an import


def test_an_import_that_is_deleted_takes_the_mapping_along_that_stood_on_it(lab, recordings):  # noqa: F811
    setup = ALIGNED["mini2p1_openfield"]
    ran = rig.record(setup, SECONDS, seed=3)
    ingest(lab, played(lab, recordings[0], setup, ran))
    for source in ("aux", "bpod"):
        assert work(lab).failed == []
        assert len(pipeline.sync.ClockSync()) == 1
        (pipeline.event.EventImport & {"source": source}).delete(prompt=False)
        assert len(pipeline.sync.ClockSync()) == 0


def test_a_damaged_session_is_refused_at_planning_with_the_field(lab, recordings):  # noqa: F811
    setup = ALIGNED["mini2p1_openfield"]
    place = played(lab, recordings[0], setup, rig.record(setup, seed=3))
    bpod.write_bpod(place / f"{place.name}.mat", bpod.Session(trials=(bpod.Trial(float("nan"), 1.0),)))
    assert "SessionData" in errors(plan(lab, place))
