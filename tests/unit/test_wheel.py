"""The wheel: any walk below half a turn per sample comes back, through noise, falls and any division into blocks."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import signal

from adamacs.core.errors import InvalidParameters
from adamacs.demo.wheel import wheel_volts
from adamacs.modalities.behavior.numerics.wheel import Wheel, WheelCalibration, compute_speed

RATE = 20_000.0
AROUND = 47.1  # cm
bounded = settings(max_examples=200, deadline=None, derandomize=True)


def divided(volts: np.ndarray, sizes: list[int]) -> Iterator[np.ndarray]:
    """The recording in blocks of these sizes, over and over."""
    at = step = 0
    while at < len(volts):
        yield volts[at : at + sizes[step % len(sizes)]]
        at, step = at + sizes[step % len(sizes)], step + 1


def positions(wheel: Wheel, volts: np.ndarray, sizes: list[int] | None = None) -> np.ndarray:
    parts = list(wheel.positions(divided(volts, sizes) if sizes else [volts]))
    return np.concatenate(parts) if parts else np.zeros(0)


def run(seconds: float, rate: float = RATE, seed: int = 0) -> np.ndarray:
    """A mouse that runs, rests and turns back, cm: smooth, up to some 60 cm/s."""
    rng = np.random.default_rng(seed)
    count = int(seconds * rate)
    times = np.arange(count) / rate
    waves = [(rng.uniform(2, 12), rng.uniform(0.1, 1.0), rng.uniform(0, 6.3)) for _ in range(4)]
    return 12 * times + sum(a * np.sin(6.283 * f * times + p) for a, f, p in waves)


# --- any walk ----------------------------------------------------------------------------------------------------


@bounded
@given(
    steps=st.lists(st.floats(-0.499, 0.499), max_size=80),
    offset=st.floats(0, 1),
    direction=st.sampled_from((1, -1)),
    limits=st.sampled_from(((0.0, 5.0), (-10.0, 10.0), (0.2, 4.8))),
    sizes=st.lists(st.integers(1, 20), min_size=1, max_size=4),
)
def test_any_walk_below_half_a_turn_per_sample_reads_back(
    steps: list, offset: float, direction: int, limits: tuple[float, float], sizes: list
) -> None:
    low, high = limits
    truth = np.cumsum([0.0, *steps]) * AROUND
    how = {"circumference": AROUND, "low": low, "high": high, "direction": direction}
    volts = wheel_volts(truth, offset=offset, **how)
    read = positions(Wheel(WheelCalibration(fastest=np.inf, **how), 100.0), volts, sizes)
    assert read == pytest.approx(truth, abs=1e-9 * AROUND)


@bounded
@given(
    seed=st.integers(0, 10**6),
    direction=st.sampled_from((1, -1)),
    noise=st.floats(0, 0.02),
    caught=st.sampled_from((0.0, 0.5, 1.0)),
)
def test_noise_at_the_wrap_and_samples_within_the_fall_cost_no_turn(
    seed: int, direction: int, noise: float, caught: float
) -> None:
    truth = run(6.0, rate=2000.0, seed=seed)
    volts = wheel_volts(
        truth, circumference=AROUND, direction=direction, noise=noise, caught=caught, seed=seed, offset=0.3
    )
    wheel = Wheel(WheelCalibration(AROUND, direction=direction), 2000.0)
    read = positions(wheel, volts)
    assert len(read) == len(truth)
    error = np.abs(read - read[0] - (truth - truth[0]))
    assert error.max() < AROUND * (10 * noise / 5 + 0.024)  # a caught sample that looks like noise stays
    assert np.median(error) < AROUND * (4 * noise / 5 + 1e-9)
    assert wheel.jumps == 0


def test_a_wheel_that_trembles_at_the_wrap_stays_where_it_is() -> None:
    truth = np.full(50_000, 0.0)
    noisy = truth + np.random.default_rng(0).normal(0, 0.1, len(truth))  # cm
    volts = wheel_volts(noisy, circumference=AROUND)
    assert np.count_nonzero(np.abs(np.diff(volts)) > 2.5) > 1000  # it wraps to and fro
    read = positions(Wheel(WheelCalibration(AROUND), RATE), volts)
    assert read == pytest.approx(noisy - noisy[0], abs=1e-9)


def test_two_samples_within_one_fall_are_replaced_by_what_lies_between() -> None:
    truth = np.arange(400) * 0.01
    volts = wheel_volts(truth, circumference=AROUND, offset=1 - 2 / AROUND)
    wrap = int(np.flatnonzero(np.diff(volts) < -1)[0]) + 1
    volts[wrap], volts[wrap + 1] = 3.1, 1.2
    wheel = Wheel(WheelCalibration(AROUND), RATE)
    assert positions(wheel, volts) == pytest.approx(truth, abs=1e-9)
    assert (wheel.fallen, wheel.jumps, wheel.outside) == (2, 0, 0)


def test_falls_are_not_looked_for_where_the_animal_may_be_as_fast() -> None:
    truth = np.cumsum([0, 0.45, 0.45, 0.45, -0.4, -0.4]) * AROUND
    wheel = Wheel(WheelCalibration(AROUND), 10.0)
    assert positions(wheel, wheel_volts(truth, circumference=AROUND)) == pytest.approx(truth)
    assert (wheel.fallen, wheel.jumps) == (0, 0)


def test_jumps_that_nothing_explains_and_volts_out_of_range_are_counted() -> None:
    volts = np.concatenate([np.full(100, 1.0), np.full(100, 3.0), np.full(100, 5.4), np.full(100, -0.2)])
    wheel = Wheel(WheelCalibration(AROUND), RATE)
    read = positions(wheel, volts)
    assert (wheel.jumps, wheel.fallen, wheel.outside) == (2, 0, 200)  # from the top to the bottom is no way
    assert read[-1] == pytest.approx(0.8 * AROUND)


@bounded
@given(
    sizes=st.lists(st.integers(1, 300), min_size=1, max_size=6),
    seed=st.integers(0, 1000),
    wild=st.booleans(),
)
def test_positions_do_not_depend_on_how_the_recording_is_divided(sizes: list, seed: int, wild: bool) -> None:
    volts = wheel_volts(run(0.5, rate=2000.0, seed=seed) * 8, circumference=10.0, noise=0.05, caught=0.7, seed=seed)
    if wild:  # a loose wire
        volts[300:600] = np.random.default_rng(seed).uniform(0, 5, 300)
    whole, parts = Wheel(WheelCalibration(10.0), 2000.0), Wheel(WheelCalibration(10.0), 2000.0)
    assert positions(whole, volts).tobytes() == positions(parts, volts, sizes).tobytes()
    assert (whole.fallen, whole.jumps, whole.outside) == (parts.fallen, parts.jumps, parts.outside)


@pytest.mark.parametrize("count", range(6))
def test_the_shortest_recordings_have_as_many_positions_as_volts(count: int) -> None:
    assert len(positions(Wheel(WheelCalibration(AROUND), RATE), np.full(count, 2.0))) == count


@pytest.mark.parametrize(
    "wrong",
    (
        {"circumference": 0.0},
        {"circumference": float("nan")},
        {"low": 5.0},
        {"high": float("inf")},
        {"direction": 0},
        {"fastest": 0.0},
        {"fastest": float("nan")},
    ),
)
def test_a_calibration_that_no_wheel_has_is_refused(wrong: dict) -> None:
    with pytest.raises(InvalidParameters):
        WheelCalibration(**{"circumference": AROUND, **wrong})


def test_volts_that_are_not_finite_and_rates_that_are_none_are_refused() -> None:
    with pytest.raises(InvalidParameters, match="not finite"):
        positions(Wheel(WheelCalibration(AROUND), RATE), np.array([1.0, np.nan]))
    with pytest.raises(InvalidParameters, match="no sample rate of 0"):
        Wheel(WheelCalibration(AROUND), 0.0)


# --- speed -------------------------------------------------------------------------------------------------------


def test_a_cubic_has_its_exact_speed_to_both_ends() -> None:
    times = np.arange(400) / 100.0
    speed = compute_speed(3 + 20 * times - 4 * times**2 + times**3, 100.0)
    assert speed == pytest.approx(20 - 8 * times + 3 * times**2, abs=1e-8)


def test_speed_is_that_of_the_mouse_through_noise() -> None:
    truth = run(30.0, rate=100.0, seed=5)
    noisy = truth + np.random.default_rng(0).normal(0, 0.02, len(truth))
    error = compute_speed(noisy, 100.0) - np.gradient(truth, 0.01)
    assert np.sqrt(np.mean(error[50:-50] ** 2)) < 0.5  # cm/s


def test_speed_is_the_filter_that_it_says() -> None:
    position = np.cumsum(np.random.default_rng(0).normal(size=300))
    taps = signal.savgol_coeffs(51, 3, deriv=1, delta=0.005)
    assert compute_speed(position, 200.0, window=0.25)[25:-25] == pytest.approx(np.convolve(position, taps, "valid"))


@pytest.mark.parametrize("window", (0.0, 0.02, 100.0, float("inf"), float("nan")))
def test_a_window_that_does_not_fit_is_refused(window: float) -> None:
    with pytest.raises(InvalidParameters, match="A window of"):
        compute_speed(np.zeros(100), 100.0, window=window)
