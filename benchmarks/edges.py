"""How long it takes to find all edges of a recording's digital lines, beside reading their bytes with h5py.

One JSON line per recording: an hour of 20 kHz with 8 digital and 6 analog channels, as the rigs have them, once without
and once with a line clock on bit 3, which changes almost every sample: there the pulses that are found take more memory
than the words. Both sides run in turn, in fresh processes, on the same file, which the system holds in memory; `base`
reads the whole digital array at once, `ours` reads the header, then the words in blocks, and pairs the edges of all 8
lines. Times are medians; as the machine is shared, the processor's time stands beside. Peaks are those of the process,
its imports included.
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

import numpy as np

from adamacs.demo.wavesurfer import Analog, Digital, Sweep, WaveSurfer, write_wavesurfer

RATIO, MEMORY = 2.0, 500.0  # times the reading, MB
RATE = 20_000
# Hz and share of the time that each line is high: gate, shutter, frames, lines, tracking, gate, LED, camera.
LINES = (
    (1 / 600, 0.9),
    (1 / 300, 0.8),
    (30.0, 0.5),
    (0.0, 0.5),
    (240.0, 0.3),
    (1 / 900, 0.95),
    (0.2, 0.5),
    (50.0, 0.2),
)
LINE_CLOCK = 7_900.0  # Hz

BASE = """
import h5py
def run(path):
    with h5py.File(path, "r") as file:
        return int(file["sweep_0001/digitalScans"][0].size)
"""
OURS = """
from pathlib import Path
from adamacs.modalities.behavior.numerics.edges import digital_pulses
from adamacs.modalities.behavior.reader.wavesurfer import read_wavesurfer
def run(path):
    recording = read_wavesurfer(Path(path))
    with recording.open() as file:
        found = digital_pulses(file.words(), range(8))
    return sum(len(pulses) for pulses in found.values())
"""
TIMED = """
import json, sys, time
from adamacs.core import memory
run(sys.argv[1])
memory.forget_peak()
wall, cpu = time.perf_counter(), time.process_time()
count = run(sys.argv[1])
wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
print(json.dumps({"s": wall, "cpu": cpu, "count": count, "peak": memory.peak() / 1e6}))
"""


def main() -> None:
    """Print one JSON line per recording."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", type=Path, help="where to write; default: the system's temporary folder")
    options = parser.parse_args()
    for what, clock in (("without line clock", 0.0), ("with line clock", LINE_CLOCK)):
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            path = Path(folder) / "aux.h5"
            samples, pulses = write(path, round(options.minutes * 60), clock)
            print(
                json.dumps({"benchmark": "edges", "what": what} | compare(path, samples, pulses, options)), flush=True
            )


def write(path: Path, seconds: int, line_clock: float) -> tuple[int, int]:
    """Write a recording a minute at a time; return its samples and pulses."""
    settings = WaveSurfer(
        lines=tuple(Digital(f"line {number}") for number in range(8)),
        channels=tuple(Analog(f"channel {number}") for number in range(6)),
    )
    lines = [(line_clock if number == 3 else rate, share) for number, (rate, share) in enumerate(LINES)]
    pulses = [0]
    write_wavesurfer(path, [Sweep(words(seconds, lines, pulses), volts(seconds))], settings)
    return seconds * RATE, pulses[0]


def words(seconds: int, lines: list[tuple[float, float]], pulses: list[int]) -> Iterator[np.ndarray]:
    """Yield words a minute at a time, and count the pulses in them."""
    before = np.zeros(8, bool)
    for start in range(0, seconds, 60):
        time = np.arange(start * RATE, min(start + 60, seconds) * RATE) / RATE
        block = np.zeros(time.size, np.uint8)
        for bit, (rate, share) in enumerate(lines):
            high = (time * rate + 0.37) % 1 < share if rate else np.zeros(time.size, bool)
            pulses[0] += int(np.count_nonzero(high[1:] & ~high[:-1])) + int(high[0] and not before[bit])
            before[bit] = high[-1]
            block |= high.astype(np.uint8) << bit
        yield block


def volts(seconds: int) -> Iterator[np.ndarray]:
    """Yield analog channels a minute at a time; every minute is the same."""
    rng = np.random.default_rng(0)
    block = 5 * (rng.random((6, 60 * RATE)) > 0.5) + rng.normal(0, 0.01, (6, 60 * RATE))
    for start in range(0, seconds, 60):
        yield block[:, : min(60, seconds - start) * RATE]


def compare(path: Path, samples: int, pulses: int, options: argparse.Namespace) -> dict[str, object]:
    """Run both sides in turn and tell their times and peaks."""
    base, ours = [], []
    for _ in range(options.rounds):
        base.append(run(BASE, path))
        ours.append(run(OURS, path))
    assert all(side["count"] == samples for side in base), "not every word was read"
    assert all(side["count"] == pulses for side in ours), "not every pulse was found"
    ratio = statistics.median(mine["s"] / other["s"] for mine, other in zip(ours, base, strict=True))
    peak = max(side["peak"] for side in ours)
    return {
        "minutes": samples / RATE / 60,
        "pulses": pulses,
        "base_s": round(statistics.median(side["s"] for side in base), 4),
        "ours_s": round(statistics.median(side["s"] for side in ours), 4),
        "ratio": round(ratio, 3),
        "cpu_ratio": round(statistics.median(m["cpu"] / o["cpu"] for m, o in zip(ours, base, strict=True)), 3),
        "ratios": [round(mine["s"] / other["s"], 3) for mine, other in zip(ours, base, strict=True)],
        "base_peak_MB": round(max(side["peak"] for side in base)),
        "ours_peak_MB": round(peak),
        "goal": RATIO,
        "goal_peak_MB": MEMORY,
        "met": ratio <= RATIO and peak < MEMORY,
        "machine": {"cores": os.cpu_count(), "load": round(os.getloadavg()[0], 2), "python": sys.version.split()[0]},
    }


def run(side: str, path: Path) -> dict[str, float]:
    """Run one side in a fresh process: once to warm up, once timed."""
    command = [sys.executable, "-c", side + TIMED, str(path)]
    answer = subprocess.run(command, capture_output=True, text=True, check=True)
    found: dict[str, float] = json.loads(answer.stdout)
    return found


if __name__ == "__main__":
    main()
