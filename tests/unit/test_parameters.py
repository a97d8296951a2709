"""Parameter sets are checked against what Suite2p 1.1.0 takes, without Suite2p."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adamacs.core.errors import InvalidParameters
from adamacs.modalities.imaging import parameters
from adamacs.modalities.imaging.parameters import SUITE2P_1_1_0, SUITE2P_VERSION, Parameter

TOOL = ("suite2p", SUITE2P_VERSION)


def refused(params) -> str:
    with pytest.raises(InvalidParameters) as raised:
        parameters.validate(*TOOL, params)
    return str(raised.value)


def _parameters(table, prefix=""):
    for name, entry in table.items():
        if isinstance(entry, Parameter):
            yield prefix + name, entry
        else:
            yield from _parameters(entry, f"{prefix}{name}.")


def test_every_default_is_valid_but_for_what_the_scan_and_the_host_decide():
    everything = parameters.defaults(*TOOL)
    del everything["fs"], everything["torch_device"], everything["run"]["multiplane_parallel"]
    assert parameters.validate(*TOOL, everything) == everything


def test_a_set_keeps_what_its_author_set_and_no_more():
    assert parameters.validate(*TOOL, {}) == {}
    assert parameters.validate(*TOOL, {"detection": {"threshold_scaling": 0.8}}) == {
        "detection": {"threshold_scaling": 0.8}
    }


def test_a_set_is_stored_in_one_form():
    written = {"tau": 1, "diameter": 10, "registration": {"block_size": (64, 96)}, "extraction": {"batch_size": 5}}
    assert parameters.validate(*TOOL, written) == {
        "tau": 1.0,
        "diameter": [10.0, 10.0],
        "registration": {"block_size": [64, 96]},
        "extraction": {"batch_size": 5},
    }
    numpy_written = {"tau": np.float32(0.5), "diameter": np.array([9, 9]), "registration": {"nimg_init": np.int64(3)}}
    stored = parameters.validate(*TOOL, numpy_written)
    assert (
        json.loads(json.dumps(stored))
        == stored
        == {
            "tau": 0.5,
            "diameter": [9.0, 9.0],
            "registration": {"nimg_init": 3},
        }
    )


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"detection": {"treshold_scaling": 2}}, ["detection.treshold_scaling", "detection.threshold_scaling"]),
        ({"tua": 1}, ["tua: unknown", "Did you mean tau?"]),
        ({"registration": {"max_overlap": 0.3}}, ["registration.max_overlap", "Did you mean detection.max_overlap?"]),
        ({"detection": {"sparsery_settings": {"max_rois": 3}}}, ["detection.sparsery_settings.max_ROIs"]),
        ({"run": {"zzz": True}}, ["run.zzz", "Known in run: do_registration"]),
        ({"zzz": 1}, ["zzz", "Known: tau, diameter, run"]),
    ],
)
def test_an_unknown_name_is_refused_with_the_nearest_one(params, words):
    message = refused(params)
    assert all(word in message for word in words), message


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"tau": -1}, ["tau", "greater than or equal to 0"]),
        ({"tau": float("nan")}, ["tau", "finite"]),
        ({"tau": "1"}, ["tau", "number"]),
        ({"registration": {"nonrigid": 1}}, ["registration.nonrigid", "boolean"]),
        ({"registration": {"batch_size": 2.5}}, ["registration.batch_size", "integer"]),
        ({"registration": {"batch_size": True}}, ["registration.batch_size", "integer"]),
        ({"registration": {"block_size": [64]}}, ["registration.block_size", "2 items"]),
        ({"registration": {"maxregshift": 1.5}}, ["registration.maxregshift", "less than or equal to 1"]),
        ({"detection": {"algorithm": "suite3p"}}, ["detection.algorithm", "'sparsery', 'sourcery' or 'cellpose'"]),
        ({"detection": 3}, ["detection", "group of parameters"]),
        ({"diameter": [3, "a"]}, ["diameter", "number"]),
        ({"detection": {"cellpose_settings": {"params": {"a": object()}}}}, ["detection.cellpose_settings.params"]),
    ],
)
def test_an_impossible_value_is_refused_by_its_full_name(params, words):
    message = refused(params)
    assert all(word in message for word in words), message


def test_every_problem_of_a_set_is_told_at_once():
    message = refused({"fs": 30, "sparse_mode": 1, "tau": -1, "detection": {"nbin": 3}})
    first, *lines = message.splitlines()
    assert first == "suite2p 1.1.0 cannot take this parameter set:"
    assert [line.split(":")[0] for line in lines] == ["  fs", "  sparse_mode", "  tau", "  detection.nbin"]


def test_what_the_scan_and_the_task_decide_is_refused_with_the_reason():
    assert "header" in refused({"fs": 30.0})
    assert "header" in refused({"nplanes": 3})
    assert "leave it out" in refused({"save_path0": "/results"})
    assert "workers" in refused({"run": {"multiplane_parallel": False}})


def test_a_set_names_no_device_because_the_host_that_computes_decides_it():
    for device in ("cpu", "cuda", "cuda:1"):
        assert "workers.device" in refused({"torch_device": device})
    assert "torch_device" not in refused({"torch_devise": "cpu"})  # nothing that is refused is proposed


@pytest.mark.parametrize("name", [n for n, heir in parameters.FLAT_0_14.items() if heir != n])
def test_every_name_of_0_14_is_refused_with_the_name_of_today(name):
    message = refused({name: 1})
    assert "0.14" in message
    heir = parameters.FLAT_0_14[name]
    assert (heir or "1.x has no such parameter") in message


def test_every_name_of_today_that_0_14_is_sent_to_exists():
    known = dict(_parameters(SUITE2P_1_1_0))
    assert {heir for heir in parameters.FLAT_0_14.values() if heir} <= known.keys()


def test_an_unknown_tool_or_version_is_refused():
    with pytest.raises(InvalidParameters, match=r"suite2p 1\.1\.0"):
        parameters.validate("suite2p", "1.1.1", {})
    with pytest.raises(InvalidParameters, match="caiman"):
        parameters.validate("caiman", "1.9", {})


def test_a_set_that_is_no_table_is_refused():
    assert "table" in refused([1, 2])


def test_two_sets_that_mean_the_same_have_the_same_hash():
    plain = parameters.param_hash(*TOOL, {})
    assert len(plain) == 64
    assert set(plain) <= set("0123456789abcdef")
    assert parameters.param_hash(*TOOL, {"tau": 1}) == plain  # the default, spelt out
    assert parameters.param_hash(*TOOL, {"diameter": 12}) == plain
    assert parameters.param_hash(*TOOL, {"registration": {"block_size": (128, 128)}}) == plain


def test_another_value_tool_or_version_is_another_hash():
    hashes = {
        parameters.param_hash(*TOOL, {}),
        parameters.param_hash(*TOOL, {"tau": 0.7}),
        parameters.param_hash("suite2p", "0.14.4", {}),
        parameters.param_hash("other", SUITE2P_VERSION, {}),
    }
    assert len(hashes) == 4


@given(st.dictionaries(st.text(max_size=12), st.one_of(st.none(), st.integers(), st.text(), st.lists(st.integers()))))
def test_no_set_crashes_the_check(params):
    try:
        stored = parameters.validate(*TOOL, params)
    except InvalidParameters:
        return
    assert parameters.validate(*TOOL, stored) == stored


def test_pydantic_and_suite2p_are_imported_only_where_they_are_needed():
    code = (
        "import sys; from adamacs.modalities.imaging import parameters as p;"
        "p.param_hash('suite2p', '1.1.0', {'tau': 1});"
        "assert 'pydantic' not in sys.modules, 'pydantic';"
        "p.validate('suite2p', '1.1.0', {});"
        "assert not {'suite2p', 'torch'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
