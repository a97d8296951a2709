"""Why a computation failed, in a few classes, and what a worker does about each: try again, wait, or stop and ask.

The classes are data. `classify` finds the class of an error by what it is: its type, the number of the operating
system, the code of the database, and what stands behind it (`raise ... from`). Types of libraries are known by their
names, so that nothing heavy is imported here. An error loses what stands behind it on its way between processes:
classify it where it was raised.
"""

from __future__ import annotations

import errno
import random
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from adamacs.core import errors, settings
from adamacs.core.errors import AdamacsError, InvalidRequest, nearest, visible
from adamacs.core.logs import masked

Policy = Literal["retry", "wait", "ask"]


@dataclass(frozen=True)
class Failure:
    """A class of failures.

    Attributes
    ----------
    name
        What a person types: `adamacs jobs retry --class permission`. At most 16 characters.
    policy
        `retry`: the key is tried again, later each time where the class has pauses, as often as the settings
        `workers.attempts` and `workers.kills` allow. `wait`: nothing is wrong with the key; it waits until database or
        store are back. `ask`: it fails the same way again, so a person decides.
    sentence
        What happened.
    cure
        What a person can do.
    first, longest
        Bounds of the pause before the second attempt, and of any later pause, s.
    """

    name: str
    policy: Policy
    sentence: str
    cure: str
    first: float = 5.0
    longest: float = 900.0


FAILURES = (
    Failure(
        "missing_file",
        "retry",
        "A file of the scan is not where it should be.",
        "Mount the share, or put the folder back where it was; the next attempt finds it.",
        first=30.0,
    ),
    Failure(
        "unreadable_file",
        "ask",
        "A file is cut short, foreign, changed since it was ingested, or contradicts another.",
        "Copy the recording again with its times, mend the setup type's file that it contradicts, or remove the scan; "
        "then retry.",
    ),
    Failure(
        "unpaired",
        "ask",
        "What two sources tell does not go together: pulses, stimuli or clocks do not match, or match in several ways.",
        "Read what the error says of counts and shifts. Where a file is of another recording, remove the scan, take "
        "that file away and ingest the folder again; else mend the setup type's file, then retry.",
    ),
    Failure(
        "permission",
        "ask",
        "The worker's account may not read or write a file, a store or a table.",
        "Give the account the right (`adamacs check` tells when it has it), then retry the whole class.",
    ),
    Failure(
        "memory",
        "retry",
        "The memory of the machine or of its GPU did not suffice.",
        "Run fewer slots on this host, lower the batch size of the parameter set, or take a larger host.",
        first=60.0,
    ),
    Failure(
        "gpu",
        "retry",
        "The GPU or its libraries failed; the process that used them is replaced.",
        "Look at the GPU with its vendor's tool and at the kernel's log; restart the host if it fails everywhere.",
    ),
    Failure(
        "database",
        "wait",
        "The database does not answer, or gave the work up for another's.",
        "Start the server or mend the network; the worker goes on by itself.",
        first=1.0,
        longest=10.0,
    ),
    Failure(
        "store",
        "wait",
        "A disk, share or store is full, read-only, failing or away.",
        "Free space or bring it back; the worker goes on by itself.",
        first=1.0,
        longest=10.0,
    ),
    Failure(
        "tool",
        "ask",
        "The processing tool failed, is not installed here, or does not take these parameters.",
        "Read the attempt's log; install the tool, or stage the scan with another parameter set.",
    ),
    Failure(
        "changed",
        "retry",
        "What the result stands on changed while it was computed.",
        "Nothing: it is computed again at once. Where this repeats, find who keeps changing it.",
        first=0.0,
        longest=0.0,
    ),
    Failure(
        "killed",
        "retry",
        "The process that computed the key ended without a word: killed, out of memory or crashed.",
        "Look at the host's log for the time of the attempt; give the slot more memory, then retry.",
        first=0.0,
        longest=0.0,
    ),
    Failure(
        "stalled",
        "retry",
        "The key made no progress for longer than its table allows, and was ended.",
        "Look at the attempt's log for the stage where it stood still, and at disk and share of the host.",
        first=0.0,
        longest=0.0,
    ),
    Failure(
        "bug",
        "ask",
        "Something happened that the code does not expect.",
        "Report it with the attempt's traceback; retry when it is mended.",
    ),
)
_BY_NAME = {failure.name: failure for failure in FAILURES}


def named(name: str) -> Failure:
    """Return a class by its name.

    Raises
    ------
    InvalidRequest
        There is no such class.
    """
    if name not in _BY_NAME:
        raise InvalidRequest(f"There is no class of failures {name!r}.", hint=nearest(name, list(_BY_NAME)))
    return _BY_NAME[name]


def backoff(
    attempt: int,
    rng: Callable[[], float] = random.random,
    *,
    first: float = Failure.first,
    longest: float = Failure.longest,
) -> float:
    """Return how long to pause after a failed attempt, s.

    The bound doubles with each attempt, and the pause is drawn evenly below it ("full jitter"), so that keys which
    failed together do not come back together.

    Parameters
    ----------
    attempt
        How many attempts failed so far, from 1.
    rng
        Draws from 0 to 1.
    first, longest
        Bound after the first failed attempt, and the bound that no later one exceeds, s.
    """
    doublings = min(max(attempt, 1) - 1, 60)  # more would only overflow
    return rng() * min(longest, first * 2.0**doublings)


def delay(failure: Failure, attempt: int, rng: Callable[[], float] = random.random) -> float:
    """Return how long to pause after so many failed attempts, the last of this class, s."""
    return backoff(attempt, rng, first=failure.first, longest=failure.longest)


def describe(error: BaseException, length: int = 2000) -> str:
    """Return an error as one line without passwords: `PermissionError: [Errno 13] Permission denied: 'a.tif'`.

    What would command a terminal is spelt out, and a file below a share is told by its place: the line is read on other
    hosts, where the share lies elsewhere.

    Parameters
    ----------
    error
        Any error.
    length
        A longer line is cut, characters; the columns that keep it take 2047.
    """
    text = str(error)
    if isinstance(error, AdamacsError) and error.where and text.startswith(error.where):
        text = settings.place_of(error.where) + text.removeprefix(error.where)
    said = visible(" ".join(masked(text).split()))
    line = f"{type(error).__qualname__}: {said}" if said else type(error).__qualname__
    return line if len(line) <= length else f"{line[: length - 1]}…"


def split_message(message: str) -> tuple[str, str]:
    """Split what a job row says of a failure into its class, empty if it names none that we know, and the rest.

    >>> split_message("[permission] PermissionError: a.tif")
    ('permission', 'PermissionError: a.tif')
    """
    before, bracket, rest = message.removeprefix("[").partition("] ")
    known = message.startswith("[") and bracket and before in {failure.name for failure in FAILURES}
    return (before, rest) if known else ("", message)


# ---- which class an error is of


def classify(error: BaseException) -> Failure:
    """Return the class of an error.

    An error that only says that a tool, a file or a store failed leaves the word to what it was raised from, where
    that knows better: a `ProcessingFailed` from a `PermissionError` is a matter of permission.
    """
    verdict: str | None = None
    for link in _causes(error):
        found = _verdict(link)
        if found in _GIVES_WAY_TO.get(verdict, ()) and not (verdict == "tool" and _is_within(link, error)):
            verdict = found
    return _BY_NAME[verdict or _behind(error) or "bug"]


_PRECISE = frozenset({"missing_file", "permission", "memory", "gpu", "database", "store", "changed", "killed"})
# What an error was taken for -> what its cause may turn it into. A file that a store misses is the store's own.
_GIVES_WAY_TO: dict[str | None, frozenset[str]] = {
    None: frozenset(_BY_NAME),
    "tool": _PRECISE,
    "unreadable_file": _PRECISE,
    "store": frozenset({"permission"}),
}
# Conditions that make everything after them fail, whatever it was: these count even where nobody wrote `from`.
# Other errors that were being handled do not: code that goes on after a missing file may well have a bug.
_INFECTIOUS = frozenset({"memory", "gpu", "database"})


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error, what it was raised from, what that was raised from, and so on."""
    seen: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        yield link
        link = link.__cause__


def _behind(error: BaseException) -> str | None:
    """Return the infectious condition that was being handled when an error was raised."""
    seen: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        if (found := _verdict(link)) in _INFECTIOUS:
            return found
        link = link.__cause__ or (None if link.__suppress_context__ else link.__context__)
    return None


def _is_within(link: BaseException, error: BaseException) -> bool:
    """Tell whether a file is missing in the very folder that an error is about: then it is no file of the scan."""
    place, name = getattr(error, "where", None), getattr(link, "filename", None)
    return isinstance(link, FileNotFoundError) and bool(place) and str(name).startswith(str(place))


def _verdict(error: BaseException) -> str | None:
    """Return the class that an error shows by itself, or None."""
    if isinstance(error, AdamacsError):
        return _of_ours(error)
    names = [(kind.__module__.partition(".")[0], kind.__name__) for kind in type(error).__mro__]
    if any(module in _DRIVERS for module, _ in names):
        return _of_database(error, {name for _, name in names})
    if known := next((_KINDS[name] for name in names if name in _KINDS), None):
        return known
    if isinstance(error, OSError) and (known := _NUMBERS.get(error.errno or 0)):
        return known
    if isinstance(error, (OSError, RuntimeError)):
        return _of_words(str(error)) or _of_system(error)
    return None


# ---- errors of adamacs

CHANGED = "changed while it was"  # computed, or read: what an error says that the next attempt need not meet again

_OURS: dict[type[AdamacsError], str] = {
    errors.MissingFile: "missing_file",
    errors.UnreadableFile: "unreadable_file",
    errors.CorruptArray: "unreadable_file",
    errors.UnsafePath: "unreadable_file",
    errors.PairingRefused: "unpaired",
    errors.UnusableClock: "unpaired",
    errors.StoreUnavailable: "store",
    errors.DatabaseUnavailable: "database",
    errors.ProcessingFailed: "tool",
    errors.ToolMissing: "tool",
    errors.InvalidParameters: "tool",
    errors.InvalidSetting: "tool",
    errors.SchemaMismatch: "tool",
    errors.PlanRefused: "tool",
}


def _of_ours(error: AdamacsError) -> str | None:
    if CHANGED in error.what:
        return "changed"
    return next((_OURS[kind] for kind in type(error).__mro__ if kind in _OURS), None)


# ---- errors of Python, of the operating system and of libraries

_KINDS = {
    ("builtins", "MemoryError"): "memory",
    ("builtins", "ImportError"): "tool",
    ("concurrent", "BrokenExecutor"): "killed",
    ("datajoint", "LostConnectionError"): "database",
    ("datajoint", "AccessError"): "permission",
    ("datajoint", "BucketInaccessible"): "store",
    ("socket", "gaierror"): "store",  # its numbers are not those of the system
    ("ssl", "SSLError"): "store",
    ("torch", "OutOfMemoryError"): "memory",
}


def _numbers(names: str) -> list[int]:
    """Return the numbers of errors of the operating system, of those that this one has."""
    return [getattr(errno, name) for name in names.split() if hasattr(errno, name)]


_NUMBERS: dict[int, str] = {
    **dict.fromkeys(_numbers("ENOENT"), "missing_file"),
    **dict.fromkeys(_numbers("EACCES EPERM"), "permission"),
    **dict.fromkeys(_numbers("ENOMEM"), "memory"),
    **dict.fromkeys(_numbers("ENOSPC EDQUOT EFBIG EROFS EIO EREMOTEIO ESTALE ENODEV ENXIO EBUSY"), "store"),
    **dict.fromkeys(_numbers("EHOSTDOWN EHOSTUNREACH ENETDOWN ENETUNREACH ENETRESET ETIMEDOUT ENOTCONN"), "store"),
    **dict.fromkeys(_numbers("ECONNREFUSED ECONNRESET ECONNABORTED EPIPE ESHUTDOWN"), "store"),
}

# The first that fits counts: a GPU that is out of memory is a matter of memory.
_WORDS = (
    ("memory", r"out of memory|(?:not enough|can(?:'t|not) allocate) memory|STATUS_ALLOC_FAILED|bad_alloc"),
    ("gpu", r"CUDA (?:driver )?error|CUDA driver|cudnn|cublas|cusolver|cusparse|cufft|NCCL error|HIP error"),
    ("gpu", r"device-side assert|No CUDA GPUs|CUDA-capable device|MPS backend"),
    ("store", r"No space left on|quota exceeded|Read-only file system|Stale (?:NFS )?file handle|Input/output error"),
)


def _of_words(text: str) -> str | None:
    return next((name for name, words in _WORDS if re.search(words, text, re.IGNORECASE)), None)


def _of_system(error: BaseException) -> str | None:
    """Return the class of an error of the system that was raised without its number."""
    if isinstance(error, (TimeoutError, ConnectionError)):
        return "store"
    if isinstance(error, PermissionError):
        return "permission"
    return "missing_file" if isinstance(error, FileNotFoundError) else None


# ---- errors of the databases' drivers

_DRIVERS = frozenset({"psycopg2", "psycopg", "pymysql", "MySQLdb"})
_LOST = re.compile(r"server closed the connection|connection already closed|SSL SYSCALL|from the libpq|terminating con")
_NO_RIGHT = {1044, 1045, 1142, 1143, 1227, 1370}
# Of the MySQL family, all that passes: locks, limits, shutdowns, read-only and failing servers, killed statements.
_PASSES = {0, 1020, 1021, 1040, 1047, 1053, 1152, *range(1158, 1162), 1180, 1184, 1203, 1205, 1206, 1213, 1226}
_PASSES |= {1290, 1317, 1614, 1792, 1836, 1927, 1969, 3024, 3572, *range(2000, 3000)}


def _of_database(error: BaseException, kinds: set[str]) -> str | None:
    """Return the class of a driver's error by the server's code, and without one by its kind."""
    state = str(getattr(error, "pgcode", None) or getattr(error, "sqlstate", None) or "")
    number = error.args[0] if error.args and isinstance(error.args[0], int) else None
    if state == "42501" or state.startswith("28") or number in _NO_RIGHT:
        return "permission"
    if state == "25006" or number in _PASSES:  # 25006: the server is read-only for now
        return "database"
    if number is not None or state.startswith("54"):  # 54: the statement is too complex, and stays so
        return None
    is_lost = bool(kinds & {"OperationalError", "InterfaceError"}) or bool(_LOST.search(str(error)))
    return "database" if is_lost else None
