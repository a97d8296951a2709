"""`adamacs consolidate SRC...`."""

from __future__ import annotations

import sys
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from adamacs.cli.prompt import confirm, json_option, print_json, yes_option
from adamacs.core.errors import visible

if TYPE_CHECKING:
    from adamacs.core.settings import Settings
    from adamacs.ingest.consolidate import Check, Consolidated, Known


@click.command()
@click.argument("sources", metavar="SRC...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--setup", required=True, help="The setup type, such as mini2p1_openfield: says which files are expected."
)
@click.option("--subject", required=True, help="The animal, such as ANM-2172.")
@click.option("--initials", required=True, help="Of the person, two capitals.")
@click.option("--user", help="Name of the person's folder on the share; by default that of the one with the initials.")
@click.option("--session", help="A session token: joins that session. By default a new one is made.")
@click.option("--scan", help="A scan token that exists nowhere yet. By default a new one is made.")
@click.option("--date", "day", type=click.DateTime(["%Y-%m-%d"]), help="Day of the session; by default today.")
@click.option("--layout", type=click.Choice(["combined", "nested"]), help="As the session has it; else combined.")
@click.option("--move/--keep", help="Remove the sources when the folder stands, or keep them, which is the default.")
@click.option("--incomplete", is_flag=True, help="Go on although expected files are missing.")
@click.option(
    "--settle",
    type=click.FloatRange(min=0),
    default=1.0,
    show_default=True,
    help="How long, in s, no source may change.",
)
@yes_option
@json_option
def consolidate(
    sources: tuple[Path, ...],
    setup: str,
    subject: str,
    initials: str,
    user: str | None,
    session: str | None,
    scan: str | None,
    day: datetime | None,
    layout: str | None,
    move: bool,
    incomplete: bool,
    settle: float,
    yes: bool,
    as_json: bool,
) -> None:
    """Gather what the rig wrote into one recording folder on the share.

    SRC are files, and folders whose files are meant. Every copy is read back and compared before the folder gets its
    name. Exit status 1 when the plan is refused, or when a source that should be removed could not be.
    """
    from adamacs.core import settings as settings_module
    from adamacs.ingest.consolidate import Wish, apply_consolidation, plan_consolidation
    from adamacs.workers import console

    settings = settings_module.active()
    name, expected = expected_files(setup, settings)
    known = known_to_lab()
    wish = Wish(
        setup=name,
        subject=subject,
        initials=initials,
        user=user or known.folder_of(initials),
        session=session,
        scan=scan,
        day=day.date() if day else None,
        layout=layout,
        move=move,
    )
    plan = plan_consolidation(
        sources, wish, settings, known=known, expected=expected, incomplete=incomplete, settle=settle
    )
    if plan.refused:
        click.echo(plan.to_json() if as_json else plan.describe())
        sys.exit(1)
    confirm(plan.describe(), yes, as_json=as_json)
    with console.shown(sys.stderr):
        done = apply_consolidation(plan, settings, known)
    if as_json:
        print_json(asdict(done))
    else:
        click.echo(visible(_told(done), keep="\n"))
    sys.exit(1 if done.kept else 0)


def expected_files(setup: str, settings: Settings) -> tuple[str, Check]:
    """Return the canonical name of a setup type, and what tells which of its files are missing."""
    from adamacs.core.setups import load

    found = load(settings.home).find(setup, "--setup")
    return found.name, found.problems


def known_to_lab() -> Known:
    """Ask the database of the lab for its tokens, subjects and people."""
    from adamacs import pipeline
    from adamacs.ingest.consolidate import known_in_database

    pipeline.connect()
    return known_in_database()


def _told(done: Consolidated) -> str:
    rate = done.size / 1e6 / max(done.seconds, 1e-3)
    lines = [f"{done.folder}: {done.files} files, {rate:.0f} MB/s with reading back", *done.kept]
    if done.removed:
        lines.append(f"{done.removed} sources removed")
    return "\n".join(lines)
