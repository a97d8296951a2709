"""The bytes of one array: how it is cut into chunks, and which types it may have."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from adamacs.core.errors import CorruptArray, UnstorableArray
from adamacs.storage import frames


def test_a_trace_and_a_frame_are_one_chunk_each() -> None:
    assert frames.chunk_shape((1000, 60_000), 4) == (1, 60_000)
    assert frames.chunk_shape((400, 512, 512), 2) == (1, 512, 512)


@pytest.mark.parametrize("shape", [(10, 10_000_000), (50_000_000,), (3, 4, 5_000_000), (2, 3000, 3000), (10**9, 2)])
def test_no_chunk_is_large(shape: tuple[int, ...]) -> None:
    assert math.prod(frames.chunk_shape(shape, 4)) * 4 <= 1 << 20


@pytest.mark.parametrize("shape", [(), (3,), (0, 5), (5, 0), (7, 300, 2), (1, 1, 1), (2, 10_000_000)])
def test_chunks_fit_into_the_array(shape: tuple[int, ...]) -> None:
    chunks = frames.chunk_shape(shape, 8)
    assert len(chunks) == len(shape)
    assert all(1 <= chunk <= max(length, 1) for chunk, length in zip(chunks, shape, strict=True))


@pytest.mark.parametrize(
    "dtype", ["<f4", "|b1", "<c16", "<U5", "|S7", "<M8[ns]", "<m8[D]", "|u1", [("x", "<i4"), ("name", "<U3")]], ids=str
)
def test_a_type_survives_as_text(dtype: object) -> None:
    kind = frames.storable_dtype(np.dtype(dtype))
    assert kind == np.dtype(dtype)
    assert frames.dtype_of(frames.dtype_text(kind)) == kind


def test_a_type_is_stored_little_endian_and_without_padding() -> None:
    assert frames.storable_dtype(np.dtype(">f8")).str == "<f8"
    padded = np.dtype([("a", "u1"), ("b", ">f8")], align=True)
    assert (padded.itemsize, frames.storable_dtype(padded).itemsize) == (16, 9)


@pytest.mark.parametrize("dtype", ["O", "V8", "G", [("a", "O")], [("a", "f4", (2,))], []], ids=str)
def test_a_type_that_other_machines_cannot_read_is_refused(dtype: object) -> None:
    with pytest.raises(UnstorableArray):
        frames.storable_dtype(np.dtype(dtype))


@pytest.mark.parametrize("text", ["", "O", "|O", ">f4", "float", "[", "[('x', '|O')]", "[1]", "__import__('os')"])
def test_text_that_names_no_stored_type_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no type"):
        frames.dtype_of(text)


def test_sums_survive_as_bytes() -> None:
    pieces = np.array([(0, 165, 1), (165, 0, 2), (165, 75, 2**64 - 1)], frames._RECORD)
    layout = frames.Layout((5, 3), "<f4", (5, 3), pieces)
    again = frames.Layout.from_bytes(layout.to_bytes())
    assert (again.shape, again.dtype, again.chunks, again.size) == ((5, 3), "<f4", (5, 3), 240)
    assert np.array_equal(again.pieces, pieces)


class Memory:
    """A file in memory."""

    def __init__(self) -> None:
        self.data = bytearray()

    def write(self, data: bytes | memoryview) -> None:
        self.data += data

    def rewrite(self, start: int, data: bytes) -> None:
        self.data[start : start + len(data)] = data

    def source(self) -> frames.Source:
        return frames.Source(lambda start, stop: bytes(self.data[start:stop]), lambda: len(self.data), "memory")


def test_a_frame_needs_no_store() -> None:
    file, values = Memory(), np.arange(200_000.0)
    layout = frames.write(file, values, threads=2)
    assert np.array_equal(frames.read(layout, file.source(), (slice(0, 200_000),), threads=2), values)
    assert np.array_equal(
        frames.read(layout, file.source(), (slice(40_000, 40_010),), threads=1), values[40_000:40_010]
    )
    frames.verify(layout, file.source(), threads=1)


def test_a_small_array_starts_no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frames, "ThreadPoolExecutor", lambda threads: pytest.fail("a thread was started"))
    file, values = Memory(), np.arange(1000.0)
    layout = frames.write(file, values, threads=2)
    assert np.array_equal(frames.read(layout, file.source(), (slice(0, 1000),), threads=2), values)


def test_a_chunk_longer_than_its_place_is_never_unpacked() -> None:
    # Its bytes may match their sum: blosc2 would still write beyond the end of the array.
    file = Memory()
    layout = dataclasses.replace(frames.write(file, np.arange(100.0), 1), dtype="<f4")
    with pytest.raises(CorruptArray, match="another size"):
        frames.read(layout, file.source(), (slice(0, 100),), 1)
