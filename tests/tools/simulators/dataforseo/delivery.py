"""Postbacks and pingbacks: how the provider calls back (providers.md §1.2, §1.3, §1.5)."""

import asyncio
import gzip
import threading
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Literal, TypeVar
from urllib.parse import quote, urlsplit

import aiohttp
import orjson
from aiohttp import hdrs
from yarl import URL

from tests.tools.simulators.clock import Clock
from tests.tools.simulators.dataforseo.envelope import entry, envelope
from tests.tools.simulators.dataforseo.results import result_of
from tests.tools.simulators.dataforseo.settings import Settings
from tests.tools.simulators.dataforseo.tasks import Task

T = TypeVar("T")
Parameter = Literal["postback_url", "pingback_url"]
# How much of the receiver's reply is kept for /errors.
REPLY_BYTES_MAX = 10_000
# §1.2 [D]: "special characters will be urlencoded, i.a. # -> %23"; these are none.
_PLAIN = ":/?&=@+,;~!*'()[]"


@dataclass(frozen=True, slots=True, kw_only=True)
class Webhook:
    """One callback that is to be delivered."""

    task: Task
    parameter: Parameter
    attempt: int = 0
    resent: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivered:
    """One attempt, and how it ended."""

    task: Task
    parameter: Parameter
    method: str
    url: str
    at: float
    # 0 where there was no answer; `error` says why.
    http_code: int
    http_seconds: float
    http_response: str
    error: Literal["timeout", "connection"] | None
    attempt: int
    resent: bool

    @property
    def success(self) -> bool:
        """Whether the provider counts it as delivered."""
        # §1.2 [D]: failed is "HTTP code < 200 or > 300", so 300 itself passes.
        return 200 <= self.http_code <= 300


def fill(url: str, *, task: Task, settings: Settings) -> str:
    """Return a callback URL with its placeholders filled in and special characters encoded."""
    # §1.2 [D]: `$tag` becomes the urlencoded tag.  §1.2 [C]: without a tag it can stay literal.
    tag = task.tag or settings.unset_tag
    if settings.encode_percent:
        url = url.replace("$id", task.id).replace("$tag", quote(tag, safe=""))
        return quote(url, safe=_PLAIN)
    # Encoding the template first leaves the placeholders' `$` for last.
    url = quote(url, safe=_PLAIN + "%$")
    url = url.replace("$id", task.id).replace("$tag", quote(tag, safe=""))
    return url.replace("$", "%24")


def postback_body(task: Task, *, settings: Settings) -> bytes:
    """Return the JSON that a postback carries: the envelope of the matching task_get."""
    # §1.3 [D], same envelope [E]/[C]; a failed task is pushed, too [I].
    datatype = task.postback_datatype
    path = task.function.endpoint(datatype, task.id).strip("/").split("/")
    result = result_of(task, datatype, result_bytes=settings.result_bytes)
    posted = task.data(settings.postback_function)
    # cost is 0: the task was paid for when it was posted (§1.10 [D]).
    return orjson.dumps(
        envelope([entry(task.id, path=path, posted=posted, code=task.status, result=result)])
    )


class Deliveries:
    """The queue of callbacks, and what became of them."""

    def __init__(
        self,
        *,
        clock: Clock,
        lock: threading.RLock,
        settings: Settings,
        ended: Callable[[Webhook, Delivered], None],
    ) -> None:
        self._clock = clock
        self._settings = settings
        self._ended = ended
        self._lock = lock
        self._idle = threading.Condition(lock)
        self._queue: deque[Webhook] = deque()
        self._open = 0
        self._wake: Callable[[], None] | None = None
        self._sent_at = float("-inf")
        self._broken: BaseException | None = None
        self.history: list[Delivered] = []
        self.open_max = 0

    def enqueue(self, webhook: Webhook) -> None:
        """Deliver a callback as soon as it is its turn."""
        with self._lock:
            self._queue.append(webhook)
            if self._wake is not None:
                self._wake()

    def wait_idle(self, seconds: float) -> bool:
        """Return True as soon as nothing is left to deliver, False when the time is over."""
        with self._idle:
            idle = self._idle.wait_for(lambda: not self._queue and not self._open, seconds)
            if self._broken is not None:
                raise RuntimeError("the simulator itself has failed") from self._broken
            return idle

    async def run(self) -> None:
        """Deliver until cancelled; what was under way then is taken up by the next run."""
        loop = asyncio.get_running_loop()
        changed = asyncio.Event()

        def wake() -> None:
            loop.call_soon_threadsafe(changed.set)

        with self._lock:
            self._wake = wake
        try:
            async with aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, force_close=True),
                timeout=aiohttp.ClientTimeout(total=None),
                skip_auto_headers=(hdrs.USER_AGENT, hdrs.CONTENT_TYPE),
            ) as session:
                await self._run(session, changed)
        finally:
            with self._lock:
                self._wake = None

    async def _run(self, session: aiohttp.ClientSession, changed: asyncio.Event) -> None:
        loop = asyncio.get_running_loop()
        open_deliveries: set[asyncio.Task[None]] = set()
        try:
            while True:
                changed.clear()
                open_deliveries = {task for task in open_deliveries if not task.done()}
                wait = self._start_due(loop, session, open_deliveries, changed)
                with suppress(TimeoutError):
                    await asyncio.wait_for(changed.wait(), wait)
        finally:
            # While the session is open: a delivery that is cut short is not one that failed.
            for delivery in open_deliveries:
                delivery.cancel()
            await asyncio.gather(*open_deliveries, return_exceptions=True)

    def _start_due(
        self,
        loop: asyncio.AbstractEventLoop,
        session: aiohttp.ClientSession,
        open_deliveries: set[asyncio.Task[None]],
        changed: asyncio.Event,
    ) -> float | None:
        """Start what may go; return the seconds until the next may, None if that is not known."""
        while len(open_deliveries) < self._settings.deliveries_at_once:
            webhook, wait = self._next(loop.time())
            if webhook is None:
                return wait
            delivery = loop.create_task(self._deliver(session, webhook))
            delivery.add_done_callback(partial(self._close, webhook))
            delivery.add_done_callback(lambda _: changed.set())
            open_deliveries.add(delivery)
            self.open_max = max(self.open_max, len(open_deliveries))
        return None

    def _next(self, now: float) -> tuple[Webhook | None, float | None]:
        # §1.5 [D] HC: a webhook that is not allowed to go goes to the end of the queue.
        with self._lock:
            waits: list[float] = []
            for _ in range(len(self._queue)):
                webhook = self._queue.popleft()
                wait = self._sent_at + webhook.task.webhook_delay_ms / 1000 - now
                if wait <= 0:
                    self._sent_at = now
                    self._open += 1
                    return webhook, None
                self._queue.append(webhook)
                waits.append(wait)
            return None, min(waits, default=None)

    async def _deliver(self, session: aiohttp.ClientSession, webhook: Webhook) -> None:
        delivered = await self._attempt(session, webhook)
        with self._lock:
            self.history.append(delivered)
            # What follows from it is done before anybody can see that nothing is under way.
            self._ended(webhook, delivered)

    def _close(self, webhook: Webhook, delivery: "asyncio.Task[None]") -> None:
        with self._idle:
            self._open -= 1
            if delivery.cancelled():
                self._queue.appendleft(webhook)
            elif delivery.exception() is not None:
                self._broken = delivery.exception()
            self._idle.notify_all()

    async def _attempt(self, session: aiohttp.ClientSession, webhook: Webhook) -> Delivered:
        template = str(webhook.task.posted[webhook.parameter])
        url = fill(template, task=webhook.task, settings=self._settings)
        method = "POST" if webhook.parameter == "postback_url" else "GET"
        loop = asyncio.get_running_loop()
        start = loop.time()
        http_code, http_response = 0, ""
        error: Literal["timeout", "connection"] | None = None
        try:
            http_code, http_response = await self._within_deadline(
                self._call(session, webhook, method=method, url=url)
            )
        except TimeoutError:
            error = "timeout"
        except (aiohttp.ClientError, OSError, ValueError):
            error = "connection"
        return Delivered(
            task=webhook.task,
            parameter=webhook.parameter,
            method=method,
            url=url,
            at=self._clock.time(),
            http_code=http_code,
            http_seconds=loop.time() - start,
            http_response=http_response,
            error=error,
            attempt=webhook.attempt,
            resent=webhook.resent,
        )

    async def _call(
        self, session: aiohttp.ClientSession, webhook: Webhook, *, method: str, url: str
    ) -> tuple[int, str]:
        if urlsplit(url).scheme not in ("http", "https"):
            raise ValueError(f"no HTTP URL: {url}")
        headers = {}
        body: bytes | None = None
        if self._settings.user_agent is not None:
            headers[hdrs.USER_AGENT] = self._settings.user_agent
        if method == "POST":
            # §1.3 [D]: the result "compressed in the gzip format", said in a header or not [C].
            body = gzip.compress(postback_body(webhook.task, settings=self._settings), 6, mtime=0)
            if self._settings.content_encoding:
                headers[hdrs.CONTENT_ENCODING] = "gzip"
            if self._settings.content_type is not None:
                headers[hdrs.CONTENT_TYPE] = self._settings.content_type
        # §1.2: a redirect is a failure, so it is not followed.
        async with session.request(
            method, URL(url, encoded=True), data=body, headers=headers, allow_redirects=False
        ) as reply:
            return reply.status, (await reply.content.read(REPLY_BYTES_MAX)).decode(
                errors="replace"
            )

    async def _within_deadline(self, call: Awaitable[T]) -> T:
        # §1.2 [D]: 10 seconds for either URL, then the connection is aborted.
        seconds = self._settings.deadline_seconds
        if not self._settings.deadline_on_clock:
            return await asyncio.wait_for(call, seconds)
        reply = asyncio.ensure_future(call)
        deadline = asyncio.ensure_future(self._clock.reach(self._clock.time() + seconds))
        try:
            await asyncio.wait({reply, deadline}, return_when=asyncio.FIRST_COMPLETED)
            if not reply.done():
                raise TimeoutError
            return reply.result()
        finally:
            for future in (reply, deadline):
                future.cancel()
            await asyncio.gather(reply, deadline, return_exceptions=True)
