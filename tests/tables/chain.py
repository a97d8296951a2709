"""A table whose values pass through a chain of codecs that ends in JSON."""

from __future__ import annotations

import datajoint as dj

schema = dj.Schema()


@schema
class Stored(dj.Manual):
    definition = """
    # Something in a store
    item : int32
    ---
    content : <blob@derived>
    """
