"""Rules that every table obeys, so that one definition works on MySQL, MariaDB and PostgreSQL and can be understood.

Each rule is a defect that was met on one of the servers; nothing here needs one, the definitions are read as text.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

import pytest

from adamacs import pipeline
from adamacs.analysis.diagram import read_tables
from adamacs.schemas.definition import Catalogue, Column, Index, Table, read_module

PORTABLE = re.compile(
    r"int(8|16|32|64)|float(32|64)|bool|varchar\(\d+\)|date|datetime\([0-6]\)|json|decimal\(\d+,\s*\d+\)|<array@\w+>"
)
KEYABLE = re.compile(r"int(8|16|32|64)|bool|varchar\(\d+\)|date|datetime\(0\)")

LONGEST_NAME = 63  # characters, of PostgreSQL
LONGEST_KEY = 3072  # bytes, of an index of MySQL
LONGEST_ROW = 65535  # bytes, of MySQL, arrays and JSON apart
BYTES = {"int8": 1, "int16": 2, "int32": 4, "int64": 8, "float32": 4, "float64": 8, "bool": 1, "date": 3}

UNITS = {
    *("s", "ms", "µs", "Hz", "V", "g", "ml", "µl", "mm", "cm", "µm", "µm²", "cm/s", "deg", "cycles/deg", "ppm"),
    *("px", "plane", "percent", "arbitrary units"),
}
DIMENSIONLESS = {"fill_fraction", "zoom", "skewness"}  # beside those whose comment gives the range, as 0 to 1

# What MySQL 9, MariaDB and PostgreSQL reserve and a column might be called: restrictions are written without quotes.
RESERVED = frozenset(
    """
    accessible add all alter analyze and array as asc before between both by call cascade case change character
    check collate column condition constraint continue convert create cross cube current cursor database day_hour
    dec declare default delayed delete dense_rank desc describe distinct div do double drop dual each else empty end
    except exists exit explain false fetch first_value float for force foreign freeze from full fulltext function
    generated get grant group grouping groups having if ignore ilike in index inner inout insert int intersect
    interval into is isnull iterate join json_table key keys kill lag last_value lateral lead leading leave left
    like limit linear lines load lock long loop low_priority manual match mod natural not notnull nth_value ntile
    null of off offset on only optimize option or order out outer over overlaps parallel partition percent_rank
    placing portion precision primary procedure purge qualify range rank read reads recursive references regexp
    release rename repeat replace require resignal restrict return revoke right rlike row row_number rows schema
    select sensitive separator session_user set show signal similar some spatial specific sql starting stored
    symmetric system table tablesample terminated then to trailing trigger true undo union unique unlock unsigned
    update usage use user using utc_date values varying verbose virtual when where while window with write xor
    zerofill
    """.split()
)

MODALITIES = [(f"adamacs.modalities.{name}.tables", name) for name in pipeline.MODALITIES]
CATALOGUE = Catalogue(source for place in [("adamacs.schemas", "spine"), *MODALITIES] for source in read_module(*place))
TABLES = [pytest.param(table, id=table.path.removeprefix("adamacs.")) for table in CATALOGUE]
every_table = pytest.mark.parametrize("table", TABLES)


def columns(table: Table) -> dict[str, Column]:
    """Return every column of a table by name, inherited ones with the type they have where they are declared."""
    found: dict[str, Column] = {}
    for key in table.definition.parents:
        parent = CATALOGUE.parent(table, key)
        inherited = columns(parent)
        found |= {
            here: inherited[there]
            for here, there in zip(CATALOGUE.columns_of(table, key), CATALOGUE.key(parent), strict=True)
        }
    return found | {column.name: column for column in table.definition.columns}


def size(column: Column) -> int:
    """Return the bytes that MySQL reckons for a column: four per character."""
    if text := re.fullmatch(r"varchar\((\d+)\)", column.type):
        return 4 * int(text[1]) + 2
    return BYTES.get(column.type, 12)


@every_table
def test_types_are_those_that_mean_the_same_on_every_server(table):
    for column in table.definition.columns:
        assert PORTABLE.fullmatch(column.type), f"{column.name} : {column.type}"


@pytest.mark.parametrize(
    "kind",
    [
        *("enum('M', 'F')", "uuid", "char(8)", "tinyint", "int", "int32 unsigned", "smallint", "float", "double"),
        *("longblob", "blob", "<blob>", "bytes", "boolean", "datetime", "timestamp", "text", "int32 auto_increment"),
    ],
)
def test_types_that_differ_between_servers_are_not_admitted(kind):
    assert not PORTABLE.fullmatch(kind)


@every_table
def test_no_comment_or_default_trips_a_server(table):
    texts = [table.definition.comment] + [column.comment for column in table.definition.columns]
    for text in texts:
        assert not text.startswith(":"), "DataJoint keeps the type there"
        assert "%" not in text, "the driver takes it for a placeholder"
        assert "\\" not in text
    for column in table.definition.columns:
        assert not re.search(r'["%\\]', column.default or ""), "string literals are single-quoted, without %"


@every_table
def test_key_columns_compare_exactly(table):
    for column in table.definition.columns:
        assert not column.in_key or KEYABLE.fullmatch(column.type), f"{column.name} : {column.type}"


@every_table
def test_no_column_has_a_name_that_a_server_reserves(table):
    assert {name.casefold() for name in columns(table)} & RESERVED == set()


@every_table
def test_names_fit_with_their_prefixes(table):
    stored = CATALOGUE.stored_name(table)
    assert len(stored) <= LONGEST_NAME
    assert len("~~" + stored.lstrip("#_")) <= LONGEST_NAME, "the table's job queue"
    for name in columns(table):
        assert re.fullmatch(r"[a-z][a-z0-9_]{0,62}", name)


@every_table
def test_keys_and_rows_fit_into_mysql(table):
    sizes = {name: size(column) for name, column in columns(table).items()}
    assert sum(sizes[name] for name in CATALOGUE.key(table)) <= LONGEST_KEY
    assert sum(sizes.values()) <= LONGEST_ROW


def index_names(table: Table) -> Iterator[str]:
    """Yield the names that DataJoint gives to a table's indexes on PostgreSQL, cut where the server cuts them."""
    wanted = [CATALOGUE.columns_of(table, key) for key in table.definition.parents]
    wanted = [names for names in wanted if CATALOGUE.key(table)[: len(names)] != names]
    wanted += [line.columns for line in table.definition.lines if isinstance(line, Index)]
    for names in dict.fromkeys(wanted):
        yield f"idx_{CATALOGUE.stored_name(table)}_{'_'.join(names)[:30]}"[:LONGEST_NAME]


def test_no_two_indexes_of_a_schema_get_the_same_name():
    names = Counter((table.schema, name) for table in CATALOGUE for name in index_names(table))
    assert [name for name, count in names.items() if count > 1] == []


@every_table
def test_no_column_is_declared_twice_or_shadows_an_inherited_one(table):
    names = [column.name for column in table.definition.columns]
    inherited = [name for key in table.definition.parents for name in CATALOGUE.columns_of(table, key)]
    assert len(names) == len(set(names))
    assert not set(names) & set(inherited), "a declared column would shadow the inherited one"


@every_table
def test_computed_rows_are_keyed_by_what_they_were_computed_from(table):
    if table.tier in {"Computed", "Imported"}:
        assert not [column.name for column in table.definition.columns if column.in_key]
        assert CATALOGUE.key(table)


@every_table
def test_a_table_says_what_its_rows_are(table):
    assert re.match(r"[A-Z][^.]{5,}", table.definition.comment), "the first line of a definition is a sentence"


@every_table
def test_physical_quantities_say_their_unit(table):
    for column in table.definition.columns:
        if column.type.startswith("float") and column.name not in DIMENSIONLESS:
            pieces = [piece.strip() for piece in re.split("[,;]", column.comment)]
            ranged = re.match(r"-?\d.* to \d", column.comment)
            assert ranged or UNITS & set(pieces), f"{column.name} # {column.comment}"


@every_table
def test_arrays_say_their_axes(table):
    for column in table.definition.columns:
        if column.type.startswith("<array"):
            assert re.search(r"\((\w+, ?)+\w*\)", column.comment), f"{column.name} # {column.comment}"


def test_a_key_column_means_one_thing_in_the_whole_database():
    declared = Counter(column.name for table in CATALOGUE for column in table.definition.columns if column.in_key)
    assert [name for name, count in declared.items() if count > 1] == []


def test_what_is_called_dimensionless_exists():
    names = {column.name for table in CATALOGUE for column in table.definition.columns}
    assert names >= DIMENSIONLESS


def test_the_rules_are_asked_of_every_table():
    """Tables that the pipeline does not export, such as the schema version, are among them."""
    asked = {table.path for table in CATALOGUE}
    assert {table.path for table in read_tables()} < asked
    assert "adamacs.schemas.meta.SchemaVersion" in asked
