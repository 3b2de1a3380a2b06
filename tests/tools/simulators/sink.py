"""A server that takes what simulators deliver, and answers as a test says."""

import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self


@dataclass(frozen=True, slots=True)
class Arrival:
    """One request as it came."""

    method: str
    # Undecoded, with the query.
    target: str
    version: str
    headers: tuple[tuple[str, str], ...]
    body: bytes

    def header(self, name: str) -> str | None:
        """Return a header's first value."""
        return next((value for key, value in self.headers if key.lower() == name.lower()), None)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    # Beyond the backlog, a connection waits a second for its next try.
    request_queue_size = 512


class Sink:
    """Takes GET and POST on loopback; `status`, `reply` and `hold_seconds` may change any time."""

    def __init__(self) -> None:
        self.status = 200
        self.reply = b"ok"
        self.location: str | None = None
        self.hold_seconds = 0.0
        self._arrivals: list[Arrival] = []
        self._came = threading.Condition()
        self._released = threading.Event()
        self._server = _Server(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))

    @property
    def url(self) -> str:
        """Where it is served, without a trailing slash."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def arrivals(self, count: int = 0, *, seconds: float = 20.0) -> list[Arrival]:
        """Return what has come, as soon as it is so many; fails when the time is over."""
        deadline = time.monotonic() + seconds
        with self._came:
            while len(self._arrivals) < count:
                left = deadline - time.monotonic()
                assert left > 0, f"{len(self._arrivals)} of {count} arrivals in {seconds} s"
                self._came.wait(left)
            return list(self._arrivals)

    def release(self) -> None:
        """Give the answers that are held, and hold none any more."""
        self._released.set()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self._released.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        sink = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._take()

            def do_POST(self) -> None:
                self._take()

            def _take(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                sink.take(
                    Arrival(
                        self.command,
                        self.path,
                        self.request_version,
                        tuple(self.headers.items()),
                        body,
                    )
                )
                # A sender that has given up waiting is part of what is tried here.
                with suppress(ConnectionError):
                    self._reply()

            def _reply(self) -> None:
                self.send_response(sink.status)
                if sink.location is not None:
                    self.send_header("Location", sink.location)
                self.send_header("Content-Length", str(len(sink.reply)))
                self.end_headers()
                self.wfile.write(sink.reply)

            def log_message(self, format: str, *args: object) -> None:
                """Keep quiet."""

        return Handler

    def take(self, arrival: Arrival) -> None:
        """Note an arrival, then hold its answer as long as the test says."""
        with self._came:
            self._arrivals.append(arrival)
            self._came.notify_all()
        self._released.wait(self.hold_seconds)
