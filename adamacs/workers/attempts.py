"""What was tried at a key: every attempt with its worker, its outcome and its log, also after the error was cleared."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

from adamacs.core.errors import visible
from adamacs.schemas.operations import Attempt, Worker
from adamacs.workers import liveness

FAILED = ("failed", "killed", "stalled")  # outcomes that count against a key


@dataclass(frozen=True)
class Tried:
    """One attempt at a key; times are naive UTC on the clock of the database.

    Attributes
    ----------
    outcome
        `done`, `failed`, `killed`, `stalled`, `fenced`, `cancelled` or `stopped`.
    failure
        Class of the failure, as `docs/reference/failures.md` lists them.
    peak_memory
        bytes, resident, of the worker's process; of one that was killed, as its daemon saw it last, and of one that was
        ended for its memory, with all that it started. None where nobody measured it: in a batch, or where another than
        its daemon noticed the death.
    log_file
        On `host`; empty for a worker without one.
    """

    key_hash: str
    key: Mapping[str, Any]
    worker_id: int
    role: str
    host: str
    pid: int
    version: str
    tools: Mapping[str, str]
    log_file: str
    started_at: datetime
    ended_at: datetime
    outcome: str
    failure: str
    message: str
    traceback: str
    peak_memory: int | None

    @property
    def log(self) -> str:
        """Where the log of its worker lies: `host:path`, or an empty text."""
        return f"{self.host}:{self.log_file}" if self.log_file else ""

    def describe(self) -> str:
        """Return the attempt as a few lines, the end of the traceback last."""
        seconds = (self.ended_at - self.started_at).total_seconds()
        memory = f", {self.peak_memory / 1e9:.2f} GB at most" if self.peak_memory else ""
        tools = " ".join(f"{name} {version}" for name, version in self.tools.items())
        lines = [
            f"{self.started_at:%Y-%m-%d %H:%M:%S} UTC  {self.outcome} after {seconds:.1f} s{memory}",
            f"  worker {self.worker_id}, role {self.role}, {self.host} (pid {self.pid}), adamacs {self.version}",
            f"  {tools}",
            f"  {f'[{self.failure}] ' if self.failure else ''}{self.message}",
            f"  log {self.log}" if self.log else "",
            *(f"  {line}" for line in self.traceback.splitlines()),
        ]
        return "\n".join(visible(line, keep="\t") for line in lines if line.strip())


_COLUMNS = (
    *("a.key_hash", "a.job_key", "a.worker_id", "w.worker_role", "w.host", "w.pid", "w.adamacs_version"),
    *("w.tool_versions", "w.log_file", "a.started_at", "a.ended_at", "a.outcome", "a.failure", "a.message"),
    *("a.traceback", "a.peak_memory"),
)


def of_keys(connection: Any, table_name: str, keys: Sequence[Mapping[str, Any]]) -> dict[str, list[Tried]]:
    """Return every attempt at some keys of a table, the oldest first, by `liveness.key_hash` of the key."""
    hashes = [liveness.key_hash(key) for key in keys]
    found: dict[str, list[Tried]] = {digest: [] for digest in hashes}
    if hashes:
        text = (
            f"SELECT {', '.join(_COLUMNS)} FROM {Attempt().full_table_name} AS a "
            f"JOIN {Worker().full_table_name} AS w ON w.worker_id = a.worker_id WHERE a.table_name = %s "
            f"AND a.key_hash IN ({', '.join(['%s'] * len(hashes))}) ORDER BY a.ended_at"
        )
        for row in connection.query(text, (table_name, *hashes)):
            tried = _tried(row)
            found[tried.key_hash].append(tried)
    return found


def _tried(row: Sequence[Any]) -> Tried:
    """Return a row of `_COLUMNS`, which stand in the order of the fields."""
    given = dict(zip((field.name for field in fields(Tried)), row, strict=True))
    return Tried(**{**given, "key": _mapping(given["key"]), "tools": _mapping(given["tools"])})


def _mapping(value: Any) -> dict[str, Any]:
    """Read JSON, which one driver gives as text and the other as what it holds."""
    content = json.loads(value) if isinstance(value, str | bytes) else value
    return dict(content or {})


def counted(tried: Iterable[Tried], since: datetime) -> list[Tried]:
    """Return the attempts that count against a key: those that failed since a person last asked for another try."""
    return [one for one in tried if one.outcome in FAILED and one.ended_at > since]
