"""A file that people write is read against a dataclass: what fits becomes an object, and every misfit is told."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from adamacs.core import toml
from adamacs.core.errors import InvalidSetting
from adamacs.core.modality import Problem


@dataclass(frozen=True)
class Leg:
    length: int = toml.key("Length, mm.", fits=lambda mm: mm > 0, takes="It takes more than 0.")


@dataclass(frozen=True)
class Animal:
    name: str = toml.key("Its name.")
    legs: tuple[Leg, ...] = toml.key("Its legs.", ())
    tail: Leg | None = toml.key("Its tail.", None)
    is_awake: bool = toml.key("Whether it moves.", False)
    source: str = ""


def read(text: str, tmp_path: Path) -> tuple[Animal | None, list[Problem]]:
    (tmp_path / "animal.toml").write_text(text, encoding="utf-8")
    return toml.read_as(Animal, tmp_path / "animal.toml")


def test_tables_within_tables_become_objects_within_objects(tmp_path):
    text = 'name = "a"\nis_awake = true\nlegs = [{ length = 1 }, { length = 2 }]\n[tail]\nlength = 3\n'
    assert read(text, tmp_path) == (Animal("a", (Leg(1), Leg(2)), Leg(3), True), [])


def test_every_misfit_is_told_with_the_way_to_it(tmp_path):
    animal, problems = read("legs = [{ length = 1 }, { length = 0 }]\nis_awake = 1\n[tail]\nlenght = 3\n", tmp_path)
    assert animal is None
    assert {problem.where for problem in problems} == {
        "name",
        "legs 2, length",
        "is_awake",
        "tail, lenght",
        "tail, length",
    }


def test_a_field_that_is_no_key_is_given_by_the_code_and_never_by_a_file(tmp_path):
    assert toml.build(Animal, {"name": "a"}, source="code")[0] == Animal("a", source="code")
    assert [problem.where for problem in read('name = "a"\nsource = "file"\n', tmp_path)[1]] == ["source"]


def test_the_reference_page_is_told_of_inner_keys_too():
    assert [(key, takes) for key, takes, _, _ in toml.documented(Animal)] == [
        ("name", "a text"),
        ("legs", "a list of tables"),
        ("legs.length", "a whole number"),
        ("tail", "a table"),
        ("tail.length", "a whole number"),
        ("is_awake", "true or false"),
    ]


def test_a_mark_in_front_as_windows_editors_leave_it_does_not_matter(tmp_path):
    assert read('\ufeffname = "a"\n', tmp_path)[0] == Animal("a")


@pytest.mark.parametrize("content", [b"name = ", b"name = '\xff'", b"name = " + b"[" * 10_000])
def test_what_is_no_toml_is_a_typed_error_with_the_file(tmp_path, content):
    path = tmp_path / "animal.toml"
    path.write_bytes(content)
    with pytest.raises(InvalidSetting) as caught:
        toml.read(path)
    assert str(path) in str(caught.value)


def test_a_folder_in_place_of_a_file_is_a_typed_error(tmp_path):
    with pytest.raises(InvalidSetting, match="cannot be read"):
        toml.read(tmp_path)


def test_no_fault_is_no_error_and_several_files_are_told_apart():
    toml.refuse({Path("a.toml"): []})
    fault = Problem("error", "It broke.", "key", "Mend it.")
    with pytest.raises(InvalidSetting) as caught:
        toml.refuse({Path("a.toml"): [fault], Path("b.toml"): [fault, fault]})
    assert str(caught.value).splitlines()[1:] == [
        "  a.toml: key: It broke. Mend it.",
        *["  b.toml: key: It broke. Mend it."] * 2,
    ]
