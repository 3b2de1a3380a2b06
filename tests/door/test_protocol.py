"""The protocol's own time limits; the other limits are tested on the wire (tests/system)."""

import asyncio
import contextlib
import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest
import uvicorn
import uvloop

from receiver.door.protocol import BoundedProtocol

pytestmark = pytest.mark.integration

_SECONDS = 0.4
_KEEP_ALIVE_SECONDS = 1
# Longer than any of these tests waits.
_NEVER_SECONDS = 600.0
_LATE_SECONDS = 30.0
_SMALL_BUFFER = 4096


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _app(size: int) -> Any:
    """Return an application that answers every request with ``size`` bytes."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        headers = [(b"content-length", b"%d" % size)]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": bytes(size)})

    return app


async def _seconds_until_ended(size: int, request: bytes) -> float:
    """Send a request, read nothing, and return how long the server takes to give up."""
    lost = asyncio.Event()

    class Watched(BoundedProtocol):
        def connection_lost(self, exc: Exception | None) -> None:
            super().connection_lost(exc)
            lost.set()

    with socket.create_server(("127.0.0.1", 0)) as listener, socket.socket() as client:
        # A connection inherits the size of its buffers from its listener.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SMALL_BUFFER)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _SMALL_BUFFER)
        client.setblocking(False)
        config = uvicorn.Config(
            _app(size),
            http=Watched,
            lifespan="off",
            ws="none",
            log_config=None,
            timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        )
        server = _Server(config)
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        loop = asyncio.get_running_loop()
        # The server starts its timer no earlier.
        began = time.monotonic()
        await loop.sock_connect(client, listener.getsockname())
        with contextlib.suppress(ConnectionError):  # closed before the request was sent
            await loop.sock_sendall(client, request)
        try:
            async with asyncio.timeout(_LATE_SECONDS):
                await lost.wait()
            return time.monotonic() - began
        finally:
            server.should_exit = server.force_exit = True
            await serving


@pytest.mark.parametrize(
    ("size", "header", "head_seconds", "seconds"),
    [
        pytest.param(1 << 20, b"", _SECONDS, _SECONDS, id="more than the server buffers"),
        pytest.param(40_000, b"", _NEVER_SECONDS, _KEEP_ALIVE_SECONDS, id="as much as it buffers"),
        pytest.param(40_000, b"Connection: close\r\n", _SECONDS, _SECONDS, id="the last answer"),
    ],
)
def test_a_client_that_reads_no_answer_is_disconnected(
    monkeypatch: pytest.MonkeyPatch,
    size: int,
    header: bytes,
    head_seconds: float,
    seconds: float,
) -> None:
    monkeypatch.setattr(BoundedProtocol, "head_seconds_max", head_seconds)
    request = b"GET / HTTP/1.1\r\nHost: a\r\n" + header + b"\r\n"
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        ended = runner.run(_seconds_until_ended(size, request))
    assert seconds * 0.9 < ended < _LATE_SECONDS
