"""`adamacs profile list|show|import`."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from adamacs.cli.prompt import confirm, json_option, print_json, yes_option
from adamacs.core import settings as settings_module
from adamacs.core.errors import DatabaseUnavailable, InvalidRequest, SchemaMismatch, nearest, visible

if TYPE_CHECKING:
    from adamacs.ingest.ini import Names


@click.group()
def profile() -> None:
    """List, show and take over what an ingest assumes for each person."""


@profile.command("list")
@json_option
def list_profiles(as_json: bool) -> None:
    """Show the profile of every person of this lab, in one line each."""
    from adamacs.ingest.profiles import load_profiles

    for initials, held in load_profiles(settings_module.load().home).items():
        if as_json:
            print_json(asdict(held))
        else:
            said = ", ".join(f"{name} {answer.value}" for name, answer in held.answers().items())
            click.echo(visible(f"{initials}  {held.name:24}  {said or 'no defaults'}"))


@profile.command()
@click.argument("initials")
@json_option
def show(initials: str, as_json: bool) -> None:
    """Show the profile of the person with these INITIALS, as its file says it."""
    from adamacs.ingest.profiles import FOLDER, load_profiles

    home = settings_module.load().home
    profiles = load_profiles(home)
    if initials not in profiles:
        raise InvalidRequest("There is no such profile.", initials, nearest(initials, list(profiles)))
    if as_json:
        print_json(asdict(profiles[initials]))
    else:
        text = (home / FOLDER / f"{initials}.toml").read_text(encoding="utf-8-sig")
        click.echo(visible(text, keep="\n\t").rstrip())


@profile.command("import")
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option(
    "--names",
    "names_file",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="A TOML file with the lists that positions count in: projects, locations, scanners, models. "
    "Without it, the database's own, in the order of their names.",
)
@json_option
@yes_option
def import_ini(file: Path, names_file: Path | None, as_json: bool, yes: bool) -> None:
    """Take over a person's former settings, FILE <initials>.ini, as a profile.

    What cannot be decided is asked in the plan and left out. A profile that is there is never changed.
    """
    from adamacs import pipeline
    from adamacs.core import setups
    from adamacs.ingest import ini

    home = settings_module.load().home
    names = ini.read_names(names_file) if names_file else _names_of_database()
    plan = ini.plan_import(file, home, names, setups.load(home, modalities=pipeline.modalities()))
    told = visible(plan.describe(), keep="\n")
    if plan.state == "new":
        confirm(told, yes, as_json=as_json)
        ini.apply_import(plan)
    else:
        click.echo(told, err=as_json)
    if as_json:
        print_json(asdict(plan))
    sys.exit(1 if plan.state == "refused" else 0)


def _names_of_database() -> Names:
    """Return what the database names; without a database, nothing, so that every position becomes a question."""
    from adamacs import pipeline
    from adamacs.ingest import ini

    try:
        pipeline.connect()
    except (DatabaseUnavailable, SchemaMismatch) as error:
        click.echo(visible(f"No names come from the database: {error}"), err=True)
        return ini.Names()
    return ini.names_of_database()
