"""Every table that computes has exactly one role, and a host that lacks something is told everything at once."""

from __future__ import annotations

import dataclasses

import datajoint as dj
import pytest

from adamacs import pipeline
from adamacs.core import devices
from adamacs.core import settings as settings_module
from adamacs.core.errors import InvalidRequest, InvalidSetting, StoreUnavailable, ToolMissing
from adamacs.core.modality import Modality
from adamacs.core.settings import Settings, Store
from adamacs.workers import roles
from adamacs.workers.roles import Role

TRACKING = settings_module.Role(tables=("imaging.Activity", "imaging.Processing"), needs=("cuda",))


@pytest.fixture
def lab(tmp_path):
    """A lab home with its folders, and a role that takes tables away from the shipped one."""
    return with_roles(settings_module.create(tmp_path), tracking=TRACKING)


@pytest.fixture
def mouse_host(monkeypatch):
    """A host that has every device and tool, and 64 GB of memory."""
    monkeypatch.setattr(devices, "present", lambda: frozenset({"cuda", "mps"}))
    monkeypatch.setattr(devices, "installed", lambda tool: "1.0")
    monkeypatch.setattr(devices, "memory", lambda: 64_000_000_000)


def with_roles(settings: Settings, **added: settings_module.Role) -> Settings:
    return dataclasses.replace(settings, roles={**settings.roles, **added})


def tables_that_compute() -> set[str]:
    return {
        pipeline.table_name(table)
        for module in pipeline.modules()
        for table, _ in module.schema.declare_list
        if issubclass(table, dj.Computed | dj.Imported)
    }


def test_every_table_that_computes_has_exactly_one_role(lab):
    shipped, named = Settings(home=lab.home), lab
    for settings in (shipped, named):
        filled = [table for role in roles.roles_of(settings) for table in role.tables()]
        assert len(filled) == len(set(filled))
        assert {pipeline.table_name(table) for table in filled} == tables_that_compute()
        assert sorted(name for role in roles.roles_of(settings) for name in role.fills) == sorted(tables_that_compute())
    assert len(tables_that_compute()) >= 9


def test_the_roles_that_ship_are_cpu_and_gpu(tmp_path):
    cpu, gpu = roles.roles_of(Settings(home=tmp_path))
    assert (cpu.name, gpu.name) == ("cpu", "gpu")
    assert (cpu.own_needs, gpu.own_needs) == ((), ("cuda",))
    assert "imaging.Processing" in cpu.fills
    assert (cpu.memory, cpu.slots) == (0, 1)


def test_a_role_in_the_settings_takes_its_tables_away_from_the_shipped_one(lab):
    assert set(roles.named("tracking", lab).fills) == set(TRACKING.tables)
    assert not set(TRACKING.tables) & set(roles.named("cpu", lab).fills)
    moved = with_roles(lab, gpu=settings_module.Role(tables=("imaging.Segmentation",)))
    assert roles.named("gpu", moved).fills == ("imaging.Segmentation",)


def test_tables_come_parents_first_however_the_settings_list_them(lab):
    imaging = pipeline.imaging
    assert roles.named("tracking", lab).tables() == [imaging.Processing, imaging.Activity]
    order = [pipeline.table_name(table) for table in roles.named("cpu", Settings(home=lab.home)).tables()]
    parents = ["scan.ScanFileChecksum", "imaging.ScanInfo", "imaging.Processing", "imaging.Segmentation"]
    assert [name for name in order if name in parents] == parents


def test_all_tables_that_compute_are_listed_parents_first():
    names = [pipeline.table_name(table) for table in roles.computing_tables()]
    assert sorted(names) == sorted(tables_that_compute())
    assert names.index("imaging.Segmentation") < names.index("imaging.Fluorescence") < names.index("imaging.Activity")


def test_the_versions_of_installed_tools_are_told_and_missing_ones_left_out(monkeypatch):
    monkeypatch.setattr(devices, "installed", {"suite2p": "1.1.0", "tifffile": "2026.3.3"}.get)
    assert roles.tool_versions() == {"suite2p": "1.1.0", "tifffile": "2026.3.3"}


def test_limits_are_those_of_the_role_else_those_of_all_workers(lab):
    workers = dataclasses.replace(lab.workers, memory=8.0)
    sized = settings_module.Role(tables=("imaging.Processing",), memory=32.0, slots=4)
    settings = with_roles(dataclasses.replace(lab, workers=workers), tracking=sized)
    tracking, cpu = roles.named("tracking", settings), roles.named("cpu", settings)
    assert (tracking.memory, tracking.slots) == (32, 4)
    assert (cpu.memory, cpu.slots) == (8, 1)


@pytest.mark.parametrize(
    ("added", "expected"),
    [
        ({"a": ("imaging.Procesing",)}, "Did you mean imaging.Processing"),
        ({"a": ("imaging.ProcessingTask",)}, "no table that workers fill"),
        ({"a": ("imaging.Processing",), "b": ("imaging.Processing",)}, "named by roles.a.tables too"),
        ({"a": ()}, "fills no table"),
    ],
)
def test_roles_that_contradict_each_other_are_refused_with_their_setting(lab, added, expected):
    named = {name: settings_module.Role(tables=tables) for name, tables in added.items()}
    with pytest.raises(InvalidSetting, match=expected) as caught:
        roles.roles_of(with_roles(Settings(home=lab.home), **named))
    assert caught.value.where == f"roles.{list(added)[-1]}.tables"


def test_a_misspelt_role_is_refused_with_the_nearest(lab):
    with pytest.raises(InvalidSetting, match="Did you mean tracking"):
        roles.named("trackin", lab)


def test_the_role_of_a_table_is_told_by_class_instance_and_name(lab):
    table = pipeline.imaging.Processing
    assert {roles.role_of(form, lab).name for form in (table, table(), "imaging.Processing")} == {"tracking"}
    assert roles.role_of(pipeline.imaging.Segmentation, lab).name == "cpu"
    assert roles.role_of(pipeline.imaging.ProcessingTask, lab) is None
    settings_before = settings_module._active
    try:
        settings_module.use(lab)
        assert roles.role_of(table).name == roles.named("tracking").name == "tracking"
    finally:
        settings_module.use(settings_before)


# ---- what a host must have


def test_a_role_needs_what_its_tables_need(lab):
    assert roles.named("tracking", lab).needs == {
        "cuda": ("the role tracking",),
        "tool:suite2p": ("imaging.Processing",),
        "root:processed": ("imaging.Processing",),
        "store:derived": ("imaging.Activity",),
    }
    assert "tool:suite2p" not in roles.named("cpu", lab).needs


def test_a_role_cut_down_to_some_tables_needs_what_these_need(lab):
    cut = roles.named("cpu", Settings(home=lab.home)).only(["scan.ScanFileChecksum"])
    assert [pipeline.table_name(table) for table in cut.tables()] == ["scan.ScanFileChecksum"]
    assert cut.needs == {}
    with pytest.raises(InvalidRequest, match=r"does not fill imaging\.Processing"):
        cut.only(["imaging.Processing"])


def test_tables_that_write_arrays_need_their_store_and_others_do_not():
    (imaging,) = (modality for modality in pipeline.modalities() if modality.name == "imaging")
    for role_tables in imaging.fills.values():
        for name in role_tables:
            table = getattr(pipeline.imaging, name)
            parts = [part for part in vars(table).values() if isinstance(part, type) and issubclass(part, dj.Part)]
            holds = any("<array@derived>" in part.definition for part in (table, *parts))
            assert holds == ("store:derived" in imaging.needs.get(name, ())), name


def test_a_fit_host_is_not_refused_and_nothing_is_left_in_its_stores(lab, mouse_host):
    for role in roles.roles_of(lab):
        role.demand(lab)
    fit = Role("fit", own_needs=("mps", "memory:64", "memory:0.5", "tool:numpy", "root:share"))
    fit.demand(lab)
    assert [path for name in ("stores", "share", "processed") for path in (lab.home / name).rglob("*.*")] == []


@pytest.mark.parametrize(
    ("need", "error", "reason", "advice"),
    [
        ("cuda", ToolMissing, "No NVIDIA GPU", "nvidia-smi -L"),
        ("mps", ToolMissing, "no Mac with Apple silicon", "Run the role on one"),
        ("tool:suite2p", ToolMissing, "suite2p is not installed", "Run: pip install 'adamacs[imaging]'"),
        ("tool:ffmpeg-python", ToolMissing, "ffmpeg-python is not installed", "Run: pip install ffmpeg-python"),
        ("memory:16", ToolMissing, "may use 8.0 GB of memory, and 16 GB are demanded", "another host"),
        ("store:other", InvalidSetting, "no store named 'other'", "derived"),
        ("root:shared", InvalidSetting, "no root named 'shared'", "Did you mean share"),
        ("cdua", InvalidSetting, "'cdua' is no need", "Did you mean cuda"),
        ("cuda:1", InvalidSetting, "'cuda:1' is no need", "cuda"),
        ("memory:much", InvalidSetting, "'memory:much' is no need", "memory:16"),
        ("tool", InvalidSetting, "'tool' is no need", "tool:suite2p"),
        ("", InvalidSetting, "'' is no need", "Known: cuda"),
    ],
)
def test_a_host_that_lacks_something_is_refused_with_the_reason_and_the_cure(
    lab, monkeypatch, need, error, reason, advice
):
    monkeypatch.setattr(devices, "present", frozenset)
    monkeypatch.setattr(devices, "installed", lambda tool: None)
    monkeypatch.setattr(devices, "memory", lambda: 8_000_000_000)
    with pytest.raises(error) as caught:
        Role("mine", own_needs=(need,)).demand(lab)
    assert reason in str(caught.value)
    assert advice in str(caught.value)
    assert "the role mine" in caught.value.what


def test_everything_that_is_missing_is_named_at_once_with_whom_it_is_for(lab, monkeypatch):
    monkeypatch.setattr(devices, "present", frozenset)
    monkeypatch.setattr(devices, "installed", lambda tool: None)
    settings = dataclasses.replace(lab, stores={"derived": Store(location=str(lab.home / "gone"))})
    with pytest.raises(ToolMissing) as caught:
        roles.named("tracking", settings).demand(settings)
    assert caught.value.what.endswith("needs: cuda, tool:suite2p, store:derived.")
    for told in ("cuda (for the role tracking): ", "tool:suite2p (for imaging.Processing): ", str(lab.home / "gone")):
        assert told in caught.value.hint


def test_a_need_that_cannot_be_checked_is_told_before_a_tool_that_is_missing(lab, monkeypatch):
    monkeypatch.setattr(devices, "present", frozenset)
    with pytest.raises(InvalidSetting, match="cuda, cdua"):
        Role("mine", own_needs=("cuda", "cdua")).demand(lab)


def test_a_store_and_a_root_are_proved_by_writing_to_them(lab, mouse_host):
    gone = dataclasses.replace(lab, stores={"derived": Store(location=str(lab.home / "gone"))})
    with pytest.raises(StoreUnavailable, match="store:derived"):
        roles.named("tracking", gone).demand(gone)
    (lab.home / "processed").rmdir()
    with pytest.raises(StoreUnavailable, match=r"root:processed \(for imaging\.Processing\)"):
        roles.named("tracking", lab).demand(lab)


def test_a_modality_can_bring_a_role_of_its_own(lab, monkeypatch):
    mine = Modality("colony", "colony.tables", fills={"microscope": ("Plate",)}, needs={"Plate": ("tool:x",)})
    monkeypatch.setattr(pipeline, "modalities", lambda: (mine,))
    role = roles.named("microscope", Settings(home=lab.home))
    assert role == Role("microscope", ("colony.Plate",))
    assert role.needs == {"tool:x": ("colony.Plate",)}
