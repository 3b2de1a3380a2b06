"""The target: the user's program that callbacks are sent to over HTTP.

Connections are reused, and their number is bounded.  Redirects are not followed: they could carry a
signature, or a token in the URL, elsewhere.  For the same reason no error message contains the URL.
"""

import asyncio
import io
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

import aiohttp
from yarl import URL

from receiver.errors import StoreError
from receiver.outbound import Proxies, why
from receiver.replay.long_body import LongBody
from receiver.replay.status_line import StatusConnector

# Bytes read of an answer; the connection of a longer one is closed.
_ANSWER_BYTES = 64 << 10
_DETAIL_CHARACTERS = 200
# A longer body is written in pieces, so that it does not hold up other requests.
_WHOLE_BYTES = 1 << 20
# The request was never sent.
_UNREACHABLE = (
    aiohttp.ClientConnectorError,
    aiohttp.ClientHttpProxyError,
    aiohttp.ConnectionTimeoutError,
)
# More than servers send; aiohttp's own limits refuse answers that others accept.
_HEADER_BYTES_MAX = 256 << 10
_HEADERS_MAX = 4096


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
        self._proxies = Proxies()
        self._session = aiohttp.ClientSession(
            connector=StatusConnector(limit=self._connections),
            headers={"User-Agent": "receiver"},
            skip_auto_headers=("Accept", "Accept-Encoding", "Content-Type"),
            auto_decompress=False,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(
                total=self._timeout_seconds, sock_connect=min(10.0, self._timeout_seconds)
            ),
            trust_env=False,
            max_line_size=_HEADER_BYTES_MAX,
            max_field_size=_HEADER_BYTES_MAX,
            max_headers=_HEADERS_MAX,
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
        self, method: str, url: str, *, headers: Mapping[str, str], body: bytes | LongBody
    ) -> Answer:
        """Send one request and return the answer, whatever its status.  Raises `NoAnswer`.

        An answer whose status line is valid is one, even if the rest of it is not valid HTTP.
        Raises `StoreError` if a long body cannot be read.
        """
        where = URL(url, encoded=True)
        sent = _Body(body)
        try:
            async with self._session.request(
                method,
                where,
                headers={**headers, **sent.headers},
                data=sent.data,
                allow_redirects=False,
                proxy=self._proxies.of(where),
            ) as answer:
                content = await answer.content.read(_ANSWER_BYTES)
                return Answer(
                    status=answer.status,
                    detail=self._detail(answer, content),
                    retry_after=_retry_after(answer.headers.get("Retry-After")),
                )
        except aiohttp.ClientResponseError as exc:
            # A proxy that was asked for a tunnel has sent nothing on.
            if isinstance(exc, _UNREACHABLE) or exc.request_info.method == "CONNECT":
                raise NoAnswer(why(exc), reached=False) from None
            if not exc.status:
                raise NoAnswer("the answer is not HTTP", reached=True) from None
            good = 200 <= exc.status < 300
            return Answer(exc.status, "" if good else "the answer is not valid HTTP", None)
        except (aiohttp.ClientError, OSError, TimeoutError) as exc:
            if sent.failure is not None:
                raise sent.failure from None
            raise NoAnswer(why(exc), reached=not isinstance(exc, _UNREACHABLE)) from None

    def _detail(self, answer: aiohttp.ClientResponse, content: bytes) -> str:
        if 200 <= answer.status < 300:
            return ""
        location = answer.headers.get("Location")
        if 300 <= answer.status < 400 and location:
            detail = f"leads to {_without_secrets(location)}, not followed"
        else:
            detail = content.decode("utf-8", "replace")
        # Masked before it is cut: half a secret would not be recognized.
        return self._hide(detail)[:_DETAIL_CHARACTERS]


class _Body:
    """A body as aiohttp takes it; ``failure`` is why a long one could not be read to its end."""

    def __init__(self, body: bytes | LongBody) -> None:
        self.failure: StoreError | None = None
        self.headers: dict[str, str] = {}
        self.data: io.BytesIO | bytes | AsyncIterator[bytes] | None
        if isinstance(body, LongBody):
            self.headers["Content-Length"] = str(body.size)
            self.data = self._steps(body.steps())
        else:
            self.data = io.BytesIO(body) if len(body) > _WHOLE_BYTES else body or None

    async def _steps(self, steps: Iterator[bytes]) -> AsyncIterator[bytes]:
        try:
            while (step := await asyncio.to_thread(next, steps, None)) is not None:
                yield step
        except StoreError as exc:
            self.failure = exc
            raise


def _without_secrets(location: str) -> str:
    """Return where a redirect leads, without user, password, query and fragment."""
    try:
        parts = urlsplit(location)
    except ValueError:
        return "a URL that cannot be read"
    host = parts.netloc.rpartition("@")[2]
    return parts._replace(netloc=host, query="", fragment="").geturl()


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
