"""How the clocks of a scan go together: any time of any source converts to scan time by a stored mapping."""

from __future__ import annotations

import datajoint as dj
import numpy as np

from adamacs.core import settings, setups
from adamacs.core.clocks import alignment
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
        ready = dj.U("session_id", "scan_id") & (imported & (Clock & {"is_scan_time": True}))
        placed = BehaviorRecording.Source & (Clock & {"is_scan_time": False, "is_placed": True})
        return EventImport & placed & ready

    def make_fetch(
        self, key
    ):  # setup type, source and clock of both sides, and times (s) of their events by their type
        scan = {name: key[name] for name in ("session_id", "scan_id")}
        own = (BehaviorRecording.Source & key).fetch1("source", "clock")
        scan_time = Clock & scan & {"is_scan_time": True}
        target = (BehaviorRecording.Source & scan & scan_time & EventImport).fetch1("source", "clock")
        events = (self._events({**scan, "source": source}) for source, _ in (own, target))
        return (scan_schema.setup_of(scan), [str(name) for name in (*own, *target)], *events)

    @staticmethod
    def _events(key):
        """Return start and end (s) of the events of a source, by their type."""
        found = {}
        for row in (EventImport.Event & key).to_dicts(order_by="event_id"):
            found.setdefault(row["event_type"], []).append((row["event_start_time"], row["event_end_time"]))
        return found

    def make_compute(self, key, setup_type, sides, here, there):
        _, clock, target_source, target = sides
        setup = setups.load_usable(settings.active().home).find(setup_type, key)
        found = alignment.align(setup, here, there, source=clock, target=target)
        pairs = arrays.write("derived", arrays.path_of("ClockSync", key, "pairs"), np.asarray(found.pairs))
        return {**found.row(), "clock": clock, "target_source": target_source}, found.fit.model.to_json(), pairs

    def make_insert(self, key, row, mapping, pairs):
        self.insert1({**key, **row, "clock_mapping": mapping, "pairs": pairs})
