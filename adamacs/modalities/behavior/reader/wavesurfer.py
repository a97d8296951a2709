"""Reads the HDF5 files of WaveSurfer, which records the digital and analog lines of a rig.

A file has a group `header` and one group per sweep with `analogScans` (counts, (channel, sample)), `digitalScans` (one
word per sample) and `timestamp`. Of the lines and channels that the header names only the active ones were recorded, in
the order of their names. Bit 0 is the least significant bit of a word and holds the first active line.

The header changed: at first sweeps were trials and channels had no kind (no digital lines); then everything lay under
`Acquisition`; from 0.95 on it lies at the top (`AIChannelNames`). The versions do not count in the order of time: 1.0.2
is older than 0.97. So each value is looked for under all its names, newest first, and the version decides one thing
alone: up to 0.912 the rate that was asked for is told, and not the one that the board could do.

Counts were int16 at all times. Where the header has no polynomial, which is measured per board, WaveSurfer's own loader
of that time took ten volts for 2^15 counts; so does this one, with a warning.

Sources: `+ws/loadDataFile.m`, `+ws/Logging.m` and `+ws/packDigitalData.m` of JaneliaSciComp/Wavesurfer and
`pywavesurfer/ws.py` of JaneliaSciComp/PyWaveSurfer, as facts about the format; two real files.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adamacs.core.errors import InvalidRequest, UnreadableFile, nearest
from adamacs.modalities.behavior.reader.hdf5 import Hdf5, Held, Stamp, complaints, opened_hdf5

BLOCK = 1 << 19  # samples
NOMINAL = (0.0, 10 / 2**15)  # V per count of a board of 16 bits and +-10 V
_TIMEBASE = 100e6  # Hz, of the boards: a sample takes a whole number of its ticks
_MOST_TICKS = 2**32  # of a sample
_LONGEST = 1e7  # s of a run
_ASKED_RATES = 0.9125  # versions below tell the rate that was asked for
_SWEEP = re.compile(r"(?:sweep|trial)_(\d{1,9})")
_FOREIGN = "Was this file written by WaveSurfer?"

# Where each value stands in the header, newest place first.
_RATE = ("AcquisitionSampleRate", "Acquisition/SampleRate")
_DURATION = ("SweepDuration", "TrialDuration", "Acquisition/Duration")
_ENDLESS = ("AreSweepsContinuous", "IsContinuous")
_CLOCK = ("ClockAtRunStart", "ClockAtExperimentStart")
_LINES = ("DIChannelNames", "Acquisition/DigitalChannelNames")
_LINE_ACTIVE = ("IsDIChannelActive", "Acquisition/IsDigitalChannelActive")
_COEFFICIENTS = ("AIScalingCoefficients", "Acquisition/AnalogScalingCoefficients")
# Names, active, units and scales change their places together; the last ones mean digital lines, too, in later files.
_CHANNELS = (
    ("AIChannelNames", "IsAIChannelActive", "AIChannelUnits", "AIChannelScales"),
    tuple(f"Acquisition/{name}" for name in ("AnalogChannelNames", "IsAnalogChannelActive"))
    + tuple(f"Acquisition/{name}" for name in ("AnalogChannelUnits", "AnalogChannelScales")),
    tuple(f"Acquisition/{name}" for name in ("ChannelNames", "IsChannelActive", "ChannelUnits", "ChannelScales")),
)


@dataclass(frozen=True)
class AnalogChannel:
    """An analog channel that was recorded, and what its counts mean.

    Attributes
    ----------
    name
        As the rig names it.
    unit
        Of what was measured; "" where the header does not say. V unless an amplifier's scale was entered.
    scale
        V at the board per unit.
    coefficients
        Of the polynomial that makes volts at the board of counts, lowest order first.
    is_calibrated
        The coefficients were read from the board; otherwise they are those of a board of 16 bits and +-10 V.
    """

    name: str
    unit: str
    scale: float
    coefficients: tuple[float, ...]
    is_calibrated: bool = True

    def volts(self, counts: NDArray[np.integer[Any]]) -> NDArray[np.float64]:
        """Return what was measured, in `unit`: polynomial over scale; float64, in the shape of `counts`."""
        values = np.full(counts.shape, self.coefficients[-1])
        for coefficient in self.coefficients[-2::-1]:
            values *= counts
            values += coefficient
        values /= self.scale
        return values


@dataclass(frozen=True)
class Sweep:
    """One uninterrupted recording of a file.

    Attributes
    ----------
    name
        Of its group, `sweep_0001`.
    samples
        That were recorded of every line and channel.
    time
        s from the start of the run to the first sample, by the computer's clock; None where the file does not say.
    """

    name: str
    samples: int
    time: float | None


@dataclass(frozen=True)
class AuxRecording:
    """What a file of WaveSurfer holds; its samples are read by `open`.

    Attributes
    ----------
    version
        Of WaveSurfer; None before it told.
    sample_rate
        Hz.
    start
        What the clock of the rig's PC showed when the run began, naive local time; None where the file does not say.
    duration
        Of a sweep as it was asked for (s); infinite where it was to be stopped by hand.
    lines
        Names of the digital lines; the first one is bit 0 of a word.
    channels
        Analog channels, in the order of their rows.
    sweeps
        At least one.
    warnings
        What is odd but readable.
    """

    path: Path
    version: str | None
    sample_rate: float
    start: datetime | None
    duration: float
    lines: tuple[str, ...]
    channels: tuple[AnalogChannel, ...]
    sweeps: tuple[Sweep, ...]
    warnings: tuple[str, ...]
    stamp: Stamp = field(repr=False)

    def bit(self, line: str) -> int:
        """Return the bit of a digital line; InvalidRequest where there is none of that name, or several."""
        return _place(line, self.lines, "digital line", self.path)

    def row(self, channel: str) -> int:
        """Return the row of an analog channel; InvalidRequest where there is none of that name, or several."""
        return _place(channel, [known.name for known in self.channels], "analog channel", self.path)

    @contextmanager
    def open(self) -> Iterator[OpenRecording]:
        """Open the file to read its samples.

        Raises
        ------
        UnreadableFile
            It changed since its header was read, or cannot be read any more.
        """
        with opened_hdf5(self.path, self.stamp) as file:
            yield OpenRecording(self, file)


class OpenRecording:
    """The samples of a recording, in blocks. `sweep` counts from 0, `start` and `stop` are samples of that sweep."""

    def __init__(self, recording: AuxRecording, file: Hdf5) -> None:
        self.recording = recording
        self._file = file

    def words(self, sweep: int = 0, *, start: int = 0, stop: int | None = None, block: int = BLOCK) -> Blocks:
        """Return the digital words, unsigned, (sample,).

        Raises
        ------
        UnreadableFile
            Damage, or a bit is set that belongs to no line; raised while the blocks are read.
        """
        place, bounds = self._bounds(sweep, start, stop)
        held = self._held(f"{place}/digitalScans")
        lines = len(self.recording.lines)
        unsigned = np.dtype(f"u{held.dtype.itemsize}")

        def read(first: int, last: int) -> NDArray[Any]:
            words = self._read(held, None, first, last).astype(unsigned, copy=False)
            if lines < 8 * unsigned.itemsize and words.size and int(words.max()) >> lines:
                raise self._file.fail(
                    f"{place}/digitalScans sets bits of lines that the header does not name, "
                    f"between samples {first} and {last}: it names {lines}."
                )
            return words

        return Blocks(read, *bounds, block)

    def volts(self, channel: str, sweep: int = 0, *, start: int = 0, stop: int | None = None) -> NDArray[np.float64]:
        """Return a stretch of one analog channel in its unit (V); float64, (sample,)."""
        blocks = list(self.volt_blocks(channel, sweep, start=start, stop=stop))
        return np.concatenate(blocks) if blocks else np.empty(0)

    def volt_blocks(
        self, channel: str, sweep: int = 0, *, start: int = 0, stop: int | None = None, block: int = BLOCK
    ) -> Blocks:
        """Return one analog channel in its unit (V); float64, (sample,)."""
        row = self.recording.row(channel)
        place, bounds = self._bounds(sweep, start, stop)
        held = self._held(f"{place}/analogScans")
        convert = self.recording.channels[row].volts
        return Blocks(lambda first, last: convert(self._read(held, row, first, last)), *bounds, block)

    def all_volts(self, sweep: int = 0, *, start: int = 0, stop: int | None = None, block: int = BLOCK) -> Blocks:
        """Return all analog channels in their units (V), for one pass over the file; float64, (channel, sample)."""
        place, bounds = self._bounds(sweep, start, stop)
        held = self._held(f"{place}/analogScans")
        channels = self.recording.channels

        def read(first: int, last: int) -> NDArray[np.float64]:
            counts = self._read(held, slice(None), first, last).reshape(len(channels), -1)
            return np.stack([channel.volts(row) for channel, row in zip(channels, counts, strict=True)])

        return Blocks(read, *bounds, block)

    def _bounds(self, sweep: int, start: int, stop: int | None) -> tuple[str, tuple[int, int]]:
        sweeps = self.recording.sweeps
        if not 0 <= sweep < len(sweeps):
            raise InvalidRequest(f"There is no sweep {sweep} of {len(sweeps)}.", self.recording.path)
        samples = sweeps[sweep].samples
        stop = samples if stop is None else stop
        if not 0 <= start <= stop <= samples:
            raise InvalidRequest(
                f"There are no samples {start} to {stop}: {sweeps[sweep].name} has {samples}.", self.recording.path
            )
        return sweeps[sweep].name, (start, stop)

    def _held(self, place: str) -> Held:
        held = self._file.held(place)
        if held is None:
            raise InvalidRequest(f"There is no {place} in this recording.", self.recording.path)
        return held

    def _read(self, held: Held, rows: Any, first: int, last: int) -> NDArray[Any]:
        """Return counts or words in this machine's byte order; `rows` is None for the only one."""
        with complaints(self.recording.path, held.place):
            part = slice(first, last) if held.dimensions == 1 else (0 if rows is None else rows, slice(first, last))
            values: NDArray[Any] = held.dataset[part]
        return values.astype(values.dtype.newbyteorder("="), copy=False)


@dataclass(frozen=True)
class Blocks:
    """Samples in blocks; can be gone through again, as long as the file is open."""

    read: Callable[[int, int], NDArray[Any]] = field(repr=False)
    start: int
    stop: int
    size: int

    def __post_init__(self) -> None:
        if self.size < 1:
            raise InvalidRequest(f"A block has at least one sample, and not {self.size}.")

    def __iter__(self) -> Iterator[NDArray[Any]]:
        for first in range(self.start, self.stop, self.size):
            yield self.read(first, min(first + self.size, self.stop))


def unpacked(words: NDArray[np.unsignedinteger[Any]], bit: int) -> NDArray[np.bool_]:
    """Return one digital line of words; bit 0 is the least significant bit and holds line DI0.

    >>> unpacked(np.array([1, 4, 6], np.uint8), 2)
    array([False,  True,  True])
    """
    return (words >> words.dtype.type(bit) & words.dtype.type(1)).astype(np.bool_)


def read_wavesurfer(path: Path) -> AuxRecording:
    """Tell what a file of WaveSurfer holds, without reading a sample.

    A sweep is as long as what was written of it: shorter than was asked for where it was stopped. Versions before
    about 0.95 fill up a stopped sweep with zeros, which nothing tells from recorded ones.

    Raises
    ------
    UnreadableFile
        The file is missing, truncated, not of WaveSurfer, or contradicts itself; links in it are not followed.
    """
    path = Path(path)
    with opened_hdf5(path) as file:
        return _Header(file).recording()


class _Header:
    """Reads a header, and gathers what is odd about it."""

    def __init__(self, file: Hdf5) -> None:
        self.file = file
        self.warnings: list[str] = []

    def recording(self) -> AuxRecording:
        if self.file.find("header") is None:
            raise self.file.fail("There is no group header.", _FOREIGN)
        version = self.version()
        rate = self.sample_rate(version)
        lines, channels = self.lines(), self.channels()
        if not lines and not channels:
            raise self.file.fail("The header names no line or channel that was active.", _FOREIGN)
        duration = self.duration()
        sweeps = tuple(self.sweep(name, lines, channels) for name in self.sweep_names())
        for sweep in sweeps:
            if math.isfinite(duration) and sweep.samples + 1.5 < duration * rate:
                self.warnings.append(f"{sweep.name} was to last {duration:g} s and holds {sweep.samples / rate:g} s.")
        return AuxRecording(
            path=self.file.path,
            version=version,
            sample_rate=rate,
            start=self.start(),
            duration=duration,
            lines=lines,
            channels=channels,
            sweeps=sweeps,
            warnings=tuple(self.warnings),
            stamp=self.file.stamp,
        )

    def numbers(self, *places: str) -> NDArray[np.float64] | None:
        """Return the first of these arrays that is there, flat."""
        found = self._first(self.file.numbers, places)
        return None if found is None else found.ravel()

    def text(self, *places: str) -> tuple[str, ...] | None:
        """Return the first of these texts that is there."""
        return self._first(self.file.text, places)

    def number(self, *places: str) -> float | None:
        """Return a single value, however it is wrapped."""
        found = self.numbers(*places)
        if found is None:
            return None
        if found.size != 1:
            raise self.file.fail(f"header/{places[0]} has {found.size} values and should have one.", _FOREIGN)
        return float(found[0])

    def _first(self, read: Callable[[str], Any], places: Sequence[str]) -> Any:
        return next((found for place in places if (found := read(f"header/{place}")) is not None), None)

    def version(self) -> str | None:
        if found := self.text("VersionString"):
            return found[0] or None
        number = self.number("VersionString")
        return None if number is None else f"{number:g}"

    def sample_rate(self, version: str | None) -> float:
        """Return the rate that the board ran at, Hz."""
        rate = self.number(*_RATE)
        if rate is None:
            raise self.file.fail("The header has no sample rate.", _FOREIGN)
        if not _TIMEBASE / _MOST_TICKS <= rate <= _TIMEBASE:
            raise self.file.fail(f"The header claims {rate:g} samples per second.", _FOREIGN)
        if _as_decimal(version) < _ASKED_RATES:
            return _TIMEBASE / math.floor(_TIMEBASE / rate)
        return rate

    def duration(self) -> float:
        """Return how long a sweep was to last, s."""
        endless = self.number(*_ENDLESS)
        duration = self.number(*_DURATION)
        if endless or duration is None:
            return math.inf
        if not duration > 0:
            raise self.file.fail(f"The header claims sweeps of {duration:g} s.", _FOREIGN)
        return duration

    def start(self) -> datetime | None:
        """Return year, month, day, hour, minute and second, wherever they stand in a row or a column."""
        clock = self.numbers(*_CLOCK)
        if clock is None or not clock.any():  # MATLAB writes an empty value as 0
            return None
        if clock.size != 6 or not np.isfinite(clock).all():
            raise self.file.fail(f"header/{_CLOCK[0]} is no date and time: {clock.tolist()}.", _FOREIGN)
        *date, second = clock.tolist()
        try:
            if not 0 <= second < 61 or any(part != int(part) for part in date):
                raise ValueError
            return datetime(*map(int, date)) + timedelta(seconds=second)  # type: ignore[arg-type]
        except (ValueError, OverflowError) as error:
            raise self.file.fail(f"header/{_CLOCK[0]} is no date and time: {clock.tolist()}.", _FOREIGN) from error

    def lines(self) -> tuple[str, ...]:
        names = self.text(*_LINES) or ()
        active = self._active(names, self.numbers(*_LINE_ACTIVE), _LINES[0])
        return tuple(name for name, is_active in zip(names, active) if is_active)

    def channels(self) -> tuple[AnalogChannel, ...]:
        """Return the active analog channels, by the newest set of names that the header has."""
        places = next((set_ for set_ in _CHANNELS if self.file.find(f"header/{set_[0]}") is not None), _CHANNELS[0])
        names = self.text(places[0]) or ()
        active = self._active(names, self.numbers(places[1]), places[0])
        if not active.any():
            return ()
        scales, units = self.numbers(places[3]), self.text(places[2]) or ("",) * len(names)
        if scales is None or len(scales) != len(names):
            raise self.file.fail(f"header/{places[3]} does not give one scale for each of {len(names)} channels.")
        polynomials = self._polynomials(active)
        units = units if len(units) == len(names) else ("",) * len(names)
        channels = tuple(
            AnalogChannel(
                names[number],
                units[number],
                self._scale(names[number], float(scales[number])),
                NOMINAL if polynomials is None else tuple(polynomials[row].tolist()),
                polynomials is not None,
            )
            for row, number in enumerate(np.flatnonzero(active))
        )
        for channel in channels:
            self._check_range(channel)
        return channels

    def _check_range(self, channel: AnalogChannel) -> None:
        """Refuse a polynomial and scale by which the largest count is no number."""
        largest = sum(abs(coefficient) * 2.0 ** (15 * order) for order, coefficient in enumerate(channel.coefficients))
        if not largest < abs(channel.scale) * 1e300:
            raise self.file.fail(f"Coefficients and scale of channel {channel.name} make no number of a count.")

    def _scale(self, name: str, scale: float) -> float:
        if scale == 0 or not math.isfinite(scale):
            raise self.file.fail(f"The scale of channel {name} is {scale:g}, which makes no number of a count.")
        return scale

    def _polynomials(self, active: NDArray[np.bool_]) -> NDArray[np.float64] | None:
        """Return the coefficients of the active channels, (channel, order), or None where the header has none."""
        found = self._first(self.file.numbers, _COEFFICIENTS)
        if found is None or not found.any():
            self.warnings.append("The header has no scaling coefficients: 16 bits over +-10 V are assumed.")
            return None
        count = int(active.sum())
        rows = np.atleast_2d(found)
        if rows.ndim == 2 and rows.shape[0] == active.size != count:
            rows = rows[active]
        if rows.ndim != 2 or rows.shape[0] != count or not 2 <= rows.shape[1] <= 16 or not np.isfinite(rows).all():
            raise self.file.fail(
                f"header/{_COEFFICIENTS[0]} of shape {found.shape} holds no polynomials of {count} active channels."
            )
        return rows

    def _active(self, names: Sequence[str], flags: NDArray[np.float64] | None, place: str) -> NDArray[np.bool_]:
        """Return which of the names were recorded; all where the header does not say."""
        if flags is None:
            return np.array([bool(name) for name in names], dtype=np.bool_)
        if len(flags) != len(names) and flags.any():
            raise self.file.fail(f"header/{place} has {len(names)} names, but {len(flags)} are marked active or not.")
        return np.resize(flags != 0, len(names))

    def sweep_names(self) -> list[str]:
        """Return the groups of the sweeps in the order of their numbers."""
        found = [match for name in self.file.names() if (match := _SWEEP.fullmatch(name))]
        if not found:
            raise self.file.fail("There is no group sweep_0001, or of any other number.", _FOREIGN)
        return [match[0] for match in sorted(found, key=lambda match: (int(match[1]), match[0]))]

    def sweep(self, name: str, lines: Sequence[str], channels: Sequence[AnalogChannel]) -> Sweep:
        """Tell how many samples of a sweep there are, by what was written of its arrays."""
        counts = []
        if channels:
            scans = self._scans(f"{name}/analogScans")
            if scans.rows != len(channels):
                raise self.file.fail(
                    f"{name}/analogScans has {scans.rows} rows, but the header names {len(channels)} active channels."
                )
            if scans.dtype.kind != "i" or scans.dtype.itemsize != 2:
                raise self.file.fail(f"{name}/analogScans holds {scans.dtype}, and not counts of 16 bits.")
            counts.append(scans.written)
        if lines:
            scans = self._scans(f"{name}/digitalScans")
            bits = 8 * scans.dtype.itemsize
            if scans.rows != 1 or bits not in (8, 16, 32) or bits < len(lines):
                raise self.file.fail(
                    f"{name}/digitalScans has {scans.rows} rows of {bits} bits, "
                    f"but the header names {len(lines)} lines."
                )
            counts.append(scans.written)
        if min(counts) != max(counts):
            self.warnings.append(
                f"{name} holds {counts[0]} analog and {counts[1]} digital samples: its writer was interrupted."
            )
        return Sweep(name, min(counts), self._time(name))

    def _scans(self, place: str) -> Held:
        held = self.file.held(place)
        if held is None:
            raise self.file.fail(f"There is no {place}, but the header says that it was recorded.")
        if held.written < held.claimed:
            self.warnings.append(f"{place} claims {held.claimed} samples, of which {held.written} were written.")
        return held

    def _time(self, sweep: str) -> float | None:
        found = self.file.numbers(f"{sweep}/timestamp")
        if found is None or found.size != 1 or not abs(time := float(found.ravel()[0])) <= _LONGEST:
            return None
        return time


def _as_decimal(version: str | None) -> float:
    """Return a version as WaveSurfer counts them, 0.912 before 0.913; files of the first ones do not tell theirs."""
    match = re.match(r"(\d{1,4})(\.\d{1,9})?", version or "0")
    return float(match[0]) if match else math.inf


def _place(name: str, known: Sequence[str], kind: str, path: Path) -> int:
    if (count := known.count(name)) == 1:
        return known.index(name)
    what = f"There is no {kind} {name!r}." if count == 0 else f"{count} {kind}s are named {name!r}."
    raise InvalidRequest(what, path, nearest(name, known) if count == 0 else "Give each a name of its own at the rig.")


__all__ = [
    "BLOCK",
    "NOMINAL",
    "AnalogChannel",
    "AuxRecording",
    "Blocks",
    "OpenRecording",
    "Sweep",
    "UnreadableFile",
    "read_wavesurfer",
    "unpacked",
]
