"""Plan to take over results that exist already."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from adamacs.core import tokens
from adamacs.core.errors import PlanRefused, UnsafePath, describe
from adamacs.core.settings import Settings
from adamacs.modalities.imaging import tables as _tables
from adamacs.storage.attempts import is_attempt
from adamacs.storage.failed import FAILED

tables: Any = _tables  # rows, columns and operators exist in the database, not in types


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
    functional_channel
        The saved channel that was extracted, from 0, as the results say; where they do not, 0: Suite2p's own default.
    """

    key: Mapping[str, Any]
    folder: PurePosixPath
    method: str
    version: str
    params: Mapping[str, Any]
    planes: int
    rois: int
    functional_channel: int = 0

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
    known = set((tables.ProcessingTask & {"scan_id": scan_id}).to_arrays("processing_output_dir").tolist())
    found = [*root.rglob(f"suite2p_exp{tokens.expid(scan_id)}")]
    found += [folder for folder in root.rglob("suite2p") if any(scan_id in part for part in folder.parts)]
    places = ((folder, folder.relative_to(root)) for folder in found if folder.is_dir())
    new = sorted(folder for folder, place in places if place.as_posix() not in known and not _is_staging(place))
    if len(new) != 1:
        names = ", ".join(folder.relative_to(root).as_posix() for folder in new) or "none"
        raise PlanRefused(f"There is not one result folder, but: {names}.", {"scan_id": scan_id}, "Name it.")
    return new[0]


def _is_staging(place: Path) -> bool:
    """Whether a folder, relative to the root, belongs to an attempt that runs or failed: it is no result."""
    return place.parts[0] == FAILED or any(is_attempt(part) for part in place.parts)


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
    result = suite2p.read_result(tables.result_folder(relative, settings))
    tables.require_fit(result, *tables.scan_of(key))
    method, version, params = suite2p.parameters_of(result)
    counts = len(result.planes), result.n_rois
    return ResultsPlan(key, relative, method, version, params, *counts, result.functional_channel)


def apply_results(plan: ResultsPlan) -> dict[str, Any]:
    """Insert the parameter set that the results were made with, and the task that loads them; return its key.

    Applying twice changes nothing.

    Raises
    ------
    PlanRefused
        The scan has another task with the same parameters.
    """
    desc = f"read from {plan.folder}"[:1280]
    tasks = tables.ProcessingTask
    with tasks().connection.transaction:
        index = tables.ProcessingParamSet.insert_new(
            plan.params, desc=desc, method=plan.method, tool_version=plan.version, validated=False
        )
        key = {**plan.key, "paramset_idx": index}
        row = {"processing_output_dir": plan.folder.as_posix(), "task_mode": "load"}
        found = (tasks & key).to_dicts()
        if not found:
            tasks.insert1({**key, **row, "functional_channel": plan.functional_channel})
        elif any(found[0][name] != value for name, value in row.items()):
            what = f"The scan has another task with these parameters: {found[0]['processing_output_dir']}."
            raise PlanRefused(what, key, "One scan and parameter set have one result folder.")
    return key
