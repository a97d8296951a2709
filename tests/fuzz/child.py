"""One reader in a process of its own: libFuzzer, through Atheris, makes inputs by the lines and branches they reach.

Only this module needs Atheris. It never returns: libFuzzer ends the process, and its exit status says how.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import warnings
from pathlib import Path

import atheris
import numpy as np

import tests.fuzz.seeds  # noqa: F401 - before the readers, so that the writers do not count as reached
from tests.fuzz.outcome import AGAIN, FIGURES, Judge, resident

with atheris.instrument_imports(include=["adamacs"]):
    from tests.fuzz.planted import PLANTED
    from tests.fuzz.targets import TARGETS, Target


def main() -> None:
    """Fuzz what the command line names."""
    options = _options()
    target = TARGETS[options.name] if options.name in TARGETS else _instrumented(PLANTED[options.name])
    scratch = Path(tempfile.mkdtemp(dir=options.folder))
    memory = options.memory << 20
    judge = Judge(target.read, options.name, options.seed, options.findings, memory=memory)
    # In a file, since the process has no orderly end.
    judge.figures = np.memmap(options.folder / "figures", np.uint64, "r+", shape=len(FIGURES))
    most = resident() + memory

    def test_one(data: bytes) -> None:
        judge(scratch, data)
        # Atheris (3.0 and 3.1) keeps the result of every comparison of arrays: another process goes on from here.
        if resident() > most:
            os._exit(AGAIN)

    warnings.simplefilter("error")
    atheris.Setup([sys.argv[0], *_words(options, target, most + 2 * memory)], test_one)
    atheris.Fuzz()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name")
    parser.add_argument("--folder", type=Path, help="for all that is forgotten at the end; holds the corpus")
    parser.add_argument("--findings", type=Path)
    for name in ("seed", "seconds", "runs", "timeout", "memory"):
        parser.add_argument(f"--{name}", type=int)
    return parser.parse_args()


def _words(options: argparse.Namespace, target: Target, most: int) -> list[str]:
    """Return libFuzzer's own command line."""
    words = [f"-seed={options.seed}", f"-runs={options.runs}", f"-max_total_time={options.seconds}"]
    words += [f"-timeout={options.timeout}", f"-report_slow_units={options.timeout}", f"-rss_limit_mb={most >> 20}"]
    words += [f"-artifact_prefix={options.findings}/{options.name}-", "-verbosity=1"]
    if target.words:
        spelt = ("".join(f"\\x{byte:02x}" for byte in word.encode()) for word in target.words)
        (options.folder / "words").write_text("".join(f'"{word}"\n' for word in spelt))
        words.append(f"-dict={options.folder / 'words'}")
    return [*words, str(options.folder / "corpus")]


def _instrumented(target: Target) -> Target:
    return Target(atheris.instrument_func(target.read), target.seeds)


if __name__ == "__main__":
    main()
