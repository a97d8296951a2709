"""How fast arrays are written and read, beside the disk itself and beside DataJoint's own `<npy@>` and `<blob@>`.

One JSON line per kind of array. All sides are run in turn, in one process, on the same folder; times are medians.
`base` is the disk: the bare bytes written with fsync, and read into a new array. A read is `warm` where the system
holds the file in memory, `cold` where it was told to drop it. DataJoint's codecs are called as an insert and a
fetch call them, but without a database; they never fsync. `<blob@>` is so slow that it gets a part of the array,
as `of_megabytes` says; its one item is scaled to the whole array, because a blob is always unpacked whole.
"""

from __future__ import annotations

import argparse
import inspect
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from deepdiff import DeepHash

from adamacs.core import settings
from adamacs.storage import arrays, stores
from adamacs.storage.arrays import ArrayReference

WRITE, READ, ITEM = 0.5, 0.6, 1.0  # what is to be reached: times the disk, times the disk, ms
LARGE = 100  # MB from which on the first two hold
MASK = np.dtype([("x", "<i4"), ("y", "<i4"), ("weight", "<f4")])


@dataclass(frozen=True)
class Kind:
    """A kind of array that the lab stores."""

    name: str
    item: str
    values: np.ndarray
    pick: Callable[[ArrayReference, int], ArrayReference]
    items: int
    blob_share: int  # the blob gets one part in so many


def main() -> None:
    """Print one JSON line per kind of array."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small arrays and three rounds instead of seven")
    parser.add_argument("--folder", type=Path, help="where to write; default: the system's temporary folder")
    options = parser.parse_args()
    rounds = 3 if options.quick else 7
    for make in (fluorescence, movie, masks):
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            settings.use(settings.Settings(home=Path(folder)))
            print(json.dumps(measured(make(10 if options.quick else 1), Path(folder), rounds)), flush=True)


def fluorescence(share: int) -> Kind:
    """Traces of 1000 ROIs over 60000 frames: transients on a baseline, with the photon noise of some 100 pixels."""
    rng, frames = np.random.default_rng(0), 60_000
    kernel = np.exp(-np.arange(150) / 25)
    values = np.empty((1000 // share, frames), np.float32)
    for trace in values:
        transients = np.convolve(rng.random(frames) < 0.01, kernel)[:frames]
        mean = rng.uniform(200, 2000) * (1 + 0.3 * transients)
        trace[:] = mean + rng.standard_normal(frames) * np.sqrt(60 * mean / rng.integers(60, 200))
    return Kind("fluorescence", "trace", values, lambda reference, i: reference.row(i), len(values), 10)


def movie(share: int) -> Kind:
    """400 frames of 512 x 512 pixels: cells on a dim background, photons counted with gain and reading noise."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:512, :512]
    rate = np.full((512, 512), 0.4)
    for _ in range(150):
        at_y, at_x = rng.uniform(0, 512, 2)
        rate += rng.uniform(0.5, 3) * np.exp(-((y - at_y) ** 2 + (x - at_x) ** 2) / 50)
    values = np.empty((400 // share, 512, 512), np.int16)
    for frame in values:
        frame[:] = rng.poisson(rate) * 80 + rng.standard_normal(rate.shape) * 12
    return Kind("movie", "frame", values, lambda reference, i: reference.row(i), len(values), 10)


def masks(share: int) -> Kind:
    """The pixels of 1000 ROIs, 150 each, with their weights."""
    rng, rois = np.random.default_rng(0), 1000 // share
    values = np.empty(rois * 150, MASK)
    for start in range(0, len(values), 150):
        dy, dx = rng.normal(scale=4, size=(2, 150))
        mask = values[start : start + 150]
        mask["y"], mask["x"] = rng.integers(20, 490) + dy, rng.integers(20, 490) + dx
        mask["weight"] = np.exp(-(dy**2 + dx**2) / 32)
    return Kind("masks", "mask", values, lambda reference, i: reference.rows(150 * i, 150 * i + 150), rois, 1)


def measured(kind: Kind, folder: Path, rounds: int) -> dict[str, Any]:
    """Time every side of one kind of array."""
    raw, values = folder / "raw", kind.values
    codecs = {name: DataJointCodec(name, folder) for name in ("npy", "blob")}
    part = values[: len(values) // kind.blob_share]
    seconds: dict[str, list[float]] = {}

    def timed(side: str, function: Callable[[], Any]) -> Any:
        began = time.perf_counter()
        answer = function()
        seconds.setdefault(side, []).append(time.perf_counter() - began)
        return answer

    for _ in range(rounds):
        raw.unlink(missing_ok=True)
        timed("raw write", lambda: write_raw(raw, values))
        path = arrays.path_of(kind.name, {"round": len(seconds["raw write"])}, "values")
        reference = timed("write", lambda path=path: arrays.write("derived", path, values))
        timed("npy write", lambda: codecs["npy"].write(values))
        drop_from_memory(folder)
        timed("raw cold", lambda: np.fromfile(raw, values.dtype))
        timed("cold", lambda reference=reference: np.asarray(reference))
        timed("raw warm", lambda: np.fromfile(raw, values.dtype))
        answer = timed("warm", lambda reference=reference: np.asarray(reference))
        assert answer.tobytes() == values.tobytes(), "what came back is not what was written"
        timed("npy warm", lambda: codecs["npy"].read().load())
    timed("blob write", lambda: codecs["blob"].write(part))
    timed("blob warm", lambda: codecs["blob"].read())
    median = {side: statistics.median(times) for side, times in seconds.items()}
    return report(kind, reference, codecs, median, part.nbytes)


def report(kind: Kind, reference: ArrayReference, codecs: dict, median: dict[str, float], blob_bytes: int) -> dict:
    """Put the figures of one kind of array into one line."""
    megabytes = kind.values.nbytes / 1e6
    store = stores.named("derived")
    item = item_ms(lambda i: kind.pick(reference, i)[...], kind.items)
    hashing = item_ms(lambda i: DeepHash(kind.pick(reference, i), ignore_iterable_order=False), kind.items)
    npy_item = item_ms(lambda i: np.array(codecs["npy"].read().load(mmap_mode="r")[i]), kind.items)
    return {
        "benchmark": "arrays",
        "what": kind.name,
        "shape": kind.values.shape,
        "dtype": str(kind.values.dtype),
        "megabytes": round(megabytes, 1),
        "write": ratio(median["raw write"], median["write"], WRITE, megabytes),
        "read cold": ratio(median["raw cold"], median["cold"], READ, megabytes),
        "read warm": ratio(median["raw warm"], median["warm"], READ, megabytes),
        f"one {kind.item}": {"ours_ms": round(item, 3), "allowed_ms": ITEM, "met": item <= ITEM},
        "deep hash of a reference": {"ours_ms": round(hashing, 3)},
        "bytes": {
            "raw": kind.values.nbytes,
            "ours": store.size(reference.path),
            "sums": store.size(arrays.sums_path(reference.path)),
            "share": round(store.size(reference.path) / kind.values.nbytes, 3),
        },
        "npy": {
            "write_MBps": round(megabytes / median["npy write"]),
            "read_MBps": round(megabytes / median["npy warm"]),
            "item_ms": round(npy_item, 3),
            "bytes": codecs["npy"].size(),
        },
        "blob": {
            "of_megabytes": round(blob_bytes / 1e6, 1),
            "write_MBps": round(blob_bytes / 1e6 / median["blob write"]),
            "read_MBps": round(blob_bytes / 1e6 / median["blob warm"]),
            "item_ms_scaled": round(1e3 * median["blob warm"] * kind.blob_share, 1),
            "share": round(codecs["blob"].size() / blob_bytes, 3),
        },
        "machine": {"cores": os.cpu_count(), "load": round(os.getloadavg()[0], 2), "python": sys.version.split()[0]},
    }


def ratio(base: float, ours: float, allowed: float, megabytes: float) -> dict[str, Any]:
    """Compare a time with that of the disk. Small arrays have no goal: opening and syncing files rules there."""
    answer = {"ours_s": round(ours, 4), "base_s": round(base, 4), "ratio": round(base / ours, 2)}
    return answer if megabytes < LARGE else answer | {"allowed": allowed, "met": base / ours >= allowed}


def item_ms(read: Callable[[int], Any], items: int) -> float:
    """Return the median time of one item, warm, in ms."""
    times = []
    for i in [0, *np.random.default_rng(1).integers(0, items, 200).tolist()]:
        began = time.perf_counter()
        read(i)
        times.append(time.perf_counter() - began)
    return 1e3 * statistics.median(times[1:])


def write_raw(path: Path, values: np.ndarray) -> None:
    """Write the bare bytes durably."""
    with path.open("wb", buffering=0) as file:
        file.write(values.reshape(-1).view(np.uint8).data)
        os.fsync(file.fileno())


def drop_from_memory(folder: Path) -> None:
    """Ask the system to forget what it holds of every file, where it takes the wish."""
    for path in folder.rglob("*"):
        if path.is_file() and hasattr(os, "posix_fadvise"):
            with path.open("rb") as file:
                os.fsync(file.fileno())
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


class DataJointCodec:
    """One of DataJoint's own codecs on a file store, called as an insert and a fetch call it."""

    def __init__(self, name: str, folder: Path) -> None:
        import datajoint as dj
        from datajoint.codecs import resolve_dtype

        self._folder = folder / name
        self._folder.mkdir()
        dj.config.stores[name] = {"protocol": "file", "location": str(self._folder)}
        self._context = {"schema": "benchmark", "table": "array", "field": "values", "config": dj.config}
        self._store = name
        _, self._chain, _ = resolve_dtype(f"<{name}@{name}>")
        self._stored: Any = None

    def write(self, values: np.ndarray) -> None:
        """Encode and store an array, in the place of the last."""
        for path in self._folder.rglob("*"):
            if path.is_file():
                path.unlink()
        value: Any = values
        key = {f"_{name}": part for name, part in self._context.items()}
        for codec in self._chain:
            value = codec.encode(value, key=key, store_name=self._store, **self._known(codec.encode))
        self._stored = value

    def read(self) -> Any:
        """Decode what was stored."""
        value = self._stored
        for codec in reversed(self._chain):
            value = codec.decode(value, key={"_config": self._context["config"]}, **self._known(codec.decode))
        return value

    def _known(self, function: Callable) -> dict[str, Any]:
        return {"context": self._context} if "context" in inspect.signature(function).parameters else {}

    def size(self) -> int:
        """Bytes on the disk."""
        return sum(path.stat().st_size for path in self._folder.rglob("*") if path.is_file())


if __name__ == "__main__":
    main()
