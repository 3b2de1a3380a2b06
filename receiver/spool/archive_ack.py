"""`RECEIVER_ACK=archive`: a callback is acknowledged only once the archive holds it.

The spool seals early and reports each segment; the rest is here, in two halves that exchange
messages over the channel between a server process and its parent:

    server process   `ArchiveAck`      makes each request wait until its segment is confirmed
    parent           `EarlyShipping`   ships a segment as soon as it is sealed, and confirms it

A segment is never taken for archived because its file is gone: only the shipper that put it into
the archive confirms it.
"""

import asyncio
import collections
import functools
import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from receiver import metrics
from receiver.errors import SpoolUnavailable, StoreError
from receiver.spool import segment
from receiver.spool.append import Spool

_log = logging.getLogger(__name__)

_TICK_SECONDS = 0.25
_RETRY_SECONDS = 0.2
# Segments that a pass shipped before their server process reported them: a few, for milliseconds.
_REMEMBERED_MAX = 10_000


@dataclass(slots=True)
class _Segment:
    """A segment that requests wait for; ``since`` when the first of them is durable on disk."""

    since: float
    confirmed: bool = False
    settled: asyncio.Event = field(default_factory=asyncio.Event)


class ArchiveAck:
    """The spool as the door sees it: an append is done once the archive holds the record.

    For the event loop's thread.  `confirm` is to be called with each segment that the archive
    holds.  A request that waits for ``seconds_max`` is refused; its record stays in the spool.  A
    segment may never be confirmed, because a shipper elsewhere took it: it is forgotten after
    twice that time, and the next callbacks try the archive again.
    """

    def __init__(
        self, spool: Spool, *, seconds_max: float, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._spool = spool
        self._seconds_max = seconds_max
        self._now = now
        # In the order in which requests began to wait for them.
        self._segments: dict[str, _Segment] = {}
        self._loop = asyncio.get_running_loop()
        self._timer = self._loop.call_later(_TICK_SECONDS, self._tick)

    async def append(self, head: bytes, chunks: Sequence[bytes], *, body_bytes: int) -> None:
        """Append a record; the archive holds it on return.

        Raises `SpoolUnavailable` if it is not durable, or not confirmed in time.
        """
        name: str = await self._spool.append(head, chunks, body_bytes=body_bytes)
        waited = self._segments.get(name)
        if waited is None:
            waited = self._segments[name] = _Segment(self._now())
        await waited.settled.wait()
        if not waited.confirmed:
            raise SpoolUnavailable(self._unanswered())

    def problem(self, more_bytes: int = 0) -> str | None:
        """Return why a body of this size could not be acknowledged now, or None if it could."""
        return self._spool.problem(more_bytes) or self._archive_problem()

    def confirm(self, name: str) -> None:
        """Acknowledge the requests of a segment that the archive holds.

        Others are ignored: a segment that no request waits for, or no more.
        """
        waited = self._segments.pop(name, None)
        if waited is None:
            return
        metrics.archive_ack_seconds.observe(self._now() - waited.since)
        waited.confirmed = True
        waited.settled.set()

    def give_up(self) -> None:
        """Refuse the requests that have waited too long; forget their segments in the end."""
        for name, waited in list(self._segments.items()):
            if self._is_late(waited):
                waited.settled.set()
            if self._now() - waited.since >= 2 * self._seconds_max:
                del self._segments[name]

    async def close(self) -> None:
        """Stop refusing requests, and close the spool."""
        self._timer.cancel()
        await self._spool.close()

    def _tick(self) -> None:
        self.give_up()
        self._timer = self._loop.call_later(_TICK_SECONDS, self._tick)

    def _archive_problem(self) -> str | None:
        oldest = next(iter(self._segments.values()), None)
        return self._unanswered() if oldest is not None and self._is_late(oldest) else None

    def _is_late(self, waited: _Segment) -> bool:
        return self._now() - waited.since >= self._seconds_max

    def _unanswered(self) -> str:
        return f"the archive has not confirmed for {self._seconds_max:g} s"


class _Confirmable(Protocol):
    """A server process, which is to learn that a segment is archived."""

    def confirm(self, name: str, /) -> None:
        """Pass the message on."""
        ...


class EarlyShipping:
    """Ships each segment as soon as it is sealed, and confirms it to its server process.

    For the event loop's thread, except for `shipped`.  ``ship_one`` ships one sealed segment; it
    returns None if another shipper has it, and raises `StoreError` or `OSError`.  It is called in
    one of ``threads`` threads, again and again for ``seconds_max`` seconds; then the segment is
    left to the regular pass, and its requests have been refused.
    """

    def __init__(
        self,
        ship_one: Callable[[Path], object | None],
        root: Path,
        *,
        threads: int,
        seconds_max: float,
    ) -> None:
        self._ship_one = ship_one
        self._root = root
        self._seconds_max = seconds_max
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="early")
        self._waiting: dict[str, _Confirmable] = {}
        self._shipped: collections.OrderedDict[str, None] = collections.OrderedDict()
        self._under_way: set[asyncio.Task[None]] = set()
        self._loop = asyncio.get_running_loop()

    def sealed(self, server: _Confirmable, name: str) -> None:
        """Ship a segment now, and confirm it to its server process once it is archived."""
        if name in self._shipped:
            del self._shipped[name]
            server.confirm(name)
            return
        self._waiting[name] = server
        task = asyncio.create_task(self._ship(name))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    def shipped(self, name: str) -> None:
        """Note that a pass has archived a segment.  For any thread."""
        self._loop.call_soon_threadsafe(self._confirm, name)

    def _confirm(self, name: str) -> None:
        server = self._waiting.pop(name, None)
        if server is not None:
            server.confirm(name)
            return
        self._shipped[name] = None
        if len(self._shipped) > _REMEMBERED_MAX:
            self._shipped.popitem(last=False)

    async def _ship(self, name: str) -> None:
        path = self._root / segment.process_of(name) / f"{name}{segment.SEALED}"
        ship = functools.partial(self._ship_one, path)
        give_up_at = self._loop.time() + self._seconds_max
        while name in self._waiting:
            try:
                if await self._loop.run_in_executor(self._pool, ship) is not None:
                    self._confirm(name)
                    return
            except (StoreError, OSError) as exc:
                # The regular pass, which tries the same, reports what fails.
                _log.debug("segment not shipped", extra={"segment": name, "error": str(exc)})
            if self._loop.time() >= give_up_at:
                return  # the pass that ships it later confirms it
            await asyncio.sleep(_RETRY_SECONDS)
