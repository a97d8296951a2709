"""The picture of a sync certificate says what the certificate says: verdicts, counts, gaps and pairs, with units."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.colors import to_hex

from adamacs.analysis import sync_plot
from adamacs.analysis.sync_page import Certificate, Clock, Stream, Told
from adamacs.core.errors import InvalidRequest
from adamacs.core.promises import Promise

RED, AMBER, BLUE = sync_plot.COLOURS["fail"], sync_plot.COLOURS["warn"], sync_plot._OF["pulses"]
GAPS = np.array([[10.0, 30.0, 70.0], [11.0, 32.0, 75.0]])
WHY = "Of 5000, 8 are missing from the files of camera_top, at known places."


def told(teller, stream, by, count, missing=0, gaps=()):
    promise = Promise(teller, stream, by, count, 1.0, 99.0, 20.0, missing, "aux")
    return Told(promise, 1.0, 99.0, np.reshape(gaps, (2, -1)))


def clock(name, pairs, rejected, alone):
    bad = np.arange(pairs) >= pairs - rejected
    residuals = np.where(bad, 900.0, np.linspace(-80, 80, pairs))
    return Clock(name, "aux", "linear", 12.5, -3.25, 76.0, np.linspace(1, 99, pairs), residuals, bad, np.array(alone))


FRAMES = [told("ScanImage", "frames", "header", 4000), told("aux", "frames", "pulses", 4000)]
CAMERA = [told("camera_top", "camera_top", "file", 4992, 8, GAPS)]
STREAMS = (Stream("frames", "pass", True, "", tuple(FRAMES)), Stream("camera_top", "fail", False, WHY, tuple(CAMERA)))
CLOCKS = (clock("camera_top", 40, 3, [20.0, 50.0]), clock("bpod", 10_000, 0, []))
OUTDATED = ("A file changed.",)
PAGE = Certificate("scan9FY6AIRM", "bench2p", "fail", OUTDATED, {"residual_warn": 100.0}, STREAMS, CLOCKS)


def marks(axes, marker, colour):
    """Return where the marks of a kind stand, (mark, 2)."""
    lines = [one for one in axes.lines if one.get_marker() == marker and to_hex(one.get_color()) == colour]
    return np.concatenate([np.empty((0, 2)), *(line.get_xydata() for line in lines)])


def test_verdicts_names_and_counts_are_said_in_words():
    said = [text.get_text() for text in sync_plot.draw(PAGE).axes[0].texts]
    assert {"Sync certificate of scan9FY6AIRM", "Outdated: A file changed."} < set(said)
    assert [said.count(word) for word in ("FAIL", "PASS", "WARN")] == [2, 1, 0]  # the page's and each stream's
    assert "bench2p   ·   2 streams: 1 pass, 1 fail   ·   1 told by one alone" in said
    assert [said.count(word) for word in ("frames", "camera_top", "4,000", "4,992 + 8 missing")] == [1, 1, 2, 1]
    assert WHY in " ".join(said)


def test_every_place_where_something_is_missing_has_a_red_mark_at_its_time():
    page, *_, axis = sync_plot.draw(PAGE).axes
    bar = next(line for line in page.lines if line.get_alpha() == 0.75).get_xdata()  # from 1 s to 99 s
    assert marks(page, "x", RED)[:, 0] == pytest.approx(np.interp(GAPS.mean(axis=0), [1, 99], bar))
    assert axis.get_xlabel() == "scan time, s"


def test_every_clock_has_a_panel_of_its_pairs():
    page, camera, bpod, axis = sync_plot.draw(PAGE).axes
    assert marks(camera, ".", BLUE) == pytest.approx(np.stack([CLOCKS[0].times, CLOCKS[0].residuals], 1)[:-3])
    assert marks(camera, "x", RED)[:, 0] == pytest.approx(CLOCKS[0].times[-3:])
    assert marks(camera, "^", AMBER)[:, 0].tolist() == [20.0, 50.0]
    assert len(marks(bpod, ".", BLUE)) == sync_plot._DOTS and len(bpod.collections) == 1  # a band hides none of them
    assert camera.get_xlim() == bpod.get_xlim() == axis.get_xlim()
    said = {text.get_text() for text in page.texts}
    assert {"residuals of pairs, µs", "37 pairs used, 3 fit nowhere, 2 instants alone"} < said


def test_a_picture_is_saved_under_the_endings_of_pictures_alone(tmp_path):
    sync_plot.save(PAGE, tmp_path / "page.PNG")
    assert (tmp_path / "page.PNG").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(InvalidRequest, match=r"'page\.jpg'.*\.png or \.pdf or \.svg"):
        sync_plot.save(PAGE, tmp_path / "page.jpg")
    assert [path.name for path in tmp_path.iterdir()] == ["page.PNG"]
