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


def test_runs_whose_revision_is_on_record_add_up_apart():
    line = {"date": "2026-12-01", "fault": "kill", "backend": "mysql", "seed": 1, "delivered": {"child": 2}, "keys": 3}
    line |= {"longest_claim_without_worker_s": 1.0, "longest_until_back_s": None, "violations": []}
    old = json.dumps(line)
    new = json.dumps({**line, "version": "0.1.0+gabc"})
    assert "Runs whose revision is on record" not in report.page("", old)
    apart, _, together = report.page("", f"{old}\n{new}").partition("### All runs")
    assert "| **kill** | all | 2 | **2** |" in apart
    assert "| **kill** | all | 4 | **4** |" in together
    assert "| 2026-12-01 | MariaDB | 0.1.0+gabc | kill | 1 | 2 | 3 | 1.0 |  | 0 |" in together


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
