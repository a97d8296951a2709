"""Tables of a camera's time stamps: the same instants come back, and what a tick is, is decided and said."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from adamacs.core.errors import InvalidParameters, MissingFile, UnreadableFile
from adamacs.demo import cameras as demo
from adamacs.modalities.behavior.reader import timestamps
from adamacs.modalities.behavior.reader.cameras import read_camera_times

START = 1_770_712_200 * 10**9  # 2026-02-10T08:30:00Z
SUMMER_ENDS = 1_792_890_000 * 10**9  # 2026-10-25T01:00:00Z, 03:00 in Berlin, where it becomes 02:00
bounded = settings(
    max_examples=200,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    derandomize=True,
)


def frames(count: int = 100, rate: float = 25.0, **how: object) -> np.ndarray:
    """Nanoseconds since the first frame, in steps of 100 ns as .NET counts."""
    return demo.exposures(count, rate, **how) // 100 * 100


# --- ISO texts ---------------------------------------------------------------------------------------------------


@bounded
@given(
    steps=st.lists(st.integers(1, 10**10).map(lambda step: step * 100), min_size=1, max_size=30),
    offsets=st.lists(st.integers(-14 * 60, 14 * 60), min_size=31, max_size=31),
    columns=st.sampled_from((1, 3, 17, 19)),
    header=st.booleans(),
    end=st.sampled_from(("\r\n", "\n")),
    bom=st.booleans(),
    first=st.integers(86_400, 2**32).map(lambda second: second * 10**9 + 1_234_567_800),
)
def test_every_instant_comes_back_whatever_zone_it_was_written_in(
    tmp_path: Path, steps: list, offsets: list, columns: int, header: bool, end: str, bom: bool, first: int
) -> None:
    instants = first + np.cumsum([0, *steps])
    names = [*(f"value_{n}" for n in range(columns - 1)), "timestamp"] if header else []
    path = demo.write_bonsai(
        tmp_path / "times.csv",
        instants,
        offset=offsets[: len(instants)],
        columns=columns,
        header=names,
        end=end,
    )
    if bom:
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    read = read_camera_times(path)
    assert np.array_equal(read.time, (instants - first) / 1e9)
    assert (read.clock, read.unit, read.decided_by, read.frame) == ("bonsai", "ISO 8601", "text", None)
    assert read.start == datetime(1970, 1, 1) + timedelta(microseconds=first // 1000)


def test_texts_are_read_as_the_standard_library_reads_them() -> None:
    texts = demo.iso_texts(START + np.arange(200) * 123_456_700_000, np.arange(200) * 7 - 700)
    ours = timestamps.to_nanoseconds(texts)
    theirs = [datetime.fromisoformat(text).astimezone(UTC) for text in texts]  # which drops the seventh digit
    assert (ours // 1000).tolist() == [
        round((t - datetime(1970, 1, 1, tzinfo=UTC)) / timedelta(microseconds=1)) for t in theirs
    ]


@pytest.mark.parametrize(
    ("text", "start"),
    (
        ("2026-02-10T09:30:00.1234567+01:00", datetime(2026, 2, 10, 8, 30, 0, 123456)),
        ("2026-02-10 09:30:00-0330", datetime(2026, 2, 10, 13, 0)),
        ("2026-02-10T23:59:59.999Z", datetime(2026, 2, 10, 23, 59, 59, 999000)),
        ("2024-02-29T00:15:00.5+01:00", datetime(2024, 2, 28, 23, 15, 0, 500000)),
    ),
)
def test_the_start_is_naive_utc(tmp_path: Path, text: str, start: datetime) -> None:
    path = tmp_path / "times.csv"
    path.write_text(f"{text}\n")
    read = read_camera_times(path)
    assert (read.start, read.time.tolist()) == (start, [0.0])


def test_midnight_and_the_end_of_summer_time_are_no_jumps(tmp_path: Path) -> None:
    instants = SUMMER_ENDS - 10 * 10**9 + frames(1000, 50.0)
    offset = np.where(instants < SUMMER_ENDS, 120, 60)
    texts = demo.iso_texts(instants, offset)
    assert texts[499].startswith("2026-10-25T02:59:59") and texts[500] == "2026-10-25T02:00:00.0000000+01:00"
    read = read_camera_times(demo.write_bonsai(tmp_path / "summer.csv", instants, offset=offset))
    assert np.diff(read.time) == pytest.approx(0.02, abs=1e-12)
    assert read.warnings == ()
    midnight = 1_770_768_000 * 10**9 - 5 * 10**9 + frames(500, 50.0)
    read = read_camera_times(demo.write_bonsai(tmp_path / "midnight.csv", midnight))
    assert np.diff(read.time) == pytest.approx(0.02, abs=1e-12)


def test_the_time_of_a_wide_table_is_its_last_column_though_others_grow_beyond_1e9(tmp_path: Path) -> None:
    instants = START + frames(50)
    texts = demo.iso_texts(instants)
    rows = [",".join([str(2_000_000_000 + 40 * n), *["0"] * 14, texts[0], text]) for n, text in enumerate(texts)]
    path = tmp_path / "wide.csv"
    path.write_text("\n".join(rows) + "\n")
    read = read_camera_times(path)
    assert read.clock == "bonsai"
    assert np.array_equal(read.time, (instants - START) / 1e9)


@pytest.mark.parametrize("mark", (";", "\t"))
def test_other_separators_are_read(tmp_path: Path, mark: str) -> None:
    path = demo.write_bonsai(tmp_path / "times.csv", START + frames(20), columns=17)
    path.write_text(path.read_text().replace(",", mark))
    assert len(read_camera_times(path).time) == 20


# --- ticks -------------------------------------------------------------------------------------------------------


@bounded
@given(
    rate=st.floats(2.5, 600),
    unit=st.sampled_from((("ms", 10**3), ("us", 10**6), ("ns", 10**9))),
    first=st.integers(10**9, 2**62),
    header=st.booleans(),
    counted=st.booleans(),
)
def test_the_unit_of_ticks_is_decided_by_the_median_interval(
    tmp_path: Path, rate: float, unit: tuple[str, int], first: int, header: bool, counted: bool
) -> None:
    name, per_second = unit
    ticks = first + np.rint(np.arange(60) / rate * per_second).astype(np.int64)
    names = ["FrameID", "Timestamp"] if counted else ["Timestamp"]
    path = demo.write_basler(
        tmp_path / "basler.csv", ticks, frames=np.arange(5, 65) if counted else None, header=names if header else ()
    )
    read = read_camera_times(path)
    assert (read.unit, read.clock, read.start) == (name, "camera", None)
    assert read.decided_by == "median interval"
    assert np.array_equal(read.time, (ticks - first) / per_second)
    assert (read.frame is not None) == counted
    if counted:
        assert read.frame.tolist() == list(range(5, 65))
    assert any(f"Ticks of the camera were taken for {name} by their size" in warning for warning in read.warnings)


@pytest.mark.parametrize(("unit", "per_second"), (("8 ns", 125 * 10**6), ("100 ns", 10**7), ("us", 10**6)))
def test_ticks_of_odd_length_are_told_by_a_stated_rate_or_by_an_iso_column(
    tmp_path: Path, unit: str, per_second: int
) -> None:
    exposed = frames(200, 40.0)
    ticks = 5 * 10**12 + np.rint(exposed / 1e9 * per_second).astype(np.int64)
    stated = read_camera_times(demo.write_basler(tmp_path / "stated.csv", ticks), frame_rate=30.0)
    arrived = START + exposed + np.random.default_rng(0).integers(0, 5 * 10**6, 200)
    path = demo.write_basler(tmp_path / "iso.csv", ticks, frames=range(200), instants=arrived, offset=120)
    beside = read_camera_times(path)
    assert (stated.unit, stated.decided_by) == (unit, "stated rate")
    assert (beside.unit, beside.decided_by) == (unit, "ISO column")
    assert beside.start == timestamps.to_naive_utc(int(arrived[0]))
    for read in (stated, beside):
        assert read.time == pytest.approx(exposed / 1e9, abs=1 / per_second)


def test_ticks_that_are_in_no_unit_a_cameras_are_refused(tmp_path: Path) -> None:
    path = demo.write_basler(tmp_path / "slow.csv", 10**9 + np.arange(10) * 700_000_000_000)
    with pytest.raises(UnreadableFile, match=r"median interval, 7e\+11 ticks, is in no unit"):
        read_camera_times(path)
    with pytest.raises(UnreadableFile, match="no camera counts so"):
        read_camera_times(path, frame_rate=1e6)


def test_a_single_frame_leaves_the_unit_undecided(tmp_path: Path) -> None:
    read = read_camera_times(demo.write_basler(tmp_path / "one.csv", [5 * 10**12]))
    assert (read.unit, read.time.tolist()) == (None, [0.0])
    assert read.warnings == ("What a tick of the camera is cannot be told from this table.",)


def test_ticks_that_begin_at_zero_are_recognised_when_they_have_grown(tmp_path: Path) -> None:
    read = read_camera_times(demo.write_basler(tmp_path / "zero.csv", frames(100, 30.0)))
    assert (read.clock, read.unit) == ("camera", "ns")


@pytest.mark.parametrize("rate", (0.0, -1.0, float("nan"), float("inf")))
def test_a_rate_that_cannot_be_is_refused(tmp_path: Path, rate: float) -> None:
    with pytest.raises(InvalidParameters):
        read_camera_times(tmp_path / "any.csv", frame_rate=rate)


# --- what is odd -------------------------------------------------------------------------------------------------


def test_lost_repeated_and_disordered_frames_are_told_by_index(tmp_path: Path) -> None:
    ticks = 10**12 + frames(100, 25.0, lost=(40, 41, 70))
    ticks[10] = ticks[9]
    ticks[20] = ticks[19] - 1
    count = np.delete(np.arange(100), [40, 41, 70])
    read = read_camera_times(demo.write_basler(tmp_path / "odd.csv", ticks, frames=count))
    assert read.oddities.repeated.tolist() == [10]
    assert read.oddities.backward.tolist() == [20]
    assert read.oddities.gaps.tolist() == [11, 21, 40, 68]
    assert read.warnings[:4] == (
        "1 times run backward, the first at index 20.",
        "1 times repeat the one before, the first at index 10.",
        "4 times come too late, the first at index 11; about 5 are missing.",
        "The count of frames does not go on by one 2 times, first at index 40; 3 lost.",
    )


def test_counters_that_begin_anew_are_counted_on(tmp_path: Path) -> None:
    """Ticks of 8 ns in 32 bits begin anew every 34 s; GigE Vision counts frames from 1 to 65535."""
    exposed = frames(6000, 50.0, lost=(2000, 2001, 4500))
    ticks = (exposed // 8 + 3_000_000_000) % 2**32
    number = np.delete(np.arange(6000), [2000, 2001, 4500])
    count = (number + 64_000) % 65_535 + 1
    assert (np.diff(ticks) < 0).sum() == 4 and (np.diff(count) < 0).sum() == 1
    read = read_camera_times(demo.write_basler(tmp_path / "anew.csv", ticks, frames=count), frame_rate=50.0)
    assert read.time == pytest.approx((exposed - exposed[0]) / 1e9, abs=2e-8)
    assert (read.frame - read.frame[0]).tolist() == number.tolist()
    assert read.oddities.backward.tolist() == []
    assert read.warnings == (
        "The camera's ticks begin anew 4 times: counted on.",
        "The camera's count of frames begins anew 1 times: counted on.",
        "2 times come too late, the first at index 2000; about 3 are missing.",
        "The count of frames does not go on by one 2 times, first at index 2000; 3 lost.",
    )


def test_a_counter_that_was_set_back_is_not_counted_on(tmp_path: Path) -> None:
    ticks = 10**9 + frames(200, 50.0) // 8
    ticks[100:] -= 500_000_000
    count = np.concatenate([np.arange(100), np.arange(100)])
    read = read_camera_times(demo.write_basler(tmp_path / "back.csv", ticks, frames=count), frame_rate=50.0)
    assert read.oddities.backward.tolist() == [100]
    assert read.frame.tolist() == count.tolist()
    assert not [warning for warning in read.warnings if "counted on" in warning]


def test_jitter_of_a_tenth_of_the_interval_is_no_gap(tmp_path: Path) -> None:
    path = demo.write_bonsai(tmp_path / "jitter.csv", START + frames(5000, 50.0, jitter=0.001, seed=3))
    assert read_camera_times(path).warnings == ()


def test_blank_lines_are_passed_over_and_told(tmp_path: Path) -> None:
    path = demo.write_bonsai(tmp_path / "blank.csv", START + frames(4), end="\r\n\r\n")
    read = read_camera_times(path)
    assert len(read.time) == 4
    assert read.warnings == ("4 blank lines were passed over.",)


@pytest.mark.parametrize("blank", [b"\xc2\xa0", b"\x1f ", b"\xc2\x85\t"])
def test_a_last_line_that_is_blank_to_a_text_alone_is_passed_over(tmp_path: Path, blank: bytes) -> None:
    """What is blank to bytes is less: a no-break space, a unit separator."""
    path = demo.write_bonsai(tmp_path / "blank.csv", START + frames(4))
    path.write_bytes(path.read_bytes() + blank)
    read = read_camera_times(path)
    assert len(read.time) == 4
    assert read.warnings == ("1 blank lines were passed over.",)


@pytest.mark.parametrize(("cut", "kept"), ((0, 20), (1, 19), (6, 19), (15, 19), (32, 19)))
def test_an_unfinished_last_line_is_kept_only_where_it_is_whole(tmp_path: Path, cut: int, kept: int) -> None:
    path = demo.write_bonsai(tmp_path / "cut.csv", START + frames(20), end="\n", offset=60)
    content = path.read_bytes()[:-1]
    path.write_bytes(content[: len(content) - cut])
    read = read_camera_times(path)
    assert len(read.time) == kept
    told = () if kept == 20 else ("Row 20, the last, has no end: it may be cut, and was left out.",)
    assert read.warnings == told


@bounded
@given(cut=st.integers(1, 12))
def test_a_cut_tick_is_never_taken_for_a_time(tmp_path: Path, cut: int) -> None:
    ticks = 10**12 + frames(20)
    path = demo.write_basler(tmp_path / "cut.csv", ticks)
    content = path.read_bytes()[:-1]
    path.write_bytes(content[: len(content) - cut])
    assert np.array_equal(read_camera_times(path).time, (ticks[:19] - ticks[0]) / 1e9)


@pytest.mark.parametrize(
    ("content", "what"),
    (
        (b"", "holds no frame"),
        (b"\r\n\r\n", "holds no frame"),
        (b"Timestamp\r\n", "a header and no frame"),
        (b"1\n2\n3\n", "None of the 1 columns holds times"),
        (b"2026-02-10T09:30:00\n2026-02-10T09:30:01\n", "tell times without their zone"),
        (b"2026-02-10T09:30:00Z\n\xc3\xa4\n", "Row 2 holds '\xe4', and not a time"),
        (b"2026-02-10T09:30:00Z\n2026-02-10T09:30:01\n", "Row 2 tells a time without its zone"),
        (b"2026-02-10T09:30:00Z\n2026-02-31T09:30:01Z\n", "Row 2 names a time that no calendar has"),
        (b"2026-02-10T09:30:00Z\n2026-02-10T24:30:01Z\n", "Row 2 names a time that no calendar has"),
        (b"1,2026-02-10T09:30:00Z\n2,\n3,2026-02-10T09:30:01Z\n", "Row 2 holds '', and not a time"),
        (b"1,2026-02-10T09:30:00Z\n2026-02-10T09:30:01Z\n3,2026-02-10T09:30:01Z\n", "Row 2 has 1 fields"),
        (b"2x26-02-10T09:30:00Z\n2026-02-10T09:30:01Z\n", "Row 1 holds '2x26"),
        (b"5000000000\n5040000000\n-1\n5080000000\n", "Row 3 holds '-1' instead of the camera's ticks"),
        (b"5000000000\n99999999999999999999999\n5080000000\n", "Row 2 holds '9999"),
        (b"5000000000\n9223372036854775808\n5080000000\n", "Row 2 holds '9223372036854775808'"),
        (b"2026-02-10T09:30:00Z\n\0\0\0\0\0", "A zero stands in the text, at byte 21"),
        (b"\xff\xfe2\x000\x00", "UTF-16"),
    ),
)
def test_a_table_that_is_none_is_refused_and_the_place_is_named(tmp_path: Path, content: bytes, what: str) -> None:
    path = tmp_path / "times.csv"
    path.write_bytes(content)
    with pytest.raises(UnreadableFile, match=what) as caught:
        read_camera_times(path)
    assert caught.value.where == str(path)
    assert caught.value.hint


def test_a_damaged_row_far_behind_those_that_tell_the_columns_is_named(tmp_path: Path) -> None:
    path = demo.write_bonsai(tmp_path / "long.csv", START + frames(60_000), end="\n")
    content = path.read_bytes().splitlines()
    content[55_554] = b"2026-02-10T08:3"
    path.write_bytes(b"\n".join(content) + b"\n")
    with pytest.raises(UnreadableFile, match="Row 55555 holds"):
        read_camera_times(path)


def test_a_missing_table_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingFile):
        read_camera_times(tmp_path / "none.csv")


# --- damage ------------------------------------------------------------------------------------------------------


def tables(folder: Path) -> list[Path]:
    instants = START + frames(8)
    return [
        demo.write_bonsai(folder / "single.csv", instants, offset=60),
        demo.write_bonsai(folder / "wide.csv", instants, columns=17, header=[f"value_{n}" for n in range(17)]),
        demo.write_basler(folder / "basler.csv", 10**12 + frames(8), frames=range(8)),
        demo.write_basler(folder / "both.csv", 10**12 + frames(8), frames=range(8), instants=instants),
    ]


@bounded
@given(data=st.data(), which=st.integers(0, 3), rate=st.sampled_from((None, 25.0)))
def test_changed_bytes_raise_nothing_but_the_typed_error(
    tmp_path: Path, data: st.DataObject, which: int, rate: float | None
) -> None:
    content = bytearray(tables(tmp_path)[which].read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    assert_reads_or_refuses(tmp_path / "changed.csv", bytes(content), rate)


@bounded
@given(
    content=st.one_of(
        st.binary(max_size=60), st.text(alphabet="0123456789,;-+:.TZ\r\n\t e", max_size=80).map(str.encode)
    )
)
def test_arbitrary_bytes_raise_nothing_but_the_typed_error(tmp_path: Path, content: bytes) -> None:
    assert_reads_or_refuses(tmp_path / "any.csv", content, None)


def assert_reads_or_refuses(path: Path, content: bytes, rate: float | None) -> None:
    path.write_bytes(content)
    try:
        read = read_camera_times(path, frame_rate=rate)
    except UnreadableFile as error:
        assert error.where == str(path)
    else:
        assert len(read.time) > 0
        assert read.time[0] == 0
        assert np.isfinite(read.time).all()
