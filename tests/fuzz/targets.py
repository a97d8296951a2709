"""The readers as a fuzzer sees them: bytes in, nothing but a result or an error of adamacs out."""

from __future__ import annotations

import json
import shutil
import struct
import zlib
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, get_args

import h5py
import numpy as np
import scipy.io
import tifffile

from adamacs.core.errors import AdamacsError
from adamacs.core.formats import require_whole
from adamacs.demo.suite2p import save_object
from adamacs.modalities.behavior.reader import bonsai, bpod_events, cameras, harp, imu, motive, video
from adamacs.modalities.behavior.reader.bpod import read_bpod
from adamacs.modalities.behavior.reader.bpod_blocks import setting_blocks
from adamacs.modalities.behavior.reader.sweeps import place_sweeps, said_of
from adamacs.modalities.behavior.reader.wavesurfer import read_wavesurfer
from adamacs.modalities.imaging import reader as imaging
from adamacs.modalities.imaging.reader import matlab, suite2p
from adamacs.modalities.imaging.reader.facts import Facts
from adamacs.modalities.imaging.reader.npy import read_array, read_object
from tests.fuzz import seeds
from tests.fuzz.draw import Draw, changed
from tests.fuzz.outcome import Unsuited

_DIALECTS = (None, *get_args(bonsai.Dialect))
_RATES = (None, 50.0, 125.0)
_UNITS = (None, "s", "ms", "us", "ns")
_WORDS = ("nan", "Inf", "-1", "0", "1e308", "1e-320", "true", "\r\n", "99999999999999999999")


@dataclass(frozen=True)
class Target:
    """One reader, and how it is fed.

    Attributes
    ----------
    read
        Makes a file, or several, of an input in a folder, and reads them.
    seeds
        Inputs to start from.
    words
        That are put into inputs.
    """

    read: Callable[[Path, bytes], object]
    seeds: Callable[[], Iterable[bytes]]
    words: tuple[str, ...] = ()


def _how(data: bytes) -> tuple[int, bytes]:
    """Return the first byte, which says how the rest is read, and the rest."""
    return (data[0] if data else 0), data[1:]


def _file(folder: Path, name: str, data: bytes) -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


# --- behaviour ---------------------------------------------------------------------------------------------------


def _stimuli(folder: Path, data: bytes) -> None:
    how, data = _how(data)
    for row in bonsai.read_stimuli(_file(folder, "log.csv", data), _DIALECTS[how % len(_DIALECTS)]).rows:
        assert bonsai.parse_stimulus(str(row.stimulus)) == row.stimulus


def _session(path: Path) -> None:
    session = read_bpod(path)
    bpod_events.trial_attributes(session)
    for block in setting_blocks(session):
        assert block.trial_ids
    for events in (*bpod_events.raw_events(session).values(), *bpod_events.derived_events(session).values()):
        assert np.isfinite(events.times).all()


def _bpod(folder: Path, data: bytes) -> None:
    """Read the variable as it stands, or packed: its own checksum stops nothing."""
    how, data = _how(data)
    if how % 2:
        packed = zlib.compress(data[128:], 1)
        data = data[:128] + struct.pack("<II", 15, len(packed)) + packed
    _session(_file(folder, "session.mat", data))


def _bpod_values(folder: Path, data: bytes) -> None:
    how, data = _how(data)
    content = changed(seeds.session_trees()[how % len(seeds.session_trees())], Draw(data, nothing=np.empty((0, 0))))
    path = folder / "session.mat"
    try:
        scipy.io.savemat(path, {"SessionData": content}, long_field_names=True)
    except Exception as error:  # whatever SciPy cannot write
        raise Unsuited from error
    _session(path)


def _cameras(folder: Path, data: bytes) -> None:
    how, data = _how(data)
    cameras.read_camera_times(_file(folder, "camera.csv", data), frame_rate=_RATES[how % len(_RATES)])


def _video(folder: Path, data: bytes) -> None:
    how, data = _how(data)
    found = video.read_video(_file(folder, "top.mp4", data), count=bool(how % 2))
    assert found.frames is None or 0 < found.frames <= len(data)


def _take(folder: Path, data: bytes) -> None:
    take = motive.read_take(_file(folder, "take.csv", data))
    assert len(take.frame) == len(take.time)


def _registers(folder: Path, data: bytes) -> None:
    """Read messages as they stand, or with their checksums put right: else nearly all would be bad for one reason."""
    how, data = _how(data)
    for register in harp.read_registers(_file(folder, "harp.bin", with_sums(data) if how % 2 else data)).registers:
        assert len(register.harp_time) == len(register.values) == len(register.byte)


def with_sums(data: bytes) -> bytes:
    """Return a dump of Harp with the checksums of its messages put right, as far as their lengths lead on."""
    new, at = bytearray(data), 0
    while at + 4 < len(new):
        end = at + (4 + new[at + 2] + 256 * new[at + 3] if new[at + 1] == 255 else 2 + new[at + 1])
        if not at + 5 < end <= len(new):
            break
        new[end - 1] = sum(new[at : end - 1]) % 256
        at = end
    return bytes(new)


def _frame_sync(folder: Path, data: bytes) -> None:
    how, data = _how(data)
    harp.read_frame_sync(_file(folder, "frames.csv", data), unit=_UNITS[how % len(_UNITS)])


def _imu(folder: Path, data: bytes) -> None:
    how, data = _how(data)
    if not how % 2:
        imu.read_imu([_file(folder, "unit.csv", data)])
        return
    third = len(data) // 3
    parts = [data[at * third : (at + 1) * third] for at in range(3)]
    paths = [_file(folder, f"{name}.bin", part) for name, part in zip(imu.SENSORS, parts, strict=True)]
    imu.read_imu(paths, imu.Calibration(accelerometer=9.81 / 2**14))


def _aux(path: Path) -> None:
    recording = read_wavesurfer(path)
    with recording.open() as file:
        for number, sweep in enumerate(recording.sweeps):
            kinds = [file.words(number)] if recording.lines else []
            kinds += [file.all_volts(number)] if recording.channels else []
            for blocks in kinds:
                assert sum(block.shape[-1] for block in blocks) == sweep.samples
    placed = place_sweeps(recording)
    assert all(one.start < one.stop <= later.start for one, later in pairwise(placed))
    assert all(one.stretch.stop - one.stretch.start > 0 for one in placed)
    assert len(said_of(recording, placed)) == (len(placed) > 1) + (len(placed) < len(recording.sweeps))


def _wavesurfer(folder: Path, data: bytes) -> None:
    _aux(_file(folder, "aux.h5", data))


def _wavesurfer_values(folder: Path, data: bytes) -> None:
    how, data = _how(data)
    draw = Draw(data, nothing=h5py.Empty("f8"))
    tree = changed(seeds.aux_trees()[how % len(seeds.aux_trees())], draw)
    path = folder / "aux.h5"
    with h5py.File(path, "w", libver="earliest") as file:
        for name, value in tree.items():
            with suppress(Exception):  # what h5py cannot write is not there
                _put(file, name, value, draw)
    _aux(path)


def _put(file: h5py.File, name: str, value: Any, draw: Draw) -> None:
    """Write one value: mostly as it is, else as an array that claims more, is packed, is a link, or a group."""
    kind = draw.below(16)
    if kind == 1 and isinstance(value, np.ndarray) and value.ndim == 2:
        shape = (value.shape[0], value.shape[1] + draw.pick((1, 100, 10**6, 10**12)))
        dataset = file.create_dataset(name, shape, value.dtype, chunks=(max(value.shape[0], 1), 16))
        dataset[:, : value.shape[1]] = value
    elif kind == 2 and isinstance(value, np.ndarray) and value.ndim:
        packing = draw.pick(("gzip", "lzf"))
        file.create_dataset(name, data=value, compression=packing, shuffle=bool(draw.below(2)), fletcher32=True)
    elif kind == 3:
        file[name] = draw.pick((h5py.SoftLink("/header"), h5py.ExternalLink("other.h5", "/"), h5py.SoftLink("/no")))
    elif kind == 4:
        file.create_group(name)
    elif isinstance(value, np.ndarray) and value.dtype == object:
        file.create_dataset(name, data=value, dtype=h5py.string_dtype("ascii"))
    else:
        file[name] = value


# --- imaging -----------------------------------------------------------------------------------------------------


def _npy(folder: Path, data: bytes) -> None:
    path = _file(folder, "array.npy", data)
    with suppress(AdamacsError):
        read_array(path).sum()
        return
    content = read_object(path)
    if isinstance(content, dict):
        Facts(path, content).plain(tuple(content))


def _suite2p(folder: Path, data: bytes) -> None:
    how, data = _how(data)
    tree = changed(seeds.result_trees()[how % len(seeds.result_trees())], Draw(data))
    plane = folder / "plane0"
    shutil.rmtree(plane, ignore_errors=True)
    plane.mkdir()
    for name, content in tree.items():
        _save(plane, str(name), content)
    suite2p.parameters_of(suite2p.read_result(folder))


def _save(plane: Path, name: str, content: Any) -> None:
    """Write a file of the plane as NumPy would: arrays as such, a list as an array of objects."""
    try:
        if name == seeds.MANIFEST:
            (plane.parent / name).write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
            return
        if isinstance(content, list):
            array = np.empty(len(content), object)
            array[:] = content
            content = array
        if isinstance(content, np.ndarray) and content.dtype != object:
            np.save(plane / f"{name}.npy", content)
        else:
            save_object(plane / f"{name}.npy", content)
    except Exception as error:  # whatever NumPy cannot write, or the system has no name for
        raise Unsuited from error


def _recording(path: Path) -> None:
    for acquisition in imaging.find_acquisitions([path]):
        assert acquisition.files == (path,)
    scan = imaging.read_file(path)
    if isinstance(scan, imaging.ScanImageScan):
        last = scan.page(scan.nframes - 1, scan.ndepths - 1, scan.nchannels - 1)
        assert 0 <= last < sum(scan.pages_per_file)
        for field in scan.fields[:4]:
            imaging.delay_image(scan, field)


def _scanimage(folder: Path, data: bytes) -> None:
    _recording(_file(folder, "scan_00001.tif", data))


def _scanimage_header(folder: Path, data: bytes) -> None:
    """Write one or two sound TIFFs with these texts, and read them as one acquisition."""
    how, data = _how(data)
    files, pages, lines = seeds.shape_of(how)
    texts = [*data.split(seeds.ZERO), *[b""] * 6]
    described = [texts[seeds.FIRST_PAGE]] * (pages - 1) + [texts[seeds.LAST_PAGE]]
    if files == 1:
        _recording(_tiff(folder / "scan_00001.tif", described, texts, lines))
        return
    first = [*described[: pages // 2 - 1], texts[seeds.ENDS]]
    second = [texts[seeds.BEGINS], *described[pages // 2 + 1 :]]
    names = ("scan_00001_00001.tif", "scan_00001_00002.tif") if pages % 2 else ("scan_1.tif", "scan_2.tif")
    parts = zip(names, (first, second), strict=True)
    paths = [_tiff(folder / name, part, texts, lines) for name, part in parts]
    imaging.read_scan(imaging.single_acquisition(paths))


def _tiff(path: Path, described: list[bytes], texts: list[bytes], lines: int) -> Path:
    with tifffile.TiffWriter(path) as tiff:
        for text in described:
            tiff.write(
                np.zeros((lines, 4), np.int16),
                description=text + b" ",
                software=texts[seeds.HEADER] + b" ",
                extratags=[(315, 2, 0, texts[seeds.ARTIST] + seeds.ZERO, True)],
                metadata=None,
                contiguous=False,
            )
    return path


def _matlab(folder: Path, data: bytes) -> None:
    text = data.decode("utf-8", "replace")
    matlab.numbers(matlab.literal(text))
    for value in matlab.read_header(text).values():
        matlab.numbers(value)


# --- all ---------------------------------------------------------------------------------------------------------


def _format(folder: Path, data: bytes) -> None:
    how, data = _how(data)
    require_whole(_file(folder, f"file{seeds.SUFFIXES[how % len(seeds.SUFFIXES)]}", data))


READERS = {
    "bonsai": Target(_stimuli, seeds.stimuli, words=("Value", "Master_Trigger:ON", "HARP_acquiring:ON", "((", "))")),
    "bpod": Target(_bpod, seeds.sessions),
    "bpod_values": Target(_bpod_values, lambda: seeds.programs(seeds.session_trees)),
    "cameras": Target(_cameras, seeds.camera_tables),
    "video": Target(_video, seeds.videos, words=("ftyp", "moov", "stts", "stsz", "idx1", "strh")),
    "motive": Target(_take, seeds.takes, words=("Format Version", "Time (Seconds)", "Total Exported Frames")),
    "harp": Target(_registers, seeds.registers),
    "frame_sync": Target(_frame_sync, seeds.frame_syncs),
    "imu": Target(_imu, seeds.imus),
    "wavesurfer": Target(_wavesurfer, seeds.aux_files),
    "wavesurfer_values": Target(_wavesurfer_values, lambda: seeds.programs(seeds.aux_trees)),
    "npy": Target(_npy, seeds.npy_files),
    "suite2p": Target(_suite2p, lambda: seeds.programs(seeds.result_trees)),
    "scanimage": Target(_scanimage, seeds.recordings),
    "scanimage_header": Target(_scanimage_header, seeds.headers, words=_WORDS),
    "matlab": Target(_matlab, seeds.literals, words=_WORDS),
    "formats": Target(_format, seeds.any_format),
}


def _any(folder: Path, data: bytes) -> None:
    how, data = _how(data)
    list(READERS.values())[how % len(READERS)].read(folder, data)


def _seeds_of_all() -> Iterable[bytes]:
    for number, target in enumerate(READERS.values()):
        yield from (bytes([number]) + data for data in target.seeds())


# All readers in one process, for a short look at each.
TARGETS = {**READERS, "all": Target(_any, _seeds_of_all)}
