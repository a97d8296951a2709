"""`adamacs db init` before any server is asked."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from adamacs import pipeline
from adamacs.cli.db import db
from adamacs.core import settings as settings_module
from adamacs.core.errors import InvalidSetting


@pytest.fixture
def initialised(tmp_path, monkeypatch):
    """Return what `db init` does with these arguments, and the settings for which it would make a database."""
    monkeypatch.setenv("ADAMACS_HOME", str(tmp_path / "lab"))
    monkeypatch.delenv("ADAMACS_TIME_ZONE", raising=False)
    made = []
    monkeypatch.setattr(pipeline, "initialise", made.append)
    return lambda *arguments: (CliRunner().invoke(db, ["init", *arguments, "--yes"]), made)


@pytest.mark.parametrize(("arguments", "zone"), [((), "UTC"), (("--time-zone", "Asia/Tokyo"), "Asia/Tokyo")])
def test_a_new_lab_has_the_time_zone_that_it_is_given(initialised, arguments, zone):
    answer, made = initialised(*arguments)
    assert answer.exit_code == 0
    assert f"in time zone {zone};" in answer.output
    assert [settings.time_zone for settings in made] == [zone]


def test_another_time_zone_than_the_labs_own_is_refused(initialised, tmp_path):
    settings_module.create(tmp_path / "lab", "Europe/Berlin")
    answer, made = initialised("--time-zone", "Asia/Tokyo")
    assert isinstance(answer.exception, InvalidSetting)
    assert "is Europe/Berlin, not Asia/Tokyo" in str(answer.exception)
    assert made == []
    assert settings_module.load(tmp_path / "lab").time_zone == "Europe/Berlin"


@pytest.mark.parametrize("arguments", [(), ("--time-zone", "Europe/Berlin")])
def test_a_lab_keeps_its_time_zone(initialised, tmp_path, arguments):
    settings_module.create(tmp_path / "lab", "Europe/Berlin")
    answer, made = initialised(*arguments)
    assert answer.exit_code == 0
    assert "keep the lab home" in answer.output
    assert [settings.time_zone for settings in made] == ["Europe/Berlin"]
