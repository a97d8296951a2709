"""`adamacs sync`: how the clocks of a scan go together."""

from __future__ import annotations

import sys
from typing import Any

import click

from adamacs.cli.prompt import json_option, print_json
from adamacs.core.errors import InvalidKey, visible


@click.command()
@click.argument("scan_id")
@json_option
def sync(scan_id: str, as_json: bool) -> None:
    """Tell how each clock of a scan is placed on scan time, and how sure that is.

    SCAN_ID is a whole token, such as scan9FY6AIRM. Exit status 1 where a clock is not placed.
    """
    from adamacs import pipeline

    pipeline.connect()
    scans = (pipeline.scan.Scan & {"scan_id": scan_id}).keys()
    if len(scans) != 1:
        raise InvalidKey(f"{len(scans)} scans have this token.", {"scan_id": scan_id})
    lines = [_line(row) for row in _clocks(scans[0])]
    remarks = (pipeline.event.EventImport & scans[0]).to_dicts(order_by="source")
    told = {row["source"]: row["remarks"].splitlines() for row in remarks if row["remarks"]}
    if as_json:
        print_json({"clocks": lines, "remarks": told})
    else:
        click.echo(visible("\n".join([*map(_spelt, lines), *_spelt_remarks(told)]) or "This scan has no clocks.", "\n"))
    sys.exit(0 if all(line["placed"] for line in lines) else 1)


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
