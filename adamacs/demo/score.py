"""How well an analysis recovered a synthetic scan: arrays in, a few honest numbers out.

The scorer knows no tool and no table. Give it what the database holds, and the truth that was written beside the
share. Registration aligns frames to a reference that itself lies somewhere off the resting tissue, so shifts and
masks carry one constant offset per plane; it is measured from the shifts and taken out before anything is compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from adamacs.core.errors import ProcessingFailed
from adamacs.demo.movie import Truth

Mask = tuple[ArrayLike, ArrayLike, ArrayLike]  # rows, columns (px) and weights of an ROI's pixels

ENOUGH_SPIKES = 15  # a cell that fired less cannot be expected to be found
SAME_CELL = 0.3  # intersection over union from which on an ROI is taken for a cell
SIGMA = 0.1  # s, of the Gaussian under which spike trains are compared


@dataclass(frozen=True)
class ScanScore:
    """What was recovered of one scan, or of several together.

    Attributes
    ----------
    cells_true
        True cells that fired at least `ENOUGH_SPIKES` spikes.
    cells_found
        Those of them that an ROI matches.
    rois, rois_matched
        ROIs given, and those that match a true cell, however often it fired. One cell matches one ROI at most.
    shift_r, shift_rmse_px
        Correlation of found with true shifts over both axes and all planes, and their difference (root mean
        square, px), the constant offset apart. Of several scans: the lowest correlation.
    ious, spike_rs, dff_rs
        Per found cell: intersection over union with its ROI; correlation of the spike trains, both smoothed with a
        Gaussian of 100 ms; correlation of fluorescence and true calcium.
    """

    cells_true: int
    cells_found: int
    rois: int
    rois_matched: int
    shift_r: float
    shift_rmse_px: float
    ious: tuple[float, ...]
    spike_rs: tuple[float, ...]
    dff_rs: tuple[float, ...]

    @property
    def recall(self) -> float:
        """Found among the cells that could be found."""
        return self.cells_found / self.cells_true if self.cells_true else float("nan")

    @property
    def precision(self) -> float:
        """True among the ROIs."""
        return self.rois_matched / self.rois if self.rois else float("nan")

    @property
    def median_iou(self) -> float:
        """Overlap of a typical found cell with its ROI."""
        return _median(self.ious)

    @property
    def spike_r(self) -> float:
        """Correlation of spike trains of a typical found cell, at 100 ms."""
        return _median(self.spike_rs)

    @property
    def dff_r(self) -> float:
        """Correlation of fluorescence with true calcium of a typical found cell."""
        return _median(self.dff_rs)


def score_scan(
    truth: Truth,
    *,
    shifts: ArrayLike,
    masks: Sequence[Mask],
    traces: ArrayLike,
    spikes: ArrayLike,
    fs: float,
    planes: ArrayLike | None = None,
) -> ScanScore:
    """Compare what an analysis found in a scan with what is there.

    Parameters
    ----------
    truth
        Of the scan.
    shifts
        (plane, frame, 2), or (frame, 2) of a single plane: how far (dy, dx) the tissue was found displaced from the
        reference, px. Positive is down and right, as in Suite2p's `yoff` and `xoff`.
    masks
        Per ROI: rows, columns and weights of its pixels.
    traces, spikes
        (roi, frame): fluorescence (best with neuropil subtracted) and deconvolved activity, any unit.
    fs
        Hz, of every plane.
    planes
        Per ROI the plane it lies in; all in the first where omitted.

    Raises
    ------
    ProcessingFailed
        The arrays do not fit each other, or the scan.
    """
    found = np.asarray(shifts, float)
    found = found[None] if found.ndim == 2 else found
    plane = np.zeros(len(masks), int) if planes is None else np.asarray(planes, int)
    activity = _per_roi(spikes, "spikes", len(masks), truth)
    fluorescence = _per_roi(traces, "traces", len(masks), truth)
    if found.shape != truth.shifts.shape or plane.shape != (len(masks),):
        raise ProcessingFailed(f"Shifts of {found.shape} do not fit the scan's {truth.shifts.shape}, or planes do not.")
    offsets = np.median(truth.shifts - found, axis=1)
    pairs = match(truth, masks, plane, offsets)
    enough = truth.spikes.sum(axis=1) >= ENOUGH_SPIKES
    good = [(cell, roi, iou) for cell, roi, iou in pairs if enough[cell]]
    smoothed = [(smooth(truth.spikes[cell], SIGMA * fs), smooth(activity[roi], SIGMA * fs)) for cell, roi, _ in good]
    r, rmse = compare_shifts(truth.shifts, found)
    return ScanScore(
        cells_true=int(enough.sum()),
        cells_found=len(good),
        rois=len(masks),
        rois_matched=len(pairs),
        shift_r=r,
        shift_rmse_px=rmse,
        ious=tuple(iou for _, _, iou in good),
        spike_rs=tuple(correlation(a, b) for a, b in smoothed),
        dff_rs=tuple(correlation(truth.calcium[cell], fluorescence[roi]) for cell, roi, _ in good),
    )


def pool(scores: Sequence[ScanScore]) -> ScanScore:
    """Return the score of several scans together."""
    return ScanScore(
        cells_true=sum(score.cells_true for score in scores),
        cells_found=sum(score.cells_found for score in scores),
        rois=sum(score.rois for score in scores),
        rois_matched=sum(score.rois_matched for score in scores),
        shift_r=min((score.shift_r for score in scores), default=float("nan")),
        shift_rmse_px=float(np.sqrt(np.mean([score.shift_rmse_px**2 for score in scores]))) if scores else float("nan"),
        ious=tuple(iou for score in scores for iou in score.ious),
        spike_rs=tuple(r for score in scores for r in score.spike_rs),
        dff_rs=tuple(r for score in scores for r in score.dff_rs),
    )


def compare_shifts(true: NDArray[Any], found: NDArray[Any]) -> tuple[float, float]:
    """Return correlation and root-mean-square difference (px) of shifts, (plane, frame, 2), offsets taken out."""
    a, b = (shifts - shifts.mean(axis=1, keepdims=True) for shifts in (true, found))
    return correlation(a.ravel(), b.ravel()), float(np.sqrt(np.mean((a - b) ** 2)))


def match(
    truth: Truth, masks: Sequence[Mask], planes: NDArray[Any], offsets: NDArray[Any]
) -> list[tuple[int, int, float]]:
    """Pair true cells with ROIs, the best overlap first, each used once.

    Parameters
    ----------
    truth, masks, planes
        As in `score_scan`.
    offsets
        (plane, 2): how far resting tissue lies displaced in each plane's reference, px.

    Returns
    -------
    Cell, ROI, and intersection over union of their pixels, for every pair above `SAME_CELL`.
    """
    cells = [_pixels(*truth.mask(cell)[:2]) for cell in range(len(truth.plane))]
    candidates: list[tuple[float, int, int]] = []
    for roi, (rows, columns, _) in enumerate(masks):
        dy, dx = np.rint(offsets[planes[roi]]).astype(int)
        pixels = _pixels(np.asarray(rows, int) - dy, np.asarray(columns, int) - dx)
        for cell in np.flatnonzero(truth.plane == planes[roi]).tolist():
            common = len(pixels & cells[cell])
            if common:
                iou = common / (len(pixels) + len(cells[cell]) - common)
                candidates.append((iou, cell, roi))
    pairs: list[tuple[int, int, float]] = []
    paired_cells: set[int] = set()
    paired_rois: set[int] = set()
    for iou, cell, roi in sorted(candidates, reverse=True):
        if iou >= SAME_CELL and cell not in paired_cells and roi not in paired_rois:
            paired_cells.add(cell)
            paired_rois.add(roi)
            pairs.append((cell, roi, iou))
    return sorted(pairs)


def smooth(trace: ArrayLike, sigma: float) -> NDArray[np.float64]:
    """Blur a trace with a Gaussian of `sigma` frames."""
    reach = max(int(np.ceil(4 * sigma)), 1)
    kernel = np.exp(-((np.arange(-reach, reach + 1) / sigma) ** 2) / 2)
    padded = np.pad(np.asarray(trace, float), reach)
    return np.convolve(padded, kernel / kernel.sum(), mode="valid")


def correlation(a: ArrayLike, b: ArrayLike) -> float:
    """Return Pearson's correlation; 0 where one of the two never changes."""
    x, y = (values - values.mean() for values in (np.asarray(a, float), np.asarray(b, float)))
    spread = np.sqrt(np.sum(x**2) * np.sum(y**2))
    return float(np.sum(x * y) / spread) if spread > 0 else 0.0


def _per_roi(values: ArrayLike, name: str, rois: int, truth: Truth) -> NDArray[np.float64]:
    array = np.asarray(values, float)
    expected = (rois, truth.spikes.shape[1])
    if array.size == 0 and rois == 0:
        return array.reshape(expected)
    if array.shape != expected:
        raise ProcessingFailed(f"{name} has the shape {array.shape}, not {expected}: one row per ROI and all frames.")
    return array


def _pixels(rows: ArrayLike, columns: ArrayLike) -> set[tuple[int, int]]:
    return set(zip(np.asarray(rows, int).tolist(), np.asarray(columns, int).tolist()))


def _median(values: Sequence[float]) -> float:
    return float(np.median(values)) if values else float("nan")
