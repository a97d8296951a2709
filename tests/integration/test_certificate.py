"""A scan is certified where all who tell of its streams agree; what differs, and what is outdated, says so by name."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest

from adamacs import pipeline
from adamacs.analysis.certificate import outdated, require_pass
from adamacs.core import settings as settings_module
from adamacs.core.clocks import alignment
from adamacs.core.errors import InvalidKey, MissingFile, NotCertified, PairingRefused, UnreadableFile
from adamacs.core.modality import named
from adamacs.core.settings import Sync
from adamacs.database import portable
from adamacs.demo import bpod, cameras, rig
from adamacs.demo import lab as synthetic
from adamacs.ingest.answers import read_answers
from adamacs.ingest.choices import Choices
from adamacs.ingest.compare import table_of
from adamacs.ingest.find import find_recordings
from adamacs.ingest.plan import plan_recordings
from adamacs.workers import jobs, loop, roles
from tests.integration.test_events import SHIPPED, ingest, lab, put  # noqa: F401 - a fixture
from tests.integration.test_ingest import command

OPENFIELD = SHIPPED["mini2p1_openfield"]
FRAMES, RATE = 24, 20.0  # of the scan that the tiny lab recorded so
SECONDS = 40.0
ASKED = ("ScanInfo", "EventImport", "ClockSync", "Promise", "Certificate")


def tables(*names):
    modules = (pipeline.imaging, pipeline.event, pipeline.sync)
    return [getattr(module, name) for name in names for module in modules if hasattr(module, name)]


def work(lab, *names, sync=None):  # noqa: F811
    """Let a worker fill these tables, all that certify by default; with thresholds of its own where some are given."""
    lab_settings = replace(lab.settings, sync=sync or lab.settings.sync)
    settings_module.use(lab_settings)
    return loop.drain(roles.named("cpu"), lab_settings, tables(*(names or ASKED)))


def recorded(seed=3, **changes):
    return replace(rig.record(OPENFIELD, SECONDS, seed=seed).with_frames(FRAMES, RATE), **changes)


def arrived(lab, folder, ran, *, only=True):  # noqa: F811
    """Bring in a recording with what its rig and Bpod wrote beside it; return the scan's key."""
    place = put(lab, folder, ran.setup, ran)
    if ran.task is not None:
        bpod.write_bpod(place / f"{folder.name}.mat", ran.task.session)
    ingest(lab, place)
    return scan() if only else None


TOLD_BY = {"event.EventImport": "source", "sync.ClockSync": "source", "sync.Promise": "teller"}


def scan():
    return dict(pipeline.scan.Scan.fetch1("KEY"))


def verdicts():
    rows = pipeline.sync.Certificate.Stream.to_dicts()
    return {row["stream"]: (row["stream_verdict"], row["stream_why"]) for row in rows}


def test_a_sound_scan_passes_and_says_who_told_what(lab, recordings):  # noqa: F811
    ran = recorded()
    key = arrived(lab, recordings[0], ran)
    assert work(lab).failed == []
    certificate = pipeline.sync.Certificate.fetch1()
    assert (certificate["verdict"], certificate["why"]) == ("pass", "")
    streams = {row["stream"]: row for row in pipeline.sync.Certificate.Stream.to_dicts()}
    assert set(streams) == {"two_photon_frames", "optitrack_frames", "camera_frames", "bpod_trials"}
    frames, trials = streams["two_photon_frames"], streams["bpod_trials"]
    assert {(one["teller"], one["told_by"], one["count"]) for one in frames["told"]} == {
        ("ScanImage", "header", FRAMES),
        ("ScanImage", "file", FRAMES),
        ("aux", "pulses", FRAMES),
    }
    assert (trials["count_min"], trials["sync_clock"]) == (len(ran.task.session.trials), "bpod")
    assert trials["sync_drift"] == pytest.approx(1e6 * ran.task.drift, abs=3.0)
    assert 0 < trials["residual_micros"] < 100  # µs: a cycle of Bpod
    assert [bool(streams[name]["is_compared"]) for name in ("bpod_trials", "camera_frames")] == [True, False]
    require_pass(key)
    with pytest.raises(NotCertified, match=r"camera_frames .*Nothing else tells") as refused:
        require_pass(key, compared=True)
    assert refused.value.streams == ("camera_frames", "optitrack_frames")
    assert work(lab).done == {}


def test_volumes_are_told_by_their_own_clock_with_the_frames_in_which_the_focus_flies_back(lab, recordings):  # noqa: F811
    setup = SHIPPED["bench2p"]
    ran = rig.record(setup).with_frames(36, 45.0, per_volume=3)
    arrived(lab, recordings[1], ran)
    assert work(lab).failed == []
    found = {row["stream"]: row for row in pipeline.sync.Certificate.Stream.to_dicts()}
    counts = {
        name: {one["count"] for one in found[name]["told"]} for name in ("two_photon_frames", "two_photon_volumes")
    }
    assert counts == {"two_photon_frames": {36}, "two_photon_volumes": {12}}
    assert {verdict for verdict, _ in verdicts().values()} == {"pass"}


@pytest.mark.parametrize(
    ("lost", "verdict", "said"),
    [
        ([7], "warn", "Of 24, 1 are missing from the pulses of aux"),
        ([23], "warn", "23 by the pulses of aux, 24 by the files of ScanImage: 1 apart."),
        ([20, 21, 22, 23], "fail", "20 by the pulses of aux, 24 by the files of ScanImage: 4 apart."),
    ],
    ids=["inside", "the last", "an end"],
)
def test_frames_without_a_pulse_are_told_with_both_counts(lab, recordings, lost, verdict, said):  # noqa: F811
    ran = recorded(task=None)
    frames = np.delete(ran.pulses["two_photon_frames"], lost, axis=0)
    key = arrived(lab, recordings[0], replace(ran, pulses={**ran.pulses, "two_photon_frames": frames}))
    assert work(lab, sync=Sync(missing_fail=10.0)).failed == []
    found = verdicts()
    assert found["two_photon_frames"][0] == verdict and said in found["two_photon_frames"][1]
    assert pipeline.sync.Certificate.fetch1("verdict") == verdict
    require_pass(key, ["camera_frames"])
    with pytest.raises(NotCertified, match="two_photon_frames") as refused:
        require_pass(key, warn_ok=False)
    assert refused.value.streams == ("two_photon_frames",)


def test_files_that_are_missing_are_told_from_a_recording_that_was_stopped(lab, recordings):  # noqa: F811
    ran = recorded(task=None)
    place = put(lab, recordings[0], OPENFIELD, ran)
    (last,) = place.glob("*_00003.tif")  # 4 of the 24 frames that the header asks for
    last.unlink()
    ingest(lab, place)
    assert work(lab).failed == []
    verdict, why = verdicts()["two_photon_frames"]
    assert verdict == "fail"
    assert "20 by the files of ScanImage, 24 by the pulses of aux: 4 apart." in why


def test_a_recording_that_was_stopped_early_passes_where_the_pulses_stopped_too(lab, recordings):  # noqa: F811
    ran = recorded(task=None).with_frames(20, RATE)
    place = put(lab, recordings[0], OPENFIELD, ran)
    (last,) = place.glob("*_00003.tif")
    last.unlink()
    ingest(lab, place)
    assert work(lab).failed == []
    verdict, why = verdicts()["two_photon_frames"]
    assert (verdict, "24 were asked for" in why, "it was stopped early" in why) == ("pass", True, True)


def test_a_clock_that_drifts_or_jitters_beyond_the_thresholds_is_named(lab, recordings):  # noqa: F811
    ran = recorded()
    shaken = ran.task.told * (1 + 300e-6) + np.random.default_rng(0).normal(0, 150e-6, len(ran.task.told))
    start = np.round(shaken * ran.sample_rate).astype(np.int64)
    pulses = {**ran.pulses, "bpod_visual": np.stack([start, start + 400], axis=1)}
    key = arrived(lab, recordings[0], replace(ran, pulses=pulses))
    assert work(lab, sync=Sync(residual_warn=100.0, residual_fail=200.0)).failed == []
    verdict, why = verdicts()["bpod_trials"]
    assert verdict == "fail"
    assert re.search("Clock bpod runs 2.* ppm slower than aux", why) and "5 % of the pairs are more than" in why
    require_pass(key, ["two_photon_frames"])
    with pytest.raises(NotCertified, match="bpod_trials"):
        require_pass(key, ["bpod_trials"])


CAMERA = 1900  # frames


def filmed(ran, *, lost):
    """Return a rig that triggered a camera at 50 Hz, and when its computer stamped the frames, ns since 1970."""
    exposed = 0.5 + np.arange(CAMERA) / 50
    start = np.round(exposed * ran.sample_rate).astype(np.int64)
    pulses = {**ran.pulses, "camera_frames": np.stack([start, start + 100], axis=1)}
    began = int(datetime(2026, 2, 10, 9, 30, 2, tzinfo=UTC).timestamp()) * 10**9
    late = np.abs(np.random.default_rng(1).normal(0, 4e-4, CAMERA))
    stamped = np.delete(exposed * (1 - 60e-6) + late, list(lost))
    return replace(ran, pulses=pulses), began + np.round(stamped * 1e9).astype(np.int64)


@pytest.mark.parametrize(("lost", "verdict"), [((), "pass"), ((100, 101, 1500), "warn"), (range(1890, 1900), "fail")])
def test_a_camera_is_compared_with_the_pulses_that_triggered_it(lab, recordings, lost, verdict):  # noqa: F811
    ran, stamps = filmed(recorded(task=None), lost=lost)
    place = put(lab, recordings[0], OPENFIELD, ran)
    cameras.write_bonsai(place / "mini2p1_top_video_timestamps_1.csv", stamps)
    ingest(lab, place)
    assert work(lab).failed == []
    row = (pipeline.sync.Certificate.Stream & {"stream": "camera_top"}).fetch1()
    assert (row["stream_verdict"], row["sync_clock"]) == (verdict, "camera_top"), row["stream_why"]
    assert (row["count_min"], row["count_max"]) == (CAMERA - len(lost), CAMERA)
    assert row["sync_drift"] == pytest.approx(60.0, abs=15.0)
    assert abs(row["first_difference"]) < 2e-3
    assert verdicts()["camera_frames"][0] == "pass"
    if verdict == "fail":
        assert "1890 by the files of camera_top, 1900 by the pulses of aux: 10 apart." in row["stream_why"]


# ---- what a certificate stands on


@pytest.mark.parametrize("name", ["event.EventImport", "sync.ClockSync", "sync.Promise"])
def test_what_a_certificate_stands_on_takes_it_along_and_both_are_made_anew(lab, recordings, name):  # noqa: F811
    key = arrived(lab, recordings[0], recorded())
    arrived(lab, recordings[1], recorded(), only=False)
    assert work(lab).failed == []
    other = (pipeline.sync.Certificate - key).proj()
    assert (len(pipeline.sync.Certificate()), len(other)) == (2, 1)
    kept = len(pipeline.sync.Certificate.Stream & other)
    stands_on = table_of(name)
    count = len(stands_on & key & {TOLD_BY[name]: "bpod"})
    (stands_on & key & {TOLD_BY[name]: "bpod"}).delete(prompt=False)
    assert (count, len(pipeline.sync.Certificate & key), len(pipeline.sync.Certificate & other)) == (1, 0, 1)
    assert len(pipeline.sync.Certificate.Stream()) == kept > 0
    done = work(lab)
    assert (done.failed, done.done[name], done.done["sync.Certificate"]) == ([], 1, 1)
    assert outdated(key) == ()
    require_pass(key)


@pytest.mark.parametrize("name", ["event.BehaviorRecording", "sync.Teller"])
def test_what_was_planned_of_behaviour_takes_the_certificate_along_and_is_planned_anew(lab, recordings, name):  # noqa: F811
    key = arrived(lab, recordings[0], recorded())
    assert work(lab).failed == []
    (table_of(name) & key).delete(prompt=False)
    assert (len(pipeline.sync.Certificate()), len(pipeline.scan.Scan())) == (0, 1)
    ingest(lab, lab.settings.root("share") / "demo" / recordings[0].name)
    assert work(lab).failed == []
    require_pass(key)


def test_a_certificate_that_does_not_know_of_a_teller_is_outdated(lab, recordings):  # noqa: F811
    own = lab.home / "setups" / "own.toml"  # a lab that did not know yet who reads what Bpod saved
    own.parent.mkdir()
    text = OPENFIELD.source.read_text(encoding="utf-8").replace('parser = "bpod"\n', "")
    own.write_text(re.sub(r'\[\[align\]\]\nsource = "bpod"\n(?:\w.*\n)+', "", text), encoding="utf-8")
    ran = recorded()
    place = put(lab, recordings[0], OPENFIELD, ran)
    bpod.write_bpod(place / f"{place.name}.mat", ran.task.session)
    ingest(lab, place)
    assert work(lab).failed == []
    assert (outdated(scan()), "bpod_trials" in verdicts()) == ((), False)
    own.unlink()
    ingest(lab, place)
    assert outdated(scan()) == ("bpod was not asked.",)
    with pytest.raises(NotCertified, match="outdated: bpod was not asked"):
        require_pass(scan(), ["two_photon_frames"])
    assert work(lab).failed == []
    assert (outdated(scan()), "bpod_trials" in verdicts()) == ((), True)
    require_pass(scan(), ["bpod_trials"])


# ---- clocks that cannot be placed


def refused_once(patch, error):
    patch.setattr(alignment, "align", lambda *arguments, **keywords: (_ for _ in ()).throw(error))


def again(lab, *, key=None):  # noqa: F811
    table = pipeline.sync.ClockSync
    assert len(jobs.apply(jobs.plan_retry([(table, key or {})]))) == 1


def test_a_clock_that_failed_for_good_fails_its_stream_with_the_reason_and_is_heard_when_it_is_placed(lab, recordings):  # noqa: F811
    key = arrived(lab, recordings[0], recorded())
    with pytest.MonkeyPatch.context() as patch:
        refused_once(patch, PairingRefused("Nothing fits of 12 trials."))
        assert len(work(lab).failed) == 1
        found = verdicts()
        assert {name: verdict for name, (verdict, _) in found.items() if verdict != "pass"} == {"bpod_trials": "fail"}
        assert (
            "Clock bpod could not be placed on aux: PairingRefused: Nothing fits of 12 trials."
            in found["bpod_trials"][1]
        )
        row = (pipeline.sync.Certificate.Stream & {"stream": "bpod_trials"}).fetch1()
        assert (row["sync_clock"], row["sync_offset"], row["residual_micros"]) == ("bpod", None, None)
        require_pass(key, ["two_photon_frames"])
        with pytest.raises(NotCertified, match="Nothing fits"):
            require_pass(key, ["bpod_trials"])
        shown = command(lab, "sync", key["scan_id"], "--plot", str(lab.home / "page.png"))
        assert (shown.returncode, shown.stderr, "FAIL   bpod_trials" in shown.stdout) == (1, "", True)
        again(lab)
        assert len(work(lab).failed) == 1
        assert verdicts() == found, "it failed again"
    again(lab)
    done = work(lab)
    assert (done.failed, done.done) == ([], {"sync.ClockSync": 1, "sync.Certificate": 1})
    assert verdicts()["bpod_trials"][0] == "pass"
    assert len(pipeline.sync.Certificate.Clock & key) == 1
    require_pass(key)


def test_a_clock_that_may_still_be_placed_is_waited_for(lab, recordings):  # noqa: F811
    key = arrived(lab, recordings[0], recorded())
    with pytest.MonkeyPatch.context() as patch:
        refused_once(patch, MissingFile("A file is away.", "x"))  # which is tried again, half a minute later
        work(lab)
        job = portable.job_table(pipeline.sync.ClockSync).fetch1()
        assert (job["status"], "A file is away" in job["error_message"]) == ("pending", True)
        assert len(pipeline.sync.Certificate()) == 0
    again(lab)
    assert work(lab).failed == []
    require_pass(key)


def test_a_clock_that_somebody_left_out_fails_its_stream_and_says_so(lab, recordings):  # noqa: F811
    key = arrived(lab, recordings[0], recorded())
    assert work(lab, "ScanInfo", "EventImport", "Promise").failed == []
    where = [(pipeline.sync.ClockSync, {**key, "source": "bpod"})]
    jobs.apply(jobs.plan_exclude(where, reason="The log is of another mouse."))
    assert work(lab).failed == []
    verdict, why = verdicts()["bpod_trials"]
    assert (verdict, "it was left out by" in why, "The log is of another mouse." in why) == ("fail", True, True)
    again(lab, key={**key, "source": "bpod"})
    assert work(lab).failed == []
    require_pass(key, ["bpod_trials"])


def test_a_certificate_is_outdated_where_the_headers_were_read_anew_and_tell_otherwise(lab, recordings):  # noqa: F811
    key = arrived(lab, recordings[0], recorded(task=None))
    assert work(lab).failed == []
    info = (pipeline.imaging.ScanInfo & key).fetch1()
    (pipeline.imaging.ScanInfo & key).delete(prompt=False)
    assert outdated(key) == ("ScanImage tells otherwise now.",)
    assert work(lab, "ScanInfo").done == {"imaging.ScanInfo": 1}
    assert outdated(key) == ()
    pipeline.imaging.ScanInfo.update1({**key, "frames_requested": 2 * info["frames_requested"]})
    with pytest.raises(NotCertified, match="ScanImage tells otherwise now"):
        require_pass(key)


# ---- asking


def test_a_scan_that_contradicts_itself_is_for_a_person_to_take_in(lab, recordings):  # noqa: F811
    place = put(lab, recordings[0], OPENFIELD, recorded(task=None).with_frames(30, RATE))
    answers = read_answers(lab.home / "answers.toml")
    found, _ = find_recordings([place], lab.settings)
    decided = Choices(lab.settings, answers)
    (watched,) = plan_recordings(found, lab.settings, decided, thorough=True)
    (error,) = (problem for problem in watched.problems if problem.severity == "error")
    assert watched.state == "refused"
    assert "24 by the files of ScanImage, 30 by the pulses of aux: 6 apart." in error.what
    assert plan_recordings(found, lab.settings, decided)[0].state == "new"
    ingest(lab, place)
    assert work(lab).failed == []
    assert verdicts()["two_photon_frames"][0] == "fail"


def test_a_stream_that_nobody_tells_of_is_named_with_the_nearest(lab, recordings):  # noqa: F811
    key = arrived(lab, recordings[0], recorded(task=None))
    with pytest.raises(NotCertified, match=r"adamacs why sync\.Certificate scan_id="):
        require_pass(key)
    assert work(lab).failed == []
    with pytest.raises(InvalidKey, match="two_photon_frames"):
        require_pass(key, ["two_photon_frame"])
    with pytest.raises(InvalidKey, match="0 scans"):
        require_pass({"scan_id": "scan00000000"})


def test_the_command_tells_the_certificate_and_draws_it(lab, recordings):  # noqa: F811
    ran = recorded()
    frames = ran.pulses["two_photon_frames"][:-3]
    key = arrived(lab, recordings[0], replace(ran, pulses={**ran.pulses, "two_photon_frames": frames}))
    shown = command(lab, "sync", key["scan_id"])
    assert (shown.returncode, "NOT CERTIFIED: adamacs why sync.Certificate" in shown.stdout) == (1, True)
    assert work(lab).failed == []
    picture = lab.home / "page.png"
    shown = command(lab, "sync", key["scan_id"], "--plot", str(picture))
    assert (shown.returncode, shown.stderr) == (1, "")
    assert "FAIL, 4 streams." in shown.stdout
    assert "  FAIL   two_photon_frames" in shown.stdout and "3 apart" in shown.stdout
    assert picture.read_bytes().startswith(b"\x89PNG")
    told = json.loads(command(lab, "sync", key["scan_id"], "--json").stdout)["certificate"]
    assert (told["verdict"], told["holds"]) == ("fail", False)
    assert {one["stream"]: one["verdict"] for one in told["streams"]}["bpod_trials"] == "pass"
    other = command(lab, "sync", key["scan_id"], "--plot", str(lab.home / "page.txt"))
    assert (other.returncode, ".png or .pdf or .svg" in other.stderr) == (1, True)


def test_a_missing_certificate_says_what_it_waits_for(lab, recordings):  # noqa: F811
    key = arrived(lab, recordings[0], recorded())
    asked = f"scan_id={key['scan_id']}"
    waits = command(lab, "why", "sync.Certificate", asked).stdout
    assert all(table in waits for table in ("imaging.ScanInfo", "event.EventImport", "It waits for"))
    assert work(lab, "ScanInfo", "EventImport", "Promise").failed == []
    waits = command(lab, "why", "sync.Certificate", asked).stdout
    assert "It waits for sync.ClockSync." in waits and "imaging.ScanInfo" not in waits
    assert work(lab).failed == []
    assert "It is there." in command(lab, "why", "sync.Certificate", asked).stdout


def test_a_scan_without_events_asks_for_none(lab, recordings):  # noqa: F811
    synthetic.write_setups(lab.home)  # a lab that records frames alone
    ingest(lab, put(lab, recordings[0], OPENFIELD))
    key = scan()
    waits = command(lab, "why", "sync.Certificate", f"scan_id={key['scan_id']}").stdout
    assert "imaging.ScanInfo" in waits and "never staged" not in waits
    assert work(lab).failed == []
    assert verdicts() == {
        "two_photon_frames": ("pass", "24 by the header of ScanImage and the files of ScanImage."),
    }


# ---- tellers of whom nothing can be read


def cut_short(patch, place):
    """Let a reader, or a table, stumble over its files."""

    def refuse(*given):
        raise UnreadableFile("It ends too early.", "x")

    patch.setattr(place, refuse)


BPOD = "adamacs.modalities.behavior.importers.bpod.import_bpod"


def test_a_source_that_cannot_be_read_fails_its_streams_and_holds_nothing_else_back(lab, recordings, monkeypatch):  # noqa: F811
    key = arrived(lab, recordings[0], recorded())
    with monkeypatch.context() as patch:
        cut_short(patch, BPOD)
        assert len(work(lab).failed) == 1
    found = verdicts()
    assert {name: verdict for name, (verdict, _) in found.items() if verdict != "pass"} == {"bpod_trials": "fail"}
    assert found["bpod_trials"][1].startswith("Nothing could be read of bpod: UnreadableFile: x: It ends too early.")
    assert outdated(key) == ()
    require_pass(key, ["two_photon_frames"])
    with pytest.raises(NotCertified, match=r"bpod_trials \(fail\): Nothing could be read"):
        require_pass(key)
    assert "FAIL   bpod_trials " in command(lab, "sync", key["scan_id"], "--plot", str(lab.home / "page.png")).stdout
    assert len(jobs.apply(jobs.plan_retry([(pipeline.event.EventImport, {})]))) == 1
    assert work(lab).failed == []
    assert verdicts()["bpod_trials"][0] == "pass"
    require_pass(key)


def test_a_source_that_may_still_be_read_is_waited_for(lab, recordings, monkeypatch):  # noqa: F811
    arrived(lab, recordings[0], recorded())
    with monkeypatch.context() as patch:
        patch.setattr(BPOD, lambda *given: (_ for _ in ()).throw(MissingFile("A file is away.", "x")))
        work(lab)
    assert len(pipeline.sync.Certificate()) == 0


def test_a_source_that_somebody_left_out_fails_its_streams_and_says_so(lab, recordings):  # noqa: F811
    key = arrived(lab, recordings[0], recorded())
    where = [(pipeline.event.EventImport, {**key, "source": "bpod"})]
    jobs.apply(jobs.plan_exclude(where, reason="Bpod ran for another mouse."))
    assert work(lab).failed == []
    verdict, why = verdicts()["bpod_trials"]
    assert (verdict, "it was left out by" in why, "another mouse" in why) == ("fail", True, True)


def test_headers_that_cannot_be_read_fail_the_frames(lab, recordings, monkeypatch):  # noqa: F811
    key = arrived(lab, recordings[0], recorded())
    with monkeypatch.context() as patch:
        cut_short(patch, "adamacs.modalities.imaging.tables.scan_info.ScanInfo.make_compute")
        assert len(work(lab).failed) == 1
    found = verdicts()
    assert (found["two_photon_frames"][0], found["bpod_trials"][0]) == ("fail", "pass")
    assert found["two_photon_frames"][1].startswith(
        "Nothing could be read of ScanImage: UnreadableFile: x: It ends too early."
    )
    assert outdated(key) == ()


def test_where_the_auxiliary_recording_cannot_be_read_every_stream_of_its_pulses_fails(lab, recordings, monkeypatch):  # noqa: F811
    arrived(lab, recordings[0], recorded())
    with monkeypatch.context() as patch:
        cut_short(patch, "adamacs.modalities.behavior.importers.wavesurfer.import_wavesurfer")
        assert len(work(lab).failed) == 1
    found = verdicts()
    assert {name for name, (verdict, _) in found.items() if verdict == "fail"} == {
        *("two_photon_frames", "optitrack_frames", "camera_frames", "bpod_trials"),
    }
    assert found["two_photon_frames"][1].startswith("Nothing could be read of aux: UnreadableFile: x: It ends too")
    assert found["bpod_trials"][1].startswith("Clock bpod could not be placed on aux: nothing could be read of aux.")


def test_what_is_placed_through_a_source_that_cannot_be_read_fails_with_it(lab, recordings, monkeypatch):  # noqa: F811
    ran = recorded(task=None)
    place = put(lab, recordings[0], OPENFIELD, ran)
    stamps = np.round(1e9 * (1_700_000_000 + ran.pulses["camera_frames"][:, 0] / ran.sample_rate)).astype(np.int64)
    for name in ("mini2p1_top_video", "left_eye1_video"):
        cameras.write_bonsai(place / f"x_{name}_timestamps_2026-02-10T10_00_00.csv", stamps, offset=60)
    ingest(lab, place)
    importers = pipeline.event.IMPORTERS
    reader = importers["camera"]

    def stumble(files, settings):
        if files.source == "camera_top":
            raise UnreadableFile("It ends too early.", "x")
        return named(reader)(files, settings)

    monkeypatch.setitem(importers, "camera", "tests.integration.test_certificate:stumbling")
    monkeypatch.setattr("tests.integration.test_certificate.stumbling", stumble, raising=False)
    assert len(work(lab).failed) == 1
    found = verdicts()
    assert found["camera_top"][0] == found["camera_eye1"][0] == "fail"
    assert (
        "Clock camera_eye1 could not be placed on aux: nothing could be read of camera_top." in found["camera_eye1"][1]
    )
