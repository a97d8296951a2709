"""Promises of a scan's streams: who differs is named with what each tells, and agreement is never made worse."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from adamacs.core.clocks.mapping import ClockModel
from adamacs.core.promises import FILE, HEADER, PULSES, TOLD_BY, VERDICTS, Placement, Promise, Unplaced, compare, worst
from adamacs.core.settings import Sync

LIMITS = Sync()
FRAMES = "two_photon_frames"
ASKED = Promise("ScanImage", FRAMES, HEADER, 1600, rate=30.0)
HELD = Promise("ScanImage", FRAMES, FILE, 1600)
SEEN = Promise("aux", FRAMES, PULSES, 1600, 1.0, 1.0 + 1599 / 30, 30.0, clock="aux")
SOUND = (ASKED, HELD, SEEN)


def placed(source="bpod", *, offset=-40.0, drift=80.0, p95=90e-6, used=50, rejected=0, alone=0):
    model = ClockModel(source, "aux", "linear", (0.0, 100.0), (offset, offset + drift * 1e-4))
    return Placement(model, p95, 2 * p95, used, rejected, alone)


def only(promises, placements=(), limits=LIMITS):
    (verdict,) = compare(promises, limits, placements)
    return verdict


def test_tellers_who_agree_pass_and_are_named():
    verdict = only(SOUND)
    assert (verdict.stream, verdict.verdict, verdict.is_compared) == (FRAMES, "pass", True)
    assert (verdict.count_min, verdict.count_max, verdict.missing) == (1600, 1600, 0)
    assert verdict.why == "1600 by the header of ScanImage, the pulses of aux and the files of ScanImage."


@pytest.mark.parametrize(("count", "expected"), [(1599, "warn"), (1601, "warn"), (1598, "fail"), (1610, "fail")])
def test_a_count_that_differs_is_told_with_both_tellers_and_both_numbers(count, expected):
    verdict = only([HELD, replace(SEEN, count=count)])
    assert verdict.verdict == expected
    assert all(word in verdict.why for word in ("aux", str(count), "ScanImage", "1600", f"{abs(1600 - count)} apart"))


def test_pulses_lost_at_known_places_are_missing_not_wrong():
    verdict = only([HELD, replace(SEEN, count=1590, missing=10)])
    assert (verdict.verdict, verdict.missing) == ("warn", 10)
    assert verdict.why == "Of 1600, 10 are missing from the pulses of aux, at known places."
    assert only([HELD, replace(SEEN, count=1560, missing=40)]).verdict == "fail", "2.5 % are missing"
    assert only([HELD, replace(SEEN, count=1585, missing=10)]).verdict == "fail", "the gaps do not explain it"


def test_a_pause_that_every_teller_knows_is_no_loss():
    verdict = only([HELD, replace(SEEN, missing=900)])
    assert (verdict.verdict, verdict.missing) == ("warn", 0)
    assert "it paused" in verdict.why
    assert only([replace(SEEN, missing=900)]).verdict == "fail", "nobody else knows of a pause"


def test_an_early_stop_passes_where_pulses_bear_the_files_out():
    asked = replace(ASKED, count=100_000)
    verdict = only([asked, HELD, SEEN])
    assert (verdict.verdict, "it was stopped early" in verdict.why) == ("pass", True)
    alone = only([asked, HELD])
    assert (alone.verdict, "or are files missing?" in alone.why) == ("warn", True)
    assert only([asked, HELD, replace(SEEN, count=2600)]).verdict == "fail", "files are missing"


def test_more_than_the_header_asks_for_cannot_be():
    verdict = only([replace(ASKED, count=1500), HELD, SEEN])
    assert verdict.verdict == "fail"
    assert "1500 were asked for" in verdict.why and "1600 came" in verdict.why


def test_a_header_that_left_the_count_open_still_tells_the_rate():
    verdict = only([replace(ASKED, count=None, rate=15.0), SEEN])
    assert (verdict.verdict, verdict.is_compared) == ("fail", True)
    assert "15 Hz" in verdict.why and "30 Hz" in verdict.why
    assert verdict.rate_difference == pytest.approx(1e6)


@pytest.mark.parametrize(("ppm", "expected"), [(500, "pass"), (2000, "warn"), (20_000, "fail")])
def test_rates_that_differ_are_told_in_ppm(ppm, expected):
    assert only([*SOUND[:2], replace(SEEN, rate=30 * (1 + ppm * 1e-6))]).verdict == expected


def test_the_rate_of_a_short_train_is_not_taken_for_more_sure_than_it_is():
    off = 30 * (1 + 2000e-6)
    short = [replace(HELD, count=24), replace(SEEN, count=24, last=1.0 + 23 / off, rate=off)]
    assert only([replace(ASKED, count=24), *short]).verdict == "pass"


def test_a_drift_between_clocks_is_no_difference_of_rates():
    limits = Sync(rate_warn=20.0)
    drifting = placed("camera_top", offset=3.0, drift=200.0)
    own = Promise("camera_top", "camera_top", FILE, 10_000, 0.0, 9999 / 50, 50.0, clock="camera_top")
    ends = [float(drifting.model.convert(time)) for time in (own.first, own.last)]
    trigger = Promise("aux", "camera_top", PULSES, 10_000, *ends, 50.0 / (1 + 200e-6), clock="aux")
    assert only([own, trigger], [drifting], limits).verdict == "pass"
    assert only([own, trigger], [], limits).verdict == "warn"


def test_ends_are_compared_on_scan_time_in_periods():
    drifting = placed("camera_top", offset=3.0, drift=0.0)
    own = Promise("camera_top", "camera_top", FILE, 1000, 0.0, 999 / 50, 50.0, clock="camera_top")
    trigger = replace(own, teller="aux", told_by=PULSES, first=3.0, last=3.0 + 999 / 50, clock="aux")
    verdict = only([own, trigger], [drifting])
    assert verdict.verdict == "pass"
    assert (verdict.first_difference, verdict.last_difference) == pytest.approx((0.0, 0.0), abs=1e-9)
    later = replace(trigger, first=3.1, last=3.1 + 999 / 50)
    verdict = only([own, later], [drifting])
    assert (verdict.verdict, verdict.first_difference) == ("fail", pytest.approx(0.1))
    assert "5.0 periods" in verdict.why
    assert only([own, later]).first_difference is None, "on two clocks of which nothing is known"


def test_one_who_tells_alone_passes_uncompared_and_says_so():
    verdict = only([SEEN])
    assert (verdict.verdict, verdict.is_compared) == ("pass", False)
    assert verdict.why == "1600 by the pulses of aux. Nothing else tells of it."


def test_a_silent_channel_contradicts_the_files():
    verdict = only([HELD, replace(SEEN, count=0, first=None, last=None, rate=None)])
    assert (verdict.verdict, verdict.count_min, verdict.count_max) == ("fail", 0, 1600)


@pytest.mark.parametrize(
    ("changes", "expected", "word"),
    [
        ({}, "pass", "drift +80.0 ppm"),
        ({"drift": 300.0}, "warn", "runs 300.0 ppm slower than aux"),
        ({"drift": -450.0}, "fail", "runs 450.0 ppm faster than aux"),
        ({"p95": 2.5e-3}, "warn", "2500 µs"),
        ({"p95": 6e-3}, "fail", "6000 µs"),
        ({"rejected": 1, "alone": 2}, "warn", "2 instants have no partner, 1 pairs fit nowhere"),
        ({"alone": 20}, "fail", "20 instants have no partner"),
    ],
)
def test_a_stream_is_as_sure_as_the_clock_it_is_told_on(changes, expected, word):
    trials = Promise("bpod", "bpod_trials", FILE, 50, 40.1, 99.0, clock="bpod")
    verdict = only([trials], [placed(**changes)])
    assert (verdict.verdict, verdict.is_compared, word in verdict.why) == (expected, True, True)
    assert verdict.placements == (placed(**changes),)


def test_a_clock_speaks_for_itself_where_a_stream_is_told_on_scan_time_too():
    table = Promise("harp", FRAMES, FILE, 1600, 41.0, 41.0 + 1599 / 30, 30.0, clock="harp")
    verdicts = compare([*SOUND, table], LIMITS, [placed("harp", drift=450.0, offset=-40.0)])
    assert {one.stream: one.verdict for one in verdicts}["harp"] == "fail"
    assert {one.stream: one.placements for one in verdicts}[FRAMES] == ()


def test_the_worst_verdict_is_that_of_the_whole():
    assert [worst(some) for some in ((), ("pass", "warn"), ("fail", "pass"))] == ["pass", "warn", "fail"]


# ---- whatever is promised

CLOCKS = ("", "aux", "bpod")
_numbers = st.floats(0, 1e4, allow_nan=False)
promises = st.builds(
    Promise,
    teller=st.sampled_from(["ScanImage", "aux", "bpod"]),
    stream=st.sampled_from(["a", "b"]),
    told_by=st.sampled_from(TOLD_BY),
    count=st.none() | st.integers(0, 40),
    first=st.none() | _numbers,
    last=st.none() | _numbers,
    rate=st.none() | st.floats(1.0, 1.02),
    missing=st.integers(0, 5),
    clock=st.sampled_from(CLOCKS),
)
placements = st.lists(st.builds(placed, drift=st.floats(-499, 499), alone=st.integers(0, 20)), max_size=1)


@given(st.lists(promises, max_size=6), placements, st.randoms())
def test_the_order_of_promises_does_not_matter(told, placements, random):
    shuffled = random.sample(told, len(told))
    assert compare(shuffled, LIMITS, placements) == compare(told, LIMITS, placements)


@given(st.lists(promises, min_size=1, max_size=6), placements, st.data())
def test_one_more_teller_who_says_the_same_never_makes_it_worse(told, placements, data):
    again = replace(data.draw(st.sampled_from(told)), teller="another")
    before = {one.stream: one.verdict for one in compare(told, LIMITS, placements)}
    after = {one.stream: one.verdict for one in compare([*told, again], LIMITS, placements)}
    assert all(VERDICTS.index(after[stream]) <= VERDICTS.index(before[stream]) for stream in before)


@given(st.lists(promises, max_size=6), placements)
@example([Promise("ScanImage", "b", told_by, None, rate=1.0) for told_by in (HEADER, PULSES)], [])
def test_every_verdict_says_why(told, placements):
    for verdict in compare(told, LIMITS, placements):
        assert verdict.why
        assert verdict.verdict in VERDICTS


# ---- clocks that could not be placed

LOST = Unplaced("bpod", "aux", "nothing fits.")
TRIALS = Promise("bpod", "bpod_trials", FILE, 40, 2.0, 200.0, clock="bpod")


def test_a_stream_fails_where_the_clock_that_it_depends_on_could_not_be_placed_and_others_stand():
    frames, trials = sorted(compare([*SOUND, TRIALS], LIMITS, [], [LOST]), key=lambda one: one.stream == "bpod_trials")
    assert (frames.verdict, frames.unplaced) == ("pass", ())
    assert (trials.verdict, trials.unplaced) == ("fail", (LOST,))
    assert trials.why == "Clock bpod could not be placed on aux: nothing fits."


def test_a_stream_is_warned_of_where_nothing_says_how_its_clock_is_to_be_placed():
    unsaid = Unplaced("bpod", "aux", "nobody says how.", has_rule=False)
    (trials,) = compare([TRIALS], LIMITS, [], [unsaid])
    assert (trials.verdict, trials.why) == ("warn", "Clock bpod is not placed on aux: nobody says how.")
    assert compare([], LIMITS, [], [unsaid]) == (), "no stream is told on it"


def test_who_tells_on_a_clock_that_could_not_be_placed_may_tell_of_another_recording():
    pulses = Promise("aux", "bpod_trials", PULSES, 40, 42.0, 240.0, clock="aux")
    (both,) = compare([TRIALS, pulses], LIMITS, [], [LOST])
    assert (both.stream, both.verdict, both.unplaced) == ("bpod_trials", "fail", (LOST,))
    assert both.count_min == both.count_max == 40, "although both count alike"
    well = compare([TRIALS, pulses], LIMITS, [placed("bpod", offset=40.0, drift=0.0)])
    assert {one.stream: one.verdict for one in well} == {"bpod": "pass", "bpod_trials": "pass"}


def test_a_clock_that_no_stream_depends_on_is_judged_under_its_name_beside_what_is_called_so():
    by_stream = {one.stream: one for one in compare(SOUND, LIMITS, [placed("bpod")], [replace(LOST, clock="harp")])}
    assert {name: one.verdict for name, one in by_stream.items()} == {FRAMES: "pass", "bpod": "pass", "harp": "fail"}
    (both,) = compare([Promise("bpod", "bpod", HEADER, 40)], LIMITS, [], [LOST])
    assert (both.verdict, len(both.told)) == ("fail", 1)
