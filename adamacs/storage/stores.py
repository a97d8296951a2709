"""Named places where arrays rest: a folder, or a bucket on an S3 server.

A stored file is written once and whole. While it is being written nobody sees it; once it is seen it is durable,
and nothing overwrites it. Paths are POSIX, relative to the store, and never lead out of it.
"""

from __future__ import annotations

import errno
import importlib
import os
import re
import secrets
import shutil
import stat
import tempfile
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path, PurePosixPath
from types import ModuleType
from typing import Any, BinaryIO

from adamacs.core import settings
from adamacs.core.errors import StoreUnavailable, ToolMissing, UnsafePath

_LONGEST_NAME = 255  # bytes, the limit of every common file system
_UNSAFE = re.compile(r"[\x00-\x1f\x7f\\:]")  # a backslash and a colon lead elsewhere on Windows
_PARTIAL = ".part"
_WRITEBACK = 16 << 20  # bytes after which a draft is handed to the disk
_SEEKING = threading.Lock()
_SYNC = getattr(os, "fdatasync", os.fsync)
# With folder descriptors no link can be slipped in between the check of a path and its use.
_DESCRIPTORS = {os.open, os.mkdir, os.stat, os.unlink, os.link, os.rename} <= os.supports_dir_fd
_OPEN = getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0) | getattr(os, "O_NOFOLLOW", 0)
_NO_LINKS = {errno.EPERM, errno.ENOSYS, errno.EMLINK, errno.ENOTSUP, errno.EOPNOTSUPP}
_FULL = {errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)}
_REFUSED = {errno.EACCES, errno.EPERM, errno.EROFS}


@dataclass(frozen=True)
class Stored:
    """One stored file, as a listing tells it."""

    path: str
    size: int  # bytes
    modified: float  # s since 1970, by the clock of the store


def parts_of(path: str) -> tuple[str, ...]:
    """Split a stored path into its names.

    Raises
    ------
    UnsafePath
        The path is empty, absolute, climbs with `..`, or has a name that some system reads as something else.
    """
    if not isinstance(path, str) or not path:
        raise UnsafePath(f"{path!r} is no path in a store.", hint="Write it as folder/name, relative to the store.")
    if _UNSAFE.search(path):
        raise UnsafePath("A stored path has no control character, backslash or colon.", repr(path))
    parts = tuple(path.split("/"))
    for part in parts:
        if part in {"", ".", ".."}:
            raise UnsafePath("A stored path stays under its root.", repr(path), "Write it as folder/name.")
        if len(part.encode("utf-8", "surrogatepass")) > _LONGEST_NAME:
            raise UnsafePath(f"A name in a stored path has at most {_LONGEST_NAME} bytes.", repr(path))
    return parts


@dataclass(frozen=True)
class Reader:
    """An open stored file: the bytes from start to stop (fewer where it ends before), and its size in bytes."""

    read: Callable[[int, int | None], bytes]
    size: Callable[[], int]


class Draft:
    """A file being written, which nobody sees until its store publishes it."""

    def __init__(self, file: BinaryIO, store: Store, path: str) -> None:
        self._file = file
        self._store = store
        self._path = path

    def write(self, data: bytes | memoryview) -> None:
        """Append bytes."""
        with self._store.answering(self._path):
            self._file.write(data)

    def rewrite(self, start: int, data: bytes) -> None:
        """Replace bytes that were written before, and go on at the end."""
        with self._store.answering(self._path):
            self._file.seek(start)
            self._file.write(data)
            self._file.seek(0, os.SEEK_END)

    def close(self, *, sync: bool) -> None:
        """Close the file, after its bytes are on the disk where `sync` is set."""
        if self._file.closed:
            return
        with self._store.answering(self._path), self._file:
            if sync:
                self._file.flush()
                os.fsync(self._file.fileno())


class Store(ABC):
    """A named place where files rest, each written once and whole.

    Every method takes paths relative to the store and raises `UnsafePath` for one that leads out of it, and
    `StoreUnavailable` where the store cannot be reached, is full or refuses.
    """

    streams = 1  # reads that should run at once: one for a disk, several to hide the way to a server
    span = 1 << 19  # bytes that one read should fetch: what stays in the cache of a core, more where a read is dear

    def __init__(self, name: str) -> None:
        self.name = name

    @abstractmethod
    def locate(self, path: str) -> str:
        """Return the full address of a path, for a message."""

    @abstractmethod
    def create(self, *paths: str) -> AbstractContextManager[list[Draft]]:
        """Open a draft per path; on leaving, all become durable and visible in this order, or none does.

        Raises
        ------
        StoreUnavailable
            Also where something is stored under one of the paths already.
        """

    @abstractmethod
    def reading(self, path: str) -> AbstractContextManager[Reader]:
        """Open a stored file for reads at any place, by several threads at once.

        Raises
        ------
        FileNotFoundError
            Nothing is stored under this path; told at the latest by the first read.
        """

    @abstractmethod
    def remove(self, path: str) -> None:
        """Remove a stored file. Where there is none, nothing happens."""

    @abstractmethod
    def listing(self, folder: str = "", *, partial: bool = False) -> Iterator[Stored]:
        """Yield the stored files under a folder; with `partial`, what dead writers left behind instead."""

    @abstractmethod
    def prepare(self) -> None:
        """Make the folder or bucket of the store where it is missing and may be made."""

    @abstractmethod
    def answering(self, path: str) -> AbstractContextManager[None]:
        """Turn what the system says about a path into `StoreUnavailable`; a missing file stays what it is."""

    def read(self, path: str, start: int = 0, stop: int | None = None) -> bytes:
        """Return the bytes from `start` to `stop`, fewer where the file ends before.

        Raises
        ------
        FileNotFoundError
            Nothing is stored under this path.
        """
        with self.reading(path) as file:
            return file.read(start, stop)

    def size(self, path: str) -> int:
        """Return the size in bytes.

        Raises
        ------
        FileNotFoundError
            Nothing is stored under this path.
        """
        with self.reading(path) as file:
            return file.size()

    def exists(self, path: str) -> bool:
        """Tell whether something is stored under this path."""
        try:
            self.size(path)
        except FileNotFoundError:
            return False
        return True

    def probe(self) -> None:
        """Prove that the store works: make it where it may be made, then write, read and remove a small file."""
        self.prepare()
        path, payload = f".probe-{secrets.token_hex(8)}", secrets.token_bytes(64)
        with self.create(path) as [draft]:
            draft.write(payload)
        try:
            answer = self.read(path)
        finally:
            self.remove(path)
        if answer != payload:
            raise StoreUnavailable(
                f"Store {self.name!r} gives back other bytes than were written.", self.locate(path), "Do not use it."
            )


def named(name: str) -> Store:
    """Return the store that the settings in use give this name.

    Raises
    ------
    InvalidSetting
        The settings know no such store.
    """
    active = settings.active()
    return _opened(name, active.home, active.store(name), active.workers.scratch)


@lru_cache(maxsize=32)
def _opened(name: str, home: Path, spec: settings.Store, scratch: str) -> Store:
    if spec.protocol == "s3":
        return S3Store(
            spec.endpoint,
            spec.bucket,
            spec.location,
            spec.access_key,
            spec.secret_key,
            name=name,
            scratch=home / Path(scratch).expanduser() if scratch else None,
        )
    location = Path(spec.location).expanduser()
    # A missing folder inside the lab home is a new lab; a missing one elsewhere may be a share that is not mounted,
    # and making it would fill the disk below the mount point.
    return FileStore(home / location, name=name, make_root=not location.is_absolute())


class FileStore(Store):
    """A folder of files.

    Parameters
    ----------
    root
        The folder. Links below it are never followed.
    name
        Name of the store in the settings.
    make_root
        Whether a missing root is made when first written to.
    """

    def __init__(self, root: Path | str, *, name: str = "derived", make_root: bool = False) -> None:
        super().__init__(name)
        self.root = Path(root).absolute()
        self._make_root = make_root

    def __repr__(self) -> str:
        return f"FileStore({str(self.root)!r}, name={self.name!r})"

    def locate(self, path: str) -> str:
        return str(self.root / PurePosixPath(path))

    @contextmanager
    def create(self, *paths: str) -> Iterator[list[Draft]]:
        drafts: list[_FileDraft] = []
        with ExitStack() as stack:
            folders: dict[tuple[str, ...], _Folder] = {}
            try:
                for path in paths:
                    *parents, name = parts_of(path)
                    key = tuple(parents)
                    with self.answering(path):
                        if key not in folders:
                            folders[key] = stack.enter_context(self._folder(key, make=True))
                        drafts.append(_FileDraft(folders[key], name, self, path))
                yield [*drafts]
                for draft in drafts:
                    draft.close(sync=True)
                for draft in drafts:
                    draft.publish()
                with self.answering(paths[0]):
                    for folder in folders.values():
                        folder.sync()
            except BaseException:
                for draft in drafts:
                    draft.withdraw()
                raise

    @contextmanager
    def reading(self, path: str) -> Iterator[Reader]:
        with ExitStack() as stack:
            with self.answering(path):
                descriptor = stack.enter_context(self._opened(path))
                size = os.fstat(descriptor).st_size

            def read(start: int, stop: int | None) -> bytes:
                with self.answering(path):
                    return _read_range(descriptor, start, size if stop is None else stop)

            yield Reader(read, lambda: size)

    def remove(self, path: str) -> None:
        *parents, name = parts_of(path)
        with suppress(FileNotFoundError), self.answering(path), self._folder(tuple(parents)) as folder:
            folder.unlink(name)
            folder.sync()

    def listing(self, folder: str = "", *, partial: bool = False) -> Iterator[Stored]:
        parts = parts_of(folder) if folder else ()
        with suppress(FileNotFoundError), self.answering(folder):
            with self._folder(parts):
                pass  # refuses a missing root and a link on the way
            yield from sorted(_walk(self.root.joinpath(*parts), self.root, partial), key=lambda found: found.path)

    def prepare(self) -> None:
        with self.answering("."), self._folder((), make=True):
            pass

    @contextmanager
    def answering(self, path: str) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError:
            raise
        except OSError as error:
            if error.errno in {errno.ELOOP, errno.ENOTDIR}:
                raise UnsafePath("A part of this path is a link or no folder.", self.locate(path)) from error
            raise StoreUnavailable(f"{_reason(error)} {self._free()}", self.locate(path), _advice(error)) from error

    def _free(self) -> str:
        try:
            return f"{shutil.disk_usage(self.root).free / 1e9:.1f} GB are free there."
        except OSError:
            return "Its free space cannot be told."

    @contextmanager
    def _opened(self, path: str) -> Iterator[int]:
        *parents, name = parts_of(path)
        with self._folder(tuple(parents)) as folder:
            # Not blocking, so that a pipe in the place of a file cannot hold the reader.
            descriptor = folder.open(name, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise UnsafePath("This is no regular file.", self.locate(path))
            yield descriptor
        finally:
            os.close(descriptor)

    @contextmanager
    def _folder(self, parts: tuple[str, ...], *, make: bool = False) -> Iterator[_Folder]:
        """Walk down from the root without following a link."""
        if not self.root.is_dir():
            self._missing_root(make=make)
        if not _DESCRIPTORS:
            yield _plain_folder(self.root, parts, make=make)
            return
        descriptor = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            for part in parts:
                inner = _open_inner(descriptor, part, make=make)
                os.close(descriptor)
                descriptor = inner
            yield _Folder(self.root.joinpath(*parts), descriptor)
        finally:
            os.close(descriptor)

    def _missing_root(self, *, make: bool) -> None:
        if self._make_root and not make:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(self.root))  # nothing stored yet
        if not self._make_root:
            hint = f"Is it mounted? A new store is made by: mkdir -p {self.root}"
            raise StoreUnavailable(f"The folder of store {self.name!r} is missing.", self.root, hint)
        self.root.mkdir(parents=True, exist_ok=True)


@dataclass(frozen=True)
class _Folder:
    """An open folder: its names are used relative to it, so that nobody can move it away in between."""

    path: Path
    descriptor: int | None = None

    def _at(self, name: str) -> tuple[str, dict[str, Any]]:
        return (str(self.path / name), {}) if self.descriptor is None else (name, {"dir_fd": self.descriptor})

    def open(self, name: str, flags: int) -> int:
        target, at = self._at(name)
        return os.open(target, flags | _OPEN, 0o666, **at)

    def exists(self, name: str) -> bool:
        target, at = self._at(name)
        try:
            os.stat(target, follow_symlinks=False, **at)  # noqa: PTH116 (a Path knows no descriptor)
        except FileNotFoundError:
            return False
        return True

    def unlink(self, name: str) -> None:
        target, at = self._at(name)
        os.unlink(target, **at)

    def publish(self, draft: str, name: str) -> None:
        """Give a finished draft its name, unless the name is taken."""
        source, target = self._at(draft)[0], self._at(name)[0]
        here = self.descriptor
        at: dict[str, Any] = {} if here is None else {"src_dir_fd": here, "dst_dir_fd": here}
        try:
            os.link(source, target, **at)
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            # Some shares have no hard links. The names of arrays are random, so that only a mistake collides.
            if self.exists(name):
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), name) from error
            os.rename(source, target, **at)  # noqa: PTH104 (a Path knows no descriptor)
            return
        with suppress(OSError):  # the file has its name; a second one is cleared away with what dead writers left
            self.unlink(draft)

    def sync(self) -> None:
        if self.descriptor is not None:
            os.fsync(self.descriptor)


class _FileDraft(Draft):
    def __init__(self, folder: _Folder, name: str, store: FileStore, path: str) -> None:
        if folder.exists(name):
            raise _taken(store, path)
        self._folder, self._name = folder, name
        self._temporary = f".{secrets.token_hex(8)}{_PARTIAL}"
        self._published = False
        descriptor = folder.open(self._temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL)
        self._writeback = _Writeback(descriptor)
        super().__init__(os.fdopen(descriptor, "w+b"), store, path)

    def write(self, data: bytes | memoryview) -> None:
        super().write(data)
        with self._store.answering(self._path):
            self._writeback.wrote(len(data))

    def close(self, *, sync: bool) -> None:
        try:
            with self._store.answering(self._path):
                self._writeback.finish()
        finally:
            super().close(sync=sync)

    def publish(self) -> None:
        with self._store.answering(self._path):
            try:
                self._folder.publish(self._temporary, self._name)
            except FileExistsError as error:
                raise _taken(self._store, self._path) from error
            except FileNotFoundError as error:
                what = "Its folder was removed while it was being written."
                raise StoreUnavailable(what, self._store.locate(self._path)) from error
            self._published = True

    def withdraw(self) -> None:
        """Leave nothing behind, as far as the disk still answers."""
        with suppress(OSError, StoreUnavailable):
            self.close(sync=False)
        with suppress(OSError):
            self._folder.unlink(self._name if self._published else self._temporary)


class _Writeback:
    """Lets the disk work while the next bytes are made, instead of all at the end."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._unsynced = 0
        self._pool: ThreadPoolExecutor | None = None  # of this draft alone: a common one would not survive a fork
        self._syncing: Future[None] | None = None

    def wrote(self, length: int) -> None:
        self._unsynced += length
        if self._unsynced < _WRITEBACK or (self._syncing is not None and not self._syncing.done()):
            return
        self._pool = self._pool or ThreadPoolExecutor(1)
        self._check()
        self._unsynced = 0
        self._syncing = self._pool.submit(_SYNC, self._descriptor)

    def finish(self) -> None:
        if self._pool is not None:
            self._pool.shutdown()
            self._pool = None
            self._check()

    def _check(self) -> None:
        if self._syncing is not None:
            self._syncing.result()  # a disk tells an error once, and perhaps told it here


def _open_inner(outer: int, name: str, *, make: bool) -> int:
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        return os.open(name, flags, dir_fd=outer)
    except FileNotFoundError:
        if not make:
            raise
    with suppress(FileExistsError):  # another writer was faster
        os.mkdir(name, dir_fd=outer)
        os.fsync(outer)
    return os.open(name, flags, dir_fd=outer)


def _plain_folder(root: Path, parts: tuple[str, ...], *, make: bool) -> _Folder:
    """Do what can be done where folders have no descriptors (Windows): refuse a path that a link leads away."""
    path = root.joinpath(*parts)
    if make:
        path.mkdir(parents=True, exist_ok=True)
    elif not path.is_dir():
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
    if Path(os.path.realpath(path)) != Path(os.path.realpath(root)).joinpath(*parts):
        raise UnsafePath("A part of this path is a link.", path)
    return _Folder(path)


def _walk(folder: Path, root: Path, partial: bool) -> Iterator[Stored]:
    with suppress(FileNotFoundError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield from _walk(Path(entry.path), root, partial)
            elif entry.is_file(follow_symlinks=False) and _wanted(entry.name, partial):
                with suppress(FileNotFoundError):  # removed meanwhile
                    found = entry.stat(follow_symlinks=False)
                    yield Stored(Path(entry.path).relative_to(root).as_posix(), found.st_size, found.st_mtime)


def _wanted(name: str, partial: bool) -> bool:
    return name.startswith(".") and name.endswith(_PARTIAL) if partial else not name.startswith(".")


def _read_range(descriptor: int, start: int, stop: int) -> bytes:
    pieces = []
    while start < stop and (piece := _read_at(descriptor, start, stop - start)):
        pieces.append(piece)
        start += len(piece)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def _read_at(descriptor: int, start: int, length: int) -> bytes:
    if hasattr(os, "pread"):
        return os.pread(descriptor, length, start)
    with _SEEKING:  # Windows: the place to read from belongs to the descriptor, which threads share
        os.lseek(descriptor, start, os.SEEK_SET)
        return os.read(descriptor, length)


def _taken(store: Store, path: str) -> StoreUnavailable:
    return StoreUnavailable(
        "Something is stored under this path already, and a stored file is never overwritten.", store.locate(path)
    )


def _reason(error: OSError) -> str:
    text = error.strerror or str(error) or type(error).__name__
    return f"{text}."


def _advice(error: OSError) -> str:
    if error.errno in _FULL:
        return "Free some space and run the same command again."
    if error.errno in _REFUSED:
        return "Let this account read and write there; `adamacs check` tells when it can."
    return "Is the disk or share connected? `adamacs check` tells."


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
                raise _taken(self, path)
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
        raise StoreUnavailable(_reason(error), parent or tempfile.gettempdir(), _advice(error)) from error
    with folder as path:
        yield Path(path)
