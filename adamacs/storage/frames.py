"""One array as bytes: a standard `.b2nd` file, and beside it a table of sums that vouches for every byte of it.

blosc2 writes the head and the trailer of the file (a contiguous frame, see its README_CFRAME_FORMAT); between them
stand the chunks, each compressed on its own, so that a part of the array is read without the rest. blosc2 checks
nothing when it reads: of 200 files with one flipped bit it read 177 without a word. Hence the sums: for the head,
each chunk and the tail their place, length and xxh3 (64 bits), and nothing is decompressed that does not match.

The file of sums is one line of JSON, then one record of three little-endian uint64 (offset, length, sum) per piece.
"""

from __future__ import annotations

import ast
import json
import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property, lru_cache
from types import ModuleType
from typing import Any, Protocol

import numpy as np
import xxhash

from adamacs.core.errors import CorruptArray, UnstorableArray

_FORMAT = "adamacs-sums-1"
_CHUNK = 1 << 18  # bytes that a chunk aims at: it fits the cache of a core, and is read in half a millisecond
_LONGEST = 1 << 20  # bytes up to which one item of the first axis (a trace, a frame) stays in one chunk
_RECORD = np.dtype([("offset", "<u8"), ("length", "<u8"), ("sum", "<u8")])

# Where a contiguous frame holds what is known only when it is whole (big-endian), and how long its trailer is.
_HEAD_LENGTH, _FRAME_LENGTH, _COMPRESSED_LENGTH = slice(11, 15), slice(16, 24), slice(39, 47)
_TRAILER_LENGTH = slice(-22, -18)
_BARE = 32  # length of a chunk that is a header only; its last byte tells what it stands for
_ZEROS = (1 << 63) | (1 << 56)  # what the index of a frame holds for a chunk of zeros, which has no bytes

Box = tuple[slice, ...]  # start and stop on every axis of the stored array


class Writer(Protocol):
    """What a frame is written to."""

    def write(self, data: bytes | memoryview) -> None: ...
    def rewrite(self, start: int, data: bytes) -> None: ...


@dataclass(frozen=True)
class Source:
    """Where the bytes of a stored file come from, and what to call it in a message."""

    read: Callable[[int, int | None], bytes]
    size: Callable[[], int]
    where: str
    span: int = 1 << 21  # bytes that one read should fetch
    streams: int = 1  # reads that should run at once

    def corrupt(self, what: str) -> CorruptArray:
        """Return the error that names this file."""
        return corrupt(what, self.where)


def corrupt(what: str, where: str) -> CorruptArray:
    """Return the error that names a file and says what can be done."""
    return CorruptArray(what, where, "Restore the file from a backup, or delete the row and compute it again.")


@dataclass(frozen=True, eq=False)
class Layout:
    """What stands where in a file: shape, type and chunks of the array, and the sums of its pieces."""

    shape: tuple[int, ...]
    dtype: str
    chunks: tuple[int, ...]
    pieces: np.ndarray  # of _RECORD: the head, the chunks in C order, the tail

    @property
    def size(self) -> int:
        """Length of the file in bytes."""
        return int(self.pieces["length"].sum())

    @cached_property
    def grid(self) -> tuple[int, ...]:
        """How many chunks there are along each axis."""
        return tuple(-(-length // chunk) for length, chunk in zip(self.shape, self.chunks))

    def to_bytes(self) -> bytes:
        """Return the content of the file of sums."""
        head = {"format": _FORMAT, "shape": self.shape, "dtype": self.dtype, "chunks": self.chunks}
        return json.dumps(head).encode("ascii") + b"\n" + self.pieces.tobytes()

    @classmethod
    def from_bytes(cls, data: bytes) -> Layout:
        """Read a file of sums whose digest was found right.

        Raises
        ------
        ValueError
            A later adamacs wrote it in another format.
        """
        line, _, table = data.partition(b"\n")
        head = json.loads(line)
        if head["format"] != _FORMAT:
            raise ValueError(f"Its format is {head['format']}, and this adamacs reads {_FORMAT}.")
        return cls(tuple(head["shape"]), head["dtype"], tuple(head["chunks"]), np.frombuffer(table, _RECORD))


def storable_dtype(dtype: np.dtype) -> np.dtype:
    """Return the type an array is stored in: little-endian, without padding.

    Raises
    ------
    UnstorableArray
        The type holds Python objects, or numbers whose width depends on the machine.
    """
    fields = [(name, dtype[name]) for name in dtype.names or ()]
    if fields and all(kind.names is None for _, kind in fields):
        return np.dtype([(name, storable_dtype(kind)) for name, kind in fields])
    if dtype.kind in "biufcmMSU" and dtype.itemsize and dtype.char not in "gG":
        return dtype.newbyteorder("<")
    hint = "Write numbers, truth values, times, texts of fixed length, or named fields of these."
    raise UnstorableArray(f"An array of type {dtype} cannot be stored.", hint=hint)


def dtype_text(dtype: np.dtype) -> str:
    """Write a type as text, the way the `.npy` format does."""
    return dtype.str if dtype.names is None else repr(np.lib.format.dtype_to_descr(dtype))


@lru_cache(maxsize=256)
def dtype_of(text: str) -> np.dtype:
    """Read what `dtype_text` wrote.

    Raises
    ------
    ValueError
        The text is no type that can be stored.
    """
    try:
        description: Any = ast.literal_eval(text) if text.startswith("[") else text
        dtype = np.lib.format.descr_to_dtype(description)
        stored = storable_dtype(dtype)
    except (TypeError, SyntaxError, UnstorableArray) as error:
        raise ValueError(f"{text!r} is no type of a stored array.") from error
    if stored != dtype or dtype_text(dtype) != text:
        raise ValueError(f"{text!r} is no type of a stored array.")
    return dtype


def chunk_shape(shape: Sequence[int], itemsize: int) -> tuple[int, ...]:
    """Return the shape of the chunks: whole items of the first axis where they are small, else a part of one.

    A trace of (roi, frame) and a frame of (time, y, x) are one chunk each, so that either is read alone.
    """
    if 0 in shape:
        return (1,) * len(shape)
    if not shape:
        return ()
    item = itemsize * math.prod(shape[1:])
    if item > _LONGEST and len(shape) > 1:
        return (1, *chunk_shape(shape[1:], itemsize))
    return (min(shape[0], max(1, _CHUNK // item)), *shape[1:])


def write(file: Writer, array: np.ndarray, threads: int) -> Layout:
    """Write an array as a `.b2nd` file and return its layout.

    The chunks are compressed by several threads, each at its own, while the caller's thread writes.
    """
    dtype = storable_dtype(array.dtype)
    chunks = chunk_shape(array.shape, dtype.itemsize)
    head, tail = _ends(array.shape, dtype, chunks)
    file.write(head)
    lengths, sums = [len(head)], [0]
    for piece, checksum in _compressed(array, dtype, chunks, threads):
        file.write(piece)
        lengths.append(len(piece))
        sums.append(checksum)
    if len(lengths) > 1:
        tail = _index(lengths[1:]) + tail
    file.write(tail)
    lengths.append(len(tail))
    sums.append(xxhash.xxh3_64_intdigest(tail))
    head = _completed(head, lengths)
    file.rewrite(0, head)
    sums[0] = xxhash.xxh3_64_intdigest(head)
    pieces = np.empty(len(lengths), _RECORD)
    pieces["offset"] = np.cumsum([0, *lengths[:-1]])
    pieces["length"], pieces["sum"] = lengths, sums
    return Layout(tuple(array.shape), dtype_text(dtype), chunks, pieces)


def read(layout: Layout, source: Source, box: Box, threads: int) -> np.ndarray:
    """Read a box of the array, verifying every byte that is used; the whole array: every byte of the file.

    Raises
    ------
    CorruptArray
        Bytes are missing or changed.
    """
    out = np.empty([axis.stop - axis.start for axis in box], dtype_of(layout.dtype))
    entries: Iterable[int]
    if out.shape == layout.shape:
        _check_size(layout, source)
        entries = range(len(layout.pieces))
    else:
        entries = _touched(layout, box)

    def unpack(entry: int, piece: memoryview) -> None:
        if 0 < entry < len(layout.pieces) - 1:
            _unpack(layout, source, entry - 1, piece, box, out)

    _each(layout, source, entries, unpack, threads)
    return out


def verify(layout: Layout, source: Source, threads: int) -> None:
    """Check every byte of the file against its sum, without decompressing.

    Raises
    ------
    CorruptArray
        Bytes are missing, changed or too many.
    """
    _check_size(layout, source)
    _each(layout, source, range(len(layout.pieces)), lambda entry, piece: None, threads)


def _check_size(layout: Layout, source: Source) -> None:
    if (size := source.size()) != layout.size:
        raise source.corrupt(f"The stored array has {size} bytes and was written with {layout.size}.")


@lru_cache(maxsize=1)
def _blosc2() -> ModuleType:
    """Import blosc2 where bytes are read or written: a client that asks for rows alone does not wait for it."""
    import blosc2

    blosc2.set_releasegil(True)  # else our threads would compress one after the other
    return blosc2


def _settings(dtype: np.dtype) -> dict[str, Any]:
    """Return blosc2's settings: measured best of what is lossless and keeps up with a disk.

    Whole numbers are shuffled by bits: a movie is then written and read more than twice as fast as with a byte
    shuffle, for 5 % more bytes. For all else the byte shuffle is smaller, and as fast.
    """
    blosc2 = _blosc2()
    shuffle = blosc2.Filter.BITSHUFFLE if dtype.kind in "biu" else blosc2.Filter.SHUFFLE
    return {
        "codec": blosc2.Codec.ZSTD,
        "clevel": 1,
        "typesize": dtype.itemsize,
        "filters": [shuffle],
        "filters_meta": [0],
        "splitmode": blosc2.SplitMode.ALWAYS_SPLIT,
        "nthreads": 1,
    }


def _ends(shape: tuple[int, ...], dtype: np.dtype, chunks: tuple[int, ...]) -> tuple[bytes, bytes]:
    """Let blosc2 write the head and the trailer of a frame, by asking it for an array without values."""
    blosc2 = _blosc2()
    # One block per chunk: a decompressed chunk is then in C order, and needs no second pass.
    params = blosc2.CParams(**_settings(dtype))
    empty = blosc2.zeros(shape, dtype=dtype, chunks=chunks, blocks=chunks, cparams=params, contiguous=True)
    frame = empty.to_cframe()
    head = int.from_bytes(frame[_HEAD_LENGTH], "big")
    trailer = int.from_bytes(frame[_TRAILER_LENGTH], "big")
    return frame[:head], frame[-trailer:]


def _completed(head: bytes, lengths: list[int]) -> bytes:
    """Enter the sizes into the head, now that they are known."""
    whole = bytearray(head)
    whole[_FRAME_LENGTH] = sum(lengths).to_bytes(8, "big")
    whole[_COMPRESSED_LENGTH] = sum(lengths[1:-1]).to_bytes(8, "big")
    return bytes(whole)


def _index(lengths: list[int]) -> bytes:
    """Return the index of a frame: where each chunk begins, counted from the first, as a chunk of its own."""
    offsets = np.cumsum([0, *lengths[:-1]], dtype="<u8")
    offsets[np.array(lengths) == 0] = _ZEROS
    blosc2 = _blosc2()
    packed: bytes = blosc2.compress2(offsets, typesize=8, clevel=5, codec=blosc2.Codec.BLOSCLZ, nthreads=1)
    return packed


def _compressed(
    array: np.ndarray, dtype: np.dtype, chunks: tuple[int, ...], threads: int
) -> Iterator[tuple[bytes, int]]:
    """Yield every chunk in C order, compressed, with its sum."""
    grid = tuple(-(-length // chunk) for length, chunk in zip(array.shape, chunks))
    blosc2, params = _blosc2(), _settings(dtype) | {"blocksize": dtype.itemsize * math.prod(chunks)}

    def compress(index: tuple[int, ...]) -> tuple[bytes, int]:
        piece: bytes = blosc2.compress2(_bytes_of(_cut(array, dtype, chunks, index)), **params)
        if len(piece) == _BARE and piece[-1] >> 4 == 1:
            piece = b""  # nothing but zeros: blosc2 wants this told by the index
        return piece, xxhash.xxh3_64_intdigest(piece)

    yield from _in_order(compress, np.ndindex(grid), threads if math.prod(grid) > 1 else 1)


def _cut(array: np.ndarray, dtype: np.dtype, chunks: tuple[int, ...], index: tuple[int, ...]) -> np.ndarray:
    """Return one chunk of the array in C order and in the stored type, filled up with zeros at the far edges."""
    part = array[tuple(slice(i * chunk, (i + 1) * chunk) for i, chunk in zip(index, chunks))]
    if part.shape == chunks:
        return np.ascontiguousarray(part, dtype).reshape(chunks)
    whole = np.zeros(chunks, dtype)
    whole[tuple(slice(length) for length in part.shape)] = part
    return whole


def _bytes_of(array: np.ndarray) -> np.ndarray:
    return array.reshape(-1).view(np.uint8)


def _in_order(function: Callable[[Any], Any], items: Iterable[Any], threads: int) -> Iterator[Any]:
    """Map with several threads, keeping the order and never more than a few results in memory."""
    if threads == 1:
        yield from map(function, items)
        return
    waiting: deque[Future[Any]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        try:
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) > 2 * threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for left in waiting:
                left.cancel()


def _touched(layout: Layout, box: Box) -> list[int]:
    """Return the entries of the chunks that a box touches, in the order of the file."""
    steps = [range(axis.start // c, -(-axis.stop // c)) for axis, c in zip(box, layout.chunks)]
    numbers = np.zeros((), np.int64)
    for step, length in zip(steps, layout.grid):
        numbers = np.add.outer(numbers * length, np.arange(step.start, step.stop))
    return [int(number) + 1 for number in numbers.ravel()]  # entry 0 is the head


def _spans(layout: Layout, entries: Iterable[int], longest: int) -> Iterator[range]:
    """Join neighbours in the file, so that few requests fetch many pieces."""
    lengths = layout.pieces["length"]
    first = last = -1
    size = 0
    for entry in entries:
        if entry != last + 1 or size + int(lengths[entry]) > longest or first < 0:
            if first >= 0:
                yield range(first, last + 1)
            first, size = entry, 0
        last, size = entry, size + int(lengths[entry])
    if first >= 0:
        yield range(first, last + 1)


def _each(
    layout: Layout, source: Source, entries: Iterable[int], use: Callable[[int, memoryview], None], threads: int
) -> None:
    """Fetch these pieces, verify each and hand it on."""

    def work(span: range) -> None:
        pieces = layout.pieces[span.start : span.stop]
        start = int(pieces["offset"][0])
        data = memoryview(source.read(start, start + int(pieces["length"].sum())))
        for entry, (offset, length, checksum) in zip(span, pieces.tolist()):
            piece = data[offset - start : offset - start + length]
            if len(piece) != length or xxhash.xxh3_64_intdigest(piece) != checksum:
                raise source.corrupt(_damage(layout, entry, len(piece), length))
            use(entry, piece)

    spans = list(_spans(layout, entries, source.span))
    for _ in _in_order(work, spans, max(threads, source.streams) if len(spans) > 1 else 1):
        pass


def _damage(layout: Layout, entry: int, found: int, length: int) -> str:
    last = len(layout.pieces) - 1
    name = {0: "head", last: "tail"}.get(entry, f"chunk {entry} of {last - 1}")
    if found < length:
        return f"The stored array ends inside its {name}."
    return f"The {name} of the stored array does not match its checksum."


def _unpack(layout: Layout, source: Source, number: int, piece: memoryview, box: Box, out: np.ndarray) -> None:
    """Decompress one verified chunk into the part of `out` that it covers."""
    origin = [int(i) * chunk for i, chunk in zip(np.unravel_index(number, layout.grid), layout.chunks)]
    near = [max(axis.start, start) for axis, start in zip(box, origin)]
    far = [min(axis.stop, start + chunk) for axis, start, chunk in zip(box, origin, layout.chunks)]
    there: tuple[Any, ...] = tuple(slice(a - axis.start, b - axis.start) for a, b, axis in zip(near, far, box))
    target = out[(*there, ...)]
    if not piece:
        target[...] = np.zeros((), out.dtype)
        return
    direct = target.shape == layout.chunks and target.flags.c_contiguous
    whole = target if direct else np.empty(layout.chunks, out.dtype)
    if int.from_bytes(piece[4:8], "little") != whole.nbytes:  # else blosc2 would write beyond the end
        raise source.corrupt("A chunk of the stored array has another size than its neighbours.")
    _blosc2().decompress2(piece, dst=_bytes_of(whole), nthreads=1)
    if not direct:
        here: tuple[Any, ...] = tuple(slice(a - start, b - start) for a, b, start in zip(near, far, origin))
        target[...] = whole[here]
