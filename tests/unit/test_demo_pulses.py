"""Pulses of the synthetic lab: what a device saw, and the truth about it."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from adamacs.demo import pulses
from adamacs.demo.pulses import Device, Train

EVENTS = np.cumsum(np.random.default_rng(0).uniform(0.5, 2, 2000))


def seen(device: Device, seed: int = 1) -> Train:
    return pulses.observe(EVENTS, device, np.random.default_rng(seed))


def test_a_perfect_device_sees_every_event_on_its_clock():
    train = seen(Device(offset=5, drift=1e-4))
    assert train.events.tolist() == list(range(2000))
    assert np.array_equal(train.times, EVENTS * (1 + 1e-4) + 5)


def test_as_many_pulses_are_lost_and_false_as_stated():
    train = seen(Device(missing=0.02, extra=0.01, late=10, early=20))
    assert train.events[train.events >= 0].min() >= 10
    assert train.events.max() < 1980
    assert 15 <= 1970 - np.count_nonzero(train.events >= 0) <= 70
    assert 5 <= np.count_nonzero(train.events == -1) <= 40


@given(st.integers(0, 2**32), st.booleans())
def test_times_increase_and_false_pulses_keep_their_distance(seed, among_seen):
    train = seen(Device(jitter=1e-4, missing=0.1, extra=0.2, apart=0.05, among_seen=among_seen), seed)
    assert np.all(np.diff(train.times) > 0)
    others = EVENTS[train.events[train.events >= 0]] if among_seen else EVENTS
    false = train.times[train.events == -1]
    assert np.abs(false[:, None] - others).min(initial=1.0) > 0.05


@given(st.integers(0, 2**32))
def test_true_pairs_are_of_the_same_event_and_all_of_them(seed):
    flawed = Device(jitter=1e-4, missing=0.1, extra=0.2)
    source, target = seen(flawed, seed), seen(flawed, seed + 1)
    pairs = pulses.true_pairs(source, target)
    assert np.array_equal(source.events[pairs[:, 0]], target.events[pairs[:, 1]])
    assert np.all(source.events[pairs[:, 0]] >= 0)
    assert len(pairs) == len({*source.events.tolist()} & {*target.events.tolist()} - {-1})


def test_the_same_seed_gives_the_same_pulses():
    device = Device(jitter=1e-4, missing=0.1, extra=0.2)
    assert np.array_equal(seen(device).times, seen(device).times)
