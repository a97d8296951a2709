"""Keep the present state of a result folder that a person edits in Suite2p's GUI."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

from adamacs.modalities.imaging.engine import folder as folders
from adamacs.modalities.imaging.engine.folder import RESULT, Finished
from adamacs.modalities.imaging.reader.suite2p import MANIFEST, find_planes, read_result


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
    with folders.attempt(destination) as attempt:
        copy = attempt.work / RESULT
        ignored = shutil.ignore_patterns(MANIFEST, "*.attempt-*", "*_curation*")
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
