"""`adamacs paramset`: what is new is asked for, what is there already is named; a project takes a set up."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner
from datajoint.errors import AccessError

from adamacs import pipeline
from adamacs.cli.paramset import paramset
from adamacs.core.errors import InvalidKey, InvalidParameters, PlanRefused
from adamacs.database import portable

ADD = "add Suite2p"


@pytest.fixture
def typed(mouse_lab, monkeypatch):
    monkeypatch.setenv("ADAMACS_HOME", str(mouse_lab.home))
    return lambda *arguments: CliRunner().invoke(paramset, arguments)


def sets():
    return pipeline.imaging.ProcessingParamSet.to_arrays("paramset_idx").tolist()


def test_a_new_set_is_asked_for_and_numbered(typed, tmp_path):
    assert isinstance(typed("add").exception, PlanRefused)  # nobody to ask
    assert sets() == []
    answer = typed("add", "--yes")
    assert answer.output.startswith(ADD)
    assert answer.output.splitlines()[-1] == "paramset_idx=0"
    (tmp_path / "slow.toml").write_text("tau = 2.0\n")
    assert typed("add", str(tmp_path / "slow.toml"), "--index", "7", "--yes").output.endswith("paramset_idx=7\n")
    assert sets() == [0, 7]


def test_a_set_that_is_there_is_named_and_neither_asked_for_nor_added(typed, tmp_path):
    typed("add", "--yes")
    (tmp_path / "spelt_out.toml").write_text("tau = 1.0\n")  # Suite2p's own default
    for arguments in ((), ("--yes",), ("--index", "0"), (str(tmp_path / "spelt_out.toml"),)):
        answer = typed("add", *arguments)
        assert (answer.exit_code, answer.output) == (
            0,
            "paramset_idx=0 holds these parameters already: nothing was added\n",
        )
    assert isinstance(typed("add", "--index", "3", "--yes").exception, InvalidParameters)
    assert sets() == [0]


@pytest.fixture
def project(mouse_lab):
    pipeline.subject.Project.insert1({"project": "barrels"})
    for number in range(2):
        pipeline.imaging.ProcessingParamSet.insert_new({"tau": 1.5 + number}, paramset_idx=number)
    return "barrels"


def active():
    return pipeline.imaging.ProjectParamSet.active().to_arrays("paramset_idx").tolist()


def test_a_set_is_activated_once_it_was_shown_what_becomes_superseded(typed, project):
    assert isinstance(typed("activate", project, "0").exception, PlanRefused)  # nobody to ask
    assert active() == []
    first = typed("activate", project, "0", "--yes").output
    assert first.startswith("barrels uses paramset_idx=0 from now on\nactive since 20")
    second = typed("activate", project, "1", "--yes").output
    assert "paramset_idx=0 becomes superseded" in second
    assert active() == [1]
    assert typed("activate", project, "1").output == "barrels uses paramset_idx=1 already: nothing was changed\n"
    assert len(pipeline.imaging.ProjectParamSet()) == 2


def test_the_list_tells_which_project_uses_a_set(typed, project):
    for number in ("0", "1"):
        typed("activate", project, number, "--yes")
    zero, one = (json.loads(line) for line in typed("list", "--json").output.splitlines())
    assert [zero["projects"]["barrels"]["active"], one["projects"]["barrels"]["active"]] == [False, True]
    assert zero["projects"]["barrels"]["active_since"] < one["projects"]["barrels"]["active_since"]
    lines = typed("list").output.splitlines()
    assert lines[2].strip().startswith("superseded in barrels, which took it on 20")
    assert lines[5].strip().startswith("active in barrels")


@pytest.mark.parametrize(
    ("arguments", "words"), [(("barels", "0"), "Did you mean barrels"), (("barrels", "7"), "no such parameter set")]
)
def test_what_is_not_there_cannot_be_activated(typed, project, arguments, words):
    error = typed("activate", *arguments, "--yes").exception
    assert isinstance(error, InvalidKey)
    assert words in str(error)
    assert active() == []


def test_an_account_that_may_not_change_the_queue_still_activates(typed, project, monkeypatch):
    def refuse(*_):
        raise AccessError("UPDATE command denied")

    monkeypatch.setattr(portable, "raise_priority", refuse)
    answer = typed("activate", project, "0", "--yes")
    assert answer.exit_code == 0
    assert "keeps its place" in answer.stderr
    assert active() == [0]
