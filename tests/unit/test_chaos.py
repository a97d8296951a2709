"""The page of the chaos suite says what its records say."""

from __future__ import annotations

import json

from tests.chaos import report


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
