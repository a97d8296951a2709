"""Motive's table of a take: frames and times as they were written, whatever the columns; a fault names its row."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from adamacs.core.errors import AdamacsError, MissingFile, UnreadableFile
from adamacs.demo.motive import Take, write_take
from adamacs.modalities.behavior.reader.motive import read_head, read_take

bounded = settings(
    max_examples=100,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    derandomize=True,
)
RATE = "Capture Frame Rate,240.000000,Export Frame Rate,240.000000"


@st.composite
def takes(draw: st.DrawFn) -> Take:
    frames = draw(st.integers(1, 60))
    first = draw(st.integers(0, frames - 1))
    last = draw(st.none() | st.integers(first, frames - 1))
    inside = range(first + 1, (frames - 1 if last is None else last))
    lost = draw(st.lists(st.sampled_from(inside), unique=True, max_size=5)) if inside else []
    names = draw(st.lists(st.sampled_from(("A:Marker 001", "Unlabeled 1189", "Head")), max_size=3))
    return Take(
        frames,
        draw(st.sampled_from((120.0, 240.0, 90.5))),
        tuple(lost),
        first,
        last,
        draw(st.sampled_from(("1.24", "1.25"))),
        tuple(names),
        draw(st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1))).replace(microsecond=123_000),
        draw(st.booleans()),
    )


@bounded
@given(take=takes(), end=st.sampled_from(("\r\n", "\n")))
def test_every_frame_that_was_exported_is_read_back_with_its_time(tmp_path: Path, take: Take, end: str) -> None:
    found = read_take(write_take(tmp_path / "take.csv", take, end=end))
    assert found.frame.tolist() == take.exported.tolist()
    np.testing.assert_allclose(found.time, take.exported / take.rate, atol=1e-6)
    head = found.head
    assert head == read_head(tmp_path / "take.csv")
    assert (head.taken, head.frame_rate, head.start) == (take.frames, take.rate, take.start)
    assert head.exported == len(take.exported) + len(take.lost)
    assert [("exported frames, and" in text) for text in found.warnings if "Its head" in text] == [True] * bool(
        take.lost
    )
    assert any("frames of the take" in text for text in found.warnings) == (head.exported < take.frames)


def written(folder: Path, take: Take | None = None) -> tuple[Path, str]:
    path = write_take(folder / "take.csv", take or Take(20), end="\n")
    return path, path.read_text()


def test_a_whole_table_of_a_whole_take_gives_no_cause_to_remark(tmp_path: Path) -> None:
    assert read_take(written(tmp_path)[0]).warnings == ()


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("Format Version", "Version", "Row 1 begins with 'Version'"),
        ("Format Version,1.25", '"Format Version,1.25', "Row 1 is no list of keys and values"),
        ("Frame,Time (Seconds)", "Time (Seconds),Frame", "No line of the head names the columns"),
        ("Total Frames in Take,20", "Total Frames in Take,many", "Total Frames in Take is 'many'"),
        (RATE, RATE.replace("240.000000", "0.0", 1), "Capture Frame Rate is '0.0', and no rate"),
        ("\n7,0.029167,", "\nx,0.029167,", "Row 16 begins with 'x,0.029167,"),
        ("\n7,0.029167,", "\n7,,", "Row 16 begins with '7,,"),
        ("\n7,0.029167,", "\n6,0.029167,", "Row 16 tells frame 6 at 0.029167 s, which does not follow"),
        ("\n7,0.029167,", "\n7,0.025000,", "Row 16 tells frame 7 at 0.025 s, which does not follow"),
        ("\n7,", "\n\0,", "A zero stands in the text"),
    ],
)
def test_a_damaged_table_is_refused_and_its_place_named(tmp_path: Path, old: str, new: str, said: str) -> None:
    path, text = written(tmp_path)
    assert text.count(old) == 1
    path.write_text(text.replace(old, new))
    with pytest.raises(UnreadableFile) as caught:
        read_take(path)
    assert said in str(caught.value)
    assert str(path) in str(caught.value)
    assert caught.value.hint


@pytest.mark.parametrize("content", ["", "Format Version,1.25", "\n\n", "Frame,Time (Seconds)\n0,0.0\n"])
def test_what_is_no_table_of_motive_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "take.csv"
    path.write_text(content)
    for read in (read_head, read_take):
        with pytest.raises(UnreadableFile, match=r"take\.csv"):
            read(path)


def test_a_table_without_a_row_is_an_error_and_its_head_is_none(tmp_path: Path) -> None:
    path, text = written(tmp_path)
    path.write_text(text[: text.index("\n0,0.0") + 1])
    assert read_head(path).taken == 20
    with pytest.raises(UnreadableFile, match="holds no frame"):
        read_take(path)


def test_no_table_at_all_is_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(MissingFile):
        read_take(tmp_path / "take.csv")


def test_a_table_that_was_cut_holds_less_than_its_head_says(tmp_path: Path) -> None:
    path, text = written(tmp_path, Take(50))
    path.write_text(text[: text.index("\n40,") + 9])
    found = read_take(path)
    assert len(found.frame) == 40
    assert [text for text in found.warnings if "exported frames, and 40 are here" in text]
    assert [text for text in found.warnings if "has no end" in text]


def test_an_export_at_another_rate_and_a_time_that_none_writes_are_remarked(tmp_path: Path) -> None:
    path, text = written(tmp_path)
    text = text.replace("Export Frame Rate,240", "Export Frame Rate,120").replace("09.30.00.000 AM", "half past nine")
    path.write_text(text)
    head = read_head(path)
    assert (head.start, head.frame_rate) == (None, 120.0), "its rows come so often"
    assert "captured at 240 Hz and exported at 120 Hz" in " ".join(head.warnings)
    assert "no time that Motive writes" in " ".join(head.warnings)


def test_the_time_of_a_computer_that_counts_to_24_is_read(tmp_path: Path) -> None:
    path, text = written(tmp_path)
    path.write_text(text.replace("09.30.00.000 AM,Capture Start Frame", "21.30.00.250,Capture Start Frame"))
    assert read_head(path).start == datetime(2026, 2, 10, 21, 30, 0, 250_000)


def test_a_head_that_tells_nothing_is_no_error(tmp_path: Path) -> None:
    path, text = written(tmp_path)
    path.write_text("Format Version,1.25" + text[text.index("\n") :])
    found = read_take(path)
    head = found.head
    assert (head.taken, head.exported, head.frame_rate, head.start) == (None, None, None, None)
    assert len(found.frame) == 20
    assert found.warnings == ()


@bounded
@given(junk=st.binary(max_size=300), at=st.integers(0, 900))
def test_any_bytes_are_read_or_refused(tmp_path: Path, junk: bytes, at: int) -> None:
    path = write_take(tmp_path / "take.csv", replace(Take(8), markers=("A",)))
    path.write_bytes(path.read_bytes()[:at] + junk)
    try:
        read_take(path)
    except AdamacsError as error:
        assert str(path) in str(error)


def test_a_long_table_takes_little_memory(tmp_path: Path) -> None:
    import tracemalloc

    path = tmp_path / "take.csv"
    head = written(tmp_path)[1].partition("\n0,")[0]
    cells = ",0.123456" * 120
    path.write_text(head + "\n" + "".join(f"{frame},{frame / 240:.6f}{cells}\n" for frame in range(20_000)))
    assert path.stat().st_size > 20e6
    tracemalloc.start()
    found = read_take(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(found.frame) == 20_000
    assert peak < 8e6
