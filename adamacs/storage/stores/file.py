"""A store that is a folder of files."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from pathlib import Path, PurePosixPath

from adamacs.core.errors import StoreUnavailable, UnsafePath
from adamacs.storage.stores.folder import PARTIAL, Folder, opened, read_range, walk
from adamacs.storage.stores.interface import Draft, Reader, Store, Stored, parts_of, taken

_WRITEBACK = 16 << 20  # bytes after which a draft is handed to the disk
_SYNC = getattr(os, "fdatasync", os.fsync)
_FULL = {errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)}
_REFUSED = {errno.EACCES, errno.EPERM, errno.EROFS}


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
            folders: dict[tuple[str, ...], Folder] = {}
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
                    return read_range(descriptor, start, size if stop is None else stop)

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
            yield from sorted(walk(self.root.joinpath(*parts), self.root, partial), key=lambda found: found.path)

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
            raise StoreUnavailable(
                f"{reason_of(error)} {self._free()}", self.locate(path), advice_for(error)
            ) from error

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

    def _folder(self, parts: tuple[str, ...], *, make: bool = False) -> AbstractContextManager[Folder]:
        if not self.root.is_dir():
            self._missing_root(make=make)
        return opened(self.root, parts, make=make)

    def _missing_root(self, *, make: bool) -> None:
        if self._make_root and not make:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(self.root))  # nothing stored yet
        if not self._make_root:
            hint = f"Is it mounted? A new store is made by: mkdir -p {self.root}"
            raise StoreUnavailable(f"The folder of store {self.name!r} is missing.", self.root, hint)
        self.root.mkdir(parents=True, exist_ok=True)


class _FileDraft(Draft):
    def __init__(self, folder: Folder, name: str, store: FileStore, path: str) -> None:
        if folder.exists(name):
            raise taken(store, path)
        self._folder, self._name = folder, name
        self._temporary = f".{secrets.token_hex(8)}{PARTIAL}"
        self._published = False
        descriptor = folder.open(self._temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL)
        self._writeback = Writeback(descriptor)
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
                raise taken(self._store, self._path) from error
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


class Writeback:
    """Lets the disk work while the next bytes are made, instead of all at the end."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._unsynced = 0
        self._pool: ThreadPoolExecutor | None = None  # of this draft alone: a common one would not survive a fork
        self._syncing: Future[None] | None = None

    def wrote(self, length: int) -> None:
        """Say that so many bytes more were written."""
        self._unsynced += length
        if self._unsynced < _WRITEBACK or (self._syncing is not None and not self._syncing.done()):
            return
        self._pool = self._pool or ThreadPoolExecutor(1)
        self._check()
        self._unsynced = 0
        self._syncing = self._pool.submit(_SYNC, self._descriptor)

    def finish(self) -> None:
        """Wait for what was handed over; an error of the disk is raised here at the latest."""
        if self._pool is not None:
            self._pool.shutdown()
            self._pool = None
            self._check()

    def _check(self) -> None:
        if self._syncing is not None:
            self._syncing.result()  # a disk tells an error once, and perhaps told it here


def reason_of(error: OSError) -> str:
    """Return the system's own words for an error, as a sentence."""
    text = error.strerror or str(error) or type(error).__name__
    return f"{text}."


def advice_for(error: OSError) -> str:
    """Return what a person can try against an error of the system."""
    if error.errno in _FULL:
        return "Free some space and run the same command again."
    if error.errno in _REFUSED:
        return "Let this account read and write there; `adamacs check` tells when it can."
    return "Is the disk or share connected? `adamacs check` tells."
