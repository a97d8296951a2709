"""`tests/run` runs everything, fails where something fails, and leaves the machine as it was.

The programs that it calls are stand-ins.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

RUN = Path(__file__).parents[1] / "run"

# Each notes its words and its HOME, does as it is told, and leaves in HOME what Suite2p and matplotlib leave there.
PYTEST = """#!/bin/bash
echo "$HOME $*" >> "$NOTES"
mkdir -p "$HOME/.suite2p" "$HOME/.cache/matplotlib" "$HYPOTHESIS_STORAGE_DIRECTORY"
eval "${DEED:-:}"
"""
ROOT = '#!/bin/bash\n[ "$1" = -u ] && echo "$WHO" || exec /usr/bin/id -gn\n'
AS_ANOTHER = '#!/bin/bash\necho "setpriv $*" >> "$NOTES"\n[[ "$*" != *" -c "* ]] || eval "${CAN_READ:-true}"\n'
INSTALL = '#!/bin/bash\nmkdir -p "${@: -1}"\n'  # as root it would give the folder away


class Checkout:
    """A folder with `tests/run` in it, a person's home, and stand-ins for the programs that it calls."""

    def __init__(self, folder: Path) -> None:
        self.home, self.folder, self.temporary = folder / "home", folder / "checkout", folder / "tmp"
        self.notes = folder / "notes"
        for made in (self.home / ".cache", self.folder / "tests", self.temporary, folder / "bin"):
            made.mkdir(parents=True)
        shutil.copy(RUN, self.folder / "tests" / "run")
        stubs = {"pytest": PYTEST, "coverage": "#!/bin/bash\n", "id": ROOT, "setpriv": AS_ANOTHER, "install": INSTALL}
        for name, text in stubs.items():
            (folder / "bin" / name).write_text(text)
            (folder / "bin" / name).chmod(0o755)
        self.bin = folder / "bin"

    def run(self, **variables: str) -> subprocess.CompletedProcess[str]:
        told = {"HOME": str(self.home), "TMPDIR": str(self.temporary), "NOTES": str(self.notes), "WHO": "1000"}
        environment = {**told, "PATH": f"{self.bin}:{os.environ['PATH']}", **variables}
        command = ["bash", str(self.folder / "tests" / "run")]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    def calls(self) -> list[str]:
        return self.notes.read_text().splitlines()


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path)


def test_no_test_is_left_out_on_either_kind_of_server(checkout):
    answer = checkout.run()
    assert (answer.returncode, answer.stderr) == (0, "")
    calls = [set(call.split()[1:]) for call in checkout.calls()]
    expected = [
        {"tests/unit"},
        {"tests/integration", "--backend=postgresql"},
        {"tests/integration", "--backend=mysql"},
        {"tests/acceptance", "--backend=postgresql"},
        {"tests/acceptance/test_chaos.py", "--backend=mysql"},
    ]
    assert sorted(sorted(call - {"-q", "-p", "no:cacheprovider"}) for call in calls) == sorted(map(sorted, expected))


def test_coverage_is_measured_where_asked_for(checkout):
    checkout.run(COVER="1")
    assert ["--cov" in call for call in checkout.calls() if "--backend=mysql" not in call] == [True] * 3


def test_programs_have_a_home_of_their_own_and_nothing_stays(checkout):
    checkout.run()
    homes = {Path(call.split()[0]) for call in checkout.calls()}
    assert len(homes) == 1
    assert all(home.is_relative_to(checkout.temporary) for home in homes)
    assert list(checkout.temporary.iterdir()) == []
    assert [path.name for path in checkout.home.rglob("*")] == [".cache"]
    assert [path.name for path in checkout.folder.iterdir()] == ["tests"]


@pytest.mark.parametrize("place", ["home/.ipython", "home/.cache/matplotlib", "checkout/.hypothesis"])
def test_what_is_left_in_a_home_or_in_the_clone_fails_the_run_loudly(checkout, tmp_path, place):
    answer = checkout.run(DEED=f"mkdir -p {tmp_path / place}")
    assert answer.returncode == 1
    assert "THE TESTS CHANGED WHAT LIES AROUND THEM" in answer.stderr
    assert f"> {tmp_path / place}" in answer.stderr


def test_one_failure_fails_the_run_and_the_others_still_run(checkout):
    for part in ("tests/unit", "--backend=postgresql", "--backend=mysql"):
        checkout.notes.unlink(missing_ok=True)
        assert checkout.run(DEED=f'[[ "$*" != *{part}* ]]').returncode == 1
        assert len(checkout.calls()) == 5


def test_the_home_of_the_tests_is_for_its_owner_alone(checkout):
    (checkout.bin / "install").unlink()
    checkout.run(DEED='stat -c %a "$HOME" >> "$NOTES.modes"')
    assert set(Path(f"{checkout.notes}.modes").read_text().split()) == {"700"}


def test_root_tries_the_embedded_server_as_an_ordinary_account_too(checkout):
    assert checkout.run(WHO="0").returncode == 0
    *_, asked, ran = checkout.calls()
    assert "--reuid=nobody" in asked
    assert "dac_read_search" not in ran
    assert "tests/integration/test_embedded.py" in ran


def test_a_clone_that_is_hidden_from_others_may_be_read_and_no_more(checkout):
    assert checkout.run(WHO="0", CAN_READ='[[ "$*" = *dac_read_search* ]]').returncode == 0
    ran = checkout.calls()[-1]
    assert "--ambient-caps=+dac_read_search" in ran
    assert "test_embedded.py" in ran


@pytest.mark.parametrize(("required", "status"), [("", 0), ("mysql account", 1)])
def test_where_no_other_account_can_run_them_it_is_said(checkout, required, status):
    answer = checkout.run(WHO="0", CAN_READ="false", ADAMACS_TEST_REQUIRE=required)
    assert answer.returncode == status
    assert "NOT RUN AS AN ORDINARY ACCOUNT" in answer.stderr
