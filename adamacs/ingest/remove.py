"""Remove scans with everything computed from them. Raw files are never touched."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from adamacs import pipeline
from adamacs.core import places
from adamacs.core import settings as settings_module
from adamacs.core.errors import InvalidKey, PlanRefused, UnsafePath, visible
from adamacs.core.modality import named
from adamacs.core.settings import Settings
from adamacs.database import portable
from adamacs.ingest import arrivals, ledger
from adamacs.ingest.ledger import Run, Step
from adamacs.storage import arrays, stores
from adamacs.storage.arrays import ArrayReference


@dataclass(frozen=True)
class RemovalPlan:
    """What goes when scans of one session go.

    Attributes
    ----------
    rows
        Table (as `schema.Table`) and number of rows, children first.
    arrays
        (store, path) of every file that only these rows refer to.
    folders
        Result folders that adamacs made, relative to the root `processed`; results that were taken over stay.
    paths
        Places of the scans' recording folders (`adamacs.core.places`); a watching service leaves them out from then on.
    session
        Whether the session goes too, because these were its last scans.
    """

    session_id: str
    scan_ids: tuple[str, ...]
    rows: tuple[tuple[str, int], ...]
    arrays: tuple[tuple[str, str], ...]
    folders: tuple[str, ...]
    paths: tuple[str, ...]
    session: bool

    def describe(self) -> str:
        """Return the plan as text."""
        lines = [f"remove {', '.join(self.scan_ids)} of {self.session_id}; raw files stay"]
        lines += [f"  {count:8,} rows of {table}" for table, count in self.rows]
        lines.append(f"  {len(self.arrays):8,} array files")
        lines += [f"           result folder {folder}" for folder in self.folders]
        if self.session:
            lines.append("           the session goes too: no scan of it is left")
        return "\n".join(visible(line) for line in lines)


def plan_removal(*scan_ids: str) -> tuple[RemovalPlan, ...]:
    """Plan the removal of scans and of everything that stands on them, session by session.

    Raises
    ------
    InvalidKey
        No scan, or more than one, has one of these tokens.
    """
    sessions: dict[str, list[dict[str, str]]] = {}
    for scan_id in dict.fromkeys(scan_ids):
        scans = (pipeline.scan.Scan & {"scan_id": scan_id}).keys()
        if len(scans) != 1:
            what = f"{len(scans)} scans have this token."
            raise InvalidKey(what, {"scan_id": scan_id}, "Tokens look like scan9FY6AIRM.")
        sessions.setdefault(scans[0]["session_id"], []).append(scans[0])
    return tuple(_plan_session(session_id, keys) for session_id, keys in sessions.items())


def _plan_session(session_id: str, keys: list[dict[str, str]]) -> RemovalPlan:
    last = len(pipeline.scan.Scan & {"session_id": session_id}) == len(keys)
    top = pipeline.session.Session if last else pipeline.scan.Scan
    tables = [(table, len(table)) for table in _dependents(top, {"session_id": session_id} if last else keys)]
    held = [(table, count) for table, count in tables if count]
    made = (folder for modality in pipeline.modalities() if modality.made for folder in _made(modality.made, keys))
    return RemovalPlan(
        session_id=session_id,
        scan_ids=tuple(key["scan_id"] for key in keys),
        rows=tuple((_name(table), count) for table, count in held),
        arrays=tuple(sorted({file for table, _ in held for file in _array_files(table)})),
        folders=tuple(made),
        paths=tuple(
            places.spell(row["root"], row["path"]) for row in (pipeline.scan.ScanPath & keys).to_dicts(order_by="KEY")
        ),
        session=last,
    )


def _made(place: str, keys: list[dict[str, str]]) -> Iterator[str]:
    """Yield the result folders of scans that a modality tells of, relative to the root `processed`."""
    processed = settings_module.active().root("processed").resolve()
    for key in keys:
        yield from (folder.relative_to(processed).as_posix() for folder in named(place)(key))


def apply_removal(plans: Iterable[RemovalPlan], settings: Settings, run: Run | None = None) -> None:
    """Delete the rows of each session in one transaction, then the files that nothing refers to any more.

    A crash in between leaves files without rows, never rows without files. The recording folders are left out from
    then on, until somebody releases them: a mistaken ingest that was undone does not come back by itself.
    """
    if run is None:
        plans = tuple(plans)
        with ledger.run("remove", {"scans": [scan for plan in plans for scan in plan.scan_ids]}, settings) as run:
            apply_removal(plans, settings, run)
        return
    for plan in plans:
        _remove(plan, settings, run)


def _remove(plan: RemovalPlan, settings: Settings, run: Run) -> None:
    if plan.session:
        target = pipeline.session.Session & {"session_id": plan.session_id}
    else:
        target = pipeline.scan.Scan & [{"session_id": plan.session_id, "scan_id": scan_id} for scan_id in plan.scan_ids]
    processed = settings.root("processed").resolve()
    folders = [_unmoved(processed / relative) for relative in plan.folders]
    for name in {store for store, _ in plan.arrays}:
        stores.named(name).probe()  # a store that cannot be written would keep its files after the rows are gone
    # Left out before the rows go: a watching service must not bring them back.
    tokens = {path: next((token for token in plan.scan_ids if token in path), "") for path in plan.paths}
    with arrivals.left_out(tokens, f"Its scan was removed from the database (run {run.run_id})."):
        _demand_unchanged(plan)
        target.delete(prompt=False)
    for store, path in plan.arrays:
        for file in (path, arrays.sums_path(path)):
            stores.named(store).remove(file)
    for folder in folders:
        if folder.exists():
            shutil.rmtree(folder)
        _remove_empty_parents(folder, processed)
    _forget_jobs(plan)
    for scan_id in plan.scan_ids:
        run.note(Step("remove", "ok", "removed", session_id=plan.session_id, scan_id=scan_id))


def _unmoved(folder: Path) -> Path:
    """Return a folder as it was planned, in whose place no link has come."""
    if folder.resolve() != folder:
        raise UnsafePath("This leads elsewhere since the removal was planned.", folder, "Plan again.")
    return folder


def _forget_jobs(plan: RemovalPlan) -> None:
    """Delete what stands in the queues of the keys that went: an old failure is none of a scan that comes again."""
    keys = [{"session_id": plan.session_id, "scan_id": scan_id} for scan_id in plan.scan_ids]
    for modality in pipeline.modalities():
        tables = import_module(modality.tables)
        for name in (name for names in modality.fills.values() for name in names):
            jobs = portable.job_table(getattr(tables, name))
            if set(keys[0]) <= set(jobs.primary_key):
                (jobs & keys).delete_quick()


def _demand_unchanged(plan: RemovalPlan) -> None:
    """Refuse where the session now holds other scans than somebody saw: those that came meanwhile would go with it."""
    now = set((pipeline.scan.Scan & {"session_id": plan.session_id}).to_arrays("scan_id").tolist())
    if plan.session and now != set(plan.scan_ids):
        what = "The session got or lost scans since the removal was planned."
        raise PlanRefused(what, {"session_id": plan.session_id}, "Plan again.")


def _dependents(top: Any, restriction: Any) -> list[Any]:
    """Return every table below `top` restricted to the rows that go: a lab's own first, then children before parents.

    Tables that do not depend on each other stand in the order of their declarations: DataJoint's varies.
    """
    declared = {table.full_table_name: number for number, table in enumerate(pipeline.tables())}
    found = sorted(top().descendants(as_objects=True), key=lambda table: table.full_table_name)
    found.sort(key=lambda table: declared.get(table.full_table_name, len(declared)))
    return [table & restriction for table in reversed(found)]


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
