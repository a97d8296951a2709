"""What is done to workers, to their database and to their store."""

from __future__ import annotations

import os
import signal
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress

import numpy as np
import psutil

from adamacs.core import points
from adamacs.schemas.operations import Attempt
from tests.chaos.hosts import Host
from tests.chaos.lab import LEASE, ChaosLab
from tests.chaos.observer import Observer
from tests.chaos.servers import MySQL, PostgreSQL


class Fault(ABC):
    """One kind of misfortune.

    Attributes
    ----------
    delivered
        How often each variant of it happened.
    beside
        What happened on top of that, and does not count.
    tolerated
        Classes of failed attempts that are no bug while this goes on.
    backlog
        Items that shall wait to be computed whenever it strikes, so that it meets workers at work.
    longest_return
        The longest until workers had finished a key again, s.
    """

    name = ""
    tolerated: frozenset[str] = frozenset()
    backlog = 120

    def __init__(self, lab: ChaosLab, hosts: Sequence[Host], observer: Observer, rng: np.random.Generator) -> None:
        self.lab, self.hosts, self.observer, self.rng = lab, hosts, observer, rng
        self.delivered: Counter[str] = Counter()
        self.beside: Counter[str] = Counter()
        self.longest_return = 0.0

    @abstractmethod
    def strike(self) -> None:
        """Do it once."""

    def settle(self) -> None:
        """Undo what would last; called at the end of a round."""
        self.tend()

    def pause(self, low: float, high: float) -> None:
        """Wait for a random time, s, while dead supervisors are started again."""
        until = time.monotonic() + self.rng.uniform(low, high)
        while (left := until - time.monotonic()) > 0:
            self.tend()
            time.sleep(min(left, 0.05))

    def tend(self) -> None:
        """Start the supervisors that are dead."""
        for host in self.hosts:
            host.tend()

    def victim(self, spared: Collection[int] = ()) -> int | None:
        """Return a child, most often one that holds a claim, or None where there is none just now."""
        found = self.observer.beating if self.rng.random() < 0.1 else self.observer.computing
        pids = [pid for host in self.hosts for pid in host.children() if pid in found and pid not in spared]
        return int(self.rng.choice(pids)) if pids else None

    def spare_host(self) -> Host | None:
        """Return a host whose supervisor may go, because another looks after the dead meanwhile."""
        watching = [host for host in self.hosts if host.seconds_on_watch() > 2 * LEASE]
        return watching[int(self.rng.integers(len(watching)))] if len(watching) > 1 else None


class Kill(Fault):
    """Kill -9 of children at any moment and at every named place, and of supervisors."""

    name = "kill"
    backlog = 40

    def __init__(self, *arguments: object) -> None:
        super().__init__(*arguments)  # type: ignore[arg-type]
        self._orders = self.lab.orders
        self._ordered = 0
        self._ours: set[int] = set()

    def strike(self) -> None:
        """Kill one; every other time the child that replaces it is to die at a named place."""
        if (host := self.spare_host()) is not None and self.rng.random() < 0.1:
            self._ours.update(host.kill_supervisor())
            self.delivered["supervisor"] += 1
        elif (pid := self.victim(self._armed())) is not None:
            if not list(self._orders.glob("*.order")):
                self._order()
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
                self._ours.add(pid)
                self.delivered["child"] += 1
        self.pause(0.05, 0.5)
        self._count()

    def settle(self) -> None:
        for order in self._orders.glob("*.order"):
            order.unlink()
        self._count()

    def _order(self) -> None:
        place = points.NAMES[self._ordered % len(points.NAMES)]
        self._ordered += 1
        order = self._orders / f"{self._ordered:06}.order"
        hidden = order.with_suffix(".new")
        hidden.write_text(f"{place}:{self.rng.integers(1, 4)}")
        hidden.rename(order)

    def _armed(self) -> list[int]:
        """Return the children that are on their way to the place where they are to die."""
        return [int(taken.suffix[1:]) for taken in self._orders.glob("[0-9]*.[0-9]*")]

    def _count(self) -> None:
        """Count the children that died at the place they were told."""
        for taken in self._orders.glob("[0-9]*.[0-9]*"):
            pid = int(taken.suffix[1:])
            if pid in self._ours or not _is_alive(pid):
                if pid not in self._ours:
                    self.delivered[taken.read_text().partition(":")[0]] += 1
                taken.unlink()


class Stop(Fault):
    """SIGSTOP past the lease, then SIGCONT: of children, of supervisors and of whole hosts while another looks on."""

    name = "stop"

    def strike(self) -> None:
        """Stop a child, a supervisor or all of a host, as a suspended machine, for longer than the lease."""
        host = self.spare_host() if self.rng.random() < 0.5 else None
        if host is None:
            name, pids = "child", [pid for pid in [self.victim()] if pid is not None]
        elif self.rng.random() < 0.5:
            name, pids = "supervisor", [host.pid]
        else:
            name, pids = "host", [host.pid, *host.children()]
        if pids:
            self._stop(pids, host)
            self.delivered[name] += 1
        self.pause(0.2, 1.0)

    def _stop(self, pids: Sequence[int], host: Host | None) -> None:
        if host is not None:
            host.is_stopped = True
        for pid in pids:
            _send(pid, signal.SIGSTOP)
        self.pause(1.2 * LEASE, 3 * LEASE)
        for pid in reversed(pids):
            _send(pid, signal.SIGCONT)
        if host is not None:
            host.is_stopped = False


class Outage(Fault):
    """The database's server is killed, and comes back after a while; sometimes a worker dies meanwhile."""

    name = "database"
    tolerated = frozenset({"database"})

    def __init__(self, *arguments: object, server: PostgreSQL | MySQL) -> None:
        super().__init__(*arguments)  # type: ignore[arg-type]
        self._server = server

    def strike(self) -> None:
        """Take the database away and bring it back; measure how long workers need after that."""
        way = self._server.ways[int(self.rng.integers(len(self._server.ways)))]
        self._server.kill(way)
        self.delivered[way.name] += 1
        if self.rng.random() < 0.3 and (pid := self.victim()) is not None:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
                self.beside["child killed meanwhile"] += 1
        self.pause(0.0, 3.0)
        self._server.start()
        self._await_return(time.monotonic())
        self.pause(0.5, 2.0)

    def _await_return(self, since: float) -> None:
        """Wait until a key was finished after the return of the database."""
        ask = self.lab.tables.schema.connection.query
        back = self.lab.patiently(lambda: ask("SELECT CURRENT_TIMESTAMP(6) AS now").fetchone()[0]).replace(tzinfo=None)
        text = f"SELECT COUNT(*) FROM {Attempt().full_table_name} WHERE outcome = 'done' AND ended_at > %s"
        while not self.lab.patiently(lambda: ask(text, (back,)).fetchone()[0]) and time.monotonic() - since < 60:
            self.tend()
            time.sleep(0.02)
        self.longest_return = max(self.longest_return, time.monotonic() - since)


class BrokenStore(Fault):
    """The store is read-only, full or gone for a while."""

    name = "store"
    tolerated = frozenset({"store", "permission"})

    def strike(self) -> None:
        """Let the store fail in one way, then mend it."""
        lab = self.lab
        ways: dict[str, tuple[Callable[[], None], Callable[[], None]]] = {
            "read-only": (lab.make_read_only, lab.make_writable),
            "full": (lab.fill_up, lab.make_room),
            "gone": (lab.take_away, lab.bring_back),
        }
        if not lab.has_disk:
            del ways["full"]
        name = str(self.rng.choice(list(ways)))
        broken, mend = ways[name]
        broken()
        try:
            self.pause(0.3, 2.0)
        finally:
            mend()
        self.delivered[name] += 1
        self.pause(0.3, 1.0)

    def settle(self) -> None:
        if not self.lab.has_disk:  # there a read-only store is one without permission, which a person mends
            self.lab.forgive("permission")


def _send(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)


def _is_alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False
