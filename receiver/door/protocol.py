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
# A header takes about so many bytes of memory, however short it is.
_HEADERS_MAX = 1000
_HEADER_BYTES = 100
# Heads that are not whole take no more than this together, those of an ordinary size left out.
_HEADS_BYTES_MAX = 64 << 20
_ORDINARY_HEAD_BYTES = 16 << 10
_TOO_LARGE = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\n"
    b"content-length: 0\r\nconnection: close\r\n\r\n"
)
_TOO_MANY = (
    b"HTTP/1.1 503 Service Unavailable\r\n"
    b"content-length: 0\r\nretry-after: 5\r\nconnection: close\r\n\r\n"
)


class BoundedProtocol(HttpToolsProtocol):
    """Bounds what uvicorn takes without limit, before the door is asked.

    Heads and trailers end within so many bytes and seconds, or the connection does; so do the rest
    of a body that was answered before it was whole, and answers that nobody reads.  So many
    requests may wait behind each other on one connection, and so many connections be open.  An
    offer to upgrade is declined by taking the request as it is (RFC 9110 §7.8): uvicorn would
    answer it without its body.
    """

    head_bytes_max: ClassVar[int] = 128 << 10
    head_seconds_max: ClassVar[float] = 30.0
    connections_max: ClassVar[int] = 1 << 20

    # What all connections hold of heads that are not whole.
    _heads_bytes: ClassVar[int] = 0

    _pending_bytes = 0
    _held_bytes = 0
    _in_head = False
    _progressed = False
    _offered_upgrade = False
    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take the connection, unless there are too many."""
        super().connection_made(transport)
        if len(self.connections) > self.connections_max:
            # The descriptors that are left are for the spool.
            transport.close()
            return
        self._end_later()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._stop_timer()
        self._hold(0)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse what came, and count what completes neither a head nor a piece of a body."""
        self._unset_keepalive_if_required()
        self._progressed = False
        self._feed(data)
        if self._in_head or not self._progressed:
            self._bound_pending(len(data))
        elif self._pending_bytes:
            self._pending_bytes = 0
            self._hold(0)
        if self._timer is None and self._waits_for_client():
            self._end_later()

    def eof_received(self) -> bool:  # type: ignore[override]
        """Answer what is whole: a client that sends no more may still read.  Then close."""
        cycle = self.cycle
        waits = cycle is not None and not cycle.more_body and not cycle.response_complete
        if waits:
            cycle.keep_alive = False
        return waits

    def pause_writing(self) -> None:
        """Give the client so long to read its answers."""
        super().pause_writing()
        self._end_later()

    def resume_writing(self) -> None:
        """Go on: the client reads."""
        super().resume_writing()
        self._stop_timer()
        if self.transport.is_closing():
            self._end_later()

    def on_message_begin(self) -> None:
        """Note that a head begins."""
        self._in_head = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Note that a head is complete, and begin to answer it."""
        self._in_head = False
        self._progressed = True
        if not self.flow.write_paused:
            self._stop_timer()
        self._unset_keepalive_if_required()
        if len(self.pipeline) >= _PIPELINE_MAX:
            raise _TooManyWaitError
        if len(self.headers) > _HEADERS_MAX:
            raise _HeadTooLargeError
        if not self.parser.should_upgrade():
            super().on_headers_complete()
            self.cycle.__class__ = _Cycle
        elif self.parser.get_method() == b"CONNECT":
            raise _NoTunnelError
        else:
            self._offered_upgrade = True

    def on_body(self, body: bytes) -> None:
        """Note that a body goes on."""
        self._progressed = True
        super().on_body(body)

    def on_message_complete(self) -> None:
        """End a request, but for one whose body the parser took for another protocol."""
        if self._offered_upgrade:
            return
        if self.cycle.response_complete:
            # The rest of a request that was answered before it was whole; uvicorn would now wait
            # for the next one for ever.
            if not self.flow.write_paused:
                self._stop_timer()
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )
        else:
            super().on_message_complete()

    def on_response_complete(self) -> None:
        """Wait for the next request, or until the client has read the last answer."""
        super().on_response_complete()
        if self.transport.is_closing():
            self._end_later()

    def timeout_keep_alive_handler(self) -> None:
        """End a connection that is idle, whether or not its last answer was read."""
        self.transport.abort()

    def _feed(self, data: bytes) -> None:
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as exc:
            self._decline_upgrade(data[exc.args[0] :])
        except httptools.HttpParserError as exc:
            if isinstance(exc.__context__, _TooManyWaitError):
                self.transport.abort()
            elif isinstance(exc.__context__, _HeadTooLargeError):
                self._refuse(_TOO_LARGE)
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

    def _bound_pending(self, more: int) -> None:
        """End the connection if what came of a head, or of a trailer, is too much."""
        if self.transport.is_closing():
            return
        if self._progressed:
            # How much of it is of the next head is not known.
            self._pending_bytes = min(more, self.head_bytes_max)
        else:
            self._pending_bytes += more
        headers = len(self.headers or ())
        held = self._pending_bytes + headers * _HEADER_BYTES
        self._hold(held)
        if self._pending_bytes > self.head_bytes_max or headers > _HEADERS_MAX:
            self._refuse(_TOO_LARGE)
        elif held > _ORDINARY_HEAD_BYTES and BoundedProtocol._heads_bytes > _HEADS_BYTES_MAX:
            self._refuse(_TOO_MANY)

    def _hold(self, count: int) -> None:
        BoundedProtocol._heads_bytes += count - self._held_bytes
        self._held_bytes = count

    def _refuse(self, answer: bytes) -> None:
        if self.cycle is None or self.cycle.response_complete:
            self.transport.write(answer)
        self.transport.close()

    def _waits_for_client(self) -> bool:
        """Say whether it is the client's turn, and no time is set for it."""
        answered = self.cycle is None or self.cycle.response_complete
        return answered and self.timeout_keep_alive_task is None

    def _end_later(self) -> None:
        self._stop_timer()
        self._timer = self.loop.call_later(self.head_seconds_max, self._end)

    def _end(self) -> None:
        self._timer = None
        # Closing would wait until the client has read all that was written.
        self.transport.abort()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class _TooManyWaitError(Exception):
    """A client sends requests and does not wait for answers."""


class _HeadTooLargeError(Exception):
    """A head has too many headers."""


class _NoTunnelError(Exception):
    """A client wants a tunnel; it is told that this is no request."""


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
        if self.transport.is_closing():
            self.disconnected = True  # while it waited behind another, of which uvicorn is not told
            return
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
