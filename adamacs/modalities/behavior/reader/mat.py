"""Reads one variable of a MAT 5 file into plain values: nothing is run, and no size that a file claims is believed.

SciPy reads the values, but it trusts what it reads: cells within cells, a few thousand deep, overflow its stack and end
the process, and a cell that claims 30,000 x 30,000 members asks for 7 GB before the first of them is looked at. Hence
every element of the variable is walked here first, and SciPy is given only what was found to fit. What is no plain
value (function handles, objects, tables, sparse matrices) and what nobody asked for is blanked: SciPy never meets it.

The format is MathWorks' "MAT-File Format" (level 5).
"""

from __future__ import annotations

import math
import re
import struct
import zlib
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import scipy.io
from scipy.io.matlab import MatReadError, mat_struct

from adamacs.core.errors import UnreadableFile
from adamacs.core.formats import require_whole
from adamacs.core.formats.source import COPY, Source, opened

_LARGEST = 1 << 27  # bytes of one variable, decompressed; a long Bpod session takes some ten megabytes
_MOST_ELEMENTS = 2_000_000
_MOST_VARIABLES = 10_000
_BEGINNING = 1024  # bytes of a variable that hold its name
_DEEPEST = 32  # structs within structs

_INT8, _UINT8, _INT32, _UINT32, _MATRIX, _COMPRESSED, _UTF8 = 1, 2, 5, 6, 14, 15, 16
_WIDTHS = {1: 1, 2: 1, 3: 2, 4: 2, 5: 4, 6: 4, 7: 4, 9: 8, 12: 8, 13: 8}  # bytes of a number, by its type
_TEXTS = {1: 1, 2: 1, 4: 2, 16: 1, 17: 2, 18: 4}  # least bytes of a character, by its type
_CELL, _STRUCT, _CHAR = 1, 2, 4
_NUMBERS = range(6, 16)
_STRANGE = {3: "an object", 5: "a sparse matrix", 16: "a function handle", 17: "an object"}
_COMPLEX = 0x800
_HEAD = 48  # bytes of a matrix without its values: flags, two dimensions, no name, the tag of the values
_BLANK = "\x01"  # what stands, in text, where something was not read
_FIELD = re.compile(rb"[A-Za-z]\w{0,62}")
_AS_V7 = "Save it from MATLAB as version 7: save(file, 'SessionData', '-v7')."
_DAMAGED = "The file is damaged: copy it again from the rig."
_DAMAGE = (
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    OverflowError,
    MemoryError,
    RecursionError,
    EOFError,
    OSError,
    MatReadError,
)


@dataclass(frozen=True)
class Variable:
    """One variable of a MAT file.

    Attributes
    ----------
    value
        A struct is a dict, an array of structs (other than one) and a cell are lists in MATLAB's order, text is str (a
        list where it has several rows), numbers are arrays of MATLAB's class and shape, logicals arrays of bool. In a
        list, None stands for what was not read.
    warnings
        What was left out, by its path.
    """

    value: Any
    warnings: tuple[str, ...] = ()


def read_variable(path: Path, name: str, *, fields: Collection[str] = (), ignore: Collection[str] = ()) -> Variable:
    """Read one variable of a MAT 5 file (MATLAB's versions 6 and 7).

    Parameters
    ----------
    path, name
        The file, and the variable in it.
    fields
        Of a struct, the fields that are read; all where none is named.
    ignore
        Names of fields that are left out wherever they stand.

    Raises
    ------
    UnreadableFile
        The file is cut short, damaged, of version 4 or 7.3, or holds no such variable: tells the element by its path
        and its byte within the (decompressed) variable.
    """
    path = Path(path)
    form = require_whole(path)
    with opened(path) as source:
        if form in ("MAT 7.3", "HDF5"):
            raise source.fail("This is a MAT file of version 7.3, which is not read.", _AS_V7)
        head = source.head(128)
        if head[124:128] not in (b"\x00\x01IM", b"\x01\x00MI"):
            raise source.fail("This is no MAT file of version 6 or 7.", _AS_V7)
        order = "<" if head.endswith(b"IM") else ">"
        data = _bytes_of(source, order, name)
    walk = _Walk(path, order, data, name, frozenset(fields), frozenset(ignore))
    walk.run()
    try:
        # Blanks are all the same to SciPy; a variable in a stream of its own cannot be confused with another.
        loaded = scipy.io.loadmat(
            BytesIO(head + bytes(data)), struct_as_record=False, squeeze_me=False, mat_dtype=True, variable_names=[name]
        )
        return Variable(_plain(loaded[name], walk.ignore), tuple(walk.warnings))
    except _DAMAGE as error:
        raise UnreadableFile(f"{name} cannot be read ({error}).", path, _DAMAGED) from error


def _bytes_of(source: Source, order: str, name: str) -> bytearray:
    """Return the bytes of a variable, decompressed, from its tag on."""
    found: list[str] = []
    at = 128
    while at < source.size:
        kind, size = struct.unpack(order + "II", source.read(at, 8, "next variable"))
        if kind not in (_MATRIX, _COMPRESSED) or size == 0 or len(found) > _MOST_VARIABLES:
            raise source.fail(f"At byte {at} should stand a variable, but there is a value of type {kind}.")
        source.reaches(at, 8 + size, "variable")
        called = _name_of(order, _content(source, at, kind, size, _BEGINNING))
        if called == name:
            return _whole(source, at, kind, size, name)
        found.append(called)
        at += 8 + size + (-size % 8 if kind == _MATRIX else 0)
    others = ", ".join(called for called in found[:5] if called) or "nothing that has a name"
    hint = "Is it the session that Bpod saved? Its settings and calibrations are MAT files, too."
    raise source.fail(f"The file holds no {name}, but {others}.", hint)


def _whole(source: Source, at: int, kind: int, size: int, name: str) -> bytearray:
    data = _content(source, at, kind, size, _LARGEST + 1)
    if len(data) > _LARGEST:
        raise source.fail(
            f"{name} takes more than {_LARGEST} bytes.", "Save the session without films and raw signals beside it."
        )
    return data


def _content(source: Source, at: int, kind: int, size: int, most: int) -> bytearray:
    """Return the first bytes of a variable from its tag on, decompressed; all where it has no more than `most`."""
    if kind == _MATRIX:
        return bytearray().join(source.pieces(at, min(8 + size, most), "variable"))
    machine, data = zlib.decompressobj(), bytearray()
    try:
        for piece in source.pieces(at + 8, size, "variable"):
            while piece and len(data) < most:
                data += machine.decompress(piece, most - len(data))
                piece = machine.unconsumed_tail
            if machine.eof or len(data) >= most:
                return data
    except zlib.error as error:
        raise source.fail(f"The variable at byte {at} cannot be decompressed ({error}).", _DAMAGED) from error
    raise source.fail(f"The variable at byte {at} ends before its compression does.", COPY)


def _name_of(order: str, data: bytearray) -> str:
    """Return a variable's name, "" for one that has none (where MATLAB keeps the insides of its objects)."""
    try:
        dims = struct.unpack_from(order + "I", data, 28)[0]
        at = 32 + dims + -dims % 8
        first, second = struct.unpack_from(order + "II", data, at)
        small = first >> 16
        start, size = (at + 4, small) if small else (at + 8, second)
    except struct.error:
        return ""
    return data[start : start + min(size, 63)].decode("latin1")


class _Walk:
    """All elements of one variable, each of them checked to lie within the one that holds it."""

    def __init__(
        self, path: Path, order: str, data: bytearray, root: str, fields: frozenset[str], ignore: frozenset[str]
    ) -> None:
        self.path, self.order, self.data, self.fields, self.ignore = path, order, data, fields, ignore
        self.warnings: list[str] = []
        self._place = [root]  # the names that lead to the element looked at
        self._pair = struct.Struct(order + "II")
        self._elements = 0
        self._memory = 0

    def run(self) -> None:
        """Check the whole variable.

        Raises
        ------
        UnreadableFile
            An element does not fit.
        """
        kind, start, size, _ = self._element(0, len(self.data))
        if kind != _MATRIX or start + size != len(self.data):
            raise self._fail(0, f"is a value of type {kind} and {size} bytes")
        self._matrix(start, start + size)

    def _fail(self, at: int, what: str, hint: str = _DAMAGED) -> UnreadableFile:
        return UnreadableFile(f"{''.join(self._place)} {what} (byte {at} of the variable).", self.path, hint)

    def _element(self, at: int, end: int) -> tuple[int, int, int, int]:
        """Read a tag; return its type, where its content begins, the bytes it has, and where the next tag stands."""
        if at + 8 > end:
            raise self._fail(at, "ends before all of it is there")
        kind, size = self._pair.unpack_from(self.data, at)
        if kind >> 16:  # up to four bytes stand within the tag
            kind, size = kind & 0xFFFF, kind >> 16
            if size > 4:
                raise self._fail(at, f"claims {size} bytes within a tag of 8")
            return kind, at + 4, size, at + 8
        following = at + 8 + size + (-size % 8 if kind != _MATRIX else 0)
        if following > end:
            raise self._fail(at, f"claims {size} bytes where {end - at - 8} are left")
        return kind, at + 8, size, following

    def _matrix(self, begin: int, end: int) -> None:
        """Check the content of one matrix, and of all that it holds."""
        self._spend(begin, 1, 0)
        if begin == end:  # MATLAB's shortest way to say []
            return
        if len(self._place) > _DEEPEST:
            raise self._fail(begin, "lies too deep")
        kind, start, size, at = self._element(begin, end)
        if (kind, size) != (_UINT32, 8):
            raise self._fail(begin, "has no flags")
        flags = self._pair.unpack_from(self.data, start)[0]
        if strange := _STRANGE.get(flags & 0xFF):
            self.warnings.append(f"{''.join(self._place)} is {strange} and was not read.")
            if not self._blank(begin, end):
                raise self._fail(begin, f"is {strange} of {end - begin} bytes")
            return
        dims, at = self._dimensions(at, end)
        _, _, _, at = self._element(at, end)  # the name, which only a variable has
        if (at := self._values(flags, dims, at, end)) != end:
            raise self._fail(at, f"has {end - at} bytes behind its values")

    def _dimensions(self, at: int, end: int) -> tuple[tuple[int, ...], int]:
        kind, start, size, following = self._element(at, end)
        if kind != _INT32 or size % 4 or not 8 <= size <= 32:
            raise self._fail(at, "has no dimensions")
        dims = struct.unpack_from(f"{self.order}{size // 4}i", self.data, start)
        if min(dims) < 0 or (0 in dims and max(dims) > _MOST_ELEMENTS):
            raise self._fail(at, f"has the dimensions {dims}")
        return dims, following

    def _values(self, flags: int, dims: tuple[int, ...], at: int, end: int) -> int:
        """Check what a matrix holds; return where its last value ends."""
        kind, count = flags & 0xFF, math.prod(dims)
        if kind == _CELL:
            self._spend(at, count, 8 * count)
            for number in range(1, count + 1):
                at = self._member(f"{{{number}}}", at, end)
            return at
        if kind == _STRUCT:
            return self._fields(count, at, end)
        if kind == _CHAR:
            return self._numbers(count, at, end, _TEXTS)
        if kind not in _NUMBERS:
            raise self._fail(at, f"is of the unknown class {kind}")
        if flags & _COMPLEX:  # asked for MATLAB's classes, SciPy would leave out the imaginary part
            raise self._fail(at, "holds complex numbers, which are not read", "Nothing that is measured here has any.")
        return self._numbers(count, at, end, _WIDTHS)

    def _numbers(self, count: int, at: int, end: int, widths: dict[int, int]) -> int:
        self._spend(at, 0, 8 * count)
        kind, _, size, following = self._element(at, end)
        exact = widths is _WIDTHS
        if kind not in widths or (size != count * widths[kind] if exact else size < count * widths[kind]):
            raise self._fail(at, f"holds {size} bytes of type {kind} where {count} values should be")
        return following

    def _fields(self, count: int, at: int, end: int) -> int:
        names, at = self._names(at, end)
        members = count * max(len(names), 1)
        self._spend(at, members, 8 * members)
        for number in range(1, count + 1):
            place = f"({number})" if count > 1 else ""
            for name in names:
                at = self._member(f"{place}.{name}", at, end, name)
        return at

    def _names(self, at: int, end: int) -> tuple[list[str], int]:
        kind, start, size, at = self._element(at, end)
        width = struct.unpack_from(self.order + "i", self.data, start)[0] if (kind, size) == (_INT32, 4) else 0
        kind, start, size, following = self._element(at, end)
        if not 0 < width <= 64 or kind not in (_INT8, _UINT8) or size % width:
            raise self._fail(at, "has no names of fields")
        spelt = [bytes(self.data[i : i + width]).split(b"\0")[0] for i in range(start, start + size, width)]
        if not all(map(_FIELD.fullmatch, spelt)) or len(set(spelt)) != len(spelt):
            raise self._fail(at, "has fields whose names are none, or are not all different")
        return [name.decode("ascii") for name in spelt], following

    def _member(self, place: str, at: int, end: int, field: str = "") -> int:
        """Check one member of a cell or a struct; return where the next one stands."""
        root = len(self._place) == 1
        self._place.append(place)
        kind, start, size, following = self._element(at, end)
        if kind != _MATRIX:
            raise self._fail(at, f"is a bare value of type {kind}")
        unwanted = field in self.ignore or (root and field and self.fields and field not in self.fields)
        if not (unwanted and self._blank(start, start + size)):
            self._matrix(start, start + size)
        self._place.pop()
        return following

    def _blank(self, begin: int, end: int) -> bool:
        """Write a text of as many bytes over a matrix; tell whether there was room."""
        room = end - begin - _HEAD
        if room < 8 or room % 8:
            return False
        head = (_UINT32, 8, _CHAR, 0, _INT32, 8, 1, room, _INT8, 0, _UTF8, room)
        self.data[begin:end] = struct.pack(self.order + "12I", *head) + room * _BLANK.encode()
        return True

    def _spend(self, at: int, elements: int, memory: int) -> None:
        """Refuse more elements, or more memory, than any session needs before anything is made of them."""
        self._elements += elements
        self._memory += memory
        if self._elements > _MOST_ELEMENTS or self._memory > 8 * len(self.data) or self._memory > 2 * _LARGEST:
            raise self._fail(at, "claims more members than there are bytes")


def _plain(value: Any, ignore: frozenset[str]) -> Any:
    """Turn what SciPy made of a variable into dicts, lists, text and arrays."""
    if isinstance(value, mat_struct):
        return dict(_read(value, ignore))
    if not isinstance(value, np.ndarray):
        raise TypeError(f"a {type(value).__name__} is no plain value")
    if value.dtype == object:
        members = value.ravel(order="F").tolist()
        single = len(members) == 1 and isinstance(members[0], mat_struct)
        return _plain(members[0], ignore) if single else [_plain(member, ignore) for member in members]
    if value.dtype.kind in "US":
        lines = value.ravel().tolist()
        text = "".join(lines)
        return None if text.startswith(_BLANK) else lines if len(lines) > 1 else text
    return value


def _read(value: mat_struct, ignore: frozenset[str]) -> Iterator[tuple[str, Any]]:
    """Yield the fields of a struct that were read."""
    for name in value._fieldnames:
        plain = _plain(value.__dict__[name], ignore)
        if name not in ignore and plain is not None:
            yield name, plain
