"""What lies in the folders of acquisition controllers: the files to be consolidated, and why some cannot be."""

from __future__ import annotations

import os
import re
import stat
import time
import unicodedata
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from adamacs.core.modality import Problem
from adamacs.core.names import natural_order
from adamacs.storage.copies import Original

_LEFT_OUT = re.compile(r"(?i)\..*|thumbs\.db|ehthumbs\.db|desktop\.ini|\$recycle\.bin|system volume information")
_NOT_ON_WINDOWS = re.compile(r'[\x00-\x1f<>:"|?*\\]|[. ]$')
_DEVICE = re.compile(r"(?i)(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³])( *\..*)?")
_LONGEST = 255  # bytes
_KINDS = ((stat.S_ISLNK, "link"), (stat.S_ISFIFO, "pipe"), (stat.S_ISSOCK, "socket"))


@dataclass(frozen=True)
class Source:
    """A file to be copied, and the name that it gets: POSIX, relative to the scan's folder."""

    original: Original
    target: str


def find_sources(paths: Sequence[Path], shares: Collection[Path]) -> tuple[list[Source], list[str], list[Problem]]:
    """List the files at and below some paths, in natural order of the names they get.

    Files at the top of a folder land at the top; what lies in its sub-folders keeps its path below it.

    Returns
    -------
    sources, left_out, problems
        Hidden files and those of operating systems are left out. Links, pipes and devices are errors.
    """
    sources: list[Source] = []
    left_out: list[str] = []
    problems: list[Problem] = []
    for path in (Path(os.path.abspath(path)) for path in paths):  # noqa: PTH100 (resolve would follow a link)
        if misplaced := [problem for share in shares if (problem := _misplaced(path, share))]:
            problems += misplaced
            continue
        try:
            status = path.lstat()
            if stat.S_ISDIR(status.st_mode):
                _walk(path, "", sources, left_out, problems)
            else:  # named by hand: taken even if it is hidden
                _take(path.parent, path.name, path.name, status, sources, problems)
        except OSError as error:
            problems.append(Problem("error", f"This cannot be read ({error.strerror}).", str(path)))
    if not sources and not problems:
        problems.append(Problem("error", "There is no file to consolidate.", ", ".join(map(str, paths))))
    return sorted(sources, key=lambda source: natural_order(source.target)), left_out, problems


def _misplaced(path: Path, share: Path) -> Problem | None:
    """Refuse what lies on the share already, or what the share lies in."""
    real, root = Path(os.path.realpath(path)), Path(os.path.realpath(share))
    if real.is_relative_to(root):
        hint = "Is it a recording already? `adamacs ingest plan` tells."
        return Problem("error", "This source lies on the share itself.", str(path), hint)
    if root.is_relative_to(real):
        return Problem("error", "The share lies in this source.", str(path), "Name the folders of the recording.")
    return None


def _walk(root: Path, below: str, sources: list[Source], left_out: list[str], problems: list[Problem]) -> None:
    try:
        with os.scandir(root / below) as found:
            entries = sorted(found, key=lambda entry: natural_order(entry.name))
    except OSError as error:
        problems.append(Problem("error", f"The folder cannot be read ({error.strerror}).", str(root / below)))
        return
    for entry in entries:
        path = below + entry.name
        if _LEFT_OUT.fullmatch(entry.name):
            left_out.append(entry.path)
        elif entry.is_dir(follow_symlinks=False):
            _walk(root, path + "/", sources, left_out, problems)
        else:
            _take(root, path, path, (root / path).lstat(), sources, problems)


def _take(
    root: Path, path: str, target: str, status: os.stat_result, sources: list[Source], problems: list[Problem]
) -> None:
    if stat.S_ISREG(status.st_mode):
        sources.append(Source(Original(str(root), path, status.st_size, status.st_mtime_ns), target))
        return
    kind = next((name for test, name in _KINDS if test(status.st_mode)), "device")
    hint = "Name the file that it points to." if kind == "link" else "Move it elsewhere."
    problems.append(Problem("error", f"This is a {kind}, which is not followed or copied.", str(root / path), hint))


# ---- names


def target_problems(sources: Sequence[Source], reserved: str) -> list[Problem]:
    """Refuse names that some system takes for one and the same, or cannot open.

    Parameters
    ----------
    reserved
        A name at the top that is not free.
    """
    problems = [problem for source in sources for problem in _unopenable(source)]
    taken: dict[str, tuple[str, str, str]] = {}
    for source in sources:
        path = PurePosixPath(source.target)
        place = str(source.original.place)
        if _folded(source.target) == _folded(reserved):
            problems.append(Problem("error", "adamacs writes a file of this name itself.", place, "Rename it."))
        for part in [*reversed(path.parents[:-1]), path]:
            kind = "file" if part is path else "folder"
            before = taken.setdefault(_folded(part.as_posix()), (part.as_posix(), kind, place))
            if before[2] != place and (before[:2] != (part.as_posix(), kind) or kind == "file"):
                what = f"Two sources would become one name, {before[0]} and {part}."
                hint = "Rename one of them, or leave it out."
                problems.append(Problem("error", what, f"{before[2]} and {place}", hint))
                break
    return problems + _named_twice(sources)


def _named_twice(sources: Sequence[Source]) -> list[Problem]:
    counts = Counter(str(source.original.place) for source in sources)
    return [
        Problem("error", "This file is named twice.", place, "Name each source once.")
        for place, count in counts.items()
        if count > 1
    ]


def _folded(name: str) -> str:
    """Return what is the same for all spellings that some system cannot tell apart."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def _unopenable(source: Source) -> Iterator[Problem]:
    for part in PurePosixPath(source.target).parts:
        try:
            is_long = len(part.encode()) > _LONGEST
        except UnicodeEncodeError:
            yield Problem("error", "The name holds bytes that are no UTF-8.", repr(part), "Rename it.")
            continue
        if is_long or _NOT_ON_WINDOWS.search(part) or _DEVICE.fullmatch(part):
            yield Problem("error", f"Windows cannot open the name {part!r}.", str(source.original.place), "Rename it.")


# ---- files that grow


def still_written(sources: Sequence[Source], settle: float, pause: Callable[[float], None]) -> list[Problem]:
    """Look a second time, `settle` seconds later, and tell which files somebody is still writing."""
    if not sources:
        return []
    now = time.time()
    pause(settle)
    return [problem for source in sources for problem in _change(source.original, settle, now)]


def _change(original: Original, settle: float, now: float) -> Iterator[Problem]:
    hint = "Try again when the recording or its copy is finished."
    try:
        found = original.place.lstat()
    except OSError as error:
        yield Problem("error", f"The file went away ({error.strerror}).", str(original.place), hint)
        return
    if (found.st_size, found.st_mtime_ns) != (original.size, original.time):
        what = f"The file is still being written: {original.size} bytes, {settle:g} s later {found.st_size}."
        yield Problem("error", what, str(original.place), hint)
    elif 0 <= now - found.st_mtime < settle:
        what = f"The file was changed {now - found.st_mtime:.1f} s ago."
        yield Problem("error", what, str(original.place), hint)
