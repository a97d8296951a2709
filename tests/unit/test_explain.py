"""`adamacs explain` says of a name what ingest would make of it."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from adamacs.cli.explain import explain
from adamacs.core import settings as settings_module

LEGACY = "XX_ANM-2172_2025-01-20_scanXYZ_sessABC"


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.delenv("ADAMACS_INGEST_LEGACY_TOKENS", raising=False)
    monkeypatch.setenv("ADAMACS_HOME", str(tmp_path / "lab"))
    return tmp_path / "lab"


def explained(*arguments):
    return CliRunner().invoke(explain, arguments)


@pytest.mark.parametrize("name", [LEGACY, "scanXYZ"])
def test_a_legacy_name_is_refused_unless_it_is_asked_to_be_admitted(home, name):
    assert explained(name).exit_code == 1
    assert explained(name, "--legacy").exit_code == 0


@pytest.mark.parametrize("name", [LEGACY, "scanXYZ"])
def test_a_lab_that_admits_legacy_names_explains_them(home, name):
    settings_module.create(home)
    assert explained(name).exit_code == 1
    with (home / settings_module.FILE).open("a") as file:
        file.write("\n[ingest]\nlegacy_tokens = true\n")
    answer = explained(name)
    assert answer.exit_code == 0
    assert "scanXYZ" in answer.output


def test_the_environment_of_a_lab_counts_as_it_does_for_ingest(home, monkeypatch):
    settings_module.create(home)
    monkeypatch.setenv("ADAMACS_INGEST_LEGACY_TOKENS", "true")
    assert explained(LEGACY).exit_code == 0
