"""Which callbacks a replay sends, compared with plain Python over the whole archive."""

from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from receiver import clock
from receiver.archive.schema import Entry
from receiver.catalog.filters import Filters, Shard
from receiver.replay.selection import Selection, Size, is_delivery_id
from tests.replay.place import MINUTE_US, Delivery, Place


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """An archive in which tasks come again, and some callbacks have no key."""
    place = Place(tmp_path_factory.mktemp("place"))
    now_us = clock.now_us() - 60 * MINUTE_US
    for number in range(4):
        place.take(
            *(
                Delivery(
                    at_us=now_us + (row * 7 % 40) * MINUTE_US + number,
                    **(_WITH_KEY if row % 4 else _WITHOUT_KEY)(row % 13, number, row),
                )
                for row in range(40)
            )
        )
    return place


def _WITH_KEY(task: int, number: int, row: int) -> dict[str, Any]:
    return {
        "provider": ("dataforseo", "dataforapps")[number % 2],
        "rest": f"?id=task-{task}&tag=tag-{number}",
        "body": b"x" * row,
    }


def _WITHOUT_KEY(task: int, number: int, row: int) -> dict[str, Any]:
    return {"provider": "outscraper", "kind": "webhook", "rest": "", "body": b"no JSON"}


@pytest.fixture(scope="module")
def everything(place: Place) -> list[Entry]:
    return place.entries()


def latest(entries: list[Entry]) -> list[Entry]:
    """The model: the newest of each key, and all that has none."""
    newest = {(entry.provider, entry.key): entry for entry in entries if entry.key}
    return [e for e in entries if e.key is None or newest[e.provider, e.key] is e]


selections = st.fixed_dictionaries(
    {},
    optional={
        "provider": st.sampled_from(["dataforseo", "dataforapps", "outscraper", "diffbot"]),
        "tag": st.sampled_from(["tag-0", "tag-3"]),
        "invalid": st.sampled_from(["*", "", "not_json"]),
    },
)


@settings(max_examples=30, deadline=None)
@given(
    wanted=selections,
    only_latest=st.booleans(),
    parts=st.integers(1, 9) | st.just(1000),
    order=st.sampled_from(["arrival", "newest", "object"]),
)
def test_the_shards_together_are_exactly_the_whole(
    place: Place,
    everything: list[Entry],
    wanted: dict[str, Any],
    only_latest: bool,
    parts: int,
    order: Any,
) -> None:
    filters = Filters(**wanted)
    whole = [
        entry
        for entry in everything
        if filters.match(_fields(entry), clock.read_rfc3339(entry.received_at))
    ]
    if only_latest:
        whole = latest(whole)
    together: list[Entry] = []
    size = Size(0, 0)
    for index in range(parts) if parts < 1000 else {_part_of(entry, parts) for entry in whole}:
        selection = Selection(
            filters=filters, latest=only_latest, shard=Shard(index, parts), order=order
        )
        found = list(selection.entries(place.catalog))
        assert all(index == _part_of(entry, parts) for entry in found)
        part = selection.size(place.catalog)
        assert Size(len(found), sum(entry.body_bytes for entry in found)) == part
        size = Size(size.callbacks + part.callbacks, size.bytes + part.bytes)
        together += found
    assert sorted(map(_id, whole)) == sorted(map(_id, together))
    assert Selection(filters=filters, latest=only_latest).size(place.catalog) == size


def _id(entry: Entry) -> str:
    return entry.delivery_id


def _fields(entry: Entry) -> dict[str, Any]:
    return {name: getattr(entry, name) for name in entry.__struct_fields__}


def _part_of(entry: Entry, parts: int) -> int:
    (index,) = (
        index
        for index in range(parts)
        if Shard(index, parts).holds(entry.provider, entry.key or entry.delivery_id)
    )
    return index


@pytest.mark.parametrize("order", ["arrival", "newest", "object"])
@pytest.mark.parametrize("limit", [1, 7, 10_000])
def test_a_limit_applies_to_the_given_order(
    place: Place, everything: list[Entry], order: Any, limit: int
) -> None:
    whole = list(Selection(order=order).entries(place.catalog))
    selection = Selection(order=order, limit=limit)
    found = list(selection.entries(place.catalog))
    assert whole[:limit] == found
    assert len(found) == selection.size(place.catalog).callbacks
    assert sum(entry.body_bytes for entry in found) == selection.size(place.catalog).bytes
    if order == "arrival":
        assert everything == whole
    if order == "newest":
        assert everything == whole[::-1]


def test_the_newest_of_each_key(place: Place, everything: list[Entry]) -> None:
    found = list(Selection(latest=True).entries(place.catalog))
    assert latest(everything) == found
    assert len(found) < len(everything)


# Ids.


def test_ids_of_deliveries_and_tasks_keep_their_order(
    place: Place, everything: list[Entry]
) -> None:
    first, second = everything[50].delivery_id, everything[10].delivery_id
    task = [entry for entry in everything if entry.task_id == "task-3"]
    assert len(task) > 1
    selection = Selection(ids=(first, "task-3", second, "no-such-task", clock.new_id(0)))
    expected = [everything[50], *task, everything[10]]
    assert expected == list(selection.entries(place.catalog))
    assert Size(len(expected), sum(e.body_bytes for e in expected)) == selection.size(place.catalog)
    assert expected[:2] == list(Selection(ids=selection.ids, limit=2).entries(place.catalog))


def test_an_id_selects_no_other_callback_of_the_same_moment(tmp_path: Path) -> None:
    place = Place(tmp_path)
    at_us = clock.now_us() - MINUTE_US
    one, other = place.take(Delivery(at_us=at_us), Delivery(at_us=at_us + 1))
    assert 2 == len(place.entries())
    found = Selection(ids=(other,)).entries(place.catalog)
    assert [other] == [entry.delivery_id for entry in found]
    assert one != other


def test_the_earliest_arrival_is_known_from_ids_and_filters() -> None:
    early, late = clock.new_id(5_000_000), clock.new_id(9_000_000)
    assert 5_000_000 == Selection(ids=(late, early)).since_us
    assert Selection(ids=(late, "task")).since_us is None
    assert 7 == Selection(filters=Filters(since_us=7)).since_us
    assert Selection().since_us is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("01a2007a-5319-7da9-a8ca-ae232a2c4eab", True),
        ("01A2007A-5319-7DA9-A8CA-AE232A2C4EAB", False),
        ("01a2007a-5319-7da9-a8ca-ae232a2c4eab\n", False),
        ("08141207-1535-0066-0000-5b1f0c9a7e21", False),
        ("task", False),
    ],
)
def test_the_form_of_a_delivery_id(text: str, expected: bool) -> None:
    assert expected == is_delivery_id(text)


# Written down.


@given(
    ids=st.lists(st.text(max_size=9), max_size=3).map(tuple),
    wanted=selections,
    since_us=st.none() | st.integers(0, 10**15),
    limit=st.none() | st.integers(1, 9),
    only_latest=st.booleans(),
    shard=st.none() | st.builds(Shard, st.integers(0, 3), st.integers(4, 9)),
    order=st.sampled_from(["arrival", "newest", "object"]),
)
def test_a_selection_survives_json(
    ids: tuple[str, ...],
    wanted: dict[str, Any],
    since_us: int | None,
    limit: int | None,
    only_latest: bool,
    shard: Shard | None,
    order: Any,
) -> None:
    selection = Selection(
        ids=ids,
        filters=Filters(since_us=since_us, **wanted),
        limit=limit,
        latest=only_latest,
        shard=shard,
        order=order,
    )
    assert selection == Selection.of(orjson.loads(orjson.dumps(selection.plain())))
