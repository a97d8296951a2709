"""Stimuli of a scan on scan time: when each was on, and what it was.

>>> from adamacs.analysis.stimuli import stimuli                                    # doctest: +SKIP
>>> stimuli(key).query("stimulus_type == 'Grating' and orientation == 90")["onset"]  # doctest: +SKIP
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from adamacs import pipeline
from adamacs.analysis.events import on_scan_time, one_scan
from adamacs.core.errors import InvalidKey, describe, nearest

if TYPE_CHECKING:
    import pandas as pd

Row = Mapping[str, Any]

_NAMES: Final = ("stimulus_type", "stimulus_class")
_NUMBERS: Final = (
    *("azimuth", "elevation", "stimulus_size", "orientation", "spatial_frequency", "temporal_frequency"),
)
COLUMNS: Final = (
    *("onset", "offset", "label", *_NAMES, *_NUMBERS),
    *("pass_number", "presentation_id", "stimulus_id", "level_agrees"),
)


def stimuli(key: Mapping[str, Any], channel: str | None = None) -> pd.DataFrame:
    """Return every stimulus of a scan that an event shows, in order of time.

    Parameters
    ----------
    key
        Of one scan, such as `{"scan_id": ...}`.
    channel
        The channel whose events are taken; by default the voltage that Bonsai sets, where the scan has one.

    Returns
    -------
    One row per presentation: `onset` and `offset` (s of scan time; the offset is NaN where it has no end), `label` (in
    words what tells it from the other stimuli of the scan, such as conditions of an average need), the columns of
    `behavior.StimulusLog.Stimulus` (deg, cycles/deg, Hz; NaN where it has none), `pass_number` (which pass through all
    stimuli, 0 for none), `presentation_id`, `stimulus_id`, and `level_agrees` (None where voltages tell nothing).

    Raises
    ------
    InvalidKey
        No scan, or more than one, has this key; or no channel of it, or not this one, is known to show stimuli (yet).
    UnusableClock
        The channel's clock is not placed on scan time.
    """
    import pandas as pd

    onsets = _onsets(one_scan(key), channel)
    frame = pd.DataFrame(_rows(onsets), columns=COLUMNS)
    source = {name: onsets[name] for name in ("session_id", "scan_id")} | {"source": onsets["shown_source"]}
    clock = (pipeline.event.BehaviorRecording.Source & source).fetch1("clock")
    for name in ("onset", "offset"):
        frame[name] = on_scan_time(source, clock, frame[name].astype(float))
    frame[list(_NUMBERS)] = frame[list(_NUMBERS)].astype(float)
    return frame.sort_values("onset", kind="stable", ignore_index=True)


def labels_of(kinds: Sequence[Row]) -> list[str]:
    """Return, of each of some stimuli, in words what tells it from the others.

    Parameters
    ----------
    kinds
        Rows of `behavior.StimulusLog.Stimulus`.

    >>> labels_of([{"orientation": 0.0, "azimuth": 5.0}, {"orientation": 90.0, "azimuth": 5.0}])
    ['orientation 0', 'orientation 90']
    """
    parts = [part for part in (*_NAMES, *_NUMBERS) if len({kind.get(part) for kind in kinds}) > 1]
    return [", ".join(_words(part, kind.get(part)) for part in parts or _NAMES[:1]) for kind in kinds]


def _words(part: str, value: Any) -> str:
    name = part.removeprefix("stimulus_").replace("_", " ")
    if part in _NAMES and value:
        return str(value)
    return f"no {name}" if value in (None, "") else f"{name} {value:g}"


def _onsets(scan: Row, channel: str | None) -> dict[str, Any]:
    """Return the key of the pairing that is asked for: of several that of the voltage, then by name."""
    table, why = pipeline.behavior.StimulusOnset, describe({"scan_id": scan["scan_id"]})
    rows: list[dict[str, Any]] = (table & scan).keys(order_by="source, channel_name")
    if channel is not None and channel not in {row["channel_name"] for row in rows}:
        hint = f"{nearest(channel, [row['channel_name'] for row in rows])} `adamacs why behavior.StimulusOnset {why}`."
        raise InvalidKey(f"No channel {channel!r} is known to show stimuli (yet).", scan, hint)
    if not rows:
        hint = (
            f"`adamacs why behavior.StimulusOnset {why}` tells the reason; setup types name the channel by `stimuli`."
        )
        raise InvalidKey("No channel is known to show stimuli (yet).", scan, hint)
    voltages = (pipeline.event.EventImport.Channel & scan & {"channel_kind": "level"}).to_arrays("channel_name")
    wanted = [row for row in rows if channel is None or row["channel_name"] == channel]
    return min(wanted, key=lambda row: row["channel_name"] not in voltages)


def _rows(onsets: Row) -> list[dict[str, Any]]:
    """Return what is shown; times are those of the channel's source (s)."""
    log, event = pipeline.behavior.StimulusLog, pipeline.event.EventImport
    scan = {name: onsets[name] for name in ("session_id", "scan_id")}
    of_log, of_aux = {**scan, "source": onsets["source"]}, {**scan, "source": onsets["shown_source"]}
    kinds = {row["stimulus_id"]: row for row in (log.Stimulus & of_log).to_dicts()}
    labels = dict(zip(kinds, labels_of(list(kinds.values())), strict=True))
    told = {row["presentation_id"]: row for row in (log.Presentation & of_log).to_dicts()}
    kind = (event.Channel & of_aux & {"channel_name": onsets["channel_name"]}).fetch1("event_type")
    seen = {row["event_id"]: row for row in (event.Event & of_aux & {"event_type": kind}).to_dicts()}
    rows = []
    for row in (pipeline.behavior.StimulusOnset.Shown & onsets).to_dicts():
        presented, event_of = told[row["presentation_id"]], seen[row["event_id"]]
        about = {**kinds[presented["stimulus_id"]], **presented, "level_agrees": row["level_agrees"]}
        about |= {"label": labels[presented["stimulus_id"]], "pass_number": presented["pass_number"] or 0}
        rows.append({**about, "onset": event_of["event_start_time"], "offset": event_of["event_end_time"]})
    return rows
