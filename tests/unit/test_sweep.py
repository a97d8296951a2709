"""The daily sweep: what died is cleared away after a day of silence, what lives or is somebody else's is not."""

from __future__ import annotations

import logging
import os
import socket
import subprocess
import sys
import time
from dataclasses import replace

import pytest

from adamacs.core import settings as lab_settings
from adamacs.storage import attempts, stores, sweep

DAYS_AGO = time.time() - 3 * 86400
posix_only = pytest.mark.skipif(os.name != "posix", reason="LOCKS ARE POSIX: elsewhere no attempt is held to be dead")


@pytest.fixture
def lab(tmp_path):
    settings = lab_settings.create(tmp_path / "lab")
    return replace(settings, workers=replace(settings.workers, scratch="scratch"))


def nothing_waits(table):
    """No key waits to be computed."""
    return []


def age(folder):
    for path in (*folder.rglob("*"), folder):
        os.utime(path, (DAYS_AGO, DAYS_AGO))


def dead(parent, name="out", *, old=True, key=True):
    """Leave what a killed process of this host leaves."""
    folder = parent / f"{name}.attempt-0123456789ab"
    folder.mkdir(parents=True)
    (folder / "lock").write_text(socket.gethostname())
    (folder / "run.log").write_text("x")
    (folder / "data.bin").write_text("x")
    if key:
        (folder / "attempt.json").write_text('{"key": {"scan_id": "scan9FY6AIRM"}}')
    if old:
        age(folder)
    return folder


def kept(lab):
    return sorted(path.name for path in (lab.root("processed") / "failed").glob("*/scan_id=scan9FY6AIRM/*/*"))


@posix_only
def test_a_dead_attempt_is_kept_with_the_failed_ones(lab):
    folder = dead(lab.root("processed") / "sess" / "scan")
    assert sweep.sweep(lab, nothing_waits) == [str(folder)]
    assert not folder.exists()
    assert kept(lab) == ["attempt.json", "data.bin", "run.log"]
    assert sweep.sweep(lab, nothing_waits) == []


@posix_only
def test_a_dead_attempt_that_does_not_say_its_key_is_removed(lab):
    folder = dead(lab.root("processed"), key=False)
    assert sweep.sweep(lab, nothing_waits) == [str(folder)]
    assert list(lab.root("processed").iterdir()) == []


@posix_only
def test_one_attempt_on_two_disks_is_kept_once(lab):
    dead(lab.home / "scratch")
    (dead(lab.root("processed")) / "data.bin").unlink()
    age(next(lab.root("processed").iterdir()))
    assert len(sweep.sweep(lab, nothing_waits)) == 2
    assert kept(lab) == ["attempt.json", "data.bin", "run.log"]


@posix_only
def test_what_fell_silent_today_is_left_alone(lab):
    folder = dead(lab.root("processed"), old=False)
    assert sweep.sweep(lab, nothing_waits) == []
    (folder / "data.bin").touch()
    assert sweep.sweep(lab, nothing_waits, grace=-1) == [str(folder)]


@posix_only
def test_a_living_attempt_is_left_alone_however_silent(lab):
    with attempts.attempt(lab.root("processed") / "out") as attempt:
        age(attempt.work)
        code = "import sys; from pathlib import Path; from adamacs.storage import attempts; "
        code += "print(attempts.is_dead(Path(sys.argv[1])))"
        asked = [sys.executable, "-c", code, str(attempt.work)]
        seen = subprocess.run(asked, capture_output=True, text=True, check=True)
        assert seen.stdout == "False\n"
        assert sweep.sweep(lab, nothing_waits, grace=-1) == []
        assert attempt.work.exists()


@posix_only
def test_results_and_what_failed_before_are_not_searched(lab):
    root = lab.root("processed")
    (dead(root / "done" / "plane0"), dead(root / "failed" / "2026-01-01"))
    (root / "done" / "manifest.json").touch()
    assert sweep.sweep(lab, nothing_waits) == []


@posix_only
def test_no_link_is_followed(lab, tmp_path):
    elsewhere = dead(tmp_path / "elsewhere")
    (lab.root("processed") / "there").symlink_to(tmp_path / "elsewhere")
    (lab.home / "stores" / "derived" / "there").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / ".0123.part").touch()
    age(tmp_path / "elsewhere")
    assert sweep.sweep(lab, nothing_waits) == []
    assert elsewhere.exists()


def test_half_written_arrays_are_removed_after_a_day_and_whole_ones_never(lab):
    folder = lab.home / "stores" / "derived" / "Costly"
    folder.mkdir(parents=True)
    for name in (".dead.part", "trace.b2nd", ".hidden"):
        (folder / name).touch()
    age(folder)
    (folder / ".fresh.part").touch()
    assert sweep.sweep(lab, nothing_waits) == [stores.named("derived", lab).locate("Costly/.dead.part")]
    assert sorted(path.name for path in folder.iterdir()) == [".fresh.part", ".hidden", "trace.b2nd"]


def test_bulk_of_failed_attempts_goes_after_the_days_of_the_setting(lab):
    place = lab.root("processed") / "failed" / "2020-01-01" / "scan_id=x" / "attempt-0123"
    place.mkdir(parents=True)
    (place / "data.bin").touch()
    (place / "run.log").touch()
    assert sweep.sweep(lab, nothing_waits) == ["1 files of failed attempts"]
    assert [path.name for path in place.iterdir()] == ["run.log"]


def test_a_place_that_does_not_answer_does_not_stop_the_others(lab, monkeypatch, caplog):
    def away(*_):
        raise OSError("the share is gone")

    monkeypatch.setattr(sweep, "sweep_attempts", away)
    folder = lab.home / "stores" / "derived"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / ".dead.part").touch()
    age(folder)
    assert len(sweep.sweep(lab, nothing_waits)) == 1
    assert "the share is gone" in caplog.text


def test_a_sweeper_sweeps_at_once_and_not_again_before_its_time(lab, monkeypatch, caplog):
    caplog.set_level(logging.INFO, "adamacs")
    swept = []
    monkeypatch.setattr(sweep, "sweep", lambda settings, waits: swept.append(settings) or ["a folder"])
    daily, often = sweep.Sweeper(lab, nothing_waits), sweep.Sweeper(lab, nothing_waits, every=0)
    for _ in range(3):
        daily.tick()
        daily._thread.join()
    assert swept == [lab]
    for _ in range(2):
        often.tick()
        often._thread.join()
    assert len(swept) == 3
    assert "Cleared away: a folder" in caplog.text
