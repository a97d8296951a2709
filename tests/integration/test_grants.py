"""What each role may do, tried with a real account on a real server."""

from __future__ import annotations

import contextlib
import logging
from dataclasses import replace

import datajoint as dj
import pytest
from datajoint.errors import AccessError

from adamacs.database import connect, grants, portable


@pytest.fixture(scope="module")
def filled(lab, colony):
    """A colony with something in every table."""
    colony.Animal.insert1({"animal": 1, "species": "mouse"})
    colony.Weighing.insert1({"animal": 1, "day": 1, "grams": 20.0})
    colony.Growth.populate()
    return colony


class Guest:
    """The lab as another account sees it: its own connection, its own copy of the tables."""

    def __init__(self, lab, account, password):
        self.server = replace(lab.server, user=account, password=password)
        info = {"host": self.server.host, "user": account, "password": password.reveal(), "use_tls": False}
        self.connection = dj.Connection(
            **info, port=self.server.port, database_name=self.server.database or None, backend=self.server.backend
        )
        self.lab = lab

    def tables(self):
        from tests.labs import fresh_module

        module = fresh_module("colony")
        connect.activate([module], self.lab.prefix, self.connection, create=False)
        return module


@pytest.fixture(params=grants.ROLES)
def guest(request, lab, filled):
    """An account of each role in turn."""
    with guest_as(lab, request.param) as someone:
        yield someone


@contextlib.contextmanager
def guest_as(lab, role):
    account = f"{role}_{lab.prefix}"
    password = grants.create_account(lab.connection, account)
    tables = grants.stored_tables(lab.connection, lab.prefix)
    plan = grants.plan_grants(role, account, tables, lab.server.backend)
    grants.apply_grants(lab.connection, plan)
    grants.apply_grants(lab.connection, plan)  # granting twice changes nothing
    guest = Guest(lab, account, password)
    guest.role = role
    try:
        yield guest
    finally:
        guest.connection.close()
        drop_account(lab.connection, account)


def drop_account(connection, account):
    if connection.adapter.backend == "mysql":
        statements = [f"DROP USER '{account}'@'%%'"]
    else:
        statements = [f'GRANT "{account}" TO CURRENT_USER', f'DROP OWNED BY "{account}"', f'DROP ROLE "{account}"']
    for statement in statements:
        connection.query(statement)


def may(action):
    try:
        action()
    except AccessError:
        return False
    return True


def test_every_role_binds_and_joins_without_being_able_to_write(guest):
    tables = guest.tables()
    joined = tables.Animal.proj("species") * tables.Weighing * tables.Growth & {"species": "mouse"}
    assert joined.fetch1("relative") == 1.0
    assert len(tables.Weighing - tables.Growth) == 0
    assert tables.Growth.Step.heading.primary_key == ["animal", "day", "step"]


def test_only_students_and_workers_insert_and_only_workers_delete(guest, filled):
    tables = guest.tables()
    student, worker = guest.role == "student", guest.role == "worker"
    animal = {"animal": 100, "species": "rat"}
    assert may(lambda: tables.Animal.insert1(animal)) == (student or worker)
    if student or worker:
        changed = may(lambda: tables.Animal.update1({"animal": 100, "notes": "grey"}))
        assert changed == student
        assert (filled.Animal & "animal = 100").fetch1("notes") == ("grey" if student else "")
    assert not may(lambda: (tables.Animal & "animal = 100").delete_quick())
    assert not may(lambda: tables.Species.insert1({"species": "cat"}))
    computed = {"animal": 1, "day": 1}
    assert may(lambda: (tables.Growth.Step & computed).delete_quick()) == worker
    assert may(lambda: (tables.Growth & computed).delete_quick()) == worker
    filled.Growth.populate()
    (filled.Animal & "animal = 100").delete_quick()


def test_no_role_makes_or_drops_tables(guest):
    tables = guest.tables()
    adapter = guest.connection.adapter
    assert not may(lambda: guest.connection.query(f"DROP TABLE {tables.Growth.Step.full_table_name}"))
    new = adapter.make_full_table_name(tables.schema.database, "new")
    assert not may(lambda: guest.connection.query(f"CREATE TABLE {new} (a int)"))


def test_a_worker_reserves_computes_and_completes_jobs(lab, filled):
    with guest_as(lab, "worker") as guest:
        tables = guest.tables()
        filled.Weighing.insert1({"animal": 1, "day": 2, "grams": 30.0})
        tables.Growth.populate(reserve_jobs=True)
        assert (filled.Growth & "day = 2").fetch1("relative") == 1.5
        assert len(tables.Growth.jobs) == 0
        (filled.Growth.Step & "day = 2").delete_quick()
        (filled.Growth & "day = 2").delete_quick()
        (filled.Weighing & "day = 2").delete_quick()


def test_tables_made_later_can_be_read(lab, filled):
    with guest_as(lab, "analyst") as guest:
        later = f"{lab.prefix}_colony"
        quoted = lab.connection.adapter.make_full_table_name(later, "later")
        lab.connection.query(f"CREATE TABLE {quoted} (a int PRIMARY KEY)")
        assert guest.connection.query(f"SELECT count(*) FROM {quoted}").fetchone()[0] == 0
        assert not may(lambda: guest.connection.query(f"INSERT INTO {quoted} VALUES (1)"))
        lab.connection.query(f"DROP TABLE {quoted}")


def test_a_role_sees_nothing_of_another_lab_of_a_longer_prefix(lab, new_lab, filled):
    """`_` stands for any letter in MySQL's grants, and `lab` begins `lab_two`."""
    like = new_lab("like", prefix=lab.prefix + "x")
    longer = new_lab("longer", prefix=lab.prefix + "_two")
    adapter = lab.connection.adapter
    names = [f"{like.prefix}_colony", f"{longer.prefix}_colony", f"{longer.prefix}_meta"]
    for name in names:
        lab.connection.query(adapter.create_schema_sql(name))
        lab.connection.query(f"CREATE TABLE {adapter.make_full_table_name(name, 'hidden')} (a int)")
    try:
        assert connect.lab_schemas(lab.connection, lab.prefix) == [f"{lab.prefix}_colony"]
        with guest_as(lab, "worker") as guest:
            for name in names:
                hidden = adapter.make_full_table_name(name, "hidden")
                assert not may(lambda hidden=hidden: guest.connection.query(f"SELECT * FROM {hidden}"))
    finally:
        for name in names:
            lab.connection.query(adapter.drop_schema_sql(name))


def test_an_account_that_exists_keeps_its_password(lab, filled):
    with guest_as(lab, "analyst") as guest:
        assert grants.create_account(lab.connection, guest.server.user) is None
        assert guest.connection.is_connected


@pytest.mark.only_on("postgresql")
def test_references_are_still_needed_to_see_keys(lab, filled):
    """An account with SELECT alone sees no primary key on PostgreSQL."""
    with guest_as(lab, "analyst") as guest:
        schema = f"{lab.prefix}_colony"
        lab.connection.query(f'REVOKE REFERENCES ON ALL TABLES IN SCHEMA "{schema}" FROM "{guest.server.user}"')
        assert guest.tables().Animal.heading.primary_key == []


@contextlib.contextmanager
def everything_logged(caplog):
    """Let `caplog` see all that DataJoint logs; its logger may pass nothing on."""
    log = logging.getLogger("datajoint")
    before, log.propagate = log.propagate, True
    try:
        with caplog.at_level(logging.DEBUG), caplog.at_level(logging.DEBUG, "datajoint"):
            yield
    finally:
        log.propagate = before


def test_neither_the_plan_nor_a_log_shows_the_password(lab, filled, caplog):
    account = f"quiet_{lab.prefix}"
    with everything_logged(caplog):
        password = grants.create_account(lab.connection, account)
    try:
        plan = grants.plan_grants(
            "worker", account, grants.stored_tables(lab.connection, lab.prefix), lab.server.backend
        )
        assert plan
        assert "Executing SQL" in caplog.text  # DataJoint did log
        assert password.reveal() not in "\n".join(plan) + caplog.text
        assert "SCRAM" not in caplog.text
    finally:
        drop_account(lab.connection, account)


def test_a_refused_account_is_told_without_its_password(lab, filled, caplog):
    with guest_as(lab, "analyst") as guest, everything_logged(caplog):
        with pytest.raises(portable.FAILURES) as refusal:
            grants.create_account(guest.connection, f"more_{lab.prefix}")
        said = f"{refusal.value!r} {caplog.text}"
        assert not any(word in said for word in ("IDENTIFIED", "PASSWORD", "SCRAM"))


def test_a_reading_account_connects_as_a_user_does(lab, filled):
    """Through settings and `open_connection`, not by hand."""
    with guest_as(lab, "analyst") as guest:
        database = replace(lab.settings.database, url=guest.server.url, password=guest.server.password)
        with connect.set_aside():
            connection = connect.open_connection(replace(lab.settings, database=database))
            assert connection.get_user().startswith(guest.server.user)
        assert dj.config.database.user == lab.server.user
