"""What was done to an animal before it was recorded."""

from __future__ import annotations

import datajoint as dj

from adamacs.schemas.subject import Subject, User

schema = dj.Schema()


@schema
class Anesthesia(dj.Manual):
    definition = """
    # A drug that puts to sleep
    anesthesia : varchar(16)
    ---
    long_name = '' : varchar(255)
    """


@schema
class Analgesia(dj.Manual):
    definition = """
    # A drug against pain
    analgesia : varchar(16)
    ---
    long_name = '' : varchar(255)
    """


@schema
class Antagonist(dj.Manual):
    definition = """
    # A drug that wakes up
    antagonist : varchar(16)
    ---
    long_name = '' : varchar(255)
    """


@schema
class AnatomicalLocation(dj.Lookup):
    definition = """
    # A brain region
    anatomical_location : varchar(16)
    ---
    location_name = '' : varchar(128)
    """
    contents = [
        {"anatomical_location": "V1", "location_name": "primary visual cortex"},
        {"anatomical_location": "LGN", "location_name": "lateral geniculate nucleus"},
        {"anatomical_location": "CA1", "location_name": "hippocampal area CA1"},
        {"anatomical_location": "DG", "location_name": "dentate gyrus"},
        {"anatomical_location": "RSC", "location_name": "retrosplenial cortex"},
    ]


@schema
class Surgery(dj.Manual):
    definition = """
    # One surgery; instants are naive UTC
    -> Subject
    date : date
    ---
    weight = null            : float32  # g, before
    -> [nullable] User
    -> [nullable] Anesthesia
    anesthesia_time = null   : datetime(0)
    anesthesia_volume = null : float32  # ml
    -> [nullable] Antagonist
    antagonist_time = null   : datetime(0)
    antagonist_volume = null : float32  # ml
    """


@schema
class SurgeryNote(dj.Manual):
    definition = """
    # What the surgeon wrote down
    -> Surgery
    ---
    note : varchar(2048)
    """


@schema
class Virus(dj.Manual):
    definition = """
    # A viral construct
    name     : varchar(64)
    serotype : varchar(16)
    ---
    long_name = '' : varchar(255)  # catalogue entry
    """


@schema
class AnalgesiaSubject(dj.Manual):
    definition = """
    # One dose against pain
    -> Analgesia
    -> Subject
    datetime : datetime(0)  # naive UTC
    """


@schema
class Coordinates(dj.Manual):
    definition = """
    # A place in the brain, from bregma
    injection_location : varchar(32)
    ---
    ap = null : float32  # mm, anterior positive
    ml = null : float32  # mm, right positive
    dv = null : float32  # mm, from the pia, down positive
    description = '' : varchar(255)
    """


@schema
class ViralInjection(dj.Manual):
    definition = """
    # One injection during a surgery
    -> Surgery
    -> Virus
    -> Coordinates
    ---
    datetime = null : datetime(0)  # naive UTC
    volume = null   : float32      # µl
    """


@schema
class CranialWindow(dj.Manual):
    definition = """
    # The window implanted during a surgery
    -> Surgery
    ---
    time = null : datetime(0)  # naive UTC
    -> [nullable] AnatomicalLocation
    """
