"""`adamacs check`: is this machine fit for work, and what to do where it is not."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
import uuid
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import click

from adamacs.cli.prompt import json_option, print_json
from adamacs.core import devices
from adamacs.core import settings as settings_module
from adamacs.core.errors import AdamacsError
from adamacs.core.modality import Modality
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
@click.option("--deep", is_flag=True, help="Import each tool in a child process, and compute on every device.")
@json_option
def check(deep: bool, as_json: bool) -> None:
    """Tell whether database, roots, stores, tools and devices are fit for work.

    As for every verb that needs the database, an embedded server that is down is started; `adamacs db status` starts
    none.
    """
    settings_module.use(settings_module.load())
    lines = list(findings(settings_module.active(), deep=deep))
    for line in lines:
        print_json(line.content()) if as_json else click.echo(line.describe())
    sys.exit(1 if any(line.ok is False for line in lines) else 0)


def findings(settings: Settings, *, deep: bool = False) -> Iterator[Line]:
    """Yield what is found, line by line."""
    yield Line("lab home", True, f"{settings.home} ({settings.time_zone})")
    yield probe_database(settings, start=True)
    for root in fields(settings.roots):
        yield _probe_folder(f"root {root.name}", settings.root(root.name))
    for name in settings.shares:
        yield _probe_share(f"share {name}", settings.root(name))
    for name in settings.stores:
        yield _probe_store(name, settings)
    yield from _probe_space(settings)
    yield from _tools(deep)
    yield from _devices(settings, deep)


def probe_database(settings: Settings, *, start: bool = False) -> Line:
    """Ask the server for its version. An embedded server that is down is told, or started where that is wanted."""
    from adamacs.database import connect, ping

    try:
        server = connect.running_server(settings) if start else connect.server(settings)
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
        return Line(subject, False, f"{folder} does not exist", f"mkdir -p {shlex.quote(str(folder))}")
    probe = folder / f".adamacs-probe-{uuid.uuid4().hex}"
    try:
        probe.write_bytes(b"probe")
        probe.unlink()
    except OSError as error:
        return Line(subject, False, f"{folder} cannot be written: {error.strerror}", "ask who owns it for the right")
    return Line(subject, True, f"{folder} can be written")


def _probe_share(subject: str, folder: Path) -> Line:
    """Look into a share beside the one that people fill; nobody writes to it."""
    try:
        next(folder.iterdir(), None)
    except OSError as error:
        return Line(subject, False, f"{folder} cannot be read: {error.strerror}", "is it mounted?")
    return Line(subject, True, f"{folder} can be read")


def _probe_store(name: str, settings: Settings) -> Line:
    from adamacs.storage import stores

    try:
        stores.named(name, settings).probe()
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
        for tool in modality.tools:
            version = devices.installed(tool)
            if version is None:
                yield Line(f"tool {tool}", None, "not installed", modality.install_command(tool))
            else:
                yield _imported(tool, version, modality) if deep else Line(f"tool {tool}", True, version)


def _imported(tool: str, version: str, modality: Modality) -> Line:
    answer = _child(modality.import_code(tool))
    if answer is None:
        return Line(f"tool {tool}", True, f"{version}, imported")
    return Line(f"tool {tool}", False, f"{version}, but its import fails: {answer}", "reinstall the extra")


def _devices(settings: Settings, deep: bool) -> Iterator[Line]:
    found = devices.cuda()
    yield Line("device", None if not found else True, "; ".join(found) or "no NVIDIA driver: CPU only")
    usable = ["cpu", *(f"cuda:{number}" for number in range(len(found))), *sorted(devices.present() - {"cuda"})]
    wanted = settings.workers.device
    demanded = "cuda:0" if wanted == "cuda" else wanted
    if demanded not in usable:
        what = f"{wanted} is demanded and absent; here: {', '.join(usable)}"
        yield Line("workers.device", False, what, f'set workers.device = "{usable[-1]}"')
    if deep and devices.installed("torch"):
        yield from (_computing(device, device == demanded) for device in usable)


def _computing(device: str, is_demanded: bool) -> Line:
    """Compute on a device. One that cannot is a remark, unless workers are told to use it."""
    answer = _child(f"import torch; torch.ones(8, device={device!r}).sum().item()")
    if answer is None:
        return Line(f"device {device}", True, "computes")
    remedy = "install the build of torch that fits the driver"
    return Line(f"device {device}", False if is_demanded else None, f"does not compute: {answer}", remedy)


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
