"""`adamacs status`, `adamacs workers` and `adamacs why`: what is going on. Nothing is changed."""

from __future__ import annotations

from dataclasses import asdict

import click

from adamacs.cli.prompt import json_option, print_json, typed_key


@click.command()
@json_option
def status(as_json: bool) -> None:
    """Tell what is done, running, failed and waiting, on one screen.

    Per table: keys computed of those to be computed, keys that a worker can take up, in work, failed and left out, and
    what keys that are staged upstream wait for. Below it, what arrived on the share, what is held back, and who
    watches.
    """
    from adamacs import pipeline
    from adamacs.ingest import arrivals
    from adamacs.workers import state

    pipeline.connect()
    found, arrived = state.status(), arrivals.state()
    if as_json:
        print_json({**asdict(found), "arrivals": asdict(arrived)})
    else:
        click.echo(f"{found.describe()}\n{arrived.describe()}")


@click.command()
@json_option
def workers(as_json: bool) -> None:
    """List the workers that are alive or fell silent, and what they do."""
    from adamacs import pipeline
    from adamacs.workers import state

    pipeline.connect()
    found = state.status().workers
    if as_json:
        print_json([asdict(worker) for worker in found])
    else:
        nobody = [] if any(worker.alive for worker in found) else [state.NOBODY]
        click.echo("\n".join([*(worker.describe() for worker in found), *nobody]))


@click.command()
@click.argument("table")
@click.argument("key", metavar="KEY")
@json_option
def why(table: str, key: str, as_json: bool) -> None:
    """Tell why a row is missing, and what to do.

    TABLE is a module and a table, such as imaging.Fluorescence; KEY is name=value[,name=value], and may be a part of
    the key.
    """
    from adamacs import pipeline
    from adamacs.core import settings
    from adamacs.workers.catalogue import Catalogue
    from adamacs.workers.why import why as ask

    pipeline.connect()
    catalogue = Catalogue(settings.active())
    name = catalogue.named(table)
    answers = ask(name, typed_key(catalogue.tables[name], key))
    if as_json:
        print_json([asdict(answer) for answer in answers])
    else:
        click.echo("\n".join(answer.describe() for answer in answers))
