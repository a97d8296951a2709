"""Reads how the head moved: the accelerometer, gyroscope and magnetometer that HARP recorded, and their calibration.

Nothing in these files tells a unit or a time. Values are raw counts until a calibration is handed in; a time comes
from the clock they are placed on.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from adamacs.core.errors import InvalidParameters, UnreadableFile
from adamacs.core.formats.source import Source, opened
from adamacs.modalities.behavior.reader.lines import Block, Lines, mark_of, split

SENSORS = ("accelerometer", "gyroscope", "magnetometer")  # in the order of the table's columns
COUNTS = "counts"

_ITEM = np.dtype("<i2")
_ROW = 3 * _ITEM.itemsize  # bytes: x, y, z
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d{1,3})?", re.ASCII)
_ONE_SET = "Give the one table, or one file per sensor, of a single recording."


@dataclass(frozen=True)
class Calibration:
    """How much one count of each sensor is; None where nobody measured it: its values stay counts.

    Attributes
    ----------
    accelerometer
        In `acceleration_unit` per count.
    gyroscope
        deg/s per count.
    magnetometer
        µT per count.
    acceleration_unit
        `m/s^2` or `g`.

    Raises
    ------
    InvalidParameters
        A scale is 0 or not finite, or the unit is unknown.
    """

    accelerometer: float | None = None
    gyroscope: float | None = None
    magnetometer: float | None = None
    acceleration_unit: Literal["m/s^2", "g"] = "m/s^2"

    def __post_init__(self) -> None:
        if self.acceleration_unit not in ("m/s^2", "g"):
            raise InvalidParameters(f"{self.acceleration_unit!r} is no unit of acceleration.", hint="m/s^2 or g.")
        for sensor in SENSORS:
            scale = getattr(self, sensor)
            if scale is not None and not (math.isfinite(scale) and scale):
                raise InvalidParameters(f"One count of the {sensor} cannot be {scale}.", hint="See its data sheet.")

    def unit(self, sensor: str) -> str:
        """Return what the calibrated values of a sensor are in."""
        if getattr(self, sensor) is None:
            return COUNTS
        return {"accelerometer": self.acceleration_unit, "gyroscope": "deg/s", "magnetometer": "uT"}[sensor]


@dataclass(frozen=True, eq=False)
class Sensor:
    """One sensor's samples.

    Attributes
    ----------
    name
        `accelerometer`, `gyroscope` or `magnetometer`.
    values
        (sample, 3): x, y, z in `unit`. Counts keep the type of the file: int16, or float64 from a table.
    unit
        `counts` where the sensor is not calibrated, else `m/s^2`, `g`, `deg/s` or `uT`.
    """

    name: str
    values: NDArray[np.int16] | NDArray[np.float64]
    unit: str


@dataclass(frozen=True, eq=False)
class Imu:
    """What one inertial unit recorded, sample by sample.

    Attributes
    ----------
    sensors
        In the order accelerometer, gyroscope, magnetometer; those that were recorded.
    samples
        Of each sensor, the same for all.
    warnings
        Sentences about what is odd but admitted.
    """

    sensors: tuple[Sensor, ...]
    samples: int
    warnings: tuple[str, ...]


def read_imu(paths: Sequence[Path], calibration: Calibration | None = None) -> Imu:
    """Read the movement of the head from one table or from one binary file per sensor.

    A table (`.csv`) has no header and 9 columns: x, y, z of the accelerometer, the gyroscope and the magnetometer.
    A binary file (`.bin`) is int16, little-endian, x, y, z of each sample; its name says which sensor it is. Where both
    lie in a folder they are two copies of one recording; the table is read, and a warning says so.

    Parameters
    ----------
    paths
        The table, up to three binary files, or both.
    calibration
        How much a count is; without it values stay counts, and are called so.

    Raises
    ------
    UnreadableFile
        A file is cut short or no such file, there are two tables or two files of one sensor, or the sensors have
        different numbers of samples.
    """
    files = [Path(path) for path in paths]
    if not files:
        raise UnreadableFile("No file of an inertial unit was given.", hint=_ONE_SET)
    tables = [path for path in files if path.suffix.lower() == ".csv"]
    if len(tables) > 1:
        raise UnreadableFile(f"This and {tables[1].name} are two tables of one unit.", tables[0], _ONE_SET)
    raw, warnings = _read_table(tables[0]) if tables else _read_binaries(files)
    if tables and len(files) > 1:
        beside = ", ".join(path.name for path in files if path not in tables)
        warnings = (*warnings, f"The table {tables[0].name} was read, and not the copies beside it: {beside}.")
    known = calibration or Calibration()
    sensors = tuple(Sensor(name, _scaled(raw[name], getattr(known, name)), known.unit(name)) for name in raw)
    return Imu(sensors, len(sensors[0].values), (*warnings, *_saturation(raw)))


_Raw = dict[str, NDArray[np.int16] | NDArray[np.float64]]


def _read_table(path: Path) -> tuple[_Raw, tuple[str, ...]]:
    with opened(path) as source:
        lines = Lines(source, keep_cut=False)  # a number that was cut is a number
        blocks = [_numbers(lines, block) for block in lines]
        if not blocks:
            raise source.fail("The table holds no sample.")
    values = np.concatenate(blocks)
    raw: _Raw = {name: np.ascontiguousarray(values[:, 3 * i : 3 * i + 3]) for i, name in enumerate(SENSORS)}
    return raw, lines.warnings()


def _numbers(lines: Lines, block: Block) -> NDArray[np.float64]:
    """Return the numbers of some lines, float64 (line, 9)."""
    mark = mark_of(block.texts[0])
    try:
        values = np.loadtxt(block.texts, np.float64, delimiter=mark, comments=None, ndmin=2)
    except ValueError:
        values = np.zeros((0, 0))
    if values.shape == (len(block.texts), 9) and np.isfinite(values).all():
        return values
    for row, text in zip(block.rows, block.texts, strict=True):
        _check_numbers(lines, row, text, mark)
    raise lines.fail(block.rows[0], f"or one of the {len(block.rows)} from there on is not 9 numbers")


def _check_numbers(lines: Lines, row: int, text: str, mark: str) -> None:
    fields = split(text, mark)
    if len(fields) != 9:
        raise lines.fail(row, f"has {len(fields)} fields, not x, y, z of three sensors")
    for column, field in enumerate(fields, start=1):
        if not _NUMBER.fullmatch(field) or not math.isfinite(float(field)):
            raise lines.fail(row, f"holds {field[:60]!r} in field {column}, and not a number")


def _read_binaries(files: Sequence[Path]) -> tuple[_Raw, tuple[str, ...]]:
    by_sensor: dict[str, Path] = {}
    for path in files:
        name = _sensor_of(path)
        if name in by_sensor:
            raise UnreadableFile(f"Two files are of the {name}, this and {by_sensor[name].name}.", path, _ONE_SET)
        by_sensor[name] = path
    found = [name for name in SENSORS if name in by_sensor]
    raw: _Raw = {name: _read_binary(by_sensor[name]) for name in found}
    for name in found[1:]:
        if len(raw[name]) != len(raw[found[0]]):
            counts = f"{len(raw[name])} samples of the {name}, {len(raw[found[0]])} of the {found[0]}"
            raise UnreadableFile(f"The sensors disagree: {counts}.", by_sensor[name], "Did both copies finish?")
    return raw, tuple(f"There is no file of the {name}." for name in SENSORS if name not in by_sensor)


def _sensor_of(path: Path) -> str:
    named = [name for name in SENSORS if name in path.name.lower()]
    if len(named) != 1:
        raise UnreadableFile("The name of the file does not tell its sensor.", path, f"One of {', '.join(SENSORS)}.")
    return named[0]


def _read_binary(path: Path) -> NDArray[np.int16]:
    with opened(path) as source:
        rest = source.size % _ROW
        if source.size == 0:
            raise source.fail("The file is empty.")
        if rest:
            raise source.fail(f"The file ends at byte {source.size}, within the sample at byte {source.size - rest}.")
        return _items(source)


def _items(source: Source) -> NDArray[np.int16]:
    values, at = np.empty(source.size, np.uint8), 0
    for piece in source.pieces(0, source.size, "samples"):
        values[at : at + len(piece)] = np.frombuffer(piece, np.uint8)
        at += len(piece)
    return values.view(_ITEM).astype(np.int16, copy=False).reshape(-1, 3)


def _scaled(
    values: NDArray[np.int16] | NDArray[np.float64], scale: float | None
) -> NDArray[np.int16] | NDArray[np.float64]:
    return values if scale is None else values.astype(np.float64) * scale


def _saturation(raw: _Raw) -> tuple[str, ...]:
    """Name the sensors that reached the end of their range: what they felt was more."""
    limits = np.iinfo(np.int16)
    counts = {
        name: int(np.count_nonzero(((values == limits.min) | (values == limits.max)).any(axis=1)))
        for name, values in raw.items()
    }
    return tuple(f"The {name} is at the end of its range in {n} samples." for name, n in counts.items() if n)
