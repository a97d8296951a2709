"""Consolidations that are killed, many in one interpreter: each runs in a fork of it, because an import takes a second.

`python -m tests.consolidating kill FOLDER SEED COUNT` prints a JSON line per run, until COUNT of them died
of it: what was seen and what was wrong.
`python -m tests.consolidating race FOLDER SEED COUNT` does so per pair of processes that want the same token.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import Any

from adamacs.core import points
from adamacs.core import settings as settings_module
from adamacs.core.errors import AdamacsError
from adamacs.core.settings import Settings
from adamacs.ingest import consolidate
from adamacs.ingest.consolidate import ConsolidationPlan, Wish, apply_consolidation, plan_consolidation
from adamacs.storage.checksum import blake3_of

FILES = {"rig/scan.tif": 5_000_000, "rig/sync.h5": 300_000, "camera/deep/eye.mp4": 2_500_000, "camera/notes.txt": 0}


def main() -> None:
    """Run one kind of fault many times."""
    kind, folder, seed, count = sys.argv[1:]
    rng = random.Random(int(seed))
    run = {"kill": kill, "race": race}[kind]
    take = seconds_of_one(Path(folder, "first"), rng)
    number = wanted = 0
    while wanted < int(count) and number < 3 * int(count):
        home = Path(folder, f"{kind}{number}")
        lab = settings_module.create(home / "lab")
        seen = run(lab, make_sources(home / "mounts", rng), rng, number, take)
        print(json.dumps({"number": number, **seen}), flush=True)
        shutil.rmtree(home)
        number, wanted = number + 1, wanted + seen.get("died", True)


def seconds_of_one(home: Path, rng: random.Random) -> float:
    """Return how long a consolidation takes here and now, in a fork of its own."""
    lab = settings_module.create(home / "lab")
    plan = plan_of(lab, make_sources(home / "mounts", rng))
    began = time.monotonic()
    os.waitpid(forked(lambda: apply_consolidation(plan, lab)), 0)
    shutil.rmtree(home)
    return time.monotonic() - began


def make_sources(place: Path, rng: random.Random) -> list[Path]:
    """Write what two controllers left, some time ago."""
    for name, size in FILES.items():
        path = place / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(rng.randbytes(size))
        os.utime(path, ns=(1_760_000_000_123_456_789, 1_760_000_000_123_456_789 + size))
    return [place / "rig", place / "camera"]


def plan_of(lab: Settings, sources: list[Path], user: str = "demo", **wish: Any) -> ConsolidationPlan:
    """Plan without waiting."""
    asked = Wish("mini2p1_openfield", "ANM-0001", "XX", user, **wish)
    return plan_consolidation(sources, asked, lab, settle=0)


def forked(run: Any) -> int:
    """Run something in a fork, which ends with status 3 where it is refused."""
    if pid := os.fork():
        return pid
    status = 1
    try:
        run()
        status = 0
    except AdamacsError:
        status = 3
    finally:
        os._exit(status)


def visible(lab: Settings) -> list[Path]:
    """Return the folders that people see in their folders on the share."""
    return [path for path in lab.root("share").glob("*/*") if not path.name.startswith(".")]


def faults(folders: list[Path], originals: dict[str, str]) -> list[str]:
    """Return what is wrong with folders that are visible: each must be whole."""
    wrong = []
    for folder in folders:
        found = {str(path.relative_to(folder)): path for path in folder.rglob("*") if path.is_file()}
        scan = folder.glob("scan*") if "_scan" not in folder.name else [folder]
        record = consolidate.read_record(next(iter(scan)))
        digests = {blake3_of(path) for path in found.values() if path.name != consolidate.RECORD}
        if record is None or digests != set(originals.values()):
            wrong.append(f"{folder.name} is not whole: {sorted(found)}")
    return wrong


def kill(lab: Settings, sources: list[Path], rng: random.Random, number: int, take: float) -> dict[str, Any]:
    """Kill one consolidation, at a named point or at any moment, then run it again."""
    move, layout = bool(number % 2), rng.choice(consolidate.LAYOUTS)
    originals = {str(path): blake3_of(path) for source in sources for path in source.rglob("*") if path.is_file()}
    place = points.CONSOLIDATION[number // 3 % len(points.CONSOLIDATION)] if number % 3 == 0 else ""
    plan = plan_of(lab, sources, move=move, layout=layout)

    def run() -> None:
        points.arm(
            f"{place}:{rng.randint(1, 3) if place in ('mid copy', 'copied', 'mid removal') else 1}" * bool(place)
        )
        apply_consolidation(plan, lab)

    pid = forked(run)
    if not place:
        time.sleep(rng.uniform(0, 1.1 * take))
        os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    folders = visible(lab)
    wrong = faults(folders, originals)
    left = {path: digest for path, digest in originals.items() if Path(path).exists()}
    wrong += [f"{path} changed" for path, digest in left.items() if blake3_of(path) != digest]
    if len(left) < len(originals) and not folders:
        wrong.append("sources are gone and no folder stands")
    if len(folders) > 1:
        wrong.append(f"{len(folders)} folders stand")
    again = plan_of(lab, sources, move=move, layout=layout)
    if not folders:
        apply_consolidation(again, lab)
        wrong += faults(visible(lab), originals)
        wrong += [f"{path.name} is left" for path in lab.root("share").glob("*/.*")]
    elif len(left) == len(originals) and not again.refused:
        wrong.append("the same files would be consolidated twice")
    died = os.WIFSIGNALED(status)
    return {"place": place, "died": died, "stood": bool(folders), "moved": len(originals) - len(left), "wrong": wrong}


def race(lab: Settings, sources: list[Path], rng: random.Random, number: int, take: float) -> dict[str, Any]:
    """Let two processes consolidate the same sources at once: under one token, or each under one that it mints."""
    wish = {"scan": "scan9FY6AIRM", "session": "sess9FY6AIRM"} if number % 2 else {}
    plans = [plan_of(lab, sources, user=user, **wish) for user in ("demo", rng.choice(["demo", "other"]))]
    if not wish:  # two people at two rigs, in the same tick
        others = make_sources(sources[0].parents[1] / "second", rng)
        plans[1] = plan_of(lab, others, user=plans[1].wish.user)
    children = [forked(lambda plan=plan: apply_consolidation(plan, lab)) for plan in plans]
    statuses = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    scans = [consolidate.read_record(folder)["scan_id"] for folder in visible(lab)]
    rest = [path.name for path in lab.root("share").glob("*/.*")]
    return {"minted": not wish, "statuses": sorted(statuses), "scans": scans, "rest": rest}


if __name__ == "__main__":
    main()
