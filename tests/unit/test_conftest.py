"""A run of the tests touches nothing but what it made: no lab, no server and no home folder of a person."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests import conftest

FOREIGN = {
    "ADAMACS_HOME": "/srv/lab",
    "ADAMACS_DATABASE_URL": "postgresql://adamacs@db.example.org/lab",
    "ADAMACS_ROOTS_SHARE": "/srv/share",
    "ADAMACS_STORES_DERIVED_BUCKET": "lab-arrays",
}
GIVEN = {"ADAMACS_TEST_REQUIRE": "nothing", "ADAMACS_REAL_DATA": "/srv/recordings"}


def test_this_process_knows_no_lab():
    assert conftest.of_a_lab(os.environ) == []


def test_a_lab_that_the_environment_names_reaches_no_test():
    """Run the test above where the environment is that of a person with a lab."""
    test = f"{__file__}::{test_this_process_knows_no_lab.__name__}"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", test]
    environment = {**os.environ, **FOREIGN, **GIVEN}
    answer = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stdout
    assert "1 passed" in answer.stdout


def test_what_tells_tests_what_to_do_stays():
    assert conftest.of_a_lab({**FOREIGN, **GIVEN}) == list(FOREIGN)


def test_tests_take_the_server_of_their_kind_that_a_url_names():
    urls = {
        "ADAMACS_TEST_POSTGRESQL_URL": "postgresql://lab:p%40ss@pg.example.org:5433/tests",
        "ADAMACS_TEST_MYSQL_URL": "mysql://lab:word@my.example.org",
    }
    postgresql, mysql = (conftest.given_server(kind, urls) for kind in ("postgresql", "mysql"))
    assert postgresql.url == "postgresql://lab@pg.example.org:5433/tests"
    assert postgresql.password.reveal() == "p@ss"
    assert mysql.url == "mysql://lab@my.example.org:3306"
    assert conftest.given_server("postgresql", {}) is None
    with pytest.raises(pytest.UsageError, match="another kind, mysql"):
        conftest.given_server("postgresql", {"ADAMACS_TEST_POSTGRESQL_URL": urls["ADAMACS_TEST_MYSQL_URL"]})


@pytest.mark.parametrize("what", ["mark" + ".slow", "database" + "_server", "mouse" + "_lab", "s3" + "_endpoint"])
def test_unit_tests_need_no_server_and_no_processing_tool(what):
    asking = [path.name for path in Path(__file__).parent.glob("*.py") if what in path.read_text(encoding="utf-8")]
    assert asking == []


def test_benchmarks_touch_no_lab_of_a_person():
    benchmarks = Path(__file__).parents[2] / "benchmarks"
    handing_on = [path for path in benchmarks.glob("*.py") if "os.environ" in path.read_text(encoding="utf-8")]
    assert len(handing_on) >= 3
    assert [path.name for path in handing_on if '.startswith("ADAMACS_")' not in path.read_text(encoding="utf-8")] == []
