"""What verbs share: asking before something changes, and keys and folders as people type them."""

from __future__ import annotations

import json
import math
import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from adamacs.core.errors import InvalidKey, InvalidSetting, PlanRefused, nearest

if TYPE_CHECKING:
    from adamacs.core.settings import Settings


def yes_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add `--yes` to a verb that changes something."""
    return click.option("--yes", is_flag=True, help="Apply the printed plan without asking.")(function)


def json_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add `--json` to a verb that programs read."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")(function)


def confirm(plan: str, yes: bool, *, as_json: bool = False) -> None:
    """Print a plan and ask for it; `--yes` agrees beforehand. Beside JSON the plan goes to stderr."""
    click.echo(plan, err=as_json)
    if yes:
        return
    if not sys.stdin.isatty():
        raise PlanRefused("Nothing was changed: there is nobody to ask.", hint="Give --yes to apply the plan.")
    click.confirm("Apply?", abort=True)


def folder_of(path: Path, settings: Settings) -> Path:
    """Return the folder that a path means: from here on, or else as adamacs shows it, below a share."""
    if not path.is_absolute() and not os.path.lexists(path):
        with suppress(InvalidSetting):  # no root is named so
            shown = settings.locate(path.as_posix())
            return shown if os.path.lexists(shown) else path
    return path


def print_json(content: Any) -> None:
    """Print one JSON line: NumPy's numbers as numbers, NaN as null, and what JSON does not know as text."""
    click.echo(json.dumps(_plain(content), allow_nan=False))


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if isinstance(value, str | int | None) else str(value)


def parse_key(text: str) -> dict[str, Any]:
    """Read a KEY as people type it, `name=value[,name=value]`.

    A value of digits alone becomes an integer. Never SQL.

    Raises
    ------
    InvalidKey
        It is not of this form, or gives a name twice.

    >>> parse_key("scan_id=scan9FY6AIRM,paramset_idx=0")
    {'scan_id': 'scan9FY6AIRM', 'paramset_idx': 0}
    """
    return {name: int(value) if _NUMBER.fullmatch(value) else value for name, value in _pairs(text).items()}


_NUMBER = re.compile(r"[0-9]{1,18}")  # what a 64-bit column holds


def _pairs(text: str) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for part in text.split(","):
        name, equals, value = (piece.strip() for piece in part.partition("="))
        if not (equals and name.isidentifier() and value):
            raise InvalidKey("This is no KEY.", text, "Expected name=value[,name=value].")
        if name in pairs:
            raise InvalidKey(f"The KEY gives {name} twice.", text)
        pairs[name] = value
    return pairs


def one_row(table: Any, text: str) -> dict[str, Any]:
    """Return the primary key of the one row of a table that a KEY names.

    Raises
    ------
    InvalidKey
        The KEY names a column that the table lacks, gives a number column a word, or names not exactly one row.
    """
    rows = (table & typed_key(table, text)).keys()
    if len(rows) != 1:
        raise InvalidKey(f"The KEY names {len(rows)} rows, not one.", text, f"Columns: {', '.join(table.primary_key)}.")
    row: dict[str, Any] = rows[0]
    return row


def typed_key(table: Any, text: str) -> dict[str, Any]:
    """Read a KEY, each value as its column of the table demands.

    Raises
    ------
    InvalidKey
        It is no KEY, names a column that the table lacks, or gives a number column a word.
    """
    return {name: _typed(table, name, value, text) for name, value in _pairs(text).items()}


def key_of_any(tables: Sequence[Any], text: str) -> dict[str, Any]:
    """Read a KEY whose columns belong to the keys of some of these tables, each value as its column demands.

    Raises
    ------
    InvalidKey
        It is no KEY, or none of the tables has such a column in its key, or it gives a number column a word.
    """
    owners = {name: table for table in reversed(tables) for name in table.primary_key}
    key = {}
    for name, value in _pairs(text).items():
        if name not in owners:
            raise InvalidKey(f"No key here has a column {name}.", text, nearest(name, list(owners)))
        key[name] = _typed(owners[name], name, value, text)
    return key


def _typed(table: Any, name: str, value: str, text: str) -> int | str:
    """Read a value as its column demands: a subject named 0815 is text, and PostgreSQL compares text to text only."""
    if name not in table.heading.names:
        raise InvalidKey(f"There is no column {name}.", text, f"Columns: {', '.join(table.heading.names)}.")
    if not table.heading[name].numeric:
        return value
    if not re.fullmatch(r"-?[0-9]{1,18}(\.[0-9]+)?", value):
        raise InvalidKey(f"The column {name} holds numbers.", text)
    return value if "." in value else int(value)
