"""The intake: bounds the bodies in flight in bytes and in time.

Bytes are counted as they arrive, for a Content-Length is only a claim.  The claim is reserved at
once all the same, so that requests that arrive together cannot overrun the limit.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from receiver.errors import Rejected, SpoolUnavailable

_LOOK_SECONDS = 1.0


@dataclass(slots=True, eq=False, repr=False)
class Body:
    """A body in flight, as the intake sees it.

    ``interrupt`` is called if the body takes too long; `late` is true by then.
    """

    interrupt: Callable[[], object]
    late: bool = field(init=False, default=False)
    held_bytes: int = field(init=False, default=0)
    since: float = field(init=False, default=0.0)


class Intake:
    """The bodies in flight of one server process.  For the event loop's thread.

    Call `hold` before a body is read, `count` as it grows, `complete` when all of it has arrived,
    and `release` when its bytes are no longer in memory.
    """

    def __init__(
        self, *, body_bytes_max: int, body_seconds_max: float, inflight_bytes_max: int
    ) -> None:
        self.inflight_bytes = 0
        self._body_bytes_max = body_bytes_max
        self._body_seconds_max = body_seconds_max
        self._inflight_bytes_max = inflight_bytes_max
        self._reading: set[Body] = set()
        self._look: asyncio.TimerHandle | None = None

    def hold(self, body: Body, claimed: int) -> None:
        """Reserve a body's claimed bytes and start its time; `release` must follow.

        Raises `Rejected` with 413, or `SpoolUnavailable` if too many bytes are in flight.
        """
        if claimed > self._body_bytes_max:
            raise self._too_large()
        self._grow(body, claimed)
        body.since = time.monotonic()
        self._reading.add(body)
        if self._look is None:
            self._look = asyncio.get_running_loop().call_later(_LOOK_SECONDS, self._look_for_late)

    def count(self, body: Body, arrived: int) -> None:
        """Take note of how many bytes of a body have arrived so far; raises like `hold`."""
        if arrived > self._body_bytes_max:
            raise self._too_large()
        if arrived > body.held_bytes:
            self._grow(body, arrived - body.held_bytes)

    def complete(self, body: Body) -> None:
        """Stop the time of a body: all of it has arrived."""
        self._reading.discard(body)

    def release(self, body: Body) -> None:
        """Give back what a body holds; does nothing if it holds nothing."""
        self._reading.discard(body)
        self.inflight_bytes -= body.held_bytes
        body.held_bytes = 0

    def too_slow(self) -> Rejected:
        """Return the refusal of a body that was interrupted."""
        detail = f"the body took over {self._body_seconds_max:g} s"
        # It cannot be known whose fault it was.  Taken as ours, the provider keeps the callback.
        return Rejected("body_too_slow", detail, status=503, closes=True)

    def _too_large(self) -> Rejected:
        detail = f"the body is over {self._body_bytes_max} bytes (RECEIVER_BODY_BYTES_MAX)"
        return Rejected("body_too_large", detail, status=413)

    def _grow(self, body: Body, more: int) -> None:
        if self.inflight_bytes + more > self._inflight_bytes_max:
            raise SpoolUnavailable("too many bytes in flight (RECEIVER_INFLIGHT_BYTES_MAX)")
        body.held_bytes += more
        self.inflight_bytes += more

    def _look_for_late(self) -> None:
        """Interrupt the bodies that take too long.

        One timer a second serves all bodies: a timer for each would be a tenth of all the work.
        """
        self._look = None
        latest = time.monotonic() - self._body_seconds_max
        for body in [body for body in self._reading if body.since < latest and not body.late]:
            body.late = True
            body.interrupt()
        if self._reading:
            self._look = asyncio.get_running_loop().call_later(_LOOK_SECONDS, self._look_for_late)
