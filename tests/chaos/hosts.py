"""Hosts of the chaos suite: a supervisor each, which is started again when it dies, as systemd would."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil

ROOT = Path(__file__).parents[2]


class Host:
    """One computer, as far as workers can tell.

    Parameters
    ----------
    name
        Other than that of every other host: its processes are judged by their heartbeats alone.
    home
        Of the lab.
    slots
        Children of its supervisor.
    hours
        By how much its clock is ahead.
    """

    def __init__(self, name: str, home: Path, slots: int = 2, hours: float = 0.0) -> None:
        self.name = name
        self.crashes: list[str] = []
        self.is_stopped = False
        self._home = home
        self._slots = slots
        self._orders = home / "orders"
        self.log = home / f"host-{name}.log"
        self._name_and_clock = f"{name}+{hours:g}"
        self._process: subprocess.Popen[bytes] | None = None
        self._ready_since: float | None = None
        self._expected_to_die: set[int] = set()

    @property
    def pid(self) -> int:
        """Number of the supervisor's process."""
        assert self._process is not None
        return self._process.pid

    def tend(self) -> None:
        """Start the supervisor where none runs; one that ended without being killed is remembered as a crash."""
        if self._process is not None and self._process.poll() is not None:
            if self._process.pid not in self._expected_to_die:
                self.crashes.append(f"supervisor of {self.name}: status {self._process.returncode}")
            self._process = None
        if self._process is None:
            self._ready_since = None
            arguments = ["daemon", self._name_and_clock, str(self._orders), str(self._home), str(self._slots)]
            with self.log.open("ab") as log:
                self._process = subprocess.Popen(
                    [sys.executable, "-m", "tests.chaos.worker", *arguments],
                    stdin=subprocess.PIPE,
                    stdout=log,
                    stderr=log,
                    cwd=ROOT,
                    env={name: value for name, value in os.environ.items() if not name.startswith("ADAMACS_")},
                )
        elif self._ready_since is None and (self._orders / f"{self._name_and_clock}.{self.pid}").exists():
            self._ready_since = time.monotonic()

    def seconds_on_watch(self) -> float:
        """Return since when its supervisor looks after the dead, s; below zero where it does not."""
        if self._ready_since is None or self.is_stopped or self._process is None or self._process.poll() is not None:
            return -1.0
        return time.monotonic() - self._ready_since

    def children(self) -> list[int]:
        """Return the numbers of the processes that compute here."""
        try:
            return [child.pid for child in psutil.Process(self.pid).children()]
        except psutil.Error:
            return []

    def kill_supervisor(self) -> list[int]:
        """Kill -9 it, and return the children that it leaves behind to end by themselves."""
        left = self.children()
        self._expected_to_die.add(self.pid)
        os.kill(self.pid, signal.SIGKILL)
        return left

    def end(self) -> None:
        """Ask the supervisor to stop, as systemd does, and see that it does."""
        if self._process is None or self._process.poll() is not None:
            return
        self._expected_to_die.add(self.pid)
        self._process.terminate()
        try:
            if self._process.wait(20):
                self.crashes.append(f"supervisor of {self.name}, told to stop: status {self._process.returncode}")
        except subprocess.TimeoutExpired:
            self.crashes.append(f"supervisor of {self.name} did not stop within 20 s")
            self._process.kill()
            self._process.wait()
