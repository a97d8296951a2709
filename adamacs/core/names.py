"""Names of files, in the order in which a person would read them, and what other systems make of them."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Iterable
from itertools import pairwise

_DIGITS = re.compile(r"(\d+)")
_AS_ZEROS = str.maketrans("123456789", "000000000")
_RESERVED = re.compile("\0(con|prn|aux|nul|com[1-9]|lpt[1-9])(?=[.\0])")
_SIGNS = frozenset('<>:"|?*\\' + "".join(map(chr, range(1, 32))))
_FINE = bytes(code for code in range(256) if chr(code) not in _SIGNS)


def fold(text: str) -> str:
    """Return a spelling without what people vary: case, blanks, `-` and `_`.

    >>> fold("Bench2p oddball-V2") == fold("bench2p_Oddball_v2")
    True
    """
    return re.sub(r"[\s_-]+", "", text.casefold())


def natural_order(name: str) -> tuple[tuple[str | int, ...], str]:
    """Return a key that sorts `scan_9` before `scan_10`.

    Numbers in a name count by their value; where two names differ by leading zeros alone, the text decides.

    >>> sorted(["scan_10.tif", "scan_9.tif"], key=natural_order)
    ['scan_9.tif', 'scan_10.tif']
    """
    pieces = _DIGITS.split(name)  # text and digits by turns, text first: the same kinds are compared
    return tuple(int(piece) if number % 2 else piece for number, piece in enumerate(pieces)), name


def natural_sorted(names: Iterable[str]) -> list[str]:
    """Return names in their natural order: `sorted(names, key=natural_order)`, at a tenth of its time where it can.

    >>> natural_sorted(["scan_10.tif", "scan_9.tif"])
    ['scan_9.tif', 'scan_10.tif']
    """
    plain = sorted(names)
    shapes = "\0".join(plain).translate(_AS_ZEROS).split("\0")
    if len(shapes) != len(plain):
        return sorted(plain, key=natural_order)
    for (a, b), (shape, other) in zip(pairwise(plain), pairwise(shapes)):
        if shape != other and _differ_in_digits(a, b) and natural_order(a) > natural_order(b):
            return sorted(plain, key=natural_order)
    return plain


def _differ_in_digits(a: str, b: str) -> bool:
    """Tell whether a digit decides which of two names is first; elsewhere the text does, in either order."""
    if a[:1] != b[:1]:
        return a[:1].isdecimal() or b[:1].isdecimal()
    return next((x.isdecimal() or y.isdecimal() for x, y in zip(a, b) if x != y), False)


def alike(names: Collection[str]) -> list[tuple[str, ...]]:
    """Return the names that are one for Windows or macOS: they differ by case, or by how letters are composed.

    >>> alike(["a.tif", "A.tif", "b.tif"])
    [('a.tif', 'A.tif')]
    """
    text = "\0".join(names)
    if text.isascii() and len(set(text.lower().split("\0"))) >= len(names):
        return []
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(seen_elsewhere(name), []).append(name)
    return [tuple(group) for group in groups.values() if len(group) > 1]


def seen_elsewhere(name: str) -> str:
    """Return a name as a system sees it that knows neither case nor the composition of letters."""
    return (
        name.lower() if name.isascii() else unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())
    )


def not_on_windows(names: Collection[str]) -> list[str]:
    """Return the names that Windows cannot open, such as `NUL.tif`, `a:b` or one that ends with a blank.

    >>> not_on_windows(["a.tif", "aux.h5"])
    ['aux.h5']
    """
    text = "\0".join(("", *names, ""))
    signs = text.encode("utf-8", "surrogatepass").translate(None, _FINE)  # deletes what is fine
    if not signs and " \0" not in text and ".\0" not in text and not _RESERVED.search(text.lower()):
        return []
    return [
        name
        for name in names
        if name.endswith((" ", ".")) or _SIGNS.intersection(name) or _RESERVED.match(f"\0{name.lower()}\0")
    ]
