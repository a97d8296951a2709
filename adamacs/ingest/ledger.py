"""Every run of an ingest is written down: who, where, what was asked for, and how each step ended.

In tables, and in a readable file per run. The steps of a scan that was written stand in the transaction of its rows,
so that none is claimed that did not happen.
"""

from __future__ import annotations

import json
import logging
import os
import platform
import secrets
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from adamacs.core import clocks, processes
from adamacs.core.errors import InvalidRequest, visible
from adamacs.core.settings import Settings
from adamacs.database import portable, statements
from adamacs.schemas import ledger as _tables
from adamacs.schemas import scan as _scans

tables: Any = _tables  # rows, columns and operators exist in the database, not in types
scans: Any = _scans
log = logging.getLogger("adamacs.ingest")

_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
OUTCOMES = ("ok", "skipped", "failed")


@dataclass(frozen=True)
class Step:
    """One step of a run.

    Attributes
    ----------
    name
        `find`, `plan`, `apply` or `remove`.
    outcome
        `ok`, `skipped` or `failed`.
    what
        `new`, `update`, `unchanged`, `refused`, `failed`, `waiting`, `unanswered` or `removed`.
    path
        Of the folder, relative to the share.
    written
        Rows.
    reason
        Why it was skipped or failed, or what was changed.
    """

    name: str
    outcome: str
    what: str
    path: str = ""
    session_id: str = ""
    scan_id: str = ""
    written: int = 0
    reason: str = ""

    def describe(self) -> str:
        """Return the step in one line."""
        rows = f"{self.written} rows" if self.written else ""
        words = (f"{self.outcome:7}", f"{self.name:6}", f"{self.what:9}", self.scan_id or self.path, rows, self.reason)
        return visible("  ".join(word for word in words if word))


@dataclass
class Run:
    """A run that is under way: it notes steps, and says in the end what is true.

    Attributes
    ----------
    counts
        Steps by outcome, those of transactions that were rolled back left out.
    """

    run_id: str
    log_file: Path
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(OUTCOMES, 0))
    scans: dict[str, int] = field(default_factory=dict)
    _number: int = 0

    def note(self, step: Step) -> None:
        """Write down a step that stands alone: one that was skipped, or failed."""
        self.write(step)
        self.wrote(step)

    def write(self, step: Step) -> None:
        """Add the row of a step, within the transaction of what it did."""
        self._number += 1  # a number that a rollback leaves unused is no loss
        tables.IngestStep.insert1(self._row(step))

    def wrote(self, step: Step) -> None:
        """Count a step, and add its line to the file, once its transaction is committed."""
        self.counts[step.outcome] += 1
        self.scans[step.what] = self.scans.get(step.what, 0) + 1
        _append(self.log_file, step.describe())

    def _row(self, step: Step) -> dict[str, Any]:
        texts = {"path": 1023, "session_id": 64, "scan_id": 64, "reason": 4095}
        values = {name: statements.storable(getattr(step, name), length) for name, length in texts.items()}
        other = {"name": step.name, "outcome": step.outcome, "what": step.what, "written": step.written}
        return {"run_id": self.run_id, "step": self._number, **values, **other, "stepped_at": clocks.now()}

    @property
    def whole(self) -> bool:
        """Whether no step failed."""
        return not self.counts["failed"]

    def summary(self) -> str:
        """Return the last line of the run: what happened, failures first."""
        counts = ", ".join(f"{count} {what}" for what, count in sorted(self.scans.items(), key=_worst_first))
        return f"{'whole' if self.whole else 'PARTIAL'}: {counts or 'nothing to do'} (run {self.run_id})"


def _worst_first(item: tuple[str, int]) -> tuple[int, str]:
    order = ("failed", "refused", "waiting", "unanswered", "new", "update", "removed", "unchanged")
    return (order.index(item[0]) if item[0] in order else len(order), item[0])


@contextmanager
def run(verb: str, selections: Mapping[str, Any], settings: Settings) -> Iterator[Run]:
    """Write down a run for the length of a block; where the block raises, the run says so and is partial.

    Parameters
    ----------
    verb
        `apply`, `watch`, `results` or `remove`.
    selections
        What was asked for; must be JSON.
    """
    run_id = _new_id()
    began = clocks.now()
    file = settings.logs / "ingest" / f"{began:%Y%m%dT%H%M%S}_{run_id}.log"
    who = f"{processes.account()}@{platform.node()}"
    row = {
        "run_id": run_id,
        "verb": verb,
        "account": who[:255],
        "pid": os.getpid(),
        "adamacs_version": processes.version()[:64],
        "selections": json.loads(json.dumps(dict(selections), default=str)),
        "started_at": began,
        "log_file": str(file)[:1023],
    }
    tables.IngestRun.insert1(row)
    _append(file, f"run {run_id}: {verb} by {who}, adamacs {row['adamacs_version']}, {began:%Y-%m-%d %H:%M:%S} UTC")
    _append(file, f"asked for: {json.dumps(row['selections'])}")
    running = Run(run_id, file)
    try:
        yield running
    except BaseException as error:
        running.counts["failed"] += 1
        what = str(error) or type(error).__name__
        running.scans["failed"] = running.scans.get("failed", 0) + 1
        _end(running, f"{running.summary()}: ended by {what}")
        raise
    _end(running, running.summary())


def _end(run: Run, summary: str) -> None:
    _append(run.log_file, summary)
    outcome = "whole" if run.whole else "partial"
    text = statements.storable(visible(summary), 2047)
    try:
        tables.IngestRun.update1({"run_id": run.run_id, "ended_at": clocks.now(), "outcome": outcome, "summary": text})
    except portable.FAILURES as error:  # the run is over all the same; without an end its row says that it was cut off
        log.warning("The end of run %s could not be written down: %s", run.run_id, error)


def _append(file: Path, line: str) -> None:
    """Add a line to a run's file; that the disk is full or the folder gone never stops an ingest."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("a", encoding="utf-8", errors="backslashreplace") as stream:
            stream.write(line + "\n")
    except OSError as error:
        log.warning("The file of the run could not be written: %s", error)


def _new_id() -> str:
    """Return an id that sorts by time: nobody counts runs, and no two hosts share one."""
    count, digits = time.time_ns() // 1_000_000, ""
    while count:
        count, digit = divmod(count, 36)
        digits = _DIGITS[digit] + digits
    return "run" + digits.rjust(8, "0") + "".join(secrets.choice(_DIGITS) for _ in range(4))


# ---- reading


@dataclass(frozen=True)
class PastRun:
    """A run as it stands in the ledger; times are naive UTC."""

    run_id: str
    verb: str
    account: str
    version: str
    selections: Mapping[str, Any]
    started_at: datetime
    ended_at: datetime | None
    outcome: str
    summary: str
    log_file: str
    steps: tuple[Step, ...] = ()

    def describe(self) -> str:
        """Return the run in a line, and its steps below."""
        ended = self.summary or "no end: it still runs, or was cut off"
        line = f"{self.run_id}  {self.started_at:%Y-%m-%d %H:%M} UTC  {self.verb:6}  {self.account}  {ended}"
        return "\n".join([visible(line), *(f"  {step.describe()}" for step in self.steps)])


def runs(limit: int = 20) -> list[PastRun]:
    """Return the last runs without their steps, the newest first."""
    return [_past(row) for row in tables.IngestRun.to_dicts(order_by="run_id DESC", limit=limit)]


def past(run_id: str) -> PastRun:
    """Return a run with its steps.

    Raises
    ------
    InvalidRequest
        There is no such run.
    """
    rows = (tables.IngestRun & {"run_id": run_id}).to_dicts()
    if not rows:
        raise InvalidRequest("There is no such run.", run_id, "`adamacs ingest log` lists them.")
    steps = (tables.IngestStep & {"run_id": run_id}).to_dicts(order_by="step")
    names = ("name", "outcome", "what", "path", "session_id", "scan_id", "written", "reason")
    return replace(_past(rows[0]), steps=tuple(Step(**{name: row[name] for name in names}) for row in steps))


def scans_still_there(run_id: str) -> tuple[str, ...]:
    """Return the tokens of the scans that a run brought into the database and that are there still."""
    brought = [step for step in past(run_id).steps if (step.name, step.outcome, step.what) == ("apply", "ok", "new")]
    keys = [{"session_id": step.session_id, "scan_id": step.scan_id} for step in brought]
    held = set((scans.Scan & keys).to_arrays("scan_id").tolist()) if keys else set()
    return tuple(step.scan_id for step in brought if step.scan_id in held)


def _past(row: Mapping[str, Any]) -> PastRun:
    names = ("run_id", "verb", "account", "selections", "started_at", "ended_at", "outcome", "summary", "log_file")
    return PastRun(version=row["adamacs_version"], **{name: row[name] for name in names})
