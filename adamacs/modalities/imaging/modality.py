"""Two-photon imaging: ScanImage recordings, processed with Suite2p."""

from __future__ import annotations

from adamacs.core.modality import Modality, Teller

MODALITY = Modality(
    name="imaging",
    tables="adamacs.modalities.imaging.tables",
    patterns=("*.tif", "*.tiff"),
    look="adamacs.modalities.imaging.reader:look",
    readers=dict.fromkeys((".tif", ".tiff"), "adamacs.modalities.imaging.reader:read_file"),
    plan="adamacs.modalities.imaging.plan:plan_scan",
    fills={
        "cpu": (
            "ScanInfo",
            "Processing",
            "MotionCorrection",
            "Segmentation",
            "MaskClassification",
            "Fluorescence",
            "Activity",
            "ProcessingQualityMetrics",
        )
    },
    needs={
        "Processing": ("tool:suite2p", "root:processed"),
        "MotionCorrection": ("store:derived",),
        "Segmentation": ("store:derived",),
        "Fluorescence": ("store:derived",),
        "Activity": ("store:derived",),
    },
    made="adamacs.modalities.imaging.tables.processing:made_folders",
    staged_by={
        "imaging.ProcessingParamSet": "adamacs paramset add FILE.toml",
        "imaging.ProcessingTask": "adamacs ingest apply FOLDER --paramset INDEX",
        "imaging.Curation": "adamacs curate add KEY",
    },
    tellers={
        "ScanImage": Teller(
            "ScanInfo", "adamacs.modalities.imaging.tables.scan_info:promises_of", ("two_photon_frames",)
        )
    },
    tools={"suite2p": "imaging", "cellpose": "imaging", "torch": "imaging", "tifffile": "", "blosc2": ""},
    imports={"suite2p": "adamacs.modalities.imaging.engine.tool:import_suite2p"},
)
