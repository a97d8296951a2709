"""The tables of a lab by name, what each stands on, and how its missing rows come to be.

Read off the foreign keys of the database and the tables' own queries, so that it holds for every modality.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import datajoint as dj

from adamacs import pipeline
from adamacs.core.errors import InvalidKey, InvalidRequest, nearest
from adamacs.core.settings import Settings
from adamacs.workers import roles


@dataclass(frozen=True)
class Parent:
    """A table that another one stands on.

    Attributes
    ----------
    name
        Such as `imaging.Curation`.
    columns
        Key column of the table that stands on it, to the column of this one.
    is_rule
        It is no parent by a foreign key: the query of the keys to compute (`key_source`) asks for its rows.
    """

    name: str
    columns: Mapping[str, str] = field(compare=False)
    is_rule: bool = False

    def key_of(self, key: Mapping[str, Any]) -> dict[str, Any]:
        """Return the part of a key that this table has too, in its own names."""
        return {there: key[here] for here, there in self.columns.items() if here in key}


class Catalogue:
    """The tables of a connected lab.

    Parameters
    ----------
    settings
        Of the lab.
    tables
        Tables beside those of the pipeline; of these, only those that compute are what workers fill. By default,
        workers fill every table that a role fills.
    """

    def __init__(self, settings: Settings, tables: Sequence[Any] | None = None) -> None:
        self.tables = {pipeline.table_name(table): table for table in (*pipeline.tables(), *(tables or ()))}
        filled = roles.computing_tables() if tables is None else [t for t in tables if issubclass(t, _COMPUTING)]
        self.filled = {pipeline.table_name(table): table for table in filled}
        self.roles = {table: role.name for role in roles.roles_of(settings) for table in role.fills}
        self.connection: dj.Connection = next(iter(self.filled.values())).connection
        self._names = {table.full_table_name: name for name, table in self.tables.items()}

    def named(self, text: str) -> str:
        """Return the full name of a table: `imaging.Processing` for `processing` or `Imaging.Processing`.

        Raises
        ------
        InvalidRequest
            There is no such table, or several modules have one of that name.
        """
        wanted = text.casefold()
        found = [name for name in self.tables if wanted in (name.casefold(), name.partition(".")[2].casefold())]
        if len(found) != 1:
            hint = f"Several have that name: {', '.join(found)}." if found else nearest(text, list(self.tables))
            raise InvalidRequest(f"There is no table {text}.", hint=hint)
        return found[0]

    def filled_named(self, text: str) -> Any:
        """Return the table of a name that workers fill.

        Raises
        ------
        InvalidRequest
            There is no such table, or people fill it.
        """
        name = self.named(text)
        if name not in self.filled:
            raise InvalidRequest(f"Workers do not fill {name}.", hint=nearest(name, list(self.filled)))
        return self.filled[name]

    def key_of(self, table: Any, key: Mapping[str, Any]) -> dict[str, Any]:
        """Return a key, whole or in part, in the order of the table's key columns.

        Raises
        ------
        InvalidKey
            It names something that is no key column.
        """
        columns = table.primary_key
        for name in key:
            if name not in columns:
                hint = f"Columns of the key: {', '.join(columns)}."
                raise InvalidKey(f"The key of {pipeline.table_name(table)} has no column {name}.", key, hint)
        return {name: key[name] for name in columns if name in key}

    # ---- what a table stands on

    @cached_property
    def _graph(self) -> Any:
        graph = self.connection.dependencies
        graph.load(force=False)
        if any(table.full_table_name not in graph for table in self.filled.values()):
            graph.load()  # tables were made since
        return graph

    def _edges(self, table: Any) -> list[tuple[str, Mapping[str, str]]]:
        found = self._graph.parents(table.full_table_name, True)
        return [(full, edge["attr_map"]) for full, edge in found]

    def _name(self, full: str) -> str | None:
        return self._names.get(full)

    def parents(self, name: str) -> list[Parent]:
        """Return the tables that a table's key stands on, and those that its own query of keys asks for besides."""
        table = self.tables[name]
        found = [Parent(parent, columns) for full, columns in self._edges(table) if (parent := self._name(full))]
        return [*found, *(self._rules(name) if name in self.filled else ())]

    def waits_for(self, name: str, key: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield table and key of the rows that keys of a table wait for beside their parents, where the table says so.

        What its query of keys asks of other rows of an ancestor, such as the import of another source of the same scan,
        no foreign key tells: such a table has a method `waits_for` of a key, whole or in part.
        """
        for table, other in getattr(self.tables[name], "waits_for", lambda key: ())(key):
            yield pipeline.table_name(table), self.key_of(table, other)

    def _rules(self, name: str) -> Iterator[Parent]:
        """Yield the tables that workers fill, that are no ancestors, and that the query of the keys speaks of."""
        if not self.has_rule(name):
            return
        sql = self.source_sql(name)
        ancestors = self._ancestors(name)
        for other, table in self.filled.items():
            if other not in ancestors and other != name and table.full_table_name in sql:
                common = self._key(name) & self._key(other)
                yield Parent(other, {column: column for column in common}, is_rule=True)

    def _key(self, name: str) -> set[str]:
        """Return the columns of a table's key, as the graph has them: a heading takes several statements."""
        return set(self._graph.nodes[self.tables[name].full_table_name]["primary_key"])

    def _ancestors(self, name: str) -> set[str]:
        """Return the names of every table that a table's key stands on, near or far."""
        found: set[str] = set()
        ahead = [name]
        while ahead:
            for full, _ in self._edges(self.tables[ahead.pop()]):
                parent = self._name(full)
                if parent is not None and parent not in found:
                    found.add(parent)
                    ahead.append(parent)
        return found

    def filled_before(self, name: str) -> list[str]:
        """Return the tables that workers fill and that a table's key stands on, near or far, the nearest first."""
        ancestors = self._ancestors(name)
        return [other for other in reversed(self.filled) if other in ancestors]

    # ---- the keys that a table should hold

    def has_rule(self, name: str) -> bool:
        """Whether a table says itself which keys it should hold; else it is all that its parents allow."""
        return _own_rule(self.filled[name]) is not None

    def rule(self, name: str) -> str:
        """Return what a table's own rule says, as its source spells it; empty where that cannot be read."""
        try:
            source = textwrap.dedent(inspect.getsource(_own_rule(self.filled[name]).fget))
        except (OSError, TypeError, AttributeError):
            return ""
        returns = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Return) and node.value]
        return ast.unparse(returns[-1].value) if returns else ""  # type: ignore[arg-type]

    def source_sql(self, name: str) -> str:
        """Return a SELECT of the keys that a table should hold."""
        if self.has_rule(name):
            return str(self.filled[name]().key_source.proj().make_sql())
        return self.allowed_sql(name)

    def allowed_sql(self, name: str) -> str:
        """Return a SELECT of the keys that a table's parents allow; no heading is asked for, which takes long."""
        quote = self.connection.adapter.quote_identifier
        parts = []
        for number, (full, columns) in enumerate(self._edges(self.filled[name])):
            chosen = ", ".join(f"{quote(there)} AS {quote(here)}" for here, there in columns.items())
            parts.append(f"(SELECT {chosen} FROM {full}) AS p{number}")
        return f"SELECT * FROM {' NATURAL JOIN '.join(parts)}"

    def key_columns(self, name: str) -> list[str]:
        """Return the columns of a table's key that come from its parents: those of its job rows, if workers fill it."""
        return list(dict.fromkeys(column for _, columns in self._edges(self.tables[name]) for column in columns))

    def jobs_name(self, name: str) -> str:
        """Return the quoted name of a table's job table."""
        table = self.filled[name]
        return str(self.connection.adapter.make_full_table_name(table.database, f"~~{table.table_name.lstrip('_')}"))


_COMPUTING = (dj.Computed, dj.Imported)


def _own_rule(table: Any) -> Any:
    """Return the `key_source` that a table declares itself, or None."""
    owner = next(kind for kind in table.__mro__ if "key_source" in vars(kind))
    return None if owner.__module__.startswith("datajoint.") else vars(owner)["key_source"]
