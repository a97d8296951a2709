"""Keeps every n-th sample of a recording, after a filter has removed what the kept samples could not show.

The filter is a symmetric FIR (linear phase, its delay taken out again: zero phase), designed by the window method
with a Kaiser window (Kaiser 1974, "Nonrecursive digital filter design using the I0-sinh window function"; scipy's
`firwin`). Recordings pass through block by block.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import signal

from adamacs.core.errors import InvalidParameters

_SPAN = 20  # kept samples that the filter reaches to each side
_CUTOFF = 0.875  # of the kept samples' Nyquist frequency, where half of the amplitude passes
_BETA = 7.857  # of the Kaiser window: 80 dB
_CHUNK = 1 << 17  # samples filtered at once, about: their products stay in the processor's cache


@dataclass(frozen=True, eq=False)
class DecimationFilter:
    """How a recording is decimated; to be stored beside the result.

    Attributes
    ----------
    factor
        Every how many samples one is kept, from the first on.
    sample_rate, kept_rate
        Hz, before and after.
    cutoff
        Hz: half of the amplitude passes. Below `passband` all of it does to 0.02 %, above half the kept rate less than
        0.02 %. None where every sample is kept.
    passband
        Hz.
    taps
        float64, odd in number, symmetric, their sum 1.
    """

    factor: int
    sample_rate: float
    kept_rate: float
    cutoff: float | None
    passband: float
    taps: NDArray[np.float64]


def decimation_filter(sample_rate: float, factor: int) -> DecimationFilter:
    """Design the filter for keeping every `factor`-th sample of a recording at `sample_rate` (Hz).

    It has `40 * factor + 1` taps and 80 dB; from 3/4 of the kept samples' Nyquist frequency to the whole of it
    it goes from passing everything to passing nothing.

    Raises
    ------
    InvalidParameters
        The rate is not above 0, or the factor not 1 or more.
    """
    if not (np.isfinite(sample_rate) and sample_rate > 0):
        raise InvalidParameters(f"A recording has no sample rate of {sample_rate} Hz.")
    if factor != int(factor) or factor < 1:
        raise InvalidParameters(f"Every {factor}-th sample cannot be kept.", hint="A whole number, 1 or more.")
    factor, nyquist = int(factor), sample_rate / factor / 2
    if factor == 1:
        return DecimationFilter(1, sample_rate, sample_rate, None, nyquist, np.ones(1))
    taps = signal.firwin(2 * _SPAN * factor + 1, _CUTOFF * nyquist, window=("kaiser", _BETA), fs=sample_rate)
    cutoff, passband = _CUTOFF * nyquist, (2 * _CUTOFF - 1) * nyquist
    return DecimationFilter(factor, sample_rate, sample_rate / factor, cutoff, passband, taps)


def kept_samples(samples: int, factor: int) -> NDArray[np.int64]:
    """Return the indices of the kept samples, int64; divided by the sample rate they are their exact times (s)."""
    return np.arange(0, samples, factor, dtype=np.int64)


def decimate(blocks: Iterable[ArrayLike], how: DecimationFilter) -> Iterator[NDArray[np.float64]]:
    """Filter a recording and yield the kept samples.

    The result does not depend, to the last bit, on how the recording is divided. Beyond its ends it is thought to
    go on point-symmetrically, so that a constant and a slope stay what they are. A sample that is not finite spoils
    the kept ones within the reach of the filter.

    Parameters
    ----------
    blocks
        Consecutive parts of the recording, (sample,) or (sample, channel), of any real type; at least one sample.
    how
        From `decimation_filter`.

    Yields
    ------
    float64, (kept,) or (kept, channel): sample i of all that is yielded belongs to sample i * factor of the recording.
    """
    parts = (np.asarray(block, np.float64) for block in blocks)
    if how.factor == 1:
        yield from (part for part in parts if len(part))
        return
    reach = len(how.taps) // 2
    kept_per_chunk = max(1, _CHUNK // how.factor)
    for chunk in _chunks(_extended(parts, reach), kept_per_chunk * how.factor, 2 * reach):
        yield _filtered(chunk, how)


def _filtered(chunk: NDArray[np.float64], how: DecimationFilter) -> NDArray[np.float64]:
    """Return every `factor`-th sample of the filtered chunk, from the first place on where all taps have a sample.

    Written out, kept sample k is the sum over segments s of segment k + s of the chunk with segment s of the taps;
    all these products are one product of matrices, which is several times faster than one sum after the other.
    """
    kept = (len(chunk) - len(how.taps)) // how.factor + 1
    segments = -(-len(how.taps) // how.factor)
    taps = np.zeros(segments * how.factor)
    taps[: len(how.taps)] = how.taps
    missing = (kept + segments - 1) * how.factor - len(chunk)
    if missing > 0:  # under the taps that are 0
        chunk = np.concatenate([chunk, np.zeros((missing, *chunk.shape[1:]))])
    else:
        chunk = chunk[: len(chunk) + missing]
    parts = chunk.reshape(-1, how.factor, *chunk.shape[1:])
    products = np.tensordot(taps.reshape(segments, how.factor), parts, axes=(1, 1))
    total = products[0, :kept].copy()
    for segment in range(1, segments):
        total += products[segment, segment : segment + kept]
    return total


def _chunks(parts: Iterable[NDArray[np.float64]], step: int, overlap: int) -> Iterator[NDArray[np.float64]]:
    """Divide a recording anew: chunks of `step + overlap` samples, each beginning `step` after the one before."""
    waiting: list[NDArray[np.float64]] = []
    held = 0
    for part in parts:
        waiting.append(part)
        held += len(part)
        if held < step + overlap:
            continue
        whole = np.concatenate(waiting)
        while len(whole) >= step + overlap:
            yield whole[: step + overlap]
            whole = whole[step:]
        waiting, held = [whole], len(whole)
    rest = np.concatenate(waiting) if waiting else np.zeros(0)
    if len(rest) > overlap:
        yield rest


def _extended(parts: Iterable[NDArray[np.float64]], reach: int) -> Iterator[NDArray[np.float64]]:
    """Yield a recording with `reach` samples more at each end, each end's point reflection."""
    held: NDArray[np.float64] | None = None  # the last samples, enough to reflect the end
    begun = False
    for part in parts:
        held = part if held is None else np.concatenate([held, part])
        if len(held) <= reach:
            continue
        if not begun:
            yield _mirrored(held[: reach + 1], before=True, reach=reach)
            begun = True
        yield held[: len(held) - reach - 1]
        held = held[len(held) - reach - 1 :]
    if held is None or not len(held):
        raise InvalidParameters("A recording without a sample cannot be decimated.")
    if not begun:
        yield _mirrored(held, before=True, reach=reach)
    yield held
    yield _mirrored(held, before=False, reach=reach)


def _mirrored(samples: NDArray[np.float64], *, before: bool, reach: int) -> NDArray[np.float64]:
    """Return what lies beyond an end; a recording that is shorter than that is reflected to and fro."""
    if len(samples) == 1:
        return np.repeat(samples, reach, axis=0)
    widths = [(reach, 0) if before else (0, reach)] + [(0, 0)] * (samples.ndim - 1)
    padded = np.pad(samples, widths, mode="reflect", reflect_type="odd")
    return padded[:reach] if before else padded[-reach:]
