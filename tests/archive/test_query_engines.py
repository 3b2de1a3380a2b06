"""The tables shown for query engines have the columns and the partitions of the archive.

What the statements read is tried in `system/test_queries.py`.
"""

import re
from typing import Any, get_type_hints

import pytest
import sqlglot
from sqlglot import exp

from receiver import clock
from receiver.archive import callbacks_key, index_key, line
from receiver.archive.body import decode
from receiver.archive.reading import Entry
from receiver.providers import PROVIDERS, Recognised
from tests.tools.deliveries import AT_US, envelope_of
from tests.tools.support import engines

_SEGMENT = f"{clock.new_id(AT_US)}-0"
_TEXT, _NUMBER, _PAIRS = "STRING", "BIGINT", "ARRAY<ARRAY<STRING>>"
# What the reconciler writes besides what comes by an entrance.
_RESULT = "result"


def line_columns() -> dict[str, str]:
    """The columns of a line, and what Athena should take them for."""
    body = decode(b"{}", inflated_bytes_max=1)
    before, behind = line.columns(envelope_of(b"{}"), body, Recognised())
    values = before | {"body": "", "body_base64": ""} | behind
    kinds = {int: _NUMBER, list: _PAIRS}
    return {name: kinds.get(type(value), _TEXT) for name, value in values.items()}


def entry_columns() -> dict[str, str]:
    """The columns of an index line, and what Athena should take them for."""
    hints = get_type_hints(Entry)
    return {name: _NUMBER if hint is int else _TEXT for name, hint in hints.items()}


def athena_table(name: str) -> Any:
    for statement in engines.athena():
        if f"TABLE receiver.{name} (" in statement:
            return sqlglot.parse_one(statement, dialect="hive")
    raise AssertionError(name)


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
    # A command is what the parser could not make sense of.
    assert not isinstance(sqlglot.parse_one(statement, dialect=dialect), exp.Command)


def test_athena_has_the_columns_of_a_line() -> None:
    table = athena_table("callbacks")
    partitions = {name: "STRING" for name in ("date", "hour", "provider", "kind")}
    assert partitions == partitions_of(table)
    own = {name: kind for name, kind in line_columns().items() if name not in partitions}
    assert own == columns_of(table.this)


def test_athena_has_the_columns_of_an_entry() -> None:
    table = athena_table("entries")
    assert {"date": "STRING", "hour": "STRING"} == partitions_of(table)
    assert entry_columns() == columns_of(table.this)


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
    """Where Athena looks for the segment's object, as its manual says, unless told otherwise."""
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
