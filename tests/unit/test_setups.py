"""A setup type is data: what ships is sound, a lab's own goes over it, and every fault of a file is told at once."""

from __future__ import annotations

import configparser
import fnmatch
import json
import re
import tomllib
from dataclasses import fields, replace
from pathlib import Path, PurePosixPath

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from adamacs import pipeline
from adamacs.cli.setups import setups as command
from adamacs.core import settings as settings_module
from adamacs.core import setups, toml
from adamacs.core.errors import InvalidSetting, UnknownSetup
from adamacs.demo import lab

SHIPPED = setups.load(modalities=pipeline.modalities())
NAMED_BY_THE_LAB = {
    "mini2p1_openfield",
    "mini2p2_openfield",
    "mini2p2_headfixed",
    "bench2p",
    "bench2p_kine",
    "bench2p_lineartrack",
    "bench2p_oddball",
    "bench2p_Oddball_V2",
    "bench2p_Oddball_v3",
    "bench2p_SP",
    "behavior_box",
    "macroscope",
}
SOUND = 'name = "own"\ndescription = "Ours."\nrigs = ["aux1"]\n'


@pytest.fixture
def home(tmp_path):
    (tmp_path / settings_module.FILE).write_text("", encoding="utf-8")
    (tmp_path / setups.FOLDER).mkdir()
    return tmp_path


def add(home: Path, text: str, name: str = "own.toml") -> Path:
    path = home / setups.FOLDER / name
    path.write_text(text, encoding="utf-8")
    return path


def refusal(home: Path) -> str:
    with pytest.raises(InvalidSetting) as caught:
        setups.load(home, modalities=pipeline.modalities())
    return str(caught.value)


# ---- what ships


def test_every_setup_type_and_every_rig_of_the_lab_ships():
    assert set(SHIPPED.setups) == NAMED_BY_THE_LAB
    assert set(SHIPPED.rigs) == {"mini2p1", "mini2p2", "bench2p1", "aux1", "aux2", "behavior1", "behavior2"}
    assert {rig.controller for rig in SHIPPED.rigs.values()} == {f"PC {name} controller" for name in SHIPPED.rigs}


def test_what_is_not_verified_says_what_a_lab_must_fill_in():
    assert {setup.name for setup in SHIPPED.setups.values() if setup.missing} == {"mini2p2_headfixed", "macroscope"}
    assert all(setup.verified == (not setup.missing) for setup in SHIPPED.setups.values())


def test_what_ships_is_applied_by_a_person_and_stages_nothing_by_itself():
    assert not any(setup.automatic or setup.stage for setup in SHIPPED.setups.values())


def test_an_installation_holds_every_file_that_the_package_reads():
    root = Path(__file__).parents[2]
    config = configparser.ConfigParser()
    config.read(root / "setup.cfg")
    patterns = config["options.package_data"]["adamacs"].split()
    for path in (*setups.SHIPPED.glob("*"), setups.SHIPPED.with_name(setups.RIGS_FILE)):
        relative = PurePosixPath(path.relative_to(root / "adamacs").as_posix())
        assert any(relative.match(pattern) for pattern in patterns), relative


def test_every_file_that_ships_is_called_after_its_setup_type_on_every_file_system():
    names = {path.stem for path in setups.SHIPPED.glob("*.toml")}
    assert names == set(SHIPPED.setups)
    assert len({name.casefold() for name in names}) == len(names)


# ---- spellings


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("openfield", "mini2p1_openfield"),
        ("Mini2p1-Open field", "mini2p1_openfield"),
        ("bench2p_Oddball_v2", "bench2p_Oddball_V2"),
        ("BENCH2P", "bench2p"),
        ("behavior box", "behavior_box"),
    ],
)
def test_case_blanks_and_dashes_of_a_spelling_do_not_matter(text, name):
    assert SHIPPED.find(text).name == name


def test_a_setup_type_whose_name_begins_like_another_is_not_taken_for_it():
    assert [SHIPPED.find(name).name for name in SHIPPED.setups] == list(SHIPPED.setups)


@pytest.mark.parametrize("text", ["bench2p_odball", "mini2p1", "bench2p ", "", " -_ ", "open\nfeld"])
def test_an_unknown_setup_is_refused_with_what_is_known(text):
    if setups.fold(text) == "bench2p":
        assert SHIPPED.find(text).name == "bench2p"
        return
    with pytest.raises(UnknownSetup) as caught:
        SHIPPED.find(text, "scan9FY6AIRM")
    assert caught.value.where == "scan9FY6AIRM"
    assert any(name in str(caught.value) for name in SHIPPED.setups)
    assert "\n" not in str(caught.value)


def test_the_nearest_name_is_proposed():
    with pytest.raises(UnknownSetup, match=r"Did you mean .*bench2p_oddball"):
        SHIPPED.find("bench2p_odball")


@given(st.text("aAbB19 -_\tÄß"))
def test_folding_twice_is_folding_once(text):
    assert setups.fold(setups.fold(text)) == setups.fold(text)


@given(st.sampled_from(sorted(NAMED_BY_THE_LAB)), st.data())
def test_any_variation_of_a_name_finds_it_and_no_other(name, data):
    pieces = [data.draw(st.sampled_from((letter.lower(), letter.upper()))) for letter in name if letter != "_"]
    varied = data.draw(st.sampled_from(("", "_", "-", " "))).join(pieces)
    assert SHIPPED.find(varied).name == name


# ---- expected files


def test_a_folder_with_all_that_is_expected_has_no_problem_and_lacks_nothing():
    names = ["scan9FY6AIRM_XX_ANM-2172_00001.tif", "scan9FY6AIRM_XX_ANM-2172_0001.h5", "notes.txt"]
    setup = SHIPPED.find("bench2p")
    assert (setup.problems(names), setup.lacks(names)) == ([], [])


def test_each_missing_kind_of_files_is_a_problem_of_its_own_with_a_hint():
    setup = SHIPPED.find("bench2p_lineartrack")
    problems = setup.problems([], where="a folder")
    assert [expected.files for expected in setup.lacks([])] == ["*.tif", "*.h5", "*bonsai_stimulus_log*.csv"]
    assert [problem.what.split(" is here")[0] for problem in problems] == [
        "No *.tif",
        "No *.h5",
        "No *bonsai_stimulus_log*.csv",
    ]
    assert all((p.severity, p.where) == ("error", "a folder") and p.hint for p in problems)


def test_two_auxiliary_recordings_are_one_too_many_and_both_are_named():
    names = ["b_10.h5", "a.tif", "b_9.h5"]
    setup = SHIPPED.find("openfield")
    (problem,) = setup.problems(names)
    assert "2 files *.h5 are here (b_9.h5, b_10.h5); mini2p1_openfield expects 1" in problem.what
    assert setup.lacks(names) == []


def test_results_in_folders_below_are_no_recording():
    names = ["a.tif", "a.h5", "device_top_recording_x_model_y/video.h5", "suite2p/plane0/data.h5"]
    assert SHIPPED.find("bench2p").problems(names) == []


def test_names_count_in_any_case_and_a_pattern_with_a_slash_is_for_paths():
    expected = setups.Expected("*IMU*.csv", "x")
    assert expected.found(["scan_imu_1.CSV", "below/IMU.csv"]) == ["scan_imu_1.CSV"]
    assert setups.Expected("below/*.csv", "x").found(["a.csv", "below/IMU.csv"]) == ["below/IMU.csv"]


_LETTERS = st.text("aB.5/h*?[]-", max_size=8)


@given(st.text("aBh.5*?[]-", min_size=1, max_size=6), st.lists(_LETTERS, max_size=6))
def test_a_pattern_means_what_a_shell_means_in_any_case(files, names):
    flat = [name for name in names if "/" not in name]
    expected = [name for name in flat if fnmatch.fnmatchcase(name.casefold(), files.casefold())]
    assert setups.Expected(files, "x").found(names) == expected


def test_what_lies_beside_another_file_is_meant_by_its_name_and_a_file_without_it_is_a_warning():
    setup = SHIPPED.find("mini2p1_openfield")
    names = ["a.tif", "a.h5", "Take 1.tak", "take 1.CSV", "x_mini2p1_top_video_timestamps_1.csv", "below/take 1.csv"]
    assert setup.files_of(names)["mocap"] == ["take 1.CSV"]
    assert setup.problems(names) == []
    (problem,) = setup.problems([*names, "Take 2.tak"], "a folder")
    assert (problem.severity, problem.where) == ("warning", "a folder")
    assert problem.what.startswith("Take 2.tak has no *.csv of its name beside it: the table of a take")
    assert "Export the take in Motive" in problem.hint
    assert "mocap" not in setup.files_of(["a.tif", "a.h5", "take 1.csv"])


def test_a_video_is_meant_and_its_deinterlaced_copy_is_not():
    names = ["x_left_eye1_video_2025-05-28T15_50_54.mp4", "x_left_eye1_video_2025-05-28T15_50_54_deinterlaced.mp4"]
    names += ["x_mini2p1_top_video_2025-05-28T15_50_54.MP4", "x_mini2p1_top_video_timestamps_2025-05-28T15_50_54.csv"]
    found = SHIPPED.find("mini2p1_openfield").files_of(names)
    assert found == {"camera_top_video": [names[2]], "camera_top": [names[3]], "camera_eye1_video": [names[0]]}


def test_a_name_that_would_command_a_terminal_is_spelt_out():
    problem = SHIPPED.find("bench2p").problems(["a.tif", "a\x1b[2J.h5", "b\n.h5"])[0]
    assert r"a\x1b[2J.h5" in problem.what
    assert "\n" not in problem.what


@given(st.lists(st.sampled_from(["a.tif", "b.tif", "c.h5", "d.h5", "e_bonsai_stimulus_log.csv", "x/y.h5", "z"])))
def test_what_is_lacking_and_what_is_too_much_are_the_problems(names):
    for setup in SHIPPED.setups.values():
        names = list(dict.fromkeys(names))
        too_many = [e for e in setup.expected if e.most is not None and len(e.found(names)) > e.most]
        assert len(setup.problems(names)) == len(setup.lacks(names)) + len(too_many)
        assert setup.problems(names) == setup.problems(names[::-1])


# ---- a lab's own


def test_a_lab_adds_a_setup_type_and_a_rig(home):
    (home / setups.RIGS_FILE).write_text('[rig8]\ncontroller = "PC 8"\n', encoding="utf-8")
    add(home, SOUND.replace("aux1", "rig8"))
    known = setups.load(home)
    assert known.find("OWN").rigs == ("rig8",)
    assert set(known.setups) == NAMED_BY_THE_LAB | {"own"}
    assert known.rigs["rig8"].controller == "PC 8"


def test_a_lab_s_file_of_the_same_name_takes_the_place_of_the_one_that_ships(home):
    path = add(home, SOUND.replace("own", "bench2p"), "any.toml")
    setup = setups.load(home).find("bench2p")
    assert (setup.source, setup.replaces) == (path, setups.SHIPPED / "bench2p.toml")
    assert (setup.description, setup.expected) == ("Ours.", ())


def test_spellings_of_what_was_replaced_are_free_again(home):
    add(home, SOUND.replace("own", "mini2p1_openfield"))
    add(home, SOUND + 'spellings = ["openfield"]\n', "z.toml")
    assert setups.load(home).find("openfield").name == "own"


def test_a_lab_s_rig_goes_over_the_one_that_ships(home):
    (home / setups.RIGS_FILE).write_text('[mini2p1]\ncontroller = "wolke"\n', encoding="utf-8")
    assert setups.load(home).rigs["mini2p1"].controller == "wolke"
    assert setups.load(home).rigs["mini2p2"] == SHIPPED.rigs["mini2p2"]


def test_everything_that_a_file_may_say_is_read(home):
    add(
        home,
        SOUND + 'automatic = true\nspellings = ["ours"]\nmodalities = ["imaging"]\nverified = false\nmissing = ["x"]\n'
        '[[expected]]\nfiles = "*.x"\nwhat = "xs"\nleast = 2\nmost = 3\nhint = "Look."\n'
        '[[stage]]\ntable = "imaging.ProcessingTask"\nvalues = { paramset_idx = 3 }\n',
    )
    setup = setups.load(home).find("ours")
    assert (setup.automatic, setup.verified, setup.missing, setup.modalities) == (True, False, ("x",), ("imaging",))
    assert setup.expected == (setups.Expected("*.x", "xs", 2, 3, "Look."),)
    assert setup.stage == (setups.Stage("imaging.ProcessingTask", {"paramset_idx": 3}),)
    read = {field.name for field in fields(setup)} - {"source", "replaces"}
    assert read == set(toml.keys_of(setups.SetupType))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (SOUND + "rig = 1", "rig: There is no such key. Did you mean rigs"),
        (SOUND + 'automatic = "yes"', "automatic: 'yes' does not fit. It takes true or false."),
        (SOUND + "spellings = [1]", "spellings: This does not fit. It takes a list of texts."),
        (SOUND + "[expected]\nfiles = 1", "expected: This does not fit. It takes a list of tables."),
        (SOUND + '[[expected]]\nfiles = "a"', "expected 1, what: This key is missing. It takes a text."),
        (
            SOUND + '[[expected]]\nfiles = "a"\nwhat = "b"\n[[expected]]\nfiles = "a"\nwhat = "b"\nleast = -1',
            "expected 2, least: -1 does not fit. It takes 0 or more.",
        ),
        (SOUND + '[[expected]]\nfiles = "a"\nwhat = "b"\nleast = true', "expected 1, least: True does not fit."),
        (SOUND + '[[expected]]\nfiles = "a"\nwhat = "b"\nmost = 0', "expected 1, most: At most 0 and at least 1"),
        (SOUND + '[[stage]]\ntable = "x"\nvalues = 3', "stage 1, values: 3 does not fit. It takes a table."),
        (SOUND + '[[stage]]\ntable = "x"\nvalues = {}', "stage 1, table: 'x' does not fit. It takes a name such as"),
        (SOUND.replace("aux1", "aux3"), "rigs: There is no rig 'aux3'. Did you mean aux"),
        (SOUND + 'modalities = ["imagin"]', "modalities: There is no modality 'imagin'. Did you mean imaging?"),
        (SOUND + 'spellings = ["-"]', "spellings: '-' is no spelling."),
        (SOUND + "verified = false", "missing: What is not verified must say what is missing."),
        (SOUND + 'missing = ["a"]', "missing: What is missing cannot be verified."),
        (SOUND.replace("own", "o n"), "name: 'o n' does not fit. It takes up to 63 letters"),
        (SOUND + 'spellings = ["Open-Field"]', "spellings: 'Open-Field' is a spelling of mini2p1_openfield already"),
        (SOUND.replace("own", "BENCH2P"), "name: 'BENCH2P' is a spelling of bench2p already (bench2p.toml)."),
        ("", "name: This key is missing."),
        ("name = ", "This is not valid TOML: Invalid value (at end of document)."),
        ("a = " + "[" * 5000, "This "),
    ],
)
def test_what_is_wrong_with_a_file_is_told_with_file_key_and_cure(home, text, said):
    path = add(home, text)
    told = refusal(home)
    assert told.startswith(f"{path}: ")
    assert said in told
    assert [
        said in f"{problem.where}: {problem.what} {problem.hint}"
        for problem in setups.check(path, home, modalities=pipeline.modalities())
    ].count(True) == 1


def test_every_fault_of_every_file_is_told_at_once(home):
    add(home, SOUND + "a = 1\nautomatic = 2\n", "one.toml")
    add(home, "name = ", "two.toml")
    (home / setups.RIGS_FILE).write_text("[rig8]\n[rig9]\ncontroller = 1\n", encoding="utf-8")
    told = refusal(home)
    for said in ("one.toml: a:", "one.toml: automatic:", "two.toml: This", "rig8, controller: ", "rig9, controller: 1"):
        assert said in told


def test_two_files_of_a_lab_for_one_setup_type_are_refused(home):
    add(home, SOUND, "a.toml")
    add(home, SOUND, "b.toml")
    assert "a.toml describes own, too." in refusal(home)


def test_bytes_that_are_no_text_and_hidden_files_of_other_systems(home):
    (home / setups.FOLDER / "._own.toml").write_bytes(b"\xff\x00")
    assert set(setups.load(home).setups) == NAMED_BY_THE_LAB
    (home / setups.FOLDER / "own.toml").write_bytes(b"name = '\xff'")
    assert "not valid TOML" in refusal(home)


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text("aB1_-. "),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab"), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from([*toml.keys_of(setups.SetupType), "x"]), _VALUES))
def test_any_table_gives_an_object_or_problems_and_never_both(table):
    setup, problems = toml.build(setups.SetupType, table)
    assert (setup is None) == bool(problems)


def test_the_example_of_the_reference_page_is_sound():
    page = Path(__file__).parents[2] / "docs" / "reference" / "setup-types.toml"
    assert setups.check(page, modalities=pipeline.modalities()) == []


# ---- channels, scan time, readers, alignment

# The lab's channel maps, written anew from its documents: bit or input -> event. Bit 0 is the least significant.
COMMON = {0: "main_track_gate", 1: "shutter", 3: ""}
MINI = {**COMMON, 2: "mini2p_frames"}
BENCH = {**COMMON, 2: "bench2p_frames", 4: "bench2p_volumes"}
BPOD = {1: "aux_bpod_visual", 2: "aux_bpod_reward", 3: "aux_bpod_tone"}
LINES = {
    "mini2p1_openfield": {**MINI, 4: "optitrack_frames", 5: "HARP_gate", 6: "landmark_LED"},
    "mini2p2_openfield": {**MINI, 4: ""},
    "mini2p2_headfixed": MINI,
    "bench2p": BENCH,
    "bench2p_kine": BENCH,
    "bench2p_lineartrack": BENCH,
    "bench2p_oddball": BENCH,
    "bench2p_Oddball_V2": {**BENCH, 5: "aux_bonsai_vis2"},
    "bench2p_SP": {**BENCH, 5: "aux_bonsai_vis"},
    "bench2p_Oddball_v3": {},
    "behavior_box": {},
    "macroscope": {**COMMON, 2: ""},
}
INPUTS = {
    "mini2p1_openfield": {0: "aux_cam", **BPOD, 4: "arena_LED", 5: "stim_diode"},
    "mini2p2_openfield": {0: "aux_cam", **BPOD},
    "mini2p2_headfixed": {},
    "bench2p": {0: "<stimulus>", 1: "", 2: "aux_cam"},
    "bench2p_kine": {0: "<stimulus>", 1: "", 2: "aux_cam"},
    "bench2p_lineartrack": {1: "", 2: "aux_cam", 3: "aux_lick", 4: "aux_trial"},
    "bench2p_oddball": {0: "", 1: "", 2: "aux_cam", 3: "aux_bonsai_vis"},
    "bench2p_Oddball_V2": {0: "aux_bonsai_vis", 1: "", 2: "aux_cam", 3: "aux_lick", 4: "aux_trial", 5: "aux_reward"},
    "bench2p_SP": {
        0: "aux_trial_type",
        1: "",
        2: "aux_cam",
        3: "aux_fake_reward",
        4: "aux_reward",
        5: "aux_lick",
        6: "aux_HIFI",
    },
    "bench2p_Oddball_v3": {},
    "behavior_box": {},
    "macroscope": {},
}
NAMED = {
    "Main Trigger": "main_track_gate",
    "Bench2p 920 shutter": "shutter",
    "Frame clock": "bench2p_frames",
    "Volume clock": "bench2p_volumes",
    "Camera Trigger": "aux_cam",
    "Trial_Onset": "aux_trial",
    "HIFI": "aux_HIFI",
    "Visual Stim ID": "bonsai_text_<id>",
    "Photodiode": "pdiode_text_<id>",
}
OPTIONAL = {
    "mini2p1_openfield": {"landmark_led", "stimulus_diode"},
    "bench2p_lineartrack": {"treadmill"},
    "bench2p_oddball": {"treadmill", "bpod_ttl"},
    "bench2p_Oddball_V2": {"treadmill"},
    "bench2p_SP": {"treadmill"},
    "bench2p_Oddball_v3": {"treadmill", "sound", "line_clock"},
    "mini2p2_headfixed": {"main_track_gate", "shutter", "two_photon_frames", "line_clock"},
    "macroscope": {"main_track_gate", "shutter", "widefield_frames", "line_clock"},
}


@pytest.mark.parametrize("name", sorted(NAMED_BY_THE_LAB))
def test_each_bit_and_each_input_of_a_setup_type_writes_the_event_of_the_lab_s_map(name):
    channels = SHIPPED.setups[name].channel
    assert {c.line: c.event for c in channels if c.line is not None} == LINES[name]
    assert {c.analog: c.event for c in channels if c.analog is not None} == INPUTS[name]
    assert {c.name for c in channels if not c.needed} == OPTIONAL.get(name, set())


def test_channels_that_are_known_by_name_alone_are_found_under_the_lab_s_names():
    channels = SHIPPED.setups["bench2p_Oddball_v3"].channel
    events = {setups.fold(name): c.event for c in channels for name in c.known_as}
    assert {name: events[setups.fold(name)] for name in NAMED} == NAMED
    assert all(c.place is None for c in channels)


def test_the_wheel_and_the_light_that_cameras_see_are_kept_as_voltages():
    wheels = {s.name: c.analog for s in SHIPPED.setups.values() for c in s.channel if c.name == "treadmill"}
    assert set(wheels) == {name for name in NAMED_BY_THE_LAB if name.startswith("bench2p")}
    assert set(wheels.values()) - {None} == {1}
    sync = [(s.name, c.inside) for s in SHIPPED.setups.values() for c in s.channel if c.name == "cam_sync"]
    assert sync == [("mini2p1_openfield", "arena_led")]


def test_scan_time_is_bpod_s_in_the_box_and_falls_back_to_frames_where_the_reference_has_no_map():
    clocks = {setup.name: (setup.clock.stream, setup.clock.otherwise) for setup in SHIPPED.setups.values()}
    assert clocks.pop("behavior_box") == ("bpod", "")
    assert clocks.pop("macroscope") == clocks.pop("mini2p2_headfixed") == ("aux", "frames")
    assert set(clocks.values()) == {("aux", "")}


def test_bpod_s_trials_are_aligned_as_the_lab_s_documents_say():
    rules = {s.name: [rule for rule in s.align if rule.source == "bpod"] for s in SHIPPED.setups.values()}
    told = {name: rule for name, (rule, *more) in ((n, found) for n, found in rules.items() if found) if not more}
    for name in ("mini2p1_openfield", "mini2p2_openfield"):
        align = told.pop(name)
        assert (align.channel, align.only_with) == ("bpod_visual", ("raw_bpod_SoftCode10", "raw_bpod_SoftCode15"))
        assert align.events == ("bpod_trial_start", "bpod_at_target")
    odd = told.pop("bench2p_oddball")
    assert (odd.channel, odd.events, odd.anchor) == ("bpod_ttl", ("bpod_firststim_oddball",), "last")
    assert (odd.after.gate, odd.after.seconds) == ("main_track_gate", 1.0)
    (ttl,) = (c for c in SHIPPED.setups["bench2p_oddball"].channel if c.name == odd.channel)
    assert (ttl.analog, ttl.polarity) == (0, "low")
    for name in ("bench2p_Oddball_V2", "bench2p_Oddball_v3"):
        align = told.pop(name)
        assert (align.channel, align.after.gate, align.drop_last) == ("trial", "main_track_gate", True)
    assert told.pop("bench2p_lineartrack").channel == "trial"
    assert told == {}


def test_stimuli_are_shown_by_the_voltage_that_bonsai_sets_where_the_lab_has_one():
    """Of the linear track nobody knows a channel; the type of a trial is no stimulus."""
    shown = {s.name: {c.name: c.shows for c in s.channel if c.shows} for s in SHIPPED.setups.values()}
    level = {"stimulus_level": "level"}
    assert {name: channels for name, channels in shown.items() if channels} == {
        **dict.fromkeys(("bench2p", "bench2p_kine", "bench2p_oddball", "bench2p_Oddball_V2"), level),
        "bench2p_Oddball_v3": {**level, "stimulus_diode": "each"},
        "bench2p_SP": {"stimulus_line": "each"},
    }
    for setup in SHIPPED.setups.values():
        rules = [rule for rule in setup.align if rule.source == "bonsai"]
        assert [rule.channel for rule in rules] == list(shown[setup.name])[:1]
        assert all(rule.anchor == "counts" and not rule.verified for rule in rules), "when Bonsai writes is not known"


def test_what_the_reference_does_not_say_is_marked_and_named():
    unsure = {s.name: [c.name for c in s.channel if not c.verified] for s in SHIPPED.setups.values()}
    assert unsure["macroscope"] == ["main_track_gate", "shutter", "widefield_frames", "line_clock"]
    assert unsure["mini2p2_headfixed"] == ["main_track_gate", "shutter", "two_photon_frames", "line_clock"]
    assert unsure["bench2p"] == unsure["mini2p1_openfield"] == []
    assert all(bool(c.missing) != c.verified for s in SHIPPED.setups.values() for c in s.channel)


AUX = '[[expected]]\nfiles = "*.h5"\nwhat = "aux"\nparser = "wavesurfer"\nsource = "aux"\n'
BPOD = '[[expected]]\nfiles = "*.mat"\nwhat = "trials"\nparser = "bpod"\n'
CAMERA = '[[expected]]\nfiles = "*.csv"\nwhat = "frames"\nparser = "camera"\nsource = "top"\n'
WIRED = (
    SOUND
    + AUX
    + BPOD
    + '[[channel]]\nname = "gate"\nkind = "gate"\nline = 0\n'
    + '[[channel]]\nname = "trial"\nkind = "pulses"\nanalog = 4\n'
)
ALIGN = '[[align]]\nsource = "bpod"\nchannel = "trial"\nevents = ["bpod_trial_start"]\n'
THIRD = '[[channel]]\nname = "x"\nkind = "pulses"\n'
LEVEL = '[[channel]]\nname = "x"\nkind = "level"\n'
GATE = '[[channel]]\nname = "x"\nkind = "gate"\n'
IMU = '[[expected]]\nfiles = "*IMU*.csv"\nwhat = "the head"\nparser = "harp_imu"\n'
HARP = WIRED + IMU + "[harp]\n"
TREADMILL = WIRED + '[[channel]]\nname = "treadmill"\nkind = "waveform"\nanalog = 1\n[wheel]\n'


def test_everything_that_a_channel_may_say_is_read(home):
    add(
        home,
        WIRED + THIRD + 'analog = 2\nwhat = "xs"\nnames = ["An X"]\nevent = "aux_x_<id>"\nneeded = false\n'
        'verified = false\nmissing = "All."\npolarity = "low"\nthreshold = 2\nshare = 0.25\nmerge = 0.5\n'
        "shortest = 0.125\nrate = [1, 2.5]\nleast = 1\nmost = 9\n"
        'no_more_than = "trial"\nafter = { gate = "gate", seconds = 1 }\n'
        + ALIGN
        + 'only_with = ["raw_bpod_SoftCode10"]\ntrials = "bpod_trial_start"\n'
        'after = { gate = "gate" }\ndrop_first = true\ndrop_last = true\n'
        'anchor = "last"\njitter = 0.004\n[clock]\nstream = "aux"\notherwise = "bpod"\n',
    )
    setup = setups.load(home).find("own")
    x = setup.channel[2]
    assert (x.analog, x.names, x.event, x.needed, x.polarity) == (2, ("An X",), "aux_x_<id>", False, "low")
    assert (x.threshold, x.share, x.merge, x.shortest) == (2.0, 0.25, 0.5, 0.125)
    assert type(x.threshold) is type(x.rate[0]) is float
    assert (x.rate, x.least, x.most, x.no_more_than) == ((1.0, 2.5), 1, 9, "trial")
    assert (x.after.gate, x.after.seconds) == ("gate", 1.0)
    assert (setup.align[0].after.seconds, setup.clock.otherwise) == (0.0, "bpod")
    assert (setup.align[0].source, setup.align[0].anchor, setup.align[0].jitter) == ("bpod", "last", 0.004)


def test_everything_that_a_wheel_may_say_is_read_and_shown(home, monkeypatch):
    add(home, TREADMILL + "circumference = 47\nlow = 0.2\nhigh = 4.8\ndirection = -1\nfastest = 150\n")
    wheel = setups.load(home).find("own").wheel
    assert [getattr(wheel, field.name) for field in fields(wheel)] == [47.0, 0.2, 4.8, -1, 150.0]
    monkeypatch.setenv("ADAMACS_HOME", str(home))
    assert "wheel:      47 cm a turn, 0.2 to 4.8 V, forward lowers it" in run("show", "own").output
    assert json.loads(run("show", "own", "--json").output)["wheel"]["circumference"] == 47.0


def test_what_is_said_of_a_camera_and_of_harp_s_frames_is_read_and_shown(home, monkeypatch):
    frames = '[[expected]]\nfiles = "*2P*.csv"\nwhat = "frames"\nparser = "harp_frames"\nsource = "harp"\nunit = "ms"\n'
    add(home, WIRED + CAMERA + "frame_rate = 50\ngap = 1.5\n" + frames)
    setup = setups.load(home).find("own")
    told = [(e.frame_rate, e.unit, e.gap) for e in map(setup.expected_of, ("top", "harp", "bpod"))]
    assert told == [(50.0, "", 1.5), (None, "ms", None), (None, "", None)]
    monkeypatch.setenv("ADAMACS_HOME", str(home))
    shown = run("show", "own").output
    assert "top (camera, 50 Hz, filled beyond 1.5 periods), harp (harp_frames, numbers are in ms)" in shown


VIDEO = '[[expected]]\nfiles = "*.mp4"\nwhat = "a video"\nparser = "video"\nsource = "film"\n'


def test_what_is_said_of_a_video_and_of_what_lies_beside_a_file_is_read_and_shown(home, monkeypatch):
    add(home, WIRED + CAMERA.replace("what", 'beside = "*.avi"\nwhat') + VIDEO + 'stamped_by = "top"\n')
    setup = setups.load(home, modalities=pipeline.modalities()).find("own")
    assert (setup.expected_of("film").stamped_by, setup.expected_of("top").beside) == ("top", "*.avi")
    monkeypatch.setenv("ADAMACS_HOME", str(home))
    shown = run("show", "own").output
    assert "film (video, stamped by top)" in shown
    assert "*.csv beside *.avi: frames" in shown


def test_everything_that_is_said_of_harp_s_sensors_is_read_and_shown(home, monkeypatch):
    text = 'accelerometer = 0.002\ngyroscope = -0.061\nacceleration_unit = "g"\nsample_rate = 100\ngate = "gate"\n'
    add(home, HARP + text + 'verified = false\nmissing = "The magnetometer."\n')
    harp = setups.load(home).find("own").harp
    told = (0.002, -0.061, None, "g", 100.0, "gate", False, "The magnetometer.")
    assert tuple(getattr(harp, field.name) for field in fields(harp)) == told
    monkeypatch.setenv("ADAMACS_HOME", str(home))
    shown = run("show", "own").output
    assert (
        "harp:       accelerometer 0.002 g a count, gyroscope -0.061 deg/s a count, counts of magnetometer, " in shown
    )
    assert "while gate is on, at 100 Hz, not verified" in shown


def test_nobody_knows_the_wheels_and_inertial_sensors_of_what_ships():
    assert {setup.wheel for setup in SHIPPED.setups.values()} == {None}
    told = [setup.harp for setup in SHIPPED.setups.values() if setup.harp]
    assert [(harp.accelerometer, harp.gyroscope, harp.magnetometer, harp.sample_rate) for harp in told] == [(None,) * 4]
    assert [(harp.gate, harp.verified) for harp in told] == [("harp_gate", False)]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (WIRED + THIRD + "lin = 1", "channel 3, lin: There is no such key. Did you mean line"),
        (WIRED + THIRD, "channel 3, name: Nothing says where it is. It takes line, analog or names."),
        (WIRED + THIRD + "line = 1\nanalog = 1", "channel 3, analog: A digital line and an analog input at once"),
        (WIRED + THIRD + "line = 0", "channel 3, line: Digital line 0 is claimed by gate already."),
        (WIRED + THIRD + "analog = 4", "channel 3, analog: Analog input 4 is claimed by trial already."),
        (WIRED + THIRD.replace("x", "Tri_al") + "line = 5", "channel 3, name: 'Tri_al' is claimed by trial already."),
        (WIRED + THIRD + 'line = 5\nnames = ["GATE"]', "channel 3, names: 'GATE' is claimed by gate already."),
        (WIRED + THIRD + 'line = 5\nnames = ["-"]', "channel 3, names: '-' is no name."),
        (WIRED + THIRD + "line = 32", "channel 3, line: 32 does not fit. It takes 0 to 31."),
        (WIRED + THIRD + "line = true", "channel 3, line: True does not fit. It takes a whole number."),
        (WIRED + THIRD.replace("pulses", "pulse"), "channel 3, kind: 'pulse' does not fit. It takes pulses or onsets"),
        (WIRED + THIRD + 'line = 1\npolarity = "up"', "channel 3, polarity: 'up' does not fit. It takes high or low."),
        (WIRED + THIRD + "line = 1\nthreshold = 2", "channel 3, threshold: A digital line has none."),
        (WIRED + THIRD + "analog = 1\nthreshold = nan", "channel 3, threshold: nan does not fit. It takes a number."),
        (
            WIRED + THIRD + "analog = 1\nthreshold = -1",
            "channel 3, threshold: -1 does not fit. It takes a number above",
        ),
        (WIRED + THIRD + "analog = 1\nthreshold = 1" + "0" * 400, "does not fit. It takes a number."),
        (WIRED + THIRD + "line = 1\nstep = 0.5", "channel 3, step: A channel of kind pulses has none."),
        (WIRED + LEVEL + "line = 1", "channel 3, line: A channel of kind level is a voltage."),
        (WIRED + LEVEL + 'analog = 1\npolarity = "low"', "channel 3, polarity: A channel of kind level has none."),
        (WIRED + THIRD + "line = 1\nrate = [1]", "channel 3, rate: This does not fit. It takes a list of two numbers."),
        (WIRED + THIRD + "line = 1\nrate = [2, 1]", "channel 3, rate: This does not fit. It takes two numbers"),
        (WIRED + THIRD + "line = 1\nleast = 2\nmost = 1", "channel 3, most: At most 1 and at least 2 cannot be."),
        (
            WIRED + THIRD + 'line = 1\nno_more_than = "trials"',
            "channel 3, no_more_than: There is no other channel with",
        ),
        (WIRED + THIRD + 'line = 1\nevent = "a b"', "channel 3, event: 'a b' does not fit. It takes letters"),
        (WIRED + THIRD + 'line = 1\nafter = { gate = "gat" }', "channel 3, after, gate: There is no channel of kind"),
        (WIRED + THIRD + "line = 1\nafter = { seconds = 1 }", "channel 3, after, gate: This key is missing."),
        (WIRED + THIRD + "line = 1\nverified = false", "channel 3, missing: What is not verified must say"),
        (WIRED + THIRD + 'line = 1\nmissing = "x"', "channel 3, missing: What is missing cannot be verified."),
        (
            WIRED + THIRD + 'line = 1\nstimuli = "some"',
            "channel 3, stimuli: 'some' does not fit. It takes each or level.",
        ),
        (WIRED + THIRD + 'line = 1\nstimuli = "level"', "channel 3, stimuli: A channel of kind pulses has no levels."),
        (WIRED + GATE + 'line = 1\nstimuli = "each"', "channel 3, stimuli: A channel of kind gate has none."),
        (WIRED + LEVEL + 'inside = "trial"\nanalog = 1', "channel 3, inside: It has a place of its own, too."),
        (
            WIRED + LEVEL.replace("level", "waveform") + 'inside = "gate"',
            "channel 3, inside: There is no other channel",
        ),
        (
            WIRED + ALIGN.replace("trial", "tral", 1),
            "align 1, channel: There is no channel of kind pulses or onsets or frames or level 'tral'.",
        ),
        (
            WIRED + ALIGN.replace("bpod_trial_start", "a start"),
            "align 1, events: This does not fit. It takes names such as",
        ),
        (WIRED + ALIGN.replace('"bpod_trial_start"', ""), "align 1, channel: It is placed by a channel and events, or"),
        (
            WIRED + ALIGN + 'anchor = "middle"',
            "align 1, anchor: 'middle' does not fit. It takes first or last or both or counts.",
        ),
        (WIRED + ALIGN + "jitter = 0", "align 1, jitter: 0 does not fit. It takes a number above 0."),
        (
            WIRED + ALIGN.replace('"bpod"', '"bpot"'),
            "align 1, source: There is no source among the expected files 'bpot'.",
        ),
        (WIRED + ALIGN.replace('"bpod"', '"aux"'), "align 1, source: Its own clock may be scan time (aux)."),
        (WIRED + ALIGN + 'only_with = ["raw_bpod_Port1In"]', "align 1, only_with: It speaks of the trials that"),
        (
            WIRED + CAMERA + '[[align]]\nsource = "top"\nthrough = "tp"',
            "align 1, through: There is no other source 'tp'.",
        ),
        (WIRED + CAMERA + '[[align]]\nsource = "top"\nthrough = "top"', "align 1, through: There is no other source"),
        (
            WIRED + CAMERA + '[[align]]\nsource = "top"\nthrough = "bpod"',
            "align 1, through: Nothing places bpod itself by a channel.",
        ),
        (
            WIRED + CAMERA.replace('source = "top"\n', ""),
            "expected 3, source: camera may read several sources, and this",
        ),
        (WIRED + CAMERA.replace("top", "bpod"), "expected 3, source: bpod is read by bpod already."),
        (
            WIRED + CAMERA.replace('parser = "camera"\n', ""),
            "expected 3, source: No reader finds events in these files.",
        ),
        (
            WIRED + CAMERA.replace("top", "Top"),
            "expected 3, source: 'Top' does not fit. It takes up to 32 small letters",
        ),
        (WIRED + ALIGN + "drop_last = 1", "align 1, drop_last: 1 does not fit. It takes true or false."),
        (WIRED.replace(BPOD, "") + ALIGN, "align 1, source: There is no source among the expected files 'bpod'."),
        (WIRED.replace('source = "aux"\n', ""), "channel: The channels are those of the source aux."),
        (
            WIRED.replace("wavesurfer", "wavesurfr"),
            "expected 1, parser: There is no reader 'wavesurfr'. Did you mean wavesurfer",
        ),
        (WIRED + '[clock]\nstream = "harp"', "clock, stream: There is no source among the expected files 'harp'."),
        (WIRED + '[clock]\notherwise = "aux"', "clock, otherwise: It is that stream itself."),
        (WIRED + ALIGN + '[clock]\nstream = "bpod"', "align 1, source: Its own clock may be scan time (bpod)."),
        (SOUND + '[clock]\nstream = "bpod"', "clock, stream: There is no source among the expected files 'bpod'."),
        (
            SOUND + '[clock]\notherwise = "frame"',
            "clock, otherwise: There is no source among the expected files 'frame'. Did",
        ),
        (TREADMILL, "wheel, circumference: This key is missing. It takes a number."),
        (TREADMILL + "circumference = 0", "wheel, circumference: 0 does not fit. It takes a number above 0."),
        (
            TREADMILL + "circumference = 47.1\ncircumfrence = 1",
            "wheel, circumfrence: There is no such key. Did you mean",
        ),
        (TREADMILL + "circumference = 47.1\ndirection = 0", "wheel, direction: 0 does not fit. It takes 1 or -1."),
        (TREADMILL + "circumference = 47.1\ndirection = true", "wheel, direction: True does not fit."),
        (
            TREADMILL + "circumference = 47.1\nfastest = -1",
            "wheel, fastest: -1 does not fit. It takes a number above 0.",
        ),
        (TREADMILL + "circumference = 47.1\nlow = 5", "wheel, high: The output cannot rise from 5 to 5 V."),
        (
            WIRED + "[wheel]\ncircumference = 47.1",
            "wheel, circumference: There is no channel treadmill of kind waveform",
        ),
        (
            TREADMILL.replace("waveform", "level") + "circumference = 47.1",
            "wheel, circumference: There is no channel treadmill of kind waveform",
        ),
        (WIRED + CAMERA + "frame_rate = 0", "expected 3, frame_rate: 0 does not fit. It takes a number above 0."),
        (WIRED + CAMERA + 'unit = "ms"', "expected 3, unit: Files of camera have none. It is for harp_frames."),
        (
            WIRED + CAMERA + VIDEO + 'stamped_by = "tap"',
            "expected 4, stamped_by: No files are of a source tap. Did you mean top?",
        ),
        (WIRED + CAMERA + 'stamped_by = "top"', "expected 3, stamped_by: Files of camera have none. It is for video."),
        (WIRED + CAMERA + "gap = 1", "expected 3, gap: 1 does not fit. It takes a number above 1."),
        (SOUND + BPOD + "gap = 2", "expected 1, gap: Files of bpod have none. It is for harp_frames or camera."),
        (
            WIRED + CAMERA + CAMERA.replace("*.csv", "*.txt") + "frame_rate = 50",
            "expected 4, frame_rate: Other files of top say otherwise. Say it alike.",
        ),
        (HARP + "accelerometer = 0", "harp, accelerometer: 0 does not fit. It takes a number that is not 0."),
        (HARP + 'acceleration_unit = "G"', "harp, acceleration_unit: 'G' does not fit. It takes m/s^2 or g."),
        (HARP + 'gate = "trial"', "harp, gate: There is no channel of kind gate 'trial'."),
        (HARP + "verified = false", "harp, missing: What is not verified must say what is missing."),
        (
            WIRED + "[harp]\nsample_rate = 100",
            "harp: No reader takes the files that it is about. Give parser = 'harp_imu' to them.",
        ),
        (SOUND + "[[clock]]", "clock: This does not fit. It takes a table."),
        (SOUND + "a = 1" + "0" * 5000, "This is not valid TOML: Exceeds the limit"),
    ],
)
def test_what_is_wrong_with_a_wiring_is_told_with_its_key_and_cure(home, text, said):
    path = add(home, text)
    problems = setups.check(path, home, modalities=pipeline.modalities())
    assert any(said in f"{problem.where}: {problem.what} {problem.hint}" for problem in problems), problems
    assert said in refusal(home)


def test_every_fault_of_every_channel_is_told_at_once(home):
    path = add(home, WIRED + THIRD + 'line = 1\nanalog = 1\nmissing = "y"\n' + THIRD + "line = 0\n" + ALIGN)
    assert [problem.where for problem in setups.check(path, home)] == [
        "channel 3, analog",
        "channel 3, missing",
        "channel 4, name",
        "channel 4, line",
    ]


def test_two_channels_never_write_one_event(home):
    path = add(
        home, WIRED + THIRD + 'line = 1\nevent = "e"\n' + THIRD.replace('"x"', '"y"') + 'line = 2\nevent = "e"\n'
    )
    assert [problem.where for problem in setups.check(path, home)] == ["channel 4, event"]


def test_the_how_to_page_adds_a_sound_setup(home):
    page = (Path(__file__).parents[2] / "docs" / "how-to" / "add-a-setup.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    (home / setups.RIGS_FILE).write_text(blocks[0], encoding="utf-8")
    assert setups.check(home / setups.RIGS_FILE) == []
    assert setups.check(add(home, blocks[1]), home, modalities=pipeline.modalities()) == []
    known = setups.load(home, modalities=pipeline.modalities())
    assert "bench2p2" in known.rigs
    assert {c.name for c in known.find("whiskers").channel} == {c["name"] for c in tomllib.loads(blocks[1])["channel"]}


# ---- the command


def run(*arguments):
    return CliRunner().invoke(command, arguments)


def test_the_command_lists_what_the_lab_knows(home, monkeypatch):
    monkeypatch.setenv("ADAMACS_HOME", str(home))
    add(home, SOUND)
    answer = run("list")
    assert answer.exit_code == 0
    (own,) = (line for line in answer.output.splitlines() if line.startswith("own "))
    assert own.split() == ["own", "aux1", "Ours.", "(the", "lab's", "own)"]
    assert {json.loads(line)["name"] for line in run("list", "--json").output.splitlines()} == NAMED_BY_THE_LAB | {
        "own"
    }


def test_the_command_shows_which_file_counts_and_which_it_replaces(home, monkeypatch):
    monkeypatch.setenv("ADAMACS_HOME", str(home))
    path = add(home, SOUND.replace("own", "bench2p"))
    answer = run("show", "Bench2P").output
    assert str(path) in answer
    assert f"in place of {setups.SHIPPED / 'bench2p.toml'}" in answer
    told = json.loads(run("show", "macroscope", "--json").output)
    assert told["verified"] is False
    assert told["missing"]


def test_the_command_shows_channels_as_a_table_and_for_programs(home, monkeypatch):
    monkeypatch.setenv("ADAMACS_HOME", str(home))
    shown = [re.split(r"  +", line.strip()) for line in run("show", "bench2p oddball").output.splitlines()]
    assert ["digital line 2", "two_photon_frames", "bench2p_frames", "frames"] in shown
    assert ["analog input 0", "bpod_ttl", "-", "pulses", "may be absent, low when on"] in shown
    told = json.loads(run("show", "bench2p oddball", "--json").output)
    assert {c["line"]: c["event"] for c in told["channel"] if c["line"] is not None}[2] == "bench2p_frames"
    assert (told["clock"]["stream"], told["align"][0]["channel"]) == ("aux", "bpod_ttl")
    assert "(4 channels, not verified)" in run("list").output
    listed = {found["name"]: found for found in map(json.loads, run("list", "--json").output.splitlines())}
    assert listed["behavior_box"]["channel"] == []
    checked = run("check", str(add(home, WIRED)))
    assert checked.exit_code == 0
    assert ["analog input 4", "trial", "-", "pulses"] in [
        re.split(r"  +", x.strip()) for x in checked.output.splitlines()
    ]


def test_without_a_lab_home_what_ships_is_shown(tmp_path, monkeypatch):
    monkeypatch.setenv("ADAMACS_HOME", str(tmp_path / "nowhere"))
    answer = run("show", "openfield").output
    assert "mini2p1 (PC mini2p1 controller)" in answer
    assert "at least 1 *.tif" in answer


def test_a_file_is_checked_before_it_lies_in_the_lab_home_and_again_there(home, tmp_path, monkeypatch):
    monkeypatch.setenv("ADAMACS_HOME", str(home))
    draft = tmp_path / "draft.toml"
    draft.write_text(SOUND, encoding="utf-8")
    assert run("check", str(draft)).exit_code == 0
    inside = add(home, SOUND)
    assert run("check", str(inside)).exit_code == 0
    draft.write_text(SOUND.replace("own", "o n") + "a = 1\n", encoding="utf-8")
    answer = run("check", str(draft))
    assert answer.exit_code == 1
    assert len(answer.output.splitlines()) == 2
    told = [json.loads(line) for line in run("check", str(draft), "--json").output.splitlines()]
    assert {problem["where"] for problem in told} == {"name", "a"}


def test_a_file_of_rigs_is_checked_by_its_name(tmp_path):
    path = tmp_path / "rigs.toml"
    path.write_text('rig8 = 1\n[rig9]\ncontroler = "x"\n', encoding="utf-8")
    assert [problem.where for problem in setups.check(path)] == ["rig8", "rig9, controler", "rig9, controller"]


# ---- the synthetic lab


def test_the_synthetic_lab_names_setups_that_are_known_and_its_home_expects_what_it_writes(home):
    lab.write_setups(home)
    known = setups.load(home, modalities=pipeline.modalities())
    assert {setup.name for setup in known.setups.values() if setup.replaces} == {
        "mini2p1_openfield",
        "bench2p",
        "bench2p_lineartrack",
    }
    assert known.find("openfield").problems(["scan9FY6AIRM_00001.tif"]) == []
    for scan in lab.write(home / "share", size="tiny"):
        assert known.find(scan.setup).problems([path.name for path in scan.files]) == []


# ---- one broken file among others


def test_the_synthetic_lab_says_of_files_that_are_read_all_that_ships_says_but_how_many(home):
    lab.write_setups(home)
    for name, ships in SHIPPED.setups.items():
        own = setups.load(home).find(name)
        if own.channel and own.source.parent != setups.SHIPPED:
            told = [expected for expected in own.expected if expected.parser]
            assert told == [replace(expected, least=0) for expected in ships.expected if expected.parser]
            break
    else:
        pytest.fail("No setup type of the synthetic lab has files beside the frames.")


def test_a_broken_file_takes_away_what_it_describes_and_nothing_else(home):
    add(home, SOUND)
    broken = add(home, 'name = "bench2p"\ndescription = "Ours."\nrig = []\n', "bench.toml")
    usable = setups.load_usable(home, modalities=pipeline.modalities())
    assert usable.find("own").name == "own"
    assert usable.find("mini2p1 openfield").name == "mini2p1_openfield"
    with pytest.raises(UnknownSetup) as caught:
        usable.find("bench2p")  # not what ships: the lab says something else, and we cannot read it
    assert str(broken) in str(caught.value)


def test_nothing_that_ships_is_taken_where_a_file_might_say_anything(home):
    add(home, SOUND)
    broken = add(home, "name = bench2p", "bench.toml")
    usable = setups.load_usable(home, modalities=pipeline.modalities())
    assert usable.find("own").name == "own"
    for spelling in ("bench2p", "nonsense"):
        with pytest.raises(UnknownSetup) as caught:
            usable.find(spelling)
        assert f"adamacs setups check {broken}" in str(caught.value)
