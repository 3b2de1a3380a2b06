"""The intake: bounds the bodies in flight in bytes and in time.

Bytes are counted as they arrive, for a Content-Length is only a claim.  The claim is reserved at
once all the same, so that requests that arrive together cannot overrun the limit.
"""

import asyncio
import time
from collections.abc import Callable

from receiver.errors import Rejected, SpoolUnavailable

_LOOK_SECONDS = 1.0


class Holding:
    """What one request holds of the limit on all bodies in flight."""

    __slots__ = ("bytes", "interrupt", "late", "since")

    def __init__(self, claimed: int, interrupt: Callable[[], object]) -> None:
        self.bytes = claimed
        self.interrupt = interrupt
        self.late = False
        self.since = time.monotonic()


class Intake:
    """The bodies in flight of one server process.  For the event loop's thread.

    `hold` before a body is read, `count` as it grows, `complete` when it is there, and `release`
    when its bytes are no longer held in memory.
    """

    def __init__(
        self, *, body_bytes_max: int, body_seconds_max: float, inflight_bytes_max: int
    ) -> None:
        self.inflight_bytes = 0
        self._body_bytes_max = body_bytes_max
        self._body_seconds_max = body_seconds_max
        self._inflight_bytes_max = inflight_bytes_max
        self._reading: set[Holding] = set()
        self._look: asyncio.TimerHandle | None = None

    def hold(self, claimed: int, interrupt: Callable[[], object]) -> Holding:
        """Reserve a body's claimed bytes and start its time; `release` must follow.

        ``interrupt`` is called if the body takes too long; `Holding.late` is true by then.
        Raises `Rejected` with 413, or `SpoolUnavailable` if too many bytes are in flight.
        """
        if claimed > self._body_bytes_max:
            raise self._too_large()
        holding = Holding(0, interrupt)
        self._grow(holding, claimed)
        self._reading.add(holding)
        if self._look is None:
            self._look = asyncio.get_running_loop().call_later(_LOOK_SECONDS, self._look_for_late)
        return holding

    def count(self, holding: Holding, body_bytes: int) -> None:
        """Take note of how many bytes of a body have arrived; raises like `hold`."""
        if body_bytes > self._body_bytes_max:
            raise self._too_large()
        if body_bytes > holding.bytes:
            self._grow(holding, body_bytes - holding.bytes)

    def complete(self, holding: Holding) -> None:
        """Stop the time of a body: all of it has arrived."""
        self._reading.discard(holding)

    def release(self, holding: Holding) -> None:
        """Give back what a request held."""
        self._reading.discard(holding)
        self.inflight_bytes -= holding.bytes

    def too_slow(self) -> Rejected:
        """Return the refusal of a body that was interrupted."""
        detail = f"the body took over {self._body_seconds_max:g} s"
        # It cannot be known whose fault it was.  Taken as ours, the provider keeps the callback.
        return Rejected("body_too_slow", detail, status=503, closes=True)

    def _too_large(self) -> Rejected:
        detail = f"the body is over {self._body_bytes_max} bytes (RECEIVER_BODY_BYTES_MAX)"
        return Rejected("body_too_large", detail, status=413)

    def _grow(self, holding: Holding, more: int) -> None:
        if self.inflight_bytes + more > self._inflight_bytes_max:
            raise SpoolUnavailable("too many bytes in flight (RECEIVER_INFLIGHT_BYTES_MAX)")
        holding.bytes += more
        self.inflight_bytes += more

    def _look_for_late(self) -> None:
        """Interrupt the bodies that take too long.

        One timer a second serves all bodies: a timer for each would be a tenth of all the work.
        """
        self._look = None
        latest = time.monotonic() - self._body_seconds_max
        for holding in [held for held in self._reading if held.since < latest and not held.late]:
            holding.late = True
            holding.interrupt()
        if self._reading:
            self._look = asyncio.get_running_loop().call_later(_LOOK_SECONDS, self._look_for_late)
