"""Apply a plan: one transaction per scan; applying twice changes nothing."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from datajoint.errors import DuplicateError

from adamacs import pipeline
from adamacs.core import clocks, failures, progress
from adamacs.core.errors import AdamacsError, PlanRefused
from adamacs.core.modality import RawFile, Row
from adamacs.core.settings import Settings
from adamacs.database import portable, statements
from adamacs.ingest import arrivals, ledger
from adamacs.ingest.compare import Held, compare, table_of
from adamacs.ingest.ledger import Run, Step
from adamacs.ingest.plan import IngestPlan, ScanPlan

_FAILURES: tuple[type[Exception], ...] = (AdamacsError, *portable.FAILURES, OSError, UnicodeError)
_ATTEMPTS = 8  # rivals may write the same rows between our look and our insert, or hold what we wait for
_SHORTLY = 0.05  # s between the first two of them, at most


@dataclass(frozen=True)
class Outcome:
    """What became of one scan of a plan.

    Attributes
    ----------
    state
        `written`, `unchanged`, `refused` or `failed`.
    rows
        How many were written.
    may_pass
        It failed, and the same may succeed soon: a file changed just now, or the database or the share was away.
    """

    scan_id: str
    state: str
    rows: int = 0
    reason: str = ""
    may_pass: bool = False


def apply_plan(
    plan: IngestPlan,
    settings: Settings,
    run: Run | None = None,
    *,
    report: Callable[[Outcome], None] = lambda outcome: None,
) -> list[Outcome]:
    """Write every scan of a plan that is not refused, each in a transaction of its own.

    A scan that fails is rolled back and reported; the others go on.

    Parameters
    ----------
    run
        Notes a step for each scan, and for each folder that was not understood; by default a run of its own.
    """
    if run is None:
        with ledger.run("apply", {"paths": [scan.path for scan in plan.scans]}, settings) as run:
            return apply_plan(plan, settings, run, report=report)
    for problem in plan.problems:
        if problem.severity == "error":
            run.note(Step("find", "failed", "refused", problem.where, reason=f"{problem.what} {problem.hint}".strip()))
    outcomes = []
    left_out = {one.path for one in arrivals.load(("ignored",))}
    for number, scan in enumerate(plan.scans):
        progress.report("writing", number, len(plan.scans), "scans")
        outcome = apply_or_explain(scan, settings, run)
        if scan.path in left_out and outcome.state in ("written", "unchanged"):
            arrivals.settle(scan.path, "", "ingested")  # somebody wants it after all
        report(outcome)
        outcomes.append(outcome)
    return outcomes


def apply_or_explain(scan: ScanPlan, settings: Settings, run: Run) -> Outcome:
    """Write one scan, or say why not; whatever comes of it is noted."""
    if scan.state == "refused":
        reason = "; ".join(str(problem) for problem in scan.problems if problem.severity == "error")
        run.note(step_of(scan, "plan", "failed", "refused", reason=reason))
        return Outcome(scan.scan_id, "refused", reason=reason)
    try:
        written = apply_scan(scan, settings, run)
    except _FAILURES as error:  # the others of the batch go on
        reason = " ".join(str(error).split()) or type(error).__name__
        run.note(step_of(scan, "apply", "failed", "failed", reason=reason))
        may_pass = isinstance(error, PlanRefused) or failures.classify(error).name in ("database", "store")
        return Outcome(scan.scan_id, "failed", reason=reason, may_pass=may_pass)
    if not written:
        run.note(step_of(scan, "apply", "skipped", "unchanged", reason="the database holds all of it"))
    return Outcome(scan.scan_id, "written" if written else "unchanged", written)


def apply_scan(scan: ScanPlan, settings: Settings, run: Run) -> int:
    """Write the rows of one scan that the database lacks and correct its columns, all or none; return how many.

    Raises
    ------
    PlanRefused
        A file changed since it was planned, or the database now says something else about this scan.
    """
    _check_files(scan.files, settings)
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            return _write(scan, settings, run)
        except portable.FAILURES as error:
            passes = isinstance(error, DuplicateError) or failures.classify(error).name == "database"
            if attempt == _ATTEMPTS or not passes:
                raise
            time.sleep(_SHORTLY * attempt * random.random())  # those that met do not meet again
    raise AssertionError("unreachable")


def _write(scan: ScanPlan, settings: Settings, run: Run) -> int:
    with statements.transaction(pipeline.scan.schema.connection):
        found = compare(scan.rows, Held(scan.rows), settings)
        if found.conflicts:
            conflict = found.conflicts[0]
            raise PlanRefused(conflict.what, {"scan_id": scan.scan_id}, conflict.hint)
        count = len(found.missing) + len(found.changes)
        if not count:
            return 0
        columns = [change for change in found.changes if change.column not in change.key]
        for change in (change for change in found.changes if change.column in change.key):
            (table_of(change.table) & change.key).delete_quick()  # refused where anything stands on it
        # Two modalities may plan rows of one table and leave out different columns, and one statement names one set.
        for (table, _), rows in groupby(found.missing, key=lambda row: (row.table, frozenset(row.values))):
            table_of(table).insert([dict(row.values) for row in rows])
        for change in columns:
            table_of(change.table).update1({**change.key, change.column: change.planned})
        what = "new" if any(row.table == "scan.Scan" for row in found.missing) else "update"
        told = "; ".join([*_counts(found.missing), *map(str, found.changes)])
        steps = [step_of(scan, "apply", "ok", what, written=count, reason=told), *_left_open(scan)]
        for step in steps:
            run.write(step)
    for step in steps:
        run.wrote(step)
    return count


def _left_open(scan: ScanPlan) -> Iterator[Step]:
    """Yield what was not done because nobody answered, such as staging a scan without a parameter set."""
    if questions := [f"{one.what} {one.hint}".strip() for one in scan.problems if one.severity == "question"]:
        yield step_of(scan, "plan", "skipped", "unanswered", reason="; ".join(questions))


def step_of(scan: ScanPlan, name: str, outcome: str, what: str, *, written: int = 0, reason: str = "") -> Step:
    """Return a step of a run that is about one scan."""
    return Step(name, outcome, what, scan.path, scan.session_id, scan.scan_id, written, reason)


def _counts(rows: Sequence[Row]) -> list[str]:
    return [f"{len(list(group))} {table}" for table, group in groupby(rows, key=lambda row: row.table)]


def _check_files(files: Sequence[RawFile], settings: Settings) -> None:
    for file in files:
        path = settings.locate(file.path)
        if not path.is_file():
            raise PlanRefused("The file is gone since the plan was made.", file.path, "Plan again.")
        status = path.stat()
        if (status.st_size, clocks.from_file_time(status.st_mtime_ns)) != (file.size, file.time):
            raise PlanRefused("The file changed since the plan was made.", file.path, "Plan again.")
