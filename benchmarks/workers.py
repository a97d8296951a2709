"""What a worker adds to the work itself: per key in batches, per durable key, when idle, and eight side by side.

Each line holds both sides, run in turn on the same server: the embedded PostgreSQL as it ships (every commit of a
result reaches the disk), and MariaDB or MySQL where one is installed. The tables are those of `tests/tables/work.py`.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))
warnings.simplefilter("ignore")

# ruff: noqa: S608  the statements hold names of the benchmark's own tables only
import pymysql  # noqa: E402

from adamacs import pipeline  # noqa: E402
from adamacs.core import settings as lab_settings  # noqa: E402
from adamacs.database import connect, portable, statements  # noqa: E402
from adamacs.database.address import Server  # noqa: E402
from adamacs.database.embedded import EmbeddedServer  # noqa: E402
from adamacs.workers import claims, liveness, loop  # noqa: E402
from adamacs.workers.claims import Queue  # noqa: E402
from adamacs.workers.roles import Role  # noqa: E402
from tests import labs, servers  # noqa: E402

BATCH, MILLION, SIDE_BY_SIDE = 50, 1_000_000, 8


def main() -> None:
    """Print one JSON line per measurement."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer keys and rounds")
    parser.add_argument("--backend", choices=("postgresql", "mysql"), help="on this kind of server alone")
    parser.add_argument("--contend", nargs=2, metavar=("HOME", "WHO"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.contend:
        return contend(*options.contend)
    if options.backend is None:  # the tables of a process belong to one server
        for backend in ("postgresql", "mysql"):
            subprocess.run([sys.executable, __file__, "--backend", backend, *sys.argv[1:]], check=True)
        return None
    with lab(options.backend) as (own, work):
        bench = Bench(own, work, options.quick)
        bench.batches()
        bench.durable_singles()
        bench.side_by_side()
        bench.idle()
    return None


@contextlib.contextmanager
def lab(backend: str) -> Iterator[tuple[labs.Lab, Any]]:
    """Make a throw-away lab with the tables of the pipeline and of the tests' work."""
    with tempfile.TemporaryDirectory() as folder, server(backend, Path(folder)) as address:
        own = labs.Lab(Path(folder) / "lab", address, "bench")
        pipeline.initialise(own.settings)
        yield own, own.tables("work")
        connect.close_connection()


@contextlib.contextmanager
def server(backend: str, folder: Path) -> Iterator[Server]:
    """Run a server that is as durable as a lab's."""
    if backend == "mysql":
        program = servers.find_mysql()
        if program is None:
            print(json.dumps({"benchmark": "workers", "backend": backend, "missing": "mariadbd or mysqld"}))
            raise SystemExit
        with servers.mysql(program) as address:
            make_durable(address)
            yield address
        return
    embedded = EmbeddedServer(folder / "server")
    embedded.init()
    try:
        yield embedded.start()
    finally:
        embedded.remove()


def make_durable(address: Server) -> None:
    """Undo what spares the tests the waiting for the disk."""
    login = {"user": address.user, "password": address.password.reveal()}
    with pymysql.connect(host=address.host, port=address.port, **login) as connection, connection.cursor() as cursor:
        cursor.execute("SET GLOBAL innodb_flush_log_at_trx_commit = 1")


class Bench:
    """The measurements, on one lab."""

    def __init__(self, own: labs.Lab, work: Any, quick: bool) -> None:
        self.lab, self.work, self.quick = own, work, quick
        self.connection = own.connection
        self.items = 0
        statements_of(work, self.connection)

    def tell(self, what: str, *, met: bool | None, **values: Any) -> None:
        line = {"benchmark": "workers", "backend": self.lab.server.backend, "what": what, **values, "met": met}
        print(json.dumps(line), flush=True)

    def add(self, count: int) -> list[dict[str, int]]:
        """Give the tables so many more keys to compute."""
        keys = [{"item": self.items + n} for n in range(count)]
        self.items += count
        self.work.Item.insert([{**key, "value": key["item"]} for key in keys])
        return keys

    # ---- one worker

    def batches(self) -> None:
        """Cheap keys in batches, against the same three parts by hand, and against DataJoint's queue."""
        table, rounds, count = self.work.Cheap, 3 if self.quick else 9, 10 * BATCH
        ours, whole, by_hand, datajoint = [], [], [], []
        for number in range(rounds):
            with self.slot(table) as slot:
                self.add(count)
                staged = timed(lambda: slot._look()) / count
                ours.append(timed(lambda: all_turns(slot)) / count)
                whole.append(staged + ours[-1])
            keys = self.add(count)
            by_hand.append(timed(lambda keys=keys: in_one_transaction(table, keys)) / count)
            if number < 3:
                few = len(self.add(BATCH))
                datajoint.append(timed(lambda: table.populate(reserve_jobs=True)) / few)
        assert len(table()) == self.items and not table.jobs
        a, w, b, d = map(statistics.median, (ours, whole, by_hand, datajoint))
        self.tell("a batch of 50, per key", ours_ms=ms(a), by_hand_ms=ms(b), over_ms=ms(a - b), met=a - b <= 0.25e-3)
        added, datajoint_added = w - b, d - b  # staging, claiming and acknowledging: what is not make
        self.tell(
            "the queue, per key of a batch of 50",
            ours_ms=ms(added),
            datajoint_ms=ms(datajoint_added),
            ratio=round(datajoint_added / added, 1),
            ratio_with_make=round(d / w, 1),
            met=datajoint_added / added >= 20,
        )

    def durable_singles(self) -> None:
        """One key per transaction, against one commit, four round trips and its own statements."""
        table, count = self.work.Cheap, 100 if self.quick else 300
        table.batch = 1
        ours, base = [], []
        with self.slot(table) as slot:
            keys = self.add(2 * count)
            Queue(table).stage()
            for key in keys[::2]:
                (table.jobs & key).delete_quick()
            slot._open.add(slot.queues[0].name)
            for key in keys[::2]:
                base.append(timed(lambda key=key: with_four_round_trips(table, key)))
                ours.append(timed(slot._turns))
        table.batch = BATCH
        assert len(table()) == self.items
        a, b = statistics.median(ours), statistics.median(base)
        disk = statistics.median(self.commits(count))
        promised = self.lab.server.backend == "postgresql"  # elsewhere claims cannot be committed asynchronously
        met = a / b <= 1.3 if promised else None
        values = {"ours_ms": ms(a), "base_ms": ms(b), "over_ms": ms(a - b), "commit_ms": ms(disk)}
        self.tell("a durable key", **values, ratio=round(a / b, 2), met=met)

    def commits(self, count: int) -> Iterator[float]:
        """Time commits of one changed row alone: the share of the disk, by which the ratio of a durable key goes."""
        item = self.work.Item().full_table_name
        for number in range(count):
            self.connection.query("BEGIN")
            self.connection.query(f"UPDATE {item} SET seconds = %s WHERE item = 0", (number,))
            yield timed(lambda: self.connection.query("COMMIT"))

    def idle(self) -> None:
        """Ask what there is to do where a million keys are done, and count the round trips."""
        self.fill_up()
        with self.slot(self.work.Cheap) as slot:
            queue = slot.queues[0]
            every_key = f"SELECT EXISTS ({queue.missing().make_sql()})"
            ours, base = [], []
            for _ in range(3 if self.quick else 7):
                before = self.connection.round_trips
                ours.append(timed(slot._look))
                round_trips = self.connection.round_trips - before
                base.append(timed(lambda: self.connection.query(every_key).fetchall()))
        a, b = statistics.median(ours), statistics.median(base)
        met = round_trips <= 3 and a <= 0.4
        self.tell("nothing to do at 1e6", ours_ms=ms(a), every_key_ms=ms(b), round_trips=round_trips, met=met)

    def fill_up(self) -> None:
        """Let the cheap table be done for a million keys."""
        quote, count = self.connection.adapter.quote_identifier, MILLION - self.items
        item, cheap = self.work.Item().full_table_name, self.work.Cheap().full_table_name
        digits = " UNION ALL ".join(f"SELECT {digit} AS digit" for digit in range(10))
        places = ", ".join(f"({digits}) AS p{place}" for place in range(6))
        number = " + ".join(f"{10**place} * p{place}.digit" for place in range(6))
        numbers = f"SELECT n, n, 0 FROM (SELECT {number} AS n FROM {places}) AS g WHERE n >= {self.items}"
        self.connection.query(f"INSERT INTO {item} (item, value, seconds) {numbers}")
        text = (
            f"INSERT INTO {cheap} (item, {quote('double')}) SELECT item, value FROM {item} WHERE item >= {self.items}"
        )
        self.connection.query(text)
        self.items += count
        vacuum = "VACUUM ANALYZE" if self.lab.server.backend == "postgresql" else f"ANALYZE TABLE {item}, {cheap}"
        self.connection.query(vacuum)

    # ---- eight

    def side_by_side(self) -> None:
        """Keys per second of eight processes, against eight that send the same statements and nothing else."""
        rates: dict[str, list[float]] = {"ours": [], "bare": []}
        for number in range(1 if self.quick else 5):
            for who in list(rates)[:: 1 if number % 2 else -1]:
                keys = self.add(4000 if self.quick else 8000)
                Queue(self.work.Cheap).stage()
                rates[who].append(len(keys) / self.contended(who))
                assert len(self.work.Cheap()) == self.items and not self.work.Cheap.jobs
        a, b = (max(found) for found in rates.values())  # what others do on this machine only ever slows one side down
        every = {who: [round(rate) for rate in found] for who, found in rates.items()}
        ratio = round(a / b, 2)
        self.tell("eight workers, keys/s", ours=round(a), bare=round(b), ratio=ratio, every=every, met=ratio >= 0.8)

    def contended(self, who: str) -> float:
        """Run eight processes, let them begin together, and return how long the last one worked, s."""
        command = [sys.executable, __file__, "--contend", str(self.lab.home), who]
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        others = [subprocess.Popen(command, **pipes) for _ in range(SIDE_BY_SIDE)]
        for other in others:
            other.stdout.readline()  # ready
        time.sleep(2)  # for their heartbeats to begin
        start = time.time()
        for other in others:
            other.stdin.write("go\n")
            other.stdin.flush()
        said = [json.loads(other.communicate(timeout=600)[0]) for other in others]
        assert sum(one["failed"] for one in said) == 0, said
        return max(one["ended"] for one in said) - start

    @contextlib.contextmanager
    def slot(self, table: Any) -> Iterator[loop.Slot]:
        with loop.at_work(Role("cpu"), self.lab.settings, [table]) as slot:
            yield slot


# ---- what is compared


def timed(action: Callable[[], object]) -> float:
    began = time.perf_counter()
    action()
    return time.perf_counter() - began


def ms(seconds: float) -> float:
    return round(seconds * 1e3, 3)


def statements_of(work: Any, connection: Any) -> None:
    """Let the cheap table's parts be one SELECT and one INSERT on the driver, so that all sides send the same."""
    item, cheap = work.Item().full_table_name, work.Cheap().full_table_name
    double = connection.adapter.quote_identifier("double")
    read, write = f"SELECT value FROM {item} WHERE item = %s", f"INSERT INTO {cheap} (item, {double}) VALUES (%s, %s)"

    cursor = connection._conn.cursor()

    def make_fetch(self: Any, key: dict[str, int]) -> tuple[float]:
        cursor.execute(read, (key["item"],))
        return cursor.fetchone()

    def make_insert(self: Any, key: dict[str, int], double: float) -> None:
        cursor.execute(write, (key["item"], double))

    work.Cheap.make_fetch, work.Cheap.make_insert = make_fetch, make_insert
    connection.round_trips = 0
    original = connection.query

    def query(*arguments: Any, **keywords: Any) -> Any:
        connection.round_trips += 1
        return original(*arguments, **keywords)

    connection.query = query


def all_turns(slot: loop.Slot) -> None:
    while slot._open:
        slot._turns()


def in_one_transaction(table: Any, keys: list[dict[str, int]]) -> None:
    for first in range(0, len(keys), BATCH):
        with statements.transaction(table.connection):
            for key in keys[first : first + BATCH]:
                parts = portable.Parts(table, key)
                parts.insert_computed(parts.compute(parts.fetch()))


def with_four_round_trips(table: Any, key: dict[str, int]) -> None:
    """One commit, four round trips (the BEGIN is one of them), and the table's own three statements."""
    for _ in range(3):
        table.connection.query("SELECT 1").fetchall()
    portable.make(table, key)


# ---- one of eight


def contend(home: str, who: str) -> None:
    """Be one of eight: get ready, wait for the start, and compute until nothing is left."""
    own = lab_settings.load(Path(home), environ={})
    work = labs.fresh_module("work")
    connection = pipeline.connect(own)
    connect.activate([work], own.database.prefix, connection, create=False)
    statements_of(work, connection)
    with loop.at_work(Role("cpu"), own, [work.Cheap]) as slot:
        slot._open.add(slot.queues[0].name)
        bare = Bare(slot)
        print("ready", flush=True)
        sys.stdin.readline()
        if who == "bare":
            bare.work()
        else:
            all_turns(slot)
        ended = time.time()
    print(json.dumps({"ended": ended, "failed": len(slot.tally.failed)}))


class Bare:
    """SKIP LOCKED by hand, on the driver: the statements of a worker, and nothing around them."""

    def __init__(self, slot: loop.Slot) -> None:
        self.me, self.queue = slot.identity.worker_id, slot.queues[0]
        self.cursor = self.queue.connection._conn.cursor()
        quote = self.queue.connection.adapter.quote_identifier
        self.jobs = self.queue.jobs.full_table_name
        self.table = self.queue.table.full_table_name
        self.item = self.table.replace("__cheap", "item")
        self.double = quote("double")
        self.attempts = claims.Attempt().full_table_name
        self.is_postgresql = self.queue.connection.adapter.backend == "postgresql"

    def work(self) -> None:
        while keys := self.claim():
            self.land(keys)

    def claim(self) -> list[int]:
        run = self.cursor.execute
        choose = (
            f"SELECT item FROM {self.jobs} WHERE status = 'pending' AND scheduled_time <= CURRENT_TIMESTAMP "
            f"ORDER BY priority, scheduled_time LIMIT {BATCH} FOR UPDATE SKIP LOCKED"
        )
        mark = (
            f"UPDATE {self.jobs} SET status = 'reserved', connection_id = {self.me}, reserved_time = CURRENT_TIMESTAMP"
        )
        if self.is_postgresql:
            run(f"SET LOCAL synchronous_commit TO OFF; {mark} WHERE item IN ({choose}) RETURNING item")
            return [item for (item,) in self.cursor.fetchall()]
        run("BEGIN")
        run(choose)
        keys = [item for (item,) in self.cursor.fetchall()]
        if keys:
            run(f"{mark.replace(' SET', ' FORCE INDEX (PRIMARY) SET')} WHERE item IN %s", (tuple(keys),))
        run("COMMIT")
        return keys

    def land(self, keys: list[int]) -> None:
        run = self.cursor.execute
        run("BEGIN")
        by_key = "" if self.is_postgresql else "FORCE INDEX (PRIMARY)"  # else they deadlock
        mine = f"connection_id = {self.me} AND status = 'reserved' AND item IN %s"
        run(f"DELETE {self.jobs if by_key else ''} FROM {self.jobs} {by_key} WHERE {mine}", (tuple(keys),))
        for key in keys:
            run(f"SELECT value FROM {self.item} WHERE item = %s", (key,))
            (value,) = self.cursor.fetchone()
            run(f"INSERT INTO {self.table} (item, {self.double}) VALUES (%s, %s)", (key, 2 * value))
        self.record(keys)
        run("COMMIT")

    def record(self, keys: list[int]) -> None:
        now = "CURRENT_TIMESTAMP"
        one = f"({self.me}, %s, 'work.Cheap', %s, %s, {now}, {now}, 'done', '', '', '', NULL)"
        values = [v for key in keys for v in (key, liveness.key_hash({"item": key}), json.dumps({"item": key}))]
        names = "worker_id, attempt, table_name, key_hash, job_key, started_at, ended_at, outcome, failure, message"
        text = f"INSERT INTO {self.attempts} ({names}, traceback, peak_memory) VALUES {', '.join([one] * len(keys))}"
        self.cursor.execute(text, values)


if __name__ == "__main__":
    main()
