"""`adamacs work`."""

from __future__ import annotations

import logging
import platform
import re
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from adamacs.cli.prompt import json_option, key_of_any, print_json
from adamacs.core.errors import DatabaseUnavailable

if TYPE_CHECKING:
    from adamacs.core.settings import Settings
    from adamacs.workers.supervisor import Supervisor

log = logging.getLogger("adamacs.worker")

_FIRST_PAUSE, _LONGEST_PAUSE = 0.2, 10.0  # s between two tries to reach a database that was away at the start
_REFUSED = re.compile(r"authentication failed|no password supplied|pg_hba\.conf|(?:role|database) \S+ does not exist")


@click.command()
@click.option("--role", default="cpu", show_default=True, help="Kind of host: decides which tables are filled.")
@click.option("--drain", "mode", flag_value="drain", help="Stop when nothing is left that can be computed now.")
@click.option("--once", "mode", flag_value="once", help="Give each table one turn, then stop.")
@click.option("--tables", multiple=True, metavar="TABLE", help="Fill only this table of the role; may be repeated.")
@click.option("--restrict", metavar="KEY", help="Compute only keys like this: name=value[,name=value].")
@click.option("--slots", type=click.IntRange(1), help="Keys computed at once, each in a process of its own.")
@json_option
def work(
    role: str, mode: str | None, tables: tuple[str, ...], restrict: str | None, slots: int | None, as_json: bool
) -> None:
    """Compute what is missing, until told to stop.

    A database that is away when it begins is waited for, but not with --drain or --once.
    With --drain or --once, exit status 1 when a key failed. Told to stop (SIGTERM, Ctrl-C), it finishes the keys in
    work; told twice, it ends them and hands them back.
    """
    from adamacs.core import settings as lab_settings
    from adamacs.workers import console, roles
    from adamacs.workers.supervisor import Supervisor

    settings = lab_settings.load()
    chosen = roles.named(role, settings)
    if tables:
        chosen = chosen.only(tables)
    chosen.demand_tables()
    chosen.demand(settings)
    with console.shown(sys.stderr), _kept_log(settings, role):
        daemon = _begun(
            settings,
            lambda: Supervisor(
                chosen,
                settings,
                mode=mode or "forever",
                slots=slots or 0,
                restriction=key_of_any(chosen.tables(), restrict) if restrict else None,
            ),
            is_patient=mode is None,
        )
        if daemon is None:
            return

        def stop(*_: Any) -> None:
            daemon.stop()
            again = daemon.asked_to_stop > 1
            click.echo(
                "ending the keys in work" if again else "stopping after the keys in work; again ends them", err=True
            )

        _on_stop(stop)
        tally = daemon.run()
    if as_json:
        print_json(asdict(tally))
    else:
        click.echo(tally.describe())
    sys.exit(1 if mode and tally.failed else 0)  # a daemon that is stopped has not failed


def _begun(settings: Settings, begin: Callable[[], Supervisor], *, is_patient: bool) -> Supervisor | None:
    """Connect and begin, waiting for a database that is away; None where told to stop meanwhile.

    The server of a host that starts up may come later than its workers. Whoever asks for one run, and reads how it
    ended, is told at once.
    """
    from adamacs import pipeline
    from adamacs.core import failures
    from adamacs.database import portable

    told, pause = threading.Event(), _FIRST_PAUSE
    while True:
        try:
            pipeline.connect(settings)
            begun = begin()
            return None if told.is_set() else begun
        except portable.UNREACHABLE as error:
            if not is_patient or not _is_away(error):
                raise
            if pause == _FIRST_PAUSE:
                _on_stop(lambda *_: told.set())
                click.echo(f"waiting for the database: {failures.describe(error)}", err=True)
            log.warning("The database is away: %s", failures.describe(error))
        if told.wait(pause):
            return None
        pause = min(2 * pause, _LONGEST_PAUSE)


def _is_away(error: BaseException) -> bool:
    """Whether the server does not answer; one that refuses the account, or holds no lab, does not mend by itself."""
    from adamacs.core import failures

    said = error.__cause__ if isinstance(error, DatabaseUnavailable) else error
    if said is None or _REFUSED.search(str(said)):  # PostgreSQL's driver gives no code for what fails at the door
        return False
    return failures.classify(said).name == "database"


def _on_stop(do: Callable[..., object]) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, do)


@contextmanager
def _kept_log(settings: Settings, role: str) -> Iterator[None]:
    """Keep what the daemon and its workers say in a file of the host's role; each worker keeps its own too."""
    from adamacs.core import logs

    handler = logs.to_file(settings.logs / f"daemon-{role}-{platform.node()}.jsonl", role=role)
    try:
        yield
    finally:
        logs.detach(handler)
