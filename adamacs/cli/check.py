"""`adamacs check`: is this machine fit for work, and what to do where it is not."""

from __future__ import annotations

import shutil
import subprocess
import sys
import uuid
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from importlib import metadata
from pathlib import Path
from typing import Any

import click

from adamacs.cli.prompt import json_option, print_json
from adamacs.core import devices
from adamacs.core import settings as settings_module
from adamacs.core.errors import AdamacsError
from adamacs.core.settings import Settings, Store

_LITTLE_SPACE = 10e9  # bytes; one two-photon scan is a few of them
_PATIENCE = 120  # s; what a cold import of torch or Suite2p may take


@dataclass(frozen=True)
class Line:
    """One finding: `ok` None is a remark that fails nothing."""

    subject: str
    ok: bool | None
    finding: str
    remedy: str = ""

    def describe(self) -> str:
        """Return the finding as a line of text."""
        mark = {True: "ok  ", False: "FAIL", None: "--  "}[self.ok]
        return f"{mark}  {self.subject:22}  {self.finding}{'  -> ' + self.remedy if self.remedy else ''}"

    def content(self) -> dict[str, Any]:
        """Return the finding for programs."""
        return asdict(self)


@click.command()
@click.option("--deep", is_flag=True, help="Import each tool in a child process, and try the device.")
@json_option
def check(deep: bool, as_json: bool) -> None:
    """Tell whether database, roots, stores, tools and devices are fit for work."""
    settings_module.use(settings_module.load())
    lines = list(findings(settings_module.active(), deep=deep))
    for line in lines:
        print_json(line.content()) if as_json else click.echo(line.describe())
    sys.exit(1 if any(line.ok is False for line in lines) else 0)


def findings(settings: Settings, *, deep: bool = False) -> Iterator[Line]:
    """Yield what is found, line by line."""
    yield Line("lab home", True, f"{settings.home} ({settings.time_zone})")
    yield probe_database(settings)
    for root in fields(settings.roots):
        yield _probe_folder(f"root {root.name}", settings.root(root.name))
    for name in settings.stores:
        yield _probe_store(name, settings)
    yield from _probe_space(settings)
    yield from _tools(deep)
    yield from _devices(settings, deep)


def probe_database(settings: Settings) -> Line:
    """Ask the server for its version. An embedded server that is down is told, not started."""
    from adamacs.database import connect, ping

    try:
        server = connect.server(settings)
        embedded = connect.embedded(settings)
        if embedded is not None and not embedded.is_running():
            return Line("database", None, "down; the next connection starts it", "adamacs db start")
        version = ping.version(server)
        if not ping.has_tables(server, settings.database.prefix):
            what = f"{version} at {server.url} holds no tables {settings.database.prefix}_*"
            return Line("database", False, what, "adamacs db init")
        return Line("database", True, f"{version} at {server.url}")
    except AdamacsError as error:
        return Line("database", False, error.what, error.hint or "")


def _probe_folder(subject: str, folder: Path) -> Line:
    if not folder.is_dir():
        return Line(subject, False, f"{folder} does not exist", f"mkdir -p {folder}")
    probe = folder / f".adamacs-probe-{uuid.uuid4().hex}"
    try:
        probe.write_bytes(b"probe")
        probe.unlink()
    except OSError as error:
        return Line(subject, False, f"{folder} cannot be written: {error.strerror}", "ask who owns it for the right")
    return Line(subject, True, f"{folder} can be written")


def _probe_store(name: str, settings: Settings) -> Line:
    from adamacs.storage import stores

    try:
        stores.named(name).probe()
    except AdamacsError as error:
        return Line(f"store {name}", False, f"{error.where or name}: {error.what}", error.hint or "")
    return Line(f"store {name}", True, f"{_place(settings.store(name))} can be written and read")


def _place(store: Store) -> str:
    return f"{store.endpoint} bucket {store.bucket}" if store.protocol == "s3" else store.location


def _probe_space(settings: Settings) -> Iterator[Line]:
    """Tell the free space of every file system that the lab writes to, once each."""
    places = [settings.home, *(settings.root(root.name) for root in fields(settings.roots))]
    places += [settings.home / store.location for store in settings.stores.values() if store.protocol == "file"]
    seen = set()
    for place in filter(Path.is_dir, places):
        device = place.stat().st_dev
        if device not in seen:
            seen.add(device)
            free = shutil.disk_usage(place).free
            enough = free > _LITTLE_SPACE
            yield Line("disk space", enough, f"{free / 1e9:,.0f} GB free at {place}", "" if enough else "make room")


def _tools(deep: bool) -> Iterator[Line]:
    from adamacs import pipeline

    for modality in pipeline.modalities():
        for tool, extra in modality.tools.items():
            try:
                version = metadata.version(tool)
            except metadata.PackageNotFoundError:
                yield Line(
                    f"tool {tool}",
                    None,
                    "not installed",
                    f"pip install '{f'adamacs[{extra}]' if extra else 'adamacs'}'",
                )
                continue
            yield _imported(tool, version) if deep else Line(f"tool {tool}", True, version)


_IMPORTS = {"suite2p": "from adamacs.modalities.imaging.engine import tool; tool.import_suite2p()"}


def _imported(tool: str, version: str) -> Line:
    answer = _child(_IMPORTS.get(tool, f"import {tool}"))
    if answer is None:
        return Line(f"tool {tool}", True, f"{version}, imported")
    return Line(f"tool {tool}", False, f"{version}, but its import fails: {answer}", "reinstall the extra")


def _devices(settings: Settings, deep: bool) -> Iterator[Line]:
    found = devices.cuda()
    yield Line("device", None if not found else True, "; ".join(found) or "no NVIDIA driver: CPU only")
    wanted = settings.workers.device
    if wanted != "cpu" and wanted not in devices.present():
        yield Line("workers.device", False, f"{wanted} is demanded and absent", 'set workers.device = "cpu"')
    elif deep and wanted != "cpu":
        answer = _child(f"import torch; torch.ones(8, device={wanted!r}).sum().item()")
        yield Line("workers.device", answer is None, answer or f"{wanted} computes", "" if not answer else "see torch")


def _child(code: str) -> str | None:
    """Run Python code in a child; return None where it succeeds, else the last line it says."""
    try:
        answer = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, timeout=_PATIENCE, check=False
        )
    except subprocess.TimeoutExpired:
        return f"no answer within {_PATIENCE} s"
    said = answer.stderr.strip().splitlines()
    return None if answer.returncode == 0 else (said[-1] if said else f"exit status {answer.returncode}")
