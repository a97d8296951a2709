"""Kinds of hosts: the tables that each fills, and what a host must have for them.

Modalities give every table that computes to a role that ships, `cpu` or `gpu`. A lab may name more roles in its
settings; such a role takes its tables away from the shipped one, so that each table keeps exactly one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from adamacs import pipeline
from adamacs.core import devices
from adamacs.core import settings as _settings
from adamacs.core.errors import AdamacsError, InvalidRequest, InvalidSetting, StoreUnavailable, ToolMissing, nearest
from adamacs.core.modality import Modality
from adamacs.core.settings import Settings
from adamacs.storage import stores

_GB = 1e9  # bytes; what is sold as 16 GB has a little more of these, so that `memory:16` holds there


@dataclass(frozen=True)
class Role:
    """A kind of host.

    Attributes
    ----------
    name
        Of the role, as `adamacs work --role` takes it.
    fills
        Names of its tables, such as `imaging.Processing`.
    own_needs
        What a host must have whichever of the tables it fills.
    memory
        What one slot may take, GB; 0: no limit.
    slots
        Keys computed at once on one host.
    """

    name: str
    fills: tuple[str, ...] = ()
    own_needs: tuple[str, ...] = ()
    memory: float = 0.0
    slots: int = 1

    def tables(self) -> list[Any]:
        """Return the tables of the role, parents before what stands on them."""
        return _declared(self.fills)

    @property
    def needs(self) -> dict[str, tuple[str, ...]]:
        """What a host must have, and for whom: the role itself, or those of its tables that need it."""
        found: dict[str, tuple[str, ...]] = dict.fromkeys(self.own_needs, (f"the role {self.name}",))
        for modality, _, name in _tables():
            if name in self.fills:
                for need in modality.needs.get(name.rpartition(".")[2], ()):
                    found[need] = (*found.get(need, ()), name)
        return found

    def only(self, tables: Collection[str]) -> Role:
        """Return the role with these of its tables alone; it needs what they need.

        Raises
        ------
        InvalidRequest
            The role does not fill one of them.
        """
        for name in tables:
            if name not in self.fills:
                raise InvalidRequest(f"The role {self.name} does not fill {name}.", hint=nearest(name, self.fills))
        return replace(self, fills=tuple(name for name in self.fills if name in tables))

    def demand(self, settings: Settings | None = None) -> None:
        """Refuse a host that lacks something the role needs, naming everything it lacks.

        Stores and roots are proved by writing, reading and removing a small file there.

        Raises
        ------
        InvalidSetting
            A need is none that can be checked, or names a store or root that the settings do not know.
        ToolMissing
            A device, a tool or memory is missing.
        StoreUnavailable
            A store or root cannot be written.
        """
        settings = settings or _settings.active()
        missing = {need: lack for need in self.needs if (lack := _lack(need, settings))}
        if not missing:
            return
        what = f"This host lacks what the role {self.name} needs: {', '.join(missing)}."
        hint = " ".join(f"{need} (for {', '.join(self.needs[need])}): {lack}" for need, lack in missing.items())
        kinds = {type(lack) for lack in missing.values()}
        if InvalidSetting in kinds:
            raise InvalidSetting(what, hint=hint)
        if ToolMissing in kinds:
            raise ToolMissing(what, hint=hint)
        raise StoreUnavailable(what, hint=hint)

    def demand_tables(self) -> None:
        """Refuse a role that has nothing to do.

        Raises
        ------
        InvalidSetting
            It fills no table.
        """
        if not self.fills:
            hint = f'Give it some in adamacs.toml: [roles.{self.name}] tables = ["imaging.Processing"]'
            raise InvalidSetting(f"The role {self.name} fills no table.", hint=hint)


def roles_of(settings: Settings | None = None) -> tuple[Role, ...]:
    """Return every role of a lab, those that ship first.

    Raises
    ------
    InvalidSetting
        A role in the settings names a table that no worker fills, or one that another role there names too; or it
        fills no table at all.
    """
    settings = settings or _settings.active()
    owners = _owners(settings)
    names = dict.fromkeys([*settings.roles, *owners.values()])
    return tuple(_role(name, owners, settings) for name in names)


def named(name: str, settings: Settings | None = None) -> Role:
    """Return a role by its name. Whether this host is fit for it tells `Role.demand`.

    Raises
    ------
    InvalidSetting
        There is no such role, or the settings of the roles contradict each other.
    """
    known = {role.name: role for role in roles_of(settings)}
    if name not in known:
        raise InvalidSetting(f"There is no role {name!r}.", hint=nearest(name, list(known)))
    return known[name]


def role_of(table: Any, settings: Settings | None = None) -> Role | None:
    """Return the role that fills a table, or None for one that people or the ingest fill.

    Parameters
    ----------
    table
        Its class, an instance of it, or its name, such as `imaging.Processing`.
    settings
        Of the lab; by default those in use.
    """
    kind = table if isinstance(table, str | type) else type(table)
    name = kind if isinstance(kind, str) else pipeline.table_name(kind)
    return next((role for role in roles_of(settings) if name in role.fills), None)


def computing_tables() -> list[Any]:
    """Return every table that workers fill, whichever their role, parents before what stands on them."""
    return _declared({name for _, _, name in _tables()})


def tool_versions() -> dict[str, str]:
    """Return the version of every tool of a modality that is installed here, by distribution."""
    tools = dict.fromkeys(tool for modality in pipeline.modalities() for tool in modality.tools)
    return {tool: version for tool in tools if (version := devices.installed(tool))}


def _declared(names: Collection[str]) -> list[Any]:
    """Return the tables of these names in the order of their declaration, which is parents first."""
    declared = (table for module in pipeline.modules() for table, _ in module.schema.declare_list)
    return [table for table in declared if pipeline.table_name(table) in names]


def _tables() -> Iterator[tuple[Modality, str, str]]:
    """Yield modality, shipped role and name of every table that workers fill."""
    for modality in pipeline.modalities():
        for role, tables in modality.fills.items():
            yield from ((modality, role, f"{modality.name}.{table}") for table in tables)


def _owners(settings: Settings) -> dict[str, str]:
    """Return which role fills which table: as it ships, and over that what the settings say."""
    shipped = {table: role for _, role, table in _tables()}
    claimed: dict[str, str] = {}
    for role, spec in settings.roles.items():
        for table in dict.fromkeys(spec.tables):
            place = f"roles.{role}.tables"
            if table not in shipped:
                raise InvalidSetting(f"{table} is no table that workers fill.", place, nearest(table, shipped))
            if table in claimed:
                what = f"{table} is named by roles.{claimed[table]}.tables too."
                raise InvalidSetting(what, place, "Name it once: a table has exactly one role.")
            claimed[table] = role
    return shipped | claimed


def _role(name: str, owners: dict[str, str], settings: Settings) -> Role:
    spec = settings.roles.get(name, _settings.Role.called(name))
    fills = tuple(table for table, role in owners.items() if role == name)
    if not fills and name not in _settings.NAMED["roles"].always:
        what = f"The role {name} fills no table."
        raise InvalidSetting(what, f"roles.{name}.tables", 'Name its tables, as ["imaging.Processing"].')
    return Role(name, fills, spec.needs, spec.memory or settings.workers.memory, spec.slots or 1)


# ---- what a host must have: each kind of need is proved by a function that raises where it is not met


def _lack(need: str, settings: Settings) -> AdamacsError | None:
    """Return why this host does not meet a need, or None where it does."""
    kind, _, what = need.partition(":")
    if kind not in _PROOFS or not re.fullmatch(_PROOFS[kind][0], what):
        return InvalidSetting(f"{need!r} is no need that can be checked.", hint=nearest(need, _EXAMPLES))
    try:
        _PROOFS[kind][1](what, settings)
    except AdamacsError as error:
        return error
    return None


def _prove_cuda(_: str, settings: Settings) -> None:
    if "cuda" not in devices.present():
        raise ToolMissing("No NVIDIA GPU is here.", hint="If there is one: does `nvidia-smi -L` list it?")


def _prove_mps(_: str, settings: Settings) -> None:
    if "mps" not in devices.present():
        raise ToolMissing("This is no Mac with Apple silicon.", hint="Run the role on one.")


def _prove_tool(tool: str, settings: Settings) -> None:
    if devices.installed(tool) is None:
        owners = (modality for modality in pipeline.modalities() if tool in modality.tools)
        command = next((modality.install_command(tool) for modality in owners), f"pip install {tool}")
        raise ToolMissing(f"{tool} is not installed.", hint=f"Run: {command}")


def _prove_memory(wanted: str, settings: Settings) -> None:
    if (found := devices.memory()) < float(wanted) * _GB:
        what = f"This process may use {found / _GB:.1f} GB of memory, and {wanted} GB are demanded."
        raise ToolMissing(what, hint="Raise the limit of its service, or run the role on another host.")


def _prove_store(name: str, settings: Settings) -> None:
    stores.named(name, settings).probe()


def _prove_root(name: str, settings: Settings) -> None:
    stores.FileStore(settings.root(name), name=name).probe()


_PROOFS: Mapping[str, tuple[str, Callable[[str, Settings], None]]] = {
    "cuda": ("", _prove_cuda),
    "mps": ("", _prove_mps),
    "tool": (r"[A-Za-z0-9][A-Za-z0-9._-]*", _prove_tool),
    "memory": (r"[0-9]{1,6}(\.[0-9]{1,3})?", _prove_memory),
    "store": (r".+", _prove_store),
    "root": (r".+", _prove_root),
}
_EXAMPLES = ("cuda", "mps", "tool:suite2p", "memory:16", "store:derived", "root:processed")
