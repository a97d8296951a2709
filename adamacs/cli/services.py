"""Services: they may begin before the database does, and end when they are told to."""

from __future__ import annotations

import logging
import re
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import click

from adamacs.core import failures
from adamacs.core.errors import DatabaseUnavailable

T = TypeVar("T")

log = logging.getLogger("adamacs.service")

_FIRST_PAUSE, _LONGEST_PAUSE = 0.2, 10.0  # s between two tries
_REFUSED = re.compile(r"authentication failed|no password supplied|pg_hba\.conf|(?:role|database) \S+ does not exist")


@contextmanager
def told_to_stop() -> Iterator[threading.Event]:
    """Yield what Ctrl-C and SIGTERM set."""
    stop = threading.Event()
    before = {number: signal.signal(number, lambda *_: stop.set()) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def begun(begin: Callable[[], T], told: threading.Event, prepare: Callable[[], object] = lambda: None) -> T | None:
    """Begin, waiting for a database that is away; None where told to stop meanwhile.

    The server of a host that starts up may come later than its services.

    Parameters
    ----------
    begin
        Connects, and makes what is wanted.
    prepare
        Is called before the first pause.
    """
    from adamacs.database import portable

    pause = _FIRST_PAUSE
    while True:
        try:
            made = begin()
            return None if told.is_set() else made
        except portable.UNREACHABLE as error:
            if not _is_away(error):
                raise
            if pause == _FIRST_PAUSE:
                prepare()
                click.echo(f"waiting for the database: {failures.describe(error)}", err=True)
            log.warning("The database is away: %s", failures.describe(error))
        if told.wait(pause):
            return None
        pause = min(2 * pause, _LONGEST_PAUSE)


def _is_away(error: BaseException) -> bool:
    """Whether the server does not answer; one that refuses the account, or holds no lab, does not mend by itself."""
    said = error.__cause__ if isinstance(error, DatabaseUnavailable) else error
    if said is None or _REFUSED.search(str(said)):  # PostgreSQL's driver gives no code for what fails at the door
        return False
    return failures.classify(said).name == "database"
