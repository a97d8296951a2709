"""What arrived on the share and what became of it: units of files that are waited for, and every run of an ingest.

Nothing here refers to a scan by foreign key, so that it outlives every scan. Times are naive UTC on the clock of the
host that wrote them.
"""

from __future__ import annotations

import datajoint as dj

schema = dj.Schema()


@schema
class Arrival(dj.Manual):
    definition = """
    # A unit of files on the share, from its first sight on: what is waited for, held back or done
    arrival_id : varchar(32)  # hex digest of root, path and unit
    ---
    root        : varchar(32)     # name of a root, such as share
    path        : varchar(1023)   # POSIX, relative to the root: the folder that is the unit or holds it
    unit        : varchar(255)    # empty for the folder itself; the file, or the stamp of a group of parts
    state       : varchar(16)     # incubating, waiting, late, quarantined, planned, ingested, changed, ignored, gone
    fingerprint : varchar(64)     # digest of names, sizes and times, as they were last seen
    scan_id = '' : varchar(64)    # whole token, where the name holds one
    reason = '' : varchar(2047)   # why it is in this state
    first_seen  : datetime(6)     # naive UTC
    changed_at  : datetime(6)     # naive UTC, when the fingerprint was last another one
    settled_at = null : datetime(6)  # naive UTC, when it became ripe, was held back or was ingested
    index (state)
    """


@schema
class Watcher(dj.Manual):
    definition = """
    # A watching service: one row per host and share, renewed while it runs
    host : varchar(190)    # name of the computer
    watched : varchar(32)  # name of the root that it looks at
    ---
    pid        : int32          # number of the process
    started_at : datetime(6)    # naive UTC
    beat_time  : datetime(6)    # naive UTC
    seen       : int32          # units known
    arrival_lag = null : float64  # s, from the last change of a unit to its rows: the greatest of the last hundred
    """


@schema
class IngestRun(dj.Manual):
    definition = """
    # One run of an ingest: who asked for what, and how it ended
    run_id : varchar(16)  # run and 12 of 0-9 and a-z, in the order of time
    ---
    verb            : varchar(16)    # apply, watch, results or remove
    account         : varchar(255)   # account@host
    pid             : int32          # number of the process on that host
    adamacs_version : varchar(64)    # release, and the git revision where there is one
    selections      : json           # what was asked for: paths, parameter set, answers
    started_at      : datetime(6)    # naive UTC
    ended_at = null : datetime(6)    # naive UTC; a run without has not ended, or was killed
    outcome = ''    : varchar(16)    # whole, or partial where a step failed
    summary = ''    : varchar(2047)  # its last line
    log_file = ''   : varchar(1023)  # on the host
    """


@schema
class IngestStep(dj.Manual):
    definition = """
    # One step of a run; rows are added and never changed
    -> IngestRun
    step : int32  # 1..n
    ---
    name             : varchar(32)    # find, plan, apply or remove
    outcome          : varchar(16)    # ok, skipped or failed
    what             : varchar(16)    # new, update, unchanged, refused, failed, waiting, unanswered, removed
    path = ''        : varchar(1023)  # POSIX, relative to the share
    session_id = ''  : varchar(64)    # whole token; empty where no name told one
    scan_id = ''     : varchar(64)    # the same
    written = 0      : int32          # rows
    reason = ''      : varchar(4095)  # why it was skipped or failed; what was changed
    stepped_at       : datetime(6)    # naive UTC
    index (scan_id)
    """
