"""A lab's tables in one file, and back: the way to another PostgreSQL server, another version, another machine.

The arrays rest in the stores and are not in the file; copy those folders beside it.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from adamacs.core.errors import DatabaseUnavailable, PlanRefused, ToolMissing, UnreadableFile
from adamacs.core.settings import Settings
from adamacs.database import connect, postgres
from adamacs.database.address import Server

_HEADER_LINES = 100  # a dump begins with fewer lines than these before its first table
_NEWER_SETTING = b"SET transaction_timeout = 0;"  # written by 17 and later, refused by 15 and 16


def dump(settings: Settings, path: Path) -> Path:
    """Write every table of the lab into one file that only its owner can read, and return its path.

    The file holds the tables as they were at one instant, whoever writes meanwhile. An embedded server that is
    down is started. A crash leaves no half-written file of that name.

    Raises
    ------
    PlanRefused
        A file of that name exists, there is no such folder, or the lab has no tables.
    ToolMissing
        The lab is on the MySQL family, or the PostgreSQL programs are not installed.
    DatabaseUnavailable
        `pg_dump` failed; its words are in the message.
    """
    path = path.absolute()
    if path.exists():
        raise PlanRefused("A file of this name exists already.", path, "Choose another name.")
    if not path.parent.is_dir():
        raise PlanRefused("There is no such folder.", path.parent, "Make it first.")
    address = _postgresql(settings, "dump")
    schemas = connect.lab_schemas(connect.open_connection(settings), settings.database.prefix)
    if not schemas:
        raise PlanRefused("There are no tables to dump.", address.url, connect.INITIALISE)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)  # mkstemp makes it 0600
    os.close(handle)
    try:
        _run(address, "pg_dump", "--format=custom", f"--file={name}", *(f"--schema={schema}" for schema in schemas))
        Path(name).replace(path)
    finally:
        Path(name).unlink(missing_ok=True)
    return path


def restore(settings: Settings, path: Path) -> None:
    """Bring the tables of a dump into the lab's database, which must hold none; all of them or nothing.

    An embedded database that was never initialised is made first. Owners and privileges are those of the new
    server: accounts are granted their roles again.

    Raises
    ------
    UnreadableFile
        The file is no dump.
    PlanRefused
        The database holds tables of this lab already, or the dump is of a lab with another prefix.
    ToolMissing, DatabaseUnavailable
        As for `dump`.
    """
    schemas = read_schemas(path)
    prefix = settings.database.prefix
    if foreign := [schema for schema in schemas if not schema.startswith(f"{prefix}_")]:
        hint = "Set database.prefix to the first part of these names."
        raise PlanRefused(f"The dump holds {', '.join(foreign)}, this lab's prefix is {prefix}.", path, hint)
    if (own := connect.embedded(settings)) is not None:
        own.init()
    address = _postgresql(settings, "restore")
    if connect.lab_schemas(connect.open_connection(settings), prefix):
        hint = "Restore into a new lab home, or into another database."
        raise PlanRefused("The database holds tables of this lab already.", address.url, hint)
    _replay(address, path)


def read_schemas(path: Path) -> list[str]:
    """Return the names of the database schemas that a dump holds.

    Raises
    ------
    UnreadableFile
        The file is missing, or no dump.
    """
    if not path.is_file():
        raise UnreadableFile("There is no such file.", path)
    answer = postgres.run(postgres.programs() / "pg_restore", "--list", str(path.absolute()))
    if answer.returncode:
        raise UnreadableFile(f"This is no dump of a database: {answer.stderr.strip()}.", path)
    return re.findall(r"^\d+; \d+ \d+ SCHEMA - (\S+)", answer.stdout, flags=re.MULTILINE)


def _postgresql(settings: Settings, verb: str) -> Server:
    address = connect.running_server(settings)
    if address.backend == "postgresql":
        return address
    program = "mariadb-dump or mysqldump" if verb == "dump" else "mariadb or mysql"
    raise ToolMissing(
        f"adamacs db {verb} is for PostgreSQL; this lab is on the MySQL family, which brings its own tools.",
        address.url,
        f"Use {program}, on every database whose name begins with {settings.database.prefix}_.",
    )


def _arguments(address: Server) -> list[str]:
    port = str(address.port)
    return ["--no-password", "-h", address.host, "-p", port, "-U", address.user, "-d", address.database]


def _environment(address: Server) -> dict[str, str]:
    """The password goes through the environment, which other accounts cannot read, not the list of processes."""
    mode = "require" if address.use_tls else "prefer"
    return postgres.environment({"PGPASSWORD": address.password.reveal(), "PGSSLMODE": mode})


def _run(address: Server, program: str, *arguments: str) -> None:
    command = [str(postgres.programs() / program), *_arguments(address), *arguments]
    answer = subprocess.run(command, env=_environment(address), capture_output=True, text=True, check=False)
    if answer.returncode:
        raise DatabaseUnavailable(f"{program} failed: {answer.stderr.strip()}.", address.url)


def _replay(address: Server, path: Path) -> None:
    """Let `pg_restore` write the dump as SQL and `psql` run it in one transaction.

    By way of SQL, because a dump by a newer PostgreSQL begins with a setting that an older server does not know.
    """
    programs = postgres.programs()
    write = [str(programs / "pg_restore"), "--no-owner", "--no-privileges", "--file=-", str(path.absolute())]
    read = [str(programs / "psql"), *_arguments(address), "--no-psqlrc", "--quiet", "--single-transaction"]
    read += ["--set=ON_ERROR_STOP=1", "--output", os.devnull]
    with tempfile.TemporaryFile() as complaints:
        codes = _pipe(write, read, _environment(address), complaints)
        complaints.seek(0)
        said = complaints.read().decode(errors="replace").strip()
    if any(codes):
        raise DatabaseUnavailable(f"The dump was not restored, and nothing was changed: {said}.", address.url)


def _pipe(write: Sequence[str], read: Sequence[str], env: dict[str, str], complaints: IO[bytes]) -> tuple[int, int]:
    with (
        subprocess.Popen(write, env=env, stdout=subprocess.PIPE, stderr=complaints) as source,
        subprocess.Popen(read, env=env, stdin=subprocess.PIPE, stderr=complaints) as target,
    ):
        assert source.stdout is not None and target.stdin is not None  # for the type checker: both are pipes
        with contextlib.suppress(BrokenPipeError):  # the reader gave up: its exit code tells
            header = itertools.islice(source.stdout, _HEADER_LINES)
            target.stdin.writelines(line for line in header if line.strip() != _NEWER_SETTING)
            shutil.copyfileobj(source.stdout, target.stdin)
        source.stdout.close()
        with contextlib.suppress(BrokenPipeError):
            target.stdin.close()
        return source.wait(), target.wait()
