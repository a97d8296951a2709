"""The column type `<array@store>`: a row takes a reference that was written before, and gives it back unread."""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path

import datajoint as dj
import numpy as np
import pytest
from datajoint.codecs import get_codec, resolve_dtype

from adamacs.core import settings
from adamacs.core.errors import AdamacsError, CorruptArray, UnsafePath, UnstorableArray
from adamacs.core.settings import Settings
from adamacs.database.codecs import ArrayCodec
from adamacs.storage import arrays, stores
from adamacs.storage.arrays import ArrayReference
from adamacs.storage.stores import FileStore


@pytest.fixture
def reference(tmp_path: Path) -> Iterator[ArrayReference]:
    before = settings._active
    settings.use(Settings(home=tmp_path))
    yield arrays.write("derived", arrays.path_of("dff", {"roi": 1}, "dff"), np.arange(20.0).reshape(4, 5))
    settings.use(before)


@pytest.fixture
def codec() -> ArrayCodec:
    found = get_codec("array")
    assert isinstance(found, ArrayCodec)
    return found


def test_datajoint_finds_the_codec_by_its_entry_point() -> None:
    (entry,) = entry_points(group="datajoint.codecs", name="array")
    assert entry.load() is ArrayCodec


def test_a_column_is_json_in_the_database() -> None:
    dtype, chain, store = resolve_dtype("<array@derived>")
    assert (dtype, [codec.name for codec in chain], store) == ("json", ["array"], "derived")


def test_an_array_without_a_store_is_refused_at_declaration(codec: ArrayCodec) -> None:
    with pytest.raises(dj.DataJointError, match="<array@derived>"):
        codec.get_dtype(is_store=False)


def test_a_reference_is_recorded_as_it_is(codec: ArrayCodec, reference: ArrayReference) -> None:
    part = reference.row(2)
    stored = codec.encode(part, key={"roi": 1}, context={"schema": "s", "table": "dff"}, store_name="derived")
    assert json.loads(json.dumps(stored)) == part.to_json()


def test_encoding_touches_no_store(
    codec: ArrayCodec, reference: ArrayReference, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stores, "named", lambda name: pytest.fail("the insert went to the store"))
    decoded = codec.decode(codec.encode(reference, store_name="derived"))
    assert decoded.shape == (4, 5)


@pytest.mark.parametrize("as_text", [True, False], ids=["MariaDB gives text", "PostgreSQL gives a dict"])
def test_what_a_row_holds_becomes_a_reference(codec: ArrayCodec, reference: ArrayReference, as_text: bool) -> None:
    stored = codec.encode(reference.row(2), store_name="derived")
    decoded = codec.decode(json.dumps(stored) if as_text else stored, key={}, context=None)
    assert decoded == reference.row(2)
    assert np.array_equal(decoded[1:3], [11.0, 12.0])


def test_a_reference_is_decoded_unread(
    codec: ArrayCodec, reference: ArrayReference, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FileStore, "reading", lambda *args: pytest.fail("the fetch read the array"))
    assert codec.decode(reference.to_json()).shape == (4, 5)


@pytest.mark.parametrize("value", [np.zeros(3), [1, 2], "path", {"path": "x"}, None, 3.0], ids=str)
def test_an_array_that_was_not_written_is_refused_with_the_way_to_do_it(codec: ArrayCodec, value: object) -> None:
    for attempt in (codec.validate, codec.encode):
        with pytest.raises(UnstorableArray, match=r"arrays\.write"):
            attempt(value)


def test_a_refusal_is_what_datajoint_expects(codec: ArrayCodec) -> None:
    with pytest.raises(TypeError) as refused:  # its own validation of a batch catches this type
        codec.validate(np.zeros(3))
    assert isinstance(refused.value, AdamacsError)
    assert "type ndarray" in str(refused.value)


def test_an_array_in_another_store_is_refused(codec: ArrayCodec, reference: ArrayReference) -> None:
    with pytest.raises(UnstorableArray, match=r"rests in store 'derived'.*takes 'archive'"):
        codec.encode(reference, store_name="archive")


@pytest.mark.parametrize("stored", [None, "", "{", [], {}, {"path": "x"}, 3])
def test_a_row_that_holds_something_else_is_refused(codec: ArrayCodec, stored: object) -> None:
    with pytest.raises(CorruptArray, match="no reference"):
        codec.decode(stored)
    assert codec.referenced_paths(stored) == []


def test_a_row_cannot_lead_out_of_its_store(codec: ArrayCodec, reference: ArrayReference) -> None:
    with pytest.raises(UnsafePath):
        codec.decode(reference.to_json() | {"path": "../../etc/passwd"})


@pytest.mark.parametrize("as_text", [True, False])
def test_both_files_of_an_array_are_in_use(codec: ArrayCodec, reference: ArrayReference, as_text: bool) -> None:
    stored = reference.row(1).to_json()
    paths = codec.referenced_paths(json.dumps(stored) if as_text else stored)
    store = stores.named("derived")
    assert {path for path, _ in paths} == {found.path for found in store.listing()}
    assert {name for _, name in paths} == {"derived"}
