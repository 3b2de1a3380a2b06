"""A clock for senders whose waits cost no time."""

import asyncio
import heapq
import itertools


class Clock:
    """Stands still while there is work, and moves on to the next wake-up when all wait for it.

    Give `now` and `sleep` to a sender whose work is of this event loop alone, and run `tick`
    beside it.
    """

    # So many turns of the loop without a new sleeper mean that nothing but time is waited for.
    _TURNS = 40

    def __init__(self) -> None:
        self.at = 1000.0
        self._order = itertools.count()
        self._sleeping: list[tuple[float, int, asyncio.Future[None]]] = []

    def now(self) -> float:
        return self.at

    async def sleep(self, seconds: float) -> None:
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        woken = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleeping, (self.at + seconds, next(self._order), woken))
        await woken

    async def tick(self) -> None:
        while True:
            for _ in range(self._TURNS):
                await asyncio.sleep(0)
            self._sleeping = [each for each in self._sleeping if not each[2].done()]
            heapq.heapify(self._sleeping)
            if self._sleeping:
                at, _, woken = heapq.heappop(self._sleeping)
                # Some are late: a test can move the clock on, too.
                self.at = max(self.at, at)
                woken.set_result(None)


class Hurried:
    """Moves on by itself whenever anybody sleeps: for work that leaves this event loop."""

    def __init__(self) -> None:
        self.at = 1000.0
        self.slept: list[float] = []

    def now(self) -> float:
        return self.at

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.at += max(0.0, seconds)
        # Long enough for an answer to come in between.
        await asyncio.sleep(0.001)
