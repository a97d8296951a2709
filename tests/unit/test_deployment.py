"""What a lab copies to its servers: units that systemd takes without a word, and settings that adamacs takes."""

from __future__ import annotations

import configparser
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from adamacs import cli, pipeline
from adamacs.core import settings as lab_settings
from adamacs.core.errors import AdamacsError
from adamacs.core.settings import Settings
from adamacs.database import address
from adamacs.workers import roles

WORKERS = Path(__file__).parents[2] / "workers"
UNITS = WORKERS / "systemd"
HOSTS = sorted(path.name for path in (WORKERS / "hosts").iterdir())
ANALYZE = shutil.which("systemd-analyze")

# What the units name beside each other: a unit of systemd's own each, and a program.
TARGETS = ("basic", "multi-user", "network-online", "remote-fs", "shutdown", "sysinit", "timers")
PROGRAMS = ("/bin/sh", "/opt/adamacs/bin/adamacs", "/usr/bin/find", "/usr/bin/nvidia-modprobe", "/usr/bin/rsync")


def settings_of(host: str, home: Path, environ: dict[str, str] | None = None) -> Settings:
    shutil.copy(WORKERS / "hosts" / host / "adamacs.toml", home)
    return lab_settings.load(home, environ or {})


def read_unit(name: str) -> dict[str, list[tuple[str, str]]]:
    """Read a unit file: per section its keys and values; a key may come again."""
    sections: dict[str, list[tuple[str, str]]] = {}
    for line in (UNITS / name).read_text(encoding="utf-8").splitlines():
        if line.startswith("["):
            own = sections.setdefault(line.strip("[]"), [])
        elif line and not line.startswith("#"):
            key, _, value = line.partition("=")
            own.append((key, value))
    return sections


def values(unit: str, key: str) -> list[str]:
    return [value for section in read_unit(unit).values() for name, value in section if name == key]


# ---- hosts


def test_there_is_a_host_file_for_each_of_the_three_servers() -> None:
    assert HOSTS == ["backup", "gpu", "main"]


@pytest.mark.parametrize("host", HOSTS)
def test_the_settings_of_a_host_are_taken_and_hold_no_secret(host: str, tmp_path: Path) -> None:
    settings = settings_of(host, tmp_path)
    assert not settings.database.password
    assert all(settings.root(name).is_absolute() for name in ("share", "processed"))
    assert Path(settings.store("derived").location).is_absolute()


def test_main_and_gpu_name_one_database_and_agree_about_the_roles(tmp_path: Path) -> None:
    main, gpu = (settings_of(host, tmp_path) for host in ("main", "gpu"))
    servers = [address.parse_url(s.database.url, s.database.password) for s in (main, gpu)]
    assert servers[0].database == servers[1].database and servers[0].port == servers[1].port
    assert servers[0].user != servers[1].user, "an account per host, so that one can be taken away"
    assert main.database.prefix == gpu.database.prefix
    assert main.roles == gpu.roles, "the roles are the lab's"
    assert main.workers.only_workers_write and gpu.workers.only_workers_write
    assert gpu.database.use_tls or servers[1].host == "localhost"
    filled = [name for role in roles.roles_of(main) for name in role.fills]
    assert sorted(filled) == sorted(pipeline.table_name(table) for table in roles.computing_tables())


def test_the_gpu_host_demands_its_device(tmp_path: Path) -> None:
    settings = settings_of("gpu", tmp_path)
    assert "cuda" in roles.named("gpu", settings).needs
    assert settings.workers.device == "cuda"


def test_the_backup_host_names_no_server_so_that_no_worker_finds_the_lab(tmp_path: Path) -> None:
    settings = settings_of("backup", tmp_path)
    assert settings.database.url == ""
    with pytest.raises(AdamacsError):
        pipeline.connect(settings)
    assert not any("adamacs" in command for command in values("adamacs-pull.service", "ExecStart"))


def test_what_the_backup_host_pulls_is_what_its_settings_read(tmp_path: Path) -> None:
    settings = settings_of("backup", tmp_path)
    commands = values("adamacs-pull.service", "ExecStart")
    folders = [Path(word) for command in commands for word in command.split() if word.startswith("/srv/backup")]
    assert [folder.name for folder in folders] == ["dumps", "stores", "processed", "share"], "rows before arrays"
    assert settings.root("share") in folders and settings.root("processed") in folders
    assert any(Path(settings.store("derived").location).is_relative_to(folder) for folder in folders)


# ---- units


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A file system that holds the units, and the programs and targets that they name."""
    place = tmp_path / "etc/systemd/system"
    shutil.copytree(UNITS, place)
    for name in TARGETS:
        (place / f"{name}.target").write_text(f"[Unit]\nDescription={name}\n")
    for program in PROGRAMS:
        path = tmp_path / program.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("#!/bin/sh\n")
        path.chmod(0o755)
    return tmp_path


def unit_names() -> Iterator[str]:
    for path in sorted(UNITS.iterdir()):
        if path.suffix in {".service", ".target", ".timer"}:
            yield from (path.name.replace("@", f"@{role}") for role in (("cpu", "gpu") if "@" in path.name else ("",)))


def verify(root: Path, *names: str) -> str:
    """Return what systemd has to say about units; it ends with success after most of its complaints."""
    if ANALYZE is None:
        if "systemd" in os.environ.get("ADAMACS_TEST_REQUIRE", ""):
            pytest.fail("ADAMACS_TEST_REQUIRE asks for systemd, and there is no systemd-analyze.")
        pytest.skip("NO SYSTEMD: systemd-analyze is not installed (Debian: systemd); no unit file was checked.")
    command = [ANALYZE, "verify", "--man=no", f"--root={root}", *names]
    answer = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    return answer.stdout + answer.stderr + ("" if answer.returncode == 0 else f"status {answer.returncode}")


def test_systemd_takes_every_unit_without_a_word(root: Path) -> None:
    names = list(unit_names())
    assert {"adamacs-worker@cpu.service", "adamacs-worker@gpu.service", "adamacs-workers.target"} <= set(names)
    assert verify(root, *names) == ""


def test_systemd_is_heard_where_a_unit_is_wrong(root: Path) -> None:
    unit = root / "etc/systemd/system/adamacs-worker@.service"
    unit.write_text(unit.read_text().replace("KillMode=mixed", "KillMode=mixd").replace("CPUWeight", "CPUWieght"))
    said = verify(root, "adamacs-worker@cpu.service")
    assert "mixd" in said and "CPUWieght" in said


def test_systemd_is_heard_where_the_program_is_missing(root: Path) -> None:
    (root / "opt/adamacs/bin/adamacs").unlink()
    assert "not executable" in verify(root, "adamacs-worker@cpu.service")


def test_stopping_signals_the_supervisor_alone_and_waits_for_keys_in_work() -> None:
    unit = "adamacs-worker@.service"
    assert values(unit, "KillMode") == ["mixed"]
    assert values(unit, "KillSignal") == [], "SIGTERM is what `adamacs work` understands"
    assert [re.fullmatch(r"[1-9]h", wait) is not None for wait in values(unit, "TimeoutStopSec")] == [True]


def test_a_worker_is_started_again_for_ever_and_survives_the_death_of_a_slot() -> None:
    unit = "adamacs-worker@.service"
    assert values(unit, "Restart") == ["always"]
    assert values(unit, "StartLimitIntervalSec") == ["0"]
    assert values(unit, "OOMPolicy") == ["continue"]


@pytest.mark.parametrize(
    ("option", "why"),
    [
        ("PrivateDevices", "hides the GPU"),
        ("DevicePolicy", "hides the GPU"),
        ("DeviceAllow", "hides the GPU"),
        ("ProtectClock", "closes every device but the clock"),
        ("MemoryDenyWriteExecute", "Numba and torch compile while they run"),
        ("ProtectProc", "the living on this host would look dead"),
        ("RestrictSUIDSGID", "folders with a group's setgid bit could not be copied"),
    ],
)
def test_the_worker_is_not_hardened_by_what_breaks_it(option: str, why: str) -> None:
    assert values("adamacs-worker@.service", option) == [], why


def test_services_run_as_an_ordinary_account_that_can_gain_no_rights() -> None:
    for path in UNITS.glob("*.service"):
        assert values(path.name, "User") in (["adamacs"], ["adamacs-backup"]), path.name
        assert values(path.name, "NoNewPrivileges") == ["yes"], path.name
        assert values(path.name, "ProtectSystem") == ["strict"], path.name


@pytest.mark.parametrize("unit", sorted(path.name for path in UNITS.glob("*.service")))
def test_what_a_unit_writes_for_itself_lies_in_its_own_folders(unit: str) -> None:
    """The rest of the disk is read-only, and folders of another unit are there only where that one runs."""
    homes = {"StateDirectory": "/var/lib", "CacheDirectory": "/var/cache"}
    own = [Path(home, name) for option, home in homes.items() for name in values(unit, option)]
    given = [variable.partition("=") for line in values(unit, "Environment") for variable in line.split()]
    for name, _, value in given:
        if value.startswith("/"):
            assert any(Path(value).is_relative_to(folder) for folder in own), f"{name}={value}"


def test_what_the_units_start_are_commands_that_there_are() -> None:
    lines = [line for path in UNITS.glob("*.service") for line in values(path.name, "ExecStart")]
    started = [match[1].split() for line in lines if (match := re.search(r"bin/adamacs ([^'\"]*)", line))]
    assert sorted(words[0] for words in started) == ["db", "watch", "work"]
    assert all(words[0] in cli.VERBS for words in started)


def test_the_variables_of_the_units_are_settings_and_name_the_lab_home(tmp_path: Path) -> None:
    content = "[env]\n" + (UNITS / "worker.env").read_text(encoding="utf-8")
    parser = configparser.ConfigParser(interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]  # names of variables keep their case
    parser.read_string(content)
    variables = dict(parser["env"])
    settings_of("main", tmp_path, variables)
    assert lab_settings.find_home(variables) == Path("/srv/adamacs")
    assert not any("PASSWORD" in name or "SECRET" in name for name in variables)


def test_the_role_of_a_unit_can_be_set_by_its_own_variables(tmp_path: Path) -> None:
    (example,) = re.findall(
        r"^# Of this role alone.*?(ADAMACS_\w+=\w+)", (UNITS / "adamacs-worker@.service").read_text(), re.M
    )
    name, _, value = example.partition("=")
    assert settings_of("main", tmp_path, {name: value}).roles["cpu"].slots == int(value)
