"""How long `adamacs demo` takes on an installed machine: all of it, what lies outside Suite2p, and typed once more.

The lab is a throw-away one. Outside Suite2p is the wall time of the command less the time that Suite2p took inside it.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

TOTAL, OUTSIDE = 240, 90  # s that the demo may take on two cores
SCORES = ("cells_true", "cells_found", "recall", "precision", "median_iou", "shift_r", "spike_r", "dff_r")


def main() -> None:
    """Print one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one small scan instead of three")
    size = "small" if parser.parse_args().quick else "demo"
    with tempfile.TemporaryDirectory() as folder:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("ADAMACS_")}  # of no other lab
        environment = {**kept, "ADAMACS_HOME": str(Path(folder) / "lab")}
        try:
            first, told = timed(size, environment)
            second, _ = timed(size, environment)
        finally:
            subprocess.run(
                [sys.executable, "-m", "adamacs", "db", "remove", "--yes"],
                env=environment,
                check=True,
                capture_output=True,
            )
    print(json.dumps(summary(size, first, second, told)))


def timed(size: str, environment: dict[str, str]) -> tuple[float, dict[str, Any]]:
    """Run the demo once; return its wall time (s) and its own JSON line."""
    began = time.perf_counter()
    command = [sys.executable, "-m", "adamacs", "demo", "--size", size, "--json"]
    answer = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if answer.returncode:
        raise SystemExit(answer.stderr)
    return time.perf_counter() - began, json.loads(answer.stdout.splitlines()[-1])


def summary(size: str, first: float, second: float, told: dict[str, Any]) -> dict[str, Any]:
    """Compare with what the demo may take."""
    suite2p = told["seconds_by_stage"]["suite2p"]
    return {
        "benchmark": "demo",
        "size": size,
        "total_s": round(first, 1),
        "suite2p_s": round(suite2p, 1),
        "outside_s": round(first - suite2p, 1),
        "again_s": round(second, 1),
        "allowed_total_s": TOTAL,
        "allowed_outside_s": OUTSIDE,
        "met": first <= TOTAL and first - suite2p <= OUTSIDE,
        **{name: told[name] for name in SCORES},
    }


if __name__ == "__main__":
    main()
