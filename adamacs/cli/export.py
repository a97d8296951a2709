"""`adamacs export`."""

from __future__ import annotations

from pathlib import Path

import click

from adamacs.cli.prompt import one_row


@click.command()
@click.argument("table")
@click.argument("key", metavar="KEY")
@click.argument("column")
@click.argument("output", type=click.Path(path_type=Path))
def export(table: str, key: str, column: str, output: Path) -> None:
    """Write a stored array as .npy or .h5.

    It is the one in COLUMN of one row of TABLE, and OUTPUT the file.
    TABLE is a module and a table, such as imaging.Fluorescence.Trace; KEY is name=value[,name=value].
    """
    from adamacs import pipeline
    from adamacs.core.errors import InvalidKey
    from adamacs.storage.arrays import ArrayReference
    from adamacs.storage.export import export as write

    pipeline.connect()
    module, _, names = table.partition(".")
    if module not in pipeline.SPINE + pipeline.MODALITIES:
        raise InvalidKey(f"There is no module {module!r}.", table, "Example: imaging.Fluorescence.Trace.")
    place = getattr(pipeline, module)
    for name in names.split("."):
        place = getattr(place, name, None)
    if not hasattr(place, "heading"):
        raise InvalidKey("There is no such table.", table, "Example: imaging.Fluorescence.Trace.")
    row = one_row(place, key)
    if column not in place.heading.names:
        raise InvalidKey(f"There is no column {column}.", table, f"Columns: {', '.join(place.heading.names)}.")
    stored = (place & row).fetch1(column)
    if not isinstance(stored, ArrayReference):
        raise InvalidKey(f"The column {column} holds no array.", table, f"It holds: {stored}.")
    write(stored, output)
    click.echo(str(output))
