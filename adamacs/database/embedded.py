"""The database server that pip installs: one PostgreSQL per lab home, ours to start and to stop.

It listens on the loopback interface alone and asks everybody for a password. `<home>/database/` holds the file
that says where it is (readable by its owner alone) and, for an ordinary user, its data. A server of root runs
as an unprivileged account, from which a 0700 folder above the lab home would hide the data: there the data, and a
copy of the programs, lie under `/var/lib/adamacs`, which the file names. No permission of a folder that was
there before is ever changed.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import logging
import os
import re
import secrets
import shutil
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from adamacs.core.errors import DatabaseUnavailable, InvalidSetting
from adamacs.core.settings import Secret
from adamacs.database import postgres
from adamacs.database.address import Server
from adamacs.database.cluster import HOST, SUPERUSER, Cluster, free_port
from adamacs.database.postgres import Account

logger = logging.getLogger(__name__)

SYSTEM_BASE = Path("/var/lib/adamacs")  # where the servers of root keep their data
USER = DATABASE = "adamacs"


@dataclass(frozen=True)
class _Record:
    """What `connection.json` holds. `ready` is false while the database is being made."""

    data: str
    port: int
    password: str
    superuser_password: str
    ready: bool = False


class EmbeddedServer:
    """The PostgreSQL server of one lab home.

    Parameters
    ----------
    home
        The lab home.
    data
        Where the data shall lie instead of the default; relative paths are relative to the home.
    """

    def __init__(self, home: Path, data: Path | None = None) -> None:
        self.home = Path(home).absolute()
        self.folder = self.home / "database"
        self._record_file = self.folder / "connection.json"
        self._chosen_data = (self.home / data.expanduser()).resolve() if data else None

    @property
    def data(self) -> Path:
        """The data folder: the chosen one, else the recorded one, else the default."""
        if self._chosen_data:
            return self._chosen_data
        record = self._record()
        return Path(record.data) if record else self._default_data()

    def is_initialised(self) -> bool:
        """Whether `init` has run to its end in this home."""
        record = self._record()
        return record is not None and record.ready

    def is_running(self) -> bool:
        """Whether the server is up and takes connections."""
        return self.is_initialised() and Cluster(self.data, Path(), None).is_ready()

    def address(self) -> Server:
        """Return where the server is, for the lab's own account.

        Raises
        ------
        DatabaseUnavailable
            The lab has no database yet, or its connection file belongs to somebody else.
        """
        record = self._require_record()
        return Server("postgresql", HOST, record.port, USER, Secret(record.password), DATABASE)

    def superuser_address(self) -> Server:
        """Return where the server is, for PostgreSQL's superuser: for repairs by hand."""
        record = self._require_record()
        return dataclasses.replace(self.address(), user=SUPERUSER, password=Secret(record.superuser_password))

    def init(self) -> None:
        """Make the database of this home, without starting it. What is made already is left alone.

        Raises
        ------
        ToolMissing
            The server's programs are not installed.
        DatabaseUnavailable
            The data folder holds something else, or PostgreSQL could not make its files there.
        """
        postgres.programs()
        if not self.is_initialised():
            self._make_folder()
            with self._locked():
                if not self.is_initialised():
                    self._initialise()

    def start(self) -> Server:
        """Start the server unless it is up, and return its address. Several processes at once give one server.

        After a crash the server replays its log first; up to five minutes are allowed for that.

        Raises
        ------
        DatabaseUnavailable
            The lab has no database yet, or the server does not come up; the end of its log is in the message.
        """
        if not self.is_running():
            self._require_record()
            with self._locked():
                if not self.is_running():
                    self._cluster().start(self._require_record().port, self._record_port)
        return self.address()

    def stop(self) -> None:
        """Stop the server; nothing happens where none runs. Open connections are ended, and nothing is lost."""
        if self._record() is not None:
            with self._locked():
                self._stop()

    def remove(self) -> None:
        """Stop the server and delete its data and everything else that `init` and `start` made."""
        if self._record() is not None:
            with self._locked():
                self._stop()
                data = self.data
                if data.exists():
                    shutil.rmtree(data)
                if data.parent.parent == SYSTEM_BASE:
                    _forget_system_folder(data.parent)
                self._record_file.unlink()
        (self.folder / "lock").unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # missing, or it holds something that is not ours
            self.folder.rmdir()

    # ---- what is recorded

    def _record(self) -> _Record | None:
        try:
            text = self._record_file.read_text(encoding="utf-8")
            mode = self._record_file.stat().st_mode
        except (FileNotFoundError, NotADirectoryError):
            return None
        except PermissionError as error:
            raise DatabaseUnavailable(
                "This lab's connection file belongs to another account.",
                self._record_file,
                "An embedded database serves the account that made it: work as that account, or ask for a dump.",
            ) from error
        if stat.S_IMODE(mode) & 0o077:
            hint = f"Run: chmod 600 {self._record_file}"
            raise InvalidSetting("Others can read this file of secrets.", self._record_file, hint)
        try:
            return _Record(**json.loads(text))
        except (ValueError, TypeError) as error:
            raise DatabaseUnavailable("The connection file is damaged.", self._record_file) from error

    def _require_record(self) -> _Record:
        record = self._record()
        if record is None or not record.ready:
            raise DatabaseUnavailable("This lab has no database yet.", self.home, "Run: adamacs db init")
        return record

    def _record_port(self, port: int) -> None:
        record = dataclasses.replace(self._require_record(), port=port, data=str(self.data))
        if record != self._record():
            self._write_record(record)

    def _write_record(self, record: _Record) -> None:
        """Replace the connection file in one step; a crash leaves the old one or the new one."""
        temporary = self._record_file.with_suffix(".new")
        temporary.unlink(missing_ok=True)
        handle = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(dataclasses.asdict(record), file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        self._hand_to_owner(temporary)
        temporary.replace(self._record_file)

    def _hand_to_owner(self, path: Path) -> None:
        """Root, starting a user's server, must leave files that the user can read."""
        if os.geteuid() == 0:
            owner = self.folder.stat()
            os.chown(path, owner.st_uid, owner.st_gid)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """One process at a time. The system drops the lock with its process, so it is never stale."""
        import fcntl  # not on Windows

        path = self.folder / "lock"
        with os.fdopen(os.open(path, os.O_CREAT | os.O_RDWR, 0o600), "r+") as file:
            self._hand_to_owner(path)
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    # ---- folders

    def _make_folder(self) -> None:
        self.home.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            self.folder.mkdir(mode=0o700)

    def _default_data(self) -> Path:
        return self._system_data() if os.geteuid() == 0 else self.folder.resolve() / "data"

    def _system_data(self) -> Path:
        home = self.home.resolve()
        readable = re.sub(r"[^A-Za-z0-9]+", "-", home.name).strip("-") or "lab"
        return SYSTEM_BASE / f"{readable}-{hashlib.sha256(os.fsencode(home)).hexdigest()[:12]}" / "data"

    def _initialise(self) -> None:
        record, data = self._record(), self.data
        if data == self._system_data():
            _make_system_folder(data.parent, ours=record is not None)
        self._make_data_folder(data, interrupted=record is not None)
        record = _Record(str(data), free_port(0), secrets.token_urlsafe(24), secrets.token_urlsafe(24))
        self._write_record(record)
        cluster = self._cluster()
        cluster.make(record.superuser_password)
        cluster.make_account(USER, record.password, DATABASE)
        self._write_record(dataclasses.replace(record, ready=True))

    def _make_data_folder(self, data: Path, *, interrupted: bool) -> None:
        """Make an empty data folder that the server's account owns; what an interrupted `init` left goes."""
        if data.exists() and interrupted:
            shutil.rmtree(data)
        if data.exists() and any(data.iterdir()):
            raise DatabaseUnavailable(
                "The data folder holds something already, and no connection file belongs to it.",
                data,
                f"If it is this lab's database, bring {self._record_file} back; else move the folder away.",
            )
        account = postgres.server_account(data)
        if account is None:
            data.parent.mkdir(parents=True, exist_ok=True)
        else:
            _make_open_folder(data.parent)
            _require_reachable(data.parent, account)
        if not data.exists():
            data.mkdir(mode=0o700)
            if account is not None:
                os.chown(data, account.uid, account.gid)

    def _cluster(self) -> Cluster:
        """The data folder with the programs and the account that its server runs with."""
        account = postgres.server_account(self.data)
        if account is None:
            return Cluster(self.data, postgres.programs(), None)
        with _system_lock():
            return Cluster(self.data, postgres.copied_programs(SYSTEM_BASE), account)

    def _stop(self) -> None:
        if Cluster(self.data, Path(), None).pid() is not None:
            self._cluster().stop()


def _make_open_folder(folder: Path) -> None:
    """Make a folder, and those above it that are missing, for everybody to enter, whatever root's umask says."""
    for path in (*reversed(folder.parents), folder):
        if not path.exists():
            with contextlib.suppress(FileExistsError):  # another process was faster
                path.mkdir()
                path.chmod(0o755)


def _require_reachable(folder: Path, account: Account) -> None:
    """Refuse a data folder that the server's account could not reach; its parents are not ours to open."""
    for parent in [*reversed(folder.parents), folder]:
        status = parent.stat()
        bit = 0o100 if status.st_uid == account.uid else 0o010 if status.st_gid == account.gid else 0o001
        if not status.st_mode & bit:
            raise DatabaseUnavailable(
                f"The server runs as the account {account.name}, which cannot enter this folder.",
                parent,
                f"Set database.data to a folder it can reach, or leave it empty for {SYSTEM_BASE}.",
            )


# ---- the servers of root, under /var/lib/adamacs


@contextlib.contextmanager
def _system_lock() -> Iterator[None]:
    """Make the folder of root's servers where it is missing, and let one process at a time change what it holds."""
    handle = _lock_system_base()
    try:
        yield
    finally:
        os.close(handle)


def _lock_system_base() -> int:
    import fcntl

    while True:
        _make_open_folder(SYSTEM_BASE)
        try:
            handle = os.open(SYSTEM_BASE, os.O_RDONLY)
        except FileNotFoundError:  # another process removed it meanwhile
            continue
        fcntl.flock(handle, fcntl.LOCK_EX)
        if SYSTEM_BASE.exists() and os.path.samestat(os.fstat(handle), SYSTEM_BASE.stat()):
            return handle  # and nobody removes it while we hold the lock
        os.close(handle)


def _make_system_folder(folder: Path, *, ours: bool) -> None:
    """Make a lab's folder. The data of an earlier lab of the same path are set aside, never deleted."""
    with _system_lock():
        if folder.exists() and not ours:
            _stop_abandoned(folder / "data")
            aside = folder.with_name(f"{folder.name}.lost-{datetime.now(UTC):%Y%m%dT%H%M%S%f}")
            folder.rename(aside)
            logger.warning("An earlier lab home of the same path had a database; it was set aside as %s", aside)
        _make_open_folder(folder)


def _stop_abandoned(data: Path) -> None:
    if data.exists():
        Cluster(data, postgres.copied_programs(SYSTEM_BASE), postgres.server_account(data)).stop()


def _forget_system_folder(folder: Path) -> None:
    """Delete a lab's folder, and with the last one the copied programs and the folder above."""
    with _system_lock():
        shutil.rmtree(folder)
        if all(path.name.startswith((".bin-", "bin-")) for path in SYSTEM_BASE.iterdir()):
            shutil.rmtree(SYSTEM_BASE)
