"""Waiting for the archive: with `RECEIVER_ACK=archive` a callback is acknowledged only when the
object that holds it is confirmed.

A group that is durable waits here under the name of its segment.  Nothing is taken for archived
because its file is gone: whoever ships a segment says so.  Another shipper of the same spool says
nothing here, so a segment that is waited for in vain is forgotten in the end, and the next
callbacks try the archive again.
"""

import asyncio
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from receiver import metrics
from receiver.errors import SpoolUnavailable


@dataclass(slots=True)
class _Segment:
    """The requests that wait for one segment, and since when the oldest does."""

    since: float
    waiting: "list[asyncio.Future[None]]" = field(default_factory=list)


class Confirmations:
    """The segments that the archive has yet to confirm.  For the event loop's thread."""

    def __init__(self, *, seconds_max: float, now: Callable[[], float] = time.monotonic) -> None:
        self._seconds_max = seconds_max
        self._now = now
        self._segments: dict[str, _Segment] = {}

    def wait(self, segment: str, futures: "Iterable[asyncio.Future[None]]") -> None:
        """Let requests wait until a segment is confirmed."""
        waited = self._segments.get(segment)
        if waited is None:
            waited = self._segments[segment] = _Segment(self._now())
        waited.waiting.extend(futures)

    def confirm(self, segment: str) -> None:
        """Acknowledge the requests of a segment; one that nobody waits for is none of ours."""
        waited = self._segments.pop(segment, None)
        if waited is None:
            return
        metrics.archive_ack_seconds.observe(self._now() - waited.since)
        for future in waited.waiting:
            if not future.done():
                future.set_result(None)

    def give_up(self) -> None:
        """Refuse the requests that have waited too long.

        As long again their segment counts as unanswered, and then no more.
        """
        for segment, waited in list(self._segments.items()):
            if not self._late(waited):
                continue
            for future in waited.waiting:
                if not future.done():
                    future.set_exception(SpoolUnavailable(self._unanswered()))
            waited.waiting.clear()
            if self._now() - waited.since >= 2 * self._seconds_max:
                del self._segments[segment]

    def problem(self) -> str | None:
        """Return why a callback could not be confirmed in time now, or None if it could."""
        oldest = next(iter(self._segments.values()), None)
        return self._unanswered() if oldest is not None and self._late(oldest) else None

    def _late(self, waited: _Segment) -> bool:
        return self._now() - waited.since >= self._seconds_max

    def _unanswered(self) -> str:
        return f"the archive has not confirmed for {self._seconds_max:g} s"
