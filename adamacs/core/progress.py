"""How far a computation has come, told to whoever listens.

An engine says `progress.report("registration", 500, 2000, "frames")` and needs to know nothing about who listens: a
worker shows key, rate and time left, a notebook shows nothing. The listener belongs to the thread or task that set it,
so that two keys computed side by side do not speak through each other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass


@dataclass(frozen=True)
class Progress:
    """One step of a computation, as it was reported.

    Attributes
    ----------
    stage
        What is being done, in the field's words: `registration`, `detection`.
    done, total
        How many `unit` are done, of how many; `total` is None where nobody knows beforehand.
    unit
        What is counted: `frames`, `planes`, `files`. Empty where a stage only begins.
    of
        Whose computation it is; a worker adds table and key.
    """

    stage: str
    done: float = 0
    total: float | None = None
    unit: str = ""
    of: str = ""

    @property
    def fraction(self) -> float | None:
        """The part that is done, 0 to 1, or None where the total is not known."""
        return min(self.done / self.total, 1.0) if self.total else None

    def __str__(self) -> str:
        if self.total is None:
            return f"{self.stage} {self.done:g} {self.unit}".rstrip() if self.done else self.stage
        return f"{self.stage} {self.done:g}/{self.total:g} {self.unit}".rstrip()


Listener = Callable[[Progress], None]

_listener: ContextVar[Listener | None] = ContextVar("adamacs_progress_listener", default=None)


def report(stage: str, done: float = 0, total: float | None = None, unit: str = "") -> None:
    """Tell the listener how far a stage has come; without a listener, do nothing."""
    listener = _listener.get()
    if listener is not None:
        listener(Progress(stage, float(done), None if total is None else float(total), unit))


def listener() -> Listener | None:
    """Return who listens now."""
    return _listener.get()


@contextmanager
def listening(listener: Listener | None) -> Iterator[None]:
    """Send what is reported inside the block to `listener`; `None` makes the block silent."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)
