"""Suite2p as an imported library: how it is loaded, on which device and threads it computes, what it says meanwhile."""

from __future__ import annotations

import atexit
import importlib.util
import io
import logging
import os
import re
import shutil
import sys
import tempfile
import warnings
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, redirect_stdout
from importlib import metadata
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any

from adamacs.core import progress
from adamacs.core.errors import AdamacsError, ProcessingFailed, ToolMissing
from adamacs.modalities.imaging.parameters import SUITE2P_VERSION

PACKAGES = (
    "suite2p",
    "torch",
    "torchvision",
    "cellpose",
    "numpy",
    "scipy",
    "numba",
    "scikit-learn",
    "tifffile",
    "pynwb",
)
_TAIL = 15  # lines of the log that an error shows
_INSTALL = 'Install it with pip install "adamacs[imaging]" on a worker.'


def load_suite2p(version: str, device: str, threads: int) -> ModuleType:
    """Import Suite2p, of the right version and with the device that is demanded.

    Suite2p itself falls back to the CPU, with no more than a line in its log, where a GPU is asked for and absent.

    Raises
    ------
    ToolMissing
        Suite2p is absent, of another version or cannot be imported, or the device is absent.
    """
    installed = package_versions().get("suite2p")
    if installed is None:
        raise ToolMissing("Suite2p is not installed here.", hint=_INSTALL)
    if installed != version:
        hint = "The version is part of a parameter set: choose a set of this version, or install the other."
        raise ToolMissing(f"The parameter set is for Suite2p {version}, and {installed} is installed.", hint=hint)
    with _import_surroundings(threads):
        try:
            import torch

            _demand_device(torch, device)
            _supply_torchvision_schemas(torch)
            import suite2p
        except ImportError as error:
            raise ToolMissing(f"Suite2p cannot be imported ({error}).", hint=_INSTALL) from error
    return suite2p


def import_suite2p() -> ModuleType:
    """Import the Suite2p of this adamacs as a run does, to see whether a run could.

    Raises
    ------
    ToolMissing
        It could not.
    """
    return load_suite2p(SUITE2P_VERSION, "cpu", 1)


def package_versions() -> dict[str, str]:
    """Return the versions of the tool and of what it computes with, where they are installed."""
    found: dict[str, str] = {}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _demand_device(torch: ModuleType, device: str) -> None:
    kind, _, number = device.partition(":")
    hint = "Give this scan to a worker that has the device, or choose device cpu."
    if kind not in ("cpu", "cuda", "mps") or (number and not number.isdigit()):
        raise ToolMissing(f"There is no device {device!r}.", hint="Known: cpu, cuda, cuda:1, mps.")
    if kind == "cuda" and not torch.cuda.is_available():
        raise ToolMissing(f"Device {device} is demanded, and torch {torch.__version__} finds no GPU.", hint=hint)
    if kind == "mps" and not torch.backends.mps.is_available():
        raise ToolMissing(f"Device {device} is demanded, and this is no Apple GPU.", hint=hint)
    try:
        torch.zeros(1, device=device)
    except RuntimeError as error:
        raise ToolMissing(f"Device {device} does not work ({error}).", hint=hint) from error


_schemas: list[Any] = []  # torch forgets a schema when the library object that defined it is gone


def _supply_torchvision_schemas(torch: ModuleType) -> None:
    """Let torchvision be imported beside a torch without CUDA.

    The compiled part of the common torchvision wheel wants CUDA libraries. Where they are absent, its Python part stops
    at operators that only the compiled part declares. Suite2p needs none of these operators: declaring them is enough.
    """
    spec = importlib.util.find_spec("torchvision")
    if spec is None or "torchvision" in sys.modules or _schemas or hasattr(torch.ops.torchvision, "nms"):
        return
    compiled = [path for place in spec.submodule_search_locations or () for path in Path(place).glob("_C*.so")]
    try:
        for path in compiled:
            torch.ops.load_library(path)
    except OSError:
        compiled = []
    if not compiled:
        library = torch.library.Library("torchvision", "DEF")
        for name in ("nms", "qnms"):
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        _schemas.append(library)


@contextmanager
def _import_surroundings(threads: int) -> Iterator[None]:
    """Give the first import what it wants from its surroundings, and put them back.

    Suite2p makes a folder in HOME, and Numba may keep compiled code there; torch makes one in the temporary folder.
    Several libraries read how many threads they may start, and some print.
    """
    wanted: dict[str, str] = {}
    if "torch" not in sys.modules:
        wanted["OMP_NUM_THREADS"] = str(threads)
    if "suite2p" not in sys.modules:
        place = tempfile.mkdtemp(prefix="adamacs-import-")
        atexit.register(shutil.rmtree, place, ignore_errors=True)
        os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", place)  # for good: torch looks again while it computes
        if not _home_is_usable():
            wanted["HOME"] = place
    quiet = _heard("suite2p", logging.NullHandler())
    with _environment(wanted), warnings.catch_warnings(), redirect_stdout(io.StringIO()), quiet:
        warnings.simplefilter("ignore")
        yield


def _home_is_usable() -> bool:
    try:
        return os.access(Path.home(), os.W_OK)
    except RuntimeError:  # neither HOME nor the account says where it is
        return False


@contextmanager
def _environment(wanted: Mapping[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextmanager
def limited_threads(threads: int) -> Iterator[None]:
    """Let torch, Numba and the linear algebra libraries use this many threads inside the block."""
    import numba
    import torch
    from threadpoolctl import threadpool_limits

    before = torch.get_num_threads(), numba.get_num_threads()
    with threadpool_limits(limits=threads):
        torch.set_num_threads(threads)
        numba.set_num_threads(min(threads, _numba_limit(numba)))
        try:
            yield
        finally:
            torch.set_num_threads(before[0])
            numba.set_num_threads(before[1])


def _numba_limit(numba: Any) -> int:
    """Return how many threads Numba was launched with; it refuses more."""
    return int(numba.config.NUMBA_NUM_THREADS)


class RunLog(logging.Handler):
    """Keeps what Suite2p says in a file of its own, and tells the progress it speaks of."""

    _STAGES = {
        "REGISTRATION": "registration",
        "ROI DETECTION": "detection",
        "EXTRACTION": "extraction",
        "SPIKE DECONVOLUTION": "deconvolution",
        "ROI CLASSIFICATION": "classification",
    }
    _STAGE = re.compile(r"-{5,} ([A-Z][A-Z ]+)$")
    _PLANE = re.compile(r">{5,} PLANE (\d+)")
    _READ = re.compile(r"(\d+) frames of binary|Found \d+ files")
    _FRAMES = re.compile(r"(?:Registering|Shifting|Extracting fluorescence from) (\d+) frames in \d+ batches")
    _BATCHES = re.compile(r"(\d+)/(\d+) \[")
    _KEPT = re.compile(r"(\d+) ROIs remain")
    _REMOVED = re.compile(r"Removing (\d+) ROIs with snr")

    def __init__(self, path: Path, pages: int, fields: int) -> None:
        super().__init__(logging.DEBUG)
        self.setFormatter(logging.Formatter("%(asctime)s [%(levelname)s] %(message)s"))
        self.stage = "reading"
        self.all_removed = False  # whether every ROI that was found was then found too noisy
        self.tail: deque[str] = deque(maxlen=_TAIL)
        self._pages, self._fields = pages, fields
        self._prefix, self._frames, self._kept = "", 0, 0
        self._come: tuple[int, int | None, str] = (0, None, "")  # done, total and unit of the stage
        self._file = path.open("w", encoding="utf-8")

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = self.format(record)
        except TypeError:  # Suite2p has messages whose arguments do not fit their text
            line = f"{self.formatter.formatTime(record) if self.formatter else ''} {record.msg} {record.args}"
        self.tail.append(line)
        self._file.write(line + "\n")
        self._file.flush()
        self._tell(line)

    def close(self) -> None:
        self._file.close()
        super().close()

    def _tell(self, line: str) -> None:
        if match := self._PLANE.search(line):
            self.all_removed = False
            self._prefix = f"plane {int(match[1]) + 1} of {self._fields}, " if self._fields > 1 else ""
        elif match := self._STAGE.search(line):
            self.stage, self._frames = self._prefix + self._STAGES.get(match[1], match[1].lower()), 0
            self._come = (0, None, "")
        elif match := self._READ.search(line):
            self._come = (int(match[1] or 0), self._pages, "frames")
        elif match := self._FRAMES.search(line):
            self._frames = int(match[1])
            self._come = (0, self._frames, "frames")
        elif (match := self._BATCHES.search(line)) and self._frames:
            self._come = (round(self._frames * int(match[1]) / int(match[2])), self._frames, "frames")
        elif match := self._KEPT.search(line):
            self._kept = int(match[1])
        elif match := self._REMOVED.search(line):
            self.all_removed = int(match[1]) == self._kept
        progress.report(self.stage, *self._come)  # at every line: whoever speaks has not stalled


class ToolRun:
    """The boundary around a foreign tool: what it says goes to its own log, what it raises becomes one typed error.

    A tool may raise anything. This is the one place where every exception of it is caught, and none is swallowed.
    """

    def __init__(self, path: Path, destination: Path, pages: int, fields: int) -> None:
        self._log = RunLog(path, pages, fields)
        self._destination = destination
        self._held = ExitStack()

    def __enter__(self) -> RunLog:
        self._held.callback(self._log.close)
        self._held.enter_context(_heard("suite2p", self._log))
        self._held.enter_context(_logged_warnings(self._log))
        return self._log

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._held.close()
        if isinstance(error, Exception) and not isinstance(error, AdamacsError):
            told = "\n".join(["", *self._log.tail, ""])
            what = f"Suite2p failed in {self._log.stage} with {type(error).__name__}: {error} The end of its log:{told}"
            raise ProcessingFailed(what, self._destination, _advice(error)) from error


def _advice(error: Exception) -> str:
    if isinstance(error, MemoryError) or "out of memory" in str(error).lower():
        return "It needs more memory: lower registration.batch_size, or give it to a larger worker."
    if isinstance(error, OSError):
        return "Look at the disk: is there space left, and are the scan's files still there?"
    return "Look at the scan and at its parameters; the same request fails the same way again."


@contextmanager
def _heard(name: str, handler: logging.Handler) -> Iterator[None]:
    """Send what a library logs to one handler and nowhere else inside the block."""
    library = logging.getLogger(name)
    before = library.level, library.propagate
    library.addHandler(handler)
    library.setLevel(logging.DEBUG)
    library.propagate = False
    try:
        yield
    finally:
        library.removeHandler(handler)
        library.level, library.propagate = before


@contextmanager
def _logged_warnings(handler: logging.Handler) -> Iterator[None]:
    """Write warnings into a log inside the block, instead of showing or raising them."""

    def write(
        message: Warning | str, category: type[Warning], filename: str, lineno: int, file: Any = None, line: Any = None
    ) -> None:
        text = f"{category.__name__}: {message} ({Path(filename).name}:{lineno})"
        handler.handle(logging.LogRecord("warnings", logging.WARNING, filename, lineno, text, None, None))

    with warnings.catch_warnings():
        warnings.simplefilter("default")
        warnings.showwarning = write
        yield
