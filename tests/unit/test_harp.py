"""HARP: every byte belongs to a sound message or is reported, counts get units by calibration alone, times a unit."""

from __future__ import annotations

import os
import tracemalloc
from datetime import datetime
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from adamacs.core.errors import InvalidParameters, InvalidRequest, MissingFile, UnreadableFile
from adamacs.demo import harp as demo
from adamacs.modalities.behavior.reader import harp, imu
from adamacs.modalities.behavior.reader.imu import Calibration

REAL_DATA = os.environ.get("ADAMACS_REAL_DATA", "")
bounded = settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    derandomize=True,
)
START = 1_770_712_200 * 10**9  # 2026-02-10T08:30:00Z
SENSORS = ("accelerometer", "gyroscope", "magnetometer")


def dump(folder: Path, messages: list[bytes]) -> Path:
    return demo.write_registers(folder / "device.bin", messages)


def counts(samples: int = 50, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {name: rng.integers(-30_000, 30_000, (samples, 3)).astype(np.int16) for name in SENSORS}


# --- messages ----------------------------------------------------------------------------------------------------

_types = st.sampled_from(("u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8", "f4"))


@st.composite
def messages(draw: st.DrawFn) -> tuple[int, int, int, np.ndarray, int | None]:
    """Kind, address, port, values and ticks of any message."""
    dtype = np.dtype("<" + draw(_types))
    size = draw(st.one_of(st.integers(0, 12), st.integers(230, 300)))
    raw = np.frombuffer(draw(st.binary(min_size=size * dtype.itemsize, max_size=size * dtype.itemsize)), dtype)
    kind = draw(st.sampled_from((1, 2, 3, 9, 10)))
    ticks = draw(st.none() | st.integers(0, (2**32) * demo.TICKS - 1))
    return kind, draw(st.integers(32, 35)), draw(st.sampled_from((255, 0))), raw, ticks


@bounded
@given(truth=st.lists(messages(), min_size=1, max_size=12))
def test_every_message_that_was_written_is_read_back(tmp_path: Path, truth: list) -> None:
    written = [demo.message(a, v, kind=k, port=p, ticks=t) for k, a, p, v, t in truth]
    read = harp.read_registers(dump(tmp_path, written), zero=0)
    assert (read.messages, len(read.bad)) == (len(truth), 0)
    found = {}
    for register in read.registers:
        for place, byte in enumerate(register.byte.tolist()):
            found[byte] = (register, place)
    places = np.cumsum([0, *map(len, written)])[:-1].tolist()
    assert sorted(found) == places
    for byte, (kind, address, port, values, ticks) in zip(places, truth, strict=True):
        register, place = found[byte]
        assert (register.address, register.port) == (address, port)
        assert (register.kind[place], register.error[place]) == (kind & 3, kind > 3)
        assert register.values[place].tobytes() == values.tobytes()
        assert register.values.dtype == values.dtype
        if ticks is None:
            assert np.isnan(register.harp_time[place])
        else:
            assert register.harp_time[place] == ticks // demo.TICKS + (ticks % demo.TICKS) * 32e-6


def test_times_count_from_a_whole_second_and_are_exact_to_the_tick(tmp_path: Path) -> None:
    ticks = 3_737_967_316 * demo.TICKS + np.array([269, 270, demo.TICKS + 1])  # a clock that counts from 1904
    path = demo.write_events(tmp_path / "events.bin", 32, ticks, np.array([[1], [2], [3]], np.uint8))
    read = harp.read_registers(path)
    assert read.zero == 3_737_967_316
    assert read.register(32).harp_time.tolist() == [269 * 32e-6, 270 * 32e-6, 1 + 32e-6]
    assert harp.read_registers(path, zero=read.zero - 10).register(32).harp_time[0] == 10 + 269 * 32e-6


def test_a_register_with_messages_of_two_lengths_is_never_taken_for_one(tmp_path: Path) -> None:
    path = dump(tmp_path, [demo.message(32, np.uint8([1])), demo.message(32, np.uint8([1, 2]))])
    read = harp.read_registers(path)
    assert [register.values.shape for register in read.registers] == [(1, 1), (1, 2)]
    with pytest.raises(InvalidRequest, match="2 kinds of messages are about register 32"):
        read.register(32)
    with pytest.raises(InvalidRequest, match="0 kinds of messages are about register 40"):
        read.register(40)


def test_a_clock_that_runs_backward_and_refused_requests_are_told(tmp_path: Path) -> None:
    kinds = (demo.EVENT, demo.EVENT, demo.WRITE | demo.ERROR)
    path = dump(tmp_path, [demo.message(32, np.uint8([1]), ticks=t, kind=k) for t, k in zip((9, 5, 6), kinds)])
    assert harp.read_registers(path).warnings == (
        "The time of register 32 runs backward 1 times, the first at byte 13.",
        "The device refused 1 requests about register 32.",
    )


def events(count: int = 40) -> list[bytes]:
    return [demo.message(32 + i % 3, np.int16([i, -i, i]), ticks=1000 * i) for i in range(count)]


@bounded
@given(data=st.data())
def test_a_damaged_payload_costs_that_message_alone_and_is_located(tmp_path: Path, data: st.DataObject) -> None:
    written = events()
    places = np.cumsum([0, *map(len, written)])
    hurt = sorted(data.draw(st.sets(st.integers(0, len(written) - 1), min_size=1, max_size=5)))
    for number in hurt:
        message = bytearray(written[number])
        message[data.draw(st.integers(5, len(message) - 1))] ^= 1 << data.draw(st.integers(0, 7))
        written[number] = bytes(message)
    read = harp.read_registers(dump(tmp_path, written))
    assert read.bad.tolist() == [[places[number], places[number + 1]] for number in hurt]
    assert read.messages == len(written) - len(hurt)
    assert read.warnings[0].startswith(f"{len(hurt)} messages are bad and were left out, the first from byte")


@bounded
@given(data=st.data(), noise=st.binary(min_size=1, max_size=30))
def test_foreign_bytes_between_messages_are_located_and_cost_no_message(
    tmp_path: Path, data: st.DataObject, noise: bytes
) -> None:
    written = events()
    at = data.draw(st.integers(0, len(written) - 1))
    place = sum(map(len, written[:at]))
    read = harp.read_registers(dump(tmp_path, [*written[:at], noise, *written[at:]]))
    assert (read.bad[0, 0], read.bad[-1, 1]) == (place, place + len(noise))
    assert read.messages == len(written)


@bounded
@given(data=st.data())
def test_a_dump_cut_within_a_message_is_refused_and_the_byte_is_named(tmp_path: Path, data: st.DataObject) -> None:
    written = events()
    ends = np.cumsum([0, *map(len, written)]).tolist()
    size = data.draw(st.integers(ends[1] + 1, ends[-1] - 1))
    assume(size not in ends)
    path = dump(tmp_path, written)
    path.write_bytes(path.read_bytes()[:size])
    begin = max(end for end in ends if end <= size)
    with pytest.raises(UnreadableFile, match=f"ends at byte {size}, within the message that begins at byte {begin}"):
        harp.read_registers(path)


@pytest.mark.parametrize("alike", (True, False))
def test_messages_are_found_across_the_parts_in_which_a_long_dump_is_looked_at(tmp_path: Path, alike: bool) -> None:
    values = [np.arange(n, n + (1 if alike else 1 + n % 3), dtype=np.uint32) for n in range(60_000)]
    written = [demo.message(44, row, ticks=7 * n) for n, row in enumerate(values)]
    ends = np.cumsum([0, *map(len, written)])
    hurt = [int(np.searchsorted(ends, part * harp._BLOCK)) - 1 for part in (1, 2, 3)]  # those on the borders
    content = bytearray(b"".join(written))
    for number in hurt:
        content[ends[number + 1] - 2] ^= 255
    path = tmp_path / "long.bin"
    path.write_bytes(content)
    read = harp.read_registers(path)
    assert read.bad.tolist() == [[ends[number], ends[number + 1]] for number in hurt]
    found = {}
    for register in read.registers:
        found.update(zip(register.byte.tolist(), register.values.tolist(), strict=True))
    left = [number for number in range(60_000) if number not in hurt]
    assert [found[byte] for byte in sorted(found)] == [values[number].tolist() for number in left]
    assert sorted(found) == ends[left].tolist()


@pytest.mark.parametrize(
    ("content", "what"),
    (
        (b"", "The file is empty"),
        (b"time,x,y\n1,2,3\n", "No Harp message is whole in the 15 bytes"),
        (bytes(1000), "No Harp message is whole"),
        (demo.message(32, np.uint8([1]), ticks=0) + b"\xee" * 40 + demo.message(32, np.uint8([1])), "bytes are in no"),
    ),
)
def test_what_is_no_dump_is_refused(tmp_path: Path, content: bytes, what: str) -> None:
    path = tmp_path / "foreign.bin"
    path.write_bytes(content)
    with pytest.raises(UnreadableFile, match=what) as caught:
        harp.read_registers(path)
    assert caught.value.where == str(path)
    assert caught.value.hint


def test_a_dump_of_more_registers_than_a_device_has_is_refused(tmp_path: Path) -> None:
    written = [demo.message(a, np.uint8([1]), port=p) for a in range(256) for p in range(5)]
    with pytest.raises(UnreadableFile, match="of 1280 kinds"):
        harp.read_registers(dump(tmp_path, written))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingFile):
        harp.read_registers(tmp_path / "none.bin")


@bounded
@given(data=st.data())
def test_changed_bytes_of_a_dump_raise_nothing_but_the_typed_error(tmp_path: Path, data: st.DataObject) -> None:
    content = bytearray(b"".join(events(12)))
    for _ in range(data.draw(st.integers(1, 6))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    assert_accounts_for_every_byte(tmp_path / "changed.bin", bytes(content))


@bounded
@given(content=st.binary(min_size=1, max_size=200))
def test_arbitrary_bytes_raise_nothing_but_the_typed_error(tmp_path: Path, content: bytes) -> None:
    assert_accounts_for_every_byte(tmp_path / "any.bin", content)


def assert_accounts_for_every_byte(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    try:
        read = harp.read_registers(path)
    except UnreadableFile as error:
        assert error.where == str(path)
        return
    assert read.messages > 0
    spans = [(int(first), int(behind)) for first, behind in read.bad]
    for register in read.registers:
        for byte in register.byte.tolist():
            head = content[byte : byte + 4]
            size = 4 + int.from_bytes(head[2:4], "little") if head[1] == 255 else 2 + head[1]
            assert sum(content[byte : byte + size - 1]) % 256 == content[byte + size - 1]
            spans.append((byte, byte + size))
    spans.sort()
    assert (spans[0][0], spans[-1][1]) == (0, len(content))
    assert all(behind == first for (_, behind), (first, _) in pairwise(spans))


def test_random_bytes_of_a_megabyte_are_refused_with_less_than_100_mb(tmp_path: Path) -> None:
    path = tmp_path / "noise.bin"
    path.write_bytes(np.random.default_rng(0).bytes(1 << 20))
    tracemalloc.start()
    with pytest.raises(UnreadableFile):
        harp.read_registers(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 100e6


@pytest.mark.skipif(not REAL_DATA, reason="NO REAL RECORDINGS: ADAMACS_REAL_DATA names no folder; this was not tried")
def test_a_real_dump_is_read_as_others_read_it() -> None:
    read = harp.read_registers(Path(REAL_DATA) / "harp" / "Patch2_32_2022-06-13T12-00-00.bin")
    register = read.register(32)
    assert (read.messages, len(read.bad), read.warnings) == (38, 0, ())
    assert register.values.dtype == np.uint8
    assert register.values[:, 0].tolist() == [32, 34] * 19  # as harp-python 0.4.2 and harp-data 0.5.0 read it
    assert set(register.kind.tolist()) == {harp.EVENT}
    assert read.zero == 3_737_967_316
    assert register.harp_time[[0, 1, -1]] == pytest.approx([0.008608, 0.017536, 559.901312], abs=1e-9)


# --- the inertial unit -------------------------------------------------------------------------------------------


def test_table_and_binary_files_tell_the_same_counts(tmp_path: Path) -> None:
    truth = counts()
    table = imu.read_imu([demo.write_imu_table(tmp_path / "IMU_harp_weardata_2026.csv", truth)])
    binary = imu.read_imu(demo.write_imu_binaries(tmp_path, "scan9FY6AIRM", truth)[::-1])
    for read in (table, binary):
        assert (read.samples, read.warnings) == (50, ())
        assert [sensor.name for sensor in read.sensors] == list(SENSORS)
        assert [sensor.unit for sensor in read.sensors] == ["counts"] * 3
        for sensor in read.sensors:
            assert np.array_equal(sensor.values, truth[sensor.name])
    assert binary.sensors[0].values.dtype == np.int16


def test_a_sensor_has_a_unit_where_it_is_calibrated_and_counts_elsewhere(tmp_path: Path) -> None:
    turning = np.random.default_rng(1).normal(0, 100, (200, 3))  # deg/s
    lifted = np.random.default_rng(2).normal(0, 5, (200, 3))  # m/s^2
    truth = {
        "accelerometer": demo.to_counts(lifted, 0.0024),
        "gyroscope": demo.to_counts(turning, 0.061),
        "magnetometer": counts(200)["magnetometer"],
    }
    files = demo.write_imu_binaries(tmp_path, "scan9FY6AIRM", truth)
    read = imu.read_imu(files, Calibration(accelerometer=0.0024, gyroscope=0.061))
    assert [sensor.unit for sensor in read.sensors] == ["m/s^2", "deg/s", "counts"]
    assert np.abs(read.sensors[0].values - lifted).max() <= 0.0012 + 1e-12
    assert np.abs(read.sensors[1].values - turning).max() <= 0.0305 + 1e-12
    in_g = imu.read_imu(files, Calibration(accelerometer=1 / 4096, magnetometer=0.15, acceleration_unit="g"))
    assert [sensor.unit for sensor in in_g.sensors] == ["g", "counts", "uT"]


@pytest.mark.parametrize("wrong", ({"gyroscope": 0.0}, {"gyroscope": float("nan")}, {"acceleration_unit": "G"}))
def test_a_calibration_that_cannot_be_is_refused(wrong: dict) -> None:
    with pytest.raises(InvalidParameters):
        Calibration(**wrong)


def test_sensors_with_different_numbers_of_samples_are_refused(tmp_path: Path) -> None:
    truth = {**counts(), "gyroscope": counts(49)["gyroscope"]}
    with pytest.raises(UnreadableFile, match="49 samples of the gyroscope, 50 of the accelerometer"):
        imu.read_imu(demo.write_imu_binaries(tmp_path, "scan9FY6AIRM", truth))


def test_a_binary_file_cut_within_a_sample_is_refused_and_the_byte_is_named(tmp_path: Path) -> None:
    path = demo.write_imu_binaries(tmp_path, "scan9FY6AIRM", counts())[0]
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(UnreadableFile, match="ends at byte 299, within the sample at byte 294"):
        imu.read_imu([path])


def test_a_missing_sensor_and_one_at_the_end_of_its_range_are_told(tmp_path: Path) -> None:
    truth = {"gyroscope": demo.to_counts(np.array([[0, 1, 2], [9e9, 0, 0], [0, -9e9, 9e9]]), 1.0)}
    read = imu.read_imu(demo.write_imu_binaries(tmp_path, "scan9FY6AIRM", truth))
    assert read.warnings == (
        "There is no file of the accelerometer.",
        "There is no file of the magnetometer.",
        "The gyroscope is at the end of its range in 2 samples.",
    )


def test_a_table_goes_before_the_binary_files_beside_it_and_says_so(tmp_path: Path) -> None:
    copies = demo.write_imu_binaries(tmp_path, "scan9FY6AIRM", counts(seed=1))
    table = demo.write_imu_table(tmp_path / "IMU_harp_weardata_2026.csv", truth := counts())
    read = imu.read_imu([copies[0], table, *copies[1:]])
    assert all(np.array_equal(sensor.values, truth[sensor.name]) for sensor in read.sensors)
    assert read.warnings[0].startswith("The table IMU_harp_weardata_2026.csv was read, and not the copies beside it: ")
    assert all(path.name in read.warnings[0] for path in copies)


def test_files_that_do_not_belong_together_are_refused(tmp_path: Path) -> None:
    first = demo.write_imu_binaries(tmp_path / "a", "scan9FY6AIRM", counts())
    second = demo.write_imu_binaries(tmp_path / "b", "scan9FY6AIRM", counts())
    table = demo.write_imu_table(tmp_path / "IMU_harp_weardata_2026.csv", counts())
    unnamed = tmp_path / "IMU_harp.bin"
    unnamed.write_bytes(bytes(6))
    cases = (
        ([], "No file"),
        ([first[0], second[0]], "Two files are of the accelerometer"),
        ([table, demo.write_imu_table(tmp_path / "IMU_harp_weardata_2027.csv", counts())], "two tables of one unit"),
        ([unnamed], "does not tell its sensor"),
    )
    for files, what in cases:
        with pytest.raises(UnreadableFile, match=what):
            imu.read_imu(files)


@pytest.mark.parametrize(
    ("content", "what"),
    (
        (b"", "holds no sample"),
        (b"1,2,3,4,5,6,7,8,9\r\n1,2,3,4,5,6,7,8\r\n", "Row 2 has 8 fields"),
        (b"1,2,3,4,5,6,7,8,9\n1,2,3,4,nan,6,7,8,9\n", "Row 2 holds 'nan' in field 5"),
        (b"1,2,3,4,5,6,7,8,9\n\n1,2,3,4,5,6,7,,9\n", "Row 3 holds '' in field 8"),
        (b"1,2,3,4,5,6,7,8,1e999\n", "Row 1 holds '1e999' in field 9"),
        (b"ax,ay,az,gx,gy,gz,mx,my,mz\n", "Row 1 holds 'ax' in field 1"),
        (b"1,2,3,4,5,6,7,8,9\n\0\0\0\0", "A zero stands in the text, at byte 18"),
        (b"\xff\xfe1\0,\0", "UTF-16"),
        (b"1," * 70_000, "is longer than"),
    ),
)
def test_a_table_that_is_none_is_refused_and_the_place_is_named(tmp_path: Path, content: bytes, what: str) -> None:
    path = tmp_path / "IMU_harp_weardata_2026.csv"
    path.write_bytes(content)
    with pytest.raises(UnreadableFile, match=what) as caught:
        imu.read_imu([path])
    assert caught.value.where == str(path)


def test_the_last_sample_of_a_table_is_left_out_where_it_may_be_cut(tmp_path: Path) -> None:
    path = demo.write_imu_table(tmp_path / "IMU_harp_weardata_2026.csv", counts())
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes()[:-3])
    read = imu.read_imu([path])
    assert read.samples == 49
    assert read.warnings == ("Row 50, the last, has no end: it may be cut, and was left out.",)


@bounded
@given(data=st.data())
def test_changed_bytes_of_a_table_raise_nothing_but_the_typed_error(tmp_path: Path, data: st.DataObject) -> None:
    path = demo.write_imu_table(tmp_path / "IMU_harp_weardata_2026.csv", counts(5))
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    try:
        read = imu.read_imu([path])
    except UnreadableFile as error:
        assert error.where == str(path)
    else:
        assert all(np.isfinite(sensor.values).all() and len(sensor.values) > 0 for sensor in read.sensors)


# --- times of frames ---------------------------------------------------------------------------------------------


def test_frame_times_are_seconds_since_the_first_and_the_start_is_utc(tmp_path: Path) -> None:
    instants = START + np.rint(np.arange(100) * 1e9 / 30.01).astype(np.int64) // 100 * 100
    path = demo.write_frame_sync(tmp_path / "2PFrames.csv", np.arange(1, 101), instants, offset=60)
    read = harp.read_frame_sync(path)
    assert (read.clock, read.unit, read.warnings) == ("bonsai", "ISO 8601", ())
    assert read.start == datetime(2026, 2, 10, 8, 30)
    assert read.frame.tolist() == list(range(1, 101))
    assert np.array_equal(read.time, (instants - START) / 1e9)


@pytest.mark.parametrize(("unit", "per_second"), (("s", 1), ("ms", 10**3), ("us", 10**6), ("ns", 10**9)))
def test_plain_numbers_are_times_in_the_unit_that_was_stated(tmp_path: Path, unit: str, per_second: int) -> None:
    times = np.array([2.5, 2.75, 3.0]) * per_second
    path = demo.write_frame_sync_numbers(tmp_path / "2PFrames.csv", [7, 8, 9], times)
    read = harp.read_frame_sync(path, unit=unit)
    assert (read.time.tolist(), read.unit, read.clock, read.start) == ([0.0, 0.25, 0.5], unit, "harp", None)


def test_plain_numbers_without_a_stated_unit_are_refused(tmp_path: Path) -> None:
    path = demo.write_frame_sync_numbers(tmp_path / "2PFrames.csv", [7, 8], [2.5, 2.75])
    with pytest.raises(UnreadableFile, match=r"Row 1 tells the time as a plain number, 2\.5.*unit="):
        harp.read_frame_sync(path)
    with pytest.raises(InvalidParameters, match="no unit 'minutes'"):
        harp.read_frame_sync(path, unit="minutes")


def test_lost_frames_and_odd_times_are_told(tmp_path: Path) -> None:
    instants = START + np.array([*range(3), *range(5, 30), 29]) * 10**8
    path = demo.write_frame_sync(tmp_path / "2PFrames.csv", [*range(1, 4), *range(6, 32)], instants)
    assert harp.read_frame_sync(path).warnings == (
        "1 times repeat the one before, the first at index 28.",
        "1 times come too late, the first at index 3; about 2 are missing.",
        "The frame count does not go on by one 1 times, first at index 3; 2 are missing.",
    )


@pytest.mark.parametrize(
    ("content", "what"),
    (
        (b"", "holds no frame"),
        (b"1\n", "Row 1 has 1 fields"),
        (b"x,2026-02-10T09:30:00Z\n", "Row 1 begins with 'x'"),
        (b"1,2026-02-10T09:30:00\n", "Row 1 tells a time without its zone"),
        (b"1,2026-02-10T09:30:00Z\n2,2026-02-30T09:30:00Z\n", "Row 2 names a time that no calendar has"),
        (b"1,2026-02-10T09:30:00Z\n2,5.5\n", "Row 2 holds '5.5'"),
        (b"1,0x10\n", "Row 1 holds '0x10', and not a time"),
    ),
)
def test_a_frame_table_that_is_none_is_refused(tmp_path: Path, content: bytes, what: str) -> None:
    path = tmp_path / "2PFrames.csv"
    path.write_bytes(content)
    with pytest.raises(UnreadableFile, match=what) as caught:
        harp.read_frame_sync(path)
    assert caught.value.where == str(path)


@pytest.mark.parametrize("number", ("nan", "inf", "1e300"))
def test_a_number_that_no_clock_shows_is_refused(tmp_path: Path, number: str) -> None:
    path = tmp_path / "2PFrames.csv"
    path.write_text(f"1,{number}\n")
    with pytest.raises(UnreadableFile, match="that no clock shows"):
        harp.read_frame_sync(path, unit="s")


@bounded
@given(data=st.data(), unit=st.sampled_from((None, "s", "ns")))
def test_changed_bytes_of_a_frame_table_raise_nothing_but_the_typed_error(
    tmp_path: Path, data: st.DataObject, unit: str | None
) -> None:
    path = demo.write_frame_sync(tmp_path / "2PFrames.csv", range(6), START + np.arange(6) * 10**8, offset=-90)
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    try:
        read = harp.read_frame_sync(path, unit=unit)
    except UnreadableFile as error:
        assert error.where == str(path)
    else:
        assert len(read.time) == len(read.frame) > 0
        assert read.time[0] == 0
