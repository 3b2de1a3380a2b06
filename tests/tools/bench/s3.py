"""A stub of S3 that answers at once and keeps nothing but what is small.

    python -m tests.tools.bench.s3 [median-ms p99-ms]

It stands for the best S3 there could be, so what is measured is the cost of asking it.  With two
numbers it takes as long as a real one: each answer is late by a log-normal time with this median
and this 99th percentile.  Every request is counted; `GET /-/counts` says how many of which
method, and is not counted itself.
"""

import asyncio
import math
import random
import re
import socket
import sys
from collections.abc import Callable
from typing import Protocol, cast
from urllib.parse import urlsplit

import httptools
import orjson
import uvloop

COUNTS = "/-/counts"
_KEPT_BYTES_MAX = 1024
# The 99th percentile of the normal distribution, in standard deviations.
_P99_DEVIATIONS = 2.3263
_ETAG = b'"5d41402abc4b2a76b9719d911017c592"'
_LIST = (
    b'<?xml version="1.0" encoding="UTF-8"?><ListBucketResult '
    b'xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>bench</Name><KeyCount>0</KeyCount>'
    b"<MaxKeys>1000</MaxKeys><IsTruncated>false</IsTruncated></ListBucketResult>"
)
_ERROR = b'<?xml version="1.0" encoding="UTF-8"?><Error><Code>%s</Code></Error>'
NO_SUCH_KEY = _ERROR % b"NoSuchKey"
_CHUNKED = re.compile(rb"^aws-chunked", re.IGNORECASE)

Answer = tuple[bytes, bytes]


class Store(Protocol):
    """What all connections share."""

    def answer(self, method: str, url: str, body: bytes, *, only_if_absent: bool) -> Answer:
        """Return status line and body."""
        ...


class _Store:
    """Keeps what is small."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        self._kept: dict[str, bytes] = {}

    def answer(self, method: str, url: str, body: bytes, *, only_if_absent: bool) -> Answer:
        """Return status line and body."""
        path, query = urlsplit(url)[2:4]
        if path == COUNTS:
            return b"200 OK", orjson.dumps(self.counts)
        self.counts[method] = self.counts.get(method, 0) + 1
        if method == "PUT":
            if only_if_absent and path in self._kept:
                return b"412 Precondition Failed", _ERROR % b"PreconditionFailed"
            if len(body) <= _KEPT_BYTES_MAX:
                self._kept[path] = body
            return b"200 OK", b""
        if method == "DELETE":
            self._kept.pop(path, None)
            return b"204 No Content", b""
        if "list-type" in query:
            return b"200 OK", _LIST
        if path not in self._kept:
            return b"404 Not Found", NO_SUCH_KEY
        return b"200 OK", self._kept[path]


class _Connection(asyncio.Protocol):
    def __init__(self, store: Store, delay: "Callable[[], float] | None") -> None:
        self._store = store
        self._delay = delay
        self._parser = httptools.HttpRequestParser(self)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    # Called by the parser.

    def on_message_begin(self) -> None:
        self._url = b""
        self._body: list[bytes] = []
        self._only_if_absent = False

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        name = name.lower()
        if name == b"if-none-match":
            self._only_if_absent = True
        elif name == b"expect":
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        elif name == b"content-encoding" and _CHUNKED.match(value):
            raise NotImplementedError("bodies with a checksum behind them")

    def on_body(self, body: bytes) -> None:
        self._body.append(body)

    def on_message_complete(self) -> None:
        status, content = self._store.answer(
            self._parser.get_method().decode(),
            self._url.decode(),
            b"".join(self._body),
            only_if_absent=self._only_if_absent,
        )
        answer = b"HTTP/1.1 %s\r\nETag: %s\r\nContent-Length: %d\r\n\r\n%s" % (
            status,
            _ETAG,
            len(content),
            content,
        )
        if self._delay is None:
            self._transport.write(answer)
        else:
            loop = asyncio.get_running_loop()
            loop.call_later(self._delay(), self._transport.write, answer)


def delayed(median_ms: float = 0, p99_ms: float = 0) -> Callable[[], float] | None:
    """Return what draws delays in seconds, or None where there is to be none."""
    if not median_ms:
        return None
    mean = math.log(median_ms / 1e3)
    deviation = (math.log(p99_ms / 1e3) - mean) / _P99_DEVIATIONS
    return lambda: random.lognormvariate(mean, deviation)


async def serve(store: Store, delay: Callable[[], float] | None) -> None:
    """Serve on a free port of loopback for ever."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=2048)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Connection(store, delay), sock=listener)
    print(f"listening on http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(_Store(), delayed(*map(float, sys.argv[1:]))))
