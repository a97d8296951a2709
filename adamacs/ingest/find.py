"""Find recording folders below the share roots. Nothing is opened, nothing outside them is looked at."""

from __future__ import annotations

import fnmatch
import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from adamacs import pipeline
from adamacs.core import clocks, places
from adamacs.core.errors import AdamacsError, MissingFile, visible
from adamacs.core.modality import Modality, Problem, RawFile, Recording
from adamacs.core.names import natural_sorted
from adamacs.core.settings import Settings
from adamacs.core.tokens import ParsedFolder
from adamacs.ingest.beneath import statuses
from adamacs.ingest.walk import Scan, Walk

MARGIN = 2.0  # s: how coarse the times of some file systems are


@dataclass(frozen=True)
class FoundFolder:
    """One scan's folder as its names tell it; no file of it was looked at.

    Attributes
    ----------
    username
        The person's folder above it.
    root, share
        The root that it lies under: its name, and its absolute folder.
    relative
        To the root, POSIX.
    names
        Its files at any depth, relative to it, POSIX: those of each folder in natural order, then its folders.
    ignored
        What is no file: links, pipes, devices.
    claims
        Per modality, how many of the files its patterns match.
    beside
        Notes and logs that belong to it, relative to the root: the files of its nested session folder, and those of the
        person's folder that name its session or scan.
    """

    folder: ParsedFolder
    username: str
    root: str
    share: Path
    relative: str
    names: tuple[str, ...]
    ignored: tuple[str, ...] = ()
    claims: Mapping[str, int] = field(default_factory=dict)
    beside: tuple[str, ...] = ()

    @property
    def path(self) -> Path:
        """The absolute folder."""
        return self.share / self.relative

    @property
    def place(self) -> str:
        """The folder as rows and people know it; see `adamacs.core.places`."""
        return places.spell(self.root, self.relative)


@dataclass(frozen=True)
class Counts:
    """What there is, and what a look cost."""

    scans: int = 0  # folders that may be scans, refused ones among them
    listed: int = 0  # folders whose entries were read
    files: int = 0  # their files, as far as they are scans'


@dataclass(frozen=True)
class Look:
    """What one look at the share found.

    Attributes
    ----------
    changed
        Scan folders that are new, or of which a folder or a note beside it changed since they were last told of; each
        once, in natural order. None that is refused.
    gone
        The places of scan folders told of earlier that are no more.
    problems
        All that stand in what was looked at, those of earlier looks too.
    news
        Those among them that no look before told.
    """

    changed: tuple[FoundFolder, ...]
    gone: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = ()
    news: tuple[Problem, ...] = ()
    counts: Counts = Counts()


class Finder:
    """Looks for scan folders, and remembers what it saw: of an unchanged share it asks one status per folder.

    A file that grows in place moves no folder's time; `Watcher.recheck` sees that.

    Parameters
    ----------
    recursive
        Whether recordings that lie too deep are looked for, so that they can be told of.
    margin
        A folder that changed less than so many s ago is listed again by the next look, as its time may be too coarse to
        show another change. Where the clock of a share is another, as much as the two may differ.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        recursive: bool = True,
        margin: float = MARGIN,
    ) -> None:
        legacy = settings.ingest.legacy_tokens
        self._walks = [
            Walk(name, Path(os.path.normpath(path)), legacy=legacy, recursive=recursive, margin=margin)
            for name, path in settings.share_roots().items()
        ]
        self._patterns = Patterns(pipeline.modalities())
        self._told: dict[str, int] = {}  # per place, what it was when it was told of
        self._standing: frozenset[Problem] = frozenset()

    def look(self, paths: Iterable[Path] | None = None) -> Look:
        """Look at the roots, or at some folders at or below them, and tell what changed since the last look."""
        problems: list[Problem] = []
        for walk in self._walks:
            walk.begin(problems)
            if paths is None:
                walk.look(())
        for path in paths or ():
            self._look_at(Path(path), problems)
        refused = self._refused(problems)
        changed = tuple(found for walk in self._walks for found in self._changed(walk, refused))
        standing = tuple(dict.fromkeys(problems))
        news = tuple(problem for problem in standing if problem not in self._standing)
        self._standing = frozenset(standing) | (frozenset() if paths is None else self._standing)
        look = Look(changed, self._gone(), standing, news, self._counts())
        for walk in self._walks:
            walk.contents = {}  # names are not kept
        return look

    def _look_at(self, path: Path, problems: list[Problem]) -> None:
        for walk in self._walks:
            parts = below(path, walk.root)
            if parts is not None:
                walk.look(parts)
                return
        what = f"The folder lies outside the share {' and '.join(str(walk.root) for walk in self._walks)}."
        problems.append(Problem("error", what, visible(str(path))))

    def _refused(self, problems: list[Problem]) -> set[str]:
        """Return the places that lay claim to another's scan, and tell of them: nobody guesses which is right."""
        claims: dict[str, list[str]] = defaultdict(list)
        copies: list[tuple[Walk, str, Scan]] = []
        for walk in self._walks:
            for relative, scan in walk.scans.items():
                if scan.original:
                    copies.append((walk, relative, scan))
                elif scan.folder is not None:
                    claims[scan.claim].append(walk.place(relative))
        for walk, relative, scan in copies:
            problems.append(_copy_problem(walk, relative, scan, claims))
        twins = [natural_sorted(claimants) for claimants in claims.values() if len(claimants) > 1]
        for claimants in sorted(twins):
            what = f"{len(claimants)} folders claim {self._token(claimants[0])}."
            where = visible(" and ".join(claimants))
            hint = "Keep one; move the other out of the share."
            problems.append(Problem("error", what, where, hint, places=tuple(claimants)))
        return {place for claimants in twins for place in claimants}

    def _token(self, place: str) -> str:
        return next(
            str(scan.folder.scan_id)
            for walk in self._walks
            for relative, scan in walk.scans.items()
            if scan.folder and walk.place(relative) == place
        )

    def _changed(self, walk: Walk, refused: set[str]) -> Iterator[FoundFolder]:
        """Yield what is to be told of one root; to be told it must be there, fit, and the only one of its scan."""
        due = []
        for relative in walk.seen:
            scan, place = walk.scans[relative], walk.place(relative)
            if scan.fit and place not in refused and self._told.get(place) != scan.mark:
                due.append(relative)
        for relative in natural_sorted(due):
            scan = walk.scans[relative]
            if scan.folder and (relative in walk.contents or walk.read_again(relative)):
                self._told[walk.place(relative)] = scan.mark
                yield self._found(walk, relative, scan.folder, scan.beside)

    def _found(self, walk: Walk, relative: str, folder: ParsedFolder, beside: tuple[str, ...]) -> FoundFolder:
        content = walk.contents[relative]
        return FoundFolder(
            folder,
            relative.partition("/")[0],
            walk.name,
            walk.root,
            relative,
            content.files,
            content.ignored,
            self._patterns.claims(content.files),
            beside,
        )

    def _gone(self) -> tuple[str, ...]:
        there = {walk.place(relative) for walk in self._walks for relative in walk.scans}
        gone = natural_sorted(self._told.keys() - there)
        for place in gone:
            del self._told[place]
        return tuple(gone)

    def _counts(self) -> Counts:
        scans = sum(len(walk.scans) for walk in self._walks)
        files = sum(len(content.files) for walk in self._walks for content in walk.contents.values())
        return Counts(scans, sum(walk.listed for walk in self._walks), files)


def _copy_problem(walk: Walk, relative: str, scan: Scan, claims: Mapping[str, Sequence[str]]) -> Problem:
    """Tell of a folder that is a copy by its name, and of which: the one beside it, else the one that has its token."""
    original = walk.place(scan.original)
    if not walk.knows(scan.original):
        original = " and ".join(claims.get(scan.claim, ())) or f"{original}, which is not there"
    hint = "Delete the copy, or move it out of the share."
    return Problem("error", f"By its name it is a copy of {visible(original)}.", visible(walk.place(relative)), hint)


class Patterns:
    """Which modalities want a file, by its name."""

    def __init__(self, modalities: Iterable[Modality]) -> None:
        self._endings: dict[str, set[str]] = {}  # most patterns are an ending, `*.tif`: looked up, not compared
        self._others: dict[str, re.Pattern[str]] = {}
        for modality in modalities:
            patterns = [pattern.lower() for pattern in modality.patterns]
            endings = {pattern[1:] for pattern in patterns if re.fullmatch(r"\*\.[a-z0-9]+", pattern)}
            others = [fnmatch.translate(pattern) for pattern in patterns if pattern[1:] not in endings]
            if patterns:
                self._endings[modality.name] = endings
            if others:
                self._others[modality.name] = re.compile("|".join(others))

    def claims(self, names: Sequence[str]) -> dict[str, int]:
        """Return per modality how many of the names its patterns match, each name once."""
        counted: Counter[str] = Counter()
        for ending, count in Counter([name[name.rfind(".") :] for name in names]).items():
            counted[ending.lower()] += count
        claims = {}
        for modality, endings in self._endings.items():
            count = sum(counted[ending] for ending in endings)
            if other := self._others.get(modality):
                lower = (name.rpartition("/")[2].lower() for name in names)
                count += sum(name[name.rfind(".") :] not in endings and bool(other.match(name)) for name in lower)
            if count:
                claims[modality] = count
        return claims


def find_recordings(paths: Iterable[Path], settings: Settings) -> tuple[list[Recording], list[Problem]]:
    """List the scans at or below some folders of the share, in the order of their names.

    Parameters
    ----------
    paths
        A share root itself, a person's folder, a session's or a scan's.

    Returns
    -------
    recordings, problems
        One per folder whose name looks like a recording and is none or that lies too deep, however deep, per path
        outside the share, and per scan token that two folders claim: none of these is returned. A warning per folder
        that could not be looked into, and per folder that holds links or other things that are passed over.
    """
    look = Finder(settings).look(paths)
    problems = list(look.problems)
    recordings = []
    for found in look.changed:
        try:
            recordings.append(recording_of(found))
        except (AdamacsError, OSError) as error:
            reason = error.what if isinstance(error, AdamacsError) else error.strerror
            where = visible(found.place)
            problems.append(Problem("error", f"The folder cannot be read ({reason}).", where, "Plan again."))
    return recordings, problems


def recording_of(found: FoundFolder) -> Recording:
    """Look at the files of a scan folder, size and time of each: the one place that does.

    Raises
    ------
    MissingFile
        A file went, or became something else, since the folder was listed.
    OSError
        The share went away, or refuses.
    """
    files = _files_of(found, (f"{found.relative}/{name}" for name in found.names))
    return Recording(found.folder, found.username, found.path, found.place, files, _files_of(found, found.beside))


def _files_of(found: FoundFolder, paths: Iterable[str]) -> tuple[RawFile, ...]:
    """Return size and time of files, given relative to the root of a folder."""
    files = []
    for path, status in statuses(found.share, paths):
        place = places.spell(found.root, path)
        if status is None:
            raise MissingFile("A file went while it was looked at.", visible(place), "Look again.")
        files.append(RawFile(place, status.st_size, clocks.from_file_time(status.st_mtime_ns)))
    return tuple(files)


def below(path: Path, root: Path) -> tuple[str, ...] | None:
    """Return the names on the way from a root to a path, or None; the root itself may be reached by a link."""
    place = Path(os.path.normpath(path.absolute()))
    for base in (root, root.resolve()):
        if place.is_relative_to(base):
            return place.relative_to(base).parts
    return None
