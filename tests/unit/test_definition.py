"""What is read off a table definition, and that it is what DataJoint itself reads."""

from __future__ import annotations

import warnings

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adamacs import pipeline
from adamacs.analysis.diagram import read_tables
from adamacs.schemas.definition import Catalogue, Column, ForeignKey, Index, parse, read_module, read_source

SCAN = '''
import datajoint as dj
from lab.schemas.session import Session
from lab.schemas.subject import User as Person
from . import equipment

schema = dj.Schema()

@schema
class Scan(dj.Manual):
    """Not a definition: `-> Nothing`."""
    definition = """
    # One acquisition
    -> Session
    scan_id : varchar(64)  # whole token
    ---
    -> [nullable] Person.proj(owner_id='user_id')
    -> equipment.Equipment
    """
    contents = []

    class Field(dj.Part):
        definition = """
        -> master
        field_idx : int16
        """

    class Pixel(dj.Part):
        definition = """
        -> master.Field
        pixel : int32
        """

class Reader:
    definition = "no table"
'''
SESSION = """
class Session(dj.Manual):
    definition = "session_id : varchar(64)"
"""
SUBJECT = """
class User(dj.Lookup):
    definition = "user_id : int32"
"""
EQUIPMENT = '''
class Equipment(dj.Imported):
    definition = """
    scanner : varchar(32)
    ---
    """
'''


@pytest.fixture
def lab() -> Catalogue:
    texts = {"scan": SCAN, "session": SESSION, "subject": SUBJECT, "equipment": EQUIPMENT}
    return Catalogue(read_source(text, f"lab.schemas.{name}", name) for name, text in texts.items())


def lines(text):
    return parse(text).lines


@pytest.mark.parametrize(
    ("line", "column"),
    [
        ("scan_id : varchar(64)", Column("scan_id", "varchar(64)", True)),
        ("scan_id:int", Column("scan_id", "int", True)),
        ("fps : float64  # Hz, volume rate", Column("fps", "float64", True, None, "Hz, volume rate")),
        ("x = null : float64  # µm", Column("x", "float64", True, "null", "µm")),
        ("note='' : varchar(255)", Column("note", "varchar(255)", True, "''")),
        ("note = 'a: b # c' : varchar(9)", Column("note", "varchar(9)", True, "'a: b # c'")),
        ("t = CURRENT_TIMESTAMP : datetime(3)", Column("t", "datetime(3)", True, "CURRENT_TIMESTAMP")),
        ("sex : enum('M', '#', 'a:b')", Column("sex", "enum('M', '#', 'a:b')", True)),
        ('z : enum("Present", "Absent")', Column("z", 'enum("Present", "Absent")', True)),
        ("trace : <array@derived>  # (frame,)", Column("trace", "<array@derived>", True, None, "(frame,)")),
        ("n : int unsigned # -> not a parent", Column("n", "int unsigned", True, None, "-> not a parent")),
        ("index : int32", Column("index", "int32", True)),
    ],
)
def test_a_column_is_read_with_type_default_and_comment(line, column):
    assert lines(line) == (column,)


@pytest.mark.parametrize(
    ("line", "key"),
    [
        ("-> Scan", ForeignKey("Scan", True)),
        ("->Scan  # the scan", ForeignKey("Scan", True)),
        ("-> scan.ScanInfo.Field", ForeignKey("scan.ScanInfo.Field", True)),
        ("-> [nullable] Equipment", ForeignKey("Equipment", True, nullable=True)),
        ("-> [unique, nullable] Equipment", ForeignKey("Equipment", True, nullable=True, unique=True)),
        (
            "-> Channel.proj(fluo_channel='channel')",
            ForeignKey("Channel", True, renamed=(("channel", "fluo_channel"),)),
        ),
        (
            "-> lab.Person.proj(a='b', c = \"d\")  # two",
            ForeignKey("lab.Person", True, renamed=(("b", "a"), ("d", "c"))),
        ),
    ],
)
def test_a_foreign_key_is_read_with_options_and_new_names(line, key):
    assert lines(line) == (key,)


def test_what_stands_below_the_line_is_no_key():
    table = parse("# A table\n\n a : int32\n -> B\n ------\n # remark\n c : int32\n -> D\n unique index (c, a) # why")
    assert table.comment == "A table"
    assert [(column.name, column.in_key) for column in table.columns] == [("a", True), ("c", False)]
    assert [(key.parent, key.in_key) for key in table.parents] == [("B", True), ("D", False)]
    assert table.lines[-1] == Index(("c", "a"), unique=True)
    assert lines("index(x)") == (Index(("x",), unique=False),)


@pytest.mark.parametrize("line", ["a int32", "Name : int32", "a : ", ": int32", "a = ' : int32", "-> ", "-> A B"])
def test_a_line_that_is_nothing_is_refused(line):
    with pytest.raises(ValueError):
        parse(line)


@given(st.text() | st.text("->:#='\"[]() \nab").map("-> ".__add__))
def test_no_text_does_worse_than_being_refused(text):
    try:
        definition = parse(text)
    except ValueError:
        return
    assert len(definition.lines) <= len(text.splitlines())


def test_tables_are_found_with_tier_parts_and_nothing_else(lab):
    found = [(table.schema, table.name, table.tier) for table in lab]
    assert found == [
        ("scan", "Scan", "Manual"),
        ("scan", "Scan.Field", "Part"),
        ("scan", "Scan.Pixel", "Part"),
        ("session", "Session", "Manual"),
        ("subject", "User", "Lookup"),
        ("equipment", "Equipment", "Imported"),
    ]


def test_parents_are_followed_through_imports_and_masters(lab):
    def parents(name):
        table = lab.tables[f"lab.schemas.scan.{name}"]
        return [lab.parent(table, key).path.removeprefix("lab.schemas.") for key in table.definition.parents]

    assert parents("Scan") == ["session.Session", "subject.User", "equipment.Equipment"]
    assert parents("Scan.Field") == ["scan.Scan"]
    assert parents("Scan.Pixel") == ["scan.Scan.Field"]


def test_a_key_holds_what_it_inherits_in_order_and_once(lab):
    assert lab.key(lab.tables["lab.schemas.scan.Scan"]) == ("session_id", "scan_id")
    assert lab.key(lab.tables["lab.schemas.scan.Scan.Pixel"]) == ("session_id", "scan_id", "field_idx", "pixel")


def test_a_foreign_key_brings_its_columns_under_their_new_names(lab):
    scan = lab.tables["lab.schemas.scan.Scan"]
    assert [lab.columns_of(scan, key) for key in scan.definition.parents] == [
        ("session_id",),
        ("owner_id",),
        ("scanner",),
    ]


def test_a_name_that_leads_to_no_table_is_refused_with_the_table_that_names_it():
    source = read_source('class A(dj.Manual):\n    definition = "-> Missing"', "lab", "lab")
    catalogue = Catalogue([source])
    with pytest.raises(LookupError, match=r"lab\.A names Missing"):
        catalogue.key(catalogue.tables["lab.A"])


def test_imports_in_a_circle_end():
    circle = [read_source(f"from {b} import X", a, a) for a, b in ("ab", "ba")]
    child = read_source('class A(dj.Manual):\n    definition = "-> a.X"', "c", "c")
    catalogue = Catalogue([*circle, child], links={"c.a": "a"})
    with pytest.raises(LookupError):
        catalogue.key(catalogue.tables["c.A"])


def test_what_a_module_leaves_open_can_be_linked():
    source = read_source('class A(dj.Manual):\n    definition = "-> Parent"', "lab", "lab")
    parent = read_source('class B(dj.Manual):\n    definition = "b : int32"', "other", "other")
    catalogue = Catalogue([source, parent], links={"lab.Parent": "other.B"})
    assert catalogue.key(catalogue.tables["lab.A"]) == ("b",)


def test_a_package_is_read_file_by_file_and_its_names_are_followed(tmp_path, monkeypatch):
    package = tmp_path / "grown"
    package.mkdir()
    (package / "__init__.py").write_text("from grown.scans import Scan\nfrom .masks import Mask as Roi\n")
    (package / "scans.py").write_text('class Scan(dj.Manual):\n    definition = "scan_id : int32"\n')
    (package / "masks.py").write_text(
        'from .scans import Scan\nclass Mask(dj.Manual):\n    definition = "-> Scan\\nmask : int32"\n'
    )
    monkeypatch.syspath_prepend(tmp_path)
    user = read_source('import grown as g\nclass A(dj.Manual):\n    definition = "-> g.Roi"', "user", "user")
    catalogue = Catalogue([*read_module("grown", "grown"), user])
    assert [(table.schema, table.path) for table in catalogue][:2] == [
        ("grown", "grown.scans.Scan"),
        ("grown", "grown.masks.Mask"),
    ]
    assert catalogue.key(catalogue.tables["user.A"]) == ("scan_id", "mask")


def test_a_module_that_is_not_installed_is_refused_by_name():
    with pytest.raises(ModuleNotFoundError, match="adamacs_without_this"):
        read_module("adamacs_without_this", "none")


def test_a_table_without_definition_is_refused_by_name():
    with pytest.raises(ValueError, match="Bare"):
        read_source("class Bare(dj.Manual):\n    pass", "lab", "lab")


def test_definitions_may_share_lines_that_the_module_names():
    text = '''
LINES = """
mask : int32
trace : float32
"""
class A(dj.Manual):
    definition = "# One" + LINES
class B(dj.Manual):
    definition = "# Other" + LINES
'''
    one, other = read_source(text, "lab", "lab").tables
    assert (one.definition.comment, other.definition.comment) == ("One", "Other")
    assert one.definition.lines == other.definition.lines == parse("mask : int32\ntrace : float32").lines


def test_the_names_tiers_and_order_are_those_of_the_classes():
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "No datajoint.json", UserWarning)
        modules = pipeline.modules()
    catalogue = read_tables()
    for table in catalogue:
        module = next(module for module in modules if table.module.startswith(module.__name__))
        kind = module
        for step in table.name.split("."):
            kind = getattr(kind, step)
        if table.tier == "Part":
            kind._master = getattr(module, table.name.partition(".")[0])  # activation would set it
        assert catalogue.stored_name(table) == kind.table_name
        assert table.tier in {base.__name__ for base in kind.__mro__}
        assert parse(kind.definition) == table.definition
    count = sum(1 for table in catalogue if table.tier != "Part")
    assert count == sum(len(module.schema.declare_list) for module in modules)
