"""`adamacs work`."""

from __future__ import annotations

import platform
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from adamacs.cli import services
from adamacs.cli.prompt import json_option, key_of_any, print_json

if TYPE_CHECKING:
    from adamacs.core.settings import Settings
    from adamacs.workers.supervisor import Supervisor


_RESTRICT = (
    "Compute only keys like this: name=value[,name=value]. Tables whose key has none of the columns are left out; the "
    "others go by those that they have."
)


@click.command()
@click.option("--role", default="cpu", show_default=True, help="Kind of host: decides which tables are filled.")
@click.option("--drain", "mode", flag_value="drain", help="Stop when nothing is left that can be computed now.")
@click.option("--once", "mode", flag_value="once", help="Give each table one turn, then stop.")
@click.option("--tables", multiple=True, metavar="TABLE", help="Fill only this table of the role; may be repeated.")
@click.option("--restrict", metavar="KEY", help=_RESTRICT)
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
    """Connect and begin; None where told to stop while the database was away.

    Whoever asks for one run, and reads how it ended, is told at once that it is.
    """
    from adamacs import pipeline

    def connected() -> Supervisor:
        pipeline.connect(settings)
        return begin()

    told = threading.Event()
    if not is_patient:
        return connected()
    return services.begun(connected, told, prepare=lambda: _on_stop(lambda *_: told.set()))


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
