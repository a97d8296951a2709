"""What the files of a scan say about its acquisition."""

from __future__ import annotations

import datajoint as dj

from adamacs.core import clocks, settings
from adamacs.core.errors import ProcessingFailed
from adamacs.modalities.imaging.tables._schema import schema
from adamacs.schemas import scan as scan_schema
from adamacs.schemas.scan import Scan, ScanFile


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
    scanner_frames = 1 : int32  # frames that the scanner drew, averaged and flyback ones included, per one of nframes
    log_averaging = 1  : int16  # frames that were averaged into a saved one
    frames_requested = null : int64  # frames that the scanner was asked to draw; null where that was left open
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
    *("usecs_per_line", "fill_fraction", "scan_duration", "scanner_frames", "log_averaging", "frames_requested"),
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


def promises_of(key):
    """Return what the files of a scan promise of its frames and volumes."""
    from adamacs.modalities.imaging import reader

    row = (ScanInfo & key).fetch1()
    return reader.promised(
        pages=sum((ScanInfo.ScanFile & key).to_arrays("npages").tolist()),
        channels=row["nchannels"],
        averaging=row["log_averaging"],
        scanner_frames=row["scanner_frames"],
        requested=row["frames_requested"],
        fps=row["fps"],
    )


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
