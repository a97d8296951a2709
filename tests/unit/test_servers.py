"""Which server program the tests of the MySQL family run on."""

from __future__ import annotations

import pytest

from tests import servers

SAYS = {
    "mariadbd": "mariadbd  Ver 10.11.11-MariaDB-0+deb12u1 for debian-linux-gnu on x86_64 (Debian 12)",
    "mysqld": "mysqld  Ver 9.7.4-2 for Linux on x86_64 ((Debian))",
}


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """Put server programs into a folder that is the whole PATH, and return that folder."""
    monkeypatch.setattr(servers, "ADMINISTRATORS", "")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv(servers.MYSQL_PROGRAM, raising=False)

    def install(*names, says=SAYS):
        for name in names:
            program = tmp_path / name
            program.write_text(f"#!/bin/sh\necho '{says[name]}'\n")
            program.chmod(0o755)
        return tmp_path

    return install


def test_mariadb_comes_first_and_mysql_where_there_is_no_other(installed):
    assert installed() and servers.find_mysql() is None
    folder = installed("mysqld")
    assert servers.find_mysql() == str(folder / "mysqld")
    installed("mariadbd")
    assert servers.find_mysql() == str(folder / "mariadbd")


def test_the_environment_chooses_the_program(installed, monkeypatch):
    folder = installed("mariadbd", "mysqld")
    for named in ("mysqld", str(folder / "mysqld")):
        monkeypatch.setenv(servers.MYSQL_PROGRAM, named)
        assert servers.find_mysql() == str(folder / "mysqld")
    monkeypatch.setenv(servers.MYSQL_PROGRAM, "mysqld-8.4")
    with pytest.raises(FileNotFoundError, match=r"ADAMACS_TEST_MYSQLD names mysqld-8\.4"):
        servers.find_mysql()


def test_a_program_says_itself_whose_it_is(installed):
    folder = installed("mariadbd", "mysqld")
    assert servers.kind_of(str(folder / "mariadbd")) == "MariaDB"
    assert servers.kind_of(str(folder / "mysqld")) == "MySQL"
    installed("mysqld", says={"mysqld": SAYS["mariadbd"]})  # as MariaDB installs it beside its own name
    assert servers.kind_of(str(folder / "mysqld")) == "MariaDB"
