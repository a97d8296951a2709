"""What the tests of workers share: workers of this and of other processes, and accidents on demand."""

from __future__ import annotations

import contextlib
import dataclasses
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from adamacs.core.settings import Settings
from adamacs.database import portable
from adamacs.schemas import operations
from adamacs.workers import liveness
from adamacs.workers.claims import Queue
from adamacs.workers.liveness import Identity

ROOT = Path(__file__).parents[2]
ELSEWHERE = "another machine"

# A process that is a worker: it claims keys of a table, says so, and sits on them.
_HOLDER = """
import sys, time, warnings
warnings.simplefilter("ignore")
from pathlib import Path
from adamacs import pipeline
from adamacs.core import settings
from adamacs.database import connect
from adamacs.workers import liveness
from adamacs.workers.claims import Queue
from tests.labs import fresh_module

home, table, limit = sys.argv[1:]
lab = settings.load(Path(home))
connection = pipeline.connect(lab)
work = fresh_module("work")
connect.activate([work], lab.database.prefix, connection, create=False)
me = liveness.identify("cpu")
liveness.register(connection, me, 30.0)
queue = Queue(getattr(work, table))
queue.stage()
taken = queue.take(me, int(limit))
print(me.worker_id, len(taken), flush=True)
time.sleep(600)
"""


@contextlib.contextmanager
def holder(settings: Settings, table: str, limit: int) -> Iterator[tuple[subprocess.Popen, int, int]]:
    """Run a process that claims keys and never ends them; yields it, its worker's id and the number of its keys."""
    command = [sys.executable, "-c", _HOLDER, str(settings.home), table, str(limit)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        try:
            assert process.stdout is not None
            worker_id, count = map(int, process.stdout.readline().split())
            yield process, worker_id, count
        finally:
            process.kill()


def new_worker(connection: Any, lease: float = 30.0, **changes: Any) -> Identity:
    """Register a worker: this process, unless the changes say otherwise."""
    identity = dataclasses.replace(liveness.identify("cpu"), **changes)
    liveness.register(connection, identity, lease)
    return identity


def with_workers(settings: Settings, **changes: Any) -> Settings:
    """Return the settings with others for workers."""
    return dataclasses.replace(settings, workers=dataclasses.replace(settings.workers, **changes))


def terminate(victim: Any, server: Any) -> None:
    """Let the server end a connection, as a crash of it or of the network would."""
    how = "SELECT pg_terminate_backend(%s)" if victim.adapter.backend == "postgresql" else "KILL %s"
    with another_connection(server) as other:
        other.query(how, (victim.connection_id,))


@contextlib.contextmanager
def another_connection(server: Any) -> Iterator[Any]:
    """Open a further connection for the length of a block."""
    connection = portable.separate_connection(server)
    try:
        yield connection
    finally:
        connection.close()


def once(action: Callable[[], object]) -> Callable[[], None]:
    """Return a function that does something the first time that it is called."""
    done: list[bool] = []

    def do() -> None:
        if not done:
            done.append(True)
            action()

    return do


def connection():
    """The connection of the tables of operations."""
    return operations.Worker.connection


def claim(table, worker, limit=1):
    """Stage what a table lacks, claim some of it for a worker, and return the queue and the claims."""
    queue = Queue(table)
    queue.stage()
    return queue, queue.take(worker, limit)
