"""Clocks: instants of a calendar, mappings between the clocks of a rig, pulses that pair them, counters that wrap.

Instants are here; what computes with arrays is imported by its own name: `adamacs.core.clocks.mapping`, `pairing` and
`counters`.
"""

from adamacs.core.clocks.instants import from_file_time, from_local, now

__all__ = ["from_file_time", "from_local", "now"]
