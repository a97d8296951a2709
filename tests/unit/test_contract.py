"""What analysts know from the DataJoint Elements is here under the same names, or the contract says why not.

The released wheels are the oracle. They cannot be imported on DataJoint 2.x, so their definitions are read from the
installed files. `contract.toml` lists every intended difference with its reason. Types and defaults are not compared.
"""

from __future__ import annotations

import configparser
import importlib.metadata
import os
import re
import runpy
import tomllib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pytest

from adamacs.analysis.diagram import read_tables
from adamacs.schemas.definition import Catalogue, Column, ForeignKey, Table, read_source

REPOSITORY = Path(__file__).parents[2]
CONTRACT = tomllib.loads(Path(__file__).with_name("contract.toml").read_text(encoding="utf-8"))

# Module of the elements -> distribution and file. Of several variants the one that the lab's database descends from;
# train and model join when their modules are built.
ELEMENTS = {
    "lab": ("element-lab", "element_lab/lab.py"),
    "subject": ("element-animal", "element_animal/subject.py"),
    "surgery": ("element-animal", "element_animal/surgery.py"),
    "session": ("element-session", "element_session/session_with_id.py"),
    "event": ("element-event", "element_event/event.py"),
    "trial": ("element-event", "element_event/trial.py"),
    "scan": ("element-calcium-imaging", "element_calcium_imaging/scan.py"),
    "imaging": ("element-calcium-imaging", "element_calcium_imaging/imaging.py"),  # the variant with Curation
}


@dataclass(frozen=True, order=True)
class Difference:
    section: str  # our module, or the element's where the table is not ours
    table: str
    line: str

    def __str__(self) -> str:
        return f"[{self.section}] {self.table}: {self.line}"


def read_elements() -> list[Table]:
    """Read the installed wheels; where they are absent, skip loudly, or fail where the run requires them."""
    try:
        return [table for module in ELEMENTS for table in read_source(installed(module), module, module).tables]
    except importlib.metadata.PackageNotFoundError as missing:
        if "oracle" in os.environ.get("ADAMACS_TEST_REQUIRE", "").replace(",", " ").split():
            pytest.fail(f"This run requires the element wheels, and {missing.name} is not installed.")
        pytest.skip(f"{missing.name} IS NOT INSTALLED, so nothing was compared: `make test` installs the wheels")


def installed(module: str) -> str:
    distribution, name = ELEMENTS[module]
    files = importlib.metadata.files(distribution) or []
    return next(file for file in files if file.as_posix() == name).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def elements() -> list[Table]:
    return read_elements()


@pytest.fixture(scope="module")
def ours() -> Catalogue:
    return read_tables()


def spelt(table: Table, line: Column | ForeignKey) -> str:
    """Write a column or foreign key as the contract does: without type, default and comment."""
    key = "key " if line.in_key else ""
    if isinstance(line, Column):
        return key + line.name
    parent = re.sub(r"^(?!master)[a-z_]+\.", "", line.parent)  # scan.ScanInfo.Field: names are unique without it
    parent = re.sub(r"^master(?=\.)", table.name.partition(".")[0], parent)
    renamed = ", ".join(f"{new}={old!r}" for old, new in line.renamed)
    return f"{key}-> {'[nullable] ' if line.nullable else ''}{parent}{f'.proj({renamed})' if renamed else ''}"


def find_differences(ours: Iterable[Table], theirs: Iterable[Table]) -> set[Difference]:
    """Compare names, modules, tiers, keys and columns of two sets of tables."""
    own, other = ({table.name: table for table in tables} for tables in (ours, theirs))
    found = {Difference(own[name].schema, name, "+ table") for name in own.keys() - other.keys()}
    found |= {Difference(other[name].schema, name, "- table") for name in other.keys() - own.keys()}
    for name in own.keys() & other.keys():
        found |= {Difference(own[name].schema, name, line) for line in compare(own[name], other[name])}
    return found


def compare(own: Table, other: Table) -> list[str]:
    mine, theirs = (
        {spelt(table, line) for line in table.definition.columns + table.definition.parents} for table in (own, other)
    )
    lines = [f"+ {line}" for line in mine - theirs] + [f"- {line}" for line in theirs - mine]
    if own.schema != other.schema:
        lines.append(f"module {other.schema} -> {own.schema}")
    if own.tier != other.tier:
        lines.append(f"tier {other.tier} -> {own.tier}")
    return lines


def listed() -> list[Difference]:
    """Return what the contract lists, as often as it does."""
    return [
        Difference(section, table, line)
        for section, entries in CONTRACT.items()
        for entry in entries
        for table in entry["tables"]
        for line in entry["lines"]
    ]


def written(differences: Iterable[Difference]) -> str:
    return "\n".join(map(str, sorted(differences)))


def test_every_difference_from_the_elements_is_intended(ours, elements):
    missing = find_differences(ours, elements) - set(listed())
    assert not missing, f"Undo these, or list them in contract.toml with a reason:\n{written(missing)}"


def test_every_entry_of_the_contract_is_a_real_difference(ours, elements):
    stale = set(listed()) - find_differences(ours, elements)
    assert not stale, f"These are no differences any more; delete them from contract.toml:\n{written(stale)}"


def test_no_difference_has_two_reasons():
    twice = [difference for difference, count in Counter(listed()).items() if count > 1]
    assert not twice, written(twice)


def test_every_entry_has_a_reason_that_is_a_sentence():
    for entries in CONTRACT.values():
        for entry in entries:
            assert set(entry) == {"tables", "lines", "reason"}
            assert re.fullmatch(r"[A-Z].{20,}\.", entry["reason"]), entry


@pytest.mark.usefixtures("elements")
def test_the_wheels_are_the_released_versions_that_setup_names():
    config = configparser.ConfigParser()
    config.read(REPOSITORY / "setup.cfg")
    pins = dict(line.split("==") for line in config["options.extras_require"]["oracle"].split())
    assert {distribution for distribution, _ in ELEMENTS.values()} <= pins.keys()
    assert {name: importlib.metadata.version(name) for name in pins} == pins


def test_table_names_are_unique_so_that_a_name_says_which_table(ours, elements):
    for tables in (ours, elements):
        twice = [name for name, count in Counter(table.name for table in tables).items() if count > 1]
        assert not twice


_CURATION = ("session_id", "scan_id", "paramset_idx", "curation_id")


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("Session", ("session_id",)),
        ("Scan", ("session_id", "scan_id")),
        ("ScanInfo.Field", ("session_id", "scan_id", "field_idx")),
        ("ProcessingTask", ("session_id", "scan_id", "paramset_idx")),
        ("Curation", _CURATION),
        ("Segmentation.Mask", (*_CURATION, "mask")),
        ("MaskClassification.MaskType", (*_CURATION, "mask_classification_method", "mask")),
        ("Fluorescence.Trace", (*_CURATION, "mask", "fluo_channel")),
        ("Activity.Trace", (*_CURATION, "extraction_method", "mask", "fluo_channel")),
        ("ProcessingQualityMetrics.Trace", (*_CURATION, "mask", "fluo_channel")),
    ],
)
def test_the_keys_are_those_that_the_labs_analysts_restrict_by(ours, name, key):
    table = next(table for table in ours if table.name == name)
    assert ours.key(table) == key


def test_the_reference_page_says_what_the_contract_says():
    build = runpy.run_path(str(REPOSITORY / "docs" / "build_contract.py"))
    page = (REPOSITORY / "docs" / "reference" / "contract.md").read_text(encoding="utf-8")
    assert page == build["render"](CONTRACT), "Run `python docs/build_contract.py`."


# The comparison itself, on two small modules

THEIRS = '''
class Scan(dj.Manual):
    definition = """
    -> Session
    scan_id : int
    ---
    -> [nullable] lab.Device.proj(scanner='device')
    notes = '' : varchar(10)
    """
    class File(dj.Part):
        definition = """
        -> master
        """
class Gone(dj.Lookup):
    definition = "gone : int"
'''


def test_two_equal_modules_have_no_differences():
    tables = read_source(THEIRS, "theirs", "scan").tables
    assert find_differences(tables, tables) == set()


@pytest.mark.parametrize(
    ("old", "new", "lines"),
    [
        ("scan_id : int", "scan_id : varchar(64)", set()),
        ("lab.Device", "equipment.Device", set()),
        ("notes = ''", "scan_notes = ''", {("Scan", "+ scan_notes"), ("Scan", "- notes")}),
        (
            "    scan_id : int\n    ---\n",
            "    ---\n    scan_id : int\n",
            {("Scan", "- key scan_id"), ("Scan", "+ scan_id")},
        ),
        ("[nullable] ", "", None),
        ("scanner=", "device=", None),
        ("dj.Manual", "dj.Imported", {("Scan", "tier Manual -> Imported")}),
        ("class Gone", "class New", {("Gone", "- table"), ("New", "+ table")}),
        ("class File", "class Page", {("Scan.File", "- table"), ("Scan.Page", "+ table")}),
        ("-> master", "-> master\n        file_id : int", {("Scan.File", "+ key file_id")}),
    ],
)
def test_a_change_of_names_keys_or_tiers_is_found_and_a_change_of_types_is_not(old, new, lines):
    theirs = read_source(THEIRS, "theirs", "scan").tables
    found = find_differences(read_source(THEIRS.replace(old, new), "ours", "scan").tables, theirs)
    if lines is None:
        assert {difference.line[:4] for difference in found} == {"+ ->", "- ->"}
    else:
        assert {(difference.table, difference.line) for difference in found} == lines


def test_a_table_that_moved_to_another_module_is_found():
    theirs, ours = (read_source(THEIRS, "any", module).tables for module in ("scan", "imaging"))
    assert Difference("imaging", "Scan", "module scan -> imaging") in find_differences(ours, theirs)


def test_absent_wheels_are_skipped_loudly_and_fail_where_they_are_required(monkeypatch):
    monkeypatch.setitem(ELEMENTS, "lab", ("element-that-nobody-released", "element/lab.py"))
    monkeypatch.delenv("ADAMACS_TEST_REQUIRE", raising=False)
    with pytest.raises(pytest.skip.Exception, match="element-that-nobody-released"):
        read_elements()
    monkeypatch.setenv("ADAMACS_TEST_REQUIRE", "mysql,oracle")
    with pytest.raises(pytest.fail.Exception, match="element-that-nobody-released"):
        read_elements()
