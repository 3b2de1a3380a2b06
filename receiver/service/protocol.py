"""HTTP as uvicorn speaks it, with a limit on what it does not limit."""

from typing import ClassVar

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

_ANSWER = (
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
                self.transport.write(_ANSWER)
            self.transport.close()

    def on_headers_complete(self) -> None:
        """Note that a head is complete."""
        self._progressed = True
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Note that a body goes on."""
        self._progressed = True
        super().on_body(body)
