"""Walk every directory of a TIFF and prove that what it points to lies inside the file.

tifffile tells how the four dialects of TIFF are laid out; its page objects are left aside, because they cost a
kilobyte each and stop at a broken link with an error of their own. Here a page is forgotten once it is checked, so
that memory does not grow with the recording, and no pixel is read.
"""

from __future__ import annotations

import stat
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import RawIOBase
from pathlib import Path

import numpy as np
from tifffile import TIFF

from adamacs.core.errors import UnreadableFile

_COPY = "Did the copy from the rig finish?"
_DIALECTS = {
    b"II\x2a\x00": TIFF.CLASSIC_LE,
    b"MM\x00\x2a": TIFF.CLASSIC_BE,
    b"II\x2b\x00": TIFF.BIG_LE,
    b"MM\x00\x2b": TIFF.BIG_BE,
}
_SIZES = {kind: struct.calcsize(f"<{form}") for kind, form in TIFF.DATA_FORMATS.items()}
_INTEGERS = {kind: TIFF.DATA_FORMATS[kind][-1] for kind in (1, 3, 4, 13, 16, 18)}
_TAGS = TIFF.TAGS
_SHAPE = tuple(
    _TAGS[name] for name in ("ImageWidth", "ImageLength", "BitsPerSample", "SamplesPerPixel", "SampleFormat")
)
_PIXELS = frozenset(("uint8", "int8", "uint16", "int16", "uint32", "int32", "float32", "float64"))
_LARGEST_TEXT = 1 << 28  # bytes; ScanImage's largest headers hold some 20 MB
_AT_ONCE = 1024  # bytes read per directory: ScanImage's take 400


@dataclass(frozen=True)
class Pages:
    """What a walk along all directories of one file established.

    Attributes
    ----------
    path, size
        The file, and its length in bytes.
    count
        Pages, each of them inside the file.
    height, width
        Of every page, px.
    pixel
        How every page stores a pixel: `int16`, `uint16`, ...
    first, last
        Texts of the first and the last page.
    """

    path: Path
    size: int
    count: int
    height: int
    width: int
    pixel: str
    first: PageText
    last: PageText


@dataclass(frozen=True)
class PageText:
    """The texts that a page carries; empty where it has none."""

    description: str
    software: str = ""
    artist: str = ""


def walk(path: Path) -> Pages:
    """Follow the directories of a TIFF to the last, checking each.

    Raises
    ------
    UnreadableFile
        The file is no TIFF, is cut short, or its pages differ in shape; names the page and the byte.
    """
    with _opened(path) as chain:
        return chain.all_pages()


def first_text(path: Path) -> PageText:
    """Return the texts of the first page alone; errors as for `walk`."""
    with _opened(path) as chain:
        entries, _ = chain.directory(chain.start(), 0)
        return chain.texts(entries, 0)


@contextmanager
def _opened(path: Path) -> Iterator[_Walk]:
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):  # opening a pipe would wait for its writer
            raise UnreadableFile("This is no file.", path)
        with path.open("rb", buffering=0) as file:
            yield _Walk(path, file, status.st_size)
    except OSError as error:
        reason = error.strerror or error
        raise UnreadableFile(f"The file cannot be read: {reason}.", path, "May this account read it?") from error


_Entry = tuple[int, int, bytes]  # type, count, and the value or where it lies
_Entries = dict[int, _Entry]


class _Walk:
    """One open file, and the page being looked at."""

    def __init__(self, path: Path, file: RawIOBase, size: int) -> None:
        self.path, self.file, self.size = path, file, size
        head = self.read(0, 4, "header")
        if head not in _DIALECTS:
            raise UnreadableFile(f"This is no TIFF: it begins with {head!r}.", path, "Is it a ScanImage recording?")
        self.form = _DIALECTS[head]
        self.order = self.form.byteorder
        self.inline = self.form.tagoffsetthreshold

    def fail(self, what: str, hint: str = _COPY) -> UnreadableFile:
        return UnreadableFile(what, self.path, hint)

    def read(self, offset: int, size: int, what: str) -> bytes:
        """Return exactly `size` bytes; anything less is a truncated file."""
        if offset < 0 or offset + size > self.size:
            raise self.fail(
                f"The file ends at byte {self.size}, but its {what} reaches from {offset} to {offset + size}."
            )
        self.file.seek(offset)
        data = self.file.read(size) or b""
        while len(data) < size:
            more = self.file.read(size - len(data))
            if not more:
                raise self.fail(f"The file shrank while it was read: no byte {offset + len(data)} ({what}).")
            data += more
        return data

    def start(self) -> int:
        """Return where the first directory lies."""
        at = 4 if self.form.version == 42 else 8
        return self.number(self.form.offsetformat, self.read(at, self.form.offsetsize, "header"))

    def number(self, form: str, data: bytes) -> int:
        value: int = struct.unpack(form, data)[0]
        return value

    def all_pages(self) -> Pages:
        count, height, width, pixel, shape = 0, 0, 0, "", None
        first: _Entries = {}
        last: _Entries = {}
        for count, entries in enumerate(self.directories(), start=1):
            seen = tuple(entries.get(tag) for tag in _SHAPE)
            if seen != shape:
                current = self.shape(entries, count - 1)
                if count > 1 and current != (height, width, pixel):
                    raise self.fail(
                        f"Page {count} holds {current[0]} x {current[1]} px of {current[2]}, the pages before it "
                        f"{height} x {width} px of {pixel}.",
                        "One acquisition has pages of one shape: was this file put together from several?",
                    )
                (height, width, pixel), shape = current, seen
            self.check_pixels(entries, count - 1, height, width, pixel)
            first, last = first or entries, entries
        if not count:
            raise self.fail("The TIFF holds no page.")
        texts = self.texts(first, 0), self.texts(last, count - 1)
        return Pages(self.path, self.size, count, height, width, pixel, *texts)

    def directories(self) -> Iterator[_Entries]:
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

    def directory(self, offset: int, page: int) -> tuple[_Entries, int]:
        """Read one directory; return its entries and where the next one lies (0: nowhere)."""
        form, what = self.form, f"directory of page {page + 1}"
        if offset + form.tagnosize > self.size:
            raise self.fail(
                f"The {what} should lie at byte {offset}, the file ends at {self.size}: the rest is cut off."
            )
        block = self.read(offset, min(_AT_ONCE, self.size - offset), what)
        count = self.number(form.tagnoformat, block[: form.tagnosize])
        size = form.tagnosize + count * form.tagsize + form.offsetsize
        if not 0 < count <= 4096:
            raise self.fail(f"The {what} at byte {offset} claims {count} entries.")
        if size > len(block):
            block = self.read(offset, size, what)
        behind = size - form.offsetsize
        listed = struct.iter_unpack(form.tagheaderformat, block[form.tagnosize : behind])
        # where a tag stands twice (tifffile adds a description of its own), the first one counts
        entries = {tag: (kind, number, value) for tag, kind, number, value in reversed(list(listed))}
        return entries, self.number(form.offsetformat, block[behind:size])

    def shape(self, entries: _Entries, page: int) -> tuple[int, int, str]:
        """Return height, width and pixel type of a page."""
        height, width = (self.integer(entries, name, page) for name in ("ImageLength", "ImageWidth"))
        bits = self.integer(entries, "BitsPerSample", page, 1)
        samples = self.integer(entries, "SamplesPerPixel", page, 1)
        sign = {1: "uint", 2: "int", 3: "float"}.get(self.integer(entries, "SampleFormat", page, 1))
        if height < 1 or width < 1 or samples != 1 or f"{sign}{bits}" not in _PIXELS:
            raise self.fail(
                f"Page {page + 1} is {height} x {width} px with {samples} samples of {bits} bits each.",
                "ScanImage writes one grey value per pixel: is this one of its recordings?",
            )
        return height, width, f"{sign}{bits}"

    def check_pixels(self, entries: _Entries, page: int, height: int, width: int, pixel: str) -> None:
        """Refuse a page whose pixels are not all inside the file."""
        offsets = self.integers(entries, "StripOffsets", page, height)
        sizes = self.integers(entries, "StripByteCounts", page, height)
        if len(offsets) != len(sizes):
            raise self.fail(f"Page {page + 1} tells {len(offsets)} places of pixels, but {len(sizes)} sizes.")
        for offset, size in zip(offsets, sizes):
            if offset + size > self.size:
                raise self.fail(
                    f"The file ends at byte {self.size}, but the pixels of page {page + 1} reach from {offset} to "
                    f"{offset + size}."
                )
        if self.integer(entries, "Compression", page, 1) != 1:
            return
        expected = height * width * np.dtype(pixel).itemsize
        if sum(sizes) != expected or not all(offsets):
            raise self.fail(f"Page {page + 1} holds {sum(sizes)} bytes of pixels, its shape asks for {expected}.")

    def texts(self, entries: _Entries, page: int) -> PageText:
        """Return the texts that a page carries."""
        names = ("ImageDescription", "Software", "Artist")
        return PageText(*(self.text(entries.get(_TAGS[name]), f"{name} of page {page + 1}") for name in names))

    def text(self, entry: _Entry | None, what: str) -> str:
        if entry is None:
            return ""
        kind, count, value = entry
        if kind not in (1, 2, 7) or count > _LARGEST_TEXT:
            raise self.fail(f"The {what} is {count} values of type {kind}, not a text.")
        data = value[:count] if count <= self.inline else self.read(self.where(value), count, what)
        return data.split(b"\0", 1)[0].decode("utf-8", "replace")

    def integer(self, entries: _Entries, name: str, page: int, default: int | None = None) -> int:
        """Return the one number of an entry, or the default where the page has no such entry."""
        if default is not None and _TAGS[name] not in entries:
            return default
        values = self.integers(entries, name, page, 64)
        return values[0]

    def integers(self, entries: _Entries, name: str, page: int, most: int) -> tuple[int, ...]:
        """Return the numbers of an entry; more than `most` would not fit a page."""
        if _TAGS[name] not in entries:
            raise self.fail(f"Page {page + 1} has no entry {name}.", "Is it a recording as ScanImage saved it?")
        kind, count, value = entries[_TAGS[name]]
        if kind not in _INTEGERS or not 0 < count <= most:
            raise self.fail(f"{name} of page {page + 1} holds {count} values of type {kind}.")
        size = count * _SIZES[kind]
        what = f"{name} of page {page + 1}"
        data = value[:size] if size <= self.inline else self.read(self.where(value), size, what)
        return struct.unpack(f"{self.order}{count}{_INTEGERS[kind]}", data)

    def where(self, value: bytes) -> int:
        return self.number(self.form.offsetformat, value)
