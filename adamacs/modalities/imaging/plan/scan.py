"""Plan the imaging part of a scan folder. Nothing is written."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Any

from adamacs.core import setups, tokens
from adamacs.core.errors import UnknownSetup
from adamacs.core.modality import Contribution, Problem, Recording, Row
from adamacs.core.settings import Settings
from adamacs.core.setup_wiring import FRAMES
from adamacs.modalities.imaging import reader
from adamacs.modalities.imaging import tables as _tables

tables: Any = _tables  # rows, columns and operators exist in the database, not in types


def plan_scan(recording: Recording, settings: Settings) -> Contribution:
    """Stage the processing of a scan that has imaging files, with the parameter set that was chosen for it."""
    if not any(file.path.lower().endswith((".tif", ".tiff")) for file in recording.files):
        return Contribution()
    staged = _stage(recording, settings)
    key = {"session_id": recording.folder.session_id, "scan_id": str(recording.folder.scan_id)}
    teller = Row("sync.Teller", {**key, "teller": reader.TELLER})
    return replace(staged, rows=(*_scan_time(recording, settings), teller, *staged.rows))


def _scan_time(recording: Recording, settings: Settings) -> Iterator[Row]:
    """Yield the clock of the frames where it is scan time, because nothing beside them was recorded that could be."""
    try:
        setup = setups.load_usable(settings.home).find(recording.chosen.get("setup_type", ""), recording.place)
    except UnknownSetup:  # which is told where the folder is validated
        return
    names = [file.path.removeprefix(f"{recording.place}/") for file in recording.files]
    if setup.scan_time(setup.files_of(names)) == FRAMES:
        key = {"session_id": recording.folder.session_id, "scan_id": str(recording.folder.scan_id)}
        about = {"clock": FRAMES, "zero": "start of the first two-photon frame", "is_scan_time": True}
        yield Row("clock.Clock", {**key, **about})


def _stage(recording: Recording, settings: Settings) -> Contribution:
    index = recording.chosen.get("paramset_idx", settings.ingest.paramset_idx)
    session_id, scan_id = recording.folder.session_id, str(recording.folder.scan_id)
    if index < 0 and tables.ProcessingTask & {"session_id": session_id, "scan_id": scan_id}:
        return Contribution()  # staged before
    if index < 0:
        what = "No parameter set is chosen: the scan is not staged for processing."
        hint = "Give --paramset, or set ingest.paramset_idx."
        return Contribution(problems=(Problem("question", what, recording.place, hint),))
    known = (tables.ProcessingParamSet & {"validated": True}).to_arrays("paramset_idx").tolist()
    if index not in known:
        what = f"There is no validated parameter set {index}."
        hint = f"Known: {', '.join(map(str, sorted(known)))}." if known else "Add one with `adamacs paramset add`."
        return Contribution(problems=(Problem("error", what, recording.place, hint),))
    values = {
        "session_id": session_id,
        "scan_id": scan_id,
        "paramset_idx": index,
        "processing_output_dir": output_dir(session_id, scan_id, index).as_posix(),
        "task_mode": "trigger",
    }
    return Contribution((Row("imaging.ProcessingTask", values),))


def output_dir(session_id: str, scan_id: str, paramset_idx: int) -> PurePosixPath:
    """Return where a finished result folder stands, relative to the root `processed`."""
    folder = PurePosixPath(session_id, scan_id, f"paramset{paramset_idx}")
    return folder / f"suite2p_exp{tokens.expid(scan_id)}"
