"""uvicorn's HTTP protocol with the limits it lacks, and one write per response (`cycle`).

The two classes that are extended are not a public interface of uvicorn.  Relied on are
`STATUS_LINE`, the names in `RELIED_ON` (beyond those of `asyncio.Protocol`), and that

- the parser calls the protocol's ``on_…`` methods, and an exception raised in one of them is the
  context of the parser's own error;
- ``headers`` is None until the first request and then one list per request, which
  ``scope["headers"]`` shares;
- ``on_headers_complete`` sets ``cycle`` and starts the application in a task, so nothing is sent
  before it returns; a cycle has no slots, so its class can be replaced until then;
- ``cycle.on_response`` calls ``on_response_complete``, which starts the next pipelined request or
  the keep-alive timer;
- ``on_message_complete`` does nothing for a request that was answered before it was complete;
- ``shutdown`` clears ``cycle.keep_alive`` while a request is answered;
- a transport whose protocol returns True from ``eof_received`` stays open for writing.

pyproject.toml bounds uvicorn's version for that reason.  tests/door/test_uvicorn.py checks each of
these against the version installed; what they add up to is tested on the wire
(tests/system/test_door_on_the_wire.py).  Both must pass before the bound is raised.
"""

import asyncio
from collections.abc import Mapping
from typing import ClassVar

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from receiver.door.cycle import Cycle

RELIED_ON: Mapping[type, frozenset[str]] = {
    HttpToolsProtocol: frozenset(
        """
        on_message_begin on_headers_complete on_body on_message_complete on_response_complete
        connections cycle flow headers loop parser pipeline transport url
        timeout_keep_alive timeout_keep_alive_handler timeout_keep_alive_task
        send_400_response _unset_keepalive_if_required
        """.split()
    ),
    RequestResponseCycle: frozenset(
        """
        default_headers disconnected flow keep_alive message_event more_body on_response
        response_complete response_started scope send transport waiting_for_100_continue
        """.split()
    ),
}

# Providers wait for an answer before they send the next request.
_PIPELINE_MAX = 16
_HEADERS_MAX = 1000
# Approximate memory of one header, however short.
_HEADER_BYTES = 100
# Limit on all incomplete heads together; those of an ordinary size do not count.
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
    """Bounds what uvicorn accepts without limit, before the application sees a request.

    Limited in bytes and in time are request heads and trailers, the rest of a body whose request
    was answered early, and answers that the client does not read.  Limited in number are pipelined
    requests, headers, and connections.  An offer to upgrade is declined by handling the request
    as if it made none (RFC 9110 §7.8); uvicorn would drop the body.
    """

    head_bytes_max: ClassVar[int] = 128 << 10
    head_seconds_max: ClassVar[float] = 30.0
    connections_max: ClassVar[int] = 1 << 20

    # Bytes of incomplete heads on all connections.
    _heads_bytes: ClassVar[int] = 0

    _pending_bytes = 0
    _held_bytes = 0
    _in_head = False
    _progressed = False
    _offered_upgrade = False
    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Accept the connection unless there are too many."""
        super().connection_made(transport)
        if len(self.connections) > self.connections_max:
            # The remaining descriptors are reserved for the spool.
            transport.close()
            return
        self._end_later()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._stop_timer()
        self._hold(0)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse data; count what completes neither a head nor a piece of a body."""
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
        """Answer a complete request before closing: a half-closed client may still read."""
        cycle = self.cycle
        waits = cycle is not None and not cycle.more_body and not cycle.response_complete
        if waits:
            cycle.keep_alive = False
        return waits

    def pause_writing(self) -> None:
        """Start the time limit for reading the answers."""
        super().pause_writing()
        self._end_later()

    def resume_writing(self) -> None:
        """Stop the time limit: the client reads again."""
        super().resume_writing()
        self._stop_timer()
        if self.transport.is_closing():
            self._end_later()

    def on_message_begin(self) -> None:
        """Take note that a head begins."""
        self._in_head = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Start to answer a request whose head is complete."""
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
            self.cycle.__class__ = Cycle
        elif self.parser.get_method() == b"CONNECT":
            raise _NoTunnelError
        else:
            self._offered_upgrade = True

    def on_body(self, body: bytes) -> None:
        """Take note that a body progresses."""
        self._progressed = True
        super().on_body(body)

    def on_message_complete(self) -> None:
        """End a request, unless the parser took its body for another protocol."""
        if self._offered_upgrade:
            return
        if self.cycle.response_complete:
            # The end of a request that was answered early.  uvicorn would now wait for the next
            # request without a time limit.
            if not self.flow.write_paused:
                self._stop_timer()
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )
        else:
            super().on_message_complete()

    def on_response_complete(self) -> None:
        """Wait for the next request, or for the client to read the last answer."""
        super().on_response_complete()
        if self.transport.is_closing():
            self._end_later()

    def timeout_keep_alive_handler(self) -> None:
        """Close an idle connection, even if its last answer was not read."""
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
        """Parse the request again without its offer, and continue with its body."""
        self._offered_upgrade = False
        method, version = self.parser.get_method(), self.parser.get_http_version()
        headers = self.headers
        offers = (b"connection", b"upgrade", b"http2-settings")
        head = [method + b" " + self.url + b" HTTP/" + version.encode()]
        head += [name + b": " + value for name, value in headers if name not in offers]
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        self._feed(b"\r\n".join(head) + b"\r\n\r\n")
        # The record of the request keeps what was sent.
        self.headers[:] = headers
        if rest:
            self._feed(rest)

    def _bound_pending(self, more: int) -> None:
        """Close the connection if an incomplete head or trailer is too large."""
        if self.transport.is_closing():
            return
        if self._progressed:
            # It is unknown how much of this belongs to the next head.
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
        """Return whether it is the client's turn and no time limit runs."""
        answered = self.cycle is None or self.cycle.response_complete
        return answered and self.timeout_keep_alive_task is None

    def _end_later(self) -> None:
        self._stop_timer()
        self._timer = self.loop.call_later(self.head_seconds_max, self._end)

    def _end(self) -> None:
        self._timer = None
        # `close` would wait until the client has read everything written.
        self.transport.abort()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class _TooManyWaitError(Exception):
    """A client sends too many requests without waiting for answers."""


class _HeadTooLargeError(Exception):
    """A head has too many headers."""


class _NoTunnelError(Exception):
    """A client asks for a tunnel (CONNECT); it is answered 400."""
