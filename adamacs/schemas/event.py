"""What happened during a scan: events and pulse trains, each on the clock of the source that told of it."""

from __future__ import annotations

import datajoint as dj
import numpy as np

from adamacs.core import settings
from adamacs.core.events import SourceFiles, Stretch
from adamacs.core.modality import named
from adamacs.schemas import scan as scan_schema
from adamacs.schemas.clock import Clock
from adamacs.schemas.scan import Scan, ScanFile
from adamacs.storage import arrays

schema = dj.Schema()

IMPORTERS: dict[str, str] = {}
"""Per parser, the `module:function` that reads its files; `adamacs.pipeline` hands down what the modalities declare."""


class Footing:
    """A table on which other results stand through one of their parts, such as a certificate with its tellers.

    Where rows of it are deleted, such a result goes as a whole and is made anew: one that lacks a part of what it
    stands on would be none. DataJoint refuses that unless each call asks for it.
    """

    def delete(self, transaction=True, prompt=None, part_integrity="cascade"):
        """Delete rows with all that stands on them, as DataJoint does; see there."""
        return super().delete(transaction=transaction, prompt=prompt, part_integrity=part_integrity)


@schema
class EventType(dj.Manual):
    definition = """
    # A kind of event
    event_type : varchar(128)
    ---
    event_type_description = '' : varchar(255)
    """


@schema
class AlignmentEvent(dj.Manual):
    definition = """
    # A window around events, for peri-event averages
    alignment_name : varchar(32)
    ---
    alignment_description = '' : varchar(1000)
    -> EventType.proj(alignment_event_type='event_type')
    alignment_time_shift : float64  # s, added to the time that is aligned to
    -> EventType.proj(start_event_type='event_type')
    start_time_shift     : float64  # s, added to the last such event before it: where the window begins
    -> EventType.proj(end_event_type='event_type')
    end_time_shift       : float64  # s, added to the first such event after it: where the window ends
    """


@schema
class BehaviorRecording(Footing, dj.Manual):
    definition = """
    # What was recorded beside the frames of a scan: auxiliary channels, behaviour, stimuli
    -> Scan
    ---
    recording_start_time = null : datetime(6)   # naive UTC, where a file tells it
    recording_duration = null   : float64       # s, of the source whose clock is scan time
    recording_notes = ''        : varchar(255)
    """

    class Source(dj.Part):
        definition = """
        # A program or device that left files
        -> master
        source : varchar(32)  # such as aux, bpod or camera_top
        ---
        -> Clock
        parser : varchar(32)  # which reader its files are given to
        """

    class File(dj.Part):
        definition = """
        # A file of a source
        -> BehaviorRecording.Source
        -> ScanFile
        """


@schema
class EventImport(Footing, dj.Imported):
    definition = """
    # Everything that happened according to one source, as its files were read
    -> BehaviorRecording.Source
    ---
    event_count : int32          # events and pulses together
    remarks     : varchar(4095)  # what a person should know of how the files were read
    """

    class Channel(dj.Part):
        definition = """
        # A channel of the source, and where it was found in its file
        -> master
        channel_name : varchar(64)  # canonical name, as in the setup type
        ---
        channel_kind  : varchar(16)   # what it carries, such as pulses or waveform
        channel_place : varchar(64)   # such as digital line 2, bit 2 of the word
        channel_label : varchar(255)  # its name in the file
        is_proven     : bool          # false: another could stand in its place and nothing would tell
        -> [nullable] EventType
        shows = ''    : varchar(8)    # what its events are to the stimuli of a log: each, level; empty: nothing
        """

    class Stretch(dj.Part):
        definition = """
        # A time in which the source recorded without a pause: nothing was seen between two
        -> master
        stretch_id : int32  # 1..n, in order of time
        ---
        stretch_start  : float64  # s, on the clock of the source
        stretch_stop   : float64  # s, on the clock of the source
        stretch_within : float64  # s, by which its times may be off together, against those of the first stretch
        """

    class Event(dj.Part):
        definition = """
        # Something that happened once
        -> master
        event_id : int32  # 1..n, in order of time
        ---
        -> EventType
        event_start_time      : float64  # s, on the clock of the source
        event_end_time = null : float64  # s, on the clock of the source; null where it has no end
        event_value = null    : float64  # V, of a plateau; the number of a stimulus in its log; null: nothing measured
        """

    class EventSeries(dj.Part):
        definition = """
        # A long train of pulses
        -> master
        -> EventType
        ---
        pulse_count       : int32    # length of the train
        first_time = null : float64  # s, on the clock of the source
        last_time = null  : float64  # s, on the clock of the source
        median_interval = null : float64  # s
        times : <array@derived>  # float64, (pulse,), s on the clock of the source
        """

    class Repair(dj.Part):
        definition = """
        # Pulses of a train that were missing in the file and were put in, evenly between their neighbours
        -> EventImport.EventSeries
        repair_id : int32  # 1..n, in order of time
        ---
        first_index  : int32    # of the first that was put in, 0-based in the stored train
        repair_count : int32    # how many were put in
        gap_start    : float64  # s, on the clock of the source: the pulse before
        gap_stop     : float64  # s, on the clock of the source: the pulse after
        """

    class Tally(dj.Part):
        definition = """
        # What the files say of the frames in them without a time for each
        -> master
        tally_by : varchar(16)  # header or file
        ---
        tally_count = null : int64    # null where it was left open
        tally_rate = null  : float64  # Hz, on the clock of the source
        """

    @property
    def key_source(self):
        return BehaviorRecording.Source & [{"parser": parser} for parser in IMPORTERS]

    def make_fetch(self, key):  # the parser, the setup type, and the rows of the source's files
        rows = (ScanFile & (BehaviorRecording.File & key)).to_dicts(order_by="file_id")
        return ((BehaviorRecording.Source & key).fetch1("parser"), scan_schema.setup_of(key), rows)

    def make_compute(self, key, parser, setup_type, rows):
        found = named(IMPORTERS[parser])(source_files(key, setup_type, rows), settings.active())
        kinds = {one.event_type: one.description for one in (*found.events, *found.series)}
        series = [self._series(key, one) for one in found.series]
        repairs = [_repair_row(one.event_type, n, gap) for one in found.series for n, gap in enumerate(one.repairs, 1)]
        rows = _channel_rows(found.channels), _stretch_rows(found.stretches), _event_rows(found.events)
        return kinds, _about(found), *rows, series, repairs, _tally_rows(found.tallies)

    def _series(self, key, one):
        where = {**key, "event_type": one.event_type}
        times = np.asarray(one.times, np.float64)
        return {
            "event_type": one.event_type,
            "pulse_count": len(times),
            "first_time": float(times[0]) if len(times) else None,
            "last_time": float(times[-1]) if len(times) else None,
            "median_interval": float(np.median(np.diff(times))) if len(times) > 1 else None,
            "times": arrays.write("derived", arrays.path_of("EventSeries", where, "times"), times),
        }

    def make_insert(self, key, kinds, about, channels, stretches, events, series, repairs, tallies):
        # Another import may have brought a type along meanwhile: it has the same name, and its own description.
        described = [{"event_type": name, "event_type_description": text[:255]} for name, text in kinds.items()]
        EventType.insert(described, skip_duplicates=True)
        self.insert1({**key, **about})
        self.Channel.insert([{**key, **row} for row in channels])
        self.Stretch.insert([{**key, **row} for row in stretches])
        self.Event.insert([{**key, **row} for row in events])
        self.EventSeries.insert([{**key, **row} for row in series])
        self.Repair.insert([{**key, **row} for row in repairs])
        self.Tally.insert([{**key, **row} for row in tallies])


def source_files(key, setup_type, rows):
    """Return the files of a source, each of which must be what it was when it was ingested."""
    return SourceFiles(key["source"], setup_type, tuple(scan_schema.require_unchanged(row) for row in rows))


def stretches_of(key):
    """Return when a source recorded, in order of time; nothing where its files do not tell."""
    rows = (EventImport.Stretch & key).to_dicts(order_by="stretch_id")
    return tuple(Stretch(row["stretch_start"], row["stretch_stop"], row["stretch_within"]) for row in rows)


def _stretch_rows(stretches):
    columns = ((one.start, one.stop, one.within) for one in stretches)
    names = "stretch_start", "stretch_stop", "stretch_within"
    return [{"stretch_id": n, **dict(zip(names, row, strict=True))} for n, row in enumerate(columns, 1)]


def _event_rows(events):
    """Return the rows of all events, numbered in order of time; of those at one time, by the name of their type."""
    flat = [
        (float(start), one.event_type, float(stop), None if value is None else float(value))
        for one in events
        for start, stop, value in zip(one.start, one.stop, _values(one), strict=True)
    ]
    return [
        {
            "event_id": number,
            "event_type": event_type,
            "event_start_time": start,
            "event_end_time": None if np.isnan(stop) else stop,
            "event_value": value,
        }
        for number, (start, event_type, stop, value) in enumerate(sorted(flat, key=lambda event: event[:2]), 1)
    ]


def _values(one):
    return [None] * len(one.start) if one.values is None else one.values


def _repair_row(event_type, number, gap):
    return {
        "event_type": event_type,
        "repair_id": number,
        "first_index": gap.first,
        "repair_count": gap.count,
        "gap_start": gap.start,
        "gap_stop": gap.stop,
    }


def _tally_rows(tallies):
    return [{"tally_by": one.told_by, "tally_count": one.count, "tally_rate": one.rate} for one in tallies]


def _about(found):
    count = sum(len(one.start) for one in found.events) + sum(len(one.times) for one in found.series)
    return {"event_count": count, "remarks": "\n".join(found.remarks)[:4095]}


def _channel_rows(channels):
    return [
        {
            "channel_name": one.channel,
            "channel_kind": one.kind,
            "channel_place": one.place,
            "channel_label": one.label[:255],
            "is_proven": one.is_proven,
            "event_type": one.event_type or None,
            "shows": one.shows,
        }
        for one in channels
    ]
