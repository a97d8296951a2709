"""Reads NumPy's `.npy` files that others wrote, without doing what is written in them.

A `.npy` file of objects is a pickle, and a pickle is a program: loading it runs it. Suite2p keeps its settings and its
ROIs in such files, so they have to be read, and they come from other machines, so they must not be run.

A restricted unpickler that lets NumPy's own constructors through is not enough. `numpy.ndarray(1, object, buffer)`
takes its object pointers from the file, and `numpy.dtype.__setstate__` lets the file deny that an object array holds
pointers; both corrupt the memory of the process. Hence nothing of NumPy is called while unpickling: every name that is
admitted gives an inert stand-in, which keeps what it was told, and the arrays are made afterwards, from bytes of
checked length and plain number types.
"""

from __future__ import annotations

import io
import math
import pickle
import re
import struct
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import date, datetime, time, timedelta, timezone
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from adamacs.core.errors import UnreadableFile

_HEADER = re.compile(r"\{'descr': '([^']{2,20})', 'fortran_order': (True|False), 'shape': \(([\d, ]*)\), \} *\n?")
_LONGEST_HEADER = 10_000  # bytes
_NUMBER = re.compile(r"b1|i[1248]|u[1248]|f[248]|c8|c16")
_TEXT = re.compile(r"[SU]\d{1,6}")
_HINT = "Was the copy complete, and was the file written by Suite2p? Nothing in it was run."

# By identity, what was settled: the value itself (which must live as long as its identity is used) and its result.
_Seen = dict[int, tuple[Any, Any]]

# What damaged or hostile bytes can make the unpickler, a stand-in or NumPy raise.
_DAMAGE = (
    pickle.UnpicklingError,
    struct.error,
    EOFError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    ImportError,
    AssertionError,
    OverflowError,
    MemoryError,
    RecursionError,
)


def read_array(path: Path) -> np.ndarray:
    """Open an array of numbers without reading it: a slice reads only what it needs.

    Raises
    ------
    UnreadableFile
        The file is missing, cut short or no array of numbers.
    """
    with _complaints(path), path.open("rb") as file:
        header = _read_header(file)
        dtype = _number_type(header.descr)
        expected = file.tell() + dtype.itemsize * math.prod(header.shape)
        if path.stat().st_size < expected:
            raise ValueError(f"{path.stat().st_size} bytes of {expected}")
        if 0 in header.shape:  # nothing to map
            return np.zeros(header.shape, dtype)
        order: Any = "F" if header.fortran else "C"
        return np.memmap(path, dtype, "r", offset=file.tell(), shape=header.shape, order=order)


def read_object(path: Path) -> Any:
    """Read what `numpy.save` wrote for a dict or for an array of dicts, running nothing.

    Returns
    -------
    The dict, or an array of objects. They hold None, numbers, text, bytes, dates, dicts, lists, tuples, sets and arrays
    (read-only) of numbers or of these; a `pathlib` path comes back as text.

    Raises
    ------
    UnreadableFile
        The file is missing or cut short, or it names something else, which is then named in the message.
    """
    with _complaints(path), path.open("rb") as file:
        header = _read_header(file)
        if header.descr != "|O":
            raise ValueError(f"it holds numbers, {header.descr}, and no objects")
        array = _settle(_Unpickler(file).load(), {})
        if not isinstance(array, np.ndarray) or array.shape != header.shape:
            raise ValueError("header and content disagree")
        return array.item() if header.shape == () else array


@contextmanager
def _complaints(path: Path) -> Iterator[None]:
    """Say of which file it is that it cannot be read, and why."""
    try:
        yield
    except FileNotFoundError as error:
        raise UnreadableFile("The file is missing.", path, _HINT) from error
    except OSError as error:
        raise UnreadableFile(f"The file cannot be read ({error.strerror or error}).", path) from error
    except _DAMAGE as error:
        raise UnreadableFile(f"The file is damaged, or not what it should be ({error}).", path, _HINT) from error


class _Header(NamedTuple):
    descr: str
    fortran: bool
    shape: tuple[int, ...]


def _read_header(file: BinaryIO) -> _Header:
    """Read what a `.npy` file says first: the type of its numbers, their order and the array's shape."""
    magic = file.read(8)
    if magic[:6] != b"\x93NUMPY" or magic[6:] not in (b"\x01\x00", b"\x02\x00", b"\x03\x00"):
        raise ValueError("no file of NumPy")
    size = file.read(2 if magic[6] == 1 else 4)
    length = int.from_bytes(size, "little")
    text = file.read(length) if length <= _LONGEST_HEADER else b""
    match = _HEADER.fullmatch(text.decode("latin1"))
    if match is None:
        raise ValueError("its header is cut short or none that NumPy writes")
    return _Header(match[1], match[2] == "True", tuple(int(count) for count in re.findall(r"\d+", match[3])))


def _number_type(descr: str) -> np.dtype[Any]:
    """Return the type of plain numbers that a header names."""
    order, code = descr[:1], descr[1:]
    if order not in "<>|=" or not _NUMBER.fullmatch(code):
        raise ValueError(f"it holds {descr}, and not an array of numbers")
    return np.dtype(descr)


class _Standin:
    """A name that the file may use: calling it keeps or checks values, and can do nothing else.

    Each use of a name gets its own, so that a file which writes into one (a pickle can) spoils only itself.
    """

    __slots__ = ("_make",)

    def __init__(self, make: Callable[..., Any]) -> None:
        self._make = make

    def __call__(self, *arguments: Any) -> Any:
        return self._make(*arguments)


class _DType:
    """What the file says about a number type, checked before NumPy hears of it."""

    __slots__ = ("dtype",)

    def __init__(self, code: Any, *_: Any) -> None:
        if isinstance(code, bytes):
            code = code.decode("ascii")
        if not isinstance(code, str):
            raise pickle.UnpicklingError("a number type is not named by text")
        if code in ("O", "O4", "O8"):
            self.dtype = np.dtype(object)
        elif _NUMBER.fullmatch(code) or _TEXT.fullmatch(code):
            self.dtype = np.dtype(code)
        else:
            raise pickle.UnpicklingError(f"number type {code[:40]!r} is not one that Suite2p writes")

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        """Take the byte order, and refuse fields; the flags are NumPy's own business and are ignored."""
        _, order, subarray, names, fields, *_ = state
        if subarray is not None or names is not None or fields is not None:
            raise pickle.UnpicklingError("a number type with fields is not one that Suite2p writes")
        if order in (">", b">"):
            self.dtype = self.dtype.newbyteorder(">")


class _Array:
    """What the file says about an array; `settle` makes it."""

    __slots__ = ("data", "dtype", "fortran", "shape")

    def __init__(self, *_: Any) -> None:
        self.dtype: np.dtype[Any] | None = None
        self.data: Any = b""

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        *_, shape, dtype, fortran, data = state
        if not isinstance(dtype, _DType) or not isinstance(data, list if dtype.dtype.hasobject else (bytes, str)):
            raise pickle.UnpicklingError("an array's type and content do not fit")
        if not all(type(length) is int and length >= 0 for length in shape):
            raise pickle.UnpicklingError("an array's shape is not made of counts")
        self.shape, self.dtype, self.fortran = tuple(shape), dtype.dtype, bool(fortran)
        self.data = data.encode("latin1") if isinstance(data, str) else data

    def settle(self, seen: _Seen) -> np.ndarray:
        """Make the array, from bytes or from a list of settled values."""
        if self.dtype is None:
            raise pickle.UnpicklingError("an array without content")
        order: Any = "F" if self.fortran else "C"
        if not self.dtype.hasobject:
            return _from_bytes(self.data, self.dtype).reshape(self.shape, order=order)
        flat = np.empty(len(self.data), dtype=object)
        for index, value in enumerate(self.data):
            flat[index] = _settle(value, seen)
        return flat.reshape(self.shape, order=order)


def _reconstruct(*arguments: Any) -> _Array:
    return _Array(*arguments)


def _scalar(dtype: Any, data: Any) -> Any:
    """Make one NumPy number from its bytes."""
    if not isinstance(dtype, _DType) or dtype.dtype.hasobject:
        raise pickle.UnpicklingError("a number of no plain type")
    raw = data.encode("latin1") if isinstance(data, str) else data
    return _from_bytes(raw, dtype.dtype)[0]


def _from_bytes(data: bytes, dtype: np.dtype[Any]) -> np.ndarray:
    """Make a flat array; a text of codes that Unicode does not have could be made, and never be looked at."""
    array = np.frombuffer(data, dtype)
    if dtype.kind == "U" and array.view(np.dtype("u4").newbyteorder(dtype.byteorder)).max(initial=0) > sys.maxunicode:
        raise pickle.UnpicklingError("a text holds what is no letter")
    return array


def _encode(text: str, encoding: str = "latin1") -> bytes:
    """Turn text back into bytes, the way that old pickles write them."""
    if encoding not in ("latin1", "latin-1", "iso-8859-1"):
        raise pickle.UnpicklingError(f"text encoded as {encoding!r}")
    return text.encode("latin1")


def _posix(*parts: str) -> str:
    return str(PurePosixPath(*parts))


def _windows(*parts: str) -> str:
    return str(PureWindowsPath(*parts))


def _plain_dict(pairs: Any = ()) -> dict[Any, Any]:
    return dict(pairs)


_NUMPY: Mapping[str, Callable[..., Any]] = {"_reconstruct": _reconstruct, "scalar": _scalar}
_BUILTINS: Mapping[str, Callable[..., Any]] = {"set": set, "frozenset": frozenset, "complex": complex}
_PATHS = {"PosixPath": _posix, "PurePosixPath": _posix, "WindowsPath": _windows, "PureWindowsPath": _windows}
_ADMITTED: Mapping[str, Mapping[str, Callable[..., Any]]] = {
    "numpy.core.multiarray": _NUMPY,  # NumPy 1
    "numpy._core.multiarray": _NUMPY,  # NumPy 2
    "numpy": {"ndarray": _Array, "dtype": _DType},
    "_codecs": {"encode": _encode},  # protocol 2, written by NumPy before 1.17
    "builtins": _BUILTINS,
    "__builtin__": _BUILTINS,  # protocol 2
    "collections": {"OrderedDict": _plain_dict},
    "datetime": {"datetime": datetime, "date": date, "time": time, "timedelta": timedelta, "timezone": timezone},
    "pathlib": _PATHS,
    "pathlib._local": _PATHS,  # Python 3.13
}
_SETTLED = (type(None), bool, int, float, complex, str, bytes, np.generic, date, time, timedelta, timezone)


class _Unpickler(pickle._Unpickler):
    """Hands out stand-ins for the names above, and refuses every other.

    It is Python's own unpickler written in Python: for the one in C a few bytes that name a far place in its memory of
    values are an order to allocate up to 64 GB. From bytes in memory no more can be read than are there; a bytearray,
    which NumPy never writes, would be made before it is read.
    """

    dispatch = {code: load for code, load in pickle._Unpickler.dispatch.items() if code != pickle.BYTEARRAY8[0]}

    def __init__(self, file: BinaryIO) -> None:
        super().__init__(io.BytesIO(file.read()), encoding="latin1")

    def find_class(self, module: str, name: str) -> Any:
        make = _ADMITTED.get(module, {}).get(name)
        if make is None:
            raise pickle.UnpicklingError(f"it names {module}.{name}, which is not admitted")
        return _Standin(make)

    def persistent_load(self, pid: Any) -> Any:
        raise pickle.UnpicklingError(f"it names a persistent object {pid!r}, which is not admitted")


def _settle(value: Any, seen: _Seen) -> Any:
    """Replace the stand-ins in a value by what they stand for; refuse what is left over."""
    if isinstance(value, _SETTLED):
        return value
    if id(value) not in seen:
        if type(value) in (dict, list):
            seen[id(value)] = (value, value)  # before its content, which may lead back to it
        seen[id(value)] = (value, _settle_composite(value, seen))
    return seen[id(value)][1]


def _settle_composite(value: Any, seen: _Seen) -> Any:
    if isinstance(value, _Array):
        return value.settle(seen)
    if isinstance(value, _DType):
        return value.dtype
    if type(value) is dict:
        if not all(isinstance(key, (*_SETTLED, tuple)) for key in value):
            raise pickle.UnpicklingError("a dict's key is no plain value")
        value.update({key: _settle(item, seen) for key, item in value.items()})
        return value
    if type(value) is list:
        value[:] = [_settle(item, seen) for item in value]
        return value
    if type(value) in (tuple, set, frozenset):
        return type(value)(_settle(item, seen) for item in value)
    raise pickle.UnpicklingError(f"a bare {type(value).__name__.lstrip('_')} where a value belongs")
