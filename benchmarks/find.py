"""Finding recordings: the first look at a share of a million files, the look at an unchanged one, and its memory.

The other side is `find ROOT -printf '%s %T@'` on the same tree, in turn with ours. The tree holds empty files.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

FIRST, AGAIN, MEMORY = 1.5, 0.15, 500  # times find, times find, MB


def main() -> None:
    """Print one JSON line per measurement."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a tenth of the folders")
    parser.add_argument("--look", metavar="HOME", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.look:
        return look(Path(options.look))
    folders, files = (1_000 if options.quick else 10_000), 100
    with tempfile.TemporaryDirectory() as place:
        home = Path(place)
        build(home / "share", folders, files)
        (home / "adamacs.toml").write_text("")
        rounds = [(find(home / "share"), elsewhere(home)) for _ in range(3)]
    theirs = statistics.median(seconds for seconds, _ in rounds)
    for name, goal in (("first", FIRST), ("again", AGAIN)):
        ours = statistics.median(ours[name] for _, ours in rounds)
        ratio = statistics.median(ours[name] / seconds for seconds, ours in rounds)
        line = {"what": f"find: {name} look", "folders": folders, "files": folders * files}
        line |= {"ours_s": ours, "find_s": theirs, "ratio": ratio}
        print(json.dumps(line | {"goal": f"at most {goal} x", "met": ratio <= goal}))
    memory = max(ours["memory"] for _, ours in rounds)
    print(json.dumps({"what": "find: peak memory", "MB": memory, "goal": f"below {MEMORY} MB", "met": memory < MEMORY}))
    return None


def build(share: Path, folders: int, files: int) -> None:
    """Make scan folders of four people, with empty files."""
    for number in range(folders):
        name = f"XX_ANM-{number % 97:04}_2026-02-10_scan{number:08}_sess{number:08}"
        folder = share / f"person{number % 4}" / name
        folder.mkdir(parents=True)
        handle = os.open(folder, os.O_RDONLY)
        for part in range(files):
            os.close(os.open(f"scan{number:08}_XX_{part:05}.tif", os.O_CREAT | os.O_WRONLY, dir_fd=handle))
        os.close(handle)


def find(share: Path) -> float:
    """Return how long the anchor takes, s."""
    began = time.perf_counter()
    subprocess.run(["find", str(share), "-printf", "%s %T@\n"], stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - began


def elsewhere(home: Path) -> dict[str, float]:
    """Return times (s) and peak memory (MB) of two looks in a fresh process."""
    out = subprocess.run([sys.executable, __file__, "--look", str(home)], check=True, capture_output=True, text=True)
    told: dict[str, float] = json.loads(out.stdout)
    return told


def look(home: Path) -> None:
    """Look twice, and print how long each look took and what memory it needed."""
    import resource

    from adamacs.core import settings
    from adamacs.ingest.find import Finder

    finder = Finder(settings.load(home, environ={}), margin=0)
    told: dict[str, Any] = {}
    for name in ("first", "again"):
        began = time.perf_counter()
        found = finder.look()
        told[name] = time.perf_counter() - began
        told[f"{name}_found"] = len(found.changed)
        del found
    told["memory"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps(told))


if __name__ == "__main__":
    main()
