"""Plan what recording folders become: rows, files and questions. Nothing is written."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import date, datetime
from pathlib import Path
from typing import Any

from adamacs import pipeline
from adamacs.core.errors import PlanRefused
from adamacs.core.modality import Contribution, Problem, RawFile, Recording, Row
from adamacs.core.settings import Settings
from adamacs.ingest.find import find_recordings

FORMAT = 1

# Columns that say which scan this is: where the database says otherwise, the scan is refused. Others are a person's to
# correct in the database, and stay as they are there.
_IDENTITY = {
    "subject.User": ("shorthand",),
    "session.Session": ("subject", "session_date"),
    "scan.Scan": ("acq_software",),
    "scan.ScanPath": ("root", "path"),
    "scan.ScanFile": ("root", "file_path", "file_size", "file_time"),
}
_LONGEST_NAME = 32  # characters of a person's folder


@dataclass(frozen=True)
class ScanPlan:
    """What one recording folder becomes.

    Attributes
    ----------
    state
        `new`, `update` (some rows are missing), `unchanged` or `refused`.
    rows
        In the order in which they are written; rows that the database holds already are among them.
    missing
        How many of them the database lacks.
    """

    session_id: str
    scan_id: str
    path: str  # relative to the share
    state: str
    rows: tuple[Row, ...]
    files: tuple[RawFile, ...]
    problems: tuple[Problem, ...]
    missing: int
    summary: str = ""


@dataclass(frozen=True)
class IngestPlan:
    """The plan of a batch: printed, saved, reviewed and applied as one object."""

    scans: tuple[ScanPlan, ...]
    problems: tuple[Problem, ...] = ()
    paramset_idx: int = -1  # that new scans are staged with

    @property
    def refused(self) -> bool:
        """Whether any folder of the batch is refused."""
        return bool(self._not_understood) or any(scan.state == "refused" for scan in self.scans)

    @property
    def _not_understood(self) -> list[Problem]:
        return [problem for problem in self.problems if problem.severity == "error"]

    @property
    def changes(self) -> bool:
        """Whether applying would write anything."""
        return any(scan.state in ("new", "update") for scan in self.scans)

    def describe(self) -> str:
        """Return the plan as text, one scan a paragraph."""
        lines = [line for scan in self.scans for line in _describe_scan(scan)]
        lines += [str(problem) for problem in self.problems]
        counts = {state: sum(scan.state == state for scan in self.scans) for state in _STATES}
        total = ", ".join(f"{count} {state}" for state, count in counts.items() if count) or "no scans"
        unread = f"; {len(self._not_understood)} folders not understood" if self._not_understood else ""
        return "\n".join([*lines, total + unread])

    def to_json(self) -> str:
        """Return the plan as JSON, to be saved and applied later."""
        content = {"format": FORMAT, **asdict(self)}
        return json.dumps(content, indent=1, default=_plain)


_STATES = ("new", "update", "unchanged", "refused")


def plan_ingest(paths: Iterable[Path], settings: Settings, *, paramset_idx: int | None = None) -> IngestPlan:
    """Plan the ingest of every recording at or below some folders of the share.

    Parameters
    ----------
    paramset_idx
        The parameter set that new scans are staged with; by default the setting `ingest.paramset_idx`.
    """
    if paramset_idx is not None:
        settings = replace(settings, ingest=replace(settings.ingest, paramset_idx=paramset_idx))
    recordings, problems = find_recordings(paths, settings)
    people = _People()
    scans = tuple(plan_scan(recording, settings, people) for recording in recordings)
    return IngestPlan(scans, tuple(problems), settings.ingest.paramset_idx)


def replan(text: str, settings: Settings, where: Path | str = "") -> IngestPlan:
    """Plan again what a saved plan holds; a scan that would now become something else is refused.

    What was saved is only compared: no row that a file names reaches the database. A scan that was refused when the
    plan was saved stays out.

    Parameters
    ----------
    text
        What `IngestPlan.to_json` gave.

    Raises
    ------
    PlanRefused
        The text is no plan of this format.
    """
    saved, index = _read_saved(text, where)
    share = settings.root("share")
    fresh = plan_ingest([share / path for path in saved], settings, paramset_idx=index)
    scans = tuple(_compared(scan, saved.get(scan.path)) for scan in fresh.scans)
    return replace(fresh, scans=scans)


def _read_saved(text: str, where: Path | str) -> tuple[dict[str, Any], int]:
    """Return the saved scans that were not refused, by path, and the parameter set they were planned with."""
    try:
        content = json.loads(text)
        if content["format"] != FORMAT:
            raise PlanRefused("The plan was saved by another version.", where, "Plan again.")
        scans = {
            str(scan["path"]): scan for scan in content["scans"] if scan["state"] in ("new", "update", "unchanged")
        }
        return scans, int(content["paramset_idx"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise PlanRefused("This is no saved ingest plan.", where, "Make one with `adamacs ingest plan`.") from error


def _compared(scan: ScanPlan, saved: Any) -> ScanPlan:
    now = json.loads(json.dumps(asdict(scan), default=_plain))
    names = ("session_id", "scan_id", "rows", "files")
    differing = [name for name in names if not isinstance(saved, dict) or saved.get(name) != now[name]]
    if not differing:
        return scan
    what = f"The scan is not what the saved plan says any more: {', '.join(differing)} differ."
    problem = Problem("error", what, scan.path, "Plan again.")
    return replace(scan, state="refused", problems=(*scan.problems, problem))


class _People:
    """The users of the lab, with those that the plan adds."""

    def __init__(self) -> None:
        self.by_shorthand = {row["shorthand"]: row for row in pipeline.subject.User.to_dicts()}

    def of(self, recording: Recording) -> tuple[dict[str, Any], list[Problem]]:
        """Return the row of who owns the folder, and what is odd about it."""
        name, initials = recording.username, recording.folder.initials
        known = self.by_shorthand.get(name)
        if known is None and len(name) > _LONGEST_NAME:
            what = f"The person's folder {name} has more than {_LONGEST_NAME} characters."
            return {"user_id": 0, "name": name, "shorthand": name, "initials": initials}, [Problem("error", what)]
        if known is None:
            user_id = max((row["user_id"] for row in self.by_shorthand.values()), default=0) + 1
            known = {"user_id": user_id, "name": name, "shorthand": name, "initials": initials}
            self.by_shorthand[name] = known
            return known, [Problem("warning", f"The person {name} is new: a User row is added.", recording.relative)]
        if known["initials"] != initials:
            what = f"The folder's initials are {initials}, those of {name} are {known['initials']}."
            return known, [Problem("warning", what, recording.relative)]
        return known, []


def plan_scan(recording: Recording, settings: Settings, people: _People) -> ScanPlan:
    """Plan one recording folder: the rows of the spine, then those of every modality."""
    user, problems = people.of(recording)
    problems += [Problem("warning", warning, recording.relative) for warning in recording.folder.warnings]
    parts = list(_contributions(recording, settings))
    rows = tuple(_spine_rows(recording, user, parts)) + tuple(row for part in parts for row in part.rows)
    problems += [problem for part in parts for problem in part.problems]
    missing, conflicts = compare(rows, settings)
    problems += conflicts
    return ScanPlan(
        session_id=recording.folder.session_id,
        scan_id=str(recording.folder.scan_id),
        path=recording.relative,
        state=_state(rows, missing, problems),
        rows=rows,
        files=recording.files,
        problems=tuple(problems),
        missing=len(missing),
        summary="; ".join(part.summary for part in parts if part.summary),
    )


def compare(rows: Sequence[Row], settings: Settings) -> tuple[list[Row], list[Problem]]:
    """Return the rows that the database lacks, and where it says something else about this scan."""
    missing: list[Row] = []
    conflicts: list[Problem] = []
    for row in rows:
        table = table_of(row)
        held = (table & {name: row.values[name] for name in table.primary_key}).to_dicts()
        if not held:
            missing.append(row)
        else:
            conflicts += _differences(row, held[0], settings)
    return missing, conflicts + _changed_files(rows, missing)


def _changed_files(rows: Sequence[Row], missing: Sequence[Row]) -> list[Problem]:
    """Tell of files that came or went since the scan was ingested."""
    scan = next((row for row in rows if row.table == "scan.Scan"), None)
    if scan is None or scan in missing:
        return []
    key = {name: scan.values[name] for name in ("session_id", "scan_id")}
    came = [str(row.values["file_path"]) for row in missing if row.table == "scan.ScanFile"]
    planned = {row.values["file_id"] for row in rows if row.table == "scan.ScanFile"}
    held = (pipeline.scan.ScanFile & key).to_dicts()
    went = [str(row["file_path"]) for row in held if row["file_id"] not in planned]
    hint = f"`adamacs remove {key['scan_id']}`, then ingest it again."
    told = (("came", came), ("went", went))
    return [
        Problem(
            "error", f"{len(files)} files {verb} since the scan was ingested, such as {files[0]}.", key["scan_id"], hint
        )
        for verb, files in told
        if files
    ]


def table_of(row: Row) -> Any:
    """Return the table that a row belongs to."""
    module, _, name = row.table.partition(".")
    return getattr(getattr(pipeline, module), name)


def _contributions(recording: Recording, settings: Settings) -> Iterator[Contribution]:
    for modality in pipeline.modalities():
        if planner := modality.planner():
            yield planner(recording, settings)


def _spine_rows(recording: Recording, user: Mapping[str, Any], parts: Sequence[Contribution]) -> Iterator[Row]:
    folder = recording.folder
    session = {"session_id": folder.session_id}
    scan = {**session, "scan_id": folder.scan_id}
    software = {"acq_software": "none"}
    for part in parts:
        software.update(part.scan_values)
    directory = recording.relative.rpartition("/")[0] if folder.layout == "nested" else recording.relative
    yield Row("subject.User", {k: user[k] for k in ("user_id", "name", "shorthand", "initials")})
    yield Row("subject.Subject", {"subject": folder.subject})
    yield Row("session.Session", {**session, "subject": folder.subject, "session_date": folder.date})
    yield Row("session.SessionDirectory", {**session, "user_id": user["user_id"], "session_dir": directory})
    yield Row("session.SessionUser", {**session, "user_id": user["user_id"]})
    yield Row("scan.Scan", {**scan, **software})
    path = {"user_id": user["user_id"], "root": "share", "path": recording.relative}
    yield Row("scan.ScanPath", {**scan, **path})
    for number, file in enumerate(recording.files, 1):
        values = {"root": "share", "file_path": file.path, "file_size": file.size, "file_time": file.time}
        yield Row("scan.ScanFile", {**scan, "file_id": number, **values})


def _differences(row: Row, held: Mapping[str, Any], settings: Settings) -> Iterator[Problem]:
    for name in _IDENTITY.get(row.table, ()):
        value = row.values[name]
        if held[name] != value:
            what = f"{row.table}.{name} is {held[name]} in the database and {value} in the folder."
            hint = "Was the folder renamed or changed since it was ingested? A scan is never re-keyed."
            if name == "file_time":
                file = shlex.quote(str(settings.root(held["root"]) / held["file_path"]))
                hint = f"If only a copy lost its time, give it back: touch -d {held[name].isoformat()}Z {file}"
            yield Problem("error", what, str(row.values.get("scan_id", row.values.get("session_id", ""))), hint)


def _state(rows: Sequence[Row], missing: Sequence[Row], problems: Sequence[Problem]) -> str:
    if any(problem.severity == "error" for problem in problems):
        return "refused"
    if not missing:
        return "unchanged"
    return "new" if any(row.table == "scan.Scan" for row in missing) else "update"


def _describe_scan(scan: ScanPlan) -> Iterator[str]:
    size = sum(file.size for file in scan.files)
    yield f"{scan.state:9}  {scan.path}"
    rows = "nothing will be written" if scan.state == "refused" else f"{scan.missing} of {len(scan.rows)} rows to write"
    yield f"           files: {len(scan.files)}, {_size(size)}; {rows}"
    if scan.summary:
        yield f"           {scan.summary}"
    for problem in scan.problems:
        yield f"           {problem}"


def _size(count: int) -> str:
    unit = next((unit for unit in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)) if count >= unit[1]), ("bytes", 1))
    return f"{count / unit[1]:,.3g} {unit[0]}"


def _plain(value: Any) -> Any:
    if isinstance(value, date | datetime):
        return {"$": value.isoformat()}
    raise TypeError(f"{type(value).__name__} cannot stand in a plan")
