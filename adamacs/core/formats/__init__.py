"""Does a file open, and is its format's own end there? Nothing is read that need not be.

A file that is being copied looks like any other. What tells them apart is the end that most formats have: the last
directory of a TIFF, the end that an HDF5 file counts, the index of a film. Where a format has none (MAT 5 and tables
end after any whole variable or line), a cut at exactly such a place cannot be seen; there only time tells.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from adamacs.core.formats import arrays, hdf5, text, tiff, video
from adamacs.core.formats.source import Source, opened

__all__ = ["require_whole"]

_Check = Callable[[Source], str]

_BY_SUFFIX: dict[str, _Check] = {
    **dict.fromkeys((".tif", ".tiff", ".btf", ".tf8", ".lsm", ".stk"), tiff.check),
    **dict.fromkeys((".h5", ".hdf5", ".hdf", ".nwb"), hdf5.check),
    **dict.fromkeys((".mp4", ".m4v", ".mov"), video.check_mp4),
    ".avi": video.check_avi,
    ".mat": arrays.check_mat,
    ".npy": arrays.check_npy,
    **dict.fromkeys((".npz", ".zip"), arrays.check_zip),
    **dict.fromkeys((".csv", ".tsv"), text.check_table),
    ".json": text.check_json,
    **dict.fromkeys((".jsonl", ".ndjson"), text.check_json_lines),
    ".xml": text.check_xml,
    ".txt": text.check_plain,
}
_BY_MAGIC: dict[bytes, _Check] = {hdf5.MAGIC: hdf5.check, arrays.NPY: arrays.check_npy}  # long enough not to be chance


def require_whole(path: Path) -> str:
    """Return the name of a file's format where the file opens and its format's own end is there.

    What is expected follows from the suffix; where that says nothing, from the first bytes. A file of no known format
    is `bytes`: it opens and can be read. An empty one is whole only where its format has no header.

    Raises
    ------
    UnreadableFile
        The file is not whole, or not what its name says: tells what is missing, and at which byte.
    MissingFile
        There is no such file.
    """
    path = Path(path)
    with opened(path) as source:
        return _check_of(source)(source)


def _check_of(source: Source) -> _Check:
    if check := _BY_SUFFIX.get(source.path.suffix.lower()):
        return check
    head = source.head(8)
    return next((check for magic, check in _BY_MAGIC.items() if head.startswith(magic)), _check_bytes)


def _check_bytes(source: Source) -> str:
    source.tail(1)
    return "bytes"
