"""What every verb shares: asking before something changes, and keys as people type them."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

import click

from adamacs.core.errors import InvalidKey, PlanRefused


def yes_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add `--yes` to a verb that changes something."""
    return click.option("--yes", is_flag=True, help="Apply the printed plan without asking.")(function)


def json_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add `--json` to a verb that programs read."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")(function)


def confirm(plan: str, yes: bool) -> None:
    """Print a plan and ask for it; `--yes` agrees beforehand."""
    click.echo(plan)
    if yes:
        return
    if not sys.stdin.isatty():
        raise PlanRefused("Nothing was changed: there is nobody to ask.", hint="Give --yes to apply the plan.")
    click.confirm("Apply?", abort=True)


def print_json(content: Any) -> None:
    """Print one JSON line."""
    click.echo(json.dumps(content, default=str))


def parse_key(text: str) -> dict[str, Any]:
    """Read a KEY as people type it, `name=value[,name=value]`.

    A value of digits alone becomes an integer. Never SQL.

    >>> parse_key("scan_id=scan9FY6AIRM,paramset_idx=0")
    {'scan_id': 'scan9FY6AIRM', 'paramset_idx': 0}
    """
    key: dict[str, Any] = {}
    for part in text.split(","):
        name, equals, value = (piece.strip() for piece in part.partition("="))
        if not (equals and name.isidentifier() and value):
            raise InvalidKey("This is no KEY.", text, "Expected name=value[,name=value].")
        key[name] = int(value) if value.isdecimal() else value
    return key


def one_row(table: Any, text: str) -> dict[str, Any]:
    """Return the primary key of the one row of a table that a KEY names.

    Raises
    ------
    InvalidKey
        The KEY names a column that the table lacks, or not exactly one row.
    """
    key = parse_key(text)
    unknown = [name for name in key if name not in table.heading.names]
    if unknown:
        raise InvalidKey(f"There is no column {unknown[0]}.", text, f"Columns: {', '.join(table.heading.names)}.")
    rows = (table & key).keys()
    if len(rows) != 1:
        raise InvalidKey(f"The KEY names {len(rows)} rows, not one.", text, f"Columns: {', '.join(table.primary_key)}.")
    row: dict[str, Any] = rows[0]
    return row
