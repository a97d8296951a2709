"""A result folder from its first attempt to its place: complete, or not there at all.

Every attempt works in a fresh folder (`adamacs.storage.attempts`), so that what a dead attempt left is never taken for
a result; the last step is a rename within one file system. A manifest goes along. It tells what was computed from
what, so that a folder that was finished, but whose row never reached the database, is taken as it is by the next
attempt.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from adamacs.core.errors import ProcessingFailed, UnreadableFile
from adamacs.modalities.imaging.reader.npy import read_object
from adamacs.modalities.imaging.reader.suite2p import MANIFEST, find_planes
from adamacs.storage.attempts import Attempt
from adamacs.storage.checksum import Entry, Manifest, blake3_of

RESULT = "suite2p"  # the folder in an attempt that becomes the result; Suite2p gives this name itself
RUN_LOG = "run.log"
AS_FINISHED = "as_finished"  # the folder in a result that keeps copies of what a person's judgement replaces
_JUDGED = ("iscell.npy", "redcell.npy")  # what Suite2p's GUI saves at every click on a cell
_CONTENT = re.compile(r"plane\d+/[^/]+\.npy")


@dataclass(frozen=True)
class Finished:
    """A result folder that is complete.

    Attributes
    ----------
    folder
        Where it stands.
    time
        When it was finished, naive UTC.
    version
        Of the tool that made it; empty where nothing says so.
    digest
        blake3 (hex) over its content, see `content_of`.
    n_rois
        ROIs in all planes together; 0 is a result like any other.
    reused
        Whether it stood there already, finished by an earlier attempt.
    """

    folder: Path
    time: datetime
    version: str
    digest: str
    n_rois: int
    reused: bool = False


def find_finished(destination: Path, request: Mapping[str, Any]) -> Finished | None:
    """Return the result that stands at its destination, if it is complete and answers the same request.

    Raises
    ------
    ProcessingFailed
        Something else stands there.
    """
    if not destination.exists() or (destination.is_dir() and not any(destination.iterdir())):
        return None
    hint = "Move it away, or load it as it is (task_mode load)."
    try:
        text = (destination / MANIFEST).read_text("utf-8")
        manifest, record = Manifest.from_json(text), json.loads(text)["run"]
        known = record["request"]
    except (OSError, UnreadableFile, LookupError) as error:
        raise ProcessingFailed("A folder without a sound manifest stands here.", destination, hint) from error
    other = [name for name, value in _as_json(request).items() if known.get(name) != value]
    if other:
        what = f"The results of another request stand here (it differs in: {', '.join(other)})."
        raise ProcessingFailed(what, destination, hint)
    if difference := manifest.verify(destination, ignore=[MANIFEST]):
        hint = "Move the folder away: it is computed anew; then adamacs curate add --folder keeps what was edited."
        raise ProcessingFailed(f"The results changed since they were finished ({difference}).", destination, hint)
    return _finished(destination, record, manifest, reused=True)


def content_of(folder: Path) -> Manifest:
    """Return checksums of the files that a result's numbers come from, as they are now: every array of its planes.

    Movies, logs and the joined view of all planes do not count.

    Raises
    ------
    UnreadableFile
        There is no plane folder, or a file changed while it was read.
    """
    planes = find_planes(folder)
    files = {f"{plane.name}/{path.name}": path for plane in planes for path in plane.glob("*.npy")}
    return Manifest(tuple(Entry(name, files[name].stat().st_size, blake3_of(files[name])) for name in sorted(files)))


def landed_content(folder: Path) -> Manifest | None:
    """Return the same as it was when the folder was finished; None where no manifest of ours tells it."""
    path = find_planes(folder)[0].parent / MANIFEST
    return _content(Manifest.from_json(path.read_text("utf-8"))) if path.is_file() else None


def _content(manifest: Manifest) -> Manifest:
    return Manifest(tuple(entry for entry in manifest.entries if _CONTENT.fullmatch(entry.path)))


def land(result: Path, destination: Path, record: Mapping[str, Any]) -> Finished:
    """Write the manifest, make everything durable, and rename the folder to its destination.

    Raises
    ------
    ProcessingFailed
        Another attempt was faster, and its result answers another request.
    """
    request = _as_json(record["request"])
    finished = {**record, "request": request, "finished": datetime.now(UTC).replace(tzinfo=None).isoformat()}
    _keep_judgement(result)
    manifest = Manifest.of(result, ignore=[MANIFEST])
    told = json.loads(manifest.to_json()) | {"run": _as_json(finished)}
    (result / MANIFEST).write_text(json.dumps(told, indent=1) + "\n", "utf-8")
    _sync(result)
    try:
        result.rename(destination)
    except OSError:
        landed = find_finished(destination, request)
        if landed is None:
            raise
        return landed
    _sync_folder(destination.parent)
    return _finished(destination, told["run"], manifest, reused=False)


def _keep_judgement(result: Path) -> None:
    """Copy what a person's judgement replaces: else a click before all tables are filled could not be undone."""
    for path in (plane / name for plane in find_planes(result) for name in _JUDGED):
        if path.exists():
            copy = result / AS_FINISHED / path.parent.name / path.name
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy)


def bring_beside(attempt: Attempt) -> Path:
    """Bring a result from scratch onto the file system of its destination, so that a rename can land it."""
    if attempt.work == attempt.beside:
        return attempt.work / RESULT
    return Path(shutil.copytree(attempt.work / RESULT, attempt.beside / RESULT))


def rewrite_paths(result: Path, destination: Path, groups: Mapping[str, Any], named: Path | None = None) -> None:
    """Make the files name the folder where they will stand, so that Suite2p's own GUI finds what belongs to them.

    Parameters
    ----------
    result
        The result folder in its attempt, whose names are now in `db.npy` and `ops.npy`.
    destination
        Where it will stand.
    groups
        Groups of settings to be written in place of those that the run was told.
    named
        The folder that the files name now, where that is not `result`.
    """
    named = named or result
    moves = {str(named): str(destination), str(named.parent): str(destination.parent)}
    for path in sorted(result.rglob("*.npy")):
        if path.name not in ("db.npy", "ops.npy", "settings.npy"):
            continue
        content = _moved(read_object(path), moves)
        content |= {name: value for name, value in groups.items() if name in content}
        if "save_folder" in content:
            content["save_folder"] = destination.name
        np.save(path, np.array(content, dtype=object), allow_pickle=True)


def _moved(value: Any, moves: Mapping[str, str]) -> Any:
    """Replace the folders that a value names, wherever in it they stand."""
    if isinstance(value, dict):
        return {name: _moved(item, moves) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_moved(item, moves) for item in value)
    if isinstance(value, str):
        for old, new in moves.items():
            if value == old or value.startswith(old + os.sep):
                return new + value[len(old) :]
    return value


def _as_json(value: Any) -> Any:
    """Return a value as it will be read back."""
    return json.loads(json.dumps(value, default=str))


def _finished(folder: Path, record: Mapping[str, Any], manifest: Manifest, *, reused: bool) -> Finished:
    return Finished(
        folder=folder,
        time=datetime.fromisoformat(record["finished"]),
        version=record["request"]["version"],
        digest=_content(manifest).digest,
        n_rois=sum(record["rois"].values()),
        reused=reused,
    )


def _sync(folder: Path) -> None:
    """Wait until every file below a folder, and every name in it, is on the disk."""
    for parent, _, names in os.walk(folder):
        for name in names:
            with Path(parent, name).open("rb") as file:
                os.fsync(file.fileno())
        _sync_folder(Path(parent))


def _sync_folder(folder: Path) -> None:
    if os.name != "posix":  # elsewhere a folder cannot be opened
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
