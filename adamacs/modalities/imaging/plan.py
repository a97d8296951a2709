"""Plan the imaging part of a scan folder, and of a curated result folder. Nothing is written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from adamacs.core import tokens
from adamacs.core.errors import UnreadableFile, UnsafePath, describe
from adamacs.core.modality import Contribution, Problem, Recording, Row
from adamacs.core.settings import Settings


def plan_scan(recording: Recording, settings: Settings) -> Contribution:
    """Check the ScanImage files of a folder by their headers and stage their processing.

    The headers of all pages are walked; no pixel is read.
    """
    from adamacs.modalities.imaging import reader

    tiffs = [file for file in recording.files if file.path.lower().endswith((".tif", ".tiff"))]
    if not tiffs:
        return Contribution()
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
    problems += tuple(Problem("warning", warning, recording.relative) for warning in info.warnings)
    return Contribution(rows, problems, summary, {"acq_software": "ScanImage"})


def _task(recording: Recording, settings: Settings) -> tuple[tuple[Row, ...], tuple[Problem, ...]]:
    index = settings.ingest.paramset_idx
    if index < 0:
        what = "No parameter set is chosen: the scan is not staged for processing."
        hint = "Give --paramset, or set ingest.paramset_idx."
        return (), (Problem("question", what, recording.relative, hint),)
    known = _tables().ProcessingParamSet.to_arrays("paramset_idx").tolist()
    if index not in known:
        what = f"There is no parameter set {index}."
        hint = f"Known: {', '.join(map(str, sorted(known)))}." if known else "Add one with `adamacs paramset add`."
        return (), (Problem("error", what, recording.relative, hint),)
    session_id, scan_id = recording.folder.session_id, str(recording.folder.scan_id)
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


@dataclass(frozen=True)
class CurationPlan:
    """A result folder that a person edited, to be kept as a further curation.

    Attributes
    ----------
    key
        Of the Processing that it curates.
    curation_id
        The next free one.
    source, destination
        Where it was edited, and where its copy will stand: absolute, and relative to the root `processed`.
    rois, cells
        ROIs in it, and those of them that are accepted.
    """

    key: Mapping[str, Any]
    curation_id: int
    source: Path
    destination: PurePosixPath
    rois: int
    cells: int
    note: str

    def describe(self) -> str:
        """Return the plan as text."""
        return (
            f"keep {self.source}\nas {self.destination}, curation {self.curation_id} of {describe(self.key)}: "
            f"{self.cells} of {self.rois} ROIs accepted"
        )


def plan_curation(
    key: Mapping[str, Any], settings: Settings, *, folder: Path | None = None, note: str = ""
) -> CurationPlan:
    """Plan a further curation from the folder that Suite2p's GUI saved to.

    Parameters
    ----------
    key
        Of one Processing.
    folder
        The edited folder; by default the one that the Processing left.

    Raises
    ------
    UnreadableFile
        The folder holds no complete result.
    """
    from adamacs.modalities.imaging.reader import suite2p

    relative = (_tables().ProcessingTask & key).fetch1("processing_output_dir")
    source = folder or settings.root("processed") / relative
    result = suite2p.read_result(source)
    curation_id = max((_tables().Curation & key).to_arrays("curation_id").tolist()) + 1
    return CurationPlan(
        key=key,
        curation_id=curation_id,
        source=source.absolute(),
        destination=PurePosixPath(f"{relative}_curation{curation_id}"),
        rois=result.n_rois,
        cells=sum(int(plane.iscell[:, 0].sum()) for plane in result.planes),
        note=note,
    )


def apply_curation(plan: CurationPlan, settings: Settings) -> dict[str, Any]:
    """Keep a copy of the edited folder, and insert the Curation that names it; return its key."""
    from adamacs.modalities.imaging import engine

    finished = engine.snapshot(plan.source, settings.root("processed") / plan.destination)
    key = {**plan.key, "curation_id": plan.curation_id}
    row = {"curation_time": finished.time, "manual_curation": True, "curation_note": plan.note}
    _tables().Curation.insert1({**key, "curation_output_dir": plan.destination.as_posix(), **row})
    return key


@dataclass(frozen=True)
class ResultsPlan:
    """Results that exist already, to be taken over instead of being computed.

    Attributes
    ----------
    key
        Of the Scan that they were made from.
    folder
        Relative to the root `processed`.
    method, version, params
        As the results themselves say; they are not validated.
    """

    key: Mapping[str, Any]
    folder: PurePosixPath
    method: str
    version: str
    params: Mapping[str, Any]
    planes: int
    rois: int

    def describe(self) -> str:
        """Return the plan as text."""
        return (
            f"take over {self.folder} as the processing of {describe(self.key)}: {self.method} {self.version}, "
            f"{self.planes} planes, {self.rois} ROIs, with its own parameters (not validated)"
        )


def plan_results(key: Mapping[str, Any], folder: Path, settings: Settings) -> ResultsPlan:
    """Plan to take over a result folder of Suite2p 0.14 or 1.x that lies under the root `processed`.

    Parameters
    ----------
    key
        Of one Scan.

    Raises
    ------
    UnreadableFile
        The folder holds no complete result.
    UnsafePath
        The folder lies outside the root `processed`.
    """
    from adamacs.modalities.imaging.reader import suite2p

    root, folder = settings.root("processed").resolve(), folder.resolve()
    if not folder.is_relative_to(root):
        raise UnsafePath(f"The folder lies outside the root `processed`, {root}.", folder, "Move or link it there.")
    result = suite2p.read_result(folder)
    method, version, params = suite2p.parameters_of(result)
    relative = PurePosixPath(folder.relative_to(root).as_posix())
    return ResultsPlan(key, relative, method, version, params, len(result.planes), result.n_rois)


def apply_results(plan: ResultsPlan) -> dict[str, Any]:
    """Insert the parameter set that the results were made with, and the task that loads them; return its key."""
    desc = f"read from {plan.folder}"
    index = _tables().ProcessingParamSet.insert_new(
        plan.params, desc=desc[:1280], method=plan.method, tool_version=plan.version, validated=False
    )
    key = {**plan.key, "paramset_idx": index}
    row = {"processing_output_dir": plan.folder.as_posix(), "task_mode": "load"}
    _tables().ProcessingTask.insert1({**key, **row})
    return key


def _tables() -> Any:
    """Return the tables, whose rows, columns and operators exist in the database, not in types."""
    from adamacs.modalities.imaging import tables

    return tables
