"""The parameters of Suite2p 1.1.0: their names, types, limits and defaults, and the check of a parameter set.

The table below says what the tool takes, so that a set is checked on a laptop without the tool, when it is written and
not when it is run. A test compares it with the installed Suite2p. A parameter set holds only what its author sets; the
rest are the tool's defaults of that version, and the version is part of the set: an upgrade is a new set.
"""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

from adamacs.core.errors import InvalidParameters, nearest

if TYPE_CHECKING:
    from pydantic import BaseModel


class Parameter(NamedTuple):
    """What a tool says of one of its parameters.

    `kind` is the type of its value, and `pair` a height and a width. `low` and `high` are the smallest and the largest
    value, where there is one; `choices` are the only values, where the tool knows a few words.
    """

    kind: str  # bool, int, float, str, pair of int, pair of float, table
    default: Any
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()
    optional: bool = False  # takes None


def _flag(default: bool) -> Parameter:
    return Parameter("bool", default)


def _count(default: int | None, low: int = 0, high: int | None = None) -> Parameter:
    return Parameter("int", default, low, high, optional=default is None)


def _number(default: float, low: float | None = 0.0, high: float | None = None) -> Parameter:
    return Parameter("float", default, low, high)


def _word(default: str, *choices: str) -> Parameter:
    return Parameter("str", default, choices=choices)


_NOTHING = Parameter("str", None, optional=True)
_TABLE = Parameter("table", None, optional=True)

SUITE2P_1_1_0: Mapping[str, Any] = {
    "torch_device": _word("cuda"),
    "tau": _number(1.0, 0.0, 10.0),  # s
    "fs": _number(10.0, 0.01),  # Hz per plane
    "diameter": Parameter("pair of float", [12.0, 12.0], 1.0),  # px
    "run": {
        "do_registration": _count(1, 0, 2),
        "do_regmetrics": _flag(True),
        "do_detection": _flag(True),
        "do_deconvolution": _flag(True),
        "multiplane_parallel": _flag(False),
    },
    "io": {
        "combined": _flag(True),
        "save_mat": _flag(False),
        "save_NWB": _flag(False),
        "save_ops_orig": _flag(True),
        "delete_bin": _flag(False),
        "move_bin": _flag(False),
    },
    "registration": {
        "align_by_chan2": _flag(False),
        "nimg_init": _count(400),  # frames
        "maxregshift": _number(0.1, 0.0, 1.0),  # fraction of the larger side
        "do_bidiphase": _flag(False),
        "bidiphase": _number(0.0),  # px
        "batch_size": _count(100, 1),  # frames
        "nonrigid": _flag(True),
        "maxregshiftNR": _count(5),  # px
        "block_size": Parameter("pair of int", [128, 128], 1),  # px
        "smooth_sigma_time": _number(0.0),  # frames
        "smooth_sigma": _number(1.15, 0.25),  # px
        "spatial_taper": _number(3.45),  # px
        "th_badframes": _number(1.0),
        "norm_frames": _flag(True),
        "snr_thresh": _number(1.2, 1.0),
        "subpixel": _count(10, 1, 100),  # steps per px
        "two_step_registration": _flag(False),
        "reg_tif": _flag(False),
        "reg_tif_chan2": _flag(False),
        "upsample_meanImg": Parameter("pair of int", None, 1, optional=True),
    },
    "detection": {
        "algorithm": _word("sparsery", "sparsery", "sourcery", "cellpose"),
        "denoise": _flag(False),
        "block_size": Parameter("pair of int", [64, 64], 1),  # px
        "nbins": _count(5000, 1),  # frames
        "bin_size": _count(None, 1),  # frames
        "highpass_time": _count(100),  # bins
        "threshold_scaling": _number(1.0),
        "npix_norm_min": _number(0.0),
        "npix_norm_max": _number(100.0),
        "max_overlap": _number(0.75, 0.0, 1.0),
        "soma_crop": _flag(True),
        "chan2_threshold": _number(0.25, 0.0, 1.0),
        "cellpose_chan2": _flag(False),
        "sparsery_settings": {
            "highpass_neuropil": _count(25, 5),  # px
            "max_ROIs": _count(5000, 1),
            "spatial_scale": _count(0, 0, 4),
            "active_percentile": _number(0.0, 0.0, 1.0),
        },
        "sourcery_settings": {
            "connected": _flag(True),
            "max_iterations": _count(20, 1),
            "smooth_masks": _flag(False),
        },
        "cellpose_settings": {
            "cellpose_model": _word("cpsam"),
            "img": _word("max_proj / meanImg", "max_proj / meanImg", "meanImg", "enhanced_meanImg", "max_proj"),
            "highpass_spatial": _count(0),
            "flow_threshold": _number(0.4, 0.0, 1.0),
            "cellprob_threshold": _number(0.0, 0.0, 1.0),
            "params": _TABLE,
            "params_chan2": _TABLE,
        },
    },
    "classification": {
        "classifier_path": _NOTHING,
        "use_builtin_classifier": _flag(False),
        "preclassify": _number(0.0, 0.0, 1.0),
    },
    "extraction": {
        "snr_threshold": _number(0.0, None, 1.0),
        "batch_size": _count(500, 1),  # frames
        "neuropil_extract": _flag(True),
        "neuropil_coefficient": _number(0.7),
        "inner_neuropil_radius": _count(2),  # px
        "min_neuropil_pixels": _count(350, 1),
        "lam_percentile": _number(50.0, 0.0, 100.0),
        "allow_overlap": _flag(False),
        "circular_neuropil": _flag(False),
    },
    "dcnv_preprocess": {
        "baseline": _word("maximin", "maximin", "prctile", "constant"),
        "win_baseline": _number(60.0, 1.0),  # s
        "sig_baseline": _number(10.0, 1.0),  # frames
        "prctile_baseline": _number(8.0, 0.0, 100.0),
    },
}

SUITE2P_VERSION = "1.1.0"

_TOOLS: Mapping[tuple[str, str], Mapping[str, Any]] = {("suite2p", SUITE2P_VERSION): SUITE2P_1_1_0}

# Names that a set must not hold, and why.
_FROM_THE_SCAN = "It is read from the scan's own header; leave it out of the set."
_FROM_THE_TASK = "It follows from the scan's files and from where its results belong; leave it out of the set."
_REFUSED: Mapping[str, str] = {
    **dict.fromkeys(
        ("fs", "nplanes", "nchannels", "functional_chan", "nrois", "lines", "dy", "dx", "ignore_flyback"),
        _FROM_THE_SCAN,
    ),
    **dict.fromkeys(
        (
            *("data_path", "look_one_level_down", "input_format", "subfolders", "file_list", "save_path0"),
            *("fast_disk", "save_folder", "h5py", "h5py_key", "nwb_file", "mesoscan", "bruker", "force_sktiff"),
        ),
        _FROM_THE_TASK,
    ),
    "torch_device": "The host that computes decides it, by its setting workers.device; leave it out of the set.",
    "keep_movie_raw": "Only registration.two_step_registration needs the raw movie, and then it is kept.",
    "run.multiplane_parallel": "It sends planes to another server; adamacs' own workers spread the work.",
    **dict.fromkeys(("version", "suite2p_version"), "The tool's version stands beside the set, not in it."),
}

# Suite2p 0.14 kept all parameters in one flat table. Its names, and where 1.x keeps them; None: nowhere.
FLAT_0_14: Mapping[str, str | None] = {
    "tau": "tau",
    "diameter": "diameter",
    "do_registration": "run.do_registration",
    "roidetect": "run.do_detection",
    "spikedetect": "run.do_deconvolution",
    "multiplane_parallel": None,
    "combined": "io.combined",
    "save_mat": "io.save_mat",
    "save_NWB": "io.save_NWB",
    "delete_bin": "io.delete_bin",
    "move_bin": "io.move_bin",
    "align_by_chan": "registration.align_by_chan2",
    "nimg_init": "registration.nimg_init",
    "maxregshift": "registration.maxregshift",
    "do_bidiphase": "registration.do_bidiphase",
    "bidiphase": "registration.bidiphase",
    "bidi_corrected": None,
    "batch_size": "registration.batch_size",
    "nonrigid": "registration.nonrigid",
    "maxregshiftNR": "registration.maxregshiftNR",
    "block_size": "registration.block_size",
    "smooth_sigma_time": "registration.smooth_sigma_time",
    "smooth_sigma": "registration.smooth_sigma",
    "spatial_taper": "registration.spatial_taper",
    "th_badframes": "registration.th_badframes",
    "norm_frames": "registration.norm_frames",
    "snr_thresh": "registration.snr_thresh",
    "subpixel": "registration.subpixel",
    "two_step_registration": "registration.two_step_registration",
    "reg_tif": "registration.reg_tif",
    "reg_tif_chan2": "registration.reg_tif_chan2",
    "force_refImg": None,
    "pad_fft": None,
    "1Preg": None,
    "spatial_hp_reg": None,
    "pre_smooth": None,
    "frames_include": None,
    "sparse_mode": "detection.algorithm",
    "anatomical_only": "detection.algorithm",
    "denoise": "detection.denoise",
    "nbinned": "detection.nbins",
    "high_pass": "detection.highpass_time",
    "threshold_scaling": "detection.threshold_scaling",
    "max_overlap": "detection.max_overlap",
    "soma_crop": "detection.soma_crop",
    "chan2_thres": "detection.chan2_threshold",
    "spatial_hp_detect": "detection.sparsery_settings.highpass_neuropil",
    "spatial_scale": "detection.sparsery_settings.spatial_scale",
    "connected": "detection.sourcery_settings.connected",
    "max_iterations": "detection.sourcery_settings.max_iterations",
    "pretrained_model": "detection.cellpose_settings.cellpose_model",
    "spatial_hp_cp": "detection.cellpose_settings.highpass_spatial",
    "flow_threshold": "detection.cellpose_settings.flow_threshold",
    "cellprob_threshold": "detection.cellpose_settings.cellprob_threshold",
    "classifier_path": "classification.classifier_path",
    "use_builtin_classifier": "classification.use_builtin_classifier",
    "preclassify": "classification.preclassify",
    "neuropil_extract": "extraction.neuropil_extract",
    "neucoeff": "extraction.neuropil_coefficient",
    "inner_neuropil_radius": "extraction.inner_neuropil_radius",
    "min_neuropil_pixels": "extraction.min_neuropil_pixels",
    "lam_percentile": "extraction.lam_percentile",
    "allow_overlap": "extraction.allow_overlap",
    "baseline": "dcnv_preprocess.baseline",
    "win_baseline": "dcnv_preprocess.win_baseline",
    "sig_baseline": "dcnv_preprocess.sig_baseline",
    "prctile_baseline": "dcnv_preprocess.prctile_baseline",
}


def known_tools() -> list[tuple[str, str]]:
    """List the methods and versions whose parameters are known here."""
    return list(_TOOLS)


def defaults(method: str, version: str) -> dict[str, Any]:
    """Return the tool's own default of every parameter, nested as the tool nests them."""
    return _defaults(_table(method, version))


def validate(method: str, version: str, params: Mapping[str, Any]) -> dict[str, Any]:
    """Check a parameter set, and return what its author set in the one form in which it is stored.

    Parameters
    ----------
    method, version
        The tool and its version, `suite2p` and `1.1.0`.
    params
        Nested as the tool nests them; only what differs from the tool's defaults needs to be there.

    Returns
    -------
    dict
        The same parameters and no others: plain JSON values, whole numbers as floats where the tool takes floats, a
        single diameter as height and width.

    Raises
    ------
    InvalidParameters
        Every unknown, misspelt, misplaced or impossible parameter in one message: a line for each, with its full name
        and the nearest known one.
    """
    table = _table(method, version)
    if not isinstance(params, Mapping):
        raise InvalidParameters(f"A parameter set is a table of names and values, not {params!r}.")
    plain = _canonical(table, _plain(params))
    problems = [*_refused(plain)]
    known = _without(plain, [name for name, _ in problems])
    problems += _misfits(method, version, known, tuple(name for name in _names(table) if name not in _REFUSED))
    if problems:
        listed = "".join(f"\n  {name}: {problem}" for name, problem in problems)
        raise InvalidParameters(f"{method} {version} cannot take this parameter set:{listed}")
    return _model(method, version).model_validate(known).model_dump(exclude_unset=True)


def complete(method: str, version: str, params: Mapping[str, Any]) -> dict[str, Any]:
    """Return the full settings: the tool's defaults with what the set changes, group by group."""
    table = _table(method, version)
    return _merged(_defaults(table), _canonical(table, _plain(params)))


def param_hash(method: str, version: str, params: Mapping[str, Any]) -> str:
    """Return the same 64 hex digits for any two sets that make the tool do the same.

    A default that is spelt out changes nothing. Where the tool's version is not known here (a folder of another
    version that was found, not made), the parameters count as they are written.
    """
    content = complete(method, version, params) if (method, version) in _TOOLS else _plain(params)
    text = json.dumps([method, version, content], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _table(method: str, version: str) -> Mapping[str, Any]:
    try:
        return _TOOLS[method, version]
    except KeyError:
        known = [f"{tool} {release}" for tool, release in _TOOLS]
        hint = nearest(f"{method} {version}", known)
        raise InvalidParameters(f"No parameters are known for {method} {version}.", hint=hint) from None


def _defaults(table: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: copy.copy(entry.default) if isinstance(entry, Parameter) else _defaults(entry)
        for name, entry in table.items()
    }


def _names(table: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """List the full names of a table's parameters: `detection.sparsery_settings.max_ROIs`."""
    for name, entry in table.items():
        if isinstance(entry, Parameter):
            yield prefix + name
        else:
            yield from _names(entry, f"{prefix}{name}.")


def _merged(base: dict[str, Any], change: Mapping[str, Any]) -> dict[str, Any]:
    for name, value in change.items():
        nested = isinstance(value, Mapping) and isinstance(base.get(name), dict)
        base[name] = _merged(base[name], value) if nested else value
    return base


def _plain(value: Any) -> Any:
    """Turn tuples and NumPy's numbers and arrays into what JSON knows."""
    if isinstance(value, Mapping):
        return {str(name): _plain(item) for name, item in value.items()}
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value


def _canonical(table: Mapping[str, Any], params: Mapping[str, Any]) -> dict[str, Any]:
    """Write values that mean the same in the same way: 1 as 1.0 where the tool takes floats, one diameter as two."""
    return {name: _canonical_value(table.get(name), value) for name, value in params.items()}


def _canonical_value(entry: Any, value: Any) -> Any:
    if isinstance(entry, Mapping) and isinstance(value, Mapping):
        return _canonical(entry, value)
    if not isinstance(entry, Parameter) or not entry.kind.endswith("float"):
        return value
    if isinstance(value, list):
        return [_canonical_value(Parameter("float", None), item) for item in value]
    number = float(value) if type(value) is int else value
    return [number, number] if entry.kind == "pair of float" and isinstance(number, float) else number


def _refused(params: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Find what a set must not hold: facts of the scan, of the host that computes, and names of Suite2p 0.14."""
    for name in params:
        if name in _REFUSED:
            yield name, _REFUSED[name]
        elif name in FLAT_0_14 and FLAT_0_14[name] != name:
            place = FLAT_0_14[name]
            heir = f"in 1.x it is {place}." if place else "1.x has no such parameter."
            yield name, f"a name of Suite2p 0.14; {heir}"
    run = params.get("run")
    if isinstance(run, Mapping) and "multiplane_parallel" in run:
        yield "run.multiplane_parallel", _REFUSED["run.multiplane_parallel"]


def _without(params: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """Return the parameters without those named, so that each is complained of once."""
    left = {name: value for name, value in params.items() if name not in names}
    if "run.multiplane_parallel" in names:
        left["run"] = {name: value for name, value in left["run"].items() if name != "multiplane_parallel"}
    return left


def _misfits(method: str, version: str, params: Mapping[str, Any], names: tuple[str, ...]) -> list[tuple[str, str]]:
    """Find unknown names and impossible values, in the words of the model's own complaint."""
    from pydantic import ValidationError

    try:
        _model(method, version).model_validate(params)
    except ValidationError as error:
        return [_misfit(details, names) for details in error.errors(include_url=False, include_context=False)]
    return []


def _misfit(details: Any, names: tuple[str, ...]) -> tuple[str, str]:
    parts = [part for part in details["loc"] if isinstance(part, str)]
    name = ".".join(parts)
    if details["type"] == "model_type":
        return name, f"a group of parameters, not {details['input']!r}."
    if details["type"] != "extra_forbidden":
        return name, f"{details['msg']}, not {details['input']!r}."
    elsewhere = [known for known in names if known.rpartition(".")[2] == parts[-1]]
    if elsewhere:
        return name, f"unknown. Did you mean {' or '.join(elsewhere)}?"
    hint = nearest(name, names)
    return name, f"unknown. {hint if hint.startswith('Did you mean') else _siblings(parts[:-1], names)}"


def _siblings(group: list[str], names: tuple[str, ...]) -> str:
    """List what stands in one group; at the top, the groups themselves."""
    prefix = ".".join([*group, ""])
    found = dict.fromkeys(known[len(prefix) :].split(".")[0] for known in names if known.startswith(prefix))
    return f"Known{' in ' + prefix.rstrip('.') if group else ''}: {', '.join(found)}."


@cache
def _model(method: str, version: str) -> type[BaseModel]:
    """Build the model of a tool's parameters (it takes 30 ms and pydantic, so only where a set is checked)."""
    return _group(f"{method} {version}", _table(method, version))


def _group(name: str, table: Mapping[str, Any]) -> type[BaseModel]:
    from pydantic import ConfigDict, Field, create_model

    fields: dict[str, Any] = {}
    for key, entry in table.items():
        if isinstance(entry, Parameter):
            fields[key] = (_annotation(entry), entry.default)
        else:
            model = _group(f"{name} {key}", entry)
            fields[key] = (model, Field(default_factory=model))
    strict = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)
    return create_model(name, __config__=strict, **fields)


def _annotation(parameter: Parameter) -> Any:
    """Return the type that pydantic checks for one parameter."""
    from typing import Literal

    from pydantic import Field, JsonValue

    plain = {"bool": bool, "int": int, "float": float, "str": str, "table": dict[str, JsonValue]}
    scalar: Any = plain[parameter.kind.removeprefix("pair of ")]
    if parameter.choices:
        scalar = Literal[parameter.choices]
    elif parameter.low is not None or parameter.high is not None:
        scalar = Annotated[scalar, Field(ge=parameter.low, le=parameter.high)]
    if parameter.kind.startswith("pair of"):
        scalar = Annotated[list[scalar], Field(min_length=2, max_length=2)]
    return scalar | None if parameter.optional else scalar
