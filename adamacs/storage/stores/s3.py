"""A store that is a bucket on an S3 server, or a folder in one."""

from __future__ import annotations

import errno
import importlib
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any

from adamacs.core import settings
from adamacs.core.errors import StoreUnavailable, ToolMissing
from adamacs.storage.stores.file import FileStore, advice_for, reason_of
from adamacs.storage.stores.interface import Draft, Reader, Store, Stored, parts_of, taken


class S3Store(Store):
    """A prefix in a bucket on an S3 server.

    Parameters
    ----------
    endpoint
        Address of the server with scheme and port; empty for Amazon's own.
    bucket
        The bucket.
    prefix
        Folder inside the bucket; may be empty.
    access_key, secret_key
        The account. The secret is shown by no repr and no message.
    name
        Name of the store in the settings.
    scratch
        Local folder for drafts; None: the system's.

    Notes
    -----
    A draft is a local file until it is whole: the frame of an array is finished by rewriting its head, and an
    object cannot be rewritten.
    """

    streams = 8
    span = 1 << 22

    def __init__(
        self,
        endpoint: str,
        bucket: str,
        prefix: str,
        access_key: str,
        secret_key: settings.Secret,
        *,
        name: str = "derived",
        scratch: Path | None = None,
    ) -> None:
        super().__init__(name)
        if endpoint and not re.fullmatch(r"https?://[^/@\s]+/?", endpoint):
            raise StoreUnavailable(
                f"The endpoint of store {name!r} is no address.", hint="Write it as https://host:port, no account."
            )
        if not bucket:
            raise StoreUnavailable(f"Store {name!r} names no bucket.", hint=f"Set stores.{name}.bucket.")
        self.endpoint, self.bucket, self.prefix = endpoint, bucket, "/".join(parts_of(prefix)) if prefix else ""
        self._access_key, self._secret_key, self._scratch = access_key, secret_key, scratch

    def __repr__(self) -> str:
        return f"S3Store({self.locate('')!r}, name={self.name!r})"

    def locate(self, path: str) -> str:
        inside = "/".join(part for part in (self.bucket, self.prefix, path) if part)
        return f"s3://{inside}" + (f" at {self.endpoint}" if self.endpoint else "")

    @contextmanager
    def create(self, *paths: str) -> Iterator[list[Draft]]:
        published: list[str] = []
        for path in paths:
            if self.exists(path):
                raise taken(self, path)
        with _scratch_folder(self._scratch) as folder:
            files = [folder / str(number) for number, _ in enumerate(paths)]
            with ExitStack() as stack:
                local = FileStore(folder, name=self.name)  # a full scratch disk is named as what it is
                with local.answering("."):
                    drafts = [Draft(stack.enter_context(file.open("w+b")), local, file.name) for file in files]
                yield drafts
                for draft in drafts:
                    draft.close(sync=False)
            try:
                for path, file in zip(paths, files, strict=True):
                    published.append(path)
                    self._upload(file, path)
            except BaseException:
                for path in published:
                    with suppress(StoreUnavailable):
                        self.remove(path)
                raise

    @contextmanager
    def reading(self, path: str) -> Iterator[Reader]:
        key = self._key(path)
        yield Reader(lambda start, stop: self._read(path, key, start, stop), lambda: self._size(path, key))

    def _read(self, path: str, key: str, start: int, stop: int | None) -> bytes:
        if stop is not None and stop <= start:
            return b""
        with self.answering(path):
            try:
                return bytes(self._files.cat_file(key, start=start or None, end=stop))
            except FileNotFoundError:
                raise
            except OSError:
                if start < self._size(path, key):
                    raise
                return b""  # S3 calls a range behind the end an error

    def _size(self, path: str, key: str) -> int:
        with self.answering(path):
            found = self._files.info(key)
        if found["type"] != "file":
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), self.locate(path))
        return int(found["size"])

    def remove(self, path: str) -> None:
        key = self._key(path)
        with suppress(FileNotFoundError), self.answering(path):
            self._files.rm_file(key)

    def listing(self, folder: str = "", *, partial: bool = False) -> Iterator[Stored]:
        if partial:
            return  # an upload that did not finish is no object
        root = self._key(folder) if folder else self._base
        found: dict[str, Any] = {}
        with suppress(FileNotFoundError), self.answering(folder):
            found = self._files.find(root, detail=True)
        for key, entry in sorted(found.items()):
            path = key.removeprefix(self._base + "/")
            if not path.rsplit("/", 1)[-1].startswith("."):
                yield Stored(path, int(entry["size"]), entry["LastModified"].timestamp())

    def prepare(self) -> None:
        with self._reaching():
            if self._bucket_exists():
                return
        try:
            with self._reaching():
                self._files.mkdir(self.bucket)
        except StoreUnavailable as error:
            server = f" --endpoint-url {self.endpoint}" if self.endpoint else ""
            hint = f"Create it with an account that may: aws{server} s3 mb s3://{self.bucket}"
            what = f"Bucket {self.bucket!r} is missing and could not be created. {error.what}"
            raise StoreUnavailable(what, self.locate(""), hint) from error

    @contextmanager
    def answering(self, path: str) -> Iterator[None]:
        with self._reaching(path):
            try:
                yield
            except FileNotFoundError:
                if not self._bucket_exists():
                    hint = "Run `adamacs check`, which creates it where it may."
                    raise StoreUnavailable("The bucket is missing.", self.locate(""), hint) from None
                raise

    @contextmanager
    def _reaching(self, path: str = "") -> Iterator[None]:
        client = _import("botocore.exceptions")
        transport = _import("aiohttp")
        try:
            yield
        except FileNotFoundError:
            raise
        except PermissionError as error:
            hint = f"Check stores.{self.name}.access_key and its secret_key."
            raise StoreUnavailable("The server refuses this account.", self.locate(path), hint) from error
        except (OSError, client.BotoCoreError, client.ClientError, transport.ClientError) as error:
            reason = getattr(error, "strerror", None) or type(error).__name__  # botocore's own texts may tell too much
            what = f"The server does not answer as it should ({reason})."
            raise StoreUnavailable(what, self.locate(path), "Is it up? `adamacs check` tells.") from error

    def _bucket_exists(self) -> bool:
        try:
            self._files.call_s3("head_bucket", Bucket=self.bucket)
        except FileNotFoundError:
            return False
        return True

    @property
    def _base(self) -> str:
        return f"{self.bucket}/{self.prefix}" if self.prefix else self.bucket

    def _key(self, path: str) -> str:
        return "/".join((self._base, *parts_of(path)))

    def _upload(self, file: Path, path: str) -> None:
        with self.answering(path):
            self._files.put_file(str(file), self._key(path))
        if self.size(path) != file.stat().st_size:
            raise StoreUnavailable("The server kept fewer bytes than it was sent.", self.locate(path))

    @cached_property
    def _files(self) -> Any:
        return _import("s3fs").S3FileSystem(
            key=self._access_key,
            secret=self._secret_key.reveal(),
            endpoint_url=self.endpoint or None,
            skip_instance_cache=True,  # fsspec's own cache would keep the secret beyond this store
            use_listings_cache=False,  # other hosts write too
            config_kwargs={
                "connect_timeout": 5,
                "read_timeout": 30,
                "retries": {"max_attempts": 3},
                # Some servers answer a range with the checksum of the whole object. We check every piece ourselves.
                "response_checksum_validation": "when_required",
                "request_checksum_calculation": "when_required",
            },
        )


def _import(module: str) -> ModuleType:
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise ToolMissing("Reading from S3 needs s3fs.", hint="Run: pip install 'adamacs[s3]'") from error


@contextmanager
def _scratch_folder(parent: Path | None) -> Iterator[Path]:
    try:
        folder = tempfile.TemporaryDirectory(prefix="adamacs-", dir=parent)
    except OSError as error:
        raise StoreUnavailable(reason_of(error), parent or tempfile.gettempdir(), advice_for(error)) from error
    with folder as path:
        yield Path(path)
