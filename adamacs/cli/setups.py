"""`adamacs setups list|show|check`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import click

from adamacs.cli.prompt import json_option, print_json
from adamacs.core import settings as settings_module
from adamacs.core import setups as registry
from adamacs.core import toml
from adamacs.core.errors import visible
from adamacs.core.setup_wiring import Channel, Harp
from adamacs.core.setups import SetupType


@click.group()
def setups() -> None:
    """List, show and check setup types: what a recording folder of each kind holds."""


@setups.command("list")
@json_option
def list_setups(as_json: bool) -> None:
    """Show every setup type that this lab knows, with its rigs and how many channels it has."""
    for setup in _load().setups.values():
        if as_json:
            print_json(asdict(setup))
        else:
            rigs = ", ".join(setup.rigs) or "no rig yet"
            notes = [
                *([f"{len(setup.channel)} channels"] if setup.channel else []),
                *(["not verified"] if not setup.verified else []),
                *(["the lab's own"] if _is_own(setup) else []),
            ]
            note = f"  ({', '.join(notes)})" if notes else ""
            click.echo(visible(f"{setup.name:24}  {rigs:24}  {setup.description}{note}"))


@setups.command()
@click.argument("name")
@json_option
def show(name: str, as_json: bool) -> None:
    """Show what setup type NAME, in any of its spellings, expects, which channels it has, and which file says so."""
    known = _load()
    setup = known.find(name)
    if as_json:
        print_json({**asdict(setup), "controllers": {rig: known.rigs[rig].controller for rig in setup.rigs}})
    else:
        click.echo(visible("\n".join(_lines(setup, known)), keep="\n"))


def _lines(setup: SetupType, known: registry.Registry) -> Iterator[str]:
    yield f"{setup.name}: {setup.description}"
    yield f"  file:       {setup.source}"
    if setup.replaces:
        yield f"              in place of {setup.replaces}, which ships"
    yield f"  spellings:  {', '.join(setup.known_as)}"
    yield f"  rigs:       {', '.join(f'{name} ({known.rigs[name].controller})' for name in setup.rigs) or 'none yet'}"
    yield f"  modalities: {', '.join(setup.modalities) or 'none'}"
    yield f"  applied:    {'by the watching service' if setup.automatic else 'by a person'}"
    for stage in setup.stage:
        values = ", ".join(f"{name}={value}" for name, value in stage.values.items())
        yield f"  stages:     {stage.table} {values}".rstrip()
    yield from (f"  {expected.count:>12} {expected.pattern}: {expected.what}" for expected in setup.expected)
    readers = (f"{source} ({', '.join(_of_reader(setup.expected_of(source)))})" for source in setup.sources)
    yield f"  readers:    {', '.join(readers) or 'none'}"
    yield f"  scan time:  {setup.clock.stream}{f', or {other}' if (other := setup.clock.otherwise) else ''}"
    if wheel := setup.wheel:
        turn = f"{wheel.circumference:g} cm a turn, {wheel.low:g} to {wheel.high:g} V"
        yield f"  wheel:      {turn}{', forward lowers it' if wheel.direction < 0 else ''}"
    if setup.harp:
        yield f"  harp:       {', '.join(_of_harp(setup.harp))}"
    for align in setup.align:
        yield f"  aligned:    {align.source}: {align.how}"
    yield from _channels(setup)
    if not setup.verified:
        yield "  Not verified. A lab must fill in:"
        yield from (f"    {missing}" for missing in setup.missing)


def _of_reader(expected: registry.Expected) -> Iterator[str]:
    yield expected.parser
    if expected.stamped_by:
        yield f"stamped by {expected.stamped_by}"
    if expected.frame_rate is not None:
        yield f"{expected.frame_rate:g} Hz"
    if expected.unit:
        yield f"numbers are in {expected.unit}"
    if expected.gap is not None:
        yield f"filled beyond {expected.gap:g} periods"


def _of_harp(harp: Harp) -> Iterator[str]:
    units = {"accelerometer": harp.acceleration_unit, "gyroscope": "deg/s", "magnetometer": "µT"}
    scales = {name: scale for name in units if (scale := getattr(harp, name)) is not None}
    yield from (f"{name} {scale:g} {units[name]} a count" for name, scale in scales.items())
    if len(scales) < len(units):
        yield f"counts of {' and '.join(name for name in units if name not in scales)}"
    yield f"while {harp.gate} is on" if harp.gate else "no gate"
    if harp.sample_rate is not None:
        yield f"at {harp.sample_rate:g} Hz"
    if not harp.verified:
        yield "not verified"


def _channels(setup: SetupType) -> Iterator[str]:
    """Yield a table of the channels: where, name, event, kind, and what is special about it."""
    if not setup.channel:
        return
    rows = [("channel", "name", "event", "kind", "")]
    rows += [(c.where, c.name, c.event or "-", c.kind, ", ".join(_remarks(c))) for c in setup.channel]
    widths = [max(map(len, column)) for column in zip(*rows)]
    for row in rows:
        yield "  " + "  ".join(f"{cell:{width}}" for cell, width in zip(row, widths)).rstrip()


def _remarks(channel: Channel) -> Iterator[str]:
    if not channel.needed:
        yield "may be absent"
    if channel.polarity == "low":
        yield "low when on"
    if not channel.verified:
        yield "not verified"


@setups.command()
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@json_option
def check(file: Path, as_json: bool) -> None:
    """Tell everything that is wrong with a FILE of a setup type, or with a rigs.toml; show the channels of a sound one.

    The exit status is 1 where anything is.
    """
    from adamacs import pipeline

    problems = registry.check(file, _home(), modalities=pipeline.modalities())
    for problem in problems:
        if as_json:
            print_json(asdict(problem))
        else:
            click.echo(visible(str(problem)))
    if not problems and not as_json:
        setup = None if file.name == registry.RIGS_FILE else toml.read_as(SetupType, file)[0]
        click.echo(visible("\n".join([f"{file} is sound", *(_channels(setup) if setup else [])]), keep="\n"))
    sys.exit(1 if problems else 0)


def _load() -> registry.Registry:
    from adamacs import pipeline

    return registry.load(_home(), modalities=pipeline.modalities())


def _home() -> Path | None:
    """Return the lab home at hand, where there is one."""
    home = settings_module.find_home()
    return home if (home / settings_module.FILE).is_file() else None


def _is_own(setup: SetupType) -> bool:
    return setup.source.parent != registry.SHIPPED
