"""Plan what a person did to a result folder: to keep it as a further curation, or to undo it."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from adamacs.core.errors import PlanRefused, describe
from adamacs.core.settings import Settings
from adamacs.modalities.imaging import tables as _tables

tables: Any = _tables  # rows, columns and operators exist in the database, not in types


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
    PlanRefused
        Nothing was edited: a curation holds these results already.
    UnsafePath
        The folder of the Processing leads out of the root `processed`.
    """
    from adamacs.modalities.imaging.reader import suite2p

    relative = (tables.ProcessingTask & key).fetch1("processing_output_dir")
    source = folder or tables.result_folder(relative, settings)
    result = suite2p.read_result(source)
    tables.require_fit(result, *tables.scan_of(key))
    if same := _kept_as(key, source, settings):
        hint = "Edit them in Suite2p's GUI first; where you edited a copy, name it with --folder."
        raise PlanRefused(f"Nothing was edited: these are the results of curation {same}.", source, hint)
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


def _kept_as(key: Mapping[str, Any], folder: Path, settings: Settings) -> int | None:
    """Return the curation of a Processing that holds the very bytes of a folder; None where none does."""
    from adamacs.modalities.imaging import engine

    content = engine.content_of(folder).digest
    for row in (tables.Curation * tables.Processing & key).to_dicts(order_by="curation_id"):
        if row["curation_id"] == 1:
            same = content == row["manifest_digest"]
        else:  # a copy, in which the paths were rewritten
            same = content in engine.contents_kept_in(tables.result_folder(row["curation_output_dir"], settings))
        if same:
            return int(row["curation_id"])
    return None


def _curation_dir(relative: str, curation_id: int) -> PurePosixPath:
    return PurePosixPath(f"{relative}_curation{curation_id}")


def apply_curation(plan: CurationPlan, settings: Settings) -> dict[str, Any]:
    """Keep a copy of the edited folder, and insert the Curation that names it; return its key.

    Where the row is refused, the copy goes again.
    """
    from adamacs.modalities.imaging import engine

    curations = tables.Curation
    finished = engine.snapshot(plan.source, tables.result_folder(plan.destination, settings))
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
class RestorationPlan:
    """A finished folder that was edited in place, to become what its curation says that it is.

    Attributes
    ----------
    key
        Of the Curation.
    folder
        Absolute.
    files
        Those that are put back, relative to the folder.
    kept
        The curation that holds what stands there now; None where nothing does.
    """

    key: Mapping[str, Any]
    folder: Path
    files: tuple[str, ...]
    kept: int | None

    def describe(self) -> str:
        """Return the plan as text."""
        loss = f"What stands there now is kept as curation {self.kept}."
        if self.kept is None:
            added = tables.add_arguments(self.key, self.folder)
            loss = f"What stands there now is lost, unless `adamacs curate add {added}` keeps it first."
        return f"put back {', '.join(self.files)}\nin {self.folder}, as finished: {describe(self.key)}\n{loss}"


def plan_restoration(key: Mapping[str, Any], settings: Settings) -> RestorationPlan:
    """Plan to put back what Suite2p's GUI replaced in the folder of a curation since that was finished.

    Parameters
    ----------
    key
        Of one Curation.

    Raises
    ------
    ProcessingFailed
        Nothing changed, or no copy was kept of what did.
    UnreadableFile
        The folder holds no result any more.
    UnsafePath
        The folder leads out of the root `processed`.
    """
    from adamacs.modalities.imaging import engine

    folder = tables.result_folder((tables.Curation & key).fetch1("curation_output_dir"), settings)
    files = engine.restorable(folder)
    processing = {name: value for name, value in key.items() if name != "curation_id"}
    return RestorationPlan(key, folder, files, _kept_as(processing, folder, settings))


def apply_restoration(plan: RestorationPlan) -> None:
    """Put the files back.

    Raises
    ------
    ProcessingFailed
        Meanwhile other files changed.
    """
    from adamacs.modalities.imaging import engine

    engine.restore(plan.folder, plan.files)
