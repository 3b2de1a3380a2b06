"""Shipping as a pass that is repeated: what `serve` and `ship --watch` have in common."""

import asyncio
import contextlib
import ctypes
import logging
import signal
import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from receiver import clock, spool
from receiver.errors import ReceiverError, StoreRefused
from receiver.instance import Receiver
from receiver.service.loop import Passes
from receiver.shipper import Shipped

_log = logging.getLogger(__name__)

# The pause between passes, and at the end the pause after a pass that failed.
SHIP_SECONDS = 0.2
_SHIP_AGAIN_SECONDS = 0.5
# glibc's number for the option, in <malloc.h>.
_M_ARENA_MAX = -8
_ARENAS = 2


class Shipping:
    """Ships the spool of this receiver, pass by pass, and what is left of it at the end.

    ``shipped`` is told of each segment that was archived, in the thread that shipped it.
    """

    def __init__(
        self, receiver: Receiver, *, shipped: Callable[[str], None] = lambda segment: None
    ) -> None:
        self._shipper = receiver.shipper
        self._root = receiver.spool_root
        self._tell = shipped
        self._until: float | None = None
        # When a segment was last archived, and what was in it; for `/status`.
        self.last: dict[str, Any] | None = None

    async def run(self) -> None:
        """Ship once what is ready.

        Raises `ReceiverError` if a segment failed, so that the loop backs off before it tries
        again, and `StoreError` if the store did.
        """
        done = await asyncio.to_thread(
            self._shipper.ship, self._root, stop=self._too_late, shipped=self._shipped
        )
        if done.failed:
            detail = f"{done.failed} segments were not shipped: {self._shipper.reason}"
            raise ReceiverError(detail)

    async def finish(self, passes: "asyncio.Task[None]", *, until: float) -> None:
        """Wait for the last of the ``passes`` and ship what is left, with retries.

        Gives up at ``until``, in seconds of the monotonic clock; what is left then stays in the
        spool.
        """
        self._until = until
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, until - time.monotonic())):
                await passes
                await self._ship_the_rest()
        left = sum(file.bytes > 0 for file in spool.files(self._root))
        _log.info("stopped", extra={"segments_left_in_spool": left})

    async def _ship_the_rest(self) -> None:
        level = logging.WARNING
        while True:
            try:
                return await self.run()
            except ReceiverError as exc:
                # The next start may be far off, or on another disk: all of the time is used.
                _log.log(level, "not all shipped at the end", extra={"error": str(exc)})
                level = logging.DEBUG
                if isinstance(exc, StoreRefused):
                    return  # and will go on refusing
            await asyncio.sleep(_SHIP_AGAIN_SECONDS)

    def _too_late(self) -> bool:
        return self._until is not None and time.monotonic() > self._until

    def _shipped(self, segment: str, shipped: Shipped) -> None:
        self.last = {"at": clock.rfc3339(clock.now_us()), **asdict(shipped)}
        self._tell(segment)


async def watch(receiver: Receiver) -> int:
    """Ship again and again until SIGTERM or SIGINT, then a last time; return the exit status.

    The last pass may take `RECEIVER_SHUTDOWN_SECONDS`; a second signal ends it at once.  SIGUSR1
    ends the pause after a pass that failed.
    """
    settings = receiver.settings
    shipping = Shipping(receiver)
    stop, hurry = asyncio.Event(), asyncio.Event()
    signals: list[signal.Signals] = []

    def signalled(number: signal.Signals) -> None:
        signals.append(number)
        (hurry if stop.is_set() else stop).set()

    loop, repeated = asyncio.get_running_loop(), Passes()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, signalled, number)
    loop.add_signal_handler(signal.SIGUSR1, repeated.retry)
    _log.info("watching", extra={"spool": str(settings.spool), "archive": receiver.store.url})
    passes = asyncio.create_task(
        repeated.repeat(
            "ship",
            shipping.run,
            interval_seconds=SHIP_SECONDS,
            retry_seconds_max=settings.retry_seconds_max,
            stop=stop,
        )
    )
    await stop.wait()
    _log.info("stopping")
    until = time.monotonic() + settings.shutdown_seconds
    finishing = asyncio.create_task(shipping.finish(passes, until=until))
    hurrying = asyncio.create_task(hurry.wait())
    await asyncio.wait((finishing, hurrying), return_when=asyncio.FIRST_COMPLETED)
    return 130 if signals[0] is signal.SIGINT else 0


def share_heaps() -> None:
    """Make the threads that ship share a few of glibc's heaps instead of having one each.

    Each heap keeps the most that it ever held: in time that is several times as much memory.
    """
    with contextlib.suppress(OSError, AttributeError):  # another C library
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, _ARENAS)
