"""Arrays at rest: write one, keep a small reference to it in a row, read as much of it as is asked for.

An array is written before any row names it, and a row holds a reference: the store, the path, shape and type, and
the digest that tells whether the file is still the one that was written. Every read verifies what it reads.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
from blake3 import blake3

from adamacs.core import points, settings
from adamacs.core.errors import CorruptArray, UnstorableArray, describe
from adamacs.storage import frames, stores
from adamacs.storage.frames import Layout, Source
from adamacs.storage.stores import Store

SUFFIX = ".b2nd"
_LONGEST_NAME = 80  # characters of one folder of a path
_LONGEST_KEY = 320  # characters of all of them; longer keys are cut and told apart by a hash
_DEVICES = {"con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(10))}
_HEX = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class ArrayReference:
    """A stored array, or a part of it, without its values: indexing reads them.

    It holds plain values only, for DataJoint hashes whatever `make_fetch` returns to the last object, twice.

    Parameters
    ----------
    store
        Name of the store.
    path
        Path of the `.b2nd` file in the store.
    stored_shape, stored_dtype
        Shape and type of the whole array in the file.
    digest
        blake3 of the file of sums, in hexadecimal: another file under the same path does not pass for this one.
    selected_row
        The one row (index of the first axis) that this reference stands for.
    selected_rows
        Start and stop of the rows that it stands for.
    selected_field
        The one field of a structured array that it stands for.

    Examples
    --------
    >>> trace = fluorescence.row(17)  # reads nothing
    >>> trace[100:200]  # reads the chunks that hold these samples
    >>> np.asarray(trace)  # reads the trace
    """

    store: str
    path: str
    stored_shape: tuple[int, ...]
    stored_dtype: str
    digest: str
    selected_row: int | None = None
    selected_rows: tuple[int, int] | None = None
    selected_field: str | None = None

    __iter__ = None  # whoever prints or hashes a reference must not read it row by row: np.asarray(reference) does

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of what this reference stands for."""
        if self.selected_row is not None:
            return self.stored_shape[1:]
        if self.selected_rows is not None:
            start, stop = self.selected_rows
            return (stop - start, *self.stored_shape[1:])
        return self.stored_shape

    @property
    def dtype(self) -> np.dtype:
        """Type of one value."""
        dtype = frames.dtype_of(self.stored_dtype)
        return dtype if self.selected_field is None else dtype[self.selected_field]

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """Number of values."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes that the values take in memory."""
        return self.size * self.dtype.itemsize

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("len() of a single value")
        return self.shape[0]

    def __repr__(self) -> str:
        part = "" if self.selected_row is None else f" row {self.selected_row}"
        part += "" if self.selected_rows is None else f" rows {self.selected_rows[0]}:{self.selected_rows[1]}"
        part += "" if self.selected_field is None else f" field {self.selected_field}"
        dtype = "structured" if self.dtype.names else str(self.dtype)
        return f"<array {dtype} {self.shape} in {self.store}:{self.path}{part}>"

    def __getitem__(self, index: Any) -> Any:
        """Read the part that integers, slices and `...` select, as numpy would return it."""
        if isinstance(index, str):
            return self.field(index)[...]
        return _read(self, index)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        if copy is False:
            raise ValueError("A stored array is always copied into memory.")
        return np.asarray(_read(self, ...), dtype)

    def row(self, i: int) -> ArrayReference:
        """Return a reference to one row (index of the first axis), without reading."""
        start, length = self._first_axis()
        if not -length <= i < length:
            raise IndexError(f"Row {i} of {length}.")
        return replace(self, selected_row=start + int(i) % length, selected_rows=None)

    def rows(self, start: int | None, stop: int | None = None) -> ArrayReference:
        """Return a reference to the rows from `start` to `stop`, as a slice counts them, without reading."""
        first, length = self._first_axis()
        begin, end, _ = slice(start, stop).indices(length)
        return replace(self, selected_rows=(first + begin, first + max(begin, end)))

    def field(self, name: str) -> ArrayReference:
        """Return a reference to one field of a structured array, without reading."""
        names = self.dtype.names or ()
        if name not in names:
            raise KeyError(f"{name!r} is no field of this array; it has {', '.join(names) or 'none'}.")
        return replace(self, selected_field=name)

    def to_json(self) -> dict[str, Any]:
        """Return the value that a row holds."""
        value: dict[str, Any] = {
            "store": self.store,
            "path": self.path,
            "shape": list(self.stored_shape),
            "dtype": self.stored_dtype,
            "digest": self.digest,
        }
        selection = {"row": self.selected_row, "rows": self.selected_rows, "field": self.selected_field}
        return value | {name: part for name, part in selection.items() if part is not None}

    @classmethod
    def from_json(cls, value: Mapping[str, Any] | str) -> ArrayReference:
        """Read the value of a row.

        Raises
        ------
        UnsafePath
            The path leads out of its store.
        CorruptArray
            The value is no array reference.
        """
        try:
            fields = json.loads(value) if isinstance(value, str) else dict(value)
            reference = _validated(fields)
        except (ValueError, TypeError, KeyError) as error:
            what = f"The row holds no reference to an array ({error})."
            raise CorruptArray(what, hint="Was it written by adamacs? Restore the row from a dump.") from error
        stores.parts_of(reference.path)
        return reference

    def _first_axis(self) -> tuple[int, int]:
        """Return where the rows of this reference begin in the stored array, and how many there are."""
        if self.selected_row is not None or not self.stored_shape:
            raise TypeError("This reference stands for one row already; index it instead.")
        start, stop = self.selected_rows or (0, self.stored_shape[0])
        return start, stop - start


def write(store: str | Store, path: str, array: Any) -> ArrayReference:
    """Write an array durably under a new path and return the reference for its row.

    Both the array and its sums are on the disk when this returns, and neither is visible where it fails.

    Parameters
    ----------
    store
        A store, or its name in the settings.
    path
        Path in the store, as `path_of` makes one.
    array
        Anything that numpy makes an array of. It is stored little-endian and in C order; a memory-mapped array is
        read chunk by chunk.

    Raises
    ------
    UnstorableArray
        The array holds Python objects.
    StoreUnavailable
        The store is full, refuses, or has something under this path already.
    """
    place = stores.named(store) if isinstance(store, str) else store
    values = _values(array)
    with place.create(sums_path(path), path) as (sums, file):
        layout = frames.write(file, values, _threads())
        points.reach("mid array write")
        table = layout.to_bytes()
        sums.write(table)
    points.reach("after rename")
    return ArrayReference(place.name, path, layout.shape, layout.dtype, blake3(table).hexdigest())


def verify(reference: ArrayReference) -> None:
    """Check every byte of the file that a reference names, whatever part of it the reference stands for.

    Raises
    ------
    CorruptArray
        Bytes of the array or of its sums are missing or changed.
    """
    store = stores.named(reference.store)
    layout = _read_layout(store, reference.path, reference.digest)
    with _source(store, reference.path) as source:
        frames.verify(_agreeing(layout, reference, source), source, _threads())


def remove(reference: ArrayReference) -> None:
    """Remove the file of a reference and its sums, the array first: sums alone are read by nobody."""
    store = stores.named(reference.store)
    store.remove(reference.path)
    store.remove(sums_path(reference.path))


def sums_path(path: str) -> str:
    """Return the path of the sums that stand beside an array."""
    return f"{path}.sums"


def path_of(table: str, key: Mapping[str, Any], attribute: str) -> str:
    """Return a new path for the array of one attribute of one row: `<table>/<name=value>/.../<attribute>-<hex>.b2nd`.

    Two attempts never share a file, for the last part is random. Folders tell the key, so that a message can name
    it and a person finds the row of a file.

    Parameters
    ----------
    table
        Name of the table, with or without its schema and DataJoint's marks of the tier.
    key
        Primary key of the row. Whatever stands in it, the path is safe on every system.
    attribute
        Name of the column.
    """
    folders = [_safe(f"{name}={value}") for name, value in key.items()]
    cut: list[str] = []
    while folders and len("/".join([*cut, *folders])) > _LONGEST_KEY:
        cut = [_fingerprint(key)]
        folders.pop()
    plain = table.replace("`", "").replace('"', "").rpartition(".")[2].lstrip("_#~")
    return "/".join([_safe(plain), *folders, *cut, f"{_safe(attribute)}-{secrets.token_hex(8)}{SUFFIX}"])


def key_of(path: str) -> dict[str, str]:
    """Return what a path tells of the key of its row."""
    named = (folder.partition("=") for folder in path.split("/")[:-1])
    return {name: value for name, equals, value in named if equals}


def _safe(name: str) -> str:
    """Return a name that every file system takes; where that changes it, a hash keeps it apart from others."""
    kept = re.sub(r"[^A-Za-z0-9_=.+-]", "_", name)[:_LONGEST_NAME]
    if kept == name and kept.strip(".") == kept and kept and kept.split(".")[0].lower() not in _DEVICES:
        return kept
    return f"{kept.strip('.')[: _LONGEST_NAME - 9]}_{_fingerprint(name)}"


def _fingerprint(value: Any) -> str:
    text = describe(value) if isinstance(value, Mapping) else str(value)
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=4).hexdigest()


def _values(array: Any) -> np.ndarray:
    try:
        return np.asarray(array)
    except ValueError as error:
        raise UnstorableArray(f"This is no array: {error}.", hint="Give every row the same length.") from error


def _validated(fields: dict[str, Any]) -> ArrayReference:
    """Build a reference from JSON, trusting nothing in it."""
    known = {"store", "path", "shape", "dtype", "digest", "row", "rows", "field"}
    if unknown := set(fields) - known:
        raise ValueError(f"unknown: {', '.join(sorted(unknown))}")
    texts = {name: fields[name] for name in ("store", "path", "dtype", "digest")}
    if not all(isinstance(text, str) and text for text in texts.values()) or not _HEX.fullmatch(texts["digest"]):
        raise ValueError("store, path, dtype and digest are texts")
    shape = _whole_numbers(fields["shape"])
    dtype = frames.dtype_of(texts["dtype"])
    reference = ArrayReference(texts["store"], texts["path"], shape, texts["dtype"], texts["digest"])
    if "field" in fields:
        if fields["field"] not in (dtype.names or ()):
            raise ValueError(f"no field {fields['field']!r}")
        reference = replace(reference, selected_field=fields["field"])
    if "rows" in fields:
        start, stop = _whole_numbers(fields["rows"])
        if not shape or not start <= stop <= shape[0]:
            raise ValueError(f"rows {start}:{stop} of shape {shape}")
        reference = replace(reference, selected_rows=(start, stop))
    if "row" in fields:
        (row,) = _whole_numbers([fields["row"]])
        if "rows" in fields or not shape or row >= shape[0]:
            raise ValueError(f"row {row} of shape {shape}")
        reference = replace(reference, selected_row=row)
    return reference


def _whole_numbers(values: Any) -> tuple[int, ...]:
    if not isinstance(values, list | tuple) or not all(type(value) is int and value >= 0 for value in values):
        raise ValueError(f"{values!r} are no lengths")
    return tuple(values)


def _threads() -> int:
    asked = settings.active().workers.threads
    if asked > 0:
        return asked
    # Only the cores that this process may use: a scheduler may have given it fewer than there are.
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _read(reference: ArrayReference, index: Any) -> Any:
    """Read the box of values around an index, then let numpy take the index out of it."""
    axes, keep = _axes(reference, index)
    box = tuple(_around(axis) for axis in axes)
    shape = tuple(part.stop - part.start for part in box)
    if 0 in shape and 0 not in reference.stored_shape:
        values = np.empty(shape, frames.dtype_of(reference.stored_dtype))  # nothing is asked for
    else:
        values = _fetch(reference, box)
    if reference.selected_field is not None:
        values = values[reference.selected_field]
    # Where all is integers numpy returns a value, and with `...` an array without axes.
    part = values[(*map(_inside, axes, box), *keep)]
    # A part taken out of more must not keep the rest in memory.
    return np.ascontiguousarray(part).reshape(part.shape) if isinstance(part, np.ndarray) else part


def _axes(reference: ArrayReference, index: Any) -> tuple[list[int | range], tuple[Any, ...]]:
    """Return what an index selects on every axis of the stored array, and `...` where it was part of the index."""
    parts = list(index) if isinstance(index, tuple) else [index]
    for part in parts:
        if isinstance(part, bool) or not (part is Ellipsis or isinstance(part, slice | int | np.integer)):
            what = f"A stored array takes integers, slices and `...`, not {type(part).__name__}"
            raise TypeError(f"{what}; for more, read it first: np.asarray(reference)[...].")
    ranges = [range(length) for length in reference.stored_shape]
    if reference.selected_rows is not None:
        ranges[0] = range(*reference.selected_rows)
    fixed: list[int | range] = []
    if reference.selected_row is not None:
        fixed, ranges = [reference.selected_row], ranges[1:]
    dots = [place for place, part in enumerate(parts) if part is Ellipsis]
    if len(dots) > 1 or len(parts) - len(dots) > len(ranges):
        raise IndexError(f"Index {index!r} has too many parts for shape {reference.shape}.")
    gap = dots[0] if dots else len(parts)
    filled = parts[:gap] + [slice(None)] * (len(ranges) + len(dots) - len(parts)) + parts[gap + len(dots) :]
    keep = (Ellipsis,) if dots else ()
    return fixed + [axis[part] for axis, part in zip(ranges, filled, strict=True)], keep


def _around(axis: int | range) -> slice:
    """Return the least slice that holds an integer or a range."""
    if isinstance(axis, int):
        return slice(axis, axis + 1)
    if not axis:
        return slice(0, 0)
    return slice(min(axis[0], axis[-1]), max(axis[0], axis[-1]) + 1)


def _inside(axis: int | range, around: slice) -> int | slice:
    """Return where an integer or a range lies in the slice around it."""
    if isinstance(axis, int):
        return 0
    if not axis:
        return slice(0, 0)
    end = axis[-1] - around.start + (1 if axis.step > 0 else -1)
    return slice(axis[0] - around.start, None if end < 0 else end, axis.step)


def _fetch(reference: ArrayReference, box: frames.Box) -> np.ndarray:
    store = stores.named(reference.store)
    whole = all(part == slice(0, length) for part, length in zip(box, reference.stored_shape))
    # Sums once read stay right, for the digest in the row names them. Who reads the whole array checks them anew.
    layout = (_read_layout if whole else _kept_layout)(store, reference.path, reference.digest)
    with _source(store, reference.path) as source:
        return frames.read(_agreeing(layout, reference, source), source, box, _threads())


def _read_layout(store: Store, path: str, digest: str) -> Layout:
    """Read and verify the sums of an array.

    Raises
    ------
    CorruptArray
        They are missing, or are not those that the row names.
    """
    with _source(store, sums_path(path)) as source:
        table = source.read(0, None)
        if blake3(table).hexdigest() != digest:
            raise source.corrupt("The sums of this array changed, or belong to another array than the row names.")
        try:
            return Layout.from_bytes(table)
        except ValueError as error:
            raise source.corrupt(f"The sums of this array cannot be read. {error}") from error


_kept_layout = lru_cache(maxsize=256)(_read_layout)


def _agreeing(layout: Layout, reference: ArrayReference, source: Source) -> Layout:
    if layout.shape != reference.stored_shape or layout.dtype != reference.stored_dtype:
        what = f"The row names an array {reference.stored_dtype} {reference.stored_shape}"
        found = f"and the file holds {layout.dtype} {layout.shape}."
        raise source.corrupt(f"{what}, {found}")
    return layout


@contextmanager
def _source(store: Store, path: str) -> Iterator[Source]:
    """Open a file for reading. That it is missing is damage too, and the message names its key."""
    key = describe(key_of(path))
    where = f"{key}: {store.locate(path)}" if key else store.locate(path)
    try:
        with store.reading(path) as file:
            yield Source(file.read, file.size, where, store.span, store.streams)
    except FileNotFoundError as error:
        raise frames.corrupt("The file is missing.", where) from error
