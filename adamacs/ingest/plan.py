"""Plan what recording folders become: rows, files and questions. Nothing is written."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from blake3 import blake3

from adamacs import pipeline
from adamacs.core import failures, places, progress
from adamacs.core.errors import nearest, visible
from adamacs.core.modality import Contribution, Problem, RawFile, Recording, Row, named
from adamacs.core.settings import Settings
from adamacs.core.setups import SetupType
from adamacs.ingest import arrivals, choices, recorded
from adamacs.ingest.answers import Answers
from adamacs.ingest.choices import Choice, Choices, Vocabulary
from adamacs.ingest.compare import Change, Comparison, Held, compare
from adamacs.ingest.find import find_recordings
from adamacs.ingest.validate import Verdict, contradictions, incomplete, planning, validate

log = logging.getLogger("adamacs.ingest")

T = TypeVar("T")

_LONGEST_NAME = 32  # characters of a person's folder
STATES = ("new", "update", "unchanged", "refused")


@dataclass(frozen=True)
class ScanPlan:
    """What one recording folder becomes.

    Attributes
    ----------
    path
        The place of the folder (`adamacs.core.places`).
    state
        `new`, `update` (rows are missing, or somebody corrects columns), `unchanged` or `refused`.
    rows
        In the order in which they are written; rows that the database holds already are among them.
    missing
        How many of them the database lacks.
    changes
        Columns that are corrected, field by field.
    chosen
        What was decided about the scan, and by whom.
    automatic
        The setup type's rules let a watching service apply the plan without a person.
    """

    session_id: str
    scan_id: str
    path: str
    state: str
    rows: tuple[Row, ...]
    files: tuple[RawFile, ...]
    problems: tuple[Problem, ...]
    missing: int
    changes: tuple[Change, ...] = ()
    summary: str = ""
    chosen: Mapping[str, Choice] = field(default_factory=dict)
    automatic: bool = False


@dataclass(frozen=True)
class IngestPlan:
    """The plan of a batch: printed, saved, reviewed and applied as one object."""

    scans: tuple[ScanPlan, ...]
    problems: tuple[Problem, ...] = ()

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
        counts = {state: sum(scan.state == state for scan in self.scans) for state in STATES}
        total = ", ".join(f"{count} {state}" for state, count in counts.items() if count) or "no scans"
        unread = f"; {len(self._not_understood)} folders not understood" if self._not_understood else ""
        return "\n".join(visible(line) for line in [*lines, total + unread])


def plan_ingest(
    paths: Iterable[Path],
    settings: Settings,
    *,
    paramset_idx: int | None = None,
    answers: Answers | None = None,
    limit: int | None = None,
) -> IngestPlan:
    """Plan the ingest of every recording at or below some folders of the share.

    What a person left out, or removed, stays out, unless its folder itself is among the paths.

    Parameters
    ----------
    paramset_idx
        The parameter set that new scans are staged with; by default what answers, profiles, setup types and the
        setting `ingest.paramset_idx` say, in this order.
    answers
        What a person answered beforehand.
    limit
        Plan at most so many scans, the first by name.
    """
    paths = list(paths)
    recordings, problems = find_recordings(paths, settings)
    left_out = {one.path: one.reason for one in arrivals.load(("ignored",))}
    by_name = {path.resolve() for path in paths} if left_out else set()
    held_back = [one for one in recordings if one.place in left_out and one.path.resolve() not in by_name]
    left_out = {one.place: left_out[one.place] for one in held_back}
    for relative, reason in left_out.items():
        hint = "Name the folder itself, or `adamacs quarantine release` it."
        problems.append(Problem("warning", f"It is left out: {reason}".strip(), relative, hint))
    recordings = [recording for recording in recordings if recording.place not in left_out][:limit]
    planned = plan_recordings(recordings, settings, Choices(settings, answers, paramset_idx), explain=True)
    if answers is not None:
        folders = [recording.folder for recording in recordings]
        problems += answers.unused(
            scan_ids=sorted({str(folder.scan_id) for folder in folders}),
            session_ids=sorted({folder.session_id for folder in folders}),
            initials=sorted({folder.initials for folder in folders}),
        )
    return IngestPlan(tuple(planned), tuple(problems))


def plan_recordings(
    recordings: Iterable[Recording],
    settings: Settings,
    decided: Choices,
    *,
    explain: bool = False,
    thorough: bool = False,
) -> list[ScanPlan]:
    """Plan some recordings in their order; the database is asked for many at once.

    Parameters
    ----------
    explain
        Refuse a recording over which a reader stumbles, and go on with the others; else the error is raised. The loss
        of the database is raised in any case.
    thorough
        Count, too, what the files tell of each stream, and refuse a scan in which they contradict each other. That
        takes a second where an hour was recorded.
    """
    drafts: list[_Draft | ScanPlan] = []
    people, words = _People(), Vocabulary()
    waiting = list(recordings)
    for number, recording in enumerate(waiting):
        progress.report("planning", number, len(waiting), "scans")
        draft = partial(_draft, recording, settings, people, words, decided)
        drafts.append(_or_refused(draft, recording, explain))
    held = Held(row for draft in drafts for row in draft.rows)
    return [
        draft
        if isinstance(draft, ScanPlan)
        else _or_refused(partial(_planned, draft, held, settings, thorough), draft.recording, explain)
        for draft in drafts
    ]


def _or_refused(step: Callable[[], T], recording: Recording, explain: bool) -> T | ScanPlan:
    """Return what a step gives; where it raises, and that is to be explained, a plan that is refused for it."""
    try:
        return step()
    except Exception as error:
        if not explain or failures.classify(error).name == "database":
            raise
        log.warning("%s cannot be planned", recording.place, exc_info=True)
        what = f"It cannot be planned: {failures.describe(error)}"
        return ScanPlan(
            session_id=recording.folder.session_id,
            scan_id=str(recording.folder.scan_id),
            path=recording.place,
            state="refused",
            rows=(),
            files=recording.files,
            problems=(Problem("error", what, recording.place),),
            missing=0,
        )


@dataclass(frozen=True)
class _Draft:
    """A scan's rows, before anybody looked whether the database holds them."""

    recording: Recording
    verdict: Verdict
    rows: tuple[Row, ...]
    problems: tuple[Problem, ...]
    summary: str
    chosen: Mapping[str, Choice]
    automatic: bool


def _draft(recording: Recording, settings: Settings, people: _People, words: Vocabulary, decided: Choices) -> _Draft:
    user, odd = people.of(recording)
    chosen = decided.of(recording)
    setup = chosen.get("setup_type", Choice(None, ""))
    verdict = validate(recording, settings, setup=setup.value, insist=setup.on_purpose, thorough=False)
    chosen = decided.with_setup(chosen, verdict.setup)
    wrong = [
        *decided.problems(recording),
        *_not_staged(verdict.setup, recording),
        *words.problems(chosen, recording.place),
    ]
    usable = {} if wrong else chosen
    recording = replace(recording, chosen={name: choice.value for name, choice in usable.items()})
    parts = [named(m.plan)(recording, settings) for m in planning(recording, verdict.setup)]
    if verdict.setup is not None:
        parts.append(recorded.plan(recording, verdict.setup, settings))
    rows = (*_spine_rows(recording, user, verdict, usable), *(row for part in parts for row in part.rows))
    told = [part.summary for part in (*verdict.parts.values(), *parts)]
    return _Draft(
        recording=recording,
        verdict=verdict,
        rows=rows,
        problems=(*odd, *wrong, *verdict.all_problems(), *(problem for part in parts for problem in part.problems)),
        summary="; ".join(text for text in told if text),
        chosen=chosen,
        automatic=verdict.setup is not None and verdict.setup.automatic,
    )


def _not_staged(setup: SetupType | None, recording: Recording) -> Iterator[Problem]:
    if setup is None:
        return
    known = [table for modality in pipeline.modalities() for table in modality.staged_by]
    for stage in setup.stage:
        if stage.table not in known:
            what = f"Setup type {setup.name} stages {stage.table}, which is no table that people fill."
            yield Problem("error", what, recording.place, nearest(stage.table, known))


def _planned(draft: _Draft, held: Held, settings: Settings, thorough: bool) -> ScanPlan:
    found = compare(draft.rows, held, settings)
    problems = (*draft.problems, *found.conflicts)
    if _state(found, problems) != "unchanged":  # of what is in the database, the end was looked at before
        problems += tuple(incomplete(draft.recording, settings))
        problems += tuple(contradictions(draft.verdict, settings, problems)) if thorough else ()
    folder = draft.recording.folder
    plan = ScanPlan(
        session_id=folder.session_id,
        scan_id=str(folder.scan_id),
        path=draft.recording.place,
        state=_state(found, problems),
        rows=draft.rows,
        files=draft.recording.files,
        problems=problems,
        missing=len(found.missing),
        changes=found.changes,
        summary=draft.summary,
        chosen=draft.chosen,
        automatic=draft.automatic,
    )
    if plan.state != "refused":
        held.add(found.missing)  # for the scans behind it, which are written later
    return plan


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
            return known, [Problem("warning", f"The person {name} is new: a User row is added.", recording.place)]
        if known["initials"] != initials:
            what = f"The folder's initials are {initials}, those of {name} are {known['initials']}."
            return known, [Problem("warning", what, recording.place)]
        return known, []


def _spine_rows(
    recording: Recording, user: Mapping[str, Any], verdict: Verdict, chosen: Mapping[str, Choice]
) -> Iterator[Row]:
    folder = recording.folder
    session = {"session_id": folder.session_id}
    scan = {**session, "scan_id": folder.scan_id}
    root, relative = places.split(recording.place)
    directory = relative.rpartition("/")[0] if folder.layout == "nested" else relative
    yield Row("subject.User", {k: user[k] for k in ("user_id", "name", "shorthand", "initials")})
    yield Row("subject.Subject", {"subject": folder.subject})
    yield Row("session.Session", {**session, "subject": folder.subject, "session_date": folder.date})
    yield Row(
        "session.SessionDirectory", {**session, "user_id": user["user_id"], "root": root, "session_dir": directory}
    )
    yield Row("session.SessionUser", {**session, "user_id": user["user_id"]})
    yield from choices.session_rows(recording, chosen)
    yield from note_rows(recording)
    yield _scan_row(scan, verdict.parts.values(), choices.scan_columns(chosen))
    yield Row("scan.ScanPath", {**scan, "user_id": user["user_id"], "root": root, "path": relative})
    yield from choices.scan_rows(recording, chosen)
    for number, file in enumerate(recording.files, 1):
        yield Row("scan.ScanFile", {**scan, "file_id": number, **_file(file)})


def note_rows(recording: Recording) -> Iterator[Row]:
    """Yield a row for each note and log beside a scan."""
    for file in recording.beside:
        values = {"session_id": recording.folder.session_id, "file_hash": _hash(file.path), **_file(file)}
        yield Row("session.SessionFile", values, ("file_size", "file_time"))  # a note is written on for days


def _scan_row(key: Mapping[str, Any], parts: Iterable[Contribution], columns: Mapping[str, Choice]) -> Row:
    values = {"acq_software": "none"}
    for part in parts:
        values.update(part.scan_values)
    values.update({name: choice.value for name, choice in columns.items()})
    return Row("scan.Scan", {**key, **values}, tuple(name for name, choice in columns.items() if choice.on_purpose))


def _file(file: RawFile) -> dict[str, Any]:
    root, path = places.split(file.path)
    return {"root": root, "file_path": path, "file_size": file.size, "file_time": file.time}


def _hash(place: str) -> str:
    return blake3("/".join(places.split(place)).encode()).hexdigest(16)


def _state(found: Comparison, problems: Sequence[Problem]) -> str:
    if any(problem.severity == "error" for problem in problems):
        return "refused"
    if not found.missing and not found.changes:
        return "unchanged"
    return "new" if any(row.table == "scan.Scan" for row in found.missing) else "update"


def _describe_scan(scan: ScanPlan) -> Iterator[str]:
    size = sum(file.size for file in scan.files)
    yield f"{scan.state:9}  {scan.path}"
    rows = f"{scan.missing} of {len(scan.rows)} rows to write" if scan.state != "refused" else "nothing will be written"
    yield f"           files: {len(scan.files)}, {_size(size)}; {rows}"
    if scan.summary:
        yield f"           {scan.summary}"
    if staged := [row.table for row in scan.rows if row.table.endswith("Task")]:
        yield f"           stages {', '.join(staged)}"
    if told := [f"{name}={choice.value} ({choice.source})" for name, choice in scan.chosen.items() if _says(choice)]:
        yield f"           {'; '.join(told)}"
    for change in scan.changes:
        yield f"           {change}"
    for problem in scan.problems:
        yield f"           {problem}"


def _says(choice: Choice) -> bool:
    return choice.value not in ("", -1)


def _size(count: int) -> str:
    unit = next((unit for unit in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)) if count >= unit[1]), ("bytes", 1))
    return f"{count / unit[1]:,.3g} {unit[0]}"
