"""The daemon and its children as they are, for the tables of tests, on a host whose name and clock are chosen.

`python -m tests.chaos.worker daemon NAME ORDERS HOME SLOTS` runs a supervisor for ever, and ends with who started it.
`python -m tests.chaos.worker child NAME ORDERS` is what the supervisor starts. A child that finds a file `*.order` in
the folder ORDERS takes it, and dies at the place that it names (see `adamacs/core/points.py`). A NAME like `there+1` is
that of a host whose clock is an hour ahead, for all that Python asks: under libfaketime Python's sleep fails or hangs.
"""

from __future__ import annotations

import os
import platform
import signal
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import psutil

import adamacs.modalities
from adamacs import pipeline
from adamacs.core import points


def join() -> None:
    """Let this process have one modality: that of the chaos suite."""
    adamacs.modalities.__path__.append(str(Path(__file__).parent / "modalities"))
    pipeline.MODALITIES = ("work",)


def main() -> None:
    """Be what the command line says."""
    kind, name, orders, *rest = sys.argv[1:]
    host, _, hours = name.partition("+")
    platform.node = lambda: host
    shift_clock(3600 * float(hours or 0))
    join()
    if kind == "child":
        from adamacs.workers import child

        take_order(Path(orders))
        child.main()
    else:
        _end_with_standard_input()
        run_daemon(name, Path(orders), Path(rest[0]), int(rest[1]))


def shift_clock(seconds: float) -> None:
    """Let the clock of this host be ahead, and with it the instants at which its processes began."""
    now, now_ns, began = time.time, time.time_ns, psutil.Process.create_time
    time.time = lambda: now() + seconds
    time.time_ns = lambda: now_ns() + int(seconds * 1e9)
    psutil.Process.create_time = lambda process: began(process) + seconds


def take_order(folder: Path) -> None:
    """Find out where to die, if anywhere."""
    for order in sorted(folder.glob("*.order")):
        with suppress(FileNotFoundError):  # another child was faster
            points.arm(order.rename(order.with_suffix(f".{os.getpid()}")).read_text())
            return


def run_daemon(name: str, orders: Path, home: Path, slots: int) -> None:
    """Do what `adamacs work --slots N` does; a file `NAME.PID` tells that it has begun."""
    from adamacs.core import settings as lab_settings
    from adamacs.workers import console, roles
    from adamacs.workers.supervisor import Supervisor

    settings = lab_settings.load(home)
    role = roles.named("cpu", settings)
    pipeline.connect(settings)
    command = (sys.executable, "-m", "tests.chaos.worker", "child", name, str(orders))
    with console.shown(sys.stderr):
        daemon = Supervisor(role, settings, slots=slots, command=command)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, daemon.stop)
        (orders / f"{name}.{os.getpid()}").touch()
        daemon.run()


def _end_with_standard_input() -> None:
    """Leave nothing running when the suite itself is killed."""

    def wait() -> None:
        while os.read(0, 4096):  # unlike sys.stdin, it holds no lock that the end of the interpreter needs
            pass
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=wait, daemon=True).start()


if __name__ == "__main__":
    main()
