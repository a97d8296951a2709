"""What an importer makes of the files of one source: events, long pulse trains and trials, on the source's clock."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime

    import numpy as np
    from numpy.typing import NDArray

    from adamacs.core.modality import Problem


def frames_of(source: str) -> str:
    """Return the event type of the frames that a device stamped: it tells of the stream that is called like itself."""
    return f"{source}_frames"


@dataclass(frozen=True)
class SourceFiles:
    """The files of one source of a scan, as its importer is given them.

    Attributes
    ----------
    source
        As its setup type names it, such as `aux` or `camera_top`.
    setup_type
        Of the scan.
    files
        In the order of their numbers.
    """

    source: str
    setup_type: str
    files: tuple[Path, ...]


@dataclass(frozen=True)
class Stretch:
    """A time during which a source recorded without a pause.

    Attributes
    ----------
    start, stop
        s on the source's clock. What was on at `start` may have begun earlier, and what still was at `stop` has no end.
    within
        s by which all times of the stretch may be off together, against those of the first one: 0 where the source's
        clock ran on over the pause before.
    """

    start: float
    stop: float
    within: float = 0.0


@dataclass(frozen=True)
class Look:
    """What the files of a source say of themselves, without what happened.

    Attributes
    ----------
    summary
        In a few words.
    start
        Naive UTC; None where no file tells.
    zero
        Naive UTC, when the clock of the source was zero.
    seconds
        How long it recorded.
    warnings, problems
        What is odd about the files, and what is wrong with them.
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
class Events:
    """All events of one type.

    Attributes
    ----------
    event_type
        Such as `main_track_gate`.
    start, stop
        s on the source's clock, float64 (event,), in the order of `start`; NaN where an event has no end, or where it
        was still going on when the recording ended.
    description
        Of the type, in a few words.
    values
        What was measured of each, float64 (event,): the volts of a plateau, the number of a stimulus in its log; None
        where nothing was.
    """

    event_type: str
    start: NDArray[np.float64]
    stop: NDArray[np.float64]
    description: str = ""
    values: NDArray[np.float64] | None = None


@dataclass(frozen=True)
class Repair:
    """Pulses that were missing between two others, and put in.

    Attributes
    ----------
    first
        0-based index, in the repaired train, of the first that was put in.
    count
        How many.
    start, stop
        s on the source's clock: the pulses before and after.
    """

    first: int
    count: int
    start: float
    stop: float


@dataclass(frozen=True)
class Series:
    """A long train of pulses, such as the frames of a camera: kept as one array, not as a row for each.

    Attributes
    ----------
    event_type
        Such as `mini2p_frames`.
    times
        s on the source's clock, float64 (pulse,), never falling.
    description
        Of the type, in a few words.
    repairs
        Where missing pulses were put in: each is among `times`, and its place is told.
    """

    event_type: str
    times: NDArray[np.float64]
    description: str = ""
    repairs: tuple[Repair, ...] = ()


@dataclass(frozen=True)
class ImportedChannel:
    """A channel of a source, and where it was found in its file.

    Attributes
    ----------
    channel, kind
        The canonical name, and what it carries, as its setup type says.
    place
        Such as `digital line 2`.
    label
        Its name in the file.
    is_proven
        False where another channel could stand in its place and nothing would tell: neither a name, nor a rate, nor a
        count, nor a level.
    event_type
        Of the events, or the train, that it wrote; empty where it wrote none.
    shows
        What its events are to the stimuli of a log, as the setup type says: `each`, `level`, or empty for nothing.
    """

    channel: str
    kind: str
    place: str
    label: str = ""
    is_proven: bool = True
    event_type: str = ""
    shows: str = ""


@dataclass(frozen=True)
class Tally:
    """What a source's files say of the frames in them without a time for each: a count, a rate.

    It tells of the stream that is called like the source.

    Attributes
    ----------
    told_by
        `header` or `file` (`adamacs.core.promises`).
    count
        How many there are; None where that was left open.
    rate
        Hz, on the source's clock; None where it is not told.
    """

    told_by: str
    count: int | None
    rate: float | None = None


@dataclass(frozen=True)
class ImportedEvents:
    """What the files of one source hold.

    Attributes
    ----------
    events, series
        No event type stands in both, and none twice.
    remarks
        What a person should know of how it was read: pulses that were cut off, channels nobody claims.
    channels
        Which line or input of the file was taken for which channel; empty for sources without.
    stretches
        When the source recorded, in order of time: what came between two was not seen. Empty where files do not tell.
    tallies
        At most one by each of what tells.
    """

    events: tuple[Events, ...] = ()
    series: tuple[Series, ...] = ()
    remarks: tuple[str, ...] = ()
    channels: tuple[ImportedChannel, ...] = ()
    stretches: tuple[Stretch, ...] = ()
    tallies: tuple[Tally, ...] = ()


@dataclass(frozen=True)
class ImportedTrial:
    """One trial of a source.

    Attributes
    ----------
    trial_id
        1 for the first.
    source_trial
        As the source itself counts.
    trial_type
        As the source names it; empty where it does not.
    start, stop
        s on the source's clock; NaN where it was not recorded.
    attributes
        What is told of the trial, by name.
    """

    trial_id: int
    source_trial: int
    trial_type: str
    start: float
    stop: float
    attributes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class ImportedBlock:
    """Trials in a row that belong together.

    Attributes
    ----------
    trial_ids
        Of its trials, in order; at least one.
    attributes
        What is the same in all of them and tells the block from others, by name.
    """

    trial_ids: tuple[int, ...]
    attributes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class ImportedTrials:
    """What the files of one source tell of trials.

    Attributes
    ----------
    trials
        In order of time.
    blocks
        In order, where the source tells of any; no trial is in two.
    """

    trials: tuple[ImportedTrial, ...] = ()
    blocks: tuple[ImportedBlock, ...] = ()
