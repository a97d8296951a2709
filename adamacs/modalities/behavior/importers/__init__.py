"""From the files of each source to what happened: reader, wiring and detectors put together; no table is known."""

from collections.abc import Mapping
from typing import Final

_HERE = "adamacs.modalities.behavior.importers"
_BONSAI = ("bonsai_events", "bonsai_log", "bonsai_log_trigger", "bonsai_log_acquiring")

IMPORTERS: Final[Mapping[str, str]] = {
    "wavesurfer": f"{_HERE}.wavesurfer:import_wavesurfer",
    "bpod": f"{_HERE}.bpod:import_bpod",
    **dict.fromkeys(_BONSAI, f"{_HERE}.bonsai:import_bonsai"),
    "camera": f"{_HERE}.frames:import_camera",
    "harp_imu": f"{_HERE}.imu:import_imu",
    "harp_frames": f"{_HERE}.frames:import_frame_sync",
}
"""Per parser of a setup type, the `module:function` that finds events in such files."""

TRIAL_IMPORTERS: Final[Mapping[str, str]] = {
    "bpod": f"{_HERE}.bpod:import_bpod_trials",
    **dict.fromkeys(_BONSAI, f"{_HERE}.bonsai:import_bonsai_trials"),
}
"""The same of trials."""

GLANCES: Final[Mapping[str, str]] = {**IMPORTERS, "wavesurfer": f"{_HERE}.wavesurfer:glance_at_frames"}
"""The same, where an importer takes longer than a glance at what is counted."""
