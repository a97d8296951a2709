"""Remove one scan with everything computed from it. Raw files are never touched."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adamacs import pipeline
from adamacs.core.errors import InvalidKey
from adamacs.core.settings import Settings
from adamacs.storage import arrays, stores
from adamacs.storage.arrays import ArrayReference


@dataclass(frozen=True)
class RemovalPlan:
    """What goes when a scan goes.

    Attributes
    ----------
    rows
        Table (as `schema.Table`) and number of rows, children first.
    arrays
        (store, path) of every file that only these rows refer to.
    folders
        Result folders that adamacs made, relative to the root `processed`; results that were taken over stay.
    session
        Whether the session goes too, because this was its last scan.
    """

    session_id: str
    scan_id: str
    rows: tuple[tuple[str, int], ...]
    arrays: tuple[tuple[str, str], ...]
    folders: tuple[str, ...]
    session: bool

    def describe(self) -> str:
        """Return the plan as text."""
        lines = [f"remove {self.scan_id} of {self.session_id}; raw files stay"]
        lines += [f"  {count:8,} rows of {table}" for table, count in self.rows]
        lines.append(f"  {len(self.arrays):8,} array files")
        lines += [f"           result folder {folder}" for folder in self.folders]
        if self.session:
            lines.append("           the session goes too: this is its last scan")
        return "\n".join(lines)


def plan_removal(scan_id: str) -> RemovalPlan:
    """Plan the removal of a scan and of everything that stands on it.

    Raises
    ------
    InvalidKey
        No scan, or more than one, has this token.
    """
    scans = (pipeline.scan.Scan & {"scan_id": scan_id}).keys()
    if len(scans) != 1:
        raise InvalidKey(f"{len(scans)} scans have this token.", {"scan_id": scan_id}, "Tokens look like scan9FY6AIRM.")
    key = scans[0]
    last = len(pipeline.scan.Scan & {"session_id": key["session_id"]}) == 1
    top = pipeline.session.Session if last else pipeline.scan.Scan
    restriction = {"session_id": key["session_id"]} if last else key
    tables = [(table, len(table)) for table in _dependents(top, restriction)]
    held = [(table, count) for table, count in tables if count]
    return RemovalPlan(
        session_id=key["session_id"],
        scan_id=scan_id,
        rows=tuple((_name(table), count) for table, count in held),
        arrays=tuple(sorted({file for table, _ in held for file in _array_files(table)})),
        folders=tuple(_made_folders(key)),
        session=last,
    )


def apply_removal(plan: RemovalPlan, settings: Settings) -> None:
    """Delete the rows in one transaction, then the files that nothing refers to any more.

    A crash in between leaves files without rows, never rows without files.
    """
    if plan.session:
        target = pipeline.session.Session & {"session_id": plan.session_id}
    else:
        target = pipeline.scan.Scan & {"session_id": plan.session_id, "scan_id": plan.scan_id}
    for name in {store for store, _ in plan.arrays}:
        stores.named(name).probe()  # a store that cannot be written would keep its files after the rows are gone
    target.delete(prompt=False)
    for store, path in plan.arrays:
        for file in (path, arrays.sums_path(path)):
            stores.named(store).remove(file)
    processed = settings.root("processed").resolve()
    for relative in plan.folders:
        folder = pipeline.imaging.result_folder(relative)
        if folder.exists():
            shutil.rmtree(folder)
        _remove_empty_parents(folder, processed)


def _dependents(top: Any, restriction: dict[str, Any]) -> list[Any]:
    """Return every table below `top` restricted to the rows that go, children first."""
    return [table & restriction for table in reversed(top().descendants(as_objects=True))]


def _made_folders(key: dict[str, Any]) -> Iterator[str]:
    """Yield the result folders that adamacs made for a scan: those of finished runs, and copies kept as curations.

    What lies at the place of a request that never ran, or was taken over, is somebody else's.
    """
    imaging = pipeline.imaging
    runs = imaging.Processing * imaging.ProcessingTask & key & {"task_mode": "trigger"}
    curated = imaging.Curation & key & {"manual_curation": True}
    for relative in (*runs.to_arrays("processing_output_dir"), *curated.to_arrays("curation_output_dir")):
        if (imaging.result_folder(str(relative)) / "manifest.json").is_file():
            yield str(relative)


def _name(table: Any) -> str:
    return str(table.full_table_name).replace("`", "").replace('"', "")


def _array_files(table: Any) -> Iterator[tuple[str, str]]:
    columns = [name for name, attribute in table.heading.attributes.items() if attribute.codec]
    if not columns:
        return
    for row in table.proj(*columns).to_dicts():
        for name in columns:
            if isinstance(row[name], ArrayReference):
                yield row[name].store, row[name].path


def _remove_empty_parents(folder: Path, root: Path) -> None:
    for parent in folder.parents:
        if parent == root or not parent.is_dir() or os.listdir(parent):  # noqa: PTH208
            return
        parent.rmdir()
