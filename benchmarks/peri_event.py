"""How long averages around a million events take, beside the bare product of the signal and counts that are there.

One JSON line per measurement: 1000 cells of 60 000 frames, 60 lags. `base` is the product alone, block by block as
ours, of counts that were prepared beforehand; the quickest of three forms of it is taken. `ours` begins with times of
frames (whole samples of 20 kHz) and of events that fall between them, in order of time or not, and counts them.

Both sides run in turn in one fresh process, with the same number of threads; `ratio` is the median over rounds of their
ratio in one. Peaks are those of fresh processes that make the signal and average it once: everything counts, Python and
the buffers of the linear algebra too. The error of single precision is measured on some cells, against the same in
double precision.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from typing import Any

RATIO, MEMORY = 1.3, 1.2  # times the product, times the signal and the times
CELLS, FRAMES, EVENTS, RATE = 1000, 60_000, 1_000_000, 30.0

MADE = """
import json, sys, time
import numpy as np
from adamacs.analysis.numerics.averaging import average
from adamacs.analysis.numerics.timeline import Timeline
from adamacs.analysis.numerics.weights import Events, weigh
from adamacs.core import memory
cells, frames, events, rate, rounds, sem = json.loads(sys.argv[1])
rng = np.random.default_rng(0)
signal = np.empty((cells, frames), np.float32)
for row in signal:
    rng.standard_normal(out=row, dtype=np.float32)
    row += 10
timeline = Timeline(np.ceil(np.arange(frames) / rate * 20_000) / 20_000)
times = np.sort(rng.uniform(0, frames / rate, events))
lags = np.arange(-20, 40)
"""
TIMED = (
    MADE
    + """
shuffled = rng.permutation(times)
weights = weigh(timeline, Events(times), lags, np.dtype(np.float32))
counts = weights.counts(0, frames)
across = np.ascontiguousarray(counts.T)
BLOCK = 4096
def whole():
    return signal @ across
def blocks():
    return sum(signal[:, at : at + BLOCK] @ across[at : at + BLOCK] for at in range(0, frames, BLOCK))
def turned():
    return sum(counts[:, at : at + BLOCK] @ signal[:, at : at + BLOCK].T for at in range(0, frames, BLOCK))
def squares():
    return sum(signal[:, at : at + BLOCK] ** 2 @ across[at : at + BLOCK] for at in range(0, frames, BLOCK))
sides = {
    "whole": whole,
    "blocks": blocks,
    "turned": turned,
    "squares": squares,
    "ours": lambda: average(signal, timeline, Events(times), lags, sem=False),
    "ours, in no order": lambda: average(signal, timeline, Events(shuffled), lags, sem=False),
    "ours, with errors": lambda: average(signal, timeline, Events(times), lags),
}
taken = {name: [] for name in sides}
for number in range(rounds + 1):
    for name, side in sides.items():
        began = time.perf_counter()
        side()
        if number:  # the first is to warm up
            taken[name].append(time.perf_counter() - began)
some = slice(0, 20)
ours, exact = (average(signal[some].astype(kind), timeline, Events(times), lags) for kind in ("f4", "f8"))
off = {name: float(np.max(np.abs(getattr(ours, name) / getattr(exact, name) - 1))) for name in ("mean", "sem")}
print(json.dumps({"taken": taken, "off": off, "uneven": ours.uneven}))
"""
)
PEAK = (
    MADE
    + """
data = signal.nbytes + times.nbytes + timeline.times.nbytes
if rounds:
    average(signal, timeline, Events(times), lags, sem=bool(sem))
print(json.dumps({"peak": memory.peak(), "data": data}))
"""
)


def main() -> None:
    """Print one JSON line per number of threads, and one of memory."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a tenth of the cells, and three rounds instead of eleven")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    options = parser.parse_args()
    cells, rounds = (CELLS // 10, 3) if options.quick else (CELLS, 11)
    for threads in options.threads:
        found = run(TIMED, threads, cells, rounds)
        report("mean", **speed(found, threads))
    report("memory", **peaks(cells, max(options.threads)))


def speed(found: dict[str, Any], threads: int) -> dict[str, Any]:
    """Compare both sides, round by round; of the product its quickest form."""
    taken = found["taken"]
    base = min(("whole", "blocks", "turned"), key=lambda name: statistics.median(taken[name]))
    two = [one + other for one, other in zip(taken[base], taken["squares"], strict=True)]
    ratio = over(taken["ours"], taken[base])
    return {
        "threads": threads,
        "base_form": base,
        "base_s": round(statistics.median(taken[base]), 4),
        "whole_s": round(statistics.median(taken["whole"]), 4),
        "ours_s": round(statistics.median(taken["ours"]), 4),
        "ratio": ratio,
        "ratio_over_whole": over(taken["ours"], taken["whole"]),
        "ratio_in_no_order": over(taken["ours, in no order"], taken[base]),
        "errors_s": round(statistics.median(taken["ours, with errors"]), 4),
        "errors_ratio": over(taken["ours, with errors"], two),
        "relative_error_of_mean": found["off"]["mean"],
        "relative_error_of_sem": found["off"]["sem"],
        "lag_off_s": found["uneven"],
        "goal": RATIO,
        "met": ratio <= RATIO,
    }


def peaks(cells: int, threads: int) -> dict[str, Any]:
    """Measure peaks of whole processes: the data alone, with means, and with standard errors."""
    alone, mean, errors = (run(PEAK, threads, cells, *how) for how in ((0, 0), (1, 0), (1, 1)))
    share = mean["peak"] / mean["data"]
    return {
        "threads": threads,
        "data_MB": round(mean["data"] / 1e6),
        "data_alone_peak_MB": round(alone["peak"] / 1e6),
        "ours_peak_MB": round(mean["peak"] / 1e6),
        "ours_share": round(share, 3),
        "with_errors_peak_MB": round(errors["peak"] / 1e6),
        "with_errors_share": round(errors["peak"] / errors["data"], 3),
        "goal": MEMORY,
        "met": share <= MEMORY,
    }


def over(ours: list[float], base: list[float]) -> float:
    """Return the median ratio of rounds."""
    return round(statistics.median(mine / other for mine, other in zip(ours, base, strict=True)), 3)


def run(program: str, threads: int, cells: int, rounds: int, sem: int = 0) -> dict[str, Any]:
    """Run a program in a fresh process."""
    limits = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), str(threads))
    asked = json.dumps([cells, FRAMES, EVENTS, RATE, rounds, sem])
    command = [sys.executable, "-c", program, asked]
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ADAMACS_")}  # of no other lab
    answer = subprocess.run(command, env={**kept, **limits}, capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(answer.stdout)
    return found


def report(what: str, **figures: object) -> None:
    """Print one measurement."""
    machine = {"cores": os.cpu_count(), "load": round(os.getloadavg()[0], 2), "python": sys.version.split()[0]}
    print(json.dumps({"benchmark": "peri_event", "what": what, **figures, "machine": machine}), flush=True)


if __name__ == "__main__":
    main()
