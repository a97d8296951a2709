"""`adamacs db init|start|stop|status|shell|url|grant|dump|restore`."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from adamacs.cli.prompt import confirm, json_option, print_json, yes_option
from adamacs.core import settings as settings_module

if TYPE_CHECKING:
    from adamacs.core.settings import Settings
    from adamacs.database.embedded import EmbeddedServer


@click.group()
def db() -> None:
    """Start, stop, make, share, dump and restore the database."""


@db.command()
@click.option("--time-zone", help="Of a new lab, as an IANA name: Europe/Berlin. By default UTC.")
@yes_option
def init(time_zone: str | None, yes: bool) -> None:
    """Make the lab home, its database and every table. What is there already is kept."""
    from adamacs import pipeline

    home = settings_module.find_home()
    known = settings_module.load(home) if (home / settings_module.FILE).exists() else None
    if known:
        _require_zone(time_zone, known)
    verb, zone = ("keep", known.time_zone) if known else ("make", time_zone or "UTC")
    confirm(f"{verb} the lab home {home} in time zone {zone}; make its database and every table that is missing", yes)
    settings = settings_module.create(home, zone)
    pipeline.initialise(settings)
    click.echo(f"ready: {home}")


def _require_zone(wanted: str | None, known: Settings) -> None:
    """Refuse another time zone than the lab has: it would be kept silently, and folder dates read in the wrong one."""
    from adamacs.core.errors import InvalidSetting

    if wanted is not None and wanted != known.time_zone:
        what = f"The time zone of this lab is {known.time_zone}, not {wanted}."
        hint = "Leave out --time-zone. If the lab's is wrong, edit time_zone there before recordings are ingested."
        raise InvalidSetting(what, known.home / settings_module.FILE, hint)


@db.command()
def start() -> None:
    """Start the embedded server of the lab home."""
    server = _embedded()
    server.start()
    click.echo(f"running: {server.address().url}")


@db.command()
def stop() -> None:
    """Stop the embedded server of the lab home."""
    _embedded().stop()
    click.echo("stopped")


@db.command()
@json_option
def status(as_json: bool) -> None:
    """Tell whether the database answers, and where it is."""
    from adamacs.cli.check import probe_database

    line = probe_database(settings_module.load())
    if as_json:
        print_json(line.content())
    else:
        click.echo(line.describe())
    sys.exit(0 if line.ok else 1)


@db.command()
def url() -> None:
    """Print the address of the database, without its password."""
    from adamacs.database import connect

    click.echo(connect.server(settings_module.load()).url)


@db.command()
def shell() -> None:
    """Open the server's own SQL shell (psql or mysql)."""
    from adamacs.database import connect

    server = connect.server(settings_module.load())
    environment = {**os.environ, "PGPASSWORD": server.password.reveal(), "MYSQL_PWD": server.password.reveal()}
    host, port = server.host, str(server.port)
    if server.backend == "postgresql":
        command = [_psql(), "-h", host, "-p", port, "-U", server.user, server.database]
    else:
        command = ["mysql", "--protocol=tcp", "-h", host, "-P", port, "-u", server.user]
    try:
        os.execvpe(command[0], command, environment)
    except FileNotFoundError:
        from adamacs.core.errors import ToolMissing

        hint = "Install postgresql-client or mysql-client."
        raise ToolMissing(f"{command[0]} is not on the PATH.", hint=hint) from None


def _psql() -> str:
    """Return the shell on the PATH, else the one that comes with the embedded server."""
    from adamacs.core.errors import ToolMissing
    from adamacs.database import postgres

    try:
        return shutil.which("psql") or str(postgres.programs() / "psql")
    except ToolMissing:
        return "psql"  # which is then not found, and said so


@db.command()
@click.argument("role", type=click.Choice(["analyst", "student", "worker"]))
@click.argument("account")
@yes_option
def grant(role: str, account: str, yes: bool) -> None:
    """Create ACCOUNT where it is missing, and give it the rights of ROLE."""
    from adamacs import pipeline
    from adamacs.database import connect, grants

    settings = settings_module.load()
    connection = pipeline.connect(settings)
    tables = grants.stored_tables(connection, settings.database.prefix)
    plan = grants.plan_grants(role, account, tables, connect.server(settings).backend)
    confirm("\n".join(plan), yes)
    password = grants.create_account(connection, account)
    grants.apply_grants(connection, plan)
    if password:
        click.echo(f"password of {account}, shown this once: {password.reveal()}")
    click.echo(f"{account} is now {role}")


@db.command()
@click.argument("path", type=click.Path(path_type=Path))
def dump(path: Path) -> None:
    """Write the whole database to PATH (PostgreSQL; arrays rest in the stores and are not part of it)."""
    from adamacs.database import dump as module

    module.dump(settings_module.load(), path)
    click.echo(f"{path}: {path.stat().st_size:,} bytes")


@db.command()
@click.argument("path", type=click.Path(path_type=Path, exists=True))
@yes_option
def restore(path: Path, yes: bool) -> None:
    """Fill an empty database from a dump at PATH."""
    from adamacs.database import dump as module

    home = settings_module.find_home()
    confirm(f"restore {path} into the database of {home}", yes)
    module.restore(settings_module.create(home), path)
    click.echo("restored")


@db.command()
@yes_option
def remove(yes: bool) -> None:
    """Stop the embedded server and delete its data for good. Recordings, results and arrays stay."""
    server = _embedded()
    confirm(f"delete the database in {server.data}", yes)
    server.remove()
    click.echo("deleted")


@contextmanager
def keep_server_as_it_was(settings: Settings) -> Iterator[None]:
    """Stop the embedded server after a block, unless it was running before."""
    from adamacs.database import connect

    server = None if settings.database.url else connect.embedded(settings)
    running = server is not None and server.is_running()
    try:
        yield
    finally:
        if server is not None and not running:
            server.stop()


def _embedded() -> EmbeddedServer:
    from adamacs.core.errors import InvalidSetting
    from adamacs.database import connect

    settings: Settings = settings_module.load()
    server = connect.embedded(settings)
    if server is None:
        raise InvalidSetting("database.url names a server that adamacs does not run.", hint="Ask who runs it.")
    return server
