"""The server that pip installs: it starts once, survives what kills it, and goes without a trace."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace

import psycopg2
import pytest

from adamacs.core.errors import DatabaseUnavailable, InvalidSetting
from adamacs.database import embedded, postgres
from adamacs.database.cluster import Cluster
from adamacs.database.embedded import EmbeddedServer

pytestmark = pytest.mark.only_on("postgresql")  # once: it does not depend on --backend
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only the servers of root run as another account")
as_user = pytest.mark.skipif(os.geteuid() == 0, reason="root's servers keep their data elsewhere")

START = """
import sys
from pathlib import Path
from adamacs.database.embedded import EmbeddedServer
server = EmbeddedServer(Path(sys.argv[1]))
server.init()
print(server.start().port)
"""


@pytest.fixture
def home(tmp_path):
    return tmp_path / "lab"


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """An initialised server that the tests share, because making one takes a second."""
    server = EmbeddedServer(tmp_path_factory.mktemp("shared"))
    server.init()
    yield server
    server.remove()


@pytest.fixture
def server(shared):
    """An initialised server that is down."""
    shared.stop()
    return shared


def session(address):
    connection = psycopg2.connect(
        host=address.host,
        port=address.port,
        user=address.user,
        password=address.password.reveal(),
        dbname=address.database,
    )
    connection.autocommit = True
    return connection


def ask(address, *statements):
    with contextlib.closing(session(address)) as connection, connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)
        return cursor.fetchone()[0] if cursor.description else None


def pid_of(server):
    return Cluster(server.data, Path(), None).pid()


def kill(server):
    pid = pid_of(server)
    os.kill(pid, signal.SIGKILL)
    while pid_of(server) is not None:
        pass
    return pid


@contextlib.contextmanager
def changed(path, text):
    """Replace a file's text for a while; its owner and mode stay."""
    before = path.read_text()
    path.write_text(text)
    try:
        yield
    finally:
        path.write_text(before)


def modes(folder):
    return {path: stat.S_IMODE(path.stat().st_mode) for path in (folder, *folder.parents)}


def test_a_server_starts_stops_and_goes_without_a_trace(home):
    home.mkdir(mode=0o700)
    system = embedded.SYSTEM_BASE
    before, kept = modes(home), set(system.iterdir()) if system.exists() else set()
    server = EmbeddedServer(home)
    assert not server.is_initialised()
    server.init()
    assert server.is_initialised()
    assert not server.is_running()
    address = server.start()
    assert server.is_running()
    assert server.start() == address
    assert ask(address, "SELECT 41 + 1") == 42
    assert modes(home) == before
    server.stop()
    assert not server.is_running()
    server.stop()
    data = server.data
    server.remove()
    assert list(home.iterdir()) == []
    assert not data.exists()
    assert modes(home) == before
    assert {path for path in system.iterdir() if home.name in path.name} <= kept if system.exists() else not kept


def test_it_asks_for_a_password_and_listens_to_this_machine_alone(server):
    address = server.start()
    settings = {
        "listen_addresses": "127.0.0.1",
        "unix_socket_directories": "",
        "data_checksums": "on",
        "password_encryption": "scram-sha-256",
        "work_mem": "256MB",
        "TimeZone": "UTC",
        "server_encoding": "UTF8",
        "fsync": "on",
    }
    assert {name: ask(server.superuser_address(), f"SHOW {name}") for name in settings} == settings
    for user in (address.user, "postgres"):
        with pytest.raises(psycopg2.OperationalError, match="password"):
            psycopg2.connect(host=address.host, port=address.port, user=user, password="wrong", dbname="postgres")
    assert ask(address, "SELECT rolsuper FROM pg_roles WHERE rolname = current_user") is False
    assert ask(server.superuser_address(), "SELECT rolsuper FROM pg_roles WHERE rolname = current_user") is True


def test_its_secrets_are_for_its_owner_alone(server):
    record = server.folder / "connection.json"
    assert stat.S_IMODE(record.stat().st_mode) == 0o600
    assert stat.S_IMODE(server.data.stat().st_mode) == 0o700
    assert server.address().password.reveal() not in repr(server.address()) + server.address().url
    record.chmod(0o640)
    with pytest.raises(InvalidSetting, match="chmod 600"):
        server.address()
    record.chmod(0o600)


def test_four_processes_at_once_give_one_server(home):
    command = [sys.executable, "-c", START, str(home)]
    try:
        crowd = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(4)]
        answers = [process.communicate()[0].strip() for process in crowd]
        assert [process.returncode for process in crowd] == [0] * 4
        assert len(set(answers)) == 1
        assert ask(EmbeddedServer(home).address(), "SELECT 1") == 1
    finally:
        EmbeddedServer(home).remove()


def test_a_killed_server_comes_back_with_every_acknowledged_row(server):
    address = server.start()
    ask(address, "CREATE TABLE kept (n int)")
    for n in range(3):
        with contextlib.closing(session(address)) as connection, connection.cursor() as cursor:
            cursor.execute("INSERT INTO kept VALUES (%s)", (n,))
            kill(server)
        assert not server.is_running()
        address = server.start()
        assert ask(address, "SELECT count(*) FROM kept") == n + 1


def test_it_waits_for_backends_that_outlive_a_killed_server(server):
    address = server.start()
    with contextlib.closing(session(address)) as connection, connection.cursor() as cursor:
        number = connection.info.backend_pid
        os.kill(number, signal.SIGSTOP)  # a backend that is busy and does not notice
        try:
            kill(server)
            waiting = subprocess.Popen([sys.executable, "-c", START, str(server.home)], stdout=subprocess.DEVNULL)
            with pytest.raises(subprocess.TimeoutExpired):
                waiting.wait(2)
            assert not server.is_running()
        finally:
            os.kill(number, signal.SIGCONT)
        assert waiting.wait(60) == 0
        with pytest.raises(psycopg2.Error):
            cursor.execute("SELECT 1")
    assert ask(server.address(), "SELECT 1") == 1


def test_a_stale_process_id_that_another_process_has_now_is_no_obstacle(server):
    server.start()
    kill(server)
    account = postgres.server_account(server.data)
    other = subprocess.Popen(["sleep", "60"], **postgres._identity(account))
    try:
        pid_file = server.data / "postmaster.pid"
        lines = pid_file.read_text().splitlines()
        pid_file.write_text("\n".join([str(other.pid), *lines[1:]]) + "\n")
        assert not server.is_running()
        assert ask(server.start(), "SELECT 1") == 1
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()


def test_a_port_that_somebody_holds_is_left_to_him(server):
    taken = server.address().port
    with socket.socket() as somebody:
        somebody.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        somebody.bind(("127.0.0.1", taken))
        somebody.listen()
        address = server.start()
    assert address.port != taken
    assert EmbeddedServer(server.home).address() == address
    assert ask(address, "SELECT 1") == 1


def test_a_server_that_cannot_start_shows_the_end_of_its_log(server):
    odd = changed(server.data / "postgresql.conf", "no_such_setting = 1\n")
    with odd, pytest.raises(DatabaseUnavailable, match="no_such_setting"):
        server.start()


def test_data_of_another_postgresql_are_refused_with_the_way_out(server):
    older = changed(server.data / "PG_VERSION", "17\n")
    with older, pytest.raises(DatabaseUnavailable, match=r"made by PostgreSQL 17.*adamacs db dump"):
        server.start()


def test_a_data_folder_that_is_gone_is_said(server):
    away = server.data.rename(server.data.with_name("away"))
    try:
        with pytest.raises(DatabaseUnavailable, match="is gone"):
            server.start()
    finally:
        away.rename(server.data)


def test_a_home_without_a_database_is_said_and_left_as_it_is(home):
    home.mkdir()
    server = EmbeddedServer(home)
    for verb in (server.start, server.address):
        with pytest.raises(DatabaseUnavailable, match="adamacs db init"):
            verb()
    server.stop()
    server.remove()
    assert list(home.iterdir()) == []


def test_an_interrupted_initialisation_begins_anew(home, monkeypatch):
    server = EmbeddedServer(home)
    with monkeypatch.context() as patched:
        patched.setattr(Cluster, "make_account", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            server.init()
    assert not server.is_initialised()
    with pytest.raises(DatabaseUnavailable, match="adamacs db init"):
        server.start()
    server.init()
    try:
        assert ask(server.start(), "SELECT 1") == 1
    finally:
        server.remove()


@as_user
def test_data_without_their_connection_file_are_not_touched(server):
    server.start()
    record = server.folder / "connection.json"
    text = record.read_text()
    record.unlink()
    with pytest.raises(DatabaseUnavailable, match="no connection file belongs to it"):
        EmbeddedServer(server.home).init()
    descriptor = os.open(record, os.O_CREAT | os.O_WRONLY, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
    assert ask(server.start(), "SELECT 1") == 1


@as_root
def test_the_data_of_an_earlier_home_of_the_same_path_are_set_aside(home, caplog):
    first = EmbeddedServer(home)
    first.init()
    first.start()
    data = first.data
    shutil.rmtree(home)
    second = EmbeddedServer(home)
    second.init()
    try:
        assert ask(second.start(), "SELECT 1") == 1
        aside = [path for path in data.parents[1].iterdir() if path.name.startswith(f"{data.parent.name}.lost-")]
        assert len(aside) == 1
        assert (aside[0] / "data" / "PG_VERSION").is_file()
        assert Cluster(aside[0] / "data", Path(), None).pid() is None
        assert str(aside[0]) in caplog.text
        shutil.rmtree(aside[0])
    finally:
        second.remove()


@as_root
def test_the_servers_of_root_run_as_another_account_whatever_folder_hides_the_home(server):
    server.home.chmod(0o700)
    server.start()
    assert Path("/proc", str(pid_of(server))).stat().st_uid != 0
    assert server.data.is_relative_to(embedded.SYSTEM_BASE)
    assert server.data.stat().st_uid != 0


@as_root
def test_a_hidden_installation_is_copied_to_where_the_server_can_run_it(home, monkeypatch):
    """As from a clone under a 0700 folder, made under a umask that hides everything."""
    base = Path(tempfile.mkdtemp(prefix="adamacs-base-"))
    base.chmod(0o755)
    hidden = home.parent / "site-packages"
    package = postgres.programs().parents[1]
    shutil.copytree(package.with_name(f"{package.name}.libs"), hidden / f"{package.name}.libs")
    shutil.copytree(package / postgres.INSTALLATION, hidden / package.name / postgres.INSTALLATION)
    for path in (hidden, *hidden.rglob("*")):
        path.chmod(path.stat().st_mode & 0o700)
    place = SimpleNamespace(submodule_search_locations=[str(hidden / package.name)])
    monkeypatch.setattr(postgres, "find_spec", lambda name: place)
    monkeypatch.setattr(embedded, "SYSTEM_BASE", base / "system")
    umask = os.umask(0o077)
    server = EmbeddedServer(home)
    try:
        server.init()
        assert ask(server.start(), "SELECT 1") == 1
    finally:
        os.umask(umask)
        server.remove()
        assert not (base / "system").exists()
        base.rmdir()


@as_root
def test_a_chosen_data_folder_that_the_server_cannot_reach_is_refused(home):
    parent = home.parent / "closed"
    parent.mkdir(mode=0o700)
    server = EmbeddedServer(home, parent / "data")
    with pytest.raises(DatabaseUnavailable, match="cannot enter this folder"):
        server.init()
    assert stat.S_IMODE(parent.stat().st_mode) == 0o700
    server.remove()


def test_a_chosen_data_folder_is_used(home):
    chosen = Path(tempfile.mkdtemp(prefix="adamacs-data-"))
    chosen.chmod(0o755)
    server = EmbeddedServer(home, chosen / "new" / "data")
    try:
        server.init()
        server.start()
        assert ask(server.superuser_address(), "SHOW data_directory") == str(chosen / "new" / "data")
    finally:
        server.remove()
        shutil.rmtree(chosen)


def test_a_chosen_data_folder_with_something_in_it_is_refused(home, tmp_path):
    chosen = Path(tempfile.mkdtemp(prefix="adamacs-data-"))
    (chosen / "thesis.txt").write_text("mine")
    try:
        with pytest.raises(DatabaseUnavailable, match="holds something already"):
            EmbeddedServer(home, chosen).init()
        assert (chosen / "thesis.txt").read_text() == "mine"
    finally:
        shutil.rmtree(chosen)
