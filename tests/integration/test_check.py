"""`adamacs check` and `adamacs db status` on a real server that is down."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from adamacs.cli.check import check
from adamacs.cli.db import db
from adamacs.core import settings as core_settings
from adamacs.database import connect


@pytest.fixture
def own(tmp_path, monkeypatch):
    """The embedded server of a lab home, initialised and down."""
    monkeypatch.setenv("ADAMACS_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(core_settings, "_active", None)
    server = connect.embedded(core_settings.create(tmp_path / "home"))
    server.init()
    yield server
    server.remove()


def database_line(command, *arguments):
    answer = CliRunner().invoke(command, [*arguments, "--json"])
    lines = map(json.loads, answer.output.splitlines())
    return answer.exit_code, next(line for line in lines if line["subject"] == "database")


@pytest.mark.only_on("postgresql")
def test_check_starts_a_server_that_is_down_and_asks_it_and_status_only_tells(own):
    status, line = database_line(db, "status")
    assert (status, line["ok"], line["remedy"]) == (1, None, "adamacs db start")
    assert "down" in line["finding"]
    assert not own.is_running()
    status, line = database_line(check)
    assert own.is_running()
    assert (status, line["ok"], line["remedy"]) == (1, False, "adamacs db init")  # it answered that tables are missing
    assert line["finding"].startswith("PostgreSQL ")
