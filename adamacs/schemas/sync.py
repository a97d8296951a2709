"""How the clocks of a scan go together: any time of any source converts to scan time by a stored mapping."""

from __future__ import annotations

import datajoint as dj
import numpy as np

from adamacs.core import settings, setups
from adamacs.core.clocks import alignment
from adamacs.core.errors import UnusableClock
from adamacs.schemas import scan as scan_schema
from adamacs.schemas.clock import Clock
from adamacs.schemas.event import BehaviorRecording, EventImport
from adamacs.storage import arrays

schema = dj.Schema()


@schema
class ClockSync(dj.Computed):
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
    source_alone    : int32        # instants of the clock without a partner on the other
    target_alone    : int32        # instants of the other clock, where both ran, without a partner
    quality         : float64      # 0 to 1, share of the pairs that the mapping brings within its tolerance
    sync_method     : varchar(1023)  # how instants were paired and the mapping was fitted
    pairs : <array@derived>  # float64, (3, pair): s on the clock, s on the clock of scan time, residual in s
    """

    @property
    def key_source(self):
        imported = BehaviorRecording.Source & EventImport
        own = imported & [{"source": "wavesurfer", "clock": "aux"}, "source = clock"]  # not of files without times
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

    def make_fetch(
        self, key
    ):  # setup type; rows of the source, of the one that places it, of scan time; events of both
        scan = {name: key[name] for name in ("session_id", "scan_id")}
        rows = {row["source"]: row for row in (BehaviorRecording.Source * Clock & scan).to_dicts()}
        own = rows[key["source"]]
        guide = rows[own["placed_by"]]
        target = next(
            row for row in rows.values() if row["is_scan_time"] and setups.clock_of(row["source"]) == row["clock"]
        )
        events = (self._events({**scan, "source": side["source"]}) for side in (guide, target))
        return (scan_schema.setup_of(scan), own, guide, target, *events)

    @staticmethod
    def _events(key):
        """Return by their type starts and ends (s) of the events of a source, and references to its pulse trains."""
        found = {}
        for row in (EventImport.Event & key).to_dicts(order_by="event_id"):
            found.setdefault(row["event_type"], []).append((row["event_start_time"], row["event_end_time"]))
        return found | {row["event_type"]: row["times"] for row in (EventImport.EventSeries & key).to_dicts()}

    def make_compute(self, key, setup_type, own, guide, target, here, there):
        setup = setups.load_usable(settings.active().home).find(setup_type, key)
        found = alignment.align(setup, here, there, source=guide["source"], target=target["clock"])
        if own["source"] != guide["source"]:
            found = found.through(own["clock"], _ahead(own, guide))
        pairs = arrays.write("derived", arrays.path_of("ClockSync", key, "pairs"), np.asarray(found.pairs))
        row = {**found.row(), "clock": own["clock"], "target_source": target["source"]}
        return row, found.fit.model.to_json(), pairs

    def make_insert(self, key, row, mapping, pairs):
        self.insert1({**key, **row, "clock_mapping": mapping, "pairs": pairs})


def _ahead(own, guide):
    """Return what must be added to times of one clock to have those of another (s), by the instants of their zeros."""
    zeros = own["clock_start"], guide["clock_start"]
    if None in zeros:
        what = f"{own['source']} is placed through {guide['source']}, and one of their files tells no instant."
        raise UnusableClock(what, {"source": own["source"]}, "Both must be stamped by the computer's clock.")
    return (zeros[0] - zeros[1]).total_seconds()
