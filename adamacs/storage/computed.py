"""What was computed and is not in the database yet: kept in a small file, so that nobody has to compute it again.

A worker writes down what `make_compute` returned before it inserts it. Whoever takes the key up next, on whatever host,
lands that instead of computing again, if the result would stand on the very same things and every array that it names
is whole. The files lie below the root `processed`, which every host of a lab shares, as its stores are shared: what a
dead host computed is of no use in its own folder.

They are JSON and nothing is executed to read one. A value that JSON cannot hold exactly, such as an object of a class,
is not kept, and its key is computed again.
"""

from __future__ import annotations

import base64
import binascii
import json
import logging
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from blake3 import blake3

from adamacs.core import points
from adamacs.core.errors import AdamacsError, StoreUnavailable, describe
from adamacs.storage import arrays, frames
from adamacs.storage.arrays import ArrayReference
from adamacs.storage.failed import name_of
from adamacs.storage.stores.file import FileStore

log = logging.getLogger(__name__)

FOLDER = "computed"  # below the root
LARGEST = 16 << 20  # bytes of a file; larger values belong into arrays
_DAMAGED = (ValueError, TypeError, LookupError, ArithmeticError, RecursionError, AdamacsError)


class NotKept(ValueError):
    """JSON cannot hold this value exactly."""


@dataclass(frozen=True)
class Kept:
    """The place of one result: of a key of a table, computed from certain things by a certain adamacs."""

    store: FileStore
    path: str
    table: str
    key: Mapping[str, Any]

    def read(self) -> Any:
        """Return what was computed, with every array that it names verified; None where nothing is of use here.

        Raises
        ------
        StoreUnavailable
            A store does not answer, so that nobody can tell.
        """
        if not os.path.isfile(self.store.root / self.path):  # noqa: PTH113 (a Path raises where nobody may look)
            return None
        try:
            value, references = _loaded(self.store.read(self.path, 0, LARGEST))
            for reference in references:
                arrays.verify(reference)
        except StoreUnavailable:
            raise
        except (*_DAMAGED, FileNotFoundError) as error:
            # It stays until another takes its place: an array that is missing now may only be away.
            log.warning("A kept result of %s %s is of no use: %s", self.table, describe(self.key), error)
            return None
        return value

    def write(self, value: Any) -> bool:
        """Keep what was computed, durably, and tell whether that could be done. It never raises for the disk."""
        try:
            content = _dumped(self.table, self.key, value)
            self.store.remove(self.path)  # one that was of no use
            with self.store.create(self.path) as [draft]:
                draft.write(content)
        except NotKept as error:
            log.debug("What %s %s returned is not kept: %s", self.table, describe(self.key), error)
            return False
        except AdamacsError as error:
            log.warning("What was computed cannot be kept until it is in the database: %s", error)
            return False
        points.reach("after rename")
        return True

    def remove(self) -> None:
        """Forget the result, which is in the database or of no use; what cannot be removed goes with the sweep."""
        try:
            self.store.remove(self.path)
        except AdamacsError as error:
            log.debug("A kept result stays for the sweep: %s", error)


def kept(root: Path, table: str, key: Mapping[str, Any], fetched: Any, version: str) -> Kept | None:
    """Return the place of a result; None where what it stands on cannot be spelt.

    Parameters
    ----------
    root
        The root `processed`.
    fetched
        What the result stands on, as `make_fetch` returned it.
    version
        Of adamacs: another one may compute otherwise, or insert other things.
    """
    try:
        digest = blake3(_text([_spelt(dict(key), True), _spelt(fetched, True), version])).hexdigest()[:32]
    except NotKept as error:
        log.debug("What %s %s stands on cannot be spelt: %s", table, describe(key), error)
        return None
    return Kept(_store(root), f"{table}/{name_of(key)}-{digest}.json", table, dict(key))


def names_arrays(value: Any) -> bool:
    """Whether a result holds references to arrays."""
    if isinstance(value, Mapping):
        return any(map(names_arrays, value.values()))
    return isinstance(value, ArrayReference) or (isinstance(value, list | tuple) and any(map(names_arrays, value)))


Waiting = Callable[[str], Iterable[Mapping[str, Any]] | None]


def sweep(root: Path, older_than: float, drafts_older_than: float, waiting: Waiting) -> list[str]:
    """Remove what nobody will come back for, and return what that was.

    Parameters
    ----------
    older_than, drafts_older_than
        s since 1970: results, and half-written ones, that were written before go.
    waiting
        Returns the keys of a table that wait to be computed or landed, or None where nobody can tell. The newest result
        of each stays, however old.
    """
    store = _store(root)
    listed = {found.path: found.modified for found in store.listing()}
    newest = {_key_of(path): path for path in sorted(listed, key=lambda path: (listed[path], path))}
    old = {path for path, modified in listed.items() if modified < older_than}
    for table in {path.partition("/")[0] for path in old}:
        keys = waiting(table)
        if keys is None:
            old = {path for path in old if not path.startswith(f"{table}/")}
        for key in keys or ():
            old.discard(newest.get(f"{table}/{name_of(key)}", ""))
    dead = [*sorted(old), *(found.path for found in store.listing(partial=True) if found.modified < drafts_older_than)]
    for path in dead:
        store.remove(path)
    return [store.locate(path) for path in dead]


def _key_of(path: str) -> str:
    """Return the part of a result's path that is the same for all results of its key."""
    return path.rpartition("-")[0]


@lru_cache
def _store(root: Path) -> FileStore:
    return FileStore(root / FOLDER, name=FOLDER, make_root=True)


# ---- files


def _dumped(table: str, key: Mapping[str, Any], value: Any) -> bytes:
    spelt = _spelt(value)
    about = {"table": table, "key": describe(key), "blake3": blake3(_text(spelt)).hexdigest(), "computed": spelt}
    content = _text(about)
    if len(content) > LARGEST:
        raise NotKept(f"{len(content)} bytes are more than {LARGEST}.")
    return content


def _loaded(content: bytes) -> tuple[Any, set[ArrayReference]]:
    about = json.loads(content)
    spelt = about["computed"]
    if blake3(_text(spelt)).hexdigest() != about["blake3"]:
        raise ValueError("The file was changed.")
    references: set[ArrayReference] = set()
    return _value(spelt, references), references


def _text(spelt: Any) -> bytes:
    return json.dumps(spelt, allow_nan=False, separators=(",", ":")).encode()


# ---- values: plain ones are themselves, every other is an object with one name, its kind


def _spelt(value: Any, is_unordered: bool = False) -> Any:
    """Write a value as JSON can hold it; `is_unordered`: equal dicts are written alike."""
    kind = type(value)
    if kind in (bool, int, str, type(None)) or (kind is float and math.isfinite(value)):
        return value
    if kind is list:
        return [_spelt(item, is_unordered) for item in value]
    if kind is tuple:
        return {"tuple": [_spelt(item, is_unordered) for item in value]}
    if kind is dict:
        pairs = [[_spelt(name, is_unordered), _spelt(item, is_unordered)] for name, item in value.items()]
        return {"dict": sorted(pairs, key=lambda pair: _text(pair[0])) if is_unordered else pairs}
    if kind is np.ndarray or isinstance(value, np.generic):
        return {"array" if kind is np.ndarray else "scalar": _spelt_array(np.asarray(value))}
    for name, (known, write, _) in _KINDS.items():
        if kind is known:
            return {name: write(value)}
    raise NotKept(f"{kind.__module__}.{kind.__qualname__}")


def _spelt_array(array: np.ndarray) -> list[Any]:
    try:
        is_storable = frames.storable_dtype(array.dtype) == array.dtype
    except AdamacsError as error:
        raise NotKept(error.what) from error
    if not is_storable or array.nbytes > LARGEST:
        raise NotKept(f"an array {array.dtype} of {array.nbytes} bytes")
    return [frames.dtype_text(array.dtype), list(array.shape), _base64(array.tobytes())]


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()


def _without_zone(value: datetime | time) -> str:
    if value.tzinfo is not None or value.fold:
        raise NotKept("a time with a zone")
    return value.isoformat()


_KINDS: dict[str, tuple[type, Callable[[Any], Any], Callable[[Any], Any]]] = {
    "reference": (ArrayReference, ArrayReference.to_json, ArrayReference.from_json),
    "float": (float, repr, float),
    "decimal": (Decimal, str, Decimal),
    "bytes": (bytes, _base64, lambda text: base64.b64decode(text, validate=True)),
    "path": (type(Path()), str, Path),
    "datetime": (datetime, _without_zone, datetime.fromisoformat),
    "time": (time, _without_zone, time.fromisoformat),
    "date": (date, date.isoformat, date.fromisoformat),
    "timedelta": (timedelta, lambda t: [t.days, t.seconds, t.microseconds], lambda parts: timedelta(*parts)),
}


def _value(spelt: Any, references: set[ArrayReference]) -> Any:
    """Read what `_spelt` wrote, and collect the files of arrays that it names."""
    if isinstance(spelt, list):
        return [_value(item, references) for item in spelt]
    if not isinstance(spelt, dict):
        return spelt
    ((name, content),) = spelt.items()
    if name == "tuple":
        return tuple(_value(item, references) for item in content)
    if name == "dict":
        return dict(_pairs(content, references))
    if name in ("array", "scalar"):
        array = _array(*content)
        return array if name == "array" else array[()]
    _, _, read = _KINDS[name]
    value = read(content)
    if isinstance(value, ArrayReference):
        whole = (value.store, value.path, value.stored_shape, value.stored_dtype, value.digest)
        references.add(ArrayReference(*whole))
    return value


def _pairs(content: Any, references: set[ArrayReference]) -> Iterator[tuple[Any, Any]]:
    for name, item in content:
        yield _value(name, references), _value(item, references)


def _array(dtype: str, shape: list[int], content: str) -> np.ndarray:
    try:
        buffer = base64.b64decode(content, validate=True)
    except binascii.Error as error:
        raise ValueError(f"no base64: {error}") from error
    return np.ndarray(tuple(shape), frames.dtype_of(dtype), buffer).copy()
