"""Group commit: one sync covers every request that was waiting for one.

The event loop gathers records; one thread writes and syncs them, a group at a time.  While it
does, the next group gathers.  There is no timer to wait for: the first record of a quiet moment
is handed over at the end of the loop's turn, together with all others of that turn.

With `ArchiveAck` a request waits on until the archive has its segment, which is sealed early.
"""

import asyncio
import contextlib
import logging
import os
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue

from receiver import metrics
from receiver.errors import SpoolUnavailable
from receiver.spool import directory, segment
from receiver.spool.confirmation import Confirmations
from receiver.spool.writer import Writer

_log = logging.getLogger(__name__)

_TICK_SECONDS = 0.25
_MEASURE_SECONDS = 1.0
# At most a tenth of the time is spent on measuring, however many files an outage has left.
_MEASURE_REST = 10
# Half of the time that a provider waits: a disk that has not answered for so long takes no more.
_STALLED_SECONDS = 5.0

_Waiting = tuple[bytes, Sequence[bytes], int, "asyncio.Future[None]"]


@dataclass(frozen=True, slots=True)
class ArchiveAck:
    """What is acknowledged waits for the archive: how long callbacks gather, and may wait.

    ``sealed`` is told the name of each segment that is ready to ship, in the event loop's thread;
    `Spool.confirm` is to be called once the archive has it.
    """

    gather_seconds: float
    seconds_max: float
    sealed: Callable[[str], None]


class Spool:
    """The spool as a request sees it: append, and wait until it is durable.

    Its methods must be called in the event loop's thread; everything that blocks happens in the
    committing thread.
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
        archive_ack: ArchiveAck | None = None,
    ) -> None:
        self._root = root
        self._batch_bytes = batch_bytes
        self._batch_seconds = batch_seconds
        self._spool_bytes_max = spool_bytes_max
        self._disk_reserve_bytes = disk_reserve_bytes
        self._unsettled_bytes_max = unsettled_bytes_max
        self._archive_ack = archive_ack
        self._confirmations: Confirmations | None = None
        if archive_ack is not None:
            self._batch_seconds = min(batch_seconds, archive_ack.gather_seconds)
            self._confirmations = Confirmations(seconds_max=archive_ack.seconds_max)
        self._loop = asyncio.get_running_loop()
        self._work: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._gathering: list[_Waiting] = []
        self._committing = False
        self._committing_since: float | None = None
        self._maintaining = False
        self._unsettled_bytes = 0
        self._settled_bytes = 0
        self._failure: str | None = None
        self._writer: Writer | None = None
        try:
            self._writer = Writer(root)
        except OSError as exc:
            # Without a disk the door opens too, and answers 503; the tick tries again.
            self._failure = _describe(exc)
        self._room = self._measure_room()
        self._left = self._room.left
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="commit", daemon=True)
        self._thread.start()
        # Daemons, and measuring apart: nothing else may wait while thousands of files are counted.
        threading.Thread(target=self._measure_often, name="measure", daemon=True).start()
        self._timer = self._loop.call_later(_TICK_SECONDS, self._tick)

    def problem(self, more_bytes: int = 0) -> str | None:
        """Return why a body of this size cannot be made durable now, or None if it can."""
        if self._failure is not None:
            return self._failure
        if more_bytes >= self._left:
            return f"the spool is full ({self._room.bounded_by})"
        if self._unsettled_bytes + more_bytes > self._unsettled_bytes_max:
            return "too many bytes wait for the disk (RECEIVER_INFLIGHT_BYTES_MAX)"
        since = self._committing_since
        if since is not None and time.monotonic() - since > _STALLED_SECONDS:
            return f"the spool's disk has not answered for {_STALLED_SECONDS:g} s"
        return None

    def unconfirmed(self) -> str | None:
        """Return why no callback can be acknowledged though it could be made durable, or None."""
        return None if self._confirmations is None else self._confirmations.problem()

    def confirm(self, segment: str) -> None:
        """Acknowledge what waits for a segment: the archive has it."""
        assert self._confirmations is not None
        self._confirmations.confirm(segment)

    def append(
        self, head: bytes, chunks: Sequence[bytes], *, body_bytes: int
    ) -> "asyncio.Future[None]":
        """Return a future that is done when the record is on stable storage.

        With `ArchiveAck`, when the archive has it too.  It fails with `SpoolUnavailable` if that
        did not come about.
        """
        future = self._loop.create_future()
        record_bytes = segment.HEADER_BYTES + len(head) + body_bytes
        self._gathering.append((head, chunks, record_bytes, future))
        self._left -= record_bytes
        self._unsettled_bytes += record_bytes
        if not self._committing:
            self._committing = True
            # At the end of this turn of the loop, so that all of its requests share the sync.
            self._loop.call_soon(self._hand_over)
        return future

    async def close(self) -> None:
        """Commit what waits, seal, and give up the directory."""
        self._timer.cancel()
        self._closing.set()
        if self._gathering:
            group, self._gathering = self._gathering, []
            self._work.put(lambda: self._commit(group))
        self._work.put(self._end)
        self._work.put(None)
        await asyncio.to_thread(self._thread.join)

    def _hand_over(self) -> None:
        group, self._gathering = self._gathering, []
        self._committing_since = time.monotonic()
        self._work.put(lambda: self._commit(group))

    def _settle(self, group: list[_Waiting], segment: str, failure: OSError | None) -> None:
        waits = self._confirmations is not None and failure is None
        for _, _, record_bytes, future in group:
            self._unsettled_bytes -= record_bytes
            self._settled_bytes += record_bytes
            if waits or future.done():
                continue  # done: the request was cancelled
            if failure is None:
                future.set_result(None)
            else:
                future.set_exception(SpoolUnavailable(_describe(failure)))
        if self._confirmations is not None and waits:
            self._confirmations.wait(segment, (future for *_, future in group))
        self._failure = None if failure is None else _describe(failure)
        if self._gathering:
            self._hand_over()
        else:
            self._committing = False
            self._committing_since = None

    def _tick(self) -> None:
        if not self._maintaining:
            self._maintaining = True
            self._work.put(self._maintain)
        if self._confirmations is not None:
            self._confirmations.give_up()
        self._timer = self._loop.call_later(_TICK_SECONDS, self._tick)

    def _measured(self, room: directory.Room, settled_bytes: int) -> None:
        self._room = room
        # What was not settled when measuring began may not have been on the disk to be counted.
        meanwhile = self._settled_bytes - settled_bytes
        self._left = room.left - self._unsettled_bytes - meanwhile

    def _maintained(self, *, recovered: bool) -> None:
        self._maintaining = False
        if recovered:
            self._failure = None

    # What follows runs in the measuring thread.

    def _measure_often(self) -> None:
        pause = _MEASURE_SECONDS
        while not self._closing.wait(pause):
            began = time.monotonic()
            settled_bytes = self._settled_bytes
            room = self._measure_room()
            pause = max(_MEASURE_SECONDS, (time.monotonic() - began) * _MEASURE_REST)
            with contextlib.suppress(RuntimeError):  # the loop has ended, and with it the process
                self._loop.call_soon_threadsafe(self._measured, room, settled_bytes)

    def _measure_room(self) -> directory.Room:
        try:
            return directory.room(
                self._root, bytes_max=self._spool_bytes_max, reserve_bytes=self._disk_reserve_bytes
            )
        except OSError as exc:
            return directory.Room(0, 0, f"it cannot be measured: {exc.strerror or exc}", 0)

    # What follows runs in the committing thread.

    def _run(self) -> None:
        while (work := self._next_work()) is not None:
            try:
                work()
            except OSError as exc:
                # Sealing or measuring failed; it is tried again at the next tick, and a write
                # that meets the same fault tells its waiters.
                metrics.spool_failures.inc()
                _log.error("spool maintenance failed", extra={"error": _describe(exc)})
            except Exception:
                # Without this thread every request would wait for ever; a process that ends is
                # replaced, and its callers see at once that they were not acknowledged.
                _log.exception("commit thread failed, this process ends")
                os._exit(1)

    def _next_work(self) -> Callable[[], None] | None:
        """Wait for work; what gathers for the archive is sealed in time."""
        writer = self._writer
        if self._archive_ack is None or writer is None or not writer.records:
            return self._work.get()
        try:
            left = self._archive_ack.gather_seconds - writer.age_seconds
            return self._work.get(timeout=max(0.0, left))
        except Empty:
            return self._seal

    def _seal(self) -> None:
        writer = self._writer
        if writer is None or not writer.records:
            return
        segment = writer.segment
        try:
            writer.seal()
        finally:
            # Sealed even where the next one could not be begun.
            if self._archive_ack is not None and writer.segment != segment:
                self._loop.call_soon_threadsafe(self._archive_ack.sealed, segment)

    def _commit(self, group: list[_Waiting]) -> None:
        began = time.perf_counter()
        failure = None
        segment_name = ""
        try:
            writer = self._opened()
            segment_name = writer.segment
            buffers: list[bytes] = []
            for head, chunks, _, _ in group:
                buffers.append(segment.frame(writer.marker, head, chunks))
                buffers.extend(chunks)
            writer.write(buffers, records=len(group))
        except OSError as exc:
            failure = exc
            metrics.spool_failures.inc()
            _log.error("commit failed", extra={"records": len(group), "error": _describe(exc)})
        metrics.commit_seconds.observe(time.perf_counter() - began)
        metrics.commit_records.observe(len(group))
        self._loop.call_soon_threadsafe(self._settle, group, segment_name, failure)
        if self._writer is not None and self._writer.bytes >= self._batch_bytes:
            self._seal()

    def _maintain(self) -> None:
        recovered = self._failure is not None and self._probe()
        self._loop.call_soon_threadsafe(lambda: self._maintained(recovered=recovered))
        if self._writer is not None and self._writer.age_seconds >= self._batch_seconds:
            self._seal()

    def _probe(self) -> bool:
        try:
            self._opened().probe()
        except OSError:
            return False  # `_failure` says it already
        return True

    def _opened(self) -> Writer:
        if self._writer is not None and self._writer.lost:
            lost, self._writer = self._writer, None
            lost.give_up()
        if self._writer is None:
            self._writer = Writer(self._root)
        return self._writer

    def _end(self) -> None:
        if self._writer is not None:
            self._writer.close()


def _describe(failure: OSError) -> str:
    return f"the spool's disk failed: {failure.strerror or failure}"
