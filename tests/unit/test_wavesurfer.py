"""The WaveSurfer reader: every header generation tells the same recording, and no damage passes or costs memory."""

from __future__ import annotations

import math
import os
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from adamacs.core.errors import InvalidRequest, MissingFile, UnreadableFile
from adamacs.demo.wavesurfer import (
    CALIBRATED,
    NOMINAL,
    Analog,
    Digital,
    Sweep,
    WaveSurfer,
    measured,
    quantised,
    write_wavesurfer,
)
from adamacs.modalities.behavior.numerics.edges import analog_pulses, digital_pulses
from adamacs.modalities.behavior.reader.wavesurfer import AuxRecording, read_wavesurfer, unpacked

REAL_DATA = os.environ.get("ADAMACS_REAL_DATA", "")
DIGITAL = ("0.801", "0.912", "0.933", "1.0.2", "0.97", "0.982")
VERSIONS = ("0.5", *DIGITAL)
BEGAN = datetime(2026, 2, 10, 9, 30, 59, 999_600)
LINES = tuple(Digital(name) for name in ("main_track_gate", "shutter", "frame clock", "line clock", "volume"))
CHANNELS = (Analog("stimulus"), Analog("wheel", "mV", 0.02, (1e-3, 3.1e-4, -1e-14, 7e-18)), Analog("camera"))
RIG = WaveSurfer(sample_rate=1000.0, start=BEGAN, lines=LINES, channels=CHANNELS)
SAMPLES = 2500
bounded = settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    derandomize=True,
)


def words(samples: int = SAMPLES, lines: int = len(LINES), dtype: type = np.uint8) -> np.ndarray:
    """Lines of which none is like another: bit n changes every 3 + 2 n samples."""
    sample = np.arange(samples)
    return sum(((sample // (3 + 2 * bit)) % 2).astype(dtype) << dtype(bit) for bit in range(lines))


def volts(samples: int = SAMPLES, channels: int = len(CHANNELS)) -> np.ndarray:
    phase = np.arange(samples) / 50
    return np.stack([(2 + row) * np.sin(phase + row) for row in range(channels)])


def record(path: Path, rig: WaveSurfer = RIG, *sweeps: Sweep) -> AuxRecording:
    has_lines = any(line.active for line in rig.lines) and rig.version != "0.5"
    whole = Sweep(words() if has_lines else None, volts() if rig.recorded else None, 0.25)
    return read_wavesurfer(write_wavesurfer(path, sweeps or [whole], rig))


def all_words(recording: AuxRecording, sweep: int = 0, **how: int) -> np.ndarray:
    with recording.open() as file:
        return np.concatenate([*file.words(sweep, **how), np.empty(0, np.uint8)])


def refusal(path: Path) -> str:
    """What the reader says about a file that it refuses, whether at its header or at its samples."""
    with pytest.raises(UnreadableFile) as caught:
        read_all(path)
    assert caught.value.where == str(path)
    return caught.value.what


def read_all(path: Path) -> int:
    """Read everything, block by block; return the samples."""
    recording = read_wavesurfer(path)
    count = 0
    with recording.open() as file:
        for number, sweep in enumerate(recording.sweeps):
            blocks = [file.words(number)] if recording.lines else []
            blocks += [file.all_volts(number)] if recording.channels else []
            count += sweep.samples
            for kind in blocks:
                assert sum(block.shape[-1] for block in kind) == sweep.samples
    return count


def edit(path: Path, change: Callable[[h5py.File], object]) -> Path:
    with h5py.File(path, "r+") as file:
        change(file)
    return path


def rewrite(path: Path, name: str, value: Any, **how: Any) -> Path:
    """Put another value into a file in place of one."""

    def change(file: h5py.File) -> None:
        if name in file:
            del file[name]
        if value is not None or how:
            file.create_dataset(name, data=value, **how)

    return edit(path, change)


# --- what a header means -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("objects", (False, True))
@pytest.mark.parametrize("wrapped", (False, True))
@pytest.mark.parametrize("version", VERSIONS)
def test_every_generation_tells_the_same_recording(tmp_path: Path, version: str, wrapped: bool, objects: bool) -> None:
    rig = replace(RIG, version=version, wrapped=wrapped, objects=objects)
    if version == "0.5":
        rig = replace(rig, lines=())
    recording = record(tmp_path / "aux.h5", rig)
    assert recording.version == (None if version in ("0.5", "0.801") else version)
    assert (recording.sample_rate, recording.duration) == (1000.0, math.inf)
    assert recording.start == BEGAN
    assert recording.lines == tuple(line.name for line in rig.lines)
    assert [(channel.name, channel.unit, channel.scale) for channel in recording.channels] == [
        (channel.name, channel.unit, channel.scale) for channel in CHANNELS
    ]
    assert [(sweep.samples, sweep.time) for sweep in recording.sweeps] == [(SAMPLES, 0.25)]
    assert recording.sweeps[0].name == ("trial_0001" if version in ("0.5", "0.801") else "sweep_0001")
    is_calibrated = version not in ("0.5", "0.801", "0.912")
    for channel, given_ in zip(recording.channels, CHANNELS, strict=True):
        assert channel.is_calibrated is is_calibrated
        assert channel.coefficients == pytest.approx(given_.coefficients if is_calibrated else NOMINAL, rel=1e-15)
    assert recording.warnings == (
        () if is_calibrated else ("The header has no scaling coefficients: 16 bits over +-10 V are assumed.",)
    )


@pytest.mark.parametrize("version", VERSIONS)
def test_words_come_back_and_volts_within_half_a_count(tmp_path: Path, version: str) -> None:
    rig = replace(RIG, version=version, lines=() if version == "0.5" else LINES)
    recording = record(tmp_path / "aux.h5", rig)
    truth = volts()
    with recording.open() as file:
        if rig.lines:
            np.testing.assert_array_equal(np.concatenate(list(file.words(block=999))), words())
        together = np.concatenate(list(file.all_volts(block=700)), axis=1)
        for row, channel in enumerate(rig.recorded):
            step = np.diff(measured(channel, np.array([0, 1]), rig))[0]
            alone = file.volts(channel.name)
            assert np.abs(alone - truth[row]).max() <= 0.5001 * step
            np.testing.assert_array_equal(alone, together[row])


def test_volts_are_the_polynomial_over_the_scale_as_numpy_computes_it(tmp_path: Path) -> None:
    recording = record(tmp_path / "aux.h5")
    with h5py.File(recording.path) as plain, recording.open() as file:
        counts = plain["sweep_0001/analogScans"][1].astype(float)
        expected = np.polynomial.polynomial.polyval(counts, CHANNELS[1].coefficients) / 0.02
        assert file.volts("wheel") == pytest.approx(expected, rel=1e-12, abs=1e-12)


def test_a_stretch_and_blocks_are_cut_out_of_the_same_samples(tmp_path: Path) -> None:
    recording = record(tmp_path / "aux.h5")
    with recording.open() as file:
        np.testing.assert_array_equal(file.volts("camera", start=990, stop=1010), file.volts("camera")[990:1010])
        assert file.volts("camera", start=5, stop=5).size == 0
        blocks = file.words(start=10, stop=2005, block=1000)
        assert [block.size for block in blocks] == [1000, 995]
        assert [block.size for block in blocks] == [1000, 995]  # once more
        np.testing.assert_array_equal(np.concatenate(list(blocks)), words()[10:2005])


def test_inactive_lines_and_channels_have_no_bit_and_no_row(tmp_path: Path) -> None:
    rig = replace(
        RIG,
        lines=(Digital("off", active=False), *LINES[:2], Digital("idle", active=False), LINES[2]),
        channels=(CHANNELS[0], Analog("dead", scale=0.0, active=False), *CHANNELS[1:]),
    )
    for version in DIGITAL:
        path = tmp_path / f"{version}.h5"
        recording = record(path, replace(rig, version=version), Sweep(words(lines=3), volts()))
        assert recording.lines == ("main_track_gate", "shutter", "frame clock")
        assert [recording.bit(name) for name in recording.lines] == [0, 1, 2]
        assert [channel.name for channel in recording.channels] == ["stimulus", "wheel", "camera"]
        assert (recording.row("wheel"), recording.channels[1].scale) == (1, 0.02)


def test_coefficients_of_all_channels_are_those_of_the_active_ones(tmp_path: Path) -> None:
    rig = replace(RIG, channels=(Analog("dead", active=False), *CHANNELS))
    record(tmp_path / "aux.h5", rig)
    rows = np.array([(9.0, 9.0, 9.0, 9.0), *(channel.coefficients for channel in CHANNELS)])
    rewrite(tmp_path / "aux.h5", "header/AIScalingCoefficients", rows)
    recording = read_wavesurfer(tmp_path / "aux.h5")
    assert [channel.coefficients for channel in recording.channels] == [channel.coefficients for channel in CHANNELS]


@pytest.mark.parametrize(
    ("lines", "dtype"), ((1, np.uint8), (8, np.uint8), (9, np.uint16), (17, np.uint32), (32, np.uint32))
)
def test_words_of_8_16_and_32_bits_keep_every_line(tmp_path: Path, lines: int, dtype: type) -> None:
    rig = replace(RIG, lines=tuple(Digital(f"line {bit}") for bit in range(lines)), channels=())
    recording = record(tmp_path / "aux.h5", rig, Sweep(words(lines=lines, dtype=dtype)))
    found = all_words(recording)
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, words(lines=lines, dtype=dtype))
    sample = np.arange(SAMPLES)
    for bit in range(lines):
        np.testing.assert_array_equal(unpacked(found, bit), (sample // (3 + 2 * bit)) % 2 == 1)


def test_a_recording_may_have_no_digital_or_no_analog_channel(tmp_path: Path) -> None:
    for version in DIGITAL:
        rig = replace(RIG, version=version)
        analog = record(tmp_path / f"a{version}.h5", replace(rig, lines=()))
        assert (analog.lines, len(analog.channels)) == ((), 3)
        digital = record(tmp_path / f"d{version}.h5", replace(rig, channels=()))
        assert (len(digital.lines), digital.channels) == (5, ())
        with analog.open() as file, pytest.raises(InvalidRequest):
            file.words()
        with digital.open() as file, pytest.raises(InvalidRequest):
            file.all_volts()


@pytest.mark.parametrize(("version", "told"), (("0.801", True), ("0.912", True), ("0.913", False), ("1.0.2", False)))
def test_until_0_912_the_rate_is_the_one_that_was_asked_for(tmp_path: Path, version: str, told: bool) -> None:
    rig = replace(RIG, version=version, sample_rate=29_997.0)
    assert (rig.written_rate == 29_997.0) is told
    recording = record(tmp_path / "aux.h5", rig)
    assert recording.sample_rate == pytest.approx(100e6 / 3333, rel=1e-15)  # the board counts 3333 ticks


def test_several_sweeps_are_read_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    sweeps = [Sweep(words(100 + number), volts(100 + number), time=2.0 * number) for number in range(12)]
    recording = record(tmp_path / "aux.h5", RIG, *sweeps)
    assert [sweep.samples for sweep in recording.sweeps] == list(range(100, 112))
    assert [sweep.time for sweep in recording.sweeps] == [2.0 * number for number in range(12)]
    np.testing.assert_array_equal(all_words(recording, 11), words(111))
    edit(recording.path, lambda file: file.move("sweep_0012", "sweep_10000"))
    edit(recording.path, lambda file: file.move("sweep_0001", "sweep_9999"))
    names = [sweep.name for sweep in read_wavesurfer(recording.path).sweeps]
    assert names[-2:] == ["sweep_9999", "sweep_10000"]


def test_a_sweep_that_was_stopped_is_as_long_as_it_was_and_says_so(tmp_path: Path) -> None:
    recording = record(tmp_path / "aux.h5", replace(RIG, duration=10.0))
    assert (recording.duration, recording.sweeps[0].samples) == (10.0, SAMPLES)
    assert recording.warnings == ("sweep_0001 was to last 10 s and holds 2.5 s.",)


def test_a_sweep_that_was_to_last_longer_than_can_be_counted_is_read(tmp_path: Path) -> None:
    path = rewrite(record(tmp_path / "aux.h5", replace(RIG, duration=10.0)).path, "header/SweepDuration", 1e308)
    assert read_wavesurfer(path).warnings == ("sweep_0001 was to last 1e+308 s and holds 2.5 s.",)


def test_an_infinite_sweep_that_never_began_has_no_sample(tmp_path: Path) -> None:
    recording = record(tmp_path / "aux.h5", RIG, Sweep(words(0), volts(0)))
    assert (recording.duration, recording.sweeps[0].samples) == (math.inf, 0)
    assert all_words(recording).size == 0
    with recording.open() as file:
        assert file.volts("camera").size == 0


def test_digital_samples_that_are_missing_at_the_end_shorten_the_sweep(tmp_path: Path) -> None:
    recording = record(tmp_path / "aux.h5", RIG, Sweep(words(1900), volts(2000)))
    assert recording.sweeps[0].samples == 1900
    assert "2000 analog and 1900 digital samples" in recording.warnings[0]


def test_a_start_that_is_not_told_is_none(tmp_path: Path) -> None:
    assert record(tmp_path / "a.h5", replace(RIG, start=None)).start is None
    record(tmp_path / "b.h5")
    assert read_wavesurfer(rewrite(tmp_path / "b.h5", "header/ClockAtRunStart", np.zeros((1, 1)))).start is None


def test_values_as_text_of_any_length_or_padded_are_the_same(tmp_path: Path) -> None:
    path = record(tmp_path / "aux.h5").path
    names = [line.name.encode().ljust(40) for line in LINES]
    rewrite(path, "header/DIChannelNames", np.array(names, "S40").reshape(-1, 1))
    rewrite(path, "header/VersionString", 0.97)
    recording = read_wavesurfer(path)
    assert (recording.lines, recording.version) == (tuple(line.name for line in LINES), "0.97")
    rewrite(path, "header/AIChannelUnits", np.array([b"V", b"\xb5V", b"V"]))  # as an older Windows writes it
    assert read_wavesurfer(path).channels[1].unit == "µV"


def test_big_endian_and_signed_words_mean_the_same(tmp_path: Path) -> None:
    rig = replace(RIG, lines=tuple(Digital(f"line {bit}") for bit in range(16)), channels=())
    truth = words(lines=16, dtype=np.uint16)
    path = record(tmp_path / "aux.h5", rig, Sweep(truth)).path
    for dtype in (">u2", "<i2"):
        rewrite(path, "sweep_0001/digitalScans", truth.astype("<u2").view("<i2").astype(dtype)[np.newaxis])
        found = all_words(read_wavesurfer(path))
        assert found.dtype == np.uint16
        np.testing.assert_array_equal(found, truth)


def test_a_flat_array_of_scans_is_one_row(tmp_path: Path) -> None:
    path = record(tmp_path / "aux.h5", replace(RIG, channels=CHANNELS[:1]), Sweep(words(), volts(channels=1))).path
    rewrite(path, "sweep_0001/digitalScans", words())
    rewrite(path, "sweep_0001/analogScans", quantised(volts(channels=1), replace(RIG, channels=CHANNELS[:1]))[0])
    recording = read_wavesurfer(path)
    np.testing.assert_array_equal(all_words(recording), words())
    with recording.open() as file:
        assert file.volts("stimulus") == pytest.approx(volts()[0], abs=2e-4)


def test_a_name_that_is_not_there_gets_the_nearest_and_one_there_twice_is_refused(tmp_path: Path) -> None:
    recording = record(tmp_path / "aux.h5", replace(RIG, channels=(Analog("in"), Analog("in"), Analog("camera"))))
    with pytest.raises(InvalidRequest, match="Did you mean shutter"):
        recording.bit("Shuter")
    with pytest.raises(InvalidRequest, match="2 analog channels are named 'in'"):
        recording.row("in")
    assert recording.row("camera") == 2


def test_samples_and_sweeps_that_are_not_there_are_refused(tmp_path: Path) -> None:
    with record(tmp_path / "aux.h5").open() as file:
        for wrong in (
            {"sweep": 1},
            {"sweep": -1},
            {"start": -1},
            {"stop": SAMPLES + 1},
            {"start": 9, "stop": 8},
            {"block": 0},
        ):
            with pytest.raises(InvalidRequest):
                file.words(**wrong)


def test_what_the_caller_raises_while_a_file_is_open_stays_what_it_is(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="mine"), record(tmp_path / "aux.h5").open():
        raise ValueError("mine")


def test_edges_of_a_recording_are_the_same_in_blocks_of_any_size(tmp_path: Path) -> None:
    recording = record(tmp_path / "aux.h5")
    whole = digital_pulses(words(), range(5))
    with recording.open() as file:
        for block in (1, 7, 1000, 1 << 18):
            found = digital_pulses(file.words(stop=500, block=block), range(5))
            for bit, pulses in found.items():
                starts = whole[bit].start[whole[bit].start < 500]
                np.testing.assert_array_equal(pulses.start, starts)
        once, again = (analog_pulses(file.volt_blocks("camera", block=block)) for block in (100, 1 << 18))
        np.testing.assert_array_equal(once.start, again.start)
        assert len(once) > 5


# --- what a file may claim ---------------------------------------------------------------------------------------


def _claim(samples: int, **how: Any) -> Callable[[h5py.File], None]:
    """Replace the digital words by an array that claims more than it holds."""

    def change(file: h5py.File) -> None:
        del file["sweep_0001/digitalScans"]
        file.create_dataset("sweep_0001/digitalScans", (1, samples), "u1", **how)

    return change


def test_1e12_samples_that_were_never_written_are_none_and_cost_no_memory(tmp_path: Path) -> None:
    path = record(tmp_path / "aux.h5", replace(RIG, channels=())).path
    for how in ({}, {"chunks": (1, 20_000)}, {"chunks": (1, 1 << 20), "compression": "gzip"}, {"fillvalue": 3}):
        edit(path, _claim(10**12, **how))
        tracemalloc.start()
        recording = read_wavesurfer(path)
        assert read_all(path) == recording.sweeps[0].samples == 0
        assert tracemalloc.get_traced_memory()[1] < 5e6
        tracemalloc.stop()
        assert "claims 1000000000000 samples, of which 0 were written" in recording.warnings[0]


def test_of_a_claim_only_what_was_written_from_the_start_is_there(tmp_path: Path) -> None:
    path = record(tmp_path / "aux.h5", replace(RIG, channels=())).path
    for how in ({}, {"compression": "gzip"}, {"compression": "lzf", "shuffle": True, "fletcher32": True}):
        edit(path, _claim(10**12, chunks=(1, 1000), **how))
        with h5py.File(path, "r+") as file:
            file["sweep_0001/digitalScans"][0, :2500] = words()
        recording = read_wavesurfer(path)
        assert recording.sweeps[0].samples == 3000  # a chunk is written whole
        np.testing.assert_array_equal(all_words(recording, stop=2500), words())


def test_a_hole_in_the_samples_is_refused_and_not_filled(tmp_path: Path) -> None:
    path = record(tmp_path / "aux.h5", replace(RIG, channels=())).path
    edit(path, _claim(5000, chunks=(1, 1000)))
    with h5py.File(path, "r+") as file:
        file["sweep_0001/digitalScans"][0, 3000:4000] = 1
    assert "has a hole: what begins at sample 0" in refusal(path)
    with h5py.File(path, "r+") as file:
        file["sweep_0001/digitalScans"][0, :2000] = 1
    assert "has a hole: what begins at sample 2000" in refusal(path)


def test_chunks_across_channels_are_whole_only_with_every_channel(tmp_path: Path) -> None:
    path = record(tmp_path / "aux.h5", replace(RIG, lines=())).path

    def change(file: h5py.File) -> None:
        del file["sweep_0001/analogScans"]
        file.create_dataset("sweep_0001/analogScans", (3, 1 << 40), "i2", chunks=(1, 1000))
        file["sweep_0001/analogScans"][:, :2000] = 5
        file["sweep_0001/analogScans"][:2, 2000:3000] = 5

    assert "has a hole: what begins at sample 2000" in refusal(edit(path, change))
    edit(path, lambda file: file["sweep_0001/analogScans"].__setitem__((2, slice(2000, 3000)), 5))
    assert read_wavesurfer(path).sweeps[0].samples == 3000


@pytest.mark.parametrize(
    ("how", "what"),
    (
        ({"chunks": (1, 1 << 21), "compression": "gzip"}, "packed in chunks of 2097152 bytes"),
        ({"chunks": (1, 1000), "compression": 32_001, "allow_unknown_filter": True}, "packed by filter 32001"),
        ({"chunks": (1, 1000), "scaleoffset": 4}, "packed by filter 6"),
    ),
)
def test_what_would_have_to_be_unpacked_in_much_memory_is_refused(tmp_path: Path, how: dict, what: str) -> None:
    path = record(tmp_path / "aux.h5", replace(RIG, channels=())).path
    assert what in refusal(edit(path, _claim(1 << 22, **how)))


def test_a_chunk_that_unpacks_to_far_more_than_it_says_is_refused(tmp_path: Path) -> None:
    import zlib

    path = record(tmp_path / "aux.h5", replace(RIG, channels=())).path
    edit(path, _claim(1000, chunks=(1, 1000), compression="gzip"))
    packer = zlib.compressobj(1)
    bomb = b"".join(packer.compress(bytes(1 << 24)) for _ in range(10)) + packer.flush()  # 168 MB in 0.7 MB
    edit(path, lambda file: file["sweep_0001/digitalScans"].id.write_direct_chunk((0, 0), bomb))
    assert "packed chunks of" in refusal(path)


def test_a_whole_sweep_in_one_chunk_is_read_block_by_block(tmp_path: Path) -> None:
    settings_ = replace(RIG, chunk=1_000_000, channels=())
    truth = words(1_000_000)
    recording = record(tmp_path / "aux.h5", settings_, Sweep(truth))
    tracemalloc.start()
    with recording.open() as file:
        assert sum(int(block.sum()) for block in file.words(block=10_000)) == int(truth.sum())
    assert tracemalloc.get_traced_memory()[1] < 500_000
    tracemalloc.stop()


@pytest.mark.parametrize("compression", ("gzip", "lzf"))
def test_a_recording_that_was_packed_later_is_the_same(tmp_path: Path, compression: str) -> None:
    recording = record(tmp_path / "aux.h5", replace(RIG, compression=compression))
    np.testing.assert_array_equal(all_words(recording), words())
    assert recording.warnings == ()


# --- links, and what lies elsewhere ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ("header", "header/AcquisitionSampleRate", "sweep_0001", "sweep_0001/digitalScans"))
@pytest.mark.parametrize("kind", ("soft", "external"))
def test_links_in_a_file_are_not_followed(tmp_path: Path, name: str, kind: str) -> None:
    record(tmp_path / "other.h5")
    path = record(tmp_path / "aux.h5").path

    def change(file: h5py.File) -> None:
        file.move(name, "elsewhere")
        file[name] = h5py.SoftLink("/elsewhere") if kind == "soft" else h5py.ExternalLink("other.h5", name)

    assert f"{name} is a link to elsewhere" in refusal(edit(path, change))


def test_samples_in_another_file_are_not_read(tmp_path: Path) -> None:
    path = record(tmp_path / "aux.h5", replace(RIG, channels=())).path
    (tmp_path / "secret").write_bytes(bytes(5000))
    edit(path, _claim(5000, external=[(tmp_path / "secret", 0, 5000)]))
    assert "lie in another file" in refusal(path)

    def change(file: h5py.File) -> None:
        del file["sweep_0001/digitalScans"]
        layout = h5py.VirtualLayout((1, 5000), "u1")
        layout[0] = h5py.VirtualSource(tmp_path / "other.h5", "words", (5000,))
        file.create_virtual_dataset("sweep_0001/digitalScans", layout)

    assert "lie in another file" in refusal(edit(path, change))


def test_a_link_to_a_file_is_not_followed(tmp_path: Path) -> None:
    path = record(tmp_path / "aux.h5").path
    (tmp_path / "link.h5").symlink_to(path)
    assert refusal(tmp_path / "link.h5") == "A link is not followed."


# --- damage ------------------------------------------------------------------------------------------------------


def test_a_missing_file_and_a_foreign_one_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(MissingFile):
        read_wavesurfer(tmp_path / "none.h5")
    (tmp_path / "text.h5").write_text("not this")
    assert "no HDF5" in refusal(tmp_path / "text.h5")
    with h5py.File(tmp_path / "foreign.h5", "w") as file:
        file["data"] = np.zeros(3)
    assert refusal(tmp_path / "foreign.h5") == "There is no group header."
    (tmp_path / "folder.h5").mkdir()
    assert "no file" in refusal(tmp_path / "folder.h5")


def test_a_file_cut_anywhere_is_refused(tmp_path: Path) -> None:
    data = record(tmp_path / "aux.h5").path.read_bytes()
    cut = tmp_path / "cut.h5"
    for size in (*range(0, len(data), len(data) // 97), len(data) - 1):
        cut.write_bytes(data[:size])
        assert refusal(cut)


def test_a_file_that_changed_since_its_header_was_read_is_refused(tmp_path: Path) -> None:
    recording = record(tmp_path / "aux.h5")
    record(tmp_path / "aux.h5", RIG, Sweep(words(100), volts(100)))
    with pytest.raises(UnreadableFile, match="changed since"), recording.open():
        pass
    recording = read_wavesurfer(recording.path)
    with pytest.raises(UnreadableFile, match="changed while"), recording.open():
        os.utime(recording.path, ns=(0, 0))


@pytest.mark.parametrize(
    ("name", "value", "what"),
    (
        ("header/AcquisitionSampleRate", None, "no sample rate"),
        ("header/AcquisitionSampleRate", 0.0, "claims 0 samples per second"),
        ("header/AcquisitionSampleRate", np.nan, "claims nan samples per second"),
        ("header/AcquisitionSampleRate", 1e300, "claims 1e+300 samples per second"),
        ("header/AcquisitionSampleRate", 1e-300, "claims 1e-300 samples per second"),
        ("header/AcquisitionSampleRate", np.ones(2), "has 2 values and should have one"),
        ("header/AcquisitionSampleRate", np.ones(5000), "claims 5000 values"),
        ("header/ClockAtRunStart", np.ones(5), "no date and time"),
        ("header/ClockAtRunStart", [2026, 13, 1, 0, 0, 0.0], "no date and time"),
        ("header/ClockAtRunStart", [2026, 1, 1, 0, 0, np.nan], "no date and time"),
        ("header/ClockAtRunStart", [2026.5, 1, 1, 0, 0, 0], "no date and time"),
        ("header/ClockAtRunStart", [9999, 12, 31, 23, 59, 60.5], "no date and time"),
        ("header/DIChannelNames", np.array([b"one"] * 4), "4 names, but 5 are marked"),
        ("header/DIChannelNames", None, "0 names, but 5 are marked"),
        ("header/DIChannelNames", np.array([b"x" * 300_000] * 5), "more than 1048576 bytes of text"),
        ("header/IsAIChannelActive", np.ones(2), "3 names, but 2 are marked"),
        ("header/AIChannelScales", np.ones(2), "one scale for each of 3 channels"),
        ("header/AIChannelScales", None, "one scale for each of 3 channels"),
        ("header/AIChannelScales", [1.0, 0.0, 1.0], "scale of channel wheel is 0"),
        ("header/AIScalingCoefficients", np.ones((2, 4)), "shape (2, 4) holds no polynomials of 3"),
        ("header/AIScalingCoefficients", np.full((3, 4), 1e300), "channel stimulus make no number of a count"),
        ("header/AIChannelScales", [1e-320, 1.0, 1.0], "channel stimulus make no number of a count"),
        ("header/AIScalingCoefficients", np.ones((3, 1)), "shape (3, 1) holds no polynomials of 3"),
        ("header/AIScalingCoefficients", np.full((3, 4), np.inf), "holds no polynomials of 3"),
        ("header/AIScalingCoefficients", np.ones((3, 2, 2)), "holds no polynomials of 3"),
        ("sweep_0001/digitalScans", None, "There is no sweep_0001/digitalScans"),
        ("sweep_0001/digitalScans", np.zeros((2, 2500), np.uint8), "2 rows of 8 bits"),
        ("sweep_0001/digitalScans", np.zeros((1, 2500), np.uint64), "1 rows of 64 bits"),
        ("sweep_0001/digitalScans", np.zeros((1, 2500)), "holds float64, and not counts"),
        ("sweep_0001/digitalScans", np.zeros((1, 1, 2500), np.uint8), "no array of scans"),
        ("sweep_0001/digitalScans", h5py.Empty("u1"), "no array of scans"),
        (
            "sweep_0001/digitalScans",
            np.full((1, 2500), 32, np.uint8),
            "sets bits of lines that the header does not name",
        ),
        ("sweep_0001/analogScans", None, "There is no sweep_0001/analogScans"),
        ("sweep_0001/analogScans", np.zeros((2, 2500), np.int16), "2 rows, but the header names 3"),
        ("sweep_0001/analogScans", np.zeros((3, 2500), np.int32), "int32, and not counts of 16 bits"),
    ),
)
def test_a_header_that_contradicts_itself_or_its_samples_is_refused(
    tmp_path: Path, name: str, value: Any, what: str
) -> None:
    record(tmp_path / "aux.h5")
    assert what in refusal(rewrite(tmp_path / "aux.h5", name, value))


def test_more_lines_than_bits_are_refused(tmp_path: Path) -> None:
    rig = replace(RIG, lines=tuple(Digital(f"line {bit}") for bit in range(9)), channels=())
    record(tmp_path / "aux.h5", rig, Sweep(words(lines=9, dtype=np.uint16)))
    rewrite(tmp_path / "aux.h5", "sweep_0001/digitalScans", words()[np.newaxis])
    assert "1 rows of 8 bits, but the header names 9 lines" in refusal(tmp_path / "aux.h5")


def test_nothing_active_and_no_sweep_are_refused(tmp_path: Path) -> None:
    off = replace(RIG, lines=(Digital("off", active=False),), channels=(Analog("off", active=False),))
    with pytest.raises(UnreadableFile, match="no line or channel"):
        record(tmp_path / "a.h5", off)
    record(tmp_path / "b.h5")
    assert "no group sweep_0001" in refusal(rewrite(tmp_path / "b.h5", "sweep_0001", None))


def test_types_that_hold_more_than_values_are_refused(tmp_path: Path) -> None:
    path = record(tmp_path / "aux.h5").path
    for kind in (h5py.ref_dtype, h5py.vlen_dtype(np.uint8), np.dtype([("a", "i4")])):
        rewrite(path, "header/DIChannelNames", None, shape=(5,), dtype=kind)
        assert "neither text nor numbers" in refusal(path)

    def change(file: h5py.File) -> None:
        del file["header/DIChannelNames"]
        file["header/DIChannelNames"] = np.dtype("i4")

    assert "neither a group nor an array" in refusal(edit(path, change))


def test_long_text_that_every_name_points_at_costs_no_more_than_one(tmp_path: Path) -> None:
    path = record(tmp_path / "aux.h5").path
    rewrite(path, "header/DIChannelNames", ["x" * 800_000] * 5, dtype=h5py.string_dtype())
    assert "more than 1048576 bytes of text" in refusal(path)


def test_a_text_that_claims_2_gb_and_a_heap_that_leads_nowhere_are_refused_at_once(tmp_path: Path) -> None:
    """HDF5 itself would set the memory aside, and search a heap with an object of 2^64 bytes for ever."""
    path = record(tmp_path / "aux.h5", replace(RIG, objects=True)).path
    assert read_wavesurfer(path).lines == tuple(line.name for line in LINES)
    whole = bytearray(path.read_bytes())
    with h5py.File(path) as file:
        length = file["header/DIChannelNames"].id.get_offset()
        heap = int.from_bytes(whole[length + 4 : length + 12], "little")
    for place, value, what in (
        (length + 3, 127, "more than 1048576 bytes of text"),
        (length + 12, 250, "has no text 250"),
        (heap, 0, "is no heap"),
        (heap + 15, 255, "is no heap"),
        (heap + 31, 255, "has no text"),
    ):
        path.write_bytes(whole[:place] + bytes([value]) + whole[place + 1 :])
        assert what in refusal(path)


_FUZZ = """
import sys
from pathlib import Path
from tests.unit import test_wavesurfer as tests
from adamacs.core.errors import UnreadableFile
folder = Path(sys.argv[1])
for line in sys.stdin:
    data = bytearray((folder / "aux.h5").read_bytes())
    for change in line.split():
        place, value = map(int, change.split(":"))
        data[place % len(data)] = value
    (folder / "mutated.h5").write_bytes(data)
    try:
        print("read", tests.read_all(folder / "mutated.h5"), flush=True)
    except UnreadableFile:
        print("refused", flush=True)
"""


def _small(path: Path, version: str) -> Path:
    rig = replace(RIG, version=version, objects=True)
    return write_wavesurfer(path, [Sweep(words(300), volts(300))], replace(rig, chunk=100, compression="gzip"))


def test_mutated_bytes_raise_only_typed_errors(tmp_path: Path) -> None:
    """In a process of its own with bounded memory: what HDF5 makes of damaged bytes is not in our hands."""
    rng = np.random.default_rng(11)
    size = _small(tmp_path / "aux.h5", "0.982").stat().st_size
    # Every other file is hit near the start, where the structure of the file lies.
    rounds = [rng.integers(0, size if number % 2 else 4096, rng.integers(1, 8)).tolist() for number in range(250)]
    values = [rng.choice([0, 1, 127, 128, 255, int(rng.integers(256))], len(places)).tolist() for places in rounds]
    lines = (" ".join(f"{p}:{v}" for p, v in zip(*both, strict=True)) for both in zip(rounds, values, strict=True))
    limit = "import resource; resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))\n"
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", limit + _FUZZ, str(tmp_path)],
        input="\n".join(lines),
        capture_output=True,
        text=True,
        timeout=120,
        cwd=Path(__file__).parents[2],
    )
    assert run.returncode == 0, run.stderr
    answers = run.stdout.split("\n")[:-1]
    assert len(answers) == 250
    assert answers.count("refused") > 50
    assert any(answer.startswith("read") for answer in answers)


@given(data=st.data())
@bounded
def test_mutated_values_of_the_header_raise_only_typed_errors(tmp_path: Path, data: st.DataObject) -> None:
    """Well-formed HDF5 with any value in any place of the header."""
    path = tmp_path / "aux.h5"
    version = data.draw(st.sampled_from(VERSIONS))
    rig = replace(RIG, version=version, lines=() if version == "0.5" else LINES)
    write_wavesurfer(path, [Sweep(words(20) if rig.lines else None, volts(20))], rig)
    places: list[str] = []
    with h5py.File(path) as file:
        file.visititems(lambda name, node: places.append(name) if isinstance(node, h5py.Dataset) else None)
    values = st.one_of(
        st.none(),
        st.floats(),
        st.lists(st.floats(), max_size=8),
        st.lists(st.lists(st.integers(-5, 5), min_size=3, max_size=3), min_size=1, max_size=4),
        st.lists(st.binary(max_size=6).map(lambda text: text.replace(b"\0", b"")), min_size=1, max_size=6),
        st.integers(0, 255).map(lambda value: np.full((1, 20), value, np.uint8)),
    )
    rewrite(path, data.draw(st.sampled_from(places)), data.draw(values))
    try:
        assert read_all(path) in (0, 20)
    except UnreadableFile as error:
        assert error.where == str(path)
        assert error.what


# --- the writer --------------------------------------------------------------------------------------------------


def test_the_same_arguments_write_the_same_bytes(tmp_path: Path) -> None:
    for version in VERSIONS:
        rig = replace(RIG, version=version)
        paths = [write_wavesurfer(tmp_path / f"{copy}.h5", [Sweep(words(), volts())], rig) for copy in "ab"]
        assert paths[0].read_bytes() == paths[1].read_bytes()


def test_blocks_are_written_as_the_whole_is(tmp_path: Path) -> None:
    pieces = Sweep(np.split(words(), [100, 1700]), np.split(volts(), [3, 1700], axis=1), 0.25)
    whole, parts = record(tmp_path / "a.h5"), record(tmp_path / "b.h5", RIG, pieces)
    np.testing.assert_array_equal(all_words(whole), all_words(parts))
    with whole.open() as one, parts.open() as other:
        np.testing.assert_array_equal(one.volts("wheel"), other.volts("wheel"))


def test_what_the_board_cannot_hold_saturates(tmp_path: Path) -> None:
    rig = replace(RIG, channels=(Analog("a", coefficients=NOMINAL), Analog("b", coefficients=(0.0, -10 / 2**15))))
    counts = quantised(np.array([[-99.0, 0.0, 99.0]] * 2), rig)
    assert counts.tolist() == [[-32768, 0, 32767], [32767, 0, -32768]]
    assert CALIBRATED[1] == pytest.approx(NOMINAL[1], rel=0.06)


# --- real recordings ---------------------------------------------------------------------------------------------


@pytest.mark.skipif(not REAL_DATA, reason="NO REAL RECORDINGS: ADAMACS_REAL_DATA names no folder; this was not tried")
@pytest.mark.parametrize(
    ("name", "version", "start", "time", "mean"),
    (
        ("ws_0p97_data_0001.h5", "0.97", datetime(2018, 8, 22, 14, 8, 16, 580_000), 0.441824, 2.50221981),
        ("ws_v1p0p2_data.h5", "1.0.2", datetime(2017, 10, 10, 15, 30, 41, 78_000), 0.716769, 2.49962616),
    ),
)
def test_real_recordings_are_read_as_others_read_them(
    name: str, version: str, start: datetime, time: float, mean: float
) -> None:
    recording = read_wavesurfer(Path(REAL_DATA) / "wavesurfer" / name)
    assert (recording.version, recording.sample_rate, recording.duration) == (version, 20_000.0, 1.0)
    assert (recording.start, recording.lines, recording.warnings) == (start, (), ())
    assert [(channel.name, channel.unit, channel.scale) for channel in recording.channels] == [("AI0", "V", 1.0)]
    assert [(sweep.name, sweep.samples) for sweep in recording.sweeps] == [("sweep_0001", 20_000)]
    assert recording.sweeps[0].time == pytest.approx(time, abs=1e-6)
    with recording.open() as file:
        found = file.volts("AI0")
    assert found.mean() == pytest.approx(mean, abs=1e-8)  # by PyWaveSurfer, from which no sample differs
    assert len(analog_pulses(found)) == 1  # the rig's test pulse: 5 V for half of the second
