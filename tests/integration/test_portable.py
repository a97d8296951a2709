"""Each mend of DataJoint: the defect is there without it, and gone with it.

A test named `..._is_still_needed` fails once DataJoint has repaired the defect: the mend can then be removed.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import logging
import secrets
import socket
import warnings

import datajoint as dj
import numpy as np
import pymysql
import pytest
from datajoint.adapters.mysql import MySQLAdapter
from datajoint.errors import DuplicateError, IntegrityError, LostConnectionError
from datajoint.heading import Heading
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from adamacs.core import failures
from adamacs.core.errors import DatabaseUnavailable, InvalidRequest
from adamacs.core.settings import Secret
from adamacs.database import connect, grants, ping, portable, statements
from adamacs.database.address import Server
from adamacs.database.portable import drivers


def other_session(server):
    """A bare session of the same account, beside DataJoint's."""
    password = server.password.reveal()
    if server.backend == "mysql":
        return pymysql.connect(host=server.host, port=server.port, user=server.user, password=password, autocommit=True)
    import psycopg2

    session = psycopg2.connect(
        host=server.host, port=server.port, user=server.user, password=password, dbname=server.database
    )
    session.autocommit = True
    return session


def run(server, *statements):
    session = other_session(server)
    try:
        with session.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)
    finally:
        session.close()


def cut(connection, server):
    """Let the server end DataJoint's session, as a restart would; return its number."""
    number = connection.connection_id
    kill = f"KILL {number}" if server.backend == "mysql" else f"SELECT pg_terminate_backend({number}, 5000)"
    run(server, kill)
    return number


on_postgresql = pytest.mark.only_on("postgresql")
on_mysql = pytest.mark.only_on("mysql")


def is_mariadb(connection):
    return "MariaDB" in connection.query("SELECT version()").fetchone()[0]


# ---- lost connections


def test_a_lost_connection_is_opened_anew_outside_a_transaction(connection, database_server, colony):
    colony.Animal.insert1({"animal": 10, "species": "mouse"})
    before = cut(connection, database_server)
    assert (colony.Animal & "animal = 10").fetch1("species") == "mouse"
    assert connection.connection_id == connection.adapter.get_connection_id(connection._conn)
    assert connection.connection_id != before


def test_a_connection_that_was_closed_here_is_opened_anew(connection, colony):
    connection._conn.close()
    assert len(colony.Species()) == 2


def test_a_lost_connection_inside_a_transaction_raises_and_commits_nothing(connection, database_server, colony):
    with pytest.raises(LostConnectionError), connection.transaction:
        colony.Animal.insert1({"animal": 11, "species": "mouse"})
        cut(connection, database_server)
        colony.Animal.insert1({"animal": 12, "species": "mouse"})
    assert not connection.in_transaction
    assert not colony.Animal & "animal in (11, 12)"


def test_a_loss_at_commit_raises(connection, database_server, colony):
    with pytest.raises(LostConnectionError), connection.transaction:
        colony.Animal.insert1({"animal": 13, "species": "mouse"})
        cut(connection, database_server)
    assert not colony.Animal & "animal = 13"


def test_a_lost_connection_is_noticed_by_asking(lab, connection, database_server):
    assert connection.is_connected
    cut(connection, database_server)
    with pytest.raises(LostConnectionError):
        connection.ping()
    assert not connection.is_connected
    assert connect.open_connection(lab.settings) is connection
    assert connection.is_connected


def test_a_server_that_stays_away_is_a_lost_connection_too(connection, database_server, colony):
    port = connection.conn_info["port"]
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # held, and nobody listens
        connection.conn_info["port"] = nobody.getsockname()[1]
        cut(connection, database_server)
        with pytest.raises(LostConnectionError, match="cannot be reached again"):
            len(colony.Species())
        with pytest.raises(LostConnectionError), connection.transaction:
            len(colony.Species())
    connection.conn_info["port"] = port
    assert len(colony.Species()) == 2


@on_postgresql
def test_an_aborted_transaction_is_no_lost_connection(connection, colony):
    with pytest.raises(KeyError), connection.transaction:
        with pytest.raises(Exception, match="division by zero"):
            connection.query("SELECT 1/0")
        assert connection.is_connected
        assert connection.in_transaction
        raise KeyError
    assert len(colony.Species()) == 2


@on_postgresql
def test_the_translation_of_lost_connections_is_still_needed(connection, colony):
    with portable.withdrawn():
        connection._conn.close()
        with pytest.raises(Exception, match="connection already closed") as caught:
            len(colony.Species())
        assert not isinstance(caught.value, dj.DataJointError)
    assert len(colony.Species()) == 2


@on_postgresql
def test_a_server_that_vanished_is_a_lost_connection_and_the_mend_still_needed(connection):
    import psycopg2

    error = psycopg2.OperationalError("server closed the connection unexpectedly")  # as after kill -9: no code
    assert isinstance(connection.adapter.translate_error(error), LostConnectionError)
    with portable.withdrawn():
        assert connection.adapter.translate_error(error) is error


def test_the_raising_ping_is_still_needed(connection, database_server):
    with portable.withdrawn():
        cut(connection, database_server)
        assert connection.is_connected  # which is not true
    assert not connection.is_connected
    connection.connect()


def test_the_new_number_of_a_new_session_is_still_needed(connection):
    with portable.withdrawn():
        before = connection.connection_id
        connection.connect()
        assert connection.connection_id == before
        assert connection.adapter.get_connection_id(connection._conn) != before
    connection.connect()


def test_the_name_of_a_failed_reconnection_is_still_needed(connection, database_server, colony):
    port = connection.conn_info["port"]
    with portable.withdrawn(), socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        connection.conn_info["port"] = nobody.getsockname()[1]
        with pytest.raises(statements.CLIENT_ERRORS):
            connection.connect()
    connection.conn_info["port"] = port
    connection.connect()


def test_deleting_what_others_refer_to_is_an_integrity_error(colony):
    colony.Animal.insert1({"animal": 14, "species": "mouse"})
    with pytest.raises(IntegrityError):
        (colony.Species & {"species": "mouse"}).delete_quick()
    (colony.Animal & "animal = 14").delete_quick()


@on_postgresql
def test_the_new_code_for_what_others_refer_to_is_still_needed(connection, colony):
    ((version,),) = connection.query("SHOW server_version_num")
    if int(version) < 180000:
        pytest.skip(f"POSTGRESQL {int(version) // 10000}: the code that DataJoint does not know came with 18")
    colony.Animal.insert1({"animal": 14, "species": "mouse"})
    with portable.withdrawn(), pytest.raises(Exception, match="violates RESTRICT") as caught:
        (colony.Species & {"species": "mouse"}).delete_quick()
    assert not isinstance(caught.value, dj.DataJointError)
    (colony.Animal & "animal = 14").delete_quick()


@pytest.mark.parametrize("code", sorted(drivers._LOST_MYSQL))
def test_the_codes_of_a_session_ended_by_a_mysql_server_are_still_needed(code):
    adapter = MySQLAdapter()
    error = pymysql.err.OperationalError(code, "gone")
    portable.apply()
    assert isinstance(adapter.translate_error(error), LostConnectionError)
    with portable.withdrawn():
        assert adapter.translate_error(error) is error


# ---- values


def test_bytes_come_back_as_bytes(lab, colony):
    row = {"animal": 20, "day": 1, "grams": 21.5, "scan_bytes": b"\x00\xff"}
    colony.Animal.insert1({"animal": 20, "species": "mouse"})
    colony.Weighing.insert1(row)
    whole = (colony.Weighing & {"animal": 20}).fetch1("scan_bytes")
    assert type(whole) is bytes
    assert whole == row["scan_bytes"]


@on_postgresql
def test_bytes_as_bytes_are_still_needed(lab, colony):
    colony.Animal.insert1({"animal": 21, "species": "mouse"})
    colony.Weighing.insert1({"animal": 21, "day": 1, "grams": 21.5, "scan_bytes": b"x"})
    with portable.withdrawn():
        lab.connection.connect()
        assert type((colony.Weighing & "animal = 21").fetch1("scan_bytes")) is memoryview
    lab.connection.connect()


@pytest.fixture
def server_in_tokyo(lab, backend):
    """The server gives new sessions of our account another time zone than UTC."""
    if backend == "mysql":
        run(lab.server, "SET GLOBAL time_zone = '+09:00'")
    else:
        run(lab.server, f"ALTER ROLE {lab.server.user} SET timezone = 'Asia/Tokyo'")
    yield
    if backend == "mysql":
        run(lab.server, "SET GLOBAL time_zone = 'SYSTEM'")
    else:
        run(lab.server, f"ALTER ROLE {lab.server.user} RESET timezone")
    lab.connection.connect()


def hours_from_utc(connection):
    text = "SELECT CAST(CURRENT_TIMESTAMP AS {})".format(
        "datetime" if connection.adapter.backend == "mysql" else "timestamp"
    )
    now = datetime.datetime.now(datetime.UTC).replace(tzinfo=None)
    return round((connection.query(text).fetchone()[0] - now).total_seconds() / 3600)


def test_the_server_writes_instants_in_utc(lab, server_in_tokyo):
    lab.connection.connect()
    assert hours_from_utc(lab.connection) == 0


def test_the_time_zone_of_the_session_is_still_needed(lab, server_in_tokyo):
    with portable.withdrawn():
        lab.connection.connect()
        assert hours_from_utc(lab.connection) == 9


@pytest.fixture
def server_of_latin_script(lab):
    """The server gives new schemas a character set that lacks most characters."""
    before = lab.connection.query("SELECT @@GLOBAL.character_set_server").fetchone()[0]
    run(lab.server, "SET GLOBAL character_set_server = 'latin1'")
    yield
    run(lab.server, f"SET GLOBAL character_set_server = '{before}'")
    lab.connection.connect()


def character_set_of_new_schema(lab, name):
    lab.connection.connect()
    connection, schema = lab.connection, f"{lab.prefix}_{name}"
    connection.query(connection.adapter.create_schema_sql(schema))
    text = "SELECT default_character_set_name AS name FROM information_schema.schemata WHERE schema_name = %s"
    return connection.query(text, (schema,)).fetchone()[0]


@on_mysql
def test_schemas_hold_any_character_and_the_mend_is_still_needed(lab, server_of_latin_script):
    assert character_set_of_new_schema(lab, "any") == "utf8mb4"
    with portable.withdrawn():
        assert character_set_of_new_schema(lab, "latin") == "latin1"


@on_mysql
def test_a_row_that_somebody_works_on_holds_up_no_other(lab, colony):
    """With the isolation of the family itself, whoever copies rows waits for those who change one of them."""
    colony.Animal.insert([{"animal": number, "species": "rat"} for number in (901, 902)])
    table = colony.Animal().full_table_name
    rows = f"SELECT animal + 100, species FROM {table} WHERE animal IN (901, 902)"
    copy = f"INSERT IGNORE INTO {table} (animal, species) {rows}"
    other = portable.separate_connection(lab.server)
    try:
        with statements.transaction(lab.connection):
            lab.connection.query(f"UPDATE {table} SET species = 'mouse' WHERE animal = 901")
            other.query("SET innodb_lock_wait_timeout = 1")
            other.query(copy)
            other.query("SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            with pytest.raises(pymysql.err.OperationalError, match="Lock wait timeout"):
                other.query(copy)
    finally:
        other.close()
        (colony.Animal & "animal > 900").delete_quick()


def test_within_a_transaction_nothing_reconnects(lab, colony):
    """Not even after DataJoint, asked whether it is in one, has forgotten that it was."""
    connection = lab.connection
    with pytest.raises(LostConnectionError), statements.transaction(connection):
        cut(connection, lab.server)
        assert not connection.in_transaction
        colony.Animal.insert1({"animal": 904, "species": "rat"})
    assert not colony.Animal & {"animal": 904}  # and here it does


def test_a_chain_of_codecs_that_ends_in_json_is_stored(lab):
    chain = lab.tables("chain")
    chain.Stored.insert1({"item": 1, "content": np.arange(5)})
    np.testing.assert_array_equal((chain.Stored & "item = 1").fetch1("content"), np.arange(5))


@on_mysql
def test_the_recognition_of_json_is_still_needed(lab):
    if not is_mariadb(lab.connection):
        pytest.skip("the defect is of MariaDB, this server is MySQL")
    chain = lab.tables("chain")
    with portable.withdrawn():
        chain.Stored._heading = Heading(table_info=chain.Stored._heading.table_info)
        with pytest.raises(TypeError, match="dict can not be used as parameter"):
            chain.Stored.insert1({"item": 2, "content": np.arange(5)})


@on_mysql
def test_connecting_to_mariadb_is_silent_and_the_mend_still_needed(lab):
    if not is_mariadb(lab.connection):
        pytest.skip("the warning is of MariaDB, this server is MySQL")
    info = lab.connection.conn_info
    arguments = (info["host"], info["user"], info["passwd"], info["port"], False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        dj.Connection(*arguments).close()
    with portable.withdrawn(), pytest.warns(UserWarning, match="MariaDB is not officially supported"):
        dj.Connection(*arguments).close()


@pytest.fixture
def singleton():
    """DataJoint's own connection of the process stays as it is."""
    from datajoint import instance

    before = instance._singleton_connection
    yield
    instance._singleton_connection = before


@pytest.mark.parametrize("opened", [portable.connect, portable.separate_connection])
def test_tls_that_is_demanded_is_not_waived(connection, database_server, singleton, opened):
    with contextlib.closing(other_session(database_server)) as session:
        is_offered = is_encrypted(session)
    demanding = dataclasses.replace(database_server, use_tls=True)
    if is_offered:  # MySQL offers it unless told not to
        demanded = opened(demanding)
        assert demanded._conn._ssl_required
        assert is_encrypted(demanded._conn)
        demanded.close()
    else:
        with pytest.raises((DatabaseUnavailable, *statements.CLIENT_ERRORS), match=r"SSL|TLS"):
            opened(demanding)


def is_encrypted(session):
    if not isinstance(session, pymysql.Connection):
        return session.info.ssl_in_use
    with session.cursor() as cursor:
        cursor.execute("SHOW SESSION STATUS LIKE 'Ssl_cipher'")
        return bool(cursor.fetchone()[1])


@pytest.fixture
def newcomer(lab):
    """An account that the server has seen no password of since it was made."""
    name = f"new{secrets.token_hex(4)}"
    password = grants.create_account(lab.connection, name)
    yield dataclasses.replace(lab.server, user=name, password=password)
    run(lab.server, f"DROP USER '{name}'")


@on_mysql
def test_an_account_that_the_server_never_saw_connects(newcomer):
    """MySQL asks such a one for its password itself, which travels over TLS alone."""
    connection = portable.separate_connection(newcomer)
    try:
        (account,) = connection.query("SELECT CURRENT_USER()").fetchone()
    finally:
        connection.close()
    assert account.partition("@")[0] == newcomer.user


def test_a_password_that_may_not_travel_in_the_open_is_an_error_of_the_server(monkeypatch):
    """As PyMySQL raises it where MySQL, without TLS, hands out a key to hide the password with."""
    monkeypatch.setattr("pymysql._auth._have_cryptography", False)
    monkeypatch.setattr(pymysql, "connect", lambda **_: pymysql._auth.sha2_rsa_encrypt(b"word", b"salt", b"key"))
    server = Server("mysql", "db.lab.org", 3306, "ana", Secret("word"))
    portable.apply()
    with pytest.raises(pymysql.err.OperationalError, match="offers no TLS") as caught:
        MySQLAdapter().connect(server.host, server.port, server.user, "word")
    assert failures.classify(caught.value).name == "database"
    with pytest.raises(DatabaseUnavailable, match="cryptography"):
        ping.version(server)
    with portable.withdrawn(), pytest.raises(RuntimeError, match="cryptography"):
        MySQLAdapter().connect(server.host, server.port, server.user, "word")


# ---- logs


@pytest.fixture
def logged(caplog, monkeypatch):
    """All that DataJoint logs; its logger may pass nothing on."""
    monkeypatch.setattr(logging.getLogger("datajoint"), "propagate", True)
    with caplog.at_level(logging.DEBUG, "datajoint"):
        yield caplog


def test_a_statement_with_a_secret_is_run_and_not_logged(connection, colony, logged):
    species = colony.Species.full_table_name
    portable.execute_unlogged(connection, f"INSERT INTO {species} (species) VALUES ('100 % canary')")
    with pytest.raises(DuplicateError):
        portable.execute_unlogged(connection, f"INSERT INTO {species} (species) VALUES ('100 % canary')")
    assert "canary" not in logged.text
    logged.clear()
    (colony.Species & {"species": "100 % canary"}).delete_quick()
    assert "canary" in logged.text  # the row was there, and others' statements are logged


def test_keeping_a_secret_out_of_the_log_is_still_needed(connection, logged):
    connection.query("SELECT 'canary-text'")
    assert "canary-text" in logged.text


# ---- set difference


@pytest.fixture(scope="module")
def sets(lab):
    return lab.tables("sets")


def minus(first, second):
    """Subtract without asking whether columns of the same name have the same origin."""
    return first.restrict(dj.condition.Not(second), semantic_check=False)


DIFFERENCES = {
    "a table without its children": lambda m: m.Left - m.Child,
    "the class and the instance": lambda m: m.Left() - m.Child(),
    "keys without computed keys": lambda m: m.Left.proj() - m.Product.proj(),
    "key source": lambda m: m.Product.key_source - m.Product,
    "a restricted table": lambda m: (m.Left & "value > 0") - m.Child,
    "from a restricted table": lambda m: m.Left - (m.Child & "score > 0"),
    "from a mapping": lambda m: m.Left - (m.Child & {"a": 1}),
    "twice": lambda m: m.Left - m.Child - m.Product,
    "of a difference": lambda m: m.Left - (m.Child - m.GrandChild),
    "double negation": lambda m: minus(m.Left(), m.Left - m.Child),
    "not of not": lambda m: m.Left & dj.condition.Not(dj.condition.Not(m.Child)),
    "children without parents of a value": lambda m: m.Child - (m.Left & "value = 1"),
    "a column beside the key": lambda m: minus(m.Left.proj("value"), (m.Left & "value > 0").proj("value")),
    "more columns inside": lambda m: m.Left - m.GrandChild,
    "more columns outside": lambda m: m.GrandChild - m.Child,
    "a join": lambda m: (m.Left * m.Child) - m.Product,
    "from a join": lambda m: m.Left - (m.Child * m.Product),
    "from a join with the table itself": lambda m: minus(m.Left(), m.Left * m.Child),
    "a left join": lambda m: m.Left.join(m.Child, left=True) - m.Product,
    "from a left join": lambda m: m.Left.proj() - m.Left.join(m.Product, left=True),
    "renamed": lambda m: m.Left.proj(x="a") - m.Child.proj(x="a"),
    "renamed on one side": lambda m: m.Left - m.Child.proj(z="a"),
    "renamed and restricted": lambda m: (m.Left.proj(x="a") & "x > 0") - m.Child.proj(x="a"),
    "nothing in common": lambda m: m.Left.proj(x="a", y="b") - m.Child.proj(z="a", w="b"),
    "a computed column": lambda m: m.Left.proj(double="value * 2") - m.Child,
    "aggregated": lambda m: m.Left.aggr(m.GrandChild, n="count(c)") - m.Product,
    "from an aggregation": lambda m: m.Left.proj() - (m.Left.aggr(m.GrandChild, n="count(c)") & "n > 0"),
    "a union": lambda m: (m.Child.proj() + m.Product.proj()) - m.GrandChild,
    "a difference of a union": lambda m: (m.Child.proj() + m.Product.proj()) - (m.Left & "value = 1"),
    "the universe": lambda m: m.Left - (dj.U("a") & m.Child),
    "the first ones": lambda m: (m.Left & dj.Top(2)) - m.Child,
    "conditions": lambda m: m.Left - "value = 1",
    "a list": lambda m: m.Left - [m.Child, m.Product],
    "a mapping": lambda m: m.Left - {"a": 1},
}


def nullable_pairs(m):
    """Queries that share a column which can be empty: DataJoint's own form must stay."""
    left = m.Left.proj("label")
    scores = m.Child.proj(label="score")
    both = {"semantic_check": False}
    not_ = dj.condition.Not
    yield left.restrict(not_(scores), **both)
    yield scores.restrict(not_(left), **both)
    yield dj.U("label") & left.restrict(not_(dj.U("label") & scores), **both)
    joined = m.Left.join(scores, left=True, semantic_check=False)
    yield m.Left.proj("label").restrict(not_(joined.proj("label")), **both)


keys = st.sets(st.tuples(st.integers(0, 3), st.sampled_from(["x", "X", "y'%"])), max_size=8)
small = st.one_of(st.none(), st.integers(0, 2))


@st.composite
def contents(draw):
    left = draw(keys)
    child = draw(st.sets(st.sampled_from(sorted(left)))) if left else set()
    grand = draw(st.sets(st.sampled_from(sorted(child)))) if child else set()
    product = draw(st.sets(st.sampled_from(sorted(left)))) if left else set()
    return {
        "Left": [{"a": a, "b": b, "value": draw(st.integers(0, 2)), "label": draw(small)} for a, b in sorted(left)],
        "Child": [{"a": a, "b": b, "score": draw(small)} for a, b in sorted(child)],
        "GrandChild": [{"a": a, "b": b, "c": c} for a, b in sorted(grand) for c in (1, 2)],
        "Product": [{"a": a, "b": b, "product": 1} for a, b in sorted(product)],
    }


def fill(m, rows):
    for name in ("Product", "GrandChild", "Child", "Left"):
        getattr(m, name)().delete_quick()
    for name in ("Left", "Child", "GrandChild", "Product"):
        getattr(m, name).insert(rows[name], allow_direct_insert=True)


def as_set(query):
    return {tuple(sorted((name, str(value)) for name, value in row.items())) for row in query.to_dicts()}


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(rows=contents())
def test_a_difference_means_what_it_meant(sets, backend, rows):
    """All differences, on random small tables, give what DataJoint's own form gives."""
    if backend == "mysql":  # which compares text without regard to case: `x` and `X` would be one key
        for table in rows.values():
            for row in table:
                row["b"] = row["b"].replace("X", "z")
    fill(sets, rows)
    for name, make in DIFFERENCES.items():
        mended = as_set(make(sets))
        with portable.withdrawn():
            assert mended == as_set(make(sets)), name
        assert len(make(sets)) == len(mended), name
        assert bool(make(sets)) == bool(mended), name
    for number, query in enumerate(nullable_pairs(sets)):
        assert "NOT EXISTS" not in query.make_sql(), number


@pytest.mark.parametrize("name", ["a table without its children", "key source", "renamed", "a join", "twice"])
def test_a_difference_of_keys_is_written_as_not_exists(sets, name):
    text = DIFFERENCES[name](sets).make_sql().upper()
    assert "NOT EXISTS" in text
    assert "NOT IN" not in text


def test_columns_of_another_origin_are_still_refused(sets):
    with pytest.raises(dj.DataJointError, match="lineage"):
        sets.Left - (sets.Left & "value > 0")


def test_writing_differences_anew_is_still_needed(sets):
    with portable.withdrawn():
        assert "not in" in (sets.Left - sets.Child).make_sql()


def some(sets):
    of_left = [{"a": a, "b": b, "value": 0} for a in (1, 2) for b in ("x", "y")]
    fill(sets, {"Left": of_left, "Child": [], "GrandChild": [], "Product": []})


@pytest.mark.parametrize(
    "key",
    [
        {"a": 1, "b": "x"},
        dj.AndList([{"a": 1}, {"b": "x"}]),
        np.array([(1, "x")], dtype=[("a", "i4"), ("b", "U8")])[0],
        {"a": 1, "b": "x", "nowhere": 3},
    ],
    ids=["key", "conditions", "record", "column that is not there"],
)
def test_all_but_one_key_are_all_but_one_and_the_mend_still_needed(sets, key):
    some(sets)
    assert as_set((sets.Left - key).proj()) == as_set(sets.Left.proj()) - as_set((sets.Left & key).proj())
    assert (len(sets.Left & key), len(sets.Left - key)) == (1, 3)
    with portable.withdrawn():
        assert len(sets.Left - key) != 3


def test_a_key_without_a_column_of_the_table_leaves_nothing(sets):
    some(sets)
    assert (len(sets.Left - {"nowhere": 3}), len(sets.Left - dj.AndList([]))) == (0, 0)


def test_a_difference_deletes_what_it_selects(sets):
    fill(
        sets,
        {
            "Left": [{"a": a, "b": "x", "value": 0} for a in (1, 2, 3)],
            "Child": [{"a": 1, "b": "x"}],
            "GrandChild": [],
            "Product": [],
        },
    )
    (sets.Left - sets.Child).delete_quick()
    assert sets.Left.keys() == [{"a": 1, "b": "x"}]


def test_the_job_queue_is_refreshed_by_differences(sets, lab, monkeypatch):
    fill(
        sets,
        {
            "Left": [{"a": a, "b": "x", "value": 0} for a in (1, 2, 3)],
            "Child": [],
            "GrandChild": [],
            "Product": [{"a": 1, "b": "x", "product": 1}],
        },
    )
    statements = []
    original = dj.Connection.query
    monkeypatch.setattr(
        dj.Connection, "query", lambda self, text, *a, **k: statements.append(text) or original(self, text, *a, **k)
    )
    assert sets.Product.jobs.refresh()["added"] == 2
    text = "\n".join(statements).upper()
    assert "NOT EXISTS" in text
    assert "NOT IN (" not in text
    sets.Product.populate()
    assert len(sets.Product()) == 3


# ---- binding tables


def count_statements(connection, monkeypatch, action):
    statements = []
    original = dj.Connection.query
    with monkeypatch.context() as patched:
        patched.setattr(
            dj.Connection, "query", lambda self, text, *a, **k: statements.append(text) or original(self, text, *a, **k)
        )
        action()
    return statements


def test_binding_existing_tables_takes_one_statement_and_writes_nothing(lab, colony, monkeypatch):
    (colony.Species & {"species": "rat"}).delete_quick()
    statements = count_statements(lab.connection, monkeypatch, lambda: lab.tables("colony", create=False))
    assert len(statements) == 1
    assert "rat" not in colony.Species.to_arrays("species")


def test_binding_without_statements_is_still_needed(lab, colony, monkeypatch):
    from tests.labs import fresh_module

    (colony.Species & {"species": "rat"}).delete_quick()
    fresh = fresh_module("colony")
    name = connect.schema_name(fresh, lab.prefix)
    statements = count_statements(
        lab.connection,
        monkeypatch,
        lambda: fresh.schema.activate(name, connection=lab.connection, create_schema=False, create_tables=False),
    )
    assert len(statements) > len(portable.table_names(fresh.schema))
    assert "rat" in colony.Species.to_arrays("species")  # it was told to create nothing


def test_bound_tables_are_as_activated_ones(lab, colony):
    bound = lab.tables("colony", create=False)
    assert portable.table_names(bound.schema) == [
        "#species",
        "animal",
        "weighing",
        "__growth",
        "__growth__step",
    ]
    assert bound.Animal.heading.primary_key == ["animal"]
    assert bound.Growth.Step.full_table_name == colony.Growth.Step.full_table_name
    assert bound.Growth.Step.master is bound.Growth
    bound.Animal.insert1({"animal": 30, "species": "mouse"})
    bound.Weighing.insert1({"animal": 30, "day": 1, "grams": 10.0})
    bound.Growth.populate({"animal": 30})
    assert (bound.Growth * bound.Growth.Step & {"animal": 30}).fetch1("relative") == 0.5
    assert bound.schema.is_activated()
    assert "Table definition" in bound.Animal.__doc__


# ---- who may populate


@pytest.fixture
def workers_only(lab, monkeypatch):
    from adamacs.core import settings as lab_settings

    workers = dataclasses.replace(lab.settings.workers, only_workers_write=True)
    monkeypatch.setattr(lab_settings, "_active", dataclasses.replace(lab.settings, workers=workers))


@pytest.fixture
def weighing(colony):
    """The key of a weighing of which no growth is known."""
    key = {"animal": 40, "day": 1}
    colony.Animal.insert1({"animal": 40, "species": "mouse"})
    colony.Weighing.insert1({**key, "grams": 10.0})
    yield key
    colony.Growth.jobs.delete_quick()
    for table in (colony.Growth.Step, colony.Growth, colony.Weighing, colony.Animal):
        (table() & "animal = 40").delete_quick()


@pytest.mark.parametrize("create", [True, False], ids=["made here", "bound"])
@pytest.mark.parametrize("options", [{}, {"reserve_jobs": True}], ids=["directly", "by the queue"])
def test_where_only_workers_write_populate_names_the_line_that_stages(
    lab, colony, workers_only, weighing, create, options
):
    table = (colony if create else lab.tables("colony", create=False)).Growth
    with pytest.raises(InvalidRequest, match=r"only workers fill colony\.Growth") as refused:
        table.populate(weighing, **options)
    assert not colony.Growth & weighing
    assert refused.value.hint.startswith("A key that waits already is taken next after ")  # no line stages a weighing
    assert "after colony.Growth.jobs.refresh({'animal': 40, 'day': 1}, priority=1), or" in refused.value.hint
    assert refused.value.hint.endswith("adamacs jobs prioritize colony.Growth animal=40,day=1")
    assert table.jobs.refresh(weighing, priority=1)["added"] == 1
    assert (colony.Growth.jobs & weighing).fetch1("status", "priority") == ("pending", 1)
    with pytest.raises(InvalidRequest, match=r"refresh\(KEY, priority=1\)"):
        table.populate("animal = 40", **options)


def test_where_only_workers_write_tables_of_a_person_are_populated(lab, colony, workers_only, weighing):
    """A schema of somebody's own, and a table that nobody but this notebook declared in the lab's."""
    own = dj.Schema(colony.schema.database, context={"Weighing": colony.Weighing}, connection=lab.connection)

    @own
    class Mine(dj.Computed):
        definition = "-> Weighing"

        def make(self, key):
            self.insert1(key)

    try:
        Mine.populate(weighing)
        assert len(Mine()) == 1
    finally:
        Mine.drop_quick()


def test_elsewhere_anybody_populates(colony, weighing):
    colony.Growth.populate(weighing)
    assert (colony.Growth & weighing).fetch1("relative") == 0.5


# ---- renamed columns


def nested(colony):
    joined = colony.Animal.proj() * colony.Weighing.proj("grams")
    return (joined & "grams > 1").proj(weight="grams")


def test_a_column_of_a_joined_query_can_be_renamed(colony, weighing):
    assert (nested(colony) & weighing).to_dicts() == [{**weighing, "weight": 10.0}]


@on_postgresql
def test_the_memory_of_joined_queries_is_still_needed(colony):
    with portable.withdrawn(), pytest.raises(dj.errors.QuerySyntaxError):
        nested(colony).to_dicts()


# ---- settings


def test_stray_settings_of_datajoint_do_not_decide(lab):
    dj.config.database.host = "elsewhere"
    dj.config.jobs.add_job_metadata = True
    dj.config.display.limit = 3
    connect._configure(lab.settings, lab.server)
    assert dj.config.database.host == lab.server.host
    assert not dj.config.jobs.add_job_metadata
    assert dj.config.display.limit == 3
    dj.config.display.limit = 12


def test_a_secret_key_is_not_shown_with_the_settings(lab):
    from dataclasses import replace
    from types import MappingProxyType

    from adamacs.core.settings import Store

    store = Store("s3", "a", "https://s3.lab.org:9000", "bucket", "key", Secret("canary-text"))
    connect._configure(replace(lab.settings, stores=MappingProxyType({"derived": store})), lab.server)
    try:
        assert "canary-text" not in repr(dj.config)
        spec = dj.config.get_store_spec("derived")
        assert spec["secret_key"] == "canary-text"
        assert spec["secure"]
    finally:
        connect._configure(lab.settings, lab.server)


def test_a_transaction_whose_first_statement_fails_leaves_the_connection_fit(lab):
    connection = lab.connection
    wrong = "INSERT INTO no_such_table_anywhere VALUES (%s)"
    with pytest.raises(portable.FAILURES), statements.transaction(connection, wrong, (1,)):
        pytest.fail("the block must not run")
    assert not connection.in_transaction
    with statements.transaction(connection, "SELECT %s + 0", (7,)) as touched:
        assert touched == 1
        assert connection.in_transaction
    assert not connection.in_transaction
