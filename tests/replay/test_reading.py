"""Reading in order, a window at a time, past what is damaged."""

import asyncio
import itertools
import random
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import orjson
import pytest
from msgspec.structs import replace

from receiver import clock
from receiver.archive.schema import Entry
from receiver.errors import StoreError
from receiver.replay import reading
from receiver.replay.long_body import LongBody
from receiver.replay.reading import Item, UnreadableEntry, read
from receiver.replay.request import Form, Request
from receiver.store import DirectoryStore
from tests.replay.place import MINUTE_US, Delivery, Place, content_of

FORM = Form("http://h")


class Watched(DirectoryStore):
    """Counts reads of callbacks objects, and does to them what it is told."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.reads: Counter[str] = Counter()
        self.bytes = 0
        self.before: Callable[[str], None] = lambda key: None
        self._guard = threading.Lock()

    def get(self, key: str, *, start: int = 0, length: int | None = None) -> bytes:
        content = super().get(key, start=start, length=length)
        if key.startswith("callbacks/"):
            with self._guard:
                self.reads[key] += 1
                self.bytes += len(content)
            self.before(key)
        return content


@pytest.fixture
def store(tmp_path: Path) -> Watched:
    return Watched(tmp_path / "archive")


@pytest.fixture
def place(tmp_path: Path, store: Watched) -> Place:
    return Place(tmp_path, store)


def noise(seed: int, size: int) -> bytes:
    """Return text that compresses to about a half."""
    return random.Random(seed).randbytes(size // 2).hex().encode()


def fill(place: Place, *, segments: int = 4, each: int = 40, body_bytes: int = 20_000) -> None:
    """Archive segments whose callbacks came in turn, of two kinds."""
    now_us = clock.now_us() - 30 * MINUTE_US
    for number in range(segments):
        place.take(
            *(
                Delivery(
                    provider=("dataforseo", "outscraper")[row % 2],
                    kind=("postback", "webhook")[row % 2],
                    body=noise(number * 1000 + row, body_bytes),
                    at_us=now_us + (row * segments + number) * 1000,
                )
                for row in range(each)
            )
        )


def read_all(store: DirectoryStore, entries: Iterable[Entry]) -> list[Item]:
    async def whole() -> list[Item]:
        return [item async for item in read(store, lambda: entries, FORM)]

    return asyncio.run(whole())


def ids(items: Iterable[Item]) -> list[str]:
    return [item.entry.delivery_id for item in items]


@pytest.mark.parametrize("order", ["arrival", "newest", "object"])
def test_callbacks_are_read_in_the_given_order(place: Place, store: Watched, order: str) -> None:
    fill(place)
    entries = place.entries(order=order)
    assert 160 == len(entries)
    items = read_all(store, entries)
    assert [entry.delivery_id for entry in entries] == ids(items)
    for entry, item in zip(entries, items, strict=True):
        assert isinstance(item, Request)
        assert orjson.loads(place.line(entry))["body"].encode() == content_of(item)


def test_each_object_is_read_once_for_a_window(place: Place, store: Watched) -> None:
    fill(place)
    entries = place.entries()
    assert 8 == len({entry.object for entry in entries})
    assert len({(entry.object, entry.member_offset) for entry in entries}) > 8
    read_all(store, entries)
    # By arrival each follows one of another object; all the same each object is read once.
    assert dict.fromkeys({entry.object for entry in entries}, 1) == store.reads


def test_a_window_ends_at_its_bytes_or_its_callbacks(
    place: Place, store: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(place, segments=1, each=60)
    entries = place.entries()
    for callbacks, size in ((7, 1 << 30), (1000, 50_000), (1000, 1)):
        monkeypatch.setattr(reading, "WINDOW_CALLBACKS", callbacks)
        monkeypatch.setattr(reading, "WINDOW_BYTES", size)
        windows = list(reading._windows(lambda: entries))
        assert entries == [entry for window in windows for entry in window]
        for window, following in itertools.pairwise(windows):
            held = sum(entry.line_bytes for entry in window)
            assert len(window) <= callbacks
            assert held <= size or len(window) == 1
            assert len(window) == callbacks or held + following[0].line_bytes > size
        assert [entry.delivery_id for entry in entries] == ids(read_all(store, entries))


def test_only_the_next_window_is_read_ahead(
    place: Place, store: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "WINDOW_CALLBACKS", 5)
    fill(place, segments=1, each=40)
    entries = place.entries()
    taken = 0

    def counted() -> Iterator[Entry]:
        nonlocal taken
        for entry in entries:
            taken += 1
            yield entry

    async def whole() -> None:
        items = read(store, counted, FORM)
        for number in range(1, 21):
            await anext(items)
            assert taken <= (number + 4) // 5 * 5 + 5 + 1
        await items.aclose()

    asyncio.run(whole())
    assert taken <= 26


def test_entries_are_iterated_and_dropped_in_one_thread(place: Place, store: Watched) -> None:
    fill(place, segments=1, each=10, body_bytes=100)
    entries, threads = place.entries(), set()

    def watched() -> Iterator[Entry]:
        try:
            for entry in entries:
                threads.add(threading.get_ident())
                yield entry
        finally:
            threads.add(threading.get_ident())

    async def partly() -> None:
        items = read(store, watched, FORM)
        await anext(items)
        await items.aclose()

    asyncio.run(partly())
    assert 1 == len(threads)
    assert threading.get_ident() not in threads


def test_no_entries_are_no_requests(store: Watched) -> None:
    assert [] == read_all(store, [])


# Damage.


def unreadable(items: Iterable[Item]) -> set[str]:
    return {item.entry.delivery_id for item in items if isinstance(item, UnreadableEntry)}


def of_member(entries: list[Entry], damaged: Entry) -> set[str]:
    place = damaged.object, damaged.member_offset
    return {e.delivery_id for e in entries if (e.object, e.member_offset) == place}


def test_a_missing_object_affects_only_its_own_callbacks(place: Place, store: Watched) -> None:
    fill(place, body_bytes=2000)
    entries = place.entries()
    gone = entries[7].object
    store.delete(gone)
    items = read_all(store, entries)
    assert {e.delivery_id for e in entries if e.object == gone} == unreadable(items)
    assert [entry.delivery_id for entry in entries] == ids(items)
    (why,) = {item.why for item in items if isinstance(item, UnreadableEntry)}
    assert gone in why


@pytest.mark.parametrize("how", ["flipped", "zeros"])
def test_a_damaged_member_affects_only_its_own_callbacks(
    place: Place, store: Watched, tmp_path: Path, how: str
) -> None:
    fill(place)
    entries = place.entries()
    damaged = entries[81]
    path = tmp_path / "archive" / damaged.object
    content = bytearray(path.read_bytes())
    middle = damaged.member_offset + damaged.member_bytes // 2
    if how == "flipped":
        content[middle] ^= 0xFF
    else:
        content[middle - 50 : middle + 50] = bytes(100)
    path.write_bytes(content)
    items = read_all(store, entries)
    expected = of_member(entries, damaged)
    assert 1 < len(expected) < 20
    assert expected == unreadable(items)


def test_an_object_that_was_cut_short_loses_only_its_end(
    place: Place, store: Watched, tmp_path: Path
) -> None:
    fill(place)
    entries = place.entries()
    last = max(entries, key=lambda entry: (entry.object, entry.member_offset))
    path = tmp_path / "archive" / last.object
    path.write_bytes(path.read_bytes()[:-10])
    assert of_member(entries, last) == unreadable(read_all(store, entries))


def test_a_line_that_is_not_where_the_index_says_affects_no_other(
    place: Place, store: Watched
) -> None:
    fill(place, segments=1, each=8, body_bytes=1000)
    entries = place.entries()
    moved = replace(entries[4], line_offset=entries[4].line_offset + 3)
    far = replace(entries[6], line_offset=10 << 20)
    given = [*entries[:4], moved, entries[5], far, entries[7]]
    assert {moved.delivery_id, far.delivery_id} == unreadable(read_all(store, given))


# The store.


def test_a_failing_store_ends_the_reading(place: Place, store: Watched) -> None:
    fill(place)
    entries = place.entries()

    def fail(key: str) -> None:
        if key == entries[3].object:
            raise StoreError("the store is away")

    store.before = fail
    with pytest.raises(StoreError, match="the store is away"):
        read_all(store, entries)


class Held:
    """Holds up a read of a store until it is let go: the one of that number, or of that key."""

    def __init__(self, store: Watched, which: int | str) -> None:
        self.reached, self.going = threading.Event(), threading.Event()
        self.reads = 0
        self.let_go = False
        self._which = which
        self._guard = threading.Lock()
        store.before = self.hold

    def hold(self, key: str) -> None:
        with self._guard:
            self.reads += 1
            held = self._which in (self.reads, key)
        if held:
            self.reached.set()
            self.let_go = self.going.wait(60)


async def until(event: threading.Event) -> None:
    async with asyncio.timeout(60):
        while not event.is_set():  # noqa: ASYNC110 # another thread brings it about
            await asyncio.sleep(0.001)


async def turns() -> None:
    """Let the loop turn some times, for what it would do if it did wrong."""
    for _ in range(100):
        await asyncio.sleep(0)


def test_stopping_early_waits_only_for_the_read_under_way(
    place: Place, store: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "WINDOW_CALLBACKS", 5)
    fill(place, segments=1, each=40)
    entries, held = place.entries(order="object"), Held(store, 2)

    async def whole() -> None:
        items = read(store, lambda: entries, FORM)
        await anext(items)
        await until(held.reached)
        closing = asyncio.create_task(items.aclose())
        await turns()
        assert not closing.done()
        held.going.set()
        await closing

    asyncio.run(whole())
    assert held.let_go
    assert 2 == held.reads


def test_cancelling_waits_only_for_the_read_under_way(place: Place, store: Watched) -> None:
    fill(place, segments=1, each=8, body_bytes=1000)
    entries, held = place.entries(), Held(store, 1)
    closed = threading.Event()

    def watched() -> Iterator[Entry]:
        try:
            yield from entries
            yield from entries
        finally:
            closed.set()

    async def whole() -> None:
        items = read(store, watched, FORM)
        waiting = asyncio.ensure_future(anext(items))
        await until(held.reached)
        waiting.cancel()
        await turns()
        held.going.set()
        await asyncio.wait([waiting])
        assert waiting.cancelled()

    asyncio.run(whole())
    assert held.let_go
    assert closed.is_set()


def test_a_failed_read_does_not_block_the_event_loop_while_another_is_slow(
    place: Place, store: Watched
) -> None:
    fill(place)
    entries, failed = place.entries(order="object"), threading.Event()
    held = Held(store, entries[-1].object)

    def fail(key: str) -> None:
        held.hold(key)
        if key == entries[0].object:
            assert held.reached.wait(60)
            failed.set()
            raise StoreError("the store is away")

    store.before = fail

    async def whole() -> None:
        reader = asyncio.create_task(_read_to_the_end(store, entries))
        await until(failed)
        # By now the loop would stand still.
        await asyncio.sleep(0.05)
        held.going.set()
        with pytest.raises(StoreError):
            await reader

    asyncio.run(whole())
    assert held.let_go, "the loop stood still"


async def _read_to_the_end(store: Watched, entries: list[Entry]) -> None:
    async for _ in read(store, lambda: entries, FORM):
        pass


def test_what_cannot_be_sent_says_so_and_the_rest_is_sent(place: Place, store: Watched) -> None:
    rests = ["/serp?id=1", "/../../admin/delete?id=2", "/on_page?id=3"]
    place.take(*(Delivery(kind="pingback", method="GET", rest=r, body=b"") for r in rests))
    form = Form("http://h/hooks{path}")

    async def whole() -> list[Item]:
        return [item async for item in read(store, place.entries, form)]

    first, odd, last = asyncio.run(whole())
    assert isinstance(odd, UnreadableEntry)
    assert "its path has a dot segment" in odd.why
    urls = [item.url for item in (first, last) if isinstance(item, Request)]
    assert ["http://h/hooks/serp?id=1", "http://h/hooks/on_page?id=3"] == urls


def test_long_lines_are_read_among_the_others_and_in_order(place: Place, store: Watched) -> None:
    bodies = [b"{}", b"\x01" * (2 << 20), b"[]", noise(9, 40 << 20), b"0"]
    ids = place.take(*(Delivery(body=body) for body in bodies))
    items = read_all(store, place.entries())
    assert ids == [item.entry.delivery_id for item in items]
    requests = [item for item in items if isinstance(item, Request)]
    assert bodies == [content_of(request) for request in requests]
    long = [isinstance(request.body, LongBody) for request in requests]
    assert [False, True, False, True, False] == long


def test_a_long_line_that_is_damaged_holds_nothing_up(place: Place, store: Watched) -> None:
    place.take(*(Delivery(body=body) for body in (b"{}", noise(9, 40 << 20), b"[]")))
    entries = place.entries()
    (key,) = {entry.object for entry in entries}
    content = bytearray(store.get(key))
    content[entries[1].member_offset + entries[1].member_bytes // 2] ^= 0xFF
    store.put(key, bytes(content))
    first, damaged, last = read_all(store, entries)
    assert (True, True) == (isinstance(first, Request), isinstance(last, Request))
    assert isinstance(damaged, UnreadableEntry)
    assert "damaged" in damaged.why
