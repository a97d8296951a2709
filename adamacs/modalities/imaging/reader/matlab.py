"""Values and assignments as MATLAB prints them into a file's header; nothing is ever evaluated.

ScanImage tells its settings as lines `SI.hBeams.powers = [15 0]`, or, since 2018 where so configured, as JSON.
Both become one flat mapping from dotted names to values.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

Value = Any  # int, float, bool, str, a tuple (matrix; of tuples where it has several rows) or a list (cell array)

_TOKEN = re.compile(r"\s*(?:(?P<mark>[\[\]{};,])|(?P<text>'(?:[^']|'')*')|(?P<word>[^\s\[\]{};,']+))")
_EMPTY = re.compile(r"(zeros|ones|cell)\((0,\d+|\d+,0)\)")
_WHOLE = re.compile(r"[+-]?\d{1,18}")
_NAME = re.compile(r"[A-Za-z][\w.() ]*")
_WORDS: Mapping[str, Value] = {"true": True, "false": False}
_CLOSING = {"[": "]", "{": "}"}
_DEEPEST = 16  # brackets within brackets; a header that nests deeper is not ScanImage's


class Header(Mapping[str, Value]):
    """Settings by dotted name. A value is read when it is asked for: a header may hold megabytes nobody needs.

    Parameters
    ----------
    texts
        Values as the file spells them.
    values
        Values that need no reading.
    """

    def __init__(self, texts: Mapping[str, str], values: Mapping[str, Value] | None = None) -> None:
        self._texts = dict(texts)
        self._values = dict(values or {})

    def __getitem__(self, name: str) -> Value:
        if name not in self._values:
            self._values[name] = literal(self._texts[name])
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys((*self._texts, *self._values)))

    def __len__(self) -> int:
        return len(self._texts.keys() | self._values.keys())

    def below(self, prefix: str) -> Header:
        """Return the settings whose names begin with a prefix, without it."""
        start = len(prefix)
        return Header(
            {name[start:]: text for name, text in self._texts.items() if name.startswith(prefix)},
            {name[start:]: value for name, value in self._values.items() if name.startswith(prefix)},
        )


def read_header(text: str) -> Header:
    """Read assignments, one a line (`name = value` or `name=value`), or the same as JSON; other lines are skipped."""
    if text.lstrip().startswith("{"):
        return Header({}, dict(_flattened("", json_value(text))))
    pairs = (line.partition("=") for line in re.split(r"[\r\n]+", text))
    named = ((name.strip(), value.strip()) for name, equals, value in pairs if equals)
    return Header({name: value for name, value in named if _NAME.fullmatch(name)})


def literal(text: str) -> Value:
    """Read one MATLAB literal; what is none (a class name, a function handle) stays text.

    >>> literal("[1 NaN;-3e4 true]")
    ((1, nan), (-30000.0, True))
    >>> literal("{'bench2p' [0.5 1]}")
    ['bench2p', (0.5, 1)]
    >>> literal("<nonscalar struct/object>")
    '<nonscalar struct/object>'
    """
    text = text.strip()
    if _EMPTY.fullmatch(text):
        return ()
    tokens = _tokens(text)
    if tokens is None:
        return text
    try:
        value, used = _read(tokens, 0, 0)
    except _NotALiteral:
        return text
    return value if used == len(tokens) else text


def numbers(value: Value) -> tuple[float, ...]:
    """Return every number of a scalar, matrix or cell array in reading order, as floats."""
    if isinstance(value, bool | int | float):
        try:
            return (float(value),)
        except OverflowError:  # JSON may spell whole numbers of any length
            return (math.inf if value > 0 else -math.inf,)
    if isinstance(value, tuple | list):
        return tuple(number for item in value for number in numbers(item))
    return ()


def json_value(text: str) -> Value:
    """Read JSON as ScanImage writes it: lists become tuples, its array objects their data; {} where it is broken."""
    try:
        return _plain(json.loads(text))
    except (ValueError, RecursionError):
        return {}


class _NotALiteral(Exception):
    """The text is no MATLAB literal after all."""


def _tokens(text: str) -> list[str] | None:
    tokens, at = [], 0
    while at < len(text):
        found = _TOKEN.match(text, at)
        if found is None:
            return None
        tokens.append(found.group().strip() if found["text"] is None else found["text"])
        at = found.end()
    return tokens


def _read(tokens: list[str], at: int, depth: int) -> tuple[Value, int]:
    """Read the value that begins at a token; return it and the place behind it."""
    if at >= len(tokens) or depth > _DEEPEST:
        raise _NotALiteral
    token = tokens[at]
    if token not in _CLOSING:
        return _scalar(token), at + 1
    rows: list[list[Value]] = [[]]
    at += 1
    while at < len(tokens) and tokens[at] != _CLOSING[token]:
        if tokens[at] == ";":
            rows.append([])
            at += 1
        elif tokens[at] == ",":
            at += 1
        else:
            item, at = _read(tokens, at, depth + 1)
            rows[-1].append(item)
    if at >= len(tokens):
        raise _NotALiteral
    filled = [row for row in rows if row]
    if token == "{":
        return [item for row in filled for item in row], at + 1
    if len(filled) > 1:
        return tuple(tuple(row) for row in filled), at + 1
    return tuple(filled[0]) if filled else (), at + 1


def _scalar(token: str) -> Value:
    if token in ("]", "}", ";", ","):
        raise _NotALiteral
    if token.startswith("'"):
        return token[1:-1].replace("''", "'")
    if token in _WORDS:
        return _WORDS[token]
    if _WHOLE.fullmatch(token):
        return int(token)
    try:
        return float(token)  # also Inf, -Inf and NaN
    except ValueError:
        return token


def _plain(value: Any) -> Value:
    if isinstance(value, dict):
        if "_ArrayType_" in value:
            return _plain(value.get("_ArrayData_") or [])
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, list):
        return tuple(_plain(item) for item in value)
    return value


def _flattened(name: str, value: Value) -> Iterator[tuple[str, Value]]:
    """Spell nested objects as the text header does: `a.b`, and `a__1.b` for the members of a list of objects."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _flattened(f"{name}.{key}" if name else key, item)
    elif isinstance(value, tuple) and value and all(isinstance(item, dict) for item in value):
        for number, item in enumerate(value, start=1):
            yield from _flattened(f"{name}__{number}", item)
    elif name:
        yield name, () if value is None else value
