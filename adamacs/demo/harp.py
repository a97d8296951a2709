"""Writer of what HARP devices send: dumps of register messages, the files of an inertial unit, times of frames."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from adamacs.demo.cameras import iso_texts

READ, WRITE, EVENT, ERROR = 1, 2, 3, 8
TICKS = 31_250  # of 32 µs in a second

_CODES = {"u1": 1, "u2": 2, "u4": 4, "u8": 8, "i1": 0x81, "i2": 0x82, "i4": 0x84, "i8": 0x88, "f4": 0x44}
_STAMPED = 0x10


def message(address: int, values: ArrayLike, *, ticks: int | None = None, kind: int = EVENT, port: int = 255) -> bytes:
    """Return one Harp message.

    Parameters
    ----------
    address, port
        Of the register.
    values
        What it carries, (element,); the type of the array is that of the payload.
    ticks
        Time on the device's clock in ticks of 32 µs; without a time stamp by default.
    kind
        READ, WRITE or EVENT, with ERROR where the device refuses.
    """
    payload = np.atleast_1d(np.asarray(values))
    code = _CODES[payload.dtype.str[1:]]
    content = payload.astype(payload.dtype.newbyteorder("<")).tobytes()
    if ticks is not None:
        code |= _STAMPED
        content = struct.pack("<IH", *divmod(ticks, TICKS)) + content
    behind = 4 + len(content)  # bytes behind the length
    length = struct.pack("<B", behind) if behind < 255 else struct.pack("<BH", 255, behind)
    body = bytes([kind]) + length + bytes([address, port, code]) + content
    return body + bytes([sum(body) % 256])


def write_registers(path: Path, messages: Sequence[bytes]) -> Path:
    """Write messages one behind the other, as Bonsai does, for one register or for all of a device."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"".join(messages))
    return path


def write_events(path: Path, address: int, ticks: ArrayLike, values: ArrayLike) -> Path:
    """Write the events of one register: a row of values, (event, element), for each time in ticks of 32 µs."""
    rows = np.asarray(values)
    times = np.asarray(ticks, np.int64)
    return write_registers(
        path, [message(address, row, ticks=int(tick)) for tick, row in zip(times, rows, strict=True)]
    )


def to_counts(values: ArrayLike, scale: float) -> NDArray[np.int16]:
    """Return what a sensor of 16 bits reads, int16: whole counts of `scale` each, stopping at the end of its range."""
    limits = np.iinfo(np.int16)
    return np.clip(np.rint(np.asarray(values) / scale), limits.min, limits.max).astype(np.int16)


def write_imu_table(path: Path, sensors: Mapping[str, ArrayLike]) -> Path:
    """Write the table of an inertial unit, without a header.

    Parameters
    ----------
    path
        Where; the lab calls it `..._IMU_harp_weardata_20....csv`.
    sensors
        `accelerometer`, `gyroscope` and `magnetometer`: counts, (sample, 3).
    """
    columns = np.hstack([np.asarray(sensors[name]) for name in ("accelerometer", "gyroscope", "magnetometer")])
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes("".join(",".join(map(str, row)) + "\r\n" for row in columns.tolist()).encode())
    return path


def write_imu_binaries(folder: Path, stem: str, sensors: Mapping[str, ArrayLike]) -> tuple[Path, ...]:
    """Write one binary file per sensor, int16 little-endian (sample, 3), named as the lab names them."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, counts in sensors.items():
        paths.append(folder / f"{stem}_IMU_harp_{name.capitalize()}.bin")
        paths[-1].write_bytes(np.asarray(counts).astype("<i2").tobytes())
    return tuple(paths)


def write_frame_sync(path: Path, frames: ArrayLike, instants: ArrayLike, *, offset: ArrayLike = 0) -> Path:
    """Write the older table of two-photon frames: their count, and the time as ISO text with its zone.

    `instants` are ns since 1970 in UTC, `offset` minutes that the rig's clock is ahead of it.
    """
    return _write_pairs(path, frames, iso_texts(instants, offset))


def write_frame_sync_numbers(path: Path, frames: ArrayLike, times: ArrayLike) -> Path:
    """Write a table of two-photon frames whose times are plain numbers, in whatever unit they are given."""
    return _write_pairs(path, frames, [repr(time) for time in np.asarray(times).tolist()])


def _write_pairs(path: Path, frames: ArrayLike, texts: Sequence[str]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    counts = np.asarray(frames, np.int64)
    path.write_bytes("".join(f"{frame},{text}\r\n" for frame, text in zip(counts, texts, strict=True)).encode())
    return path
