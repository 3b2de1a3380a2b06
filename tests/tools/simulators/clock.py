"""The clock of the simulators: real time, or time that a test moves.

All simulators of a test share one clock.  Rate-limit windows, expiry and the finishing of tasks
follow it, so a month passes in no time.  A frozen clock stands still between two moves.
"""

import asyncio
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime


class Clock:
    """Seconds since 1970 as the simulators see them; may be read and moved from any thread."""

    def __init__(self, *, start: float | None = None, frozen: bool = False) -> None:
        self._lock = threading.Lock()
        self._frozen = frozen
        self._base = time.time() if start is None else start
        self._base_monotonic = time.monotonic()
        self._watchers: set[Callable[[], None]] = set()

    @property
    def frozen(self) -> bool:
        """Whether only `advance` moves this clock."""
        return self._frozen

    def time(self) -> float:
        """Return the moment it is, in seconds since 1970."""
        with self._lock:
            return self._time()

    def now(self) -> datetime:
        """Return the moment it is, UTC."""
        return datetime.fromtimestamp(self.time(), UTC)

    def advance(self, seconds: float) -> None:
        """Move forward; whatever waits for a moment that has come is woken."""
        if seconds < 0:
            raise ValueError(f"a clock goes forward only, not by {seconds} seconds")
        with self._lock:
            self._base += seconds
            for wake in self._watchers:
                wake()

    async def reach(self, moment: float) -> None:
        """Return as soon as the moment has come, by itself or by a move."""
        loop = asyncio.get_running_loop()
        moved = asyncio.Event()

        def wake() -> None:
            loop.call_soon_threadsafe(moved.set)

        with self._lock:
            self._watchers.add(wake)
        try:
            while (left := moment - self.time()) > 0:
                with suppress(TimeoutError):
                    await asyncio.wait_for(moved.wait(), None if self._frozen else left)
                moved.clear()
        finally:
            with self._lock:
                self._watchers.discard(wake)

    def _time(self) -> float:
        if self._frozen:
            return self._base
        return self._base + time.monotonic() - self._base_monotonic
