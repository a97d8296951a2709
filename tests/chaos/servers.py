"""Database servers that can be killed at any moment and started again on the same files and port."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pymysql

from adamacs.core.settings import Secret
from adamacs.database.address import Server
from adamacs.database.cluster import Cluster, free_port
from adamacs.database.embedded import EmbeddedServer
from tests import servers


class PostgreSQL:
    """The embedded server of a throw-away home. What it acknowledged outlives its process, as everywhere."""

    ways = (signal.SIGKILL, signal.SIGKILL, signal.SIGQUIT, signal.SIGINT)  # the last two: at once, and in order

    def __init__(self, home: Path) -> None:
        self._server = EmbeddedServer(home)
        self._server.init()
        self.address = self._server.start()
        servers._waive_durability(self._server.superuser_address())

    def kill(self, way: signal.Signals) -> None:
        """Send a signal to the server's first process."""
        pid = Cluster(self._server.data, Path(), None).pid()
        assert pid is not None, "the server died by itself"
        os.kill(pid, way)
        while Cluster(self._server.data, Path(), None).pid() is not None:
            pass

    def start(self) -> None:
        """Start it again, on the same port."""
        assert self._server.start().port == self.address.port, "the port of the server was taken meanwhile"

    def remove(self) -> None:
        """Stop it and delete its files."""
        self._server.remove()


class MySQL:
    """A private server of the MySQL family. What it acknowledged is with the system, and outlives its process."""

    ways = (signal.SIGKILL, signal.SIGKILL, signal.SIGKILL, signal.SIGTERM)

    def __init__(self, program: str) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="adamacs-mysql-"))
        self._who = servers._unprivileged(self._folder)
        password = Secret(os.urandom(12).hex())
        self.address = Server("mysql", "127.0.0.1", free_port(0), "adamacs", password)
        self._process = servers._launch(program, self._folder, self.address, self._who)
        self._await_answer()
        self._query("SET GLOBAL innodb_flush_log_at_trx_commit = 2")

    def kill(self, way: signal.Signals) -> None:
        """Send a signal to the server."""
        assert self._process.poll() is None, "the server died by itself"
        self._process.send_signal(way)
        self._process.wait(60)

    def start(self) -> None:
        """Start it again, on the same port."""
        words = [word for word in self._process.args if not word.startswith("--init-file")]
        with (self._folder / "log").open("ab") as log:
            command = [*words, "--innodb-flush-log-at-trx-commit=2"]
            self._process = subprocess.Popen(command, stdout=log, stderr=log, cwd="/", **self._who)
        self._await_answer()

    def remove(self) -> None:
        """Stop it and delete its files."""
        self._process.terminate()
        self._process.wait(60)
        shutil.rmtree(self._folder)

    def _await_answer(self) -> None:
        servers._await_answer(self.address, self._process, self._folder / "log")

    def _query(self, statement: str) -> None:
        where = {"host": self.address.host, "port": self.address.port, "user": self.address.user}
        with pymysql.connect(**where, password=self.address.password.reveal()) as connection:
            connection.cursor().execute(statement)


@contextlib.contextmanager
def running(backend: str, home: Path) -> Iterator[PostgreSQL | MySQL]:
    """Run a server that belongs to the suite alone.

    Raises
    ------
    RuntimeError
        There is no server of this kind on this machine.
    """
    if backend == "postgresql":
        server: PostgreSQL | MySQL = PostgreSQL(home)
    elif program := servers.find_mysql():
        server = MySQL(program)
    else:
        raise RuntimeError("Neither mariadbd nor mysqld is installed.")
    try:
        yield server
    finally:
        server.remove()
