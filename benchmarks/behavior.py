"""How long it takes to convert and store an auxiliary recording, beside reading its bytes with h5py.

One JSON line per recording: an hour of 20 kHz with 8 digital and 6 analog channels, among them a wheel and a light that
the cameras see; once without and once with a line clock, which changes almost every sample. Both sides run in turn, in
fresh processes on one core, on the same file, which the system holds in memory; `base` reads both arrays of the file
block by block, `ours` runs `make_compute` of `EventImport`, `TreadmillRecording` and `CamSyncRecording` as a worker
would, without a database: header, wiring, all edges, the wheel's position and speed, and every array on the disk with
its sums. Times are medians, `ours_cpu_s` is what the core worked for it; peaks are those of the process, its imports
included.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np

from adamacs.core import settings
from adamacs.demo.wavesurfer import Analog, Digital, Sweep, WaveSurfer, write_wavesurfer
from adamacs.demo.wheel import wheel_volts

SECONDS, MEMORY = 15.0, 500.0  # s, MB
RATE = 20_000
SETUP = "bench2p_everything"
# Channel, kind, Hz, share of the time that the line is high.
LINES = (
    ("main_track_gate", "gate", 1 / 3600, 0.9),
    ("shutter", "pulses", 1 / 300, 0.8),
    ("two_photon_frames", "frames", 30.0, 0.5),
    ("line_clock", "frames", 0.0, 0.5),
    ("optitrack_frames", "frames", 240.0, 0.3),
    ("harp_gate", "gate", 1 / 3600, 0.8),
    ("landmark_led", "pulses", 0.2, 0.5),
    ("side_camera_frames", "frames", 50.0, 0.2),
)
LINE_CLOCK = 7_900.0  # Hz
INPUTS = (
    ("camera_frames", "frames", 50.0, 0.2),
    ("treadmill", "waveform", 0.0, 0.0),
    ("bpod_reward", "pulses", 0.1, 0.05),
    ("stimulus_level", "level", 0.25, 0.5),
    ("arena_led", "pulses", 1.0, 0.3),
    ("lick", "pulses", 0.7, 0.1),
)

BASE = """
import h5py
def run(path, home):
    with h5py.File(path, "r") as file:
        read = 0
        for name in ("digitalScans", "analogScans"):
            held = file["sweep_0001"][name]
            for start in range(0, held.shape[1], 1 << 18):
                read += held[:, start : start + (1 << 18)].nbytes
    return {"bytes": read}
"""
OURS = """
import time
from pathlib import Path
from adamacs import pipeline
from adamacs.core import settings
from adamacs.modalities.behavior import tables
from adamacs.schemas import event, scan
def run(path, home):
    settings.use(settings.load(Path(home)))
    pipeline._hand_down()
    stat = Path(path).stat()
    scan.require_unchanged = lambda row: Path(path)  # no row of a file is at hand
    key = {"session_id": "sess9FY6AIRM", "scan_id": "scan9FY6AIRM", "source": "aux", "stretch_id": 1}
    told = {}
    for table in (event.EventImport, tables.TreadmillRecording, tables.CamSyncRecording):
        began = time.perf_counter()
        made = table().make_compute(key, "wavesurfer", SETUP, [{}])
        told[table.__name__] = round(time.perf_counter() - began, 3)
    return told
"""
TIMED = """
import json, sys, time
from adamacs.core import memory
memory.forget_peak()
began, worked = time.perf_counter(), time.process_time()
told = run(sys.argv[1], sys.argv[2])
took, cpu = time.perf_counter() - began, time.process_time() - worked
print(json.dumps({"s": took, "cpu": cpu, "told": told, "peak": memory.peak() / 1e6}))
"""


def main() -> None:
    """Print one JSON line per recording."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="where to write; default: the system's temporary folder")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        home = make_home(Path(folder) / "lab")
        path = write(Path(folder) / "aux.h5", round(options.minutes * 60))
        for what in ("without line clock", "with line clock"):
            if what == "with line clock":
                add_line_clock(path)
            print(json.dumps({"benchmark": "behavior", "what": what} | compare(path, home, options)), flush=True)


def make_home(home: Path) -> Path:
    """Make a lab home that knows the setup type of the recording, and computes on one core."""
    made = settings.create(home)
    (made.home / "setups").mkdir(exist_ok=True)
    (made.home / "setups" / "own.toml").write_text(described(), encoding="utf-8")
    return made.home


def described() -> str:
    """Return the file of the setup type."""
    lines = [
        f'name = "{SETUP}"',
        'description = "Everything at once."',
        "[[expected]]",
        'files = "*.h5"',
        'what = "the recording"',
        'parser = "wavesurfer"',
        'source = "aux"',
    ]
    lines += ["[wheel]", "circumference = 47.1"]
    for place, channels in (("line", LINES), ("analog", INPUTS)):
        for number, (name, kind, _, _) in enumerate(channels):
            event = "" if kind == "waveform" or name == "line_clock" else f'\nevent = "{name}"'
            lines.append(f'[[channel]]\nname = "{name}"\nkind = "{kind}"\n{place} = {number}{event}')
    lines.append('[[channel]]\nname = "cam_sync"\nkind = "waveform"\ninside = "arena_led"')
    return "\n".join(lines) + "\n"


def write(path: Path, seconds: int) -> Path:
    """Write the recording a minute at a time."""
    how = WaveSurfer(
        lines=tuple(Digital(line[0]) for line in LINES), channels=tuple(Analog(channel[0]) for channel in INPUTS)
    )
    return write_wavesurfer(path, [Sweep(words(seconds), volts(seconds))], how)


def minutes(seconds: int) -> Iterator[np.ndarray]:
    """Yield the times of a minute after the other, s."""
    for start in range(0, seconds, 60):
        yield np.arange(start * RATE, min(start + 60, seconds) * RATE) / RATE


def words(seconds: int) -> Iterator[np.ndarray]:
    """Yield digital words."""
    for times in minutes(seconds):
        yield sum(high(times, *line[2:]).astype(np.uint8) << bit for bit, line in enumerate(LINES))


def add_line_clock(path: Path) -> None:
    """Let the line clock run in a recording that is written."""
    bit = [line[0] for line in LINES].index("line_clock")
    with h5py.File(path, "r+") as file:
        held = file["sweep_0001/digitalScans"]
        for start in range(0, held.shape[1], 60 * RATE):
            times = np.arange(start, min(start + 60 * RATE, held.shape[1])) / RATE
            held[0, start : start + times.size] |= high(times, LINE_CLOCK, 0.5).astype(np.uint8) << bit


def volts(seconds: int) -> Iterator[np.ndarray]:
    """Yield the analog channels, (channel, sample)."""
    rng = np.random.default_rng(0)
    for times in minutes(seconds):
        block = rng.normal(0, 0.005, (len(INPUTS), len(times)))
        for row, (name, _, rate, share) in enumerate(INPUTS):
            if name == "treadmill":
                ran = 15 * times + 20 * np.sin(0.7 * times)
                block[row] = wheel_volts(ran, circumference=47.1, noise=0.005, caught=0.5)
            else:
                block[row] += 4 * high(times, rate, share)
        yield block


def high(times: np.ndarray, rate: float, share: float) -> np.ndarray:
    """Tell when a line is high, (sample,); it never is without a rate."""
    return (times * rate + 0.97) % 1 < share if rate else np.zeros(times.size, bool)


def compare(path: Path, home: Path, options: argparse.Namespace) -> dict[str, object]:
    """Run both sides in turn and tell their times and peaks."""
    base, ours = [], []
    for _ in range(options.rounds):
        base.append(run(BASE, path, home))
        ours.append(run(f"SETUP = {SETUP!r}\n{OURS}", path, home))
    took, peak = statistics.median(side["s"] for side in ours), max(side["peak"] for side in ours)
    return {
        "minutes": options.minutes,
        "file_MB": round(path.stat().st_size / 1e6),
        "base_s": round(statistics.median(side["s"] for side in base), 3),
        "ours_s": round(took, 2),
        "ours_cpu_s": round(statistics.median(side["cpu"] for side in ours), 2),
        "ours_each_s": [round(side["s"], 2) for side in ours],
        "ratio": round(statistics.median(o["s"] / b["s"] for o, b in zip(ours, base, strict=True)), 2),
        "parts_s": ours[-1]["told"],
        "ours_peak_MB": round(peak),
        "goal_s": SECONDS,
        "goal_peak_MB": MEMORY,
        "met": took <= SECONDS and peak < MEMORY,
        "machine": {"cores": os.cpu_count(), "load": round(os.getloadavg()[0], 2), "python": sys.version.split()[0]},
    }


def run(side: str, path: Path, home: Path) -> dict[str, float]:
    """Run one side in a fresh process with one thread."""
    command = [sys.executable, "-c", side + TIMED, str(path), str(home)]
    one = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "ADAMACS_WORKERS_THREADS": "1"}
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ADAMACS_")}  # of no other lab
    answer = subprocess.run(command, capture_output=True, text=True, env=kept | one)
    if answer.returncode:
        raise SystemExit(answer.stderr)
    found: dict[str, float] = json.loads(answer.stdout)
    return found


if __name__ == "__main__":
    main()
