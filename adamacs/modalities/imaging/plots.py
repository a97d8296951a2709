"""Pictures of one processed scan, each onto an Axes that the caller brings.

A KEY restricts to one curation of one scan (`session_id`, `scan_id`, `paramset_idx`, `curation_id`); where a scan
has several fields, `field_idx` chooses one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from adamacs.modalities.imaging import numerics
from adamacs.modalities.imaging import tables as _tables

Key = Mapping[str, Any]
tables: Any = _tables  # rows, columns and operators exist in the database, not in types

CELL = "#e8a33d"
OTHER = "#5aa9d6"
INK = "#222222"


def plot_field(axes: Axes, key: Key) -> None:
    """Draw the mean image of a field with the outline of every mask: cells in orange, other masks in blue."""
    image = np.asarray((tables.MotionCorrection.Summary & key).fetch1("average_image"))
    here = tables.Segmentation.Mask & key
    masks = here.to_dicts(order_by="mask")
    cells = set((tables.MaskClassification.MaskType & key & here.proj()).to_arrays("mask").tolist())
    low, high = np.nanpercentile(image, (1, 99.7))
    axes.imshow(image, cmap="gray", vmin=low, vmax=high, interpolation="nearest")
    for chosen, colour in ((True, CELL), (False, OTHER)):
        lines = [_outline(row, image.shape) for row in masks if (row["mask"] in cells) is chosen]
        segments = [segment for line in lines for segment in line]
        axes.add_collection(LineCollection(segments, colors=colour, linewidths=0.9))
    axes.set_title(f"{len(cells)} cells (orange), {len(masks) - len(cells)} other masks (blue)")
    axes.set_xticks([])
    axes.set_yticks([])
    _scale_bar(axes, key, image.shape)


def plot_traces(axes: Axes, key: Key, *, masks: int = 12, seconds: float | None = None) -> None:
    """Draw dF/F of the most active cells, one above the other, with the inferred activity below each.

    Where no mask was accepted as a cell, masks are drawn, and the title says so.

    Parameters
    ----------
    masks
        How many cells.
    seconds
        How much of the scan, from its start; all of it by default.
    """
    rate = (tables.ScanInfo & key).fetch1("fps")
    here = (tables.Segmentation.Mask & key).proj()
    cells = (tables.MaskClassification.MaskType & key & here).proj()
    traces = tables.Fluorescence.Trace * tables.Activity.Trace & key & here
    rows = (traces & cells if cells else traces).to_dicts(order_by="mask")
    stop = None if seconds is None else max(2, int(seconds * rate))
    chosen = sorted(rows, key=lambda row: -float(np.nansum(np.asarray(row["activity_trace"]))))[:masks]
    share = tables.neuropil_coefficient(key)
    for level, row in enumerate(chosen):
        corrected = np.asarray(row["fluorescence"]) - share * np.asarray(row["neuropil_fluorescence"])
        dff = numerics.dff(corrected, rate)[:stop]
        spikes = row["activity_trace"][:stop]
        time = np.arange(len(dff)) / rate
        axes.plot(time, level + 0.75 * _unit(dff), color=INK, linewidth=0.6)
        axes.vlines(time, level - 0.18, level - 0.18 + 0.16 * _unit(spikes), color=CELL, linewidth=0.7)
    axes.set_yticks(range(len(chosen)), [str(row["mask"]) for row in chosen])
    axes.set_ylabel("mask")
    axes.set_xlabel("time (s)")
    of_whom = "" if cells else ", no mask was accepted: all masks"
    axes.set_title(f"dF/F (scaled to its maximum) and inferred activity{of_whom}")
    axes.margins(x=0)


def plot_motion(axes: Axes, key: Key) -> None:
    """Draw how far the tissue moved in every frame, in pixels."""
    rate = (tables.ScanInfo & key).fetch1("fps")
    row = (tables.MotionCorrection.RigidMotionCorrection & key).fetch1()
    for name, colour in (("y_shifts", INK), ("x_shifts", OTHER)):
        shifts = np.asarray(row[name])
        axes.plot(np.arange(len(shifts)) / rate, shifts, color=colour, linewidth=0.6, label=name[0])
    axes.set_xlabel("time (s)")
    axes.set_ylabel("shift (px)")
    axes.set_title("motion correction")
    axes.legend(loc="upper right", frameon=False, ncols=2)
    axes.margins(x=0)


def plot_spikes(axes: Axes, key: Key) -> None:
    """Draw the inferred activity of every mask as a raster, each scaled to its own maximum."""
    rate = (tables.ScanInfo & key).fetch1("fps")
    stored, first = (tables.Activity.Field & key).fetch1("activity_trace", "first_mask")
    activity = np.asarray(stored)
    scale = np.fmax.reduce(activity, axis=1, keepdims=True) if activity.size else np.ones((len(activity), 1))
    raster = np.divide(activity, scale, out=np.zeros_like(activity), where=scale > 0)
    extent = (0.0, activity.shape[1] / rate, first + len(activity) - 0.5, first - 0.5)
    axes.imshow(raster, aspect="auto", cmap="magma", vmin=0, vmax=0.5, extent=extent, interpolation="nearest")
    axes.set_xlabel("time (s)")
    axes.set_ylabel("mask")
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_title("inferred activity (each mask scaled to its maximum)")


def _outline(row: Mapping[str, Any], shape: tuple[int, ...]) -> list[NDArray[np.float64]]:
    """Return the edges between a mask's pixels and what is not of it, as line segments (x, y)."""
    inside = np.zeros((shape[0] + 2, shape[1] + 2), bool)
    inside[np.asarray(row["mask_ypix"]) + 1, np.asarray(row["mask_xpix"]) + 1] = True
    segments = []
    for axis in (0, 1):
        y, x = (edge - 0.5 for edge in np.nonzero(np.diff(inside.astype("i1"), axis=axis)))
        across = (np.stack([x - 1, y], -1), np.stack([x, y], -1))
        down = (np.stack([x, y - 1], -1), np.stack([x, y], -1))
        segments += list(np.stack(across if axis == 0 else down, axis=1))
    return segments


def _scale_bar(axes: Axes, key: Key, shape: tuple[int, ...]) -> None:
    width = (tables.ScanInfo.Field & key).fetch1("um_width")
    if not width:
        return
    length = next(size for size in (200, 100, 50, 20, 10, 5, 2, 1) if size <= width / 4 or size == 1)
    pixels = length * shape[1] / width
    y, x = shape[0] * 0.95, shape[1] * 0.04
    axes.plot([x, x + pixels], [y, y], color="white", linewidth=2.5)
    axes.text(x, y - shape[0] * 0.02, f"{length} µm", color="white", va="bottom", ha="left", fontsize=8)


def _unit(values: NDArray[Any]) -> NDArray[np.float64]:
    """Scale from 0 to 1; what is NaN stays NaN, and the rest does not heed it."""
    values = np.asarray(values, dtype=float)
    low, high = (limit.reduce(values, initial=np.nan) for limit in (np.fmin, np.fmax))
    return (values - low) / (high - low) if high > low else np.where(np.isnan(values), np.nan, 0.0)
