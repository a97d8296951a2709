"""Reader of ScanImage recordings: files to objects; knows no table."""

from adamacs.modalities.imaging.reader.acquisitions import Acquisition, find_acquisitions, single_acquisition
from adamacs.modalities.imaging.reader.folder import look, read_file
from adamacs.modalities.imaging.reader.promises import TELLER, promised
from adamacs.modalities.imaging.reader.scanimage import Field, ScanFile, ScanImageScan, delay_image, read_scan

__all__ = [
    "TELLER",
    "Acquisition",
    "Field",
    "ScanFile",
    "ScanImageScan",
    "delay_image",
    "find_acquisitions",
    "look",
    "promised",
    "read_file",
    "read_scan",
    "single_acquisition",
]
