"""Setup types and rigs: what a recording folder of each kind holds, as data that a lab can extend.

A setup type is what the operator chose at the rig, such as `mini2p1_openfield`; ScanImage's user function writes it
into the header. One TOML file describes each, and those of a lab home (`setups/*.toml`, `rigs.toml`) go over those that
ship.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from adamacs.core import toml
from adamacs.core.errors import UnknownSetup, nearest, visible
from adamacs.core.modality import Modality, Parser, Problem
from adamacs.core.names import fold, natural_order
from adamacs.core.setup_wiring import (
    FRAMES,
    SOURCE,
    TIME_UNITS,
    Align,
    Channel,
    Clock,
    Harp,
    Wheel,
    misfits,
)

SHIPPED = Path(__file__).with_name("setup_types")
RIGS_FILE = "rigs.toml"
FOLDER = "setups"  # of a lab home

_SHOWN = 5  # names in a sentence
_POSITIVE: dict[str, Any] = {"fits": lambda x: x > 0, "takes": "It takes a number above 0."}
_SAID_ALIKE = ("stamped_by", "frame_rate", "unit", "gap")  # keys that say of a source how its files are read


@dataclass(frozen=True)
class Expected:
    """Files that every folder of a setup type holds, or may hold."""

    files: str = toml.key(
        "Pattern of names, in any case: `*.h5`. Without `/` it is for files directly in the scan's folder, "
        "with `/` for the path below it.",
        fits=lambda text: text and "\\" not in text,
        takes="It takes a pattern such as *.h5 or suite2p/*.npy.",
    )
    what: str = toml.key(
        "What these files are, as it stands in a sentence.", fits=str.strip, takes="It takes some words."
    )
    least: int = toml.key(
        "How many there must be; 0: they may be absent.", 1, fits=lambda n: n >= 0, takes="It takes 0 or more."
    )
    most: int | None = toml.key(
        "How many there may be; absent: any number.", None, fits=lambda n: n >= 0, takes="It takes 0 or more."
    )
    hint: str = toml.key("What to try where they are missing, or too many.", "")
    parser: str = toml.key(
        "The reader that they are given to, one of those [below](#readers). Empty: none of those that find events.",
        "",
        fits=lambda text: not text or SOURCE.fullmatch(text),
        takes="It takes the name of a reader.",
    )
    source: str = toml.key(
        "What wrote them, under which its events and its clock are known: `aux` for the recording that holds the "
        "channels, `bpod`, `camera_top`. Files with one source are read together. Empty: the name of the reader.",
        "",
        fits=lambda text: not text or SOURCE.fullmatch(text),
        takes="It takes up to 32 small letters, digits and _, a letter first.",
    )
    beside: str = toml.key(
        "Another pattern: of `files` those alone are meant that are called like a file of it but for the ending, as "
        "the table is that was exported of a take. A file of it without one is a warning. Empty: all are meant.",
        "",
        fits=lambda text: "\\" not in text,
        takes="It takes a pattern such as *.tak.",
    )
    stamped_by: str = toml.key(
        "Of a video: the source that tells when each of its frames was taken, such as `camera_top`. The video has as "
        "many frames as that has times. Empty: nothing tells how many it must have.",
        "",
        fits=lambda text: not text or SOURCE.fullmatch(text),
        takes="It takes the name of a source, such as camera_top.",
    )
    frame_rate: float | None = toml.key(
        "Hz, of a camera, to within a factor of 2: it tells what a tick of the camera is, where its table counts "
        "ticks. Absent: an ISO column beside them tells, or their size, which cannot see ticks of 8 or 100 ns.",
        None,
        **_POSITIVE,
    )
    unit: str = toml.key(
        "Of the times that HARP's table of frames tells as plain numbers. Nothing in the file says it, and it is not "
        "guessed; ISO 8601 needs none.",
        "",
        fits=("", *TIME_UNITS).__contains__,
        takes=f"It takes {', '.join(TIME_UNITS)}.",
    )
    gap: float | None = toml.key(
        "Where frames of a camera or of HARP's table are further apart than this many periods, and those behind do not "
        "make up for it, or where the table's own count leaves numbers out, the missing ones are filled in and "
        "recorded as such: the frames of the video are then the others. Absent: they are told, and none is filled in.",
        None,
        fits=lambda x: x > 1,
        takes="It takes a number above 1.",
    )

    @property
    def told_by(self) -> str:
        """The source that these files are of; empty where no reader finds events in them."""
        return self.parser and (self.source or self.parser)

    def found(self, names: Iterable[str]) -> list[str]:
        """Return the names of files that are meant."""
        if not self.beside:
            return _matching(self.files, names)
        held = list(names)
        stems = set(map(_stem, _matching(self.beside, held)))
        return [name for name in _matching(self.files, held) if _stem(name) in stems]

    def alone(self, names: Iterable[str]) -> list[str]:
        """Return the names of files that should have one of these beside them, and have none."""
        held = list(names) if self.beside else []
        stems = set(map(_stem, self.found(held)))
        return [name for name in _matching(self.beside, held) if _stem(name) not in stems]

    @property
    def pattern(self) -> str:
        """Which names are meant, in words."""
        return f"{self.files} beside {self.beside}" if self.beside else self.files

    @property
    def is_demand(self) -> bool:
        """Whether a folder can hold too few or too many of these files."""
        return self.least > 0 or self.most is not None

    @property
    def count(self) -> str:
        """How many are expected, in words."""
        if self.most is None:
            return f"at least {self.least}" if self.least else "any number"
        return f"{self.least}" if self.least == self.most else f"{self.least} to {self.most}"


def _matching(files: str, names: Iterable[str]) -> list[str]:
    (end, fits), has_slash = _test(files), "/" in files
    return [
        name
        for name in names
        if (small := name.casefold()).endswith(end) and has_slash == ("/" in name) and (not fits or fits(small))
    ]


def _stem(name: str) -> str:
    return name.rpartition(".")[0].casefold()


@lru_cache(1024)
def _test(files: str) -> tuple[str, Callable[[str], object] | None]:
    """Return how a name, in small letters, must end, and what else tests it, if anything must.

    A bulk ingest tests a million names, and most of them end otherwise.
    """
    folded = files.casefold()
    end = re.split(r"[*?\]]", folded)[-1]
    return end, None if folded == f"*{end}" else re.compile(fnmatch.translate(folded)).match


@dataclass(frozen=True)
class Stage:
    """A request that each new scan of a setup type gets."""

    table: str = toml.key(
        "A table that people fill, such as `imaging.ProcessingTask`.",
        fits=lambda text: re.fullmatch(r"[a-z][a-z0-9_]*\.[A-Z][A-Za-z0-9]*Task", text),
        takes="It takes a name such as imaging.ProcessingTask.",
    )
    values: Mapping[str, Any] = toml.key("What distinguishes the request, such as `paramset_idx`.")


@dataclass(frozen=True)
class SetupType:
    """What the operator chose at the rig, and what it means for a recording folder.

    Attributes
    ----------
    source
        The file that describes it.
    replaces
        The file that ships and is not used, because a lab's own describes the same setup type.
    """

    name: str = toml.key(
        "The canonical name, as rows hold it.",
        fits=re.compile(r"[A-Za-z][A-Za-z0-9_]{0,62}").fullmatch,
        takes="It takes up to 63 letters, digits and _, a letter first.",
    )
    description: str = toml.key("What is recorded so, in a sentence.", fits=str.strip, takes="It takes a sentence.")
    spellings: tuple[str, ...] = toml.key("Other spellings that headers and people use.", ())
    rigs: tuple[str, ...] = toml.key("The rigs it runs on, as in `rigs.toml`.", ())
    verified: bool = toml.key(
        "Whether what is said here was compared with the lab's own recordings or documents.", True
    )
    missing: tuple[str, ...] = toml.key("What a lab must fill in where `verified` is false.", ())
    modalities: tuple[str, ...] = toml.key("The modalities that such a folder is planned for.", ())
    automatic: bool = toml.key("Whether a watching service may apply its plans without a person.", False)
    expected: tuple[Expected, ...] = toml.key("The files of such a folder, a table `[[expected]]` for each kind.", ())
    stage: tuple[Stage, ...] = toml.key(
        "The requests that a new scan gets, a table `[[stage]]` for each; none: what the person's profile says.", ()
    )
    clock: Clock = toml.key("Which stream is scan time.", Clock())
    wheel: Wheel | None = toml.key(
        "What the volts of the channel `treadmill` mean; absent: no position and no speed is made of them.",
        None,
    )
    harp: Harp | None = toml.key(
        "What the counts of HARP's inertial sensors mean and when they were taken; absent: values stay counts without "
        "times.",
        None,
    )
    channel: tuple[Channel, ...] = toml.key(
        "The channels of its auxiliary recording, a table `[[channel]]` for each.", ()
    )
    spare_lines: bool = toml.key(
        "Whether an auxiliary recording may hold digital lines beyond those of its channels; false: it is taken for "
        "one of another setup type. Analog inputs may always be more.",
        False,
    )
    align: tuple[Align, ...] = toml.key(
        "How the times of a source are placed on scan time, a table `[[align]]` for each; of a source without one they "
        "stay on its own clock.",
        (),
    )
    source: Path = Path()
    replaces: Path | None = None

    @property
    def sources(self) -> dict[str, str]:
        """The reader of each source, by the source's name, in the order of the files."""
        return {expected.told_by: expected.parser for expected in self.expected if expected.told_by}

    def expected_of(self, source: str) -> Expected:
        """Return what is said of the files of a source; where they are of several kinds, all say the same of it."""
        return next(expected for expected in self.expected if expected.told_by == source)

    def files_of(self, names: Iterable[str]) -> dict[str, list[str]]:
        """Return which of some files are of which source; sources without files are left out.

        Parameters
        ----------
        names
            Of the files, POSIX, relative to the scan's folder.
        """
        held = list(names)
        found: dict[str, list[str]] = {}
        for expected in self.expected:
            if expected.told_by and (files := expected.found(held)):
                of_source = found.setdefault(expected.told_by, [])
                of_source += [name for name in files if name not in of_source]
        return found

    def scan_time(self, sources: Collection[str]) -> str:
        """Return the clock that is scan time, where these sources were recorded.

        That is the stream that the setup type names, else the one that takes its place; without both, the frames.
        """
        named = (name for name in (self.clock.stream, self.clock.otherwise) if name in sources)
        return next(named, FRAMES)

    def placed_by(self, source: str) -> str:
        """Return the source by whose pulses a source is placed on scan time: its own, or another's; empty: by none."""
        return next((rule.through or source for rule in self.align if rule.source == source), "")

    def lacks(self, names: Iterable[str]) -> list[Expected]:
        """Return what is expected and not there, or not in sufficient number.

        Parameters
        ----------
        names
            Of the files, POSIX, relative to the scan's folder.
        """
        held = list(names)
        return [expected for expected in self.expected if len(expected.found(held)) < expected.least]

    def problems(self, names: Iterable[str], where: str = "") -> list[Problem]:
        """Return a sentence for each kind of expected files of which there are too few or too many, and what lacks one.

        Parameters
        ----------
        names
            Of the files, POSIX, relative to the scan's folder.
        where
            The folder, as the problems shall name it.
        """
        held = list(names)
        counted = ((expected, expected.found(held)) for expected in self.expected if expected.is_demand)
        found = [
            Problem("error", self._sentence(expected, found), where, expected.hint, len(found) < expected.least)
            for expected, found in counted
            if len(found) < expected.least or (expected.most is not None and len(found) > expected.most)
        ]
        for expected in self.expected:
            for name in expected.alone(held):
                what = f"{visible(name)} has no {expected.files} of its name beside it: {expected.what}."
                found.append(Problem("warning", what, where, expected.hint))
        return found

    def _sentence(self, expected: Expected, found: list[str]) -> str:
        listed = ", ".join(visible(name) for name in sorted(found, key=natural_order)[:_SHOWN])
        more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
        there = (
            f"{len(found)} files {expected.files} are here ({listed}{more})"
            if found
            else f"No {expected.files} is here"
        )
        return f"{there}; {self.name} expects {expected.count}: {expected.what}."

    @property
    def known_as(self) -> tuple[str, ...]:
        """Every spelling, the canonical name first."""
        return (self.name, *self.spellings)


@dataclass(frozen=True)
class Rig:
    """A place where recordings are made, and the computer that controls it."""

    name: str
    controller: str = toml.key("The computer that controls it.", fits=str.strip, takes="It takes a name.")
    description: str = toml.key("What it is.", "")


@dataclass(frozen=True)
class Registry:
    """Every setup type and rig that a lab knows, by name.

    Attributes
    ----------
    broken
        The files that could not be used, each with the name of the setup type it is about, or None where not even that
        could be read.
    """

    setups: Mapping[str, SetupType]
    rigs: Mapping[str, Rig]
    broken: Mapping[Path, str | None] = field(default_factory=dict)

    @property
    def vocabulary(self) -> dict[str, frozenset[str]]:
        """Which channels a name in a file may mean, by the folded name, over all setup types."""
        meanings: dict[str, set[str]] = {}
        for setup in self.setups.values():
            for channel in setup.channel:
                for name in channel.known_as:
                    meanings.setdefault(fold(name), set()).add(channel.name)
        return {name: frozenset(channels) for name, channels in meanings.items()}

    def find(self, text: str, where: Any = None) -> SetupType:
        """Return the setup type of a spelling; case, blanks, `-` and `_` do not matter.

        Raises
        ------
        UnknownSetup
            No setup type is spelt so; the nearest names are told. Or a broken file may say something else of it.
        """
        for setup in self.setups.values():
            if fold(text) in map(fold, setup.known_as):
                for path, name in self.broken.items():
                    if setup.name == name or (name is None and setup.source.parent == SHIPPED):
                        raise UnknownSetup(
                            f"{setup.name} may be described by {path}, which is broken.", where, _mend(path)
                        )
                return setup
        known = [spelling for setup in self.setups.values() for spelling in setup.known_as]
        what = f"{text!r} is no setup type." if text.strip() else "No setup type is named."
        hint = f"{nearest(text, known)} `adamacs setups list` shows them all."
        raise UnknownSetup(what, where, " ".join([hint, *(f"{path} is broken. {_mend(path)}" for path in self.broken)]))


def _mend(path: Path) -> str:
    return f"`adamacs setups check {path}` says what is wrong."


def load(home: Path | None = None, *, modalities: Collection[Modality] | None = None) -> Registry:
    """Return the setup types and rigs that ship, with those of a lab home over them.

    Parameters
    ----------
    home
        Of the lab; None: what ships alone.
    modalities
        Of those a setup type may name, and give files to their readers; None: any names will do.

    Raises
    ------
    InvalidSetting
        Everything that is wrong with any of the files.
    """
    registry, faults = _gathered(home, _files(home), modalities)
    toml.refuse(faults)
    return registry


def load_usable(home: Path, *, modalities: Collection[Modality] | None = None) -> Registry:
    """Return the same where some files are broken: a mistake in one of them stops no recording of another setup type.

    Nothing stands in for what a broken file describes: `find` refuses it. The files are read again only where one of
    them changed: a bulk ingest asks for every scan.
    """
    times = tuple((path, path.stat().st_mtime_ns) for path in files_of(home) if path.exists())
    return _usable(home, times, None if modalities is None else tuple(modalities))


@lru_cache(maxsize=4)
def _usable(home: Path, times: tuple[tuple[Path, int], ...], modalities: tuple[Modality, ...] | None) -> Registry:
    registry, faults = _gathered(home, _files(home), modalities)
    sound = {name: setup for name, setup in registry.setups.items() if not faults[setup.source]}
    broken = {path: _subject(path) for path, problems in faults.items() if problems and path.name != RIGS_FILE}
    return replace(registry, setups=sound, broken=broken)


def _subject(path: Path) -> str | None:
    """Return the setup type that a broken file is about, as far as it can be read."""
    name = toml.content(path)[0].get("name")
    return name if isinstance(name, str) else None


def files_of(home: Path) -> list[Path]:
    """Return the files of a lab home that say what is a setup type or a rig there, with their folder."""
    folder = home / FOLDER
    return [home / RIGS_FILE, folder, *sorted(folder.glob("*.toml"))]


def check(file: Path, home: Path | None = None, *, modalities: Collection[Modality] | None = None) -> list[Problem]:
    """Return everything that is wrong with one file, as if it lay in the lab home.

    Parameters
    ----------
    file
        Of a setup type; or one called `rigs.toml`.
    """
    if file.name == RIGS_FILE:
        return _read_rigs(file)[1]
    others = [path for path in _files(home) if not _is_same(path, file)]
    return _gathered(home, [*others, file], modalities)[1][file]


def _is_same(path: Path, file: Path) -> bool:
    return path.resolve() == file.resolve()


def _files(home: Path | None) -> list[Path]:
    """Return the files of setup types in the order in which they count, those of the lab last."""
    folders = [SHIPPED, *([home / FOLDER] if home else [])]
    found = (sorted(folder.glob("*.toml"), key=lambda path: natural_order(path.name)) for folder in folders)
    return [path for paths in found for path in paths if not path.name.startswith(".")]  # ._x.toml of a Mac


def _gathered(
    home: Path | None, files: Iterable[Path], modalities: Collection[Modality] | None
) -> tuple[Registry, dict[Path, list[Problem]]]:
    """Return the registry that files make, and what is wrong with each of them."""
    faults: dict[Path, list[Problem]] = {}
    rigs: dict[str, Rig] = {}
    for path in (SHIPPED.with_name(RIGS_FILE), *([home / RIGS_FILE] if home else [])):
        if path.exists():
            found, faults[path] = _read_rigs(path)
            rigs |= found
    setups: dict[str, SetupType] = {}
    for path in files:
        setup, faults[path] = toml.read_as(SetupType, path)
        if setup:
            faults[path] += [*_misfits(setup, rigs, modalities), *_claims(setup, setups)]
            before = setups.pop(setup.name, None)
            setups[setup.name] = replace(setup, source=path, replaces=before.source if before else None)
    return Registry(setups, rigs), faults


def _read_rigs(path: Path) -> tuple[dict[str, Rig], list[Problem]]:
    rigs: dict[str, Rig] = {}
    tables, problems = toml.content(path)
    for name, table in tables.items():
        if not isinstance(table, dict):
            problems.append(Problem("error", "This is no rig.", name, f'Write [{name}] and controller = "..." below.'))
            continue
        rig, found = toml.build(Rig, table, name, name=name)
        problems += found
        if rig:
            rigs[name] = rig
    return rigs, problems


def _misfits(setup: SetupType, rigs: Collection[str], modalities: Collection[Modality] | None) -> Iterator[Problem]:
    """Yield what cannot be, although each key by itself has a fitting value."""
    for number, expected in enumerate(setup.expected, 1):
        if expected.most is not None and expected.most < expected.least:
            what = f"At most {expected.most} and at least {expected.least} cannot be."
            yield Problem("error", what, f"expected {number}, most", "Mend one of the two.")
    for name in setup.rigs:
        if name not in rigs:
            yield Problem(
                "error", f"There is no rig {name!r}.", "rigs", f"{nearest(name, rigs)} They stand in {RIGS_FILE}."
            )
    if modalities is not None:
        yield from _of_modalities(setup, modalities)
    yield from _of_sources(setup)
    yield from misfits(setup.channel, setup.clock, setup.sources, setup.align, setup.wheel, setup.harp)
    for spelling in setup.spellings:
        if not fold(spelling):
            yield Problem("error", f"{spelling!r} is no spelling.", "spellings", "It takes letters or digits.")
    if not setup.verified and not setup.missing:
        yield Problem("error", "What is not verified must say what is missing.", "missing", "It takes a list of texts.")
    if setup.verified and setup.missing:
        yield Problem(
            "error", "What is missing cannot be verified.", "missing", "Leave it out, or set verified = false."
        )


def _of_modalities(setup: SetupType, modalities: Collection[Modality]) -> Iterator[Problem]:
    """Yield what no modality knows: their names, their readers, and what these take."""
    names = [modality.name for modality in modalities if modality.looks_at_folders]
    for name in setup.modalities:
        if name not in names:
            yield Problem("error", f"There is no modality {name!r}.", "modalities", nearest(name, names))
    parsers = {name: parser for modality in modalities for name, parser in modality.parsers.items()}
    for number, expected in enumerate(setup.expected, 1):
        at = f"expected {number}"
        parser = parsers.get(expected.parser, Parser())
        if expected.parser and expected.parser not in parsers:
            known = f"{nearest(expected.parser, parsers)} There are {', '.join(parsers)}.".strip()
            yield Problem("error", f"There is no reader {expected.parser!r}.", f"{at}, parser", known)
            continue
        if parser.is_one_of_many and not expected.source:
            what = f"{expected.parser} may read several sources, and this one has no name."
            yield Problem("error", what, f"{at}, source", "Name it, such as camera_top.")
        for key in _SAID_ALIKE:
            if getattr(expected, key) and key not in parser.keys:
                what = f"Files of {expected.parser or 'no reader'} have none."
                takers = [name for name, other in parsers.items() if key in other.keys]
                yield Problem("error", what, f"{at}, {key}", f"It is for {' or '.join(takers)}.")
    used = [parsers[name].table for name in setup.sources.values() if name in parsers]
    for table in {parser.table for parser in parsers.values() if parser.table and parser.table not in used}:
        if getattr(setup, table) is not None:
            readers = [name for name, parser in parsers.items() if parser.table == table]
            what = "No reader takes the files that it is about."
            yield Problem("error", what, table, f"Give parser = {' or '.join(map(repr, readers))} to them.")


def _of_sources(setup: SetupType) -> Iterator[Problem]:
    readers: dict[str, str] = {}
    said: dict[str, Expected] = {}
    for number, expected in enumerate(setup.expected, 1):
        if expected.source and not expected.parser:
            what = "No reader finds events in these files."
            yield Problem("error", what, f"expected {number}, source", "Name a parser, or leave it out.")
        elif readers.setdefault(expected.told_by, expected.parser) != expected.parser:
            what = f"{expected.told_by} is read by {readers[expected.told_by]} already."
            yield Problem("error", what, f"expected {number}, source", "Give it a name of its own.")
        if expected.stamped_by and expected.stamped_by not in setup.sources:
            what = f"No files are of a source {expected.stamped_by}."
            yield Problem("error", what, f"expected {number}, stamped_by", nearest(expected.stamped_by, setup.sources))
        first = said.setdefault(expected.told_by, expected)
        for key in _SAID_ALIKE if expected.told_by else ():
            if getattr(expected, key) != getattr(first, key):
                what = f"Other files of {expected.told_by} say otherwise."
                yield Problem("error", what, f"expected {number}, {key}", "Say it alike.")


def _claims(setup: SetupType, others: Mapping[str, SetupType]) -> Iterator[Problem]:
    """Yield the spellings of a setup type that belong to another one, or the name itself where a lab's has it twice."""
    for other in others.values():
        if other.name == setup.name:
            if other.source.parent != SHIPPED:
                what = f"{other.source.name} describes {setup.name}, too."
                yield Problem("error", what, "name", "Keep one of the two files.")
            continue
        taken = {fold(spelling) for spelling in other.known_as}
        for spelling in setup.known_as:
            if fold(spelling) in taken:
                key = "name" if spelling == setup.name else "spellings"
                what = f"{spelling!r} is a spelling of {other.name} already ({other.source.name})."
                hint = f"Give it to one of them; a file with name = {other.name!r} would take its place."
                yield Problem("error", what, key, hint)
