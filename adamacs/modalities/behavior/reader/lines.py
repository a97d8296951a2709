"""Lines of a table that a rig's program wrote: bounded in memory, each with the number of its row, its faults named."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from adamacs.core.errors import UnreadableFile
from adamacs.core.formats.source import COPY, Source

_LONGEST = 1 << 16  # bytes of a line; the widest tables of the lab have some hundred
_BOM = b"\xef\xbb\xbf"
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")
_MARKS = ",;\t"


class Block(NamedTuple):
    """Some consecutive lines, none of them blank, and the number of each in the file, counted from 1."""

    rows: list[int]
    texts: list[str]


class Lines:
    """The lines of an open file, a megabyte at a time.

    A last line without its end may have been cut by a crash or an unfinished copy.

    Parameters
    ----------
    source
        The open file.
    keep_cut
        Keep a last line without an end where nothing can be missing of it: it has as many fields as the line above,
        and its last is no shorter. That is sound where the last field never grows shorter (times, counters), and for
        nothing else.

    Attributes
    ----------
    blank
        Empty lines that were passed over, known when all were read.
    cut
        Row of a last line that was left out because it has no end; None where there is none.
    """

    def __init__(self, source: Source, *, keep_cut: bool) -> None:
        self._source, self._keep_cut = source, keep_cut
        self._row = 0
        self.blank = 0
        self.cut: int | None = None

    def __iter__(self) -> Iterator[Block]:
        carry, above = b"", ""
        for start, piece in self._pieces():
            if (zero := piece.find(b"\0")) >= 0:
                raise self._source.fail(f"A zero stands in the text, at byte {start + zero}.")
            whole, end, carry = (carry + piece).rpartition(b"\n")
            if len(carry) > _LONGEST:
                what = f"A line that ends behind byte {start + len(piece)} is longer than {_LONGEST} bytes."
                raise self._source.fail(what, "Is this a table?")
            if end and (block := self._block(whole)).texts:
                above = block.texts[-1]
                yield block
        if carry.strip():
            yield from self._last(carry, above)

    def warnings(self) -> tuple[str, ...]:
        """Return sentences about blank and cut lines, when all were read."""
        blank = (f"{self.blank} blank lines were passed over.",) if self.blank else ()
        cut = (f"Row {self.cut}, the last, has no end: it may be cut, and was left out.",) if self.cut else ()
        return blank + cut

    def fail(self, row: int, what: str, hint: str = COPY) -> UnreadableFile:
        """Return the error that names a row."""
        return self._source.fail(f"Row {row} {what}.", hint)

    def _pieces(self) -> Iterator[tuple[int, bytes]]:
        start = 0
        for piece in self._source.pieces(0, self._source.size, "table"):
            if start == 0 and piece[:2] in _UTF_16:
                raise self._source.fail("The table is written as UTF-16.", "Save it as UTF-8.")
            yield start, piece.removeprefix(_BOM) if start == 0 else piece
            start += len(piece)

    def _block(self, data: bytes) -> Block:
        texts = [text.rstrip("\r") for text in data.decode("utf-8", "replace").split("\n")]
        rows = [row for row, text in enumerate(texts, start=self._row + 1) if text.strip()]
        self._row += len(texts)
        self.blank += len(texts) - len(rows)
        return Block(rows, [text for text in texts if text.strip()])

    def _last(self, carry: bytes, above: str) -> Iterator[Block]:
        block = self._block(carry)
        if not block.texts:  # more is blank to a text than to bytes
            return
        if self._keep_cut and _is_as_long(block.texts[0], above):
            yield block
        else:
            self.cut = block.rows[0]


def mark_of(text: str) -> str:
    """Return what separates the fields of a line: a comma, a semicolon or a tabulator."""
    return max(_MARKS, key=text.count)


def split(text: str, mark: str) -> list[str]:
    """Return the fields of a line, without spaces and quotes around them."""
    return [field.strip(' "') for field in text.split(mark)]


def _is_as_long(text: str, above: str) -> bool:
    mark = mark_of(above)
    fields, fields_above = split(text, mark), split(above, mark)
    return len(fields) == len(fields_above) and len(fields[-1]) >= len(fields_above[-1]) > 0
