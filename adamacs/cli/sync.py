"""`adamacs sync`: how the clocks of a scan go together, and whether all who tell of its streams agree."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Any

import click

from adamacs.cli.prompt import json_option, print_json
from adamacs.core.errors import InvalidKey, visible


@click.command()
@click.argument("scan_id")
@click.option(
    "--plot", "picture", type=click.Path(path_type=Path, dir_okay=False), help="Draw the page to a .png, .pdf or .svg."
)
@json_option
def sync(scan_id: str, picture: Path | None, as_json: bool) -> None:
    """Tell how the clocks of a scan go together, and whether its streams agree.

    SCAN_ID is a whole token, such as scan9FY6AIRM. Exit status 1 where a clock is not placed, a stream fails, or there
    is no certificate that holds; a warning alone is 0.
    """
    from adamacs import pipeline

    pipeline.connect()
    scans = (pipeline.scan.Scan & {"scan_id": scan_id}).keys()
    if len(scans) != 1:
        raise InvalidKey(f"{len(scans)} scans have this token.", {"scan_id": scan_id})
    lines = [_line(row) for row in _clocks(scans[0])]
    remarks = (pipeline.event.EventImport & scans[0]).to_dicts(order_by="source")
    told = {row["source"]: row["remarks"].splitlines() for row in remarks if row["remarks"]}
    certificate = certificate_of(scans[0])
    if picture is not None:
        _draw(scans[0], picture)
    if as_json:
        print_json({"clocks": lines, "remarks": told, "certificate": certificate})
    else:
        clocks = [*map(_spelt, lines), *_spelt_remarks(told)] or ["This scan has no clocks."]
        click.echo(visible("\n".join([*clocks, "", *spelt_certificate(certificate)]), "\n"))
    sys.exit(0 if all(line["placed"] for line in lines) and certificate["holds"] else 1)


def _draw(scan: Any, picture: Path) -> None:
    from adamacs.analysis import sync_plot
    from adamacs.analysis.sync_page import read_certificate

    sync_plot.save(read_certificate(scan), picture)


def certificate_of(scan: Any) -> dict[str, Any]:
    """Return what is told of the certificate of a scan, and of each stream."""
    from adamacs import pipeline
    from adamacs.analysis.certificate import RENEW, outdated
    from adamacs.core import settings

    found = (pipeline.sync.Certificate & scan).to_dicts()
    if not found:
        return {"verdict": None, "holds": False, "why": f"adamacs why sync.Certificate scan_id={scan['scan_id']}"}
    old = outdated(scan)
    said = [f"It is outdated: {' '.join(old)} {RENEW}"] if old else []
    if found[0]["thresholds"] != dataclasses.asdict(settings.active().sync):
        said.append("It was judged by other thresholds than the settings have now.")
    streams = (pipeline.sync.Certificate.Stream & scan).to_dicts(order_by="stream")
    verdict = found[0]["verdict"]
    return {
        "verdict": verdict,
        "holds": verdict != "fail" and not old,
        "why": " ".join(said),
        "thresholds": found[0]["thresholds"],
        "streams": [_stream(row) for row in streams],
    }


def _stream(row: dict[str, Any]) -> dict[str, Any]:
    """Return what is told of a stream: its columns, under the names that other parts of the answer have."""
    renamed = {"stream_verdict": "verdict", "stream_why": "why"}
    return {renamed.get(name, name): value for name, value in row.items() if name not in ("session_id", "scan_id")}


def _clocks(scan: Any) -> list[dict[str, Any]]:
    from adamacs import pipeline

    synced = {row["clock"]: row for row in (pipeline.sync.ClockSync & scan).to_dicts()}
    sources = (pipeline.event.BehaviorRecording.Source & scan).to_dicts(order_by="source DESC")
    named = {row["clock"]: row["source"] for row in sources}
    rows = (pipeline.clock.Clock & scan).to_dicts(order_by="clock")
    return [{**row, "source": named.get(row["clock"]), "sync": synced.get(row["clock"])} for row in rows]


def _line(row: dict[str, Any]) -> dict[str, Any]:
    """Return what is told of a clock; offset in s, drift in parts per million, residuals in µs."""
    found = row["sync"]
    line = {"clock": row["clock"], "zero": row["zero"], "placed": bool(row["is_scan_time"] or found)}
    if row["is_scan_time"]:
        return {**line, "scan_time": True}
    if not row["placed_by"]:
        return {**line, "why": "the setup type does not say how: add [[align]] to its file"}
    if found is None:
        return {**line, "why": f"adamacs why sync.ClockSync scan_id={row['scan_id']},source={row['source']}"}
    return {
        **line,
        "model": found["clock_model"],
        "offset_s": found["clock_offset"],
        "drift_ppm": found["clock_drift"],
        "residual_us": {name: 1e6 * found[f"residual_{name}"] for name in ("median", "p95", "max")},
        "pairs": {"used": found["pairs_used"], "rejected": found["pairs_rejected"]},
        "alone": {"clock": found["source_alone"], "scan_time": found["target_alone"]},
        "method": found["sync_method"],
    }


def _spelt(line: dict[str, Any]) -> str:
    name = f"{line['clock']:10}"
    if line.get("scan_time"):
        return f"{name} scan time: {line['zero']}"
    if not line["placed"]:
        return f"{name} NOT PLACED: {line['why']}"
    residual, pairs, alone = line["residual_us"], line["pairs"], line["alone"]
    return (
        f"{name} offset {line['offset_s']:+.6f} s, drift {line['drift_ppm']:+.2f} ppm ({line['model']}); residual "
        f"{residual['median']:.0f} µs median, {residual['p95']:.0f} p95, {residual['max']:.0f} max; "
        f"{pairs['used']} pairs, {pairs['rejected']} rejected, {alone['clock']} and {alone['scan_time']} alone\n"
        f"{'':10} {line['method']}"
    )


def _spelt_remarks(told: dict[str, list[str]]) -> list[str]:
    return [f"{source:10} {remark}" for source, remarks in told.items() for remark in remarks]


def spelt_certificate(told: dict[str, Any]) -> list[str]:
    if told["verdict"] is None:
        return [f"NOT CERTIFIED: {told['why']}"]
    streams = [f"  {one['verdict'].upper():6} {one['stream']:20} {one['why']}" for one in told["streams"]]
    return [" ".join(filter(None, [f"{told['verdict'].upper()}, {len(streams)} streams.", told["why"]])), *streams]
