"""The detectors: exact on every sample, whatever the blocks, and nothing is made up at either end."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adamacs.core.errors import InvalidRequest
from adamacs.modalities.behavior.numerics.edges import (
    Plateaus,
    Pulses,
    analog_pulses,
    digital_pulses,
    merged,
    photodiode_bursts,
    plateaus,
    without_short,
)

bounded = settings(max_examples=200, deadline=None, derandomize=True)
UNSIGNED = (np.uint8, np.uint16, np.uint32)


def pairs(pulses: Pulses | Plateaus) -> list[tuple[int, int]]:
    return list(zip(pulses.start.tolist(), pulses.stop.tolist(), strict=True))


def cut(signal: np.ndarray, cuts: Sequence[int]) -> list[np.ndarray]:
    """Blocks that end at these samples; some may be empty."""
    return np.split(signal, sorted(min(at, signal.size) for at in cuts))


def by_loop(active: Sequence[bool]) -> list[tuple[int, int]]:
    """Runs of True, found sample by sample."""
    found, start = [], None
    for sample, is_active in enumerate([*active, False]):
        if is_active and start is None:
            start = sample
        if not is_active and start is not None:
            found.append((start, sample))
            start = None
    return found


def hysteresis_by_loop(signal: Sequence[float], base: float, threshold: float, hysteresis: float) -> list[bool]:
    state, found = False, []
    for value in signal:
        distance = abs(value - base)
        if distance > threshold:
            state = True
        elif distance <= threshold - hysteresis:
            state = False
        found.append(state)
    return found


def plateaus_by_loop(signal: Sequence[float], tolerance: float, least: int) -> list[tuple[int, int]]:
    found, start = [], 0
    for sample in range(1, len(signal) + 1):
        if sample == len(signal) or not abs(signal[sample] - signal[sample - 1]) <= tolerance:
            if sample - start >= least:
                found.append((start, sample))
            start = sample
    return found


# --- digital lines -----------------------------------------------------------------------------------------------


def test_bit_0_is_the_least_significant_one() -> None:
    words = np.array([0b000, 0b001, 0b011, 0b110, 0b100, 0b000], np.uint8)  # no line is the mirror of another
    found = digital_pulses(words, range(3))
    assert {bit: pairs(pulses) for bit, pulses in found.items()} == {0: [(1, 3)], 1: [(2, 4)], 2: [(3, 5)]}


@pytest.mark.parametrize("dtype", UNSIGNED)
def test_the_highest_bit_of_every_word_is_a_line_like_any_other(dtype: type) -> None:
    high = np.iinfo(dtype).bits - 1
    words = np.array([0, 1 << high, (1 << high) | 1, 1, 0], dtype)
    found = digital_pulses(words, [high, 0])
    assert (pairs(found[high]), pairs(found[0])) == ([(1, 3)], [(2, 4)])
    assert list(found) == [high, 0]


@given(data=st.data())
@bounded
def test_pulses_of_any_words_in_any_blocks_are_those_of_a_loop(data: st.DataObject) -> None:
    dtype = data.draw(st.sampled_from(UNSIGNED))
    width = np.iinfo(dtype).bits
    words = np.array(data.draw(st.lists(st.integers(0, 2**width - 1), max_size=60)), dtype)
    held = np.repeat(words, data.draw(st.integers(1, 3)))
    bits = data.draw(st.lists(st.integers(0, width - 1), max_size=5, unique=True))
    inverted = {bit for bit in bits if data.draw(st.booleans())}
    blocks = cut(held, data.draw(st.lists(st.integers(0, held.size), max_size=6)))
    found = digital_pulses(iter(blocks), bits, inverted=inverted)
    assert list(found) == bits
    for bit, pulses in found.items():
        active = [bool(word >> bit & 1) != (bit in inverted) for word in held.tolist()]
        assert pairs(pulses) == by_loop(active)
        assert pulses.start.dtype == pulses.stop.dtype == np.int64
        assert (pulses.starts_open, pulses.ends_open) == (active[:1] == [True], active[-1:] == [True])
        assert (pulses.samples, pulses.dropped) == (held.size, 0)


@pytest.mark.parametrize("border", range(1, 8))
def test_an_edge_exactly_on_the_border_of_two_blocks_is_found_once(border: int) -> None:
    words = np.array([0, 0, 0, 5, 5, 1, 0, 0], np.uint8)
    found = digital_pulses(iter([words[:border], words[:0], words[border:]]), [0, 2])
    assert (pairs(found[0]), pairs(found[2])) == ([(3, 6)], [(3, 5)])


def test_what_is_high_at_either_end_is_marked_and_has_no_edge_there() -> None:
    pulses = digital_pulses(np.array([1, 1, 0, 1, 0, 1], np.uint8), [0])[0]
    assert pairs(pulses) == [(0, 2), (3, 4), (5, 6)]
    assert pulses.is_open.tolist() == [True, False, True]
    assert pulses.onsets.tolist() == [3, 5]
    assert pulses.offsets.tolist() == [2, 4]
    assert len(pulses) == 3


def test_a_line_that_never_moves_is_one_open_pulse_or_none() -> None:
    found = digital_pulses(np.full(5, 2, np.uint8), [0, 1])
    assert (pairs(found[0]), pairs(found[1])) == ([], [(0, 5)])
    assert found[1].is_open.tolist() == [True]
    assert found[1].onsets.size == found[1].offsets.size == 0
    assert pairs(digital_pulses(np.full(5, 2, np.uint8), [0], inverted=[0])[0]) == [(0, 5)]


def test_no_sample_is_no_pulse_even_of_an_inverted_line() -> None:
    found = digital_pulses(iter([]), [0, 1], inverted=[1])
    assert [(len(pulses), pulses.samples, pulses.starts_open) for pulses in found.values()] == [(0, 0, False)] * 2


def test_glitches_are_dropped_and_counted_only_where_asked_for() -> None:
    words = np.array([0, 1, 0, 3, 3, 3, 0, 1, 1, 0, 1], np.uint8)
    assert pairs(digital_pulses(words, [0])[0]) == [(1, 2), (3, 6), (7, 9), (10, 11)]
    found = digital_pulses(words, [0, 1], min_width=3)
    assert (pairs(found[0]), found[0].dropped) == ([(3, 6), (10, 11)], 2)  # the open one may have been long
    assert (pairs(found[1]), found[1].dropped) == ([(3, 6)], 0)
    assert digital_pulses(words, [0, 1], min_width={1: 4})[0].dropped == 0
    assert digital_pulses(words, [0, 1], min_width={1: 4})[1].dropped == 1


@pytest.mark.parametrize(
    ("words", "bits", "inverted"),
    (
        (np.zeros(3, np.uint8), [8], []),
        (np.zeros(3, np.int8), [0], []),
        (np.zeros(3, np.float64), [0], []),
        (np.zeros((1, 3), np.uint8), [0], []),
        (np.zeros(3, np.uint8), [-1], []),
        (np.zeros(3, np.uint8), [0], [1]),
    ),
)
def test_words_that_have_no_such_bit_are_refused(words: np.ndarray, bits: list[int], inverted: list[int]) -> None:
    with pytest.raises(InvalidRequest):
        digital_pulses(words, bits, inverted=inverted)


# --- analog channels ---------------------------------------------------------------------------------------------


def test_an_analog_pulse_is_what_lies_a_volt_above_the_smallest_sample() -> None:
    signal = np.array([-2.0, -2, -0.99, 3, -1, -1.0, -0.5, -2])  # -1 is one volt away, and not more
    pulses = analog_pulses(signal)
    assert pairs(pulses) == [(2, 4), (6, 7)]
    assert not pulses.is_open.any()


def test_pulses_to_either_side_of_a_known_baseline_count() -> None:
    signal = np.array([0.0, 1.5, 0, -1.5, 0, 0.9])
    assert pairs(analog_pulses(signal, baseline=0.0)) == [(1, 2), (3, 4)]
    assert pairs(analog_pulses(signal, baseline=0.0, inverted=True)) == [(0, 1), (2, 3), (4, 6)]


def test_a_saturated_channel_is_one_pulse_and_whole_numbers_do_not_wrap_around() -> None:
    counts = np.array([-32768, -32768, 32767, 32767, 32767, -32768], np.int16)
    assert pairs(analog_pulses(counts, threshold=40_000)) == [(2, 5)]
    volts = np.clip(np.array([0.0, 0, 14, 18, 12, 0, 0]), -10, 10)
    assert pairs(analog_pulses(volts)) == [(2, 5)]
    assert pairs(analog_pulses(np.full(4, 10.0), baseline=0.0)) == [(0, 4)]


def test_with_hysteresis_a_noisy_edge_is_one_edge() -> None:
    rng = np.random.default_rng(3)
    truth = np.repeat([0.0, 5.0, 0.0, 5.0, 0.0], 400)
    slow = np.convolve(truth, np.ones(101) / 101, "same")  # rises through the threshold, and dwells there
    signal = slow + rng.normal(0, 0.15, truth.size)
    noisy = analog_pulses(signal, threshold=2.5, baseline=0.0)
    clean = analog_pulses(signal, threshold=2.5, baseline=0.0, hysteresis=1.2)
    assert len(noisy) > 2
    assert len(clean) == 2
    assert np.abs(clean.onsets - [400, 1200]).max() <= 15
    assert np.abs(clean.offsets - [824, 1624]).max() <= 15  # at 1.3 V of a fall from 5 V in 101 samples


@given(data=st.data())
@bounded
def test_analog_pulses_of_any_signal_in_any_blocks_are_those_of_a_loop(data: st.DataObject) -> None:
    values = st.one_of(st.integers(-8, 8).map(lambda n: n / 4), st.just(float("nan")))
    signal = np.array(data.draw(st.lists(values, max_size=50)), float)
    threshold = data.draw(st.sampled_from((0.25, 0.5, 1.0)))
    hysteresis = data.draw(st.sampled_from((0.0, 0.125, 0.2)))
    base = data.draw(st.sampled_from((None, 0.0, -1.0)))
    blocks = cut(signal, data.draw(st.lists(st.integers(0, signal.size), max_size=5)))
    pulses = analog_pulses(blocks, threshold=threshold, hysteresis=hysteresis, baseline=base)
    present = signal[~np.isnan(signal)]
    low = base if base is not None else float(present.min()) if present.size else float("nan")
    states = hysteresis_by_loop(signal.tolist(), low, threshold, hysteresis)
    assert pairs(pulses) == by_loop(states)
    assert (pulses.starts_open, pulses.ends_open) == (states[:1] == [True], states[-1:] == [True])


def test_a_missing_sample_changes_nothing() -> None:
    signal = np.array([0.0, np.nan, 5, np.nan, 5, 0, np.nan])
    assert pairs(analog_pulses(signal)) == [(2, 5)]


def test_short_analog_pulses_are_dropped_and_counted() -> None:
    pulses = analog_pulses(np.array([0.0, 5, 0, 5, 5, 5, 0]), min_width=2)
    assert (pairs(pulses), pulses.dropped) == ([(3, 6)], 1)


def test_blocks_that_can_be_read_once_need_a_baseline() -> None:
    def blocks() -> Iterator[np.ndarray]:
        yield np.array([0.0, 5.0, 0.0])

    with pytest.raises(InvalidRequest, match="once only"):
        analog_pulses(blocks())
    assert pairs(analog_pulses(blocks(), baseline=0.0)) == [(1, 2)]


@pytest.mark.parametrize(("threshold", "hysteresis"), ((1.0, 1.0), (0.0, 0.0), (1.0, -0.1), (float("nan"), 0.0)))
def test_a_hysteresis_that_never_lets_go_is_refused(threshold: float, hysteresis: float) -> None:
    with pytest.raises(InvalidRequest):
        analog_pulses(np.zeros(3), threshold=threshold, hysteresis=hysteresis)


def test_a_signal_of_anything_but_numbers_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="numbers"):
        analog_pulses(np.array(["a"]), baseline=0.0)
    with pytest.raises(InvalidRequest, match="one dimension"):
        plateaus(np.zeros((2, 2)))


# --- levels ------------------------------------------------------------------------------------------------------


def test_levels_are_rounded_and_those_near_zero_left_out() -> None:
    signal = np.repeat([0.01, 1.23, 0.04, 2.96, -0.31, 4.0], [1500, 1000, 1200, 2000, 1100, 999])
    found = plateaus(signal)
    assert pairs(found) == [(1500, 2500), (3700, 5700), (5700, 6800)]  # the last one is a sample too short
    assert found.level.tolist() == [1.2, 3.0, -0.3]
    assert not found.is_open.any()


def test_a_plateau_under_way_at_either_end_is_marked() -> None:
    found = plateaus(np.repeat([1.0, 2.0, 3.0], 5), min_samples=5)
    assert found.is_open.tolist() == [True, False, True]
    assert found.level.tolist() == [1.0, 2.0, 3.0]


def test_noise_within_the_tolerance_does_not_break_a_level_and_a_spike_does() -> None:
    rng = np.random.default_rng(5)
    signal = np.repeat([0.0, 2.5, 0.0], 3000) + rng.uniform(-0.09, 0.09, 9000)
    found = plateaus(signal)
    assert (pairs(found), found.level.tolist()) == ([(3000, 6000)], [2.5])
    signal[4500] += 1
    assert pairs(plateaus(signal)) == [(3000, 4500), (4501, 6000)]


def test_a_saturated_level_is_the_rail() -> None:
    found = plateaus(np.repeat([0.0, 10.0, 0.0], 1200))
    assert (pairs(found), found.level.tolist()) == ([(1200, 2400)], [10.0])


@given(data=st.data())
@bounded
def test_plateaus_of_any_signal_in_any_blocks_are_those_of_a_loop(data: st.DataObject) -> None:
    values = st.one_of(st.integers(1, 6).map(float), st.just(float("nan")))
    steps = data.draw(st.lists(st.tuples(values, st.integers(1, 6)), max_size=15))
    signal = np.array([value for value, count in steps for _ in range(count)], float)
    least = data.draw(st.integers(1, 5))
    blocks = cut(signal, data.draw(st.lists(st.integers(0, signal.size), max_size=5)))
    found = plateaus(iter(blocks), tolerance=1.0, min_samples=least)
    expected = [
        (start, stop)
        for start, stop in plateaus_by_loop(signal.tolist(), 1.0, least)
        if not np.isnan(signal[start:stop]).any()
    ]
    assert pairs(found) == expected
    assert found.level == pytest.approx([np.mean(signal[start:stop]) for start, stop in expected], abs=0.0501)
    assert found.is_open.tolist() == [start == 0 or stop == signal.size for start, stop in expected]


def test_infinite_and_missing_samples_are_no_level() -> None:
    found = plateaus(np.array([1.0, 1, np.inf, np.inf, -np.inf, np.nan, 2, 2]), min_samples=1)
    assert (pairs(found), found.level.tolist()) == ([(0, 2), (6, 8)], [1.0, 2.0])


@pytest.mark.parametrize("wrong", ({"rounding": 0.0}, {"min_samples": 0}, {"tolerance": -1.0}, {"zero": float("nan")}))
def test_rules_of_plateaus_that_make_no_sense_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(InvalidRequest):
        plateaus(np.zeros(3), **wrong)  # type: ignore[arg-type]


# --- bursts ------------------------------------------------------------------------------------------------------


def flicker(samples: int, *bursts: tuple[int, int, int, int]) -> np.ndarray:
    """A diode that sees bursts: start, pulses, width and period, in samples."""
    signal = np.full(samples, 0.1)
    for start, count, width, period in bursts:
        for pulse in range(count):
            signal[start + pulse * period :][:width] = 1.1
    return signal


def test_pulses_close_to_each_other_are_one_burst() -> None:
    # At 1 kHz: three pulses of 5 ms with gaps of 20 ms are one burst, those with gaps of 21 ms are three short ones.
    signal = flicker(1000, (100, 3, 5, 25), (500, 3, 5, 26))
    bursts = photodiode_bursts(signal, 1000.0)
    assert (pairs(bursts), bursts.dropped) == ([(100, 155)], 3)


def test_a_burst_lasts_at_least_20_ms() -> None:
    signal = flicker(1000, (100, 1, 19, 19), (300, 1, 20, 20))
    bursts = photodiode_bursts(signal, 1000.0)
    assert (pairs(bursts), bursts.dropped) == ([(300, 320)], 1)


def test_the_threshold_is_a_fifth_of_the_range_above_the_smallest_sample() -> None:
    signal = np.repeat([-1.0, 0.99, -1.0, 1.01, 9.0, -1.0], 30)  # a fifth of 10 above -1 is 1
    assert pairs(photodiode_bursts(signal, 1000.0)) == [(90, 150)]


def test_rates_whose_milliseconds_are_no_whole_samples_do_not_shift_the_rules() -> None:
    for rate in (20_000.0, 20_000 / 3, 29_997.0003):
        gap = int(0.020 * rate + 1e-6)
        signal = flicker(9000, (500, 2, 700, 700 + gap), (5000, 2, 700, 701 + gap))
        assert len(photodiode_bursts(signal, rate)) == 3


@pytest.mark.parametrize("signal", (np.zeros(0), np.full(50, 3.0), np.full(50, np.nan)))
def test_a_dark_or_empty_channel_has_no_burst(signal: np.ndarray) -> None:
    bursts = photodiode_bursts(signal, 1000.0)
    assert (len(bursts), bursts.samples) == (0, signal.size)


def test_noise_alone_is_no_burst_where_the_least_range_is_given() -> None:
    signal = np.random.default_rng(7).normal(0, 0.001, 2000)
    assert len(photodiode_bursts(signal, 1000.0)) > 0  # the reference's rule, which has no least range
    assert len(photodiode_bursts(signal, 1000.0, min_range=0.1)) == 0


@given(data=st.data())
@bounded
def test_bursts_do_not_depend_on_the_blocks(data: st.DataObject) -> None:
    lit = data.draw(st.lists(st.tuples(st.booleans(), st.integers(1, 9)), max_size=25))
    signal = np.array([float(on) for on, count in lit for _ in range(count)])
    blocks = cut(signal, data.draw(st.lists(st.integers(0, signal.size), max_size=5)))
    found = photodiode_bursts(blocks, 1000.0, merge_gap=0.004, min_length=0.006)
    runs = by_loop((signal > 0.5).tolist()) if signal.size and np.ptp(signal) else []
    joined: list[tuple[int, int]] = []
    for start, stop in runs:
        if joined and start - joined[-1][1] <= 4:
            joined[-1] = (joined[-1][0], stop)
        else:
            joined.append((start, stop))
    kept = [(start, stop) for start, stop in joined if stop - start >= 6 or start == 0 or stop == signal.size]
    assert pairs(found) == kept
    assert found.dropped == len(joined) - len(kept)


def test_bursts_of_blocks_that_can_be_read_once_are_refused() -> None:
    with pytest.raises(InvalidRequest, match="once only"):
        photodiode_bursts(iter([np.zeros(3)]), 1000.0)
    with pytest.raises(InvalidRequest):
        photodiode_bursts(np.zeros(3), 0.0)


def test_joining_and_dropping_keep_what_is_known_of_the_ends() -> None:
    pulses = digital_pulses(np.array([1, 0, 1, 0, 0, 0, 1], np.uint8), [0])[0]
    joined = merged(pulses, 1)
    assert (pairs(joined), joined.is_open.tolist()) == ([(0, 3), (6, 7)], [True, True])
    assert len(without_short(joined, 100)) == 2
    empty = digital_pulses(np.zeros(3, np.uint8), [0])[0]
    assert len(merged(empty, 5)) == len(without_short(empty, 5)) == 0
