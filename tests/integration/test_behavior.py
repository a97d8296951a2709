"""Continuous behaviour, from what a rig wrote to what the tables hold: the way that a mouse ran comes back."""

from __future__ import annotations

import shutil
from dataclasses import replace

import numpy as np
import pytest

from adamacs import pipeline
from adamacs.core import setups
from adamacs.demo import bpod, harp, rig
from adamacs.ingest.answers import read_answers
from adamacs.ingest.apply import apply_plan
from adamacs.ingest.plan import plan_ingest
from adamacs.modalities.behavior.numerics.decimate import decimate, decimation_filter
from adamacs.workers import loop, roles
from tests.integration.test_ingest import command

WHEEL = "\n[wheel]\ncircumference = 47.1\nlow = 0.2\nhigh = 4.8\ndirection = -1\n"
MOVEMENT = (
    *("position", "speed", "circumference", "low_voltage", "high_voltage", "direction", "fastest", "speed_window"),
    *("replaced_count", "jump_count", "outside_count"),
)
HARP = (
    '\n[harp]\naccelerometer = 0.0024\ngyroscope = 0.061\nmagnetometer = 0.15\nsample_rate = 100\ngate = "harp_gate"\n'
)
SCALES = {"accelerometer": 0.0024, "gyroscope": 0.061, "magnetometer": 0.15}
ONE_COUNT = 10 / 2**15  # V, nearly, of the board


@pytest.fixture
def recording(recordings):
    """The folder of a scan of the tiny synthetic lab."""
    return recordings[0]


@pytest.fixture
def lab(mouse_lab):
    """A lab whose setup types are those that ship."""
    shutil.rmtree(mouse_lab.home / "setups")
    yield mouse_lab
    shutil.rmtree(mouse_lab.home / "setups", ignore_errors=True)


def with_wheel(lab, name):
    """Let the lab say what the volts of a setup type's wheel mean; return the setup type."""
    text = (setups.SHIPPED / f"{name}.toml").read_text(encoding="utf-8")
    (lab.home / "setups").mkdir(exist_ok=True)
    (lab.home / "setups" / "own.toml").write_text(text.replace("\n[clock]\n", f"{WHEEL}\n[clock]\n"), encoding="utf-8")
    return setups.load(lab.home).find(name)


def with_harp(lab, table, *, needs_aux=True):
    """Let the lab say what HARP's counts mean; return the setup type."""
    text = (setups.SHIPPED / "mini2p1_openfield.toml").read_text(encoding="utf-8")
    before, _, behind = text.partition("\n[harp]\n")
    text = f"{before}{table}\n[[align]]\n{behind.partition('[[align]]')[2]}"
    if not needs_aux:
        text = text.replace('files = "*.h5"', 'files = "*.h5"\nleast = 0')
    (lab.home / "setups").mkdir(exist_ok=True)
    (lab.home / "setups" / "own.toml").write_text(text, encoding="utf-8")
    return setups.load(lab.home).find("mini2p1_openfield")


def felt(samples, seed=0):
    """Return counts of HARP's sensors, int16 (sample, 3) each."""
    rng = np.random.default_rng(seed)
    return {name: rng.integers(-3000, 3000, (samples, 3)).astype(np.int16) for name in SCALES}


def ingest(lab, folder, ran, beside=None, *, with_aux=True):
    """Put a recording on the share, with what a rig wrote beside it and what `beside` writes there, and ingest it."""
    place = lab.settings.root("share") / "demo" / folder.name
    shutil.copytree(folder, place)
    if with_aux:
        ran.write(place / f"{folder.name}.h5")
    if beside is not None:
        beside(place)
    (lab.home / "answers.toml").write_text(f'[defaults]\nsetup_type = "{ran.setup.name}"\n')
    answers = read_answers(lab.home / "answers.toml")
    (outcome,) = apply_plan(plan_ingest([place], lab.settings, answers=answers), lab.settings)
    assert outcome.state == "written", outcome.reason


def work(lab):
    """Let a worker of the role that fills the tables fill them."""
    tally = loop.drain(roles.named("cpu"), lab.settings, [pipeline.event.EventImport, *continuous()])
    assert tally.failed == []
    return tally.done


def continuous():
    return [getattr(pipeline.behavior, name) for name in ("TreadmillRecording", "CamSyncRecording", "HarpRecording")]


def decimated(volts, sample_rate):
    return np.concatenate(list(decimate([volts], decimation_filter(sample_rate, 10))))


def test_the_way_that_a_mouse_ran_comes_back_within_half_a_millimetre(lab, recording):
    ran = rig.record(with_wheel(lab, "bench2p"))
    ingest(lab, recording, ran)
    assert work(lab) == {"event.EventImport": 1, "behavior.TreadmillRecording": 1}
    row = pipeline.behavior.TreadmillRecording.fetch1()
    assert (row["kept_rate"], row["decimation"], row["cutoff"]) == (ran.sample_rate / 10, 10, 875.0)
    position, speed, volts = row["position"][:], row["speed"][:], row["volts"][:]
    kept = np.round((row["first_time"] + np.arange(len(position)) / row["kept_rate"]) * ran.sample_rate).astype(int)
    assert kept[-1] == ran.samples - 10
    assert len(position) == len(speed) == len(volts) == len(kept)
    assert np.abs(position - ran.ride.position[kept]).max() < 0.05  # cm
    assert np.abs(speed - ran.ride.speed[kept]).max() < 0.1  # cm/s
    assert ran.ride.speed.min() < 0 < ran.ride.speed.max(), "the mouse turned back"
    assert np.abs(volts - decimated(ran.ride.volts(), ran.sample_rate)).max() < ONE_COUNT
    assert [row[name] for name in MOVEMENT[2:8]] == [47.1, 0.2, 4.8, -1, 300.0, 0.25]
    assert row["replaced_count"] > 0, "samples within falls of the output"
    assert (row["jump_count"], row["outside_count"]) == (0, 0)


def test_a_setup_type_that_does_not_say_what_the_wheel_s_volts_mean_keeps_volts_alone(lab, recording):
    ran = rig.record(setups.load(lab.home).find("bench2p"))
    ingest(lab, recording, ran)
    work(lab)
    row = pipeline.behavior.TreadmillRecording.fetch1()
    assert [row[name] for name in MOVEMENT] == [None] * len(MOVEMENT)
    assert np.abs(row["volts"][:] - decimated(ran.ride.volts(), ran.sample_rate)).max() < ONE_COUNT


def test_the_light_that_cameras_see_is_kept_as_it_was_written(lab, recording):
    ran = rig.record(setups.load(lab.home).find("mini2p1_openfield"))
    ingest(lab, recording, ran)
    assert work(lab) == {"event.EventImport": 1, "behavior.CamSyncRecording": 1}
    row = pipeline.behavior.CamSyncRecording.fetch1()
    expected = decimated(ran.waveform("cam_sync"), ran.sample_rate)
    assert np.ptp(expected) > 4, "the light was on and off"
    assert np.abs(row["volts"][:] - expected).max() < ONE_COUNT
    assert (row["kept_rate"], row["decimation"], row["first_time"]) == (ran.sample_rate / 10, 10, 0.0)


def test_a_recording_without_these_channels_has_no_row(lab, recording):
    ingest(lab, recording, rig.record(setups.load(lab.home).find("mini2p2_openfield")))
    assert work(lab) == {"event.EventImport": 1}
    assert [len(table()) for table in continuous()] == [0, 0, 0]


def test_working_again_changes_nothing(lab, recording):
    ingest(lab, recording, rig.record(with_wheel(lab, "bench2p")))
    work(lab)
    before = pipeline.behavior.TreadmillRecording.to_dicts()
    assert work(lab) == {}
    assert pipeline.behavior.TreadmillRecording.to_dicts() == before
    stored = (lab.home / "stores" / "derived").rglob("*.b2nd")
    assert sum("TreadmillRecording" in path.as_posix() for path in stored) == 3


def table_of(counts):
    return lambda place: harp.write_imu_table(place / "x_IMU_harp_weardata_2026.csv", counts)


def test_what_the_head_felt_comes_back_in_units_and_within_half_a_sample_of_its_time(lab, recording):
    setup = with_harp(lab, HARP)
    ran = rig.record(setup)
    start, stop = ran.pulses["harp_gate"][0] / ran.sample_rate
    taken = np.arange(start + 0.0013, stop, 1 / 99.4)  # a device that is a little slow
    counts = felt(len(taken))
    ingest(lab, recording, ran, table_of(counts))
    work(lab)
    row = pipeline.behavior.HarpRecording.fetch1()
    for column, sensor in (("acceleration", "accelerometer"), ("gyroscope",) * 2, ("magnetometer",) * 2):
        values = row[column][:]
        assert values.dtype == np.float32
        np.testing.assert_allclose(values, counts[sensor] * SCALES[sensor], rtol=1e-6)
    units = [row[f"{name}_unit"] for name in ("acceleration", "gyroscope", "magnetometer")]
    assert units == ["m/s^2", "deg/s", "uT"]
    assert (row["sample_count"], row["gate_source"]) == (len(taken), "aux")
    told = row["first_time"] + np.arange(len(taken)) * row["sample_interval"]
    assert np.abs(told - taken).max() <= 0.5 / 99.4
    assert "which 100 Hz bear out" in row["time_method"]
    assert (pipeline.event.BehaviorRecording.Source & {"source": "harp_imu"}).fetch1("clock") == "aux"
    assert len(pipeline.clock.Clock & {"clock": "harp_imu"}) == 0


def test_a_setup_type_that_knows_no_calibration_keeps_counts_and_calls_them_so(lab, recording):
    ran = rig.record(setups.load(lab.home).find("mini2p1_openfield"))
    counts, others = felt(900), felt(900, seed=1)

    def beside(place):
        table_of(counts)(place)
        harp.write_imu_binaries(place, "x", others)

    ingest(lab, recording, ran, beside)
    work(lab)
    row = pipeline.behavior.HarpRecording.fetch1()
    assert row["acceleration"][:].dtype == np.int16
    assert np.array_equal(row["acceleration"][:], counts["accelerometer"]), "the table, and not the copies beside it"
    assert {row[f"{name}_unit"] for name in ("acceleration", "gyroscope", "magnetometer")} == {"counts"}
    start, stop = ran.pulses["harp_gate"][0] / ran.sample_rate
    assert row["sample_interval"] == pytest.approx((stop - start) / 900)
    assert row["first_time"] == pytest.approx(start + row["sample_interval"] / 2)
    told = pipeline.event.EventImport & {"source": "harp_imu"}
    assert "The table x_IMU_harp_weardata_2026.csv was read" in told.fetch1("remarks")
    assert (told.fetch1("event_count"), len(pipeline.event.EventImport.Channel & told.fetch1("KEY"))) == (0, 3)


def test_a_sensor_that_was_not_recorded_is_null_and_a_file_of_one_needs_no_others(lab, recording):
    ran = rig.record(setups.load(lab.home).find("mini2p1_openfield"))
    turning = {"gyroscope": felt(900)["gyroscope"]}
    ingest(lab, recording, ran, lambda place: harp.write_imu_binaries(place, "x", turning))
    work(lab)
    row = pipeline.behavior.HarpRecording.fetch1()
    assert (row["acceleration"], row["acceleration_unit"], row["magnetometer"]) == (None, "", None)
    assert np.array_equal(row["gyroscope"][:], turning["gyroscope"])


def test_samples_that_do_not_fit_the_gate_keep_their_values_and_get_no_times(lab, recording):
    ran = rig.record(with_harp(lab, HARP))
    ingest(lab, recording, ran, table_of(felt(300)))
    work(lab)
    row = pipeline.behavior.HarpRecording.fetch1()
    assert (row["first_time"], row["sample_interval"], row["sample_count"]) == (None, None, 300)
    assert "300 samples at 100 Hz fit 0 of 1 openings of the gate" in row["time_method"]


def test_without_an_auxiliary_recording_times_count_from_the_first_sample(lab, recording):
    ran = rig.record(with_harp(lab, HARP, needs_aux=False))
    ingest(lab, recording, ran, table_of(felt(300)), with_aux=False)
    work(lab)
    row = pipeline.behavior.HarpRecording.fetch1()
    assert (row["first_time"], row["sample_interval"], row["gate_source"]) == (0.0, 0.01, None)
    assert (pipeline.event.BehaviorRecording.Source & {"source": "harp_imu"}).fetch1("clock") == "harp_imu"


def test_a_head_that_was_ingested_on_its_own_clock_does_not_move_to_another_unseen(lab, recording):
    ran = rig.record(with_harp(lab, HARP, needs_aux=False))
    own = lab.home / "setups" / "own.toml"  # of a lab whose auxiliary recordings had another name
    text = own.read_text(encoding="utf-8")
    own.write_text(text.replace('files = "*.h5"', 'files = "*_aux.h5"'), encoding="utf-8")
    ingest(lab, recording, ran, table_of(felt(900)))
    before = pipeline.clock.Clock.to_dicts()
    assert {row["clock"]: bool(row["is_scan_time"]) for row in before} == {"frames": True, "harp_imu": False}
    own.write_text(text, encoding="utf-8")
    answers = read_answers(lab.home / "answers.toml")
    place = lab.settings.root("share") / "demo" / recording.name
    (scan,) = plan_ingest([place], lab.settings, answers=answers).scans
    assert scan.state == "refused"
    assert (
        "The times of harp_imu are on harp_imu in the database, and on aux by the setup type." in scan.problems[-1].what
    )
    assert f"`adamacs remove {scan.scan_id}`" in scan.problems[-1].hint
    (outcome,) = apply_plan(plan_ingest([place], lab.settings, answers=answers), lab.settings)
    assert (outcome.state, pipeline.clock.Clock.to_dicts()) == ("refused", before)


def test_the_head_waits_for_the_gate_and_goes_with_it(lab, recording):
    ran = rig.record(setups.load(lab.home).find("mini2p1_openfield"), seed=3)
    swapped = {"two_photon_frames": ran.pulses["line_clock"], "line_clock": ran.pulses["two_photon_frames"]}
    nameless = tuple(replace(channel, names=()) for channel in ran.setup.channel)
    wrong = replace(ran, setup=replace(ran.setup, channel=nameless), pulses=ran.pulses | swapped)

    def beside(place):
        table_of(felt(900))(place)
        bpod.write_bpod(place / f"{place.name}.mat", ran.task.session)

    ingest(lab, recording, wrong, beside)
    tables = [pipeline.event.EventImport, *continuous(), pipeline.sync.ClockSync]
    assert len(loop.drain(roles.named("cpu"), lab.settings, tables).failed) == 1
    assert len(pipeline.event.EventImport & {"source": "harp_imu"}) == 1
    assert len(pipeline.behavior.HarpRecording()) == 0
    scan = pipeline.scan.Scan.to_arrays("scan_id")[0]
    for table, source in (("behavior.HarpRecording", "harp_imu"), ("sync.ClockSync", "bpod")):
        why = command(lab, "why", table, f"scan_id={scan},source={source}").stdout
        assert "It waits for event.EventImport" in why
        assert f"scan_id={scan},source=aux: " in why
        assert "two_photon_frames (digital line 2" in why


def test_an_import_of_the_gate_that_is_deleted_takes_the_head_along(lab, recording):
    ran = rig.record(setups.load(lab.home).find("mini2p1_openfield"))
    ingest(lab, recording, ran, table_of(felt(900)))
    for _ in range(2):
        assert work(lab)["behavior.HarpRecording"] == 1
        (pipeline.event.EventImport & {"source": "aux"}).delete(prompt=False)
        assert len(pipeline.behavior.HarpRecording()) == 0
