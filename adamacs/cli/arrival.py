"""`adamacs watch|quarantine|validate|parse`: what comes in, and whether it is fit."""

from __future__ import annotations

import dataclasses
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from adamacs.cli import services
from adamacs.cli.prompt import folder_of, json_option, print_json
from adamacs.core import clocks
from adamacs.core import settings as settings_module
from adamacs.core.errors import visible

if TYPE_CHECKING:
    from adamacs.core.modality import Problem
    from adamacs.ingest.watch import Event

log = logging.getLogger("adamacs.ingest")


@click.command()
@click.option("--once", is_flag=True, help="Look once, wait for what still incubates, and end.")
@click.option("--dry-run", is_flag=True, help="Write nothing to the database; say what would happen.")
@click.option("--log-file", type=click.Path(path_type=Path, dir_okay=False), help="Add a line for all that happens.")
def watch(once: bool, dry_run: bool, log_file: Path | None) -> None:
    """Watch the share, and ingest what arrives once it is whole.

    Recordings are waited for, planned, and ingested where their setup types allow it. What no setup type lets in by
    itself waits for `adamacs ingest apply`. Runs until it is told to stop. A database that is away when it begins is
    waited for, but not with --once. With --once, exit status 1 where something is late or quarantined, or the share
    is away.
    """
    from adamacs import pipeline
    from adamacs.ingest.watch import Watcher
    from adamacs.ingest.watch import watch as run

    settings = settings_module.load()

    def report(event: Event) -> None:
        line = visible(event.describe())
        click.echo(line)
        if log_file is not None:
            _append(log_file, line)

    def begin() -> Watcher:
        pipeline.connect(settings)
        return Watcher(settings, dry_run=dry_run, report=report)

    with services.told_to_stop() as stop:
        watcher = begin() if once else services.begun(begin, stop)
        if watcher is not None and not run(watcher, settings, stop, once=once) and once:
            sys.exit(1)


def _append(file: Path, line: str) -> None:
    """Add a line with its time; a full disk stops no ingest."""
    try:
        with file.open("a", encoding="utf-8", errors="backslashreplace") as stream:
            stream.write(f"{clocks.now():%Y-%m-%dT%H:%M:%S}Z {line}\n")
    except OSError as error:
        log.warning("%s takes no more lines: %s", file, error)


@click.group()
def quarantine() -> None:
    """List what was held back on arrival; release it, or leave it out."""


@quarantine.command(name="list")
@click.option("--all", "everything", is_flag=True, help="Also what is on its way, ingested, or left out.")
@json_option
def list_(everything: bool, as_json: bool) -> None:
    """List what is held back and why."""
    from adamacs import pipeline
    from adamacs.ingest import arrivals

    pipeline.connect()
    found = arrivals.load() if everything else arrivals.load(arrivals.HELD)
    if as_json:
        print_json([dataclasses.asdict(one) for one in found])
    else:
        click.echo("\n".join(one.describe() for one in found) or "Nothing is held back.")


@quarantine.command()
@click.argument("path")
def release(path: str) -> None:
    """Look at PATH (as listed, or a scan token) anew, as if it had just arrived."""
    _decide(path, "incubating", "")


@quarantine.command()
@click.argument("path")
@click.option("--reason", default="", help="Why, for those who ask later.")
def ignore(path: str, reason: str) -> None:
    """Leave PATH out until it is released.

    PATH is a scan token, a unit as it is listed, or any folder on a share, whether or not a watcher saw it: itself, or
    every recording in it that is not ingested.
    """
    _decide(path, "ignored", reason)


def _decide(path: str, state: str, reason: str) -> None:
    from adamacs import pipeline
    from adamacs.core import processes
    from adamacs.ingest import arrivals

    pipeline.connect()
    by = f"{reason + ' ' if reason else ''}(by {processes.account()})" if state == "ignored" else ""
    for one in arrivals.decide(path, state, by, settings_module.active()):
        click.echo(visible(f"{state}: {one.path}{'/' + one.unit if one.unit else ''}"))


@click.command()
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path))
@json_option
def validate(paths: tuple[Path, ...], as_json: bool) -> None:
    """Print every problem of a recording folder.

    PATHS are recordings or hold some, on the share. No database is asked. Exit status 1 where one is unfit.
    """
    from adamacs.ingest.find import find_recordings
    from adamacs.ingest.validate import host_problems
    from adamacs.ingest.validate import validate as look

    settings = settings_module.active()
    recordings, problems = find_recordings([folder_of(path, settings) for path in paths], settings)
    problems = [*problems, *host_problems(settings, sum(file.size for one in recordings for file in one.files))]
    for recording in recordings:
        verdict = look(recording, settings)
        problems += verdict.all_problems()
        if not as_json:
            setup = verdict.setup.name if verdict.setup else "no known setup type"
            click.echo(visible(f"{'fit' if verdict.fit else 'UNFIT':9}  {recording.place}  ({setup})"))
    unfit = any(problem.severity == "error" for problem in problems) or not recordings
    if as_json:
        print_json({"fit": not unfit, "problems": [dataclasses.asdict(problem) for problem in problems]})
    else:
        _print(problems)
        click.echo(f"{len(recordings)} recordings, {sum(p.severity == 'error' for p in problems)} errors")
    sys.exit(1 if unfit else 0)


def _print(problems: list[Problem]) -> None:
    for problem in problems:
        click.echo(visible(f"  {problem}"))


@click.command()
@click.argument("path", type=click.Path(path_type=Path, exists=True))
@json_option
def parse(path: Path, as_json: bool) -> None:
    """Show what a reader makes of a file or folder, finished or not.

    No database is asked. Exit status 1 where something cannot be read.
    """
    from adamacs.ingest.parse import parse as read

    found = read(path)
    if as_json:
        print_json([dataclasses.asdict(one) for one in found])
    else:
        click.echo("\n".join(one.describe() for one in found))
    sys.exit(1 if any(one.problem for one in found) else 0)
