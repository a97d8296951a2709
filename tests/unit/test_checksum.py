"""Checksums of files and folders: every change is told, and nothing else is."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from blake3 import blake3

from adamacs.core.errors import UnreadableFile, UnsafePath
from adamacs.storage import checksum
from adamacs.storage.checksum import Difference, Manifest, blake3_of


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder as a processing tool leaves it."""
    root = tmp_path / "suite2p_expABC"
    (root / "plane0").mkdir(parents=True)
    (root / "plane0" / "F.npy").write_bytes(bytes(range(256)) * 100)
    (root / "plane0" / "ops.npy").write_bytes(b"ops")
    (root / "été log.txt").write_bytes(b"")
    return root


@pytest.mark.parametrize("size", [0, 1, 1000, checksum._PIECE, 2 * checksum._PIECE + 17])
def test_the_checksum_is_that_of_blake3(tmp_path: Path, size: int) -> None:
    data = os.urandom(size)
    (tmp_path / "data").write_bytes(data)
    assert blake3_of(tmp_path / "data") == blake3(data).hexdigest()
    assert blake3_of(str(tmp_path / "data")) == blake3(data).hexdigest()


def test_a_large_file_takes_little_memory(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource", reason="WINDOWS: the memory of a process is not told there")
    with (tmp_path / "large").open("wb") as file:
        file.truncate(300 << 20)  # of zeros that take no place
    script = (
        "import resource, sys; from adamacs.storage.checksum import blake3_of\n"
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "before = peak(); blake3_of(sys.argv[1]); print(peak() - before)"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "large")]
    grown = int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    assert grown * (1 if sys.platform == "darwin" else 1024) < 20 << 20
    assert resource.RUSAGE_SELF is not None


def test_a_file_that_grows_meanwhile_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "growing"
    path.write_bytes(b"0" * 1000)

    class Growing:
        def update(self, data: memoryview) -> None:
            with path.open("ab") as file:
                if file.tell() < 1500:
                    file.write(b"1" * 1000)

    monkeypatch.setattr(checksum, "blake3", Growing)
    with pytest.raises(UnreadableFile, match=r"growing.*changed while it was read"):
        blake3_of(path)


def test_a_folder_has_no_checksum(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="directory"):
        blake3_of(tmp_path)
    with pytest.raises(UnreadableFile, match="regular"):
        blake3_of("/dev/null")


def test_a_manifest_names_every_file_with_size_and_checksum(folder: Path) -> None:
    manifest = Manifest.of(folder)
    assert [(entry.path, entry.size) for entry in manifest.entries] == [
        ("plane0/F.npy", 25_600),
        ("plane0/ops.npy", 3),
        ("été log.txt", 0),
    ]
    assert manifest.entries[1].blake3 == blake3(b"ops").hexdigest()
    assert manifest.size == 25_603


def test_an_untouched_folder_agrees_with_its_manifest(folder: Path) -> None:
    difference = Manifest.of(folder).verify(folder)
    assert not difference
    assert str(difference) == "no difference"


def test_a_folder_that_moved_agrees_with_its_manifest(folder: Path) -> None:
    manifest = Manifest.of(folder)
    moved = folder.rename(folder.with_name("moved"))
    assert not manifest.verify(moved)
    assert Manifest.of(moved).digest == manifest.digest


def test_every_kind_of_change_is_listed(folder: Path) -> None:
    manifest = Manifest.of(folder)
    (folder / "plane0" / "ops.npy").write_bytes(b"opt")
    (folder / "été log.txt").unlink()
    (folder / "plane1").mkdir()
    (folder / "plane1" / "new").write_bytes(b"new")
    difference = manifest.verify(folder)
    assert difference == Difference(("plane1/new",), ("été log.txt",), ("plane0/ops.npy",))
    assert str(difference) == "1 added: plane1/new; 1 missing: été log.txt; 1 changed: plane0/ops.npy"
    assert difference
    assert Manifest.of(folder).digest != manifest.digest


def test_every_flipped_bit_of_a_file_is_found(folder: Path) -> None:
    manifest = Manifest.of(folder)
    for bit in range(24):
        data = bytearray(b"ops")
        data[bit // 8] ^= 1 << bit % 8
        (folder / "plane0" / "ops.npy").write_bytes(data)
        assert manifest.verify(folder).changed == ("plane0/ops.npy",)
        assert not manifest.verify(folder, contents=False)  # a quick look cannot see it
    (folder / "plane0" / "ops.npy").write_bytes(b"o")
    assert manifest.verify(folder, contents=False).changed == ("plane0/ops.npy",)


def test_the_manifest_itself_can_lie_in_the_folder(folder: Path) -> None:
    manifest = Manifest.of(folder, ignore=["manifest.json"])
    (folder / "manifest.json").write_text(manifest.to_json())
    assert not manifest.verify(folder, ignore=["manifest.json"])
    assert manifest.verify(folder).added == ("manifest.json",)
    assert Manifest.from_json((folder / "manifest.json").read_text()) == manifest


def test_an_empty_folder_has_a_manifest(tmp_path: Path) -> None:
    manifest = Manifest.of(tmp_path)
    assert (manifest.entries, manifest.size) == ((), 0)
    assert Manifest.from_json(manifest.to_json()) == manifest


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="WINDOWS: it has no pipes and guards links")
def test_links_and_pipes_are_refused(folder: Path) -> None:
    manifest = Manifest.of(folder)
    (folder / "plane0" / "link").symlink_to("/etc/passwd")
    for attempt in (lambda: Manifest.of(folder), lambda: manifest.verify(folder)):
        with pytest.raises(UnsafePath, match="plane0/link"):
            attempt()
    (folder / "plane0" / "link").unlink()
    os.mkfifo(folder / "pipe")
    with pytest.raises(UnsafePath, match="pipe"):
        Manifest.of(folder)


def edited(text: str, **change: object) -> str:
    value = json.loads(text)
    value["files"][0] |= change
    return json.dumps(value)


@pytest.mark.parametrize(
    "change", [{"size": 1}, {"size": "25600"}, {"path": "plane0/G.npy"}, {"blake3": "0" * 64}, {"more": 1}], ids=str
)
def test_a_manifest_that_was_edited_is_refused(folder: Path, change: dict) -> None:
    with pytest.raises(UnreadableFile, match="manifest"):
        Manifest.from_json(edited(Manifest.of(folder).to_json(), **change))


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"files": 3}', '{"files": [], "format": "x", "digest": ""}'])
def test_text_that_is_no_manifest_is_refused(text: str) -> None:
    with pytest.raises(UnreadableFile, match="manifest"):
        Manifest.from_json(text)


def test_a_manifest_cannot_name_files_outside_its_folder(folder: Path) -> None:
    with pytest.raises(UnsafePath):
        Manifest.from_json(edited(Manifest.of(folder).to_json(), path="../../etc/passwd"))
