"""A profile says what an ingest assumes for a person; former settings become one only as far as nothing is guessed."""

from __future__ import annotations

import json
import tomllib

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from adamacs.cli import profile as cli_profile
from adamacs.cli.profile import profile as command
from adamacs.core import settings as settings_module
from adamacs.core import setups, toml
from adamacs.core.errors import DatabaseUnavailable, InvalidRequest, InvalidSetting, PlanRefused
from adamacs.ingest import ini, profiles
from adamacs.ingest.ini import Names, apply_import, plan_import, read_names
from adamacs.ingest.profiles import Answer, Defaults, Notes, Profile, load_profiles, text_of

REGISTRY = setups.load()
FULL = """
initials = "XX"
name = "Somebody"

[defaults]
project = "barrels"
location = "V1"
scanner = "bench2p"
setup_type = "openfield"
paramset_idx = 3
same_site = "own"

[notes]
vocabulary = ["quiet", "moved a lot"]

[cameras]
camera1 = "mini2p1_top"

[models.top]
anything = 1.5
"""
INI = """
[defaults]
project_idx = 1
location_idx = 0
equipment_idx = 2
s2p_param_idx = 4
dlc1_indices = 1
dlc2_indices = [1, 2]
dlc3_indices = 0
use_dlc_cropping = True

[cameras]
camera1 = mini2p1_top
camera2 = mini2p1_eye_left

[setup]
aux_setup_type = Openfield

[recording_notes]
note0 = quiet
note2 = 100% moved
note10 = last
note9 = before the last
"""
NAMES = Names(("atlas", "barrels"), ("V1",), ("mini2p1", "mini2p2", "bench2p"), ("dummy", "XX;top;top", "XX;eye;eye1"))


@pytest.fixture
def home(tmp_path, monkeypatch):
    settings_module.create(tmp_path / "lab")
    monkeypatch.setenv("ADAMACS_HOME", str(tmp_path / "lab"))
    return tmp_path / "lab"


def put(home, text, name="XX.toml"):
    path = home / profiles.FOLDER / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


# ---- profiles


def test_a_lab_without_profiles_has_none(home):
    assert load_profiles(home) == {}


def test_everything_that_a_profile_may_say_is_read(home):
    put(home, FULL)
    put(home, 'initials = "AB"\n', "AB.toml")
    held = load_profiles(home)
    assert list(held) == ["AB", "XX"]
    assert held["XX"] == Profile(
        "XX",
        "Somebody",
        Defaults("barrels", "V1", "bench2p", "openfield", 3, "own"),
        Notes(("quiet", "moved a lot")),
        {"camera1": "mini2p1_top"},
        {"top": {"anything": 1.5}},
    )
    assert held["AB"].answers() == {}
    assert held["XX"].answers()["paramset_idx"] == Answer(3, "profile XX")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('name = "A"', "initials: This key is missing."),
        ('initials = "Xx"', "initials: 'Xx' does not fit. It takes XX."),
        ('initials = "AB"', "initials: The file's name is XX. Rename the file to AB.toml"),
        ('initials = "XX"\nproject = "a"', "project: There is no such key."),
        (
            'initials = "XX"\n[defaults]\nprojects = "a"',
            "defaults, projects: There is no such key. Did you mean project?",
        ),
        ('initials = "XX"\n[defaults]\nparamset_idx = "3"', "defaults, paramset_idx: '3' does not fit."),
        ('initials = "XX"\n[defaults]\nparamset_idx = -1', "defaults, paramset_idx: -1 does not fit."),
        (
            'initials = "XX"\n[defaults]\nsame_site = "scan9FY6AIRM"',
            "defaults, same_site: 'scan9FY6AIRM' does not fit.",
        ),
        ('initials = "XX"\n[defaults]\nproject = " "', "defaults, project: ' ' does not fit. It takes a name;"),
        ('initials = "XX"\nnotes = ["a"]', "notes: This does not fit. It takes a table."),
        ('initials = "XX"\ncameras = 3', "cameras: 3 does not fit. It takes a table."),
        ("initials", "This is not valid TOML"),
    ],
)
def test_what_is_wrong_with_a_profile_is_told_with_file_key_and_cure(home, text, said):
    path = put(home, text)
    with pytest.raises(InvalidSetting) as caught:
        load_profiles(home)
    assert str(path) in str(caught.value)
    assert said in str(caught.value)


def test_the_faults_of_every_profile_are_told_at_once(home):
    put(home, "initials = ")
    put(home, "a = 1", "AB.toml")
    with pytest.raises(InvalidSetting) as caught:
        load_profiles(home)
    for said in ("XX.toml: This", "AB.toml: a:", "AB.toml: initials:"):
        assert said in str(caught.value)


_TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=12)
_NAME = st.none() | _TEXT.filter(str.strip)


@given(
    st.builds(
        Profile,
        st.from_regex("[A-Z]{2}", fullmatch=True),
        _TEXT,
        st.builds(Defaults, _NAME, _NAME, _NAME, _NAME, st.none() | st.integers(0, 32767), st.none() | st.just("own")),
        st.builds(Notes, st.lists(_TEXT, max_size=4).map(tuple)),
        st.none() | st.dictionaries(st.text("aB1 .\"'é", min_size=1), _TEXT, min_size=1, max_size=3),
        st.none() | st.dictionaries(st.text("ab"), st.lists(_TEXT) | st.booleans(), min_size=1, max_size=3),
    )
)
def test_what_is_written_is_read_back(held):
    read, problems = toml.build(Profile, tomllib.loads(text_of(held)))
    assert (read, problems) == (held, [])


# ---- former settings


def planned(home, text=INI, names=NAMES, name="xx.ini"):
    source = home / name
    source.write_text(text, encoding="utf-8")
    return plan_import(source, home, names, REGISTRY)


def test_former_settings_become_a_profile_by_name_and_notes_are_sorted_as_numbers(home):
    plan = planned(home)
    assert (plan.state, plan.problems) == ("new", ())
    apply_import(plan)
    held = load_profiles(home)["XX"]
    assert held.defaults == Defaults("barrels", "V1", "bench2p", "mini2p1_openfield", 4, None)
    assert held.notes.vocabulary == ("quiet", "100% moved", "before the last", "last")
    assert held.cameras == {"camera1": "mini2p1_top", "camera2": "mini2p1_eye_left"}
    assert held.models == {"dlc1": ["XX;top;top"], "dlc2": ["XX;top;top", "XX;eye;eye1"], "dlc3": [], "crop": True}


def test_the_plan_shows_each_name_with_the_list_that_it_was_counted_in(home):
    assert "project_idx = 1 becomes project = barrels (of atlas, barrels, from 0)" in planned(home).describe()


def test_without_a_list_a_position_is_a_question_and_never_a_guess(home):
    plan = planned(home, names=Names())
    asked = {problem.what.split(" =")[0] for problem in plan.problems if problem.severity == "question"}
    assert asked == {"project_idx", "location_idx", "equipment_idx", "dlc1_indices", "dlc2_indices", "dlc3_indices"}
    assert tomllib.loads(plan.text)["defaults"] == {"setup_type": "mini2p1_openfield", "paramset_idx": 4}


@pytest.mark.parametrize("text", ["2", "-1", "1.0", "", "one", "1 2", "99999999999"])
def test_what_is_no_position_is_a_question(home, text):
    plan = planned(home, f"[defaults]\nproject_idx = {text}\n")
    (problem,) = plan.problems
    assert problem.severity == "question"
    assert "no position in the list of 2 projects" in problem.what
    assert "defaults" not in tomllib.loads(plan.text)


def test_one_bad_position_of_several_models_leaves_all_of_them_out(home):
    plan = planned(home, "[defaults]\ndlc1_indices = [1, 7]\ndlc2_indices = (2,)\n")
    assert [problem.severity for problem in plan.problems] == ["question"]
    assert tomllib.loads(plan.text)["models"] == {"dlc2": ["XX;eye;eye1"]}


def test_a_misspelt_setup_type_and_an_odd_parameter_set_are_questions(home):
    plan = planned(home, "[setup]\naux_setup_type = opnfield\n[defaults]\ns2p_param_idx = dummy\n")
    assert [problem.severity for problem in plan.problems] == ["question", "question"]
    assert "Did you mean openfield" in plan.problems[0].hint


def test_every_unknown_key_is_reported(home):
    text = "[DEFAULT]\na = 1\n[defaults]\nproject_index = 1\nuse_dlc_cropping = perhaps\n"
    text += "[x]\ny = 2\n[recording_notes]\nnotes = z\n"
    plan = planned(home, text)
    assert [(problem.severity, problem.where) for problem in plan.problems] == [
        ("warning", "[DEFAULT]"),
        ("warning", "[defaults]"),
        ("warning", "[defaults]"),
        ("warning", "[x]"),
        ("warning", "[recording_notes]"),
    ]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"project_idx = 1", "This is no INI file"),
        (b"[defaults]\na = 1\na = 2", "This is no INI file"),
        (b"[recording_notes]\nnote0 = M\xe4use", "Save it as UTF-8."),
    ],
)
def test_a_file_that_is_none_is_refused_with_its_name(home, content, said):
    source = home / "xx.ini"
    source.write_bytes(content)
    with pytest.raises(InvalidSetting) as caught:
        plan_import(source, home, NAMES, REGISTRY)
    assert said in str(caught.value)
    assert str(source) in str(caught.value)


def test_a_file_that_is_not_called_after_a_person_is_refused(home):
    with pytest.raises(InvalidSetting, match=r"Call it XX\.ini"):
        planned(home, name="default.ini")


def test_applying_twice_changes_nothing_and_another_profile_is_never_changed(home):
    plan = planned(home)
    apply_import(plan)
    apply_import(plan)
    assert planned(home).state == "unchanged"
    path = put(home, FULL)
    again = planned(home)
    assert again.state == "refused"
    assert again.problems[-1].severity == "error"
    with pytest.raises(PlanRefused):
        apply_import(plan)
    assert path.read_text(encoding="utf-8") == FULL


@given(st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\r"), max_size=60))
def test_any_text_becomes_a_plan_or_a_typed_error(tmp_path_factory, text):
    home = tmp_path_factory.getbasetemp()
    source = home / "xx.ini"
    source.write_text(text, encoding="utf-8")
    try:
        plan = plan_import(source, home, NAMES, REGISTRY)
    except InvalidSetting:
        return
    assert tomllib.loads(plan.text)["initials"] == "XX"


def test_lists_of_names_come_from_a_file(tmp_path):
    path = tmp_path / "names.toml"
    path.write_text('projects = ["a", "b"]\n', encoding="utf-8")
    assert read_names(path) == Names(("a", "b"))
    path.write_text('project = ["a", "b"]\n', encoding="utf-8")
    with pytest.raises(InvalidSetting, match="Did you mean projects"):
        read_names(path)


# ---- the command


def run(*arguments):
    return CliRunner().invoke(command, [str(argument) for argument in arguments])


def test_profiles_are_listed_and_shown_as_their_files_say(home):
    put(home, FULL)
    (line,) = run("list").output.splitlines()
    assert line.split()[:2] == ["XX", "Somebody"]
    assert "project barrels, location V1" in line
    assert run("show", "XX").output.strip() == FULL.strip()
    assert json.loads(run("show", "XX", "--json").output)["defaults"]["paramset_idx"] == 3
    assert json.loads(run("list", "--json").output)["initials"] == "XX"
    assert isinstance(run("show", "XY").exception, InvalidRequest)


def test_an_import_is_a_plan_first(home):
    source, names = home / "xx.ini", home / "names.toml"
    source.write_text(INI, encoding="utf-8")
    names.write_text('projects = ["atlas", "barrels"]\n', encoding="utf-8")
    answer = run("import", source, "--names", names)
    assert isinstance(answer.exception, PlanRefused)  # nobody to ask
    assert load_profiles(home) == {}
    answer = run("import", source, "--names", names, "--yes", "--json")
    assert answer.exit_code == 0
    assert json.loads(answer.stdout)["state"] == "new"
    assert load_profiles(home)["XX"].defaults.project == "barrels"
    assert "unchanged" in run("import", source, "--names", names).output
    assert run("import", source, "--names", names).exit_code == 0
    put(home, FULL)
    assert run("import", source, "--names", names, "--yes").exit_code == 1


def test_without_a_database_its_names_are_questions(home, monkeypatch):
    def refuse():
        raise DatabaseUnavailable("This lab has no database yet.")

    monkeypatch.setattr("adamacs.pipeline.connect", refuse)
    assert cli_profile._names_of_database() == ini.Names()
