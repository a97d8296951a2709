"""`make chaos`: kill, stop, cut off and fill up what real workers need, and see that nothing is lost or doubled.

Prints its seed and one JSON line per kind of fault; exit status 1 where anything was not as it must be.
"""

from __future__ import annotations

import argparse
import json
import logging
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path

import numpy as np

from adamacs.core import processes
from adamacs.database import ping
from tests.chaos import worker
from tests.chaos.checks import Checker
from tests.chaos.faults import BrokenStore, Fault, Kill, Outage, Stop
from tests.chaos.hosts import ROOT, Host
from tests.chaos.lab import ChaosLab
from tests.chaos.observer import Observer
from tests.chaos.servers import MySQL, PostgreSQL, running

KINDS = ("kill", "stop", "database", "store", "clock")
ROUND = 10  # faults between two looks at everything
PATIENCE = 60.0  # s in which everything must be computed after the last fault of a round


def main() -> int:
    """Run what the command line asks for, each backend in a process of its own."""
    options = _options()
    print(f"seed {options.seed}", flush=True)
    if options.backend == "both":
        return max(_elsewhere(backend, options) for backend in ("postgresql", "mysql"))
    worker.join()
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))  # and leave nothing behind
    for name in ("adamacs", "datajoint"):
        logging.getLogger(name).setLevel(logging.ERROR)
    home = Path(tempfile.mkdtemp(prefix="adamacs-chaos-"))
    home.chmod(0o711)  # as root, the database server runs as another account
    good = True
    try:
        with running(options.backend, home) as server:
            for line in Suite(home, server, options).run():
                good &= not line["violations"]
                print(json.dumps(line), flush=True)
                if options.record:
                    with options.record.open("a") as file:
                        file.write(json.dumps({"date": f"{date.today()}", **line}) + "\n")
    finally:
        if good and not options.keep:
            shutil.rmtree(home)
        else:
            print(f"logs: {home}", file=sys.stderr)
    return 0 if good else 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backend", choices=("postgresql", "mysql", "both"), default="both")
    parser.add_argument("--faults", default=",".join(KINDS), help="kinds, with commas between them")
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--stops", type=int, default=0, help="a tenth of the kills unless given, as the next ones")
    parser.add_argument("--outages", type=int, default=0)
    parser.add_argument("--stores", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=float("inf"), help="begin no further round after so many s")
    parser.add_argument("--seed", type=int, default=secrets.randbelow(2**31))
    parser.add_argument("--slots", type=int, default=2, help="children per host")
    parser.add_argument("--hosts", type=int, choices=(1, 2), default=2)
    parser.add_argument("--keep", action="store_true", help="keep the logs even if all is well")
    parser.add_argument("--record", type=Path, help="add the lines to this file, such as docs/reference/chaos.jsonl")
    options = parser.parse_args()
    options.faults = options.faults.split(",")
    if unknown := set(options.faults) - set(KINDS):
        parser.error(f"no kinds of faults: {', '.join(unknown)}")
    return options


def _elsewhere(backend: str, options: argparse.Namespace) -> int:
    apart = ("backend", "faults", "keep", "record")
    words = [f"--{name}={value}" for name, value in vars(options).items() if name not in apart]
    words += [f"--record={options.record.absolute()}"] if options.record else []
    words += [f"--backend={backend}", f"--faults={','.join(options.faults)}", *["--keep"] * options.keep]
    return subprocess.run([sys.executable, "-m", "tests.chaos.run", *words], cwd=ROOT, check=False).returncode


class Suite:
    """Every kind of fault on one server, with two hosts at work.

    Parameters
    ----------
    home
        An empty folder.
    server
        Belongs to the suite alone.
    options
        Of the command line.
    """

    def __init__(self, home: Path, server: PostgreSQL | MySQL, options: argparse.Namespace) -> None:
        self._home, self._server, self._options = home, server, options
        self._rng = np.random.default_rng(options.seed)
        self._deadline = time.monotonic() + options.seconds
        self._lab = ChaosLab(home / "chaos", server.address, self._rng)
        self._checker = Checker(self._lab)

    def run(self) -> Iterator[dict]:
        """Yield what happened under each kind of fault."""
        try:
            for kind in self._options.faults:
                yield self._scenario(kind)
        finally:
            self._lab.remove()

    def _scenario(self, kind: str) -> dict:
        began, items, before = time.monotonic(), self._lab.items, self._checker.attempts()
        with self._hosts(hours=1.0 if kind == "clock" else 0.0) as (hosts, observer):
            fault = self._fault(kind, hosts, observer)
            violations, longest_wait = self._rounds(kind, fault)
        violations += [*observer.stuck.values(), *(crash for host in hosts for crash in host.crashes)]
        violations += self._checker.violations([host.log for host in hosts])
        attempts = {name: n - before.get(name, 0) for name, n in self._checker.attempts().items()}
        violations += [f"{n} attempts {name}" for name, n in attempts.items() if n and is_odd(name, fault.tolerated)]
        return {
            "backend": self._options.backend,
            "server": ping.version(self._server.address),
            "version": processes.version(),
            "fault": kind,
            "seed": self._options.seed,
            "delivered": dict(sorted(fault.delivered.items())),
            "beside": dict(fault.beside),
            "keys": 3 * (self._lab.items - items),
            "attempts": {name: n for name, n in sorted(attempts.items()) if n},
            "longest_claim_without_worker_s": round(observer.longest, 2),
            "longest_until_back_s": round(fault.longest_return, 2) or None,
            "longest_until_all_computed_s": round(longest_wait, 1),
            "seconds": round(time.monotonic() - began),
            "violations": violations[:20],
        }

    @contextmanager
    def _hosts(self, hours: float) -> Iterator[tuple[list[Host], Observer]]:
        home, slots = self._lab.settings.home, self._options.slots
        hosts = [Host("here", home, slots), Host("there", home, slots, hours)][: self._options.hosts]
        observer = Observer(self._lab, hosts)
        observer.start()
        try:
            yield hosts, observer
        finally:
            for host in hosts:
                host.end()
            observer.end()

    def _fault(self, kind: str, hosts: list[Host], observer: Observer) -> Fault:
        arguments = (self._lab, hosts, observer, self._rng)
        if kind == "database":
            return Outage(*arguments, server=self._server)
        return {"kill": Kill, "clock": Kill, "stop": Stop, "store": BrokenStore}[kind](*arguments)

    def _count(self, kind: str) -> int:
        given = {"kill": self._options.kills, "stop": self._options.stops, "database": self._options.outages}
        given |= {"store": self._options.stores, "clock": max(self._options.kills // 10, 10)}
        return given[kind] or max(self._options.kills // 10, 3)

    def _rounds(self, kind: str, fault: Fault) -> tuple[list[str], float]:
        """Strike as often as asked, and look at everything from time to time, with workers running."""
        violations: list[str] = []
        wanted, longest, next_look = self._count(kind), 0.0, ROUND
        while any(host.seconds_on_watch() < 0 for host in fault.hosts):  # which needs the database, once
            fault.tend()
            time.sleep(0.05)
        while not violations and (done := fault.delivered.total()) < wanted:
            self._lab.top_up(fault.backlog)
            fault.strike()
            if fault.delivered.total() >= min(next_look, wanted):
                next_look = fault.delivered.total() + ROUND
                fault.settle()
                waited, left = self._lab.await_all(PATIENCE, fault.tend)
                longest = max(longest, waited)
                violations += [f"after {PATIENCE:g} s: {count} {what}" for what, count in left.items()]
                violations += self._checker.error_rows()
                violations += self._checker.violations([host.log for host in fault.hosts])
                if time.monotonic() > self._deadline:
                    break
            elif done == fault.delivered.total():
                time.sleep(0.05)
        return violations, longest


def is_odd(outcome: str, tolerated: Collection[str]) -> bool:
    """Whether no attempt should end like this: here nothing stands still, and nobody cancels anything."""
    kind, _, failure = outcome.partition(" ")
    return kind in ("stalled", "cancelled") or (kind == "failed" and failure not in tolerated)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    sys.exit(main())
