"""Read what an HDF5 file says first: where it ends, and whether its writer closed it."""

from __future__ import annotations

from adamacs.core.formats.source import Source

MAGIC = b"\x89HDF\r\n\x1a\n"
_WIDTHS = (2, 4, 8, 16, 32)  # bytes of an address
_OPEN, _OPEN_SHARED = 1, 4  # consistency flags: a writer has the file, or one that lets others read along


def find(source: Source) -> int | None:
    """Return where the superblock begins: at 0, or behind a user block of 512, 1024, ... bytes."""
    offset = 0
    while offset + len(MAGIC) <= source.size:
        if source.read(offset, len(MAGIC), "header") == MAGIC:
            return offset
        offset = offset * 2 or 512
    return None


def check(source: Source) -> str:
    """Return `HDF5` where the file was closed and ends where it says."""
    at = find(source)
    if at is None:
        raise source.fail("This is no HDF5: its signature is nowhere.", "Is it what its name says?")
    head = source.read(at, 14, "superblock")
    version, flags = head[8], head[11]
    if version > 3:
        raise source.fail(f"The superblock is of version {version}.", "Which program wrote it? 0 to 3 are read.")
    newer = version > 1
    width = head[9 if newer else 13]
    if width not in _WIDTHS:
        raise source.fail(f"The superblock claims addresses of {width} bytes.")
    if version == 3 and flags & (_OPEN | _OPEN_SHARED):
        raise source.fail(
            "The HDF5 file is still open for writing, or its writer died.",
            "Close it at the rig. If its writer is gone: h5clear -s, on a copy.",
        )
    places = at + {0: 24, 1: 28}.get(version, 12)
    # base, extension or free space, end, root or driver; then a checksum, or the root's entry
    data = source.read(places, 4 * width + (4 if newer else 2 * width + 24), "superblock")
    end = int.from_bytes(data[2 * width : 3 * width], "little")
    if end <= places:
        raise source.fail(f"The HDF5 file claims to end at byte {end}, before its superblock does.")
    source.reaches(0, end, "HDF5 content")
    if source.size > end:
        raise source.fail(
            f"The HDF5 file has {source.size} bytes, but its superblock counts {end}: it was not closed.",
            "Close it at the rig, or look whether its writer died.",
        )
    return "HDF5"
