"""Ingest: a thousand sessions in one command, beside the same rows through plain DataJoint; and how soon a row comes.

The recordings are copies of one tiny ScanImage acquisition. Both sides write to the same server, in turn.

How soon a row comes from a share over the network is measured with `--share` and `--behind`: a mounted folder, and the
same folder as the file server has it, into which recordings are written. Mount one of this computer, to have one clock:
`sshfs -o cache=no localhost:/srv/share /mnt/share`.
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
import threading
import time
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))
warnings.simplefilter("ignore")

from adamacs import pipeline  # noqa: E402
from adamacs.core import settings as lab_settings  # noqa: E402
from adamacs.demo import lab as synthetic  # noqa: E402
from adamacs.ingest.apply import apply_plan  # noqa: E402
from adamacs.ingest.compare import table_of  # noqa: E402
from adamacs.ingest.plan import IngestPlan, plan_ingest  # noqa: E402
from adamacs.ingest.remove import apply_removal, plan_removal  # noqa: E402
from adamacs.ingest.ripe import is_network  # noqa: E402
from adamacs.ingest.watch import Watcher, watch  # noqa: E402
from tests import labs, servers  # noqa: E402

GOAL = 60.0  # s for a thousand sessions
LATE = 0.05  # s beyond the incubation
POLL = 2.0  # s; over the network two polls may be late


def main() -> None:
    """Print one JSON line per measurement."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a tenth of the sessions and of the arrivals")
    parser.add_argument("--backend", choices=("postgresql", "mysql"), help="on this kind of server alone")
    parser.add_argument("--share", type=Path, help="a mounted share: how soon rows come from it, and nothing else")
    parser.add_argument("--behind", type=Path, help="the same folder on the file server")
    options = parser.parse_args()
    if options.backend is None:  # the tables of a process belong to one server
        for backend in ("postgresql", "mysql"):
            subprocess.run([sys.executable, __file__, "--backend", backend, *sys.argv[1:]], check=True)
        return
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        folder.chmod(0o711)  # as root, the database server runs as another account
        with server(options.backend, folder / "server") as address:
            lab = labs.Lab(folder / "lab", address)
            pipeline.initialise(lab.settings)
            synthetic.write_setups(lab.home, paramset_idx=0)
            pipeline.imaging.ProcessingParamSet.insert_new(synthetic.SUITE2P, paramset_idx=0, desc="synthetic")
            source = recording(folder / "source")
            count = 20 if options.quick else 200
            if options.share is not None:
                arrivals(lab, source, count, options.backend, options.share, options.behind)
                return
            arrivals(lab, source, count, options.backend)
            bulk(lab, source, 100 if options.quick else 1000, options.backend)


def server(backend: str, folder: Path) -> Any:
    """Give a private server of a kind."""
    folder.mkdir()
    if backend == "postgresql":
        return servers.postgresql(folder)
    program = servers.find_mysql()
    if program is None:
        sys.exit("There is neither mariadbd nor mysqld here.")
    return servers.mysql(program)


def recording(folder: Path) -> Path:
    """Write the tiny synthetic lab, and return one of its scan folders."""
    synthetic.write(folder / "share", size="tiny")
    return sorted((folder / "share" / "demo").iterdir())[0]


def copies(source: Path, share: Path, numbers: range) -> Iterator[Path]:
    """Copy a recording under new tokens."""
    for number in numbers:
        token = f"9A{number:06}"
        place = share / "demo" / f"XX_ANM-{number % 50:04}_2026-02-10_scan{token}_sess{token}"
        shutil.copytree(source, place)
        yield place


def bulk(lab: Any, source: Path, count: int, backend: str) -> None:
    """Ingest many sessions at once, remove them, and insert the same rows one by one as DataJoint does."""
    share = lab.settings.root("share")
    list(copies(source, share, range(count)))
    began = time.perf_counter()
    plan = plan_ingest([share / "demo"], lab.settings)
    planned = time.perf_counter() - began
    outcomes = apply_plan(plan, lab.settings)
    ours = time.perf_counter() - began
    written = sum(outcome.state == "written" for outcome in outcomes)
    again = time.perf_counter()
    assert not plan_ingest([share / "demo"], lab.settings).changes
    again = time.perf_counter() - again
    few = replace(plan, scans=plan.scans[: count // 10])
    apply_removal(plan_removal(*(scan.scan_id for scan in few.scans)), lab.settings)
    plain = insert_plainly(few) * len(plan.scans) / len(few.scans)
    line = {"what": f"ingest: {count} sessions in one command", "backend": backend, "written": written}
    line |= {"ours_s": ours, "of_it_planning_s": planned, "again_s": again, "datajoint_insert1_s": plain}
    line |= {"ratio": plain / ours, "goal": f"below {GOAL} s for 1000", "met": ours * 1000 / count < GOAL}
    print(json.dumps(line))


def insert_plainly(plan: IngestPlan) -> float:
    """Insert the rows of a plan with `insert1`, skipping what is there, and return how long that took, s."""
    began = time.perf_counter()
    for scan in plan.scans:
        for row in scan.rows:
            table_of(row.table).insert1(dict(row.values), skip_duplicates=True)
    return time.perf_counter() - began


def arrivals(
    lab: Any, source: Path, count: int, backend: str, share: Path | None = None, behind: Path | None = None
) -> None:
    """Let folders arrive one after the other, and measure from the last byte to the row beyond the incubation."""
    ingest = replace(lab.settings.ingest, incubation=1.0, incubation_network=1.0, poll=POLL)
    settings = replace(lab.settings, ingest=ingest)
    if share is not None:
        settings = replace(settings, roots=replace(settings.roots, share=str(share)))
    goal = 2 * POLL if is_network(settings.root("share")) else LATE
    written = behind or settings.root("share")
    lab_settings.use(settings)
    closed: dict[str, float] = {}
    came: dict[str, float] = {}
    stop = threading.Event()

    def heard(event: Any) -> None:
        if event.what == "ingested":
            came[event.path.rpartition("/")[2]] = time.time()

    def deliver() -> None:
        for place in copies(source, written, range(900_000, 900_000 + count)):
            closed[place.name] = max(path.stat().st_ctime for path in (place, *place.iterdir()))
            time.sleep(0.2)
        deadline = time.time() + 30
        while len(came) < count and time.time() < deadline:
            time.sleep(0.1)
        stop.set()

    thread = threading.Thread(target=deliver)
    thread.start()
    watch(Watcher(settings, report=heard), settings, stop)
    thread.join()
    lab_settings.use(lab.settings)
    late = sorted(came[name] - closed[name] - ingest.incubation for name in came)
    line = {"what": "ingest: last byte to row, beyond the incubation", "backend": backend, "arrivals": len(late)}
    line |= {"p50_s": statistics.median(late), "p99_s": late[int(0.99 * (len(late) - 1))], "max_s": late[-1]}
    line |= {
        "network": is_network(settings.root("share")),
        "goal": f"p99 at most {goal} s",
        "met": line["p99_s"] <= goal,
    }
    print(json.dumps(line | {"cores": os.cpu_count()}))
    shutil.rmtree(written / "demo")


if __name__ == "__main__":
    main()
