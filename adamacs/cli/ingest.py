"""`adamacs ingest plan|apply|log|results`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from adamacs.cli.prompt import confirm, folder_of, json_option, one_row, print_json, yes_option
from adamacs.core import settings as settings_module
from adamacs.core.errors import describe, visible

if TYPE_CHECKING:
    from adamacs.core.settings import Settings
    from adamacs.ingest.plan import IngestPlan


def _what(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add what tells which recordings are meant, and what is known about them."""
    for option in reversed(
        (
            click.argument("paths", nargs=-1, type=click.Path(path_type=Path)),
            click.option("--all", "everything", is_flag=True, help="Every recording on the share."),
            click.option(
                "--manifest",
                type=click.Path(path_type=Path, exists=True, dir_okay=False),
                help="A CSV or TOML file that lists folders, with answers beside them.",
            ),
            click.option(
                "--answers",
                type=click.Path(path_type=Path, exists=True, dir_okay=False),
                help="A TOML or CSV file of answers, so that nothing is asked.",
            ),
            click.option("--limit", type=click.IntRange(1), help="At most so many scans, the first by name."),
            click.option("--paramset", type=int, help="Stage new scans with this parameter set."),
        )
    ):
        function = option(function)
    return function


@click.group()
def ingest() -> None:
    """Plan recordings into rows, and apply the plan."""


@ingest.command()
@_what
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Save the plan as JSON.")
@json_option
def plan(output: Path | None, as_json: bool, **what: Any) -> None:
    """Show what recordings at or below PATHS would become. Nothing is written to the database.

    A path is one of this computer, or a folder as adamacs shows it, below the share.
    """
    from adamacs.ingest.saved import to_json

    planned = _plan(_connected(), **what)
    if output:
        output.write_text(to_json(planned), encoding="utf-8")
    click.echo(to_json(planned) if as_json else planned.describe())
    sys.exit(1 if planned.refused else 0)


@ingest.command()
@_what
@yes_option
@json_option
def apply(yes: bool, as_json: bool, **what: Any) -> None:
    """Apply a saved PLAN.json, or plan the recordings at or below PATHS and apply that."""
    from adamacs.ingest import ledger
    from adamacs.ingest.apply import Outcome, apply_plan
    from adamacs.workers import console

    settings = _connected()
    planned = _saved(settings, **what) or _plan(settings, **what)
    if planned.changes:
        confirm(planned.describe(), yes, as_json=as_json)
    else:
        click.echo(planned.describe(), err=as_json)

    def report(outcome: Outcome) -> None:
        if not as_json:
            line = f"{outcome.state:9}  {outcome.scan_id}  {outcome.rows} rows {outcome.reason}"
            click.echo(visible(line.rstrip()))

    asked = {name: [str(path) for path in value] if name == "paths" else value for name, value in what.items()}
    with ledger.run("apply", asked, settings) as run, console.shown(sys.stderr):
        outcomes = apply_plan(planned, settings, run, report=report)
    if as_json:
        print_json([asdict(outcome) for outcome in outcomes])
    click.echo(visible(run.summary()), err=as_json)
    sys.exit(0 if run.whole else 1)


@ingest.command(name="log")
@click.argument("run_id", metavar="[RUN]", required=False)
@click.option("-n", "--number", type=click.IntRange(1), default=20, show_default=True, help="List so many runs.")
@json_option
def log_(run_id: str | None, number: int, as_json: bool) -> None:
    """List the last runs of the ingest, or tell every step of one."""
    from adamacs.ingest import ledger

    _connected()
    found = [ledger.past(run_id)] if run_id else ledger.runs(number)
    if as_json:
        print_json([asdict(one) for one in found])
    else:
        click.echo("\n".join(one.describe() for one in found) or "No run yet.")


@ingest.command()
@click.argument("key", metavar="KEY")
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False), required=False)
@yes_option
def results(key: str, folder: Path | None, yes: bool) -> None:
    """Take over Suite2p results that lie in FOLDER, under the root `processed`, as a processing of a scan.

    KEY names the scan: scan_id=scan9FY6AIRM. Without FOLDER, suite2p_exp9FY6AIRM and suite2p in a folder of the scan's
    name are looked for. A worker then loads the results instead of computing them.
    """
    from adamacs import pipeline
    from adamacs.ingest import ledger
    from adamacs.modalities.imaging.plan import apply_results, find_results, plan_results

    settings = _connected()
    scan = one_row(pipeline.scan.Scan, key)
    planned = plan_results(scan, folder or find_results(scan["scan_id"], settings), settings)
    confirm(planned.describe(), yes)
    with ledger.run("results", {"key": key, "folder": str(planned.folder)}, settings) as run:
        task = apply_results(planned)
        run.note(ledger.Step("apply", "ok", "update", reason=f"imaging.ProcessingTask {describe(task)}", **scan))
    click.echo(describe(task))


def _connected() -> Settings:
    from adamacs import pipeline

    pipeline.connect()
    return settings_module.active()


def _plan(
    settings: Settings,
    paths: tuple[Path, ...],
    everything: bool,
    manifest: Path | None,
    answers: Path | None,
    limit: int | None,
    paramset: int | None,
) -> IngestPlan:
    from adamacs.ingest.answers import read_answers, read_manifest
    from adamacs.ingest.plan import plan_ingest
    from adamacs.workers import console

    if sum((bool(paths), everything, manifest is not None)) != 1:
        raise click.UsageError("Name folders, or --all of the share, or a --manifest.")
    if manifest is not None and answers is not None:
        raise click.UsageError("A manifest holds its answers itself.")
    given = read_answers(answers) if answers else None
    listed = read_manifest(manifest) if manifest else None
    paths = tuple(folder_of(path, settings) for path in paths)
    if listed is not None:
        paths, given = tuple(_listed(path, settings) for path in listed.paths), listed.answers
    with console.shown(sys.stderr):
        planned = plan_ingest(
            settings.share_roots().values() if everything else paths,
            settings,
            paramset_idx=paramset,
            answers=given,
            limit=limit,
        )
    problems = listed.problems if listed is not None else ()
    return replace(planned, problems=(*planned.problems, *problems))


def _listed(path: str, settings: Settings) -> Path:
    return Path(path) if Path(path).is_absolute() else settings.locate(path)


def _saved(settings: Settings, paths: tuple[Path, ...], paramset: int | None, **what: Any) -> IngestPlan | None:
    from adamacs.ingest.saved import replan

    if len(paths) == 1 and (paths[0].is_file() or paths[0].suffix == ".json"):
        if paramset is not None or any(what.values()):
            raise click.UsageError("A saved plan has its parameter set and its answers: plan again for others.")
        return replan(paths[0].read_text(encoding="utf-8"), settings, paths[0])
    return None
