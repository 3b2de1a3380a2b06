"""What a simulator does later, by the clock: tasks finish, entries appear on lists."""

import asyncio
import heapq
import itertools
import threading
from collections.abc import Callable

from tests.tools.simulators.clock import Clock


class Timeline:
    """Actions at moments; each is run once, under the simulator's lock, when its moment has come.

    `settle` runs what is due at once, so nobody ever sees a state that the clock has passed by.
    """

    def __init__(self, clock: Clock, lock: threading.RLock) -> None:
        self._clock = clock
        self._lock = lock
        self._order = itertools.count()
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._wake: Callable[[], None] | None = None

    def at(self, moment: float, action: Callable[[], None]) -> None:
        """Do something when a moment has come; must be called with the lock held."""
        heapq.heappush(self._due, (moment, next(self._order), action))
        if self._wake is not None and self._due[0][0] == moment:
            self._wake()

    def settle(self) -> None:
        """Do what is due."""
        with self._lock:
            while self._due and self._due[0][0] <= self._clock.time():
                heapq.heappop(self._due)[2]()

    async def run(self) -> None:
        """Do what comes due, as it comes due, until cancelled."""
        loop = asyncio.get_running_loop()
        changed = asyncio.Event()

        def wake() -> None:
            loop.call_soon_threadsafe(changed.set)

        with self._lock:
            self._wake = wake
        try:
            while True:
                changed.clear()
                self.settle()
                with self._lock:
                    due = self._due[0][0] if self._due else None
                await self._until(due, changed)
        finally:
            with self._lock:
                self._wake = None

    async def _until(self, due: float | None, changed: asyncio.Event) -> None:
        waits: set[asyncio.Future[object]] = {asyncio.ensure_future(changed.wait())}
        if due is not None:
            waits.add(asyncio.ensure_future(self._clock.reach(due)))
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
            await asyncio.gather(*waits, return_exceptions=True)
