"""What verbs share: nothing changes unasked, a KEY is read as its columns demand, JSON is one line."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace

import click
import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from adamacs.cli import prompt
from adamacs.core.errors import InvalidKey, PlanRefused
from adamacs.core.settings import Secret

names = st.from_regex(r"[a-z][a-z_0-9]{0,20}", fullmatch=True)
words = st.from_regex(r"[A-Za-z][A-Za-z0-9.=-]{0,20}", fullmatch=True)


# ---- KEY


@given(st.text() | st.text("ab=,0 -_'\";").filter(bool))
def test_no_text_does_worse_than_being_refused(text):
    try:
        key = prompt.parse_key(text)
    except InvalidKey as refusal:
        assert "KEY" in str(refusal)
        return
    assert key
    assert all(name.isidentifier() for name in key)
    assert all(isinstance(value, int | str) and value != "" for value in key.values())


@given(st.dictionaries(names, words | st.integers(0, 10**18 - 1), min_size=1))
def test_writing_a_key_and_reading_it_gives_the_same(key):
    assert prompt.parse_key(",".join(f"{name}={value}" for name, value in key.items())) == key


@pytest.mark.parametrize(
    ("text", "key"),
    [
        (" scan_id = scan9FY6AIRM , paramset_idx = 0 ", {"scan_id": "scan9FY6AIRM", "paramset_idx": 0}),
        ("note=a=b", {"note": "a=b"}),
        ("name=O'Hara", {"name": "O'Hara"}),
        ("a=1;drop table", {"a": "1;drop table"}),  # a value like any other: no SQL is read
        ("idx=-1", {"idx": "-1"}),
        ("idx=1.5", {"idx": "1.5"}),
        ("idx=" + "9" * 5000, {"idx": "9" * 5000}),  # Python refuses to make a number of so many digits
    ],
)
def test_a_key_is_read_as_people_type_it(text, key):
    assert prompt.parse_key(text) == key


@pytest.mark.parametrize(
    "text", ["", ",", "a", "a=", "=1", "a=1,", "a b=1", "1a=1", "a>1", "a=1 and b=2,", "a='1' or true,c"]
)
def test_what_is_no_key_is_refused_with_the_expected_form(text):
    with pytest.raises(InvalidKey, match=r"name=value\[,name=value\]"):
        prompt.parse_key(text)


def test_a_name_given_twice_is_refused():
    with pytest.raises(InvalidKey, match="a twice"):
        prompt.parse_key("a=1,a=2")


class Heading(dict):
    @property
    def names(self):
        return list(self)


@dataclass
class Table:
    """As much of a DataJoint table as a KEY meets."""

    found: int
    asked: list = field(default_factory=list)
    primary_key = ("subject", "paramset_idx")
    heading = Heading(
        subject=SimpleNamespace(numeric=False),
        paramset_idx=SimpleNamespace(numeric=True),
        power=SimpleNamespace(numeric=True),
    )

    def __and__(self, restriction):
        self.asked.append(restriction)
        return SimpleNamespace(keys=lambda: [{"subject": "0815", "paramset_idx": n} for n in range(self.found)])


def test_the_one_row_is_named_by_its_primary_key():
    table = Table(found=1)
    assert prompt.one_row(table, "subject=0815,paramset_idx=3") == {"subject": "0815", "paramset_idx": 0}


@pytest.mark.parametrize(
    ("text", "asked"),
    [
        ("subject=0815", {"subject": "0815"}),  # a text column is compared with text: PostgreSQL demands it
        ("paramset_idx=003", {"paramset_idx": 3}),
        ("paramset_idx=-1", {"paramset_idx": -1}),
        ("power=1.5", {"power": "1.5"}),
    ],
)
def test_values_are_read_as_their_columns_demand(text, asked):
    table = Table(found=1)
    prompt.one_row(table, text)
    assert table.asked == [asked]


def test_a_word_for_a_number_is_refused_before_the_server_is_asked():
    table = Table(found=1)
    with pytest.raises(InvalidKey, match="paramset_idx holds numbers"):
        prompt.one_row(table, "paramset_idx=best")
    assert table.asked == []


def test_an_unknown_column_is_refused_with_the_known_ones():
    with pytest.raises(InvalidKey, match=r"no column scan\. Columns: subject, paramset_idx, power"):
        prompt.one_row(Table(found=1), "scan=1")


@pytest.mark.parametrize("found", [0, 2])
def test_a_key_of_no_row_or_of_several_is_refused(found):
    with pytest.raises(InvalidKey, match=rf"{found} rows, not one\. Columns: subject, paramset_idx"):
        prompt.one_row(Table(found), "subject=a")


# ---- asking


@click.command()
@prompt.yes_option
@prompt.json_option
def change(yes, as_json):
    prompt.confirm("the plan", yes)
    prompt.print_json({"changed": True}) if as_json else click.echo("changed")


@pytest.fixture
def terminal(monkeypatch):
    """Make the runner's stdin look like a terminal."""

    def answer(text):
        runner = CliRunner()
        monkeypatch.setattr("click.testing._NamedTextIOWrapper.isatty", lambda self: True, raising=False)
        return runner.invoke(change, input=text)

    return answer


def test_yes_applies_the_printed_plan():
    result = CliRunner().invoke(change, ["--yes"])
    assert (result.exit_code, result.output) == (0, "the plan\nchanged\n")


def test_without_a_person_to_ask_nothing_changes():
    result = CliRunner().invoke(change)
    assert isinstance(result.exception, PlanRefused)
    assert "--yes" in str(result.exception)
    assert result.output == "the plan\n"


@pytest.mark.parametrize(("answer", "changed"), [("y\n", True), ("n\n", False), ("\n", False), ("", False)])
def test_a_person_is_asked_and_silence_is_no(terminal, answer, changed):
    result = terminal(answer)
    assert "the plan" in result.output
    assert "Apply?" in result.output
    assert ("changed" in result.output) is changed
    assert (result.exit_code == 0) is changed


# ---- JSON


def test_json_is_one_line_and_numbers_stay_numbers(capsys):
    content = {
        "count": np.int64(3),
        "rate": np.float32(0.5),
        "array": np.arange(2),
        "path": Path("a") / "b",
        "time": datetime(2026, 2, 10, 12),
        "text": "two\nlines",
        "password": Secret("canary"),
    }
    prompt.print_json(content)
    output = capsys.readouterr().out
    assert output.count("\n") == 1
    assert json.loads(output) == {
        "count": 3,
        "rate": 0.5,
        "array": [0, 1],
        "path": str(Path("a") / "b"),
        "time": "2026-02-10 12:00:00",
        "text": "two\nlines",
        "password": "***",
    }
