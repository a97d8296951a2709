"""The clocks that tell the times of a scan; one of them is scan time."""

from __future__ import annotations

import datajoint as dj

from adamacs.schemas.scan import Scan

schema = dj.Schema()


@schema
class Clock(dj.Manual):
    definition = """
    # A clock on which times of a scan are told, in seconds since its own zero
    -> Scan
    clock : varchar(32)  # such as aux or bpod
    ---
    zero               : varchar(255)  # what its zero is, in words
    clock_start = null : datetime(6)   # naive UTC, when it was zero, where a file tells it
    is_scan_time       : bool          # true of one clock of a scan: all others are converted to it
    placed_by = ''     : varchar(32)   # the source by whose pulses it is placed on scan time; empty: by none
    """
