"""Find recording folders below the share. Nothing is opened, nothing outside the share is looked at."""

from __future__ import annotations

import os
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator
from pathlib import Path

from adamacs.core import clocks, tokens
from adamacs.core.errors import InvalidToken
from adamacs.core.modality import Problem, RawFile, Recording
from adamacs.core.names import natural_order
from adamacs.core.settings import Settings

_NOT_A_RECORDING = (".", "$", "System Volume Information")
_LOOKED_INTO = 5_000  # folders of one person that are no recordings; on a share over the network some seconds


def find_recordings(paths: Iterable[Path], settings: Settings) -> tuple[list[Recording], list[Problem]]:
    """List the scans at or below some folders of the share, in the order of their names.

    Parameters
    ----------
    paths
        The share itself, a person's folder, a session's or a scan's.

    Returns
    -------
    recordings, problems
        One per folder whose name looks like a recording and is none or that lies too deep, however deep, per path
        outside the share, and per scan token that two folders claim: none of these is returned. A warning per folder
        that could not be looked into.
    """
    share = Path(os.path.normpath(settings.root("share")))
    found: dict[Path, Recording] = {}
    problems: list[Problem] = []
    for path in paths:
        place = _below_share(Path(path), share)
        if place is None:
            problems.append(Problem("error", f"The folder lies outside the share {share}.", str(path)))
        elif link := next(
            (part for part in (place, *place.parents) if share in part.parents and part.is_symlink()), None
        ):
            problems.append(Problem("error", "A link below the share is not followed.", str(link)))
        elif not place.is_dir():
            problems.append(Problem("error", "There is no such folder.", str(path)))
        else:
            for folder in _candidates(place, share, problems):
                _read_recording(folder, share, settings, found, problems)
    recordings = sorted(found.values(), key=lambda recording: recording.relative)
    return _without_twins(recordings, problems), problems


def _below_share(path: Path, share: Path) -> Path | None:
    """Return a path as it stands below the share, or None; the share itself may be reached by a link."""
    place = Path(os.path.normpath(path.absolute()))
    if place.is_relative_to(share):
        return place
    if place.is_relative_to(share.resolve()):
        return share / place.relative_to(share.resolve())
    return None


def _candidates(path: Path, share: Path, problems: list[Problem]) -> Iterator[Path]:
    """Yield folders that may be recordings: below the share stands a person's folder, below that recordings."""
    if path == share:
        for person in _folders(path):
            yield from _candidates(person, share, problems)
    elif tokens.is_candidate(path.name):
        yield from _scans_of(path, share, problems)
    else:
        found = list(_search(path, share, problems))
        yield from found or ([path] if path.parent != share else [])  # who named it by hand is told why it is none


def _search(top: Path, share: Path, problems: list[Problem]) -> Iterator[Path]:
    """Yield what may be a recording at any depth, so that one that lies too deep is told of; near ones first."""
    waiting, looked_into = deque([top]), 0
    while waiting:
        if looked_into == _LOOKED_INTO:
            what = f"More than {_LOOKED_INTO} folders here are no recordings: those below them were not looked at."
            hint = "Move what is no recording out of the share, or name the folder of the recordings."
            problems.append(Problem("warning", what, top.relative_to(share).as_posix(), hint))
            return
        folder = waiting.popleft()
        looked_into += 1
        for entry in _readable_folders(folder, share, problems, "warning") or ():
            if tokens.is_candidate(entry.name):
                yield from _scans_of(entry, share, problems)
            else:
                waiting.append(entry)


def _scans_of(path: Path, share: Path, problems: list[Problem]) -> Iterator[Path]:
    """Yield the scan folders of a nested session folder, or the folder itself."""
    inside = [] if "_scan" in path.name else _readable_folders(path, share, problems, "error")
    if inside is not None:
        yield from [entry for entry in inside if entry.name.startswith("scan")] or [path]


def _readable_folders(path: Path, share: Path, problems: list[Problem], severity: str) -> list[Path] | None:
    """List the folders in a folder; one that cannot be read becomes a problem, and None."""
    try:
        return _folders(path)
    except OSError as error:
        where = path.relative_to(share).as_posix()
        problems.append(Problem(severity, f"The folder cannot be read ({error.strerror}).", where))
        return None


def _folders(path: Path) -> list[Path]:
    with os.scandir(path) as entries:
        names = [e.name for e in entries if e.is_dir(follow_symlinks=False) and not e.name.startswith(_NOT_A_RECORDING)]
    return [path / name for name in sorted(names)]


def _read_recording(
    path: Path, share: Path, settings: Settings, found: dict[Path, Recording], problems: list[Problem]
) -> None:
    relative = path.relative_to(share)
    try:
        path.as_posix().encode()
    except UnicodeEncodeError:
        problems.append(Problem("error", "The name holds bytes that are no UTF-8.", repr(relative.as_posix())))
        return
    try:
        folder = tokens.parse(relative, legacy=settings.ingest.legacy_tokens)
    except InvalidToken as refusal:
        problems.append(Problem("error", refusal.what, relative.as_posix(), refusal.hint or ""))
        return
    depth = 3 if folder.layout == "nested" else 2
    if folder.scan_id is None:
        hint = f"Expected {tokens.EXAMPLE}, or {tokens.NESTED_EXAMPLE}."
        problems.append(Problem("error", "The session folder holds no scan folder.", relative.as_posix(), hint))
    elif len(relative.parts) != depth:
        hint = f"Expected <share>/<person>/{tokens.EXAMPLE}."
        what = (
            "No person's folder stands above it." if len(relative.parts) < depth else "It lies too deep in the share."
        )
        problems.append(Problem("error", what, relative.as_posix(), hint))
    else:
        try:
            files = tuple(_files(path, share))
        except (OSError, UnicodeEncodeError) as error:
            problems.append(Problem("error", f"The folder cannot be read ({error}).", relative.as_posix()))
            return
        if files:
            found[path] = Recording(folder, relative.parts[0], path, relative.as_posix(), files)
        else:
            problems.append(Problem("error", "The folder is empty: has the copy begun?", relative.as_posix()))


def _files(path: Path, share: Path) -> Iterator[RawFile]:
    """Yield the regular files below a recording folder, never following a link, in natural order."""
    for folder, subfolders, names in os.walk(path, onerror=_raise):
        subfolders.sort(key=natural_order)
        for name in sorted(names, key=natural_order):
            file = Path(folder, name)
            file.as_posix().encode()
            status = file.lstat()
            if os.path.isfile(file) and not os.path.islink(file):  # noqa: PTH113, PTH114
                time = clocks.from_file_time(status.st_mtime_ns)
                yield RawFile(file.relative_to(share).as_posix(), status.st_size, time)


def _raise(error: OSError) -> None:
    raise error


def _without_twins(recordings: list[Recording], problems: list[Problem]) -> list[Recording]:
    claims: dict[str, list[Recording]] = defaultdict(list)
    for recording in recordings:
        claims[str(recording.folder.scan_id)].append(recording)
    for scan_id, claimants in claims.items():
        if len(claimants) > 1:
            places = " and ".join(recording.relative for recording in claimants)
            hint = "Keep one; move the other out of the share."
            problems.append(Problem("error", f"{len(claimants)} folders claim {scan_id}.", places, hint))
    return [recording for recording in recordings if len(claims[str(recording.folder.scan_id)]) == 1]


class Finder:
    def __init__(self, settings):
        self.settings = settings
        self.known = {}

    def look(self, paths=None):
        from types import SimpleNamespace

        recs, problems = find_recordings([self.settings.root("share")], self.settings)
        now = {r.relative: r for r in recs}
        changed = [
            r
            for k, r in now.items()
            if k not in self.known or [f.path for f in self.known[k].files] != [f.path for f in r.files]
        ]
        gone = tuple(k for k in self.known if k not in now)
        self.known = now
        return SimpleNamespace(changed=changed, gone=gone, problems=problems)


def recording_of(found, settings):
    from dataclasses import replace

    return replace(found, files=tuple(_files(found.path, settings.root("share"))))
