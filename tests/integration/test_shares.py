"""Recordings on more than one share: found, watched, ingested and removed alike; no root is taken for another."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace

import pytest

from adamacs import pipeline
from adamacs.core import settings as core_settings
from adamacs.core.errors import PlanRefused
from adamacs.core.settings import Share
from adamacs.demo import lab as synthetic
from adamacs.ingest import arrivals, saved
from adamacs.ingest.apply import apply_plan
from adamacs.ingest.consolidate import Wish, plan_consolidation
from adamacs.ingest.plan import plan_ingest
from adamacs.ingest.remove import apply_removal, plan_removal
from tests.integration.test_arrivals import Watched, scans
from tests.integration.test_ingest import command

PARAMSET = 0


@pytest.fixture
def lab(mouse_lab, tmp_path):
    """A lab with a second share, `archive`, whose setup types let recordings in alone."""
    shutil.rmtree(mouse_lab.home / "setups")
    synthetic.write_setups(mouse_lab.home, paramset_idx=PARAMSET)
    pipeline.imaging.ProcessingParamSet.insert_new(synthetic.SUITE2P, paramset_idx=PARAMSET, desc="synthetic lab")
    before, file = mouse_lab.settings, mouse_lab.home / core_settings.FILE
    text = file.read_text()
    (tmp_path / "archive").mkdir()
    file.write_text(f"{text}\n[shares.archive]\nfolder = '{tmp_path}/archive'\n")
    mouse_lab.settings = replace(before, shares={"archive": Share(str(tmp_path / "archive"))})
    core_settings.use(mouse_lab.settings)
    yield mouse_lab
    core_settings.use(before)
    mouse_lab.settings = before
    file.write_text(text)
    shutil.rmtree(mouse_lab.home / "setups")


def put(lab, folder, root):
    place = lab.settings.root(root) / "demo" / folder.name
    shutil.copytree(folder, place)
    return place


def plan(lab):
    return plan_ingest(lab.settings.share_roots().values(), lab.settings)


def test_each_recording_is_ingested_from_where_it_lies(lab, recordings):
    here, there = put(lab, recordings[0], "share"), put(lab, recordings[2], "archive")
    planned = plan(lab)
    assert [scan.path for scan in planned.scans] == [f"demo/{here.name}", f"archive:demo/{there.name}"]
    assert {outcome.state for outcome in apply_plan(planned, lab.settings)} == {"written"}
    paths = pipeline.scan.ScanPath.to_dicts(order_by="path")
    assert {(row["root"], row["path"]) for row in paths} == {
        ("share", f"demo/{here.name}"),
        ("archive", f"demo/{there.name}"),
    }
    folders = pipeline.session.SessionDirectory.to_dicts()
    assert {(row["root"], row["session_dir"]) for row in folders} == {(r["root"], r["path"]) for r in paths}
    files = [pipeline.scan.path_of(row) for row in pipeline.scan.ScanFile.to_dicts()]
    assert {file.parent for file in files} == {here, there}
    assert all(file.is_file() for file in files)
    assert {scan.state for scan in plan(lab).scans} == {"unchanged"}


def test_a_saved_plan_knows_the_root_and_one_of_another_lab_is_refused(lab, recordings):
    put(lab, recordings[0], "archive")
    text = saved.to_json(plan(lab))
    again = saved.replan(text, lab.settings)
    assert [(scan.state, scan.path.partition(":")[0]) for scan in again.scans] == [("new", "archive")]
    with pytest.raises(PlanRefused, match="no root named 'attic'"):
        saved.replan(text.replace("archive:", "attic:"), lab.settings)


def test_a_watcher_goes_on_where_one_share_is_away_and_takes_nothing_there_for_gone(lab, recordings):
    watched = Watched(lab)
    there = put(lab, recordings[0], "archive")
    odd = lab.settings.root("archive") / "demo" / "XX_no_recording_scan9FY6AIRM"
    odd.mkdir()
    watched.tick()
    assert watched.tick(31) == {there.name: "ingested", odd.name: "quarantined"}
    archive = lab.settings.root("archive")
    archive.rename(archive.with_name("away"))
    here = put(lab, recordings[1], "share")
    try:
        watched.tick()
        assert watched.tick(31) == {there.name: "ingested", odd.name: "quarantined", here.name: "ingested"}
        assert not watched.watcher.is_whole
        later = Watched(lab, clock=watched.clock)  # begun while it is away
        assert later.tick()[there.name] == "ingested"
    finally:
        archive.with_name("away").rename(archive)
    shutil.rmtree(there)
    odd.rmdir()
    assert later.tick() == {there.name: "gone", odd.name: "gone", here.name: "ingested"}
    assert len(scans()) == 2


def test_what_a_person_ingests_by_hand_is_seen_as_ingested_on_every_share(lab, recordings):
    for path in (lab.home / "setups").glob("*.toml"):
        path.write_text(path.read_text().replace("automatic = true", "automatic = false"))
    there = put(lab, recordings[0], "archive")
    watched = Watched(lab)
    watched.tick()
    assert watched.tick(31) == {there.name: "planned"}
    apply_plan(plan(lab), lab.settings)
    assert watched.tick(1) == {there.name: "ingested"}


def test_a_scan_on_two_shares_is_held_on_both(lab, recordings):
    here, _ = put(lab, recordings[0], "share"), put(lab, recordings[0], "archive")
    watched = Watched(lab)
    watched.tick()
    watched.tick(31)
    assert scans() == []
    held = arrivals.load(("quarantined",))
    assert [one.path for one in held] == [f"archive:demo/{here.name}", f"demo/{here.name}"]
    for one in held:
        assert f"archive:demo/{here.name} and demo/{here.name}" in one.reason


def test_what_was_removed_stays_out_on_its_own_share(lab, recordings):
    there = put(lab, recordings[0], "archive")
    apply_plan(plan(lab), lab.settings)
    apply_removal(plan_removal(*scans()), lab.settings)
    assert arrivals.state_of(f"archive:demo/{there.name}") == "ignored"
    assert arrivals.state_of(f"demo/{there.name}") is None
    assert plan(lab).scans == ()


def test_a_token_on_any_share_is_taken_and_no_source_lies_on_one(lab, recordings):
    there = put(lab, recordings[0], "archive")
    token = next(part for part in there.name.split("_") if part.startswith("scan"))
    wish = Wish(setup="aux", subject="ANM-0001", initials="XX", user="demo", scan=token)
    planned = plan_consolidation([there], wish, lab.settings, settle=0, incomplete=True)
    told = {problem.what: problem.where for problem in planned.problems}
    assert told[f"The token {token} exists already."] == f"archive:demo/{there.name}"
    assert told["This source lies on the share itself."] == str(there)


def test_a_manifest_names_folders_as_they_are_shown(lab, recordings, tmp_path):
    here, there = put(lab, recordings[0], "share"), put(lab, recordings[1], "archive")
    manifest = tmp_path / "batch.csv"
    manifest.write_text(f"path,scan_note\ndemo/{here.name},first\narchive:demo/{there.name},second\n")
    done = command(lab, "ingest", "plan", "--manifest", str(manifest), "--json")
    scans_of = json.loads(done.stdout)["scans"]
    assert [(scan["path"], scan["chosen"]["scan_note"]["value"]) for scan in scans_of] == [
        (f"demo/{here.name}", "first"),
        (f"archive:demo/{there.name}", "second"),
    ]
    assert command(lab, "ingest", "plan", "--all").stdout.count("\nnew  ") + 1 == 2


def test_a_folder_may_be_typed_as_it_is_shown(lab, recordings, tmp_path, monkeypatch):
    for path in (lab.home / "setups").glob("*.toml"):
        path.write_text(path.read_text().replace("automatic = true", "automatic = false"))
    here, there = put(lab, recordings[0], "share"), put(lab, recordings[2], "archive")
    watched = Watched(lab)
    watched.tick()
    watched.tick(31)
    monkeypatch.chdir(tmp_path)
    for one in arrivals.load(("planned",)):
        (told,) = re.findall("`adamacs (ingest apply .+)`", one.reason)
        done = command(lab, *told.split(), "--yes")
        assert done.returncode == 0, done.stderr
    assert len(scans()) == 2
    assert command(lab, "validate", f"archive:demo/{there.name}", f"demo/{here.name}").returncode == 0
    assert "outside the share" in command(lab, "ingest", "plan", "attic:demo").stdout
    (tmp_path / "demo").mkdir()
    assert "outside the share" in command(lab, "ingest", "plan", "demo").stdout  # what is here goes first
