"""Walk one root of the share: which folders are scans, which names they hold, and which of them changed since.

A folder is listed once, in one pass over its entries, and its times are remembered; as long as they stay, one status
per folder is asked. A folder that changed moments ago is listed again: its time may be too coarse for the next change.
"""

from __future__ import annotations

import errno
import re
import time
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from adamacs.core import places, tokens
from adamacs.core.errors import InvalidToken, visible
from adamacs.core.modality import Problem
from adamacs.core.names import alike, not_on_windows, seen_elsewhere
from adamacs.core.tokens import ParsedFolder
from adamacs.ingest.beneath import ABSENT, Listing, Place, Stamp, descended

_NOT_A_RECORDING = (".", "$", "System Volume Information")
_LOOKED_INTO = 5_000  # folders of one person that are no recordings; on a share over the network some seconds
_DEEPEST = 64  # folders below one another
_LONGEST_PATH = 1023  # characters that the tables hold
_COPY = re.compile(
    r"(?is)((copy|kopie)( \(\d+\))? (of|von) )?(?P<name>.*?)"
    r"([ ._-]+(copy|kopie|old|alt|backup|bak|orig)([ ._-]*\d+)?|[ ._-]*\(\d+\)|~)*"
)
_TOKEN = re.compile(r"(?<![0-9A-Za-z])(?:scan|sess)[0-9A-Za-z]+")
_NO_UTF8 = "The name holds bytes that are no UTF-8."

Tree = tuple[Stamp, tuple[tuple[str, "Tree"], ...]]  # a folder's stamp, and the folders in it


class Content(NamedTuple):
    """The names below a scan folder, relative to it: those of each folder in natural order, then its folders."""

    files: tuple[str, ...]
    ignored: tuple[str, ...]  # links, pipes, devices


@dataclass
class _Gathered:
    """What the folders of a scan give, one after the other."""

    files: list[str] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)


class Scan:
    """What is remembered of one folder that may be a scan; the names of its files are not."""

    __slots__ = ("beside", "claim", "digest", "first", "folder", "original", "problems", "refusal", "settled", "tree")

    def __init__(self) -> None:
        self.folder: ParsedFolder | None = None
        self.refusal: Problem | None = None  # of its name or place
        self.original = ""  # of what it is a copy, by its name
        self.claim = ""  # the token that it claims
        self.tree: Tree | None = None
        self.first = 0.0  # since when the tree is as it is
        self.settled = False
        self.problems: tuple[Problem, ...] = ()
        self.digest = 0  # of the names
        self.beside: tuple[str, ...] = ()

    @property
    def fit(self) -> bool:
        """Whether nothing about the folder itself speaks against its being planned."""
        return self.folder is not None and self.tree is not None and all(p.severity != "error" for p in self.problems)

    @property
    def mark(self) -> int:
        """What changes with every change of the folder's names or of its notes."""
        return hash((self.digest, self.beside))


@dataclass(frozen=True)
class _Container:
    """What is remembered of a folder that is no scan."""

    stamp: Stamp
    first: float
    settled: bool
    candidates: tuple[str, ...]  # folders that may be recordings
    others: tuple[str, ...]
    notes: tuple[str, ...]  # files of a session folder
    named: Mapping[str, tuple[str, ...]]  # files of a person's folder, by the token that they name
    problems: tuple[Problem, ...]


class Walk:
    """One root, and what was seen of it.

    Attributes
    ----------
    scans
        By their path relative to the root, POSIX: every folder that may be a scan, as it was at the last look.
    seen
        Which of them the look in progress came by.
    contents
        The names of those that it had to read.
    """

    def __init__(self, name: str, root: Path, *, legacy: bool, recursive: bool, margin: float) -> None:
        self.name = name
        self.root = root
        self.scans: dict[str, Scan] = {}
        self.seen: set[str] = set()
        self.contents: dict[str, Content] = {}
        self.listed = 0
        self._legacy = legacy
        self._recursive = recursive
        self._margin = margin
        self._containers: dict[str, _Container] = {}
        self._came_by: set[str] = set()
        self._unread: list[str] = []
        self._problems: list[Problem] = []

    def place(self, relative: str) -> str:
        """Return how a path below this root is told to people."""
        return places.spell(self.name, relative)

    def knows(self, relative: str) -> bool:
        """Tell whether a folder that may be a recording was seen at this path."""
        return relative in self.scans or relative in self._containers

    def begin(self, problems: list[Problem]) -> None:
        """Begin a look, whose problems are added to a list."""
        self._problems = problems
        self.seen, self._came_by = set(), set()
        self.contents, self.listed = {}, 0
        self._unread = []

    def look(self, parts: tuple[str, ...]) -> None:
        """Look at everything at or below a folder, given by the names on the way from the root."""
        before = len(self.scans)
        try:
            top = Place.at(self.root)
        except OSError:
            self._problems.append(Problem("error", "There is no such folder.", visible(str(self.root))))
            return  # and nothing is gone: the share is
        with top:
            everything = self._container(top, ())
            if parts:
                self._descend(top, (), parts)
            elif everything and not everything.candidates + everything.others and before:
                self._unread.append("")
                self._say("error", "The share is empty: is it mounted?", "", "What was there is not taken for gone.")
            elif everything:
                for name in everything.candidates:
                    self._candidate(top, (), name)
                for name in everything.others:
                    self._person(top, name)
        self._forget("/".join(parts))

    def read_again(self, relative: str) -> bool:
        """Read the names of a scan folder that did not change; tell whether it could be done."""
        *parts, name = relative.split("/")
        with suppress(OSError), Place.at(self.root) as top, descended(top, parts) as place:
            self._read(relative, self.scans[relative], place, name)
            return self.scans[relative].fit
        return False

    # ---- the way down

    def _descend(self, place: Place, done: tuple[str, ...], rest: Sequence[str]) -> None:
        """Go to a folder that was named by hand, and say what is in the way."""
        name, *further = rest
        try:
            if place.stamp_of(name) is None:
                raise NotADirectoryError(errno.ENOTDIR, "")
            if not further:
                self._named(place, done, name)
                return
            inner = place.enter(name)
        except OSError as error:
            self._in_the_way(place, done, name, error)
            return
        with inner:
            if not done or tokens.is_candidate(name):  # where notes lie
                self._container(inner, (*done, name))
            self._descend(inner, (*done, name), further)

    def _in_the_way(self, place: Place, done: tuple[str, ...], name: str, error: OSError) -> None:
        where = visible(str(self.root.joinpath(*done, name)))
        if error.errno not in ABSENT:
            self._cannot_read((*done, name), error, "error")
        elif place.is_link(name):
            self._problems.append(Problem("error", "A link below the share is not followed.", where))
        else:
            self._problems.append(Problem("error", "There is no such folder.", where))

    def _named(self, place: Place, done: tuple[str, ...], name: str) -> None:
        if tokens.is_candidate(name):
            self._candidate(place, done, name)
        elif not done:
            self._person(place, name)
        else:
            with place.enter(name) as inner:
                found = self._search(inner, (*done, name))
            if not found:
                self._scan(place, done, name)  # who named it by hand is told why it is none

    def _person(self, top: Place, name: str) -> None:
        try:
            inner = top.enter(name)
        except OSError as error:
            if error.errno not in ABSENT:
                self._cannot_read((name,), error, "warning")
            return
        with inner:
            self._search(inner, (name,))

    def _search(self, top: Place, parts: tuple[str, ...]) -> bool:
        """Look for what may be a recording at any depth, so that one that lies too deep is told of; near ones first."""
        waiting: deque[tuple[str, ...]] = deque([()])
        looked_into, found = 0, False
        while waiting:
            if looked_into == _LOOKED_INTO:
                what = f"More than {_LOOKED_INTO} folders here are no recordings: those below them were not looked at."
                hint = "Move what is no recording out of the share, or name the folder of the recordings."
                self._say("warning", what, "/".join(parts), hint)
                break
            below = waiting.popleft()
            looked_into += 1
            try:
                with descended(top, below) as place:
                    container = self._container(place, parts + below)
                    for name in container.candidates if container else ():
                        self._candidate(place, parts + below, name)
            except OSError as error:
                if error.errno not in ABSENT:
                    self._cannot_read(parts + below, error, "warning")
                continue
            if container:
                found = found or bool(container.candidates)
                if self._recursive and len(below) < _DEEPEST:
                    waiting.extend((*below, name) for name in container.others)
        return found

    def _candidate(self, place: Place, parts: tuple[str, ...], name: str) -> None:
        """Look at a scan folder, or at the scan folders of a nested session folder."""
        inside: tuple[str, ...] = ()
        if "_scan" not in name and not self._is_copy(parts, name):
            try:
                with place.enter(name) as inner:
                    session = self._container(inner, (*parts, name), "error")
                    if session is None:
                        return
                    inside = tuple(entry for entry in session.candidates if entry.startswith("scan"))
                    for scan in inside:
                        self._scan(inner, (*parts, name), scan)
            except OSError as error:
                if error.errno not in ABSENT:
                    self._cannot_read((*parts, name), error, "error")
                return
        if not inside:
            self._scan(place, parts, name)

    def _is_copy(self, parts: tuple[str, ...], name: str) -> bool:
        known = self.scans.get("/".join((*parts, name)))
        return bool(known.original if known else _original(parts, name, self._legacy))

    # ---- folders that are no scans

    def _container(self, place: Place, parts: tuple[str, ...], severity: str = "warning") -> _Container | None:
        """Return what such a folder holds; one that cannot be read becomes a problem, and None."""
        relative = "/".join(parts)
        known = self._containers.get(relative)
        self._came_by.add(relative)
        try:
            wall, now, stamp = time.time_ns(), time.monotonic(), place.stamp()
            if known is None or not known.settled or known.stamp != stamp:
                first = known.first if known and known.stamp == stamp else now
                settled = self._is_settled(stamp, wall, now - first)
                known = self._listed(place.listing(), parts, (stamp, first, settled))
                self._containers[relative] = known
        except OSError as error:
            self._cannot_read(parts, error, severity)
            return None
        self._problems += known.problems
        return known

    def _listed(self, listing: Listing, parts: tuple[str, ...], seen: tuple[Stamp, float, bool]) -> _Container:
        self.listed += 1
        folders = [name for name in listing.folders if not name.startswith(_NOT_A_RECORDING)]
        candidates = tuple(name for name in folders if tokens.is_candidate(name))
        marked = set(candidates)
        others = tuple(name for name in folders if name not in marked)
        named: dict[str, tuple[str, ...]] = {}
        for name in listing.files if len(parts) == 1 else ():
            for token in dict.fromkeys(_TOKEN.findall(name)):
                named[token] = (*named.get(token, ()), name)
        is_session = len(parts) > 1 and tokens.is_candidate(parts[-1])
        notes = tuple(listing.files) if is_session else ()
        return _Container(*seen, candidates, others, notes, named, tuple(self._odd(listing, folders, "/".join(parts))))

    def _is_settled(self, stamp: Stamp, wall: int, unchanged: float) -> bool:
        """Tell whether the next change of a folder would move its time, be its clock right or ahead."""
        return wall - max(stamp[:2]) > self._margin * 1e9 or (unchanged > 0 and unchanged >= self._margin)

    # ---- scans

    def _scan(self, place: Place, parts: tuple[str, ...], name: str) -> None:
        relative = "/".join((*parts, name))
        scan = self.scans.get(relative)
        if scan is None:
            scan = self.scans[relative] = self._judged(parts, name, relative)
        self.seen.add(relative)
        if scan.refusal:
            self._problems.append(scan.refusal)
        if scan.folder is None:
            return
        try:
            same = scan.settled and scan.tree is not None and _is_same(place, name, scan.tree)
        except OSError:
            same = False
        try:
            if not same:
                self._read(relative, scan, place, name)
        except OSError as error:
            if error.errno in ABSENT:  # it went since the folder above was listed, whose time tells so
                self.seen.discard(relative)
            else:
                scan.tree = None
                self._cannot_read((*parts, name), error, "error")
            return
        self._problems += scan.problems
        scan.beside = self._beside(parts, scan.folder)

    def _read(self, relative: str, scan: Scan, place: Place, name: str) -> None:
        wall, now = time.time_ns(), time.monotonic()
        found = _Gathered()
        tree = self._tree(place, name, relative, "", found)
        if not found.files:
            hint = "" if not found.ignored else "What it holds is no file."
            found.problems.append(
                Problem("error", "The folder is empty: has the copy begun?", self._where(relative), hint)
            )
        scan.first = scan.first if scan.tree == tree else now
        scan.tree, scan.problems = tree, tuple(found.problems)
        scan.settled = all(self._is_settled(stamp, wall, now - scan.first) for stamp in _stamps(tree))
        self.contents[relative] = content = Content(tuple(found.files), tuple(found.ignored))
        scan.digest = hash((tree, content))

    def _tree(self, above: Place, name: str, relative: str, prefix: str, found: _Gathered) -> Tree:
        """List a folder and those in it, and put the names together."""
        if prefix.count("/") == _DEEPEST:
            what = f"It holds folders more than {_DEEPEST} levels deep."
            found.problems.append(Problem("error", what, self._where(relative)))
            return (0, 0, 0, 0), ()
        with above.enter(name) as place:
            stamp, listing = place.stamp(), place.listing()
            self.listed += 1
            found.files += [prefix + file for file in listing.files] if prefix else listing.files
            found.ignored += [prefix + one for one in (*listing.links, *listing.others)]
            found.problems += self._odd(listing, listing.folders, f"{relative}/{prefix}".rstrip("/"))
            found.problems += self._unfit(listing, f"{relative}/{prefix}")
            folders = []
            for folder in listing.folders:
                try:
                    folders.append((folder, self._tree(place, folder, relative, f"{prefix}{folder}/", found)))
                except OSError as error:
                    if error.errno not in ABSENT:  # what went is left out; the time of the folder above tells so
                        raise
        return stamp, tuple(folders)

    def _unfit(self, listing: Listing, start: str) -> list[Problem]:
        """Tell of names of files that no table holds, and of those that other systems do not open."""
        names, problems = listing.names, []
        if listing.files and len(start) + max(map(len, listing.files)) > _LONGEST_PATH:
            what = f"A path has more than {_LONGEST_PATH} characters."
            problems.append(Problem("error", what, self._where(start)))
        if not _is_utf8("".join(names)):
            foreign = [name for name in names if not _is_utf8(name)]
            problems.append(Problem("error", _NO_UTF8, self._where(_and_more(start, foreign))))
        if odd := not_on_windows(names):
            problems.append(Problem("warning", "Windows cannot open this name.", self._where(_and_more(start, odd))))
        return problems

    def _odd(self, listing: Listing, folders: Sequence[str], relative: str) -> list[Problem]:
        """Tell of what is passed over, and of names that are one for other systems."""
        start = f"{relative}/" if relative else ""
        problems = []
        if listing.links:
            where = self._where(_and_more(start, listing.links))
            problems.append(Problem("warning", "A link below the share is not followed.", where))
        if listing.others:
            where = self._where(_and_more(start, listing.others))
            problems.append(Problem("warning", "It is neither a file nor a folder: it is passed over.", where))
        for names in alike([*listing.files, *folders] if folders is listing.folders else folders):
            where = self._where(" and ".join(start + name for name in names))
            problems.append(Problem("warning", "Windows and macOS see one name where there are several.", where))
        return problems

    def _beside(self, parts: tuple[str, ...], folder: ParsedFolder) -> tuple[str, ...]:
        """Return the notes and logs that belong to a scan, relative to the root."""
        beside: list[str] = []
        if person := self._containers.get(parts[0]):
            for token in (folder.session_id, folder.scan_id or ""):
                beside += [f"{parts[0]}/{name}" for name in person.named.get(token, ())]
        if folder.layout == "nested" and (session := self._containers.get("/".join(parts))):
            beside += [f"{'/'.join(parts)}/{name}" for name in session.notes]
        return tuple(dict.fromkeys(beside)) if beside else ()

    # ---- what a name says

    def _judged(self, parts: tuple[str, ...], name: str, relative: str) -> Scan:
        """Return what a folder's name and place say, whatever it holds."""
        scan = Scan()
        where = self._where(relative)
        if not _is_utf8(relative):
            scan.refusal = Problem("error", _NO_UTF8, where)
            return scan
        if "\\" in relative:
            scan.refusal = Problem("error", "The name, or that of a folder above it, holds a backslash.", where)
            return scan
        try:
            folder = tokens.parse(relative, legacy=self._legacy)
        except InvalidToken as refusal:
            if original := _original(parts, name, self._legacy):
                scan.original, scan.claim = original
            else:
                scan.refusal = Problem("error", refusal.what, where, refusal.hint or "")
            return scan
        depth = 3 if folder.layout == "nested" else 2
        if folder.scan_id is None:
            hint = f"Expected {tokens.EXAMPLE}, or {tokens.NESTED_EXAMPLE}."
            scan.refusal = Problem("error", "The session folder holds no scan folder.", where, hint)
        elif len(parts) + 1 != depth:
            hint = f"Expected <share>/<person>/{tokens.EXAMPLE}."
            what = "No person's folder stands above it." if len(parts) + 1 < depth else "It lies too deep in the share."
            scan.refusal = Problem("error", what, where, hint)
        else:
            scan.folder, scan.claim = folder, seen_elsewhere(folder.scan_id)
        return scan

    # ---- what a look says and forgets

    def _where(self, relative: str) -> str:
        return visible(self.place(relative))

    def _say(self, severity: str, what: str, relative: str, hint: str = "") -> None:
        self._problems.append(Problem(severity, what, self._where(relative), hint))

    def _cannot_read(self, parts: Sequence[str], error: OSError, severity: str) -> None:
        relative = "/".join(parts)
        self._unread.append(relative)
        self._problems.append(
            Problem(severity, f"The folder cannot be read ({error.strerror}).", self._where(relative))
        )

    def _forget(self, prefix: str) -> None:
        """Forget what a look at a folder did not come by, except below folders that could not be read."""

        def is_gone(relative: str) -> bool:
            return _is_below(relative, prefix) and not any(_is_below(relative, folder) for folder in self._unread)

        for relative in [one for one in self.scans if one not in self.seen and is_gone(one)]:
            del self.scans[relative]
        for relative in [one for one in self._containers if one not in self._came_by and is_gone(one)]:
            del self._containers[relative]


def _original(parts: tuple[str, ...], name: str, legacy: bool) -> tuple[str, str] | None:
    """Return which folder a copy was made of, as its name tells, and the token that it claims."""
    stripped = found["name"] if (found := _COPY.fullmatch(name)) else name
    if stripped == name:
        return None
    try:
        folder = tokens.parse("/".join((*parts[-1:], stripped)), legacy=legacy)
    except InvalidToken:
        return None
    return "/".join((*parts, stripped)), seen_elsewhere(folder.scan_id or folder.session_id)


def _is_same(place: Place, name: str, tree: Tree) -> bool:
    stamp, folders = tree
    if place.stamp_of(name) != stamp:
        return False
    if not folders:
        return True
    with place.enter(name) as inner:
        return all(_is_same(inner, *folder) for folder in folders)


def _stamps(tree: Tree) -> list[Stamp]:
    stamp, folders = tree
    return [stamp, *(one for _, folder in folders for one in _stamps(folder))]


def _is_below(relative: str, folder: str) -> bool:
    return not folder or relative == folder or relative.startswith(f"{folder}/")


def _and_more(start: str, names: Sequence[str]) -> str:
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    return f"{start}{names[0]}{more}"


def _is_utf8(text: str) -> bool:
    try:
        return text.isascii() or bool(text.encode())
    except UnicodeEncodeError:
        return False
