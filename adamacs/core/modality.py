"""What a modality declares about itself, and what it contributes to the plan of one scan."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from importlib import import_module
from pathlib import Path
from typing import Any

from adamacs.core.errors import describe
from adamacs.core.promises import Promise
from adamacs.core.tokens import ParsedFolder


@dataclass(frozen=True)
class Row:
    """One row to be written.

    Attributes
    ----------
    table
        As `module.Table`.
    values
        Of its columns, by name.
    corrects
        Columns that somebody said on purpose: where the database says otherwise, they are updated. Of all others the
        database keeps what it holds.
    """

    table: str
    values: Mapping[str, Any]
    corrects: tuple[str, ...] = ()


@dataclass(frozen=True)
class Problem:
    """Something a person should know before a plan is applied.

    Attributes
    ----------
    severity
        `error` refuses the scan; `question` lets no service apply it alone; `warning` does neither.
    what, where, hint
        What is wrong, in which folder or file, and what to try.
    may_pass
        It may mend itself when further bytes arrive: a file that is missing, or has no end yet.
    places
        The folders it is about (`adamacs.core.places`), where `where` names more than one or spells its name out.
    """

    severity: str
    what: str
    where: str = ""
    hint: str = ""
    may_pass: bool = False
    places: tuple[str, ...] = ()

    def __str__(self) -> str:
        place = f"{self.where}: " if self.where else ""
        return f"{self.severity}: {place}{self.what}{' ' + self.hint if self.hint else ''}"


@dataclass(frozen=True)
class RawFile:
    """A file of a recording folder, as it was found.

    Attributes
    ----------
    path
        Its place: its root, and the path below that, as `adamacs.core.places` spells both.
    size
        Bytes.
    time
        Last modification, naive UTC.
    """

    path: str
    size: int
    time: datetime


@dataclass(frozen=True)
class Recording:
    """One scan's folder: its name read, its files listed, nothing opened yet.

    Attributes
    ----------
    folder
        What the name says.
    username
        The person's folder on the share.
    path, place
        Absolute, and as rows and people know it: its root, and the path below that (`adamacs.core.places`).
    files
        Below it, in natural order of their names.
    beside
        Notes and logs that lie beside the scan's folder and belong to its session.
    chosen
        What was decided about this scan, such as `paramset_idx`, by name.
    of
        The modality whose unit of a folder that grows this is; empty for a recording folder, which all look at.
    """

    folder: ParsedFolder
    username: str
    path: Path
    place: str
    files: tuple[RawFile, ...]
    beside: tuple[RawFile, ...] = ()
    chosen: Mapping[str, Any] = field(default_factory=dict)
    of: str = ""


@dataclass(frozen=True)
class Contribution:
    """What one modality adds to the plan of one scan.

    Attributes
    ----------
    promises
        Of the scan's streams, as far as the files that were looked at tell of them.
    """

    rows: tuple[Row, ...] = ()
    problems: tuple[Problem, ...] = ()
    summary: str = ""
    scan_values: Mapping[str, Any] = field(default_factory=dict)  # columns of Scan that the modality knows
    setup: str | None = None  # the setup type that its files name
    promises: tuple[Promise, ...] = ()


@dataclass(frozen=True)
class Unit:
    """Files of a folder that grows for days, each of which, or each group of which, is waited for and ingested alone.

    A recording folder is a unit by itself and needs no such declaration.

    Attributes
    ----------
    folders
        Glob of the folders that grow, relative to each share root, such as `incoming/*`.
    pattern
        Regular expression of a whole file name. Its group `stamp` tells which files belong together, its group `part`
        which part of them a file is; without `stamp` each file is a unit.
    parts
        What a group must have; once `patience` is over, it is taken for incomplete and the missing ones are named.
    patience
        s, since the first part of a group was seen.
    marker
        Glob of a file that must lie in the folder before any of its units is taken, such as a session's own file.
    parse
        `module:function` of (place of the folder, stamp or file name) to ParsedFolder: its token grammar.
    automatic
        A watching service applies its plans without a person.
    """

    folders: str
    pattern: str
    parse: str
    parts: tuple[str, ...] = ()
    patience: float = 3600.0
    marker: str = ""
    automatic: bool = False


@dataclass(frozen=True, eq=False)
class Parser:
    """A reader of a modality, to which setup types give files: what such a source left, on a clock of its own.

    Attributes
    ----------
    reads
        What, as it stands in a sentence.
    look
        `module:function` of (`adamacs.core.events.SourceFiles`, Settings) to `adamacs.core.events.Look`: what the files
        say of themselves.
    events
        The same to `adamacs.core.events.ImportedEvents`.
    glance
        The same, to trains and events that are promised of streams, where `events` takes longer; empty: `events`.
    trials
        The same to `adamacs.core.events.ImportedTrials`; empty where the files know of none.
    zero
        When the clock of such a source is zero, in words.
    counts
        Events of which each is one of a stream, by their type: the name of the stream.
    endings
        Of file names, such as `.h5`, that no other program leaves in a scan's folder.
    takes_many
        A source of it leaves several files.
    is_one_of_many
        Several devices of its kind record one scan, so that each source must be named.
    keys
        Of `[[expected]]` that mean something to it, beside those that all have.
    table
        Of a setup type, that says what such files mean; empty: none.
    """

    reads: str = ""
    look: str = ""
    events: str = ""
    glance: str = ""
    trials: str = ""
    zero: str = ""
    counts: Mapping[str, str] = field(default_factory=dict)
    endings: tuple[str, ...] = ()
    takes_many: bool = False
    is_one_of_many: bool = False
    keys: tuple[str, ...] = ()
    table: str = ""


@dataclass(frozen=True)
class Teller:
    """Who promises something of a scan's streams without being a source of events, such as `ScanImage`.

    Attributes
    ----------
    table
        Of the modality, that holds what it left.
    promises
        `module:function` of a key of that table, while the database can be asked, to a tuple of
        `adamacs.core.promises.Promise`.
    streams
        Of which it tells of any scan; these fail where nothing of it can be read.
    """

    table: str
    promises: str
    streams: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Modality:
    """One kind of data: its tables, who fills them, and how a recording folder becomes rows.

    Attributes
    ----------
    name
        Under which `adamacs.pipeline` exports the tables, and the last part of the database schema's name.
    tables
        The module that holds the tables.
    fills
        Per worker role, the tables it fills, in the order in which they depend on each other.
    needs
        Per table, what a host must have to fill it, as `tool:suite2p`; `adamacs.workers.roles` knows the kinds.
    look
        `module:function` of (Recording, Settings) to Contribution without rows: what the files of a folder say, and
        what is wrong with them. It asks no database. Empty where folders hold nothing of the modality.
    plan
        `module:function` of (Recording, Settings) to Contribution: the rows, and what is asked of people.
    staged_by
        Per table that people fill, such as `imaging.ProcessingTask`, the command that does it; the words FOLDER, KEY
        and INDEX are filled in.
    tools
        Distributions whose versions `adamacs check` shows, with the extra that installs them.
    patterns
        Names of its files in a recording folder, as `*.tif`; case does not matter.
    imports
        Per tool that is not simply imported under its own name, the `module:function` that does it as a run would.
    readers
        Per ending of a file name, such as `.tif`, the `module:function` of a path that reads what the file is.
    whole
        Per ending of a file name, the `module:function` of a path that raises where the file has no end yet; other
        files are looked at by `adamacs.core.formats`.
    units
        What grows within folders, beside the recording folders.
    made
        `module:function` of a scan's key, while the database can be asked, to the folders of results that adamacs made
        for it, absolute; what was taken over from elsewhere is not among them.
    parsers
        Its readers of sources of events, by the name that setup types give.
    tellers
        Who promises something of a scan's streams without being a source of events, by name.
    """

    name: str
    tables: str
    fills: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    needs: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    look: str = ""
    plan: str = ""
    tools: Mapping[str, str] = field(default_factory=dict)
    staged_by: Mapping[str, str] = field(default_factory=dict)
    imports: Mapping[str, str] = field(default_factory=dict)
    patterns: tuple[str, ...] = ()
    readers: Mapping[str, str] = field(default_factory=dict)
    whole: Mapping[str, str] = field(default_factory=dict)
    units: tuple[Unit, ...] = ()
    made: str = ""
    parsers: Mapping[str, Parser] = field(default_factory=dict)
    tellers: Mapping[str, Teller] = field(default_factory=dict)

    @property
    def looks_at_folders(self) -> bool:
        """Whether a recording folder can hold anything of it."""
        return bool(self.look or self.plan or self.parsers)

    def import_code(self, tool: str) -> str:
        """Return the Python code that imports one of the tools as a run would."""
        if tool not in self.imports:
            return f"import {tool}"
        module, _, function = self.imports[tool].partition(":")
        return f"from {module} import {function}; {function}()"

    def install_command(self, tool: str) -> str:
        """Return the command that installs one of the tools, with the versions that were tested."""
        extra = self.tools.get(tool, "")
        return f"pip install '{f'adamacs[{extra}]' if extra else 'adamacs'}'"


def named(place: str) -> Callable[..., Any]:
    """Return the function that a declaration names as `module:function`."""
    module, _, function = place.partition(":")
    found: Callable[..., Any] = getattr(import_module(module), function)
    return found


def staging_line(line: str, key: Mapping[str, Any], folder: str = "FOLDER") -> str:
    """Return a line of `Modality.staged_by` with what is known filled in, every word quoted for the shell.

    >>> staging_line("adamacs ingest apply FOLDER --paramset INDEX", {"paramset_idx": 3}, "/share/my folder")
    "adamacs ingest apply '/share/my folder' --paramset 3"
    """
    known = {"KEY": describe(key) or "KEY", "INDEX": str(key.get("paramset_idx", "INDEX")), "FOLDER": folder}
    return shlex.join(known.get(word, word) for word in line.split())
