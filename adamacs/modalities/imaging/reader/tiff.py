"""Walk every directory of a TIFF and prove that what it points to lies inside the file.

The walk is that of `core.formats`; what is asked of every page here is what ScanImage writes. A page is forgotten once
it is checked, so that memory does not grow with the recording, and no pixel is read.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tifffile import TIFF

from adamacs.core.formats.source import opened
from adamacs.core.formats.tiff import INTEGERS, Chain, Entries, Entry

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
    with opened(path) as source:
        yield _Walk(source)


class _Walk(Chain):
    """One open file, and the page being looked at."""

    def all_pages(self) -> Pages:
        count, height, width, pixel, shape = 0, 0, 0, "", None
        first: Entries = {}
        last: Entries = {}
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

    def shape(self, entries: Entries, page: int) -> tuple[int, int, str]:
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

    def check_pixels(self, entries: Entries, page: int, height: int, width: int, pixel: str) -> None:
        """Refuse a page whose pixels are not all inside the file."""
        offsets = self.numbers(entries, "StripOffsets", page, height)
        sizes = self.numbers(entries, "StripByteCounts", page, height)
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

    def texts(self, entries: Entries, page: int) -> PageText:
        """Return the texts that a page carries."""
        names = ("ImageDescription", "Software", "Artist")
        return PageText(*(self.text(entries.get(_TAGS[name]), f"{name} of page {page + 1}") for name in names))

    def text(self, entry: Entry | None, what: str) -> str:
        if entry is None:
            return ""
        kind, count, value = entry
        if kind not in (1, 2, 7) or count > _LARGEST_TEXT:
            raise self.fail(f"The {what} is {count} values of type {kind}, not a text.")
        inline = count <= self.form.inline
        data = value[:count] if inline else b"".join(self.source.pieces(self.place(value), count, what))
        return data.split(b"\0", 1)[0].decode("utf-8", "replace")

    def integer(self, entries: Entries, name: str, page: int, default: int | None = None) -> int:
        """Return the one number of an entry, or the default where the page has no such entry."""
        if default is not None and _TAGS[name] not in entries:
            return default
        values = self.numbers(entries, name, page, 64)
        return values[0]

    def numbers(self, entries: Entries, name: str, page: int, most: int) -> tuple[int, ...]:
        """Return the numbers of an entry; more than `most` would not fit a page."""
        if _TAGS[name] not in entries:
            raise self.fail(f"Page {page + 1} has no entry {name}.", "Is it a recording as ScanImage saved it?")
        kind, count, _ = entries[_TAGS[name]]
        if kind not in INTEGERS or not 0 < count <= most:
            raise self.fail(f"{name} of page {page + 1} holds {count} values of type {kind}.")
        return tuple(self.integers(entries[_TAGS[name]], f"{name} of page {page + 1}"))
