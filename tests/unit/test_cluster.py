"""Judging server processes and ports, without a server."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from adamacs.core.errors import DatabaseUnavailable
from adamacs.database.cluster import NO_PROCESS, Cluster, free_port, serves


@pytest.fixture
def cluster(tmp_path):
    return Cluster(tmp_path, tmp_path / "no-programs", None)


@pytest.fixture
def pretender(tmp_path):
    """A process whose command line names the data folder, as a server's does."""
    command = [sys.executable, "-c", "import time; time.sleep(60)", "-D", str(tmp_path)]
    process = subprocess.Popen(command)
    yield process
    process.kill()
    process.wait()


def write_pid_file(data, pid, status="ready"):
    lines = [str(pid), str(data), "1700000000", "5432", "", "127.0.0.1", "  8826964     65536", status]
    (data / "postmaster.pid").write_text("\n".join(lines) + "\n")


def test_a_process_serves_a_folder_that_its_command_line_names(pretender, tmp_path):
    assert serves(pretender.pid, tmp_path)
    assert not serves(pretender.pid, tmp_path / "other")
    assert not serves(pretender.pid, tmp_path.parent)
    assert not serves(os.getpid(), tmp_path)


def test_a_zombie_serves_nothing(pretender, tmp_path):
    pretender.kill()
    deadline = time.monotonic() + 10
    while serves(pretender.pid, tmp_path) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not serves(pretender.pid, tmp_path)  # dead, but not yet waited for
    assert Path("/proc", str(pretender.pid)).exists() or sys.platform != "linux"


def test_the_number_that_stands_for_no_process_is_none(tmp_path):
    assert not serves(NO_PROCESS, tmp_path)
    with pytest.raises(ProcessLookupError):
        os.kill(NO_PROCESS, 0)


def test_a_server_is_ready_once_it_says_so(cluster, pretender):
    assert cluster.pid() is None
    write_pid_file(cluster.data, pretender.pid, "starting")
    assert cluster.pid() == pretender.pid
    assert not cluster.is_ready()
    write_pid_file(cluster.data, pretender.pid, "ready   ")
    assert cluster.is_ready()


@pytest.mark.parametrize("text", ["", "\n", "x\n", "12"])
def test_half_a_pid_file_is_no_server(cluster, text):
    (cluster.data / "postmaster.pid").write_text(text)
    assert cluster.pid() is None
    assert not cluster.is_ready()


def test_disarming_a_pid_file_keeps_all_but_the_process(cluster):
    write_pid_file(cluster.data, os.getpid())
    before = (cluster.data / "postmaster.pid").read_text().splitlines()
    cluster._disarm_stale_pid_file()
    after = (cluster.data / "postmaster.pid").read_text().splitlines()
    assert after == [str(NO_PROCESS), *before[1:]]


def test_a_folder_without_data_is_not_started(cluster):
    with pytest.raises(DatabaseUnavailable, match="is gone"):
        cluster.start(0, lambda port: None)


def test_a_free_port_is_the_preferred_one_unless_somebody_holds_it():
    free = free_port(0)
    assert free_port(free) == free
    with socket.socket() as somebody:
        somebody.bind(("127.0.0.1", free))
        somebody.listen()
        assert free_port(free) != free
