"""Work on many items, several at once, and on those that belong together one after the other."""

import asyncio
import collections
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Generic, TypeVar

T = TypeVar("T")

# Taken and not done, besides those under way.
_WAITING = 1024


class Place:
    """One of the places at which work is under way; whoever only waits may leave it to others."""

    def __init__(self, places: asyncio.Semaphore) -> None:
        self._places = places
        self._held = True

    def leave(self) -> None:
        """Let another begin, or go on."""
        if self._held:
            self._held = False
            self._places.release()

    async def take(self) -> None:
        """Take a place again, behind all that wait for one."""
        await self._places.acquire()
        self._held = True


class InOrder(Generic[T]):
    """Begins the work on items as they come; ``key`` says which belong together.

    At most ``concurrency`` have a place at a time; a thousand more, or as many as are of
    ``size_max`` together, wait for one.  When work raises, or this is cancelled, ``stopping`` is
    set and no more is begun; what is under way gets ``end_seconds`` to come to an end.
    """

    def __init__(
        self,
        work: Callable[[T, Place], Awaitable[None]],
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
        self._places = asyncio.Semaphore(concurrency)
        self._count_max = concurrency + _WAITING
        self._count = 0
        self._held = 0
        self._less = asyncio.Event()
        # What waits for one of its key, for each key that has one under way.
        self._behind: dict[str, collections.deque[T]] = {}
        self._under_way: set[asyncio.Task[None]] = set()
        self._failure: Exception | None = None

    async def run(self, items: AsyncGenerator[T]) -> None:
        """Work on all items.  Raises what work or the iteration raises first."""
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
                await self._places.acquire()
                task = asyncio.create_task(self._chain(key, item, Place(self._places)))
                self._under_way.add(task)
                task.add_done_callback(self._under_way.discard)

    async def _make_room(self, size: int) -> None:
        """Wait until an item of this size may be taken; one of any size may be taken alone."""
        while self._count and (
            self._count >= self._count_max or self._held + size > self._size_max
        ):
            self._less.clear()
            await self._less.wait()
        self._count += 1
        self._held += size

    async def _chain(self, key: str, item: T, place: Place) -> None:
        """Work on an item, and on those of its key that came to stand behind it."""
        try:
            while not self._stopping.is_set():
                await self._work(item, place)
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
            place.leave()

    async def _end(self, feeding: "asyncio.Task[None]") -> None:
        with contextlib.suppress(asyncio.CancelledError, Exception):
            await feeding  # its failure was raised above, or is that of stopping
        if self._under_way:
            _, late = await asyncio.wait(self._under_way, timeout=self._end_seconds)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late)
