"""Recordings that were damaged in a known way, and what is said of each.

`docs/how-to/failed-certificate.md` explains these sentences, so a test lets the pipeline say them. To see one of them,
write them to the share of an empty lab home, ingest and work:

    python -m tests.damaged lab
    adamacs sync scan9FYMZ28Q --plot docs/pictures/sync-certificate.png
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adamacs.core import setups, tokens
from adamacs.demo import bpod, cameras, harp, motive, rig, scanimage, video
from adamacs.demo import stimuli as screen
from adamacs.demo.rig import Rig

OPENFIELD, BENCH = (setups.load().setups[name] for name in ("mini2p1_openfield", "bench2p"))
ALONE = "frames_alone"  # a setup type that records nothing beside the frames
SECONDS, FRAMES, RATE, CAMERA = 120.0, 2000, 20.0, 5000
_NS = 10**9

Floats = NDArray[np.float64]
Change = Callable[[Rig], Rig]


@dataclass(frozen=True)
class Place:
    """Where the recording of some number is written, and when it began."""

    share: Path
    number: int

    @property
    def start(self) -> datetime:
        """Local, and the lab's clock is UTC."""
        return datetime(2026, 2, 10, 9, 30) + timedelta(minutes=12 * self.number)

    @property
    def scan_id(self) -> str:
        """Its token."""
        return f"scan{tokens.encode(self.start + timedelta(minutes=5))}"

    @property
    def folder(self) -> Path:
        """On the share, of the invented person."""
        session = self.scan_id.replace("scan", "sess")
        return self.share / "demo" / tokens.format_folder("XX", "ANM-0001", self.start.date(), session, self.scan_id)

    def file(self, ending: str) -> Path:
        """Return the path of a file of the scan."""
        return self.folder / f"{self.scan_id}_{ending}"


def _imaged(place: Place, *, setup: str = OPENFIELD.name, frames: int = FRAMES, is_cut: bool = False) -> None:
    """Write frames, 500 to a file; cut: the last file is missing."""
    microscope = scanimage.Microscope(
        lines=16,
        pixels=16,
        frame_rate=RATE,
        frames_per_slice=frames,
        frames_per_file=500,
        setup=setup,
        start=place.start,
    )
    pages = (np.full((16, 16), 100, np.int16) for _ in range(frames))
    written = scanimage.write(place.folder, f"{place.scan_id}_XX_ANM-0001", microscope, pages)
    if is_cut:
        written[-1].unlink()


def _ran(seed: int = 3, frames: int = FRAMES) -> tuple[Rig, Floats]:
    """Return what a rig recorded, and when it triggered the camera above the arena, s."""
    ran = rig.record(OPENFIELD, SECONDS, seed=seed).with_frames(frames, RATE)
    exposed = 0.5 + np.arange(CAMERA) / 50
    return _with(ran, "camera_frames", exposed, 100), exposed


def _with(ran: Rig, channel: str, times: Floats, width: int = 400) -> Rig:
    """Return a rig whose channel has pulses at these times (s) alone."""
    start = np.round(times * ran.sample_rate).astype(np.int64)
    return replace(ran, pulses={**ran.pulses, channel: np.stack([start, start + width], axis=1)})


def _without(ran: Rig, channel: str, lost: Iterable[int]) -> Rig:
    return replace(ran, pulses={**ran.pulses, channel: np.delete(ran.pulses[channel], list(lost), axis=0)})


def _always_on(ran: Rig, channel: str) -> Rig:
    return replace(ran, pulses={**ran.pulses, channel: np.array([[0, ran.samples]])})


def _beside(place: Place, ran: Rig, session: bpod.Session | None = None) -> None:
    """Write the auxiliary recording and Bpod's session."""
    ran.write(place.file("XX_ANM-0001.h5"))
    told = session or (ran.task.session if ran.task else None)
    if told is not None:
        bpod.write_bpod(place.file("XX_ANM-0001.mat"), told)


def _since(place: Place, times: Floats) -> NDArray[np.int64]:
    return int(place.start.replace(tzinfo=UTC).timestamp()) * _NS + np.round(times * _NS).astype(np.int64)


def _filmed(place: Place, exposed: Floats, lost: Iterable[int] = (), late: Floats | None = None) -> None:
    """Write when the computer stamped the camera's frames, on a clock that is fast by 60 ppm."""
    if late is None:
        late = np.abs(np.random.default_rng(1).normal(0, 4e-4, CAMERA))
    stamped = np.delete(exposed * (1 - 60e-6) + late, list(lost))
    cameras.write_bonsai(place.file("mini2p1_top_video_timestamps_1.csv"), _since(place, stamped + 2))


def _whole(change: Change = lambda ran: ran, lost: Iterable[int] = (), **imaged: Any) -> Callable[[Place], None]:
    """Return a writer of a scan with everything beside it, whose rig is changed and whose camera lost frames."""

    def write(place: Place) -> None:
        ran, exposed = _ran()
        _imaged(place, **imaged)
        _beside(place, change(ran))
        _filmed(place, exposed, lost)

    return write


def _focused(ran: Rig) -> Rig:
    frames = ran.pulses["two_photon_frames"][:, 0] / ran.sample_rate
    return _with(ran, "two_photon_frames", np.concatenate([0.5 + np.arange(8) / RATE, frames]), 300)


def _told(by: Callable[[Floats], Floats]) -> Change:
    """Return a change of when Bpod raises its line, s."""
    return lambda ran: _with(ran, "bpod_visual", by(ran.task.told)) if ran.task else ran


def _shaken(times: Floats) -> Floats:
    return times + np.random.default_rng(0).normal(0, 2.6e-3, len(times))


def _swapped(ran: Rig) -> Rig:
    pulses = ran.pulses
    swapped = {"two_photon_frames": pulses["line_clock"], "line_clock": pulses["two_photon_frames"]}
    return replace(ran, pulses={**pulses, **swapped})


def _paused(ran: Rig) -> Rig:
    """Stop the auxiliary recording for two seconds, while all others go on."""
    return ran.interrupted((60.013, 62.013), late=(0.003,))


def _worn(ran: Rig) -> Rig:
    """Let cables be loose: of frames five are lost, of Bpod's pulses six, and two come that are none."""
    ran = _without(ran, "two_photon_frames", [300, 700, 701, 702, 1500])
    told = np.delete(ran.pulses["bpod_visual"][:, 0], [20, 21, 55, 56, 57, 101]) / ran.sample_rate
    return _with(ran, "bpod_visual", np.sort(np.concatenate([told, [40.33, 80.21]])))


def _of_another(place: Place) -> None:
    ran, exposed = _ran()
    other, _ = _ran(seed=4)
    _imaged(place)
    _beside(place, ran, other.task.session if other.task else None)
    _filmed(place, exposed)


def _stamped_late(place: Place) -> None:
    ran, exposed = _ran()
    _imaged(place)
    _beside(place, ran)
    _filmed(place, exposed, late=np.random.default_rng(1).uniform(0, 6.5e-3, CAMERA))


def _stopped(place: Place) -> None:
    ran, exposed = _ran(frames=1500)
    _imaged(place, is_cut=True)
    _beside(place, ran)
    _filmed(place, exposed)


def _harp_late(place: Place) -> None:
    ran, _ = _ran()
    _imaged(place)
    _beside(place, ran)
    seen = ran.pulses["two_photon_frames"][40:, 0] / ran.sample_rate
    late = np.abs(np.random.default_rng(1).normal(0, 4e-4, len(seen)))
    frames = np.arange(1, len(seen) + 1)
    harp.write_frame_sync(place.file("2PFrames_1.csv"), frames, _since(place, seen * (1 + 80e-6) + late))


def _even(place: Place) -> None:
    ran, _ = _ran()
    begin = 2 + 2.0 * np.arange(50)
    states = {"WaitForPosTriggerSoftCode": ((0.0, 0.5),)}
    trials = [bpod.Trial(at + 30, at + 31, states, {"SoftCode10": (0.01,)}, type=1) for at in begin.tolist()]
    _imaged(place)
    even = _with(ran, "bpod_visual", np.sort(np.concatenate([begin, begin + 0.5])))
    _beside(place, even, bpod.Session(trials=tuple(trials)))


def _shown(lost: Iterable[int], clock: screen.Clock) -> Callable[[Place], None]:
    """Return a writer of a scan during which stimuli were shown, of which some left no plateau."""

    def write(place: Place) -> None:
        _imaged(place, setup=BENCH.name, frames=1000)
        show = screen.show(rig.record(BENCH, 60.0, seed=3).with_frames(1000, RATE), seed=2).without_plateaus(list(lost))
        show.rig.write(place.file("XX_ANM-0001.h5"))
        show.write_log(place.file("bonsai_stimulus_events_1.csv"), clock=clock)

    return write


def _shortened(place: Place) -> None:
    """Let the program that writes the video lose three frames that it stamped."""
    _whole()(place)
    video.write_video(place.file("mini2p1_top_video_1.mp4"), CAMERA - 3, rate=50.0)


def _half_exported(place: Place) -> None:
    """Export a take but for its last second."""
    ran, exposed = _ran()
    _imaged(place)
    _beside(place, ran)
    _filmed(place, exposed)
    times = ran.pulses["optitrack_frames"][:, 0] / ran.sample_rate
    rate = round((len(times) - 1) / float(times[-1] - times[0]) * (1 + 40e-6), 6)
    take = motive.Take(len(times), rate, last=len(times) - round(rate) - 1, start=place.start)
    motive.write_take(place.file("take.csv"), take)
    motive.write_tak(place.file("take.tak"))


@dataclass(frozen=True)
class Damaged:
    """A recording that was damaged.

    Attributes
    ----------
    write
        Writes it.
    of
        A stream, whose verdict says so; or the table whose failure does.
    says
        The sentence.
    """

    write: Callable[[Place], None]
    of: str
    says: str


TWO_PHOTON = "two_photon_frames"
_MANY = np.random.default_rng(0).choice(np.arange(5, 1990), 60, replace=False)
_CLOCK, _IMPORT = "sync.ClockSync", "event.EventImport"

DAMAGED: dict[int, Damaged] = {
    1: Damaged(
        _whole(lambda ran: _without(ran, TWO_PHOTON, [700, 701, 1500])),
        TWO_PHOTON,
        "Of 2000, 3 are missing from the pulses of aux, at known places.",
    ),
    2: Damaged(
        _whole(is_cut=True), TWO_PHOTON, "1500 by the files of ScanImage, 2000 by the pulses of aux: 500 apart."
    ),
    3: Damaged(
        _whole(lambda ran: _without(ran, TWO_PHOTON, [700, 701, 1500, *range(1995, 2000)])),
        TWO_PHOTON,
        "1992 and gaps for 3 more by the pulses of aux, 2000 by the files of ScanImage: 5 apart.",
    ),
    4: Damaged(
        _whole(_focused),
        TWO_PHOTON,
        "2000 by the files of ScanImage, 2008 by the pulses of aux: 8 apart. 2000 were asked for by the header "
        "of ScanImage, 2008 came by the pulses of aux: too many. 2 more would fit into gaps in the pulses of "
        "aux: it paused, or nobody has them.",
    ),
    5: Damaged(
        _whole(lost=(100, 101, 1500)),
        "camera_top",
        "Of 5000, 3 are missing from the files of camera_top, at known places.",
    ),
    7: Damaged(
        _whole(lambda ran: _without(ran, TWO_PHOTON, range(FRAMES))),
        _IMPORT,
        "two_photon_frames (digital line 2 ('Frame clock')) is silent: at least 1 must be on it.",
    ),
    8: Damaged(_of_another, _CLOCK, "The trains do not match anywhere: no intervals of one are found in the other."),
    9: Damaged(
        _whole(_told(lambda times: times * (1 + 300e-6))), "bpod_trials", "Clock bpod runs 288.9 ppm slower than aux."
    ),
    10: Damaged(
        _whole(_told(_shaken)),
        _CLOCK,
        "The trains do not match: at best 44 of 146 and 146 pulses pair, 30 % where they overlap.",
    ),
    14: Damaged(
        _whole(lambda ran: _without(ran, TWO_PHOTON, _MANY)),
        TWO_PHOTON,
        "Of 2000, 60 are missing from the pulses of aux, at known places.",
    ),
    16: Damaged(
        _whole(_swapped),
        _IMPORT,
        "two_photon_frames (digital line 2 ('Frame clock')) has pulses at 2000 Hz, which is not within 0.5 to 200 Hz. "
        "line_clock (digital line 3 ('Line clock')) has pulses at 20 Hz,",
    ),
    17: Damaged(
        _whole(lambda ran: _always_on(ran, "camera_frames")),
        _CLOCK,
        "5000 events camera_top_frames of camera_top meet 0 of camera_frames.",
    ),
    19: Damaged(
        _stamped_late, "camera_top", "Clock camera_top: 5 % of the pairs are more than 3076 µs from its mapping."
    ),
    20: Damaged(
        _stopped,
        TWO_PHOTON,
        "2000 were asked for by the header of ScanImage, 1500 came by the pulses of aux: it was stopped early.",
    ),
    21: Damaged(
        _shown([5], "none"),
        "behavior.StimulusOnset",
        "The log of bonsai tells of 80 stimuli, stimulus_level of 79. They are paired in order, as the log tells no "
        "times: that takes as many of both.",
    ),
    23: Damaged(
        lambda place: _imaged(place, setup=ALONE, is_cut=True),
        TWO_PHOTON,
        "2000 were asked for by the header of ScanImage, 1500 came by the files of ScanImage: was it stopped early, or "
        "are files missing?",
    ),
    24: Damaged(
        _whole(lambda ran: ran.with_frames(FRAMES, RATE * (1 + 1500e-6))),
        TWO_PHOTON,
        "20 Hz by the header of ScanImage, 20.03 Hz by the pulses of aux: 1500 ppm apart.",
    ),
    25: Damaged(
        _harp_late,
        "harp",
        "1960 by the files of harp, 2000 by the pulses of aux: 40 apart. Of the last, tellers are 2 s apart: "
        "40.0 periods.",
    ),
    26: Damaged(
        _whole(lambda ran: _always_on(ran, TWO_PHOTON)),
        _IMPORT,
        "two_photon_frames (digital line 2 ('Frame clock')) rests high, where it should be on: its polarity is wrong.",
    ),
    27: Damaged(_shown([5, 17], "instant"), "stimuli", "78 by the pulses of aux, 80 by the files of bonsai: 2 apart."),
    28: Damaged(
        _even,
        _CLOCK,
        "The trains fit each other in more than one way; the target's index may be ahead of the source's by: 51 shifts "
        "from -50 to +49 (at pulse 50).",
    ),
    30: Damaged(
        _whole(_worn, lost=range(25)),
        "camera_top",
        "4975 by the files of camera_top, 5000 by the pulses of aux: 25 apart. Of the last, tellers are 0.5001 "
        "s apart: 25.0 periods.",
    ),
    31: Damaged(
        _whole(_paused),
        TWO_PHOTON,
        "Of 2000, 40 are missing from the pulses of aux, in gaps, or in pauses of its recording.",
    ),
    32: Damaged(
        _whole(_paused),
        _CLOCK,
        "In stretch 2 of the recording, whose start is known to 0.1 s: The trains fit each other in more than one way;",
    ),
    33: Damaged(
        _whole(_paused),
        "camera_frames",
        "100 more would fit into pauses of the recording of aux: nobody counted then.",
    ),
    34: Damaged(
        _shortened,
        "camera_top_video",
        "4997 by the files of camera_top_video, 5000 by the files of camera_top: 3 apart.",
    ),
    35: Damaged(
        _half_exported,
        "mocap",
        "26999 by the files of mocap, 27227 by the pulses of aux: 228 apart. 26999 were asked for by the header of "
        "mocap, 27227 came by the pulses of aux: too many.",
    ),
}
"""By a number from which its token follows."""


def write(home: Path) -> dict[str, Damaged]:
    """Write them to the share of a lab home, with a setup type of its own; return them by their tokens."""
    folder = home / setups.FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    lines = [f'name = "{ALONE}"', 'description = "Frames alone."', 'rigs = ["bench2p1"]', 'modalities = ["imaging"]']
    lines += ["", "[[expected]]", 'files = "*.tif"', 'what = "the frames"', ""]
    (folder / f"{ALONE}.toml").write_text("\n".join(lines), encoding="utf-8")
    written = {}
    for number, damaged in DAMAGED.items():
        place = Place(home / "share", number)
        damaged.write(place)
        written[place.scan_id] = damaged
    return written


if __name__ == "__main__":
    write(Path(sys.argv[1]))
