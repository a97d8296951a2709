"""Database servers that belong to the tests: started on free ports, gone without a trace afterwards."""

from __future__ import annotations

import contextlib
import os
import pwd
import secrets
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pymysql

from adamacs.core.settings import Secret
from adamacs.database import postgres
from adamacs.database.address import Server
from adamacs.database.cluster import free_port
from adamacs.database.embedded import EmbeddedServer

STARTUP_LIMIT = 120  # s
MYSQL_PROGRAM = "ADAMACS_TEST_MYSQLD"
ADMINISTRATORS = "/usr/sbin"  # where Debian keeps servers, off the PATH of ordinary users


@contextlib.contextmanager
def postgresql(home: Path) -> Iterator[Server]:
    """Run the embedded server of a throw-away lab home."""
    server = EmbeddedServer(home)
    try:
        server.init()
        address = server.start()
        _waive_durability(server.superuser_address())
        yield address
    finally:
        server.remove()


def _waive_durability(superuser: Server) -> None:
    """Nobody cuts the power of this one, and its tests need not wait for the disk."""
    import psycopg2

    password = superuser.password.reveal()
    connection = psycopg2.connect(
        host=superuser.host, port=superuser.port, user=superuser.user, password=password, dbname=superuser.database
    )
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute("ALTER SYSTEM SET fsync = off")
        cursor.execute("SELECT pg_reload_conf()")
    connection.close()


def find_mysql() -> str | None:
    """Return a server program of the MySQL family: the one that the environment names, else MariaDB's, else MySQL's.

    Raises
    ------
    FileNotFoundError
        A program is named, and it is not there.
    """
    path = f"{os.environ.get('PATH', '')}:{ADMINISTRATORS}"
    if named := os.environ.get(MYSQL_PROGRAM):
        if program := shutil.which(named, path=path):
            return program
        raise FileNotFoundError(f"{MYSQL_PROGRAM} names {named}, and there is no such program.")
    return shutil.which("mariadbd", path=path) or shutil.which("mysqld", path=path)


def kind_of(program: str) -> str:
    """Return `MariaDB` or `MySQL`, as the program says itself: MariaDB's may be called mysqld."""
    said = subprocess.run([program, "--no-defaults", "--version"], capture_output=True, text=True, check=True)
    return "MariaDB" if "MariaDB" in said.stdout else "MySQL"


@contextlib.contextmanager
def mysql(program: str) -> Iterator[Server]:
    """Run a private server of the MySQL family in a throw-away folder, never as root."""
    folder = Path(tempfile.mkdtemp(prefix="adamacs-mysql-"))
    who = _unprivileged(folder)
    server = Server("mysql", "127.0.0.1", free_port(0), "adamacs", Secret(secrets.token_hex(12)))
    process = None
    try:
        process = _launch(program, folder, server, who)
        _await_answer(server, process, folder / "log")
        yield server
    finally:
        if process is not None:
            process.terminate()
            process.wait(60)
        shutil.rmtree(folder)


def _unprivileged(folder: Path) -> dict[str, object]:
    if os.geteuid() != 0:
        return {}
    account = pwd.getpwnam("nobody")
    os.chown(folder, account.pw_uid, account.pw_gid)
    return {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}


def _launch(program: str, folder: Path, server: Server, who: dict) -> subprocess.Popen:
    data, socket, account = folder / "data", folder / "socket", folder / "account.sql"
    if kind_of(program) == "MariaDB":
        initialise, quick = ["mariadb-install-db", "--no-defaults", "--skip-test-db"], []
    else:  # which listens on a further port, and wants a folder for files of tables, unless told not to
        initialise = [program, "--no-defaults", "--initialize-insecure"]
        quick = ["--mysqlx=OFF", "--secure-file-priv=NULL", "--sync-binlog=0"]
    with (folder / "log").open("wb") as log:
        place = [f"--datadir={data}", f"--tmpdir={folder}"]
        subprocess.run([*initialise, *place], stdout=log, stderr=log, check=True, cwd="/", **who)
        account.write_text(
            f"CREATE USER '{server.user}'@'%' IDENTIFIED BY '{server.password.reveal()}';\n"
            f"GRANT ALL ON *.* TO '{server.user}'@'%' WITH GRANT OPTION;\n"
        )
        listen = [f"--port={server.port}", f"--bind-address={server.host}", f"--socket={socket}", "--skip-name-resolve"]
        quick += ["--innodb-flush-log-at-trx-commit=0", "--innodb-buffer-pool-size=64M"]
        place += [f"--pid-file={folder / 'pid'}", f"--init-file={account}"]
        return subprocess.Popen(
            [program, "--no-defaults", *place, *listen, *quick], stdout=log, stderr=log, cwd="/", **who
        )


def _await_answer(server: Server, process: subprocess.Popen, log: Path) -> None:
    deadline = time.monotonic() + STARTUP_LIMIT
    while True:
        try:
            pymysql.connect(
                host=server.host, port=server.port, user=server.user, password=server.password.reveal()
            ).close()
            return
        except pymysql.err.OperationalError:
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"The server did not start:\n{log.read_text(errors='replace')[-2000:]}") from None
            time.sleep(0.1)


def find_older_postgresql() -> Path | None:
    """Return the folder of programs of a PostgreSQL older than the embedded one, where one is installed."""
    installed = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return next((path.parent for path in installed if path.parents[1].name < postgres.MAJOR), None)


@contextlib.contextmanager
def older_postgresql(programs: Path) -> Iterator[Server]:
    """Run a private PostgreSQL of the system's version in a throw-away folder, never as root."""
    folder = Path(tempfile.mkdtemp(prefix="adamacs-postgresql-"))
    data, who = folder / "data", _unprivileged(folder)
    server = Server("postgresql", "127.0.0.1", free_port(0), "adamacs", Secret("unused"), "postgres")
    try:
        initdb = [str(programs / "initdb"), "-D", str(data), "-U", server.user, "--auth=trust", "--encoding=UTF8"]
        subprocess.run(initdb, check=True, capture_output=True, cwd="/", **who)
        options = f"-p {server.port} -c listen_addresses={server.host} -c unix_socket_directories="
        pg_ctl = [str(programs / "pg_ctl"), "-w", "-D", str(data)]
        start = [*pg_ctl, "-l", str(folder / "log"), "-o", options, "start"]
        subprocess.run(start, check=True, capture_output=True, cwd="/", **who)
        try:
            yield server
        finally:
            subprocess.run([*pg_ctl, "stop"], check=True, capture_output=True, cwd="/", **who)
    finally:
        shutil.rmtree(folder)
