"""Writer of WaveSurfer's HDF5 files, as its versions from 0.5 to 1.0.2 lay them out.

Values stand as MATLAB writes them: single numbers as 1 x 1 arrays, lists of numbers as a column, text as bytes. What
MATLAB leaves empty is a 0 or an empty text. The same arguments give the same bytes.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

NOMINAL = (0.0, 10 / 2**15)  # V per count, what readers take where the header does not say
CALIBRATED = (-5.04247e-3, 3.22398746e-4, -9.82120846e-15, 6.78201344e-18)  # of a real board
_COUNTS = np.arange(-(2**15), 2**15)
_TIMEBASE = 100e6  # Hz

# An array (sample,) or (channel, sample), or blocks of one along its samples.
Scans = NDArray[Any] | Iterable[NDArray[Any]]


@dataclass(frozen=True)
class Analog:
    """An analog input as the user set it up.

    Attributes
    ----------
    scale
        V at the board per `unit`.
    coefficients
        V at the board of counts, lowest order first. Versions before 0.913 do not write them.
    active
        Only active channels are recorded.
    """

    name: str
    unit: str = "V"
    scale: float = 1.0
    coefficients: tuple[float, ...] = CALIBRATED
    active: bool = True


@dataclass(frozen=True)
class Digital:
    """A digital input; bit 0 of a word holds the first one that is active."""

    name: str
    active: bool = True


@dataclass(frozen=True)
class Sweep:
    """What one sweep recorded.

    Attributes
    ----------
    words
        Unsigned integers, (sample,), or blocks of them; None without digital lines.
    volts
        In the unit of each active channel, (channel, sample), or blocks; None without analog channels.
    time
        s from the start of the run.
    """

    words: Scans | None = None
    volts: Scans | None = None
    time: float = 0.0


@dataclass(frozen=True)
class WaveSurfer:
    """How WaveSurfer was set for one run.

    Attributes
    ----------
    version
        `0.5` (trials, analog alone), `0.801` (trials), `0.912` and `0.933` (sweeps), `1.0.2` (older than 0.97, and like
        0.933), or `0.97` and `0.982` (a flat header).
    sample_rate
        Hz as asked for; from 0.913 on the header tells what the board makes of it.
    start
        Local time; None leaves the clock out.
    duration
        Of a sweep as asked for (s); infinite where it is stopped by hand.
    lines, channels
        All inputs, active or not.
    wrapped
        Single values as 1 x 1 arrays and lists as columns, as MATLAB does; otherwise scalars and rows.
    objects
        Text of any length instead of bytes.
    chunk
        Samples of a chunk; None is a second.
    compression
        Of the scans. WaveSurfer itself does not compress.
    """

    version: str = "0.982"
    sample_rate: float = 20_000.0
    start: datetime | None = datetime(2026, 2, 10, 9, 30)
    duration: float = math.inf
    lines: tuple[Digital, ...] = ()
    channels: tuple[Analog, ...] = ()
    wrapped: bool = True
    objects: bool = False
    chunk: int | None = None
    compression: str | None = None

    @property
    def is_flat(self) -> bool:
        """Whether the header has its values at the top, and not under `Acquisition`."""
        return self.version not in ("0.5", "0.801", "0.912", "0.933", "1.0.2")

    @property
    def has_trials(self) -> bool:
        """Whether sweeps are still called trials; these versions do not tell their number either."""
        return self.version in ("0.5", "0.801")

    @property
    def is_calibrated(self) -> bool:
        """Whether the header tells the coefficients of the board."""
        return self.version not in ("0.5", "0.801", "0.912")

    @property
    def written_rate(self) -> float:
        """Hz, as the header tells it."""
        return self.sample_rate if not self.is_calibrated else self.actual_rate

    @property
    def actual_rate(self) -> float:
        """Hz, of the board, whose samples take whole ticks of its 100 MHz."""
        return _TIMEBASE / math.floor(_TIMEBASE / self.sample_rate)

    @property
    def recorded(self) -> tuple[Analog, ...]:
        """The active channels."""
        return tuple(channel for channel in self.channels if channel.active)


def write_wavesurfer(path: Path, sweeps: Sequence[Sweep], settings: WaveSurfer) -> Path:
    """Write one file of WaveSurfer; return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w", libver="earliest") as file:
        _write_header(file.create_group("header"), settings, len(sweeps))
        for number, sweep in enumerate(sweeps, start=1):
            group = file.create_group(f"{'trial' if settings.has_trials else 'sweep'}_{number:04d}")
            group["timestamp"] = np.full((1, 1), sweep.time)
            if sweep.volts is not None:
                counted = (quantised(volts, settings) for volts in _blocks(sweep.volts, 2))
                _write_scans(group, "analogScans", counted, np.dtype("<i2"), len(settings.recorded), settings)
            if sweep.words is not None:
                _write_scans(group, "digitalScans", _blocks(sweep.words, 1), word_type(settings), 1, settings)
    return path


def quantised(volts: NDArray[Any], settings: WaveSurfer) -> NDArray[np.int16]:
    """Return the counts whose volts are nearest, (channel, sample); beyond the range the board saturates."""
    counts = np.empty(volts.shape, np.int16)
    for row, (channel, values) in enumerate(zip(settings.recorded, volts, strict=True)):
        levels = measured(channel, _COUNTS, settings)
        order = slice(None) if levels[-1] > levels[0] else slice(None, None, -1)
        levels, codes = levels[order], _COUNTS[order]
        middles = (levels[1:] + levels[:-1]) / 2
        counts[row] = codes[np.searchsorted(middles, values)]
    return counts


def measured(channel: Analog, counts: NDArray[Any], settings: WaveSurfer) -> NDArray[np.float64]:
    """Return what counts of a channel mean, in its unit."""
    coefficients = channel.coefficients if settings.is_calibrated else NOMINAL
    return np.polynomial.polynomial.polyval(counts.astype(float), coefficients) / channel.scale


def word_type(settings: WaveSurfer) -> np.dtype[Any]:
    """Return the type of a digital word: the narrowest that holds all active lines."""
    lines = sum(line.active for line in settings.lines)
    return np.dtype("<u1" if lines <= 8 else "<u2" if lines <= 16 else "<u4")


def _write_header(header: h5py.Group, settings: WaveSurfer, sweeps: int) -> None:
    run = {"0.5": "Experiment", "0.801": "Experiment"}.get(settings.version, "Run")
    sweep = "Trial" if settings.has_trials else "Sweep"
    endless = math.isinf(settings.duration)
    values: dict[str, Any] = {f"{sweep}Duration": settings.duration, "State": "running"}
    if settings.has_trials:
        values |= {"IsContinuous": endless, "IsTrialBased": not endless, "ExperimentTrialCount": sweeps}
    else:
        values |= {"AreSweepsContinuous": endless, "AreSweepsFiniteDuration": not endless, "NSweepsPerRun": sweeps}
        values |= {"VersionString": settings.version}
    if settings.start is not None:
        at = settings.start
        second = at.second + at.microsecond / 1e6
        values[f"ClockAt{run}Start"] = [at.year, at.month, at.day, at.hour, at.minute, second]
    values |= _flat(settings) if settings.is_flat else {f"Acquisition/{k}": v for k, v in _nested(settings).items()}
    for name, value in values.items():
        _write_value(header, name, value, settings)


def _flat(settings: WaveSurfer) -> dict[str, Any]:
    """Return the inputs as 0.95 and later tell them."""
    return {
        "AcquisitionSampleRate": settings.written_rate,
        "NAIChannels": len(settings.channels),
        "NDIChannels": len(settings.lines),
        "AIScalingCoefficients": _coefficients(settings),
        **_inputs(settings, "AIChannel{}", "IsAIChannelActive", "DIChannelNames", "IsDIChannelActive"),
    }


def _nested(settings: WaveSurfer) -> dict[str, Any]:
    """Return the inputs as versions tell them that keep everything under `Acquisition`."""
    both: list[Analog | Digital] = [*settings.channels, *settings.lines]
    values: dict[str, Any] = {
        "SampleRate": settings.written_rate,
        "Duration": settings.duration,
        "ChannelNames": [each.name for each in both],
        "IsChannelActive": [each.active for each in both],
    }
    if settings.version == "0.5":  # an input was an analog channel
        analog = _inputs(settings, "Channel{}", "IsChannelActive", "", "")
        return values | {name: value for name, value in analog.items() if name}
    if settings.is_calibrated:
        values["AnalogScalingCoefficients"] = _coefficients(settings)
    names = "AnalogChannel{}", "IsAnalogChannelActive", "DigitalChannelNames", "IsDigitalChannelActive"
    return values | _inputs(settings, *names)


def _inputs(settings: WaveSurfer, analog: str, analog_active: str, digital: str, digital_active: str) -> dict[str, Any]:
    channels = settings.channels
    return {
        analog.format("Names"): [channel.name for channel in channels] or "",
        analog.format("Units"): [channel.unit for channel in channels] or "",
        analog.format("Scales"): [channel.scale for channel in channels] or 0.0,
        analog_active: [channel.active for channel in channels] or 0.0,
        digital: [line.name for line in settings.lines] or "",
        digital_active: [line.active for line in settings.lines] or 0.0,
    }


def _coefficients(settings: WaveSurfer) -> Any:
    """Return one row per active channel, all as long as the longest."""
    longest = max((len(channel.coefficients) for channel in settings.recorded), default=0)
    rows = [[*channel.coefficients, *[0.0] * (longest - len(channel.coefficients))] for channel in settings.recorded]
    return np.array(rows, dtype=float) if rows else 0.0


def _write_value(header: h5py.Group, name: str, value: Any, settings: WaveSurfer) -> None:
    """Write one value of the header the way MATLAB does, or the way others do."""
    items = value if isinstance(value, list) else [value]
    if isinstance(items[0], str):
        encoded = [item.encode() for item in items]
        # MATLAB writes an empty text as one of any length.
        is_object = settings.objects or not all(encoded)
        header.create_dataset(name, data=encoded, dtype=h5py.string_dtype("ascii") if is_object else None)
    elif isinstance(value, np.ndarray):
        header[name] = value
    elif isinstance(value, list):
        header[name] = np.array(items, dtype=float).reshape((-1, 1) if settings.wrapped else (1, -1))
    else:
        header[name] = np.full((1, 1), value, dtype=float) if settings.wrapped else float(value)


def _write_scans(
    group: h5py.Group, name: str, blocks: Iterable[NDArray[Any]], kind: np.dtype[Any], rows: int, settings: WaveSurfer
) -> None:
    """Append blocks to an array (row, sample) that grows, as WaveSurfer does."""
    dataset = group.create_dataset(
        name,
        shape=(rows, 0),
        maxshape=(rows, None),
        dtype=kind,
        chunks=(rows, settings.chunk or max(1, round(settings.sample_rate))),
        compression=settings.compression,
    )
    for block in blocks:
        start = dataset.shape[1]
        dataset.resize(start + block.shape[-1], axis=1)
        dataset[:, start:] = block


def _blocks(scans: Scans, dimensions: int) -> Iterable[NDArray[Any]]:
    """Return an array as one block; an iterable of blocks as it is."""
    return (scans,) if isinstance(scans, np.ndarray) and scans.ndim == dimensions else scans
