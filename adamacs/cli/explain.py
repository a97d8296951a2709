"""`adamacs explain`."""

from __future__ import annotations

import click

from adamacs.core import tokens


@click.command()
@click.argument("name")
@click.option("--legacy", is_flag=True, help="Admit payloads of other lengths.")
def explain(name: str, legacy: bool) -> None:
    """Say what a folder name or a token means, or why it is refused."""
    click.echo(tokens.explain(name, legacy=legacy))
