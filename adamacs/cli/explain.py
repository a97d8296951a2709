"""`adamacs explain`."""

from __future__ import annotations

import sys

import click

from adamacs.core import settings as settings_module
from adamacs.core import tokens
from adamacs.core.errors import InvalidToken


@click.command()
@click.argument("name")
@click.option("--legacy", is_flag=True, help="Admit payloads of other lengths, as ingest.legacy_tokens of a lab does.")
def explain(name: str, legacy: bool) -> None:
    """Say what a folder name or a token means, or why it is refused.

    In a lab home its ingest.legacy_tokens holds, so that what is explained is what would be ingested. The exit status
    of a refusal is 1.
    """
    legacy = legacy or _lab_admits_legacy()
    click.echo(tokens.explain(name, legacy=legacy))
    sys.exit(0 if tokens.is_token(name, legacy=legacy) or _is_folder(name, legacy) else 1)


def _lab_admits_legacy() -> bool:
    """Whether the lab home at hand, where there is one, admits payloads of other lengths."""
    home = settings_module.find_home()
    return (home / settings_module.FILE).is_file() and settings_module.load(home).ingest.legacy_tokens


def _is_folder(name: str, legacy: bool) -> bool:
    try:
        tokens.parse(name, legacy=legacy)
    except InvalidToken:
        return False
    return True
