"""`make fuzz`: feed every reader what coverage leads to, and see that it reads it or refuses it with a typed error.

Prints its seed, one JSON line per reader and one per module that was reached; exit status 1 where anything is wrong.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

from tests.fuzz import outcome, replay
from tests.fuzz.outcome import AGAIN, FIGURES, OUTCOMES
from tests.fuzz.planted import PLANTED
from tests.fuzz.targets import READERS, TARGETS

ROOT = Path(__file__).parents[2]
_MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # files that last a millisecond need no disk


def main() -> int:
    """Run what the command line asks for."""
    options = _options()
    if options.input:
        return _read_again(options)
    run: dict[str, Any] = {"date": f"{date.today()}", "python": platform.python_version(), "seed": options.seed}
    print(json.dumps(run), flush=True)
    with tempfile.TemporaryDirectory(dir=_MEMORY) as scratch:
        folder = Path(scratch)
        run["readers"] = list(_told(_fuzz(name, options, folder) for name in options.readers))
        run["modules"] = list(_told(replay.reached(sorted(folder.glob("*/coverage")), folder)))
    if options.record:
        with options.record.open("a") as file:
            file.write(json.dumps(run) + "\n")
    return 1 if any(reader["findings"] for reader in run["readers"]) else 0


def _told(lines: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Print each line as it comes."""
    for line in lines:
        print(json.dumps(line), flush=True)
        yield line


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--readers", default=",".join(READERS), help="some of the default, or `all` in one process")
    parser.add_argument("--seconds", type=int, default=40, help="per reader, default 40")
    parser.add_argument("--runs", type=int, default=-1, help="inputs per reader, default as many as the time allows")
    parser.add_argument("--seed", type=int, default=secrets.randbelow(2**31 - 1) + 1)
    parser.add_argument("--timeout", type=int, default=30, help="s that one input may take, default 30")
    parser.add_argument("--memory", type=int, default=1024, help="MB by which the process may grow, default 1024")
    parser.add_argument("--findings", type=Path, default=ROOT / "build" / "fuzz", help="where inputs are written")
    parser.add_argument("--input", type=Path, help="read this one again, with the one reader that is named")
    parser.add_argument("--record", type=Path, help="add the lines to this file, such as docs/reference/fuzz.jsonl")
    options = parser.parse_args()
    options.readers = options.readers.split(",")
    if unknown := set(options.readers) - set(TARGETS) - set(PLANTED):
        parser.error(f"no readers: {', '.join(unknown)}")
    return options


def _read_again(options: argparse.Namespace) -> int:
    """Read one input here, and show what is wrong with it."""
    (name,) = options.readers
    with tempfile.TemporaryDirectory(dir=_MEMORY) as scratch:
        (found,) = replay.outcomes(name, [options.input], Path(scratch), options.memory << 20)
        print(found, *(path.read_text() for path in Path(scratch).glob("findings/*.txt")), sep="\n")
    return 1 if found == "wrong" else 0


def _fuzz(name: str, options: argparse.Namespace, scratch: Path) -> dict[str, Any]:
    """Fuzz one reader in a process of its own, and measure what its corpus reaches; return what happened."""
    folder = scratch / name
    (folder / "corpus").mkdir(parents=True)
    (folder / "figures").write_bytes(bytes(8 * len(FIGURES)))
    for number, data in enumerate({**TARGETS, **PLANTED}[name].seeds()):
        (folder / "corpus" / f"seed{number}").write_bytes(data)
    options.findings.mkdir(parents=True, exist_ok=True)
    before, began = _state(options.findings), time.monotonic()
    status, told = _children(name, options, folder)
    seconds = time.monotonic() - began
    if not status and name in TARGETS:  # after a hang, an input of the corpus may not end
        _python("replay", name, str(folder / "corpus"), str(folder / "coverage"), folder=folder).check_returncode()
    new = {path for path, _ in _state(options.findings) - before}
    found = sorted(path for path in new if path.suffix != ".txt")
    for path in found:
        if path.with_name(f"{path.name}.txt") not in new:  # libFuzzer itself wrote it, and ended
            outcome.tell(path, told[-4000:], name, options.seed)
    figures = _figures(folder)
    return {
        "reader": name,
        "inputs": sum(figures[name] for name in OUTCOMES),
        **figures,
        "corpus": len(list((folder / "corpus").iterdir())),
        "seconds": round(seconds),
        "findings": [str(path) for path in found] or [told[-2000:]] * bool(status),
    }


def _children(name: str, options: argparse.Namespace, folder: Path) -> tuple[int, str]:
    """Run one process after the other until inputs or time are used up; return how the last ended, and what it told."""
    until, seed = time.monotonic() + options.seconds, options.seed
    while True:
        done = sum(_figures(folder)[outcome] for outcome in OUTCOMES)
        left = {"runs": max(options.runs - done, 1) if options.runs > 0 else -1, "seed": seed}
        left["seconds"] = max(round(until - time.monotonic()), 1)
        words = [f"--{word}={value}" for word, value in left.items()]
        words += [f"--{word}={getattr(options, word)}" for word in ("timeout", "memory", "findings")]
        child = _python("child", name, f"--folder={folder}", *words, folder=folder)
        if child.returncode != AGAIN:
            return child.returncode, child.stderr.decode("utf-8", "replace")
        seed += 1


def _state(folder: Path) -> set[tuple[Path, int]]:
    """Return the files of a folder, and when each was written: the same input may be found again."""
    return {(path, path.stat().st_mtime_ns) for path in folder.iterdir()}


def _python(module: str, *words: str, folder: Path) -> subprocess.CompletedProcess[bytes]:
    where = {**os.environ, "TMPDIR": str(folder)}
    command = [sys.executable, "-m", f"tests.fuzz.{module}", *words]
    return subprocess.run(command, cwd=ROOT, env=where, capture_output=True, check=False)


def _figures(folder: Path) -> dict[str, int]:
    return dict(zip(FIGURES, np.fromfile(folder / "figures", np.uint64).tolist(), strict=True))


if __name__ == "__main__":
    sys.exit(main())
