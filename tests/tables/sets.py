"""Tables whose rows tests subtract from each other: keys of two columns, and columns that can be empty."""

from __future__ import annotations

import datajoint as dj

schema = dj.Schema()


@schema
class Left(dj.Manual):
    definition = """
    a : int32
    b : varchar(8)
    ---
    value        : int32
    label = null : int32
    """


@schema
class Child(dj.Manual):
    definition = """
    -> Left
    ---
    score = null : int32
    """


@schema
class GrandChild(dj.Manual):
    definition = """
    -> Child
    c : int32
    ---
    -> [nullable] Left.proj(other_a='a', other_b='b')
    """


@schema
class Product(dj.Computed):
    definition = """
    -> Left
    ---
    product : int32
    """

    def make(self, key):
        self.insert1({**key, "product": 1})
