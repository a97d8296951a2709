"""Which TIFFs of a folder belong together, and in what order they were recorded."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adamacs.core.errors import UnreadableFile
from adamacs.core.names import natural_order
from adamacs.modalities.imaging.reader import tiff
from adamacs.modalities.imaging.reader.matlab import numbers, read_header
from adamacs.modalities.imaging.reader.settings import read_settings

_SPLIT = re.compile(r"(?P<stem>.+_\d{5})_(?P<file>\d{5})")
_COUNTED = re.compile(r"(?P<stem>.+)_(?P<file>\d+)")


@dataclass(frozen=True)
class Acquisition:
    """The files of one acquisition in the order of recording, and the name they share."""

    stem: str
    files: tuple[Path, ...]


def find_acquisitions(paths: Iterable[Path]) -> tuple[Acquisition, ...]:
    """Group the TIFFs among some files to acquisitions, in natural order.

    ScanImage names a split acquisition `stem_00001_00002.tif` (acquisition, file) and an unsplit one
    `stem_00001.tif`. Files with one counter are taken for one acquisition only where their first pages say that
    they continue each other; otherwise each is an acquisition of its own, which is for a person to sort out.
    """
    tiffs = [path for path in paths if path.suffix.lower() in (".tif", ".tiff") and not path.name.startswith(".")]
    groups: dict[tuple[Path, str], list[Path]] = {}
    current: dict[tuple[Path, str], list[Path]] = {}  # by stem without a counter: the acquisition being continued
    for path in sorted(tiffs, key=_by_name):
        if split := _SPLIT.fullmatch(path.stem):
            groups.setdefault((path.parent, split["stem"]), []).append(path)
            continue
        counted = _COUNTED.fullmatch(path.stem)
        stem = (path.parent, counted["stem"] if counted else path.stem)
        if not (stem in current and _continues(path)):
            current[stem] = groups.setdefault((path.parent, path.stem), [])
        current[stem].append(path)
    found = [Acquisition(stem, tuple(files)) for (_, stem), files in groups.items()]
    return tuple(sorted(found, key=lambda acquisition: _by_name(acquisition.files[0])))


def single_acquisition(paths: Iterable[Path]) -> tuple[Path, ...]:
    """Return the files of the one acquisition among some files; none where there is no TIFF.

    Raises
    ------
    UnreadableFile
        There are several acquisitions: names them.
    """
    found = find_acquisitions(paths)
    if len(found) > 1:
        names = ", ".join(acquisition.stem for acquisition in found)
        raise UnreadableFile(
            f"The folder holds {len(found)} acquisitions, not one: {names}.",
            found[0].files[0].parent,
            "Give each scan a folder of its own, and move trial recordings elsewhere.",
        )
    return found[0].files if found else ()


def _by_name(path: Path) -> tuple[Any, str]:
    """Return a key that sorts files by their names, and equal names by their folders."""
    return natural_order(path.name), path.parent.as_posix()


def _continues(path: Path) -> bool:
    """Tell whether a file begins behind the first frame of its acquisition."""
    try:
        texts = tiff.first_text(path)
        begins_at = read_settings(texts, path).averaging
    except UnreadableFile:
        return False  # reading the acquisition will say what is wrong with it
    frame = numbers(read_header(texts.description).get("frameNumberAcquisition"))
    return len(frame) == 1 and frame[0] > begins_at
