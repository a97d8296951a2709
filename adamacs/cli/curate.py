"""`adamacs curate add|restore`."""

from __future__ import annotations

from pathlib import Path

import click

from adamacs.cli.prompt import confirm, one_row, yes_option
from adamacs.core.errors import describe


@click.group()
def curate() -> None:
    """Register results that a person edited as a further curation."""


@curate.command()
@click.argument("key", metavar="KEY")
@click.option("--folder", type=click.Path(path_type=Path, exists=True, file_okay=False), help="The edited folder.")
@click.option("--note", default="", help="What was changed, and why.")
@yes_option
def add(key: str, folder: Path | None, note: str, yes: bool) -> None:
    """Keep the folder that Suite2p's GUI saved to as a further curation of the Processing that KEY names.

    KEY is name=value[,name=value], such as scan_id=scan9FY6AIRM,paramset_idx=0.
    """
    from adamacs import pipeline
    from adamacs.core import settings
    from adamacs.modalities.imaging.plan import apply_curation, plan_curation

    pipeline.connect()
    row = one_row(pipeline.imaging.Processing, key)
    plan = plan_curation(row, settings.active(), folder=folder, note=note)
    confirm(plan.describe(), yes)
    click.echo(describe(apply_curation(plan, settings.active())))


@curate.command()
@click.argument("key", metavar="KEY")
@yes_option
def restore(key: str, yes: bool) -> None:
    """Put back what Suite2p's GUI replaced in the folder of the Curation that KEY names, since it was finished.

    KEY is name=value[,name=value], such as scan_id=scan9FY6AIRM,paramset_idx=0,curation_id=1.
    """
    from adamacs import pipeline
    from adamacs.core import settings
    from adamacs.modalities.imaging.plan import apply_restoration, plan_restoration

    pipeline.connect()
    plan = plan_restoration(one_row(pipeline.imaging.Curation, key), settings.active())
    confirm(plan.describe(), yes)
    apply_restoration(plan)
    click.echo(f"put back {', '.join(plan.files)}")
