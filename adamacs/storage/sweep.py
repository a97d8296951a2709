"""Clear away what died half-way: attempts without a living process, half-written arrays, old bulk outputs."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from adamacs.core.errors import AdamacsError
from adamacs.core.settings import Settings
from adamacs.storage import computed, failed, stores
from adamacs.storage.attempts import DAY, sweep_attempts
from adamacs.storage.computed import Waiting

log = logging.getLogger(__name__)


def sweep(settings: Settings, waiting: Waiting, grace: float = DAY) -> list[str]:
    """Clear away the dead staging of a lab, and return what was cleared.

    That is, below the root `processed` and on the scratch disk, attempts that nobody holds; in file stores, drafts of
    arrays; both only after a time of silence. Bulk outputs of failed attempts go when `workers.keep_failed_days` are
    over, and so do results whose key does not wait for them any more. No link is followed. A place that does not answer
    is told in the log and passed over.

    Parameters
    ----------
    settings
        Of the lab.
    waiting
        As `computed.sweep` takes it.
    grace
        s of silence after which something is taken for dead.
    """
    root, days = settings.root("processed"), settings.workers.keep_failed_days
    cleared: list[str] = []
    for place in (*_scratch(settings), root):  # first scratch: of one attempt, the folder there holds more
        with _passing_over():
            cleared += map(str, sweep_attempts(place, root, days, grace))
    for name, spec in settings.stores.items():
        if spec.protocol == "file":
            with _passing_over():
                cleared += _sweep_drafts(stores.named(name, settings), grace)
    with _passing_over():
        now = time.time()
        cleared += computed.sweep(root, now - max(days * DAY, grace), now - grace, waiting)
    with _passing_over():
        if count := failed.prune(root, days):
            cleared.append(f"{count} files of failed attempts")
    return cleared


def _scratch(settings: Settings) -> list[Path]:
    folder = settings.workers.scratch
    return [settings.home / Path(folder).expanduser()] if folder else []


def _sweep_drafts(store: stores.Store, grace: float) -> list[str]:
    oldest = time.time() - grace
    dead = [draft.path for draft in store.listing(partial=True) if draft.modified < oldest]
    for path in dead:
        store.remove(path)
    return [store.locate(path) for path in dead]


@contextmanager
def _passing_over() -> Iterator[None]:
    """Go on with the next place where one does not answer."""
    try:
        yield
    except (OSError, AdamacsError) as error:
        log.warning("Dead staging could not be cleared away: %s", error)


class Sweeper:
    """Sweeps a lab at once and then daily, in a thread of its own, so that nobody waits for a slow share.

    Parameters
    ----------
    settings
        Of the lab.
    waiting
        As `computed.sweep` takes it; asked in that thread.
    every
        s between two sweeps.
    """

    def __init__(self, settings: Settings, waiting: Waiting, every: float = DAY) -> None:
        self._settings = settings
        self._waiting = waiting
        self._every = every
        self._next = float("-inf")
        self._thread: threading.Thread | None = None

    def tick(self) -> None:
        """Begin a sweep if it is time and the last one has ended."""
        if time.monotonic() < self._next or (self._thread is not None and self._thread.is_alive()):
            return
        self._next = time.monotonic() + self._every
        self._thread = threading.Thread(target=self._sweep, name="adamacs-sweep", daemon=True)
        self._thread.start()

    def _sweep(self) -> None:
        for what in sweep(self._settings, self._waiting):
            log.info("Cleared away: %s", what)
