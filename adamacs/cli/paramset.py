"""`adamacs paramset list|add`."""

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
    """List and add processing parameter sets."""


@paramset.command("list")
@json_option
def list_sets(as_json: bool) -> None:
    """Show every parameter set."""
    from adamacs import pipeline

    pipeline.connect()
    for row in pipeline.imaging.ProcessingParamSet.to_dicts(order_by="paramset_idx"):
        if as_json:
            print_json(row)
        else:
            tool = f"{row['processing_method']} {row['tool_version']}"
            note = "" if row["validated"] else "  (of found results: not validated)"
            params = textwrap.shorten(json.dumps(row["params"]), 100, placeholder=" ...")
            click.echo(f"{row['paramset_idx']:5}  {tool:16}  {row['paramset_desc']}{note}\n       {params}")


@paramset.command()
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False), required=False)
@click.option(
    "--index", type=click.IntRange(0, 32767), help="The paramset_idx to give it; by default the next free one."
)
@click.option("--description", default="", help="What the set is meant for.")
@yes_option
def add(file: Path | None, index: int | None, description: str, yes: bool) -> None:
    """Add the parameters of a TOML FILE, nested as the tool names them; without FILE the tool's own defaults."""
    from adamacs import pipeline
    from adamacs.modalities.imaging import parameters

    if len(description) > _LONGEST:
        raise click.UsageError(f"The description has more than {_LONGEST} characters.")
    params = _read(file) if file else {}
    params = parameters.validate("suite2p", parameters.SUITE2P_VERSION, params)
    pipeline.connect()
    confirm(f"add Suite2p {parameters.SUITE2P_VERSION} parameters: {json.dumps(params)}", yes)
    number = pipeline.imaging.ProcessingParamSet.insert_new(params, paramset_idx=index, desc=description)
    click.echo(f"paramset_idx={number}")


def _read(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidParameters(f"This is not valid TOML: {error}.", file) from error
