"""The scripts behind `make`: what a machine lacks is named with the line that brings it. Nothing is installed here."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BASH = shutil.which("bash")
GREEN = "nvidia-cudnn"

pytestmark = pytest.mark.skipif(BASH is None, reason="NO BASH: make needs it, and so do these tests")


@pytest.fixture
def programs(tmp_path):
    """Return a function that writes a program, and the folder in which it lies."""
    folder = tmp_path / "bin"
    folder.mkdir()

    def write(name, body="exit 0"):
        (folder / name).write_text(f"#!{BASH}\n{body}\n")
        (folder / name).chmod(0o755)

    write.folder = folder
    return write


# ---- tools/prepare

PYTHON = """
echo "$*" >>"{log}"
case "$*" in
  *version_info*) echo "{version}" ;;
  *ensurepip*) exit {venv} ;;
esac
"""


@pytest.fixture
def prepare(tmp_path, programs):
    """Run tools/prepare on a machine that has nothing but these programs; return its status, its words, its calls."""
    log = tmp_path / "calls"

    def run(*others, python="python3", version="3 12", has_venv=True, wanted=None):
        if python:
            programs(python, PYTHON.format(log=log, version=version, venv=0 if has_venv else 1))
        for name in others:
            programs(name)
        environment = {"PATH": str(programs.folder), "PYTHON": wanted or python or "python3"}
        answer = subprocess.run(
            [BASH, ROOT / "tools" / "prepare", "new/.venv"],
            env=environment,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        calls = log.read_text().splitlines() if log.exists() else []
        return answer.returncode, answer.stderr, calls

    return run


def apt_line(said):
    (line,) = re.findall(r"^  apt-get install -y (.*)$", said, re.MULTILINE)
    return line.split()


@pytest.mark.parametrize("version", ["3 11", "3 12", "3 13"])
def test_a_machine_that_has_everything_gets_its_environment_and_hears_nothing(prepare, version):
    status, said, calls = prepare("git", version=version)
    assert (status, said, calls[-1]) == (0, "", "-m venv new/.venv")


@pytest.mark.parametrize("lacking", [{"python": None}, {"has_venv": False}])
def test_what_a_debian_lacks_is_named_with_the_apt_line(prepare, lacking):
    status, said, calls = prepare("git", **lacking)
    assert status == 1
    assert said.startswith(("There is no python3.", "python3 has no venv."))
    assert apt_line(said) == ["python3", "python3-venv", "git", "make"]
    assert "-m venv new/.venv" not in calls


def test_a_missing_git_is_named_with_the_apt_line(prepare):
    status, said, calls = prepare()
    assert status == 1
    assert said.startswith("There is no git.")
    assert "git" in apt_line(said)
    assert "-m venv new/.venv" not in calls


@pytest.mark.parametrize(("version", "package"), [("2 7", "3.11"), ("3 10", "3.11"), ("3 14", "3.13"), ("4 0", "3.13")])
def test_another_python_is_refused_with_the_apt_line_of_one_that_will_do(prepare, version, package):
    status, said, calls = prepare("git", version=version)
    assert status == 1
    assert f"python3 is {version.replace(' ', '.')}." in said
    assert apt_line(said) == [f"python{package}", f"python{package}-venv", "git", "make"]
    assert f"make PYTHON=python{package}" in said
    assert "-m venv new/.venv" not in calls


def test_a_python_that_will_do_and_is_there_is_named(prepare):
    _, said, _ = prepare("git", "python3.12", version="3 14")
    assert "python3.12 is here: make PYTHON=python3.12" in said


@pytest.mark.parametrize("there", [True, False])
def test_a_python_that_was_chosen_is_the_one_whose_packages_are_named(prepare, there):
    _, said, _ = prepare("git", python="python3.12" if there else None, has_venv=False, wanted="python3.12")
    assert apt_line(said) == ["python3.12", "python3.12-venv", "git", "make"]


# ---- tools/torch

PIP = """
echo "$*" >>"{log}"
case "$*" in
  *--index-url*) exit {index} ;;
  *--dry-run*) while [ "$1" != --report ]; do shift; done; echo '{report}' >"$2" ;;
esac
"""


@pytest.fixture
def torch(tmp_path, programs):
    """Run tools/torch with a pip that only notes what it is asked for."""
    (tmp_path / "constraints.txt").write_text("numpy==2.0.0\ntorch==2.9.0\ntorchvision==0.24.0\n")
    log = tmp_path / "calls"

    def run(*, finds="torch", has_index=True, system="Linux", **variables):
        report = f'{{"install": [{{"metadata": {{"name": "{finds}"}}}}]}}'
        programs("python", PIP.format(log=log, index=0 if has_index else 1, report=report))
        programs("uname", f"echo {system}")
        environment = {"PATH": f"{programs.folder}{os.pathsep}{os.environ['PATH']}", "TORCH": "cpu", "TORCH_INDEX": ""}
        answer = subprocess.run(
            [BASH, ROOT / "tools" / "torch", "python"],
            env={**environment, "TMPDIR": str(tmp_path), **variables},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        calls = log.read_text().splitlines() if log.exists() else []
        return answer.returncode, answer.stderr, [call.partition("--disable-pip-version-check ")[2] for call in calls]

    return run


def really_installed(calls):
    return [call for call in calls if "--dry-run" not in call]


def test_a_cpu_build_that_pip_finds_is_installed_and_torchvision_brings_nothing_along(torch, tmp_path):
    status, said, calls = torch()
    assert (status, said) == (0, "")
    assert really_installed(calls) == [
        "install -c constraints.txt torch==2.9.0",
        "install --no-deps -c constraints.txt torchvision==0.24.0",
    ]
    assert {path.name for path in tmp_path.iterdir()} == {"bin", "calls", "constraints.txt"}


def test_a_cuda_build_is_never_downloaded_unasked(torch):
    status, said, calls = torch(finds=GREEN)
    assert status == 1
    assert "TORCH_INDEX" in said
    assert "TORCH=cuda" in said
    assert really_installed(calls) == []


def test_a_cuda_build_is_installed_where_it_is_asked_for(torch):
    status, _, calls = torch(finds=GREEN, TORCH="cuda")
    assert status == 0
    assert len(calls) == len(really_installed(calls)) == 2


def test_systems_whose_builds_hold_no_cuda_need_no_trial(torch):
    status, _, calls = torch(finds=GREEN, system="Darwin")
    assert status == 0
    assert len(calls) == 2


def test_an_index_that_is_named_is_the_only_one_asked(torch):
    status, _, calls = torch(TORCH_INDEX="https://index.invalid/cpu")
    assert status == 0
    assert calls == ["install --index-url https://index.invalid/cpu torch==2.9.0 torchvision==0.24.0"]


def test_an_index_without_this_torch_is_told(torch):
    status, said, calls = torch(TORCH_INDEX="https://index.invalid/cpu", has_index=False)
    assert status == 1
    assert "https://index.invalid/cpu does not hold torch==2.9.0 torchvision==0.24.0." in said
    assert len(calls) == 1
