"""Looks at the queues while workers are killed: no claim may outlive its worker's last sign of life for long."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

from adamacs import pipeline
from adamacs.database import connect, portable, statements
from adamacs.schemas.operations import Heartbeat, Worker
from tests.chaos.hosts import Host
from tests.chaos.lab import COMPUTED, LEASE, ChaosLab

BOUND = LEASE + 1.0  # s that a claim may stand after the last sign of life of its worker


class Observer(threading.Thread):
    """Samples every claim and every heartbeat.

    Attributes
    ----------
    longest
        The longest that a claim was seen to stand without a sign of life of its worker, while somebody could notice, s.
    stuck
        A sentence for each claim that stood longer than it may.
    samples
        How often it looked.
    beating, computing
        Numbers of the processes that had a heartbeat, and that held a claim too, at the last look.
    """

    def __init__(self, lab: ChaosLab, hosts: Sequence[Host]) -> None:
        super().__init__(name="observer", daemon=True)
        self.longest = 0.0
        self.stuck: dict[tuple[str, int], str] = {}
        self.samples = 0
        self.beating: frozenset[int] = frozenset()
        self.computing: frozenset[int] = frozenset()
        self._lab = lab
        self._hosts = hosts
        self._connection = portable.separate_connection(connect.running_server(lab.settings))
        self._claims_sql = self._write_claims_sql()  # here: making a job table asks the process's own connection
        self._missing_since: dict[int, float] = {}
        self._noticed_since: float | None = None  # since when, without a gap, somebody could notice a death
        self._ended = threading.Event()

    def end(self) -> None:
        """Stop looking."""
        self._ended.set()
        self.join()
        self._connection.close()

    def run(self) -> None:
        """Look, until told to stop."""
        while not self._ended.wait(0.1):
            try:
                self._look()
            except portable.LOST:
                self._noticed_since = None
                self._try_again()

    def _try_again(self) -> None:
        try:
            portable.reconnect(self._connection, connect.running_server(self._lab.settings))
        except portable.UNREACHABLE:
            return

    def _look(self) -> None:
        claims = list(self._connection.query(self._claims_sql, reconnect=False))
        found = self._connection.query(
            f"SELECT w.worker_id, w.pid FROM {Heartbeat().full_table_name} AS h JOIN {Worker().full_table_name} AS w "
            "ON w.worker_id = h.worker_id",
            reconnect=False,
        )
        pids = dict(list(found))
        self.beating = frozenset(pids.values())
        self.computing = frozenset(pids[row[1]] for row in claims if row[1] in pids)
        now = time.monotonic()
        self.samples += 1
        if not any(host.seconds_on_watch() > 0.5 for host in self._hosts):
            self._noticed_since = None
            return
        self._noticed_since = now if self._noticed_since is None else self._noticed_since
        self._missing_since = {row[1]: self._missing_since.get(row[1], now) for row in claims if row[3] is None}
        for table, worker, count, age in claims:
            silent = LEASE + now - self._missing_since[worker] if age is None else age
            self._judge(table, worker, count, min(silent, LEASE + now - self._noticed_since))

    def _judge(self, table: str, worker: int, count: int, silent: float) -> None:
        self.longest = max(self.longest, silent)
        if silent > BOUND:
            what = f"{count} claims of {table} stood {silent:.2f} s after the last sign of life of worker {worker}"
            self.stuck[table, worker] = what

    def _write_claims_sql(self) -> str:
        quote = self._connection.adapter.quote_identifier
        age = statements.seconds_since(self._connection, "h.beat_time")
        texts = [
            f"SELECT '{name}' AS name, j.{quote('connection_id')} AS worker, COUNT(*) AS n, MIN({age}) AS age "
            f"FROM {portable.job_table(getattr(pipeline.modules()[-1], name)).full_table_name} AS j "
            f"LEFT JOIN {Heartbeat().full_table_name} AS h ON h.worker_id = j.{quote('connection_id')} "
            f"WHERE j.{quote('status')} = 'reserved' GROUP BY j.{quote('connection_id')}"
            for name in COMPUTED
        ]
        return " UNION ALL ".join(texts)
