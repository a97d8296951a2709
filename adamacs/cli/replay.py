"""`adamacs record` and `adamacs replay`: how a folder grew, and the same again."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path

import click

from adamacs.cli import services
from adamacs.cli.prompt import json_option, print_json
from adamacs.core.errors import visible

_PATH = click.Path(path_type=Path)


@click.command()
@click.argument("source", metavar="SRC", type=_PATH)
@click.argument("archive", metavar="OUT", type=_PATH)
@click.option("--poll", type=click.FloatRange(min=0.01), default=0.2, show_default=True, help="Seconds between looks.")
@click.option("--seconds", type=click.FloatRange(min=0), help="Stop after this long; else at Ctrl-C or SIGTERM.")
@json_option
def record(source: Path, archive: Path, poll: float, seconds: float | None, as_json: bool) -> None:
    """Record how a folder grows.

    SRC is the folder, OUT a new .tar.gz outside of it. What SRC holds already is what
    `adamacs replay` begins with.
    """
    from adamacs.ingest import replay as growth
    from adamacs.workers import console

    with services.told_to_stop() as stop, console.shown(sys.stderr):
        done = growth.record(source, archive, poll=poll, seconds=seconds, stop=stop)
    if as_json:
        print_json(asdict(done))
        return
    click.echo(f"{done.events} events, {done.files} files, {done.bytes} bytes, {done.seconds:.1f} s: {archive}")
    for path in done.skipped:
        click.echo(visible(f"left out: {path}"), err=True)


@click.command()
@click.argument("archive", metavar="IN", type=_PATH)
@click.argument("folder", metavar="DST", type=_PATH)
@click.option("--fast", is_flag=True, help="Leave out the pauses.")
@click.option("--speed", type=click.FloatRange(min=0, min_open=True), default=1.0, help="2 halves the pauses.")
@click.option("--limit", type=click.IntRange(min=0), help="Bytes it may unpack to; 64 GiB where nothing is said.")
@json_option
def replay(archive: Path, folder: Path, fast: bool, speed: float, limit: int | None, as_json: bool) -> None:
    """Let a folder grow again as it was recorded.

    IN is the archive, DST a new or empty folder. All of IN is checked before anything is written.
    """
    from adamacs.ingest import replay as growth
    from adamacs.workers import console

    with console.shown(sys.stderr):
        limit = growth.LIMIT if limit is None else limit
        done = growth.replay(archive, folder, fast=fast, speed=speed, limit=limit)
    if as_json:
        print_json(asdict(done))
    else:
        click.echo(f"{done.events} events, {done.files} files, {done.bytes} bytes, {done.seconds:.1f} s: {folder}")
    if not done.whole:
        click.echo("The recording was cut off: it was replayed up to its last whole event.", err=True)
