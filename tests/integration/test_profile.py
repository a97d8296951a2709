"""`adamacs profile import`: positions count in what the database holds, in the order of its keys."""

from __future__ import annotations

import shutil

import pytest
from click.testing import CliRunner

from adamacs import pipeline
from adamacs.cli.profile import profile
from adamacs.ingest.ini import names_of_database
from adamacs.ingest.profiles import FOLDER, Defaults, load_profiles


@pytest.fixture
def vocabulary(mouse_lab, monkeypatch):
    monkeypatch.setenv("ADAMACS_HOME", str(mouse_lab.home))
    pipeline.subject.Project.insert({"project": name} for name in ("whiskers", "barrels", "atlas"))
    pipeline.equipment.Equipment.insert({"scanner": name} for name in ("mini2p1", "bench2p"))
    yield mouse_lab.home
    shutil.rmtree(mouse_lab.home / FOLDER, ignore_errors=True)


def test_the_database_gives_its_names_in_the_order_of_their_keys(vocabulary):
    names = names_of_database()
    assert names.projects == ("atlas", "barrels", "whiskers")
    assert names.scanners == ("bench2p", "mini2p1")
    assert names.locations == tuple(sorted(names.locations or ()))
    assert names.models is None


def test_positions_become_the_names_that_the_database_holds(vocabulary, tmp_path):
    source = tmp_path / "xx.ini"
    source.write_text("[defaults]\nproject_idx = 1\nequipment_idx = 1\nlocation_idx = 500\n", encoding="utf-8")
    answer = CliRunner().invoke(profile, ["import", str(source), "--yes"])
    assert answer.exit_code == 0, answer.output
    assert "project_idx = 1 becomes project = barrels (of atlas, barrels, whiskers, from 0)" in answer.output
    assert "question: [defaults]: location_idx = 500: this is no position" in answer.output
    assert load_profiles(vocabulary)["XX"].defaults == Defaults(project="barrels", scanner="mini2p1")


def test_an_empty_database_decides_nothing(mouse_lab):
    names = names_of_database()
    assert (names.projects, names.scanners, names.models) == ((), (), None)
