"""Forwarding: every callback is sent at least once, whenever it is archived."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest

from receiver import clock
from receiver.archive import index_key, keys
from receiver.errors import Conflict, Damaged, LeaseHeld, LeaseLost, NotFound, StoreError
from receiver.lease import Lease
from receiver.replay import backlog, forward
from receiver.replay.forward import Forwarder
from receiver.replay.request import Form
from receiver.replay.sending import Sender
from receiver.replay.target import Target
from receiver.store import DirectoryStore
from receiver.store.base import Listed
from tests.replay.clock import Hurried
from tests.replay.place import DAY_US, MINUTE_US, Delivery, Place
from tests.tools import hostile
from tests.tools.deliveries import HOUR_US
from tests.tools.support.target import Reply, TargetServer

pytestmark = pytest.mark.anyio

POSITION = "forwards/default/position.json"
LATE_DAYS = 7


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Faulty(DirectoryStore):
    """A directory that fails on request."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.before_get: Callable[[str], None] = lambda key: None
        self.before_put: Callable[[str], None] = lambda key: None
        self.after_put_if: Callable[[str], None] = lambda key: None
        self.lists = 0

    def list(self, prefix: str, *, after: str = "") -> Iterator[Listed]:
        self.lists += 1
        yield from super().list(prefix, after=after)

    def get(self, key: str, *, start: int = 0, length: int | None = None) -> bytes:
        self.before_get(key)
        return super().get(key, start=start, length=length)

    def put(self, key: str, content: bytes) -> None:
        self.before_put(key)
        super().put(key, content)

    def put_if(self, key: str, content: bytes, *, etag: str | None) -> str:
        written = super().put_if(key, content, etag=etag)
        self.after_put_if(key)
        return written


@pytest.fixture
def server() -> Iterator[TargetServer]:
    with TargetServer() as server:
        yield server


@pytest.fixture
def store(tmp_path: Path) -> Faulty:
    return Faulty(tmp_path / "archive")


@pytest.fixture
def place(tmp_path: Path, store: Faulty) -> Place:
    return Place(tmp_path, store)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backlog, "LATE_SECONDS", 0.1)
    monkeypatch.setattr(forward, "SAVE_SECONDS", 0.05)


def now(seconds: float = 0.0) -> Delivery:
    """Return a callback that comes at this moment, or so many seconds later."""
    return Delivery(at_us=clock.now_us() + int(seconds * 1e6))


@contextlib.asynccontextmanager
async def forwarding(
    place: Place,
    url: str,
    *,
    attempts_max: int = 3,
    concurrency: int = 4,
    **options: Any,
) -> AsyncIterator[tuple[Forwarder, "asyncio.Task[None]"]]:
    """Forward as long as the context lasts, without pauses between attempts."""
    given: dict[str, Any] = {
        "name": "default",
        "owner": "a/1",
        "late_days": LATE_DAYS,
        "lease_seconds": 60.0,
        "look_seconds": 0.02,
    }
    hurried = Hurried()
    async with Target(connections=16, timeout_seconds=60.0) as target:
        sender = Sender(
            target,
            signer=None,
            concurrency=concurrency,
            attempts_max=attempts_max,
            patient=True,
            now=hurried.now,
            sleep=hurried.sleep,
        )
        forwarder = Forwarder(
            store=place.store,
            form=Form(f"{url}/hook", marked=False),
            sender=sender,
            **(given | options),
        )
        task = asyncio.create_task(forwarder.run())
        try:
            yield forwarder, task
        finally:
            task.cancel()
            await asyncio.wait((task,))
            if not task.cancelled():
                task.result()


async def until(condition: Callable[[], object], *, seconds: float = 40.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 # other threads bring it about
            await asyncio.sleep(0.005)


async def begun(place: Place, task: "asyncio.Task[None]") -> None:
    """Wait until a forwarder of a new name has written down from when on."""
    await until(lambda: task.done() or "since_us" in position(place))


def position(place: Place) -> dict[str, Any]:
    try:
        read: dict[str, Any] = orjson.loads(place.store.get(POSITION))
    except NotFound:
        return {}
    return read


def failed(place: Place) -> list[dict[str, Any]]:
    return [
        orjson.loads(line)
        for listed in place.store.list("forwards/default/failed/")
        for line in place.store.get(listed.key).splitlines()
    ]


# From when on.


async def test_what_arrives_from_now_on_is_forwarded(place: Place, server: TargetServer) -> None:
    before = place.take(now(-60))
    async with forwarding(place, server.url) as (forwarder, task):
        await begun(place, task)
        after = place.take(now(), now(0.001)) + place.take(now())
        await until(lambda: forwarder.confirmed == 3)
    assert dict.fromkeys(after, 1) == server.attempts()
    assert before[0] not in server.attempts()
    (received, *_) = server.received
    assert "webhook-replay" not in received.headers
    assert ("POST", "/hook?id=task-1&tag=try", b"{}") == (
        received.method,
        received.target,
        received.body,
    )


async def test_a_new_name_may_begin_earlier(place: Place, server: TargetServer) -> None:
    since_us = clock.now_us() - 5 * HOUR_US
    taken = [
        place.take(Delivery(at_us=since_us - 1), Delivery(at_us=since_us)),
        place.take(Delivery(at_us=since_us + HOUR_US)),
    ]
    async with forwarding(place, server.url, since_us=since_us) as (forwarder, _):
        await until(lambda: forwarder.confirmed == 2)
    assert [taken[0][1], taken[1][0]] == [received.id for received in server.received]


async def test_a_known_name_goes_on_where_it_stopped(place: Place, server: TargetServer) -> None:
    since_us = clock.now_us() - HOUR_US
    place.take(*(Delivery(at_us=since_us + n) for n in range(10)))
    async with forwarding(place, server.url, since_us=since_us) as (forwarder, _):
        await until(lambda: forwarder.confirmed == 10)
    server.received.clear()
    more = place.take(Delivery(at_us=since_us + MINUTE_US))
    options: dict[str, Any] = {"since_us": since_us - HOUR_US, "owner": "b/1"}
    async with forwarding(place, server.url, **options) as (forwarder, _):
        await until(lambda: forwarder.confirmed == 1)
    assert {more[0]: 1} == server.attempts()
    assert since_us == position(place)["since_us"]


async def test_each_name_has_a_position_of_its_own(place: Place, server: TargetServer) -> None:
    since_us = clock.now_us() - HOUR_US
    place.take(Delivery(at_us=since_us))
    for name in ("default", "other"):
        async with forwarding(place, server.url, since_us=since_us, name=name) as (forwarder, _):
            await until(lambda forwarder=forwarder: forwarder.confirmed == 1)  # type: ignore[misc]
    assert [2] == list(server.attempts().values())


# In which order.


async def test_segments_already_archived_are_forwarded_by_arrival(
    place: Place, server: TargetServer
) -> None:
    at_us = clock.now_us() - HOUR_US
    for number in range(5):
        place.take(*(Delivery(at_us=at_us + row * 1000 + number) for row in range(20)))
    async with forwarding(place, server.url, since_us=at_us, concurrency=1) as (forwarder, _):
        await until(lambda: forwarder.confirmed == 100)
    ids = [received.id for received in server.received]
    assert sorted(ids) == ids


# Late ones.


@pytest.mark.parametrize("hours", [0, 1, 3, 30, 24 * LATE_DAYS - 1])
async def test_a_late_segment_is_forwarded(place: Place, server: TargetServer, hours: int) -> None:
    async with forwarding(place, server.url, since_us=clock.now_us() - 30 * DAY_US) as (
        forwarder,
        task,
    ):
        await begun(place, task)
        late = place.take(Delivery(at_us=clock.now_us() - hours * HOUR_US))
        await until(lambda: forwarder.confirmed == 1)
    assert {late[0]: 1} == server.attempts()


async def test_callbacks_of_a_segment_before_the_beginning_are_left_out(
    place: Place, server: TargetServer
) -> None:
    async with forwarding(place, server.url) as (forwarder, task):
        await begun(place, task)
        since_us = position(place)["since_us"]
        # It began before, and is filed a day before; it ends after.
        before, after = place.take(Delivery(at_us=since_us - DAY_US), Delivery(at_us=since_us + 1))
        await until(lambda: forwarder.confirmed == 1)
    assert {after: 1} == server.attempts()
    assert before not in server.attempts()


async def test_segments_of_a_process_may_come_in_any_order(
    place: Place, server: TargetServer
) -> None:
    process, taken = clock.new_id(), []
    since_us = clock.now_us() - HOUR_US
    async with forwarding(place, server.url, since_us=since_us) as (forwarder, _):
        for number in (3, 0, 7, 1, 2, 5, 4):
            taken += place.take(
                Delivery(at_us=since_us + number * MINUTE_US), process=process, number=number
            )
            expected = len(taken)
            await until(lambda expected=expected: forwarder.confirmed == expected)  # type: ignore[misc]
    assert dict.fromkeys(taken, 1) == server.attempts()
    assert [[0, 5], [7, 7]] == position(place)["processes"][process]["done"]


# The target.


async def test_a_target_that_is_down_is_waited_for_and_the_lag_says_so(
    place: Place, server: TargetServer
) -> None:
    server.refuse()
    async with forwarding(place, server.url) as (forwarder, task):
        await begun(place, task)
        assert 0.0 == forwarder.lag_seconds
        taken = [place.take(now())[0] for _ in range(20)]
        await until(lambda: forwarder.lag_seconds > 0.3)
        first = forwarder.lag_seconds
        await until(lambda: forwarder.lag_seconds > first + 0.2)
        assert (0, 0) == (forwarder.confirmed, forwarder.failed)
        server.listen()
        await until(lambda: forwarder.confirmed == 20)
        assert 0.0 == forwarder.lag_seconds
    assert set(taken) == set(server.confirmed())
    assert [] == failed(place)


async def test_the_lag_is_the_age_of_the_oldest_that_is_not_settled(
    place: Place, server: TargetServer
) -> None:
    at_us = clock.now_us() - 2 * HOUR_US
    ids = place.take(*(Delivery(at_us=at_us + n * HOUR_US, rest=f"?id={n}") for n in range(2)))
    server.plan(ids[0], *[Reply(what="cut")] * 100_000)
    async with forwarding(place, server.url, since_us=at_us) as (forwarder, _):
        await until(lambda: forwarder.confirmed == 1)
        assert 7200 <= forwarder.lag_seconds < 7300
    assert 0.0 == forwarder.lag_seconds


async def test_a_callback_refused_while_others_are_confirmed_is_given_up_and_listed(
    place: Place, server: TargetServer, caplog: pytest.LogCaptureFixture
) -> None:
    body = b'{"status_code":20000,"tasks":[{"id":"bad","data":{"tag":"t"},"status_code":20000}]}'
    days = {f"{datetime.now(UTC):%Y-%m-%d}"}
    async with forwarding(place, server.url) as (forwarder, task):
        await begun(place, task)
        at_us = clock.now_us()
        (poison,) = place.take(Delivery(at_us=at_us, body=body, rest=""))
        server.plan(poison, *[Reply(status=400, body=b"I do not like it")] * 1000)
        good = [place.take(now())[0] for _ in range(30)]
        await until(lambda: forwarder.confirmed + forwarder.failed == 31)
        await until(lambda: failed(place))
    assert set(good) == set(server.confirmed())
    (facts,) = failed(place)
    assert 3 <= facts.pop("attempts") == server.attempts()[poison]
    assert {
        "delivery_id": poison,
        "provider": "dataforseo",
        "task_id": "bad",
        "tag": "t",
        "key": "bad",
        "why": "HTTP 400 Bad Request: I do not like it",
    } == facts
    (record,) = [each for each in caplog.records if each.levelno >= logging.ERROR]
    assert ("callback not forwarded", poison) == (record.getMessage(), vars(record)["delivery_id"])
    (listed,) = place.store.list("forwards/default/failed/")
    days.add(f"{datetime.now(UTC):%Y-%m-%d}")
    assert listed.key.partition("/date=")[2].partition("/")[0] in days


async def test_a_callback_that_cannot_be_read_is_listed_and_holds_up_nothing(
    place: Place, server: TargetServer
) -> None:
    since_us = clock.now_us() - HOUR_US
    (gone,) = place.take(Delivery(at_us=since_us))
    (entry,) = place.entries()
    good = place.take(Delivery(at_us=since_us + 1))
    place.store.delete(entry.object)
    async with forwarding(place, server.url, since_us=since_us) as (forwarder, _):
        await until(lambda: (forwarder.confirmed, forwarder.failed) == (1, 1))
    assert set(good) == set(server.attempts())
    (facts,) = failed(place)
    assert (gone, 0) == (facts["delivery_id"], facts["attempts"])
    assert entry.object in facts["why"]
    server.received.clear()
    async with forwarding(place, server.url) as (forwarder, _):
        more = place.take(now())
        await until(lambda: forwarder.confirmed == 1)
    assert set(more) == set(server.attempts())


# The index.


async def test_a_segment_without_callbacks_is_done_at_once(
    place: Place, server: TargetServer
) -> None:
    process = clock.new_id()
    place.take(process=process)
    async with forwarding(place, server.url, since_us=clock.now_us() - HOUR_US) as (forwarder, _):
        await until(lambda: process in position(place).get("processes", {}))
        assert 0.0 == forwarder.lag_seconds
    assert [[0, 0]] == position(place)["processes"][process]["done"]


async def test_a_damaged_index_object_is_logged_and_forwarded_once_repaired(
    place: Place, server: TargetServer, caplog: pytest.LogCaptureFixture
) -> None:
    process = clock.new_id()
    at_us = clock.now_us()
    damaged = place.take(Delivery(at_us=at_us), process=process)
    key = index_key(f"{process}-0", first_at_us=at_us)
    content = place.store.get(key)
    place.store.put(key, content[:-5])
    async with forwarding(place, server.url, since_us=at_us) as (forwarder, _):
        good = place.take(now())
        await until(lambda: forwarder.confirmed == 1)
        assert set(good) == set(server.attempts())
        assert {"index object is damaged"} == {record.getMessage() for record in caplog.records}
        place.store.put(key, content)
        await until(lambda: forwarder.confirmed == 2)
    assert dict.fromkeys(good + damaged, 1) == server.attempts()


async def test_an_index_object_that_is_removed_in_between_is_skipped(
    place: Place, store: Faulty, server: TargetServer
) -> None:
    process, removed = clock.new_id(), 0

    def remove(key: str) -> None:
        nonlocal removed
        if key.startswith("index/") and process in key:
            removed += 1
            store.delete(key)

    store.before_get = remove
    async with forwarding(place, server.url, since_us=clock.now_us() - HOUR_US) as (forwarder, _):
        gone = place.take(now(), process=process)
        await until(lambda: removed)
        good = place.take(now())
        await until(lambda: forwarder.confirmed == 1)
    assert dict.fromkeys(good, 1) == server.attempts()
    assert gone[0] not in server.attempts()


@pytest.mark.parametrize("name", ["notes.txt", "not-a-segment.jsonl.gz", "x.jsonl.gz"])
async def test_other_objects_in_the_index_are_ignored(
    place: Place, server: TargetServer, name: str
) -> None:
    place.store.put(keys.hour_prefix(keys.INDEX, clock.now_us()) + name, b"whatever")
    async with forwarding(place, server.url, since_us=clock.now_us() - HOUR_US) as (forwarder, _):
        place.take(now())
        await until(lambda: forwarder.confirmed == 1)


# The lease and the position.


async def test_only_the_holder_of_the_lease_forwards(place: Place, server: TargetServer) -> None:
    async with forwarding(place, server.url) as (forwarder, task):
        await begun(place, task)
        with pytest.raises(LeaseHeld, match="a/1 holds"):
            async with forwarding(place, server.url, owner="b/1") as (_, other):
                await asyncio.wait((other,))
        taken = place.take(now())
        await until(lambda: forwarder.confirmed == 1)
    assert dict.fromkeys(taken, 1) == server.attempts()


async def test_a_forwarder_that_ends_releases_its_lease(place: Place, server: TargetServer) -> None:
    generations = []
    for owner in ("a/1", "b/1"):
        async with forwarding(place, server.url, owner=owner) as (forwarder, _):
            place.take(now(60))
            await until(lambda forwarder=forwarder: forwarder.confirmed == 1)  # type: ignore[misc]
        generations.append(position(place)["generation"])
    assert [1, 2] == generations


async def test_a_forwarder_that_lost_its_lease_stops_and_writes_nothing(
    place: Place, server: TargetServer
) -> None:
    server.refuse()
    with pytest.raises(LeaseLost):  # noqa: PT012
        async with forwarding(place, server.url, lease_seconds=6.0) as (_, task):
            await begun(place, task)
            place.take(now())
            written = place.store.get(POSITION)
            # Somebody took it over, as after a long sleep of this machine.
            content = orjson.loads(place.store.get("leases/forward-default.json"))
            content |= {"owner": "b/1", "generation": 2}
            place.store.put("leases/forward-default.json", orjson.dumps(content))
            await asyncio.wait((task,), timeout=40)
    assert written == place.store.get(POSITION)
    assert {"owner": "b/1", "generation": 2} == {
        name: value
        for name, value in orjson.loads(place.store.get("leases/forward-default.json")).items()
        if name in ("owner", "generation")
    }


async def test_a_position_that_another_instance_wrote_is_not_overwritten(
    place: Place, server: TargetServer
) -> None:
    theirs = b'{"since_us": 1, "from_day": "2026-11-21", "generation": 9}'
    with pytest.raises(LeaseLost, match=r"position\.json"):  # noqa: PT012
        async with forwarding(place, server.url) as (_, task):
            await begun(place, task)
            place.store.put(POSITION, theirs)
            place.take(now())
            await asyncio.wait((task,), timeout=40)
    assert theirs == place.store.get(POSITION)


@pytest.mark.parametrize("answer", [Conflict("not as expected"), StoreError("no answer")])
async def test_a_write_of_the_position_whose_reply_is_lost_counts(
    place: Place, store: Faulty, server: TargetServer, answer: Exception
) -> None:
    process, taken = clock.new_id(), []
    written = 0

    def say(key: str) -> None:
        nonlocal written
        written += key == POSITION
        # Neither the first of all, which nothing could be done about, nor two in a row.
        if key == POSITION and written % 2 == 0:
            raise answer

    store.after_put_if = say
    async with forwarding(place, server.url) as (forwarder, task):
        await begun(place, task)
        for number in range(3):
            taken += place.take(now(), process=process, number=number)
            done = {"done": [[0, number]]}
            await until(
                lambda done=done: (  # type: ignore[misc]
                    position(place)["processes"].get(process, {}).items() >= done.items()
                )
            )
        assert 3 == forwarder.confirmed
    assert written > 3
    assert dict.fromkeys(taken, 1) == server.attempts()


async def test_with_a_damaged_position_nothing_is_sent(place: Place, server: TargetServer) -> None:
    place.store.put(POSITION, b"{")
    place.take(now())
    with pytest.raises(Damaged, match="position"):
        async with forwarding(place, server.url) as (_, task):
            await asyncio.wait((task,), timeout=40)
    assert [] == server.received
    assert b"{" == place.store.get(POSITION)
    # The lease was given up.
    Lease(place.store, "forward-default", owner="b/1").acquire()


# The store.


async def test_a_failing_store_ends_a_forwarder_and_the_next_goes_on(
    place: Place, store: Faulty, server: TargetServer
) -> None:
    since_us = clock.now_us() - HOUR_US
    first = place.take(Delivery(at_us=since_us))
    async with forwarding(place, server.url, since_us=since_us) as (forwarder, _):
        await until(lambda: forwarder.confirmed == 1)
    second = place.take(*(Delivery(at_us=since_us + n) for n in range(1, 20)))

    def fail(key: str) -> None:
        if key.startswith("callbacks/"):
            raise StoreError("the store is away")

    store.before_get = fail
    with pytest.raises(StoreError, match="the store is away"):
        async with forwarding(place, server.url) as (_, task):
            await asyncio.wait((task,), timeout=40)
    store.before_get = lambda key: None
    async with forwarding(place, server.url) as (forwarder, _):
        await until(lambda: forwarder.confirmed == 19)
    assert dict.fromkeys(first + second, 1) == server.attempts()


async def test_a_position_that_cannot_be_written_is_written_later(
    place: Place, store: Faulty, server: TargetServer, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(key: str) -> None:
        if key.startswith("forwards/"):
            raise StoreError("the store is away")

    process = clock.new_id()
    async with forwarding(place, server.url) as (forwarder, task):
        await begun(place, task)
        store.before_put = fail
        place.take(now(), process=process)
        await until(lambda: forwarder.confirmed == 1)
        await until(lambda: "position not written" in caplog.text)
        store.before_put = lambda key: None
        await until(lambda: process in position(place)["processes"])


async def test_failures_are_listed_later_if_they_cannot_be_written(
    place: Place, store: Faulty, server: TargetServer
) -> None:
    refused = 0

    def fail(key: str) -> None:
        nonlocal refused
        if "/failed/" in key:
            refused += 1
            raise StoreError("the store is away")

    store.before_put = fail
    since_us = clock.now_us() - HOUR_US
    ids = place.take(Delivery(at_us=since_us))
    (entry,) = place.entries()
    place.store.delete(entry.object)
    async with forwarding(place, server.url, since_us=since_us) as (forwarder, _):
        await until(lambda: forwarder.failed == 1)
        await until(lambda: refused > 2)
        # What is not listed is not done.
        assert {} == position(place)["processes"]
        store.before_put = lambda key: None
        await until(lambda: position(place)["processes"])
    assert ids == [facts["delivery_id"] for facts in failed(place)]


# What nobody should have written.


@pytest.mark.parametrize("changes", hostile.ENTRIES.values(), ids=hostile.ENTRIES)
async def test_a_hostile_entry_stops_nothing_and_is_not_tried_again(
    place: Place, server: TargetServer, changes: hostile.Row
) -> None:
    since_us = clock.now_us() - HOUR_US
    ids = place.take(*(Delivery(at_us=since_us + number) for number in range(3)))
    (listed,) = place.store.list(keys.INDEX)
    path = place.root / "archive" / listed.key
    hostile.rewrite_index(path, lambda entries: entries[1].update(changes))
    async with forwarding(place, server.url, since_us=since_us) as (forwarder, task):
        await until(lambda: task.done() or forwarder.confirmed == 2)
        more = place.take(now())
        await until(lambda: task.done() or forwarder.confirmed == 3)
        await until(lambda: task.done() or len(position(place)["processes"]) == 2)
    assert dict.fromkeys([ids[0], ids[2], *more], 1) == server.attempts()
    assert 0 == forwarder.failed


async def test_a_segment_that_is_filed_twice_is_forwarded_once(
    place: Place, server: TargetServer
) -> None:
    since_us = clock.now_us() - HOUR_US
    ids = place.take(*(Delivery(at_us=since_us + number) for number in range(3)))
    (listed,) = place.store.list(keys.INDEX)
    name = listed.key.rpartition("/")[2]
    other = keys.hour_prefix(keys.INDEX, since_us - HOUR_US) + name
    place.store.put(other, place.store.get(listed.key))
    async with forwarding(place, server.url, since_us=since_us) as (forwarder, task):
        await until(lambda: task.done() or forwarder.confirmed == 3)
        more = place.take(now())
        await until(lambda: task.done() or forwarder.confirmed == 4)
    assert dict.fromkeys([*ids, *more], 1) == server.attempts()


async def test_a_delivery_that_is_in_two_segments_is_forwarded_of_both(
    place: Place, server: TargetServer
) -> None:
    since_us = clock.now_us() - HOUR_US
    twice = Delivery(at_us=since_us, id=clock.new_id(since_us))
    place.take(twice)
    place.take(twice)
    async with forwarding(place, server.url, since_us=since_us) as (forwarder, task):
        await until(lambda: task.done() or forwarder.confirmed == 2)
        await until(lambda: task.done() or len(position(place)["processes"]) == 2)
    assert {twice.id: 2} == server.attempts()


# What lies long ago.


async def test_a_new_name_may_begin_earlier_than_late_segments_count(
    place: Place, server: TargetServer
) -> None:
    since_us = clock.now_us() - 30 * DAY_US
    taken = [place.take(Delivery(at_us=since_us + n * DAY_US))[0] for n in range(0, 30, 3)]
    async with forwarding(place, server.url, since_us=since_us) as (forwarder, _):
        await until(lambda: forwarder.confirmed == len(taken))
    assert taken == [received.id for received in server.received]


async def test_callbacks_of_any_time_without_a_forwarder_are_forwarded(
    place: Place, server: TargetServer
) -> None:
    began_us = clock.now_us() - 3 * LATE_DAYS * DAY_US
    now_us = began_us + HOUR_US
    async with forwarding(place, server.url, since_us=began_us, now_us=lambda: now_us) as (_, task):
        await begun(place, task)
    taken = [place.take(Delivery(at_us=began_us + n * DAY_US))[0] for n in range(1, 20)]
    async with forwarding(place, server.url) as (forwarder, _):
        await until(lambda: forwarder.confirmed == len(taken))
    assert dict.fromkeys(taken, 1) == server.attempts()


async def test_a_day_with_unconfirmed_callbacks_is_not_left_behind(
    place: Place, store: Faulty, server: TargetServer
) -> None:
    server.refuse()
    began_us = clock.now_us() - 3 * LATE_DAYS * DAY_US
    at_us = began_us
    (waiting,) = place.take(Delivery(at_us=began_us))
    later = [place.take(Delivery(at_us=began_us + n * DAY_US))[0] for n in range(1, LATE_DAYS + 3)]
    async with forwarding(
        place, server.url, since_us=began_us - 5 * DAY_US, now_us=lambda: at_us
    ) as (_, task):
        await begun(place, task)
        for day in range(20):
            at_us, looks = began_us + day * DAY_US, store.lists
            await until(lambda looks=looks: store.lists > looks + 20)  # type: ignore[misc]
    assert f"{_day(began_us)}" >= position(place)["from_day"] > f"{_day(began_us - 4 * DAY_US)}"
    server.listen()
    async with forwarding(place, server.url) as (forwarder, _):
        await until(lambda: forwarder.confirmed == 1 + len(later))
    assert dict.fromkeys((waiting, *later), 1) == server.confirmed()


def _day(at_us: int) -> str:
    return str(keys.day_at(at_us))


async def test_old_processes_are_dropped_from_the_position(
    place: Place, server: TargetServer
) -> None:
    old, new = clock.new_id(), clock.new_id()
    began_us = clock.now_us() - 20 * DAY_US
    place.take(Delivery(at_us=began_us), process=old)
    async with forwarding(place, server.url, since_us=began_us) as (forwarder, _):
        await until(lambda: forwarder.confirmed == 1)
        days_without_a_gap(place, process=new)
        await until(lambda: forwarder.confirmed == 2 + LATE_DAYS)
        await until(lambda: [new] == list(position(place)["processes"]))
    assert 2 + LATE_DAYS == len(server.received)


async def test_a_segment_that_is_too_late_is_not_forwarded(
    place: Place, store: Faulty, server: TargetServer
) -> None:
    today = datetime.now(UTC).replace(hour=12)
    days = {ago: today - timedelta(days=ago) for ago in (LATE_DAYS, LATE_DAYS + 1)}
    since_us, noon_us = clock.now_us() - 30 * DAY_US, int(today.timestamp() * 1e6)
    options: dict[str, Any] = {"since_us": since_us, "now_us": lambda: noon_us}
    in_time = days_without_a_gap(place, noon_us)
    async with forwarding(place, server.url, **options) as (forwarder, _):
        await until(lambda: position(place).get("from_day") == str(days[LATE_DAYS].date()))
        late, too_late = (
            place.take(Delivery(at_us=int(day.timestamp() * 1e6)))[0] for day in days.values()
        )
        await until(lambda: forwarder.confirmed == 2 + LATE_DAYS)
        looks = store.lists
        await until(lambda: store.lists > looks + 100)
    assert dict.fromkeys([*in_time, late], 1) == server.attempts()
    assert too_late not in server.attempts()


@pytest.mark.parametrize("takes_callbacks", [False, True], ids=["forwards", "takes them too"])
async def test_a_clock_that_was_ahead_leaves_no_day_behind(
    place: Place, server: TargetServer, takes_callbacks: bool
) -> None:
    """Nothing is sent again, and what comes late is still forwarded."""
    taken = days_without_a_gap(place, count=LATE_DAYS + 4)
    since_us = clock.now_us() - 30 * DAY_US
    async with forwarding(place, server.url, since_us=since_us) as (forwarder, _):
        await until(lambda: forwarder.confirmed == len(taken))
    ahead_us = 30 * DAY_US
    options: dict[str, Any] = {"owner": "b/1", "now_us": lambda: clock.now_us() + ahead_us}
    if takes_callbacks:
        taken += place.take(Delivery(at_us=clock.now_us() + ahead_us))
    async with forwarding(place, server.url, **options) as (forwarder, _):
        # Filed under the day that this clock calls tomorrow, it is seen by a look for late ones.
        taken += place.take(Delivery(at_us=clock.now_us() + ahead_us + DAY_US))
        await until(lambda: forwarder.confirmed == 1 + takes_callbacks)
        written = position(place)["written_at"]
        await until(lambda: position(place)["written_at"] != written)
    late = [place.take(Delivery(at_us=clock.now_us() - n * DAY_US))[0] for n in (1, 3)]
    async with forwarding(place, server.url, owner="c/1") as (forwarder, _):
        await until(lambda: forwarder.confirmed == len(late))
    assert dict.fromkeys(taken + late, 1) == server.attempts()


def days_without_a_gap(
    place: Place,
    until_us: int | None = None,
    *,
    count: int = LATE_DAYS + 1,
    process: str | None = None,
) -> list[str]:
    """Archive a callback of each of the last days, the oldest first; return their ids."""
    process, last_us = process or clock.new_id(), until_us or clock.now_us()
    return [
        place.take(
            Delivery(at_us=last_us - (count - 1 - number) * DAY_US), process=process, number=number
        )[0]
        for number in range(count)
    ]
