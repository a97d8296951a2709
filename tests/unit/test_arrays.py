"""Arrays at rest: what is written comes back, what is damaged is refused, and a reference costs nothing to hold."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

import blosc2
import numpy as np
import pandas as pd
import pytest
from blake3 import blake3
from deepdiff import DeepHash
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from adamacs.core import settings
from adamacs.core.errors import CorruptArray, StoreUnavailable, UnsafePath, UnstorableArray
from adamacs.core.settings import Settings, Workers
from adamacs.storage import arrays, frames, stores
from adamacs.storage.arrays import ArrayReference
from adamacs.storage.stores import FileStore, Reader

MASK = np.dtype([("x", "<i4"), ("y", "<i4"), ("weight", "<f4")])
PATH = "fluorescence/session_id=sess9FY6AIRM/scan_id=scan9FY6AIRM/fluorescence-0123.b2nd"
KINDS = [
    np.float32(2.5),
    np.zeros((0, 7), np.float32),
    np.zeros((7, 0), np.float64),
    np.arange(12).reshape(3, 4) > 5,
    np.array([1 + 2j, np.nan], np.complex64),
    np.arange(5, dtype=">u2"),
    np.array([(1, 2, 0.5), (3, 4, np.nan)], MASK),
    np.array([(1, 2.0)], np.dtype([("a", "u1"), ("b", "<f8")], align=True)),
    np.array(["a", "bcd"]),
    np.array([b"a", b"bcd"]),
    np.array(["2026-02-10T12:00:00", "NaT"], "M8[ms]"),
    np.array([1, -1], "m8[s]"),
    np.zeros((300, 1000)),
    np.full((300, 1000), -0.0),
    np.full((300, 1000), np.nan),
    np.ones((3, 5, 7, 2), np.int8),
    np.random.default_rng(0).integers(-9, 9, (3, 5, 40_001), np.int16),
    np.random.default_rng(0).normal(size=(5, 140_001)),
    np.random.default_rng(0).normal(size=70_000).astype(np.float16),
]


@pytest.fixture(scope="module", autouse=True)
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FileStore]:
    """The store `derived` of a lab home that this module has for itself."""
    before = settings._active
    settings.use(Settings(home=tmp_path_factory.mktemp("home")))
    found = stores.named("derived")
    assert isinstance(found, FileStore)
    yield found
    settings.use(before)


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks of some bytes, so that small arrays have many."""
    monkeypatch.setattr(frames, "_CHUNK", 64)
    monkeypatch.setattr(frames, "_LONGEST", 96)
    monkeypatch.setattr(FileStore, "span", 400)


@pytest.fixture
def fetched(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """What is read from the store, as (path, bytes)."""
    seen: list[tuple[str, int]] = []
    reading = FileStore.reading

    @contextmanager
    def spying(self: FileStore, path: str) -> Iterator[Reader]:
        def read(start: int, stop: int | None) -> bytes:
            data = file.read(start, stop)
            seen.append((path, len(data)))
            return data

        with reading(self, path) as file:
            yield Reader(read, file.size)

    monkeypatch.setattr(FileStore, "reading", spying)
    return seen


def written(array: object) -> ArrayReference:
    return arrays.write("derived", arrays.path_of("table", {"key": 1}, "values"), array)


def place(reference: ArrayReference) -> Path:
    return Path(stores.named("derived").locate(reference.path))


def same(a: object, b: object) -> bool:
    """Compare bit by bit, so that NaN is NaN and -0.0 is not 0.0."""
    a, b = np.asarray(a), np.asarray(b)
    return a.shape == b.shape and a.dtype == b.dtype and a.tobytes() == b.tobytes()


@pytest.mark.parametrize("array", KINDS, ids=lambda a: f"{np.asarray(a).dtype.char}{np.shape(a)}")
def test_every_kind_of_array_comes_back_bit_by_bit(array: np.ndarray) -> None:
    reference = written(array)
    expected = np.asarray(array).astype(frames.storable_dtype(np.asarray(array).dtype))
    assert same(reference, expected)
    assert (reference.shape, reference.dtype, reference.ndim) == (expected.shape, expected.dtype, expected.ndim)
    assert (reference.size, reference.nbytes) == (expected.size, expected.nbytes)
    arrays.verify(reference)


@pytest.mark.parametrize("array", KINDS, ids=lambda a: f"{np.asarray(a).dtype.char}{np.shape(a)}")
def test_plain_blosc2_opens_the_file(array: np.ndarray) -> None:
    opened = blosc2.open(str(place(written(array))), mode="r")
    array = np.asarray(array)
    assert opened.shape == array.shape
    assert same(np.asarray(opened[()]).reshape(array.shape), array.astype(frames.storable_dtype(array.dtype)))


def test_blosc2_takes_single_slices_from_the_file() -> None:
    values = np.random.default_rng(0).normal(size=(50, 70_000)).astype(np.float32)
    opened = blosc2.open(str(place(written(values))), mode="r")
    assert np.array_equal(opened[17, 100:200], values[17, 100:200])
    assert opened.schunk.cparams.codec == blosc2.Codec.ZSTD


@given(data=st.data())
@hypothesis_settings(max_examples=100, deadline=None)
def test_indexing_is_as_numpy_does_it(data: st.DataObject) -> None:
    shape = data.draw(hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=9))
    dtype = data.draw(st.sampled_from(["f4", "i2", "u1", "c16", MASK]))
    values = np.frombuffer(bytes(range(256)) * 1024, np.uint8)
    values = values[: math.prod(shape) * np.dtype(dtype).itemsize].view(dtype).reshape(shape)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(frames, "_CHUNK", data.draw(st.sampled_from([16, 64, 1 << 18])))
        patch.setattr(frames, "_LONGEST", 96)
        patch.setattr(FileStore, "span", data.draw(st.sampled_from([64, 400, 1 << 22])))
        reference = written(values)
        assert same(reference, values)
        for _ in range(3):
            index = data.draw(hnp.basic_indices(shape, allow_ellipsis=True))
            got, expected = reference[index], values[index]
            assert same(got, expected)
            assert isinstance(got, np.ndarray) == isinstance(expected, np.ndarray)


@pytest.mark.parametrize("index", [[0, 1], np.array([True, False]), None, True, 1.0, (slice(None), [0])])
def test_what_numpy_would_gather_is_refused_with_a_way_out(index: object) -> None:
    with pytest.raises(TypeError, match=r"np\.asarray"):
        written(np.zeros((2, 2)))[index]


@pytest.mark.parametrize("index", [5, -6, (0, 3), (0, 0, 0), (..., ...), (slice(None), slice(None), 0)])
def test_an_index_out_of_range_is_refused(index: object) -> None:
    with pytest.raises(IndexError):
        written(np.zeros((5, 3)))[index]


def test_a_slice_reads_its_chunks_alone(fetched: list[tuple[str, int]]) -> None:
    values = np.random.default_rng(0).normal(size=(4, 1_000_000)).astype(np.float32)
    reference = written(values)
    reference.row(0)[0]  # the sums are read once
    fetched.clear()
    assert np.array_equal(reference.row(2)[100:200], values[2, 100:200])
    assert len(fetched) == 1
    assert fetched[0][1] < frames._CHUNK
    fetched.clear()
    assert reference[:, 5:5].shape == (4, 0)
    assert not fetched


def test_the_whole_array_is_read_with_few_requests(fetched: list[tuple[str, int]]) -> None:
    values = np.random.default_rng(0).integers(0, 255, (40, 500_000), np.uint8)
    reference = written(values)
    assert same(reference, values)
    requests = [length for path, length in fetched if path == reference.path]
    assert max(requests) <= FileStore.span
    assert len(requests) < 60
    assert sum(requests) == place(reference).stat().st_size  # every byte, each once


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_the_bytes_do_not_depend_on_the_number_of_threads(threads: int, store: FileStore) -> None:
    values = np.random.default_rng(0).normal(size=(30, 20_000))
    alone = written(values)
    settings.use(dataclasses.replace(settings.active(), workers=Workers(threads=threads)))
    try:
        reference = written(values)
        assert reference.digest == alone.digest
        assert place(reference).read_bytes() == place(alone).read_bytes()
        assert same(reference, values)
    finally:
        settings.use(dataclasses.replace(settings.active(), workers=Workers()))


def test_strided_views_and_mapped_files_are_written_as_they_look(tmp_path: Path) -> None:
    values = np.arange(60_000, dtype=np.int32).reshape(3, 200, 100)
    assert same(written(values.T), np.ascontiguousarray(values.T))
    assert same(written(values[:, ::-3, 5:50]), np.ascontiguousarray(values[:, ::-3, 5:50]))
    assert same(written(np.broadcast_to(values[0, 0], (30, 100))), np.tile(values[0, 0], (30, 1)))
    np.save(tmp_path / "values.npy", values)
    assert same(written(np.load(tmp_path / "values.npy", mmap_mode="r")), values)
    assert same(written([[1.0, 2.0], [3.0, 4.0]]), np.array([[1.0, 2.0], [3.0, 4.0]]))


@pytest.mark.parametrize(
    "array",
    [
        np.array([1, None]),
        np.array([(1, [])], [("a", "i4"), ("b", "O")]),
        np.zeros(2, [("a", "f4", (3,))]),
        np.zeros(2, [("a", [("b", "f4")])]),
        np.zeros(2, np.longdouble),
        np.zeros(2, "V8"),
        {"a": 1},
        [[1, 2], [3]],
    ],
    ids=str,
)
def test_what_is_no_plain_array_is_refused_and_leaves_nothing(array: object, store: FileStore) -> None:
    with pytest.raises(UnstorableArray):
        arrays.write("derived", "refused/values.b2nd", array)
    assert not list(store.listing("refused"))
    assert not list(store.listing("refused", partial=True))


def test_a_path_is_used_once(store: FileStore) -> None:
    reference = written(np.arange(3))
    with pytest.raises(StoreUnavailable, match="never overwritten"):
        arrays.write(store, reference.path, np.arange(4))
    assert same(reference, np.arange(3))


def test_what_is_removed_is_gone_with_its_sums(store: FileStore) -> None:
    reference = arrays.write("derived", "removed/values.b2nd", np.arange(3))
    arrays.remove(reference)
    assert not list(store.listing("removed"))


# ---------------------------------------------------------------- damage


def flipped(data: bytes, bit: int) -> bytes:
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


@pytest.fixture
def damaged(small_chunks: None, tmp_path: Path) -> tuple[ArrayReference, np.ndarray]:
    """An array of many small chunks, some of them zeros, to be damaged."""
    values = np.random.default_rng(1).integers(0, 5, (40, 100), np.int16)
    values[10:20] = 0
    return arrays.write("derived", arrays.path_of("table", {"roi": 7}, "values"), values), values


@pytest.mark.parametrize("suffix", ["", ".sums"])
def test_every_flipped_bit_is_found_by_a_full_read(damaged: tuple[ArrayReference, np.ndarray], suffix: str) -> None:
    reference, values = damaged
    path = place(reference).with_name(place(reference).name + suffix)
    sound = path.read_bytes()
    rng = np.random.default_rng(2)
    bits = {0, len(sound) * 8 - 1, *rng.choice(len(sound) * 8, 250, replace=False).tolist()}
    for bit in bits:
        path.write_bytes(flipped(sound, bit))
        with pytest.raises(CorruptArray, match=r"roi=7.*values-\w+\.b2nd"):
            np.asarray(reference)
        with pytest.raises(CorruptArray):
            arrays.verify(reference)
    path.write_bytes(sound)
    assert same(reference, values)  # and no false alarm


def test_a_slice_finds_the_damage_it_touches_and_no_other(damaged: tuple[ArrayReference, np.ndarray]) -> None:
    reference, values = damaged
    path, sound = place(reference), place(reference).read_bytes()
    layout = frames.Layout.from_bytes(path.with_name(path.name + ".sums").read_bytes())
    assert layout.grid == (40, 4)
    for entry in range(1, len(layout.pieces) - 1, 3):
        offset, length, _ = layout.pieces[entry].tolist()
        if not length:
            continue
        path.write_bytes(flipped(sound, (offset + length // 2) * 8))
        row, column = divmod(entry - 1, 4)
        with pytest.raises(CorruptArray, match=f"chunk {entry} of 160"):
            reference[row, column * layout.chunks[1]]
        other = (row + 1) % 40
        assert np.array_equal(reference[other], values[other])
    path.write_bytes(sound)


@pytest.mark.parametrize("suffix", ["", ".sums"])
def test_a_file_that_is_cut_short_or_too_long_is_refused(
    damaged: tuple[ArrayReference, np.ndarray], suffix: str
) -> None:
    reference, values = damaged
    path = place(reference).with_name(place(reference).name + suffix)
    sound = path.read_bytes()
    for length in {0, 1, 31, len(sound) - 1, *np.linspace(0, len(sound) - 1, 60, dtype=int).tolist()}:
        path.write_bytes(sound[:length])
        with pytest.raises(CorruptArray):
            np.asarray(reference)
        with pytest.raises(CorruptArray):
            arrays.verify(reference)
    path.write_bytes(sound + b"\0")
    with pytest.raises(CorruptArray):
        np.asarray(reference)
    path.write_bytes(sound)
    assert same(reference, values)


def test_a_slice_of_a_file_that_is_cut_short_is_refused(damaged: tuple[ArrayReference, np.ndarray]) -> None:
    reference, values = damaged
    sound = place(reference).read_bytes()
    place(reference).write_bytes(sound[: len(sound) // 2])
    assert np.array_equal(reference[0], values[0])
    with pytest.raises(CorruptArray, match="ends inside its chunk"):
        reference[39]


@pytest.mark.parametrize("with_sums", [True, False])
def test_another_array_under_the_same_path_is_refused(with_sums: bool) -> None:
    mine, other = written(np.arange(10)), written(np.arange(10) + 1)
    place(mine).write_bytes(place(other).read_bytes())
    if with_sums:
        sums = place(other).with_name(place(other).name + ".sums").read_bytes()
        place(mine).with_name(place(mine).name + ".sums").write_bytes(sums)
    with pytest.raises(CorruptArray):
        np.asarray(mine)


@pytest.mark.parametrize("lost", ["", ".sums"])
def test_a_missing_file_is_told_with_its_key(lost: str) -> None:
    reference = written(np.arange(10))
    path = place(reference).with_name(place(reference).name + lost)
    path.unlink()
    with pytest.raises(CorruptArray, match=f"key=1: {path}: The file is missing.*backup"):
        np.asarray(reference)
    with pytest.raises(CorruptArray, match="missing"):
        arrays.verify(reference)


def test_a_row_that_disagrees_with_its_file_is_refused() -> None:
    reference = written(np.arange(10))
    for change in ({"stored_shape": (11,)}, {"stored_dtype": "<f8"}):
        with pytest.raises(CorruptArray, match="The row names"):
            np.asarray(dataclasses.replace(reference, **change))


def test_sums_of_a_later_format_are_told_as_such() -> None:
    reference = written(np.arange(10))
    path = place(reference).with_name(place(reference).name + ".sums")
    table = path.read_bytes().replace(b"sums-1", b"sums-9")
    path.write_bytes(table)
    later = dataclasses.replace(reference, digest=blake3(table).hexdigest())
    with pytest.raises(CorruptArray, match=r"format is adamacs-sums-9"):
        np.asarray(later)


# ---------------------------------------------------------------- references


def test_a_reference_tells_its_shape_without_reading(fetched: list[tuple[str, int]]) -> None:
    reference = written(np.zeros((6, 8, 2), np.float32))
    assert (reference.shape, len(reference), str(reference.dtype)) == ((6, 8, 2), 6, "float32")
    assert (reference.row(-1).shape, reference.row(-1).selected_row) == ((8, 2), 5)
    assert (reference.rows(2, 5).shape, reference.rows(-2, None).shape) == ((3, 8, 2), (2, 8, 2))
    assert (reference.rows(2, 5).row(1).selected_row, reference.rows(2, 6).rows(1, 3).selected_rows) == (3, (3, 5))
    assert reference.rows(5, 2).shape == (0, 8, 2)
    assert repr(reference) and reference == ArrayReference.from_json(reference.to_json())
    assert not fetched


def test_a_part_reads_as_the_part_of_the_array() -> None:
    values = np.random.default_rng(0).normal(size=(6, 8, 2))
    reference = written(values)
    assert same(reference.row(2), values[2])
    assert same(reference.row(2)[3:, 0], values[2, 3:, 0])
    assert same(reference.rows(1, 4), values[1:4])
    assert same(reference.rows(1, 4)[-1, ::2], values[3, ::2])
    assert same(reference.rows(1, 4)[::-1], values[1:4][::-1])
    assert np.mean(reference) == pytest.approx(values.mean())
    with pytest.raises(IndexError):
        reference.rows(1, 4)[3]
    with pytest.raises(IndexError):
        reference.rows(1, 4).row(3)
    with pytest.raises(TypeError, match="one row"):
        reference.row(2).row(0)
    with pytest.raises(TypeError):
        len(written(np.float32(1)))


def test_masks_are_fields_of_one_array() -> None:
    masks = np.array([(1, 2, 0.5), (3, 4, 0.25), (5, 6, 1.0)], MASK)
    reference = written(masks)
    second = reference.rows(1, 3)
    assert same(second["weight"], masks["weight"][1:3])
    assert same(second.field("x"), masks["x"][1:3])
    assert second.field("x").dtype == np.dtype("<i4")
    assert second.field("x")[0] == 3
    assert reference[1]["y"] == 4
    with pytest.raises(KeyError, match="x, y, weight"):
        reference.field("z")
    with pytest.raises(KeyError, match="none"):
        written(np.arange(3)).field("x")


def test_a_small_part_does_not_keep_its_chunk_in_memory() -> None:
    part = written(np.zeros((4, 50_000)) + 1)[2, 10:13]
    assert part.base is None or part.base.nbytes == part.nbytes


def test_asarray_converts_and_always_copies() -> None:
    reference = written(np.arange(5))
    assert np.asarray(reference, np.float32).dtype == np.float32
    assert np.array(reference, copy=True).sum() == 10
    with pytest.raises(ValueError, match="copied"):
        np.asarray(reference, copy=False)


@pytest.mark.parametrize("part", [lambda r: r, lambda r: r.row(3), lambda r: r.rows(1, 5), lambda r: r.field("x")])
def test_a_reference_survives_the_database(part) -> None:
    reference = part(written(np.zeros(6, MASK)))
    text = json.dumps(reference.to_json())
    assert ArrayReference.from_json(text) == ArrayReference.from_json(json.loads(text)) == reference
    assert hash(ArrayReference.from_json(text)) == hash(reference)
    assert same(ArrayReference.from_json(text), np.asarray(reference))


def test_a_reference_is_frozen_and_holds_plain_values() -> None:
    reference = written(np.zeros((1000, 60))).row(3)
    np.asarray(reference)
    with pytest.raises(dataclasses.FrozenInstanceError):
        reference.path = "other"
    plain = (str, int, type(None))
    held = [value for entry in vars(reference).values() for value in (entry if isinstance(entry, tuple) else (entry,))]
    assert all(isinstance(value, plain) for value in held)
    assert not isinstance(reference, Iterable)


def test_showing_references_in_a_table_reads_nothing(fetched: list) -> None:
    reference = written(np.zeros((5, 60)))
    frame = pd.DataFrame([{"roi": row, "trace": reference.row(row)} for row in range(5)])
    assert "<array float64" in frame.to_string()
    assert "<array float64" in repr(frame.iloc[3])
    with pytest.raises(TypeError, match="not iterable"):
        iter(reference)
    assert not fetched


@pytest.mark.parametrize("shape", [(3, 4), (1000, 6000)])
def test_the_deep_hash_of_a_reference_visits_few_objects(shape: tuple[int, ...], fetched: list) -> None:
    reference = written(np.zeros(shape, np.float32)).row(1)
    reference[0]
    fetched.clear()
    hashes = DeepHash(reference, ignore_iterable_order=False)  # as DataJoint does with what make_fetch returns
    assert len(hashes.hashes) < 40
    assert not fetched


def test_a_reference_is_told_in_one_line() -> None:
    reference = written(np.zeros(6, MASK)).rows(1, 3).field("x")
    assert repr(reference).startswith("<array int32 (2,) in derived:table/key=1/values-")
    assert repr(reference).endswith("rows 1:3 field x>")
    assert len(repr(reference)) < 120


SOUND = {"store": "derived", "path": PATH, "shape": [6, 4], "dtype": "<f4", "digest": "0" * 64}


@pytest.mark.parametrize(
    "change",
    [
        {"path": None},
        {"path": ""},
        {"store": 3},
        {"shape": [6, -4]},
        {"shape": [6, 4.0]},
        {"shape": [True]},
        {"shape": 6},
        {"dtype": "|O"},
        {"dtype": "__import__('os')"},
        {"dtype": "[('x', '|O')]"},
        {"dtype": "[('x'"},
        {"dtype": ">f4"},
        {"digest": "0"},
        {"digest": "../" * 22},
        {"row": 6},
        {"row": -1},
        {"row": "0"},
        {"row": 0, "rows": [0, 1]},
        {"rows": [0, 7]},
        {"rows": [3, 1]},
        {"rows": [1]},
        {"field": "x"},
        {"cache": 1},
    ],
    ids=str,
)
def test_a_row_that_holds_no_reference_is_refused(change: dict) -> None:
    with pytest.raises(CorruptArray, match="no reference"):
        ArrayReference.from_json({**SOUND, **change})


@pytest.mark.parametrize("text", ["", "null", "[]", "3", "{}", "{", '"path"'])
def test_text_that_is_no_reference_is_refused(text: str) -> None:
    with pytest.raises(CorruptArray, match="no reference"):
        ArrayReference.from_json(text)


@pytest.mark.parametrize("path", ["../../etc/passwd", "/etc/passwd", "a/../../b", "a\\b", "a\x00"])
def test_a_row_cannot_lead_out_of_its_store(path: str) -> None:
    with pytest.raises(UnsafePath):
        ArrayReference.from_json({**SOUND, "path": path})


# ---------------------------------------------------------------- paths


def test_a_path_tells_table_and_key() -> None:
    key = {"session_id": "sess9FY6AIRM", "scan_id": "scan9FY6AIRM", "paramset_idx": 0}
    path = arrays.path_of("`adamacs_imaging`.`__fluorescence`", key, "fluorescence")
    folder, name = path.rsplit("/", 1)
    assert folder == "fluorescence/session_id=sess9FY6AIRM/scan_id=scan9FY6AIRM/paramset_idx=0"
    assert name.startswith("fluorescence-")
    assert name.endswith(".b2nd")
    assert arrays.key_of(path) == {name: str(value) for name, value in key.items()}


def test_two_attempts_never_share_a_path() -> None:
    assert len({arrays.path_of("dff", {"a": 1}, "dff") for _ in range(1000)}) == 1000


@given(
    st.dictionaries(st.text(max_size=100), st.one_of(st.text(max_size=400), st.integers(), st.none()), max_size=12),
    st.text(max_size=100),
    st.text(max_size=300),
)
@hypothesis_settings(max_examples=300, deadline=None)
def test_no_key_leads_out_of_the_store(key: dict, table: str, attribute: str) -> None:
    path = arrays.path_of(table, key, attribute)
    parts = stores.parts_of(path)
    assert len(path) < 600
    assert all(part.isascii() and part.isprintable() and " " not in part and len(part) <= 120 for part in parts)
    assert all(part.split(".")[0].lower() not in {"con", "nul", "aux"} for part in parts)
    assert not PurePosixPath(path).is_absolute()
    assert len(parts) >= 2


@pytest.mark.parametrize(
    ("one", "other"), [("a/b", "a_b"), ("../x", ".._x"), ("é", "è"), ("x" * 100, "x" * 101), ("", " ")]
)
def test_keys_that_look_alike_have_folders_of_their_own(one: str, other: str) -> None:
    folders = {arrays.path_of("t", {"key": value}, "a").rsplit("/", 1)[0] for value in (one, other)}
    assert len(folders) == 2
