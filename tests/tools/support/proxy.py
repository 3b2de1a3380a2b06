"""A forward proxy on loopback: absolute requests, and tunnels by CONNECT.

It alone knows where the names that it is asked for lead, so what comes through came through it.
"""

import socket
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

_CHUNK_BYTES = 64 << 10
_HEAD_END = b"\r\n\r\n"


@dataclass(slots=True)
class Proxy:
    """Use as a context manager; ``leads`` is where each host and port leads.

    ``asked`` keeps the heads of requests.  With ``refusal`` set, that is the answer to all.
    """

    leads: dict[str, tuple[str, int]]
    refusal: bytes = b""
    asked: list[str] = field(default_factory=list)
    _listener: socket.socket = field(default_factory=socket.socket)
    _open: list[socket.socket] = field(default_factory=list)
    _threads: list[threading.Thread] = field(default_factory=list)

    @property
    def address(self) -> str:
        """Host and port."""
        return "{}:{}".format(*self._listener.getsockname())

    def __enter__(self) -> Self:
        self._listener.bind(("127.0.0.1", 0))
        self._listener.listen(64)
        self._start(self._accept)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for each in (self._listener, *self._open):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
        for thread in self._threads:
            thread.join(10)

    def _start(self, work: object, *given: object) -> None:
        thread = threading.Thread(target=work, args=given, daemon=True)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self._open.append(client)
                self._start(self._serve, client)

    def _serve(self, client: socket.socket) -> None:
        with suppress(OSError):
            held = b""
            while _HEAD_END not in held:
                part = client.recv(_CHUNK_BYTES)
                if not part:
                    return
                held += part
            head, _, rest = held.partition(_HEAD_END)
            self.asked.append(head.decode("latin-1"))
            if self.refusal:
                client.sendall(self.refusal)
                client.shutdown(socket.SHUT_WR)
                return
            method, where, _ = head.partition(b"\r\n")[0].decode("latin-1").split(" ")
            name = where if method == "CONNECT" else where.split("/")[2]
            upstream = socket.create_connection(self.leads[name])
            self._open.append(upstream)
            if method == "CONNECT":
                client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            else:
                origin = f"http://{name}".encode()
                upstream.sendall(head.replace(origin, b"", 1) + _HEAD_END)
            upstream.sendall(rest)
            self._start(_pump, upstream, client)
            _pump(client, upstream)


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while part := source.recv(_CHUNK_BYTES):
            sink.sendall(part)
    with suppress(OSError):
        sink.shutdown(socket.SHUT_WR)
