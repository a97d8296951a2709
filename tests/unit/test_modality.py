"""What a modality declares fits together, and says how its tools are installed."""

from __future__ import annotations

from importlib import import_module

import pytest

from adamacs import pipeline
from adamacs.core import streams
from adamacs.core.clocks import alignment
from adamacs.core.modality import Modality, named
from adamacs.core.setup_wiring import PARSERS, SOURCES
from adamacs.modalities.behavior.importers import bonsai, bpod
from adamacs.modalities.behavior.modality import MODALITY as BEHAVIOR
from adamacs.modalities.behavior.reader import bpod_events


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
    for place in (modality.look, modality.plan, *modality.readers.values(), *modality.whole.values()):
        assert not place or callable(named(place))


def test_the_parsers_that_a_setup_type_may_name_are_those_that_behaviour_imports():
    assert set(BEHAVIOR.importers) == set(PARSERS)
    assert set(BEHAVIOR.trial_importers) == {name for name in PARSERS if SOURCES.get(name) in ("bpod", "bonsai")}
    others = [modality for modality in pipeline.modalities() if modality is not BEHAVIOR]
    assert not any({**modality.importers, **modality.trial_importers} for modality in others)
    for place in (*BEHAVIOR.importers.values(), *BEHAVIOR.trial_importers.values()):
        assert callable(named(place)), place


def test_parsers_and_events_that_the_spine_names_are_those_of_behaviour():
    assert set(PARSERS) - set(SOURCES) == {"camera"}
    assert {*SOURCES, streams._AUX, *streams.STAMPING} <= set(BEHAVIOR.importers)
    assert set(streams.COUNTED) == {bpod.TRIAL_START, bonsai.STIMULUS}
    assert (alignment.TRIALS, alignment.RAW) == (bpod.TRIAL_START, bpod_events.RAW)


def test_a_name_becomes_a_function():
    assert named("os.path:basename")("a/b") == "b"
