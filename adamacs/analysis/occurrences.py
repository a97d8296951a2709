"""The events of a scan that something is looked at around: when they were, in which trial, and of which condition."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from adamacs import pipeline
from adamacs.analysis.events import events_between, on_scan_time, one_scan
from adamacs.analysis.numerics.timeline import Floats
from adamacs.analysis.numerics.weights import Events
from adamacs.core.errors import InvalidRequest, UnusableClock, describe, nearest
from adamacs.core.names import natural_order

ALL = "all"  # the one condition, where nobody asks for several
TRIAL_TYPE = "trial_type"
_ROUNDING = 1e-6  # s, as the links of trials and events have it

By = str | Sequence[Any] | NDArray[Any] | None


@dataclass(frozen=True, eq=False)
class Occurrences:
    """Events on scan time, in order.

    Attributes
    ----------
    events
        When they were (s of scan time), and what around each belongs to it.
    event_type
        Of all; `given` where their times were.
    condition
        Of each its number, int (event,); negative: of none.
    names
        Of the conditions, in order.
    trial
        `trial_id` of the trial in which each began, int (event,); 0: in none.
    left_out
        Events of this type that are not among them, because no window of the alignment holds them.
    """

    events: Events
    event_type: str
    condition: NDArray[np.int64]
    names: tuple[Any, ...]
    trial: NDArray[np.int64]
    left_out: int = 0


@dataclass(frozen=True, eq=False)
class _Trials:
    """The trials of a source, on scan time."""

    source: str
    trial_id: NDArray[np.int64]
    start: Floats
    stop: Floats  # of one without, the start of the next
    trial_type: NDArray[Any]

    def of(self, times: Floats) -> NDArray[np.int64]:
        """Return the index of the trial in which each time falls; -1 for none."""
        place = np.searchsorted(self.start, times, side="right") - 1
        return np.where(times <= np.append(self.stop, -np.inf)[place] + _ROUNDING, place, -1)


def occurrences(
    key: Mapping[str, Any], events: str | ArrayLike | None = None, *, alignment: str | None = None, by: By = None
) -> Occurrences:
    """Return the events of a scan, each with its condition and its trial.

    Parameters
    ----------
    key
        Of one scan.
    events
        Their type, or their times (s of scan time).
    alignment
        In place of that: the name of an `event.AlignmentEvent`. It tells type, shift, and what belongs to an event:
        from the last of its starting events, at or before, to the first of its ending events, at or after it. Events
        without one of these two are left out.
    by
        What makes conditions: `trial_type`, the name of an attribute of trials, or a label for each event, in order of
        time. Events in no trial, and labels that are None or NaN, make none.

    Raises
    ------
    InvalidKey
        No scan, or more than one, has this key; or it has no such events.
    InvalidRequest
        There is no such alignment or attribute, the scan has no trials, or the labels are not as many as the events.
    UnusableClock
        Events or trials are on a clock that is not placed on scan time.
    """
    scan = one_scan(key)
    if (events is None) == (alignment is None):
        raise InvalidRequest(
            "Name either events or an alignment.", scan, 'Such as peri_event(key, "speed", "shutter").'
        )
    row = None if alignment is None else _alignment(alignment)
    wanted = events if row is None else row["alignment_event_type"]
    if isinstance(wanted, str):
        kind, times = wanted, _starts(scan, wanted)
    else:
        kind, times = "given", np.sort(np.atleast_1d(np.asarray(wanted, np.float64)))
    trials = _trials(scan, by if isinstance(by, str) else "")
    place = trials.of(times)
    condition, names = _coded(_labels(scan, by, trials, place, len(times)))
    trial = np.append(trials.trial_id, 0)[place]  # -1: the 0
    if row is None:
        return Occurrences(Events(times), kind, condition, names, trial)
    first, last = _limits(scan, times, row)
    keep = ~(np.isnan(first) | np.isnan(last))
    limited = Events(times + row["alignment_time_shift"], first, last)[keep]
    return Occurrences(limited, kind, condition[keep], names, trial[keep], int(np.count_nonzero(~keep)))


def _starts(scan: Mapping[str, Any], event_type: str) -> Floats:
    return np.asarray(events_between(scan, event_types=[event_type])["start"], np.float64)


def _alignment(name: str) -> dict[str, Any]:
    table = pipeline.event.AlignmentEvent
    if not (table & {"alignment_name": name}):
        known = sorted(table.to_arrays("alignment_name").tolist())
        raise InvalidRequest(f"There is no alignment {name!r}.", hint=nearest(name, known))
    return dict((table & {"alignment_name": name}).fetch1())


def _limits(scan: Mapping[str, Any], times: Floats, row: Mapping[str, Any]) -> tuple[Floats, Floats]:
    """Return from when to when, by an alignment, what is around events belongs to them; NaN where it does not tell."""
    before, after = (_starts(scan, row[f"{end}_event_type"]) for end in ("start", "end"))
    begin = np.searchsorted(before, times, side="right") - 1
    end = np.searchsorted(after, times, side="left")
    first = np.append(before, np.nan)[begin] + row["start_time_shift"]  # -1: the NaN
    last = np.append(after, np.nan)[end] + row["end_time_shift"]
    return first, last


def _trials(scan: Mapping[str, Any], word: str) -> _Trials:
    """Return the trials of a scan, on scan time.

    Parameters
    ----------
    word
        What is asked of them, a type or an attribute; empty: nothing, and there may be none that one source tells of.
    """
    sources = _tellers(scan, word)
    if len(sources) == 1:
        with nullcontext() if word else suppress(UnusableClock):
            return _read_trials(scan, sources[0]["source"], sources[0]["clock"])
    if not word:
        return _Trials("", np.empty(0, np.int64), np.empty(0), np.empty(0), np.empty(0, object))
    if sources:
        told = " and ".join(row["source"] for row in sources)
        raise InvalidRequest(f"{told} tell of trials.", scan, "Give a label for each event instead of a name.")
    why = describe({"scan_id": scan["scan_id"]})
    raise InvalidRequest("It has no trials (yet).", scan, f"`adamacs why trial.TrialImport {why}` tells the reason.")


def _tellers(scan: Mapping[str, Any], word: str) -> list[dict[str, Any]]:
    """Return the sources that tell of trials; of several, such as Bpod and a log of stimuli, those that know a word.

    Without a word these are the ones that name types of trials.
    """
    trial = pipeline.trial.TrialImport
    recorded = pipeline.event.BehaviorRecording.Source & (trial & "trial_count > 0") & scan
    found: list[dict[str, Any]] = recorded.to_dicts(order_by="source")
    knowing = trial.Attribute & scan & {"attribute_name": word}
    if word in ("", TRIAL_TYPE):
        knowing = trial.Trial & scan & "trial_type IS NOT NULL"
    known = set(knowing.to_arrays("source").tolist()) if len(found) > 1 else set()
    return [row for row in found if row["source"] in known] or found


def _read_trials(scan: Mapping[str, Any], source: str, clock: str) -> _Trials:
    rows = pipeline.trial.TrialImport.Trial & scan & {"source": source}
    names = ("trial_id", "trial_start_time", "trial_stop_time", "trial_type")
    columns = [[row[name] for row in rows.to_dicts(order_by="trial_id")] for name in names]
    start = np.array(columns[1], np.float64)
    stop = np.array([np.nan if value is None else value for value in columns[2]], np.float64)
    start, stop = (on_scan_time(scan, clock, value) for value in (start, stop))
    stop = np.where(np.isnan(stop), np.append(start[1:], np.inf)[: len(start)], stop)
    return _Trials(source, np.array(columns[0], np.int64), start, stop, np.array(columns[3], object))


def _labels(scan: Mapping[str, Any], by: By, trials: _Trials, place: NDArray[np.int64], count: int) -> NDArray[Any]:
    """Return the label of each event, None for none."""
    if by is None:
        return np.full(count, ALL, object)
    if isinstance(by, str):
        values = trials.trial_type if by == TRIAL_TYPE else _attribute(scan, by, trials)
        return np.append(values, np.array([None]))[place]  # -1: the None
    if len(by) != count:
        what = f"{len(by)} labels are given, and there are {count} events."
        raise InvalidRequest(what, scan, "Give one for each, in order of time; None leaves an event out.")
    labels = np.empty(count, object)
    labels[:] = list(by)
    return labels


def _attribute(scan: Mapping[str, Any], name: str, trials: _Trials) -> NDArray[Any]:
    """Return the value of an attribute for each trial, None where it is not told."""
    rows = pipeline.trial.TrialImport.Attribute & scan & {"source": trials.source}
    known = set(rows.to_arrays("attribute_name").tolist())
    if name not in known:
        hint = nearest(name, [TRIAL_TYPE, *sorted(known)])
        raise InvalidRequest(f"Trials of {trials.source} have no {name!r}.", scan, hint)
    told = {row["trial_id"]: row["attribute_value"] for row in (rows & {"attribute_name": name}).to_dicts()}
    return np.array([told.get(trial) for trial in trials.trial_id.tolist()], object)


def _coded(labels: NDArray[Any]) -> tuple[NDArray[np.int64], tuple[Any, ...]]:
    """Return the number of each label among their names, and the names in order: 2 before 10, texts or not."""
    import pandas as pd

    codes, found = pd.factorize(labels)  # -1: None and NaN
    order = sorted(range(len(found)), key=lambda number: _naturally(found[number]))
    rank = np.empty(len(found) + 1, np.int64)
    rank[[*order, -1]] = [*range(len(found)), -1]
    return rank[codes], tuple(found[number] for number in order) or (ALL,)


def _naturally(label: Any) -> tuple[bool, float, Any]:
    try:
        return False, float(label), ()
    except (TypeError, ValueError):
        return True, 0.0, natural_order(str(label))
