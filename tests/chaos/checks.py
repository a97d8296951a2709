"""What must hold after every round, whatever was done to the workers."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from blake3 import blake3

from adamacs.core.errors import AdamacsError
from adamacs.schemas.operations import Attempt
from adamacs.storage import arrays, frames, stores
from adamacs.storage.arrays import ArrayReference
from tests.chaos.lab import COMPUTED, ChaosLab

SHAPE = (4, 1000)


@dataclass
class Checker:
    """Looks for what is missing, doubled, half or wrong; each round looks at what is new.

    Attributes
    ----------
    verified
        Arrays that no row names, and that are whole nevertheless: of attempts that did not land.
    """

    lab: ChaosLab
    verified: set[str] = field(default_factory=set)
    _checked: int = 0  # items
    _read: dict[Path, int] = field(default_factory=dict)

    def violations(self, logs: list[Path]) -> list[str]:
        """Return a sentence for everything that is not as it must be."""
        found = [*self._rows(), *self._attempts(), *self._strays()]
        for path in logs:
            found += self._complaints(path)
        self._checked = self.lab.items
        return found

    def _rows(self) -> Iterator[str]:
        new = f"item >= {self._checked}"
        tables = self.lab.tables
        for name in COMPUTED:
            if (count := len(getattr(tables, name)())) != self.lab.items:
                yield f"{name} has {count} rows for {self.lab.items} keys"
        for row in (tables.Cheap & new).to_dicts():
            if row["double"] != 2 * row["item"]:
                yield f"Cheap {row['item']} is {row['double']}"
        for row in (tables.Total & new).to_dicts():
            if row["total"] != 4000 * row["item"]:
                yield f"Total {row['item']} is {row['total']}"
        for row in (tables.Costly & new).to_dicts():
            yield from self._array(row["item"], row["trace"])

    def _array(self, item: int, trace: ArrayReference) -> Iterator[str]:
        try:
            if not np.array_equal(np.asarray(trace), np.full(SHAPE, float(item))):
                yield f"Costly {item} holds other values"
        except AdamacsError as error:
            yield f"Costly {item} cannot be read: {error}"

    def _attempts(self) -> Iterator[str]:
        """Every row was inserted once, and by one attempt."""
        connection = self.lab.tables.schema.connection
        text = (
            f"SELECT table_name, key_hash, COUNT(*) FROM {Attempt().full_table_name} WHERE outcome = 'done' "
            "GROUP BY table_name, key_hash"
        )
        counts = list(connection.query(text))
        for table, key_hash, count in counts:
            if count != 1:
                yield f"{table} {key_hash} was done {count} times"
        if len(counts) != len(COMPUTED) * self.lab.items:
            yield f"{len(counts)} keys have an attempt that is done, of {len(COMPUTED) * self.lab.items}"

    def _strays(self) -> Iterator[str]:
        """Whatever can be seen in the store and stands in no row is whole."""
        store = stores.named("derived", self.lab.settings)
        named = {row["trace"].path for row in self.lab.tables.Costly.to_dicts()}
        for found in store.listing():
            if found.path.endswith(arrays.SUFFIX) and found.path not in named | self.verified:
                try:
                    with store.reading(arrays.sums_path(found.path)) as sums:
                        table = sums.read(0, None)
                    layout = frames.Layout.from_bytes(table)
                    digest = blake3(table).hexdigest()
                    arrays.verify(ArrayReference("derived", found.path, layout.shape, layout.dtype, digest))
                except (AdamacsError, OSError, ValueError) as error:
                    yield f"{found.path} can be seen and is not whole: {error}"
                else:
                    self.verified.add(found.path)

    def _complaints(self, path: Path) -> Iterator[str]:
        """Workers end by signals of ours, not by errors of theirs."""
        start = self._read.get(path, 0)
        with path.open("rb") as file:
            file.seek(start)
            text = file.read().decode(errors="replace")
        self._read[path] = start + len(text.encode())
        for line in text.splitlines():
            if re.search(r"died with status|by signal SIG(?!KILL)|Traceback|Fatal Python|Exception in thread", line):
                yield f"{path.name}: {line[:300]}"

    def attempts(self) -> dict[str, int]:
        """Count the attempts so far by their outcome, failed ones by class."""
        text = f"SELECT outcome, failure, COUNT(*) FROM {Attempt().full_table_name} GROUP BY outcome, failure"
        rows = self.lab.tables.schema.connection.query(text)
        return {f"{outcome} {failure}" if outcome == "failed" else outcome: count for outcome, failure, count in rows}

    def error_rows(self) -> list[str]:
        """Return the messages of job rows in error."""
        from adamacs.database import portable

        queues = (portable.job_table(getattr(self.lab.tables, name)) for name in COMPUTED)
        return [json.dumps(row["error_message"]) for q in queues for row in (q & {"status": "error"}).to_dicts()]
