"""A colony of animals: one table of every tier, nullable and not."""

from __future__ import annotations

import datajoint as dj

schema = dj.Schema()


@schema
class Species(dj.Lookup):
    definition = """
    # What an animal is
    species : varchar(32)
    """
    contents = [{"species": "mouse"}, {"species": "rat"}]


@schema
class Animal(dj.Manual):
    definition = """
    # An animal
    animal : int32
    ---
    -> Species
    cage = null : int32       # where it lives, if anywhere
    notes = '' : varchar(64)
    """


@schema
class Weighing(dj.Manual):
    definition = """
    # An animal on the scales
    -> Animal
    day : int32
    ---
    grams : float64
    cage = null : int32
    scan_bytes = null : bytes
    """


@schema
class Growth(dj.Computed):
    definition = """
    # What became of a weight
    -> Weighing
    ---
    relative : float64  # to 20 g
    """

    class Step(dj.Part):
        definition = """
        -> master
        step : int32
        """

    def make(self, key):
        grams = (Weighing & key).fetch1("grams")
        self.insert1({**key, "relative": grams / 20})
        self.Step.insert1({**key, "step": 1})
