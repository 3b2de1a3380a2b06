"""Work on many items concurrently, but on items of one key in their order."""

import asyncio
import collections
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Generic, TypeVar

T = TypeVar("T")

# Items that are taken and wait, besides those under way.
_WAITING = 1024


class Slot:
    """The right to work on an item; work that only waits may give it up to others."""

    def __init__(self, slots: asyncio.Semaphore) -> None:
        self._slots = slots
        self._held = True

    def give_up(self) -> None:
        """Let other work begin or go on."""
        if self._held:
            self._held = False
            self._slots.release()

    async def take(self) -> None:
        """Take a slot again, after all that already wait for one."""
        await self._slots.acquire()
        self._held = True


class InOrder(Generic[T]):
    """Begins the work on items in their order; of one ``key``, an item waits for those before it.

    At most ``concurrency`` items have a slot.  About a thousand more, or as many as have
    ``size_max`` together, wait for one.  When work raises, or this is cancelled, ``stopping`` is
    set and nothing more is begun; work under way gets ``end_seconds`` to end.
    """

    def __init__(
        self,
        work: Callable[[T, Slot], Awaitable[None]],
        *,
        key: Callable[[T], str],
        size: Callable[[T], int],
        concurrency: int,
        size_max: int,
        end_seconds: float,
        stopping: asyncio.Event,
    ) -> None:
        self._work = work
        self._key = key
        self._size = size
        self._size_max = size_max
        self._end_seconds = end_seconds
        self._stopping = stopping
        self._slots = asyncio.Semaphore(concurrency)
        self._count_max = concurrency + _WAITING
        self._count = 0
        self._held = 0
        self._less = asyncio.Event()
        # Items that wait for one of their key, for each key that has one under way.
        self._behind: dict[str, collections.deque[T]] = {}
        self._under_way: set[asyncio.Task[None]] = set()
        self._failure: Exception | None = None

    async def run(self, items: AsyncGenerator[T]) -> None:
        """Work on all items.  Raises what the work or the iteration raises first."""
        stopped = asyncio.create_task(self._stopping.wait())
        feeding = asyncio.create_task(self._feed(items))
        try:
            await asyncio.wait((feeding, stopped), return_when=asyncio.FIRST_COMPLETED)
            if feeding.done():
                feeding.result()
            while self._under_way and not stopped.done():
                await asyncio.wait((*self._under_way, stopped), return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._stopping.set()
            stopped.cancel()
            feeding.cancel()
            await self._end(feeding)
        if self._failure is not None:
            raise self._failure

    async def _feed(self, items: AsyncGenerator[T]) -> None:
        async with contextlib.aclosing(items):
            async for item in items:
                await self._make_room(self._size(item))
                key = self._key(item)
                if key in self._behind:
                    self._behind[key].append(item)
                    continue
                self._behind[key] = collections.deque()
                await self._slots.acquire()
                task = asyncio.create_task(self._chain(key, item, Slot(self._slots)))
                self._under_way.add(task)
                task.add_done_callback(self._under_way.discard)

    async def _make_room(self, size: int) -> None:
        """Wait until an item of this size may be taken; a single item may have any size."""
        while self._count and (
            self._count >= self._count_max or self._held + size > self._size_max
        ):
            self._less.clear()
            await self._less.wait()
        self._count += 1
        self._held += size

    async def _chain(self, key: str, item: T, slot: Slot) -> None:
        """Work on an item, and then on the items of its key that came after it."""
        try:
            while not self._stopping.is_set():
                await self._work(item, slot)
                self._count -= 1
                self._held -= self._size(item)
                self._less.set()
                if not self._behind[key]:
                    return
                item = self._behind[key].popleft()
        except Exception as exc:  # noqa: BLE001
            self._failure = self._failure or exc
            self._stopping.set()
        finally:
            del self._behind[key]
            slot.give_up()

    async def _end(self, feeding: "asyncio.Task[None]") -> None:
        with contextlib.suppress(asyncio.CancelledError, Exception):
            await feeding  # raised above, or a consequence of stopping
        if self._under_way:
            _, late = await asyncio.wait(self._under_way, timeout=self._end_seconds)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late)
