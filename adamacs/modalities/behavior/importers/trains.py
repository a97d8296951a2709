"""Trains of frames as they are stored: missing ones filled in where the setup type asks for that, each repair told."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from adamacs.core.clocks import counters
from adamacs.core.clocks.counters import Gap
from adamacs.core.events import Repair, Series


def filled(kind: str, times: NDArray[np.float64], what: str, gaps: tuple[Gap, ...]) -> tuple[Series, tuple[str, ...]]:
    """Return a train with the missing frames put in, and a sentence for each gap that is a pause and stayed.

    Parameters
    ----------
    kind, what
        Its event type, and what that is.
    times
        (frame,): s, increasing.
    gaps
        Where frames are missing.
    """
    whole = counters.repair(times, gaps)
    before = np.cumsum([0, *(gap.missing for gap in whole.repairs)])
    repairs = (
        Repair(gap.index + 1 + int(shift), gap.missing, gap.start, gap.stop)
        for gap, shift in zip(whole.repairs, before, strict=False)
    )
    pauses = (f"{kind} paused from {gap.start:.3f} to {gap.stop:.3f} s; nothing was put in." for gap in whole.left)
    return Series(kind, whole.times, what, tuple(repairs)), tuple(pauses)
