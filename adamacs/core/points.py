"""Named places at which a test can kill the process, as a power cut would.

`ADAMACS_KILL_AT="after rename:3"` makes the third arrival at that place the last thing the process does. Nobody sets
it outside the chaos suite; unset, a place costs one look at a dictionary.
"""

from __future__ import annotations

import os
import signal

NAMES = ("after claim", "mid compute", "mid array write", "after rename", "computed", "before commit", "after commit")
CONSOLIDATION = ("staged", "mid copy", "copied", "recorded", "published", "mid removal")  # no worker comes there
VARIABLE = "ADAMACS_KILL_AT"

_left: dict[str, int] = {}


def arm(text: str) -> None:
    """Choose the place and the arrival at which to die: `name:count`; an empty text disarms.

    Raises
    ------
    ValueError
        There is no such place, or the count is no number.
    """
    _left.clear()
    if text:
        name, _, count = text.partition(":")
        if name not in (known := NAMES + CONSOLIDATION):
            raise ValueError(f"{VARIABLE} names no place: {name!r}. Known: {', '.join(known)}.")
        _left[name] = int(count or 1)


def reach(name: str) -> None:
    """Say that the process is at a place."""
    if name in _left:
        _left[name] -= 1
        if _left[name] <= 0:
            os.kill(os.getpid(), getattr(signal, "SIGKILL", signal.SIGTERM))


arm(os.environ.get(VARIABLE, ""))
