"""Plan the imaging part of a scan folder, and of a curated result folder. Nothing is written."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Any

from adamacs.core import tokens
from adamacs.core.errors import PlanRefused, UnreadableFile, UnsafePath, describe
from adamacs.core.modality import Contribution, Problem, Recording, Row
from adamacs.core.settings import Settings


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
    if index < 0:
        what = "No parameter set is chosen: the scan is not staged for processing."
        hint = "Give --paramset, or set ingest.paramset_idx."
        return (), (Problem("question", what, recording.relative, hint),)
    known = (_tables().ProcessingParamSet & {"validated": True}).to_arrays("paramset_idx").tolist()
    if index not in known:
        what = f"There is no validated parameter set {index}."
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
        The next one of which neither a row nor a folder is there.
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
    ProcessingFailed
        The results were made of another scan.
    UnsafePath
        The folder of the Processing leads out of the root `processed`.
    """
    from adamacs.modalities.imaging.reader import suite2p

    tables = _tables()
    relative = (tables.ProcessingTask & key).fetch1("processing_output_dir")
    source = folder or tables.result_folder(relative, settings)
    result = suite2p.read_result(source)
    tables.require_fit(result, *tables.scan_of(key))
    curation_id = max((tables.Curation & key).to_arrays("curation_id").tolist()) + 1
    while tables.result_folder(_curation_dir(relative, curation_id), settings).exists():
        curation_id += 1  # a copy whose row never came, or that a removed scan left
    return CurationPlan(
        key=key,
        curation_id=curation_id,
        source=source.absolute(),
        destination=_curation_dir(relative, curation_id),
        rois=result.n_rois,
        cells=sum(int(plane.iscell[:, 0].sum()) for plane in result.planes),
        note=note,
    )


def _curation_dir(relative: str, curation_id: int) -> PurePosixPath:
    return PurePosixPath(f"{relative}_curation{curation_id}")


def apply_curation(plan: CurationPlan, settings: Settings) -> dict[str, Any]:
    """Keep a copy of the edited folder, and insert the Curation that names it; return its key.

    Where the row is refused, the copy goes again.
    """
    from adamacs.modalities.imaging import engine

    curations = _tables().Curation
    finished = engine.snapshot(plan.source, _tables().result_folder(plan.destination, settings))
    key = {**plan.key, "curation_id": plan.curation_id}
    row = {**key, "curation_output_dir": plan.destination.as_posix()}
    told = {"curation_time": finished.time, "manual_curation": True, "curation_note": plan.note}
    with ExitStack() as undo:
        if not finished.reused:
            undo.callback(_remove_unnamed, finished.folder, curations & row)
        curations.insert1({**row, **told})
        undo.pop_all()
    return key


def _remove_unnamed(folder: Path, rows: Any) -> None:
    """Remove a copy that no row names; where the server cannot tell, it stays."""
    if not rows:
        shutil.rmtree(folder)


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


def find_results(scan_id: str, settings: Settings) -> Path:
    """Find the one result folder of a scan below the root `processed` that no task of it names yet.

    Looked for are `suite2p_exp<payload>`, and `suite2p` in a folder whose name holds the scan's token.

    Raises
    ------
    PlanRefused
        There is none, or several: all are named.
    """
    root = settings.root("processed").resolve()
    known = set((_tables().ProcessingTask & {"scan_id": scan_id}).to_arrays("processing_output_dir").tolist())
    found = [*root.rglob(f"suite2p_exp{tokens.expid(scan_id)}")]
    found += [folder for folder in root.rglob("suite2p") if any(scan_id in part for part in folder.parts)]
    new = sorted(folder for folder in found if folder.is_dir() and folder.relative_to(root).as_posix() not in known)
    if len(new) != 1:
        names = ", ".join(folder.relative_to(root).as_posix() for folder in new) or "none"
        raise PlanRefused(f"There is not one result folder, but: {names}.", {"scan_id": scan_id}, "Name it.")
    return new[0]


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
        The folder lies outside the root `processed`, or is the root itself.
    ProcessingFailed
        The results were made of another scan, or the headers of this one were not read yet.
    """
    from adamacs.modalities.imaging.reader import suite2p

    root, folder = settings.root("processed").resolve(), folder.resolve()
    if not folder.is_relative_to(root):
        raise UnsafePath(f"The folder lies outside the root `processed`, {root}.", folder, "Move or link it there.")
    relative = PurePosixPath(folder.relative_to(root).as_posix())
    result = suite2p.read_result(_tables().result_folder(relative, settings))
    _tables().require_fit(result, *_tables().scan_of(key))
    method, version, params = suite2p.parameters_of(result)
    return ResultsPlan(key, relative, method, version, params, len(result.planes), result.n_rois)


def apply_results(plan: ResultsPlan) -> dict[str, Any]:
    """Insert the parameter set that the results were made with, and the task that loads them; return its key.

    Applying twice changes nothing.

    Raises
    ------
    PlanRefused
        The scan has another task with the same parameters.
    """
    desc = f"read from {plan.folder}"[:1280]
    tasks = _tables().ProcessingTask
    with tasks().connection.transaction:
        index = _tables().ProcessingParamSet.insert_new(
            plan.params, desc=desc, method=plan.method, tool_version=plan.version, validated=False
        )
        key = {**plan.key, "paramset_idx": index}
        row = {"processing_output_dir": plan.folder.as_posix(), "task_mode": "load"}
        found = (tasks & key).to_dicts()
        if not found:
            tasks.insert1({**key, **row})
        elif any(found[0][name] != value for name, value in row.items()):
            what = f"The scan has another task with these parameters: {found[0]['processing_output_dir']}."
            raise PlanRefused(what, key, "One scan and parameter set have one result folder.")
    return key


def _tables() -> Any:
    """Return the tables, whose rows, columns and operators exist in the database, not in types."""
    from adamacs.modalities.imaging import tables

    return tables
