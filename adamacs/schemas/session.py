"""A session: one subject, one day, one sitting at an instrument."""

from __future__ import annotations

import datajoint as dj

from adamacs.schemas.subject import Project, Subject, User

schema = dj.Schema()


@schema
class Session(dj.Manual):
    definition = """
    # One sitting of a subject at an instrument
    session_id : varchar(64)  # whole token, sess9FY6AIRM
    ---
    -> Subject
    session_date : date  # the folder's own local date, never converted
    """


@schema
class SessionDirectory(dj.Manual):
    definition = """
    # Where the session lies on the share
    -> Session
    ---
    -> User
    root        : varchar(32)    # name of a root, such as share
    session_dir : varchar(1023)  # relative to the root: of a nested session its folder, else its first scan's
    """


@schema
class SessionUser(dj.Manual):
    definition = """
    # Who recorded the session
    -> Session
    -> User
    """


@schema
class SessionNote(dj.Manual):
    definition = """
    # What the experimenter wrote down
    -> Session
    ---
    session_note : varchar(1024)
    """


@schema
class SessionFile(dj.Manual):
    definition = """
    # A note or log that lies beside the scan folders of a session
    -> Session
    file_hash : varchar(32)  # hex digest of root and path
    ---
    root      : varchar(32)    # name of a root, such as share
    file_path : varchar(1023)  # POSIX, relative to the root
    file_size : int64          # bytes
    file_time : datetime(6)    # naive UTC, last modification
    """


@schema
class ProjectSession(dj.Manual):
    definition = """
    # The projects a session belongs to
    -> Project
    -> Session
    """


@schema
class SessionSite(dj.Manual):
    definition = """
    # A field of view that is visited again
    same_site_id : varchar(64)  # session_id of the first visit
    """


@schema
class SessionSameSite(dj.Manual):
    definition = """
    # The field of view that a session visits
    -> Session
    ---
    -> SessionSite
    """


@schema
class SessionRspace(dj.Manual):
    definition = """
    # The session's document in the electronic notebook
    -> Session
    ---
    rspace_id : varchar(32)
    """
