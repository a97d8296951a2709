"""When the samples of a device were taken that tells no times itself: while a gate was open, at a steady pace."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

Span = tuple[float, float | None]


@dataclass(frozen=True)
class SampleTimes:
    """Evenly spaced times of samples.

    Attributes
    ----------
    first
        s, of the first sample, on the clock of the gate; None where nothing tells.
    interval
        s between samples; None where nothing tells.
    how
        How they were told, or what is missing for that.
    """

    first: float | None
    interval: float | None
    how: str


def place_samples(count: int, gates: Sequence[Span], sample_rate: float | None, *, within: float) -> SampleTimes:
    """Tell when samples were taken, from when the gate was open and from the rate, where that is known.

    A gate that was open for T seconds saw samples every T / count seconds, the first half of that after it opened:
    wherever the first one truly fell, none is then further off than half an interval. With a known rate, an opening
    counts only where it is as long as so many samples take.

    Parameters
    ----------
    count
        Of the samples.
    gates
        Opening and closing of the gate, s; an opening at 0 or a closing that is None was not seen.
    sample_rate
        Hz, or None.
    within
        Share by which the true rate may differ from that, beside two samples.
    """
    if count < 1:
        return SampleTimes(None, None, "there is no sample")
    if not gates:
        return _at_rate(sample_rate, "no gate was open")
    seen = [(start, stop) for start, stop in gates if start > 0 and stop is not None]
    if sample_rate is not None:
        fitting = [span for span in seen if abs((span[1] - span[0]) * sample_rate - count) <= within * count + 2]
        if len(fitting) == 1:
            return _filling(count, fitting[0], f", which {sample_rate:g} Hz bear out")
        if len(gates) == 1 and not seen:
            return _from_one_end(count, gates[0], sample_rate)
        lasted = ", ".join(f"{stop - start:.3f}" for start, stop in seen)
        told = f"{count} samples at {sample_rate:g} Hz fit {len(fitting)} of {len(gates)} openings of the gate"
        return SampleTimes(None, None, f"{told} ({lasted} s)" if lasted else told)
    if len(gates) == 1 and seen:
        return _filling(count, seen[0], "")
    missing = "its opening or closing was not recorded" if len(gates) == 1 else f"it opened {len(gates)} times"
    return SampleTimes(None, None, f"the gate does not tell: {missing}, and no sample_rate is known")


def _filling(count: int, span: tuple[float, float], borne_out: str) -> SampleTimes:
    start, stop = span
    interval = (stop - start) / count
    how = f"evenly from {start:.6f} to {stop:.6f} s, while the gate was open{borne_out}; each within half an interval"
    return SampleTimes(start + interval / 2, interval, how)


def _from_one_end(count: int, gate: Span, sample_rate: float) -> SampleTimes:
    start, stop = gate
    interval = 1 / sample_rate
    if start > 0:
        return SampleTimes(start + interval / 2, interval, f"at {sample_rate:g} Hz from the opening of the gate on")
    if stop is not None:
        first = stop - (count - 0.5) * interval
        return SampleTimes(first, interval, f"at {sample_rate:g} Hz up to the closing of the gate")
    return _at_rate(sample_rate, "the gate was open all the time")


def _at_rate(sample_rate: float | None, why: str) -> SampleTimes:
    if sample_rate is None:
        return SampleTimes(None, None, f"{why}, and no sample_rate is known")
    return SampleTimes(None, 1 / sample_rate, f"at {sample_rate:g} Hz; when they began is not known: {why}")
