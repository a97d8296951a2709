"""Plan the behaviour of a scan folder: which of its files are whose, and on which clock. Nothing is written."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from adamacs.core import clocks, setups, streams
from adamacs.core.errors import AdamacsError, UnknownSetup
from adamacs.core.events import SourceFiles
from adamacs.core.modality import Contribution, Problem, RawFile, Recording, Row, named
from adamacs.core.promises import Promise
from adamacs.core.settings import Settings
from adamacs.core.setup_wiring import AUX
from adamacs.core.setups import SetupType, clock_of
from adamacs.modalities.behavior.importers import GLANCES, IMPORTERS
from adamacs.modalities.behavior.importers.bonsai import DIALECTS
from adamacs.modalities.behavior.importers.frames import read_camera, read_sync
from adamacs.modalities.behavior.importers.wavesurfer import wiring_of
from adamacs.modalities.behavior.reader.bonsai import read_stimuli
from adamacs.modalities.behavior.reader.bpod import read_bpod
from adamacs.modalities.behavior.reader.sweeps import place_sweeps, said_of
from adamacs.modalities.behavior.reader.timestamps import BONSAI
from adamacs.modalities.behavior.reader.wavesurfer import read_wavesurfer

_FIRST, _LAST = 1970, 2200  # years that a rig's clock may show
_OWN_ENDINGS = {".h5": "wavesurfer", ".mat": "bpod"}  # of files that no other program leaves in a scan's folder


@dataclass(frozen=True)
class _Look:
    """What the files of a source say of themselves.

    Attributes
    ----------
    start
        Naive UTC; None where no file tells.
    zero
        Naive UTC, when the clock of the source was zero.
    seconds
        How long it recorded.
    has_clock
        False where its files tell no times: its clock is then that of the auxiliary channels, which tell of the same,
        or where there are none its own.
    """

    summary: str
    start: datetime | None = None
    zero: datetime | None = None
    seconds: float | None = None
    warnings: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = ()
    has_clock: bool = True


@dataclass(frozen=True)
class _Parser:
    """How the files of a source are looked at, and when its clock is zero, in words."""

    look: Callable[[_Source], _Look]
    zero: str
    takes_many: bool = False


@dataclass(frozen=True)
class _Source:
    """A program or device that left files in a scan's folder."""

    name: str
    parser: str
    setup: SetupType
    settings: Settings
    files: Mapping[int, RawFile]  # by their number within the scan

    @property
    def places(self) -> list[str]:
        return [file.path for file in self.files.values()]

    @property
    def paths(self) -> list[Path]:
        return [self.settings.locate(place) for place in self.places]

    def look(self) -> _Look:
        return _PARSERS[self.parser].look(self)


def plan_scan(recording: Recording, settings: Settings) -> Contribution:
    """Plan what was recorded beside a scan; what is on which line must be as its setup type says."""
    try:
        setup = setups.load_usable(settings.home).find(recording.chosen.get("setup_type", ""), recording.place)
    except UnknownSetup:  # which is told where the folder is validated
        return Contribution()
    sources = list(_sources(recording, setup, settings))
    problems = [*_unread(recording, setup), *filter(None, map(_too_many, sources))]
    looks: dict[str, _Look] = {}
    for source in sources:
        if _too_many(source):
            continue
        try:
            looks[source.name] = look = source.look()
        except AdamacsError as error:
            problems.append(Problem("error", error.what, source.places[0], error.hint or ""))
        else:
            problems += [*look.problems, *(Problem("warning", text, source.places[0]) for text in look.warnings)]
    rows = tuple(_rows(recording, setup, [source for source in sources if source.name in looks], looks))
    return Contribution(rows, tuple(problems), "; ".join(look.summary for look in looks.values()))


def promise_scan(recording: Recording, settings: Settings) -> Contribution:
    """Return what the files of a scan promise of its streams: pulses on digital lines, and what other files count."""
    try:
        setup = setups.load_usable(settings.home).find(recording.chosen.get("setup_type", ""), recording.place)
    except UnknownSetup:
        return Contribution()
    told: list[Promise] = []
    problems: list[Problem] = []
    sources = {one.name: one for one in _sources(recording, setup, settings) if not _too_many(one)}
    readers = {source.name: source.parser for source in sources.values()}
    for source in (one for one in sources.values() if one.parser in IMPORTERS):
        try:
            files = SourceFiles(source.name, setup.name, tuple(source.paths))
            found = named(GLANCES[source.parser])(files, settings)
        except AdamacsError as error:
            problems.append(Problem("error", error.what, source.places[0], error.hint or ""))
        else:
            seen = streams.Source.of(found, source.name, source.parser, clock_of(source.name))
            told += seen.promises(setup, readers)
    return Contribution(problems=tuple(problems), promises=tuple(told))


def _sources(recording: Recording, setup: SetupType, settings: Settings) -> Iterator[_Source]:
    names = {file.path.removeprefix(f"{recording.place}/"): number for number, file in enumerate(recording.files, 1)}
    for source, files in setup.files_of(names).items():
        own = {names[name]: recording.files[names[name] - 1] for name in files}
        yield _Source(source, setup.sources[source], setup, settings, dict(sorted(own.items())))


def _unread(recording: Recording, setup: SetupType) -> Iterator[Problem]:
    """Yield files of a program that the setup type does not know; in folders below are results of tools.

    The setup type may be the wrong one, and what is ingested without such a file has its clocks without it: a person
    decides.
    """
    for ending, parser in _OWN_ENDINGS.items():
        if parser in setup.sources.values():
            continue
        for file in recording.files:
            if file.path.lower().endswith(ending) and "/" not in file.path.removeprefix(f"{recording.place}/"):
                what = f"{setup.name} has no files *{ending} of {parser}: {file.path} is not looked at."
                hint = (
                    "Was it recorded on another setup type? Answer setup_type with --answers; or give "
                    f'`parser = "{parser}"` to such files in the setup type\'s file.'
                )
                yield Problem("question", what, recording.place, hint)
                break


def _too_many(source: _Source) -> Problem | None:
    if len(source.files) == 1 or _PARSERS[source.parser].takes_many:
        return None
    listed = ", ".join(place.rpartition("/")[2] for place in source.places)
    what = f"{len(source.files)} files are here ({listed}), and {source.name} leaves one."
    return Problem("error", what, source.places[0].rpartition("/")[0], "Keep the one of the rig.")


def _rows(
    recording: Recording, setup: SetupType, sources: Sequence[_Source], looks: Mapping[str, _Look]
) -> Iterator[Row]:
    if not sources:
        return
    key = {"session_id": recording.folder.session_id, "scan_id": str(recording.folder.scan_id)}
    scan_time = setup.scan_time(looks)
    has_aux = any(clock_of(source) == AUX for source in looks)
    clocks = {name: clock_of(name) if look.has_clock or not has_aux else AUX for name, look in looks.items()}
    for source in (source for source in sources if clocks[source.name] == clock_of(source.name)):
        clock, look = clocks[source.name], looks[source.name]
        is_scan_time = clock == scan_time
        placed_by = "" if is_scan_time else setup.placed_by(source.name)
        about = {"clock": clock, "zero": _PARSERS[source.parser].zero, "clock_start": look.zero}
        which = {"is_scan_time": is_scan_time, "placed_by": placed_by}
        yield Row("clock.Clock", {**key, **about, **which}, ("placed_by",))
    yield Row("event.BehaviorRecording", {**key, **_span(scan_time, looks)})
    for source in sources:
        about = {"source": source.name, "clock": clocks[source.name], "parser": source.parser}
        yield Row("event.BehaviorRecording.Source", {**key, **about})
        if source.parser in IMPORTERS:
            yield Row("sync.Teller", {**key, "teller": source.name})
        for number in source.files:
            yield Row("event.BehaviorRecording.File", {**key, "source": source.name, "file_id": number})


def _span(scan_time: str, looks: Mapping[str, _Look]) -> dict[str, datetime | float | None]:
    """Return when the recording started and how long it took, by the source whose clock is scan time."""
    look = next((look for source, look in looks.items() if clock_of(source) == scan_time), None)
    start = look.start if look else min((look.start for look in looks.values() if look.start), default=None)
    return {"recording_start_time": start, "recording_duration": look.seconds if look else None}


def _look_at_wavesurfer(source: _Source) -> _Look:
    (path,), settings = source.paths, source.settings
    aux = read_wavesurfer(path)
    sweeps = place_sweeps(aux)
    problems = tuple(wiring_of(aux, source.setup.name, settings).problems(source.places[0]))
    seconds = sweeps[-1].stop
    summary = f"WaveSurfer: {len(aux.lines)} lines, {len(aux.channels)} inputs, {seconds:.1f} s"
    summary += f" in {len(sweeps)} sweeps" if len(sweeps) > 1 else ""
    start = zero = None
    if aux.start is not None and _FIRST <= aux.start.year <= _LAST:
        start = clocks.from_local(aux.start, settings.zone)
        zero = start + timedelta(seconds=aux.sweeps[sweeps[0].number].time or 0.0)
    return _Look(summary, start, zero, seconds, (*said_of(aux, sweeps), *aux.warnings), problems)


def _look_at_bpod(source: _Source) -> _Look:
    (path,) = source.paths
    session = read_bpod(path, zone=source.settings.zone)
    stops = [trial.stop for trial in session.trials if not math.isnan(trial.stop)]
    seconds = max(stops) - session.trials[0].start if stops else None
    summary = f"Bpod: {len(session.trials)} trials{f' of {session.protocol}' if session.protocol else ''}"
    return _Look(summary, session.start, None, seconds, session.warnings)


def _look_at_bonsai(source: _Source) -> _Look:
    (path,) = source.paths
    log = read_stimuli(path, DIALECTS[source.parser])
    times = [row.time for row in log.rows]
    seconds = times[-1] - times[0] if times and log.clock != "none" else None
    kinds = len({row.stimulus for row in log.rows})
    summary = f"Bonsai: {len(times)} stimuli, {kinds} different"
    return _Look(summary, log.start, log.start, seconds, log.warnings, has_clock=log.clock != "none")


def _look_at_camera(source: _Source) -> _Look:
    (path,) = source.paths
    found = read_camera(path, source.setup.expected_of(source.name))
    seconds = float(found.time[-1] - found.time[0])
    # A camera that counts ticks has a clock of its own: what the computer's clock showed then says nothing of its rate.
    zero = found.start if found.clock == BONSAI else None
    return _Look(f"{source.name}: {len(found.time)} frames", found.start, zero, seconds, found.warnings)


def _look_at_frame_sync(source: _Source) -> _Look:
    (path,) = source.paths
    found = read_sync(path, source.setup.expected_of(source.name))
    seconds = float(found.time[-1] - found.time[0])
    return _Look(f"HARP: {len(found.time)} frames", found.start, found.start, seconds, found.warnings)


def _look_at_imu(source: _Source) -> _Look:
    count = len(source.files)
    return _Look(f"HARP's inertial sensors: {count} file{'s' if count > 1 else ''}", has_clock=False)


_FIRST_STAMP = "first time stamp of its file"
_PARSERS: Mapping[str, _Parser] = {
    "wavesurfer": _Parser(_look_at_wavesurfer, "start of the first auxiliary sweep"),
    "bpod": _Parser(_look_at_bpod, "when Bpod's state machine was switched on"),
    **dict.fromkeys(DIALECTS, _Parser(_look_at_bonsai, _FIRST_STAMP)),
    "camera": _Parser(_look_at_camera, _FIRST_STAMP),
    "harp_frames": _Parser(_look_at_frame_sync, _FIRST_STAMP),
    "harp_imu": _Parser(_look_at_imu, "first sample", takes_many=True),
}
