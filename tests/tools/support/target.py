"""A target that callbacks are sent to: a real HTTP server, which answers as it is told.

It runs in a thread of its own, keeps what it got, and can be taken away and brought back at the
same port.
"""

import asyncio
import contextlib
import http
import socket
import threading
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Literal, Self, cast

import httptools
import uvloop


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What the target does about a request, after ``seconds``."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    seconds: float = 0.0
    what: Literal["answer", "cut", "hang"] = "answer"

    @property
    def confirms(self) -> bool:
        """Whether the sender may take this for a confirmation."""
        return self.what == "answer" and 200 <= self.status < 300

    def encoded(self) -> bytes:
        """Return the answer as it goes over the wire."""
        known = self.status in http.HTTPStatus.__members__.values()
        phrase = http.HTTPStatus(self.status).phrase if known else "Unheard Of"
        lines = [f"HTTP/1.1 {self.status} {phrase}"]
        lines += [f"{name}: {value}" for name, value in self.headers.items()]
        lines += [f"Content-Length: {len(self.body)}", "", ""]
        return "\r\n".join(lines).encode("latin-1") + self.body


@dataclass(frozen=True, slots=True)
class Received:
    """A request as it came; header names are in lower case."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes
    at: float
    reply: Reply

    @property
    def id(self) -> str:
        """The delivery id that it came with."""
        return self.headers["webhook-id"]


OK = Reply()
# So much longer are answers kept back, for a request that should not come.
_MOMENT_SECONDS = 0.05


class TargetServer:
    """Listens on 127.0.0.1; use as a context manager.

    ``otherwise`` answers what `plan` says nothing about.  With ``keeping`` off, bodies are
    forgotten.
    """

    def __init__(self, *, listening: bool = True) -> None:
        self.received: list[Received] = []
        self.otherwise: Reply | Callable[[Received], Reply] = OK
        self.keeping = True
        self.under_way_max = 0
        self._under_way = 0
        # Answers that are kept back, and how many requests let them go.
        self._held: list[tuple[_Connection, Reply]] | None = None
        self._gathered = 0
        self._plans: defaultdict[str, deque[Reply]] = defaultdict(deque)
        self._listening = listening
        self._connections: set[_Connection] = set()
        self._server: asyncio.AbstractServer | None = None
        # Bound and never listening: it keeps the port ours while nobody listens.
        self._placeholder = _bound(("127.0.0.1", 0))
        self.address: tuple[str, int] = self._placeholder.getsockname()
        self._loop = uvloop.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)

    @property
    def url(self) -> str:
        """Where it listens."""
        return "http://{}:{}".format(*self.address)

    def plan(self, delivery_id: str, *replies: Reply) -> None:
        """Answer the next requests of a delivery so, one after the other."""
        self._plans[delivery_id].extend(replies)

    def hold(self, *, until: int = 0) -> None:
        """Keep answers back until `let_go`, or until so many requests are under way."""
        self._held, self._gathered = [], until

    def let_go(self) -> None:
        """Give the answers that were kept back, and keep none back any more."""
        self._loop.call_soon_threadsafe(self._answer_held)

    def listen(self) -> None:
        """Take connections from now on."""
        self._call(self._listen())

    def refuse(self) -> None:
        """Take no connection from now on, and cut those that are open."""
        self._call(self._refuse())

    def attempts(self) -> Counter[str]:
        """Return how often each delivery came."""
        return Counter(received.id for received in list(self.received))

    def confirmed(self) -> Counter[str]:
        """Return how often each delivery was confirmed."""
        return Counter(received.id for received in list(self.received) if received.reply.confirms)

    def __enter__(self) -> Self:
        self._thread.start()
        if self._listening:
            self.listen()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        raised: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.refuse()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._placeholder.close()

    # In the thread of the loop.

    def _call(self, work: Any) -> None:
        future: Future[None] = asyncio.run_coroutine_threadsafe(work, self._loop)
        future.result(30)

    async def _listen(self) -> None:
        if self._server is None:
            listener = _bound(self.address)
            listener.listen(1024)
            self._server = await self._loop.create_server(lambda: _Connection(self), sock=listener)

    async def _refuse(self) -> None:
        if self._server is not None:
            self._server.close()
            for connection in list(self._connections):
                connection.transport.abort()
            await self._server.wait_closed()
            self._server = None

    def take(self, connection: "_Connection", received: Received) -> None:
        """Keep a request and see to its answer."""
        planned = self._plans.get(received.id) if "webhook-id" in received.headers else None
        if planned:
            reply = planned.popleft()
        else:
            reply = self.otherwise(received) if callable(self.otherwise) else self.otherwise
        body = received.body if self.keeping else b""
        self.received.append(
            Received(received.method, received.target, received.headers, body, received.at, reply)
        )
        self._under_way += 1
        self.under_way_max = max(self.under_way_max, self._under_way)
        if self._held is not None:
            self._held.append((connection, reply))
            if self._under_way == self._gathered:
                self._loop.call_later(_MOMENT_SECONDS, self._answer_held)
        elif reply.seconds:
            self._loop.call_later(reply.seconds, self._answer, connection, reply)
        else:
            self._answer(connection, reply)

    def _answer_held(self) -> None:
        held, self._held = self._held or [], None
        for connection, reply in held:
            self._answer(connection, reply)

    def _answer(self, connection: "_Connection", reply: Reply) -> None:
        self._under_way -= 1
        if reply.what == "cut":
            connection.transport.abort()
        elif reply.what == "answer" and connection in self._connections:
            connection.transport.write(reply.encoded())

    def opened(self, connection: "_Connection") -> None:
        """Know a connection, to cut it."""
        self._connections.add(connection)

    def closed(self, connection: "_Connection") -> None:
        """Forget a connection, and whoever waited there."""
        self._connections.discard(connection)
        held = self._held or []
        gone = [one for one in held if one[0] is connection]
        for one in gone:
            held.remove(one)
        self._under_way -= len(gone)


class _Connection(asyncio.Protocol):
    """Parses requests; they come one after the other."""

    def __init__(self, target: TargetServer) -> None:
        self._target = target
        self._parser = httptools.HttpRequestParser(self)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self._target.opened(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._target.closed(self)

    def data_received(self, data: bytes) -> None:
        with contextlib.suppress(httptools.HttpParserError):
            self._parser.feed_data(data)
            return
        self.transport.abort()

    # What the parser calls.

    def on_message_begin(self) -> None:
        self._url = b""
        self._headers: dict[str, str] = {}
        self._body: list[bytes] = []

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_body(self, body: bytes) -> None:
        self._body.append(body)

    def on_message_complete(self) -> None:
        received = Received(
            self._parser.get_method().decode(),
            self._url.decode("latin-1"),
            self._headers,
            b"".join(self._body),
            time.monotonic(),
            OK,
        )
        self._target.take(self, received)


def _bound(address: tuple[str, int]) -> socket.socket:
    bound = socket.socket()
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    bound.bind(address)
    return bound
