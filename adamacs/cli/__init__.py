"""The command `adamacs`: one module per group of verbs, imported when one of its verbs is used."""

from __future__ import annotations

import os
import sys
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import click

from adamacs import __version__
from adamacs.core.errors import AdamacsError, visible

# Verb -> (module below adamacs.cli, attribute, the sentence that --help shows). The modules load only when used.
VERBS: dict[str, tuple[str, str, str]] = {
    "check": ("check", "check", "Tell whether database, roots, stores, tools and devices are fit for work."),
    "consolidate": ("consolidate", "consolidate", "Gather what the rig wrote into one recording folder on the share."),
    "curate": ("curate", "curate", "Register results that a person edited as a further curation."),
    "db": ("db", "db", "Start, stop, make, share, dump and restore the database."),
    "demo": ("demo", "demo", "Write a synthetic lab, ingest it, process it and score what was recovered."),
    "explain": ("explain", "explain", "Say what a folder name or a token means, or why it is refused."),
    "export": ("export", "export", "Write a stored array as .npy or .h5."),
    "ingest": ("ingest", "ingest", "Plan recordings into rows, and apply the plan."),
    "jobs": ("jobs", "jobs", "List, retry, cancel, leave out and hurry keys that are not computed; pause workers."),
    "paramset": ("paramset", "paramset", "List, add and activate processing parameter sets."),
    "parse": ("arrival", "parse", "Show what a reader makes of a file or folder, finished or not."),
    "profile": ("profile", "profile", "List, show and take over what an ingest assumes for each person."),
    "quarantine": ("arrival", "quarantine", "List what was held back on arrival; release it, or leave it out."),
    "record": ("replay", "record", "Record how a folder grows."),
    "remove": ("remove", "remove", "Remove scans, or all that a run brought in, with everything computed from them."),
    "replay": ("replay", "replay", "Let a folder grow again as it was recorded."),
    "schema": ("schema", "schema", "Draw the tables."),
    "setups": ("setups", "setups", "List, show and check setup types: what a recording folder of each kind holds."),
    "status": ("state", "status", "Tell what is done, running, failed and waiting, on one screen."),
    "sync": ("sync", "sync", "Tell how the clocks of a scan go together, and whether its streams agree."),
    "validate": ("arrival", "validate", "Print every problem of a recording folder."),
    "watch": ("arrival", "watch", "Watch the share, and ingest what arrives once it is whole."),
    "why": ("state", "why", "Tell why a row is missing, and what to do."),
    "work": ("work", "work", "Compute what is missing, until told to stop."),
    "workers": ("state", "workers", "List the workers that are alive or fell silent, and what they do."),
}


# Whose errors tell what a database refused; they are not imported here, because that takes a second.
_DATABASE = ("datajoint", "psycopg2", "pymysql")


def _speak(ctx: click.Context, option: click.Parameter, count: int) -> None:
    """Show the log of the command on standard error, from the level on that all its `-v` ask for together."""
    before = ctx.meta.get(__name__, 0)
    ctx.meta[__name__] = before + count
    if count or ctx.parent is None:
        ctx.with_resource(_log(before + count))


@contextmanager
def _log(verbosity: int) -> Iterator[None]:
    from adamacs.core import logs

    with logs.verbose(verbosity), logs.showing(logs.Terminal(level=logs.level())):
        yield


VERBOSE = click.Option(
    ["-v", "--verbose"],
    count=True,
    expose_value=False,
    callback=_speak,
    help="Tell what is done (-v), or every step of it (-vv).",
)


def _may_be_verbose(command: click.Command) -> None:
    """Let a verb and those below it take `-v` too, so that it may stand before the verb or behind it."""
    if isinstance(command, click.Group):
        for verb in command.commands.values():
            _may_be_verbose(verb)
    elif VERBOSE not in command.params:
        command.params.append(VERBOSE)


class LazyGroup(click.Group):
    """A group that imports a verb's module when the verb is called, so that --help stays fast."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in VERBS:
            return None
        module, name, _ = VERBS[cmd_name]
        command: click.Command = getattr(import_module(f"adamacs.cli.{module}"), name)
        _may_be_verbose(command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Verbs"):
            formatter.write_dl([(name, VERBS[name][2]) for name in self.list_commands(ctx)])


@click.command(cls=LazyGroup, params=[VERBOSE], context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="adamacs")
def cli() -> None:
    """Recording folders become relational answers.

    The lab home is ADAMACS_HOME, else the nearest folder upwards that holds adamacs.toml, else ./lab.
    """


def _forget_stray_variables() -> None:
    """Forget DataJoint's variables of another project: a wrong value would end its import in a traceback."""
    for name in [name for name in os.environ if name.upper().startswith("DJ_")]:
        del os.environ[name]
    os.environ["DJ_IGNORE_CONFIG_FILE"] = "true"


def main(arguments: list[str] | None = None) -> Any:
    """Run the command line; an error that a user can mend becomes one line on stderr and exit status 1."""
    _forget_stray_variables()
    try:
        return cli.main(arguments, prog_name="adamacs")
    except AdamacsError as error:
        click.echo(visible(f"error: {error}", keep="\n\t"), err=True)
    except (OSError, UnicodeError, tomllib.TOMLDecodeError) as error:
        click.echo(visible(f"error: {error}", keep="\n\t"), err=True)
    except Exception as error:
        if type(error).__module__.partition(".")[0] not in _DATABASE:
            raise
        click.echo(visible(f"error: the database refused: {' '.join(str(error).split())}"), err=True)
    sys.exit(1)
