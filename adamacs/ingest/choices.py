"""What a folder does not say about its scan: answers of a person, defaults of a profile, rules of a setup type."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from adamacs import pipeline
from adamacs.core.errors import nearest
from adamacs.core.modality import Problem, Recording, Row
from adamacs.core.settings import Settings
from adamacs.core.setups import SetupType
from adamacs.ingest.answers import Answers
from adamacs.ingest.profiles import OWN_SITE, Profile, read_profiles

NAMES: Mapping[str, type] = {
    "project": str,
    "location": str,
    "scanner": str,
    "setup_type": str,
    "paramset_idx": int,
    "session_note": str,
    "scan_note": str,
    "same_site": str,
}
_LONGEST = {"session_note": 1024, "scan_note": 4095}  # characters


@dataclass(frozen=True)
class Choice:
    """A value that was decided for a scan.

    Attributes
    ----------
    source
        Who decided, such as `answers.toml, scans.scan9FY6AIRM` or `profile XX`.
    on_purpose
        Said about this very batch: where the database holds another value, it is corrected. A default never is.
    """

    value: Any
    source: str
    on_purpose: bool = False


@dataclass(frozen=True)
class Choices:
    """Who decides for the scans of a batch.

    Attributes
    ----------
    settings
        Of the lab.
    answers
        What a person answered beforehand.
    paramset_idx
        From the command line; goes before everything but an answer.
    saved
        By path of the folder, what a saved plan decided; it alone counts then.
    """

    settings: Settings
    answers: Answers | None = None
    paramset_idx: int | None = None
    saved: Mapping[str, Mapping[str, Choice]] | None = None

    @cached_property
    def _profiles(self) -> tuple[Mapping[str, Profile], Mapping[Path, list[Problem]]]:
        return read_profiles(self.settings.home)

    def problems(self, recording: Recording) -> Iterator[Problem]:
        """Yield why the person's profile cannot be used; those of others are none of this scan's business."""
        for path, found in self._profiles[1].items():
            if path.stem == recording.folder.initials and self.saved is None:
                for problem in found:
                    yield replace(problem, where=f"{path}{f', {problem.where}' if problem.where else ''}")

    def of(self, recording: Recording) -> dict[str, Choice]:
        """Return what is decided about a scan before its files are looked at, by name."""
        if self.saved is not None:
            return dict(self.saved.get(recording.place, {}))
        folder = recording.folder
        chosen: dict[str, Choice] = {}
        if profile := self._profiles[0].get(folder.initials):
            chosen |= {name: Choice(answer.value, answer.where) for name, answer in profile.answers().items()}
        if self.paramset_idx is not None:
            chosen["paramset_idx"] = Choice(self.paramset_idx, "--paramset")
        if self.answers is not None:
            given = Answers(self.answers.given).of(
                scan_id=str(folder.scan_id), session_id=folder.session_id, initials=folder.initials
            )
            chosen |= {name: Choice(answer.value, answer.where, on_purpose=True) for name, answer in given.items()}
        return chosen

    def with_setup(self, chosen: Mapping[str, Choice], setup: SetupType | None) -> dict[str, Choice]:
        """Return the same, with what the setup type and the lab's settings say where nobody decided."""
        added = dict(chosen)
        if self.saved is not None:
            return added
        if setup is not None:
            added["setup_type"] = replace(chosen.get("setup_type", Choice(None, "files")), value=setup.name)
            for stage in setup.stage:
                for name, value in stage.values.items():
                    added.setdefault(name, Choice(value, f"setup type {setup.name}"))
        added.setdefault("paramset_idx", Choice(self.settings.ingest.paramset_idx, "setting ingest.paramset_idx"))
        return added


@dataclass
class Vocabulary:
    """The names that the database knows; each list is fetched once."""

    _known: dict[str, list[str]] = field(default_factory=dict)

    def problems(self, chosen: Mapping[str, Choice], where: str) -> Iterator[Problem]:
        """Yield what cannot be written of what was chosen."""
        for name, choice in chosen.items():
            kind = NAMES.get(name)
            if kind is not None and (type(choice.value) is not kind):
                yield Problem("error", f"{name} is {choice.value!r}, no {kind.__name__} ({choice.source}).", where)
            elif name in _WORDS and choice.value not in self._words(name):
                what = f"There is no {name} {choice.value!r} ({choice.source})."
                yield Problem("error", what, where, nearest(choice.value, self._words(name)))
            elif name in _LONGEST and len(choice.value) > _LONGEST[name]:
                yield Problem("error", f"{name} has more than {_LONGEST[name]} characters ({choice.source}).", where)

    def _words(self, name: str) -> list[str]:
        if name not in self._known:
            module, table, column = _WORDS[name]
            rows = getattr(getattr(pipeline, module), table).to_arrays(column)
            self._known[name] = sorted(str(word) for word in rows)
        return self._known[name]


_WORDS = {
    "project": ("subject", "Project", "project"),
    "location": ("surgery", "AnatomicalLocation", "anatomical_location"),
    "scanner": ("equipment", "Equipment", "scanner"),
}


def session_rows(recording: Recording, chosen: Mapping[str, Choice]) -> Iterator[Row]:
    """Yield the rows about the session that follow from what was chosen."""
    session = {"session_id": recording.folder.session_id}
    if project := chosen.get("project"):
        yield Row("session.ProjectSession", {"project": project.value, **session})
    if note := chosen.get("session_note"):
        yield _row("session.SessionNote", session, {"session_note": note})
    if site := chosen.get("same_site"):
        token = recording.folder.session_id if site.value == OWN_SITE else site.value
        yield Row("session.SessionSite", {"same_site_id": token})
        yield _row("session.SessionSameSite", session, {"same_site_id": Choice(token, site.source, site.on_purpose)})


def scan_rows(recording: Recording, chosen: Mapping[str, Choice]) -> Iterator[Row]:
    """Yield the rows about the scan, beside Scan itself, that follow from what was chosen."""
    scan = {"session_id": recording.folder.session_id, "scan_id": recording.folder.scan_id}
    if location := chosen.get("location"):
        yield _row("scan.ScanLocation", scan, {"anatomical_location": location})
    if setup := chosen.get("setup_type"):
        yield _row("scan.ScanSetup", scan, {"setup_type": setup})


def scan_columns(chosen: Mapping[str, Choice]) -> dict[str, Choice]:
    """Return the columns of Scan that were chosen."""
    named = {"scanner": "scanner", "scan_note": "scan_notes"}
    return {column: chosen[name] for name, column in named.items() if name in chosen}


def _row(table: str, key: Mapping[str, Any], columns: Mapping[str, Choice]) -> Row:
    values = {name: choice.value for name, choice in columns.items()}
    return Row(table, {**key, **values}, tuple(name for name, choice in columns.items() if choice.on_purpose))
