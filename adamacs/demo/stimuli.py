"""What Bonsai showed during a rig's recording, from one hidden truth: plateaus on one side, a log on the other.

A screen shows passes through a set of stimuli, each in an order of its own, and a voltage says which one. The computer
that does so writes a log by its own clock, a little late. Lines and plateaus may get lost, and false ones come.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from adamacs.core.setup_wiring import Channel
from adamacs.core.setups import SetupType
from adamacs.demo import bonsai
from adamacs.demo.bonsai import Shown, StimulusLog
from adamacs.demo.rig import Rig

Clock = Literal["instant", "seconds", "none"]
Dialect = Literal["events", "master_trigger", "harp_acquiring", "ungated"]

GRATINGS = tuple(f"Grating; A; 0; 10; 20; {45 * step}; 0.04; 2" for step in range(8))
_DIALECTS: dict[str, Dialect] = {
    "bonsai_events": "events",
    "bonsai_log": "harp_acquiring",
    "bonsai_log_trigger": "master_trigger",
    "bonsai_log_acquiring": "harp_acquiring",
}
_LOWEST, _STEP = 0.5, 0.4  # V of the first stimulus, and from one to the next
LATEST = 0.006  # s by which a line of the log is late at most
_LATENCY = 0.03  # s from the voltage to the light on the screen, which a photodiode sees
_SPACE = 0.6  # share of the time from one stimulus to the next in which it is on


@dataclass(frozen=True, eq=False)
class Show:
    """What was shown during a recording.

    Attributes
    ----------
    rig
        The recording, with a plateau or pulse on each channel that shows stimuli.
    stimuli
        The set, each spelt as the log does.
    numbers
        int64, (presentation,): which of the set, 0 for the first.
    onsets
        float64, (presentation,): s of the sweep.
    told
        float64, (presentation,): s on the log's clock, when it was written down.
    dialect
        Of the log, as the setup type's reader takes it.
    offset, drift
        s, and a part: a time of the sweep is `(1 + drift) * time - offset` of the log's.
    """

    rig: Rig
    stimuli: tuple[str, ...]
    numbers: NDArray[np.int64]
    onsets: NDArray[np.float64]
    told: NDArray[np.float64]
    dialect: Dialect
    offset: float
    drift: float

    def scan_time(self, times: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return times of the log as seconds of the sweep, as they truly are."""
        return times * (1 + self.drift) - self.offset

    def write_log(self, path: Path, clock: Clock = "instant", lost: Collection[int] = (), extra: float = 0.0) -> Path:
        """Write the log, and return its path.

        Parameters
        ----------
        clock
            What its times are.
        lost
            Presentations without a line, from 0 on.
        extra
            s of the sweep: a line of the first stimulus, although nothing was shown then; 0 for none.
        """
        lines = [(float(self.told[at]), self.stimuli[self.numbers[at]]) for at in range(len(self.numbers))]
        lines = [line for at, line in enumerate(lines) if at not in lost]
        if extra:
            lines.append(((extra + self.offset) / (1 + self.drift), self.stimuli[0]))
        shown = tuple(Shown(time, stimulus) for time, stimulus in sorted(lines))
        bonsai.write_stimuli(path, StimulusLog(self.dialect, shown, clock=clock))
        return path

    def without_plateaus(self, lost: Collection[int], extra: float = 0.0, number: int = 0) -> Show:
        """Return the same with plateaus lost on every channel that shows stimuli.

        Parameters
        ----------
        lost
            Their presentations, from 0 on.
        extra
            s of the sweep at which there is one too many, with the voltage of stimulus `number`; 0 for none.
        """
        pulses, levels = dict(self.rig.pulses), dict(self.rig.levels)
        for channel in showing(self.rig.setup):
            kept = np.delete(pulses[channel.name], list(lost), axis=0)
            volts = np.delete(levels.get(channel.name, np.zeros(len(self.numbers))), list(lost))
            if extra:
                start = round(extra * self.rig.sample_rate)
                kept = np.vstack([kept, [[start, start + round(0.2 * self.rig.sample_rate)]]])
                volts = np.append(volts, level_of(number))
            order = np.argsort(kept[:, 0])
            pulses[channel.name] = kept[order]
            if channel.name in levels:
                levels[channel.name] = volts[order]
        return replace(self, rig=replace(self.rig, pulses=pulses, levels=levels))


def level_of(number: int | NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the voltage of a stimulus, by its place in the set."""
    return np.round(_LOWEST + _STEP * np.asarray(number, np.float64), 6)


def showing(setup: SetupType) -> list[Channel]:
    """Return the channels of a setup type that show stimuli."""
    return [channel for channel in setup.channel if channel.shows]


def show(
    ran: Rig, stimuli: tuple[str, ...] = GRATINGS, *, interval: float = 0.5, spread: float = 0.2, seed: int = 0
) -> Show:
    """Show passes through a set of stimuli, as many as fit into a recording.

    Parameters
    ----------
    ran
        The recording; what its channels showed before is replaced.
    stimuli
        The set.
    interval, spread
        s from a stimulus to the next, and what may come to it; without a spread they follow each other evenly.
    seed
        Of orders, intervals, the computer's clock and how late it is.
    """
    rng = np.random.default_rng([seed, len(stimuli), 7])
    seconds = ran.samples / ran.sample_rate
    first = 1.0 + max((one.after.seconds for one in showing(ran.setup) if one.after), default=0.0)
    passes = int((seconds - first - 1.0) / (interval + spread) / len(stimuli))
    numbers = np.concatenate([rng.permutation(len(stimuli)) for _ in range(max(passes, 1))])
    onsets = first + np.cumsum(interval + spread * rng.random(len(numbers)))
    starts = np.round(onsets * ran.sample_rate).astype(np.int64)
    offset, drift = 5 + 50 * rng.random(), 100e-6 * (2 * rng.random() - 1)
    late = np.minimum(rng.exponential(LATEST / 3, len(numbers)), LATEST)
    told = (onsets + late + offset) / (1 + drift)
    return Show(
        _on_channels(ran, starts, numbers, round(_SPACE * interval * ran.sample_rate)),
        *(stimuli, numbers, starts / ran.sample_rate, told, _dialect_of(ran.setup), offset, drift),
    )


def _on_channels(ran: Rig, starts: NDArray[np.int64], numbers: NDArray[np.int64], width: int) -> Rig:
    """Return a recording with a plateau or pulse for each presentation, on every channel that shows stimuli."""
    pulses, levels = dict(ran.pulses), dict(ran.levels)
    for channel in showing(ran.setup):
        seen = starts + (round(_LATENCY * ran.sample_rate) if channel.share else 0)  # light comes later than a voltage
        pulses[channel.name] = np.stack([seen, seen + width], axis=1)
        if channel.kind == "level":
            levels[channel.name] = level_of(numbers)
    return replace(ran, pulses=pulses, levels=levels)


def _dialect_of(setup: SetupType) -> Dialect:
    return next((_DIALECTS[parser] for parser in setup.sources.values() if parser in _DIALECTS), "ungated")
