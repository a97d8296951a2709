"""One scan through Suite2p: from its files and a parameter set to a finished folder."""

from __future__ import annotations

import copy
import json
import platform
import shutil
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from adamacs.core import progress
from adamacs.core.errors import InvalidParameters, ProcessingFailed, ToolMissing, UnreadableFile
from adamacs.modalities.imaging import parameters as known_parameters
from adamacs.modalities.imaging.engine import folder as folders
from adamacs.modalities.imaging.engine import tool
from adamacs.modalities.imaging.engine.acquisition import Acquisition
from adamacs.modalities.imaging.engine.folder import RESULT, RUN_LOG, Finished
from adamacs.modalities.imaging.parameters import SUITE2P_VERSION
from adamacs.modalities.imaging.reader.npy import read_array, read_object
from adamacs.modalities.imaging.reader.suite2p import NO_IMAGES, find_planes, read_result
from adamacs.storage import attempts
from adamacs.storage.checksum import blake3_of
from adamacs.storage.failed import FailedAttempts

_REQUEST = "request.json"  # in an attempt's folder, above its result
_LEFT_BESIDE = ("bad_frames.npy", "zstack.npy")  # files beside the raw ones that Suite2p heeds without being told


def run_suite2p(
    files: Sequence[Path],
    destination: Path,
    parameters: Mapping[str, Any],
    scan: Acquisition,
    *,
    device: str = "cpu",
    threads: int = 1,
    scratch: Path | None = None,
    version: str = SUITE2P_VERSION,
    failed: FailedAttempts | None = None,
) -> Finished:
    """Find the cells of one scan with Suite2p, and leave the results at their destination.

    A result that already stands there, complete and of the same files and parameters, is returned as it is.

    Parameters
    ----------
    files
        The TIFFs of the scan, in the order in which they were acquired.
    destination
        The folder of the results, which then holds `plane0`, `plane1`, ..., `run.log` and `manifest.json`.
    parameters
        Nested as Suite2p nests them; what is left out takes the tool's default.
    scan
        How the pages follow one another.
    device
        `cpu`, `cuda`, `cuda:1` or `mps`. It is used, or the run is refused.
    threads
        For torch, Numba and linear algebra.
    scratch
        A folder on a fast disk to work in.
    version
        Of Suite2p, as the parameter set demands it.
    failed
        Where log and settings of a run that fails are kept; without it nothing is.

    Raises
    ------
    ToolMissing
        Suite2p, its version, the device or the weights that the parameters ask for are absent.
    InvalidParameters
        Suite2p does not take a parameter, or would silently do something else.
    UnreadableFile
        A file of the scan is missing.
    ProcessingFailed
        Suite2p failed, read other than the scan holds, or something else stands at the destination.
    """
    if not files:
        raise UnreadableFile("The scan has no files.", destination)
    files, destination = [Path(file).absolute() for file in files], Path(destination).absolute()
    changed = known_parameters.validate("suite2p", version, parameters)
    scan.refuse_unreadable()
    request = _request(files, changed, scan, version)
    if finished := folders.find_finished(destination, request):
        return finished
    suite2p = tool.load_suite2p(version, device, threads)
    settings = _settings(changed, scan, device, version)
    record = _record(request, changed, settings, device, threads)
    try:
        with attempts.attempt(destination, scratch, failed) as attempt:
            result = attempt.work / RESULT
            result.mkdir()
            _tell_request(attempt.work, record)
            run = tool.ToolRun(result / RUN_LOG, destination, scan.npages, scan.nfields)
            with tool.limited_threads(threads), run as log:
                _compute(suite2p, log, _db(attempt.work, files, scan, settings), settings, scan)
                record["rois"] = _check(result, destination, scan)
                folders.rewrite_paths(result, destination, {"io": settings["io"]})
            progress.report("landing")
            return folders.land(folders.bring_beside(attempt), destination, record)
    except OSError as error:
        hint = "Is there space, and may this account write there?"
        raise ProcessingFailed(f"The results cannot be put in place ({error}).", destination, hint) from error


def load(folder: Path) -> Finished:
    """Take a result folder that was made elsewhere as it is, after reading it whole.

    Raises
    ------
    UnreadableFile
        It is no complete result of Suite2p 0.14 or 1.x.
    """
    result = read_result(folder)
    digest = folders.content_of(folder).digest
    return Finished(folder, result.time, result.version or "", digest, result.n_rois, reused=True)


def fit_block(length: int, block: int) -> int:
    """Return a registration block size that Suite2p can use on a field of this length (px).

    It needs at least two blocks along each side. A block as long as the field, or longer, becomes the largest product
    of 2, 3 and 5 within half of it, which is what the default of 128 px is to the usual field of 256 or 512.
    """
    if block < length:
        return block
    half = max(length // 2, 1)
    return max(size for size in range(1, half + 1) if _is_smooth(size))


def _is_smooth(number: int) -> bool:
    for prime in (2, 3, 5):
        while number % prime == 0:
            number //= prime
    return number == 1


def _request(files: Sequence[Path], changed: Mapping[str, Any], scan: Acquisition, version: str) -> dict[str, Any]:
    """Describe what is asked for: two results of the same request are the same result."""
    beside = [files[0].parent / name for name in _LEFT_BESIDE]
    return {
        "method": "suite2p",
        "version": version,
        "param_hash": known_parameters.param_hash("suite2p", version, changed),
        "scan": asdict(scan),
        "inputs": [_input(file) for file in [*files, *(path for path in beside if path.exists())]],
    }


def _input(path: Path) -> dict[str, Any]:
    """Identify a file by name, size and time; whole seconds, since file servers cut the rest differently."""
    try:
        found = path.stat()
    except OSError as error:
        raise UnreadableFile(f"The file cannot be found ({error.strerror}).", path, "Is the share mounted?") from error
    return {"name": path.name, "size": found.st_size, "time": int(found.st_mtime)}


def _settings(changed: Mapping[str, Any], scan: Acquisition, device: str, version: str) -> dict[str, Any]:
    """Return the full settings of the run: the set over the tool's defaults, and what scan and worker decide."""
    settings = known_parameters.complete("suite2p", version, changed)
    settings |= {"fs": scan.fs, "torch_device": device}
    registration, detection = settings["registration"], settings["detection"]
    if registration["nonrigid"]:
        sides = [min(lengths) for lengths in zip(*scan.shapes)]
        fitted = [fit_block(length, block) for length, block in zip(sides, registration["block_size"])]
        registration["block_size"] = fitted
    registration["block_size"], detection["block_size"] = map(
        tuple, (registration["block_size"], detection["block_size"])
    )
    _settle_classifier(settings["classification"])
    _demand_cellpose(detection)
    if settings["io"]["save_NWB"] and "pynwb" not in tool.package_versions():
        raise ToolMissing("io.save_NWB needs pynwb, which is not installed here.", hint="Install it, or leave it out.")
    return settings


def _settle_classifier(classification: dict[str, Any]) -> None:
    """Use the classifier that the set names, else Suite2p's own, and never one that lies in some worker's home."""
    path = classification["classifier_path"]
    if path is None:
        classification["use_builtin_classifier"] = True
        return
    content = read_object(Path(path))  # Suite2p would run what a forged file says
    if not isinstance(content, dict) or not {"stats", "iscell", "keys"} <= content.keys():
        raise InvalidParameters("The parameter classification.classifier_path names no classifier of Suite2p.", path)


def _demand_cellpose(detection: Mapping[str, Any]) -> None:
    """Refuse what would make Suite2p reach for the network, or silently use another method."""
    if detection["cellpose_chan2"]:
        what = "detection.cellpose_chan2: Suite2p 1.1.0 cannot do it, and would compare intensities without saying so."
        raise InvalidParameters(what, hint="Leave it out, and set detection.chan2_threshold (about 0.65) instead.")
    if detection["algorithm"] != "cellpose":
        return
    from cellpose import models

    name = detection["cellpose_settings"]["cellpose_model"]
    if not any(path.is_file() for path in (Path(name), Path(models.MODEL_DIR, name))):
        hint = f"Put the weights {name} into {models.MODEL_DIR}, or use detection.algorithm sparsery."
        raise ToolMissing("The detection.algorithm cellpose needs weights that are not on this worker.", name, hint)


def _record(
    request: Mapping[str, Any], changed: Mapping[str, Any], settings: Mapping[str, Any], device: str, threads: int
) -> dict[str, Any]:
    """Describe the run for the manifest: what, with what, where, since when."""
    path = settings["classification"]["classifier_path"]
    return {
        "request": request,
        "parameters": changed,
        "settings": copy.deepcopy(settings),
        "classifier_blake3": blake3_of(path) if path else None,
        "packages": tool.package_versions(),
        "python": platform.python_version(),
        "host": socket.gethostname(),
        "platform": platform.platform(),
        "device": device,
        "threads": threads,
        "started": datetime.now(UTC).replace(tzinfo=None).isoformat(),
    }


def _tell_request(work: Path, record: Mapping[str, Any]) -> None:
    """Write down what is about to be computed: should the run fail, it is read beside the log."""
    (work / _REQUEST).write_text(json.dumps(record, indent=1, default=str) + "\n", "utf-8")


def _compute(
    suite2p: ModuleType, log: tool.RunLog, db: dict[str, Any], settings: Mapping[str, Any], scan: Acquisition
) -> None:
    """Run Suite2p in an attempt's folder, so that one plane without cells does not stop the others."""
    result = Path(db["save_path0"], RESULT)
    told = copy.deepcopy(dict(settings))
    # Suite2p would join the planes before those without cells are complete, and stumble over them.
    told["io"] |= {"combined": False, "save_NWB": False}
    _allow_no_rois(log, suite2p.run_s2p, db=db, settings=told)
    for number in scan.flyback_fields:  # Suite2p's GUI opens no folder in which a plane has no results
        shutil.rmtree(result / f"plane{number}", ignore_errors=True)
    planes = find_planes(result)
    for plane in planes:
        if not (plane / "reg_outputs.npy").exists():  # an empty plane before it ended the run
            of_plane = read_object(plane / "db.npy")
            path = str(plane / "db.npy")
            _allow_no_rois(log, suite2p.run_plane, db=of_plane, settings=copy.deepcopy(told), db_path=path)
        if not (plane / "F.npy").exists():
            _complete_empty(plane, told)
    if len(planes) > 1 and settings["io"]["combined"]:
        suite2p.io.combined(str(result), save=True)
    if settings["io"]["save_NWB"]:
        suite2p.io.save_nwb(str(result))


def _allow_no_rois(log: tool.RunLog, function: Callable[..., Any], **arguments: Any) -> None:
    """Call Suite2p, for which it is an error to find no cells, or none that is not too noisy. Here it is a result."""
    try:
        function(**arguments)
    except ValueError as error:
        if not str(error).startswith("no ROIs") and not log.all_removed:
            raise


def _db(work: Path, files: Sequence[Path], scan: Acquisition, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return what Suite2p wants to know about files and pages (its `db`)."""
    db: dict[str, Any] = {
        "data_path": [str(files[0].parent)],
        "file_list": [str(file) for file in files],
        "input_format": "tif",
        "save_path0": str(work),
        "save_folder": RESULT,
        "nplanes": scan.nplanes + scan.nflyback,
        "nchannels": scan.nchannels,
        "functional_chan": scan.functional_channel + 1,
        "keep_movie_raw": settings["registration"]["two_step_registration"],
    }
    if scan.nflyback:
        db["ignore_flyback"] = list(scan.flyback_fields)
    if scan.regions:
        db["lines"] = [list(range(*region.lines)) for region in scan.regions]
        db["dy"] = [region.y for region in scan.regions]
        db["dx"] = [region.x for region in scan.regions]
    return db


def _complete_empty(plane: Path, settings: Mapping[str, Any]) -> None:
    """Write for a plane without cells the files that Suite2p writes for one with cells: with no rows."""
    db = read_object(plane / "db.npy")
    registered = read_object(plane / "reg_outputs.npy")
    traces = np.zeros((0, db["nframes"]), dtype=np.float32)
    names = ["F", "Fneu", "spks"] + (["F_chan2", "Fneu_chan2"] if db["nchannels"] > 1 else [])
    for name in names:
        np.save(plane / f"{name}.npy", traces)
    for name in ["iscell"] + (["redcell"] if db["nchannels"] > 1 else []):
        np.save(plane / f"{name}.npy", np.zeros((0, 2)))
    np.save(plane / "stat.npy", np.zeros(0, dtype=object), allow_pickle=True)
    if not (plane / "detect_outputs.npy").exists():
        (top, bottom), (left, right) = registered["yrange"], registered["xrange"]
        blank = np.zeros((bottom - top, right - left), dtype=np.float32)
        _save_dict(plane / "detect_outputs.npy", {"Vcorr": blank, "max_proj": blank, NO_IMAGES: True})
    if settings["io"]["save_ops_orig"] and not (plane / "ops.npy").exists():
        detected = read_object(plane / "detect_outputs.npy")
        _save_dict(plane / "ops.npy", {**db, **settings, **registered, **detected})


def _save_dict(path: Path, content: Mapping[str, Any]) -> None:
    np.save(path, np.array(dict(content), dtype=object), allow_pickle=True)


def _check(result: Path, destination: Path, scan: Acquisition) -> dict[str, int]:
    """Compare what Suite2p read with what the scan holds, and return how many ROIs each plane has."""
    planes = find_planes(result)
    if len(planes) != scan.nfields:
        raise ProcessingFailed(f"Suite2p made {len(planes)} planes of a scan that has {scan.nfields}.", destination)
    found = {plane.name: read_array(plane / "F.npy").shape for plane in planes}
    for name, (_, nframes) in found.items():
        if nframes not in (
            scan.nframes,
            scan.nframes + (scan.nplanes + scan.nflyback > 1),
        ):  # the last volume may be incomplete
            what = f"Suite2p read {nframes} frames of {name}, and the scan has {scan.nframes}."
            raise ProcessingFailed(what, destination, "Are all its files listed, and none twice?")
    return {name: rois for name, (rois, _) in found.items()}
