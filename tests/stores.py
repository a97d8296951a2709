"""What any store promises, as one suite: unit tests run it on folders, integration tests on a real S3 server."""

from __future__ import annotations

import time
import traceback
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
import pytest

from adamacs.core import settings
from adamacs.core.errors import CorruptArray, StoreUnavailable, UnsafePath
from adamacs.storage import arrays
from adamacs.storage.stores import Reader, Store

SECRET_KEY = "suite-secret-canary"  # which no message may tell
HOSTILE = [
    "",
    ".",
    "..",
    "/etc/passwd",
    "../outside",
    "a/../../outside",
    "a/..",
    "a//b",
    "a/./b",
    "a/",
    "a\\..\\b",
    "C:/windows",
    "a\x00b",
    "a\nb",
    "x" * 256,
]


@pytest.fixture
def put(store: Store):
    """Store some bytes: `put("a/b", b"...")`."""

    def put(path: str, data: bytes) -> None:
        with store.create(path) as [draft]:
            draft.write(data)

    return put


@pytest.fixture(autouse=True)
def own_settings() -> Iterator[None]:
    """Each test has settings of its own, and the process returns to those it had."""
    before = settings._active
    yield
    settings.use(before)


class StoreSuite:
    """What every store must do. A subclass gives the fixture `store`, an empty store in the settings in use."""

    def overwrite(self, store: Store, path: str, data: bytes) -> None:
        """Change stored bytes behind the back of the store."""
        raise NotImplementedError

    def test_what_is_written_is_read_back(self, store: Store, put) -> None:
        put("table/key/data.bin", b"0123456789")
        assert store.read("table/key/data.bin") == b"0123456789"
        assert store.size("table/key/data.bin") == 10
        assert store.exists("table/key/data.bin")

    @pytest.mark.parametrize(
        ("start", "stop", "expected"),
        [(0, 3, b"012"), (4, 7, b"456"), (8, 20, b"89"), (10, 12, b""), (30, 40, b""), (5, 5, b""), (7, None, b"789")],
    )
    def test_a_range_is_read_without_the_rest(self, store: Store, put, start: int, stop: int, expected: bytes) -> None:
        put("data.bin", b"0123456789")
        assert store.read("data.bin", start, stop) == expected

    def test_an_empty_file_is_a_file(self, store: Store, put) -> None:
        put("empty", b"")
        assert (store.read("empty"), store.size("empty"), store.exists("empty")) == (b"", 0, True)

    def test_the_head_of_a_draft_can_be_written_last(self, store: Store) -> None:
        with store.create("data.bin") as [draft]:
            draft.write(b"....")
            draft.write(memoryview(b"tail"))
            draft.rewrite(0, b"head")
            draft.write(b"!")
        assert store.read("data.bin") == b"headtail!"

    def test_nobody_sees_a_draft(self, store: Store) -> None:
        with store.create("table/a", "table/b") as [a, b]:
            a.write(b"a" * 100_000)
            b.write(b"b")
            assert not store.exists("table/a")
            assert not list(store.listing())
        assert [found.path for found in store.listing()] == ["table/a", "table/b"]

    def test_a_writer_that_fails_leaves_nothing(self, store: Store) -> None:
        with pytest.raises(RuntimeError, match="power"), store.create("table/a", "table/b") as [a, b]:
            a.write(b"a")
            b.write(b"b")
            raise RuntimeError("power")
        assert not list(store.listing())
        assert not list(store.listing(partial=True))

    def test_a_stored_file_is_never_overwritten(self, store: Store, put) -> None:
        put("data.bin", b"first")
        with pytest.raises(StoreUnavailable, match=r"data\.bin.*never overwritten"):
            put("data.bin", b"second")
        assert store.read("data.bin") == b"first"

    def test_of_several_files_all_are_stored_or_none(self, store: Store, put) -> None:
        put("b", b"first")
        with pytest.raises(StoreUnavailable), store.create("a", "b") as [a, b]:
            a.write(b"a")
            b.write(b"b")
        assert [found.path for found in store.listing()] == ["b"]
        assert not list(store.listing(partial=True))

    def test_what_is_not_there_is_told_apart_from_a_store_that_fails(self, store: Store) -> None:
        with pytest.raises(FileNotFoundError):
            store.read("table/absent", 0, 4)
        with pytest.raises(FileNotFoundError):
            store.size("table/absent")
        assert not store.exists("table/absent")

    def test_a_folder_is_no_file(self, store: Store, put) -> None:
        put("table/key/data.bin", b"0")
        with pytest.raises((FileNotFoundError, UnsafePath, StoreUnavailable)):
            store.read("table/key", 0, 1)

    def test_removing_twice_is_removing(self, store: Store, put) -> None:
        put("table/data.bin", b"0")
        store.remove("table/data.bin")
        store.remove("table/data.bin")
        assert not store.exists("table/data.bin")

    def test_a_listing_names_every_file_with_size_and_time(self, store: Store, put) -> None:
        for number, path in enumerate(["a/x", "a/b/y", "c"]):
            put(path, bytes(number))
        found = list(store.listing())
        assert [(one.path, one.size) for one in found] == [("a/b/y", 1), ("a/x", 0), ("c", 2)]
        assert all(abs(one.modified - time.time()) < 120 for one in found)
        assert [one.path for one in store.listing("a")] == ["a/b/y", "a/x"]
        assert not list(store.listing("absent"))

    @pytest.mark.parametrize("path", HOSTILE)
    def test_no_path_leads_out_of_the_store(self, store: Store, path: str) -> None:
        for attempt in (store.read, store.size, store.exists, store.remove):
            with pytest.raises(UnsafePath):
                attempt(path)
        with pytest.raises(UnsafePath), store.create(path):
            pass
        if path:
            with pytest.raises(UnsafePath):
                list(store.listing(path))

    def test_names_with_spaces_and_accents_are_kept(self, store: Store, put) -> None:
        put("ROI Größe/été=1/data +%.bin", b"0")
        assert store.read("ROI Größe/été=1/data +%.bin") == b"0"
        assert [found.path for found in store.listing()] == ["ROI Größe/été=1/data +%.bin"]

    def test_a_probe_leaves_nothing_behind(self, store: Store) -> None:
        store.probe()
        assert not list(store.listing())
        assert not list(store.listing(partial=True))

    def test_many_writers_at_once_do_not_disturb_each_other(self, store: Store, put) -> None:
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda n: put(f"table/{n % 3}/{n}", f"{n}".encode() * 1000), range(24)))
        assert all(store.read(f"table/{n % 3}/{n}") == f"{n}".encode() * 1000 for n in range(24))

    def test_an_array_comes_back_and_a_slice_reads_little(self, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
        values = np.random.default_rng(0).normal(size=(6, 70_000)).astype(np.float32)
        reference = arrays.write(store, arrays.path_of("trace", {"roi": 1}, "values"), values)
        assert np.array_equal(np.asarray(reference), values)
        fetched: list[int] = []
        reading = type(store).reading

        @contextmanager
        def counting(self: Store, path: str) -> Iterator[Reader]:
            def read(start: int, stop: int | None) -> bytes:
                data = file.read(start, stop)
                fetched.append(len(data))
                return data

            with reading(self, path) as file:
                yield Reader(read, file.size)

        monkeypatch.setattr(type(store), "reading", counting)
        assert np.array_equal(reference.row(3)[100:200], values[3, 100:200])
        assert sum(fetched) < values[3].nbytes + 4096

    def test_an_array_is_never_visible_without_its_sums(self, store: Store) -> None:
        path = "trace/values.b2nd"
        with store.create(arrays.sums_path(path)) as [draft]:
            draft.write(b"taken")
        with pytest.raises(StoreUnavailable):
            arrays.write(store, path, np.arange(10))
        assert not store.exists(path)

    def test_changed_bytes_are_refused(self, store: Store) -> None:
        reference = arrays.write(store, "trace/roi=7/values.b2nd", np.arange(10_000))
        whole = bytearray(store.read(reference.path))
        whole[len(whole) // 2] ^= 1
        self.overwrite(store, reference.path, bytes(whole))
        with pytest.raises(CorruptArray, match=r"roi=7.*values\.b2nd"):
            np.asarray(reference)
        with pytest.raises(CorruptArray):
            arrays.verify(reference)

    @pytest.mark.parametrize("lost", ["trace/values.b2nd", "trace/values.b2nd.sums"])
    def test_missing_files_are_told(self, store: Store, lost: str) -> None:
        reference = arrays.write(store, "trace/values.b2nd", np.arange(10))
        store.remove(lost)
        with pytest.raises(CorruptArray, match="missing"):
            np.asarray(reference)

    def test_sums_that_vanish_once_read_are_missed_by_who_reads_the_whole(self, store: Store) -> None:
        values = np.arange(40_000.0).reshape(4, 10_000)
        reference = arrays.write(store, "trace/values.b2nd", values)
        assert np.array_equal(reference[2, 5:9], values[2, 5:9])
        store.remove(arrays.sums_path(reference.path))
        assert np.array_equal(reference[3, 5:9], values[3, 5:9])  # against the sums that were read before
        with pytest.raises(CorruptArray, match="missing"):
            np.asarray(reference)

    def test_the_secret_is_told_by_no_message(self, store: Store, put) -> None:
        put("data.bin", b"0")
        with pytest.raises(StoreUnavailable) as refused:
            put("data.bin", b"0")
        told = [repr(store), store.locate("x"), *traceback.format_exception(refused.value)]
        assert SECRET_KEY not in "".join(told)
