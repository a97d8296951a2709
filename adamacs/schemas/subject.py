"""Who is studied, by whom, under which licence."""

from __future__ import annotations

import datajoint as dj

schema = dj.Schema()


@schema
class Lab(dj.Manual):
    definition = """
    # A laboratory
    lab : varchar(24)  # short name
    ---
    lab_name    : varchar(255)
    institution : varchar(255)
    address = '' : varchar(255)
    """


@schema
class User(dj.Manual):
    definition = """
    # A person who records or analyses
    user_id : int32
    ---
    name      : varchar(64)
    shorthand : varchar(32)  # name of the person's folder on the share
    initials  : varchar(2)   # first field of a recording folder's name
    email = '' : varchar(128)
    -> [nullable] Lab
    unique index (shorthand)
    """


@schema
class Protocol(dj.Manual):
    definition = """
    # An animal protocol
    protocol : varchar(32)  # licence number
    ---
    protocol_description = '' : varchar(255)
    """


@schema
class Line(dj.Manual):
    definition = """
    # A mouse line
    line : int32  # strain id of the colony database
    ---
    line_name : varchar(64)
    is_active = null : bool
    """


@schema
class Mutation(dj.Manual):
    definition = """
    # A mutation that a line carries
    -> Line
    mutation_id : int32
    ---
    description : varchar(64)
    """


@schema
class Project(dj.Manual):
    definition = """
    # A research project
    project : varchar(32)
    ---
    project_description = '' : varchar(1024)
    """


@schema
class Subject(dj.Manual):
    definition = """
    # An animal, or whatever else is studied
    subject : varchar(32)  # second field of a recording folder's name
    ---
    earmark = ''      : varchar(16)
    sex = 'U'         : varchar(1)   # M, F or U
    birth_date = null : date
    generation = ''   : varchar(64)
    -> [nullable] User.proj(owner_id='user_id')
    -> [nullable] User.proj(responsible_id='user_id')
    -> [nullable] Line
    -> [nullable] Protocol
    """


@schema
class SubjectParent(dj.Manual):
    definition = """
    # The parents of a subject, where known
    -> Subject
    parent_role : varchar(8)  # mother or father
    ---
    parent : varchar(32)  # subject name; the parent need not be in the database
    """


@schema
class SubjectGenotype(dj.Manual):
    definition = """
    # The genotype of a subject at one mutation
    -> Subject
    -> Mutation
    ---
    genotype : varchar(8)  # wt/wt, wt/tg, tg/wt or tg/tg
    """


@schema
class SubjectDeath(dj.Manual):
    definition = """
    # The end of a subject
    -> Subject
    ---
    death_date : date
    cause = '' : varchar(255)
    """


@schema
class SubjectRspace(dj.Manual):
    definition = """
    # The subject's folder in the electronic notebook
    -> Subject
    ---
    rspace_subject_id : varchar(32)
    """
