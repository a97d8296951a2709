"""Small values and long arrays of an HDF5 file that others wrote, without following it anywhere or trusting its claims.

An HDF5 file can name other files (external links, external and virtual storage), claim arrays that it does not hold
(a shape costs nothing), hold chunks that unpack to far more than they say, and name filters that are programs. Here
only hard links are followed, an array is as long as what was written of it, and a chunk that must be unpacked whole is
small.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import h5py
import numpy as np
from numpy.typing import NDArray

from adamacs.core.errors import UnreadableFile
from adamacs.core.formats import hdf5
from adamacs.core.formats.source import COPY, opened

_MOST_VALUES = 4096  # of a header's array
_MOST_TEXT = 1 << 20  # bytes
_MOST_TEXTS, _MOST_HEAP = 256, 2 << 20  # of any length; bytes
_TEXT = struct.Struct("<IQI")  # length, where its heap begins, its number there
_HEAP, _OBJECT = struct.Struct("<4s4xQ"), struct.Struct("<H6xQ")  # magic, bytes; number, bytes
_MOST_CHUNKS = 500_000  # 6 days in chunks of a second
_PACKED_CHUNK, _UNPACKED_CHUNK = 1 << 19, 1 << 20  # bytes; deflate makes at most 1032 times as many
_CACHE = 0  # bytes: a block is read once, and most chunks lie in one block
_GZIP, _SHUFFLE, _FLETCHER32, _LZF = 1, 2, 3, 32000
_FILTERS = {_GZIP: "gzip", _SHUFFLE: "shuffle", _FLETCHER32: "fletcher32", _LZF: "lzf"}
_REPACK = "Write it anew with small chunks and gzip or nothing: h5repack -l CHUNK=1x20000 -f GZIP=1 OLD NEW."
_FOREIGN = "Was this file written by WaveSurfer?"

# What HDF5 and its binding raise where bytes are damaged.
_DAMAGE = (
    OSError,
    RuntimeError,
    LookupError,
    ValueError,
    TypeError,
    AttributeError,
    OverflowError,
    MemoryError,
    SystemError,
    AssertionError,
)

Stamp = tuple[int, int]  # bytes, and ns since 1970 of the last change


@dataclass(frozen=True)
class Held:
    """An array of the file, and how much of it was written.

    Attributes
    ----------
    place
        Its name in the file.
    dataset
        As the file claims it: (row, sample), or (sample,).
    dimensions
        2 or 1.
    rows
        1 where the array has one dimension.
    claimed
        Samples by its shape.
    written
        Samples from the first one on that are in the file.
    """

    place: str
    dataset: h5py.Dataset
    dtype: np.dtype[Any]
    dimensions: int
    rows: int
    claimed: int
    written: int


@dataclass(frozen=True)
class Hdf5:
    """An open file, and what it is safe to ask of it."""

    path: Path
    file: h5py.File
    stamp: Stamp

    def fail(self, what: str, hint: str = COPY) -> UnreadableFile:
        return UnreadableFile(what, self.path, hint)

    @contextmanager
    def reading(self, place: str) -> Iterator[None]:
        """Say of which array it is that it cannot be read."""
        with complaints(self.path, place):
            yield

    def names(self) -> tuple[str, ...]:
        """Return what stands at the top of the file."""
        with self.reading("/"):
            return tuple(name for name in self.file if isinstance(name, str))  # bytes where they are no text

    def find(self, place: str) -> h5py.Group | h5py.Dataset | None:
        """Return a group or an array, or None where there is none of that name; links elsewhere are refused."""
        node: Any = self.file
        with self.reading(place):
            for depth, name in enumerate(names := place.split("/"), start=1):
                if not isinstance(node, h5py.Group) or (link := node.get(name, getlink=True)) is None:
                    return None
                if not isinstance(link, h5py.HardLink):
                    raise self.fail(
                        f"{'/'.join(names[:depth])} is a link to elsewhere, which is not followed.", _FOREIGN
                    )
                node = node[name]
        if not isinstance(node, h5py.Group | h5py.Dataset):
            raise self.fail(f"{place} is neither a group nor an array.", _FOREIGN)
        return node

    def numbers(self, place: str) -> NDArray[np.float64] | None:
        """Return a small array of numbers; None where there is none, or where it is empty or text."""
        with self.reading(place):
            dataset = self._small(place)
            if dataset is None or dataset.dtype.kind not in "fiub":
                return None
            return np.asarray(dataset[()], dtype=np.float64)

    def text(self, place: str) -> tuple[str, ...] | None:
        """Return a small array of text; None where there is none, or where it is empty or numbers."""
        with self.reading(place):
            dataset = self._small(place)
            if dataset is None:
                return None
            known = h5py.check_string_dtype(dataset.dtype)
            if known is None and dataset.dtype.kind in "fiub":
                return None
            if known is None:
                raise self.fail(f"{place} holds neither text nor numbers ({dataset.dtype}).", _FOREIGN)
            if known.length is None:
                return self._texts(dataset, place)
            if known.length * dataset.size > _MOST_TEXT:
                raise self.fail(f"{place} holds more than {_MOST_TEXT} bytes of text.", _FOREIGN)
            return tuple(_decoded(value) for value in np.asarray(dataset[()]).ravel())

    def held(self, place: str) -> Held | None:
        """Return a long array of whole numbers, and how much of it was written; None where there is none.

        Raises
        ------
        UnreadableFile
            It is no such array, lies in another file, is packed in a way that cannot be read in bounded memory, or
            has holes.
        """
        dataset = self.find(place)
        if dataset is None:
            return None
        with self.reading(place):
            if not isinstance(dataset, h5py.Dataset) or dataset.shape is None or dataset.ndim not in (1, 2):
                raise self.fail(f"{place} is no array of scans.", _FOREIGN)
            if dataset.dtype.kind not in "iu":
                raise self.fail(f"{place} holds {dataset.dtype}, and not counts.", _FOREIGN)
            rows, claimed = (1, *dataset.shape)[-2:]
            return Held(place, dataset, dataset.dtype, dataset.ndim, rows, claimed, self._written(dataset, place))

    def _texts(self, dataset: h5py.Dataset, place: str) -> tuple[str, ...]:
        """Read texts of any length from the heap that they lie in.

        HDF5 itself sets aside what a damaged text claims to have (2 GB), and can search a damaged heap for ever.
        Source: HDF5 File Format Specification 3.0, III.E, global heap.
        """
        offset, size = dataset.id.get_offset(), dataset.id.get_storage_size()
        if offset is None and not size:
            return ("",) * dataset.size
        if offset is None or dataset.size > _MOST_TEXTS or size != _TEXT.size * dataset.size:
            raise self.fail(f"{place} holds {dataset.size} texts in {size} bytes, or in chunks.", _FOREIGN)
        found: list[str] = []
        left = _MOST_TEXT
        with self.path.open("rb") as file:
            for length, address, number in _TEXT.iter_unpack(_exactly(file, offset, size)):
                left -= length
                if left < 0:
                    raise self.fail(f"{place} holds more than {_MOST_TEXT} bytes of text.", _FOREIGN)
                at = self.file.userblock_size + address
                found.append(_decoded(_in_heap(file, at, number, length) if length else b""))
        return tuple(found)

    def _small(self, place: str) -> h5py.Dataset | None:
        """Return an array of a header, refused where it is more than a header holds."""
        dataset = self.find(place)
        if not isinstance(dataset, h5py.Dataset) or dataset.shape is None or dataset.size == 0:
            return None
        if dataset.size > _MOST_VALUES:
            raise self.fail(f"{place} claims {dataset.size} values, more than a header holds.", _FOREIGN)
        self._written(dataset, place)
        return dataset

    def _written(self, dataset: h5py.Dataset, place: str) -> int:
        """Return how many samples (last axis) the file holds."""
        if dataset.is_virtual or dataset.external:
            raise self.fail(f"The values of {place} lie in another file, which is not opened.", _FOREIGN)
        length = int(dataset.shape[-1]) if dataset.shape else 1
        layout = dataset.id.get_create_plist().get_layout()
        if layout == h5py.h5d.CHUNKED:
            return self._written_in_chunks(dataset, place)
        if layout == h5py.h5d.COMPACT or dataset.size == 0:
            return length
        offset = dataset.id.get_offset()
        if offset is None:  # no byte of it was ever written
            return 0
        if offset + dataset.size * dataset.id.get_type().get_size() > self.stamp[0]:
            raise self.fail(f"The file has {self.stamp[0]} bytes, less than {place} claims to hold.")
        return length

    def _written_in_chunks(self, dataset: h5py.Dataset, place: str) -> int:
        """Return how many samples lie before the first chunk that was never written."""
        packed = self._check_filters(dataset, place)
        stored = dataset.id.get_storage_size()
        if stored > self.stamp[0]:
            raise self.fail(f"The file has {self.stamp[0]} bytes, less than {place} claims to hold.")
        if not packed and stored >= dataset.size * dataset.id.get_type().get_size():
            chunks = math.prod(-(-size // step) for size, step in zip(dataset.shape, dataset.chunks))
            if stored == chunks * _nominal(dataset):  # every chunk is there
                return int(dataset.shape[-1])
        if (count := dataset.id.get_num_chunks()) > _MOST_CHUNKS:
            raise self.fail(f"{place} lies in {count} chunks.", _REPACK)
        chunks_found: list[Any] = []
        dataset.id.chunk_iter(chunks_found.append)
        if any(chunk.byte_offset + chunk.size > self.stamp[0] for chunk in chunks_found):
            raise self.fail(f"The file has {self.stamp[0]} bytes, less than {place} claims to hold.")
        if packed and (largest := max((chunk.size for chunk in chunks_found), default=0)) > _PACKED_CHUNK:
            raise self.fail(f"{place} has packed chunks of {largest} bytes.", _REPACK)
        starts = np.array([float(chunk.chunk_offset[-1]) for chunk in chunks_found])  # exact up to 2^53
        return self._before_a_hole(dataset, np.unique(starts, return_counts=True), place)

    def _before_a_hole(self, dataset: h5py.Dataset, found: tuple[NDArray[Any], NDArray[Any]], place: str) -> int:
        starts, counts = found
        across = math.prod(-(-size // step) for size, step in zip(dataset.shape[:-1], dataset.chunks[:-1]))
        step = dataset.chunks[-1]
        whole = (starts == np.arange(starts.size) * float(step)) & (counts == across)
        if not whole.all():
            hole = int(np.argmin(whole)) * step
            raise self.fail(f"{place} has a hole: what begins at sample {hole} was never written, what follows was.")
        return min(int(starts.size) * step, int(dataset.shape[-1]))

    def _check_filters(self, dataset: h5py.Dataset, place: str) -> bool:
        """Tell whether chunks have to be unpacked whole; refuse those that need a plug-in or much memory."""
        plist = dataset.id.get_create_plist()
        filters = [plist.get_filter(number)[0] for number in range(plist.get_nfilters())]
        if unknown := [number for number in filters if number not in _FILTERS]:
            raise self.fail(f"{place} is packed by filter {unknown[0]}.", _REPACK)
        if len(set(filters)) < len(filters) or {_GZIP, _LZF} <= set(filters):
            raise self.fail(f"{place} is packed more than once.", _REPACK)
        if filters and (nominal := _nominal(dataset)) > _UNPACKED_CHUNK:
            raise self.fail(f"{place} is packed in chunks of {nominal} bytes.", _REPACK)
        return bool(filters)


def _in_heap(file: BinaryIO, at: int, number: int, length: int) -> bytes:
    """Return the first bytes of one object of the heap that begins at a byte of the file."""
    magic, size = _HEAP.unpack(_exactly(file, at, _HEAP.size))
    if magic != b"GCOL" or not _HEAP.size < size <= _MOST_HEAP:
        raise ValueError(f"at byte {at} is no heap")
    heap = _exactly(file, at, size)
    place = _HEAP.size
    while place + _OBJECT.size <= size:
        found, held = _OBJECT.unpack_from(heap, place)
        place += _OBJECT.size
        if found == number and length <= held <= size - place:
            return heap[place : place + length]
        if found in (0, number):  # 0 is what is free
            break
        place += -(-held // 8) * 8
    raise ValueError(f"the heap at byte {at} has no text {number} of {length} bytes")


def _exactly(file: BinaryIO, at: int, size: int) -> bytes:
    file.seek(at)
    data = file.read(size)
    if len(data) < size:
        raise ValueError(f"the file ends before byte {at + size}")
    return data


def _nominal(dataset: h5py.Dataset) -> int:
    """Return the bytes of one chunk that is not packed."""
    return math.prod(dataset.chunks) * int(dataset.id.get_type().get_size())


@contextmanager
def complaints(path: Path, place: str) -> Iterator[None]:
    """Turn what HDF5 raises on damaged bytes into a sentence that names the file and the array."""
    try:
        yield
    except UnreadableFile:
        raise
    except _DAMAGE as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise UnreadableFile(f"{place} cannot be read ({reason}).", path, COPY) from error


@contextmanager
def opened_hdf5(path: Path, expected: Stamp | None = None) -> Iterator[Hdf5]:
    """Open a closed and whole HDF5 file for reading.

    Parameters
    ----------
    expected
        The stamp it had when it was looked at before.

    Raises
    ------
    UnreadableFile
        It is missing, a link, no HDF5, truncated, still open for writing, or changed since or meanwhile.
    """
    with opened(path) as source:
        hdf5.check(source)
    stamp = _stamp(path)
    if expected not in (None, stamp):
        raise UnreadableFile("The file changed since its header was read.", path, "Read its header again.")
    with complaints(path, "/"):
        file = h5py.File(path, "r", rdcc_nbytes=_CACHE)
    try:
        yield Hdf5(path, file, stamp)
    finally:
        file.close()
    if _stamp(path) != stamp:
        raise UnreadableFile("The file changed while it was read.", path, "Try again when its copy is finished.")


def _stamp(path: Path) -> Stamp:
    with complaints(path, "/"):
        found = path.lstat()
    return found.st_size, found.st_mtime_ns


def _decoded(value: Any) -> str:
    """Return text that MATLAB wrote: UTF-8, or what an older Windows had."""
    if isinstance(value, str):
        return value.rstrip("\0 ")
    data = bytes(value)
    try:
        return data.decode("utf-8").rstrip("\0 ")
    except UnicodeDecodeError:
        return data.decode("latin-1").rstrip("\0 ")
