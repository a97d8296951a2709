"""`adamacs check`: what is fit says so, what is not says what to do, and the exit status tells the two apart."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from adamacs import pipeline
from adamacs.cli import check as module
from adamacs.core import devices
from adamacs.core import settings as settings_module
from adamacs.core.modality import Modality

FIT = module.Line("database", True, "as if it answered")
SUBJECTS = [
    "lab home",
    "database",
    "root share",
    "root processed",
    "store derived",
    "disk space",
    "tool click",
    "device",
]


@pytest.fixture
def lab(tmp_path, monkeypatch):
    """A lab home on a machine with one tool, without a GPU, and with a database as long as nobody asks for another."""
    monkeypatch.setenv("ADAMACS_HOME", str(tmp_path / "lab"))
    monkeypatch.setattr(settings_module, "_active", None)
    monkeypatch.setattr(module, "probe_database", lambda settings, start=False: FIT)
    monkeypatch.setattr(module, "_LITTLE_SPACE", 1)
    monkeypatch.setattr(devices, "cuda", list)
    monkeypatch.setattr(devices, "present", frozenset)
    monkeypatch.setattr(pipeline, "modalities", lambda: (Modality("x", "x", tools={"click": ""}),))
    return settings_module.create(tmp_path / "lab")


def checked(*arguments):
    """Run the verb; return its exit status and its lines by subject."""
    answer = CliRunner().invoke(module.check, [*arguments, "--json"])
    return answer.exit_code, {line["subject"]: line for line in map(json.loads, answer.output.splitlines())}


def test_a_machine_that_is_fit_says_so_in_every_line_and_exits_with_0(lab):
    status, lines = checked()
    assert (status, list(lines)) == (0, SUBJECTS)
    assert not any(line["ok"] is False or (line["ok"] and line["remedy"]) for line in lines.values())
    assert "ok    root share" in CliRunner().invoke(module.check).output


def no_share(lab, monkeypatch):
    lab.root("share").rmdir()


def a_share_of_somebody_else(lab, monkeypatch):
    def refuse(path, content):
        if path.parent == lab.root("share"):
            raise PermissionError(13, "Permission denied", str(path))
        return original(path, content)

    original = Path.write_bytes
    monkeypatch.setattr(Path, "write_bytes", refuse)


def a_store_that_is_a_file(lab, monkeypatch):
    (lab.home / "stores/derived").rmdir()
    (lab.home / "stores/derived").write_text("no folder")


def a_full_disk(lab, monkeypatch):
    monkeypatch.setattr(module, "_LITTLE_SPACE", float("inf"))


def no_such_gpu(lab, monkeypatch):
    monkeypatch.setenv("ADAMACS_WORKERS_DEVICE", "cuda:1")


def a_database_that_does_not_answer(lab, monkeypatch):
    monkeypatch.undo()
    monkeypatch.setenv("ADAMACS_HOME", str(lab.home))
    monkeypatch.setenv("ADAMACS_DATABASE_URL", "postgresql://somebody@127.0.0.1:1")


def a_database_that_was_never_made(lab, monkeypatch):
    monkeypatch.undo()
    monkeypatch.setenv("ADAMACS_HOME", str(lab.home))


@pytest.mark.parametrize(
    ("spoil", "subject", "finding", "remedy"),
    [
        (no_share, "root share", "does not exist", "mkdir -p"),
        (a_share_of_somebody_else, "root share", "Permission denied", "ask who owns it"),
        (a_store_that_is_a_file, "store derived", "stores/derived", ""),
        (a_full_disk, "disk space", "GB free at", "make room"),
        (no_such_gpu, "workers.device", "cuda:1 is demanded and absent; here: cpu", '"cpu"'),
        (a_database_that_does_not_answer, "database", "does not answer", ""),
        (a_database_that_was_never_made, "database", "no database", "adamacs db init"),
    ],
)
def test_what_is_not_fit_is_named_with_its_cure_and_the_exit_status_is_1(
    lab, monkeypatch, spoil, subject, finding, remedy
):
    spoil(lab, monkeypatch)
    status, lines = checked()
    assert status == 1
    assert {name for name, line in lines.items() if line["ok"] is False} == {subject}
    assert finding in lines[subject]["finding"]
    assert remedy in lines[subject]["remedy"]


def test_the_cure_of_a_missing_root_can_be_typed_as_it_stands(lab):
    (line,) = [line for line in module.findings(_with_share(lab, "my share; rm -rf x")) if line.subject == "root share"]
    assert line.remedy == f"mkdir -p '{lab.home}/my share; rm -rf x'"


def _with_share(lab, share):
    return replace(lab, roots=replace(lab.roots, share=share))


# ---- devices


@pytest.mark.parametrize(
    ("wanted", "gpus", "is_here"),
    [
        ("cpu", 0, True),
        ("cuda", 1, True),
        ("cuda:0", 1, True),
        ("cuda:1", 2, True),
        ("cuda", 0, False),
        ("cuda:0", 0, False),
        ("cuda:1", 1, False),
        ("cuda:2", 2, False),
        ("mps", 2, False),
    ],
)
def test_a_demanded_device_is_looked_for_by_its_number(lab, monkeypatch, wanted, gpus, is_here):
    monkeypatch.setattr(devices, "cuda", lambda: [f"GPU {number}: A" for number in range(gpus)])
    monkeypatch.setattr(devices, "present", lambda: frozenset({"cuda"} if gpus else ()))
    monkeypatch.setenv("ADAMACS_WORKERS_DEVICE", wanted)
    status, lines = checked()
    assert status == (0 if is_here else 1)
    assert ("workers.device" in lines) is not is_here


@pytest.fixture
def torch(lab, monkeypatch, tmp_path):
    """Two GPUs, and a torch that computes on the first one alone."""
    (tmp_path / "python").mkdir()
    (tmp_path / "python" / "torch.py").write_text(
        "class Ones:\n"
        "    sum = lambda self: self\n"
        "    item = lambda self: 8.0\n"
        "def ones(count, device):\n"
        "    if device == 'cuda:1':\n"
        "        raise RuntimeError('no kernel image')\n"
        "    return Ones()\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "python"))
    monkeypatch.setattr(devices, "cuda", lambda: ["GPU 0: A", "GPU 1: B"])
    monkeypatch.setattr(devices, "present", lambda: frozenset({"cuda"}))
    monkeypatch.setattr(devices, "installed", lambda tool: "2.9.0")


@pytest.mark.parametrize(("wanted", "status"), [("cpu", 0), ("cuda", 0), ("cuda:0", 0), ("cuda:1", 1)])
def test_deep_computes_on_every_device_whichever_is_demanded(torch, monkeypatch, wanted, status):
    monkeypatch.setenv("ADAMACS_WORKERS_DEVICE", wanted)
    assert not any(subject.startswith("device ") for subject in checked()[1])
    found, lines = checked("--deep")
    states = {subject: line["ok"] for subject, line in lines.items() if subject.startswith("device ")}
    assert states == {"device cpu": True, "device cuda:0": True, "device cuda:1": False if status else None}
    assert "no kernel image" in lines["device cuda:1"]["finding"]
    assert found == status


def test_deep_tries_no_device_where_torch_is_not_installed(torch, monkeypatch):
    monkeypatch.setattr(devices, "installed", lambda tool: None)
    status, lines = checked("--deep")
    assert (status, lines["device"]["ok"]) == (0, True)
    assert not any(subject.startswith("device ") for subject in lines)


# ---- tools


def test_deep_imports_each_tool_as_its_modality_says(lab, monkeypatch):
    tools = {"click": "", "numpy": "", "packaging": "", "no-such-tool": "imaging"}
    imports = {"numpy": "adamacs.core.devices:cores", "packaging": "adamacs.core.devices:broken"}
    monkeypatch.setattr(pipeline, "modalities", lambda: (Modality("x", "x", tools=tools, imports=imports),))
    assert checked()[0] == 0
    status, lines = checked("--deep")
    states = {subject: line["ok"] for subject, line in lines.items() if subject.startswith("tool ")}
    assert states == {"tool click": True, "tool numpy": True, "tool packaging": False, "tool no-such-tool": None}
    assert lines["tool click"]["finding"].endswith(", imported")
    assert "broken" in lines["tool packaging"]["finding"]
    assert "adamacs[imaging]" in lines["tool no-such-tool"]["remedy"]
    assert status == 1


def test_a_child_that_hangs_or_dies_in_silence_is_told(monkeypatch):
    monkeypatch.setattr(module, "_PATIENCE", 0.2)
    assert module._child("import time; time.sleep(60)") == "no answer within 0.2 s"
    monkeypatch.setattr(module, "_PATIENCE", 60)
    assert module._child("import os; os._exit(3)") == "exit status 3"
    assert module._child("pass") is None
