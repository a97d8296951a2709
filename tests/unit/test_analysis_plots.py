"""Pictures around events show what was asked for: lines are the averages, ticks the points, rows the sorted cells."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.figure import Figure

from adamacs.analysis import plots

LAG = np.arange(-2, 4) / 2
EVENTS = {"alignment": "", "event_type": "cue"}
CONDITION = np.array([1, 0, 1, -1])


def of_events():
    return {"event_condition": ("event", CONDITION)}


@pytest.fixture
def cells():
    """Three cells that are greatest one after the other, the last first, in two conditions."""
    import xarray as xr

    average = np.zeros((2, 3, len(LAG)))
    average[:, [0, 1, 2], [5, 4, 3]] = [[4.0, 2.0, 1.0], [8.0, 4.0, 2.0]]
    average += np.array([10.0, 20.0, 30.0])[:, None]
    data = {
        "average": (("condition", "cell", "lag"), average, {"units": "a.u.", "long_name": "activity"}),
        "sem": (("condition", "cell", "lag"), np.full(average.shape, 0.5)),
    }
    coordinates = {"condition": ["hit", "miss"], "cell": [4, 5, 9], "lag": LAG, **of_events()}
    return xr.Dataset(data, coordinates, {**EVENTS, "values": "activity"})


@pytest.fixture
def points():
    import xarray as xr

    rate = np.array([[0.0, 0, 0, 2, 1, 0], [0, 0, 0, 4, 3, 0]])
    data = {
        "rate": (("condition", "lag"), rate, {"units": "Hz", "long_name": "rate of lick"}),
        "sem": (("condition", "lag"), rate / 10),
        "point_event": ("point", np.array([0, 1, 2, 2, 3])),
        "point_lag": ("point", np.array([0.1, 0.2, 0.3, 0.4, 0.5])),
    }
    coordinates = {"condition": ["hit", "miss"], "lag": LAG, **of_events()}
    return xr.Dataset(data, coordinates, {**EVENTS, "values": "lick"})


def drawn(plot, found, **how):
    axes = Figure().subplots()
    plot(axes, found, **how)
    return axes


def of_label(axes):
    return {line.get_label(): line for line in axes.lines if not line.get_label().startswith("_")}


def test_a_line_is_the_average_of_a_cell_and_its_band_the_error(cells):
    axes = drawn(plots.plot_average, cells, cell=5)
    lines = of_label(axes)
    assert list(lines) == ["hit (1)", "miss (2)"], "with how many events each is of"
    np.testing.assert_array_equal(lines["miss (2)"].get_ydata(), cells["average"].sel(cell=5, condition="miss"))
    np.testing.assert_array_equal(lines["miss (2)"].get_xdata(), LAG)
    band = axes.collections[1].get_paths()[0].vertices[:, 1]
    assert (band.min(), band.max()) == (19.5, 24.5)
    assert axes.get_ylabel() == "activity (a.u.)"
    assert axes.get_xlabel() == "time from cue (s)"


def test_without_a_cell_the_mean_over_cells_is_drawn_with_their_error(cells):
    axes = drawn(plots.plot_average, cells)
    np.testing.assert_allclose(
        of_label(axes)["hit (1)"].get_ydata(), cells["average"].sel(condition="hit").mean("cell")
    )
    band = axes.collections[0].get_paths()[0].vertices
    at = band[np.isclose(band[:, 0], LAG[0]), 1]
    assert at.max() - 20 == pytest.approx(10 / np.sqrt(3))
    assert "over cells" in axes.get_title()


def test_a_rate_is_drawn_with_its_error_over_events(points):
    axes = drawn(plots.plot_average, points)
    np.testing.assert_array_equal(of_label(axes)["miss (2)"].get_ydata(), points["rate"].sel(condition="miss"))
    assert axes.get_ylabel() == "rate of lick (Hz)"


def test_every_point_is_a_tick_in_the_row_of_its_event_sorted_by_condition(points):
    axes = drawn(plots.plot_raster, points)
    ticks = [[tuple(line.mean(axis=0)) for line in found.get_segments()] for found in axes.collections]
    np.testing.assert_allclose(ticks[0], [(0.2, 0)])
    np.testing.assert_allclose(ticks[1], [(0.1, 1), (0.3, 2), (0.4, 2)])
    assert [label.get_text() for label in axes.get_yticklabels()] == ["hit", "miss"]
    assert axes.get_ylabel() == "3 events"


def test_cells_are_sorted_by_when_they_change_most_from_before_the_event(cells):
    (image,) = drawn(plots.plot_cells, cells, condition="miss").images
    expected = np.zeros((3, len(LAG)))
    expected[[0, 1, 2], [3, 4, 5]] = [2, 4, 8]
    np.testing.assert_allclose(image.get_array(), expected)
    (image,) = drawn(plots.plot_cells, cells, scaled=True).images
    np.testing.assert_allclose(image.get_array().max(axis=1), 1)
    assert tuple(image.get_extent()) == (-1.25, 1.75, 2.5, -0.5)


def test_cells_without_a_known_change_are_blank_at_the_bottom(cells):
    cells["average"].values[0, 0] = np.nan
    cells["average"].values[0, 1, :2] = np.nan
    (image,) = drawn(plots.plot_cells, cells).images
    blank = np.isnan(np.ma.filled(image.get_array(), np.nan))
    assert blank.sum(axis=1).tolist() == [0, 6, 6], "no change is known without a value before the event"
