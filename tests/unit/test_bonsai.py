"""Bonsai's stimuli: every kind of file tells the same, equal stimuli are equal, and nothing odd passes unseen."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from adamacs.core.errors import InvalidRequest, MissingFile, UnreadableFile
from adamacs.demo.bonsai import Shown, StimulusLog, write_stimuli
from adamacs.modalities.behavior.reader import bonsai
from adamacs.modalities.behavior.reader.bonsai import Stimulus, parse_stimulus, read_stimuli

DIALECTS = ("events", "master_trigger", "harp_acquiring", "ungated")
GRATING = "Grating; A; 0; 10; 20; 45; 0.04; 2"
bounded = settings(
    max_examples=200, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)

WORDS = st.sampled_from(("Grating", "A", "natural scene 7", "Gabor-2", "Ω", "oddball_rare", "nano"))
NUMBERS = st.none() | st.floats(-1e6, 1e6) | st.integers(-360, 360).map(float)
STIMULI = st.builds(Stimulus, WORDS, st.just("") | WORDS, *[NUMBERS] * 6)


def says(path: Path, text: str | bytes, name: str = "bonsai_stimulus_log.csv") -> Path:
    (path / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    return path / name


def refusal(path: Path, dialect: bonsai.Dialect | None = None) -> UnreadableFile:
    with pytest.raises(UnreadableFile) as caught:
        read_stimuli(path, dialect)
    assert caught.value.where == str(path)
    assert caught.value.hint
    return caught.value


# --- one stimulus ------------------------------------------------------------------------------------------------


@given(STIMULI)
def test_a_stimulus_spelt_out_reads_back_as_itself(stimulus: Stimulus) -> None:
    assert parse_stimulus(str(stimulus)) == stimulus
    assert str(parse_stimulus(str(stimulus))) == str(stimulus)


def test_parts_are_what_the_grammar_names_with_their_units() -> None:
    assert parse_stimulus("Grating; A; -30; 10; 20; 45; 0.04; 2") == Stimulus(
        type="Grating",
        class_="A",
        azimuth=-30.0,
        elevation=10.0,
        size=20.0,
        orientation=45.0,
        spatial_frequency=0.04,
        temporal_frequency=2.0,
    )


@pytest.mark.parametrize(
    "spelt",
    [
        "Grating;A;0;10;20;45;0.04;2",
        "  Grating ;\tA; 0.0 ;1e1; +20;45.;.04;2.000 ",
        "Grating; A; -0; 10; 20; 45; 4e-2; 2;",
        "Grating; A; 0; 10; 20; 45; 0.04; 2; ; ",
    ],
)
def test_equal_stimuli_are_equal_however_they_are_spelt(spelt: str) -> None:
    assert parse_stimulus(spelt) == parse_stimulus(GRATING)
    assert hash(parse_stimulus(spelt)) == hash(parse_stimulus(GRATING))
    assert str(parse_stimulus(spelt)) == GRATING


@pytest.mark.parametrize("spelt", ["Blank", "Blank;", "Blank; NaN; nan;NAN", "Blank;;;;;;;", "Blank; ; ; ; ; ; ; NaN"])
def test_missing_parts_and_nan_are_none_and_equal(spelt: str) -> None:
    assert parse_stimulus(spelt) == Stimulus("Blank")
    assert str(parse_stimulus(spelt)) == "Blank; ; NaN; NaN; NaN; NaN; NaN; NaN"


@pytest.mark.parametrize(
    ("spelt", "why"),
    [
        ("", "no type"),
        (";A;0", "no type"),
        ("45;A;0", "no type"),
        ("NaN;A", "no type"),
        ("Gra\x1bting;A", "no type"),
        ("G" * 101, "no type"),
        ("Grating;A(b", "class that is no name"),
        ("Grating;A;north", "azimuth, but 'north'"),
        ("Grating;A;0;1_0", "elevation, but '1_0'"),
        ("Grating;A;0;0;0x10", "size, but '0x10'"),
        ("Grating;A;0;0;0;inf", "orientation, but 'inf'"),
        ("Grating;A;0;0;0;0;1e999", "spatial frequency, but '1e999'"),
        ("Grating;A;0;0;0;0;0,04", "spatial frequency, but '0,04'"),
        ("Grating;A;0;0;0;0;0;2 Hz", "temporal frequency, but '2 Hz'"),
        ("Grating;A;0;0;0;0;0;٣", "temporal frequency, but '٣'"),
        ("Grating;A;0;0;0;0;0;2;extra", "9 parts"),
    ],
)
def test_what_is_no_stimulus_is_refused_with_its_text(spelt: str, why: str) -> None:
    with pytest.raises(UnreadableFile) as caught:
        parse_stimulus(spelt)
    assert why in caught.value.what
    assert bonsai._shown(spelt) in caught.value.what
    assert "Azimuth" in (caught.value.hint or "")


@given(st.text(max_size=60))
@bounded
def test_any_text_is_a_stimulus_or_refused(text: str) -> None:
    try:
        stimulus = parse_stimulus(text)
    except UnreadableFile:
        return
    assert parse_stimulus(str(stimulus)) == stimulus


# --- round trips -------------------------------------------------------------------------------------------------

TIMES = st.lists(st.integers(1, 10**9), max_size=8, unique=True).map(
    lambda ticks: [tick / 1e6 for tick in sorted(ticks)]
)


def logs(dialect: str) -> st.SearchStrategy[StimulusLog]:
    shown = TIMES.flatmap(
        lambda times: st.tuples(*(st.builds(Shown, st.just(time), STIMULI.map(str)) for time in times))
    )
    return st.builds(
        StimulusLog,
        st.just(dialect),
        shown,
        st.just(()) if dialect in ("events", "ungated") else shown,
        st.just(()) if dialect != "master_trigger" else shown,
        st.datetimes(datetime(2000, 1, 2), datetime(2100, 1, 1)).flatmap(
            lambda at: st.integers(-720, 840).map(
                lambda minutes: at.replace(tzinfo=timezone(timedelta(minutes=minutes)))
            )
        ),
        st.sampled_from(("instant", "seconds", "none")),
    )


@pytest.mark.parametrize("dialect", DIALECTS)
@given(data=st.data())
@settings(bounded, max_examples=60)
def test_every_dialect_tells_what_was_written(tmp_path: Path, dialect: str, data: st.DataObject) -> None:
    truth = data.draw(logs(dialect).filter(lambda log: log.dialect != "ungated" or log.shown))
    path = tmp_path / "log.csv"
    write_stimuli(path, truth, newline=data.draw(st.sampled_from(("\r\n", "\n"))))
    found = read_stimuli(path)
    assert found.dialect == dialect
    assert [row.stimulus for row in found.rows] == [parse_stimulus(shown.stimulus) for shown in truth.shown]
    assert read_stimuli(path, dialect) == found or truth.clock == "none"
    if truth.clock == "none":
        assert all(math.isnan(row.time) for row in found.rows)
        return
    if dialect != "events" or truth.shown:
        assert found.clock == truth.clock
    start = 0.0
    if found.start is not None:
        start = (found.start - truth.start.astimezone(UTC).replace(tzinfo=None)).total_seconds()
    written = np.array([shown.time for shown in truth.shown])
    assert np.allclose([row.time + start for row in found.rows], written, rtol=0, atol=2e-6)
    lines = path.read_text("utf-8").splitlines()
    assert all(row.text.split(";")[0] in lines[row.line - 1] for row in found.rows)


def test_stimuli_outside_of_the_recording_do_not_count_but_are_told(tmp_path: Path) -> None:
    early, late = Shown(1.0, "Early; A"), Shown(9.0, "Late; A")
    truth = StimulusLog("master_trigger", (Shown(5.0, GRATING),), (early,), (late, late))
    write_stimuli(tmp_path / "log.csv", truth)
    found = read_stimuli(tmp_path / "log.csv")
    assert [row.stimulus.type for row in found.rows] == ["Grating"]
    assert any("3 stimuli" in warning for warning in found.warnings)


def test_a_recording_may_begin_twice(tmp_path: Path) -> None:
    text = "Message\nMaster_Trigger:ON\n((A,x))\nMaster_Trigger:OFF\n((B,x))\nMaster_Trigger:ON\n((C,x))\n"
    found = read_stimuli(says(tmp_path, text))
    assert [(row.line, row.stimulus.type) for row in found.rows] == [(3, "A"), (7, "C")]
    assert any("mark of the end" in warning for warning in found.warnings)


def test_harp_logs_may_hold_stimuli_in_parentheses(tmp_path: Path) -> None:
    text = "h\nStim((A, x, 1))\nHARP_acquiring:ON\nStim((A, x, 1)),((B, y))\n12,Screen on\n"
    found = read_stimuli(says(tmp_path, text))
    assert [row.text for row in found.rows] == ["A; x; 1", "B; y"]


def test_a_log_with_a_column_value_is_a_log_where_it_is_marked(tmp_path: Path) -> None:
    text = "Timestamp,Value\n1.5,Grating; A\n2.5,HARP_acquiring:ON\n3.5,Grating; B\n"
    found = read_stimuli(says(tmp_path, text))
    assert (found.dialect, [row.stimulus.class_ for row in found.rows]) == ("harp_acquiring", ["B"])
    assert (found.clock, found.rows[0].time) == ("seconds", 3.5)


def test_times_are_seconds_from_the_first_stamp_to_a_ten_millionth(tmp_path: Path) -> None:
    text = (
        "Timestamp,Value\n2026-03-29T01:59:59.1234567+01:00,Start\n"
        "2026-03-29T03:00:00.1234569+02:00,Grating; A\n2026-03-29T01:00:01Z,Grating; B\n"
    )
    found = read_stimuli(says(tmp_path, text))
    assert found.start == datetime(2026, 3, 29, 0, 59, 59, 123456)  # summer time began in between
    assert [row.time for row in found.rows] == pytest.approx([1.0000009, 1.876544], abs=1e-9)


def test_values_in_quotes_and_without_semicolon_are_understood(tmp_path: Path) -> None:
    text = 'Item,"Value",Seconds\n1,"Grating; ""A""",2\n'
    assert "class" in refusal(says(tmp_path, text)).what
    text = 'Item,"Value",Seconds\n1,"Grating; A",2\n2,"on, off",3\n3,Blank;,4\n'
    found = read_stimuli(says(tmp_path, text))
    assert [(row.line, row.time, row.text) for row in found.rows] == [(2, 2.0, "Grating; A"), (4, 4.0, "Blank;")]


def test_a_log_without_a_mark_is_read_with_a_warning(tmp_path: Path) -> None:
    found = read_stimuli(says(tmp_path, "Message\nStim((A, x))\n"))
    assert found.dialect == "ungated"
    assert "when recording began" in found.warnings[0]


def test_a_file_that_holds_no_stimulus_says_so(tmp_path: Path) -> None:
    for text in ("Value\n", "h\nMaster_Trigger:ON\n", "h\nHARP_acquiring:ON\n"):
        found = read_stimuli(says(tmp_path, text))
        assert found.rows == ()
        assert "The log holds no stimulus." in found.warnings


# --- encodings -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1252", "utf-16", "utf-16-le-bom", "utf-16-be-bom"])
@pytest.mark.parametrize("newline", ["\r\n", "\n"])
@pytest.mark.parametrize("dialect", DIALECTS)
def test_every_encoding_of_windows_reads_alike(tmp_path: Path, encoding: str, newline: str, dialect: str) -> None:
    shown = tuple(Shown(number / 2, f"Schräge Balken; ä{number % 3}; {number}") for number in range(40))
    truth = StimulusLog(dialect, shown)
    path = tmp_path / "log.csv"
    write_stimuli(path, truth, newline=newline)
    text = path.read_bytes().decode()
    if encoding.endswith("-bom"):
        path.write_bytes(("\ufeff" + text).encode(encoding.removesuffix("-bom")))
    else:
        path.write_bytes(text.encode(encoding))
    found = read_stimuli(path)
    assert [row.stimulus for row in found.rows] == [parse_stimulus(one.stimulus) for one in shown]
    assert found.rows[0].time == pytest.approx(0.0)


def test_a_log_longer_than_one_piece_keeps_its_line_numbers(tmp_path: Path) -> None:
    shown = tuple(Shown(float(number), f"Grating; A; {number % 360}") for number in range(30_000))
    write_stimuli(tmp_path / "log.csv", StimulusLog("events", shown))
    found = read_stimuli(tmp_path / "log.csv")
    assert (tmp_path / "log.csv").stat().st_size > 1 << 20
    assert [row.line for row in found.rows] == list(range(2, 30_002))
    assert [row.stimulus.azimuth for row in found.rows] == [number % 360 for number in range(30_000)]


# --- what is refused -------------------------------------------------------------------------------------------------


def test_a_missing_file_is_missing(tmp_path: Path) -> None:
    with pytest.raises(MissingFile):
        read_stimuli(tmp_path / "none.csv")


@pytest.mark.parametrize("text", [b"", b"\n\r\n \n", b"\xef\xbb\xbf", b"\xff\xfe"])
@pytest.mark.parametrize("name", ["log.csv", "log.txt"])
def test_an_empty_file_is_refused(tmp_path: Path, text: bytes, name: str) -> None:
    what = refusal(says(tmp_path, text, name)).what
    assert "empty" in what or "no end" in what  # of a table, a mark of its encoding alone is a line that breaks off


@pytest.mark.parametrize(
    "text",
    [
        "a,b,c\n1,2,3\n",
        "Timestamp;Value\n1;Grating\n",
        "Grating; A; 0\n",
        "Master_Trigger:OFF\nHARP_acquiring\n",
        "((\n",
    ],
)
def test_what_is_none_of_the_dialects_is_refused(tmp_path: Path, text: str) -> None:
    assert "no log of stimuli" in refusal(says(tmp_path, text)).what


def test_marks_of_two_kinds_need_a_word_from_the_caller(tmp_path: Path) -> None:
    path = says(tmp_path, "h\nHARP_acquiring:ON\n((A,x))\nMaster_Trigger:ON\n((B,x))\nMaster_Trigger:OFF\n")
    assert "two kinds" in refusal(path).what
    assert [row.stimulus.type for row in read_stimuli(path, "harp_acquiring").rows] == ["A", "B"]
    assert [row.stimulus.type for row in read_stimuli(path, "master_trigger").rows] == ["B"]


def test_a_log_of_another_kind_than_asked_for_is_refused(tmp_path: Path) -> None:
    path = says(tmp_path, "h\nHARP_acquiring:ON\n1,Grating; A\n")
    assert "master_trigger, but harp_acquiring" in refusal(path, "master_trigger").what
    with pytest.raises(InvalidRequest, match="harp_acquiring"):
        read_stimuli(path, "harp_aquiring")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "line", "what"),
    [
        ("Value\nGrating; A; east\n", 2, "'Grating; A; east'"),
        ("Value\n\n\nGrating; A\n;\n", 5, "';'"),
        ("h\nMaster_Trigger:ON\n((Grating, A, east))\n", 3, "'Grating; A; east'"),
        ("h\nMaster_Trigger:ON\n((5))\n", 3, "'5'"),
        ("h\nHARP_acquiring:ON\n1.5,Grating; A; east\n", 3, "'Grating; A; east'"),
        ("Frame,Value\n1,Grating; A\n2\n", 3, "1 columns"),
        ("Timestamp,Value\n2026-02-10T09:30:00,Grating; A\n", 2, "zone"),
        ("Timestamp,Value\n2026-13-10T09:30:00Z,Grating; A\n", 2, "calendar"),
        ("Timestamp,Value\n0001-01-01T00:00:00+14:00,Grating; A\n", 2, "calendar"),
        ("Timestamp,Value\n2026-02-10T09:30:00Z,Grating; A\n5.5,Grating; A\n", 3, "another kind"),
        ("Value\nGra\0ting; A\nB; C\n", 2, "zeros"),
    ],
)
def test_a_line_that_cannot_be_understood_is_named(tmp_path: Path, text: str, line: int, what: str) -> None:
    path = says(tmp_path, text, "log.txt" if "\0" not in text else "log.bin")
    error = refusal(path)
    assert f"Line {line}" in error.what
    assert what in error.what


@pytest.mark.parametrize("dialect", ["events", "harp_acquiring"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_a_stimulus_that_breaks_off_is_never_taken_for_another(tmp_path: Path, dialect: str, encoding: str) -> None:
    truth = StimulusLog(dialect, (Shown(1.0, GRATING), Shown(2.0, GRATING)))
    write_stimuli(tmp_path / "log.csv", truth, encoding=encoding)
    data = (tmp_path / "log.csv").read_bytes()
    for cut in range(1, len(data)):
        try:
            found = read_stimuli(says(tmp_path, data[:-cut], "cut.txt"))
        except UnreadableFile:
            continue
        assert {row.stimulus for row in found.rows} <= {parse_stimulus(GRATING)}


@pytest.mark.parametrize("behind", ["\n", "", "\nValue\n"])
def test_a_huge_line_is_refused_before_it_is_taken_apart(tmp_path: Path, behind: str) -> None:
    path = says(tmp_path, "Value\n" + "Grating; " * 400_000 + behind, "log.txt")
    assert "Line 2 has more than" in refusal(path).what


def test_a_file_larger_than_any_log_is_refused_unread(tmp_path: Path) -> None:
    path = says(tmp_path, "Value\n", "log.bin")
    with path.open("r+b") as file:
        file.truncate(bonsai._LARGEST + 1)
    assert "more than" in refusal(path).what


@pytest.mark.parametrize("piece", ["((", "(()", "((()", "((a)", '"', ";", ",", "((a),", "((a(b)"])
def test_lines_made_to_be_slow_are_not(tmp_path: Path, piece: str) -> None:
    line = piece * (bonsai._LONGEST_LINE // len(piece))
    for mark in ("Master_Trigger:ON", "HARP_acquiring:ON", "Value"):
        path = says(tmp_path, "\n".join([mark, line, ""]), "log.txt")
        try:
            assert read_stimuli(path).rows is not None
        except UnreadableFile as error:
            assert len(error.what) < 500


@pytest.mark.parametrize("dialect", DIALECTS)
@given(data=st.data())
@bounded
def test_mutated_bytes_give_stimuli_or_a_typed_error(tmp_path: Path, dialect: str, data: st.DataObject) -> None:
    path = tmp_path / "log.csv"
    shown = tuple(Shown(number / 3, GRATING) for number in range(5))
    write_stimuli(path, StimulusLog(dialect, shown, earlier(dialect)), encoding=data.draw(ENCODINGS))
    content = bytearray(path.read_bytes())
    for at in data.draw(st.lists(st.integers(0, len(content) - 1), min_size=1, max_size=8)):
        content[at] = data.draw(st.integers(0, 255) | st.sampled_from(b'\r\n",;()\0NaN'))
    path.write_bytes(content[: data.draw(st.integers(0, len(content)) | st.just(len(content)))])
    try:
        found = read_stimuli(path)
    except UnreadableFile as error:
        assert error.where == str(path)
        return
    assert all(parse_stimulus(str(row.stimulus)) == row.stimulus for row in found.rows)


ENCODINGS = st.sampled_from(("utf-8", "utf-8-sig", "utf-16"))


def earlier(dialect: str) -> tuple[Shown, ...]:
    """Stimuli before the recording, where a dialect has such."""
    return () if dialect == "events" else (Shown(0.0, "Blank; B"),)
