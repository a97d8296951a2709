"""Answers given beforehand, so that a batch asks nothing: an answer file, or the manifest of an archive.

The most specific answer wins: of the scan, its session, its person, the whole file, and last the person's profile.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from adamacs.core import tokens, toml
from adamacs.core.errors import InvalidSetting, InvalidToken, nearest
from adamacs.core.modality import Problem
from adamacs.core.tokens import ParsedFolder
from adamacs.ingest.profiles import Answer, Defaults, Profile, is_initials

Given = Mapping[tuple[str, str], Mapping[str, Answer]]

_LEVELS: Mapping[str, str] = {"scans": "a scan token", "sessions": "a session token", "people": "initials, XX"}
_COLUMNS = ("path", "scan_id", "session_id", "initials")


def _is_of(level: str, name: str) -> bool:
    if level == "people":
        return is_initials(name)
    return name.startswith({"scans": "scan", "sessions": "sess"}[level]) and tokens.is_token(name, legacy=True)


def _name_of(level: str, doc: str) -> Any:
    return toml.key(doc, None, fits=lambda name: _is_of(level, name), takes=f"It takes {_LEVELS[level]}.")


@dataclass(frozen=True)
class Fields(Defaults):
    """What can be answered of a scan. What is None was not said."""

    session_note: str | None = toml.key(
        "What is noted of the session.", None, fits=lambda text: len(text) <= 1024, takes="It takes 1024 characters."
    )
    scan_note: str | None = toml.key(
        "What is noted of the scan.", None, fits=lambda text: len(text) <= 4095, takes="It takes 4095 characters."
    )

    def answers(self, where: str) -> dict[str, Answer]:
        said = {field.name: getattr(self, field.name) for field in fields(Fields)}
        return {name: Answer(value, where) for name, value in said.items() if value is not None}


@dataclass(frozen=True)
class Row(Fields):
    """A row of a manifest: whom it is about, and what is answered."""

    path: str | None = toml.key(
        "A folder to ingest, as adamacs shows it: relative to the share, or `root:path`; or its absolute path.",
        None,
        fits=lambda text: text.strip() and "\0" not in text,
        takes="It takes a path.",
    )
    scan_id: str | None = _name_of("scans", "The scan, where no path tells it.")
    session_id: str | None = _name_of("sessions", "The session, where no path tells it.")
    initials: str | None = _name_of("people", "The person, where no path tells it.")


@dataclass(frozen=True)
class Answers:
    """Everything that was answered beforehand.

    Attributes
    ----------
    given
        Per level (`defaults`, `people`, `sessions`, `scans`) and name, the answers.
    profiles
        Of the people, by initials: what holds where nothing was answered.
    """

    given: Given = field(default_factory=dict)
    profiles: Mapping[str, Profile] = field(default_factory=dict)

    def of(self, *, scan_id: str = "", session_id: str = "", initials: str = "") -> dict[str, Answer]:
        """Return what was answered of a scan, by name; each answer knows where it was said."""
        profile = self.profiles.get(initials)
        found = profile.answers() if profile else {}
        for place in (("defaults", ""), ("people", initials), ("sessions", session_id), ("scans", scan_id)):
            found |= self.given.get(place, {})
        return found

    def unused(
        self, *, scan_ids: Collection[str], session_ids: Collection[str], initials: Collection[str]
    ) -> list[Problem]:
        """Return a warning for each answer about a scan, session or person that the batch does not hold."""
        held = {"scans": scan_ids, "sessions": session_ids, "people": initials, "defaults": ("",)}
        unheld = [(level, name) for level, name in self.given if name not in held[level]]
        what = "There is an answer for {}, and the batch does not hold it."
        return [
            Problem("warning", what.format(name), _place(self.given[level, name]), nearest(name, sorted(held[level])))
            for level, name in unheld
        ]


def _place(answers: Mapping[str, Answer]) -> str:
    return next((answer.where for answer in answers.values()), "")


@dataclass(frozen=True)
class Manifest:
    """The folders of an archive, as they are written; what is answered of them, and what is wrong with which row."""

    paths: tuple[str, ...]
    answers: Answers
    problems: tuple[Problem, ...] = ()


def read_answers(path: Path, profiles: Mapping[str, Profile] | None = None) -> Answers:
    """Return the answers of a file.

    Parameters
    ----------
    path
        TOML with `[defaults]`, `[people.XX]`, `[sessions.sess...]` and `[scans.scan...]`; or a manifest.
    profiles
        What holds where nothing is answered.

    Raises
    ------
    InvalidSetting
        Everything that is wrong with the file.
    """
    reading = _read(path)
    toml.refuse({path: [problem for problem in reading.problems if problem.severity == "error"]})
    return Answers(reading.given, profiles or {})


def read_manifest(path: Path, profiles: Mapping[str, Profile] | None = None) -> Manifest:
    """Return the folders that a manifest names, and what is answered of them; a bad row stops no other.

    Parameters
    ----------
    path
        CSV with a header of column names, or TOML with a table `[[recordings]]` for each folder.
    profiles
        What holds where nothing is answered.

    Raises
    ------
    InvalidSetting
        The file cannot be read, is neither, or has columns that are not known.
    """
    reading = _read(path)
    problems = (replace(problem, where=f"{path}, {problem.where}") for problem in reading.problems)
    return Manifest(tuple(reading.paths), Answers(reading.given, profiles or {}), tuple(problems))


def _read(path: Path) -> _Reading:
    reading = _Reading(path)
    match path.suffix.casefold():
        case ".toml":
            reading.take_tables(toml.read(path))
        case ".csv":
            for at, row in _csv_rows(path, reading.problems):
                reading.take_row(row, at)
        case _:
            raise InvalidSetting("This is neither TOML nor CSV, as its name tells.", path, "Call it .toml or .csv.")
    return reading


class _Reading:
    """What was read of one file so far. The place in a problem is that in the file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.paths: dict[str, str] = {}
        self.given: dict[tuple[str, str], dict[str, Answer]] = {}
        self.problems: list[Problem] = []

    def fault(self, what: str, at: str, hint: str = "") -> None:
        """Remember what is wrong, and go on."""
        self.problems.append(Problem("error", what, at, hint))

    def take_tables(self, content: Mapping[str, Any]) -> None:
        """Take what a TOML file holds."""
        known = ("defaults", *_LEVELS, "recordings")
        for name, value in content.items():
            if name not in known:
                self.fault("There is no such key.", name, nearest(name, known))
            elif name == "defaults":
                self.take_table(value, name, "")
            elif name == "recordings" and isinstance(value, list):
                for number, row in enumerate(value, 1):
                    self.take_row(row, f"recordings {number}")
            elif name in _LEVELS and isinstance(value, dict):
                for of, table in value.items():
                    self.take_table(table, name, of)
            else:
                self.fault("This does not fit.", name, "It takes tables: [scans.scan9FY6AIRM], [[recordings]].")

    def take_table(self, table: Any, level: str, name: str) -> None:
        """Take the answers of one scan, session or person, or those of all."""
        at = f"{level}.{name}" if name else level
        if name and not _is_of(level, name):
            self.fault(f"{name!r} is no name here.", at, f"It takes {_LEVELS[level]}.")
        elif not isinstance(table, dict):
            self.fault("This does not fit.", at, f"It takes a table [{at}].")
        else:
            said, problems = toml.build(Fields, table, at)
            self.problems += problems
            if said and (answers := said.answers(f"{self.path.name}, {at}")):
                self.add((level, name), answers, at)

    def take_row(self, table: Any, at: str) -> None:
        """Take a row: its folder for the list, and its answers for the scan that the folder's name tells."""
        if not isinstance(table, dict):
            self.fault("This does not fit.", at, "It takes a table [[recordings]].")
            return
        row, problems = toml.build(Row, table, at)
        self.problems += problems
        if row is None:
            return
        folder = _parsed(row.path) if row.path else None
        if differing := _differing(row, folder):
            self.fault(f"The folder's name says something else: {differing}.", at, "Mend the row, or leave that out.")
            return
        answers = row.answers(f"{self.path.name}, {at}")
        place = _place_of(row, folder)
        if place is None and (answers or not row.path):
            hint = "It takes a folder whose name holds a scan token, or a scan_id."
            self.fault("It is not clear whom this row is about.", at, hint)
            return
        if row.path:
            self.add_path(row.path, at)
        if place and answers:
            self.add(place, answers, at)

    def add_path(self, folder: str, at: str) -> None:
        """Take a folder for the list, once."""
        if folder in self.paths:
            self.problems.append(Problem("warning", f"This folder is named twice: {self.paths[folder]}, too.", at))
        self.paths.setdefault(folder, at)

    def add(self, place: tuple[str, str], answers: Mapping[str, Answer], at: str) -> None:
        """Take answers, unless something else was answered of the same before: the file must not contradict itself."""
        held = self.given.setdefault(place, {})
        for name, answer in answers.items():
            if name in held and held[name].value != answer.value:
                self.fault(f"{name} was answered otherwise before ({held[name].where}).", at, "Keep one of the two.")
            else:
                held.setdefault(name, answer)


def _parsed(path: str) -> ParsedFolder | None:
    try:
        return tokens.parse(path, legacy=True)
    except InvalidToken:
        return None


def _place_of(row: Row, folder: ParsedFolder | None) -> tuple[str, str] | None:
    """Return whom a row is about; one about a folder is never about all that its person recorded."""
    named = {name: getattr(folder, name, None) or getattr(row, name) for name in ("scan_id", "session_id", "initials")}
    levels = dict(zip(named, _LEVELS, strict=True))
    said = ((levels[name], value) for name, value in named.items() if value and not (name == "initials" and row.path))
    return next(said, None)


def _differing(row: Row, folder: ParsedFolder | None) -> str:
    """Return the names in a row that the name of its folder contradicts."""
    names = {name: getattr(row, name) for name in ("scan_id", "session_id", "initials")}
    held = {name: getattr(folder, name) for name in names if folder}
    return ", ".join(
        f"{name} {held[name]}" for name in held if names[name] and held[name] and names[name] != held[name]
    )


# ---- CSV


def _csv_rows(path: Path, problems: list[Problem]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield (line, row) of a table: texts without blanks around them, numbers as numbers, empty cells left out."""
    lines = _lines(path)
    header = next((line for line in lines if line.strip()), "")
    delimiter = max(",;\t", key=header.count)
    reader = csv.reader(lines, delimiter=delimiter, strict=True)  # else an open quote swallows the rest of the table
    columns: list[str] = []
    while True:
        at = f"line {reader.line_num + 1}"
        try:
            cells = [cell.strip() for cell in next(reader)]
        except StopIteration:
            break
        except csv.Error as error:
            problems.append(Problem("error", f"This line is no row: {error}.", at, "Is a quotation mark left open?"))
            continue
        if not any(cells):
            continue
        if not columns:
            columns = _checked_columns([cell.casefold() for cell in cells], path)
        elif any(cells[len(columns) :]):
            what = f"The row has {len(cells)} cells, the header {len(columns)}."
            problems.append(Problem("error", what, at, f"Put a text with {delimiter!r} into quotation marks."))
        else:
            yield at, {name: _typed(name, cell) for name, cell in zip(columns, cells, strict=False) if cell}
    if not columns:
        raise InvalidSetting("This table has no header.", path, f"Its first line names columns: {', '.join(_known())}.")


def _lines(path: Path) -> list[str]:
    try:
        return list(io.StringIO(path.read_text(encoding="utf-8-sig")))
    except UnicodeDecodeError as error:
        raise InvalidSetting(f"This is no text in UTF-8: {error}.", path, "Save it as CSV UTF-8.") from error
    except OSError as error:
        raise InvalidSetting(f"This file cannot be read: {error.strerror}.", path) from error


def _checked_columns(columns: list[str], path: Path) -> list[str]:
    problems = [
        Problem("error", f"There is no column {name!r}.", "line 1", nearest(name, _known()))
        for name in columns
        if name not in _known()
    ]
    twice = {name for name in columns if columns.count(name) > 1}
    problems += [Problem("error", f"The column {name} stands there twice.", "line 1") for name in sorted(twice)]
    if not set(columns) & set(_COLUMNS):
        what = "No column tells whom a row is about."
        problems.append(Problem("error", what, "line 1", f"It takes one of {', '.join(_COLUMNS)}."))
    toml.refuse({path: problems})
    return columns


def _known() -> tuple[str, ...]:
    return tuple(dict.fromkeys((*_COLUMNS, *toml.keys_of(Row))))


def _typed(name: str, cell: str) -> Any:
    return int(cell) if name == "paramset_idx" and re.fullmatch("[0-9]{1,9}", cell) else cell
