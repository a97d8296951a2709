"""What cells, the wheel and licks did around events, asked in one call: rows put in by hand, of one known truth."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from datetime import datetime

import numpy as np
import pytest
from matplotlib.figure import Figure

from adamacs.analysis import plots
from adamacs.analysis.frame_times import SPARE, frame_times
from adamacs.analysis.numerics import averaging
from adamacs.analysis.numerics.timeline import Timeline
from adamacs.analysis.peri_event import peri_event
from adamacs.core.clocks.mapping import ClockModel
from adamacs.core.errors import InvalidKey, InvalidRequest, UnusableClock
from adamacs.pipeline import behavior, clock, event, imaging, scan, session, subject, sync, trial
from adamacs.storage import arrays

SCAN = {"session_id": "sess9FY6AIRM", "scan_id": "scan9FY6AIRM"}
KEY = {"scan_id": SCAN["scan_id"]}
AUX, BPOD = ({**SCAN, "source": name} for name in ("aux", "bpod"))
CURATION = {**SCAN, "paramset_idx": 0, "curation_id": 1}
NOON = datetime(2026, 2, 10, 12, 0, 0)
RATE, FRAMES, SECONDS = 30.0, 1800, 70.0
MODEL = ClockModel("bpod", "aux", "linear", (0.0, 100.0), (3.5, 3.502))  # 20 ppm
CUES = 6.0 + 4.0 * np.arange(14)  # s of scan time, 0.3 s after their trial began
KINDS = ("1", "10", "2")  # types of trials in turn
STRONG = {"1": 1.0, "2": 2.0, "10": 10.0}  # how much the cells answer
WHEEL_RATE = 2000.0
LICKS = np.sort(np.concatenate([CUES + 0.52, CUES[::2] + 0.61]))


def answer(lag):
    """What a cue brings about: a triangle from 0 to 1 s behind it."""
    return np.clip(1 - np.abs(np.asarray(lag) - 0.5) / 0.5, 0, None)


def response(times):
    """The sum of all answers at some times of the scan."""
    kinds = [STRONG[KINDS[number % 3]] for number in range(len(CUES))]
    return sum(strong * answer(times - cue) for strong, cue in zip(kinds, CUES, strict=True))


@dataclass
class Imaged:
    """Frames of a scan and cells that answer cues, put into the tables."""

    setup: str = "mini2p1_openfield"
    planes: int = 1
    frames: int = FRAMES
    cells: int = 4  # of each plane
    volumes: bool = False
    flyback: int = 0  # pulses behind the planes of each volume
    averaging: int = 1  # frames in a saved one
    spare: int = 0  # pulses behind the last frame
    lost: tuple[int, ...] = ()
    pulses: np.ndarray = field(default_factory=lambda: np.empty(0))

    @property
    def per_volume(self):
        """Frames that the scanner draws from one volume to the next."""
        return (self.planes + self.flyback) * self.averaging

    def insert(self):
        per_volume = self.per_volume
        drawn = {"scanner_frames": per_volume, "log_averaging": self.averaging}
        info = {"nfields": self.planes, "nchannels": 1, "ndepths": self.planes, "nframes": self.frames, "nrois": 0}
        imaging.ScanInfo.insert1(
            {**SCAN, **info, **drawn, "fps": RATE / per_volume, "scan_duration": self.frames * per_volume / RATE},
            allow_direct_insert=True,
        )
        px = {"px_height": 8, "px_width": 8}
        imaging.ScanInfo.Field.insert(
            [{**SCAN, **px, "field_idx": n, "plane": n} for n in range(self.planes)], allow_direct_insert=True
        )
        count = self.frames * per_volume + self.spare
        self.pulses = np.ceil((1.0 + np.arange(count) / RATE) * 20_000) / 20_000
        self._insert_pulses()
        self._insert_cells()
        return self

    def _insert_pulses(self):
        scan.ScanSetup.insert1({**SCAN, "setup_type": self.setup})
        name = "mini2p" if self.setup.startswith("mini2p") else "bench2p"
        insert_series(f"{name}_frames", np.delete(self.pulses, self.lost))
        if self.volumes:
            insert_series(f"{name}_volumes", self.pulses[: self.frames * self.per_volume : self.per_volume] + 2e-4)

    def times(self, plane):
        """When the frames of a plane truly were."""
        return self.pulses[plane * self.averaging :: self.per_volume][: self.frames]

    def _insert_cells(self):
        imaging.ProcessingParamSet.insert_new({})
        task = {"processing_output_dir": "out", "task_mode": "trigger"}
        imaging.ProcessingTask.insert1({**SCAN, "paramset_idx": 0, **task})
        done = {"processing_time": NOON, "package_version": "1.1.0", "manifest_digest": "00"}
        imaging.Processing.insert1({**SCAN, "paramset_idx": 0, **done}, allow_direct_insert=True)
        self.insert_curation(1)

    def insert_curation(self, number):
        key = {**CURATION, "curation_id": number}
        about = {"curation_time": NOON, "curation_output_dir": "out", "manual_curation": False}
        imaging.Curation.insert1({**key, **about})
        pixels = stored("masks", np.zeros(1, imaging.MASK_PIXEL))
        direct = {"allow_direct_insert": True}
        imaging.Segmentation.insert1({**key, "masks": pixels}, **direct)
        imaging.MaskClassification.insert1(
            {**key, "mask_classification_method": "suite2p_default_classifier"}, **direct
        )
        imaging.Fluorescence.insert1(key, **direct)
        imaging.Activity.insert1({**key, "extraction_method": "suite2p_deconvolution"}, **direct)
        for plane in range(self.planes):
            self._insert_field(key, plane, pixels)

    def _insert_field(self, key, plane, pixels):
        direct = {"allow_direct_insert": True}
        first = plane * self.cells
        parts = {"mask_xpix": pixels.field("x"), "mask_ypix": pixels.field("y"), "mask_weights": pixels.field("weight")}
        middle = {"mask_npix": 1, "mask_center_x": 0.0, "mask_center_y": 0.0, "mask_center_z": float(plane)}
        masks = [{**key, "mask": first + n} for n in range(self.cells)]
        of_field = {"field_idx": plane, "segmentation_channel": 0}
        imaging.Segmentation.Mask.insert([{**mask, **of_field, **middle, **parts} for mask in masks], **direct)
        judged = {"mask_classification_method": "suite2p_default_classifier", "mask_type": "soma"}
        imaging.MaskClassification.MaskType.insert(
            [{**mask, **judged} for mask in masks if mask["mask"] % 4 != 1], **direct
        )
        place = {**key, "field_idx": plane, "fluo_channel": 0, "first_mask": first}
        traces = {
            "fluorescence": stored("F", self.signal(plane)),
            "neuropil_fluorescence": stored("Fneu", np.full((self.cells, self.frames), 100, "f4")),
        }
        imaging.Fluorescence.Field.insert1({**place, **traces}, **direct)
        spikes = stored("spks", self.signal(plane) / 1000)
        method = {"extraction_method": "suite2p_deconvolution"}
        imaging.Activity.Field.insert1({**place, **method, "activity_trace": spikes}, **direct)

    def signal(self, plane):
        """Cell c answers cues c times as strongly as the first, on a baseline of 1000, (cell, frame)."""
        number = plane * self.cells + np.arange(self.cells)
        return (1000 + (1 + number)[:, None] * response(self.times(plane))).astype("f4")


def stored(name, values):
    return arrays.write("derived", arrays.path_of("Hand", SCAN, name), values)


def insert_series(event_type, times, source=AUX):
    event.EventType.insert1({"event_type": event_type})
    row = {**source, "event_type": event_type, "pulse_count": len(times), "times": stored(event_type, times)}
    event.EventImport.EventSeries.insert1(row, allow_direct_insert=True)


def insert_events(source, **times):
    """Put in events on the clock of their source, by type."""
    event.EventType.insert([{"event_type": name} for name in times])
    found = sorted((time, name) for name, of_type in times.items() for time in of_type)
    rows = [
        {**source, "event_id": number, "event_type": name, "event_start_time": time}
        for number, (time, name) in enumerate(found, 1)
    ]
    event.EventImport.Event.insert(rows, allow_direct_insert=True)


def insert_trials():
    """Trials of three types in turn, on Bpod's clock; every second one was an error."""
    starts = MODEL.invert(CUES - 0.3)
    trial.TrialType.insert([{"trial_type": kind} for kind in KINDS])
    trial.TrialImport.insert1({**BPOD, "trial_count": len(starts)}, allow_direct_insert=True)
    rows = [
        {
            **BPOD,
            "trial_id": number + 1,
            "source_trial": number,
            "trial_type": KINDS[number % 3],
            "trial_start_time": start,
            "trial_stop_time": start + 2.0,
        }
        for number, start in enumerate(starts)
    ]
    trial.TrialImport.Trial.insert(rows, allow_direct_insert=True)
    told = [
        {**BPOD, "trial_id": number, "attribute_name": "error", "attribute_value": "true"}
        for number in range(2, len(starts) + 1, 2)
    ]
    trial.TrialImport.Attribute.insert(told, allow_direct_insert=True)


def insert_wheel():
    """A wheel that turns at 10 cm/s, and a second behind each cue at 30 cm/s."""
    times = np.arange(int(SECONDS * WHEEL_RATE)) / WHEEL_RATE
    speed = np.full(len(times), 10.0, "f4")
    for cue in CUES:
        speed[(times >= cue) & (times < cue + 1)] = 30.0
    row = {"kept_rate": WHEEL_RATE, "decimation": 10, "first_time": 0.0, "volts": stored("volts", speed)}
    moved = {"position": stored("position", np.cumsum(speed) / WHEEL_RATE), "speed": stored("speed", speed)}
    behavior.TreadmillRecording.insert1({**AUX, **row, **moved}, allow_direct_insert=True)


def insert_sync():
    numbers = dict.fromkeys(
        (
            *("clock_offset", "clock_drift", "residual_median", "residual_rms", "residual_p95", "residual_max"),
            "quality",
        ),
        0,
    )
    numbers |= dict.fromkeys(("pairs_used", "pairs_rejected", "source_alone", "target_alone"), 0)
    row = {"clock": "bpod", "target_source": "aux", "target_clock": "aux", "clock_model": "linear"}
    row |= {"clock_mapping": MODEL.to_json(), "sync_method": "by hand", "pairs": stored("pairs", np.zeros((3, 0)))}
    sync.ClockSync.insert1({**BPOD, **numbers, **row}, allow_direct_insert=True)


@pytest.fixture
def bare(mouse_lab):
    """One scan beside which nothing was recorded; setup types are those that ship."""
    shutil.rmtree(mouse_lab.home / "setups")
    subject.Subject.insert1({"subject": "m1"})
    session.Session.insert1({"session_id": SCAN["session_id"], "subject": "m1", "session_date": NOON.date()})
    scan.Scan.insert1({**SCAN, "acq_software": "ScanImage"})
    return mouse_lab


@pytest.fixture
def recorded(bare):
    """The same with an auxiliary recording and a Bpod session that are imported, and Bpod's clock placed."""
    for name, is_scan_time in (("aux", True), ("bpod", False)):
        about = {"zero": f"start of {name}", "is_scan_time": is_scan_time, "placed_by": "" if is_scan_time else "bpod"}
        clock.Clock.insert1({**SCAN, "clock": name, **about})
    event.BehaviorRecording.insert1({**SCAN, "recording_duration": SECONDS})
    for key, name, parser in ((AUX, "aux", "wavesurfer"), (BPOD, "bpod", "bpod")):
        event.BehaviorRecording.Source.insert1({**key, "clock": name, "parser": parser})
        event.EventImport.insert1({**key, "event_count": 0, "remarks": ""}, allow_direct_insert=True)
    insert_events(AUX, aux_lick=LICKS, shutter=[0.5])
    insert_events(BPOD, bpod_cue=MODEL.invert(CUES))
    insert_trials()
    insert_sync()
    insert_wheel()
    return bare


@pytest.fixture
def imaged(recorded):
    """The same with cells."""
    return Imaged().insert()


def test_of_several_sources_of_trials_that_one_is_taken_which_knows_what_is_asked(recorded):
    log = {**SCAN, "source": "bonsai"}
    event.BehaviorRecording.Source.insert1({**log, "clock": "aux", "parser": "bonsai_log"})
    event.EventImport.insert1({**log, "event_count": 0, "remarks": ""}, allow_direct_insert=True)
    trial.TrialImport.insert1({**log, "trial_count": 2}, allow_direct_insert=True)
    passes = [
        {**log, "trial_id": 1 + half, "source_trial": half, "trial_start_time": half * SECONDS / 2} for half in (0, 1)
    ]
    trial.TrialImport.Trial.insert(passes, allow_direct_insert=True)
    told = [{**log, "trial_id": n, "attribute_name": "complete", "attribute_value": str(n)} for n in (1, 2)]
    trial.TrialImport.Attribute.insert(told, allow_direct_insert=True)
    by_type = peri_event(KEY, "speed", "bpod_cue", (-1, 2), by="trial_type")
    assert by_type["condition"].values.tolist() == ["1", "2", "10"]
    by_pass = peri_event(KEY, "speed", "bpod_cue", (-1, 2), by="complete")
    assert by_pass["condition"].values.tolist() == ["1", "2"]
    assert peri_event(KEY, "speed", "bpod_cue", (-1, 2))["trial_id"].values.tolist() == list(range(1, len(CUES) + 1))


def test_cells_are_averaged_around_events_of_another_clock_by_the_type_of_their_trial(imaged):
    found = peri_event(KEY, "fluorescence", "bpod_cue", (-1, 2), by="trial_type")
    assert found["average"].dims == ("condition", "cell", "lag")
    assert found["condition"].values.tolist() == ["1", "2", "10"]
    assert found["cell"].values.tolist() == [0, 2, 3], "mask 1 was not accepted"
    assert found["field_idx"].values.tolist() == [0, 0, 0]
    np.testing.assert_allclose(found["lag"], np.arange(-30, 61) / RATE, atol=1e-5)
    for kind, strong in STRONG.items():
        for cell in (0, 2, 3):
            expected = 1000 + strong * (1 + cell) * answer(found["lag"])
            measured = found["average"].sel(condition=kind, cell=cell)
            np.testing.assert_allclose(measured, expected, atol=0.05 * strong * (1 + cell))
    assert found["counted"].sel(condition="1").values.tolist() == [[5] * 91] * 3
    assert float(found["sem"].max()) < 0.3
    np.testing.assert_allclose(found["time"], CUES, atol=1e-9)
    assert found["trial_id"].values.tolist() == list(range(1, 15))
    assert found["condition"].values[found["event_condition"].values].tolist() == [KINDS[n % 3] for n in range(14)]
    told = found.attrs
    assert (told["event_type"], told["values"], told["curation_id"], told["left_out"]) == (
        "bpod_cue",
        "fluorescence",
        1,
        0,
    )
    assert told["clock"] == "scan time, seconds since: start of aux"
    assert found["average"].attrs["units"] == "a.u."
    assert 0 < told["lag_accuracy"] < 1e-4


def test_every_trace_of_the_cells_can_be_asked_for(imaged):
    lag = 0.5
    by_trace = {
        name: float(
            peri_event(KEY, name, "bpod_cue", (0, 1))["average"].sel(cell=3).sel(lag=lag, method="nearest").item()
        )
        for name in ("fluorescence", "neuropil", "corrected", "dff", "activity")
    }
    brought = 4 * np.mean([STRONG[KINDS[n % 3]] for n in range(14)])
    assert by_trace["neuropil"] == 100
    assert by_trace["fluorescence"] == pytest.approx(1000 + brought, rel=1e-3)
    assert by_trace["corrected"] == pytest.approx(930 + brought, rel=1e-3)
    assert by_trace["activity"] == pytest.approx(1 + brought / 1000, rel=1e-3)
    assert by_trace["dff"] == pytest.approx(brought / 930, rel=0.05)


def test_single_trials_are_those_that_the_average_is_of(imaged):
    found = peri_event({**KEY, "mask": 2}, "fluorescence", "bpod_cue", (-1, 2), trials=True)
    assert found["trial"].dims == ("event", "cell", "lag")
    np.testing.assert_allclose(found["trial"].mean("event"), found["average"].isel(condition=0), atol=1e-3)
    error = found["trial"].astype(float).std("event", ddof=1) / np.sqrt(14)
    np.testing.assert_allclose(found["sem"].isel(condition=0), error, atol=1e-3)
    with pytest.raises(InvalidRequest, match="14 events x 1 rows x 91 lags"):
        peri_event({**KEY, "mask": 2}, "fluorescence", "bpod_cue", trials=True, most=1000)


def test_errors_may_be_left_out_and_the_average_is_the_same(imaged):
    found, quick = (peri_event(KEY, "corrected", "bpod_cue", (-1, 2), sem=sem) for sem in (True, False))
    assert set(found) - set(quick) == {"sem"}
    np.testing.assert_array_equal(quick["average"], found["average"])
    axes = Figure().subplots()
    plots.plot_average(axes, quick, cell=int(quick["cell"][0]))
    assert (axes.get_title(), len(axes.collections)) == (f"mean, cell {int(quick['cell'][0])}", 0)


def test_traces_that_are_read_in_pieces_are_the_same(imaged, monkeypatch):
    whole = peri_event(KEY, "corrected", "bpod_cue", only_cells=False, trials=True)
    monkeypatch.setattr("adamacs.analysis.signals._PIECE", 4 * FRAMES * 2)
    parts = peri_event(KEY, "corrected", "bpod_cue", only_cells=False, trials=True)
    assert whole["cell"].values.tolist() == parts["cell"].values.tolist() == [0, 1, 2, 3]
    for name in ("average", "sem", "counted", "trial"):
        np.testing.assert_allclose(parts[name], whole[name], rtol=1e-6)


def test_the_wheel_is_averaged_over_steps(recorded):
    found = peri_event(KEY, "speed", "bpod_cue", (-0.5, 1.5), step=0.1)
    assert found["average"].dims == ("condition", "lag")
    inside = (found["lag"] > 0.06) & (found["lag"] < 0.94)
    outside = (found["lag"] < -0.06) | (found["lag"] > 1.06)
    np.testing.assert_allclose(found["average"].isel(condition=0)[inside], 30, rtol=1e-5)
    np.testing.assert_allclose(found["average"].isel(condition=0)[outside], 10, rtol=1e-5)
    way = peri_event(KEY, "position", "bpod_cue", (0, 1))["average"].isel(condition=0)
    assert float(way[-1] - way[0]) == pytest.approx(30, rel=0.02)
    assert way.attrs["units"] == "cm"
    assert peri_event(KEY, "speed", "bpod_cue")["lag"].diff("lag").mean().item() == pytest.approx(0.02)


def test_licks_come_as_rates_and_one_by_one(recorded):
    found = peri_event(KEY, "aux_lick", "bpod_cue", (-1, 1), by="error", step=0.1)
    assert found["condition"].values.tolist() == ["true"], "trials that tell nothing are of no condition"
    everywhere = peri_event(KEY, "aux_lick", "bpod_cue", (-1, 1), step=0.1)
    rate = everywhere["rate"].isel(condition=0)
    assert rate.sel(lag=0.55, method="nearest").item() == pytest.approx(10)
    assert rate.sel(lag=0.65, method="nearest").item() == pytest.approx(5)
    assert float(rate.sum()) == pytest.approx(15)
    assert everywhere["sem"].sel(lag=0.55, method="nearest").item() == pytest.approx(0, abs=1e-6)
    assert set(everywhere["counted"].values.ravel().tolist()) == {14}
    lags = everywhere["point_lag"].values[everywhere["point_event"].values == 0]
    np.testing.assert_allclose(lags, [0.52, 0.61], atol=1e-9)
    assert found["rate"].sel(condition="true").sel(lag=0.65, method="nearest").item() == 0


def test_beyond_the_recording_no_event_counts(imaged):
    times = [0.8, 30.0, SECONDS - 0.5]
    cells = peri_event(KEY, "fluorescence", times, (-1, 1))
    assert cells["counted"].isel(condition=0, cell=0).sel(lag=[-1, 0.5], method="nearest").values.tolist() == [1, 2]
    assert cells.attrs["event_type"] == "given"
    licks = peri_event(KEY, "aux_lick", times, (-1, 1), step=0.5)
    assert licks["counted"].isel(condition=0).values.tolist() == [2, 3, 3, 2]


def test_labels_that_are_given_make_conditions(recorded):
    labels = [90, 0, None] * 4 + [90, 90]
    found = peri_event(KEY, "speed", "bpod_cue", by=labels)
    assert found["condition"].values.tolist() == [0, 90]
    assert found["counted"].isel(lag=0).values.tolist() == [4, 6]
    with pytest.raises(InvalidRequest, match="3 labels are given, and there are 14 events"):
        peri_event(KEY, "speed", "bpod_cue", by=[1, 2, 3])


def test_an_alignment_tells_shift_and_what_belongs_to_an_event(recorded):
    event.AlignmentEvent.insert1(
        {
            "alignment_name": "lick after cue",
            "alignment_event_type": "bpod_cue",
            "alignment_time_shift": 0.5,
            "start_event_type": "bpod_cue",
            "start_time_shift": 0.2,
            "end_event_type": "aux_lick",
            "end_time_shift": 0.0,
        }
    )
    found = peri_event(KEY, "aux_lick", window=(-1, 1), alignment="lick after cue", by="trial_type", step=0.02)
    np.testing.assert_allclose(found["time"], CUES + 0.5, atol=1e-9)
    assert set(found["point_lag"].values.round(9).tolist()) == {0.02}
    counted = found["counted"].isel(condition=0)
    assert set(counted.where(counted["lag"] < -0.3, drop=True).values.tolist()) == {0}
    assert set(counted.where((counted["lag"] > -0.29) & (counted["lag"] < 0.0), drop=True).values.tolist()) == {5}
    assert set(counted.where(counted["lag"] > 0.03, drop=True).values.tolist()) == {0}
    wheel = peri_event(KEY, "speed", window=(-1, 1), alignment="lick after cue")
    known = wheel["lag"].values[wheel["counted"].isel(condition=0).values > 0]
    assert known.min() == pytest.approx(-0.3, abs=0.021)
    assert known.max() == pytest.approx(0.0, abs=0.021)
    with pytest.raises(InvalidRequest, match="Did you mean lick after cue"):
        peri_event(KEY, "speed", alignment="lick after cues")


def test_planes_have_the_times_of_their_own_frames(recorded):
    laid = Imaged("bench2p", planes=3, frames=600, flyback=1, volumes=True).insert()
    for plane in range(3):
        np.testing.assert_array_equal(frame_times(KEY, plane, 600), laid.times(plane))
    found = peri_event(KEY, "fluorescence", "bpod_cue", (-1, 2), only_cells=False)
    assert found["field_idx"].values.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    trials = [
        averaging.average(laid.signal(plane), Timeline(laid.times(plane)), averaging.Events(CUES), np.arange(-7, 16))
        for plane in range(3)
    ]
    expected = np.concatenate([one.mean for one in trials], axis=1)
    np.testing.assert_allclose(found["average"], expected, atol=2e-3)


def test_without_a_volume_clock_planes_take_turns_as_the_header_tells(recorded):
    laid = Imaged("mini2p2_openfield", planes=2, frames=150, flyback=1, averaging=2, spare=7).insert()
    np.testing.assert_array_equal(frame_times(KEY, 1, 150), laid.times(1))
    assert laid.times(1)[1] - laid.times(1)[0] == pytest.approx(6 / RATE, abs=1e-3)
    assert laid.times(1)[0] - laid.times(0)[0] == pytest.approx(2 / RATE, abs=1e-3)
    slow = {**imaging.ScanInfo.fetch1(), "scanner_frames": 2}
    imaging.ScanInfo.update1(slow)
    with pytest.raises(UnusableClock, match="slow stack"):
        frame_times(KEY, 1, 150)


def test_pulses_that_are_left_over_at_the_end_belong_to_no_frame(recorded):
    laid = Imaged(spare=SPARE).insert()
    np.testing.assert_array_equal(frame_times(KEY, 0, FRAMES), laid.pulses[:FRAMES])


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"spare": SPARE + 1}, f"{FRAMES + SPARE + 1} frames, and {FRAMES} are stored"),
        ({"lost": (700,)}, rf"{FRAMES - 1} frames, and {FRAMES} are stored(.|\n)*room for just these. `gap = 1.5`"),
        ({"spare": 2, "lost": (700,)}, f"{FRAMES + 1} frames, and {FRAMES} are stored"),
        ({"setup": "mini2p2_openfield", "planes": 2, "frames": 300, "spare": 12}, "306 frames, and 300"),
        ({"setup": "bench2p", "planes": 3, "frames": 300, "volumes": True, "lost": (31,)}, "Volume 11 has 2 pulses"),
    ],
)
def test_frames_that_cannot_be_told_from_pulses_are_refused_with_both_counts(recorded, how, said):
    Imaged(**how).insert()
    with pytest.raises(UnusableClock, match=said):
        peri_event(KEY, "activity", "bpod_cue")


def test_frames_without_pulses_are_refused_unless_scan_time_is_theirs(bare):
    laid = Imaged(frames=300)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(laid, "_insert_pulses", lambda: None, raising=False)
        laid.insert()
    found = peri_event(KEY, "activity", [2.0, 5.0], (-1, 1))
    np.testing.assert_array_equal(frame_times(KEY, 0, 300), np.arange(300) / RATE)
    assert found.attrs["clock"].endswith("the first two-photon frame")
    frames = {**SCAN, "clock": "frames", "zero": "start of the first two-photon frame", "is_scan_time": True}
    clock.Clock.insert1(frames)
    np.testing.assert_array_equal(frame_times(KEY, 0, 300), np.arange(300) / RATE)
    clock.Clock.delete_quick()
    clock.Clock.insert1({**SCAN, "clock": "aux", "zero": "start of aux", "is_scan_time": True})
    with pytest.raises(UnusableClock, match="No pulses of its two-photon frames"):
        peri_event(KEY, "activity", [2.0, 5.0], (-1, 1))


def test_a_clock_that_is_not_placed_is_told_and_stops_only_what_needs_it(recorded):
    sync.ClockSync().delete_quick()
    with pytest.raises(UnusableClock, match="bpod"):
        peri_event(KEY, "speed", "bpod_cue")
    with pytest.raises(UnusableClock, match="bpod"):
        peri_event(KEY, "speed", "aux_lick", by="trial_type")
    found = peri_event(KEY, "speed", "aux_lick")
    assert set(found["trial_id"].values.tolist()) == {0}, "trials are not known on scan time"


def test_what_does_not_exist_is_told_with_what_does(recorded):
    refused = [
        ({"events": "bpod_cues"}, InvalidKey, "Did you mean bpod_cue"),
        ({"values": "aux_licks", "events": "bpod_cue"}, InvalidKey, "Did you mean aux_lick"),
        ({"events": "bpod_cue", "alignment": "x"}, InvalidRequest, "either events or an alignment"),
        ({}, InvalidRequest, "either events or an alignment"),
        ({"events": "bpod_cue", "by": "errors"}, InvalidRequest, "Did you mean error"),
        ({"values": "activity", "events": "bpod_cue"}, InvalidRequest, r"no row of imaging\.Activity \(yet\)"),
        ({"values": "speed", "events": "bpod_cue", "step": 40.0}, InvalidRequest, "too few for steps of 40 s"),
        ({"values": "activity", "events": "bpod_cue", "step": 0.1}, InvalidRequest, "averaged at their frames"),
    ]
    for ask, error, said in refused:
        with pytest.raises(error, match=said):
            peri_event(KEY, **{"values": "speed", **ask})
    (trial.TrialImport & BPOD).delete(prompt=False)
    with pytest.raises(InvalidRequest, match="no trials"):
        peri_event(KEY, "speed", "bpod_cue", by="trial_type")


def test_one_curation_is_asked_for_where_there_are_several(imaged):
    imaged.insert_curation(2)
    with pytest.raises(InvalidRequest, match="curation_id=1; curation_id=2"):
        peri_event(KEY, "dff", "bpod_cue")
    found = peri_event({**KEY, "curation_id": 2}, "activity", "bpod_cue")
    assert found.attrs["curation_id"] == 2


def test_without_an_accepted_cell_all_masks_must_be_asked_for(imaged):
    imaging.MaskClassification.MaskType().delete_quick()
    with pytest.raises(InvalidRequest, match="only_cells=False"):
        peri_event(KEY, "activity", "bpod_cue")


def test_only_volts_of_a_wheel_are_no_speed(recorded):
    behavior.TreadmillRecording().delete_quick()
    row = {"kept_rate": 2000.0, "decimation": 10, "first_time": 0.0, "volts": stored("volts", np.zeros(4, "f4"))}
    behavior.TreadmillRecording.insert1({**AUX, **row}, allow_direct_insert=True)
    with pytest.raises(InvalidRequest, match=r"\[wheel\]"):
        peri_event(KEY, "speed", "bpod_cue")
