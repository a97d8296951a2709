"""Which line is which channel: names and places agree or are refused, and pulses tell apart what names do not."""

from __future__ import annotations

import random
import tomllib
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adamacs.core import setups
from adamacs.core.channels import Activity, Input, check_activity, match, unproven
from adamacs.core.errors import UnreadableFile
from adamacs.core.setup_wiring import Channel

KNOWN = setups.load()
BENCH = KNOWN.find("bench2p")
V3 = KNOWN.find("bench2p_Oddball_v3")
MINI = KNOWN.find("mini2p1_openfield")
LINES = ["gate", "shut", "frame", "line", "vol"]  # names that tell nothing


def wired(wiring):
    """Return (digital, index) of every channel that was found."""
    return {wire.channel.name: (wire.input.is_digital, wire.input.index) for wire in wiring.wires}


def refused(setup, lines, inputs, **options):
    with pytest.raises(UnreadableFile) as caught:
        match(setup, lines, inputs, **options)
    return str(caught.value)


# ---- places


def test_the_first_line_is_bit_0_and_the_first_input_is_input_0():
    found = wired(match(BENCH, LINES, ["AI0", "AI1", "AI2"]))
    assert found == {
        "main_track_gate": (True, 0),
        "shutter": (True, 1),
        "two_photon_frames": (True, 2),
        "line_clock": (True, 3),
        "two_photon_volumes": (True, 4),
        "stimulus_level": (False, 0),
        "treadmill": (False, 1),
        "camera_frames": (False, 2),
    }


def test_an_openfield_recording_has_six_or_seven_lines_and_five_or_six_inputs():
    six = match(MINI, [""] * 6, [""] * 5)
    seven = match(MINI, [""] * 7, [""] * 6)
    assert (six.missing, six.unclaimed, six.problems()) == ((), (), [])
    assert set(wired(seven)) - set(wired(six)) == {"landmark_led", "stimulus_diode"}
    assert (wired(seven)["landmark_led"], wired(seven)["stimulus_diode"]) == ((True, 6), (False, 5))


def test_a_voltage_is_found_inside_the_input_of_its_events():
    wiring = match(MINI, [""] * 6, [""] * 5)
    assert wired(wiring)["cam_sync"] == wired(wiring)["arena_led"] == (False, 4)


def test_a_channel_that_is_needed_and_not_there_is_named_with_its_place():
    wiring = match(MINI, [""] * 5, [""] * 3)
    assert [channel.name for channel in wiring.missing] == ["harp_gate", "bpod_tone", "arena_led", "cam_sync"]
    told = [problem.what for problem in wiring.problems("a.h5")]
    assert told[0] == "There is no channel harp_gate (digital line 5): mini2p1_openfield needs it."
    assert {problem.where for problem in wiring.problems("a.h5")} == {"a.h5"}


def test_lines_that_nobody_claims_are_told_and_more_inputs_are_not_wrong():
    wiring = match(BENCH, [*LINES, "P0.5", "P0.6"], [""] * 5)
    assert wiring.unclaimed == (
        Input(True, 5, "P0.5"),
        Input(True, 6, "P0.6"),
        Input(False, 3, ""),
        Input(False, 4, ""),
    )
    assert [p.what for p in wiring.problems()] == [
        "bench2p has no digital line 5 ('P0.5'), no digital line 6 ('P0.6').",
    ]


def test_a_setup_type_without_a_map_takes_any_lines():
    assert match(KNOWN.find("macroscope"), [""] * 8, [""] * 8).problems() == []
    assert match(KNOWN.find("macroscope"), [], []).problems() == []
    assert match(KNOWN.find("behavior_box"), [""] * 8, []).problems() == []


# ---- names


def test_channels_known_by_name_alone_are_found_wherever_they_are():
    lines = ["Volume clock", "MAIN-TRIGGER", "x", "bench2p 920 shutter", "frame_clock"]
    inputs = ["Photodiode", "Trial Onset", "y", "visual stim ID", "camera trigger"]
    wiring = match(V3, lines, inputs)
    assert wired(wiring) == {
        "main_track_gate": (True, 1),
        "shutter": (True, 3),
        "two_photon_frames": (True, 4),
        "two_photon_volumes": (True, 0),
        "camera_frames": (False, 4),
        "trial": (False, 1),
        "stimulus_level": (False, 3),
        "stimulus_diode": (False, 0),
    }
    assert wiring.missing == ()
    assert [(an_input.is_digital, an_input.index) for an_input in wiring.unclaimed] == [(True, 2), (False, 2)]
    assert all(wire.by_name for wire in wiring.wires)


def test_what_is_not_listed_is_named_with_the_names_it_would_have():
    told = [problem.what for problem in match(V3, ["Main Trigger"], []).problems()]
    assert "There is no channel shutter (by name, called 'Bench2p 920 shutter'): bench2p_Oddball_v3 needs it." in told


def test_reversed_bits_are_refused_by_their_names():
    named = ["Main Trigger", "shutter", "Frame clock", "Line clock", "Volume clock"]
    assert len(match(BENCH, named, [""] * 3).wires) == 8
    told = refused(BENCH, named[::-1], [""] * 3, where="a.h5")
    assert told.startswith("a.h5: ")
    for said in (
        "digital line 4 ('Main Trigger') is main_track_gate by its name, which has its place on digital line 0.",
        "digital line 0 ('Volume clock') is two_photon_volumes",
        "digital line 3 ('shutter') is shutter",
    ):
        assert said in told


def test_a_single_name_at_another_place_is_refused():
    assert "digital line 3 ('Frame clock')" in refused(BENCH, ["", "", "", "Frame clock", ""], [""] * 3)
    assert "analog input 1 ('Camera Trigger')" in refused(BENCH, [""] * 5, ["", "Camera Trigger", ""])
    assert "analog input 2 ('Frame clock')" in refused(BENCH, [""] * 5, ["", "", "Frame clock"])


def test_two_lines_of_one_name_are_refused():
    told = refused(V3, ["Main Trigger", "main trigger"], [])
    assert (
        "digital line 0 ('Main Trigger') and digital line 1 ('main trigger') both have a name of main_track_gate"
        in told
    )


def test_two_channels_that_claim_one_line_are_refused():
    by_name = Channel("lost", "pulses", names=("Lost",))
    setup = replace(BENCH, channel=(*BENCH.channel, by_name))
    assert wired(match(setup, [*LINES, "Lost"], [""] * 3))["lost"] == (True, 5)
    told = refused(setup, ["", "", "Lost", "", ""], [""] * 3)
    assert "digital line 2 ('Lost') is lost by its name, and two_photon_frames by its place." in told


def test_a_voltage_is_never_a_digital_line():
    assert "which is a voltage" in refused(V3, ["Visual Stim ID"], [])


def test_a_name_that_another_setup_type_knows_contradicts_a_place_here():
    lines = ["", "", "", "", "Volume clock", ""]
    assert "optitrack_frames" in wired(match(MINI, lines, [""] * 5))
    told = refused(MINI, lines, [""] * 5, vocabulary=KNOWN.vocabulary)
    assert (
        "digital line 4 ('Volume clock') is two_photon_volumes by its name, and optitrack_frames by its place." in told
    )


def test_a_name_that_control_characters_hide_in_is_spelt_out():
    assert "\x1b" not in refused(BENCH, ["", "", "", "Frame\tclock", "Frame clock"], ["\x1b[2J"])


@given(st.lists(st.text(max_size=12), max_size=9), st.lists(st.text(max_size=12), max_size=9), st.data())
def test_any_names_give_a_wiring_that_accounts_for_every_input_or_a_typed_refusal(lines, inputs, data):
    setup = KNOWN.setups[data.draw(st.sampled_from(sorted(KNOWN.setups)))]
    try:
        wiring = match(setup, lines, inputs, vocabulary=KNOWN.vocabulary)
    except UnreadableFile:
        return
    taken = {wire.input for wire in wiring.wires}
    assert len(taken) + len(wiring.unclaimed) == len(lines) + len(inputs)
    assert taken.isdisjoint(wiring.unclaimed)
    outer = [wire.input for wire in wiring.wires if not wire.channel.inside]
    assert len(set(outer)) == len(outer)
    assert {c.name for c in setup.channel if c.needed} <= set(wired(wiring)) | {c.name for c in wiring.missing}


# ---- what pulses tell

WIRING = match(BENCH, LINES, [""] * 3)


@pytest.mark.parametrize(
    ("name", "activity", "said"),
    [
        ("two_photon_frames", Activity(0), "is silent"),
        ("main_track_gate", Activity(11), "has 11 pulses, which is more than 10."),
        ("two_photon_frames", Activity(90_000, 7_900.0), "has pulses at 7900 Hz, which is not within 0.5 to 200 Hz."),
        ("camera_frames", Activity(9, 1.5), "has pulses at 1.5 Hz"),
        ("shutter", Activity(3, 0.1, "high"), "rests high, where it should be on: its polarity is wrong."),
        ("stimulus_level", Activity(900, 30.0), "has pulses at 30 Hz, which is not within 0 to 20 Hz."),
    ],
)
def test_what_cannot_be_is_told_of_the_channel_and_its_line(name, activity, said):
    (told,) = check_activity(WIRING, {name: activity})
    assert told.startswith(
        f"{name} ({'digital line' if name != 'camera_frames' and name != 'stimulus_level' else 'analog'}"
    )
    assert said in told


def test_volumes_are_no_more_than_frames_but_for_one_at_an_end():
    frames = Activity(100, 30.0)
    assert check_activity(WIRING, {"two_photon_frames": frames, "two_photon_volumes": Activity(101, 30.0)}) == []
    (told,) = check_activity(WIRING, {"two_photon_frames": frames, "two_photon_volumes": Activity(102, 30.0)})
    assert "102 pulses, which is more than the 100 of two_photon_frames" in told


def test_what_was_not_observed_is_not_judged():
    assert check_activity(WIRING, {}) == []
    assert check_activity(WIRING, {"elsewhere": Activity(0), "two_photon_frames": Activity()}) == []


def test_a_channel_that_is_low_when_on_rests_high():
    oddball = match(KNOWN.find("bench2p_oddball"), LINES, [""] * 4)
    assert check_activity(oddball, {"bpod_ttl": Activity(9, 0.2, "high")}) == []
    assert "its polarity is wrong" in check_activity(oddball, {"bpod_ttl": Activity(9, 0.2, "low")})[0]


def test_channels_alike_in_all_are_unproven_and_a_name_proves_one():
    seen = {
        "main_track_gate": Activity(1, None, "low"),
        "shutter": Activity(1, None, "low"),
        "two_photon_frames": Activity(3_000, 30.0, "low"),
        "line_clock": Activity(1_500_000, 15_000.0, "low"),
        "two_photon_volumes": Activity(1_000, 10.0, "low"),
    }
    unseen = ("stimulus_level", "treadmill", "camera_frames")  # of the voltages nothing was observed
    assert unproven(WIRING, seen) == ("main_track_gate", "shutter", *unseen)
    named = match(BENCH, ["Main Trigger", "", "", "", ""], ["", "wheel", "Camera Trigger"])
    assert unproven(named, seen) == ()


# ---- 1,000 recordings of which one thing is wrong

LAB = {path.stem: tomllib.loads(path.read_text(encoding="utf-8")) for path in Path(setups.SHIPPED).glob("*.toml")}
MAPPED = sorted(name for name, table in LAB.items() if table.get("channel") and table.get("verified", True))


@dataclass(frozen=True)
class Signal:
    """What a line truly carries: how many pulses, how fast, and where it rests."""

    count: int
    rate: float | None
    idle: str


def a_signal(random_, channel, frames):
    """Return what a channel of this name carries in a lab, drawn anew."""
    name = channel["name"]
    rest = "high" if channel.get("polarity") == "low" else "low"
    steady = {  # name: Hz
        "two_photon_frames": 30.0,
        "line_clock": 30.0 * 300,
        "two_photon_volumes": random_.choice([30.0, 10.0]),
        "optitrack_frames": 240.0,
        "camera_frames": random_.choice([25.0, 60.0]),
    }
    if name in steady:
        return Signal(round(steady[name] * frames / 30), steady[name], rest)
    if channel["kind"] == "gate":
        return Signal(1, None, rest)
    count = random_.randint(2, 400)
    return Signal(count, random_.uniform(0.05, 2.0), rest)


def pins_of(table):
    """Return the lines and inputs of a recording of a setup type, as {(is digital, index): channel}."""
    placed = [c for c in table["channel"] if not c.get("inside")]
    pins = {(True, c["line"]): c for c in placed if "line" in c} | {
        (False, c["analog"]): c for c in placed if "analog" in c
    }
    for c in placed:
        if "line" not in c and "analog" not in c:
            is_digital = c["name"] in (
                "main_track_gate",
                "shutter",
                "two_photon_frames",
                "two_photon_volumes",
                "line_clock",
            )
            pins[(is_digital, sum(pin[0] == is_digital for pin in pins))] = c
    return pins


def names_of(pins, is_digital, labels):
    return [labels.get((is_digital, n), "") for n in range(1 + max(i for d, i in pins if d == is_digital))]


def tells_apart(channel, signal, pins, signals):
    """Tell whether what the file of a setup type says of a channel excludes a signal: an oracle of its own."""
    if channel["kind"] == "waveform":
        return False
    if channel["kind"] == "level":
        return signal.rate is not None and signal.rate > 20
    low, high = channel.get("rate", (0, float("inf")))
    others = {c["name"]: signals[pin] for pin, c in pins.items() if pin in signals}
    other = others.get(channel.get("no_more_than"))
    return (
        (signal.rate is not None and not low <= signal.rate <= high)
        or signal.count < channel.get("least", 0)
        or signal.count > channel.get("most", float("inf"))
        or signal.idle == channel.get("polarity", "high")
        or (other is not None and 0 < other.count < signal.count - 1)
    )


def verdict(name, pins, labels, signals):
    """Return whether planning would refuse a recording for a setup type, and what remains unproven."""
    try:
        wiring = match(
            KNOWN.setups[name],
            names_of(pins, True, labels),
            names_of(pins, False, labels),
            vocabulary=KNOWN.vocabulary,
        )
    except UnreadableFile:
        return True, ()
    observed = {}
    for wire in wiring.wires:
        signal = signals.get((wire.input.is_digital, wire.input.index))
        if signal and wire.channel.kind != "waveform":
            observed[wire.channel.name] = Activity(signal.count, signal.rate, signal.idle)
    return bool(wiring.problems() or check_activity(wiring, observed)), unproven(wiring, observed)


def a_recording(seed):
    """Return a sound recording: its setup type, pins, names in the file, and signals."""
    random_ = random.Random(seed)
    name = random_.choice(MAPPED)
    pins = pins_of(LAB[name])
    frames = random_.randint(2_000, 60_000)
    signals = {pin: a_signal(random_, channel, frames) for pin, channel in pins.items()}
    share = 1.0 if not any("line" in c for c in LAB[name]["channel"]) else random_.choice([0.0, 0.0, 0.5, 1.0])
    known = {pin: random_.choice([c["name"], *c.get("names", [])]) for pin, c in pins.items()}
    labels = {pin: label for pin, label in known.items() if random_.random() < share}
    return random_, name, pins, labels, signals


def test_no_sound_recording_is_refused():
    for seed in range(1_000):
        _, name, pins, labels, signals = a_recording(seed)
        assert verdict(name, pins, labels, signals)[0] is False, seed


def test_every_swap_of_two_channels_is_refused_where_anything_tells_and_unproven_where_nothing_does():
    told = silent = 0
    for seed in range(1_000):
        random_, name, pins, labels, signals = a_recording(seed)
        one = random_.choice(sorted(pins))
        other = random_.choice([pin for pin in sorted(pins) if pin[0] == one[0] and pin != one])
        swap = {one: other, other: one}
        moved = {swap.get(pin, pin): signal for pin, signal in signals.items()}
        has_places = any("line" in c for c in LAB[name]["channel"])
        is_relisted = has_places and random_.random() < 0.5  # the recording's names move with the cables
        listed = {swap.get(pin, pin): label for pin, label in labels.items()} if is_relisted else labels
        by_name = is_relisted and (one in labels or other in labels)
        by_pulses = any(tells_apart(channel, moved[pin], pins, moved) for pin, channel in pins.items())
        is_refused, doubted = verdict(name, pins, listed, moved)
        assert is_refused == (by_name or by_pulses), (seed, name, one, other)
        told += is_refused
        if not is_refused and not labels:
            silent += 1
            assert {pins[one]["name"], pins[other]["name"]} <= set(doubted), (seed, name, one, other)
    print(f"of 1,000 swaps {told} were refused; {silent} without a name were marked as unproven")
    assert told > 500 and silent > 50


def contradicts(setup, pins, labels):
    """Tell whether names and places of a recording exclude another setup type: an oracle of its own."""
    meanings = {}
    for table in LAB.values():
        for c in table.get("channel", []):
            for label in (c["name"], *c.get("names", [])):
                meanings.setdefault(setups.fold(label), set()).add(c["name"])
    own = {setups.fold(n): c for c in setup["channel"] for n in (c["name"], *c.get("names", []))}
    places = pins_of(setup)
    for pin in pins:
        label = setups.fold(labels.get(pin, ""))
        if label in own:
            if {pin} != {p for p, c in places.items() if c["name"] == own[label]["name"]}:
                return True
        elif label in meanings and pin in places and places[pin]["name"] not in meanings[label]:
            return True
    needed = {pin for pin, c in places.items() if c.get("needed", True)}
    has_more = any(pin[0] and pin not in places for pin in pins) and not setup.get("spare_lines")
    return not needed <= set(pins) | gaps(pins) or has_more


def gaps(pins):
    """Return inputs that a recording has, although its setup type says nothing of them."""
    return {(False, n) for n in range(max(i for d, i in pins if not d))}


def test_every_wrong_setup_is_refused_where_names_counts_rates_or_polarity_tell():
    told = silent = 0
    for seed in range(1_000):
        random_, name, pins, labels, signals = a_recording(seed)
        wrong = random_.choice([other for other in MAPPED if other not in (name, "bench2p_Oddball_v3")])
        places = pins_of(LAB[wrong])
        by_pulses = any(
            tells_apart(channel, signals[pin], places, signals) for pin, channel in places.items() if pin in signals
        )
        is_refused, _ = verdict(wrong, pins, labels, signals)
        expected = contradicts(LAB[wrong], pins, labels) or by_pulses
        assert is_refused == expected, (seed, name, wrong)
        told, silent = told + is_refused, silent + (not is_refused)
        if not is_refused:  # the two are one wiring, or differ in nothing that was recorded
            assert name.startswith("bench2p") == wrong.startswith("bench2p"), (name, wrong)
    print(f"of 1,000 wrong setups {told} were refused, {silent} fitted")
    assert told > 700
