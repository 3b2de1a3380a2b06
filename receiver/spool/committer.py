"""Committing: writes records to a spool directory, syncs them, and seals its segments.

`Committer` is the one place that decides when to seal, when a failed disk works again, and what
becomes of a writer whose directory was removed.  It blocks, and it has two fronts: `append.Spool`
runs it in a `CommitThread`; the reconciler's sink calls it from several threads, under a lock.
"""

import logging
import os
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from queue import Empty, SimpleQueue

from receiver import metrics
from receiver.errors import SpoolUnavailable
from receiver.spool import segment
from receiver.spool.writer import Writer

_log = logging.getLogger(__name__)

_RETRY_SECONDS = 0.25
# `RECEIVER_BATCH_SECONDS` may be longer than a thread can wait.
_REST_SECONDS_MAX = 3600.0

# The head of each record and the chunks of its body.
Records = Sequence[tuple[bytes, Sequence[bytes]]]
# Is told the segment that holds a group and, if the group is not durable, why.
Settle = Callable[[str, str | None], None]


class Committer:
    """Commits records to one spool directory.  Blocks; one call at a time.

    The directory is made by `open`, or by the first commit.  Segments are sealed once they hold
    ``batch_bytes`` or their first record is ``batch_seconds`` old; ``sealed`` is told their names.
    """

    def __init__(
        self,
        root: Path,
        *,
        batch_bytes: int,
        batch_seconds: float,
        sealed: Callable[[str], object] | None = None,
    ) -> None:
        self._root = root
        self._batch_bytes = batch_bytes
        self._batch_seconds = batch_seconds
        self._sealed = sealed
        self._writer: Writer | None = None
        self._seal_failed = False
        # Why the last commit failed; None if it did not, or if the disk has worked since.
        self.failure: str | None = None

    def open(self) -> None:
        """Make the directory and its first segment; if that fails, `failure` says why."""
        try:
            self._opened()
        except OSError as exc:
            self.failure = _describe(exc)

    def commit(self, records: Records) -> str:
        """Append records; return the segment that holds them, durable on return.

        Raises `SpoolUnavailable` if they are not durable.
        """
        try:
            writer = self._opened()
            buffers: list[bytes] = []
            for head, chunks in records:
                buffers.append(segment.frame(writer.marker, head, chunks))
                buffers.extend(chunks)
            writer.write(buffers, records=len(records))
        except OSError as exc:
            self.failure = _describe(exc)
            metrics.spool_failures.inc()
            _log.error("commit failed", extra={"records": len(records), "error": self.failure})
            raise SpoolUnavailable(self.failure) from exc
        self.failure = None
        return writer.segment

    def seal_if_due(self) -> None:
        """Seal the open segment if it is large or old enough.

        A seal that fails is logged and counted, and is due again.
        """
        writer = self._writer
        if writer is None or not writer.records:
            return
        if writer.bytes < self._batch_bytes and writer.age_seconds < self._batch_seconds:
            return
        name = writer.segment
        try:
            writer.seal()
        except OSError as exc:
            self._maintenance_failed(exc)
            self._give_up_if_lost()
            self._seal_failed = True
        else:
            self._seal_failed = False
        # Also where only the next segment could not be begun.
        if writer.segment != name and self._sealed is not None:
            self._sealed(name)

    def rest_seconds(self) -> float | None:
        """Return for how long `maintain` has nothing to do; None: until the next commit."""
        if self.failure is not None:
            return _RETRY_SECONDS
        if self._writer is None or not self._writer.records:
            return None
        if self._seal_failed:
            return _RETRY_SECONDS
        left = self._batch_seconds - self._writer.age_seconds
        return min(max(0.0, left), _REST_SECONDS_MAX)

    def maintain(self) -> None:
        """Seal what is due; after a failure, try the disk and clear `failure` if it works."""
        if self.failure is not None and self._probe():
            self.failure = None
        self.seal_if_due()

    def close(self) -> None:
        """Seal, and give up the directory; a later commit makes another.

        If that fails, it is logged and counted: the records are durable all the same, and the
        directory is left to the shipper.
        """
        self._give_up_if_lost()
        writer, self._writer = self._writer, None
        if writer is None:
            return
        try:
            writer.close()
        except OSError as exc:
            self._maintenance_failed(exc)

    def _opened(self) -> Writer:
        self._give_up_if_lost()
        if self._writer is None:
            self._writer = Writer(self._root)
        return self._writer

    def _give_up_if_lost(self) -> None:
        if self._writer is not None and self._writer.lost:
            lost, self._writer = self._writer, None
            lost.give_up()

    def _probe(self) -> bool:
        try:
            self._opened().probe()
        except OSError:
            return False  # `failure` names the fault already
        return True

    def _maintenance_failed(self, exc: OSError) -> None:
        metrics.spool_failures.inc()
        _log.error("spool maintenance failed", extra={"error": _describe(exc)})


class CommitThread(threading.Thread):
    """Runs a committer for an event loop, in a thread of its own.

    `hand_over` and `end` only put work into a queue.  ``post`` makes a call in the event loop's
    thread: of each group's ``settle``, and of ``recovered`` when a disk that failed works again.
    """

    def __init__(
        self,
        committer: Committer,
        *,
        post: Callable[..., object],
        recovered: Callable[[], None],
    ) -> None:
        super().__init__(name="commit", daemon=True)
        self._committer = committer
        self._post = post
        self._recovered = recovered
        self._work: SimpleQueue[tuple[Records, Settle] | None] = SimpleQueue()

    def hand_over(self, records: Records, settle: Settle) -> None:
        """Have a group committed, after those handed over before."""
        self._work.put((records, settle))

    def end(self) -> None:
        """Have the directory closed and the thread ended, after all groups handed over."""
        self._work.put(None)

    def run(self) -> None:
        """Commit groups and maintain the directory until `end`."""
        try:
            while self._work_once():
                pass
            self._committer.close()
        except Exception:
            # Without this thread every request would wait for ever; a process that ends is
            # replaced, and its callers see at once that they were not acknowledged.
            _log.exception("commit thread failed, this process ends")
            os._exit(1)

    def _work_once(self) -> bool:
        """Commit the next group, or maintain if there is none in time; False: the end."""
        try:
            work = self._work.get(timeout=self._committer.rest_seconds())
        except Empty:
            self._maintain()
            return True
        if work is None:
            return False
        self._commit(*work)
        # After the answer: no request waits for a seal.
        self._committer.seal_if_due()
        return True

    def _commit(self, records: Records, settle: Settle) -> None:
        began = time.perf_counter()
        name, failure = "", None
        try:
            name = self._committer.commit(records)
        except SpoolUnavailable as exc:
            failure = exc.detail
        metrics.commit_seconds.observe(time.perf_counter() - began)
        metrics.commit_records.observe(len(records))
        self._post(settle, name, failure)

    def _maintain(self) -> None:
        failed = self._committer.failure is not None
        self._committer.maintain()
        if failed and self._committer.failure is None:
            self._post(self._recovered)


def _describe(failure: OSError) -> str:
    return f"the spool's disk failed: {failure.strerror or failure}"
