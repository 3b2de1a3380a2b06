"""Plain HTTP over one connection, with nothing done behind the caller's back."""

import http.client
import socket
import ssl
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import orjson

from tests.tools.support.wait import readable

Headers = Mapping[str, str] | Iterable[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back; header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body, read as JSON."""
        return orjson.loads(self.body)


def address_of(url: str) -> tuple[str, int]:
    """Return host and port of a URL."""
    parts = urlsplit(url)
    assert parts.hostname is not None
    assert parts.port is not None
    return parts.hostname, parts.port


def connection_to(
    url: str, *, seconds: float = 30.0, tls: ssl.SSLContext | None = None, source: str = ""
) -> http.client.HTTPConnection:
    """Return a connection that is opened by its first request; ``source`` is the own address."""
    own = (source, 0) if source else None
    if urlsplit(url).scheme == "https":
        return http.client.HTTPSConnection(
            *address_of(url), timeout=seconds, context=tls, source_address=own
        )
    return http.client.HTTPConnection(*address_of(url), timeout=seconds, source_address=own)


def is_closed_by_peer(connection: http.client.HTTPConnection) -> bool:
    """Tell whether the other side has closed a connection that waits for its next request."""
    return connection.sock is not None and bool(readable([connection.sock]))


def request(
    url: str,
    method: str,
    target: str,
    body: bytes = b"",
    headers: Headers = (),
    *,
    seconds: float = 30.0,
    tls: ssl.SSLContext | None = None,
) -> Answer:
    """Make one request on a connection of its own."""
    connection = connection_to(url, seconds=seconds, tls=tls)
    try:
        return exchange(connection, method, target, body, headers)
    finally:
        connection.close()


def exchange(
    connection: http.client.HTTPConnection,
    method: str,
    target: str,
    body: bytes = b"",
    headers: Headers = (),
) -> Answer:
    """Make one request on a connection that stays open."""
    connection.putrequest(method, target, skip_accept_encoding=True)
    for name, value in headers.items() if isinstance(headers, Mapping) else headers:
        connection.putheader(name, value)
    if body or method == "POST":
        connection.putheader("Content-Length", str(len(body)))
    connection.endheaders(body or None)
    with connection.getresponse() as response:
        content = response.read()
        named = {name.lower(): value for name, value in response.getheaders()}
        return Answer(response.status, named, content)


def connect(url: str, *, seconds: float = 30.0) -> socket.socket:
    """Return a raw connection."""
    return socket.create_connection(address_of(url), timeout=seconds)


def read_answer(connection: socket.socket) -> Answer:
    """Read one answer from a raw connection, which stays open."""
    response = http.client.HTTPResponse(connection)
    try:
        response.begin()
        content = response.read()
        named = {name.lower(): value for name, value in response.getheaders()}
        return Answer(response.status, named, content)
    finally:
        response.close()
