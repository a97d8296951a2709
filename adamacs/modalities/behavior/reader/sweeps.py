"""When the sweeps of a recording of WaveSurfer were, in seconds since the first one began.

Within a sweep the board counts samples. Between two sweeps it rests, and WaveSurfer tells by the computer's clock when
the first samples of each were taken (`timestamp`): to some milliseconds. A sweep that would begin a little before the
end of the one before it, which cannot be, is taken to begin there.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from adamacs.core.errors import UnreadableFile
from adamacs.core.events import Stretch
from adamacs.modalities.behavior.reader.wavesurfer import AuxRecording

ACCURACY = 0.1  # s, by which the computer's clock may tell the start of a sweep too late or too early
_LISTED = 3  # pauses that a sentence spells out
_HINT = "Was the file copied whole, and is it as WaveSurfer wrote it? Compare it with that of the rig."


@dataclass(frozen=True)
class PlacedSweep:
    """A sweep that holds samples, and when it was.

    Attributes
    ----------
    number
        Among all sweeps of the file, from 0.
    name
        Of its group, `sweep_0002`.
    samples
        That were recorded of every line and channel.
    start, stop
        s since the first sample of the first such sweep: of its first sample, and one sample behind its last.
    """

    number: int
    name: str
    samples: int
    start: float
    stop: float

    @property
    def stretch(self) -> Stretch:
        """The same as sources tell it."""
        return Stretch(self.start, self.stop, ACCURACY if self.start else 0.0)


def place_sweeps(recording: AuxRecording) -> tuple[PlacedSweep, ...]:
    """Return the sweeps that hold samples, at least one, in the order of their numbers, which is that of time.

    Raises
    ------
    UnreadableFile
        None holds a sample; or of several one has no time, or would begin before the end of the one before it by more
        than the computer's clock may be off.
    """
    held = [(number, sweep) for number, sweep in enumerate(recording.sweeps) if sweep.samples]
    if not held:
        raise UnreadableFile("No sweep holds a sample.", recording.path, "Was the recording stopped at once?")
    if len(held) > 1 and (lost := [sweep.name for _, sweep in held if sweep.time is None]):
        what = f"{lost[0]} is one of {len(held)} sweeps and does not tell when it was."
        raise UnreadableFile(what, recording.path, _HINT)
    zero = held[0][1].time or 0.0
    placed: list[PlacedSweep] = []
    for number, sweep in held:
        start = (sweep.time or 0.0) - zero
        if placed and (early := placed[-1].stop - start) > 0:
            if early > ACCURACY:
                what = (
                    f"{sweep.name} would begin {early:.3f} s before the end of {placed[-1].name}, by their timestamps."
                )
                raise UnreadableFile(what, recording.path, _HINT)
            start = placed[-1].stop
        stop = start + sweep.samples / recording.sample_rate
        placed.append(PlacedSweep(number, sweep.name, sweep.samples, start, stop))
    return tuple(placed)


def said_of(recording: AuxRecording, sweeps: tuple[PlacedSweep, ...]) -> tuple[str, ...]:
    """Return what a person should know of the sweeps, in sentences; nothing of a single one that holds samples."""
    said = []
    if empty := len(recording.sweeps) - len(sweeps):
        said.append(f"{empty} of {len(recording.sweeps)} sweeps hold no sample.")
    if len(sweeps) > 1:
        pauses = [f"{one.stop:.3f} to {next_.start:.3f} s" for one, next_ in pairwise(sweeps)]
        said.append(
            f"It has {len(sweeps)} sweeps, with pauses from {listed(pauses)}: what came then was not seen, and "
            "times of later sweeps are as exact as the computer's clock."
        )
    return tuple(said)


def listed(words: list[str]) -> str:
    """Return the first few of some words, and how many more there are."""
    if len(words) > _LISTED:
        words = [*words[:_LISTED], f"{len(words) - _LISTED} more"]
    return " and ".join(filter(None, [", ".join(words[:-1]), words[-1]]))
