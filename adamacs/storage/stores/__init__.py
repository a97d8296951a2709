"""Named places where arrays rest: a folder, or a bucket on an S3 server.

A stored file is written once and whole. While it is being written nobody sees it; once it is seen it is durable,
and nothing overwrites it. Paths are POSIX, relative to the store, and never lead out of it.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from adamacs.core import settings
from adamacs.storage.stores.file import FileStore
from adamacs.storage.stores.interface import Draft, Reader, Store, Stored, parts_of
from adamacs.storage.stores.s3 import S3Store

__all__ = ["Draft", "FileStore", "Reader", "S3Store", "Store", "Stored", "named", "parts_of"]


def named(name: str, lab: settings.Settings | None = None) -> Store:
    """Return the store that a lab's settings, by default those in use, give this name.

    Raises
    ------
    InvalidSetting
        The settings know no such store.
    """
    lab = lab or settings.active()
    return _opened(name, lab.home, lab.store(name), lab.workers.scratch)


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
