"""`adamacs remove SCAN`."""

from __future__ import annotations

from dataclasses import asdict

import click

from adamacs.cli.prompt import confirm, json_option, print_json, yes_option


@click.command()
@click.argument("scan_id", metavar="SCAN")
@yes_option
@json_option
def remove(scan_id: str, yes: bool, as_json: bool) -> None:
    """Remove one scan with everything computed from it; raw files stay."""
    from adamacs import pipeline
    from adamacs.core import settings
    from adamacs.ingest.remove import apply_removal, plan_removal

    pipeline.connect()
    plan = plan_removal(scan_id)
    confirm(plan.describe(), yes, as_json=as_json)
    apply_removal(plan, settings.active())
    if as_json:
        print_json(asdict(plan))
    else:
        click.echo(f"removed {scan_id}")
