"""What the files of each source say of themselves, before anything is read of what happened."""

from __future__ import annotations

import math
from datetime import timedelta

from adamacs.core import clocks, setups
from adamacs.core.errors import ToolMissing
from adamacs.core.events import Look, SourceFiles
from adamacs.core.settings import Settings
from adamacs.modalities.behavior.importers.bonsai import DIALECTS
from adamacs.modalities.behavior.importers.frames import read_camera, read_sync
from adamacs.modalities.behavior.importers.wavesurfer import wiring_of
from adamacs.modalities.behavior.reader.bonsai import read_stimuli
from adamacs.modalities.behavior.reader.bpod import read_bpod
from adamacs.modalities.behavior.reader.motive import read_head
from adamacs.modalities.behavior.reader.sweeps import place_sweeps, said_of
from adamacs.modalities.behavior.reader.timestamps import BONSAI
from adamacs.modalities.behavior.reader.video import read_video
from adamacs.modalities.behavior.reader.wavesurfer import read_wavesurfer

_FIRST, _LAST = 1970, 2200  # years that a rig's clock may show


def look_at_wavesurfer(recorded: SourceFiles, settings: Settings) -> Look:
    """Look at an auxiliary recording; what is on which line must be as its setup type says."""
    (path,) = recorded.files
    aux = read_wavesurfer(path)
    sweeps = place_sweeps(aux)
    problems = tuple(wiring_of(aux, recorded.setup_type, settings).problems())
    seconds = sweeps[-1].stop
    summary = f"WaveSurfer: {len(aux.lines)} lines, {len(aux.channels)} inputs, {seconds:.1f} s"
    summary += f" in {len(sweeps)} sweeps" if len(sweeps) > 1 else ""
    start = zero = None
    if aux.start is not None and _FIRST <= aux.start.year <= _LAST:
        start = clocks.from_local(aux.start, settings.zone)
        zero = start + timedelta(seconds=aux.sweeps[sweeps[0].number].time or 0.0)
    return Look(summary, start, zero, seconds, (*said_of(aux, sweeps), *aux.warnings), problems)


def look_at_bpod(recorded: SourceFiles, settings: Settings) -> Look:
    """Look at a session that Bpod saved."""
    (path,) = recorded.files
    session = read_bpod(path, zone=settings.zone)
    stops = [trial.stop for trial in session.trials if not math.isnan(trial.stop)]
    seconds = max(stops) - session.trials[0].start if stops else None
    summary = f"Bpod: {len(session.trials)} trials{f' of {session.protocol}' if session.protocol else ''}"
    return Look(summary, session.start, None, seconds, session.warnings)


def look_at_bonsai(recorded: SourceFiles, settings: Settings) -> Look:
    """Look at a stimulus log."""
    (path,) = recorded.files
    log = read_stimuli(path, DIALECTS[_setup(recorded, settings).sources[recorded.source]])
    times = [row.time for row in log.rows]
    seconds = times[-1] - times[0] if times and log.clock != "none" else None
    kinds = len({row.stimulus for row in log.rows})
    summary = f"Bonsai: {len(times)} stimuli, {kinds} different"
    return Look(summary, log.start, log.start, seconds, log.warnings, has_clock=log.clock != "none")


def look_at_camera(recorded: SourceFiles, settings: Settings) -> Look:
    """Look at the table of a camera's frames."""
    (path,) = recorded.files
    found = read_camera(path, _setup(recorded, settings).expected_of(recorded.source))
    seconds = float(found.time[-1] - found.time[0])
    # A camera that counts ticks has a clock of its own: what the computer's clock showed then says nothing of its rate.
    zero = found.start if found.clock == BONSAI else None
    return Look(f"{recorded.source}: {len(found.time)} frames", found.start, zero, seconds, found.warnings)


def look_at_frame_sync(recorded: SourceFiles, settings: Settings) -> Look:
    """Look at HARP's table of frames."""
    (path,) = recorded.files
    found = read_sync(path, _setup(recorded, settings).expected_of(recorded.source))
    seconds = float(found.time[-1] - found.time[0])
    return Look(f"HARP: {len(found.time)} frames", found.start, found.start, seconds, found.warnings)


def look_at_take(recorded: SourceFiles, settings: Settings) -> Look:
    """Look at the head of the table that Motive exported of a take."""
    (path,) = recorded.files
    head = read_head(path)
    start = clocks.from_local(head.start, settings.zone) if head.start else None
    frames = "an open number of" if head.exported is None else head.exported
    seconds = head.exported / head.frame_rate if head.exported and head.frame_rate else None
    return Look(f"{recorded.source}: {frames} frames of OptiTrack", start, start, seconds, head.warnings)


def look_at_video(recorded: SourceFiles, settings: Settings) -> Look:
    """Look at what the index of a camera's video tells; without PyAV nothing is known of it, which is no fault."""
    try:
        videos = [read_video(path, count=False) for path in recorded.files]
    except ToolMissing as error:
        return Look(f"{recorded.source}: frames are not counted here ({error.hint})", has_clock=False)
    known = [video.frames for video in videos if video.frames is not None]
    told = f"{sum(known)} frames" if len(known) == len(videos) else "frames are still to be counted"
    return Look(f"{recorded.source}: {told}", has_clock=False)


def look_at_imu(recorded: SourceFiles, settings: Settings) -> Look:
    """Count the files of HARP's inertial sensors, which are read when they are imported."""
    count = len(recorded.files)
    return Look(f"HARP's inertial sensors: {count} file{'s' if count > 1 else ''}", has_clock=False)


def _setup(recorded: SourceFiles, settings: Settings) -> setups.SetupType:
    return setups.load_usable(settings.home).find(recorded.setup_type, recorded.files[0])
