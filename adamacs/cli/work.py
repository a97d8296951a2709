"""`adamacs work`."""

from __future__ import annotations

import platform
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from adamacs.cli.prompt import json_option, key_of_any, print_json

if TYPE_CHECKING:
    from adamacs.core.settings import Settings


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

    With --drain or --once, exit status 1 when a key failed. Told to stop (SIGTERM, Ctrl-C), it finishes the keys in
    work; told twice, it ends them and hands them back.
    """
    from adamacs import pipeline
    from adamacs.core import settings as lab_settings
    from adamacs.workers import console, roles
    from adamacs.workers.supervisor import Supervisor

    settings = lab_settings.load()
    chosen = roles.named(role, settings)
    if tables:
        chosen = chosen.only(tables)
    chosen.demand_tables()
    chosen.demand(settings)
    pipeline.connect(settings)
    restriction = key_of_any(chosen.tables(), restrict) if restrict else None
    with console.shown(sys.stderr), _kept_log(settings, role):
        daemon = Supervisor(chosen, settings, mode=mode or "forever", slots=slots or 0, restriction=restriction)

        def stop(*_: Any) -> None:
            daemon.stop()
            again = daemon.asked_to_stop > 1
            click.echo(
                "ending the keys in work" if again else "stopping after the keys in work; again ends them", err=True
            )

        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, stop)
        tally = daemon.run()
    if as_json:
        print_json(asdict(tally))
    else:
        click.echo(tally.describe())
    sys.exit(1 if mode and tally.failed else 0)  # a daemon that is stopped has not failed


@contextmanager
def _kept_log(settings: Settings, role: str) -> Iterator[None]:
    """Keep what the daemon and its workers say in a file of the host's role; each worker keeps its own too."""
    from adamacs.core import logs

    handler = logs.to_file(settings.logs / f"daemon-{role}-{platform.node()}.jsonl", role=role)
    try:
        yield
    finally:
        logs.detach(handler)
