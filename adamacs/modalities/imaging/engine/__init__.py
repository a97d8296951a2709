"""Runs Suite2p on a scan and leaves a finished result folder. Nothing else in adamacs imports Suite2p or torch."""

from __future__ import annotations

from adamacs.modalities.imaging.engine.acquisition import Acquisition, Region, acquisition_of
from adamacs.modalities.imaging.engine.folder import Finished, content_of, landed_content
from adamacs.modalities.imaging.engine.run import load, run_suite2p
from adamacs.modalities.imaging.engine.snapshot import (
    changed_files,
    contents_kept_in,
    restorable,
    restore,
    snapshot,
)
from adamacs.modalities.imaging.engine.tool import import_suite2p

__all__ = [
    "Acquisition",
    "Finished",
    "Region",
    "acquisition_of",
    "changed_files",
    "content_of",
    "contents_kept_in",
    "import_suite2p",
    "landed_content",
    "load",
    "restorable",
    "restore",
    "run_suite2p",
    "snapshot",
]
