"""Answers that were given beforehand: the most specific wins, each knows its place, and a bad row stops no other."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adamacs.core import toml
from adamacs.core.errors import InvalidSetting
from adamacs.ingest.answers import Answers, Fields, read_answers, read_manifest
from adamacs.ingest.ini import Names
from adamacs.ingest.profiles import Answer, Defaults, Profile

SCAN, SESSION = "scan9FY6AIRM", "sess9FY6AIRM"
FOLDER = f"XX_ANM-2172_2026-02-10_{SCAN}_{SESSION}"
FILE = f"""
[defaults]
project = "all"
location = "all"
scanner = "all"
same_site = "own"

[people.XX]
project = "person"
location = "person"
scanner = "person"

[sessions.{SESSION}]
project = "session"
location = "session"
session_note = "of the session"

[scans.{SCAN}]
project = "scan"
paramset_idx = 3
scan_note = "of the scan"
"""
PROFILES = {"XX": Profile("XX", defaults=Defaults(project="profile", setup_type="openfield", same_site=SESSION))}


def write(folder: Path, text: str, name: str = "answers.toml") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8", newline="")
    return path


def values(answers: dict[str, Answer]) -> dict[str, object]:
    return {name: answer.value for name, answer in answers.items()}


# ---- who wins


def test_the_most_specific_answer_wins_and_each_knows_where_it_was_said(tmp_path):
    answers = read_answers(write(tmp_path, FILE), PROFILES)
    assert answers.of(scan_id=SCAN, session_id=SESSION, initials="XX") == {
        "project": Answer("scan", f"answers.toml, scans.{SCAN}"),
        "location": Answer("session", f"answers.toml, sessions.{SESSION}"),
        "scanner": Answer("person", "answers.toml, people.XX"),
        "setup_type": Answer("openfield", "profile XX"),
        "paramset_idx": Answer(3, f"answers.toml, scans.{SCAN}"),
        "same_site": Answer("own", "answers.toml, defaults"),
        "session_note": Answer("of the session", f"answers.toml, sessions.{SESSION}"),
        "scan_note": Answer("of the scan", f"answers.toml, scans.{SCAN}"),
    }


def test_another_scan_gets_what_is_said_of_all(tmp_path):
    answers = read_answers(write(tmp_path, FILE), PROFILES)
    assert values(answers.of(scan_id="scan00000000", initials="AB")) == {
        "project": "all",
        "location": "all",
        "scanner": "all",
        "same_site": "own",
    }


def test_without_a_file_the_profile_answers():
    assert values(Answers(profiles=PROFILES).of(scan_id=SCAN, initials="XX")) == {
        "project": "profile",
        "setup_type": "openfield",
        "same_site": SESSION,
    }
    assert Answers().of(scan_id=SCAN) == {}


def test_an_answer_about_what_the_batch_does_not_hold_is_a_warning(tmp_path):
    answers = read_answers(write(tmp_path, FILE))
    assert answers.unused(scan_ids=[SCAN], session_ids=[SESSION], initials=["XX"]) == []
    found = answers.unused(scan_ids=["scan9FY6AIRN"], session_ids=[SESSION], initials=[])
    assert [(problem.severity, problem.where) for problem in found] == [
        ("warning", "answers.toml, people.XX"),
        ("warning", f"answers.toml, scans.{SCAN}"),
    ]
    assert "Did you mean scan9FY6AIRN?" in found[1].hint


# ---- what is refused


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[default]\n", "default: There is no such key. Did you mean defaults?"),
        ("defaults = 1\n", "defaults: This does not fit. It takes a table [defaults]."),
        ("scans = 1\n", "scans: This does not fit."),
        ("[recordings]\npath = 'x'\n", "recordings: This does not fit."),
        ("[scans]\nscan9FY6AIRM = 1\n", "scans.scan9FY6AIRM: This does not fit."),
        ("[scans.sess9FY6AIRM]\n", "scans.sess9FY6AIRM: 'sess9FY6AIRM' is no name here. It takes a scan token."),
        ("[sessions.scan9FY6AIRM]\n", "It takes a session token."),
        ("[people.Xx]\n", "people.Xx: 'Xx' is no name here. It takes initials, XX."),
        ("[defaults]\nprojekt = 'a'\n", "defaults, projekt: There is no such key. Did you mean project?"),
        ("[defaults]\nparamset_idx = 40000\n", "defaults, paramset_idx: 40000 does not fit. It takes a number, 0 to"),
        (f"[scans.{SCAN}]\nscan_note = '{'a' * 4096}'\n", "scan_note: "),
        ("[[recordings]]\nproject = 'a'\n", "recordings 1: It is not clear whom this row is about."),
        ("recordings = [1]\n", "recordings 1: This does not fit."),
        ("[[recordings]]\npath = ''\n", "recordings 1, path: '' does not fit. It takes a path."),
        ("defaults", "This is not valid TOML"),
    ],
)
def test_what_is_wrong_with_a_file_is_told_with_file_key_and_cure(tmp_path, text, said):
    path = write(tmp_path, text)
    with pytest.raises(InvalidSetting) as caught:
        read_answers(path)
    assert str(path) in str(caught.value)
    assert said in str(caught.value)


def test_a_file_of_another_kind_is_refused(tmp_path):
    with pytest.raises(InvalidSetting, match="neither TOML nor CSV"):
        read_manifest(write(tmp_path, "", "batch.xlsx"))
    with pytest.raises(InvalidSetting, match="cannot be read"):
        read_manifest(tmp_path / "nowhere.csv")


# ---- manifests


def test_a_table_names_folders_and_answers(tmp_path):
    other = f"other/{FOLDER.replace('AIRM', 'AIRN')}"
    text = f'path,project,paramset_idx,scan_note\n{FOLDER},barrels,3,"moved, a lot"\n\n{other},,,\n'
    manifest = read_manifest(write(tmp_path, text, "batch.csv"))
    assert manifest.problems == ()
    assert manifest.paths == (FOLDER, other)
    assert manifest.answers.of(scan_id=SCAN) == {
        "project": Answer("barrels", "batch.csv, line 2"),
        "paramset_idx": Answer(3, "batch.csv, line 2"),
        "scan_note": Answer("moved, a lot", "batch.csv, line 2"),
    }
    assert manifest.answers.of(scan_id="scan9FY6AIRN") == {}


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_tables_of_every_office_program_are_read(tmp_path, delimiter, end):
    lines = [delimiter.join(("Path", "Project")), delimiter.join((FOLDER, "Mäuse")), delimiter.join(("x", ""))]
    manifest = read_manifest(write(tmp_path, "\ufeff" + end.join(lines), "batch.CSV"))
    assert values(manifest.answers.of(scan_id=SCAN)) == {"project": "Mäuse"}
    assert manifest.paths == (FOLDER, "x")


def test_a_bad_row_is_told_with_file_and_line_and_stops_no_other(tmp_path):
    rows = [
        "path,scan_id,project,paramset_idx",
        f"{FOLDER},,barrels,three",
        f"{FOLDER},scan00000000,barrels,",
        ",,barrels,",
        "notes,,barrels,",
        f'"{FOLDER}"x,,,',
        f"{FOLDER},,a,1,too,many",
        f"{FOLDER},,barrels,4",
    ]
    path = write(tmp_path, "\n".join(rows), "batch.csv")
    manifest = read_manifest(path)
    assert [problem.where for problem in manifest.problems if problem.severity == "error"] == [
        f"{path}, line 2, paramset_idx",
        f"{path}, line 3",
        f"{path}, line 4",
        f"{path}, line 5",
        f"{path}, line 6",
        f"{path}, line 7",
    ]
    assert values(manifest.answers.of(scan_id=SCAN)) == {"project": "barrels", "paramset_idx": 4}
    assert manifest.paths == (FOLDER,)  # a folder whose answers are lost is not ingested without them


def test_the_line_of_a_row_is_where_it_begins(tmp_path):
    text = f'path,scan_note,project\n{FOLDER},"one\ntwo",\nx,,lost\n'
    manifest = read_manifest(write(tmp_path, text, "batch.csv"))
    assert manifest.answers.of(scan_id=SCAN) == {"scan_note": Answer("one\ntwo", "batch.csv, line 2")}
    assert [problem.where.rpartition(", ")[2] for problem in manifest.problems] == ["line 4"]


def test_a_quotation_mark_that_is_left_open_is_told(tmp_path):
    manifest = read_manifest(write(tmp_path, f'path,project\nx,\n"{FOLDER},a\ny,\n', "batch.csv"))
    assert manifest.paths == ("x",)
    assert "left open" in manifest.problems[0].hint
    assert manifest.problems[0].where.endswith("line 3")


@pytest.mark.parametrize(
    ("header", "said"),
    [
        ("path,projekt", "There is no column 'projekt'. Did you mean project?"),
        ("path,project,path", "The column path stands there twice."),
        ("project,location", "No column tells whom a row is about."),
        ("", "This table has no header."),
    ],
)
def test_a_table_with_a_wrong_header_is_refused(tmp_path, header, said):
    path = write(tmp_path, f"{header}\n", "batch.csv")
    with pytest.raises(InvalidSetting) as caught:
        read_manifest(path)
    assert said in str(caught.value)
    assert str(path) in str(caught.value)


def test_text_that_is_no_utf8_is_refused_with_the_cure(tmp_path):
    path = tmp_path / "batch.csv"
    path.write_bytes(b"path,project\nx,M\xe4use\n")
    with pytest.raises(InvalidSetting, match="Save it as CSV UTF-8"):
        read_manifest(path)


def test_rows_of_toml_name_folders_too(tmp_path):
    rows = f"[[recordings]]\npath = '{FOLDER}'\nproject = 'a'\n[[recordings]]\npath = '/far'\n"
    text = f"[defaults]\nlocation = 'V1'\n{rows}"
    manifest = read_manifest(write(tmp_path, text, "batch.toml"))
    assert manifest.problems == ()
    assert manifest.paths == (FOLDER, "/far")
    assert manifest.answers.of(scan_id=SCAN) == {
        "project": Answer("a", "batch.toml, recordings 1"),
        "location": Answer("V1", "batch.toml, defaults"),
    }


def test_a_nested_session_folder_answers_for_its_session_and_a_scan_id_beside_it_for_the_scan(tmp_path):
    session = f"XX_ANM-2172_2026-02-10_{SESSION}"
    text = f"path,scan_id,project\n{session},,a\n{session},{SCAN},b\n{session}/scan9FY6AIRN,,c\n"
    answers = read_manifest(write(tmp_path, text, "batch.csv")).answers
    assert values(answers.of(session_id=SESSION)) == {"project": "a"}
    assert values(answers.of(session_id=SESSION, scan_id=SCAN)) == {"project": "b"}
    assert values(answers.of(session_id=SESSION, scan_id="scan9FY6AIRN")) == {"project": "c"}


def test_a_row_about_a_folder_is_never_about_all_of_its_person(tmp_path):
    manifest = read_manifest(write(tmp_path, "path,initials,project\nx,XX,a\n,AB,b\n", "batch.csv"))
    assert manifest.answers.of(initials="XX") == {}
    assert values(manifest.answers.of(initials="AB")) == {"project": "b"}
    assert len(manifest.problems) == 1


def test_a_file_that_contradicts_itself_is_told_and_one_that_repeats_itself_is_not(tmp_path):
    text = f"path,project\n{FOLDER},a\n{FOLDER},a\n{FOLDER},b\n"
    manifest = read_manifest(write(tmp_path, text, "batch.csv"))
    assert manifest.paths == (FOLDER,)
    assert values(manifest.answers.of(scan_id=SCAN)) == {"project": "a"}
    assert [problem.severity for problem in manifest.problems] == ["warning", "warning", "error"]
    assert "project was answered otherwise before (batch.csv, line 2)" in manifest.problems[2].what


def test_a_thousand_rows_are_a_thousand_folders(tmp_path):
    rows = (f"XX_ANM-2172_2026-02-10_scan{n:08d}_sess{n:08d},p{n}" for n in range(1000))
    manifest = read_manifest(write(tmp_path, "path,project\n" + "\n".join(rows), "batch.csv"))
    assert (len(manifest.paths), manifest.problems) == (1000, ())
    assert manifest.answers.of(scan_id="scan00000999") == {"project": Answer("p999", "batch.csv, line 1001")}


_CELL = st.text(st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="\u2028\u2029\x85"), max_size=12)


@given(st.lists(st.tuples(_CELL.filter(str.strip), _CELL), max_size=5))
def test_whatever_a_table_program_writes_is_read_as_it_was_meant(tmp_path_factory, rows):
    folder = tmp_path_factory.getbasetemp()
    out = io.StringIO(newline="")
    writer = csv.writer(out)
    writer.writerows([("scan_id", "scan_note", "session_note"), *((SCAN, *row) for row in rows[:1])])
    answers = read_manifest(write(folder, out.getvalue(), "any.csv")).answers.of(scan_id=SCAN)
    expected = dict(zip(("scan_note", "session_note"), (cell.strip() for cell in rows[0]), strict=True)) if rows else {}
    assert values(answers) == {name: value for name, value in expected.items() if value}


@given(st.binary(max_size=80), st.sampled_from(["any.csv", "any.toml"]))
def test_any_bytes_give_a_manifest_or_a_typed_error(tmp_path_factory, content, name):
    path = tmp_path_factory.getbasetemp() / name
    path.write_bytes(b"path,project\n" * (name == "any.csv") + content)
    try:
        manifest = read_manifest(path)
    except InvalidSetting:
        return
    assert all(str(path) in problem.where for problem in manifest.problems)


def test_the_examples_of_the_how_to_page_are_sound(tmp_path):
    page = (Path(__file__).parents[2] / "docs" / "how-to" / "profiles.md").read_text(encoding="utf-8")
    profile, names, batch, recordings = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    assert toml.read_as(Profile, write(tmp_path, profile))[1] == []
    assert toml.read_as(Names, write(tmp_path, names))[1] == []
    assert values(read_answers(write(tmp_path, batch)).of(scan_id=SCAN, initials="XX"))["location"] == "V1"
    assert len(read_manifest(write(tmp_path, recordings)).paths) == 1
    (table,) = re.findall(r"```text\n(path,.*?)```", page, re.DOTALL)
    manifest = read_manifest(write(tmp_path, table, "batch.csv"))
    assert (len(manifest.paths), manifest.problems) == (2, ())
    told = set(re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE))
    assert told == set(toml.keys_of(Fields))
