"""Fixtures that every test may use. Unit tests need none of them; integration tests need a database server.

The tables of one process belong to one server, so a run of the integration tests is on one kind of server,
chosen by `--backend`; `make test` runs them once for each.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import hypothesis
import pytest

DATAJOINT_WARNINGS = [
    "ignore:datajoint.migrate is deprecated:DeprecationWarning",  # it warns of its own import
    "ignore:No datajoint.json found:UserWarning",  # adamacs.toml takes its place
]
MYSQL_URL = "ADAMACS_TEST_MYSQL_URL"
REQUIRE = "ADAMACS_TEST_REQUIRE"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--backend",
        choices=("postgresql", "mysql"),
        default="postgresql",
        help="the kind of database server that integration tests run on",
    )


def pytest_configure(config: pytest.Config) -> None:
    for line in DATAJOINT_WARNINGS:
        config.addinivalue_line("filterwarnings", line)
    hypothesis.settings.register_profile("adamacs", database=None)  # no folder of examples is left behind
    hypothesis.settings.load_profile("adamacs")
    config.addinivalue_line("markers", "only_on(backend): the promise is about this kind of server alone")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the tests whose promise is about the other kind of server."""
    elsewhere = [item for item in items if _is_elsewhere(item, config.getoption("--backend"))]
    if elsewhere:
        config.hook.pytest_deselected(items=elsewhere)
        items[:] = [item for item in items if item not in elsewhere]


def _is_elsewhere(item: pytest.Item, backend: str) -> bool:
    mark = item.get_closest_marker("only_on")
    return mark is not None and mark.args != (backend,)


@pytest.fixture(scope="session")
def backend(request: pytest.FixtureRequest) -> str:
    """The kind of server this run is on: `postgresql` or `mysql`."""
    return request.config.getoption("--backend")


@pytest.fixture(scope="session")
def database_server(backend: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator:
    """The server that all tests share: the embedded one, or one of the MySQL family."""
    from adamacs.core.settings import Secret
    from adamacs.database.address import parse_url
    from tests import servers

    if backend == "postgresql":
        with servers.postgresql(tmp_path_factory.mktemp("server")) as server:
            yield server
    elif url := os.environ.get(MYSQL_URL):
        bare, password = _split_password(url)
        yield parse_url(bare, Secret(password))
    elif program := servers.find_mariadb():
        with servers.mariadb(program) as server:
            yield server
    elif "mysql" in os.environ.get(REQUIRE, ""):
        pytest.fail(f"{REQUIRE} asks for MySQL, and there is neither mariadbd nor {MYSQL_URL}.")
    else:
        pytest.skip(f"NO MYSQL SERVER: neither mariadbd is installed nor {MYSQL_URL} set; nothing ran on it.")


def _split_password(url: str) -> tuple[str, str]:
    from urllib.parse import unquote, urlsplit, urlunsplit

    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=f"{parts.username}@{host}")), unquote(parts.password or "")


@pytest.fixture(scope="session")
def new_lab(database_server, tmp_path_factory: pytest.TempPathFactory) -> Callable:
    """Make further labs on the shared server: `new_lab("name")` gives a `tests.labs.Lab`."""
    from tests.labs import Lab

    def make(name: str = "lab", prefix: str | None = None) -> Lab:
        home: Path = tmp_path_factory.mktemp(name)
        return Lab(home, database_server, prefix)

    return make


@pytest.fixture(scope="module")
def lab(new_lab) -> Iterator:
    """A lab of this test module alone; the process returns to the one it was connected to."""
    from adamacs.core import settings
    from adamacs.database import connect

    with connect.set_aside():
        own, before = new_lab(), settings._active
        settings.use(own.settings)
        try:
            yield own
        finally:
            own.drop()
            settings.use(before)


@pytest.fixture(scope="module")
def connection(lab):
    """DataJoint's connection to `lab`."""
    return lab.connection
