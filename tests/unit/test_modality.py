"""What a modality declares fits together, and says how its tools are installed."""

from __future__ import annotations

from importlib import import_module

import pytest

from adamacs import pipeline
from adamacs.core.modality import Modality, named


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


def test_a_name_becomes_a_function():
    assert named("os.path:basename")("a/b") == "b"
