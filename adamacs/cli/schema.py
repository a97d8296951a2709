"""`adamacs schema diagram`."""

from __future__ import annotations

from pathlib import Path

import click


@click.group()
def schema() -> None:
    """Draw the tables."""


@schema.command()
@click.argument("output", type=click.Path(path_type=Path))
@click.option("--module", "modules", multiple=True, help="Only these modules, such as imaging; by default all.")
def diagram(output: Path, modules: tuple[str, ...]) -> None:
    """Write the tables and what they depend on to OUTPUT: .mmd for Mermaid, .svg or .png for a picture.

    The tables are those of this adamacs; no database is asked.
    """
    from adamacs import pipeline
    from adamacs.analysis.diagram import write_diagram

    write_diagram(output, modules or pipeline.SPINE + pipeline.MODALITIES)
    click.echo(str(output))
