"""The suite of stores on folders, and what a folder adds. On a real S3 server: `tests/integration/test_stores.py`."""

from __future__ import annotations

import errno
import os
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pytest

from adamacs.core import settings
from adamacs.core.errors import InvalidSetting, StoreUnavailable, ToolMissing, UnsafePath
from adamacs.core.settings import Secret, Settings
from adamacs.storage import arrays, frames, stores
from adamacs.storage.stores import FileStore, S3Store, Store
from tests.stores import StoreSuite, own_settings, put

__all__ = ["own_settings", "put"]  # fixtures


def use_file_store(home: Path) -> FileStore:
    settings.use(Settings(home=home))
    store = stores.named("derived")
    assert isinstance(store, FileStore)
    return store


class TestFileStore(StoreSuite):
    @pytest.fixture
    def store(self, tmp_path: Path) -> Store:
        return use_file_store(tmp_path)

    def overwrite(self, store: Store, path: str, data: bytes) -> None:
        Path(store.locate(path)).write_bytes(data)


class TestFileStoreWithoutDescriptors(TestFileStore):
    """As on Windows, where a folder cannot be held open."""

    @pytest.fixture
    def store(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
        monkeypatch.setattr("adamacs.storage.stores.folder._DESCRIPTORS", False)
        return use_file_store(tmp_path)


class TestFileStoreWithoutHardLinks(TestFileStore):
    """As on many SMB shares."""

    @pytest.fixture
    def store(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
        def refuse(*args: object, **kwargs: object) -> None:
            raise OSError(errno.EPERM, "Operation not permitted")

        monkeypatch.setattr(os, "link", refuse)
        return use_file_store(tmp_path)


def test_without_s3fs_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "s3fs", None)
    store = S3Store("http://127.0.0.1:9", "lab", "", "a", Secret("b"))
    with pytest.raises(ToolMissing, match=r"adamacs\[s3\]"):
        store.read("data.bin")


@pytest.mark.parametrize(("endpoint", "bucket"), [("127.0.0.1:9000", "lab"), ("http://user:pw@host", "lab"), ("", "")])
def test_an_s3_store_without_address_or_bucket_is_refused(endpoint: str, bucket: str) -> None:
    with pytest.raises(StoreUnavailable) as refused:
        S3Store(endpoint, bucket, "", "a", Secret("b"))
    assert "pw" not in str(refused.value)


def test_a_store_is_found_by_its_name(tmp_path: Path) -> None:
    settings.use(Settings(home=tmp_path))
    assert stores.named("derived") is stores.named("derived")
    assert stores.named("derived").locate("a/b") == str(tmp_path / "stores" / "derived" / "a" / "b")
    with pytest.raises(InvalidSetting, match="derived"):
        stores.named("derved")


def test_other_settings_give_another_store(tmp_path: Path) -> None:
    settings.use(Settings(home=tmp_path / "one"))
    one = stores.named("derived")
    settings.use(Settings(home=tmp_path / "two"))
    assert stores.named("derived").locate("x") != one.locate("x")


class TestAFolderOfFiles:
    @pytest.fixture
    def store(self, tmp_path: Path) -> FileStore:
        root = tmp_path / "root"
        root.mkdir()
        return FileStore(root)

    def test_a_missing_root_outside_the_lab_home_is_not_made(self, tmp_path: Path) -> None:
        spec = settings.Store("file", str(tmp_path / "share" / "derived"))
        settings.use(Settings(home=tmp_path / "home", stores=MappingProxyType({"derived": spec})))
        store = stores.named("derived")
        for attempt in (store.probe, lambda: store.read("a"), lambda: list(store.listing())):
            with pytest.raises(StoreUnavailable, match=r"missing.*mkdir -p"):
                attempt()
        assert not (tmp_path / "share").exists()

    @pytest.mark.parametrize("path", ["link/secret", "folder/link", "folder/dangling"])
    def test_a_link_is_never_followed(self, store: FileStore, tmp_path: Path, path: str, put) -> None:
        outside = tmp_path / "outside"
        outside.mkdir()
        (outside / "secret").write_bytes(b"secret")
        (store.root / "folder").mkdir()
        (store.root / "link").symlink_to(outside)
        (store.root / "folder" / "link").symlink_to(outside / "secret")
        (store.root / "folder" / "dangling").symlink_to(outside / "new")
        for attempt in (store.read, store.size):
            with pytest.raises(UnsafePath, match="link"):
                attempt(path)
        with pytest.raises((UnsafePath, StoreUnavailable)):
            put(path, b"0")
        assert [file.name for file in outside.iterdir()] == ["secret"]
        assert not list(store.listing())

    def test_a_link_slipped_in_while_reading_is_not_followed(self, store: FileStore, tmp_path: Path, put) -> None:
        put("folder/data", b"inside")
        outside = tmp_path / "outside"
        outside.mkdir()
        (outside / "data").write_bytes(b"outside")
        (tmp_path / "link").symlink_to(outside)
        folder, link, aside = store.root / "folder", tmp_path / "link", tmp_path / "aside"
        stop = threading.Event()

        def swap() -> None:
            while not stop.is_set():
                folder.rename(aside)
                link.rename(folder)
                folder.rename(link)
                aside.rename(folder)

        swapping = threading.Thread(target=swap)
        swapping.start()
        seen = set()
        try:
            for _ in range(2000):
                try:
                    seen.add(store.read("folder/data"))
                except (FileNotFoundError, UnsafePath) as refusal:
                    seen.add(type(refusal).__name__)
        finally:
            stop.set()
            swapping.join()
        assert b"outside" not in seen
        assert b"inside" in seen

    def test_a_pipe_does_not_hold_the_reader(self, store: FileStore) -> None:
        os.mkfifo(store.root / "pipe")
        with pytest.raises(UnsafePath, match="regular"):
            store.read("pipe")

    def test_of_two_writers_of_one_path_one_wins(self, store: FileStore) -> None:
        barrier = threading.Barrier(8)

        def attempt(number: int) -> bool:
            try:
                with store.create("data.bin") as [draft]:
                    draft.write(b"%d" % number)
                    barrier.wait()
            except StoreUnavailable:
                return False
            return True

        with ThreadPoolExecutor(8) as pool:
            won = list(pool.map(attempt, range(8)))
        assert won.count(True) == 1
        assert store.read("data.bin") == b"%d" % won.index(True)
        assert not list(store.listing(partial=True))

    def test_bytes_are_on_the_disk_before_the_name_and_the_name_before_the_return(
        self, store: FileStore, monkeypatch: pytest.MonkeyPatch, put
    ) -> None:
        put("folder/earlier", b"0")
        done: list[str] = []
        sync, link = os.fsync, os.link

        def syncing(descriptor: int) -> None:
            done.append("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file")
            sync(descriptor)

        def linking(*args: object, **kwargs: object) -> None:
            done.append("name")
            link(*args, **kwargs)

        monkeypatch.setattr(os, "fsync", syncing)
        monkeypatch.setattr(os, "link", linking)
        with store.create("folder/sums", "folder/array") as [a, b]:
            a.write(b"a")
            b.write(b"b")
        assert done == ["file", "file", "name", "name", "folder"]

    def test_a_disk_that_is_full_is_named_and_nothing_is_left(self, store: FileStore, put) -> None:
        values = np.random.default_rng(0).integers(0, 255, 40_000, dtype=np.uint8)
        put("sound", b"0")
        outcomes = set()
        for limit in range(0, 48_000, 4096):
            with largest_file(limit):
                try:
                    arrays_of(store, f"a{limit}.b2nd", values)
                    outcomes.add("stored")
                except StoreUnavailable as refused:
                    assert "GB are free" in str(refused)
                    assert str(store.root) in str(refused)
                    assert "Free some space" in str(refused)
                    assert not store.exists(f"a{limit}.b2nd")
                    assert not store.exists(f"a{limit}.b2nd.sums")
                    outcomes.add("refused")
        assert outcomes == {"stored", "refused"}
        assert not list(store.listing(partial=True))
        arrays_of(store, "after.b2nd", values)

    def test_an_error_while_syncing_behind_the_writer_is_not_lost(
        self, store: FileStore, monkeypatch: pytest.MonkeyPatch, put
    ) -> None:
        def fail(descriptor: int) -> None:
            raise OSError(errno.EIO, "Input/output error")

        monkeypatch.setattr("adamacs.storage.stores.file._SYNC", fail)
        monkeypatch.setattr("adamacs.storage.stores.file._WRITEBACK", 10)
        with pytest.raises(StoreUnavailable, match="Input/output error"):
            put("data.bin", bytes(100))
        assert not list(store.listing())
        assert not list(store.listing(partial=True))

    def test_a_folder_that_may_not_be_written_is_named(
        self, store: FileStore, monkeypatch: pytest.MonkeyPatch, put
    ) -> None:
        # Permissions do not bind root, who runs the tests in some places: let the system call refuse.
        def refuse(*args: object, **kwargs: object) -> None:
            raise PermissionError(errno.EACCES, "Permission denied")

        monkeypatch.setattr(os, "mkdir", refuse)
        with pytest.raises(StoreUnavailable, match=rf"{store.root}.*Permission denied.*free.*Let this account"):
            put("folder/data.bin", b"0")

    def test_real_permissions_are_named(self, store: FileStore, put) -> None:
        store.root.chmod(0o500)
        try:
            if os.access(store.root, os.W_OK):
                pytest.skip("ROOT: permissions do not bind this account; the refusal was only simulated")
            with pytest.raises(StoreUnavailable, match="Permission denied"):
                put("data.bin", b"0")
        finally:
            store.root.chmod(0o700)

    def test_a_killed_writer_leaves_nothing_that_is_seen(self, store: FileStore) -> None:
        script = (
            "import os, signal, sys; from adamacs.storage.stores import FileStore\n"
            "with FileStore(sys.argv[1]).create('table/a', 'table/b') as [a, b]:\n"
            "    a.write(b'a' * 1000); b.write(b'b'); os.kill(os.getpid(), signal.SIGKILL)\n"
        )
        ended = subprocess.run([sys.executable, "-c", script, str(store.root)], check=False)
        assert ended.returncode == -signal.SIGKILL
        assert not list(store.listing())
        assert len(list(store.listing(partial=True))) == 2  # for the cleaning that knows their age
        with store.create("table/a") as [draft]:
            draft.write(b"again")
        assert store.read("table/a") == b"again"


def arrays_of(store: FileStore, path: str, values: np.ndarray) -> None:
    """Write an array as `arrays.write` does, without settings."""
    with store.create(arrays.sums_path(path), path) as (sums, file):
        sums.write(frames.write(file, values, 1).to_bytes())


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Let the kernel refuse to make a file longer, as a full disk does."""
    resource = pytest.importorskip("resource", reason="WINDOWS: the kernel takes no limit for the size of a file")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_root_that_goes_away_between_two_looks_is_a_store_that_is_gone(tmp_path, monkeypatch):
    store = FileStore(tmp_path / "root")
    monkeypatch.setattr(type(store.root), "is_dir", lambda path: True)
    with pytest.raises(StoreUnavailable), store.create("a/b"):
        pass
