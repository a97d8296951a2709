"""Decimation: what the kept samples cannot show is gone, the rest stays, and no division into blocks changes a bit."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import signal

from adamacs.core.errors import InvalidParameters
from adamacs.modalities.behavior.numerics import decimate as module
from adamacs.modalities.behavior.numerics.decimate import decimate, decimation_filter, kept_samples

bounded = settings(max_examples=100, deadline=None, derandomize=True)


def divided(values: np.ndarray, sizes: list[int]) -> Iterator[np.ndarray]:
    at = step = 0
    while at < len(values):
        yield values[at : at + sizes[step % len(sizes)]]
        at, step = at + sizes[step % len(sizes)], step + 1


def decimated(values: np.ndarray, factor: int, sizes: list[int] | None = None, rate: float = 20_000.0) -> np.ndarray:
    blocks = divided(values, sizes) if sizes else [values]
    return np.concatenate(list(decimate(blocks, decimation_filter(rate, factor))))


@pytest.mark.parametrize("factor", (2, 3, 10, 200))
def test_the_filter_passes_and_stops_what_it_says(factor: int) -> None:
    how = decimation_filter(20_000.0, factor)
    frequency, response = signal.freqz(how.taps, worN=1 << 16, fs=20_000.0)
    gain = np.abs(response)
    assert np.array_equal(how.taps, how.taps[::-1])
    assert how.taps.sum() == pytest.approx(1, abs=1e-12)
    assert np.abs(gain[frequency <= how.passband] - 1).max() < 2e-4
    assert gain[frequency >= how.kept_rate / 2].max() < 2e-4
    assert np.interp(how.cutoff, frequency, gain) == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize(("count", "factor"), ((4000, 4), (4001, 4), (4003, 7), (30_000, 200)))
def test_the_result_is_that_of_scipy_on_the_recording_continued_at_its_ends(count: int, factor: int) -> None:
    values = np.cumsum(np.random.default_rng(0).normal(size=count))
    taps = decimation_filter(20_000.0, factor).taps
    reach = len(taps) // 2
    continued = np.pad(values, reach, mode="reflect", reflect_type="odd")
    theirs = signal.upfirdn(taps, continued, 1, factor)[2 * reach // factor :][: -(-count // factor)]
    assert decimated(values, factor) == pytest.approx(theirs, abs=1e-9)


@bounded
@given(
    count=st.integers(1, 6000),
    factor=st.integers(1, 30),
    sizes=st.lists(st.integers(1, 900), min_size=1, max_size=5),
    channels=st.sampled_from((None, 1, 3)),
)
def test_no_division_into_blocks_changes_a_bit(count: int, factor: int, sizes: list[int], channels: int | None) -> None:
    shape = (count,) if channels is None else (count, channels)
    values = np.random.default_rng(count).normal(size=shape)
    kept, before = module._CHUNK, decimated(values, factor)
    assert len(before) == len(kept_samples(count, factor))
    module._CHUNK = 1000  # many chunks, as in a long recording
    try:
        whole, parts = decimated(values, factor), decimated(values, factor, sizes)
    finally:
        module._CHUNK = kept
    assert whole.tobytes() == parts.tobytes()
    assert whole.shape == parts.shape == (len(before), *shape[1:])
    assert whole == pytest.approx(before, abs=1e-12)


def test_channels_are_decimated_each_for_itself() -> None:
    values = np.random.default_rng(0).normal(size=(5000, 3))
    together = decimated(values, 10)
    for channel in range(3):  # which instructions sum them up is the processor's choice
        assert together[:, channel] == pytest.approx(decimated(values[:, channel], 10), rel=0, abs=1e-12)


@pytest.mark.parametrize("count", (1, 2, 5, 39, 40, 41, 400, 1601, 30_000))
def test_constants_and_slopes_stay_what_they_are_to_both_ends(count: int) -> None:
    factor = 40
    assert decimated(np.full(count, 3.25), factor) == pytest.approx(3.25, abs=1e-12)
    slope = 2.0 + 0.001 * np.arange(count)
    assert decimated(slope, factor) == pytest.approx(slope[::factor], abs=1e-9)


def test_kept_samples_have_no_delay_and_exact_times() -> None:
    rate, factor, count = 20_000.0, 200, 400_123
    times = np.arange(count) / rate
    wave = np.sin(2 * np.pi * 7.3 * times + 0.4)  # Hz, within the pass band
    kept = kept_samples(count, factor)
    assert kept.dtype == np.int64
    inner = slice(20, -20)
    assert decimated(wave, factor)[inner] == pytest.approx(wave[kept][inner], abs=1e-4)


def test_what_would_fold_back_is_gone() -> None:
    times = np.arange(200_000) / 20_000.0
    tone = np.sin(2 * np.pi * 93.0 * times)  # would appear at 7 Hz among samples at 100 Hz
    assert np.abs(decimated(tone, 200)[20:-20]).max() < 2e-4


def test_integers_are_taken_as_they_are() -> None:
    values = np.random.default_rng(0).integers(-30_000, 30_000, 5000).astype(np.int16)
    assert np.array_equal(decimated(values, 5), decimated(values.astype(np.float64), 5))


def test_twenty_minutes_at_20_khz_pass_in_less_than_100_mb() -> None:
    def recording() -> Iterator[np.ndarray]:
        for block in range(24):
            yield np.sin(np.arange(block * 1_000_000, (block + 1) * 1_000_000) * 1e-5)

    tracemalloc.start()
    kept = sum(map(len, decimate(recording(), decimation_filter(20_000.0, 200))))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept == 120_000
    assert peak < 100e6


@pytest.mark.parametrize(("rate", "factor"), ((0.0, 2), (float("nan"), 2), (100.0, 0), (100.0, -2), (100.0, 1.5)))
def test_what_cannot_be_decimated_is_refused(rate: float, factor: int) -> None:
    with pytest.raises(InvalidParameters):
        decimation_filter(rate, factor)


def test_an_empty_recording_is_refused() -> None:
    for blocks in ([], [np.zeros(0)]):
        with pytest.raises(InvalidParameters, match="without a sample"):
            list(decimate(blocks, decimation_filter(100.0, 2)))
