"""How long it takes to find the scans of a share, beside GNU find, which asks size and time of every file.

One JSON line per measurement; both sides in turn on the same tree, in fresh processes, warm. `ours` finds the folders,
reads their names, sorts them, tells whose files they are and what is odd about them. Times are medians; as the machine
is shared, the processors' time of both sides stands beside, and the ratio of each round.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import datetime, timedelta
from pathlib import Path

from adamacs.core import settings, tokens

FIRST, AGAIN, MEMORY, ANNOUNCED = 1.5, 0.15, 500, 5.0  # times find, times find, MB, s
PEOPLE = 20
BEGAN = datetime(2026, 1, 13, 9)
OTHERS = ("wave.h5", "bpod.mat", "top_video.mp4", "top_video.csv", "eye1_video.mp4", "eye1_video.csv")
OTHERS += ("ROS_take.tak", "ROS_take.csv", "notes.txt", "harp.bin")

LOOK = """
import json, resource, sys, time
from pathlib import Path
from adamacs.core import settings
from adamacs.ingest.find import Finder
finder = Finder(settings.Settings(home=Path(sys.argv[1])))
times, found = [], []
for _ in range(2):
    wall, cpu = time.perf_counter(), time.process_time()
    look = finder.look()
    times.append((time.perf_counter() - wall, time.process_time() - cpu))
    found.append(len(look.changed))
    del look
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e6
print(json.dumps({"times": times, "found": found, "peak": peak}))
"""


def main() -> None:
    """Print one JSON line per measurement."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="1e4 files in 1e2 folders instead of 1e6 in 1e4")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", type=Path, help="where to write; default: the system's temporary folder")
    options = parser.parse_args()
    if shutil.which("find") is None or os.name != "posix":
        raise SystemExit("There is no find here to compare with.")
    scans = 100 if options.quick else 10_000
    with tempfile.TemporaryDirectory(dir=options.folder) as home:
        share = Path(home) / "share"
        for number in range(scans):
            make_scan(share, number, 100)
        time.sleep(2.1)  # until no folder's time may be too coarse for the next change
        compare(Path(home), scans, options.rounds)
        announce(Path(home), scans, 10 if options.quick else 1000)


def make_scan(share: Path, number: int, files: int) -> None:
    """Make one scan folder of empty files."""
    at = BEGAN + timedelta(minutes=number)
    payload, subject = tokens.encode(at), f"ANM-{number % 500:04}"
    name = tokens.format_folder("XX", subject, at.date(), f"sess{payload}", f"scan{payload}")
    folder = share / f"person{number % PEOPLE:02}" / name
    folder.mkdir(parents=True)
    handle = os.open(folder, os.O_RDONLY)
    tiffs = (f"scan{payload}_XX_{subject}_{file:05}.tif" for file in range(1, files - len(OTHERS) + 1))
    for file in (*tiffs, *OTHERS):
        os.close(os.open(file, os.O_CREAT | os.O_WRONLY, dir_fd=handle))
    os.close(handle)


def compare(home: Path, scans: int, rounds: int) -> None:
    """Time find, a first look and a second in turn."""
    ours: list[dict] = []
    base: list[tuple[float, float]] = []
    for warm in (True, *[False] * rounds):
        listed, looked = gnu_find(home / "share"), look(home)
        if not warm:
            base.append(listed)
            ours.append(looked)
    for number, (what, goal) in enumerate((("first look", FIRST), ("unchanged again", AGAIN))):
        times = [round_["times"][number] for round_ in ours]
        ratios = [mine[0] / other[0] for mine, other in zip(times, base, strict=True)]
        of_cpu = [mine[1] / other[1] for mine, other in zip(times, base, strict=True)]
        report(
            what,
            scans=scans,
            ours_s=round(statistics.median(mine[0] for mine in times), 3),
            find_s=round(statistics.median(other[0] for other in base), 3),
            ratio=round(statistics.median(ratios), 3),
            ratios=[round(ratio, 3) for ratio in ratios],
            cpu_ratio=round(statistics.median(of_cpu), 3),
            goal=goal,
            met=statistics.median(ratios) <= goal,
        )
    assert all(round_["found"] == [scans, 0] for round_ in ours), "not every scan was found once"
    peak = max(round_["peak"] for round_ in ours)
    report("peak memory", scans=scans, ours_MB=round(peak), goal=MEMORY, met=peak < MEMORY)


def gnu_find(share: Path) -> tuple[float, float]:
    """Return wall and processors' time of find over the tree, s."""
    before, began = os.times(), time.perf_counter()
    subprocess.run(["find", str(share), "-printf", r"%s %T@\n"], stdout=subprocess.DEVNULL, check=True)
    wall, after = time.perf_counter() - began, os.times()
    used = after.children_user + after.children_system - before.children_user - before.children_system
    return wall, used


def look(home: Path) -> dict:
    """Look twice in a fresh process; return wall and processors' time of each, s, and its peak memory, MB."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ADAMACS_")}  # of no other lab
    answer = subprocess.run(
        [sys.executable, "-c", LOOK, str(home)], env=kept, capture_output=True, text=True, check=True
    )
    return json.loads(answer.stdout)


def announce(home: Path, scans: int, count: int) -> None:
    """Let many folders appear at once beside those that a finder knows, and time until each was told of, once."""
    from adamacs.ingest.find import Finder

    finder = Finder(settings.Settings(home=home))
    finder.look()
    for number in range(scans, scans + count):
        make_scan(home / "share", number, 20)
    began, told = time.perf_counter(), []
    polls = 0
    while len(told) < count and time.perf_counter() - began < 60:
        told += [found.relative for found in finder.look().changed]
        polls += 1
    took = time.perf_counter() - began
    told += [found.relative for found in finder.look().changed]
    report(
        "announced at once",
        scans=count,
        beside=scans,
        ours_s=round(took, 3),
        polls=polls,
        told=len(told),
        twice=len(told) - len(set(told)),
        goal=ANNOUNCED,
        met=took <= ANNOUNCED and len(told) == len(set(told)) == count,
    )


def report(what: str, **figures: object) -> None:
    """Print one measurement."""
    machine = {"cores": os.cpu_count(), "load": round(os.getloadavg()[0], 2), "python": sys.version.split()[0]}
    print(json.dumps({"benchmark": "find", "what": what, **figures, "machine": machine}), flush=True)


if __name__ == "__main__":
    main()
