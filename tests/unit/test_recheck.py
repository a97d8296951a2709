"""The rolling check: every file once within its period, in slices, and what changed in place is seen."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adamacs.core.modality import RawFile
from adamacs.ingest.find import files_of
from adamacs.ingest.recheck import DAY, differences, recheck


@pytest.fixture
def files(tmp_path):
    paths = []
    for folder in range(40):
        (tmp_path / f"scan{folder}").mkdir()
        for name in ("a.tif", "b.tif"):
            (tmp_path / f"scan{folder}" / name).write_bytes(b"raw")
            paths.append(f"scan{folder}/{name}")
    return files_of(tmp_path, paths)


def test_what_was_appended_touched_replaced_linked_or_removed_is_told_and_nothing_else(files, tmp_path):
    with (tmp_path / "scan0" / "a.tif").open("ab") as file:
        file.write(b"more")
    os.utime(tmp_path / "scan1" / "a.tif", (1, 1))
    (tmp_path / "scan2" / "a.tif").unlink()
    (tmp_path / "scan3" / "a.tif").unlink()
    (tmp_path / "scan3" / "a.tif").symlink_to(tmp_path / "scan3" / "b.tif")
    (tmp_path / "scan4").rename(tmp_path / "aside")
    (tmp_path / "scan4").symlink_to(tmp_path / "aside", target_is_directory=True)
    found = {difference.ingested.path: difference.now for difference in differences(files, tmp_path)}
    assert found.keys() == {*(f"scan{number}/a.tif" for number in range(5)), "scan4/b.tif"}
    assert found["scan0/a.tif"].size == 7
    assert {path for path, now in found.items() if now is None} == {
        "scan2/a.tif",
        "scan3/a.tif",
        "scan4/a.tif",
        "scan4/b.tif",
    }


def test_a_root_that_is_not_there_is_no_reason_to_call_files_gone(files, tmp_path):
    with pytest.raises(OSError, match="No such file"):
        list(differences(files, tmp_path / "unmounted"))


def test_paths_that_lead_out_are_not_looked_at(tmp_path):
    (tmp_path / "root").mkdir()
    (tmp_path / "secret").write_bytes(b"raw")
    for path in ("../secret", "a/../../secret", str(tmp_path / "secret"), "..", ""):
        (difference,) = differences([RawFile(path, 3, None)], tmp_path / "root")
        assert difference.now is None


@pytest.mark.parametrize("polls", [1, 7, 144])
def test_every_file_is_checked_once_a_day_whatever_the_pace(files, tmp_path, polls):
    since, counts = 1_800_000_000.0, []
    for poll in range(1, polls + 1):
        now = 1_800_000_000.0 + DAY * poll / polls
        checked = recheck(files, tmp_path, since=since, now=now)
        since = checked.until
        counts.append(checked.files)
    assert sum(counts) == len(files)
    assert max(counts) < len(files) or polls == 1


def test_after_a_pause_of_days_everything_is_due_once(files, tmp_path):
    assert recheck(files, tmp_path, since=0, now=1_800_000_000.0).files == len(files)


def test_what_the_budget_leaves_comes_with_the_next_call(files, tmp_path):
    since, now, counts = 1_800_000_000.0, 1_800_000_000.0 + DAY, []
    (tmp_path / "scan7" / "a.tif").unlink()
    found = []
    while since < now:
        checked = recheck(files, tmp_path, since=since, now=now, budget=0)
        since = checked.until
        counts.append(checked.files)
        found += checked.differences
    assert counts == [2] * 40
    assert [difference.ingested.path for difference in found] == ["scan7/a.tif"]


@given(st.floats(0, 4e9), st.floats(0, 2 * DAY))
def test_two_slices_that_meet_are_one(tmp_path_factory, start, length):
    root = tmp_path_factory.getbasetemp()
    known = [RawFile(f"none{number}/a", 1, None) for number in range(20)]
    end, middle = start + length, start + length / 3

    def paths(since, now):
        return [difference.ingested.path for difference in recheck(known, root, since=since, now=now).differences]

    if length <= DAY:
        assert sorted(paths(start, middle) + paths(middle, end)) == sorted(paths(start, end))
    else:
        assert len(paths(start, end)) == 20
