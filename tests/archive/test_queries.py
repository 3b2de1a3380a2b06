"""The tables in `infra/queries/` have the columns and the partitions of the archive.

`tests/system/test_queries.py` runs the statements.
"""

import re
from collections.abc import Iterable
from typing import Any

import pytest
import sqlglot
from sqlglot import exp

from receiver import clock
from receiver.archive import callbacks_key, index_key
from receiver.archive.schema import ENTRY, LINE, Column
from receiver.providers import PROVIDERS
from tests.tools.deliveries import AT_US
from tests.tools.support import engines

_SEGMENT = f"{clock.new_id(AT_US)}-0"
TEXT = {"athena": "STRING", "duckdb": "VARCHAR", "spark": "STRING"}
TYPES = {
    # Athena's SerDe does not parse RFC 3339, so times stay strings there.
    "athena": {"number": "BIGINT", "pairs": "ARRAY<ARRAY<STRING>>"},
    "duckdb": {"number": "BIGINT", "pairs": "VARCHAR[][]", "time": "TIMESTAMP"},
    "spark": {"number": "BIGINT", "pairs": "ARRAY<ARRAY<STRING>>", "time": "TIMESTAMP"},
}
# The kind of what the reconciler fetches; the others come by an entrance.
_RESULT = "result"


def columns(of: Iterable[Column], engine: str) -> dict[str, str]:
    """The columns of a line or an entry, with the types that an engine should take them for."""
    return {column.name: TYPES[engine].get(column.type, TEXT[engine]) for column in of}


def athena_table(name: str) -> Any:
    [found] = [s for s in engines.athena() if f"TABLE receiver.{name} (" in s]
    return sqlglot.parse_one(found, dialect="hive")


def view(engine: str, name: str) -> str:
    [found] = [s for s in engines.queries(engine) if f"VIEW {name}" in s]
    return found


TABLES = pytest.mark.parametrize(("name", "of"), [("callbacks", LINE), ("entries", ENTRY)])


@TABLES
def test_duckdb_has_the_columns(name: str, of: tuple[Column, ...]) -> None:
    [listed] = re.findall(r"columns = \{(.*?)\}", view("duckdb", name), re.DOTALL)
    pairs = re.findall(r"\"?(\w+)\"?: '([^']+)'", listed)
    assert list(columns(of, "duckdb").items()) == pairs


@TABLES
def test_spark_has_the_columns_and_the_partitions(name: str, of: tuple[Column, ...]) -> None:
    [listed] = re.findall(r"\((.*?)\n\)", view("spark", name), re.DOTALL)
    pairs = re.findall(r"(\w+) ([\w<>]+)", listed)
    expected = columns(of, "spark") | {"date": "DATE", "hour": "INT"}
    assert list(expected.items()) == pairs


def columns_of(table: Any) -> dict[str, str]:
    return {
        column.name: column.args["kind"].sql(dialect="hive")
        for column in table.find_all(exp.ColumnDef)
    }


def properties_of(table: Any) -> dict[str, str]:
    return {
        found.this.name: found.args["value"].name
        for found in table.find_all(exp.Property)
        if found.this is not None and found.this.name.startswith("projection.")
    }


def partitions_of(table: Any) -> dict[str, str]:
    return columns_of(table.find(exp.PartitionedByProperty))


@pytest.mark.parametrize("statement", engines.athena(), ids=lambda text: text.split("(")[0].strip())
def test_athena_statements_are_whole(statement: str) -> None:
    dialect = "hive" if statement.startswith(("CREATE EXTERNAL", "CREATE DATABASE")) else "trino"
    # The parser returns a Command for what it does not understand.
    assert not isinstance(sqlglot.parse_one(statement, dialect=dialect), exp.Command)


@TABLES
def test_athena_has_the_columns_and_the_partitions(name: str, of: tuple[Column, ...]) -> None:
    table = athena_table(name)
    partitions = dict.fromkeys(["date", "hour"], "STRING")
    if name == "callbacks":
        partitions |= dict.fromkeys(["provider", "kind"], "STRING")
    assert partitions == partitions_of(table)
    # Hive wants each name once.
    own = {name: kind for name, kind in columns(of, "athena").items() if name not in partitions}
    assert list(own.items()) == list(columns_of(table.this).items())


@pytest.mark.parametrize("name", ["callbacks", "entries"])
def test_athena_projects_dates_and_hours(name: str) -> None:
    found = properties_of(athena_table(name))
    assert re.fullmatch(r"\d{4}-\d\d-\d\d,NOW", found.pop("projection.date.range"))
    expected = {
        "projection.enabled": "true",
        "projection.date.type": "date",
        "projection.date.format": "yyyy-MM-dd",
        "projection.hour.type": "integer",
        "projection.hour.range": "0,23",
        "projection.hour.digits": "2",
    }
    assert expected == {key: value for key, value in found.items() if key in expected}


def test_athena_looks_where_callbacks_lie() -> None:
    key = callbacks_key(
        _SEGMENT, received_at_us=AT_US, provider="diffbot", kind="notification", suffix=".jsonl.gz"
    )
    values = {"provider": "diffbot", "kind": "notification"}
    assert f"s3://my-bucket/callbacks/{key}" == place_of("callbacks", values)


def test_athena_looks_where_the_index_lies() -> None:
    key = index_key(_SEGMENT, first_at_us=AT_US)
    assert f"s3://my-bucket/callbacks/{key}" == place_of("entries", {})


def place_of(name: str, values: dict[str, str]) -> str:
    """Where Athena looks for the segment's object, as its manual says, without a template."""
    table = athena_table(name)
    assert "storage.location.template" not in table.sql()
    values = {"date": "2026-11-21", "hour": "19"} | values
    folders = "".join(f"{column}={values[column]}/" for column in partitions_of(table))
    return f"{table.find(exp.LocationProperty).this.name}{folders}{_SEGMENT}.jsonl.gz"


def test_athena_knows_all_providers_and_kinds() -> None:
    found = properties_of(athena_table("callbacks"))
    kinds = {entrance.kind for p in PROVIDERS.values() for entrance in p.entrances} | {_RESULT}
    assert ("enum", list(PROVIDERS)) == (
        found["projection.provider.type"],
        found["projection.provider.values"].split(","),
    )
    assert ("enum", kinds) == (
        found["projection.kind.type"],
        set(found["projection.kind.values"].split(",")),
    )
