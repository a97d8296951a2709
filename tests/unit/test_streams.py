"""What a source of events promises, by the names of its setup type and by its times alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from adamacs.core import setups
from adamacs.core.clocks import counters
from adamacs.core.events import Repair, Series, SourceFiles, Stretch, Tally
from adamacs.core.promises import FILE, HEADER, PULSES, Promise, compare
from adamacs.core.settings import Settings, Sync
from adamacs.core.streams import Source, Span, expected, gaps_of, parted, without_repairs
from adamacs.demo import bpod, rig
from adamacs.modalities.behavior.importers.bpod import import_bpod
from adamacs.modalities.behavior.importers.wavesurfer import import_wavesurfer
from adamacs.modalities.behavior.modality import PARSERS
from adamacs.modalities.imaging.reader import promised

SHIPPED = setups.load().setups
OPENFIELD = SHIPPED["mini2p1_openfield"]
SAMPLE = 1 / 20_000


def train(count, rate, first=1.0):
    return np.round((first + np.arange(count) / rate) / SAMPLE) * SAMPLE


def told(*trains, setup=OPENFIELD, source="aux", sources=None, stretches=(), **events):
    spans = {kind: Span.of(starts) for kind, starts in events.items()}
    one = Source(source, source, trains, spans, stretches)
    told = one.promises(setup, sources or {source}, PARSERS[setup.sources[source]].counts)
    return {(promise.stream, promise.told_by): promise for promise in told}


def test_a_channel_of_frames_tells_of_the_stream_of_its_own_name():
    times = train(3000, 29.97)
    (promise,) = told(Series("mini2p_frames", times)).values()
    assert (promise.teller, promise.stream, promise.told_by, promise.clock) == (
        *("aux", "two_photon_frames", PULSES, "aux"),
    )
    assert (promise.count, promise.missing, promise.first, promise.last) == (3000, 0, times[0], times[-1])
    assert promise.rate == pytest.approx(29.97, rel=1e-6)


def test_the_pulses_that_trigger_a_camera_tell_of_every_camera_that_was_recorded():
    found = Series("aux_cam", train(100, 50.0))
    assert set(told(found)) == {("camera_frames", PULSES)}
    sources = {"aux", "camera_top", "camera_eye1"}
    assert set(told(found, sources=sources)) == {("camera_frames", PULSES), ("camera_top", PULSES)}
    own = Series("camera_top_frames", train(100, 50.0))
    assert set(told(own, source="camera_top")) == {("camera_top", FILE)}


def test_a_stream_is_promised_once_by_a_source_however_many_rules_name_it():
    rule = next(rule for rule in OPENFIELD.align if rule.source == "camera_top")
    twice = replace(OPENFIELD, align=(*OPENFIELD.align, replace(rule, anchor="last")))
    source = Source("aux", "aux", (Series("aux_cam", train(100, 50.0)),))
    promises = source.promises(twice, {"aux", "camera_top"}, {})
    assert [one.stream for one in promises] == ["camera_frames", "camera_top"]


def test_what_a_silent_source_would_have_told_of():
    sources = {"aux", "bpod", "camera_top", "camera_top_video"}
    assert expected(OPENFIELD, "camera_top", sources, {}) == ("camera_top", "camera_top_video")
    assert expected(OPENFIELD, "bpod", sources, PARSERS["bpod"].counts) == ("bpod_trials",)
    of_aux = expected(OPENFIELD, "aux", sources, {})
    assert {"two_photon_frames", "optitrack_frames", "camera_frames", "camera_top"} <= set(of_aux)
    assert "camera_bottom" not in of_aux


def test_a_table_of_frame_times_is_a_stream_of_its_own_beside_the_pulses_of_the_same_frames():
    found = Series("harp_frames", train(100, 30.0))
    promise = told(found, source="harp")["harp", FILE]
    assert (promise.teller, promise.clock) == ("harp", "harp")
    pulses = Series("mini2p_frames", train(100, 30.0))
    sources = {"aux", "harp"}
    assert set(told(pulses, sources=sources)) == {("two_photon_frames", PULSES), ("harp", PULSES)}
    assert set(told(found, setup=replace(OPENFIELD, align=()), source="harp")) == {("harp", FILE)}


def test_a_video_has_the_rows_of_its_camera_s_table_whatever_gaps_are_between_them():
    lost = np.delete(train(100, 50.0), [40, 41])
    sources = {"aux", "camera_top", "camera_top_video", "camera_eye1_video"}
    found = told(Series("camera_top_frames", lost), source="camera_top", sources=sources)
    assert set(found) == {("camera_top", FILE), ("camera_top_video", FILE)}
    own, video = found.values()
    assert (own.count, own.missing, own.clock) == (98, 2, "camera_top")
    assert (video.count, video.missing, video.first, video.last, video.rate, video.clock) == (
        98,
        0,
        None,
        None,
        None,
        "",
    )
    mended = counters.repair(lost, gaps_of(lost))
    repairs = tuple(Repair(gap.index + 1, gap.missing, gap.start, gap.stop) for gap in mended.repairs)
    filled = told(Series("camera_top_frames", mended.times, repairs=repairs), source="camera_top", sources=sources)
    assert filled["camera_top_video", FILE].count == 98


def test_a_video_without_its_table_is_told_of_by_the_pulses():
    pulses = Series("aux_cam", train(100, 50.0))
    found = told(pulses, sources={"aux", "camera_top_video", "camera_eye1_video"})
    assert set(found) == {("camera_frames", PULSES), ("camera_top_video", PULSES)}
    found = told(pulses, sources={"aux", "camera_top", "camera_top_video"})
    assert set(found) == {("camera_frames", PULSES), ("camera_top", PULSES)}


def test_what_files_say_of_their_frames_without_times_is_told_and_on_a_clock_where_it_has_a_rate():
    sources = {"aux", "mocap", "camera_top_video"}
    video = Source("camera_top_video", "aux", tallies=(Tally(FILE, 97),)).promises(OPENFIELD, sources, {})
    assert video == (Promise("camera_top_video", "camera_top_video", FILE, 97),)
    rows = (Series("mocap_frames", np.arange(90) / 240.0),)
    take = Source("mocap", "mocap", rows, tallies=(Tally(HEADER, 100, 240.0), Tally("other", None)))
    told = {(one.told_by): one for one in take.promises(OPENFIELD, sources, {})}
    assert (told[HEADER].count, told[HEADER].rate, told[HEADER].clock) == (100, 240.0, "mocap")
    assert (told[FILE].stream, told[FILE].count, told["other"].count, told["other"].clock) == ("mocap", 90, None, "")


@pytest.mark.parametrize(("frames", "verdict"), [(100, "pass"), (99, "warn"), (98, "fail"), (103, "fail")])
def test_a_table_with_more_or_fewer_rows_than_the_video_has_frames_is_seen(frames, verdict):
    sources = {"camera_top", "camera_top_video"}
    table = Source("camera_top", "camera_top", (Series("camera_top_frames", train(100, 50.0)),))
    video = Source("camera_top_video", "aux", tallies=(Tally(FILE, frames),))
    promises = [one for source in (table, video) for one in source.promises(OPENFIELD, sources, {})]
    (found,) = (one for one in compare(promises, Sync()) if one.stream == "camera_top_video")
    assert (found.verdict, found.is_compared, found.count_min, found.count_max) == (
        *(verdict, True, min(frames, 100), max(frames, 100)),
    )


def test_trials_are_told_by_their_starts_and_stimuli_by_plateaus_and_log():
    starts = np.array([10.0, 12.0, 15.0])
    (promise,) = told(source="bpod", bpod_trial_start=starts, bpod_reward=starts).values()
    assert (promise.stream, promise.count, promise.first, promise.last, promise.rate) == (
        *("bpod_trials", 3, 10.0, 15.0, None),
    )
    bench = SHIPPED["bench2p"]
    assert set(told(setup=bench, stimulus_level=starts, shutter=starts)) == {("stimuli", PULSES)}
    assert set(told(setup=bench, source="bonsai", stimulus=starts)) == {("stimuli", FILE)}


def test_a_channel_that_is_silent_tells_of_none():
    (promise,) = told(Series("mini2p_frames", np.empty(0))).values()
    assert (promise.count, promise.first, promise.rate, promise.missing) == (0, None, None, 0)


def test_a_source_of_which_nothing_was_found_promises_nothing():
    assert told(source="bonsai", setup=SHIPPED["bench2p"]) == {}


@pytest.mark.parametrize("setup", SHIPPED.values(), ids=SHIPPED)
def test_no_source_of_a_shipped_setup_type_tells_twice_of_one_stream(setup):
    channels = [Series(c.event_type, np.arange(9.0)) for c in setup.channel if c.kind in ("frames", "level")]
    for source in setup.sources:
        own = [Series(kind, np.arange(9.0)) for rule in setup.align if rule.source == source for kind in rule.events]
        trains = channels if source == "aux" else own
        promises = Source(source, "aux", tuple(trains)).promises(setup, setup.sources, {})
        assert len({promise.stream for promise in promises}) == len(promises)


# ---- what the synthetic rig recorded, in every setup type

RECORDED = {name: setup for name, setup in SHIPPED.items() if "aux" in setup.sources}
SETTINGS = Settings(home=Path("nowhere"))


def recorded(tmp_path, ran):
    """Return what the files of a rig promise, with those that a microscope left beside them."""
    setup = ran.setup
    files = {"aux": ran.write(tmp_path / "x.h5")}
    if ran.task is not None:
        files["bpod"] = tmp_path / "x.mat"
        bpod.write_bpod(files["bpod"], ran.task.session)
    told = []
    for source, path in files.items():
        importer = {"aux": import_wavesurfer, "bpod": import_bpod}[source]
        found = importer(SourceFiles(source, setup.name, (path,)), SETTINGS)
        told += Source.of(found, source, source).promises(setup, files, PARSERS[setup.sources[source]].counts)
    return told


def imaged(frames, rate, per_volume=1, requested=None):
    about = {"channels": 2, "averaging": 1, "scanner_frames": per_volume, "fps": rate / per_volume}
    return promised(pages=2 * frames, requested=frames if requested is None else requested, **about)


@pytest.mark.parametrize("setup", RECORDED.values(), ids=RECORDED)
def test_nothing_is_found_fault_with_where_a_rig_recorded_soundly(tmp_path, setup):
    per_volume = 3 if any(channel.name == "two_photon_volumes" for channel in setup.channel) else 1
    told = recorded(tmp_path, rig.record(setup).with_frames(181, 30.0, per_volume=per_volume))
    verdicts = {one.stream: one for one in compare([*told, *imaged(181, 30.0, per_volume)], Sync())}
    assert {name: one.why for name, one in verdicts.items() if one.verdict != "pass"} == {}
    volumes = {"two_photon_volumes"} if per_volume > 1 else set()
    assert {name for name, one in verdicts.items() if one.is_compared} == {"two_photon_frames"} | volumes
    assert {channel.name for channel in setup.channel if channel.kind == "frames" and channel.event} <= set(verdicts)


@given(st.data())
@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_frames_that_a_rig_lost_or_made_up_are_never_passed_over(tmp_path, data):
    ran = rig.record(RECORDED["mini2p2_openfield"], sample_rate=10_000.0).with_frames(181, 30.0)
    frames = ran.pulses["two_photon_frames"]
    lost = data.draw(st.sets(st.integers(0, len(frames) - 1), min_size=1, max_size=5))
    is_extra = data.draw(st.booleans())
    held = (
        np.sort(np.concatenate([frames, frames[sorted(lost)] + 150]), 0) if is_extra else np.delete(frames, [*lost], 0)
    )
    ran = replace(ran, pulses={**ran.pulses, "two_photon_frames": held})
    (verdict,) = (
        one
        for one in compare([*recorded(tmp_path, ran), *imaged(181, 30.0)], Sync())
        if one.stream == "two_photon_frames"
    )
    assert verdict.verdict != "pass"
    assert (verdict.count_min, verdict.count_max) == ((181, len(held)) if is_extra else (len(held), 181))
    assert (str(len(held)) in verdict.why and "181" in verdict.why) or verdict.missing == len(lost)


@given(st.integers(200, 2000), st.floats(1.0, 300.0), st.data())
def test_what_was_lost_between_others_is_known_to_be_missing_and_the_rate_stays(count, rate, data):
    lost = data.draw(st.sets(st.integers(1, count - 2), max_size=count // 50))
    times = np.delete(train(count, rate), sorted(lost))
    found = told(Series("mini2p_frames", times))["two_photon_frames", PULSES]
    assert (found.count, found.missing) == (count - len(lost), len(lost))
    assert found.rate == pytest.approx(rate, rel=1e-3)


def test_what_was_put_in_is_not_counted_as_told():
    whole = train(2400, 240.0)
    held = np.delete(whole, [100, 101, 1500])
    mended = counters.repair(held, counters.find_gaps(held))
    repairs = (Repair(100, 2, whole[99], whole[102]), Repair(1500, 1, whole[1499], whole[1501]))
    np.testing.assert_array_equal(without_repairs(mended.times, repairs), held)
    found = told(Series("optitrack_frames", mended.times, repairs=repairs))
    promise = found["optitrack_frames", PULSES]
    assert (promise.count, promise.missing) == (2397, 3)
    assert promise.rate == pytest.approx(240.0, rel=1e-4)


def test_a_frame_that_was_stamped_late_is_not_taken_for_a_lost_one():
    times = train(1000, 50.0)
    times[[200, 500]] += 0.015  # of 0.02
    times[700:703] = times[703] - 1e-4  # a computer that was busy, and wrote down three at once
    assert gaps_of(times) == ()
    (gap,) = gaps_of(np.delete(times, 800))
    assert (gap.index, gap.missing) == (799, 1)


def test_a_pause_is_a_gap_and_does_not_change_the_rate():
    times = np.concatenate([train(500, 30.0), train(500, 30.0, first=100.0)])
    (gap,) = gaps_of(times)
    assert (gap.index, gap.start, gap.stop) == (499, times[499], times[500])
    found = told(Series("mini2p_frames", times))["two_photon_frames", PULSES]
    assert found.rate == pytest.approx(30.0, rel=1e-5)


# ---- a recording that paused

APART = (Stretch(0.0, 20.0), Stretch(24.03, 44.03, 0.1), Stretch(44.2, 60.0, 0.1))


def seen(times):
    return np.concatenate([times[(times >= one.start) & (times < one.stop)] for one in APART])


@pytest.mark.parametrize("rate", [10.0, 29.97, 240.0])
def test_what_came_in_a_pause_of_the_recording_is_unseen_and_not_missing(rate):
    whole = train(int(58 * rate), rate)
    found = seen(whole)
    promise = told(Series("mini2p_frames", found), stretches=APART)["two_photon_frames", PULSES]
    assert (promise.count, promise.missing) == (len(found), 0)
    assert promise.unseen == pytest.approx(len(whole) - len(found), abs=2, rel=0.005)
    assert promise.rate == pytest.approx(rate, rel=1e-4)
    unaware = told(Series("mini2p_frames", found))["two_photon_frames", PULSES]
    assert (unaware.missing, unaware.unseen) == (promise.unseen, 0), "no pause is known: they are missing"


def test_silence_that_was_recorded_beside_a_pause_was_seen():
    whole = train(1740, 30.0)
    silent = (whole > 15.0) & (whole < 24.03)  # five seconds of it before the pause of four
    promise = told(Series("mini2p_frames", seen(whole[~silent])), stretches=APART)["two_photon_frames", PULSES]
    assert promise.missing == pytest.approx(150, abs=2)
    assert promise.unseen == pytest.approx(4.03 * 30 + 0.17 * 30, abs=3)


def test_a_step_of_the_clock_over_a_short_pause_changes_no_rate():
    stretches = (Stretch(0.0, 10.0), Stretch(10.02, 20.0, 0.1))
    times = np.concatenate([np.arange(0.0, 10.0, 0.04), 10.03 + np.arange(0.0, 9.9, 0.04)])  # a step of 30 ms
    promise = told(Series("mini2p_frames", times), stretches=stretches)["two_photon_frames", PULSES]
    assert promise.rate == pytest.approx(25.0, rel=1e-9)


def test_gaps_are_parted_by_whether_they_hold_a_pause():
    times = np.delete(seen(train(1740, 30.0)), [100, 101, 900])
    within, between = parted(counters.find_gaps(times), APART)
    assert [gap.missing for gap in within] == [2, 1]
    assert [gap.start < pause < gap.stop for gap, pause in zip(between, (22.0, 44.1), strict=True)] == [True, True]
    assert parted(counters.find_gaps(times), ())[1] == ()


def test_what_is_on_over_a_pause_is_counted_once_and_what_may_have_come_in_it_is_told():
    starts = np.concatenate([np.arange(0.5, 20.0, 0.5), [24.03], np.arange(24.5, 44.0, 0.5)])
    span = Span.of(starts, APART)
    assert (span.count, span.first, span.last) == (len(starts) - 1, 0.5, 43.5)
    bench = SHIPPED["bench2p"]
    source = Source("aux", "aux", (), {"stimulus_level": span}, APART)
    (promise,) = source.promises(bench, {"aux"}, {})
    pace = span.count / (20 + 20 + 15.8)
    assert (promise.stream, promise.count) == ("stimuli", len(starts) - 1)
    assert promise.unseen == int(4.03 * pace) + 1 + int(0.17 * pace) + 1
