"""Queries are quick whatever the size of the catalog, for they go the way that was meant."""

import sqlite3
from pathlib import Path
from typing import Any, get_args

import pytest

from receiver import clock
from receiver.catalog import Catalog, Order, queries, tables
from receiver.catalog.filters import Filters
from tests.catalog.place import CountingStore, index_line, put_index, put_lines

_TIMES = {"since_us": 1, "until_us": 2}


def plan(path: Path, filters: Filters, order: Order, *, latest: bool = False) -> list[str]:
    """Return the steps by which SQLite finds what passes."""
    database = sqlite3.connect(path)
    query = queries.Query(filters=filters, labels=[1, 2], latest=latest)
    select = f"EXPLAIN QUERY PLAN {query.select(order)}"
    rows = database.execute(select, query.values()).fetchall()
    database.close()
    return [row[3] for row in rows]


@pytest.fixture
def synced(path: Path, catalog: Catalog, store: CountingStore) -> Path:
    """The file of a catalog with something in it."""
    put_index(store, ["a"], tag="red")
    catalog.sync()
    return path


SEARCHES: list[tuple[dict[str, Any], str]] = [
    ({"key": "k"}, "INDEX entries_by_key (key=?)"),
    ({"key": "k", "tag": "t", "task_id": "i"}, "INDEX entries_by_key (key=?)"),
    ({"key": "k", "since_us": 1}, "INDEX entries_by_key (key=? AND received_us>?)"),
    ({"task_id": "i"}, "INDEX entries_by_task_id (task_id=? AND label=?)"),
    ({"task_id": "i", "tag": "t"}, "INDEX entries_by_task_id (task_id=? AND label=?)"),
    ({"task_id": "i", "since_us": 1}, "INDEX entries_by_task_id (task_id=? AND label=?)"),
    ({"tag": "t"}, "INDEX entries_by_tag (tag=?)"),
    ({"tag": "t", "since_us": 1}, "INDEX entries_by_tag (tag=? AND received_us>?)"),
    (
        {"tag": "t", **_TIMES},
        "INDEX entries_by_tag (tag=? AND received_us>? AND received_us<?)",
    ),
    ({"tag": "t", "provider": "p", "status": "s"}, "INDEX entries_by_tag (tag=?)"),
    ({"since_us": 1}, "INDEX entries_by_time (received_us>?)"),
    ({"until_us": 1}, "INDEX entries_by_time (received_us<?)"),
    (_TIMES, "INDEX entries_by_time (received_us>? AND received_us<?)"),
    (
        {"provider": "p", "invalid": "*", **_TIMES},
        "INDEX entries_by_time (received_us>? AND received_us<?)",
    ),
]


@pytest.mark.parametrize(("wanted", "expected"), SEARCHES)
@pytest.mark.parametrize("latest", [False, True])
def test_a_filter_leads_to_its_index(
    synced: Path, wanted: dict[str, Any], expected: str, latest: bool
) -> None:
    for order in get_args(Order):
        steps = plan(synced, Filters(**wanted), order, latest=latest)
        search = [step for step in steps if "entries_by_" in step and " n " not in step]
        assert len(search) == 1, steps
        assert search[0].endswith(expected), steps
        assert not [step for step in steps if step.startswith("SCAN e")], steps


@pytest.mark.parametrize(
    "filters", [Filters(), Filters(provider="p"), Filters(status="s"), Filters(invalid="*")]
)
def test_other_filters_are_answered_by_the_index_of_time(synced: Path, filters: Filters) -> None:
    steps = plan(synced, filters, "newest")
    assert "SCAN e USING INDEX entries_by_time" == steps[0]
    assert "SCAN e" == plan(synced, filters, "object")[0]


@pytest.mark.parametrize("wanted", [{}, {"tag": "t"}, {"key": "k"}, _TIMES, {"tag": "t", **_TIMES}])
def test_nothing_long_is_sorted(synced: Path, wanted: dict[str, Any]) -> None:
    """Only what came within one microsecond is put in order, and a task's few entries."""
    for order in get_args(Order):
        for latest in (False, True):
            steps = plan(synced, Filters(**wanted), order, latest=latest)
            sorts = {step for step in steps if "TEMP B-TREE" in step}
            expected = set() if order == "object" else {"RIGHT PART OF ORDER BY"}
            assert expected == {step.removeprefix("USE TEMP B-TREE FOR ") for step in sorts}


def test_whether_an_entry_is_the_latest_is_seen_by_its_key(synced: Path) -> None:
    for order in get_args(Order):
        steps = plan(synced, Filters(tag="t"), order, latest=True)
        assert "SEARCH n USING INDEX entries_by_key (key=? AND received_us>?)" in steps


def test_a_label_is_found_by_its_values_however_many_there_are(synced: Path) -> None:
    database = sqlite3.connect(synced)
    label = ("dataforseo", "postback", "callback", None, None)
    rows = database.execute(f"EXPLAIN QUERY PLAN {tables.NUMBER}", label).fetchall()
    database.close()
    columns = " AND ".join(f"{name}=?" for name in tables.LABEL_LOOKUP)
    (step,) = (row[3] for row in rows)
    assert step == f"SEARCH labels USING COVERING INDEX labels_by_value ({columns})"


def test_as_many_statuses_as_callbacks_are_taken_in_and_found(
    catalog: Catalog, store: CountingStore
) -> None:
    segment = f"{clock.new_id()}-0"
    lines = [
        index_line(
            segment, at, f"task-{at}", status=f"status-{at}", invalid=None if at % 2 else "x"
        )
        for at in range(20_000)
    ]
    put_lines(store, lines, segment)
    assert 20_000 == catalog.sync().entries
    assert ["task-7"] == [entry.task_id for entry in catalog.find(Filters(status="status-7"))]
    provider = Filters(provider="dataforseo", invalid="*")
    assert (10_000, 70_000) == catalog.count(provider)
    assert 10_000 == sum(1 for _ in catalog.find(provider, latest=True))
    tasks = [f"task-{at}" for at in range(0, 40_000, 2)]
    assert 10_000 == len(catalog.archived("dataforseo", tasks, kinds=["postback"]))
