"""A short run of the fuzzer over all readers, and proof that it finds what is planted; `make fuzz` runs a long one."""

from __future__ import annotations

import importlib.util
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import REQUIRE
from tests.fuzz import run

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
SEED = 3
# Read nothing themselves: what a plan calls, and what counts of a header promise.
NO_READERS = ("imaging/reader/folder.py", "imaging/reader/promises.py")

Fuzz = Callable[..., tuple[int, list[str]]]


@pytest.fixture(scope="module", autouse=True)
def atheris() -> None:
    """Atheris, which has wheels for Linux on x86-64 alone."""
    if importlib.util.find_spec("atheris") is None:
        message = 'NO FUZZING: Atheris is not installed: pip install ".[fuzz]"'
        (pytest.fail if "fuzz" in os.environ.get(REQUIRE, "") else pytest.skip)(message)


@pytest.fixture
def fuzz(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Fuzz:
    """The command; returns its exit status, and the lines that it printed."""

    def command(*words: str) -> tuple[int, list[str]]:
        monkeypatch.setattr("sys.argv", ["run", f"--seed={SEED}", f"--findings={tmp_path}", *words])
        return run.main(), capsys.readouterr().out.splitlines()

    return command


def told(lines: list[str], kind: str) -> dict[str, dict]:
    """What is told of each reader, or of each module."""
    return {line[kind]: line for line in map(json.loads, lines) if kind in line}


def test_no_reader_is_brought_to_anything_but_a_result_or_a_typed_error(fuzz):
    status, lines = fuzz("--readers=all", "--runs=500", "--seconds=120")
    reader, modules = told(lines, "reader")["all"], told(lines, "module")
    assert (status, reader["findings"]) == (0, [])
    assert reader["inputs"] >= 500
    assert reader["read"] > 150
    written = {path.relative_to(ROOT).as_posix() for path in ROOT.glob("adamacs/modalities/*/reader/*.py")}
    fed = {path for path in written if not path.endswith(("__init__.py", *NO_READERS))}
    assert fed <= set(modules)  # no reader is forgotten
    assert [path for path in fed if modules[path]["lines"][0] < 0.7 * modules[path]["lines"][1]] == []


def test_what_is_planted_is_found_and_written_down_with_its_seed_and_how_to_read_it_again(fuzz):
    status, lines = fuzz("--readers=planted", "--runs=50000", "--seconds=120", "--memory=100", "--timeout=5")
    found = [Path(path) for path in told(lines, "reader")["planted"]["findings"]]
    assert status == 1
    kinds = ["planted-BrokenPromise", "planted-KeyError", "planted-timeout"]
    assert [path.name.rpartition("-")[0] for path in found] == kinds
    assert [path.read_bytes()[:3] for path in found] == [b"mno", b"fuz", b"fuz"]
    texts = [path.with_name(f"{path.name}.txt").read_text() for path in found]
    for path, text, what in zip(
        found, texts, ("One input took 1", "KeyError: 'planted'", "timeout after"), strict=True
    ):
        assert what in text
        assert f"Found with seed {SEED}. Again: make fuzz READERS=planted INPUT={path}" in text
    status, lines = fuzz("--readers=planted", f"--input={found[1]}")
    assert (status, "KeyError: 'planted'" in lines) == (1, True)
