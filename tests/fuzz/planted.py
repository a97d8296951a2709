"""A reader with three faults, to see that the machinery finds each."""

from __future__ import annotations

import itertools
from pathlib import Path

from tests.fuzz.targets import Target

_DONE: set[str] = set()


def read_badly(_: Path, data: bytes) -> None:
    """Take 150 MB, then fail, then never end: the last two where bytes are found one by one, by what they lead to.

    By chance one input in 16 million would do.
    """
    if data == b"mno" and "memory" not in _DONE:
        _DONE.add("memory")
        bytearray(150_000_000)
    if data[:1] == b"f" and data[1:2] == b"u" and data[2:3] == b"z":
        for _ in itertools.count() if "error" in _DONE else ():
            pass
        _DONE.add("error")
        raise KeyError("planted")


PLANTED = {"planted": Target(read_badly, lambda: [b"abcdef", b"mno"])}
