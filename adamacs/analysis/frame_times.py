"""When the frames of a two-photon scan were taken, on scan time: the pulses of its frame clock, plane by plane."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from adamacs import pipeline
from adamacs.analysis.events import events_between, on_scan_time, one_scan
from adamacs.analysis.numerics.timeline import GAP, Floats
from adamacs.core import settings, setup_wiring, setups, streams
from adamacs.core.clocks import counters
from adamacs.core.errors import UnusableClock, describe
from adamacs.core.events import Stretch

FRAMES, VOLUMES = "two_photon_frames", "two_photon_volumes"  # the channels, as every setup type calls them
SPARE = 5  # time points behind the last that are left aside: what was begun when the acquisition was stopped


def frame_times(key: Mapping[str, Any], plane: int, count: int) -> Floats:
    """Return when the frames of a plane began.

    Every frame that the scanner draws gives a pulse of the frame clock, in order; the two begin together. From one time
    point of a plane to the next these are as many as the header tells (`ScanInfo.scanner_frames`): the planes in turn,
    frames that are averaged, and those in which the focus flies back. Where a volume clock is stored, each volume is
    counted from its pulse on. Of averaged or repeated frames the first tells the time.

    Pulses of up to `SPARE` time points may be left over at the end, because an acquisition that is stopped has begun
    others, and then no pulse may be missing before; nothing else may differ, for nobody could tell which pulse belongs
    to which frame.

    A scan beside which nothing was recorded has no pulses and needs none: its scan time begins with the first frame
    (the clock `frames`, or none).

    Parameters
    ----------
    key
        Of one scan.
    plane
        Index of the plane within a volume; 0 where there is one.
    count
        How many frames of it there are.

    Returns
    -------
    s of scan time, float64 (count,).

    Raises
    ------
    InvalidKey
        No scan, or more than one, has this key.
    UnusableClock
        There are no pulses on scan time, or not as many as frames; or planes were drawn one after the other.
    """
    scan = one_scan(key)
    info = (pipeline.imaging.ScanInfo & scan).fetch1()
    together, averaged = int(info["scanner_frames"]), int(info["log_averaging"])
    if info["ndepths"] * averaged > together:
        raise UnusableClock(
            "It is a slow stack, whose planes were drawn one after the other: that is not followed.", scan
        )
    first = plane * averaged
    if set((pipeline.clock.Clock & scan & {"is_scan_time": True}).to_arrays("clock")) <= {setup_wiring.FRAMES}:
        return np.asarray((np.arange(count) + first / together) / info["fps"])
    frames = _train(scan, FRAMES)
    if frames is None:
        what = "No pulses of its two-photon frames are stored: when they were taken is not known."
        why = describe({"scan_id": scan["scan_id"]})
        raise UnusableClock(what, scan, f"`adamacs why event.EventImport {why}` tells whether they are yet to be read.")
    volumes = _train(scan, VOLUMES) if info["ndepths"] > 1 else None
    if volumes is None:
        return _required(frames[first::together], count, scan)
    return _required(_of_volumes(frames, volumes, first, int(info["ndepths"]) * averaged, scan), count, scan)


def _train(scan: Mapping[str, Any], channel: str) -> Floats | None:
    """Return the pulses of a channel of the scan's setup type, s of scan time; None where none are stored."""
    (name,) = (pipeline.scan.ScanSetup & scan).to_arrays("setup_type").tolist() or [""]
    if not name:
        return None
    setup = setups.load_usable(settings.active().home).find(name, scan)
    kinds = [{"event_type": one.event_type} for one in setup.channel if one.name == channel and one.event]
    stored = (pipeline.event.EventImport.EventSeries & scan & kinds).to_arrays("event_type") if kinds else []
    if not len(stored):
        return None
    return np.asarray(events_between(scan, event_types=[str(stored[0])])["start"], np.float64)


def _of_volumes(frames: Floats, volumes: Floats, first: int, least: int, scan: Mapping[str, Any]) -> Floats:
    """Return the pulse `first` of each volume; all but the last must have `least` or more."""
    half = float(np.median(np.diff(frames))) / 2 if len(frames) > 1 else 0.0
    begins = np.searchsorted(frames, volumes - half)
    pulses = np.diff(np.append(begins, len(frames)))
    if (pulses[:-1] < least).any():
        which = int(np.argmax(pulses < least))
        what = f"Volume {which + 1} has {pulses[which]} pulses of the frame clock, and must have {least}."
        raise UnusableClock(what, scan, "Pulses are missing, or another line was taken for one of the two clocks.")
    return np.asarray(frames[begins[pulses >= least] + first])


def _required(found: Floats, count: int, scan: Mapping[str, Any]) -> Floats:
    spare = len(found) - count
    if spare == 0 or (0 < spare <= SPARE and not _has_gap(found)):
        return found[:count]
    what = f"Its frame clock tells {len(found)} frames, and {count} are stored: which is which is not known."
    hint = f"Up to {SPARE} pulses may be left over at the end, where none is missing before. Was it focused meanwhile?"
    within, between = streams.parted(counters.find_gaps(found), _ran(scan))
    if spare < 0 and between:
        hint = "The recording of the pulses was interrupted: nobody saw which frames were taken meanwhile."
    elif spare < 0 and sum(gap.missing for gap in within) == -spare:
        hint = (
            f"Gaps between the pulses have room for just these. `gap = 1.5` of the channel {FRAMES}, in the file of "
            "the setup type, fills them in and keeps a record; then remove the scan and ingest it again."
        )
    raise UnusableClock(what, scan, hint)


def _ran(scan: Mapping[str, Any]) -> tuple[Stretch, ...]:
    """Return when pulses were recorded, s of scan time."""
    event = pipeline.event
    rows = (event.EventImport.Stretch * event.BehaviorRecording.Source & scan).to_dicts(order_by="stretch_start")
    ends = (on_scan_time(scan, row["clock"], [row["stretch_start"], row["stretch_stop"]]) for row in rows)
    return tuple(Stretch(float(start), float(stop)) for start, stop in ends)


def _has_gap(times: Floats) -> bool:
    """Whether a pulse may be missing: one that is, and one left over, would together pass for none."""
    steps = np.diff(times)
    return bool((steps > GAP * np.median(steps)).any()) if len(steps) else False
