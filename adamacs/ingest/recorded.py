"""What was recorded beside the frames of a scan: which files are whose, and on which clock. Nothing is written.

Modalities declare the readers (`adamacs.core.modality.Parser`), the setup type which files each is given; who reads
them makes no difference here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from adamacs import pipeline
from adamacs.core import streams
from adamacs.core.errors import AdamacsError
from adamacs.core.events import Look, SourceFiles
from adamacs.core.modality import Contribution, Parser, Problem, RawFile, Recording, Row, named
from adamacs.core.promises import Promise
from adamacs.core.settings import Settings
from adamacs.core.setup_wiring import AUX
from adamacs.core.setups import SetupType


@dataclass(frozen=True)
class _Source:
    """A program or device that left files in a scan's folder."""

    name: str
    reader: str
    parser: Parser
    recorded: SourceFiles
    files: Mapping[int, RawFile]  # by their number within the scan

    @property
    def places(self) -> list[str]:
        return [file.path for file in self.files.values()]

    @property
    def is_too_many(self) -> bool:
        return len(self.files) > 1 and not self.parser.takes_many


def plan(recording: Recording, setup: SetupType, settings: Settings) -> Contribution:
    """Plan what was recorded beside a scan; what its readers find wrong with files refuses it."""
    sources = list(_sources(recording, setup, settings))
    problems = list(_unread(recording, setup))
    looks: dict[str, Look] = {}
    for source in sources:
        if source.is_too_many:
            problems.append(_too_many(source))
            continue
        try:
            looks[source.name] = look = named(source.parser.look)(source.recorded, settings)
        except AdamacsError as error:
            problems.append(Problem("error", error.what, source.places[0], error.hint or ""))
        else:
            odd = (Problem("warning", text) for text in look.warnings)
            problems += [replace(one, where=one.where or source.places[0]) for one in (*look.problems, *odd)]
    rows = tuple(_rows(recording, setup, [source for source in sources if source.name in looks], looks))
    return Contribution(rows, tuple(problems), "; ".join(look.summary for look in looks.values()))


def promise(recording: Recording, setup: SetupType, settings: Settings) -> Contribution:
    """Return what the files promise of the scan's streams: pulses on digital lines, and what other files count.

    Of an hour of auxiliary channels, that takes about a second.
    """
    told: list[Promise] = []
    problems: list[Problem] = []
    sources = {one.name: one for one in _sources(recording, setup, settings) if not one.is_too_many}
    for source in sources.values():
        try:
            found = named(source.parser.glance or source.parser.events)(source.recorded, settings)
        except AdamacsError as error:
            problems.append(Problem("error", error.what, source.places[0], error.hint or ""))
        else:
            told += streams.Source.of(found, source.name, source.name).promises(setup, sources, source.parser.counts)
    return Contribution(problems=tuple(problems), promises=tuple(told))


def _sources(recording: Recording, setup: SetupType, settings: Settings) -> Iterator[_Source]:
    parsers = _parsers(setup)
    names = {file.path.removeprefix(f"{recording.place}/"): number for number, file in enumerate(recording.files, 1)}
    for source, found in setup.files_of(names).items():
        reader = setup.sources[source]
        files = {number: recording.files[number - 1] for number in sorted(names[name] for name in found)}
        recorded = SourceFiles(source, setup.name, tuple(settings.locate(file.path) for file in files.values()))
        if reader in parsers:
            yield _Source(source, reader, parsers[reader], recorded, files)


def _parsers(setup: SetupType) -> dict[str, Parser]:
    """Return the readers of the modalities that a setup type names, or of all where it names none."""
    wanted = (one for one in pipeline.modalities() if not setup.modalities or one.name in setup.modalities)
    return {name: parser for modality in wanted for name, parser in modality.parsers.items()}


def _unread(recording: Recording, setup: SetupType) -> Iterator[Problem]:
    """Yield files of a program that the setup type does not know; in folders below are results of tools.

    The setup type may be the wrong one, and what is ingested without such a file has its clocks without it: a person
    decides.
    """
    endings = {ending: reader for reader, parser in _parsers(setup).items() for ending in parser.endings}
    for ending, reader in endings.items():
        if reader in setup.sources.values():
            continue
        for file in recording.files:
            if file.path.lower().endswith(ending) and "/" not in file.path.removeprefix(f"{recording.place}/"):
                what = f"{setup.name} has no files *{ending} of {reader}: {file.path} is not looked at."
                hint = (
                    "Was it recorded on another setup type? Answer setup_type with --answers; or give "
                    f'`parser = "{reader}"` to such files in the setup type\'s file.'
                )
                yield Problem("question", what, recording.place, hint)
                break


def _too_many(source: _Source) -> Problem:
    listed = ", ".join(place.rpartition("/")[2] for place in source.places)
    what = f"{len(source.files)} files are here ({listed}), and {source.name} leaves one."
    return Problem("error", what, source.places[0].rpartition("/")[0], "Keep the one of the rig.")


def _rows(
    recording: Recording, setup: SetupType, sources: Sequence[_Source], looks: Mapping[str, Look]
) -> Iterator[Row]:
    if not sources:
        return
    key = {"session_id": recording.folder.session_id, "scan_id": str(recording.folder.scan_id)}
    scan_time = setup.scan_time(looks)
    clocks = {name: name if look.has_clock or AUX not in looks else AUX for name, look in looks.items()}
    for source in (source for source in sources if clocks[source.name] == source.name):
        is_scan_time = source.name == scan_time
        placed_by = "" if is_scan_time else setup.placed_by(source.name)
        about = {"clock": source.name, "zero": source.parser.zero, "clock_start": looks[source.name].zero}
        which = {"is_scan_time": is_scan_time, "placed_by": placed_by}
        yield Row("clock.Clock", {**key, **about, **which}, ("placed_by",))
    yield Row("event.BehaviorRecording", {**key, **_span(scan_time, looks)})
    for source in sources:
        about = {"source": source.name, "clock": clocks[source.name], "parser": source.reader}
        yield Row("event.BehaviorRecording.Source", {**key, **about})
        yield Row("sync.Teller", {**key, "teller": source.name})
        for number in source.files:
            yield Row("event.BehaviorRecording.File", {**key, "source": source.name, "file_id": number})


def _span(scan_time: str, looks: Mapping[str, Look]) -> dict[str, datetime | float | None]:
    """Return when the recording started and how long it took, by the source whose clock is scan time."""
    look = looks.get(scan_time)
    start = look.start if look else min((look.start for look in looks.values() if look.start), default=None)
    return {"recording_start_time": start, "recording_duration": look.seconds if look else None}
