"""What each target starts from: small files of every kind, made by the writers of the synthetic lab."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import h5py
import numpy as np

from adamacs.demo import bonsai, bpod, cameras, harp, motive, scanimage, suite2p, video, wavesurfer

PROGRAMS = 16  # random ones, beside the empty one, for what is fed values
SUFFIXES = (".tif", ".h5", ".mat", ".npy", ".npz", ".csv", ".json", ".jsonl", ".xml", ".txt", ".mp4", ".avi", ".bin")
ARTIST, LAST_PAGE, FIRST_PAGE, HEADER, ENDS, BEGINS = range(6)  # parts of a seed of `scanimage_header`
MANIFEST = "manifest.json"
ZERO = b"\0"

_START = 1_770_715_800_000_000_000  # ns since 1970
_GRATING = "Grating; A; 0; -5.5; 20; 45; 0.04; 1"


def _written(write: Callable[[Path], object], name: str = "seed.bin") -> bytes:
    """Return the bytes of the file that a writer makes."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / name
        write(path)
        return path.read_bytes()


def stimuli() -> Iterable[bytes]:
    """Logs of Bonsai, of every dialect and clock, behind the number of the dialect that is asked for, 0 for any."""
    shown = tuple(bonsai.Shown(0.5 * at, _GRATING if at % 2 else "Sound; up") for at in range(4))
    dialects = ("events", "master_trigger", "harp_acquiring", "ungated")
    for (number, dialect), clock in product(enumerate(dialects, start=1), ("instant", "seconds", "none")):
        log = bonsai.StimulusLog(dialect, shown, shown[:1], shown[1:2], clock=clock)  # type: ignore[arg-type]
        how = number if clock == "none" else 0
        yield bytes([how]) + _written(lambda path, log=log: bonsai.write_stimuli(path, log))
    yield ZERO + _written(lambda path: bonsai.write_stimuli(path, bonsai.StimulusLog(shown=shown), encoding="utf-16"))


def bpod_trials(count: int = 3) -> tuple[bpod.Trial, ...]:
    """Return trials with every kind of value that a session holds."""
    states = {"WaitForStimulus": ((0.0, 0.4),), "Reward": ((0.4, 0.5), (0.6, 0.7)), "Drinking": (), "Punish": ()}
    events = {"Port1In": (0.1, 0.3), "BNC1High": (0.2,), "Tup": ()}
    settings = {"ResponseTime": 5, "Name": "easy", "Gains": np.array([0.1, 0.2]), "Types": [1.0, 2.0]}
    return tuple(
        bpod.Trial(2.0 * at, 2.0 * at + 1.5, states, events, at % 2 + 1, "left" if at % 2 else "right", settings)
        for at in range(count)
    )


def sessions() -> Iterable[bytes]:
    """Sessions of Bpod, not compressed, behind whether they are to be: 0 or 1."""
    for count, cells in ((0, True), (1, True), (3, True), (3, False)):
        truth = bpod.Session(trials=bpod_trials(count))
        yield bytes([count % 2]) + _written(
            lambda path, t=truth, c=cells: bpod.write_bpod(path, t, compressed=False, cells=c)
        )


@cache
def session_trees() -> list[dict[str, Any]]:
    """Return the fields of sessions, as they are handed to SciPy."""
    return [bpod.session_data(bpod.Session(trials=bpod_trials(count))) for count in (3, 1, 0)]


def camera_tables() -> Iterable[bytes]:
    """Time stamps of cameras: Bonsai's narrow and wide, Basler's with and without counts and ISO times.

    The first byte says which rate is stated.
    """
    exposed = cameras.exposures(12, 50.0, lost=(5,))
    counts = np.delete(np.arange(12), 5)
    for columns in (1, 3, 17):
        yield ZERO + _written(
            lambda path, n=columns: cameras.write_bonsai(path, exposed + _START, columns=n, offset=60)
        )
    for frames, instants in product((None, counts), (None, exposed + _START)):
        yield b"\1" + _written(
            lambda path, f=frames, i=instants: cameras.write_basler(
                path, exposed // 8 + 10**12, frames=f, instants=i, header=("time",) if f is None and i is None else ()
            )
        )
    yield ZERO + _written(lambda path: cameras.write_basler(path, exposed + 10**12))


def videos() -> Iterable[bytes]:
    """Videos of every container and codec, of few frames, behind whether frames are counted: 0 or 1."""
    for name, frames in (("seed.mp4", 6), ("seed.avi", 4), ("seed.mkv", 4)):
        yield bytes([frames % 2]) + _written(lambda path, n=frames: video.write_video(path, n), name)
    yield b"\1" + _written(lambda path: video.write_video(path, 5, movflags="frag_keyframe"), "seed.mp4")
    yield b"\1" + _written(lambda path: video.write_video(path, 3, codec="libx264"), "seed.mp4")


def takes() -> Iterable[bytes]:
    """Motive's tables of a take, of both versions."""
    for take in (
        motive.Take(6),
        motive.Take(9, lost=(4,), version="1.24", timecode=True),
        motive.Take(8, first=3, last=6, markers=()),
    ):
        yield _written(lambda path, t=take: motive.write_take(path, t))


def registers() -> Iterable[bytes]:
    """Dumps of one register and of many, with and without time stamps, behind a 1; one is so long that it is a run."""
    rng = np.random.default_rng(5)
    kinds = [np.array(rng.integers(0, 100, 3), kind) for kind in ("u1", "u2", "i4", "f4", "u8")]
    mixed = [harp.message(32 + at % 5, kinds[at % 5], ticks=31_250 * 40 + 100 * at) for at in range(20)]
    yield b"\1" + b"".join(mixed)
    yield b"\1" + b"".join(harp.message(34, np.array([at], "u1")) for at in range(10))
    yield b"\1" + b"".join(harp.message(35, np.arange(200, dtype="u2"), ticks=at) for at in range(3))
    yield b"\1" + b"".join(harp.message(33, np.array([at], "u2"), ticks=at, kind=1 + at % 3) for at in range(600))
    yield b"\1" + b"".join([*mixed[:4], harp.message(7, np.array([1], "u1"), kind=harp.READ | harp.ERROR), *mixed[4:8]])


def frame_syncs() -> Iterable[bytes]:
    """Tables of two-photon frames, with ISO times and with numbers, behind their unit."""
    frames, times = np.arange(8), np.arange(8) / 30
    yield ZERO + _written(
        lambda path: harp.write_frame_sync(path, frames, (times * 1e9).astype(int) + _START, offset=60)
    )
    yield b"\1" + _written(lambda path: harp.write_frame_sync_numbers(path, frames, times))


def imus() -> Iterable[bytes]:
    """A table of an inertial unit behind a 0, three binary files behind a 1."""
    rng = np.random.default_rng(6)
    names = ("accelerometer", "gyroscope", "magnetometer")
    sensors = {name: rng.integers(-(2**15), 2**15, (5, 3)) for name in names}
    yield b"\0" + _written(lambda path: harp.write_imu_table(path, sensors))
    yield b"\1" + b"".join(counts.astype("<i2").tobytes() for counts in sensors.values())


@cache
def aux_files() -> list[bytes]:
    """Return files of WaveSurfer of every generation, of few samples."""
    rng = np.random.default_rng(7)
    lines = tuple(wavesurfer.Digital(name, name != "unused") for name in ("gate", "unused", "frames"))
    channels = (wavesurfer.Analog("stimulus"), wavesurfer.Analog("wheel", "mV", 0.02))
    rig = wavesurfer.WaveSurfer(sample_rate=1000.0, duration=0.06, lines=lines, channels=channels, chunk=20)
    sweep = wavesurfer.Sweep(rng.integers(0, 4, 60).astype("u1"), rng.normal(0, 1, (2, 60)), 0.25)
    rigs = [replace(rig, version=version) for version in ("0.982", "0.97", "1.0.2", "0.912", "0.801")]
    rigs += [replace(rig, objects=True, compression="gzip"), replace(rig, wrapped=False, start=None)]
    later = [replace(sweep, time=time) for time in (0.5, 0.52, 1.0, 2.0, 3.0, 4.0, 5.0)]  # pauses, and one too early
    sweeps = [(sweep, *later), (sweep, sweep), (sweep,), (sweep,), (sweep,), (sweep,), (sweep,)]
    files = [
        _written(lambda path, r=one, s=of: wavesurfer.write_wavesurfer(path, s, r))
        for one, of in zip(rigs, sweeps, strict=True)
    ]
    oldest = replace(rig, version="0.5", lines=())
    analog = wavesurfer.Sweep(None, rng.normal(0, 1, (2, 60)))
    return [*files, _written(lambda path: wavesurfer.write_wavesurfer(path, [analog], oldest))]


@cache
def aux_trees() -> list[dict[str, Any]]:
    """Return the arrays of those files by their names."""
    trees = []
    for data in aux_files():
        with TemporaryDirectory() as folder:
            path = Path(folder) / "aux.h5"
            path.write_bytes(data)
            tree: dict[str, Any] = {}
            with h5py.File(path) as file:
                file.visititems(
                    lambda name, node, tree=tree: (
                        tree.update({name: np.array(node)}) if isinstance(node, h5py.Dataset) else None
                    )
                )
        trees.append(tree)
    return trees


def npy_files() -> Iterable[bytes]:
    """Arrays of numbers, and objects as NumPy 1 and 2 pickle them."""
    yield _written(lambda path: np.save(path, np.arange(12, dtype="f4").reshape(3, 4)), "seed.npy")
    yield _written(lambda path: np.save(path, np.asfortranarray(np.ones((2, 2), "i2"))), "seed.npy")
    content = {
        "a": np.arange(5),
        "b": [1.5, "x", None, (True,), {3, 4}],
        "c": np.float32(2),
        "d": {"e": b"f", "g": Path("/recordings")},
        "h": datetime(2026, 2, 10, 9, 30, tzinfo=UTC),
        "i": np.array([np.zeros((2, 2)), "text"], dtype=object),
        "j": np.ones((2, 3), order="F"),
        "k": np.array(["a", "bcd"]),
        "l": np.str_("ef"),
    }
    for numpy_1 in (False, True):
        yield _written(lambda path, old=numpy_1: suite2p.save_object(path, content, numpy_1=old), "seed.npy")


@cache
def result_trees() -> list[dict[str, Any]]:
    """Return what the files of a plane hold, by the name of the file: of Suite2p 1.1, 0.14 and 0.10."""
    trees = []
    for version, channels in (("1.1.0", 1), ("1.1.0", 2), ("0.14.4", 2), ("0.10.3", 1)):
        with TemporaryDirectory() as folder:
            (plane,) = suite2p.write_result(
                Path(folder), version=version, rois=2, frames=5, shape=(40, 48), channels=channels
            )
            files = sorted(plane.folder.glob("*.npy"))
            content = {path.stem: np.load(path, allow_pickle=True) for path in files}  # our own, of a moment ago
        tree = {name: array.item() if array.shape == () else array for name, array in content.items()}
        tree["stat"] = list(tree["stat"])
        tree[MANIFEST] = {"method": "suite2p"}
        trees.append(tree)
    return trees


def _microscopes() -> Iterable[tuple[scanimage.Microscope, int]]:
    """Yield settings of every generation, and how many pages they make."""
    small = scanimage.Microscope(lines=4, pixels=4, frames_per_slice=4)
    slow = replace(small, zs=(0.0, 20.0), slow=True, frames_per_slice=2)
    for version in ("3.8", "4.2", "5.0", "5.1", "2016b", "2019", "2021"):
        yield replace(small, version=version), 4
        fast = replace(small, zs=(0.0, 20.0), flyback=1, frames_per_slice=1, volumes=2)
        yield replace(slow if version == "3.8" else fast, version=version), 4 if version == "3.8" else 6
    yield replace(slow, channels=(1, 2)), 8
    yield replace(small, json=True, averaging=2, frames_per_slice=8), 4
    yield replace(small, frames_per_file=2, frames_per_slice=4), 4
    regions = (
        scanimage.Region((0.0, 0.0), (4.0, 4.0), (4, 4), (0.0, 20.0)),
        scanimage.Region((5.0, 5.0), (4.0, 4.0), (4, 4), (20.0,), discrete=True),
    )
    yield scanimage.with_regions(replace(small, zs=(0.0, 20.0), frames_per_slice=1, volumes=2), *regions), 4


def recordings() -> Iterable[bytes]:
    """TIFFs of ScanImage, of every generation and byte order."""
    for number, (microscope, count) in enumerate(_microscopes()):
        images = [np.full((microscope.lines, microscope.pixels), at, np.int16) for at in range(count)]
        pages = list(scanimage.described(replace(microscope, frames_per_file=math.inf), images))
        whole = replace(microscope, frames_per_file=math.inf)
        big, order = number % 3 > 0, "<>"[number % 2]
        yield _written(lambda path, m=whole, p=pages, b=big, o=order: scanimage.write_file(path, m, p, big=b, order=o))


def headers() -> Iterable[bytes]:
    """Return texts of recordings behind the shape of the file that is to carry them: see `shape_of`."""
    for microscope, count in _microscopes():
        header, regions = scanimage.header_text(microscope), scanimage.regions_text(microscope)
        first, last = scanimage.page_text(microscope, 0), scanimage.page_text(microscope, count - 1, ends=True)
        if scanimage.in_description(microscope.version):
            first, last, header, regions = first + header, last + header, "", ""
        texts = [json.dumps(json.loads(regions)) if regions else "", last, first, header]
        split = math.isfinite(microscope.frames_per_file)
        if split:
            texts += [scanimage.page_text(microscope, count // 2 - 1), scanimage.page_text(microscope, count // 2)]
        shape = (count - 1) % 16 + 16 * ((microscope.lines + 3) // 4 - 1) + 128 * split
        yield bytes([shape]) + ZERO.join(text.encode() for text in texts)


def shape_of(number: int) -> tuple[int, int, int]:
    """Return how many files, pages and lines of a page a number stands for."""
    return 1 + number // 128, 1 + number % 16, 4 * (1 + number // 16 % 8)


def literals() -> Iterable[bytes]:
    """Values as MATLAB prints them."""
    values = ((1, 2.5), ["bench2p", (0.5, 1)], ((1, 2), (3, 4)), True, "it's", float("nan"), -1e300)
    yield from (scanimage.matlab(value).encode() for value in values)
    yield b"zeros(0,3)"
    yield b"a.b = [1 2]\nc__1.d = {'e' 5}\r\nf=<nonscalar struct/object>"
    yield json.dumps({"SI": {"a": [1, {"b": None}], "c": {"_ArrayType_": "double", "_ArrayData_": [1, 2]}}}).encode()


def any_format() -> Iterable[bytes]:
    """A file of every kind, behind the number of its suffix."""
    samples: dict[str, Iterable[bytes]] = {
        ".tif": recordings(),
        ".h5": aux_files()[:2],
        ".mat": [data[1:] for data in sessions()],
        ".npy": npy_files(),
        ".csv": [data[1:] for data in camera_tables()],
        ".txt": [data[1:] for data in stimuli()],
        ".bin": [data[1:] for data in registers()],
        ".json": [b'{"a": [1, {"b": null}], "c": "d"}'],
        ".jsonl": [b'{"a": 1}\n{"a": 2}\n'],
        ".xml": [b'<?xml version="1.0"?>\n<!-- b -->\n<a><b c="d"/></a>\n'],
        ".npz": [_written(lambda path: np.savez(path, a=np.arange(3)), "seed.npz")],
        ".mp4": [_box(b"ftyp", b"isom") + _box(b"moov", b"") + _box(b"mdat", b"pictures")],
        ".avi": [_avi()],
    }
    for suffix, files in samples.items():
        yield from (bytes([SUFFIXES.index(suffix)]) + data for data in files)


def _box(name: bytes, content: bytes) -> bytes:
    return (8 + len(content)).to_bytes(4, "big") + name + content


def _avi() -> bytes:
    def chunk(name: bytes, content: bytes) -> bytes:
        return name + len(content).to_bytes(4, "little") + content

    header = chunk(b"LIST", b"hdrl" + chunk(b"avih", (0x10).to_bytes(4, "little").rjust(16, ZERO).ljust(56, ZERO)))
    return chunk(b"RIFF", b"AVI " + header + chunk(b"LIST", b"movi") + chunk(b"idx1", bytes(16)))


def programs(bases: Callable[[], list[dict[str, Any]]]) -> Iterable[bytes]:
    """Choices for `draw.changed`, behind the number of what is changed: none, and random ones."""
    rng = np.random.default_rng(8)
    for number in range(len(bases())):
        yield bytes([number])
        yield from (bytes([number]) + rng.bytes(int(rng.integers(4, 40))) for _ in range(PROGRAMS // len(bases())))
