"""The first worker: it computes what is missing, explains what fails, and never computes a finished folder twice."""

from __future__ import annotations

import logging

import numpy as np
import pytest
from datajoint.errors import DataJointError

from adamacs.core.errors import PlanRefused
from adamacs.database import portable
from adamacs.demo import lab as synthetic
from adamacs.ingest.apply import apply_plan
from adamacs.ingest.plan import plan_ingest
from adamacs.pipeline import imaging, scan
from tests.labs import drain


@pytest.fixture
def small_scan(mouse_lab):
    """One recording that Suite2p can process, ingested with a parameter set."""
    settings = mouse_lab.settings
    (true,) = synthetic.write(settings.root("share"), size="small", truth=mouse_lab.home / "truth")
    index = imaging.ProcessingParamSet.insert_new(synthetic.SUITE2P)
    apply_plan(plan_ingest([settings.root("share")], settings, paramset_idx=index), settings)
    return true


@pytest.mark.slow
def test_a_finished_folder_is_landed_without_computing_it_again(mouse_lab, small_scan, monkeypatch):
    """The insert fails behind a computation that took long: the next attempt takes the folder as it is."""
    original, reused = imaging.Processing.make_insert, []

    def unlucky(self, key, finished):
        reused.append(finished.reused)
        raise ConnectionError("the database went away at commit")

    monkeypatch.setattr(imaging.Processing, "make_insert", unlucky)
    first = drain()
    assert reused[0] is False and all(reused[1:])  # where it is slow, its next turn comes before the end
    assert len(first.failed) == len(reused)
    assert all("went away" in failure for failure in first.failed)
    assert len(imaging.Processing()) == len(imaging.Curation()) == 0
    (manifest,) = mouse_lab.settings.root("processed").rglob("manifest.json")
    before = {path: path.stat().st_mtime_ns for path in manifest.parent.rglob("*")}

    def lucky(self, key, finished):
        assert finished.reused
        original(self, key, finished)

    monkeypatch.setattr(imaging.Processing, "make_insert", lucky)
    second = drain()
    assert second.failed == []
    assert second.seconds["imaging.Processing"] < first.seconds["imaging.Processing"] / 4
    assert {path: path.stat().st_mtime_ns for path in manifest.parent.rglob("*")} == before
    assert len(imaging.Processing()) == len(imaging.Curation()) == 1
    traces = imaging.Fluorescence.Trace.to_dicts()
    assert len(traces) >= 10
    assert all(np.isfinite(np.asarray(row["fluorescence"])).all() for row in traces)
    folder = imaging.Curation.to_arrays("curation_output_dir")[0]
    session, name = small_scan.session_id, small_scan.scan_id
    assert folder == f"{session}/{name}/paramset0/suite2p_exp{name[4:]}"


def test_a_key_that_fails_is_tried_once_and_told_with_its_key(mouse_lab, small_scan, monkeypatch, caplog):
    calls = []

    def failing(self, key, rows):
        calls.append(key)
        raise ValueError("no such header")

    monkeypatch.setattr(imaging.ScanInfo, "make_compute", failing)
    with caplog.at_level(logging.INFO, "adamacs"):
        tally = drain()
    assert len(calls) == len(tally.failed) == 1
    assert small_scan.scan_id in tally.failed[0]
    assert "ValueError: no such header" in caplog.text
    assert "1 failed" in tally.describe()
    assert len(scan.ScanFileChecksum()) == 1  # the others went on


def test_what_changed_while_it_was_computed_is_not_inserted(mouse_lab, small_scan, monkeypatch):
    original = imaging.ScanInfo.make_compute

    def meddling(self, key, rows):
        scan.ScanFile.update1({**key, "file_id": rows[0]["file_id"], "file_size": 1})
        return original(self, key, rows)

    monkeypatch.setattr(imaging.ScanInfo, "make_compute", meddling)
    (key,) = imaging.ScanInfo.key_source.proj().to_dicts()
    with pytest.raises(PlanRefused, match="changed while"):
        portable.make(imaging.ScanInfo, key)
    assert len(imaging.ScanInfo()) == 0
    assert not scan.schema.connection.in_transaction


def test_a_failing_insert_leaves_nothing_of_its_key(mouse_lab, small_scan, monkeypatch):
    def half(self, key, row, fields, files):
        self.insert1({**key, **row})
        raise RuntimeError("half way")

    monkeypatch.setattr(imaging.ScanInfo, "make_insert", half)
    tally = drain()
    assert len(tally.failed) == 1
    assert len(imaging.ScanInfo()) == 0
    with pytest.raises(DataJointError, match="auto-populated"):
        imaging.ScanInfo.insert1({"session_id": "x", "scan_id": "y"})  # inserting by hand is refused again
