"""The column type `<array@store>`: a row holds a reference, the array itself rests in a store.

DataJoint finds this module by the entry point `datajoint.codecs`, so that a plain DataJoint client reads the columns
wherever adamacs is installed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import datajoint as dj

from adamacs.core.errors import CorruptArray, UnstorableArray
from adamacs.storage import arrays
from adamacs.storage.arrays import ArrayReference


class ArrayCodec(dj.Codec):
    """Record a reference to an array that was written before, as JSON.

    Encoding runs inside the transaction of the insert. Nothing is compressed, written or synced there: whoever
    computes an array writes it with `adamacs.storage.arrays.write` first and inserts the reference.
    """

    name = "array"

    def get_dtype(self, is_store: bool) -> str:
        """Return the type of the column; an array inside the row itself is refused."""
        if not is_store:
            raise dj.DataJointError("<array> rests in a store: declare the column as <array@derived>.")
        return "json"

    def validate(self, value: Any) -> None:
        """Refuse everything but a reference.

        Raises
        ------
        UnstorableArray
            Also a TypeError, which is what DataJoint expects here.
        """
        if not isinstance(value, ArrayReference):
            raise UnstorableArray(
                f"A row takes a reference to an array, not a value of type {type(value).__name__}.",
                hint="Write it first and insert what this returns: "
                "adamacs.storage.arrays.write(store, arrays.path_of(table, key, attribute), array).",
            )

    def encode(
        self, value: Any, *, key: dict | None = None, context: dict | None = None, store_name: str | None = None
    ) -> dict[str, Any]:
        """Return the JSON of a reference.

        Raises
        ------
        UnstorableArray
            The value is no reference, or one into another store than the column names.
        """
        self.validate(value)
        if store_name and value.store != store_name:
            raise UnstorableArray(
                f"This array rests in store {value.store!r}, and the column takes {store_name!r}.",
                value.path,
                f"Write it with arrays.write({store_name!r}, ...).",
            )
        return value.to_json()

    def decode(self, stored: Any, *, key: dict | None = None, context: dict | None = None) -> ArrayReference:
        """Return the reference, reading nothing of the array."""
        return ArrayReference.from_json(stored)

    def referenced_paths(self, stored: Any) -> list[tuple[str, str | None]]:
        """Return the files that a row needs: the array and its sums."""
        if not isinstance(stored, str | Mapping):
            return []
        try:
            reference = ArrayReference.from_json(stored)
        except CorruptArray:
            return []  # whatever this is, it names no file of ours
        return [(reference.path, reference.store), (arrays.sums_path(reference.path), reference.store)]
