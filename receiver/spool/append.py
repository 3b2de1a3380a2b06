"""The spool as a request sees it: append a record and wait until it is on stable storage.

Group commit: one sync covers every record that was waiting for one.  The event loop gathers
records; the committing thread writes and syncs them, one group at a time, while the next group
gathers.  No timer delays a record: the first one of a quiet moment is handed over at the end of
the loop's turn, together with all others of that turn.
"""

import asyncio
import functools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from receiver.errors import SpoolUnavailable
from receiver.spool import segment
from receiver.spool.committer import Committer, CommitThread
from receiver.spool.room import Gauge, Room

# Half of the time that a provider waits for an answer.
_STALLED_SECONDS = 5.0


@dataclass(slots=True)
class _Group:
    """Records that share a sync, and the futures of the requests that brought them."""

    records: list[tuple[bytes, Sequence[bytes]]] = field(default_factory=list)
    futures: "list[asyncio.Future[Any]]" = field(default_factory=list)
    bytes: int = 0


class Spool:
    """Appends records to one spool directory.  For the event loop's thread.

    ``batch_bytes`` and ``batch_seconds`` are the size and the age, to the millisecond, at which
    a segment is sealed.  ``sealed`` is called in the event loop's thread with the name of each
    segment that is ready to ship, but for the one that `close` seals.

    A spool opens without a working disk, too: `problem` says why, until the disk works.
    """

    def __init__(
        self,
        root: Path,
        *,
        batch_bytes: int,
        batch_seconds: float,
        spool_bytes_max: int,
        disk_reserve_bytes: int,
        unsettled_bytes_max: int = 256 << 20,
        sealed: Callable[[str], None] | None = None,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._unsettled_bytes_max = unsettled_bytes_max
        self._group = _Group()
        self._committing_since: float | None = None
        # Bytes of records that were appended and not settled yet, and of all that were settled.
        self._unsettled_bytes = 0
        self._settled_bytes = 0
        post = self._loop.call_soon_threadsafe
        committer = Committer(
            root,
            batch_bytes=batch_bytes,
            batch_seconds=batch_seconds,
            sealed=None if sealed is None else lambda name: post(sealed, name),
        )
        committer.open()
        self._failure = committer.failure
        self._committing = CommitThread(committer, post=post, recovered=self._recovered)
        self._gauge = Gauge(
            root,
            bytes_max=spool_bytes_max,
            reserve_bytes=disk_reserve_bytes,
            post=post,
            settled_bytes=lambda: self._settled_bytes,
            measured=self._measured,
        )
        self._measured(self._gauge.measure(), 0)
        self._committing.start()
        self._gauge.start()

    def problem(self, more_bytes: int = 0) -> str | None:
        """Return why a body of this size cannot be made durable now, or None if it can."""
        if self._failure is not None:
            return self._failure
        if more_bytes >= self._left:
            return f"the spool is full ({self._bounded_by})"
        if self._unsettled_bytes + more_bytes > self._unsettled_bytes_max:
            return "too many bytes wait for the disk (RECEIVER_INFLIGHT_BYTES_MAX)"
        since = self._committing_since
        if since is not None and time.monotonic() - since > _STALLED_SECONDS:
            return f"the spool's disk has not answered for {_STALLED_SECONDS:g} s"
        return None

    def append(
        self, head: bytes, chunks: Sequence[bytes], *, body_bytes: int
    ) -> "asyncio.Future[Any]":
        """Return a future that is done once the record is on stable storage.

        ``body_bytes`` is the size of all chunks.  The future's result is the name of the segment
        that holds the record.  It fails with `SpoolUnavailable` if the record is not durable.
        """
        future = self._loop.create_future()
        record_bytes = segment.HEADER_BYTES + len(head) + body_bytes
        group = self._group
        group.records.append((head, chunks))
        group.futures.append(future)
        group.bytes += record_bytes
        self._left -= record_bytes
        self._unsettled_bytes += record_bytes
        if self._committing_since is None:
            self._committing_since = time.monotonic()
            # At the end of this turn of the loop, so that all of its requests share the sync.
            self._loop.call_soon(self._hand_over)
        return future

    async def close(self) -> None:
        """Commit what waits, seal it, and give up the directory."""
        self._gauge.end()
        if self._group.records:
            self._hand_over()
        self._committing.end()
        await asyncio.to_thread(self._committing.join)

    def _hand_over(self) -> None:
        group, self._group = self._group, _Group()
        self._committing_since = time.monotonic()
        self._committing.hand_over(group.records, functools.partial(self._settle, group))

    def _settle(self, group: _Group, segment: str, failure: str | None) -> None:
        self._unsettled_bytes -= group.bytes
        self._settled_bytes += group.bytes
        self._failure = failure
        for future in group.futures:
            if future.done():
                continue  # its request was cancelled
            if failure is None:
                future.set_result(segment)
            else:
                future.set_exception(SpoolUnavailable(failure))
        if self._group.records:
            self._hand_over()
        else:
            self._committing_since = None

    def _recovered(self) -> None:
        self._failure = None

    def _measured(self, room: Room, settled_bytes: int) -> None:
        self._bounded_by = room.bounded_by
        # Records that were not settled when measuring began may not have been on the disk yet.
        meanwhile = self._settled_bytes - settled_bytes
        self._left = room.left - self._unsettled_bytes - meanwhile
