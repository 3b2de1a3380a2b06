"""A TCP relay in front of an S3 endpoint, which breaks in the way it is told to.

A connection keeps for life the behaviour that was in force when it came.  `Relay.behave` resets
all connections that are open, so a change takes effect at once, also in the middle of a request.
"""

import contextlib
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable
from types import TracebackType
from typing import Literal, Self

Behaviour = Literal[
    "pass",  # relay everything
    "refuse",  # nobody listens
    "hang",  # take the connection and never answer
    "cut",  # relay the beginning of a request, then reset both sides
    "fail_before",  # take a request's head, relay nothing, reset
    "fail_after",  # relay the request, wait until it is answered, keep the answer, reset
    "slow_down",  # answer 503 SlowDown, as S3 does
]

CUT_AFTER_BYTES = 600
_CHUNK_BYTES = 64 << 10
_HEAD_END = b"\r\n\r\n"
_SLOW_DOWN_BODY = (
    b'<?xml version="1.0" encoding="UTF-8"?>\n'
    b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message>"
    b"<RequestId>4442587FB7D0A2F9</RequestId></Error>"
)
_SLOW_DOWN = (
    b"HTTP/1.1 503 Slow Down\r\ncontent-type: application/xml\r\nconnection: close\r\n"
    b"content-length: %d\r\n\r\n%s" % (len(_SLOW_DOWN_BODY), _SLOW_DOWN_BODY)
)


class Relay:
    """Listens on 127.0.0.1 at a port of its own and passes connections on to ``upstream``.

    ``met`` counts, for each behaviour, the connections that met it (`refuse` meets none).  What
    comes back arrives ``delay_seconds`` later, the end of a connection too, as over a long wire.
    """

    def __init__(self, upstream: tuple[str, int], *, delay_seconds: float = 0.0) -> None:
        self._upstream = upstream
        self._delay_seconds = delay_seconds
        self._guard = threading.Lock()
        self._behaviour: Behaviour = "pass"
        self._open: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self.met: Counter[str] = Counter()
        # Bound and never listening: it keeps the port ours while connections are refused.
        self._placeholder = socket.socket()
        self._placeholder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._placeholder.bind(("127.0.0.1", 0))
        self.address: tuple[str, int] = self._placeholder.getsockname()
        self._listener: socket.socket | None = None
        self._listen()

    @property
    def url(self) -> str:
        """The endpoint that clients are given."""
        return "http://{}:{}".format(*self.address)

    def behave(self, behaviour: Behaviour) -> None:
        """Behave so from now on; connections that are open are reset."""
        with self._guard:
            self._behaviour = behaviour
        self._close_listener() if behaviour == "refuse" else self._listen()
        self._reset_all()

    def close(self) -> None:
        """Reset all connections and give up the port."""
        self._close_listener()
        self._accepting.join()
        self._reset_all()
        for thread in self._threads:
            thread.join()
        self._placeholder.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        raised: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    # The listener.

    def _listen(self) -> None:
        if self._listener is not None:
            return
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(self.address)
        listener.listen(128)
        self._listener = listener
        self._accepting = self._start(self._accept, listener)

    def _close_listener(self) -> None:
        if self._listener is not None:
            # Wakes the accepting thread, which closing alone does not.
            with contextlib.suppress(OSError):
                self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
            self._listener = None

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return  # the listener was closed
            with self._guard:
                behaviour = self._behaviour
                self.met[behaviour] += 1
                self._open.add(client)
            self._start(self._converse, client, behaviour)

    def _start(self, target: Callable[..., None], *arguments: object) -> threading.Thread:
        thread = threading.Thread(target=target, args=arguments, daemon=True)
        with self._guard:
            self._threads = [known for known in self._threads if known.is_alive()]
            self._threads.append(thread)
            thread.start()
        return thread

    # Connections.

    def _converse(self, client: socket.socket, behaviour: Behaviour) -> None:
        try:
            if behaviour == "refuse":
                return  # taken from the listener in the moment in which that was closed
            if behaviour == "hang":
                _wait_for_end(client)
            elif behaviour == "fail_before":
                _read_head(client)
            elif behaviour == "slow_down":
                _read_head(client)
                client.sendall(_SLOW_DOWN)
                client.shutdown(socket.SHUT_WR)
                _wait_for_end(client)
            else:
                self._pass_on(client, behaviour)
        except OSError:
            pass  # either side went away, or `behave` reset them
        finally:
            self._close(client, reset=behaviour not in ("pass", "slow_down"))

    def _pass_on(self, client: socket.socket, behaviour: Behaviour) -> None:
        upstream = socket.create_connection(self._upstream, timeout=30)
        upstream.settimeout(None)
        with self._guard:
            self._open.add(upstream)
        answering = threading.Thread(
            target=_answer,
            args=(upstream, client, behaviour, self._delay_seconds),
            daemon=True,
        )
        answering.start()
        try:
            if behaviour == "cut":
                upstream.sendall(_read_at_least(client, CUT_AFTER_BYTES)[:CUT_AFTER_BYTES])
            else:
                while chunk := client.recv(_CHUNK_BYTES):
                    upstream.sendall(chunk)
        finally:
            _wake(upstream)
            answering.join()
            self._close(upstream, reset=behaviour != "pass")

    def _reset_all(self) -> None:
        with self._guard:
            for connection in self._open:
                _wake(connection)

    def _close(self, connection: socket.socket, *, reset: bool) -> None:
        with self._guard:
            self._open.discard(connection)
        if reset:
            # Closing with a linger time of zero sends a reset instead of an orderly end.
            with contextlib.suppress(OSError):
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()


def _wake(connection: socket.socket) -> None:
    """End a connection for the thread that reads from it, which then closes it."""
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)


def _wait_for_end(client: socket.socket) -> None:
    while client.recv(_CHUNK_BYTES):
        pass


def _read_at_least(client: socket.socket, count: int) -> bytes:
    received = b""
    while len(received) < count and (chunk := client.recv(_CHUNK_BYTES)):
        received += chunk
    return received


def _answer(
    upstream: socket.socket, client: socket.socket, behaviour: Behaviour, delay_seconds: float
) -> None:
    try:
        if behaviour == "fail_after":
            _pass_interim_answers(upstream, client)
        else:
            while chunk := upstream.recv(_CHUNK_BYTES):
                time.sleep(delay_seconds)
                client.sendall(chunk)
        time.sleep(delay_seconds)
    except OSError:
        pass  # as in `Relay._converse`
    finally:
        _wake(client)


def _read_head(client: socket.socket) -> bytes:
    head = b""
    while _HEAD_END not in head:
        chunk = client.recv(_CHUNK_BYTES)
        if not chunk:
            break
        head += chunk
    return head


def _pass_interim_answers(upstream: socket.socket, client: socket.socket) -> None:
    """Relay `100 Continue`, without which no body comes, and return at any other answer."""
    received = b""
    while True:
        chunk = upstream.recv(_CHUNK_BYTES)
        if not chunk:
            return
        received += chunk
        while _HEAD_END in received:
            interim, _, rest = received.partition(_HEAD_END)
            if not interim.startswith(b"HTTP/1.1 100"):
                return
            client.sendall(interim + _HEAD_END)
            received = rest
