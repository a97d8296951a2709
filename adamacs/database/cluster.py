"""One PostgreSQL data folder: made, started, judged and stopped.

PostgreSQL calls a data folder and the server on it a cluster. Whoever uses one of these holds a lock that keeps
other processes of adamacs from doing the same at the same time.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from adamacs.core.errors import DatabaseUnavailable
from adamacs.database import postgres
from adamacs.database.postgres import Account

logger = logging.getLogger(__name__)

HOST = "127.0.0.1"
SUPERUSER = "postgres"  # for repair by hand; adamacs itself never uses it
RECOVERY_LIMIT = 300  # s; after a crash a large database replays its log first
STOP_LIMIT = 60  # s
NO_PROCESS = 2**31 - 2  # a process id that no system gives out

SETTINGS = {
    "work_mem": "256MB",  # a hash of a million keys stays in memory
    "max_locks_per_transaction": "256",  # a dump locks every table at once
    "dynamic_shared_memory_type": "mmap",  # containers often give /dev/shm 64 MB only
    "timezone": "UTC",
    "log_timezone": "UTC",
}


class Cluster:
    """A data folder, and the server on it.

    Parameters
    ----------
    data
        The data folder, absolute.
    programs
        The folder of PostgreSQL's programs.
    account
        The account the server runs as; None where that is ourselves.
    """

    def __init__(self, data: Path, programs: Path, account: Account | None) -> None:
        self.data = data
        self.log = data / "server.log"
        self._programs = programs
        self._account = account

    def make(self, superuser_password: str) -> None:
        """Fill an empty data folder: UTF-8, checksums on every page, a password asked of everybody."""
        with postgres.password_file(self.data.parent, superuser_password, self._account) as file:
            answer = self._run(
                "initdb",
                *("-D", str(self.data), "-U", SUPERUSER, "--encoding=UTF8", "--data-checksums", "--no-instructions"),
                *("--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"),  # the same on every system
                *("--auth=scram-sha-256", f"--pwfile={file}"),
                *(f"--set={name}={value}" for name, value in SETTINGS.items()),
            )
        if answer.returncode:
            said = " / ".join((answer.stdout + answer.stderr).strip().splitlines()[-3:])
            raise DatabaseUnavailable("PostgreSQL could not make its files.", self.data, f"It says: {said}")

    def make_account(self, user: str, password: str, database: str) -> None:
        """Make an account that may create accounts but is no superuser, and its database; no server is needed."""
        statements = [  # the password is ours and holds no quotes; standard input shows in no list of processes
            f"CREATE ROLE {user} LOGIN CREATEROLE PASSWORD '{password}';",
            f"CREATE DATABASE {database} OWNER {user};",
        ]
        single = ("--single", "-D", str(self.data), "-c", "exit_on_error=on", "postgres")
        answer = self._run("postgres", *single, text="\n".join(statements) + "\n")
        if answer.returncode or "ERROR" in answer.stderr:  # which may quote the password
            raise DatabaseUnavailable("PostgreSQL could not make the lab's account.", self.data)

    def start(self, port: int, chosen: Callable[[int], None]) -> None:
        """Start the server and wait until it takes connections.

        Parameters
        ----------
        port
            The port to prefer; another one is taken where somebody holds it.
        chosen
            Called with the port before the server starts on it.

        Raises
        ------
        DatabaseUnavailable
            The server does not come up; the end of its log is in the message.
        """
        self._require_version()
        if self.pid() is not None:  # a process that was killed had started it
            return self._await_ready()
        self._disarm_stale_pid_file()
        deadline = time.monotonic() + RECOVERY_LIMIT
        while True:
            seen = self.log.stat().st_size if self.log.exists() else 0
            port = free_port(port)
            chosen(port)
            answer = self._pg_ctl_start(port)
            if answer.returncode == 0:
                return None
            tail = self._tail(seen)
            # The port was taken meanwhile, or the backends of a killed server still have to notice its end.
            again = "Address already in use" in tail or "shared memory block" in tail
            if not again or time.monotonic() > deadline:
                raise self._unavailable("The database server did not start.", tail or answer.stdout + answer.stderr)
            time.sleep(0.5)

    def stop(self) -> None:
        """Stop the server; nothing happens where none runs. Open connections are ended, and nothing is lost."""
        said = ""
        for mode in ("fast", "immediate"):
            if self.pid() is None:
                return
            if said:
                logger.warning("The database server does not stop; what is committed survives a hard stop")
            how = ("-w", "-t", str(STOP_LIMIT), "-m", mode, "-D", str(self.data))
            answer = self._run("pg_ctl", "stop", *how, timeout=STOP_LIMIT + 30)
            said = answer.stdout + answer.stderr
        if self.pid() is not None:
            raise self._unavailable("The database server does not stop.", said)

    def pid(self) -> int | None:
        """Return the process id of the server on this folder, or None.

        The pid file alone proves nothing: `kill -9` leaves it behind, a zombie still answers signals, and the
        number may belong to another process by now.
        """
        lines = self._pid_file()
        if not lines or not lines[0].strip().isdigit():
            return None
        pid = int(lines[0])
        return pid if serves(pid, self.data) else None

    def is_ready(self) -> bool:
        """Whether the server is up and takes connections."""
        lines = self._pid_file()
        return self.pid() is not None and len(lines) > 7 and lines[7].strip() == "ready"

    def _run(
        self, program: str, *arguments: str, text: str = "", timeout: float = 600
    ) -> subprocess.CompletedProcess[str]:
        return postgres.run(self._programs / program, *arguments, account=self._account, text=text, timeout=timeout)

    def _pg_ctl_start(self, port: int) -> subprocess.CompletedProcess[str]:
        options = f"-p {port} -c listen_addresses={HOST} -c unix_socket_directories="
        how = ("-w", "-t", str(RECOVERY_LIMIT), "-D", str(self.data), "-l", str(self.log), "-o", options)
        return self._run("pg_ctl", "start", *how, timeout=RECOVERY_LIMIT + 60)

    def _await_ready(self) -> None:
        deadline = time.monotonic() + RECOVERY_LIMIT
        while not self.is_ready():
            if self.pid() is None or time.monotonic() > deadline:
                raise self._unavailable("The database server did not become ready.", self._tail(0))
            time.sleep(0.1)

    def _require_version(self) -> None:
        stamp = self.data / "PG_VERSION"
        if not stamp.is_file():
            hint = "Bring it back from a backup, or restore a dump into a new lab home."
            raise DatabaseUnavailable("The data folder of this database is gone.", self.data, hint)
        made_by = stamp.read_text(encoding="utf-8").strip()
        if made_by != postgres.MAJOR:
            raise DatabaseUnavailable(
                f"This database was made by PostgreSQL {made_by}, the one installed is {postgres.MAJOR}.",
                self.data,
                "Dump it with the adamacs that made it (adamacs db dump), and restore the dump into a new lab home.",
            )

    def _pid_file(self) -> list[str]:
        try:
            return (self.data / "postmaster.pid").read_text(encoding="utf-8").splitlines()
        except (FileNotFoundError, NotADirectoryError):
            return []

    def _disarm_stale_pid_file(self) -> None:
        """Where the pid file names a process that is not our server, let it name none.

        PostgreSQL refuses to start while the process named there lives, whatever it is. The rest of the file must
        stay: by it PostgreSQL recognises backends of the killed server that still write to the same data.
        """
        lines = self._pid_file()
        if lines:
            with (self.data / "postmaster.pid").open("r+", encoding="utf-8") as file:  # in place: its owner stays
                file.write("\n".join([str(NO_PROCESS), *lines[1:]]) + "\n")
                file.truncate()

    def _tail(self, start: int) -> str:
        """Return what the log says from byte `start` on, at most the last 8 KiB."""
        if not self.log.exists():
            return ""
        with self.log.open("rb") as file:
            file.seek(max(start, self.log.stat().st_size - 8192))
            return file.read().decode(errors="replace")

    def _unavailable(self, what: str, detail: str) -> DatabaseUnavailable:
        lines = "\n".join(f"    {line}" for line in detail.strip().splitlines()[-12:])
        return DatabaseUnavailable(what, self.data, f"See {self.log}. It ends with:\n{lines}")


def serves(pid: int, data: Path) -> bool:
    """Whether this process is alive and is a PostgreSQL server of this data folder."""
    if Path("/proc/self/stat").exists():
        process = Path("/proc", str(pid))
        try:
            status = process.joinpath("stat").read_text(encoding="utf-8", errors="replace")
            words = process.joinpath("cmdline").read_bytes().split(b"\0")
        except (FileNotFoundError, ProcessLookupError):
            return False
        return status.rpartition(")")[2].split()[0] not in ("Z", "X") and os.fsencode(data) in words
    listing = ["ps", "-ww", "-o", "stat=,command=", "-p", str(pid)]  # macOS has no /proc
    answer = subprocess.run(listing, capture_output=True, text=True, check=False).stdout.strip()
    state, _, command = answer.partition(" ")
    return bool(state) and not state.startswith("Z") and f" -D {data} " in f"{command} "


def free_port(preferred: int) -> int:
    """Return the preferred loopback port where nobody holds it, else any free one."""
    for port in (preferred, 0):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((HOST, port))
            number: int = probe.getsockname()[1]
            return number
    raise DatabaseUnavailable(f"No port of {HOST} is free.")
