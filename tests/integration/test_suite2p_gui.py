"""Suite2p's own GUI opens what the engine leaves, so that a person can curate it there."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile

from adamacs.demo.movie import Design, Recording
from adamacs.modalities.imaging.engine import Acquisition, run_suite2p
from adamacs.modalities.imaging.reader.suite2p import read_result

pytestmark = [pytest.mark.slow, pytest.mark.only_on("postgresql")]  # once: no database is asked

PACKAGES = ("suite2p", "torch", "qtpy", "PyQt6", "pyqtgraph", "superqt", "rastermap")
SIDE, FRAMES = 96, 240

# Starts the GUI, opens a plane, or a folder of planes, as its menus do, and tells what it shows.
OPEN = """
import json, os, sys
from adamacs.modalities.imaging.engine import tool
tool.load_suite2p("1.1.0", "cpu", 1)
from qtpy.QtWidgets import QApplication
application = QApplication([])
from suite2p.gui import gui2p, io
path = sys.argv[1]
if path.endswith("stat.npy"):
    window = gui2p.MainWindow(statfile=path)
else:
    window = gui2p.MainWindow()
    window.fname = path
    io.load_folder(window)
application.processEvents()
print(json.dumps({
    "loaded": window.loaded,
    "rois": len(window.stat),
    "accepted": int(window.lcell0.text()),
    "rejected": int(window.lcell1.text()),
    "frames": int(window.Fcell.shape[1]),
    "movie": os.path.isfile(window.ops["reg_file"]),
}))
sys.stdout.flush()
os._exit(0)  # Qt's own end is none of the test
"""


@pytest.fixture(scope="module", autouse=True)
def gui():
    """The packages of Suite2p's GUI; where one is missing, say so aloud."""
    missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    if missing and "gui" in os.environ.get("ADAMACS_TEST_REQUIRE", ""):
        pytest.fail(f'ADAMACS_TEST_REQUIRE asks for the GUI, and these are missing: {missing}. pip install ".[gui]"')
    if missing:
        pytest.skip(f"SUITE2P'S GUI IS NOT INSTALLED: no result folder was opened in it. Missing: {missing}.")


def open_in_gui(path: Path, home: Path) -> dict:
    """Open a result in the GUI, without a screen, and return what it shows."""
    home.mkdir(exist_ok=True)
    environment = {**os.environ, "HOME": str(home), "QT_QPA_PLATFORM": "offscreen"}
    command = [sys.executable, "-W", "ignore", "-c", OPEN, str(path)]
    told = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=300)
    assert told.returncode == 0, told.stderr[-3000:]
    return json.loads(told.stdout.splitlines()[-1])


def movie(seed: int) -> np.ndarray:
    design = Design(height=SIDE, width=SIDE, frames=FRAMES, cells=6, event_rate=0.8, sway=1.0)
    return np.concatenate(list(Recording(design, seed).blocks(1)))[:, 0, 0]


def run(folder: Path, *planes: np.ndarray) -> Path:
    pages = np.stack(planes, axis=1).reshape(-1, SIDE, SIDE)
    tifffile.imwrite(folder / "scan.tif", pages)
    scan = Acquisition(20.0, SIDE, SIDE, FRAMES, nplanes=len(planes))
    parameters = {"tau": 0.5, "registration": {"batch_size": 500}}
    done = run_suite2p([folder / "scan.tif"], folder / "processed" / "suite2p_exp9FY6AIRM", parameters, scan)
    return done.folder


def test_the_gui_opens_a_plane_and_shows_its_rois(tmp_path):
    folder = run(tmp_path, movie(0))
    (plane,) = read_result(folder).planes
    shown = open_in_gui(folder / "plane0" / "stat.npy", tmp_path / "home")
    accepted = int(plane.iscell[:, 0].sum())
    assert shown == {
        "loaded": True,
        "rois": len(plane.rois),
        "accepted": accepted,
        "rejected": len(plane.rois) - accepted,
        "frames": FRAMES,
        "movie": True,
    }


def test_the_gui_opens_all_planes_together_though_one_is_empty(tmp_path):
    blank = (200 + np.random.default_rng(1).integers(-5, 6, (FRAMES, SIDE, SIDE))).astype(np.int16)
    folder = run(tmp_path, movie(0), blank, movie(1))
    result = read_result(folder)
    shown = open_in_gui(folder, tmp_path / "home")
    assert result.n_rois > 0
    assert (shown["loaded"], shown["rois"], shown["frames"]) == (True, result.n_rois, FRAMES)
