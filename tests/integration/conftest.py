"""Fixtures of tests that need a database server."""

from __future__ import annotations

import shutil

import pytest


@pytest.fixture(scope="module")
def colony(lab):
    """The tables of `tests/tables/colony.py`, bound to this module's lab and empty."""
    return lab.tables("colony")


@pytest.fixture(scope="session")
def recordings(tmp_path_factory):
    """The recording folders of the tiny synthetic lab, written once; nobody changes them."""
    from adamacs.demo import lab as synthetic

    home = tmp_path_factory.mktemp("recordings")
    synthetic.write(home / "share", size="tiny")
    return sorted((home / "share" / "demo").iterdir())


@pytest.fixture(scope="session")
def _pipeline_lab(new_lab):
    """The lab that the tables of `adamacs.pipeline` are bound to: they bind once per process."""
    from adamacs import pipeline

    lab = new_lab("pipeline")
    pipeline.initialise(lab.settings)
    return lab


@pytest.fixture
def mouse_lab(_pipeline_lab):
    """The lab of `adamacs.pipeline`, without a recording and without a row but those of the vocabulary."""
    from adamacs import pipeline
    from adamacs.core import settings
    from adamacs.database import portable
    from adamacs.demo import lab as synthetic
    from adamacs.workers import roles

    settings.use(_pipeline_lab.settings)
    synthetic.write_setups(_pipeline_lab.home)
    yield _pipeline_lab
    if pipeline.scan.schema.connection.in_transaction:
        pipeline.scan.schema.connection.cancel_transaction()
    for table in roles.computing_tables():
        portable.job_table(table).delete_quick()
    for table in _filled_tables():
        table().delete_quick()
    for name in ("share", "processed", "stores/derived"):
        shutil.rmtree(_pipeline_lab.home / name)
        (_pipeline_lab.home / name).mkdir()


def _filled_tables():
    """Yield every table but the vocabulary, children first: quicker than a cascade, which reads every heading anew."""
    import datajoint as dj

    from adamacs import pipeline

    for module in reversed(pipeline.modules()):
        masters = [master for master, _ in module.schema.declare_list if not issubclass(master, dj.Lookup)]
        for master in reversed(masters):
            parts = [part for part in vars(master).values() if isinstance(part, type) and issubclass(part, dj.Part)]
            yield from (*reversed(parts), master)


@pytest.fixture(scope="module")
def work(_pipeline_lab):
    """The tables of `tests/tables/work.py` in the lab of the pipeline."""
    return _pipeline_lab.tables("work")


@pytest.fixture
def items(work, mouse_lab):
    """The same, with three items to compute."""
    work.Item.insert([{"item": n, "value": n} for n in range(3)])
    yield work
    for table in (work.Total, work.Costly, work.Cheap):
        table.jobs.delete()
        table().delete_quick()
    work.Item().delete_quick()


@pytest.fixture
def worker(mouse_lab):
    """A worker of the role cpu that beats, with a log."""
    from adamacs.workers import liveness
    from tests.integration.workplace import connection

    identity = liveness.identify("cpu", {"suite2p": "1.1.0"}, log_file="/var/log/adamacs/cpu-1.jsonl")
    liveness.register(connection(), identity, 30.0)
    return identity
