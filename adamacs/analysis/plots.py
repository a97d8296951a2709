"""Pictures of what happened around events, each onto an Axes that the caller brings.

What they take is what `peri_event` returned.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.image import AxesImage
from numpy.typing import NDArray

if TYPE_CHECKING:
    import xarray as xr

# The palette of Okabe and Ito, which people who confuse colours can tell apart; its yellow is too light for lines.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
INK = "#222222"
_BRIGHTEST = 99.0  # percentile of the changes at which the colours of a heat map end


def plot_average(axes: Axes, found: xr.Dataset, *, cell: int | None = None) -> None:
    """Draw the average around events for each condition, and its standard error, where it was told, as a band.

    Parameters
    ----------
    found
        Of cells, the wheel or points.
    cell
        The number of a mask. By default, of several cells the mean over cells is drawn, and as a band its standard
        error over cells.
    """
    points = "rate" in found
    shown = found["rate" if points else "average"]
    value, error, of_whom = shown, found.get("sem"), "events"
    if "cell" in shown.dims:
        if cell is None and found.sizes["cell"] > 1:
            value, of_whom = shown.mean("cell"), "cells"
            error = shown.std("cell", ddof=1) / np.sqrt(shown.notnull().sum("cell"))
        else:
            chosen = found["cell"].values[0] if cell is None else cell
            value, error = shown.sel(cell=chosen), None if error is None else error.sel(cell=chosen)
    lag = found["lag"].values
    for number, name in enumerate(found["condition"].values):
        colour, middle = COLOURS[number % len(COLOURS)], value.values[number]
        if error is not None:
            wide = error.values[number]
            axes.fill_between(lag, middle - wide, middle + wide, color=colour, alpha=0.25, linewidth=0)
        axes.plot(lag, middle, color=colour, linewidth=1.6, label=_label(found, number, name))
    _around_event(axes, found)
    what, unit = shown.attrs["long_name"], shown.attrs["units"]
    axes.set_ylabel(what if unit == "1" else f"{what} ({unit})")
    band = "" if error is None else f" ± SEM over {of_whom}"
    axes.set_title(f"mean{band}" + (f", cell {cell}" if cell is not None else ""), fontsize="medium")
    if found.sizes["condition"] > 1:
        axes.legend(frameon=False, fontsize="small")


def plot_raster(axes: Axes, found: xr.Dataset) -> None:
    """Draw every point as a tick in the row of its event; conditions above each other, within one in order of time.

    Parameters
    ----------
    found
        Of points.
    """
    condition = found["event_condition"].values
    order = np.flatnonzero(condition >= 0)
    order = order[np.argsort(condition[order], kind="stable")]
    row = np.full(found.sizes["event"], -1)
    row[order] = np.arange(len(order))
    event, lag = found["point_event"].values, found["point_lag"].values
    middles = []
    for number in range(found.sizes["condition"]):
        own = np.flatnonzero(condition[event] == number)
        colour = COLOURS[number % len(COLOURS)]
        axes.vlines(lag[own], row[event[own]] - 0.45, row[event[own]] + 0.45, color=colour, linewidth=1.2)
        rows = row[condition == number]
        middles.append(float(rows.mean()) if len(rows) else np.nan)
        if number and len(rows):
            axes.axhline(rows.min() - 0.5, color="#bbbbbb", linewidth=0.6)
    if found.sizes["condition"] > 1:
        axes.set_yticks([at for at in middles if np.isfinite(at)])
        names = zip(found["condition"].values, middles, strict=True)
        axes.set_yticklabels([str(name) for name, at in names if np.isfinite(at)])
    axes.set_ylim(max(len(order), 1) - 0.5, -0.5)
    _around_event(axes, found)
    axes.set_ylabel(f"{len(order)} events")
    axes.set_title(f"{found.attrs['values']}, each event a row", fontsize="medium")


def plot_cells(axes: Axes, found: xr.Dataset, *, condition: Any = None, scaled: bool = False) -> AxesImage:
    """Draw how every cell's average changes as a heat map, a cell a row.

    What is drawn is the average less its mean before the event (over all lags where the window begins at the event or
    later). Cells are sorted by the lag at which this change is greatest, the earliest on top, those without any at the
    bottom.

    Parameters
    ----------
    found
        Of cells.
    condition
        Of which condition; by default the first.
    scaled
        Whether each cell is divided by its greatest change, to compare times instead of sizes.

    Returns
    -------
    AxesImage
        For a colour bar.
    """
    name = found["condition"].values[0] if condition is None else condition
    lag = found["lag"].values
    change = changes(found["average"].sel(condition=name).values, lag)
    greatest = np.argmax(np.where(np.isnan(change), -np.inf, change), axis=1)
    greatest[np.isnan(change).all(axis=1)] = len(lag)
    change = change[np.argsort(greatest, kind="stable")]
    if scaled:
        size = np.nanmax(np.abs(change), axis=1, keepdims=True, initial=0)
        change = np.divide(change, size, out=np.zeros_like(change), where=size > 0)
    known = np.abs(change[np.isfinite(change)])
    limit = 1.0 if scaled or not known.size else float(np.percentile(known, _BRIGHTEST)) or 1.0
    half = (lag[1] - lag[0]) / 2 if len(lag) > 1 else 0.5
    extent = (lag[0] - half, lag[-1] + half, len(change) - 0.5, -0.5)
    image = axes.imshow(
        change, aspect="auto", extent=extent, cmap="RdBu_r", vmin=-limit, vmax=limit, interpolation="nearest"
    )
    _around_event(axes, found)
    axes.set_ylabel("cells, by the time of their greatest change")
    number = found["condition"].values.tolist().index(name)
    share = ", share of the greatest" if scaled else ""
    axes.set_title(f"change of {found.attrs['values']}{share}: {_label(found, number, name)}", fontsize="medium")
    return image


def changes(average: NDArray[np.float64], lag: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return averages (cell, lag) less their mean before the event, or over all lags where there are none before it."""
    before = lag < 0 if (lag < 0).any() else np.ones(len(lag), bool)
    known = ~np.isnan(average[:, before])
    total = np.where(known, average[:, before], 0).sum(axis=1)
    number = known.sum(axis=1)
    return average - np.divide(total, number, out=np.full(len(average), np.nan), where=number > 0)[:, None]


def _label(found: xr.Dataset, number: int, name: Any) -> str:
    return f"{name} ({int(np.count_nonzero(found['event_condition'].values == number))})"


def _around_event(axes: Axes, found: xr.Dataset) -> None:
    lag = found["lag"].values
    axes.axvline(0, color=INK, linewidth=0.8, linestyle=(0, (4, 3)))
    half = (lag[1] - lag[0]) / 2 if len(lag) > 1 and "rate" in found else 0.0
    axes.set_xlim(lag[0] - half, lag[-1] + half)
    axes.set_xlabel(f"time from {found.attrs['alignment'] or found.attrs['event_type']} (s)")
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
