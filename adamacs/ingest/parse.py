"""What the readers make of files, finished or not; for who wonders what a file is. No database is asked."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from adamacs import pipeline
from adamacs.core import formats, progress, tokens
from adamacs.core.errors import AdamacsError, visible
from adamacs.core.modality import named
from adamacs.core.names import natural_order

_SHOWN = 12  # items of a long sequence
_CUT = 200  # characters of a long text


@dataclass(frozen=True)
class Parsed:
    """What was made of one file.

    Attributes
    ----------
    reader
        Modality whose reader it was; empty where only its format was looked at.
    content
        Fields of what was read, long ones cut; arrays by type and shape.
    problem
        Why it could not be read, or empty.
    """

    path: str
    format: str
    size: int
    reader: str = ""
    content: Mapping[str, Any] = field(default_factory=dict)
    problem: str = ""

    def describe(self) -> str:
        """Return the file as a few lines."""
        lines = [f"{self.path}  {self.format}, {self.size:,} bytes{f', read by {self.reader}' if self.reader else ''}"]
        lines += [f"  {name}: {value}" for name, value in self.content.items()]
        if self.problem:
            lines.append(f"  PROBLEM: {self.problem}")
        return "\n".join(visible(line) for line in lines)


def parse(path: Path) -> list[Parsed]:
    """Return what readers make of a file, or of every file of a folder, in natural order; none stops the others."""
    if path.is_file():
        return [_parse_file(path)]
    files = sorted((file for file in path.rglob("*") if file.is_file() and not file.is_symlink()), key=_by_name)
    found = [_parse_folder(path)]
    for number, file in enumerate(files):
        progress.report("reading", number, len(files), "files")
        found.append(_parse_file(file))
    return found


def _by_name(path: Path) -> Any:
    return natural_order(path.as_posix())


def _parse_folder(path: Path) -> Parsed:
    try:
        folder = tokens.parse(path.absolute())
    except AdamacsError as error:
        return Parsed(str(path), "folder", 0, problem=str(error))
    return Parsed(str(path), "folder", 0, content=_plain(folder))


def _parse_file(path: Path) -> Parsed:
    size = path.stat().st_size
    try:
        kind, problem = formats.require_whole(path), ""
    except (AdamacsError, OSError) as error:
        kind, problem = "not whole", str(error)
    for modality in pipeline.modalities():
        if reader := modality.readers.get(path.suffix.lower()):
            try:
                content = _plain(named(reader)(path))
            except (AdamacsError, OSError) as error:
                return Parsed(str(path), kind, size, modality.name, problem=problem or str(error))
            return Parsed(str(path), kind, size, modality.name, content, problem)
    return Parsed(str(path), kind, size, problem=problem)


def _plain(value: Any) -> Any:
    """Return what was read as plain values that JSON takes, long ones cut."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {one.name: _plain(getattr(value, one.name)) for one in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(name): _plain(item) for name, item in list(value.items())[:_SHOWN]}
    if hasattr(value, "dtype") and hasattr(value, "shape") and value.shape:
        return f"{value.dtype}, shape {tuple(value.shape)}"
    if isinstance(value, list | tuple):
        more = [f"... {len(value)} in all"] if len(value) > _SHOWN else []
        return [*(_plain(item) for item in value[:_SHOWN]), *more]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, bool | int | float | None):
        return value
    text = str(value)
    return text if len(text) <= _CUT else f"{text[:_CUT]}..."
