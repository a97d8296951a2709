"""Write the counts of every recorded run into `docs/reference/chaos.md`: `python -m tests.chaos.report`."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

REFERENCE = Path(__file__).parents[2] / "docs" / "reference"
RECORDS = REFERENCE / "chaos.jsonl"
PAGE = REFERENCE / "chaos.md"
MARK = "<!-- Below: written by `python -m tests.chaos.report` from chaos.jsonl. -->"
UNNAMED = {"postgresql": "PostgreSQL", "mysql": "MariaDB"}  # what ran before the records named their server
SERVERS = ("PostgreSQL", "MariaDB", "MySQL")


def main() -> None:
    """Rewrite the page below its mark."""
    PAGE.write_text(page(PAGE.read_text(), RECORDS.read_text()))


def page(text: str, records: str) -> str:
    """Return the page with the tables of these records."""
    lines = [json.loads(line) for line in records.splitlines()]
    known = [line for line in lines if "version" in line]
    tables = [("Runs whose revision is on record", sums(known)), ("All runs", sums(lines)), ("Each run", runs(lines))]
    parts = [part for title, table in tables if len(table) > 2 for part in (f"### {title}", "", *table, "")]
    return "\n".join([text.partition(MARK)[0] + MARK, "", *parts])


def sums(lines: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return a table of how often each thing happened, over all runs."""
    counts: Counter[tuple[str, str, str]] = Counter()
    for line in lines:
        for what, count in line["delivered"].items():
            counts[line["fault"], what, _server(line).split()[0]] += count
    kinds = sorted({(fault, what) for fault, what, _ in counts})
    servers = sorted({server for _, _, server in counts}, key=SERVERS.index)
    table = [f"| fault | what | {' | '.join(servers)} | together |", f"|{'---|' * (len(servers) + 3)}"]
    for fault, what in kinds:
        each = [counts[fault, what, server] for server in servers]
        table.append(f"| {fault} | {what} | {' | '.join(map(str, each))} | {sum(each)} |")
    for fault in sorted({fault for fault, _ in kinds}):
        each = [sum(n for (f, _, s), n in counts.items() if (f, s) == (fault, server)) for server in servers]
        table.append(f"| **{fault}** | all | {' | '.join(map(str, each))} | **{sum(each)}** |")
    return table


def runs(lines: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return a table with a row per scenario of every run."""
    head = ["date", "server", "adamacs", "fault", "seed", "faults", "keys"]
    head += ["longest claim of the dead, s", "longest return, s", "wrong"]
    table = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    for line in lines:
        cells = [line["date"], _server(line), line.get("version", "")]
        cells += [line["fault"], line["seed"], sum(line["delivered"].values())]
        cells += [line["keys"], line["longest_claim_without_worker_s"], line["longest_until_back_s"] or ""]
        table.append(f"| {' | '.join(map(str, [*cells, len(line['violations'])]))} |")
    return table


def _server(line: Mapping[str, Any]) -> str:
    """Return the kind of server, and its version where the record names it."""
    return str(line.get("server") or UNNAMED[line["backend"]])


if __name__ == "__main__":
    main()
