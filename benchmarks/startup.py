"""How long a person waits before anything happens: imports, --help, connect and check.

Each line holds both sides, run in turn in fresh processes of the same interpreter: ours, and what it stands on.
The lab is a throw-away one with every table in place and its server running.
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

CONNECT = "from adamacs.pipeline import connect, imaging; connect()"
ADAMACS = [sys.executable, "-m", "adamacs"]

# name: (ours, what it stands on, s that ours may take longer)
PAIRS: dict[str, tuple[list[str], list[str], float]] = {
    "import adamacs": ([sys.executable, "-c", "import adamacs"], [sys.executable, "-c", "pass"], 0.1),
    "adamacs --help": ([*ADAMACS, "--help"], [sys.executable, "-c", "pass"], 0.1),
    "connect": ([sys.executable, "-c", CONNECT], [sys.executable, "-c", "import datajoint"], 1.0),
    "adamacs check": ([*ADAMACS, "check"], [sys.executable, "-c", "import datajoint"], 1.5),
}


def main() -> None:
    """Print one JSON line per pair."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="three rounds instead of eleven")
    rounds = 3 if parser.parse_args().quick else 11
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "lab"
        kept = {name: value for name, value in os.environ.items() if not name.startswith("ADAMACS_")}  # of no other lab
        environment = {**kept, "ADAMACS_HOME": str(home)}
        run([*ADAMACS, "db", "init", "--yes"], environment)
        try:
            for name, (ours, base, allowed) in PAIRS.items():
                print(json.dumps(pair(name, ours, base, allowed, rounds, environment)), flush=True)
        finally:
            run([*ADAMACS, "db", "remove", "--yes"], environment)


def pair(name: str, ours: list[str], base: list[str], allowed: float, rounds: int, env: dict[str, str]) -> dict:
    """Time both sides in turn; medians, s."""
    times: tuple[list[float], list[float]] = ([], [])
    for command in (ours, base):
        run(command, env)  # warm
    for _ in range(rounds):
        for side, command in enumerate((ours, base)):
            began = time.perf_counter()
            run(command, env)
            times[side].append(time.perf_counter() - began)
    a, b = statistics.median(times[0]), statistics.median(times[1])
    return {
        "benchmark": "startup",
        "what": name,
        "ours_s": round(a, 4),
        "base_s": round(b, 4),
        "over_s": round(a - b, 4),
        "allowed_over_s": allowed,
        "ratio": round(a / b, 2),
        "met": a - b <= allowed,
    }


def run(command: list[str], env: dict[str, str]) -> None:
    """Run a command to its end; `check` may find something amiss, which is no matter here."""
    answer = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    if answer.returncode and "check" not in command:
        raise SystemExit(f"{command}: {answer.stderr}")


if __name__ == "__main__":
    main()
