"""Plan the imaging part of a scan folder. Nothing is written."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import PurePosixPath
from typing import Any

from adamacs.core import tokens
from adamacs.core.errors import UnreadableFile
from adamacs.core.modality import Contribution, Problem, Recording, Row
from adamacs.core.settings import Settings
from adamacs.modalities.imaging import tables as _tables

tables: Any = _tables  # rows, columns and operators exist in the database, not in types


def plan_scan(recording: Recording, settings: Settings) -> Contribution:
    """Check the ScanImage files of a folder by their headers and stage their processing.

    The headers of all pages are walked; no pixel is read.
    """
    from adamacs.modalities.imaging import reader

    tiffs = [file for file in recording.files if file.path.lower().endswith((".tif", ".tiff"))]
    if not tiffs:
        what = "The folder holds no TIFF: nothing of it will be processed as imaging."
        return Contribution(problems=(Problem("warning", what, recording.relative),))
    share = settings.root("share")
    try:
        info = reader.read_scan(reader.single_acquisition(share / file.path for file in tiffs))
    except UnreadableFile as error:
        where = str(error.where or recording.relative)
        return Contribution(problems=(Problem("error", error.what, where, error.hint or ""),))
    summary = (
        f"ScanImage: {info.nframes} volumes of {info.ndepths} planes, {info.nchannels} channels at {info.fps:.4g} Hz"
    )
    rows, problems = _task(recording, settings)
    odd = (*info.warnings, *_strangers(recording, [file.path for file in tiffs], info.scan_datetime))
    problems += tuple(Problem("warning", warning, recording.relative) for warning in odd)
    return Contribution(rows, problems, summary, {"acq_software": "ScanImage"})


def _strangers(recording: Recording, files: Sequence[str], recorded: datetime | None) -> Iterator[str]:
    """Tell where files or their header speak of another scan or day than the folder that holds them."""
    folder = recording.folder
    if recorded is not None and recorded.date() != folder.date:
        yield f"The header was written on {recorded.date().isoformat()}, the folder says {folder.date.isoformat()}."
    for file in files:
        name = file.rpartition("/")[2]
        if any(
            tokens.is_token(part) and part.startswith("scan") and part != folder.scan_id for part in name.split("_")
        ):
            yield f"The file {name} names another scan."


def _task(recording: Recording, settings: Settings) -> tuple[tuple[Row, ...], tuple[Problem, ...]]:
    index = settings.ingest.paramset_idx
    session_id, scan_id = recording.folder.session_id, str(recording.folder.scan_id)
    if index < 0 and tables.ProcessingTask & {"session_id": session_id, "scan_id": scan_id}:
        return (), ()  # staged before
    if index < 0:
        what = "No parameter set is chosen: the scan is not staged for processing."
        hint = "Give --paramset, or set ingest.paramset_idx."
        return (), (Problem("question", what, recording.relative, hint),)
    known = (tables.ProcessingParamSet & {"validated": True}).to_arrays("paramset_idx").tolist()
    if index not in known:
        what = f"There is no validated parameter set {index}."
        hint = f"Known: {', '.join(map(str, sorted(known)))}." if known else "Add one with `adamacs paramset add`."
        return (), (Problem("error", what, recording.relative, hint),)
    values = {
        "session_id": session_id,
        "scan_id": scan_id,
        "paramset_idx": index,
        "processing_output_dir": output_dir(session_id, scan_id, index).as_posix(),
        "task_mode": "trigger",
    }
    return (Row("imaging.ProcessingTask", values),), ()


def output_dir(session_id: str, scan_id: str, paramset_idx: int) -> PurePosixPath:
    """Return where a finished result folder stands, relative to the root `processed`."""
    folder = PurePosixPath(session_id, scan_id, f"paramset{paramset_idx}")
    return folder / f"suite2p_exp{tokens.expid(scan_id)}"
