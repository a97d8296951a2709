"""A recording arrives in any manner, whole at the end and not before; no manner makes a piece of it look whole."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from adamacs.core.errors import UnreadableFile
from adamacs.core.formats import require_whole
from adamacs.demo import scanimage as demo
from adamacs.demo.arrival import Manner, any_manner, arrive, steps
from adamacs.demo.scanimage import Microscope


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("finished")
    images = [np.zeros((4, 6), np.int16)] * 6
    demo.write(folder, "scan", Microscope(lines=4, pixels=6, frames_per_slice=6, frames_per_file=3), images)
    (folder / "notes").mkdir()
    (folder / "notes" / "day.csv").write_text("time,what\n1,water\n2,food\n")
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


@pytest.mark.parametrize("seed", range(60))
def test_a_recording_is_complete_after_the_last_step_and_only_whole_files_look_whole(
    recording: Path, tmp_path: Path, seed: int
) -> None:
    manner = replace(any_manner(seed), bytes_per_step=max(any_manner(seed).bytes_per_step, 100))
    folder, finished = tmp_path / "arrived", contents(recording)
    incomplete = 0
    for pause in steps(recording, folder, manner):
        assert pause >= 0
        for path in sorted(tmp_path.rglob("*.tif")):
            whole = path.read_bytes() == finished[path.name]
            incomplete += not whole
            if whole:
                assert require_whole(path) == "BigTIFF"
            elif not manner.reserve:  # zeros in the place of pixels are pixels
                with pytest.raises(UnreadableFile):
                    require_whole(path)
    assert contents(folder) == finished
    assert [path.name for path in tmp_path.iterdir()] == ["arrived"]
    assert incomplete or manner.suffix


def test_the_same_seed_gives_the_same_manner_and_seeds_differ() -> None:
    assert any_manner(3) == any_manner(3)
    assert len({any_manner(seed) for seed in range(50)}) == 50


def test_late_bytes_come_after_their_pause(recording: Path, tmp_path: Path) -> None:
    waited: list[tuple[float, int]] = []

    def sleep(seconds: float) -> None:
        waited.append((seconds, sum(map(len, contents(tmp_path).values()))))

    size = sum(map(len, contents(recording).values()))
    arrive(recording, tmp_path / "arrived", Manner(pause=0.0, late=10, late_pause=7.0), sleep)
    assert (7.0, size - 10) in waited
    assert waited[-1][1] == size
