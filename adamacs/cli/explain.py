"""`adamacs explain`."""

from __future__ import annotations

import sys

import click

from adamacs.core import tokens
from adamacs.core.errors import InvalidToken


@click.command()
@click.argument("name")
@click.option("--legacy", is_flag=True, help="Admit payloads of other lengths.")
def explain(name: str, legacy: bool) -> None:
    """Say what a folder name or a token means, or why it is refused.

    The exit status of a refusal is 1.
    """
    click.echo(tokens.explain(name, legacy=legacy))
    sys.exit(0 if tokens.is_token(name, legacy=legacy) or _is_folder(name, legacy) else 1)


def _is_folder(name: str, legacy: bool) -> bool:
    try:
        tokens.parse(name, legacy=legacy)
    except InvalidToken:
        return False
    return True
