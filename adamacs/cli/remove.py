"""`adamacs remove SCAN` and `adamacs remove --run RUN`."""

from __future__ import annotations

from dataclasses import asdict

import click

from adamacs.cli.prompt import confirm, json_option, print_json, yes_option


@click.command()
@click.argument("scan_ids", metavar="[SCAN]...", nargs=-1)
@click.option("--run", "run_id", metavar="RUN", help="Every scan that a run of the ingest brought in.")
@yes_option
@json_option
def remove(scan_ids: tuple[str, ...], run_id: str | None, yes: bool, as_json: bool) -> None:
    """Remove scans, or all that a run brought in, with everything computed from them.

    Raw files stay. Name scans, or with --run the run of an ingest that was a mistake: what it only added to scans that
    were there before stays.
    """
    from adamacs import pipeline
    from adamacs.core import settings
    from adamacs.ingest import ledger
    from adamacs.ingest.remove import apply_removal, plan_removal

    if bool(scan_ids) == bool(run_id):
        raise click.UsageError("Name scans, or a run with --run.")
    pipeline.connect()
    if run_id:
        scan_ids = ledger.scans_still_there(run_id)
    plans = plan_removal(*scan_ids)
    confirm("\n".join(plan.describe() for plan in plans) or "nothing to remove", yes, as_json=as_json)
    with ledger.run("remove", {"scans": scan_ids, "run": run_id}, settings.active()) as run:
        apply_removal(plans, settings.active(), run)
    if as_json:
        print_json([asdict(plan) for plan in plans])
    else:
        click.echo(run.summary())
