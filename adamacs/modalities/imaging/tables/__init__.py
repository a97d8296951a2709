"""Tables of two-photon imaging: from the TIFF header to deconvolved activity.

Names and keys follow element-calcium-imaging and the lab; each difference stands in docs/reference/contract.md.
Arrays rest in the store `derived`; rows hold frozen references to them.
"""

from __future__ import annotations

# In the order in which the tables depend on each other; diagrams and pages keep it.
# isort: off
from adamacs.modalities.imaging.tables._schema import schema
from adamacs.modalities.imaging.tables.scan_info import Channel, ScanInfo, scan_of
from adamacs.modalities.imaging.tables.processing import (
    Curation,
    Processing,
    ProcessingMethod,
    ProcessingParamSet,
    ProcessingTask,
    ProjectParamSet,
    neuropil_coefficient,
)
from adamacs.modalities.imaging.tables.motion import MotionCorrection
from adamacs.modalities.imaging.tables.segmentation import (
    MASK_PIXEL,
    MaskClassification,
    MaskClassificationMethod,
    MaskType,
    Segmentation,
)
from adamacs.modalities.imaging.tables.activity import Activity, ActivityExtractionMethod, Fluorescence
from adamacs.modalities.imaging.tables.quality import ProcessingQualityMetrics
from adamacs.modalities.imaging.tables.results import add_arguments, read_results, require_fit, result_folder
# isort: on

__all__ = [
    "MASK_PIXEL",
    "Activity",
    "ActivityExtractionMethod",
    "Channel",
    "Curation",
    "Fluorescence",
    "MaskClassification",
    "MaskClassificationMethod",
    "MaskType",
    "MotionCorrection",
    "Processing",
    "ProcessingMethod",
    "ProcessingParamSet",
    "ProcessingQualityMetrics",
    "ProcessingTask",
    "ProjectParamSet",
    "ScanInfo",
    "Segmentation",
    "add_arguments",
    "neuropil_coefficient",
    "read_results",
    "require_fit",
    "result_folder",
    "scan_of",
    "schema",
]
