"""Result folders as the tables see them: where one lies, of which scan it is, whether it is still what it was."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePath, PurePosixPath
from typing import TYPE_CHECKING, Any

from numpy.typing import ArrayLike

from adamacs.core import settings
from adamacs.core.errors import ProcessingFailed, UnsafePath, describe
from adamacs.storage import arrays

if TYPE_CHECKING:
    from adamacs.modalities.imaging.reader.suite2p import Plane, Suite2pResult


def result_folder(relative: str | PurePath, lab: settings.Settings | None = None) -> Path:
    """Return where the folder of a task or a curation lies on this machine: absolute, every link followed.

    Parameters
    ----------
    relative
        POSIX, relative to the root `processed`, as the row holds it.
    lab
        The settings that name the root; by default those in use.

    Raises
    ------
    UnsafePath
        It names the root itself, or leads out of it: absolute, by `..`, or by a link.
    """
    root = (lab or settings.active()).root("processed").resolve()
    pure = PurePosixPath(relative)
    folder = (root / pure).resolve()
    if ".." in pure.parts or folder == root or not folder.is_relative_to(root):
        raise UnsafePath(f"This is no folder below the root `processed`, {root}.", repr(str(relative)))
    return folder


def require_fit(result: Suite2pResult, info: Mapping[str, Any], fields: Sequence[Mapping[str, Any]]) -> None:
    """Refuse results that were made of another scan.

    Parameters
    ----------
    result
        As `reader.suite2p.read_result` gives it; without the planes that were skipped as flyback.
    info, fields
        Of the scan, see `scan_of`.

    Raises
    ------
    ProcessingFailed
        Planes, frames, pixels or channels are others; all that differs is told.
    """
    if misfits := list(_misfits(result, info, fields)):
        hint = f"Were they made of {info['scan_id']}?"
        raise ProcessingFailed(f"The results do not fit the scan: {'; '.join(misfits)}.", result.folder, hint)


def _misfits(result: Suite2pResult, info: Mapping[str, Any], fields: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    numbers = [plane.index for plane in result.planes]
    if numbers != list(range(len(fields))):
        yield f"planes {', '.join(map(str, numbers))}, and the scan has {len(fields)} from 0"
        return
    spare = int(info["ndepths"] > 1)  # the last volume may be incomplete
    channels = min(info["nchannels"], 2)  # Suite2p extracts no more
    for plane, field in zip(result.planes, fields, strict=True):
        height, width = field["px_height"], field["px_width"]
        if abs(plane.nframes - info["nframes"]) > spare:
            yield f"{plane.nframes} frames of plane {plane.index}, and the scan has {info['nframes']}"
        if (plane.height, plane.width) != (height, width):
            yield f"{plane.height} x {plane.width} px of plane {plane.index}, and the scan has {height} x {width}"
        if (found := 1 + (plane.F_chan2 is not None)) != channels:
            yield f"{found} channels of plane {plane.index}, and the scan has {info['nchannels']}"


def read_results(curation: Mapping[str, Any]) -> Suite2pResult:
    """Read what Suite2p left in a curation's folder.

    Parameters
    ----------
    curation
        Its `key`, its `folder` relative to the root `processed`, and the `digest` of its content where a row tells it.

    Raises
    ------
    ProcessingFailed
        Somebody edited it in place: a curation stands for what the results were when it was made.
    """
    from adamacs.modalities.imaging.reader import suite2p

    path = result_folder(curation["folder"])
    _require_untouched(path, curation["key"], curation["digest"])
    return suite2p.read_result(path)


def _require_untouched(path: Path, key: Mapping[str, Any], digest: str | None) -> None:
    from adamacs.modalities.imaging import engine

    landed, present = engine.landed_content(path), engine.content_of(path)
    if digest is None:
        digest = landed.digest if landed else present.digest
    if present.digest == digest:
        return
    changed = engine.changed_files(path)
    what = f"The results changed since they were finished{': ' if changed else ''}{', '.join(changed)}."
    processing, curation = add_arguments(key, path), describe(key)
    hint = f"Keep the edits with `adamacs curate add {processing}`; then put the old files back."
    if changed:  # as the manifest of our own engine tells
        hint = (
            f"Keep the edits with `adamacs curate add {processing}`; "
            f"then put the old files back with `adamacs curate restore {curation}`."
        )
    raise ProcessingFailed(what, path, hint)


def add_arguments(key: Mapping[str, Any], folder: Path) -> str:
    """Return what to type behind `adamacs curate add` to keep the edited folder of a curation."""
    processing = describe({name: value for name, value in key.items() if name != "curation_id"})
    place = "" if key["curation_id"] == 1 else f" --folder {shlex.quote(str(folder))}"
    return processing + place


def field_of(plane: Plane, fields: Sequence[Mapping[str, Any]], key: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the field of a result plane: planes follow the fields in order.

    Raises
    ------
    ProcessingFailed
        There are fewer fields than planes.
    """
    if plane.index >= len(fields):
        raise ProcessingFailed(f"The results hold plane {plane.index}, the scan {len(fields)} fields.", key)
    return fields[plane.index]


def write_array(table: Any, key: Mapping[str, Any], name: str, array: ArrayLike) -> arrays.ArrayReference:
    """Write the array of one column of a row into the store `derived`, and return the reference for the row."""
    return arrays.write("derived", arrays.path_of(table.__class__.__name__, key, name), array)
