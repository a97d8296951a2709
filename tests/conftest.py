"""Fixtures that every test may use. Unit tests need none of them; integration tests need a database server.

The tables of one process belong to one server, so a run of the integration tests is on one kind of server,
chosen by `--backend`; `make test` runs them once for each. No test sees the lab that the environment names.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import pytest

if TYPE_CHECKING:
    from adamacs.database.address import Server

pytest.register_assert_rewrite("tests.stores")  # a suite of tests that two modules run

DATAJOINT_WARNINGS = [
    "ignore:datajoint.migrate is deprecated:DeprecationWarning",  # it warns of its own import
    "ignore:No datajoint.json found:UserWarning",  # adamacs.toml takes its place
]
SERVER_URLS = {"postgresql": "ADAMACS_TEST_POSTGRESQL_URL", "mysql": "ADAMACS_TEST_MYSQL_URL"}
REQUIRE = "ADAMACS_TEST_REQUIRE"
LONG = bool(os.environ.get("ADAMACS_TEST_LONG"))  # try faults as often as the promises say, not a few times
FOR_TESTS = ("ADAMACS_TEST_", "ADAMACS_REAL_DATA")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--backend",
        choices=("postgresql", "mysql"),
        default="postgresql",
        help="the kind of database server that integration tests run on",
    )


def pytest_configure(config: pytest.Config) -> None:
    for name in of_a_lab(os.environ):  # whose database, share and store no test may touch
        del os.environ[name]
    for line in DATAJOINT_WARNINGS:
        config.addinivalue_line("filterwarnings", line)
    hypothesis.settings.register_profile("adamacs", database=None)  # no folder of examples is left behind
    hypothesis.settings.load_profile("adamacs")
    config.addinivalue_line("markers", "only_on(backend): the promise is about this kind of server alone")


def of_a_lab(names: Iterable[str]) -> list[str]:
    """Return the variables that say where some lab is, among the names of all."""
    return [name for name in names if name.startswith("ADAMACS_") and not name.startswith(FOR_TESTS)]


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
    """The server that all tests share: the one whose URL is given, else a private one of the kind asked for."""
    from tests import servers

    if given := given_server(backend, os.environ):
        yield given
    elif backend == "postgresql":
        with servers.postgresql(tmp_path_factory.mktemp("server")) as server:
            yield server
    elif program := servers.find_mysql():
        with servers.mysql(program) as server:
            yield server
    elif "mysql" in os.environ.get(REQUIRE, ""):
        pytest.fail(f"{REQUIRE} asks for MySQL, and there is no mariadbd, no mysqld and no {SERVER_URLS['mysql']}.")
    else:
        pytest.skip(
            f"NO MYSQL SERVER: no mariadbd or mysqld is installed and no {SERVER_URLS['mysql']} set; nothing ran on it."
        )


def given_server(backend: str, environ: Mapping[str, str]) -> Server | None:
    """Return the server that the environment gives to tests of this kind, or None."""
    from adamacs.core.settings import Secret
    from adamacs.database.address import parse_url

    url = environ.get(SERVER_URLS[backend])
    if not url:
        return None
    bare, password = _split_password(url)
    server = parse_url(bare, Secret(password))
    if server.backend != backend:
        raise pytest.UsageError(f"{SERVER_URLS[backend]} names a server of another kind, {server.backend}.")
    return server


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
