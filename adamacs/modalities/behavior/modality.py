"""Behaviour: auxiliary channels, Bpod, stimuli and movement, each read on its own clock."""

from __future__ import annotations

from adamacs.core.modality import Modality

MODALITY = Modality(
    name="behavior",
    tables="adamacs.modalities.behavior.tables",
    patterns=("*.h5", "*.mat"),
    plan="adamacs.modalities.behavior.plan:plan_scan",
    fills={"cpu": ("TreadmillRecording", "CamSyncRecording")},
    needs={"TreadmillRecording": ("store:derived",), "CamSyncRecording": ("store:derived",)},
    importers={
        "wavesurfer": "adamacs.modalities.behavior.importers.wavesurfer:import_wavesurfer",
        "bpod": "adamacs.modalities.behavior.importers.bpod:import_bpod",
    },
    trial_importers={"bpod": "adamacs.modalities.behavior.importers.bpod:import_bpod_trials"},
)
