"""The tables of `schema` are the columns that everything else has."""

import re
import sqlite3
from pathlib import Path
from typing import Any

import msgspec
import pytest

from receiver import clock
from receiver.archive import COMPRESSIONS, SegmentObjects, schema
from receiver.archive.body import decode
from receiver.archive.index import entries
from receiver.archive.schema import ENTRY, LINE, Column, Entry, Indexed, Line
from receiver.catalog import tables
from receiver.cli import find
from receiver.providers import Recognised
from tests.tools.deliveries import envelope_of, head_of
from tests.tools.support import oracle

_ROOT = Path(__file__).parents[2]
# The Python types that structs have for each type of column.
_PYTHON = {
    "text": str,
    "text?": str | None,
    "number": int,
    "time": str,
    "pairs": list[tuple[str, str]],
}
_MICROSECONDS = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")


def test_every_column_is_described() -> None:
    for column in (*LINE, *ENTRY):
        assert column.type in _PYTHON
        assert column.where in ("line", "entry", "both")
        assert column.source in ("door", "request", "adapter", "body", "shipper")
        assert column.meaning
    assert len({column.name for column in LINE}) == len(LINE)
    assert len({column.name for column in ENTRY}) == len(ENTRY)


def test_an_entry_begins_with_what_the_line_says_and_goes_on_with_its_place() -> None:
    shared = tuple(column for column in LINE if column.where == "both")
    assert shared == ENTRY[: len(shared)]
    assert {"entry"} == {column.where for column in ENTRY[len(shared) :]}
    body = (schema.BODY, schema.BODY_BASE64)
    assert schema.names(LINE) == (*schema.BEFORE_BODY, *body, *schema.BEHIND_BODY)


@pytest.mark.parametrize(
    ("struct", "columns"),
    [(Entry, ENTRY), (Line, LINE), (Indexed, [c for c in LINE if c.where == "both"])],
)
def test_the_structs_have_the_columns_and_their_types(
    struct: type[msgspec.Struct], columns: list[Column]
) -> None:
    fields = {field.name: field.type for field in msgspec.structs.fields(struct)}
    assert {column.name: _PYTHON[column.type] for column in columns} == fields
    if struct is not Line:  # which has its own columns behind those of an entry
        assert schema.names(columns) == tuple(fields)


def test_what_is_written_has_the_types() -> None:
    objects = SegmentObjects(f"{clock.new_id()}-0", COMPRESSIONS["gzip"])
    for wire, head in ((b"{}", head_of()), (b"\xff", head_of(peer=None, headers=[("a", "b")]))):
        body = decode(wire, inflated_bytes_max=9)
        objects.add(envelope_of(wire, head), body, Recognised(task_id="t", tag="x", invalid="no"))
    [(_, content)] = objects.callbacks()
    for line in COMPRESSIONS["gzip"].inflate(content).splitlines():
        _assert_types(msgspec.json.decode(line), LINE)
    for line in COMPRESSIONS["gzip"].inflate(objects.index()[1]).splitlines():
        _assert_types(msgspec.json.decode(line), ENTRY)
    assert 2 == len(entries(*objects.index()))


def _assert_types(row: dict[str, Any], columns: tuple[Column, ...]) -> None:
    assert schema.names(columns) == tuple(row)
    for column in columns:
        msgspec.convert(row[column.name], _PYTHON[column.type], strict=True)
        if column.type == "time":
            assert _MICROSECONDS.fullmatch(row[column.name])


def test_the_catalog_keeps_every_column() -> None:
    database = sqlite3.connect(":memory:")
    for statement in tables.SCHEMA:
        database.execute(statement)
    kept = {
        (name, kind, bool(required))
        for table in ("entries", "labels")
        for _, name, kind, required, _, primary in database.execute(f"PRAGMA table_info({table})")
        if not primary
    }
    database.close()
    types = {"text": "TEXT", "text?": "TEXT", "number": "INTEGER"}
    expected = {
        (column.name, types[column.type], column.type != "text?")
        for column in ENTRY
        if column.name not in tables.STORED_AS
    }
    # Numbers that stand for what is kept elsewhere, or in another form.
    expected |= {(name, "INTEGER", True) for name in ("received_us", "label", "segment")}
    assert expected == kept
    assert {"received_at", "segment", "of", "object"} == set(tables.STORED_AS)


def test_find_shows_columns_of_the_index() -> None:
    assert set(find._COLUMNS) - {"where"} <= set(schema.INDEXED)


def test_the_oracle_expects_the_columns() -> None:
    """The system tests import nothing from the package, so they have a list of their own."""
    kinds = {"text": (str,), "text?": (str, type(None)), "number": (int,), "time": (str,)}
    expected = {column.name: kinds.get(column.type, (list,)) for column in LINE}
    assert list(expected.items()) == list(oracle.COLUMNS.items())
    assert schema.names(ENTRY) == oracle.INDEX_COLUMNS


def test_the_readme_lists_the_columns_of_a_line() -> None:
    lists = re.findall(r"`(delivery_id provider [^`]+)`", (_ROOT / "README.md").read_text())
    assert [schema.names(LINE)] == [tuple(found.split()) for found in lists]
