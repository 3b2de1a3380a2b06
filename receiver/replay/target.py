"""The target: a program of the user's that callbacks are sent to, over HTTP.

Connections are kept and bounded.  No redirect is followed: it could carry a signature, or a token
in the URL, elsewhere.  No error message holds the URL, for the same reason.
"""

import io
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import Self

import aiohttp
from yarl import URL

# So much of an answer is read; the connection of a longer one is closed.
_ANSWER_BYTES = 64 << 10
_DETAIL_CHARACTERS = 200
# A longer body is written a piece at a time, so that it does not hold up the others.
_WHOLE_BYTES = 1 << 20
# The request never left.
_UNREACHABLE = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError)


@dataclass(frozen=True, slots=True)
class Answer:
    """What the target said; ``retry_after`` is in seconds, where it asked for a pause."""

    status: int
    detail: str
    retry_after: float | None


class NoAnswer(Exception):
    """There is no answer; ``reached`` says whether there was a connection at all."""

    def __init__(self, why: str, *, reached: bool) -> None:
        super().__init__(why)
        self.reached = reached


class Target:
    """Sends requests.  Use as an async context manager; safe for concurrent sends.

    ``hide`` returns a text without secrets: targets repeat the URL in their answers.
    """

    def __init__(
        self, *, connections: int, timeout_seconds: float, hide: Callable[[str], str] = str
    ) -> None:
        self._connections = connections
        self._timeout_seconds = timeout_seconds
        self._hide = hide

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=self._connections),
            headers={"User-Agent": "receiver"},
            skip_auto_headers=("Accept", "Accept-Encoding", "Content-Type"),
            auto_decompress=False,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(
                total=self._timeout_seconds, sock_connect=min(10.0, self._timeout_seconds)
            ),
            trust_env=False,
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._session.close()

    async def send(
        self, method: str, url: str, *, headers: Mapping[str, str], body: bytes
    ) -> Answer:
        """Send one request and return the answer, whatever its status.  Raises `NoAnswer`."""
        try:
            async with self._session.request(
                method,
                URL(url, encoded=True),
                headers=headers,
                data=io.BytesIO(body) if len(body) > _WHOLE_BYTES else body or None,
                allow_redirects=False,
            ) as answer:
                content = await answer.content.read(_ANSWER_BYTES)
                good = 200 <= answer.status < 300
                return Answer(
                    status=answer.status,
                    detail="" if good else self._detail(content),
                    retry_after=_retry_after(answer.headers.get("Retry-After")),
                )
        except (aiohttp.ClientError, OSError, TimeoutError) as exc:
            raise NoAnswer(_why(exc), reached=not isinstance(exc, _UNREACHABLE)) from None

    def _detail(self, content: bytes) -> str:
        # Masked before it is cut: half a secret would not be recognized.
        return self._hide(content.decode("utf-8", "replace"))[:_DETAIL_CHARACTERS]


def _why(exc: Exception) -> str:
    if isinstance(exc, aiohttp.ClientConnectorError):
        # What failed to be resolved has no number of the operating system's.
        number = exc.os_error.errno or 0
        why = os.strerror(number) if number > 0 else exc.os_error.strerror
        return why or type(exc.os_error).__name__
    if isinstance(exc, TimeoutError):
        return "no answer in time"
    return type(exc).__name__


def _retry_after(value: str | None) -> float | None:
    """Read seconds, or a date (RFC 9110 §10.2.3); None for what is neither."""
    if value is None:
        return None
    if value.isascii() and value.isdigit():
        return float(value)
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except (ValueError, OverflowError):
        return None
