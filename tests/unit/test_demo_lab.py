"""The synthetic lab: folders as people leave them, byte by byte from a seed, with the truth beside the share."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

from adamacs.core import tokens
from adamacs.core.errors import InvalidSetting
from adamacs.demo import lab
from adamacs.demo.movie import Truth
from adamacs.modalities.imaging import reader


def digests(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def scans(home: Path) -> tuple[lab.TrueScan, ...]:
    return lab.write(home / "share", size="tiny")


def test_folders_are_named_as_the_lab_names_them(home: Path, scans: tuple[lab.TrueScan, ...]) -> None:
    for scan in scans:
        folder = tokens.parse(scan.folder)
        assert scan.folder.parent == home / "share" / "demo"
        assert (folder.subject, folder.session_id, folder.scan_id) == (scan.subject, scan.session_id, scan.scan_id)
        assert (folder.initials, folder.warnings) == ("XX", ())
        assert tokens.decode(tokens.expid(scan.scan_id)).date() == folder.date
        assert all(path.name.startswith(f"{scan.scan_id}_XX_{scan.subject}_") for path in scan.files)


def test_there_are_two_animals_two_sessions_and_three_kinds_of_scan(scans: tuple[lab.TrueScan, ...]) -> None:
    assert len({scan.subject for scan in scans}) == 2
    assert len({scan.session_id for scan in scans}) == 2
    assert len({scan.scan_id for scan in scans}) == 3
    assert [len(scan.files) > 1 for scan in scans] == [True, False, False]
    assert [(scan.planes, scan.flyback, scan.channels) for scan in scans] == [(1, 0, 1), (2, 1, 1), (1, 0, 2)]


def test_headers_tell_what_was_drawn(scans: tuple[lab.TrueScan, ...]) -> None:
    for scan in scans:
        told = reader.read_scan(reader.single_acquisition(scan.folder.iterdir()))
        truth = Truth.load(scan.truth)
        assert tuple(file.path for file in told.files) == scan.files
        assert (told.ndepths, told.flyback_frames, told.nchannels) == (scan.planes, scan.flyback, scan.channels)
        assert told.nframes == truth.spikes.shape[1] == truth.shifts.shape[1]
        assert told.fps == pytest.approx(scan.frame_rate) == truth.frame_rate
        assert (told.px_height, told.px_width) == truth.shape
        assert told.userfunction_info == scan.setup
        assert told.warnings == ()
        assert told.scan_datetime is not None
        assert told.scan_datetime < tokens.decode(tokens.expid(scan.scan_id))


def test_the_truth_lies_beside_the_share_and_not_on_it(home: Path, scans: tuple[lab.TrueScan, ...]) -> None:
    assert {path.suffix for path in (home / "share").rglob("*") if path.is_file()} == {".tif"}
    assert sorted((home / "truth").iterdir()) == sorted(scan.truth for scan in scans)
    for scan in scans:
        with np.load(scan.truth, allow_pickle=False) as arrays:
            assert all(arrays[name].dtype != object for name in arrays.files)


def test_the_same_seed_writes_the_same_bytes(home: Path, scans: tuple[lab.TrueScan, ...], tmp_path: Path) -> None:
    again = lab.write(tmp_path / "again" / "share", size="tiny", threads=1)
    assert digests(tmp_path / "again") == digests(home)
    assert [scan.scan_id for scan in again] == [scan.scan_id for scan in scans]
    lab.write(tmp_path / "other" / "share", size="tiny", seed=1)
    other = digests(tmp_path / "other")
    assert set(other) == set(digests(home))
    assert not set(other.values()) & set(digests(home).values())


def test_the_truth_can_be_kept_elsewhere(tmp_path: Path) -> None:
    (scan, *_) = lab.write(tmp_path / "share", size="tiny", truth=tmp_path / "elsewhere")
    assert scan.truth.parent == tmp_path / "elsewhere"
    assert not (tmp_path / "truth").exists()


def test_an_unknown_size_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(InvalidSetting, match=r"size 'demon'.*Did you mean demo"):
        lab.write(tmp_path / "share", size="demon")
    assert not (tmp_path / "share").exists()
