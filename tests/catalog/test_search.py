"""Searching by filters: the catalog for the archive, and the spool for what is not there yet."""

import gzip
import itertools
import tracemalloc
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from receiver.catalog import Catalog, search
from receiver.catalog.filters import Filters
from tests.tools.deliveries import AT_US, head_of, segment_file
from tests.tools.mixed import MixedArchive, delivery

SINCE = datetime(2026, 11, 20, tzinfo=UTC)


class Place:
    """An archive, its lines by arrival, and its catalog."""

    def __init__(self, root: Path) -> None:
        archive = MixedArchive(root)
        self.rows = archive.lines(archive.entries)
        self.catalog = Catalog(root / "catalog.sqlite", archive.store)
        self.catalog.sync(since=SINCE)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return Place(tmp_path_factory.mktemp("place"))


@pytest.mark.parametrize("order", ["arrival", "newest", "object"])
def test_the_order_changes_nothing_but_the_order(place: Place, order: Any) -> None:
    ids = [row["delivery_id"] for row in place.rows]
    found = [entry.delivery_id for entry in place.catalog.find(Filters(), order=order)]
    assert sorted(ids) == sorted(found)
    if order != "object":
        assert ids == (found if order == "arrival" else found[::-1])


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


@settings(
    max_examples=300,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
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
    for row in sorted(place.rows, key=lambda row: row["invalid"] is None):
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
    assert ["task-3", "task-6"] == [callback.columns["task_id"] for callback in found]
    assert ["spool", "spool"] == [callback.row()["where"] for callback in found]
    assert records[2][1] == b"".join(found[0].body())


def test_of_the_spool_only_bodies_that_may_pass_are_decoded(tmp_path: Path) -> None:
    segment_file(tmp_path, [delivery(number) for number in range(1, 30)])
    # A decoder that may inflate nothing says so of every body that it is given.
    found = search.in_spool(
        tmp_path, Filters(provider="dataforapps", since_us=AT_US + 25_000), inflated_bytes_max=0
    )
    assert ["task-25", "task-27", "task-29"] == [c.columns["task_id"] for c in found]


def test_a_body_of_the_spool_that_is_too_long_to_be_held_is_read_in_steps(tmp_path: Path) -> None:
    content = b'{"tasks": ["' + b"long " * (4 << 20) + b'"]}'
    segment_file(tmp_path, [(head_of(), gzip.compress(content, 1))])
    [callback] = search.in_spool(tmp_path, Filters(), inflated_bytes_max=1 << 28)
    tracemalloc.start()
    try:
        same = all(
            step == content[at : at + len(step)]
            for at, step in zip(_offsets(callback.body()), callback.body(), strict=True)
        )
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert same
    assert peak < 4 << 20
    assert len(content) == callback.columns["body_bytes"]


def _offsets(steps_of_body: Iterator[bytes]) -> Iterator[int]:
    at = 0
    for step in steps_of_body:
        yield at
        at += len(step)


def test_damage_in_the_spool_hides_nothing_else(tmp_path: Path) -> None:
    records = [delivery(number) for number in range(1, 4)]
    path = segment_file(tmp_path, [*records, (b"no head", b"")])
    content = bytearray(path.read_bytes())
    content[content.index(b"task-2")] ^= 0xFF
    path.write_bytes(content)
    found = search.in_spool(tmp_path, Filters(), inflated_bytes_max=1 << 20)
    assert ["task-1", "task-3"] == [callback.columns["task_id"] for callback in found]
