"""When nothing of a recording changes any more, and on which disks the kernel's word is taken for it."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from adamacs.core.modality import Unit
from adamacs.ingest import ripe


def mounted(monkeypatch, **mounts):
    """Let the computer have mounts: file system by folder below `/`, whose name `_` splits."""
    found = [SimpleNamespace(mountpoint="/", fstype="ext4")]
    found += [SimpleNamespace(mountpoint=f"/{name.replace('_', '/')}", fstype=kind) for name, kind in mounts.items()]
    monkeypatch.setattr(psutil, "disk_partitions", lambda all=False: found)


@pytest.mark.skipif(os.name != "posix", reason="mounts of Windows are letters")
@pytest.mark.parametrize("kind", ["nfs", "nfs4", "cifs", "smb3", "smbfs", "afs", "fuse.sshfs", "9p", "ceph", "beegfs"])
def test_a_share_of_another_computer_is_known_by_its_file_system(monkeypatch, kind):
    mounted(monkeypatch, srv_share=kind, srv_share_fast="xfs")
    assert ripe.is_network(Path("/srv/share/demo"))
    assert not ripe.is_network(Path("/srv/share/fast/demo"))  # a local disk within it
    assert not ripe.is_network(Path("/srv/shared"))


@pytest.mark.skipif(os.name != "posix", reason="mounts of Windows are letters")
@pytest.mark.parametrize("kind", ["ext4", "xfs", "btrfs", "zfs", "apfs", "tmpfs", "overlay", "fuseblk"])
def test_a_local_disk_is_none(monkeypatch, kind):
    mounted(monkeypatch, srv_share=kind)
    assert not ripe.is_network(Path("/srv/share/demo"))


@pytest.mark.skipif(os.name != "posix", reason="Windows keeps no such time")
def test_the_time_of_the_last_change_cannot_be_set_back_by_who_copies(tmp_path):
    file = tmp_path / "movie.tif"
    file.write_bytes(b"raw")
    told = ripe.last_change([file])
    os.utime(file, (1, 1))
    assert ripe.last_change([file]) >= told > 1


def test_a_group_names_its_missing_parts_and_the_parts_that_are_there_twice():
    unit = Unit("incoming", r"(?P<stamp>[0-9]+)_(?P<part>[a-c])(_again)?\.dat", "", parts=("a", "b", "c"))
    growth = ripe.grown(["2_c.dat", "10_a.dat", "2_a.dat", "2_a_again.dat", "notes.txt"], unit)
    assert [(one.name, one.files, one.missing) for one in growth.units] == [
        ("2", ("2_a.dat", "2_a_again.dat", "2_c.dat"), ("b",)),
        ("10", ("10_a.dat",), ("b", "c")),
    ]
    assert growth.twins == {"2": ("2_a.dat", "2_a_again.dat")}
    assert growth.marker  # none is asked for


def test_without_a_stamp_each_file_is_a_unit():
    growth = ripe.grown(["b2.mrc", "b10.mrc", "x.txt"], Unit("incoming", r".*\.mrc", "", marker="*.xml"))
    assert [(one.name, one.files) for one in growth.units] == [("b2.mrc", ("b2.mrc",)), ("b10.mrc", ("b10.mrc",))]
    assert not growth.marker
