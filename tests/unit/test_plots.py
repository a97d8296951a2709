"""Pictures show what the rows hold: every outline encloses its mask, every line is the shifts that were stored."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure

from adamacs.modalities.imaging import plots

KEY = {"scan_id": "scan9FY6AIRM", "paramset_idx": 0, "curation_id": 1, "field_idx": 0}
SHAPE = (12, 16)
RATE = 8.0
FRAMES = 40
MASKS = {  # as pictures: a square on the corner of the image, a ring, two pixels that touch at a corner, a line
    0: [(y, x) for y in range(3) for x in range(4)],
    1: [(y, x) for y in range(5, 8) for x in range(5, 8) if (y, x) != (6, 6)],
    2: [(9, 2), (10, 3)],
    3: [(11, x) for x in range(8, 16)],
}
CELLS = (0, 1)


class Rows:
    """Rows that restrict as a table does."""

    def __init__(self, *rows):
        self.rows = rows

    def __and__(self, other):
        others = other.rows if isinstance(other, Rows) else [other]
        return Rows(*(row for row in self.rows if any(_agree(row, one) for one in others)))

    def proj(self):
        return Rows(*({name: row[name] for name in (*KEY, "mask") if name in row} for row in self.rows))

    def fetch1(self, *names):
        (row,) = self.rows
        values = tuple(row[name] for name in names)
        return values[0] if len(names) == 1 else values or row

    def to_dicts(self, order_by):
        return sorted(self.rows, key=lambda row: row[order_by])

    def to_arrays(self, name):
        return np.array([row[name] for row in self.rows])


def _agree(row, other):
    """Tell whether two rows say the same in the columns that both have."""
    return all(row[name] == other[name] for name in row.keys() & other.keys() if not isinstance(row[name], np.ndarray))


@pytest.fixture
def rows(monkeypatch):
    """One field of one scan: an image, four masks of which two are cells, shifts and traces."""
    random = np.random.default_rng(3)
    shifts = {name: random.normal(size=FRAMES).astype("f4") for name in ("y_shifts", "x_shifts")}
    masks = []
    for number, pixels in MASKS.items():
        ypix, xpix = np.array(pixels).T
        masks.append({**KEY, "mask": number, "mask_ypix": ypix, "mask_xpix": xpix})
    info = Rows({**KEY, "fps": RATE})
    info.Field = Rows({**KEY, "um_width": 160.0})
    activity = np.abs(random.normal(size=(len(MASKS), FRAMES))).astype("f4")
    told = SimpleNamespace(
        ScanInfo=info,
        MotionCorrection=SimpleNamespace(
            Summary=Rows({**KEY, "average_image": random.normal(size=SHAPE)}),
            RigidMotionCorrection=Rows({**KEY, **shifts}),
        ),
        Segmentation=SimpleNamespace(Mask=Rows(*masks)),
        MaskClassification=SimpleNamespace(MaskType=Rows(*({**KEY, "mask": number} for number in CELLS))),
        Activity=SimpleNamespace(Field=Rows({**KEY, "activity_trace": activity, "first_mask": 0})),
        shifts=shifts,
        activity=activity,
    )
    monkeypatch.setattr(plots, "tables", told)
    return told


def drawn(plot):
    axes = Figure().subplots()
    plot(axes, KEY)
    return axes


def enclosed(segments):
    """Return the pixels that outlines enclose: those with an odd number of upright edges to their left."""
    upright = [(a[0], min(a[1], b[1])) for a, b in segments if a[0] == b[0]]
    level = [(min(a[0], b[0]), a[1]) for a, b in segments if a[1] == b[1]]
    assert len(upright) + len(level) == len(segments)
    assert all(np.ptp([a, b], axis=0).sum() == 1 for a, b in segments)  # each is the side of one pixel
    by_side = {
        (y, x)
        for y in range(SHAPE[0])
        for x in range(SHAPE[1])
        if sum(top == y - 0.5 and at < x for at, top in upright) % 2
    }
    from_above = {
        (y, x)
        for y in range(SHAPE[0])
        for x in range(SHAPE[1])
        if sum(left == x - 0.5 and at < y for left, at in level) % 2
    }
    assert by_side == from_above
    return by_side


def test_outlines_enclose_the_masks_and_nothing_else(rows):
    cells, others = drawn(plots.plot_field).collections
    for collection, numbers, colour in ((cells, CELLS, plots.CELL), (others, (2, 3), plots.OTHER)):
        expected = {pixel for number in numbers for pixel in MASKS[number]}
        assert enclosed([np.asarray(segment) for segment in collection.get_segments()]) == expected
        assert np.allclose(collection.get_color(), [to_rgba(colour)])


def test_a_field_shows_its_mean_image_how_many_masks_and_a_scale(rows):
    axes = drawn(plots.plot_field)
    (image,) = axes.images
    np.testing.assert_array_equal(image.get_array(), rows.MotionCorrection.Summary.fetch1("average_image"))
    assert axes.get_title() == "2 cells (orange), 2 other masks (blue)"
    (bar,), (words,) = axes.lines, axes.texts
    length = float(words.get_text().removesuffix(" µm"))
    assert np.ptp(bar.get_xdata()) * 160.0 / SHAPE[1] == pytest.approx(length)


def test_lines_of_motion_are_the_stored_shifts_over_seconds(rows):
    axes = drawn(plots.plot_motion)
    lines = {line.get_label(): line for line in axes.lines}
    assert set(lines) == {"y", "x"}
    for name, line in lines.items():
        np.testing.assert_array_equal(line.get_ydata(), rows.shifts[f"{name}_shifts"])
        np.testing.assert_allclose(line.get_xdata(), np.arange(FRAMES) / RATE)


def test_a_raster_shows_every_mask_scaled_to_its_own_maximum(rows):
    (image,) = drawn(plots.plot_spikes).images
    np.testing.assert_allclose(image.get_array(), rows.activity / rows.activity.max(axis=1, keepdims=True))
    assert tuple(image.get_extent()) == (0.0, FRAMES / RATE, len(MASKS) - 0.5, -0.5)
