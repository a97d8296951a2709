"""Reads what HARP devices send, as Bonsai saves it: dumps of binary messages, and tables of frame times.

A message is its type, its length, the address of a register, a port, the type of its payload, mostly a time stamp
(whole seconds and ticks of 32 µs), the payload and a checksum: the sum of all bytes before it, modulo 256. The
format is that of the Harp Binary Protocol (harp-tech.org), with its extended length. The libraries that read such
dumps take the length of the first message for that of all, and look at no checksum: one byte too many turns the rest
of the file into plausible numbers. Here every byte belongs to a message whose checksum holds, or is reported.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from adamacs.core.errors import InvalidParameters, InvalidRequest, nearest
from adamacs.core.formats.source import COPY, Source, opened
from adamacs.modalities.behavior.reader.lines import Block, Lines, mark_of, split
from adamacs.modalities.behavior.reader.timestamps import (
    BONSAI,
    SECOND,
    NoInstant,
    is_instant,
    lacks_zone,
    oddities,
    to_naive_utc,
    to_nanoseconds,
)

READ, WRITE, EVENT = 1, 2, 3  # kinds of messages
TICK = 32e-6  # s
UNITS = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}  # of them in a second

_ERROR, _STAMPED, _EXTENDED = 0x08, 0x10, 255
_KINDS = np.isin(np.arange(256), (READ, WRITE, EVENT, READ | _ERROR, WRITE | _ERROR))
_PLAIN = {1: "<u1", 2: "<u2", 4: "<u4", 8: "<u8", 0x81: "<i1", 0x82: "<i2", 0x84: "<i4", 0x88: "<i8", 0x44: "<f4"}
_TYPES = {**_PLAIN, **{code | _STAMPED: name for code, name in _PLAIN.items()}, _STAMPED: "<u1"}  # the last: time alone
_WIDTHS = np.array([np.dtype(_TYPES[code]).itemsize if code in _TYPES else 0 for code in range(256)], np.int32)
_BLOCK = 1 << 18  # bytes looked at together
_LONG_RUN = 500  # messages alike from which on they are taken together
_BEHIND = 8  # zeros behind the last byte, so that a header can be looked for anywhere
_SIZES = 1 << 17  # more than any message has bytes
_MOST_REGISTERS = 1024  # kinds of content in one dump; a device has at most 256 registers
_FOREIGN = "Is this a dump of Harp messages?"
_NO_UNIT = "Say what the numbers are: unit='s', 'ms', 'us' or 'ns'."


@dataclass(frozen=True, eq=False)
class Register:
    """All messages about one register that carry the same type and number of values.

    Attributes
    ----------
    address, port
        Of the register; port 255 is the device itself, any other one behind a hub.
    harp_time
        float64, (message,): s on the clock of the device since the `zero` of the dump; NaN where a message has no
        time stamp. Exact to the tick.
    values
        (message, element), in the type that the messages carry.
    kind
        uint8, (message,): READ, WRITE or EVENT.
    error
        bool, (message,): the device refused what it was asked.
    byte
        int64, (message,): where the message begins in the file.
    """

    address: int
    port: int
    harp_time: NDArray[np.float64]
    values: NDArray[np.generic]
    kind: NDArray[np.uint8]
    error: NDArray[np.bool_]
    byte: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class RegisterDump:
    """What one dump holds.

    Attributes
    ----------
    registers
        By address, port, type and length.
    zero
        Whole seconds on the device's clock at which `harp_time` is 0. A device that was synchronised counts from
        1904, one that was not from its start.
    messages
        How many are sound.
    bad
        int64, (place, 2): first byte, and the one behind the last, of what is no sound message: a message whose
        checksum fails, or bytes in which none begins.
    warnings
        Sentences about what is odd but admitted.
    """

    registers: tuple[Register, ...]
    zero: int
    messages: int
    bad: NDArray[np.int64]
    warnings: tuple[str, ...]

    def register(self, address: int) -> Register:
        """Return the only register of that address.

        Raises
        ------
        InvalidRequest
            The dump has none, or messages of several types or lengths about it.
        """
        found = [register for register in self.registers if register.address == address]
        if len(found) != 1:
            there = ", ".join(sorted({str(register.address) for register in self.registers}))
            raise InvalidRequest(
                f"{len(found)} kinds of messages are about register {address}.", hint=f"Here: {there}."
            )
        return found[0]


def read_registers(path: Path, *, zero: int | None = None) -> RegisterDump:
    """Read a dump of Harp messages, of one register or of many, and verify every checksum.

    Memory is about six times that of the file.

    Parameters
    ----------
    path
        The file.
    zero
        Whole seconds on the device's clock from which times count, where several files shall have it in common;
        default the second of the first message with a time stamp.

    Raises
    ------
    UnreadableFile
        The file ends within a message (tells at which byte that begins), holds none, or is for the greater part
        damaged.
    """
    with opened(Path(path)) as source:
        data = _load(source)
        starts, bad = _find_messages(data, source.size)
        _refuse_foreign(source, starts, bad)
        registers, zero = _group(source, data, starts, zero)
    return RegisterDump(registers, zero, len(starts), bad, _warnings(registers, bad))


@dataclass(frozen=True, eq=False)
class FrameSync:
    """When HARP saw the frames of the microscope.

    Attributes
    ----------
    frame
        int64, (frame,): the frame count, as the file tells it.
    time
        float64, (frame,): s since the first row, on `clock`.
    clock
        `bonsai` where the file tells ISO times, else what the caller named.
    unit
        What the file's numbers are in: `ISO 8601`, or the unit that the caller stated.
    start
        The first row's instant, naive UTC; None where the file tells no date.
    warnings
        Sentences about what is odd but admitted.
    """

    frame: NDArray[np.int64]
    time: NDArray[np.float64]
    clock: str
    unit: str
    start: datetime | None
    warnings: tuple[str, ...]


def read_frame_sync(path: Path, *, unit: str | None = None, clock: str = "harp") -> FrameSync:
    """Read the table of two-photon frames: column 0 counts frames, column 1 tells their time; no header.

    Parameters
    ----------
    path
        The file.
    unit
        `s`, `ms`, `us` or `ns`: what the times are in where they are plain numbers. Nothing in the file says so,
        hence it is never guessed. ISO times need none.
    clock
        Name of the clock that plain numbers were read from.

    Raises
    ------
    UnreadableFile
        A row is no frame count with a time, or times are plain numbers and `unit` is not given.
    InvalidParameters
        The unit is unknown.
    """
    if unit is not None and unit not in UNITS:
        raise InvalidParameters(f"A time has no unit {unit!r}.", hint=nearest(unit, UNITS))
    with opened(Path(path)) as source:
        lines = Lines(source, keep_cut=True)
        table = [_sync_rows(lines, block, unit) for block in lines]
        if not table:
            raise source.fail("The table holds no frame.")
        if len({iso for _, _, iso in table}) > 1:
            raise source.fail("Some times of the table are ISO texts, others are numbers.")
    frame = np.concatenate([frames for frames, _, _ in table])
    ticks = np.concatenate([times for _, times, _ in table])
    warnings = (*lines.warnings(), *oddities(ticks).warnings(), *_counter_warnings(frame))
    time = (ticks - ticks[0]) / SECOND
    if table[0][2]:
        return FrameSync(frame, time, BONSAI, "ISO 8601", to_naive_utc(int(ticks[0])), warnings)
    return FrameSync(frame, time, clock, str(unit), None, warnings)


# --- messages ----------------------------------------------------------------------------------------------------


def _load(source: Source) -> NDArray[np.uint8]:
    if source.size == 0:
        raise source.fail("The file is empty.")
    data, at = np.zeros(source.size + _BEHIND, np.uint8), 0
    for piece in source.pieces(0, source.size, "messages"):
        data[at : at + len(piece)] = np.frombuffer(piece, np.uint8)
        at += len(piece)
    return data


@dataclass(frozen=True, eq=False)
class _Headers:
    """What every byte of a part of the file would mean, were it the first of a message.

    `size` is int32, in bytes; `plausible` says whether the header agrees with itself, `sound` whether the checksum
    holds as well.
    """

    start: int
    size: NDArray[np.int32]
    plausible: NDArray[np.bool_]
    sound: NDArray[np.bool_]


def _headers(data: NDArray[np.uint8], sums: NDArray[np.uint8], start: int, stop: int) -> _Headers:
    here = [data[start + ahead : stop + ahead] for ahead in range(7)]
    extended = here[1] == _EXTENDED
    size = np.where(extended, 4 + (here[2] + here[3].astype(np.int32) * 256), 2 + here[1].astype(np.int32))
    kind = np.where(extended, here[6], here[4])
    content = size - np.where(extended, 8, 6) - np.where(kind & _STAMPED, 6, 0)
    width = _WIDTHS[kind]
    ends = np.arange(start, stop) + size
    plausible = _KINDS[here[0]] & (width > 0) & (content >= 0) & (content % np.maximum(width, 1) == 0)
    plausible &= ends <= len(sums)
    last = np.where(plausible, ends - 1, start)
    sound = plausible & (sums[last] - sums[start:stop] + here[0] - data[last] == data[last])
    return _Headers(start, size, plausible, sound)


def _find_messages(data: NDArray[np.uint8], size: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return where sound messages begin, int64, and what lies between them, int64 (place, 2)."""
    sums = np.cumsum(data[:size], dtype=np.uint8)  # modulo 256, as the checksum is
    starts, bad = array("q"), _Bad()
    at = 0
    while at < size:
        run, behind = _find_run(data, sums, at)
        if len(run) >= _LONG_RUN:
            starts.frombytes(run.tobytes())
            at = behind
            continue
        headers = _headers(data, sums, at, min(at + _BLOCK, size))
        at = _walk(headers, starts, bad, lambda place: _may_begin(data, sums, place))
    return np.frombuffer(starts, np.int64).copy() if starts else np.zeros(0, np.int64), bad.as_array()


def _find_run(data: NDArray[np.uint8], sums: NDArray[np.uint8], at: int) -> tuple[NDArray[np.int64], int]:
    """Return where sound messages with the same header begin, int64, the first at `at`, and the byte behind the last.

    Most dumps are of one register, and are one such run: this is the same as looking at every byte, but faster.
    """
    first = _headers(data, sums, at, at + 1)
    if not first.sound[0]:
        return np.zeros(0, np.int64), at
    size = int(first.size[0])
    count = max(1, min(len(sums) - at, 16 * _BLOCK) // size)
    rows = data[at : at + count * size].reshape(count, size)
    header = slice(1, 7 if rows[0, 1] == _EXTENDED else 5)
    begins = at + size * np.arange(count)
    total = sums[begins + size - 2] - sums[begins] + rows[:, 0]
    fits = _KINDS[rows[:, 0]] & (rows[:, header] == rows[0, header]).all(axis=1) & (total == rows[:, -1])
    length = count if fits.all() else int(np.argmin(fits))
    return begins[:length], at + size * length


class _Bad:
    """Parts of the file that hold no sound message."""

    def __init__(self) -> None:
        self._parts = array("q")
        self._open = False  # the last part may go on

    def add(self, first: int, behind: int, *, whole: bool) -> None:
        """Take note of one bad message where it is `whole`, else of bytes of which nobody knows what they are."""
        if not whole and self._open and self._parts[-1] == first:
            self._parts[-1] = behind
        else:
            self._parts.extend((first, behind))
        self._open = not whole

    def as_array(self) -> NDArray[np.int64]:
        return np.array(self._parts, np.int64).reshape(-1, 2)


def _walk(headers: _Headers, starts: array[int], bad: _Bad, may_begin: Callable[[int], bool]) -> int:
    """Go from message to message, and return the first byte behind those that begin in this part of the file.

    A message whose checksum fails has a length to be believed where another one may begin behind it; else the next
    sound message is looked for.
    """
    lengths, sound, sound_at = headers.size.tolist(), headers.sound.tobytes(), np.flatnonzero(headers.sound)
    at, count = 0, len(lengths)
    while at < count:
        if sound[at]:
            starts.append(headers.start + at)
            at += lengths[at]
            continue
        behind = at + lengths[at]
        whole = bool(headers.plausible[at]) and may_begin(headers.start + behind)
        if not whole:
            after = np.searchsorted(sound_at, at)
            behind = int(sound_at[after]) if after < len(sound_at) else count
        bad.add(headers.start + at, headers.start + behind, whole=whole)
        at = behind
    return headers.start + at


def _may_begin(data: NDArray[np.uint8], sums: NDArray[np.uint8], at: int) -> bool:
    """Whether the file ends there, or a message begins that agrees with itself."""
    return at == len(sums) or bool(_headers(data, sums, at, at + 1).plausible[0])


def _refuse_foreign(source: Source, starts: NDArray[np.int64], bad: NDArray[np.int64]) -> None:
    if not len(starts):
        raise source.fail(f"No Harp message is whole in the {source.size} bytes.", _FOREIGN)
    if len(bad) and bad[-1, 1] == source.size and not _is_message(source, *bad[-1]):
        raise source.fail(f"The file ends at byte {source.size}, within the message that begins at byte {bad[-1, 0]}.")
    damaged = int(np.sum(bad[:, 1] - bad[:, 0]))
    if 2 * damaged > source.size:
        what = f"{damaged} of {source.size} bytes are in no sound message, the first at byte {bad[0, 0]}."
        raise source.fail(what, _FOREIGN)


def _is_message(source: Source, first: int, behind: int) -> bool:
    """Whether a part has the length that its own first bytes tell."""
    if behind - first < 6:
        return False
    head = source.read(int(first), 4, "message")
    length = 4 + int.from_bytes(head[2:4], "little") if head[1] == _EXTENDED else 2 + head[1]
    return length == behind - first


def _group(
    source: Source, data: NDArray[np.uint8], starts: NDArray[np.int64], zero: int | None
) -> tuple[tuple[Register, ...], int]:
    """Sort messages by register, type and length; return the registers, and the zero of their times."""
    shift = np.where(data[starts + 1] == _EXTENDED, 2, 0)
    size = np.where(shift > 0, 4 + _wide(data, starts + 2) + _wide(data, starts + 3) * 256, 2 + _wide(data, starts + 1))
    address, port, kind = (_wide(data, starts + shift + place) for place in (2, 3, 4))
    stamped = np.flatnonzero(kind & _STAMPED)
    if zero is None:
        at = int(starts[stamped[0]] + shift[stamped[0]]) + 5 if len(stamped) else None
        zero = int.from_bytes(data[at : at + 4].tobytes(), "little") if at is not None else 0
    key = (((address * 256 + port) * 256 + kind) * _SIZES + size) * 2 + (shift > 0)
    keys, order = np.unique(key, return_inverse=True)
    if len(keys) > _MOST_REGISTERS:
        raise source.fail(f"The messages are of {len(keys)} kinds; no device has so many registers.", _FOREIGN)
    sorted_by_key = np.argsort(order, kind="stable")
    parts = np.split(starts[sorted_by_key], np.cumsum(np.bincount(order))[:-1])
    return tuple(_register(data, part, int(kind), zero) for part, kind in zip(parts, keys, strict=True)), zero


def _wide(data: NDArray[np.uint8], places: NDArray[np.int64]) -> NDArray[np.int64]:
    return data[places].astype(np.int64)


def _register(data: NDArray[np.uint8], starts: NDArray[np.int64], key: int, zero: int) -> Register:
    rest, extended = divmod(key, 2)
    rest, size = divmod(rest, _SIZES)
    rest, kind = divmod(rest, 256)
    address, port = divmod(rest, 256)
    head = 7 if extended else 5
    time = np.full(len(starts), np.nan)
    if kind & _STAMPED:
        seconds = _gather(data, starts + head, 4, "<u4")[:, 0].astype(np.int64) - zero
        time = seconds + _gather(data, starts + head + 4, 2, "<u2")[:, 0].astype(np.float64) * TICK
        head += 6
    values = _gather(data, starts + head, size - head - 1, _TYPES[kind])
    message = data[starts]
    return Register(address, port, time, values, message & np.uint8(3), (message & _ERROR) > 0, starts)


def _gather(data: NDArray[np.uint8], starts: NDArray[np.int64], size: int, kind: str) -> NDArray[np.generic]:
    """Return `size` bytes from each of the places, as values of a type."""
    out = np.empty((len(starts), size), np.uint8)
    step = max(1, _BLOCK // max(1, size))
    for first in range(0, len(starts), step):
        part = starts[first : first + step, None]
        out[first : first + step] = data[part + np.arange(size)]
    count = size // np.dtype(kind).itemsize
    return out.view(kind) if count else np.empty((len(starts), 0), kind)


def _warnings(registers: tuple[Register, ...], bad: NDArray[np.int64]) -> tuple[str, ...]:
    return (*_bad_warnings(bad), *_time_warnings(registers))


def _bad_warnings(bad: NDArray[np.int64]) -> Iterator[str]:
    if len(bad):
        yield f"{len(bad)} messages are bad and were left out, the first from byte {bad[0, 0]} to {bad[0, 1]}."


def _time_warnings(registers: tuple[Register, ...]) -> Iterator[str]:
    for register in registers:
        back = np.flatnonzero(np.diff(register.harp_time) < 0)
        if len(back):
            at = register.byte[back[0] + 1]
            yield f"The time of register {register.address} runs backward {len(back)} times, the first at byte {at}."
        if refused := int(np.count_nonzero(register.error)):
            yield f"The device refused {refused} requests about register {register.address}."


# --- frame times -------------------------------------------------------------------------------------------------


def _sync_rows(lines: Lines, block: Block, unit: str | None) -> tuple[NDArray[np.int64], NDArray[np.int64], bool]:
    """Return frame counts, times in ns, and whether these were ISO texts."""
    mark = mark_of(block.texts[0])
    rows = [split(text, mark) for text in block.texts]
    frames = np.empty(len(rows), np.int64)
    for index, (row, fields) in enumerate(zip(block.rows, rows, strict=True)):
        if len(fields) < 2:
            raise lines.fail(row, f"has {len(fields)} fields, not a frame count and a time")
        if not (fields[0].isascii() and fields[0].isdigit() and len(fields[0]) < 19):
            raise lines.fail(row, f"begins with {fields[0][:60]!r}, and not with a frame count")
        frames[index] = int(fields[0])
    texts = [fields[1] for fields in rows]
    if is_instant(texts[0]) or lacks_zone(texts[0]):
        try:
            return frames, to_nanoseconds(texts), True
        except NoInstant as error:
            raise lines.fail(block.rows[error.index], error.what) from error
    return frames, _plain_times(lines, block.rows, texts, unit), False


def _plain_times(lines: Lines, rows: list[int], texts: list[str], unit: str | None) -> NDArray[np.int64]:
    """Return plain numbers in ns."""
    times = np.empty(len(texts), np.int64)
    for index, (row, text) in enumerate(zip(rows, texts, strict=True)):
        try:
            value = float(text if text.isascii() and "_" not in text else "none")
        except ValueError:
            raise lines.fail(row, f"holds {text[:60]!r}, and not a time", COPY) from None
        if unit is None:
            raise lines.fail(row, f"tells the time as a plain number, {text[:60]}", _NO_UNIT)
        nanoseconds = value * (SECOND // UNITS[unit])
        if not abs(nanoseconds) < 2**62:
            raise lines.fail(row, f"tells a time, {text[:60]}, that no clock shows")
        times[index] = round(nanoseconds)
    return times


def _counter_warnings(frame: NDArray[np.int64]) -> tuple[str, ...]:
    steps = np.diff(frame)
    odd = np.flatnonzero(steps != 1)
    if not len(odd):
        return ()
    lost = int(np.sum(steps[steps > 1] - 1))
    return (
        f"The frame count does not go on by one {len(odd)} times, first at index {odd[0] + 1}; {lost} are missing.",
    )
