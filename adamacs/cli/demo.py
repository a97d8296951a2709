"""`adamacs demo`: a synthetic lab through the whole pipeline, scored against what is known to be true."""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from adamacs.cli.prompt import json_option, print_json
from adamacs.core import settings as settings_module
from adamacs.core.errors import PlanRefused

if TYPE_CHECKING:
    from adamacs.core.settings import Settings
    from adamacs.demo.score import ScanScore

REPORT = "report.html"
_PARAMSET = 0


@dataclass
class Stages:
    """How long each part of the demo took, s."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """Time a block, and say on stderr that it begins."""
        click.echo(f"-- {name}", err=True)
        began = time.perf_counter()
        yield
        self.seconds[name] = round(time.perf_counter() - began, 2)


@click.command()
@click.option("--size", type=click.Choice(["demo", "small"]), default="demo", show_default=True, help="Of the lab.")
@json_option
def demo(size: str, as_json: bool) -> None:
    """Write a synthetic lab, ingest it, process it and score what was recovered.

    Everything lands in the lab home (ADAMACS_HOME, else ./lab). Run again, it changes nothing.
    """
    from adamacs.cli.db import keep_server_as_it_was

    home = settings_module.find_home()
    _refuse_foreign(home)
    settings = settings_module.create(home)
    with keep_server_as_it_was(settings):
        stages = Stages()
        tally = _run(settings, size, stages)
        with stages("score"):
            scores = score_lab(settings)
            events = score_events(settings)
            certificates = _certificates()
        with stages("report"):
            _report(home / REPORT, scores, anew=bool(tally.done))
        summary = _summary(scores, stages) | {"events": events, "certificates": certificates}
    if as_json:
        print_json(summary)
    else:
        click.echo(_table(scores))
        click.echo("".join(f"\n{_told_of_events(scan_id, found)}\n" for scan_id, found in events.items()))
        for scan_id, told in certificates.items():
            lines = [f"  {verdict:5} {stream}" for stream, verdict in told["streams"].items()]
            click.echo("\n".join([f"{scan_id}, sync certificate: {told['verdict']} (adamacs sync {scan_id})", *lines]))
        click.echo(f"\nreport:   {home / REPORT}\nlab home: {home}\n\nask it:   cd {home}, then run python:")
        click.echo(_TEN_LINES)
    sys.exit(1 if tally.failed else 0)


_TEN_LINES = """
    from adamacs.pipeline import connect, imaging, scan
    connect()
    scan.Scan() * imaging.ScanInfo()                          # what was recorded
    key = {"scan_id": scan.Scan.to_arrays("scan_id")[0], "mask": 0}
    (imaging.Fluorescence.Trace & key).fetch1("fluorescence")[100:200]
"""


def _refuse_foreign(home: Path) -> None:
    if (home / settings_module.FILE).exists() and not (home / "truth").is_dir():
        hint = "Set ADAMACS_HOME to an empty folder."
        raise PlanRefused("This lab home is not the demo's: nothing was changed.", home, hint)
    if away := list(_leading_away(_settings_to_be(home))):
        variables = ", ".join(f"ADAMACS_{name.upper().replace('.', '_')}" for name in away)
        what = f"The demo keeps to its own lab home, and settings lead elsewhere: {', '.join(away)}."
        raise PlanRefused(what, home, f"Take them out of {settings_module.FILE}, or of the environment: {variables}.")
    (home / "truth").mkdir(parents=True, exist_ok=True)


def _settings_to_be(home: Path) -> Settings:
    """Return the settings that this lab home has, or would have; a new one takes those of the environment too."""
    if (home / settings_module.FILE).exists():
        return settings_module.load(home)
    with tempfile.TemporaryDirectory() as empty:
        (Path(empty) / settings_module.FILE).write_text(settings_module.template(), encoding="utf-8")
        return settings_module.load(Path(empty))


def _leading_away(settings: Settings) -> Iterator[str]:
    """Yield the settings that name somebody's server, folders or bucket: a synthetic lab has no business there."""
    if settings.database.url:
        yield "database.url"
    home = settings.home.resolve()
    for root in fields(settings.roots):
        if not settings.root(root.name).resolve().is_relative_to(home):
            yield f"roots.{root.name}"
    yield from (f"shares.{name}.folder" for name in settings.shares)
    for name, store in settings.stores.items():
        if store.protocol != "file":
            yield f"stores.{name}.protocol"
        elif not (home / Path(store.location).expanduser()).resolve().is_relative_to(home):
            yield f"stores.{name}.location"


def _run(settings: Settings, size: str, stages: Stages) -> Any:
    from adamacs import pipeline
    from adamacs.demo.lab import SUITE2P
    from adamacs.ingest.apply import apply_plan
    from adamacs.ingest.plan import plan_ingest
    from adamacs.workers import console, loop, roles

    with stages("write recordings"):
        _write_once(settings, size)
    with stages("make database"):
        pipeline.initialise(settings)
        imaging = pipeline.imaging
        index = imaging.ProcessingParamSet.insert_new(SUITE2P, paramset_idx=_PARAMSET, desc="synthetic lab")
    with stages("ingest"):
        plan = plan_ingest([settings.root("share")], settings, paramset_idx=index)
        click.echo(plan.describe(), err=True)
        outcomes = apply_plan(plan, settings) if plan.changes or plan.refused else []
        if failed := [outcome for outcome in outcomes if outcome.state not in ("written", "unchanged")]:
            raise PlanRefused(f"{len(failed)} scans were not ingested: {failed[0].reason}", settings.home)
    with stages("process"), console.shown(sys.stderr):
        tally = loop.drain(roles.named("cpu"))
    stages.seconds["suite2p"] = round(tally.seconds.get("imaging.Processing", 0.0), 2)
    return tally


def _write_once(settings: Settings, size: str) -> None:
    """Write the recordings, unless a run before this one finished them: a file's time is part of what is ingested."""
    from adamacs.demo import lab

    finished = settings.home / "truth" / f"{size}.written"
    others = [path.stem for path in finished.parent.glob("*.written") if path != finished]
    if others:
        hint = "Set ADAMACS_HOME to an empty folder."
        raise PlanRefused(f"This lab home holds the demo of size {others[0]}.", settings.home, hint)
    lab.write_setups(settings.home, paramset_idx=_PARAMSET)
    if not finished.exists():
        lab.write(settings.root("share"), truth=finished.parent, size=size)
        finished.touch()


def score_lab(settings: Settings) -> dict[str, ScanScore]:
    """Score every processed scan of the demo against its truth, from what the database says."""
    from adamacs import pipeline
    from adamacs.demo.movie import Truth
    from adamacs.demo.score import score_scan

    scores = {}
    for key in (pipeline.imaging.Activity.proj() & {"curation_id": 1}).keys(order_by="KEY"):
        truth = Truth.load(settings.home / "truth" / f"{key['scan_id']}.npz")
        rate = (pipeline.imaging.ScanInfo & key).fetch1("fps")
        scores[key["scan_id"]] = score_scan(truth, fs=rate, **_recovered(key))
    return scores


def score_events(settings: Settings) -> dict[str, dict[str, dict[str, float]]]:
    """Compare when everything happened, as the tables have it on scan time, with the truth.

    Returns
    -------
    Per scan and clock: `events_true` and `events_found`; the middle and the largest error of one (`median_us`,
    `most_us`, µs of scan time; what a computer writes down late is late). Of a clock that had to be placed on scan time
    also what was recovered (`offset`, s, and `drift`, parts per million), and how wrong that is (`offset_us`,
    `drift_ppm`).
    """
    from adamacs import pipeline
    from adamacs.analysis.events import events_between
    from adamacs.demo.session import load_truth

    scores: dict[str, dict[str, dict[str, float]]] = {}
    for key in (pipeline.scan.Scan & pipeline.event.EventImport).keys(order_by="KEY"):
        events, true = load_truth(settings.home / "truth" / f"{key['scan_id']}_session.npz")
        clocks = dict(zip(*(pipeline.event.BehaviorRecording.Source & key).to_arrays("source", "clock"), strict=True))
        found = dict(iter(events_between(key, event_types=list(events)).groupby("event_type")))
        placed = {row["clock"]: row for row in (pipeline.sync.ClockSync & key).to_dicts()}
        by_clock: dict[str, list[str]] = {}
        for name in events:
            clock = clocks[found[name]["source"].iloc[0]] if name in found else "(nobody)"
            by_clock.setdefault(clock, []).append(name)
        scores[key["scan_id"]] = {
            clock: _score_clock({name: events[name] for name in names}, found)
            | (_score_placement(placed[clock], *true[clock]) if clock in placed else {})
            for clock, names in sorted(by_clock.items())
        }
    return scores


def _score_placement(row: dict[str, Any], zero: float, drift: float) -> dict[str, float]:
    return {
        "offset": row["clock_offset"],
        "drift": row["clock_drift"],
        "offset_us": 1e6 * abs(row["clock_offset"] - zero),
        "drift_ppm": abs(row["clock_drift"] - drift),
    }


def _certificates() -> dict[str, dict[str, Any]]:
    """Return the verdict of every scan's certificate, and those of its streams."""
    from adamacs import pipeline

    certificates = {}
    for row in pipeline.sync.Certificate.to_dicts(order_by="scan_id"):
        streams = pipeline.sync.Certificate.Stream & {"scan_id": row["scan_id"]}
        names, verdicts = streams.to_arrays("stream", "stream_verdict", order_by="stream")
        certificates[row["scan_id"]] = {
            "verdict": row["verdict"],
            "streams": dict(zip(names.tolist(), verdicts.tolist())),
        }
    return certificates


def _score_clock(true: dict[str, Any], found: dict[str, Any]) -> dict[str, float]:
    starts = {name: found[name]["start"].to_numpy() if name in found else np.empty(0) for name in true}
    errors = [1e6 * np.abs(starts[name] - true[name]) for name in true if len(starts[name]) == len(true[name])]
    together = np.concatenate([*errors, np.empty(0)]) if any(map(len, errors)) else np.array([np.nan])
    return {
        "event_types": len(true),
        "events_true": sum(map(len, true.values())),
        "events_found": sum(map(len, starts.values())),
        "median_us": float(np.median(together)),
        "most_us": float(together.max()),
    }


def _told_of_events(scan_id: str, clocks: dict[str, dict[str, float]]) -> str:
    lines = [f"{scan_id}, clocks and events on scan time against the truth:"]
    for clock, found in clocks.items():
        lines.append(
            f"  {clock:14} {found['events_found']:>6} of {found['events_true']} events "
            f"of {found['event_types']} types, off by {found['median_us']:.0f} µs, "
            f"at most {found['most_us']:.0f} µs"
        )
        if "offset" in found:
            lines.append(
                f"  {'':14} offset {found['offset']:+.6f} s, off by {found['offset_us']:.0f} µs; "
                f"drift {found['drift']:+.2f} ppm, off by {found['drift_ppm']:.2f} ppm"
            )
    return "\n".join(lines)


def _recovered(key: dict[str, Any]) -> dict[str, Any]:
    """Return what the database holds of one curation, as the scorer takes it."""
    from adamacs.pipeline import imaging

    masks = (imaging.Segmentation.Mask * imaging.ScanInfo.Field & key).to_dicts(order_by="mask")
    shifts = (imaging.MotionCorrection.RigidMotionCorrection & key).to_dicts(order_by="field_idx")
    traces = (imaging.Fluorescence.Trace * imaging.Activity.Trace & key).to_dicts(order_by="mask")
    fluorescence = [np.asarray(row["fluorescence"]) for row in traces]
    neuropil = [np.asarray(row["neuropil_fluorescence"]) for row in traces]
    return {
        "shifts": [np.stack([row["y_shifts"], row["x_shifts"]], axis=-1) for row in shifts],
        "masks": [tuple(np.asarray(row[f"mask_{name}"]) for name in ("ypix", "xpix", "weights")) for row in masks],
        "planes": [row["plane"] for row in masks],
        "traces": [signal - 0.7 * around for signal, around in zip(fluorescence, neuropil, strict=True)],
        "spikes": [np.asarray(row["activity_trace"]) for row in traces],
    }


def _report(path: Path, scores: dict[str, ScanScore], *, anew: bool) -> None:
    from adamacs.analysis.report import write_report

    if anew or not path.exists():
        note = (
            "Synthetic recordings, scored against the truth they were made from. True cells: those that fired at least"
            " 15 spikes; found: ROIs in the database; recall: true cells that an ROI matches; precision: ROIs that"
            " match a cell; IoU: intersection over union of their pixels; r: correlation with the truth (spikes"
            " smoothed with a Gaussian of 100 ms); traces: the 12 most active cells over the first 30 s."
        )
        write_report(path, title="adamacs demo", note=note, table=_rows(scores))


def _rows(scores: dict[str, ScanScore]) -> list[dict[str, str]]:
    from adamacs.demo.score import pool

    together = {"all": pool(list(scores.values()))} if len(scores) > 1 else {}
    return [
        {
            "scan": name,
            "true cells": str(score.cells_true),
            "found": str(score.rois),
            "recall": f"{score.recall:.3f}",
            "precision": f"{score.precision:.3f}",
            "median IoU": f"{score.median_iou:.3f}",
            "shift r": f"{score.shift_r:.4f}",
            "shift RMSE (px)": f"{score.shift_rmse_px:.2f}",
            "spike r": f"{score.spike_r:.3f}",
            "dF/F r": f"{score.dff_r:.3f}",
        }
        for name, score in {**scores, **together}.items()
    ]


def _table(scores: dict[str, ScanScore]) -> str:
    rows = _rows(scores)
    if not rows:
        return "nothing was processed"
    widths = {name: max(len(name), *(len(row[name]) for row in rows)) for name in rows[0]}
    lines = ["  ".join(f"{name:>{width}}" for name, width in widths.items())]
    lines += ["  ".join(f"{row[name]:>{width}}" for name, width in widths.items()) for row in rows]
    return "\n".join(lines)


def _summary(scores: dict[str, ScanScore], stages: Stages) -> dict[str, Any]:
    """Return the demo's one JSON line.

    `cells_true` are the true cells of at least 15 spikes, `recall` the part of them that was found; `cells_found`
    are the ROIs in the database, as many as `imaging.Fluorescence.Trace` has rows, and `precision` the part of
    them that match a true cell.
    """
    from adamacs import pipeline
    from adamacs.demo.score import pool

    score = pool(list(scores.values()))
    return {
        "sessions": len(pipeline.session.Session()),
        "scans": len(pipeline.scan.Scan()),
        "cells_true": score.cells_true,
        "cells_found": score.rois,
        "recall": round(score.recall, 4),
        "precision": round(score.precision, 4),
        "median_iou": round(score.median_iou, 4),
        "spike_r": round(score.spike_r, 4),
        "dff_r": round(score.dff_r, 4),
        "shift_r": round(score.shift_r, 4),
        "shift_rmse_px": round(score.shift_rmse_px, 4),
        "seconds_by_stage": stages.seconds,
    }
