"""Fixtures of tests that need a database server."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="module")
def colony(lab):
    """The tables of `tests/tables/colony.py`, bound to this module's lab and empty."""
    return lab.tables("colony")


# The tables of `adamacs.pipeline` bind once per process. A session-scoped fixture that activates them belongs
# here: make its lab with `new_lab("pipeline")`, call `adamacs.core.settings.use(lab.settings)`, and create the
# tables with `adamacs.schemas.meta.activate(pipeline.modules(), lab.prefix, lab.connection, create=True)`. Tests
# with a `lab` of their own set it aside while they run (`adamacs.database.connect.set_aside`).
