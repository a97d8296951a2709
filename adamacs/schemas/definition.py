"""What the tables are, read from their source text: nothing is imported, no server is asked.

The diagram reads our own tables with it, the contract test those of the released DataJoint Elements, which can no
longer be imported. The syntax is DataJoint's: a comment, key columns, `---`, further columns; `->` names a parent.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

TIERS: Mapping[str, str] = {"Lookup": "#", "Manual": "", "Imported": "_", "Computed": "__"}  # and DataJoint's prefix

_COLUMN = re.compile(
    r"""(?P<name>[a-z_][a-z0-9_]*)\s*
        (?:=\s*(?P<default>(?:'[^']*'|"[^"]*"|[^:'"])*?)\s*)?
        :\s*(?P<type>(?:'[^']*'|"[^"]*"|[^\#'"])+?)\s*
        (?:\#\s*(?P<comment>.*))?""",
    re.VERBOSE,
)
_PARENT = re.compile(r"->\s*(?:\[(?P<options>[^\]]*)\])?(?P<parent>[^#]+)")
_INDEX = re.compile(r"(?P<unique>unique\s+)?index\s*\((?P<columns>[^)]*)\)\s*(?:#.*)?", re.IGNORECASE)


@dataclass(frozen=True)
class Column:
    """A column that a table declares itself.

    Attributes
    ----------
    default
        As written, quotes included; None where a value must be given.
    """

    name: str
    type: str
    in_key: bool
    default: str | None = None
    comment: str = ""


@dataclass(frozen=True)
class ForeignKey:
    """A line `-> Parent`: the parent's key becomes part of the table.

    Attributes
    ----------
    parent
        As written, such as `Scan`, `scan.ScanInfo.Field` or `master`.
    renamed
        Columns of the parent that are called otherwise here: (there, here).
    """

    parent: str
    in_key: bool
    nullable: bool = False
    unique: bool = False
    renamed: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Index:
    """An index that a table declares beside its key."""

    columns: tuple[str, ...]
    unique: bool


@dataclass(frozen=True)
class Definition:
    """A table definition, line by line, in the order in which it is written."""

    comment: str
    lines: tuple[Column | ForeignKey | Index, ...]

    @property
    def columns(self) -> tuple[Column, ...]:
        """The columns that the table declares itself."""
        return tuple(line for line in self.lines if isinstance(line, Column))

    @property
    def parents(self) -> tuple[ForeignKey, ...]:
        """The foreign keys."""
        return tuple(line for line in self.lines if isinstance(line, ForeignKey))


@dataclass(frozen=True)
class Table:
    """One table, or one part of a table.

    Attributes
    ----------
    schema
        The name under which people know its module: `imaging`.
    module
        Where its class stands: `adamacs.modalities.imaging.tables.motion`.
    name
        Within the module: `ScanInfo`, and `ScanInfo.Field` of a part.
    tier
        `Lookup`, `Manual`, `Imported`, `Computed` or `Part`.
    """

    schema: str
    module: str
    name: str
    tier: str
    definition: Definition

    @property
    def path(self) -> str:
        """The name that no other table has."""
        return f"{self.module}.{self.name}"

    @property
    def master(self) -> str | None:
        """The path of the table that this one is a part of."""
        return self.path.rpartition(".")[0] if self.tier == "Part" else None


@dataclass(frozen=True)
class Source:
    """The tables of one module, and what it calls the tables of others."""

    tables: tuple[Table, ...]
    imports: Mapping[str, str]  # path of a name in the module -> path of what it stands for


def parse(definition: str) -> Definition:
    """Read a table definition.

    Raises
    ------
    ValueError
        A line is no column, foreign key or index.
    """
    lines = [line.strip() for line in definition.strip().splitlines()]
    comment = lines.pop(0)[1:].strip() if lines and lines[0].startswith("#") else ""
    return Definition(comment, tuple(_parsed(lines)))


def _parsed(lines: Iterable[str]) -> Iterator[Column | ForeignKey | Index]:
    in_key = True
    for line in lines:
        if line.startswith("---"):
            in_key = False
        elif index := _INDEX.fullmatch(line):
            yield Index(tuple(name.strip() for name in index["columns"].split(",")), bool(index["unique"]))
        elif parent := _PARENT.match(line):
            yield _foreign_key(parent["parent"].strip(), (parent["options"] or "").lower(), in_key)
        elif column := _COLUMN.fullmatch(line):
            yield Column(column["name"], column["type"], in_key, column["default"], column["comment"] or "")
        elif line and not line.startswith("#"):
            raise ValueError(f"This line is no column, foreign key or index: {line!r}")


def _foreign_key(parent: str, options: str, in_key: bool) -> ForeignKey:
    try:
        node = ast.parse(parent, mode="eval").body
    except SyntaxError as error:
        raise ValueError(f"This names no table: {parent!r}") from error
    renamed: tuple[tuple[str, str], ...] = ()
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "proj":
        renamed = tuple((ast.literal_eval(word.value), str(word.arg)) for word in node.keywords)
        node = node.func.value
    return ForeignKey(ast.unparse(node), in_key, "nullable" in options, "unique" in options, renamed)


def read_source(text: str, module: str, schema: str, package: str | None = None) -> Source:
    """Find the tables in the source text of a module.

    Parameters
    ----------
    module
        Its dotted name.
    schema
        The name under which people know the module.
    package
        Where its relative imports begin; by default the package that the module lies in.
    """
    package = module.rpartition(".")[0] if package is None else package
    tree = ast.parse(text)
    texts = _texts(tree.body)
    tables = [table for node in tree.body for table in _tables(node, "", module, schema, texts)]
    imports = {f"{module}.{name}": path for node in tree.body for name, path in _imports(node, package)}
    return Source(tuple(tables), imports)


def _texts(nodes: Iterable[ast.stmt]) -> dict[str, str]:
    """Return the texts that a module gives names to: lines that several of its definitions share."""
    return {
        target.id: node.value.value
        for node in nodes
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        for target in node.targets
        if isinstance(target, ast.Name)
    }


def _tables(node: ast.stmt, master: str, module: str, schema: str, texts: Mapping[str, str]) -> Iterator[Table]:
    if not isinstance(node, ast.ClassDef):
        return
    bases = {ast.unparse(base).rpartition(".")[2] for base in node.bases}
    if tier := next((tier for tier in ("Part", *TIERS) if tier in bases), None):
        yield Table(schema, module, master + node.name, tier, parse(_definition(node, texts)))
        for inner in node.body:
            yield from _tables(inner, f"{master}{node.name}.", module, schema, texts)


def _definition(node: ast.ClassDef, texts: Mapping[str, str]) -> str:
    for line in node.body:
        if isinstance(line, ast.Assign) and "definition" in map(ast.unparse, line.targets):
            return _joined(line.value, texts)
    raise ValueError(f"The table {node.name} has no definition")


def _joined(node: ast.expr, texts: Mapping[str, str]) -> str:
    """Return a text that is written out, named in the module, or the sum of such texts."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return _joined(node.left, texts) + _joined(node.right, texts)
    if isinstance(node, ast.Name) and node.id in texts:
        return texts[node.id]
    return str(ast.literal_eval(node))


def _imports(node: ast.stmt, package: str) -> Iterator[tuple[str, str]]:
    if isinstance(node, ast.ImportFrom):
        start = package.rsplit(".", node.level - 1)[0] if node.level else ""
        origin = ".".join(filter(None, (start, node.module)))
        yield from ((name.asname or name.name, f"{origin}.{name.name}") for name in node.names)
    elif isinstance(node, ast.Import):
        yield from ((name.asname, name.name) for name in node.names if name.asname)


def read_module(module: str, schema: str) -> list[Source]:
    """Read the tables of an installed module, or of every file of a package; only what it lies in is imported.

    The files of a package come in the order in which the package itself imports them, then those it does not import.

    Raises
    ------
    ModuleNotFoundError
        It is not installed.
    """
    spec = find_spec(module)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(f"There is no module {module}", name=module)
    path = Path(spec.origin)
    own = read_source(path.read_text(encoding="utf-8"), module, schema, spec.parent)
    inner = sorted(path.parent.glob("*.py")) if spec.submodule_search_locations else []
    files = {f"{module}.{file.stem}": file for file in inner if file != path}
    imported = [name for origin in own.imports.values() if (name := origin.rpartition(".")[0]) in files]
    names = dict.fromkeys([*imported, *files])
    return [own, *(read_source(files[name].read_text(encoding="utf-8"), name, schema) for name in names)]


class Catalogue:
    """Tables that know each other.

    Parameters
    ----------
    sources
        The modules, in any order.
    links
        What a module leaves open: path of a name to the path of its table.
    """

    def __init__(self, sources: Iterable[Source], links: Mapping[str, str] | None = None) -> None:
        sources = list(sources)
        self.tables = {table.path: table for source in sources for table in source.tables}
        self._aliases = {name: path for source in sources for name, path in source.imports.items()} | dict(links or {})

    def __iter__(self) -> Iterator[Table]:
        return iter(self.tables.values())

    def parent(self, table: Table, key: ForeignKey) -> Table:
        """Return the table that a foreign key of a table names.

        Raises
        ------
        LookupError
            It is none of the tables of this catalogue.
        """
        head, dot, rest = key.parent.partition(".")
        if head == "master" and table.master:
            return self.tables[table.master + dot + rest]
        found = self._follow(f"{table.module}.{key.parent}")
        if found is None:
            raise LookupError(f"{table.path} names {key.parent}, which is no table that was read")
        return found

    def _follow(self, path: str) -> Table | None:
        seen: set[str] = set()
        while path not in self.tables:
            steps = path.split(".")
            heads = (".".join(steps[:count]) for count in range(len(steps), 0, -1))
            alias = next((head for head in heads if head in self._aliases), None)
            if alias is None or path in seen:
                return None
            seen.add(path)
            path = self._aliases[alias] + path[len(alias) :]
        return self.tables[path]

    def key(self, table: Table) -> tuple[str, ...]:
        """Return the whole primary key, inherited columns included, in DataJoint's order."""
        names: list[str] = []
        for line in table.definition.lines:
            if isinstance(line, Column) and line.in_key:
                names.append(line.name)
            elif isinstance(line, ForeignKey) and line.in_key:
                names += self.columns_of(table, line)
        return tuple(dict.fromkeys(names))

    def columns_of(self, table: Table, key: ForeignKey) -> tuple[str, ...]:
        """Return the columns that a foreign key brings, under the names that they take in the table."""
        here = dict(key.renamed)
        return tuple(here.get(name, name) for name in self.key(self.parent(table, key)))

    def stored_name(self, table: Table) -> str:
        """Return the table's name in the database: tier prefix, words joined by `_`, `__` before a part."""
        own = _snake_case(table.name.rpartition(".")[2])
        if table.master:
            return f"{self.stored_name(self.tables[table.master])}__{own}"
        return TIERS[table.tier] + own


def _snake_case(name: str) -> str:
    return re.sub(r"\B(?=[A-Z])", "_", name).lower()  # one word per capital letter, as DataJoint has it
