"""The small mathematics of imaging: arrays in, arrays or numbers out. No table, no file, no tool."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

# Rows and columns of one block: first, and one past the last (px).
Block = tuple[tuple[int, int], tuple[int, int]]


def block_layout(blocks: Iterable[Block]) -> dict[str, int]:
    """Describe a grid of registration blocks: how large they are and how many stand beside and above each other.

    Parameters
    ----------
    blocks
        Of each block, the (first, one past the last) row and column (px).

    Returns
    -------
    dict
        `block_height` and `block_width` (px), `block_count_y` and `block_count_x`.
    """
    rows, columns = zip(*blocks)
    (top, bottom), (left, right) = rows[0], columns[0]
    return {
        "block_height": bottom - top,
        "block_width": right - left,
        "block_count_y": len(set(rows)),
        "block_count_x": len(set(columns)),
    }


def join_masks(
    masks: Sequence[tuple[ArrayLike, ArrayLike, ArrayLike]], dtype: np.dtype[Any]
) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Put the pixels of all masks behind one another, so that they rest in one array.

    Parameters
    ----------
    masks
        Of each mask its columns, rows (px) and weights, (pixel,) each.
    dtype
        With the fields `x`, `y` and `weight`.

    Returns
    -------
    pixels
        (pixel,) of `dtype`.
    bounds
        int64, (mask + 1,): the pixels of mask i are `pixels[bounds[i]:bounds[i + 1]]`.
    """
    lengths = [np.size(x) for x, _, _ in masks]
    bounds = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]).astype(np.int64)
    pixels = np.empty(int(bounds[-1]), dtype=dtype)
    for (x, y, weight), start, stop in zip(masks, bounds[:-1], bounds[1:]):
        part = pixels[start:stop]
        part["x"], part["y"], part["weight"] = x, y, weight
    return pixels, bounds


def mask_area(row: Mapping[str, Any]) -> float | None:
    """Return how large a mask is in the tissue (µm²), or None where the size of the field is not known.

    Parameters
    ----------
    row
        `mask_npix`, and of the field `px_height`, `px_width`, `um_height`, `um_width`.
    """
    if not row["um_height"] or not row["um_width"]:
        return None
    pixel = (row["um_height"] / row["px_height"]) * (row["um_width"] / row["px_width"])
    return float(row["mask_npix"] * pixel)


def roundness(x: ArrayLike, y: ArrayLike) -> float:
    """Tell a disc from a line by the shape of a mask: short axis over long axis, 1 for a disc, towards 0 for a line.

    The axes are those of the ellipse with the same covariance (square roots of its eigenvalues). Each pixel counts as
    a square rather than a point, which adds 1/12 px² along both axes: one pixel is as round as it gets, and a row of
    pixels is thin but not without width.

    Parameters
    ----------
    x, y
        int, (pixel,): columns and rows of the mask (px).
    """
    points = np.stack([np.asarray(x, dtype=float), np.asarray(y, dtype=float)])
    covariance = np.cov(points, bias=True) + np.eye(2) / 12
    short, long = np.linalg.eigvalsh(covariance)
    return float(np.sqrt(short / long))


def skewness(traces: ArrayLike) -> NDArray[np.float64]:
    """Return how far each trace leans to high values: well above 0 for a cell with transients, about 0 for noise.

    The third standardised moment, over all frames and without correction for their number. Missing samples (NaN) do not
    count. A trace that never changes leans nowhere: 0.

    Parameters
    ----------
    traces
        (roi, frame).
    """
    found = np.zeros(len(np.asanyarray(traces)))
    for index, deviation in enumerate(_deviations(traces)):
        variance = np.mean(deviation**2)
        if variance > 0:
            found[index] = np.mean(deviation**3) / variance**1.5
    return found


def spread(traces: ArrayLike) -> NDArray[np.float64]:
    """Return the standard deviation of each trace, in its own units; 0 where it never changes.

    Over all frames and without correction for their number. Missing samples (NaN) do not count.

    Parameters
    ----------
    traces
        (roi, frame).
    """
    return np.array([np.sqrt(np.mean(deviation**2)) for deviation in _deviations(traces)], dtype=float)


def _deviations(traces: ArrayLike) -> Iterator[NDArray[np.float64]]:
    """Yield how far the samples of each trace lie from their mean; of a trace without any, one that lies on it."""
    for trace in np.asanyarray(traces):  # one at a time: the array may be larger than memory
        present = np.asarray(trace, dtype=float)
        present = present[~np.isnan(present)]
        yield present - present.mean() if present.size else np.zeros(1)


def dff(fluorescence: ArrayLike, rate: float, *, window: float = 60.0, percentile: float = 8.0) -> NDArray[np.float64]:
    """Return the relative change of fluorescence against its slow baseline, dF/F.

    The baseline of a frame is a low percentile of the window around it, computed ten times per window and drawn
    through in between; at both ends it is that of the outermost whole window. A missing sample (NaN) takes no part.

    Parameters
    ----------
    fluorescence
        (frame,) or (roi, frame), arbitrary units, neuropil subtracted or not.
    rate
        Frames per second (Hz).
    window
        Length of the window (s); a recording that is shorter is one window.
    percentile
        0 to 100.

    Returns
    -------
    float64, in the shape of `fluorescence`; NaN where the sample is missing, and where the baseline is not above zero,
    because a change relative to it would mean nothing.
    """
    traces = np.asarray(fluorescence, dtype=float)
    if traces.size == 0:
        return traces.copy()
    frames = traces.shape[-1]
    length = int(np.clip(round(window * rate), 1, frames))
    starts = np.unique(np.append(np.arange(0, frames - length + 1, max(length // 10, 1)), frames - length))
    rows = traces.reshape(-1, frames)
    levels = np.stack([_percentile(rows[:, start : start + length], percentile) for start in starts], axis=-1)
    centers = starts + (length - 1) / 2
    baseline = np.reshape([_line_through(centers, level, frames) for level in levels], traces.shape)
    return np.divide(traces - baseline, baseline, out=np.full_like(traces, np.nan), where=baseline > 0)


def _percentile(windows: NDArray[np.float64], percentile: float) -> NDArray[np.float64]:
    """Return a percentile of each row's samples; NaN where all are missing."""
    found: NDArray[np.float64] = np.percentile(windows, percentile, axis=1)
    for row in np.flatnonzero(np.isnan(found)):  # few: NumPy's own way around NaN takes every row one by one
        present = windows[row][~np.isnan(windows[row])]
        if present.size:
            found[row] = np.percentile(present, percentile)
    return found


def _line_through(places: NDArray[np.float64], values: NDArray[np.float64], frames: int) -> NDArray[np.float64]:
    """Draw a line over all frames through the values that are there; NaN where none is."""
    known = ~np.isnan(values)
    if not known.any():
        return np.full(frames, np.nan)
    return np.interp(np.arange(frames), places[known], values[known])


def corners(fields: Sequence[Any]) -> list[tuple[int, int]]:
    """Return where the upper left corners of fields lie relative to each other, (y, x) in px of the first field.

    Parameters
    ----------
    fields
        With `x`, `y` (µm, middle), `um_height`, `um_width` (µm), `px_height` and `px_width`; where one of them does not
        say where it lies, all corners are 0.
    """
    if any(None in (field.x, field.y, field.um_height, field.um_width) for field in fields):
        return [(0, 0)] * len(fields)
    top = [field.y - field.um_height / 2 for field in fields]
    left = [field.x - field.um_width / 2 for field in fields]
    row, column = fields[0].um_height / fields[0].px_height, fields[0].um_width / fields[0].px_width
    pairs = zip(top, left, strict=True)
    return [(round((y - min(top)) / row), round((x - min(left)) / column)) for y, x in pairs]
