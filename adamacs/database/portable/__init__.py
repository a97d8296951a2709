"""Every touch of DataJoint's private parts, and nothing else.

Each mend names the defect of DataJoint 2.3.5 that it repairs. `tests/integration/test_portable.py` shows for each
that the defect is there without the mend, so that the test fails once DataJoint has repaired it and the mend can
go, and that it is gone with the mend.

Known and not mended: a restriction by a string is raw SQL, and its column check sees bare lower-case words only.
Text from outside (a command line, a form, a request) must become a mapping or a list of mappings before it
restricts a query.
"""

from adamacs.database.portable.drivers import FAILURES, LOST, UNREACHABLE, limit_idle_transactions
from adamacs.database.portable.mends import apply, withdrawn
from adamacs.database.portable.queries import counting, has_default_source, without
from adamacs.database.portable.queues import job_table, raise_priority, staged_by
from adamacs.database.portable.session import (
    configure,
    connect,
    execute_unlogged,
    reconnect,
    scrambled,
    separate_connection,
    store_spec,
)
from adamacs.database.portable.tables import Parts, bind, declare_jobs, make, table_names

__all__ = [
    "FAILURES",
    "LOST",
    "UNREACHABLE",
    "Parts",
    "apply",
    "bind",
    "configure",
    "connect",
    "counting",
    "declare_jobs",
    "execute_unlogged",
    "has_default_source",
    "job_table",
    "limit_idle_transactions",
    "make",
    "raise_priority",
    "reconnect",
    "scrambled",
    "separate_connection",
    "staged_by",
    "store_spec",
    "table_names",
    "withdrawn",
    "without",
]
