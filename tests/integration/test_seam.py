"""A further modality with a reader and a clock of its own is a folder and a line: nothing below it is edited."""

from __future__ import annotations

import sys
from dataclasses import replace
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

from adamacs import pipeline
from adamacs.analysis.events import events_between
from adamacs.core import setups
from adamacs.core.errors import UnreadableFile
from adamacs.core.events import Events, ImportedEvents, Look
from adamacs.core.modality import Modality, Parser
from adamacs.demo import rig
from adamacs.ingest import recorded
from adamacs.ingest.find import find_recordings
from adamacs.ingest.plan import plan_ingest
from adamacs.schemas import event, sync
from adamacs.workers import loop, roles
from tests.integration.test_events import SHIPPED, ingest, lab, put  # noqa: F401 - a fixture

NAME = "sniff"
OFFSET, DRIFT = 31.25, 40e-6  # s of scan time at its zero, and how much faster scan time runs
HERE = f"adamacs.modalities.{NAME}.modality"


def look(files, settings):
    return Look(f"{files.source}: {len(_times(files))} sniffs", warnings=("Its valve is noisy.",))


def find_sniffs(files, settings):
    times = _times(files)
    return ImportedEvents(events=(Events("sniff", times, times + 0.05, "air"),))


def _times(files):
    (path,) = files.files
    try:
        return np.loadtxt(path, ndmin=1)
    except ValueError as error:
        raise UnreadableFile("This is no list of sniffs.", path) from error


@pytest.fixture
def sniffing(monkeypatch):
    """The modality: what its folder would hold, and the one line."""
    declared = Modality(
        NAME,
        tables=f"adamacs.modalities.{NAME}.tables",
        parsers={
            "sniffer": Parser(
                reads="times of sniffs, `.sniff`",
                look=f"{HERE}:look",
                events=f"{HERE}:find_sniffs",
                zero="when the pump was switched on",
                counts={"sniff": "sniffs"},
                endings=(".sniff",),
            )
        },
    )
    for name, content in {
        "": {},
        ".modality": {"MODALITY": declared, "look": look, "find_sniffs": find_sniffs},
        ".tables": {"schema": SimpleNamespace(declare_list=[])},
    }.items():
        module = ModuleType(f"adamacs.modalities.{NAME}{name}")
        vars(module).update(content)
        monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(pipeline, "MODALITIES", (*pipeline.MODALITIES, NAME))
    pipeline._hand_down()
    yield
    for table in (event.IMPORTERS, sync.COUNTS):
        del table["sniffer"]


def write_setup(lab, modalities=("imaging", "behavior", NAME)):  # noqa: F811
    """Write a setup type of the lab's own, the one that ships with sniffs beside it."""
    shipped = (setups.SHIPPED / "mini2p1_openfield.toml").read_text(encoding="utf-8")
    text = shipped.replace('modalities = ["imaging", "behavior"]', f"modalities = {list(modalities)!r}")
    text += '\n[[expected]]\nfiles = "*.sniff"\nwhat = "sniffs"\nparser = "sniffer"\nsource = "nose"\n'
    text += '\n[[align]]\nsource = "nose"\nchannel = "bpod_reward"\nevents = ["sniff"]\n'
    path = lab.home / setups.FOLDER / "own.toml"
    path.parent.mkdir(exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def test_a_folder_with_files_of_a_further_modality_becomes_events_on_scan_time(lab, recordings, sniffing):  # noqa: F811
    setup = setups.check(write_setup(lab), lab.home, modalities=pipeline.modalities())
    assert setup == []
    ran = rig.record(SHIPPED["mini2p1_openfield"], 40.0, seed=3).with_frames(24, 20.0)
    place = put(lab, recordings[0], ran.setup, replace(ran, task=None))
    truth = ran.pulses["bpod_reward"][:, 0] / ran.sample_rate
    np.savetxt(place / f"{place.name}.sniff", (truth - OFFSET) / (1 + DRIFT), fmt="%.9f")
    ingest(lab, place)
    found = loop.drain(
        roles.named("cpu"),
        lab.settings,
        [pipeline.imaging.ScanInfo, event.EventImport, sync.ClockSync, sync.Promise, sync.Certificate],
    )
    assert found.failed == []
    clock = (pipeline.clock.Clock & {"clock": "nose"}).fetch1()
    assert (clock["zero"], clock["placed_by"]) == ("when the pump was switched on", "nose")
    placed = (sync.ClockSync & {"clock": "nose"}).fetch1()
    assert placed["clock_offset"] == pytest.approx(OFFSET, abs=1e-4)
    assert placed["clock_drift"] == pytest.approx(1e6 * DRIFT, abs=5.0)
    key = dict(pipeline.scan.Scan.fetch1("KEY"))
    assert events_between(key, event_types=["sniff"])["start"].tolist() == pytest.approx(truth.tolist(), abs=1e-4)
    told = (sync.Promise.Stream & {"stream": "sniffs"}).fetch1()
    assert (told["teller"], told["told_by"], told["told_count"]) == ("nose", "file", len(truth))
    verdict = (sync.Certificate.Stream & {"stream": "sniffs"}).fetch1()
    assert (verdict["stream_verdict"], verdict["sync_clock"]) == ("pass", "nose")


def test_what_a_further_reader_says_of_its_files_is_told_where_they_are_planned(lab, recordings, sniffing):  # noqa: F811
    write_setup(lab)
    place = put(lab, recordings[0], SHIPPED["mini2p1_openfield"])
    (place / "x.sniff").write_text("0.5\n0.75\n", encoding="utf-8")
    (scan,) = plan_ingest([place], lab.settings).scans
    assert "nose: 2 sniffs" in scan.summary
    assert any(str(one).endswith("x.sniff: Its valve is noisy.") for one in scan.problems), scan.problems
    (place / "x.sniff").write_text("none", encoding="utf-8")
    (scan,) = plan_ingest([place], lab.settings).scans
    assert scan.state == "refused"
    assert any(str(one).endswith("x.sniff: This is no list of sniffs.") for one in scan.problems), scan.problems


def test_files_of_a_further_modality_that_the_setup_type_does_not_know_are_a_question(lab, recordings, sniffing):  # noqa: F811
    place = put(lab, recordings[0], SHIPPED["mini2p1_openfield"])
    (place / "x.sniff").write_text("0.5\n", encoding="utf-8")
    (recording,), _ = find_recordings([place], lab.settings)
    known = replace(SHIPPED["mini2p1_openfield"], modalities=())
    questions = [
        one.what for one in recorded.plan(recording, known, lab.settings).problems if one.severity == "question"
    ]
    assert any("has no files *.sniff of sniffer" in what for what in questions), questions


def test_where_a_setup_type_does_not_name_the_modality_its_files_are_not_read(lab, recordings, sniffing):  # noqa: F811
    write_setup(lab, modalities=("imaging", "behavior"))
    ran = rig.record(SHIPPED["mini2p1_openfield"], 40.0, seed=3).with_frames(24, 20.0)
    place = put(lab, recordings[0], ran.setup, replace(ran, task=None))
    (place / "x.sniff").write_text("none", encoding="utf-8")
    ingest(lab, place)
    assert (pipeline.event.BehaviorRecording.Source).to_arrays("source").tolist() == ["aux"]
