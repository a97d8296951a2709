"""The parts of the fuzzer that need no fuzzer: what it starts from, how it changes values, what its page says."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adamacs.core.errors import UnreadableFile
from tests.fuzz import report, run, seeds
from tests.fuzz.draw import Draw, changed
from tests.fuzz.outcome import OUTCOMES, Judge, Unsuited
from tests.fuzz.targets import READERS, TARGETS, with_sums

PROGRAMS = ("bpod_values", "wavesurfer_values", "suite2p")  # whose seeds are choices, and not files


@pytest.mark.parametrize("name", sorted(READERS))
def test_what_a_reader_starts_from_is_read_and_not_refused(tmp_path, name):
    inputs = [data for data in READERS[name].seeds() if name not in PROGRAMS or len(data) == 1]
    assert inputs
    for data in inputs:
        READERS[name].read(tmp_path, data)


TREE = {"a": np.arange(3.0), "b": {"c": [1, "x"]}, "d": [np.zeros((2, 2), "u1"), None], "e": np.array([[{}, 2]])}


@given(program=st.binary(max_size=60))
@settings(deadline=None)
def test_values_are_changed_the_same_way_each_time_and_the_original_never(program):
    before = repr(TREE)
    assert repr(changed(TREE, Draw(program))) == repr(changed(TREE, Draw(program)))
    assert repr(TREE) == before


def test_no_choice_is_no_change_and_few_are_enough_for_many():
    assert repr(changed(TREE, Draw(b""))) == repr(TREE)
    rng = np.random.default_rng(1)
    assert len({repr(changed(TREE, Draw(rng.bytes(20)))) for _ in range(100)}) > 90


@given(data=st.data())
@settings(deadline=None)
def test_checksums_are_put_right_and_right_ones_left(data):
    dump = data.draw(st.sampled_from(list(seeds.registers())))[1:]
    assert with_sums(dump) == dump
    spoilt = bytearray(dump)
    spoilt[-1] ^= data.draw(st.integers(1, 255))
    assert with_sums(bytes(spoilt)) == dump


def _refuse_without_a_file(folder: Path, data: bytes) -> None:
    raise UnreadableFile("It is damaged.")


def _refuse_at_length(folder: Path, data: bytes) -> None:
    raise UnreadableFile("x" * 5000, folder / "file")


def _refuse(folder: Path, data: bytes) -> None:
    raise UnreadableFile("It is damaged.", folder / "file", "Copy it again.")


def _give_up(folder: Path, data: bytes) -> None:
    raise Unsuited


@pytest.mark.parametrize(
    ("read", "outcome"),
    [
        (_refuse, "refused"),
        (_give_up, "unsuited"),
        (_refuse_without_a_file, "wrong"),
        (_refuse_at_length, "wrong"),
        (lambda folder, data: data, "read"),
        (lambda folder, data: [][len(data)], "wrong"),
    ],
)
def test_a_refusal_names_a_file_in_a_few_words_and_all_else_is_wrong(tmp_path, read, outcome):
    judge = Judge(read, "any", 7, tmp_path / "findings", memory=1 << 30)
    assert [judge(tmp_path / "in", data) for data in (b"one", b"two")] == [outcome, outcome]
    assert judge.figures[OUTCOMES.index(outcome)] == 2
    written = sorted((tmp_path / "findings").glob("*")) if outcome == "wrong" else []
    assert len(written) == (2 if outcome == "wrong" else 0)  # the input and its text, once
    assert [path.read_bytes() for path in written[:1]] == [b"one"] * (outcome == "wrong")


def test_the_page_holds_the_figures_of_every_recorded_run():
    assert report.page(report.PAGE.read_text(), report.RECORDS.read_text()) == report.PAGE.read_text()


def test_the_last_recorded_run_was_of_every_reader_and_found_nothing_wrong():
    lines = [json.loads(line) for line in report.RECORDS.read_text().splitlines()]
    assert {reader["reader"] for reader in lines[-1]["readers"]} == set(READERS)
    assert [reader["findings"] for reader in lines[-1]["readers"]] == [[]] * len(READERS)


def test_an_unknown_reader_is_refused_and_known_ones_are_not(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["run", "--readers=bonsai,nobody"])
    with pytest.raises(SystemExit):
        run.main()
    assert "no readers: nobody" in capsys.readouterr().err
    assert set(READERS) < set(TARGETS)
