"""Bytes to values, and values that take the place of others: mutation that a container's checksums do not stop.

A fuzzer changes bytes, and sees which lines that reaches. Bytes of an HDF5 file or a pickle are mostly lengths and
addresses, and whoever changes them gets no further than the library that opens the container. Hence some readers are
fed a sound container whose values are chosen by the fuzzer's bytes: each byte is a choice.
"""

from __future__ import annotations

import copy
import math
import struct
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

import numpy as np

_T = TypeVar("_T")

_MOST_CHANGES = 6
_DEEPEST = 3
_INTEGERS = (0, 1, -1, 2, 3, 127, 255, 65_536, 2**31 - 1, 2**31, -(2**31), 2**53 + 1, 2**63 - 1, -(2**63), 10**30)
_FLOATS = (0.0, -0.0, 0.5, 1.0, -1.0, 1e-320, 1e-9, 1e9, 1e18, 1e300, math.inf, -math.inf, math.nan)
_TEXTS = ("", "0", "1", "nan", "true", "a;b", "2026-02-10", "10-Feb-2026", "09:30:00", "µ", "\x01", "x" * 300, "..")
_DTYPES = ("f8", "f4", "f2", "i8", "i4", "i2", "i1", "u8", "u4", "u2", "u1", "?", "c8", ">f8", ">i4", "S3", "U2")


class Draw:
    """Choices taken from bytes, one after the other; where these have run out, every choice is the first one.

    Parameters
    ----------
    data
        The bytes.
    nothing
        How the format that is written says that there is no value.
    """

    def __init__(self, data: bytes, nothing: Any = None) -> None:
        self._data, self._at = data, 0
        self._nothing = nothing

    @property
    def left(self) -> int:
        """How many bytes were not used yet."""
        return max(len(self._data) - self._at, 0)

    def bytes(self, count: int) -> bytes:
        """Return the next bytes, zeros where there are none."""
        found = self._data[self._at : self._at + count]
        self._at += count
        return found.ljust(count, b"\0")

    def below(self, bound: int) -> int:
        """Return a whole number from 0 to less than the bound, which is at most 65536."""
        return int.from_bytes(self.bytes(1 if bound <= 256 else 2), "little") % bound

    def pick(self, among: Sequence[_T]) -> _T:
        """Return one of some things."""
        return among[self.below(len(among))]

    def number(self) -> int | float:
        """Return a number of the kind that programs forget, or any."""
        kind = self.below(5)
        if kind == 0:
            return self.pick(_INTEGERS)
        if kind == 1:
            return self.pick(_FLOATS)
        if kind == 2:
            return float(struct.unpack("<d", self.bytes(8))[0])
        return self.below(256) if kind == 3 else self.below(65_536) / 16

    def text(self) -> str:
        """Return a text of the kind that programs forget, or any of Latin letters."""
        return self.pick(_TEXTS) if self.below(2) else self.bytes(self.below(12)).decode("latin1")

    def array(self) -> np.ndarray:
        """Return an array of any shape up to three dimensions, and of any plain type."""
        shape = tuple(self.below(4) for _ in range(self.below(4)))
        values = [self.number() for _ in range(min(math.prod(shape), 4))]
        with np.errstate(all="ignore"):
            wide = np.resize(np.array([float(value) for value in values] or [0.0]), shape)
            return wide.astype(self.pick(_DTYPES))

    def value(self, depth: int = 0) -> Any:
        """Return a value that a file could hold in any place."""
        kind = self.below(9 if depth < _DEEPEST else 6)
        if kind < 6:
            return self._plain(kind)
        members = [self.value(depth + 1) for _ in range(self.below(4))]
        if kind == 6:
            return members
        return tuple(members) if kind == 7 else {f"{self.pick('abc')}{at}": one for at, one in enumerate(members)}

    def _plain(self, kind: int) -> Any:
        if kind == 3:
            return self._nothing
        if kind == 4:
            return bool(self.below(2))
        return self.bytes(self.below(12)) if kind == 5 else (self.number, self.text, self.array)[kind]()


def changed(tree: Any, draw: Draw) -> Any:
    """Return a copy of nested dicts, lists and arrays with some of its values changed, taken out or put elsewhere."""
    tree = copy.deepcopy(tree)
    for _ in range(_MOST_CHANGES):
        places = list(_places(tree))
        if not draw.left or not places:
            break
        holder, key = draw.pick(places)
        _change(holder, key, draw, places)
    return tree


def _places(tree: Any) -> Iterator[tuple[Any, Any]]:
    """Yield every member's holder and its key there."""
    if isinstance(tree, dict):
        keys: Sequence[Any] = list(tree)
    elif isinstance(tree, list) or (isinstance(tree, np.ndarray) and tree.dtype == object):
        keys = list(range(len(tree))) if isinstance(tree, list) else list(np.ndindex(tree.shape))
    else:
        return
    for key in keys:
        yield tree, key
        yield from _places(tree[key])


def _change(holder: Any, key: Any, draw: Draw, places: Sequence[tuple[Any, Any]]) -> None:
    kind, value = draw.below(8), holder[key]
    if kind == 0 and isinstance(holder, dict):
        del holder[key]
    elif kind == 1 and isinstance(holder, dict):
        holder[draw.text() or "a"] = copy.deepcopy(value)
    elif kind == 2:
        other, place = draw.pick(places)
        holder[key] = copy.deepcopy(other[place])
    elif kind in (3, 4, 5) and isinstance(value, np.ndarray) and value.dtype.kind in "fiub":
        holder[key] = _array_changed(value, draw)
    else:
        holder[key] = draw.value()


def _array_changed(value: np.ndarray, draw: Draw) -> np.ndarray:
    """Return an array with another number in one place, of another length, shape or type."""
    kind = draw.below(4)
    if kind == 0 and value.size:
        new = value.copy()
        with np.errstate(all="ignore"):
            new.reshape(-1)[draw.below(min(value.size, 256))] = np.array(float(draw.number())).astype(value.dtype)
        return new
    if kind == 1:
        return value[..., : draw.below(value.shape[-1] + 1)] if value.ndim and value.shape[-1] < 65_536 else value
    if kind == 2:
        return np.atleast_1d(value).reshape(draw.pick(((-1,), (-1, 1), (1, -1), (1, 1, -1))))
    with np.errstate(all="ignore"):
        return value.astype(draw.pick(_DTYPES))
