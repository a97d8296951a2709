"""A scan: one acquisition of an instrument within a session, and the files it left."""

from __future__ import annotations

from pathlib import Path

import datajoint as dj

from adamacs.core import clocks, settings
from adamacs.core.errors import MissingFile, UnreadableFile
from adamacs.schemas.equipment import Equipment
from adamacs.schemas.session import Session
from adamacs.schemas.subject import User
from adamacs.schemas.surgery import AnatomicalLocation
from adamacs.storage import checksum

schema = dj.Schema()


@schema
class AcquisitionSoftware(dj.Lookup):
    definition = """
    # The program that wrote a scan
    acq_software : varchar(24)
    """
    contents = [{"acq_software": name} for name in ("ScanImage", "Scanbox", "NIS", "none")]


@schema
class Scan(dj.Manual):
    definition = """
    # One acquisition within a session
    -> Session
    scan_id : varchar(64)  # whole token, scan9FY6AIRM
    ---
    -> [nullable] Equipment
    -> AcquisitionSoftware
    scan_notes = '' : varchar(4095)
    """


@schema
class ScanPath(dj.Manual):
    definition = """
    # The recording folder of a scan
    -> Scan
    ---
    -> User
    root : varchar(32)    # name of a root, such as share
    path : varchar(1023)  # POSIX, relative to the root
    """


@schema
class ScanLocation(dj.Manual):
    definition = """
    # Where in the brain a scan was taken
    -> Scan
    ---
    -> AnatomicalLocation
    """


@schema
class ScanSetup(dj.Manual):
    definition = """
    # The setup type a scan was recorded on
    -> Scan
    ---
    setup_type : varchar(64)  # canonical name, such as mini2p1_openfield; see `adamacs setups list`
    """


@schema
class ScanFile(dj.Manual):
    definition = """
    # A raw file of a scan, as it was when the scan was planned
    -> Scan
    file_id : int32  # 1..n in natural order of the names
    ---
    root      : varchar(32)    # name of a root, such as share
    file_path : varchar(1023)  # POSIX, relative to the root
    file_size : int64          # bytes
    file_time : datetime(6)    # naive UTC, last modification
    """


def setup_of(key: dict) -> str:
    """Return the setup type of a scan; empty where none is known."""
    found = (ScanSetup & key).to_arrays("setup_type")
    return str(found[0]) if len(found) else ""


def path_of(row: dict) -> Path:
    """Return the absolute path of a ScanFile row on this machine."""
    return settings.active().root(row["root"]) / row["file_path"]


def require_unchanged(row: dict) -> Path:
    """Return the absolute path of a ScanFile row, after comparing the file with what was ingested.

    Raises
    ------
    MissingFile
        The file is gone, or its share is not mounted.
    UnreadableFile
        Its size or time of modification is another one.
    """
    path = path_of(row)
    if not path.is_file():
        raise MissingFile("The file is gone since it was ingested.", path, "Was the folder moved or renamed?")
    status = path.stat()
    found = {"file_size": status.st_size, "file_time": clocks.from_file_time(status.st_mtime_ns)}
    if other := [f"{name} {found[name]}, not {row[name]}" for name in found if found[name] != row[name]]:
        what = f"The file changed since it was ingested: {'; '.join(other)}."
        raise UnreadableFile(what, path, "Put the recorded file back with its time (`cp -p`), or remove the scan.")
    return path


@schema
class ScanFileChecksum(dj.Computed):
    definition = """
    # A raw file that was read whole: a file is verified, or not yet
    -> ScanFile
    ---
    blake3      : varchar(64)  # hex digest of the whole file
    verified_at : datetime(6)  # naive UTC
    """

    def make_fetch(self, key):  # path, size (bytes) and time of the file as planned
        return ((ScanFile & key).fetch1(),)

    def make_compute(self, key, row):
        return checksum.blake3_of(require_unchanged(row)), clocks.now()

    def make_insert(self, key, digest, now):
        self.insert1({**key, "blake3": digest, "verified_at": now})
