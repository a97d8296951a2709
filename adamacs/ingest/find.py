"""Find recording folders below the share. Nothing is opened, nothing outside the share is looked at."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

from adamacs.core import clocks, tokens
from adamacs.core.errors import InvalidToken
from adamacs.core.modality import Problem, RawFile, Recording
from adamacs.core.settings import Settings

_NOT_A_RECORDING = (".", "$", "System Volume Information")


def find_recordings(paths: Iterable[Path], settings: Settings) -> tuple[list[Recording], list[Problem]]:
    """List the scans at or below some folders of the share, in the order of their names.

    Parameters
    ----------
    paths
        The share itself, a person's folder, a session's or a scan's.

    Returns
    -------
    recordings, problems
        One problem per folder whose name looks like a recording and is none, per path outside the share, and
        per scan token that two folders claim: neither of these is returned.
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
            for folder in _candidates(place, share):
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


def _candidates(path: Path, share: Path) -> Iterator[Path]:
    """Yield folders that may be recordings: below the share stands a person's folder, below that recordings."""
    depth = len(path.relative_to(share).parts)
    if depth == 0:
        for person in _folders(path):
            yield from [person] if tokens.is_candidate(person.name) else _candidates(person, share)
    elif depth == 1 and not tokens.is_candidate(path.name):
        for entry in _folders(path):
            if tokens.is_candidate(entry.name):
                yield from _scans_of(entry)
            else:  # one level too deep: reported, not taken
                yield from (deep for deep in _folders(entry) if tokens.is_candidate(deep.name))
    else:
        yield from _scans_of(path)


def _scans_of(path: Path) -> Iterator[Path]:
    """Yield the scan folders of a nested session folder, or the folder itself."""
    nested = [entry for entry in _folders(path) if entry.name.startswith("scan")] if "_scan" not in path.name else []
    yield from nested or [path]


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
        subfolders.sort(key=natural)
        for name in sorted(names, key=natural):
            file = Path(folder, name)
            file.as_posix().encode()
            status = file.lstat()
            if os.path.isfile(file) and not os.path.islink(file):  # noqa: PTH113, PTH114
                time = clocks.from_file_time(status.st_mtime_ns)
                yield RawFile(file.relative_to(share).as_posix(), status.st_size, time)


def _raise(error: OSError) -> None:
    raise error


def natural(name: str) -> list[tuple[bool, int, str]]:
    """Sort key under which file_2 comes before file_10."""
    pieces: list[str] = []
    for character in name:
        if pieces and pieces[-1].isdecimal() == character.isdecimal():
            pieces[-1] += character
        else:
            pieces.append(character)
    return [(not p.isdecimal(), int(p) if p.isdecimal() else 0, p) for p in pieces]


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
