"""Write the figures of the recorded runs into `docs/reference/fuzz.md`: `python -m tests.fuzz.report`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

REFERENCE = Path(__file__).parents[2] / "docs" / "reference"
RECORDS = REFERENCE / "fuzz.jsonl"
PAGE = REFERENCE / "fuzz.md"
MARK = "<!-- Below: written by `python -m tests.fuzz.report` from fuzz.jsonl. -->"


def main() -> None:
    """Rewrite the page below its mark."""
    PAGE.write_text(page(PAGE.read_text(), RECORDS.read_text()))


def page(text: str, records: str) -> str:
    """Return the page with the tables of the last recorded run, and a list of all."""
    lines = [json.loads(line) for line in records.splitlines()]
    last = lines[-1]
    told = f"The last one: {last['date']}, seed {last['seed']}, Python {last['python']}."
    parts = [told, "", *readers(last["readers"]), "", *modules(last["modules"]), "", "## Every run", "", *runs(lines)]
    return "\n".join([text.partition(MARK)[0] + MARK, "", *parts, ""])


def readers(lines: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """Yield a table of what each reader was fed."""
    yield "| reader | inputs | read | refused | not to be written | slowest, s | most memory, MB | wrong |"
    yield "|---|---|---|---|---|---|---|---|"
    for line in lines:
        cells = [line[name] for name in ("reader", "inputs", "read", "refused", "unsuited")]
        most = f"{line['slowest_us'] / 1e6:.2f} | {line['grown_kb'] / 1024:.0f}"
        yield f"| {' | '.join(map(str, cells))} | {most} | {len(line['findings'])} |"


def modules(lines: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """Yield a table of which lines and branches of each module were reached."""
    yield "| module | lines reached | branches reached |"
    yield "|---|---|---|"
    for line in lines:
        cells = (f"{reached} of {of} ({100 * reached / of:.0f} %)" for reached, of in (line["lines"], line["branches"]))
        yield f"| `{line['module']}` | {' | '.join(cells)} |"


def runs(lines: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """Yield a table with a row per run."""
    yield "| date | Python | seed | readers | inputs | s | wrong |"
    yield "|---|---|---|---|---|---|---|"
    for line in lines:
        each = line["readers"]
        sums = [sum(reader[name] for reader in each) for name in ("inputs", "seconds")]
        wrong = sum(len(reader["findings"]) for reader in each)
        cells = (line["date"], line["python"], line["seed"], len(each), *sums, wrong)
        yield f"| {' | '.join(map(str, cells))} |"


if __name__ == "__main__":
    main()
