"""How the tissue moved, as the tool saw it."""

from __future__ import annotations

import datajoint as dj
import numpy as np

from adamacs.modalities.imaging import numerics
from adamacs.modalities.imaging.tables._schema import schema
from adamacs.modalities.imaging.tables.processing import Curation, request_of
from adamacs.modalities.imaging.tables.results import field_of, read_results, write_array
from adamacs.modalities.imaging.tables.scan_info import Channel, ScanInfo


@schema
class MotionCorrection(dj.Imported):
    definition = """
    # How the tissue moved, and the pictures that remain when it is held still
    -> Curation
    ---
    -> Channel.proj(motion_correct_channel='channel')
    """

    class RigidMotionCorrection(dj.Part):
        definition = """
        # Shifts of whole frames
        -> master
        -> ScanInfo.Field
        ---
        y_shifts : <array@derived>  # int32, (frame,), px, at ScanInfo.fps
        x_shifts : <array@derived>  # int32, (frame,), px, at ScanInfo.fps
        outlier_frames : <array@derived>  # bool, (frame,), at ScanInfo.fps: left out of detection
        y_std : float32  # px
        x_std : float32  # px
        """

    class NonRigidMotionCorrection(dj.Part):
        definition = """
        # The blocks of non-rigid registration
        -> master
        -> ScanInfo.Field
        ---
        block_height  : int32  # px
        block_width   : int32  # px
        block_count_y : int16
        block_count_x : int16
        """

    class Block(dj.Part):
        definition = """
        # Shifts of one block
        -> MotionCorrection.NonRigidMotionCorrection
        block_id : int16
        ---
        block_y_start : int32  # px
        block_y_end   : int32  # px, exclusive
        block_x_start : int32  # px
        block_x_end   : int32  # px, exclusive
        y_shifts : <array@derived>  # float32, (frame,), px, on top of the rigid ones, at ScanInfo.fps
        x_shifts : <array@derived>  # float32, (frame,), px, on top of the rigid ones, at ScanInfo.fps
        y_std : float32  # px
        x_std : float32  # px
        """

    class Summary(dj.Part):
        definition = """
        # Pictures of a field after registration; NaN outside the valid area
        -> master
        -> ScanInfo.Field
        ---
        ref_image         : <array@derived>  # float32, (y, x), px
        average_image     : <array@derived>  # float32, (y, x), px
        correlation_image : <array@derived>  # float32, (y, x), px
        max_proj_image    : <array@derived>  # float32, (y, x), px
        """

    def make_fetch(self, key):  # the folder of the results with its digest, and the fields of the scan
        return request_of(key)

    def make_compute(self, key, curation, fields):
        parts = {"rigid": [], "nonrigid": [], "block": [], "summary": []}
        results = read_results(curation)
        for plane in results.planes:
            place = {"field_idx": field_of(plane, fields, key)["field_idx"]}
            parts["rigid"].append({**place, **self._rigid(key, place, plane)})
            if plane.nonrigid:
                parts["nonrigid"].append({**place, **numerics.block_layout(plane.blocks)})
                parts["block"] += [{**place, **block} for block in self._blocks(key, place, plane)]
            parts["summary"].append({**place, **self._summary(key, place, plane)})
        return results.align_channel, parts

    def _rigid(self, key, place, plane):
        shifts = write_array(self, {**key, **place}, "rigid_shifts", np.stack([plane.yoff, plane.xoff]))
        return {
            "y_shifts": shifts.row(0),
            "x_shifts": shifts.row(1),
            "outlier_frames": write_array(self, {**key, **place}, "outlier_frames", plane.badframes),
            "y_std": float(np.std(plane.yoff)),
            "x_std": float(np.std(plane.xoff)),
        }

    def _blocks(self, key, place, plane):
        y_shifts = write_array(self, {**key, **place}, "block_y_shifts", np.ascontiguousarray(plane.yoff1.T))
        x_shifts = write_array(self, {**key, **place}, "block_x_shifts", np.ascontiguousarray(plane.xoff1.T))
        for number, ((y_start, y_end), (x_start, x_end)) in enumerate(plane.blocks):
            yield {
                "block_id": number,
                "block_y_start": y_start,
                "block_y_end": y_end,
                "block_x_start": x_start,
                "block_x_end": x_end,
                "y_shifts": y_shifts.row(number),
                "x_shifts": x_shifts.row(number),
                "y_std": float(np.std(plane.yoff1[:, number])),
                "x_std": float(np.std(plane.xoff1[:, number])),
            }

    def _summary(self, key, place, plane):
        names = ("ref_image", "average_image", "correlation_image", "max_proj_image")
        images = np.stack([getattr(plane, name) for name in names]).astype("f4")
        stored = write_array(self, {**key, **place}, "images", images)
        return {name: stored.row(number) for number, name in enumerate(names)}

    def make_insert(self, key, channel, parts):
        self.insert1({**key, "motion_correct_channel": channel})
        tables = (self.RigidMotionCorrection, self.NonRigidMotionCorrection, self.Block, self.Summary)
        for table, rows in zip(tables, parts.values(), strict=True):
            table.insert([{**key, **row} for row in rows])
