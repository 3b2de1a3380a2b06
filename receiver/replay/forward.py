"""Forwarding: send what arrives to a target, from the archive, at least once.

One forwarder of a name works at a time, under a lease.  Which segments are done is kept in the
bucket (`position`), so any instance goes on where another stopped; what was confirmed since the
position was last written is then sent again, with the same `webhook-id`.

A target that is down is waited for.  A callback that it refuses again and again while it confirms
others is given up, so that one does not hold up all:

    forwards/<name>/failed/date=…/<id>.jsonl      delivery_id, task_id, tag, key, attempts, why
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from datetime import date, timedelta
from operator import itemgetter
from typing import Any

import orjson

from receiver import clock, metrics
from receiver.archive import keys
from receiver.archive.schema import Entry
from receiver.errors import LeaseLost, NotFound, StoreError
from receiver.lease import Lease
from receiver.replay.arrivals import hours_around, new_keys, read_indexes
from receiver.replay.position import Position, Stored
from receiver.replay.reading import Item, read
from receiver.replay.request import Form
from receiver.replay.sending import Sender, SendOutcome
from receiver.store import Store

_log = logging.getLogger(__name__)

# New segments are looked for at this interval, and late ones at this.
LOOK_SECONDS = 5.0
LATE_SECONDS = 600.0
SAVE_SECONDS = 5.0


@dataclass(slots=True)
class _Segment:
    """A segment that is being forwarded."""

    name: str
    day: date
    # Arrivals of what is not settled yet, by delivery id.
    unsettled: dict[str, int] = field(default_factory=dict)


class Forwarder:
    """Forwards until it is cancelled.

    ``since_us`` is where a forwarder of a new name begins, now by default; the position of one
    that has worked before goes before it.  A segment that comes more than ``late_days`` after its
    arrival is not forwarded, if the index has as many later days by then.
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
        self._late_days = late_days
        self._since_us = since_us
        self._look_seconds = look_seconds
        self._now_us = now_us
        # Changed by the event loop's thread alone; a segment is begun or in the position.
        self._begun: dict[str, _Segment] = {}
        self._position = Position(0)
        self._unwritten = False
        self._failed: list[dict[str, Any]] = []
        self._looked_late = -LATE_SECONDS
        # Those of the index, at the last look for late ones.
        self._days: list[date] = []
        # Whether this is the one that forwards.
        self.active = False
        self.confirmed = 0
        self.failed = 0

    @property
    def lag_seconds(self) -> float:
        """Age of the oldest archived callback known here that is not settled."""
        arrivals = (us for segment in list(self._begun.values()) for us in _first(segment))
        oldest = min(arrivals, default=None)
        return 0.0 if oldest is None else max(0.0, (self._now_us() - oldest) / 1e6)

    async def run(self) -> None:
        """Forward until cancelled.

        Raises `LeaseHeld` before anything was sent, `LeaseLost`, and `StoreError` where the
        archive fails; run it again then.
        """
        try:
            await self._in_turn(self._lease.acquire)
            self.active = True
            await self._in_turn(self._load)
            await self._forward()
        finally:
            self.active = False
            self._begun.clear()
            # Also what was acquired while this was cancelled.
            await self._in_turn(self._lease.release)
            self._writer.shutdown(wait=False)

    async def _forward(self) -> None:
        """Send and save side by side; when one ends, so does the other."""
        ending = asyncio.Event()
        sending = asyncio.create_task(self._sender.run(self._items(), self._done))
        keeping = asyncio.create_task(self._keep(ending))
        try:
            await asyncio.wait((sending, keeping), return_when=asyncio.FIRST_COMPLETED)
        finally:
            # What is under way is settled first, then written down.
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
        """Make a call that nobody waits for any more before the next one, too."""
        await asyncio.get_running_loop().run_in_executor(self._writer, call, *given)

    async def _keep(self, ending: asyncio.Event) -> None:
        """Renew the lease and write the position, again and again.  Raises `LeaseLost`."""
        pause = min(SAVE_SECONDS, self._lease_seconds / 4)
        while not ending.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await ending.wait()
            try:
                await self._in_turn(self._lease.keep)
                await self._save()
            except StoreError as exc:
                # What is not written down is sent again at the worst.
                _log.warning("position not written", extra={"error": str(exc)})

    # The position.

    def _load(self) -> None:
        try:
            self._position = self._stored.read()
        except NotFound:
            since_us = self._now_us() if self._since_us is None else self._since_us
            self._position = Position(since_us)
            self._stored.write(self._content())
        self._looked_late = -LATE_SECONDS

    async def _save(self) -> None:
        """Write down what was settled.  Raises `LeaseLost` if somebody else has written."""
        failed, self._failed = self._failed, []
        unwritten, self._unwritten = self._unwritten, False
        content = self._content()
        try:
            if failed:
                await self._in_turn(self._store.put, self._failed_key(), _lines(failed))
                failed = []
            if unwritten:
                await self._in_turn(self._stored.write, content)
                unwritten = False
        finally:
            self._failed = failed + self._failed
            self._unwritten |= unwritten

    def _content(self) -> bytes:
        return self._position.content(
            generation=self._lease.generation, written_at=clock.rfc3339(self._now_us())
        )

    def _failed_key(self) -> str:
        now_us = self._now_us()
        return f"{self._failed_prefix}/{keys.day_folder(now_us)}/{clock.new_id(now_us)}.jsonl"

    # What to send.

    async def _items(self) -> AsyncGenerator[Item]:
        while True:
            is_late_look = time.monotonic() - self._looked_late >= LATE_SECONDS
            waiting = deque(await asyncio.to_thread(self._new_keys, late=is_late_look))
            while waiting:
                found = self._begin(await asyncio.to_thread(read_indexes, self._store, waiting))
                requests = read(self._store, found.__iter__, self._form.request)
                async with aclosing(requests):
                    async for item in requests:
                        yield item
            if is_late_look:
                self._move_on()
            await asyncio.sleep(self._look_seconds)

    def _new_keys(self, *, late: bool) -> list[str]:
        prefixes = hours_around(self._now_us())
        if late:
            self._looked_late = time.monotonic()
            self._days = keys.days(self._store.folders(keys.INDEX))
            first, last = self._position.from_day, self._today() + timedelta(days=1)
            prefixes = [
                keys.day_prefix(keys.INDEX, day) for day in self._days if first <= day <= last
            ]
        return new_keys(self._store, prefixes, known=self._knows)

    def _knows(self, segment: str) -> bool:
        return segment in self._begun or self._position.has(segment)

    def _move_on(self) -> None:
        """Leave behind the days that are too long ago, now that all they hold is done or begun.

        The index has to have as many later days: a clock that is ahead for a moment makes it a
        day or two more, and what was left behind can never be looked at again.
        """
        if len(self._days) <= self._late_days:
            return
        day = min(self._today() - timedelta(days=self._late_days), self._days[-self._late_days - 1])
        if self._position.move_on(min((day, *(s.day for s in self._begun.values())))):
            self._unwritten = True

    def _today(self) -> date:
        return keys.day_at(self._now_us())

    def _begin(self, indexes: Mapping[str, list[Entry]]) -> list[Entry]:
        """Begin segments; return what they hold, by arrival."""
        merged: list[tuple[int, str, Entry]] = []
        for key, found in indexes.items():
            segment = _Segment(keys.segment_of(key), keys.day_of(key))
            self._begun[segment.name] = segment
            for entry in found:
                at_us = clock.read_rfc3339(entry.received_at)
                if at_us >= self._position.since_us:
                    segment.unsettled[entry.delivery_id] = at_us
                    merged.append((at_us, entry.delivery_id, entry))
            self._end_if_settled(segment)
        merged.sort(key=itemgetter(0, 1))
        return [entry for *_, entry in merged]

    # What became of it.

    def _done(self, item: Item, outcome: SendOutcome) -> None:
        entry = item.entry
        if outcome.confirmed:
            self.confirmed += 1
            metrics.forwarded.labels("confirmed").inc()
        else:
            self._note_failure(entry, outcome)
        segment = self._begun[entry.segment]
        del segment.unsettled[entry.delivery_id]
        self._end_if_settled(segment)

    def _end_if_settled(self, segment: _Segment) -> None:
        if not segment.unsettled:
            self._position.add(segment.name, segment.day)
            self._unwritten = True
            del self._begun[segment.name]

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


def _first(segment: _Segment) -> Iterator[int]:
    """Yield the oldest arrival that is not settled: they were put in by arrival."""
    return iter(list(segment.unsettled.values())[:1])


def _lines(failed: list[dict[str, Any]]) -> bytes:
    return b"".join(orjson.dumps(facts, option=orjson.OPT_APPEND_NEWLINE) for facts in failed)
