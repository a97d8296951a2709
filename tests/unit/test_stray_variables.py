"""DJ_* variables of another project neither end a command in a traceback nor change what it does."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

STRAY = {"DJ_PORT": "no number", "DJ_BACKEND": "sqlite", "DJ_STORES": "no JSON", "DJ_IGNORE_CONFIG_FILE": "no truth"}


def child(folder, *command, **variables):
    environment = {**os.environ, **variables}
    return subprocess.run(
        [sys.executable, *command], env=environment, cwd=folder, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("level", ["debug", "no level"])
def test_the_tables_can_be_imported_whatever_the_log_level_of_datajoint_is(tmp_path, level):
    answer = child(tmp_path, "-c", "from adamacs.pipeline import imaging; imaging.Fluorescence", DJ_LOG_LEVEL=level)
    assert (answer.returncode, answer.stdout, answer.stderr) == (0, "", "")


def test_a_verb_does_not_hear_of_variables_of_datajoint(tmp_path):
    variables = {**STRAY, **{name.lower(): value for name, value in STRAY.items()}, "DJ_LOG_LEVEL": "debug"}
    answer = child(tmp_path, "-m", "adamacs", "schema", "diagram", "tables.mmd", **variables)
    assert (answer.returncode, answer.stdout, answer.stderr) == (0, "tables.mmd\n", "")
