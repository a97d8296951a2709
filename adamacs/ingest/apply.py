"""Apply a plan: one transaction per scan; applying twice changes nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby

from datajoint.errors import DuplicateError

from adamacs import pipeline
from adamacs.core import clocks
from adamacs.core.errors import AdamacsError, PlanRefused
from adamacs.core.modality import RawFile, Row
from adamacs.core.settings import Settings
from adamacs.database import portable
from adamacs.ingest.plan import IngestPlan, ScanPlan, compare, table_of

_FAILURES: tuple[type[Exception], ...] = (AdamacsError, *portable.FAILURES, OSError, UnicodeError)
_ATTEMPTS = 3  # a rival may write the same rows between our look and our insert


@dataclass(frozen=True)
class Outcome:
    """What became of one scan of a plan."""

    scan_id: str
    state: str  # written, unchanged, refused or failed
    rows: int = 0
    reason: str = ""


def apply_plan(
    plan: IngestPlan, settings: Settings, *, report: Callable[[Outcome], None] = lambda outcome: None
) -> list[Outcome]:
    """Write every scan of a plan that is not refused, each in a transaction of its own.

    A scan that fails is rolled back and reported; the others go on.
    """
    outcomes = []
    for scan in plan.scans:
        outcome = _apply_or_explain(scan, settings)
        report(outcome)
        outcomes.append(outcome)
    return outcomes


def _apply_or_explain(scan: ScanPlan, settings: Settings) -> Outcome:
    if scan.state == "refused":
        reasons = [str(problem) for problem in scan.problems if problem.severity == "error"]
        return Outcome(scan.scan_id, "refused", reason="; ".join(reasons))
    try:
        written = apply_scan(scan, settings)
    except _FAILURES as error:  # the others of the batch go on
        return Outcome(scan.scan_id, "failed", reason=" ".join(str(error).split()) or type(error).__name__)
    return Outcome(scan.scan_id, "written" if written else "unchanged", written)


def apply_scan(scan: ScanPlan, settings: Settings) -> int:
    """Write the rows of one scan that the database lacks, all or none, and return how many.

    Raises
    ------
    PlanRefused
        A file changed since it was planned, or the database now says something else about this scan.
    """
    _check_files(scan.files, settings)
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            return _write_missing(scan, settings)
        except DuplicateError:
            if attempt == _ATTEMPTS:
                raise
    raise AssertionError("unreachable")


def _write_missing(scan: ScanPlan, settings: Settings) -> int:
    connection = pipeline.scan.schema.connection
    with connection.transaction:
        missing, conflicts = compare(scan.rows, settings)
        if conflicts:
            raise PlanRefused(conflicts[0].what, {"scan_id": scan.scan_id}, conflicts[0].hint)
        for rows in _by_table(missing):
            table_of(rows[0]).insert([dict(row.values) for row in rows])
    return len(missing)


def _by_table(rows: Sequence[Row]) -> list[list[Row]]:
    return [list(group) for _, group in groupby(rows, key=lambda row: row.table)]


def _check_files(files: Sequence[RawFile], settings: Settings) -> None:
    share = settings.root("share")
    for file in files:
        path = share / file.path
        if not path.is_file():
            raise PlanRefused("The file is gone since the plan was made.", path, "Plan again.")
        status = path.stat()
        if (status.st_size, clocks.from_file_time(status.st_mtime_ns)) != (file.size, file.time):
            raise PlanRefused("The file changed since the plan was made.", path, "Plan again.")
