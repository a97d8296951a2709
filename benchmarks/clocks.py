"""How well and how fast the pulses of two clocks are paired: 1,000 sessions of each kind, and long trains.

One JSON line per measurement. Every session loses 2 % of the pulses, has 1 % false ones and lacks up to a tenth at
either end, on both clocks, with any offset, up to 300 ppm of drift and a jitter of 25 µs on each. `wrong` counts
sessions in which a pair was missed, or a pulse given to another event or to a false pulse; `both_false` counts pairs of
false pulses that happened to coincide, which is an event by any measure. False pulses keep 2 ms from every event; in
the kinds `near` only from those that were seen, so that one may come where a pulse was lost: if it comes within six
standard deviations of the jitter, no time tells it from the pulse, and `undecidable` counts these pairs.

The long trains are paired beside what cannot be beaten: the nearest neighbour by `np.searchsorted` under the true
mapping, which nobody has. Both sides in turn, in one process; times are medians.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from adamacs.core.clocks import pairing
from adamacs.core.errors import PairingRefused
from adamacs.demo import pulses
from adamacs.demo.pulses import Device, Train

FLAWED = Device(jitter=25e-6, missing=0.02, extra=0.01)
GOAL = 10.0  # s, for a million pulses with an anchor


@dataclass(frozen=True)
class Kind:
    """A kind of session: how its events come, and whether an anchor is known."""

    name: str
    events: Callable[[np.random.Generator], np.ndarray]
    anchored: bool = False
    near: bool = False  # false pulses may come where pulses were lost


def uniform(rng: np.random.Generator) -> np.ndarray:
    return np.cumsum(rng.uniform(0.5, 2, rng.integers(60, 1000)))


def exponential(rng: np.random.Generator) -> np.ndarray:
    return np.cumsum(0.01 + rng.exponential(1, rng.integers(60, 1000)))


def trials(rng: np.random.Generator) -> np.ndarray:
    return np.cumsum(rng.uniform(6, 20, rng.integers(30, 300)))


def frames(rng: np.random.Generator) -> np.ndarray:
    return np.arange(rng.integers(300, 3000)) / rng.choice([25, 30, 60, 240])


KINDS = (
    Kind("uniform intervals", uniform),
    Kind("exponential intervals", exponential),
    Kind("trials", trials),
    Kind("periodic, anchor", frames, anchored=True),
    Kind("periodic, no anchor", frames),
    Kind("uniform intervals, near", uniform, near=True),
    Kind("periodic, anchor, near", frames, anchored=True, near=True),
)
LONG = (
    ("irregular, 1e5", lambda rng, share: np.cumsum(rng.uniform(0.02, 0.06, 100_000 // share)), False),
    ("240 Hz for an hour, anchor", lambda rng, share: np.arange(864_000 // share) / 240, True),
    ("irregular, 1e6", lambda rng, share: np.cumsum(rng.uniform(2e-3, 6e-3, 1_000_000 // share)), False),
)


def main() -> None:
    """Print one JSON line per kind of session and per long train."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="50 sessions of each kind, and a tenth of the long trains")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    for kind in KINDS:
        report(kind.name, **counted(kind, 50 if options.quick else 1000))
    for name, events, anchored in LONG:
        report(name, **timed(events, anchored, 10 if options.quick else 1, options.rounds))


def counted(kind: Kind, sessions: int) -> dict[str, Any]:
    """Pair many random sessions, and count those that went wrong."""
    counts = dict.fromkeys(("wrong", "refused", "both_false", "undecidable"), 0)
    began = time.process_time()
    for seed in range(sessions):
        rng = np.random.default_rng([seed, 7])
        source, target, known = session(kind.events(rng), kind.anchored, kind.near, rng)
        try:
            found = pairing.pair(source.times, target.times, **known)
        except PairingRefused:
            counts["refused"] += 1
            continue
        for name, count in judged(source, target, found).items():
            counts[name] += count
    share = (time.process_time() - began) / sessions
    met = counts["refused"] == sessions if kind.name == "periodic, no anchor" else counts["refused"] == 0
    return {"sessions": sessions, **counts, "cpu_ms_each": round(1e3 * share, 1), "met": met and counts["wrong"] == 0}


def session(
    events: np.ndarray, anchored: bool, near: bool, rng: np.random.Generator
) -> tuple[Train, Train, dict[str, Any]]:
    """Return what two devices saw, and what is known of their clocks."""
    late, early, other_late, other_early = rng.integers(0, len(events) // 10 + 1, 4)
    flawed = replace(FLAWED, among_seen=near, apart=min(2e-3, float(np.median(np.diff(events))) / 4))
    clock = {"offset": rng.uniform(-1000, 1000), "drift": rng.uniform(-300, 300) * 1e-6}
    second = replace(flawed, late=other_late, early=other_early, **clock)
    source = pulses.observe(events, replace(flawed, late=late, early=early), rng)
    target = pulses.observe(events, second, rng)
    at = rng.uniform(events[0], events[-1])
    known: dict[str, Any] = {"jitter": min(5e-4, float(np.median(np.diff(events))) / 12)}
    if anchored:
        known |= {"anchors": {"gate": (at, float(pulses.convert(at, second)))}, "anchor_accuracy": 2e-4}
    return source, target, known


def judged(source: Train, target: Train, found: pairing.Pairing) -> dict[str, int]:
    """Compare with the truth: whether it is wrong, and pairs that nobody could tell."""
    events = source.events[found.source_index], target.events[found.target_index]
    both = np.count_nonzero((events[0] == -1) & (events[1] == -1))
    one = np.count_nonzero((events[0] == -1) ^ (events[1] == -1))  # within the tolerance, of a pulse that was lost
    right = np.count_nonzero((events[0] == events[1]) & (events[0] >= 0))
    missed = len(pulses.true_pairs(source, target)) - right
    swapped = np.count_nonzero((events[0] != events[1]) & (events[0] >= 0) & (events[1] >= 0))
    return {"wrong": int(missed > 0 or swapped > 0 or one > 0), "both_false": int(both), "undecidable": int(one)}


def timed(
    events: Callable[[np.random.Generator, int], np.ndarray], anchored: bool, share: int, rounds: int
) -> dict[str, Any]:
    """Pair a long train, beside the nearest neighbours under the true mapping."""
    rng = np.random.default_rng(3)
    made = events(rng, share)
    flawed = replace(FLAWED, apart=5e-4)
    second = replace(flawed, offset=77.7, drift=123e-6)
    source, target = pulses.observe(made, flawed, rng), pulses.observe(made, second, rng)
    known: dict[str, Any] = {"anchors": {"gate": (1.0, float(pulses.convert(1.0, second)))}} if anchored else {}
    jitter = min(5e-4, float(np.median(np.diff(made))) / 12)
    times: dict[str, list[float]] = {"ours": [], "base": []}
    for _ in range(rounds):
        began = time.process_time()
        found = pairing.pair(source.times, target.times, jitter=jitter, **known)
        times["ours"].append(time.process_time() - began)
        began = time.process_time()
        nearest_neighbours(pulses.convert(source.times, second), target.times, found.tolerance)
        times["base"].append(time.process_time() - began)
    ours, base = (statistics.median(times[side]) for side in ("ours", "base"))
    figures = {"pulses": len(source.times), "ours_s": round(ours, 3), "base_s": round(base, 4)}
    return {
        **figures,
        "ratio": round(ours / base, 1),
        **judged(source, target, found),
        "goal_s": GOAL,
        "met": ours < GOAL,
    }


def nearest_neighbours(predicted: np.ndarray, target: np.ndarray, tolerance: float) -> np.ndarray:
    """Return pairs of nearest pulses within the tolerance, in the plainest way."""
    right = np.clip(np.searchsorted(target, predicted), 1, len(target) - 1)
    near = right - (predicted - target[right - 1] < target[right] - predicted)
    kept = np.flatnonzero(np.abs(target[near] - predicted) <= tolerance)
    return np.stack([kept, near[kept]])


def report(what: str, **figures: object) -> None:
    """Print one measurement."""
    machine = {"cores": os.cpu_count(), "load": round(os.getloadavg()[0], 2), "python": sys.version.split()[0]}
    print(json.dumps({"benchmark": "clocks", "what": what, **figures, "machine": machine}), flush=True)


if __name__ == "__main__":
    main()
