"""`adamacs jobs list|show|retry|cancel|exclude|prioritize|pause|resume`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from adamacs.cli.prompt import confirm, json_option, print_json, typed_key, yes_option
from adamacs.core.errors import InvalidKey

if TYPE_CHECKING:
    from adamacs.workers.jobs import Change, Selection


class _ListsByDefault(click.Group):
    """A group whose bare name, or with nothing but options, means its verb `list`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not args or (args[0].startswith("-") and args[0] not in (*ctx.help_option_names, "--help")):
            args = ["list", *args]
        return super().parse_args(ctx, args)


def _where(required: bool) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    return click.argument("where", nargs=-1, required=required, metavar="[TABLE] [KEY]")


_class = click.option(
    "--class", "failure", metavar="CLASS", help="Only keys that failed like this: permission, tool, ..."
)
_reason = click.option("--reason", default="", help="Why, for those who ask later.")


@click.group(cls=_ListsByDefault)
def jobs() -> None:
    """List, retry, cancel, leave out and hurry keys that are not computed; pause workers.

    TABLE is a module and a table, such as imaging.Processing; KEY is name=value[,name=value], and may be a part of the
    key. Without a verb: list.
    """


@jobs.command("list")
@_where(required=False)
@click.option("--status", metavar="STATUS", help="Only pending, reserved (in work), error or ignore (left out).")
@_class
@json_option
def list_jobs(where: tuple[str, ...], status: str | None, failure: str | None, as_json: bool) -> None:
    """List the keys that workers know and that are not computed: in work, in the queue, failed, left out."""
    from adamacs.workers import jobs as queue

    found = queue.listing(_selection(where), status=status, failure=failure)
    if as_json:
        print_json([asdict(job) for job in found])
    else:
        click.echo("\n".join(job.describe() for job in found) or "Nothing. What is missing all the same: adamacs why")


@jobs.command()
@_where(required=True)
@json_option
def show(where: tuple[str, ...], as_json: bool) -> None:
    """Show a key with every attempt at it: worker, versions, times, memory, traceback and log."""
    from adamacs.workers import jobs as queue

    found = queue.show(_selection(where))
    if as_json:
        print_json([asdict(history) for history in found])
    else:
        click.echo("\n\n".join(history.describe() for history in found))


@jobs.command()
@_where(required=False)
@_class
@yes_option
@json_option
def retry(where: tuple[str, ...], failure: str | None, yes: bool, as_json: bool) -> None:
    """Let keys that failed be tried again, and forget how often they failed; the attempts stay on record.

    A key that was left out is taken in again where KEY names it.
    """
    from adamacs.workers import jobs as queue

    if not where and failure is None:
        raise click.UsageError("Say what to try again: TABLE, KEY or --class.")
    _change(queue.plan_retry(_selection(where), failure=failure), yes, as_json)


@jobs.command()
@_where(required=True)
@_reason
@yes_option
@json_option
def cancel(where: tuple[str, ...], reason: str, yes: bool, as_json: bool) -> None:
    """Leave keys out that are in work, and end what can be ended. `retry` takes them in again.

    A key that a slot of `adamacs work` computes alone is ended at once. A batch of cheap keys is computed to the end,
    and its results are refused. A notebook or script goes on: interrupt it there.
    """
    from adamacs.workers import jobs as queue

    _change(queue.plan_cancel(_selection(where), reason=reason), yes, as_json)


@jobs.command()
@click.argument("table")
@click.argument("key", metavar="KEY")
@_reason
@yes_option
@json_option
def exclude(table: str, key: str, reason: str, yes: bool, as_json: bool) -> None:
    """Leave keys out that are not computed. `retry` takes them in again."""
    from adamacs.workers import jobs as queue

    _change(queue.plan_exclude(_selection((table, key)), reason=reason), yes, as_json)


@jobs.command()
@click.argument("table")
@click.argument("key", metavar="KEY")
@click.option(
    "--priority",
    type=click.IntRange(0, 127),
    default=1,
    show_default=True,
    help="0 first, 127 last; 5 is usual.",
)
@yes_option
@json_option
def prioritize(table: str, key: str, priority: int, yes: bool, as_json: bool) -> None:
    """Take keys up before others, or after them."""
    from adamacs.workers import jobs as queue

    _change(queue.plan_priority(_selection((table, key)), priority), yes, as_json)


_role = click.option("--role", help="Only workers of this role.")
_table = click.option("--table", help="Only this table.")


@jobs.command()
@_role
@_table
@_reason
@yes_option
@json_option
def pause(role: str | None, table: str | None, reason: str, yes: bool, as_json: bool) -> None:
    """Let workers take up no further key. Those in work finish, and new ones are still noticed."""
    from adamacs.workers import pauses

    scope = _scope(role, table)
    confirm(f"pause {_spoken(scope)}", yes, as_json=as_json)
    pauses.pause(scope, reason)
    _tell(f"paused {_spoken(scope)}", {"paused": scope}, as_json)


@jobs.command()
@_role
@_table
@yes_option
@json_option
def resume(role: str | None, table: str | None, yes: bool, as_json: bool) -> None:
    """End a pause."""
    from adamacs.workers import pauses

    scope = _scope(role, table)
    confirm(f"resume {_spoken(scope)}", yes, as_json=as_json)
    pauses.resume(scope)
    _tell(f"resumed {_spoken(scope)}", {"resumed": scope}, as_json)


def _scope(role: str | None, table: str | None) -> str:
    """Return what is to be paused, after checking that it exists."""
    from adamacs import pipeline
    from adamacs.core import settings
    from adamacs.workers import pauses, roles
    from adamacs.workers.catalogue import Catalogue

    pipeline.connect()
    if role:
        roles.named(role)
    if table:
        table = pipeline.table_name(Catalogue(settings.active()).filled_named(table))
    return pauses.scope(role, table)


def _spoken(scope: str) -> str:
    return "everything" if scope == "all" else scope.replace(":", " ")


def _change(change: Change, yes: bool, as_json: bool) -> None:
    """Print a plan, ask, apply it and tell what came of it."""
    from adamacs.workers import jobs as queue

    if change.jobs:
        confirm(change.describe(), yes, as_json=as_json)
    else:
        click.echo(change.describe(), err=as_json)
    done = queue.apply(change)
    left = f"; {len(change.jobs) - len(done)} changed meanwhile and stay" if len(done) < len(change.jobs) else ""
    queued = f"; already queued: {change.queued}" if change.queued else ""
    content = {"changed": [asdict(job) for job in done], "queued": change.queued}
    _tell(f"{change.verb}: {len(done)} keys{left}{queued}", content, as_json)


def _tell(sentence: str, content: Any, as_json: bool) -> None:
    if as_json:
        print_json(content)
    else:
        click.echo(sentence)


def _selection(where: tuple[str, ...]) -> Selection:
    """Return the tables that arguments `[TABLE] [KEY]` mean, each with the key that they give."""
    from adamacs import pipeline
    from adamacs.core import settings
    from adamacs.workers.catalogue import Catalogue

    texts = [text for text in where if "=" in text]
    names = [text for text in where if "=" not in text]
    if len(texts) > 1 or len(names) > 1:
        raise click.UsageError("Give one TABLE and one KEY at most.")
    pipeline.connect()
    catalogue = Catalogue(settings.active())
    tables = [catalogue.filled_named(names[0])] if names else list(catalogue.filled.values())
    if not texts:
        return [(table, {}) for table in tables]
    if names:
        return [(tables[0], catalogue.key_of(tables[0], typed_key(tables[0], texts[0])))]
    return _fitting(tables, texts[0])


def _fitting(tables: list[Any], text: str) -> Selection:
    """Return the tables whose key has every column of a KEY."""
    columns = {part.partition("=")[0].strip() for part in text.split(",")}
    found = [(table, typed_key(table, text)) for table in tables if columns <= set(table.primary_key)]
    if not found:
        raise InvalidKey("No table that workers fill has such a key.", text, "Expected name=value[,name=value].")
    return found
