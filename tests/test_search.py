"""Finding callbacks by the catalog, reading their lines, and looking into the spool."""

import itertools
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from receiver import search
from receiver.archive import COMPRESSIONS, spans
from receiver.catalog import Catalog
from receiver.filters import Filters
from receiver.providers import PROVIDERS
from receiver.shipper import Shipper
from receiver.store import DirectoryStore
from tests.deliveries import AT_US, head_of, segment_file

SINCE = datetime(2026, 11, 20, tzinfo=UTC)
TAGS = ("red", "blue", "")


def delivery(number: int) -> tuple[bytes, bytes]:
    """One of a mix of deliveries: two providers, three tags, some twice, some damaged."""
    task, tag = f"task-{number % 40}", TAGS[number % 3]
    provider = ("dataforseo", "dataforapps")[number % 2]
    target = f"/{provider}/postback/***?id={task}&tag={tag}"
    body = orjson.dumps(
        {"status_code": 20000, "tasks": [{"id": task, "status_code": 20000 + number % 2}]}
    )
    if number % 7 == 0:
        body = b"\x1f\x8b damaged " + os.urandom(300)
    head = head_of(at_us=AT_US + number * 1_000, provider=provider, target=target)
    return head, body + b" " * (number % 5 * 30_000)


class Place:
    """An archive of sixty callbacks in three segments, and its catalog."""

    def __init__(self, root: Path, compression: str) -> None:
        self.spool = root / "spool"
        self.store = DirectoryStore(root / "archive")
        for first in range(0, 60, 20):
            segment_file(self.spool, [delivery(number) for number in range(first, first + 20)])
        Shipper(
            store=self.store,
            providers=PROVIDERS,
            compression=COMPRESSIONS[compression],
            inflated_bytes_max=1 << 20,
            concurrency=1,
        ).ship(self.spool)
        self.catalog = Catalog(root / "catalog.sqlite", self.store)
        self.catalog.sync(since=SINCE)
        found = self.catalog.find(Filters())
        self.rows: list[dict[str, Any]] = [
            orjson.loads(line) for line in spans.lines(self.store, found)
        ]


@pytest.fixture(scope="module", params=["gzip", "zstd"])
def place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Place:
    return Place(tmp_path_factory.mktemp("place"), request.param)


def test_every_line_is_read_by_its_entry(place: Place) -> None:
    entries = list(place.catalog.find(Filters()))
    assert 60 == len(entries)
    assert [entry.delivery_id for entry in entries] == [row["delivery_id"] for row in place.rows]
    for entry, row in zip(entries, place.rows, strict=True):
        assert (row["task_id"], row["tag"], row["key"], row["status"], row["invalid"]) == (
            entry.task_id,
            entry.tag,
            entry.key,
            entry.status,
            entry.invalid,
        )


@pytest.mark.parametrize("order", ["arrival", "newest", "object"])
def test_the_order_changes_nothing_but_the_order(place: Place, order: Any) -> None:
    found = [
        orjson.loads(e)
        for e in spans.lines(place.store, place.catalog.find(Filters(), order=order))
    ]
    assert sorted(r["delivery_id"] for r in place.rows) == sorted(r["delivery_id"] for r in found)
    if order == "newest":
        assert place.rows == found[::-1]


chosen: dict[str, list[Any]] = {
    "provider": ["dataforseo", "dataforapps", "diffbot"],
    "kind": ["postback", "pingback"],
    "origin": ["callback", "sweep"],
    "task_id": ["task-1", "task-2", "task-nowhere"],
    "tag": ["red", "blue", "green"],
    "key": ["task-3", "task-4"],
    "status": ["20000", "20001"],
    "invalid": ["", "*", "not_gzip", "not_json"],
    "since_us": [AT_US, AT_US + 20_000, AT_US + 20_001, AT_US + 59_000],
    "until_us": [AT_US, AT_US + 20_000, AT_US + 20_001, AT_US + 60_000],
}
pairs = st.sampled_from(list(itertools.combinations(chosen, 2))).flatmap(
    lambda names: st.fixed_dictionaries({name: st.sampled_from(chosen[name]) for name in names})
)


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(wanted=pairs)
def test_the_catalog_finds_what_the_filters_let_pass(place: Place, wanted: dict[str, Any]) -> None:
    filters = Filters(**wanted)
    expected = [
        row["delivery_id"]
        for number, row in enumerate(place.rows)
        if filters.match(row, AT_US + number * 1_000)
    ]
    assert expected == [entry.delivery_id for entry in place.catalog.find(filters)]


def test_of_each_key_the_latest_is_left(place: Place) -> None:
    newest: dict[tuple[str, str], str] = {}
    for row in place.rows:
        newest[row["provider"], row["key"]] = row["delivery_id"]
    found = place.catalog.find(Filters(), latest=True)
    assert sorted(newest.values()) == sorted(entry.delivery_id for entry in found)


def test_a_limit_limits(place: Place) -> None:
    found = list(place.catalog.find(Filters(), order="newest", limit=3))
    assert [row["delivery_id"] for row in place.rows[:-4:-1]] == [e.delivery_id for e in found]


def test_what_waits_in_the_spool_is_found_as_it_will_be_archived(tmp_path: Path) -> None:
    records = [delivery(number) for number in range(1, 7)]
    segment_file(tmp_path, records)
    found = list(search.in_spool(tmp_path, Filters(tag="red"), inflated_bytes_max=1 << 20))
    assert ["task-3", "task-6"] == [row["task_id"] for row, _ in found]
    row, line = found[0]
    assert "spool" == row["where"]
    assert records[2][1] == search.body_of(line)
