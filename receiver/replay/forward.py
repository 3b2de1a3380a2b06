"""Forwarding: sends callbacks to a target as they are archived, each at least once.

One forwarder of a name works at a time, under a lease.  Its position, that is which segments are
settled, is kept in the bucket, so any instance can go on where another stopped.  What was confirmed
after the position was last written is then sent again, with the same `webhook-id`.

A target that is down is waited for.  A callback that the target refuses again and again while it
confirms others is given up, so that it does not hold up the rest:

    forwards/<name>/failed/date=…/<id>.jsonl      delivery_id, task_id, tag, key, attempts, why
"""

import asyncio
import logging
from collections import deque
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, suppress
from typing import Any

import orjson

from receiver import clock, metrics
from receiver.archive import keys
from receiver.archive.schema import Entry
from receiver.errors import LeaseLost, NotFound, StoreError
from receiver.lease import Lease
from receiver.replay.arrivals import read_indexes
from receiver.replay.backlog import Backlog
from receiver.replay.position import Position, Stored
from receiver.replay.reading import Item, read
from receiver.replay.request import Form
from receiver.replay.sending import Sender, SendOutcome
from receiver.store import Store

_log = logging.getLogger(__name__)

# The intervals between looks for new segments, and between writes of the position.
LOOK_SECONDS = 5.0
SAVE_SECONDS = 5.0


class Forwarder:
    """Forwards until it is cancelled.

    ``since_us`` is where a new name begins, now by default; a name that has a position goes on
    from there.  A segment that is archived more than ``late_days`` after its arrival is not
    forwarded once the index has as many later days.
    """

    def __init__(
        self,
        *,
        store: Store,
        form: Form,
        sender: Sender,
        name: str,
        owner: str,
        late_days: int,
        lease_seconds: float,
        since_us: int | None = None,
        look_seconds: float = LOOK_SECONDS,
        now_us: Callable[[], int] = clock.now_us,
    ) -> None:
        self._store = store
        self._form = form
        self._sender = sender
        self._stored = Stored(store, f"forwards/{name}/position.json")
        self._failed_prefix = f"forwards/{name}/failed"
        self._lease = Lease(store, f"forward-{name}", owner=owner, seconds=lease_seconds)
        self._lease_seconds = lease_seconds
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="forward")
        self._since_us = since_us
        self._look_seconds = look_seconds
        self._now_us = now_us
        self._backlog = Backlog(store, Position(0), late_days=late_days, now_us=now_us)
        # Lines about callbacks that were given up, not written yet.
        self._failed: list[dict[str, Any]] = []
        # Whether this forwarder has the lease.
        self.active = False
        self.confirmed = 0
        self.failed = 0

    @property
    def lag_seconds(self) -> float:
        """Age of the oldest archived callback known here that is not settled."""
        return self._backlog.lag_seconds

    async def run(self) -> None:
        """Forward until cancelled.

        Raises `LeaseHeld` before anything was sent, `LeaseLost`, and `StoreError` if the archive
        fails; then run another forwarder of this name.
        """
        try:
            await self._in_turn(self._lease.acquire)
            self.active = True
            await self._in_turn(self._load)
            await self._forward()
        finally:
            self.active = False
            self._backlog.abandon()
            # It may have been acquired while this was cancelled.
            await self._in_turn(self._lease.release)
            self._writer.shutdown(wait=False)

    async def _forward(self) -> None:
        """Send and save side by side; when one ends, so does the other."""
        ending = asyncio.Event()
        sending = asyncio.create_task(self._sender.run(self._items(), self._settle))
        keeping = asyncio.create_task(self._keep(ending))
        try:
            await asyncio.wait((sending, keeping), return_when=asyncio.FIRST_COMPLETED)
        finally:
            # Requests under way are settled first, then the position is written.
            sending.cancel()
            await asyncio.wait((sending,))
            ending.set()
            await asyncio.wait((keeping,))
            failures = [task.exception() for task in (keeping, sending) if not task.cancelled()]
            if not any(isinstance(failure, LeaseLost) for failure in failures):
                await self._save()
        for failure in failures:
            if failure is not None:
                raise failure

    async def _in_turn(self, call: Callable[..., None], *given: Any) -> None:
        """Make a blocking call once those before it have ended, even cancelled ones."""
        await asyncio.get_running_loop().run_in_executor(self._writer, call, *given)

    async def _keep(self, ending: asyncio.Event) -> None:
        """Renew the lease and write the position at an interval.  Raises `LeaseLost`."""
        pause = min(SAVE_SECONDS, self._lease_seconds / 4)
        while not ending.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await ending.wait()
            try:
                await self._in_turn(self._lease.keep)
                await self._save()
            except StoreError as exc:
                # At worst, some callbacks are sent again.
                _log.warning("position not written", extra={"error": str(exc)})

    # What to send, and what became of it.

    async def _items(self) -> AsyncGenerator[Item]:
        backlog = self._backlog
        while True:
            late = backlog.is_late_look_due
            waiting = deque(await asyncio.to_thread(backlog.new_keys, late=late))
            while waiting:
                found = backlog.begin(await asyncio.to_thread(read_indexes, self._store, waiting))
                requests = read(self._store, found.__iter__, self._form)
                async with aclosing(requests):
                    async for item in requests:
                        yield item
            if late:
                backlog.move_on()
            await asyncio.sleep(self._look_seconds)

    def _settle(self, item: Item, outcome: SendOutcome) -> None:
        if outcome.confirmed:
            self.confirmed += 1
            metrics.forwarded.labels("confirmed").inc()
        else:
            self._note_failure(item.entry, outcome)
        self._backlog.settle(item.entry)

    def _note_failure(self, entry: Entry, outcome: SendOutcome) -> None:
        self.failed += 1
        metrics.forwarded.labels("failed").inc()
        facts = {
            "delivery_id": entry.delivery_id,
            "provider": entry.provider,
            "task_id": entry.task_id,
            "tag": entry.tag,
            "key": entry.key,
            "attempts": outcome.attempts,
            "why": outcome.why,
        }
        self._failed.append(facts)
        _log.error("callback not forwarded", extra=facts)

    # What is kept in the bucket.

    def _load(self) -> None:
        try:
            self._backlog.position = self._stored.read()
        except NotFound:
            since_us = self._now_us() if self._since_us is None else self._since_us
            self._backlog.position = Position(since_us)
            self._stored.write(self._content())

    async def _save(self) -> None:
        """Write what was settled.  Raises `LeaseLost` if another forwarder has written."""
        failed, self._failed = self._failed, []
        changed, self._backlog.changed = self._backlog.changed, False
        content = self._content()
        try:
            if failed:
                await self._in_turn(self._store.put, self._failed_key(), _lines(failed))
                failed = []
            if changed:
                await self._in_turn(self._stored.write, content)
                changed = False
        finally:
            self._failed = failed + self._failed
            self._backlog.changed |= changed

    def _content(self) -> bytes:
        return self._backlog.position.content(
            generation=self._lease.generation, written_at=clock.rfc3339(self._now_us())
        )

    def _failed_key(self) -> str:
        now_us = self._now_us()
        return f"{self._failed_prefix}/{keys.day_folder(now_us)}/{clock.new_id(now_us)}.jsonl"


def _lines(failed: list[dict[str, Any]]) -> bytes:
    return b"".join(orjson.dumps(facts, option=orjson.OPT_APPEND_NEWLINE) for facts in failed)
