"""A file that is not whole is noticed, whatever was cut off, and no file can do more than be refused."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import scipy.io
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from adamacs.core.errors import MissingFile, UnreadableFile
from adamacs.core.formats import _BY_SUFFIX, require_whole, tiff
from adamacs.demo import scanimage as demo
from adamacs.demo.scanimage import Microscope

REAL_DATA = os.environ.get("ADAMACS_REAL_DATA", "")
SMALL = Microscope(lines=4, pixels=6, frames_per_slice=5)
POSIX = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="NO PIPES IN FOLDERS on this system")
bounded = settings(
    max_examples=400, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def refusal(path: Path) -> UnreadableFile:
    with pytest.raises(UnreadableFile) as caught:
        require_whole(path)
    assert caught.value.where == str(path)
    assert caught.value.what.endswith(".")
    return caught.value


# --- writers: ours, and others' --------------------------------------------------------------------------------------


def scanimage(**how: object) -> Callable[[Path], None]:
    images = [np.full((4, 6), number, np.int16) for number in range(5)]
    return lambda path: demo.write_file(path, SMALL, demo.described(SMALL, images, last=4), **how) and None


def by_tifffile(**how: object) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        pixels = np.arange(5 * 32 * 48, dtype=np.uint16).reshape(5, 32, 48)
        tifffile.imwrite(path, pixels, photometric="minisblack", **how)

    return write


def pyramid(path: Path) -> None:
    pixels = np.arange(32 * 32, dtype=np.uint8).reshape(32, 32)
    with tifffile.TiffWriter(path, ome=True) as file:
        file.write(pixels, subifds=1, tile=(16, 16))
        file.write(pixels[::2, ::2], subfiletype=1, tile=(16, 16))


def by_h5py(*, block: int = 0, **how: object) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        with h5py.File(path, "w", userblock_size=block, **how) as file:
            file["movie"] = np.arange(40, dtype=np.int16)
            file.create_dataset("grown", data=np.arange(30), chunks=(10,), maxshape=(None,), compression="gzip")

    return write


def in_blocks(path: Path) -> None:
    with h5py.File(path, "w", driver="core", block_size=4096) as file:
        file["movie"] = np.arange(40)


def box(kind: bytes, content: bytes = b"", *, wide: bool = False) -> bytes:
    if wide:
        return struct.pack(">I4sQ", 1, kind, 16 + len(content)) + content
    return struct.pack(">I4s", 8 + len(content), kind) + content


def film(*boxes: bytes) -> Callable[[Path], None]:
    return lambda path: path.write_bytes(b"".join(boxes)) and None


def chunk(name: bytes, content: bytes) -> bytes:
    return name + struct.pack("<I", len(content)) + content + b"\0" * (len(content) % 2)


def avi(path: Path) -> None:
    head = chunk(b"LIST", b"hdrl" + chunk(b"avih", struct.pack("<14I", 0, 0, 0, 0x10, *range(10))))
    movie = chunk(b"LIST", b"movi" + chunk(b"00dc", b"picture"))
    first = chunk(b"RIFF", b"AVI " + head + movie + chunk(b"idx1", bytes(16)))
    path.write_bytes(first + chunk(b"RIFF", b"AVIX" + movie))


def mat(**how: object) -> Callable[[Path], None]:
    values = {"text": "hello", "movie": np.arange(60.0)}
    return lambda path: scipy.io.savemat(path, values, **how)


def npy(value: object) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        with path.open("wb") as file:  # given a name, NumPy would change its suffix
            np.save(file, value, allow_pickle=True)

    return write


def npz(path: Path) -> None:
    np.savez(path, first=np.arange(5), second=np.arange(6))


def says(content: bytes | str) -> Callable[[Path], None]:
    return lambda path: path.write_bytes(content if isinstance(content, bytes) else content.encode()) and None


FIELDS = np.zeros(3, np.dtype([("time", "<f8"), ("name", "U4"), ("at", "<i2", (2, 2))], align=True))
XML = '<?xml version="1.0"?>\n<!-- <no> root -->\n<!DOCTYPE a>\n<a:b x="1"><c/></a:b>\n<!-- end -->\n'
FTYP, MDAT, MOOV = box(b"ftyp", b"isom"), box(b"mdat", bytes(20)), box(b"moov", box(b"mvhd", bytes(8)))

# Name -> (suffix, writer, format, bytes at the end that a reader can do without).
WHOLE: dict[str, tuple[str, Callable[[Path], None], str, int]] = {
    "ScanImage": (".tif", scanimage(), "BigTIFF", 0),
    "ScanImage, big-endian": (".tif", scanimage(order=">"), "BigTIFF", 0),
    "ScanImage of old": (".tif", scanimage(big=False), "TIFF", 8),  # eight bytes behind it belong to no page
    "ScanImage of old, big-endian": (".tif", scanimage(big=False, order=">"), "TIFF", 8),
    "tifffile, one strip": (".tif", by_tifffile(), "TIFF", 16),  # room kept behind the last directory
    "tifffile, big-endian": (".tiff", by_tifffile(byteorder=">"), "TIFF", 16),
    "tifffile, big": (".TIF", by_tifffile(bigtiff=True, byteorder=">"), "BigTIFF", 0),
    "tifffile, strips": (".tif", by_tifffile(rowsperstrip=5), "TIFF", 30),
    "tifffile, tiles": (".tif", by_tifffile(tile=(16, 16)), "TIFF", 0),
    "tifffile, compressed": (".tif", by_tifffile(compression="zlib"), "TIFF", 0),
    "ImageJ": (".tif", by_tifffile(imagej=True), "TIFF", 16),
    "OME pyramid": (".ome.tif", pyramid, "TIFF", 0),
    "HDF5 of old": (".h5", by_h5py(), "HDF5", 0),
    "HDF5 of 1.8": (".h5", by_h5py(libver=("v108", "v108")), "HDF5", 0),
    "HDF5 of today": (".nwb", by_h5py(libver="latest"), "HDF5", 0),
    "HDF5 behind a block": (".h5", by_h5py(block=2048), "HDF5", 0),
    "HDF5 of today behind a block": (".h5", by_h5py(block=512, libver="latest"), "HDF5", 0),
    "MP4": (".mp4", film(FTYP, MDAT, MOOV), "MP4", 0),
    "MP4, index first": (".mp4", film(FTYP, MOOV, box(b"mdat", bytes(20), wide=True)), "MP4", 0),
    "MOV": (".mov", film(MOOV, struct.pack(">I4s", 0, b"mdat") + b"x"), "MP4", 1),  # `to the end`: its end is nowhere
    "AVI": (".avi", avi, "AVI", 1),  # the byte that makes its length even
    "MAT 5": (".mat", mat(), "MAT 5", 0),
    "MAT 5, compressed": (".mat", mat(do_compression=True), "MAT 5", 0),
    "MAT 4": (".mat", mat(format="4"), "MAT 4", 0),
    "MAT 7.3": (".mat", by_h5py(block=512), "MAT 7.3", 0),
    "NPY": (".npy", npy(np.zeros((3, 4), "f4")), "NPY", 0),
    "NPY of text": (".npy", npy(np.array(["abc", "d"])), "NPY", 0),
    "NPY of times": (".npy", npy(np.zeros(3, "M8[ns]")), "NPY", 0),
    "NPY of fields": (".npy", npy(FIELDS), "NPY", 0),
    "NPY of objects": (".npy", npy({"ops": 1}), "NPY", 0),
    "NPY by its magic": (".unknown", npy(np.arange(3)), "NPY", 0),
    "NPZ": (".npz", npz, "ZIP", 0),
    "JSON": (".json", says('{"a": [1, 2.5, "x"]}'), "text", 0),
    "JSON, two bytes a letter": (".json", says(json.dumps({"a": 1}).encode("utf-16")), "text", 0),
    "XML": (".xml", says(XML), "text", len("\n<!-- end -->\n")),
    "XML, two bytes a letter": (".xml", says("<a><b/>ä</a>".encode("utf-16")), "text", 0),
    "XML, one tag": (".xml", says("<a b='c'/>"), "text", 0),
}
# Cuts that none can see: the file is one that its format allows, with fewer variables, and the whole first ones.
UNSEEN = {"MAT 5": 1, "MAT 5, compressed": 1, "MAT 4": 1, "AVI": 2, "NPY by its magic": 6, "NPY of objects": 3}


@pytest.mark.parametrize("name", WHOLE)
def test_a_whole_file_is_whole_and_a_cut_one_is_not_wherever_it_is_cut(name: str, tmp_path: Path) -> None:
    suffix, write, kind, spare = WHOLE[name]
    path = tmp_path / f"whole{suffix}"
    write(path)
    assert require_whole(path) == kind
    data = path.read_bytes()
    cut = tmp_path / f"cut{suffix}"
    cut.write_bytes(data)
    passed = []
    for size in range(len(data) - 1, -1, -1):
        os.truncate(cut, size)
        try:
            require_whole(cut)
        except UnreadableFile as error:
            assert error.where == str(cut)
        else:
            passed.append(size)
    seldom = [size for size in passed if len(data) - size > spare]
    assert len(seldom) <= UNSEEN.get(name, 0), f"cut at {seldom} of {len(data)}"


# --- pages at equal distances ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def long_recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("long") / "long.tif"
    demo.write_file(path, SMALL, demo.described(SMALL, [np.zeros((4, 6), np.int16)] * 2_000, last=1_999))
    return path


def test_a_long_recording_is_judged_by_some_of_its_pages(long_recording: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = []
    directory = tiff.Chain.directory

    def counted(chain: tiff.Chain, offset: int, page: int) -> tuple[tiff.Entries, int]:
        read.append(page)
        return directory(chain, offset, page)

    monkeypatch.setattr(tiff.Chain, "directory", counted)
    assert require_whole(long_recording) == "BigTIFF"
    assert len(read) < 300 and {0, 1_999} <= set(read)


def test_a_long_recording_cut_anywhere_is_refused(long_recording: Path, tmp_path: Path) -> None:
    path = tmp_path / "cut.tif"
    path.write_bytes(long_recording.read_bytes())
    size = path.stat().st_size
    with tifffile.TiffFile(long_recording) as file:
        first, second, middle, last = (file.pages[number].offset for number in (0, 1, 1_000, 1_999))
    cuts = {page + step for page in (second, middle, last) for step in (-1, 0, 1, 8, 100, 340, second - first - 1)}
    for cut in sorted((cuts | set(range(last, size, 31))) - {size}, reverse=True):
        os.truncate(path, cut)
        assert f"ends at byte {cut}" in (what := refusal(path).what) or f"ends at {cut}" in what


def test_a_chain_that_leaves_its_stride_is_followed_to_its_end(long_recording: Path, tmp_path: Path) -> None:
    data = bytearray(long_recording.read_bytes())
    with tifffile.TiffFile(long_recording) as file:
        offset = file.pages[1_999].offset
    entries = struct.unpack_from("<Q", data, offset)[0]
    struct.pack_into("<Q", data, offset + 8 + 20 * entries, len(data) + 16)  # as while the recording goes on
    path = tmp_path / "open.tif"
    path.write_bytes(data)
    assert refusal(path).what == (
        f"The directory of page 2001 should lie at byte {len(data) + 16}, the file ends at {len(data)}: "
        "the rest is cut off."
    )


def test_loops_and_overlapping_directories_end(tmp_path: Path) -> None:
    path = tmp_path / "loop.tif"
    entry = struct.pack("<HHII", 256, 4, 1, 1)
    path.write_bytes(b"II\x2a\x00" + struct.pack("<IH", 8, 1) + entry + struct.pack("<I", 8))
    assert "a loop" in refusal(path).what
    # 300 directories of 4096 entries each, one byte apart... each says that the next one begins two bytes later
    tables = bytearray(b"II\x2a\x00" + struct.pack("<I", 8) + b"\x10\x10" * 200_000)
    path.write_bytes(tables)
    refusal(path)
    many = struct.pack("<HHII", 330, 13, 100_000, 26) + struct.pack("<I", 0)
    path.write_bytes(b"II\x2a\x00" + struct.pack("<IH", 8, 1) + many + struct.pack("<I", 8) * 100_000)
    began = time.perf_counter()
    assert "overlap" in refusal(path).what
    assert time.perf_counter() - began < 20


# --- HDF5 ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("libver", ["earliest", "latest"])
def test_an_hdf5_file_that_is_open_for_writing_is_not_whole(libver: str, tmp_path: Path) -> None:
    path = tmp_path / "open.h5"
    with h5py.File(path, "w", libver=libver) as file:
        data = file.create_dataset("a", shape=(0,), chunks=(100_000,), maxshape=(None,), dtype="i4")
        file.flush()
        data.resize((5_000_000,))  # more than its writer keeps in memory
        data[:] = 1
        refusal(path)
    assert require_whole(path) == "HDF5"


def test_an_hdf5_file_whose_writer_died_says_so(tmp_path: Path) -> None:
    path = tmp_path / "died.h5"
    code = "import h5py, os, sys; f = h5py.File(sys.argv[1], 'w', libver='latest'); f['a'] = 1; f.flush(); os._exit(0)"
    subprocess.run([sys.executable, "-c", code, path], check=True)
    error = refusal(path)
    assert "still open for writing" in error.what and "h5clear" in (error.hint or "")


def test_bytes_behind_the_end_of_an_hdf5_file_are_noticed(tmp_path: Path) -> None:
    path = tmp_path / "more.h5"
    by_h5py()(path)
    with path.open("ab") as file:
        file.write(b"more")
    assert "was not closed" in refusal(path).what


# --- films -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "content", "what"),
    [
        ("a.mp4", FTYP + MDAT, "no index"),
        ("a.mp4", FTYP + MOOV, "no pictures"),
        ("a.mp4", FTYP + MDAT + MOOV + bytes(64), "should stand a box"),
        ("a.mp4", FTYP + struct.pack(">I4s", 0, b"mdat") + MOOV, "no index"),
        ("a.mp4", struct.pack(">I4sQ", 1, b"mdat", 1 << 63), "ends at byte"),
        ("a.avi", b"RIFF" + struct.pack("<I", 0) + b"AVI LIST", "has not ended it yet"),
        ("a.avi", chunk(b"RIFF", b"AVI " + chunk(b"LIST", b"movi")), "no hdrl"),
        ("a.avi", chunk(b"RIFF", b"WAVE"), "should stand a segment"),
    ],
)
def test_a_film_that_is_not_ended_says_what_it_lacks(name: str, content: bytes, what: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    assert what in refusal(tmp_path / name).what


def test_an_avi_without_the_index_that_it_promises_is_not_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.avi"
    avi(path)
    data = path.read_bytes().replace(b"idx1", b"JUNK")
    path.write_bytes(data)
    assert "idx1" in refusal(path).what


def test_films_of_another_writer_are_whole_and_their_pieces_are_not(tmp_path: Path) -> None:
    cv2 = pytest.importorskip("cv2", reason="NO OPENCV: films of another writer were not tried")
    for suffix, code, kind in ((".avi", "MJPG", "AVI"), (".mp4", "mp4v", "MP4")):
        path = tmp_path / f"film{suffix}"
        writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*code), 30.0, (64, 48))
        if not writer.isOpened():
            pytest.skip(f"NO {code}: OpenCV was built without it")
        for number in range(20):
            writer.write(np.full((48, 64, 3), number * 10, np.uint8))
        writer.release()
        assert require_whole(path) == kind
        data = path.read_bytes()
        for size in range(0, len(data) - 1, 97):
            path.write_bytes(data[:size])
            refusal(path)


# --- text ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "content", "whole"),
    [
        ("a.csv", "t,x\n1,2\n3,4\n", True),
        ("a.csv", "t,x\n1,2\n3,4", True),  # some writers never end a last line
        ("a.csv", "t,x\n1,2\n3,", False),
        ("a.csv", "t,x\n1,2\n3", False),
        ("a.csv", "t,x", False),
        ("a.tsv", "t\tx\r\n1\t2\r\n", True),
        ("a.csv", "", False),
        ("a.csv", "t,x\n1,2\n\0\0\0\0", False),  # room that a copy reserved
        ("a.csv", "t,x\n".encode("utf-16"), True),
        ("a.json", "", False),
        ("a.json", "[" * 100_000, False),
        ("a.json", "[" + "1," * 600_000 + "1]", True),  # too large to be parsed
        ("a.json", "[" + "1," * 600_000, False),
        ("a.json", "1" * 900_000, True),
        ("a.jsonl", '{"a": 1}\n{"b": 2}\n', True),
        ("a.jsonl", '{"a": 1}\n{"b": ', False),
        ("a.jsonl", "", True),
        ("a.xml", "<a><b></a>", True),  # where it ends is all that is asked
        ("a.xml", "<a><b></b>", False),
        ("a.xml", "<!--" * 10_000, False),
        ("a.xml", "<a>" + "<!-- x -->" * 5_000 + "</a>" + "<!-- x -->" * 3_000, True),
        ("a.xml", "no tag", False),
        ("a.txt", "", True),
        ("a.txt", "a note without an end", True),
        ("a.txt", "a note\0\0\0", False),
        ("a.bin", b"\0\1\2", True),
        ("done", "", True),  # a marker holds nothing
    ],
)
def test_a_text_is_whole_where_its_last_line_bracket_or_tag_is(
    name: str, content: str | bytes, whole: bool, tmp_path: Path
) -> None:
    says(content)(tmp_path / name)
    if whole:
        assert require_whole(tmp_path / name) == ("text" if "." in name and name != "a.bin" else "bytes")
    else:
        refusal(tmp_path / name)


# --- what is no file, and what is none of its kind -------------------------------------------------------------------


@pytest.mark.parametrize("suffix", sorted(set(_BY_SUFFIX) - {".txt", ".jsonl", ".ndjson"}))
def test_an_empty_file_is_never_whole_where_its_format_has_a_beginning(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"empty{suffix}"
    path.touch()
    refusal(path)


@pytest.mark.parametrize("suffix", sorted(set(_BY_SUFFIX) - {".txt", ".csv", ".tsv"}))
def test_a_file_that_is_not_what_its_name_says_is_refused(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"other{suffix}"
    path.write_bytes(b"this is something else, and it is long enough to hold the headers of every format" * 4)
    refusal(path)


def test_a_zip_of_more_than_65535_members_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "many.zip"
    with zipfile.ZipFile(path, "w") as file:
        for number in range(65_600):
            file.writestr(str(number), "")
        file.comment = b"PK\x05\x06 a comment that looks like the end"
    assert require_whole(path) == "ZIP"
    path.write_bytes(path.read_bytes()[:-1])
    refusal(path)


def test_a_zip64_list_is_found(tmp_path: Path) -> None:
    path = tmp_path / "large.zip"
    end = struct.pack("<4sQHHIIQQQQ", b"PK\x06\x06", 44, 45, 45, 0, 0, 1, 1, 46, 0)
    locator = struct.pack("<4sIQI", b"PK\x06\x07", 0, 46, 1)
    last = struct.pack("<4sHHHHIIH", b"PK\x05\x06", 0, 0, 1, 1, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    path.write_bytes(b"PK\x01\x02" + bytes(42) + end + locator + last)
    assert require_whole(path) == "ZIP"
    path.write_bytes(b"PK\x01\x03" + bytes(42) + end + locator + last)
    assert "list of members" in refusal(path).what


def test_links_folders_and_missing_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "file.txt").write_text("text")
    try:
        (tmp_path / "link.txt").symlink_to(tmp_path / "file.txt")
    except OSError:
        pytest.skip("NO LINKS may be made on this system by this account")
    assert refusal(tmp_path / "link.txt").what == "A link is not followed."
    assert refusal(tmp_path).what == "This is no file."
    with pytest.raises(MissingFile):
        require_whole(tmp_path / "missing.tif")
    refusal(tmp_path / "a\0b.tif")


@POSIX
def test_a_pipe_without_a_writer_does_not_wait(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.tif")
    assert refusal(tmp_path / "pipe.tif").what == "This is no file."
    assert refusal(Path("/dev/null")).what == "This is no file."


def test_a_file_that_grows_while_it_is_looked_at_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.txt"
    path.write_text("text")

    def grow(source: object) -> str:
        with path.open("a") as file:
            file.write("more")
        return "text"

    monkeypatch.setitem(_BY_SUFFIX, ".txt", grow)
    assert "changed while it was read" in refusal(path).what


# --- anything at all -------------------------------------------------------------------------------------------------


def judged(path: Path) -> None:
    try:
        assert require_whole(path)
    except UnreadableFile as error:
        assert error.where == str(path)


HEADS = (
    b"",
    b"II\x2a\x00\x08\x00\x00\x00",
    b"MM\x00\x2b\x00\x08\x00\x00",
    b"\x89HDF\r\n\x1a\n",
    b"\x93NUMPY\x01\x00",
    b"PK",
)


@bounded
@given(suffix=st.sampled_from(sorted(_BY_SUFFIX)), head=st.sampled_from(HEADS), rest=st.binary(max_size=300))
def test_arbitrary_bytes_raise_nothing_but_the_typed_error(
    tmp_path: Path, suffix: str, head: bytes, rest: bytes
) -> None:
    path = tmp_path / f"any{suffix}"
    path.write_bytes(head + rest)
    judged(path)


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[str, bytes]]:
    made = {}
    for name, (suffix, write, *_) in WHOLE.items():
        path = tmp_path_factory.mktemp("sound") / f"a{suffix}"
        write(path)
        made[name] = suffix, path.read_bytes()
    return made


@settings(bounded, max_examples=800)
@given(name=st.sampled_from(sorted(WHOLE)), data=st.data())
def test_changed_bytes_raise_nothing_but_the_typed_error(
    tmp_path: Path, sound: dict[str, tuple[str, bytes]], name: str, data: st.DataObject
) -> None:
    suffix, content = sound[name]
    changed = bytearray(content)
    near = st.one_of(st.integers(0, len(changed) - 1), st.integers(0, min(600, len(changed)) - 1))
    for _ in range(data.draw(st.integers(1, 4))):
        changed[data.draw(near)] = data.draw(st.sampled_from((0, 1, 255)) | st.integers(0, 255))
    path = tmp_path / f"changed{suffix}"
    path.write_bytes(changed)
    judged(path)


@bounded
@given(header=st.text(st.sampled_from("{}'(),:[]descrshapefo <|Ui489O\\0"), max_size=200))
def test_any_header_of_numpy_is_read_or_refused(tmp_path: Path, header: str) -> None:
    whole = "{'descr': " + header + ", 'fortran_order': False, 'shape': (2,), }"
    for text in (header, whole):
        path = tmp_path / "a.npy"
        path.write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode() + bytes(64))
        judged(path)


_MEASURE = """
import resource, sys
from pathlib import Path
from adamacs.core.errors import UnreadableFile
from adamacs.core.formats import require_whole
assert not {"numpy", "h5py", "tifffile", "datajoint"} & set(sys.modules)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for path in sys.argv[1:]:
    try:
        require_whole(Path(path))
    except UnreadableFile:
        pass
grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
print(grown // (1 << 20 if sys.platform == "darwin" else 1 << 10))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="NOT ON WINDOWS: memory is measured with getrusage")
def test_no_number_that_a_file_states_takes_memory_and_the_judge_imports_nothing_heavy(tmp_path: Path) -> None:
    def holed(name: str, content: bytes, size: int = 1 << 33) -> str:
        (tmp_path / name).write_bytes(content)
        os.truncate(tmp_path / name, size)
        return str(tmp_path / name)

    strips = struct.pack("<HHQQ", 273, 16, 1 << 27, 64) + struct.pack("<HHQQ", 279, 16, 1 << 20, 64)
    shape = b"{'descr': [('a', '<f4', ('x', 10000000000))], 'shape': (3,)}"
    files = [
        holed("a.tif", b"II\x2b\x00\x08\x00\x00\x00" + struct.pack("<QQ", 16, 2) + strips + bytes(8)),
        holed("b.npy", b"\x93NUMPY\x02\x00" + struct.pack("<I", 1 << 31)),
        holed("c.npy", b"\x93NUMPY\x01\x00" + struct.pack("<H", len(shape)) + shape),
        holed("d.json", b"[" * 1000),
        holed("e.h5", bytes(8)),
        holed("f.avi", b"RIFF" + struct.pack("<I", 1 << 31) + b"AVI LIST" + struct.pack("<I", 1 << 30) + b"hdrl"),
        holed("g.zip", b"PK"),
        holed("h.xml", b"<a>"),
    ]
    run = subprocess.run([sys.executable, "-c", _MEASURE, *files], capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stderr
    assert int(run.stdout) < 50  # MB


@pytest.mark.skipif(not REAL_DATA, reason="NO REAL RECORDINGS: ADAMACS_REAL_DATA names no folder; this was not tried")
def test_real_recordings_are_whole_and_their_pieces_are_not(tmp_path: Path) -> None:
    files = [path for path in sorted(Path(REAL_DATA).rglob("*")) if path.suffix in _BY_SUFFIX and path.is_file()]
    kinds = {path: require_whole(path) for path in files}
    assert {"BigTIFF", "HDF5"} <= set(kinds.values())
    for path, kind in kinds.items():
        if kind in ("BigTIFF", "HDF5"):
            data = path.read_bytes()
            for size in (len(data) - 1, len(data) // 2, len(data) // 3, 600, 100, 17):
                piece = tmp_path / f"piece{path.suffix}"
                piece.write_bytes(data[:size])
                refusal(piece)
