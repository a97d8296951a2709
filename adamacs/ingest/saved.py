"""Save a plan for review, and plan again what a saved plan holds: what was saved is only compared, never trusted."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from datetime import date, datetime
from pathlib import Path
from typing import Any

from adamacs.core.errors import InvalidSetting, PlanRefused
from adamacs.core.modality import Problem
from adamacs.core.settings import Settings
from adamacs.ingest.choices import NAMES, Choice, Choices
from adamacs.ingest.find import find_recordings
from adamacs.ingest.plan import IngestPlan, ScanPlan, plan_recordings

FORMAT = 2


def to_json(plan: IngestPlan) -> str:
    """Return a plan as JSON, to be saved and applied later."""
    return json.dumps({"format": FORMAT, **asdict(plan)}, indent=1, default=_plain)


def replan(text: str, settings: Settings, where: Path | str = "") -> IngestPlan:
    """Plan again what a saved plan holds; a scan that would now become something else is refused.

    No row that a file names reaches the database. A scan that was refused when the plan was saved stays out.

    Parameters
    ----------
    text
        What `to_json` gave.

    Raises
    ------
    PlanRefused
        The text is no plan of this format.
    """
    scans = _read(text, where)
    recordings, problems = find_recordings([_located(path, settings, where) for path in scans], settings)
    decided = Choices(settings, saved={path: _chosen(scan, where) for path, scan in scans.items()})
    fresh = plan_recordings(recordings, settings, decided, explain=True)
    return IngestPlan(tuple(_compared(scan, scans.get(scan.path)) for scan in fresh), tuple(problems))


def _read(text: str, where: Path | str) -> dict[str, dict[str, Any]]:
    """Return the saved scans that were not refused, by path."""
    try:
        content = json.loads(text)
        if content["format"] != FORMAT:
            raise PlanRefused("The plan was saved by another version.", where, "Plan again.")
        return {str(scan["path"]): dict(scan) for scan in content["scans"] if scan["state"] != "refused"}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _no_plan(where) from error


def _located(place: str, settings: Settings, where: Path | str) -> Path:
    try:
        return settings.locate(place)
    except InvalidSetting as error:
        raise PlanRefused(error.what, where, error.hint) from error


def _chosen(scan: Mapping[str, Any], where: Path | str) -> dict[str, Choice]:
    """Return what a saved plan decided about a scan; values of other kinds than those that are decided are no plan."""
    try:
        read = {name: Choice(**choice) for name, choice in dict(scan["chosen"]).items()}
    except (KeyError, TypeError, ValueError) as error:
        raise _no_plan(where) from error
    for name, choice in read.items():
        if type(choice.value) is not NAMES.get(name) or not isinstance(choice.source, str):
            raise _no_plan(where)
    return read


def _no_plan(where: Path | str) -> PlanRefused:
    return PlanRefused("This is no saved ingest plan.", where, "Make one with `adamacs ingest plan`.")


def _compared(scan: ScanPlan, saved: Any) -> ScanPlan:
    now = json.loads(json.dumps(asdict(scan), default=_plain))
    names = ("session_id", "scan_id", "rows", "files")
    differing = [name for name in names if not isinstance(saved, dict) or saved.get(name) != now[name]]
    if not differing:
        return scan
    what = f"The scan is not what the saved plan says any more: {', '.join(differing)} differ."
    problem = Problem("error", what, scan.path, "Plan again.")
    return replace(scan, state="refused", problems=(*scan.problems, problem))


def _plain(value: Any) -> Any:
    if isinstance(value, date | datetime):
        return {"$": value.isoformat()}
    raise TypeError(f"{type(value).__name__} cannot stand in a plan")
