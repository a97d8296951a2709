"""Behaviour: auxiliary channels, Bpod, stimuli and movement, each read on its own clock."""

from __future__ import annotations

from adamacs.core.modality import Modality

_BONSAI = ("bonsai_events", "bonsai_log", "bonsai_log_trigger", "bonsai_log_acquiring")
_CONTINUOUS = ("TreadmillRecording", "CamSyncRecording", "HarpRecording")

MODALITY = Modality(
    name="behavior",
    tables="adamacs.modalities.behavior.tables",
    patterns=("*.h5", "*.mat", "*.csv", "*.bin"),
    plan="adamacs.modalities.behavior.plan:plan_scan",
    fills={"cpu": _CONTINUOUS},
    needs=dict.fromkeys(_CONTINUOUS, ("store:derived",)),
    importers={
        "wavesurfer": "adamacs.modalities.behavior.importers.wavesurfer:import_wavesurfer",
        "bpod": "adamacs.modalities.behavior.importers.bpod:import_bpod",
        **dict.fromkeys(_BONSAI, "adamacs.modalities.behavior.importers.bonsai:import_bonsai"),
        "camera": "adamacs.modalities.behavior.importers.frames:import_camera",
        "harp_imu": "adamacs.modalities.behavior.importers.imu:import_imu",
        "harp_frames": "adamacs.modalities.behavior.importers.frames:import_frame_sync",
    },
    trial_importers={"bpod": "adamacs.modalities.behavior.importers.bpod:import_bpod_trials"},
)
