"""Bringing the catalog up to date: everything is found, and little is asked for."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from receiver.archive import members
from receiver.catalog import Catalog, Synced, syncing
from receiver.catalog.filters import Filters
from receiver.errors import StoreError
from receiver.store import Listed, open_store
from tests.catalog.place import SINCE, TODAY, CountingStore, put_index
from tests.tools.support.s3 import Bucket


def tasks_of(catalog: Catalog) -> set[str | None]:
    return {entry.task_id for entry in catalog.find(Filters())}


def test_only_what_is_new_is_read(catalog: Catalog, store: CountingStore) -> None:
    first = {put_index(store, [f"a{number}"]) for number in range(150)}
    assert Synced(150, 150) == catalog.sync(since=SINCE)
    assert dict.fromkeys(first, 1) == store.gets
    assert Synced(0, 0) == catalog.sync(since=SINCE)
    second = put_index(store, ["b"])
    assert Synced(1, 1) == catalog.sync(since=SINCE)
    assert dict.fromkeys(first | {second}, 1) == store.gets


def test_only_days_that_exist_are_listed(catalog: Catalog, store: CountingStore) -> None:
    days = [TODAY - timedelta(days=ago) for ago in (0, 1, 700, 2000)]
    for day in days:
        put_index(store, [f"{day:%Y-%m-%d}"], day=day)
    assert Synced(4, 4) == catalog.sync()
    assert {f"index/date={day:%Y-%m-%d}/": 1 for day in days} == store.lists
    catalog.sync(since=SINCE)
    assert [2, 2, 1, 1] == [store.lists[f"index/date={day:%Y-%m-%d}/"] for day in days]


@pytest.mark.parametrize("ago", [0, 1, 30, 400, -1, -3])
def test_a_segment_that_came_days_late_or_early_is_found(
    catalog: Catalog, store: CountingStore, ago: int
) -> None:
    put_index(store, ["a"])
    catalog.sync()
    put_index(store, ["b"], day=TODAY - timedelta(days=ago))
    assert Synced(1, 1) == catalog.sync()
    assert {"a", "b"} == tasks_of(catalog)


def test_only_the_hours_that_are_asked_for_are_taken_in(
    catalog: Catalog, store: CountingStore
) -> None:
    noon = TODAY.replace(hour=12, minute=0, second=0, microsecond=0) - timedelta(days=3)
    for hours in range(-30, 31):
        put_index(store, [f"{hours}"], day=noon + timedelta(hours=hours))
    catalog.sync(since=noon + timedelta(minutes=59), until=noon + timedelta(hours=2))
    assert {"0", "1", "2"} == tasks_of(catalog)
    catalog.sync(until=noon - timedelta(hours=29))
    assert {"0", "1", "2", "-30", "-29"} == tasks_of(catalog)
    catalog.sync(since=noon + timedelta(hours=30))
    assert {"0", "1", "2", "-30", "-29", "30"} == tasks_of(catalog)
    catalog.sync()
    assert {f"{hours}" for hours in range(-30, 31)} == tasks_of(catalog)


def test_what_is_gone_from_the_archive_is_found_no_more(
    catalog: Catalog, store: CountingStore
) -> None:
    old = put_index(store, ["old"], day=TODAY - timedelta(days=40))
    keys = [put_index(store, [f"{number}-0", f"{number}-1"]) for number in range(5)]
    catalog.sync()
    store.delete(old)
    store.delete(keys[0])
    store.delete(keys[3])
    put_index(store, ["new"])
    assert Synced(1, 1) == catalog.sync(since=SINCE)
    left = {f"{number}-{position}" for number in (1, 2, 4) for position in (0, 1)} | {"new"}
    # The day of the oldest was not asked for.
    assert left | {"old"} == tasks_of(catalog)
    catalog.sync()
    assert left == tasks_of(catalog)


def test_days_that_are_gone_whole_from_a_bucket_are_found_no_more(
    path: Path, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in bucket.environ.items():
        monkeypatch.setenv(name, value)
    store = open_store(f"s3://{bucket.name}/some/where")
    days = {ago: TODAY - timedelta(days=ago) for ago in (0, 5, 6, 40)}
    for ago, day in days.items():
        for number in range(2):
            put_index(store, [f"{ago}-{number}"], day=day)
    catalog = Catalog(path, store)
    catalog.sync()
    for ago in (5, 6, 40):
        for listed in list(store.list(f"index/date={days[ago]:%Y-%m-%d}/")):
            store.delete(listed.key)
    catalog.sync(since=SINCE)
    # The oldest day was not asked for.
    assert {"0-0", "0-1", "40-0", "40-1"} == tasks_of(catalog)
    assert set() == catalog.archived("dataforseo", ["5-0", "6-1"], kinds=["postback"])
    catalog.sync()
    assert {"0-0", "0-1"} == tasks_of(catalog)


def test_days_that_a_listing_left_out_are_kept(
    tmp_path: Path, path: Path, store: CountingStore
) -> None:
    for ago in (0, 3):
        put_index(store, [f"{ago}"], day=TODAY - timedelta(days=ago))
    Catalog(path, store).sync()

    class Forgetful(CountingStore):
        def folders(self, prefix: str) -> Iterator[str]:
            yield from list(super().folders(prefix))[1:]

    class Failing(Forgetful):
        def list(self, prefix: str, *, after: str = "") -> Iterator[Listed]:
            raise StoreError("the network is gone")

    with pytest.raises(StoreError, match="network"):
        Catalog(path, Failing(tmp_path / "archive")).sync()
    assert {"0", "3"} == tasks_of(Catalog(path, store))
    Catalog(path, Forgetful(tmp_path / "archive")).sync()
    assert {"0", "3"} == tasks_of(Catalog(path, store))


def test_what_is_no_index_object_is_not_read(catalog: Catalog, store: CountingStore) -> None:
    key = put_index(store, ["a"])
    store.put(f"{key}.bak", b"something")
    store.put("index/README", b"something")
    store.put("index/other/file.jsonl.gz", b"something")
    assert Synced(1, 1) == catalog.sync(since=SINCE)


def test_one_that_vanished_since_it_was_listed_is_passed_over(
    tmp_path: Path, path: Path, store: CountingStore
) -> None:
    gone = put_index(store, ["a"])

    class Vanishing(CountingStore):
        def get(self, key: str, *, start: int = 0, length: int | None = None) -> bytes:
            self.delete(gone)
            return super().get(key, start=start, length=length)

    put_index(store, ["b"])
    catalog = Catalog(path, Vanishing(tmp_path / "archive"))
    assert Synced(1, 1) == catalog.sync(since=SINCE)
    assert {"b"} == tasks_of(catalog)


def test_a_damaged_one_is_passed_over_and_read_when_it_is_mended(
    catalog: Catalog, store: CountingStore, caplog: pytest.LogCaptureFixture
) -> None:
    put_index(store, ["a"])
    key = put_index(store, ["b", "c"])
    whole = store.get(key)
    torn = put_index(store, ["d"])
    intact = store.get(torn)
    store.put(torn, intact[:-9])
    wrong = put_index(store, ["e"])
    lines = members.INDEX.inflate(whole).replace(b'"received_at":"2', b'"received_at":"x')
    store.put(wrong, members.INDEX.member(lines))
    assert Synced(2, 3) == catalog.sync()
    assert {"a", "b", "c"} == tasks_of(catalog)
    assert sorted([torn, wrong]) == sorted(record.__dict__["key"] for record in caplog.records)
    store.put(torn, intact)
    assert Synced(1, 1) == catalog.sync()


def test_what_was_read_before_a_failure_stays_read(
    tmp_path: Path, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(syncing, "_BATCH_SEGMENTS", 10)

    class Failing(CountingStore):
        def get(self, key: str, *, start: int = 0, length: int | None = None) -> bytes:
            if sum(self.gets.values()) >= 55:
                raise StoreError("the network is gone")
            return super().get(key, start=start, length=length)

    store = CountingStore(tmp_path / "archive")
    for number in range(100):
        put_index(store, [f"{number}"])
    with pytest.raises(StoreError, match="network"):
        Catalog(path, Failing(tmp_path / "archive")).sync()
    taken = len(tasks_of(Catalog(path, store)))
    assert 0 < taken < 100
    assert Synced(100 - taken, 100 - taken) == Catalog(path, store).sync()


@settings(max_examples=30, deadline=None)
@given(steps=st.lists(st.tuples(st.integers(0, 2), st.integers(1, 9), st.data()), max_size=8))
def test_after_every_sync_the_catalog_is_the_index(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[int, int, st.DataObject]]
) -> None:
    """Whatever was added where or removed, also with days cut into many stretches."""
    root = tmp_path_factory.mktemp("steps")
    store = CountingStore(root / "archive")
    catalog = Catalog(root / "catalog.sqlite", store)
    held: dict[str, str] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(syncing, "_STRETCH_KEYS", 3)
        for day, count, data in steps:
            for _ in range(count):
                task = f"task-{len(held)}-{count}-{data.draw(st.integers(0, 10**9))}"
                held[put_index(store, [task], day=TODAY - timedelta(days=day))] = task
            for key in data.draw(st.lists(st.sampled_from(sorted(held)), max_size=3)):
                store.delete(key)
                held.pop(key, None)
            catalog.sync()
            assert sorted(held.values()) == sorted(
                str(entry.task_id) for entry in catalog.find(Filters())
            )


def test_a_bucket_is_synced_like_a_directory(
    path: Path, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in bucket.environ.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(syncing, "_STRETCH_KEYS", 5)
    store = open_store(f"s3://{bucket.name}/some/where")
    for number in range(12):
        put_index(store, [f"{number}"], day=TODAY - timedelta(days=number % 2))
    catalog = Catalog(path, store)
    assert Synced(12, 12) == catalog.sync()
    gone = put_index(store, ["12"])
    assert Synced(1, 1) == catalog.sync()
    store.delete(gone)
    assert Synced(0, 0) == catalog.sync()
    assert {f"{number}" for number in range(12)} == tasks_of(catalog)
