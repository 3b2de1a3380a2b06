"""Work in the order of keys, under the schedules of random work."""

import asyncio
from collections import Counter, defaultdict
from collections.abc import AsyncGenerator, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from receiver.replay.lanes import InOrder, Slot


class Failed(Exception):
    """Raised by work."""


class Works:
    """Work that takes some turns of the loop each, and a record of it."""

    def __init__(self, *, fails: int | None = None) -> None:
        self._fails = fails
        self.begun: list[int] = []
        self.done: list[int] = []
        self.under_way: set[int] = set()
        self.most = 0
        self.closed = False

    async def work(self, item: tuple[int, str, int], slot: Slot) -> None:
        number, _, turns = item
        self.begun.append(number)
        self.under_way.add(number)
        self.most = max(self.most, len(self.under_way))
        try:
            for _ in range(turns):
                await asyncio.sleep(0)
            if number == self._fails:
                raise Failed(str(number))
            self.done.append(number)
        finally:
            self.under_way.discard(number)

    async def items(self, items: Sequence[tuple[int, str, int]]) -> AsyncGenerator[Any]:
        try:
            for item in items:
                await asyncio.sleep(0)
                yield item
        finally:
            self.closed = True


def in_order(
    works: Works,
    *,
    concurrency: int,
    size_max: int = 20,
    end_seconds: float = 60.0,
    stopping: asyncio.Event | None = None,
) -> InOrder[tuple[int, str, int]]:
    return InOrder(
        works.work,
        key=lambda item: item[1],
        size=lambda item: 1,
        concurrency=concurrency,
        size_max=size_max,
        end_seconds=end_seconds,
        stopping=stopping or asyncio.Event(),
    )


def run(
    works: Works, items: Sequence[tuple[int, str, int]], *, concurrency: int, **options: Any
) -> None:
    async def whole() -> None:
        await in_order(works, concurrency=concurrency, **options).run(works.items(items))
        await _nothing_is_left_behind()

    asyncio.run(whole())


async def _nothing_is_left_behind() -> None:
    await asyncio.sleep(0)  # what was cancelled ends at its next turn
    assert 1 == len(asyncio.all_tasks())


lists = st.lists(st.tuples(st.sampled_from("abcde") | st.none(), st.integers(0, 6)), max_size=60)


def numbered(made: Sequence[tuple[str | None, int]]) -> list[tuple[int, str, int]]:
    """Give each item a number; None is a key of its own."""
    return [(n, key or f"own-{n}", turns) for n, (key, turns) in enumerate(made)]


@settings(deadline=None)
@given(made=lists, concurrency=st.integers(1, 8))
def test_every_item_is_done_once_in_the_order_of_its_key_within_the_concurrency(
    made: list[tuple[str | None, int]], concurrency: int
) -> None:
    items, works = numbered(made), Works()
    run(works, items, concurrency=concurrency)
    assert Counter(range(len(items))) == Counter(works.done)
    assert works.most <= concurrency
    assert works.closed
    by_key = defaultdict(list)
    for number in works.begun:
        by_key[items[number][1]].append(number)
    assert all(numbers == sorted(numbers) for numbers in by_key.values())
    # One of a key begins when the one before it has ended.
    for numbers in by_key.values():
        assert numbers == [number for number in works.done if number in numbers]


@settings(deadline=None)
@given(made=lists.filter(bool), concurrency=st.integers(1, 8), data=st.data())
def test_after_a_failure_nothing_begins_and_work_under_way_ends(
    made: list[tuple[str | None, int]], concurrency: int, data: st.DataObject
) -> None:
    items = numbered(made)
    fails = data.draw(st.integers(0, len(items) - 1))
    works = Works(fails=fails)
    with pytest.raises(Failed, match=f"^{fails}$"):
        run(works, items, concurrency=concurrency)
    assert works.closed
    assert sorted([*works.done, fails]) == sorted(works.begun)
    behind = [number for number, key, _ in items if key == items[fails][1] and number > fails]
    assert not set(behind) & set(works.begun)
    # Nothing that came later than what was under way at the failure.
    assert len(works.begun) <= fails + 1 + 20


@settings(deadline=None)
@given(made=lists, concurrency=st.integers(1, 8), turns=st.integers(0, 60))
def test_when_cancelled_nothing_begins_and_work_under_way_ends(
    made: list[tuple[str | None, int]], concurrency: int, turns: int
) -> None:
    items, works = numbered(made), Works()

    async def whole() -> None:
        task = asyncio.create_task(in_order(works, concurrency=concurrency).run(works.items(items)))
        for _ in range(turns):
            await asyncio.sleep(0)
        begun = len(works.begun)
        task.cancel()
        await asyncio.wait((task,))
        if task.cancelled():
            # What had been started by then, and had not had its first turn yet.
            assert len(works.begun) <= begun + concurrency
        else:
            assert len(items) == len(works.done)
        assert sorted(works.begun) == sorted(works.done)
        await _nothing_is_left_behind()

    asyncio.run(whole())


def test_when_the_iteration_fails_work_under_way_ends_and_the_failure_is_raised() -> None:
    works = Works()

    async def items() -> AsyncGenerator[tuple[int, str, int]]:
        for number in range(3):
            yield number, str(number), 5
        raise Failed("the items")

    async def whole() -> None:
        with pytest.raises(Failed, match="the items"):
            await in_order(works, concurrency=8).run(items())

    asyncio.run(whole())
    assert [0, 1, 2] == works.begun == works.done


def test_work_that_does_not_end_in_time_is_cancelled() -> None:
    works = Works()

    async def whole() -> None:
        task = asyncio.create_task(
            in_order(works, concurrency=2, end_seconds=0.05).run(
                works.items([(0, "a", 1 << 60), (1, "b", 1)])
            )
        )
        while not works.done:  # noqa: ASYNC110 # other tasks bring it about
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait((task,))
        assert task.cancelled()

    asyncio.run(whole())
    assert [0, 1] == works.begun
    assert ([1], set()) == (works.done, works.under_way)


def test_the_items_that_wait_are_bounded() -> None:
    taken = 0

    async def items() -> AsyncGenerator[tuple[int, str, int]]:
        nonlocal taken
        for number in range(1000):
            taken += 1
            yield number, "one", 1 << 60

    async def whole() -> None:
        works = Works()
        task = asyncio.create_task(in_order(works, concurrency=4, end_seconds=0.0).run(items()))
        for _ in range(200):
            await asyncio.sleep(0)
        assert [0] == works.begun
        assert 20 < taken <= 20 + 1
        task.cancel()
        await asyncio.wait((task,))

    asyncio.run(whole())


@settings(deadline=None)
@given(
    sizes=st.lists(st.integers(0, 30), max_size=40),
    concurrency=st.integers(1, 8),
    size_max=st.integers(1, 40),
)
def test_the_size_of_held_items_is_bounded_except_for_a_single_one(
    sizes: list[int], concurrency: int, size_max: int
) -> None:
    held: list[int] = []
    done = 0

    async def items() -> AsyncGenerator[int]:
        for number in range(len(sizes)):
            yield number

    def size(number: int) -> int:
        return sizes[number]

    async def work(number: int, slot: Slot) -> None:
        nonlocal done
        held.append(number)
        assert sum(map(size, held)) <= size_max or len(held) == 1
        for _ in range(number % 5):
            await asyncio.sleep(0)
        held.remove(number)
        done += 1

    async def whole() -> None:
        await InOrder(
            work,
            key=str,
            size=size,
            concurrency=concurrency,
            size_max=size_max,
            end_seconds=60.0,
            stopping=asyncio.Event(),
        ).run(items())

    asyncio.run(whole())
    assert len(sizes) == done


def test_work_that_gives_up_its_slot_lets_others_go_on() -> None:
    order: list[str] = []

    async def work(item: tuple[int, str, int], slot: Slot) -> None:
        number, *_ = item
        order.append(f"{number} begins")
        if number == 0:
            slot.give_up()
            slot.give_up()
            for _ in range(30):
                await asyncio.sleep(0)
            await slot.take()
        order.append(f"{number} ends")

    async def whole() -> None:
        await InOrder(
            work,
            key=lambda item: item[1],
            size=lambda item: 1,
            concurrency=1,
            size_max=9,
            end_seconds=60.0,
            stopping=asyncio.Event(),
        ).run(Works().items([(n, "other" if n else "one", 0) for n in range(3)]))

    asyncio.run(whole())
    others = ["1 begins", "1 ends", "2 begins", "2 ends"]
    assert ["0 begins", *others, "0 ends"] == order


def test_items_that_wait_for_their_key_do_not_hold_up_other_keys() -> None:
    works = Works()
    slow = [(number, "slow", 50) for number in range(3)]
    run(works, [*slow, *((number, str(number), 1) for number in range(3, 9))], concurrency=2)
    assert [3, 4, 5, 6, 7, 8] == [number for number in works.done[:7] if number > 2]
