"""Our table of Suite2p's parameters is that of the Suite2p that is installed."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from adamacs.modalities.imaging import parameters
from adamacs.modalities.imaging.parameters import SUITE2P_1_1_0, SUITE2P_VERSION, Parameter

pytestmark = [pytest.mark.slow, pytest.mark.only_on("postgresql")]  # once: no database is asked

TOOL = ("suite2p", SUITE2P_VERSION)

# Asks an interpreter of its own, so that this one imports neither Suite2p nor torch.
ASK_SUITE2P = """
import json, sys
from adamacs.modalities.imaging.engine import tool
suite2p = tool.load_suite2p("1.1.0", "cpu", 1)
from suite2p import parameters
def plain(table):
    return {
        name: plain(entry) if "description" not in entry else
        {"kind": entry["type"].__name__, "default": entry["default"], "low": entry["min"], "high": entry["max"]}
        for name, entry in table.items()
    }
settings = suite2p.default_settings()
assert settings.pop("version") == "1.1.0"
print(json.dumps({"settings": settings, "table": plain(parameters.SETTINGS)}))
"""


@pytest.fixture(scope="module")
def suite2p():
    """What the installed Suite2p says of itself."""
    from importlib import metadata

    try:
        installed = metadata.version("suite2p")
    except metadata.PackageNotFoundError:
        installed = "no"
    if installed != SUITE2P_VERSION:
        if "suite2p" in os.environ.get("ADAMACS_TEST_REQUIRE", ""):
            pytest.fail(f"ADAMACS_TEST_REQUIRE asks for suite2p {SUITE2P_VERSION}, and {installed} is installed.")
        pytest.skip(
            f"SUITE2P {SUITE2P_VERSION} IS NOT INSTALLED: our table of its parameters was not compared with it."
        )
    answer = subprocess.run([sys.executable, "-c", ASK_SUITE2P], capture_output=True, text=True, check=True)
    return json.loads(answer.stdout)


def test_defaults_are_those_of_the_installed_tool(suite2p):
    assert parameters.defaults(*TOOL) == suite2p["settings"]


def test_names_types_and_limits_are_those_of_the_installed_tool(suite2p):
    ours = dict(_parameters(SUITE2P_1_1_0))
    theirs = dict(flat(suite2p["table"]))
    assert ours.keys() == theirs.keys()
    kinds = {
        "pair of int": {"tuple", "list"},
        "pair of float": {"list"},
        "table": {"dict"},
    }
    for name, entry in theirs.items():
        low = None if entry["low"] in (None, float("-inf")) else entry["low"]
        high = None if entry["high"] in (None, float("inf")) else entry["high"]
        assert entry["kind"] in kinds.get(ours[name].kind, {ours[name].kind}), name
        if ours[name].kind != "pair of int":  # of these the tool states no limits; a length is at least 1
            assert (ours[name].low, ours[name].high) == (low, high), name


def flat(table, prefix=""):
    for name, entry in table.items():
        if isinstance(entry, dict) and "kind" not in entry:
            yield from flat(entry, f"{prefix}{name}.")
        else:
            yield prefix + name, entry


def _parameters(table, prefix=""):
    for name, entry in table.items():
        if isinstance(entry, Parameter):
            yield prefix + name, entry
        else:
            yield from _parameters(entry, f"{prefix}{name}.")
