"""The demo as a user types it: one command from nothing to queried cells, with the truth recovered."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow


README = Path(__file__).parents[2] / "README.md"


class Demo:
    """A lab home with the demo in it."""

    def __init__(self, home):
        self.home = home

    def run(self, *command, typed="", **variables):
        """Run a Python command line as a person does who went to the lab home, and return what it printed."""
        answer = subprocess.run(
            [sys.executable, *command],
            env={**os.environ, **variables},
            cwd=self.home if self.home.exists() else None,
            input=typed,
            capture_output=True,
            text=True,
            timeout=900,
            check=False,
        )
        assert answer.returncode == 0, answer.stderr[-4000:]
        assert "Traceback" not in answer.stderr, answer.stderr[-4000:]  # what an interactive Python says of an error
        return answer.stdout

    def demo(self):
        """Run the demo, and return its JSON line."""
        return json.loads(self.run("-m", "adamacs", "demo", "--json", ADAMACS_HOME=str(self.home)).splitlines()[-1])

    def files(self):
        """Return size and time of every file but the database's own."""
        found = (path for path in self.home.rglob("*") if path.is_file() and "database" not in path.parts)
        return {path: (path.stat().st_size, path.stat().st_mtime_ns) for path in found}


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    if importlib.util.find_spec("suite2p") is None:
        message = "NO SUITE2P: the demo did not run. Run: pip install 'adamacs[imaging]'"
        (pytest.fail if "imaging" in os.environ.get("ADAMACS_TEST_REQUIRE", "") else pytest.skip)(message)
    lab = Demo(tmp_path_factory.mktemp("demo") / "lab")
    lab.summary = lab.demo()
    yield lab
    lab.run("-m", "adamacs", "db", "remove", "--yes")


def test_the_truth_is_recovered(demo):
    summary = demo.summary
    assert (summary["sessions"], summary["scans"]) == (2, 3)
    assert summary["shift_r"] >= 0.98
    assert summary["recall"] >= 0.85
    assert summary["precision"] >= 0.95
    assert summary["spike_r"] >= 0.85
    assert summary["dff_r"] >= 0.9  # dF/F against the calcium of the model


def test_events_and_clocks_of_every_stream_are_recovered_and_certified(demo):
    ((scan_id, clocks),) = demo.summary["events"].items()
    assert set(clocks) == {"aux", "bpod", "camera_top", "camera_bottom", "camera_eye1", "camera_eye2", "harp", "mocap"}
    for clock, found in clocks.items():
        assert found["events_found"] == found["events_true"] > 0, clock
        assert found["most_us"] <= {"aux": 25, "bpod": 100, "harp": 500, "mocap": 100}.get(clock, 6000), clock
        if clock != "aux":
            assert found["drift_ppm"] < 1 and found["offset_us"] < 1000, clock
    certificate = demo.summary["certificates"][scan_id]
    verdicts = certificate["streams"]
    assert [name for name, verdict in verdicts.items() if verdict != "pass"] == ["camera_eye1", "camera_top", "harp"]
    assert certificate["verdict"] == "warn", "a few frames are lost"
    assert {told["verdict"] for other, told in demo.summary["certificates"].items() if other != scan_id} == {"pass"}


def test_what_is_printed_tells_clocks_and_certificates(demo):
    shown = demo.run("-m", "adamacs", "demo", ADAMACS_HOME=str(demo.home))
    ((scan_id, clocks),) = demo.summary["events"].items()
    for clock, found in clocks.items():
        assert re.search(rf"^  {clock} +{found['events_found']} of {found['events_true']} events", shown, re.MULTILINE)
    assert f"drift {clocks['bpod']['drift']:+.2f} ppm" in shown
    assert f"{scan_id}, sync certificate: warn (adamacs sync {scan_id})" in shown
    assert re.search(r"^  pass  two_photon_frames$", shown, re.MULTILINE)


def test_the_tables_hold_as_many_cells_as_the_demo_says(demo):
    code = "from adamacs.pipeline import connect, imaging; connect(); print(len(imaging.Fluorescence.Trace()))"
    assert int(demo.run("-c", code)) == demo.summary["cells_found"]


def test_a_slice_of_a_trace_is_those_samples(demo):
    code = """
import numpy as np
from adamacs.pipeline import connect, imaging
connect()
key = imaging.Fluorescence.Trace.keys()[3]
trace = (imaging.Fluorescence.Trace & key).fetch1("fluorescence")
print(trace[100:200].shape, np.array_equal(trace[100:200], np.asarray(trace)[100:200]))
"""
    assert demo.run("-c", code).strip() == "(100,) True"


def test_the_lines_on_the_first_page_of_the_readme_run_as_they_are_typed(demo):
    (block,) = re.findall(r"## Ten lines.*?```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    assert len([line for line in block.splitlines() if line.strip()]) <= 10
    told = "print('told', len(session.Session * scan.Scan * imaging.ScanInfo), len(cells) > 0, trace[100:200].shape)\n"
    shown = demo.run("-i", "-q", "-c", "", typed=block + told)
    assert shown.splitlines()[-1] == "told 3 True (100,)"
    assert "scan_id" in shown  # the table that its first question shows
    assert shown.count("array([") == 2  # the samples, and the mean activity of every mask


def test_a_second_run_changes_nothing(demo):
    before = demo.files()
    again = demo.demo()
    assert demo.files() == before
    assert {**again, "seconds_by_stage": 0} == {**demo.summary, "seconds_by_stage": 0}
    assert again["seconds_by_stage"]["suite2p"] == 0


def test_the_report_shows_every_field(demo):
    text = (demo.home / "report.html").read_text()
    assert text.count("data:image/png;base64,") == 2 * 4  # two pictures of four fields
    assert 'src="http' not in text  # it needs nothing else
    assert "href=" not in text
    assert "<script" not in text


def test_check_finds_the_lab_fit(demo):
    lines = [json.loads(line) for line in demo.run("-m", "adamacs", "check", "--json").splitlines()]
    assert [line for line in lines if line["ok"] is False] == []


def test_another_lab_is_left_alone(tmp_path):
    home = tmp_path / "lab"
    home.mkdir()
    (home / "adamacs.toml").write_text('time_zone = "UTC"\n')
    environment = {**os.environ, "ADAMACS_HOME": str(home)}
    answer = subprocess.run(
        [sys.executable, "-m", "adamacs", "demo"], env=environment, capture_output=True, text=True, check=False
    )
    assert answer.returncode == 1
    assert "not the demo's" in answer.stderr
    assert [path.name for path in home.iterdir()] == ["adamacs.toml"]
