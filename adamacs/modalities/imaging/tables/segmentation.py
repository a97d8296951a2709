"""The ROIs that the tool found, and which of them are cells."""

from __future__ import annotations

import datajoint as dj
import numpy as np

from adamacs.modalities.imaging import numerics
from adamacs.modalities.imaging.tables._schema import schema
from adamacs.modalities.imaging.tables.processing import Curation, request_of
from adamacs.modalities.imaging.tables.results import field_of, read_results, write_array
from adamacs.modalities.imaging.tables.scan_info import Channel, ScanInfo

MASK_PIXEL = np.dtype([("x", "<i4"), ("y", "<i4"), ("weight", "<f4")])  # px, px, 1


@schema
class Segmentation(dj.Computed):
    definition = """
    # The ROIs that the tool found
    -> Curation
    ---
    masks : <array@derived>  # (pixel,) of x (px), y (px), weight: every mask behind the other
    """

    class Mask(dj.Part):
        definition = """
        # One ROI
        -> master
        mask : int32  # 0-based, over all planes
        ---
        -> ScanInfo.Field
        -> Channel.proj(segmentation_channel='channel')
        roi_group = 0 : int32  # the same cell in other sessions; 0: not assigned
        mask_npix     : int32
        mask_center_x : float32  # px
        mask_center_y : float32  # px
        mask_center_z : float32  # plane, counted within a volume
        mask_xpix    : <array@derived>  # int32, (pixel,), px
        mask_ypix    : <array@derived>  # int32, (pixel,), px
        mask_weights : <array@derived>  # float32, (pixel,)
        """

    def make_fetch(self, key):  # the folder of the results with its digest, and the fields of the scan
        return request_of(key)

    def make_compute(self, key, curation, fields):
        results = read_results(curation)
        rois = [(plane, roi) for plane in results.planes for roi in plane.rois]
        pixels, bounds = numerics.join_masks([(roi.xpix, roi.ypix, roi.weights) for _, roi in rois], MASK_PIXEL)
        stored = write_array(self, key, "masks", pixels)
        rows = []
        for number, (plane, roi) in enumerate(rois):
            part = stored.rows(bounds[number], bounds[number + 1])
            field = field_of(plane, fields, key)
            rows.append(
                {
                    "mask": number,
                    "field_idx": field["field_idx"],
                    "segmentation_channel": results.functional_channel,
                    "mask_npix": len(roi.xpix),
                    "mask_center_x": float(np.median(roi.xpix)),
                    "mask_center_y": float(np.median(roi.ypix)),
                    "mask_center_z": field["plane"],
                    "mask_xpix": part.field("x"),
                    "mask_ypix": part.field("y"),
                    "mask_weights": part.field("weight"),
                }
            )
        return stored, rows

    def make_insert(self, key, stored, rows):
        self.insert1({**key, "masks": stored})
        self.Mask.insert([{**key, **row} for row in rows])


@schema
class MaskType(dj.Lookup):
    definition = """
    # What a mask shows
    mask_type : varchar(16)
    """
    contents = [{"mask_type": name} for name in ("soma", "axon", "dendrite", "neuropil", "artefact", "unknown")]


@schema
class MaskClassificationMethod(dj.Lookup):
    definition = """
    # Who judged the masks
    mask_classification_method : varchar(48)
    """
    contents = [{"mask_classification_method": "suite2p_default_classifier"}]


@schema
class MaskClassification(dj.Computed):
    definition = """
    # Which masks are cells
    -> Segmentation
    -> MaskClassificationMethod
    """

    class MaskType(dj.Part):
        definition = """
        # A mask that was accepted
        -> master
        -> Segmentation.Mask
        ---
        -> MaskType
        confidence = null : float32  # 0 to 1
        """

    def make_fetch(self, key):  # the folder of the results with its digest
        return request_of(key)[:1]

    def make_compute(self, key, curation):
        judged = [row for plane in read_results(curation).planes for row in plane.iscell]
        return ([(number, float(p)) for number, (accepted, p) in enumerate(judged) if accepted],)

    def make_insert(self, key, accepted):
        self.insert1(key)
        rows = [{**key, "mask": number, "mask_type": "soma", "confidence": p} for number, p in accepted]
        self.MaskType.insert(rows)
