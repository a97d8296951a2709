"""Simple numbers by which good masks and traces are told from bad ones."""

from __future__ import annotations

import datajoint as dj
import numpy as np

from adamacs.modalities.imaging import numerics
from adamacs.modalities.imaging.tables._schema import schema
from adamacs.modalities.imaging.tables.activity import Fluorescence
from adamacs.modalities.imaging.tables.scan_info import ScanInfo
from adamacs.modalities.imaging.tables.segmentation import Segmentation


@schema
class ProcessingQualityMetrics(dj.Computed):
    definition = """
    # Simple numbers by which good masks and traces are told from bad ones
    -> Fluorescence
    """

    class Mask(dj.Part):
        definition = """
        # Of a mask
        -> master
        -> Segmentation.Mask
        ---
        mask_area = null : float32  # µm²; NULL where the header gives no field size
        roundness        : float32  # 0 (a line) to 1 (a disc)
        """

    class Trace(dj.Part):
        definition = """
        # Of a trace
        -> master
        -> Fluorescence.Trace
        ---
        skewness : float32  # of the fluorescence
        std      : float32  # of the fluorescence, arbitrary units
        """

    def make_fetch(self, key):  # references to masks and traces, and the size of a pixel
        masks = (Segmentation.Mask * ScanInfo.Field & key).to_dicts(order_by="mask")
        traces = (Fluorescence.Field & key).to_dicts(order_by=("field_idx", "fluo_channel"))
        first = (Fluorescence.Trace.proj() & key).to_dicts(limit=1)
        return (masks, [t for t in traces if first and t["fluo_channel"] == first[0]["fluo_channel"]])

    def make_compute(self, key, masks, traces):
        of_masks = [
            {
                "mask": row["mask"],
                "mask_area": numerics.mask_area(row),
                "roundness": numerics.roundness(np.asarray(row["mask_xpix"]), np.asarray(row["mask_ypix"])),
            }
            for row in masks
        ]
        of_traces = []
        for field in traces:
            signal = np.asarray(field["fluorescence"])
            numbers = zip(numerics.skewness(signal), numerics.spread(signal), strict=True)
            for number, (skewness, std) in enumerate(numbers):
                place = {"mask": field["first_mask"] + number, "fluo_channel": field["fluo_channel"]}
                of_traces.append({**place, "skewness": float(skewness), "std": float(std)})
        return of_masks, of_traces

    def make_insert(self, key, of_masks, of_traces):
        self.insert1(key)
        self.Mask.insert([{**key, **row} for row in of_masks])
        self.Trace.insert([{**key, **row} for row in of_traces])
