"""Grants as text: which statements a role needs, and which names an account can have."""

from __future__ import annotations

import pytest

from adamacs.core.errors import InvalidKey
from adamacs.database.grants import ROLES, StoredTable, plan_grants

TABLES = [
    StoredTable("lab_scan", name)
    for name in ("scan", "scan__part", "#software", "_scan_info", "__trace", "__trace__part", "~~trace", "~lineage")
]


def rights(role, backend="postgresql"):
    """What a role may do beyond reading, by table."""
    plan = plan_grants(role, "ada", TABLES, backend)
    found = {}
    for statement in plan:
        for table in TABLES:
            for quote in '"`':
                if f"{quote}.{quote}{table.name}{quote}" in statement:
                    found[table.name] = statement.removeprefix("GRANT ").partition(" ON ")[0]
    return found


@pytest.mark.parametrize("backend", ["postgresql", "mysql"])
def test_every_role_writes_where_its_work_is(backend):
    assert rights("analyst", backend) == {}
    assert rights("student", backend) == dict.fromkeys(["scan", "scan__part"], "INSERT, UPDATE")
    everything = "INSERT, UPDATE, DELETE"
    computed = dict.fromkeys(["_scan_info", "__trace", "__trace__part", "~~trace"], everything)
    assert rights("worker", backend) == {"scan": "INSERT", "scan__part": "INSERT"} | computed


def test_reading_on_postgresql_includes_the_keys_and_the_tables_made_later():
    plan = plan_grants("analyst", "ada", TABLES, "postgresql")
    assert plan == [
        'REVOKE INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA "lab_scan" FROM "ada"',
        'GRANT USAGE ON SCHEMA "lab_scan" TO "ada"',
        'GRANT SELECT, REFERENCES ON ALL TABLES IN SCHEMA "lab_scan" TO "ada"',
        'ALTER DEFAULT PRIVILEGES IN SCHEMA "lab_scan" GRANT SELECT, REFERENCES ON TABLES TO "ada"',
    ]


def test_reading_on_mysql_means_this_schema_and_none_that_looks_like_it():
    assert plan_grants("analyst", "ada", TABLES, "mysql") == [r"GRANT SELECT, REFERENCES ON `lab\_scan`.* TO 'ada'@'%'"]


@pytest.mark.parametrize("name", ["", "Ada", "1ada", "ada lovelace", "ada'; DROP", 'a"b', "a`b", "a" * 33, "ä"])
@pytest.mark.parametrize("backend", ["postgresql", "mysql"])
def test_a_name_that_is_no_name_is_refused(name, backend):
    with pytest.raises(InvalidKey, match="name of a database account"):
        plan_grants("analyst", name, TABLES, backend)


def test_an_unknown_role_is_answered_with_the_known_ones():
    with pytest.raises(InvalidKey, match="analyst"):
        plan_grants("analist", "ada", TABLES, "mysql")
    assert len(ROLES) == 3
