"""What a person edits in a result folder with Suite2p's GUI: to keep it, to tell it, and to undo it."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from adamacs.core.errors import ProcessingFailed
from adamacs.modalities.imaging.engine import folder as folders
from adamacs.modalities.imaging.engine.folder import AS_FINISHED, RESULT, Finished
from adamacs.modalities.imaging.reader.suite2p import MANIFEST, find_planes, read_result
from adamacs.storage import attempts
from adamacs.storage.checksum import blake3_of


def snapshot(source: Path, destination: Path) -> Finished:
    """Copy a result folder as it is now, so that further edits of the original change nothing in the copy.

    The registered movie, which the GUI never writes, is linked where the file system allows it.

    Parameters
    ----------
    source
        A result of Suite2p 0.14 or 1.x.
    destination
        Where the copy will stand, with `plane0`, `plane1`, ... in it and a manifest of its own.

    Raises
    ------
    UnreadableFile
        The source holds no complete result.
    ProcessingFailed
        Something else, or a copy of another state, stands at the destination.
    """
    result = read_result(source)
    top = find_planes(source)[0].parent
    with attempts.attempt(destination) as attempt:
        copy = attempt.work / RESULT
        ignored = shutil.ignore_patterns(MANIFEST, AS_FINISHED, "*.attempt-*", "*_curation*")
        shutil.copytree(top, copy, ignore=ignored, copy_function=_link_movie)
        content = folders.content_of(copy).digest  # the same edits again are the same request, others are not
        folders.rewrite_paths(copy, destination, {}, named=top)
        rois = {f"plane{plane.index}": len(plane.rois) for plane in result.planes}
        request = {
            "method": "suite2p",
            "version": result.version or "",
            "curated_from": str(top),
            "content": content,
        }
        return folders.land(copy, destination, {"request": request, "rois": rois})


def _link_movie(source: str, target: str) -> Any:
    if source.endswith(".bin"):
        try:
            return os.link(source, target)
        except OSError:  # another file system, or one without links
            pass
    return shutil.copy2(source, target)


def contents_kept_in(copy: Path) -> frozenset[str]:
    """Return the digests under which the content of a kept copy is known: as it was in its source, and as it is here.

    They differ, because the copy names its own folder where the source named another. None are known of a folder
    that `snapshot` did not make.
    """
    try:
        request = json.loads((copy / MANIFEST).read_text("utf-8"))["run"]["request"]
    except (OSError, ValueError, LookupError):
        return frozenset()
    landed = folders.landed_content(copy)
    return frozenset({request.get("content", ""), landed.digest if landed else ""} - {""})


def changed_files(folder: Path) -> tuple[str, ...]:
    """Return which arrays of a finished folder are others than when it was finished; none where no manifest tells.

    Raises
    ------
    UnreadableFile
        There is no plane folder, or the manifest is not sound.
    """
    landed = folders.landed_content(folder)
    if landed is None:
        return ()
    return tuple(sorted({entry.path for entry in set(landed.entries) ^ set(folders.content_of(folder).entries)}))


def restorable(folder: Path) -> tuple[str, ...]:
    """Return which files `restore` would put back: all that changed since the folder was finished.

    Raises
    ------
    ProcessingFailed
        Nothing changed, or no copy was kept of what did: only the judgement of cells is.
    UnreadableFile
        There is no plane folder, or the manifest is not sound.
    """
    changed = changed_files(folder)
    if not changed:
        raise ProcessingFailed("Nothing changed since these results were finished, as far as a manifest tells.", folder)
    top, landed = find_planes(folder)[0].parent, folders.landed_content(folder)
    finished = {entry.path: entry.blake3 for entry in landed.entries} if landed else {}
    copies = {name: top / AS_FINISHED / name for name in changed}
    lost = [name for name, copy in copies.items() if not copy.is_file() or blake3_of(copy) != finished.get(name)]
    if lost:
        what = f"No copy was kept of {', '.join(lost)}, so the results cannot become again what they were."
        hint = "Keep them with `adamacs curate add`; to compute anew, delete the row of Processing and move the folder."
        raise ProcessingFailed(what, folder, hint)
    return changed


def restore(folder: Path, files: Sequence[str]) -> None:
    """Put back files that Suite2p's GUI replaced since the folder was finished.

    Parameters
    ----------
    files
        As `restorable` gives them.

    Raises
    ------
    ProcessingFailed
        Meanwhile other files changed.
    """
    if restorable(folder) != tuple(files):
        raise ProcessingFailed("Other files changed since this was planned.", folder, "Plan it again.")
    top = find_planes(folder)[0].parent
    for name in files:
        staged = top / f"{name}.restoring"
        shutil.copyfile(top / AS_FINISHED / name, staged)
        staged.replace(top / name)
