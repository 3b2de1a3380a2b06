"""HTTP as uvicorn speaks it, with a limit on what it does not limit, and one write an answer."""

import asyncio
from typing import Any, ClassVar, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

_STATUS = b"HTTP/1.1 "
_CONTINUE = b"HTTP/1.1 100 "
_TOO_LARGE = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\n"
    b"content-length: 0\r\nconnection: close\r\n\r\n"
)


class BoundedProtocol(HttpToolsProtocol):
    """Closes a connection whose head, or trailer, has no end.

    uvicorn keeps what it is sent until a head is complete, however long that takes; a body is
    bounded by the door.
    """

    head_bytes_max: ClassVar[int] = 128 << 10
    _pending_bytes = 0
    _progressed = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take the connection, with a transport that joins head and body of an answer."""
        self._joined = _OneWrite(transport)
        super().connection_made(cast(asyncio.Transport, self._joined))

    def data_received(self, data: bytes) -> None:
        """Count what came without completing a head or a piece of a body."""
        self._progressed = False
        super().data_received(data)
        if self._progressed:
            self._pending_bytes = 0
            return
        self._pending_bytes += len(data)
        if self._pending_bytes > self.head_bytes_max and not self.transport.is_closing():
            if self.cycle is None or self.cycle.response_complete:
                self.transport.write(_TOO_LARGE)
            self.transport.close()

    def on_headers_complete(self) -> None:
        """Note that a head is complete."""
        self._progressed = True
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Note that a body goes on."""
        self._progressed = True
        super().on_body(body)

    def on_response_complete(self) -> None:
        """Send the head of an answer without a body, as that to a HEAD request."""
        self._joined.flush()
        super().on_response_complete()


class _OneWrite:
    """A transport that holds the head of an answer until its body comes, a moment later.

    uvicorn writes both apart, and each write is a system call and a packet: a tenth of all the
    time that a callback costs.
    """

    __slots__ = (
        "_head",
        "_transport",
        "get_extra_info",
        "is_closing",
        "pause_reading",
        "resume_reading",
        "set_protocol",
    )

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._head = b""
        self.get_extra_info = transport.get_extra_info
        self.is_closing = transport.is_closing
        self.pause_reading = transport.pause_reading
        self.resume_reading = transport.resume_reading
        self.set_protocol = transport.set_protocol

    def write(self, data: bytes) -> None:
        if self._head:
            self._transport.write(self._head + data)
            self._head = b""
        elif data.startswith(_STATUS) and not data.startswith(_CONTINUE):
            self._head = data
        else:
            self._transport.write(data)

    def flush(self) -> None:
        if self._head:
            self._transport.write(self._head)
            self._head = b""

    def close(self) -> None:
        self.flush()
        self._transport.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)
