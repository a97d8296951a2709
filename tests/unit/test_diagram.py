"""The diagram shows every table and foreign key, asks no server, and is the same each time."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner

from adamacs import pipeline
from adamacs.analysis import diagram
from adamacs.cli.schema import schema
from adamacs.core.errors import InvalidRequest
from adamacs.schemas.definition import Catalogue, read_source

EVERYTHING = pipeline.SPINE + pipeline.MODALITIES


@pytest.fixture(scope="module")
def tables():
    return diagram.read_tables()


@pytest.fixture(scope="module")
def imaging(tables):
    return diagram.select(tables, ("imaging",))


def texts(path):
    """Return the words of an SVG picture, in the order in which they are drawn."""
    return [node.text for node in ElementTree.parse(path).iter("{http://www.w3.org/2000/svg}text")]


def short(path):
    """Return the name of a table, with its master's where it is a part, without the modules above it."""
    return ".".join(step for step in path.split(".") if step[0].isupper())


def test_every_module_of_the_pipeline_is_read(tables):
    assert {table.schema for table in tables} == set(EVERYTHING)


def test_what_a_module_needs_from_others_is_borrowed(imaging):
    assert {short(path) for path in imaging.borrowed} == {"Project", "Scan", "ScanFile"}
    assert [table.name for table in imaging.masters][:3] == ["Project", "Scan", "ScanFile"]


def test_a_borrowed_part_brings_its_master_but_not_its_siblings():
    scan = """
class Scan(dj.Manual):
    definition = "scan_id : int32"
    class Field(dj.Part):
        definition = "-> master\\nfield : int16"
    class File(dj.Part):
        definition = "-> master\\nfile : int16"
"""
    mask = 'from scan import Scan\nclass Mask(dj.Computed):\n    definition = "-> Scan.Field"'
    catalogue = Catalogue([read_source(scan, "scan", "scan"), read_source(mask, "masks", "masks")])
    drawing = diagram.select(catalogue, ("masks",))
    assert drawing.borrowed == {"scan.Scan", "scan.Scan.Field"}
    assert [part.name for part in drawing.parts["scan.Scan"]] == ["Scan.Field"]


def test_links_say_whether_the_parent_is_part_of_the_key(imaging):
    primary = {(short(link.parent), short(link.child)): link.primary for link in imaging.links}
    assert primary["Scan", "ProcessingTask"]
    assert primary["Segmentation.Mask", "Fluorescence.Trace"]
    assert not primary["ProcessingMethod", "ProcessingParamSet"]
    assert not primary["Channel", "Segmentation.Mask"]
    assert ("Segmentation", "Segmentation.Mask") not in primary  # a part stands in its master's box


def test_two_foreign_keys_to_one_table_are_one_line(tables):
    drawing = diagram.select(tables, ("subject",))
    ends = [(link.parent, link.child) for link in drawing.links]
    assert len(ends) == len(set(ends))
    assert ("adamacs.schemas.subject.User", "adamacs.schemas.subject.Subject") in ends


def test_mermaid_names_every_table_part_and_link(tables):
    drawing = diagram.select(tables, EVERYTHING)
    text = diagram.mermaid(drawing)
    assert text.startswith("flowchart LR\n")
    for table in tables:
        node = f"{table.schema}_{table.name.replace('.', '_')}"
        assert len(re.findall(rf"^    {node}[\[(].*:::{table.tier}$", text, re.MULTILINE)) == 1
    assert len(re.findall(r"^  \w+ (?:-->|-\.->) \w+$", text, re.MULTILINE)) == len(drawing.links)
    assert text.count("subgraph ") == text.count("\n  end\n") == len(EVERYTHING)
    assert "session_Session --> scan_Scan\n" in text
    assert "equipment_Equipment -.-> scan_Scan\n" in text


def test_mermaid_shows_borrowed_tables_pale(imaging):
    assert 'scan_Scan["Scan"]:::borrowed' in diagram.mermaid(imaging)


def test_svg_is_valid_and_names_every_table_and_key(tmp_path, tables):
    diagram.write_diagram(tmp_path / "all.svg", EVERYTHING)
    words = texts(tmp_path / "all.svg")
    for table in tables:
        assert table.name.rpartition(".")[2] in words
        own = [column.name for column in table.definition.columns if column.in_key]
        assert not own or ", ".join(own) in words
    assert {*EVERYTHING, "Lookup", "Manual", "Imported", "Computed", "Part", "solid", "dashed"} <= set(words)
    assert "pale" not in words


def test_words_fit_into_their_boxes(imaging):
    boxes = diagram.arrange(imaging).boxes
    for table in imaging.masters:
        box = boxes[table.path]
        assert diagram._width(table.name, diagram.TITLE_SIZE, bold=True) <= box.width - 12


def test_the_same_tables_give_the_same_bytes(tmp_path):
    for name in ("first.svg", "second.svg", "first.png", "second.png", "first.mmd", "second.mmd"):
        diagram.write_diagram(tmp_path / name, ("session",))
    for ending in ("svg", "png", "mmd"):
        assert (tmp_path / f"first.{ending}").read_bytes() == (tmp_path / f"second.{ending}").read_bytes()


def test_png_is_a_picture_of_the_drawing(tmp_path, imaging):
    import matplotlib.image

    diagram.write_diagram(tmp_path / "imaging.PNG", ("imaging",))
    picture = matplotlib.image.imread(tmp_path / "imaging.PNG")
    width = diagram.arrange(imaging).width / 72 * 150
    assert width <= picture.shape[1] <= width + 100
    colours = {
        tuple((255 * pixel).round().astype(int)[:3]) for pixel in picture[::3, ::3].reshape(-1, picture.shape[2])
    }
    for tier in ("Lookup", "Manual", "Imported", "Computed"):
        fill = diagram.COLOURS[tier].fill
        assert tuple(int(fill[i : i + 2], 16) for i in (1, 3, 5)) in colours


def test_an_unknown_module_is_refused_with_the_nearest_name(tmp_path):
    with pytest.raises(InvalidRequest, match="Did you mean imaging"):
        diagram.write_diagram(tmp_path / "a.svg", ("imagin",))


def test_an_unknown_ending_is_refused_and_nothing_is_written(tmp_path):
    with pytest.raises(InvalidRequest, match=r"\.mmd \(Mermaid\), \.svg or \.png"):
        diagram.write_diagram(tmp_path / "a.pdf", ("imaging",))
    assert list(tmp_path.iterdir()) == []


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(InvalidRequest, match="nowhere"):
        diagram.write_diagram(tmp_path / "nowhere" / "a.svg", ("imaging",))


def test_the_command_writes_without_a_server(tmp_path, monkeypatch):
    def refuse(*_):
        raise AssertionError("a diagram needs no connection")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    result = CliRunner().invoke(schema, ["diagram", str(tmp_path / "a.mmd"), "--module", "session", "--module", "scan"])
    assert result.exit_code == 0, result.output
    assert result.output.strip() == str(tmp_path / "a.mmd")
    assert 'scan_Scan["Scan"]:::Manual' in (tmp_path / "a.mmd").read_text(encoding="utf-8")


def test_reading_the_tables_imports_neither_datajoint_nor_matplotlib():
    code = (
        "import sys; from adamacs.analysis import diagram; diagram.mermaid(diagram.select(diagram.read_tables(), "
        "['imaging'])); sys.exit(bool({'datajoint', 'matplotlib', 'numpy'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
