"""Reads which stimuli Bonsai showed, from the three kinds of text that the lab's workflows write.

    events            a table with a column `Value`; a value with a semicolon is a stimulus
    master_trigger    a log: stimuli stand in double parentheses, parts set apart by commas, and count between
                      `Master_Trigger:ON` and `Master_Trigger:OFF`
    harp_acquiring    a log: stimuli count behind `HARP_acquiring:ON`, in double parentheses or a cell with semicolons
    ungated           a log with stimuli in double parentheses and no mark of when recording began: all count

Which one a file is follows from its content. The clock of a file is its own: times count from its first time stamp.
"""

from __future__ import annotations

import codecs
import csv
import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import zip_longest
from pathlib import Path
from typing import Literal, get_args

from adamacs.core.errors import InvalidRequest, UnreadableFile, nearest, visible
from adamacs.core.formats import require_whole
from adamacs.core.formats.source import Source, opened

Dialect = Literal["events", "master_trigger", "harp_acquiring", "ungated"]

_LARGEST = 1 << 26  # bytes; an hour of stimuli takes some hundred thousand
_LONGEST_LINE = 1 << 16  # bytes
_MOST_ROWS = 1_000_000
_IN_CELLS: tuple[Dialect, ...] = ("events", "harp_acquiring")  # without parentheses that say where a stimulus ends
_LONGEST_NAME = 100  # characters of a type or class

_UTF16 = {codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}
_OPENS: dict[Dialect, re.Pattern[str]] = {
    "master_trigger": re.compile(r"Master_Trigger\s*:\s*ON\b", re.IGNORECASE),
    "harp_acquiring": re.compile(r"HARP_acquiring\s*:\s*ON\b", re.IGNORECASE),
}
_CLOSES: dict[Dialect, re.Pattern[str]] = {
    "master_trigger": re.compile(r"Master_Trigger\s*:\s*OFF\b", re.IGNORECASE),
}
_PARENTHESES = re.compile(r"\(\(([^()]*(?:\([^()]*\)[^()]*)*)\)\)")
_INSTANT = re.compile(r"(\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d)(\.\d{1,9})?\s?(Z|[+-]\d\d:?\d\d)?", re.ASCII)
_NUMBER = re.compile(r"[+-]?(\d{1,30}\.?\d{0,30}|\.\d{1,30})([eE][+-]?\d{1,3})?", re.ASCII)
_TYPE = re.compile(r"[^\W\d_][^;,()\"]*")
_CLASS = re.compile(r"[^;,()\"]*")
_TIMES = ("time", "second")  # what the name of a column of times contains
_NUMBERS = ("azimuth", "elevation", "size", "orientation", "spatial_frequency", "temporal_frequency")
_GRAMMAR = "Type; Class; Azimuth; Elevation; Size; Orientation; SpatialFreq; TemporalFreq"


@dataclass(frozen=True)
class Stimulus:
    """What was shown. Two stimuli that mean the same are equal, however they were spelt.

    Attributes
    ----------
    type, class_
        As the workflow names them; the class is "" where there is none.
    azimuth, elevation, size, orientation
        deg; None where the stimulus has none, or the file says NaN.
    spatial_frequency
        cycles/deg, or None.
    temporal_frequency
        Hz, or None.
    """

    type: str
    class_: str = ""
    azimuth: float | None = None
    elevation: float | None = None
    size: float | None = None
    orientation: float | None = None
    spatial_frequency: float | None = None
    temporal_frequency: float | None = None

    def __str__(self) -> str:
        """Spell the stimulus the one canonical way: all eight parts, numbers as short as they can be read back."""
        numbers = (_spelt(getattr(self, name)) for name in _NUMBERS)
        return "; ".join((self.type, self.class_, *numbers))


@dataclass(frozen=True)
class StimulusRow:
    """One stimulus of a log.

    Attributes
    ----------
    line
        Of the file, from 1.
    time
        s on the log's clock; NaN where the line has no time.
    text
        As the file spells the stimulus, commas replaced by semicolons.
    """

    line: int
    time: float
    text: str
    stimulus: Stimulus


@dataclass(frozen=True)
class StimulusLog:
    """The stimuli of one file, in its order.

    Attributes
    ----------
    clock
        `instant`: time stamps of the computer, and `time` counts from `start`. `seconds`: a number in the file, and
        `time` is that number. `none`: the file has no times.
    start
        The file's first time stamp, naive UTC, where its clock is `instant`.
    warnings
        What is odd about the file but does not keep it from being read.
    """

    dialect: Dialect
    clock: Literal["instant", "seconds", "none"]
    start: datetime | None
    rows: tuple[StimulusRow, ...]
    warnings: tuple[str, ...] = ()


def read_stimuli(path: Path, dialect: Dialect | None = None) -> StimulusLog:
    """Read the stimuli of one file.

    Parameters
    ----------
    path
        A text in UTF-8, UTF-16 or Windows' encoding of western Europe.
    dialect
        Which kind of file it has to be; by default its content decides.

    Raises
    ------
    UnreadableFile
        The file is none of the kinds, or not of the one asked for; it has marks of two kinds and none was asked for; a
        line is no text, or holds a stimulus or a time that cannot be understood: names the line and shows the text.
    """
    path = Path(path)
    if dialect is not None and dialect not in get_args(Dialect):
        raise InvalidRequest(f"There is no dialect {dialect!r}.", path, nearest(str(dialect), get_args(Dialect)))
    require_whole(path)
    with opened(path) as source:
        if source.size > _LARGEST:
            raise source.fail(f"The text has {source.size} bytes, more than {_LARGEST}.", "Is it a log of stimuli?")
        reading = _Reading(source, _dialect_of(source, dialect))
        return reading.log()


def parse_stimulus(text: str) -> Stimulus:
    """Read `Type; Class; Azimuth; Elevation; Size; Orientation; SpatialFreq; TemporalFreq`.

    Blanks around parts do not count, parts at the end may be missing, and NaN or nothing is None.

    Raises
    ------
    UnreadableFile
        The text is something else: says which part, and shows the text.

    >>> str(parse_stimulus("Grating;A; 0;-0.0;20.0;4.5e1;.04"))
    'Grating; A; 0; 0; 20; 45; 0.04; NaN'
    """
    parts = [" ".join(part.split()) for part in text.split(";")]
    while len(parts) > 8 and not parts[-1]:
        parts.pop()
    if len(parts) > 8:
        raise _refusal(text, f"has {len(parts)} parts, not 8")
    kind, name = parts[0], parts[1] if len(parts) > 1 else ""
    if not _TYPE.fullmatch(kind) or kind.lower() == "nan" or len(kind) > _LONGEST_NAME or not kind.isprintable():
        raise _refusal(text, "begins with no type")
    name = "" if name.lower() == "nan" else name
    if not _CLASS.fullmatch(name) or len(name) > _LONGEST_NAME or not name.isprintable():
        raise _refusal(text, "has a class that is no name")
    numbers = {label: _number(text, label, part) for label, part in zip_longest(_NUMBERS, parts[2:], fillvalue="")}
    return Stimulus(kind, name, **numbers)


def _number(text: str, label: str, part: str) -> float | None:
    if not part or part.lower() == "nan":
        return None
    value = float(part) if _NUMBER.fullmatch(part) else math.inf
    if math.isinf(value):
        raise _refusal(text, f"has no number as its {label.replace('_', ' ')}, but {_shown(part)}")
    return value + 0.0  # -0 is 0


def _refusal(text: str, what: str) -> UnreadableFile:
    return UnreadableFile(f"The stimulus {_shown(text)} {what}.", hint=f"It should be {_GRAMMAR}.")


def _shown(text: str) -> str:
    """Quote a stranger's text, not more of it than a person would read."""
    return f"'{visible(text[:_LONGEST_NAME])}{'…' if len(text) > _LONGEST_NAME else ''}'"


def _spelt(value: float | None) -> str:
    return "NaN" if value is None else repr(value + 0.0).removesuffix(".0")


# --- what kind of file ---------------------------------------------------------------------------------------------


def _dialect_of(source: Source, asked: Dialect | None) -> Dialect:
    """Decide what kind of file it is, by its content."""
    found = _possible(source)
    if asked is not None:
        if asked not in found:
            known = " or ".join(found) or "none of the known kinds"
            raise source.fail(f"This is no log of the kind {asked}, but {known}.", "Is its setup type the right one?")
        return asked
    marked = [dialect for dialect in found if dialect in _OPENS]
    if len(marked) > 1:
        raise source.fail(f"The log has marks of two kinds: {', '.join(marked)}.", "Say which one it is.")
    if not found:
        raise source.fail(
            "This is no log of stimuli: it has no column Value, no Master_Trigger:ON, no HARP_acquiring:ON and nothing "
            "in double parentheses.",
            "Is it what its name says? Columns are set apart by commas: spreadsheet programs may change that.",
        )
    return found[0]


def _possible(source: Source) -> list[Dialect]:
    """Return the kinds that a file may be, the most telling first."""
    marks: set[Dialect] = set()
    columns: bool | None = None
    shown = False
    for _, line in _lines(source):
        columns = "Value" in _cells(line) if columns is None else columns
        marks.update(dialect for dialect, opens in _OPENS.items() if opens.search(line))
        shown = shown or _PARENTHESES.search(line) is not None
    if columns is None:
        raise source.fail("The log is empty.")
    found: list[Dialect] = [dialect for dialect in _OPENS if dialect in marks]
    return found + (["events"] if columns else []) + (["ungated"] if shown and not marks else [])


def _lines(source: Source) -> Iterator[tuple[int, str]]:
    """Yield the number and the text of every line that is not blank."""
    rest, number = b"", 0
    decode = _transcoder(source)
    for piece in source.pieces(0, source.size, "text"):
        *whole, rest = (rest + decode(piece)).split(b"\n")
        for line in whole:
            number += 1
            if text := _text(source, number, line):
                yield number, text
        if len(rest) > _LONGEST_LINE:
            _text(source, number + 1, rest)
    if text := _text(source, number + 1, rest):
        yield number + 1, text


def _transcoder(source: Source) -> Callable[[bytes], bytes]:
    """Return what makes UTF-8 of UTF-16; anything else stays as it is."""
    coding = _UTF16.get(source.head(2))
    if coding is None:
        return lambda piece: piece
    decoder = codecs.getincrementaldecoder(coding)(errors="replace")
    return lambda piece: decoder.decode(piece).encode()


def _text(source: Source, number: int, line: bytes) -> str:
    if len(line) > _LONGEST_LINE:
        raise source.fail(f"Line {number} has more than {_LONGEST_LINE} bytes.", "Is it a log of stimuli?")
    if b"\0" in line:
        raise source.fail(f"Line {number} holds zeros, which are no text.")
    line = line.removeprefix(codecs.BOM_UTF8) if number == 1 else line
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError:
        text = line.decode("cp1252", "replace")
    return text.replace("\r", " ").strip()


def _cells(line: str) -> list[str]:
    """Split a line of a table at its commas, but for those within quotes."""
    return [cell.strip() for cell in next(csv.reader([line], skipinitialspace=True), [])]


# --- its rows ------------------------------------------------------------------------------------------------------


class _Reading:
    """One file being read: lines to stimuli and times."""

    def __init__(self, source: Source, dialect: Dialect) -> None:
        self.source, self.dialect = source, dialect
        self.clock: Literal["instant", "seconds", "none"] = "none"
        self.start: datetime | None = None
        self.rows: list[StimulusRow] = []
        self.warnings: list[str] = []
        self._lines_read = 0
        self._known: dict[str, Stimulus] = {}  # the same text stands in a log a thousand times

    def log(self) -> StimulusLog:
        if self.dialect == "events":
            self._read_table()
        else:
            self._read_log()
        if not self.rows:
            self.warnings.append("The log holds no stimulus.")
        elif self.dialect in _IN_CELLS:
            self._require_end(self.rows[-1])
        return StimulusLog(self.dialect, self.clock, self.start, tuple(self.rows), tuple(self.warnings))

    def _fail(self, line: int, what: str, hint: str) -> UnreadableFile:
        return self.source.fail(f"Line {line}: {what}", hint)

    def _require_end(self, last: StimulusRow) -> None:
        """Refuse a stimulus that may be cut off: parts may be missing, so half of one would be another stimulus."""
        if not self.source.tail(2).rstrip(b"\0").endswith((b"\n", b"\r")) and last.line == self._lines_read:
            what = f"the file ends within the stimulus {_shown(last.text)}, or its last line was not ended."
            raise self._fail(
                last.line, what, "Did the copy from the rig finish? If the stimulus is whole, end its line."
            )

    def _read_table(self) -> None:
        lines = _lines(self.source)
        header = _cells(next(lines)[1])
        value = header.index("Value")
        timed = [column for column, name in enumerate(header) if any(word in name.lower() for word in _TIMES)]
        for number, line in lines:
            self._lines_read = number
            cells = _cells(line)
            if len(cells) <= value:
                what = f"there are {len(cells)} columns, but Value is number {value + 1}: {_shown(line)}."
                raise self._fail(number, what, "Was the file changed by hand?")
            text = cells.pop(value)
            numbers = [cells[at - (at > value)] for at in timed if at != value and at - (at > value) < len(cells)]
            time = self._time(number, cells, numbers)
            if ";" in text:
                self._add(number, time, text)

    def _read_log(self) -> None:
        opens, closes = _OPENS.get(self.dialect), _CLOSES.get(self.dialect)
        counting, outside = opens is None, 0
        for number, line in _lines(self.source):
            self._lines_read = number
            if opens and opens.search(line):
                counting = True
            if closes and closes.search(line):
                counting = False
            texts, rest = self._stimuli(line)
            cells = [cell.strip(" \t\"'") for cell in rest.split(",")]
            time = self._time(number, cells, cells[:1])
            outside += 0 if counting else len(texts)
            for text in texts if counting else ():
                self._add(number, time, text)
        if outside:
            self.warnings.append(f"{outside} stimuli were shown while the log says that nothing was recorded.")
        if closes and counting:
            self.warnings.append("The log ends before its mark of the end: was the workflow stopped?")
        if opens is None:
            self.warnings.append("The log does not say when recording began: all its stimuli are taken.")

    def _stimuli(self, line: str) -> tuple[list[str], str]:
        """Return the stimuli of a line of a log, and the line without them."""
        texts = [re.sub("[()\"']", "", text).replace(",", ";") for text in _PARENTHESES.findall(line)]
        if texts or self.dialect != "harp_acquiring" or ";" not in line:
            return texts, _PARENTHESES.sub("", line)
        cells = line.split(",")
        found = [cell.strip(" \t\"'") for cell in cells if ";" in cell]
        return found, ",".join(cell for cell in cells if ";" not in cell)

    def _add(self, number: int, time: float, text: str) -> None:
        if len(self.rows) >= _MOST_ROWS:
            raise self._fail(number, f"there are more than {_MOST_ROWS} stimuli.", "Is it a log of stimuli?")
        if text not in self._known:
            try:
                self._known[text] = parse_stimulus(text)
            except UnreadableFile as error:
                raise self._fail(number, error.what, error.hint or "") from error
        self.rows.append(StimulusRow(number, time, text.strip(), self._known[text]))

    def _time(self, number: int, cells: Sequence[str], numbers: Sequence[str]) -> float:
        """Return the time of a line: its time stamp in whatever cell, or else the first of some cells with a number."""
        for cell in cells:
            if found := _INSTANT.fullmatch(cell):
                return self._instant(number, found)
        for cell in numbers:
            if _NUMBER.fullmatch(cell):
                self._keep_to(number, "seconds", cell)
                return float(cell)
        return math.nan

    def _instant(self, number: int, found: re.Match[str]) -> float:
        self._keep_to(number, "instant", found[0])
        if not found[3]:
            what = f"the time stamp {found[0]} does not tell its zone."
            raise self._fail(number, what, "Let the workflow write time stamps with their zone.")
        fraction = float(f"0{found[2] or ''}")
        try:
            instant = datetime.fromisoformat(found[1] + found[3]).astimezone(UTC).replace(tzinfo=None)
        except (ValueError, OverflowError) as error:
            what = f"the time stamp {found[0]} is in no calendar."
            raise self._fail(number, what, "Was the file changed by hand?") from error
        if self.start is None:
            self.start = instant.replace(microsecond=int((found[2] or ".0")[1:7].ljust(6, "0")))
        # From whole microseconds and a fraction apart: Bonsai writes ten millionths of a second.
        return (instant - self.start).total_seconds() + fraction

    def _keep_to(self, number: int, clock: Literal["instant", "seconds"], cell: str) -> None:
        if self.clock not in ("none", clock):
            what = f"the time {cell} is of another kind than the times before it."
            raise self._fail(number, what, "Was the file put together from two?")
        self.clock = clock
