"""Plan the behaviour of a scan folder: which of its files are whose, and on which clock. Nothing is written."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from adamacs.core import clocks, setups
from adamacs.core.errors import AdamacsError, UnknownSetup, UnreadableFile
from adamacs.core.modality import Contribution, Problem, RawFile, Recording, Row
from adamacs.core.settings import Settings
from adamacs.core.setups import SetupType
from adamacs.modalities.behavior.importers.wavesurfer import wiring_of
from adamacs.modalities.behavior.reader.bpod import read_bpod
from adamacs.modalities.behavior.reader.wavesurfer import read_wavesurfer

_FIRST, _LAST = 1970, 2200  # years that a rig's clock may show


@dataclass(frozen=True)
class _Look:
    """What a file of a source says of itself."""

    start: datetime | None  # naive UTC
    zero: datetime | None  # naive UTC, when its clock was zero
    seconds: float | None
    summary: str
    problems: tuple[Problem, ...]


@dataclass(frozen=True)
class _Source:
    """A program that leaves one file in a scan folder."""

    ending: str
    clock: str
    zero: str
    look: Callable[[Path, RawFile, SetupType, Settings], _Look]


def plan_scan(recording: Recording, settings: Settings) -> Contribution:
    """Plan what was recorded beside a scan; what is on which line must be as its setup type says."""
    files = [(number, file) for number, file in enumerate(recording.files, 1) if _is_on_top(file, recording)]
    endings = tuple(source.ending for source in _SOURCES.values())
    if not any(file.path.lower().endswith(endings) for _, file in files):
        return Contribution()
    try:
        setup = setups.load_usable(settings.home).find(recording.chosen.get("setup_type", ""), recording.place)
    except UnknownSetup:  # which is told where the folder is validated
        return Contribution()
    looks: dict[str, _Look] = {}
    problems: list[Problem] = []
    own: dict[str, int] = {}
    for name, source in _SOURCES.items():
        found = [(number, file) for number, file in files if file.path.lower().endswith(source.ending)]
        if not found:
            continue
        if problem := _not_one_of_it(found, name, source, setup, recording):
            problems.append(problem)
            continue
        ((own[name], file),) = found
        try:
            looks[name] = source.look(settings.locate(file.path), file, setup, settings)
        except AdamacsError as error:
            problems.append(Problem("error", error.what, file.path, error.hint or ""))
        else:
            problems += looks[name].problems
    rows = tuple(_rows(recording, setup, looks, own))
    summary = "; ".join(look.summary for look in looks.values())
    return Contribution(rows, tuple(problems), summary)


def _is_on_top(file: RawFile, recording: Recording) -> bool:
    """Whether a file lies directly in the scan's folder; below it are results of tools, which have the same endings."""
    return "/" not in file.path.removeprefix(f"{recording.place}/")


def _not_one_of_it(
    found: list[tuple[int, RawFile]], name: str, source: _Source, setup: SetupType, recording: Recording
) -> Problem | None:
    if name not in setup.parsers:
        what = f"{setup.name} has no files *{source.ending} of {name}: {found[0][1].path} is not looked at."
        hint = "Name the reader under `parsers` in the setup type's file."
        return Problem("warning", what, recording.place, hint)
    if len(found) > 1:
        what = f"{len(found)} files *{source.ending} are here, and {name} leaves one."
        return Problem("error", what, recording.place, "Keep the one of the rig.")
    return None


def _rows(
    recording: Recording, setup: SetupType, looks: Mapping[str, _Look], files: Mapping[str, int]
) -> Iterator[Row]:
    if not looks:
        return
    key = {"session_id": recording.folder.session_id, "scan_id": str(recording.folder.scan_id)}
    times = {_SOURCES[name].clock: look for name, look in looks.items()}
    scan_time = next((c for c in (setup.clock.stream, setup.clock.otherwise) if c in times), next(iter(times)))
    for name, look in looks.items():
        source = _SOURCES[name]
        clock = {"clock": source.clock, "zero": source.zero, "clock_start": look.zero}
        which = {"is_scan_time": source.clock == scan_time, "is_placed": bool(setup.align)}
        yield Row("clock.Clock", {**key, **clock, **which}, ("is_placed",))
    about = {"recording_start_time": times[scan_time].start, "recording_duration": times[scan_time].seconds}
    yield Row("event.BehaviorRecording", {**key, **about})
    for name in looks:
        yield Row("event.BehaviorRecording.Source", {**key, "source": name, "clock": _SOURCES[name].clock})
        yield Row("event.BehaviorRecording.File", {**key, "source": name, "file_id": files[name]})


def _look_at_wavesurfer(path: Path, file: RawFile, setup: SetupType, settings: Settings) -> _Look:
    aux = read_wavesurfer(path)
    sweep = aux.sweeps[0]
    if not sweep.samples:
        raise UnreadableFile("The first sweep holds no sample.", path, "Was the recording stopped at once?")
    problems = wiring_of(aux, setup.name, settings).problems(file.path)
    seconds = sweep.samples / aux.sample_rate
    summary = f"WaveSurfer: {len(aux.lines)} lines, {len(aux.channels)} inputs, {seconds:.1f} s"
    start = zero = None
    if aux.start is not None and _FIRST <= aux.start.year <= _LAST:
        start = clocks.from_local(aux.start, settings.zone)
        zero = start + timedelta(seconds=sweep.time or 0.0)
    return _Look(start, zero, seconds, summary, (*problems, *_warnings(aux.warnings, file)))


def _look_at_bpod(path: Path, file: RawFile, setup: SetupType, settings: Settings) -> _Look:
    session = read_bpod(path, zone=settings.zone)
    stops = [trial.stop for trial in session.trials if not math.isnan(trial.stop)]
    seconds = max(stops) - session.trials[0].start if stops else None
    summary = f"Bpod: {len(session.trials)} trials{f' of {session.protocol}' if session.protocol else ''}"
    return _Look(session.start, None, seconds, summary, tuple(_warnings(session.warnings, file)))


def _warnings(texts: tuple[str, ...], file: RawFile) -> Iterator[Problem]:
    return (Problem("warning", text, file.path) for text in texts)


_SOURCES: Mapping[str, _Source] = {
    "wavesurfer": _Source(".h5", "aux", "start of the first auxiliary sweep", _look_at_wavesurfer),
    "bpod": _Source(".mat", "bpod", "when Bpod's state machine was switched on", _look_at_bpod),
}
