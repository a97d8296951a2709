"""The lab of the chaos suite: a stream of items to compute, and a store whose disk can fail."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from adamacs import pipeline
from adamacs.core import settings as core_settings
from adamacs.database import connect, portable
from adamacs.database.address import Server
from tests.labs import Lab

LEASE = 1.0  # s
WORKERS = {"lease": LEASE, "beat": 0.2, "poll": 0.2, "kills": 10**6, "attempts": 10**6, "threads": 1}
VOLUME = 2 << 30  # bytes of the store's disk, which takes no more memory than it holds
COMPUTED = ("Cheap", "Costly", "Total")


class ChaosLab:
    """A lab home with tables for workers, and the items that they shall compute.

    Parameters
    ----------
    home
        A new folder.
    server
        The database server.
    """

    def __init__(self, home: Path, server: Server, rng: np.random.Generator) -> None:
        self.home = home
        self.volume = home / "volume"
        self.store = self.volume / "derived"
        self._rng = rng
        self.items = 0  # so many stand in the database
        self.volume.mkdir(parents=True)
        self.has_disk = _mount(self.volume)
        self.store.mkdir()
        lab = Lab(home / "lab", server)
        with (lab.home / core_settings.FILE).open("a") as file:
            file.write(f'\n[stores.derived]\nlocation = "{self.store}"\n\n[workers]\n')
            file.writelines(f"{name} = {value}\n" for name, value in WORKERS.items())
        self.settings = core_settings.load(lab.home, environ={})
        self.orders = lab.home / "orders"  # to children, where to die
        self.orders.mkdir()
        pipeline.initialise(self.settings)

    @property
    def tables(self) -> Any:
        """The module of the tables."""
        return pipeline.modules()[-1]

    def patiently(self, ask: Callable[[], Any], seconds: float = 60.0) -> Any:
        """Ask the database, again and again while it is away."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                connect.open_connection(self.settings)
                return ask()
            except portable.UNREACHABLE:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)

    def top_up(self, wanted: int) -> None:
        """See that at least so many items are not computed to the end."""
        missing = self.items - self.patiently(lambda: len(self.tables.Total()))
        if missing < wanted:
            self.add(wanted)

    def add(self, count: int) -> None:
        """Add items, of 0.05 to 0.2 s each."""
        seconds = self._rng.uniform(0.05, 0.2, count)
        rows = [{"item": self.items + n, "value": self.items + n, "seconds": seconds[n]} for n in range(count)]
        # An answer may be lost with the connection; the same rows are sent then.
        self.patiently(lambda: self.tables.Item.insert(rows, skip_duplicates=True))
        self.items += count

    def unfinished(self) -> dict[str, int]:
        """Return what is still to be done: rows that are missing, and job rows by their status."""
        found: dict[str, int] = {}
        for name in COMPUTED:
            table = getattr(self.tables, name)
            if missing := self.items - len(table()):
                found[f"{name} missing"] = missing
            for status in portable.job_table(table).to_arrays("status"):
                found[f"{name} {status}"] = found.get(f"{name} {status}", 0) + 1
        return found

    def await_all(self, seconds: float, tend: Callable[[], None]) -> tuple[float, dict[str, int]]:
        """Wait until everything is computed; return how long it took, s, and what is left undone."""
        began = time.monotonic()
        while left := self.patiently(self.unfinished):
            if time.monotonic() - began > seconds:
                break
            tend()
            time.sleep(0.2)
        return time.monotonic() - began, left

    def forgive(self, kind: str) -> int:
        """Do what a person does after mending a cause: let keys that failed of it be tried again."""
        count = 0
        for name in COMPUTED:
            failed = portable.job_table(getattr(self.tables, name)) & {"status": "error"}
            for row in failed.to_dicts():
                if row["error_message"].startswith(f"[{kind}]"):
                    (failed & {"item": row["item"]}).delete_quick()
                    count += 1
        return count

    # ---- the store's disk

    def make_read_only(self) -> None:
        """Let the store refuse every write: by its mount, or by its permissions where mounting is not allowed."""
        if not self.has_disk:
            self._permit(0o555)
            return
        while subprocess.run(["mount", "-o", "remount,ro", self.volume], capture_output=True, check=False).returncode:
            time.sleep(0.01)  # refused while a file is open for writing

    def make_writable(self) -> None:
        """Undo `make_read_only`."""
        if self.has_disk:
            subprocess.run(["mount", "-o", "remount,rw", self.volume], check=True)
        else:
            self._permit(0o755)

    def _permit(self, mode: int) -> None:
        for folder in (self.store, *(path for path in self.store.rglob("*") if path.is_dir())):
            folder.chmod(mode)

    def fill_up(self) -> None:
        """Leave no byte free on the store's disk, which must be one of its own."""
        used = sum(path.stat().st_blocks * 512 for path in self.volume.rglob("*") if path.exists())
        _resize(self.volume, used + (1 << 20))
        with (self.volume / "ballast").open("wb", buffering=0) as ballast:
            try:
                while ballast.write(bytes(4096)):
                    pass
            except OSError:
                return

    def make_room(self) -> None:
        """Undo `fill_up`."""
        (self.volume / "ballast").unlink(missing_ok=True)
        _resize(self.volume, VOLUME)

    def take_away(self) -> None:
        """Let the store be gone, as a share that is not mounted."""
        self.store.rename(self.volume / "elsewhere")

    def bring_back(self) -> None:
        """Undo `take_away`."""
        (self.volume / "elsewhere").rename(self.store)

    def remove(self) -> None:
        """Unmount the store's disk."""
        if self.has_disk:
            subprocess.run(["umount", "--lazy", self.volume], check=True)


def _mount(folder: Path) -> bool:
    """Mount a disk of its own, in memory, where that is allowed."""
    if os.geteuid() != 0:
        return False
    command = ["mount", "-t", "tmpfs", "-o", f"size={VOLUME}", "adamacs-chaos", folder]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def _resize(folder: Path, size: int) -> None:
    subprocess.run(["mount", "-o", f"remount,size={size}", folder], check=True)
