"""Plan which parameter set a project uses from now on."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from adamacs.core.errors import InvalidKey, nearest
from adamacs.modalities.imaging import tables as _tables
from adamacs.schemas import subject as _subject

tables: Any = _tables  # rows, columns and operators exist in the database, not in types
subject: Any = _subject


@dataclass(frozen=True)
class ActivationPlan:
    """A parameter set that a project is to use from now on.

    Attributes
    ----------
    project
        Its name.
    paramset_idx
        Of the set.
    active
        The set that it uses now and that becomes superseded; None where it never had one.
    """

    project: str
    paramset_idx: int
    active: int | None

    @property
    def is_done(self) -> bool:
        """Whether the project uses the set already."""
        return self.active == self.paramset_idx

    def describe(self) -> str:
        """Return the plan as text."""
        use = f"{self.project} uses paramset_idx={self.paramset_idx} from now on"
        if self.active is None:
            return use
        return (
            f"{use}; paramset_idx={self.active} becomes superseded: scans of the project that have results of a "
            f"superseded set go first where paramset_idx={self.paramset_idx} is asked for"
        )


def plan_activation(project: str, paramset_idx: int) -> ActivationPlan:
    """Plan that a project uses a parameter set from now on.

    Raises
    ------
    InvalidKey
        There is no such project, or no such set.
    """
    projects = subject.Project.to_arrays("project").tolist()
    if project not in projects:
        raise InvalidKey(f"There is no project {project!r}.", hint=nearest(project, projects))
    if not tables.ProcessingParamSet & {"paramset_idx": paramset_idx}:
        raise InvalidKey(
            "There is no such parameter set.", {"paramset_idx": paramset_idx}, "See: adamacs paramset list"
        )
    now = (tables.ProjectParamSet.active() & {"project": project}).to_arrays("paramset_idx").tolist()
    return ActivationPlan(project, paramset_idx, now[0] if now else None)


def apply_activation(plan: ActivationPlan) -> datetime | None:
    """Write that a project uses a set from now on, and return since when (naive UTC); None where it does already."""
    if plan.is_done:
        return None
    table = tables.ProjectParamSet
    (now,) = table.connection.query("SELECT CURRENT_TIMESTAMP").fetchone()  # the clock that all hosts share
    since = now.replace(tzinfo=None, microsecond=0)
    before = (table & {"project": plan.project}).to_arrays("active_since").tolist()
    if before:
        since = max(since, max(before) + timedelta(seconds=1))  # the newest is the active one
    table.insert1({"project": plan.project, "active_since": since, "paramset_idx": plan.paramset_idx})
    return since
