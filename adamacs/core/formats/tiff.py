"""Follow the directories of a TIFF, classic or big, to its end.

A page is forgotten once it is checked, so that memory does not grow with the recording, and no pixel is read. What a
page states decides where is looked next, never how much memory is taken.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import repeat

from adamacs.core.errors import UnreadableFile
from adamacs.core.formats.source import PIECE, Source

# Bytes and letter (of struct) per type of value; 13, 16 and 18 are places in the file.
SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
INTEGERS = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q", 18: "Q"}
_DESCRIPTION = 270
_PLACES = {273: 279, 324: 325}  # where strips and tiles lie, and the tag that tells their bytes
_BELOW = 330  # further directories that a page keeps to itself
_SAMPLES = 256  # pages looked at where all lie at equal distances
_AT_ONCE = 1024  # bytes read per directory: ScanImage's take 400
_DEEPEST = 4  # directories within directories

Entry = tuple[int, int, bytes]  # type, count, and the value or where it lies
Entries = dict[int, Entry]


@dataclass(frozen=True)
class Form:
    """One of the four dialects: byte order, and how wide numbers are."""

    order: str
    big: bool

    @property
    def place(self) -> str:
        """How a place in the file is written."""
        return self.order + ("Q" if self.big else "I")

    @property
    def entry(self) -> str:
        """How an entry of a directory is written."""
        return self.order + ("HHQ8s" if self.big else "HHI4s")

    @property
    def inline(self) -> int:
        """Bytes of a value that stand in the entry itself, and of a place."""
        return 8 if self.big else 4


FORMS = {
    b"II\x2a\x00": Form("<", False),
    b"MM\x00\x2a": Form(">", False),
    b"II\x2b\x00": Form("<", True),
    b"MM\x00\x2b": Form(">", True),
}


class Chain:
    """The pages of one open TIFF."""

    def __init__(self, source: Source) -> None:
        self.source, self.path, self.size = source, source.path, source.size
        head = source.read(0, 4, "header")
        if head not in FORMS:
            raise self.fail(f"This is no TIFF: it begins with {head!r}.", "Is it what its name says?")
        self.form = FORMS[head]
        self._count, self._entry, self._place = (
            struct.Struct(self.form.order + ("Q" if self.form.big else "H")),
            struct.Struct(self.form.entry),
            struct.Struct(self.form.place),
        )
        # No two tables of a sound file share bytes, though a text may belong to all pages: more is a trap.
        self._budget = 2 * self.size + (1 << 20)

    def fail(self, what: str, hint: str | None = None) -> UnreadableFile:
        return self.source.fail(what) if hint is None else self.source.fail(what, hint)

    def read(self, offset: int, size: int, what: str) -> bytes:
        return self.source.read(offset, size, what)

    def start(self) -> int:
        """Return where the first directory lies."""
        return self.place(self.read(8 if self.form.big else 4, self.form.inline, "header"))

    def place(self, value: bytes) -> int:
        """Read a place in the file."""
        found: int = self._place.unpack(value)[0]
        return found

    def directories(self) -> Iterator[Entries]:
        """Yield every directory's entries. A chain that bites its own tail is found with two numbers (Brent)."""
        offset, page, marker, lap = self.start(), 0, -1, 1
        while offset:
            if offset == marker:
                raise self.fail(f"The directory of page {page + 1} at byte {offset} is an earlier page's: a loop.")
            if page == lap:
                marker, lap = offset, 2 * lap
            entries, offset = self.directory(offset, page)
            yield entries
            page += 1

    def directory(self, offset: int, page: int) -> tuple[Entries, int]:
        """Read one directory; return its entries and where the next one lies (0: nowhere)."""
        what, width = f"directory of page {page + 1}", self._count.size
        if offset + width > self.size:
            raise self.fail(
                f"The {what} should lie at byte {offset}, the file ends at {self.size}: the rest is cut off."
            )
        block = self.read(offset, min(_AT_ONCE, self.size - offset), what)
        count = self._count.unpack_from(block)[0]
        behind = width + count * self._entry.size
        if not 0 < count <= 4096:
            raise self.fail(f"The {what} at byte {offset} claims {count} entries.")
        if behind + self._place.size > len(block):
            block = self.read(offset, behind + self._place.size, what)
        self._spend(behind)
        listed = self._entry.iter_unpack(block[width:behind])
        # where a tag stands twice (tifffile adds a description of its own), the first one counts
        entries = {tag: (kind, number, value) for tag, kind, number, value in reversed(list(listed))}
        return entries, self._place.unpack_from(block, behind)[0]

    def integers(self, entry: Entry, what: str) -> Iterator[int]:
        """Yield the numbers of an entry, however many, reading a piece of them at a time."""
        kind, count, value = entry
        if kind not in INTEGERS:
            raise self.fail(f"The {what} holds {count} values of type {kind}.")
        wide = SIZES[kind]
        if count * wide <= self.form.inline:
            yield from struct.unpack_from(f"{self.form.order}{count}{INTEGERS[kind]}", value)
            return
        at = self.place(value)
        self.source.reaches(at, count * wide, what)
        self._spend(count * wide)
        for first in range(0, count, PIECE // wide):
            part = min(PIECE // wide, count - first)
            data = self.read(at + first * wide, part * wide, what)
            yield from struct.unpack(f"{self.form.order}{part}{INTEGERS[kind]}", data)

    def check(self, entries: Entries, page: int, depth: int = 0) -> None:
        """Refuse a page that points to anything outside the file: texts, pixels, further directories."""
        size, inline, place = self.size, self.form.inline, self._place
        for tag, (kind, count, value) in entries.items():
            length = SIZES.get(kind, 0) * count
            if length > inline and place.unpack(value)[0] + length > size:
                self.source.reaches(self.place(value), length, f"entry {tag} of page {page + 1}")
        for where, how_long in _PLACES.items():
            if where in entries:
                self._check_pixels(entries, where, how_long, page)
        if _BELOW in entries and depth < _DEEPEST:
            for offset in self.integers(entries[_BELOW], f"list of directories below page {page + 1}"):
                self.check(self.directory(offset, page)[0], page, depth + 1)

    def _check_pixels(self, entries: Entries, where: int, how_long: int, page: int) -> None:
        what = f"table of pixels of page {page + 1}"
        offsets = self.integers(entries[where], what)
        # a very old writer may leave out how long a strip is; its first byte must be there all the same
        sizes = self.integers(entries[how_long], what) if how_long in entries else repeat(1)
        for offset, length in zip(offsets, sizes):
            if offset + length > self.size:
                raise self.fail(
                    f"The file ends at byte {self.size}, but the pixels of page {page + 1} reach from {offset} to "
                    f"{offset + length}."
                )

    def _spend(self, size: int) -> None:
        self._budget -= size
        if self._budget < 0:
            raise self.fail("The directories of this TIFF overlap each other.", "The file is damaged.")


def check(source: Source) -> str:
    """Return `TIFF` or `BigTIFF` where every page of the file is whole."""
    chain = Chain(source)
    if not chain.start():
        raise source.fail("The TIFF holds no page.", "Was the recording stopped before its first frame?")
    if not _equally_spaced(chain):
        pages, only = 0, None
        for pages, entries in enumerate(chain.directories(), start=1):
            chain.check(entries, pages - 1)
            only = entries
        if pages == 1 and only is not None:
            _check_imagej(chain, only)
    return "BigTIFF" if chain.form.big else "TIFF"


def _equally_spaced(chain: Chain) -> bool:
    """Tell whether all pages lie at one distance and those looked at are whole: first, last and some between.

    A microscope writes a million pages like this; whatever is cut off, the last one is not where the first two say.
    Anything unusual is no answer: then every page is read, and the damage is named.
    """
    try:
        first = chain.start()
        stride = chain.directory(first, 0)[1] - first
        last = (chain.size - first - 1) // stride if stride > 0 else 0
        if last <= _SAMPLES:
            return False
        for page in (*(number * last // _SAMPLES for number in range(_SAMPLES)), last):
            entries, following = chain.directory(first + page * stride, page)
            if following != (first + (page + 1) * stride if page < last else 0):
                return False
            chain.check(entries, page)
    except UnreadableFile:
        return False
    return True


def _check_imagej(chain: Chain, entries: Entries) -> None:
    """Check the pixels that ImageJ writes behind a single page, whose text alone tells how many images there are."""
    kind, count, value = entries.get(_DESCRIPTION, (0, 0, b""))
    if kind != 2 or count <= chain.form.inline:
        return
    text = chain.read(chain.place(value), min(count, 4096), "description")
    lines = dict(line.split(b"=", 1) for line in text.split(b"\n") if b"=" in line)
    images = lines.get(b"images", b"")
    if b"ImageJ" not in lines or not images.isdigit() or len(images) > 9 or 273 not in entries or 279 not in entries:
        return
    if entries[273][1] == 1 == entries[279][1]:
        offset, length = (next(chain.integers(entries[tag], "table of pixels of page 1")) for tag in (273, 279))
        chain.source.reaches(offset, length * int(images), f"{int(images)} images")
