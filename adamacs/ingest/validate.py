"""Is a recording folder fit to be ingested? Every problem of it at once; no database is asked."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from adamacs import pipeline
from adamacs.core import formats, promises, setups
from adamacs.core.errors import UnknownSetup, UnreadableFile
from adamacs.core.modality import Contribution, Modality, Problem, Recording, named
from adamacs.core.names import fold
from adamacs.core.settings import Settings
from adamacs.core.setups import Registry, SetupType
from adamacs.ingest import recorded

_SEVERITY = {"warn": "warning", "fail": "error"}
CONSOLIDATION = "consolidation.json"  # names the setup of a folder whose files do not


@dataclass(frozen=True)
class Verdict:
    """What was found in a folder.

    Attributes
    ----------
    setup
        The setup type it was recorded on; None where nothing names one that is known.
    parts
        What each modality says, by its name.
    problems
        Of the folder as a whole.
    """

    recording: Recording
    setup: SetupType | None
    parts: dict[str, Contribution]
    problems: tuple[Problem, ...]

    @property
    def fit(self) -> bool:
        """Whether nothing speaks against ingesting the folder."""
        return not any(problem.severity == "error" for problem in self.all_problems())

    def all_problems(self) -> list[Problem]:
        """Return the problems of the folder and of every modality."""
        return [*self.problems, *(problem for part in self.parts.values() for problem in part.problems)]


def validate(
    recording: Recording, settings: Settings, *, setup: str | None = None, insist: bool = False, thorough: bool = True
) -> Verdict:
    """Look at a recording folder with the eyes of every modality.

    Parameters
    ----------
    setup
        The setup type for a folder whose files name none, such as a person's default.
    insist
        Take `setup` whatever the files say.
    thorough
        Open every file and look whether its format's own end is there.
    """
    parts = {m.name: named(m.look)(recording, settings) for m in concerned(recording) if m.look}
    if recording.of:
        return Verdict(recording, None, parts, tuple(incomplete(recording, settings)) if thorough else ())
    header, written = next((part.setup for part in parts.values() if part.setup), None), _consolidated(recording)
    registry = setups.load_usable(settings.home, modalities=pipeline.modalities())
    decided = setup if insist else None
    known, problems = _setup(decided or header or written or setup, registry, recording)
    if header and written and not decided and _canonical(header, registry) != _canonical(written, registry):
        what = f"Its header names the setup type {header}, and {CONSOLIDATION} names {written}."
        hint = f"Which is right? Mend {CONSOLIDATION}, or answer setup_type with --answers."
        problems.append(Problem("error", what, recording.place, hint))
    problems = [Problem("warning", warning, recording.place) for warning in recording.folder.warnings] + problems
    if known is not None:
        names = [file.path.removeprefix(f"{recording.place}/") for file in recording.files]
        problems += known.problems(names, recording.place)
    verdict = Verdict(recording, known, parts, tuple(problems))
    if not thorough:
        return verdict
    broken = tuple(incomplete(recording, settings))
    return replace(verdict, problems=(*verdict.problems, *broken, *contradictions(verdict, settings, broken)))


def concerned(recording: Recording) -> list[Modality]:
    """Return the modalities that a recording may hold something of."""
    return [modality for modality in pipeline.modalities() if recording.of in ("", modality.name)]


def incomplete(recording: Recording, settings: Settings) -> Iterator[Problem]:
    """Yield the files that cannot be opened, or whose format's own end is not there yet."""
    checks = {ending: named(place) for m in pipeline.modalities() for ending, place in m.whole.items()}
    for file in recording.files:
        path = settings.locate(file.path)
        try:
            checks.get(path.suffix.lower(), formats.require_whole)(path)
        except UnreadableFile as error:
            yield Problem("error", error.what, file.path, error.hint or "", may_pass=True)
        except OSError as error:
            hint = "Does this account have the right to read it?" if isinstance(error, PermissionError) else ""
            yield Problem("error", f"The file cannot be opened ({error.strerror}).", file.path, hint)


def contradictions(verdict: Verdict, settings: Settings, known: Collection[Problem] = ()) -> Iterator[Problem]:
    """Yield where those who tell of a stream of a scan do not agree, as its sync certificate will say.

    Files are opened for that: an hour of auxiliary channels takes about a second.

    Parameters
    ----------
    known
        Problems that were told already; of a file that has one, no further one is told.
    """
    told_of = {problem.where for problem in known}
    if verdict.setup is None:
        return
    beside = recorded.promise(verdict.recording, verdict.setup, settings)
    yield from (problem for problem in beside.problems if problem.where not in told_of)
    told = [promise for part in (*verdict.parts.values(), beside) for promise in part.promises]
    hint = "Is every file of the scan here, and of this scan? `adamacs ingest apply` takes it in all the same."
    for found in promises.compare(told, settings.sync):
        if found.verdict != "pass" and len({promise.teller for promise in found.told}) > 1:
            what = f"{found.stream}: {found.why}"
            is_short = any(p.told_by == promises.FILE and p.least < (found.count_max or 0) for p in found.told)
            yield Problem(_SEVERITY[found.verdict], what, verdict.recording.place, hint, may_pass=is_short)


def planning(recording: Recording, setup: SetupType | None) -> list[Modality]:
    """Return the modalities that plan a recording: those that its setup type names, where it names any."""
    wanted = setup.modalities if setup is not None else ()
    return [m for m in concerned(recording) if m.plan and (not wanted or m.name in wanted)]


def host_problems(settings: Settings, needed: int) -> list[Problem]:
    """Return what on this host stands in the way of an ingest: rights, by a real probe, and space.

    Parameters
    ----------
    needed
        Bytes of the recordings; their results take as much at most.
    """
    problems = []
    for name, root in {**settings.share_roots(), "processed": settings.root("processed")}.items():
        if not root.is_dir():
            problems.append(Problem("error", f"The root {name} is not there.", str(root), "Is the share mounted?"))
    processed = settings.root("processed")
    if processed.is_dir():
        if refusal := _probe(processed):
            hint = "Results will fail there: give this account, and that of the workers, the right to write."
            what = f"The root processed cannot be written ({refusal})."
            problems.append(Problem("warning", what, str(processed), hint))
        free = shutil.disk_usage(processed).free
        if free < needed:
            what = f"The root processed has {free / 1e9:,.1f} GB free; these recordings hold {needed / 1e9:,.1f} GB."
            problems.append(Problem("warning", what, str(processed), "Free some space before workers compute them."))
    return problems


def _probe(folder: Path) -> str:
    """Make a folder and remove it again: shares over the network lie to those who only ask. Return why it failed."""
    probe = folder / f".adamacs-probe-{os.getpid()}"
    try:
        probe.mkdir()
        probe.rmdir()
    except OSError as error:
        return error.strerror or type(error).__name__
    return ""


def _consolidated(recording: Recording) -> str | None:
    """Return the setup type that was written down when the folder was gathered from the acquisition controllers."""
    path = recording.path / CONSOLIDATION
    if not any(file.path == f"{recording.place}/{CONSOLIDATION}" for file in recording.files):
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return str(content["setup"]) if isinstance(content, dict) and content.get("setup") else None
    except (OSError, ValueError):
        return None  # that it is no JSON is said where every file is opened


def _canonical(spelling: str, registry: Registry) -> str:
    try:
        return registry.find(spelling).name
    except UnknownSetup:
        return fold(spelling)


def _setup(told: str | None, registry: Registry, recording: Recording) -> tuple[SetupType | None, list[Problem]]:
    if not told:
        what = "Nothing names the setup type: neither a header, nor an answer, nor the person's profile."
        return None, [Problem("question", what, recording.place, "Answer with --answers, or set it in a profile.")]
    try:
        return registry.find(told), []
    except UnknownSetup as error:
        return None, [Problem("error", error.what, recording.place, error.hint or "")]
