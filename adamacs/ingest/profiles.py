"""Profiles: what an ingest assumes for each person, by name. One file `profiles/<INITIALS>.toml` in the lab home."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from adamacs.core import tokens, toml
from adamacs.core.modality import Problem

FOLDER = "profiles"  # of a lab home

OWN_SITE = "own"  # the field of view is the session's own, not one that was visited before


def is_initials(text: str) -> bool:
    """Tell whether a text is a person's initials, as they open a folder's name."""
    return bool(re.fullmatch("[A-Z]{2}", text))


def _is_site(text: str) -> bool:
    return text == OWN_SITE or (text.startswith("sess") and tokens.is_token(text, legacy=True))


def _some_text(doc: str) -> Any:
    return toml.key(doc, None, fits=str.strip, takes="It takes a name; leave the key out where there is none.")


@dataclass(frozen=True)
class Answer:
    """A value that a plan would have to ask for, and where it was said."""

    value: Any
    where: str


@dataclass(frozen=True)
class Defaults:
    """What can be said beforehand of every scan of a person. What is None was not said."""

    project: str | None = _some_text("The project, `Project.project`.")
    location: str | None = _some_text("Where in the brain, `AnatomicalLocation.anatomical_location`.")
    scanner: str | None = _some_text("The instrument, `Equipment.scanner`.")
    setup_type: str | None = _some_text("The setup type where no header names one, in any of its spellings.")
    paramset_idx: int | None = toml.key(
        "The parameter set that a new scan is staged with.",
        None,
        fits=lambda number: 0 <= number <= 32767,
        takes="It takes a number, 0 to 32767.",
    )
    same_site: str | None = toml.key(
        "`own` for a new field of view, or the session token of the first visit to this one.",
        None,
        fits=_is_site,
        takes="It takes own, or a token such as sess9FY6AIRM.",
    )

    def answers(self, where: str) -> dict[str, Answer]:
        """Return what was said, by name, with the place that says it."""
        said = {field.name: getattr(self, field.name) for field in fields(Defaults)}
        return {name: Answer(value, where) for name, value in said.items() if value is not None}


@dataclass(frozen=True)
class Notes:
    """The words that a person notes scans with."""

    vocabulary: tuple[str, ...] = toml.key("Texts to choose a note from, in the person's own order.", ())


@dataclass(frozen=True)
class Profile:
    """What is assumed for one person.

    Attributes
    ----------
    cameras, models
        Kept as they stand; nothing reads them yet.
    """

    initials: str = toml.key("The person's initials, the file's own name.", fits=is_initials, takes="It takes XX.")
    name: str = toml.key("The person's name.", "")
    defaults: Defaults = toml.key("What holds where neither a folder nor an answer file says otherwise.", Defaults())
    notes: Notes = toml.key("The words that the person notes scans with.", Notes())
    cameras: Mapping[str, Any] | None = toml.key("Kept as it stands; nothing reads it yet.", None)
    models: Mapping[str, Any] | None = toml.key("Kept as it stands; nothing reads it yet.", None)

    def answers(self) -> dict[str, Answer]:
        """Return the person's defaults, by name."""
        return self.defaults.answers(f"profile {self.initials}")


def load_profiles(home: Path) -> Mapping[str, Profile]:
    """Return the profiles of a lab home, by initials.

    Raises
    ------
    InvalidSetting
        Everything that is wrong with any of the files.
    """
    profiles, faults = read_profiles(home)
    toml.refuse(faults)
    return profiles


def read_profiles(home: Path) -> tuple[Mapping[str, Profile], Mapping[Path, list[Problem]]]:
    """Return the profiles of a lab home that can be used, and what is wrong with each file."""
    profiles: dict[str, Profile] = {}
    faults: dict[Path, list[Problem]] = {}
    for path in files_of(home):
        if path.name.startswith("."):  # ._XX.toml of a Mac
            continue
        profile, faults[path] = toml.read_as(Profile, path)
        if profile and profile.initials != path.stem:
            hint = f"Rename the file to {profile.initials}.toml, or mend the key."
            faults[path].append(Problem("error", f"The file's name is {path.stem}.", "initials", hint))
        elif profile:
            profiles[profile.initials] = profile
    return profiles, faults


def files_of(home: Path) -> list[Path]:
    """Return the files of the profiles of a lab home."""
    return sorted((home / FOLDER).glob("*.toml"))


def text_of(profile: Profile) -> str:
    """Write a profile as the text of its file."""
    tables = {
        "": {"initials": profile.initials, "name": profile.name},
        "defaults": {name: answer.value for name, answer in profile.answers().items()},
        "notes": {"vocabulary": profile.notes.vocabulary} if profile.notes.vocabulary else {},
        "cameras": profile.cameras or {},
        "models": profile.models or {},
    }
    parts = ("\n".join(_table(name, values)) for name, values in tables.items() if values)
    return "\n\n".join(parts) + "\n"


def _table(name: str, values: Mapping[str, Any]) -> Iterator[str]:
    if name:
        yield f"[{name}]"
    for key, value in values.items():
        yield f"{_quoted(key) if not re.fullmatch('[A-Za-z0-9_-]+', key) else key} = {_value(value)}"


def _value(value: Any) -> str:
    """Return a value as TOML writes it: a text, a number, true or false, or a list of these."""
    if isinstance(value, list | tuple):
        return f"[{''.join(f'{chr(10)}    {_value(item)},' for item in value)}{chr(10) if value else ''}]"
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, int) else _quoted(str(value))


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")  # JSON lets DEL through, TOML does not
