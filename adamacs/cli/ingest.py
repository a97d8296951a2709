"""`adamacs ingest plan|apply`."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from adamacs.cli.prompt import confirm, json_option, one_row, print_json, yes_option
from adamacs.core import settings as settings_module
from adamacs.core.errors import describe

if TYPE_CHECKING:
    from adamacs.core.settings import Settings
    from adamacs.ingest.plan import IngestPlan

_paths = click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path))
_paramset = click.option("--paramset", type=int, help="Stage new scans with this parameter set.")


@click.group()
def ingest() -> None:
    """Plan recordings into rows, and apply the plan."""


@ingest.command()
@_paths
@_paramset
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Save the plan as JSON.")
@json_option
def plan(paths: tuple[Path, ...], paramset: int | None, output: Path | None, as_json: bool) -> None:
    """Show what recordings at or below PATHS would become. Nothing is written to the database."""
    planned = _plan(paths, _connected(), paramset)
    if output:
        output.write_text(planned.to_json(), encoding="utf-8")
    click.echo(planned.to_json() if as_json else planned.describe())
    sys.exit(1 if planned.refused else 0)


@ingest.command()
@_paths
@_paramset
@yes_option
@json_option
def apply(paths: tuple[Path, ...], paramset: int | None, yes: bool, as_json: bool) -> None:
    """Apply a saved PLAN.json, or plan the recordings at or below PATHS and apply that."""
    from adamacs.ingest.apply import Outcome, apply_plan

    settings = _connected()
    planned = _saved(paths, settings, paramset) or _plan(paths, settings, paramset)
    if planned.changes:
        confirm(planned.describe(), yes, as_json=as_json)
    else:
        click.echo(planned.describe(), err=as_json)

    def report(outcome: Outcome) -> None:
        if not as_json:
            click.echo(f"{outcome.state:9}  {outcome.scan_id}  {outcome.rows} rows {outcome.reason}".rstrip())

    outcomes = apply_plan(planned, settings, report=report)
    if as_json:
        print_json([asdict(outcome) for outcome in outcomes])
    whole = not planned.refused and all(o.state in ("written", "unchanged") for o in outcomes)
    sys.exit(0 if whole else 1)


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
    from adamacs.modalities.imaging.plan import apply_results, find_results, plan_results

    settings = _connected()
    scan = one_row(pipeline.scan.Scan, key)
    planned = plan_results(scan, folder or find_results(scan["scan_id"], settings), settings)
    confirm(planned.describe(), yes)
    click.echo(describe(apply_results(planned)))


def _connected() -> Settings:
    from adamacs import pipeline

    pipeline.connect()
    return settings_module.active()


def _plan(paths: tuple[Path, ...], settings: Settings, paramset: int | None) -> IngestPlan:
    from adamacs.ingest.plan import plan_ingest

    return plan_ingest(paths, settings, paramset_idx=paramset)


def _saved(paths: tuple[Path, ...], settings: Settings, paramset: int | None) -> IngestPlan | None:
    from adamacs.ingest.plan import replan

    if len(paths) == 1 and (paths[0].is_file() or paths[0].suffix == ".json"):
        if paramset is not None:
            raise click.UsageError("A saved plan has its parameter set: plan again for another.")
        return replan(paths[0].read_text(encoding="utf-8"), settings, paths[0])
    return None
