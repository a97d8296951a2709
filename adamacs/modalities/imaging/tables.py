"""Tables of two-photon imaging: from the TIFF header to deconvolved activity.

Names and keys follow element-calcium-imaging and the lab; each difference stands in docs/reference/contract.md.
Arrays rest in the store `derived`; rows hold frozen references to them.
"""

from __future__ import annotations

from pathlib import Path, PurePath, PurePosixPath

import datajoint as dj
import numpy as np

from adamacs.core import clocks, devices, settings
from adamacs.core.errors import InvalidParameters, ProcessingFailed, UnsafePath
from adamacs.modalities.imaging import numerics
from adamacs.schemas import scan as scan_schema
from adamacs.schemas.scan import Scan, ScanFile
from adamacs.storage import arrays

schema = dj.Schema()


def result_folder(relative: str | PurePath, lab: settings.Settings | None = None) -> Path:
    """Return where the folder of a task or a curation lies on this machine: absolute, every link followed.

    Parameters
    ----------
    relative
        POSIX, relative to the root `processed`, as the row holds it.
    lab
        The settings that name the root; by default those in use.

    Raises
    ------
    UnsafePath
        It names the root itself, or leads out of it: absolute, by `..`, or by a link.
    """
    root = (lab or settings.active()).root("processed").resolve()
    pure = PurePosixPath(relative)
    folder = (root / pure).resolve()
    if ".." in pure.parts or folder == root or not folder.is_relative_to(root):
        raise UnsafePath(f"This is no folder below the root `processed`, {root}.", repr(str(relative)))
    return folder


@schema
class Channel(dj.Lookup):
    definition = """
    # A detection channel of the microscope
    channel : int16  # 0-based
    """
    contents = [{"channel": number} for number in range(5)]


@schema
class ScanInfo(dj.Imported):
    definition = """
    # What the files of a scan say about its acquisition
    -> Scan
    ---
    nfields   : int16  # imaged fields: planes, or planes times ROIs
    nchannels : int16  # saved channels
    ndepths   : int16  # imaged planes of a volume
    nframes   : int32  # complete volumes (frames where there is one plane)
    nrois     : int16  # ROIs of a multi-ROI acquisition, 0 otherwise
    x = null : float64  # µm, motor position
    y = null : float64  # µm, motor position
    z = null : float64  # µm, motor position
    fps      : float64  # Hz, volume rate
    bidirectional = null : bool
    usecs_per_line = null : float64  # µs
    fill_fraction = null  : float64  # temporal, of a line
    scan_datetime = null  : datetime(3)  # naive UTC, of the instrument's clock in the lab's time zone
    scan_duration         : float64      # s, nframes / fps
    userfunction_info = '' : varchar(255)  # setup type that the operator chose
    acq_version = '' : varchar(32)  # version of the acquisition software
    """

    class Field(dj.Part):
        definition = """
        # One imaged field: a plane, or one ROI of a plane
        -> master
        field_idx : int16  # 0-based
        ---
        px_height : int32  # px
        px_width  : int32  # px
        um_height = null : float64  # µm
        um_width = null  : float64  # µm
        field_x = null   : float64  # µm, centre
        field_y = null   : float64  # µm, centre
        field_z = null   : float64  # µm
        plane   : int16  # index of the plane within a volume
        roi = null : int16  # index of the ROI of a multi-ROI acquisition
        power = null : float64  # percent, first beam
        zoom = null  : float64
        """

    class ScanFile(dj.Part):
        definition = """
        # A file that the acquisition consists of, in order
        -> master
        -> ScanFile
        ---
        npages : int32  # images in the file
        """

    @property
    def key_source(self):
        return Scan & {"acq_software": "ScanImage"}

    def make_fetch(self, key):  # the file rows of the scan, in order
        return ((ScanFile & key).to_dicts(order_by="file_id"),)

    def make_compute(self, key, rows):
        from adamacs.modalities.imaging import reader

        by_path = {scan_schema.require_unchanged(row): row["file_id"] for row in rows}
        info = reader.read_scan(reader.single_acquisition(by_path))
        files = [{"file_id": by_path[file.path], "npages": file.pages} for file in info.files]
        return _scan_row(info), [_field_row(info, field) for field in info.fields], files

    def make_insert(self, key, scan, fields, files):
        self.insert1({**key, **scan})
        self.Field.insert([{**key, **field} for field in fields])
        self.ScanFile.insert([{**key, **file} for file in files])


_SCAN_COLUMNS = (
    *("nfields", "nchannels", "ndepths", "nframes", "x", "y", "z", "fps", "bidirectional"),
    *("usecs_per_line", "fill_fraction", "scan_duration"),
)


def _scan_row(info):
    """Return the columns of ScanInfo that a read scan gives."""
    return {
        **{name: getattr(info, name) for name in _SCAN_COLUMNS},
        "scan_datetime": info.scan_datetime and clocks.from_local(info.scan_datetime, settings.active().zone),
        "nrois": info.nrois if info.nrois > 1 else 0,
        "userfunction_info": info.userfunction_info or "",
        "acq_version": info.version,
    }


def _field_row(info, field):
    """Return the columns of ScanInfo.Field that a read field gives."""
    return {
        **{name: getattr(field, name) for name in ("field_idx", "px_height", "px_width", "um_height", "um_width")},
        **{f"field_{axis}": getattr(field, axis) for axis in "xyz"},
        "plane": field.plane,
        "roi": field.roi if info.nrois > 1 else None,
        "power": field.powers[0] if field.powers else None,
        "zoom": info.zoom,
    }


@schema
class ProcessingMethod(dj.Lookup):
    definition = """
    # A tool that turns movies into cells
    processing_method : varchar(16)
    ---
    processing_method_desc = '' : varchar(255)
    """
    contents = [{"processing_method": "suite2p", "processing_method_desc": "Suite2p: register, detect, extract"}]


@schema
class ProcessingParamSet(dj.Manual):
    definition = """
    # One way to run a tool of one version
    paramset_idx : int16
    ---
    -> ProcessingMethod
    tool_version   : varchar(16)  # another version is another set
    paramset_desc  : varchar(1280)
    param_set_hash : varchar(64)  # hex, of method, version and parameters
    validated      : bool         # False where the set was read from results that others made
    params         : json         # nested, only what differs from the tool's defaults
    unique index (param_set_hash)
    """

    @classmethod
    def insert_new(cls, params, *, paramset_idx=None, desc="", method="suite2p", tool_version=None, validated=True):
        """Add a parameter set, or return the index of the same one that is there already.

        Parameters
        ----------
        params
            Nested dict of the tool's own parameters; what is left out takes the tool's default.
        paramset_idx
            The index to give it; by default the next free one.
        tool_version
            By default the version that adamacs knows.
        validated
            False takes the parameters as they are: for results that were made elsewhere.

        Raises
        ------
        InvalidParameters
            A key is unknown (with the nearest name), a value is refused, or the index holds another set.
        """
        from adamacs.modalities.imaging import parameters

        version = tool_version or parameters.SUITE2P_VERSION
        if validated:
            params = parameters.validate(method, version, params)
        digest = parameters.param_hash(method, version, params)
        if same := (cls & {"param_set_hash": digest}).to_arrays("paramset_idx").tolist():
            if paramset_idx not in (None, same[0]):
                raise InvalidParameters("These parameters are there already.", {"paramset_idx": same[0]})
            return same[0]
        if paramset_idx is None:
            paramset_idx = max(cls.to_arrays("paramset_idx").tolist(), default=-1) + 1
        if cls & {"paramset_idx": paramset_idx}:
            hint = "A set never changes: give the new one another index."
            raise InvalidParameters("This index holds other parameters.", {"paramset_idx": paramset_idx}, hint)
        cls.insert1(
            {
                "paramset_idx": paramset_idx,
                "processing_method": method,
                "tool_version": version,
                "paramset_desc": desc,
                "param_set_hash": digest,
                "validated": validated,
                "params": params,
            }
        )
        return paramset_idx


@schema
class ProcessingTask(dj.Manual):
    definition = """
    # A request: this scan, processed this way
    -> Scan
    -> ProcessingParamSet
    ---
    processing_output_dir : varchar(1023)  # POSIX, relative to the root `processed`
    task_mode : varchar(8)  # trigger: compute; load: take the results that lie there
    functional_channel = 0 : int16  # the saved channel to extract, 0-based
    """


@schema
class Processing(dj.Computed):
    definition = """
    # A finished run of the tool
    -> ProcessingTask
    ---
    processing_time : datetime(6)  # naive UTC, when the folder was finished
    package_version : varchar(16)  # of the tool that made the folder; empty where it does not say
    manifest_digest : varchar(64)  # blake3 (hex) over the checksums of the planes' arrays
    """

    @property
    def key_source(self):
        return ProcessingTask & ScanInfo

    def make_fetch(self, key):  # the request with its parameters, the files in order, and what the scan holds
        task = (ProcessingTask * ProcessingParamSet & key).fetch1()
        return task, (ScanInfo.ScanFile * ScanFile & key).to_dicts(order_by="file_id"), *scan_of(key)

    def make_compute(self, key, task, files, info, fields):
        from adamacs.modalities.imaging import engine
        from adamacs.modalities.imaging.reader import suite2p

        folder = result_folder(task["processing_output_dir"])
        if task["task_mode"] == "load":
            require_fit(suite2p.read_result(folder), info, fields)
            return (engine.load(folder),)
        if not task["validated"]:
            raise ProcessingFailed("These parameters came with foreign results and were never validated.", key)
        return (_run_suite2p(folder, task, [scan_schema.require_unchanged(row) for row in files]),)

    def make_insert(self, key, finished):
        self.insert1(
            {
                **key,
                "processing_time": finished.time,
                "package_version": finished.version,
                "manifest_digest": finished.digest,
            }
        )
        folder = (ProcessingTask & key).fetch1("processing_output_dir")
        Curation.insert1(
            {
                **key,
                "curation_id": 1,
                "curation_time": finished.time,
                "curation_output_dir": folder,
                "manual_curation": False,
                "curation_note": "as the tool left it",
            }
        )


def _run_suite2p(folder, task, paths):
    from adamacs.modalities.imaging import engine, reader

    workers = settings.active().workers
    return engine.run_suite2p(
        paths,
        folder,
        task["params"],
        engine.acquisition_of(reader.read_scan(paths), functional_channel=task["functional_channel"]),
        device=workers.device,
        threads=workers.threads or devices.cores(),
        scratch=Path(workers.scratch) if workers.scratch else None,
        version=task["tool_version"],
    )


@schema
class Curation(dj.Manual):
    definition = """
    # A state of the results: 1 is the tool's own, further ones a person's
    -> Processing
    curation_id : int16
    ---
    curation_time       : datetime(6)    # naive UTC
    curation_output_dir : varchar(1023)  # POSIX, relative to the root `processed`
    manual_curation     : bool
    curation_note = ''  : varchar(2000)
    """


def scan_of(key):
    """Return the row of ScanInfo and those of its fields, in the order of the planes of a result.

    Raises
    ------
    ProcessingFailed
        The headers of the scan were not read yet.
    """
    found = (ScanInfo & key).to_dicts()
    if len(found) != 1:
        hint = "Run `adamacs work` first: it reads them."
        raise ProcessingFailed("The headers of this scan were not read yet.", key, hint)
    return found[0], (ScanInfo.Field & key).to_dicts(order_by="field_idx")


def require_fit(result, info, fields):
    """Refuse results that were made of another scan.

    Parameters
    ----------
    result
        As `reader.suite2p.read_result` gives it; without the planes that were skipped as flyback.
    info, fields
        Of the scan, see `scan_of`.

    Raises
    ------
    ProcessingFailed
        Planes, frames, pixels or channels are others; all that differs is told.
    """
    if misfits := list(_misfits(result, info, fields)):
        hint = f"Were they made of {info['scan_id']}?"
        raise ProcessingFailed(f"The results do not fit the scan: {'; '.join(misfits)}.", result.folder, hint)


def _misfits(result, info, fields):
    numbers = [plane.index for plane in result.planes]
    if numbers != list(range(len(fields))):
        yield f"planes {', '.join(map(str, numbers))}, and the scan has {len(fields)} from 0"
        return
    spare = int(info["ndepths"] > 1)  # the last volume may be incomplete
    channels = min(info["nchannels"], 2)  # Suite2p extracts no more
    for plane, field in zip(result.planes, fields, strict=True):
        height, width = field["px_height"], field["px_width"]
        if abs(plane.nframes - info["nframes"]) > spare:
            yield f"{plane.nframes} frames of plane {plane.index}, and the scan has {info['nframes']}"
        if (plane.height, plane.width) != (height, width):
            yield f"{plane.height} x {plane.width} px of plane {plane.index}, and the scan has {height} x {width}"
        if (found := 1 + (plane.F_chan2 is not None)) != channels:
            yield f"{found} channels of plane {plane.index}, and the scan has {info['nchannels']}"


def read_results(curation):
    """Read what Suite2p left in a curation's folder: `folder` relative to the root `processed`, and its `digest`."""
    from adamacs.modalities.imaging.reader import suite2p

    path = result_folder(curation["folder"])
    _require_untouched(path, curation["digest"])
    return suite2p.read_result(path)


def _require_untouched(path, digest):
    """Refuse results that somebody edited in place: a curation stands for what they were when it was made."""
    from adamacs.modalities.imaging import engine

    landed, present = engine.landed_content(path), engine.content_of(path)
    if digest is None:
        digest = landed.digest if landed else present.digest
    if present.digest == digest:
        return
    changed = {entry.path for entry in set(landed.entries) ^ set(present.entries)} if landed else ()
    what = f"The results changed since they were finished{': ' if changed else ''}{', '.join(sorted(changed))}."
    raise ProcessingFailed(what, path, "`adamacs curate add` keeps an edited folder; then put the old files back.")


def _request(key):
    """Return what `read_results` wants to know of a curation, and the fields of its scan by plane."""
    row = (Curation * Processing & key).fetch1()
    # The tool's own state is told by Processing; the copy of a person's edits has a manifest of its own.
    digest = row["manifest_digest"] if row["curation_id"] == 1 else None
    curation = {"folder": row["curation_output_dir"], "digest": digest}
    return curation, (ScanInfo.Field & key).to_dicts(order_by="field_idx")


def _write(table, key, name, array):
    return arrays.write("derived", arrays.path_of(table.__class__.__name__, key, name), array)


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
        return _request(key)

    def make_compute(self, key, curation, fields):
        parts = {"rigid": [], "nonrigid": [], "block": [], "summary": []}
        results = read_results(curation)
        for plane in results.planes:
            place = {"field_idx": _field_of(plane, fields, key)["field_idx"]}
            parts["rigid"].append({**place, **self._rigid(key, place, plane)})
            if plane.nonrigid:
                parts["nonrigid"].append({**place, **numerics.block_layout(plane.blocks)})
                parts["block"] += [{**place, **block} for block in self._blocks(key, place, plane)]
            parts["summary"].append({**place, **self._summary(key, place, plane)})
        return results.align_channel, parts

    def _rigid(self, key, place, plane):
        shifts = _write(self, {**key, **place}, "rigid_shifts", np.stack([plane.yoff, plane.xoff]))
        return {
            "y_shifts": shifts.row(0),
            "x_shifts": shifts.row(1),
            "outlier_frames": _write(self, {**key, **place}, "outlier_frames", plane.badframes),
            "y_std": float(np.std(plane.yoff)),
            "x_std": float(np.std(plane.xoff)),
        }

    def _blocks(self, key, place, plane):
        y_shifts = _write(self, {**key, **place}, "block_y_shifts", np.ascontiguousarray(plane.yoff1.T))
        x_shifts = _write(self, {**key, **place}, "block_x_shifts", np.ascontiguousarray(plane.xoff1.T))
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
        stored = _write(self, {**key, **place}, "images", images)
        return {name: stored.row(number) for number, name in enumerate(names)}

    def make_insert(self, key, channel, parts):
        self.insert1({**key, "motion_correct_channel": channel})
        tables = (self.RigidMotionCorrection, self.NonRigidMotionCorrection, self.Block, self.Summary)
        for table, rows in zip(tables, parts.values(), strict=True):
            table.insert([{**key, **row} for row in rows])


def _field_of(plane, fields, key):
    """Return the field of a result plane: planes follow the fields in order."""
    if plane.index >= len(fields):
        raise ProcessingFailed(f"The results hold plane {plane.index}, the scan {len(fields)} fields.", key)
    return fields[plane.index]


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
        return _request(key)

    def make_compute(self, key, curation, fields):
        results = read_results(curation)
        rois = [(plane, roi) for plane in results.planes for roi in plane.rois]
        pixels, bounds = numerics.join_masks([(roi.xpix, roi.ypix, roi.weights) for _, roi in rois], MASK_PIXEL)
        stored = _write(self, key, "masks", pixels)
        rows = []
        for number, (plane, roi) in enumerate(rois):
            part = stored.rows(bounds[number], bounds[number + 1])
            field = _field_of(plane, fields, key)
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
        return _request(key)[:1]

    def make_compute(self, key, curation):
        judged = [row for plane in read_results(curation).planes for row in plane.iscell]
        return ([(number, float(p)) for number, (accepted, p) in enumerate(judged) if accepted],)

    def make_insert(self, key, accepted):
        self.insert1(key)
        rows = [{**key, "mask": number, "mask_type": "soma", "confidence": p} for number, p in accepted]
        self.MaskType.insert(rows)


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
        definition = """
        # The functional channel: one row per mask
        -> master
        -> Segmentation.Mask
        -> Channel.proj(fluo_channel='channel')
        ---
        fluorescence          : <array@derived>  # float32, (frame,), arbitrary units, at ScanInfo.fps
        neuropil_fluorescence : <array@derived>  # float32, (frame,), arbitrary units, around the mask, at ScanInfo.fps
        """

    class StructuralTrace(dj.Part):
        definition = """
        # The same masks on the other channel, where there is one
        -> master
        -> Segmentation.Mask
        -> Channel.proj(fluo_channel='channel')
        ---
        fluorescence          : <array@derived>  # float32, (frame,), arbitrary units, at ScanInfo.fps
        neuropil_fluorescence : <array@derived>  # float32, (frame,), arbitrary units, around the mask, at ScanInfo.fps
        """

    def make_fetch(self, key):  # the folder of the results with its digest, and the fields of the scan
        return _request(key)

    def make_compute(self, key, curation, fields):
        results = read_results(curation)
        functional = results.functional_channel
        stored, first = [], 0
        for plane in results.planes:
            place = {"field_idx": _field_of(plane, fields, key)["field_idx"], "first_mask": first}
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
            "fluorescence": _write(self, where, "fluorescence", signal),
            "neuropil_fluorescence": _write(self, where, "neuropil_fluorescence", neuropil),
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
        return _request(key)

    def make_compute(self, key, curation, fields):
        results = read_results(curation)
        stored, first = [], 0
        for plane in results.planes:
            place = {
                "field_idx": _field_of(plane, fields, key)["field_idx"],
                "fluo_channel": results.functional_channel,
            }
            trace = _write(self, {**key, **place}, "activity_trace", plane.spks)
            stored.append({**place, "first_mask": first, "activity_trace": trace})
            first += len(plane.rois)
        return (stored,)

    def make_insert(self, key, stored):
        self.insert1(key)
        self.Field.insert([{**key, **field} for field in stored])
        for field in stored:
            self.Trace.insert([{**key, **row} for row in _rows_of(field, ("activity_trace",))])


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
            numbers = zip(numerics.skewness(signal), signal.std(axis=1), strict=True)
            for number, (skewness, std) in enumerate(numbers):
                place = {"mask": field["first_mask"] + number, "fluo_channel": field["fluo_channel"]}
                of_traces.append({**place, "skewness": float(skewness), "std": float(std)})
        return of_masks, of_traces

    def make_insert(self, key, of_masks, of_traces):
        self.insert1(key)
        self.Mask.insert([{**key, **row} for row in of_masks])
        self.Trace.insert([{**key, **row} for row in of_traces])
