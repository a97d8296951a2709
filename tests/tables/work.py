"""Tables that workers fill in tests: cheap keys in batches, costly ones singly with an array each, and a child."""

from __future__ import annotations

import subprocess
import sys
import time

import datajoint as dj
import numpy as np

from adamacs.core import points, progress
from adamacs.storage import arrays

schema = dj.Schema()

_BALLAST = "import sys, time; kept = bytearray(b'x') * int(sys.argv[1]); time.sleep(float(sys.argv[2]))"


@schema
class Item(dj.Manual):
    definition = """
    item : int32
    ---
    value = 0       : float64
    seconds = 0     : float64  # that a costly key takes
    megabytes = 0   : float64  # that it takes meanwhile
    below = 0       : int8     # 1: in a process of its own, which it starts
    """


@schema
class Cheap(dj.Computed):
    definition = """
    -> Item
    ---
    double : float64
    """
    batch = 50

    def make_fetch(self, key):
        return ((Item & key).fetch1("value"),)

    def make_compute(self, key, value):
        return (2 * value,)

    def make_insert(self, key, double):
        self.insert1({**key, "double": double})


@schema
class Costly(dj.Computed):
    definition = """
    -> Item
    ---
    trace : <array@derived>
    """
    stale_after = 6.0  # s

    def make_fetch(self, key):
        return (Item & key).fetch1("value", "seconds", "megabytes", "below")

    def make_compute(self, key, value, seconds, megabytes, below):
        progress.report("waiting", 0, 1)
        if below:
            subprocess.run([sys.executable, "-c", _BALLAST, str(int(megabytes * 1e6)), str(seconds)], check=True)
            seconds = megabytes = 0
        ballast = np.ones(int(megabytes * 1e6), np.uint8)
        time.sleep(seconds / 2)
        points.reach("mid compute")
        time.sleep(seconds / 2)
        del ballast
        path = arrays.path_of("Costly", key, "trace")
        return (arrays.write("derived", path, np.full((4, 1000), value)),)

    def make_insert(self, key, trace):
        self.insert1({**key, "trace": trace})


@schema
class Total(dj.Computed):
    definition = """
    -> Costly
    ---
    total : float64
    """
    batch = 50

    def make_fetch(self, key):
        return ((Costly & key).fetch1("trace"),)

    def make_compute(self, key, trace):
        return (float(np.asarray(trace).sum()),)

    def make_insert(self, key, total):
        self.insert1({**key, "total": total})
