"""What failed: log and settings for ever, the rest for the last attempt and for some days, and nothing by a link."""

from __future__ import annotations

import errno
import os
import shutil
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adamacs.storage import failed
from adamacs.storage.failed import FailedAttempts, drop_bulk, name_of, prune

KEY = {"scan_id": "scan9FY6AIRM"}
RECORDS = ["logs/tool.log", "manifest.json", "request.json"]
BULK = ["logs/data.bin", "plane0/F.npy"]


@pytest.fixture
def kept(tmp_path):
    (tmp_path / "root").mkdir()
    return FailedAttempts(tmp_path / "root", KEY)


def attempt(tmp_path, name="out.attempt-0123456789ab"):
    """Leave a folder of an attempt whose process ended."""
    folder = tmp_path / name
    for path in (*RECORDS, *BULK, "lock"):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text("x")
    return folder


def names(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir())


def today(days=0):
    return (datetime.now(UTC) + timedelta(days=days)).date().isoformat()


def test_an_attempt_is_kept_whole_under_date_and_key(kept, tmp_path):
    place = kept.keep(attempt(tmp_path))
    assert place == kept.root / "failed" / today() / "scan_id=scan9FY6AIRM" / "attempt-0123456789ab"
    assert names(place) == sorted([*RECORDS, *BULK])
    assert not list(tmp_path.glob("*.attempt-*"))


def test_only_the_last_attempt_of_a_key_keeps_its_bulk(kept, tmp_path):
    first = kept.keep(attempt(tmp_path, "out.attempt-0000"))
    shutil.move(first.parents[1], first.parents[2] / today(-3))
    first = first.parents[2] / today(-3) / first.parent.name / first.name
    other = FailedAttempts(kept.root, {"scan_id": "other"}).keep(attempt(tmp_path, "other.attempt-0000"))
    second = kept.keep(attempt(tmp_path, "out.attempt-1111"))
    assert names(first) == RECORDS
    assert names(second) == names(other) == sorted([*RECORDS, *BULK])


def test_bulk_is_kept_for_days_and_records_for_ever(kept, tmp_path):
    folders = {}
    for number, days in enumerate((0, -13, -14, -15, -400)):
        place = FailedAttempts(kept.root, {"scan_id": str(number)}).keep(attempt(tmp_path, f"out.attempt-000{number}"))
        folders[days] = place.parents[2] / today(days) / place.parent.name / place.name
        folders[days].parent.mkdir(parents=True, exist_ok=True)
        if days:
            place.rename(folders[days])
    assert prune(kept.root, 14) == 2 * len(BULK)
    assert {days for days, place in folders.items() if names(place) == RECORDS} == {-15, -400}
    assert prune(kept.root, 14) == 0
    assert prune(kept.root, 0) == 3 * len(BULK)


@pytest.mark.parametrize(("days", "bulk"), [(0, True), (14, False)])
def test_bulk_that_is_not_wanted_is_not_kept(tmp_path, days, bulk):
    place = FailedAttempts(tmp_path, KEY, days).keep(attempt(tmp_path), bulk=bulk)
    assert names(place) == RECORDS


def test_an_attempt_that_wrote_nothing_is_not_kept(kept, tmp_path):
    folder = tmp_path / "out.attempt-0123"
    folder.mkdir()
    (folder / "lock").touch()
    assert kept.keep(folder) is None
    assert list(kept.root.iterdir()) == []


def test_where_there_is_no_room_for_bulk_the_records_are_kept(kept, tmp_path, monkeypatch):
    def full(source, target):
        target.mkdir()
        (target / "plane0").mkdir()
        (target / "plane0" / "F.npy").write_text("half of it")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(shutil, "move", full)
    assert names(kept.keep(attempt(tmp_path))) == RECORDS


def test_what_cannot_be_kept_is_told_and_raises_nothing(tmp_path, caplog):
    (tmp_path / "root").write_text("a file")
    assert FailedAttempts(tmp_path / "root", KEY).keep(attempt(tmp_path)) is None
    assert "cannot be kept" in caplog.text


# ---- links


@pytest.mark.parametrize("part", ["failed", f"failed/{today()}", f"failed/{today()}/scan_id=scan9FY6AIRM"])
def test_no_part_of_the_way_is_a_link(kept, tmp_path, part):
    precious = tmp_path / "precious"
    (precious / today() / "scan_id=scan9FY6AIRM" / "attempt-0123").mkdir(parents=True)
    inside = {"failed": precious, f"failed/{today()}": precious / today()}
    target = inside.get(part, precious / today() / "scan_id=scan9FY6AIRM")
    for folder in [*precious.rglob("*")]:
        (folder / "thesis.docx").write_text("x")
    before = names(precious)
    (kept.root / part).parent.mkdir(parents=True, exist_ok=True)
    (kept.root / part).symlink_to(target)
    assert kept.keep(attempt(tmp_path)) is None
    assert prune(kept.root, 0) == 0
    assert names(precious) == before


def test_links_in_an_attempt_go_and_what_they_lead_to_stays(tmp_path):
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "file").write_text("x")
    folder = attempt(tmp_path)
    (folder / "plane0" / "there").symlink_to(tmp_path / "precious")
    (folder / "secret.log").symlink_to(tmp_path / "precious" / "file")
    drop_bulk(folder)
    assert names(folder) == RECORDS
    assert names(tmp_path / "precious") == ["file"]


# ---- names of keys


@given(st.dictionaries(st.text(max_size=30), st.text(max_size=300) | st.integers(), max_size=4))
def test_a_name_is_one_safe_folder_whatever_the_key(key):
    name = name_of(key)
    assert 0 < len(name) <= 170
    assert not set(name) & set('/\\:*?"<>|\0 ')
    assert name.strip(".") == name


@given(st.dictionaries(st.text(max_size=3), st.text(max_size=3), max_size=2), st.text(max_size=3))
def test_keys_that_differ_have_names_that_differ(key, value):
    other = {**key, "a": value}
    if failed.describe(key) != failed.describe(other):
        assert name_of(key) != name_of(other)


@pytest.mark.skipif(os.name != "posix", reason="ERRNO OF A FULL DISK IS POSIX HERE")
def test_a_full_disk_is_found_behind_other_errors():
    full, other = OSError(errno.ENOSPC, "full"), ValueError()
    other.__cause__ = full
    assert failed.is_of_a_full_disk(full)
    assert failed.is_of_a_full_disk(other)
    assert not failed.is_of_a_full_disk(ValueError())
