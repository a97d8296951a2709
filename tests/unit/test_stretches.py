"""Clocks on one that paused: what is placed is right whatever the steps are, and what cannot be told is refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adamacs.core.clocks import pairing
from adamacs.core.clocks.mapping import ClockModel
from adamacs.core.clocks.stretches import inside, pair_and_fit, seen_to_begin
from adamacs.core.errors import AmbiguousPairing, PairingRefused
from adamacs.core.events import Stretch

OFFSET, DRIFT, JITTER = 35.0, 120e-6, 1e-3
SPANS = ((0.0, 40.0), (43.0, 70.0), (71.5, 120.0))
CLOCK = 0.1  # s, by which a start may be off


def recorded(times, steps, spans=SPANS):
    """Return the pulses that a recording with pauses tells of (s), and its stretches; later ones are told off."""
    parts = [times[(times >= start) & (times < stop)] + step for (start, stop), step in zip(spans, steps, strict=True)]
    stretches = [Stretch(start + step, stop + step, CLOCK) for (start, stop), step in zip(spans, steps, strict=True)]
    return np.concatenate(parts), (Stretch(*spans[0]), *stretches[1:])


def own(times, rng, noise=5e-5):
    """Return the same pulses on the other clock, which ran on."""
    return (times + OFFSET) / (1 + DRIFT) + rng.normal(0, noise, len(times))


def uneven(rng, spans=SPANS):
    return np.cumsum(0.5 + rng.random(400))[: int(spans[-1][1] / 1.01)]


def even(period, spans=SPANS):
    return np.arange(0.7, spans[-1][1] - 0.5, period)


def place(source, target, stretches, anchors=None, jitter=JITTER, anchor=""):
    def by_intervals(part):
        return pairing.pair(source, target[part], jitter=jitter)

    names = ("own", "aux")
    return pair_and_fit(
        source, target, stretches, by_intervals, names=names, anchors=anchors or {}, jitter=jitter, anchor=anchor
    )


def told(times, steps, spans=SPANS):
    """Return true times as the recording tells them, straight on over pauses."""
    return times + np.interp(times, np.array(spans).ravel(), np.repeat(steps, 2))


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**32), st.floats(-CLOCK, CLOCK), st.floats(-CLOCK, CLOCK))
def test_uneven_pulses_are_placed_stretch_by_stretch_whatever_the_steps(seed, one, other):
    rng, steps = np.random.default_rng(seed), (0.0, one, other)
    times = uneven(rng)
    source = own(times, rng)
    target, stretches = recorded(times, steps)
    paired, fit = place(source, target, stretches)
    np.testing.assert_allclose(fit.model.convert(source), told(times, steps), atol=3e-4)
    assert fit.model.drift_ppm == pytest.approx(1e6 * DRIFT, abs=15), "the steps are no drift"
    assert len(paired.target_index) == len(target)
    assert not len(paired.source_alone), "what came in a pause has no partner to miss"
    assert fit.residuals.max < 3e-4 and fit.used > 0.8 * len(target)
    assert fit.used + len(fit.rejected) == len(target)
    assert ClockModel.from_json(fit.model.to_json()) == fit.model
    np.testing.assert_allclose(fit.model.inverse.convert(fit.model.convert(source)), source, atol=1e-6)


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**32), st.floats(0.004, 2.0), st.floats(-CLOCK, CLOCK), st.booleans())
def test_even_pulses_are_placed_right_or_not_at_all(seed, period, step, is_gated):
    """The step may be a whole number of periods: then nothing but the pulses' own pause tells which is which."""
    rng, steps, spans = np.random.default_rng(seed), (0.0, step), SPANS[:2]
    times = even(period, spans)
    if is_gated:  # the device was triggered while the recording ran
        times = times[inside(times, [Stretch(start + 0.3, stop - 0.3) for start, stop in spans])]
    source = own(times, rng)
    target, stretches = recorded(times, steps, spans)
    try:
        _, fit = place(source, target, stretches, {"the first": (source[0], target[0])}, anchor="first")
    except PairingRefused as refusal:
        assert not is_gated, refusal.what
        assert isinstance(refusal, AmbiguousPairing) == ("In stretch" in refusal.what), refusal.what
        assert period < 2.5 * CLOCK + 2 * JITTER, "pulses further apart than the clock is off are told apart"
        return
    np.testing.assert_allclose(fit.model.convert(source), told(times, steps, spans), atol=5e-4)


def test_even_pulses_that_went_on_over_the_pause_are_refused_with_the_stretch_and_a_cure():
    rng = np.random.default_rng(0)
    times = even(0.02)
    source = own(times, rng)
    target, stretches = recorded(times, (0.0, 0.021, 0.0))
    with pytest.raises(
        AmbiguousPairing, match=r"In stretch 2 of the recording, whose start is known to 0\.1 s"
    ) as told:
        place(source, target, stretches, {"the first": (source[0], target[0])})
    assert "record without a pause" in told.value.hint


@pytest.mark.parametrize("anchor", ["", "first", "counts"])
def test_as_many_of_both_are_not_in_order_where_the_source_did_not_pause(anchor):
    """A frame of the pause at one end makes up for one that the table lacks at the other."""
    rng, spans = np.random.default_rng(0), SPANS[:2]
    times = even(0.09, spans)
    source = own(times, rng)
    target, stretches = recorded(times, (0.0, 0.0), spans)
    anchors = {"the first": (source[0], target[0])}
    for lost in range(4):  # one of these makes the counts equal
        with pytest.raises(AmbiguousPairing, match="In stretch 2"):
            place(source[: len(source) - lost], target, stretches, anchors, anchor=anchor)


def triggered(lost=()):
    """Return even pulses that paused with the recording, without some that the source lost, in two stretches."""
    rng, spans = np.random.default_rng(1), SPANS[:2]
    times = even(1 / 30, spans)
    times = times[inside(times, [Stretch(start + 0.3, stop - 0.3) for start, stop in spans])]
    target, stretches = recorded(times, (0.0, 0.013), spans)
    kept = np.delete(times, lost)
    return own(kept, rng), target, stretches, told(kept, (0.0, 0.013), spans)


def test_what_is_known_of_the_first_of_both_holds_behind_a_pause_of_both():
    source, target, stretches, true = triggered(lost=[-1, -40])
    _, fit = place(source, target, stretches, {"the first": (source[0], target[0])}, anchor="first")
    np.testing.assert_allclose(fit.model.convert(source), true, atol=5e-4)


def test_where_nothing_is_known_even_pulses_are_not_put_in_order_behind_a_pause():
    source, target, stretches, _ = triggered()
    with pytest.raises(AmbiguousPairing, match="In stretch 2"):
        place(source, target, stretches, {"the first": (source[0], target[0])})
    source, target, stretches, _ = triggered(lost=[-1])
    with pytest.raises(AmbiguousPairing, match="In stretch 2"):
        place(source, target, stretches, {"the first": (source[0], target[0])}, anchor="counts")


@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_few_pulses_of_a_stretch_are_enough(count):
    rng, steps = np.random.default_rng(count), (0.0, 0.03, -0.02)
    times = uneven(rng)
    third = times > SPANS[2][0]
    times = np.concatenate([times[~third], times[third][:count]])
    target, stretches = recorded(times, steps)
    source = own(times, rng)
    _, fit = place(source, target, stretches)
    np.testing.assert_allclose(fit.model.convert(source), told(times, steps), atol=3e-4)
    assert "2 by +30.0 ms, 3 by -20." in fit.method or "3 by -19.9" in fit.method


def test_a_stretch_in_which_nobody_tells_is_said_to_be_as_exact_as_the_computer():
    rng, steps = np.random.default_rng(3), (0.0, 0.03, -0.02)
    times = uneven(rng)
    times = times[(times < 40) | (times > 71.5)]
    target, stretches = recorded(times, steps)
    _, fit = place(own(times, rng), target, stretches)
    assert "no pairs in 2, where times are as exact as the computer's clock" in fit.method


def test_a_stretch_whose_pulses_are_others_is_refused():
    rng = np.random.default_rng(4)
    times = uneven(rng)
    target, stretches = recorded(times, (0.0, 0.0, 0.0))
    second = (target > 43) & (target < 70)
    target = np.sort(np.concatenate([target[~second], 43 + 26 * rng.random(second.sum())]))
    with pytest.raises(PairingRefused, match="In stretch 2 of the recording"):
        place(own(times, rng), target, stretches)


def test_a_step_beyond_what_was_said_is_refused():
    rng = np.random.default_rng(5)
    times = uneven(rng)
    target, stretches = recorded(times, (0.0, 0.4, 0.0))
    with pytest.raises(PairingRefused, match="In stretch 2"):
        place(own(times, rng), target, stretches)


def test_the_last_of_both_anchors_the_stretch_that_holds_it():
    rng, steps = np.random.default_rng(6), (0.0, 0.05, -0.03)
    times = uneven(rng)
    target, stretches = recorded(times, steps)
    source = own(times, rng)
    seen = np.flatnonzero(inside(times, [Stretch(*span) for span in SPANS]))
    _, fit = place(source, target, stretches, {"the last": (source[seen[-1]], target[-1])})
    np.testing.assert_allclose(fit.model.convert(source), told(times, steps), atol=3e-4)
    assert "step from stretch 3: 1 by +30" in fit.method


def test_pulses_lost_on_either_side_are_alone_and_move_nothing():
    rng, steps = np.random.default_rng(7), (0.0, 0.05, -0.03)
    times = uneven(rng)
    target, stretches = recorded(times, steps)
    held = inside(times, [Stretch(*span) for span in SPANS])
    lost = np.array([20, 60, 61])
    source = np.delete(own(times, rng), lost)
    seen = np.delete(target, [10, 80])
    paired, fit = place(source, seen, stretches)
    assert (len(paired.source_alone), len(paired.target_alone)) == (2, np.count_nonzero(held[lost]))
    np.testing.assert_allclose(fit.model.convert(source), np.delete(told(times, steps), lost), atol=3e-4)


def test_a_pause_of_no_length_and_one_stretch_are_placed_as_well():
    rng, spans = np.random.default_rng(8), ((0.0, 40.0), (40.02, 90.0))
    times = uneven(rng, spans)
    target, _ = recorded(times, (0.0, -0.02), spans)
    stretches = (Stretch(0.0, 40.0), Stretch(40.0, 89.98, CLOCK))
    source = own(times, rng)
    _, fit = place(source, target, stretches)
    whole = (times < 40) | (times > 40.02)
    np.testing.assert_allclose(fit.model.convert(source)[whole], told(times, (0.0, -0.02), spans)[whole], atol=3e-4)
    _, plain = place(source, times, (Stretch(0.0, 90.0),))
    np.testing.assert_allclose(plain.model.convert(source), times, atol=3e-4)
    assert plain.model.seams == ()


def test_what_was_on_when_a_stretch_began_was_not_seen_to_begin():
    stretches = (Stretch(0.0, 4.0), Stretch(6.0, 9.0))
    assert seen_to_begin(np.array([0.0, 1.0, 6.0, 6.5]), stretches).tolist() == [False, True, False, True]
    assert seen_to_begin(np.array([0.0, 6.0])).tolist() == [False, True]
    assert inside(np.array([-1.0, 0.0, 3.9, 4.0, 5.0, 6.0, 9.0]), stretches).tolist() == [0, 1, 1, 0, 0, 1, 0]
    assert inside(np.array([-1.0, 5.0]), ()).tolist() == [1, 1]
