"""Which plateau shows which stimulus of a log: every pair right, or refused with both counts; passes; labels."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adamacs.analysis.stimuli import labels_of
from adamacs.core import setups
from adamacs.core.errors import AmbiguousPairing, PairingRefused
from adamacs.core.events import SourceFiles, Stretch
from adamacs.modalities.behavior.importers.bonsai import import_bonsai, import_bonsai_trials, read_presentations
from adamacs.modalities.behavior.numerics.passes import find_passes
from adamacs.modalities.behavior.stimuli import Seen, Shown, Told, find_shown
from tests.conftest import LONG

SETUP = setups.load().setups["bench2p"]
UNTOLD = replace(SETUP, channel=tuple(replace(c, stimuli="each") if c.stimuli else c for c in SETUP.channel))
CHANNEL = "stimulus_level"
SESSIONS = 1000 if LONG else 40


def find(told: Told, seen: Seen, setup=SETUP) -> Shown:
    return find_shown(setup, CHANNEL, told, seen)


class Session:
    """What was shown in a small session, what of it was written down, and what of it was seen; some of both is false.

    Attributes
    ----------
    lines, events
        Of each line of the log, and of each plateau, the presentation; -1 for a false one.
    """

    def __init__(self, seed: list[int], spread: float, passes: int, timed: bool = True) -> None:
        self.rng = rng = np.random.default_rng(seed)
        kinds = int(rng.integers(2, 9))
        self.numbers = np.concatenate([rng.permutation(kinds) for _ in range(passes)]) + 1
        count = len(self.numbers)
        onsets = 1 + np.cumsum(rng.uniform(0.5, 3) + spread * rng.random(count))
        late = np.minimum(rng.exponential(0.002, count), 0.006)
        told = (onsets + late + rng.uniform(-100, 100)) * (1 + rng.uniform(-1e-4, 1e-4))
        self.lines, times = self._seen(told)
        self.events, starts = self._seen(onsets)
        levels = 0.4 + 0.3 * np.where(self.events < 0, rng.integers(1, 9), self.numbers[self.events])
        shown = np.where(self.lines < 0, 1, self.numbers[self.lines])
        self.told = Told("bonsai", shown, times if timed else np.full(len(times), np.nan))
        self.seen = Seen(starts, np.round(levels, 1))

    def _seen(self, times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Lose some, in the middle and at the ends, and add a false one now and then."""
        rng, count = self.rng, len(times)
        kept = rng.random(count) > rng.choice([0.0, 0.05])
        if rng.random() < 0.3:
            kept[: rng.integers(0, 3)] = False
            kept[count - rng.integers(0, 3) :] = False
        which, times = np.flatnonzero(kept), times[kept]
        false = rng.uniform(times[0], times[-1] + 0.3) if len(times) and rng.random() < 0.3 else np.nan
        if not np.abs(times - false).min(initial=np.inf) > 0.1:
            return which, times
        at = np.searchsorted(times, false)
        return np.insert(which, at, -1), np.insert(times, at, false)

    @property
    def hides(self) -> bool:
        """Whether as many lines as plateaus are there, and they are not the same: counts alone do not show it."""
        return len(self.lines) == len(self.events) and self.lines.tolist() != self.events.tolist()


def found_in(session: Session, setup=SETUP) -> tuple[list[int], list[int]] | None:
    """Return of all pairs which presentation the line is, and which the plateau; None where it was refused."""
    try:
        found = find(session.told, session.seen, setup)
    except PairingRefused:
        return None
    return session.lines[found.presentations].tolist(), session.events[found.events].tolist()


# ---- pairing


@pytest.mark.parametrize("spread", [0.0, 0.02, 1.0])
def test_of_random_sessions_every_pair_is_right_or_the_session_is_refused(spread):
    """But for a few stimuli, each shown once, of which as many are missing on either side: nothing would tell."""
    paired = 0
    for seed in range(SESSIONS):
        session = Session([seed, 1], spread, passes=1 + seed % 4)
        untold = session.hides and (seed % 4 == 0 or len(session.lines) < 8)
        if (answer := found_in(session)) is not None and not untold:
            assert answer[0] == answer[1], f"session {seed}"
            paired += 1
    assert paired > SESSIONS / 3


@pytest.mark.parametrize("spread", [0.0, 0.02, 1.0])
def test_where_the_recording_paused_every_pair_is_right_or_the_session_is_refused(spread):
    """Plateaus of the pause are lost, and all behind it are told by up to 0.1 s too early or too late."""
    paired = behind = 0
    for seed in range(SESSIONS):
        session = Session([seed, 3], spread, passes=2 + seed % 4)
        if len(session.lines) < 4:  # nothing would tell, as without a pause
            continue
        starts, step = session.seen.starts, session.rng.uniform(-0.1, 0.1)
        stop = float(session.rng.uniform(starts[0], starts[-1])) + 0.2
        start = stop + float(session.rng.uniform(0.3, 4.0))
        kept = (starts < stop) | (starts >= start)
        stretches = (Stretch(0.0, stop), Stretch(start + step, max(start, starts[-1]) + 2 + step, 0.1))
        moved = starts[kept] + step * (starts[kept] >= start)
        seen = Seen(moved, session.seen.levels[kept], stretches)
        try:
            found = find(session.told, seen)
        except PairingRefused:
            continue
        lines, events = session.lines[found.presentations], session.events[kept][found.events]
        assert lines.tolist() == events.tolist(), f"session {seed}"
        paired += 1
        behind += bool((moved[found.events] >= start + step).any())
    assert paired > SESSIONS / 4 and behind > SESSIONS / 8


@pytest.mark.parametrize("spread", [0.02, 1.0])
def test_without_levels_intervals_and_counts_pair_right_or_the_session_is_refused(spread):
    """But for even trains of which as much is missing on either side: nothing would tell."""
    paired = 0
    for seed in range(SESSIONS):
        session = Session([seed, 2], spread, passes=1 + seed % 4)
        if (answer := found_in(session, UNTOLD)) is not None and not (session.hides and spread < 0.1):
            assert answer[0] == answer[1], f"session {seed}"
            paired += 1
    assert paired > SESSIONS / 10


def test_without_times_the_stimulus_is_right_or_the_session_is_refused():
    """Where three or more came several times, their levels tell of one that is lost and another that is too many.

    Two that take turns are taken for each other where one is lost at one end and another too many at the other.
    """
    paired = hidden = 0
    for seed in range(10 * SESSIONS):
        session = Session([seed, 3], 0.0, passes=5, timed=False)
        hidden += session.hides
        try:
            found = find(session.told, session.seen)
        except PairingRefused:
            continue
        if session.hides and session.numbers.max() < 3:
            continue
        levels = np.round(0.4 + 0.3 * session.told.stimuli, 1)
        assert levels[found.presentations].tolist() == session.seen.levels[found.events].tolist(), f"session {seed}"
        paired += 1
    assert paired > SESSIONS
    assert hidden > SESSIONS / 4


def told(*numbers: int, times=None) -> Told:
    return Told("bonsai", np.array(numbers, np.int64), np.array([np.nan] * len(numbers) if times is None else times))


def seen(*levels: float, first: float = 1.0) -> Seen:
    return Seen(first + 2.0 * np.arange(len(levels)), np.array(levels, float))


def test_other_counts_without_times_are_refused_with_both():
    with pytest.raises(PairingRefused, match="tells of 3 stimuli, stimulus_level of 2") as refused:
        find(told(1, 2, 1), seen(0.5, 1.0))
    assert "as many of both" in str(refused.value)
    with pytest.raises(PairingRefused, match="tells of 0 stimuli, stimulus_level of 2"):
        find(told(), seen(0.5, 1.0))
    assert find(told(), seen()).method == "nothing was shown"


def test_a_refusal_by_intervals_tells_both_counts_and_stays_what_it_is():
    even = 2.0 * np.arange(20)
    with pytest.raises(AmbiguousPairing, match="tells of 20 stimuli, stimulus_level of 19"):
        find(told(*[1, 2] * 10, times=even), seen(*[0.5] * 19))


def test_levels_that_contradict_the_order_refuse_it_unless_they_tell_nothing():
    log, volts = told(1, 2, 1, 2, 1, 2), seen(0.5, 1.0, 0.5, 1.0, 1.0, 1.0)
    with pytest.raises(PairingRefused, match="voltages of 1 belong to other stimuli") as refused:
        find(log, volts)
    assert 'stimuli = "each"' in str(refused.value)
    found = find(log, volts, UNTOLD)
    assert (found.events.tolist(), found.agrees, found.levels) == (list(range(6)), None, None)
    assert find(log, seen(*[5.0] * 6)).agrees is None, "one voltage for everything tells nothing"


def test_times_that_run_back_are_no_times():
    found = find(told(1, 2, 1, times=[3.0, 2.0, 5.0]), seen(0.5, 1.0, 0.5))
    assert found.presentations.tolist() == [0, 1, 2]
    assert "do not increase" in found.method


def test_a_line_without_a_time_is_left_alone_where_others_have_one():
    onsets = np.array([1.0, 2.5, 5.0, 6.1, 9.0, 12.5, 13.0])
    times = (onsets + 30).tolist()
    times[3] = np.nan
    found = find(told(1, 2, 1, 2, 1, 2, 1, times=times), Seen(onsets, np.tile([0.5, 1.0], 4)[:7]))
    assert found.presentations.tolist() == found.events.tolist() == [0, 1, 2, 4, 5, 6]


def test_what_was_on_at_the_first_sample_counts_and_shows_nothing():
    found = find(told(1, 2, 1), seen(0.5, 1.0, 0.5, first=0.0))
    assert found.presentations.tolist() == found.events.tolist() == [1, 2]


def test_a_channel_that_the_setup_type_has_no_more_is_named():
    with pytest.raises(PairingRefused, match="has no channel old_level any more"):
        find_shown(SETUP, "old_level", told(1), seen(0.5))


def test_a_channel_whose_event_is_a_stimulus_shows_one_with_each_of_its_events():
    lab_s_own = replace(SETUP.channel[5], name="x", stimuli="", event="<stimulus>")
    assert (lab_s_own.shows, replace(lab_s_own, event="aux_x").shows) == ("each", "")
    assert replace(lab_s_own, stimuli="level").shows == "level"


# ---- the log


def recorded(path, text: str) -> SourceFiles:
    (path / "bonsai_stimulus_events.csv").write_text(text)
    return SourceFiles("bonsai", "bench2p", (path / "bonsai_stimulus_events.csv",))


def test_a_stimulus_has_one_number_however_it_is_spelt_and_its_events_carry_it(tmp_path):
    lines = ["Seconds,Value", "1.5,Grating; A; 0", "2.5,Blank;", "4.0,Grating;A;-0.0", "5.0,Blank; NaN", ""]
    source, settings = recorded(tmp_path, "\n".join(lines)), SimpleNamespace(home=tmp_path)
    told = read_presentations(source, settings)
    assert [str(one).partition(";")[0] for one in told.stimuli] == ["Grating", "Blank"]
    assert told.numbers.tolist() == [1, 2, 1, 2]
    (events,) = import_bonsai(source, settings).events
    assert (events.start.tolist(), events.values.tolist()) == ([1.5, 2.5, 4.0, 5.0], [1, 2, 1, 2])
    trials = import_bonsai_trials(source, settings).trials
    assert [(one.trial_id, one.start, dict(one.attributes)) for one in trials] == [
        (1, 1.5, {"stimuli": "2", "complete": "true"}),
        (2, 4.0, {"stimuli": "2", "complete": "true"}),
    ]


def test_a_line_without_a_time_is_no_event_and_is_told(tmp_path):
    lines = ["Seconds,Value", "1.5,Grating; A", ",Blank;", "4.0,Grating; A", ""]
    source, settings = recorded(tmp_path, "\n".join(lines)), SimpleNamespace(home=tmp_path)
    found = import_bonsai(source, settings)
    assert found.events[0].start.tolist() == [1.5, 4.0]
    assert found.events[0].values.tolist() == [1, 1]
    assert "1 stimuli have no time in the log." in found.remarks
    assert import_bonsai_trials(source, settings).trials == ()


def test_rare_stimuli_at_random_make_trials_that_say_whether_they_are_complete(tmp_path):
    shown = ["Rare;", "Rare;", *["Often;"] * 6]
    text = "\n".join(["Seconds,Value", *(f"{at}.0,{one}" for at, one in enumerate(shown)), ""])
    trials = import_bonsai_trials(recorded(tmp_path, text), SimpleNamespace(home=tmp_path)).trials
    assert [one.attributes["complete"] for one in trials] == ["true", "false"]


# ---- passes


@given(st.integers(1, 6), st.integers(2, 5), st.integers(0, 5), st.randoms(use_true_random=False))
def test_passes_in_any_order_are_found_and_the_last_may_be_cut_off(kinds, whole, rest, random):
    order = list(range(kinds))
    shown = [number for _ in range(whole + 1) for number in random.sample(order, kinds)]
    shown = shown[: whole * kinds + min(rest, kinds - 1)]
    assert find_passes(shown).tolist() == [at // kinds + 1 for at in range(len(shown))]


@pytest.mark.parametrize(
    ("shown", "passes"),
    [
        ([], []),
        ([7], [1]),
        ([1, 1, 2, 2, 1, 1, 2, 2], [1, 1, 1, 1, 2, 2, 2, 2]),
        ([1, 1, 1, 2, 1, 1, 2, 1], [1, 1, 1, 1, 2, 2, 2, 2]),  # a rare one among frequent ones
        ([1, 2, 1, 1, 1, 1, 1, 2], [1, 1, 1, 1, 2, 2, 2, 2]),
        ([2, 2, 1, 1, 1, 1, 1, 1], [1, 1, 1, 1, 2, 2, 2, 2]),  # no passes alike: total / least repeats
        ([2, 2, 1, 1, 1, 1, 1], [0] * 7),  # neither rule
        ([1, 2, 3], [1, 1, 1]),
    ],
)
def test_where_passes_are_not_alike_there_are_as_many_as_the_rarest_stimulus_has_presentations(shown, passes):
    assert find_passes(shown).tolist() == passes


# ---- labels


def test_a_label_tells_what_differs_and_nothing_else():
    gratings = [{"stimulus_type": "Grating", "stimulus_class": "", "orientation": one} for one in (0.0, 90.0, None)]
    assert labels_of(gratings) == ["orientation 0", "orientation 90", "no orientation"]
    mixed = [*gratings[:1], {"stimulus_type": "Blank", "stimulus_class": "", "orientation": None}]
    assert labels_of(mixed) == ["Grating, orientation 0", "Blank, no orientation"]
    assert labels_of(gratings[:1]) == ["Grating"]
    assert labels_of([]) == []
