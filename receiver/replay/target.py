"""The target: the user's program that callbacks are sent to over HTTP.

Connections are reused, and their number is bounded.  Redirects are not followed: they could carry a
signature, or a token in the URL, elsewhere.  For the same reason no error message contains the URL.
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

# Bytes read of an answer; the connection of a longer one is closed.
_ANSWER_BYTES = 64 << 10
_DETAIL_CHARACTERS = 200
# A longer body is written in pieces, so that it does not hold up other requests.
_WHOLE_BYTES = 1 << 20
# The request was never sent.
_UNREACHABLE = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError)


@dataclass(frozen=True, slots=True)
class Answer:
    """The target's answer; ``retry_after`` is the pause that it asked for, in seconds."""

    status: int
    detail: str
    retry_after: float | None


class NoAnswer(Exception):
    """No answer came; ``reached`` says whether there was a connection at all."""

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
        # A name that cannot be resolved has no error number of the operating system.
        number = exc.os_error.errno or 0
        why = os.strerror(number) if number > 0 else exc.os_error.strerror
        return why or type(exc.os_error).__name__
    if isinstance(exc, TimeoutError):
        return "no answer in time"
    return type(exc).__name__


def _retry_after(value: str | None) -> float | None:
    """Return the seconds of a header that has seconds or a date (RFC 9110 §10.2.3), else None."""
    if value is None:
        return None
    if value.isascii() and value.isdigit():
        return float(value)
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except (ValueError, OverflowError):
        return None
