"""Names of files, in the order in which a person would read them."""

from __future__ import annotations

import re

_DIGITS = re.compile(r"(\d+)")


def natural_order(name: str) -> tuple[tuple[str | int, ...], str]:
    """Return a key that sorts `scan_9` before `scan_10`.

    Numbers in a name count by their value; where two names differ by leading zeros alone, the text decides.

    >>> sorted(["scan_10.tif", "scan_9.tif"], key=natural_order)
    ['scan_9.tif', 'scan_10.tif']
    """
    pieces = _DIGITS.split(name)  # text and digits by turns, text first: the same kinds are compared
    return tuple(int(piece) if number % 2 else piece for number, piece in enumerate(pieces)), name
