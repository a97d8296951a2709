"""A dump moves a lab: what comes back is what was there, or nothing."""

from __future__ import annotations

import dataclasses
import os
import shutil
import stat
import subprocess
import tempfile
from pathlib import Path

import datajoint as dj
import pytest

from adamacs.core import settings as core_settings
from adamacs.core.errors import DatabaseUnavailable, PlanRefused, ToolMissing, UnreadableFile
from adamacs.core.settings import Secret
from adamacs.database import connect, dump, postgres
from tests.labs import fresh_module

on_postgresql = pytest.mark.only_on("postgresql")


@pytest.fixture(scope="module")
def filled(lab, colony):
    colony.Animal.insert({"animal": n, "species": "mouse", "notes": "it's 100%; SET x"} for n in range(50))
    colony.Weighing.insert1({"animal": 1, "day": 1, "grams": 0.1, "scan_bytes": bytes(range(256))})
    colony.Growth.populate()
    return colony


@pytest.fixture
def dumped(lab, filled, tmp_path):
    return dump.dump(lab.settings, tmp_path / "lab.dump")


def contents(module):
    tables = (module.Species, module.Animal, module.Weighing, module.Growth, module.Growth.Step)
    return [sorted(table.to_dicts(), key=str) for table in tables]


@on_postgresql
def test_a_dump_comes_back_in_a_new_embedded_database(lab, filled, dumped, tmp_path):
    home = tmp_path / "moved"
    home.mkdir()
    (home / core_settings.FILE).write_text(f'[database]\nprefix = "{lab.prefix}"\n')
    settings = core_settings.load(home, environ={})
    before = contents(filled)
    with connect.set_aside():
        try:
            dump.restore(settings, dumped)
            moved = fresh_module("colony")
            connect.activate([moved], lab.prefix, connect.open_connection(settings), create=False)
            assert contents(moved) == before
            moved.Animal.insert1({"animal": 1000, "species": "rat"})  # keys and references are there as well
            with pytest.raises(dj.errors.IntegrityError):
                moved.Animal.insert1({"animal": 1001, "species": "no such"})
            assert len(moved.Weighing - moved.Growth) == 0
            with pytest.raises(PlanRefused, match="holds tables of this lab already"):
                dump.restore(settings, dumped)
        finally:
            connect.embedded(settings).remove()


@on_postgresql
def test_a_dump_is_for_its_owner_alone_and_overwrites_nothing(lab, dumped):
    assert stat.S_IMODE(dumped.stat().st_mode) == 0o600
    with pytest.raises(PlanRefused, match="exists already"):
        dump.dump(lab.settings, dumped)
    assert [path.name for path in dumped.parent.iterdir()] == ["lab.dump"]


@on_postgresql
def test_a_dump_holds_this_lab_alone(lab, filled, dumped, new_lab):
    other = new_lab("other", prefix=lab.prefix + "x")
    lab.connection.query(f'CREATE SCHEMA "{other.prefix}_colony"')
    try:
        path = dump.dump(lab.settings, dumped.parent / "again.dump")
        assert dump.read_schemas(path) == [f"{lab.prefix}_colony"]
    finally:
        lab.connection.query(f'DROP SCHEMA "{other.prefix}_colony"')


@on_postgresql
def test_a_dump_of_another_prefix_is_refused(lab, dumped):
    database = dataclasses.replace(lab.settings.database, prefix="elsewhere")
    with pytest.raises(PlanRefused, match="this lab's prefix is elsewhere"):
        dump.restore(dataclasses.replace(lab.settings, database=database), dumped)


@on_postgresql
@pytest.mark.parametrize("damage", ["missing", "garbage", "cut"])
def test_a_damaged_dump_is_refused_and_changes_nothing(lab, dumped, damage, new_lab):
    if damage == "missing":
        dumped.unlink()
    elif damage == "garbage":
        dumped.write_bytes(b"no dump at all")
    else:
        dumped.write_bytes(dumped.read_bytes()[:-2000])
    home = tempfile.mkdtemp()
    try:
        (Path(home) / core_settings.FILE).write_text(f'[database]\nprefix = "{lab.prefix}"\n')
        settings = core_settings.load(Path(home), environ={})
        with connect.set_aside(), pytest.raises((UnreadableFile, DatabaseUnavailable)):
            try:
                dump.restore(settings, dumped)
            finally:
                if connect.embedded(settings).is_initialised():
                    assert connect.lab_schemas(connect.open_connection(settings), lab.prefix) == []
                connect.embedded(settings).remove()
    finally:
        shutil.rmtree(home)


@on_postgresql
def test_the_password_is_in_no_list_of_processes(lab, filled, tmp_path, monkeypatch):
    seen = []
    original = subprocess.run
    monkeypatch.setattr(subprocess, "run", lambda command, **k: seen.append(command) or original(command, **k))
    dump.dump(lab.settings, tmp_path / "lab.dump")
    assert seen
    assert lab.server.password.reveal() not in str(seen)


@on_postgresql
def test_a_wrong_password_is_said_without_telling_it(lab, filled, tmp_path, monkeypatch):
    wrong = dataclasses.replace(connect.running_server(lab.settings), password=Secret("canary-text"))
    monkeypatch.setattr(connect, "running_server", lambda settings: wrong)
    with pytest.raises(DatabaseUnavailable, match="password authentication failed") as caught:
        dump.dump(lab.settings, tmp_path / "lab.dump")
    assert "canary-text" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.only_on("mysql")
def test_on_the_mysql_family_the_error_names_its_own_tools(lab, tmp_path):
    with pytest.raises(ToolMissing, match="mariadb-dump or mysqldump"):
        dump.dump(lab.settings, tmp_path / "lab.dump")


@pytest.fixture
def older_server():
    """A PostgreSQL of an older version, where the machine has one."""
    from tests import servers

    program = servers.find_older_postgresql()
    if program is None:
        message = (
            f"NO OLDER POSTGRESQL: /usr/lib/postgresql holds none below {postgres.MAJOR}; no dump was brought there."
        )
        (pytest.fail if "oldpostgres" in os.environ.get("ADAMACS_TEST_REQUIRE", "") else pytest.skip)(message)
    with servers.older_postgresql(program) as server:
        yield server


@on_postgresql
def test_a_dump_comes_back_on_an_older_server(lab, filled, dumped, older_server, new_lab):
    before = contents(filled)
    with connect.set_aside():
        from tests.labs import Lab

        settings = Lab(dumped.parent / "older", older_server, lab.prefix).settings
        dump.restore(settings, dumped)
        moved = fresh_module("colony")
        connect.activate([moved], lab.prefix, connect.open_connection(settings), create=False)
        assert contents(moved) == before
