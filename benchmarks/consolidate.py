"""How fast a recording is consolidated, beside `cp` and checksums by hand, and beside the disk and the hash alone.

One JSON line per kind of recording. All sides are run in turn, on the same folder; times are medians. `by hand` is what
a careful person types: `cp -r`, wait for the disk, forget what is in memory, then blake3 (C code, one thread, as `b3sum
--num-threads 1`) of source and copy. `disk` writes the bytes with fsync and reads them back from the disk; `hash` is
two blake3 over bytes that are in memory. `overall` compares us with the slower of these two.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from adamacs.core import settings
from adamacs.ingest.consolidate import ConsolidationPlan, Wish, apply_consolidation, plan_consolidation
from adamacs.storage.checksum import blake3_of

ALLOWED = 0.8  # times the slower of disk and hash
PIECE = 1 << 20
KINDS = {"one large file": [1_000_000_000], "many files": [2_000_000] * 200}


def main() -> None:
    """Print one JSON line per kind of recording."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a tenth of the bytes, and three rounds instead of five")
    parser.add_argument("--folder", type=Path, help="where to write; default: the system's temporary folder")
    options = parser.parse_args()
    for name, sizes in KINDS.items():
        scaled = [size // 10 for size in sizes] if options.quick else sizes
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            print(json.dumps(measured(name, scaled, Path(folder), 3 if options.quick else 5)), flush=True)


def measured(name: str, sizes: list[int], folder: Path, rounds: int) -> dict[str, Any]:
    """Time every side of one kind of recording."""
    lab, source = settings.create(folder / "lab"), folder / "rig"
    source.mkdir()
    write_recording(source, sizes)
    seconds: dict[str, list[float]] = {}

    def timed(side: str, function: Callable[[], Any]) -> None:
        os.sync()
        began = time.perf_counter()
        function()
        seconds.setdefault(side, []).append(time.perf_counter() - began)

    for _ in range(rounds):
        plan = plan_of(source, lab)
        for path in source.iterdir():
            blake3_of(path)  # every side finds the source in memory
        timed("ours", lambda plan=plan: apply_consolidation(plan, lab))
        shutil.rmtree(lab.root("share") / "demo")
        timed("by hand", lambda: by_hand(source, folder / "copy"))
        shutil.rmtree(folder / "copy")
        timed("disk", lambda: disk(source, folder / "bare"))
        shutil.rmtree(folder / "bare")
        timed("hash", lambda: [blake3_of(path) for path in source.iterdir() for _ in range(2)])
    median = {side: statistics.median(times) for side, times in seconds.items()}
    slower, total = max(median["disk"], median["hash"]), sum(sizes)
    return {
        "benchmark": "consolidate",
        "what": name,
        "files": len(sizes),
        "megabytes": round(total / 1e6),
        "MBps": {side: round(total / 1e6 / time) for side, time in median.items()},
        "seconds": {side: round(time, 3) for side, time in median.items()},
        "by hand": {"ratio": round(median["by hand"] / median["ours"], 2)},
        "overall": {
            "ratio": round(slower / median["ours"], 2),
            "allowed": ALLOWED,
            "met": slower / median["ours"] >= ALLOWED,
        },
        "machine": {"cores": os.cpu_count(), "load": round(os.getloadavg()[0], 2), "python": sys.version.split()[0]},
    }


def write_recording(folder: Path, sizes: list[int]) -> None:
    """Write files that no disk can compress, some time ago."""
    block = random.Random(0).randbytes(PIECE)
    for number, size in enumerate(sizes):
        path = folder / f"scan_{number:05}.tif"
        with path.open("wb") as file:
            for start in range(0, size, PIECE):
                file.write(block[: size - start])
        os.utime(path, (time.time() - 600,) * 2)


def plan_of(source: Path, lab: settings.Settings) -> ConsolidationPlan:
    """Plan without waiting for files to settle."""
    return plan_consolidation([source], Wish("mini2p1_openfield", "ANM-0001", "XX", "demo"), lab, settle=0)


def by_hand(source: Path, target: Path) -> None:
    """Copy, wait for the disk, and compare checksums of both sides."""
    subprocess.run(["cp", "-rp", str(source), str(target)], check=True)
    for path in target.iterdir():
        settle(path)
    for path in target.iterdir():
        if blake3_of(path) != blake3_of(source / path.name):
            raise SystemExit(f"{path} is not its source")


def disk(source: Path, target: Path) -> None:
    """Write the bytes durably and read them back, computing nothing."""
    target.mkdir()
    buffer = memoryview(bytearray(PIECE))
    for path in source.iterdir():
        with path.open("rb", buffering=0) as file, (target / path.name).open("wb", buffering=0) as copy:
            while length := file.readinto(buffer):
                copy.write(buffer[:length])
        settle(target / path.name)
    for path in target.iterdir():
        with path.open("rb", buffering=0) as file:
            while file.readinto(buffer):
                pass


def settle(path: Path) -> None:
    """Wait until a file is on the disk, and let the system forget it."""
    with path.open("r+b") as file:
        os.fsync(file.fileno())
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


if __name__ == "__main__":
    main()
