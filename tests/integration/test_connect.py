"""Connecting a process to a lab, and binding its tables."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import datajoint as dj
import pytest

import adamacs
from adamacs.core import settings as core_settings
from adamacs.core.errors import DatabaseUnavailable, InvalidSetting, SchemaMismatch, ToolMissing
from adamacs.database import connect, portable
from adamacs.database.portable import mends
from tests.labs import fresh_module


def child(lab, code, **environment):
    """Run code in a new process of this lab, as a user would, and return what it prints."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("ADAMACS_", "DJ_"))}
    env = {**kept, "ADAMACS_HOME": str(lab.home), **environment}
    answer = subprocess.run([sys.executable, "-c", code], env=env, cwd=lab.home, capture_output=True, text=True)
    assert answer.returncode == 0, answer.stderr
    return answer.stdout


CONNECT = """
from adamacs.core import settings
from adamacs.database import connect
lab = settings.load()
connection = connect.open_connection(lab)
"""


def test_the_second_call_gives_the_same_connection(lab, connection):
    assert connect.open_connection(lab.settings) is connection
    assert connect.open_connection(core_settings.load(lab.home, environ={})) is connection


def test_another_lab_in_the_same_process_is_refused(lab, connection, new_lab):
    with pytest.raises(DatabaseUnavailable, match="connected to another lab"):
        connect.open_connection(new_lab().settings)
    assert connection.is_connected


def test_a_lab_that_was_set_aside_is_returned_to(lab, connection, new_lab):
    other = new_lab("other")
    with connect.set_aside():
        assert other.connection is not connection
        assert dj.config.stores["derived"]["location"] == str(other.home / "stores/derived")
    assert connect.open_connection(lab.settings) is connection
    assert dj.config.stores["derived"]["location"] == str(lab.home / "stores/derived")


def test_datajoint_knows_the_stores_of_the_lab(lab, connection):
    spec = dj.config.get_store_spec("derived")
    assert spec["protocol"] == "file"
    assert spec["location"] == str(lab.home / "stores/derived")


def test_stray_variables_and_files_of_datajoint_change_nothing(lab, backend):
    stray = {"database": {"host": "elsewhere", "port": 1, "user": "nobody", "password": "x"}}
    (lab.home / "datajoint.json").write_text(json.dumps(stray))
    variables = {"DJ_HOST": "elsewhere", "DJ_USER": "nobody", "DJ_PASS": "x", "DJ_PORT": "1", "DJ_BACKEND": "mysql"}
    code = CONNECT + "print(connection.conn_info['port'], connection.adapter.backend)"
    try:
        assert child(lab, code, **variables) == f"{lab.server.port} {backend}\n"  # and nothing else is printed
    finally:
        (lab.home / "datajoint.json").unlink()


def test_a_wrong_password_is_a_sentence_that_does_not_tell_it(lab):
    wrong = dataclasses.replace(lab.settings.database, password=core_settings.Secret("canary-text"))
    with connect.set_aside(), pytest.raises(DatabaseUnavailable, match=r"does not answer.*adamacs db status") as caught:
        connect.open_connection(dataclasses.replace(lab.settings, database=wrong))
    assert "canary-text" not in str(caught.value)


def test_a_server_that_is_not_there_is_a_sentence(lab, backend):
    nowhere = dataclasses.replace(lab.settings.database, url=f"{backend}://somebody@127.0.0.1:1")
    with connect.set_aside(), pytest.raises(DatabaseUnavailable, match="does not answer"):
        connect.open_connection(dataclasses.replace(lab.settings, database=nowhere))


@pytest.mark.only_on("postgresql")
def test_a_missing_driver_is_named(lab, monkeypatch):
    from datajoint.adapters import postgres

    monkeypatch.setattr(postgres, "client", None)
    with connect.set_aside(), pytest.raises(ToolMissing, match="psycopg2-binary"):
        connect.open_connection(lab.settings)


def test_an_unreadable_url_is_refused(lab):
    odd = dataclasses.replace(lab.settings.database, url="oracle://somebody@host")
    with connect.set_aside(), pytest.raises(InvalidSetting, match="oracle"):
        connect.open_connection(dataclasses.replace(lab.settings, database=odd))


# ---- the embedded server behind it


@pytest.fixture
def embedded_lab(tmp_path):
    """Settings of a lab home whose embedded database is initialised and down."""
    settings = core_settings.create(tmp_path / "embedded")
    own = connect.embedded(settings)
    own.init()
    with connect.set_aside():
        yield settings
    own.remove()


@pytest.mark.only_on("postgresql")
def test_connecting_starts_an_initialised_server_that_is_down(embedded_lab):
    connection = connect.open_connection(embedded_lab)
    assert connection.query("SELECT current_database()").fetchone()[0] == "adamacs"
    assert connect.open_connection(embedded_lab) is connection


@pytest.mark.only_on("postgresql")
def test_connecting_again_follows_the_server_to_its_new_port(embedded_lab):
    import socket

    connection = connect.open_connection(embedded_lab)
    own, before = connect.embedded(embedded_lab), connection.conn_info["port"]
    own.stop()
    with socket.socket() as somebody:
        somebody.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        somebody.bind(("127.0.0.1", before))
        somebody.listen()
        assert connect.open_connection(embedded_lab) is connection
    assert connection.conn_info["port"] != before
    assert connection.query("SELECT 1").fetchone()[0] == 1


@pytest.mark.only_on("postgresql")
def test_connecting_never_initialises(tmp_path):
    settings = core_settings.create(tmp_path / "bare")
    with connect.set_aside(), pytest.raises(DatabaseUnavailable, match="adamacs db init"):
        connect.open_connection(settings)
    assert not (settings.home / "database").exists()


# ---- binding tables


def test_the_name_of_a_schema_is_the_last_name_of_its_module():
    assert connect.schema_name(fresh_module("colony"), "lab") == "lab_colony"
    tables = type(os)("adamacs.modalities.imaging.tables")
    assert connect.schema_name(tables, "lab") == "lab_imaging"


def test_a_lab_without_tables_is_sent_to_db_init_and_nothing_is_made(lab, connection):
    before = connect.lab_schemas(connection, lab.prefix)
    with pytest.raises(DatabaseUnavailable, match="adamacs db init"):
        lab.tables("chain", create=False)
    assert connect.lab_schemas(connection, lab.prefix) == before


def test_a_missing_table_is_named_and_not_made(lab, connection):
    half = fresh_module("colony")
    half.schema.declare_list.pop()  # as an older release would have made it
    name = connect.schema_name(half, lab.prefix)
    connect.activate([half], lab.prefix, connection, create=True)
    with pytest.raises(SchemaMismatch, match=rf"{name}.__growth, {name}.__growth__step.*adamacs db init"):
        lab.tables("colony", create=False)
    assert not connection.query("SELECT 1 FROM information_schema.tables WHERE table_name = '__growth'").rowcount
    whole = lab.tables("colony", create=True)  # what is missing is made, what is there is kept
    assert len(whole.Growth()) == 0


def test_binding_twice_changes_nothing_and_elsewhere_is_refused(lab, connection):
    module = lab.tables("sets")
    connect.activate([module], lab.prefix, connection, create=False)
    connect.activate([module], lab.prefix, connection, create=True)
    with pytest.raises(DatabaseUnavailable, match="bound to the schema"):
        connect.activate([module], "elsewhere", connection, create=False)
    assert len(module.Left()) == 0


def test_the_queues_of_computed_tables_are_made_with_them(lab, connection):
    lab.tables("colony")
    text = "SELECT 1 FROM information_schema.tables WHERE table_schema = %s AND table_name = '~~growth'"
    assert connection.query(text, (f"{lab.prefix}_colony",)).rowcount == 1


def test_four_processes_may_make_the_same_tables_at_once(new_lab):
    other = new_lab("crowd")
    code = CONNECT + "\n".join(
        [
            "from tests.labs import fresh_module",
            "connect.activate([fresh_module('colony')], lab.database.prefix, connection, create=True)",
        ]
    )
    env = {**os.environ, "ADAMACS_HOME": str(other.home)}
    here = Path(__file__).parents[2]  # the children import tests.labs
    crowd = [
        subprocess.Popen([sys.executable, "-c", code], env=env, cwd=here, stderr=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    said = [process.communicate()[1] for process in crowd]
    assert [process.returncode for process in crowd] == [0] * 4, said
    with connect.set_aside():
        colony = other.tables("colony", create=False)
        assert len(colony.Species()) == 2
        other.drop()


# ---- the version of the tables


@pytest.fixture
def meta(lab, connection, monkeypatch):
    """A fresh copy of the module that keeps the version, whose tables nobody has made."""
    import importlib

    before = sys.modules.pop("adamacs.schemas.meta", None)
    module = importlib.import_module("adamacs.schemas.meta")
    yield module
    connection.query(connection.adapter.drop_schema_sql(f"{lab.prefix}_meta"))
    sys.modules.pop("adamacs.schemas.meta")
    del adamacs.schemas.meta  # the package remembers what was imported last
    if before is not None:
        sys.modules["adamacs.schemas.meta"] = adamacs.schemas.meta = before


def test_making_the_tables_records_their_version(lab, connection, meta):
    colony = fresh_module("colony")
    meta.activate([colony], lab.prefix, connection, create=True)
    assert meta.SchemaVersion.fetch1() == {
        "schema_version": meta.SCHEMA_VERSION,
        "adamacs_version": adamacs.__version__,
    }
    meta.activate([colony], lab.prefix, connection, create=True)
    meta.activate([colony], lab.prefix, connection, create=False)
    assert len(meta.SchemaVersion()) == 1


@pytest.mark.parametrize(("step", "advice"), [(1, "or a later one"), (-1, "migrate")])
def test_tables_of_another_version_are_refused_with_both_versions(lab, connection, meta, monkeypatch, step, advice):
    meta.activate([], lab.prefix, connection, create=True)
    monkeypatch.setattr(meta, "SCHEMA_VERSION", meta.SCHEMA_VERSION - step)
    for create in (True, False):
        with pytest.raises(SchemaMismatch, match=rf"version {meta.SCHEMA_VERSION + step}.*{advice}") as caught:
            meta.activate([], lab.prefix, connection, create=create)
        assert f"works with version {meta.SCHEMA_VERSION}" in str(caught.value)


def test_tables_that_were_not_all_made_are_refused_until_they_are(lab, connection, meta, monkeypatch):
    connect.activate([meta], lab.prefix, connection, create=True)  # the process was killed after this
    with pytest.raises(DatabaseUnavailable, match="not all made"):
        meta.activate([], lab.prefix, connection, create=False)
    meta.activate([], lab.prefix, connection, create=True)
    meta.activate([], lab.prefix, connection, create=False)


def test_a_database_that_was_never_initialised_is_said(lab, connection, meta):
    try:
        with pytest.raises(DatabaseUnavailable, match="adamacs db init"):
            meta.activate([], lab.prefix, connection, create=False)
    finally:
        meta.activate([], lab.prefix, connection, create=True)


def test_the_mends_are_in_place_once_connected(connection):
    assert mends.replaced
    number = len(mends.replaced)
    portable.apply()
    assert len(mends.replaced) == number
