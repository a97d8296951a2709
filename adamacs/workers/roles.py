"""Kinds of hosts, and the tables that each fills."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import Any

from adamacs import pipeline
from adamacs.core.errors import InvalidSetting, ToolMissing, nearest


@dataclass(frozen=True)
class Role:
    """A kind of host. Each modality says which of its tables the role fills."""

    name: str
    needs: frozenset[str] = frozenset()  # refused at start-up where one is missing

    def tables(self) -> list[Any]:
        """Return the tables of the role, parents before what stands on them."""
        return [
            getattr(import_module(modality.tables), name)
            for modality in pipeline.modalities()
            for name in modality.fills.get(self.name, ())
        ]


ROLES = (Role("cpu"), Role("gpu", needs=frozenset({"cuda"})))


def named(name: str) -> Role:
    """Return a role by its name, on a host that has what it needs.

    Raises
    ------
    InvalidSetting
        There is no such role.
    ToolMissing
        This host lacks a device that the role needs.
    """
    for role in ROLES:
        if role.name == name:
            _demand(role)
            return role
    raise InvalidSetting(f"There is no role {name!r}.", hint=nearest(name, [role.name for role in ROLES]))


def _demand(role: Role) -> None:
    from adamacs.core import devices

    if missing := role.needs - devices.present():
        what = f"The role {role.name} needs {', '.join(sorted(missing))}, which this host lacks."
        raise ToolMissing(what, hint="Run it on another host, or take --role cpu.")
