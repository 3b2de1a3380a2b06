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
- a request that waits for its turn is at the left end of ``pipeline`` if it is the newest;
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

from receiver.door import refusals
from receiver.door.cycle import Cycle
from receiver.door.refusals import Refusal

RELIED_ON: Mapping[type, frozenset[str]] = {
    HttpToolsProtocol: frozenset(
        """
        on_message_begin on_headers_complete on_body on_message_complete on_response_complete
        client connections cycle flow headers loop parser pipeline transport url
        timeout_keep_alive timeout_keep_alive_handler timeout_keep_alive_task
        _unset_keepalive_if_required
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
# A packet that could hold a head over the limit is parsed in this many pieces per limit, …
_PIECES = 8
# … but not in smaller ones than this.
_PIECE_BYTES_MIN = 512
# Bytes of a header besides name and value: the colon and the line's end.
_BESIDES_BYTES = 3
# For connections over the limit: how long they may take to send the request that is refused, and
# how many of them may be open at a time.
_TURNED_AWAY_SECONDS = 1.0
TURNED_AWAY_MAX = 64


class BoundedProtocol(HttpToolsProtocol):
    """Bounds what uvicorn accepts without limit, before the application sees a request.

    Limited in bytes and in time are request heads and trailers, the rest of a body whose request
    was answered early, and answers that the client does not read.  Limited in number are pipelined
    requests, headers, and connections.  What is refused is counted and logged, and answered after
    the complete requests that came before it on the same connection.

    An offer to upgrade is declined by handling the request as if it made none (RFC 9110 §7.8);
    uvicorn would drop the body.
    """

    head_bytes_max: ClassVar[int] = 128 << 10
    head_seconds_max: ClassVar[float] = 30.0
    connections_max: ClassVar[int] = 1 << 20

    # Bytes of incomplete heads on all connections.
    _heads_bytes: ClassVar[int] = 0

    # At most as many bytes of the head or trailer that is incomplete came already, and for so
    # many of them it is not known whether they were part of it.
    _pending_bytes = 0
    _uncertain_bytes = 0
    _held_bytes = 0
    _in_head = False
    _in_body = False
    _progressed = False
    _offered_upgrade = False
    # Set once nothing more is parsed, and whether requests that came before are still answered.
    _refusal: Refusal | None = None
    _refusal_waits = False
    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Accept the connection; turn it away if there are too many.

        One that is turned away may send a request first: closing a connection with unread bytes
        would take back the answer (RFC 9112 §9.6).
        """
        super().connection_made(transport)
        over = len(self.connections) - self.connections_max
        if over <= 0:
            self._end_later(self.head_seconds_max)
            return
        self._refusal = refusals.TOO_MANY_CONNECTIONS
        self._refusal.record(self._peer())
        if over > TURNED_AWAY_MAX:
            # The remaining descriptors are reserved for the spool.
            transport.close()
        else:
            self._end_later(_TURNED_AWAY_SECONDS)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._stop_timer()
        self._hold(0)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse data; bound what completes neither a head nor a piece of a body."""
        if self._refusal is not None:
            if not self._refusal_waits:
                self._end_with(self._refusal)
            return
        self._unset_keepalive_if_required()
        if self._pending_bytes + len(data) <= self.head_bytes_max:
            self._take(data)
        else:
            size = max(_PIECE_BYTES_MIN, self.head_bytes_max // _PIECES)
            whole = memoryview(data)
            for at in range(0, len(data), size):
                self._take(whole[at : at + size])
                if self._refusal is not None or self.transport.is_closing():
                    return
        if self._timer is None and self._waits_for_client():
            self._end_later(self.head_seconds_max)

    def eof_received(self) -> bool:  # type: ignore[override]
        """Answer a complete request before closing: a half-closed client may still read."""
        if self._refusal is not None:
            return self._refusal_waits
        cycle = self.cycle
        waits = cycle is not None and not cycle.more_body and not cycle.response_complete
        if waits:
            cycle.keep_alive = False
        return waits

    def pause_writing(self) -> None:
        """Start the time limit for reading the answers."""
        super().pause_writing()
        self._end_later(self.head_seconds_max)

    def resume_writing(self) -> None:
        """Stop the time limit: the client reads again."""
        super().resume_writing()
        self._stop_timer()
        if self.transport.is_closing():
            self._end_later(self.head_seconds_max)

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
        if len(self.headers) > _HEADERS_MAX or self._is_too_large():
            raise _HeadTooLargeError
        if not self.parser.should_upgrade():
            super().on_headers_complete()
            self.cycle.__class__ = Cycle
            self._in_body = True
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
        self._in_body = False
        self._progressed = True
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
        is_last = not self.pipeline
        super().on_response_complete()
        if self.transport.is_closing():
            self._end_later(self.head_seconds_max)
        elif is_last and self._refusal is not None:
            self._end_with(self._refusal)

    def timeout_keep_alive_handler(self) -> None:
        """Close an idle connection, even if its last answer was not read."""
        self.transport.abort()

    def _take(self, data: bytes | memoryview) -> None:
        """Parse data and keep account of the head or trailer that is incomplete after it."""
        self._progressed = False
        # What the parser is given now may complete a head.
        self._pending_bytes += len(data)
        self._feed(data)
        if self._refusal is not None or self.transport.is_closing():
            return
        if not self._progressed:
            self._bound_pending()
        elif self._in_head:
            # It is unknown how much of this belongs to the next head.
            self._pending_bytes = self._uncertain_bytes = len(data)
            self._bound_pending()
        else:
            self._pending_bytes = self._uncertain_bytes = 0
            if self._held_bytes:
                self._hold(0)

    def _feed(self, data: bytes | memoryview) -> None:
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as exc:
            self._decline_upgrade(data[exc.args[0] :])
        except httptools.HttpParserError as exc:
            ours = exc.__context__
            if isinstance(ours, _TooManyWaitError):
                self._refuse(refusals.TOO_MANY_WAIT)
            elif isinstance(ours, _HeadTooLargeError):
                self._refuse(refusals.HEAD_TOO_LARGE)
            else:
                # The text of an error about a target repeats the target.
                why = "the target cannot be parsed" if ours is not None else str(exc)
                self._refuse(refusals.BAD_REQUEST, why)

    def _decline_upgrade(self, rest: bytes | memoryview) -> None:
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

    def _is_too_large(self) -> bool:
        """Return whether the head that is complete now is over the limit.

        It is measured only if the packets that brought it could have held so much.
        """
        if self._pending_bytes <= self.head_bytes_max:
            return False
        size = len(self.parser.get_method()) + len(self.url) + len(b"  HTTP/1.1\r\n\r\n")
        for name, value in self.headers:
            size += len(name) + len(value) + _BESIDES_BYTES
        return size > self.head_bytes_max

    def _bound_pending(self) -> None:
        """Refuse an incomplete head or trailer that is too large."""
        headers = len(self.headers or ())
        held = self._pending_bytes + headers * _HEADER_BYTES
        self._hold(held)
        certain = self._pending_bytes - self._uncertain_bytes
        if certain > self.head_bytes_max or headers > _HEADERS_MAX:
            self._refuse(refusals.HEAD_TOO_LARGE)
        elif held > _ORDINARY_HEAD_BYTES and BoundedProtocol._heads_bytes > _HEADS_BYTES_MAX:
            self._refuse(refusals.TOO_MANY_HEADS)

    def _hold(self, count: int) -> None:
        BoundedProtocol._heads_bytes += count - self._held_bytes
        self._held_bytes = count

    def _refuse(self, refusal: Refusal, why: str = "") -> None:
        """Answer what cannot be parsed, after the complete requests before it; then close."""
        refusal.record(self._peer(), why)
        self._refusal = refusal
        self._hold(0)
        cycle = self.cycle
        if not self._in_body:
            self._refusal_waits = cycle is not None and not cycle.response_complete
        elif cycle.response_complete:
            self.transport.close()
        elif self.pipeline and self.pipeline[0][0] is cycle:
            # The newest request will never be complete: the refusal answers it in its turn.
            self.pipeline.popleft()
            self._refusal_waits = True
        if not self._refusal_waits:
            self._end_with(refusal)

    def _end_with(self, refusal: Refusal) -> None:
        self._unset_keepalive_if_required()
        if not self.transport.is_closing():
            self.transport.write(refusal.answer)
            self.transport.close()
        self._end_later(self.head_seconds_max)

    def _peer(self) -> str | None:
        return self.client[0] if self.client else None

    def _waits_for_client(self) -> bool:
        """Return whether it is the client's turn and no time limit runs."""
        answered = self.cycle is None or self.cycle.response_complete
        return answered and self.timeout_keep_alive_task is None

    def _end_later(self, seconds: float) -> None:
        self._stop_timer()
        self._timer = self.loop.call_later(seconds, self._end)

    def _end(self) -> None:
        self._timer = None
        if self._in_head and self._refusal is None:
            detail = "the head is not complete in time (RECEIVER_HEAD_SECONDS_MAX)"
            refusals.record("head_too_slow", self._peer(), detail)
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
