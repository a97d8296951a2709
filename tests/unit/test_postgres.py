"""Finding PostgreSQL's programs and running them, without a server."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

import pytest

from adamacs.core.errors import DatabaseUnavailable, ToolMissing
from adamacs.database import postgres


def test_the_wheel_is_found_without_running_its_code():
    programs = postgres.programs()
    for name in ("postgres", "initdb", "pg_ctl", "pg_dump", "pg_restore", "psql"):
        assert (programs / name).is_file(), name
    assert postgres.PACKAGE not in sys.modules


def test_a_missing_wheel_is_answered_with_the_command_that_installs_it(monkeypatch):
    monkeypatch.setattr(postgres, "find_spec", lambda name: None)
    with pytest.raises(ToolMissing, match=r"pip install 'adamacs\[server\]'"):
        postgres.programs()


def test_windows_is_pointed_to_a_server(monkeypatch):
    monkeypatch.setattr(postgres.os, "name", "nt")
    with pytest.raises(ToolMissing, match=r"database\.url"):
        postgres.programs()


def test_the_programs_see_none_of_the_callers_redirections(monkeypatch):
    monkeypatch.setenv("PGDATA", "/elsewhere")
    monkeypatch.setenv("PGPASSWORD", "canary")
    monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    seen = postgres.environment({"PGSSLMODE": "require"})
    assert {name for name in seen if name.startswith("PG")} == {"PGSSLMODE"}
    assert (seen["LC_ALL"], seen["TZ"]) == ("C", "UTC")
    assert seen["PATH"] == os.environ["PATH"]


def test_a_program_that_cannot_run_or_does_not_end_is_a_sentence(tmp_path):
    with pytest.raises(DatabaseUnavailable, match="cannot be started"):
        postgres.run(tmp_path / "no-such-program")
    with pytest.raises(DatabaseUnavailable, match="did not end within"):
        postgres.run(Path(sys.executable), "-c", "import time; time.sleep(60)", timeout=0.5)


def test_a_password_file_is_private_and_gone_afterwards(tmp_path):
    with postgres.password_file(tmp_path, "canary", None) as path:
        assert path.read_text() == "canary"
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="this is about ordinary users")
def test_an_ordinary_user_runs_the_server_himself(tmp_path):
    assert postgres.server_account(tmp_path) is None


@pytest.mark.skipif(os.geteuid() != 0, reason="this is about root")
def test_root_runs_the_server_as_another_account(tmp_path):
    account = postgres.server_account(tmp_path / "new")
    assert account.uid != 0
    os.chown(tmp_path, 12345, 12345)
    assert postgres.server_account(tmp_path).uid == 12345
    os.chown(tmp_path, 0, 0)
