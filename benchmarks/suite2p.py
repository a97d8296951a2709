"""What a worker adds to Suite2p: the same scan, the same settings, computed by hand and by a worker, in turn.

Both sides run in fresh processes and are timed inside them, from the import of Suite2p to the last file: by hand that
is `suite2p.run_s2p`, by a worker all three parts of `Processing`, with its checks, manifest, syncs and rows. Memory is
the peak of the process.
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
from pathlib import Path

PEAK = """
import re
from pathlib import Path
peak = int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) / 1024
"""

HAND = """
import json, sys, time
job = json.load(open(sys.argv[1]))
from adamacs.modalities.imaging.engine import tool
began = time.perf_counter()
suite2p = tool.load_suite2p(job["version"], "cpu", job["threads"])
settings, db = job["settings"], job["db"]
for group in ("registration", "detection"):
    settings[group]["block_size"] = tuple(settings[group]["block_size"])
with tool.limited_threads(job["threads"]):
    suite2p.run_s2p(db=db, settings=settings)
seconds = time.perf_counter() - began
"""

WORKER = """
import json, sys, time
from adamacs.pipeline import connect, imaging
from adamacs.workers import loop
connect()
tally = loop.Tally()
(key,) = list(loop.pending(imaging.Processing))
began = time.perf_counter()
loop.run(imaging.Processing, key, tally)
seconds = time.perf_counter() - began
assert not tally.failed, tally.failed
"""

TELL = PEAK + "\nprint(json.dumps({'seconds': seconds, 'megabytes': peak}))"

PREPARE = """
import sys
from adamacs import pipeline
from adamacs.core import settings
from adamacs.demo import lab
from adamacs.ingest.apply import apply_plan
from adamacs.ingest.plan import plan_ingest
from adamacs.workers import loop, roles
home = settings.find_home()
made = settings.create(home)
lab.write(made.root("share"), size=sys.argv[1])
pipeline.initialise(made)
index = pipeline.imaging.ProcessingParamSet.insert_new(lab.SUITE2P)
scan = sorted((made.root("share") / "demo").iterdir())[0]
apply_plan(plan_ingest([scan], made, paramset_idx=index), made)
assert not loop.drain(roles.named("cpu")).failed
"""

FORGET = """
from adamacs.pipeline import connect, imaging
connect()
imaging.Processing.delete(prompt=False)
"""


def main() -> None:
    """Print one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="two pairs of a small scan instead of five")
    quick = parser.parse_args().quick
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "lab"
        kept = {name: value for name, value in os.environ.items() if not name.startswith("ADAMACS_")}  # of no other lab
        environment = {**kept, "ADAMACS_HOME": str(home), "OMP_NUM_THREADS": str(os.cpu_count() or 1)}
        try:
            run(PREPARE, environment, "small" if quick else "demo")
            sides = pairs(home, environment, 2 if quick else 5)
        finally:
            run("from adamacs.cli import main; main(['db', 'remove', '--yes'])", environment)
    print(json.dumps(summary(sides)))


def pairs(home: Path, environment: dict[str, str], rounds: int) -> dict[str, list[dict[str, float]]]:
    """Run both sides in turn."""
    finished = next((home / "processed").rglob("manifest.json")).parent
    record = json.loads((finished / "manifest.json").read_text())["run"]
    scan, files = record["request"]["scan"], sorted((home / "share").rglob("*.tif"))
    chosen = {entry["name"] for entry in record["request"]["inputs"]}
    files = [file for file in files if file.name in chosen]
    job = home / "job.json"
    sides: dict[str, list[dict[str, float]]] = {"hand": [], "worker": []}
    for _ in range(rounds):
        place = home / "by_hand"
        db = {
            "data_path": [str(files[0].parent)],
            "file_list": [str(file) for file in files],
            "input_format": "tif",
            "save_path0": str(place),
            "nplanes": scan["nplanes"] + scan["nflyback"],
            "nchannels": scan["nchannels"],
        }
        content = {"settings": record["settings"], "db": db, "threads": record["threads"], "version": "1.1.0"}
        job.write_text(json.dumps(content))
        place.mkdir()
        sides["hand"].append(json.loads(run(HAND + TELL, environment, str(job)).splitlines()[-1]))
        shutil.rmtree(place)
        run(FORGET, environment)
        shutil.rmtree(finished)
        sides["worker"].append(json.loads(run(WORKER + TELL, environment).splitlines()[-1]))
    return sides


def summary(sides: dict[str, list[dict[str, float]]]) -> dict[str, object]:
    """Compare the medians."""
    median = {
        side: {name: statistics.median(run[name] for run in runs) for name in ("seconds", "megabytes")}
        for side, runs in sides.items()
    }
    hand, worker = median["hand"], median["worker"]
    over = statistics.median(b["seconds"] - a["seconds"] for a, b in zip(sides["hand"], sides["worker"], strict=True))
    allowed = max(0.02 * hand["seconds"], 1.0)
    return {
        "benchmark": "suite2p",
        "pairs": len(sides["hand"]),
        "by_hand_s": round(hand["seconds"], 2),
        "worker_s": round(worker["seconds"], 2),
        "over_s": round(over, 2),
        "allowed_over_s": round(allowed, 2),
        "ratio": round(worker["seconds"] / hand["seconds"], 4),
        "by_hand_mb": round(hand["megabytes"]),
        "worker_mb": round(worker["megabytes"]),
        "memory_ratio": round(worker["megabytes"] / hand["megabytes"], 3),
        "met": over <= allowed and worker["megabytes"] <= 1.05 * hand["megabytes"],
    }


def run(code: str, environment: dict[str, str], *arguments: str) -> str:
    """Run Python code in a fresh process and return what it printed."""
    answer = subprocess.run(
        [sys.executable, "-c", code, *arguments], env=environment, capture_output=True, text=True, check=False
    )
    if answer.returncode:
        raise SystemExit(answer.stderr)
    return answer.stdout


if __name__ == "__main__":
    main()
