"""Read inputs without a fuzzer, and measure which lines and branches of the readers they reach."""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import coverage

from tests.fuzz.outcome import Judge

_ROOT = Path(__file__).parents[2]
MEASURED = ("adamacs/modalities/*/reader/*.py", "adamacs/core/formats/*.py")


def main() -> None:
    """Read a corpus: `NAME CORPUS RESULT`."""
    name, corpus, result = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    include = [str(_ROOT / where) for where in MEASURED]
    cover = coverage.Coverage(str(result), branch=True, include=include, config_file=False)
    cover.start()  # before the readers are imported, so that their definitions count
    for _ in outcomes(name, sorted(corpus.iterdir()), result.parent):
        pass
    cover.stop()
    cover.save()


def outcomes(name: str, inputs: Iterable[Path], scratch: Path, memory: int = 1 << 30) -> Iterator[str]:
    """Yield what becomes of each input; what is wrong with one is written into a folder `findings` in another."""
    from tests.fuzz.planted import PLANTED
    from tests.fuzz.targets import TARGETS

    folder = scratch / "read"
    folder.mkdir()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        judge = Judge({**TARGETS, **PLANTED}[name].read, name, 0, scratch / "findings", memory=memory)
        for path in inputs:
            yield judge(folder, path.read_bytes())


def reached(results: Iterable[Path], scratch: Path) -> list[dict[str, Any]]:
    """Return how many lines and branches of each module were reached by several runs; of modules that were entered."""
    if not (results := list(results)):
        return []
    cover = coverage.Coverage(str(scratch / "coverage"), branch=True, config_file=False)
    cover.combine([str(path) for path in results], keep=True)
    report = scratch / "coverage.json"
    cover.json_report(outfile=str(report))
    files = json.loads(report.read_text())["files"]
    summaries = {Path(file).resolve(): each["summary"] for file, each in files.items()}
    return [
        {
            "module": path.relative_to(_ROOT).as_posix(),
            "lines": [summary["covered_lines"], summary["num_statements"]],
            "branches": [summary["covered_branches"], summary["num_branches"]],
        }
        for path, summary in sorted(summaries.items())
        if summary["covered_branches"]
    ]


if __name__ == "__main__":
    main()
