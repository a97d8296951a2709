"""The page of the chaos suite says what its records say."""

from __future__ import annotations

import json

import pytest

from tests.chaos import report
from tests.chaos.faults import BrokenStore, Kill, Outage
from tests.chaos.run import is_odd


def test_the_page_holds_the_figures_of_every_recorded_run():
    assert report.page(report.PAGE.read_text(), report.RECORDS.read_text()) == report.PAGE.read_text()


def test_every_recorded_run_tells_its_seed_and_found_nothing_wrong():
    lines = [json.loads(line) for line in report.RECORDS.read_text().splitlines()]
    assert all(isinstance(line["seed"], int) and line["violations"] == [] for line in lines)


def test_faults_of_several_runs_add_up():
    line = {"fault": "kill", "backend": "mysql", "delivered": {"child": 2}}
    embedded = {**line, "backend": "postgresql", "server": "PostgreSQL 18.4", "delivered": {"child": 3}}
    table = report.sums([line, line, embedded, {**line, "server": "MySQL 9.7.4"}])
    assert table[0] == "| fault | what | PostgreSQL | MariaDB | MySQL | together |"
    assert "| kill | child | 3 | 4 | 2 | 9 |" in table


@pytest.mark.parametrize(
    ("outcome", "odd_while_killing", "odd_without_database", "odd_without_store"),
    [
        ("done", False, False, False),
        ("killed", False, False, False),
        ("fenced", False, False, False),
        ("failed database", True, False, True),
        ("failed store", True, True, False),
        ("failed permission", True, True, False),
        ("failed bug", True, True, True),
        ("stalled", True, True, True),
        ("cancelled", True, True, True),
    ],
)
def test_an_attempt_may_fail_of_what_is_away_and_none_is_stalled_or_cancelled(
    outcome, odd_while_killing, odd_without_database, odd_without_store
):
    odd = [is_odd(outcome, fault.tolerated) for fault in (Kill, Outage, BrokenStore)]
    assert odd == [odd_while_killing, odd_without_database, odd_without_store]
