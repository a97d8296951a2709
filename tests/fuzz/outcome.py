"""What became of one input, and where it is written down when that is not as it must be."""

from __future__ import annotations

import hashlib
import resource
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

import numpy as np
import psutil

from adamacs.core.errors import AdamacsError

OUTCOMES = ("read", "refused", "unsuited", "wrong")
FIGURES = (*OUTCOMES, "slowest_us", "grown_kb")  # how often, then the most that one input took
AGAIN = 75  # exit status of a process that another is to take the place of
LONGEST = 4000  # characters of an error, which a person is to read

_PROCESS = psutil.Process()
_ROOT = Path(__file__).parents[2]


class Unsuited(Exception):
    """No file can be made of this input: no fault of the reader."""


class BrokenPromise(Exception):
    """A reader raised what it may raise, or nothing, and yet did what it must not."""


class Judge:
    """Reads inputs with one reader, and writes down those with which something is wrong, each kind once.

    Parameters
    ----------
    read
        Makes a file of an input in a folder, and reads it.
    name, seed
        Of the reader, and of the run.
    findings
        The folder in which inputs are written.
    memory
        Bytes of resident memory that one input may take.

    Attributes
    ----------
    figures
        By the names of `FIGURES`, uint64; a child keeps them in a file.
    """

    def __init__(
        self, read: Callable[[Path, bytes], object], name: str, seed: int, findings: Path, *, memory: int
    ) -> None:
        self._read, self._name, self._seed, self._findings, self._memory = read, name, seed, findings, memory
        self._seen: set[tuple[str, str]] = set()
        self.figures = np.zeros(len(FIGURES), np.uint64)

    def __call__(self, folder: Path, data: bytes) -> str:
        """Read an input in an empty folder; return what became of it, one of `OUTCOMES`."""
        before, highest, began = resident(), peak(), time.perf_counter()
        outcome, wrong = self._outcome(folder, data)
        seconds = time.perf_counter() - began
        grown = max(peak() - before, 0) if peak() > highest else 0
        if wrong is None and grown > self._memory:
            wrong = BrokenPromise(f"One input took {grown >> 20} MB.")
        if wrong is not None:
            outcome = "wrong"
            self._write(wrong, data)
        self.figures[OUTCOMES.index(outcome)] += 1
        self.figures[-2:] = np.maximum(self.figures[-2:], np.array([seconds * 1e6, grown >> 10], np.uint64))
        return outcome

    def _write(self, wrong: Exception, data: bytes) -> None:
        kind = type(wrong).__name__
        if (kind, place := _place(wrong.__traceback__)) not in self._seen:
            self._seen.add((kind, place))
            what = "".join(traceback.format_exception(wrong))
            write(self._findings, f"{self._name}-{kind}", data, what, self._name, self._seed)

    def _outcome(self, folder: Path, data: bytes) -> tuple[str, Exception | None]:
        try:
            self._read(folder, data)
        except Unsuited:
            return "unsuited", None
        except AdamacsError as error:
            return "refused", _fault_of(error, folder)
        except Exception as error:  # noqa: BLE001 - what this is all about
            return "wrong", error
        return "read", None


def _fault_of(error: AdamacsError, folder: Path) -> Exception | None:
    """Return what is wrong with a refusal: it has to name a file of the folder, in a text that a person reads."""
    if not error.where or not Path(error.where).is_relative_to(folder):
        return BrokenPromise(f"An error names no file: {str(error)[:200]}").with_traceback(error.__traceback__)
    if len(str(error)) > LONGEST:
        return BrokenPromise(f"An error has {len(str(error))} letters.").with_traceback(error.__traceback__)
    return None


def write(folder: Path, stem: str, data: bytes, what: str, name: str, seed: int) -> Path:
    """Write an input, and beside it what it did and how it is read again; return its path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{stem}-{hashlib.sha256(data).hexdigest()[:12]}"
    path.write_bytes(data)
    tell(path, what, name, seed)
    return path


def tell(path: Path, what: str, name: str, seed: int) -> None:
    """Write beside an input what it did, and how it is read again."""
    again = f"Found with seed {seed}. Again: make fuzz READERS={name} INPUT={path}\n"
    path.with_name(f"{path.name}.txt").write_text(f"{what.rstrip()}\n\n{again}")


def peak() -> int:
    """Return the most memory that this process has had so far, bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def resident() -> int:
    """Return the memory that this process has now, bytes."""
    return int(_PROCESS.memory_info().rss)


def _place(trace: TracebackType | None) -> str:
    """Return the innermost line of this repository that was running, one of the readers where there is one."""
    frames = [frame for frame in traceback.extract_tb(trace) if Path(frame.filename).is_relative_to(_ROOT)]
    own = [frame for frame in frames if Path(frame.filename).is_relative_to(_ROOT / "adamacs")] or frames
    return f"{own[-1].filename}:{own[-1].lineno}" if own else ""
