"""What a modality declares about itself, and what it contributes to the plan of one scan."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adamacs.core.tokens import ParsedFolder

if TYPE_CHECKING:
    from adamacs.core.settings import Settings


@dataclass(frozen=True)
class Row:
    """One row to be written: a table as `module.Table`, and the values of its columns by name."""

    table: str
    values: Mapping[str, Any]


@dataclass(frozen=True)
class Problem:
    """Something a person should know before a plan is applied; an `error` refuses the scan."""

    severity: str  # error, warning or question
    what: str
    where: str = ""
    hint: str = ""

    def __str__(self) -> str:
        place = f"{self.where}: " if self.where else ""
        return f"{self.severity}: {place}{self.what}{' ' + self.hint if self.hint else ''}"


@dataclass(frozen=True)
class RawFile:
    """A file of a recording folder, as it was found.

    Attributes
    ----------
    path
        Relative to the root `share`, POSIX.
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
    """One scan's folder: its name read, its files listed, nothing opened yet."""

    folder: ParsedFolder
    username: str
    path: Path  # absolute
    relative: str  # to the root `share`, POSIX
    files: tuple[RawFile, ...]


@dataclass(frozen=True)
class Contribution:
    """What one modality adds to the plan of one scan."""

    rows: tuple[Row, ...] = ()
    problems: tuple[Problem, ...] = ()
    summary: str = ""
    scan_values: Mapping[str, Any] = field(default_factory=dict)  # columns of Scan that the modality knows


@dataclass(frozen=True)
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
    plan
        `module:function` of (Recording, Settings) to Contribution; empty where folders hold nothing of it.
    staged_by
        Per table that people fill, such as `imaging.ProcessingTask`, the command that does it; the words FOLDER, KEY
        and INDEX are filled in.
    tools
        Distributions whose versions `adamacs check` shows, with the extra that installs them.
    patterns
        Names of its files in a recording folder, as `*.tif`; case does not matter.
    imports
        Per tool that is not simply imported under its own name, the `module:function` that does it as a run would.
    """

    name: str
    tables: str
    fills: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    needs: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    plan: str = ""
    tools: Mapping[str, str] = field(default_factory=dict)
    staged_by: Mapping[str, str] = field(default_factory=dict)
    imports: Mapping[str, str] = field(default_factory=dict)
    patterns: tuple[str, ...] = ()

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

    def planner(self) -> Callable[[Recording, Settings], Contribution] | None:
        """Return the function that plans a recording folder, or None."""
        if not self.plan:
            return None
        module, _, function = self.plan.partition(":")
        planner: Callable[[Recording, Settings], Contribution] = getattr(import_module(module), function)
        return planner
