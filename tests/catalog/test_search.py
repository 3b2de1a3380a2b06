"""Finding callbacks by the catalog, reading their lines, and looking into the spool."""

import base64
import gzip
import itertools
import os
import tracemalloc
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from receiver.archive import COMPRESSIONS, spans, steps
from receiver.archive.schema import Entry
from receiver.catalog import Catalog, search
from receiver.catalog.filters import Filters
from receiver.errors import Damaged
from receiver.providers import PROVIDERS
from receiver.shipper import Shipper
from receiver.store import DirectoryStore
from tests.tools.deliveries import AT_US, head_of, segment_file

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
    for row in place.rows:
        newest[row["provider"], row["key"]] = row["delivery_id"]
    found = place.catalog.find(Filters(), latest=True)
    assert sorted(newest.values()) == sorted(entry.delivery_id for entry in found)


def test_a_limit_limits(place: Place) -> None:
    found = list(place.catalog.find(Filters(), order="newest", limit=3))
    assert [row["delivery_id"] for row in place.rows[:-4:-1]] == [e.delivery_id for e in found]


class Counting(DirectoryStore):
    """A directory that keeps what was read of it."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.reads: list[tuple[str, int, int | None]] = []

    def get(self, key: str, *, start: int = 0, length: int | None = None) -> bytes:
        self.reads.append((key, start, length))
        return super().get(key, start=start, length=length)


def test_a_callback_is_read_by_one_range(place: Place) -> None:
    for entry, row in zip(place.catalog.find(Filters()), place.rows, strict=True):
        store = Counting(Path(place.store.url))
        callback = search.archived(store, entry)
        body = b"".join(callback.body())
        assert body == b"".join(callback.body())
        assert [(entry.object, entry.member_offset, entry.member_bytes)] == store.reads
        columns = callback.columns | {"body": None, "body_base64": None}
        if callback.is_text:
            columns["body"] = body.decode()
        else:
            columns["body_base64"] = base64.b64encode(body).decode()
        assert row == columns
        assert "archive" == callback.row()["where"]


def test_an_entry_that_points_at_another_line_is_damage(place: Place) -> None:
    one, other = itertools.islice(place.catalog.find(Filters(invalid="")), 2)
    names = ("object", "member_offset", "member_bytes", "line_offset", "line_bytes")
    wrong = msgspec.structs.replace(one, **{name: getattr(other, name) for name in names})
    with pytest.raises(Damaged):
        search.archived(place.store, wrong)


def lost_of(store: DirectoryStore, entries: list[Entry]) -> tuple[list[str], list[str]]:
    """Return the ids of the lines that were read, and of those that were not."""
    lost: list[str] = []
    pieces = search.pieces(store, entries, lost=lambda entry, exc: lost.append(entry.delivery_id))
    lines = b"".join(pieces).splitlines()
    return [orjson.loads(line)["delivery_id"] for line in lines], lost


def test_every_line_is_read_once_in_pieces(place: Place) -> None:
    entries = list(place.catalog.find(Filters(), order="object"))
    assert ([entry.delivery_id for entry in entries], []) == lost_of(place.store, entries)


def test_long_lines_are_read_in_pieces(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    entries = list(place.catalog.find(Filters(), order="object"))
    short = b"".join(search.pieces(place.store, entries, lost=lambda entry, exc: None))
    monkeypatch.setattr(steps, "LONG_BYTES", 20_000)
    assert short == b"".join(search.pieces(place.store, entries, lost=lambda entry, exc: None))


def test_what_the_archive_lost_is_told_and_the_rest_is_read(tmp_path: Path) -> None:
    place = Place(tmp_path, "gzip")
    entries = list(place.catalog.find(Filters(), order="object"))
    gone, damaged = entries[0].object, entries[-1]
    (tmp_path / "archive" / gone).unlink()
    path = tmp_path / "archive" / damaged.object
    content = bytearray(path.read_bytes())
    content[damaged.member_offset + damaged.member_bytes // 2] ^= 0xFF
    path.write_bytes(content)
    expected_lost = [
        entry.delivery_id
        for entry in entries
        if entry.object == gone
        or (entry.object, entry.member_offset) == (damaged.object, damaged.member_offset)
    ]
    read, lost = lost_of(place.store, entries)
    assert 0 < len(expected_lost) < len(entries)
    assert expected_lost == lost
    assert [e.delivery_id for e in entries if e.delivery_id not in lost] == read


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
