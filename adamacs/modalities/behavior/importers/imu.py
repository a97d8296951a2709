"""HARP's inertial sensors: they tell of no event, but which of them recorded, and what is odd about their files."""

from __future__ import annotations

from adamacs.core.events import ImportedChannel, ImportedEvents, SourceFiles
from adamacs.core.settings import Settings
from adamacs.modalities.behavior.reader.imu import SENSORS, read_imu


def import_imu(recorded: SourceFiles, settings: Settings) -> ImportedEvents:
    """Return the sensors as channels that carry no event; `behavior.HarpRecording` holds what they felt.

    Raises
    ------
    UnreadableFile
        A file is none of HARP's, or cut short.
    """
    found = read_imu(recorded.files)
    channels = tuple(
        ImportedChannel(sensor.name, "waveform", f"sensor {SENSORS.index(sensor.name) + 1}", "x, y, z")
        for sensor in found.sensors
    )
    return ImportedEvents(remarks=(f"{found.samples} samples of each sensor.", *found.warnings), channels=channels)
