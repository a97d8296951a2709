"""What workers leave alone for now. Running keys finish, and new keys are still noticed."""

from __future__ import annotations

import platform
from collections.abc import Callable
from typing import Any

from adamacs.core import processes
from adamacs.core.errors import InvalidRequest, nearest
from adamacs.schemas.operations import Pause

ALL = "all"


def scope(role: str | None = None, table: str | None = None) -> str:
    """Return the name of what is paused: everything, a role or a table."""
    if role and table:
        raise InvalidRequest("A pause is of a role or of a table.", hint="Pause them one after the other.")
    return f"role:{role}" if role else f"table:{table}" if table else ALL


def pause(what: str, reason: str = "") -> None:
    """Let no worker take up more of this. Pausing twice keeps the first one's name and time."""
    (now,) = Pause.connection.query("SELECT CURRENT_TIMESTAMP(6)").fetchone()
    row = {"pause_scope": what, "paused_at": now, "paused_by": who(), "pause_reason": reason[:2047]}
    Pause.insert1(row, skip_duplicates=True)


def resume(what: str) -> None:
    """End a pause.

    Raises
    ------
    InvalidRequest
        It is not paused.
    """
    row = Pause() & {"pause_scope": what}
    if not row:
        known = Pause.to_arrays("pause_scope").tolist()
        raise InvalidRequest(f"{what} is not paused.", hint=nearest(what, known) if known else "Nothing is.")
    row.delete_quick()


def paused(connection: Any, role: str) -> Callable[[str], bool]:
    """Return a function that tells for a table's name whether this role leaves it alone now."""
    scopes = {name for (name,) in connection.query(f"SELECT pause_scope FROM {Pause().full_table_name}")}
    whole = bool(scopes & {ALL, f"role:{role}"})
    return lambda table: whole or f"table:{table}" in scopes


def who() -> str:
    """Return who does something, for the record: account@host."""
    return f"{processes.account()}@{platform.node()}"
