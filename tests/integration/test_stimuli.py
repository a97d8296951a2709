"""What Bonsai showed and what the rig recorded come together: every stimulus has its onset, or the refusal says why."""

from __future__ import annotations

import numpy as np
import pytest

from adamacs import pipeline
from adamacs.analysis.events import events_between
from adamacs.analysis.peri_event import peri_event
from adamacs.analysis.stimuli import stimuli
from adamacs.core.clocks.mapping import ClockModel
from adamacs.core.errors import InvalidKey
from adamacs.demo import bpod, rig
from adamacs.demo import stimuli as screen
from adamacs.modalities.behavior.reader.bonsai import parse_stimulus
from adamacs.workers import loop, roles
from tests.integration.test_events import SHIPPED, ingest, lab, plan, put  # noqa: F401 - a fixture
from tests.integration.test_ingest import command

SHOWING = {name: setup for name, setup in SHIPPED.items() if screen.showing(setup)}
BENCH = SHOWING["bench2p"]
SECONDS = 20.0


def work(lab):  # noqa: F811
    behavior = pipeline.behavior
    tables = [pipeline.event.EventImport, pipeline.trial.TrialImport, behavior.StimulusLog, behavior.StimulusOnset]
    return loop.drain(roles.named("cpu"), lab.settings, [*tables, pipeline.sync.ClockSync])


def shown(setup, **changes):
    return screen.show(rig.record(setup, SECONDS, seed=3), seed=2, **changes)


def arrived(lab, folder, show, **written):  # noqa: F811
    """Bring in a recording and the log of its stimuli; return its folder and the scan's key."""
    place = put(lab, folder, show.rig.setup, show.rig)
    (log,) = place.glob("*bonsai*.csv")
    show.write_log(log, **written)
    ingest(lab, place)
    return place, {"scan_id": pipeline.scan.Scan.to_arrays("scan_id")[0]}


@pytest.mark.parametrize("name", SHOWING)
def test_every_stimulus_has_its_onset_on_scan_time(lab, recordings, name):  # noqa: F811
    show = shown(SHOWING[name])
    place, key = arrived(lab, recordings[0], show)
    assert work(lab).failed == []
    for channel in screen.showing(show.rig.setup):
        found = stimuli(key, channel.name)
        onsets = show.rig.pulses[channel.name] / show.rig.sample_rate
        np.testing.assert_allclose(found[["onset", "offset"]], onsets, atol=1.5 / show.rig.sample_rate)
        told = [parse_stimulus(show.stimuli[number]) for number in show.numbers]
        assert found["orientation"].tolist() == [one.orientation for one in told]
        assert set(found["stimulus_type"]) == {"Grating"}
        assert found["pass_number"].tolist() == [at // len(show.stimuli) + 1 for at in range(len(told))]
        assert found["label"].tolist() == [f"orientation {one.orientation:g}" for one in told]
        assert found["presentation_id"].tolist() == list(range(1, len(told) + 1))
    rows = pipeline.behavior.StimulusOnset.to_dicts()
    assert [(row["log_alone"], row["event_alone"]) for row in rows] == [(0, 0)] * len(rows)
    levels = {row["channel_name"]: (row["level_count"], row["level_contradictions"]) for row in rows}
    assert set(levels.values()) <= {(8, 0), (None, None)}
    assert ("stimulus_level" in levels) == ((8, 0) in levels.values())
    assert plan(lab, place).state == "unchanged"


@pytest.mark.parametrize("name", SHOWING)
def test_any_time_of_the_log_converts_to_the_true_scan_time(lab, recordings, name):  # noqa: F811
    show = shown(SHOWING[name])
    _, key = arrived(lab, recordings[0], show)
    assert work(lab).failed == []
    row = (pipeline.sync.ClockSync & {"source": "bonsai"}).fetch1()
    model = ClockModel.from_json(row["clock_mapping"])
    times = pipeline.behavior.StimulusLog.Presentation.to_arrays("log_time", order_by="presentation_id").astype(float)
    assert np.abs(model.convert(times) - show.onsets).max() < screen.LATEST, "as late as the computer is, or less"
    assert (row["pairs_used"] + row["pairs_rejected"], row["source_alone"]) == (len(show.told), 0)
    assert "Not verified" in row["sync_method"]
    assert len(events_between(key, event_types=["stimulus"])) == len(show.told)


def test_one_line_asks_for_all_onsets_of_gratings_of_one_orientation(lab, recordings):  # noqa: F811
    show = shown(BENCH)
    _, key = arrived(lab, recordings[0], show)
    work(lab)
    onsets = stimuli(key).query("stimulus_type == 'Grating' and orientation == 90")["onset"]
    np.testing.assert_allclose(onsets, show.onsets[show.numbers == 2], atol=1e-9)
    by_key = pipeline.behavior.StimulusLog.Stimulus & key & {"stimulus_type": "Grating", "orientation": 90}
    assert by_key.fetch1("stimulus_text") == "Grating; A; 0; 10; 20; 90; 0.04; 2"


def test_labels_of_stimuli_are_the_conditions_of_an_average(lab, recordings):  # noqa: F811
    show = shown(BENCH)
    _, key = arrived(lab, recordings[0], show)
    work(lab)
    found = stimuli(key)
    around = peri_event(key, "stimulus_level", found["onset"], (-0.2, 0.2), by=found["label"])
    assert around["condition"].values.tolist() == [f"orientation {45 * step}" for step in range(8)]
    assert around["event_condition"].values.tolist() == [int(number) for number in show.numbers]


def test_a_log_without_times_is_paired_in_order_and_says_so(lab, recordings):  # noqa: F811
    show = shown(BENCH, spread=0.0)
    _, key = arrived(lab, recordings[0], show, clock="none")
    assert work(lab).failed == []
    assert len(pipeline.sync.ClockSync()) == len(pipeline.trial.TrialImport.Trial()) == 0
    np.testing.assert_allclose(stimuli(key)["onset"], show.onsets, atol=1e-9)
    row = pipeline.behavior.StimulusOnset.fetch1()
    assert row["onset_method"].startswith("in order")
    assert row["onset_residual_p95"] is None
    assert {row["log_time"] for row in pipeline.behavior.StimulusLog.Presentation.to_dicts()} == {None}
    assert len(events_between(key)) > len(show.onsets)


def test_a_lost_plateau_of_a_log_without_times_is_refused_with_both_counts(lab, recordings):  # noqa: F811
    show = shown(BENCH).without_plateaus([5])
    _, key = arrived(lab, recordings[0], show, clock="none")
    (failed,) = work(lab).failed
    count = len(show.numbers)
    assert f"tells of {count} stimuli, stimulus_level of {count - 1}" in failed
    assert (pipeline.operations.Attempt & {"outcome": "failed"}).fetch1("failure") == "unpaired"
    with pytest.raises(InvalidKey, match=r"adamacs why behavior\.StimulusOnset"):
        stimuli(key)
    why = command(lab, "why", "behavior.StimulusOnset", f"scan_id={key['scan_id']}")
    assert "paired in order" in why.stdout


def test_a_log_of_another_scan_fails_the_certificate_of_its_stream_and_of_no_other(lab, recordings):  # noqa: F811
    show = shown(BENCH)
    other = screen.show(rig.record(BENCH, SECONDS, seed=7), seed=9)
    place = put(lab, recordings[0], BENCH, show.rig)
    (log,) = place.glob("*bonsai*.csv")
    other.write_log(log)
    ingest(lab, place)
    sync = pipeline.sync
    failed = work(lab).failed
    assert any("sync.ClockSync" in one for one in failed)
    tables = [pipeline.imaging.ScanInfo, sync.Promise, sync.Certificate]
    assert loop.drain(roles.named("cpu"), lab.settings, tables).failed == []
    found = {row["stream"]: row for row in sync.Certificate.Stream.to_dicts()}
    assert (found["stimuli"]["count_min"], found["stimuli"]["count_max"]) == (24, 24), "both count alike"
    assert (found["stimuli"]["stream_verdict"], found["stimuli"]["sync_clock"]) == ("fail", "bonsai")
    assert "Clock bonsai could not be placed on aux: PairingRefused: " in found["stimuli"]["stream_why"]
    assert [found[name]["stream_verdict"] for name in ("camera_frames", "two_photon_volumes")] == ["pass", "pass"]
    assert "bonsai" not in found["two_photon_frames"]["stream_why"]


@pytest.mark.parametrize("spread", [0.2, 0.0])
def test_lost_plateaus_and_a_false_line_are_left_alone_whether_or_not_stimuli_come_evenly(lab, recordings, spread):  # noqa: F811
    show = shown(BENCH, spread=spread).without_plateaus([0, 9])
    _, key = arrived(lab, recordings[0], show, extra=float(show.onsets[12]) + 0.1)
    assert work(lab).failed == []
    row = pipeline.behavior.StimulusOnset.fetch1()
    assert (row["log_alone"], row["event_alone"], row["level_contradictions"]) == (3, 0, 0)
    found = stimuli(key)
    kept = np.delete(np.arange(len(show.numbers)), [0, 9])
    np.testing.assert_allclose(found["onset"], show.onsets[kept], atol=1e-9)
    assert found["orientation"].tolist() == (45.0 * show.numbers[kept]).tolist()


def test_a_level_that_contradicts_its_stimulus_is_counted_and_marked(lab, recordings):  # noqa: F811
    show = shown(BENCH)
    show.rig.levels["stimulus_level"][4] = screen.level_of((show.numbers[4] + 1) % 8)
    _, key = arrived(lab, recordings[0], show)
    assert work(lab).failed == []
    assert pipeline.behavior.StimulusOnset.fetch1("level_contradictions") == 1
    found = stimuli(key)
    assert found.loc[~found["level_agrees"].astype(bool), "presentation_id"].tolist() == [5]


def test_passes_through_all_stimuli_are_the_trials_of_a_log(lab, recordings):  # noqa: F811
    show = shown(BENCH)
    arrived(lab, recordings[0], show)
    assert work(lab).failed == []
    trials = pipeline.trial.TrialImport.Trial.to_dicts(order_by="trial_id")
    assert [row["trial_start_time"] for row in trials] == pytest.approx((show.told - show.told[0])[::8], abs=2e-6)
    assert {(row["trial_stop_time"], row["trial_type"]) for row in trials} == {(None, None)}
    links = pipeline.trial.TrialImport.TrialEvent.to_dicts()
    assert sorted(row["trial_id"] for row in links) == sorted(at // 8 + 1 for at in range(len(show.numbers)))
    numbers = pipeline.trial.TrialImport.TrialEvent * pipeline.event.EventImport.Event
    assert {len(set((numbers & {"trial_id": n}).to_arrays("event_value"))) for n in range(1, len(trials) + 1)} == {8}


def test_trials_of_bpod_with_equal_settings_are_blocks(lab, recordings):  # noqa: F811
    setup = SHIPPED["mini2p1_openfield"]
    place = put(lab, recordings[0], setup, rig.record(setup))
    trials = [
        bpod.Trial(3.0 * at, 3.0 * at + 2, settings={"RewardAmount": 3 if at < 7 else 5, "Delay": 0.1 * (at % 4)})
        for at in range(16)
    ]
    bpod.write_bpod(place / f"{place.name}.mat", bpod.Session(trials=tuple(trials)))
    ingest(lab, place)
    work(lab)
    blocks = pipeline.trial.TrialImport.Block.to_dicts(order_by="trial_block_id")
    assert [(row["block_start_time"], row["block_stop_time"]) for row in blocks] == [(0.0, 20.0), (21.0, 47.0)]
    members = pipeline.trial.TrialImport.BlockTrial.to_dicts()
    assert sorted((row["trial_block_id"], row["trial_id"]) for row in members) == [
        (1 + (n > 7), n) for n in range(1, 17)
    ]
    told = pipeline.trial.TrialImport.BlockAttribute.to_dicts(order_by="trial_block_id")
    assert [(row["block_attribute_name"], row["block_attribute_value"]) for row in told] == [
        ("RewardAmount", "3"),
        ("RewardAmount", "5"),
    ]


def test_a_setup_type_without_a_channel_for_stimuli_has_the_log_and_no_onsets(lab, recordings):  # noqa: F811
    show = shown(SHIPPED["bench2p_lineartrack"])
    _, key = arrived(lab, recordings[0], show)
    assert work(lab).failed == []
    row = pipeline.behavior.StimulusLog.fetch1()
    assert (row["dialect"], row["log_clock"], row["presentation_count"]) == (
        "master_trigger",
        "instant",
        len(show.numbers),
    )
    with pytest.raises(InvalidKey, match="setup types name the channel"):
        stimuli(key)


def test_a_lab_s_own_channel_places_the_stimuli_of_the_linear_track(lab, recordings):  # noqa: F811
    from adamacs.core import setups

    text = SHIPPED["bench2p_lineartrack"].source.read_text(encoding="utf-8")
    own = '[[channel]]\nname = "stimulus_level"\nkind = "level"\nanalog = 0\nevent = "<stimulus>"\nstimuli = "level"\n'
    (lab.home / "setups").mkdir()
    (lab.home / "setups" / "own.toml").write_text(f"{text}\n{own}", encoding="utf-8")
    show = shown(setups.load(lab.home).find("bench2p_lineartrack"))
    _, key = arrived(lab, recordings[0], show)
    assert work(lab).failed == []
    np.testing.assert_allclose(stimuli(key)["onset"], show.onsets, atol=1e-9)
