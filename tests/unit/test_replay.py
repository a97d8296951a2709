"""What a folder went through can be told, and told again; an archive can do nothing but that."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tarfile
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from blake3 import blake3
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from adamacs import cli
from adamacs.core.errors import AdamacsError, InvalidRequest, UnreadableFile, UnsafePath
from adamacs.ingest import growth
from adamacs.ingest.below import Below, parts_of
from adamacs.ingest.growth import PIECE, Event, Tree, Writer
from adamacs.ingest.replay import Recorder, record, replay

bounded = settings(deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
POSIX = pytest.mark.skipif(os.name == "nt", reason="NOT ON WINDOWS: names that only other systems admit")


def tree(folder: Path) -> dict[str, tuple[bytes, int] | None]:
    """Every path below a folder: bytes and time of a file, None for a folder."""
    found: dict[str, tuple[bytes, int] | None] = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        found[name] = None if path.is_dir() else (path.read_bytes(), path.stat().st_mtime_ns)
    return found


def events(archive: Path) -> list[Event]:
    with archive.open("rb") as file:
        return list(growth.read(file, archive))


class Stepped:
    """A recorder that looks when it is told to, beside a folder to write into."""

    def __init__(self, folder: Path, name: str = "a") -> None:
        self.source, self.archive = folder / f"{name}-source", folder / f"{name}.tar.gz"
        self.source.mkdir()
        self.below, self.writer = Below(self.source), Writer(self.archive)
        self.recorder = Recorder(self.below, self.writer)
        self.time = 0.0

    def look(self, after: float = 1.0) -> None:
        self.recorder.step(self.time)
        self.time += after

    def finish(self) -> list[Event]:
        self.recorder.finish(self.time)
        self.writer.__exit__()
        self.below.__exit__()
        return events(self.archive)


@pytest.fixture
def stepped(tmp_path: Path) -> Stepped:
    return Stepped(tmp_path)


# --- what is told ----------------------------------------------------------------------------------------------------


def told(found: list[Event]) -> list[tuple[Any, ...]]:
    return [(one.kind, one.path, one.to or one.offset, one.data) for one in found]


def test_appended_bytes_are_told_once_with_their_place_and_time(stepped: Stepped) -> None:
    path = stepped.source / "scan.tif"
    path.write_bytes(b"head")
    stepped.look(after=2.5)
    with path.open("ab") as file:
        file.write(b"more")
    stepped.look()
    found = stepped.finish()
    assert told(found) == [("write", "scan.tif", 0, b"head"), ("write", "scan.tif", 4, b"more"), ("end", "", 0, b"")]
    assert [one.seconds for one in found] == [0.0, 2.5, 3.5]
    assert found[1].mtime == path.stat().st_mtime_ns
    assert found[1].blake3 == blake3(b"more").hexdigest()


def test_a_file_that_is_renamed_replaced_cut_and_removed_says_so(stepped: Stepped) -> None:
    (stepped.source / "scan.tmp").write_bytes(b"new")
    (stepped.source / "scan.tif").write_bytes(b"old old")
    (stepped.source / "log").write_bytes(b"0123456789")
    stepped.look()
    (stepped.source / "scan.tmp").replace(stepped.source / "scan.tif")
    os.truncate(stepped.source / "log", 4)
    stepped.look()
    (stepped.source / "log").unlink()
    stepped.look()
    kinds = [(one.kind, one.path) for one in stepped.finish()[3:]]
    assert kinds[0] == ("rename", "scan.tmp")
    assert ("truncate", "log") in kinds
    assert kinds[-2:] == [("remove", "log"), ("end", "")]
    replay(stepped.archive, stepped.source.parent / "again", fast=True)
    assert tree(stepped.source.parent / "again") == tree(stepped.source)


def test_a_folder_that_is_renamed_keeps_its_files_without_their_bytes_being_told_again(stepped: Stepped) -> None:
    (stepped.source / "new" / "deep").mkdir(parents=True)
    (stepped.source / "new" / "deep" / "scan.tif").write_bytes(bytes(1000))
    stepped.look()
    (stepped.source / "new").rename(stepped.source / "session")
    stepped.look()
    found = stepped.finish()
    assert [(one.kind, one.path, one.to) for one in found[3:-1]] == [("rename", "new", "session")]
    replay(stepped.archive, stepped.source.parent / "again", fast=True)
    assert tree(stepped.source.parent / "again") == tree(stepped.source)


def test_bytes_changed_in_the_middle_of_a_growing_file_are_found_when_it_is_quiet(stepped: Stepped) -> None:
    path = stepped.source / "movie.bin"
    path.write_bytes(bytes(4 * PIECE))
    stepped.look()
    with path.open("r+b") as file:
        file.seek(2 * PIECE + 7)
        file.write(b"changed")
        file.seek(0, os.SEEK_END)
        file.write(b"grown")
    stepped.look(after=10)
    stepped.look()
    assert [(one.offset, one.length) for one in stepped.finish()[4:-1]] == [(4 * PIECE, 5), (2 * PIECE, PIECE)]
    replay(stepped.archive, stepped.source.parent / "again", fast=True)
    assert tree(stepped.source.parent / "again") == tree(stepped.source)


@POSIX
def test_links_and_pipes_are_left_out_and_named(stepped: Stepped) -> None:
    (stepped.source / "file").write_bytes(b"x")
    (stepped.source / "link").symlink_to(stepped.source / "file")
    (stepped.source / "loop").symlink_to(stepped.source)
    os.mkfifo(stepped.source / "pipe")
    stepped.look()
    assert [one.path for one in stepped.finish()] == ["file", ""]
    assert stepped.recorder.skipped == {"link", "loop", "pipe"}


@POSIX
def test_names_of_any_alphabet_come_back(stepped: Stepped) -> None:
    names = ["ä ö\nü", "日本", "a" * 255, "back\\slash", "12:30", "- copy", os.fsdecode(b"\xff\xfe")]
    for name in names:
        (stepped.source / name).write_bytes(name.encode("utf-8", "surrogateescape"))
    stepped.look()
    stepped.finish()
    replay(stepped.archive, stepped.source.parent / "again", fast=True)
    assert tree(stepped.source.parent / "again") == tree(stepped.source)
    assert len(tree(stepped.source)) == len(names)


# --- any history -----------------------------------------------------------------------------------------------------

NAMES = st.lists(st.sampled_from(("a", "b", "c")), min_size=1, max_size=3).map("/".join)
CONTENT = st.binary(max_size=20)
STEPS = st.one_of(
    st.tuples(st.just("look")),
    st.tuples(st.just("folder"), NAMES),
    st.tuples(st.just("append"), NAMES, CONTENT),
    st.tuples(st.just("change"), NAMES, CONTENT),
    st.tuples(st.just("cut"), NAMES, st.integers(0, 10)),
    st.tuples(st.just("remove"), NAMES),
    st.tuples(st.just("rename"), NAMES, NAMES),
    st.tuples(st.just("time"), NAMES, st.integers(-1000, 2_000_000_000)),
)


def do(folder: Path, step: tuple[Any, ...], writes: Iterator[int]) -> None:
    """Change a folder in one way, where that is possible; every write has a time of its own."""
    kind, path = step[0], folder / step[1]
    try:
        if kind == "folder":
            path.mkdir()
        elif kind in ("append", "change"):
            with path.open("ab" if kind == "append" or not path.exists() else "r+b") as file:
                file.write(step[2])
        elif kind == "cut":
            os.truncate(path, min(step[2], path.stat().st_size))
        elif kind == "remove":
            path.rmdir() if path.is_dir() else path.unlink()
        elif kind == "rename":
            path.rename(folder / step[2])
        elif kind == "time":
            os.utime(path, (step[2], step[2]))
        if kind in ("append", "change", "cut"):
            os.utime(path, ns=(next(writes), next(writes)))
    except OSError:
        pass  # no such file, or the other way round


@settings(bounded, max_examples=400)
@given(steps=st.lists(STEPS, max_size=40), pauses=st.sampled_from((1.0, 10.0)))
def test_any_history_gives_the_same_tree_again(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[Any, ...]], pauses: float
) -> None:
    folder = tmp_path_factory.mktemp("history")
    stepped = Stepped(folder)
    writes = iter(range(10**18, 2 * 10**18, 10**9))
    for step in steps:
        if step[0] == "look":
            stepped.look(pauses)
        else:
            do(stepped.source, step, writes)
    found = stepped.finish()
    done = replay(stepped.archive, folder / "again", fast=True)
    assert tree(folder / "again") == tree(stepped.source)
    assert done.whole and done.events == len(found)
    assert done.files == sum(one is not None for one in tree(stepped.source).values())


# --- how it is replayed ----------------------------------------------------------------------------------------------


def archive_of(path: Path, *found: Event) -> Path:
    with Writer(path) as writer:
        for event in found:
            writer.add(event)
    return path


def test_pauses_are_kept_left_out_or_halved(tmp_path: Path) -> None:
    found = [Event("write", "a", at, offset=n, length=1, data=b"x") for n, at in enumerate((0.0, 1.0, 4.0))]
    archive = archive_of(tmp_path / "a.tar.gz", *found, Event("end", seconds=6.0))
    now = [100.0]
    grown: list[tuple[float, int]] = []

    def sleep(seconds: float) -> None:
        grown.append((now[0], (tmp_path / folder / "a").stat().st_size))
        now[0] += seconds

    for folder, how, lasted in (("kept", {}, 6.0), ("fast", {"fast": True}, 0.0), ("halved", {"speed": 2.0}, 3.0)):
        began = now[0]
        replay(archive, tmp_path / folder, clock=lambda: now[0], sleep=sleep, **how)
        assert now[0] - began == pytest.approx(lasted)
        assert (tmp_path / folder / "a").read_bytes() == b"xxx"
    assert grown[:2] == [(100.0, 1), (101.0, 2)]  # what had come when it paused


def test_a_file_gets_its_time_back_with_its_last_event_and_not_before(tmp_path: Path) -> None:
    found = [
        Event("write", "a", 0.0, 0, 1, mtime=10**18, data=b"1"),
        Event("rename", "a", 1.0, to="b"),
        Event("write", "b", 2.0, 1, 1, mtime=10**18 + 5 * 10**9, data=b"2"),
        Event("folder", "later", 3.0),
    ]
    archive = archive_of(tmp_path / "a.tar.gz", *found)
    times = []

    def sleep(seconds: float) -> None:
        times.append(max(path.stat().st_mtime for path in (tmp_path / "again").iterdir()))
        now[0] += seconds

    now = [0.0]
    replay(archive, tmp_path / "again", clock=lambda: now[0], sleep=sleep)
    assert times[0] > 1.5e9 and times[1] > 1.5e9  # it looks as if it was being written now
    assert times[2] == 1e9 + 5


def test_an_archive_is_an_ordinary_tar_with_a_json_line_per_event(stepped: Stepped) -> None:
    (stepped.source / "a").write_bytes(b"bytes")
    stepped.look()
    stepped.finish()
    with tarfile.open(stepped.archive) as archive:
        names = archive.getnames()
        line = json.load(archive.extractfile("0000000000.json"))
        assert archive.extractfile("0000000000.bin").read() == b"bytes"
    assert names == ["format.json", "0000000000.bin", "0000000000.json", "0000000001.json"]
    assert (line["kind"], line["path"], line["length"], line["seconds"]) == ("write", "a", 5, 0.0)


def test_an_archive_cut_anywhere_gives_its_whole_events(tmp_path: Path) -> None:
    found = [Event("write", f"f{n}", float(n), 0, 50, data=os.urandom(50)) for n in range(4)]
    whole = archive_of(tmp_path / "whole.tar.gz", *found, Event("end", seconds=9.0)).read_bytes()
    counts = []
    for size in range(len(whole)):
        (tmp_path / "cut.tar.gz").write_bytes(whole[:size])
        try:
            counts.append(len(events(tmp_path / "cut.tar.gz")))
        except UnreadableFile:
            counts.append(-1)  # not even its first member
            assert size < 200
    assert counts == sorted(counts) and set(counts) == {-1, 0, 1, 2, 3, 4, 5}
    (tmp_path / "cut.tar.gz").write_bytes(whole[: len(whole) // 2])
    done = replay(tmp_path / "cut.tar.gz", tmp_path / "again", fast=True)
    assert not done.whole and done.files == len(list((tmp_path / "again").iterdir())) > 0


_RECORD = """
import sys, threading
from pathlib import Path
from adamacs.ingest.replay import record
record(Path(sys.argv[1]), Path(sys.argv[2]), poll=0.01)
"""


def wait_for(holds: Callable[[], bool]) -> None:
    until = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < until
        time.sleep(0.01)


def test_a_recorder_that_is_killed_leaves_what_it_saw(tmp_path: Path) -> None:
    source, archive = tmp_path / "source", tmp_path / "a.tar.gz"
    source.mkdir()
    (source / "first").write_bytes(b"1" * 100_000)
    recorder = subprocess.Popen([sys.executable, "-c", _RECORD, source, archive])
    try:
        wait_for(lambda: archive.exists() and len(events(archive)) == 1)
        (source / "second").write_bytes(b"2")
        wait_for(lambda: len(events(archive)) >= 2)
    finally:
        recorder.kill()
        recorder.wait()
    done = replay(archive, tmp_path / "again", fast=True)
    assert not done.whole
    assert tree(tmp_path / "again") == tree(source)


def test_a_writer_with_pauses_is_recorded_while_it_writes_and_replayed(tmp_path: Path) -> None:
    source, archive, stop = tmp_path / "source", tmp_path / "a.tar.gz", threading.Event()
    source.mkdir()

    def write() -> None:
        scan = source / "scan"
        scan.mkdir()
        with (scan / "movie.tmp").open("wb", buffering=0) as file:
            for number in range(20):
                file.write(bytes([number]) * 50_000)
                time.sleep(0.01)
            file.seek(0)
            file.write(b"header")  # as a microscope does when it ends
        (scan / "movie.tmp").rename(scan / "movie.tif")
        (scan / "done").touch()
        time.sleep(0.05)
        stop.set()

    writer = threading.Thread(target=write)
    writer.start()
    done = record(source, archive, poll=0.005, stop=stop)
    writer.join()
    found = events(archive)
    assert sum(one.kind == "write" and one.path == "scan/movie.tmp" for one in found) > 3  # it was seen growing
    assert done.files == 2 and done.events == len(found) and done.skipped == ()
    again = replay(archive, tmp_path / "again", speed=10.0)
    assert tree(tmp_path / "again") == tree(source)
    assert again.whole and again.bytes == done.bytes


# --- archives that are not to be trusted -----------------------------------------------------------------------------

HOSTILE = (
    "/etc/passwd",
    "../out",
    "a/../../out",
    "a/./b",
    "a//b",
    "",
    "C:/out",
    "c:out",
    "nul\0",
    "a" * 256,
    "a/" * 2100 + "b",
)


@pytest.mark.parametrize("path", HOSTILE)
@pytest.mark.parametrize("kind", ["folder", "write", "remove", "rename", "truncate", "to"])
def test_a_path_that_leads_elsewhere_is_refused_before_anything_is_written(
    tmp_path: Path, path: str, kind: str
) -> None:
    last = Event("rename", "ok", to=path) if kind == "to" else Event(kind, path, to="b")
    archive = archive_of(tmp_path / "a.tar.gz", Event("write", "ok", 0, 0, 1, data=b"x"), last)
    before = set(tmp_path.rglob("*"))
    with pytest.raises(UnsafePath):
        replay(archive, tmp_path / "again", fast=True)
    assert set(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("step", ["..", "a/..", "a/../.."])
def test_a_folder_that_is_the_one_above_is_none_that_can_be_made_and_written_into(tmp_path: Path, step: str) -> None:
    write = Event("write", f"{step}/out", 0, 0, 1, data=b"x")
    archive = archive_of(tmp_path / "a.tar.gz", Event("folder", "a"), Event("folder", step), write)
    with pytest.raises(UnsafePath):
        replay(archive, tmp_path / "deep" / "again", fast=True)
    assert list(tmp_path.rglob("out")) == []


@pytest.mark.parametrize("path", ["a\\b", "ab:stream", "dot.", "blank ", "nul", "COM1.txt", "aux.tar.gz", "a/prn/b"])
def test_a_name_that_means_something_else_on_windows_is_refused_there(path: str) -> None:
    with pytest.raises(UnsafePath):
        parts_of(path, windows=True)
    assert parts_of(path, windows=False) == tuple(path.split("/"))


WRITE = Event("write", "a", 0, 0, 1, data=b"x")


@pytest.mark.parametrize(
    "found",
    [
        [WRITE, Event("write", "a/b", 0, 0, 1, data=b"x")],  # through a file
        [WRITE, Event("folder", "a")],
        [Event("folder", "a"), WRITE],
        [Event("write", "a", 0, 1 << 60, 1, data=b"x")],  # a hole of an exabyte
        [WRITE, Event("write", "a", 0, 3, 1, data=b"x")],
        [WRITE, Event("truncate", "a", length=1 << 50)],
        [Event("remove", "a")],
        [Event("folder", "a"), Event("folder", "a/b"), Event("remove", "a")],
        [Event("folder", "a"), Event("rename", "a", to="a/b")],
        [WRITE, Event("folder", "b"), Event("rename", "a", to="b")],
        [Event("rename", "a", to="b")],
        [Event("write", "no/folder", 0, 0, 1, data=b"x")],
    ],
)
def test_what_cannot_have_happened_is_refused(tmp_path: Path, found: list[Event]) -> None:
    archive = archive_of(tmp_path / "a.tar.gz", *found)
    with pytest.raises(UnsafePath):
        replay(archive, tmp_path / "again", fast=True)
    assert not (tmp_path / "again").exists()


def test_case_twins_are_refused_where_they_would_be_one_file(tmp_path: Path) -> None:
    twin = Event("write", "A", 0, 0, 1, data=b"y")
    for found in ([WRITE, twin], [Event("folder", "a"), Event("write", "A/b", 0, 0, 1, data=b"y")]):
        folded = Tree(str.casefold)
        folded.apply(found[0], 0)
        with pytest.raises(UnsafePath, match="capitals only"):
            folded.apply(found[1], 1)
    folded = Tree(str.casefold)
    folded.apply(WRITE, 0)
    folded.apply(Event("rename", "a", to="A"), 1)  # that is no twin
    archive = archive_of(tmp_path / "a.tar.gz", WRITE, twin)
    (tmp_path / "Probe").touch()
    if (tmp_path / "probe").exists():
        with pytest.raises(UnsafePath):
            replay(archive, tmp_path / "again", fast=True)
    else:
        assert replay(archive, tmp_path / "again", fast=True).files == 2


def tarred(path: Path, *members: tuple[tarfile.TarInfo, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for info, data in [(tarfile.TarInfo("format.json"), json.dumps({"format": growth.FORMAT}).encode()), *members]:
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def member(name: str, data: bytes = b"", **how: object) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    for attribute, value in how.items():
        setattr(info, attribute, value)
    return info, data


@pytest.mark.parametrize("kind", [b"1", b"2", b"3", b"4", b"5", b"6", b"7", b"L", b"K", b"x", b"g", b"S"])
def test_links_devices_and_members_of_other_kinds_are_refused(tmp_path: Path, kind: bytes) -> None:
    info, _ = member("0000000000.json", type=kind, linkname="/etc/passwd")
    archive = tmp_path / "a.tar.gz"
    head = json.dumps({"format": growth.FORMAT}).encode()
    first = tarfile.TarInfo("format.json")
    first.size = len(head)
    raw = first.tobuf(tarfile.USTAR_FORMAT) + head.ljust(512, b"\0") + info.tobuf(tarfile.USTAR_FORMAT) + bytes(1024)
    archive.write_bytes(zlib.compress(raw, wbits=31))
    with pytest.raises(UnsafePath):
        replay(archive, tmp_path / "again", fast=True)
    assert not (tmp_path / "again").exists()


@pytest.mark.parametrize("name", ["/etc/passwd", "../out", "extra", "0000000001.json", "0000000000.txt"])
def test_members_of_other_names_are_refused(tmp_path: Path, name: str) -> None:
    archive = tarred(tmp_path / "a.tar.gz", member(name, b"{}"))
    with pytest.raises(UnsafePath):
        replay(archive, tmp_path / "again", fast=True)
    assert not (tmp_path / "again").exists()


LINE = {"kind": "write", "path": "a", "seconds": 0, "offset": 0, "length": 1, "blake3": blake3(b"x").hexdigest()}


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "execute"},
        {"kind": 3},
        {"path": None},
        {"path": ["a"]},
        {"seconds": -1},
        {"seconds": "1"},
        {"seconds": float("nan")},
        {"seconds": 1e300},
        {"offset": -1},
        {"offset": 1.5},
        {"offset": True},
        {"length": 2},
        {"mtime": 1 << 80},
        {"blake3": "00"},
        {"unknown": 1},
        {"kind": "folder"},
    ],
)
def test_a_line_that_says_anything_else_is_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    line = json.dumps(LINE | change).encode()
    archive = tarred(tmp_path / "a.tar.gz", member("0000000000.bin", b"x"), member("0000000000.json", line))
    with pytest.raises(UnreadableFile):
        replay(archive, tmp_path / "again", fast=True)
    assert not (tmp_path / "again").exists()


def test_an_archive_that_unpacks_to_more_than_is_allowed_is_refused(tmp_path: Path) -> None:
    zeros = bytes(PIECE)
    found = [Event("write", "a", 0, n * PIECE, PIECE, data=zeros) for n in range(20)]
    archive = archive_of(tmp_path / "a.tar.gz", *found)
    assert archive.stat().st_size < 200_000
    with pytest.raises(UnreadableFile, match="--limit"):
        replay(archive, tmp_path / "again", fast=True, limit=10 * PIECE)
    assert not (tmp_path / "again").exists()
    assert replay(archive, tmp_path / "again", fast=True, limit=21 * PIECE).bytes == 20 * PIECE


def test_a_member_that_claims_gigabytes_is_refused_unread(tmp_path: Path) -> None:
    info = tarfile.TarInfo("0000000000.bin")
    info.size = 1 << 33
    head = tarfile.TarInfo("format.json")
    text = json.dumps({"format": growth.FORMAT}).encode()
    head.size = len(text)
    raw = head.tobuf(tarfile.USTAR_FORMAT) + text.ljust(512, b"\0") + info.tobuf(tarfile.GNU_FORMAT)
    (tmp_path / "a.tar.gz").write_bytes(zlib.compress(raw, wbits=31))
    with pytest.raises(UnreadableFile, match="claims"):
        events(tmp_path / "a.tar.gz")


@settings(bounded, max_examples=300)
@given(data=st.data())
def test_changed_or_arbitrary_archives_write_nothing_elsewhere(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("changed")
    whole = archive_of(folder / "a.tar.gz", WRITE, Event("folder", "b"), Event("rename", "a", 1.0, to="b/a"))
    raw = bytearray(zlib.decompressobj(31).decompress(whole.read_bytes()))
    if data.draw(st.booleans()):
        for _ in range(data.draw(st.integers(1, 5))):
            raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
        whole.write_bytes(zlib.compress(bytes(raw), wbits=31))
    else:
        whole.write_bytes(data.draw(st.binary(max_size=200)))
    try:
        replay(whole, folder / "again", fast=True)
    except AdamacsError:
        assert not (folder / "again").exists()
    assert {path.name for path in folder.iterdir()} <= {"a.tar.gz", "again"}


@POSIX
def test_a_folder_that_becomes_a_link_while_it_is_replayed_is_not_followed(tmp_path: Path) -> None:
    found = [Event("folder", "a"), Event("write", "a/b", 1.0, 0, 1, data=b"x")]
    archive = archive_of(tmp_path / "a.tar.gz", *found)
    (tmp_path / "elsewhere").mkdir()

    def swap(seconds: float) -> None:
        (tmp_path / "again" / "a").rmdir()
        (tmp_path / "again" / "a").symlink_to(tmp_path / "elsewhere")
        now[0] += seconds

    now = [0.0]
    with pytest.raises(UnsafePath, match="link"):
        replay(archive, tmp_path / "again", clock=lambda: now[0], sleep=swap)
    assert list((tmp_path / "elsewhere").iterdir()) == []


@POSIX
def test_a_file_that_becomes_a_link_while_it_is_recorded_is_not_read(tmp_path: Path, stepped: Stepped) -> None:
    (tmp_path / "secret").write_bytes(b"secret")
    (stepped.source / "a").write_bytes(b"x")
    look = stepped.recorder._look

    def swapped() -> list[Any]:
        found = list(look())
        (stepped.source / "a").unlink()
        (stepped.source / "a").symlink_to(tmp_path / "secret")
        return found

    stepped.recorder._look = swapped  # type: ignore[method-assign, assignment]
    stepped.look()
    stepped.recorder._look = look  # type: ignore[method-assign]
    assert [one.kind for one in stepped.finish()] == ["end"]


# --- what is asked for -----------------------------------------------------------------------------------------------


def test_requests_that_cannot_be_met_are_refused(tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    with pytest.raises(InvalidRequest, match="no such folder"):
        record(tmp_path / "missing", tmp_path / "a.tar.gz")
    with pytest.raises(InvalidRequest, match="record itself"):
        record(tmp_path / "source", tmp_path / "source" / "a.tar.gz")
    archive = archive_of(tmp_path / "a.tar.gz", WRITE)
    with pytest.raises(InvalidRequest, match="there already"):
        record(tmp_path / "source", archive)
    (tmp_path / "source" / "file").touch()
    with pytest.raises(InvalidRequest, match="not empty"):
        replay(archive, tmp_path / "source")
    with pytest.raises(InvalidRequest, match="speed"):
        replay(archive, tmp_path / "again", speed=0.0)
    (tmp_path / "text").write_text("no archive")
    (tmp_path / "empty").touch()
    for name in ("text", "empty"):
        with pytest.raises(UnreadableFile, match="no archive"):
            replay(tmp_path / name, tmp_path / "again")


def test_the_command_records_and_replays(tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "a").write_bytes(b"abc")
    run = CliRunner()
    archive, again = str(tmp_path / "a.tar.gz"), str(tmp_path / "again")
    made = run.invoke(cli.cli, ["record", str(tmp_path / "source"), archive, "--seconds", "0", "--json"])
    assert made.exit_code == 0, made.output
    assert {"events": 2, "files": 1, "bytes": 3}.items() <= json.loads(made.stdout).items()
    done = run.invoke(cli.cli, ["replay", archive, again, "--fast", "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["whole"] is True
    assert tree(tmp_path / "again") == tree(tmp_path / "source")
    full = run.invoke(cli.cli, ["replay", archive, again])
    assert isinstance(full.exception, InvalidRequest)
