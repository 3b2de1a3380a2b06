"""The catalog's queries, once it is up to date."""

import itertools
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from receiver import clock
from receiver.archive.schema import Entry
from receiver.catalog import Catalog, Order, Synced
from receiver.catalog.filters import Filters, Shard
from tests.catalog.place import SINCE, CountingStore, index_line, put_index, put_lines

AT_US = clock.read_rfc3339("2026-11-21T19:59:59.999990Z")


def test_what_is_archived_is_known_after_a_sync(catalog: Catalog, store: CountingStore) -> None:
    put_index(store, ["a", "b", None])
    assert Synced(segments=1, entries=3) == catalog.sync(since=SINCE)
    asked = ["a", "b", "c"]
    assert {"a", "b"} == catalog.archived("dataforseo", asked, kinds=["postback", "result"])
    assert set() == catalog.archived("dataforseo", asked, kinds=["pingback"])
    assert set() == catalog.archived("dataforapps", asked, kinds=["postback"])
    assert set() == catalog.archived("dataforseo", asked, kinds=[])
    assert catalog.has_key("dataforseo", "a:advanced")
    assert not catalog.has_key("dataforseo", "c:advanced")
    assert not catalog.has_key("diffbot", "a:advanced")


def test_of_many_arrivals_the_first_counts(catalog: Catalog, store: CountingStore) -> None:
    moments = [clock.rfc3339(clock.now_us() - 1_000_000 * ago) for ago in (300, 200, 100, 0)]
    for moment, task in zip(moments, ["old", "a", "a", None], strict=True):
        put_index(store, [task], received_at=moment, kind="webhook", provider="outscraper")
    put_index(store, ["b"], kind="result", provider="outscraper")
    put_index(store, ["c"], kind="webhook", provider="diffbot")
    catalog.sync(since=SINCE)
    assert {"a": moments[1]} == catalog.arrivals("outscraper", kind="webhook", since=moments[1])


def test_an_entry_comes_back_as_the_index_has_it(catalog: Catalog, store: CountingStore) -> None:
    segment = f"{clock.new_id()}-17"
    odd = "tag ' \" \\ é 😀 \x00 ?"
    lines = [
        index_line(segment, 0, "a", tag=odd, status=None, invalid="not_json", member_offset=2**40),
        index_line(segment, 1, None, key=None, origin="sweep", received_at=clock.rfc3339(0)),
    ]
    put_lines(store, lines, segment)
    catalog.sync()
    expected = [Entry(**line) for line in lines]  # type: ignore[arg-type]
    assert expected == sorted(catalog.find(Filters()), key=lambda entry: entry.position)
    assert expected[:1] == list(catalog.find(Filters(tag=odd)))


# Few values, so that they meet often; times around the end of an hour.
_times = st.integers(0, 20).map(lambda step: clock.rfc3339(AT_US + step))
_lines = st.fixed_dictionaries(
    {
        "task_id": st.sampled_from(["t1", "t2", None]),
        "received_at": _times,
        "provider": st.sampled_from(["dataforseo", "outscraper"]),
        "kind": st.sampled_from(["postback", "webhook"]),
        "origin": st.sampled_from(["callback", "sweep"]),
        "tag": st.sampled_from(["red", "blue", "", None]),
        "key": st.sampled_from(["k1", "k2", None]),
        "status": st.sampled_from(["1", "2", "", None]),
        "invalid": st.sampled_from(["not_json", "not_gzip", None]),
        "body_bytes": st.integers(0, 9),
    }
)
_shards = st.none() | st.builds(Shard, st.integers(0, 1), st.integers(2, 3))
_segments = st.lists(st.lists(_lines, max_size=6), max_size=4)
_filters = st.fixed_dictionaries(
    {},
    optional={
        "since_us": st.integers(AT_US - 1, AT_US + 21),
        "until_us": st.integers(AT_US - 1, AT_US + 21),
        "provider": st.sampled_from(["dataforseo", "outscraper", "diffbot"]),
        "kind": st.sampled_from(["postback", "webhook"]),
        "origin": st.sampled_from(["callback", "sweep"]),
        "task_id": st.sampled_from(["t1", "t2", "t3"]),
        "tag": st.sampled_from(["red", "blue", "", "green"]),
        "key": st.sampled_from(["k1", "k2", "k3"]),
        "status": st.sampled_from(["1", "2", "", "3"]),
        "invalid": st.sampled_from(["", "*", "not_json", "not_utf8"]),
    },
)


@settings(max_examples=40, deadline=None)
@given(
    segments=_segments,
    asked=st.lists(
        st.tuples(_filters, st.booleans(), st.none() | st.integers(1, 4), _shards), max_size=25
    ),
)
def test_what_is_found_is_what_a_plain_model_finds(
    tmp_path_factory: pytest.TempPathFactory,
    segments: list[list[dict[str, Any]]],
    asked: list[tuple[dict[str, Any], bool, int | None, Shard | None]],
) -> None:
    root = tmp_path_factory.mktemp("model")
    store = CountingStore(root / "archive")
    model: list[dict[str, Any]] = []
    for number, listed in enumerate(segments):
        name = f"{clock.new_id()}-{number}"
        lines = [index_line(name, position, **line) for position, line in enumerate(listed)]
        put_lines(store, lines, name)
        model += lines
    catalog = Catalog(root / "catalog.sqlite", store)
    assert Synced(len(segments), len(model)) == catalog.sync()
    for (wanted, latest, limit, shard), order in itertools.product(asked, get_args(Order)):
        filters = Filters(**wanted)
        passing = [line for line in model if filters.match(line, _us(line)) and _in(shard, line)]
        passing = _latest(passing) if latest else passing
        expected = [line["delivery_id"] for line in passing]
        counted = catalog.count(filters, latest=latest, shard=shard)
        assert (len(passing), sum(line["body_bytes"] for line in passing)) == counted
        found = list(catalog.find(filters, order=order, latest=latest, limit=limit, shard=shard))
        ids = [entry.delivery_id for entry in found]
        if order == "object":
            assert set(ids) <= set(expected)
            assert min(len(expected), limit or 10**6) == len(set(ids)) == len(ids)
            _assert_easy_to_read(found)
        else:
            by_age = {line["delivery_id"]: _age(line) for line in model}
            expected.sort(key=by_age.__getitem__, reverse=order == "newest")
            assert expected[:limit] == ids


def _in(shard: Shard | None, line: dict[str, Any]) -> bool:
    return shard is None or shard.holds(line["provider"], line["key"] or line["delivery_id"])


def _us(line: dict[str, Any]) -> int:
    return clock.read_rfc3339(line["received_at"])


def _age(line: dict[str, Any]) -> tuple[int, str]:
    return _us(line), line["delivery_id"]


def _latest(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    newest: dict[tuple[str, str], dict[str, Any]] = {}
    for line in sorted(lines, key=lambda line: (line["invalid"] is None, *_age(line))):
        newest[line["provider"], line["key"] or line["delivery_id"]] = line
    return list(newest.values())


def _assert_easy_to_read(found: list[Entry]) -> None:
    """Each object is read once, from front to back."""
    objects = [(name, list(group)) for name, group in itertools.groupby(found, lambda e: e.object)]
    assert len(objects) == len({name for name, _ in objects})
    for _, group in objects:
        assert group == sorted(group, key=lambda entry: entry.position)


def test_results_fetched_in_vain_are_counted_by_task(
    catalog: Catalog, store: CountingStore
) -> None:
    put_index(store, ["a", "a", "b"], kind="result", invalid="not_json")
    put_index(store, ["a", "b"], kind="result", invalid="other_task")
    put_index(store, ["b", "c", "c", "c"], kind="result", invalid="odd_text")
    put_index(store, ["c", "c", "c"], kind="postback", invalid="not_json")
    catalog.sync()
    for at_least, expected in ((2, {"a", "b"}), (3, {"a"}), (4, set())):
        assert expected == catalog.fruitless("dataforseo", ["a", "b", "c"], at_least=at_least)
    assert set() == catalog.fruitless("outscraper", ["a"], at_least=1)


def test_what_is_taken_in_meanwhile_disturbs_no_search(
    path: Path, catalog: Catalog, store: CountingStore
) -> None:
    """Be it taken in by another one or by the same."""
    put_index(store, ["a", "b"])
    catalog.sync()
    found = catalog.find(Filters())
    assert next(found).task_id == "a"
    put_index(store, ["c"])
    other = Catalog(path, store)
    assert Synced(1, 1) == other.sync()
    put_index(store, ["d"])
    assert Synced(1, 1) == catalog.sync()
    assert next(found).task_id == "b"
    assert {"c", "d"} == other.archived("dataforseo", ["c", "d"], kinds=["postback"])
