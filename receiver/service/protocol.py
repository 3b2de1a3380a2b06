"""HTTP as uvicorn speaks it, with a limit on what it does not limit, and one write an answer."""

import asyncio
from typing import Any, ClassVar

import httptools
from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)

# No client of ours sends a second request before the first is answered.
_PIPELINE_MAX = 16
_TOO_LARGE = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\n"
    b"content-length: 0\r\nconnection: close\r\n\r\n"
)


class BoundedProtocol(HttpToolsProtocol):
    """Bounds what uvicorn takes without limit, before the door is asked.

    Heads and trailers end within so many bytes and seconds, or the connection does; so many
    requests may wait behind each other on one connection, and so many connections be open.  An
    offer to upgrade is declined by taking the request as it is (RFC 9110 §7.8): uvicorn would
    answer it without its body.
    """

    head_bytes_max: ClassVar[int] = 128 << 10
    head_seconds_max: ClassVar[float] = 30.0
    connections_max: ClassVar[int] = 1 << 20

    _pending_bytes = 0
    _progressed = False
    _offered_upgrade = False
    _head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take the connection, unless there are too many."""
        super().connection_made(transport)
        if len(self.connections) > self.connections_max:
            # The descriptors that are left are for the spool.
            transport.close()
            return
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._stop_head_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse what came, and count what completes neither a head nor a piece of a body."""
        self._unset_keepalive_if_required()
        self._progressed = False
        self._feed(data)
        if self._progressed:
            self._pending_bytes = 0
            return
        self._pending_bytes += len(data)
        if self.transport.is_closing():
            return
        if self._pending_bytes > self.head_bytes_max:
            if self.cycle is None or self.cycle.response_complete:
                self.transport.write(_TOO_LARGE)
            self.transport.close()
        elif self._head_timer is None and (self.cycle is None or self.cycle.response_complete):
            self._await_head()

    def on_headers_complete(self) -> None:
        """Note that a head is complete, and begin to answer it."""
        self._progressed = True
        self._stop_head_timer()
        if len(self.pipeline) >= _PIPELINE_MAX:
            raise _TooManyWaitError
        if self.parser.should_upgrade():
            self._offered_upgrade = True
        else:
            super().on_headers_complete()
            self.cycle.__class__ = _Cycle

    def on_body(self, body: bytes) -> None:
        """Note that a body goes on."""
        self._progressed = True
        super().on_body(body)

    def on_message_complete(self) -> None:
        """End a request, but for one whose body the parser took for another protocol."""
        if not self._offered_upgrade:
            super().on_message_complete()

    def _feed(self, data: bytes) -> None:
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as exc:
            self._decline_upgrade(data[exc.args[0] :])
        except httptools.HttpParserError as exc:
            if isinstance(exc.__context__, _TooManyWaitError):
                self.transport.abort()
            else:
                self.send_400_response("Invalid HTTP request received.")

    def _decline_upgrade(self, rest: bytes) -> None:
        """Parse the request again as one that offers nothing, and go on with its body."""
        self._offered_upgrade = False
        method, version = self.parser.get_method(), self.parser.get_http_version()
        headers = self.headers
        offers = (b"connection", b"upgrade", b"http2-settings")
        head = [method + b" " + self.url + b" HTTP/" + version.encode()]
        head += [name + b": " + value for name, value in headers if name not in offers]
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        self._feed(b"\r\n".join(head) + b"\r\n\r\n")
        # What is kept of the request is what was sent.
        self.headers[:] = headers
        if rest:
            self._feed(rest)

    def _await_head(self) -> None:
        self._head_timer = self.loop.call_later(self.head_seconds_max, self._head_is_late)

    def _head_is_late(self) -> None:
        self._head_timer = None
        if not self.transport.is_closing():
            self.transport.close()

    def _stop_head_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None


class _TooManyWaitError(Exception):
    """A client sends requests and does not wait for answers."""


class _Cycle(RequestResponseCycle):
    """A request and its answer, written at once.

    uvicorn writes head and body apart: two system calls and two packets, a tenth of all the time
    that a callback costs.  Every answer of ours has a Content-Length and headers of our own.
    """

    _start: dict[str, Any]
    _body = b""

    async def send(self, message: Any) -> None:
        """Hold the head until the body is whole, and write both."""
        if self.flow.write_paused and not self.disconnected:
            await self.flow.drain()
        if self.disconnected:
            return
        if message["type"] == "http.response.start":
            self.response_started = True
            self.waiting_for_100_continue = False
            self._start = message
            return
        self._body += message.get("body", b"")
        if not message.get("more_body", False):
            self._write()

    def _write(self) -> None:
        parts = [STATUS_LINE[self._start["status"]]]
        says_close = False
        for name, value in (*self.default_headers, *self._start["headers"]):
            parts += (name, b": ", value, b"\r\n")
            if name == b"connection":
                says_close = True
                self.keep_alive = False
        if not self.keep_alive and not says_close:
            parts.append(b"connection: close\r\n")
        parts.append(b"\r\n")
        if self.scope["method"] != "HEAD":
            parts.append(self._body)
        self.transport.write(b"".join(parts))
        self.response_complete = True
        self.message_event.set()
        if not self.keep_alive:
            self.transport.close()
        self.on_response()
