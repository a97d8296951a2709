"""How the clocks of a scan go together, and whether all who tell of a stream agree: its certificate.

Any time of any source converts to scan time by a stored mapping. What each teller promises of each stream is stored,
too; the certificate sets the promises side by side and knows no instrument.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from functools import cached_property
from typing import Any

import datajoint as dj
import numpy as np

from adamacs.core import failures, promises, settings, setups, streams
from adamacs.core.clocks import alignment
from adamacs.core.clocks.mapping import ClockModel
from adamacs.core.errors import UnusableClock
from adamacs.core.events import Repair, Series, Tally
from adamacs.core.modality import Teller as TellerOf
from adamacs.core.modality import named
from adamacs.database import portable
from adamacs.schemas import scan as scan_schema
from adamacs.schemas.clock import Clock
from adamacs.schemas.event import BehaviorRecording, EventImport, Footing, stretches_of
from adamacs.schemas.scan import Scan
from adamacs.storage import arrays

schema = dj.Schema()

TELLERS: dict[str, tuple[Any, TellerOf]] = {}
"""Per teller that is no source of events, the table of what it left, and what its modality declares of it, which
`adamacs.pipeline` hands down."""

COUNTS: dict[str, Mapping[str, str]] = {}
"""Per parser, the stream of each type of events that are one of a stream each; handed down likewise."""


@schema
class ClockSync(Footing, dj.Computed):
    definition = """
    # How times of a source's clock become scan time, and how sure that is
    -> EventImport
    ---
    -> Clock
    -> EventImport.proj(target_source='source')
    target_clock  : varchar(32)    # the clock that is scan time
    clock_model   : varchar(16)    # offset, linear or piecewise
    clock_mapping : json           # the mapping itself, for adamacs.core.clocks.mapping.ClockModel
    clock_offset  : float64        # s, scan time at the zero of the clock
    clock_drift   : float64        # ppm, how much faster scan time runs
    residual_median : float64      # s, of the distances of used pairs from the mapping
    residual_rms    : float64      # s
    residual_p95    : float64      # s, 95th percentile
    residual_max    : float64      # s
    pairs_used      : int32        # pairs of instants that both clocks tell, and the mapping stands on
    pairs_rejected  : int32        # pairs that no mapping brings together
    source_alone    : int32        # instants of the clock, where both ran, without a partner
    target_alone    : int32        # instants of the other clock, where both ran, without a partner
    quality         : float64      # 0 to 1, share of the pairs that the mapping brings within its tolerance
    sync_method     : varchar(1023)  # how instants were paired and the mapping was fitted
    pairs : <array@derived>  # float64, (3, pair): s on the clock, s on the clock of scan time, residual in s
    """

    @property
    def key_source(self):
        imported = BehaviorRecording.Source & EventImport
        own = imported & "source = clock"  # not of files without times
        ready = dj.U("session_id", "scan_id") & (own & (Clock & {"is_scan_time": True}))
        guides = imported.proj(placed_by="source").proj()
        placed = (Clock & {"is_scan_time": False}).proj("placed_by").restrict(guides, semantic_check=False)
        return EventImport & (BehaviorRecording.Source & placed) & ready

    @staticmethod
    def waits_for(key):
        """Yield what keys wait for beside their own import: that of the guide, and that whose clock is scan time."""
        for own in (BehaviorRecording.Source * Clock & key & {"is_scan_time": False}).to_dicts():
            scan = {name: own[name] for name in ("session_id", "scan_id")}
            told = {row["source"]: row["is_scan_time"] for row in (BehaviorRecording.Source * Clock & scan).to_dicts()}
            wanted = {source for source, is_scan_time in told.items() if is_scan_time or source == own["placed_by"]}
            yield from ((EventImport, {**scan, "source": source}) for source in sorted(wanted - {own["source"]}))

    def make_fetch(self, key):  # setup type; rows of the source, its guide and scan time; events; when the latter ran
        scan = {name: key[name] for name in ("session_id", "scan_id")}
        rows = {row["source"]: row for row in (BehaviorRecording.Source * Clock & scan).to_dicts()}
        own = rows[key["source"]]
        guide = rows[own["placed_by"]]
        target = next(row for row in rows.values() if row["is_scan_time"] and row["source"] == row["clock"])
        events = (events_of({**scan, "source": side["source"]}) for side in (guide, target))
        ran = stretches_of({**scan, "source": target["source"]})
        return (scan_schema.setup_of(scan), own, guide, target, *events, ran)

    def make_compute(self, key, setup_type, own, guide, target, here, there, ran):
        setup = setups.load_usable(settings.active().home).find(setup_type, key)
        found = alignment.align(setup, here, there, source=guide["source"], target=target["clock"], stretches=ran)
        if own["source"] != guide["source"]:
            found = found.through(own["clock"], _ahead(own, guide))
        pairs = arrays.write("derived", arrays.path_of("ClockSync", key, "pairs"), np.asarray(found.pairs))
        row = {**found.row(), "clock": own["clock"], "target_source": target["source"]}
        return row, found.fit.model.to_json(), pairs

    def make_insert(self, key, row, mapping, pairs):
        self.insert1({**key, **row, "clock_mapping": mapping, "pairs": pairs})
        _renew(key)


def events_of(key):
    """Return by their type starts, ends (s) and values of a source's events, and references to its pulse trains."""
    found = {}
    for row in (EventImport.Event & key).to_dicts(order_by="event_id"):
        told = row["event_start_time"], row["event_end_time"], row["event_value"]
        found.setdefault(row["event_type"], []).append(told)
    return found | {row["event_type"]: row["times"] for row in (EventImport.EventSeries & key).to_dicts()}


def _ahead(own, guide):
    """Return what must be added to times of one clock to have those of another (s), by the instants of their zeros."""
    zeros = own["clock_start"], guide["clock_start"]
    if None in zeros:
        what = f"{own['source']} is placed through {guide['source']}, and one of their files tells no instant."
        raise UnusableClock(what, {"source": own["source"]}, "Both must be stamped by the computer's clock.")
    return (zeros[0] - zeros[1]).total_seconds()


@schema
class StreamType(dj.Manual):
    definition = """
    # Something of which several tell: frames, volumes, trials, stimuli
    stream : varchar(64)  # such as two_photon_frames or bpod_trials
    """


@schema
class Teller(Footing, dj.Manual):
    definition = """
    # A program or device that left files of a scan, and will tell what these hold of each stream
    -> Scan
    teller : varchar(32)  # such as ScanImage, aux or camera_top
    """


@schema
class Promise(Footing, dj.Imported):
    definition = """
    # What a teller promises of the streams of a scan
    -> Teller
    ---
    -> [nullable] EventImport.proj(told_source='source')
    stream_count : int32  # how many it tells of
    """

    class Stream(dj.Part):
        definition = """
        # What is told of one stream, by a header, by pulses or by files
        -> master
        -> StreamType
        told_by : varchar(16)  # header, pulses or file
        ---
        told_count = null : int64    # null where it was left open
        first_time = null : float64  # s, on the clock
        last_time = null  : float64  # s, on the clock
        told_rate = null  : float64  # Hz, on the clock; null of what is irregular
        missing_count     : int64    # how many more would fit into gaps, whether or not somebody put them in
        unseen_count      : int64    # how many more would fit into pauses of the teller's own recording
        told_clock = ''   : varchar(32)  # the clock of the times; empty: of none that the scan knows
        """

    @property
    def key_source(self):
        imported = EventImport.proj(teller="source").proj()
        others = [dj.AndList([{"teller": teller}, table]) for teller, (table, _) in TELLERS.items()]
        return Teller().restrict([imported, *others], semantic_check=False)

    def make_fetch(self, key):  # promises; or, of a source: setup type, sources, its row, trains, events, runs, tallies
        scan = {name: key[name] for name in ("session_id", "scan_id")}
        if key["teller"] in TELLERS:
            function = named(TELLERS[key["teller"]][1].promises)
            return ([asdict(one) for one in function(scan)], "", [], None, [], [], (), [])
        sources = {row["source"]: row for row in (BehaviorRecording.Source & scan).to_dicts()}
        own = {**scan, "source": key["teller"]}
        ran = stretches_of(own)
        about = scan_schema.setup_of(scan), sorted(sources), sources[key["teller"]]
        tallies = (EventImport.Tally & own).to_dicts(order_by="tally_by")
        return ([], *about, tuple(trains_of(own)), _spans_of(own, ran), ran, tallies)

    def make_compute(self, key, told, setup_type, sources, source, trains, spans, ran, tallies):
        if source is None:
            return (told, None)
        setup = setups.load_usable(settings.active().home).find(setup_type, key)
        events = {row["event_type"]: streams.Span(row["told"], row["began"], row["ended"]) for row in spans}
        counts = tuple(Tally(row["tally_by"], row["tally_count"], row["tally_rate"]) for row in tallies)
        seen = streams.Source(source["source"], source["clock"], trains, events, ran, counts)
        found = seen.promises(setup, sources, COUNTS[source["parser"]])
        return ([asdict(one) for one in found], source["source"])

    def make_insert(self, key, told, source):
        self.insert1({**key, "told_source": source, "stream_count": len({one["stream"] for one in told})})
        _name_streams(one["stream"] for one in told)
        self.Stream.insert([{**key, **_stream_row(one)} for one in told])
        _renew(key)


def _renew(key):
    """Delete the certificate of a scan, which knows nothing of what was told or placed just now: it is made anew."""
    scan = {name: key[name] for name in ("session_id", "scan_id")}
    if Certificate & scan:
        (Certificate & scan).delete(prompt=False)


def trains_of(key):
    """Return the pulse trains of a source, each with its repairs; their times are references to stored arrays."""
    repairs = {}
    for row in (EventImport.Repair & key).to_dicts(order_by="event_type, repair_id"):
        gap = Repair(*(row[name] for name in ("first_index", "repair_count", "gap_start", "gap_stop")))
        repairs.setdefault(row["event_type"], []).append(gap)
    rows = (EventImport.EventSeries & key).to_dicts(order_by="event_type")
    return [Series(row["event_type"], row["times"], "", tuple(repairs.get(row["event_type"], ()))) for row in rows]


def _spans_of(key, stretches):
    """Return per type of single events of a source how many there are, and when the first and the last began (s).

    As `streams.Span.of` counts them; in the database, as there may be many.
    """
    again = [{"event_start_time": stretch.start} for stretch in stretches[1:]]
    about = {"told": "COUNT(*)", "began": "MIN(event_start_time)", "ended": "MAX(event_start_time)"}
    return dj.U("event_type").aggr((EventImport.Event & key) - again, **about).to_dicts(order_by="event_type")


def _name_streams(names):
    # Another scan may have brought a stream along meanwhile: it has the same name, and nothing else.
    StreamType.insert([{"stream": name} for name in dict.fromkeys(names)], skip_duplicates=True)


_COLUMNS = {  # of Promise.Stream, and the attribute of a promise that each holds
    "stream": "stream",
    "told_by": "told_by",
    "told_count": "count",
    "first_time": "first",
    "last_time": "last",
    "told_rate": "rate",
    "missing_count": "missing",
    "unseen_count": "unseen",
    "told_clock": "clock",
}


def _stream_row(told):
    return {column: told[name] for column, name in _COLUMNS.items()}


def promises_of(query):
    """Return the promises of some rows of Promise."""
    return [_promise(row) for row in (Promise.Stream & query.proj()).to_dicts(order_by="stream, told_by, teller")]


def _promise(row):
    return promises.Promise(teller=row["teller"], **{name: row[column] for column, name in _COLUMNS.items()})


_PLACED = ("clock", "clock_mapping", "residual_p95", "residual_max", "pairs_used", "pairs_rejected")
_PLACED = (*_PLACED, "source_alone", "target_alone")


def _placement(row):
    return promises.Placement(
        model=ClockModel.from_json(row["clock_mapping"]),
        residual_p95=row["residual_p95"],
        residual_max=row["residual_max"],
        used=row["pairs_used"],
        rejected=row["pairs_rejected"],
        alone=row["source_alone"] + row["target_alone"],
    )


_FOR_GOOD = [{"status": "error"}, {"status": "ignore"}]
_GIVEN_UP = ("status", "error_message", "user")  # of a job, what tells that and why it was given up


@schema
class Certificate(dj.Computed):
    definition = """
    # Whether all who tell of the streams of a scan agree, and its clocks go together
    -> Scan
    ---
    verdict      : varchar(8)     # pass, warn or fail: the worst of its streams
    why          : varchar(4095)  # what is not as it should be, stream by stream; empty where all is
    stream_count : int32          # how many were judged
    thresholds   : json           # the settings sync.* that were applied
    """

    class Stream(dj.Part):
        definition = """
        # The verdict on one stream, or on a clock that no stream depends on
        -> master
        -> StreamType
        ---
        stream_verdict : varchar(8)     # pass, warn or fail
        is_compared    : bool           # whether anything else tells of it, so that an error could have been seen
        stream_why     : varchar(2047)  # in sentences, with the tellers and their numbers
        told           : json           # what was compared, a promise each
        count_min = null : int64  # least count of what happened, headers apart
        count_max = null : int64  # greatest count
        missing_count    : int64  # how many are known to be missing from a count
        rate_difference = null  : float64  # ppm, between the lowest and the highest rate
        first_difference = null : float64  # s, of scan time, between what is told of the first
        last_difference = null  : float64  # s, of scan time, between what is told of the last
        sync_clock = ''      : varchar(32)  # the clock on which it depends; empty: it is told on scan time
        sync_offset = null   : float64      # s, scan time at the zero of that clock; null: it could not be placed
        sync_drift = null    : float64      # ppm, how much faster scan time runs
        residual_micros = null     : float64  # µs, 95th percentile of the distances of pairs from the mapping
        residual_micros_max = null : float64  # µs
        rejected_count = null      : int32    # pairs of instants that no mapping brings together
        alone_count = null         : int32    # instants without a partner although both clocks ran
        """

    class Teller(dj.Part):
        definition = """
        # A promise that the certificate stands on: where it is deleted, so is the certificate
        -> master
        -> Promise
        """

    class Silent(dj.Part):
        definition = """
        # A teller of whom nothing could be read when the certificate was made
        -> master
        -> Teller
        """

    class Clock(dj.Part):
        definition = """
        # A placed clock that the certificate stands on: where it is deleted, so is the certificate
        -> master
        -> ClockSync
        """

    @cached_property
    def _clock_jobs(self):
        return portable.job_table(ClockSync)

    @cached_property
    def _telling_jobs(self):
        """The jobs on which promises wait, each with the teller whose they are."""
        imports = portable.job_table(EventImport).proj(*_GIVEN_UP, teller="source")
        others = [
            portable.job_table(table).proj(*_GIVEN_UP, teller=f"'{name}'") for name, (table, _) in TELLERS.items()
        ]
        return imports, portable.job_table(Promise).proj(*_GIVEN_UP), *others

    @property
    def key_source(self):
        # Who is to tell, or a clock that is to be placed, is waited for, unless that failed for good or is left out.
        unplaced = portable.without(ClockSync().key_source.proj() - ClockSync.proj(), self._clock_jobs & _FOR_GOOD)
        untold = Teller - Promise
        for jobs in self._telling_jobs:
            untold = portable.without(untold, jobs & _FOR_GOOD)
        return ((Scan & Teller) - untold) - unplaced

    def make_fetch(
        self, key
    ):  # what was promised; how clocks are placed; why others are not; who was asked; who is silent
        told = (Promise.Stream & key).to_dicts(order_by="stream, told_by, teller")
        placed = (ClockSync & key).proj(*_PLACED).to_dicts(order_by="clock")
        return (told, placed, list(self._unplaced(key)), (Promise & key).keys(order_by="teller"), *self._silent(key))

    def _silent(self, key):  # setup type; readers by source; who is silent, and why
        untold = set((Teller - Promise & key).to_arrays("teller").tolist())
        jobs = [job for jobs in self._telling_jobs for job in (jobs & _FOR_GOOD & key).to_dicts()]
        said = {job["teller"]: _why_not(job) for job in jobs if job["teller"] in untold}
        readers = {row["source"]: row["parser"] for row in (BehaviorRecording.Source & key).to_dicts()}
        return scan_schema.setup_of(key), readers, sorted(said.items())

    def _unplaced(self, key):  # clock, that of scan time, why, and whether there is a rule: of each that is not placed
        rows = {row["source"]: row for row in (BehaviorRecording.Source * Clock & key).to_dicts(order_by="source")}
        target = next((name for name, row in rows.items() if row["is_scan_time"] and name == row["clock"]), "")
        placed, imported = (set((table & key).to_arrays("source").tolist()) for table in (ClockSync, EventImport))
        said = {row["source"]: _why_not(row) for row in (self._clock_jobs & key).to_dicts()}
        for source, row in rows.items():
            guide = row["placed_by"]
            if row["is_scan_time"] or source in placed or source != row["clock"]:
                continue
            if not guide:
                yield row["clock"], target, _NO_RULE, False
            elif target and source in imported and guide not in rows:
                yield row["clock"], target, f"there are no files of {guide}, through which it is placed.", False
            elif target and source in imported:
                unread = [f"nothing could be read of {one}." for one in (guide, target) if one not in imported]
                yield row["clock"], target, next(iter(unread), said.get(source, "")), True

    def make_compute(self, key, told, placed, unplaced, tellers, setup_type, readers, silent):
        limits = settings.active().sync
        lost = (promises.Unplaced(*one) for one in unplaced)
        mute = [promises.Silent(*one, self._expected(key, setup_type, readers, one[0])) for one in silent]
        verdicts = promises.compare(map(_promise, told), limits, map(_placement, placed), lost, mute)
        bad = [f"{one.stream}: {one.why}" for one in verdicts if one.verdict != "pass"]
        row = {
            "verdict": promises.worst(one.verdict for one in verdicts),
            "why": "\n".join(bad)[:4095],
            "stream_count": len(verdicts),
            "thresholds": asdict(limits),
        }
        clocks = [{"source": one["source"]} for one in placed]
        return row, [_verdict_row(one) for one in verdicts], tellers, clocks, [teller for teller, _ in silent]

    @staticmethod
    def _expected(key, setup_type, readers, teller):
        if teller in TELLERS:
            return TELLERS[teller][1].streams
        setup = setups.load_usable(settings.active().home).find(setup_type, key)
        return streams.expected(setup, teller, readers, COUNTS[readers[teller]])

    def make_insert(self, key, row, verdicts, tellers, clocks, silent):
        self.insert1({**key, **row})
        _name_streams(one["stream"] for one in verdicts)
        self.Stream.insert([{**key, **verdict} for verdict in verdicts])
        self.Teller.insert([{**key, **teller} for teller in tellers])
        self.Clock.insert([{**key, **clock} for clock in clocks])
        self.Silent.insert([{**key, "teller": teller} for teller in silent])


_NO_RULE = "the setup type does not say how, in [[align]]."


def _why_not(job):
    message = job["error_message"] or ""
    if job["status"] != "ignore":
        return failures.split_message(message)[1]
    return f"it was left out by {job['user'] or 'somebody'}{f': {message}' if message else '.'}"


def _verdict_row(found):
    return {
        "stream": found.stream,
        "stream_verdict": found.verdict,
        "is_compared": found.is_compared,
        "stream_why": found.why[:2047],
        "told": [asdict(one) for one in found.told],
        "count_min": found.count_min,
        "count_max": found.count_max,
        "missing_count": found.missing,
        "rate_difference": found.rate_difference,
        "first_difference": found.first_difference,
        "last_difference": found.last_difference,
        **_clock_columns(found),
    }


_OF_A_CLOCK = ("sync_clock", "sync_offset", "sync_drift", "residual_micros", "residual_micros_max")
_OF_A_CLOCK = (*_OF_A_CLOCK, "rejected_count", "alone_count")


def _clock_columns(found):
    placed = max(found.placements, key=lambda one: one.residual_p95, default=None)
    lost = next((one.clock for one in found.unplaced), "")
    if placed is None or lost:
        return {name: lost if name == "sync_clock" else None for name in _OF_A_CLOCK}
    return {
        "sync_clock": placed.model.source,
        "sync_offset": placed.model.offset,
        "sync_drift": placed.model.drift_ppm,
        "residual_micros": 1e6 * placed.residual_p95,
        "residual_micros_max": 1e6 * placed.residual_max,
        "rejected_count": placed.rejected,
        "alone_count": placed.alone,
    }
