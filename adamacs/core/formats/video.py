"""Walk the boxes of an MP4 and the chunks of an AVI, from the first to the last."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from itertools import count

from adamacs.core.formats.source import Source

_MOST_BOXES = 1_000_000  # a day of one fragment per second has 200,000
_HAS_INDEX = 0x10  # a flag of an AVI's header: an index stands at its end


def check_mp4(source: Source) -> str:
    """Return `MP4` where every box lies inside the file, and both index and pictures are there."""
    kinds = set()
    for kind, at, size in boxes(source):
        source.reaches(at, size, f"{kind} box")
        kinds.add(kind)
    if "moov" not in kinds:
        raise source.fail("The film has no index (moov): it is written last, when the camera is stopped.")
    if not kinds & {"mdat", "moof"}:
        raise source.fail("The film has an index (moov), but no pictures (mdat).")
    return "MP4"


def boxes(source: Source, at: int = 0, end: int | None = None) -> Iterator[tuple[str, int, int]]:
    """Yield kind, first byte and size of the boxes between two bytes of a file, by default of all.

    The last one may reach beyond the file, and none of those within another beyond that one.
    """
    within, end = end is not None, source.size if end is None else end
    for number in count():
        size, name = struct.unpack(">I4s", source.read(at, 8, "next box"))
        least = 8
        if size == 1:
            size, least = struct.unpack(">Q", source.read(at + 8, 8, "next box"))[0], 16
        elif size == 0:  # to the end
            size = end - at
        if size < least or not all(32 <= letter < 127 or letter == 0xA9 for letter in name):
            raise source.fail(f"At byte {at} should stand a box, but there is {name!r} of {size} bytes.")
        if within and at + size > end:
            raise source.fail(
                f"The {name.decode('latin1')} box at byte {at} reaches beyond the one it is in, to {end}."
            )
        if number >= _MOST_BOXES:
            raise source.fail(f"The film has more than {_MOST_BOXES} boxes.", "The file is damaged.")
        yield name.decode("latin1"), at, size
        at += size
        if at == end:
            return


def check_avi(source: Source) -> str:
    """Return `AVI` where each of its segments is as long as it says, and the index is there."""
    at, segment = 0, 0
    while segment == 0 or at < source.size:
        magic, size, form = struct.unpack("<4sI4s", source.read(at, 12, "next segment"))
        if magic != b"RIFF" or form != (b"AVIX" if segment else b"AVI "):
            raise source.fail(f"At byte {at} should stand a segment of an AVI, but there is {magic + form!r}.")
        if size == 0:
            raise source.fail("The AVI's length is 0: its writer has not ended it yet.")
        source.reaches(at, 8 + size, "segment")
        _check_segment(source, at, at + 8 + size, first=segment == 0)
        at += 8 + size + size % 2
        segment += 1
    return "AVI"


def _check_segment(source: Source, at: int, end: int, *, first: bool) -> None:
    found: set[bytes] = set()
    indexed = False
    position = at + 12
    for number in count():
        if position + 8 > end:
            break
        name, size = struct.unpack("<4sI", source.read(position, 8, "next chunk"))
        if position + 8 + size > end:
            raise source.fail(f"The chunk {name!r} at byte {position} reaches beyond its segment, to {end}.")
        if number >= _MOST_BOXES:
            raise source.fail(f"The film has more than {_MOST_BOXES} boxes.", "The file is damaged.")
        kind = source.read(position + 8, 4, "next chunk") if name == b"LIST" and size >= 4 else name
        if kind == b"hdrl":
            head = source.read(position + 12, min(size - 4, 1 << 16), "header")
            has_index = head[:4] == b"avih" and len(head) >= 24 and head[20] & _HAS_INDEX
            indexed = not has_index or b"indx" in head
        found.add(kind)
        position += 8 + size + size % 2
    if missing := sorted({b"hdrl", b"movi"} - found if first else {b"movi"} - found):
        raise source.fail(f"The segment at byte {at} has no {missing[0].decode()}.")
    if first and not indexed and b"idx1" not in found:
        raise source.fail("The AVI promises an index (idx1), which is written last, and has none.")
