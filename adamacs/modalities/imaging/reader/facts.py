"""Values that a tool kept in tables of its own, asked for by name and kind: what is of another kind is an error.

Such a table comes from another machine and may hold anything under any name; a number may be an int, a float of whole
value, or an array of one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from adamacs.core.errors import UnreadableFile

_HINT = "Is this a result folder of Suite2p 0.14 or 1.x, as Suite2p left it?"
_MOST = 2**31 - 1
_DEEPEST = 16
_MOST_VALUES = 100_000


class Facts:
    """A table of values.

    Parameters
    ----------
    path
        What an error names: the file, or the folder of several.
    values
        By name; None counts as missing.
    owner
        Whose values these are, as an error says it.
    """

    def __init__(self, path: Path, values: Mapping[Any, Any], owner: str = "Its") -> None:
        self.path, self._values, self._owner = path, values, owner

    def __contains__(self, name: str) -> bool:
        return self._values.get(name) is not None

    def fail(self, name: str, what: str) -> UnreadableFile:
        return UnreadableFile(f"{self._owner} {name} {what}.", self.path, _HINT)

    def value(self, name: str) -> Any:
        """Return a value whatever it is; None where there is none."""
        return self._values.get(name)

    def group(self, name: str) -> Facts | None:
        """Return a table within this one; None where there is none."""
        found = self._values.get(name)
        return Facts(self.path, found, f"{self._owner} {name}:") if isinstance(found, dict) else None

    def real(self, name: str, default: float | None = None) -> float:
        """Return one finite number.

        Raises
        ------
        UnreadableFile
            It is none, or is missing where there is no default.
        """
        value = self._values.get(name)
        if value is None:
            if default is None:
                raise UnreadableFile(f"Nothing in it says {name}.", self.path, _HINT)
            return default
        found = _as_array(value)
        if found is None or found.size != 1 or found.dtype.kind not in "fiub" or not np.isfinite(found).all():
            raise self.fail(name, f"is {_kind_of(value)}, and not a number")
        return float(found.item())

    def whole(self, name: str, default: int | None = None, *, least: int = 0) -> int:
        """Return one whole number from `least` on, and of at most 31 bits; errors as for `real`."""
        found = self.real(name, default)
        if not least <= found <= _MOST or found != math.floor(found):
            raise self.fail(name, f"is {found:g}, which cannot be")
        return int(found)

    def flag(self, name: str) -> bool:
        """Return a truth; false where there is none. Errors as for `real`."""
        return bool(self.real(name, 0.0))

    def numbers(self, name: str) -> np.ndarray | None:
        """Return an array of numbers; None where there is none. A ragged list and text are errors."""
        value = self._values.get(name)
        if value is None:
            return None
        found = _as_array(value)
        if found is None or found.dtype.kind not in "fiub":
            if found is not None and found.size == 0:
                return np.zeros(found.shape)
            raise self.fail(name, f"is {_kind_of(value)}, and no array of numbers")
        return found

    def plain(self, names: tuple[str, ...]) -> dict[str, Any]:
        """Return those of some values that are there, as what JSON knows: numbers, text, lists and dicts.

        Raises
        ------
        UnreadableFile
            They hold themselves, or more than settings do.
        """
        return _Plain(self).of_names({name: self._values[name] for name in names if name in self._values})


class _Plain:
    """Turns NumPy's numbers and arrays, tuples and dates into what JSON knows, within bounds."""

    def __init__(self, facts: Facts) -> None:
        self._facts, self._left = facts, _MOST_VALUES

    def of_names(self, values: Mapping[str, Any]) -> dict[str, Any]:
        return {name: self._of(name, value, 0) for name, value in values.items()}

    def _of(self, name: str, value: Any, depth: int) -> Any:
        self._left -= getattr(value, "size", 1)
        if self._left < 0 or depth > _DEEPEST:
            raise self._facts.fail(name, "holds more than settings do, or holds itself")
        if isinstance(value, dict):
            return {str(key): self._of(name, item, depth + 1) for key, item in value.items()}
        if isinstance(value, (np.ndarray, np.generic)):
            value = value.tolist()
        if isinstance(value, (list, tuple, set, frozenset)):
            return [self._of(name, item, depth + 1) for item in value]
        return value if isinstance(value, (bool, int, float, str, type(None))) else str(value)


def _as_array(value: Any) -> np.ndarray | None:
    """Return a value as an array; None where NumPy makes none of it, as of a ragged list."""
    try:
        return np.asarray(value)
    except (ValueError, TypeError, OverflowError, RecursionError):
        return None


def _kind_of(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"an array of {value.shape}, {value.dtype}"
    return type(value).__name__
