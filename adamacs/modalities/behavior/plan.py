"""Plan the behaviour of a scan folder: which of its files are whose, and on which clock. Nothing is written."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from adamacs.core import clocks, setups
from adamacs.core.errors import AdamacsError
from adamacs.core.modality import Contribution, Problem, RawFile, Recording, Row
from adamacs.core.settings import Settings
from adamacs.core.setups import SetupType
from adamacs.modalities.behavior.importers import wiring_of
from adamacs.modalities.behavior.reader.bpod import read_bpod
from adamacs.modalities.behavior.reader.wavesurfer import read_wavesurfer


@dataclass(frozen=True)
class _Look:
    """What a file of a source says of itself."""

    start: datetime | None  # naive UTC
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
    setup_type = recording.chosen.get("setup_type", "")
    if not setup_type:
        return Contribution()
    setup = setups.load_usable(settings.home).find(setup_type, recording.place)
    looks: dict[str, _Look] = {}
    problems: list[Problem] = []
    files: dict[str, int] = {}
    for name, source in _SOURCES.items():
        found = [(n, file) for n, file in enumerate(recording.files, 1) if file.path.lower().endswith(source.ending)]
        if not found:
            continue
        if problem := _not_one_of_it(found, name, source, setup, recording):
            problems.append(problem)
            continue
        ((files[name], file),) = found
        try:
            looks[name] = source.look(settings.locate(file.path), file, setup, settings)
        except AdamacsError as error:
            problems.append(Problem("error", error.what, file.path, error.hint or ""))
        else:
            problems += looks[name].problems
    rows = tuple(_rows(recording, setup, looks, files))
    summary = "; ".join(look.summary for look in looks.values())
    return Contribution(rows, tuple(problems), summary)


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
        clock = {"clock": source.clock, "zero": source.zero, "clock_start": look.start}
        yield Row("clock.Clock", {**key, **clock, "is_scan_time": source.clock == scan_time})
    about = {"recording_start_time": times[scan_time].start, "recording_duration": times[scan_time].seconds}
    yield Row("event.BehaviorRecording", {**key, **about})
    for name in looks:
        yield Row("event.BehaviorRecording.Source", {**key, "source": name, "clock": _SOURCES[name].clock})
        yield Row("event.BehaviorRecording.File", {**key, "source": name, "file_id": files[name]})


def _look_at_wavesurfer(path: Path, file: RawFile, setup: SetupType, settings: Settings) -> _Look:
    aux = read_wavesurfer(path)
    problems = wiring_of(aux, setup.name, settings).problems(file.path)
    seconds = aux.sweeps[0].samples / aux.sample_rate
    summary = f"WaveSurfer: {len(aux.lines)} lines, {len(aux.channels)} inputs, {seconds:.1f} s"
    start = clocks.from_local(aux.start, settings.zone) if aux.start is not None else None
    return _Look(start, seconds, summary, (*problems, *_warnings(aux.warnings, file)))


def _look_at_bpod(path: Path, file: RawFile, setup: SetupType, settings: Settings) -> _Look:
    session = read_bpod(path, zone=settings.zone)
    seconds = max((trial.stop for trial in session.trials if trial.stop == trial.stop), default=None)
    summary = f"Bpod: {len(session.trials)} trials{f' of {session.protocol}' if session.protocol else ''}"
    return _Look(session.start, seconds, summary, tuple(_warnings(session.warnings, file)))


def _warnings(texts: tuple[str, ...], file: RawFile) -> Iterator[Problem]:
    return (Problem("warning", text, file.path) for text in texts)


_SOURCES: Mapping[str, _Source] = {
    "wavesurfer": _Source(".h5", "aux", "start of the first auxiliary sweep", _look_at_wavesurfer),
    "bpod": _Source(".mat", "bpod", "when Bpod's state machine was switched on", _look_at_bpod),
}
