"""An error is of one class, and the class says what a worker does about it."""

from __future__ import annotations

import errno
import socket
import ssl
import subprocess
import sys
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import psycopg2
import psycopg2.errors
import pymysql
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adamacs.core import errors, failures, settings
from adamacs.core.errors import AdamacsError, PlanRefused, ProcessingFailed, StoreUnavailable, UnreadableFile
from adamacs.core.failures import FAILURES, backoff, classify, delay, describe, named

REPOSITORY = Path(__file__).parents[2]


def caused(error: Exception, cause: BaseException) -> Exception:
    """Return an error as it is after `raise error from cause`."""
    try:
        raise error from cause
    except type(error) as raised:
        return raised


def met(error: Exception, before: BaseException) -> Exception:
    """Return an error as it is when raised while another was being handled."""
    try:
        try:
            raise before
        except type(before):
            raise error  # noqa: B904 that is the point
    except type(error) as raised:
        return raised


def system(name: str) -> OSError:
    return OSError(getattr(errno, name), "as the system says", "a.tif")


def torch_like(name: str, base: type[Exception], text: str) -> Exception:
    """Return an error of torch, which need not be installed here."""
    return type(name, (base,), {"__module__": "torch"})(text)


def datajoint_like(name: str, text: str) -> Exception:
    return type(name, (Exception,), {"__module__": "datajoint.errors"})(text)


class _State:
    """A driver's error with the code that a server sends, which only a server can set on a real one."""

    def __init_subclass__(cls, code: str, **_: object) -> None:
        cls.pgcode = code


class ReadOnly(_State, psycopg2.InternalError, code="25006"):
    pass


class WrongPassword(_State, psycopg2.OperationalError, code="28P01"):
    pass


class NoRight(_State, psycopg2.ProgrammingError, code="42501"):
    pass


class TooComplex(_State, psycopg2.OperationalError, code="54001"):
    pass


CASES = [
    # the operating system
    (system("ENOENT"), "missing_file"),
    (system("EACCES"), "permission"),
    (system("EPERM"), "permission"),
    (system("ENOMEM"), "memory"),
    *[(system(name), "store") for name in ("ENOSPC", "EDQUOT", "EROFS", "EIO", "ESTALE", "ENODEV", "ETIMEDOUT")],
    *[(system(name), "store") for name in ("EHOSTDOWN", "ENOTCONN", "ECONNREFUSED", "EPIPE")],
    (system("EINVAL"), "bug"),
    (FileNotFoundError("no number"), "missing_file"),
    (PermissionError("no number"), "permission"),
    (TimeoutError("no number"), "store"),
    (OSError("Can't write data: errno = 28, error message = 'No space left on device'"), "store"),
    (socket.gaierror(-2, "Name or service not known"), "store"),
    (ssl.SSLError(1, "handshake failed"), "store"),
    # Python
    (MemoryError(), "memory"),
    (ModuleNotFoundError("No module named 'suite2p'"), "tool"),
    (BrokenProcessPool("A process in the process pool was terminated abruptly"), "killed"),
    (KeyError("dff"), "bug"),
    (ValueError("out of memory"), "bug"),
    (KeyboardInterrupt(), "bug"),
    # torch and the GPU
    (torch_like("OutOfMemoryError", RuntimeError, "CUDA out of memory. Tried to allocate 2 GiB"), "memory"),
    (RuntimeError("CUDA error: out of memory"), "memory"),
    (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried 8 bytes"), "memory"),
    (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), "memory"),
    (torch_like("AcceleratorError", RuntimeError, "CUDA error: an illegal memory access was encountered"), "gpu"),
    (RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"), "gpu"),
    (RuntimeError("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED"), "gpu"),
    (RuntimeError("shape mismatch"), "bug"),
    # databases
    (psycopg2.OperationalError("connection to server failed: Connection refused"), "database"),
    (psycopg2.InterfaceError("connection already closed"), "database"),
    (psycopg2.DatabaseError("server closed the connection unexpectedly"), "database"),
    (psycopg2.errors.DeadlockDetected("deadlock detected"), "database"),
    (psycopg2.errors.AdminShutdown("terminating connection"), "database"),
    (psycopg2.errors.UniqueViolation("duplicate key"), "bug"),
    (psycopg2.ProgrammingError("syntax error"), "bug"),
    (ReadOnly("cannot execute INSERT in a read-only transaction"), "database"),
    (WrongPassword("password authentication failed"), "permission"),
    (NoRight("permission denied for table scan"), "permission"),
    (TooComplex("stack depth limit exceeded"), "bug"),
    (pymysql.err.OperationalError(2006, "server has gone away"), "database"),
    (pymysql.err.OperationalError(1213, "Deadlock found"), "database"),
    (pymysql.err.OperationalError(1290, "running with the --read-only option"), "database"),
    (pymysql.err.OperationalError("Connection was killed"), "database"),
    (pymysql.err.InterfaceError(0, ""), "database"),
    (pymysql.err.OperationalError(1142, "INSERT command denied"), "permission"),
    (pymysql.err.OperationalError(1054, "Unknown column"), "bug"),
    (pymysql.err.IntegrityError(1062, "Duplicate entry"), "bug"),
    (datajoint_like("LostConnectionError", "Server connection lost"), "database"),
    (datajoint_like("AccessError", "Insufficient privileges."), "permission"),
    (datajoint_like("DuplicateError", "Duplicate entry"), "bug"),
    # adamacs
    (errors.MissingFile("The file is gone."), "missing_file"),
    (UnreadableFile("Is no TIFF."), "unreadable_file"),
    (errors.CorruptArray("A chunk differs."), "unreadable_file"),
    (StoreUnavailable("The folder is missing."), "store"),
    (errors.DatabaseUnavailable("It does not answer."), "database"),
    (ProcessingFailed("It left no planes."), "tool"),
    (errors.ToolMissing("No GPU."), "tool"),
    (errors.InvalidParameters("No such parameter."), "tool"),
    (errors.SchemaMismatch("Another version."), "tool"),
    (PlanRefused("What this stands on changed while it was computed."), "changed"),
    (UnreadableFile("The file changed while it was read."), "changed"),
    (PlanRefused("There is no such folder."), "tool"),
    (errors.UnstorableArray("It holds objects."), "bug"),
]


@pytest.mark.parametrize(("error", "name"), CASES, ids=lambda value: describe(value)[:60] if value is not str else None)
def test_an_error_is_of_the_class_that_it_shows(error, name):
    assert classify(error).name == name


@pytest.mark.parametrize(
    ("error", "cause", "name"),
    [
        (ProcessingFailed("Suite2p failed."), system("EACCES"), "permission"),
        (ProcessingFailed("Suite2p failed."), system("ENOSPC"), "store"),
        (ProcessingFailed("Suite2p failed."), system("ENOENT"), "missing_file"),
        (ProcessingFailed("Suite2p failed."), RuntimeError("CUDA error: unspecified launch failure"), "gpu"),
        (ProcessingFailed("Suite2p failed."), MemoryError(), "memory"),
        (ProcessingFailed("Suite2p failed."), ValueError("no ROIs"), "tool"),
        (ProcessingFailed("Suite2p failed."), UnreadableFile("Is no TIFF."), "tool"),
        (ProcessingFailed("No manifest.", "/processed/run"), FileNotFoundError(2, "", "/processed/run/a.json"), "tool"),
        (UnreadableFile("It cannot be read."), system("EACCES"), "permission"),
        (UnreadableFile("It cannot be read."), system("ENOENT"), "missing_file"),
        (UnreadableFile("It cannot be read."), system("EIO"), "store"),
        (UnreadableFile("It is damaged."), ValueError("bad header"), "unreadable_file"),
        (StoreUnavailable("Permission denied."), system("EACCES"), "permission"),
        (StoreUnavailable("It is gone."), system("ENOENT"), "store"),
        (errors.DatabaseUnavailable("It cannot be started."), system("EACCES"), "database"),
        (RuntimeError("worker thread failed"), MemoryError(), "memory"),
        (KeyError("a"), system("ENOENT"), "missing_file"),
    ],
)
def test_a_cause_decides_where_it_knows_better(error, cause, name):
    assert classify(caused(error, cause)).name == name


def test_causes_are_followed_to_the_end():
    inner = caused(RuntimeError("thread"), system("EACCES"))
    assert classify(caused(ProcessingFailed("Suite2p failed."), inner)).name == "permission"


@pytest.mark.parametrize(
    ("before", "name"),
    [
        (psycopg2.OperationalError("server closed the connection unexpectedly"), "database"),
        (MemoryError(), "memory"),
        (RuntimeError("CUDA error: device-side assert triggered"), "gpu"),
        (system("ENOENT"), "bug"),  # a cache that is not there is no excuse for what comes after
        (system("EACCES"), "bug"),
    ],
)
def test_what_was_being_handled_counts_only_where_it_spoils_all_that_follows(before, name):
    assert classify(met(AttributeError("'NoneType' has no attribute 'cursor'"), before)).name == name


def test_an_error_that_hides_what_was_before_it_stands_alone():
    try:
        try:
            raise MemoryError
        except MemoryError:
            raise ValueError("a bug") from None
    except ValueError as error:
        assert classify(error).name == "bug"


def test_errors_that_point_at_each_other_are_classified_too():
    one, two = ValueError("one"), ValueError("two")
    one.__cause__, two.__cause__ = two, one
    assert classify(one).name == "bug"


def test_a_real_missing_file_is_missing(tmp_path):
    with pytest.raises(FileNotFoundError) as caught:
        (tmp_path / "a.tif").read_bytes()
    assert classify(caught.value).name == "missing_file"


def test_real_errors_of_the_installed_datajoint_are_known():
    from datajoint import errors as theirs

    assert classify(theirs.LostConnectionError("lost")).name == "database"
    assert classify(theirs.AccessError("denied")).name == "permission"
    assert classify(theirs.DuplicateError("twice")).name == "bug"
    assert classify(theirs.IntegrityError("no parent")).name == "bug"


def test_the_code_says_that_the_world_changed_in_the_words_that_are_looked_for():
    for name in ("database/portable/tables.py", "storage/checksum.py"):
        assert failures.CHANGED in (REPOSITORY / "adamacs" / name).read_text(encoding="utf-8")


def test_every_error_of_the_family_has_a_class():
    for kind in vars(errors).values():
        if isinstance(kind, type) and issubclass(kind, AdamacsError):
            assert classify(kind("It broke.")) in FAILURES


# ---- the classes themselves


@pytest.mark.parametrize("failure", FAILURES, ids=lambda failure: failure.name)
def test_a_class_fits_its_column_and_says_what_happened_and_what_to_do(failure):
    assert len(failure.name) <= 16
    assert failure.policy in ("retry", "wait", "ask")
    assert failure.sentence.endswith(".") and failure.cure.endswith(".")
    assert named(failure.name) is failure


def test_no_two_classes_have_one_name():
    assert len({failure.name for failure in FAILURES}) == len(FAILURES)


def test_a_misspelt_class_is_answered_with_the_nearest():
    with pytest.raises(errors.InvalidRequest, match="Did you mean permission"):
        named("permision")


# ---- pauses


def test_the_pause_doubles_up_to_a_bound():
    def always() -> float:
        return 1.0

    assert [backoff(attempt, always) for attempt in (1, 2, 3, 8, 9, 10_000)] == [5, 10, 20, 640, 900, 900]
    assert [delay(named("store"), attempt, always) for attempt in (1, 2, 7, 10_000)] == [1, 2, 10, 10]
    assert [delay(named(name), 3, always) for name in ("changed", "killed", "stalled")] == [0, 0, 0]


@given(st.integers(0, 10**6), st.floats(0, 1), st.sampled_from(FAILURES))
def test_a_pause_is_never_negative_and_never_above_its_bound(attempt, drawn, failure):
    assert 0 <= delay(failure, attempt, lambda: drawn) <= failure.longest


def test_pauses_of_keys_that_failed_together_differ():
    assert len({backoff(5) for _ in range(20)}) > 10


# ---- an error as a line


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (OSError(errno.EACCES, "Permission denied", "a.tif"), "PermissionError: [Errno 13] Permission denied: 'a.tif'"),
        (MemoryError(), "MemoryError"),
        (ValueError("two\n  lines"), "ValueError: two lines"),
        (UnreadableFile("Is no TIFF.", "a.tif", "Copy it."), "UnreadableFile: a.tif: Is no TIFF. Copy it."),
        (ValueError("no route to postgresql://ana:geheim@db/lab"), "ValueError: no route to postgresql://ana:***@db/lab"),
        (ValueError("host=db password='two words' port=1"), "ValueError: host=db password=*** port=1"),
        (ValueError("bad name \x1b[2J\x1b]0;own\x07.tif"), r"ValueError: bad name \x1b[2J\x1b]0;own\x07.tif"),
    ],
)  # fmt: skip
def test_an_error_is_one_line_without_passwords(error, line):
    assert describe(error) == line


def test_a_file_below_a_share_is_told_by_its_place_wherever_the_share_lies(tmp_path, monkeypatch):
    home = tmp_path / "lab"
    home.mkdir()
    linked, archive = tmp_path / "mounted", tmp_path / "archive"
    linked.mkdir()
    (home / "share").symlink_to(linked)
    (home / "adamacs.toml").write_text(f"[shares.archive]\nfolder = '{archive}'\n")
    monkeypatch.setattr(settings, "_active", settings.load(home, environ={}))
    told = {
        home / "share" / "ana" / "a.tif": "ana/a.tif",
        linked / "ana" / "a b.tif": "ana/a b.tif",
        archive / "bob" / "c.h5": "archive:bob/c.h5",
        linked.with_name("mounted2") / "d.h5": str(linked.with_name("mounted2") / "d.h5"),
        home / "share": str(home / "share"),
    }
    assert {path: describe(UnreadableFile("Is none.", path)) for path in told} == {
        path: f"UnreadableFile: {place}: Is none." for path, place in told.items()
    }
    hint = f"touch {linked / 'a.tif'}"
    assert describe(UnreadableFile("Is old.", linked / "a.tif", hint)) == f"UnreadableFile: a.tif: Is old. {hint}"
    assert describe(PlanRefused("Not so.", {"scan_id": "scan1"})) == "PlanRefused: scan_id=scan1: Not so."
    monkeypatch.setattr(settings, "_active", None)
    assert str(linked) in describe(UnreadableFile("Is none.", linked / "a.tif")), "of no lab in use"


def test_a_long_error_fits_its_column():
    line = describe(ValueError("x" * 5000))
    assert len(line) == 2000
    assert line.endswith("…")


def test_knowing_the_classes_loads_neither_database_nor_torch():
    code = "import sys, adamacs.core.failures; print({'datajoint', 'torch', 'psycopg2', 'pymysql'} & set(sys.modules))"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "set()"
