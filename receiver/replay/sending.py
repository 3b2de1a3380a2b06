"""Sends requests concurrently, in order for each task, as fast as the target allows.

Each request is sent until the target confirms it with a 2xx or it is given up.  The headers are
those of Standard Webhooks (spec/standard-webhooks.md): `webhook-id` is the same at every attempt,
`webhook-timestamp` is the time of the attempt.
"""

import asyncio
import contextlib
import http
import logging
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

from receiver import clock
from receiver.errors import Damaged, NotFound, TargetError
from receiver.replay.lanes import InOrder, Slot
from receiver.replay.long_body import HELD_BYTES
from receiver.replay.reading import Item, UnreadableEntry
from receiver.replay.request import Request
from receiver.replay.signature import Signer
from receiver.replay.target import Answer, NoAnswer, Target

_log = logging.getLogger(__name__)

_RETRY_SECONDS_MAX = 60.0
_RETRY_AFTER_SECONDS_MAX = 3600.0
# After this many requests given up in a row the target is taken to refuse everything.
FAILURES_MAX = 100
# Limit on the bodies held in memory; a single one may be larger.
_HELD_BYTES = 128 << 20
# Time for requests under way when the sending is stopped.
_END_SECONDS = 5.0
# How far behind its rate the sending may catch up at once.
_BURST_SECONDS = 0.1
# The 4xx that mean "try again later" and not that the request is wrong.
_LATER = (408, 425, 429)


@dataclass(frozen=True, slots=True)
class SendOutcome:
    """How the sending of one callback ended; ``why`` says why it was given up."""

    confirmed: bool
    attempts: int
    why: str = ""


class Sender:
    """Sends requests, ``concurrency`` at a time and at most ``rate`` per second.

    A patient sender never gives up because the target is down: an attempt counts only if the
    target has confirmed another request since the previous attempt.  An impatient one gives up at a
    4xx and after ``attempts_max``, and raises `TargetError` if the target cannot be reached or
    confirms none of a hundred requests.
    """

    def __init__(
        self,
        target: Target,
        *,
        signer: Signer | None,
        concurrency: int,
        rate: float | None = None,
        attempts_max: int = 5,
        patient: bool = False,
        now: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._target = target
        self._signer = signer
        self._concurrency = concurrency
        self._distance = 0.0 if rate is None else 1.0 / rate
        self._attempts_max = attempts_max
        self._patient = patient
        self._now = now
        self._sleep = sleep
        self._next = 0.0
        # One request at a time waits for its turn, the others in line.
        self._turns = asyncio.Lock()
        self._paused_until = 0.0
        self._confirmed = 0
        # Since the last confirmation: requests given up, and attempts that failed.
        self._failures = self._refusals = 0
        # Whether the log says that the target is down.
        self._down = False
        self._stopping = asyncio.Event()
        self.retries = 0

    async def run(
        self, items: AsyncGenerator[Item], done: Callable[[Item, SendOutcome], None]
    ) -> None:
        """Send all items; ``done`` is called once for each, as soon as it is settled.

        An item is sent only when those before it of the same task are settled.  On cancellation,
        requests under way get a few seconds to be settled; for all others, ``done`` is not called.
        """

        async def settle(item: Item, slot: Slot) -> None:
            with contextlib.suppress(_Abandoned):
                done(item, await self._settle(item, slot))

        order = InOrder(
            settle,
            key=_task_of,
            size=_size_of,
            concurrency=self._concurrency,
            size_max=_HELD_BYTES,
            end_seconds=_END_SECONDS,
            stopping=self._stopping,
        )
        await order.run(items)

    async def _settle(self, request: Item, slot: Slot) -> SendOutcome:
        if isinstance(request, UnreadableEntry):
            return SendOutcome(confirmed=False, attempts=0, why=request.why)
        attempts = sent = 0
        confirmed_before = -1
        while True:
            await self._turn()
            sent += 1
            if not self._patient or self._confirmed > confirmed_before:
                attempts += 1
            confirmed_before = self._confirmed
            try:
                why, final, reached = await self._attempt(request)
            except (Damaged, NotFound) as exc:
                # A long body that was readable before.
                return self._give_up(str(exc), sent, reached=True)
            if not why:
                self._confirmed += 1
                self._failures = self._refusals = 0
                self._note_up(request)
                return SendOutcome(confirmed=True, attempts=sent)
            if final or attempts >= self._attempts_max:
                return self._give_up(why, sent, reached)
            self.retries += 1
            self._note_down(request, why, reached=reached)
            await self._wait_behind_others(
                clock.backoff_seconds(sent, longest=_RETRY_SECONDS_MAX), slot
            )

    def _note_down(self, request: Request, why: str, *, reached: bool) -> None:
        """Log why a patient sender waits, once until the target confirms a request again."""
        waits = not reached or self._refusals >= self._concurrency
        if self._patient and waits and not self._down:
            self._down = True
            down = "target takes no callback" if reached else "target cannot be reached"
            _log.warning("%s; trying again", down, extra={**_named(request), "error": why})

    def _note_up(self, request: Request) -> None:
        if self._down:
            self._down = False
            _log.info("target takes callbacks again", extra=_named(request))

    async def _wait_behind_others(self, seconds: float, slot: Slot) -> None:
        """Wait before another attempt.

        While the target confirms other requests, they have the slot.  If it confirms none, waiting
        keeps the slot, so that the target is not called more often; then the next request goes
        first, because it may be confirmed.
        """
        self._refusals += 1
        if self._refusals < self._concurrency:
            slot.give_up()
        await self._pause(seconds)
        slot.give_up()
        await slot.take()
        if self._stopping.is_set():
            raise _Abandoned

    async def _signature(self, signer: Signer, request: Request, timestamp: int) -> str:
        identifier, body = request.headers["webhook-id"], request.body
        if isinstance(body, bytes):
            return signer.sign(identifier, timestamp, body)
        # Read once for this and once more to be sent, because the signature is a header.
        return await asyncio.to_thread(signer.sign_steps, identifier, timestamp, body.steps())

    async def _attempt(self, request: Request) -> tuple[str, bool, bool]:
        """Return why it is not confirmed, whether that is final, whether the target was reached."""
        timestamp = int(time.time())
        headers = {**request.headers, "webhook-timestamp": str(timestamp)}
        if self._signer is not None:
            headers["webhook-signature"] = await self._signature(self._signer, request, timestamp)
        try:
            answer = await self._target.send(
                request.method, request.url, headers=headers, body=request.body
            )
        except NoAnswer as exc:
            return str(exc), False, exc.reached
        if 200 <= answer.status < 300:
            return "", True, True
        if answer.retry_after is not None:
            pause = min(answer.retry_after, _RETRY_AFTER_SECONDS_MAX)
            self._paused_until = max(self._paused_until, self._now() + pause)
        wrong = 300 <= answer.status < 500 and answer.status not in _LATER
        return _shown(answer), wrong and not self._patient, True

    def _give_up(self, why: str, sent: int, reached: bool) -> SendOutcome:
        self._failures += 1
        if not self._patient:
            if not reached:
                raise TargetError(f"the target cannot be reached: {why}")
            if self._failures >= FAILURES_MAX:
                raise TargetError(f"the target took none of {self._failures} in a row: {why}")
        return SendOutcome(confirmed=False, attempts=sent, why=why)

    async def _turn(self) -> None:
        """Wait until the next request may be sent."""
        async with self._turns:
            # Checked again after each wait: the target may have asked for a pause in the meantime.
            while (left := max(self._next, self._paused_until) - self._now()) > 0:
                await self._pause(left)
            if self._distance:
                self._next = max(self._now() - _BURST_SECONDS, self._next) + self._distance

    async def _pause(self, seconds: float) -> None:
        """Wait; raise `_Abandoned` if the sending ends in the meantime."""
        sleeping = asyncio.ensure_future(self._sleep(seconds))
        stopping = asyncio.ensure_future(self._stopping.wait())
        try:
            await asyncio.wait((sleeping, stopping), return_when=asyncio.FIRST_COMPLETED)
        finally:
            sleeping.cancel()
            stopping.cancel()
        if self._stopping.is_set():
            raise _Abandoned


class _Abandoned(Exception):
    """The sending ended before a request was settled."""


def _task_of(item: Item) -> str:
    entry = item.entry
    return f"{entry.provider}\0{entry.task_id}" if entry.task_id else entry.delivery_id


def _size_of(item: Item) -> int:
    if not isinstance(item, Request):
        return 0
    return len(item.body) if isinstance(item.body, bytes) else HELD_BYTES


def _named(request: Request) -> dict[str, str]:
    """Return the part of a request's URL that may be logged; the rest can be secret."""
    parts = urlsplit(request.url)
    return {"target": f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"}


def _shown(answer: Answer) -> str:
    try:
        phrase = f"HTTP {answer.status} {http.HTTPStatus(answer.status).phrase}"
    except ValueError:
        phrase = f"HTTP {answer.status}"
    return f"{phrase}: {answer.detail}" if answer.detail else phrase
