"""Write what follows from the code: commands, settings, tables, errors, failures, setup types, who fills which table.

`python docs/generate.py` rewrites them; `--check` changes nothing and fails where one is stale. The output is
committed, so that a reader of the repository and an offline build see it, and a change of the interface shows
in review. The same code gives the same bytes.
"""

from __future__ import annotations

import ast
import re
import sys
import tomllib
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import MISSING, dataclass
from inspect import cleandoc, isclass
from pathlib import Path
from types import ModuleType
from typing import Any

import click

from adamacs import cli, pipeline
from adamacs.analysis import diagram
from adamacs.core import errors, failures, logs, points, settings, setup_wiring, setups, toml
from adamacs.schemas.definition import Catalogue, Column, ForeignKey, Table
from adamacs.workers import roles

HERE = Path(__file__).resolve().parent
SOURCE = HERE.parent / "adamacs"
POPULATION = HERE / "explanations" / "worker_population.md"
NOTE = "<!-- Written by docs/generate.py from the code: change the code, then run `python docs/generate.py`. -->"

# Variables that are no setting: who reads them, and what they do.
OTHER_VARIABLES = {
    "ADAMACS_HOME": (
        "every command, `make demo`",
        "The lab home. Without it: the nearest folder upwards that holds `adamacs.toml`, else `./lab`.",
    ),
    logs.VARIABLE: (
        "every command",
        f"From which level on the [log](../how-to/logs.md) is shown: {', '.join(f'`{name}`' for name in logs.LEVELS)}. "
        "`v` is `-v`, `vv` is `-vv`, and an option on the command line goes over the variable. Without it: `error`.",
    ),
    points.VARIABLE: (
        "the chaos suite",
        f"A place and an arrival at which a worker kills itself, `before commit:3`: {', '.join(points.NAMES)}. Never "
        "set it where results are wanted.",
    ),
    "ADAMACS_TEST_MYSQL_URL": (
        "`make test`",
        "A MySQL or MariaDB server whose account may create databases; the integration tests run there too. "
        "Without it they start `mariadbd` or, where that is not installed, `mysqld`.",
    ),
    "ADAMACS_TEST_MYSQLD": (
        "`make test`, `make chaos`, `make bench`",
        "Name or path of the server program of the MySQL family to start, MariaDB's or MySQL's, where several are "
        "installed.",
    ),
    "ADAMACS_TEST_POSTGRESQL_URL": (
        "`make test`",
        "A PostgreSQL server and database whose account may create schemas and roles; the integration tests run there "
        "instead of on the embedded server.",
    ),
    "ADAMACS_REAL_DATA": (
        "`make test`",
        "A folder of real ScanImage recordings, which the reader's tests then read as well. Nothing is written there.",
    ),
    "ADAMACS_TEST_REQUIRE": (
        "`make test`",
        "Kinds of things that must be there, so that a test that would be skipped fails instead. `.ci/run` sets it.",
    ),
    "ADAMACS_TEST_LONG": (
        "`make test`",
        "Any value: tests of faults and of pairing run in their long form, such as 10 000 hostile trees of names, or "
        "1000 random sessions in place of 40.",
    ),
    "PYTHON": ("`make`", "The interpreter that `.venv` is made with, 3.11 to 3.13; by default `python3`."),
    "TORCH": ("`make`", "`cpu` (the default) or `cuda`: which build of torch to install."),
    "TORCH_INDEX": (
        "`make`",
        "Address of a package index that holds torch's CPU build, where pip's own sources do not have it. "
        'pytorch.org names it under "Start locally".',
    ),
    "OMP_NUM_THREADS": (
        "`adamacs work`, `make test`",
        "Threads of the numerical libraries. Set it when several workers share a machine; the setting "
        "`workers.threads` is adamacs' own limit.",
    ),
}


# ---- the command line


def command_line() -> str:
    """Return the page of every command with its arguments and options."""
    with click.Context(cli.cli, info_name="adamacs") as context:
        verbs = {name: cli.cli.get_command(context, name) for name in cli.cli.list_commands(context)}
    index = [f"| [`adamacs {name}`](#adamacs-{name}) | {_cell(cli.VERBS[name][2])} |" for name in verbs]
    parts = [
        "# Command line",
        "One command, `adamacs`. What ingests, adds, grants, restores or removes prints its plan and asks first; "
        "`--yes` agrees beforehand, and without a terminal to ask at, nothing is changed. A KEY is "
        "`name=value[,name=value]`, never SQL. An error is one line on stderr and exit status 1; a command that is "
        "typed wrongly ends with 2. "
        "`-v` (or `--verbose`), before or behind the verb, shows what is done, `-vv` every step "
        "([Read the logs](../how-to/logs.md)). "
        "`-h` or `--help` behind any verb explains it, `--version` right behind `adamacs` tells the version, and "
        "`python -m adamacs` is the same command.",
        "\n".join(["| verb | what it does |", "|---|---|", *index]),
    ]
    for name, command in verbs.items():
        if command is not None:
            parts += _command(command, ["adamacs", name])
    return _page(parts)


def _command(command: click.Command, path: list[str], parent: click.Context | None = None) -> Iterator[str]:
    context = click.Context(command, info_name=path[-1], parent=parent)
    title = " ".join(path)
    yield f"{'#' * min(len(path), 3)} {title}"
    yield cleandoc(command.help or "").replace("\b\n", "")
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            child = command.get_command(context, name)
            if child is not None:
                yield from _command(child, [*path, name], context)
        return
    yield "\n".join(["```text", " ".join([title, *command.collect_usage_pieces(context)]), "```"])
    options = [o for o in command.params if isinstance(o, click.Option) and not o.hidden and o is not cli.VERBOSE]
    if options:
        rows = [f"| {_flags(option)} | {_cell(option.help or '')}{_default(option)} |" for option in options]
        yield "\n".join(["| option | meaning |", "|---|---|", *rows])


def _flags(option: click.Option) -> str:
    names = ", ".join(f"`{name}`" for name in (*option.opts, *option.secondary_opts))
    if option.is_flag:
        return names
    kind = option.type
    value = "\\|".join(kind.choices) if isinstance(kind, click.Choice) else kind.name.upper()
    return f"{names} {value}"


def _default(option: click.Option) -> str:
    shown = option.show_default and isinstance(option.default, (str, int, float))
    return f" Default: `{option.default}`." if shown else ""


# ---- settings and environment


def settings_page() -> str:
    """Return the page of every setting."""
    rows = {name: (kind, default, doc) for name, kind, default, doc in settings.documented()}
    sections: dict[str, list[str]] = {}
    for name, (kind, default, doc) in rows.items():
        section = name.rpartition(".")[0]
        sections.setdefault(section, []).append(f"| `{name}` | {kind} | {_value(default)} | {_cell(doc)} |")
    parts = [
        "# Settings",
        "Settings stand in `adamacs.toml` in the [lab home](lab-home.md). An environment variable goes over the "
        "file: `ADAMACS_SECTION_FIELD`, so that `ADAMACS_DATABASE_URL` sets `database.url` "
        "([all of them](environment.md)). A secret (type Secret) never stands in `adamacs.toml`: it comes from the "
        "environment, or from `secrets.toml` beside it, which only its owner may read (mode 0600). No log, message "
        "or table shows it. An unknown or mistyped setting is refused, with the nearest known name.",
        "`adamacs db init` writes this file, and an existing one is never changed:",
        f"```toml\n{settings.template().strip()}\n```",
    ]
    for section, lines in sections.items():
        parts.append(f"## {f'[{section}]' if section else 'At the top'}")
        parts.append("\n".join(["| setting | type | default | meaning |", "|---|---|---|---|", *lines]))
    parts.append(
        "`<name>` stands for the name of a store or role. A lab has one store, `derived`, and every array lies there. "
        "The roles `cpu` and `gpu` are there unsaid; a section with another name adds one: "
        '`[roles.tracking]`, `tables = ["imaging.Processing"]`, `needs = ["cuda", "memory:64"]`.'
    )
    return _page(parts)


def environment() -> str:
    """Return the page of every environment variable."""
    names = [(variable_of(name), name, doc) for name, _, _, doc in settings.documented()]
    rows = [f"| `{variable}` | `{name}` | {_cell(doc)} |" for variable, name, doc in names]
    others = [f"| `{name}` | {reader} | {_cell(doc)} |" for name, (reader, doc) in OTHER_VARIABLES.items()]
    return _page(
        [
            "# Environment variables",
            "A variable goes over the same setting in `adamacs.toml`. Truth values are written `true` or `false`. "
            "A list is written with commas: `ADAMACS_ROLES_GPU_NEEDS=cuda,memory:64`. "
            "`<NAME>` is the name of a store or role in capitals: `ADAMACS_STORES_DERIVED_SECRET_KEY`. "
            "A password inside `ADAMACS_DATABASE_URL` is taken out and kept as `database.password`.",
            "## Settings",
            "\n".join(["| variable | setting | meaning |", "|---|---|---|", *rows]),
            "## Others",
            "\n".join(["| variable | read by | meaning |", "|---|---|---|", *others]),
        ]
    )


def variable_of(setting: str) -> str:
    """Return the environment variable of a setting."""
    return f"ADAMACS_{setting.upper().replace('.', '_')}"


def _value(default: Any) -> str:
    if isinstance(default, settings.Secret | setup_wiring.Clock) or default in ("", ()):
        return ""
    return f"`{str(default).lower() if isinstance(default, bool) else default}`"


# ---- tables


def table_page() -> str:
    """Return the page of every table and column, and per module a drawing of who depends on whom."""
    catalogue = diagram.read_tables()
    parts = [
        "# Tables",
        "Every table that `adamacs.pipeline` exports, in the order in which they depend on each other. A database "
        "schema is named `<prefix>_<module>`, by default `adamacs_imaging` and so on. Key columns are marked with \\*; "
        "a row `-> table` stands for that table's whole key. Manual tables hold what people and the ingest write, "
        "Lookup tables a fixed vocabulary, Imported and Computed tables what a "
        "[worker](../explanations/worker_population.md) fills. `<array@derived>` is a lazy "
        "[array reference](stored-arrays.md).",
        "In a drawing an arrow leads from a table to those that need it; it is dashed where the parent is not part of "
        "the key. `adamacs schema diagram tables.svg` draws the same as a picture.",
    ]
    for module in dict.fromkeys(table.schema for table in catalogue):
        drawing = diagram.mermaid(diagram.select(catalogue, [module]))
        parts += [f"## {module}", _sentence(module), f"```mermaid\n{drawing.strip()}\n```"]
        for table in catalogue:
            if table.schema == module:
                parts += _table(table, catalogue)
    return _page(parts)


def undocumented_columns() -> list[str]:
    """Return `module.Table.column` of every column that neither its definition nor docs/columns.toml explains."""
    notes, columns = column_notes(), _own_columns()
    return [name for name, comment in columns.items() if not comment and name not in notes]


def needless_notes() -> list[str]:
    """Return what docs/columns.toml explains needlessly: the definition does so itself, or has no such column."""
    columns = _own_columns()
    return [name for name in column_notes() if columns.get(name, "-")]


def column_notes() -> dict[str, str]:
    """Return what docs/columns.toml says of columns without a comment of their own, by `module.Table.column`."""
    content = tomllib.loads((HERE / "columns.toml").read_text(encoding="utf-8"))
    return {f"{table}.{column}": note for table, notes in content.items() for column, note in notes.items()}


def _own_columns() -> dict[str, str]:
    tables = diagram.read_tables()
    return {f"{_full(table)}.{c.name}": c.comment for table in tables for c in table.definition.columns}


def _full(table: Table) -> str:
    return f"{table.schema}.{table.name}"


def _sentence(module: str) -> str:
    return (_export(module).__doc__ or "").strip().partition("\n")[0]


def _export(module: str) -> ModuleType:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # DataJoint's remarks on import; adamacs.toml takes the place of datajoint.json
        exported: ModuleType = getattr(pipeline, module)
    return exported


def _table(table: Table, catalogue: Catalogue) -> Iterator[str]:
    yield f"### {_full(table)}"
    yield f"{table.tier}. {table.definition.comment}."
    notes = column_notes()
    rows, indexes = ["| column | type | meaning |", "|---|---|---|"], []
    for line in table.definition.lines:
        if isinstance(line, ForeignKey):
            rows.append(_parent_row(line, _full(catalogue.parent(table, line))))
        elif isinstance(line, Column):
            default = f", default `{line.default}`" if line.default else ""
            meaning = line.comment or notes.get(f"{_full(table)}.{line.name}", "")
            rows.append(f"| `{line.name}`{_mark(line)} | `{line.type}`{default} | {_cell(meaning)} |")
        else:
            names = ", ".join(f"`{name}`" for name in line.columns)
            indexes.append(f"{'Unique' if line.unique else 'Indexed'}: {names}.")
    yield "\n".join(rows)
    yield from indexes
    if contents := _contents(table):
        yield "Rows: " + ", ".join(f"`{row}`" for row in contents) + "."


def _parent_row(line: ForeignKey, parent: str) -> str:
    notes = ["may be empty"] if line.nullable else []
    notes += [f"`{there}` is `{here}` here" for there, here in line.renamed]
    return f"| -> [{parent}](#{parent.lower().replace('.', '')}){_mark(line)} | | {', '.join(notes)} |"


def _mark(line: Column | ForeignKey) -> str:
    return " \\*" if line.in_key else ""


def _contents(table: Table) -> list[Any]:
    """Return the keys of the rows that a Lookup table has from the start."""
    if table.tier != "Lookup":
        return []
    rows = getattr(_export(table.schema), table.name).contents
    return [next(iter(row.values())) if isinstance(row, dict) else row[0] for row in rows]


# ---- errors


@dataclass(frozen=True)
class Message:
    """One place where the code raises an error: what it says, and what it advises."""

    error: str
    module: str
    what: str
    hint: str


def error_page() -> str:
    """Return the page of every error with the messages that the code can give."""
    said = messages()
    parts = [
        "# Errors",
        "Every error that adamacs raises on purpose is an `AdamacsError`. It has three parts: what happened (`what`), "
        "to which file or key (`where`), and what to try (`hint`). On the command line it is one line:",
        "```text\nerror: <where>: <what> <hint>\n```",
        "The exit status is then 1. From Python, catch the class you can do something about. `…` in a message stands "
        "for a name or a number. [Refused folders](../how-to/refused-folders.md) have a page of their own.",
    ]
    for name, kind in classes().items():
        own = [message for message in said if message.error == name]
        bases = [base.__name__ for base in kind.__mro__[1:] if issubclass(base, Exception) and base is not Exception]
        parts.append(f"## {name}")
        parts.append(f"{cleandoc(kind.__doc__ or '').splitlines()[0]} ({', '.join(bases) or 'Exception'})")
        if own:
            rows = [f"| {_cell(m.what)} | {_cell(m.hint)} | `{m.module}` |" for m in own]
            parts.append("\n".join(["| it says | try | raised in |", "|---|---|---|", *dict.fromkeys(rows)]))
    return _page(parts)


def classes() -> dict[str, type[errors.AdamacsError]]:
    """Return the family of errors by name, in the order of the code."""
    return {k: v for k, v in vars(errors).items() if isclass(v) and issubclass(v, errors.AdamacsError)}


def messages() -> list[Message]:
    """Collect what the code says wherever it makes an error of the family, as far as it can be read off the source."""
    trees = {_dotted(path): ast.parse(path.read_text(encoding="utf-8")) for path in sorted(SOURCE.rglob("*.py"))}
    makers = {name: name for name in classes()} | dict(
        _makers(node for tree in trees.values() for node in ast.walk(tree))
    )
    found = []
    for module, tree in trees.items():
        constants = _constants(tree)
        for function in (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)):
            for call in (node for node in ast.walk(function) if isinstance(node, ast.Call) and node.args):
                if error := makers.get(_called(call)):
                    before = (node for node in ast.walk(function) if getattr(node, "lineno", 0) <= call.lineno)
                    words = constants | _words(before, constants)
                    what, hint = _said(call.args[0], words), _said(_advice(call), words)
                    found.append(Message(error, module, what, hint))
    return list(dict.fromkeys(message for message in found if re.search("[a-z]", message.what)))


def _dotted(path: Path) -> str:
    return path.relative_to(SOURCE.parent).with_suffix("").as_posix().replace("/", ".").removesuffix(".__init__")


def _makers(nodes: Iterable[ast.AST]) -> Iterator[tuple[str, str]]:
    """Yield functions that return an error of the family for a sentence `what`, such as `file.corrupt(what)`."""
    for node in nodes:
        if isinstance(node, ast.FunctionDef) and isinstance(node.returns, ast.Name) and node.returns.id in classes():
            takes = [argument.arg for argument in node.args.args if argument.arg != "self"]
            if takes[:1] == ["what"]:
                yield node.name, node.returns.id


def _called(call: ast.Call) -> str:
    if isinstance(call.func, ast.Attribute):
        return call.func.attr
    return call.func.id if isinstance(call.func, ast.Name) else ""


def _advice(call: ast.Call) -> ast.expr | None:
    named = [keyword.value for keyword in call.keywords if keyword.arg == "hint"]
    return named[0] if named else call.args[2] if len(call.args) > 2 else None


def _constants(tree: ast.Module) -> dict[str, str]:
    """Return the texts that a module names in capitals; one may be part of another."""
    simple = {name: text for name, text in _words(tree.body).items() if name.isupper()}
    return {name: text for name, text in _words(tree.body, simple).items() if name.isupper()}


def _words(nodes: Iterable[ast.AST], known: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the texts that a piece of code gives names to, the last where a name is given twice."""
    assigned = [node for node in nodes if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)]
    return {
        node.targets[0].id: _said(node.value, known or {})  # type: ignore[attr-defined]
        for node in sorted(assigned, key=lambda node: node.lineno)
    }


def _said(node: ast.expr | None, words: Mapping[str, str]) -> str:
    """Return a text of the source; a name that is filled in at run time stands as `<name>`, all else as `…`."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value.replace("\n", " ")
    if isinstance(node, ast.JoinedStr):
        return "".join(_piece(value, words) for value in node.values).replace("\n", " ")
    return words.get(node.id, "") if isinstance(node, ast.Name) else ""


def _piece(value: ast.expr, words: Mapping[str, str]) -> str:
    if isinstance(value, ast.Constant):
        return str(value.value)
    name = value.value.id if isinstance(value, ast.FormattedValue) and isinstance(value.value, ast.Name) else ""
    return words[name] if name.isupper() and words.get(name) else f"<{name}>" if name else "…"


# ---- setup types

_EXAMPLE = HERE / "reference" / "setup-types.toml"


def setup_page() -> str:
    """Return the page of every setup type and rig that ships, and of every key of their files."""
    known = setups.load(modalities=pipeline.modalities())
    rigs = [f"| `{rig.name}` | {_cell(rig.controller)} | {_cell(rig.description)} |" for rig in known.rigs.values()]
    types = [
        f"| [`{setup.name}`](#{setup.name.lower()}) | {_texts(setup.spellings)} | {_texts(setup.rigs)} "
        f"| {'yes' if setup.verified else 'no'} |"
        for setup in known.setups.values()
    ]
    parts = [
        "# Setup types",
        "A setup type is what the operator chose at the rig: what is recorded there, and which files a folder of it "
        "holds. ScanImage's user function writes its name into the header (`ScanInfo.userfunction_info`); where there "
        "is no header, the person's [profile](../how-to/profiles.md) names it. Case, blanks, `-` and `_` of a spelling "
        "do not matter. An unknown name is refused with the nearest known ones "
        "([UnknownSetup](errors.md#unknownsetup)).",
        "`adamacs setups list` shows what a lab knows, `adamacs setups show NAME` all of one and the file that says "
        "it, `adamacs setups check FILE` everything that is wrong with a file.",
        "\n".join(["| setup type | other spellings | rigs | verified |", "|---|---|---|---|", *types]),
        "## Rigs",
        "They ship with a placeholder for the computer that controls them. A lab names its own in `rigs.toml` of its "
        "[home](lab-home.md): a table `[mini2p1]` with `controller`. A rig of the same name there goes over the one "
        "that ships. Rigs `aux1` and `aux2` record beside several setups, and no setup type names them.",
        "\n".join(["| rig | controlled by | what it is |", "|---|---|---|", *rigs]),
        "## A file of a lab's own",
        "A file `setups/<any name>.toml` in the lab home describes one setup type. One with the `name` of a setup type "
        "that ships takes its place, as a whole. Two setup types never share a spelling.",
        f"```toml\n{_read(_EXAMPLE).strip()}\n```",
        "\n".join(["| key | takes | default | meaning |", "|---|---|---|---|", *_setup_keys()]),
        "A watching service waits for a folder that lacks an expected file. So a kind of files is demanded "
        "(`least` above 0) only where every folder of the setup type holds it; the others stand there with `least = 0` "
        "for what they are. Where yours hold more, say so in a file of your own.",
        "## Readers",
        "Modalities declare them. `adamacs setups check` tells a name that none declares, and a key that a reader has "
        "no use for.",
        "\n".join(["| reader | of | reads | keys of its own |", "|---|---|---|---|", *_readers()]),
        "## Channels",
        "A channel is a digital line or an analog input of the auxiliary recording. Lines are counted by the bits of "
        "the digital word: bit 0 is the least significant bit and is line DI0. A recording holds active lines alone, "
        "so what counts is the order in which it lists them. A channel is found by its name where the recording lists "
        "one of its `names`, otherwise by its place. Where names and places contradict each other, where a channel "
        "that is needed is not there, or where a recording has digital lines that no channel claims, the setup type "
        "does not fit, and each contradiction is told. What names do not tell, pulses may: `rate`, `least`, `most`, "
        "`no_more_than` and `polarity` say what cannot be. Those bounds are wide on purpose. "
        "[How to add a setup](../how-to/add-a-setup.md) goes through it step by step.",
    ]
    for setup in known.setups.values():
        parts += _setup(setup)
    return _page(parts)


def _texts(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _setup_keys() -> Iterator[str]:
    for name, takes, default, doc in toml.documented(setups.SetupType):
        shown = "must be there" if default is MISSING else "" if default is None else _value(default)
        yield f"| `{name}` | {takes} | {shown} | {_cell(doc)} |"


def _readers() -> Iterator[str]:
    for modality in pipeline.modalities():
        for name, parser in modality.parsers.items():
            own = [*([f"`[{parser.table}]`"] if parser.table else []), *(f"`expected.{key}`" for key in parser.keys)]
            yield f"| `{name}` | {modality.name} | {_cell(parser.reads)} | {', '.join(own)} |"


def _setup(setup: setups.SetupType) -> Iterator[str]:
    yield f"### {setup.name}"
    yield _cell(setup.description)
    if setup.missing:
        yield "Not verified. A lab must fill in:\n\n" + "\n".join(f"- {_cell(missing)}" for missing in setup.missing)
    if setup.expected:
        rows = [f"| `{e.pattern}` | {e.count} | {_cell(e.what)} |" for e in setup.expected]
        yield "\n".join(["| files | how many | what |", "|---|---|---|", *rows])
    stream, otherwise = setup.clock.stream, setup.clock.otherwise
    readers = _texts(f"{source} ({reader})" for source, reader in setup.sources.items()) or "none"
    yield f"Scan time: `{stream}`{f', or `{otherwise}`' if otherwise else ''}. Sources and their readers: {readers}."
    if setup.channel:
        yield "\n".join(
            ["| channel | name | event | kind | what |", "|---|---|---|---|---|", *map(_channel, setup.channel)]
        )
    for align in setup.align:
        remark = "" if align.verified else f" Not verified: {_cell(align.missing)}"
        yield f"`{align.source}` is placed on scan time: {align.how}.{remark}"


def _channel(channel: setup_wiring.Channel) -> str:
    remarks = [
        channel.what,
        "" if channel.needed else "may be absent",
        "low when it is on" if channel.polarity == "low" else "",
        "" if channel.verified else f"not verified: {channel.missing}",
    ]
    event = f"`{channel.event}`" if channel.event else ""
    what = _cell("; ".join(filter(None, remarks)))
    return f"| {channel.where} | `{channel.name}` | {event} | {channel.kind} | {what} |"


# ---- failures

_POLICIES = {
    "retry": "tried again, later each time",
    "wait": "waits until it is back",
    "ask": "stops and asks",
}


def failure_page() -> str:
    """Return the page of the classes of failures, and what a worker does about each."""
    rows = [
        f"| `{f.name}` | {_cell(f.sentence)} | {_policy(f)} | {_pauses(f)} | {_cell(f.cure)} |"
        for f in failures.FAILURES
    ]
    return _page(
        [
            "# Failures",
            "What a worker does when a key fails depends on the class of the failure. The class stands in front of the "
            "message, as in `[permission] PermissionError: ...`, and on the command line it selects: "
            "`--class permission`.",
            "\n".join(["| class | what happened | the key | pauses | what to do |", "|---|---|---|---|---|", *rows]),
            "A pause is drawn evenly between zero and a bound. The bound doubles with each attempt, from the first to "
            "the last that the table names, so that keys which failed together do not come back together. A key that "
            "is tried again stops and asks, too, after the attempts that the setting `workers.attempts` allows.",
            "A worker may die, or stand still, for reasons that have nothing to do with its key. So after `killed` and "
            "`stalled` the key is tried again at once; after as many of them as the setting `workers.kills` says, it "
            "stops and asks.",
            "The class follows from the error and from what it was raised from. Numbers of the operating system count "
            "before words: no right to a file is `permission` whichever tool met it; a full, read-only or failing "
            "disk is `store`; a file that is not there is `missing_file`. A driver's error is `database` where the "
            "server is away, busy or shutting down, `permission` where it refuses the account, and a `bug` otherwise. "
            "A GPU that is out of memory is `memory`. What nothing here names is a `bug`.",
        ]
    )


def _policy(failure: failures.Failure) -> str:
    is_retried_at_once = failure.policy == "retry" and not failure.longest
    return "tried again, at once" if is_retried_at_once else _POLICIES[failure.policy]


def _pauses(failure: failures.Failure) -> str:
    if failure.policy == "ask":
        return ""
    return f"{_pause(failure.first)} to {_pause(failure.longest)}" if failure.longest else "none"


def _pause(seconds: float) -> str:
    return f"{seconds / 60:g} min" if seconds >= 60 else f"{seconds:g} s"


# ---- worker population: a page of people's words, with parts between marks that are written here

_MARKED = re.compile(r"(<!-- docs/generate\.py writes: (\w+) -->\n).*?(<!-- end of \2 -->)", re.DOTALL)


def population_page() -> str:
    """Return the page of roles and tables, its marked parts written anew from the code."""
    parts = {"roles": _roles, "graph": _population_graph, "settings": _worker_settings}
    page = _read(POPULATION)
    if [name for _, name, _ in _MARKED.findall(page)] != list(parts):
        raise ValueError(f"{POPULATION.name} must have these marked parts, in this order: {', '.join(parts)}")
    return _MARKED.sub(lambda match: f"{match[1]}\n{parts[match[2]]()}\n\n{match[3]}", page)


def _shipped() -> tuple[roles.Role, ...]:
    return roles.roles_of(settings.Settings(home=HERE))  # a lab that sets nothing


def _roles() -> str:
    """Return a table of the roles, and for each a table of what it fills."""
    rows = [f"| `{role.name}` | {_needs_of(role)} | {role.slots} | {len(role.fills)} |" for role in _shipped()]
    parts = ["\n".join(["| role | what its host must have | slots | tables |", "|---|---|---|---|", *rows])]
    for role in _shipped():
        if tables := role.tables():
            head = ["| | table | stands on | needs | keys at once | stands still for |", "|---|---|---|---|---|---|"]
            lines = [f"| {n} | {_filled(table, role)} |" for n, table in enumerate(tables, 1)]
            parts += [f"In this order, role `{role.name}`:", "\n".join([*head, *lines])]
        else:
            parts.append(f"Role `{role.name}` fills no table yet.")
    return "\n\n".join(parts)


def _needs_of(role: roles.Role) -> str:
    own = ", ".join(f"`{need}`" for need in role.own_needs)
    return own or ("what its tables need" if role.fills else "nothing")


def _filled(table: Any, role: roles.Role) -> str:
    name = pipeline.table_name(table)
    needs = ", ".join(f"`{need}`" for need, owners in role.needs.items() if name in owners)
    stale = getattr(table, "stale_after", None)
    parents = ", ".join(f"`{parent}`" for parent in _parents(name))
    batch = getattr(table, "batch", 1)
    return f"`{name}` | {parents} | {needs} | {batch} | {_pause(stale) if stale else 'never ended'}"


def _parents(name: str) -> list[str]:
    """Return the tables that a table and its parts stand on; of a part its table, and no fixed vocabulary."""
    catalogue = diagram.read_tables()
    own = [table for table in catalogue if name in (_full(table), _master(table, catalogue))]
    found = [catalogue.parent(table, key) for table in own for key in table.definition.parents]
    names = [_master(parent, catalogue) for parent in found if parent.tier != "Lookup"]
    return [parent for parent in dict.fromkeys(names) if parent != name]


def _master(table: Table, catalogue: Catalogue) -> str:
    return _full(catalogue.tables[table.master] if table.master else table)


_LOOP = """\
  setups["acquisition setups"] --> folders["recording folders"] --> ingest["adamacs ingest"] --> rows
  people["students and analysts"] -- "ask, curate" --> rows
  results --> people
  results -. "not yet" .-> models["models: train, evaluate"]
  models -. "stimuli for the next experiment" .-> setups"""


def _population_graph() -> str:
    """Return a drawing of what each role fills, what that stands on, and how answers become recordings again."""
    filled = {role.name: [pipeline.table_name(table) for table in role.tables()] for role in _shipped()}
    edges = [(parent, name) for names in filled.values() for name in names for parent in _parents(name)]
    computed = [name for names in filled.values() for name in names]
    asked = [parent for parent in dict.fromkeys(parent for parent, _ in edges) if parent not in computed]
    edges += [(parent, name) for name in asked for parent in _parents(name) if parent in computed]
    lines = ["flowchart TB", '  subgraph rows["written by ingest and people"]', *_nodes(asked), "  end"]
    lines.append('  subgraph results["filled by workers"]')
    for role, names in filled.items():
        lines += [
            f'  subgraph role_{role}["role {role}"]',
            *(_nodes(names) or [f'    no_{role}["no table yet"]']),
            "  end",
        ]
    lines += ["  end", *(f"  {_node(parent)} --> {_node(name)}" for parent, name in edges), _LOOP]
    return "\n".join(["```mermaid", *lines, "```"])


def _nodes(names: Iterable[str]) -> list[str]:
    return [f'    {_node(name)}["{name}"]' for name in names]


def _node(name: str) -> str:
    return name.replace(".", "_")


def _worker_settings() -> str:
    rows = [
        f"| `{name}` | {_value(default)} | {_cell(doc)} |"
        for name, _, default, doc in settings.documented()
        if name.startswith(("workers.", "roles."))
    ]
    return "\n".join(["| setting | default | meaning |", "|---|---|---|", *rows])


# ---- writing


def _cell(text: str) -> str:
    """Return text that can stand in a cell of a Markdown table."""
    outside = re.split(r"(`[^`]*`)", " ".join(text.split()))
    plain = [part if part.startswith("`") else part.replace("<", "\\<").replace("*", "\\*") for part in outside]
    return "".join(plain).replace("|", "\\|")


def _page(parts: list[str]) -> str:
    title, *rest = (part.strip() for part in parts)
    return "\n\n".join([title, NOTE, *filter(None, rest)]) + "\n"


PAGES: dict[str, Callable[[], str]] = {
    "reference/command-line.md": command_line,
    "reference/settings.md": settings_page,
    "reference/environment.md": environment,
    "reference/tables.md": table_page,
    "reference/errors.md": error_page,
    "reference/failures.md": failure_page,
    "reference/setup-types.md": setup_page,
    "explanations/worker_population.md": population_page,
}


def stale() -> list[str]:
    """Return the pages that say something else than the code."""
    return [name for name, make in PAGES.items() if _read(HERE / name) != make()]


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.exists() else ""


def main(arguments: list[str]) -> int:
    """Rewrite the pages, or with `--check` say which are stale; return the exit status."""
    outdated = stale()
    for name in outdated:
        print(f"{'stale' if '--check' in arguments else 'written'}: docs/{name}")  # noqa: T201
        if "--check" not in arguments:
            (HERE / name).write_text(PAGES[name](), encoding="utf-8")
    return 1 if outdated and "--check" in arguments else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
