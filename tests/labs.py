"""Lab homes for tests: settings, folders and a prefix of their own, on the server that all tests share."""

from __future__ import annotations

import importlib.util
import secrets
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import datajoint as dj

from adamacs.core import settings as core_settings
from adamacs.core.settings import Settings
from adamacs.database import connect
from adamacs.database.address import Server

TABLES = Path(__file__).parent / "tables"


class Lab:
    """A lab home whose tables lie in schemas of a random prefix.

    Attributes
    ----------
    home, settings
        As a user has them: `adamacs.toml` and `secrets.toml` are there, so that commands work too.
    server
        The server under test.
    """

    def __init__(self, home: Path, server: Server, prefix: str | None = None) -> None:
        self.home = home
        self.server = server
        self.prefix = prefix or f"t{secrets.token_hex(4)}"
        self.settings = self._make_home()

    def _make_home(self) -> Settings:
        self.home.mkdir(parents=True, exist_ok=True)
        lines = ["[database]", f'url = "{self.server.url}"', f'prefix = "{self.prefix}"']
        (self.home / core_settings.FILE).write_text("\n".join(lines) + "\n")
        hidden = self.home / core_settings.SECRETS_FILE
        hidden.touch(mode=0o600)
        hidden.write_text(f'[database]\npassword = "{self.server.password.reveal()}"\n')
        core_settings.create(self.home)
        return core_settings.load(self.home, environ={})

    @property
    def connection(self) -> dj.Connection:
        """DataJoint's connection to this lab; the first use opens it."""
        return connect.open_connection(self.settings)

    def tables(self, name: str, *, create: bool = True, **names: Any) -> ModuleType:
        """Return a fresh copy of `tests/tables/<name>.py`, bound to this lab; `names` are put into it first."""
        module = fresh_module(name, **names)
        connect.activate([module], self.prefix, self.connection, create=create)
        return module

    def drop(self) -> None:
        """Drop every schema of this lab."""
        adapter = self.connection.adapter
        schemas = connect.lab_schemas(self.connection, self.prefix)
        if adapter.backend == "mysql":
            self.connection.query("SET FOREIGN_KEY_CHECKS = 0")
        for schema in schemas:
            self.connection.query(adapter.drop_schema_sql(schema))
        if adapter.backend == "mysql":
            self.connection.query("SET FOREIGN_KEY_CHECKS = 1")


def drain() -> Any:
    """Let what failed be tried again, as a person does who mended the cause, and compute everything of role `cpu`."""
    from adamacs.database import portable
    from adamacs.workers import loop, roles

    for table in roles.computing_tables():
        (portable.job_table(table) & "status IN ('error', 'pending')").delete_quick()
    return loop.drain(roles.named("cpu"))


def fresh_module(name: str, **names: Any) -> ModuleType:
    """Load `tests/tables/<name>.py` as a new module: tables bind to one database per process and copy."""
    spec = importlib.util.spec_from_file_location(f"tests.tables.{name}", TABLES / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    vars(module).update(names)
    before = sys.modules.get(spec.name)
    sys.modules[spec.name] = module  # classes look up their module while they are made
    try:
        spec.loader.exec_module(module)
    finally:
        if before is None:
            del sys.modules[spec.name]
        else:
            sys.modules[spec.name] = before
    return module
