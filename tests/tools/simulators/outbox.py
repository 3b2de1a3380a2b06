"""What a simulator has to send: each message once, all at the same time, while it is served."""

import asyncio
import threading
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

Send = Callable[[], Coroutine[Any, Any, None]]


class Outbox:
    """Messages to send; those put in before the server runs wait for it."""

    def __init__(self, lock: threading.RLock) -> None:
        self._lock = lock
        self._idle = threading.Condition(lock)
        self._waiting: list[Send] = []
        self._open = 0
        self._broken: BaseException | None = None
        self._wake: Callable[[], None] | None = None

    def put(self, send: Send) -> None:
        """Send a message as soon as possible."""
        with self._lock:
            self._waiting.append(send)
            if self._wake is not None:
                self._wake()

    def wait_idle(self, seconds: float) -> bool:
        """Return True as soon as nothing is left to send, False when the time is over."""
        with self._idle:
            idle = self._idle.wait_for(lambda: not self._waiting and not self._open, seconds)
            if self._broken is not None:
                raise RuntimeError("the simulator itself has failed") from self._broken
            return idle

    async def run(self) -> None:
        """Send until cancelled; what was under way then is sent again by the next run."""
        loop = asyncio.get_running_loop()
        changed = asyncio.Event()

        def wake() -> None:
            loop.call_soon_threadsafe(changed.set)

        with self._lock:
            self._wake = wake
        running: set[asyncio.Task[None]] = set()
        try:
            while True:
                changed.clear()
                running = {task for task in running if not task.done()}
                with self._lock:
                    sends, self._waiting = self._waiting, []
                    self._open += len(sends)
                for send in sends:
                    sending = loop.create_task(send())
                    sending.add_done_callback(partial(self._close, send))
                    running.add(sending)
                await changed.wait()
        finally:
            with self._lock:
                self._wake = None
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)

    def _close(self, send: Send, sending: "asyncio.Task[None]") -> None:
        with self._idle:
            self._open -= 1
            if sending.cancelled():
                self._waiting.append(send)
            elif sending.exception() is not None:
                self._broken = sending.exception()
            self._idle.notify_all()
