"""The instruments of the lab."""

from __future__ import annotations

import datajoint as dj

schema = dj.Schema()


@schema
class Equipment(dj.Manual):
    definition = """
    # An instrument that records scans
    scanner : varchar(32)
    ---
    description = '' : varchar(255)
    """


@schema
class Device(dj.Manual):
    definition = """
    # A camera or another device beside the scanner
    camera : varchar(32)
    ---
    description = '' : varchar(255)
    """
