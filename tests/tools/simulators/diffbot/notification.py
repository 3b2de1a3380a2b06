"""The notification of a job, as the engine sends it: HTTP/1.0 over a bare socket.

providers.md §2.2 [S]: the request line, the headers and their order, blank lines before the body,
strings that are not escaped, 60 seconds, 10,000 bytes of the reply, and no second try.
"""

import asyncio
import ssl
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

import orjson

from tests.tools.simulators.server import Json

REPLY_BYTES_MAX = 10_000
# Strings of the user's that the old engine writes as they are, quotes and all.
_RAW = frozenset(
    (
        "message", "urlCrawlPattern", "urlProcessPattern", "pageProcessPattern",
        "urlCrawlRegEx", "urlProcessRegEx",
    )
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Notification:
    """One notification, and how it ended; the engine itself only logs that."""

    token: str
    name: str
    url: str
    body: bytes
    at: float
    # 0 where there was no answer; `error` says why.
    http_code: int
    error: Literal["timeout", "connection"] | None


def write_body(job: Json, *, escape: bool) -> bytes:
    """Return the job as the engine writes it: a field a line, after blank lines."""
    lines = ",\n".join(f'  "{name}": {_value(name, value, escape)}' for name, value in job.items())
    return f"\n\n{{\n{lines}\n}}\n".encode()


def _value(name: str, value: object, escape: bool) -> str:
    if isinstance(value, float):
        return f"{value:.6f}"
    if isinstance(value, dict):
        inner = ", ".join(f'"{key}": {_value(key, one, escape)}' for key, one in value.items())
        return f"{{{inner}}}"
    if isinstance(value, str) and name in _RAW and not escape:
        return f'"{value}"'
    return orjson.dumps(value).decode()


async def send(url: str, *, name: str, status: str, body: bytes, seconds: float) -> int:
    """Send a notification; return the HTTP status.

    Raises `TimeoutError`, `OSError`, or `ValueError` for a URL or a reply that is none.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or parts.hostname is None:
        raise ValueError(f"no HTTP URL: {url}")
    secure = ssl.create_default_context() if parts.scheme == "https" else None
    port = parts.port or (443 if secure else 80)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    head = (
        f"POST {target} HTTP/1.0\r\n"
        "User-Agent: Crawlbot/2.0\r\n"
        "Accept: */*\r\n"
        f"Host: {parts.hostname}\r\n"  # the name without the port
        f"X-Crawl-Name: {name}\r\n"
        f"X-Crawl-Status: {status}\r\n"
        f"Content-Length: {len(body)}\r\n"
        "Content-Type: application/json\r\n"
        "\r\n"
    )
    async with asyncio.timeout(seconds):
        reader, writer = await asyncio.open_connection(parts.hostname, port, ssl=secure)
        try:
            writer.write(head.encode() + body)
            await writer.drain()
            reply = await _read(reader)
        finally:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()
    first = reply.split(b"\r\n", 1)[0].split(b" ")
    if len(first) < 2 or not first[0].startswith(b"HTTP/"):
        raise ValueError("the reply is no HTTP")
    return int(first[1])


async def _read(reader: asyncio.StreamReader) -> bytes:
    reply = b""
    while len(reply) < REPLY_BYTES_MAX:
        part = await reader.read(REPLY_BYTES_MAX - len(reply))
        if not part:
            break
        reply += part
    return reply
