"""Database URLs: what they say, what they leave out, what they must not say."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adamacs.core.errors import InvalidSetting
from adamacs.core.settings import Secret
from adamacs.database.address import Server, parse_url

SECRET = Secret("canary-text")


@pytest.mark.parametrize(
    ("url", "backend", "port", "database"),
    [
        ("postgresql://ada@db.lab.org", "postgresql", 5432, "postgres"),
        ("postgres://ada@db.lab.org:6000/lab", "postgresql", 6000, "lab"),
        ("mysql://ada@db.lab.org", "mysql", 3306, ""),
        ("mariadb://ada@db.lab.org:3307/", "mysql", 3307, ""),
    ],
)
def test_a_url_is_completed_with_what_its_server_usually_has(url, backend, port, database):
    server = parse_url(url, SECRET, use_tls=True)
    assert server == Server(backend, "db.lab.org", port, "ada", SECRET, database, use_tls=True)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("oracle://ada@host", "oracle"),
        ("db.lab.org", "no known kind"),
        ("postgresql://host/lab", "no account"),
        ("postgresql://ada@/lab", "no host"),
        ("postgresql://ada:secret@host/lab", "no password"),
        ("postgresql://ada@host/lab?sslmode=disable", "no options"),
        ("postgresql://ada@host:99999/lab", "impossible port"),
        ("postgresql://ada@host:x/lab", "impossible port"),
        ("postgresql://ada@[::1]/lab", "IPv6"),
        ("postgresql://ada@host/a b", "database"),
        ("mysql://ada@host/lab", "no database"),
    ],
)
def test_a_url_that_cannot_be_meant_is_refused_with_an_example(url, said):
    with pytest.raises(InvalidSetting, match=said) as caught:
        parse_url(url, SECRET)
    assert "secret" not in str(caught.value).replace("secrets", "")


def test_the_url_of_a_server_shows_no_password_and_reads_back():
    server = Server("postgresql", "db.lab.org", 5433, "a@b", SECRET, "lab")
    assert "canary-text" not in server.url + repr(server)
    assert parse_url(server.url, SECRET) == server


@given(st.text(max_size=40))
def test_no_text_crashes_the_reader(text):
    for url in (text, f"postgresql://{text}", f"mysql://ada@{text}"):
        try:
            parse_url(url, SECRET)
        except InvalidSetting as error:
            assert str(error)
