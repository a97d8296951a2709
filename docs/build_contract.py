"""Write docs/reference/contract.md from tests/unit/contract.toml.

`python docs/build_contract.py` rewrites the page; the contract test fails while it is stale. The page is committed.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
CONTRACT = HERE.parent / "tests" / "unit" / "contract.toml"
PAGE = HERE / "reference" / "contract.md"

INTRODUCTION = """\
# Differences from the DataJoint Elements

<!-- Written by docs/build_contract.py from tests/unit/contract.toml: change that file, then run the script. -->

Our tables carry the names, keys and columns of the DataJoint Elements and of the lab's own database, so that queries
and habits carry over. The Elements themselves cannot be imported on DataJoint 2.x. A test therefore reads the
definitions in the released wheels (element-lab, element-animal, element-session and element-calcium-imaging in the
variant with curations; the versions are the extra `oracle` in `setup.cfg`) and compares tables, modules, tiers, keys
and columns with ours. This page lists every difference; the test fails for one that is not listed, and for an
entry that is no difference any more. Types and defaults differ by rule and are not compared: ours are the portable
ones.

Lines read like a diff: `+` is ours alone, `-` theirs alone. `key` marks a column of the primary key, `-> Parent` a
foreign key.
"""


def render(contract: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """Return the page as Markdown.

    Parameters
    ----------
    contract
        The content of contract.toml: per module the entries with `tables`, `lines` and `reason`.
    """
    return INTRODUCTION + "".join(line for section in contract.items() for line in _section(*section))


def _section(module: str, entries: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    yield f"\n## {module}\n\n| tables | difference | reason |\n|---|---|---|\n"
    for entry in entries:
        cells = (_codes(entry["tables"]), _codes(entry["lines"]), entry["reason"].replace("|", "\\|"))
        yield f"| {' | '.join(cells)} |\n"


def _codes(words: Sequence[str]) -> str:
    return "<br>".join(f"`{word}`" for word in words)


if __name__ == "__main__":
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(render(tomllib.loads(CONTRACT.read_text(encoding="utf-8"))), encoding="utf-8")
