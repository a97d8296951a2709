"""What a worker shows: a log line when something begins or ends, and in a terminal a line that moves."""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

from adamacs.core import logs, progress
from adamacs.core.errors import visible
from adamacs.core.progress import Progress

_EVERY = 0.2  # s between two redrawings of the moving line
_WIPE = "\x1b[K"  # to the end of the line


class Line:
    """The moving line of a terminal: stage, how far, how fast, how long to go, and of which key."""

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream = stream
        self._clock = clock
        self._stages: dict[str, tuple[str, float]] = {}  # of each key in work: the stage, and when it began
        self._drawn = -_EVERY

    def __call__(self, step: Progress) -> None:
        """Redraw for a step; often called, seldom drawn."""
        now = self._clock()
        stage, began = self._stages.get(step.of, ("", now))
        if step.stage != stage:
            began, self._drawn = now, -_EVERY
            self._stages[step.of] = (step.stage, began)
        if now - self._drawn >= _EVERY or step.fraction == 1:
            self._drawn = now
            self._draw(describe(step, now - began))

    def clear(self) -> None:
        """Wipe the line, before something else is written."""
        self._draw("")

    def _draw(self, text: str) -> None:
        width = shutil.get_terminal_size().columns - 1  # a line that fills the terminal would wrap
        self._stream.write(f"\r{_WIPE}{text[:width]}\r")
        self._stream.flush()


def describe(step: Progress, elapsed: float) -> str:
    """Write one step of a stage that began `elapsed` seconds ago.

    >>> describe(Progress("registration", 500, 2000, "frames"), 5.0)
    '  registration 500/2000 frames, 100/s, 15 s left'
    """
    text = f"  {step}"
    if step.done and elapsed > 0:
        rate = step.done / elapsed
        text += f", {rate:.3g}/s"
        if step.total:
            text += f", {max(step.total - step.done, 0) / rate:.0f} s left"
    return visible(f"{text}  ({step.of})" if step.of else text)  # last, for a narrow terminal cuts the end


class _Handler(logs.Terminal):
    """Write log lines above the moving line."""

    def __init__(self, stream: TextIO, level: int, line: Line | None) -> None:
        super().__init__(stream, level)
        self._line = line

    def emit(self, record: logging.LogRecord) -> None:
        if self._line:
            self._line.clear()
        super().emit(record)


@contextmanager
def shown(stream: TextIO) -> Iterator[None]:
    """Show log and progress of adamacs on a stream for the length of a block.

    The log says errors alone unless `-v`, `-vv` or ADAMACS_LOG_LEVEL ask for more; the moving line is always there.
    """
    line = Line(stream) if stream.isatty() else None
    with logs.showing(_Handler(stream, logs.level(), line)):
        try:
            with progress.listening(line):
                yield
        finally:
            if line:
                line.clear()
