"""Behaviour: auxiliary channels, Bpod, stimuli and movement, each read on its own clock."""

from __future__ import annotations

from adamacs.core.modality import Modality
from adamacs.modalities.behavior.importers import IMPORTERS, TRIAL_IMPORTERS

_CONTINUOUS = ("TreadmillRecording", "CamSyncRecording", "HarpRecording")

MODALITY = Modality(
    name="behavior",
    tables="adamacs.modalities.behavior.tables",
    patterns=("*.h5", "*.mat", "*.csv", "*.bin"),
    plan="adamacs.modalities.behavior.plan:plan_scan",
    promise="adamacs.modalities.behavior.plan:promise_scan",
    fills={"cpu": ("StimulusLog", "StimulusOnset", *_CONTINUOUS)},
    needs=dict.fromkeys(_CONTINUOUS, ("store:derived",)),
    importers=IMPORTERS,
    trial_importers=TRIAL_IMPORTERS,
)
