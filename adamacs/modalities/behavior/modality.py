"""Behaviour: auxiliary channels, Bpod, stimuli and movement, each read on its own clock."""

from __future__ import annotations

from adamacs.core.modality import Modality, Parser
from adamacs.core.streams import STIMULI

_HERE = "adamacs.modalities.behavior"
_CONTINUOUS = ("TreadmillRecording", "CamSyncRecording", "HarpRecording")
_VIDEOS = ("*.mp4", "*.m4v", "*.mov", "*.avi", "*.mkv")
_FIRST_STAMP = "first time stamp of its file"


def _bonsai(reads: str) -> Parser:
    return Parser(
        reads=reads,
        look=f"{_HERE}.looks:look_at_bonsai",
        events=f"{_HERE}.importers.bonsai:import_bonsai",
        trials=f"{_HERE}.importers.bonsai:import_bonsai_trials",
        zero=_FIRST_STAMP,
        counts={"stimulus": STIMULI},
    )


PARSERS = {
    "wavesurfer": Parser(
        reads="the auxiliary recording, `.h5`; its source is `aux`",
        look=f"{_HERE}.looks:look_at_wavesurfer",
        events=f"{_HERE}.importers.wavesurfer:import_wavesurfer",
        glance=f"{_HERE}.importers.wavesurfer:glance_at_frames",
        zero="start of the first auxiliary sweep",
        endings=(".h5",),
    ),
    "bpod": Parser(
        reads="the session that Bpod saved, `.mat`",
        look=f"{_HERE}.looks:look_at_bpod",
        events=f"{_HERE}.importers.bpod:import_bpod",
        trials=f"{_HERE}.importers.bpod:import_bpod_trials",
        zero="when Bpod's state machine was switched on",
        counts={"bpod_trial_start": "bpod_trials"},
        endings=(".mat",),
    ),
    "bonsai_events": _bonsai("Bonsai's table of stimuli, column `Value`"),
    "bonsai_log": _bonsai("Bonsai's stimulus log; the markers in it tell the dialect"),
    "bonsai_log_trigger": _bonsai(
        "Bonsai's stimulus log, stimuli between `Master_Trigger:ON` and `OFF` in double parentheses"
    ),
    "bonsai_log_acquiring": _bonsai("Bonsai's stimulus log, stimuli after `HARP_acquiring:ON`"),
    "harp_frames": Parser(
        reads="the table of frame times that HARP saw, `.csv`",
        look=f"{_HERE}.looks:look_at_frame_sync",
        events=f"{_HERE}.importers.frames:import_frame_sync",
        zero=_FIRST_STAMP,
        keys=("unit", "gap"),
    ),
    "harp_imu": Parser(
        reads="HARP's inertial sensors, one table `.csv` or a `.bin` for each sensor",
        look=f"{_HERE}.looks:look_at_imu",
        events=f"{_HERE}.importers.imu:import_imu",
        zero="first sample",
        takes_many=True,
        table="harp",
    ),
    "camera": Parser(
        reads="time stamps of the frames of one camera, `.csv`",
        look=f"{_HERE}.looks:look_at_camera",
        events=f"{_HERE}.importers.frames:import_camera",
        zero=_FIRST_STAMP,
        is_one_of_many=True,
        keys=("frame_rate", "gap"),
    ),
    "video": Parser(
        reads="the video of one camera, `.mp4`, `.mov`, `.avi` or `.mkv`: how many frames it holds",
        look=f"{_HERE}.looks:look_at_video",
        events=f"{_HERE}.importers.frames:import_video",
        glance=f"{_HERE}.importers.frames:glance_at_video",
        zero="first frame",
        takes_many=True,
        is_one_of_many=True,
        keys=("stamped_by",),
    ),
    "motive": Parser(
        reads="the table that OptiTrack's Motive exported of a take, `.csv`",
        look=f"{_HERE}.looks:look_at_take",
        events=f"{_HERE}.importers.frames:import_take",
        zero="first frame of the take",
    ),
}

MODALITY = Modality(
    name="behavior",
    tables=f"{_HERE}.tables",
    patterns=("*.h5", "*.mat", "*.csv", "*.bin", "*.tak", *_VIDEOS),
    fills={"cpu": ("StimulusLog", "StimulusOnset", *_CONTINUOUS)},
    needs=dict.fromkeys(_CONTINUOUS, ("store:derived",)),
    parsers=PARSERS,
    tools={"av": "video"},
)
