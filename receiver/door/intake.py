"""The intake: bodies while they are read and made durable, bounded in bytes and in time.

Bytes are counted as they come: a Content-Length is only a claim.  What a request claims is taken
off the limit at once, so that requests that arrive together cannot overrun it.
"""

import asyncio
import time

from starlette.types import Receive

from receiver.errors import Disconnected, Rejected, SpoolUnavailable

_LOOK_SECONDS = 1.0


class Holding:
    """The bytes that one request holds of the limit on all bodies in flight."""

    __slots__ = ("bytes", "late", "since", "task")

    def __init__(self, task: "asyncio.Task[object]", claimed: int) -> None:
        self.task = task
        self.since = time.monotonic()
        self.late = False
        self.bytes = claimed


class Intake:
    """Reads the bodies of one server process."""

    def __init__(
        self, *, body_bytes_max: int, body_seconds_max: float, inflight_bytes_max: int
    ) -> None:
        self.inflight_bytes = 0
        self._body_bytes_max = body_bytes_max
        self._body_seconds_max = body_seconds_max
        self._inflight_bytes_max = inflight_bytes_max
        self._reading: set[Holding] = set()
        self._look: asyncio.TimerHandle | None = None

    def hold(self, claimed: int) -> Holding:
        """Take a body's claimed bytes off the limit; `release` must follow.

        Raises `Rejected` with 413, or `SpoolUnavailable` where there is no room in memory.
        """
        if claimed > self._body_bytes_max:
            raise self._too_large()
        task = asyncio.current_task()
        assert task is not None
        holding = Holding(task, 0)
        self._grow(holding, claimed)
        return holding

    def release(self, holding: Holding) -> None:
        """Give back what a request held."""
        self.inflight_bytes -= holding.bytes

    async def read(self, receive: Receive, holding: Holding) -> list[bytes]:
        """Return a body in the pieces in which it came.

        Raises `Disconnected` if the client goes away, `Rejected` with 413 for a body that is too
        large and with 503 for one that takes too long.
        """
        self._reading.add(holding)
        if self._look is None:
            self._look = asyncio.get_running_loop().call_later(_LOOK_SECONDS, self._look_for_late)
        try:
            return await self._chunks(receive, holding)
        except asyncio.CancelledError:
            if not holding.late:
                raise
            holding.task.uncancel()
            detail = f"the body took over {self._body_seconds_max:g} s"
            # Whose fault it is cannot be told, so it is taken for ours: the callback must be kept.
            raise Rejected("body_too_slow", detail, status=503, closes=True) from None
        finally:
            self._reading.discard(holding)

    async def _chunks(self, receive: Receive, holding: Holding) -> list[bytes]:
        chunks = []
        body_bytes = 0
        while True:
            message = await receive()
            if message["type"] != "http.request":
                raise Disconnected
            chunk = message.get("body", b"")
            if chunk:
                chunks.append(chunk)
                body_bytes += len(chunk)
                if body_bytes > self._body_bytes_max:
                    raise self._too_large()
                if body_bytes > holding.bytes:
                    self._grow(holding, body_bytes - holding.bytes)
            if not message.get("more_body", False):
                return chunks

    def _grow(self, holding: Holding, more: int) -> None:
        if self.inflight_bytes + more > self._inflight_bytes_max:
            raise SpoolUnavailable("too many bytes in flight (RECEIVER_INFLIGHT_BYTES_MAX)")
        holding.bytes += more
        self.inflight_bytes += more

    def _look_for_late(self) -> None:
        """Interrupt the reading of bodies that take too long.

        One look a second for all of them: a timer for each would be a tenth of the work.
        """
        self._look = None
        latest = time.monotonic() - self._body_seconds_max
        for holding in self._reading:
            if holding.since < latest and not holding.late:
                holding.late = True
                holding.task.cancel()
        if self._reading:
            self._look = asyncio.get_running_loop().call_later(_LOOK_SECONDS, self._look_for_late)

    def _too_large(self) -> Rejected:
        detail = f"the body is over {self._body_bytes_max} bytes (RECEIVER_BODY_BYTES_MAX)"
        return Rejected("body_too_large", detail, status=413)
