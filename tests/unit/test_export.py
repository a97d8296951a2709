"""Stored arrays in formats that other programs read."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from adamacs.core import settings
from adamacs.core.errors import CorruptArray, StoreUnavailable, ToolMissing, UnstorableArray
from adamacs.core.settings import Settings
from adamacs.storage import arrays, export, stores
from adamacs.storage.arrays import ArrayReference

KINDS = [
    np.array(2.5, np.float32),
    np.zeros((0, 7), np.float32),
    np.zeros((7, 0)),
    np.arange(12).reshape(3, 4) > 5,
    np.array([(1, 2, 0.5), (3, 4, np.nan)], [("x", "<i4"), ("y", "<i4"), ("weight", "<f4")]),
    np.array(["a", "bcd"]),
    np.random.default_rng(0).integers(-9, 9, (300, 5, 41), np.int16),
]


@pytest.fixture(scope="module", autouse=True)
def lab_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    before = settings._active
    settings.use(Settings(home=tmp_path_factory.mktemp("home")))
    yield
    settings.use(before)


def written(array: object) -> ArrayReference:
    return arrays.write("derived", arrays.path_of("table", {"key": 1}, "values"), array)


def same(a: np.ndarray, b: np.ndarray) -> bool:
    return a.shape == b.shape and a.dtype == b.dtype and a.tobytes() == b.tobytes()


@pytest.mark.parametrize("array", KINDS, ids=lambda a: f"{a.dtype.char}{a.shape}")
def test_an_array_is_exported_to_npy(array: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export, "_PIECE", 10_000)
    path = export.export(written(array), tmp_path / "out.npy")
    assert same(np.load(path, allow_pickle=False), array)
    assert [file.name for file in tmp_path.iterdir()] == ["out.npy"]


def test_a_part_is_exported_alone(tmp_path: Path) -> None:
    values = np.arange(60.0).reshape(6, 10)
    assert same(np.load(export.export(written(values).row(2), tmp_path / "row.npy")), values[2])


def test_an_export_overwrites_nothing_and_leaves_nothing_of_a_damaged_array(tmp_path: Path) -> None:
    reference = written(np.arange(10))
    (tmp_path / "mine.npy").write_text("mine")
    with pytest.raises(StoreUnavailable, match="already"):
        export.export(reference, tmp_path / "mine.npy")
    with pytest.raises(UnstorableArray, match=r"\.npy or \.h5"):
        export.export(reference, tmp_path / "out.mat")
    with pytest.raises(StoreUnavailable, match="No such file"):
        export.export(reference, tmp_path / "absent" / "out.npy")
    Path(stores.named("derived").locate(reference.path)).unlink()
    with pytest.raises(CorruptArray):
        export.export(reference, tmp_path / "out.npy")
    assert [file.name for file in tmp_path.iterdir()] == ["mine.npy"]


@pytest.mark.parametrize("array", [array for array in KINDS if array.dtype.kind != "U"], ids=lambda a: str(a.shape))
def test_an_array_is_exported_to_hdf5(array: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    h5py = pytest.importorskip("h5py", reason="NO H5PY: the export to HDF5 did not run. Run: pip install h5py")
    monkeypatch.setattr(export, "_PIECE", 10_000)
    reference = written(array)
    with h5py.File(export.export(reference, tmp_path / "out.h5")) as file:
        assert same(np.asarray(file["array"][()]), array)
        assert file["array"].attrs["digest"] == reference.digest


def test_what_hdf5_does_not_take_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("h5py", reason="NO H5PY: the export to HDF5 did not run. Run: pip install h5py")
    with pytest.raises(UnstorableArray, match=r"HDF5 takes no <U3.*\.npy"):
        export.export(written(np.array(["abc"])), tmp_path / "out.h5")
    assert not list(tmp_path.iterdir())


def test_without_h5py_the_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(ToolMissing, match="pip install h5py"):
        export.export(written(np.arange(3)), tmp_path / "out.h5")
