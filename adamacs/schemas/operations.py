"""Who computes: workers and their heartbeats, every attempt that was ever made, and what is paused.

What is to be computed stands in DataJoint's own job tables (`~~...`), one per table that computes; nothing here is a
second queue. Times are naive UTC on the clock of the database, so that hosts with wrong clocks agree.
"""

from __future__ import annotations

import datajoint as dj

schema = dj.Schema()


@schema
class Worker(dj.Manual):
    definition = """
    # A process that computes keys; its row is kept for ever
    worker_id : int64  # random, above 2**40; marks the job rows that it claimed (their `connection_id`)
    ---
    worker_role     : varchar(32)    # such as cpu or gpu
    host            : varchar(255)   # name of the computer
    machine         : varchar(64)    # this start of this host; only there its process number means something
    pid             : int32          # number of the process
    process_start   : float64        # s, since the machine started where the kernel tells: tells a reused number
    started_at      : datetime(6)    # naive UTC, clock of the database
    adamacs_version : varchar(64)    # release, and the git revision where there is one
    tool_versions   : json           # distribution to version
    log_file = ''   : varchar(1023)  # on the host
    fills           : json           # names of the tables that it computes; none: all of its role
    keeps_to        : json           # column to value: the only keys that it computes; none: all
    """


@schema
class Heartbeat(dj.Manual):
    definition = """
    # A worker that is alive, and what it is doing; the row goes with the worker
    -> Worker
    ---
    beat_time : datetime(6)            # naive UTC, clock of the database
    lease     : float64                # s, without a beat after which the worker counts as dead
    stage = '' : varchar(64)           # of the key in work
    fraction = null : float64          # 0 to 1, done of the stage
    stage_since = null : datetime(6)   # naive UTC, clock of the database
    """


@schema
class Attempt(dj.Manual):
    definition = """
    # One try at one key; rows are added and never changed
    -> Worker
    attempt : int32  # counted per worker; below zero where others recorded it after the worker's death
    ---
    table_name    : varchar(128)    # such as imaging.Processing
    key_hash      : varchar(32)     # hex, of the key
    job_key       : json            # the key
    started_at    : datetime(6)     # naive UTC, clock of the database
    ended_at      : datetime(6)     # naive UTC, clock of the database
    outcome       : varchar(16)     # done, failed, killed, stalled, fenced, cancelled or stopped
    failure = ''  : varchar(16)     # class of the failure, see docs/reference/failures.md
    message = ''  : varchar(2047)   # one line
    traceback = '' : varchar(8000)  # its end
    peak_memory = null : int64      # bytes, resident; of one that was killed, as its daemon saw it last
    index (table_name, key_hash)
    """


@schema
class Pause(dj.Manual):
    definition = """
    # What workers leave alone for now; running keys finish, and new ones are still noticed
    pause_scope : varchar(160)  # all, role:NAME or table:MODULE.TABLE
    ---
    paused_at : datetime(6)            # naive UTC, clock of the database
    paused_by : varchar(255)           # account@host
    pause_reason = '' : varchar(2047)  # why
    """
