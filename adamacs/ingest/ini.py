"""The lab's former settings of a person, `user_configs/<initials>.ini`, taken over into a profile.

They name most things by their position in a list that the former console fetched, in an order nobody wrote down. A
position becomes a name only where a list is at hand, the plan shows every such name, and what cannot be decided becomes
a question: nothing is guessed.
"""

from __future__ import annotations

import configparser
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from adamacs import pipeline
from adamacs.core import toml
from adamacs.core.errors import InvalidSetting, PlanRefused, UnknownSetup
from adamacs.core.modality import Problem
from adamacs.core.setups import Registry
from adamacs.ingest.profiles import FOLDER, Defaults, Notes, Profile, is_initials, text_of


@dataclass(frozen=True)
class Names:
    """The lists that positions count in, from 0. One that is None is not at hand."""

    projects: tuple[str, ...] | None = toml.key("What `project_idx` counts in.", None)
    locations: tuple[str, ...] | None = toml.key("What `location_idx` counts in.", None)
    scanners: tuple[str, ...] | None = toml.key("What `equipment_idx` counts in.", None)
    models: tuple[str, ...] | None = toml.key("What `dlc1_indices` counts in; the first was `dummy`.", None)


def read_names(path: Path) -> Names:
    """Return the lists of a TOML file.

    Raises
    ------
    InvalidSetting
        Everything that is wrong with the file.
    """
    names, problems = toml.read_as(Names, path)
    toml.refuse({path: problems})
    return names or Names()


def names_of_database() -> Names:
    """Return the names that the connected database holds, each list in the order of its primary key."""
    tables = {
        "projects": (pipeline.subject.Project, "project"),
        "locations": (pipeline.surgery.AnatomicalLocation, "anatomical_location"),
        "scanners": (pipeline.equipment.Equipment, "scanner"),
    }
    return Names(
        **{name: tuple(map(str, table.to_arrays(key, order_by="KEY"))) for name, (table, key) in tables.items()}
    )


@dataclass(frozen=True)
class ImportPlan:
    """What would become of a person's former settings.

    Attributes
    ----------
    target, text
        The profile's file, and what it would hold.
    decisions
        A line for each setting that was taken over.
    problems
        Questions, what is not known, and what stands in the way.
    state
        `new`, `unchanged` (the same profile is there) or `refused`.
    """

    source: Path
    target: Path
    text: str
    decisions: tuple[str, ...]
    problems: tuple[Problem, ...]
    state: str

    def describe(self) -> str:
        """Return the plan as text."""
        lines = [f"{self.state}  {self.target}, from {self.source}"]
        lines += [f"  {decision}" for decision in self.decisions]
        lines += [f"  {problem}" for problem in self.problems]
        return "\n".join([*lines, *(f"  | {line}" for line in self.text.splitlines())])


def plan_import(source: Path, home: Path, names: Names, registry: Registry) -> ImportPlan:
    """Plan the profile of a person from the former settings.

    Parameters
    ----------
    source
        `<initials>.ini`.
    home
        Of the lab.
    names
        The lists that its positions count in.
    registry
        The setup types that it may name.

    Raises
    ------
    InvalidSetting
        The file is not called after a person, or is no INI file.
    """
    initials = source.stem.upper()
    if not is_initials(initials):
        raise InvalidSetting("The file is not called after a person's initials.", source, "Call it XX.ini.")
    reading = _Reading(_sections(source), names, registry)
    text = text_of(reading.profile(initials))
    target = home / FOLDER / f"{initials}.toml"
    state, problems = "new", list(reading.problems)
    if target.exists():
        state = "unchanged" if target.read_bytes() == text.encode() else "refused"
    if state == "refused":
        hint = "Move it away, or write into it by hand."
        problems.append(Problem("error", f"There is another profile of {initials} already.", str(target), hint))
    return ImportPlan(source, target, text, tuple(reading.decisions), tuple(problems), state)


def apply_import(plan: ImportPlan) -> None:
    """Write the profile of a plan. What is there already is never changed.

    Raises
    ------
    PlanRefused
        Another profile of the person is there.
    """
    if plan.target.exists() and plan.target.read_bytes() == plan.text.encode():
        return
    plan.target.parent.mkdir(parents=True, exist_ok=True)
    try:
        with plan.target.open("xb") as file:
            file.write(plan.text.encode())
    except FileExistsError as error:
        raise PlanRefused("There is another profile of this person already.", plan.target, "Move it away.") from error


def _sections(source: Path) -> Mapping[str, Mapping[str, str]]:
    parser = configparser.ConfigParser(interpolation=None, default_section="")  # no section hands its values down
    try:
        parser.read_string(source.read_text(encoding="utf-8-sig"))
    except UnicodeDecodeError as error:
        raise InvalidSetting(f"This is no text in UTF-8: {error}.", source, "Save it as UTF-8.") from error
    except configparser.Error as error:
        raise InvalidSetting(f"This is no INI file: {' '.join(str(error).split())}.", source) from error
    except OSError as error:
        raise InvalidSetting(f"This file cannot be read: {error.strerror}.", source) from error
    return {name: dict(parser.items(name)) for name in parser.sections()}


_POSITIONS: Mapping[str, tuple[str, str]] = {  # key -> (its name in the profile, the list that it counts in)
    "project_idx": ("project", "projects"),
    "location_idx": ("location", "locations"),
    "equipment_idx": ("scanner", "scanners"),
}


@dataclass
class _Reading:
    """What was made of the sections so far."""

    sections: Mapping[str, Mapping[str, str]]
    names: Names
    registry: Registry
    decisions: list[str] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    defaults: dict[str, Any] = field(default_factory=dict)
    notes: list[tuple[int, str]] = field(default_factory=list)
    cameras: dict[str, Any] = field(default_factory=dict)
    models: dict[str, Any] = field(default_factory=dict)

    def profile(self, initials: str) -> Profile:
        """Return the profile that follows from every key; those that say nothing of it are reported."""
        for section, values in self.sections.items():
            for key, text in values.items():
                self.take(section, key, text.strip())
        vocabulary = tuple(text for _, text in sorted(self.notes, key=lambda note: note[0]))
        return Profile(
            initials,
            defaults=Defaults(**self.defaults),
            notes=Notes(vocabulary),
            cameras=self.cameras or None,
            models=self.models or None,
        )

    def take(self, section: str, key: str, text: str) -> None:
        """Take one key."""
        match section, key:
            case ("defaults", "project_idx" | "location_idx" | "equipment_idx"):
                self.take_position(key, text)
            case ("defaults", "s2p_param_idx"):
                self.take_paramset(key, text)
            case ("defaults", "dlc1_indices" | "dlc2_indices" | "dlc3_indices"):
                self.take_models(key, text)
            case ("defaults", "use_dlc_cropping") if text.lower() in configparser.ConfigParser.BOOLEAN_STATES:
                self.models["crop"] = configparser.ConfigParser.BOOLEAN_STATES[text.lower()]
            case ("cameras", "camera1" | "camera2" | "camera3"):
                self.cameras[key] = text
            case ("setup", "aux_setup_type"):
                self.take_setup(key, text)
            case ("recording_notes", _) if note := re.fullmatch("note([0-9]{1,6})", key):
                self.notes += [(int(note[1]), text)] if text else []
            case _:
                what = f"{key} = {text!r} is not known, and left out."
                self.problems.append(Problem("warning", what, f"[{section}]"))

    def ask(self, section: str, key: str, text: str, why: str, hint: str) -> None:
        """Leave a setting out, and let a person decide."""
        self.problems.append(Problem("question", f"{key} = {text}: {why}", f"[{section}]", hint))

    def decide(self, key: str, text: str, name: str, value: Any, of: Sequence[str] | None = None) -> None:
        """Take a setting over, and say so."""
        counted = f" (of {', '.join(of)}, from 0)" if of else ""
        self.decisions.append(f"{key} = {text} becomes {name} = {value}{counted}")

    def take_position(self, key: str, text: str) -> None:
        """Take a position as the name that stands there."""
        name, lists = _POSITIONS[key]
        if found := self.named("defaults", key, text, lists, (text,)):
            self.defaults[name] = found[0]
            self.decide(key, text, name, found[0], getattr(self.names, lists))

    def take_models(self, key: str, text: str) -> None:
        """Take positions of models, one or a list, as names; `dummy` stood for none."""
        camera = f"dlc{key[3]}"
        words = [word.strip() for word in text.strip("[]()").split(",") if word.strip()]
        if words and (found := self.named("defaults", key, text, "models", words)):
            self.models[camera] = [name for name in found if name != "dummy"]
            self.decide(key, text, f"models.{camera}", ", ".join(found), self.names.models)

    def named(self, section: str, key: str, text: str, lists: str, words: Sequence[str]) -> list[str]:
        """Return the names at some positions of a list; nothing, and a question, where one of them is none."""
        held = getattr(self.names, lists)
        hint = f"Give a list `{lists}` with --names, or write the name into the profile by hand."
        if held is None:
            self.ask(section, key, text, f"there is no list of {lists} that it could count in.", hint)
        elif not all(re.fullmatch("[0-9]{1,6}", word) and int(word) < len(held) for word in words):
            self.ask(section, key, text, f"this is no position in the list of {len(held)} {lists}.", hint)
        else:
            return [held[int(word)] for word in words]
        return []

    def take_paramset(self, key: str, text: str) -> None:
        """Take the number of a parameter set; it was no position."""
        if re.fullmatch("[0-9]{1,5}", text) and int(text) <= 32767:
            self.defaults["paramset_idx"] = int(text)
            self.decide(key, text, "paramset_idx", int(text))
        else:
            self.ask("defaults", key, text, "this is no number of a parameter set.", "`adamacs paramset list`.")

    def take_setup(self, key: str, text: str) -> None:
        """Take a setup type under its canonical name."""
        try:
            self.defaults["setup_type"] = self.registry.find(text).name
            self.decide(key, text, "setup_type", self.defaults["setup_type"])
        except UnknownSetup as error:
            self.ask("setup", key, text, "this is no setup type.", error.hint or "")
