"""The caller: the only place that calls a provider's API, by aiohttp.

The host comes from the settings alone; a conversation names only a path, and `call_url` lets none
lead elsewhere.  Redirects are not followed, because the credentials would go with them.  Body size,
time, call rate and concurrency are bounded.  Connection errors, and replies that the `CallPolicy`
does not accept as final, are tried again, with jitter.  No error message contains a URL, because
queries hold secrets.
"""

import asyncio
import collections
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Self, TypeVar

import aiohttp
import orjson
from yarl import URL

from receiver import clock
from receiver.archive.body import decode
from receiver.errors import ProviderError, ProviderRefused, ResultTooLarge
from receiver.outbound import Proxies, why
from receiver.providers.conversation import Call, CallPolicy, Conversation, Reply, Verdict
from receiver.reconciler.call_url import url_of

T = TypeVar("T")

ATTEMPTS_MAX = 6
_RETRY_SECONDS_MAX = 30.0
# A little more than a minute, because the provider's clock is not ours.
_WINDOW_SECONDS = 62.0
_BUSY_SECONDS_MAX = 900.0
# The call was never sent, so making it again does nothing twice.
_UNSENT = (
    aiohttp.ClientConnectorError,
    aiohttp.ClientHttpProxyError,
    aiohttp.ConnectionTimeoutError,
    aiohttp.InvalidURL,
)
_NOT_REPEATED = "it may have been carried out, so it is not repeated"


class _Cut(aiohttp.ClientError):
    """A connection was lost after the call had been sent."""


async def _once(
    request: aiohttp.ClientRequest, send: aiohttp.ClientHandlerType
) -> aiohttp.ClientResponse:
    """Keep aiohttp from repeating a call by itself, which no limit would count."""
    try:
        return await send(request)
    except aiohttp.ClientConnectorError:
        raise
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as exc:
        raise _Cut from exc


class Pace:
    """Limits the calls per minute of each family, counted over any 62 seconds.

    With ``calls_per_second``, calls of all families are also spaced evenly.
    """

    def __init__(
        self,
        calls_per_minute: Mapping[str, int],
        *,
        calls_per_second: float | None = None,
        now: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._limits = calls_per_minute
        self._spacing = 0.0 if calls_per_second is None else 1.0 / calls_per_second
        self._next = 0.0
        self._now = now
        self._sleep = sleep
        self._made: dict[str, collections.deque[float]] = collections.defaultdict(collections.deque)

    async def wait(self, family: str) -> None:
        """Wait until a call of this family may be made, and count it as made."""
        name = family if family in self._limits else "general"
        made = self._made[name]
        while True:
            now = self._now()
            while made and made[0] <= now - _WINDOW_SECONDS:
                made.popleft()
            if len(made) < self._limits[name]:
                made.append(now)
                break
            await self._sleep(made[0] + _WINDOW_SECONDS - now)
        if self._spacing:
            # Checked again after each wait: if this process stood still, every waiter is due.
            while (left := self._next - self._now()) > 0:
                await self._sleep(left)
            self._next = self._now() + self._spacing


class Caller:
    """Calls one provider.  Use as an async context manager; safe for concurrent calls.

    ``credentials`` names the settings that hold the credentials, for the hint of an error.
    """

    def __init__(
        self,
        *,
        provider: str,
        base_url: str,
        policy: CallPolicy,
        credentials: str = "the credentials",
        headers: Mapping[str, str] | None = None,
        secret_query: Mapping[str, str] | None = None,
        timeout_seconds: float = 60.0,
        body_bytes_max: int = 256 << 20,
        inflated_bytes_max: int = 512 << 20,
        attempts_max: int = ATTEMPTS_MAX,
        now: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.provider = provider
        self.base_url = base_url.rstrip("/")
        self._policy = policy
        self._credentials = credentials
        self._headers = dict(headers or {})
        self._secret_query = dict(secret_query or {})
        self._timeout_seconds = timeout_seconds
        self._body_bytes_max = body_bytes_max
        self._inflated_bytes_max = inflated_bytes_max
        self._attempts_max = attempts_max
        self._sleep = sleep
        self._pace = Pace(
            policy.calls_per_minute,
            calls_per_second=policy.calls_per_second,
            now=now,
            sleep=sleep,
        )
        self._slots = asyncio.Semaphore(policy.simultaneous)

    async def __aenter__(self) -> Self:
        self._proxies = Proxies()
        self._session = aiohttp.ClientSession(
            headers={"Accept-Encoding": "gzip", "User-Agent": "receiver", **self._headers},
            # Bodies are kept as they came and inflated in bounded steps.
            auto_decompress=False,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(
                total=None, sock_connect=10.0, sock_read=self._timeout_seconds
            ),
            trust_env=False,
            middlewares=(_once,),
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._session.close()

    async def hold(self, conversation: Conversation[T]) -> T:
        """Make the calls that a conversation yields until it returns; return what it returns.

        Raises `ProviderError` if the provider cannot be reached or its reply makes no sense,
        `ProviderRefused` if it refuses the credentials, and whatever the conversation raises.
        """
        try:
            call = next(conversation)
            while True:
                call = conversation.send(await self.call(call))
        except StopIteration as done:
            learned: T = done.value
            return learned
        except ProviderError as exc:
            if str(exc).startswith(self.provider):
                raise
            raise ProviderError(f"{self.provider}: {exc}") from exc

    async def call(self, call: Call) -> Reply:
        """Make one call, repeated where that may help, and return the final reply.

        Raises `ProviderError` after the last attempt, and at once, with nothing sent, for a path
        that leads away from the base URL.
        """
        try:
            url = url_of(self.base_url, call.path)
        except ProviderError as exc:
            raise ProviderError(f"{self.provider}: {call.method}: {exc.detail}") from None
        waited = 0.0
        attempt = 0
        while True:
            attempt += 1
            try:
                async with self._slots:
                    await self._pace.wait(call.family)
                    reply = await self._make(call, url)
            except (aiohttp.ClientError, OSError, TimeoutError) as exc:
                name = why(exc)
                unsent = isinstance(exc, _UNSENT)
                if call.once and not unsent:
                    raise self._error(call, f"got no reply ({name}); {_NOT_REPEATED}") from None
                if attempt >= self._attempts_max:
                    raise self._error(call, f"cannot be reached ({name})") from None
                await self._sleep(clock.backoff_seconds(attempt, longest=_RETRY_SECONDS_MAX))
                continue
            verdict = self._policy.judge(reply)
            if verdict == "final":
                return self._accepted(call, reply)
            if verdict == "busy" and waited < _BUSY_SECONDS_MAX:
                attempt -= 1
                waited += self._policy.busy_seconds
                await self._sleep(self._policy.busy_seconds * random.uniform(1.0, 1.1))  # noqa: S311
            elif verdict == "busy" or call.once or attempt >= self._attempts_max:
                raise self._error(call, _failure(call, verdict))
            else:
                await self._sleep(clock.backoff_seconds(attempt, longest=_RETRY_SECONDS_MAX))

    def _accepted(self, call: Call, reply: Reply) -> Reply:
        if 300 <= reply.status < 400:
            raise self._error(call, f"answers with a redirect (HTTP {reply.status}), not followed")
        if reply.status in (401, 403):
            refusal = self._error(call, f"refuses the credentials (HTTP {reply.status})")
            raise ProviderRefused(refusal.detail, hint=f"correct {self._credentials}")
        return reply

    async def _make(self, call: Call, url: URL) -> Reply:
        async with self._request(call, url) as answer:
            wire = bytearray()
            async with asyncio.timeout(self._timeout_seconds * 5):
                async for chunk in answer.content.iter_chunked(256 << 10):
                    wire += chunk
                    if len(wire) > self._body_bytes_max:
                        limit = f"over {self._body_bytes_max} bytes (RECEIVER_RESULT_BYTES_MAX)"
                        raise ResultTooLarge(str(self._error(call, f"answers with a body {limit}")))
            content = bytes(wire)
            body = await asyncio.to_thread(
                decode, content, inflated_bytes_max=self._inflated_bytes_max
            )
            headers = [(name.lower(), value) for name, value in answer.headers.items()]
            return Reply(
                status=answer.status,
                headers=headers,
                wire=content,
                content=body.content,
                whole=body.whole,
            )

    @asynccontextmanager
    async def _request(self, call: Call, url: URL) -> AsyncIterator[aiohttp.ClientResponse]:
        body = None if call.json is None else orjson.dumps(call.json)
        headers = {} if body is None else {"Content-Type": "application/json"}
        async with self._session.request(
            call.method,
            url,
            params={**call.query, **self._secret_query},
            data=body,
            headers=headers,
            allow_redirects=False,
            proxy=self._proxies.of(url),
        ) as answer:
            yield answer

    def _error(self, call: Call, what: str) -> ProviderError:
        return ProviderError(f"{self.provider}: {call.method} {call.path} {what}")


def _failure(call: Call, verdict: Verdict) -> str:
    if verdict == "busy":
        return "keeps answering that there are too many calls"
    return f"failed; {_NOT_REPEATED}" if call.once else "keeps failing"
