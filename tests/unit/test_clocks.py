"""Instants are naive UTC, whatever clock showed them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adamacs.core import clocks
from adamacs.core.errors import UnreadableFile

BERLIN = ZoneInfo("Europe/Berlin")


def test_the_wall_clock_is_converted_with_the_season():
    assert clocks.from_local(datetime(2026, 2, 10, 9, 30), BERLIN) == datetime(2026, 2, 10, 8, 30)
    assert clocks.from_local(datetime(2026, 7, 10, 9, 30), BERLIN) == datetime(2026, 7, 10, 7, 30)


@pytest.mark.parametrize("seconds", [10**12, -(10**12), 2**62 // 10**9 * 10**9])
def test_a_file_time_that_no_calendar_has_is_refused(seconds):
    with pytest.raises(UnreadableFile, match=re.escape(f"{seconds} s")):
        clocks.from_file_time(seconds * 10**9)


def test_an_hour_shown_twice_is_the_first():
    assert clocks.from_local(datetime(2026, 10, 25, 2, 30), BERLIN) == datetime(2026, 10, 25, 0, 30)


@given(st.datetimes(datetime(1990, 1, 1), datetime(2100, 1, 1)))
def test_utc_is_left_as_it_is(moment):
    assert clocks.from_local(moment, ZoneInfo("UTC")) == moment


@given(st.integers(0, 4_000_000_000_000_000))
def test_a_files_time_keeps_its_microseconds(microseconds):
    moment = clocks.from_file_time(microseconds * 1000 + 999)
    since = moment - datetime(1970, 1, 1)
    assert since // (since.resolution) == microseconds


def test_a_real_files_time_is_utc_in_any_zone(tmp_path, monkeypatch):
    path = tmp_path / "file"
    path.touch()
    os.utime(path, ns=(0, 1_770_000_000_123_456_789))
    assert clocks.from_file_time(path.stat().st_mtime_ns) == datetime(2026, 2, 2, 2, 40, 0, 123456)


def test_now_carries_no_zone():
    before = datetime.now(UTC).replace(tzinfo=None)
    assert before <= clocks.now() <= datetime.now(UTC).replace(tzinfo=None)


def test_clocks_are_imported_without_numpy():
    code = "import sys, adamacs.core.clocks; sys.exit('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
