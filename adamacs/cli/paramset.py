"""`adamacs paramset list|add|activate`."""

from __future__ import annotations

import json
import textwrap
import tomllib
from pathlib import Path
from typing import Any

import click

from adamacs.cli.prompt import confirm, json_option, print_json, yes_option
from adamacs.core.errors import InvalidParameters

_LONGEST = 1280  # characters of a description


@click.group()
def paramset() -> None:
    """List, add and activate processing parameter sets."""


@paramset.command("list")
@json_option
def list_sets(as_json: bool) -> None:
    """Show every parameter set, and which projects use it."""
    from adamacs import pipeline

    pipeline.connect()
    users = _users(pipeline.imaging.ProjectParamSet)
    for row in pipeline.imaging.ProcessingParamSet.to_dicts(order_by="paramset_idx"):
        projects = users.get(row["paramset_idx"], {})
        if as_json:
            print_json({**row, "projects": projects})
        else:
            tool = f"{row['processing_method']} {row['tool_version']}"
            note = "" if row["validated"] else "  (of found results: not validated)"
            params = textwrap.shorten(json.dumps(row["params"]), 100, placeholder=" ...")
            click.echo(f"{row['paramset_idx']:5}  {tool:16}  {row['paramset_desc']}{note}\n       {params}")
            for project, use in projects.items():
                state = "active" if use["active"] else "superseded"
                click.echo(f"       {state} in {project}, which took it on {use['active_since']:%Y-%m-%d %H:%M} UTC")


def _users(table: Any) -> dict[int, dict[str, dict[str, Any]]]:
    """Return per set the projects that use it or used it: since when (last), and whether it is active there."""
    active = {row["project"]: row["paramset_idx"] for row in table.active().to_dicts()}
    found: dict[int, dict[str, dict[str, Any]]] = {}
    for row in table.to_dicts(order_by=("project", "active_since")):
        project, number = row["project"], row["paramset_idx"]
        use = {"active_since": row["active_since"], "active": active[project] == number}
        found.setdefault(number, {})[project] = use
    return found


@paramset.command()
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False), required=False)
@click.option(
    "--index", type=click.IntRange(0, 32767), help="The paramset_idx to give it; by default the next free one."
)
@click.option("--description", default="", help="What the set is meant for.")
@yes_option
def add(file: Path | None, index: int | None, description: str, yes: bool) -> None:
    """Add the parameters of a TOML FILE, nested as the tool names them; without FILE the tool's own defaults.

    Parameters that are there already are not added again, and nothing is asked.
    """
    from adamacs import pipeline
    from adamacs.modalities.imaging import parameters

    if len(description) > _LONGEST:
        raise click.UsageError(f"The description has more than {_LONGEST} characters.")
    params = _read(file) if file else {}
    params = parameters.validate("suite2p", parameters.SUITE2P_VERSION, params)
    pipeline.connect()
    sets = pipeline.imaging.ProcessingParamSet
    held = sets & {"param_set_hash": parameters.param_hash("suite2p", parameters.SUITE2P_VERSION, params)}
    if not (is_there := bool(held)):
        confirm(f"add Suite2p {parameters.SUITE2P_VERSION} parameters: {json.dumps(params)}", yes)
    number = sets.insert_new(params, paramset_idx=index, desc=description)
    click.echo(f"paramset_idx={number}{' holds these parameters already: nothing was added' if is_there else ''}")


@paramset.command()
@click.argument("project")
@click.argument("index", metavar="IDX", type=click.IntRange(0, 32767))
@yes_option
def activate(project: str, index: int, yes: bool) -> None:
    """Let PROJECT use the parameter set IDX from now on; the one that it used before is superseded.

    Scans with results of a superseded set are then computed before scans without any, once IDX is asked for them.
    """
    from adamacs import pipeline
    from adamacs.modalities.imaging.plan import apply_activation, plan_activation

    pipeline.connect()
    plan = plan_activation(project, index)
    if plan.is_done:
        click.echo(f"{project} uses paramset_idx={index} already: nothing was changed")
        return
    confirm(plan.describe(), yes)
    click.echo(f"active since {apply_activation(plan):%Y-%m-%d %H:%M:%S} UTC")
    _reorder(pipeline.imaging.Processing)


def _reorder(table: Any) -> None:
    """Move keys that wait already to the place that they have now."""
    from adamacs.database import portable
    from adamacs.workers.claims import PRIORITY, URGENT_PRIORITY

    try:
        portable.raise_priority(table, table.urgent_keys(), URGENT_PRIORITY, PRIORITY)
    except portable.FAILURES:
        click.echo("This account may not change the queue: what waits already keeps its place.", err=True)


def _read(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidParameters(f"This is not valid TOML: {error}.", file) from error
