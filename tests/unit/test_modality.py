"""What a modality declares fits together, and says how its tools are installed."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path

import pytest

from adamacs import pipeline
from adamacs.core import setups, toml
from adamacs.core.modality import Modality, named
from adamacs.modalities.behavior.importers import bonsai, bpod
from adamacs.modalities.behavior.modality import MODALITY as BEHAVIOR


@pytest.mark.parametrize("modality", pipeline.modalities(), ids=lambda modality: modality.name)
def test_needs_and_roles_name_tables_that_exist(modality):
    tables = import_module(modality.tables)
    filled = [name for names in modality.fills.values() for name in names]
    assert all(hasattr(tables, name) for name in filled)
    assert set(modality.needs) <= set(filled)


def test_a_tool_is_installed_with_the_extra_that_holds_it():
    modality = Modality("x", "x", tools={"suite2p": "imaging", "tifffile": ""})
    assert modality.install_command("suite2p") == "pip install 'adamacs[imaging]'"
    assert modality.install_command("tifffile") == "pip install 'adamacs'"


def test_a_tool_is_imported_as_its_modality_says():
    modality = Modality("x", "x", tools={"a": "", "b": ""}, imports={"b": "os.path:basename"})
    assert modality.import_code("a") == "import a"
    assert modality.import_code("b") == "from os.path import basename; basename()"


@pytest.mark.parametrize("modality", pipeline.modalities(), ids=lambda modality: modality.name)
def test_what_imports_a_tool_exists(modality):
    assert set(modality.imports) <= set(modality.tools)
    for place in modality.imports.values():
        module, _, function = place.partition(":")
        assert callable(getattr(import_module(module), function))


@pytest.mark.parametrize("modality", pipeline.modalities(), ids=lambda modality: modality.name)
def test_what_a_modality_names_exists(modality):
    for place in (modality.look, modality.plan, modality.made, *modality.readers.values(), *modality.whole.values()):
        assert not place or callable(named(place))


@pytest.mark.parametrize("modality", pipeline.modalities(), ids=lambda modality: modality.name)
def test_what_a_reader_of_a_modality_names_exists(modality):
    expected, setup = toml.keys_of(setups.Expected), toml.keys_of(setups.SetupType)
    for name, parser in modality.parsers.items():
        assert parser.reads and parser.zero, name
        for place in filter(None, (parser.look, parser.events, parser.glance, parser.trials)):
            assert callable(named(place)), place
        assert set(parser.keys) <= set(expected), name
        assert not parser.table or parser.table in setup, name


def test_no_two_modalities_declare_a_reader_of_one_name_or_one_ending():
    parsers = [item for modality in pipeline.modalities() for item in modality.parsers.items()]
    assert len({name for name, _ in parsers}) == len(parsers)
    endings = [ending for _, parser in parsers for ending in parser.endings]
    assert len(set(endings)) == len(endings) > 0


def test_the_events_that_behaviour_counts_are_those_that_its_importers_write():
    counted = {kind for parser in BEHAVIOR.parsers.values() for kind in parser.counts}
    assert counted == {bpod.TRIAL_START, bonsai.STIMULUS}
    logs = {name for name, parser in BEHAVIOR.parsers.items() if bonsai.STIMULUS in parser.counts}
    assert logs == set(bonsai.DIALECTS)


def test_the_spine_knows_no_reader():
    """Its layers name none of them: a modality that brings others along finds nothing to edit there."""
    root = Path(pipeline.__file__).parent
    below = (
        file
        for layer in ("core", "schemas", "ingest", "workers", "database", "storage")
        for file in (root / layer).rglob("*.py")
    )
    names = "|".join(BEHAVIOR.parsers)
    named_there = {
        file.name: found for file in below if (found := re.findall(rf"[\"'](?:{names})[\"']", file.read_text("utf-8")))
    }
    assert named_there == {}


def test_a_name_becomes_a_function():
    assert named("os.path:basename")("a/b") == "b"
