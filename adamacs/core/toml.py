"""TOML files that people write, read against a dataclass: every fault of a file is told at once, each with its key."""

from __future__ import annotations

import dataclasses
import math
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from types import UnionType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from adamacs.core.errors import InvalidSetting, nearest
from adamacs.core.modality import Problem

T = TypeVar("T")

_KINDS: Mapping[Any, str] = {
    str: "a text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    tuple[str, ...]: "a list of texts",
    tuple[float, float]: "a list of two numbers",
}


def key(
    doc: str, default: Any = dataclasses.MISSING, *, fits: Callable[[Any], object] | None = None, takes: str = ""
) -> Any:
    """Declare a field of a dataclass as a key of a file.

    Parameters
    ----------
    doc
        The sentence that the reference page prints.
    default
        What holds where the key is absent; a key without a default must be there.
    fits, takes
        Whether a value is admitted, and a sentence that says which ones are.
    """
    return dataclasses.field(default=default, metadata={"doc": doc, "fits": fits, "takes": takes})


def read(path: Path) -> dict[str, Any]:
    """Return the content of a TOML file.

    Raises
    ------
    InvalidSetting
        It cannot be read, or is no TOML; the message tells the line.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))  # Windows editors put a mark in front
    except ValueError as error:  # no TOML, no text, or a whole number beyond what Python converts
        raise InvalidSetting(f"This is not valid TOML: {error}.", path) from error
    except RecursionError as error:
        raise InvalidSetting("This TOML is nested too deeply.", path) from error
    except OSError as error:
        raise InvalidSetting(f"This file cannot be read: {error.strerror}.", path) from error


def content(path: Path) -> tuple[dict[str, Any], list[Problem]]:
    """Return what a file holds, or why it cannot be read: one broken file hides nothing that is wrong with others."""
    try:
        return read(path), []
    except InvalidSetting as error:
        return {}, [Problem("error", error.what, hint=error.hint or "")]


def read_as(kind: type[T], path: Path) -> tuple[T | None, list[Problem]]:
    """Return what a file says, as an object, or None and everything that is wrong with it."""
    table, problems = content(path)
    return (None, problems) if problems else build(kind, table)


def refuse(faults: Mapping[Path, Sequence[Problem]]) -> None:
    """Raise one error that tells everything that is wrong with some files; do nothing where nothing is.

    Raises
    ------
    InvalidSetting
        A line for each problem, with its key and what to try.
    """
    broken = {path: problems for path, problems in faults.items() if problems}
    if len(broken) == 1:
        ((path, problems),) = broken.items()
        raise InvalidSetting(f"This file cannot be used:{_listed(problems)}", path)
    if broken:
        raise InvalidSetting(
            "These files cannot be used:" + "".join(_listed(found, f"{path}: ") for path, found in broken.items())
        )


def _listed(problems: Sequence[Problem], place: str = "") -> str:
    return "".join(
        f"\n  {place}{f'{problem.where}: ' if problem.where else ''}{problem.what} {problem.hint}".rstrip()
        for problem in problems
    )


def build(kind: type[T], table: Mapping[str, Any], at: str = "", **given: Any) -> tuple[T | None, list[Problem]]:
    """Return what a table of a file says, as an object, and everything that is wrong with the table.

    Parameters
    ----------
    kind
        A dataclass whose fields are declared with `key`; fields declared otherwise are no keys of the file.
    table
        As TOML has it.
    at
        Where the table stands in the file, such as `expected 2`.
    given
        Values of fields that are no keys.

    Returns
    -------
    tuple
        The object, or None where something is wrong; and the problems, with the key as their `where`.
    """
    declared = keys_of(kind)  # type: ignore[arg-type]  # a class is hashable
    problems = [
        Problem("error", "There is no such key.", _place(at, name), nearest(name, list(declared)))
        for name in table
        if name not in declared
    ]
    values: dict[str, Any] = {}
    for name, (hint, field) in declared.items():
        if name in table:
            values[name], found = _value(hint, field, table[name], _place(at, name))
            problems += found
        elif field.default is dataclasses.MISSING:
            problems.append(Problem("error", "This key is missing.", _place(at, name), f"It takes {_takes(hint)}."))
    return (None if problems else kind(**given, **values)), problems


@cache
def keys_of(kind: Any) -> Mapping[str, tuple[Any, dataclasses.Field[Any]]]:
    """Return the keys that a dataclass declares, each with its type and its field."""
    hints = get_type_hints(kind)
    fields = dataclasses.fields(kind)
    return {field.name: (_plain(hints[field.name]), field) for field in fields if "doc" in field.metadata}


def documented(kind: Any, at: str = "") -> Iterator[tuple[str, str, Any, str]]:
    """Yield (key, what it takes, default, sentence) of every key, those of inner tables too, for the reference page."""
    for name, (hint, field) in keys_of(kind).items():
        yield f"{at}{name}", _takes(hint), field.default, field.metadata["doc"]
        if inner := _inner(hint) or _section(hint):
            yield from documented(inner, f"{at}{name}.")


def _plain(hint: Any) -> Any:
    """Return `int` of `int | None`: absence is a default, no value that a file can hold."""
    return get_args(hint)[0] if get_origin(hint) is UnionType else hint


def _inner(hint: Any) -> Any:
    """Return the dataclass of a list of tables, or None."""
    inner = get_args(hint)[0] if get_origin(hint) is tuple else None
    return inner if dataclasses.is_dataclass(inner) else None


def _section(hint: Any) -> Any:
    """Return the dataclass of a table, or None."""
    return hint if dataclasses.is_dataclass(hint) else None


def _takes(hint: Any) -> str:
    return _KINDS.get(hint) or ("a list of tables" if _inner(hint) else "a table")


def _value(hint: Any, field: Any, value: Any, place: str) -> tuple[Any, list[Problem]]:
    """Return a value as its field holds it, and what is wrong with it."""
    if not _is_a(value, hint):
        return None, [Problem("error", f"{_shown(value)} does not fit.", place, f"It takes {_takes(hint)}.")]
    if section := _section(hint):
        return build(section, value, place)
    if inner := _inner(hint):
        built = [build(inner, table, f"{place} {number}") for number, table in enumerate(value, 1)]
        return tuple(item for item, _ in built), [problem for _, found in built for problem in found]
    held = _held(value, hint)
    if (fits := field.metadata["fits"]) and not fits(held):
        return None, [Problem("error", f"{_shown(value)} does not fit.", place, field.metadata["takes"])]
    return held, []


def _held(value: Any, hint: Any) -> Any:
    if hint == tuple[float, float]:
        return tuple(map(float, value))
    if get_origin(hint) is tuple:
        return tuple(value)
    return float(value) if hint is float else value


def _is_a(value: Any, hint: Any) -> bool:
    if hint is float:
        return _is_number(value)
    if hint == tuple[float, float]:
        return type(value) is list and len(value) == 2 and all(map(_is_number, value))
    if get_origin(hint) is tuple:
        of_list = dict if _inner(hint) else str
        return type(value) is list and all(type(item) is of_list for item in value)
    return isinstance(value, dict) if hint not in _KINDS else type(value) is hint  # true is no number


def _is_number(value: Any) -> bool:
    """Tell a number from nan, inf, true, and a whole number that no float can hold."""
    try:
        return type(value) in (int, float) and math.isfinite(value)
    except OverflowError:
        return False


def _shown(value: Any) -> str:
    return "This" if isinstance(value, dict | list) else repr(value)


def _place(at: str, name: str) -> str:
    return f"{at}, {name}" if at else name
