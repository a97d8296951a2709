"""`adamacs work`."""

from __future__ import annotations

import sys
from dataclasses import asdict

import click

from adamacs.cli.prompt import json_option, print_json


@click.command()
@click.option("--role", default="cpu", show_default=True, help="Kind of host: decides which tables are filled.")
@click.option("--drain", is_flag=True, help="Stop when nothing is left; so far the only way to run.")
@json_option
def work(role: str, drain: bool, as_json: bool) -> None:
    """Compute what is missing. Exit status 1 when a key failed."""
    from adamacs import pipeline
    from adamacs.workers import console, loop, roles

    if not drain:
        raise click.UsageError("Give --drain: a worker that waits for new keys comes later.")
    pipeline.connect()
    with console.shown(sys.stderr):
        tally = loop.drain(roles.named(role))
    if as_json:
        print_json(asdict(tally))
    else:
        click.echo(tally.describe())
    sys.exit(1 if tally.failed else 0)
