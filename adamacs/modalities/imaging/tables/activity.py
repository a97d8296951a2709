"""The traces of the ROIs: fluorescence, and the activity inferred from it."""

from __future__ import annotations

import datajoint as dj

from adamacs.modalities.imaging.tables._schema import schema
from adamacs.modalities.imaging.tables.processing import ProcessingParamSet, request_of
from adamacs.modalities.imaging.tables.results import field_of, read_results, write_array
from adamacs.modalities.imaging.tables.scan_info import Channel, ScanInfo
from adamacs.modalities.imaging.tables.segmentation import Segmentation

_TRACE = """
-> master
-> Segmentation.Mask
-> Channel.proj(fluo_channel='channel')
---
fluorescence          : <array@derived>  # float32, (frame,), arbitrary units, at ScanInfo.fps
neuropil_fluorescence : <array@derived>  # float32, (frame,), arbitrary units, around the mask, at ScanInfo.fps
"""


@schema
class Fluorescence(dj.Computed):
    definition = """
    # Raw fluorescence of every mask
    -> Segmentation
    """

    class Field(dj.Part):
        definition = """
        # All traces of a field, for who wants them at once
        -> master
        -> ScanInfo.Field
        -> Channel.proj(fluo_channel='channel')
        ---
        first_mask : int32  # the mask of row 0; rows follow the masks
        fluorescence          : <array@derived>  # float32, (mask, frame), arbitrary units, at ScanInfo.fps
        neuropil_fluorescence : <array@derived>  # float32, (mask, frame), arbitrary units, at ScanInfo.fps
        """

    class Trace(dj.Part):
        definition = "# The functional channel: one row per mask" + _TRACE

    class StructuralTrace(dj.Part):
        definition = "# The same masks on the other channel, where there is one" + _TRACE

    def make_fetch(self, key):  # the folder of the results with its digest, and the fields of the scan
        return request_of(key)

    def make_compute(self, key, curation, fields):
        results = read_results(curation)
        functional = results.functional_channel
        stored, first = [], 0
        for plane in results.planes:
            place = {"field_idx": field_of(plane, fields, key)["field_idx"], "first_mask": first}
            stored.append(self._field(key, place, functional, plane.F, plane.Fneu))
            if plane.F_chan2 is not None:
                stored.append(self._field(key, place, 1 - functional, plane.F_chan2, plane.Fneu_chan2))
            first += len(plane.rois)
        return functional, stored

    def _field(self, key, place, channel, signal, neuropil):
        where = {**key, "field_idx": place["field_idx"], "fluo_channel": channel}
        return {
            **place,
            "fluo_channel": channel,
            "fluorescence": write_array(self, where, "fluorescence", signal),
            "neuropil_fluorescence": write_array(self, where, "neuropil_fluorescence", neuropil),
        }

    def make_insert(self, key, functional, stored):
        self.insert1(key)
        self.Field.insert([{**key, **field} for field in stored])
        for field in stored:
            part = self.Trace if field["fluo_channel"] == functional else self.StructuralTrace
            part.insert([{**key, **row} for row in _rows_of(field, ("fluorescence", "neuropil_fluorescence"))])


def _rows_of(field, names):
    """Yield one row per mask of a field, each value a slice reference into the field's array."""
    for number in range(field[names[0]].shape[0]):
        values = {name: field[name].row(number) for name in names}
        yield {"mask": field["first_mask"] + number, "fluo_channel": field["fluo_channel"], **values}


@schema
class ActivityExtractionMethod(dj.Lookup):
    definition = """
    # How activity is inferred from fluorescence
    extraction_method : varchar(32)
    """
    contents = [{"extraction_method": "suite2p_deconvolution"}]


@schema
class Activity(dj.Computed):
    definition = """
    # Inferred activity of every mask
    -> Fluorescence
    -> ActivityExtractionMethod
    """

    class Field(dj.Part):
        definition = """
        # All traces of a field, for who wants them at once
        -> master
        -> ScanInfo.Field
        -> Channel.proj(fluo_channel='channel')
        ---
        first_mask : int32  # the mask of row 0; rows follow the masks
        activity_trace : <array@derived>  # float32, (mask, frame), arbitrary units, at ScanInfo.fps
        """

    class Trace(dj.Part):
        definition = """
        # One row per mask
        -> master
        -> Fluorescence.Trace
        ---
        activity_trace : <array@derived>  # float32, (frame,), arbitrary units, at ScanInfo.fps
        """

    @property
    def key_source(self):
        suite2p = {"processing_method": "suite2p"}
        methods = ActivityExtractionMethod & {"extraction_method": "suite2p_deconvolution"}
        return (Fluorescence & (ProcessingParamSet & suite2p)) * methods

    def make_fetch(self, key):  # the folder of the results with its digest, and the fields of the scan
        return request_of(key)

    def make_compute(self, key, curation, fields):
        results = read_results(curation)
        stored, first = [], 0
        for plane in results.planes:
            place = {
                "field_idx": field_of(plane, fields, key)["field_idx"],
                "fluo_channel": results.functional_channel,
            }
            trace = write_array(self, {**key, **place}, "activity_trace", plane.spks)
            stored.append({**place, "first_mask": first, "activity_trace": trace})
            first += len(plane.rois)
        return (stored,)

    def make_insert(self, key, stored):
        self.insert1(key)
        self.Field.insert([{**key, **field} for field in stored])
        for field in stored:
            self.Trace.insert([{**key, **row} for row in _rows_of(field, ("activity_trace",))])
