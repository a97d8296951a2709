"""Compare what the headers of MAT, NPY and ZIP files promise with the bytes that are there. Nothing is unpickled."""

from __future__ import annotations

import ast
import math
import re
import struct
from typing import Any

from adamacs.core.formats import hdf5
from adamacs.core.formats.source import Source

NPY = b"\x93NUMPY"
_LONGEST_HEADER = 1 << 16  # bytes
_MATRIX, _COMPRESSED = 14, 15
_WIDTHS = (8, 4, 4, 2, 2, 1)  # bytes per value of a MAT 4 matrix, by the third digit of its type
_TYPE = re.compile(r"[<>|=]?([a-zA-Z])(\d{0,9})(\[[^\]]{1,20}\])?")
_END = b"PK\x05\x06"
_DAMAGE = (ValueError, TypeError, SyntaxError, KeyError, RecursionError, MemoryError)


def check_mat(source: Source) -> str:
    """Return `MAT 7.3`, `MAT 5` or `MAT 4` where all variables are inside the file."""
    head = source.head(128)
    if hdf5.find(source) is not None:
        hdf5.check(source)
        return "MAT 7.3"
    if head[124:128] in (b"\x00\x01IM", b"\x01\x00MI"):
        _check_mat_5(source, "<" if head[126:128] == b"IM" else ">")
        return "MAT 5"
    if head.startswith(b"MATLAB"):
        raise source.fail("The MAT file ends within its header, or its first variable never came.")
    _check_mat_4(source)
    return "MAT 4"


def _check_mat_5(source: Source, order: str) -> None:
    at = 128
    while at < source.size or at == 128:
        kind, size = struct.unpack(order + "II", source.read(at, 8, "next variable"))
        if kind not in (_MATRIX, _COMPRESSED) or size == 0:
            raise source.fail(f"At byte {at} should stand a variable, but there is a value of type {kind}.")
        source.reaches(at, 8 + size, "variable")
        at += 8 + size + (-size % 8 if kind == _MATRIX else 0)


def _check_mat_4(source: Source) -> None:
    at = 0
    while at < source.size or at == 0:
        data = source.read(at, 20, "next variable")
        order = "<" if int.from_bytes(data[:4], "little") < 5000 else ">"
        kind, rows, columns, imaginary, name = struct.unpack(order + "5I", data)
        precision = kind // 10 % 10
        if kind >= 5000 or kind // 100 % 10 or precision > 5 or kind % 10 > 2 or imaginary > 1 or not 0 < name < 256:
            raise source.fail(f"This is no MAT file: at byte {at} stands no variable.", "Is it what its name says?")
        size = 20 + name + rows * columns * _WIDTHS[precision] * (1 + imaginary)
        source.reaches(at, size, "variable")
        at += size


def check_npy(source: Source) -> str:
    """Return `NPY` where the file holds all numbers that its header promises."""
    head = source.read(0, 8, "header")
    if head[:6] != NPY or head[6] not in (1, 2, 3):
        raise source.fail(f"This is no NPY: it begins with {head!r}.", "Is it what its name says?")
    wide = 2 if head[6] == 1 else 4
    length = int.from_bytes(source.read(8, wide, "header"), "little")
    source.reaches(8 + wide, length, "header")
    if length > _LONGEST_HEADER:
        raise source.fail(f"The header claims {length} bytes, more than any program writes there.")
    try:
        header = ast.literal_eval(source.read(8 + wide, length, "header").decode("latin1").strip())
        shape = header["shape"]
        item, count = _size_of(header["descr"]), _product(shape)
    except _DAMAGE as error:
        raise source.fail("The header is damaged, or none that NumPy writes.") from error
    start = 8 + wide + length
    if item is None:  # a pickle ends with a full stop
        if source.size <= start or source.read(source.size - 1, 1, "end") != b".":
            raise source.fail("The objects in this NPY have no end.")
    else:
        source.reaches(start, item * count, "array")
    return "NPY"


def _size_of(described: Any) -> int | None:
    """Return the bytes per item of a type; None for objects, whose size no header tells."""
    if isinstance(described, list):
        sizes = [_field_size(*field) for field in described]
        return None if None in sizes else sum(size or 0 for size in sizes)
    match = _TYPE.fullmatch(described)
    if match is None:
        raise ValueError("no type")
    if match[1] == "O":
        return None
    return int(match[2]) * (4 if match[1] == "U" else 1)


def _field_size(_name: Any, described: Any, shape: tuple[int, ...] = ()) -> int | None:
    size = _size_of(described)
    return None if size is None else size * _product(shape)


def _product(shape: Any) -> int:
    if not isinstance(shape, tuple) or len(shape) > 64 or not all(type(n) is int and 0 <= n < 1 << 63 for n in shape):
        raise ValueError("a shape is made of counts")
    return math.prod(shape)


def check_zip(source: Source) -> str:
    """Return `ZIP` where the list of members stands at the end and is whole."""
    tail = source.tail(22 + (1 << 16))
    at = len(tail)
    while (at := tail.rfind(_END, 0, at)) >= 0:  # a comment behind it may look like another
        if at + 22 + int.from_bytes(tail[at + 20 : at + 22], "little") == len(tail):
            break
    else:
        raise source.fail("The ZIP has no list of its members, which is written last.")
    end = source.size - len(tail) + at
    size = int.from_bytes(tail[at + 12 : at + 16], "little")
    if tail[at - 20 : at - 16] == b"PK\x06\x07":  # a longer end stands before, for many or large members
        end = int.from_bytes(tail[at - 12 : at - 4], "little")
        size = int.from_bytes(source.read(end, 56, "list of members")[40:48], "little")
    if size and (size > end or source.read(end - size, 4, "list of members") != b"PK\x01\x02"):
        raise source.fail(f"The ZIP's list of members should lie at byte {end - size}, but it does not.")
    return "ZIP"
