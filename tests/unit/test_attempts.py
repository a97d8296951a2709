"""Attempts: each in a folder of its own, nothing left in its place, what failed is kept, what died is noticed."""

from __future__ import annotations

import errno
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from adamacs.storage import attempts
from adamacs.storage.failed import FailedAttempts

KEY = {"scan_id": "scan9FY6AIRM", "paramset_idx": 0}
posix_only = pytest.mark.skipif(os.name != "posix", reason="LOCKS ARE POSIX: elsewhere no attempt is held to be dead")


@pytest.fixture
def kept(tmp_path):
    return FailedAttempts(tmp_path / "processed", KEY)


def work_in(attempt):
    """Leave what a tool leaves."""
    (attempt.work / "suite2p" / "plane0").mkdir(parents=True)
    (attempt.work / "suite2p" / "run.log").write_text("it began")
    (attempt.work / "suite2p" / "plane0" / "data.bin").write_bytes(bytes(100))


def fail(kept, *, scratch=None, error=ZeroDivisionError):
    with pytest.raises(error) as raised, attempts.attempt(kept.root / "a" / "out", scratch, kept) as attempt:
        work_in(attempt)
        raise error
    return raised.value


def names(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def killed(code):
    """Let another process make an attempt and kill itself in it."""
    names = "import os; from pathlib import Path; from adamacs.storage import attempts, failed"
    text = f"{names}; {code}; os.kill(os.getpid(), 9)"
    assert subprocess.run([sys.executable, "-c", text], check=False).returncode == -signal.SIGKILL


# ---- their folders


def test_an_attempt_works_beside_its_destination_and_leaves_nothing(tmp_path):
    with attempts.attempt(tmp_path / "deep" / "out") as attempt:
        assert attempt.work == attempt.beside
        assert attempt.work.parent == tmp_path / "deep"
        assert attempt.work.name.startswith("out.attempt-")
        assert attempts.is_attempt(attempt.work.name)
        (attempt.work / "file").write_text("x")
    assert list((tmp_path / "deep").iterdir()) == []


def test_an_attempt_on_scratch_holds_a_place_on_both_disks(tmp_path):
    with pytest.raises(ZeroDivisionError), attempts.attempt(tmp_path / "out", tmp_path / "scratch") as attempt:
        assert attempt.work.parent == tmp_path / "scratch"
        assert attempt.beside.parent == tmp_path
        raise ZeroDivisionError
    assert [path.name for path in tmp_path.iterdir()] == ["scratch"]
    assert list((tmp_path / "scratch").iterdir()) == []


def test_two_attempts_never_share_a_folder(tmp_path):
    with attempts.attempt(tmp_path / "out") as first, attempts.attempt(tmp_path / "out") as second:
        assert first.work != second.work
        assert first.work.exists()


@pytest.mark.parametrize("name", ["out", "out.attempt-", "attempt-0123456789ab", "out.attempt-0123456789abc"])
def test_other_folders_are_no_attempts(name):
    assert not attempts.is_attempt(name)


# ---- those that fail


def test_a_failed_attempt_is_kept_and_the_error_says_where(kept):
    error = fail(kept)
    (note,) = error.__notes__
    place = Path(note.rpartition(" ")[2])
    assert place.parent.parent.parent == kept.root / "failed"
    assert place.parent.name == "scan_id=scan9FY6AIRM,paramset_idx=0"
    assert names(place) == ["attempt.json", "suite2p/plane0/data.bin", "suite2p/run.log"]
    assert json.loads((place / "attempt.json").read_text())["key"] == KEY
    assert list((kept.root / "a").iterdir()) == []


def test_a_failed_attempt_on_scratch_is_kept_under_the_root(kept, tmp_path):
    fail(kept, scratch=tmp_path / "scratch")
    assert "suite2p/plane0/data.bin" in names(next((kept.root / "failed").glob("*/*/*")))
    assert list((tmp_path / "scratch").iterdir()) == []
    assert list((kept.root / "a").iterdir()) == []


def test_an_attempt_that_finished_is_not_kept(kept):
    with attempts.attempt(kept.root / "out", failed=kept) as attempt:
        work_in(attempt)
    assert list(kept.root.iterdir()) == []


def test_what_filled_the_disk_does_not_stay_there(kept):
    def full():
        return OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(ValueError, match="tool"), attempts.attempt(kept.root / "out", failed=kept) as attempt:
        work_in(attempt)
        raise ValueError("the tool failed") from full()
    assert [path.suffix for path in (kept.root / "failed").rglob("*") if path.is_file()] == [".json", ".log"]


# ---- those that die


@posix_only
def test_what_a_killed_attempt_left_is_removed_and_what_lives_is_not(tmp_path):
    import fcntl

    left, living, fresh, foreign, old = (tmp_path / f"out.attempt-{name}" for name in "abcde")
    for folder, host in ((left, socket.gethostname()), (living, socket.gethostname()), (foreign, "elsewhere")):
        folder.mkdir()
        (folder / "lock").write_text(host)
    fresh.mkdir()
    old.mkdir()
    os.utime(old, (0, 0))
    with (living / "lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert attempts.remove_dead_attempts(tmp_path, "out") == [left, old]
    assert living.exists()
    assert fresh.exists()
    assert foreign.exists()


@posix_only
def test_a_killed_process_gives_its_attempt_up(tmp_path):
    killed(f"held = attempts.attempt(Path({str(tmp_path / 'out')!r})); held.__enter__()")
    (left,) = tmp_path.iterdir()
    assert attempts.remove_dead_attempts(tmp_path, "out") == [left]


@posix_only
def test_what_a_killed_attempt_left_is_kept_by_the_next(kept):
    kept.root.mkdir()
    place = f"failed.FailedAttempts(Path({str(kept.root)!r}), {KEY!r})"
    killed(f"held = attempts.attempt(Path({str(kept.root / 'out')!r}), None, {place}); held.__enter__()")
    (left,) = kept.root.iterdir()
    (left / "run.log").write_text("it was killed here")
    with attempts.attempt(kept.root / "out", failed=kept):
        pass
    (place,) = (kept.root / "failed").glob("*/scan_id=scan9FY6AIRM,paramset_idx=0/*")
    assert place.name == left.name.rpartition(".")[2]
    assert names(place) == ["attempt.json", "run.log"]


@posix_only
def test_a_link_that_poses_as_an_attempt_is_left_alone(tmp_path):
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "lock").write_text(socket.gethostname())
    (tmp_path / "out.attempt-0123456789ab").symlink_to(tmp_path / "precious")
    assert attempts.remove_dead_attempts(tmp_path, "out") == []
    assert attempts.sweep_attempts(tmp_path, tmp_path, 14, grace=-1) == []
    assert (tmp_path / "precious" / "lock").exists()
