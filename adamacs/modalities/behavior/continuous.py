"""Continuous behaviour: voltages of an auxiliary recording, how the animal moved on its wheel, how it moved its head.

Reader, wiring and numerics put together; each sweep of an auxiliary recording in one pass and block by block. No table
is known here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import tee, zip_longest
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adamacs.core import setups
from adamacs.core.channels import Wiring
from adamacs.core.errors import UnreadableFile
from adamacs.core.events import SourceFiles
from adamacs.core.settings import Settings
from adamacs.core.setup_wiring import IMU_RATE, WHEEL, Harp
from adamacs.modalities.behavior.importers.wavesurfer import wiring_of
from adamacs.modalities.behavior.numerics.decimate import DecimationFilter, decimate, decimation_filter
from adamacs.modalities.behavior.numerics.gated import SampleTimes, Span, place_samples
from adamacs.modalities.behavior.numerics.wheel import Wheel, WheelCalibration, compute_speed
from adamacs.modalities.behavior.reader.imu import COUNTS, Calibration, Sensor, read_imu
from adamacs.modalities.behavior.reader.sweeps import PlacedSweep, place_sweeps
from adamacs.modalities.behavior.reader.wavesurfer import AuxRecording, OpenRecording, read_wavesurfer

SPEED_WINDOW = 0.25  # s
_KEPT_RATE = 2000.0  # Hz, about: of 20 kHz every tenth sample, as the lab's former code kept them
_BLOCK = 1 << 16  # samples read at once: what is made of them stays small, and in the cache
_NOTHING = np.empty(0)
_INT16 = np.iinfo(np.int16).min, np.iinfo(np.int16).max


@dataclass(frozen=True, eq=False)
class Waveform:
    """A decimated voltage.

    Attributes
    ----------
    volts
        V, float32 (sample,); in the unit of the channel where the rig entered an amplifier's.
    how
        How it was decimated.
    first_time
        s on the source's clock; sample i was at `first_time + i / how.kept_rate`.
    """

    volts: NDArray[np.float32]
    how: DecimationFilter
    first_time: float


@dataclass(frozen=True, eq=False)
class Movement:
    """How the animal moved on its wheel, at the times of the decimated voltage.

    Attributes
    ----------
    position
        cm since the first sample, forward positive, float64 (sample,).
    speed
        cm/s, float32 (sample,); NaN where there are fewer samples than one is taken over.
    calibration
        What the volts were taken for.
    window
        s over which each speed was taken.
    fallen, jumps, outside
        Samples of the recording, before it was decimated, that were replaced, that nothing explains, and that lie
        beyond the range of the output; as `Wheel` counts them.
    """

    position: NDArray[np.float64]
    speed: NDArray[np.float32]
    calibration: WheelCalibration
    window: float
    fallen: int
    jumps: int
    outside: int


@dataclass(frozen=True, eq=False)
class HeadMovement:
    """What HARP's inertial sensors felt.

    Attributes
    ----------
    values
        Per sensor, (sample, 3): x, y, z in its unit; float32, or int16 counts. One that was not recorded is absent.
    units
        Per sensor; `counts` where nobody said how much one is.
    samples
        Of each sensor.
    times
        When they were taken.
    """

    values: dict[str, NDArray[np.float32] | NDArray[np.int16]]
    units: dict[str, str]
    samples: int
    times: SampleTimes


def read_waveform(recorded: SourceFiles, channel: str, stretch: int, settings: Settings) -> Waveform:
    """Return the decimated voltage of one channel in one sweep of an auxiliary recording.

    Parameters
    ----------
    recorded
        Its file.
    channel
        As its setup type names it.
    stretch
        Which sweep, 1 for the first that holds samples.
    settings
        Of the lab.

    Raises
    ------
    UnreadableFile
        The file is none of WaveSurfer, or has no such channel or sweep.
    """
    found = _find(recorded, stretch, settings)
    how = _filter_of(found.recording)
    with found.recording.open() as samples:
        volts = np.empty(found.kept(how), np.float32)
        _gather([volts], decimate(found.blocks(samples, channel), how))
    return Waveform(volts, how, found.sweep.start)


def read_treadmill(recorded: SourceFiles, stretch: int, settings: Settings) -> tuple[Waveform, Movement | None]:
    """Return the decimated voltage of the wheel and, where its setup type says what the volts mean, the movement.

    The position is unrolled at the full rate, because a filter would blur the places where the output falls back. It
    begins anew with each sweep: how far the wheel turned between two, nobody saw. Parameters as of `read_waveform`.

    Raises
    ------
    UnreadableFile
        The file is none of WaveSurfer, or has no such channel or sweep.
    """
    found = _find(recorded, stretch, settings)
    if found.wiring.setup.wheel is None:
        return read_waveform(recorded, WHEEL, stretch, settings), None
    how, told = _filter_of(found.recording), found.wiring.setup.wheel
    calibration = WheelCalibration(told.circumference, told.low, told.high, told.direction, told.fastest)
    wheel = Wheel(calibration, found.recording.sample_rate)
    with found.recording.open() as samples:
        plain, unrolled = tee(found.blocks(samples, WHEEL))
        count = found.kept(how)
        volts, position = np.empty(count, np.float32), np.empty(count)
        _gather([volts, position], decimate(plain, how), decimate(wheel.positions(unrolled), how))
    speed = _speed(position, how.kept_rate)
    movement = Movement(position, speed, calibration, SPEED_WINDOW, wheel.fallen, wheel.jumps, wheel.outside)
    return Waveform(volts, how, found.sweep.start), movement


@dataclass(frozen=True)
class _Found:
    """A sweep of an auxiliary recording, and which of its inputs is which channel."""

    recording: AuxRecording
    wiring: Wiring
    sweep: PlacedSweep

    def kept(self, how: DecimationFilter) -> int:
        """Return how many samples are kept."""
        return -(-self.sweep.samples // how.factor)

    def blocks(self, samples: OpenRecording, channel: str) -> Iterable[NDArray[np.float64]]:
        """Return what is recorded on the input of a channel, V, (sample,)."""
        wire = self.wiring.find(channel)
        if wire is None or wire.input.is_digital:
            name = self.wiring.setup.name
            what = f"It has no channel {channel} any more that is a voltage: {name} was described anew."
            hint = "Delete its import of events; it is then read as it is now."
            raise UnreadableFile(what, self.recording.path, hint)
        name = self.recording.channels[wire.input.index].name
        return samples.volt_blocks(name, self.sweep.number, block=_BLOCK)


def _find(recorded: SourceFiles, stretch: int, settings: Settings) -> _Found:
    (path,) = recorded.files
    recording = read_wavesurfer(path)
    sweeps = place_sweeps(recording)
    if not 1 <= stretch <= len(sweeps):
        what = f"It has {len(sweeps)} sweeps with samples, and no {stretch}. one."
        raise UnreadableFile(what, path, "Delete its import of events; it is then read as it is now.")
    return _Found(recording, wiring_of(recording, recorded.setup_type, settings), sweeps[stretch - 1])


def _filter_of(recording: AuxRecording) -> DecimationFilter:
    return decimation_filter(recording.sample_rate, max(1, round(recording.sample_rate / _KEPT_RATE)))


def _gather(whole: Sequence[NDArray[Any]], *streams: Iterable[NDArray[np.float64]]) -> None:
    """Fill arrays with streams, which are taken in turn, so that none waits for another in memory."""
    filled = [0] * len(whole)
    for parts in zip_longest(*streams, fillvalue=_NOTHING):
        for number, part in enumerate(parts):
            whole[number][filled[number] : filled[number] + len(part)] = part
            filled[number] += len(part)


def _speed(position: NDArray[np.float64], rate: float) -> NDArray[np.float32]:
    if len(position) < SPEED_WINDOW * rate + 1:
        return np.full(len(position), np.nan, np.float32)
    return compute_speed(position, rate, window=SPEED_WINDOW, kind=np.float32)


def gate_of_harp(setup_type: str, settings: Settings) -> str:
    """Return the event of the channel that is on while HARP records; empty where the setup type names none."""
    setup = setups.load_usable(settings.home).find(setup_type)
    gate = setup.harp.gate if setup.harp else ""
    return next((channel.event_type for channel in setup.channel if channel.name == gate), "")


def read_head(recorded: SourceFiles, gates: Sequence[Span] | None, settings: Settings) -> HeadMovement:
    """Return what HARP's inertial sensors felt, calibrated and placed in time as far as the setup type says.

    Parameters
    ----------
    recorded
        The files of the sensors.
    gates
        When HARP's gate was open: opening and closing, s on the clock `aux`. None: there is no auxiliary recording, and
        times are told on the sensors' own clock, which is zero at the first sample.

    Raises
    ------
    UnreadableFile
        A file is none of HARP's, or cut short.
    """
    setup = setups.load_usable(settings.home).find(recorded.setup_type)
    said = setup.harp or Harp()
    unit: Any = said.acceleration_unit  # the setup type admits those that a calibration does
    found = read_imu(
        recorded.files, Calibration(said.accelerometer, said.gyroscope, said.magnetometer, acceleration_unit=unit)
    )
    times = place_samples(found.samples, gates or (), said.sample_rate, within=IMU_RATE)
    if gates is None and times.interval is not None:
        times = SampleTimes(0.0, times.interval, f"at {said.sample_rate:g} Hz from the first sample on")
    values = {sensor.name: _stored(sensor) for sensor in found.sensors}
    return HeadMovement(values, {sensor.name: sensor.unit for sensor in found.sensors}, found.samples, times)


def _stored(sensor: Sensor) -> NDArray[np.float32] | NDArray[np.int16]:
    """Return values as they are kept: counts of 16 bits as such, even where a table wrote them as decimals."""
    if sensor.unit == COUNTS:
        counts = np.clip(sensor.values, *_INT16).astype(np.int16)
        if np.array_equal(counts, sensor.values):
            return counts
    return sensor.values.astype(np.float32)
