"""`adamacs demo` keeps to its own lab home, whatever lab the environment or a file names."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from adamacs.cli.demo import demo
from adamacs.core.errors import PlanRefused

ELSEWHERE = {
    "ADAMACS_DATABASE_URL": ("postgresql://adamacs@127.0.0.1:9/lab", "database.url"),
    "ADAMACS_ROOTS_SHARE": ("/srv/share", "roots.share"),
    "ADAMACS_ROOTS_PROCESSED": ("../processed", "roots.processed"),
    "ADAMACS_STORES_DERIVED_LOCATION": ("/srv/arrays", "stores.derived.location"),
    "ADAMACS_STORES_DERIVED_PROTOCOL": ("s3", "stores.derived.protocol"),
}


def refused(home, monkeypatch):
    """Run the demo in a lab home, where it is refused, and return what it says."""
    monkeypatch.setenv("ADAMACS_HOME", str(home))
    with pytest.raises(PlanRefused) as caught:
        CliRunner().invoke(demo, [], catch_exceptions=False)
    return str(caught.value)


@pytest.mark.parametrize("variable", ELSEWHERE)
def test_a_place_of_another_lab_in_the_environment_is_refused_and_nothing_made(tmp_path, monkeypatch, variable):
    value, name = ELSEWHERE[variable]
    monkeypatch.setenv(variable, value)
    said = refused(tmp_path / "lab", monkeypatch)
    assert f"settings lead elsewhere: {name}." in said
    assert variable in said
    assert not (tmp_path / "lab").exists()


def test_every_place_is_named_at_once(tmp_path, monkeypatch):
    for variable in ("ADAMACS_DATABASE_URL", "ADAMACS_ROOTS_SHARE"):
        monkeypatch.setenv(variable, ELSEWHERE[variable][0])
    assert "database.url, roots.share." in refused(tmp_path / "lab", monkeypatch)


def test_a_server_in_the_file_of_a_demo_is_refused(tmp_path, monkeypatch):
    (tmp_path / "truth").mkdir()
    text = '[database]\nurl = "mysql://adamacs@127.0.0.1:9"\n'
    (tmp_path / "adamacs.toml").write_text(text)
    assert "settings lead elsewhere: database.url." in refused(tmp_path, monkeypatch)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["adamacs.toml", "truth"]


def test_a_lab_that_is_not_the_demos_is_refused(tmp_path, monkeypatch):
    (tmp_path / "adamacs.toml").write_text("")
    assert "not the demo's" in refused(tmp_path, monkeypatch)
    assert [path.name for path in tmp_path.iterdir()] == ["adamacs.toml"]
