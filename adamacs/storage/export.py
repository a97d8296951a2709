"""Copies of stored arrays in formats that other programs read."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from adamacs.core.errors import StoreUnavailable, ToolMissing, UnstorableArray
from adamacs.storage.arrays import ArrayReference

FORMATS = (".npy", ".h5")
_PIECE = 64 << 20  # bytes held in memory at a time


def export(reference: ArrayReference, path: Path | str) -> Path:
    """Write a stored array, or the part that a reference stands for, as a `.npy` or `.h5` file.

    Every byte is verified on the way, and an array of any size takes 64 MiB of memory. An HDF5 file holds one data
    set, `array`, with the store, path and digest it came from as attributes.

    Raises
    ------
    CorruptArray
        Stored bytes are missing or changed; no file is left.
    StoreUnavailable
        There is a file under this name already, or it cannot be written.
    UnstorableArray
        The format is unknown, or does not take this type.
    ToolMissing
        HDF5 is asked for and h5py is not installed.
    """
    path = Path(path)
    if path.suffix not in FORMATS:
        raise UnstorableArray(f"{path.suffix or 'No suffix'} is no format.", path, f"Use {' or '.join(FORMATS)}.")
    if path.exists():
        raise StoreUnavailable("There is a file under this name already.", path, "Choose another name.")
    draft = path.with_name(f".{secrets.token_hex(8)}.part")
    try:
        (_write_npy if path.suffix == ".npy" else _write_hdf5)(reference, draft)
        draft.rename(path)
    except OSError as error:
        raise StoreUnavailable(f"{error.strerror or error}.", path, "Choose a folder that can be written.") from error
    finally:
        draft.unlink(missing_ok=True)
    return path


def _pieces(reference: ArrayReference) -> Iterator[tuple[slice, np.ndarray]]:
    """Read along the first axis, piece by piece."""
    length = len(reference)
    step = max(1, _PIECE * length // max(1, reference.nbytes))
    for start in range(0, length, step):
        part = slice(start, min(start + step, length))
        yield part, reference[part]


def _write_npy(reference: ArrayReference, path: Path) -> None:
    with path.open("xb") as file:
        if not reference.shape or not reference.size:
            np.save(file, np.asarray(reference), allow_pickle=False)
        else:
            descr = np.lib.format.dtype_to_descr(reference.dtype)
            header = {"descr": descr, "fortran_order": False, "shape": reference.shape}
            np.lib.format.write_array_header_2_0(file, header)
            for _, values in _pieces(reference):
                file.write(values.tobytes())
        file.flush()
        os.fsync(file.fileno())


def _write_hdf5(reference: ArrayReference, path: Path) -> None:
    try:
        import h5py
    except ModuleNotFoundError as error:
        raise ToolMissing("Writing HDF5 needs h5py.", hint="Run: pip install h5py") from error
    with h5py.File(path, "x") as file:
        try:
            data = file.create_dataset("array", reference.shape, reference.dtype)
        except TypeError as error:
            raise UnstorableArray(f"HDF5 takes no {reference.dtype} ({error}).", hint="Use .npy.") from error
        data.attrs.update(store=reference.store, path=reference.path, digest=reference.digest)
        if not reference.shape:
            data[...] = np.asarray(reference)
            return
        for part, values in _pieces(reference):
            data[part] = values
